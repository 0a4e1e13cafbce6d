//! Makes what travels beside a partition's blocks: pointers and summaries.
//!
//! Invariants: a batch's pointer is written once, beside the block that closes its last execution; until that
//! append is confirmed, [`IndexWriter::find`] answers. Memory: some 100 bytes for each batch that has an
//! execution open, and 24 bytes for each row of its indexes in one block; admission bounds both. What may
//! fail: only [`IndexWriter::load`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;
use ids::{BatchId, ExecutionId, PartitionId};

use super::pointer::{self, Located, Pointer};
use super::summary::{Hours, summary_entry};
use crate::block::{Block, BlockBuilder, IdRun, OpenedSummary, Record};
use crate::store::{BlockId, Derived, Store, StoreError};

/// What travels beside one partition's blocks. Its owner keeps one.
#[derive(Debug)]
pub struct IndexWriter {
    partition: PartitionId,
    retention: Duration,
    batches: HashMap<BatchId, Tracked, RandomState>,
    /// How many tracked batches begin in each block.
    first_blocks: BTreeMap<BlockId, u32>,
    /// Batches whose pointer travels beside a block that is not confirmed yet.
    unconfirmed: VecDeque<(BlockId, BatchId)>,
    hours: Hours,
}

#[derive(Debug, Default)]
struct Tracked {
    /// How many of the batch were accepted; unknown while a log is being recovered.
    expected: Option<u16>,
    opened: u16,
    closed: u16,
    parts: Vec<Part>,
    /// The block that it began in, for [`IndexWriter::oldest_needed`].
    began: BlockId,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    block: BlockId,
    first: u8,
    last: u8,
    closed: bool,
}

impl Tracked {
    fn is_complete(&self) -> bool {
        self.expected == Some(self.closed)
    }

    fn pointer(&self) -> Pointer {
        let mut pointer = Pointer::default();
        for part in &self.parts {
            pointer.note(part.block, part.first..=part.last, part.closed);
        }
        pointer
    }

    /// These begin again: what was known of them counts no more.
    fn supersede(&mut self, first: u8, last: u8) {
        let overlaps = |part: &Part| part.first <= last && first <= part.last;
        if !self.parts.iter().any(overlaps) {
            return;
        }
        for part in std::mem::take(&mut self.parts) {
            if !overlaps(&part) {
                self.parts.push(part);
                continue;
            }
            let gone = u16::from(part.last.min(last) - part.first.max(first)) + 1;
            let count = if part.closed { &mut self.closed } else { &mut self.opened };
            *count = count.saturating_sub(gone);
            if part.first < first {
                self.parts.push(Part { last: first - 1, ..part });
            }
            if part.last > last {
                self.parts.push(Part { first: last + 1, ..part });
            }
        }
    }
}

impl IndexWriter {
    /// Nothing is tracked yet. `retention` counts from close.
    #[must_use]
    pub fn new(partition: PartitionId, retention: Duration) -> Self {
        Self {
            partition,
            retention,
            batches: HashMap::default(),
            first_blocks: BTreeMap::new(),
            unconfirmed: VecDeque::new(),
            hours: Hours::new(retention),
        }
    }

    /// Reads what an earlier owner has written of the listing; call it once, before the first flush. Nothing in the
    /// log started before `oldest_ms`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(&mut self, store: &dyn Store, oldest_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        self.hours.load(store, self.partition, oldest_ms, now_ms).await
    }

    /// So many executions of a batch were accepted: call it before the flush that opens the first of them.
    pub fn expect(&mut self, batch: BatchId, accepted: u16) {
        self.batches.entry(batch).or_default().expected = Some(accepted);
    }

    /// The block that is about to be finished under this id: adds what travels beside it.
    pub fn flush(&mut self, builder: &BlockBuilder, id: BlockId, now_ms: u64, derived: &mut Vec<Derived>) {
        for run in builder.opened_runs() {
            self.note(run, id, false);
        }
        for run in builder.closed_runs() {
            self.note(run, id, true);
            if self.batches.get(&run.batch).is_some_and(Tracked::is_complete) {
                self.complete(run.batch, id, derived);
            }
        }
        if let Some(summary) = builder.opened_summary() {
            let arns = builder.machines().iter().map(|machine| machine.arn.as_str());
            self.summarise(id, &summary, arns, now_ms, derived);
        }
    }

    /// An execution that had ended goes on: call it before the flush that opens it again. `pointer` is that of its batch,
    /// if it has been written.
    pub fn reopen(&mut self, id: ExecutionId, pointer: Option<&Pointer>) {
        self.unconfirmed.retain(|(_, batch)| *batch != id.batch);
        if !self.batches.contains_key(&id.batch) {
            for (block, run, closed) in pointer.into_iter().flat_map(|pointer| pointer.runs(id.batch)) {
                self.note(run, block, closed);
            }
        }
        let tracked = self.batches.entry(id.batch).or_default();
        tracked.expected.get_or_insert(tracked.opened.max(1));
        tracked.supersede(id.index, id.index);
    }

    /// The append of this block is confirmed: what travelled beside it, and before, answers from the store
    /// from now on.
    pub fn confirmed(&mut self, id: BlockId) {
        while self.unconfirmed.front().is_some_and(|(block, _)| *block <= id) {
            if let Some((_, batch)) = self.unconfirmed.pop_front() {
                self.forget(batch);
            }
        }
    }

    /// Where an execution is, as long as its batch's pointer is not known to be written.
    #[must_use]
    pub fn find(&self, id: ExecutionId) -> Option<Located> {
        let tracked = self.batches.get(&id.batch)?;
        let block_of = |closed| {
            let mut parts = tracked.parts.iter();
            let holds = |part: &&Part| part.closed == closed && (part.first..=part.last).contains(&id.index);
            parts.find(holds).map(|part| part.block)
        };
        Some(Located { opened: block_of(false), closed: block_of(true) })
    }

    /// The oldest block that a batch needs whose pointer is not written: trim below it at most.
    #[must_use]
    pub fn oldest_needed(&self) -> Option<BlockId> {
        self.first_blocks.keys().next().copied()
    }

    /// Batches that are tracked now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether nothing is tracked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// A block of the log that is being recovered, oldest first; only headers are looked at.
    pub fn recovered(&mut self, block: &Block) {
        for run in block.opened_runs() {
            self.note(run, block.id(), false);
        }
        for run in block.closed_runs() {
            // Of a batch whose beginning has been trimmed nothing can be found.
            if self.batches.contains_key(&run.batch) {
                self.note(run, block.id(), true);
            }
        }
    }

    /// The whole log has been seen: pointers of complete batches that closed at or above `rewrite_from` are
    /// given again (the store may have lost them with the crash), those below were written long ago. Append
    /// them beside the next blocks, some hundreds at a time.
    pub fn settle(&mut self, rewrite_from: BlockId) -> Vec<Derived> {
        let mut derived = Vec::new();
        let mut complete = Vec::new();
        for (batch, tracked) in &mut self.batches {
            let expected = *tracked.expected.get_or_insert(tracked.opened);
            if expected == tracked.closed {
                complete.push(*batch);
            }
        }
        for batch in complete {
            let tracked = self.batches.get(&batch);
            let last = tracked.and_then(|tracked| tracked.parts.iter().map(|part| part.block).max());
            if last.is_some_and(|last| last >= rewrite_from) {
                derived.extend(self.pointer_entry(batch));
            }
            self.forget(batch);
        }
        derived
    }

    /// Gives a recovered block's summary again; a reader takes two of the same block for one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the block cannot be read.
    pub fn summarise_again(
        &mut self,
        block: &Block,
        now_ms: u64,
        derived: &mut Vec<Derived>,
    ) -> Result<(), StoreError> {
        let mut summary: Option<OpenedSummary> = None;
        for record in block.records()? {
            let Record::Opened(opened) = record else { continue };
            let start = opened.start_time_ms;
            // Whether they have ended is not known here: any status is possible.
            let new = OpenedSummary { start_min_ms: start, start_max_ms: start, statuses: u8::MAX };
            let summary = summary.get_or_insert(new);
            summary.start_min_ms = summary.start_min_ms.min(start);
            summary.start_max_ms = summary.start_max_ms.max(start);
        }
        if let Some(summary) = summary {
            let arns = block.machines().iter().map(|machine| machine.arn.as_str());
            self.summarise(block.id(), &summary, arns, now_ms, derived);
        }
        Ok(())
    }

    /// An execution closes longer after its start than the retention: its summary may be forgotten by now,
    /// and is given again, so that it is listed for as long as it can be looked up.
    pub fn straggler(
        &mut self,
        arn: &str,
        start_time_ms: u64,
        opened_in: BlockId,
        now_ms: u64,
        derived: &mut Vec<Derived>,
    ) {
        let (start_min_ms, start_max_ms) = (start_time_ms, start_time_ms);
        let summary = OpenedSummary { start_min_ms, start_max_ms, statuses: u8::MAX };
        self.summarise(opened_in, &summary, std::iter::once(arn), now_ms, derived);
    }

    fn summarise<'a>(
        &mut self,
        id: BlockId,
        summary: &OpenedSummary,
        arns: impl Iterator<Item = &'a str>,
        now_ms: u64,
        derived: &mut Vec<Derived>,
    ) {
        let mut hashes: Vec<u64> = arns.map(super::machine_hash).collect();
        hashes.sort_unstable();
        self.hours.mark(summary, now_ms, derived);
        summary_entry(id, summary, &hashes, self.retention, derived);
    }

    fn note(&mut self, run: IdRun, block: BlockId, closed: bool) {
        let tracked = self.batches.entry(run.batch).or_default();
        let (first, last) = (run.first, (u16::from(run.first) + run.count - 1) as u8);
        if !closed {
            tracked.supersede(first, last);
        }
        let count = if closed { &mut tracked.closed } else { &mut tracked.opened };
        *count = count.saturating_add(run.count);
        if tracked.began == BlockId::default() {
            tracked.began = block;
            *self.first_blocks.entry(block).or_default() += 1;
        }
        match tracked.parts.last_mut() {
            Some(part)
                if part.block == block
                    && part.closed == closed
                    && part.last.checked_add(1) == Some(first) =>
            {
                part.last = last;
            }
            _ => tracked.parts.push(Part { block, first, last, closed }),
        }
    }

    fn pointer_entry(&self, batch: BatchId) -> Option<Derived> {
        let value = self.batches.get(&batch)?.pointer().encode();
        Some(Derived::Put { key: pointer::key(batch), value, ttl: self.retention })
    }

    fn complete(&mut self, batch: BatchId, id: BlockId, derived: &mut Vec<Derived>) {
        derived.extend(self.pointer_entry(batch));
        self.unconfirmed.push_back((id, batch));
    }

    fn forget(&mut self, batch: BatchId) {
        let Some(tracked) = self.batches.remove(&batch) else { return };
        let first = tracked.began;
        if let Some(count) = self.first_blocks.get_mut(&first) {
            *count -= 1;
            if *count == 0 {
                self.first_blocks.remove(&first);
            }
        }
    }
}
