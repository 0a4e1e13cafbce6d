//! Fields of JSONata states: which strings are expressions, and what an expression may read where.
//!
//! Every string of a field that takes expressions is looked at, at any depth, with its own place. `$states.result` stands
//! where a result is: in `Output` and `Assign` of Task, Parallel and Map; `$states.errorOutput` in a catcher's. What may
//! fail: an expression, with the words of Step Functions where they are known.

use super::code;
use super::compile::Compiler;
use super::fields::Range;
use super::findings::Place;
use super::json::{Node, Shape};
use crate::jsonata::{Expression, SyntaxError, Text};
use crate::program::{DataFlow, Dynamic, JsonataFlow};
use crate::template::Template;

/// Which members of `$states` a field may read beyond `input` and `context`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reads {
    result: bool,
    error_output: bool,
}

impl Reads {
    /// What is evaluated before a state's work.
    pub(super) const INPUT: Self = Self { result: false, error_output: false };
    /// What is evaluated behind a failed state.
    pub(super) const ERROR_OUTPUT: Self = Self { result: false, error_output: true };

    /// `Output` and `Assign` of a type of state.
    pub(super) fn behind(kind: &str) -> Self {
        Self { result: ["Task", "Parallel", "Map"].contains(&kind), error_output: false }
    }
}

impl Compiler<'_> {
    /// `Arguments` and `Output` of a JSONata state.
    pub(super) fn query_flow(&mut self, kind: &str, node: &Node, place: &Place<'_>) -> Option<DataFlow> {
        let arguments = self.query_field(node, "Arguments", "", Reads::INPUT, place);
        let output = self.query_field(node, "Output", "", Reads::behind(kind), place);
        Some(DataFlow::Jsonata(JsonataFlow { arguments: arguments?, output: output? }))
    }

    /// A field with expressions at any depth, where it is present. `around` is its place below the state, as in
    /// `Choices[0]/`. The outer `None` is an error.
    pub(super) fn query_field(
        &mut self,
        node: &Node,
        field: &str,
        around: &str,
        reads: Reads,
        place: &Place<'_>,
    ) -> Option<Option<Template>> {
        let Some(member) = node.member(field) else { return Some(None) };
        let place = place.member(member);
        self.query_template(&member.value, &format!("{around}{field}"), reads, &place).map(Some)
    }

    /// A value with expressions at any depth. `field` is its place below the state.
    pub(super) fn query_template(
        &mut self,
        node: &Node,
        field: &str,
        reads: Reads,
        place: &Place<'_>,
    ) -> Option<Template> {
        if !self.expressions(node, reads, place) {
            return None;
        }
        let value = self.value(node, place)?;
        match Template::compile_jsonata(&value, field) {
            Ok(template) => Some(template),
            Err(error) => {
                self.refuse_expression(&error, place);
                None
            }
        }
    }

    /// Checks every string at any depth; false where one is wrong.
    fn expressions(&mut self, node: &Node, reads: Reads, place: &Place<'_>) -> bool {
        let mut sound = true;
        match &node.shape {
            Shape::Object(members) => {
                for member in members {
                    sound &= self.expressions(&member.value, reads, &place.member(member));
                }
            }
            Shape::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    sound &= self.expressions(item, reads, &place.item(index, item));
                }
            }
            Shape::String(text) => sound = self.query_text(text, reads, place).is_some(),
            _ => {}
        }
        sound
    }

    /// A string of a JSONata state.
    pub(super) fn query_text(&mut self, text: &str, reads: Reads, place: &Place<'_>) -> Option<Text> {
        let text = match Text::compile(text) {
            Ok(text) => text,
            Err(error) => {
                self.refuse_expression(&error, place);
                return None;
            }
        };
        let Text::Expression(expression) = &text else { return Some(text) };
        let references = expression.references();
        let unread = [
            (references.result && !reads.result, "$states.result"),
            (references.error_output && !reads.error_output, "$states.errorOutput"),
        ];
        let mut sound = true;
        for (_, name) in unread.into_iter().filter(|(unread, _)| *unread) {
            let message = format!("Reference to '{name}' is not supported in this field.");
            self.findings.error(code::UNSUPPORTED_JSONATA_EXPRESSION, place, message);
            sound = false;
        }
        sound.then_some(text)
    }

    fn refuse_expression(&mut self, error: &SyntaxError, place: &Place<'_>) {
        let (code, reason) = match error {
            SyntaxError::Forbidden { reason, .. } => (code::UNSUPPORTED_JSONATA_EXPRESSION, reason.clone()),
            SyntaxError::Grammar { reason, .. } => (code::INVALID_JSONATA_EXPRESSION, reason.clone()),
            other => (code::INVALID_JSONATA_EXPRESSION, other.to_string()),
        };
        // Step Functions leaves out the code of JSONata's own errors.
        let (own, message) = split_code(&reason);
        let note = own.map(|own| format!("JSONata's error {own}")).unwrap_or_default();
        self.findings.error_noted(code, place, message, note);
    }

    /// The expression that a field of a JSONata state holds; the inner `None` is a field with anything else, or none.
    pub(super) fn query_expression(
        &mut self,
        node: &Node,
        field: &str,
        place: &Place<'_>,
    ) -> Option<Option<Expression>> {
        let Some(member) = node.member(field) else { return Some(None) };
        let Some(text) = member.value.as_str().filter(|text| looks_evaluated(text)) else {
            return Some(None);
        };
        match self.query_text(text, Reads::INPUT, &place.member(member))? {
            Text::Expression(expression) => Some(Some(expression)),
            Text::Literal => Some(None),
        }
    }

    /// An integer, or in a JSONata state the expression that gives it. The outer `None` is an error, the inner an absent
    /// field.
    pub(super) fn dynamic_integer(
        &mut self,
        node: &Node,
        field: &str,
        range: Range,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Option<Dynamic<u64>>> {
        if jsonata && let Some(expression) = self.query_expression(node, field, place)? {
            return Some(Some(Dynamic::Expression(expression)));
        }
        if node.member(field).is_none() {
            return Some(None);
        }
        self.number_field(node, field, range, jsonata, place).map(|number| Some(Dynamic::Constant(number)))
    }
}

/// Whether a string means to be an expression.
fn looks_evaluated(text: &str) -> bool {
    text.starts_with("{%") || text.ends_with("%}")
}

/// The code of an error of JSONata, such as `S0207`, and the rest.
fn split_code(reason: &str) -> (Option<&str>, &str) {
    let is_code = |code: &str| code.len() == 5 && code[1..].bytes().all(|digit| digit.is_ascii_digit());
    match reason.split_once(": ") {
        Some((code, rest)) if is_code(code) => (Some(code), rest),
        _ => (None, reason),
    }
}
