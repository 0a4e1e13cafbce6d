//! Tasks, waits and failures on purpose: what begins them, and the events that end them.

use super::dynamic;
use super::effect::{Effect, EffectId};
use super::failure::{Failure, TIMEOUT};
use super::flow;
use super::run::{Run, Step, fault};
use super::threads::{Pause, STARTED, TaskWork, Thread, Work};
use crate::history::{EventKind, Field, Observer, TaskKind, TaskResource};
use crate::path::EvalError;
use crate::program::{DataFlow, Dialect, Dynamic, Kind, State, TaskState, Text, Wait};
use crate::qrn;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

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
        let input = flow::effective(&state.flow, &thread.input, &context, &mut self.log)?;
        let seconds = |field, value: &Option<Dynamic<u64>>| match value {
            None => Ok(None),
            Some(value) => dynamic::timeout(field, value, &thread.input, &context).map(Some),
        };
        let timeout_seconds = seconds("TimeoutSeconds", &task.timeout_seconds)?;
        let heartbeat_seconds = seconds("HeartbeatSeconds", &task.heartbeat_seconds)?;
        let credentials =
            task.credentials.as_ref().map(|template| template.evaluate(&context.scope(thread.input.value())));
        let credentials = credentials.transpose()?;
        self.note_input(slot, &input);
        let Thread { previous, .. } = self.threads.at_mut(slot);
        let region = self.facts.machine.region();
        self.log.advance(
            previous,
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
            self.log.advance(previous, EventKind::TaskStarted { resource: &task.resource, worker: "" });
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
        let heartbeat = match activity {
            // It is due once a worker has taken the task up, and has its number from here on, as in journals from before that was so.
            true => heartbeat_seconds.map(|_| self.effect_id(slot)),
            false => timer(self, heartbeat_seconds),
        };
        let bounded =
            |seconds: Option<u64>| seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(0);
        let heartbeat_seconds = bounded(heartbeat_seconds);
        let heartbeat_at = self.now().plus_seconds(u64::from(heartbeat_seconds));
        let to_start = if activity { bounded(timeout_seconds) } else { STARTED };
        self.threads.at_mut(slot).work =
            Work::Task(TaskWork { id, timeout, heartbeat, heartbeat_seconds, heartbeat_at, to_start });
        Ok(Step::Idle)
    }

    /// All but what it passes on is evaluated before it waits: its effective input, and until when. Of an instant Step
    /// Functions drops the milliseconds.
    pub(super) fn begin_wait(&mut self, slot: u32, state: &'a State, wait: &Wait) -> Result<Step, EvalError> {
        let input = self.select_input(slot, state)?;
        let at = match wait {
            Wait::Seconds(Dynamic::Constant(seconds)) => self.now().plus_seconds(*seconds),
            Wait::Until(Dynamic::Constant(at)) => at.whole_second(),
            evaluated => self.evaluate_wait(slot, state, evaluated, &input)?,
        };
        if at <= self.now() {
            return self.leave_without_work(slot, state, input, state.next);
        }
        let (timer, since, keeps) = (self.arm(slot, at), self.now(), self.kept.is_some());
        let thread = self.threads.at_mut(slot);
        let raw = std::mem::replace(&mut thread.input, input);
        let raw = keeps.then(|| Box::new(raw));
        thread.work = Work::Waiting(Pause { timer, since, until: at, raw });
        Ok(Step::Idle)
    }

    fn evaluate_wait(
        &self,
        slot: u32,
        state: &State,
        wait: &Wait,
        input: &Payload,
    ) -> Result<Timestamp, EvalError> {
        let context = self.context(self.threads.at(slot), state);
        match wait {
            Wait::Seconds(seconds) => dynamic::wait_seconds(seconds, input, &context)
                .map(|seconds| self.now().plus_seconds(seconds)),
            Wait::Until(instant) => {
                dynamic::wait_until(instant, input, &context).map(Timestamp::whole_second)
            }
        }
    }

    pub(super) fn begin_fail(&mut self, slot: u32, state: &'a State) -> Result<Step, EvalError> {
        let Kind::Fail { error, cause } = &state.kind else { return Ok(Step::Idle) };
        let thread = self.threads.at(slot);
        let context = self.context(thread, state);
        let text = |field: &str, text: &Option<Text>| match text {
            None => Ok(None),
            Some(Text::Constant(text)) => Ok(Some(text.clone())),
            Some(evaluated) => {
                dynamic::fault(field, evaluated, &context.scope(thread.input.value())).map(Some)
            }
        };
        let (error, cause) = (text("Error", error)?, text("Cause", cause)?);
        if let DataFlow::JsonPath(_) = &state.flow {
            self.log.data(Field::InputPath, &thread.input);
        }
        Ok(Step::Fail(slot, Box::new(Failure { error, cause, heartbeat: false })))
    }

    /// A worker has taken up an activity's task: its time begins to count anew, as Step Functions counts it, and its
    /// heartbeats are due.
    pub(super) fn task_started(&mut self, id: EffectId, worker: &str) -> Step {
        let Some((slot, mut task, state)) = self.task(id) else { return Step::Idle };
        if task.has_started() {
            return Step::Idle;
        }
        let after = |run: &Self, seconds: u32| run.now().plus_seconds(u64::from(seconds));
        if let Some(timer) = task.timeout.take() {
            self.effects.push(Effect::CancelTimer(timer));
            task.timeout = Some(self.arm(slot, after(self, task.to_start)));
        }
        if let Some(timer) = task.heartbeat {
            task.heartbeat_at = after(self, task.heartbeat_seconds);
            self.effects.push(Effect::ArmTimer { id: timer, at: task.heartbeat_at });
        }
        self.threads.at_mut(slot).work = Work::Task(task);
        self.note_started(slot, &state.resource, worker);
        Step::Idle
    }

    pub(super) fn task_submitted(&mut self, id: EffectId, output: &Payload) -> Step {
        if let Some((slot, _, state)) = self.task(id) {
            let Thread { previous, .. } = self.threads.at_mut(slot);
            let event = EventKind::TaskSubmitted { resource: &state.resource, output };
            self.log.advance(previous, event);
        }
        Step::Idle
    }

    /// What came in is a result, but for a cloud API's envelope that says in TCSL that the call failed.
    pub(super) fn task_succeeded(&mut self, id: EffectId, output: Payload) -> Step {
        let Some((slot, task, state)) = self.task(id) else { return Step::Idle };
        let resource = TaskResource::parse(&state.resource);
        let what = if resource.service.is_empty() { resource.call } else { resource.service };
        let output = match flow::bounded(output, what, self.spent) {
            Ok(output) => output,
            Err(EvalError { error, message, .. }) => {
                return self.task_failed(id, Str::from(error), Str::from(message));
            }
        };
        if self.program.dialect == Dialect::Tcsl
            && let Some((error, cause)) = qrn::failure(&state.resource, &output)
        {
            return self.task_failed(id, error, cause);
        }
        self.cancel_timers(&task);
        if !task.has_started() {
            self.note_started(slot, &state.resource, "");
        }
        let Thread { previous, work, .. } = self.threads.at_mut(slot);
        *work = Work::Ready;
        let event = EventKind::TaskSucceeded { resource: &state.resource, output: &output };
        self.log.advance(previous, event);
        Step::Complete(slot, Box::new(output))
    }

    pub(super) fn task_failed(&mut self, id: EffectId, error: Str, cause: Str) -> Step {
        let Some((slot, task, state)) = self.task(id) else { return self.transfer_failed(id, cause) };
        self.cancel_timers(&task);
        if !task.has_started() {
            self.note_started(slot, &state.resource, "");
        }
        let given = |text: Str| (!text.is_empty()).then_some(text);
        let failure = Failure { error: given(error), cause: given(cause), heartbeat: false };
        let Thread { previous, .. } = self.threads.at_mut(slot);
        let fault = fault(&failure.error, &failure.cause);
        self.log.advance(previous, EventKind::TaskFailed { resource: &state.resource, fault });
        Step::Fail(slot, Box::new(failure))
    }

    pub(super) fn task_heartbeat(&mut self, id: EffectId) -> Step {
        if let Some((slot, mut task, _)) = self.task(id)
            && let Some(timer) = task.armed_heartbeat()
        {
            self.effects.push(Effect::CancelTimer(timer));
            // Never earlier: a replay is not told of heartbeats, and has to find the timer due where it fired live, also where the
            // clock had gone back.
            let next = self.now().plus_seconds(u64::from(task.heartbeat_seconds));
            task.heartbeat_at = task.heartbeat_at.max(next);
            self.effects.push(Effect::ArmTimer { id: timer, at: task.heartbeat_at });
            self.threads.at_mut(slot).work = Work::Task(task);
        }
        Step::Idle
    }

    pub(super) fn timer_fired(&mut self, id: EffectId) -> Step {
        let slot = id.slot();
        let Some(thread) = self.threads.get(slot) else { return Step::Idle };
        match thread.work {
            Work::Waiting(Pause { timer, .. }) if timer == id => self.wait_is_over(slot),
            Work::Retrying(timer) if timer == id => Step::Begin(slot),
            Work::Task(task) if task.timeout == Some(id) => {
                self.task_timed_out(slot, TaskWork { timeout: None, ..task }, false)
            }
            // It may have fired before it was moved.
            Work::Task(task) if task.heartbeat == Some(id) && task.heartbeat_at <= self.now() => {
                self.task_timed_out(slot, TaskWork { heartbeat: None, ..task }, true)
            }
            _ => Step::Idle,
        }
    }

    /// A Wait has waited.
    pub(super) fn wait_is_over(&mut self, slot: u32) -> Step {
        let state = self.state(slot);
        let thread = self.threads.at_mut(slot);
        let input = std::mem::take(&mut thread.input);
        if let Work::Waiting(Pause { raw: Some(raw), .. }) = std::mem::replace(&mut thread.work, Work::Ready)
        {
            thread.input = *raw;
        }
        match self.leave_without_work(slot, state, input, state.next) {
            Ok(step) => step,
            Err(error) => Step::Fail(slot, self.evaluation_failed(slot, error)),
        }
    }

    fn task_timed_out(&mut self, slot: u32, task: TaskWork, heartbeat: bool) -> Step {
        self.effects.push(Effect::CancelTask(task.id));
        self.cancel_timers(&task);
        let failure = Failure { error: Some(Str::from(TIMEOUT)), cause: None, heartbeat };
        if let Kind::Task(state) = &self.state(slot).kind {
            let Thread { previous, .. } = self.threads.at_mut(slot);
            let fault = fault(&failure.error, &failure.cause);
            self.log.advance(previous, EventKind::TaskTimedOut { resource: &state.resource, fault });
        }
        Step::Fail(slot, Box::new(failure))
    }

    /// A task that is still wanted.
    fn task(&self, id: EffectId) -> Option<(u32, TaskWork, &'a TaskState)> {
        let slot = id.slot();
        let Work::Task(task) = self.threads.get(slot)?.work else { return None };
        let Kind::Task(state) = &self.state(slot).kind else { return None };
        (task.id == id).then_some((slot, task, state))
    }

    fn note_started(&mut self, slot: u32, resource: &Str, worker: &str) {
        let Thread { previous, work, .. } = self.threads.at_mut(slot);
        if let Work::Task(task) = work {
            task.to_start = STARTED;
        }
        self.log.advance(previous, EventKind::TaskStarted { resource, worker });
    }

    pub(super) fn cancel_timers(&mut self, task: &TaskWork) {
        for timer in [task.timeout, task.armed_heartbeat()].into_iter().flatten() {
            self.effects.push(Effect::CancelTimer(timer));
        }
    }
}
