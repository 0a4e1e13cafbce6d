//! The thread that writes: group commit for all shards of the process.
//!
//! Invariants: it alone writes to the log; a request is answered after fdatasync has returned; what failed
//! leaves no trace in the partitions' state. What may fail: the disk, see the module above.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ids::PartitionId;
use tokio::sync::{mpsc, oneshot};

use super::keys::Keys;
use super::log::{Active, Location, Log, PartitionState, State, encode_state};
use super::segment::{FRAME_BYTES, Frame, FrameKind, encode_header, path_of};
use super::spare::Spare;
use super::{FileOptions, is_full, unavailable};
use crate::store::{Acquired, Append, BlockId, Derived, StoreError, Top};

/// Requests of one group.
const GROUP_REQUESTS_MAX: usize = 1_024;
/// Bytes at which a group is closed.
const GROUP_BYTES_TARGET: usize = 8 * 1024 * 1024;
/// Capacity of the reused buffer above which it is given back.
const BUFFER_BYTES_MAX: usize = 2 * GROUP_BYTES_TARGET;

/// The smallest segment on a disk that has no room for a usual one.
const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer can be asked.
pub(super) enum Request {
    Append { append: Append, reply: Reply<()> },
    Acquire { partition: PartitionId, reply: Reply<Acquired> },
    Tops { partitions: Vec<PartitionId>, reply: Reply<Vec<Top>> },
}

impl Request {
    fn byte_len(&self) -> usize {
        match self {
            Self::Append { append, .. } => FRAME_BYTES + append.block.len(),
            Self::Acquire { .. } => FRAME_BYTES,
            Self::Tops { .. } => 0,
        }
    }

    fn refuse(self, error: StoreError) {
        // A caller that has gone needs no answer.
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
            Self::Acquire { reply, .. } => drop(reply.send(Err(error))),
            Self::Tops { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// The writer's own state.
pub(super) struct Writer {
    dir: PathBuf,
    segment_bytes: u64,
    log_bytes_max: u64,
    log: Arc<Log>,
    keys: Arc<Keys>,
    active: Option<Active>,
    /// A segment that is full or was given up, and has to be cut before the next is begun.
    unsealed: Option<Active>,
    spare: Spare,
    next_number: u64,
    state: State,
    buffer: Vec<u8>,
}

/// One group between writing and answering.
#[derive(Default)]
struct Group {
    blocks: Vec<Written>,
    marks: Vec<(Reply<Acquired>, Acquired)>,
    derived: Vec<(PartitionId, Vec<Derived>)>,
    /// Partitions as they were before.
    undo: Vec<(PartitionId, PartitionState)>,
}

struct Written {
    partition: PartitionId,
    id: BlockId,
    block: Bytes,
    location: Location,
    replies: Vec<Reply<()>>,
}

impl Writer {
    pub(super) fn new(
        options: &FileOptions,
        log: Arc<Log>,
        keys: Arc<Keys>,
        active: Option<Active>,
        state: State,
    ) -> Self {
        let next_number = active.as_ref().map_or(1, |active| active.number + 1);
        Self {
            dir: options.dir.join("log"),
            segment_bytes: options.segment_bytes,
            log_bytes_max: options.log_bytes_max.unwrap_or(u64::MAX),
            log,
            keys,
            active,
            unsealed: None,
            spare: Spare::new(options.dir.join("log")),
            next_number,
            state,
            buffer: Vec::new(),
        }
    }

    /// Works until all senders have gone.
    pub(super) fn run(mut self, mut receiver: mpsc::Receiver<Request>) {
        while let Some(first) = receiver.blocking_recv() {
            let mut bytes = first.byte_len();
            let mut requests = vec![first];
            while requests.len() < GROUP_REQUESTS_MAX && bytes < GROUP_BYTES_TARGET {
                let Ok(next) = receiver.try_recv() else { break };
                bytes += next.byte_len();
                requests.push(next);
            }
            self.group(requests, bytes as u64);
        }
    }

    fn group(&mut self, requests: Vec<Request>, bytes: u64) {
        let room = self.room_for(bytes).or_else(|_| {
            self.trim_first(&requests);
            self.room_for(bytes)
        });
        let (number, start) = match room {
            Ok(place) => place,
            Err(error) => return requests.into_iter().for_each(|request| request.refuse(error.clone())),
        };
        let mut group = Group::default();
        self.buffer.clear();
        for request in requests {
            match request {
                Request::Append { append, reply } => self.append(append, reply, number, start, &mut group),
                Request::Acquire { partition, reply } => self.acquire(partition, reply, number, &mut group),
                Request::Tops { partitions, reply } => self.tops(&partitions, reply),
            }
        }
        if self.buffer.is_empty() {
            return;
        }
        // Beside the log, and before it: a pointer to a block that is not confirmed leads nowhere, but a confirmed block
        // whose pointer is lost would not be found.
        if let Err(error) = self.keys.apply(std::mem::take(&mut group.derived)) {
            self.refuse(group, &error);
        } else if let Err(error) = self.commit() {
            // Nothing is written to this file again.
            tracing::error!(%error, "a group of the log was not written; its segment is given up");
            self.unsealed = self.active.take();
            self.refuse(group, &error);
        } else {
            self.publish(group);
        }
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
    }

    /// On a full disk an append cannot bring its own trim mark into effect: then the mark goes ahead. It
    /// holds whether the append is written or not, and becomes durable with the next segment.
    fn trim_first(&mut self, requests: &[Request]) {
        for request in requests {
            let Request::Append { append, .. } = request else { continue };
            let state = &mut self.state[usize::from(append.partition.get())];
            let is_owner = append.id.generation >= state.generation && append.id > state.last;
            if let Some(mark) = append.trim_below.filter(|mark| is_owner && *mark > state.trim) {
                state.trim = mark;
                self.log.trim(append.partition, mark);
            }
        }
    }

    /// Makes room in the active segment, in a new one if need be; gives its number and where writing goes on.
    fn room_for(&mut self, bytes: u64) -> Result<(u64, u64), StoreError> {
        if let Some(active) = &self.active
            && active.length + bytes <= active.capacity
        {
            return Ok((active.number, active.length));
        }
        if let Some(full) = self.active.take() {
            self.unsealed = Some(full);
        }
        if let Some(unsealed) = &self.unsealed {
            let path = path_of(&self.dir, unsealed.number);
            let sealed = unsealed.file.set_len(unsealed.length).and_then(|()| unsealed.file.sync_all());
            sealed.map_err(|error| unavailable("cutting", &path, &error))?;
            self.log.seal(unsealed.number, unsealed.length);
            self.unsealed = None;
        }
        let active = self.begin_segment(bytes)?;
        let place = (active.number, active.length);
        self.active = Some(active);
        Ok(place)
    }

    fn begin_segment(&mut self, bytes: u64) -> Result<Active, StoreError> {
        let number = self.next_number;
        let state = encode_state(&self.state);
        let partition = PartitionId::new(0).map_err(|error| StoreError::Refused(error.to_string()))?;
        let frame = Frame::new(FrameKind::State, partition, BlockId::default(), BlockId::default(), &state);
        let begin = [&encode_header(number)[..], &frame.encode(number), &state].concat();
        let length = begin.len() as u64;
        let path = path_of(&self.dir, number);
        let made = self.make_segment(&path, length + bytes, &begin).map_err(|error| {
            // What is left of it holds nothing; the next attempt takes a new number.
            let _ = std::fs::remove_file(&path);
            unavailable("beginning", &path, &error)
        });
        self.next_number += 1;
        let (file, capacity) = made?;
        let file = Arc::new(file);
        self.log.add_segment(number, Arc::clone(&file), capacity, false);
        if self.log.bytes().saturating_add(self.segment_bytes) <= self.log_bytes_max {
            self.spare.prepare(self.segment_bytes);
        }
        Ok(Active { number, file, length, capacity })
    }

    /// A segment of the usual size, or the largest by halves for which there is room; `least` at least.
    fn make_segment(&mut self, path: &Path, least: u64, begin: &[u8]) -> io::Result<(File, u64)> {
        let mut capacity = self.segment_bytes.max(least);
        loop {
            let made = match self.log.bytes().checked_add(capacity) {
                Some(total) if total <= self.log_bytes_max => self.spare.take_or_make(path, capacity, begin),
                _ => Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("the log would take more than its {} bytes", self.log_bytes_max),
                )),
            };
            match made {
                Err(error) if is_full(&error) && capacity / 2 >= least.max(SEGMENT_BYTES_MIN) => {
                    capacity /= 2
                }
                made => return made.map(|file| (file, capacity)),
            }
        }
    }

    fn append(&mut self, append: Append, reply: Reply<()>, segment: u64, start: u64, group: &mut Group) {
        let Append { partition, id, block, derived, trim_below } = append;
        let state = &mut self.state[usize::from(partition.get())];
        if id.generation < state.generation || id <= state.last {
            let fenced =
                StoreError::Fenced { partition, attempted: id, last: state.last.max(mark(state.generation)) };
            return self.repeated(partition, id, &block, reply, fenced, group);
        }
        group.undo.push((partition, *state));
        let trim = state.trim.max(trim_below.unwrap_or_default());
        *state = PartitionState { generation: id.generation, last: id, trim };
        let frame = Frame::new(FrameKind::Block, partition, id, trim, &block);
        self.buffer.extend_from_slice(&frame.encode(segment));
        let at = start + self.buffer.len() as u64;
        self.buffer.extend_from_slice(&block);
        if !derived.is_empty() {
            group.derived.push((partition, derived));
        }
        let location = Location { segment, at, length: frame.length, crc: frame.payload_crc };
        group.blocks.push(Written { partition, id, block, location, replies: vec![reply] });
    }

    /// An id that is not above the last: the same block again, or a stale owner.
    fn repeated(
        &self,
        partition: PartitionId,
        id: BlockId,
        block: &Bytes,
        reply: Reply<()>,
        fenced: StoreError,
        group: &mut Group,
    ) {
        let in_group =
            group.blocks.iter_mut().find(|written| written.partition == partition && written.id == id);
        if let Some(written) = in_group
            && written.block == *block
        {
            written.replies.push(reply);
            return;
        }
        let answer = match self.log.locate(partition, id).map(|location| self.log.read_block(&location)) {
            Some(Ok(Some(old))) if old == *block => Ok(()),
            Some(Err(error)) => Err(error),
            _ => Err(fenced),
        };
        let _ = reply.send(answer);
    }

    fn acquire(&mut self, partition: PartitionId, reply: Reply<Acquired>, segment: u64, group: &mut Group) {
        let state = &mut self.state[usize::from(partition.get())];
        group.undo.push((partition, *state));
        state.generation += 1;
        let last = Some(state.last).filter(|last| *last != BlockId::default());
        let frame = Frame::new(FrameKind::Mark, partition, mark(state.generation), state.trim, &[]);
        self.buffer.extend_from_slice(&frame.encode(segment));
        group.marks.push((reply, Acquired { generation: state.generation, last }));
    }

    fn tops(&self, partitions: &[PartitionId], reply: Reply<Vec<Top>>) {
        let top = |partition: &PartitionId| {
            let state = &self.state[usize::from(partition.get())];
            Ok((state.generation > 0).then(|| state.last.max(mark(state.generation))))
        };
        let _ = reply.send(Ok(partitions.iter().map(top).collect()));
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let Some(active) = &self.active else {
            return Err(StoreError::Unavailable("the log has no segment".to_owned()));
        };
        let path = path_of(&self.dir, active.number);
        active
            .file
            .write_all_at(&self.buffer, active.length)
            .map_err(|error| unavailable("writing to", &path, &error))?;
        active.file.sync_data().map_err(|error| {
            StoreError::Unknown(format!("fdatasync of {} failed: {error}: check the disk", path.display()))
        })
    }

    fn publish(&mut self, group: Group) {
        if let Some(active) = &mut self.active {
            active.length += self.buffer.len() as u64;
        }
        for written in &group.blocks {
            self.log.insert(written.partition, written.id, written.location);
        }
        for (partition, before) in &group.undo {
            let trim = self.state[usize::from(partition.get())].trim;
            if trim != before.trim {
                self.log.trim(*partition, trim);
            }
        }
        for reply in group.blocks.into_iter().flat_map(|written| written.replies) {
            let _ = reply.send(Ok(()));
        }
        for (reply, acquired) in group.marks {
            let _ = reply.send(Ok(acquired));
        }
    }

    /// Nothing of the group counts but its trim marks, which make room on a full disk.
    fn refuse(&mut self, group: Group, error: &StoreError) {
        for (partition, before) in group.undo.into_iter().rev() {
            let state = &mut self.state[usize::from(partition.get())];
            let trim = state.trim;
            *state = PartitionState { trim, ..before };
            if trim != before.trim {
                self.log.trim(partition, trim);
            }
        }
        for reply in group.blocks.into_iter().flat_map(|written| written.replies) {
            let _ = reply.send(Err(error.clone()));
        }
        for (reply, _) in group.marks {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// An owner's mark.
fn mark(generation: u64) -> BlockId {
    BlockId { generation, sequence: 0 }
}
