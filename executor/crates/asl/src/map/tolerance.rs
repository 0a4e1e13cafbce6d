//! How many failed items a Map Run stands.

/// `ToleratedFailureCount` and `ToleratedFailurePercentage`. Where neither is given, the first failure is too much; where
/// both are, either decides.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tolerance {
    /// So many may fail.
    pub count: Option<u64>,
    /// So many of a hundred may fail.
    pub percentage: Option<f64>,
}

impl Tolerance {
    /// Whether so many failed items are too many. `total` is known once all items are.
    pub fn is_exceeded(&self, failed: u64, total: Option<u64>) -> bool {
        if self.count.is_none() && self.percentage.is_none() {
            return failed > 0;
        }
        #[allow(clippy::cast_precision_loss, reason = "there are at most 10^8 items")]
        let share = |total: u64| failed as f64 * 100.0 / total.max(1) as f64;
        let by_count = self.count.is_some_and(|count| failed > count);
        let by_share =
            self.percentage.zip(total).is_some_and(|(percentage, total)| share(total) > percentage);
        by_count || by_share
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_tolerance_the_first_failure_is_too_much() {
        assert!(!Tolerance::default().is_exceeded(0, Some(10)));
        assert!(Tolerance::default().is_exceeded(1, None));
    }

    #[test]
    fn either_tolerance_decides_where_both_are_given() {
        let both = Tolerance { count: Some(5), percentage: Some(10.0) };
        assert!(!both.is_exceeded(5, Some(50)));
        assert!(both.is_exceeded(6, Some(1_000)));
        assert!(both.is_exceeded(2, Some(10)));
    }

    #[test]
    fn a_percentage_decides_only_when_the_number_of_items_is_known() {
        let half = Tolerance { count: None, percentage: Some(50.0) };
        assert!(!half.is_exceeded(1_000, None));
        assert!(half.is_exceeded(6, Some(10)) && !half.is_exceeded(5, Some(10)));
    }

    proptest! {
        #[test]
        fn all_may_fail_at_a_hundred_percent(failed in 0_u64..1_000_000, more in 0_u64..1_000_000) {
            let all = Tolerance { count: None, percentage: Some(100.0) };
            prop_assert!(!all.is_exceeded(failed, Some(failed + more)));
        }

        #[test]
        fn one_more_failure_never_makes_it_better(
            count in prop::option::of(0_u64..50), percentage in prop::option::of(0.0..100.0),
            failed in 0_u64..100, total in 100_u64..200,
        ) {
            let tolerance = Tolerance { count, percentage };
            let now = tolerance.is_exceeded(failed, Some(total));
            prop_assert!(!now || tolerance.is_exceeded(failed + 1, Some(total)));
        }
    }
}
