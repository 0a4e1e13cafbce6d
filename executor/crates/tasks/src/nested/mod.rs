//! Nested executions: a state that starts another machine, and may wait for its end.
//!
//! Purpose: `states:startExecution`, alone, with `.sync`, `.sync:2` and `.waitForTaskToken`, `aws-sdk:sfn:startExecution`, and
//! ASW's `asw:StartExecution`, on whichever node the scheduler chooses ([`Executions`]). Invariants: an attempt that is made
//! again starts nothing twice where the machine is STANDARD, for a start has a name, the state's own or one of its attempt; of an
//! EXPRESS machine a start is made again within its attempt only where it has certainly begun nothing;
//! an end is asked for with growing pauses, by whichever node has the execution that waits. What may fail: arguments
//! (`States.Runtime`), the start (`StepFunctions.ExecutionAlreadyExistsException` and so on), and the execution, whose failure is
//! told as the cause of `States.TaskFailed`.

mod executions;
mod form;

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use asl::{Payload, Str, Value};
use ids::MachineName;
use telemetry::CallKind;
use tokio::time::{Instant, sleep};

use crate::errors;
use crate::request::{Answer, Call, Failure, Integration, Request};
use form::{Asked, Form};

pub use executions::{Described, Executions, Refusal, Reply, Start, Started};

/// How long a start is tried again that nobody answers: somewhat longer than a scheduler, a node and a partition take to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at an execution, and two attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// See [`PAUSE_FIRST`].
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The code of an execution that is not there (any more).
const ABSENT: &str = "ExecutionDoesNotExist";

/// The integration.
pub struct Nested(Rc<dyn Executions>);

impl Nested {
    /// By whom executions are run.
    #[must_use]
    pub fn new(executions: Rc<dyn Executions>) -> Self {
        Self(executions)
    }

    async fn start(&self, form: Form, request: &Request) -> Result<Started, Failure> {
        let asked = form.parse(request)?;
        let (until, mut pauses) = (Instant::now() + PATIENCE, Pauses::default());
        loop {
            match self.start_or_find(&asked).await {
                Ok(started) => return Ok(started),
                Err(Refusal::Unavailable { retry_after, message }) => {
                    if Instant::now() >= until {
                        return Err(form.unanswered(&message));
                    }
                    sleep(pauses.next().max(retry_after.unwrap_or_default().min(PAUSE_MAX))).await;
                }
                Err(Refusal::Unknown { message }) => {
                    if !self.may_repeat(&asked.start, until).await || Instant::now() >= until {
                        return Err(form.unanswered(&message));
                    }
                    sleep(pauses.next()).await;
                }
                Err(Refusal::Refused { code, message }) => return Err(form.refused(&code, &message)),
            }
        }
    }

    /// Starts what is asked for, or finds what this attempt has started before a crash, and has ended meanwhile. Under a name of
    /// ours nobody else has started anything; its input is not compared, for a token in it may be spelt anew.
    async fn start_or_find(&self, asked: &Asked) -> Result<Started, Refusal> {
        let refused = match self.0.start(asked.start.clone()).await {
            Err(refused) if asked.named_by_us && refused.is("ExecutionAlreadyExists") => refused,
            answer => return answer,
        };
        let Some(machine) = machine_of(&asked.start.machine_arn) else { return Err(refused) };
        match self.0.describe(machine.named_execution(&asked.start.name)).await {
            Ok(found) => Ok(Started { execution_arn: found.execution_arn, at: found.started }),
            Err(Refusal::Refused { .. }) => Err(refused),
            Err(away) => Err(away),
        }
    }

    /// Whether a start of which it is not known whether it is done may be made again: one of a STANDARD machine gives the
    /// execution that it gave before; one of an EXPRESS machine, or of one that cannot be known, could start a second one.
    async fn may_repeat(&self, start: &Start, until: Instant) -> bool {
        let mut pauses = Pauses::default();
        loop {
            match self.0.is_standard(start.machine_arn.clone()).await {
                Ok(standard) => return standard,
                Err(Refusal::Refused { .. }) => return false,
                Err(_) if Instant::now() >= until => return false,
                Err(_) => sleep(pauses.next()).await,
            }
        }
    }

    async fn end(&self, form: Form, submitted: &Payload) -> Result<Payload, Failure> {
        let execution = form.execution(submitted).ok_or_else(|| {
            Failure::runtime("What was told of the execution's start names no execution.".to_owned())
        })?;
        let mut pauses = Pauses::default();
        loop {
            sleep(pauses.next()).await;
            match self.0.describe(execution.clone()).await {
                Ok(described) if described.status.is_terminal() => return form.ended(&described),
                Err(refused) if refused.is(ABSENT) => {
                    return Err(Failure::new(errors::TASK_FAILED, refused.to_string()));
                }
                // One that cannot be looked at goes on all the same, for whatever reason that is.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// The machine that an ARN or QRN names, be it alone or with a version or an alias behind it: executions are called after the machine.
fn machine_of(text: &str) -> Option<MachineName> {
    let parsed = MachineName::parse(text).or_else(|error| {
        let (machine, _) = text.rsplit_once(':').ok_or(error)?;
        MachineName::parse(machine)
    });
    parsed.ok()
}

impl Integration for Nested {
    fn kind(&self) -> CallKind {
        CallKind::Execution
    }

    fn serves(&self, resource: &str) -> bool {
        Form::of(resource).is_some()
    }

    fn target(&self, request: &Request) -> Str {
        let machine = Form::of(&request.resource).map(Form::machine);
        match machine.and_then(|name| request.input.value().get(name)) {
            Some(Value::String(machine)) => machine.clone(),
            _ => request.resource.clone(),
        }
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, Answer> {
        Box::pin(async move {
            let form = form_of(request)?;
            let told = form.started(&self.start(form, request).await?, &request.origin);
            Ok(if form.runs { Answer::Submitted(told) } else { Answer::Output(told) })
        })
    }

    fn complete<'a>(&'a self, request: &'a Request, submitted: &'a Payload) -> Call<'a, Payload> {
        Box::pin(async move { self.end(form_of(request)?, submitted).await })
    }

    fn stop<'a>(&'a self, request: &'a Request, submitted: &'a Payload) -> Call<'a, ()> {
        Box::pin(async move {
            let form = form_of(request)?;
            let Some(execution) = form.execution(submitted) else { return Ok(()) };
            let cause =
                format!("{} waits no longer for this execution.", request.origin.names.execution_arn());
            let (until, mut pauses) = (Instant::now() + PATIENCE, Pauses::default());
            loop {
                match self.0.stop(execution.clone(), cause.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(refused @ Refusal::Refused { .. }) => {
                        return Err(Failure::runtime(refused.to_string()));
                    }
                    // One that has ended is stopped once more without harm.
                    Err(_) if Instant::now() < until => sleep(pauses.next()).await,
                    Err(away) => return Err(Failure::runtime(away.to_string())),
                }
            }
        })
    }
}

fn form_of(request: &Request) -> Result<Form, Failure> {
    let other = || Failure::runtime(format!("{} starts no execution.", request.resource));
    Form::of(&request.resource).ok_or_else(other)
}

/// Growing pauses, each of which is up to a quarter shorter than it might be, so that what began together does not ask together.
struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE_FIRST)
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        let share = RandomState::new().hash_one(0u8) % 256;
        pause - pause * u32::try_from(share).unwrap_or(0) / 1_024
    }
}

#[cfg(test)]
mod tests;
