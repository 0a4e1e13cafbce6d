//! Durable and derived keys in an embedded engine (fjall).
//!
//! Invariants: a durable key is answered after fsync; derived keys are written without, and read with their
//! time to live checked; expired ones are cleared away a bounded number at a time, beside new ones. What may
//! fail: the engine, which takes no more writes after a failed one. It goes on answering reads, and is opened
//! anew by a later write, at most once a second and only where the disk has some space, so that writing goes
//! on by itself when space is back.
//!
//! Keys: `durable` holds keys as they are. `derived` holds, after the partition (u16, big-endian):
//! ```text
//! 1 key                                         -> expiry:u64 value
//! 2 list                                        -> expiry:u64 first:u64 next:u64
//! 3 list_length:u16 list place:u64              -> value       for first <= place < next
//! ```
//! and `expiry` holds due:u64 (ms, in steps of ten seconds) and a key of kind 1 or 2, with an empty value.
//! All numbers are big-endian.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use ids::PartitionId;

use crate::memory::parse_counter;
use crate::store::{Derived, StoreError};

/// Expired keys that one call clears away, besides two for each that it adds.
const EXPIRED_PER_CALL: usize = 64;
/// Entries of expired lists that one call clears away at most.
const EXPIRED_ENTRIES_PER_CALL: u64 = 4_096;
/// Expiries are kept in steps of this.
const DUE_STEP_MS: u64 = 10_000;
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// What must be free before a broken engine is opened anew.
const ROOM_BYTES: usize = 1024 * 1024;
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

const KEY: u8 = 1;
const LIST: u8 = 2;
const ENTRY: u8 = 3;

#[derive(Debug)]
pub(super) struct Keys {
    dir: PathBuf,
    engine: Mutex<Slot>,
    /// Held by compare-and-put and increment.
    exclusive: Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    /// Absent only where opening it anew has failed.
    engine: Option<Engine>,
    /// Why it takes no writes, once one has failed, and when it was last tried to mend that.
    broken: Option<(String, Instant)>,
}

#[derive(Clone)]
struct Engine {
    database: Database,
    durable: Keyspace,
    derived: Keyspace,
    expiry: Keyspace,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// A derived list.
#[derive(Debug, Clone, Copy)]
struct Header {
    expiry: u64,
    first: u64,
    next: u64,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a time to live must outlast the process, and the pure clocks do not"
)]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is replaced whole, or nothing at all.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn prefix(partition: PartitionId, kind: u8) -> Vec<u8> {
    let [high, low] = partition.get().to_be_bytes();
    vec![high, low, kind]
}

fn plain_key(partition: PartitionId, kind: u8, key: &[u8]) -> Vec<u8> {
    let mut out = prefix(partition, kind);
    out.extend_from_slice(key);
    out
}

fn entry_key(partition: PartitionId, list: &[u8], place: u64) -> Vec<u8> {
    let mut out = prefix(partition, ENTRY);
    out.extend_from_slice(&(list.len() as u16).to_be_bytes());
    out.extend_from_slice(list);
    out.extend_from_slice(&place.to_be_bytes());
    out
}

fn due(expiry: u64) -> u64 {
    (expiry / DUE_STEP_MS + 1) * DUE_STEP_MS
}

fn due_key(expiry: u64, key: &[u8]) -> Vec<u8> {
    [&due(expiry).to_be_bytes(), key].concat()
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    let bytes = bytes.get(place * 8..place * 8 + 8)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}

impl Header {
    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { expiry: u64_at(bytes, 0)?, first: u64_at(bytes, 1)?, next: u64_at(bytes, 2)? })
    }

    fn encode(self) -> Vec<u8> {
        [self.expiry.to_be_bytes(), self.first.to_be_bytes(), self.next.to_be_bytes()].concat()
    }
}

fn open_engine(dir: &PathBuf) -> Result<Engine, fjall::Error> {
    let database = Database::builder(dir).cache_size(CACHE_BYTES).worker_threads(1).open()?;
    let durable = database.keyspace("durable", KeyspaceCreateOptions::default)?;
    let derived = database.keyspace("derived", KeyspaceCreateOptions::default)?;
    let expiry = database.keyspace("expiry", KeyspaceCreateOptions::default)?;
    Ok(Engine { database, durable, derived, expiry })
}

/// Whether a small file can be written and synced in this directory.
fn has_room(dir: &Path) -> io::Result<()> {
    let path = dir.with_extension("room");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; ROOM_BYTES])?;
        file.sync_data()
    });
    // It holds nothing; the next call writes over what is left of it.
    let _ = std::fs::remove_file(&path);
    written
}

impl Keys {
    pub(super) fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let engine = open_engine(&dir).map_err(|error| {
            StoreError::Unavailable(format!("opening the keys in {} failed: {error}", dir.display()))
        })?;
        let slot = Slot { engine: Some(engine), broken: None };
        Ok(Self { dir, engine: Mutex::new(slot), exclusive: Mutex::new(()) })
    }

    fn unavailable(&self, why: &str) -> StoreError {
        StoreError::Unavailable(format!(
            "the keys in {} cannot be written: {why}: check the disk, and free some space there; writing goes on by \
             itself",
            self.dir.display()
        ))
    }

    fn read<T>(&self, work: impl FnOnce(&Engine) -> Result<T, fjall::Error>) -> Result<T, StoreError> {
        let engine = {
            let mut slot = lock(&self.engine);
            if slot.engine.is_none() {
                self.mend(&mut slot)?;
            }
            slot.engine.clone()
        };
        let engine = engine.ok_or_else(|| self.unavailable("it is closed"))?;
        work(&engine).map_err(|error| self.unavailable(&error.to_string()))
    }

    /// Calls the engine; after a failure it takes no more writes until it was opened anew.
    fn write<T>(&self, work: impl FnOnce(&Engine) -> Result<T, fjall::Error>) -> Result<T, StoreError> {
        let engine = {
            let mut slot = lock(&self.engine);
            self.mend(&mut slot)?;
            slot.engine.clone()
        };
        let engine = engine.ok_or_else(|| self.unavailable("it is closed"))?;
        work(&engine).map_err(|error| {
            let why = error.to_string();
            let unavailable = self.unavailable(&why);
            lock(&self.engine).broken = Some((why, Instant::now()));
            unavailable
        })
    }

    /// Opens a broken engine anew, if the disk has some space and it was not tried just now.
    fn mend(&self, slot: &mut Slot) -> Result<(), StoreError> {
        let Some((why, tried)) = &mut slot.broken else { return Ok(()) };
        if tried.elapsed() < REOPEN_EVERY {
            return Err(self.unavailable(why));
        }
        *tried = Instant::now();
        // Opening it writes, too: as long as there is no space, the old one is kept for those who read.
        has_room(&self.dir).map_err(|error| self.unavailable(&error.to_string()))?;
        slot.engine = None;
        match open_engine(&self.dir) {
            Ok(engine) => {
                *slot = Slot { engine: Some(engine), broken: None };
                Ok(())
            }
            Err(error) => {
                *why = error.to_string();
                Err(self.unavailable(why))
            }
        }
    }

    pub(super) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let _exclusive = lock(&self.exclusive);
        self.set(key, Some(value))
    }

    fn set(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        self.write(|engine| {
            match value {
                Some(value) => engine.durable.insert(key, value)?,
                None => engine.durable.remove(key)?,
            }
            engine.database.persist(PersistMode::SyncData)
        })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.read(|engine| engine.durable.get(key))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    pub(super) fn compare_and_put(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<bool, StoreError> {
        let _exclusive = lock(&self.exclusive);
        if self.get(key)?.as_deref() != expected {
            return Ok(false);
        }
        self.set(key, value)?;
        Ok(true)
    }

    pub(super) fn increment(&self, key: &[u8]) -> Result<u64, StoreError> {
        let _exclusive = lock(&self.exclusive);
        let old = self.get(key)?.map(|value| parse_counter(&value)).transpose()?.unwrap_or(0);
        let new = old.checked_add(1).ok_or_else(|| StoreError::Refused("a counter is full".to_owned()))?;
        self.set(key, Some(new.to_string().as_bytes()))?;
        Ok(new)
    }

    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let from = after.map_or(prefix, |after| after.max(prefix)).to_vec();
        self.read(|engine| {
            let mut pairs = Vec::new();
            for guard in engine.durable.range(from..) {
                if pairs.len() >= limit {
                    break;
                }
                let (key, value) = guard.into_inner()?;
                if !key.starts_with(prefix) {
                    break;
                }
                if after.is_none_or(|after| *key > *after) {
                    pairs.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
                }
            }
            Ok(pairs)
        })
    }

    pub(super) fn get_derived(
        &self,
        partition: PartitionId,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let now = now_ms();
        self.read(|engine| {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                let value = engine.derived.get(plain_key(partition, KEY, key))?;
                let live = value.filter(|value| u64_at(value, 0).is_some_and(|expiry| expiry > now));
                values.push(live.map(|value| Bytes::copy_from_slice(&value[8..])));
            }
            Ok(values)
        })
    }

    pub(super) fn list(
        &self,
        partition: PartitionId,
        list: &[u8],
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let now = now_ms();
        self.read(|engine| {
            let header = engine.derived.get(plain_key(partition, LIST, list))?;
            let header = header.and_then(|bytes| Header::decode(&bytes)).filter(|header| header.expiry > now);
            let Some(header) = header else { return Ok(Vec::new()) };
            let from = header.first.saturating_add(skip as u64).min(header.next);
            let to = from.saturating_add(limit as u64).min(header.next);
            let range = entry_key(partition, list, from)..entry_key(partition, list, to);
            let mut values = Vec::new();
            for guard in engine.derived.range(range) {
                values.push(Bytes::copy_from_slice(&guard.value()?));
            }
            Ok(values)
        })
    }

    /// Writes derived keys, and clears some expired ones away. To write them twice is harmless.
    pub(super) fn apply(&self, groups: Vec<(PartitionId, Vec<Derived>)>) -> Result<(), StoreError> {
        if groups.is_empty() {
            return Ok(());
        }
        let count: usize = groups.iter().map(|(_, derived)| derived.len()).sum();
        let now = now_ms();
        self.write(|engine| {
            let mut batch = engine.database.batch().durability(Some(PersistMode::Buffer));
            let mut headers = HashMap::new();
            for (partition, derived) in groups {
                for derived in derived {
                    add(engine, &mut batch, &mut headers, partition, derived, now)?;
                }
            }
            for (key, header) in headers {
                batch.insert(&engine.derived, key, header.encode());
            }
            batch.commit()?;
            clear_expired(engine, now, EXPIRED_PER_CALL + 2 * count)
        })
    }
}

fn add(
    engine: &Engine,
    batch: &mut OwnedWriteBatch,
    headers: &mut HashMap<Vec<u8>, Header>,
    partition: PartitionId,
    derived: Derived,
    now: u64,
) -> Result<(), fjall::Error> {
    let until = |ttl: Duration| now.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX / 2));
    match derived {
        Derived::Put { key, value, ttl } => {
            let key = plain_key(partition, KEY, &key);
            let expiry = until(ttl);
            batch.insert(&engine.expiry, due_key(expiry, &key), []);
            batch.insert(&engine.derived, key, [&expiry.to_be_bytes(), value.as_ref()].concat());
        }
        Derived::Push { list, value, ttl } => {
            let key = plain_key(partition, LIST, &list);
            let old = match headers.get(&key) {
                Some(header) => Some(*header),
                None => engine.derived.get(&key)?.and_then(|bytes| Header::decode(&bytes)),
            };
            let expiry = until(ttl);
            // An expired list begins anew behind its old entries, so that these are never seen again.
            let mut header = match old {
                Some(old) if old.expiry > now => Header { expiry, ..old },
                Some(old) => Header { expiry, first: old.next, next: old.next },
                None => Header { expiry, first: 0, next: 0 },
            };
            if let Some(old) = old.filter(|old| old.expiry <= now) {
                let some = (old.next - old.first).min(EXPIRED_ENTRIES_PER_CALL);
                (old.first..old.first + some)
                    .for_each(|place| batch.remove(&engine.derived, entry_key(partition, &list, place)));
            }
            if old.is_none_or(|old| due(old.expiry) != due(expiry)) {
                batch.insert(&engine.expiry, due_key(expiry, &key), []);
            }
            batch.insert(&engine.derived, entry_key(partition, &list, header.next), value.as_ref());
            header.next += 1;
            headers.insert(key, header);
        }
    }
    Ok(())
}

/// Removes at most so many keys whose time is over.
fn clear_expired(engine: &Engine, now: u64, limit: usize) -> Result<(), fjall::Error> {
    let mut batch = engine.database.batch();
    let mut entries_left = EXPIRED_ENTRIES_PER_CALL;
    for guard in engine.expiry.range(..now.to_be_bytes().to_vec()).take(limit) {
        let due_key = guard.key()?;
        let Some(key) = due_key.get(8..) else { continue };
        let value = engine.derived.get(key)?;
        let expired = value.as_ref().and_then(|value| u64_at(value, 0)).is_some_and(|expiry| expiry <= now);
        if expired
            && key.get(2) == Some(&LIST)
            && let Some(header) = value.and_then(|value| Header::decode(&value))
        {
            let partition = [key[0], key[1]];
            let Ok(partition) = PartitionId::new(u32::from(u16::from_be_bytes(partition))) else { continue };
            let some = (header.next - header.first).min(entries_left);
            entries_left -= some;
            for place in header.first..header.first + some {
                batch.remove(&engine.derived, entry_key(partition, &key[3..], place));
            }
            if header.first + some < header.next {
                let rest = Header { first: header.first + some, ..header };
                batch.insert(&engine.derived, key, rest.encode());
                break;
            }
        }
        if expired {
            batch.remove(&engine.derived, key);
        }
        batch.remove(&engine.expiry, due_key.clone());
    }
    batch.commit()
}
