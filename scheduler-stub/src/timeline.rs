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
    let mut scopes = Scopes::default();
    let mut text = String::new();
    for event in events {
        let details = serde_json::from_slice(&event.details).unwrap_or_default();
        let at = span(event.timestamp_ms.saturating_sub(began_ms));
        let indent = "│ ".repeat(scopes.depth(event, &details));
        let id = event.id;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{at:>width$}  {id:>4}  {indent}{}{}", event.r#type, summary(event, &details));
    }
    text
}

/// The Task states of an execution in one line, in the order in which they began: each with how often it was entered, and with
/// the time from its first beginning to its last end, where it has ended every time.
#[must_use]
pub fn tasks(events: &[HistoryEvent]) -> String {
    struct Ran {
        name: String,
        entered: usize,
        left: usize,
        began_ms: u64,
        ended_ms: u64,
    }
    let mut all: Vec<Ran> = Vec::new();
    for event in events {
        let enters = event.r#type == "TaskStateEntered";
        if !enters && event.r#type != "TaskStateExited" {
            continue;
        }
        let details: Value = serde_json::from_slice(&event.details).unwrap_or_default();
        let name = shortened(details.get("name").and_then(Value::as_str).unwrap_or_default());
        let at_ms = event.timestamp_ms;
        match all.iter_mut().find(|ran| ran.name == name) {
            Some(ran) if enters => ran.entered += 1,
            Some(ran) => (ran.left, ran.ended_ms) = (ran.left + 1, at_ms),
            None => all.push(Ran { name, entered: 1, left: 0, began_ms: at_ms, ended_ms: at_ms }),
        }
    }
    let told = all.into_iter().map(|Ran { name, entered, left, began_ms, ended_ms }| {
        let times = if entered > 1 { format!(" ×{entered}") } else { String::new() };
        if entered == left {
            format!("{name}{times} {} ms", ended_ms.saturating_sub(began_ms))
        } else {
            format!("{name}{times}")
        }
    });
    told.collect::<Vec<_>>().join(" → ")
}

/// What an event is inside of.
struct Scope {
    parent: Option<usize>,
    depth: usize,
    /// The state's name; `None` for a branch or an iteration, in which states follow each other.
    state: Option<String>,
}

/// Where each event stands. Branches run at the same time, so that an event's place follows from the one that
/// it names as its predecessor, not from the line above.
#[derive(Default)]
struct Scopes {
    all: Vec<Scope>,
    /// The innermost scope after each event.
    after: HashMap<u64, Option<usize>>,
}

impl Scopes {
    /// How deep the event stands; opens and closes scopes as it says.
    fn depth(&mut self, event: &HistoryEvent, details: &Value) -> usize {
        let before = self.after.get(&event.previous_event_id).copied().flatten();
        let kind = event.r#type.as_str();
        let name = details.get("name").and_then(Value::as_str).unwrap_or_default();
        let ended = |prefix: &str| {
            kind.strip_prefix(prefix).is_some_and(|how| matches!(how, "Succeeded" | "Failed" | "Aborted"))
        };
        let outer = if kind.ends_with("StateExited") {
            self.out_of(before, |scope| scope.state.as_deref() == Some(name))
        } else if kind.ends_with("StateEntered") {
            self.until(before, |scope| scope.state.is_none())
        } else if ended("MapIteration") {
            self.out_of(before, |scope| scope.state.is_none())
        } else if ended("ParallelState") || ended("MapState") {
            self.until(before, |scope| scope.state.is_some())
        } else if kind.starts_with("Execution") {
            None
        } else {
            before
        };
        let depth = outer.map_or(0, |scope| self.all[scope].depth + 1);
        let state = if kind.ends_with("StateEntered") {
            Some(Some(name.to_owned()))
        } else if matches!(kind, "ParallelStateStarted" | "MapIterationStarted") {
            Some(None)
        } else {
            None
        };
        let after = match state {
            Some(state) => {
                self.all.push(Scope { parent: outer, depth, state });
                Some(self.all.len() - 1)
            }
            None => outer,
        };
        self.after.insert(event.id, after);
        depth
    }

    /// The innermost scope of this kind, from `from` outwards.
    fn until(&self, from: Option<usize>, wanted: impl Fn(&Scope) -> bool) -> Option<usize> {
        std::iter::successors(from, |scope| self.all[*scope].parent).find(|scope| wanted(&self.all[*scope]))
    }

    /// What the innermost scope of this kind is inside of; without such a scope nothing is left.
    fn out_of(&self, from: Option<usize>, wanted: impl Fn(&Scope) -> bool) -> Option<usize> {
        match self.until(from, wanted) {
            Some(scope) => self.all[scope].parent,
            None => from,
        }
    }
}

/// Milliseconds below ten seconds, else seconds.
fn span(ms: u64) -> String {
    if ms < 10_000 { format!("+{ms} ms") } else { format!("+{}.{:03} s", ms / 1_000, ms % 1_000) }
}

/// What the line says beside the type: names first, then what went wrong, then data.
fn summary(event: &HistoryEvent, details: &Value) -> String {
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
    let data = details.get("output").or_else(|| details.get("input")).filter(|_| shows_data);
    if let Some(data) = data {
        let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        let _ = write!(line, "  {}", shortened(&data));
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
            (1, 0, "ExecutionStarted", r#"{"input":{}}"#),
            (2, 0, "ParallelStateEntered", r#"{"name":"Both"}"#),
            (3, 2, "ParallelStateStarted", ""),
            (4, 3, "TaskStateEntered", r#"{"name":"A"}"#),
            (5, 3, "PassStateEntered", r#"{"name":"B"}"#),
            (6, 4, "LambdaFunctionScheduled", r#"{"resource":"f"}"#),
            (7, 5, "PassStateExited", r#"{"name":"B"}"#),
            (8, 6, "LambdaFunctionSucceeded", r#"{"output":"1"}"#),
            (9, 8, "TaskStateExited", r#"{"name":"A"}"#),
            (10, 9, "ParallelStateSucceeded", ""),
            (11, 9, "ParallelStateExited", r#"{"name":"Both"}"#),
            (12, 11, "ExecutionSucceeded", r#"{"output":[1,{}]}"#),
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
    fn the_tasks_of_an_execution_are_told_in_their_order_with_how_often_they_ran_and_for_how_long() {
        let text = tasks(&history(&[
            (1, 0, "ExecutionStarted", r#"{"input":{}}"#),
            (2, 0, "TaskStateEntered", r#"{"name":"Separate"}"#),
            (5, 2, "TaskStateExited", r#"{"name":"Separate"}"#),
            (6, 5, "MapStateEntered", r#"{"name":"Parts"}"#),
            (7, 6, "TaskStateEntered", r#"{"name":"Read"}"#),
            (8, 6, "TaskStateEntered", r#"{"name":"Read"}"#),
            (9, 7, "TaskStateExited", r#"{"name":"Read"}"#),
            (11, 8, "TaskStateExited", r#"{"name":"Read"}"#),
            (12, 11, "TaskStateEntered", r#"{"name":"Store"}"#),
            (13, 12, "ExecutionFailed", r#"{"error":"E"}"#),
        ]));
        assert_eq!(text, "Separate 3 ms → Read ×2 4 ms → Store");
        assert_eq!(tasks(&[]), "");
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
