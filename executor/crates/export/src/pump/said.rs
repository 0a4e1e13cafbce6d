//! What the log says of a sink.
//!
//! Invariants: it says when a sink begins to fail, when it fails otherwise, from time to time meanwhile, and when it works again;
//! when records begin to be dropped, on whichever way, and how many were once no more are; and what a stop has left behind. A
//! sink that fails without end says no more than a few lines a minute. What may fail: nothing.

use std::sync::Arc;
use std::time::Duration;

use telemetry::{DropReason, ExportMetrics, Signal};
use tokio::time::Instant;

use super::SinkError;

/// What goes on is said again after this.
const AGAIN_AFTER: Duration = Duration::from_mins(5);
/// Another reason is said no sooner than this after the last one.
const OTHERWISE_AFTER: Duration = Duration::from_secs(10);
/// Where nothing was dropped for so long, dropping is over.
const QUIET_AFTER: Duration = Duration::from_mins(1);

/// Records dropped, by reason.
type Dropped = [u64; DropReason::ALL.len()];

/// See the module.
#[derive(Debug)]
pub(super) struct Said {
    signal: &'static str,
    sink: &'static str,
    /// For how long something is tried again.
    kept: Duration,
    metrics: Arc<ExportMetrics>,
    failing: Option<Failing>,
    dropping: Option<Dropping>,
    /// When it was looked at last.
    dropped: Dropped,
    /// Records that were sent before the stop.
    sent_before_stop: Option<u64>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    why: String,
    said: Instant,
    dropped_before: u64,
}

#[derive(Debug)]
struct Dropping {
    since: Instant,
    last: Instant,
    said: Instant,
    before: Dropped,
}

impl Said {
    pub fn new((signal, sink): (Signal, &'static str), kept: Duration, metrics: Arc<ExportMetrics>) -> Self {
        let (signal, dropped) = (signal.as_str(), Dropped::default());
        Self { signal, sink, kept, metrics, failing: None, dropping: None, dropped, sent_before_stop: None }
    }

    fn dropped(&self) -> Dropped {
        DropReason::ALL.map(|(reason, _)| self.metrics.dropped_for(reason).1)
    }

    /// An attempt has failed.
    pub fn failed(&mut self, error: &SinkError) {
        let (now, why, dropped) = (Instant::now(), error.to_string(), self.dropped().iter().sum());
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: now,
            why: String::new(),
            said: now,
            dropped_before: dropped,
        });
        let (silent, is_first) = (now - failing.said, failing.why.is_empty());
        if !is_first && silent < AGAIN_AFTER && (failing.why == why || silent < OTHERWISE_AFTER) {
            return;
        }
        let then = match error {
            SinkError::Unavailable { .. } => "it is tried again until it is too old",
            SinkError::Refused { .. } => "the batch is dropped",
            SinkError::RefusedWhole { .. } => {
                "the batch comes again in parts; what is refused alone is dropped"
            }
        };
        (failing.said, failing.why) = (now, why);
        tracing::warn!(
            signal = self.signal,
            sink = self.sink,
            %error,
            then,
            kept = ?self.kept,
            since = ?(now - failing.since),
            waiting = self.metrics.queue_items.get(),
            dropped = dropped - failing.dropped_before,
            "the sink does not take what it is sent"
        );
    }

    /// An attempt has gone well.
    pub fn works(&mut self) {
        if let Some(failing) = self.failing.take() {
            let (signal, sink) = (self.signal, self.sink);
            let dropped = self.dropped().iter().sum::<u64>() - failing.dropped_before;
            let after = failing.since.elapsed();
            tracing::info!(signal, sink, ?after, dropped, "the sink takes what it is sent again");
        }
    }

    /// Looks at what is dropped; what a stop drops is said at its end.
    pub fn look(&mut self, stopping: bool) {
        if stopping {
            self.sent_before_stop.get_or_insert(self.metrics.records.get());
            return;
        }
        let (now, dropped) = (Instant::now(), self.dropped());
        let more = dropped != self.dropped;
        match &mut self.dropping {
            None if more => {
                self.say_dropped(&self.dropped, &dropped, Duration::ZERO, "records are dropped");
                self.dropping = Some(Dropping { since: now, last: now, said: now, before: self.dropped });
            }
            None => {}
            Some(dropping) => {
                if more {
                    dropping.last = now;
                }
                let (before, since, last) = (dropping.before, dropping.since, dropping.last);
                if now - last >= QUIET_AFTER {
                    self.dropping = None;
                    self.say_dropped(&before, &dropped, last - since, "no more records are dropped");
                } else if now - dropping.said >= AGAIN_AFTER {
                    dropping.said = now;
                    self.say_dropped(&before, &dropped, now - since, "records are still dropped");
                }
            }
        }
        self.dropped = dropped;
    }

    fn say_dropped(&self, before: &Dropped, after: &Dropped, during: Duration, what: &str) {
        let (records, by) = difference(before, after);
        tracing::warn!(signal = self.signal, sink = self.sink, records, by, ?during, "{what}");
    }

    /// The pump has ended.
    pub fn closed(&mut self) {
        let (signal, sink) = (self.signal, self.sink);
        let sent = self.metrics.records.get() - self.sent_before_stop.unwrap_or(self.metrics.records.get());
        // With what has been dropped, but not summed up, before.
        let before = self.dropping.as_ref().map_or(self.dropped, |dropping| dropping.before);
        let (lost, by) = difference(&before, &self.dropped());
        if lost > 0 {
            tracing::warn!(signal, sink, sent, lost, by, "the node ends before the sink took everything");
        } else if sent > 0 {
            tracing::info!(signal, sink, sent, "the sink has taken what waited");
        }
    }

    /// The pump has ended without being asked.
    pub fn gone(&self, records: u64) {
        let (signal, sink) = (self.signal, self.sink);
        tracing::error!(
            signal,
            sink,
            records,
            "the sink has ended by itself: what it had and what comes is dropped until the node starts anew"
        );
    }
}

/// How many, and for which reasons.
fn difference(before: &Dropped, after: &Dropped) -> (u64, String) {
    let reasons = DropReason::ALL.iter().zip(before.iter().zip(after));
    let more = reasons.map(|((_, reason), (before, after))| (reason, after.saturating_sub(*before)));
    let more: Vec<_> = more.filter(|(_, records)| *records > 0).collect();
    let by: Vec<_> = more.iter().map(|(reason, records)| format!("{reason} {records}")).collect();
    (more.iter().map(|(_, records)| records).sum(), by.join(", "))
}
