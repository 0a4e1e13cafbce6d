//! `GetExecutionHistory` in Step Functions' API.
//!
//! Nodes tell events with the API's members, but payloads as JSON values; the API has them as texts. Invariant: a payload's text is
//! the node's, byte for byte: no number is read and written again. What may fail: the execution, the token, and that its history
//! was not kept.
//! Source: docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html.

use std::borrow::Cow;
use std::collections::BTreeMap;

use front::{Answer, Call, Fault};
use proto::executor::v1;
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::Doors;
use super::answer::{page, seconds, token};
use super::executions::{self, Origin};
use super::fault::fault;

/// Events whose type has no member for details.
const BARE: [&str; 12] = [
    "LambdaFunctionStarted",
    "MapRunAborted",
    "MapRunSucceeded",
    "MapStateAborted",
    "MapStateFailed",
    "MapStateSucceeded",
    "ParallelStateAborted",
    "ParallelStateFailed",
    "ParallelStateStarted",
    "ParallelStateSucceeded",
    "TaskStateAborted",
    "WaitStateAborted",
];

/// By what a member is followed that has a payload.
#[derive(Serialize)]
struct Truncated {
    truncated: bool,
}

const WHOLE: Truncated = Truncated { truncated: false };

/// The member that has the details of an event of this type.
fn member_of(kind: &str) -> Option<Cow<'static, str>> {
    if BARE.contains(&kind) {
        return None;
    }
    if kind.ends_with("StateEntered") {
        return Some(Cow::Borrowed("stateEnteredEventDetails"));
    }
    if kind.ends_with("StateExited") {
        return Some(Cow::Borrowed("stateExitedEventDetails"));
    }
    let mut letters = kind.chars();
    let first = letters.next()?.to_ascii_lowercase();
    Some(Cow::Owned(format!("{first}{}EventDetails", letters.as_str())))
}

/// An event as the API has it.
struct Event<'a> {
    told: &'a v1::HistoryEvent,
    /// Whether payloads are wanted.
    data: bool,
    /// By which version and alias the execution was started.
    origin: &'a Origin,
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { told, data, origin } = *self;
        let mut event = serializer.serialize_map(None)?;
        event.serialize_entry("timestamp", &seconds(told.timestamp_ms))?;
        event.serialize_entry("type", &told.r#type)?;
        event.serialize_entry("id", &told.id)?;
        event.serialize_entry("previousEventId", &told.previous_event_id)?;
        if let Some(member) = member_of(&told.r#type) {
            let details = if told.details.is_empty() { b"{}" } else { &told.details[..] };
            let members = serde_json::from_slice(details).map_err(S::Error::custom)?;
            let origin = (told.r#type == "ExecutionStarted").then_some(origin);
            event.serialize_entry(&member, &Details { members, data, origin })?;
        }
        event.end()
    }
}

/// An event's details as the API has them.
struct Details<'a> {
    members: BTreeMap<Cow<'a, str>, &'a RawValue>,
    data: bool,
    origin: Option<&'a Origin>,
}

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut details = serializer.serialize_map(None)?;
        for (name, value) in &self.members {
            match &**name {
                payload @ ("input" | "output") if self.data => {
                    details.serialize_entry(payload, value.get())?;
                    details.serialize_entry(&format!("{payload}Details"), &WHOLE)?;
                }
                "assignedVariables" if self.data => {
                    let variables: BTreeMap<Cow<'_, str>, &RawValue> =
                        serde_json::from_str(value.get()).map_err(S::Error::custom)?;
                    let texts: BTreeMap<_, _> =
                        variables.iter().map(|(name, value)| (name, value.get())).collect();
                    details.serialize_entry("assignedVariables", &texts)?;
                    details.serialize_entry("assignedVariablesDetails", &WHOLE)?;
                }
                "input" | "output" | "assignedVariables" => {}
                // The API's model demands it.
                "parameters" => {
                    details.serialize_entry("parameters", if self.data { value.get() } else { "" })?;
                }
                name => details.serialize_entry(name, value)?,
            }
        }
        if let Some(Origin { state_machine_version_arn, state_machine_alias_arn }) = self.origin {
            if let Some(version) = state_machine_version_arn {
                details.serialize_entry("stateMachineVersionArn", version)?;
            }
            if let Some(alias) = state_machine_alias_arn {
                details.serialize_entry("stateMachineAliasArn", alias)?;
            }
        }
        details.end()
    }
}

/// `GetExecutionHistory`.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        execution_arn: String,
        max_results: Option<u32>,
        reverse_order: Option<bool>,
        next_token: Option<String>,
        include_execution_data: Option<bool>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        events: Vec<Event<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    let input: Input = call.read()?;
    let described = executions::own(doors, &call, &input.execution_arn).await?;
    let machine = described.summary.as_ref().map_or("", |summary| &summary.machine_arn);
    let origin = &Origin::of(machine, &described.origin);
    let request = v1::GetExecutionHistoryRequest {
        execution: input.execution_arn.clone(),
        reverse_order: input.reverse_order.unwrap_or_default(),
        max_results: page(input.max_results),
        next_token: input.next_token.unwrap_or_default(),
        form: v1::HistoryForm::StepFunctions.into(),
    };
    let told = doors.executions.history(request).await.map_err(|status| fault(&call, status))?;
    doors.map_runs.learn_of_history(&input.execution_arn, &told.events);
    let data = input.include_execution_data.unwrap_or(true);
    let events = told.events.iter().map(|told| Event { told, data, origin }).collect();
    Answer::of(&Output { events, next_token: token(told.next_token) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: &str, details: &'static str, data: bool) -> String {
        let told = v1::HistoryEvent {
            id: 2,
            previous_event_id: 1,
            timestamp_ms: 1_500,
            r#type: kind.to_owned(),
            details: details.into(),
        };
        let text = serde_json::to_string(&Event { told: &told, data, origin: &Origin::of("m", "3:PROD") })
            .expect("it can be written");
        let head = format!(r#"{{"timestamp":1.5,"type":"{kind}","id":2,"previousEventId":1"#);
        text.strip_prefix(&head).expect("the same head").to_owned()
    }

    #[test]
    fn payloads_are_texts_whose_digits_nobody_touches() {
        let entered = written("PassStateEntered", r#"{"name":"A","input":{"n":1.10e400,"b":[ 1 ]}}"#, true);
        let expected = r#","stateEnteredEventDetails":{"input":"{\"n\":1.10e400,\"b\":[ 1 ]}","inputDetails":{"truncated":false},"name":"A"}}"#;
        assert_eq!(entered, expected);
        let exited = r#"{"name":"A","output":1,"assignedVariables":{"x":"y","n":1.0}}"#;
        let expected = r#","stateExitedEventDetails":{"assignedVariables":{"n":"1.0","x":"\"y\""},"assignedVariablesDetails":{"truncated":false},"name":"A","output":"1","outputDetails":{"truncated":false}}}"#;
        assert_eq!(written("TaskStateExited", exited, true), expected);
    }

    #[test]
    fn the_start_says_by_which_version_and_alias_it_was() {
        let started = written("ExecutionStarted", r#"{"roleArn":"r"}"#, true);
        let expected = r#","executionStartedEventDetails":{"roleArn":"r","stateMachineVersionArn":"m:3","stateMachineAliasArn":"m:PROD"}}"#;
        assert_eq!(started, expected);
    }

    #[test]
    fn without_payloads_only_what_the_model_demands_is_left_of_them() {
        let exited = r#"{"name":"A","output":1,"assignedVariables":{"x":"y"}}"#;
        assert_eq!(written("TaskStateExited", exited, false), r#","stateExitedEventDetails":{"name":"A"}}"#);
        let scheduled =
            r#"{"resourceType":"sqs","resource":"sendMessage","region":"r","parameters":{"a":1}}"#;
        let expected = r#","taskScheduledEventDetails":{"parameters":"","region":"r","resource":"sendMessage","resourceType":"sqs"}}"#;
        assert_eq!(written("TaskScheduled", scheduled, false), expected);
    }

    #[test]
    fn an_event_whose_type_has_details_has_them_also_where_they_are_empty() {
        assert_eq!(written("ExecutionAborted", "{}", true), r#","executionAbortedEventDetails":{}}"#);
        assert_eq!(written("MapIterationStarted", "", true), r#","mapIterationStartedEventDetails":{}}"#);
        for bare in BARE {
            assert_eq!(written(bare, "{}", true), "}");
        }
    }
}
