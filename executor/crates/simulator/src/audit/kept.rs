//! What a log keeps, and for how long: neither less nor much more than is wanted.
//!
//! Invariants that the product is held to: a log is trimmed of nothing that belongs to an execution which is open or has
//! ended less than the retention ago, and of no batch that may still be sent again; nobody is told that such an execution
//! does not exist; and what nobody wants is trimmed some time. What may fail: the product.

use super::*;
use crate::process::EPOCH_US;

/// How much later than it might a log may be trimmed, in microseconds: clocks of owners differ, and blocks are trimmed in
/// buckets.
const TRIM_US: u64 = SKEW_US;
/// How long batch ids are remembered.
const HORIZON_US: u64 = executor::limits::BATCH_HORIZON.as_micros() as u64;

impl Audit {
    /// Whether an execution is open, or has ended less than the retention ago by every clock that there may be.
    fn is_kept(&self, known: &Known) -> bool {
        let latest_ms = (EPOCH_US + self.now_us + self.skew_us) / 1_000;
        known.end.is_none() || known.closed_in.1 + self.retention_us / 1_000 > latest_ms
    }

    /// The oldest block with something of an execution.
    fn oldest_of(&self, id: ExecutionId, known: &Known) -> BlockId {
        let journal = self.journal.range((id, 0)..=(id, u32::MAX)).map(|(_, (block, _))| *block);
        let ended = known.end.iter().map(|_| known.closed_in.0);
        journal.chain(ended).fold(known.opened_in, BlockId::min)
    }

    /// A log was trimmed.
    ///
    /// # Errors
    /// Of something that is wanted.
    pub fn trimmed(&self, partition: PartitionId, below: BlockId) -> Result<(), Violation> {
        let here = self.known.iter().filter(|(id, _)| id.batch.partition == partition);
        for (id, known) in here.filter(|(id, _)| !self.losses.touch(**id)) {
            let oldest = self.oldest_of(*id, known);
            if oldest < below && self.is_kept(known) {
                let ended = known.end.as_ref().map(|(status, _)| (status, known.closed_in));
                return Err(format!(
                    "{id} is kept from block {oldest} of {partition} on, ended: {ended:?}; it was trimmed below {below}"
                ));
            }
            if known.begun.0 < below && known.created_us + HORIZON_US > self.now_us {
                let begun = known.begun.0;
                return Err(format!(
                    "{:?} may be sent again and began in block {begun}; the log was trimmed below {below}",
                    id.batch
                ));
            }
        }
        Ok(())
    }

    /// Somebody is told that an execution does not exist.
    ///
    /// # Errors
    /// It was acknowledged, and is kept.
    pub fn denied(&mut self, id: ExecutionId, now_us: u64) -> Result<(), Violation> {
        self.now_us = now_us;
        let known = self.known.get(&id).filter(|_| self.acknowledged.contains(&id));
        let Some(known) = known.filter(|_| self.losses.is_found(id)) else { return Ok(()) };
        if self.is_kept(known) {
            return Err(format!(
                "{id} was acknowledged, and somebody is told that it does not exist: {known:?}"
            ));
        }
        Ok(())
    }

    /// The oldest block that a log holds after a block was written to it.
    ///
    /// # Errors
    /// Nothing in it, or shortly after it, was wanted for far longer than the retention.
    pub fn oldest(&self, partition: PartitionId, oldest: BlockId) -> Result<(), Violation> {
        let Some((written_us, _)) = self.blocks.get(&(partition, oldest)) else {
            return Err(format!("the log of {partition} begins with block {oldest}, which nobody wrote"));
        };
        let (kept_us, retention_us) =
            (executor::limits::BLOCK_KEPT_MIN.as_micros() as u64, self.retention_us);
        let before = |age_us: u64| self.now_us.saturating_sub(age_us + TRIM_US);
        let (written_from_us, ended_from_us) = (before(kept_us.max(retention_us)), before(retention_us));
        let near_us = written_us + TRIM_US;
        let from = (partition, oldest)..=(partition, BlockId { generation: u64::MAX, sequence: u64::MAX });
        let mut near = self.blocks.range(from).take_while(|(_, (at_us, _))| *at_us <= near_us);
        let wanted =
            near.any(|(_, (at_us, ended_us))| *at_us >= written_from_us || *ended_us >= ended_from_us);
        let open = self.known.iter().any(|(id, known)| {
            let opened = self.blocks.get(&(partition, known.opened_in));
            id.batch.partition == partition && known.end.is_none() && opened.is_some_and(|at| at.0 <= near_us)
        });
        if open || wanted {
            return Ok(());
        }
        Err(format!("block {oldest} of {partition} is kept, though nothing in it was wanted for long"))
    }
}
