//! How often a key may call: a bucket of tokens that all threads share.
//!
//! Invariant: the bucket holds what one second fills, so that no second lets in more than twice the rate, and a longer time no
//! more than the rate. One atomic number, only of keys that have a rate. Nothing here fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: u32,
    /// When the bucket is full again, in nanoseconds since 1970.
    full_at_ns: AtomicU64,
}

impl PartialEq for Rate {
    /// How full it is does not count.
    fn eq(&self, other: &Self) -> bool {
        self.per_second == other.per_second
    }
}

impl Rate {
    /// A full bucket. A rate of nothing is one a second.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), full_at_ns: AtomicU64::new(0) }
    }

    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Whether there was a token, which is gone then. `since` is the time since 1970.
    pub(super) fn take(&self, since: Duration) -> bool {
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let one = SECOND_NS / u64::from(self.per_second);
        let mut full_at = self.full_at_ns.load(Ordering::Relaxed);
        loop {
            // A clock that was set back does not lock a key out for longer than a second.
            let known = full_at.clamp(now, now.saturating_add(SECOND_NS));
            let then = known.saturating_add(one);
            let is_there = then - now <= SECOND_NS;
            let left = if is_there { then } else { known };
            let set =
                self.full_at_ns.compare_exchange_weak(full_at, left, Ordering::Relaxed, Ordering::Relaxed);
            match set {
                Ok(_) => return is_there,
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_calls_may_come_at_once_and_then_each_at_its_time() {
        let rate = Rate::new(10);
        let at = |ms: u64| Duration::from_millis(1_700_000_000_000 + ms);
        let taken = |ms| (0..100).filter(|_| rate.take(at(ms))).count();
        assert_eq!(taken(0), 10);
        assert_eq!((taken(99), taken(100), taken(350)), (0, 1, 2));
        assert_eq!(taken(60_000), 10, "no more than a second's for a time of rest");
        assert_eq!(taken(0), 0, "a clock that was set back gives nothing away");
        assert_eq!(taken(1_000), 10);
    }

    #[test]
    fn a_rate_of_one_is_one_a_second() {
        let rate = Rate::new(1);
        let taken: Vec<bool> =
            [0, 1, 999, 1_000, 1_001].map(|ms| rate.take(Duration::from_millis(ms))).into();
        assert_eq!(taken, [true, false, false, true, false]);
    }
}
