//! `States` objects: names, transitions, what can be reached.

use std::collections::HashMap;

use super::compile::Compiler;
use super::findings::Place;
use super::json::{Member, Node, Shape};
use super::{STATE_NAME_MAX, STATES_MAX, code};
use crate::program::{Dialect, Graph, State, StateIndex};

/// The states that transitions of one `States` object may name.
pub(super) type Targets<'n> = HashMap<&'n str, StateIndex, foldhash::fast::RandomState>;

impl Compiler<'_> {
    /// `StartAt` and `States` of a machine, a branch or an item processor.
    pub(super) fn graph(&mut self, node: &Node, place: &Place<'_>) -> Option<Graph> {
        let complete = self.required(node, &["States", "StartAt"], place);
        let states = node.member("States")?;
        let states_place = place.member(states);
        let members = self.object(&states.value, &states_place)?;
        if members.is_empty() {
            self.findings.schema(&states_place, "Value cannot be empty");
            return None;
        }
        if members.len() > STATES_MAX {
            let message = format!("{} states in one place; at most {STATES_MAX}", members.len());
            self.findings.schema(&states_place, message);
            return None;
        }
        let targets: Targets<'_> =
            members.iter().enumerate().map(|(index, state)| (state.name.as_str(), index as u16)).collect();
        let mut start = None;
        if let Some(member) = node.member("StartAt") {
            let start_place = place.member(member);
            if let Some(name) = self.string(&member.value, &start_place) {
                start = self.target(name, &targets, &start_place);
            }
        }
        let mut built = Vec::with_capacity(members.len());
        for member in members {
            let state_place = states_place.member(member).at(member.name_span);
            self.name(member, &state_place);
            built.push(self.state(member, &targets, &state_place));
        }
        if !members.iter().any(|member| is_terminal(&member.value)) {
            // AWS gives no location, and looks no further for what cannot be reached.
            self.findings.error_unlocated(
                code::MISSING_END_STATE,
                &states_place,
                "Workflow has no terminal state",
            );
        } else if node.get("StartAt").and_then(Node::as_str).is_some() {
            self.reach(start, members, &targets, &states_place);
        }
        let states: Option<Vec<State>> = built.into_iter().collect();
        let graph = Graph { start: start?, states: states?.into_boxed_slice() };
        complete.then_some(graph)
    }

    fn name(&mut self, member: &Member, place: &Place<'_>) {
        let length = member.name.chars().count();
        if length > STATE_NAME_MAX {
            let message =
                format!("The state name exceeds the {STATE_NAME_MAX}-character limit allowed by the service");
            let note = format!("It has {length} characters");
            self.findings.error_noted(code::INVALID_STATE_NAME, place, message, note);
        }
        if member.name.is_empty() {
            self.findings.error(code::INVALID_STATE_NAME, place, "The state name is empty");
        }
        if !self.names.insert(member.name.clone()) {
            let message = format!("Duplicate State name: {}", member.name);
            self.findings.error(code::DUPLICATE_STATE_NAME, place, message);
        }
    }

    /// The state of this name in the same `States`.
    pub(super) fn target(
        &mut self,
        name: &str,
        targets: &Targets<'_>,
        place: &Place<'_>,
    ) -> Option<StateIndex> {
        let found = targets.get(name).copied();
        if found.is_none() {
            let message = format!("Missing 'Next' target: {name}");
            let note = self.suggestion(name, targets.keys().copied());
            self.findings.error_noted(code::MISSING_TRANSITION_TARGET, place, message, note);
        }
        found
    }

    /// The state that a field names, where present.
    pub(super) fn target_field(
        &mut self,
        node: &Node,
        field: &str,
        targets: &Targets<'_>,
        place: &Place<'_>,
    ) -> Option<StateIndex> {
        let member = node.member(field)?;
        let place = place.member(member);
        let name = self.string(&member.value, &place)?;
        self.target(name, targets, &place)
    }

    /// Every state is reached from the start. Works on the text, so that what else is wrong with a state
    /// does not hide where it leads.
    fn reach(
        &mut self,
        start: Option<StateIndex>,
        members: &[Member],
        targets: &Targets<'_>,
        place: &Place<'_>,
    ) {
        let mut reached = vec![false; members.len()];
        let mut waiting: Vec<usize> = start.into_iter().map(usize::from).collect();
        while let Some(at) = waiting.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                let names = successors(&members[at].value);
                waiting.extend(names.filter_map(|name| targets.get(name)).copied().map(usize::from));
            }
        }
        self.remark_endless_loop(members, &reached, targets, place);
        for (member, _) in members.iter().zip(&reached).filter(|(_, reached)| !**reached) {
            let place = place.member(member).at(member.name_span);
            let message = format!("State \"{}\" is not reachable.", member.name);
            let code = code::MISSING_TRANSITION_TARGET;
            match self.dialect {
                Dialect::Asl => self.findings.error(code, &place, message),
                Dialect::Tcsl => self.findings.warning(code, &place, message),
            }
        }
    }
}

pub(super) fn is_terminal(state: &Node) -> bool {
    let kind = state.get("Type").and_then(Node::as_str).unwrap_or_default();
    matches!(state.get("End").map(|end| &end.shape), Some(Shape::Bool(true)))
        || ["Succeed", "Fail"].iter().any(|name| name.eq_ignore_ascii_case(kind))
}

/// The names of the states that a state may go to, errors included.
pub(super) fn successors(state: &Node) -> impl Iterator<Item = &str> {
    let plain = ["Next", "Default"].into_iter().filter_map(|field| state.get(field));
    let listed = ["Choices", "Catch"].into_iter().filter_map(|field| state.get(field)).flat_map(Node::items);
    plain.chain(listed.filter_map(|item| item.get("Next"))).filter_map(Node::as_str)
}
