//! What an execution wants in which order, and what it does with events that come late, never or twice.
//!
//! Rooms: `budget` (runs that evaluate much), `family` (child executions), `retries` (delays and counters), `joins`
//! (Parallel and Map), `redrive` (from the failed state on), `replay` (the same events again).

mod budget;
mod family;
mod joins;
mod redrive;
mod replay;
mod retries;

use std::sync::Arc;

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
    execution: Family,
    now: Timestamp,
    effects: Vec<Effect>,
    history: Collector,
}

impl Hand {
    fn start(machine: &Arc<Machine>, input: &str, seed: u64) -> Self {
        Self::begin(machine, input, StartContext { seed, ..StartContext::default() })
    }

    /// One that can be redriven.
    fn keeping(machine: &Arc<Machine>, input: &str, seed: u64) -> Self {
        Self::begin(machine, input, StartContext { seed, keeps: true, ..StartContext::default() })
    }

    fn begin(machine: &Arc<Machine>, input: &str, start: StartContext) -> Self {
        let input = Payload::check(input.to_owned().into(), JsonLimits::PAYLOAD).expect("JSON");
        let (mut effects, mut history) = (Vec::new(), Collector::new(1_000));
        let now = Timestamp(0);
        let execution = Family::start(machine, start, input, now, &mut effects, &mut history);
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

const TWO_BRANCHES: &str = r#"{"Type": "Parallel", "Next": "C", "Catch": [{"ErrorEquals": ["E"], "Next": "C"}],
    "Branches": [
        {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 60, "End": true}}},
        {"StartAt": "B", "States": {"B": {"Type": "Wait", "Seconds": 9, "End": true}}},
        {"StartAt": "D", "States": {"D": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}]}"#;

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
    let moved = Effect::ArmTimer { id: first, at: Timestamp(19_000) };
    assert_eq!(effects, [Effect::CancelTimer(first), moved]);
    assert_eq!(hand.after(1_000, Event::TimerFired(first)), [], "it fired before it was moved");
    let effects = hand.after(9_000, Event::TimerFired(first));
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
    assert_eq!(hand.history.events().len(), 500);
    assert_eq!(hand.types().last(), Some(&"ExecutionFailed"));
}

#[test]
fn retries_without_end_end_at_the_history_s_bound() {
    let task = r#"{"Type": "Task", "Resource": "RESOURCE", "End": true,
        "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 20000}]}"#;
    let mut hand = Hand::start(&one_state(task), "{}", 0);
    let mut attempts = 1;
    while !hand.execution.is_finished() {
        let effects = hand.after(0, failed(hand.tasks()[0], "E"));
        if let [Effect::ArmTimer { id, at }] = effects[..] {
            hand.after(at.0 - hand.now.0, Event::TimerFired(id));
            attempts += 1;
        }
    }
    let told = "The execution reached the maximum number of history events (500).";
    assert_eq!(outcome(&hand.effects), Some(&failure("States.Runtime", Some(told))));
    assert_eq!(hand.history.events().len(), 500);
    assert_eq!(hand.types().last(), Some(&"ExecutionFailed"));
    // Each attempt is scheduled, started and failed; two events come before the first.
    assert_eq!(attempts, (500 - 2) / 3);
}

/// A Task state, so many Pass states, and a Succeed state.
fn row(passes: usize) -> Arc<Machine> {
    let pass = |index: usize| format!(r#""S{index}": {{"Type": "Pass", "Next": "S{}"}}"#, index + 1);
    let passes: Vec<String> =
        (1..=passes).map(pass).chain([format!(r#""S{}": {{"Type": "Succeed"}}"#, passes + 1)]).collect();
    let task = r#""T": {"Type": "Task", "Resource": "RESOURCE", "Next": "S1"}"#;
    machine(&format!(r#"{{"StartAt": "T", "States": {{{task}, {}}}}}"#, passes.join(", ")))
}

#[test]
fn an_execution_succeeds_within_its_history_s_bound_alone() {
    // Six events come before the first Pass state, each state has two, and then there is the last.
    for (passes, events, succeeds) in [(245, 499, true), (246, 500, false), (247, 500, false)] {
        let mut hand = Hand::start(&row(passes), "{}", 0);
        let effects = hand.after(0, succeeded(hand.tasks()[0], "{}"));
        assert_eq!(hand.history.events().len(), events, "{passes}");
        let ends = effects.iter().filter(|effect| matches!(effect, Effect::Finished(_))).count();
        assert_eq!(ends, 1, "{passes}");
        let succeeded = matches!(outcome(&effects), Some(Outcome::Succeeded(_)));
        assert_eq!(succeeded, succeeds, "{passes}");
    }
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

/// A distributed Map of one item, whose failure it tolerates; its child is an inline Map with this processor.
fn child_with_map(states: &str) -> Arc<Machine> {
    machine(&format!(
        r#"{{"StartAt": "M", "States": {{"M": {{"Type": "Map", "End": true, "ToleratedFailurePercentage": 100,
            "ItemProcessor": {{"ProcessorConfig": {{"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}},
                "StartAt": "I", "States": {{"I": {{"Type": "Map", "End": true, "ItemProcessor": {{
                    "StartAt": "A", "States": {{{states}}}}}}}}}}}}}}}}}"#
    ))
}

/// The output of an execution that succeeds, as text.
fn output(effects: &[Effect]) -> String {
    let Some(Outcome::Succeeded(output)) = outcome(effects) else { panic!("{:?}", effects.last()) };
    output.value().to_json_string()
}

const CHILD_FULL: &str = "The execution reached the maximum number of history events (500).";

#[test]
fn the_events_of_all_threads_of_a_distributed_child_count_towards_its_bound() {
    let machine = child_with_map(r#""A": {"Type": "Pass", "End": true}"#);
    // The child's start, the Map's entry and start, and four events for each iteration; its end needs two and the last.
    for (iterations, full) in [(123, false), (125, true)] {
        let items = vec!["0"; iterations].join(",");
        let hand = Hand::start(&machine, &format!("[[{items}]]"), 0);
        let output = output(&hand.effects);
        assert_eq!(output.contains(CHILD_FULL), full, "{iterations}: {output}");
    }
}

#[test]
fn maps_inside_of_maps_of_a_distributed_child_end_at_its_bound_with_all_they_want() {
    let machine = child_with_map(
        r#""A": {"Type": "Map", "ItemsPath": "$", "End": true, "ItemProcessor": {"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 9, "End": true}}}}"#,
    );
    let inner = format!("[{}]", vec!["0"; 2_000].join(","));
    let hand = Hand::start(&machine, &format!("[[{inner},{inner},{inner},{inner}]]"), 0);
    assert!(output(&hand.effects).contains(CHILD_FULL));
    // Each iteration's first four events: its start, its task's entry, scheduling and start.
    let scheduled = hand.tasks().len();
    assert!(scheduled <= 500 / 4, "{scheduled} tasks");
    let cancelled = |effect: &&Effect| matches!(effect, Effect::CancelTask(_));
    assert_eq!(hand.effects.iter().filter(cancelled).count(), scheduled);
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

#[test]
fn a_member_of_the_context_object_is_the_one_of_the_whole() {
    let machine = machine(
        r#"{"StartAt": "M", "States": {"M": {"Type": "Map", "ItemsPath": "$.items", "End": true, "ItemSelector": {
            "all.$": "$$", "Execution.$": "$$.Execution", "StateMachine.$": "$$.StateMachine", "State.$": "$$.State",
            "Map.$": "$$.Map", "value.$": "$$.Map.Item.Value"},
            "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}}}"#,
    );
    let hand = Hand::start(&machine, r#"{"items": [7]}"#, 0);
    let Some(Outcome::Succeeded(output)) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    let item = output.value().as_array().and_then(|items| items[0].as_object()).expect("an object");
    let all = item.get("all").and_then(Value::as_object).expect("an object");
    assert_eq!(all.len(), 4);
    for (name, member) in all.iter() {
        assert_eq!(item.get(name), Some(member), "{name}");
    }
    assert_eq!(item.get("value").and_then(Value::as_i64), Some(7));
}
