//! Objects.

use super::{Str, Value};

/// An object's members, in the order of its text.
#[derive(Debug, Clone, Default)]
pub struct Map {
    entries: Vec<(Str, Value)>,
}
