//! Map Runs in Step Functions' API.
//!
//! A Map Run is told by the execution that it is a part of, and its ARN does not say which that is: whoever lists the Map Runs of an
//! execution, or reads its history, has it remembered here. Invariants: what is remembered is bounded, and a hint alone: a Map Run is told
//! of as its execution's node has it now. What may fail: a Map Run that was not listed here, and whatever a history may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use front::{Answer, Call, Fault, Kind};
use proto::executor::v1::{self, ExecutionStatus};
use serde::{Deserialize, Serialize};

use super::answer::{page, seconds, token};
use super::fault::fault;
use super::{Doors, executions, unserved};

/// Map Runs that are remembered. Beyond, all are forgotten.
const KNOWN_MAX: usize = 10_000;

/// Which executions Map Runs are parts of. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KnownRuns(Arc<Mutex<HashMap<String, Arc<str>>>>);

impl KnownRuns {
    /// Remembers the Map Runs of an execution.
    pub fn learn<'a>(&self, execution: &str, runs: impl Iterator<Item = &'a str>) {
        let mut runs = runs.peekable();
        if runs.peek().is_none() {
            return;
        }
        let execution: Arc<str> = execution.into();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for run in runs {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(run.to_owned(), Arc::clone(&execution));
        }
    }

    /// Remembers the Map Runs that a page of a history tells of.
    pub(super) fn learn_of_history(&self, execution: &str, events: &[v1::HistoryEvent]) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Details {
            map_run_arn: String,
        }
        let begun = events.iter().filter(|event| event.r#type == "MapRunStarted");
        let runs: Vec<String> = begun
            .filter_map(|event| serde_json::from_slice::<Details>(&event.details).ok())
            .map(|details| details.map_run_arn)
            .collect();
        self.learn(execution, runs.iter().map(String::as_str));
    }

    fn execution_of(&self, run: &str) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }
}

/// A status as the API spells it, which knows no Map Run that has timed out.
fn spelt(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Unspecified | ExecutionStatus::Running => "RUNNING",
        ExecutionStatus::Succeeded => "SUCCEEDED",
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => "FAILED",
        ExecutionStatus::Aborted => "ABORTED",
    }
}

fn stop_date(run: &v1::MapRun) -> Option<f64> {
    (run.stop_time_ms > 0).then(|| seconds(run.stop_time_ms))
}

async fn list_map_runs(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        map_runs: Vec<Listed<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed<'a> {
        execution_arn: &'a str,
        map_run_arn: &'a str,
        state_machine_arn: &'a str,
        start_date: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_date: Option<f64>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        execution_arn: String,
        max_results: Option<u32>,
        next_token: Option<String>,
    }
    let Input { execution_arn, max_results, next_token } = call.read()?;
    executions::check_own(doors, &call, &execution_arn).await?;
    let request = v1::ListMapRunsRequest {
        execution: execution_arn.clone(),
        max_results: page(max_results),
        next_token: next_token.unwrap_or_default(),
        map_run: String::new(),
    };
    let told = doors.executions.map_runs(request).await.map_err(|status| fault(&call, status))?;
    let map_runs: Vec<Listed<'_>> = told
        .map_runs
        .iter()
        .map(|run| Listed {
            execution_arn: &execution_arn,
            map_run_arn: &run.arn,
            state_machine_arn: &run.machine_arn,
            start_date: seconds(run.start_time_ms),
            stop_date: stop_date(run),
        })
        .collect();
    doors.map_runs.learn(&execution_arn, map_runs.iter().map(|run| run.map_run_arn));
    Answer::of(&Output { map_runs, next_token: token(told.next_token) })
}

/// The execution that the Map Run of this ARN is a part of.
///
/// # Errors
/// `InvalidArn`; `ResourceNotFound` for one that this scheduler has not told of.
pub(super) fn execution_of(doors: &Doors, arn: &str) -> Result<Arc<str>, Fault> {
    if arn.split(':').nth(5) != Some("mapRun") {
        let message =
            "mapRunArn: give the ARN of a Map Run (arn:aws:states:REGION:ACCOUNT:mapRun:MACHINE/LABEL:ID)";
        return Err(Fault::new(Kind::InvalidArn, message));
    }
    doors.map_runs.execution_of(arn).ok_or_else(|| unknown(arn))
}

fn unknown(arn: &str) -> Fault {
    let message = format!(
        "no Map Run {arn} is known here: list the Map Runs of its execution first, for the ARN does not name it"
    );
    Fault::new(Kind::ResourceNotFound, message).with_detail("resourceName", arn)
}

/// The Map Run that a call names, and its execution.
///
/// # Errors
/// As [`execution_of`]; `ResourceNotFound` for one that its execution does not have, or whose execution is gone.
pub(super) async fn find(doors: &Doors, call: &Call) -> Result<(Arc<str>, v1::MapRun), Fault> {
    let arn = call.text("mapRunArn").unwrap_or_default();
    let execution = execution_of(doors, arn)?;
    let (of, map_run) = (execution.to_string(), arn.to_owned());
    let request = v1::ListMapRunsRequest { execution: of, map_run, ..Default::default() };
    let told = doors.executions.map_runs(request).await.map_err(|status| fault(call, status))?;
    let run = told.map_runs.into_iter().find(|run| run.arn == arn).ok_or_else(|| unknown(arn))?;
    Ok((execution, run))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    /// Nothing is read before there is a place for it.
    pending: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    timed_out: u64,
    aborted: u64,
    total: u64,
    results_written: u64,
}

impl From<v1::MapRunCounts> for Counts {
    fn from(counts: v1::MapRunCounts) -> Self {
        let v1::MapRunCounts { running, succeeded, failed, timed_out, aborted, results_written } = counts;
        let total = running + succeeded + failed + timed_out + aborted;
        Self { pending: 0, running, succeeded, failed, timed_out, aborted, total, results_written }
    }
}

async fn describe_map_run(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        map_run_arn: &'a str,
        execution_arn: &'a str,
        status: &'static str,
        start_date: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop_date: Option<f64>,
        max_concurrency: u32,
        tolerated_failure_percentage: f64,
        tolerated_failure_count: u64,
        item_counts: Counts,
        execution_counts: Counts,
    }
    let (execution, run) = find(doors, &call).await?;
    Answer::of(&Output {
        map_run_arn: &run.arn,
        execution_arn: &execution,
        status: spelt(run.status()),
        start_date: seconds(run.start_time_ms),
        stop_date: stop_date(&run),
        max_concurrency: run.max_concurrency,
        tolerated_failure_percentage: run.tolerated_failure_percentage,
        tolerated_failure_count: run.tolerated_failure_count,
        item_counts: run.items.unwrap_or_default().into(),
        execution_counts: run.executions.unwrap_or_default().into(),
    })
}

/// Here a Map Run is what its Map said when it began.
async fn update_map_run(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let (_, run) = find(doors, &call).await?;
    if run.status() != ExecutionStatus::Running {
        let message =
            format!("the Map Run has ended, as {}: it cannot be changed any more", spelt(run.status()));
        let fault = Fault::new(Kind::Validation, message);
        return Err(fault.with_detail("reason", "CANNOT_UPDATE_COMPLETED_MAP_RUN"));
    }
    let message = "concurrency and tolerated failures of a Map Run are fixed here when it begins: change the definition, \
                   for executions that start from then on";
    Err(Fault::new(Kind::Validation, message))
}

/// Serves the operations of this module.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    match call.operation.name {
        "ListMapRuns" => list_map_runs(doors, call).await,
        "DescribeMapRun" => describe_map_run(doors, call).await,
        "UpdateMapRun" => update_map_run(doors, call).await,
        _ => Err(unserved(&call)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_a_history_is_enough_for_it() {
        let known = KnownRuns::default();
        let event = |kind: &str, details: &'static str| v1::HistoryEvent {
            r#type: kind.to_owned(),
            details: details.into(),
            ..Default::default()
        };
        let begun = event("MapRunStarted", r#"{"mapRunArn":"run"}"#);
        known.learn_of_history("execution", &[event("MapStateStarted", r#"{"length":1}"#), begun]);
        assert_eq!(known.execution_of("run").as_deref(), Some("execution"));
        assert_eq!(known.execution_of("other"), None);
        let names: Vec<String> = (0..KNOWN_MAX).map(|number| number.to_string()).collect();
        known.learn("another", names.iter().map(String::as_str));
        assert_eq!(known.execution_of("run"), None);
        assert_eq!(known.execution_of(&names[KNOWN_MAX - 1]).as_deref(), Some("another"));
        assert!(known.0.lock().expect("whole").len() <= KNOWN_MAX);
    }
}
