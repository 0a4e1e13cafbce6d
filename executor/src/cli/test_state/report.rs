//! How a tested state is told.

use std::fmt::Write as _;

use asl::test_state::Tested;
use asl::value::Map;
use asl::{Payload, Value};

/// Characters of a value that stay on one line.
const LINE_CHARS: usize = 76;

/// The status, then the data in the order in which they flow.
pub(super) fn human(tested: &Tested) -> String {
    let mut text = tested.status.as_str().to_owned();
    let told = [(": ", &tested.error), (": ", &tested.cause), (" -> ", &tested.next_state)];
    for (before, told) in told.into_iter().filter_map(|(before, told)| Some((before, told.as_ref()?))) {
        text.push_str(before);
        text.extend(told.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    text.push('\n');
    let stages = tested.inspection.iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value));
    let output = tested.output.as_ref().map(|output| ("output", output.value()));
    // The output is what flows on; what the state left beside it stands below.
    let (beside, flow): (Vec<_>, Vec<_>) = stages.partition(|(name, _)| is_beside(name));
    let lines: Vec<(&str, &Value)> = flow.into_iter().chain(output).chain(beside).collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut before = None;
    for (name, value) in lines {
        let _ = write!(text, "\n  {name:<width$}  ");
        if before == Some(value) {
            text.push_str("(the same)");
        } else {
            pretty(value, width + 4, &mut text);
        }
        before = Some(value).filter(|_| !is_number(name));
    }
    text.push('\n');
    text
}

/// What is no data on their way through the state.
fn is_beside(name: &str) -> bool {
    matches!(name, "errorDetails" | "variables")
}

/// Numbers of a Map are equal by chance.
fn is_number(name: &str) -> bool {
    matches!(name, "maxConcurrency" | "toleratedFailureCount" | "toleratedFailurePercentage")
}

/// JSON on one line where it is short, else with its members below one another.
fn pretty(value: &Value, indent: usize, text: &mut String) {
    let line = value.to_json_string();
    let inner = indent + 2;
    match value {
        _ if line.chars().count() <= LINE_CHARS => text.push_str(&line),
        Value::Object(members) => {
            text.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let name = Value::from(name.clone()).to_json_string();
                let _ = write!(text, "{comma}\n{:inner$}{name}: ", "");
                pretty(member, inner, text);
            }
            let _ = write!(text, "\n{:indent$}}}", "");
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let _ = write!(text, "{comma}\n{:inner$}", "");
                pretty(item, inner, text);
            }
            let _ = write!(text, "\n{:indent$}]", "");
        }
        _ => text.push_str(&line),
    }
}

/// One object, as TestState answers, with JSON in place of texts.
pub(super) fn json(tested: Tested) -> String {
    let members = [
        ("status", Some(Value::from(tested.status.as_str()))),
        ("output", tested.output.map(Payload::into_value)),
        ("error", tested.error.map(Value::from)),
        ("cause", tested.cause.map(Value::from)),
        ("nextState", tested.next_state.map(Value::from)),
        ("inspectionData", tested.inspection.map(Value::from)),
    ];
    let told: Map = members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut text = Value::from(told).to_json_string();
    text.push('\n');
    text
}
