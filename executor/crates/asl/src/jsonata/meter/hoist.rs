//! Plain paths inside of an expression are taken out: they become variables, whose values are found by a walk over our
//! values before the engine begins. So only what they name is converted, not all of `$states.input` around it.
//!
//! Invariant: this is the same only where no array is on the way, for a path maps over arrays and filters each part by
//! itself, and where what is filtered is there. Whoever evaluates looks for that, and takes the expression without hoisting
//! where it is otherwise.

use jsonata_core::ast::{AstNode, PathStep, Stage};

use super::super::names;
use super::super::plain::{self, PlainPath};
use super::Weaver;

/// The variable of a hoisted path. No expression can spell it.
pub(in super::super) fn variable(place: usize) -> String {
    format!("path {place}")
}

/// A path that was replaced by a variable.
#[derive(Debug)]
pub(in super::super) struct Hoisted {
    pub path: PlainPath,
    /// The variable is filtered somewhere. A variable's filter is evaluated for nothing too, a path's is not where the path
    /// ends before it.
    pub filtered: bool,
}

impl Weaver<'_> {
    /// Replaces the plain beginning of a path.
    pub(super) fn hoist(&mut self, mut steps: Vec<PathStep>) -> Vec<PathStep> {
        let Some((path, taken)) = self.beginning(&steps) else { return steps };
        // The filters of the last step that is taken are those of the variable.
        let stages = std::mem::take(&mut steps[taken - 1].stages);
        let filtered = !stages.is_empty();
        let place = match self.hoisted.iter().position(|known| known.path == path) {
            Some(place) => {
                self.hoisted[place].filtered |= filtered;
                place
            }
            None => {
                self.hoisted.push(Hoisted { path, filtered });
                self.hoisted.len() - 1
            }
        };
        let rest = steps.split_off(taken);
        let mut hoisted = vec![PathStep::with_stages(AstNode::Variable(variable(place)), stages)];
        hoisted.extend(rest);
        hoisted
    }

    fn beginning(&self, steps: &[PathStep]) -> Option<(PlainPath, usize)> {
        let AstNode::Variable(root) = &steps.first()?.node else { return None };
        if !self.hoists || root.is_empty() || self.is_bound(root) || names::is_function(root) {
            return None;
        }
        let mut taken = 0;
        for step in steps {
            let is_name = taken == 0 || matches!(step.node, AstNode::Name(_));
            let filters = step.stages.iter().all(|stage| matches!(stage, Stage::Filter(_)));
            if !is_name || !filters || !plain::is_simple(step) {
                break;
            }
            taken += 1;
            if !step.stages.is_empty() {
                break;
            }
        }
        let keys = steps[1..taken.max(1)].iter().filter_map(|step| match &step.node {
            AstNode::Name(key) => Some(key.as_str()),
            _ => None,
        });
        (taken > 1).then(|| (PlainPath::of_keys(root, keys), taken))
    }
}
