//! Outcomes as a log of SARIF 2.1.0, which code scanning services and editors read.
//!
//! Purpose: one run of one tool over all files. Invariants: a result's `ruleIndex` and `ruleId` name the same
//! rule; artifacts are listed once, in the order of the command line; columns count characters
//! (`unicodeCodePoints`). The specification: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.

use asl::Diagnostic;
use asl::definition::catalog;
use serde_json::{Value as Json, json};

use super::Outcome;
use super::report::severity;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// What is known of all files so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    artifacts: Vec<Json>,
    results: Vec<Json>,
    /// Files that could not be read.
    notifications: Vec<Json>,
}

impl Log {
    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, outcome: &Outcome) {
        let artifact = json!({"uri": uri(name), "index": self.artifacts.len()});
        self.artifacts.push(json!({"location": {"uri": uri(name)}, "roles": ["analysisTarget"]}));
        match outcome {
            Outcome::Checked { diagnostics, .. } => {
                self.results.extend(diagnostics.iter().map(|problem| result(problem, &artifact)));
            }
            Outcome::Unreadable(problem) => self.notifications.push(json!({
                "level": "error",
                "message": {"text": format!("{name}: {problem}")},
                "locations": [{"physicalLocation": {"artifactLocation": artifact}}],
            })),
        }
    }

    /// The log.
    pub(super) fn text(self) -> String {
        let driver = json!({
            "name": "executor validate",
            "version": env!("CARGO_PKG_VERSION"),
            "rules": catalog::all().iter().map(rule).collect::<Vec<_>>(),
        });
        let invocation = json!({
            "executionSuccessful": self.notifications.is_empty(),
            "toolExecutionNotifications": self.notifications,
        });
        let run = json!({
            "tool": {"driver": driver},
            "columnKind": "unicodeCodePoints",
            "invocations": [invocation],
            "artifacts": self.artifacts,
            "results": self.results,
        });
        let mut text = format!("{:#}", json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}));
        text.push('\n');
        text
    }
}

fn rule(explanation: &catalog::Explanation) -> Json {
    json!({
        "id": explanation.code,
        "shortDescription": {"text": explanation.meaning.split_inclusive(". ").next().unwrap_or_default().trim()},
        "fullDescription": {"text": explanation.meaning},
        "help": {"text": explanation.to_string()},
        "defaultConfiguration": {"level": severity(explanation.severity)},
    })
}

fn result(problem: &Diagnostic, artifact: &Json) -> Json {
    // The second line of a JSON problem quotes the text once more.
    let message = problem.message.lines().next().unwrap_or_default();
    let text =
        if problem.note.is_empty() { message.to_owned() } else { format!("{message}\n{}", problem.note) };
    let region = json!({
        "startLine": problem.line,
        "startColumn": problem.column,
        "endColumn": problem.column.saturating_add(problem.length),
    });
    let mut location = json!({"physicalLocation": {"artifactLocation": artifact, "region": region}});
    if problem.location.starts_with('/') {
        let name = problem.location.as_str();
        location["logicalLocations"] = json!([{"fullyQualifiedName": name, "kind": "member"}]);
    }
    let mut result = json!({
        "ruleId": problem.code,
        "level": severity(problem.severity),
        "message": {"text": text},
        "locations": [location],
        "properties": {"pointer": problem.pointer},
    });
    if let Some(index) = catalog::all().iter().position(|one| one.code == problem.code) {
        result["ruleIndex"] = json!(index);
    }
    result
}

/// A file's name as a URI reference: relative names stay relative.
fn uri(name: &str) -> String {
    let mut uri = String::from(if name.starts_with('/') { "file://" } else { "" });
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_become_uri_references() {
        assert_eq!(uri("machines/order 1.json"), "machines/order%201.json");
        assert_eq!(uri("/tmp/\u{e9}.json"), "file:///tmp/%C3%A9.json");
        assert_eq!(uri("c:d"), "c%3Ad");
    }
}
