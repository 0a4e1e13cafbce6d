//! `scheduler.v1.Executions`: from wire to [`Executions`] and back, and the batch API.

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

use super::templates::logging;
use crate::dispatch::reply::{Replies, ReplyPlace};
use crate::dispatch::{START_DEADLINE, Starts};
use crate::error::Error;
use crate::executions::{Executions, SYNC_DEADLINE, Start};
use crate::templates::Template;
use crate::validate;

/// Messages of one stream whose reply has not been read. Beyond, the stream is read no further.
pub const STREAM_MESSAGES_MAX: usize = 1_024;

/// See the module.
#[derive(Clone)]
pub struct ExecutionsService(pub(crate) Executions);

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
            let template = self.0.templates.target(&state_machine_arn).await?.logged(logging(said)?);
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
                self.0.dispatcher.start_many(tag, starts, place);
            }
            Err(error) => {
                place.send(vec![refused(tag, count, error.refusal())]);
            }
        }
    }
}

/// What a call asks to start, and of which machine.
fn asked(request: Request<StartExecutionRequest>, patience: Duration) -> Result<(String, Start), Error> {
    let trace = executor::TraceContext::of_call(request.get_ref().trace.as_ref(), request.metadata());
    let StartExecutionRequest { state_machine_arn, name, input, logging: said, .. } = request.into_inner();
    Ok((state_machine_arn, Start { name, input, logging: logging(said)?, trace, patience }))
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
        let (machine, start) = asked(request, patience)?;
        let begun = self.0.start(&machine, start).await?;
        Ok(Response::new(StartExecutionResponse {
            execution_id: begun.id.to_string(),
            execution_arn: begun.arn,
            start_time_ms: begun.start_time_ms,
        }))
    }

    async fn start_sync_execution(
        &self,
        request: Request<StartExecutionRequest>,
    ) -> Result<Response<StartSyncExecutionResponse>, Status> {
        let patience = given_patience(request.metadata()).unwrap_or(SYNC_DEADLINE).min(SYNC_DEADLINE);
        let (machine, start) = asked(request, patience)?;
        self.0.start_sync(&machine, start).await.map(Response::new)
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
        self.0.stop(request.into_inner()).await.map(Response::new)
    }

    async fn redrive_execution(
        &self,
        request: Request<RedriveExecutionRequest>,
    ) -> Result<Response<RedriveExecutionResponse>, Status> {
        self.0.redrive(request.into_inner()).await.map(Response::new)
    }

    async fn describe_execution(
        &self,
        request: Request<DescribeExecutionRequest>,
    ) -> Result<Response<DescribeExecutionResponse>, Status> {
        self.0.describe(&request.into_inner().execution).await.map(Response::new)
    }

    async fn get_execution_history(
        &self,
        request: Request<GetExecutionHistoryRequest>,
    ) -> Result<Response<GetExecutionHistoryResponse>, Status> {
        self.0.history(request.into_inner()).await.map(Response::new)
    }

    async fn list_executions(
        &self,
        request: Request<ListExecutionsRequest>,
    ) -> Result<Response<ListExecutionsResponse>, Status> {
        self.0.list(request.into_inner()).await.map(Response::new)
    }

    async fn send_task_success(
        &self,
        request: Request<executor::SendTaskSuccessRequest>,
    ) -> Result<Response<executor::SendTaskSuccessResponse>, Status> {
        self.0.task_success(request.into_inner()).await.map(Response::new)
    }

    async fn send_task_failure(
        &self,
        request: Request<executor::SendTaskFailureRequest>,
    ) -> Result<Response<executor::SendTaskFailureResponse>, Status> {
        self.0.task_failure(request.into_inner()).await.map(Response::new)
    }

    async fn send_task_heartbeat(
        &self,
        request: Request<executor::SendTaskHeartbeatRequest>,
    ) -> Result<Response<executor::SendTaskHeartbeatResponse>, Status> {
        self.0.task_heartbeat(request.into_inner()).await.map(Response::new)
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
