//! What the command line and the quick start ask a scheduler: a thin client over the gRPC services.

use std::time::Duration;

use bytes::Bytes;
use proto::executor::v1::{
    DescribeExecutionRequest, DescribeExecutionResponse, ExecutionStatus, ExecutionSummary,
    GetActivityTaskRequest, GetActivityTaskResponse, GetExecutionHistoryRequest, HistoryEvent, HistoryForm,
    ListExecutionsRequest, RedriveExecutionRequest, SendTaskFailureRequest, SendTaskHeartbeatRequest,
    SendTaskSuccessRequest, StartExecutionResponse, StartSyncExecutionResponse, StopExecutionRequest,
};
use proto::scheduler::v1::activities_client::ActivitiesClient;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::executions_client::ExecutionsClient;
use proto::scheduler::v1::templates_client::TemplatesClient;
use proto::scheduler::v1::{
    CreateActivityRequest, CreateActivityResponse, CreateStateMachineRequest, CreateStateMachineResponse,
    DeleteActivityRequest, DeleteStateMachineRequest, DescribeActivityRequest, DescribeActivityResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeStateMachineRequest,
    DescribeStateMachineResponse, ListActivitiesRequest, ListStateMachinesRequest, StartExecutionRequest,
    StateMachineSummary, UpdateStateMachineRequest, UpdateStateMachineResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Status};
use trust::Trust;

use crate::dispatch::{MESSAGE_BYTES_MAX, endpoint};
use crate::error::Error;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a poll of an activity may take, and somewhat more.
const POLL_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a synchronous execution may take, and somewhat more.
const SYNC_TIMEOUT: Duration = Duration::from_secs(330);

/// A connection to a scheduler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    templates: TemplatesClient<Channel>,
    executions: ExecutionsClient<Channel>,
    cluster: ClusterClient<Channel>,
    activities: ActivitiesClient<Channel>,
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

impl Client {
    /// Connects to `host:port` or a URL; with certificates, or in plain text.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed address, [`Error::Unavailable`] when nobody listens there.
    pub async fn connect(address: &str, trust: Option<&Trust>) -> Result<Self, Error> {
        let towards = trust.map(Trust::towards_schedulers);
        let channel = trust::channel(&endpoint(address)?, towards.as_ref()).await.map_err(|error| {
            let reason = trust::with_causes(&error.to_string(), &error);
            Error::unavailable(format!(
                "no scheduler answers at {address} ({reason}): start one (`scheduler-stub serve`, or \
                 `scheduler-stub quickstart --serve`), or give its address with --scheduler"
            ))
        })?;
        Ok(Self {
            templates: TemplatesClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            activities: ActivitiesClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            cluster: ClusterClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            executions: ExecutionsClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        })
    }

    /// The client of `scheduler.v1.Executions`, for streams.
    #[must_use]
    pub fn executions(&self) -> ExecutionsClient<Channel> {
        self.executions.clone()
    }

    /// Who lives, and who has what.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn nodes(&mut self) -> Result<DescribeClusterResponse, Status> {
        Ok(self.cluster.describe_cluster(call(DescribeClusterRequest {})).await?.into_inner())
    }

    /// Creates a machine.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn create(
        &mut self,
        request: CreateStateMachineRequest,
    ) -> Result<CreateStateMachineResponse, Status> {
        Ok(self.templates.create_state_machine(call(request)).await?.into_inner())
    }

    /// Gives a machine a new definition.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn update(
        &mut self,
        request: UpdateStateMachineRequest,
    ) -> Result<UpdateStateMachineResponse, Status> {
        Ok(self.templates.update_state_machine(call(request)).await?.into_inner())
    }

    /// One version of a machine; 0 is the newest.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn machine(&mut self, arn: &str, version: u32) -> Result<DescribeStateMachineResponse, Status> {
        let request = DescribeStateMachineRequest { arn: arn.to_owned(), version };
        Ok(self.templates.describe_state_machine(call(request)).await?.into_inner())
    }

    /// All machines.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn machines(&mut self) -> Result<Vec<StateMachineSummary>, Status> {
        let mut machines = Vec::new();
        let mut next_token = String::new();
        loop {
            let request = ListStateMachinesRequest { max_results: 1_000, next_token };
            let page = self.templates.list_state_machines(call(request)).await?.into_inner();
            machines.extend(page.state_machines);
            next_token = page.next_token;
            if next_token.is_empty() {
                return Ok(machines);
            }
        }
    }

    /// Deletes a machine.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn delete(&mut self, arn: &str) -> Result<(), Status> {
        let request = DeleteStateMachineRequest { arn: arn.to_owned() };
        self.templates.delete_state_machine(call(request)).await?;
        Ok(())
    }

    /// The ARN or QRN that people mean: the text itself, or the machine of this name.
    ///
    /// # Errors
    /// `NOT_FOUND` when no machine, `FAILED_PRECONDITION` when an ASL and a TCSL machine have the name.
    pub async fn arn_of(&mut self, text: &str) -> Result<String, Status> {
        if text.contains(':') {
            return Ok(text.to_owned());
        }
        let mut found: Vec<_> =
            self.machines().await?.into_iter().filter(|machine| machine.name == text).collect();
        match (found.pop(), found.is_empty()) {
            (Some(machine), true) => Ok(machine.arn),
            (Some(_), false) => {
                let message =
                    format!("two machines are called {text:?}: give the ARN (`machine list` shows them)");
                Err(Status::failed_precondition(message))
            }
            (None, _) => {
                let message = format!("no machine is called {text:?}: `machine list` shows those that exist");
                Err(Status::not_found(message))
            }
        }
    }

    /// Creates an activity, or gives the one of this name.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn create_activity(&mut self, name: &str) -> Result<CreateActivityResponse, Status> {
        let request = CreateActivityRequest { name: name.to_owned() };
        Ok(self.activities.create_activity(call(request)).await?.into_inner())
    }

    /// An activity.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn activity(&mut self, arn: &str) -> Result<DescribeActivityResponse, Status> {
        let request = DescribeActivityRequest { activity_arn: arn.to_owned() };
        Ok(self.activities.describe_activity(call(request)).await?.into_inner())
    }

    /// All activities.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn activities(&mut self) -> Result<Vec<DescribeActivityResponse>, Status> {
        let (mut activities, mut next_token) = (Vec::new(), String::new());
        loop {
            let request = ListActivitiesRequest { max_results: 1_000, next_token };
            let page = self.activities.list_activities(call(request)).await?.into_inner();
            activities.extend(page.activities);
            next_token = page.next_token;
            if next_token.is_empty() {
                return Ok(activities);
            }
        }
    }

    /// Deletes an activity.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn delete_activity(&mut self, arn: &str) -> Result<(), Status> {
        let request = DeleteActivityRequest { activity_arn: arn.to_owned() };
        self.activities.delete_activity(call(request)).await?;
        Ok(())
    }

    /// Waits for a task of an activity and takes it; without a token there was none.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn activity_task(
        &mut self,
        arn: &str,
        worker: &str,
    ) -> Result<GetActivityTaskResponse, Status> {
        let message = GetActivityTaskRequest { activity_arn: arn.to_owned(), worker_name: worker.to_owned() };
        let mut request = Request::new(message);
        request.set_timeout(POLL_TIMEOUT);
        Ok(self.activities.get_activity_task(request).await?.into_inner())
    }

    /// Starts one execution; returns when it is durable.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn start(
        &mut self,
        arn: &str,
        name: &str,
        input: Bytes,
    ) -> Result<StartExecutionResponse, Status> {
        let (state_machine_arn, name) = (arn.to_owned(), name.to_owned());
        self.start_as(StartExecutionRequest { state_machine_arn, name, input, ..Default::default() }).await
    }

    /// As [`Self::start`], with all that may be said.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn start_as(
        &mut self,
        request: StartExecutionRequest,
    ) -> Result<StartExecutionResponse, Status> {
        Ok(self.executions.start_execution(call(request)).await?.into_inner())
    }

    /// Runs one execution of an EXPRESS machine; returns when it has ended.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn start_sync(
        &mut self,
        arn: &str,
        name: &str,
        input: Bytes,
    ) -> Result<StartSyncExecutionResponse, Status> {
        let (state_machine_arn, name) = (arn.to_owned(), name.to_owned());
        self.start_sync_as(StartExecutionRequest { state_machine_arn, name, input, ..Default::default() })
            .await
    }

    /// As [`Self::start_sync`], with all that may be said.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn start_sync_as(
        &mut self,
        request: StartExecutionRequest,
    ) -> Result<StartSyncExecutionResponse, Status> {
        let mut request = Request::new(request);
        request.set_timeout(SYNC_TIMEOUT);
        Ok(self.executions.start_sync_execution(request).await?.into_inner())
    }

    /// Describes an execution.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn describe(&mut self, execution: &str) -> Result<DescribeExecutionResponse, Status> {
        let request = DescribeExecutionRequest { execution: execution.to_owned() };
        Ok(self.executions.describe_execution(call(request)).await?.into_inner())
    }

    /// Stops an execution; gives the stop time in Unix milliseconds.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn stop(&mut self, execution: &str, error: &str, cause: &str) -> Result<u64, Status> {
        let request = StopExecutionRequest {
            execution: execution.to_owned(),
            error: error.to_owned(),
            cause: cause.to_owned(),
        };
        Ok(self.executions.stop_execution(call(request)).await?.into_inner().stop_time_ms)
    }

    /// Has an execution go on from where it failed; gives the time of the redrive in Unix milliseconds. A token that is not
    /// empty names this redrive, which is done once however often it is asked for.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn redrive(&mut self, execution: &str, token: &str) -> Result<u64, Status> {
        let request =
            RedriveExecutionRequest { execution: execution.to_owned(), client_token: token.to_owned() };
        Ok(self.executions.redrive_execution(call(request)).await?.into_inner().redrive_time_ms)
    }

    /// Says that the task of a token is done.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn task_success(&mut self, task_token: String, output: Bytes) -> Result<(), Status> {
        self.executions.send_task_success(call(SendTaskSuccessRequest { task_token, output })).await?;
        Ok(())
    }

    /// Says that the task of a token has failed.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn task_failure(
        &mut self,
        task_token: String,
        error: String,
        cause: String,
    ) -> Result<(), Status> {
        self.executions.send_task_failure(call(SendTaskFailureRequest { task_token, error, cause })).await?;
        Ok(())
    }

    /// Says that the task of a token is being worked at.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn task_heartbeat(&mut self, task_token: String) -> Result<(), Status> {
        self.executions.send_task_heartbeat(call(SendTaskHeartbeatRequest { task_token })).await?;
        Ok(())
    }

    /// Up to `limit` executions of a machine, newest start first.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn list(
        &mut self,
        arn: &str,
        status: ExecutionStatus,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, Status> {
        let mut executions = Vec::new();
        let mut next_token = String::new();
        while executions.len() < limit {
            let max_results = u32::try_from((limit - executions.len()).min(1_000)).unwrap_or(1_000);
            let machine_arn = arn.to_owned();
            let request = ListExecutionsRequest {
                machine_arn,
                status: status.into(),
                max_results,
                next_token,
                ..Default::default()
            };
            let page = self.executions.list_executions(call(request)).await?.into_inner();
            executions.extend(page.executions);
            next_token = page.next_token;
            if next_token.is_empty() {
                break;
            }
        }
        Ok(executions)
    }

    /// An execution's whole history, oldest event first, as Step Functions tells it.
    ///
    /// # Errors
    /// The scheduler's answer.
    pub async fn history(&mut self, execution: &str) -> Result<Vec<HistoryEvent>, Status> {
        let mut events = Vec::new();
        let mut next_token = String::new();
        loop {
            let request = GetExecutionHistoryRequest {
                execution: execution.to_owned(),
                reverse_order: false,
                max_results: 1_000,
                next_token,
                form: HistoryForm::StepFunctions.into(),
            };
            let page = self.executions.get_execution_history(call(request)).await?.into_inner();
            events.extend(page.events);
            next_token = page.next_token;
            if next_token.is_empty() {
                return Ok(events);
            }
        }
    }
}
