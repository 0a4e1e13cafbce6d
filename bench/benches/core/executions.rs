//! Whole executions, from the received bytes to the outcome, as a shard does it.

use std::hint::black_box;
use std::sync::Arc;

use asl::execution::Machine;
use asl::history::NoObserver;
use asl::value::JsonLimits;
use asl::{Effect, Execution, Payload, StartContext, Timestamp};
use bench::payload::{Entropy, Generator};
use bench::profile::Profile;
use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion};

use super::support::machine;

pub fn input(profile: Profile, size: usize) -> Bytes {
    Generator::new(7, size, profile.items(), Entropy::Templated).next(&mut BytesMut::new())
}

fn run(machine: &Arc<Machine>, payload: Payload, effects: &mut Vec<Effect>) -> usize {
    let start = StartContext { key: [1, 2], seed: 3, ..StartContext::default() };
    effects.clear();
    let execution = Execution::start(machine, start, payload, Timestamp(0), effects, &mut NoObserver);
    assert!(execution.is_finished());
    effects.len()
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("execution");
    let mut effects = Vec::new();
    for profile in [Profile::Pass, Profile::FiveState, Profile::Map100] {
        let (machine, input) = (machine(&profile.definition()), input(profile, 200));
        let check = |input: &Bytes| Payload::check(input.clone(), JsonLimits::PAYLOAD).expect("JSON");
        group.bench_function(profile.name(), |b| {
            b.iter(|| run(&machine, check(black_box(&input)), &mut effects));
        });
        let checked = check(&input);
        group.bench_function(BenchmarkId::new(profile.name(), "input checked"), |b| {
            b.iter(|| run(&machine, black_box(&checked).clone(), &mut effects));
        });
    }
    group.finish();
}
