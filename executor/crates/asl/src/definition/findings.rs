//! Collects what is wrong with a definition, and where.
//!
//! Purpose: one way to say "this, here". Invariants: a place is spelt as AWS spells it
//! (`/States/A/Choices[0]/Next`); findings are bounded by [`FINDINGS_MAX`]; positions are turned into lines
//! and columns once, at the end.

use std::fmt;

use super::json::{Member, Node, Span};
use super::{Diagnostic, Severity, code};

/// More problems than this are counted, not listed.
pub const FINDINGS_MAX: usize = 200;

/// A place in the definition: a chain from the value up to the root, kept on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    up: Option<&'a Place<'a>>,
    step: Step<'a>,
    pub(super) span: Span,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    pub(super) fn root(span: Span) -> Self {
        Self { up: None, step: Step::Root, span }
    }

    /// A member of the object that stands here.
    pub(super) fn member(&'a self, member: &'a Member) -> Place<'a> {
        Place { up: Some(self), step: Step::Field(&member.name), span: member.pointed() }
    }

    /// A member of this name, where the text has none.
    pub(super) fn field(&'a self, name: &'a str, span: Span) -> Place<'a> {
        Place { up: Some(self), step: Step::Field(name), span }
    }

    /// An item of the array that stands here.
    pub(super) fn item(&'a self, index: usize, node: &Node) -> Place<'a> {
        Place { up: Some(self), step: Step::Item(index), span: node.pointed() }
    }

    /// The same place in the spelling, another piece of text to point at.
    pub(super) fn at(&self, span: Span) -> Place<'a> {
        Place { span, ..*self }
    }

    fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.step, self.up) {
            (Step::Field(name), Some(up)) if up.is_root() => write!(f, "/{name}"),
            (Step::Field(name), Some(up)) => write!(f, "{up}/{name}"),
            (Step::Item(index), Some(up)) if !up.is_root() => write!(f, "{up}[{index}]"),
            _ => f.write_str("/"),
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<(Span, Diagnostic)>,
    errors: bool,
    dropped: usize,
}

impl Findings {
    /// A problem for which the definition is refused.
    pub(super) fn error(&mut self, code: &'static str, place: &Place<'_>, message: impl Into<String>) {
        self.push(Severity::Error, code, place.to_string(), place.span, message.into());
    }

    /// A problem that has no location in AWS's answers.
    pub(super) fn error_nowhere(
        &mut self,
        code: &'static str,
        span: Span,
        location: String,
        message: impl Into<String>,
    ) {
        self.push(Severity::Error, code, location, span, message.into());
    }

    /// The most frequent kind of error.
    pub(super) fn schema(&mut self, place: &Place<'_>, message: impl Into<String>) {
        self.error(code::SCHEMA_VALIDATION_FAILED, place, message);
    }

    /// A remark: the definition is accepted.
    pub(super) fn warning(&mut self, code: &'static str, place: &Place<'_>, message: impl Into<String>) {
        self.push(Severity::Warning, code, place.to_string(), place.span, message.into());
    }

    /// A schema error in AWS's words, with the reason in ours.
    pub(super) fn schema_noted(&mut self, place: &Place<'_>, message: impl Into<String>, note: String) {
        self.error_noted(code::SCHEMA_VALIDATION_FAILED, place, message, note);
    }

    /// An error in AWS's words, with a note in ours.
    pub(super) fn error_noted(
        &mut self,
        code: &'static str,
        place: &Place<'_>,
        message: impl Into<String>,
        note: String,
    ) {
        let before = self.list.len();
        self.error(code, place, message);
        if let Some((_, last)) = self.list.get_mut(before) {
            last.note = note;
        }
    }

    fn push(
        &mut self,
        severity: Severity,
        code: &'static str,
        location: String,
        span: Span,
        message: String,
    ) {
        let note = String::new();
        self.errors |= severity == Severity::Error;
        if self.list.len() < FINDINGS_MAX {
            let diagnostic =
                Diagnostic { severity, code, message, location, note, line: 0, column: 0, length: 0 };
            self.list.push((span, diagnostic));
        } else {
            self.dropped += 1;
        }
    }

    /// True once an error was found.
    pub(super) fn has_errors(&self) -> bool {
        self.errors
    }

    /// In the order of the text, with lines and columns.
    pub(super) fn finish(mut self, text: &str) -> Vec<Diagnostic> {
        if self.dropped > 0 {
            let message = format!("{} more problems are not listed; repair these first", self.dropped);
            let severity = if self.errors { Severity::Error } else { Severity::Warning };
            let code = code::SCHEMA_VALIDATION_FAILED;
            let (location, note) = ("/".to_owned(), String::new());
            let diagnostic =
                Diagnostic { severity, code, message, location, note, line: 0, column: 0, length: 0 };
            self.list.push((Span::new(text.len(), text.len()), diagnostic));
        }
        self.list.sort_by_key(|(span, _)| span.start);
        let mut positions = Positions::new(text);
        let place = |(span, mut diagnostic): (Span, Diagnostic)| {
            (diagnostic.line, diagnostic.column) = positions.line_and_column(span.start);
            let first_line = text[span.start..span.end].lines().next().unwrap_or_default();
            diagnostic.length = u32::try_from(first_line.chars().count().max(1)).unwrap_or(u32::MAX);
            diagnostic
        };
        self.list.into_iter().map(place).collect()
    }
}

/// Turns rising byte offsets into lines and columns in one walk over the text.
struct Positions<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Positions<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1, column: 1 }
    }

    /// Lines and columns from 1; columns in characters. `offset` is not below that of the call before.
    fn line_and_column(&mut self, offset: usize) -> (u32, u32) {
        for character in self.text[self.at..offset].chars() {
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.at = offset;
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spelt_as_aws_spells_them() {
        let node = || Node { span: Span::new(0, 0), shape: super::super::json::Shape::Null };
        let member = |name: &str| Member { name: name.into(), name_span: Span::new(0, 0), value: node() };
        let names = ["States", "Get Lock", "Branches", "Variable"].map(member);
        let root = Place::root(Span::new(0, 0));
        let states = root.member(&names[0]);
        let state = states.member(&names[1]);
        let branches = state.member(&names[2]);
        let item = node();
        let branch = branches.item(0, &item);
        let variable = branch.member(&names[3]);
        assert_eq!(root.to_string(), "/");
        assert_eq!(states.to_string(), "/States");
        assert_eq!(variable.to_string(), "/States/Get Lock/Branches[0]/Variable");
    }

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let text = "a\n\u{4e2d}\u{6587}x\r\ny";
        let mut positions = Positions::new(text);
        assert_eq!(positions.line_and_column(0), (1, 1));
        assert_eq!(positions.line_and_column(text.find('x').expect("in text")), (2, 3));
        assert_eq!(positions.line_and_column(text.len()), (3, 2));
    }

    #[test]
    fn findings_beyond_the_bound_are_counted() {
        let mut findings = Findings::default();
        for _ in 0..FINDINGS_MAX + 5 {
            findings.schema(&Place::root(Span::new(0, 1)), "x");
        }
        let list = findings.finish("{}");
        assert_eq!(list.len(), FINDINGS_MAX + 1);
        assert!(list[FINDINGS_MAX].message.starts_with("5 more problems"));
    }
}
