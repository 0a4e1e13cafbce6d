//! Collects what is wrong with a definition, and where.
//!
//! Purpose: one way to say "this, here". Invariants: a place is spelt as AWS spells it
//! (`/States/A/Choices[0]/Next`) and, for programs, as a JSON pointer (`/States/A/Choices/0/Next`); findings
//! are bounded by [`FINDINGS_MAX`]; positions are turned into lines and columns once, at the end.

use std::collections::BTreeMap;
use std::fmt;

use super::json::{Member, Node, Span};
use super::{Diagnostic, Severity, code};

/// More problems than this are counted, not listed.
pub const FINDINGS_MAX: usize = 200;

/// Characters of a note: it may quote a path as long as the definition.
const NOTE_CHARS_MAX: usize = 300;

/// Bytes of places that are spelt out. A state's name may be almost as long as a definition, and each problem
/// below it would spell it again; beyond this bound a problem has its line and column only.
const SPELT_MAX: usize = 8 << 20;

/// A place in the definition: a chain from the value up to the root, kept on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    up: Option<&'a Place<'a>>,
    step: Step<'a>,
    /// AWS's spelling stops before this step; the JSON pointer has it.
    unspelt: bool,
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
        Self { up: None, step: Step::Root, unspelt: false, span }
    }

    /// A member of the object that stands here.
    pub(super) fn member(&'a self, member: &'a Member) -> Place<'a> {
        Place { up: Some(self), step: Step::Field(&member.name), unspelt: false, span: member.pointed() }
    }

    /// A member of this name, where the text has none.
    pub(super) fn field(&'a self, name: &'a str, span: Span) -> Place<'a> {
        Place { up: Some(self), step: Step::Field(name), unspelt: false, span }
    }

    /// An item of the array that stands here.
    pub(super) fn item(&'a self, index: usize, node: &Node) -> Place<'a> {
        Place { up: Some(self), step: Step::Item(index), unspelt: false, span: node.pointed() }
    }

    /// The same place in the spelling, another piece of text to point at.
    pub(super) fn at(&self, span: Span) -> Place<'a> {
        Place { span, ..*self }
    }

    /// A member where AWS's messages name only the object around it.
    pub(super) fn within(&'a self, member: &'a Member) -> Place<'a> {
        Place { unspelt: true, ..self.member(member) }
    }

    /// An item where AWS's messages name only what is around it.
    pub(super) fn item_within(&'a self, index: usize, node: &Node) -> Place<'a> {
        Place { unspelt: true, ..self.item(index, node) }
    }

    /// As RFC 6901 has it; empty for the whole definition.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = self.up.map(Place::pointer).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Step::Item(index) => pointer.push_str(&format!("/{index}")),
        }
        pointer
    }

    /// How many steps it is from the root: 2 for a state of the machine's own.
    pub(super) fn depth(&self) -> usize {
        std::iter::successors(self.up, |place| place.up).count()
    }

    fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.step, self.up) {
            (_, Some(up)) if self.unspelt => write!(f, "{up}"),
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
    /// Warnings in the list.
    remarks: usize,
    dropped: usize,
    spelt: usize,
    /// Ends of the pieces of text that are passed over, by their starts.
    passed_over: BTreeMap<usize, usize>,
}

impl Findings {
    /// A problem for which the definition is refused.
    pub(super) fn error(&mut self, code: &'static str, place: &Place<'_>, message: impl Into<String>) {
        self.error_noted(code, place, message, String::new());
    }

    /// An error in AWS's words, with a note in ours.
    pub(super) fn error_noted(
        &mut self,
        code: &'static str,
        place: &Place<'_>,
        message: impl Into<String>,
        note: String,
    ) {
        self.push_at(Severity::Error, code, place, message.into(), note);
    }

    /// A problem that has a place, but no location in AWS's answers.
    pub(super) fn error_unlocated(
        &mut self,
        code: &'static str,
        place: &Place<'_>,
        message: impl Into<String>,
    ) {
        let spelling = Spelling { location: String::new(), pointer: place.pointer() };
        self.push(place.span, unplaced(Severity::Error, code, spelling, message.into()));
    }

    /// A problem of the text itself.
    pub(super) fn error_nowhere(
        &mut self,
        code: &'static str,
        span: Span,
        location: String,
        message: impl Into<String>,
        note: &str,
    ) {
        let spelling = Spelling { location, pointer: String::new() };
        let note = note.to_owned();
        self.push(span, Diagnostic { note, ..unplaced(Severity::Error, code, spelling, message.into()) });
    }

    /// The most frequent kind of error.
    pub(super) fn schema(&mut self, place: &Place<'_>, message: impl Into<String>) {
        self.error(code::SCHEMA_VALIDATION_FAILED, place, message);
    }

    /// A schema error in AWS's words, with the reason in ours.
    pub(super) fn schema_noted(&mut self, place: &Place<'_>, message: impl Into<String>, note: String) {
        self.error_noted(code::SCHEMA_VALIDATION_FAILED, place, message, note);
    }

    /// A remark: the definition is accepted.
    pub(super) fn warning(&mut self, code: &'static str, place: &Place<'_>, message: impl Into<String>) {
        self.warning_noted(code, place, message, String::new());
    }

    /// A remark with a note.
    pub(super) fn warning_noted(
        &mut self,
        code: &'static str,
        place: &Place<'_>,
        message: impl Into<String>,
        note: String,
    ) {
        self.push_at(Severity::Warning, code, place, message.into(), note);
    }

    /// Nothing more is said about this piece of text: it stands where nothing should, which has been said.
    pub(super) fn pass_over(&mut self, span: Span) {
        if self.is_passed_over(span) {
            return;
        }
        // What is passed over inside of it goes with it, so that pieces never overlap.
        while let Some((&inner, _)) = self.passed_over.range(span.start..span.end).next() {
            self.passed_over.remove(&inner);
        }
        self.passed_over.insert(span.start, span.end);
    }

    /// Whether it is inside of what is passed over, whose pieces do not overlap.
    fn is_passed_over(&self, span: Span) -> bool {
        let before = self.passed_over.range(..=span.start).next_back();
        before.is_some_and(|(_, end)| span.end <= *end)
    }

    fn push_at(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: &Place<'_>,
        message: String,
        note: String,
    ) {
        if self.is_passed_over(place.span) {
            return;
        }
        // Spelt only where it is kept: a definition may have 100,000 problems.
        let kept = self.has_room(severity) && self.spelt <= SPELT_MAX;
        let spelling = if kept { Spelling::of(place) } else { Spelling::default() };
        self.spelt += spelling.location.len() + spelling.pointer.len();
        let note = clipped(note);
        self.push(place.span, Diagnostic { note, ..unplaced(severity, code, spelling, message) });
    }

    fn push(&mut self, span: Span, diagnostic: Diagnostic) {
        self.errors |= diagnostic.severity == Severity::Error;
        if !self.has_room(diagnostic.severity) {
            self.dropped += 1;
            return;
        }
        if self.list.len() == FINDINGS_MAX
            && let Some(remark) = self.list.iter().rposition(|(_, one)| one.severity == Severity::Warning)
        {
            self.list.remove(remark);
            self.remarks -= 1;
            self.dropped += 1;
        }
        self.remarks += usize::from(diagnostic.severity == Severity::Warning);
        self.list.push((span, diagnostic));
    }

    /// Whether one more is listed. An error takes the place of a remark.
    fn has_room(&self, severity: Severity) -> bool {
        self.list.len() < FINDINGS_MAX || (severity == Severity::Error && self.remarks > 0)
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
            let spelling = Spelling { location: "/".to_owned(), pointer: String::new() };
            let finding = unplaced(severity, code, spelling, message);
            self.list.push((Span::new(text.len(), text.len()), finding));
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

/// The beginning of a long note.
fn clipped(mut note: String) -> String {
    if let Some((end, _)) = note.char_indices().nth(NOTE_CHARS_MAX) {
        note.truncate(end);
        note.push('…');
    }
    note
}

/// A place in both spellings.
#[derive(Debug, Default)]
struct Spelling {
    location: String,
    pointer: String,
}

impl Spelling {
    fn of(place: &Place<'_>) -> Self {
        Self { location: place.to_string(), pointer: place.pointer() }
    }
}

/// A finding whose line and column are not known yet.
fn unplaced(severity: Severity, code: &'static str, spelling: Spelling, message: String) -> Diagnostic {
    let Spelling { location, pointer } = spelling;
    let note = String::new();
    Diagnostic { severity, code, message, location, pointer, note, line: 0, column: 0, length: 0 }
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
    fn pointers_are_escaped_and_go_on_where_aws_s_spelling_stops() {
        let node = Node { span: Span::new(0, 0), shape: super::super::json::Shape::Null };
        let empty = || Node { span: Span::new(0, 0), shape: super::super::json::Shape::Null };
        let member = |name: &str| Member { name: name.into(), name_span: Span::new(0, 0), value: empty() };
        let names = ["States", "a/b~c", "Parameters", "x.$"].map(member);
        let root = Place::root(Span::new(0, 0));
        let states = root.member(&names[0]);
        let state = states.member(&names[1]);
        let template = state.member(&names[2]);
        let item = template.item_within(3, &node);
        let field = item.within(&names[3]);
        assert_eq!(field.to_string(), "/States/a/b~c/Parameters");
        assert_eq!(field.pointer(), "/States/a~1b~0c/Parameters/3/x.$");
        assert_eq!((root.pointer().as_str(), root.within(&names[3]).to_string().as_str()), ("", "/"));
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
    fn places_beyond_their_bound_are_not_spelt() {
        let node = Node { span: Span::new(0, 0), shape: super::super::json::Shape::Null };
        let long = Member { name: "x".repeat(1 << 20), name_span: Span::new(0, 0), value: node };
        let (mut findings, root) = (Findings::default(), Place::root(Span::new(0, 0)));
        for _ in 0..FINDINGS_MAX {
            findings.schema(&root.member(&long), "x");
        }
        let list = findings.finish("{}");
        let spelt: usize = list.iter().map(|one| one.location.len() + one.pointer.len()).sum();
        assert!((SPELT_MAX..2 * SPELT_MAX).contains(&spelt) && list.len() == FINDINGS_MAX, "{spelt}");
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
