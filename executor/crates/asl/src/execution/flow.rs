//! Data through a state: InputPath, Parameters, the work, ResultSelector, ResultPath, OutputPath; in JSONata states
//! Arguments and Output.
//!
//! Invariant: a state without any of these fields touches no tree. What may fail: a path that names nothing, a result
//! that cannot be put where `ResultPath` says, data beyond the bound.

use super::budget::Spent;
use super::context::Context;
use super::run::Log;
use crate::history::{Field, Observer};
use crate::path::{EvalError, Path, units_of};
use crate::program::{DataFlow, JsonPathFlow, JsonataFlow, ResultPath, Selection};
use crate::value::{JsonLimits, LimitExceeded, Payload, Value};

/// The longest input or output of a state, in bytes.
const PAYLOAD_BYTES_MAX: usize = 262_144;

/// Data beyond the bound. Caught only where it is named.
pub(super) const DATA_LIMIT_EXCEEDED: &str = EvalError::DATA_LIMIT_EXCEEDED;

/// Whether input goes through untouched.
#[inline]
pub(super) fn is_trivial(flow: &DataFlow) -> bool {
    !has_template(flow) && passes_input(flow) && result_replaces(flow)
}

#[inline]
fn passes_input(flow: &DataFlow) -> bool {
    match flow {
        DataFlow::JsonPath(flow) => matches!(flow.input_path, Selection::Whole),
        DataFlow::Jsonata(_) => true,
    }
}

/// Whether the effective input is made, not only selected.
#[inline]
pub(super) fn has_template(flow: &DataFlow) -> bool {
    match flow {
        DataFlow::JsonPath(flow) => flow.parameters.is_some(),
        DataFlow::Jsonata(flow) => flow.arguments.is_some(),
    }
}

/// Whether the work's result is the output.
#[inline]
pub(super) fn result_replaces(flow: &DataFlow) -> bool {
    match flow {
        DataFlow::JsonPath(flow) => {
            flow.result_selector.is_none()
                && matches!(flow.result_path, ResultPath::Replace)
                && matches!(flow.output_path, Selection::Whole)
        }
        DataFlow::Jsonata(flow) => flow.output.is_none(),
    }
}

/// Applies InputPath or OutputPath.
#[inline]
pub(super) fn select(
    selection: &Selection,
    value: Payload,
    context: &Context<'_>,
) -> Result<Payload, EvalError> {
    match selection {
        Selection::Whole => Ok(value),
        Selection::Empty => Ok(Payload::empty_object()),
        Selection::Path(path) => select_part(path, value.value(), context),
    }
}

fn select_part(path: &Path, value: &Value, context: &Context<'_>) -> Result<Payload, EvalError> {
    let selected = Payload::from_value(at(path, value, context)?);
    // A definite path gives a part of what is bounded already; any other may select the same part many times.
    if path.is_definite() { Ok(selected) } else { bounded(selected, context.state, context.spent) }
}

/// What a path of a field such as `InputPath` selects.
pub(super) fn at(path: &Path, input: &Value, context: &Context<'_>) -> Result<Value, EvalError> {
    path.evaluate(&context.scope(input)).map_err(|error| EvalError::invalid_path(path, &error))
}

/// InputPath and Parameters, or Arguments: from raw to effective input. What a template makes is held to the bound: the
/// states of a branch would hand it on, and templates inside templates double it.
pub(super) fn effective<O: Observer>(
    flow: &DataFlow,
    raw: &Payload,
    context: &Context<'_>,
    log: &mut Log<'_, O>,
) -> Result<Payload, EvalError> {
    let input = effective_input(flow, raw, context, log)?;
    if has_template(flow) { bounded(input, context.state, context.spent) } else { Ok(input) }
}

fn effective_input<O: Observer>(
    flow: &DataFlow,
    raw: &Payload,
    context: &Context<'_>,
    log: &mut Log<'_, O>,
) -> Result<Payload, EvalError> {
    match flow {
        DataFlow::JsonPath(flow) => effective_by_path(flow, raw, context, log),
        DataFlow::Jsonata(JsonataFlow { arguments: None, .. }) => Ok(raw.clone()),
        DataFlow::Jsonata(JsonataFlow { arguments: Some(arguments), .. }) => {
            let arguments = Payload::from_value(arguments.evaluate(&context.scope(raw.value()))?);
            log.data(Field::Arguments, &arguments);
            Ok(arguments)
        }
    }
}

/// InputPath and Parameters.
fn effective_by_path<O: Observer>(
    flow: &JsonPathFlow,
    raw: &Payload,
    context: &Context<'_>,
    log: &mut Log<'_, O>,
) -> Result<Payload, EvalError> {
    let selected = match &flow.input_path {
        Selection::Whole => None,
        selection => Some(select(selection, raw.clone(), context)?),
    };
    log.data(Field::InputPath, selected.as_ref().unwrap_or(raw));
    let effective = match &flow.parameters {
        None => selected.unwrap_or_else(|| raw.clone()),
        Some(template) => {
            let input = selected.as_ref().unwrap_or(raw).value();
            Payload::from_value(template.evaluate(&context.scope(input))?)
        }
    };
    log.data(Field::Parameters, &effective);
    Ok(effective)
}

/// A Pass state's result: `Result`, or else its effective input.
#[inline]
pub(super) fn pass_result<O: Observer>(
    flow: &JsonPathFlow,
    raw: &Payload,
    result: Option<&Value>,
    context: &Context<'_>,
    log: &mut Log<'_, O>,
) -> Result<Payload, EvalError> {
    match result {
        Some(result) => {
            let result = Payload::from_value(result.clone());
            log.data(Field::Result, &result);
            Ok(result)
        }
        None => effective_by_path(flow, raw, context, log).map_err(EvalError::uncaught),
    }
}

/// ResultSelector.
#[inline]
pub(super) fn result<O: Observer>(
    flow: &JsonPathFlow,
    result: Payload,
    context: &Context<'_>,
    log: &mut Log<'_, O>,
) -> Result<Payload, EvalError> {
    let result = match &flow.result_selector {
        None => result,
        Some(selector) => Payload::from_value(selector.evaluate(&context.scope(result.value()))?),
    };
    log.data(Field::ResultSelector, &result);
    Ok(result)
}

/// ResultPath and OutputPath.
#[inline]
pub(super) fn merge<O: Observer>(
    flow: &JsonPathFlow,
    raw: Payload,
    result: Payload,
    context: &Context<'_>,
    log: &mut Log<'_, O>,
) -> Result<Payload, EvalError> {
    let merged = put(&flow.result_path, raw, result)?;
    log.data(Field::ResultPath, &merged);
    select(&flow.output_path, merged, context)
}

/// ResultPath.
#[inline]
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
#[inline]
pub(super) fn bounded(payload: Payload, what: &str, spent: &Spent) -> Result<Payload, EvalError> {
    match payload.within(JsonLimits { bytes: PAYLOAD_BYTES_MAX, ..JsonLimits::PAYLOAD }) {
        Ok(walked) => {
            spent.spend(units_of(walked));
            Ok(payload)
        }
        Err(limit) => Err(beyond(limit, what)),
    }
}

#[cold]
fn beyond(limit: LimitExceeded, what: &str) -> EvalError {
    let message = match limit {
        LimitExceeded::Bytes(_) => format!(
            "The state/task '{what}' returned a result with a size exceeding the maximum number of bytes service \
             limit."
        ),
        // A loop that wraps its input each time would otherwise grow a tree too deep to walk.
        LimitExceeded::Depth(_) => {
            format!("The state/task '{what}' returned a result that cannot be kept: {limit}.")
        }
    };
    EvalError::new(DATA_LIMIT_EXCEEDED, message)
}
