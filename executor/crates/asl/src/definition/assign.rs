//! `Assign`: a template whose top-level fields name variables.

use super::compile::Compiler;
use super::findings::Place;
use super::json::{Member, Node};
use super::query::Reads;
use crate::template::Template;
use crate::variables::{NAME_CHARS_MAX, RESERVED, begins_name, continues_name};

impl Compiler<'_> {
    /// `Assign` of a state, a choice rule or a catcher, where it is present; `query` says what its expressions may read
    /// in a JSONata state, `around` is its place below the state. The outer `None` is an error.
    pub(super) fn assign(
        &mut self,
        node: &Node,
        query: Option<Reads>,
        around: &str,
        place: &Place<'_>,
    ) -> Option<Option<Template>> {
        let Some(member) = node.member("Assign") else { return Some(None) };
        self.assigns = true;
        let place = place.member(member);
        let members = self.object(&member.value, &place)?;
        let mut sound = true;
        for member in members {
            // In a JSONata state a key is only a key.
            let name = if query.is_some() { &member.name } else { variable(member) };
            sound &= self.variable_name(name, &place.member(member).at(member.name_span));
        }
        let template = match query {
            None => self.template(&member.value, &place)?,
            Some(reads) => self.query_template(&member.value, &format!("{around}Assign"), reads, &place)?,
        };
        sound.then_some(Some(template))
    }

    /// True where a name is that of a variable.
    fn variable_name(&mut self, name: &str, place: &Place<'_>) -> bool {
        let problem = problem(name);
        let sound = problem.is_none();
        if let Some(problem) = problem {
            self.findings.schema(place, problem);
        }
        sound
    }
}

/// Why a text is no name of a variable; `None` where it is one.
pub(super) fn problem(name: &str) -> Option<String> {
    let length = name.chars().count();
    if name == RESERVED {
        Some("'states' is reserved and cannot be assigned".to_owned())
    } else if length > NAME_CHARS_MAX {
        Some(format!("The variable name has {length} characters; at most {NAME_CHARS_MAX} are allowed"))
    } else if !name.starts_with(begins_name) || !name.chars().all(continues_name) {
        Some(format!(
            "'{name}' is not a valid variable name: it has to begin with a letter and to go on with letters, digits \
             and underscores"
        ))
    } else {
        None
    }
}

/// The variable that a member of an `Assign` sets.
pub(super) fn variable(member: &Member) -> &str {
    member.name.strip_suffix(".$").unwrap_or(&member.name)
}
