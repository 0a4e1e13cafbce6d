//! Payloads: what flows between states, tasks and the store.
//!
//! Invariants: the bytes, where there are any, are one JSON document that passed [`Payload::check`] or was
//! written from the tree; at least one side is always there. A payload is `Send` and not `Sync`: it lives on
//! one shard.

use std::cell::OnceCell;

use bytes::Bytes;

use super::scan::{Ignore, drive};
use super::{JsonError, JsonLimits, LimitExceeded, Value};

/// For bytes that were checked before, by limits that were perhaps wider than today's. The depth still keeps
/// recursion within the stack.
const TRUSTED: JsonLimits = JsonLimits { depth: 2 * JsonLimits::DEPTH, bytes: usize::MAX };

/// A JSON document as bytes, as a tree, or both: either side is made from the other when first asked for.
#[derive(Debug, Clone)]
pub struct Payload {
    bytes: OnceCell<Bytes>,
    tree: OnceCell<Value>,
}

impl Payload {
    /// Checks one JSON document without building a tree. It accepts exactly what [`Value::parse`] accepts.
    ///
    /// # Errors
    /// As [`Value::parse`].
    pub fn check(bytes: Bytes, limits: JsonLimits) -> Result<Self, JsonError> {
        drive(&bytes, limits, &mut Ignore)?;
        Ok(Self::from_checked(bytes))
    }

    /// Bytes that were checked before: they come from a store or from [`Payload::bytes`]. Bytes that are no
    /// JSON after all read as `null`.
    pub fn from_checked(bytes: Bytes) -> Self {
        Self { bytes: OnceCell::from(bytes), tree: OnceCell::new() }
    }

    /// A tree; its text is written when first asked for.
    pub fn from_value(value: Value) -> Self {
        Self { bytes: OnceCell::new(), tree: OnceCell::from(value) }
    }

    /// `{}`
    pub fn empty_object() -> Self {
        Self::from_checked(Bytes::from_static(b"{}"))
    }

    /// The document's text: as it came, or compact.
    pub fn bytes(&self) -> &Bytes {
        self.bytes
            .get_or_init(|| Bytes::from(self.tree.get().map_or_else(|| b"null".to_vec(), Value::to_json)))
    }

    /// The text as a string.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or("null")
    }

    /// The document's tree; parsed once, when first asked for.
    pub fn value(&self) -> &Value {
        self.tree.get_or_init(|| {
            self.bytes.get().and_then(|bytes| Value::parse(bytes, TRUSTED).ok()).unwrap_or_default()
        })
    }

    /// The tree, without the payload where possible.
    pub fn into_value(self) -> Value {
        self.value();
        self.tree.into_inner().unwrap_or_default()
    }

    /// Length of the text in bytes. It does not write the text.
    pub fn len(&self) -> usize {
        match (self.bytes.get(), self.tree.get()) {
            (Some(bytes), _) => bytes.len(),
            (None, Some(tree)) => tree.json_len(),
            (None, None) => 0,
        }
    }

    /// Whether the payload stays within these limits. Bytes were checked for depth when they came; a tree is walked. Gives
    /// the bytes that were walked.
    ///
    /// # Errors
    /// When a limit is exceeded.
    pub fn within(&self, limits: JsonLimits) -> Result<usize, LimitExceeded> {
        match (self.bytes.get(), self.tree.get()) {
            (Some(bytes), _) if bytes.len() > limits.bytes => Err(LimitExceeded::Bytes(limits.bytes)),
            (None, Some(tree)) => tree.measure(limits).map(|measured| measured.bytes),
            _ => Ok(0),
        }
    }

    /// Never: even the shortest document has a byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a tree already, so that looking inside costs nothing.
    pub fn is_materialised(&self) -> bool {
        self.tree.get().is_some()
    }

    /// Whether both are the same slice of the same text: clones of one payload that has not been parsed and rebuilt.
    #[must_use]
    pub fn shares_text(&self, other: &Self) -> bool {
        match (self.bytes.get(), other.bytes.get()) {
            (Some(left), Some(right)) => left.as_ptr() == right.as_ptr() && left.len() == right.len(),
            _ => false,
        }
    }

    /// The same payload with bytes of its own and no tree, so that a frame it was cut from can be freed.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::from_checked(Bytes::copy_from_slice(self.bytes()))
    }

    /// The same payload without the frame that its text may be cut from. A tree whose text nobody has asked for has none, and
    /// stays as it is.
    #[must_use]
    pub fn without_frame(self) -> Self {
        if self.bytes.get().is_some() { self.detach() } else { self }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::from_value(Value::Null)
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::from_value(value)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self.bytes.get(), other.bytes.get()) {
            (Some(left), Some(right)) if left == right => true,
            _ => self.value() == other.value(),
        }
    }
}
