//! `States.JsonMerge`, `StringToJson`, `JsonToString`.

use super::error::Failure;
use super::function::Arguments;
use crate::value::{JsonLimits, Str, Value};

/// The members of both objects; of equal keys the second object's member, as it is. Step Functions merges no deeper.
pub(super) fn merge(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (first, second) = (given.object(0)?, given.object(1)?);
    if given.boolean(2)? {
        return Err(Failure::DeepMerge { position: 3 });
    }
    // A member is a key and a value, and perhaps an entry of the object's index.
    given.work.items(first.len().saturating_add(second.len()).saturating_mul(3))?;
    let mut merged = first.clone();
    for (key, value) in second {
        merged.insert(key.clone(), value.clone());
    }
    Ok(merged.into())
}

/// The value that a text spells. As recorded from AWS, a text of white space alone spells `null`.
pub(super) fn parse(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let text = given.text(0)?;
    // A tree takes several times the room of its text.
    given.work.spend(text.len().saturating_mul(4))?;
    if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        return Ok(Value::Null);
    }
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD).map_err(|reason| Failure::Json { position: 1, reason })
}

/// The value as compact JSON.
pub(super) fn write(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let value = given.value(0);
    // Once for looking, once for the text.
    given.work.walk(1, value)?;
    given.work.walk(1, value)?;
    Ok(Value::String(Str::from(value.to_json_string())))
}
