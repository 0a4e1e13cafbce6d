//! The store in files: durable on one machine without a server.
//!
//! Purpose: the log in preallocated segment files with group commit, small keys in an embedded engine.
//! Invariants: a write is acknowledged after fdatasync; a torn tail was never acknowledged and is cut when
//! the store is opened; the fence and the trim marks are as durable as the blocks; one process at a time
//! holds the directory. What may fail: the disk. A full one gives [`StoreError::Unavailable`] until space
//! returns, and damage to what was acknowledged gives [`StoreError::Corrupt`], never silence.
//!
//! # Layout
//!
//! ```text
//! DIR/lock                  locked by the process whose id it holds
//! DIR/log/NUMBER.segment    segment files, numbered upwards, 20 digits; format in `segment`
//! DIR/log/spare             the next segment, being filled with zeros; holds nothing
//! DIR/keys/                 durable and derived keys (fjall); layout in `keys`
//! ```
//!
//! One thread writes for all shards of the process: it gathers what waits, writes it at once, calls fdatasync
//! once, and answers. A failed write or fdatasync is never repeated on the same file: after it nobody knows
//! which pages the kernel holds, and a second fdatasync would report success for what is lost. The segment is
//! cut at its last confirmed frame, and the next append begins a new one.
//!
//! A segment goes when all its blocks are below the trim marks of their partitions. Calls must run inside a
//! tokio runtime: reads and durable keys use its blocking threads.

mod keys;
mod log;
mod reader;
mod segment;
mod spare;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use ids::PartitionId;
use tokio::sync::{mpsc, oneshot};

pub use self::reader::FileReader;

use self::keys::Keys;
use self::log::Log;
use self::writer::{Request, Writer};
use crate::store::{
    Acquired, Append, BlockId, BlockRange, Connect, Durability, Store, StoreError, StoreFuture, Top,
    check_key,
};

/// Appends that may wait for the writer; each shard has at most one for each of its partitions.
const QUEUE_REQUESTS: usize = 2_048;
/// The magic number of tmpfs, where fdatasync does nothing.
const TMPFS: i64 = 0x0102_1994;

/// How the store is kept.
#[derive(Debug, Clone)]
pub struct FileOptions {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes of a segment file, which is the unit in which trimmed space is given back. Where the disk has no room for
    /// one, smaller ones are made, down to 1 MiB.
    pub segment_bytes: u64,
    /// All segment files together take no more than this; `None`: as much as the disk has. What is above is
    /// refused as if the disk were full.
    pub log_bytes_max: Option<u64>,
}

impl FileOptions {
    /// Segments of 64 MiB in this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_bytes: 64 * 1024 * 1024, log_bytes_max: None }
    }
}

/// The store in files; clones share everything. The last one that is dropped ends the writer and unlocks the
/// directory.
#[derive(Debug, Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    sender: Option<mpsc::Sender<Request>>,
    log: Arc<Log>,
    keys: Arc<Keys>,
    thread: Option<JoinHandle<()>>,
    durability: Durability,
    /// Held for as long as the store is open.
    _lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "the writer of the file store has panicked");
        }
    }
}

/// Whether there is no room: on the disk, within the quota, or within the process's limit of a file's size.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn writer_gone() -> StoreError {
    StoreError::Unknown("the writer of the file store has ended".to_owned())
}

fn unavailable(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    let advice = match error.kind() {
        _ if is_full(error) => ": free some space there, or shorten the retention; writing goes on by itself",
        std::io::ErrorKind::PermissionDenied => ": give this user the right to write there",
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            ": choose a directory that can be made"
        }
        std::io::ErrorKind::ReadOnlyFilesystem => ": mount it writable",
        _ => "",
    };
    StoreError::Unavailable(format!("{what} {} failed: {error}{advice}", path.display()))
}

impl FileStore {
    /// Opens the store, and cuts a torn tail.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the directory cannot be used, [`StoreError::Refused`] when another
    /// process uses it, [`StoreError::Corrupt`] when something acknowledged is damaged.
    pub fn open(options: FileOptions) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        std::fs::create_dir_all(dir.join("log")).map_err(|error| unavailable("making", &dir, &error))?;
        let lock = lock_directory(&dir)?;
        let (log, active, state) = log::open(&dir.join("log"))?;
        let log = Arc::new(log);
        let keys = Arc::new(Keys::open(dir.join("keys"))?);
        let durability = describe(&dir);
        let (sender, receiver) = mpsc::channel(QUEUE_REQUESTS);
        let writer = Writer::new(&options, Arc::clone(&log), Arc::clone(&keys), active, state);
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(receiver));
        let thread = Some(thread.map_err(|error| unavailable("starting the writer of", &dir, &error))?);
        let inner = Inner { dir, sender: Some(sender), log, keys, thread, durability, _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sender = self.inner.sender.as_ref().ok_or_else(writer_gone)?;
        sender.send(request(reply)).await.map_err(|_| writer_gone())?;
        answer.await.map_err(|_| writer_gone())?
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|error| Err(StoreError::Unknown(format!("a blocking call has ended: {error}"))))
    }
}

fn lock_directory(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = options.map_err(|error| unavailable("opening", &path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(dir, &mut file, "choose another directory")),
        Err(TryLockError::Error(error)) => return Err(unavailable("locking", &path, &error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    // The id is for people; the lock holds without it, also on a full disk.
    let _ = written;
    Ok(file)
}

/// Another process has the directory; `or` says what there is to do besides stopping it.
fn in_use(dir: &Path, lock: &mut File, or: &str) -> StoreError {
    let mut holder = String::new();
    let _ = lock.read_to_string(&mut holder);
    let (holder, dir) = (holder.trim(), dir.display());
    StoreError::Refused(format!("process {holder} uses the directory {dir}: stop it, or {or}"))
}

fn describe(dir: &Path) -> Durability {
    let on_disk = rustix::fs::statfs(dir).map_or(true, |status| status.f_type != TMPFS);
    let place = dir.display();
    let detail = if on_disk {
        format!("files in {place}, fdatasync before each acknowledgement")
    } else {
        format!(
            "files in {place}, which is a tmpfs: a loss of power loses everything; use a directory on a disk"
        )
    };
    Durability {
        store: "file",
        survives_process_kill: true,
        survives_power_loss: on_disk,
        detail,
        settings: vec![("dir", place.to_string()), ("sync", "fdatasync".to_owned())],
    }
}

impl Connect for FileStore {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        let connection: Arc<dyn Store> = Arc::new(self.clone());
        Box::pin(async move { Ok(connection) })
    }
}

impl Store for FileStore {
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired> {
        Box::pin(self.ask(move |reply| Request::Acquire { partition, reply }))
    }

    fn append(&self, append: Append) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            append.check()?;
            self.ask(move |reply| Request::Append { append, reply }).await
        })
    }

    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        Box::pin(self.ask(move |reply| Request::Tops { partitions, reply }))
    }

    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        Box::pin(self.blocking(move |inner| inner.log.read(partition, range)))
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        Box::pin(async move { self.inner.keys.get_derived(partition, &keys) })
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        Box::pin(async move { self.inner.keys.list(partition, &list, skip, limit) })
    }

    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            check_key(&key)?;
            self.blocking(move |inner| inner.keys.put(&key, &value)).await
        })
    }

    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            check_key(&key)?;
            self.blocking(move |inner| {
                inner.keys.compare_and_put(&key, expected.as_deref(), value.as_deref())
            })
            .await
        })
    }

    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move { self.inner.keys.get(&key) })
    }

    fn scan(
        &self,
        prefix: Bytes,
        after: Option<Bytes>,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        Box::pin(self.blocking(move |inner| inner.keys.scan(&prefix, after.as_deref(), limit)))
    }

    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            check_key(&key)?;
            self.blocking(move |inner| inner.keys.increment(&key)).await
        })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        let ended = self.inner.sender.as_ref().is_none_or(mpsc::Sender::is_closed);
        Box::pin(async move { if ended { Err(writer_gone()) } else { Ok(()) } })
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        Box::pin(async move { Ok(self.inner.durability.clone()) })
    }
}
