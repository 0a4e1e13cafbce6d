//! How long to wait before a batch is tried again: exponentially longer, with jitter, so that nodes that lost the same
//! peer do not come back to it in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// When a batch is tried again, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first pause; each next one is twice as long.
    pub first: Duration,
    /// The longest pause, whatever the sink asks for.
    pub longest: Duration,
    /// Attempts, the first one among them.
    pub attempts: u32,
    /// Since the oldest of the batch was offered.
    pub age: Duration,
}

impl Default for Retry {
    /// For half an hour, once in half a minute at last.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            attempts: u32::MAX,
            age: Duration::from_mins(30),
        }
    }
}

/// Draws pauses.
#[derive(Debug)]
pub(crate) struct Pauses {
    retry: Retry,
    state: u64,
}

impl Pauses {
    pub fn new(retry: Retry) -> Self {
        // A fresh `RandomState` is the standard library's source of randomness.
        Self { retry, state: RandomState::new().hash_one(0) }
    }

    /// After so many attempts have failed: between half of the pause and the whole, and no less than `asked`, as far as
    /// the longest pause allows.
    pub fn next(&mut self, failed: u32, asked: Option<Duration>) -> Duration {
        let doubled = 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.retry.first.saturating_mul(doubled).min(self.retry.longest);
        let jittered = whole.mul_f64(0.5 + self.fraction() / 2.0);
        jittered.max(asked.unwrap_or_default()).min(self.retry.longest)
    }

    /// Between 0 and 1, by SplitMix64.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn fraction(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(10),
        attempts: 8,
        age: Duration::MAX,
    };

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let mut pauses = Pauses::new(RETRY);
        for (failed, whole) in [(1, 100), (2, 200), (3, 400), (7, 6_400), (8, 10_000), (200, 10_000)] {
            let pause = pauses.next(failed, None).as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{failed}: {pause} ms of {whole}");
        }
        let drawn: std::collections::BTreeSet<_> = (0..50).map(|_| pauses.next(7, None)).collect();
        assert!(drawn.len() > 40, "only {} different pauses", drawn.len());
    }

    #[test]
    fn what_the_sink_asks_for_is_kept_within_the_longest_pause() {
        let mut pauses = Pauses::new(RETRY);
        assert_eq!(pauses.next(1, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(pauses.next(1, Some(Duration::from_secs(3_600))), RETRY.longest);
    }
}
