//! One state without the machine around it, as `TestState` takes it.
//!
//! Its transitions may name any state: those that they name stand beside it as states that are never left.

use std::sync::Arc;

use super::compile::Compiler;
use super::findings::Place;
use super::graph::{Targets, successors};
use super::json::{Member, Node};
use crate::program::{Graph, Program, State};
use crate::value::Str;

/// The name of a state that is defined alone, as AWS calls it.
pub const TESTED_STATE: &str = "StateName";

impl Compiler<'_> {
    /// A program whose machine begins with this state.
    pub(super) fn alone(&mut self, root: Node) -> Option<Program> {
        let span = root.pointed();
        let machine = Place::root(span);
        let states = machine.field("States", span);
        let place = states.field(TESTED_STATE, span);
        let member = Member { name: TESTED_STATE.to_owned(), name_span: span, value: root };
        let mut targets = Targets::from_iter([(TESTED_STATE, 0)]);
        for name in successors(&member.value) {
            let index = u16::try_from(targets.len()).unwrap_or(u16::MAX);
            targets.entry(name).or_insert(index);
        }
        let state = self.state(&member, &targets, &place);
        if self.assigns {
            self.inner_variable_scopes(&member.value, &place);
        }
        let mut named: Vec<(&str, u16)> = targets.into_iter().collect();
        named.sort_unstable_by_key(|(_, index)| *index);
        let others = named.into_iter().skip(1).map(|(name, _)| State::parked(Str::from(name)));
        let states = std::iter::once(state?).chain(others).collect();
        Some(self.program(None, Arc::new(Graph { start: 0, states })))
    }
}
