//! The store in files, read by somebody else than its node.
//!
//! Purpose: look into a directory whose node is stopped, and change nothing in it. Invariants: no file of the directory is
//! made, written, cut or removed; the directory is locked meanwhile, so that no node begins to write; the embedded engine of
//! the keys cannot be opened without writing, so that a copy of it is opened, in a directory of its own that goes with the
//! reader. What may fail: the directory is no store, or a node has it; the disk; a full temporary directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ids::PartitionId;
use tempfile::TempDir;

use super::keys::Keys;
use super::log::{self, Log, State};
use super::{describe, in_use, unavailable};
use crate::store::{
    Acquired, Append, BlockId, BlockRange, Connect, Durability, Store, StoreError, StoreFuture, Top,
};

/// See the module; clones share everything.
#[derive(Debug, Clone)]
pub struct FileReader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Log,
    state: State,
    keys: Keys,
    durability: Durability,
    /// Where the copy of the keys is.
    _copy: TempDir,
    /// Held for as long as the store is read.
    _lock: File,
}

fn read_only<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused("the store is opened for reading alone".to_owned()))
}

/// Copies a directory of plain files and directories.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

impl FileReader {
    /// Opens a store whose node is stopped.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the directory is no store, or a node uses it; [`StoreError::Unavailable`] when it
    /// cannot be read; [`StoreError::Corrupt`] when something acknowledged is damaged.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let (path, keys) = (dir.join("lock"), dir.join("keys"));
        if !path.is_file() || !dir.join("log").is_dir() || !keys.is_dir() {
            let message = "there is no store in this directory; nothing was made there";
            return Err(StoreError::Refused(message.to_owned()));
        }
        let mut lock = File::open(&path).map_err(|error| unavailable("opening", &path, &error))?;
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut lock, "ask it")),
            Err(TryLockError::Error(error)) => return Err(unavailable("locking", &path, &error)),
        }
        let (log, state) = log::open_to_read(&dir.join("log"))?;
        let beside = |error: &io::Error| unavailable("copying for reading", &keys, error);
        let temporary = tempfile::tempdir().map_err(|error| beside(&error))?;
        copy(&keys, temporary.path()).map_err(|error| beside(&error))?;
        let keys = Keys::open(temporary.path().to_owned())?;
        let durability = describe(dir);
        Ok(Self(Arc::new(Inner { log, state, keys, durability, _copy: temporary, _lock: lock })))
    }
}

impl Connect for FileReader {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        let connection: Arc<dyn Store> = Arc::new(self.clone());
        Box::pin(async move { Ok(connection) })
    }
}

impl Store for FileReader {
    fn acquire(&self, _: PartitionId) -> StoreFuture<'_, Acquired> {
        Box::pin(async { read_only() })
    }

    fn append(&self, _: Append) -> StoreFuture<'_, ()> {
        Box::pin(async { read_only() })
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        let top = |partition: PartitionId| {
            let state = self.0.state[usize::from(partition.get())];
            let mark = BlockId { generation: state.generation, sequence: 0 };
            Ok((state.generation > 0).then(|| state.last.max(mark)))
        };
        let tops = partitions.into_iter().map(top).collect();
        Box::pin(async move { Ok(tops) })
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        Box::pin(async move { self.0.log.read(partition, range) })
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        Box::pin(async move { self.0.keys.get_derived(partition, &keys) })
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        Box::pin(async move { self.0.keys.list(partition, &list, skip, limit) })
    }

    fn put(&self, _: Bytes, _: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async { read_only() })
    }

    fn compare_and_put(&self, _: Bytes, _: Option<Bytes>, _: Option<Bytes>) -> StoreFuture<'_, bool> {
        Box::pin(async { read_only() })
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move { self.0.keys.get(&key) })
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        Box::pin(async move { self.0.keys.scan(&prefix, after.as_deref(), limit) })
    }

    fn increment(&self, _: Bytes) -> StoreFuture<'_, u64> {
        Box::pin(async { read_only() })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        Box::pin(async move { Ok(self.0.durability.clone()) })
    }
}
