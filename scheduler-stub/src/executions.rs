//! Executions, as every door of the scheduler asks for them: gRPC, Step Functions' API and ASW's.
//!
//! Starts go to the dispatcher, everything else, callbacks too, to the node that knows. Invariants: an answer means durable; a
//! call that may have been done is not made a second time here. What may fail: the request, the machine, the nodes, each
//! with an error that has a stable reason.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ids::{ExecutionId, Logging, MachineName, Mode};
use proto::executor::v1::{self, TraceContext};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::dispatch::{CALL_TIMEOUT, Dispatcher, NodeClients, Starts};
use crate::error::Error;
use crate::forward::{Forward, Kind, NodeClient};
use crate::templates::{Template, Templates};
use crate::validate;

/// The longest an EXPRESS execution may run, and somewhat more.
pub const SYNC_DEADLINE: Duration = Duration::from_secs(330);

/// How long a caller waits for the end of an execution that has no deadline of its own: longer than one may run, and shorter
/// than the HTTP door waits.
pub const SYNC_PATIENCE: Duration = Duration::from_secs(310);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Executions {
    pub(crate) templates: Arc<Templates>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) forward: Forward,
    pub(crate) clients: NodeClients,
}

/// A start, as a caller asks for it.
#[derive(Debug, Clone)]
pub struct Start {
    /// Empty: generated.
    pub name: String,
    /// JSON text; empty: `{}`.
    pub input: Bytes,
    /// What of its history is exported; `None`: as the machine says.
    pub logging: Option<Logging>,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
    /// How long its caller waits.
    pub patience: Duration,
}

/// What was started.
#[derive(Debug, Clone)]
pub struct Begun {
    /// What it runs.
    pub template: Arc<Template>,
    /// Its ARN or QRN.
    pub arn: String,
    /// Its id.
    pub id: ExecutionId,
    /// Unix time in milliseconds.
    pub start_time_ms: u64,
}

impl Executions {
    /// Starts one execution of a machine; returns when it is durable.
    ///
    /// # Errors
    /// An unknown machine, a wrong name or input, a full queue, no node, and whatever a node refuses;
    /// [`Error::OutcomeUnknown`] where it may have been started.
    pub async fn start(&self, machine: &str, start: Start) -> Result<Begun, Error> {
        let template = self.templates.target(machine).await?;
        self.start_of(template, start).await
    }

    /// The same, of a machine that was looked up.
    ///
    /// # Errors
    /// As [`Executions::start`].
    pub async fn start_of(&self, template: Arc<Template>, start: Start) -> Result<Begun, Error> {
        let Start { name, input, logging, trace, patience } = start;
        let template = template.logged(logging);
        let input = validate::one(&template, &name, input)?;
        let names = if name.is_empty() { Vec::new() } else { vec![name.clone()] };
        let (inputs, traces) = (vec![input], trace.into_iter().collect());
        let starts = Starts { template: Arc::clone(&template), inputs, names, traces, patience };
        let started = self.dispatcher.start_one(starts).await?;
        let machine = MachineName::parse(&template.arn)
            .map_err(|error| Error::invalid("InvalidArn", error.to_string()))?;
        let name = if name.is_empty() { started.id.to_string() } else { name };
        let arn = machine.execution(template.mode, &name, started.id);
        Ok(Begun { template, arn, id: started.id, start_time_ms: started.start_time_ms })
    }

    /// Runs an execution of an EXPRESS machine to its end, which is the answer.
    ///
    /// # Errors
    /// `StateMachineTypeNotSupported` for a STANDARD machine, an unknown one, a wrong name or input, and the node's answer; of
    /// one that may have been started, without a time to try again.
    pub async fn start_sync(
        &self,
        machine: &str,
        start: Start,
    ) -> Result<v1::StartSyncExecutionResponse, Status> {
        let Start { name, input, logging, trace, patience } = start;
        let template = self.templates.target(machine).await?.logged(logging);
        if template.mode == Mode::Standard {
            let message = "only machines of the type EXPRESS are run synchronously: use StartExecution";
            return Err(Error::invalid("StateMachineTypeNotSupported", message).into());
        }
        let input = validate::one(&template, &name, input)?;
        let start = by_hash(&template, name, input, trace);
        let call = |address: Arc<str>, mut node: NodeClient| {
            let mut request = Request::new(start.clone());
            request.set_timeout(patience);
            let (clients, template) = (&self.clients, &template);
            let mut again = Request::new(start.clone());
            again.set_timeout(patience);
            async move {
                match node.start_sync_execution(request).await {
                    Err(status) if lacks_definition(&status) => {
                        give_definition(clients, &address, template).await?;
                        node.start_sync_execution(again).await
                    }
                    answer => answer,
                }
            }
        };
        Ok(self.forward.start(call).await?.into_inner())
    }

    /// What is known of an execution.
    ///
    /// # Errors
    /// `InvalidArn` for what names none, `ExecutionDoesNotExist`, and that its node cannot say now.
    pub async fn describe(&self, execution: &str) -> Result<v1::DescribeExecutionResponse, Status> {
        let request = v1::DescribeExecutionRequest { execution: execution.to_owned() };
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.describe_execution(request).await }
        };
        self.forward.call(execution, Kind::Question, call).await.map(Response::into_inner)
    }

    /// Stops an execution; returns when that is durable. One that may have been done is not repeated: the caller decides.
    ///
    /// # Errors
    /// As [`Executions::describe`], and that it may have been done.
    pub async fn stop(&self, request: v1::StopExecutionRequest) -> Result<v1::StopExecutionResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.stop_execution(request).await }
        };
        self.forward.call(&request.execution, Kind::Change, call).await.map(Response::into_inner)
    }

    /// Redrives an execution; returns when that is durable. As a stop.
    ///
    /// # Errors
    /// As [`Executions::stop`], and `ExecutionNotRedrivable`.
    pub async fn redrive(
        &self,
        request: v1::RedriveExecutionRequest,
    ) -> Result<v1::RedriveExecutionResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.redrive_execution(request).await }
        };
        self.forward.call(&request.execution, Kind::Change, call).await.map(Response::into_inner)
    }

    /// A page of an execution's history.
    ///
    /// # Errors
    /// As [`Executions::describe`], `HistoryNotKept`, and `InvalidToken`.
    pub async fn history(
        &self,
        request: v1::GetExecutionHistoryRequest,
    ) -> Result<v1::GetExecutionHistoryResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.get_execution_history(request).await }
        };
        self.forward.call(&request.execution, Kind::Question, call).await.map(Response::into_inner)
    }

    /// A page of an execution's Map Runs, the newest first.
    ///
    /// # Errors
    /// As [`Executions::history`].
    pub async fn map_runs(&self, request: v1::ListMapRunsRequest) -> Result<v1::ListMapRunsResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.list_map_runs(request).await }
        };
        self.forward.call(&request.execution, Kind::Question, call).await.map(Response::into_inner)
    }

    /// A page of the child executions of a Map Run, the newest first.
    ///
    /// # Errors
    /// As [`Executions::history`], and `ResourceNotFound` for a Map Run that the execution does not have.
    pub async fn children(
        &self,
        request: v1::ListMapRunExecutionsRequest,
    ) -> Result<v1::ListMapRunExecutionsResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.list_map_run_executions(request).await }
        };
        self.forward.call(&request.execution, Kind::Question, call).await.map(Response::into_inner)
    }

    /// A page of a machine's executions, newest start first.
    ///
    /// # Errors
    /// An unknown machine, `InvalidToken`, and that some partition's node cannot say now: a page with holes would look like
    /// the truth.
    pub async fn list(
        &self,
        request: v1::ListExecutionsRequest,
    ) -> Result<v1::ListExecutionsResponse, Status> {
        self.templates.describe(&request.machine_arn, 0).await?;
        self.list_of_known(request).await
    }

    /// The same, of a machine that the caller has looked up.
    ///
    /// # Errors
    /// As [`Executions::list`].
    pub async fn list_of_known(
        &self,
        request: v1::ListExecutionsRequest,
    ) -> Result<v1::ListExecutionsResponse, Status> {
        self.forward.list(request).await
    }

    /// A task has succeeded.
    ///
    /// # Errors
    /// `InvalidToken`, `TaskDoesNotExist`, `TaskTimedOut`, `InvalidOutput`, and that it may have been taken.
    pub async fn task_success(
        &self,
        request: v1::SendTaskSuccessRequest,
    ) -> Result<v1::SendTaskSuccessResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.send_task_success(request).await }
        };
        self.forward.call_back(&request.task_token, call).await.map(Response::into_inner)
    }

    /// A task has failed.
    ///
    /// # Errors
    /// As [`Executions::task_success`].
    pub async fn task_failure(
        &self,
        request: v1::SendTaskFailureRequest,
    ) -> Result<v1::SendTaskFailureResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.send_task_failure(request).await }
        };
        self.forward.call_back(&request.task_token, call).await.map(Response::into_inner)
    }

    /// A task is being worked at.
    ///
    /// # Errors
    /// As [`Executions::task_success`].
    pub async fn task_heartbeat(
        &self,
        request: v1::SendTaskHeartbeatRequest,
    ) -> Result<v1::SendTaskHeartbeatResponse, Status> {
        let call = |mut node: NodeClient| {
            let request = with_timeout(request.clone());
            async move { node.send_task_heartbeat(request).await }
        };
        self.forward.call_back(&request.task_token, call).await.map(Response::into_inner)
    }
}

fn with_timeout<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// A synchronous start that names the definition by its hash: nodes have it, as a rule.
fn by_hash(
    template: &Template,
    name: String,
    input: Bytes,
    trace: Option<TraceContext>,
) -> v1::StartExecutionRequest {
    v1::StartExecutionRequest {
        machine_arn: template.arn.clone(),
        definition_hash: Bytes::copy_from_slice(&template.hash),
        mode: v1::Mode::SyncExpress.into(),
        dialect: match template.dialect {
            asl::Dialect::Asl => v1::Dialect::Asl,
            asl::Dialect::Tcsl => v1::Dialect::Tcsl,
        }
        .into(),
        input,
        name,
        retention_seconds: template.retention_s,
        role_arn: template.role_arn.clone(),
        logging: Some(template.logging.into()),
        trace,
        origin: template.origin.clone(),
        ..Default::default()
    }
}

/// Whether a node has begun nothing, for it has not the definition.
fn lacks_definition(status: &Status) -> bool {
    let details = status.get_error_details();
    details.error_info().is_some_and(|info| info.reason == "DefinitionDoesNotExist")
}

/// Gives a node the definition of a start that it has not begun: whatever fails here may be asked for again.
async fn give_definition(clients: &NodeClients, node: &str, template: &Template) -> Result<(), Status> {
    let Err(status) = clients.put_definition(node, template).await else { return Ok(()) };
    let why = status.message();
    let error = match status.code() {
        Code::InvalidArgument => {
            Error::invalid("InvalidDefinition", format!("the node refuses the definition: {why}"))
        }
        _ => Error::unavailable(format!(
            "the node at {node} lacks the definition and did not take it ({why}): nothing was started, ask again"
        )),
    };
    Err(error.into())
}
