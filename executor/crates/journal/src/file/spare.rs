//! The next segment, made ready beside the writing.
//!
//! Blocks that were allocated but never written cost a journal commit of the file system with each fdatasync
//! (4 ms against 0.2 ms on a busy ext4 disk), so that a spare file is filled with zeros by a thread of its
//! own while the present segment is written to. Without a spare at hand a segment is allocated at once, and
//! works more slowly.
//!
//! Invariants: the spare holds nothing; one thread at most fills it, and ends with the store. What may fail:
//! the disk, and then there is no spare.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Zeros of one write; they are synced as they come, so that no sync of the log has to wait for many of them.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) struct Spare {
    path: PathBuf,
    thread: Option<JoinHandle<io::Result<Ready>>>,
    stop: Arc<AtomicBool>,
}

struct Ready {
    file: File,
    bytes: u64,
}

impl Spare {
    pub(super) fn new(dir: PathBuf) -> Self {
        let path = dir.join("spare");
        // Of a process before; it holds nothing.
        let _ = std::fs::remove_file(&path);
        Self { path, thread: None, stop: Arc::new(AtomicBool::new(false)) }
    }

    /// Begins to make the next spare, if none is being made.
    pub(super) fn prepare(&mut self, bytes: u64) {
        if self.thread.is_some() {
            return;
        }
        let (path, stop) = (self.path.clone(), Arc::clone(&self.stop));
        let fill = move || fill(&path, bytes, &stop);
        self.thread = std::thread::Builder::new().name("store-spare".to_owned()).spawn(fill).ok();
    }

    /// A file of this path and capacity that begins so, durable with its name.
    pub(super) fn take_or_make(&mut self, path: &Path, capacity: u64, begin: &[u8]) -> io::Result<File> {
        let file = match self.ready() {
            Some(ready) if ready.bytes == capacity => {
                std::fs::rename(&self.path, path)?;
                ready.file
            }
            _ => allocate(path, capacity)?,
        };
        file.write_all_at(begin, 0)?;
        file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(file)
    }

    fn ready(&mut self) -> Option<Ready> {
        if !self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            return None;
        }
        self.thread.take()?.join().ok()?.ok()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn fill(path: &Path, bytes: u64, stop: &AtomicBool) -> io::Result<Ready> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let filled = (|| {
        // Where there is no room for all of it, nothing is taken, not even for a moment: the keys need it.
        reserve(&file, bytes)?;
        let zeros = vec![0; PIECE_BYTES];
        let mut at = 0;
        while at < bytes && !stop.load(Ordering::Relaxed) {
            let piece = zeros.len().min((bytes - at) as usize);
            file.write_all_at(&zeros[..piece], at)?;
            file.sync_data()?;
            at += piece as u64;
        }
        Ok(Ready { file, bytes: at })
    })();
    if filled.is_err() {
        // What was written of it would only fill the disk.
        let _ = std::fs::remove_file(path);
    }
    filled
}

/// A file of this capacity, quickly.
fn allocate(path: &Path, capacity: u64) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let reserved = reserve(&file, capacity);
    if reserved.is_err() {
        // It holds nothing, and another capacity may be tried under this name.
        let _ = std::fs::remove_file(path);
    }
    reserved.map(|()| file)
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // This file system cannot allocate ahead: it works without, a little slower.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        Err(error) => Err(error.into()),
    }
}
