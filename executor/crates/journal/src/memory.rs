//! The store in memory: for tests and try-outs.
//!
//! Invariants: it keeps the contract to the letter (fence, trimming, time to live), and nothing survives the
//! process. All connections share one state; each partition has a lock of its own, held for a few map
//! operations and never across an await. What may fail: nothing by itself; tests make it fail with
//! [`MemoryStore::fail_next`], [`MemoryStore::set_unavailable`], [`MemoryStore::hold_appends`] and
//! [`MemoryStore::go_back`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ids::{PARTITIONS_MAX, PartitionId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::{
    Acquired, Append, BlockId, BlockRange, Connect, Derived, Durability, Store, StoreError, StoreFuture, Top,
    check_key,
};

pub use faults::Fault;

/// Expired keys that one append clears away, besides one for each that it adds.
const EXPIRED_PER_APPEND: usize = 16;

/// A store in memory; clones share everything, connections all but what they have taken.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Generations that this connection has taken, and by which taking of all.
    taken: Arc<Mutex<HashMap<(PartitionId, u64), u64>>>,
}

#[derive(Debug)]
struct Shared {
    partitions: Box<[Mutex<Partition>]>,
    keys: Mutex<BTreeMap<Bytes, Bytes>>,
    faults: Mutex<VecDeque<Option<Fault>>>,
    key_faults: Mutex<VecDeque<Option<Fault>>>,
    unavailable: watch::Sender<Option<String>>,
    /// So many more appends go on; the others wait.
    passing: watch::Sender<u64>,
    acquires_held: watch::Sender<bool>,
    reads_held: watch::Sender<bool>,
    pings: AtomicU64,
    reads: AtomicU64,
    takings: AtomicU64,
    derived_lost: AtomicBool,
}

impl Shared {
    /// Waits until an append may go on, and counts it.
    async fn pass(&self) {
        let mut passing = self.passing.subscribe();
        let mut passed = false;
        while !passed {
            // The sender lives as long as this store: waiting cannot fail.
            let _ = passing.wait_for(|left| *left > 0).await;
            self.passing.send_if_modified(|left| {
                passed = *left > 0;
                // Without a bound nothing is counted.
                *left -= u64::from(passed && *left < u64::MAX);
                false
            });
        }
    }
}

#[derive(Debug, Default)]
struct Partition {
    generation: u64,
    /// By which of all takings of partitions it was taken last.
    taking: u64,
    last: Option<BlockId>,
    /// The top before it went back; cleared by the next owner.
    went_back_from: Option<BlockId>,
    /// Whether its owner knows.
    accepted: bool,
    /// Whether the part of the store that has it does not answer.
    away: bool,
    blocks: BTreeMap<BlockId, Bytes>,
    derived: HashMap<Bytes, Slot>,
    expiries: BTreeMap<(Instant, u64), Bytes>,
    expiry_number: u64,
}

#[derive(Debug)]
struct Slot {
    value: Value,
    expiry: (Instant, u64),
}

#[derive(Debug, Clone)]
enum Value {
    One(Bytes),
    List(Vec<Bytes>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held cannot leave these maps half-changed in a way that matters to a test.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            partitions: (0..PARTITIONS_MAX).map(|_| Mutex::default()).collect(),
            keys: Mutex::default(),
            faults: Mutex::default(),
            key_faults: Mutex::default(),
            unavailable: watch::Sender::new(None),
            passing: watch::Sender::new(u64::MAX),
            acquires_held: watch::Sender::new(false),
            reads_held: watch::Sender::new(false),
            pings: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            takings: AtomicU64::new(0),
            derived_lost: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), taken: Arc::default() }
    }

    fn partition(&self, partition: PartitionId) -> &Mutex<Partition> {
        &self.shared.partitions[usize::from(partition.get())]
    }

    fn available(&self) -> Result<(), StoreError> {
        match &*self.shared.unavailable.borrow() {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None => Ok(()),
        }
    }

    fn part(&self, partition: PartitionId) -> Result<MutexGuard<'_, Partition>, StoreError> {
        self.available()?;
        let part = lock(self.partition(partition));
        match part.away {
            true => Err(StoreError::Unavailable(format!("a test took partition {partition} away"))),
            false => Ok(part),
        }
    }

    /// Whether another connection has taken the very generation that this one has.
    fn check_owner(&self, partition: PartitionId, attempted: BlockId) -> Result<(), StoreError> {
        let state = self.part(partition)?;
        let ours = lock(&self.taken).get(&(partition, state.generation)).copied();
        match ours.filter(|taking| *taking != state.taking) {
            Some(_) => {
                Err(StoreError::Fenced { partition, attempted, last: state.top().unwrap_or_default() })
            }
            None => Ok(()),
        }
    }

    async fn append_now(&self, mut append: Append) -> Result<(), StoreError> {
        append.check()?;
        self.shared.pass().await;
        drop(self.part(append.partition)?);
        let fault = lock(&self.shared.faults).pop_front().flatten();
        if let Some(Fault::Refuse(error)) = fault {
            return Err(error);
        }
        if self.shared.derived_lost.load(Ordering::Relaxed) {
            append.derived.clear();
        }
        self.check_owner(append.partition, append.id)?;
        lock(self.partition(append.partition)).append(append)?;
        match fault {
            Some(_) => Err(StoreError::Unknown("a test lost the reply".to_owned())),
            None => Ok(()),
        }
    }
}

impl Partition {
    fn append(&mut self, append: Append) -> Result<(), StoreError> {
        let id = append.id;
        if let Some(confirmed) = self.went_back_from.filter(|_| !self.accepted) {
            return Err(StoreError::WentBack { partition: append.partition, confirmed, top: self.top() });
        }
        if id.generation < self.generation || self.last.is_some_and(|last| id <= last) {
            return match self.blocks.get(&id) {
                Some(written) if *written == append.block => Ok(()),
                _ => {
                    let mark = BlockId { generation: self.generation, sequence: 0 };
                    let last = self.last.unwrap_or_default().max(mark);
                    Err(StoreError::Fenced { partition: append.partition, attempted: id, last })
                }
            };
        }
        self.generation = id.generation;
        self.last = Some(id);
        self.blocks.insert(id, append.block);
        if let Some(mark) = append.trim_below {
            self.blocks = self.blocks.split_off(&mark);
        }
        let now = Instant::now();
        self.clear_expired(now, EXPIRED_PER_APPEND + append.derived.len());
        for derived in append.derived {
            match derived {
                Derived::Put { key, value, ttl } => self.set(key, now + ttl, |_| Value::One(value)),
                Derived::Push { list, value, ttl } => self.set(list, now + ttl, |old| {
                    let mut entries = match old {
                        Some(Value::List(entries)) => entries,
                        _ => Vec::new(),
                    };
                    entries.push(value);
                    Value::List(entries)
                }),
            }
        }
        Ok(())
    }

    fn go_back(&mut self, to: BlockId) {
        let Some(top) = self.top().filter(|top| to < *top) else { return };
        self.went_back_from = self.went_back_from.max(Some(top));
        self.accepted = false;
        self.blocks.retain(|id, _| *id <= to);
        self.generation = to.generation;
        self.last = self.blocks.last_key_value().map(|(id, _)| *id);
    }

    fn set(&mut self, key: Bytes, until: Instant, change: impl FnOnce(Option<Value>) -> Value) {
        let old = self.derived.remove(&key).and_then(|slot| {
            self.expiries.remove(&slot.expiry);
            Some(slot.value).filter(|_| slot.expiry.0 > Instant::now())
        });
        self.expiry_number += 1;
        let expiry = (until, self.expiry_number);
        self.expiries.insert(expiry, key.clone());
        self.derived.insert(key, Slot { value: change(old), expiry });
    }

    fn clear_expired(&mut self, now: Instant, limit: usize) {
        for _ in 0..limit {
            match self.expiries.first_entry() {
                Some(entry) if entry.key().0 <= now => self.derived.remove(&entry.remove()),
                _ => return,
            };
        }
    }

    fn live(&self, key: &Bytes) -> Option<&Value> {
        self.derived.get(key).filter(|slot| slot.expiry.0 > Instant::now()).map(|slot| &slot.value)
    }

    fn top(&self) -> Option<BlockId> {
        let mark = BlockId { generation: self.generation, sequence: 0 };
        (self.generation > 0).then(|| self.last.unwrap_or_default().max(mark))
    }

    fn read(&self, range: BlockRange) -> Vec<(BlockId, Bytes)> {
        if range.from > range.to {
            return Vec::new();
        }
        let blocks = self.blocks.range(range.from..=range.to).map(|(id, block)| (*id, block.clone()));
        if range.reverse {
            blocks.rev().take(range.limit).collect()
        } else {
            blocks.take(range.limit).collect()
        }
    }
}

impl Store for MemoryStore {
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired> {
        Box::pin(async move {
            // The sender lives as long as this store: waiting cannot fail.
            let _ = self.shared.acquires_held.subscribe().wait_for(|held| !held).await;
            let mut state = self.part(partition)?;
            let before = state.went_back_from.take().map_or(0, |id| id.generation);
            state.generation = state.generation.max(before) + 1;
            state.taking = self.shared.takings.fetch_add(1, Ordering::Relaxed) + 1;
            lock(&self.taken).insert((partition, state.generation), state.taking);
            Ok(Acquired { generation: state.generation, last: state.last })
        })
    }

    fn append(&self, append: Append) -> StoreFuture<'_, ()> {
        Box::pin(self.append_now(append))
    }

    fn accept(&self, partition: PartitionId, top: BlockId, _from: BlockId) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let mut state = self.part(partition)?;
            state.accepted = state.top() == Some(top);
            Ok(())
        })
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        Box::pin(async move {
            self.shared.pings.fetch_add(1, Ordering::Relaxed);
            self.available()?;
            let top = |partition| {
                self.check_owner(partition, BlockId::default())?;
                Ok(self.part(partition)?.top())
            };
            Ok(partitions.into_iter().map(top).collect())
        })
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        Box::pin(async move {
            self.shared.reads.fetch_add(1, Ordering::Relaxed);
            // The sender lives as long as this store: waiting cannot fail.
            let _ = self.shared.reads_held.subscribe().wait_for(|held| !held).await;
            Ok(self.part(partition)?.read(range))
        })
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        Box::pin(async move {
            let state = self.part(partition)?;
            let value = |key| match state.live(key) {
                Some(Value::One(value)) => Some(value.clone()),
                _ => None,
            };
            Ok(keys.iter().map(value).collect())
        })
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        Box::pin(async move {
            Ok(match self.part(partition)?.live(&list) {
                Some(Value::List(entries)) => entries.iter().skip(skip).take(limit).cloned().collect(),
                _ => Vec::new(),
            })
        })
    }

    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.available()?;
            check_key(&key)?;
            lock(&self.shared.keys).insert(key, value);
            Ok(())
        })
    }

    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            self.available()?;
            check_key(&key)?;
            let fault = lock(&self.shared.key_faults).pop_front().flatten();
            if let Some(Fault::Refuse(error)) = fault {
                return Err(error);
            }
            let mut keys = lock(&self.shared.keys);
            if keys.get(&key) != expected.as_ref() {
                return Ok(false);
            }
            match value {
                Some(value) => keys.insert(key, value),
                None => keys.remove(&key),
            };
            match fault {
                Some(_) => Err(StoreError::Unknown("a test lost the reply".to_owned())),
                None => Ok(true),
            }
        })
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            self.available()?;
            Ok(lock(&self.shared.keys).get(&key).cloned())
        })
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        Box::pin(async move {
            self.available()?;
            let keys = lock(&self.shared.keys);
            let from = after.as_ref().map_or(prefix.clone(), |after| after.clone().max(prefix.clone()));
            let pairs = keys.range(from..).filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
            let pairs = pairs.take_while(|(key, _)| key.starts_with(&prefix));
            Ok(pairs.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
        })
    }

    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            self.available()?;
            check_key(&key)?;
            let mut keys = lock(&self.shared.keys);
            let old = keys.get(&key).map(|value| parse_counter(value)).transpose()?.unwrap_or(0);
            let new =
                old.checked_add(1).ok_or_else(|| StoreError::Refused("a counter is full".to_owned()))?;
            keys.insert(key, Bytes::from(new.to_string()));
            Ok(new)
        })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.shared.pings.fetch_add(1, Ordering::Relaxed);
            self.available()
        })
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        Box::pin(async move {
            self.available()?;
            Ok(Durability {
                store: "memory",
                survives_process_kill: false,
                survives_power_loss: false,
                detail: "kept in memory: all is lost when the process ends; the file store and Redis keep it"
                    .to_owned(),
                settings: Vec::new(),
            })
        })
    }
}

/// A counter's value: decimal text, as in Redis.
pub(crate) fn parse_counter(value: &[u8]) -> Result<u64, StoreError> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| StoreError::Refused("this key holds no counter".to_owned()))
}

impl Connect for MemoryStore {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        let connection: Arc<dyn Store> = Arc::new(Self { taken: Arc::default(), ..self.clone() });
        Box::pin(async move {
            self.available()?;
            Ok(connection)
        })
    }
}

mod faults;
#[cfg(test)]
mod tests;
