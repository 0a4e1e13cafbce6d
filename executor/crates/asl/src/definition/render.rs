//! Diagnostics for people: the source line, and a caret under what is meant.
//!
//! Invariants: any text and any diagnostics can be rendered; nothing from the text reaches the terminal as
//! a control character; long lines are cut around the place.

use std::fmt::Write;

use super::{Diagnostic, Severity};

/// Characters of a message that are shown: it may name a state as long as the definition.
const MESSAGE_MAX: usize = 400;
/// Characters of a source line that are shown.
const SHOWN_MAX: usize = 100;
/// Characters shown before the place, where the line is cut.
const BEFORE_MAX: usize = 40;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// With ANSI colours.
    Colour,
}

impl Style {
    fn paint(self, codes: &str, text: &str) -> String {
        match self {
            Style::Plain => text.to_owned(),
            Style::Colour => format!("\u{1b}[{codes}m{text}\u{1b}[0m"),
        }
    }
}

/// Prints the diagnostics of a definition the way compilers do, with a summary at the end.
pub fn render(text: &[u8], diagnostics: &[Diagnostic], filename: &str, style: Style) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.split('\n').collect();
    let mut out = String::new();
    for diagnostic in diagnostics {
        one(&mut out, &lines, diagnostic, filename, style);
    }
    out.push_str(&summary(diagnostics));
    out
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
    let counted = |count: usize, noun: &str| match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    };
    match (errors, diagnostics.len() - errors) {
        (0, 0) => String::new(),
        (0, warnings) => format!("{}\n", counted(warnings, "warning")),
        (errors, 0) => format!("{}\n", counted(errors, "error")),
        (errors, warnings) => format!("{}, {}\n", counted(errors, "error"), counted(warnings, "warning")),
    }
}

fn one(out: &mut String, lines: &[&str], diagnostic: &Diagnostic, filename: &str, style: Style) {
    let (word, colour) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
    };
    let head = format!("{word}[{}]", diagnostic.code);
    let message = shortened(diagnostic.message.lines().next().unwrap_or_default());
    let number = diagnostic.line.to_string();
    let pad = " ".repeat(number.len());
    let arrow = style.paint("1;34", "-->");
    let bar = style.paint("1;34", "|");
    let Diagnostic { line, column, .. } = diagnostic;
    let source = lines.get(*line as usize - usize::from(*line > 0)).copied().unwrap_or_default();
    let (shown, indent, width) =
        window(source, column.saturating_sub(1) as usize, diagnostic.length as usize);
    let carets = style.paint(colour, &"^".repeat(width.max(1)));
    let place =
        if diagnostic.location.starts_with('/') { shortened(&diagnostic.location) } else { String::new() };
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{}: {}", style.paint(colour, &head), style.paint("1", &message));
    let _ = writeln!(out, "{pad}{arrow} {}:{line}:{column}", harmless(filename));
    let _ = writeln!(out, "{pad} {bar}");
    let _ = writeln!(out, "{} {bar} {shown}", style.paint("1;34", &number));
    let _ = writeln!(out, "{}", format!("{pad} {bar} {}{carets} {place}", " ".repeat(indent)).trim_end());
    if !diagnostic.note.is_empty() {
        let _ = writeln!(out, "{pad} {} note: {}", style.paint("1;34", "="), harmless(&diagnostic.note));
    }
    out.push('\n');
}

/// The part of a line around a place: the text, columns before the carets, and how many carets.
fn window(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    let line = line.trim_end_matches('\r');
    // No copy of the line: it may be a mebibyte long, and stand under two hundred diagnostics.
    let long = line.chars().nth(SHOWN_MAX).is_some();
    let start = if long { column.saturating_sub(BEFORE_MAX) } else { 0 };
    let mut rest = line.chars().skip(start);
    let mut shown = String::new();
    let (mut indent, mut carets) = (0, 0);
    if start > 0 {
        shown.push('…');
        indent += 1;
    }
    for (at, character) in (start..).zip(rest.by_ref().take(SHOWN_MAX)) {
        let character = if character.is_control() { ' ' } else { character };
        shown.push(character);
        if at < column {
            indent += cells(character);
        } else if at < column + length {
            carets += cells(character);
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    (shown, indent, carets)
}

/// Columns of a terminal that a character takes: East Asian wide ones and emoji take two.
fn cells(character: char) -> usize {
    match u32::from(character) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The beginning of a long text, without control characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => harmless(&text[..end]) + "…",
        None => harmless(text),
    }
}

/// Without control characters.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
