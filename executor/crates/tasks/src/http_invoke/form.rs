//! Values as the pairs of a form or of a query.

use asl::Value;
use url::form_urlencoded::Serializer;

/// Pairs that one value may become.
const PAIRS_MAX: usize = 10_000;
/// Bytes of their names and values: a name is written again for each item of an array.
const BYTES_MAX: usize = 1024 * 1024;

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
    let mut form = Form { pairs: Vec::new(), bytes: 0, format };
    for (name, value) in members.iter() {
        form.put(name.to_string(), value)?;
    }
    Ok(form.pairs)
}

/// Pairs in the making.
struct Form {
    pairs: Vec<(String, String)>,
    /// Of all names and values that were written, those of values that have no pair too: each is work.
    bytes: usize,
    format: ArrayFormat,
}

impl Form {
    fn put(&mut self, name: String, value: &Value) -> Result<(), &'static str> {
        self.bytes += name.len();
        self.bounded()?;
        match value {
            Value::Array(items) if self.format == ArrayFormat::Commas => {
                let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
                let texts = texts.ok_or("has an array of arrays or objects, which COMMAS cannot write")?;
                self.push(name, texts.join(","))
            }
            Value::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
                let name = match self.format {
                    ArrayFormat::Indices => format!("{name}[{at}]"),
                    ArrayFormat::Brackets => format!("{name}[]"),
                    ArrayFormat::Repeat | ArrayFormat::Commas => name.clone(),
                };
                self.put(name, item)
            }),
            Value::Object(members) => {
                members.iter().try_for_each(|(member, value)| self.put(format!("{name}[{member}]"), value))
            }
            _ => self.push(name, scalar(value).unwrap_or_default()),
        }
    }

    fn push(&mut self, name: String, value: String) -> Result<(), &'static str> {
        self.bytes += value.len();
        self.pairs.push((name, value));
        self.bounded()
    }

    fn bounded(&self) -> Result<(), &'static str> {
        if self.pairs.len() > PAIRS_MAX {
            return Err("has more values than a form may have, 10,000");
        }
        if self.bytes > BYTES_MAX {
            return Err("has more than 1 MiB of names and values when it is written as a form");
        }
        Ok(())
    }
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
