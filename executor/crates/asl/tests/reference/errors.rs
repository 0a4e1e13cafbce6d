//! Errors: who takes them, how often and how much later a state is tried again.

use serde_json::Value as Json;

use super::intrinsic::CAUSE;

/// How a state, a branch or a machine failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub error: Option<String>,
    pub cause: Option<String>,
    /// Because a heartbeat was missed.
    pub heartbeat: bool,
}

/// A fault of the language's own, whose cause is in our words.
pub fn fault(error: &str) -> Fault {
    Fault { error: Some(error.to_owned()), cause: Some(CAUSE.to_owned()), heartbeat: false }
}

pub fn runtime() -> Fault {
    fault("States.Runtime")
}

/// Whether a retrier or catcher takes a fault.
pub fn takes(taker: &Json, fault: &Fault, of_branch: bool) -> bool {
    let error = fault.error.as_deref().unwrap_or_default();
    let takes = |name: &str| match name {
        "States.ALL" => true,
        "States.TaskFailed" => error != "States.Timeout",
        "States.HeartbeatTimeout" => fault.heartbeat,
        "States.BranchFailed" => of_branch,
        name => name == error,
    };
    let names = taker["ErrorEquals"].as_array().expect("ErrorEquals");
    error != "States.Runtime" && names.iter().filter_map(Json::as_str).any(takes)
}

pub fn attempts(retrier: &Json) -> i32 {
    retrier["MaxAttempts"].as_i64().map_or(3, |attempts| attempts as i32)
}

/// In milliseconds: interval times rate to the attempts before, up to the longest.
pub fn delay(retrier: &Json, attempt: i32) -> u64 {
    let interval = retrier["IntervalSeconds"].as_f64().unwrap_or(1.0);
    let rate = retrier["BackoffRate"].as_f64().unwrap_or(2.0);
    let longest = retrier["MaxDelaySeconds"].as_f64().unwrap_or(f64::INFINITY);
    ((1..attempt).fold(interval, |seconds, _| seconds * rate).min(longest) * 1_000.0) as u64
}
