//! Data through a state: InputPath, Parameters, the work, ResultSelector, ResultPath, OutputPath.
//!
//! Invariant: a state without any of these fields touches no tree. What may fail: a path that names nothing, a result
//! that cannot be put where `ResultPath` says, data beyond the bound.

use super::context::Context;
use crate::path::{EvalError, Path, Scope};
use crate::program::{DataFlow, ResultPath, Selection};
use crate::value::{JsonLimits, LimitExceeded, Payload, Value};

/// The longest input or output of a state, in bytes.
const PAYLOAD_BYTES_MAX: usize = 262_144;

/// Data beyond the bound. Caught only where it is named.
pub(super) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";

/// Whether input goes through untouched.
#[inline]
pub(super) fn is_trivial(flow: &DataFlow) -> bool {
    matches!(flow.input_path, Selection::Whole) && flow.parameters.is_none() && result_replaces(flow)
}

/// Whether the work's result is the output.
#[inline]
pub(super) fn result_replaces(flow: &DataFlow) -> bool {
    flow.result_selector.is_none()
        && matches!(flow.result_path, ResultPath::Replace)
        && matches!(flow.output_path, Selection::Whole)
}

/// Applies InputPath or OutputPath.
pub(super) fn select(
    selection: &Selection,
    value: Payload,
    context: &Context<'_>,
) -> Result<Payload, EvalError> {
    match selection {
        Selection::Whole => Ok(value),
        Selection::Empty => Ok(Payload::empty_object()),
        Selection::Path(path) => at(path, value.value(), context).map(Payload::from_value),
    }
}

/// What a path of a field such as `InputPath` selects.
pub(super) fn at(path: &Path, input: &Value, context: &Context<'_>) -> Result<Value, EvalError> {
    path.evaluate(&Scope::new(input, context)).map_err(|error| EvalError::invalid_path(path, &error))
}

/// InputPath and Parameters: from raw to effective input.
pub(super) fn effective(flow: &DataFlow, raw: &Payload, context: &Context<'_>) -> Result<Payload, EvalError> {
    let selected = match &flow.input_path {
        Selection::Whole => None,
        selection => Some(select(selection, raw.clone(), context)?),
    };
    let Some(template) = &flow.parameters else { return Ok(selected.unwrap_or_else(|| raw.clone())) };
    let input = selected.as_ref().unwrap_or(raw).value();
    template.evaluate(&Scope::new(input, context)).map(Payload::from_value)
}

/// A Pass state's result: `Result`, or else its effective input.
pub(super) fn pass_result(
    flow: &DataFlow,
    raw: &Payload,
    result: Option<&Value>,
    context: &Context<'_>,
) -> Result<Payload, EvalError> {
    match result {
        Some(result) => Ok(Payload::from_value(result.clone())),
        None => effective(flow, raw, context).map_err(EvalError::uncaught),
    }
}

/// A Pass state's output, from its result.
pub(super) fn pass(
    flow: &DataFlow,
    raw: Payload,
    given: Payload,
    context: &Context<'_>,
) -> Result<Payload, EvalError> {
    // Only TCSL has a ResultSelector here.
    let result = self::result(flow, given, context).map_err(EvalError::uncaught)?;
    merge(flow, raw, result, context)
}

/// ResultSelector.
pub(super) fn result(flow: &DataFlow, result: Payload, context: &Context<'_>) -> Result<Payload, EvalError> {
    match &flow.result_selector {
        None => Ok(result),
        Some(selector) => selector.evaluate(&Scope::new(result.value(), context)).map(Payload::from_value),
    }
}

/// ResultPath and OutputPath.
pub(super) fn merge(
    flow: &DataFlow,
    raw: Payload,
    result: Payload,
    context: &Context<'_>,
) -> Result<Payload, EvalError> {
    select(&flow.output_path, put(&flow.result_path, raw, result)?, context)
}

/// ResultPath.
pub(super) fn put(path: &ResultPath, raw: Payload, result: Payload) -> Result<Payload, EvalError> {
    match path {
        ResultPath::Replace => Ok(result),
        ResultPath::Discard => Ok(raw),
        ResultPath::At(path) => {
            let mut value = raw.into_value();
            path.put(&mut value, result.into_value())?;
            Ok(Payload::from_value(value))
        }
    }
}

/// Refuses data beyond the bound. `what` is the state or the task that gave it.
pub(super) fn bounded(payload: Payload, what: &str) -> Result<Payload, EvalError> {
    let message = match payload.within(JsonLimits { bytes: PAYLOAD_BYTES_MAX, ..JsonLimits::PAYLOAD }) {
        Ok(()) => return Ok(payload),
        Err(LimitExceeded::Bytes(_)) => format!(
            "The state/task '{what}' returned a result with a size exceeding the maximum number of bytes service \
             limit."
        ),
        // A loop that wraps its input each time would otherwise grow a tree too deep to walk.
        Err(depth @ LimitExceeded::Depth(_)) => {
            format!("The state/task '{what}' returned a result that cannot be kept: {depth}.")
        }
    };
    Err(EvalError { error: DATA_LIMIT_EXCEEDED, message })
}
