//! Any order of events: the same again gives the same, and nothing is left behind.

use proptest::prelude::*;

use super::*;

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
                Effect::Yield => wanted.push((EffectId::NEXT_TURN, false)),
                // Nothing reads or writes here.
                Effect::ReadItems { .. } | Effect::WriteResults { .. } | Effect::StartChild { .. } => {}
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
