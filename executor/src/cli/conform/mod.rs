//! `executor conform`: answers conformance cases, one JSON object a line on standard input, one reply a line on standard
//! output. The contract stands beside the cases (`conformance/README.md`).
//!
//! Invariants: every line with an `id` gets exactly one reply; what this version cannot do is said, never guessed; lines
//! are bounded. What may fail: reading and writing, and a line that is no case.

mod mocks;
mod objects;
mod state;

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use asl::definition::{Compiled, MachineType, catalog, explain_json, in_aws_order, invalid_definition};
use asl::history::{Collector, HistoryEvent};
use asl::simulate::{Simulated, simulate};
use asl::value::{JsonLimits, Map};
use asl::{
    Diagnostic, Dialect, FixedNames, Machine, Outcome, Payload, Program, Severity, StartContext, Str,
    Timestamp, Value,
};
use bytes::Bytes;
use clap::Args;
use mocks::Mocks;
use objects::Objects;

use super::Exit;
use crate::limits;

/// The longest line, in bytes: a definition and an input at their limits, several times over.
const LINE_BYTES_MAX: usize = 16 << 20;
const LINE: JsonLimits = JsonLimits { depth: JsonLimits::DEPTH, bytes: LINE_BYTES_MAX };
const REGION: &str = "us-east-1";
const ACCOUNT: &str = "111111111111";
/// When an execution starts if its case does not say: 2024-01-01T00:00:00Z.
const START: Timestamp = Timestamp(1_704_067_200_000);

const MANUAL: &str = "\
INPUT
  One case a line: {\"id\", \"kind\", \"definition\", \"input\", \"sm_type\", \"mocks\", ...}. Kinds:
  execution, sync_execution, create, start, validate, variable_references, test_state. Time is
  virtual; services answer what `mocks` says, and the readers of distributed Maps read the objects
  that `setup` has put.

OUTPUT
  One reply a line, with the case's id: the outcome and history, a rejection, diagnostics, or
  {\"unsupported\": why}.

EXAMPLE
  python3 conformance/check.py conformance/dev.jsonl -- executor conform";

/// The options of `executor conform`: none yet.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct ConformOptions {}

/// Answers all cases of standard input.
pub(super) fn run(_: &ConformOptions) -> Exit {
    match answer_all(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            let _ = writeln!(io::stderr(), "executor conform: {error}");
            Exit::Internal
        }
    }
}

fn answer_all(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let wrong =
            |problem: String| io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {problem}"));
        let read = input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong(format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let case = Value::parse(&line, LINE).map_err(|error| wrong(error.to_string()))?;
        let mut reply = answer(&case);
        reply.insert("id", case.get("id").cloned().unwrap_or_default());
        let mut text = Value::from(reply).to_json();
        text.push(b'\n');
        output.write_all(&text)?;
    }
    output.flush()
}

fn answer(case: &Value) -> Map {
    let kind = case.get("kind").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "execution" | "sync_execution" => {
            compiled(case).map_or_else(|reply| reply, |program| execute(case, program))
        }
        "create" => compiled(case).map_or_else(|reply| reply, |_| members([("ok", Value::from(true))])),
        "variable_references" => compiled(case).map_or_else(|reply| reply, |program| references(&program)),
        "start" => start(case),
        "validate" => validate(case),
        "test_state" => state::answer(case),
        other => unsupported(format!("the kind {other}")),
    }
}

/// The definition's program, or the reply that rejects it.
fn compiled(case: &Value) -> Result<Arc<Program>, Map> {
    let rejection =
        |diagnostics: Vec<Diagnostic>| rejected("InvalidDefinition", &invalid_definition(&diagnostics));
    compile(case).map(|compiled| compiled.program).map_err(rejection)
}

fn compile(case: &Value) -> Result<Compiled, Vec<Diagnostic>> {
    Program::compile_for(&definition_text(case), Dialect::Asl, machine_type(case))
}

fn definition_text(case: &Value) -> Vec<u8> {
    match case.get("definition") {
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(definition) => with_resources(definition, case).to_json(),
        None => Vec::new(),
    }
}

/// The definition with the concrete resources that the case put placeholders for: a placeholder is no ARN.
fn with_resources(definition: &Value, case: &Value) -> Value {
    match definition {
        Value::Object(object) => {
            let member = |(key, value): (&Str, &Value)| {
                let resource = value.as_str().filter(|_| key == "Resource");
                let concrete = resource.and_then(|placeholder| concrete(case, placeholder));
                (key.clone(), concrete.map_or_else(|| with_resources(value, case), Value::from))
            };
            Value::from(object.iter().map(member).collect::<Map>())
        }
        Value::Array(items) => Value::array(items.iter().map(|item| with_resources(item, case))),
        other => other.clone(),
    }
}

/// The name that stood where the case has this placeholder.
fn concrete(case: &Value, placeholder: &str) -> Option<Str> {
    let pairs = case.get("replacements").and_then(Value::as_array).unwrap_or_default();
    let pair = pairs.iter().find(|pair| pair.at(1).and_then(Value::as_str) == Some(placeholder))?;
    pair.at(0).and_then(Value::as_str).map(Str::from)
}

fn machine_type(case: &Value) -> MachineType {
    match case.get("sm_type").and_then(Value::as_str) {
        Some("EXPRESS") => MachineType::Express,
        _ => MachineType::Standard,
    }
}

fn references(program: &Program) -> Map {
    let listed = program.variable_references().into_iter();
    let member = |(state, names): (Str, Vec<Str>)| (state, Value::array(names.into_iter().map(Value::from)));
    members([("variable_references", Value::from(listed.map(member).collect::<Map>()))])
}

fn start(case: &Value) -> Map {
    if let Err(reply) = compiled(case) {
        return reply;
    }
    let problem = match case.get("input") {
        Some(Value::String(text)) if text.trim().is_empty() => Some("Invalid execution input.".to_owned()),
        Some(Value::String(text)) => explain_json(text).map(|problem| problem.message),
        _ => None,
    };
    match problem {
        None => members([("ok", Value::from(true))]),
        Some(problem) => {
            let message = format!("Invalid State Machine Execution Input: '{problem}'");
            rejected("InvalidExecutionInput", &message)
        }
    }
}

fn validate(case: &Value) -> Map {
    let (result, diagnostics) = match compile(case) {
        Ok(Compiled { warnings, .. }) => ("OK", warnings),
        Err(diagnostics) => ("FAIL", diagnostics),
    };
    // As in the API: its own codes only, and warnings only where the caller asks for them.
    let asked = case.get("validate").and_then(|arguments| arguments.get("severity")).and_then(Value::as_str);
    let wanted = |found: &&Diagnostic| {
        catalog::explain(found.code).is_some_and(|one| one.origin == catalog::Origin::Aws)
            && (found.severity == Severity::Error || asked == Some("WARNING"))
    };
    let told = in_aws_order(&diagnostics).filter(wanted).map(|found| {
        let severity = match found.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
        };
        let mut told = members([
            ("severity", severity.into()),
            ("code", found.code.into()),
            ("message", found.message.as_str().into()),
        ]);
        if !found.location.is_empty() {
            told.insert("location", found.location.as_str().into());
        }
        Value::from(told)
    });
    let verdict = Value::object([("result", Value::from(result)), ("diagnostics", Value::array(told))]);
    members([("validation", verdict)])
}

fn execute(case: &Value, program: Arc<Program>) -> Map {
    let express = machine_type(case) == MachineType::Express;
    let machine = Arc::new(machine(case, program, express));
    let input = match case.get("input") {
        None | Some(Value::Null) => Payload::empty_object(),
        // As bytes, as a start brings it.
        Some(input) => Payload::from_checked(Bytes::from(input.to_json())),
    };
    let clock = case.get("clock").and_then(Value::as_str).and_then(|text| Timestamp::parse(text).ok());
    let clock = clock.unwrap_or(START);
    let mut mocks = Mocks::new(case.get("mocks"), Objects::new(case.get("setup"), clock));
    let mut collector = Collector::new(usize::try_from(machine.history_events_max).unwrap_or(usize::MAX));
    let start = StartContext { key: [0, 1], seed: 1, ..StartContext::default() };
    let Simulated { outcome, .. } = simulate(&machine, start, input, clock, &mut mocks, &mut collector);
    let mut reply = outcome_of(outcome);
    reply.insert("history", Value::array(collector.into_events().into_iter().map(event)));
    reply
}

/// The machine, with the recorded names where the case gives them.
fn machine(case: &Value, program: Arc<Program>, express: bool) -> Machine {
    let concrete = |placeholder| concrete(case, placeholder);
    let name = concrete("<ArnPart_0idx>").unwrap_or_else(|| "machine".into());
    let execution = concrete("<ExecArnPart_0idx>").unwrap_or_else(|| "execution".into());
    let arn = |kind: &str, name: &str| Str::from(format!("arn:aws:states:{REGION}:{ACCOUNT}:{kind}:{name}"));
    let execution_arn = if express {
        arn("express", &format!("{name}:{execution}:00000000-0000-4000-8000-000000000001"))
    } else {
        arn("execution", &format!("{name}:{execution}"))
    };
    let names = FixedNames { arn: execution_arn, name: execution };
    let (mode_timeout_seconds, history_events_max) = if express {
        (limits::EXPRESS_SECONDS_MAX, limits::EXPRESS_HISTORY_EVENTS_MAX)
    } else {
        (limits::STANDARD_SECONDS_MAX, limits::STANDARD_HISTORY_EVENTS_MAX)
    };
    Machine {
        program,
        arn: arn("stateMachine", &name),
        name,
        role_arn: concrete("snf_role_arn").unwrap_or_else(|| "role".into()),
        mode_timeout_seconds,
        history_events_max,
        names: Box::new(names),
    }
}

fn outcome_of(outcome: Option<Outcome>) -> Map {
    let (status, output, error, cause) = match outcome {
        None => ("RUNNING", None, None, None),
        Some(Outcome::Succeeded(output)) => ("SUCCEEDED", Some(output.into_value()), None, None),
        Some(Outcome::Failed { error, cause }) => ("FAILED", None, error, cause),
        Some(Outcome::TimedOut { error, cause }) => ("TIMED_OUT", None, error, cause),
        Some(Outcome::Aborted { error, cause }) => ("ABORTED", None, error, cause),
    };
    let mut reply = members([("status", status.into())]);
    let optional = [("output", output), ("error", error.map(Value::from)), ("cause", cause.map(Value::from))];
    for (key, value) in optional {
        if let Some(value) = value {
            reply.insert(key, value);
        }
    }
    reply
}

/// An event in the contract's flat form.
fn event(event: HistoryEvent) -> Value {
    let mut flat = members([
        ("id", event.id.into()),
        ("previousEventId", event.previous.into()),
        ("timestamp", Value::from(event.at.to_string())),
        ("type", event.kind.into()),
    ]);
    for (key, value) in event.details.as_object().into_iter().flat_map(Map::iter) {
        flat.insert(key.clone(), value.clone());
    }
    Value::from(flat)
}

fn rejected(code: &str, message: &str) -> Map {
    let error = Value::object([("code", Value::from(code)), ("message", Value::from(message))]);
    members([("create_error", error)])
}

fn unsupported(why: String) -> Map {
    members([("unsupported", Value::from(why))])
}

fn members<const N: usize>(members: [(&'static str, Value); N]) -> Map {
    members.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(lines: &str) -> Vec<Value> {
        let mut output = Vec::new();
        answer_all(&mut lines.as_bytes(), &mut output).unwrap();
        output
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Value::parse(line, LINE).unwrap())
            .collect()
    }

    fn text<'a>(reply: &'a Value, pointer: &str) -> &'a str {
        reply.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    const PASS: &str = r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#;

    #[test]
    fn a_line_that_is_no_json_ends_the_answers_with_its_number() {
        let error = answer_all(&mut "\n{\"id\": ".as_bytes(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }

    #[test]
    fn diagnostics_without_a_location_come_last_as_in_the_api() {
        let states = r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "Next": "Q"}}}"#;
        let reply =
            &replies(&format!("{{\"id\": 1, \"kind\": \"validate\", \"definition\": {states}}}\n"))[0];
        let code = |at: usize| text(reply, &format!("/validation/diagnostics/{at}/code")).to_owned();
        assert_eq!([code(0), code(1)], ["MISSING_TRANSITION_TARGET", "MISSING_END_STATE"]);
    }

    #[test]
    fn every_case_gets_one_reply_with_its_id() {
        let lines = format!(
            "{{\"id\": \"a\", \"kind\": \"execution\", \"definition\": {PASS}, \"input\": {{\"x\": 1}}}}\n\n\
             {{\"id\": 2, \"kind\": \"create\", \"definition\": {PASS}}}\n\
             {{\"id\": \"c\", \"kind\": \"create\", \"definition\": \"no definition\"}}\n"
        );
        let replies = replies(&lines);
        assert_eq!(replies.len(), 3);
        assert_eq!(text(&replies[0], "/status"), "SUCCEEDED");
        assert_eq!(text(&replies[0], "/history/3/type"), "ExecutionSucceeded");
        assert_eq!(replies[0].pointer("/output/x").and_then(Value::as_i64), Some(1));
        assert_eq!(replies[1].get("ok").and_then(Value::as_bool), Some(true));
        assert_eq!(text(&replies[2], "/create_error/code"), "InvalidDefinition");
    }

    #[test]
    fn an_input_that_is_no_json_is_refused_at_start() {
        let line = format!(r#"{{"id": 1, "kind": "start", "definition": {PASS}, "input": "{{"}}"#);
        assert_eq!(text(&replies(&line)[0], "/create_error/code"), "InvalidExecutionInput");
    }

    #[test]
    fn a_kind_of_another_version_is_said_to_be_unsupported() {
        let line = r#"{"id": 1, "kind": "telepathy"}"#;
        assert_eq!(text(&replies(line)[0], "/unsupported"), "the kind telepathy");
    }

    #[test]
    fn a_line_that_is_no_json_stops_the_command() {
        assert!(answer_all(&mut &b"{\n"[..], &mut Vec::new()).is_err());
    }
}
