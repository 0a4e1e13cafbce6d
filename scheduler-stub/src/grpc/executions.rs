//! `scheduler.v1.Executions`: starts to the dispatcher, everything else, callbacks too, to the node that knows.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use proto::executor::v1::{
    self as executor, DescribeExecutionRequest, DescribeExecutionResponse, GetExecutionHistoryRequest,
    GetExecutionHistoryResponse, ListExecutionsRequest, ListExecutionsResponse, RedriveExecutionRequest,
    RedriveExecutionResponse, StartExecutionResponse, StartRefusal, StartSyncExecutionResponse,
    StopExecutionRequest, StopExecutionResponse,
};
use proto::scheduler::v1::executions_server::Executions as Service;
use proto::scheduler::v1::{StartExecutionRequest, StartExecutionsRequest, StartExecutionsResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use ids::{MachineName, Mode};

use super::templates::logging;
use crate::dispatch::reply::{Replies, ReplyPlace};
use crate::dispatch::{CALL_TIMEOUT, Dispatcher, START_DEADLINE, Starts};
use crate::error::Error;
use crate::forward::{Forward, Kind};
use crate::templates::{Template, Templates};
use crate::validate;

/// Messages of one stream whose reply has not been read. Beyond, the stream is read no further.
pub const STREAM_MESSAGES_MAX: usize = 1_024;

/// See the module.
#[derive(Clone)]
pub struct ExecutionsService {
    pub(crate) templates: Arc<Templates>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) forward: Forward,
}

/// The longest an EXPRESS execution may run, and somewhat more.
const SYNC_DEADLINE: Duration = Duration::from_secs(330);

/// How long the caller waits: a little less than its gRPC deadline, so that it hears from us why, bounded by ours.
fn patience(metadata: &MetadataMap) -> Duration {
    given_patience(metadata).unwrap_or(START_DEADLINE).min(START_DEADLINE)
}

/// What the answer of ours takes to reach the caller before its deadline, which says less.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

fn given_patience(metadata: &MetadataMap) -> Option<Duration> {
    let given = given_deadline(metadata)?;
    Some(given.saturating_sub(ON_ITS_WAY.min(given / 4)))
}

fn given_deadline(metadata: &MetadataMap) -> Option<Duration> {
    metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(|text| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let amount: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(amount.saturating_mul(3_600)),
            "M" => Duration::from_secs(amount.saturating_mul(60)),
            "S" => Duration::from_secs(amount),
            "m" => Duration::from_millis(amount),
            "u" => Duration::from_micros(amount),
            "n" => Duration::from_nanos(amount),
            _ => return None,
        })
    })
}

fn with_timeout<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

impl ExecutionsService {
    /// Takes one message of a batch stream; the reply goes to `place`, now or later.
    async fn take(
        &self,
        last: &mut Option<Arc<Template>>,
        message: StartExecutionsRequest,
        place: ReplyPlace,
    ) {
        let StartExecutionsRequest { tag, state_machine_arn, input, name, logging: said, trace } = message;
        let count = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let checked = async {
            let template = self.templates.resolve(&state_machine_arn).await?.logged(logging(said)?);
            // The shared machine is the one of the message before, as a rule: batches see one and the same.
            let template = match last.take() {
                Some(known) if known.runs_as(&template) => known,
                _ => template,
            };
            *last = Some(Arc::clone(&template));
            validate::many(&template, &input, &name, &trace)?;
            Ok::<_, Error>(template)
        };
        match checked.await {
            Ok(template) => {
                let (inputs, names, patience) = (input, name, START_DEADLINE);
                let traces = executor::TraceContext::column(&trace);
                let starts = Starts { template, inputs, names, traces, patience };
                self.dispatcher.start_many(tag, starts, place);
            }
            Err(error) => {
                place.send(vec![refused(tag, count, error.refusal())]);
            }
        }
    }
}

fn refused(tag: u64, count: u32, refusal: StartRefusal) -> StartExecutionsResponse {
    StartExecutionsResponse { tag, from: 0, to: count, batch: None, first_index: 0, refusal: Some(refusal) }
}

type Answers = Pin<Box<dyn Stream<Item = Result<StartExecutionsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Service for ExecutionsService {
    type StartExecutionsStream = Answers;

    async fn start_execution(
        &self,
        request: Request<StartExecutionRequest>,
    ) -> Result<Response<StartExecutionResponse>, Status> {
        let patience = patience(request.metadata());
        let trace = executor::TraceContext::of_call(request.get_ref().trace.as_ref(), request.metadata());
        let StartExecutionRequest { state_machine_arn, name, input, logging: said, .. } =
            request.into_inner();
        let template = self.templates.resolve(&state_machine_arn).await?.logged(logging(said)?);
        let input = validate::one(&template, &name, input)?;
        let names = if name.is_empty() { Vec::new() } else { vec![name.clone()] };
        let (inputs, traces) = (vec![input], trace.into_iter().collect());
        let starts = Starts { template: Arc::clone(&template), inputs, names, traces, patience };
        let started = self.dispatcher.start_one(starts).await?;
        let machine = MachineName::parse(&template.arn)
            .map_err(|error| Error::invalid("InvalidArn", error.to_string()))?;
        let execution_id = started.id.to_string();
        let name = if name.is_empty() { &execution_id } else { &name };
        Ok(Response::new(StartExecutionResponse {
            execution_arn: machine.execution(template.mode, name, started.id),
            start_time_ms: started.start_time_ms,
            execution_id,
        }))
    }

    async fn start_sync_execution(
        &self,
        request: Request<StartExecutionRequest>,
    ) -> Result<Response<StartSyncExecutionResponse>, Status> {
        let patience = given_patience(request.metadata()).unwrap_or(SYNC_DEADLINE).min(SYNC_DEADLINE);
        let trace = executor::TraceContext::of_call(request.get_ref().trace.as_ref(), request.metadata());
        let StartExecutionRequest { state_machine_arn, name, input, logging: said, .. } =
            request.into_inner();
        let template = self.templates.resolve(&state_machine_arn).await?.logged(logging(said)?);
        if template.mode == Mode::Standard {
            let message = "only machines of the type EXPRESS are run synchronously: use StartExecution";
            return Err(Error::invalid("StateMachineTypeNotSupported", message).into());
        }
        let input = validate::one(&template, &name, input)?;
        let start = executor::StartExecutionRequest {
            machine_arn: template.arn.clone(),
            definition: template.definition.clone(),
            mode: executor::Mode::SyncExpress.into(),
            dialect: match template.dialect {
                asl::Dialect::Asl => executor::Dialect::Asl,
                asl::Dialect::Tcsl => executor::Dialect::Tcsl,
            }
            .into(),
            input,
            name,
            retention_seconds: template.retention_s,
            role_arn: template.role_arn.clone(),
            logging: Some(template.logging.into()),
            trace,
            ..Default::default()
        };
        let call = |mut node: super::NodeClient| {
            let mut start = Request::new(start.clone());
            start.set_timeout(patience);
            async move { node.start_sync_execution(start).await }
        };
        self.forward.start(call).await
    }

    async fn start_executions(
        &self,
        request: Request<Streaming<StartExecutionsRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut messages = request.into_inner();
        let service = self.clone();
        let (answers, stream) = mpsc::channel::<Replies>(STREAM_MESSAGES_MAX);
        tokio::spawn(async move {
            let mut last = None;
            // The place is reserved first: a caller that does not read its answers is not read either.
            while let Ok(place) = answers.clone().reserve_owned().await {
                match messages.message().await {
                    Ok(Some(message)) => service.take(&mut last, message, place).await,
                    Ok(None) => break,
                    Err(status) => {
                        tracing::debug!("a batch stream broke: {}", status.message());
                        break;
                    }
                }
            }
        });
        let answers = ReceiverStream::new(stream).flat_map(stream::iter).map(Ok);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn stop_execution(
        &self,
        request: Request<StopExecutionRequest>,
    ) -> Result<Response<StopExecutionResponse>, Status> {
        let request = request.into_inner();
        let execution = request.execution.clone();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.stop_execution(request).await }
        };
        // One that may have been done is not repeated: the caller decides.
        self.forward.call(&execution, Kind::Change, call).await
    }

    async fn redrive_execution(
        &self,
        request: Request<RedriveExecutionRequest>,
    ) -> Result<Response<RedriveExecutionResponse>, Status> {
        let request = request.into_inner();
        let execution = request.execution.clone();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.redrive_execution(request).await }
        };
        // As a stop.
        self.forward.call(&execution, Kind::Change, call).await
    }

    async fn describe_execution(
        &self,
        request: Request<DescribeExecutionRequest>,
    ) -> Result<Response<DescribeExecutionResponse>, Status> {
        let request = request.into_inner();
        let execution = request.execution.clone();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.describe_execution(request).await }
        };
        self.forward.call(&execution, Kind::Question, call).await
    }

    async fn get_execution_history(
        &self,
        request: Request<GetExecutionHistoryRequest>,
    ) -> Result<Response<GetExecutionHistoryResponse>, Status> {
        let request = request.into_inner();
        let execution = request.execution.clone();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.get_execution_history(request).await }
        };
        self.forward.call(&execution, Kind::Question, call).await
    }

    async fn list_executions(
        &self,
        request: Request<ListExecutionsRequest>,
    ) -> Result<Response<ListExecutionsResponse>, Status> {
        let request = request.into_inner();
        self.templates.describe(&request.machine_arn, 0).await?;
        Ok(Response::new(self.forward.list(request).await?))
    }

    async fn send_task_success(
        &self,
        request: Request<executor::SendTaskSuccessRequest>,
    ) -> Result<Response<executor::SendTaskSuccessResponse>, Status> {
        let request = request.into_inner();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.send_task_success(request).await }
        };
        self.forward.call_back(&request.task_token, call).await
    }

    async fn send_task_failure(
        &self,
        request: Request<executor::SendTaskFailureRequest>,
    ) -> Result<Response<executor::SendTaskFailureResponse>, Status> {
        let request = request.into_inner();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.send_task_failure(request).await }
        };
        self.forward.call_back(&request.task_token, call).await
    }

    async fn send_task_heartbeat(
        &self,
        request: Request<executor::SendTaskHeartbeatRequest>,
    ) -> Result<Response<executor::SendTaskHeartbeatResponse>, Status> {
        let request = request.into_inner();
        let call = |mut node: super::NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.send_task_heartbeat(request).await }
        };
        self.forward.call_back(&request.task_token, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read_and_bounded() {
        let read = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", tonic::metadata::MetadataValue::from_static(text));
            patience(&metadata)
        };
        assert_eq!(read("200m"), Duration::from_millis(150));
        assert_eq!(read("2S"), Duration::from_millis(1_500));
        assert_eq!(read("99999999H"), START_DEADLINE);
        assert_eq!(read("x"), START_DEADLINE);
        assert_eq!(patience(&MetadataMap::new()), START_DEADLINE);
    }
}
