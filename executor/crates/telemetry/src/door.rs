//! What a scheduler counts at its front door, and its picture.
//!
//! Invariants: each of the door's threads counts for itself, behind a lock that nobody else takes but who looks; names come
//! from the tables of operations and errors, which bound the series; counters only grow. Series that are to be expected stand at
//! zero from the beginning, for `rate()` and `increase()` see nothing in a series that begins at one
//! (<https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics>). Nothing here fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use crate::cells::{Histogram, HistogramSnapshot};
use crate::inventory::{self as names, Metric};
use crate::labels::Label;
use crate::picture::Picture;
use crate::snapshot::{Snapshot, Value};

/// The `code` of a request that succeeded.
pub const OK: &str = "OK";

/// What became of a connection besides that it was opened and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoorTrouble {
    /// All others were busy.
    Refused,
    /// It made room for another.
    Evicted,
    /// Its handshake failed, or took too long.
    Handshake,
    /// Its headers took too long.
    SlowHead,
    /// Its answer was not read for too long.
    SlowReader,
    /// Nothing had been under way for long.
    Idle,
    /// It broke, or spoke no HTTP.
    Broken,
}

impl DoorTrouble {
    /// All of them, with the value of the `reason` label.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Refused, "refused"),
        (Self::Evicted, "evicted"),
        (Self::Handshake, "handshake"),
        (Self::SlowHead, "slow_head"),
        (Self::SlowReader, "slow_reader"),
        (Self::Idle, "idle"),
        (Self::Broken, "broken"),
    ];
}

/// Whose affair it is how a request ended: an API's error names do not always tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoorOutcome {
    /// It was done.
    Succeeded,
    /// Something is wrong with it, or its caller may not.
    Refused,
    /// There was no room, or its caller asks too much.
    Throttled,
    /// The service could not do it, or does not know whether it did.
    Failed,
    /// The caller went away before its answer was there.
    Gone,
}

impl DoorOutcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// What was asked for, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoorEnd {
    /// By which API it came.
    pub api: &'static str,
    /// Which of its operations was asked for.
    pub operation: &'static str,
    /// How it ended: [`OK`], or an error's name.
    pub code: &'static str,
    /// Whose affair that is.
    pub outcome: DoorOutcome,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct DoorRequest {
    /// What it asked for, and how it ended.
    pub end: DoorEnd,
    /// How long it took.
    pub took: Duration,
    /// Bytes of its body.
    pub received: usize,
    /// Bytes of its answer.
    pub sent: usize,
}

/// API and operation.
type Asked = (&'static str, &'static str);

/// What was counted, of one thread or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoorCounts {
    /// Requests by how they ended.
    pub requests: BTreeMap<DoorEnd, u64>,
    /// Connections by what befell them, as [`DoorTrouble::ALL`] has it.
    pub troubles: [u64; DoorTrouble::ALL.len()],
    durations: BTreeMap<Asked, HistogramSnapshot>,
    received: u64,
    sent: u64,
    opened: u64,
    closed: u64,
}

impl DoorCounts {
    fn merge(&mut self, other: Self) {
        for (what, count) in other.requests {
            *self.requests.entry(what).or_default() += count;
        }
        for (mine, theirs) in self.troubles.iter_mut().zip(other.troubles) {
            *mine += theirs;
        }
        self.received += other.received;
        self.sent += other.sent;
        self.opened += other.opened;
        self.closed += other.closed;
    }
}

/// One thread's counts; durations apart, for they are counted in cells.
#[derive(Debug, Default)]
struct Thread {
    counts: DoorCounts,
    durations: BTreeMap<Asked, Histogram>,
}

/// See the module.
#[derive(Debug)]
pub struct DoorMetrics {
    threads: Vec<Mutex<Thread>>,
    expected: Vec<DoorEnd>,
}

impl DoorMetrics {
    /// For so many threads of a door; requests that end so are to be expected, and stand at zero from the beginning.
    pub fn new(threads: usize, expected: impl IntoIterator<Item = DoorEnd>) -> Self {
        let threads = (0..threads.max(1)).map(|_| Mutex::default()).collect();
        Self { threads, expected: expected.into_iter().collect() }
    }

    fn thread(&self, number: usize) -> MutexGuard<'_, Thread> {
        self.threads[number % self.threads.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered, on this thread.
    pub fn answered(&self, thread: usize, request: &DoorRequest) {
        let DoorRequest { end, took, received, sent } = *request;
        let mut thread = self.thread(thread);
        let Thread { counts, durations } = &mut *thread;
        *counts.requests.entry(end).or_default() += 1;
        counts.received += received as u64;
        counts.sent += sent as u64;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        durations.entry((end.api, end.operation)).or_default().observe(us);
    }

    /// A connection was taken, on this thread.
    pub fn opened(&self, thread: usize) {
        self.thread(thread).counts.opened += 1;
    }

    /// It has ended.
    pub fn closed(&self, thread: usize) {
        self.thread(thread).counts.closed += 1;
    }

    /// Something befell a connection of this thread.
    pub fn trouble(&self, thread: usize, what: DoorTrouble) {
        self.thread(thread).counts.troubles[what as usize] += 1;
    }

    /// What was counted so far, of all threads.
    #[must_use]
    pub fn counts(&self) -> DoorCounts {
        let mut all = DoorCounts::default();
        all.requests.extend(self.expected.iter().map(|end| (*end, 0)));
        for number in 0..self.threads.len() {
            let thread = self.thread(number);
            all.merge(thread.counts.clone());
            for (asked, cells) in &thread.durations {
                all.durations.entry(*asked).or_default().merge(&cells.snapshot());
            }
        }
        all
    }
}

/// How a scheduler fares at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedulerState {
    /// Whether it can do what it is asked.
    pub ready: bool,
    /// Whether the store of its machines answers.
    pub store_available: bool,
    /// Shards of nodes that take starts.
    pub shards_serving: usize,
    /// Partitions of the cluster that none of them serves.
    pub partitions_unserved: usize,
}

/// All that a scheduler exposes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SchedulerMetrics(Arc<Scheduler>);

#[derive(Debug)]
struct Scheduler {
    version: &'static str,
    since: SystemTime,
    door: OnceLock<Arc<DoorMetrics>>,
    /// What is read again while the scheduler runs, and whether that fails.
    reloads: Mutex<Vec<(&'static str, Arc<AtomicBool>)>>,
}

impl SchedulerMetrics {
    /// For a scheduler of this version.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self(Arc::new(Scheduler {
            version,
            since: crate::node::now(),
            door: OnceLock::new(),
            reloads: Mutex::default(),
        }))
    }

    /// Its front door counts here. There is one: further ones are not shown.
    pub fn set_door(&self, door: Arc<DoorMetrics>) {
        self.0.door.get_or_init(|| door);
    }

    /// Something that is read again while the scheduler runs, and whether that fails.
    pub fn add_reload(&self, what: &'static str, failing: Arc<AtomicBool>) {
        self.reloads().push((what, failing));
    }

    fn reloads(&self) -> MutexGuard<'_, Vec<(&'static str, Arc<AtomicBool>)>> {
        self.0.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every metric at this moment, at which it fares so.
    #[must_use]
    pub fn snapshot(&self, state: SchedulerState) -> Snapshot {
        let mut picture = Picture::new(names::SCHEDULER.iter().chain(names::PROCESS));
        if let Some(door) = self.0.door.get() {
            show(&mut picture, door.counts());
        }
        let SchedulerState { ready, store_available, shards_serving, partitions_unserved } = state;
        let gauges: [(Metric, u64); 4] = [
            (names::SCHEDULER_READY, ready.into()),
            (names::SCHEDULER_STORE, store_available.into()),
            (names::SCHEDULER_SHARDS, shards_serving as u64),
            (names::SCHEDULER_UNSERVED, partitions_unserved as u64),
        ];
        for (metric, value) in gauges {
            picture.put_one(&metric, Value::Count(value));
        }
        let reloads: Vec<_> = self
            .reloads()
            .iter()
            .map(|(what, failing)| {
                (vec![(*what).into()], Value::Count(failing.load(Ordering::Relaxed).into()))
            })
            .collect();
        picture.put(&names::SCHEDULER_RELOAD, reloads);
        picture.put(&names::SCHEDULER_BUILD, [(vec![self.0.version.into()], Value::Count(1))]);
        picture.process();
        Snapshot { since: self.0.since, at: crate::node::now(), families: picture.0 }
    }
}

fn show(picture: &mut Picture, counts: DoorCounts) {
    let labels = |texts: &[&str]| texts.iter().map(|text| Label::from(*text)).collect::<Vec<_>>();
    let requests = counts.requests.iter().map(|(end, count)| {
        let DoorEnd { api, operation, code, outcome } = *end;
        (labels(&[api, operation, code, outcome.as_str()]), Value::Count(*count))
    });
    picture.put(&names::DOOR_REQUESTS, requests);
    let durations = counts.durations.into_iter().map(|((api, operation), durations)| {
        (labels(&[api, operation]), Value::Histogram(Box::new(durations)))
    });
    picture.put(&names::DOOR_DURATION, durations);
    let counters: [(Metric, u64); 4] = [
        (names::DOOR_RECEIVED, counts.received),
        (names::DOOR_SENT, counts.sent),
        (names::DOOR_OPENED, counts.opened),
        // Threads are looked at one after the other, each at one moment: what it has closed it has opened.
        (names::DOOR_OPEN, counts.opened.saturating_sub(counts.closed)),
    ];
    for (metric, count) in counters {
        picture.put_one(&metric, Value::Count(count));
    }
    let troubles = DoorTrouble::ALL.iter().zip(counts.troubles);
    let troubles = troubles.map(|((_, reason), count)| (labels(&[reason]), Value::Count(count)));
    picture.put(&names::DOOR_TROUBLES, troubles);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Form;

    fn end(operation: &'static str, code: &'static str, outcome: DoorOutcome) -> DoorEnd {
        DoorEnd { api: "sfn", operation, code, outcome }
    }

    fn request(end: DoorEnd) -> DoorRequest {
        DoorRequest { end, took: Duration::from_millis(3), received: 10, sent: 100 }
    }

    const STATE: SchedulerState =
        SchedulerState { ready: false, store_available: true, shards_serving: 2, partitions_unserved: 3 };

    fn text(door: DoorMetrics) -> String {
        let metrics = SchedulerMetrics::new("1.2.3");
        metrics.set_door(Arc::new(door));
        metrics.add_reload("access_keys", Arc::new(AtomicBool::new(true)));
        metrics.snapshot(STATE).text(Form::Prometheus)
    }

    #[test]
    fn what_the_doors_threads_count_is_one_series_each() {
        let done = end("StartExecution", OK, DoorOutcome::Succeeded);
        let throttled = end("StartExecution", "ThrottlingException", DoorOutcome::Throttled);
        let expected = [done, end("TagResource", "InternalFailure", DoorOutcome::Failed)];
        let door = DoorMetrics::new(2, expected);
        for thread in 0..2 {
            door.opened(thread);
            door.answered(thread, &request(done));
            door.answered(thread, &request(throttled));
            door.trouble(thread, DoorTrouble::SlowHead);
        }
        door.closed(1);
        let text = text(door);
        for wanted in [
            r#"scheduler_http_requests_total{api="sfn",operation="StartExecution",code="OK",outcome="succeeded"} 2"#,
            r#"scheduler_http_requests_total{api="sfn",operation="StartExecution",code="ThrottlingException",outcome="throttled"} 2"#,
            r#"scheduler_http_requests_total{api="sfn",operation="TagResource",code="InternalFailure",outcome="failed"} 0"#,
            r#"scheduler_http_request_duration_seconds_bucket{api="sfn",operation="StartExecution",le="0.002"} 0"#,
            r#"scheduler_http_request_duration_seconds_bucket{api="sfn",operation="StartExecution",le="0.005"} 4"#,
            r#"scheduler_http_request_duration_seconds_sum{api="sfn",operation="StartExecution"} 0.012"#,
            "scheduler_http_received_bytes_total 40",
            "scheduler_http_sent_bytes_total 400",
            "scheduler_http_connections_open 1",
            "scheduler_http_connections_opened_total 2",
            r#"scheduler_http_connection_troubles_total{reason="slow_head"} 2"#,
            r#"scheduler_http_connection_troubles_total{reason="refused"} 0"#,
            r#"scheduler_build_info{version="1.2.3"} 1"#,
            "scheduler_ready 0",
            "scheduler_store_available 1",
            "scheduler_shards_serving 2",
            "scheduler_partitions_unserved 3",
            r#"scheduler_reload_failing{what="access_keys"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn a_scheduler_exposes_its_own_names_and_those_of_its_process_and_no_nodes() {
        let door = DoorMetrics::new(1, []);
        door.answered(0, &request(end("StartExecution", OK, DoorOutcome::Succeeded)));
        let text = text(door);
        for metric in names::SCHEDULER.iter().chain(names::PROCESS) {
            let of = |line: &str| {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let parts = ["", "_bucket", "_sum", "_count"];
                name.strip_prefix(metric.name).is_some_and(|part| parts.contains(&part))
            };
            let series = text.lines().filter(|line| of(line));
            assert!(series.count() > 0, "{}: {text}", metric.name);
        }
        assert!(!text.contains("executor_"), "{text}");
    }
}
