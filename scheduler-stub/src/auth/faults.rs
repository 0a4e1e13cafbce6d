//! What goes wrong on purpose: time that a call takes, calls that fail, a clock that is wrong.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use foldhash::fast::FixedState;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// How long each call takes at least.
    pub latency: Duration,
    /// How much longer some take: drawn evenly for each call.
    pub jitter: Duration,
    /// The part of calls that fail with UNAVAILABLE, from 0 to 1.
    pub errors: f64,
    /// By how many milliseconds the clock is ahead of the right time; negative: behind.
    pub skew_ms: i64,
    /// What is drawn follows from this, and from how many calls there were before.
    pub seed: u64,
}

impl Faults {
    /// How long the call with this number takes.
    #[must_use]
    pub fn delay(&self, call: u64) -> Duration {
        self.latency + self.jitter.mul_f64(self.draw(call, 1))
    }

    /// Whether the call with this number fails.
    #[must_use]
    pub fn fails(&self, call: u64) -> bool {
        self.draw(call, 2) < self.errors
    }

    /// The stub's own time.
    #[must_use]
    pub fn clock_ms(&self, right_ms: u64) -> u64 {
        right_ms.saturating_add_signed(self.skew_ms)
    }

    /// From 0, which is possible, to 1, which is not.
    fn draw(&self, call: u64, what: u64) -> f64 {
        let mut hasher = FixedState::with_seed(self.seed).build_hasher();
        hasher.write_u64(call);
        hasher.write_u64(what);
        // 53 bits are what a double holds.
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_follow_from_the_seed_and_come_as_often_as_asked_for() {
        let faults =
            Faults { errors: 0.25, jitter: Duration::from_millis(100), seed: 7, ..Faults::default() };
        let failed = (0..10_000).filter(|call| faults.fails(*call)).count();
        assert!((2_300..2_700).contains(&failed), "{failed} of 10000");
        let same = Faults { seed: 7, ..faults };
        assert!(
            (0..100)
                .all(|call| faults.fails(call) == same.fails(call) && faults.delay(call) == same.delay(call))
        );
        let longest = (0..1_000).map(|call| faults.delay(call)).max().expect("a thousand");
        assert!(longest <= Duration::from_millis(100) && longest > Duration::from_millis(90), "{longest:?}");
        assert!((0..100).all(|call| !Faults::default().fails(call)), "none unless asked for");
        assert_eq!(Faults { skew_ms: -500, ..faults }.clock_ms(1_000), 500);
    }
}
