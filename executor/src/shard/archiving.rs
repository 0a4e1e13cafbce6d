//! What an archive is given: the executions that closed in a range of a log's blocks, each as a whole.
//!
//! An execution's start, journal and end may stand in blocks far apart; they are put together here, into blocks under
//! the ids of those in which they closed. A block whose executions are whole already is taken as it is. Executions that
//! are kept for different times go to segments of their own, and those that nobody wants beyond the log go to none.
//! Invariant: what a range gives depends on the log alone and on how long machines want to be kept, so that it may be
//! done again, by whomever; a range counts as archived only where the log did not end before it, for a store that has
//! gone back gives short pages, and no error. Bounded by [`limits::ARCHIVE_SEGMENT_BYTES`] for a range, and by
//! [`limits::ARCHIVES_AT_ONCE`]. What may fail: the store and the archive, and then nothing counts as archived; records
//! that cannot be read, which are left out, loudly.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, ArchiveError, Segment, SegmentBuilder, View};
use bytes::Bytes;
use ids::{ExecutionId, PartitionId};
use journal::block::{ClosedView, JournalledView, OpenedView, SubBlockKind};
use journal::store::{BlockRange, Connect};
use journal::{
    Block, BlockBuilder, BlockId, Closed, Journalled, MachineRef, Opened, Record, Store, StoreError,
};
use tokio::sync::{OnceCell, Semaphore};

use super::fetch::{RecoveredExecution, fetch};
use super::scan::Blocks;
use crate::limits;

/// Why a range is not archived.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unarchived {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What is to be archived of a log: from this block on, below that one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub partition: PartitionId,
    pub from: BlockId,
    pub below: BlockId,
    /// What the log has at least: a store that has less is another one, or has gone back.
    pub confirmed: BlockId,
    /// Whether an earlier owner may have archived some of it.
    pub resumes: bool,
    /// Whether what is past its time is deleted, too.
    pub sweeps: bool,
    pub now_ms: u64,
}

/// What was archived.
#[derive(Debug, Default)]
pub(super) struct Archived {
    /// What closed below is archived.
    pub below: BlockId,
    pub executions: u64,
    pub bytes: u64,
    /// Executions whose records could not be read.
    pub unreadable: u64,
    /// Segments that were deleted.
    pub expired: u64,
    /// Whether there is more in the range than a segment takes.
    pub more: bool,
}

/// The archive of a node, shared by its shards.
#[derive(Debug, Clone)]
pub struct Archiver(Arc<Inner>);

struct Inner {
    archive: Arc<Archive>,
    connect: Arc<dyn Connect>,
    /// A connection of its own, made on the archive's thread.
    store: OnceCell<Arc<dyn Store>>,
    /// How long executions are kept in the log.
    retention: Duration,
    /// How long those are kept whose machine does not say.
    keep: Duration,
    turns: Semaphore,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archiver").field("archive", &self.archive).finish_non_exhaustive()
    }
}

impl Archiver {
    /// Archives what closes in this store, and keeps it for so long where a machine does not say.
    #[must_use]
    pub fn new(archive: Archive, connect: Arc<dyn Connect>, retention: Duration, keep: Duration) -> Self {
        let turns = Semaphore::new(limits::ARCHIVES_AT_ONCE);
        let archive = Arc::new(archive);
        Self(Arc::new(Inner { archive, connect, store: OnceCell::new(), retention, keep, turns }))
    }

    /// What is archived at this time, for one question.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> View {
        self.0.archive.view(now_ms)
    }

    /// Under which derived key a log remembers how far it is archived here.
    pub(super) fn mark_key(&self) -> Bytes {
        [b"a".as_slice(), &journal::index::machine_hash(self.0.archive.url()).to_be_bytes()].concat().into()
    }

    /// Archives a range on the archive's thread: all of it, or as much as one segment takes.
    pub(super) async fn archive(&self, range: Range) -> Result<Archived, Unarchived> {
        let inner = Arc::clone(&self.0);
        let mark = self.mark_key();
        self.0.archive.run(async move { inner.archive(range, mark).await }).await?
    }
}

/// How far a log is archived, as its mark says it.
pub(super) fn mark_of(below: BlockId) -> Bytes {
    [below.generation.to_be_bytes(), below.sequence.to_be_bytes()].concat().into()
}

fn marked(value: &[u8]) -> Option<BlockId> {
    let (generation, rest) = value.split_first_chunk::<8>()?;
    let sequence = rest.try_into().ok()?;
    Some(BlockId { generation: u64::from_be_bytes(*generation), sequence: u64::from_be_bytes(sequence) })
}

fn after(id: BlockId) -> BlockId {
    BlockId { sequence: id.sequence + 1, ..id }
}

/// Whether the store has the log to its end: what it has not given would count as archived.
async fn has_all(store: &dyn Store, range: Range) -> Result<(), StoreError> {
    let Range { partition, confirmed, .. } = range;
    match store.top(partition).await? {
        Some(top) if top >= confirmed => Ok(()),
        top => Err(StoreError::WentBack { partition, confirmed, top }),
    }
}

/// Segments under construction, by how long they are kept.
type Segments = BTreeMap<Duration, SegmentBuilder>;

impl Inner {
    async fn archive(&self, range: Range, mark: Bytes) -> Result<Archived, Unarchived> {
        let Ok(_turn) = self.turns.acquire().await else { return Ok(Archived::default()) };
        let store = self.store.get_or_try_init(|| self.connect.connect()).await?;
        let mut from = range.from;
        if range.resumes {
            let found = store.get_derived(range.partition, vec![mark]).await?;
            let known = found.into_iter().flatten().next().and_then(|value| marked(&value));
            from = from.max(known.unwrap_or_default().min(range.below));
        }
        let mut done = Archived { below: from, ..Archived::default() };
        let mut segments = Segments::new();
        self.gather(&**store, range, &mut done, &mut segments).await?;
        if range.from < range.below {
            has_all(&**store, range).await?;
        }
        done.more = done.below < range.below;
        for segment in segments.into_values().filter_map(SegmentBuilder::finish) {
            let Segment { executions, bytes, .. } = &segment;
            self.archive.put(&segment).await?;
            done.executions += executions;
            done.bytes += bytes.len() as u64;
        }
        if range.sweeps {
            let limit = limits::ARCHIVE_DELETES_AT_ONCE;
            done.expired = self.archive.expire(range.partition, range.now_ms, limit).await? as u64;
        }
        Ok(done)
    }

    /// Reads the range, until a segment is full.
    async fn gather(
        &self,
        store: &dyn Store,
        range: Range,
        done: &mut Archived,
        segments: &mut Segments,
    ) -> Result<(), Unarchived> {
        while done.below < range.below {
            let limit = limits::RECOVERY_PAGE;
            let to = BlockId { sequence: u64::MAX, generation: range.below.generation };
            let page = store
                .read(range.partition, BlockRange { from: done.below, to, reverse: false, limit })
                .await?;
            let all = page.len() < limit;
            for (id, bytes) in page {
                if id >= range.below {
                    done.below = range.below;
                    return Ok(());
                }
                match self.take_in(store, &bytes, segments, done).await {
                    Err(Unarchived::Store(StoreError::Corrupt(what))) => {
                        done.unreadable += 1;
                        let partition = range.partition.get();
                        tracing::error!(partition, block = %id, what, "a block is not archived: it cannot be read");
                    }
                    taken => taken?,
                }
                done.below = after(id);
            }
            if all {
                done.below = range.below;
            }
            if segments.values().map(SegmentBuilder::len).sum::<usize>() >= limits::ARCHIVE_SEGMENT_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How long executions of a machine are kept, if longer than in the log.
    fn keep(&self, machine: &MachineRef) -> Option<Duration> {
        let keep = match machine.retention_s {
            0 => self.keep,
            own => Duration::from_secs(u64::from(own)),
        };
        Some(keep).filter(|keep| *keep > self.retention)
    }

    /// Takes in what closed in a block.
    async fn take_in(
        &self,
        store: &dyn Store,
        bytes: &Bytes,
        segments: &mut Segments,
        done: &mut Archived,
    ) -> Result<(), Unarchived> {
        let block = Block::parse(bytes)?;
        let mut whole = Whole { block: &block, parts: BTreeMap::new() };
        let kinds = || block.sub_blocks().iter().map(|sub_block| sub_block.kind());
        let mut keeps: Vec<_> = block.machines().iter().map(|machine| self.keep(machine)).collect();
        keeps.dedup();
        if let [keep] = keeps[..]
            && kinds().all(|kind| kind == SubBlockKind::OpenedAndClosed)
        {
            if let Some(keep) = keep {
                self.push(segments, &block, keep, bytes)?;
            }
            return Ok(());
        }
        let (mut at_once, mut closed) = (Vec::new(), Vec::new());
        for sub_block in block.sub_blocks() {
            match sub_block.kind() {
                SubBlockKind::OpenedAndClosed => at_once.extend(block.records_of(sub_block, |_| true)?),
                SubBlockKind::Closed => closed.extend(block.records_of(sub_block, |_| true)?),
                SubBlockKind::Opened | SubBlockKind::Journalled => {}
            }
        }
        whole.ended_at_once(at_once, |machine| self.keep(machine))?;
        let closed = closed.into_iter().filter_map(|record| match record {
            Record::Closed(closed) => Some(closed),
            _ => None,
        });
        self.put_together(store, closed.collect(), &mut whole, done).await?;
        for (keep, mut builder) in whole.parts {
            let bytes = builder.finish(block.id(), block.time_ms());
            self.push(segments, &block, keep, &bytes)?;
        }
        Ok(())
    }

    fn push(
        &self,
        segments: &mut Segments,
        block: &Block,
        keep: Duration,
        bytes: &Bytes,
    ) -> Result<(), StoreError> {
        let segment = segments.entry(keep).or_insert_with(|| SegmentBuilder::new(block.partition(), keep));
        segment.push(bytes)
    }

    /// Reads the starts and journals of what closed in a block, and puts them before their ends.
    async fn put_together(
        &self,
        store: &dyn Store,
        closed: Vec<Closed>,
        whole: &mut Whole<'_>,
        done: &mut Archived,
    ) -> Result<(), Unarchived> {
        let mut left = closed.into_iter().peekable();
        while left.peek().is_some() {
            let (mut wanted, mut ends, mut blocks) = (Vec::new(), Vec::new(), 0);
            while wanted.len() < limits::ARCHIVED_AT_ONCE
                && blocks < limits::CARRIED_BLOCKS_AT_ONCE
                && let Some(end) = left.next()
            {
                // What it was told in the very block that closed it, its closed record does not say.
                let mut own = Blocks::from_slice(&end.blocks);
                own.push(whole.block.id());
                blocks += own.len();
                wanted.push((end.id, own));
                ends.push(end);
            }
            let found = fetch(store, whole.block.partition(), &wanted).await?;
            for (end, found) in ends.into_iter().zip(found) {
                match found {
                    Ok(execution) => whole.ended_later(&execution, &end, |machine| self.keep(machine)),
                    Err(error) => {
                        done.unreadable += 1;
                        tracing::error!(execution = %end.id, %error, "an ended execution is not archived: it cannot be read");
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whole executions of one block, by how long they are kept.
struct Whole<'a> {
    block: &'a Block,
    parts: BTreeMap<Duration, BlockBuilder>,
}

impl Whole<'_> {
    fn part(&mut self, keep: Duration) -> &mut BlockBuilder {
        let partition = self.block.partition();
        self.parts.entry(keep).or_insert_with(|| BlockBuilder::new(partition))
    }

    /// Each start is followed by its end. What was told in between (a turn, a stop) stands in the same block.
    fn ended_at_once(
        &mut self,
        records: Vec<Record>,
        keep: impl Fn(&MachineRef) -> Option<Duration>,
    ) -> Result<(), StoreError> {
        let mut told = self.told_at_once(&records)?;
        let mut opened = None;
        for record in records {
            match record {
                Record::Opened(start) => opened = Some(start),
                Record::Closed(end) => {
                    let Some(start) = opened.take() else { continue };
                    let machine = self.block.machines().get(start.machine as usize);
                    let Some((machine, keep)) = machine.and_then(|machine| Some((machine, keep(machine)?)))
                    else {
                        continue;
                    };
                    let journal = told.remove(&start.id).unwrap_or_default();
                    ended(self.part(keep), machine, &start, &journal, &end);
                }
                Record::Journalled(_) => {}
            }
        }
        Ok(())
    }

    /// What was told to those that were opened and closed in the block.
    fn told_at_once(&self, records: &[Record]) -> Result<HashMap<ExecutionId, Vec<Journalled>>, StoreError> {
        let ids: HashSet<ExecutionId> = records.iter().map(Record::id).collect();
        let mut told: HashMap<_, Vec<Journalled>> = HashMap::new();
        for sub_block in self.block.sub_blocks() {
            if sub_block.kind() != SubBlockKind::Journalled {
                continue;
            }
            for record in self.block.records_of(sub_block, |id| ids.contains(&id))? {
                if let Record::Journalled(entry) = record {
                    told.entry(entry.id).or_default().push(entry);
                }
            }
        }
        Ok(told)
    }

    fn ended_later(
        &mut self,
        execution: &RecoveredExecution,
        end: &Closed,
        keep: impl Fn(&MachineRef) -> Option<Duration>,
    ) {
        let RecoveredExecution { machine, opened, journal, .. } = execution;
        let Some(keep) = keep(machine) else { return };
        ended(self.part(keep), machine, opened, journal, end);
    }
}

/// Puts a whole execution into a block.
fn ended(
    builder: &mut BlockBuilder,
    machine: &MachineRef,
    opened: &Opened,
    journal: &[Journalled],
    end: &Closed,
) {
    let machine = builder.machine(machine);
    let start = OpenedView { machine, ..OpenedView::from(opened) };
    if journal.is_empty() {
        builder.opened_and_closed(start, end.status, end.stop_time_ms, &end.payload);
        return;
    }
    builder.opened(start);
    journal.iter().for_each(|told| builder.journalled(JournalledView::from(told)));
    builder.closed(ClosedView { blocks: &[], ..ClosedView::from(end) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_its_encoding() {
        let below = BlockId { generation: 7, sequence: u64::MAX };
        assert_eq!(marked(&mark_of(below)), Some(below));
        assert_eq!(marked(b"short"), None);
    }
}
