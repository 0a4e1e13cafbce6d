//! What answers say of an execution, as the wire says it.
//!
//! Invariant: open and ended executions are described by the same words, and the machine as it was when they were started.
//! What may fail: a closed record whose failure cannot be read.

use asl::{Dialect, Outcome};
use ids::{ExecutionId, MachineName, Status};
use journal::StoreError;
use journal::block::{MachineRef, decode_failure};
use journal::index::Execution;
use proto::executor::v1;

use super::execution::OpenExecution;
use super::machine::dialect_of;
use super::redrivable::{obstacle, redrives};

/// What all answers say of an execution.
pub(super) fn summary(
    machine: &MachineRef,
    id: ExecutionId,
    name: Option<&str>,
    start_time_ms: u64,
    end: Option<(Status, u64)>,
) -> v1::ExecutionSummary {
    let execution_id = id.to_string();
    let name = name.unwrap_or(&execution_id).to_owned();
    let parsed = MachineName::parse(&machine.arn).ok();
    let arn = parsed.map_or_else(|| execution_id.clone(), |parsed| parsed.execution(machine.mode, &name, id));
    let (status, stop_time_ms) = end.unwrap_or((Status::Running, 0));
    v1::ExecutionSummary {
        execution_arn: arn,
        execution_id,
        machine_arn: machine.arn.clone(),
        name,
        mode: v1::Mode::from(machine.mode) as i32,
        status: v1::ExecutionStatus::from(status) as i32,
        start_time_ms,
        stop_time_ms,
    }
}

/// What a description says of the machine, as it was when the execution was started.
fn of_machine(machine: &MachineRef) -> v1::DescribeExecutionResponse {
    let dialect = match dialect_of(machine.dialect) {
        Dialect::Asl => v1::Dialect::Asl,
        Dialect::Tcsl => v1::Dialect::Tcsl,
    };
    v1::DescribeExecutionResponse {
        definition_hash: bytes::Bytes::copy_from_slice(&machine.definition),
        origin: machine.origin.clone(),
        role_arn: machine.role_arn.clone(),
        logging: Some(machine.logging.into()),
        dialect: dialect.into(),
        ..Default::default()
    }
}

/// What the log has, as the wire says it.
pub(super) fn described(
    execution: Execution,
    now_ms: u64,
) -> Result<v1::DescribeExecutionResponse, StoreError> {
    let Execution { machine, opened, closed, journalled } = execution;
    let (redrive_count, redrive_time_ms) = redrives(&journalled);
    let obstacle = obstacle(machine.mode, closed.as_ref(), redrive_count, now_ms);
    let redrive_status = match obstacle {
        None => v1::RedriveStatus::Redrivable,
        Some(_) => v1::RedriveStatus::NotRedrivable,
    };
    let end = closed.as_ref().map(|closed| (closed.status, closed.stop_time_ms));
    let mut response = v1::DescribeExecutionResponse {
        summary: Some(summary(&machine, opened.id, opened.name.as_deref(), opened.start_time_ms, end)),
        input: opened.input,
        redrive_count,
        redrive_time_ms,
        redrive_status: redrive_status.into(),
        redrive_status_reason: obstacle.unwrap_or_default(),
        ..of_machine(&machine)
    };
    match closed {
        Some(closed) if closed.status == Status::Succeeded => response.output = Some(closed.payload),
        Some(closed) => {
            let (error, cause) = decode_failure(&closed.payload)?;
            response.error = error.map(str::to_owned);
            response.cause = cause.map(str::to_owned);
        }
        None => {}
    }
    Ok(response)
}

/// An end that has just become durable.
pub(super) fn ended_so(summary: v1::ExecutionSummary, outcome: &Outcome) -> v1::StartSyncExecutionResponse {
    let mut ended = v1::StartSyncExecutionResponse { summary: Some(summary), ..Default::default() };
    match outcome {
        Outcome::Succeeded(output) => ended.output = Some(output.bytes().clone()),
        Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } => {
            (ended.error, ended.cause) =
                (error.as_deref().map(str::to_owned), cause.as_deref().map(str::to_owned));
        }
    }
    ended
}

/// An open execution that was never redriven: when it was, the log says.
pub(super) fn described_open(open: &OpenExecution) -> v1::DescribeExecutionResponse {
    v1::DescribeExecutionResponse {
        summary: Some(summary(&open.machine.key, open.id, open.name.as_deref(), open.start_time_ms, None)),
        input: open.execution.input().bytes().clone(),
        redrive_count: open.execution.redrives(),
        redrive_status: v1::RedriveStatus::NotRedrivable.into(),
        redrive_status_reason: obstacle(open.machine.key.mode, None, 0, 0).unwrap_or_default(),
        ..of_machine(&open.machine.key)
    }
}
