//! The language core alone, on one thread: whole executions, paths, and reading JSON.
//!
//! The libraries that could do a part of it stand beside ours, so that choosing again is a command.

use std::hint::black_box;
use std::sync::Arc;

use asl::execution::{FixedNames, Machine};
use asl::history::NoObserver;
use asl::path::{Path, Scope};
use asl::value::JsonLimits;
use asl::{Dialect, Effect, Execution, Payload, Program, StartContext, Timestamp, Value};
use bench::payload::{Entropy, Generator};
use bench::profile::Profile;
use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jsonpath_rust::JsonPath;

fn machine(profile: Profile) -> Arc<Machine> {
    let compiled =
        Program::compile(profile.definition().as_bytes(), Dialect::Asl).expect("a valid definition");
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

fn input(profile: Profile, size: usize) -> Bytes {
    Generator::new(7, size, profile.items(), Entropy::Templated).next(&mut BytesMut::new())
}

/// From the received bytes to the outcome, as a shard does it.
fn run(machine: &Arc<Machine>, input: &Bytes, effects: &mut Vec<Effect>) -> usize {
    let payload = Payload::check(input.clone(), JsonLimits::PAYLOAD).expect("JSON");
    let start = StartContext { key: [1, 2], name: None, seed: 3 };
    effects.clear();
    let execution = Execution::start(machine, start, payload, Timestamp(0), effects, &mut NoObserver);
    assert!(execution.is_finished());
    effects.len()
}

fn executions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execution");
    for profile in [Profile::Pass, Profile::FiveState, Profile::Map100] {
        let (machine, input) = (machine(profile), input(profile, 200));
        let mut effects = Vec::new();
        group.bench_function(profile.name(), |b| b.iter(|| run(&machine, black_box(&input), &mut effects)));
    }
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reading");
    for size in [200, 1_024, 16_384] {
        let text = input(Profile::Pass, size);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("check", size), &text, |b, text| {
            b.iter(|| Payload::check(text.clone(), JsonLimits::PAYLOAD));
        });
        group.bench_with_input(BenchmarkId::new("check and parse", size), &text, |b, text| {
            b.iter(|| Value::parse(text, JsonLimits::PAYLOAD));
        });
        let mut buffers = simd_json::Buffers::new(size);
        let mut copy = Vec::with_capacity(size);
        group.bench_with_input(BenchmarkId::new("simd-json tape", size), &text, |b, text| {
            b.iter(|| {
                copy.clear();
                copy.extend_from_slice(text);
                simd_json::to_tape_with_buffers(&mut copy, &mut buffers).map(|tape| tape.0.len())
            });
        });
        group.bench_with_input(BenchmarkId::new("serde_json value", size), &text, |b, text| {
            b.iter(|| serde_json::from_slice::<serde_json::Value>(text));
        });
    }
    group.finish();
}

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    let text = br#"{"a":{"b":{"c":7}},"items":[{"price":1},{"price":2},{"price":3},{"price":4}]}"#;
    let ours = Value::parse(text, JsonLimits::PAYLOAD).expect("JSON");
    let theirs: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    for path in ["$.a.b.c", "$.items[*].price"] {
        let compiled = Path::parse(path).expect("a path");
        let scope = Scope::new(&ours, &Value::Null);
        group.bench_function(BenchmarkId::new("ours", path), |b| {
            b.iter(|| black_box(&compiled).evaluate(&scope))
        });
        group.bench_function(BenchmarkId::new("jsonpath-rust, parsed each time", path), |b| {
            b.iter(|| theirs.query(black_box(path)).map(|found| found.len()));
        });
    }
    group.finish();
}

criterion_group!(benches, executions, reading, paths);
criterion_main!(benches);
