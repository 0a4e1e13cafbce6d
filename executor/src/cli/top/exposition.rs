//! The text of `/metrics`, sample by sample, in either of the forms that a node writes.
//!
//! Invariants: nothing is copied but label values with an escape in them; what a label says has no control characters, for it
//! goes to somebody's terminal. What may fail: a line that is no sample; the error says which.
//!
//! The crates there are do not read escapes in labels (prometheus-parse) or have a licence that does not fit
//! (openmetrics-parser).

use std::borrow::Cow;

/// One line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub value: f64,
}

/// A line that is no sample.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of its metrics is no sample: {text:?}")]
pub(super) struct Malformed {
    line: usize,
    text: String,
}

impl Sample<'_> {
    /// The value of a label; nothing where it has none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// Every sample of a text.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Result<Sample<'_>, Malformed>> {
    let lines = text.lines().enumerate();
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
        let wrong = || Malformed { line: number + 1, text: line.chars().take(80).collect() };
        sample(line).ok_or_else(wrong)
    })
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A time may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(Sample { name, labels, value })
}

/// Labels, and what follows their closing brace.
#[allow(clippy::type_complexity, reason = "the labels of a sample, and the rest of its line")]
fn labels(mut rest: &str) -> Option<(Vec<(&str, Cow<'_, str>)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let end = end_of_value(quoted)?;
        labels.push((name, value(&quoted[..end])));
        rest = &quoted[end + 1..];
    }
}

/// Where the closing quotation mark stands.
fn end_of_value(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// A value without its escapes.
fn value(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c == '\\' || c.is_control()) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        };
        plain.push(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use telemetry::{Form, NodeMetrics};

    use super::*;

    #[test]
    fn every_line_of_a_nodes_own_text_is_read_in_both_forms() {
        let node = NodeMetrics::new("1.2.3", 2);
        let odd = "a\"b\\c\nd, e=\"{f}\" \u{1b}[31m";
        let machine = node.shard(0).expect("there are two").machine(odd);
        machine.started.add(7);
        machine.duration.observe(3_000);
        for form in [Form::Prometheus, Form::OpenMetrics] {
            let text = node.render(form);
            let read: Vec<Sample<'_>> = samples(&text).collect::<Result<_, _>>().expect("samples alone");
            let lines = text.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(read.len(), lines);
            let shown = "a\"b\\c\u{fffd}d, e=\"{f}\" \u{fffd}[31m";
            let of_machine: Vec<_> = read.iter().filter(|sample| sample.label("machine") == shown).collect();
            let value = |name: &str, bound: &str| {
                let found = of_machine.iter().find(|s| s.name == name && s.label("le") == bound);
                found.expect("there").value
            };
            assert_eq!(value("executor_executions_started_total", ""), 7.0);
            assert_eq!(value("executor_execution_duration_seconds_bucket", "0.002"), 0.0);
            assert_eq!(value("executor_execution_duration_seconds_bucket", "0.005"), 1.0);
            assert_eq!(value("executor_execution_duration_seconds_sum", ""), 0.003);
        }
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error_that_says_which() {
        for wrong in ["<html>", "a", "a{b=\"c\" 1", "a{b} 1", "a{b=\"c\\\"} 1", "a x", "{} 1"] {
            let text = format!("# TYPE a counter\na 1\n{wrong}\n");
            let read: Vec<_> = samples(&text).collect();
            assert!(read.len() == 2 && read[0].is_ok(), "{wrong}");
            assert!(read[1].as_ref().expect_err("no sample").to_string().starts_with("line 3"), "{wrong}");
        }
        assert_eq!(samples("a 1 1700000000\nb +Inf\n").filter_map(Result::ok).count(), 2);
    }
}
