//! What a node is busy with: utilisation, saturation and errors of each shard, then of what shards lean on.

use crate::panel::{Dashboard, Row, Unit, lines, row, table};
use crate::query::quantile;

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "myriad-node",
        title: "Myriad / Node",
        description: "What a node is busy with: shards, requests, admission, store, partitions, tasks, credentials, exporters, process.",
        instances: "executor_ready",
        variables: Vec::new(),
        rows: vec![
            nodes(),
            shards(),
            requests(),
            admission(),
            store(),
            partitions(),
            tasks(),
            credentials(),
            archive(),
            exporters(),
            process(),
        ],
    }
}

fn nodes() -> Row {
    row(
        "Nodes",
        [
            table("Nodes", Unit::Count, "One line for each node. Ready: 1 while it serves. Draining: for how long it has been going away. Open: executions that have not ended. Wrong store: 1 while what answers is not the store of its cluster.")
                .ask("Ready", "sum by (instance) (executor_ready{*})")
                .ask("Draining", "sum by (instance) (executor_draining{*})")
                .column("Draining for", Unit::Seconds, "max by (instance) (executor_drain_seconds{*})")
                .ask("Wrong store", "sum by (instance) (executor_store_foreign{*})")
                .column("Up for", Unit::Seconds, "time() - max by (instance) (process_start_time_seconds{*} and on (job, instance) executor_ready{*})")
                .ask("Open", "sum by (instance) (executor_executions_open{*})")
                .ask("Partitions", "sum by (instance) (executor_partitions_owned{*})")
                .size(16, 9),
            table("Versions, durability and keys", Unit::Count, "How many nodes have each version, each setting that decides what an acknowledgement is worth, and each key of the cluster's secret. More than one version: an upgrade is under way.")
                .ask("Versions", "count by (version) (executor_build_info{*})")
                .ask("Settings", "count by (store, setting, value) (executor_store_durability_info{*})")
                .ask("Keys", "count by (id, use) (executor_secret_key_info{*})")
                .size(8, 9),
        ],
    )
}

fn shards() -> Row {
    let by = "{{instance}} shard {{shard}}";
    row(
        "Shards: utilisation, saturation, errors",
        [
            lines("Busy", Unit::Ratio, "Utilisation: the share of its thread that a shard spends on commands. One near 100 % while others are not: its partitions have more to do.")
                .ask(by, "sum by (instance, shard) (rate(executor_shard_busy_seconds_total{*}[r]))"),
            lines("Command queue", Unit::Count, "Saturation: commands that wait for the shard. Short peaks are usual; a queue that stays means that the shard does not keep up, or hangs.")
                .ask(by, "sum by (instance, shard) (executor_shard_queue_commands{*})"),
            lines("Wake p99", Unit::Seconds, "How long a shard handles what woke it; nothing else of the shard goes on meanwhile. Above 50 ms: one execution works much, or the machine has too few cores.")
                .ask(by, quantile("0.99", "instance, shard", "executor_shard_wake_seconds_bucket{*}")),
            lines("Commands and events", Unit::PerSecond, "Commands handled by the shards, and events handled by executions.")
                .ask("{{instance}} commands", "sum by (instance) (rate(executor_shard_commands_total{*}[r]))")
                .ask("{{instance}} events", "sum by (instance) (rate(executor_shard_events_total{*}[r]))"),
            lines("Open executions", Unit::Count, "Executions that have not ended. They take memory, and are replayed after a crash.")
                .ask(by, "sum by (instance, shard) (executor_executions_open{*})"),
            lines("Errors", Unit::PerSecond, "Executions closed as poison or broken, completions dropped because their watcher is slow, and starts of sampled callers beyond --traces-follow, whose spans are not told. All zero is right.")
                .ask("poisoned", "sum(rate(executor_poisoned_executions_total{*}[r]))")
                .ask("broken", "sum(rate(executor_broken_executions_total{*}[r]))")
                .ask("completions dropped", "sum(rate(executor_completions_dropped_total{*}[r]))")
                .ask("traces not followed", "sum(rate(executor_traces_not_followed_total{*}[r]))"),
            lines("Timers armed", Unit::Count, "Timers that have not fired: waits, retries, timeouts.")
                .ask(by, "sum by (instance, shard) (executor_timers_armed{*})"),
            lines("Timers fired", Unit::PerSecond, "Timers that have fired.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_timers_fired_total{*}[r]))"),
            lines("Timer lateness", Unit::Seconds, "From the instant for which a timer was set to its firing. More than some milliseconds: the shard is busy.")
                .quantiles("executor_timer_lateness_seconds_bucket{*}"),
        ],
    )
}

fn requests() -> Row {
    // Streams and long polls last as long as they are wanted: their duration says nothing.
    let short = r#"method!~"StartExecutions|GetActivityTask|AwaitActivityTask|RegisterDispatcher|Work|Watch|WatchCompletions""#;
    row(
        "Requests: rate, errors, duration",
        [
            lines("Requests", Unit::PerSecond, "Calls of gRPC that have been answered, by method. A stream counts once, when it has ended; starts in it are counted under Admission.")
                .ask("{{method}}", "sum by (method) (rate(executor_grpc_calls_total{*}[r])) > 0"),
            lines("Requests with an error", Unit::PerSecond, "By gRPC's code. UNAVAILABLE, INTERNAL and other (DATA_LOSS among them) are the node's; RESOURCE_EXHAUSTED says that it has no room; CANCELLED: the client has gone; the others are the client's.")
                .ask("{{code}}", r#"sum by (code) (rate(executor_grpc_calls_total{*, code!="OK"}[r]))"#),
            lines("Request latency p99", Unit::Seconds, "From a call to the end of its answer, without streams and long polls.")
                .ask("{{method}}", quantile("0.99", "method", &format!("executor_grpc_call_duration_seconds_bucket{{*, {short}}}"))),
            lines("Share of the node's errors", Unit::Ratio, "Requests that failed by the node's fault, of those of the same method. Clients repeat them.")
                .ask("{{method}}", r#"sum by (method) (rate(executor_grpc_calls_total{*, code=~"UNAVAILABLE|INTERNAL|other"}[r])) / (sum by (method) (rate(executor_grpc_calls_total{*}[r])) > 0)"#),
            lines("Requests under way", Unit::Count, "Calls and streams that have not ended. Streams of workers and dispatchers stay; calls that grow wait for the store.")
                .ask("{{method}}", "sum by (method) (executor_grpc_calls_under_way{*}) > 0"),
        ],
    )
}

fn admission() -> Row {
    row(
        "Admission",
        [
            lines("Permits", Unit::Ratio, "Permits in use of those there are, by count and by bytes, on the fullest shard. At 100 % starts are refused.")
                .ask("{{instance}} {{resource}}", "max by (instance, resource) (executor_admission_permits_used{*} / executor_admission_permits_limit{*})"),
            lines("Refused starts", Unit::PerSecond, "Starts that were refused, by reason: overloaded and store_unavailable are the platform's; not_owner and draining send the client elsewhere; the others are the client's.")
                .ask("{{reason}}", "sum by (reason) (rate(executor_starts_refused_total{*}[r]))"),
            lines("Repeated starts", Unit::PerSecond, "Starts that were recognised as sent before: clients repeat what they have no answer to.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_starts_duplicate_total{*}[r]))"),
        ],
    )
}

fn store() -> Row {
    row(
        "Store",
        [
            lines("Flush latency", Unit::Seconds, "From the sending of a flush to the store's confirmation. Every acknowledgement waits for one.")
                .quantiles("executor_store_flush_seconds_bucket{*}"),
            lines("Flushes", Unit::PerSecond, "Flushes that the store has confirmed.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_store_flushes_total{*}[r]))"),
            lines("Records per flush", Unit::Count, "Bigger flushes cost the store less per execution.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_store_flushed_records_total{*}[r])) / (sum by (instance) (rate(executor_store_flushes_total{*}[r])) > 0)"),
            lines("Written bytes", Unit::BytesPerSecond, "Encoded bytes in confirmed flushes, in all and of checkpoints.")
                .ask("{{instance}} flushes", "sum by (instance) (rate(executor_store_flushed_bytes_total{*}[r]))")
                .ask("{{instance}} checkpoints", "sum by (instance) (rate(executor_checkpoint_bytes_total{*}[r]))"),
            lines("Waiting records", Unit::Count, "Records that wait for the store's confirmation.")
                .ask("{{instance}} shard {{shard}}", "sum by (instance, shard) (executor_store_pending_records{*})"),
            lines("Store errors", Unit::PerSecond, "Flushes that were not confirmed, by kind. Fenced: another owner has the partition. went-back: the log ends below what was confirmed.")
                .ask("{{kind}}", "sum by (kind) (rate(executor_store_errors_total{*}[r]))"),
            lines("Store confirms", Unit::Ratio, "Shards whose store confirms.")
                .ask("{{instance}}", "avg by (instance) (executor_store_available{*})"),
            lines("Blocks written again or lost", Unit::PerSecond, "Blocks that the store had confirmed and a promoted replica did not have: written again, or LOST where the node did not hold them any more. Index entries given up: Redis refuses them for good.")
                .ask("written again", "sum(rate(executor_store_blocks_resent_total{*}[r]))")
                .ask("LOST", "sum(rate(executor_store_blocks_lost_total{*}[r]))")
                .ask("index entries given up", "sum(rate(executor_store_derived_dropped_total{*}[r]))"),
            lines("Checkpoints and carried executions", Unit::PerSecond, "Checkpoints of logs, and open executions written again into later blocks so that their log can be trimmed. Not carried: their records cannot be read, the log grows.")
                .ask("checkpoints", "sum(rate(executor_checkpoints_total{*}[r]))")
                .ask("carried", "sum(rate(executor_carried_executions_total{*}[r]))")
                .ask("not carried", "sum(rate(executor_carry_failures_total{*}[r]))"),
        ],
    )
}

fn partitions() -> Row {
    row(
        "Partitions and recovery",
        [
            lines("Partitions", Unit::Count, "Partitions in the hands of each node, and those among them that are being recovered.")
                .ask("{{instance}} owned", "sum by (instance) (executor_partitions_owned{*})")
                .ask("{{instance}} recovering", "sum by (instance) (executor_partitions_recovering{*})"),
            lines("Recoveries", Unit::PerSecond, "Partitions recovered from their logs, executions taken over with them, blocks read for that, and partitions lost to another owner.")
                .ask("recoveries", "sum(rate(executor_recoveries_total{*}[r]))")
                .ask("executions taken over", "sum(rate(executor_recovered_executions_total{*}[r]))")
                .ask("blocks read", "sum(rate(executor_recovery_blocks_total{*}[r]))")
                .ask("partitions lost", "sum(rate(executor_partitions_lost_total{*}[r]))"),
            lines("Recovery time", Unit::Seconds, "How long the last recovery of each node took, of its slowest shard.")
                .ask("{{instance}}", "max by (instance) (executor_recovery_seconds{*})"),
        ],
    )
}

fn tasks() -> Row {
    row(
        "Tasks, workers and calls",
        [
            lines("Tasks", Unit::PerSecond, "Tasks handed to workers and how they ended; outcomes given back for the owner that has their partition now; executions redriven.")
                .ask("handed over", "sum(rate(executor_tasks_scheduled_total{*}[r]))")
                .ask("succeeded", "sum(rate(executor_tasks_succeeded_total{*}[r]))")
                .ask("failed", "sum(rate(executor_tasks_failed_total{*}[r]))")
                .ask("outcomes given back", "sum(rate(executor_outcomes_returned_total{*}[r]))")
                .ask("executions redriven", "sum(rate(executor_redriven_executions_total{*}[r]))"),
            lines("Waiting tasks", Unit::Count, "Tasks that wait for a worker's credit, and tasks of activities that nobody has asked for: start more workers.")
                .ask("for workers", "sum(executor_tasks_waiting{*})")
                .ask("of activities", "sum(executor_activity_tasks_waiting{*})"),
            lines("Workers", Unit::Count, "Worker streams that are open (one for each worker and shard), and calls that wait for a task of an activity.")
                .ask("worker streams", "sum(executor_workers_attached{*})")
                .ask("polls of activities", "sum(executor_activity_polls{*})"),
            lines("Calls", Unit::PerSecond, "Calls of integrations that have come to their end, by outcome; cancelled ones are those that nobody waited for any more.")
                .ask("{{integration}} {{outcome}}", "sum by (integration, outcome) (rate(executor_calls_total{*}[r]))"),
            lines("Calls under way", Unit::Count, "Calls that have not come to their end: jobs that are followed, and those that wait for their turn or the store, among them.")
                .ask("{{instance}}", "sum by (instance) (executor_calls_under_way{*})"),
            lines("Call latency p99", Unit::Seconds, "From the beginning of a call to the answer of its first request.")
                .ask("{{integration}}", quantile("0.99", "integration", "executor_call_seconds_bucket{*}")),
        ],
    )
}

fn credentials() -> Row {
    row(
        "Credentials of tasks",
        [
            lines("Look-ups", Unit::PerSecond, "Hits are answered by a shard's own cache; misses ask the node's cache, which asks a provider only if it must.")
                .ask("hits", "sum(rate(executor_credentials_hits_total{*}[r]))")
                .ask("misses", "sum(rate(executor_credentials_misses_total{*}[r]))"),
            lines("Fetches", Unit::PerSecond, "What providers gave, and what they refused or could not give. Failures mean that keys run out.")
                .ask("fetched", "sum(rate(executor_credentials_refreshes_total{*}[r]))")
                .ask("{{reason}}", "sum by (reason) (rate(executor_credentials_failures_total{*}[r]))"),
            lines("Fetch latency", Unit::Seconds, "From asking a provider for credentials to its answer or failure.")
                .quantiles("executor_credentials_fetch_seconds_bucket{*}"),
            lines("Age of the oldest", Unit::Seconds, "Age of the oldest credentials that would be handed out. One that grows beyond the usual: a provider is down.")
                .ask("{{instance}}", "max by (instance) (executor_credentials_oldest_age_seconds{*})"),
            lines("Roles", Unit::Count, "Roles and sessions that the nodes' caches know, refused ones among them.")
                .ask("{{instance}}", "sum by (instance) (executor_credentials_entries{*})"),
            lines("Changed files that cannot be used", Unit::Count, "1 while changed certificates, a changed secret or changed connections cannot be used; those before stay in force until they expire.")
                .ask("{{instance}} {{what}}", "sum by (instance, what) (executor_reload_failing{*})"),
        ],
    )
}

fn archive() -> Row {
    row(
        "Archive and objects",
        [
            lines("Archive overdue", Unit::Seconds, "For how long a log has had closed executions beyond its retention because they are not archived: its store grows meanwhile. Zero is right.")
                .ask("{{instance}}", "max by (instance) (executor_archive_overdue_seconds{*})"),
            lines("Archived", Unit::PerSecond, "Closed executions written to the archive, segments deleted because their time had passed, and what failed.")
                .ask("executions", "sum(rate(executor_archived_executions_total{*}[r]))")
                .ask("segments expired", "sum(rate(executor_archive_segments_expired_total{*}[r]))")
                .ask("failures", "sum(rate(executor_archive_failures_total{*}[r]))"),
            lines("Archived bytes", Unit::BytesPerSecond, "Bytes written to the archive, compressed, with their indexes.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_archived_bytes_total{*}[r]))"),
            lines("Objects of distributed Maps", Unit::PerSecond, "Objects and pages of listings read, results written, and what failed.")
                .ask("read", "sum(rate(executor_objects_read_total{*}[r]))")
                .ask("written", "sum(rate(executor_objects_written_total{*}[r]))")
                .ask("failed", "sum(rate(executor_objects_failed_total{*}[r]))"),
        ],
    )
}

fn exporters() -> Row {
    let by = "{{signal}} {{sink}}";
    row(
        "Exporters of histories, spans and metrics",
        [
            lines("Pages offered and sent", Unit::PerSecond, "Pages of histories, spans and snapshots of metrics handed to exporters, and those that their peers confirmed. The two lines part when a peer is slow.")
                .ask("{{signal}} {{sink}} offered", "sum by (signal, sink) (rate(executor_export_offered_items_total{*}[r]))")
                .ask("{{signal}} {{sink}} sent", "sum by (signal, sink) (rate(executor_export_items_total{*}[r]))"),
            lines("Records sent", Unit::PerSecond, "Events, spans and samples that peers confirmed.")
                .ask(by, "sum by (signal, sink) (rate(executor_export_records_total{*}[r]))"),
            lines("Bytes sent", Unit::BytesPerSecond, "Bytes that peers confirmed, as they were sent.")
                .ask(by, "sum by (signal, sink) (rate(executor_export_sent_bytes_total{*}[r]))"),
            lines("Dropped", Unit::PerSecond, "What was not sent and will not be, by reason: items, and the records in them. queue_full and gave_up: the peer is slow or away. unconfirmed: the store is slow. refused and too_large: the peer does not take it.")
                .ask("{{sink}} {{reason}} items", "sum by (sink, reason) (rate(executor_export_dropped_items_total{*}[r]))")
                .ask("{{sink}} {{reason}} records", "sum by (sink, reason) (rate(executor_export_dropped_records_total{*}[r]))"),
            lines("Failures and retries", Unit::PerSecond, "Attempts to send a batch that failed, and batches sent again after a failure.")
                .ask("{{sink}} failures", "sum by (sink) (rate(executor_export_failures_total{*}[r]))")
                .ask("{{sink}} retries", "sum by (sink) (rate(executor_export_retries_total{*}[r]))"),
            lines("Send latency p99", Unit::Seconds, "From the beginning of an attempt to send a batch to its peer's answer.")
                .ask(by, quantile("0.99", "signal, sink", "executor_export_send_seconds_bucket{*}")),
            lines("Export queue", Unit::Count, "Items that wait to be sent. A full queue drops what comes.")
                .ask(by, "sum by (signal, sink) (executor_export_queue_items{*})"),
            lines("Queued bytes", Unit::Bytes, "Bytes that wait to be sent.")
                .ask(by, "sum by (signal, sink) (executor_export_queue_bytes{*})"),
            lines("Lag", Unit::Seconds, "Age of the oldest that waits to be sent: how far behind the log service is.")
                .ask(by, "max by (signal, sink) (executor_export_lag_seconds{*})"),
            lines("Removed files of histories", Unit::PerSecond, "Files of histories that were removed to make room, the oldest first: whoever ships them must be faster, or they need more room.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_export_files_removed_total{*}[r]))"),
            lines("Removed bytes of histories", Unit::BytesPerSecond, "What those files held.")
                .ask("{{instance}}", "sum by (instance) (rate(executor_export_files_removed_bytes_total{*}[r]))"),
        ],
    )
}

fn process() -> Row {
    row(
        "Process",
        [
            lines("CPU", Unit::Count, "CPU seconds a second of each node: how many cores it uses.")
                .ask("{{instance}}", "rate(process_cpu_seconds_total{*}[r]) and on (job, instance) executor_ready{*}"),
            lines("Memory", Unit::Bytes, "Resident memory of each node.")
                .ask("{{instance}}", "process_resident_memory_bytes{*} and on (job, instance) executor_ready{*}"),
            lines("File descriptors", Unit::Ratio, "Open file descriptors of those that the process may have open.")
                .ask("{{instance}}", "process_open_fds{*} / process_max_fds{*} and on (job, instance) executor_ready{*}"),
            lines("Names with a label of their own", Unit::Ratio, "Of the bounded sets of label values, how much is used. At 100 % what comes later is counted together, as other.")
                .ask("{{instance}} {{set}}", "max by (instance, set) (executor_metric_labels{*} / executor_metric_labels_limit{*})"),
            lines("Log lines held back", Unit::PerSecond, "Log lines that were not written because their place in the program had written too many; errors always are. The log says in one line what was held back: something goes wrong again and again.")
                .ask("{{level}}", "sum by (level) (rate(executor_log_lines_suppressed_total{*}[r]))"),
        ],
    )
}
