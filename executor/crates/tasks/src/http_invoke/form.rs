//! Values as the pairs of a form or of a query.

use asl::Value;
use url::form_urlencoded::Serializer;

/// Pairs that one value may become.
const PAIRS_MAX: usize = 10_000;

/// How the items of an array are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArrayFormat {
    /// `a[0]=1&a[1]=2`
    Indices,
    /// `a=1&a=2`
    Repeat,
    /// `a=1,2`
    Commas,
    /// `a[]=1&a[]=2`
    Brackets,
}

/// The pairs of an object; none for nothing.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parameters(
    given: Option<&Value>,
    format: ArrayFormat,
) -> Result<Vec<(String, String)>, &'static str> {
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(Vec::new()) };
    let members = given.as_object().ok_or("must be an object")?;
    let mut pairs = Vec::new();
    for (name, value) in members.iter() {
        put(&mut pairs, name.to_string(), value, format)?;
    }
    Ok(pairs)
}

fn put(
    pairs: &mut Vec<(String, String)>,
    name: String,
    value: &Value,
    format: ArrayFormat,
) -> Result<(), &'static str> {
    if pairs.len() >= PAIRS_MAX {
        return Err("has more values than a form may have");
    }
    match value {
        Value::Array(items) if format == ArrayFormat::Commas => {
            let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
            pairs.push((
                name,
                texts.ok_or("has an array of arrays or objects, which COMMAS cannot write")?.join(","),
            ));
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let name = match format {
                    ArrayFormat::Indices => format!("{name}[{at}]"),
                    ArrayFormat::Brackets => format!("{name}[]"),
                    ArrayFormat::Repeat | ArrayFormat::Commas => name.clone(),
                };
                put(pairs, name, item, format)?;
            }
        }
        Value::Object(members) => {
            for (member, value) in members.iter() {
                put(pairs, format!("{name}[{member}]"), value, format)?;
            }
        }
        _ => pairs.push((name, scalar(value).unwrap_or_default())),
    }
    Ok(())
}

/// A value that is no array or object as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Array(_) | Value::Object(_) => None,
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.to_string()),
        other => Some(other.to_string()),
    }
}

/// `application/x-www-form-urlencoded`
pub(super) fn encode(pairs: &[(String, String)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}
