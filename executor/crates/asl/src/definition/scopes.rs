//! Scopes of variables: no state assigns a name that belongs to a scope around it.
//!
//! A name belongs to a `States` object when one of its states or choice rules assigns it. What a catcher assigns counts
//! too, but not inside the state that it belongs to: Step Functions accepts that, for when a catcher assigns, what was
//! inside is gone. Runs once over the text of a machine that assigns anything; linear in its size.

use std::collections::HashMap;

use super::assign::variable;
use super::compile::Compiler;
use super::findings::Place;
use super::json::{Member, Node};

/// How often each name is assigned in the scopes around.
type Outer<'n> = HashMap<&'n str, u32, foldhash::fast::RandomState>;

impl Compiler<'_> {
    /// Checks a machine, a branch or an item processor and all that is inside.
    pub(super) fn variable_scopes(&mut self, machine: &Node, place: &Place<'_>) {
        self.scope(machine, &mut Outer::default(), place);
    }

    /// Checks the branches or the item processor of a state that stands alone.
    pub(super) fn inner_variable_scopes(&mut self, state: &Node, place: &Place<'_>) {
        let mut outer = Outer::default();
        names(state, |name| *outer.entry(name).or_default() += 1);
        self.inner_scopes(state, &mut outer, place);
    }

    fn scope<'n>(&mut self, node: &'n Node, outer: &mut Outer<'n>, place: &Place<'_>) {
        let Some(states) = node.member("States") else { return };
        let place = place.member(states);
        let members = states.value.members().unwrap_or_default();
        if !outer.is_empty() {
            for state in members {
                self.refuse_outer_names(&state.value, outer, &place.member(state));
            }
        }
        for state in members {
            names(&state.value, |name| *outer.entry(name).or_default() += 1);
        }
        for state in members {
            self.inner_scopes(&state.value, outer, &place.member(state));
        }
        for state in members {
            names(&state.value, |name| give_back(outer, name));
        }
    }

    /// The branches or the item processor of a state.
    fn inner_scopes<'n>(&mut self, state: &'n Node, outer: &mut Outer<'n>, place: &Place<'_>) {
        if !["Branches", "ItemProcessor", "Iterator"].iter().any(|field| state.get(field).is_some()) {
            return;
        }
        caught_names(state, |name| give_back(outer, name));
        for field in ["ItemProcessor", "Iterator"] {
            if let Some(processor) = state.member(field) {
                self.scope(&processor.value, outer, &place.member(processor));
            }
        }
        if let Some(branches) = state.member("Branches") {
            let place = place.member(branches);
            for (index, branch) in branches.value.items().iter().enumerate() {
                self.scope(branch, outer, &place.item(index, branch));
            }
        }
        caught_names(state, |name| *outer.entry(name).or_default() += 1);
    }

    fn refuse_outer_names(&mut self, state: &Node, outer: &Outer<'_>, place: &Place<'_>) {
        self.refuse_in(state, outer, place);
        for field in ["Choices", "Catch"] {
            let Some(list) = state.member(field) else { continue };
            let place = place.member(list);
            for (index, item) in list.value.items().iter().enumerate() {
                self.refuse_in(item, outer, &place.item(index, item));
            }
        }
    }

    fn refuse_in(&mut self, node: &Node, outer: &Outer<'_>, place: &Place<'_>) {
        let Some(assign) = node.member("Assign") else { return };
        let place = place.member(assign);
        for member in assign.value.members().unwrap_or_default() {
            let name = variable(member);
            if outer.contains_key(name) {
                let message = format!(
                    "The variable '{name}' is assigned in an outer scope; a branch or an item processor can read it, but \
                     not assign it"
                );
                self.findings.schema(&place.member(member).at(member.name_span), message);
            }
        }
    }
}

/// The names that a state, its choice rules and its catchers assign.
fn names<'n>(state: &'n Node, mut found: impl FnMut(&'n str)) {
    assigned(state).iter().map(variable).for_each(&mut found);
    for rule in items(state, "Choices") {
        assigned(rule).iter().map(variable).for_each(&mut found);
    }
    caught_names(state, found);
}

fn caught_names<'n>(state: &'n Node, mut found: impl FnMut(&'n str)) {
    for catcher in items(state, "Catch") {
        assigned(catcher).iter().map(variable).for_each(&mut found);
    }
}

fn assigned(node: &Node) -> &[Member] {
    node.get("Assign").and_then(Node::members).unwrap_or_default()
}

fn items<'n>(state: &'n Node, field: &str) -> &'n [Node] {
    state.get(field).map(Node::items).unwrap_or_default()
}

fn give_back(outer: &mut Outer<'_>, name: &str) {
    if let Some(count) = outer.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            outer.remove(name);
        }
    }
}
