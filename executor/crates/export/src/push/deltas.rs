//! What executions of each machine came to since it was last told: clouds want counts of a time, not of all time.
//!
//! Invariants: what was not taken is told with what comes after it; nothing is told twice but where an answer was lost.

use std::collections::{BTreeMap, HashMap};

use telemetry::Snapshot;
use telemetry::cells::{HistogramSnapshot, LATENCY_BUCKETS_US};
use telemetry::inventory as names;
use telemetry::inventory::Metric;
use telemetry::labels::Label;
use telemetry::snapshot::Value;

/// The counters, in the order of [`Counts::numbers`].
const COUNTERS: [Metric; 6] =
    [names::STARTED, names::SUCCEEDED, names::FAILED, names::ABORTED, names::TIMED_OUT, names::THROTTLED];

/// Of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Started, succeeded, failed, aborted, timed out, throttled.
    pub numbers: [u64; COUNTERS.len()],
    /// From start to end.
    pub time: HistogramSnapshot,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.numbers.iter_mut().zip(other.numbers).for_each(|(mine, theirs)| *mine += theirs);
        self.time.merge(&other.time);
    }

    /// What has come since then.
    fn since(&self, before: &Self) -> Self {
        let mut counts = self.clone();
        let numbers = counts.numbers.iter_mut().zip(before.numbers);
        let buckets = counts.time.buckets.iter_mut().zip(before.time.buckets);
        numbers.chain(buckets).for_each(|(now, before)| *now = now.saturating_sub(before));
        counts.time.sum_us = counts.time.sum_us.saturating_sub(before.time.sum_us);
        counts
    }

    /// How many durations and what they are: of each bucket one value inside of it, so chosen that the average is the true
    /// one as far as the buckets allow. In milliseconds.
    #[allow(clippy::cast_precision_loss, reason = "times of executions, to be looked at")]
    pub fn durations_ms(&self) -> Vec<(f64, u64)> {
        let lower = std::iter::once(0).chain(LATENCY_BUCKETS_US);
        // The last bucket has no end: what the sum has beyond all others is its.
        let upper = LATENCY_BUCKETS_US.into_iter().chain([LATENCY_BUCKETS_US[LATENCY_BUCKETS_US.len() - 1]]);
        let buckets: Vec<_> =
            lower.zip(upper).zip(self.time.buckets).filter(|(_, count)| *count > 0).collect();
        let over = |value: fn((u64, u64)) -> u64| {
            buckets.iter().map(|(edges, count)| value(*edges) as f64 * *count as f64).sum::<f64>()
        };
        let (least, room) = (over(|(lower, _)| lower), over(|(lower, upper)| upper - lower));
        let beyond = (self.time.sum_us as f64 - least).max(0.0);
        let share = if room > 0.0 { (beyond / room).min(1.0) } else { 0.0 };
        let endless = self.time.buckets[LATENCY_BUCKETS_US.len()];
        let left = (beyond - room).max(0.0);
        let value = |((lower, upper), count): &((u64, u64), u64)| {
            let inside = *lower as f64 + share * (*upper - *lower) as f64;
            let more = if lower == upper { left / endless as f64 } else { 0.0 };
            ((inside + more) / 1_000.0, *count)
        };
        buckets.iter().map(value).collect()
    }
}

/// What was taken so far, by machine.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<Label, Counts>);

/// What there is to tell of a machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub machine: Label,
    pub delta: Counts,
    now: Counts,
}

impl Told {
    /// What this snapshot has beyond what was taken; machines of which nothing is new are left out.
    pub fn due(&self, snapshot: &Snapshot) -> Vec<Due> {
        let nothing = Counts::default();
        let due = counts(snapshot).into_iter().map(|(machine, now)| {
            let delta = now.since(self.0.get(&machine).unwrap_or(&nothing));
            Due { machine, delta, now }
        });
        due.filter(|due| due.delta != nothing).collect()
    }

    /// It was taken.
    pub fn told(&mut self, due: &Due) {
        self.0.insert(Label::clone(&due.machine), due.now.clone());
    }
}

fn counts(snapshot: &Snapshot) -> BTreeMap<Label, Counts> {
    let mut counts = BTreeMap::<Label, Counts>::new();
    for family in &snapshot.families {
        let place = COUNTERS.iter().position(|counter| counter.name == family.metric.name);
        if place.is_none() && family.metric.name != names::DURATION.name {
            continue;
        }
        for series in &family.series {
            let Some(machine) = series.labels.first() else { continue };
            let counts = counts.entry(Label::clone(machine)).or_default();
            match (&series.value, place) {
                (Value::Count(count), Some(place)) => counts.numbers[place] = *count,
                (Value::Histogram(time), None) => counts.time = **time,
                // The inventory says which is which.
                _ => {}
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use telemetry::NodeMetrics;

    use super::*;

    fn of(durations_us: &[u64]) -> Counts {
        let histogram = telemetry::cells::Histogram::default();
        durations_us.iter().for_each(|us| histogram.observe(*us));
        Counts { time: histogram.snapshot(), ..Counts::default() }
    }

    #[test]
    fn what_was_taken_is_not_due_again_and_what_was_not_comes_with_the_next() {
        let (node, mut told) = (NodeMetrics::new("test", 2), Told::default());
        assert_eq!(told.due(&node.snapshot()), []);
        let machine = |shard| node.shard(shard).expect("a shard").machine("m");
        machine(0).started.add(2);
        machine(1).started.add(3);
        assert_eq!(told.due(&node.snapshot())[0].delta.numbers, [5, 0, 0, 0, 0, 0]);
        machine(1).throttled.add(1);
        machine(1).duration.observe(7_000);
        let due = told.due(&node.snapshot());
        assert_eq!((due.len(), due[0].delta.numbers, due[0].delta.time.count()), (1, [5, 0, 0, 0, 0, 1], 1));
        told.told(&due[0]);
        assert_eq!(told.due(&node.snapshot()), []);
        machine(0).aborted.add(4);
        let due = told.due(&node.snapshot());
        assert_eq!((due[0].delta.numbers, due[0].delta.time.sum_us), ([0, 0, 0, 4, 0, 0], 0));
    }

    #[test]
    fn durations_lie_in_their_buckets_and_have_the_true_average() {
        const DAY_US: u64 = 86_400_000_000;
        for durations in
            [&[500][..], &[1_000, 1_001, 3_000], &[7_000, 7_000, 40_000_000], &[3 * DAY_US, 5 * DAY_US, 10]]
        {
            let counts = of(durations);
            let told = counts.durations_ms();
            assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), durations.len() as u64);
            let sum: f64 = told
                .iter()
                .map(|(value, count)| value * f64::from(u32::try_from(*count).expect("few")))
                .sum();
            let expected = durations.iter().sum::<u64>() as f64 / 1_000.0;
            assert!((sum - expected).abs() < expected * 1e-9, "{durations:?}: {told:?}");
        }
        assert_eq!(of(&[1_000, 4_000]).durations_ms().len(), 2);
        assert_eq!(of(&[]).durations_ms(), []);
    }
}
