//! Calls of integrations: what a Task asks of the outside world, until its end.
//!
//! Purpose: a call is a flight of the shard, on its thread; its answer is told to the execution as a worker's outcome is. A job
//! that was begun (`.sync`) is followed to its end; of a task that waits for its token nothing is left to do once its request
//! was answered. Invariants: a call of a STANDARD execution leaves only after the block that holds its cause, one of a
//! synchronous EXPRESS one with its opening, any other at once; none leaves of a log that hands nothing out now, as no task
//! does: it is *parked* in a line of that log; whatever is no longer wanted is dropped, which ends its HTTP request; that a job
//! was submitted is journalled, so that a recovery follows it and begins it no second time, while a call without an answer is
//! made again under the same [`Names::attempt`]; calls, and jobs that are followed, are as many as executions are admitted to
//! make, and how many are under way at once is bounded where they are made (the HTTP client's targets and turns,
//! [`limits::CALLS_MAX`]), so that none waits here for what another waits for; a job whose task is over for good is stopped, once
//! it is durable that it is, and one whose execution goes on elsewhere is left
//! alone. What may fail: the call, which fails its task; that a job is stopped is tried, and not journalled.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use asl::history::TaskResource;
use asl::{EffectId, Event, Payload, Str};
use futures_util::future::{AbortHandle, abortable};
use ids::{ExecutionId, Mode, TraceContext};
use tasks::{Answer, Failure, Integration, Integrations, Names, Origin, Request};
use telemetry::{CallMetrics, ShardMetrics};

use super::core::{Landed, Shard};
use super::crumbs;
use super::errand::{Errand, Through};
use super::execution::Waiting;
use super::functions;
use super::line::Line;
use super::log::Log;
use super::machine::Machine;
use super::slab::{Address, Slab};
use super::workers::cut;
use crate::limits;

/// What a Task asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub resource: Str,
    pub input: Payload,
    /// In the place of the machine's.
    pub role_arn: Option<Str>,
}

/// A call that somebody waits for.
struct Call {
    execution: Address,
    effect: EffectId,
    request: Rc<Request>,
    integration: Rc<dyn Integration>,
    /// What was told when its job had begun.
    submitted: Option<Payload>,
    /// Drops it; there is none before it may leave.
    abort: Option<AbortHandle>,
    /// The place of its partition's log.
    log: u16,
    /// Whether it stands in the line of its log.
    parked: bool,
    begun_us: u64,
    errand: Errand,
}

/// A job that was begun, and that nobody waits for any more.
pub(super) struct Job {
    request: Rc<Request>,
    integration: Rc<dyn Integration>,
    submitted: Payload,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} of {})", self.request.resource, self.request.origin.names.execution_arn())
    }
}

/// The calls of a shard.
pub(super) struct Calls {
    pub integrations: Integrations,
    entries: Slab<Call>,
    /// Calls of logs that hand nothing out now, by the log's place.
    parked: Vec<Line>,
    metrics: Arc<ShardMetrics>,
}

impl Calls {
    pub fn new(integrations: Integrations, metrics: Arc<ShardMetrics>) -> Self {
        Self { integrations, entries: Slab::default(), parked: Vec::new(), metrics }
    }

    /// Calls that have not come to their end, those among them that have not left.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The answer is no longer wanted.
    pub fn cancel(&mut self, at: Address) {
        let Some(entry) = self.entries.remove(at) else { return };
        if let Some(line) = self.parked.get_mut(usize::from(entry.log)).filter(|_| entry.parked) {
            line.left(&self.entries);
        }
        self.cells(&entry).cancelled.add(1);
        if let Some(abort) = entry.abort {
            abort.abort();
        }
    }

    /// Whether the task of a call is over only when its token comes back.
    pub fn calls_back(&self, at: Address) -> bool {
        let entry = self.entries.get(at);
        entry.is_some_and(|entry| TaskResource::parse(&entry.request.resource).waits_for_token())
    }

    /// The job that a call follows, if it has begun one.
    pub fn job(&self, at: Address) -> Option<Job> {
        let entry = self.entries.get(at)?;
        let (request, integration) = (Rc::clone(&entry.request), Rc::clone(&entry.integration));
        Some(Job { request, integration, submitted: entry.submitted.clone()? })
    }

    /// Puts a call in the line of its log, if that hands nothing out now.
    fn park(&mut self, at: Address, hands_out: impl Fn(u16) -> bool) -> bool {
        let Some(entry) = self.entries.get_mut(at).filter(|entry| !hands_out(entry.log)) else {
            return false;
        };
        let log = usize::from(entry.log);
        entry.parked = true;
        if self.parked.len() <= log {
            self.parked.resize_with(log + 1, Line::default);
        }
        self.parked[log].push_back(at);
        true
    }

    /// Takes the first call out of the line of a log.
    fn unpark(&mut self, log: usize) -> Option<Address> {
        let at = self.parked[log].pop_front(&self.entries)?;
        self.entries.get_mut(at)?.parked = false;
        Some(at)
    }

    fn cells(&self, entry: &Call) -> &CallMetrics {
        &self.metrics.calls[entry.integration.kind() as usize]
    }
}

/// Who asks for something, and which of its effects that is.
#[derive(Debug)]
struct Asker {
    machine: Rc<Machine>,
    id: ExecutionId,
    name: Option<Box<str>>,
    effect: EffectId,
    /// Of its log.
    generation: u64,
    trace: Option<TraceContext>,
}

impl Names for Asker {
    fn execution_arn(&self) -> Str {
        let generated = self.name.is_none().then(|| self.id.to_string());
        let name = self.name.as_deref().or(generated.as_deref()).unwrap_or_default();
        self.machine.name.execution(self.machine.key.mode, name, self.id).into()
    }

    fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// The run of a STANDARD execution is one.
    fn attempt(&self) -> Str {
        let Self { id, effect, generation, .. } = self;
        match self.machine.key.mode {
            Mode::Standard => format!("{id}-{:x}", effect.0),
            // It begins anew after a recovery, and what it asks for then need not be the same.
            Mode::Express | Mode::SyncExpress => format!("{id}-{:x}-{generation:x}", effect.0),
        }
        .into()
    }
}

/// An answer that a journal takes. The language looks at it again, with its own limit.
fn bounded(answer: Answer, resource: &str) -> Result<Answer, Failure> {
    let (Answer::Output(output) | Answer::Submitted(output)) = &answer;
    if output.len() <= limits::TASK_OUTPUT_BYTES_MAX {
        return Ok(answer);
    }
    let cause = format!(
        "The state/task '{resource}' returned a result with a size exceeding the maximum number of bytes service limit."
    );
    Err(Failure::new("States.DataLimitExceeded", cause))
}

impl Shard {
    /// An execution asks an integration for something.
    pub(super) fn call(
        &mut self,
        address: Address,
        effect: EffectId,
        integration: Rc<dyn Integration>,
        asked: Asked,
    ) {
        let Some(at) = self.add_call(address, effect, integration, asked, None) else { return };
        let Some(open) = self.open.get(address) else { return };
        let log = &mut self.logs[usize::from(open.log)];
        match log.page_of_cause(open) {
            Some(page) => page.calls.push(at),
            None => self.begin_call(at),
        }
    }

    /// A recovered execution waits for a task that was submitted: a job is followed to its end, and a token just waited for.
    pub(super) fn resume(&mut self, address: Address, effect: EffectId, asked: Asked, submitted: Payload) {
        if TaskResource::parse(&asked.resource).waits_for_token() {
            return self.wait_for_token(address, effect);
        }
        let Some(integration) = self.calls.integrations.find(&asked.resource).map(Rc::clone) else {
            let (error, cause) = functions::unbound(&asked.resource);
            return self.refused.push_back((address, Event::TaskFailed { id: effect, error, cause }));
        };
        let at = self.add_call(address, effect, integration, asked, Some(submitted));
        at.into_iter().for_each(|at| self.begin_call(at));
    }

    fn add_call(
        &mut self,
        address: Address,
        effect: EffectId,
        integration: Rc<dyn Integration>,
        asked: Asked,
        submitted: Option<Payload>,
    ) -> Option<Address> {
        let Asked { resource, input, role_arn } = asked;
        let open = self.open.get_mut(address)?;
        let generation = self.logs[usize::from(open.log)].generation;
        let (machine, id, name) = (Rc::clone(&open.machine), open.id, open.name.clone());
        let (machine_arn, machines_role) = machine.arns();
        let trace = open.onwards(effect);
        let names = Rc::new(Asker { machine, id, name, effect, generation, trace });
        let role_arn = role_arn.unwrap_or_else(|| machines_role.clone());
        let origin = Origin { names, machine_arn, role_arn, machine_role_arn: machines_role };
        // The call outlives the frame that its input came in.
        let request = Rc::new(Request { resource, input: input.without_frame(), origin });
        let (begun_us, log, parked) = (self.now_us, open.log, false);
        let (execution, abort) = (address, None);
        let through = Through::Integration(integration.kind());
        let errand = self.targets.errand(through, &integration.target(&request), begun_us);
        let at = self.calls.entries.insert(Call {
            execution,
            effect,
            request,
            integration,
            submitted,
            abort,
            log,
            parked,
            begun_us,
            errand,
        });
        let before = open.waiting_for.insert(effect, Waiting::Call(at));
        before.into_iter().for_each(|before| self.give_up(before));
        Some(at)
    }

    /// Begins what was parked of logs that hand out again.
    pub(super) fn begin_parked_calls(&mut self) {
        for log in 0..self.calls.parked.len() {
            while self.logs.get(log).is_some_and(|log| log.hands_out(self.now_us))
                && let Some(at) = self.calls.unpark(log)
            {
                self.begin_call(at);
            }
        }
    }

    /// Makes a call, unless it was cancelled meanwhile; parks it while its log hands nothing out.
    pub(super) fn begin_call(&mut self, at: Address) {
        let (logs, now_us) = (&self.logs, self.now_us);
        let hands_out = |log| logs.get(usize::from(log)).is_some_and(|log: &Log| log.hands_out(now_us));
        if self.calls.park(at, hands_out) {
            return;
        }
        let Some(entry) = self.calls.entries.get_mut(at) else { return };
        let Some(id) = self.open.get(entry.execution).map(|open| open.id) else {
            return self.calls.cancel(at);
        };
        entry.begun_us = self.now_us;
        let (integration, request) = (Rc::clone(&entry.integration), Rc::clone(&entry.request));
        let submitted = entry.submitted.clone();
        let (called, abort) = abortable(async move {
            crumbs::failpoint(&request.resource);
            match submitted {
                None => integration.begin(&request).await,
                Some(submitted) => integration.complete(&request, &submitted).await.map(Answer::Output),
            }
        });
        entry.abort = Some(abort);
        let called = Rc::clone(&self.crumb).around(id, called);
        self.flights.push(Box::pin(async move { Landed::Called { call: at, result: called.await.ok() } }));
    }

    /// A call was answered; without a result it was cancelled.
    pub(super) fn called(&mut self, at: Address, result: Option<Result<Answer, Failure>>) {
        let Some(result) = result else { return };
        let Some(entry) = self.calls.entries.get_mut(at) else { return };
        let (execution, id) = (entry.execution, entry.effect);
        let journalled = self.open.get(execution).is_some_and(|open| open.machine.is_standard());
        let bound = |answer| if journalled { bounded(answer, &entry.request.resource) } else { Ok(answer) };
        let result = result.and_then(bound);
        if entry.submitted.is_none() {
            let latency_us = self.now_us.saturating_sub(entry.begun_us);
            self.metrics.calls[entry.integration.kind() as usize].latency.observe(latency_us);
        }
        if let Ok(Answer::Submitted(output)) = &result {
            entry.submitted = Some(output.clone());
            let output = output.clone();
            self.deliver(execution, Event::TaskSubmitted { id, output });
            return self.begin_call(at);
        }
        let Some(mut entry) = self.calls.entries.remove(at) else { return };
        entry.errand.end(result.is_ok(), self.now_us);
        if let Some(open) = self.open.get_mut(execution) {
            open.waiting_for.remove(id, true);
        }
        let cells = self.calls.cells(&entry);
        match result {
            Ok(Answer::Output(output) | Answer::Submitted(output)) => {
                cells.answered.add(1);
                match TaskResource::parse(&entry.request.resource).waits_for_token() {
                    true => self.submitted(execution, id, output),
                    false => self.deliver(execution, Event::TaskSucceeded { id, output }),
                }
            }
            Err(Failure { error, cause }) => {
                cells.failed.add(1);
                let (error, cause) = (
                    cut(&error, limits::ERROR_BYTES_MAX).into(),
                    cut(&cause, limits::CAUSE_BYTES_MAX).into(),
                );
                self.deliver(execution, Event::TaskFailed { id, error, cause });
            }
        }
    }

    /// Stops a job: that nobody waits for it is durable.
    pub(super) fn stop_job(&mut self, job: Job) {
        self.flights.push(Box::pin(async move {
            let Job { request, integration, submitted } = job;
            if let Err(failure) = integration.stop(&request, &submitted).await {
                let (execution, resource) = (request.origin.names.execution_arn(), &request.resource);
                tracing::warn!(%execution, %resource, cause = %failure.cause, "a job that nobody waits for goes on");
            }
            Landed::Dropped
        }));
    }

    /// The first request of a task was answered that is over only when its token comes back.
    pub(super) fn submitted(&mut self, execution: Address, id: EffectId, output: Payload) {
        self.wait_for_token(execution, id);
        self.deliver(execution, Event::TaskSubmitted { id, output });
    }

    fn wait_for_token(&mut self, address: Address, effect: EffectId) {
        let Some(open) = self.open.get_mut(address).filter(|open| open.ended.is_none()) else { return };
        let before = open.waiting_for.insert(effect, Waiting::Callback);
        before.into_iter().for_each(|before| self.give_up(before));
    }
}
