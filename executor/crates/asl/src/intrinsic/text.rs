//! `States.Format`, `StringSplit`.

use std::borrow::Cow;

use super::error::Failure;
use super::function::Arguments;
use crate::value::{JsonLimits, Str, Value};

/// The longest text that `States.Format` makes: what is longer could not leave its state.
const TEXT_BYTES_MAX: usize = JsonLimits::PAYLOAD_BYTES;

/// A pattern with each `{}` replaced by a value.
///
/// Texts go in without quotes. Arrays and objects, which the specification does not allow here, are written as Java writes
/// them: `{a=1, b=[2, c]}`, as recorded from AWS.
pub(super) fn format(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    // A pattern that was written out has been taken apart by the parser, which knows its escapes.
    let (pieces, values): (Cow<'_, [Str]>, _) = match given.pattern {
        Some(pieces) => (pieces.into(), given.values),
        None => {
            let pattern = given.text(0)?;
            given.work.spend(pattern.len().saturating_mul(2))?;
            (pattern.split("{}").map(Str::from).collect(), given.values.get(1..).unwrap_or_default())
        }
    };
    let places = pieces.len().saturating_sub(1);
    if places != values.len() {
        return Err(Failure::Places { places, given: values.len() });
    }
    let mut out = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        if let Some(value) = at.checked_sub(1).and_then(|before| values.get(before)) {
            if matches!(value, Value::Array(_) | Value::Object(_)) {
                given.work.walk(at + 1, value)?;
            }
            write_value(value, &mut out)?;
        }
        push(piece, &mut out)?;
    }
    given.work.spend(out.len())?;
    Ok(Value::from(out))
}

fn push(text: &str, out: &mut String) -> Result<(), Failure> {
    if text.len() > TEXT_BYTES_MAX - out.len() {
        return Err(Failure::Result(TEXT_BYTES_MAX));
    }
    out.push_str(text);
    Ok(())
}

/// As Java's `toString` writes strings, numbers, booleans, lists and maps. Recursion is as deep as the value, which has
/// been measured.
fn write_value(value: &Value, out: &mut String) -> Result<(), Failure> {
    match value {
        Value::Null => push("null", out),
        Value::Bool(truth) => push(if *truth { "true" } else { "false" }, out),
        Value::Number(number) => push(&number.to_string(), out),
        Value::String(text) => push(text, out),
        Value::Array(items) => {
            push("[", out)?;
            for (at, item) in items.iter().enumerate() {
                push(if at > 0 { ", " } else { "" }, out)?;
                write_value(item, out)?;
            }
            push("]", out)
        }
        Value::Object(members) => {
            push("{", out)?;
            for (at, (key, value)) in members.iter().enumerate() {
                push(if at > 0 { ", " } else { "" }, out)?;
                push(key, out)?;
                push("=", out)?;
                write_value(value, out)?;
            }
            push("}", out)
        }
    }
}

/// The pieces of a text between delimiters. Each character of the second argument is one; empty pieces are dropped.
pub(super) fn split(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (text, delimiters) = (given.text(0)?, given.text(1)?);
    given.work.spend(text.len().saturating_add(delimiters.len().saturating_mul(4)))?;
    // Sorted, so that many delimiters cost little.
    let mut delimiters: Vec<char> = delimiters.chars().collect();
    delimiters.sort_unstable();
    delimiters.dedup();
    let is_delimiter = |character: char| delimiters.binary_search(&character).is_ok();
    let pieces = || text.split(is_delimiter).filter(|piece| !piece.is_empty());
    given.work.items(pieces().count())?;
    Ok(Value::array(pieces().map(Value::from)))
}
