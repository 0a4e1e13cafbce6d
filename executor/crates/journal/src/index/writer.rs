//! Makes what travels beside a partition's blocks: pointers and summaries.
//!
//! Invariants: a batch's pointer is written once, beside the block that closes its last execution; until that
//! append is confirmed, [`IndexWriter::find`] answers. Blocks are not held for it: whatever a pointer names is there for
//! as long as its executions are open or retained, and "not found" afterwards. Memory: some 100 bytes for each batch that has an
//! execution open, and 24 bytes for each row of its indexes in one block; admission bounds both. What may
//! fail: only [`IndexWriter::load`].

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;
use ids::{BatchId, ExecutionId, PartitionId};

use super::pointer::{self, Located, Pointer};
use super::summary::{HOUR_MS, Hours, summary_entry};
use crate::block::{Block, BlockBuilder, IdRun, OpenedSummary, Record};
use crate::checkpoint;
use crate::store::{BlockId, Derived, Store, StoreError};

/// What travels beside one partition's blocks. Its owner keeps one.
#[derive(Debug)]
pub struct IndexWriter {
    partition: PartitionId,
    retention: Duration,
    batches: HashMap<BatchId, Tracked, RandomState>,
    /// Batches whose pointer travels beside a block that is not confirmed yet.
    unconfirmed: VecDeque<(BlockId, BatchId)>,
    /// Batches that are not forgotten, each as often as somebody wants it.
    pinned: HashMap<BatchId, u32, RandomState>,
    hours: Hours,
}

/// What is known of a batch whose pointer is not written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tracked {
    /// How many of the batch were accepted; unknown while a log is being recovered.
    pub(crate) expected: Option<u16>,
    pub(crate) parts: Vec<Part>,
}

/// Executions of a batch that opened or closed in one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) block: BlockId,
    pub(crate) first: u8,
    pub(crate) last: u8,
    pub(crate) closed: bool,
}

impl Part {
    fn contains(&self, index: u8) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

impl Tracked {
    fn count(&self, closed: bool) -> u16 {
        let parts = self.parts.iter().filter(|part| part.closed == closed);
        parts.map(|part| u16::from(part.last - part.first) + 1).sum()
    }

    fn is_complete(&self) -> bool {
        self.expected.is_some_and(|expected| expected == self.count(true))
    }

    fn is_opened(&self, index: u8) -> bool {
        self.parts.iter().any(|part| !part.closed && part.contains(index))
    }

    /// These are opened again, and looked up there from now on: what was known of them counts no more.
    fn supersede(&mut self, first: u8, last: u8) {
        let overlaps = |part: &Part| part.first <= last && first <= part.last;
        if !self.parts.iter().any(overlaps) {
            return;
        }
        let mut parts = Vec::with_capacity(self.parts.len() + 1);
        for part in self.parts.drain(..) {
            if !overlaps(&part) {
                parts.push(part);
                continue;
            }
            if part.first < first {
                parts.push(Part { last: first - 1, ..part });
            }
            if part.last > last {
                parts.push(Part { first: last + 1, ..part });
            }
        }
        self.parts = parts;
    }

    fn note(&mut self, first: u8, last: u8, block: BlockId, closed: bool) {
        if !closed {
            self.supersede(first, last);
        }
        match self.parts.last_mut() {
            Some(part)
                if part.block == block
                    && part.closed == closed
                    && part.last.checked_add(1) == Some(first) =>
            {
                part.last = last;
            }
            _ => self.parts.push(Part { block, first, last, closed }),
        }
    }

    fn pointer(&self) -> Pointer {
        let mut pointer = Pointer::default();
        for part in &self.parts {
            pointer.note(part.block, part.first..=part.last, part.closed);
        }
        pointer
    }
}

fn last_of(run: IdRun) -> u8 {
    (u16::from(run.first) + run.count - 1) as u8
}

impl IndexWriter {
    /// Nothing is tracked yet. `retention` counts from close.
    #[must_use]
    pub fn new(partition: PartitionId, retention: Duration) -> Self {
        Self {
            partition,
            retention,
            batches: HashMap::default(),
            unconfirmed: VecDeque::new(),
            pinned: HashMap::default(),
            hours: Hours::new(retention),
        }
    }

    /// Reads what an earlier owner has written of the listing; call it before the first flush. Nothing in the log started
    /// before `oldest_ms`, but for what [`IndexWriter::load_hours`] is told.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(&mut self, store: &dyn Store, oldest_ms: u64, now_ms: u64) -> Result<(), StoreError> {
        self.hours.load(store, self.partition, oldest_ms, now_ms).await
    }

    /// Reads what an earlier owner has written of the listing of these hours (since 1970), as [`IndexWriter::load`] does.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load_hours(
        &mut self,
        store: &dyn Store,
        hours: &BTreeSet<u64>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.hours.load_also(store, self.partition, hours, now_ms).await
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

    /// From now on what is tracked of a batch stays, until [`IndexWriter::unpin`] is called as often: so that a pointer
    /// which is read meanwhile is the newest one, or not needed.
    pub fn pin(&mut self, batch: BatchId) {
        *self.pinned.entry(batch).or_default() += 1;
    }

    /// See [`IndexWriter::pin`].
    pub fn unpin(&mut self, batch: BatchId) {
        let Some(times) = self.pinned.get_mut(&batch) else { return };
        *times -= 1;
        if *times > 0 {
            return;
        }
        self.pinned.remove(&batch);
        let written = !self.unconfirmed.iter().any(|(_, other)| *other == batch);
        if written && self.batches.get(&batch).is_some_and(Tracked::is_complete) {
            self.batches.remove(&batch);
        }
    }

    /// An execution that had ended goes on: call it before the flush that opens it again, with the batch pinned since
    /// before `pointer`, which is that of its batch, was read. It counts where nothing is tracked.
    pub fn reopen(&mut self, id: ExecutionId, pointer: Option<&Pointer>) {
        self.unconfirmed.retain(|(_, batch)| *batch != id.batch);
        if !self.batches.contains_key(&id.batch) {
            for (block, run, closed) in pointer.into_iter().flat_map(|pointer| pointer.runs(id.batch)) {
                self.note(run, block, closed);
            }
        }
        let tracked = self.batches.entry(id.batch).or_default();
        tracked.expected.get_or_insert(tracked.count(false).max(1));
        tracked.supersede(id.index, id.index);
    }

    /// Whether anything of a batch is known.
    #[must_use]
    pub fn tracks(&self, batch: BatchId) -> bool {
        self.batches.contains_key(&batch)
    }

    /// The log was read from a checkpoint on, and of this batch something was opened again that had ended before: its
    /// pointer says what else there is of it, and what was seen since counts before that.
    pub fn began_before(&mut self, batch: BatchId, pointer: &Pointer) {
        let Some(seen) = self.batches.remove(&batch) else { return };
        for (block, run, closed) in pointer.runs(batch) {
            self.note(run, block, closed);
        }
        let tracked = self.batches.entry(batch).or_default();
        for part in seen.parts {
            tracked.note(part.first, part.last, part.block, part.closed);
        }
    }

    /// The append of this block is confirmed: what travelled beside it, and before, answers from the store
    /// from now on.
    pub fn confirmed(&mut self, id: BlockId) {
        while self.unconfirmed.front().is_some_and(|(block, _)| *block <= id) {
            if let Some((_, batch)) = self.unconfirmed.pop_front()
                && !self.pinned.contains_key(&batch)
            {
                self.batches.remove(&batch);
            }
        }
    }

    /// The blocks above `after`, up to `last`, are gone from the log. What is open in them is opened again, beside a later
    /// block; what ended in them will not end again, so that nothing waits for it.
    pub fn lost(&mut self, after: BlockId, last: BlockId, derived: &mut Vec<Derived>) {
        let gone = |part: &Part| after < part.block && part.block <= last;
        let touched = self.batches.iter().filter(|(_, tracked)| tracked.parts.iter().any(gone));
        let touched: Vec<BatchId> = touched.map(|(batch, _)| *batch).collect();
        for batch in touched {
            let Some(tracked) = self.batches.get_mut(&batch) else { continue };
            let ended = tracked.parts.iter().filter(|part| part.closed && gone(part));
            let ended: u16 = ended.map(|part| u16::from(part.last - part.first) + 1).sum();
            tracked.expected = tracked.expected.map(|expected| expected.saturating_sub(ended));
            tracked.parts.retain(|part| !gone(part));
            if tracked.is_complete() {
                let known = !tracked.parts.is_empty();
                derived.extend(self.pointer_entry(batch).filter(|_| known));
                self.batches.remove(&batch);
            }
        }
    }

    /// Which listings there are, for a store that has lost blocks: a listing may have been made known beside one of them, and
    /// hold others that are there. Append these beside the next blocks, some hundreds at a time.
    pub fn listings_again(&mut self, now_ms: u64) -> impl Iterator<Item = Derived> {
        self.hours.again(now_ms)
    }

    /// Where an execution is, as long as its batch's pointer is not known to be written.
    #[must_use]
    pub fn find(&self, id: ExecutionId) -> Option<Located> {
        let tracked = self.batches.get(&id.batch)?;
        let block_of = |closed| {
            let mut parts = tracked.parts.iter();
            let holds = |part: &&Part| part.closed == closed && part.contains(id.index);
            parts.find(holds).map(|part| part.block)
        };
        Some(Located { opened: block_of(false), closed: block_of(true) })
    }

    /// The earliest start of anything that is listed, about; Unix time in milliseconds.
    #[must_use]
    pub fn oldest_listed_ms(&self) -> Option<u64> {
        self.hours.oldest_ms()
    }

    /// Adds what is tracked now to a checkpoint.
    pub fn checkpoint(&self, checkpoint: &mut checkpoint::Encoder) {
        // In order: what follows from a checkpoint's length is then the same whenever the same has happened.
        let mut batches: Vec<_> = self.batches.iter().collect();
        batches.sort_unstable_by_key(|(batch, _)| **batch);
        batches.into_iter().for_each(|(batch, tracked)| checkpoint.tracked(*batch, tracked));
        self.hours.known().for_each(|hour| checkpoint.hour(hour));
    }

    /// Takes over what a checkpoint says was tracked, before the blocks after it are seen.
    pub fn restore(&mut self, tracked: Vec<(BatchId, Tracked)>) {
        self.batches = tracked.into_iter().collect();
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
            // What began in a block that has been trimmed cannot be found, and does not count.
            let Some(tracked) = self.batches.get_mut(&run.batch) else { continue };
            for id in run.ids().filter(|id| tracked.is_opened(id.index)).collect::<Vec<_>>() {
                tracked.note(id.index, id.index, block.id(), true);
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
            tracked.expected.get_or_insert(tracked.count(false));
            if tracked.is_complete() {
                complete.push(*batch);
            }
        }
        for batch in complete {
            let tracked = self.batches.get(&batch);
            let last = tracked.and_then(|tracked| tracked.parts.iter().map(|part| part.block).max());
            if last.is_some_and(|last| last >= rewrite_from) {
                derived.extend(self.pointer_entry(batch));
            }
            self.batches.remove(&batch);
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
            if start.saturating_add(HOUR_MS) < block.time_ms() {
                // It was carried here, and is listed apart from what began now.
                if let Some(machine) = block.machines().get(opened.machine as usize) {
                    self.summarise(block.id(), &new, std::iter::once(machine.arn.as_str()), now_ms, derived);
                }
                continue;
            }
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

    /// An execution closes, or is carried into another block, longer after its start than the retention: its summary may
    /// be forgotten by now, and is given again, so that it is listed for as long as it can be looked up.
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
        self.batches.entry(run.batch).or_default().note(run.first, last_of(run), block, closed);
    }

    fn pointer_entry(&self, batch: BatchId) -> Option<Derived> {
        let value = self.batches.get(&batch)?.pointer().encode();
        Some(Derived::Put { key: pointer::key(batch), value, ttl: self.retention })
    }

    fn complete(&mut self, batch: BatchId, id: BlockId, derived: &mut Vec<Derived>) {
        derived.extend(self.pointer_entry(batch));
        self.unconfirmed.push_back((id, batch));
    }
}
