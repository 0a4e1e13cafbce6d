//! Entry points for hostile bytes, one for each reader of the language core. They panic where a promise is broken, and are
//! driven by libFuzzer (`fuzz_targets`) and, within `cargo test`, by `tests/fuzz_smoke.rs`.

use std::sync::Arc;

use asl::definition::{MachineType, Style, render};
use asl::history::NoObserver;
use asl::intrinsic::Intrinsic;
use asl::jsonata::Expression;
use asl::path::{Path, ReferencePath, Scope};
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::template::Template;
use asl::value::JsonLimits;
use asl::{Dialect, FixedNames, Machine, Payload, Program, StartContext, Timestamp, Value};

/// Events of an execution: enough to come around a loop a few times.
const EVENTS_MAX: u64 = 300;

/// What expressions are evaluated on.
const INPUT: &str =
    r#"{"a":{"b":[1,2.5,"x",null,{"a":true}]},"n":3,"s":"text {} \\ é😀","list":[{"n":1},{"n":2}],"":0}"#;
const CONTEXT: &str =
    r#"{"Execution":{"Name":"e","Input":{}},"State":{"Name":"S"},"Map":{"Item":{"Index":0,"Value":1}}}"#;

fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD).expect("JSON")
}

/// A definition gets a program or diagnostics, whose places are in the text and can be drawn.
pub fn definition(data: &[u8]) {
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    for dialect in [Dialect::Asl, Dialect::Tcsl] {
        for machine in [MachineType::Standard, MachineType::Express] {
            let found = match Program::compile_for(data, dialect, machine) {
                Ok(compiled) => compiled.warnings,
                Err(found) => {
                    assert!(!found.is_empty(), "refused without a reason");
                    found
                }
            };
            assert!(found.iter().all(|one| (1..=lines).contains(&(one.line as usize)) && one.column >= 1));
            render(data, &found, "f", Style::Plain);
        }
    }
}

/// A definition that is accepted is run: it ends, or waits for what never comes, within its events; the same each time.
pub fn execution(data: &[u8]) {
    let Ok(compiled) = Program::compile(data, Dialect::Asl) else { return };
    let machine = Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:us-east-1:123456789012:stateMachine:m".into(),
        name: "m".into(),
        role_arn: "role".into(),
        mode_timeout_seconds: 86_400,
        history_events_max: EVENTS_MAX,
        names: Box::new(FixedNames { arn: "e".into(), name: "e".into() }),
    });
    let run = || {
        let mut calls = 0_u64;
        let mut services = |request: &Request<'_>| {
            calls += 1;
            let answer = match calls % 3 {
                0 => Answer::Fails("E".into(), "why".into()),
                _ => Answer::Succeeds(request.input.clone()),
            };
            Reply { after_millis: calls % 7, ..Reply::now(answer) }
        };
        let (start, input) = (StartContext::default(), Payload::from_value(json(INPUT)));
        let ended = simulate(&machine, start, input, Timestamp(0), &mut services, &mut NoObserver);
        (ended, calls)
    };
    let (ended, calls) = run();
    assert!(
        calls <= EVENTS_MAX * 40 && ended.events <= EVENTS_MAX * 100,
        "{calls} calls, {} events",
        ended.events
    );
    assert_eq!((ended, calls), run());
}

/// A path gives one value, a list or an error; the same each time. What is put at a reference path is found there.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (input, context) = (json(INPUT), json(CONTEXT));
    let scope = Scope::new(&input, &context);
    match Path::parse(text) {
        Err(error) => inside(text, error.column),
        Ok(path) => {
            let found = path.evaluate(&scope);
            assert!(path.is_definite() || !matches!(found, Ok(ref found) if found.as_array().is_none()));
            assert_eq!(
                path.evaluate_ref(&scope).cloned().map(Ok),
                path.evaluate_ref(&scope).map(|_| found.clone())
            );
            assert_eq!(Path::parse(path.text()).expect("its own text").evaluate(&scope), found);
        }
    }
    if let Ok(path) = ReferencePath::parse(text)
        && *path.root() == asl::path::Root::Input
        && let Ok(put) = path.set(&input, Value::from("put"))
    {
        assert_eq!(path.get(&Scope::new(&put, &context)), Some(&Value::from("put")));
    }
}

/// A call of an intrinsic function gives a value or an error.
pub fn intrinsic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (input, context) = (json(INPUT), json(CONTEXT));
    match Intrinsic::parse(text) {
        Err(error) => inside(text, error.column),
        Ok(call) => {
            let scope = Scope::new(&input, &context);
            let found = call.evaluate(&scope);
            assert_eq!(Intrinsic::parse(call.text()).expect("its own text").evaluate(&scope), found);
        }
    }
}

/// A template of either query language is filled in, or an error; without expressions it is its own result.
pub fn template(data: &[u8]) {
    let Ok(source) = Value::parse(data, JsonLimits::PAYLOAD) else { return };
    let (input, context) = (json(INPUT), json(CONTEXT));
    let scope = Scope::new(&input, &context);
    if let Ok(template) = Template::compile(&source) {
        let found = template.evaluate(&scope);
        assert!(template.as_constant().is_none_or(|constant| *constant == source));
        assert_eq!(template.evaluate(&scope), found);
    }
    if let Ok(template) = Template::compile_jsonata(&source, "Output") {
        let found = template.evaluate(&scope);
        assert!(template.as_constant().is_none_or(|_| found.as_ref() == Ok(&source)));
    }
}

/// A JSONata expression gives a value or an error, the same each time.
pub fn jsonata(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (input, context) = (json(INPUT), json(CONTEXT));
    if let Ok(expression) = Expression::compile(text) {
        let scope = Scope { result: Some(&input), ..Scope::new(&input, &context) };
        let found = expression.evaluate(&scope).map_err(|failure| failure.to_string());
        assert_eq!(expression.evaluate(&scope).map_err(|failure| failure.to_string()), found);
    }
}

/// Checking and reading accept the same bytes; what is written reads back equal and is as long as was said.
pub fn payload(data: &[u8]) {
    let checked = Payload::check(data.to_vec().into(), JsonLimits::PAYLOAD);
    let read = Value::parse(data, JsonLimits::PAYLOAD);
    assert_eq!(checked.as_ref().err(), read.as_ref().err());
    if let (Ok(checked), Ok(read)) = (checked, read) {
        assert_eq!(*checked.value(), read);
        let written = read.to_json();
        assert_eq!(written.len(), read.json_len());
        let limits = JsonLimits { bytes: usize::MAX, ..JsonLimits::PAYLOAD };
        assert_eq!(Value::parse(&written, limits), Ok(read));
    }
}

/// An error's column is a character of the text, or the end of it.
fn inside(text: &str, column: usize) {
    assert!((1..=text.chars().count() + 1).contains(&column), "column {column} of {text:?}");
}
