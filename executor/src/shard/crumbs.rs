//! Crumbs: which execution each shard is stepping, so that a node that was killed by one knows which.
//!
//! A small file of the state directory is mapped into memory and has a slot for each shard: the id of the execution being
//! stepped, or whose call of an integration is polled, and nothing between two of these, and behind it the life, a number that
//! each process draws. To set and to clear the id are plain stores; the page cache keeps them when the process dies, by
//! whatever it dies. The next process of the node reads the slots and raises, in the store, what stands against those
//! executions ([`super::suspects`]), before it takes a partition.
//!
//! Invariants: slots are read before any is written; each is emptied only when what it said is durable; the death of a life
//! is counted once, however often that is tried and whoever tries it. Without a state directory there are none, and nobody
//! is suspected. What may fail: the directory ([`CrumbError`]), the store.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use ids::ExecutionId;
use journal::{Store, StoreError};
use memmap2::{MmapMut, MmapOptions};
use tokio::sync::Mutex;

use super::machine::{id_of, key_of};
use super::suspects;

/// The file of the state directory.
const FILE: &str = "stepping";
/// Bytes of a slot: a line of the cache, of which three numbers are used.
const SLOT: usize = 64;
/// Where the life stands in its slot.
const LIFE_AT: u64 = 16;
/// Slots of a file at most; no node has more shards.
const SLOTS_MAX: usize = 4_096;
/// Says in the first number that the slot is taken. No key has it.
const TAKEN: u64 = 1 << 63;

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--state-dir: {path} cannot be read and written ({source}): give the node a directory of its own")]
pub struct CrumbError {
    path: PathBuf,
    source: io::Error,
}

/// What a process was stepping when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    slot: usize,
    id: ExecutionId,
    /// Of that process.
    life: u64,
}

/// The crumbs of a node.
#[derive(Debug, Default)]
pub struct Crumbs {
    file: Option<File>,
    /// Of this process.
    life: u64,
    /// What is not counted yet.
    found: Mutex<Vec<Found>>,
}

/// The slot of a shard.
#[derive(Debug, Default)]
pub struct Crumb(Option<RefCell<MmapMut>>);

impl Crumbs {
    /// Reads what the process before has left, and makes room for so many shards. Without a directory nothing is kept.
    ///
    /// # Errors
    /// When the directory or its file cannot be used.
    pub fn open(directory: Option<&Path>, shards: u32) -> Result<Arc<Self>, CrumbError> {
        let Some(directory) = directory else { return Ok(Arc::default()) };
        let wrong = |source| CrumbError { path: directory.join(FILE), source };
        std::fs::create_dir_all(directory).map_err(wrong)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(directory.join(FILE));
        let file = file.map_err(wrong)?;
        let length = file.metadata().map_err(wrong)?.len();
        let slots = (usize::try_from(length).unwrap_or(usize::MAX) / SLOT).min(SLOTS_MAX);
        let mut bytes = vec![0; slots * SLOT];
        file.read_exact_at(&mut bytes, 0).map_err(wrong)?;
        let wanted = slots.max(shards as usize);
        file.set_len((wanted * SLOT) as u64).map_err(wrong)?;
        let found: Vec<Found> = bytes.chunks_exact(SLOT).enumerate().filter_map(stepped).collect();
        let life = RandomState::new().hash_one(std::process::id());
        // Those that say something are the dead process's until that is counted.
        for slot in (0..wanted).filter(|slot| !found.iter().any(|found| found.slot == *slot)) {
            file.write_all_at(&life.to_le_bytes(), (slot * SLOT) as u64 + LIFE_AT).map_err(wrong)?;
        }
        Ok(Arc::new(Self { file: Some(file), life, found: Mutex::new(found) }))
    }

    /// As of a node whose process before died while it stepped this, for the simulation: of this process nothing is kept.
    #[doc(hidden)]
    #[must_use]
    pub fn of(id: ExecutionId, life: u64) -> Arc<Self> {
        let found = vec![Found { slot: 0, id, life }];
        Arc::new(Self { file: None, life: 0, found: Mutex::new(found) })
    }

    /// Whether everything that was found is counted, for the simulation.
    #[doc(hidden)]
    #[must_use]
    pub fn are_counted(&self) -> bool {
        // Whoever counts now is not done.
        self.found.try_lock().is_ok_and(|found| found.is_empty())
    }

    /// The slot of a shard; nothing is kept where it cannot be mapped.
    #[must_use]
    pub fn slot(&self, shard: u32) -> Crumb {
        let Some(file) = &self.file else { return Crumb::default() };
        match map(file, shard) {
            Ok(slot) => Crumb(Some(RefCell::new(slot))),
            Err(error) => {
                tracing::error!(%error, "what the shard steps is not kept: what kills the node is not found out");
                Crumb::default()
            }
        }
    }

    /// Has the store count what was found, once; whoever comes second waits for it.
    ///
    /// # Errors
    /// What the store says; then the next one goes on where this one has failed.
    pub async fn report(&self, store: &dyn Store, now_ms: u64) -> Result<(), StoreError> {
        let mut found = self.found.lock().await;
        while let Some(Found { slot, id, life }) = found.last().copied() {
            let deaths = suspects::accuse(store, id, life, now_ms).await?;
            found.pop();
            tracing::error!(execution = %id, deaths, "the node died while it stepped this execution");
            if let Err(error) = self.sweep(slot) {
                tracing::error!(%error, "a crumb is not swept up: this death is not counted again, the next one may not be");
            }
        }
        Ok(())
    }

    /// Nobody steps before all slots are swept.
    fn sweep(&self, slot: usize) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut empty = [0; LIFE_AT as usize + 8];
        empty[LIFE_AT as usize..].copy_from_slice(&self.life.to_le_bytes());
        file.write_all_at(&empty, (slot * SLOT) as u64)
    }
}

#[allow(unsafe_code, reason = "a file that is mapped can only be had so")]
fn map(file: &File, shard: u32) -> io::Result<MmapMut> {
    let offset = u64::from(shard) * SLOT as u64;
    // SAFETY: the file is the node's own, and nobody shortens it; what another process writes into it are numbers that
    // are never trusted.
    unsafe { MmapOptions::new().offset(offset).len(SLOT).map_mut(file) }
}

/// What a slot says.
fn stepped((slot, bytes): (usize, &[u8])) -> Option<Found> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (high, low, life) = (number(0)?, number(8)?, number(LIFE_AT as usize)?);
    if high & TAKEN == 0 {
        return None;
    }
    Some(Found { slot, id: id_of([high & !TAKEN, low])?, life })
}

impl Crumb {
    /// This execution is stepped now.
    #[inline]
    pub fn set(&self, id: ExecutionId) {
        let Some(slot) = &self.0 else { return };
        let [high, low] = key_of(id);
        let mut slot = slot.borrow_mut();
        slot[8..16].copy_from_slice(&low.to_le_bytes());
        compiler_fence(Ordering::SeqCst);
        slot[..8].copy_from_slice(&(high | TAKEN).to_le_bytes());
        // The step stays behind it.
        compiler_fence(Ordering::SeqCst);
    }

    /// None is.
    #[inline]
    pub fn clear(&self) {
        let Some(slot) = &self.0 else { return };
        compiler_fence(Ordering::SeqCst);
        slot.borrow_mut()[..8].fill(0);
    }

    /// Says so whenever a call of this execution is polled, which is no step.
    pub async fn around<T>(self: Rc<Self>, id: ExecutionId, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        std::future::poll_fn(|context| {
            self.set(id);
            let polled = call.as_mut().poll(context);
            self.clear();
            polled
        })
        .await
    }
}

/// Debug builds abort in the step of a machine, or the call of a resource, that the environment names, so that a test can have
/// a node die of it.
#[inline]
pub(super) fn failpoint(_name: &str) {
    #[cfg(debug_assertions)]
    {
        static ABORTS: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let aborts = ABORTS.get_or_init(|| std::env::var("FAILPOINT_ABORT_IN").ok());
        if aborts.as_deref() == Some(_name) {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, PartitionId};
    use journal::memory::{Fault, MemoryStore};

    use super::*;

    /// What is not counted yet.
    fn found(crumbs: &Crumbs) -> Vec<ExecutionId> {
        crumbs.found.try_lock().expect("nobody reports").iter().map(|found| found.id).collect()
    }

    fn id(index: u8) -> ExecutionId {
        BatchId::new(PartitionId::new(0).expect("in range"), 0, 0).expect("in range").execution(index)
    }

    #[tokio::test]
    async fn what_was_being_stepped_is_found_by_the_next_process_and_counted_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Crumbs::open(Some(directory.path()), 3).expect("opened");
        assert!(found(&first).is_empty());
        let slots = [first.slot(0), first.slot(1), first.slot(2)];
        slots[0].set(id(1));
        slots[0].clear();
        slots[1].set(id(0));
        slots[2].set(id(7));
        // Fewer shards than before; the mappings of a dead process are gone.
        drop(slots);
        let second = Crumbs::open(Some(directory.path()), 1).expect("opened");
        assert_eq!(found(&second), [id(0), id(7)]);
        let store = MemoryStore::new();
        second.report(&store, 1).await.expect("counted");
        second.report(&store, 1).await.expect("counted before");
        let suspects = suspects::of(&store, id(0).batch.partition).await.expect("read");
        assert_eq!(suspects.values().map(|suspect| suspect.deaths).collect::<Vec<_>>(), [1, 1]);
        let third = Crumbs::open(Some(directory.path()), 1).expect("opened");
        assert!(found(&third).is_empty());
    }

    #[tokio::test]
    async fn a_report_that_fails_halfway_goes_on_where_it_failed_and_counts_nobody_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Crumbs::open(Some(directory.path()), 2).expect("opened");
        first.slot(0).set(id(1));
        first.slot(1).set(id(2));
        drop(first);
        let store = MemoryStore::new();
        let crumbs = Crumbs::open(Some(directory.path()), 2).expect("opened");
        // Of the first the reply is lost alone; the second is not counted three times.
        let refused = || Some(Fault::Refuse(StoreError::Unavailable("away".to_owned())));
        store.fail_key_writes([Some(Fault::LoseReply), refused(), refused(), refused()]);
        for _ in 0..4 {
            crumbs.report(&store, 1).await.expect_err("it failed");
        }
        crumbs.report(&store, 1).await.expect("counted");
        let suspects = suspects::of(&store, id(0).batch.partition).await.expect("read");
        assert_eq!([suspects[&id(1)].deaths, suspects[&id(2)].deaths], [1, 1]);
        // The next death is another one.
        crumbs.slot(0).set(id(1));
        let next = Crumbs::open(Some(directory.path()), 2).expect("opened");
        next.report(&store, 2).await.expect("counted");
        let suspects = suspects::of(&store, id(0).batch.partition).await.expect("read");
        assert_eq!([suspects[&id(1)].deaths, suspects[&id(2)].deaths], [2, 1]);
    }

    #[tokio::test]
    async fn a_death_is_counted_once_though_the_process_that_counted_it_died_before_it_swept() {
        let directory = tempfile::tempdir().expect("a directory");
        Crumbs::open(Some(directory.path()), 1).expect("opened").slot(0).set(id(1));
        let store = MemoryStore::new();
        store.fail_key_writes([Some(Fault::LoseReply)]);
        let second = Crumbs::open(Some(directory.path()), 1).expect("opened");
        second.report(&store, 1).await.expect_err("counted, and nobody knows");
        drop(second);
        let third = Crumbs::open(Some(directory.path()), 1).expect("opened");
        third.report(&store, 1).await.expect("known");
        let suspects = suspects::of(&store, id(0).batch.partition).await.expect("read");
        assert_eq!(suspects[&id(1)].deaths, 1);
    }

    #[test]
    fn without_a_directory_nothing_is_kept() {
        let crumbs = Crumbs::open(None, 1).expect("nothing to open");
        let slot = crumbs.slot(0);
        slot.set(id(1));
        slot.clear();
        assert!(found(&crumbs).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Crumbs::open(Some(file.path()), 1).expect_err("a file is no directory");
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }
}
