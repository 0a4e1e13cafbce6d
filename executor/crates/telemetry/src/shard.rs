//! The cells of one shard.

use std::sync::{Arc, Mutex, PoisonError};

use crate::cells::{Counter, Gauge, Histogram};

/// Machines that have labels of their own on one shard; all others share [`MACHINE_OVERFLOW`].
pub const MACHINES_MAX: usize = 1_000;

/// The `machine` label of machines beyond [`MACHINES_MAX`].
pub const MACHINE_OVERFLOW: &str = "other";

/// Why starts were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Bad input.
    Invalid,
    /// The definition is not here yet.
    DefinitionMissing,
    /// No permits.
    Overloaded,
    /// Another shard owns the partition.
    NotOwner,
    /// The node is going away.
    Draining,
    /// The store does not confirm.
    StoreUnavailable,
    /// The id stands for other content.
    Conflict,
    /// Older than ids are remembered.
    Expired,
}

impl Refusal {
    /// All of them, with the value of the `reason` label.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Invalid, "invalid"),
        (Self::DefinitionMissing, "definition_missing"),
        (Self::Overloaded, "overloaded"),
        (Self::NotOwner, "not_owner"),
        (Self::Draining, "draining"),
        (Self::StoreUnavailable, "store_unavailable"),
        (Self::Conflict, "conflict"),
        (Self::Expired, "expired"),
    ];
}

/// Why the store did not confirm a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StoreFailure {
    /// It cannot write now.
    Unavailable,
    /// The reply was lost.
    Unknown,
    /// Another owner has the partition.
    Fenced,
    /// The log ends below what was confirmed.
    WentBack,
    /// Anything else.
    Other,
}

impl StoreFailure {
    /// All of them, with the value of the `kind` label.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Unavailable, "unavailable"),
        (Self::Unknown, "unknown"),
        (Self::Fenced, "fenced"),
        (Self::WentBack, "went-back"),
        (Self::Other, "other"),
    ];
}

/// What a call is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CallKind {
    /// An HTTPS API, by `http:invoke`.
    Http,
    /// AWS Lambda, or what speaks its API.
    Lambda,
    /// Tencent Cloud.
    Tencent,
    /// Executions of this cluster.
    Execution,
}

impl CallKind {
    /// All of them, with the value of the `integration` label.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Http, "http"),
        (Self::Lambda, "lambda"),
        (Self::Tencent, "tencent"),
        (Self::Execution, "execution"),
    ];
}

/// What is counted for the calls of one integration on one shard.
#[derive(Debug, Default)]
pub struct CallMetrics {
    /// Came to a good end.
    pub answered: Counter,
    /// Failed their task.
    pub failed: Counter,
    /// Were no longer wanted.
    pub cancelled: Counter,
    /// From the beginning to the answer of the first request.
    pub latency: Histogram,
}

/// What is counted for one machine on one shard.
#[derive(Debug, Default)]
pub struct MachineMetrics {
    /// Starts that are durable.
    pub started: Counter,
    /// Ended with an output.
    pub succeeded: Counter,
    /// Ended with an error.
    pub failed: Counter,
    /// Ran too long.
    pub timed_out: Counter,
    /// Stopped.
    pub aborted: Counter,
    /// From the accepted start to the durable end.
    pub duration: Histogram,
}

/// Everything that one shard counts. The shard writes, a scrape reads.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each field is documented by its entry in the inventory")]
pub struct ShardMetrics {
    pub credentials_hits: Counter,
    pub credentials_misses: Counter,
    pub start_ack: Histogram,
    pub open: Gauge,
    pub refused: [Counter; Refusal::ALL.len()],
    pub duplicates: Counter,
    pub permits_used_count: Gauge,
    pub permits_used_bytes: Gauge,
    pub permits_limit_count: Gauge,
    pub permits_limit_bytes: Gauge,
    pub queue_depth: Gauge,
    pub commands: Counter,
    pub steps: Counter,
    /// In microseconds.
    pub busy_us: Counter,
    pub timers: Gauge,
    pub tasks_scheduled: Counter,
    pub tasks_succeeded: Counter,
    pub tasks_failed: Counter,
    pub tasks_waiting: Gauge,
    pub workers: Gauge,
    pub calls: [CallMetrics; CallKind::ALL.len()],
    pub calls_under_way: Gauge,
    pub objects_read: Counter,
    pub objects_written: Counter,
    pub objects_failed: Counter,
    pub flushes: Counter,
    pub flush_records: Counter,
    pub flush_bytes: Counter,
    pub flush_latency: Histogram,
    pub store_pending: Gauge,
    pub store_errors: [Counter; StoreFailure::ALL.len()],
    pub blocks_resent: Counter,
    pub blocks_lost: Counter,
    /// 1 or 0.
    pub store_available: Gauge,
    pub recovered: Counter,
    pub recovery_blocks: Counter,
    pub checkpoints: Counter,
    pub checkpoint_bytes: Counter,
    pub carried: Counter,
    /// Open executions that could not be carried, each time.
    pub not_carried: Counter,
    pub archived_executions: Counter,
    pub archived_bytes: Counter,
    pub archive_failures: Counter,
    pub archive_expired: Counter,
    /// In milliseconds.
    pub archive_overdue_ms: Gauge,
    pub redriven: Counter,
    pub poisoned: Counter,
    /// Outcomes that were given back to their workers.
    pub outcomes_returned: Counter,
    /// Index entries that were given up.
    pub derived_dropped: Counter,
    /// Executions that were closed because the store had lost a part of what they were told.
    pub broken: Counter,
    /// In milliseconds.
    pub recovery_ms: Gauge,
    pub partitions_owned: Gauge,
    pub partitions_lost: Counter,
    pub completions_dropped: Counter,
    machines: Mutex<Vec<(String, Arc<MachineMetrics>)>>,
}

impl ShardMetrics {
    /// Counts refused starts.
    pub fn refuse(&self, reason: Refusal, starts: u64) {
        self.refused[reason as usize].add(starts);
    }

    /// Counts a flush that was not confirmed.
    pub fn store_failed(&self, kind: StoreFailure) {
        self.store_errors[kind as usize].add(1);
    }

    /// The cells of a machine, by ARN or QRN; a shard asks once for each machine and keeps the answer. Takes a lock that
    /// only a scrape shares.
    #[must_use]
    pub fn machine(&self, arn: &str) -> Arc<MachineMetrics> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let label = if machines.len() < MACHINES_MAX { arn } else { MACHINE_OVERFLOW };
        let known = machines.iter().find(|(name, _)| name == arn || name == label);
        if let Some((_, cells)) = known {
            return Arc::clone(cells);
        }
        let cells = Arc::<MachineMetrics>::default();
        machines.push((label.to_owned(), Arc::clone(&cells)));
        cells
    }

    /// Every machine's cells, for a scrape.
    pub(crate) fn machines(&self) -> Vec<(String, Arc<MachineMetrics>)> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_beyond_the_bound_share_one_label() {
        let shard = ShardMetrics::default();
        for machine in 0..MACHINES_MAX + 50 {
            shard.machine(&format!("m{machine}")).started.add(1);
        }
        shard.machine("m3").started.add(1);
        let machines = shard.machines();
        assert_eq!(machines.len(), MACHINES_MAX + 1);
        let started = |name: &str| {
            machines.iter().find(|(label, _)| label == name).map(|(_, cells)| cells.started.get())
        };
        assert_eq!((started("m3"), started(MACHINE_OVERFLOW)), (Some(2), Some(50)));
    }
}
