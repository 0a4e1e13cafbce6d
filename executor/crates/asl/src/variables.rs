//! Workflow variables: what `Assign` sets and `$name` reads.
//!
//! Purpose: one scope for each `States` object under way, chained to the scope around it. Invariants: a name is looked up
//! from the inside out; assigning changes the innermost scope alone; a branch or an iteration holds the scopes around it
//! as they were when it began. A machine without variables has no scope at all. What may fail: nothing here; names are
//! checked when a definition is compiled, sizes when a state assigns.

use std::sync::Arc;

use crate::value::{Map, Str, Value};

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 80;
/// The name that JSONata has for a state's data; not to be assigned.
pub const RESERVED: &str = "states";
/// The largest variable, and the largest sum of what one `Assign` sets, in bytes of JSON.
pub const ASSIGN_BYTES_MAX: usize = 256 << 10;
/// The largest sum of all variables of an execution, in bytes of JSON.
pub const EXECUTION_BYTES_MAX: usize = 10 << 20;

/// The variables of a scope, and those of the scopes around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variables {
    own: Map,
    outer: Option<Arc<Variables>>,
}

impl Variables {
    /// An empty scope inside of another one.
    #[must_use]
    pub fn inside(outer: Option<Arc<Self>>) -> Self {
        Self { own: Map::default(), outer }
    }

    /// The value of this name, in the innermost scope that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.own.get(name) {
                return Some(value);
            }
            scope = scope.outer.as_deref()?;
        }
    }

    /// Sets a variable of this scope; the value that it had there is returned.
    pub fn assign(&mut self, name: Str, value: Value) -> Option<Value> {
        self.own.insert(name, value)
    }

    /// The variables of this scope alone.
    #[must_use]
    pub fn own(&self) -> &Map {
        &self.own
    }

    /// The length of this scope's own values as JSON.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.own.values().map(Value::json_len).sum()
    }
}

/// Whether a character may begin a variable's name: an `ID_Start` of UAX #31.
#[must_use]
pub fn begins_name(character: char) -> bool {
    unicode_ident::is_xid_start(character)
}

/// Whether a character may go on in a variable's name: an `ID_Continue` of UAX #31, such as a digit or `_`.
#[must_use]
pub fn continues_name(character: char) -> bool {
    unicode_ident::is_xid_continue(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_from_the_inside_out_and_assigned_inside_only() {
        let mut around = Variables::default();
        around.assign("a".into(), Value::from(1_i64));
        around.assign("b".into(), Value::from(2_i64));
        let around = Arc::new(around);
        let mut inside = Variables::inside(Some(Arc::clone(&around)));
        inside.assign("b".into(), Value::from(3_i64));
        assert_eq!(inside.get("a"), Some(&Value::from(1_i64)));
        assert_eq!(inside.get("b"), Some(&Value::from(3_i64)));
        assert_eq!(around.get("b"), Some(&Value::from(2_i64)));
        assert_eq!(inside.get("c"), None);
        assert_eq!(inside.own().len(), 1);
    }

    #[test]
    fn the_size_of_a_scope_is_that_of_its_own_values() {
        let mut around = Variables::default();
        around.assign("long".into(), Value::from("12345678"));
        let mut inside = Variables::inside(Some(Arc::new(around)));
        inside.assign("a".into(), Value::from("12"));
        inside.assign("b".into(), Value::Null);
        assert_eq!(inside.own_bytes(), 4 + 4);
    }

    #[test]
    fn names_begin_with_letters_and_go_on_with_digits_marks_and_underscores() {
        assert!("aÉ中".chars().all(begins_name));
        assert!(!"1_- .".chars().any(begins_name));
        assert!("a1_\u{301}中".chars().all(continues_name));
        assert!(!"- .[$".chars().any(continues_name));
    }
}
