//! Warnings: what is allowed, and hardly what the author meant.
//!
//! Purpose: Step Functions accepts all of this, so none of it may refuse a definition. Invariants: time
//! grows with the text's length alone; nothing here changes the program.

use std::collections::HashSet;

use super::code;
use super::compile::Compiler;
use super::findings::Place;
use super::graph::{Targets, is_terminal, successors};
use super::json::{Member, Node};
use crate::program::Dialect;

/// The errors that the language itself knows.
const ERRORS: [&str; 17] = [
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.Http.Socket",
    "States.IntrinsicFailure",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultPathMatchFailure",
    "States.ResultWriterFailed",
    "States.Runtime",
    "States.TaskFailed",
    "States.Timeout",
];

impl Compiler<'_> {
    /// Warns of a name in `ErrorEquals` that begins with `States.` and that no error has.
    pub(super) fn remark_unknown_name(&mut self, name: &str, place: &Place<'_>) {
        let known = ERRORS.contains(&name) || name.starts_with("States.Http.StatusCode.");
        // Tencent documents errors of its own under this prefix.
        if known || self.dialect == Dialect::Tcsl {
            return;
        }
        let note = self.suggestion(name, ERRORS);
        let message = format!("The language has no error '{name}'; this entry never matches it");
        self.findings.warning_noted(code::UNKNOWN_ERROR_NAME, place, message, note);
    }

    /// Warns of a Fail state that raises an error with a name of the language's own.
    pub(super) fn remark_reserved_name(&mut self, name: &str, place: &Place<'_>) {
        let message = format!("Names that begin with 'States.' are the language's own: '{name}'");
        self.findings.warning(code::RESERVED_ERROR_NAME, place, message);
    }

    /// Warns of names in `Retry` or `Catch` that an earlier entry has already: the first entry that matches
    /// decides.
    pub(super) fn remark_repeated_names(&mut self, entries: &[Node], place: &Place<'_>) {
        let mut seen: HashSet<&str, foldhash::fast::RandomState> = HashSet::default();
        for (index, entry) in entries.iter().enumerate() {
            let entry_place = place.item(index, entry);
            let Some(member) = entry.member("ErrorEquals") else { continue };
            let list_place = entry_place.member(member);
            let own: Vec<(usize, &Node, &str)> = member
                .value
                .items()
                .iter()
                .enumerate()
                .filter_map(|(at, node)| node.as_str().map(|name| (at, node, name)))
                .collect();
            for (at, node, name) in own.iter().filter(|(.., name)| seen.contains(name)) {
                let message = format!("An earlier entry handles '{name}'; this one is never used for it");
                self.findings.warning(code::REPEATED_ERROR_NAME, &list_place.item(*at, node), message);
            }
            seen.extend(own.iter().map(|(.., name)| *name));
        }
    }

    /// Warns of the first state that is reached and from which no terminal state can be reached.
    pub(super) fn remark_endless_loop(
        &mut self,
        members: &[Member],
        reached: &[bool],
        targets: &Targets<'_>,
        place: &Place<'_>,
    ) {
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
        let mut waiting = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let terminal = is_terminal(&member.value);
            let mut next = successors(&member.value).peekable();
            // A transition that is missing or leads nowhere is an error already, and may have been meant as the
            // way out.
            if (next.peek().is_none() && !terminal) || next.any(|name| !targets.contains_key(name)) {
                return;
            }
            for target in successors(&member.value).filter_map(|name| targets.get(name)) {
                before[usize::from(*target)].push(index);
            }
            if terminal {
                waiting.push(index);
            }
        }
        let mut ends = vec![false; members.len()];
        while let Some(at) = waiting.pop() {
            if !std::mem::replace(&mut ends[at], true) {
                waiting.append(&mut before[at]);
            }
        }
        let mut lost = (0..members.len()).filter(|index| reached[*index] && !ends[*index]);
        let Some(first) = lost.next() else { return };
        let member = &members[first];
        let message = format!("No terminal state can be reached from '{}'", member.name);
        let note = match lost.count() {
            0 => String::new(),
            1 => "Nor from one more state".to_owned(),
            more => format!("Nor from {more} more states"),
        };
        let place = place.member(member).at(member.name_span);
        self.findings.warning_noted(code::ENDLESS_LOOP, &place, message, note);
    }
}
