//! Tasks, waits and failures on purpose: what begins them, and the events that end them.

use super::effect::{Effect, EffectId};
use super::failure::{Failure, TIMEOUT};
use super::flow;
use super::run::{Run, Step, fault};
use super::threads::{TaskWork, Thread, Work};
use crate::history::{EventKind, Observer, TaskKind, TaskResource};
use crate::path::{EvalError, Path, Scope};
use crate::program::{Dynamic, Kind, State, TaskState, Text, Wait};
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str, Value};

/// The shortest and longest number of seconds of a timeout.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=99_999_999;

impl<'a, O: Observer> Run<'a, O> {
    pub(super) fn begin_task(
        &mut self,
        slot: u32,
        state: &'a State,
        task: &'a TaskState,
    ) -> Result<Step, EvalError> {
        let id = self.effect_id(slot);
        let resource = TaskResource::parse(&task.resource);
        let activity = resource.kind == TaskKind::Activity;
        let thread = self.threads.at(slot);
        let mut context = self.context(thread, state);
        context.task = (activity || resource.waits_for_token()).then_some(id);
        let input = flow::effective(&state.flow, &thread.input, &context)?;
        let seconds = |field, value: &Option<Dynamic<u64>>| match value {
            None => Ok(None),
            Some(value) => seconds_of(field, value, &thread.input, &context).map(Some),
        };
        let timeout_seconds = seconds("TimeoutSecondsPath", &task.timeout_seconds)?;
        let heartbeat_seconds = seconds("HeartbeatSecondsPath", &task.heartbeat_seconds)?;
        let input = if state.flow.parameters.is_none() { input } else { flow::bounded(input, &state.name)? };
        let credentials = task
            .credentials
            .as_ref()
            .map(|template| template.evaluate(&Scope::new(thread.input.value(), &context)));
        let credentials = credentials.transpose()?;
        self.note_input(slot, &input);
        let Thread { previous, silent, .. } = self.threads.at_mut(slot);
        let region = self.facts.machine.region();
        self.log.advance(
            previous,
            *silent,
            EventKind::TaskScheduled {
                resource: &task.resource,
                input: &input,
                region,
                credentials: credentials.as_ref(),
                timeout_seconds,
                heartbeat_seconds,
            },
        );
        if !activity {
            // A function or service counts as started at once, so that event ids do not depend on when a worker says so.
            self.log.advance(previous, *silent, EventKind::TaskStarted { resource: &task.resource });
        }
        self.effects.push(Effect::ScheduleTask {
            id,
            resource: task.resource.clone(),
            input,
            timeout_seconds,
            heartbeat_seconds,
        });
        let timer = |run: &mut Self, seconds: Option<u64>| {
            seconds.map(|seconds| run.arm(slot, run.now().plus_seconds(seconds)))
        };
        let timeout = timer(self, timeout_seconds);
        let heartbeat = timer(self, heartbeat_seconds);
        let heartbeat_seconds =
            heartbeat_seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(0);
        self.threads.at_mut(slot).work =
            Work::Task(TaskWork { id, timeout, heartbeat, heartbeat_seconds, started: !activity });
        Ok(Step::Idle)
    }

    pub(super) fn begin_wait(&mut self, slot: u32, state: &'a State, wait: &Wait) -> Result<Step, EvalError> {
        let thread = self.threads.at(slot);
        let at = match wait {
            Wait::Seconds(Dynamic::Constant(seconds)) => self.now().plus_seconds(*seconds),
            Wait::Until(Dynamic::Constant(at)) => *at,
            Wait::Seconds(Dynamic::Path(path)) => {
                let seconds = wait_seconds(path, &self.wait_input(thread, state)?, thread, state, self)?;
                self.now().plus_seconds(seconds)
            }
            Wait::Until(Dynamic::Path(path)) => {
                wait_until(path, &self.wait_input(thread, state)?, thread, state, self)?
            }
        };
        if at <= self.now() {
            return self.through(slot, state).map(|output| Step::Exit(slot, output, state.next));
        }
        let timer = self.arm(slot, at);
        self.threads.at_mut(slot).work = Work::Waiting(timer);
        Ok(Step::Idle)
    }

    fn wait_input(&self, thread: &Thread, state: &State) -> Result<Payload, EvalError> {
        flow::select(&state.flow.input_path, thread.input.clone(), &self.context(thread, state))
    }

    pub(super) fn begin_fail(&mut self, slot: u32, state: &'a State) -> Result<Step, EvalError> {
        let Kind::Fail { error, cause } = &state.kind else { return Ok(Step::Idle) };
        let thread = self.threads.at(slot);
        let context = self.context(thread, state);
        let text = |field, text: &Option<Text>| {
            text.as_ref().map(|text| fail_text(field, text, &thread.input, &context)).transpose()
        };
        let (error, cause) = (text("ErrorPath", error)?, text("CausePath", cause)?);
        Ok(Step::Fail(slot, Failure { error, cause, heartbeat: false }))
    }

    pub(super) fn task_started(&mut self, id: EffectId) -> Step {
        if let Some((slot, task, state)) = self.task(id)
            && !task.started
        {
            self.note_started(slot, &state.resource);
        }
        Step::Idle
    }

    pub(super) fn task_submitted(&mut self, id: EffectId, output: &Payload) -> Step {
        if let Some((slot, _, state)) = self.task(id) {
            let Thread { previous, silent, .. } = self.threads.at_mut(slot);
            let event = EventKind::TaskSubmitted { resource: &state.resource, output };
            self.log.advance(previous, *silent, event);
        }
        Step::Idle
    }

    pub(super) fn task_succeeded(&mut self, id: EffectId, output: Payload) -> Step {
        let Some((slot, task, state)) = self.task(id) else { return Step::Idle };
        let resource = TaskResource::parse(&state.resource);
        let what = if resource.service.is_empty() { resource.call } else { resource.service };
        let output = match flow::bounded(output, what) {
            Ok(output) => output,
            Err(EvalError { error, message }) => {
                return self.task_failed(id, Str::from(error), Str::from(message));
            }
        };
        self.cancel_timers(&task);
        if !task.started {
            self.note_started(slot, &state.resource);
        }
        let Thread { previous, silent, work, .. } = self.threads.at_mut(slot);
        *work = Work::Ready;
        let event = EventKind::TaskSucceeded { resource: &state.resource, output: &output };
        self.log.advance(previous, *silent, event);
        Step::Complete(slot, output)
    }

    pub(super) fn task_failed(&mut self, id: EffectId, error: Str, cause: Str) -> Step {
        let Some((slot, task, state)) = self.task(id) else { return Step::Idle };
        self.cancel_timers(&task);
        if !task.started {
            self.note_started(slot, &state.resource);
        }
        let given = |text: Str| (!text.is_empty()).then_some(text);
        let failure = Failure { error: given(error), cause: given(cause), heartbeat: false };
        let Thread { previous, silent, .. } = self.threads.at_mut(slot);
        let fault = fault(&failure.error, &failure.cause);
        self.log.advance(previous, *silent, EventKind::TaskFailed { resource: &state.resource, fault });
        Step::Fail(slot, failure)
    }

    pub(super) fn task_heartbeat(&mut self, id: EffectId) -> Step {
        if let Some((slot, mut task, _)) = self.task(id)
            && let Some(timer) = task.heartbeat
        {
            self.effects.push(Effect::CancelTimer(timer));
            let at = self.now().plus_seconds(u64::from(task.heartbeat_seconds));
            task.heartbeat = Some(self.arm(slot, at));
            self.threads.at_mut(slot).work = Work::Task(task);
        }
        Step::Idle
    }

    pub(super) fn timer_fired(&mut self, id: EffectId) -> Step {
        let slot = id.slot();
        let Some(thread) = self.threads.get(slot) else { return Step::Idle };
        match thread.work {
            Work::Waiting(timer) if timer == id => {
                let state = self.state(slot);
                self.threads.at_mut(slot).work = Work::Ready;
                match self.through(slot, state) {
                    Ok(output) => Step::Exit(slot, output, state.next),
                    Err(error) => Step::Fail(slot, self.evaluation_failed(slot, error)),
                }
            }
            Work::Retrying(timer) if timer == id => Step::Begin(slot),
            Work::Task(task) if task.timeout == Some(id) => {
                self.task_timed_out(slot, TaskWork { timeout: None, ..task }, false)
            }
            Work::Task(task) if task.heartbeat == Some(id) => {
                self.task_timed_out(slot, TaskWork { heartbeat: None, ..task }, true)
            }
            _ => Step::Idle,
        }
    }

    fn task_timed_out(&mut self, slot: u32, task: TaskWork, heartbeat: bool) -> Step {
        self.effects.push(Effect::CancelTask(task.id));
        self.cancel_timers(&task);
        let failure = Failure { error: Some(Str::from(TIMEOUT)), cause: None, heartbeat };
        if let Kind::Task(state) = &self.state(slot).kind {
            let Thread { previous, silent, .. } = self.threads.at_mut(slot);
            let fault = fault(&failure.error, &failure.cause);
            self.log.advance(previous, *silent, EventKind::TaskTimedOut { resource: &state.resource, fault });
        }
        Step::Fail(slot, failure)
    }

    /// A task that is still wanted.
    fn task(&self, id: EffectId) -> Option<(u32, TaskWork, &'a TaskState)> {
        let slot = id.slot();
        let Work::Task(task) = self.threads.get(slot)?.work else { return None };
        let Kind::Task(state) = &self.state(slot).kind else { return None };
        (task.id == id).then_some((slot, task, state))
    }

    fn note_started(&mut self, slot: u32, resource: &Str) {
        let Thread { previous, silent, work, .. } = self.threads.at_mut(slot);
        if let Work::Task(task) = work {
            task.started = true;
        }
        self.log.advance(previous, *silent, EventKind::TaskStarted { resource });
    }

    pub(super) fn cancel_timers(&mut self, task: &TaskWork) {
        for timer in [task.timeout, task.heartbeat].into_iter().flatten() {
            self.effects.push(Effect::CancelTimer(timer));
        }
    }
}

/// `Error` and `Cause`, `ErrorPath` and `CausePath`.
fn fail_text(
    field: &str,
    text: &Text,
    input: &Payload,
    context: &super::context::Context<'_>,
) -> Result<Str, EvalError> {
    let (found, source) = match text {
        Text::Constant(text) => return Ok(text.clone()),
        Text::Path(path) => {
            let input = input.value();
            let found = path
                .evaluate(&Scope::new(input, context))
                .map_err(|_| EvalError::not_found(path, field, input))?;
            (found, path.text())
        }
        Text::Intrinsic(intrinsic) => {
            let scope = Scope::new(input.value(), context);
            (intrinsic.evaluate(&scope).map_err(EvalError::uncaught)?, intrinsic.text())
        }
    };
    found.as_text().cloned().ok_or_else(|| {
        EvalError::runtime(format!(
            "The {field} field refers to value {found} which is not a string: {source}"
        ))
    })
}

/// `TimeoutSecondsPath` and `HeartbeatSecondsPath`.
fn seconds_of(
    field: &str,
    seconds: &Dynamic<u64>,
    raw: &Payload,
    context: &super::context::Context<'_>,
) -> Result<u64, EvalError> {
    let path = match seconds {
        Dynamic::Constant(seconds) => return Ok(*seconds),
        Dynamic::Path(path) => path,
    };
    let found = flow::at(path, raw.value(), context)?;
    match found.as_u64() {
        Some(seconds) if TIMEOUT_SECONDS.contains(&seconds) => Ok(seconds),
        Some(seconds) => Err(EvalError::runtime(format!(
            "The {field} field refers to value {seconds} which is not between {} and {}: {}",
            TIMEOUT_SECONDS.start(),
            TIMEOUT_SECONDS.end(),
            path.text()
        ))),
        None => Err(EvalError::not_an_integer(path, field, &found)),
    }
}

impl EvalError {
    /// For a field such as `TimeoutSecondsPath` whose path leads to something else than a count.
    pub(super) fn not_an_integer(path: &Path, field: &str, found: &Value) -> Self {
        Self::runtime(format!(
            "The {field} field refers to value \"{}\" which is not a valid integer: {}",
            plain(found),
            path.text()
        ))
    }
}

fn wait_seconds<O: Observer>(
    path: &Path,
    input: &Payload,
    thread: &Thread,
    state: &State,
    run: &Run<'_, O>,
) -> Result<u64, EvalError> {
    let found = wait_parameter("SecondsPath", path, input, thread, state, run)?;
    let told = |problem: &str| {
        EvalError::runtime(format!(
            "The SecondsPath parameter {problem}: {} == {}",
            path.text(),
            plain(&found)
        ))
    };
    match (found.as_u64(), found.as_i64()) {
        (Some(seconds), _) => Ok(seconds),
        (None, Some(_)) => Err(told("references a negative value")),
        (None, None) => Err(told("cannot be parsed as a long value")),
    }
}

fn wait_until<O: Observer>(
    path: &Path,
    input: &Payload,
    thread: &Thread,
    state: &State,
    run: &Run<'_, O>,
) -> Result<Timestamp, EvalError> {
    let found = wait_parameter("TimestampPath", path, input, thread, state, run)?;
    let parsed = found.as_str().and_then(|text| Timestamp::parse(text).ok());
    parsed.ok_or_else(|| {
        EvalError::runtime(format!(
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format \
             string: {} == {}",
            path.text(),
            plain(&found)
        ))
    })
}

fn wait_parameter<O: Observer>(
    field: &str,
    path: &Path,
    input: &Payload,
    thread: &Thread,
    state: &State,
    run: &Run<'_, O>,
) -> Result<Value, EvalError> {
    let context = run.context(thread, state);
    path.evaluate(&Scope::new(input.value(), &context)).map_err(|_| {
        EvalError::runtime(format!(
            "The {field} parameter does not reference an input value: {}",
            path.text()
        ))
    })
}

/// A value in a message: a string without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_json_string(), str::to_owned)
}
