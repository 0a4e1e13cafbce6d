//! `TestState`: one state alone, with a mock of what its work gives.
//!
//! Purpose: a thin shell over [`asl::test_state`]. Invariants: nothing is called and no time passes; JSON that the API carries as
//! texts stays as it is written. What may fail: the request; a failure of the state is an answer.

use asl::test_state::{
    Configuration, ErrorOutput, FieldValidation, Identity, InspectionLevel, Mock, Rejection, TestState,
    Tested, test,
};
use asl::value::{JsonLimits, Map};
use asl::{Dialect, Payload, Str, Timestamp, Value};
use front::{Answer, Call, Fault, Kind};
use serde::Deserialize;

use super::fault::fault;
use super::validate::aside;
use super::{Doors, unserved};
use crate::error::Error;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    definition: String,
    role_arn: Option<String>,
    input: Option<String>,
    inspection_level: Option<String>,
    #[serde(default)]
    reveal_secrets: bool,
    variables: Option<String>,
    state_name: Option<String>,
    mock: Option<MockInput>,
    context: Option<String>,
    #[serde(default)]
    state_configuration: StateConfiguration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MockInput {
    result: Option<String>,
    error_output: Option<MockError>,
    field_validation_mode: Option<String>,
}

#[derive(Deserialize)]
struct MockError {
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StateConfiguration {
    retrier_retry_count: u32,
    error_caused_by_state: Option<String>,
    map_iteration_failure_count: Option<u64>,
    map_item_reader_data: Option<String>,
}

impl MockInput {
    fn read(self) -> Mock {
        let error_output = self.error_output.map(|output| ErrorOutput {
            error: output.error.map(Str::from),
            cause: output.cause.map(Str::from),
        });
        Mock {
            result: self.result,
            error_output,
            validation: match self.field_validation_mode.as_deref() {
                Some("NONE") => FieldValidation::None,
                Some("PRESENT") => FieldValidation::Present,
                _ => FieldValidation::Strict,
            },
        }
    }
}

/// JSON that stands in a text.
fn json(member: &str, kind: Kind, text: &str) -> Result<Value, Fault> {
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD)
        .map_err(|error| Fault::new(kind, format!("the text of '{member}' is not valid JSON: {error}")))
}

fn variables(text: &str) -> Result<Map, Fault> {
    match json("variables", Kind::Validation, text)? {
        Value::Object(variables) => Ok(Map::clone(&variables)),
        _ => Err(Fault::new(Kind::Validation, "'variables' is a JSON object: names, and their values")),
    }
}

fn run(given: Input, identity: Identity, now: Timestamp) -> Result<Tested, Fault> {
    let has_role = given.role_arn.is_some();
    let configuration = given.state_configuration;
    let request = TestState {
        definition: given.definition.as_bytes(),
        dialect: Dialect::Asl,
        state_name: given.state_name.map(Str::from),
        input: Payload::from_value(json(
            "input",
            Kind::InvalidExecutionInput,
            given.input.as_deref().filter(|input| !input.is_empty()).unwrap_or("{}"),
        )?),
        variables: given.variables.as_deref().map(variables).transpose()?,
        context: given.context.as_deref().map(|text| json("context", Kind::Validation, text)).transpose()?,
        mock: given.mock.map(MockInput::read),
        configuration: Configuration {
            retrier_retry_count: configuration.retrier_retry_count,
            error_caused_by_state: configuration.error_caused_by_state.map(Str::from),
            map_iteration_failure_count: configuration.map_iteration_failure_count,
            map_item_reader_data: configuration.map_item_reader_data,
        },
        level: match given.inspection_level.as_deref() {
            Some("DEBUG") => InspectionLevel::Debug,
            Some("TRACE") => InspectionLevel::Trace,
            _ => InspectionLevel::Info,
        },
        reveal_secrets: given.reveal_secrets,
        identity,
        now,
    };
    test(&request).map_err(|rejection| refused(rejection, has_role))
}

fn refused(rejection: Rejection, has_role: bool) -> Fault {
    const NOTHING: &str = "nothing is called from here: 'mock' says what the state's work gives";
    let Rejection { code, message, needs_mock, .. } = rejection;
    let kind = if code == "InvalidDefinition" { Kind::InvalidDefinition } else { Kind::Validation };
    match (needs_mock, has_role) {
        (false, _) => Fault::new(kind, message),
        // A role would let AWS call.
        (true, true) => Fault::new(kind, NOTHING),
        (true, false) => Fault::new(kind, format!("{message}; {NOTHING}")),
    }
}

/// The answer; data are texts that hold JSON.
fn told(tested: Tested) -> Value {
    let inspection = tested.inspection.map(|data| {
        let told = data.iter().map(|(name, value)| {
            let as_it_is = matches!(
                name.as_str(),
                "errorDetails" | "maxConcurrency" | "toleratedFailureCount" | "toleratedFailurePercentage"
            );
            (name.clone(), if as_it_is { value.clone() } else { Value::from(value.to_json_string()) })
        });
        Value::from(told.collect::<Map>())
    });
    let members = [
        ("status", Some(Value::from(tested.status.as_str()))),
        ("output", tested.output.map(|output| Value::from(output.text()))),
        ("error", tested.error.map(Value::from)),
        ("cause", tested.cause.map(Value::from)),
        ("nextState", tested.next_state.map(Value::from)),
        ("inspectionData", inspection),
    ];
    let told: Map = members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Value::from(told)
}

/// Tests of states.
pub(super) async fn serve(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    if call.operation.name != "TestState" {
        return Err(unserved(&call));
    }
    let input: Input = call.read()?;
    let mut identity = Identity {
        region: doors.naming.region.as_str().into(),
        account: doors.naming.account.as_str().into(),
        ..Identity::default()
    };
    if let Some(role) = &input.role_arn {
        let wrong = |error: ids::IdError| Error::invalid("InvalidArn", error.to_string());
        ids::check_role(role).map_err(|error| fault(&call, wrong(error)))?;
        identity.role = role.rsplit('/').next().unwrap_or_default().into();
    }
    let now = Timestamp(i64::try_from(doors.clock.now_ms()).unwrap_or(i64::MAX));
    let tested =
        aside(move || run(input, identity, now).map(|tested| told(tested).to_json_string())).await??;
    Answer::json(tested.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tested(input: serde_json::Value) -> Result<serde_json::Value, Fault> {
        let input = Input::deserialize(input).expect("an input");
        let told = told(run(input, Identity::default(), Timestamp(0))?).to_json_string();
        Ok(serde_json::from_str(&told).expect("JSON"))
    }

    const TASK: &str = r#"{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Next":"B",
        "Retry":[{"ErrorEquals":["Busy"]}]}"#;

    #[test]
    fn data_are_told_as_texts_and_numbers_as_they_are_written() {
        let pass = r#"{"Type":"Pass","Next":"B"}"#;
        let input = r#"{"big":9007199254740993}"#;
        let told =
            tested(json!({"definition": pass, "input": input, "inspectionLevel": "DEBUG"})).expect("told");
        assert_eq!((&told["status"], &told["nextState"]), (&json!("SUCCEEDED"), &json!("B")));
        assert_eq!(told["output"], json!(input));
        assert_eq!(told["inspectionData"]["input"], json!(input));
    }

    #[test]
    fn a_mocked_error_is_retried_with_its_details() {
        let mock = json!({"errorOutput": {"error": "Busy", "cause": "c"}});
        let told =
            tested(json!({"definition": TASK, "mock": mock, "inspectionLevel": "DEBUG"})).expect("told");
        assert_eq!((&told["status"], &told["error"]), (&json!("RETRIABLE"), &json!("Busy")));
        assert_eq!(told["inspectionData"]["errorDetails"]["retryBackoffIntervalSeconds"], json!(1));
    }

    #[test]
    fn what_does_not_go_together_is_refused_in_the_words_of_the_api() {
        let kind = |input| tested(input).expect_err("refused").kind();
        assert_eq!(kind(json!({"definition": "{"})), Kind::InvalidDefinition);
        assert_eq!(kind(json!({"definition": TASK, "input": "{"})), Kind::InvalidExecutionInput);
        assert_eq!(kind(json!({"definition": TASK, "variables": "1"})), Kind::Validation);
        let role = "arn:aws:iam::123456789012:role/orders";
        let refused = tested(json!({"definition": TASK, "roleArn": role})).expect_err("nothing is called");
        assert!(refused.message().starts_with("nothing is called"), "{refused}");
    }
}
