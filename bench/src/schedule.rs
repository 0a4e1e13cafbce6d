//! When each execution has to start: fixed before the run, whatever the node does.

use std::time::Duration;

/// Evenly spaced instants, as nanoseconds from the beginning of the run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    per_second: u64,
    total: u64,
}

impl Schedule {
    /// So many a second, for so long.
    #[must_use]
    pub fn new(per_second: u64, duration: Duration) -> Self {
        let total = u128::from(per_second) * duration.as_nanos() / 1_000_000_000;
        Self { per_second, total: u64::try_from(total).unwrap_or(u64::MAX) }
    }

    /// How many executions the run has.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When execution `index` has to start, in nanoseconds.
    #[must_use]
    pub fn instant_ns(&self, index: u64) -> u64 {
        let ns = u128::from(index) * 1_000_000_000 / u128::from(self.per_second.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// How many executions should have started by now.
    #[must_use]
    pub fn due(&self, now_ns: u64) -> u64 {
        let due = u128::from(now_ns) * u128::from(self.per_second) / 1_000_000_000 + 1;
        u64::try_from(due).unwrap_or(u64::MAX).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_what_has_come_to_its_instant() {
        let schedule = Schedule::new(115_741, Duration::from_secs(2));
        assert_eq!(schedule.total(), 231_482);
        for index in [0, 1, 2, 77_777, 231_480] {
            let at = schedule.instant_ns(index);
            assert!(schedule.due(at + 1) > index, "{index}");
            assert!(index == 0 || schedule.due(at - 10) <= index, "{index}");
        }
        assert_eq!(schedule.due(u64::MAX), 231_482);
    }
}
