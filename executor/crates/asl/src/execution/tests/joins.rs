//! Parallel and Map: what their children want, in which order their results stand, how many are alive.

use super::*;

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
