//! Runs an execution to its end in virtual time: waits, retries and timeouts move the clock and never sleep.
//!
//! Purpose: tests, local runs and conformance. Invariants: the same as the core's (the outside world is a
//! [`Services`], the clock is a list of what is due); things that are due at the same instant happen in the order in which
//! they were asked for; the number of events is bounded. What may fail: nothing; an execution that waits for something
//! that never comes has no outcome.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::execution::{Effect, EffectId, Event, Family, Machine, Outcome, StartContext, TaskPlace};
use crate::history::Observer;
use crate::map::ResultObject;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// A task, or a read of a distributed Map, as the services see it.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Which state, in which iterations.
    pub place: &'a TaskPlace,
    /// The `Resource` of the state or its reader.
    pub resource: &'a Str,
    /// The effective input, or the parameters of the read.
    pub input: &'a Payload,
    /// When.
    pub at: Timestamp,
}

/// What a service does with a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The answer to a `.sync` or `.waitForTaskToken` task's first request.
    pub submitted: Option<Payload>,
    /// How long the work takes, in milliseconds.
    pub after_millis: u64,
    /// How often a heartbeat comes meanwhile, in milliseconds; 0 is never.
    pub heartbeat_millis: u64,
    /// How the work ends.
    pub answer: Answer,
}

impl Reply {
    /// This answer at once.
    pub fn now(answer: Answer) -> Self {
        Self { submitted: None, after_millis: 0, heartbeat_millis: 0, answer }
    }
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// With this output.
    Succeeds(Payload),
    /// With an error name and a cause, empty for none.
    Fails(Str, Str),
    /// Never: timeouts and heartbeats pass.
    Never,
}

/// The outside world of a simulated execution.
pub trait Services {
    /// A task is scheduled.
    fn call(&mut self, request: &Request<'_>) -> Reply;

    /// A distributed Map reads an object, or a page of a listing. Gives its bytes, or the cause of
    /// `States.ItemReaderFailed`.
    ///
    /// # Errors
    /// When there is nothing to read; so it is where nobody says otherwise.
    fn read(&mut self, request: &Request<'_>) -> Result<Bytes, Str> {
        Err(ecow::eco_format!("There is nothing to read with {}", request.resource))
    }

    /// A distributed Map writes its results. Gives the cause of `States.ResultWriterFailed`.
    ///
    /// # Errors
    /// When they cannot be written; where nobody says otherwise they can.
    fn write(&mut self, _: &TaskPlace, _bucket: &str, _: Vec<ResultObject>) -> Result<(), Str> {
        Ok(())
    }
}

impl<F: FnMut(&Request<'_>) -> Reply> Services for F {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        self(request)
    }
}

/// How a simulation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulated {
    /// `None` when the execution waits for something that never comes, or the bound on events was reached.
    pub outcome: Option<Outcome>,
    /// The virtual time at the end.
    pub at: Timestamp,
    /// How many events the execution took in.
    pub events: u64,
}

/// Events after which a simulation gives up: more than any history has.
const EVENTS_MAX: u64 = 10_000_000;

/// Runs an execution to its end.
pub fn simulate<S: Services, O: Observer>(
    machine: &Arc<Machine>,
    start: StartContext,
    input: Payload,
    now: Timestamp,
    services: &mut S,
    observer: &mut O,
) -> Simulated {
    let mut effects = Vec::new();
    let mut execution = Family::start(machine, start, input, now, &mut effects, observer);
    let mut agenda = Agenda::new(now);
    let mut events = 0;
    loop {
        for effect in std::mem::take(&mut effects) {
            if let Effect::Finished(outcome) = effect {
                return Simulated { outcome: Some(outcome), at: agenda.now, events };
            }
            agenda.take_in(effect, &execution, services);
        }
        let timeout_is_set = machine.program.timeout_seconds.is_some();
        let event = agenda.next(timeout_is_set).filter(|_| events < EVENTS_MAX);
        let Some(event) = event else { return Simulated { outcome: None, at: agenda.now, events } };
        events += 1;
        execution.handle(event, agenda.now, &mut effects, observer);
    }
}

/// What is due, and when.
struct Agenda {
    now: Timestamp,
    asked: u64,
    due: BTreeMap<(Timestamp, u64), (EffectId, Event)>,
    /// The entries of an effect that is still wanted.
    by_effect: HashMap<EffectId, Vec<(Timestamp, u64)>>,
}

impl Agenda {
    fn new(now: Timestamp) -> Self {
        Self { now, asked: 0, due: BTreeMap::new(), by_effect: HashMap::new() }
    }

    fn add(&mut self, id: EffectId, at: Timestamp, event: Event) {
        self.asked += 1;
        self.due.insert((at, self.asked), (id, event));
        self.by_effect.entry(id).or_default().push((at, self.asked));
    }

    fn take_in<S: Services>(&mut self, effect: Effect, execution: &Family, services: &mut S) {
        match effect {
            // Nobody else wants a turn.
            Effect::Yield => self.add(EffectId::NEXT_TURN, self.now, Event::TimerFired(EffectId::NEXT_TURN)),
            Effect::ArmTimer { id, at } => self.add(id, at, Event::TimerFired(id)),
            Effect::CancelTimer(id) | Effect::CancelTask(id) => {
                for key in self.by_effect.remove(&id).unwrap_or_default() {
                    self.due.remove(&key);
                }
            }
            Effect::ScheduleTask { id, resource, input, .. } => {
                let Some(place) = execution.task_place(id) else { return };
                let request = Request { place: &place, resource: &resource, input: &input, at: self.now };
                let reply = services.call(&request);
                self.plan(id, reply);
            }
            Effect::ReadItems { id, resource, parameters } => {
                let Some(place) = execution.task_place(id) else { return };
                let request =
                    Request { place: &place, resource: &resource, input: &parameters, at: self.now };
                let event = match services.read(&request) {
                    Ok(body) => Event::ItemsRead { id, body },
                    Err(cause) => Event::TaskFailed { id, error: Str::new(), cause },
                };
                self.add(id, self.now, event);
            }
            Effect::WriteResults { id, bucket, objects, .. } => {
                let Some(place) = execution.task_place(id) else { return };
                let event = match services.write(&place, &bucket, objects) {
                    Ok(()) => Event::ResultsWritten(id),
                    Err(cause) => Event::TaskFailed { id, error: Str::new(), cause },
                };
                self.add(id, self.now, event);
            }
            // Children are within the family.
            Effect::StartChild { .. } | Effect::Finished(_) => {}
        }
    }

    fn plan(&mut self, id: EffectId, reply: Reply) {
        let Reply { submitted, after_millis, heartbeat_millis, answer } = reply;
        self.add(id, self.now, Event::TaskStarted { id, worker: Str::new() });
        if let Some(output) = submitted {
            self.add(id, self.now, Event::TaskSubmitted { id, output });
        }
        let mut beat = heartbeat_millis;
        while heartbeat_millis > 0 && beat < after_millis {
            self.add(id, self.now.plus_millis(beat), Event::TaskHeartbeat(id));
            beat = beat.saturating_add(heartbeat_millis);
        }
        let at = self.now.plus_millis(after_millis);
        match answer {
            Answer::Succeeds(output) => self.add(id, at, Event::TaskSucceeded { id, output }),
            Answer::Fails(error, cause) => self.add(id, at, Event::TaskFailed { id, error, cause }),
            Answer::Never => {}
        }
    }

    /// Moves the clock to what is due next. The execution's own timer counts only where the definition sets one, or where
    /// something else goes on: nobody wants to see a year pass because an answer is missing.
    fn next(&mut self, timeout_is_set: bool) -> Option<Event> {
        let (&(at, number), (id, _)) = self.due.iter().next()?;
        if *id == EffectId::EXECUTION_TIMER
            && !timeout_is_set
            && self.due.values().all(|(id, _)| id.is_execution_timer())
        {
            return None;
        }
        let (id, event) = self.due.remove(&(at, number))?;
        if let Entry::Occupied(mut entries) = self.by_effect.entry(id) {
            entries.get_mut().retain(|entry| *entry != (at, number));
            if entries.get().is_empty() {
                entries.remove();
            }
        }
        self.now = self.now.max(at);
        Some(event)
    }
}
