//! What Describe and the history say of an execution, against what must be.

use proto::executor::v1::{DescribeExecutionResponse, ExecutionStatus, ExecutionSummary, HistoryEvent};
use serde_json::Value;

use super::workload::{Expected, Kind};

/// What the cause of an execution begins with that is taken to kill its node. Three kills from outside that all meet it
/// being stepped look the same.
const POISONOUS: &str = "The execution killed the node that stepped it";
/// What the cause of a synchronous execution begins with whose node has ended, or has given its partition away.
const SYNC_ENDED: [&str; 2] =
    ["The node that ran the synchronous execution has ended", "The node gave back the execution's partition"];

/// Whether this cause is of one whose owner closed it because it gave its partition back.
#[must_use]
pub fn is_sync_given_back(cause: &str) -> bool {
    cause.starts_with(SYNC_ENDED[1])
}

/// Whether this cause is of a synchronous execution that was closed unfinished, for no other node goes on with it.
#[must_use]
pub fn is_sync_ended(cause: &str) -> bool {
    SYNC_ENDED.iter().any(|begin| cause.starts_with(begin))
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Open,
    /// It has ended as it must.
    Ended,
    /// It was closed, for it is blamed for the ends of its nodes: it has no history, and is not redriven.
    Condemned,
}

/// What an end is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it must be.
    Right,
    /// The execution is blamed for the ends of its nodes: allowed, and counted.
    Condemned,
}

impl From<Verdict> for Standing {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Right => Self::Ended,
            Verdict::Condemned => Self::Condemned,
        }
    }
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
pub fn judge_outcome(expected: &Expected, found: Outcome<'_>) -> Result<Verdict, String> {
    let right = match (found.status, expected) {
        (ExecutionStatus::Succeeded, Expected::Succeeded(output)) => {
            // Most are the same byte for byte, which is quicker to see than to parse.
            found.output == Some(output.to_string().as_bytes())
                || found.output.and_then(json).as_ref() == Some(output)
        }
        (ExecutionStatus::Failed, Expected::Failed { error, cause }) => {
            found.error == Some(error) && found.cause == Some(cause)
        }
        _ => false,
    };
    if right {
        return Ok(Verdict::Right);
    }
    let condemned = |cause: &str| cause.starts_with(POISONOUS);
    if found.status == ExecutionStatus::Failed && found.cause.is_some_and(condemned) {
        return Ok(Verdict::Condemned);
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
    kind: Kind,
    (seed, run): (u64, u64),
    found: &DescribeExecutionResponse,
) -> Result<Standing, String> {
    let input = kind.input(seed, run);
    if json(&found.input).as_ref() != Some(&input) {
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
        _ => judge_outcome(&kind.expected(seed, run, found.redrive_count), outcome).map(Standing::from),
    }
}

/// Holds a whole history of a successful STANDARD execution against what a history must be: numbered from 1 without a gap,
/// each event after one that it names, begun and ended once, times in order. One that was redriven has left states by failing.
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
    if entered != exited && count("ExecutionRedriven") == 0 {
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
        judge(kind, (1, 7), found)
    }

    fn right() -> Value {
        match Kind::TasksStandard.expected(1, 7, 0) {
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
        let failed = |error: &str, cause: &str| DescribeExecutionResponse {
            summary: Some(ExecutionSummary { status: ExecutionStatus::Failed.into(), ..Default::default() }),
            input: Kind::Fail.input(1, 7).to_string().into(),
            error: Some(error.to_owned()),
            cause: Some(cause.to_owned()),
            ..Default::default()
        };
        let verdict = |found| judge(Kind::Fail, (1, 7), &found);
        assert_eq!(verdict(failed("Crash.Meant", "it fails on purpose")), Ok(Standing::Ended));
        let blamed = "The execution killed the node that stepped it 3 times, so";
        assert_eq!(verdict(failed("States.Runtime", blamed)), Ok(Standing::Condemned));
        assert!(verdict(failed("States.Runtime", "it fails on purpose")).is_err());
    }

    #[test]
    fn a_synchronous_execution_may_end_with_its_node_or_with_its_partition() {
        let parted = "The node gave back the execution's partition, or was stopped, and the execution had not ended 5s later.";
        assert!(is_sync_ended(parted));
        assert!(is_sync_ended(
            "The node that ran the synchronous execution has ended, or has lost its partition."
        ));
        assert!(!is_sync_ended("it fails on purpose"));
    }

    #[test]
    fn an_execution_that_is_blamed_for_kills_is_told_apart_from_a_right_end() {
        let failed = |cause: &'static str| Outcome {
            status: ExecutionStatus::Failed,
            output: None,
            error: Some("States.Runtime"),
            cause: Some(cause),
        };
        let judged = |cause| judge_outcome(&Kind::Pass.expected(1, 7, 0), failed(cause));
        assert_eq!(
            judged("The execution killed the node that stepped it 3 times, so"),
            Ok(Verdict::Condemned)
        );
        assert!(judged("something else").is_err());
    }

    #[test]
    fn a_redriven_execution_is_judged_by_how_often_it_was() {
        let found = |status: ExecutionStatus, redrive_count| {
            let (output, error) =
                match Kind::Redriven.expected(1, 7, u32::from(status == ExecutionStatus::Succeeded)) {
                    Expected::Succeeded(output) => (Some(output.to_string().into()), None),
                    Expected::Failed { error, .. } => (None, Some(error.to_owned())),
                };
            DescribeExecutionResponse {
                summary: Some(ExecutionSummary { status: status.into(), ..Default::default() }),
                input: Kind::Redriven.input(1, 7).to_string().into(),
                cause: error.as_ref().map(|_| "it fails on purpose".to_owned()),
                output,
                error,
                redrive_count,
                ..Default::default()
            }
        };
        let verdict = |status, redrives| judge(Kind::Redriven, (1, 7), &found(status, redrives));
        assert_eq!(verdict(ExecutionStatus::Failed, 0), Ok(Standing::Ended));
        assert_eq!(verdict(ExecutionStatus::Succeeded, 1), Ok(Standing::Ended));
        assert!(verdict(ExecutionStatus::Succeeded, 0).is_err(), "nobody redrove it");
        assert!(verdict(ExecutionStatus::Failed, 1).is_err(), "it fails once only");
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
