//! What was acknowledged, and whether the store holds it.
//!
//! The rule: every acknowledged execution is stored, and has exactly one terminal outcome. An execution that is stored
//! without having been acknowledged is no fault (its reply was lost, or its start is still under way); it is counted.

use foldhash::HashMap;
use ids::BatchId;
use serde::Serialize;

use crate::error::Error;

/// One bit for each execution of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mask([u64; 4]);

impl Mask {
    /// Sets [from, to), and returns how many of them were set before.
    pub(crate) fn set(&mut self, from: u32, to: u32) -> u32 {
        let before: u32 = self.count();
        for index in from..to.min(256) {
            self.0[index as usize / 64] |= 1 << (index % 64);
        }
        to.saturating_sub(from) - (self.count() - before)
    }

    /// Whether one is set.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.0.get(index as usize / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// How many are set.
    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Those that are set in one of the two.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// How many are set here and not there.
    pub(crate) fn without(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(mine, theirs)| (mine & !theirs).count_ones()).sum()
    }
}

/// Acknowledged executions.
#[derive(Debug, Default)]
pub struct Ledger {
    acknowledged: HashMap<BatchId, Mask>,
}

/// What the store holds.
#[derive(Debug, Default)]
pub struct Stored {
    opened: HashMap<BatchId, Mask>,
    closed: HashMap<BatchId, Mask>,
    opened_twice: u64,
    closed_twice: u64,
}

/// The verdict on a run.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Verified {
    /// Executions that were acknowledged; all of them are stored.
    pub acknowledged: u64,
    /// Acknowledged executions that have exactly one terminal outcome: all of them.
    pub ended_once: u64,
    /// Executions that are stored without an acknowledgement having arrived.
    pub stored_unacknowledged: u64,
}

impl Ledger {
    /// Notes an acknowledgement of [from, to).
    pub fn acknowledge(&mut self, batch: BatchId, from: u32, to: u32) {
        self.acknowledged.entry(batch).or_default().set(from, to);
    }

    /// How many executions were acknowledged.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.acknowledged.values().map(|mask| u64::from(mask.count())).sum()
    }

    /// Whether nothing was acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.acknowledged.is_empty()
    }

    /// Holds the acknowledgements against the store.
    ///
    /// # Errors
    /// [`Error::Void`] when one is missing, has no outcome, or has two.
    pub fn verify(&self, stored: &Stored) -> Result<Verified, Error> {
        let none = Mask::default();
        let missing = |there: &HashMap<BatchId, Mask>| -> u64 {
            let lacking = |(batch, mask): (&BatchId, &Mask)| mask.without(there.get(batch).unwrap_or(&none));
            self.acknowledged.iter().map(|entry| u64::from(lacking(entry))).sum()
        };
        let (unstored, unended) = (missing(&stored.opened), missing(&stored.closed));
        if unstored + unended + stored.closed_twice + stored.opened_twice > 0 {
            return Err(Error::Void(format!(
                "of {} acknowledged executions {unstored} are not stored and {unended} have no terminal outcome; \
                 {} are opened twice, {} ended twice",
                self.len(),
                stored.opened_twice,
                stored.closed_twice
            )));
        }
        let acknowledged = self.len();
        let all: u64 = stored.opened.values().map(|mask| u64::from(mask.count())).sum();
        Ok(Verified { acknowledged, ended_once: acknowledged, stored_unacknowledged: all - acknowledged })
    }
}

impl Stored {
    /// Notes that the store holds [from, to) of a batch as opened.
    pub fn opened(&mut self, batch: BatchId, from: u32, to: u32) {
        self.opened_twice += u64::from(self.opened.entry(batch).or_default().set(from, to));
    }

    /// Whether the store holds a terminal outcome of an execution.
    #[must_use]
    pub fn has_closed(&self, id: ids::ExecutionId) -> bool {
        self.closed.get(&id.batch).is_some_and(|mask| mask.has(id.index.into()))
    }

    /// Notes that the store holds [from, to) of a batch as closed.
    pub fn closed(&mut self, batch: BatchId, from: u32, to: u32) {
        self.closed_twice += u64::from(self.closed.entry(batch).or_default().set(from, to));
    }
}

#[cfg(test)]
mod tests {
    use ids::PartitionId;

    use super::*;

    fn batch(sequence: u64) -> BatchId {
        BatchId::new(PartitionId::new(1).expect("in range"), 1, sequence).expect("in range")
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.acknowledge(batch(0), 0, 256);
        ledger.acknowledge(batch(1), 3, 7);
        ledger
    }

    fn store() -> Stored {
        let mut stored = Stored::default();
        stored.opened(batch(0), 0, 256);
        stored.opened(batch(1), 0, 10);
        stored.closed(batch(0), 0, 100);
        stored.closed(batch(0), 100, 256);
        stored
    }

    #[test]
    fn a_run_whose_acknowledgements_are_stored_and_ended_is_good() {
        let mut stored = store();
        stored.closed(batch(1), 3, 7);
        let verified = ledger().verify(&stored).expect("good");
        assert_eq!(verified, Verified { acknowledged: 260, ended_once: 260, stored_unacknowledged: 6 });
    }

    #[test]
    fn a_missing_outcome_voids_the_run() {
        let error = ledger().verify(&store()).expect_err("void").to_string();
        assert!(error.contains("4 have no terminal outcome"), "{error}");
    }

    #[test]
    fn a_second_outcome_voids_the_run() {
        let mut stored = store();
        stored.closed(batch(1), 3, 7);
        stored.closed(batch(1), 6, 8);
        let error = ledger().verify(&stored).expect_err("void").to_string();
        assert!(error.contains("1 ended twice"), "{error}");
    }

    #[test]
    fn a_lost_start_voids_the_run() {
        let mut ledger = ledger();
        ledger.acknowledge(batch(2), 0, 1);
        let mut stored = store();
        stored.closed(batch(1), 3, 7);
        let error = ledger.verify(&stored).expect_err("void").to_string();
        assert!(error.contains("1 are not stored"), "{error}");
    }
}
