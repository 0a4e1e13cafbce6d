//! An execution's history as people read it: one line an event, indented by state, branch and iteration.

use std::collections::HashMap;
use std::fmt::Write as _;

use proto::executor::v1::HistoryEvent;
use serde_json::Value;

/// Characters of a payload or cause that a line shows.
const SHOWN_CHARS: usize = 72;

/// Renders events, oldest first. Times count from the first event.
#[must_use]
pub fn render(events: &[HistoryEvent]) -> String {
    let began_ms = events.first().map_or(0, |event| event.timestamp_ms);
    let width = events.last().map_or(1, |last| span(last.timestamp_ms.saturating_sub(began_ms)).len());
    let mut depths: HashMap<u64, (usize, bool)> = HashMap::with_capacity(events.len());
    let mut text = String::new();
    for event in events {
        let (depth, opened) = depths.get(&event.previous_event_id).copied().unwrap_or_default();
        let depth = (depth + usize::from(opened)).saturating_sub(usize::from(closes(&event.r#type)));
        depths.insert(event.id, (depth, opens(&event.r#type)));
        let at = span(event.timestamp_ms.saturating_sub(began_ms));
        let indent = "│ ".repeat(depth);
        let id = event.id;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{at:>width$}  {id:>4}  {indent}{}{}", event.r#type, details(event));
    }
    text
}

fn opens(kind: &str) -> bool {
    kind.ends_with("StateEntered") || matches!(kind, "ParallelStateStarted" | "MapIterationStarted")
}

fn closes(kind: &str) -> bool {
    let ended = |name: &str| {
        kind.strip_prefix(name).is_some_and(|how| matches!(how, "Succeeded" | "Failed" | "Aborted"))
    };
    kind.ends_with("StateExited") || ended("ParallelState") || ended("MapIteration")
}

/// Milliseconds below ten seconds, else seconds.
fn span(ms: u64) -> String {
    if ms < 10_000 { format!("+{ms} ms") } else { format!("+{}.{:03} s", ms / 1_000, ms % 1_000) }
}

/// What the line says beside the type: names first, then what went wrong, then data.
fn details(event: &HistoryEvent) -> String {
    let Ok(Value::Object(details)) = serde_json::from_slice::<Value>(&event.details) else {
        return String::new();
    };
    let text = |key: &str| details.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut line = String::new();
    for key in ["name", "resource", "error", "cause"] {
        if let Some(value) = text(key) {
            let _ = write!(line, "  {}", shortened(value));
        }
    }
    if let Some(index) = details.get("index").and_then(Value::as_u64) {
        let _ = write!(line, "  [{index}]");
    }
    let shows_data = event.r#type.starts_with("Execution") || event.r#type.ends_with("Succeeded");
    if let Some(data) = text("output").or_else(|| text("input")).filter(|_| shows_data) {
        let _ = write!(line, "  {}", shortened(data));
    }
    line
}

/// One line of at most [`SHOWN_CHARS`] characters, without control characters: history comes from outside.
fn shortened(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().map(clean).take(SHOWN_CHARS).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(steps: &[(u64, u64, &str, &str)]) -> Vec<HistoryEvent> {
        let event = |(id, previous, kind, details): &(u64, u64, &str, &str)| HistoryEvent {
            id: *id,
            previous_event_id: *previous,
            timestamp_ms: 1_000 + id,
            r#type: (*kind).to_owned(),
            details: details.as_bytes().to_vec().into(),
        };
        steps.iter().map(event).collect()
    }

    #[test]
    fn events_are_indented_by_the_state_they_belong_to_even_when_branches_alternate() {
        let text = render(&history(&[
            (1, 0, "ExecutionStarted", r#"{"input":"{}"}"#),
            (2, 0, "ParallelStateEntered", r#"{"name":"Both"}"#),
            (3, 2, "ParallelStateStarted", ""),
            (4, 3, "TaskStateEntered", r#"{"name":"A"}"#),
            (5, 3, "PassStateEntered", r#"{"name":"B"}"#),
            (6, 4, "LambdaFunctionScheduled", r#"{"resource":"f"}"#),
            (7, 5, "PassStateExited", r#"{"name":"B"}"#),
            (8, 6, "LambdaFunctionSucceeded", r#"{"output":"1"}"#),
            (9, 8, "TaskStateExited", r#"{"name":"A"}"#),
            (10, 9, "ParallelStateSucceeded", ""),
            (11, 10, "ParallelStateExited", r#"{"name":"Both"}"#),
            (12, 11, "ExecutionSucceeded", r#"{"output":"[1,{}]"}"#),
        ]));
        // The first line begins with a space, which a continued literal would swallow.
        let expected = " +0 ms     1  ExecutionStarted  {}
 +1 ms     2  ParallelStateEntered  Both
 +2 ms     3  │ ParallelStateStarted
 +3 ms     4  │ │ TaskStateEntered  A
 +4 ms     5  │ │ PassStateEntered  B
 +5 ms     6  │ │ │ LambdaFunctionScheduled  f
 +6 ms     7  │ │ PassStateExited  B
 +7 ms     8  │ │ │ LambdaFunctionSucceeded  1
 +8 ms     9  │ │ TaskStateExited  A
 +9 ms    10  │ ParallelStateSucceeded
+10 ms    11  ParallelStateExited  Both
+11 ms    12  ExecutionSucceeded  [1,{}]
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_comes_from_outside_cannot_move_the_cursor() {
        let text = render(&history(&[(1, 0, "ExecutionFailed", "{\"cause\":\"a\\u001b[2Jb\\nc\"}")]));
        assert_eq!(text, "+0 ms     1  ExecutionFailed  a [2Jb c\n");
    }

    #[test]
    fn an_empty_history_is_no_text() {
        assert_eq!(render(&[]), "");
    }
}
