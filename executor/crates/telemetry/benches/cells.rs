//! What metrics cost: one execution's counting, and a scrape of a node whose sets of labels are full.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use telemetry::labels::{ERRORS_MAX, MACHINES_MAX, STATES_MAX, TARGETS_MAX};
use telemetry::{CallKind, Form, NodeMetrics, ShardMetrics, StateKind, StateMetrics, TargetMetrics};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARDS: usize = 2;

fn machine(number: usize) -> String {
    format!("arn:aws:states:eu-central-1:123456789012:stateMachine:orders-{number:04}")
}

/// A state that takes 3 ms.
fn visit(shard: &ShardMetrics, state: &StateMetrics) {
    state.entered.add(1);
    state.exited.add(1);
    state.time_us.add(3_000);
    shard.state_duration[StateKind::Task as usize].observe(3_000);
}

fn counting(c: &mut Criterion) {
    let node = NodeMetrics::new("0.0.0", SHARDS);
    let shard = node.shard(0).expect("there is one");
    let machine = shard.machine(&machine(0));
    let states: Vec<Arc<StateMetrics>> = (0..3).map(|number| machine.state(&number.to_string())).collect();
    let target: Arc<TargetMetrics> = shard.target("worker", "pay");
    let mut group = c.benchmark_group("metrics");
    group.bench_function("execution", |b| {
        b.iter(|| {
            shard.start_ack.observe(black_box(2_000));
            machine.started.add(1);
            machine.open.add(1);
            shard.steps.add(2);
            machine.succeeded.add(1);
            machine.duration.observe(black_box(9_000));
            machine.open.sub(1);
        });
    });
    group.bench_function("state", |b| b.iter(|| visit(&shard, black_box(&states[0]))));
    group.bench_function("task", |b| {
        b.iter(|| {
            shard.tasks_scheduled.add(1);
            shard.tasks_succeeded.add(1);
            target.succeeded.add(1);
            target.latency.observe(black_box(3_000));
        });
    });
    group.bench_function("failed_execution_by_name", |b| {
        b.iter(|| machine.count_error(black_box("States.TaskFailed"), 1));
    });
    group.bench_function("state_by_name", |b| b.iter(|| machine.state(black_box("1"))));
    group.finish();
}

/// Every set of labels is full, on every shard.
fn full() -> NodeMetrics {
    let node = NodeMetrics::new("0.0.0", SHARDS);
    for index in 0..SHARDS {
        let shard = node.shard(index).expect("there is one");
        for number in 0..=MACHINES_MAX {
            let machine = shard.machine(&machine(number));
            machine.started.add(12_345);
            machine.duration.observe(9_000);
            (0..STATES_MAX / MACHINES_MAX)
                .for_each(|state| visit(&shard, &machine.state(&format!("State {state}"))));
            (0..ERRORS_MAX / MACHINES_MAX)
                .for_each(|error| machine.count_error(&format!("Custom.Error{error}"), 1));
        }
        for number in 0..=TARGETS_MAX {
            let (_, integration) = CallKind::ALL[number % CallKind::ALL.len()];
            shard
                .target(integration, &format!("https://service-{number:04}.example.com"))
                .latency
                .observe(3_000);
        }
    }
    node
}

fn scrape(c: &mut Criterion) {
    let node = full();
    let mut group = c.benchmark_group("metrics/scrape_full");
    group.sample_size(10);
    group.bench_function("snapshot", |b| b.iter(|| node.snapshot()));
    for (name, form) in [("openmetrics", Form::OpenMetrics), ("prometheus", Form::Prometheus)] {
        let text = node.render(form);
        println!("metrics/scrape_full/{name}: {} bytes, {} lines", text.len(), text.lines().count());
        group.bench_function(name, |b| b.iter(|| node.render(form)));
    }
    group.finish();
    let empty = NodeMetrics::new("0.0.0", SHARDS);
    let text = empty.render(Form::OpenMetrics);
    println!("metrics/scrape_idle: {} bytes, {} lines", text.len(), text.lines().count());
    c.bench_function("metrics/scrape_idle", |b| b.iter(|| empty.render(Form::OpenMetrics)));
}

criterion_group!(benches, counting, scrape);
criterion_main!(benches);
