//! Variables that are assigned and never read.
//!
//! Purpose: a warning, so it never errs on the strict side: a name counts as read where `$name` stands in any
//! text of the machine outside of comments, whatever the query language and the scope. Invariants: nothing is
//! done for a machine without `Assign`; two walks over the text's tree otherwise.

use std::collections::HashSet;

use super::assign::{problem, variable};
use super::code;
use super::compile::Compiler;
use super::findings::Place;
use super::json::{Node, Shape};
use crate::variables::continues_name;

/// Names that stand behind a `$`.
type Names<'n> = HashSet<&'n str, foldhash::fast::RandomState>;

impl Compiler<'_> {
    /// Warns of each assignment to a variable that nothing reads.
    pub(super) fn remark_unused_variables(&mut self, root: &Node, place: &Place<'_>) {
        if self.text.contains("\"Assign\"") {
            let mut read = Names::default();
            collect(root, &mut read);
            self.unused_in_graph(root, &read, place);
        }
    }

    fn unused_in_graph(&mut self, node: &Node, read: &Names<'_>, place: &Place<'_>) {
        let Some(states) = node.member("States") else { return };
        let place = place.member(states);
        for state in states.value.members().unwrap_or_default() {
            let place = place.member(state);
            self.unused_in_assign(&state.value, read, &place);
            for field in ["Choices", "Catch"] {
                let Some(list) = state.value.member(field) else { continue };
                let place = place.member(list);
                for (index, item) in list.value.items().iter().enumerate() {
                    self.unused_in_assign(item, read, &place.item(index, item));
                }
            }
            for field in ["ItemProcessor", "Iterator"] {
                if let Some(processor) = state.value.member(field) {
                    self.unused_in_graph(&processor.value, read, &place.member(processor));
                }
            }
            if let Some(branches) = state.value.member("Branches") {
                let place = place.member(branches);
                for (index, branch) in branches.value.items().iter().enumerate() {
                    self.unused_in_graph(branch, read, &place.item(index, branch));
                }
            }
        }
    }

    /// `Assign` of a state, a choice rule or a catcher.
    fn unused_in_assign(&mut self, node: &Node, read: &Names<'_>, place: &Place<'_>) {
        let Some(assign) = node.member("Assign") else { return };
        let place = place.member(assign);
        for member in assign.value.members().unwrap_or_default() {
            let name = variable(member);
            // Of a name that is none, something else has been said.
            if problem(name).is_none() && !read.contains(name) {
                let place = place.member(member).at(member.name_span);
                let message =
                    format!("The variable '{name}' is assigned, but nothing in the machine reads it");
                self.findings.warning(code::UNUSED_VARIABLE, &place, message);
            }
        }
    }
}

/// The names in all texts below a node.
fn collect<'n>(node: &'n Node, names: &mut Names<'n>) {
    match &node.shape {
        Shape::String(text) => {
            for part in text.split('$').skip(1) {
                let end = part.find(|character| !continues_name(character)).unwrap_or(part.len());
                names.insert(&part[..end]);
            }
        }
        Shape::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Shape::Object(members) => {
            members
                .iter()
                .filter(|member| member.name != "Comment")
                .for_each(|member| collect(&member.value, names));
        }
        Shape::Null | Shape::Bool(_) | Shape::Number => {}
    }
}
