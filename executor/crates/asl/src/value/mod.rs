//! JSON values: an immutable tree whose subtrees and strings are shared, and [`Payload`], bytes that become
//! such a tree only when something looks inside.
//!
//! Invariants: cloning never copies a subtree; every number is finite; every string is Unicode; an object has
//! no key twice; parsing ([`Value::parse`]) and checking ([`Payload::check`]) run the same grammar and accept
//! the same texts. What may fail: reading text ([`JsonError`]); nothing else.
//!
//! Stack: writing, comparing and dropping a tree recurse once per level. A parsed tree is at most
//! [`JsonLimits::depth`] deep; trees that grow by evaluation are measured with [`Value::measure`], which
//! stops at a limit.

use std::sync::Arc;

mod map;
mod measure;
mod number;
mod parse;
mod payload;
mod plain;
mod scan;
mod text;

#[cfg(test)]
mod tests;

pub use map::Map;
pub use measure::{LimitExceeded, Measured};
pub use number::Number;
pub use payload::Payload;
pub use scan::{JsonError, JsonLimits};
pub use text::write_string;

/// An immutable string: up to 15 bytes inline, shared beyond.
pub type Str = ecow::EcoString;

/// A JSON value. Cloning shares; it never copies a subtree.
#[derive(Debug, Clone, Default, PartialEq)]
// A tag as wide as a word: a value moves as whole words, not as one byte and 23 others, which stalls who reads it next.
#[repr(u64)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Str),
    /// An array.
    Array(Arc<Vec<Value>>),
    /// An object, in the order of its text.
    Object(Arc<Map>),
}

impl Value {
    /// Reads one JSON document. It accepts exactly what [`Payload::check`] accepts.
    ///
    /// # Errors
    /// When the text is not JSON, is deeper or longer than `limits`, holds a number beyond a double, or an
    /// escape that is not a Unicode scalar value.
    pub fn parse(text: &[u8], limits: JsonLimits) -> Result<Self, JsonError> {
        parse::parse(text, limits)
    }

    /// An array of these items.
    pub fn array(items: impl IntoIterator<Item = Self>) -> Self {
        Self::Array(Arc::new(items.into_iter().collect()))
    }

    /// An object of these members; of equal keys the last wins.
    pub fn object<K: Into<Str>>(members: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Object(Arc::new(members.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }

    /// `{}`
    pub fn empty_object() -> Self {
        Self::Object(Arc::new(Map::default()))
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The number, if this is one.
    pub fn as_number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number as an i64, if this is a number with an integral value in range (`1.0` is).
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    /// The number as a u64, if this is a number with an integral value in range (`1.0` is).
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number().and_then(Number::as_u64)
    }

    /// The number as the nearest double.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().map(Number::as_f64)
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        self.as_text().map(Str::as_str)
    }

    /// The shared text, if this is a string.
    pub fn as_text(&self) -> Option<&Str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The member with this key, if this is an object that has one.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// The item at this index, if this is an array that is long enough.
    pub fn at(&self, index: usize) -> Option<&Self> {
        self.as_array()?.get(index)
    }

    /// What a JSON pointer (RFC 6901) names, if it is there.
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        let mut value = self;
        if pointer.is_empty() {
            return Some(value);
        }
        for token in pointer.strip_prefix('/')?.split('/') {
            value = match value {
                Self::Object(members) => members.get(&token.replace("~1", "/").replace("~0", "~"))?,
                Self::Array(items) => items.get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// What kind of value this is, in one word, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Str> for Value {
    fn from(text: Str) -> Self {
        Self::String(text)
    }
}

impl<N: Into<Number>> From<N> for Value {
    fn from(number: N) -> Self {
        Self::Number(number.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(items))
    }
}

impl From<Map> for Value {
    fn from(members: Map) -> Self {
        Self::Object(Arc::new(members))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_json_string())
    }
}
