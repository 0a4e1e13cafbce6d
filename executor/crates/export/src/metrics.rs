//! What is counted on the way out.
//!
//! Invariant: each cell has one writer, as `telemetry` has it: those of an intake its shard, those of a pump the
//! exporter's thread.

use telemetry::cells::{Counter, Gauge};

/// Why something was given up between a queue and a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    /// The sink's queue was full.
    QueueFull,
    /// It is larger than a whole batch may be.
    TooLarge,
    /// The sink never takes it.
    Refused,
    /// The sink did not take it within the time and the attempts that it has.
    Expired,
    /// The node ended before the sink took it.
    Stopped,
}

impl DropReason {
    /// All of them, with the value of the `reason` label.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::QueueFull, "queue_full"),
        (Self::TooLarge, "too_large"),
        (Self::Refused, "refused"),
        (Self::Expired, "expired"),
        (Self::Stopped, "stopped"),
    ];
}

/// What a shard offered.
#[derive(Debug, Default)]
pub struct IntakeMetrics {
    /// Taken, by [`crate::Weigh::count`].
    pub taken: Counter,
    /// Dropped because the intake was full, by [`crate::Weigh::count`].
    pub dropped: Counter,
}

/// How one sink does.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PumpMetrics {
    pub sent: Counter,
    pub sent_bytes: Counter,
    pub sent_batches: Counter,
    /// Attempts that failed and were to be repeated.
    pub retries: Counter,
    /// By [`DropReason`].
    pub dropped: [Counter; DropReason::ALL.len()],
    /// In the queue or on the way to the sink.
    pub queued_items: Gauge,
    pub queued_bytes: Gauge,
    /// Age of the oldest that waits, in milliseconds.
    pub lag_ms: Gauge,
    /// 1 while the last attempt failed.
    pub failing: Gauge,
}

impl PumpMetrics {
    /// What was given up for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].get()
    }

    pub(crate) fn count_drop(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].add(count);
    }
}
