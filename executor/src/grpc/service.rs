//! Which call goes where.

use proto::executor::v1;
use proto::executor::v1::executor_server::Executor;
use proto::executor::v1::worker_server::Worker;
use tonic::{Request, Response, Status, Streaming};
use trust::Peer;

use super::starts::Acks;
use super::watch::Completions;
use super::work::Tasks;
use super::{Surface, activities, callbacks, listing, plain, rights, starts, watch, work};
use crate::error::Error;

/// An answer, or the status of its error.
fn answer<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

/// A start with the trace context of its call.
fn traced(request: Request<v1::StartExecutionRequest>) -> v1::StartExecutionRequest {
    let trace = v1::TraceContext::of_call(request.get_ref().trace.as_ref(), request.metadata());
    v1::StartExecutionRequest { trace, ..request.into_inner() }
}

#[tonic::async_trait]
impl Executor for Surface {
    type StartExecutionsStream = Acks;
    type WatchCompletionsStream = Completions;

    async fn start_execution(
        &self,
        request: Request<v1::StartExecutionRequest>,
    ) -> Result<Response<v1::StartExecutionResponse>, Status> {
        rights::check_start(&request)?;
        answer(plain::start(&self.node, traced(request)).await)
    }

    async fn start_executions(
        &self,
        request: Request<Streaming<v1::StartBatch>>,
    ) -> Result<Response<Acks>, Status> {
        answer(starts::serve(self, request.into_inner()))
    }

    async fn start_sync_execution(
        &self,
        request: Request<v1::StartExecutionRequest>,
    ) -> Result<Response<v1::StartSyncExecutionResponse>, Status> {
        rights::check_start(&request)?;
        answer(plain::start_sync(&self.node, traced(request)).await)
    }

    async fn stop_execution(
        &self,
        request: Request<v1::StopExecutionRequest>,
    ) -> Result<Response<v1::StopExecutionResponse>, Status> {
        answer(plain::stop(&self.node, request.into_inner()).await)
    }

    async fn redrive_execution(
        &self,
        request: Request<v1::RedriveExecutionRequest>,
    ) -> Result<Response<v1::RedriveExecutionResponse>, Status> {
        answer(plain::redrive(&self.node, request.into_inner()).await)
    }

    async fn describe_execution(
        &self,
        request: Request<v1::DescribeExecutionRequest>,
    ) -> Result<Response<v1::DescribeExecutionResponse>, Status> {
        answer(plain::describe(&self.node, &request.into_inner().execution).await)
    }

    async fn get_execution_history(
        &self,
        request: Request<v1::GetExecutionHistoryRequest>,
    ) -> Result<Response<v1::GetExecutionHistoryResponse>, Status> {
        answer(listing::history(&self.node, request.into_inner()).await)
    }

    async fn list_map_runs(
        &self,
        request: Request<v1::ListMapRunsRequest>,
    ) -> Result<Response<v1::ListMapRunsResponse>, Status> {
        answer(listing::map_runs(&self.node, request.into_inner()).await)
    }

    async fn list_map_run_executions(
        &self,
        request: Request<v1::ListMapRunExecutionsRequest>,
    ) -> Result<Response<v1::ListMapRunExecutionsResponse>, Status> {
        answer(listing::children(&self.node, request.into_inner()).await)
    }

    async fn list_executions(
        &self,
        request: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<v1::ListExecutionsResponse>, Status> {
        rights::check_list(&request)?;
        answer(listing::executions(&self.node, request.into_inner()).await)
    }

    async fn watch_completions(
        &self,
        request: Request<v1::WatchCompletionsRequest>,
    ) -> Result<Response<Completions>, Status> {
        answer(watch::serve(self, request.into_inner()).await)
    }

    async fn put_definition(
        &self,
        request: Request<v1::PutDefinitionRequest>,
    ) -> Result<Response<v1::PutDefinitionResponse>, Status> {
        answer(plain::put_definition(&self.node, request.into_inner()).await)
    }

    async fn describe_node(
        &self,
        _: Request<v1::DescribeNodeRequest>,
    ) -> Result<Response<v1::DescribeNodeResponse>, Status> {
        answer(plain::describe_node(&self.node).await)
    }

    async fn register_dispatcher(
        &self,
        request: Request<v1::RegisterDispatcherRequest>,
    ) -> Result<Response<v1::RegisterDispatcherResponse>, Status> {
        answer(plain::register_dispatcher(&self.node, request.into_inner()).await)
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        // Health is latched before the answer, so that the caller's next probe sees it.
        self.node.health.latch().await;
        self.node.drain.send_replace(true);
        answer(Ok(v1::DrainResponse {}))
    }

    async fn get_activity_task(
        &self,
        request: Request<v1::GetActivityTaskRequest>,
    ) -> Result<Response<v1::GetActivityTaskResponse>, Status> {
        activities::check_peer(&request)?;
        answer(activities::get(&self.node, request.into_inner()).await)
    }

    async fn await_activity_task(
        &self,
        request: Request<v1::AwaitActivityTaskRequest>,
    ) -> Result<Response<v1::AwaitActivityTaskResponse>, Status> {
        answer(activities::wait(&self.node, request.into_inner()).await)
    }

    async fn take_activity_task(
        &self,
        request: Request<v1::GetActivityTaskRequest>,
    ) -> Result<Response<v1::GetActivityTaskResponse>, Status> {
        answer(activities::take(&self.node, request.into_inner()).await)
    }

    async fn send_task_success(
        &self,
        request: Request<v1::SendTaskSuccessRequest>,
    ) -> Result<Response<v1::SendTaskSuccessResponse>, Status> {
        answer(callbacks::success(&self.node, request.into_inner()).await)
    }

    async fn send_task_failure(
        &self,
        request: Request<v1::SendTaskFailureRequest>,
    ) -> Result<Response<v1::SendTaskFailureResponse>, Status> {
        answer(callbacks::failure(&self.node, request.into_inner()).await)
    }

    async fn send_task_heartbeat(
        &self,
        request: Request<v1::SendTaskHeartbeatRequest>,
    ) -> Result<Response<v1::SendTaskHeartbeatResponse>, Status> {
        answer(callbacks::heartbeat(&self.node, request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl Worker for Surface {
    type WorkStream = Tasks;

    async fn work(&self, request: Request<Streaming<v1::WorkerMessage>>) -> Result<Response<Tasks>, Status> {
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.roles.clone());
        let tasks = work::serve(self, peer.as_deref(), request.into_inner()).await?;
        Ok(Response::new(tasks))
    }
}
