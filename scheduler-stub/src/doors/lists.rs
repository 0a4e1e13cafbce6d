//! `ListExecutions` in Step Functions' API: of a machine, and of a Map Run's children.
//!
//! Invariants: as the core's: newest start first, no page with holes. Rows of a machine are described one by one, [`DESCRIBED_AT_ONCE`] at a
//! time, only where the question or the machine's versions need it; a page may then be shorter than asked for, and have a token
//! all the same, but is empty only when none of [`LOOKED_AT_MAX`] rows is wanted. What may fail: whatever the core refuses.

use front::{Answer, Call, Fault, Kind};
use futures_util::{StreamExt, TryStreamExt, stream};
use ids::Mode;
use proto::executor::v1::{self, ExecutionStatus};
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::Doors;
use super::answer::{page, seconds, token};
use super::executions::{Origin, later, spelt};
use super::fault::fault;
use super::map_runs::{execution_of, find};
use crate::error::Error;
use crate::templates::{Qualifier, parse};

/// Rows of a page that are described at the same time.
const DESCRIBED_AT_ONCE: usize = 8;

/// Rows that are looked at for one call until one is wanted; then the caller is to ask on.
const LOOKED_AT_MAX: u32 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    state_machine_arn: Option<String>,
    status_filter: Option<String>,
    max_results: Option<u32>,
    next_token: Option<String>,
    map_run_arn: Option<String>,
    redrive_filter: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    executions: Vec<Row<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    execution_arn: &'a str,
    state_machine_arn: &'a str,
    name: &'a str,
    status: &'static str,
    start_date: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_date: Option<f64>,
    #[serde(flatten)]
    more: Option<More>,
    #[serde(flatten)]
    child: Option<OfMapRun<'a>>,
}

/// What is said of a child execution alone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfMapRun<'a> {
    map_run_arn: &'a str,
    item_count: u64,
}

/// What only a look at the execution itself tells.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct More {
    #[serde(flatten)]
    origin: Origin,
    redrive_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    redrive_date: Option<f64>,
}

impl<'a> Row<'a> {
    fn of(summary: &'a v1::ExecutionSummary, more: Option<More>) -> Self {
        Self {
            execution_arn: &summary.execution_arn,
            state_machine_arn: &summary.machine_arn,
            name: &summary.name,
            status: spelt(summary.status()),
            start_date: seconds(summary.start_time_ms),
            stop_date: later(summary.stop_time_ms),
            more,
            child: None,
        }
    }

    /// Children are never redriven by themselves: their Map begins another Map Run.
    fn of_child(child: &'a v1::ChildExecution, machine: &'a str, map_run: &'a str) -> Self {
        Self {
            execution_arn: &child.arn,
            state_machine_arn: machine,
            name: &child.name,
            status: spelt(child.status()),
            start_date: seconds(child.start_time_ms),
            stop_date: later(child.stop_time_ms),
            more: Some(More { origin: Origin::default(), redrive_count: 0, redrive_date: None }),
            child: Some(OfMapRun { map_run_arn: map_run, item_count: child.items }),
        }
    }
}

/// Which rows of a page are wanted, besides its status.
#[derive(Debug, Default)]
struct Filter {
    /// A version's or an alias' ARN.
    origin: Option<String>,
    redriven: Option<bool>,
}

impl Filter {
    fn wants(&self, more: &More) -> bool {
        let Origin { state_machine_version_arn, state_machine_alias_arn } = &more.origin;
        let origin = self.origin.is_none()
            || [state_machine_version_arn, state_machine_alias_arn].contains(&&self.origin);
        origin && self.redriven.is_none_or(|redriven| redriven == (more.redrive_count > 0))
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

/// The machine that a list is of, and which of its executions are meant.
fn asked<'a>(input: &Input, given: &'a str) -> Result<(&'a str, Filter), Fault> {
    let wrong = |error: Error| Fault::new(Kind::InvalidArn, error.to_string());
    let parsed = parse(given).map_err(wrong)?;
    let redriven = input.redrive_filter.as_ref().map(|filter| filter == "REDRIVEN");
    let origin = match parsed.qualifier {
        None => None,
        Some(Qualifier::Version(_) | Qualifier::Alias(_)) => Some(given.to_owned()),
        Some(Qualifier::Label(_)) => {
            let message =
                "the executions of a Map's label are not listed: give the mapRunArn of one of its Map Runs";
            let fault = Fault::new(Kind::Validation, message);
            return Err(fault.with_detail("reason", "API_DOES_NOT_SUPPORT_LABELED_ARNS"));
        }
    };
    Ok((parsed.machine, Filter { origin, redriven }))
}

/// `ListExecutions`.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let input: Input = call.read()?;
    match (input.state_machine_arn.as_deref(), input.map_run_arn.as_deref()) {
        (Some(machine), None) => of_machine(doors, &call, &input, machine).await,
        (None, Some(map_run)) => of_map_run(doors, &call, &input, map_run).await,
        _ => Err(Fault::new(Kind::Validation, "give one of stateMachineArn and mapRunArn")),
    }
}

/// The executions of a machine.
async fn of_machine(doors: &Doors, call: &Call, input: &Input, given: &str) -> Result<Answer, Fault> {
    let (machine, filter) = asked(input, given)?;
    let listed = doors.templates.listed(given).await;
    let (mode, has_versions) = listed.map_err(|error| fault(call, error))?;
    if mode != Mode::Standard {
        let message =
            format!("{machine} is EXPRESS, whose executions are not listed: see where its log goes");
        return Err(Fault::new(Kind::StateMachineTypeNotSupported, message));
    }
    let Some(status) = wanted(input.status_filter.as_deref()) else {
        return Answer::of(&Output { executions: Vec::new(), next_token: None });
    };
    let needs_more = filter.origin.is_some() || filter.redriven.is_some() || has_versions;
    let mut request = v1::ListExecutionsRequest {
        machine_arn: machine.to_owned(),
        status: status.into(),
        max_results: page(input.max_results),
        next_token: input.next_token.clone().unwrap_or_default(),
        ..Default::default()
    };
    let mut looked_at = 0;
    loop {
        let listed = doors.executions.list_of_known(request.clone()).await;
        let listed = listed.map_err(|status| fault(call, status))?;
        looked_at += request.max_results;
        let executions = if needs_more {
            described(doors, call, &listed.executions, &filter).await?
        } else {
            listed.executions.iter().map(|summary| Row::of(summary, None)).collect()
        };
        // Whoever asks for one alone shall not be told of none while there is one.
        if !executions.is_empty() || listed.next_token.is_empty() || looked_at >= LOOKED_AT_MAX {
            return Answer::of(&Output { executions, next_token: token(listed.next_token) });
        }
        request.next_token = listed.next_token;
    }
}

/// The child executions of a Map Run.
async fn of_map_run(doors: &Doors, call: &Call, input: &Input, map_run: &str) -> Result<Answer, Fault> {
    let execution = execution_of(doors, map_run)?;
    let status = wanted(input.status_filter.as_deref());
    let redriven = input.redrive_filter.as_deref() == Some("REDRIVEN");
    let Some(status) = status.filter(|_| !redriven) else {
        // Nothing of one that is there, but of one that is not there is no list.
        find(doors, call).await?;
        return Answer::of(&Output { executions: Vec::new(), next_token: None });
    };
    let request = v1::ListMapRunExecutionsRequest {
        execution: execution.to_string(),
        map_run: map_run.to_owned(),
        status: status.into(),
        max_results: page(input.max_results),
        next_token: input.next_token.clone().unwrap_or_default(),
    };
    let listed = doors.executions.children(request).await.map_err(|status| fault(call, status))?;
    let rows = listed.executions.iter().map(|child| Row::of_child(child, &listed.machine_arn, map_run));
    Answer::of(&Output { executions: rows.collect(), next_token: token(listed.next_token) })
}

/// The rows that are wanted, with what only each execution itself tells.
async fn described<'a>(
    doors: &Doors,
    call: &Call,
    listed: &'a [v1::ExecutionSummary],
    filter: &Filter,
) -> Result<Vec<Row<'a>>, Fault> {
    let rows: Vec<_> = listed.iter().map(|summary| row(doors, call, summary, filter)).collect();
    let rows: Vec<_> = stream::iter(rows).buffered(DESCRIBED_AT_ONCE).try_collect().await?;
    Ok(rows.into_iter().flatten().collect())
}

/// One row, if it is wanted.
async fn row<'a>(
    doors: &Doors,
    call: &Call,
    summary: &'a v1::ExecutionSummary,
    filter: &Filter,
) -> Result<Option<Row<'a>>, Fault> {
    let described = match doors.executions.describe(&summary.execution_arn).await {
        Ok(described) => described,
        // It has passed its retention meanwhile.
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(fault(call, status)),
    };
    let more = More {
        origin: Origin::of(&summary.machine_arn, &described.origin),
        redrive_count: described.redrive_count,
        redrive_date: later(described.redrive_time_ms),
    };
    Ok(filter.wants(&more).then(|| Row::of(summary, Some(more))))
}
