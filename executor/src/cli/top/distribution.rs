//! Latencies, as classic histograms tell them.

use telemetry::cells::LATENCY_BUCKETS_US;

const BUCKETS: usize = LATENCY_BUCKETS_US.len() + 1;

/// Observations at or below each bound, the last one without a bound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Distribution([f64; BUCKETS]);

impl Distribution {
    /// Takes a bucket, by its `le` label. Bounds that this program does not know are passed over: the ones around them say
    /// the same less exactly.
    pub(super) fn take(&mut self, bound: &str, below: f64) {
        if let Some(bucket) = bucket(bound) {
            self.0[bucket] += below;
        }
    }

    /// Adds the observations of another series.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// What was observed since an earlier reading; everything, where a counter has begun anew.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        if self.0.iter().zip(earlier.0).any(|(now, then)| *now < then) {
            return *self;
        }
        Self(std::array::from_fn(|bucket| self.0[bucket] - earlier.0[bucket]))
    }

    /// The duration in seconds below which this part of the observations lies, as Prometheus's `histogram_quantile` estimates
    /// it; nothing where nothing was observed.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.0[BUCKETS - 1];
        if count <= 0.0 {
            return None;
        }
        let rank = part * count;
        let bucket = self.0.iter().position(|below| *below >= rank).unwrap_or(BUCKETS - 1);
        let bound = |bucket: usize| LATENCY_BUCKETS_US[bucket.min(BUCKETS - 2)] as f64 / 1e6;
        let (from, before) = match bucket.checked_sub(1) {
            Some(last) => (bound(last), self.0[last]),
            None => (0.0, 0.0),
        };
        let inside = self.0[bucket] - before;
        let reach = if inside > 0.0 { (rank - before) / inside } else { 1.0 };
        Some(from + (bound(bucket) - from) * reach)
    }
}

fn bucket(bound: &str) -> Option<usize> {
    let seconds: f64 = bound.parse().ok()?;
    if seconds.is_infinite() {
        return Some(BUCKETS - 1);
    }
    LATENCY_BUCKETS_US.iter().position(|us| (*us as f64 / 1e6 - seconds).abs() < 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(buckets: &[(&str, f64)]) -> Distribution {
        let mut distribution = Distribution::default();
        let mut below = 0.0;
        for (index, us) in LATENCY_BUCKETS_US.iter().enumerate() {
            let bound = format!("{:?}", *us as f64 / 1e6);
            below += buckets.iter().find(|(le, _)| *le == bound).map_or(0.0, |(_, n)| *n);
            assert_eq!(bucket(&bound), Some(index));
            distribution.take(&bound, below);
        }
        below += buckets.iter().find(|(le, _)| *le == "+Inf").map_or(0.0, |(_, n)| *n);
        distribution.take("+Inf", below);
        distribution
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let ten = of(&[("0.002", 5.0), ("0.01", 5.0)]);
        assert_eq!(ten.quantile(0.5), Some(0.002));
        assert_eq!(ten.quantile(0.25), Some(0.0015));
        assert_eq!(ten.quantile(1.0), Some(0.01));
        assert_eq!(
            of(&[("+Inf", 3.0)]).quantile(0.5),
            Some(86_400.0),
            "beyond the last bound is at least it"
        );
        assert_eq!(Distribution::default().quantile(0.99), None);
    }

    #[test]
    fn only_what_was_observed_since_counts_and_a_restart_begins_anew() {
        let earlier = of(&[("0.001", 100.0)]);
        let later = of(&[("0.001", 100.0), ("1.0", 4.0)]);
        assert_eq!(later.since(&earlier), of(&[("1.0", 4.0)]));
        assert_eq!(earlier.since(&later), earlier);
    }

    #[test]
    fn a_bound_that_is_not_known_is_passed_over() {
        let mut distribution = of(&[("0.001", 1.0)]);
        let before = distribution;
        distribution.take("0.0035", 9.0);
        distribution.take("wide", 9.0);
        assert_eq!(distribution, before);
    }
}
