//! An event of a history as sinks get it: one line of JSON in the form of Step Functions' log events.
//!
//! Purpose: what reads Step Functions' logs reads these. Invariants: a line holds no line feed; `execution_arn`, `id` and
//! `redrive_count` tell the same event again; numbers are texts, as there; inputs, outputs and parameters are JSON as text,
//! and left out where the page says so. What may fail: nothing.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use asl::Value;
use asl::history::HistoryEvent;

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
    let mut scratch = Scratch { ending: ending(page), ..Scratch::default() };
    page.events.iter().enumerate().map(move |(at, event)| line(page, event, at == last, &mut scratch))
}

/// What is used again for each line of a page: a line takes no more memory than its text has bytes.
#[derive(Debug, Default)]
struct Scratch {
    out: Vec<u8>,
    /// JSON that becomes a text in JSON.
    json: Vec<u8>,
    /// What all lines of the page end with.
    ending: Vec<u8>,
}

/// Whose events they are, to the end of the line.
fn ending(page: &Page) -> Vec<u8> {
    let mut out = br#","execution_arn":"#.to_vec();
    write_text(&page.execution, &mut out);
    if let Some(run) = &page.map_run {
        out.extend_from_slice(br#","map_run_arn":"#);
        write_text(run, &mut out);
    }
    write(&mut out, format_args!(r#","redrive_count":"{}"}}"#, page.redrive_count));
    out
}

fn line(page: &Page, event: &HistoryEvent, last: bool, scratch: &mut Scratch) -> Line {
    let HistoryEvent { id, previous, at, kind, ref details } = *event;
    let Scratch { out, json, ending } = scratch;
    out.clear();
    write(out, format_args!(r#"{{"id":"{id}","type":"{kind}","details":"#));
    let begin = out.len();
    write_details(details, page.include_data, (out, json));
    let details = begin..out.len();
    let at_ms = at.as_millis();
    write(out, format_args!(r#","previous_event_id":"{previous}","event_timestamp":"{at_ms}""#));
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
        text: str::from_utf8(out).unwrap_or_default().to_owned(),
        details,
        last,
    }
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = out.write_fmt(text);
}

/// Members whose values are data of the execution, with the member that says that nothing of them was cut.
const DATA: [(&str, Option<&str>); 4] = [
    ("input", Some(r#""inputDetails":{"truncated":false}"#)),
    ("output", Some(r#""outputDetails":{"truncated":false}"#)),
    ("parameters", None),
    ("assignedVariables", None),
];

fn write_details(details: &Value, include_data: bool, (out, json): (&mut Vec<u8>, &mut Vec<u8>)) {
    out.push(b'{');
    let mut first = true;
    for (name, value) in details.as_object().into_iter().flat_map(|members| members.iter()) {
        let data = DATA.iter().find(|(data, _)| data == name);
        if data.is_some() && !include_data {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        match data {
            // A map of names to JSON texts.
            Some(("assignedVariables", _)) => write_variables(value, (out, json)),
            Some((_, whole)) => {
                write_quoted(value, (out, json));
                if let Some(whole) = whole {
                    out.push(b',');
                    out.extend_from_slice(whole.as_bytes());
                }
            }
            None => value.write_json(out),
        }
    }
    out.push(b'}');
}

fn write_variables(variables: &Value, (out, json): (&mut Vec<u8>, &mut Vec<u8>)) {
    out.push(b'{');
    for (at, (name, value)) in
        variables.as_object().into_iter().flat_map(|members| members.iter()).enumerate()
    {
        if at > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_quoted(value, (out, json));
    }
    out.push(b'}');
}

/// A value's JSON, as text.
fn write_quoted(value: &Value, (out, json): (&mut Vec<u8>, &mut Vec<u8>)) {
    json.clear();
    value.write_json(json);
    write_text(str::from_utf8(json).unwrap_or_default(), out);
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use asl::timestamp::Timestamp;

    use super::*;

    fn page(include_data: bool, details: &str) -> Page {
        let details = Value::parse(details.as_bytes(), asl::value::JsonLimits::default()).expect("JSON");
        let event = |id| HistoryEvent {
            id,
            previous: id - 1,
            at: Timestamp(1_587_164_684_117),
            kind: "PassStateExited",
            details: details.clone(),
        };
        Page {
            execution: "arn:aws:states:us-east-1:123456789012:execution:m:e".into(),
            machine: "arn:aws:states:us-east-1:123456789012:stateMachine:m".into(),
            map_run: None,
            tcsl: false,
            redrive_count: 2,
            include_data,
            events: vec![event(3), event(4)],
        }
    }

    #[test]
    fn a_line_has_the_form_of_step_functions_log_events() {
        let page = page(true, r#"{"name":"A","output":{"a":"line\nfeed"},"assignedVariables":{"x":[1]}}"#);
        let lines: Vec<Line> = lines(&page).collect();
        let expected = concat!(
            r#"{"id":"3","type":"PassStateExited","details":{"name":"A","output":"{\"a\":\"line\\nfeed\"}","#,
            r#""outputDetails":{"truncated":false},"assignedVariables":{"x":"[1]"}},"previous_event_id":"2","#,
            r#""event_timestamp":"1587164684117","#,
            r#""execution_arn":"arn:aws:states:us-east-1:123456789012:execution:m:e","redrive_count":"2"}"#,
        );
        assert_eq!(lines[0].text, expected);
        let read: serde_json::Value = serde_json::from_str(&lines[0].text).expect("JSON");
        let details: serde_json::Value = serde_json::from_str(lines[0].details()).expect("JSON");
        assert_eq!(read["details"], details);
        assert_eq!(lines.iter().map(Weigh::items).collect::<Vec<_>>(), [0, 1], "a page counts once");
    }

    #[test]
    fn a_line_of_a_child_execution_names_its_map_run() {
        let page = Page { map_run: Some("arn:aws:states:r:a:mapRun:m/l:x".into()), ..page(true, "{}") };
        let line = lines(&page).next().expect("a line");
        let read: serde_json::Value = serde_json::from_str(&line.text).expect("JSON");
        assert_eq!(read["map_run_arn"], "arn:aws:states:r:a:mapRun:m/l:x");
        assert_eq!(read["redrive_count"], "2");
    }

    #[test]
    fn data_is_left_out_where_the_page_says_so() {
        let details = r#"{"name":"A","input":{"secret":1},"output":2,"parameters":3,"assignedVariables":{"x":4},
                          "error":"E","cause":"why"}"#;
        let page = page(false, details);
        let line = lines(&page).next().expect("a line");
        assert_eq!(line.details(), r#"{"name":"A","error":"E","cause":"why"}"#);
    }

    #[test]
    fn an_event_without_details_has_empty_ones() {
        let page = page(true, "{}");
        assert_eq!(lines(&page).next().expect("a line").details(), "{}");
    }
}
