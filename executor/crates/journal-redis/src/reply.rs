//! Replies of Redis, taken apart without copying.

use bytes::Bytes;
use journal::StoreError;
use redis::Value;

/// A reply of another shape than the command gives.
pub(crate) fn unexpected(command: &str, value: &Value) -> StoreError {
    let shape = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a string",
        Value::Array(_) => "an array of another shape",
        _ => "another type",
    };
    StoreError::Corrupt(format!("Redis answered {command} with {shape}"))
}

/// The bytes of a string.
pub(crate) fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        Value::SimpleString(text) => Some(Bytes::from(text)),
        _ => None,
    }
}

/// The items of an array; nothing is an empty one.
pub(crate) fn array(command: &str, value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected(command, &other)),
    }
}

/// A string as text.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}
