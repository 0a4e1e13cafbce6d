//! Which block is where, rebuilt from the segments when the store is opened.
//!
//! Invariants: the writer's thread alone changes it, after fdatasync; readers see confirmed blocks only.
//! Memory: 48 bytes for each block that is not trimmed. What may fail: reading files.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ids::{PARTITIONS_MAX, PartitionId};

use super::segment::{Frame, FrameKind, Frames, HEADER_BYTES, number_of, path_of, was_begun};
use super::unavailable;
use crate::store::{BlockId, BlockRange, StoreError};

/// Where a block's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// A partition's fence and trim mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PartitionState {
    /// 0: never owned.
    pub(super) generation: u64,
    /// The last block; 0-0: none.
    pub(super) last: BlockId,
    pub(super) trim: BlockId,
}

/// The state of all partitions.
pub(super) type State = Box<[PartitionState]>;

const STATE_BYTES: usize = 2 + 5 * 8;

pub(super) fn encode_state(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, partition) in state.iter().enumerate().filter(|(_, partition)| partition.generation != 0) {
        out.extend_from_slice(&(number as u16).to_le_bytes());
        let PartitionState { generation, last, trim } = partition;
        for number in [*generation, last.generation, last.sequence, trim.generation, trim.sequence] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    out
}

fn decode_state(bytes: &[u8], path: &Path) -> Result<State, StoreError> {
    let mut state = empty_state();
    let mut entries = bytes.chunks_exact(STATE_BYTES);
    for entry in entries.by_ref() {
        let mut numbers = [0; 5];
        for (number, bytes) in numbers.iter_mut().zip(entry[2..].chunks_exact(8)) {
            let mut array = [0; 8];
            array.copy_from_slice(bytes);
            *number = u64::from_le_bytes(array);
        }
        let [generation, last_generation, last_sequence, trim_generation, trim_sequence] = numbers;
        let place = usize::from(u16::from_le_bytes([entry[0], entry[1]]));
        let slot = state.get_mut(place).ok_or_else(|| damaged(path, HEADER_BYTES))?;
        *slot = PartitionState {
            generation,
            last: BlockId { generation: last_generation, sequence: last_sequence },
            trim: BlockId { generation: trim_generation, sequence: trim_sequence },
        };
    }
    if entries.remainder().is_empty() { Ok(state) } else { Err(damaged(path, HEADER_BYTES)) }
}

fn empty_state() -> State {
    vec![PartitionState::default(); usize::from(PARTITIONS_MAX)].into()
}

fn damaged(path: &Path, at: u64) -> StoreError {
    StoreError::Corrupt(format!(
        "{} is damaged at byte {at}, within what was acknowledged: restore it from a copy",
        path.display()
    ))
}

/// Blocks of one partition, in order, and where they are.
type Entries = VecDeque<(BlockId, Location)>;

/// Which block is where.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    partitions: Box<[Mutex<Entries>]>,
    segments: Mutex<BTreeMap<u64, Segment>>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    /// Blocks that are not trimmed.
    live: usize,
    /// The writer has gone on to another.
    sealed: bool,
    /// What the file takes on the disk.
    bytes: u64,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    /// Bytes confirmed.
    pub(super) length: u64,
    /// Bytes preallocated.
    pub(super) capacity: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are changed by single calls that do not panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn new(dir: &Path) -> Self {
        let partitions = (0..PARTITIONS_MAX).map(|_| Mutex::default()).collect();
        Self { dir: dir.to_owned(), partitions, segments: Mutex::default() }
    }

    fn entries(&self, partition: PartitionId) -> MutexGuard<'_, Entries> {
        lock(&self.partitions[usize::from(partition.get())])
    }

    /// A confirmed block.
    pub(super) fn insert(&self, partition: PartitionId, id: BlockId, location: Location) {
        self.entries(partition).push_back((id, location));
        if let Some(segment) = lock(&self.segments).get_mut(&location.segment) {
            segment.live += 1;
        }
    }

    pub(super) fn add_segment(&self, number: u64, file: Arc<File>, bytes: u64, sealed: bool) {
        lock(&self.segments).insert(number, Segment { file, live: 0, sealed, bytes });
    }

    /// The segment was cut at this length, and is not written to again.
    pub(super) fn seal(&self, number: u64, length: u64) {
        if let Some(segment) = lock(&self.segments).get_mut(&number) {
            segment.sealed = true;
            segment.bytes = length;
        }
        self.remove_dead();
    }

    /// What all files take together.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.segments).values().map(|segment| segment.bytes).sum()
    }

    /// Forgets blocks below a mark, and removes the files that nothing needs any more.
    pub(super) fn trim(&self, partition: PartitionId, below: BlockId) {
        self.forget(partition, below);
        self.remove_dead();
    }

    fn forget(&self, partition: PartitionId, below: BlockId) {
        let mut entries = self.entries(partition);
        let mut segments = lock(&self.segments);
        while let Some((_, location)) = entries.pop_front_if(|(id, _)| *id < below) {
            if let Some(segment) = segments.get_mut(&location.segment) {
                segment.live = segment.live.saturating_sub(1);
            }
        }
    }

    fn remove_dead(&self) {
        let mut segments = lock(&self.segments);
        let dead = segments.iter().filter(|(_, segment)| segment.sealed && segment.live == 0);
        let dead: Vec<u64> = dead.map(|(number, _)| *number).collect();
        for number in dead {
            segments.remove(&number);
            let path = path_of(&self.dir, number);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a trimmed segment could not be removed");
            }
        }
    }

    pub(super) fn locate(&self, partition: PartitionId, id: BlockId) -> Option<Location> {
        let entries = self.entries(partition);
        let place = entries.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        entries.get(place).map(|(_, location)| *location)
    }

    pub(super) fn read(
        &self,
        partition: PartitionId,
        range: BlockRange,
    ) -> Result<Vec<(BlockId, Bytes)>, StoreError> {
        if range.from > range.to {
            return Ok(Vec::new());
        }
        let wanted: Vec<(BlockId, Location)> = {
            let entries = self.entries(partition);
            let from = entries.partition_point(|(id, _)| *id < range.from);
            let to = entries.partition_point(|(id, _)| *id <= range.to);
            let between = entries.range(from..to).copied();
            if range.reverse {
                between.rev().take(range.limit).collect()
            } else {
                between.take(range.limit).collect()
            }
        };
        let mut blocks = Vec::with_capacity(wanted.len());
        for (id, location) in wanted {
            // A block that was trimmed meanwhile is left out.
            if let Some(bytes) = self.read_block(&location)? {
                blocks.push((id, bytes));
            }
        }
        Ok(blocks)
    }

    /// A block's bytes, checked; `None` when its segment has gone.
    pub(super) fn read_block(&self, location: &Location) -> Result<Option<Bytes>, StoreError> {
        let file = lock(&self.segments).get(&location.segment).map(|segment| Arc::clone(&segment.file));
        let Some(file) = file else { return Ok(None) };
        let path = path_of(&self.dir, location.segment);
        let mut bytes = vec![0; location.length as usize];
        file.read_exact_at(&mut bytes, location.at).map_err(|error| unavailable("reading", &path, &error))?;
        if crc32fast::hash(&bytes) != location.crc {
            return Err(damaged(&path, location.at));
        }
        Ok(Some(bytes.into()))
    }

    /// Files of segments that are kept, for tests.
    #[cfg(test)]
    pub(super) fn segment_count(&self) -> usize {
        lock(&self.segments).len()
    }
}

type Segments = Vec<(u64, PathBuf, Arc<File>)>;

/// The segments of a directory, in order; those that were never begun are discarded so.
fn segments(
    dir: &Path,
    options: &std::fs::OpenOptions,
    discard: impl Fn(&Path) -> Result<(), StoreError>,
) -> Result<Segments, StoreError> {
    let failed = |error: std::io::Error| unavailable("reading", dir, &error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    let mut segments = Vec::new();
    for number in numbers {
        let path = path_of(dir, number);
        let file = options.open(&path).map_err(|error| unavailable("opening", &path, &error))?;
        if was_begun(&file, &path, number)? {
            segments.push((number, path, Arc::new(file)));
        } else {
            discard(&path)?;
        }
    }
    Ok(segments)
}

/// Reads what the directory holds and changes nothing: a torn tail is passed over, and what is trimmed stays on the disk.
pub(super) fn open_to_read(dir: &Path) -> Result<(Log, State), StoreError> {
    let segments = segments(dir, File::options().read(true), |_| Ok(()))?;
    let (log, mut state) = (Log::new(dir), empty_state());
    for (place, (number, path, file)) in segments.iter().enumerate() {
        let is_last = place + 1 == segments.len();
        let end = file.metadata().map_err(|error| unavailable("reading", path, &error))?.len();
        log.add_segment(*number, Arc::clone(file), end, !is_last);
        let length = scan(&log, &mut state, *number, path, file, end, is_last)?;
        if !is_last && length != end {
            return Err(damaged(path, length));
        }
    }
    for (number, partition) in state.iter().enumerate() {
        if let Ok(id) = PartitionId::new(number as u32) {
            log.forget(id, partition.trim);
        }
    }
    Ok((log, state))
}

/// Reads what the directory holds; `Active` is the last segment, cut at its last whole frame.
pub(super) fn open(dir: &Path) -> Result<(Log, Option<Active>, State), StoreError> {
    let segments = segments(dir, File::options().read(true).write(true), discard)?;
    let log = Log::new(dir);
    let mut state = empty_state();
    let mut active = None;
    for (place, (number, path, file)) in segments.iter().enumerate() {
        let is_last = place + 1 == segments.len();
        let end = file.metadata().map_err(|error| unavailable("reading", path, &error))?.len();
        log.add_segment(*number, Arc::clone(file), end, !is_last);
        let length = scan(&log, &mut state, *number, path, file, end, is_last)?;
        if is_last {
            cut(path, file, length, end)?;
            active = Some(Active { number: *number, file: Arc::clone(file), length, capacity: end });
        } else if length != end {
            return Err(damaged(path, length));
        }
    }
    for (number, partition) in state.iter().enumerate() {
        if let Ok(id) = PartitionId::new(number as u32) {
            log.trim(id, partition.trim);
        }
    }
    Ok((log, active, state))
}

/// A file whose header is not whole was never written to.
fn discard(path: &Path) -> Result<(), StoreError> {
    tracing::warn!(path = %path.display(), "a segment that was never begun is removed");
    std::fs::remove_file(path).map_err(|error| unavailable("removing", path, &error))
}

/// Takes in a segment's frames; gives the length up to which they are whole.
fn scan(
    log: &Log,
    state: &mut State,
    number: u64,
    path: &Path,
    file: &File,
    end: u64,
    is_last: bool,
) -> Result<u64, StoreError> {
    let mut frames = Frames::new(file, path, number, end, is_last);
    while let Some((frame, at)) = frames.next()? {
        let Frame { kind, partition, id, trim, payload_crc: crc, length } = frame;
        let slot = &mut state[usize::from(partition.get())];
        match kind {
            FrameKind::State => {
                let location = Location { segment: number, at, length, crc };
                let bytes = log.read_block(&location)?.ok_or_else(|| damaged(path, at))?;
                *state = decode_state(&bytes, path)?;
            }
            FrameKind::Mark => slot.generation = id.generation,
            FrameKind::Block => {
                if id <= slot.last {
                    return Err(damaged(path, at));
                }
                *slot = PartitionState { generation: id.generation.max(slot.generation), last: id, trim };
                log.insert(partition, id, Location { segment: number, at, length, crc });
            }
        }
    }
    Ok(frames.at)
}

/// Makes what is behind the last whole frame of the last segment unreadable for ever.
fn cut(path: &Path, file: &File, length: u64, file_length: u64) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| unavailable("cutting", path, &error);
    let mut rest = vec![0; 64.min(file_length.saturating_sub(length)) as usize];
    file.read_exact_at(&mut rest, length).map_err(failed)?;
    if rest.iter().any(|byte| *byte != 0) {
        tracing::warn!(path = %path.display(), at = length, "a torn tail, never acknowledged, is cut");
    }
    // Cutting and growing again leaves zeros. Without space for that the file grows as it is written.
    file.set_len(length).map_err(failed)?;
    if rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, file_length).is_err() {
        file.set_len(length).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}
