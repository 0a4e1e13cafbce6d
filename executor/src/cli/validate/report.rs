//! Outcomes as JSON lines.

use asl::Severity;
use serde::Serialize;

use super::Outcome;

/// One file's outcome.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a str,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<Vec<Problem<'a>>>,
    /// Why the file was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Problem<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    location: &'a str,
    pointer: &'a str,
    line: u32,
    column: u32,
    length: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

/// One object on one line.
pub(super) fn line(file: &str, outcome: &Outcome) -> String {
    let report = match outcome {
        Outcome::Unreadable(error) => Report { file, valid: false, diagnostics: None, error: Some(error) },
        Outcome::Checked { valid, diagnostics, .. } => {
            let problems = diagnostics.iter().map(|problem| Problem {
                severity: severity(problem.severity),
                code: problem.code,
                message: &problem.message,
                location: &problem.location,
                pointer: &problem.pointer,
                line: problem.line,
                column: problem.column,
                length: problem.length,
                note: &problem.note,
            });
            Report { file, valid: *valid, diagnostics: Some(problems.collect()), error: None }
        }
    };
    // Texts and numbers always have a JSON form.
    let mut line = serde_json::to_string(&report).unwrap_or_default();
    line.push('\n');
    line
}

/// The word for a severity; SARIF has the same two.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
