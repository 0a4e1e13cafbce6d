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

/// Fires the timers that are due a millisecond later until there are none, and says how often.
fn turns(hand: &mut Hand) -> usize {
    let mut turns = 0;
    loop {
        let due = |(id, at): &(EffectId, i64)| (*at == hand.now.0 + 1).then_some(*id);
        let due: Vec<EffectId> = hand.timers().iter().filter_map(due).collect();
        if due.is_empty() {
            return turns;
        }
        turns += 1;
        let mut effects = Vec::new();
        hand.now.0 += 1;
        for id in due {
            effects.extend(hand.after(0, Event::TimerFired(id)));
        }
        hand.effects = effects;
    }
}

#[test]
fn a_loop_through_expensive_expressions_gives_way_and_goes_on() {
    let mut hand = Hand::start(&loop_to(60, HEAVY), "0", 0);
    assert!(!hand.execution.is_finished());
    let events = hand.history.events().len();
    assert!(events <= 100, "{events} events in the first turn");
    let turns = turns(&mut hand);
    assert!((2..=10).contains(&turns), "{turns}");
    let Some(Outcome::Succeeded(output)) = outcome(&hand.effects) else { panic!("{:?}", hand.effects) };
    assert_eq!(output.value().as_i64(), Some(60));
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
