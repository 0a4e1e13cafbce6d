//! A node that does what a test tells it to: every batch that it receives is handed to the test, which
//! answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::executor::v1::executor_server::{Executor, ExecutorServer};
use proto::executor::v1::start_refusal::Reason;
use proto::executor::v1::{self as v1, RunningExecution, StartAck, StartBatch, StartRefusal};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Barrier, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A batch, and where to answer it.
pub struct Received {
    pub batch: StartBatch,
    answers: mpsc::Sender<Result<StartAck, Status>>,
}

impl Received {
    pub fn len(&self) -> u32 {
        u32::try_from(self.batch.input.len()).expect("small")
    }

    pub async fn acknowledge(&self) {
        self.answer(0, self.len(), None).await;
    }

    pub async fn refuse(&self, reason: Reason) {
        self.answer(0, self.len(), Some(reason)).await;
    }

    pub async fn answer(&self, from: u32, to: u32, reason: Option<Reason>) {
        let refusal = reason.map(|reason| StartRefusal {
            reason: reason.into(),
            code: format!("{reason:?}"),
            message: format!("the test says {reason:?}"),
            retry_after_ms: 1,
            missing_definitions: self
                .batch
                .machines
                .iter()
                .map(|machine| machine.definition_hash.clone())
                .collect(),
        });
        let ack = StartAck { id: self.batch.id, from, to, refusal, running: None };
        self.answers.send(Ok(ack)).await.expect("the stream is open");
    }

    /// Answers one entry with an execution that runs already.
    pub async fn answer_with(&self, at: u32, running: RunningExecution) {
        let (id, to) = (self.batch.id, at + 1);
        let ack = StartAck { id, from: at, to, refusal: None, running: Some(running) };
        self.answers.send(Ok(ack)).await.expect("the stream is open");
    }

    /// Ends the stream on which the batch came.
    pub async fn cut(&self) {
        self.answers.send(Err(Status::unavailable("cut by the test"))).await.expect("the stream is open");
    }
}

#[derive(Clone)]
struct Service {
    address: SocketAddr,
    partitions: Arc<Mutex<Vec<u32>>>,
    received: mpsc::Sender<Received>,
    definitions: Arc<AtomicU32>,
    lists: Arc<Mutex<Option<Arc<Barrier>>>>,
    dispatchers: Arc<AtomicU32>,
}

/// See the module.
pub struct FakeNode {
    pub address: String,
    received: mpsc::Receiver<Received>,
    partitions: Arc<Mutex<Vec<u32>>>,
    definitions: Arc<AtomicU32>,
    lists: Arc<Mutex<Option<Arc<Barrier>>>>,
    /// All that runs of it.
    process: Option<Runtime>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

impl FakeNode {
    /// A node with one shard that owns these of four partitions.
    pub async fn start(partitions: &[u32]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let (sender, received) = mpsc::channel(1_024);
        let service = Service {
            address,
            partitions: Arc::new(Mutex::new(partitions.to_vec())),
            received: sender,
            definitions: Arc::default(),
            lists: Arc::default(),
            dispatchers: Arc::default(),
        };
        let node = Self {
            address: address.to_string(),
            received,
            partitions: Arc::clone(&service.partitions),
            definitions: Arc::clone(&service.definitions),
            lists: Arc::clone(&service.lists),
            process: Some(Runtime::new().expect("threads")),
        };
        let serve = async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            let server = tonic::transport::Server::builder().add_service(ExecutorServer::new(service));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await
        };
        node.process.as_ref().expect("just made").spawn(serve);
        node
    }

    /// Ends all at once, as a killed process does.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.shutdown_background();
        }
    }

    pub async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.received.recv())
            .await
            .expect("a batch comes")
            .expect("the node lives")
    }

    pub fn owns(&self, partitions: &[u32]) {
        *self.partitions.lock().expect("no panic") = partitions.to_vec();
    }

    /// From now on its lists are empty, and given when as many are asked for as the barrier waits for.
    pub fn lists_at(&self, barrier: &Arc<Barrier>) {
        *self.lists.lock().expect("no panic") = Some(Arc::clone(barrier));
    }

    pub fn definitions_put(&self) -> u32 {
        self.definitions.load(Ordering::Relaxed)
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl Executor for Service {
    type StartExecutionsStream = ReceiverStream<Result<StartAck, Status>>;
    type WatchCompletionsStream = ReceiverStream<Result<v1::CompletionBatch, Status>>;

    async fn start_executions(
        &self,
        request: Request<Streaming<StartBatch>>,
    ) -> Result<Response<Self::StartExecutionsStream>, Status> {
        let mut batches = request.into_inner();
        let (answers, stream) = mpsc::channel(1_024);
        let received = self.received.clone();
        tokio::spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                if received.send(Received { batch, answers: answers.clone() }).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn describe_node(
        &self,
        _: Request<v1::DescribeNodeRequest>,
    ) -> Result<Response<v1::DescribeNodeResponse>, Status> {
        let shard = v1::Shard {
            index: 0,
            data_address: self.address.to_string(),
            partitions: self.partitions.lock().expect("no panic").clone(),
            ..v1::Shard::default()
        };
        Ok(Response::new(v1::DescribeNodeResponse {
            node_id: "fake".into(),
            shards: vec![shard],
            partitions: 4,
            ..v1::DescribeNodeResponse::default()
        }))
    }

    async fn register_dispatcher(
        &self,
        _: Request<v1::RegisterDispatcherRequest>,
    ) -> Result<Response<v1::RegisterDispatcherResponse>, Status> {
        let incarnation = self.dispatchers.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Response::new(v1::RegisterDispatcherResponse { incarnation }))
    }

    async fn put_definition(
        &self,
        _: Request<v1::PutDefinitionRequest>,
    ) -> Result<Response<v1::PutDefinitionResponse>, Status> {
        self.definitions.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(v1::PutDefinitionResponse::default()))
    }

    async fn start_execution(
        &self,
        _: Request<v1::StartExecutionRequest>,
    ) -> Result<Response<v1::StartExecutionResponse>, Status> {
        not_here()
    }

    async fn stop_execution(
        &self,
        _: Request<v1::StopExecutionRequest>,
    ) -> Result<Response<v1::StopExecutionResponse>, Status> {
        not_here()
    }

    async fn start_sync_execution(
        &self,
        _: Request<v1::StartExecutionRequest>,
    ) -> Result<Response<v1::StartSyncExecutionResponse>, Status> {
        not_here()
    }

    async fn redrive_execution(
        &self,
        _: Request<v1::RedriveExecutionRequest>,
    ) -> Result<Response<v1::RedriveExecutionResponse>, Status> {
        not_here()
    }

    async fn describe_execution(
        &self,
        _: Request<v1::DescribeExecutionRequest>,
    ) -> Result<Response<v1::DescribeExecutionResponse>, Status> {
        not_here()
    }

    async fn get_execution_history(
        &self,
        _: Request<v1::GetExecutionHistoryRequest>,
    ) -> Result<Response<v1::GetExecutionHistoryResponse>, Status> {
        not_here()
    }

    async fn list_map_runs(
        &self,
        _: Request<v1::ListMapRunsRequest>,
    ) -> Result<Response<v1::ListMapRunsResponse>, Status> {
        not_here()
    }

    async fn list_map_run_executions(
        &self,
        _: Request<v1::ListMapRunExecutionsRequest>,
    ) -> Result<Response<v1::ListMapRunExecutionsResponse>, Status> {
        not_here()
    }

    async fn list_executions(
        &self,
        _: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<v1::ListExecutionsResponse>, Status> {
        let barrier = self.lists.lock().expect("no panic").clone();
        let Some(barrier) = barrier else { return not_here() };
        barrier.wait().await;
        Ok(Response::new(v1::ListExecutionsResponse::default()))
    }

    async fn watch_completions(
        &self,
        _: Request<v1::WatchCompletionsRequest>,
    ) -> Result<Response<Self::WatchCompletionsStream>, Status> {
        not_here()
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        not_here()
    }

    async fn send_task_success(
        &self,
        _: Request<v1::SendTaskSuccessRequest>,
    ) -> Result<Response<v1::SendTaskSuccessResponse>, Status> {
        not_here()
    }

    async fn send_task_failure(
        &self,
        _: Request<v1::SendTaskFailureRequest>,
    ) -> Result<Response<v1::SendTaskFailureResponse>, Status> {
        not_here()
    }

    async fn send_task_heartbeat(
        &self,
        _: Request<v1::SendTaskHeartbeatRequest>,
    ) -> Result<Response<v1::SendTaskHeartbeatResponse>, Status> {
        not_here()
    }

    async fn get_activity_task(
        &self,
        _: Request<v1::GetActivityTaskRequest>,
    ) -> Result<Response<v1::GetActivityTaskResponse>, Status> {
        not_here()
    }

    async fn await_activity_task(
        &self,
        _: Request<v1::AwaitActivityTaskRequest>,
    ) -> Result<Response<v1::AwaitActivityTaskResponse>, Status> {
        not_here()
    }

    async fn take_activity_task(
        &self,
        _: Request<v1::GetActivityTaskRequest>,
    ) -> Result<Response<v1::GetActivityTaskResponse>, Status> {
        not_here()
    }
}
