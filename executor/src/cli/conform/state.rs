//! The kind `test_state`: a case's arguments of TestState, and its reply.

use asl::test_state::{
    self, Configuration, ErrorOutput, FieldValidation, Identity, InspectionLevel, Mock, TestState, Tested,
};
use asl::value::Map;
use asl::{Dialect, Payload, Str, Value};

use super::{ACCOUNT, LINE, REGION, START, definition_text, members, rejected};

/// Tests the state of a case.
pub(super) fn answer(case: &Value) -> Map {
    match request(case).and_then(|(definition, request)| {
        let request = TestState { definition: &definition, ..request };
        test_state::test(&request).map_err(|rejection| rejected(rejection.code, &rejection.message))
    }) {
        Ok(tested) => reply(tested),
        Err(refused) => refused,
    }
}

fn request(case: &Value) -> Result<(Vec<u8>, TestState<'static>), Map> {
    let absent = Value::empty_object();
    let arguments = case.get("test_state").unwrap_or(&absent);
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    let input = case.get("input").filter(|input| !input.is_null()).cloned();
    let variables = text("variables").map(|text| match Value::parse(text.as_bytes(), LINE) {
        Ok(Value::Object(variables)) => Ok(Map::clone(&variables)),
        _ => Err(rejected("ValidationException", "Variables must be a JSON object")),
    });
    let level = match text("inspectionLevel") {
        Some("DEBUG") => InspectionLevel::Debug,
        Some("TRACE") => InspectionLevel::Trace,
        _ => InspectionLevel::Info,
    };
    let request = TestState {
        definition: &[],
        dialect: Dialect::Asl,
        state_name: text("stateName").map(Str::from),
        input: input.map_or_else(Payload::empty_object, Payload::from_value),
        variables: variables.transpose()?,
        context: arguments.get("context").cloned(),
        mock: arguments.get("mock").map(mock),
        configuration: arguments.get("stateConfiguration").map(configuration).unwrap_or_default(),
        level,
        reveal_secrets: arguments.get("revealSecrets").and_then(Value::as_bool).unwrap_or(false),
        identity: Identity { region: REGION.into(), account: ACCOUNT.into(), ..Identity::default() },
        now: START,
    };
    Ok((definition_text(case), request))
}

fn mock(given: &Value) -> Mock {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_text).cloned();
    let error_output = given
        .get("errorOutput")
        .map(|output| ErrorOutput { error: text(output, "error"), cause: text(output, "cause") });
    let validation = match given.get("fieldValidationMode").and_then(Value::as_str) {
        Some("PRESENT") => FieldValidation::Present,
        Some("NONE") => FieldValidation::None,
        _ => FieldValidation::Strict,
    };
    Mock { result: text(given, "result").map(String::from), error_output, validation }
}

fn configuration(given: &Value) -> Configuration {
    let count = |key: &str| given.get(key).and_then(Value::as_u64);
    let text = |key: &str| given.get(key).and_then(Value::as_text).cloned();
    Configuration {
        retrier_retry_count: count("retrierRetryCount")
            .map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        error_caused_by_state: text("errorCausedByState"),
        map_iteration_failure_count: count("mapIterationFailureCount"),
        map_item_reader_data: text("mapItemReaderData").map(String::from),
    }
}

fn reply(tested: Tested) -> Map {
    let mut reply = members([("status", tested.status.as_str().into())]);
    let optional = [
        ("output", tested.output.map(Payload::into_value)),
        ("error", tested.error.map(Value::from)),
        ("cause", tested.cause.map(Value::from)),
        ("nextState", tested.next_state.map(Value::from)),
        ("inspection", tested.inspection.map(Value::from)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            reply.insert(key, value);
        }
    }
    reply
}
