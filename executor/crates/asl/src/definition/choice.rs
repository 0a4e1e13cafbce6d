//! Choice states: rules in order, each with its transition.

use super::compile::Compiler;
use super::findings::Place;
use super::graph::Targets;
use super::json::{Node, Shape};
use crate::condition::Condition;
use crate::program::{ChoiceRule, Kind};

impl Compiler<'_> {
    /// `Choices` and `Default`.
    pub(super) fn choice(&mut self, node: &Node, targets: &Targets<'_>, place: &Place<'_>) -> Option<Kind> {
        self.required(node, &["Choices"], place);
        let default = self.target_field(node, "Default", targets, place);
        let member = node.member("Choices")?;
        let place = place.member(member);
        let items = self.array(&member.value, &place)?;
        let mut rules = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            rules.push(self.rule(item, targets, &place.item(index, item)));
        }
        if node.member("Default").is_some() {
            default?;
        }
        let rules: Option<Box<[ChoiceRule]>> = rules.into_iter().collect();
        rules.map(|rules| Kind::Choice { rules, default })
    }

    fn rule(&mut self, node: &Node, targets: &Targets<'_>, place: &Place<'_>) -> Option<ChoiceRule> {
        self.object(node, place)?;
        let complete = self.required(node, &["Next"], place);
        let next = self.target_field(node, "Next", targets, place);
        let sound = self.rule_fields(node, true, place);
        let assign = self.assign(node, place);
        if !sound || !complete {
            return None;
        }
        let value = self.value(node, place)?;
        match Condition::compile(&value) {
            Ok(condition) => Some(ChoiceRule { condition, assign: assign?, next: next? }),
            Err(errors) => {
                for error in errors {
                    self.schema_at(node, &error.pointer, &error.message, place);
                }
                None
            }
        }
    }

    /// The fields of a rule that are no operators, and those of the rules inside. False where something is
    /// wrong.
    fn rule_fields(&mut self, node: &Node, top: bool, place: &Place<'_>) -> bool {
        let mut sound = true;
        self.string_field(node, "Comment", place);
        for member in node.members().unwrap_or_default() {
            match member.name.as_str() {
                "Next" if !top => {
                    self.unsupported_field(member, String::new(), place);
                    sound = false;
                }
                "Assign" if top => {}
                "Assign" | "Condition" | "Output" => {
                    self.unsupported_field(member, String::new(), place);
                    sound = false;
                }
                "And" | "Or" => {
                    let place = place.member(member);
                    if let Shape::Array(items) = &member.value.shape {
                        for (index, item) in items.iter().enumerate() {
                            sound &= self.rule_fields(item, false, &place.item(index, item));
                        }
                    }
                }
                "Not" => sound &= self.rule_fields(&member.value, false, &place.member(member)),
                _ => self.remark_literal_path(member, place),
            }
        }
        sound
    }
}
