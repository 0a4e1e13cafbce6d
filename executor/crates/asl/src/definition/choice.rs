//! Choice states: rules in order, each with its transition.

use super::compile::Compiler;
use super::findings::Place;
use super::graph::Targets;
use super::json::Node;
use super::query::Reads;
use crate::condition::{Condition, OPERATORS};
use crate::program::{ChoiceRule, Dynamic, Guard, Kind};

impl Compiler<'_> {
    /// `Choices` and `Default`.
    pub(super) fn choice(
        &mut self,
        node: &Node,
        targets: &Targets<'_>,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Kind> {
        self.required(node, &["Choices"], place);
        let default = self.target_field(node, "Default", targets, place);
        let member = node.member("Choices")?;
        let place = place.member(member);
        let items = self.array(&member.value, &place)?;
        let mut rules = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = place.item(index, item);
            rules.push(match jsonata {
                true => self.query_rule(item, targets, index, &place),
                false => self.rule(item, targets, &place),
            });
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
        let assign = self.assign(node, None, "", place);
        if !sound || !complete {
            return None;
        }
        let value = self.value(node, place)?;
        match Condition::compile(&value) {
            Ok(condition) => {
                let condition = Guard::Rule(condition);
                Some(ChoiceRule { condition, assign: assign?, output: None, next: next? })
            }
            Err(errors) => {
                for error in errors {
                    self.schema_at(node, &error.pointer, &error.message, place);
                }
                None
            }
        }
    }

    /// A rule of a JSONata state.
    fn query_rule(
        &mut self,
        node: &Node,
        targets: &Targets<'_>,
        index: usize,
        place: &Place<'_>,
    ) -> Option<ChoiceRule> {
        self.object(node, place)?;
        for member in node.members().unwrap_or_default() {
            match member.name.as_str() {
                name if QUERY_RULE.contains(&name) => {}
                name if is_path_rule_field(name) => self.field_of_other_language(member, true, place),
                name => {
                    let note = self.suggestion(name, QUERY_RULE.iter().copied());
                    self.unsupported_field(member, note, place);
                }
            }
        }
        self.string_field(node, "Comment", place);
        let complete = self.required(node, &["Condition", "Next"], place);
        let next = self.target_field(node, "Next", targets, place);
        let around = format!("Choices[{index}]/");
        let condition = self.query_condition(node, place);
        let output = self.query_field(node, "Output", &around, Reads::INPUT, place);
        let assign = self.assign(node, Some(Reads::INPUT), &around, place);
        complete.then_some(())?;
        Some(ChoiceRule {
            condition: Guard::Condition(condition?),
            assign: assign?,
            output: output?,
            next: next?,
        })
    }

    /// `Condition`: a boolean, or an expression that gives one.
    fn query_condition(&mut self, node: &Node, place: &Place<'_>) -> Option<Dynamic<bool>> {
        let member = node.member("Condition")?;
        if let Some(expression) = self.query_expression(node, "Condition", place)? {
            return Some(Dynamic::Expression(expression));
        }
        self.boolean(&member.value, &place.member(member)).map(Dynamic::Constant)
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
                "Condition" | "Output" if top => {
                    self.field_of_other_language(member, false, place);
                    sound = false;
                }
                "Assign" | "Condition" | "Output" => {
                    self.unsupported_field(member, String::new(), place);
                    sound = false;
                }
                "And" | "Or" => {
                    let place = place.member(member);
                    for (index, item) in member.value.items().iter().enumerate() {
                        sound &= self.rule_fields(item, false, &place.item(index, item));
                    }
                }
                "Not" => sound &= self.rule_fields(&member.value, false, &place.member(member)),
                name if OPERATORS.contains(&name) => self.remark_literal_path(member, place),
                "Variable" | "Comment" | "Next" => {}
                name => {
                    let note = match name {
                        "End" => {
                            "A rule leads on by 'Next'; to end there, lead to a Succeed state".to_owned()
                        }
                        _ => self.suggestion(name, OPERATORS.into_iter().chain(PATH_RULE)),
                    };
                    self.unsupported_field(member, note, place);
                    sound = false;
                }
            }
        }
        sound
    }
}

/// Fields of a rule of a JSONata state.
const QUERY_RULE: &[&str] = &["Comment", "Condition", "Next", "Assign", "Output"];

/// Fields of a rule of a JSONPath state beside its operator.
const PATH_RULE: [&str; 7] = ["Variable", "And", "Or", "Not", "Next", "Comment", "Assign"];

/// Whether only a rule of a JSONPath state has a field of this name.
fn is_path_rule_field(name: &str) -> bool {
    ["Variable", "And", "Or", "Not"].contains(&name) || OPERATORS.contains(&name)
}
