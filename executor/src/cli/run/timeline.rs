//! A run as people and programs read it.

use std::fmt::Write as _;

use asl::history::HistoryEvent;
use asl::value::Map;
use asl::{Outcome, Timestamp, Value};

/// Characters of a text that a line shows.
const SHOWN_CHARS: usize = 72;

/// One line an event, then the outcome.
pub(super) fn human(events: &[HistoryEvent], outcome: Option<&Outcome>, at: Timestamp) -> String {
    let began = events.first().map_or(at, |event| event.at);
    let since = |at: Timestamp| format!("+{} ms", at.millis_since(began));
    let width = since(at).len();
    let mut text = String::new();
    for event in events {
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "{:>width$}  {:>4}  {}{}", since(event.at), event.id, event.kind, details(event));
    }
    let (status, told) = summary(outcome);
    let seconds = at.millis_since(began) / 1_000;
    let _ = match outcome {
        None => {
            writeln!(text, "\nafter {seconds} s the execution still waits for an answer that never comes")
        }
        Some(_) => writeln!(text, "\n{status} after {seconds} s{told}"),
    };
    text
}

/// The outcome and the history as one object.
pub(super) fn json(events: &[HistoryEvent], outcome: Option<&Outcome>) -> String {
    let mut object = Map::default();
    object.insert("status", Value::from(summary(outcome).0));
    match outcome {
        Some(Outcome::Succeeded(output)) => {
            object.insert("output", output.value().clone());
        }
        Some(
            Outcome::Failed { error, cause }
            | Outcome::TimedOut { error, cause }
            | Outcome::Aborted { error, cause },
        ) => {
            object.insert("error", Value::from(error.clone()));
            object.insert("cause", Value::from(cause.clone()));
        }
        None => {}
    }
    let flat = |event: &HistoryEvent| {
        Value::object([
            ("id", Value::from(event.id)),
            ("previousEventId", Value::from(event.previous)),
            ("timestamp", Value::from(event.at.to_string())),
            ("type", Value::from(event.kind)),
            ("details", event.details.clone()),
        ])
    };
    object.insert("history", Value::array(events.iter().map(flat)));
    let mut text = Value::from(object).to_json_string();
    text.push('\n');
    text
}

fn summary(outcome: Option<&Outcome>) -> (&'static str, String) {
    let fault = |error: &Option<asl::Str>, cause: &Option<asl::Str>| {
        let texts = [error, cause].into_iter().flatten();
        texts.map(|text| format!(": {}", clean(text, usize::MAX))).collect::<String>()
    };
    match outcome {
        None => ("RUNNING", String::new()),
        Some(Outcome::Succeeded(output)) => ("SUCCEEDED", format!("\n{}", output.text())),
        Some(Outcome::Failed { error, cause }) => ("FAILED", fault(error, cause)),
        Some(Outcome::TimedOut { error, cause }) => ("TIMED_OUT", fault(error, cause)),
        Some(Outcome::Aborted { error, cause }) => ("ABORTED", fault(error, cause)),
    }
}

/// The details that a line shows: names first, then what went wrong, then data.
const KEYS: [&str; 12] = [
    "name",
    "state",
    "index",
    "length",
    "resource",
    "location",
    "error",
    "cause",
    "input",
    "parameters",
    "output",
    "assignedVariables",
];

/// What a line says of an event beyond its type.
fn details(event: &HistoryEvent) -> String {
    let mut line = String::new();
    for key in KEYS {
        match event.details.get(key) {
            None => {}
            Some(Value::String(text)) => {
                let _ = write!(line, "  {}", clean(text, SHOWN_CHARS));
            }
            Some(other) => {
                let _ = write!(line, "  {}", clean(&other.to_json_string(), SHOWN_CHARS));
            }
        }
    }
    line
}

/// A text without control characters, of at most so many characters.
fn clean(text: &str, longest: usize) -> String {
    let mut short: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    if text.chars().nth(longest).is_some() {
        short.push('…');
    }
    short
}
