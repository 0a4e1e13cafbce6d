//! Is it well? The first row says so; the others say of which machine, of what kind, since when.

use crate::panel::{Dashboard, Row, Unit, Variable, lines, row, stat, table};
use crate::query::quantile;

/// Executions of the selected machines that ended, a second.
const ENDED: &str = "(sum(rate(executor_executions_succeeded_total{m}[r])) + \
     sum(rate(executor_executions_failed_total{m}[r])) + sum(rate(executor_executions_timed_out_total{m}[r])) + \
     sum(rate(executor_executions_aborted_total{m}[r])))";

/// For how long each alert that fires has held, by all that alerts are about.
const ALERTS: &str = r#"max by (alertname, severity, instance, shard, machine, integration, target, method, api, operation, signal, sink, reason, what, set) ((time() - ALERTS_FOR_STATE{a, alertname=~"Myriad.+"}) and ignoring (alertstate) ALERTS{a, alertname=~"Myriad.+", alertstate="firing"})"#;

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "myriad-overview",
        title: "Myriad / Overview",
        description: "Is it well? Starts, successes, failures and latency, by machine; then whether the service keeps its \
                      objectives.",
        instances: "executor_ready",
        variables: vec![Variable {
            name: "machine",
            label: "Machine",
            of: "executor_executions_started_total{*}",
            multi: true,
        }],
        rows: vec![well(), causes(), objectives(), executions(), machines(), latency(), tasks()],
    }
}

fn well() -> Row {
    let success = format!("sum(rate(executor_executions_succeeded_total{{m}}[r])) / ({ENDED} > 0)");
    row(
        "Is it well?",
        [
            stat("Nodes serving", Unit::Ratio, "Nodes that are SERVING, of those that Prometheus scrapes. Below 100 %: the dashboard Node says which one is not, its /healthz says why.")
                .ask("serving", "(sum(executor_ready{*}) or vector(0)) / count(up{*, job=~\"myriad.*\"})")
                .good_below(1.0, 0.999),
            stat("Alerts", Unit::Count, "Alerts that fire for the selected nodes. Each names the part of docs/operations.md that says what to do.")
                .ask("firing", r#"count(ALERTS{a, alertname=~"Myriad.+", alertstate="firing"}) or vector(0)"#)
                .good_below(1.0, 1.0),
            stat("Starts per second", Unit::PerSecond, "Executions whose start became durable. Zero while clients send means that starts are refused: look at Refused starts.")
                .ask("starts", "sum(rate(executor_executions_started_total{m}[r]))"),
            stat("Success ratio", Unit::Ratio, "Executions that ended with an output, of all that ended. What machines do to themselves counts here too; what the platform owes them is under Objectives.")
                .ask("succeeded", success)
                .good_below(0.99, 0.95),
            stat("Failures per second", Unit::PerSecond, "Executions that ended FAILED or TIMED_OUT. Failures by machine and by error are below.")
                .ask("failed", "sum(rate(executor_executions_failed_total{m}[r])) + sum(rate(executor_executions_timed_out_total{m}[r]))"),
            stat("Ack latency p99", Unit::Seconds, "From a received start to its durable acknowledgement. The objective is 10 ms; store latency is the usual cause of more.")
                .ask("p99", quantile("0.99", "", "executor_start_ack_seconds_bucket{*}"))
                .good_below(0.01, 0.1),
        ],
    )
}

fn causes() -> Row {
    row(
        "Where to look if it is not",
        [
            stat("Store confirms", Unit::Ratio, "Shards whose store confirms what they write. Below 100 % those shards acknowledge nothing and refuse starts; nothing is lost.")
                .ask("confirms", "avg(executor_store_available{*})")
                .good_below(1.0, 0.999),
            stat("Store latency p99", Unit::Seconds, "From the sending of a flush to the store's confirmation, on the slowest node. A sync of a good disk takes 1 to 3 ms.")
                .ask("p99", format!("max({})", quantile("0.99", "instance", "executor_store_flush_seconds_bucket{*}")))
                .good_below(0.01, 0.1),
            stat("Worst task target", Unit::Ratio, "Share of failed tasks of the target that fails most. Which one it is: Task targets, below. Zero if no tasks are done.")
                .ask("failed", r#"max(sum by (integration, target) (rate(executor_target_tasks_total{*, outcome="failed"}[r])) / (sum by (integration, target) (rate(executor_target_tasks_total{*, outcome=~"succeeded|failed"}[r])) > 0)) or vector(0)"#)
                .good_below(0.05, 0.25),
            stat("Refused starts", Unit::PerSecond, "Starts that were refused for want of room or of the store: clients try again. Scale out, or look at the store.")
                .ask("refused", r#"sum(rate(executor_starts_refused_total{*, reason=~"overloaded|store_unavailable"}[r]))"#)
                .good_below(0.1, 10.0),
            stat("Busiest shard", Unit::Ratio, "Share of its thread that the busiest shard uses. Above 70 % latencies grow: scale out.")
                .ask("busy", "max(rate(executor_shard_busy_seconds_total{*}[r]))")
                .good_below(0.7, 0.9),
            stat("Exports dropped", Unit::PerSecond, "Events, spans and samples that exporters have given up, because their peers are slow or away. Executions do not suffer; who reads the exports does.")
                .ask("dropped", "sum(rate(executor_export_dropped_records_total{*}[r])) or vector(0)")
                .good_below(0.001, 100.0),
            table("Alerts that fire", Unit::Count, "What each alert is about, and for how long that has been so. Empty is right. docs/operations.md says for each what to do.")
                .column("For", Unit::Seconds, ALERTS)
                .size(24, 8),
        ],
    )
}

fn objectives() -> Row {
    row(
        "Objectives, by job (dashboards/prometheus/rules/objectives.yml)",
        [
            stat("Starts served, 3 days", Unit::Ratio, "Starts that the platform served: neither refused for want of room or of the store, nor closed for the platform's own reasons. The objective is 99.9 %.")
                .ask("{{job}}", r#"1 - job:executor_starts_unserved:ratio_rate3d{job=~"$job"}"#)
                .good_below(0.999, 0.998)
                .size(4, 8),
            stat("Acks within 10 ms, 3 days", Unit::Ratio, "Starts that were acknowledged within 10 ms of their receipt. The objective is 99 %.")
                .ask("{{job}}", r#"1 - job:executor_start_ack_slow:ratio_rate3d{job=~"$job"}"#)
                .good_below(0.99, 0.98)
                .size(4, 8),
            lines("Budget burn: starts served", Unit::Times, "How many times as fast as the objective allows its budget is used. 1 uses up all of it in 30 days; above 14.4 over an hour somebody is called, above 6 over six hours too.")
                .ask("5 min", r#"job:executor_starts_unserved:ratio_rate5m{job=~"$job"} / 0.001"#)
                .ask("1 h", r#"job:executor_starts_unserved:ratio_rate1h{job=~"$job"} / 0.001"#)
                .ask("6 h", r#"job:executor_starts_unserved:ratio_rate6h{job=~"$job"} / 0.001"#),
            lines("Budget burn: acks within 10 ms", Unit::Times, "As the panel beside it, for acknowledgements that take longer than 10 ms.")
                .ask("5 min", r#"job:executor_start_ack_slow:ratio_rate5m{job=~"$job"} / 0.01"#)
                .ask("1 h", r#"job:executor_start_ack_slow:ratio_rate1h{job=~"$job"} / 0.01"#)
                .ask("6 h", r#"job:executor_start_ack_slow:ratio_rate6h{job=~"$job"} / 0.01"#),
        ],
    )
}

fn executions() -> Row {
    row(
        "Executions",
        [
            lines("Starts by machine", Unit::PerSecond, "Durable starts a second, the ten busiest machines.")
                .ask("{{machine}}", "topk(10, sum by (machine) (rate(executor_executions_started_total{m}[r])))"),
            lines("Ends by status", Unit::PerSecond, "Executions that ended, by status.")
                .ask("succeeded", "sum(rate(executor_executions_succeeded_total{m}[r]))")
                .ask("failed", "sum(rate(executor_executions_failed_total{m}[r]))")
                .ask("timed out", "sum(rate(executor_executions_timed_out_total{m}[r]))")
                .ask("aborted", "sum(rate(executor_executions_aborted_total{m}[r]))"),
            lines("Failures by machine", Unit::PerSecond, "FAILED and TIMED_OUT a second, the ten worst machines. The dashboard Workflow says in which state.")
                .ask("{{machine}}", "topk(10, sum by (machine) (rate(executor_executions_failed_total{m}[r]) + rate(executor_executions_timed_out_total{m}[r])))"),
            lines("Failures by error", Unit::PerSecond, "The ten error names with which most executions end.")
                .ask("{{error}}", "topk(10, sum by (error) (rate(executor_execution_errors_total{m}[r])))"),
            lines("Open executions", Unit::Count, "Executions that have not ended, the ten machines with most of them. A line that only grows: executions wait for something that does not come.")
                .ask("{{machine}}", "topk(10, sum by (machine) (executor_machine_executions_open{m}))"),
            lines("Throttled starts by machine", Unit::PerSecond, "Starts that were refused for want of room, the ten machines that suffer most.")
                .ask("{{machine}}", "topk(10, sum by (machine) (rate(executor_executions_throttled_total{m}[r])))"),
        ],
    )
}

fn machines() -> Row {
    let ratio = "sum by (machine) (rate(executor_executions_succeeded_total{m}[r])) / \
                 (sum by (machine) (rate(executor_execution_duration_seconds_count{m}[r])) > 0)";
    row(
        "Machines",
        [table("Machines", Unit::PerSecond, "All selected machines at the end of the time that is looked at. A machine's name leads to its own dashboard.")
            .ask("Starts", "sum by (machine) (rate(executor_executions_started_total{m}[r]))")
            .column("Succeeded", Unit::Ratio, ratio)
            .ask("Failed", "sum by (machine) (rate(executor_executions_failed_total{m}[r]))")
            .ask("Timed out", "sum by (machine) (rate(executor_executions_timed_out_total{m}[r]))")
            .column("Open", Unit::Count, "sum by (machine) (executor_machine_executions_open{m})")
            .column("p50", Unit::Seconds, quantile("0.5", "machine", "executor_execution_duration_seconds_bucket{m}"))
            .column("p99", Unit::Seconds, quantile("0.99", "machine", "executor_execution_duration_seconds_bucket{m}"))
            .leads_to("machine", "myriad-workflow")],
    )
}

fn latency() -> Row {
    row(
        "Latency",
        [
            lines("Ack latency", Unit::Seconds, "From a received start to its durable acknowledgement.")
                .quantiles("executor_start_ack_seconds_bucket{*}"),
            lines(
                "Execution duration",
                Unit::Seconds,
                "From the accepted start to the durable end, of the selected machines.",
            )
            .quantiles("executor_execution_duration_seconds_bucket{m}"),
            lines(
                "State duration p99",
                Unit::Seconds,
                "From entering a state to leaving it, by the type of the state, over all machines.",
            )
            .ask("{{type}}", quantile("0.99", "type", "executor_state_duration_seconds_bucket{*}")),
        ],
    )
}

fn tasks() -> Row {
    row(
        "Task targets",
        [
            lines("Tasks by target", Unit::PerSecond, "Tasks that have come to their end, by what they were given to: a function's pool of workers, a host, a service. The ten busiest.")
                .ask("{{integration}} {{target}}", "topk(10, sum by (integration, target) (rate(executor_target_tasks_total{*}[r])))"),
            lines("Failures by target", Unit::PerSecond, "Tasks that ended with an error, the ten worst targets. Retries and catchers may hide them from the executions' own failures.")
                .ask("{{integration}} {{target}}", r#"topk(10, sum by (integration, target) (rate(executor_target_tasks_total{*, outcome="failed"}[r])))"#),
            lines("Target latency p99", Unit::Seconds, "From asking for a task to its good or bad end, the ten slowest targets.")
                .ask("{{integration}} {{target}}", format!("topk(10, {})", quantile("0.99", "integration, target", "executor_target_task_seconds_bucket{*}"))),
        ],
    )
}
