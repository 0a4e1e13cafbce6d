//! Machines, inputs and settings of the benches.

use std::sync::Arc;
use std::time::Duration;

use asl::execution::{FixedNames, Machine};
use asl::history::{NoObserver, Observer};
use asl::path::Scope;
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::value::JsonLimits;
use asl::{Dialect, Outcome, Payload, Program, StartContext, Timestamp, Value};
use criterion::Criterion;

/// What a Task of the benches calls.
pub const FUNCTION: &str = "arn:aws:lambda:local:000000000000:function:f";

/// The data that paths, templates, rules and expressions look into.
pub const ORDER: &str = r#"{"order":{"id":"o-1","customer":{"name":"Ann","city":"Turin"},"placed":"2026-01-31T08:30:00Z"},
    "total":12.5,"count":7,"express":true,"tags":["a","b","a"],"items":[
    {"sku":"A-1","price":10,"count":1},{"sku":"A-2","price":20,"count":2},
    {"sku":"A-3","price":30,"count":3},{"sku":"A-4","price":40,"count":4}]}"#;

/// Half a second for each bench: the core's figures are steady.
pub fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(50)
}

pub fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD).expect("JSON")
}

/// Text that was checked and is not parsed yet, as a shard gets it.
pub fn payload(text: &str) -> Payload {
    Payload::check(text.to_owned().into(), JsonLimits::PAYLOAD).expect("JSON")
}

/// An input that somebody has looked into already.
pub fn parsed(text: &str) -> Payload {
    let payload = payload(text);
    payload.value();
    payload
}

/// Without execution around it.
pub fn scope(input: &Value) -> Scope<'_> {
    Scope::new(input, &Value::Null)
}

pub fn machine(definition: &str) -> Arc<Machine> {
    machine_in(definition, Dialect::Asl)
}

pub fn machine_in(definition: &str, dialect: Dialect) -> Arc<Machine> {
    let compiled = Program::compile(definition.as_bytes(), dialect).expect("a valid definition");
    Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:local:000000000000:stateMachine:bench".into(),
        name: "bench".into(),
        role_arn: "".into(),
        mode_timeout_seconds: 300,
        history_events_max: 1_000_000,
        names: Box::new(FixedNames { arn: "arn".into(), name: "name".into() }),
    })
}

/// A machine of this state, which ends it.
pub fn one_state(state: &str) -> Arc<Machine> {
    machine(&format!(r#"{{"StartAt":"S","States":{{"S":{state}}}}}"#))
}

/// Runs an execution to its end, with tasks that give back what they get at once.
pub fn run(machine: &Arc<Machine>, input: Payload) -> Outcome {
    observed(machine, input, &mut NoObserver)
}

/// Like [`run`], while somebody looks.
pub fn observed<O: Observer>(machine: &Arc<Machine>, input: Payload, observer: &mut O) -> Outcome {
    served(machine, input, &mut |request: &Request<'_>| Answer::Succeeds(request.input.clone()), observer)
}

/// Runs an execution to its end, with tasks that end at once as `answer` says.
pub fn served<O: Observer>(
    machine: &Arc<Machine>,
    input: Payload,
    answer: &mut dyn FnMut(&Request<'_>) -> Answer,
    observer: &mut O,
) -> Outcome {
    let start = StartContext { key: [1, 2], seed: 3, ..StartContext::default() };
    let mut services = |request: &Request<'_>| Reply::now(answer(request));
    let ended = simulate(machine, start, input, Timestamp(0), &mut services, observer);
    ended.outcome.expect("an execution that ends")
}

/// Makes sure that a bench measures what it says: an execution that fails early would be fast.
pub fn succeeds(machine: &Arc<Machine>, input: &Payload) {
    let outcome = run(machine, input.clone());
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
}
