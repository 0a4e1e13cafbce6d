//! Retry: delays, jitter, counters, and who decides.

use proptest::prelude::*;

use super::*;

#[test]
fn a_retry_waits_longer_each_time_and_never_longer_than_its_bound() {
    let mut hand = Hand::start(
        &one_state(
            r#"{"Type": "Task", "Resource": "RESOURCE", "End": true, "Retry": [{"ErrorEquals": ["E"],
                "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 4, "MaxDelaySeconds": 20}]}"#,
        ),
        "{}",
        0,
    );
    let mut delays = Vec::new();
    for _ in 0..4 {
        let task = hand.tasks()[0];
        hand.after(0, failed(task, "E"));
        let (timer, at) = hand.timers()[0];
        delays.push(at - hand.now.0);
        hand.after(at - hand.now.0, Event::TimerFired(timer));
    }
    assert_eq!(delays, [2_000, 6_000, 18_000, 20_000]);
    let task = hand.tasks()[0];
    assert_eq!(outcome(&hand.after(0, failed(task, "E"))), Some(&failure("E", Some("why"))));
}

#[test]
fn an_exhausted_retrier_ends_retrying_even_where_a_later_one_would_take_the_error() {
    let mut hand = Hand::start(
        &one_state(
            r#"{"Type": "Task", "Resource": "RESOURCE", "End": true, "Retry": [
                {"ErrorEquals": ["E"], "MaxAttempts": 1}, {"ErrorEquals": ["States.ALL"]}]}"#,
        ),
        "{}",
        0,
    );
    let task = hand.tasks()[0];
    hand.after(0, failed(task, "E"));
    let (timer, _) = hand.timers()[0];
    hand.after(1_000, Event::TimerFired(timer));
    let task = hand.tasks()[0];
    assert!(outcome(&hand.after(0, failed(task, "E"))).is_some());
}

proptest! {
    #[test]
    fn jitter_is_drawn_from_the_seed_and_stays_below_the_delay(seed in any::<u64>()) {
        let machine = one_state(
            r#"{"Type": "Task", "Resource": "RESOURCE", "End": true, "Retry": [{"ErrorEquals": ["States.ALL"],
                "IntervalSeconds": 10, "JitterStrategy": "FULL"}]}"#,
        );
        let delay = || {
            let mut hand = Hand::start(&machine, "{}", seed);
            let task = hand.tasks()[0];
            hand.after(0, failed(task, "E"));
            hand.timers()[0].1
        };
        let drawn = delay();
        prop_assert!((0..=10_000).contains(&drawn));
        prop_assert_eq!(drawn, delay());
    }
}

#[test]
fn jitter_spreads_over_the_whole_delay() {
    let retrier = crate::program::Retrier {
        error_equals: Box::default(),
        interval_seconds: 10,
        max_attempts: 3,
        backoff_rate: 2.0,
        max_delay_seconds: None,
        full_jitter: true,
    };
    let drawn: Vec<u64> =
        (0..1_000).map(|seed| failure::delay_millis(&retrier, 1, failure::draw(seed, 1))).collect();
    let below = |bound: u64| drawn.iter().filter(|millis| **millis < bound).count();
    assert!((150..350).contains(&below(2_500)), "{}", below(2_500));
    assert!((650..850).contains(&below(7_500)), "{}", below(7_500));
}

#[test]
fn a_delay_beyond_all_bounds_is_bounded() {
    let retrier = crate::program::Retrier {
        error_equals: Box::default(),
        interval_seconds: 99_999_999,
        max_attempts: 99_999_999,
        backoff_rate: 1e300,
        max_delay_seconds: None,
        full_jitter: false,
    };
    for attempt in [1, 2, 1_000, u32::MAX] {
        assert_eq!(failure::delay_millis(&retrier, attempt, 0), 99_999_999_000);
    }
}

/// A retrier as the algebra below knows it: seconds before the first retry, rate, cap, and how often.
#[derive(Debug, Clone)]
struct Plan {
    errors: Vec<&'static str>,
    interval: u64,
    rate: f64,
    cap: Option<u64>,
    attempts: u32,
}

impl Plan {
    fn retrier(&self, full_jitter: bool) -> crate::program::Retrier {
        crate::program::Retrier {
            error_equals: self.errors.iter().map(|error| Str::from(*error)).collect(),
            interval_seconds: self.interval,
            max_attempts: self.attempts.into(),
            backoff_rate: self.rate,
            max_delay_seconds: self.cap,
            full_jitter,
        }
    }

    fn field(&self) -> String {
        let errors: Vec<String> = self.errors.iter().map(|error| format!("\"{error}\"")).collect();
        let cap = self.cap.map_or_else(String::new, |cap| format!(", \"MaxDelaySeconds\": {cap}"));
        format!(
            r#"{{"ErrorEquals": [{}], "IntervalSeconds": {}, "BackoffRate": {:?}, "MaxAttempts": {}{cap}}}"#,
            errors.join(","),
            self.interval,
            self.rate,
            self.attempts,
        )
    }

    fn takes(&self, error: &str) -> bool {
        self.errors.contains(&error) || self.errors == ["States.ALL"]
    }

    /// The documentation's formula, by multiplying once for each attempt, in milliseconds.
    fn delay(&self, attempt: u32) -> f64 {
        let mut seconds = self.interval as f64;
        for _ in 1..attempt {
            seconds *= self.rate;
        }
        seconds.min(self.cap.unwrap_or(99_999_999) as f64) * 1_000.0
    }
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let errors = prop::sample::subsequence(vec!["A", "B", "C"], 1..=2);
    let rate = prop_oneof![Just(1.0), Just(1.5), Just(2.0), 1.0..10.0];
    (errors, 1..1_000_u64, rate, prop::option::of(1..5_000_u64), 0..4_u32)
        .prop_map(|(errors, interval, rate, cap, attempts)| Plan { errors, interval, rate, cap, attempts })
}

/// Some retriers, of which the last may take everything.
fn any_plans() -> impl Strategy<Value = Vec<Plan>> {
    (prop::collection::vec(any_plan(), 0..4), prop::option::of(any_plan())).prop_map(|(mut plans, last)| {
        plans.extend(last.map(|plan| Plan { errors: vec!["States.ALL"], ..plan }));
        plans
    })
}

proptest! {
    #[test]
    fn a_delay_is_interval_times_rate_to_the_attempts_up_to_its_cap(plan in any_plan(), attempt in 1..40_u32) {
        let delay = |attempt| failure::delay_millis(&plan.retrier(false), attempt, 0);
        let expected = plan.delay(attempt);
        // The two ways to a power differ in the last bits of a double, which cut off is a millisecond at most.
        prop_assert!((delay(attempt) as f64 - expected).abs() <= 1.0 + expected * 1e-12, "{} {expected}", delay(attempt));
        prop_assert!(delay(attempt) <= delay(attempt + 1), "delays do not shrink");
        prop_assert!(delay(attempt) <= plan.cap.unwrap_or(99_999_999) * 1_000);
    }

    #[test]
    fn jitter_lies_between_nothing_and_the_whole_delay_and_follows_the_draw(
        plan in any_plan(), attempt in 1..20_u32, low in any::<u64>(), high in any::<u64>(),
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let whole = failure::delay_millis(&plan.retrier(false), attempt, 0);
        let drawn = |draw| failure::delay_millis(&plan.retrier(true), attempt, draw);
        prop_assert_eq!((drawn(0), drawn(u64::MAX)), (0, whole));
        prop_assert!(drawn(low) <= drawn(high) && drawn(high) <= whole);
    }

    /// The first retrier that takes an error decides; each counts for itself; an exhausted one ends retrying.
    #[test]
    fn each_retrier_counts_for_itself_and_the_first_that_takes_an_error_decides(
        plans in any_plans(),
        errors in prop::collection::vec(prop::sample::select(vec!["A", "B", "C", "D"]), 1..12),
    ) {
        let fields: Vec<String> = plans.iter().map(Plan::field).collect();
        let retry = fields.join(", ");
        let mut hand = Hand::start(
            &one_state(&format!(
                r#"{{"Type": "Task", "Resource": "RESOURCE", "End": true, "Retry": [{retry}]}}"#
            )),
            "{}",
            0,
        );
        let mut taken = vec![0; plans.len()];
        for error in errors {
            let task = hand.tasks()[0];
            let effects = hand.after(0, failed(task, error));
            let first = plans.iter().position(|plan| plan.takes(error));
            let Some(decider) = first.filter(|at| taken[*at] < plans[*at].attempts) else {
                prop_assert_eq!(outcome(&effects), Some(&self::failure(error, Some("why"))));
                return Ok(());
            };
            taken[decider] += 1;
            let (timer, at) = hand.timers()[0];
            let expected = plans[decider].delay(taken[decider]);
            prop_assert!(((at - hand.now.0) as f64 - expected).abs() <= 1.0 + expected * 1e-12);
            // A retry that comes late by the machine's own timeout is not of interest here: time stands still.
            hand.now.0 = 0;
            hand.after(0, Event::TimerFired(timer));
            prop_assert_eq!(hand.tasks().len(), 1);
        }
    }
}
