//! The files themselves: appended to, completed, found again after a crash, removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use asl::Timestamp;
use telemetry::RemovedFiles;
use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;

use super::FilesOptions;

const COMPLETE: &str = ".ndjson.zst";
const UNFINISHED: &str = ".ndjson.zst.part";
/// Inputs and outputs of executions are in them: the owner writes, the group reads, nobody else does.
const FILE_MODE: u32 = 0o640;
/// The same of the folder, where it is made here.
const FOLDER_MODE: u32 = 0o750;
/// The least effort of zstd's usual levels: what repeats in lines, it finds too.
const LEVEL: i32 = 1;

/// The file that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// Of whole frames.
    bytes: u64,
    since_ms: u64,
}

/// See the module.
pub(super) struct Writer {
    options: FilesOptions,
    /// What the names of this node's files begin with.
    prefix: String,
    removed: Arc<RemovedFiles>,
    compressor: Compressor<'static>,
    /// Of the last batch, and its frame: used again, for memory that is given back has to be taken anew.
    text: Vec<u8>,
    frame: Vec<u8>,
    open: Option<Open>,
    /// Tells files of the same millisecond apart.
    number: u32,
    /// Locked while it lives: nobody else writes this node's files.
    _lock: File,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Writer {
    /// Takes the folder: completes what a crash has left, and removes what is too much.
    pub fn open(options: FilesOptions, removed: Arc<RemovedFiles>) -> io::Result<Self> {
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true).mode(FOLDER_MODE).create(&options.dir).map_err(at(&options.dir))?;
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '_' };
        let prefix = format!("history-{}-", options.node.chars().map(safe).collect::<String>());
        let path = options.dir.join(format!("{prefix}lock"));
        let lock =
            OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(&path).map_err(at(&path))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::Error(error) => at(&path)(error),
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!(
                    "{}: another process writes the files of this node: give nodes different names (--node-id)",
                    path.display()
                ),
            ),
        })?;
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        let (text, frame) = (Vec::new(), Vec::new());
        let writer =
            Self { options, prefix, removed, compressor, text, frame, open: None, number: 0, _lock: lock };
        for (path, _) in writer.files(UNFINISHED)? {
            recover(&path).map_err(at(&path))?;
        }
        writer.make_room()?;
        Ok(writer)
    }

    /// Appends a frame with these lines; its length.
    pub fn append<'l>(&mut self, lines: impl Iterator<Item = &'l str>, now_ms: u64) -> io::Result<u64> {
        self.complete_if_due(now_ms)?;
        self.text.clear();
        for line in lines {
            self.text.extend_from_slice(line.as_bytes());
            self.text.push(b'\n');
        }
        self.frame.clear();
        self.frame.reserve(zstd::zstd_safe::compress_bound(self.text.len()));
        self.compressor.compress_to_buffer(&self.text, &mut self.frame)?;
        if self.open.is_none() {
            self.open = Some(self.create(now_ms)?);
        }
        let Some(open) = &mut self.open else { return Ok(0) };
        if let Err(error) = open.file.write_all(&self.frame) {
            let error = at(&open.path)(error);
            if open.file.set_len(open.bytes).is_err() {
                // It is closed as it is: whoever finds it cuts it off.
                self.open = None;
            }
            return Err(error);
        }
        let written = self.frame.len() as u64;
        open.bytes += written;
        Ok(written)
    }

    /// Completes the file if it is long or old enough.
    pub fn complete_if_due(&mut self, now_ms: u64) -> io::Result<()> {
        let age = u64::try_from(self.options.file_age.as_millis()).unwrap_or(u64::MAX);
        let due = |open: &Open| {
            open.bytes >= self.options.file_bytes || now_ms.saturating_sub(open.since_ms) >= age
        };
        if self.open.as_ref().is_some_and(due) { self.complete() } else { Ok(()) }
    }

    /// Completes the file; where that fails it stays open.
    pub fn complete(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        open.file.sync_all().map_err(at(&open.path))?;
        finish(&open.path, open.bytes).map_err(at(&open.path))?;
        self.open = None;
        self.make_room()
    }

    fn create(&mut self, now_ms: u64) -> io::Result<Open> {
        let stamp: String = Timestamp(i64::try_from(now_ms).unwrap_or(i64::MAX))
            .to_string()
            .chars()
            .filter(|c| !"-:.".contains(*c))
            .collect();
        self.number = (self.number + 1) % 1_000_000;
        let name = format!("{}{stamp}-{:06}{UNFINISHED}", self.prefix, self.number);
        let path = self.options.dir.join(name);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(at(&path))?;
        Ok(Open { file, path, bytes: 0, since_ms: now_ms })
    }

    /// This node's files with this ending, oldest first, and their lengths.
    fn files(&self, ending: &str) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.options.dir).map_err(at(&self.options.dir))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(&self.prefix)?.strip_suffix(ending));
            // Another node's name may begin with this one's.
            if name.is_some_and(is_stamp) {
                found.push((entry.path(), entry.metadata()?.len()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes the oldest, as long as all of them and a whole one to come are too much.
    fn make_room(&self) -> io::Result<()> {
        let files = self.files(COMPLETE)?;
        let mut total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        for (path, bytes) in files {
            if total.saturating_add(self.options.file_bytes) <= self.options.total_bytes {
                break;
            }
            fs::remove_file(&path).map_err(at(&path))?;
            total -= bytes;
            self.removed.files.add(1);
            self.removed.bytes.add(bytes);
            tracing::info!(file = %path.display(), bytes, "the oldest file of histories was removed to make room");
        }
        Ok(())
    }
}

/// A time and a number, as [`Writer::create`] writes them.
fn is_stamp(text: &str) -> bool {
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((stamp, number)) = text.split_once('-') else { return false };
    let Some((day, time)) = stamp.strip_suffix('Z').and_then(|stamp| stamp.split_once('T')) else {
        return false;
    };
    digits(day, 8) && digits(time, 9) && digits(number, 6)
}

/// What a crash has left: the whole frames of it become a complete file.
fn recover(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let bytes = whole_frames(&file)?;
    file.set_len(bytes)?;
    file.sync_all()?;
    tracing::info!(file = %path.display(), bytes, "a file of histories that was not completed is completed now");
    finish(path, bytes)
}

/// Gives it its last name, or removes it where nothing is in it.
fn finish(path: &Path, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return fs::remove_file(path);
    }
    let text = path.to_string_lossy();
    let complete = text.strip_suffix(UNFINISHED).map(|name| format!("{name}{COMPLETE}"));
    fs::rename(path, complete.unwrap_or_else(|| text.into_owned()))?;
    // The name is on the disk too.
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// The length of the frames that can be read from the beginning.
fn whole_frames(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut end = 0;
    while !reader.fill_buf()?.is_empty() {
        let frame = Decoder::with_buffer(&mut reader)?.single_frame();
        if io::copy(&mut { frame }, &mut io::sink()).is_err() {
            break;
        }
        end = reader.stream_position()?;
    }
    Ok(end)
}
