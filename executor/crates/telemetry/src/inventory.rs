//! Every metric that a node or a scheduler exposes: name, kind, unit, labels, help.
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

/// What a metric's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things: executions, commands, tasks.
    Count,
    /// Time.
    Seconds,
    /// Sizes.
    Bytes,
}

impl Unit {
    /// As OpenMetrics writes it; things have none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }

    /// The unit of a metric of this name, whose base unit stands at its end.
    const fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let end = if ends(bytes, bytes.len(), b"_total") { bytes.len() - 6 } else { bytes.len() };
        if ends(bytes, end, b"_seconds") {
            Self::Seconds
        } else if ends(bytes, end, b"_bytes") {
            Self::Bytes
        } else {
            Self::Count
        }
    }
}

/// Whether the first `end` bytes of a text end with a suffix.
const fn ends(text: &[u8], end: usize, suffix: &[u8]) -> bool {
    if suffix.len() > end {
        return false;
    }
    let mut at = 0;
    while at < suffix.len() {
        if text[end - suffix.len() + at] != suffix[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As exposed, for example `executor_executions_started_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What its numbers are.
    pub unit: Unit,
    /// Label names.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($(#[$doc:meta])* $all:ident; $($const:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $const: Metric =
                Metric {
                    name: $name,
                    kind: Kind::$kind,
                    unit: Unit::of($name),
                    labels: &[$($label),*],
                    help: $help,
                };
        )*
        $(#[$doc])*
        pub const $all: &[Metric] = &[$($const),*];
    };
}

metrics! {
    /// All of a node, in the order of exposition.
    ALL;
    STARTED Counter "executor_executions_started_total" ["machine"] "Executions whose start is durable";
    SUCCEEDED Counter "executor_executions_succeeded_total" ["machine"] "Executions that ended with an output";
    FAILED Counter "executor_executions_failed_total" ["machine"] "Executions that ended with an error";
    TIMED_OUT Counter "executor_executions_timed_out_total" ["machine"] "Executions that ran too long";
    ABORTED Counter "executor_executions_aborted_total" ["machine"] "Executions that were stopped";
    THROTTLED Counter "executor_executions_throttled_total" ["machine"] "Starts that were refused for want of room; those of machines without a label of their own are counted as other";
    MACHINE_OPEN Gauge "executor_machine_executions_open" ["machine"] "Executions that have not ended, by machine";
    ERRORS Counter "executor_execution_errors_total" ["machine", "error"] "Executions that ended with this error name; names beyond the bound are counted as other";
    DURATION Histogram "executor_execution_duration_seconds" ["machine"] "From the accepted start to the durable end";
    STATE_ENTERED Counter "executor_state_entered_total" ["machine", "state"] "Times that executions entered the state; states beyond the bound are counted as other. Where a partition moves, its new owner counts the ends of states that the earlier one has counted as entered";
    STATE_EXITED Counter "executor_state_exited_total" ["machine", "state"] "Times that executions left the state for the next one or their end, by a catcher too";
    STATE_FAILED Counter "executor_state_failed_total" ["machine", "state"] "Times that the state failed for good: no catcher took its error";
    STATE_ABORTED Counter "executor_state_aborted_total" ["machine", "state"] "Times that the state was given up with what is around it";
    STATE_CAUGHT Counter "executor_state_errors_caught_total" ["machine", "state"] "Errors of the state that a catcher took";
    STATE_RETRIED Counter "executor_state_retries_total" ["machine", "state"] "Attempts of the state after a failed one";
    STATE_TIME Counter "executor_state_seconds_total" ["machine", "state"] "Time that executions spent in the state until they left it";
    STATE_DURATION Histogram "executor_state_duration_seconds" ["type"] "From entering a state to leaving it, by the type of the state";
    TARGET_TASKS Counter "executor_target_tasks_total" ["integration", "target", "outcome"] "Tasks that have come to their end, by what they were given to: succeeded, failed, or cancelled because nobody waits for them any more";
    TARGET_DURATION Histogram "executor_target_task_seconds" ["integration", "target"] "From asking for a task to its good or bad end, by what it was given to; not of cancelled ones";
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
    WAKE_LATENCY Histogram "executor_shard_wake_seconds" ["shard"] "How long the shard handled what woke it; nothing else of the shard goes on meanwhile";
    TIMERS Gauge "executor_timers_armed" ["shard"] "Timers that have not fired";
    TIMERS_FIRED Counter "executor_timers_fired_total" ["shard"] "Timers that have fired";
    TIMER_LATENESS Histogram "executor_timer_lateness_seconds" ["shard"] "From the instant for which a timer was set to its firing";
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
    GRPC_CALLS Counter "executor_grpc_calls_total" ["method", "code"] "Calls that the node's ports have answered, by gRPC's code; a stream counts once, when it has ended";
    GRPC_UNDER_WAY Gauge "executor_grpc_calls_under_way" ["method"] "Calls and streams that have not ended";
    GRPC_DURATION Histogram "executor_grpc_call_duration_seconds" ["method"] "From a call to the end of its answer; of a stream, to its end";
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
    RECOVERIES Counter "executor_recoveries_total" ["shard"] "Partitions that were recovered from their logs";
    RECOVERY_TIME Gauge "executor_recovery_seconds" ["shard"] "How long the last recovery took";
    PARTITIONS_OWNED Gauge "executor_partitions_owned" ["shard"] "Partitions in the shard's hands: recovered, served, or being released";
    PARTITIONS_RECOVERING Gauge "executor_partitions_recovering" ["shard"] "Partitions that are being recovered";
    PARTITIONS_LOST Counter "executor_partitions_lost_total" ["shard"] "Partitions that the shard had and another owner took, or whose log could not be read";
    COMPLETIONS_DROPPED Counter "executor_completions_dropped_total" ["shard"] "Completions that a watcher was too slow for";
    TRACES_NOT_FOLLOWED Counter "executor_traces_not_followed_total" ["shard"] "Executions of sampled callers whose spans are not told, for more came than --traces-follow takes";
    EXPORT_OFFERED Counter "executor_export_offered_items_total" ["signal", "sink"] "Pages of histories, spans and snapshots of metrics that were handed to an exporter, dropped ones among them";
    EXPORT_ITEMS Counter "executor_export_items_total" ["signal", "sink"] "Pages of histories, spans and snapshots of metrics that the exporter's peer has confirmed";
    EXPORT_RECORDS Counter "executor_export_records_total" ["signal", "sink"] "Events, spans and samples in what the exporter's peer has confirmed";
    EXPORT_BYTES Counter "executor_export_sent_bytes_total" ["signal", "sink"] "Bytes that the exporter's peer has confirmed, encoded and compressed as they were sent";
    EXPORT_DROPPED Counter "executor_export_dropped_items_total" ["signal", "sink", "reason"] "Pages of histories, spans and snapshots of metrics that were not sent and will not be";
    EXPORT_DROPPED_RECORDS Counter "executor_export_dropped_records_total" ["signal", "sink", "reason"] "Events, spans and samples in what was not sent and will not be";
    EXPORT_RETRIES Counter "executor_export_retries_total" ["signal", "sink"] "Batches that were sent again after a failure";
    EXPORT_FAILURES Counter "executor_export_failures_total" ["signal", "sink"] "Attempts to send a batch that failed";
    EXPORT_QUEUE Gauge "executor_export_queue_items" ["signal", "sink"] "Pages of histories, spans and snapshots of metrics that wait to be sent";
    EXPORT_QUEUE_BYTES Gauge "executor_export_queue_bytes" ["signal", "sink"] "Bytes that wait to be sent";
    EXPORT_LAG Gauge "executor_export_lag_seconds" ["signal", "sink"] "Age of the oldest that waits to be sent";
    EXPORT_LATENCY Histogram "executor_export_send_seconds" ["signal", "sink"] "From the beginning of an attempt to send a batch to its peer's answer";
    EXPORT_FILES_REMOVED Counter "executor_export_files_removed_total" [] "Files of histories that were removed to make room, the oldest first";
    EXPORT_FILE_BYTES_REMOVED Counter "executor_export_files_removed_bytes_total" [] "Bytes of the files of histories that were removed to make room";
    LOG_SUPPRESSED Counter "executor_log_lines_suppressed_total" ["level"] "Log lines that were held back because their place in the program had logged too many; errors never are";
    LABELS Gauge "executor_metric_labels" ["set"] "Names that have a label of their own on this node";
    LABELS_LIMIT Gauge "executor_metric_labels_limit" ["set"] "Names that can have a label of their own on this node; later ones share the label other";
    READY Gauge "executor_ready" [] "1 while the node is SERVING";
    DRAINING Gauge "executor_draining" [] "1 while the node is going away";
    DRAIN_TIME Gauge "executor_drain_seconds" [] "How long the drain under way has taken";
    STORE_FOREIGN Gauge "executor_store_foreign" [] "1 while the store that answers is not the one of the node's cluster: emptied, or another's";
    RELOAD_FAILING Gauge "executor_reload_failing" ["what"] "1 while changed certificates, a changed secret or changed connections cannot be used, and the ones before stay in force";
    SECRET_KEYS Info "executor_secret_key_info" ["id", "use"] "Ids of the keys of the cluster's secret in force: the one that seals, and those that open";
    BUILD Info "executor_build_info" ["version"] "The node's version";
    DURABILITY Info "executor_store_durability_info" ["store", "setting", "value"] "Settings that decide what an acknowledgement is worth";
    PROCESS_CPU Counter "process_cpu_seconds_total" [] "CPU time of the process, user and system";
    PROCESS_RSS Gauge "process_resident_memory_bytes" [] "Resident memory of the process";
    PROCESS_START Gauge "process_start_time_seconds" [] "When the process started, since the Unix epoch";
    PROCESS_FDS_MAX Gauge "process_max_fds" [] "File descriptors that the process may have open";
    PROCESS_FDS Gauge "process_open_fds" [] "Open file descriptors of the process";
}

metrics! {
    /// A scheduler's own, in the order of exposition; [`PROCESS`] follows them.
    SCHEDULER;
    DOOR_REQUESTS Counter "scheduler_http_requests_total" ["api", "operation", "code", "outcome"] "Requests of the front door that were answered: OK or the error's name in its API; Http where an HTTP status alone was answered, Gone where the caller went away before. By whose affair that is: succeeded, refused (the request's or its caller's), throttled (no room, or more than the caller may ask), failed (the service's), gone";
    DOOR_DURATION Histogram "scheduler_http_request_duration_seconds" ["api", "operation"] "From the last byte of a request's headers to when its answer was there";
    DOOR_RECEIVED Counter "scheduler_http_received_bytes_total" [] "Bytes of the bodies of requests, as far as they were received";
    DOOR_SENT Counter "scheduler_http_sent_bytes_total" [] "Bytes of the bodies of answers";
    DOOR_OPEN Gauge "scheduler_http_connections_open" [] "Connections of the front door that are open";
    DOOR_OPENED Counter "scheduler_http_connections_opened_total" [] "Connections that the front door has taken";
    DOOR_TROUBLES Counter "scheduler_http_connection_troubles_total" ["reason"] "Connections that were refused because all others were busy, or closed before their client did so: to make room, after a handshake that failed, for headers that took too long, for an answer that was not read, idle, or broken";
    SCHEDULER_READY Gauge "scheduler_ready" [] "1 while the scheduler serves: its store answers, and a node takes starts";
    SCHEDULER_STORE Gauge "scheduler_store_available" [] "1 while the store of the scheduler's machines answers";
    SCHEDULER_SHARDS Gauge "scheduler_shards_serving" [] "Shards of nodes that take starts, as the scheduler knows them";
    SCHEDULER_UNSERVED Gauge "scheduler_partitions_unserved" [] "Partitions that no shard serves that the scheduler knows of: nothing starts there, and nothing goes on; 0 while it knows no node";
    SCHEDULER_RELOAD Gauge "scheduler_reload_failing" ["what"] "1 while changed certificates, a changed secret, changed access keys or a changed certificate of the front door cannot be used, and the ones before stay in force";
    SCHEDULER_BUILD Info "scheduler_build_info" ["version"] "The scheduler's version";
}

/// What every process exposes of itself.
pub const PROCESS: &[Metric] = &[PROCESS_CPU, PROCESS_RSS, PROCESS_START, PROCESS_FDS_MAX, PROCESS_FDS];

/// All that is exposed by anybody, each once.
pub fn everybodys() -> impl Iterator<Item = &'static Metric> {
    ALL.iter().chain(SCHEDULER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus_conventions() {
        for metric in everybodys() {
            let Metric { name, kind, unit, help, .. } = metric;
            let whose = name.split('_').next().unwrap_or_default();
            assert!(["executor", "process", "scheduler"].contains(&whose), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(*kind == Kind::Info, name.ends_with("_info"), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            let base = name.trim_end_matches("_total");
            assert!(*unit == Unit::Count || base.ends_with(&format!("_{}", unit.as_str())), "{name}");
            assert!(!help.ends_with('.') && help.len() > 10, "{name}: {help}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let names: std::collections::BTreeSet<_> = everybodys().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len() + SCHEDULER.len());
    }
}
