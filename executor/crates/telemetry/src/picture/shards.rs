//! What is counted shard by shard.

use super::*;

const HISTOGRAMS: [(Metric, Cell<ShardMetrics, Histogram>); 4] = [
    (names::START_ACK, |s| &s.start_ack),
    (names::FLUSH_LATENCY, |s| &s.flush_latency),
    (names::TIMER_LATENESS, |s| &s.timer_lateness),
    (names::WAKE_LATENCY, |s| &s.wake_latency),
];

const GAUGES: [(Metric, Cell<ShardMetrics, Gauge>); 11] = [
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
    (names::PARTITIONS_RECOVERING, |s| &s.partitions_recovering),
];

const COUNTERS: [(Metric, Cell<ShardMetrics, Counter>); 36] = [
    (names::DUPLICATES, |s| &s.duplicates),
    (names::COMMANDS, |s| &s.commands),
    (names::STEPS, |s| &s.steps),
    (names::TIMERS_FIRED, |s| &s.timers_fired),
    (names::TASKS_SCHEDULED, |s| &s.tasks_scheduled),
    (names::TASKS_SUCCEEDED, |s| &s.tasks_succeeded),
    (names::TASKS_FAILED, |s| &s.tasks_failed),
    (names::OBJECTS_READ, |s| &s.objects_read),
    (names::OBJECTS_WRITTEN, |s| &s.objects_written),
    (names::OBJECTS_FAILED, |s| &s.objects_failed),
    (names::CREDENTIALS_HITS, |s| &s.credentials_hits),
    (names::CREDENTIALS_MISSES, |s| &s.credentials_misses),
    (names::FLUSHES, |s| &s.flushes),
    (names::FLUSH_RECORDS, |s| &s.flush_records),
    (names::FLUSH_BYTES, |s| &s.flush_bytes),
    (names::BLOCKS_RESENT, |s| &s.blocks_resent),
    (names::BLOCKS_LOST, |s| &s.blocks_lost),
    (names::RECOVERED, |s| &s.recovered),
    (names::RECOVERIES, |s| &s.recoveries),
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
    (names::TRACES_NOT_FOLLOWED, |s| &s.traces_not_followed),
];

impl Picture {
    pub(super) fn shards(&mut self, node: &Node) {
        for (index, shard) in node.shards.iter().enumerate() {
            let index = label(&index.to_string());
            let one = |value| [(vec![index.clone()], value)];
            for (metric, cell) in HISTOGRAMS {
                self.put(&metric, one(histogram(cell(shard).snapshot())));
            }
            for (metric, cell) in GAUGES {
                self.put(&metric, one(Value::Count(cell(shard).get())));
            }
            for (metric, cell) in COUNTERS {
                self.put(&metric, one(Value::Count(cell(shard).get())));
            }
            self.put(&names::BUSY, one(seconds(shard.busy_us.get())));
            let overdue_us = shard.archive_overdue_ms.get().saturating_mul(1_000);
            self.put(&names::ARCHIVE_OVERDUE, one(seconds(overdue_us)));
            self.put(&names::RECOVERY_TIME, one(seconds(shard.recovery_ms.get().saturating_mul(1_000))));
            self.labelled(&index, shard);
            self.calls(&index, shard);
        }
    }

    /// Metrics with a second label besides the shard.
    fn labelled(&mut self, index: &Label, shard: &ShardMetrics) {
        let two = |other: &str, value| (vec![index.clone(), label(other)], Value::Count(value));
        let refused = Refusal::ALL.iter().zip(&shard.refused);
        self.put(&names::REFUSED, refused.map(|((_, reason), cell)| two(reason, cell.get())));
        let errors = StoreFailure::ALL.iter().zip(&shard.store_errors);
        self.put(&names::STORE_ERRORS, errors.map(|((_, kind), cell)| two(kind, cell.get())));
        let (count, bytes) = (&shard.permits_used_count, &shard.permits_used_bytes);
        self.put(&names::PERMITS_USED, [two("count", count.get()), two("bytes", bytes.get())]);
        let (count, bytes) = (&shard.permits_limit_count, &shard.permits_limit_bytes);
        self.put(&names::PERMITS_LIMIT, [two("count", count.get()), two("bytes", bytes.get())]);
    }

    fn calls(&mut self, index: &Label, shard: &ShardMetrics) {
        for ((_, integration), cells) in CallKind::ALL.iter().zip(&shard.calls) {
            let labels = vec![index.clone(), label(integration)];
            let outcomes =
                [("answered", &cells.answered), ("failed", &cells.failed), ("cancelled", &cells.cancelled)];
            let series = outcomes.map(|(outcome, cell)| {
                let outcome = iter::once(label(outcome));
                (labels.iter().cloned().chain(outcome).collect(), Value::Count(cell.get()))
            });
            self.put(&names::CALLS, series);
            self.put(&names::CALL_LATENCY, [(labels, histogram(cells.latency.snapshot()))]);
        }
    }
}
