//! Paths, templates and values inside a definition, and the data flow that they make.

use std::collections::HashSet;

use super::compile::Compiler;
use super::findings::Place;
use super::json::{Member, Node, Shape, Span};
use super::{PATTERNS_BYTES_MAX, code};
use crate::intrinsic::Intrinsic;
use crate::path::{Path, ReferencePath, Root};
use crate::program::{JsonPathFlow, ResultPath, Selection, Text};
use crate::template::Template;
use crate::value::{JsonLimits, Value};

/// True for text that a reader would take for a path or an intrinsic function.
pub(super) fn looks_evaluated(text: &str) -> bool {
    text.starts_with("$.") || text.starts_with("$$.") || is_intrinsic(text)
}

/// True for a call of an intrinsic function, well formed or not.
fn is_intrinsic(text: &str) -> bool {
    text.strip_prefix("States.").is_some_and(|rest| rest.contains('('))
}

impl Compiler<'_> {
    /// The value that a node spells.
    pub(super) fn value(&mut self, node: &Node, place: &Place<'_>) -> Option<Value> {
        let text = &self.text[node.span.start..node.span.end];
        match Value::parse(text.as_bytes(), JsonLimits::DEFINITION) {
            Ok(value) => Some(value),
            Err(error) => {
                let at = (node.span.start + error.offset).min(self.text.len());
                let at = (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
                let place = place.at(Span::new(at, at));
                self.findings.error(code::INVALID_JSON_DESCRIPTION, &place, error.reason);
                None
            }
        }
    }

    /// A path: `$...`, `$$...` or `$name...`.
    pub(super) fn path(&mut self, node: &Node, place: &Place<'_>) -> Option<Path> {
        let text = self.string(node, place)?;
        let parsed = Path::parse(text).map_err(|error| error.to_string());
        match parsed.and_then(|path| self.patterns([&path]).map(|()| path)) {
            Ok(path) => Some(path),
            Err(note) => {
                self.findings.schema_noted(place, "Value must be a valid JSONPath.", note);
                None
            }
        }
    }

    /// Counts what the regular expressions of these paths take, or says that it is too much. A path that is read twice
    /// counts twice.
    fn patterns<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>) -> Result<(), String> {
        self.pattern_bytes += paths.into_iter().map(Path::pattern_bytes).sum::<usize>();
        if self.pattern_bytes <= PATTERNS_BYTES_MAX {
            return Ok(());
        }
        Err(format!(
            "the regular expressions of the definition take more than {PATTERNS_BYTES_MAX} bytes; write fewer of them, or \
             smaller ones"
        ))
    }

    /// A path that names exactly one place.
    pub(super) fn reference_path(&mut self, node: &Node, place: &Place<'_>) -> Option<Path> {
        let path = self.path(node, place)?;
        match ReferencePath::parse(path.text()) {
            Ok(reference) => Some(reference.as_path().clone()),
            Err(error) => {
                self.findings.schema(place, format!("Value is not a Reference Path: {error}"));
                None
            }
        }
    }

    /// `ErrorPath` or `CausePath`: a path, or an intrinsic function.
    pub(super) fn text_path(&mut self, node: &Node, place: &Place<'_>) -> Option<Text> {
        let Some(text) = node.as_str().filter(|text| is_intrinsic(text)) else {
            return self.reference_path(node, place).map(Text::Path);
        };
        let note = match Intrinsic::parse(text) {
            Ok(intrinsic) if intrinsic.is_allowed_in_fail() => match self.patterns(intrinsic.paths()) {
                Ok(()) => return Some(Text::Intrinsic(intrinsic)),
                Err(note) => note,
            },
            Ok(intrinsic) => {
                let names = Intrinsic::names_in_fail().collect::<Vec<_>>().join(", ");
                format!("A Fail state cannot call '{}'; it can call {names}", intrinsic.name())
            }
            Err(error) => error.to_string(),
        };
        let message = "Value must be a valid JSONPath or a valid intrinsic function call";
        self.findings.schema_noted(place, message, note);
        None
    }

    /// `ResultPath` of a state or a catcher.
    pub(super) fn result_path(&mut self, node: &Node, place: &Place<'_>) -> Option<ResultPath> {
        let Some(member) = node.member("ResultPath") else { return Some(ResultPath::Replace) };
        if matches!(member.value.shape, Shape::Null) {
            return Some(ResultPath::Discard);
        }
        let place = place.member(member);
        let text = self.string(&member.value, &place)?;
        if text == "$" {
            return Some(ResultPath::Replace);
        }
        match ReferencePath::parse(text) {
            Ok(path) if matches!(path.root(), Root::Input) => Some(ResultPath::At(path)),
            Ok(_) => {
                let message = "Value is not a Reference Path: it has to start at the state's input, '$'";
                self.findings.schema(&place, message);
                None
            }
            Err(error) if !text.starts_with('$') => {
                self.findings.schema_noted(&place, "Value must be a valid JSONPath.", error.to_string());
                None
            }
            Err(error) => {
                self.findings.schema(&place, format!("Value is not a Reference Path: {error}"));
                None
            }
        }
    }

    /// `InputPath` or `OutputPath`.
    fn selection(&mut self, node: &Node, field: &str, place: &Place<'_>) -> Option<Selection> {
        let Some(member) = node.member(field) else { return Some(Selection::Whole) };
        if matches!(member.value.shape, Shape::Null) {
            return Some(Selection::Empty);
        }
        if member.value.as_str() == Some("$") {
            return Some(Selection::Whole);
        }
        self.path(&member.value, &place.member(member)).map(Selection::Path)
    }

    /// InputPath, ResultSelector, ResultPath and OutputPath; `Parameters` are the caller's to add.
    pub(super) fn path_flow(&mut self, node: &Node, place: &Place<'_>) -> Option<JsonPathFlow> {
        let input_path = self.selection(node, "InputPath", place);
        let result_selector = self.template_field(node, "ResultSelector", place);
        let result_path = self.result_path(node, place);
        let output_path = self.selection(node, "OutputPath", place);
        Some(JsonPathFlow {
            input_path: input_path?,
            parameters: None,
            result_selector: result_selector?,
            result_path: result_path?,
            output_path: output_path?,
        })
    }

    /// A payload template, where the field is present. The outer `None` is an error.
    pub(super) fn template_field(
        &mut self,
        node: &Node,
        field: &str,
        place: &Place<'_>,
    ) -> Option<Option<Template>> {
        let Some(member) = node.member(field) else { return Some(None) };
        self.template(&member.value, &place.member(member)).map(Some)
    }

    /// A payload template. Problems deep inside have the location of the whole template, as in AWS's
    /// messages, and the line and column of their own.
    pub(super) fn template(&mut self, node: &Node, place: &Place<'_>) -> Option<Template> {
        if !self.template_fields(node, place) {
            return None;
        }
        if node.as_str().is_some_and(looks_evaluated) {
            // Step Functions takes any JSON for a template, and a text as it stands.
            let message = "The value looks evaluated, but stays text; write an object with a field whose name \
                           ends in '.$'";
            self.findings.warning(code::NO_DOLLAR, place, message);
        }
        let value = self.value(node, place)?;
        match Template::compile(&value) {
            Ok(template) => Some(template),
            Err(errors) => {
                for error in errors {
                    self.findings.schema(place, error.message);
                }
                None
            }
        }
    }

    /// Checks every `.$` member at any depth; false where one is wrong, or not of this version.
    fn template_fields(&mut self, node: &Node, place: &Place<'_>) -> bool {
        let mut sound = true;
        match &node.shape {
            Shape::Object(members) => {
                // A set, because a template of a mebibyte may have 100,000 members.
                let plain: HashSet<&str, foldhash::fast::RandomState> =
                    members.iter().map(|member| member.name.as_str()).collect();
                for member in members {
                    if let Some(stripped) = member.name.strip_suffix(".$") {
                        sound &= self.expression(member, place);
                        if plain.contains(stripped) {
                            let message = format!(
                                "The fields '{stripped}' and '{}' stand for the same field",
                                member.name
                            );
                            self.findings.schema(&place.within(member).at(member.name_span), message);
                            sound = false;
                        }
                        continue;
                    }
                    self.remark_literal_expression(member, place);
                    sound &= self.template_fields(&member.value, &place.within(member));
                }
            }
            Shape::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    sound &= self.template_fields(item, &place.item_within(index, item));
                }
            }
            _ => {}
        }
        sound
    }

    /// The value of a `.$` member.
    fn expression(&mut self, member: &Member, place: &Place<'_>) -> bool {
        let spot = place.within(member);
        let note = match member.value.as_str() {
            Some(text) if is_intrinsic(text) => match Intrinsic::parse(text) {
                Ok(intrinsic) => self.patterns(intrinsic.paths()),
                Err(error) => Err(error.to_string()),
            },
            Some(text) if text.starts_with('$') => match Path::parse(text) {
                Ok(path) => self.patterns([&path]),
                Err(error) => Err(error.to_string()),
            },
            Some(_) => Err("A JSONPath begins with '$', an intrinsic function with 'States.'".to_owned()),
            None => Err("The value of a field whose name ends in '.$' has to be a text".to_owned()),
        };
        let Err(note) = note else { return true };
        let message = format!(
            "The value for the field '{}' must be a valid JSONPath or a valid intrinsic function call",
            member.name
        );
        self.findings.schema_noted(&spot, message, note);
        false
    }

    /// Warns where a member's value looks evaluated but stays text.
    fn remark_literal_expression(&mut self, member: &Member, place: &Place<'_>) {
        if member.value.as_str().is_some_and(looks_evaluated) {
            let message =
                format!("The value looks evaluated; to evaluate it name the field '{}.$'", member.name);
            self.findings.warning(code::NO_DOLLAR, &place.within(member), message);
        }
    }

    /// Warns where an operand of a choice rule looks like a path but its operator takes it as text.
    pub(super) fn remark_literal_path(&mut self, member: &Member, place: &Place<'_>) {
        let has_path_form = member.name.ends_with("Equals") || member.name.ends_with("Than");
        if has_path_form && member.value.as_str().is_some_and(looks_evaluated) {
            let message = format!("The value looks like a path; to evaluate it use '{}Path'", member.name);
            self.findings.warning(code::NO_PATH, &place.member(member), message);
        }
    }

    /// An error at a place below, given as a JSON pointer.
    pub(super) fn schema_at(&mut self, node: &Node, pointer: &str, message: &str, place: &Place<'_>) {
        let mut tokens = pointer.splitn(3, '/');
        let token = match (tokens.next(), tokens.next()) {
            (Some(""), Some(token)) => unescape(token),
            _ => return self.findings.schema(place, message),
        };
        let rest = tokens.next().map(|rest| format!("/{rest}")).unwrap_or_default();
        match &node.shape {
            Shape::Object(members) => match members.iter().find(|member| member.name == token) {
                Some(member) => self.schema_at(&member.value, &rest, message, &place.member(member)),
                None => self.findings.schema(place, message),
            },
            Shape::Array(items) => match token.parse().ok().and_then(|index: usize| items.get(index)) {
                Some(item) => {
                    let index = token.parse().unwrap_or_default();
                    self.schema_at(item, &rest, message, &place.item(index, item));
                }
                None => self.findings.schema(place, message),
            },
            _ => self.findings.schema(place, message),
        }
    }
}

/// A token of a JSON pointer as text.
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}
