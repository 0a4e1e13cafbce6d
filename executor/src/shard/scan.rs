//! What the id columns of a log say: which executions are open, which blocks hold their records, and which batches are
//! remembered.
//!
//! Invariants: an execution's records may be in the log twice, when it was carried into later blocks; the latest opened
//! record counts, and of its journal all blocks are named. Memory is bounded by what is open. Nothing here fails.

use std::collections::{HashMap, HashSet};

use ids::{BatchId, ExecutionId};
use journal::block::{IdRun, SubBlockKind};
use journal::checkpoint::Checkpoint;
use journal::{Block, BlockId};
use smallvec::SmallVec;

use super::retain::Retained;
use crate::limits;

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The blocks of an execution: the first holds its opened record, all may hold its journal.
pub(super) type Blocks = SmallVec<[BlockId; 1]>;

/// A bit for each index of a batch.
type Bits = [u64; 4];

/// What is open of a batch, and was opened in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    block: BlockId,
    bits: Bits,
}

/// What the id columns say.
#[derive(Debug, Default)]
pub(super) struct Scan {
    open: Map<BatchId, SmallVec<[Part; 1]>>,
    journal: Map<ExecutionId, Vec<BlockId>>,
    /// Batches within the horizon, with their block and the time from which they are forgotten after the horizon.
    pub batches: Vec<(BatchId, BlockId, u64)>,
    /// Blocks that were read.
    pub read: usize,
}

fn mask(run: &IdRun) -> Bits {
    let mut bits = [0; 4];
    for id in run.ids() {
        bits[usize::from(id.index) / 64] |= 1 << (id.index % 64);
    }
    bits
}

fn overlap(one: &Bits, other: &Bits) -> bool {
    one.iter().zip(other).any(|(one, other)| one & other != 0)
}

fn clear(bits: &mut Bits, mask: &Bits) {
    bits.iter_mut().zip(mask).for_each(|(bits, mask)| *bits &= !mask);
}

/// Batches of which something may be opened again in this block: what is redriven is told so where it is opened.
pub(super) fn reopened_in(block: &Block) -> impl Iterator<Item = BatchId> {
    let batches = |kind| {
        let of_kind = block.sub_blocks().iter().filter(move |sub_block| sub_block.kind() == kind);
        of_kind.flat_map(|sub_block| sub_block.runs()).map(|run| run.batch)
    };
    let told: HashSet<BatchId> = batches(SubBlockKind::Journalled).collect();
    batches(SubBlockKind::Opened).filter(move |batch| told.contains(batch))
}

impl Scan {
    /// Begins with what a checkpoint says.
    pub fn restore(checkpoint: &mut Checkpoint) -> Self {
        let mut scan = Self::default();
        for run in checkpoint.open.drain(..) {
            let ids = IdRun { batch: run.batch, first: run.first, count: run.count };
            let Some((opened_in, journal)) = run.blocks.split_first() else { continue };
            scan.open(&ids, *opened_in);
            for id in ids.ids().filter(|_| !journal.is_empty()) {
                scan.journal.insert(id, journal.to_vec());
            }
        }
        scan.batches =
            checkpoint.batches.drain(..).map(|seen| (seen.batch, seen.block, seen.time_ms)).collect();
        scan
    }

    /// The next block of the log.
    pub fn block(&mut self, block: &Block, remembered_from_ms: u64, retained: &mut Retained) {
        let at = block.id();
        self.read += 1;
        for sub_block in block.sub_blocks() {
            for run in sub_block.runs() {
                match sub_block.kind() {
                    SubBlockKind::OpenedAndClosed => {
                        self.remember(run, block, remembered_from_ms);
                        self.forget_journal(run);
                    }
                    SubBlockKind::Opened => {
                        self.remember(run, block, remembered_from_ms);
                        self.open(run, at);
                    }
                    SubBlockKind::Journalled => self.journal(run, at),
                    SubBlockKind::Closed => self.close(run, block.time_ms(), retained),
                }
            }
        }
    }

    /// A batch is in one block; where more of it is opened later, that was carried there.
    fn remember(&mut self, run: &IdRun, block: &Block, remembered_from_ms: u64) {
        let last = self.batches.last().map(|(batch, ..)| *batch);
        let carried = self.open.get(&run.batch).is_some_and(|parts| parts[0].block != block.id());
        // Who wrote the block may have had a clock that was behind the dispatcher's, as far as that is accepted.
        let started_ms = block.time_ms().saturating_add(limits::CLOCK_AHEAD_MAX.as_millis() as u64);
        if started_ms >= remembered_from_ms && last != Some(run.batch) && !carried {
            self.batches.push((run.batch, block.id(), started_ms));
        }
    }

    fn open(&mut self, run: &IdRun, at: BlockId) {
        let mask = mask(run);
        let parts = self.open.entry(run.batch).or_default();
        parts.iter_mut().for_each(|part| clear(&mut part.bits, &mask));
        parts.retain(|part| part.bits != [0; 4]);
        match parts.iter_mut().find(|part| part.block == at) {
            Some(part) => part.bits.iter_mut().zip(mask).for_each(|(bits, mask)| *bits |= mask),
            None => parts.push(Part { block: at, bits: mask }),
        }
    }

    /// Of what was carried, a part of the journal stands before the opened record, and the one before that may be trimmed.
    fn journal(&mut self, run: &IdRun, at: BlockId) {
        for id in run.ids() {
            let blocks = self.journal.entry(id).or_default();
            if blocks.last() != Some(&at) {
                blocks.push(at);
            }
        }
    }

    fn forget_journal(&mut self, run: &IdRun) {
        if !self.journal.is_empty() {
            run.ids().for_each(|id| drop(self.journal.remove(&id)));
        }
    }

    fn close(&mut self, run: &IdRun, at_ms: u64, retained: &mut Retained) {
        let Some(parts) = self.open.get_mut(&run.batch) else { return self.forget_journal(run) };
        let (mask, mut opened_from) = (mask(run), None);
        for part in parts.iter_mut().filter(|part| overlap(&part.bits, &mask)) {
            opened_from = opened_from.into_iter().chain([part.block]).min();
            retained.closed(part.block, at_ms);
            clear(&mut part.bits, &mask);
        }
        parts.retain(|part| part.bits != [0; 4]);
        if parts.is_empty() {
            self.open.remove(&run.batch);
        }
        if !self.journal.is_empty() {
            for blocks in run.ids().filter_map(|id| self.journal.remove(&id)) {
                // Of what was carried, a part of the journal may be older.
                let oldest =
                    blocks.iter().min().filter(|oldest| opened_from.is_some_and(|from| **oldest < from));
                oldest.into_iter().for_each(|oldest| retained.closed(*oldest, at_ms));
            }
        }
    }

    /// Everything open, with its blocks.
    pub fn into_open(mut self) -> Vec<(ExecutionId, Blocks)> {
        let mut open = Vec::new();
        for (batch, parts) in std::mem::take(&mut self.open) {
            for part in parts {
                for index in
                    (0..=255u8).filter(|index| part.bits[usize::from(*index) / 64] >> (index % 64) & 1 == 1)
                {
                    let id = batch.execution(index);
                    let mut blocks = Blocks::from_iter([part.block]);
                    blocks.extend(self.journal.remove(&id).unwrap_or_default());
                    open.push((id, blocks));
                }
            }
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use ids::{DefinitionHash, Mode, PartitionId, Status};
    use journal::block::{BlockBuilder, Closed, Journalled, JournalledKind, MachineRef, Opened};

    use super::*;

    fn batch() -> BatchId {
        BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range")
    }

    fn at(sequence: u64) -> BlockId {
        BlockId { generation: 1, sequence }
    }

    struct Log {
        builder: BlockBuilder,
        scan: Scan,
        retained: Retained,
        sequence: u64,
    }

    impl Log {
        fn new() -> Self {
            let retained = Retained::new(Duration::from_secs(60));
            let builder = BlockBuilder::new(batch().partition);
            Self { builder, scan: Scan::default(), retained, sequence: 0 }
        }

        fn open(&mut self, index: u8) {
            let definition: DefinitionHash = [0; 32];
            let machine = MachineRef {
                arn: "a".to_owned(),
                definition,
                mode: Mode::Standard,
                dialect: 0,
                retention_s: 0,
                role_arn: String::new(),
                logging: Default::default(),
                origin: String::new(),
            };
            let machine = self.builder.machine(&machine);
            let (id, input) = (batch().execution(index), Bytes::new());
            self.builder.opened(&Opened {
                id,
                machine,
                start_time_ms: 1,
                seed: 0,
                name: None,
                input,
                trace: None,
            });
        }

        fn tell(&mut self, index: u8, sequence: u32) {
            let (id, kind) = (batch().execution(index), JournalledKind::TimerFired);
            let payload = Bytes::new();
            self.builder.journalled(&Journalled { id, time_ms: 1, sequence, effect: 1, kind, payload });
        }

        fn close(&mut self, index: u8) {
            let id = batch().execution(index);
            let (status, payload) = (Status::Succeeded, Bytes::new());
            self.builder.closed(&Closed { id, status, stop_time_ms: 1, payload, blocks: Vec::new() });
        }

        fn flush(&mut self) {
            self.sequence += 1;
            let bytes = self.builder.finish(at(self.sequence), self.sequence);
            let block = Block::parse(&bytes).expect("a block");
            self.retained.wrote(block.id(), block.time_ms());
            self.scan.block(&block, 0, &mut self.retained);
        }

        fn open_blocks(self) -> Vec<(u8, Vec<u64>)> {
            let open = self.scan.into_open().into_iter();
            let mut open: Vec<_> = open
                .map(|(id, blocks)| (id.index, blocks.iter().map(|block| block.sequence).collect()))
                .collect();
            open.sort_unstable();
            open
        }
    }

    #[test]
    fn what_was_carried_is_opened_where_it_was_carried_to_and_what_closed_is_gone() {
        let mut log = Log::new();
        (0..4).for_each(|index| log.open(index));
        log.flush();
        log.tell(1, 0);
        log.tell(2, 0);
        log.flush();
        log.close(0);
        log.close(2);
        log.flush();
        log.open(1);
        log.tell(1, 0);
        log.flush();
        let latest_ms = 1 + limits::CLOCK_AHEAD_MAX.as_millis() as u64;
        assert_eq!(log.scan.batches, [(batch(), at(1), latest_ms)], "remembered where it was accepted");
        assert_eq!(log.open_blocks(), [(1, vec![4, 2, 4]), (3, vec![1])]);
    }
}
