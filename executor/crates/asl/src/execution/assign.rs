//! Variables: what `Assign` gives, its bounds, and when it takes effect.
//!
//! Invariants: all references of a state see the variables as they were when it was entered, because what it assigns is
//! kept beside its output until it is left; a thread of control changes its own scope alone; what all scopes of an
//! execution hold is counted, so that it stays bounded. What may fail: an evaluation, and a value beyond its bound.

use std::sync::Arc;

use super::flow::DATA_LIMIT_EXCEEDED;
use super::run::Run;
use super::threads::Threads;
use crate::history::Observer;
use crate::path::{EvalError, Scope};
use crate::template::Template;
use crate::value::{JsonLimits, Map, Value};
use crate::variables::{ASSIGN_BYTES_MAX, EXECUTION_BYTES_MAX, Variables};

/// What a state assigns, from its evaluation until the state is left.
pub(super) type Assigned = Option<Box<Map>>;

impl<O: Observer> Run<'_, O> {
    /// What `Assign` gives, not yet in effect.
    pub fn evaluate_assign(
        &self,
        slot: u32,
        assign: &Template,
        scope: &Scope<'_>,
    ) -> Result<Assigned, EvalError> {
        let Value::Object(values) = assign.evaluate(scope)? else { return Ok(None) };
        if values.is_empty() {
            return Ok(None);
        }
        let state = &self.state(slot).name;
        let grown = self.threads.variable_bytes + size(&values, state)?;
        let replaced = self
            .threads
            .own_variables(slot)
            .map_or(0, |own| values.keys().filter_map(|name| own.own().get(name)).map(Value::json_len).sum());
        if grown.saturating_sub(replaced) > EXECUTION_BYTES_MAX {
            return Err(too_large(format!(
                "The variables of the execution exceed {EXECUTION_BYTES_MAX} bytes with those that the state \
                 '{state}' assigns."
            )));
        }
        Ok(Some(Box::new(Arc::unwrap_or_clone(values))))
    }
}

/// The bytes of all values of an `Assign`.
fn size(values: &Map, state: &str) -> Result<usize, EvalError> {
    let limits = JsonLimits { bytes: ASSIGN_BYTES_MAX, ..JsonLimits::PAYLOAD };
    let mut sum = 0;
    for (name, value) in values {
        let measured = value.measure(limits).map_err(|limit| {
            too_large(format!("The state '{state}' cannot assign the variable '{name}': {limit}."))
        })?;
        sum += measured.bytes;
    }
    if sum > ASSIGN_BYTES_MAX {
        return Err(too_large(format!(
            "The state '{state}' assigns variables of {sum} bytes together; at most {ASSIGN_BYTES_MAX} are allowed."
        )));
    }
    Ok(sum)
}

fn too_large(message: String) -> EvalError {
    EvalError::new(DATA_LIMIT_EXCEEDED, message)
}

impl Threads {
    /// The variables of a thread's own scope.
    fn own_variables(&self, slot: u32) -> Option<&Variables> {
        let thread = self.at(slot);
        thread.variables.as_deref().filter(|_| thread.scoped)
    }

    /// Assigned values take effect in the thread's own scope, which begins with the first of them.
    pub fn assign(&mut self, slot: u32, assigned: &Map) {
        let thread = self.at_mut(slot);
        if !thread.scoped {
            thread.scoped = true;
            thread.variables = Some(Arc::new(Variables::inside(thread.variables.take())));
        }
        let Some(variables) = &mut thread.variables else { return };
        let variables = Arc::make_mut(variables);
        let (mut added, mut replaced) = (0, 0);
        for (name, value) in assigned {
            added += value.json_len();
            replaced += variables.assign(name.clone(), value.clone()).map_or(0, |old| old.json_len());
        }
        self.variable_bytes = (self.variable_bytes + added).saturating_sub(replaced);
    }
}
