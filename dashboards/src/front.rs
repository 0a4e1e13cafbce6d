//! What goes through the schedulers' front doors: how much, how fast, with which errors.

use crate::panel::{Dashboard, Row, Unit, lines, row, stat};
use crate::query::quantile;

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "myriad-front",
        title: "Myriad / Front door",
        description: "Calls of Step Functions' API and of ASW's, as schedulers answer them: rate, errors, durations, connections.",
        instances: "scheduler_build_info",
        variables: Vec::new(),
        rows: vec![well(), requests(), connections()],
    }
}

fn well() -> Row {
    let failed = r#"(sum(rate(scheduler_http_requests_total{*, code!="OK"}[r])) or vector(0)) / (sum(rate(scheduler_http_requests_total{*}[r])) > 0)"#;
    row(
        "Is it well?",
        [
            stat("Requests per second", Unit::PerSecond, "Requests that were answered, refused ones among them.")
                .ask("requests", "sum(rate(scheduler_http_requests_total{*}[r]))"),
            stat("Failed requests", Unit::Ratio, "Share of the requests that were answered with an error, whoever's fault it was: Errors by code, below, says which.")
                .ask("failed", failed)
                .good_below(0.01, 0.1),
            stat("Latency p99", Unit::Seconds, "From the last byte of a request's headers to its answer, over all operations but those that wait for work or an end.")
                .ask("p99", quantile("0.99", "", r#"scheduler_http_request_duration_seconds_bucket{*, operation!~"GetActivityTask|StartSyncExecution"}"#)),
            stat("Open connections", Unit::Count, "Connections of clients that are open.")
                .ask("open", "sum(scheduler_http_connections_open{*})"),
            stat("Refused connections", Unit::PerSecond, "Connections that were closed at once because all others were busy: add schedulers' threads, or look at slow operations.")
                .ask("refused", r#"sum(rate(scheduler_http_connection_troubles_total{*, reason="refused"}[r]))"#)
                .good_below(0.01, 1.0),
        ],
    )
}

fn requests() -> Row {
    row(
        "Requests",
        [
            lines("Requests by operation", Unit::PerSecond, "The ten operations that are called most.")
                .ask("{{api}} {{operation}}", "topk(10, sum by (api, operation) (rate(scheduler_http_requests_total{*}[r])))"),
            lines("Errors by code", Unit::PerSecond, "The ten errors that are answered most, by their names in the API. Http: an HTTP status alone, before an API was known. Gone: the caller went away.")
                .ask("{{api}} {{code}}", r#"topk(10, sum by (api, code) (rate(scheduler_http_requests_total{*, code!="OK"}[r])))"#),
            lines("Errors by operation", Unit::PerSecond, "The ten operations that fail most.")
                .ask("{{api}} {{operation}}", r#"topk(10, sum by (api, operation) (rate(scheduler_http_requests_total{*, code!="OK"}[r])))"#),
            lines("Starts", Unit::Seconds, "How long StartExecution takes: until the start is durable.")
                .quantiles(r#"scheduler_http_request_duration_seconds_bucket{*, operation="StartExecution"}"#),
            lines("Latency p99 by operation", Unit::Seconds, "The ten slowest operations. GetActivityTask waits for work, StartSyncExecution for an end.")
                .ask("{{api}} {{operation}}", format!("topk(10, {})", quantile("0.99", "api, operation", "scheduler_http_request_duration_seconds_bucket{*}"))),
            lines("Bytes", Unit::BytesPerSecond, "Bodies of requests and of answers.")
                .ask("received", "sum(rate(scheduler_http_received_bytes_total{*}[r]))")
                .ask("sent", "sum(rate(scheduler_http_sent_bytes_total{*}[r]))"),
        ],
    )
}

fn connections() -> Row {
    row(
        "Connections",
        [
            lines(
                "Open connections by scheduler",
                Unit::Count,
                "Connections of clients that are open, by scheduler.",
            )
            .ask("{{instance}}", "sum by (instance) (scheduler_http_connections_open{*})"),
            lines(
                "New connections",
                Unit::PerSecond,
                "Connections that were taken. As many as requests: clients do not keep theirs.",
            )
            .ask("taken", "sum(rate(scheduler_http_connections_opened_total{*}[r]))"),
            lines(
                "Ends of connections",
                Unit::PerSecond,
                "Connections that the door refused, or closed before their clients did so, by reason.",
            )
            .ask("{{reason}}", "sum by (reason) (rate(scheduler_http_connection_troubles_total{*}[r]))"),
        ],
    )
}
