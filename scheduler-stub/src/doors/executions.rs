//! Executions in Step Functions' API: look-ups, stops and redrives.
//!
//! Invariants: an execution is answered for by its whole ARN or QRN alone, for an id leads to it whatever machine the text around
//! it names, and callers have rights on machines ([`own`]); names and inputs are judged by the core. What may fail: whatever the core
//! refuses.

use std::sync::Arc;

use bytes::Bytes;
use front::{Answer, Call, Fault, Subject};
use ids::{DefinitionHash, ExecutionName, MachineName};
use proto::executor::v1::{self, ExecutionStatus, RedriveStatus};
use serde::Serialize;

use super::answer::{seconds, text};
use super::fault::fault;
use super::machines::{EncryptionConfiguration, LoggingConfiguration, TracingConfiguration};
use super::{Doors, unserved};
use crate::error::Error;
use crate::templates::{About, Template};

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

/// The same of what is no execution.
fn whole_of_other(member: &str, given: &str) -> Result<(), Fault> {
    if given.contains(':') {
        return Ok(());
    }
    let message = format!(
        "{member}: give the whole ARN or QRN, as it was told when what it names was made, and not its name alone"
    );
    Err(Fault::new(front::Kind::InvalidArn, message))
}

/// Whether a member names an execution.
fn of_execution(member: &str) -> bool {
    ["executionArn", "ExecutionQrn", "ExecutionResourceName"].contains(&member)
}

/// Whether two spellings are of one execution: QRNs of any region are.
fn is_same(known: &str, given: &str) -> bool {
    let place = |text: &str| text.starts_with("qrn:").then(|| text.splitn(6, ':').nth(5).map(str::to_owned));
    match (place(known), place(given)) {
        (Some(known), Some(given)) => known == given,
        _ => known == given,
    }
}

/// The machine of a call that does not name it: see [`front::Gate::machine`].
pub(super) async fn machine(doors: &Doors, call: &Call) -> Result<Option<String>, Fault> {
    let Subject::Members(members) = call.operation.subject else { return Ok(None) };
    for (member, given) in members.iter().filter_map(|member| Some((member, call.text(member)?))) {
        if !of_execution(member) {
            whole_of_other(member, given)?;
            continue;
        }
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

/// By which version and alias of its machine an execution was started.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Origin {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_machine_version_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state_machine_alias_arn: Option<String>,
}

impl Origin {
    /// `origin` is empty, `3`, or `3:PROD`.
    pub(super) fn of(machine: &str, origin: &str) -> Self {
        let mut parts = origin.split(':').filter(|part| !part.is_empty());
        let arn = |part: &str| format!("{machine}:{part}");
        Self {
            state_machine_version_arn: parts.next().map(arn),
            state_machine_alias_arn: parts.next().map(arn),
        }
    }
}

/// Whether a payload is in the answer.
#[derive(Serialize)]
struct Included {
    included: bool,
}

/// What went into an execution and came out of it, and whether the answer has it: a call may ask for the rest alone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
    input_details: Included,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_details: Option<Included>,
}

impl<'a> Data<'a> {
    /// As the call asks for it.
    pub(super) fn of(call: &Call, input: &'a str, output: Option<&'a str>) -> Self {
        let included = call.text("includedData") != Some("METADATA_ONLY");
        Self {
            input: included.then_some(input),
            input_details: Included { included },
            output: output.filter(|_| included),
            output_details: output.map(|_| Included { included }),
        }
    }
}

/// A status as the API spells it.
pub(super) fn spelt(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Unspecified | ExecutionStatus::Running => "RUNNING",
        ExecutionStatus::Succeeded => "SUCCEEDED",
        ExecutionStatus::Failed => "FAILED",
        ExecutionStatus::TimedOut => "TIMED_OUT",
        ExecutionStatus::Aborted => "ABORTED",
    }
}

/// A time that there is only once something has happened.
pub(super) fn later(ms: u64) -> Option<f64> {
    (ms > 0).then(|| seconds(ms))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    #[serde(flatten)]
    origin: Origin,
    status: &'static str,
    start_date: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<f64>,
    #[serde(flatten)]
    data: Data<'a>,
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
    let output = described.output.as_ref().map(text).transpose()?;
    Answer::of(&Described {
        execution_arn: &summary.execution_arn,
        state_machine_arn: &summary.machine_arn,
        name: &summary.name,
        origin: Origin::of(&summary.machine_arn, &described.origin),
        status: spelt(summary.status()),
        start_date: seconds(summary.start_time_ms),
        stop_date: later(summary.stop_time_ms),
        data: Data::of(&call, text(&described.input)?, output),
        error: described.error.as_deref(),
        cause: described.cause.as_deref(),
        redrive: (summary.mode() == v1::Mode::Standard).then(|| Redrive::of(&described)),
    })
}

/// `DescribeStateMachineForExecution`: the machine as it was when the execution was started.
async fn describe_machine(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        state_machine_arn: &'a str,
        name: &'a str,
        definition: &'a str,
        role_arn: &'a str,
        update_date: f64,
        logging_configuration: LoggingConfiguration,
        #[serde(skip_serializing_if = "Option::is_none")]
        tracing_configuration: Option<TracingConfiguration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision_id: Option<String>,
        encryption_configuration: EncryptionConfiguration,
    }
    let execution = call.text("executionArn").unwrap_or_default();
    let described = own(doors, &call, execution).await?;
    let summary = described.summary.unwrap_or_default();
    let machine = &summary.machine_arn;
    let (template, definition) = definition_of(doors, machine, &described.definition_hash)
        .await
        .map_err(|error| fault(&call, error))?;
    let logging = described.logging.unwrap_or_default().try_into().unwrap_or_default();
    let about = template.as_ref().map(|template| &template.about);
    Answer::of(&Output {
        state_machine_arn: machine,
        name: MachineName::parse(machine).as_ref().map_or("", MachineName::name),
        definition: text(&definition)?,
        role_arn: &described.role_arn,
        // Of a machine that was deleted nobody knows it any more; it was before the start.
        update_date: seconds(template.as_ref().map_or(summary.start_time_ms, |template| template.updated_ms)),
        logging_configuration: LoggingConfiguration::of(logging, about.unwrap_or(&About::default())),
        tracing_configuration: about.map(TracingConfiguration::of),
        revision_id: template.as_ref().and_then(|template| template.revision_id()),
        encryption_configuration: EncryptionConfiguration::OWNED,
    })
}

/// The revision of a machine that has this definition, if it is still there, and the definition's text.
async fn definition_of(
    doors: &Doors,
    machine: &str,
    hash: &[u8],
) -> Result<(Option<Arc<Template>>, Bytes), Error> {
    let lost = || {
        let message = format!("the definition of {machine} that the execution runs is not kept any more");
        Error::not_found("StateMachineDoesNotExist", message)
    };
    let hash: DefinitionHash = hash.try_into().map_err(|_| lost())?;
    let template = match doors.templates.of_definition(machine, &hash).await {
        Ok(template) => template,
        // It was deleted; what it ran is kept.
        Err(Error::NotFound { .. }) => None,
        Err(error) => return Err(error),
    };
    let definition = match &template {
        Some(template) => template.definition.clone(),
        None => doors.templates.definition_text(&hash).await?.ok_or_else(lost)?,
    };
    Ok((template, definition))
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

/// Serves the operations of this module.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "DescribeExecution" => describe_execution(doors, call).await,
        "DescribeStateMachineForExecution" => describe_machine(doors, call).await,
        "StopExecution" => stop_execution(doors, call).await,
        "RedriveExecution" => redrive_execution(doors, call).await,
        _ => Err(unserved(&call)),
    }
}
