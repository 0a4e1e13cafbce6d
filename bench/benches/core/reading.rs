//! Reading JSON: the check of what comes in, the tree, writing; beside simd-json and serde_json.

use asl::value::JsonLimits;
use asl::{Payload, Value};
use bench::profile::Profile;
use criterion::{BenchmarkId, Criterion, Throughput};

use super::executions::input;

pub fn benches(criterion: &mut Criterion) {
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
        let tree = Value::parse(&text, JsonLimits::PAYLOAD).expect("JSON");
        group.bench_with_input(BenchmarkId::new("write", size), &tree, |b, tree| b.iter(|| tree.to_json()));
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
        group.bench_with_input(BenchmarkId::new("serde_json ignored", size), &text, |b, text| {
            b.iter(|| serde_json::from_slice::<serde::de::IgnoredAny>(text));
        });
    }
    group.finish();
}
