//! The cells of one shard.

use std::sync::Arc;

use crate::cells::{Counter, Gauge, Histogram};
use crate::grpc::GrpcMetrics;
use crate::labels::{Label, Labels};
use crate::machine::{MachineMetrics, StateKind, Table, TargetMetrics};
use crate::reasons::{CallKind, CallMetrics, Refusal, StoreFailure};

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
    pub activity_tasks_waiting: Gauge,
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
    /// Executions of sampled callers whose spans are not told: too many came.
    pub traces_not_followed: Counter,
    /// From entry to exit, failure or abort, by the type of the state.
    pub state_duration: [Histogram; StateKind::ALL.len()],
    pub timers_fired: Counter,
    pub timer_lateness: Histogram,
    pub wake_latency: Histogram,
    pub recoveries: Counter,
    pub partitions_recovering: Gauge,
    /// Of the shard's data port.
    pub grpc: Arc<GrpcMetrics>,
    labels: Arc<Labels>,
    machines: Table<Label, MachineMetrics>,
    targets: Table<(&'static str, Label), TargetMetrics>,
}

impl ShardMetrics {
    /// For a shard of a node, whose shards share the bounds of their labels.
    pub(crate) fn new(labels: &Arc<Labels>) -> Self {
        Self { labels: Arc::clone(labels), ..Self::default() }
    }

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
        self.cells(self.labels.machine(arn))
    }

    /// Counts starts that were refused for want of room. A machine that nobody has started anything of yet has no label, so
    /// that refused names take none.
    pub fn throttle(&self, arn: &str, starts: u64) {
        let known = self.machines.find(arn);
        known.unwrap_or_else(|| self.cells(self.labels.known_machine(arn))).throttled.add(starts);
    }

    /// The cells of what tasks are given to, by a name that is bounded by nature (a function, a host, a service; no path, no
    /// id). Takes locks: a shard keeps the answer as long as it keeps the name.
    #[must_use]
    pub fn target(&self, integration: &'static str, name: &str) -> Arc<TargetMetrics> {
        let label = self.labels.target(integration, name);
        self.targets.get((integration, label), TargetMetrics::default)
    }

    fn cells(&self, label: Label) -> Arc<MachineMetrics> {
        self.machines.get(label.clone(), || MachineMetrics::new(label, &self.labels))
    }

    /// Every machine's cells, for a scrape.
    pub(crate) fn machines(&self) -> Vec<(Label, Arc<MachineMetrics>)> {
        self.machines.all()
    }

    /// Every target's cells, for a scrape.
    pub(crate) fn targets(&self) -> Vec<((&'static str, Label), Arc<TargetMetrics>)> {
        self.targets.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{MACHINES_MAX, OVERFLOW};

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
            machines.iter().find(|(label, _)| &**label == name).map(|(_, cells)| cells.started.get())
        };
        assert_eq!((started("m3"), started(OVERFLOW)), (Some(2), Some(50)));
    }

    #[test]
    fn starts_of_unknown_machines_that_are_refused_take_no_label() {
        let shard = ShardMetrics::default();
        shard.machine("m").started.add(1);
        shard.throttle("m", 2);
        shard.throttle("made up", 3);
        let throttled: Vec<(String, u64)> = shard
            .machines()
            .iter()
            .map(|(label, cells)| (label.to_string(), cells.throttled.get()))
            .collect();
        assert_eq!(throttled.len(), 2);
        assert!(throttled.contains(&("m".to_owned(), 2)) && throttled.contains(&(OVERFLOW.to_owned(), 3)));
    }
}
