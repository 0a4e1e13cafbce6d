//! Executions that tasks start: through the scheduler that the node follows, which knows machines by their names and chooses the
//! node that runs one.
//!
//! Invariants: one connection for each shard, made when it is first needed and again whenever it must; so many calls at once;
//! every call has a deadline.
//! What may fail: the call, as [`Refusal`] says.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use ids::Status;
use proto::executor::v1::{
    DescribeExecutionRequest, DescribeExecutionResponse, ExecutionStatus, Mode, RedriveStatus, StopExecutionRequest,
};
use proto::scheduler::v1::executions_client::ExecutionsClient;
use proto::scheduler::v1::templates_client::TemplatesClient;
use proto::scheduler::v1::{DescribeStateMachineRequest, StartExecutionRequest};
use tasks::Integration;
use tasks::nested::{Described, Executions, Nested, Refusal, Reply, Start, Started};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
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
        Through { client, machines, turns: Semaphore::new(CALLS_MAX) }
    }
}

/// Calls of a shard that are under way at once; the next ones wait in line.
const CALLS_MAX: usize = 64;

/// A shard's connection.
struct Through {
    client: ExecutionsClient<Channel>,
    machines: TemplatesClient<Channel>,
    turns: Semaphore,
}

impl Through {
    /// The client, when it is one's turn.
    async fn turn(&self) -> (ExecutionsClient<Channel>, Option<SemaphorePermit<'_>>) {
        // It is never closed.
        let turn = self.turns.acquire().await.ok();
        (self.client.clone(), turn)
    }
}

impl Executions for Through {
    fn start(&self, start: Start) -> Reply<'_, Started> {
        let Start { machine_arn: state_machine_arn, name, input } = start;
        let request = timely(StartExecutionRequest { state_machine_arn, name, input });
        Box::pin(async move {
            let (mut client, _turn) = self.turn().await;
            let started = client.start_execution(request).await.map_err(|status| refusal(&status))?;
            let started = started.into_inner();
            let at = timestamp_of_ms(started.start_time_ms);
            Ok(Started { execution_arn: started.execution_arn, at })
        })
    }

    fn is_standard(&self, arn: String) -> Reply<'_, bool> {
        Box::pin(async move {
            let _turn = self.turn().await;
            let request = timely(DescribeStateMachineRequest { arn, ..Default::default() });
            let machine = self.machines.clone().describe_state_machine(request).await;
            Ok(machine.map_err(|status| refusal(&status))?.into_inner().mode() == Mode::Standard)
        })
    }

    fn describe(&self, execution: String) -> Reply<'_, Described> {
        Box::pin(async move {
            let (mut client, _turn) = self.turn().await;
            let request = timely(DescribeExecutionRequest { execution });
            let answer = client.describe_execution(request).await.map_err(|status| refusal(&status))?;
            Ok(described(answer.into_inner()))
        })
    }

    fn stop(&self, execution: String, cause: String) -> Reply<'_, ()> {
        Box::pin(async move {
            let (mut client, _turn) = self.turn().await;
            let request = timely(StopExecutionRequest { execution, error: String::new(), cause });
            client.stop_execution(request).await.map(|_| ()).map_err(|status| refusal(&status))
        })
    }
}

fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
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
    use tokio::net::TcpListener;
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
        let start = Start { machine_arn: "m".to_owned(), name: "n".to_owned(), input: Bytes::new() };
        let told = scheduler.through().start(start).await;
        assert!(matches!(told, Err(Refusal::Unavailable { .. })), "{told:?}");
    }

    #[test]
    fn every_status_has_its_own() {
        for status in Status::ALL {
            assert_eq!(status_of(status.into()), status);
        }
        assert_eq!(status_of(ExecutionStatus::Unspecified), Status::Running);
    }
}
