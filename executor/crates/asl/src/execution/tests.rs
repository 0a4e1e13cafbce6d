//! What an execution wants in which order, and what it does with events that come late, never or twice.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::history::{Collector, NoObserver};
use crate::program::{Dialect, Program};
use crate::value::{JsonLimits, Value};

const RESOURCE: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";

fn machine(definition: &str) -> Arc<Machine> {
    let definition = definition.replace("RESOURCE", RESOURCE);
    let program = Program::compile(definition.as_bytes(), Dialect::Asl).expect("a valid definition").program;
    Arc::new(Machine {
        program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:m".into(),
        name: "m".into(),
        role_arn: "role".into(),
        mode_timeout_seconds: 1_000,
        history_events_max: 500,
        names: Box::new(FixedNames { arn: "arn".into(), name: "name".into() }),
    })
}

/// A machine of one state, and a Pass state `C` where it leads there.
fn one_state(state: &str) -> Arc<Machine> {
    let next = if state.contains(r#""Next": "C""#) { r#", "C": {"Type": "Pass", "End": true}"# } else { "" };
    machine(&format!(r#"{{"StartAt": "S", "States": {{"S": {state}{next}}}}}"#))
}

/// An execution in the hands of a test.
struct Hand {
    execution: Execution,
    now: Timestamp,
    effects: Vec<Effect>,
    history: Collector,
}

impl Hand {
    fn start(machine: &Arc<Machine>, input: &str, seed: u64) -> Self {
        let input = Payload::check(input.to_owned().into(), JsonLimits::PAYLOAD).expect("JSON");
        let (mut effects, mut history) = (Vec::new(), Collector::new(1_000));
        let start = StartContext { seed, ..StartContext::default() };
        let now = Timestamp(0);
        let execution = Execution::start(machine, start, input, now, &mut effects, &mut history);
        Self { execution, now, effects, history }
    }

    /// Takes an event in, and gives what it led to.
    fn after(&mut self, millis: i64, event: Event) -> Vec<Effect> {
        self.now.0 += millis;
        self.effects.clear();
        self.execution.handle(event, self.now, &mut self.effects, &mut self.history);
        self.effects.clone()
    }

    fn tasks(&self) -> Vec<EffectId> {
        tasks(&self.effects)
    }

    fn timers(&self) -> Vec<(EffectId, i64)> {
        timers(&self.effects)
    }

    fn types(&self) -> Vec<&'static str> {
        self.history.events().iter().map(|event| event.kind).collect()
    }
}

fn tasks(effects: &[Effect]) -> Vec<EffectId> {
    let task = |effect: &Effect| match effect {
        Effect::ScheduleTask { id, .. } => Some(*id),
        _ => None,
    };
    effects.iter().filter_map(task).collect()
}

fn timers(effects: &[Effect]) -> Vec<(EffectId, i64)> {
    let timer = |effect: &Effect| match effect {
        Effect::ArmTimer { id, at } => Some((*id, at.0)),
        _ => None,
    };
    effects.iter().filter_map(timer).collect()
}

fn outcome(effects: &[Effect]) -> Option<&Outcome> {
    match effects.last() {
        Some(Effect::Finished(outcome)) => Some(outcome),
        _ => None,
    }
}

fn succeeded(id: EffectId, output: &str) -> Event {
    Event::TaskSucceeded {
        id,
        output: Payload::check(output.to_owned().into(), JsonLimits::PAYLOAD).expect("JSON"),
    }
}

fn failed(id: EffectId, error: &str) -> Event {
    Event::TaskFailed { id, error: error.into(), cause: "why".into() }
}

fn failure(error: &str, cause: Option<&str>) -> Outcome {
    Outcome::Failed { error: Some(error.into()), cause: cause.map(Str::from) }
}

#[test]
fn an_untouched_input_leaves_as_the_same_bytes() {
    let machine = one_state(r#"{"Type": "Pass", "End": true}"#);
    let bytes = bytes::Bytes::from_static(br#" {"a" : 1.50} "#);
    let input = Payload::check(bytes.clone(), JsonLimits::PAYLOAD).unwrap();
    let mut effects = Vec::new();
    let start = StartContext::default();
    let execution = Execution::start(&machine, start, input, Timestamp(0), &mut effects, &mut NoObserver);
    let [Effect::Finished(Outcome::Succeeded(output))] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(!output.is_materialised());
    assert_eq!(output.bytes().as_ptr(), bytes.as_ptr());
    assert!(execution.is_finished());
}

#[test]
fn an_execution_that_waits_arms_its_own_timer_once() {
    let mut hand = Hand::start(&one_state(r#"{"Type": "Wait", "Seconds": 5, "Next": "C"}"#), "{}", 0);
    let [(wait, 5_000), (EffectId::EXECUTION_TIMER, 1_000_000)] = hand.timers()[..] else {
        panic!("{:?}", hand.effects)
    };
    let effects = hand.after(5_000, Event::TimerFired(wait));
    assert_eq!(effects[0], Effect::CancelTimer(EffectId::EXECUTION_TIMER));
    assert_eq!(outcome(&effects), Some(&Outcome::Succeeded(Payload::empty_object())));
}

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

const TWO_BRANCHES: &str = r#"{"Type": "Parallel", "Next": "C", "Catch": [{"ErrorEquals": ["E"], "Next": "C"}],
    "Branches": [
        {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 60, "End": true}}},
        {"StartAt": "B", "States": {"B": {"Type": "Wait", "Seconds": 9, "End": true}}},
        {"StartAt": "D", "States": {"D": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}]}"#;

#[test]
fn a_failing_branch_cancels_what_its_siblings_wait_for() {
    let mut hand = Hand::start(&one_state(TWO_BRANCHES), "{}", 0);
    let [first, last] = hand.tasks()[..] else { panic!("{:?}", hand.effects) };
    let [(timeout, 60_000), (wait, 9_000), _] = hand.timers()[..] else { panic!("{:?}", hand.effects) };
    let effects = hand.after(1, failed(last, "E"));
    assert_eq!(
        effects[..3],
        [Effect::CancelTask(first), Effect::CancelTimer(timeout), Effect::CancelTimer(wait)]
    );
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.value().get("Error").and_then(Value::as_str), Some("E"));
    let aborted: Vec<&str> = hand.types().into_iter().filter(|kind| kind.ends_with("Aborted")).collect();
    assert_eq!(aborted, ["TaskStateAborted", "TaskStateAborted", "WaitStateAborted"]);
}

#[test]
fn results_stand_in_the_order_of_branches_whatever_ends_first() {
    let mut hand = Hand::start(&one_state(TWO_BRANCHES), "{}", 0);
    let [first, last] = hand.tasks()[..] else { panic!("{:?}", hand.effects) };
    let (wait, _) = hand.timers()[1];
    hand.after(1, succeeded(last, "3"));
    hand.after(8_999, Event::TimerFired(wait));
    let effects = hand.after(1, succeeded(first, "1"));
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.text(), "[1,{},3]");
}

#[test]
fn a_slot_s_next_tenant_does_not_take_the_events_of_the_one_before() {
    let machine = one_state(
        r#"{"Type": "Map", "MaxConcurrency": 1, "End": true, "ItemProcessor": {"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}}"#,
    );
    let mut hand = Hand::start(&machine, "[1, 2]", 0);
    let first = hand.tasks()[0];
    hand.after(1, succeeded(first, "10"));
    let second = hand.tasks()[0];
    assert_ne!(first, second);
    assert_eq!(hand.execution.task_place(first), None);
    let place = hand.execution.task_place(second).expect("wanted");
    assert_eq!((place.state.as_str(), place.map_path), ("T", vec![("S".into(), 1)]));
    assert_eq!(hand.after(1, succeeded(first, "11")), []);
    assert_eq!(hand.after(1, failed(first, "E")), []);
    let effects = hand.after(1, succeeded(second, "20"));
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.text(), "[10,20]");
}

#[test]
fn a_map_has_no_more_iterations_alive_than_its_concurrency() {
    let machine = one_state(
        r#"{"Type": "Map", "MaxConcurrency": 3, "End": true, "ItemProcessor": {"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}}"#,
    );
    let mut hand = Hand::start(&machine, "[1, 2, 3, 4, 5, 6, 7]", 0);
    let mut alive = hand.tasks();
    for _ in 0..6 {
        assert!(alive.len() <= 3);
        let task = alive.pop().expect("one is alive");
        alive.extend(tasks(&hand.after(1, succeeded(task, "0"))));
    }
    assert_eq!(alive.len(), 1);
    assert!(outcome(&hand.after(1, succeeded(alive[0], "0"))).is_some());
}

#[test]
fn a_late_event_changes_nothing() {
    let mut hand = Hand::start(
        &one_state(r#"{"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 5, "End": true}"#),
        "{}",
        0,
    );
    let task = hand.tasks()[0];
    let (timeout, _) = hand.timers()[0];
    let effects = hand.after(5_000, Event::TimerFired(timeout));
    assert_eq!(effects[0], Effect::CancelTask(task));
    assert_eq!(outcome(&effects), Some(&failure("States.Timeout", None)));
    for event in [
        succeeded(task, "1"),
        failed(task, "E"),
        Event::TaskHeartbeat(task),
        Event::TimerFired(timeout),
        Event::TimerFired(EffectId::EXECUTION_TIMER),
        Event::Stop { error: None, cause: None },
        Event::TimerFired(EffectId(u64::MAX)),
    ] {
        assert_eq!(hand.after(1, event), []);
    }
}

#[test]
fn a_heartbeat_re_arms_its_timer_but_not_the_timeout() {
    let mut hand = Hand::start(
        &one_state(
            r#"{"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 60, "HeartbeatSeconds": 10, "End": true,
                "Catch": [{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "C"}]}"#,
        ),
        "{}",
        0,
    );
    let task = hand.tasks()[0];
    let [(timeout, 60_000), (first, 10_000), _] = hand.timers()[..] else { panic!("{:?}", hand.effects) };
    let effects = hand.after(9_000, Event::TaskHeartbeat(task));
    let [Effect::CancelTimer(cancelled), Effect::ArmTimer { id: second, at: Timestamp(19_000) }] =
        effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(cancelled, first);
    assert_eq!(hand.after(1_000, Event::TimerFired(first)), [], "the timer of the heartbeat that came");
    let effects = hand.after(9_000, Event::TimerFired(second));
    assert_eq!(effects[..2], [Effect::CancelTask(task), Effect::CancelTimer(timeout)]);
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.value().get("Error").and_then(Value::as_str), Some("States.Timeout"));
}

#[test]
fn the_execution_s_timeout_ends_a_map_with_all_it_wants() {
    let machine = one_state(
        r#"{"Type": "Map", "End": true, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C"}],
            "ItemProcessor": {"StartAt": "T", "States": {
                "T": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 2000, "End": true}}}}"#,
    );
    let mut hand = Hand::start(&machine, "[1, 2, 3]", 0);
    let wanted = hand.tasks();
    let effects = hand.after(1_000_000, Event::TimerFired(EffectId::EXECUTION_TIMER));
    let cancelled = |effect: &Effect| match effect {
        Effect::CancelTask(id) => Some(*id),
        _ => None,
    };
    assert_eq!(effects.iter().filter_map(cancelled).collect::<Vec<_>>(), wanted);
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::CancelTimer(_))).count(), 3);
    assert_eq!(outcome(&effects), Some(&Outcome::TimedOut { error: None, cause: None }));
    assert_eq!(hand.types().last(), Some(&"ExecutionTimedOut"));
}

#[test]
fn stop_ends_an_execution_in_every_kind_of_state_that_waits() {
    let task = r#"{"Type": "Task", "Resource": "RESOURCE", "End": true}"#;
    let retrying =
        r#"{"Type": "Task", "Resource": "RESOURCE", "End": true, "Retry": [{"ErrorEquals": ["E"]}]}"#;
    let wait = r#"{"Type": "Wait", "Seconds": 5, "End": true}"#;
    let map = r#"{"Type": "Map", "ItemsPath": "$", "End": true, "ItemProcessor": {"StartAt": "W", "States": {
        "W": {"Type": "Wait", "Seconds": 5, "End": true}}}}"#;
    for state in [task, retrying, wait, map, TWO_BRANCHES] {
        let mut hand = Hand::start(&one_state(state), "[1, 2]", 0);
        if state == retrying {
            let task = hand.tasks()[0];
            hand.after(0, failed(task, "E"));
        }
        let stop = Event::Stop { error: Some("Halt".into()), cause: None };
        let effects = hand.after(1, stop);
        let aborted = Outcome::Aborted { error: Some("Halt".into()), cause: None };
        assert_eq!(outcome(&effects), Some(&aborted), "{state}");
        assert_eq!(hand.types().last(), Some(&"ExecutionAborted"));
        assert!(hand.execution.is_finished());
    }
}

#[test]
fn an_endless_loop_ends_at_the_history_s_bound() {
    let endless = machine(
        r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Choice",
            "Choices": [{"Variable": "$", "IsPresent": true, "Next": "A"}], "Default": "C"}, "C": {"Type": "Succeed"}}}"#,
    );
    let hand = Hand::start(&endless, "{}", 0);
    let told = "The execution reached the maximum number of history events (500).";
    assert_eq!(outcome(&hand.effects), Some(&failure("States.Runtime", Some(told))));
    assert!(hand.history.events().len() <= 500);
}

#[test]
fn an_endless_loop_in_a_distributed_child_ends_too() {
    let endless = machine(
        r#"{"StartAt": "M", "States": {"M": {"Type": "Map", "End": true, "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "A", "States": {
                "A": {"Type": "Pass", "Next": "B"},
                "B": {"Type": "Choice", "Choices": [{"Variable": "$", "IsPresent": true, "Next": "A"}], "Default": "C"},
                "C": {"Type": "Succeed"}}}}}}"#,
    );
    let hand = Hand::start(&endless, "[1]", 0);
    let Some(Outcome::Failed { error, .. }) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    assert_eq!(error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    let ends = ["MapStateEntered", "MapStateStarted", "MapRunStarted", "MapRunFailed", "MapStateFailed"];
    assert_eq!(hand.types()[1..6], ends);
}

#[test]
fn an_observer_changes_nothing() {
    let machine = one_state(TWO_BRANCHES);
    let hand = Hand::start(&machine, "{}", 7);
    let mut effects = Vec::new();
    let start = StartContext { seed: 7, ..StartContext::default() };
    let input = Payload::empty_object();
    let execution = Execution::start(&machine, start, input, Timestamp(0), &mut effects, &mut NoObserver);
    assert_eq!(effects, hand.effects);
    assert_eq!(execution.history_events(), hand.history.events().len() as u64);
}

const BUSY: &str = r#"{"StartAt": "M", "States": {
    "M": {"Type": "Map", "MaxConcurrency": 2, "Next": "P", "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1,
            "JitterStrategy": "FULL"}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "P"}],
        "ItemProcessor": {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 30,
            "HeartbeatSeconds": 10, "End": true, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 2,
            "JitterStrategy": "FULL"}]}}}},
    "P": {"Type": "Parallel", "End": true, "Branches": [
        {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3, "End": true}}},
        {"StartAt": "U", "States": {"U": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}]}}}"#;

/// Answers what is wanted, chosen by `choices`; gives the events and effects of each step.
fn play(machine: &Arc<Machine>, choices: &[(u8, u8)]) -> (Vec<(i64, Event)>, Vec<Vec<Effect>>) {
    let mut hand = Hand::start(machine, "[1, 2, 3]", 42);
    let (mut events, mut effects) = (Vec::new(), vec![hand.effects.clone()]);
    let mut wanted: Vec<(EffectId, bool)> = Vec::new();
    for (which, how) in choices {
        for effect in effects.last().into_iter().flatten() {
            match effect {
                Effect::ScheduleTask { id, .. } => wanted.push((*id, true)),
                Effect::ArmTimer { id, .. } => wanted.push((*id, false)),
                Effect::CancelTask(id) => wanted.retain(|entry| *entry != (*id, true)),
                Effect::CancelTimer(id) => wanted.retain(|entry| *entry != (*id, false)),
                // Nothing reads or writes here.
                Effect::ReadItems { .. } | Effect::WriteResults { .. } => {}
                Effect::Finished(_) => return (events, effects),
            }
        }
        let Some((id, task)) = wanted.get(usize::from(*which) % wanted.len().max(1)).copied() else { break };
        let event = match (task, how % 4) {
            (false, _) => Event::TimerFired(id),
            (true, 0) => failed(id, "E"),
            (true, 1) => failed(id, "F"),
            (true, 2) => Event::TaskHeartbeat(id),
            (true, _) => succeeded(id, "{\"x\": 1}"),
        };
        if !matches!(event, Event::TaskHeartbeat(_)) {
            wanted.retain(|entry| *entry != (id, task));
        }
        effects.push(hand.after(100, event.clone()));
        events.push((100, event));
    }
    (events, effects)
}

proptest! {
    #[test]
    fn the_same_events_lead_to_the_same_effects(choices in prop::collection::vec(any::<(u8, u8)>(), 0..60)) {
        let machine = machine(BUSY);
        let (events, effects) = play(&machine, &choices);
        let mut replay = Hand::start(&machine, "[1, 2, 3]", 42);
        prop_assert_eq!(&replay.effects, &effects[0]);
        for ((millis, event), expected) in events.into_iter().zip(&effects[1..]) {
            prop_assert_eq!(&replay.after(millis, event), expected);
        }
    }

    #[test]
    fn no_id_is_given_twice_and_nothing_comes_after_the_end(choices in prop::collection::vec(any::<(u8, u8)>(), 0..60)) {
        let (_, effects) = play(&machine(BUSY), &choices);
        let all: Vec<&Effect> = effects.iter().flatten().collect();
        let mut given: Vec<EffectId> = tasks(&effects.concat());
        given.extend(timers(&effects.concat()).iter().map(|(id, _)| *id));
        let count = given.len();
        given.sort_unstable();
        given.dedup();
        prop_assert_eq!(given.len(), count);
        let end = all.iter().position(|effect| matches!(effect, Effect::Finished(_)));
        prop_assert!(end.is_none_or(|end| end + 1 == all.len()));
    }

    #[test]
    fn everything_wanted_is_answered_or_cancelled_by_the_end(choices in prop::collection::vec(any::<(u8, u8)>(), 60)) {
        let (events, effects) = play(&machine(BUSY), &choices);
        let all = effects.concat();
        if outcome(&all).is_some() {
            for id in tasks(&all) {
                let answered = events.iter().any(|(_, event)| matches!(event,
                    Event::TaskSucceeded { id: of, .. } | Event::TaskFailed { id: of, .. } if *of == id));
                prop_assert!(answered || all.contains(&Effect::CancelTask(id)), "{:?}", id);
            }
            for (id, _) in timers(&all) {
                let fired = events.iter().any(|(_, event)| *event == Event::TimerFired(id));
                prop_assert!(fired || all.contains(&Effect::CancelTimer(id)), "{:?}", id);
            }
        }
    }
}
