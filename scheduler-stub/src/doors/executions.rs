//! Executions in Step Functions' API: starts, look-ups, lists, stops and redrives.
//!
//! Invariants: an execution is answered for by its whole ARN or QRN alone, for an id leads to it whatever machine the text around
//! it names, and callers have rights on machines ([`own`]); names and inputs are judged by the core. What may fail: whatever the core
//! refuses.

use std::sync::Arc;

use bytes::Bytes;
use front::{Answer, Call, Fault, Subject};
use ids::{ExecutionName, MachineName, Mode};
use proto::executor::v1::{self, ExecutionStatus, RedriveStatus};
use serde::{Deserialize, Serialize};

use super::answer::{page, seconds, text, token};
use super::fault::{fault, fault_of_start};
use super::{Doors, Kind, on_main, trace_header, unserved};
use crate::executions::{Begun, SYNC_PATIENCE, Start};
use crate::templates::Template;

/// What AWS bills an execution by, in milliseconds.
const BILLED_STEP_MS: u64 = 100;
/// What AWS bills the smallest execution with, in MB.
const BILLED_MEMORY_MB: u32 = 64;

/// What is known of an execution that a call names by its whole ARN or QRN, as it is spelt in answers.
///
/// # Errors
/// `InvalidArn` for an id alone; `ExecutionDoesNotExist`, also where the ARN names another machine or name than the
/// execution of its id has: a right on that machine is none on this one.
pub(super) async fn own(
    doors: &Doors,
    call: &Call,
    execution: &str,
) -> Result<v1::DescribeExecutionResponse, Fault> {
    whole(execution)?;
    let described = doors.executions.describe(execution).await.map_err(|status| fault(call, status))?;
    let summary = described.summary.as_ref();
    if summary.is_some_and(|summary| is_same(&summary.execution_arn, execution)) {
        return Ok(described);
    }
    Err(Fault::new(
        front::Kind::ExecutionDoesNotExist,
        format!("{execution} does not exist: is it spelt right?"),
    ))
}

/// The same, where a look-up is needed: a name leads to its own machine's execution alone.
pub(super) async fn check_own(doors: &Doors, call: &Call, execution: &str) -> Result<(), Fault> {
    whole(execution)?;
    match ExecutionName::parse(execution) {
        Ok(ExecutionName::Named { .. }) => Ok(()),
        // What is neither is refused by the core.
        Ok(ExecutionName::Id(_)) | Err(_) => own(doors, call, execution).await.map(drop),
    }
}

/// An id alone is no name of this API's: whoever mistypes an ARN shall not find an execution by accident.
fn whole(execution: &str) -> Result<(), Fault> {
    if execution.contains(':') {
        return Ok(());
    }
    let message = "give the whole ARN (arn:aws:states:REGION:ACCOUNT:execution:MACHINE:NAME) or QRN \
                   (qrn:qcs:asw:REGION:APPID:execution:ID:NAME) of the execution, as its start has told it";
    Err(Fault::new(front::Kind::InvalidArn, message))
}

/// Whether two spellings are of one execution: QRNs of any region are.
fn is_same(known: &str, given: &str) -> bool {
    let place = |text: &str| text.starts_with("qrn:").then(|| text.splitn(6, ':').nth(5).map(str::to_owned));
    match (place(known), place(given)) {
        (Some(known), Some(given)) => known == given,
        _ => known == given,
    }
}

/// The machine of a call that does not name it: see [`front::Gate::machine`]. A task's token is a right of its own, for whoever
/// has it was given the task.
pub(super) async fn machine(doors: &Doors, call: &Call) -> Result<Option<String>, Fault> {
    let Subject::Members(members) = call.operation.subject else { return Ok(None) };
    for given in members.iter().filter_map(|member| call.text(member)) {
        whole(given)?;
        if !given.starts_with("qrn:") || MachineName::parse(given).is_ok() {
            continue;
        }
        let summary = own(doors, call, given).await?.summary.unwrap_or_default();
        let machine = MachineName::parse(&summary.machine_arn);
        return Ok(machine.ok().map(|machine| machine.name().to_owned()));
    }
    Ok(None)
}

/// Starts an execution for either API, on whatever thread asks for it.
pub(super) async fn begin(doors: &Doors, call: &Call, machine: &str, start: Start) -> Result<Begun, Fault> {
    let template = target(doors, call, machine).await?;
    let repeatable = template.mode == Mode::Standard && !start.name.is_empty();
    let begun = doors.executions.start_of(template, start).await;
    begun.map_err(|error| fault_of_start(call, error, repeatable))
}

/// What a start of this ARN or QRN runs. Nothing has begun when this fails.
async fn target(doors: &Doors, call: &Call, machine: &str) -> Result<Arc<Template>, Fault> {
    if let Some(known) = doors.templates.known(machine) {
        return Ok(known);
    }
    let (templates, arn) = (Arc::clone(&doors.templates), machine.to_owned());
    // A store may spawn what outlives the call.
    let found = on_main(&doors.main, Kind::Question, async move { templates.target(&arn).await }).await?;
    found.map_err(|error| fault_of_start(call, error, true))
}

fn asked(call: &Call, patience: std::time::Duration) -> Start {
    Start {
        name: call.text("name").unwrap_or_default().to_owned(),
        input: Bytes::copy_from_slice(call.text("input").unwrap_or_default().as_bytes()),
        logging: None,
        trace: call.text("traceHeader").and_then(trace_header::read),
        patience,
    }
}

/// `StartExecution`.
pub(super) async fn start_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        execution_arn: String,
        start_date: f64,
    }
    let machine = call.text("stateMachineArn").unwrap_or_default();
    let Begun { arn, start_time_ms, .. } =
        begin(doors, &call, machine, asked(&call, doors.start_patience)).await?;
    Answer::of(&Output { execution_arn: arn, start_date: seconds(start_time_ms) })
}

#[derive(Serialize)]
struct Included {
    included: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BillingDetails {
    #[serde(rename = "billedMemoryUsedInMB")]
    billed_memory_used_in_mb: u32,
    billed_duration_in_milliseconds: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SyncOutput<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    start_date: f64,
    stop_date: f64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    input_details: Included,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_details: Option<Included>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_header: Option<&'a str>,
    billing_details: BillingDetails,
}

/// Whether a call asks for inputs and outputs, too.
fn wants_data(call: &Call) -> bool {
    call.text("includedData") != Some("METADATA_ONLY")
}

async fn start_sync_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let machine = call.text("stateMachineArn").unwrap_or_default();
    let ended = doors.executions.start_sync(machine, asked(&call, SYNC_PATIENCE)).await;
    let ended = ended.map_err(|status| fault_of_start(&call, status, false))?;
    let summary = ended.summary.unwrap_or_default();
    let data = wants_data(&call);
    let output = ended.output.as_ref().map(text).transpose()?;
    let duration_ms = summary.stop_time_ms.saturating_sub(summary.start_time_ms);
    Answer::of(&SyncOutput {
        execution_arn: &summary.execution_arn,
        state_machine_arn: &summary.machine_arn,
        name: &summary.name,
        start_date: seconds(summary.start_time_ms),
        stop_date: seconds(summary.stop_time_ms),
        // The API has no other word for one that was stopped.
        status: match summary.status() {
            ExecutionStatus::Succeeded => "SUCCEEDED",
            ExecutionStatus::TimedOut => "TIMED_OUT",
            _ => "FAILED",
        },
        error: ended.error.as_deref(),
        cause: ended.cause.as_deref(),
        input: data.then(|| call.text("input").filter(|input| !input.is_empty()).unwrap_or("{}")),
        input_details: Included { included: data },
        output: output.filter(|_| data),
        output_details: output.map(|_| Included { included: data }),
        trace_header: call.text("traceHeader"),
        billing_details: BillingDetails {
            billed_memory_used_in_mb: BILLED_MEMORY_MB,
            billed_duration_in_milliseconds: duration_ms.div_ceil(BILLED_STEP_MS).max(1) * BILLED_STEP_MS,
        },
    })
}

/// A status as the API spells it.
fn spelt(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Unspecified | ExecutionStatus::Running => "RUNNING",
        ExecutionStatus::Succeeded => "SUCCEEDED",
        ExecutionStatus::Failed => "FAILED",
        ExecutionStatus::TimedOut => "TIMED_OUT",
        ExecutionStatus::Aborted => "ABORTED",
    }
}

/// A time that there is only once something has happened.
fn later(ms: u64) -> Option<f64> {
    (ms > 0).then(|| seconds(ms))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    status: &'static str,
    start_date: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    input_details: Included,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_details: Option<Included>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(flatten)]
    redrive: Option<Redrive<'a>>,
}

/// What is said of STANDARD executions alone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Redrive<'a> {
    redrive_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    redrive_date: Option<f64>,
    redrive_status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    redrive_status_reason: &'a str,
}

impl<'a> Redrive<'a> {
    fn of(described: &'a v1::DescribeExecutionResponse) -> Self {
        let redrivable = described.redrive_status() == RedriveStatus::Redrivable;
        Self {
            redrive_count: described.redrive_count,
            redrive_date: later(described.redrive_time_ms),
            redrive_status: if redrivable { "REDRIVABLE" } else { "NOT_REDRIVABLE" },
            redrive_status_reason: &described.redrive_status_reason,
        }
    }
}

async fn describe_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let execution = call.text("executionArn").unwrap_or_default();
    let described = own(doors, &call, execution).await?;
    let summary = described.summary.clone().unwrap_or_default();
    let data = wants_data(&call);
    let output = described.output.as_ref().map(text).transpose()?;
    Answer::of(&Described {
        execution_arn: &summary.execution_arn,
        state_machine_arn: &summary.machine_arn,
        name: &summary.name,
        status: spelt(summary.status()),
        start_date: seconds(summary.start_time_ms),
        stop_date: later(summary.stop_time_ms),
        input: if data { Some(text(&described.input)?) } else { None },
        input_details: Included { included: data },
        output: output.filter(|_| data),
        output_details: output.map(|_| Included { included: data }),
        error: described.error.as_deref(),
        cause: described.cause.as_deref(),
        redrive: (summary.mode() == v1::Mode::Standard).then(|| Redrive::of(&described)),
    })
}

async fn stop_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        stop_date: f64,
    }
    let member = |name: &str| call.text(name).unwrap_or_default().to_owned();
    let execution = member("executionArn");
    check_own(doors, &call, &execution).await?;
    let request = v1::StopExecutionRequest { execution, error: member("error"), cause: member("cause") };
    let stopped = doors.executions.stop(request).await.map_err(|status| fault(&call, status))?;
    Answer::of(&Output { stop_date: seconds(stopped.stop_time_ms) })
}

async fn redrive_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output {
        redrive_date: f64,
    }
    let member = |name: &str| call.text(name).unwrap_or_default().to_owned();
    let execution = member("executionArn");
    check_own(doors, &call, &execution).await?;
    let request = v1::RedriveExecutionRequest { execution, client_token: member("clientToken") };
    let redriven = doors.executions.redrive(request).await.map_err(|status| fault(&call, status))?;
    Answer::of(&Output { redrive_date: seconds(redriven.redrive_time_ms) })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    state_machine_arn: Option<String>,
    status_filter: Option<String>,
    max_results: Option<u32>,
    next_token: Option<String>,
    map_run_arn: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput<'a> {
    executions: Vec<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    status: &'static str,
    start_date: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<f64>,
}

impl<'a> Listed<'a> {
    fn of(summary: &'a v1::ExecutionSummary) -> Self {
        Self {
            execution_arn: &summary.execution_arn,
            state_machine_arn: &summary.machine_arn,
            name: &summary.name,
            status: spelt(summary.status()),
            start_date: seconds(summary.start_time_ms),
            stop_date: later(summary.stop_time_ms),
        }
    }
}

/// The status that a list is asked for; `None`: one that no execution has here.
fn wanted(filter: Option<&str>) -> Option<ExecutionStatus> {
    Some(match filter {
        None => ExecutionStatus::Unspecified,
        Some("RUNNING") => ExecutionStatus::Running,
        Some("SUCCEEDED") => ExecutionStatus::Succeeded,
        Some("FAILED") => ExecutionStatus::Failed,
        Some("TIMED_OUT") => ExecutionStatus::TimedOut,
        Some("ABORTED") => ExecutionStatus::Aborted,
        Some(_) => return None,
    })
}

async fn list_executions(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let input: ListInput = call.read()?;
    let machine = match (input.state_machine_arn, input.map_run_arn) {
        (Some(machine), None) => machine,
        (None, Some(_)) => {
            let message =
                "executions of Map Runs are not listed here: see ListMapRuns and the history of their parent";
            return Err(Fault::new(front::Kind::ResourceNotFound, message));
        }
        _ => {
            let message = "give one of stateMachineArn and mapRunArn";
            return Err(Fault::new(front::Kind::Validation, message));
        }
    };
    let template = doors.templates.resolve(&machine).await.map_err(|error| fault(&call, error))?;
    if template.mode != Mode::Standard {
        let message =
            format!("{machine} is EXPRESS, whose executions are not listed: see where its log goes");
        return Err(Fault::new(front::Kind::StateMachineTypeNotSupported, message));
    }
    let Some(status) = wanted(input.status_filter.as_deref()) else {
        return Answer::of(&ListOutput { executions: Vec::new(), next_token: None });
    };
    let request = v1::ListExecutionsRequest {
        machine_arn: template.arn.clone(),
        status: status.into(),
        max_results: page(input.max_results),
        next_token: input.next_token.unwrap_or_default(),
        ..Default::default()
    };
    let listed = doors.executions.list(request).await.map_err(|status| fault(&call, status))?;
    let executions = listed.executions.iter().map(Listed::of).collect();
    Answer::of(&ListOutput { executions, next_token: token(listed.next_token) })
}

/// Serves the operations of this module.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "StartExecution" => start_execution(doors, call).await,
        "StartSyncExecution" => start_sync_execution(doors, call).await,
        "DescribeExecution" => describe_execution(doors, call).await,
        "StopExecution" => stop_execution(doors, call).await,
        "RedriveExecution" => redrive_execution(doors, call).await,
        "ListExecutions" => list_executions(doors, call).await,
        _ => Err(unserved(&call)),
    }
}
