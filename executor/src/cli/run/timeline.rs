//! A run as people and programs read it.

use std::fmt::Write as _;

use asl::history::{AswEvent, HistoryEvent};
use asl::value::Map;
use asl::{Outcome, Timestamp, Value};

/// Characters of a text that a line shows.
const SHOWN_CHARS: usize = 72;

/// A history, in the form of the dialect.
pub(super) enum Told {
    /// As Step Functions tells it.
    StepFunctions(Vec<HistoryEvent>),
    /// As ASW tells it.
    Asw(Vec<AswEvent>),
}

/// One line an event, then the outcome. `began` and `at` are the virtual times of start and end.
pub(super) fn human(told: &Told, outcome: Option<&Outcome>, began: Timestamp, at: Timestamp) -> String {
    let since = |at: Timestamp| format!("+{} ms", at.millis_since(began));
    let width = since(at).len();
    let mut text = String::new();
    let mut line = |at: Timestamp, id: u64, kind: &str, told: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>width$}  {id:>4}  {kind}{told}", since(at));
    };
    match told {
        Told::StepFunctions(events) => {
            events.iter().for_each(|event| line(event.at, event.id, event.kind, details(event)));
        }
        Told::Asw(events) => {
            events.iter().for_each(|event| line(event.at, event.id, event.category, node(event)));
        }
    }
    let (status, ended) = summary(told, outcome);
    let seconds = at.millis_since(began) / 1_000;
    let _ = match outcome {
        None => {
            writeln!(text, "\nafter {seconds} s the execution still waits for an answer that never comes")
        }
        Some(_) => writeln!(text, "\n{status} after {seconds} s{ended}"),
    };
    text
}

/// The outcome and the history as one object. `execution` is the execution's name.
pub(super) fn json(told: &Told, outcome: Option<&Outcome>, execution: &str) -> String {
    let mut object = Map::default();
    object.insert("status", Value::from(summary(told, outcome).0));
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
    let history = match told {
        Told::StepFunctions(events) => Value::array(events.iter().map(flat)),
        Told::Asw(events) => Value::array(events.iter().map(|event| event.to_api(execution))),
    };
    object.insert("history", history);
    let mut text = Value::from(object).to_json_string();
    text.push('\n');
    text
}

/// The status, as the service of the dialect calls it, and what else there is to say.
fn summary(told: &Told, outcome: Option<&Outcome>) -> (&'static str, String) {
    let fault = |error: &Option<asl::Str>, cause: &Option<asl::Str>| {
        let texts = [error, cause].into_iter().flatten();
        texts.map(|text| format!(": {}", clean(text, usize::MAX))).collect::<String>()
    };
    let asw = matches!(told, Told::Asw(_));
    let named = |step_functions, in_asw| if asw { in_asw } else { step_functions };
    match outcome {
        None => ("RUNNING", String::new()),
        Some(Outcome::Succeeded(output)) => (named("SUCCEEDED", "SUCCEED"), format!("\n{}", output.text())),
        Some(Outcome::Failed { error, cause }) => ("FAILED", fault(error, cause)),
        Some(Outcome::TimedOut { error, cause }) => (named("TIMED_OUT", "FAILED"), fault(error, cause)),
        Some(Outcome::Aborted { error, cause }) => (named("ABORTED", "TERMINATED"), fault(error, cause)),
    }
}

/// Step and resource, then what went wrong, then data.
fn node(event: &AswEvent) -> String {
    let exception = event.exception();
    let data = event.data().map(asl::Payload::text).unwrap_or_default();
    let parts = [event.step.as_str(), event.resource.as_str(), &exception, data];
    let shown = parts.iter().filter(|part| !part.is_empty());
    shown.map(|part| format!("  {}", clean(part, SHOWN_CHARS))).collect()
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
