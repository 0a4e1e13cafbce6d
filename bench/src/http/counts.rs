//! What is counted while a run goes on.
//!
//! Invariants: at most [`SAMPLE_MAX`] executions are remembered, spread evenly over the run; at most [`REASONS_MAX`] reasons of
//! errors are told apart. Nothing here fails.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are kept up to a minute, in microseconds, to three digits.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Executions that are looked up in the end.
const SAMPLE_MAX: usize = 1_000;
/// Reasons of errors that are told apart; further ones are `other`.
const REASONS_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Counts {
    /// In microseconds, of what was acknowledged.
    pub latency: Histogram<u64>,
    /// By reason.
    pub errors: BTreeMap<String, u64>,
    sample: Vec<String>,
    /// One in so many is remembered.
    stride: u64,
}

impl Counts {
    pub fn new() -> Self {
        let latency = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are valid constants");
        Self { latency, errors: BTreeMap::new(), sample: Vec::new(), stride: 1 }
    }

    /// A start was acknowledged.
    pub fn acknowledged(&mut self, took: Duration, arn: String) {
        if self.latency.len().is_multiple_of(self.stride) {
            if self.sample.len() == SAMPLE_MAX {
                // Every second one makes room: what stays is spread as evenly as before.
                let mut place = 0;
                self.sample.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.stride *= 2;
            }
            if self.latency.len().is_multiple_of(self.stride) {
                self.sample.push(arn);
            }
        }
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// A call failed.
    pub fn failed(&mut self, reason: String) {
        let known = self.errors.contains_key(&reason) || self.errors.len() < REASONS_MAX;
        *self.errors.entry(if known { reason } else { "other".to_owned() }).or_default() += 1;
    }

    /// ARNs of executions that were acknowledged, from the beginning of the run to its end.
    pub fn sample(&self) -> &[String] {
        &self.sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_bounded_and_spread_evenly_over_the_run() {
        let mut counts = Counts::new();
        for number in 0..100_000 {
            counts.acknowledged(Duration::from_micros(number), number.to_string());
        }
        let numbers: Vec<u64> = counts.sample().iter().map(|text| text.parse().expect("a number")).collect();
        assert!((SAMPLE_MAX / 2..=SAMPLE_MAX).contains(&numbers.len()), "{}", numbers.len());
        let distance = numbers[1] - numbers[0];
        assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] == distance));
        assert!(numbers[0] == 0 && numbers[numbers.len() - 1] + distance >= 100_000);
        assert_eq!(counts.latency.len(), 100_000);
    }

    #[test]
    fn reasons_of_errors_are_bounded_and_none_is_lost() {
        let mut counts = Counts::new();
        for number in 0..1_000 {
            counts.failed(format!("reason {}", number % 100));
        }
        assert!(counts.errors.len() <= REASONS_MAX + 1);
        assert_eq!(counts.errors.values().sum::<u64>(), 1_000);
    }
}
