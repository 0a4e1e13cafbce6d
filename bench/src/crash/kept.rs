//! What the logs must hold still, because it ended less than the retention ago.
//!
//! What was seen once has to be there later too: a store that drops what it confirmed, or is trimmed too early, shows here.
//! Invariant: an end that may be trimmed is not asked for. Bounded by [`ENDS_MAX`]; the oldest are not asked for then.

use std::collections::VecDeque;

use ids::ExecutionId;

/// Ends that are remembered.
const ENDS_MAX: usize = 2_000_000;

/// Terminal records that were seen.
#[derive(Debug, Default)]
pub(super) struct Kept {
    retention_ms: u64,
    /// When each was written (Unix time in milliseconds), in the order in which they were read.
    ends: VecDeque<(u64, ExecutionId)>,
}

impl Kept {
    /// Of executions that are kept for so long.
    pub fn new(retention_ms: u64) -> Self {
        Self { retention_ms, ends: VecDeque::new() }
    }

    /// Notes a terminal record.
    pub fn note(&mut self, id: ExecutionId, stop_ms: u64) {
        self.ends.push_back((stop_ms, id));
        let old = |end: &mut (u64, ExecutionId)| end.0 + self.retention_ms < stop_ms;
        while self.ends.len() > ENDS_MAX || self.ends.front_mut().is_some_and(old) {
            self.ends.pop_front();
        }
    }

    /// How many ends must be in the logs when it is this late, and those of them that are not.
    pub fn lacking(&self, now_ms: u64, there: impl Fn(ExecutionId) -> bool) -> (u64, Vec<ExecutionId>) {
        let kept = |(stop_ms, _): &&(u64, ExecutionId)| stop_ms + self.retention_ms / 10 * 9 > now_ms;
        let wanted: Vec<ExecutionId> = self.ends.iter().filter(kept).map(|(_, id)| *id).collect();
        (wanted.len() as u64, wanted.into_iter().filter(|id| !there(*id)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_within_the_retention_must_be_there_and_what_is_older_need_not() {
        let partition = ids::PartitionId::new(1).expect("in range");
        let id = |sequence| ids::BatchId::new(partition, 1, sequence).expect("in range").execution(0);
        let mut kept = Kept::new(10_000);
        for (sequence, stop_ms) in [(1, 1_000), (2, 5_000), (3, 12_000)] {
            kept.note(id(sequence), stop_ms);
        }
        assert_eq!(kept.ends.len(), 2, "the first is older than the retention");
        assert_eq!(kept.lacking(12_500, |found| found == id(3)), (2, vec![id(2)]));
        assert_eq!(kept.lacking(14_500, |_| false), (1, vec![id(3)]));
        assert_eq!(kept.lacking(60_000, |_| false), (0, Vec::new()));
    }
}
