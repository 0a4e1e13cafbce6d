//! What one scrape of a node says, as far as it is shown, and its rates since an earlier one.
//!
//! Invariants: it holds no more than the bounds of the node's labels allow (and [`SERIES_MAX`], where that is not a node);
//! counters that have begun anew count from 0. What may fail: a text that is not of a node.

use std::collections::BTreeMap;

use telemetry::inventory::{self as names, Metric};

use super::distribution::Distribution;
use super::exposition::{self, Malformed, Sample};

/// More machines, shards or targets than this are of no node.
const SERIES_MAX: usize = 10_000;

/// A node at one moment; or between two, and then its counters are rates, by the second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    pub version: String,
    /// When the process began, in seconds since the Unix epoch.
    pub began: f64,
    pub ready: bool,
    pub draining: bool,
    pub store_foreign: bool,
    pub cpu: f64,
    pub resident: f64,
    pub machines: BTreeMap<String, Machine>,
    pub shards: BTreeMap<String, Shard>,
    pub targets: BTreeMap<(String, String), Target>,
}

/// Of one machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Machine {
    pub started: f64,
    pub succeeded: f64,
    pub failed: f64,
    pub timed_out: f64,
    pub aborted: f64,
    pub throttled: f64,
    /// Now.
    pub open: f64,
    pub duration: Distribution,
}

/// Of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shard {
    pub busy: f64,
    /// Now.
    pub queue: f64,
    /// Now.
    pub open: f64,
    /// Now: 1 while the store confirms.
    pub store: f64,
    pub ack: Distribution,
    pub flush: Distribution,
}

/// Of what tasks are given to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Target {
    pub succeeded: f64,
    pub failed: f64,
    pub cancelled: f64,
    pub duration: Distribution,
}

/// Why a text is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// A line of it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Something else answers there.
    #[error("these are no metrics of a node: is this the address of its --metrics?")]
    NoNode,
    /// More than a node may have.
    #[error("more than {SERIES_MAX} series of a kind: a node has fewer")]
    TooMany,
}

type Field<T> = fn(&mut T) -> &mut f64;
type Latency<T> = fn(&mut T) -> &mut Distribution;

const MACHINE: [(Metric, Field<Machine>); 7] = [
    (names::STARTED, |m| &mut m.started),
    (names::SUCCEEDED, |m| &mut m.succeeded),
    (names::FAILED, |m| &mut m.failed),
    (names::TIMED_OUT, |m| &mut m.timed_out),
    (names::ABORTED, |m| &mut m.aborted),
    (names::THROTTLED, |m| &mut m.throttled),
    (names::MACHINE_OPEN, |m| &mut m.open),
];

const SHARD: [(Metric, Field<Shard>); 4] = [
    (names::BUSY, |s| &mut s.busy),
    (names::QUEUE_DEPTH, |s| &mut s.queue),
    (names::OPEN, |s| &mut s.open),
    (names::STORE_AVAILABLE, |s| &mut s.store),
];

const SHARD_LATENCIES: [(Metric, Latency<Shard>); 2] =
    [(names::START_ACK, |s| &mut s.ack), (names::FLUSH_LATENCY, |s| &mut s.flush)];

impl Reading {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Result<Self, Unread> {
        let mut reading = Self::default();
        for sample in exposition::samples(text) {
            reading.take(&sample?);
            if reading.machines.len().max(reading.shards.len()).max(reading.targets.len()) > SERIES_MAX {
                return Err(Unread::TooMany);
            }
        }
        if reading.version.is_empty() { Err(Unread::NoNode) } else { Ok(reading) }
    }

    fn take(&mut self, sample: &Sample<'_>) {
        let is = |metric: &Metric| metric.name == sample.name;
        let bucket = sample.name.strip_suffix("_bucket");
        let has_buckets = |metric: &Metric| bucket == Some(metric.name);
        let (value, bound) = (sample.value, sample.label("le"));
        if let Some((_, field)) = MACHINE.iter().find(|(metric, _)| is(metric)) {
            *field(of(&mut self.machines, sample.label("machine"))) = value;
        } else if has_buckets(&names::DURATION) {
            of(&mut self.machines, sample.label("machine")).duration.take(bound, value);
        } else if let Some((_, field)) = SHARD.iter().find(|(metric, _)| is(metric)) {
            *field(of(&mut self.shards, sample.label("shard"))) = value;
        } else if let Some((_, latency)) = SHARD_LATENCIES.iter().find(|(metric, _)| has_buckets(metric)) {
            latency(of(&mut self.shards, sample.label("shard"))).take(bound, value);
        } else if is(&names::TARGET_TASKS) {
            let target = self.target(sample);
            match sample.label("outcome") {
                "succeeded" => target.succeeded = value,
                "failed" => target.failed = value,
                "cancelled" => target.cancelled = value,
                _ => {}
            }
        } else if has_buckets(&names::TARGET_DURATION) {
            self.target(sample).duration.take(bound, value);
        } else {
            self.take_of_node(sample);
        }
    }

    fn take_of_node(&mut self, sample: &Sample<'_>) {
        let is = |metric: &Metric| metric.name == sample.name;
        let value = sample.value;
        if is(&names::BUILD) {
            sample.label("version").clone_into(&mut self.version);
        } else if is(&names::READY) {
            self.ready = value > 0.0;
        } else if is(&names::DRAINING) {
            self.draining = value > 0.0;
        } else if is(&names::STORE_FOREIGN) {
            self.store_foreign = value > 0.0;
        } else if is(&names::PROCESS_CPU) {
            self.cpu = value;
        } else if is(&names::PROCESS_RSS) {
            self.resident = value;
        } else if is(&names::PROCESS_START) {
            self.began = value;
        }
    }

    fn target(&mut self, sample: &Sample<'_>) -> &mut Target {
        let key = (sample.label("integration").to_owned(), sample.label("target").to_owned());
        self.targets.entry(key).or_default()
    }

    /// Rates since an earlier reading of the same address, so many seconds before; what is true now stays as it is.
    pub(super) fn since(&self, earlier: &Self, seconds: f64) -> Self {
        // Another process counts from 0.
        let nothing = Self::default();
        let earlier = if self.restarted_since(earlier) { &nothing } else { earlier };
        Self {
            cpu: rate(self.cpu, earlier.cpu, seconds),
            machines: each(&self.machines, &earlier.machines, seconds, Machine::since),
            shards: each(&self.shards, &earlier.shards, seconds, Shard::since),
            targets: each(&self.targets, &earlier.targets, seconds, Target::since),
            ..self.clone()
        }
    }

    /// The start is computed from the clock's ticks and may differ by a little.
    fn restarted_since(&self, earlier: &Self) -> bool {
        (self.began - earlier.began).abs() > 1.5 || self.cpu < earlier.cpu
    }
}

fn of<'a, T: Default>(series: &'a mut BTreeMap<String, T>, label: &str) -> &'a mut T {
    series.entry(label.to_owned()).or_default()
}

fn each<K: Ord + Clone, T: Default>(
    now: &BTreeMap<K, T>,
    earlier: &BTreeMap<K, T>,
    seconds: f64,
    since: fn(&T, &T, f64) -> T,
) -> BTreeMap<K, T> {
    let nothing = T::default();
    let since = |key, now| since(now, earlier.get(key).unwrap_or(&nothing), seconds);
    now.iter().map(|(key, now)| (key.clone(), since(key, now))).collect()
}

/// How fast a counter has grown; one that is lower than before has begun anew.
fn rate(now: f64, earlier: f64, seconds: f64) -> f64 {
    let grown = if now < earlier { now } else { now - earlier };
    grown / seconds
}

impl Machine {
    fn since(&self, earlier: &Self, seconds: f64) -> Self {
        Self {
            started: rate(self.started, earlier.started, seconds),
            succeeded: rate(self.succeeded, earlier.succeeded, seconds),
            failed: rate(self.failed, earlier.failed, seconds),
            timed_out: rate(self.timed_out, earlier.timed_out, seconds),
            aborted: rate(self.aborted, earlier.aborted, seconds),
            throttled: rate(self.throttled, earlier.throttled, seconds),
            open: self.open,
            duration: self.duration.since(&earlier.duration),
        }
    }

    /// Adds what another node says of the same machine.
    pub(super) fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.aborted += other.aborted;
        self.throttled += other.throttled;
        self.open += other.open;
        self.duration.add(&other.duration);
    }
}

impl Shard {
    fn since(&self, earlier: &Self, seconds: f64) -> Self {
        Self {
            busy: rate(self.busy, earlier.busy, seconds),
            ack: self.ack.since(&earlier.ack),
            flush: self.flush.since(&earlier.flush),
            ..*self
        }
    }
}

impl Target {
    fn since(&self, earlier: &Self, seconds: f64) -> Self {
        Self {
            succeeded: rate(self.succeeded, earlier.succeeded, seconds),
            failed: rate(self.failed, earlier.failed, seconds),
            cancelled: rate(self.cancelled, earlier.cancelled, seconds),
            duration: self.duration.since(&earlier.duration),
        }
    }

    /// Adds what another node says of the same target.
    pub(super) fn add(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.duration.add(&other.duration);
    }
}
