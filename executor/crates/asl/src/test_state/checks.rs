//! Which parts of a request go together, and with which states.

use super::results::{self, Violation};
use super::{FieldValidation, Mock, Rejection, TestState, context, isolate};
use crate::history::{TaskKind, TaskResource};
use crate::program::{Kind, State};
use crate::value::{JsonLimits, Payload, Str, Value};

/// How the work of the state ends, if it has any: its result, or error name and cause.
pub(super) type Work = Option<Result<Payload, (Str, Option<Str>)>>;

/// The longest result of a mock, and the longest data of a reader, in characters.
const CHARS_MAX: usize = 262_144;
/// As many characters, of four bytes each.
const RESULT: JsonLimits = JsonLimits { bytes: 4 * CHARS_MAX, ..JsonLimits::PAYLOAD };

/// Checks a request against the state that it tests, and gives what the mock says.
pub(super) fn check(request: &TestState<'_>, state: &State) -> Result<Work, Rejection> {
    let Some(mock) = &request.mock else {
        without_mock(request, state)?;
        return Ok(None);
    };
    if mock.result.is_some() == mock.error_output.is_some() {
        let message = "A test mock should have only one of the following fields: [result, errorOutput].";
        return Err(Rejection::validation(message));
    }
    if !matches!(state.kind, Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_)) {
        let message = format!("State type '{}' is not supported when a mock is specified", name(&state.kind));
        return Err(Rejection::validation(message));
    }
    if request.reveal_secrets {
        let message = "TestState does not support RevealSecrets when a mock is specified.";
        return Err(Rejection::validation(message));
    }
    if let Some(given) = &request.context {
        context::check(given)?;
    }
    configuration(request, state)?;
    work(mock, state).map(Some)
}

/// What is refused where nothing says how the work of the state ends.
fn without_mock(request: &TestState<'_>, state: &State) -> Result<(), Rejection> {
    let message = match &state.kind {
        // In AWS a role makes the call possible. There is none to give here.
        Kind::Task(_) => "RoleArn must be specified when testing a Task state".to_owned(),
        kind @ (Kind::Parallel { .. } | Kind::Map(_)) => {
            format!("State type '{}' is only supported when a mock is specified", name(kind))
        }
        _ if request.context.is_some() => {
            "A Context object can only be specified when a mock is specified".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Rejection { needs_mock: true, ..Rejection::validation(message) })
}

fn configuration(request: &TestState<'_>, state: &State) -> Result<(), Rejection> {
    if let Some(data) = &request.configuration.map_item_reader_data {
        short_enough("The reader data of a Map have", data)?;
    }
    let Some(inner) = &request.configuration.error_caused_by_state else { return Ok(()) };
    if isolate::holds(state, inner) {
        return Ok(());
    }
    Err(Rejection::validation(format!("The state '{}' has no state '{inner}' inside", state.name)))
}

fn short_enough(what: &str, text: &str) -> Result<(), Rejection> {
    match text.chars().nth(CHARS_MAX) {
        None => Ok(()),
        Some(_) => Err(Rejection::validation(format!("{what} at most {CHARS_MAX} characters"))),
    }
}

/// What a mock says.
fn work(mock: &Mock, state: &State) -> Result<Result<Payload, (Str, Option<Str>)>, Rejection> {
    if let Some(error_output) = &mock.error_output {
        let error = error_output.error.clone();
        let error = error.ok_or_else(|| Rejection::validation("A mocked errorOutput must have an error"))?;
        return Ok(Err((error, error_output.cause.clone())));
    }
    let text = mock.result.as_deref().unwrap_or_default();
    short_enough("A mocked result has", text)?;
    let result = Value::parse(text.as_bytes(), RESULT)
        .map_err(|error| Rejection::validation(format!("Mocked result must be valid JSON: {error}")))?;
    match &state.kind {
        Kind::Parallel { branches } => of_branches(array(&result)?, branches.len())?,
        Kind::Map(map) => {
            let writes = |writer: &crate::map::ResultWriter| writer.writing.is_some();
            let distributed = map.distributed.as_ref();
            if distributed.and_then(|distributed| distributed.writer.as_ref()).is_some_and(writes) {
                object(&result)?;
            } else {
                array(&result)?;
            }
        }
        Kind::Task(task) => conforms(&result, &task.resource, mock.validation)?,
        _ => {}
    }
    Ok(Ok(Payload::from_value(result)))
}

/// A service's result has the shape that the service gives it.
fn conforms(result: &Value, resource: &str, validation: FieldValidation) -> Result<(), Rejection> {
    let TaskResource { kind: TaskKind::Task, service, call } = TaskResource::parse(resource) else {
        return Ok(());
    };
    if validation == FieldValidation::None {
        return Ok(());
    }
    let Some(shapes) = results::of(service, call) else { return Ok(()) };
    object(result)?;
    shapes.check(result, validation == FieldValidation::Strict).map_err(|violation: Violation| {
        Rejection::validation(format!("Mock result schema validation error: {violation}"))
    })
}

fn of_branches(results: &[Value], branches: usize) -> Result<(), Rejection> {
    if results.len() == branches {
        return Ok(());
    }
    let message = "Mocked result must contain the same number of items as number of Parallel branches.";
    Err(Rejection::validation(message))
}

fn array(result: &Value) -> Result<&[Value], Rejection> {
    result.as_array().ok_or_else(|| Rejection::validation("Mocked result must be an array."))
}

fn object(result: &Value) -> Result<(), Rejection> {
    match result {
        Value::Object(_) => Ok(()),
        _ => Err(Rejection::validation("Mocked result must be a JSON object.")),
    }
}

/// `Type` of a state.
fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Pass { .. } => "Pass",
        Kind::Task(_) => "Task",
        Kind::Choice { .. } => "Choice",
        Kind::Wait(_) => "Wait",
        Kind::Succeed => "Succeed",
        Kind::Fail { .. } => "Fail",
        Kind::Parallel { .. } => "Parallel",
        Kind::Map(_) => "Map",
    }
}
