//! Starts in Step Functions' API.
//!
//! Invariants: a start whose machine is known asks nobody and spawns nothing, so that it may come from any thread; one that may
//! have begun is answered with what clients repeat by themselves only where repeating it does its work once. What may fail:
//! whatever the core refuses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use front::{Answer, Call, Fault};
use ids::Mode;
use proto::executor::v1::ExecutionStatus;
use serde::Serialize;

use super::answer::{seconds, text};
use super::executions::Data;
use super::fault::fault_of_start;
use super::{Doors, Kind, on_main, trace_header};
use crate::error::Error;
use crate::executions::{Begun, SYNC_PATIENCE, Start};
use crate::templates::{Template, Templates};

/// What AWS bills an execution by, in milliseconds.
const BILLED_STEP_MS: u64 = 100;
/// What AWS bills the smallest execution with, in MB.
const BILLED_MEMORY_MB: u32 = 64;

/// Starts an execution for either API, on whatever thread asks for it.
pub(super) async fn begin(
    doors: &Doors,
    call: &Call,
    template: Arc<Template>,
    start: Start,
) -> Result<Begun, Fault> {
    let repeatable = template.mode == Mode::Standard && !start.name.is_empty();
    let begun = doors.executions.start_of(template, start).await;
    begun.map_err(|error| fault_of_start(call, error, repeatable))
}

/// What a start of this ARN or QRN runs, for either API: from memory where it is known, else as the API looks it up. Nothing has
/// begun when this fails.
pub(super) async fn target<F>(
    doors: &Doors,
    call: &Call,
    machine: &str,
    look_up: impl FnOnce(Arc<Templates>, String) -> F,
) -> Result<Arc<Template>, Fault>
where
    F: Future<Output = Result<Arc<Template>, Error>> + Send + 'static,
{
    if let Some(known) = doors.templates.known(machine) {
        return Ok(known);
    }
    // A store may spawn what outlives the call.
    let look_up = look_up(Arc::clone(&doors.templates), machine.to_owned());
    let found = on_main(&doors.main, Kind::Question, look_up).await?;
    found.map_err(|error| fault_of_start(call, error, true))
}

/// A start without an input has `{}`; an empty text is no JSON.
fn asked(call: &Call, patience: Duration) -> Result<Start, Fault> {
    let input = call.text("input").unwrap_or("{}");
    if input.is_empty() {
        let message = "the input is not valid JSON: it is empty; leave it out, or write {}";
        return Err(Fault::new(front::Kind::InvalidExecutionInput, message));
    }
    Ok(Start {
        name: call.text("name").unwrap_or_default().to_owned(),
        input: Bytes::copy_from_slice(input.as_bytes()),
        logging: None,
        trace: call.text("traceHeader").and_then(trace_header::read),
        patience,
    })
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
    let start = asked(&call, doors.start_patience)?;
    let look_up = |templates: Arc<Templates>, arn: String| async move { templates.target(&arn).await };
    let template = target(doors, &call, machine, look_up).await?;
    let Begun { arn, start_time_ms, .. } = begin(doors, &call, template, start).await?;
    Answer::of(&Output { execution_arn: arn, start_date: seconds(start_time_ms) })
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
    #[serde(flatten)]
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_header: Option<&'a str>,
    billing_details: BillingDetails,
}

/// `StartSyncExecution`.
pub(super) async fn start_sync_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let machine = call.text("stateMachineArn").unwrap_or_default();
    let ended = doors.executions.start_sync(machine, asked(&call, SYNC_PATIENCE)?).await;
    let ended = ended.map_err(|status| fault_of_start(&call, status, false))?;
    let summary = ended.summary.unwrap_or_default();
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
        data: Data::of(&call, call.text("input").unwrap_or("{}"), output),
        trace_header: call.text("traceHeader"),
        billing_details: BillingDetails {
            billed_memory_used_in_mb: BILLED_MEMORY_MB,
            billed_duration_in_milliseconds: duration_ms.div_ceil(BILLED_STEP_MS).max(1) * BILLED_STEP_MS,
        },
    })
}
