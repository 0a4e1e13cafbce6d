//! One machine: how its executions fare, through which states they go, where they fail and where they spend their time.

use crate::panel::{Dashboard, Row, Unit, Variable, bars, lines, row, stat, table};
use crate::query::quantile;

/// Executions of the machine that ended, a second.
const ENDED: &str = "sum(rate(executor_execution_duration_seconds_count{w}[r]))";

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "myriad-workflow",
        title: "Myriad / Workflow",
        description: "One machine: its executions, the way through its states, error names, slow states, and the targets of \
                      tasks.",
        instances: "executor_ready",
        variables: vec![
            Variable {
                name: "machine",
                label: "Machine",
                of: "executor_executions_started_total{*}",
                multi: false,
            },
            Variable {
                name: "target",
                label: "Task target",
                of: "executor_target_tasks_total{*}",
                multi: true,
            },
        ],
        rows: vec![well(), executions(), funnel(), states(), targets()],
    }
}

fn well() -> Row {
    row(
        "Is it well?",
        [
            stat("Starts per second", Unit::PerSecond, "Executions of the machine whose start became durable.")
                .ask("starts", "sum(rate(executor_executions_started_total{w}[r]))"),
            stat("Success ratio", Unit::Ratio, "Executions that ended with an output, of all that ended.")
                .ask("succeeded", format!("sum(rate(executor_executions_succeeded_total{{w}}[r])) / ({ENDED} > 0)"))
                .good_below(0.99, 0.95),
            stat("Failures per second", Unit::PerSecond, "Executions that ended FAILED or TIMED_OUT.")
                .ask("failed", "sum(rate(executor_executions_failed_total{w}[r])) + sum(rate(executor_executions_timed_out_total{w}[r]))"),
            stat("Open executions", Unit::Count, "Executions that have not ended.")
                .ask("open", "sum(executor_machine_executions_open{w})"),
            stat("Duration p99", Unit::Seconds, "From the accepted start to the durable end.")
                .ask("p99", quantile("0.99", "", "executor_execution_duration_seconds_bucket{w}")),
            stat("Throttled starts", Unit::PerSecond, "Starts that were refused for want of room. Machines without a label of their own are counted together, as other.")
                .ask("throttled", "sum(rate(executor_executions_throttled_total{w}[r])) or vector(0)")
                .good_below(0.1, 10.0),
        ],
    )
}

fn executions() -> Row {
    row(
        "Executions",
        [
            lines(
                "Ends by status",
                Unit::PerSecond,
                "Executions that ended, by status, and those that were started.",
            )
            .ask("started", "sum(rate(executor_executions_started_total{w}[r]))")
            .ask("succeeded", "sum(rate(executor_executions_succeeded_total{w}[r]))")
            .ask("failed", "sum(rate(executor_executions_failed_total{w}[r]))")
            .ask("timed out", "sum(rate(executor_executions_timed_out_total{w}[r]))")
            .ask("aborted", "sum(rate(executor_executions_aborted_total{w}[r]))"),
            lines("Duration", Unit::Seconds, "From the accepted start to the durable end.")
                .quantiles("executor_execution_duration_seconds_bucket{w}"),
            lines(
                "Error names",
                Unit::PerSecond,
                "With which errors executions end. Names beyond the bound are counted together, as other.",
            )
            .ask("{{error}}", "topk(10, sum by (error) (rate(executor_execution_errors_total{w}[r])))"),
        ],
    )
}

fn funnel() -> Row {
    let of = |metric: &str| format!("sum by (state) (increase({metric}{{w}}[$__range]))");
    let left = "(sum by (state) (increase(executor_state_exited_total{w}[$__range])) + \
                sum by (state) (increase(executor_state_failed_total{w}[$__range])) + \
                sum by (state) (increase(executor_state_aborted_total{w}[$__range])))";
    let mean =
        format!("sum by (state) (increase(executor_state_seconds_total{{w}}[$__range])) / ({left} > 0)");
    row(
        "The way through the states",
        [
            bars("Entered states", Unit::Count, "How often each state was entered in the time that is looked at: where executions turn off, and where they come back by a loop.")
                .ask("{{state}}", format!("sort_desc({})", of("executor_state_entered_total"))),
            table("States", Unit::Count, "What each state came to in the time that is looked at. Left: for the next state or the end. Failed: no catcher took the error. Given up: with what is around it, by a stopped execution or a failed branch.")
                .ask("Entered", of("executor_state_entered_total"))
                .ask("Left", of("executor_state_exited_total"))
                .ask("Failed", of("executor_state_failed_total"))
                .ask("Given up", of("executor_state_aborted_total"))
                .ask("Retries", of("executor_state_retries_total"))
                .ask("Caught", of("executor_state_errors_caught_total"))
                .column("Mean time", Unit::Seconds, mean)
                .size(16, 9),
        ],
    )
}

fn states() -> Row {
    let left = "(sum by (state) (rate(executor_state_exited_total{w}[r])) + \
                sum by (state) (rate(executor_state_failed_total{w}[r])) + \
                sum by (state) (rate(executor_state_aborted_total{w}[r])))";
    row(
        "States over time",
        [
            lines("Slow states", Unit::Seconds, "Mean time from entering a state to leaving it, the ten slowest states.")
                .ask("{{state}}", format!("topk(10, sum by (state) (rate(executor_state_seconds_total{{w}}[r])) / ({left} > 0))")),
            lines("Where executions are", Unit::Count, "How many executions are in a state on average: the time spent there each second, of those that have left it.")
                .ask("{{state}}", "topk(10, sum by (state) (rate(executor_state_seconds_total{w}[r])))"),
            lines("Failing states", Unit::PerSecond, "Errors that no catcher took (failed), that one took (caught), and attempts after a failed one (retries), the ten states with most of each.")
                .ask("{{state}} failed", "topk(10, sum by (state) (rate(executor_state_failed_total{w}[r])))")
                .ask("{{state}} caught", "topk(10, sum by (state) (rate(executor_state_errors_caught_total{w}[r])))")
                .ask("{{state}} retries", "topk(10, sum by (state) (rate(executor_state_retries_total{w}[r])))"),
        ],
    )
}

fn targets() -> Row {
    let target = r#"target=~"$target""#;
    row(
        "Task targets, of all machines",
        [
            lines("Tasks by outcome", Unit::PerSecond, "Tasks of the selected targets that have come to their end: select those that this machine uses. Cancelled ones are those that nobody waits for any more: they took longer than their timeout.")
                .ask("{{target}} {{outcome}}", format!("sum by (target, outcome) (rate(executor_target_tasks_total{{*, {target}}}[r]))")),
            lines("Failed share", Unit::Ratio, "Tasks that ended with an error, of those that ended well or badly.")
                .ask("{{target}}", format!(r#"sum by (target) (rate(executor_target_tasks_total{{*, {target}, outcome="failed"}}[r])) / (sum by (target) (rate(executor_target_tasks_total{{*, {target}, outcome=~"succeeded|failed"}}[r])) > 0)"#)),
            lines("Latency", Unit::Seconds, "From asking for a task to its good or bad end.")
                .ask("{{target}} p50", quantile("0.5", "target", &format!("executor_target_task_seconds_bucket{{*, {target}}}")))
                .ask("{{target}} p99", quantile("0.99", "target", &format!("executor_target_task_seconds_bucket{{*, {target}}}"))),
        ],
    )
}
