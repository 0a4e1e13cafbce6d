//! What answers the calls of the public HTTP door: Step Functions' API and ASW's, over the same core as gRPC.
//!
//! Purpose: from a [`front::Call`] to the core's functions and back; the core decides. Invariants: starts run on the door's own
//! threads as far as their machine is known, everything else on the scheduler's runtime; a change that has begun goes on when
//! its caller goes away, a question ends with it. What may fail: whatever the core refuses, in the words of the API ([`fault`]).

mod activities;
mod answer;
mod asw;
mod checks;
mod executions;
mod fault;
mod history;
mod lists;
mod machines;
mod map_runs;
mod open;
mod starts;
mod tags;
mod tasks;
mod tell;
mod test_state;
mod trace_header;
mod validate;
mod versions;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use executor::clock::Clock;
use front::{Answer, Api, Call, Fault, Right};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::activities::{Activities, Polls};
use crate::executions::Executions;
use crate::names::Naming;
use crate::templates::Templates;

pub use map_runs::KnownRuns;
pub(crate) use open::open;
pub use open::{Callers, HttpConfig, HttpTls};

/// What the doors open to. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    /// Executions.
    pub executions: Executions,
    /// Machines.
    pub templates: Arc<Templates>,
    /// Activities.
    pub activities: Arc<Activities>,
    /// Workers that poll them.
    pub polls: Polls,
    /// Region and account of ARNs and QRNs.
    pub naming: Naming,
    /// What time it is.
    pub clock: Clock,
    /// Which executions Map Runs are parts of.
    pub map_runs: KnownRuns,
    /// How long a start waits until it is durable: less than clients wait, botocore for 60 seconds.
    pub start_patience: Duration,
    /// The scheduler's runtime.
    pub main: Handle,
}

/// The doors, as crate `front` asks for them. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Doors>);

impl Gate {
    /// A gate to these.
    #[must_use]
    pub fn new(doors: Doors) -> Self {
        Self(Arc::new(doors))
    }

    /// What it opens to.
    #[must_use]
    pub fn doors(&self) -> &Doors {
        &self.0
    }
}

impl front::Gate for Gate {
    async fn call(&self, call: Call) -> Result<Answer, Fault> {
        match (call.api, call.operation.name) {
            // The one call of which there are many thousands a second.
            (Api::Sfn, "StartExecution") => starts::start_execution(&self.0, call).await,
            (Api::Asw, "StartExecution") => asw::start_execution(&self.0, call).await,
            _ => {
                let (doors, kind) = (Arc::clone(&self.0), Kind::of(&call));
                let answer = async move { answer(&doors, call).await };
                on_main(&self.0.main, kind, answer).await?
            }
        }
    }

    async fn machine(&self, call: &Call) -> Result<Option<String>, Fault> {
        let (doors, call) = (Arc::clone(&self.0), call.clone());
        let machine = async move { executions::machine(&doors, &call).await };
        on_main(&self.0.main, Kind::Question, machine).await?
    }
}

/// Makes a call, on the scheduler's runtime.
async fn answer(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match (call.api, call.operation.name) {
        (
            Api::Sfn,
            "DescribeExecution" | "DescribeStateMachineForExecution" | "StopExecution" | "RedriveExecution",
        ) => executions::serve(doors, call).await,
        (Api::Sfn, "StartSyncExecution") => starts::start_sync_execution(doors, call).await,
        (Api::Sfn, "ListExecutions") => lists::serve(doors, call).await,
        (Api::Sfn, "GetExecutionHistory") => history::serve(doors, call).await,
        (Api::Sfn, "SendTaskSuccess" | "SendTaskFailure" | "SendTaskHeartbeat") => {
            tasks::serve(doors, call).await
        }
        (
            Api::Sfn,
            "CreateActivity" | "DescribeActivity" | "ListActivities" | "DeleteActivity" | "GetActivityTask",
        ) => activities::serve(doors, call).await,
        (
            Api::Sfn,
            "CreateStateMachine"
            | "UpdateStateMachine"
            | "DescribeStateMachine"
            | "ListStateMachines"
            | "DeleteStateMachine",
        ) => machines::serve(doors, call).await,
        (
            Api::Sfn,
            "PublishStateMachineVersion"
            | "ListStateMachineVersions"
            | "DeleteStateMachineVersion"
            | "CreateStateMachineAlias"
            | "UpdateStateMachineAlias"
            | "DescribeStateMachineAlias"
            | "DeleteStateMachineAlias"
            | "ListStateMachineAliases",
        ) => versions::serve(doors, call).await,
        (Api::Sfn, "TagResource" | "UntagResource" | "ListTagsForResource") => tags::serve(doors, call).await,
        (Api::Sfn, "ValidateStateMachineDefinition") => validate::serve(call).await,
        (Api::Sfn, "TestState") => test_state::serve(doors, call).await,
        (Api::Sfn, "ListMapRuns" | "DescribeMapRun" | "UpdateMapRun") => map_runs::serve(doors, call).await,
        (Api::Asw, _) => asw::serve(doors, call).await,
        (Api::Sfn, _) => Err(unserved(&call)),
    }
}

/// A call that the door lets in and nobody answers.
fn unserved(call: &Call) -> Fault {
    Fault::new(front::Kind::UnknownOperation, format!("{} is not served here", call.operation.name))
}

/// What becomes of a call whose caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It ends: it changes nothing.
    Question,
    /// It goes on.
    Change,
}

impl Kind {
    fn of(call: &Call) -> Self {
        match (call.operation.right, call.operation.name) {
            (Right::Read, _) | (_, "GetActivityTask" | "StartSyncExecution" | "TestState") => Self::Question,
            (Right::Start | Right::Manage, _) => Self::Change,
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct Asked<T>(JoinHandle<T>);

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does work on the scheduler's runtime: what it spawns outlives the caller's thread.
///
/// # Errors
/// [`front::Kind::Internal`]: it panicked; [`front::Kind::ServiceUnavailable`]: the scheduler is shutting down.
pub(crate) async fn on_main<T: Send + 'static>(
    main: &Handle,
    kind: Kind,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Fault> {
    let task = main.spawn(work);
    let done = match kind {
        Kind::Question => (&mut Asked(task).0).await,
        Kind::Change => task.await,
    };
    done.map_err(|error| ended(&error))
}

fn ended(error: &JoinError) -> Fault {
    if error.is_cancelled() {
        return Fault::new(
            front::Kind::ServiceUnavailable,
            "the scheduler is shutting down: ask another one",
        );
    }
    Fault::new(front::Kind::Internal, "the scheduler failed at this call, and has told its log how")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    /// Says when it is dropped.
    struct Dropped(Option<oneshot::Sender<()>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            // Who does not listen any more needs no word.
            let _ = self.0.take().map(|told| told.send(()));
        }
    }

    #[tokio::test]
    async fn a_question_ends_with_its_caller() {
        let (told, dropped) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        let mine = Dropped(Some(told));
        let work = async move {
            let _mine = mine;
            begun.send(()).expect("waited for");
            pending::<()>().await;
        };
        let caller = tokio::spawn(async move { on_main(&Handle::current(), Kind::Question, work).await });
        begins.await.expect("it begins");
        caller.abort();
        dropped.await.expect("it is told");
    }

    #[tokio::test]
    async fn a_change_goes_on_when_its_caller_goes_away() {
        let (go, gone) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let work = async move {
            begun.send(()).expect("waited for");
            gone.await.expect("it goes");
            done.send(()).expect("waited for");
        };
        let caller = tokio::spawn(async move { on_main(&Handle::current(), Kind::Change, work).await });
        begins.await.expect("it begins");
        caller.abort();
        assert!(caller.await.expect_err("it went away").is_cancelled());
        go.send(()).expect("it is there");
        is_done.await.expect("it went on");
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_internal_error() {
        let work = async { panic!("at the disco") };
        let fault = on_main::<()>(&Handle::current(), Kind::Question, work).await.expect_err("it panics");
        assert_eq!(fault.kind(), front::Kind::Internal);
    }
}
