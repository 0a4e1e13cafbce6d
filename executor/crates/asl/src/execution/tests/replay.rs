//! Any order of events: the same again gives the same, and nothing is left behind.

use proptest::prelude::*;

use super::*;
use crate::history::HistoryEvent;

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

/// Child executions with tasks, with a Map Run of their own, and a branch beside them.
const CHILDREN: &str = r#"{"StartAt": "P", "States": {"P": {"Type": "Parallel", "End": true, "Branches": [
    {"StartAt": "U", "States": {"U": {"Type": "Task", "Resource": "RESOURCE", "End": true, "Catch": [
        {"ErrorEquals": ["States.ALL"], "Next": "V"}]}, "V": {"Type": "Succeed"}}},
    {"StartAt": "M", "States": {"M": {"Type": "Map", "MaxConcurrency": 2, "End": true, "ToleratedFailureCount": 1,
        "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1, "JitterStrategy": "FULL"}],
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}, "StartAt": "T", "States": {
            "T": {"Type": "Task", "Resource": "RESOURCE", "TimeoutSeconds": 30, "HeartbeatSeconds": 10, "Next": "N",
                "ResultPath": null, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 1, "JitterStrategy": "FULL"}]},
            "N": {"Type": "Map", "ItemsPath": "$$.Execution.Input", "End": true, "ToleratedFailurePercentage": 60,
                "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "W",
                    "States": {"W": {"Type": "Wait", "Seconds": 3, "Next": "X"},
                        "X": {"Type": "Task", "Resource": "RESOURCE", "End": true}}}}}}}}}]}}}"#;

fn busy() -> impl Strategy<Value = (Arc<Machine>, &'static str)> {
    prop::sample::select(vec![(BUSY, "[1, 2, 3]"), (CHILDREN, "[[1, 2], [3], [4, 5]]")])
        .prop_map(|(definition, input)| (machine(definition), input))
}

/// The events and effects of each step, and the history.
type Played = (Vec<(i64, Event)>, Vec<Vec<Effect>>, Vec<HistoryEvent>);

/// Answers what is wanted, chosen by `choices`.
fn play(machine: &Arc<Machine>, input: &str, choices: &[(u8, u8)]) -> Played {
    let mut hand = Hand::start(machine, input, 42);
    let (mut events, mut effects) = (Vec::new(), vec![hand.effects.clone()]);
    let mut wanted: Vec<(EffectId, bool)> = Vec::new();
    for (which, how) in choices {
        for effect in effects.last().into_iter().flatten() {
            match effect {
                Effect::ScheduleTask { id, .. } => wanted.push((*id, true)),
                Effect::ArmTimer { id, .. } => wanted.push((*id, false)),
                Effect::CancelTask(id) => wanted.retain(|entry| *entry != (*id, true)),
                Effect::CancelTimer(id) => wanted.retain(|entry| *entry != (*id, false)),
                Effect::Yield => wanted.push((EffectId::NEXT_TURN, false)),
                // Nothing reads or writes here, and children are within the family.
                Effect::ReadItems { .. } | Effect::WriteResults { .. } | Effect::StartChild { .. } => {
                    panic!("{effect:?}")
                }
                Effect::Finished(_) => return (events, effects, hand.history.into_events()),
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
    (events, effects, hand.history.into_events())
}

#[test]
fn a_heartbeat_that_is_missed_on_a_clock_that_has_gone_back_is_missed_in_a_replay_too() {
    let machine =
        one_state(r#"{"Type": "Task", "Resource": "RESOURCE", "HeartbeatSeconds": 10, "End": true}"#);
    let mut live = Hand::start(&machine, "{}", 0);
    let (task, (timer, 10_000)) = (live.tasks()[0], live.timers()[0]) else { panic!("{:?}", live.effects) };
    let moved = live.after(-60_000, Event::TaskHeartbeat(task));
    let [(same, at)] = timers(&moved)[..] else { panic!("{moved:?}") };
    assert_eq!(same, timer);
    let ended = live.after(at - live.now.0, Event::TimerFired(timer));
    assert_eq!(outcome(&ended), Some(&failure("States.Timeout", None)));
    let mut replay = Hand::start(&machine, "{}", 0);
    assert_eq!(replay.after(at, Event::TimerFired(timer)), ended);
}

#[test]
fn an_activity_has_its_time_and_its_heartbeats_from_its_start_which_is_told_once() {
    let machine = one_state(
        r#"{"Type": "Task", "Resource": "arn:aws:states:us-east-1:123456789012:activity:review", "TimeoutSeconds": 60,
            "HeartbeatSeconds": 10, "End": true}"#,
    );
    let mut live = Hand::start(&machine, "{}", 0);
    let task = live.tasks()[0];
    let due = |effects: &[Effect]| timers(effects).into_iter().map(|(_, at)| at).collect::<Vec<_>>();
    assert!(due(&live.effects).contains(&60_000) && !due(&live.effects).contains(&10_000));
    assert_eq!(live.after(5_000, Event::TaskHeartbeat(task)), [], "nobody has it");
    let started = || Event::TaskStarted { id: task, worker: "anna".into() };
    assert_eq!(due(&live.after(0, started())), [65_000, 15_000]);
    assert_eq!(live.after(0, started()), []);
    let events = live.history.events().iter();
    let starts: Vec<_> = events.filter(|event| event.kind == "ActivityStarted").collect();
    assert_eq!(
        starts.iter().map(|event| event.details.to_json()).collect::<Vec<_>>(),
        [br#"{"workerName":"anna"}"#]
    );
}

/// An activity's heartbeats were due from its scheduling on once, as a function's are.
#[test]
fn an_activity_s_journal_from_before_its_heartbeats_were_due_from_its_start_is_replayed_alike() {
    let [activity, function] = ["arn:aws:states:us-east-1:123456789012:activity:review", "RESOURCE"].map(|resource| {
        machine(&format!(
            r#"{{"StartAt": "A", "States": {{
                "A": {{"Type": "Task", "Resource": "{resource}", "TimeoutSeconds": 60, "HeartbeatSeconds": 10, "Next": "B",
                    "Retry": [{{"ErrorEquals": ["States.HeartbeatTimeout"]}}]}},
                "B": {{"Type": "Task", "Resource": "RESOURCE", "End": true}}}}}}"#
        ))
    });
    let (mut replay, mut before) = (Hand::start(&activity, "{}", 0), Hand::start(&function, "{}", 0));
    assert_eq!(replay.tasks(), before.tasks());
    let (task, heartbeat) = (before.tasks()[0], before.timers()[1].0);
    let asked = |effects: &[Effect]| -> Vec<EffectId> {
        let ids = effects.iter().filter_map(|effect| match effect {
            Effect::ScheduleTask { id, .. } | Effect::ArmTimer { id, .. } => Some(*id),
            _ => None,
        });
        ids.collect()
    };
    // It was missed, though nobody had taken the task up; tried again, and done.
    let missed = before.after(10_000, Event::TimerFired(heartbeat));
    let retry = asked(&missed);
    assert_eq!((asked(&replay.after(10_000, Event::TimerFired(heartbeat))), retry.len()), (retry.clone(), 1));
    let again = before.after(1_000, Event::TimerFired(retry[0]));
    let second = asked(&again)[0];
    assert_eq!(asked(&replay.after(1_000, Event::TimerFired(retry[0])))[0], second);
    assert_ne!(second, task);
    let next = asked(&before.after(1, succeeded(second, "{}")));
    assert_eq!((asked(&replay.after(1, succeeded(second, "{}"))), next.len()), (next.clone(), 1));
    let ended = before.after(1, succeeded(next[0], "7"));
    assert!(outcome(&ended).is_some());
    assert_eq!(replay.after(1, succeeded(next[0], "7")), ended);
}

proptest! {
    #[test]
    fn the_same_events_lead_to_the_same_effects_and_history(
        (machine, input) in busy(),
        choices in prop::collection::vec(any::<(u8, u8)>(), 0..60),
    ) {
        let (events, effects, history) = play(&machine, input, &choices);
        let mut replay = Hand::start(&machine, input, 42);
        prop_assert_eq!(&replay.effects, &effects[0]);
        for ((millis, event), expected) in events.into_iter().zip(&effects[1..]) {
            prop_assert_eq!(&replay.after(millis, event), expected);
        }
        prop_assert_eq!(replay.history.events(), history);
    }

    #[test]
    fn what_a_redrive_needs_is_kept_without_a_change_and_a_redriven_execution_can_be_replayed(
        (machine, input) in busy(),
        choices in prop::collection::vec(any::<(u8, u8)>(), 0..60),
        stopped: bool,
    ) {
        let (mut events, effects, _) = play(&machine, input, &choices);
        let mut first = Hand::keeping(&machine, input, 42);
        prop_assert_eq!(&first.effects, &effects[0]);
        for ((millis, event), expected) in events.iter().zip(&effects[1..]) {
            prop_assert_eq!(&first.after(*millis, event.clone()), expected);
        }
        if stopped {
            events.push((1, Event::Stop { error: None, cause: None }));
            first.after(1, Event::Stop { error: None, cause: None });
        }
        let redrivable = first.execution.is_redrivable();
        let redriven = first.after(1, Event::Redrive);
        prop_assert_eq!(redriven.is_empty(), !redrivable);
        prop_assert_eq!(first.execution.is_finished() && redrivable, outcome(&redriven).is_some());
        let mut second = Hand::keeping(&machine, input, 42);
        for (millis, event) in events {
            second.after(millis, event);
        }
        prop_assert_eq!(second.after(1, Event::Redrive), redriven);
        prop_assert_eq!(second.history.events(), first.history.events());
        prop_assert_eq!(format!("{:?}", second.execution), format!("{:?}", first.execution));
    }

    #[test]
    fn no_id_is_given_twice_and_nothing_comes_after_the_end(
        (machine, input) in busy(),
        choices in prop::collection::vec(any::<(u8, u8)>(), 0..60),
    ) {
        let (_, effects, _) = play(&machine, input, &choices);
        let all: Vec<&Effect> = effects.iter().flatten().collect();
        let mut given: Vec<EffectId> = tasks(&effects.concat());
        // A heartbeat moves a timer, which it cancels first.
        let moved = |at: &usize| !matches!(all[..*at].last(), Some(Effect::CancelTimer(id))
            if matches!(all[*at], Effect::ArmTimer { id: same, .. } if same == id));
        let armed = |at: usize| match all[at] {
            Effect::ArmTimer { id, .. } => Some(*id),
            _ => None,
        };
        given.extend((0..all.len()).filter(moved).filter_map(armed));
        let count = given.len();
        given.sort_unstable();
        given.dedup();
        prop_assert_eq!(given.len(), count);
        let end = all.iter().position(|effect| matches!(effect, Effect::Finished(_)));
        prop_assert!(end.is_none_or(|end| end + 1 == all.len()));
    }

    #[test]
    fn everything_wanted_is_answered_or_cancelled_by_the_end(
        (machine, input) in busy(),
        choices in prop::collection::vec(any::<(u8, u8)>(), 60),
    ) {
        let (events, effects, _) = play(&machine, input, &choices);
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
