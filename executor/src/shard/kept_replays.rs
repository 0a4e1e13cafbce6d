//! What replays of executions showed of Map Runs, kept for the questions that follow: who walks page by page has one replay.
//!
//! Invariants: the first page tells the execution as it stands, for what is kept is of its very [`Stamp`]; pages after it may be told
//! as it stood when the first one was, for [`limits::KEPT_REPLAY_MAX`], for a walk is of one moment, and places stay what they are;
//! what is kept is bounded by bytes, and the oldest makes room. It is never said to be there by itself: an execution is looked up, and
//! its owner asked for, with each page. Nothing here fails.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use ids::ExecutionId;
use journal::BlockId;
use journal::index::Execution;
use proto::executor::v1;

use super::map_run_children::{ChildrenCut, ChildrenPage, Listing};
use crate::limits;

/// Questions about executions.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// So many are under way.
    pub under_way: usize,
    /// Shared with those.
    pub kept: Rc<RefCell<KeptReplays>>,
}

/// Which execution, and how far it has come: a replay of the same shows the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    id: ExecutionId,
    /// That of the owner, for a store that went back may give ids of blocks again.
    generation: u64,
    /// The last block that tells it something, and how many do. What a block tells does not change.
    last: Option<BlockId>,
    blocks: usize,
    /// What stands beside its opened record.
    told: usize,
    stopped_ms: Option<u64>,
}

impl Stamp {
    /// Of an execution, and the blocks that have its journal.
    pub fn of(found: &Execution, generation: u64, blocks: &[BlockId]) -> Self {
        Self {
            id: found.opened.id,
            generation,
            last: blocks.iter().max().copied(),
            blocks: blocks.len(),
            told: found.journalled.len(),
            stopped_ms: found.closed.as_ref().map(|closed| closed.stop_time_ms),
        }
    }
}

/// What a replay showed.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    /// All Map Runs, the oldest first.
    Runs(Vec<v1::MapRun>),
    /// Children of one.
    Children(Listing),
}

impl Shown {
    /// In memory, about.
    fn bytes(&self) -> usize {
        match self {
            Self::Runs(runs) => {
                let texts: usize = runs.iter().map(|run| run.arn.len() + run.machine_arn.len()).sum();
                texts + runs.len() * size_of::<v1::MapRun>()
            }
            Self::Children(listing) => listing.bytes(),
        }
    }

    /// Whether it answers what the other does.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Runs(_), Self::Runs(_)) => true,
            (Self::Children(one), Self::Children(other)) => one.is_like(other),
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    at_us: u64,
    bytes: usize,
    shown: Shown,
}

/// See the module. The newest is the last.
#[derive(Debug, Default)]
pub(super) struct KeptReplays {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl KeptReplays {
    /// Keeps what a replay showed, instead of what an earlier one showed of the same.
    pub fn keep(&mut self, stamp: Stamp, now_us: u64, shown: Shown) {
        self.kept.retain(|kept| kept.stamp.id != stamp.id || !kept.shown.is_like(&shown));
        let bytes = shown.bytes();
        if bytes <= limits::KEPT_REPLAY_BYTES_MAX {
            self.kept.push_back(Kept { stamp, at_us: now_us, bytes, shown });
        }
        self.bytes = self.kept.iter().map(|kept| kept.bytes).sum();
        while self.bytes > limits::KEPT_REPLAYS_BYTES_MAX || self.kept.len() > limits::KEPT_REPLAYS_MAX {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }

    /// The Map Runs of an execution, if it is what it was.
    pub fn runs(&self, stamp: &Stamp) -> Option<Vec<v1::MapRun>> {
        self.kept.iter().find_map(|kept| match &kept.shown {
            Shown::Runs(runs) if kept.stamp == *stamp => Some(runs.clone()),
            _ => None,
        })
    }

    /// A page of children, if all of it is kept.
    pub fn children(&self, stamp: &Stamp, cut: &ChildrenCut, now_us: u64) -> Option<ChildrenPage> {
        let walk_us = u64::try_from(limits::KEPT_REPLAY_MAX.as_micros()).unwrap_or(u64::MAX);
        let is_good = |kept: &&Kept| {
            let walks = cut.place.is_some() && now_us.saturating_sub(kept.at_us) <= walk_us;
            kept.stamp == *stamp || walks && kept.stamp.id == stamp.id
        };
        self.kept.iter().rev().filter(is_good).find_map(|kept| match &kept.shown {
            Shown::Children(listing) => listing.page_of(cut),
            Shown::Runs(_) => None,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ids::{BatchId, PartitionId};

    use super::*;

    pub fn stamp(execution: u8, blocks: usize) -> Stamp {
        let batch = BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range");
        let id = batch.execution(execution);
        Stamp { id, generation: 1, last: None, blocks, told: 0, stopped_ms: None }
    }

    fn runs(arn: usize, count: usize) -> Shown {
        Shown::Runs(vec![v1::MapRun { arn: "a".repeat(arn), ..Default::default() }; count])
    }

    #[test]
    fn only_what_is_of_the_very_same_moment_is_told_of_an_execution_that_goes_on() {
        let mut kept = KeptReplays::default();
        kept.keep(stamp(1, 1), 0, runs(1, 2));
        assert_eq!(kept.runs(&stamp(1, 1)).map(|runs| runs.len()), Some(2));
        for other in [stamp(1, 2), stamp(2, 1), Stamp { stopped_ms: Some(1), ..stamp(1, 1) }] {
            assert_eq!(kept.runs(&other), None, "{other:?}");
        }
        kept.keep(stamp(1, 2), 0, runs(1, 3));
        assert_eq!(kept.runs(&stamp(1, 1)), None, "replaced");
        assert_eq!(kept.kept.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_by_number_and_bytes_and_the_oldest_makes_room() {
        let mut kept = KeptReplays::default();
        for execution in 0..=u8::MAX {
            kept.keep(stamp(execution, 1), 0, runs(1, 1));
        }
        assert_eq!(kept.kept.len(), limits::KEPT_REPLAYS_MAX);
        assert_eq!((kept.runs(&stamp(0, 1)), kept.runs(&stamp(u8::MAX, 1)).is_some()), (None, true));
        let large = limits::KEPT_REPLAY_BYTES_MAX - 1_024;
        for execution in 0..9 {
            kept.keep(stamp(execution, 1), 0, runs(large, 1));
            assert!(kept.bytes <= limits::KEPT_REPLAYS_BYTES_MAX);
        }
        assert!(kept.runs(&stamp(8, 1)).is_some());
        kept.keep(stamp(8, 1), 0, runs(limits::KEPT_REPLAY_BYTES_MAX, 1));
        assert_eq!(kept.runs(&stamp(8, 1)), None, "too long, and what it replaces is of no use");
    }
}
