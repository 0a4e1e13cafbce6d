//! Fields that the definition gives, or a path, or a JSONata expression: seconds, counts, instants, texts, truths.
//!
//! What a path leads to fails as `States.Runtime` when the field cannot take it; an expression's value as
//! `States.QueryEvaluationError`, with the field.

use std::fmt;
use std::ops::RangeInclusive;

use super::context::Context;
use super::flow;
use crate::jsonata::Expression;
use crate::path::{EvalError, Path, Scope};
use crate::program::{Dynamic, Text};
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str, Value};

/// The shortest and longest number of seconds of a timeout.
const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=99_999_999;
/// The longest number of seconds of a Wait.
const WAIT_SECONDS: RangeInclusive<u64> = 0..=99_999_999;

/// `TimeoutSeconds` and `HeartbeatSeconds`, or their paths.
pub(super) fn timeout(
    field: &str,
    seconds: &Dynamic<u64>,
    raw: &Payload,
    context: &Context<'_>,
) -> Result<u64, EvalError> {
    let path = match seconds {
        Dynamic::Constant(seconds) => return Ok(*seconds),
        Dynamic::Expression(expression) => {
            return count(expression, field, &TIMEOUT_SECONDS, &context.scope(raw.value()));
        }
        Dynamic::Path(path) => path,
    };
    let field = format!("{field}Path");
    let found = flow::at(path, raw.value(), context)?;
    match found.as_u64() {
        Some(seconds) if TIMEOUT_SECONDS.contains(&seconds) => Ok(seconds),
        Some(seconds) => Err(EvalError::runtime(format!(
            "The {field} field refers to value {seconds} which is not between {} and {}: {}",
            TIMEOUT_SECONDS.start(),
            TIMEOUT_SECONDS.end(),
            path.text()
        ))),
        None => Err(EvalError::not_an_integer(path, &field, &found)),
    }
}

/// `Seconds` of a Wait, or `SecondsPath`.
pub(super) fn wait_seconds(
    seconds: &Dynamic<u64>,
    input: &Payload,
    context: &Context<'_>,
) -> Result<u64, EvalError> {
    let path = match seconds {
        Dynamic::Constant(seconds) => return Ok(*seconds),
        Dynamic::Expression(expression) => {
            return count(expression, "Seconds", &WAIT_SECONDS, &context.scope(input.value()));
        }
        Dynamic::Path(path) => path,
    };
    let found = wait_parameter("SecondsPath", path, input, context)?;
    let told = |problem: &str| {
        EvalError::runtime(format!(
            "The SecondsPath parameter {problem}: {} == {}",
            path.text(),
            plain(&found)
        ))
    };
    match (found.as_u64(), found.as_i64()) {
        (Some(seconds), _) => Ok(seconds),
        (None, Some(_)) => Err(told("references a negative value")),
        (None, None) => Err(told("cannot be parsed as a long value")),
    }
}

/// `Timestamp` of a Wait, or `TimestampPath`.
pub(super) fn wait_until(
    instant: &Dynamic<Timestamp>,
    input: &Payload,
    context: &Context<'_>,
) -> Result<Timestamp, EvalError> {
    let path = match instant {
        Dynamic::Constant(instant) => return Ok(*instant),
        Dynamic::Expression(expression) => {
            let text = text(expression, "Timestamp", &context.scope(input.value()))?;
            return Timestamp::parse(&text).map_err(|_| {
                EvalError::query(
                    "Timestamp",
                    format!(
                        "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: {text}"
                    ),
                )
            });
        }
        Dynamic::Path(path) => path,
    };
    let found = wait_parameter("TimestampPath", path, input, context)?;
    let parsed = found.as_str().and_then(|text| Timestamp::parse(text).ok());
    parsed.ok_or_else(|| {
        EvalError::runtime(format!(
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format \
             string: {} == {}",
            path.text(),
            plain(&found)
        ))
    })
}

fn wait_parameter(
    field: &str,
    path: &Path,
    input: &Payload,
    context: &Context<'_>,
) -> Result<Value, EvalError> {
    path.evaluate(&context.scope(input.value())).map_err(|_| {
        EvalError::runtime(format!(
            "The {field} parameter does not reference an input value: {}",
            path.text()
        ))
    })
}

/// `Error` and `Cause` of a Fail state, or their paths.
pub(super) fn fault(field: &str, value: &Text, scope: &Scope<'_>) -> Result<Str, EvalError> {
    let (found, source) = match value {
        Text::Constant(text) => return Ok(text.clone()),
        Text::Expression(expression) => return text(expression, field, scope),
        Text::Path(path) => {
            let found = path
                .evaluate(scope)
                .map_err(|_| EvalError::not_found(path, &format!("{field}Path"), scope.input))?;
            (found, path.text())
        }
        Text::Intrinsic(intrinsic) => {
            (intrinsic.evaluate(scope).map_err(EvalError::uncaught)?, intrinsic.text())
        }
    };
    found.as_text().cloned().ok_or_else(|| {
        EvalError::runtime(format!(
            "The {field}Path field refers to value {found} which is not a string: {source}"
        ))
    })
}

/// `Condition` of a rule in a JSONata state.
pub(super) fn boolean(
    condition: &Dynamic<bool>,
    field: fmt::Arguments<'_>,
    scope: &Scope<'_>,
) -> Result<bool, EvalError> {
    match condition {
        Dynamic::Constant(truth) => Ok(*truth),
        Dynamic::Expression(expression) => typed(expression, field, "boolean", scope, |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }),
        // Rules of JSONPath states are no `Condition`.
        Dynamic::Path(path) => Ok(path.evaluate(scope).is_ok_and(|value| value == Value::Bool(true))),
    }
}

/// A text that an expression gives.
fn text(expression: &Expression, field: &str, scope: &Scope<'_>) -> Result<Str, EvalError> {
    typed(expression, format_args!("{field}"), "string", scope, |value| value.as_text().cloned())
}

/// A whole number within these bounds that an expression gives.
pub(super) fn count(
    expression: &Expression,
    field: &str,
    range: &RangeInclusive<u64>,
    scope: &Scope<'_>,
) -> Result<u64, EvalError> {
    let number = typed(expression, format_args!("{field}"), "number", scope, |value| {
        value.as_number().is_some().then(|| value.clone())
    })?;
    if number.as_f64().is_some_and(|number| number < 0.0) {
        return Err(EvalError::query(field, format!("{field} cannot be negative.")));
    }
    number.as_u64().filter(|count| range.contains(count)).ok_or_else(|| {
        EvalError::query(
            field,
            format!(
                "The {field} field refers to value {number} which is not an integer between {} and {}.",
                range.start(),
                range.end()
            ),
        )
    })
}

/// A number within these bounds that an expression gives.
pub(super) fn number(
    expression: &Expression,
    field: &str,
    range: &RangeInclusive<f64>,
    scope: &Scope<'_>,
) -> Result<f64, EvalError> {
    let number = typed(expression, format_args!("{field}"), "number", scope, Value::as_f64)?;
    if range.contains(&number) {
        return Ok(number);
    }
    let told = format!("{field} must be between {} and {}.", range.start(), range.end());
    Err(EvalError::query(field, told))
}

/// The value of an expression that has to be of one type.
fn typed<T>(
    expression: &Expression,
    field: fmt::Arguments<'_>,
    expected: &'static str,
    scope: &Scope<'_>,
    take: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, EvalError> {
    let value = expression.evaluate(scope).map_err(|failure| failure.in_field(&field.to_string()))?;
    take(&value).ok_or_else(|| expression.unexpected(expected, &value).in_field(&field.to_string()))
}

/// The count that a path of a Map leads to; AWS takes a text of digits for one there.
pub(super) fn integer(found: &Value) -> Option<i64> {
    found.as_i64().or_else(|| found.as_str()?.parse().ok())
}

impl EvalError {
    /// For a field such as `TimeoutSecondsPath` whose path leads to something else than a count.
    pub(super) fn not_an_integer(path: &Path, field: &str, found: &Value) -> Self {
        Self::runtime(format!(
            "The {field} field refers to value \"{}\" which is not a valid integer: {}",
            plain(found),
            path.text()
        ))
    }
}

/// A value in a message: a string without its quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_json_string(), str::to_owned)
}
