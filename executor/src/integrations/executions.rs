//! Executions that tasks start: through the scheduler that the node follows, which knows machines by their names and chooses the
//! node that runs one.
//!
//! Invariants: one connection for each shard, made when it is first needed and again whenever it must; so many calls of a kind at
//! once, and so many that wait for their turn; every call has a deadline, which its wait is part of.
//! What may fail: the call, as [`Refusal`] says.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use ids::Status;
use proto::executor::v1::{
    DescribeExecutionRequest, DescribeExecutionResponse, ExecutionStatus, Mode, RedriveStatus,
    StopExecutionRequest, TraceContext,
};
use proto::scheduler::v1::executions_client::ExecutionsClient;
use proto::scheduler::v1::templates_client::TemplatesClient;
use proto::scheduler::v1::{DescribeStateMachineRequest, StartExecutionRequest};
use tasks::Integration;
use tasks::nested::{Described, Executions, Nested, Refusal, Reply, Start, Started};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response};
use tonic_types::StatusExt;
use trust::Trust;

use crate::heartbeat;
use crate::shard::timestamp_of_ms;

/// How long the scheduler may take to answer: somewhat longer than it waits for a node.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the scheduler is.
#[derive(Debug, Clone)]
pub(super) struct Scheduler {
    endpoint: Endpoint,
    trust: Option<Trust>,
}

impl Scheduler {
    /// The scheduler with this URL, if there is one.
    pub fn at(url: Option<&str>, trust: Option<&Trust>) -> Option<Self> {
        let endpoint = heartbeat::endpoint(url?.to_owned())?;
        Some(Self { endpoint, trust: trust.map(Trust::towards_schedulers) })
    }

    /// What a shard starts executions with. Called on its thread.
    pub fn integration(&self) -> Rc<dyn Integration> {
        Rc::new(Nested::new(Rc::new(self.through())))
    }

    fn through(&self) -> Through {
        let channel = trust::channel_lazy(&self.endpoint, self.trust.as_ref());
        let (client, machines) = (ExecutionsClient::new(channel.clone()), TemplatesClient::new(channel));
        let (starts, looks, stops) = Default::default();
        Through { client, machines, starts, looks, stops }
    }
}

/// Calls of one kind of a shard that are under way at once; the next ones wait in line.
const CALLS_MAX: usize = 64;
/// Calls of one kind that wait in line; the next ones come back later.
const LINE_MAX: usize = 4_096;

/// A shard's connection. Starts, looks and stops have lines of their own: however many looks there are, a start waits for none.
struct Through {
    client: ExecutionsClient<Channel>,
    machines: TemplatesClient<Channel>,
    starts: Line,
    looks: Line,
    stops: Line,
}

impl Executions for Through {
    fn start(&self, start: Start) -> Reply<'_, Started> {
        let Start { machine_arn: state_machine_arn, name, input, trace } = start;
        let trace = trace.as_ref().map(TraceContext::from);
        let message = StartExecutionRequest { state_machine_arn, name, input, logging: None, trace };
        let mut client = self.client.clone();
        Box::pin(async move {
            let call = async move |left| client.start_execution(timely(message, left)).await;
            let started = self.starts.call(call).await?;
            let at = timestamp_of_ms(started.start_time_ms);
            Ok(Started { execution_arn: started.execution_arn, at })
        })
    }

    fn is_standard(&self, arn: String) -> Reply<'_, bool> {
        let message = DescribeStateMachineRequest { arn, ..Default::default() };
        let mut client = self.machines.clone();
        Box::pin(async move {
            let call = async move |left| client.describe_state_machine(timely(message, left)).await;
            Ok(self.starts.call(call).await?.mode() == Mode::Standard)
        })
    }

    fn describe(&self, execution: String) -> Reply<'_, Described> {
        let message = DescribeExecutionRequest { execution };
        let mut client = self.client.clone();
        Box::pin(async move {
            let call = async move |left| client.describe_execution(timely(message, left)).await;
            self.looks.call(call).await.map(described)
        })
    }

    fn stop(&self, execution: String, cause: String) -> Reply<'_, ()> {
        let message = StopExecutionRequest { execution, error: String::new(), cause };
        let mut client = self.client.clone();
        Box::pin(async move {
            let call = async move |left| client.stop_execution(timely(message, left)).await;
            self.stops.call(call).await.map(|_| ())
        })
    }
}

/// Calls of one kind, so many at once.
struct Line {
    turns: Semaphore,
    /// Those that have a turn, and those that wait for one.
    places: Semaphore,
}

impl Default for Line {
    fn default() -> Self {
        Self { turns: Semaphore::new(CALLS_MAX), places: Semaphore::new(CALLS_MAX + LINE_MAX) }
    }
}

impl Line {
    /// Makes a call when it is its turn, with what is left of its time then.
    async fn call<T>(
        &self,
        call: impl AsyncFnOnce(Duration) -> Result<Response<T>, tonic::Status>,
    ) -> Result<T, Refusal> {
        let not_made = |message: String| Refusal::Unavailable { message, retry_after: None };
        let Ok(_place) = self.places.try_acquire() else {
            return Err(not_made(format!("{LINE_MAX} calls of this shard wait for the scheduler already")));
        };
        let until = Instant::now() + CALL_TIMEOUT;
        let Ok(_turn) = timeout_at(until, self.turns.acquire()).await else {
            let late = format!(
                "this call has waited {} s for its turn, and the scheduler answers no faster: see whether it is overloaded",
                CALL_TIMEOUT.as_secs()
            );
            return Err(not_made(late));
        };
        match timeout_at(until, call(until - Instant::now())).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(|status| refusal(&status)),
            Err(_) => {
                let message = format!("the scheduler has not answered within {} s", CALL_TIMEOUT.as_secs());
                Err(Refusal::Unknown { message })
            }
        }
    }
}

fn timely<T>(message: T, left: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(left);
    request
}

fn described(answer: DescribeExecutionResponse) -> Described {
    let redrivable = answer.redrive_status() == RedriveStatus::Redrivable;
    let summary = answer.summary.unwrap_or_default();
    let status = status_of(summary.status());
    let stopped = status.is_terminal().then(|| timestamp_of_ms(summary.stop_time_ms));
    Described {
        execution_arn: summary.execution_arn,
        machine_arn: summary.machine_arn,
        name: summary.name,
        status,
        started: timestamp_of_ms(summary.start_time_ms),
        stopped,
        input: answer.input,
        output: answer.output,
        error: answer.error,
        cause: answer.cause,
        redrive_count: answer.redrive_count,
        not_redrivable: (!redrivable).then_some(answer.redrive_status_reason),
    }
}

/// A status that this program does not know is none of those in which an execution has ended.
fn status_of(status: ExecutionStatus) -> Status {
    Status::ALL.into_iter().find(|known| ExecutionStatus::from(*known) == status).unwrap_or(Status::Running)
}

/// The domains of everything that a scheduler and a node say themselves end so.
const DOMAINS: &str = ".myriad";

/// What a status means. Only words of the scheduler's own, or of a node, can refuse what was asked for: those that our transport
/// finds for a connection that broke (Internal, Unknown, Cancelled), or somebody between, say nothing of it. Whatever has begun
/// nothing says when to come back.
fn refusal(status: &tonic::Status) -> Refusal {
    let message = status.message().to_owned();
    if status.source().is_some() {
        return match never_heard(status) {
            true => Refusal::Unavailable { message, retry_after: None },
            false => Refusal::Unknown { message },
        };
    }
    let details = status.get_error_details();
    if let Some(retry) = details.retry_info() {
        return Refusal::Unavailable { message, retry_after: retry.retry_delay };
    }
    let said = details.error_info().filter(|info| info.domain.ends_with(DOMAINS));
    match (status.code(), said) {
        (Code::PermissionDenied | Code::Unauthenticated, _) => {
            Refusal::Refused { code: "AccessDenied".to_owned(), message }
        }
        // A partition that changes hands.
        (Code::FailedPrecondition, Some(_)) => Refusal::Unavailable { message, retry_after: None },
        (
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown,
            _,
        )
        | (_, None) => Refusal::Unknown { message },
        (_, Some(info)) => Refusal::Refused { code: info.reason.clone(), message },
    }
}

/// Whether no connection was made at all.
fn never_heard(status: &tonic::Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::net::TcpListener;
    use tokio::task::unconstrained;
    use tonic_types::ErrorDetails;

    use super::*;

    /// As the scheduler and nodes say it.
    fn said(code: Code, reason: &str) -> tonic::Status {
        let details = ErrorDetails::with_error_info(reason, "scheduler.myriad", HashMap::new());
        tonic::Status::with_error_details(code, "why", details)
    }

    fn unknown() -> Refusal {
        Refusal::Unknown { message: "why".to_owned() }
    }

    #[test]
    fn what_has_begun_nothing_is_told_apart_from_what_may_have_and_from_what_is_refused() {
        let retry_after = Some(Duration::from_millis(250));
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            let mut details = ErrorDetails::with_retry_info(retry_after);
            details.set_error_info("Overloaded", "scheduler.myriad", HashMap::new());
            let told = refusal(&tonic::Status::with_error_details(code, "why", details));
            assert_eq!(told, Refusal::Unavailable { message: "why".to_owned(), retry_after });
        }
        let moves = refusal(&said(Code::FailedPrecondition, "NotOwner"));
        assert_eq!(moves, Refusal::Unavailable { message: "why".to_owned(), retry_after: None });
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled] {
            assert_eq!(refusal(&said(code, "OutcomeUnknown")), unknown());
        }
        for (code, expected) in [
            (Code::PermissionDenied, "AccessDenied"),
            (Code::InvalidArgument, "InvalidName"),
            (Code::Internal, "InvalidName"),
        ] {
            let told = refusal(&said(code, "InvalidName"));
            assert_eq!(told, Refusal::Refused { code: expected.to_owned(), message: "why".to_owned() });
        }
    }

    #[test]
    fn a_connection_that_broke_and_whoever_is_between_refuse_nothing() {
        let broke = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "why");
        let broke = tonic::Status::from_error(Box::new(broke));
        assert!(broke.source().is_some());
        assert_eq!(refusal(&broke), unknown());
        for code in [Code::Internal, Code::Cancelled, Code::InvalidArgument, Code::NotFound] {
            assert_eq!(refusal(&tonic::Status::new(code, "why")), unknown());
        }
    }

    #[tokio::test]
    async fn a_scheduler_that_nobody_reaches_has_begun_nothing() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", nobody.local_addr().expect("its address"));
        drop(nobody);
        let scheduler = Scheduler::at(Some(&url), None).expect("a scheduler");
        let (machine_arn, name) = ("m".to_owned(), "n".to_owned());
        let start = Start { machine_arn, name, input: Bytes::new(), trace: None };
        let told = scheduler.through().start(start).await;
        assert!(matches!(told, Err(Refusal::Unavailable { .. })), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_their_turn_within_their_deadline_and_so_many_in_each_line() {
        let (line, other) = (Line::default(), Line::default());
        let answer = async |_| Ok(Response::new(()));
        let held = line.turns.acquire_many(u32::try_from(CALLS_MAX).expect("a few")).await;
        let waiting = join_all((0..CALLS_MAX + LINE_MAX).map(|_| line.call(answer)));
        let last = async {
            let told = (line.call(answer).now_or_never(), other.call(answer).now_or_never());
            assert!(matches!(told, (Some(Err(Refusal::Unavailable { .. })), Some(Ok(())))), "{told:?}");
        };
        let begun = Instant::now();
        // All at once, and not as many in a row as a task may.
        let (waited, ()) = unconstrained(async { tokio::join!(waiting, last) }).await;
        assert!(waited.iter().all(|told| matches!(told, Err(Refusal::Unavailable { .. }))));
        assert_eq!(begun.elapsed().as_secs(), CALL_TIMEOUT.as_secs());
        drop(held);

        let silent = async |_| std::future::pending::<Result<Response<()>, tonic::Status>>().await;
        assert!(matches!(line.call(silent).await, Err(Refusal::Unknown { .. })));
        assert_eq!(line.call(answer).await, Ok(()), "turns and places come back");
    }

    #[test]
    fn every_status_has_its_own() {
        for status in Status::ALL {
            assert_eq!(status_of(status.into()), status);
        }
        assert_eq!(status_of(ExecutionStatus::Unspecified), Status::Running);
    }
}
