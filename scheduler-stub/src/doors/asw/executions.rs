//! Executions in ASW's API: starts, stops, look-ups and lists.
//!
//! Invariants: as in Step Functions' API, an execution is answered for by its whole QRN or ARN alone; a list looks at
//! [`ROWS_MAX`] executions at most, the newest first. What may fail: whatever the core refuses.

use std::sync::Arc;

use bytes::Bytes;
use front::{Answer, Call, Fault, Kind};
use proto::executor::v1::{self, ExecutionStatus};
use serde::{Deserialize, Serialize};

use super::super::Doors;
use super::super::answer::{millis, text};
use super::super::executions::{check_own, own};
use super::super::fault::fault;
use super::super::starts::{begin, target};
use super::{find, found};
use crate::executions::Start;
use crate::templates::Templates;

/// Executions that a list looks at; what is older is neither listed nor counted.
const ROWS_MAX: u64 = 10_000;

/// Executions of one page of the core's lists.
const ROWS_AT_ONCE: u32 = 1_000;

/// Pages of the core's lists that one list asks for: some are shorter than they might be.
const PAGES_MAX: usize = 40;

/// A status as the API spells it, which has none for what has timed out.
fn spelt(status: ExecutionStatus) -> &'static str {
    match status {
        ExecutionStatus::Unspecified | ExecutionStatus::Running => "RUNNING",
        ExecutionStatus::Succeeded => "SUCCEED",
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => "FAILED",
        ExecutionStatus::Aborted => "TERMINATED",
    }
}

/// `StartExecution`, on whatever thread asks for it.
pub(in crate::doors) async fn start_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output {
        execution_resource_name: String,
        start_date: String,
    }
    let machine = call.text("StateMachineResourceName").unwrap_or_default();
    let region = doors.naming.region.clone();
    let look_up =
        |templates: Arc<Templates>, given: String| async move { find(&templates, &given, &region).await };
    let template = target(doors, &call, machine, look_up).await?;
    let given = call.text("Input").filter(|input| !input.is_empty());
    let input = given.unwrap_or(&template.about.default_input);
    let start = Start {
        name: call.text("Name").unwrap_or_default().to_owned(),
        input: Bytes::copy_from_slice(input.as_bytes()),
        logging: None,
        trace: None,
        patience: doors.start_patience,
    };
    let begun = begin(doors, &call, template, start).await?;
    Answer::of(&Output { execution_resource_name: begun.arn, start_date: millis(begun.start_time_ms) })
}

/// `StopExecution`.
pub(super) async fn stop_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let execution = call.text("ExecutionQrn").unwrap_or_default().to_owned();
    check_own(doors, &call, &execution).await?;
    let request = v1::StopExecutionRequest { execution, ..Default::default() };
    doors.executions.stop(request).await.map_err(|status| fault(&call, status))?;
    Ok(Answer::empty())
}

/// One line of a list, and what every look-up says.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    execution_resource_name: String,
    name: String,
    start_date: String,
    /// `0` while it is open.
    stop_date: String,
    state_machine_resource_name: String,
    status: &'static str,
}

impl From<v1::ExecutionSummary> for Row {
    fn from(summary: v1::ExecutionSummary) -> Self {
        Self {
            start_date: millis(summary.start_time_ms),
            stop_date: millis(summary.stop_time_ms),
            status: spelt(summary.status()),
            execution_resource_name: summary.execution_arn,
            name: summary.name,
            state_machine_resource_name: summary.machine_arn,
        }
    }
}

/// `DescribeExecution`. An execution that did not succeed has no `Output`: its history says why.
pub(super) async fn describe_execution(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output<'a> {
        #[serde(flatten)]
        row: Row,
        input: &'a str,
        output: Option<&'a str>,
        execution_definition: Option<&'a str>,
    }
    let execution = call.text("ExecutionResourceName").unwrap_or_default();
    let mut described = own(doors, &call, execution).await?;
    let row = described.summary.take().unwrap_or_default().into();
    let definition = match described.definition_hash.as_ref().try_into() {
        Ok(hash) => doors.templates.definition_text(&hash).await.map_err(|error| fault(&call, error))?,
        // A node has none of another length.
        Err(_) => None,
    };
    Answer::of(&Output {
        row,
        input: text(&described.input)?,
        output: described.output.as_ref().map(text).transpose()?,
        execution_definition: definition.as_ref().map(text).transpose()?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    page_size: u64,
    page_index: u64,
    filter_execution_status: Option<String>,
    filter_execution_resource_name: Option<String>,
}

impl ListInput {
    /// Rows before the page.
    ///
    /// # Errors
    /// The page is beyond what a list looks at.
    fn skipped(&self) -> Result<u64, Fault> {
        let skipped = (self.page_index - 1).saturating_mul(self.page_size);
        if skipped < ROWS_MAX {
            return Ok(skipped);
        }
        let message = format!(
            "PageIndex: a page begins within the newest {ROWS_MAX} executions; filter by FilterExecutionStatus or \
             FilterExecutionResourceName to find older ones"
        );
        Err(Fault::new(Kind::Validation, message))
    }

    /// The status to ask the core for. It knows no two at once, so that of `FAILED` all are asked for and looked through.
    fn status(&self) -> ExecutionStatus {
        match self.filter_execution_status.as_deref() {
            // Nothing waits here between its start and its first state.
            Some("INIT" | "RUNNING") => ExecutionStatus::Running,
            Some("SUCCEED") => ExecutionStatus::Succeeded,
            Some("TERMINATED") => ExecutionStatus::Aborted,
            // The door lets no other word in.
            _ => ExecutionStatus::Unspecified,
        }
    }

    /// Whether a row has the status that is asked for.
    fn takes(&self, row: &Row) -> bool {
        match self.filter_execution_status.as_deref() {
            None => true,
            Some("INIT") => row.status == "RUNNING",
            Some(status) => row.status == status,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    executions: Vec<Row>,
    page_size: u64,
    page_index: u64,
    total_count: u64,
}

/// A page that is being filled.
struct Page {
    input: ListInput,
    skipped: u64,
    output: ListOutput,
}

impl Page {
    fn new(input: ListInput) -> Result<Self, Fault> {
        let (page_size, page_index) = (input.page_size, input.page_index);
        let output = ListOutput { executions: Vec::new(), page_size, page_index, total_count: 0 };
        Ok(Self { skipped: input.skipped()?, input, output })
    }

    fn see(&mut self, row: Row) {
        let Self { input, skipped, output } = self;
        if !input.takes(&row) {
            return;
        }
        let at = output.total_count;
        output.total_count += 1;
        if at >= *skipped && (output.executions.len() as u64) < input.page_size {
            output.executions.push(row);
        }
    }
}

/// `DescribeExecutions`: the newest start first.
pub(super) async fn describe_executions(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let mut page = Page::new(call.read()?)?;
    let machine = &found(doors, &call, "StateMachineResourceName").await?.arn;
    if let Some(execution) = page.input.filter_execution_resource_name.take() {
        match own(doors, &call, &execution).await {
            Ok(described) => {
                let row = Row::from(described.summary.unwrap_or_default());
                if row.state_machine_resource_name == *machine {
                    page.see(row);
                }
            }
            // A filter that nothing passes.
            Err(fault) if fault.kind() == Kind::ExecutionDoesNotExist => {}
            Err(fault) => return Err(fault),
        }
        return Answer::of(&page.output);
    }
    let (mut token, mut walked) = (String::new(), 0);
    for _ in 0..PAGES_MAX {
        let request = v1::ListExecutionsRequest {
            machine_arn: machine.clone(),
            status: page.input.status().into(),
            max_results: ROWS_AT_ONCE,
            next_token: token,
            ..Default::default()
        };
        let listed = doors.executions.list_of_known(request).await.map_err(|status| fault(&call, status))?;
        walked += listed.executions.len() as u64;
        listed.executions.into_iter().for_each(|summary| page.see(summary.into()));
        token = listed.next_token;
        if token.is_empty() || walked >= ROWS_MAX {
            break;
        }
    }
    Answer::of(&page.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64) -> Row {
        let ends = [
            ExecutionStatus::Running,
            ExecutionStatus::Succeeded,
            ExecutionStatus::Failed,
            ExecutionStatus::TimedOut,
            ExecutionStatus::Aborted,
        ];
        let status = ends[number as usize % ends.len()];
        let stop_time_ms = if status == ExecutionStatus::Running { 0 } else { 9 };
        let name = format!("n{number}");
        v1::ExecutionSummary {
            name,
            status: status.into(),
            start_time_ms: 7,
            stop_time_ms,
            ..Default::default()
        }
        .into()
    }

    /// Names on a page of 50 executions, ten of each end, and how many there are.
    fn listed(size: u64, index: u64, status: Option<&str>) -> (Vec<String>, u64) {
        let input = ListInput {
            page_size: size,
            page_index: index,
            filter_execution_status: status.map(str::to_owned),
            filter_execution_resource_name: None,
        };
        let mut page = Page::new(input).expect("a page");
        (0..50).for_each(|number| page.see(row(number)));
        (page.output.executions.into_iter().map(|row| row.name).collect(), page.output.total_count)
    }

    #[test]
    fn pages_are_numbered_from_1_and_the_count_is_of_all_that_fit() {
        assert_eq!(listed(2, 1, None), (vec!["n0".to_owned(), "n1".to_owned()], 50));
        assert_eq!(listed(20, 3, None).0.len(), 10);
        assert_eq!(listed(20, 4, None), (vec![], 50));
        let far = ListInput {
            page_size: 100,
            page_index: i64::MAX as u64,
            filter_execution_status: None,
            filter_execution_resource_name: None,
        };
        assert_eq!(Page::new(far).err().expect("too far").kind().asw(), "InvalidParameterValue");
    }

    #[test]
    fn what_has_timed_out_has_failed_and_nothing_is_about_to_begin() {
        assert_eq!(listed(2, 2, Some("FAILED")), (vec!["n7".to_owned(), "n8".to_owned()], 20));
        for status in ["INIT", "RUNNING", "SUCCEED", "TERMINATED"] {
            assert_eq!(listed(100, 1, Some(status)).1, 10, "{status}");
        }
        assert_eq!((row(0).stop_date, row(1).stop_date), ("0".to_owned(), "9".to_owned()));
    }
}
