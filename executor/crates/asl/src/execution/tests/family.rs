//! An execution and its children: whose event is whose, and what is left of them when something ends.

use super::*;
use crate::execution::effect::MEMBER_FIRST;

/// A distributed Map with these fields around a machine of these states, the first of which is `I`.
fn map(fields: &str, states: &str) -> String {
    map_of(fields, "I", states)
}

/// The same with another first state.
fn map_of(fields: &str, first: &str, states: &str) -> String {
    format!(
        r#"{{"Type": "Map", "End": true, {fields} "ItemProcessor": {{
            "ProcessorConfig": {{"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}, "StartAt": "{first}",
            "States": {{{states}}}}}}}"#
    )
}

const TASK: &str = r#""I": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 9, "End": true}"#;

fn members(ids: &[EffectId]) -> Vec<u32> {
    ids.iter().map(|id| id.member()).collect()
}

fn text(effects: &[Effect]) -> String {
    let Some(Outcome::Succeeded(output)) = outcome(effects) else { panic!("{effects:?}") };
    output.text().to_owned()
}

#[test]
fn an_event_finds_the_child_that_asked_and_results_stand_in_the_order_of_items() {
    let mut hand = Hand::start(&one_state(&map("", TASK)), "[1, 2, 3]", 0);
    let tasks = hand.tasks();
    assert_eq!(members(&tasks), [MEMBER_FIRST, MEMBER_FIRST + 1, MEMBER_FIRST + 2]);
    assert_eq!(hand.execution.children(), 3);
    for (at, index) in [(2, "\"c\""), (0, "\"a\"")] {
        let effects = hand.after(1, succeeded(tasks[at], index));
        // Its timeout, and its own time.
        let cancelled = effects.iter().filter(|effect| matches!(effect, Effect::CancelTimer(_))).count();
        assert_eq!((effects.len(), cancelled), (2, 2), "{effects:?}");
        assert_eq!(hand.after(0, succeeded(tasks[at], index)), [], "it has ended");
    }
    assert_eq!(text(&hand.after(1, succeeded(tasks[1], "\"b\""))), r#"["a","b","c"]"#);
    assert_eq!(hand.execution.children(), 0);
    assert_eq!(hand.execution.history_events(), hand.history.events().len() as u64);
}

#[test]
fn a_task_of_a_child_names_all_maps_around_it() {
    let inner = format!(
        r#""I": {{"Type": "Map", "End": true, "ItemProcessor": {{"StartAt": "N", "States": {{"N": {}}}}}}}"#,
        map_of("", "T", &TASK.replace("\"I\"", "\"T\""))
    );
    let hand = Hand::start(&one_state(&map("", &inner)), "[[[0, 0]], [[0], [0, 0, 0]]]", 0);
    let place = hand.execution.task_place(hand.tasks()[5]).expect("a place");
    assert_eq!(place.state, "T");
    let around: Vec<(&str, u32)> = place.map_path.iter().map(|(name, index)| (&**name, *index)).collect();
    assert_eq!(around, [("S", 1), ("I", 1), ("N", 2)]);
    assert!(hand.execution.task_place(EffectId(hand.tasks()[5].0 + (1 << 16))).is_none());
}

#[test]
fn a_child_of_a_child_is_an_execution_of_its_own_too() {
    let report = r#""I": {"Type": "Pass", "End": true, "Parameters": {"machine.$": "$$.StateMachine.Id",
        "id.$": "$$.Execution.Id", "name.$": "$$.Execution.Name", "input.$": "$$.Execution.Input"}}"#;
    let inner = map(r#""Label": "inner","#, report);
    let outer = map_of(r#""Label": "outer","#, "O", &format!(r#""O": {inner}"#));
    let hand = Hand::start(&one_state(&outer.replacen("STANDARD", "EXPRESS", 1)), "[[1], [2]]", 0);
    let output = text(&hand.effects);
    let output = Value::parse(output.as_bytes(), JsonLimits::PAYLOAD).expect("JSON");
    let of = |path: &str| output.pointer(path).and_then(Value::as_text).cloned().unwrap_or_default();
    assert_eq!(of("/0/0/machine"), "arn:aws:states:us-east-1:123456789012:stateMachine:m/outer/inner");
    let (first, second) = (of("/0/0/name"), of("/1/0/name"));
    assert_ne!(first, second);
    assert_eq!(of("/0/0/id").rsplit(':').next(), Some(&*first));
    assert_eq!(output.pointer("/1/0/input").and_then(Value::as_i64), Some(2));
}

/// All that was asked for so far and is neither answered nor cancelled.
fn left_open(effects: &[Effect]) -> Vec<EffectId> {
    let mut open: Vec<(EffectId, bool)> = Vec::new();
    for effect in effects {
        match effect {
            Effect::ScheduleTask { id, .. } => open.push((*id, true)),
            Effect::ArmTimer { id, .. } => open.push((*id, false)),
            Effect::CancelTask(id) => open.retain(|entry| *entry != (*id, true)),
            Effect::CancelTimer(id) => open.retain(|entry| *entry != (*id, false)),
            _ => {}
        }
    }
    open.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_map_run_that_fails_ends_its_children_with_all_they_want() {
    let nested = map_of("", "O", &format!(r#""O": {}"#, map("", TASK)));
    let caught = nested.replacen(
        r#""End": true"#,
        r#""Next": "C", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "C"}]"#,
        1,
    );
    let mut hand = Hand::start(&one_state(&caught), "[[1, 2], [3, 4]]", 0);
    assert_eq!(hand.execution.children(), 6);
    let (task, mut all) = (hand.tasks()[2], hand.effects.clone());
    let effects = hand.after(1, failed(task, "E"));
    assert!(matches!(outcome(&effects), Some(Outcome::Succeeded(_))), "{effects:?}");
    assert_eq!(hand.execution.children(), 0);
    all.extend(effects);
    assert_eq!(left_open(&all), [task]);
    let run = ["MapRunStarted", "MapRunFailed", "MapStateFailed", "MapStateExited"];
    assert_eq!(hand.types()[3..7], run);
}

#[test]
fn an_execution_that_is_stopped_ends_its_children_with_all_they_want() {
    let mut hand = Hand::start(&one_state(&map("", TASK)), "[1, 2, 3]", 0);
    let mut all = hand.effects.clone();
    all.extend(hand.after(1, Event::Stop { error: None, cause: None }));
    assert!(matches!(all.last(), Some(Effect::Finished(Outcome::Aborted { .. }))));
    assert_eq!((left_open(&all), hand.execution.children()), (vec![], 0));
}

#[test]
fn a_child_ends_at_its_own_time() {
    let wait = r#""I": {"Type": "Wait", "Seconds": 900, "End": true}"#;
    let express = map(r#""ToleratedFailurePercentage": 100,"#, wait).replace("STANDARD", "EXPRESS");
    let mut hand = Hand::start(&one_state(&express), "[1]", 0);
    let own = EffectId::execution_timer(MEMBER_FIRST);
    assert!(hand.timers().contains(&(own, 300_000)), "{:?}", hand.effects);
    let told = text(&hand.after(300_000, Event::TimerFired(own)));
    assert!(told.contains(r#""Status":"TIMED_OUT""#), "{told}");
    assert!(told.contains(r#""StartDate":"1970-01-01T00:00:00Z""#), "{told}");
    assert!(told.contains(r#""StopDate":"1970-01-01T00:05:00Z""#), "{told}");
}

#[test]
fn a_timer_of_one_member_is_not_that_of_another() {
    let mut hand = Hand::start(&one_state(&map("", TASK)), "[1, 2]", 0);
    let own = EffectId::execution_timer(MEMBER_FIRST + 1);
    hand.effects = hand.after(1_000_000, Event::TimerFired(own));
    let Some(Outcome::Failed { error, .. }) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    assert_eq!(error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    let other = Event::TimerFired(EffectId::execution_timer(MEMBER_FIRST));
    assert_eq!(hand.after(0, other), []);
}

/// A child that evaluates for three turns.
const HEAVY: &str = r#"
    "I": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $count([1..100000]) %}", "Next": "J"},
    "J": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $count([1..100000]) %}", "Next": "K"},
    "K": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $count([1..100000]) %}", "End": true}"#;

#[test]
fn children_share_the_turns_of_their_execution_which_are_asked_for_one_by_one() {
    let mut hand = Hand::start(&one_state(&map("", HEAVY)), "[1, 2, 3, 4]", 0);
    let mut turns = 0;
    while !hand.execution.is_finished() {
        assert_eq!(hand.effects.iter().filter(|effect| **effect == Effect::Yield).count(), 1);
        assert!(hand.execution.worked() < 400_000, "{}", hand.execution.worked());
        hand.effects = hand.after(1, Event::TimerFired(EffectId::NEXT_TURN));
        turns += 1;
    }
    assert!((4..=12).contains(&turns), "{turns}");
    assert_eq!(text(&hand.effects), "[100000,100000,100000,100000]");
    assert_eq!(hand.after(0, Event::TimerFired(EffectId::NEXT_TURN)), []);
}

#[test]
fn a_child_that_has_not_begun_hears_of_nothing() {
    let mut hand = Hand::start(&one_state(&map("", HEAVY)), "[1, 2, 3, 4]", 0);
    let last = hand.execution.worked();
    let stray = Event::TimerFired(EffectId::new(MEMBER_FIRST + 3, 1, 0));
    assert_eq!(hand.after(0, stray), []);
    assert!(last > 0 && hand.execution.worked() == 0, "it did not begin");
}

#[test]
fn what_comes_from_outside_is_handled_while_children_wait_for_their_turn() {
    let both = format!(
        r#"{{"Type": "Parallel", "End": true, "Branches": [{{"StartAt": "T", "States": {{
            "T": {{"Type": "Task", "Resource": "RESOURCE", "End": true}}}}}},
            {{"StartAt": "M", "States": {{"M": {}}}}}]}}"#,
        map("", HEAVY)
    );
    let mut hand = Hand::start(&one_state(&both), "[1, 2]", 0);
    let task = hand.tasks()[0];
    assert!(hand.effects.contains(&Effect::Yield));
    let effects = hand.after(0, succeeded(task, "7"));
    assert!(!effects.contains(&Effect::Yield), "it was asked for already");
    assert_eq!(hand.types().last(), Some(&"TaskStateExited"));
    let mut all = vec![Effect::Yield];
    while all.contains(&Effect::Yield) {
        all = hand.after(1, Event::TimerFired(EffectId::NEXT_TURN));
    }
    assert_eq!(text(&all), "[7,[100000,100000]]");
}

#[test]
fn an_execution_that_has_to_wait_begins_no_child_before_its_turn() {
    let (mut effects, mut history) = (Vec::new(), Collector::new(100));
    let machine = one_state(&map("", TASK));
    let input = Payload::check("[1]".into(), JsonLimits::PAYLOAD).expect("JSON");
    let start = StartContext { waits: true, ..StartContext::default() };
    let mut family = Family::start(&machine, start, input, Timestamp(0), &mut effects, &mut history);
    assert!(effects.contains(&Effect::Yield) && tasks(&effects).is_empty(), "{effects:?}");
    effects.clear();
    let turn = Event::TimerFired(EffectId::NEXT_TURN);
    family.handle(turn, Timestamp(1), &mut effects, &mut history);
    assert_eq!(tasks(&effects).len(), 1);
}

#[test]
fn a_retry_is_another_map_run_with_other_children() {
    let retried = map(r#""Retry": [{"ErrorEquals": ["States.ALL"]}],"#, TASK);
    let mut hand = Hand::start(&one_state(&retried), "[1, 2]", 0);
    let before = hand.tasks();
    let effects = hand.after(0, failed(before[0], "E"));
    let [.., Effect::ArmTimer { id, .. }] = effects[..] else { panic!("{effects:?}") };
    let effects = hand.after(1_000, Event::TimerFired(id));
    assert_eq!(members(&tasks(&effects)), [MEMBER_FIRST + 2, MEMBER_FIRST + 3]);
    assert_eq!(hand.after(0, succeeded(before[1], "1")), [], "that child was given up");
}

#[test]
fn an_execution_fails_where_it_can_number_no_more_effects() {
    let machine =
        one_state(r#"{"Type": "Task", "Resource": "RESOURCE", "HeartbeatSeconds": 9, "End": true}"#);
    for member in [0, MEMBER_FIRST] {
        let (mut effects, start) = (Vec::new(), StartContext { member, ..StartContext::default() });
        let (input, now) = (Payload::empty_object(), Timestamp(0));
        let mut execution = Execution::start(&machine, start, input, now, &mut effects, &mut NoObserver);
        let task = tasks(&effects)[0];
        execution.core.effects = EffectId::most(member) - 1;
        effects.clear();
        execution.handle(failed(task, "E"), now, &mut effects, &mut NoObserver);
        assert_eq!(outcome(&effects), Some(&failure("E", Some("why"))), "there is room for the rest");

        let start = StartContext { member, ..StartContext::default() };
        let input = Payload::empty_object();
        let mut execution = Execution::start(&machine, start, input, now, &mut effects, &mut NoObserver);
        execution.core.effects = EffectId::most(member);
        effects.clear();
        execution.handle(Event::TaskHeartbeat(task), now, &mut effects, &mut NoObserver);
        let Some(Outcome::Failed { error, cause }) = outcome(&effects) else { panic!("{effects:?}") };
        assert_eq!(error.as_deref(), Some("States.Runtime"));
        assert!(cause.as_deref().is_some_and(|cause| cause.contains("tasks, timers and children")));
    }
}

#[test]
fn what_children_are_told_shares_one_turn() {
    let heavy = r#""I": {"Type": "Task", "Resource": "RESOURCE", "Next": "H"},
        "H": {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $count([1..100000]) %}", "End": true}"#;
    let mut hand = Hand::start(&one_state(&map("", heavy)), "[1, 2, 3, 4, 5, 6]", 0);
    let tasks = hand.tasks();
    let mut ended = 0;
    for task in &tasks {
        hand.effects = hand.after(0, succeeded(*task, "0"));
        ended = tasks.len() - hand.execution.children();
    }
    assert!(ended < 4, "{ended} children worked in one turn");
    hand.effects = vec![Effect::Yield];
    let mut turns = 0;
    while hand.effects.contains(&Effect::Yield) {
        turns += 1;
        hand.effects = hand.after(0, Event::TimerFired(EffectId::NEXT_TURN));
    }
    assert!(turns >= 2, "{turns}");
    assert_eq!(text(&hand.effects), "[100000,100000,100000,100000,100000,100000]");
}
