//! Distributed Maps with very many child executions.

use std::sync::Arc;

use asl::history::NoObserver;
use asl::{Effect, EffectId, Event, Family, Machine, Outcome, Payload, StartContext, Timestamp, Value};

use super::machine;

/// Units of work that a turn has, and what may come on top of it.
const TURN: u64 = (1 << 17) + (1 << 16);

/// Ten milliseconds at a time, as a shard gives them.
struct Turns {
    family: Family,
    turns: u64,
    /// The most children that were alive after a turn.
    children: usize,
    effects: Vec<Effect>,
}

/// Starts an execution and gives it turns as long as it asks for them.
fn run(machine: &Arc<Machine>, input: Value) -> Turns {
    let (mut effects, input, now) = (Vec::new(), Payload::from_value(input), Timestamp(0));
    let family = Family::start(machine, StartContext::default(), input, now, &mut effects, &mut NoObserver);
    let mut turns = Turns { children: family.children(), family, turns: 0, effects };
    while turns.effects.pop_if(|effect| *effect == Effect::Yield).is_some() {
        assert!(turns.family.worked() <= TURN, "{} units", turns.family.worked());
        let turn = Event::TimerFired(EffectId::NEXT_TURN);
        turns.family.handle(turn, Timestamp(0), &mut turns.effects, &mut NoObserver);
        turns.turns += 1;
        turns.children = turns.children.max(turns.family.children());
    }
    turns
}

/// A Map of these children, which are in this state.
fn map(fields: &str, state: &str) -> String {
    format!(
        r#"{{"StartAt":"M","QueryLanguage":"JSONata","States":{{"M":{{"Type":"Map","End":true,{fields}"ItemProcessor":{{
        "ProcessorConfig":{{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}},
        "StartAt":"I","States":{{"I":{state}}}}}}}}}}}"#
    )
}

fn zeros(count: usize) -> Value {
    Value::array(vec![Value::from(0_i64); count])
}

#[test]
fn a_map_of_very_many_trivial_children_gives_way_and_keeps_few_of_them() {
    let trivial = map("", r#"{"Type":"Succeed"}"#);
    let turns = run(&machine(&trivial), zeros(100_000));
    let Some(Effect::Finished(Outcome::Succeeded(output))) = turns.effects.last() else {
        panic!("it did not succeed after {} turns", turns.turns)
    };
    assert!(*output.value() == zeros(100_000));
    assert!((20..=200).contains(&turns.turns), "{} turns", turns.turns);
    assert!(turns.children <= 10_000, "{} children", turns.children);
}

#[test]
fn children_of_children_are_bounded_together() {
    let inner = r#"{"Type":"Map","End":true,"Items":"{% [1..10000] %}","ItemProcessor":{
        "ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
        "StartAt":"W","States":{"W":{"Type":"Wait","Seconds":9,"End":true}}}}"#;
    let outer = map(r#""ToleratedFailurePercentage":100,"#, inner);
    let mut turns = run(&machine(&outer), zeros(20));
    // Nine times 10,000 and their parents: the others failed, with the children that they had.
    assert_eq!(turns.family.children(), 90_009);
    assert!(turns.children <= 100_000, "{} children", turns.children);
    let stop = Event::Stop { error: None, cause: None };
    turns.family.handle(stop, Timestamp(1), &mut turns.effects, &mut NoObserver);
    assert_eq!(turns.family.children(), 0);
    assert!(matches!(turns.effects.last(), Some(Effect::Finished(Outcome::Aborted { .. }))));
}

#[test]
fn branches_and_iterations_of_all_children_are_bounded_together() {
    let maps = r#"{"Type":"Map","End":true,"Items":"{% [1..40] %}","ItemProcessor":{"StartAt":"J","States":{"J":{
        "Type":"Map","End":true,"Items":"{% [1..40] %}","ItemProcessor":{"StartAt":"W","States":{"W":{
        "Type":"Wait","Seconds":9,"End":true}}}}}}}"#;
    let outer = map(r#""ToleratedFailurePercentage":100,"#, maps);
    let turns = run(&machine(&outer), zeros(310));
    // Each has a thread of its own, 40, and 1,600.
    assert_eq!(turns.family.children(), 500_000 / (1 + 40 + 1_600));
}
