//! Every metric that a node exposes: name, kind, unit, labels, help.
//!
//! Dashboards, rules and alerts may use no other name (a test holds them to it). Counters are written here as they are
//! exposed, with `_total`.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution with classic buckets.
    Histogram,
    /// Constant 1; the labels are the information.
    Info,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As exposed, for example `executor_executions_started_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($const:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $const: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them, in the order of exposition.
        pub const ALL: &[Metric] = &[$($const),*];
    };
}

metrics! {
    STARTED Counter "executor_executions_started_total" ["machine"] "Executions whose start is durable";
    SUCCEEDED Counter "executor_executions_succeeded_total" ["machine"] "Executions that ended with an output";
    FAILED Counter "executor_executions_failed_total" ["machine"] "Executions that ended with an error";
    TIMED_OUT Counter "executor_executions_timed_out_total" ["machine"] "Executions that ran too long";
    ABORTED Counter "executor_executions_aborted_total" ["machine"] "Executions that were stopped";
    DURATION Histogram "executor_execution_duration_seconds" ["machine"] "From the accepted start to the durable end";
    START_ACK Histogram "executor_start_ack_seconds" ["shard"] "From the received start to its durable acknowledgement";
    OPEN Gauge "executor_executions_open" ["shard"] "Executions that have not ended";
    REFUSED Counter "executor_starts_refused_total" ["shard", "reason"] "Starts that were refused";
    DUPLICATES Counter "executor_starts_duplicate_total" ["shard"] "Starts that were recognised as sent before";
    PERMITS_USED Gauge "executor_admission_permits_used" ["shard", "resource"] "Admission permits in use, by count and by bytes";
    PERMITS_LIMIT Gauge "executor_admission_permits_limit" ["shard", "resource"] "Admission permits there are";
    QUEUE_DEPTH Gauge "executor_shard_queue_commands" ["shard"] "Commands that wait for the shard";
    COMMANDS Counter "executor_shard_commands_total" ["shard"] "Commands that the shard has handled";
    STEPS Counter "executor_shard_events_total" ["shard"] "Events that executions have handled: starts, outcomes, timers";
    BUSY Counter "executor_shard_busy_seconds_total" ["shard"] "Time that the shard spent handling commands";
    TIMERS Gauge "executor_timers_armed" ["shard"] "Timers that have not fired";
    TASKS_SCHEDULED Counter "executor_tasks_scheduled_total" ["shard"] "Tasks handed to workers";
    TASKS_SUCCEEDED Counter "executor_tasks_succeeded_total" ["shard"] "Tasks that a worker or a callback ended with an output";
    TASKS_FAILED Counter "executor_tasks_failed_total" ["shard"] "Tasks that a worker or a callback ended with an error";
    TASKS_WAITING Gauge "executor_tasks_waiting" ["shard"] "Tasks that wait for a worker's credit";
    ACTIVITY_TASKS_WAITING Gauge "executor_activity_tasks_waiting" ["shard"] "Tasks of activities that wait for a worker to ask for them";
    ACTIVITY_POLLS Gauge "executor_activity_polls" [] "Calls that wait for a task of an activity";
    WORKERS Gauge "executor_workers_attached" ["shard"] "Worker streams that are open";
    CALLS Counter "executor_calls_total" ["shard", "integration", "outcome"] "Calls of integrations that have come to their end: answered, failed, or cancelled because nobody waits for them any more";
    CALLS_UNDER_WAY Gauge "executor_calls_under_way" ["shard"] "Calls of integrations that have not come to their end";
    CALL_LATENCY Histogram "executor_call_seconds" ["shard", "integration"] "From the beginning of a call to the answer of its first request";
    CREDENTIALS_HITS Counter "executor_credentials_hits_total" ["shard"] "Look-ups of credentials that the shard's own cache has answered";
    CREDENTIALS_MISSES Counter "executor_credentials_misses_total" ["shard"] "Look-ups of credentials that the node's cache or a provider had to answer";
    CREDENTIALS_FETCHED Counter "executor_credentials_refreshes_total" [] "Credentials that a provider has given";
    CREDENTIALS_FAILURES Counter "executor_credentials_failures_total" ["reason"] "Credentials that a provider has refused or could not give";
    CREDENTIALS_LATENCY Histogram "executor_credentials_fetch_seconds" [] "From asking a provider for credentials to its answer or failure";
    CREDENTIALS_ENTRIES Gauge "executor_credentials_entries" [] "Roles and sessions that the node's cache knows, refused ones among them";
    CREDENTIALS_OLDEST Gauge "executor_credentials_oldest_age_seconds" [] "Age of the oldest credentials that the node's cache would hand out, when it last changed or was asked";
    OBJECTS_READ Counter "executor_objects_read_total" ["shard"] "Objects and pages of listings that distributed Maps have read";
    OBJECTS_WRITTEN Counter "executor_objects_written_total" ["shard"] "Results that distributed Maps have written, each with its manifest";
    OBJECTS_FAILED Counter "executor_objects_failed_total" ["shard"] "Reads and writes of distributed Maps that failed";
    FLUSHES Counter "executor_store_flushes_total" ["shard"] "Flushes that the store has confirmed";
    FLUSH_RECORDS Counter "executor_store_flushed_records_total" ["shard"] "Records in confirmed flushes";
    FLUSH_BYTES Counter "executor_store_flushed_bytes_total" ["shard"] "Encoded bytes in confirmed flushes";
    FLUSH_LATENCY Histogram "executor_store_flush_seconds" ["shard"] "From a flush's sending to the store's confirmation";
    STORE_PENDING Gauge "executor_store_pending_records" ["shard"] "Records that wait for the store's confirmation";
    STORE_ERRORS Counter "executor_store_errors_total" ["shard", "kind"] "Flushes that the store did not confirm, and recoveries that it did not let through";
    BLOCKS_RESENT Counter "executor_store_blocks_resent_total" ["shard"] "Blocks written again because the store had lost them after it confirmed them";
    BLOCKS_LOST Counter "executor_store_blocks_lost_total" ["shard"] "Blocks that the store confirmed and lost, and that the node did not hold any more";
    DERIVED_DROPPED Counter "executor_store_derived_dropped_total" ["shard"] "Index entries that were given up, because the store never takes them";
    STORE_AVAILABLE Gauge "executor_store_available" ["shard"] "1 while the store confirms, 0 while it does not";
    RECOVERED Counter "executor_recovered_executions_total" ["shard"] "Open executions taken over from a log";
    RECOVERY_BLOCKS Counter "executor_recovery_blocks_total" ["shard"] "Blocks after a checkpoint, or of a whole log, that recoveries read";
    CHECKPOINTS Counter "executor_checkpoints_total" ["shard"] "Checkpoints of logs";
    CHECKPOINT_BYTES Counter "executor_checkpoint_bytes_total" ["shard"] "Bytes of checkpoints";
    CARRIED Counter "executor_carried_executions_total" ["shard"] "Open executions written again into later blocks, so that their log can be trimmed";
    NOT_CARRIED Counter "executor_carry_failures_total" ["shard"] "Times that an open execution could not be carried, for its records cannot be read: its log is not trimmed";
    ARCHIVED Counter "executor_archived_executions_total" ["shard"] "Closed executions written to the archive";
    ARCHIVED_BYTES Counter "executor_archived_bytes_total" ["shard"] "Bytes written to the archive";
    ARCHIVE_FAILURES Counter "executor_archive_failures_total" ["shard"] "Attempts to write to the archive that failed, and executions that could not be read for it";
    ARCHIVE_EXPIRED Counter "executor_archive_segments_expired_total" ["shard"] "Segments deleted from the archive because their time had passed";
    ARCHIVE_OVERDUE Gauge "executor_archive_overdue_seconds" ["shard"] "For how long a log has waited beyond its retention to be archived and trimmed";
    REDRIVEN Counter "executor_redriven_executions_total" ["shard"] "Ended executions that were redriven";
    POISONED Counter "executor_poisoned_executions_total" ["shard"] "Executions that were closed because they killed their node again and again";
    OUTCOMES_RETURNED Counter "executor_outcomes_returned_total" ["shard"] "Outcomes that were given back to their workers, for the owner that has their partition now";
    BROKEN Counter "executor_broken_executions_total" ["shard"] "Executions that were closed because the store had lost a part of what they were told";
    RECOVERY_TIME Gauge "executor_recovery_seconds" ["shard"] "How long the last recovery took";
    PARTITIONS_OWNED Gauge "executor_partitions_owned" ["shard"] "Partitions in the shard's hands: recovered, served, or being released";
    PARTITIONS_LOST Counter "executor_partitions_lost_total" ["shard"] "Partitions that the shard had and another owner took, or whose log could not be read";
    COMPLETIONS_DROPPED Counter "executor_completions_dropped_total" ["shard"] "Completions that a watcher was too slow for";
    READY Gauge "executor_ready" [] "1 while the node is SERVING";
    STORE_FOREIGN Gauge "executor_store_foreign" [] "1 while the store that answers is not the one of the node's cluster: emptied, or another's";
    RELOAD_FAILING Gauge "executor_reload_failing" ["what"] "1 while changed certificates, a changed secret or changed connections cannot be used, and the ones before stay in force";
    SECRET_KEYS Info "executor_secret_key_info" ["id", "use"] "Ids of the keys of the cluster's secret in force: the one that seals, and those that open";
    BUILD Info "executor_build_info" ["version"] "The node's version";
    DURABILITY Info "executor_store_durability_info" ["store", "setting", "value"] "Settings that decide what an acknowledgement is worth";
    PROCESS_CPU Counter "process_cpu_seconds_total" [] "CPU time of the process, user and system";
    PROCESS_RSS Gauge "process_resident_memory_bytes" [] "Resident memory of the process";
    PROCESS_FDS Gauge "process_open_fds" [] "Open file descriptors of the process";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus_conventions() {
        for metric in ALL {
            let Metric { name, kind, help, .. } = metric;
            assert!(name.starts_with("executor_") || name.starts_with("process_"), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(*kind == Kind::Info, name.ends_with("_info"), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(!help.ends_with('.') && help.len() > 10, "{name}: {help}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
