//! The families of a snapshot, from the cells of a node.
//!
//! Cells of several shards with the same labels are one series. Every combination of labels that is known beforehand is there
//! from the beginning, at zero: all reasons, outcomes and types, and the overflow of machines. Those of a machine, a state, an
//! error and a target begin with the cells.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cells::{Counter, Gauge, Histogram, HistogramSnapshot};
use crate::credentials::CredentialFailure;
use crate::export::{DropReason, ExportMetrics};
use crate::grpc::{GrpcCode, MethodMetrics};
use crate::inventory::{self as names, Metric};
use crate::labels::{Label, OVERFLOW};
use crate::limit;
use crate::machine::{MachineMetrics, StateKind, StateMetrics, TargetMetrics};
use crate::node::{Exporter, Node};
use crate::process::Process;
use crate::reasons::{CallKind, Refusal, StoreFailure};
use crate::shard::ShardMetrics;
use crate::snapshot::{Family, Series, Value};

mod shards;

/// Families in the making.
pub(crate) struct Picture(pub(crate) Vec<Family>);

/// The families of a node, in the order of the inventory.
pub(crate) fn of(node: &Node) -> Vec<Family> {
    let mut picture = Picture::new(names::ALL);
    picture.machines(node);
    picture.states(node);
    picture.targets(node);
    picture.shards(node);
    picture.grpc(node);
    picture.credentials(node);
    picture.exporters(&node.exporters());
    picture.node(node);
    picture.files(node);
    picture.process();
    picture.0
}

fn label(text: &str) -> Label {
    text.into()
}

fn histogram(snapshot: HistogramSnapshot) -> Value {
    Value::Histogram(Box::new(snapshot))
}

/// The observations of several shards.
fn merged<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Value {
    let mut sum = HistogramSnapshot::default();
    histograms.for_each(|cells| sum.merge(&cells.snapshot()));
    histogram(sum)
}

fn seconds(us: u64) -> Value {
    Value::Measure(Duration::from_micros(us).as_secs_f64())
}

fn flag(set: bool) -> Value {
    Value::Count(u64::from(set))
}

/// A cell among those of a thing.
type Cell<C, T> = fn(&C) -> &T;

/// Cells that count the same, one for each shard.
type Same<C> = Vec<Arc<C>>;

fn sum<C>(cells: &Same<C>, cell: impl Fn(&C) -> &Counter) -> u64 {
    cells.iter().map(|cells| cell(cells).get()).sum()
}

impl Picture {
    /// Of these metrics, without series.
    pub(crate) fn new(metrics: impl IntoIterator<Item = &'static Metric>) -> Self {
        Self(metrics.into_iter().map(|metric| Family { metric, series: Vec::new() }).collect())
    }

    /// Adds the series of a metric.
    pub(crate) fn put(&mut self, metric: &Metric, series: impl IntoIterator<Item = (Vec<Label>, Value)>) {
        if let Some(family) = self.0.iter_mut().find(|family| family.metric.name == metric.name) {
            family.series.extend(series.into_iter().map(|(labels, value)| Series { labels, value }));
        }
    }

    /// The one series of a metric without labels.
    pub(crate) fn put_one(&mut self, metric: &Metric, value: Value) {
        self.put(metric, [(Vec::new(), value)]);
    }

    fn machines(&mut self, node: &Node) {
        let mut machines = BTreeMap::<Label, Same<MachineMetrics>>::new();
        machines.entry(label(OVERFLOW)).or_default();
        for (machine, cells) in node.shards.iter().flat_map(|shard| shard.machines()) {
            machines.entry(machine).or_default().push(cells);
        }
        let counters: [(Metric, Cell<MachineMetrics, Counter>); 6] = [
            (names::STARTED, |m| &m.started),
            (names::SUCCEEDED, |m| &m.succeeded),
            (names::FAILED, |m| &m.failed),
            (names::TIMED_OUT, |m| &m.timed_out),
            (names::ABORTED, |m| &m.aborted),
            (names::THROTTLED, |m| &m.throttled),
        ];
        for (metric, cell) in counters {
            let count = |cells| Value::Count(sum(cells, cell));
            self.put(&metric, machines.iter().map(|(machine, cells)| (vec![machine.clone()], count(cells))));
        }
        let open = |cells: &Same<MachineMetrics>| cells.iter().map(|cells| cells.open.get()).sum();
        let series =
            machines.iter().map(|(machine, cells)| (vec![machine.clone()], Value::Count(open(cells))));
        self.put(&names::MACHINE_OPEN, series);
        let duration = |cells: &Same<MachineMetrics>| merged(cells.iter().map(|cells| &cells.duration));
        let series = machines.iter().map(|(machine, cells)| (vec![machine.clone()], duration(cells)));
        self.put(&names::DURATION, series);
        let mut errors = BTreeMap::<(Label, Label), u64>::new();
        for (machine, cells) in &machines {
            for (error, count) in cells.iter().flat_map(|cells| cells.errors()) {
                *errors.entry((machine.clone(), error)).or_default() += count.get();
            }
        }
        let series = errors.into_iter().map(|((machine, error), n)| (vec![machine, error], Value::Count(n)));
        self.put(&names::ERRORS, series);
    }

    fn states(&mut self, node: &Node) {
        let mut states = BTreeMap::<(Label, Label), Same<StateMetrics>>::new();
        for (machine, cells) in node.shards.iter().flat_map(|shard| shard.machines()) {
            for (state, cells) in cells.states() {
                states.entry((machine.clone(), state)).or_default().push(cells);
            }
        }
        let labels = |(machine, state): &(Label, Label)| vec![machine.clone(), state.clone()];
        let counters: [(Metric, Cell<StateMetrics, Counter>); 6] = [
            (names::STATE_ENTERED, |s| &s.entered),
            (names::STATE_EXITED, |s| &s.exited),
            (names::STATE_FAILED, |s| &s.failed),
            (names::STATE_ABORTED, |s| &s.aborted),
            (names::STATE_CAUGHT, |s| &s.caught),
            (names::STATE_RETRIED, |s| &s.retried),
        ];
        for (metric, cell) in counters {
            let count = |cells| Value::Count(sum(cells, cell));
            self.put(&metric, states.iter().map(|(state, cells)| (labels(state), count(cells))));
        }
        let time = |cells| seconds(sum(cells, |s: &StateMetrics| &s.time_us));
        self.put(&names::STATE_TIME, states.iter().map(|(state, cells)| (labels(state), time(cells))));
        let types = StateKind::ALL.iter().map(|(kind, text)| {
            let cells = node.shards.iter().map(|shard| &shard.state_duration[*kind as usize]);
            (vec![label(text)], merged(cells))
        });
        self.put(&names::STATE_DURATION, types);
    }

    fn targets(&mut self, node: &Node) {
        let mut targets = BTreeMap::<(&'static str, Label), Same<TargetMetrics>>::new();
        for (target, cells) in node.shards.iter().flat_map(|shard| shard.targets()) {
            targets.entry(target).or_default().push(cells);
        }
        let outcomes: [(&str, Cell<TargetMetrics, Counter>); 3] =
            [("succeeded", |t| &t.succeeded), ("failed", |t| &t.failed), ("cancelled", |t| &t.cancelled)];
        for ((integration, target), cells) in &targets {
            let labels = vec![label(integration), target.clone()];
            let series = outcomes.iter().map(|(outcome, cell)| {
                let outcome = iter::once(label(outcome));
                (labels.iter().cloned().chain(outcome).collect(), Value::Count(sum(cells, cell)))
            });
            self.put(&names::TARGET_TASKS, series);
            let duration = merged(cells.iter().map(|cells| &cells.latency));
            self.put(&names::TARGET_DURATION, [(labels, duration)]);
        }
    }

    fn grpc(&mut self, node: &Node) {
        let mut methods = BTreeMap::<&'static str, Same<MethodMetrics>>::new();
        let ports = iter::once(&node.grpc).chain(node.shards.iter().map(|shard| &shard.grpc));
        for (method, cells) in ports.flat_map(|port| port.all()) {
            methods.entry(method).or_default().push(Arc::clone(cells));
        }
        for (method, cells) in &methods {
            let method = label(method);
            let codes = GrpcCode::ALL.iter().map(|(code, text)| {
                let count = sum(cells, |method| &method.calls[*code as usize]);
                (vec![method.clone(), label(text)], Value::Count(count))
            });
            self.put(&names::GRPC_CALLS, codes);
            let under_way = cells.iter().map(|method| method.under_way.get()).sum();
            self.put(&names::GRPC_UNDER_WAY, [(vec![method.clone()], Value::Count(under_way))]);
            let duration = merged(cells.iter().map(|method| &method.latency));
            self.put(&names::GRPC_DURATION, [(vec![method], duration)]);
        }
    }

    fn credentials(&mut self, node: &Node) {
        let cells = &node.credentials;
        self.put_one(&names::CREDENTIALS_FETCHED, Value::Count(cells.fetched.get()));
        let failures = CredentialFailure::ALL
            .iter()
            .map(|(reason, text)| (vec![label(text)], Value::Count(cells.failures[*reason as usize].get())));
        self.put(&names::CREDENTIALS_FAILURES, failures);
        self.put_one(&names::CREDENTIALS_LATENCY, histogram(cells.fetch_latency.snapshot()));
        self.put_one(&names::CREDENTIALS_ENTRIES, Value::Count(cells.entries.get()));
        self.put_one(&names::CREDENTIALS_OLDEST, seconds(cells.oldest_age_ms.get().saturating_mul(1_000)));
    }

    fn exporters(&mut self, exporters: &[Exporter]) {
        type Count = fn(&ExportMetrics) -> u64;
        let counts: [(Metric, Count); 8] = [
            (names::EXPORT_OFFERED, ExportMetrics::offered),
            (names::EXPORT_ITEMS, |e| e.items.get()),
            (names::EXPORT_RECORDS, |e| e.records.get()),
            (names::EXPORT_BYTES, |e| e.bytes.get()),
            (names::EXPORT_RETRIES, |e| e.retries.get()),
            (names::EXPORT_FAILURES, |e| e.failures.get()),
            (names::EXPORT_QUEUE, |e| e.queue_items.get()),
            (names::EXPORT_QUEUE_BYTES, |e| e.queue_bytes.get()),
        ];
        for Exporter { signal, sink, cells } in exporters {
            let labels = vec![label(signal.as_str()), label(sink)];
            for (metric, cell) in counts {
                self.put(&metric, [(labels.clone(), Value::Count(cell(cells)))]);
            }
            for (reason, text) in DropReason::ALL {
                let labels: Vec<Label> = labels.iter().cloned().chain([label(text)]).collect();
                let (items, records) = cells.dropped_for(reason);
                self.put(&names::EXPORT_DROPPED, [(labels.clone(), Value::Count(items))]);
                self.put(&names::EXPORT_DROPPED_RECORDS, [(labels, Value::Count(records))]);
            }
            let lag = seconds(cells.lag_ms.get().saturating_mul(1_000));
            self.put(&names::EXPORT_LAG, [(labels.clone(), lag)]);
            self.put(&names::EXPORT_LATENCY, [(labels, histogram(cells.latency.snapshot()))]);
        }
    }

    fn node(&mut self, node: &Node) {
        let draining = node.draining.get().map(|since| since.elapsed());
        self.put_one(&names::READY, flag(node.ready.load(Ordering::Relaxed)));
        self.put_one(&names::DRAINING, flag(draining.is_some()));
        self.put_one(&names::DRAIN_TIME, Value::Measure(draining.unwrap_or_default().as_secs_f64()));
        self.put_one(&names::STORE_FOREIGN, flag(node.store_foreign.load(Ordering::Relaxed)));
        let polls = node.activity_polls.load(Ordering::Relaxed);
        self.put_one(&names::ACTIVITY_POLLS, Value::Count(polls));
        let removed = &node.removed_files;
        self.put_one(&names::EXPORT_FILES_REMOVED, Value::Count(removed.files.get()));
        self.put_one(&names::EXPORT_FILE_BYTES_REMOVED, Value::Count(removed.bytes.get()));
        self.put(&names::BUILD, [(vec![label(node.version)], Value::Count(1))]);
        for (set, used, limit) in node.labels.used() {
            self.put(&names::LABELS, [(vec![label(set)], Value::Count(used as u64))]);
            self.put(&names::LABELS_LIMIT, [(vec![label(set)], Value::Count(limit as u64))]);
        }
    }

    /// What is read from files that may be replaced, and from the store's configuration.
    fn files(&mut self, node: &Node) {
        let reloads = node.reloads().into_iter().map(|(what, failing)| (vec![label(what)], flag(failing)));
        self.put(&names::RELOAD_FAILING, reloads);
        let keys = node.secret_keys().into_iter().enumerate().map(|(place, id)| {
            let what = if place == 0 { "seals" } else { "opens" };
            (vec![label(&id.to_string()), label(what)], Value::Count(1))
        });
        self.put(&names::SECRET_KEYS, keys);
        let (store, settings) = node.durability();
        let settings = settings
            .iter()
            .map(|(setting, value)| (vec![label(&store), label(setting), label(value)], Value::Count(1)));
        self.put(&names::DURABILITY, settings);
    }

    /// What the process's log has held back, where there is a place for it, and what the kernel knows of the process.
    pub(crate) fn process(&mut self) {
        let lines = limit::suppressed().map(|(level, lines)| (vec![label(level)], Value::Count(lines)));
        self.put(&names::LOG_SUPPRESSED, lines);
        let process = Process::read();
        self.put_one(&names::PROCESS_CPU, Value::Measure(process.cpu_seconds));
        self.put_one(&names::PROCESS_RSS, Value::Count(process.resident_bytes));
        self.put_one(&names::PROCESS_START, Value::Measure(process.start_seconds));
        self.put_one(&names::PROCESS_FDS_MAX, Value::Count(process.max_fds));
        self.put_one(&names::PROCESS_FDS, Value::Count(process.open_fds));
    }
}

#[cfg(test)]
mod tests;
