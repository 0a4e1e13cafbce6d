//! The text that Prometheus scrapes: every shard's cells, merged now.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::cells::{Counter, Gauge, Histogram, HistogramSnapshot, LATENCY_BUCKETS_US};
use crate::credentials::{CredentialFailure, CredentialMetrics};
use crate::export::{ExportMetrics, Signal};
use crate::inventory::{self as names, Kind, Metric};
use crate::labels::Labels as Bounds;
use crate::machine::MachineMetrics;
use crate::process::Process;
use crate::reasons::{CallKind, CallMetrics, Refusal, StoreFailure};
use crate::shard::ShardMetrics;

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// All that a node exposes.
#[derive(Debug, Clone)]
pub struct NodeMetrics(Arc<Node>);

#[derive(Debug)]
struct Node {
    version: &'static str,
    shards: Vec<Arc<ShardMetrics>>,
    credentials: Arc<CredentialMetrics>,
    exporters: RwLock<Vec<(Signal, &'static str, Arc<ExportMetrics>)>>,
    activity_polls: Arc<AtomicU64>,
    ready: AtomicBool,
    store_foreign: AtomicBool,
    /// Files that may be replaced, and whether that failed last.
    reloads: RwLock<Vec<(&'static str, Arc<AtomicBool>)>>,
    /// Ids of the keys of the secret, the one that seals first.
    secret_keys: RwLock<Vec<u8>>,
    durability: RwLock<(String, Vec<(&'static str, String)>)>,
}

impl NodeMetrics {
    /// For a node of this version with so many shards.
    #[must_use]
    pub fn new(version: &'static str, shards: usize) -> Self {
        let bounds = Arc::<Bounds>::default();
        let shards = (0..shards).map(|_| Arc::new(ShardMetrics::new(&bounds))).collect();
        Self(Arc::new(Node {
            version,
            shards,
            credentials: Arc::default(),
            exporters: RwLock::default(),
            activity_polls: Arc::default(),
            ready: AtomicBool::new(false),
            store_foreign: AtomicBool::new(false),
            reloads: RwLock::default(),
            secret_keys: RwLock::default(),
            durability: RwLock::default(),
        }))
    }

    /// The cells of a shard; it alone may write them.
    #[must_use]
    pub fn shard(&self, index: usize) -> Option<Arc<ShardMetrics>> {
        self.0.shards.get(index).map(Arc::clone)
    }

    /// The cells of the node's cache of credentials; it alone may write them, under its lock.
    #[must_use]
    pub fn credentials(&self) -> Arc<CredentialMetrics> {
        Arc::clone(&self.0.credentials)
    }

    /// The cells of an exporter, by what it sends and the kind of its sink (`file`, `cls`, `kafka`, `otlp`, …); one with the same
    /// names has the same cells.
    #[must_use]
    pub fn exporter(&self, signal: Signal, sink: &'static str) -> Arc<ExportMetrics> {
        let mut exporters = self.0.exporters.write().unwrap_or_else(PoisonError::into_inner);
        let known = exporters.iter().find(|(of, to, _)| (*of, *to) == (signal, sink));
        if let Some((.., cells)) = known {
            return Arc::clone(cells);
        }
        let cells = Arc::<ExportMetrics>::default();
        exporters.push((signal, sink, Arc::clone(&cells)));
        cells
    }

    /// Calls that wait for a task of an activity, as whoever takes them counts.
    #[must_use]
    pub fn activity_polls(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.activity_polls)
    }

    /// Whether the node is SERVING.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether the store that answers is not the one of the node's cluster.
    pub fn set_store_foreign(&self, foreign: bool) {
        self.0.store_foreign.store(foreign, Ordering::Relaxed);
    }

    /// Something that is read again while the node runs, and whether that fails.
    pub fn add_reload(&self, what: &'static str, failing: Arc<AtomicBool>) {
        self.0.reloads.write().unwrap_or_else(PoisonError::into_inner).push((what, failing));
    }

    /// The ids of the keys of the cluster's secret, the one that seals first.
    pub fn set_secret_keys(&self, ids: Vec<u8>) {
        *self.0.secret_keys.write().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// The store's kind, and the settings that decide what an acknowledgement is worth.
    pub fn set_durability(&self, store: &str, settings: Vec<(&'static str, String)>) {
        *self.0.durability.write().unwrap_or_else(PoisonError::into_inner) = (store.to_owned(), settings);
    }

    /// The exposition of this moment, as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// Never, as long as `String` can grow.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Writes one metric's samples; families are merged before, so that each name is described once.
struct Family<'a>(MetricEncoder<'a>);

impl<'a> Family<'a> {
    fn begin<'b: 'a>(encoder: &'a mut DescriptorEncoder<'b>, metric: &Metric) -> Result<Self, fmt::Error> {
        let kind = match metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        let name = metric.name.trim_end_matches("_total").trim_end_matches("_info");
        Ok(Self(encoder.encode_descriptor(name, metric.help, None, kind)?))
    }

    fn counter(&mut self, labels: &Labels, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn seconds(&mut self, labels: &Labels, value: f64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn gauge(&mut self, labels: &Labels, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn ratio(&mut self, labels: &Labels, value: f64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }

    fn histogram(&mut self, labels: &Labels, value: &HistogramSnapshot) -> fmt::Result {
        let bounds = LATENCY_BUCKETS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(value.buckets).collect();
        let sum = value.sum_us as f64 / 1e6;
        self.0.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, value.count(), &buckets, None)
    }
}

/// One machine, summed over shards.
#[derive(Default)]
struct Machine {
    counters: [u64; 5],
    duration: HistogramSnapshot,
}

impl Machine {
    fn add(&mut self, cells: &MachineMetrics) {
        let MachineMetrics { started, succeeded, failed, timed_out, aborted, duration, .. } = cells;
        for (sum, cell) in self.counters.iter_mut().zip([started, succeeded, failed, timed_out, aborted]) {
            *sum += cell.get();
        }
        self.duration.merge(&duration.snapshot());
    }
}

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.0.encode_machines(&mut encoder)?;
        self.0.encode_shards(&mut encoder)?;
        self.0.encode_labelled(&mut encoder)?;
        self.0.encode_calls(&mut encoder)?;
        self.0.encode_credentials(&mut encoder)?;
        self.0.encode_node(&mut encoder)
    }
}

impl Node {
    fn encode_machines(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut machines = BTreeMap::<crate::labels::Label, Machine>::new();
        for (name, cells) in self.shards.iter().flat_map(|shard| shard.machines()) {
            machines.entry(name).or_default().add(&cells);
        }
        let counters = [names::STARTED, names::SUCCEEDED, names::FAILED, names::TIMED_OUT, names::ABORTED];
        for (index, metric) in counters.iter().enumerate() {
            let mut family = Family::begin(encoder, metric)?;
            for (name, machine) in &machines {
                family.counter(&vec![("machine", name)], machine.counters[index])?;
            }
        }
        let mut family = Family::begin(encoder, &names::DURATION)?;
        for (name, machine) in &machines {
            family.histogram(&vec![("machine", name)], &machine.duration)?;
        }
        Ok(())
    }

    /// For each shard under its number.
    fn each_shard(
        &self,
        encoder: &mut DescriptorEncoder,
        metric: &Metric,
        write: impl Fn(&mut Family, &Labels, &ShardMetrics) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = Family::begin(encoder, metric)?;
        for (index, shard) in self.shards.iter().enumerate() {
            write(&mut family, &vec![("shard", &index.to_string())], shard)?;
        }
        Ok(())
    }

    fn encode_shards(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        type Cell<T> = fn(&ShardMetrics) -> &T;
        let histograms: [(Metric, Cell<Histogram>); 2] =
            [(names::START_ACK, |s| &s.start_ack), (names::FLUSH_LATENCY, |s| &s.flush_latency)];
        let gauges: [(Metric, Cell<Gauge>); 10] = [
            (names::CALLS_UNDER_WAY, |s| &s.calls_under_way),
            (names::OPEN, |s| &s.open),
            (names::QUEUE_DEPTH, |s| &s.queue_depth),
            (names::TIMERS, |s| &s.timers),
            (names::TASKS_WAITING, |s| &s.tasks_waiting),
            (names::ACTIVITY_TASKS_WAITING, |s| &s.activity_tasks_waiting),
            (names::WORKERS, |s| &s.workers),
            (names::STORE_PENDING, |s| &s.store_pending),
            (names::STORE_AVAILABLE, |s| &s.store_available),
            (names::PARTITIONS_OWNED, |s| &s.partitions_owned),
        ];
        let counters: [(Metric, Cell<Counter>); 31] = [
            (names::DUPLICATES, |s| &s.duplicates),
            (names::COMMANDS, |s| &s.commands),
            (names::STEPS, |s| &s.steps),
            (names::TASKS_SCHEDULED, |s| &s.tasks_scheduled),
            (names::TASKS_SUCCEEDED, |s| &s.tasks_succeeded),
            (names::TASKS_FAILED, |s| &s.tasks_failed),
            (names::OBJECTS_READ, |s| &s.objects_read),
            (names::OBJECTS_WRITTEN, |s| &s.objects_written),
            (names::OBJECTS_FAILED, |s| &s.objects_failed),
            (names::FLUSHES, |s| &s.flushes),
            (names::FLUSH_RECORDS, |s| &s.flush_records),
            (names::FLUSH_BYTES, |s| &s.flush_bytes),
            (names::BLOCKS_RESENT, |s| &s.blocks_resent),
            (names::BLOCKS_LOST, |s| &s.blocks_lost),
            (names::RECOVERED, |s| &s.recovered),
            (names::PARTITIONS_LOST, |s| &s.partitions_lost),
            (names::RECOVERY_BLOCKS, |s| &s.recovery_blocks),
            (names::CHECKPOINTS, |s| &s.checkpoints),
            (names::CHECKPOINT_BYTES, |s| &s.checkpoint_bytes),
            (names::CARRIED, |s| &s.carried),
            (names::NOT_CARRIED, |s| &s.not_carried),
            (names::ARCHIVED, |s| &s.archived_executions),
            (names::ARCHIVED_BYTES, |s| &s.archived_bytes),
            (names::ARCHIVE_FAILURES, |s| &s.archive_failures),
            (names::ARCHIVE_EXPIRED, |s| &s.archive_expired),
            (names::REDRIVEN, |s| &s.redriven),
            (names::POISONED, |s| &s.poisoned),
            (names::OUTCOMES_RETURNED, |s| &s.outcomes_returned),
            (names::BROKEN, |s| &s.broken),
            (names::DERIVED_DROPPED, |s| &s.derived_dropped),
            (names::COMPLETIONS_DROPPED, |s| &s.completions_dropped),
        ];
        for (metric, cell) in histograms {
            self.each_shard(encoder, &metric, |f, labels, shard| {
                f.histogram(labels, &cell(shard).snapshot())
            })?;
        }
        for (metric, cell) in gauges {
            self.each_shard(encoder, &metric, |f, labels, shard| f.gauge(labels, cell(shard).get()))?;
        }
        for (metric, cell) in counters {
            self.each_shard(encoder, &metric, |f, labels, shard| f.counter(labels, cell(shard).get()))?;
        }
        self.each_shard(encoder, &names::BUSY, |f, labels, s| {
            f.seconds(labels, s.busy_us.get() as f64 / 1e6)
        })?;
        self.each_shard(encoder, &names::ARCHIVE_OVERDUE, |f, labels, s| {
            f.ratio(labels, s.archive_overdue_ms.get() as f64 / 1e3)
        })?;
        self.each_shard(encoder, &names::RECOVERY_TIME, |f, labels, s| {
            f.ratio(labels, s.recovery_ms.get() as f64 / 1e3)
        })
    }

    /// Metrics with a second label besides the shard.
    fn encode_labelled(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let with = |labels: &Labels<'_>, name: &'static str, value: &'static str| {
            [(labels[0].0.to_owned(), labels[0].1.to_owned()), (name.to_owned(), value.to_owned())]
        };
        self.each_shard(encoder, &names::REFUSED, |family, labels, shard| {
            Refusal::ALL.iter().try_for_each(|(reason, text)| {
                let [a, b] = with(labels, "reason", text);
                family.counter(&vec![(&a.0, &a.1), (&b.0, &b.1)], shard.refused[*reason as usize].get())
            })
        })?;
        self.each_shard(encoder, &names::STORE_ERRORS, |family, labels, shard| {
            StoreFailure::ALL.iter().try_for_each(|(kind, text)| {
                let [a, b] = with(labels, "kind", text);
                family.counter(&vec![(&a.0, &a.1), (&b.0, &b.1)], shard.store_errors[*kind as usize].get())
            })
        })?;
        let permits = |family: &mut Family, labels: &Labels, count: u64, bytes: u64| {
            [("count", count), ("bytes", bytes)].iter().try_for_each(|(resource, value)| {
                family.gauge(&vec![labels[0], ("resource", resource)], *value)
            })
        };
        self.each_shard(encoder, &names::PERMITS_USED, |f, labels, s| {
            permits(f, labels, s.permits_used_count.get(), s.permits_used_bytes.get())
        })?;
        self.each_shard(encoder, &names::PERMITS_LIMIT, |f, labels, s| {
            permits(f, labels, s.permits_limit_count.get(), s.permits_limit_bytes.get())
        })
    }

    fn encode_calls(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        self.each_shard(encoder, &names::CALLS, |family, labels, shard| {
            CallKind::ALL.iter().zip(&shard.calls).try_for_each(|((_, integration), cells)| {
                let CallMetrics { answered, failed, cancelled, .. } = cells;
                [("answered", answered), ("failed", failed), ("cancelled", cancelled)].iter().try_for_each(
                    |(outcome, cell)| {
                        let labels = vec![labels[0], ("integration", *integration), ("outcome", *outcome)];
                        family.counter(&labels, cell.get())
                    },
                )
            })
        })?;
        self.each_shard(encoder, &names::CALL_LATENCY, |family, labels, shard| {
            CallKind::ALL.iter().zip(&shard.calls).try_for_each(|((_, integration), cells)| {
                family.histogram(&vec![labels[0], ("integration", *integration)], &cells.latency.snapshot())
            })
        })
    }

    fn encode_credentials(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        self.each_shard(encoder, &names::CREDENTIALS_HITS, |f, labels, s| {
            f.counter(labels, s.credentials_hits.get())
        })?;
        self.each_shard(encoder, &names::CREDENTIALS_MISSES, |f, labels, s| {
            f.counter(labels, s.credentials_misses.get())
        })?;
        let cells = &self.credentials;
        let none = Vec::new();
        let count = cells.fetched.get();
        Family::begin(encoder, &names::CREDENTIALS_FETCHED)?.counter(&none, count)?;
        let mut failures = Family::begin(encoder, &names::CREDENTIALS_FAILURES)?;
        for (reason, text) in CredentialFailure::ALL {
            failures.counter(&vec![("reason", text)], cells.failures[reason as usize].get())?;
        }
        let latency = cells.fetch_latency.snapshot();
        Family::begin(encoder, &names::CREDENTIALS_LATENCY)?.histogram(&none, &latency)?;
        Family::begin(encoder, &names::CREDENTIALS_ENTRIES)?.gauge(&none, cells.entries.get())?;
        let age = cells.oldest_age_ms.get() as f64 / 1e3;
        Family::begin(encoder, &names::CREDENTIALS_OLDEST)?.ratio(&none, age)
    }

    fn encode_node(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let ready = u64::from(self.ready.load(Ordering::Relaxed));
        Family::begin(encoder, &names::READY)?.0.encode_gauge(&(ready as i64))?;
        let polls = i64::try_from(self.activity_polls.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        Family::begin(encoder, &names::ACTIVITY_POLLS)?.0.encode_gauge(&polls)?;
        Family::begin(encoder, &names::BUILD)?.0.encode_info(&[("version", self.version)])?;
        let foreign = u64::from(self.store_foreign.load(Ordering::Relaxed));
        Family::begin(encoder, &names::STORE_FOREIGN)?.0.encode_gauge(&(foreign as i64))?;
        self.encode_files(encoder)?;
        {
            let durability = self.durability.read().unwrap_or_else(PoisonError::into_inner);
            let mut family = Family::begin(encoder, &names::DURABILITY)?;
            for (setting, value) in &durability.1 {
                let labels =
                    [("store", durability.0.as_str()), ("setting", *setting), ("value", value.as_str())];
                family.0.encode_info(&labels)?;
            }
        }
        let process = Process::read();
        Family::begin(encoder, &names::PROCESS_CPU)?
            .0
            .encode_counter::<NoLabelSet, _, f64>(&process.cpu_seconds, None)?;
        let resident = i64::try_from(process.resident_bytes).unwrap_or(i64::MAX);
        Family::begin(encoder, &names::PROCESS_RSS)?.0.encode_gauge(&resident)?;
        let fds = i64::try_from(process.open_fds).unwrap_or(i64::MAX);
        Family::begin(encoder, &names::PROCESS_FDS)?.0.encode_gauge(&fds)
    }
}

impl Node {
    /// What is read from files that may be replaced.
    fn encode_files(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let reloads = self.reloads.read().unwrap_or_else(PoisonError::into_inner);
        let mut family = Family::begin(encoder, &names::RELOAD_FAILING)?;
        for (what, failing) in &*reloads {
            family.gauge(&vec![("what", *what)], u64::from(failing.load(Ordering::Relaxed)))?;
        }
        drop(reloads);
        let keys = self.secret_keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut family = Family::begin(encoder, &names::SECRET_KEYS)?;
        for (place, id) in keys.iter().enumerate() {
            let labels =
                [("id", id.to_string()), ("use", if place == 0 { "seals" } else { "opens" }.to_owned())];
            family.0.encode_info(&labels)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed() -> String {
        let node = NodeMetrics::new("0.0.0", 2);
        for index in 0..2 {
            let shard = node.shard(index).expect("there are two");
            let machine = shard.machine("arn:aws:states:r:a:stateMachine:orders");
            machine.started.add(3);
            machine.duration.observe_n(1_500, 3);
            shard.refuse(Refusal::Overloaded, 2);
        }
        node.set_durability("redis", vec![("appendfsync", "always".to_owned())]);
        node.add_reload("certificates", Arc::new(AtomicBool::new(true)));
        node.set_secret_keys(vec![7, 3]);
        node.render().expect("strings grow")
    }

    #[test]
    fn a_scrape_sums_the_shards_of_a_machine() {
        let text = exposed();
        let started =
            r#"executor_executions_started_total{machine="arn:aws:states:r:a:stateMachine:orders"} 6"#;
        assert!(text.contains(started), "{text}");
        assert!(text.contains(r#"le="0.002""#), "{text}");
        assert!(text.contains(r#"executor_starts_refused_total{shard="1",reason="overloaded"} 2"#), "{text}");
        assert!(text.contains(r#"executor_store_durability_info{store="redis""#), "{text}");
        assert!(text.contains(r#"executor_reload_failing{what="certificates"} 1"#), "{text}");
        for (id, what) in [("7", "seals"), ("3", "opens")] {
            assert!(
                text.contains(&format!(r#"executor_secret_key_info{{id="{id}",use="{what}"}} 1"#)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_exposed_is_what_the_inventory_lists() {
        let text = exposed();
        let described: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| match line.split_once(' ') {
                Some((name, "counter")) => format!("{name}_total"),
                Some((name, "info")) => format!("{name}_info"),
                Some((name, _)) => name.to_owned(),
                None => line.to_owned(),
            })
            .collect();
        let mut listed: Vec<&str> = names::ALL.iter().map(|metric| metric.name).collect();
        let mut exposed: Vec<&str> = described.iter().map(String::as_str).collect();
        listed.sort_unstable();
        exposed.sort_unstable();
        assert_eq!(exposed, listed);
    }
}
