//! Between our values and those of the engine.
//!
//! Invariants: what goes in and comes out is equal, except for what the engine cannot hold: its numbers are doubles, so
//! integers beyond 2^53 lose digits in it. What may fail: a result that is no JSON (a function, a number that is not
//! finite), or is larger or deeper than a result may be.

use std::rc::Rc;

use jsonata_core::value::{JMap, JValue};

use super::error::Reason;
use crate::value::{JsonLimits, Map, Number, Str, Value};

/// Bounds of a result. Four times a payload, so that the caller, who knows what the field may hold, is the one to refuse
/// what is merely too long.
pub(super) const RESULT: JsonLimits =
    JsonLimits { depth: JsonLimits::DEPTH, bytes: 4 * JsonLimits::PAYLOAD_BYTES };

/// Our value as one of the engine's. It recurses as deep as the value is, which its reader has bounded.
pub(super) fn to_engine(value: &Value) -> JValue {
    match value {
        Value::Null => JValue::Null,
        Value::Bool(truth) => JValue::Bool(*truth),
        Value::Number(number) => JValue::Number(number.as_f64()),
        Value::String(text) => JValue::string(text.as_str()),
        Value::Array(items) => JValue::array(items.iter().map(to_engine).collect()),
        Value::Object(members) => JValue::Object(Rc::new(members_to_engine(members))),
    }
}

fn members_to_engine(members: &Map) -> JMap {
    members.iter().map(|(key, value)| (key.to_string(), to_engine(value))).collect()
}

/// The engine's value as one of ours.
pub(super) fn from_engine(value: &JValue) -> Result<Value, Reason> {
    match value {
        JValue::Undefined => Err(Reason::Undefined),
        value => Outward { bytes: 0 }.convert(value, 0),
    }
}

/// A number as an integer if it is one, so that what went in as an integer comes out as one.
#[allow(clippy::cast_possible_truncation, reason = "only where the double is an integer in range")]
pub(super) fn number(double: f64) -> Option<Number> {
    let number = Number::from_f64(double)?;
    Some(number.as_i64().map(Number::from).or_else(|| number.as_u64().map(Number::from)).unwrap_or(number))
}

struct Outward {
    /// Of JSON so far, at least.
    bytes: usize,
}

impl Outward {
    fn convert(&mut self, value: &JValue, depth: usize) -> Result<Value, Reason> {
        match value {
            JValue::Null => self.count(4).map(|()| Value::Null),
            JValue::Bool(truth) => self.count(4).map(|()| Value::Bool(*truth)),
            JValue::Number(double) => {
                self.count(1)?;
                number(*double)
                    .map(Value::Number)
                    .ok_or_else(|| Reason::Threw("D1001: Number out of range".to_owned()))
            }
            JValue::String(text) => {
                self.count(text.len() + 2)?;
                Ok(Value::String(Str::from(&**text)))
            }
            JValue::Array(items) => {
                self.enter(depth)?;
                // What is undefined inside of an array is not there.
                let items = items.iter().filter(|item| !item.is_undefined());
                items
                    .map(|item| self.convert(item, depth + 1))
                    .collect::<Result<Vec<_>, _>>()
                    .map(Value::from)
            }
            JValue::Object(members) => {
                self.enter(depth)?;
                let mut object = Map::with_capacity(members.len());
                for (key, value) in members.iter().filter(|(_, value)| !value.is_undefined()) {
                    self.count(key.len() + 3)?;
                    object.push_new(key.as_str().into(), self.convert(value, depth + 1)?);
                }
                Ok(object.into())
            }
            // AWS's types of values are those of JSON; a function is none of them.
            JValue::Lambda(_) | JValue::Builtin { .. } | JValue::Regex { .. } => {
                Err(Reason::Type { expected: "JSON value", was: "function", value: None })
            }
            JValue::Undefined => Err(Reason::Undefined),
        }
    }

    fn enter(&mut self, depth: usize) -> Result<(), Reason> {
        if depth >= RESULT.depth {
            return Err(Reason::Threw(format!("The result is nested deeper than {} levels", RESULT.depth)));
        }
        self.count(2)
    }

    fn count(&mut self, bytes: usize) -> Result<(), Reason> {
        self.bytes += bytes + 1;
        if self.bytes > RESULT.bytes {
            return Err(Reason::Threw(format!("The result is longer than {} bytes of JSON", RESULT.bytes)));
        }
        Ok(())
    }
}
