//! What waits to be put into batches.
//!
//! A lane holds starts that may share a batch: those that may go to any partition of the shard, and for each
//! partition those that must go there. At most one batch of a lane that is not full is under way: what comes
//! meanwhile gathers, so that batches grow with the load and a lone start waits for nobody. No timer is
//! involved.

use std::collections::{BTreeMap, VecDeque};

use ids::BATCH_EXECUTIONS_MAX;

use super::{LaneKey, Submission};

/// Bytes of input at which a batch closes.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Starts that the lanes of one link take in; the rest waits in the link's queue.
pub const LANES_STARTS_MAX: usize = BATCH_EXECUTIONS_MAX * 16;

/// Microseconds between two looks at deadlines: each goes through all that waits.
const LOOK_PAUSE_US: u64 = 10_000;

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Submission>,
    starts: usize,
    bytes: usize,
    partial_under_way: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: BTreeMap<LaneKey, Lane>,
    starts: usize,
    look_us: u64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), starts: 0, look_us: u64::MAX }
    }
}

impl Lanes {
    pub(super) fn has_room(&self) -> bool {
        self.starts < LANES_STARTS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts == 0
    }

    pub(super) fn push(&mut self, submission: Submission) {
        let lane = self.lanes.entry(submission.lane).or_default();
        self.look_us = self.look_us.min(submission.deadline_us);
        self.starts += submission.inputs.len();
        lane.starts += submission.inputs.len();
        lane.bytes += submission.bytes;
        lane.queue.push_back(submission);
    }

    /// The submissions of the next batch, their lane, and whether the batch is partial.
    pub(super) fn next_batch(&mut self) -> Option<(LaneKey, Vec<Submission>, bool)> {
        let (key, lane) = self.lanes.iter_mut().find(|(_, lane)| lane.is_ready())?;
        let key = *key;
        let (taken, partial) = lane.take();
        self.starts -= taken.iter().map(|submission| submission.inputs.len()).sum::<usize>();
        Some((key, taken, partial))
    }

    /// A partial batch of this lane is no longer under way.
    pub(super) fn partial_ended(&mut self, key: LaneKey) {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.partial_under_way = lane.partial_under_way.saturating_sub(1);
            if lane.partial_under_way == 0 && lane.queue.is_empty() {
                self.lanes.remove(&key);
            }
        }
    }

    /// Takes out all that waits.
    pub(super) fn drain(&mut self) -> Vec<Submission> {
        self.starts = 0;
        let mut drained = Vec::new();
        for lane in self.lanes.values_mut() {
            (lane.starts, lane.bytes) = (0, 0);
            drained.extend(lane.queue.drain(..));
        }
        self.lanes.retain(|_, lane| lane.partial_under_way > 0);
        drained
    }

    /// Takes out those whose callers no longer wait, wherever they stand.
    pub(super) fn expired(&mut self, now_us: u64) -> Vec<Submission> {
        if now_us < self.look_us {
            return Vec::new();
        }
        let mut expired = Vec::new();
        for lane in self.lanes.values_mut() {
            let (late, rest): (VecDeque<_>, VecDeque<_>) =
                lane.queue.drain(..).partition(|submission| submission.deadline_us <= now_us);
            lane.queue = rest;
            for submission in late {
                lane.starts -= submission.inputs.len();
                lane.bytes -= submission.bytes;
                self.starts -= submission.inputs.len();
                expired.push(submission);
            }
        }
        let waiting = self.lanes.values().flat_map(|lane| &lane.queue);
        let earliest = waiting.map(|submission| submission.deadline_us).min();
        self.look_us = earliest.unwrap_or(u64::MAX).max(now_us.saturating_add(LOOK_PAUSE_US));
        expired
    }

    /// When to look for those whose callers no longer wait: the earliest deadline, or before.
    pub(super) fn deadline_us(&self) -> u64 {
        self.look_us
    }
}

impl Lane {
    fn is_ready(&self) -> bool {
        let full = self.starts >= BATCH_EXECUTIONS_MAX || self.bytes >= BATCH_BYTES_MAX;
        !self.queue.is_empty() && (full || self.partial_under_way == 0)
    }

    fn take(&mut self) -> (Vec<Submission>, bool) {
        let (mut starts, mut bytes) = (0, 0);
        let mut taken = Vec::with_capacity(1);
        let mut closed = false;
        while let Some(next) = self.queue.front() {
            let fits =
                starts + next.inputs.len() <= BATCH_EXECUTIONS_MAX && bytes + next.bytes <= BATCH_BYTES_MAX;
            // A single submission is within the limits by its own validation.
            if !fits && !taken.is_empty() {
                closed = true;
                break;
            }
            starts += next.inputs.len();
            bytes += next.bytes;
            taken.extend(self.queue.pop_front());
        }
        self.starts -= starts;
        self.bytes -= bytes;
        let partial = !closed && starts < BATCH_EXECUTIONS_MAX && bytes < BATCH_BYTES_MAX;
        self.partial_under_way += u32::from(partial);
        (taken, partial)
    }
}
