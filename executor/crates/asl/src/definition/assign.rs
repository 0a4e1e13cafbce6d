//! `Assign`: a template whose top-level fields name variables.

use super::compile::Compiler;
use super::findings::Place;
use super::json::{Member, Node};
use crate::template::Template;
use crate::variables::{NAME_CHARS_MAX, RESERVED, begins_name, continues_name};

impl Compiler<'_> {
    /// `Assign` of a state, a choice rule or a catcher, where it is present. The outer `None` is an error.
    pub(super) fn assign(&mut self, node: &Node, place: &Place<'_>) -> Option<Option<Template>> {
        let Some(member) = node.member("Assign") else { return Some(None) };
        self.assigns = true;
        let place = place.member(member);
        let members = self.object(&member.value, &place)?;
        let mut sound = true;
        for member in members {
            sound &= self.variable_name(member, &place);
        }
        let template = self.template(&member.value, &place)?;
        sound.then_some(Some(template))
    }

    /// True where a member's name is that of a variable.
    fn variable_name(&mut self, member: &Member, place: &Place<'_>) -> bool {
        let name = variable(member);
        let length = name.chars().count();
        let problem = if name == RESERVED {
            "'states' is reserved and cannot be assigned".to_owned()
        } else if length > NAME_CHARS_MAX {
            format!("The variable name has {length} characters; at most {NAME_CHARS_MAX} are allowed")
        } else if !name.starts_with(begins_name) || !name.chars().all(continues_name) {
            format!(
                "'{name}' is not a valid variable name: it has to begin with a letter and to go on with letters, digits \
                 and underscores"
            )
        } else {
            return true;
        };
        self.findings.schema(&place.member(member).at(member.name_span), problem);
        false
    }
}

/// The variable that a member of an `Assign` sets.
pub(super) fn variable(member: &Member) -> &str {
    member.name.strip_suffix(".$").unwrap_or(&member.name)
}
