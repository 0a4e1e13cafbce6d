//! A journal says how an execution started and what it was told. Fed again, it gives the same effects, state and history,
//! byte for byte, after every event; and an execution that is told what it no longer wants does not notice.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use asl::execution::{Effect, EffectId, Event, Family, StartContext};
use asl::history::Collector;
use asl::simulate::{Answer, Reply, Request};
use asl::{Payload, Str, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::cases;
use super::generate::{Choices, choices};
use super::machines::{Case, reply, start};

/// Events after which a play ends.
const EVENTS: usize = 120;

/// An execution with everything that can be seen of it.
struct Play {
    execution: Family,
    effects: Vec<Effect>,
    history: Collector,
}

/// What can be seen after an event, as text: payloads by their bytes.
struct Seen {
    effects: String,
    state: String,
    history: String,
}

/// Both are the same, or where they begin to differ.
fn alike(left: &Seen, right: &Seen) -> Result<(), TestCaseError> {
    let sides =
        [(&left.effects, &right.effects), (&left.state, &right.state), (&left.history, &right.history)];
    for (left, right) in sides {
        if left != right {
            let at = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
            let around = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(80)..])
                    .chars()
                    .take(240)
                    .collect::<String>()
            };
            return Err(TestCaseError::fail(format!("\n{}\n{}", around(left), around(right))));
        }
    }
    Ok(())
}

impl Play {
    fn new(case: &Case, seed: u64) -> Self {
        let mut effects = Vec::new();
        let mut history = Collector::new(25_000);
        let context = StartContext { seed, ..StartContext::default() };
        let (machine, input) = (case.machine(), case.payload());
        let execution = Family::start(&machine, context, input, start(), &mut effects, &mut history);
        Self { execution, effects, history }
    }

    fn tell(&mut self, at: Timestamp, event: Event) {
        self.effects.clear();
        self.execution.handle(event, at, &mut self.effects, &mut self.history);
    }

    fn seen(&self) -> Seen {
        Seen {
            effects: format!("{:?}", self.effects),
            state: format!("{:?}", self.execution),
            history: format!("{:?}", self.history.events()),
        }
    }
}

/// What is wanted of the world: work, by its id, and instants that are due.
#[derive(Default)]
struct Wanted {
    due: BTreeMap<(Timestamp, u64), Event>,
    number: u64,
    /// What is neither answered nor cancelled.
    open: HashSet<EffectId>,
    /// Of everything ever wanted: what would answer it.
    answers: Vec<(EffectId, Event)>,
}

/// Of what is no longer wanted, so many of the last are told again.
const STALE: usize = 12;

impl Wanted {
    fn add(&mut self, at: Timestamp, id: EffectId, event: Event) {
        self.number += 1;
        self.due.insert((at, self.number), event.clone());
        self.open.insert(id);
        self.answers.push((id, event));
    }

    /// What answers an effect ends it.
    fn answered(&mut self, event: &Event) {
        if let Event::TimerFired(id) | Event::TaskSucceeded { id, .. } | Event::TaskFailed { id, .. } = event
        {
            self.open.remove(id);
        }
    }

    fn stale(&self) -> Vec<Event> {
        let stale = self.answers.iter().rev().filter(|(id, _)| !self.open.contains(id));
        stale.take(STALE).map(|(_, event)| event.clone()).collect()
    }

    fn take_in(&mut self, play: &Play, case: &Case, limited: &HashMap<String, bool>, now: Timestamp) {
        for effect in &play.effects {
            match effect {
                Effect::Yield => self.add(now, EffectId::NEXT_TURN, Event::TimerFired(EffectId::NEXT_TURN)),
                Effect::ArmTimer { id, at } => self.add(*at, *id, Event::TimerFired(*id)),
                Effect::CancelTimer(id) | Effect::CancelTask(id) => {
                    self.due.retain(|_, event| concerns(event) != Some(*id));
                    self.open.remove(id);
                }
                Effect::ScheduleTask { id, resource, input, .. } => {
                    // None where the same event led to its cancelling.
                    let Some(place) = play.execution.task_place(*id) else { continue };
                    let told =
                        reply(&case.script, limited, &Request { place: &place, resource, input, at: now });
                    self.plan(*id, told, now);
                }
                Effect::Finished(_) => {
                    self.due.clear();
                    self.open.clear();
                }
                #[allow(unreachable_patterns, reason = "effects may be added that no generated machine has")]
                _ => {}
            }
        }
    }

    fn plan(&mut self, id: EffectId, told: Reply, now: Timestamp) {
        self.add(now, id, Event::TaskStarted { id, worker: Str::new() });
        if told.heartbeat_millis > 0 && told.heartbeat_millis < told.after_millis {
            self.add(now.plus_millis(told.heartbeat_millis), id, Event::TaskHeartbeat(id));
        }
        let event = match told.answer {
            Answer::Succeeds(output) => Event::TaskSucceeded { id, output },
            Answer::Fails(error, cause) => Event::TaskFailed { id, error, cause },
            Answer::Never => return,
        };
        self.add(now.plus_millis(told.after_millis), id, event);
    }
}

fn concerns(event: &Event) -> Option<EffectId> {
    match event {
        Event::TaskStarted { id, .. }
        | Event::TaskHeartbeat(id)
        | Event::TimerFired(id)
        | Event::TaskSubmitted { id, .. }
        | Event::TaskSucceeded { id, .. }
        | Event::TaskFailed { id, .. } => Some(*id),
        _ => None,
    }
}

/// A journal, and what was seen after the start and after each of its events.
type Played = (Vec<(Timestamp, Event)>, Vec<Seen>);

/// Plays a case to its end. With `nag`, what is no longer wanted is told again after every event.
fn play(case: &Case, seed: u64, nag: bool) -> Result<Played, TestCaseError> {
    let limited = case.ended_by_timeouts();
    let mut play = Play::new(case, seed);
    let (mut journal, mut seen) = (Vec::new(), vec![play.seen()]);
    let (mut wanted, mut now) = (Wanted::default(), start());
    wanted.take_in(&play, case, &limited, now);
    while let Some(((at, _), event)) = wanted.due.pop_first() {
        if journal.len() == EVENTS {
            break;
        }
        now = now.max(at);
        play.tell(now, event.clone());
        seen.push(play.seen());
        wanted.answered(&event);
        wanted.take_in(&play, case, &limited, now);
        journal.push((now, event));
        let stale = if nag { wanted.stale() } else { Vec::new() };
        for event in stale {
            play.tell(now, event.clone());
            prop_assert!(play.effects.is_empty(), "{:?} led to {:?}", event, play.effects);
        }
    }
    Ok((journal, seen))
}

#[test]
fn a_journal_fed_again_gives_the_same_after_every_event() {
    let told = Cell::new(0);
    let replay = |(mut choices, seed): (Choices, u64)| {
        let case = Case::new(&mut choices);
        let (journal, seen) = play(&case, seed, false)?;
        let mut again = Play::new(&case, seed);
        alike(&again.seen(), &seen[0])?;
        for ((at, event), expected) in journal.iter().zip(&seen[1..]) {
            again.tell(*at, event.clone());
            alike(&again.seen(), expected)?;
        }
        told.set(told.get() + journal.len());
        Ok(())
    };
    TestRunner::new(cases(60))
        .run(&(choices(600), any::<u64>()), replay)
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(told.get() > 40, "the journals have {told:?} events together");
}

#[test]
fn an_execution_does_not_notice_what_it_no_longer_wants() {
    let nag = |(mut choices, seed): (Choices, u64)| {
        let case = Case::new(&mut choices);
        let ((journal, seen), (told, undisturbed)) = (play(&case, seed, true)?, play(&case, seed, false)?);
        prop_assert_eq!(journal, told);
        seen.iter().zip(&undisturbed).try_for_each(|(seen, undisturbed)| alike(seen, undisturbed))
    };
    TestRunner::new(cases(40))
        .run(&(choices(600), any::<u64>()), nag)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Bytes and tree of a payload say the same, whichever was first; cutting it out of its frame changes nothing.
#[test]
fn payloads_go_round_between_bytes_and_trees() {
    let round = |mut choices: Choices| {
        let document = choices.document(4);
        let spaced = serde_json::to_string_pretty(&document).expect("JSON");
        let checked = Payload::check(spaced.clone().into(), asl::value::JsonLimits::PAYLOAD).expect("JSON");
        prop_assert_eq!(checked.text(), spaced.as_str());
        let built = Payload::from_value(checked.value().clone());
        prop_assert_eq!(&built, &checked);
        prop_assert_eq!(built.len(), built.bytes().len());
        let read = Payload::from_checked(built.bytes().clone());
        prop_assert_eq!(read.value(), checked.value());
        prop_assert_eq!(read.value().to_json(), built.bytes().to_vec());
        let own = checked.detach();
        prop_assert!(!own.shares_text(&checked) && own == checked && own.bytes() == checked.bytes());
        prop_assert_eq!(own.into_value(), built.into_value());
        Ok(())
    };
    TestRunner::new(cases(120)).run(&choices(100), round).unwrap_or_else(|error| panic!("{error}"));
}
