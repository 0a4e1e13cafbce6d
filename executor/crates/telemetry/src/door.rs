//! What a scheduler counts at its front door, and its picture.
//!
//! Invariants: each of the door's threads counts for itself, behind a lock that nobody else takes but who looks; names come
//! from the tables of operations and errors, which bound the series; counters only grow. Nothing here fails.

use std::collections::BTreeMap;
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

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct DoorRequest {
    /// By which API it came.
    pub api: &'static str,
    /// Which of its operations was asked for.
    pub operation: &'static str,
    /// How it ended: [`OK`], or an error's name.
    pub code: &'static str,
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
    /// Requests by API, operation and code.
    pub requests: BTreeMap<(&'static str, &'static str, &'static str), u64>,
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
}

impl DoorMetrics {
    /// For so many threads of a door; requests of these operations, by API and name, stand at zero.
    pub fn new(threads: usize, operations: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        let threads: Vec<Mutex<Thread>> = (0..threads.max(1)).map(|_| Mutex::default()).collect();
        let door = Self { threads };
        door.thread(0)
            .counts
            .requests
            .extend(operations.into_iter().map(|(api, operation)| ((api, operation, OK), 0)));
        door
    }

    fn thread(&self, number: usize) -> MutexGuard<'_, Thread> {
        self.threads[number % self.threads.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered, on this thread.
    pub fn answered(&self, thread: usize, request: &DoorRequest) {
        let DoorRequest { api, operation, code, took, received, sent } = *request;
        let mut thread = self.thread(thread);
        let Thread { counts, durations } = &mut *thread;
        *counts.requests.entry((api, operation, code)).or_default() += 1;
        counts.received += received as u64;
        counts.sent += sent as u64;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        durations.entry((api, operation)).or_default().observe(us);
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

/// All that a scheduler exposes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SchedulerMetrics(Arc<Scheduler>);

#[derive(Debug)]
struct Scheduler {
    version: &'static str,
    since: SystemTime,
    door: OnceLock<Arc<DoorMetrics>>,
}

impl SchedulerMetrics {
    /// For a scheduler of this version.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        Self(Arc::new(Scheduler { version, since: crate::node::now(), door: OnceLock::new() }))
    }

    /// Its front door counts here. There is one: further ones are not shown.
    pub fn set_door(&self, door: Arc<DoorMetrics>) {
        self.0.door.get_or_init(|| door);
    }

    /// Every metric at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut picture = Picture::new(names::SCHEDULER.iter().chain(names::PROCESS));
        if let Some(door) = self.0.door.get() {
            show(&mut picture, door.counts());
        }
        picture.put(&names::SCHEDULER_BUILD, [(vec![self.0.version.into()], Value::Count(1))]);
        picture.process();
        Snapshot { since: self.0.since, at: crate::node::now(), families: picture.0 }
    }
}

fn show(picture: &mut Picture, counts: DoorCounts) {
    let labels = |texts: &[&str]| texts.iter().map(|text| Label::from(*text)).collect::<Vec<_>>();
    let requests = counts
        .requests
        .iter()
        .map(|((api, operation, code), count)| (labels(&[api, operation, code]), Value::Count(*count)));
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

    fn request(operation: &'static str, code: &'static str) -> DoorRequest {
        let took = Duration::from_millis(3);
        DoorRequest { api: "sfn", operation, code, took, received: 10, sent: 100 }
    }

    fn text(door: DoorMetrics) -> String {
        let metrics = SchedulerMetrics::new("1.2.3");
        metrics.set_door(Arc::new(door));
        metrics.snapshot().text(Form::Prometheus)
    }

    #[test]
    fn what_the_doors_threads_count_is_one_series_each() {
        let door = DoorMetrics::new(2, [("sfn", "StartExecution"), ("sfn", "TagResource")]);
        for thread in 0..2 {
            door.opened(thread);
            door.answered(thread, &request("StartExecution", OK));
            door.answered(thread, &request("StartExecution", "ThrottlingException"));
            door.trouble(thread, DoorTrouble::SlowHead);
        }
        door.closed(1);
        let text = text(door);
        for wanted in [
            r#"scheduler_http_requests_total{api="sfn",operation="StartExecution",code="OK"} 2"#,
            r#"scheduler_http_requests_total{api="sfn",operation="StartExecution",code="ThrottlingException"} 2"#,
            r#"scheduler_http_requests_total{api="sfn",operation="TagResource",code="OK"} 0"#,
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
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn a_scheduler_exposes_its_own_names_and_those_of_its_process_and_no_nodes() {
        let door = DoorMetrics::new(1, []);
        door.answered(0, &request("StartExecution", OK));
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
