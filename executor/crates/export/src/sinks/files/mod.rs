//! Histories in a folder: NDJSON compressed with zstd, in files that follow each other.
//!
//! Each batch is one zstd frame with a checksum, so that a file is readable up to its last whole frame at any time, and
//! `zstd -dc` reads all of it. Invariants: a file has its last name (`.ndjson.zst`) only when it is complete and on the disk;
//! what was written in part, because the disk is full, is cut off again before the batch is retried; the files of a node
//! together take no more than they may, the oldest go first; one process writes the files of a node. What may fail: the disk;
//! then the batch is tried again. A disk that hangs holds up no other sink, for it is used on a thread of its own.

mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use telemetry::RemovedFiles;
use tokio::task::JoinHandle;

use crate::{Batch, Line, Now, Sent, Sink, SinkError};
use writer::Writer;

/// Where, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesOptions {
    /// The folder; it is made where it is missing.
    pub dir: PathBuf,
    /// Begins the files' names, so that several nodes can share a folder.
    pub node: String,
    /// A file that has grown so far is completed.
    pub file_bytes: u64,
    /// A file that is so old is completed.
    pub file_age: Duration,
    /// All files of the node together, the one that is being written among them: no less than two files.
    pub total_bytes: u64,
}

impl FilesOptions {
    /// Files of 64 MiB or five minutes, 10 GiB together.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            node: node.into(),
            file_bytes: 64 << 20,
            file_age: Duration::from_mins(5),
            total_bytes: 10 << 30,
        }
    }
}

/// What comes back from the thread that writes.
type Written = (Option<Writer>, std::io::Result<u64>);

/// See the module.
pub struct Files {
    options: FilesOptions,
    now: Now,
    removed: Arc<RemovedFiles>,
    /// Neither while the folder was never reached.
    writer: Option<Writer>,
    /// The writer is there, and may be for longer than a batch waits for it.
    working: Option<JoinHandle<Written>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Files {
    /// Nothing is opened yet. The cells count what is removed to make room.
    #[must_use]
    pub fn new(options: FilesOptions, now: Now, removed: Arc<RemovedFiles>) -> Self {
        Self { options, now, removed, writer: None, working: None }
    }

    /// Does something with the writer beside this thread, once what it does already is done.
    async fn work<W>(&mut self, work: W) -> Result<u64, SinkError>
    where
        W: FnOnce(&mut Writer, u64) -> std::io::Result<u64> + Send + 'static,
    {
        // A batch that was given up may still be on its way to the disk: then it is written twice.
        let _ = self.finish().await;
        let (writer, options, now) = (self.writer.take(), self.options.clone(), (self.now)());
        let removed = Arc::clone(&self.removed);
        self.working = Some(tokio::task::spawn_blocking(move || {
            let mut writer = match writer.map_or_else(|| Writer::open(options, removed), Ok) {
                Ok(writer) => writer,
                Err(error) => return (None, Err(error)),
            };
            let done = work(&mut writer, now);
            (Some(writer), done)
        }));
        let dir = self.options.dir.display().to_string();
        self.finish()
            .await
            .map_err(|error| SinkError::unavailable(format!("histories cannot be written to {dir}: {error}")))
    }

    async fn finish(&mut self) -> std::io::Result<u64> {
        let Some(working) = &mut self.working else { return Ok(0) };
        let ended = working.await;
        self.working = None;
        let (writer, done) = ended.map_err(std::io::Error::other)?;
        self.writer = writer;
        done
    }
}

impl Sink<Arc<Line>> for Files {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<Sent, SinkError> {
        let lines = batch.items.clone();
        self.work(move |writer, now| writer.append(lines.iter().map(|line| line.text.as_str()), now))
            .await
            .map(Sent::from)
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        self.work(|writer, now| writer.complete_if_due(now).map(|()| 0)).await.map(drop)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.work(|writer, _| writer.complete().map(|()| 0)).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
