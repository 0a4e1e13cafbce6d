//! An event of a history as sinks get it: one line of JSON in the form of Step Functions' log events.
//!
//! Purpose: what reads Step Functions' logs reads these. Invariants: a line holds no line feed; `execution_arn`, `id` and
//! `redrive_count` tell the same event again; numbers are texts, as there; inputs, outputs and parameters are JSON as text,
//! and left out where the page says so. What may fail: nothing.

use std::ops::Range;
use std::sync::Arc;

use asl::Value;
use asl::value::write_string;

use crate::events::Event;
use crate::{Page, Weigh};

/// What a line takes beside its text and its execution's name, which is a key of its own where it is sent.
const OVERHEAD_BYTES: usize = 128;

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The execution's ARN or QRN.
    pub execution: Arc<str>,
    /// That of its state machine.
    pub machine: Arc<str>,
    /// Of a child execution of a distributed Map: the ARN of its Map Run.
    pub map_run: Option<Arc<str>>,
    /// From 1 within the execution.
    pub id: u64,
    /// The event before it, as the history links them.
    pub previous: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// For example `PassStateEntered`.
    pub kind: &'static str,
    /// How often the execution had been redriven.
    pub redrive_count: u32,
    /// The line, without a line feed.
    pub text: String,
    /// Where in it the details are.
    details: Range<usize>,
    /// Whether its page ends with it.
    last: bool,
}

impl Line {
    /// The JSON of the details.
    #[must_use]
    pub fn details(&self) -> &str {
        self.text.get(self.details.clone()).unwrap_or_default()
    }
}

impl Weigh for Line {
    fn bytes(&self) -> usize {
        self.text.len() + self.execution.len() + OVERHEAD_BYTES
    }

    fn items(&self) -> u64 {
        u64::from(self.last)
    }
}

/// The lines of a page, in its order.
pub fn lines(page: &Page) -> impl Iterator<Item = Line> {
    let last = page.events.len().saturating_sub(1);
    let ending = ending(page);
    let events = page.events.iter().enumerate();
    events.map(move |(at, (event, details))| line(page, event, details, (&ending, at == last)))
}

/// Whose events they are, to the end of the line.
fn ending(page: &Page) -> Vec<u8> {
    let mut out = br#"","execution_arn":"#.to_vec();
    write_string(&page.execution, &mut out);
    if let Some(run) = &page.map_run {
        out.extend_from_slice(br#","map_run_arn":"#);
        write_string(run, &mut out);
    }
    out.extend_from_slice(br#","redrive_count":""#);
    write_number(u64::from(page.redrive_count), &mut out);
    out.extend_from_slice(b"\"}");
    out
}

/// What a line has beside its details and its ending: names of members, and numbers.
const BETWEEN_BYTES: usize = 160;

fn line(page: &Page, event: &Event, details: &[u8], (ending, last): (&[u8], bool)) -> Line {
    let Event { id, previous, at, kind, .. } = *event;
    let at_ms = at.as_millis();
    let mut out = Vec::with_capacity(details.len() + ending.len() + BETWEEN_BYTES);
    out.extend_from_slice(br#"{"id":""#);
    write_number(id, &mut out);
    out.extend_from_slice(br#"","type":""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","details":"#);
    let begin = out.len();
    out.extend_from_slice(details);
    let details = begin..out.len();
    out.extend_from_slice(br#","previous_event_id":""#);
    write_number(previous, &mut out);
    out.extend_from_slice(br#"","event_timestamp":""#);
    write_number(u64::try_from(at_ms).unwrap_or_default(), &mut out);
    out.extend_from_slice(ending);
    Line {
        execution: Arc::clone(&page.execution),
        machine: Arc::clone(&page.machine),
        map_run: page.map_run.clone(),
        id,
        previous,
        at_ms,
        kind,
        redrive_count: page.redrive_count,
        // Every piece that is written is Unicode.
        text: String::from_utf8(out).unwrap_or_default(),
        details,
        last,
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    Value::from(number).write_json(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::tests::{empty, push};

    fn page() -> Page {
        let mut page = Page { redrive_count: 2, ..empty("e") };
        push(&mut page, 3, &asl::Payload::from_checked(r#"{"a":"line\nfeed"}"#.into()));
        push(&mut page, 4, &asl::Payload::empty_object());
        page
    }

    #[test]
    fn a_line_has_the_form_of_step_functions_log_events() {
        let page = page();
        let lines: Vec<Line> = lines(&page).collect();
        let expected = concat!(
            r#"{"id":"3","type":"PassStateEntered","details":{"name":"A","input":"{\"a\":\"line\\nfeed\"}","#,
            r#""inputDetails":{"truncated":false}},"previous_event_id":"2","#,
            r#""event_timestamp":"1700000000000","#,
            r#""execution_arn":"arn:aws:states:r:a:execution:m:e","redrive_count":"2"}"#,
        );
        assert_eq!(lines[0].text, expected);
        let read: serde_json::Value = serde_json::from_str(&lines[0].text).expect("JSON");
        let details: serde_json::Value = serde_json::from_str(lines[0].details()).expect("JSON");
        assert_eq!(read["details"], details);
        assert_eq!(lines.iter().map(Weigh::items).collect::<Vec<_>>(), [0, 1], "a page counts once");
    }

    #[test]
    fn a_line_of_a_child_execution_names_its_map_run() {
        let page = Page { map_run: Some("arn:aws:states:r:a:mapRun:m/l:x".into()), ..page() };
        let line = lines(&page).next().expect("a line");
        let read: serde_json::Value = serde_json::from_str(&line.text).expect("JSON");
        assert_eq!(read["map_run_arn"], "arn:aws:states:r:a:mapRun:m/l:x");
        assert_eq!(read["redrive_count"], "2");
    }
}
