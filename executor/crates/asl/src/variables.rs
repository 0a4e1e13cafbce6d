//! Workflow variables: what `Assign` sets and `$name` reads.
//!
//! Purpose: one scope for each `States` object under way, chained to the scope around it. Invariants: a name is looked up
//! from the inside out; assigning changes the innermost scope alone; a branch or an iteration holds the scopes around it
//! as they were when it began. A machine without variables has no scope at all. What may fail: nothing here; names and
//! sizes are bounded by the definition and by the caller.

use std::sync::Arc;

use crate::value::{Map, Str, Value};

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

    /// Sets a variable of this scope.
    pub fn assign(&mut self, name: Str, value: Value) {
        self.own.insert(name, value);
    }

    /// The variables of this scope alone.
    #[must_use]
    pub fn own(&self) -> &Map {
        &self.own
    }
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
}
