//! Counters, gauges and histograms with one writer each.
//!
//! A cell is an atomic that only its shard writes: a relaxed load and a relaxed store, no locked instruction, about a
//! nanosecond. A scrape on another thread reads whatever stands there; it may miss the last few events, never more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the cell's one writer may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Raises it by `n`. Only the cell's one writer may call this.
    pub fn add(&self, n: u64) {
        self.set(self.get().saturating_add(n));
    }

    /// Lowers it by `n`, not below 0. Only the cell's one writer may call this.
    pub fn sub(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency buckets in microseconds: SLO edges in milliseconds, then on to one day for executions
/// that wait.
pub const LATENCY_BUCKETS_US: [u64; 19] = [
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

/// Counts durations by bucket. Classic buckets, since they add up over shards and nodes.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; LATENCY_BUCKETS_US.len() + 1],
    sum_us: Counter,
}

/// A histogram's contents, merged over shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistogramSnapshot {
    /// Observations in each bucket; the last one has no upper bound.
    pub buckets: [u64; LATENCY_BUCKETS_US.len() + 1],
    /// Sum of all observations in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts `n` observations of the same duration in microseconds.
    pub fn observe_n(&self, us: u64, n: u64) {
        let bucket =
            LATENCY_BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BUCKETS_US.len());
        self.buckets[bucket].add(n);
        self.sum_us.add(us.saturating_mul(n));
    }

    /// Counts one observation in microseconds.
    pub fn observe(&self, us: u64) {
        self.observe_n(us, 1);
    }

    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].get()),
            sum_us: self.sum_us.get(),
        }
    }
}

impl HistogramSnapshot {
    /// Adds another shard's observations.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_us += other.sum_us;
    }

    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_at_a_bound_falls_below_it() {
        let histogram = Histogram::default();
        histogram.observe(1_000);
        histogram.observe_n(1_001, 3);
        histogram.observe(u64::from(u32::MAX) * 100_000);
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.buckets[0], snapshot.buckets[1], snapshot.buckets[19]), (1, 3, 1));
        assert_eq!(snapshot.count(), 5);
    }

    #[test]
    fn merged_snapshots_hold_the_observations_of_both() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.observe(10);
        two.observe_n(20, 2);
        let mut merged = one.snapshot();
        merged.merge(&two.snapshot());
        assert_eq!((merged.count(), merged.sum_us), (3, 50));
    }
}
