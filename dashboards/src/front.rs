//! What goes through the schedulers' front doors: how much, how fast, with which errors; and how the schedulers fare.

use crate::panel::{Dashboard, Row, Unit, lines, row, stat};
use crate::query::quantile;

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "myriad-front",
        title: "Myriad / Front door",
        description: "Calls of Step Functions' API and of ASW's, as schedulers answer them: rate, errors, durations, connections; \
                      and whether the schedulers can.",
        instances: "scheduler_build_info",
        variables: Vec::new(),
        rows: vec![well(), objective(), requests(), connections(), schedulers()],
    }
}

/// The share of requests of one outcome, of those of these.
fn share(outcome: &str, of: &str) -> String {
    format!(
        r#"sum(rate(scheduler_http_requests_total{{*, outcome="{outcome}"}}[r])) / (sum(rate(scheduler_http_requests_total{{*, outcome=~"{of}"}}[r])) > 0)"#
    )
}

fn well() -> Row {
    row(
        "Is it well?",
        [
            stat("Schedulers serving", Unit::Ratio, "Schedulers that serve, of those that Prometheus scrapes. Below 100 %: its /healthz says why, and Schedulers, below, which one.")
                .ask("serving", r#"(sum(scheduler_ready{*}) or vector(0)) / count(up{*, job=~"scheduler.*"})"#)
                .good_below(1.0, 0.999),
            stat("Requests per second", Unit::PerSecond, "Requests that were answered, refused ones among them.")
                .ask("requests", "sum(rate(scheduler_http_requests_total{*}[r]))"),
            stat("Failed requests", Unit::Ratio, "Share of the requests that failed by the service's fault, of those that it did or failed to do. 0.1 % is allowed. Errors by code, below, says how.")
                .ask("failed", share("failed", "succeeded|failed"))
                .good_below(0.001, 0.0144),
            stat("Throttled requests", Unit::Ratio, "Share of the requests for which there was no room, or whose keys may not ask so much: clients try again.")
                .ask("throttled", share("throttled", ".+"))
                .good_below(0.01, 0.05),
            stat("Latency p99", Unit::Seconds, "From the last byte of a request's headers to its answer, over all operations but those that wait for work or an end.")
                .ask("p99", quantile("0.99", "", r#"scheduler_http_request_duration_seconds_bucket{*, operation!~"GetActivityTask|StartSyncExecution"}"#)),
            stat("Refused connections", Unit::PerSecond, "Connections that were closed at once because all others were busy: docs/operations.md, The front door refuses connections.")
                .ask("refused", r#"sum(rate(scheduler_http_connection_troubles_total{*, reason="refused"}[r]))"#)
                .good_below(0.01, 1.0),
        ],
    )
}

fn objective() -> Row {
    row(
        "Objective, by job (dashboards/prometheus/rules/objectives.yml)",
        [
            stat("Requests served, 3 days", Unit::Ratio, "Requests that were done, of those that were done or failed by the service's fault. The objective is 99.9 %.")
                .ask("{{job}}", r#"1 - job:scheduler_requests_failed:ratio_rate3d{job=~"$job"}"#)
                .good_below(0.999, 0.998)
                .size(4, 8),
            lines("Budget burn: requests served", Unit::Times, "How many times as fast as the objective allows its budget is used. 1 uses up all of it in 30 days; above 14.4 over an hour somebody is called, above 6 over six hours too.")
                .ask("5 min", r#"job:scheduler_requests_failed:ratio_rate5m{job=~"$job"} / 0.001"#)
                .ask("1 h", r#"job:scheduler_requests_failed:ratio_rate1h{job=~"$job"} / 0.001"#)
                .ask("6 h", r#"job:scheduler_requests_failed:ratio_rate6h{job=~"$job"} / 0.001"#)
                .size(20, 8),
        ],
    )
}

fn requests() -> Row {
    row(
        "Requests",
        [
            lines("Requests by operation", Unit::PerSecond, "The ten operations that are called most.")
                .ask("{{api}} {{operation}}", "topk(10, sum by (api, operation) (rate(scheduler_http_requests_total{*}[r])))"),
            lines("Requests by outcome", Unit::PerSecond, "Whose affair it is how they ended. Refused: the request's, or its caller's. Failed: the service's. Gone: the caller did not wait for the answer; many of them mean that answers are slow.")
                .ask("{{outcome}}", "sum by (outcome) (rate(scheduler_http_requests_total{*}[r]))"),
            lines("Errors by code", Unit::PerSecond, "The ten errors that are answered most, by their names in the API. Http: an HTTP status alone, before an API was known. Gone: the caller went away.")
                .ask("{{api}} {{code}} ({{outcome}})", r#"topk(10, sum by (api, code, outcome) (rate(scheduler_http_requests_total{*, code!="OK"}[r])) > 0)"#),
            lines("Errors by operation", Unit::PerSecond, "The ten operations that fail most, by whose affair that is.")
                .ask("{{api}} {{operation}} ({{outcome}})", r#"topk(10, sum by (api, operation, outcome) (rate(scheduler_http_requests_total{*, code!="OK"}[r])) > 0)"#),
            lines("Starts", Unit::Seconds, "How long StartExecution takes: until the start is durable.")
                .quantiles(r#"scheduler_http_request_duration_seconds_bucket{*, operation="StartExecution"}"#),
            lines("Latency p99 by operation", Unit::Seconds, "The ten slowest operations. GetActivityTask waits for work, StartSyncExecution for an end.")
                .ask("{{api}} {{operation}}", format!("topk(10, {})", quantile("0.99", "api, operation", "scheduler_http_request_duration_seconds_bucket{*}"))),
        ],
    )
}

fn connections() -> Row {
    let small = |title, unit, description| lines(title, unit, description).size(6, 8);
    row(
        "Connections",
        [
            small(
                "Open connections by scheduler",
                Unit::Count,
                "Connections of clients that are open, by scheduler.",
            )
            .ask("{{instance}}", "sum by (instance) (scheduler_http_connections_open{*})"),
            small(
                "New connections",
                Unit::PerSecond,
                "Connections that were taken. As many as requests: clients do not keep theirs.",
            )
            .ask("taken", "sum(rate(scheduler_http_connections_opened_total{*}[r]))"),
            small(
                "Ends of connections",
                Unit::PerSecond,
                "Connections that the door refused, or closed before their clients did so, by reason.",
            )
            .ask("{{reason}}", "sum by (reason) (rate(scheduler_http_connection_troubles_total{*}[r]))"),
            small("Bytes", Unit::BytesPerSecond, "Bodies of requests and of answers.")
                .ask("received", "sum(rate(scheduler_http_received_bytes_total{*}[r]))")
                .ask("sent", "sum(rate(scheduler_http_sent_bytes_total{*}[r]))"),
        ],
    )
}

fn schedulers() -> Row {
    row(
        "Schedulers",
        [
            lines("Partitions not served", Unit::Count, "Partitions that no node serves that the scheduler knows of: nothing starts there, and what is open there does not go on. Other than zero for seconds while partitions move; scheduler-stub nodes names them.")
                .ask("{{instance}}", "max by (instance) (scheduler_partitions_unserved{*})"),
            lines("Shards that take starts", Unit::Count, "As the scheduler knows them. None: it answers no start.")
                .ask("{{instance}}", "max by (instance) (scheduler_shards_serving{*})"),
            lines("Store answers", Unit::Ratio, "Whether the store of the machines answers. Where it does not, machines cannot be made, changed or looked up; those that the scheduler remembers are started all the same.")
                .ask("{{instance}}", "min by (instance) (scheduler_store_available{*})"),
            lines("Reloads that fail", Unit::Count, "1 while changed certificates, a changed secret or changed access keys cannot be used: what was in force stays so, until it expires. The log says what is wrong.")
                .ask("{{instance}} {{what}}", "max by (instance, what) (scheduler_reload_failing{*})").size(6, 8),
            lines("CPU", Unit::Count, "CPU seconds a second of each scheduler: how many cores it uses.")
                .ask("{{instance}}", "rate(process_cpu_seconds_total{*}[r]) and on (job, instance) scheduler_ready{*}").size(6, 8),
            lines("Memory", Unit::Bytes, "Resident memory of each scheduler.")
                .ask("{{instance}}", "process_resident_memory_bytes{*} and on (job, instance) scheduler_ready{*}").size(6, 8),
            lines("File descriptors", Unit::Ratio, "Open file descriptors of those that the process may have open. Each connection is one.")
                .ask("{{instance}}", "process_open_fds{*} / process_max_fds{*} and on (job, instance) scheduler_ready{*}").size(6, 8),
        ],
    )
}
