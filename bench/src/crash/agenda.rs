//! Which executions are looked at, and when.
//!
//! Invariants: whether a run is of the sample follows from the seed alone; no execution of an acknowledgement is left out
//! or looked at twice; looks come when they are due, the oldest first.

use std::collections::BTreeMap;

use super::acks::Ack;
use super::plan::Dice;
use super::workload::Kind;

/// Until an execution should have ended, there is this much more time.
const SLACK_MS: u64 = 1_500;
/// The sample's executions of a second: as many as a machine that is far behind describes beside the load.
const SAMPLED_PER_S: u64 = 25;
/// While the sample is so late, nothing else is looked at.
const LATE_MS: u64 = 2_000;

/// Executions to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub ack: Ack,
    pub acked_ms: u64,
    /// Last time that it was known to be open; its acknowledgement counts.
    pub open_ms: u64,
    /// When it is to be looked at.
    pub due_ms: u64,
    /// It must be described.
    pub sampled: bool,
    /// It was described at its end, and has to be there still.
    pub again: bool,
    /// How long everything had run when it was acknowledged, or redriven.
    pub healthy_ms: u64,
}

impl Look {
    pub fn new(ack: Ack, (now_ms, healthy_ms): (u64, u64), sampled: bool) -> Self {
        let lasts = u64::try_from(ack.kind.lasts().as_millis()).unwrap_or(u64::MAX);
        let due_ms = now_ms + lasts + SLACK_MS;
        Self { ack, acked_ms: now_ms, open_ms: now_ms, due_ms, sampled, again: false, healthy_ms }
    }

    /// So many of its executions.
    pub fn part(&self, offset: u32, count: u32) -> Self {
        let first_run = self.ack.first_run + u64::from(offset);
        let first_index = self.ack.first_index + offset;
        Self { ack: Ack { first_run, first_index, count, ..self.ack }, ..*self }
    }
}

/// One of so many runs, drawn by the seed, and each one that is to be redriven.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub seed: u64,
    pub of: u64,
}

impl Sample {
    /// Of so many starts a second: half of them, or what can be described for sure.
    pub fn new(seed: u64, rate: u64) -> Self {
        Self { seed, of: (rate / SAMPLED_PER_S).max(2) }
    }

    pub fn has(&self, kind: Kind, run: u64) -> bool {
        kind == Kind::Redriven
            || Dice::new(self.seed ^ run.wrapping_mul(0x9E37_79B9_7F4A_7C15)).below(self.of) == 0
    }

    /// Looks at an acknowledgement: one at each execution of the sample, one at each row of others.
    pub fn looks(&self, ack: Ack, now: (u64, u64)) -> Vec<Look> {
        let whole = Look::new(ack, now, false);
        let mut looks: Vec<Look> = Vec::new();
        for offset in 0..ack.count {
            let sampled = self.has(ack.kind, ack.first_run + u64::from(offset));
            match looks.last_mut() {
                Some(last) if !sampled && !last.sampled => last.ack.count += 1,
                _ => looks.push(Look { sampled, ..whole.part(offset, 1) }),
            }
        }
        looks
    }
}

/// Looks that wait, by when they are due.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    looks: BTreeMap<(u64, u64), Look>,
    number: u64,
}

impl Agenda {
    pub fn put(&mut self, look: Look) {
        self.number += 1;
        self.looks.insert((look.due_ms, self.number), look);
    }

    pub fn take(&mut self, now_ms: u64) -> Option<Look> {
        let first = self.looks.first_entry().filter(|entry| entry.key().0 <= now_ms);
        first.map(|entry| entry.remove())
    }

    /// Everything that is left.
    pub fn drain(&mut self) -> Vec<Look> {
        std::mem::take(&mut self.looks).into_values().collect()
    }

    pub fn is_late(&self, now_ms: u64) -> bool {
        self.looks.keys().next().is_some_and(|(due_ms, _)| due_ms + LATE_MS < now_ms)
    }

    pub fn is_empty(&self) -> bool {
        self.looks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(kind: Kind, first_run: u64, count: u32) -> Ack {
        let batch = ids::BatchId::new(ids::PartitionId::new(1).expect("in range"), 1, 9).expect("in range");
        Ack { kind, first_run, count, batch, first_index: 0 }
    }

    #[test]
    fn looks_come_when_they_are_due() {
        let mut agenda = Agenda::default();
        assert!(!agenda.is_late(u64::MAX), "nothing is due");
        for due_ms in [5, 99, 3, 7] {
            agenda.put(Look { due_ms, ..Look::new(ack(Kind::Pass, due_ms, 1), (0, 0), false) });
        }
        assert!(agenda.is_late(3 + LATE_MS + 1) && !agenda.is_late(3 + LATE_MS));
        let order: Vec<u64> = std::iter::from_fn(|| agenda.take(10)).map(|look| look.due_ms).collect();
        assert_eq!(order, [3, 5, 7]);
        assert!(!agenda.is_empty(), "one is not due yet");
    }

    #[test]
    fn each_execution_is_in_one_look_and_the_sample_is_looked_at_one_by_one() {
        let sample = Sample { seed: 1, of: 4 };
        let looks = sample.looks(ack(Kind::Pass, 1_000, 128), (0, 0));
        let runs = |look: &Look| look.ack.first_run..look.ack.first_run + u64::from(look.ack.count);
        assert_eq!(looks.iter().flat_map(runs).collect::<Vec<_>>(), (1_000..1_128).collect::<Vec<_>>());
        assert!(looks.iter().all(|look| u64::from(look.ack.first_index) == look.ack.first_run - 1_000));
        assert!(looks.iter().all(|look| !look.sampled || look.ack.count == 1));
        let sampled = looks.iter().filter(|look| look.sampled).count();
        assert!((16..=48).contains(&sampled), "{sampled} of 128");
        assert_eq!(looks, sample.looks(ack(Kind::Pass, 1_000, 128), (0, 0)), "the seed says which");
        let redriven = sample.looks(ack(Kind::Redriven, 1_000, 8), (0, 0));
        assert_eq!(redriven.iter().filter(|look| look.sampled).count(), 8, "each has to be redriven");
    }
}
