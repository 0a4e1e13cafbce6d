//! Redrive: what is done again, and what is not.

use super::*;

/// A Task whose input and result have places of their own, after a Pass.
const TASK: &str = r#"{"StartAt": "P", "States": {
    "P": {"Type": "Pass", "Result": 1, "ResultPath": "$.p", "Next": "T"},
    "T": {"Type": "Task", "Resource": "RESOURCE", "ResultPath": "$.t", "TimeoutSeconds": 60, "End": true,
        "Parameters": {"p.$": "$.p", "redrives.$": "$$.Execution.RedriveCount"},
        "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 1}]}}}"#;

fn inputs(effects: &[Effect]) -> Vec<String> {
    let input = |effect: &Effect| match effect {
        Effect::ScheduleTask { input, .. } => Some(input.text().to_owned()),
        _ => None,
    };
    effects.iter().filter_map(input).collect()
}

fn stop() -> Event {
    Event::Stop { error: None, cause: None }
}

#[test]
fn a_failed_task_is_scheduled_again_with_the_same_input_and_its_attempts_at_zero() {
    let mut hand = Hand::keeping(&machine(TASK), r#"{"a": 0}"#, 0);
    hand.after(0, failed(hand.tasks()[0], "E"));
    let (retry, at) = hand.timers()[0];
    hand.after(at, Event::TimerFired(retry));
    let effects = hand.after(0, failed(hand.tasks()[0], "E"));
    assert_eq!(outcome(&effects), Some(&failure("E", Some("why"))));
    assert!(hand.execution.is_redrivable());
    let effects = hand.after(500, Event::Redrive);
    assert_eq!(inputs(&effects), [r#"{"p":1,"redrives":1}"#]);
    let now = hand.now.0;
    let deadlines: Vec<i64> = timers(&effects).into_iter().map(|(_, at)| at - now).collect();
    assert_eq!(deadlines[0], 60_000, "the timeout of the task begins anew");
    assert_eq!(timers(&effects)[1].1, 1_000_000, "no execution runs for longer than its mode may");
    // Its one attempt to spare is there again.
    let effects = hand.after(0, failed(hand.tasks()[0], "E"));
    assert_eq!((timers(&effects).len(), outcome(&effects)), (1, None));
    hand.after(1_000, Event::TimerFired(timers(&effects)[0].0));
    let effects = hand.after(0, succeeded(hand.tasks()[0], "2"));
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.text(), r#"{"a":0,"p":1,"t":2}"#);
    assert!(!hand.execution.is_redrivable());
}

#[test]
fn the_history_goes_on_after_the_end() {
    let mut hand = Hand::keeping(&machine(TASK), r#"{"a": 0}"#, 0);
    hand.after(0, failed(hand.tasks()[0], "Other"));
    hand.after(500, Event::Redrive);
    hand.after(0, succeeded(hand.tasks()[0], "2"));
    let types = hand.types();
    let ended = types.iter().position(|kind| *kind == "ExecutionFailed").expect("it has failed");
    assert_eq!(
        types[ended..],
        [
            "ExecutionFailed",
            "ExecutionRedriven",
            "LambdaFunctionScheduled",
            "LambdaFunctionStarted",
            "LambdaFunctionSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
    let events = hand.history.events();
    assert!((1..).zip(events).all(|(id, event)| event.id == id));
    assert_eq!(events[ended + 1].previous, events[ended].id);
    assert_eq!(events[ended + 1].details.get("redriveCount"), Some(&Value::from(1_i64)));
    assert_eq!(events[ended + 2].previous, events[ended + 1].id);
}

#[test]
fn branches_that_succeeded_keep_their_results() {
    let definition = TWO_BRANCHES.replace(r#""E""#, r#""Unlike""#);
    let mut hand = Hand::keeping(&one_state(&definition), "{}", 0);
    let [first, last] = hand.tasks()[..] else { panic!("{:?}", hand.effects) };
    hand.after(1, succeeded(first, "1"));
    let effects = hand.after(1, failed(last, "E"));
    assert_eq!(outcome(&effects), Some(&failure("E", Some("why"))));
    let effects = hand.after(1_000, Event::Redrive);
    let [again] = tasks(&effects)[..] else { panic!("{effects:?}") };
    assert_ne!(again, last, "an effect's id is never given again");
    // The Wait was given up, and waits anew.
    let (wait, at) = timers(&effects)[0];
    assert_eq!(at, hand.now.0 + 9_000);
    hand.after(1, succeeded(again, "3"));
    let effects = hand.after(9_000, Event::TimerFired(wait));
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.text(), "[1,{},3]");
}

#[test]
fn iterations_that_succeeded_are_not_run_again_and_the_rest_is() {
    let machine = one_state(
        r#"{"Type": "Map", "MaxConcurrency": 2, "End": true, "ItemProcessor": {"StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}}"#,
    );
    let mut hand = Hand::keeping(&machine, "[10, 11, 12, 13]", 0);
    let [zeroth, first] = hand.tasks()[..] else { panic!("{:?}", hand.effects) };
    let third = tasks(&hand.after(1, succeeded(zeroth, "0")));
    assert_eq!(third.len(), 1);
    hand.after(1, failed(first, "E"));
    let effects = hand.after(1, Event::Redrive);
    assert_eq!(inputs(&effects), ["12", "11"], "the aborted and the failed one");
    let [third, first] = tasks(&effects)[..] else { panic!("{effects:?}") };
    let effects = hand.after(1, succeeded(first, "1"));
    assert_eq!(inputs(&effects), ["13"]);
    let last = hand.tasks()[0];
    hand.after(1, succeeded(last, "3"));
    let effects = hand.after(1, succeeded(third, "2"));
    let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
    assert_eq!(output.text(), "[0,1,2,3]");
}

#[test]
fn a_join_that_was_stopped_or_timed_out_goes_on_too() {
    for end in [stop(), Event::TimerFired(EffectId::EXECUTION_TIMER)] {
        let mut hand = Hand::keeping(&one_state(TWO_BRANCHES), "{}", 0);
        let [first, _] = hand.tasks()[..] else { panic!("{:?}", hand.effects) };
        hand.after(1, succeeded(first, "1"));
        hand.after(1, end);
        let effects = hand.after(1, Event::Redrive);
        assert_eq!(tasks(&effects).len(), 1, "{effects:?}");
        assert!(timers(&effects).iter().any(|(id, _)| *id == EffectId::EXECUTION_TIMER));
    }
}

#[test]
fn a_join_whose_output_has_failed_runs_all_of_its_branches_again() {
    let machine = one_state(
        r#"{"Type": "Parallel", "End": true, "ResultSelector": {"x.$": "$[7]"}, "Branches": [
            {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}]}"#,
    );
    let mut hand = Hand::keeping(&machine, r#"{"a": 0}"#, 0);
    let effects = hand.after(1, succeeded(hand.tasks()[0], "1"));
    assert!(matches!(outcome(&effects), Some(Outcome::Failed { .. })), "{effects:?}");
    assert_eq!(inputs(&hand.after(1, Event::Redrive)), [r#"{"a":0}"#]);
}

#[test]
fn a_wait_goes_on_until_its_instant_which_may_have_passed() {
    let machine = one_state(
        r#"{"Type": "Wait", "Timestamp": "1970-01-01T00:00:10Z", "InputPath": "$.a", "Next": "C"}"#,
    );
    for (pause, ends) in [(1_000, false), (10_000, true)] {
        let mut hand = Hand::keeping(&machine, r#"{"a": {"b": 1}}"#, 0);
        hand.after(5_000, stop());
        let mut effects = hand.after(pause, Event::Redrive);
        assert_eq!(outcome(&effects).is_some(), ends, "{effects:?}");
        if !ends {
            assert_eq!(timers(&effects)[0].1, 10_000);
            effects = hand.after(4_000, Event::TimerFired(timers(&effects)[0].0));
        }
        let Some(Outcome::Succeeded(output)) = outcome(&effects) else { panic!("{effects:?}") };
        assert_eq!(output.text(), r#"{"b":1}"#);
    }
}

#[test]
fn a_choice_decides_again_and_a_fail_state_fails_again() {
    let machine = machine(
        r#"{"StartAt": "C", "States": {
            "C": {"Type": "Choice", "Choices": [{"Next": "F", "Variable": "$$.Execution.RedriveCount", "NumericEquals": 1}]},
            "F": {"Type": "Fail", "Error": "E"}}}"#,
    );
    let mut hand = Hand::keeping(&machine, "{}", 0);
    assert!(matches!(outcome(&hand.effects), Some(Outcome::Failed { .. })));
    for _ in 0..2 {
        let effects = hand.after(1, Event::Redrive);
        assert_eq!(outcome(&effects), Some(&Outcome::Failed { error: Some("E".into()), cause: None }));
    }
    let entered = hand.types().into_iter().filter(|kind| *kind == "FailStateEntered").count();
    assert_eq!(entered, 2);
}

#[test]
fn what_a_catcher_took_over_from_is_not_run_again() {
    let machine = machine(
        r#"{"StartAt": "P", "States": {
            "P": {"Type": "Parallel", "Next": "T", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "T"}], "Branches": [
                {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "RESOURCE", "End": true}}},
                {"StartAt": "B", "States": {"B": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}]},
            "T": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}"#,
    );
    let mut hand = Hand::keeping(&machine, "{}", 0);
    let first = hand.tasks()[0];
    hand.after(1, failed(first, "E"));
    let last = hand.tasks()[0];
    hand.after(1, failed(last, "E"));
    assert_eq!(tasks(&hand.after(1, Event::Redrive)).len(), 1);
}

#[test]
fn what_keeps_nothing_or_ended_well_or_at_a_bound_stays_ended() {
    let fail = one_state(r#"{"Type": "Fail"}"#);
    let pass = one_state(r#"{"Type": "Pass", "End": true}"#);
    let looping = machine(
        r#"{"StartAt": "A", "States": {"A": {"Type": "Choice", "Default": "A", "Choices": [
            {"Variable": "$.x", "IsPresent": true, "Next": "Z"}]}, "Z": {"Type": "Succeed"}}}"#,
    );
    let mut hands =
        [Hand::start(&fail, "{}", 0), Hand::keeping(&pass, "{}", 0), Hand::keeping(&looping, "{}", 0)];
    for hand in &mut hands {
        assert!(outcome(&hand.effects).is_some() && !hand.execution.is_redrivable());
        assert_eq!(hand.after(1, Event::Redrive), []);
        assert!(hand.execution.is_finished());
    }
    let mut waiting = Hand::keeping(&one_state(r#"{"Type": "Wait", "Seconds": 5, "Next": "C"}"#), "{}", 0);
    assert_eq!(waiting.after(1, Event::Redrive), []);
}

#[test]
fn a_distributed_map_begins_again_with_all_of_its_items() {
    let machine = one_state(
        r#"{"Type": "Map", "End": true, "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED",
            "ExecutionType": "STANDARD"}, "StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}}"#,
    );
    let mut hand = Hand::keeping(&machine, "[1, 2]", 0);
    let [first, second] = hand.tasks()[..] else { panic!("{:?}", hand.effects) };
    hand.after(1, succeeded(first, "1"));
    let effects = hand.after(1, failed(second, "E"));
    assert!(matches!(outcome(&effects), Some(Outcome::Failed { .. })), "{effects:?}");
    let effects = hand.after(1, Event::Redrive);
    assert_eq!(inputs(&effects), ["1", "2"]);
    for task in tasks(&effects) {
        hand.after(1, succeeded(task, "0"));
    }
    assert!(matches!(outcome(&hand.effects), Some(Outcome::Succeeded(_))), "{:?}", hand.effects);
}
