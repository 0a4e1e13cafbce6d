//! JSON values: an immutable tree whose subtrees and strings are shared, and [`Payload`], bytes that become such a tree
//! only when something looks inside.

use std::sync::Arc;

mod map;
mod number;
mod payload;
mod scan;
mod text;

pub use map::Map;
pub use number::Number;
pub use payload::Payload;
pub use scan::{JsonError, JsonLimits};

/// An immutable string: up to 15 bytes inline, shared beyond.
pub type Str = ecow::EcoString;

/// A JSON value. Cloning shares; it never copies a subtree.
#[derive(Debug, Clone, Default)]
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
