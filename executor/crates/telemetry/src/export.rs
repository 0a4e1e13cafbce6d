//! What is counted where history, spans and metrics leave the node.
//!
//! Each exporter has its cells, written by its own thread; each shard that hands it something has an [`IntakeMetrics`] of its
//! own, so that no two threads write one cell.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cells::{Counter, Gauge, Histogram};

/// What an exporter sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    /// Pages of events of executions.
    History,
    /// Snapshots of metrics.
    Metrics,
    /// Spans of executions and states.
    Spans,
}

impl Signal {
    /// The value of the `signal` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Metrics => "metrics",
            Self::Spans => "spans",
        }
    }
}

/// Why something was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    /// The queue before the exporter was full.
    QueueFull,
    /// Too much waited for the store to confirm what had caused it.
    Unconfirmed,
    /// It is larger than what the peer takes.
    TooLarge,
    /// The peer refuses it, now and later.
    Refused,
    /// The peer could not take it for as long as it is tried.
    GaveUp,
    /// The node ended before it was sent.
    Closing,
}

impl DropReason {
    /// All of them, with the value of the `reason` label.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::QueueFull, "queue_full"),
        (Self::Unconfirmed, "unconfirmed"),
        (Self::TooLarge, "too_large"),
        (Self::Refused, "refused"),
        (Self::GaveUp, "gave_up"),
        (Self::Closing, "closing"),
    ];
}

/// What one thread hands to an exporter.
#[derive(Debug, Default)]
pub struct IntakeMetrics {
    /// Items that were handed over, those among them that were dropped at once.
    pub offered: Counter,
    /// Items that the full queue did not take.
    pub dropped: Counter,
    /// Records in them.
    pub dropped_records: Counter,
    /// Items that were dropped before: too much waited for the store.
    pub unconfirmed: Counter,
    /// Records in them.
    pub unconfirmed_records: Counter,
}

/// Files that the sink of files has removed to make room.
#[derive(Debug, Default)]
pub struct RemovedFiles {
    /// How many.
    pub files: Counter,
    /// Their bytes.
    pub bytes: Counter,
}

/// What one exporter counts. An item is what is queued: a page of a history, a span, a snapshot of metrics; a record is what a
/// peer counts: an event, a span, a sample.
#[derive(Debug, Default)]
pub struct ExportMetrics {
    /// Items that the peer has confirmed.
    pub items: Counter,
    /// Records in them.
    pub records: Counter,
    /// Bytes of them as they were sent: encoded, and compressed where they are.
    pub bytes: Counter,
    /// Items that were taken from the queue and not sent, by reason.
    pub dropped: [Counter; DropReason::ALL.len()],
    /// Records in them.
    pub dropped_records: [Counter; DropReason::ALL.len()],
    /// Batches that were sent again after a failure.
    pub retries: Counter,
    /// Attempts to send that failed.
    pub failures: Counter,
    /// Items that wait to be sent, those of the batch under way among them.
    pub queue_items: Gauge,
    /// Bytes that they hold, as far as the exporter knows.
    pub queue_bytes: Gauge,
    /// Age of the oldest item that waits; 0 when none does. In milliseconds.
    pub lag_ms: Gauge,
    /// From the beginning of an attempt to the peer's answer.
    pub latency: Histogram,
    intakes: Mutex<Vec<Arc<IntakeMetrics>>>,
}

impl ExportMetrics {
    /// Cells for one more thread that hands over.
    #[must_use]
    pub fn intake(&self) -> Arc<IntakeMetrics> {
        let cells = Arc::<IntakeMetrics>::default();
        self.share_intake(&cells);
        cells
    }

    /// What this thread hands over is for this exporter too: several may be fed by one intake.
    pub fn share_intake(&self, cells: &Arc<IntakeMetrics>) {
        self.intakes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cells));
    }

    /// Counts items that were given up, and the records in them.
    pub fn drop_items(&self, reason: DropReason, items: u64, records: u64) {
        self.dropped[reason as usize].add(items);
        self.dropped_records[reason as usize].add(records);
    }

    /// Items offered by all that hand over.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.over_intakes(|intake| &intake.offered)
    }

    /// Items dropped for this reason, and the records in them, on both sides of the queue.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> (u64, u64) {
        let (mut items, mut records) =
            (self.dropped[reason as usize].get(), self.dropped_records[reason as usize].get());
        match reason {
            DropReason::QueueFull => {
                items += self.over_intakes(|intake| &intake.dropped);
                records += self.over_intakes(|intake| &intake.dropped_records);
            }
            DropReason::Unconfirmed => {
                items += self.over_intakes(|intake| &intake.unconfirmed);
                records += self.over_intakes(|intake| &intake.unconfirmed_records);
            }
            _ => {}
        }
        (items, records)
    }

    fn over_intakes(&self, cell: impl Fn(&IntakeMetrics) -> &Counter) -> u64 {
        let intakes = self.intakes.lock().unwrap_or_else(PoisonError::into_inner);
        intakes.iter().map(|intake| cell(intake).get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_queue_and_the_exporter_drop_is_one_count() {
        let cells = ExportMetrics::default();
        let (one, two) = (cells.intake(), cells.intake());
        one.offered.add(3);
        one.dropped.add(1);
        one.dropped_records.add(10);
        two.offered.add(1);
        cells.drop_items(DropReason::QueueFull, 1, 2);
        cells.drop_items(DropReason::GaveUp, 5, 50);
        assert_eq!(cells.offered(), 4);
        assert_eq!(cells.dropped_for(DropReason::QueueFull), (2, 12));
        assert_eq!(cells.dropped_for(DropReason::GaveUp), (5, 50));
    }
}
