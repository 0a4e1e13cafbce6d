//! Runs that evaluate much.

use super::super::budget::RUN_FUEL;
use super::*;

/// An expression that takes more than 100,000 units, and little time.
const HEAVY: &str = "$count([1..100000])";

/// Counts to this in a loop, with a heavy expression each time.
fn loop_to(count: usize, expression: &str) -> Arc<Machine> {
    machine(&format!(
        r#"{{"QueryLanguage": "JSONata", "StartAt": "A", "States": {{
            "A": {{"Type": "Pass", "Output": "{{% $states.input + {expression} / 100000 %}}", "Next": "B"}},
            "B": {{"Type": "Choice", "Default": "C", "Choices": [
                {{"Condition": "{{% $states.input < {count} %}}", "Next": "A"}}]}},
            "C": {{"Type": "Succeed"}}}}}}"#
    ))
}

/// Gives the execution turns as long as it asks for them, and says how many.
fn turns(hand: &mut Hand) -> usize {
    let mut turns = 0;
    while hand.effects.contains(&Effect::Yield) {
        turns += 1;
        hand.effects = hand.after(0, Event::TimerFired(EffectId::NEXT_TURN));
    }
    turns
}

#[test]
fn a_loop_through_expensive_expressions_gives_way_and_goes_on() {
    let mut hand = Hand::start(&loop_to(60, HEAVY), "0", 0);
    assert!(!hand.execution.is_finished());
    let events = hand.history.events().len();
    assert!(events <= 100, "{events} events in the first turn");
    let turns = turns(&mut hand);
    assert!((10..=60).contains(&turns), "{turns}");
    let Some(Outcome::Succeeded(output)) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    assert_eq!(output.value().as_i64(), Some(60));
}

#[test]
fn branches_share_a_turn_and_what_comes_meanwhile_waits_for_the_next() {
    let heavy = |branch: u8| {
        format!(
            r#"{{"StartAt": "A{branch}", "States": {{
                "A{branch}": {{"Type": "Pass", "Output": "{{% $states.input + {HEAVY} / 100000 %}}", "Next": "B{branch}"}},
                "B{branch}": {{"Type": "Choice", "Default": "C{branch}", "Choices": [
                    {{"Condition": "{{% $states.input < 20 %}}", "Next": "A{branch}"}}]}},
                "C{branch}": {{"Type": "Succeed"}}}}}}"#
        )
    };
    let (first, second) = (heavy(1), heavy(2));
    let task = r#"{"StartAt": "T", "States": {"T": {"Type": "Task",
        "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f", "Next": "D"}, "D": {"Type": "Succeed"}}}"#;
    let mut hand = Hand::start(
        &machine(&format!(
            r#"{{"QueryLanguage": "JSONata", "StartAt": "P", "States": {{"P": {{"Type": "Parallel", "End": true,
                "Branches": [{task}, {first}, {second}]}}}}}}"#
        )),
        "0",
        0,
    );
    let yields = |hand: &Hand| hand.effects.iter().filter(|effect| **effect == Effect::Yield).count();
    assert_eq!(yields(&hand), 1, "{:?}", hand.effects);
    let task = hand.tasks()[0];
    hand.effects = hand.after(0, succeeded(task, "7"));
    assert_eq!(hand.types().last(), Some(&"TaskStateExited"));
    assert_eq!(yields(&hand), 0, "it was asked for already");
    hand.effects = vec![Effect::Yield];
    assert!(turns(&mut hand) >= 10);
    let Some(Outcome::Succeeded(output)) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    assert_eq!(output.text(), "[7,20,20]");
}

#[test]
fn a_turn_that_nobody_asked_for_changes_nothing() {
    let wait = r#"{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 3, "End": true}}}"#;
    let mut hand = Hand::start(&machine(wait), "{}", 0);
    let before = hand.types();
    assert_eq!(hand.after(0, Event::TimerFired(EffectId::NEXT_TURN)), []);
    assert_eq!(hand.types(), before);
}

#[test]
fn a_loop_through_large_data_gives_way_without_an_expression() {
    let machine = machine(
        r#"{"StartAt": "A", "States": {
            "A": {"Type": "Pass", "Parameters": {"text.$": "States.Format('{}', $.text)"}, "Next": "B"},
            "B": {"Type": "Pass", "Parameters": {"text.$": "$.text"}, "Next": "C"},
            "C": {"Type": "Choice", "Default": "A", "Choices": [{"Variable": "$.text", "StringEquals": "", "Next": "D"}]},
            "D": {"Type": "Succeed"}}}"#,
    );
    let input = format!(r#"{{"text": "{}"}}"#, "x".repeat(200_000));
    let hand = Hand::start(&machine, &input, 0);
    assert_eq!(
        hand.effects.iter().filter(|effect| **effect == Effect::Yield).count(),
        1,
        "{:?}",
        outcome(&hand.effects)
    );
    let entered = hand.types().iter().filter(|kind| **kind == "PassStateEntered").count();
    assert!(entered < 100, "{entered}");
}

#[test]
fn a_loop_through_cheap_expressions_keeps_its_turn() {
    let hand = Hand::start(&loop_to(60, "100000"), "0", 0);
    assert!(matches!(outcome(&hand.effects), Some(Outcome::Succeeded(_))), "{:?}", hand.effects);
}

#[test]
fn a_state_that_evaluates_too_much_ends_the_execution() {
    let fields = |count: usize| {
        let fields: Vec<String> =
            (0..count).map(|index| format!(r#""f{index}": "{{% {HEAVY} %}}""#)).collect();
        machine(&format!(
            r#"{{"QueryLanguage": "JSONata", "StartAt": "A", "States": {{
                "A": {{"Type": "Pass", "Output": {{{}}}, "End": true}}}}}}"#,
            fields.join(", ")
        ))
    };
    let hand = Hand::start(&fields(60), "0", 0);
    assert!(matches!(outcome(&hand.effects), Some(Outcome::Succeeded(_))), "{:?}", hand.effects.last());
    let most = usize::try_from(RUN_FUEL).expect("a small number") / 100_000;
    let hand = Hand::start(&fields(most + 1), "0", 0);
    let Some(Outcome::Failed { error, cause }) = outcome(&hand.effects) else {
        panic!("{:?}", hand.effects.last())
    };
    assert_eq!(error.as_deref(), Some("States.Runtime"));
    assert!(cause.as_deref().is_some_and(|cause| cause.contains("33554432 units of work")), "{cause:?}");
}

#[test]
fn a_map_run_that_selects_expensively_gives_way_and_goes_on() {
    let machine = machine(&format!(
        r#"{{"QueryLanguage": "JSONata", "StartAt": "M", "States": {{"M": {{"Type": "Map", "End": true,
            "ItemSelector": {{"v": "{{% {HEAVY} %}}"}},
            "ItemProcessor": {{"ProcessorConfig": {{"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}},
                "StartAt": "P", "States": {{"P": {{"Type": "Pass", "End": true}}}}}}}}}}}}"#
    ));
    let items = vec!["0"; 50].join(",");
    let mut hand = Hand::start(&machine, &format!("[{items}]"), 0);
    assert!(!hand.execution.is_finished());
    assert!(turns(&mut hand) >= 2);
    let Some(Outcome::Succeeded(output)) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    assert_eq!(output.value().as_array().map(|items| items.len()), Some(50));
}
