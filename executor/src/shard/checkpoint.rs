//! Checkpoints of a log, written now and then beside its blocks, so that a recovery reads little.
//!
//! One is taken when a block is finished and the log has grown enough since the last one, by blocks or by bytes; its
//! entries travel beside the next blocks, one beside each. Its cost is bounded by what it spares: the longer the last one
//! was, the more has to be written before the next. Invariant: it says exactly what is true when its block is the last
//! one of the log. Nothing here fails: without a checkpoint a recovery takes longer.

use std::collections::VecDeque;

use journal::checkpoint::{self, Encoder, SeenBatch, Stamp};
use journal::{BlockId, Derived};

use super::core::Shard;
use super::handle::Pace;
use super::scan::Blocks;
use crate::limits;

/// What a log knows of its checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Blocks in which something opens or closes, and bytes of all blocks, since the last one.
    since: (usize, usize),
    /// Bytes of the last one.
    length: usize,
    /// Where the last one is: the next one is written elsewhere.
    place: u8,
    /// Its entries that are not written yet.
    pub entries: VecDeque<Derived>,
    /// Where the recovery of the log began.
    pub began_at: Option<BlockId>,
}

impl Checkpoints {
    /// A log is recovered, from a checkpoint or from its beginning: so much of it comes after the newest one, at this place.
    pub fn recovered(place: u8, since: (usize, usize), began_at: Option<BlockId>) -> Self {
        Self { since, place, began_at, ..Self::default() }
    }

    /// Recovery reads the last blocks in any case, and begins before them: so the last checkpoint is old enough for it
    /// when the one before is written over.
    fn is_due(&self, pace: Pace) -> bool {
        let (blocks, bytes) = self.since;
        let long = bytes >= limits::CHECKPOINT_BYTES || blocks >= pace.checkpoint_blocks;
        let spares = bytes >= self.length.saturating_mul(4);
        self.entries.is_empty() && blocks as u64 >= pace.lost_blocks && long && spares
    }
}

impl Shard {
    /// A block is finished, in which something opens or closes or not; adds what travels beside it.
    pub(super) fn checkpoint(
        &mut self,
        at: usize,
        (block, counts): (BlockId, bool),
        bytes: &[u8],
        derived: &mut Vec<Derived>,
    ) {
        let log = &mut self.logs[at];
        let (blocks, total) = log.checkpoints.since;
        log.checkpoints.since = (blocks + usize::from(counts), total + bytes.len());
        if log.checkpoints.is_due(self.config.pace) && !log.carry.is_midway() {
            let body = self.encode_checkpoint(at);
            let log = &mut self.logs[at];
            let stamp = Stamp::of(log.partition, block, bytes);
            let checkpoints = &mut log.checkpoints;
            checkpoints.place ^= 1;
            checkpoints.length = body.len();
            checkpoints.since = (0, 0);
            checkpoints.entries = checkpoint::entries(&body, stamp, checkpoints.place).into();
            if checkpoints.entries.is_empty() {
                tracing::warn!(
                    partition = log.partition.get(),
                    bytes = body.len(),
                    "too much is open for a checkpoint: a recovery reads the whole log"
                );
            }
            self.metrics.checkpoints.add(1);
            self.metrics.checkpoint_bytes.add(body.len() as u64);
        }
        derived.extend(self.logs[at].checkpoints.entries.pop_front());
    }

    /// What is true of a log whose last block is finished.
    fn encode_checkpoint(&self, at: usize) -> Vec<u8> {
        let log = &self.logs[at];
        let mut encoder = Encoder::default();
        let moved = log.carry.moved();
        let mut put = |id, blocks: &Blocks| match moved.get(&id) {
            Some(moved) => encoder.open(id, &moved(blocks)),
            None => encoder.open(id, blocks),
        };
        // In order: neighbours share bytes, and a checkpoint is as long as the next one of the same.
        let mut batches: Vec<_> = log.open_batches.iter().copied().collect();
        batches.sort_unstable();
        for batch in batches {
            for (_, address) in self.by_batch.get(&batch).into_iter().flatten() {
                if let Some(open) = self.open.get(*address).filter(|open| open.is_open_in_log()) {
                    put(open.id, &open.blocks);
                }
            }
        }
        let mut away: Vec<_> = log.away.iter().collect();
        away.sort_unstable_by_key(|(id, _)| **id);
        away.into_iter().for_each(|(id, away)| put(*id, &away.blocks));
        encoder.floor(log.dedupe.floor_ms());
        for (batch, block, time_ms) in log.dedupe.remembered(log.partition) {
            encoder.seen(SeenBatch { batch, block, time_ms });
        }
        log.retained.buckets().for_each(|bucket| encoder.bucket(bucket));
        log.index.borrow().checkpoint(&mut encoder);
        encoder.finish()
    }
}
