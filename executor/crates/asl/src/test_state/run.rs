//! Runs the tested state to its end, in virtual time.

use std::sync::Arc;

use bytes::Bytes;

use super::checks::Work;
use super::context::Names;
use super::inspector::Inspector;
use super::isolate::Around;
use super::{Rejection, TestState, Tested, isolate};
use crate::execution::{
    Effect, EffectId, Event, Execution, Machine, Outcome, Settled, Standing, StartContext,
};
use crate::map::STATE_DATA;
use crate::program::{Kind, Program, State};
use crate::timestamp::Timestamp;
use crate::value::{Map, Str, Value};
use crate::variables::Variables;

/// The longest that a test may take, in seconds, before it fails with `States.Timeout`.
const SECONDS_MAX: u64 = 300;
/// A test that took too long.
const TIMEOUT: &str = "States.Timeout";
/// More than one state has. What follows the state has to end somewhere, even where it leads back to itself.
const EVENTS_MAX: u64 = 64;

/// Runs it.
pub(super) fn run(
    request: &TestState<'_>,
    program: Program,
    around: Around,
    work: Work,
) -> Result<Tested, Rejection> {
    let machine = Arc::new(machine(request, program, around));
    let mut test = Test {
        request,
        work,
        now: request.now,
        timers: Vec::new(),
        inspector: Inspector::default(),
        failed: None,
    };
    let mut effects = Vec::new();
    let mut execution = Execution::inspect(
        &machine,
        StartContext::default(),
        request.input.clone(),
        standing(request),
        test.now,
        &mut effects,
        &mut test.inspector,
    );
    let state = isolate::tested(&machine.program);
    test.drive(state, &mut execution, &mut effects)?;
    let Test { inspector, failed, .. } = test;
    Ok(inspector.into_tested(state, request.level, request.variables.clone(), failed))
}

struct Test<'a, 'r> {
    request: &'a TestState<'r>,
    /// How the work ends; taken when it does.
    work: Work,
    now: Timestamp,
    timers: Vec<(Timestamp, EffectId)>,
    inspector: Inspector,
    /// Error and cause, where it failed for good.
    failed: Option<(Option<Str>, Option<Str>)>,
}

impl Test<'_, '_> {
    /// Answers what the state asks for until it has ended. Each round reads the items, ends the work or fires a timer, none
    /// of which comes back for ever.
    fn drive(
        &mut self,
        state: &State,
        execution: &mut Execution,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejection> {
        loop {
            let mut event = None;
            for effect in std::mem::take(effects) {
                match effect {
                    Effect::Finished(outcome) => {
                        self.failed = Some(fault(outcome));
                        return Ok(());
                    }
                    Effect::ArmTimer { id, at } => self.timers.push((at, id)),
                    Effect::CancelTimer(id) => self.timers.retain(|(_, armed)| *armed != id),
                    other => event = self.answer(other).or(event),
                }
            }
            if self.inspector.has_seen_the_end() {
                return Ok(());
            }
            if event.is_none()
                && let Some(work) = self.work.take()
            {
                let failed_items = self.failed_items(state)?;
                let settled = Settled { work, failed_items };
                execution.settle(settled, self.now, effects, &mut self.inspector);
                continue;
            }
            let Some(event) = event.or_else(|| self.fire()) else { return Ok(()) };
            execution.handle(event, self.now, effects, &mut self.inspector);
        }
    }

    /// How many items of a distributed Map failed: no more than it has, where it is known how many these are.
    fn failed_items(&self, state: &State) -> Result<u64, Rejection> {
        let configuration = &self.request.configuration;
        let failed = configuration.map_iteration_failure_count.unwrap_or(0);
        let Kind::Map(map) = &state.kind else { return Ok(failed) };
        let Some(distributed) = &map.distributed else { return Ok(failed) };
        let read = distributed.reader.is_none() || configuration.map_item_reader_data.is_some();
        let items = self.inspector.items();
        if read && failed > items {
            let message = format!("mapIterationFailureCount is {failed}, but the Map has {items} items");
            return Err(Rejection::validation(message));
        }
        Ok(failed)
    }

    /// What answers an effect at once.
    fn answer(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::ScheduleTask { id, .. } => Some(match self.work.take()? {
                Ok(output) => Event::TaskSucceeded { id, output },
                Err((error, cause)) => Event::TaskFailed { id, error, cause: cause.unwrap_or_default() },
            }),
            Effect::ReadItems { id, .. } => {
                let data = self.request.configuration.map_item_reader_data.clone()?;
                Some(Event::ItemsRead { id, body: Bytes::from(data) })
            }
            _ => None,
        }
    }

    /// The timer that is due first.
    fn fire(&mut self) -> Option<Event> {
        let first = (0..self.timers.len()).min_by_key(|at| self.timers[*at])?;
        let (at, id) = self.timers.swap_remove(first);
        self.now = at;
        Some(Event::TimerFired(id))
    }
}

fn fault(outcome: Outcome) -> (Option<Str>, Option<Str>) {
    match outcome {
        Outcome::Succeeded(_) => (None, None),
        Outcome::Failed { error, cause } | Outcome::Aborted { error, cause } => (error, cause),
        Outcome::TimedOut { error, cause } => (error.or(Some(TIMEOUT.into())), cause),
    }
}

fn standing(request: &TestState<'_>) -> Standing {
    let variables = request.variables.as_ref().map(|given| {
        let mut variables = Variables::default();
        for (name, value) in given {
            variables.assign(name.clone(), value.clone());
        }
        variables
    });
    Standing { variables, retries: request.configuration.retrier_retry_count }
}

fn machine(request: &TestState<'_>, program: Program, around: Around) -> Machine {
    let item = match around {
        Around::Nothing => None,
        Around::Inline => Some(first_item(request, None)),
        Around::Distributed => Some(first_item(request, Some(STATE_DATA))),
    };
    let names = Names { identity: request.identity.clone(), given: request.context.clone(), item };
    let identity = &request.identity;
    Machine {
        program: Arc::new(program),
        arn: names.arn("stateMachine", &identity.machine),
        name: identity.machine.clone(),
        role_arn: ecow::eco_format!("arn:aws:iam::{}:role/{}", identity.account, identity.role),
        mode_timeout_seconds: SECONDS_MAX,
        history_events_max: EVENTS_MAX,
        names: Box::new(names),
    }
}

/// `$$.Map.Item` of a state inside of a Map: its input as the first item.
fn first_item(request: &TestState<'_>, source: Option<&str>) -> Value {
    let mut item = Map::with_capacity(3);
    item.insert("Index", Value::from(0_i64));
    item.insert("Value", request.input.value().clone());
    if let Some(source) = source {
        item.insert("Source", Value::from(source));
    }
    Value::from(item)
}
