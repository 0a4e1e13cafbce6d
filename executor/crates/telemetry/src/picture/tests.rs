//! What a node exposes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::labels::{MACHINES_MAX, STATES_MAX, STATES_PER_MACHINE_MAX};
use crate::reasons::Refusal;
use crate::{Form, NodeMetrics, Signal, Snapshot};

const ORDERS: &str = "arn:aws:states:r:a:stateMachine:orders";

/// A node of two shards on which everything has happened that makes a series.
fn busy() -> NodeMetrics {
    let node = NodeMetrics::new("0.0.0", 2);
    for index in 0..2 {
        let shard = node.shard(index).expect("there are two");
        let machine = shard.machine(ORDERS);
        machine.started.add(3);
        machine.open.add(1);
        machine.duration.observe_n(1_500, 3);
        machine.count_error("States.Timeout", 1);
        machine.state("Pay").entered.add(2);
        machine.state("Pay").time_us.add(250_000);
        shard.refuse(Refusal::Overloaded, 2);
        shard.throttle(ORDERS, 2);
        shard.state_duration[StateKind::Task as usize].observe(1_000);
        let target = shard.target("http", "api.example");
        target.failed.add(1);
        target.latency.observe(3_000);
    }
    for port in [node.grpc(), Arc::clone(&node.shard(1).expect("there are two").grpc)] {
        let method = port.method("/executor.v1.Executor/StopExecution");
        method.calls[GrpcCode::NotFound as usize].add(2);
    }
    let exporter = node.exporter(Signal::History, "kafka");
    exporter.intake().offered.add(5);
    exporter.drop_items(DropReason::GaveUp, 1, 7);
    node.set_durability("redis", vec![("appendfsync", "always".to_owned())]);
    node.add_reload("certificates", Arc::new(AtomicBool::new(true)));
    node.set_secret_keys(vec![7, 3]);
    node
}

fn value(snapshot: &Snapshot, metric: &Metric, labels: &[&str]) -> Option<Value> {
    let family = snapshot.families.iter().find(|family| family.metric.name == metric.name)?;
    let series =
        family.series.iter().find(|series| series.labels.iter().map(|l| &**l).eq(labels.iter().copied()));
    series.map(|series| series.value.clone())
}

#[test]
fn a_picture_sums_what_the_shards_count_of_the_same() {
    let picture = busy().snapshot();
    let count = |n| Some(Value::Count(n));
    assert_eq!(value(&picture, &names::STARTED, &[ORDERS]), count(6));
    assert_eq!(value(&picture, &names::MACHINE_OPEN, &[ORDERS]), count(2));
    assert_eq!(value(&picture, &names::THROTTLED, &[ORDERS]), count(4));
    assert_eq!(value(&picture, &names::ERRORS, &[ORDERS, "States.Timeout"]), count(2));
    assert_eq!(value(&picture, &names::STATE_ENTERED, &[ORDERS, "Pay"]), count(4));
    assert_eq!(value(&picture, &names::STATE_TIME, &[ORDERS, "Pay"]), Some(Value::Measure(0.5)));
    assert_eq!(value(&picture, &names::TARGET_TASKS, &["http", "api.example", "failed"]), count(2));
    assert_eq!(value(&picture, &names::REFUSED, &["1", "overloaded"]), count(2));
    assert_eq!(value(&picture, &names::GRPC_CALLS, &["StopExecution", "NOT_FOUND"]), count(4));
    assert_eq!(value(&picture, &names::EXPORT_OFFERED, &["history", "kafka"]), count(5));
    assert_eq!(value(&picture, &names::EXPORT_DROPPED_RECORDS, &["history", "kafka", "gave_up"]), count(7));
    assert_eq!(value(&picture, &names::RELOAD_FAILING, &["certificates"]), count(1));
    assert_eq!(value(&picture, &names::SECRET_KEYS, &["3", "opens"]), count(1));
    for (metric, labels) in [(&names::DURATION, ORDERS), (&names::STATE_DURATION, "Task")] {
        let Some(Value::Histogram(histogram)) = value(&picture, metric, &[labels]) else {
            panic!("{} is no histogram", metric.name)
        };
        assert!(histogram.count() >= 2, "{}: {histogram:?}", metric.name);
    }
}

#[test]
fn every_metric_of_the_inventory_has_series_with_the_labels_that_it_lists() {
    let picture = busy().snapshot();
    let listed: Vec<&str> = names::ALL.iter().map(|metric| metric.name).collect();
    let exposed: Vec<&str> = picture.families.iter().map(|family| family.metric.name).collect();
    assert_eq!(exposed, listed);
    for Family { metric, series } in &picture.families {
        assert!(!series.is_empty(), "{} has no series", metric.name);
        let distinct: BTreeSet<_> = series.iter().map(|series| series.labels.clone()).collect();
        assert_eq!(distinct.len(), series.len(), "{} has a series twice", metric.name);
        for series in series {
            assert_eq!(series.labels.len(), metric.labels.len(), "{}: {series:?}", metric.name);
            let distribution = matches!(series.value, Value::Histogram(_));
            assert_eq!(distribution, metric.kind == names::Kind::Histogram, "{}", metric.name);
        }
    }
}

#[test]
fn series_that_are_known_beforehand_stand_at_zero_before_the_first_event() {
    let node = NodeMetrics::new("0.0.0", 1);
    let machine = node.shard(0).expect("there is one").machine("m");
    let _ = machine.state("Pay");
    let _ = node.exporter(Signal::Spans, "otlp");
    let picture = node.snapshot();
    let zero = Some(Value::Count(0));
    for machine in ["m", OVERFLOW] {
        for metric in [&names::STARTED, &names::SUCCEEDED, &names::FAILED, &names::THROTTLED] {
            assert_eq!(value(&picture, metric, &[machine]), zero, "{} of {machine}", metric.name);
        }
    }
    assert_eq!(value(&picture, &names::STATE_FAILED, &["m", "Pay"]), zero);
    for (_, reason) in Refusal::ALL {
        assert_eq!(value(&picture, &names::REFUSED, &["0", reason]), zero, "{reason}");
    }
    for method in ["StartExecution", "Work", "Check", OVERFLOW] {
        for (_, code) in crate::GrpcCode::ALL {
            assert_eq!(value(&picture, &names::GRPC_CALLS, &[method, code]), zero, "{method} {code}");
        }
    }
    for (_, reason) in DropReason::ALL {
        assert_eq!(value(&picture, &names::EXPORT_DROPPED, &["spans", "otlp", reason]), zero, "{reason}");
    }
    for (_, kind) in StateKind::ALL {
        let none = Some(histogram(HistogramSnapshot::default()));
        assert_eq!(value(&picture, &names::STATE_DURATION, &[kind]), none, "{kind}");
    }
}

#[test]
fn machines_of_different_shards_share_the_bound_of_the_node() {
    let node = NodeMetrics::new("0.0.0", 2);
    for index in 0..2 {
        let shard = node.shard(index).expect("there are two");
        for machine in 0..MACHINES_MAX {
            shard.machine(&format!("{index}-{machine}")).started.add(1);
        }
        // Known to both.
        shard.machine("0-7").started.add(1);
    }
    let picture = node.snapshot();
    let started =
        &picture.families.iter().find(|f| f.metric.name == names::STARTED.name).expect("listed").series;
    assert_eq!(started.len(), MACHINES_MAX + 1);
    assert_eq!(value(&picture, &names::STARTED, &["0-7"]), Some(Value::Count(3)));
    assert_eq!(value(&picture, &names::STARTED, &[OVERFLOW]), Some(Value::Count(MACHINES_MAX as u64)));
    assert_eq!(value(&picture, &names::LABELS, &["machines"]), Some(Value::Count(MACHINES_MAX as u64)));
}

#[test]
fn states_are_bounded_by_machine_and_by_node_and_the_rest_is_counted_together() {
    let node = NodeMetrics::new("0.0.0", 1);
    let shard = node.shard(0).expect("there is one");
    let machines = STATES_MAX / STATES_PER_MACHINE_MAX + 2;
    for machine in 0..machines {
        let machine = shard.machine(&format!("m{machine}"));
        for state in 0..STATES_PER_MACHINE_MAX + 10 {
            machine.state(&format!("s{state}")).entered.add(1);
        }
    }
    let picture = node.snapshot();
    let entered =
        &picture.families.iter().find(|f| f.metric.name == names::STATE_ENTERED.name).expect("listed").series;
    assert_eq!(entered.len(), STATES_MAX + machines, "one more for each machine, for the rest");
    assert_eq!(value(&picture, &names::STATE_ENTERED, &["m0", OVERFLOW]), Some(Value::Count(10)));
    let all = STATES_PER_MACHINE_MAX as u64 + 10;
    let last = format!("m{}", machines - 1);
    assert_eq!(value(&picture, &names::STATE_ENTERED, &[&last, OVERFLOW]), Some(Value::Count(all)));
}

#[test]
fn both_texts_hold_every_name() {
    let node = busy();
    for form in [Form::OpenMetrics, Form::Prometheus] {
        let text = node.render(form);
        for metric in names::ALL {
            let start = format!("\n{}", metric.name);
            assert!(text.contains(&start), "{} is not in {form:?}", metric.name);
        }
    }
}
