//! What Describe and the history say of an execution, against what must be.

use proto::executor::v1::{DescribeExecutionResponse, ExecutionStatus, ExecutionSummary, HistoryEvent};
use serde_json::Value;

use super::workload::Expected;

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Open,
    /// It has ended as it must.
    Ended,
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "nothing".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// An outcome, as Describe or a closed record tells it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// How it ended.
    pub status: ExecutionStatus,
    /// JSON text.
    pub output: Option<&'a [u8]>,
    /// The error's name.
    pub error: Option<&'a str>,
    /// In words.
    pub cause: Option<&'a str>,
}

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// Holds an outcome against what the execution must come to.
///
/// # Errors
/// What was expected, and what was found.
pub fn judge_outcome(expected: &Expected, found: Outcome<'_>) -> Result<(), String> {
    let right = match (found.status, expected) {
        (ExecutionStatus::Succeeded, Expected::Succeeded(output)) => {
            found.output.and_then(json).as_ref() == Some(output)
        }
        (ExecutionStatus::Failed, Expected::Failed { error, cause }) => {
            found.error == Some(error) && found.cause == Some(cause)
        }
        _ => false,
    };
    if right {
        return Ok(());
    }
    let wanted = match expected {
        Expected::Succeeded(output) => format!("SUCCEEDED with {output}"),
        Expected::Failed { error, cause } => format!("FAILED with {error}: {cause}"),
    };
    Err(format!(
        "expected {wanted}, found {} with output {}, error {:?}, cause {:?}",
        found.status.as_str_name().trim_start_matches("EXECUTION_STATUS_"),
        text(found.output),
        found.error.unwrap_or_default(),
        found.cause.unwrap_or_default()
    ))
}

/// Holds an answer of Describe against what the execution must be and come to.
///
/// # Errors
/// What was expected, and what was found.
pub fn judge(
    input: &Value,
    expected: &Expected,
    found: &DescribeExecutionResponse,
) -> Result<Standing, String> {
    if json(&found.input).as_ref() != Some(input) {
        return Err(format!("expected the input {input}, found {}", text(Some(&found.input))));
    }
    let outcome = Outcome {
        status: found.summary.as_ref().map(ExecutionSummary::status).unwrap_or_default(),
        output: found.output.as_deref(),
        error: found.error.as_deref(),
        cause: found.cause.as_deref(),
    };
    match outcome.status {
        ExecutionStatus::Running => Ok(Standing::Open),
        _ => judge_outcome(expected, outcome).map(|()| Standing::Ended),
    }
}

/// Holds a whole history of a successful STANDARD execution against what a history must be: numbered from 1 without a gap,
/// each event after one that it names, begun and ended once, times in order.
///
/// # Errors
/// What is wrong.
pub fn judge_history(events: &[HistoryEvent]) -> Result<(), String> {
    let told = |event: &HistoryEvent| format!("event {} ({})", event.id, event.r#type);
    for (number, event) in (1u64..).zip(events) {
        if event.id != number {
            return Err(format!("expected event {number}, found {}", told(event)));
        }
        if event.previous_event_id >= event.id {
            return Err(format!("{} follows event {}", told(event), event.previous_event_id));
        }
    }
    for (kind, place) in [("ExecutionStarted", 0), ("ExecutionSucceeded", events.len().saturating_sub(1))] {
        let places: Vec<usize> =
            events.iter().enumerate().filter(|(_, e)| e.r#type == kind).map(|(place, _)| place).collect();
        if places != [place] {
            return Err(format!("expected {kind} once, as event {}, found it at {places:?}", place + 1));
        }
    }
    if let Some(pair) = events.windows(2).find(|pair| pair[0].timestamp_ms > pair[1].timestamp_ms) {
        return Err(format!("{} is older than {}", told(&pair[1]), told(&pair[0])));
    }
    let count = |kind: &str| events.iter().filter(|event| event.r#type.ends_with(kind)).count();
    let (entered, exited) = (count("StateEntered"), count("StateExited"));
    if entered != exited {
        return Err(format!("{entered} states were entered, {exited} were left"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::workload::Kind;
    use super::*;

    fn found(status: ExecutionStatus, output: &Value) -> DescribeExecutionResponse {
        DescribeExecutionResponse {
            summary: Some(ExecutionSummary { status: status.into(), ..Default::default() }),
            input: Kind::TasksStandard.input(1, 7).to_string().into(),
            output: Some(output.to_string().into()),
            ..Default::default()
        }
    }

    fn verdict(found: &DescribeExecutionResponse) -> Result<Standing, String> {
        let kind = Kind::TasksStandard;
        judge(&kind.input(1, 7), &kind.expected(1, 7), found)
    }

    fn right() -> Value {
        match Kind::TasksStandard.expected(1, 7) {
            Expected::Succeeded(output) => output,
            Expected::Failed { .. } => Value::Null,
        }
    }

    #[test]
    fn the_right_end_is_right_and_a_running_execution_has_none_yet() {
        assert_eq!(verdict(&found(ExecutionStatus::Succeeded, &right())), Ok(Standing::Ended));
        assert_eq!(verdict(&found(ExecutionStatus::Running, &Value::Null)), Ok(Standing::Open));
    }

    #[test]
    fn a_wrong_output_a_wrong_status_and_a_wrong_input_are_told() {
        let mut wrong = right();
        wrong["two"]["step"] = 1.into();
        let told = verdict(&found(ExecutionStatus::Succeeded, &wrong)).expect_err("wrong");
        assert!(told.contains("expected SUCCEEDED") && told.contains("\"step\":1"), "{told}");
        for status in [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Aborted] {
            assert!(verdict(&found(status, &right())).is_err(), "{status:?}");
        }
        let mut other = found(ExecutionStatus::Succeeded, &right());
        other.input = Kind::TasksStandard.input(1, 8).to_string().into();
        assert!(verdict(&other).expect_err("wrong").contains("expected the input"));
    }

    #[test]
    fn a_failure_must_be_the_one_that_was_meant() {
        let expected = Expected::Failed { error: "Crash.Meant", cause: "it fails on purpose" };
        let input = Kind::Fail.input(1, 7);
        let failed = |error: &str| DescribeExecutionResponse {
            summary: Some(ExecutionSummary { status: ExecutionStatus::Failed.into(), ..Default::default() }),
            input: input.to_string().into(),
            error: Some(error.to_owned()),
            cause: Some("it fails on purpose".to_owned()),
            ..Default::default()
        };
        assert_eq!(judge(&input, &expected, &failed("Crash.Meant")), Ok(Standing::Ended));
        assert!(judge(&input, &expected, &failed("States.Runtime")).is_err());
    }

    fn history(kinds: &[&str]) -> Vec<HistoryEvent> {
        let event = |(id, kind): (u64, &&str)| HistoryEvent {
            id,
            previous_event_id: id - 1,
            timestamp_ms: 1_000 + id,
            r#type: (*kind).to_owned(),
            ..Default::default()
        };
        (1..).zip(kinds).map(event).collect()
    }

    #[test]
    fn a_history_with_a_gap_or_without_an_end_is_told() {
        let whole =
            history(&["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]);
        assert_eq!(judge_history(&whole), Ok(()));
        let mut gap = whole.clone();
        gap.remove(1);
        let mut backwards = whole.clone();
        backwards[2].timestamp_ms = 0;
        let unended = &whole[..3];
        let twice = history(&["ExecutionStarted", "ExecutionSucceeded", "ExecutionSucceeded"]);
        let entered = history(&["ExecutionStarted", "PassStateEntered", "ExecutionSucceeded"]);
        for wrong in [gap.as_slice(), &backwards, unended, &twice, &entered, &[]] {
            assert!(judge_history(wrong).is_err(), "{wrong:?}");
        }
    }
}
