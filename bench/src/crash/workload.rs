//! The mixed machines: what is started, and what each execution must come to.
//!
//! Invariant: a run's input, its name and its outcome follow from seed, kind and number alone, so that nothing of them
//! has to be remembered. `run` in an input says whose tasks a worker sees.

use std::time::Duration;

use bytes::Bytes;
use proto::executor::v1::Mode;
use serde_json::{Value, json};

use super::plan::Dice;

/// The function name that is bound to the pool of the kill test's worker.
pub const FUNCTION: &str = "arn:aws:lambda:local:000000000000:function:crash-task";
/// That pool.
pub const POOL: &str = "crash";
/// Runs from here on are the dispatcher's that resends: far from those that go through the scheduler.
pub const RESENT_RUNS: u64 = 1 << 40;
/// Runs from here on are synchronous.
pub const SYNC_RUNS: u64 = 1 << 41;
/// The error that a worker answers with on purpose.
pub const TASK_ERROR: &str = "Crash.Again";
/// Failures before a task of [`Kind::Retry`] succeeds.
pub const RETRIES: u64 = 2;

/// A machine of the mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One Pass, EXPRESS: ends before its start is written.
    Pass,
    /// Pass, Choice, Pass, Parallel, Succeed, EXPRESS.
    FiveState,
    /// A Wait of one to three seconds, EXPRESS: restarts.
    WaitExpress,
    /// The same, STANDARD.
    WaitStandard,
    /// Three Tasks in a row, EXPRESS: restarts.
    TasksExpress,
    /// The same, STANDARD: no task after a later one.
    TasksStandard,
    /// A Parallel of two Tasks in a row and a Map with a Task for each item, then a Task; STANDARD.
    Fan,
    /// A Task that fails twice and is retried, STANDARD.
    Retry,
    /// A Task that fails and is caught, STANDARD.
    Caught,
    /// Fail, EXPRESS.
    Fail,
    /// A Wait, STANDARD, started under a name of the caller's, and started again.
    Named,
    /// Three Tasks in a row, STANDARD; the second one fails until the execution is redriven.
    Redriven,
    /// Two Tasks in a row, EXPRESS, by StartSyncExecution: at most once. No part of the mixture.
    Sync,
}

/// What an execution must come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// With this output.
    Succeeded(Value),
    /// With this error and cause.
    Failed {
        /// The error's name.
        error: &'static str,
        /// What Describe says beside.
        cause: &'static str,
    },
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Pass,
        Self::FiveState,
        Self::WaitExpress,
        Self::WaitStandard,
        Self::TasksExpress,
        Self::TasksStandard,
        Self::Fan,
        Self::Retry,
        Self::Caught,
        Self::Fail,
        Self::Named,
        Self::Redriven,
        Self::Sync,
    ];

    /// The machine's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::FiveState => "five-state",
            Self::WaitExpress => "wait-express",
            Self::WaitStandard => "wait-standard",
            Self::TasksExpress => "tasks-express",
            Self::TasksStandard => "tasks-standard",
            Self::Fan => "fan",
            Self::Retry => "retry",
            Self::Caught => "caught",
            Self::Fail => "fail",
            Self::Named => "named",
            Self::Redriven => "redriven",
            Self::Sync => "sync",
        }
    }

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How it is kept.
    #[must_use]
    pub fn mode(self) -> Mode {
        match self {
            Self::Pass
            | Self::FiveState
            | Self::WaitExpress
            | Self::TasksExpress
            | Self::Fail
            | Self::Sync => Mode::Express,
            Self::WaitStandard
            | Self::TasksStandard
            | Self::Fan
            | Self::Retry
            | Self::Caught
            | Self::Named
            | Self::Redriven => Mode::Standard,
        }
    }

    /// Its share of the starts, in thousandths.
    fn share(self) -> u64 {
        match self {
            Self::Pass => 500,
            Self::FiveState => 250,
            Self::WaitExpress | Self::WaitStandard => 40,
            Self::TasksExpress => 50,
            Self::TasksStandard => 45,
            Self::Fan | Self::Retry | Self::Caught => 15,
            Self::Fail | Self::Named => 15,
            Self::Redriven => 10,
            Self::Sync => 0,
        }
    }

    /// A kind, each as often as its share says.
    pub fn draw(dice: &mut Dice) -> Self {
        let total = Self::ALL.into_iter().map(Self::share).sum();
        let mut left = dice.below(total);
        for kind in Self::ALL {
            match left.checked_sub(kind.share()) {
                Some(rest) => left = rest,
                None => return kind,
            }
        }
        Self::Pass
    }

    /// The most starts that one message carries.
    #[must_use]
    pub fn message_max(self) -> u64 {
        match self {
            Self::Pass | Self::FiveState => 128,
            Self::Named | Self::Redriven => 8,
            _ => 32,
        }
    }

    /// How long an execution lasts where nothing is in its way.
    #[must_use]
    pub fn lasts(self) -> Duration {
        match self {
            Self::Pass | Self::FiveState | Self::Fail => Duration::ZERO,
            Self::TasksExpress
            | Self::TasksStandard
            | Self::Fan
            | Self::Caught
            | Self::Redriven
            | Self::Sync => Duration::from_millis(200),
            Self::WaitExpress | Self::WaitStandard | Self::Retry => Duration::from_secs(3),
            Self::Named => Duration::from_secs(2),
        }
    }

    /// Its definition.
    #[must_use]
    pub fn definition(self) -> String {
        let definition = match self {
            Self::Pass => json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}),
            Self::FiveState => five_state(),
            Self::WaitExpress | Self::WaitStandard => json!({"StartAt": "W", "States": {
                "W": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "P"},
                "P": {"Type": "Pass", "End": true}}}),
            Self::Named => json!({"StartAt": "W", "States": {
                "W": {"Type": "Wait", "Seconds": 2, "Next": "P"}, "P": {"Type": "Pass", "End": true}}}),
            Self::TasksExpress | Self::TasksStandard => json!({"StartAt": "One", "States": {
                "One": self.task(json!(0), 1, "$.one", "Two"),
                "Two": self.task(json!(0), 2, "$.two", "Three"),
                "Three": self.task(json!(0), 3, "$.three", "")}}),
            Self::Redriven => self.redriven(),
            Self::Sync => json!({"StartAt": "One", "States": {
                "One": self.task(json!(0), 1, "$.one", "Two"), "Two": self.task(json!(0), 2, "$.two", "")}}),
            Self::Fan => self.fan(),
            Self::Retry => {
                let mut task = self.task(json!(0), 1, "$.done", "");
                task["Retry"] = json!([{"ErrorEquals": [TASK_ERROR], "IntervalSeconds": 1, "MaxAttempts": 3,
                    "BackoffRate": 1.0}]);
                json!({"StartAt": "T", "States": {"T": task}})
            }
            Self::Caught => {
                let mut task = self.task(json!(0), 1, "$.done", "P");
                task["Catch"] =
                    json!([{"ErrorEquals": ["States.ALL"], "ResultPath": "$.caught", "Next": "P"}]);
                json!({"StartAt": "T", "States": {"T": task, "P": {"Type": "Pass", "End": true}}})
            }
            Self::Fail => json!({"StartAt": "F", "States": {
                "F": {"Type": "Fail", "Error": "Crash.Meant", "Cause": "it fails on purpose"}}}),
        };
        definition.to_string()
    }

    /// A Task state; what it asks of the worker says whose it is, where it stands, and which attempt it is.
    fn task(self, branch: Value, step: u64, result: &str, next: &str) -> Value {
        let mut parameters = json!({"run.$": "$.run", "kind": self.name(), "step": step,
            "attempt.$": "$$.State.RetryCount"});
        match branch {
            Value::String(path) => parameters["branch.$"] = Value::String(path),
            number => parameters["branch"] = number,
        }
        let mut task =
            json!({"Type": "Task", "Resource": FUNCTION, "Parameters": parameters, "ResultPath": result});
        if next.is_empty() {
            task["End"] = true.into();
        } else {
            task["Next"] = next.into();
        }
        task
    }

    /// A redrive is an attempt of what follows it.
    fn redriven(self) -> Value {
        let task = |step, result, next| {
            let mut task = self.task(json!(0), step, result, next);
            task["Parameters"]["attempt.$"] = "$$.Execution.RedriveCount".into();
            task
        };
        json!({"StartAt": "One", "States": {
            "One": task(1, "$.one", "Two"), "Two": task(2, "$.two", "Three"), "Three": task(3, "$.three", "")}})
    }

    fn fan(self) -> Value {
        let mut item = self.task(json!("$.branch"), 1, "$", "");
        item["ResultPath"] = "$".into();
        json!({"StartAt": "Both", "States": {
            "Both": {"Type": "Parallel", "ResultPath": "$.both", "Next": "Join", "Branches": [
                {"StartAt": "B1", "States": {
                    "B1": self.task(json!(1), 1, "$.one", "B2"), "B2": self.task(json!(1), 2, "$", "")}},
                {"StartAt": "Each", "States": {"Each": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2,
                    "ItemSelector": {"run.$": "$.run", "branch.$": "$$.Map.Item.Value"}, "End": true,
                    "ItemProcessor": {"StartAt": "T", "States": {"T": item}}}}}]},
            "Join": self.task(json!(0), 9, "$.join", "")}})
    }

    /// The input of a run.
    #[must_use]
    pub fn input(self, seed: u64, run: u64) -> Value {
        let mut dice = Dice::new(seed ^ run.wrapping_mul(0xA24B_AED4_963E_E407));
        let mut input = json!({"run": run, "kind": self.name(), "amount": dice.below(1_000),
            "note": format!("{:016x}{:016x} leave with neighbour, ring twice", dice.roll(), dice.roll())});
        match self {
            Self::WaitExpress | Self::WaitStandard => input["seconds"] = (1 + dice.below(3)).into(),
            Self::Fan => input["items"] = json!([11, 12, 13]),
            _ => {}
        }
        input
    }

    /// The same, as it is sent.
    #[must_use]
    pub fn input_bytes(self, seed: u64, run: u64) -> Bytes {
        self.input(seed, run).to_string().into()
    }

    /// The caller's name of a run, for kinds that have one.
    #[must_use]
    pub fn run_name(self, seed: u64, run: u64) -> Option<String> {
        (self == Self::Named).then(|| format!("crash-{seed}-{run}"))
    }

    /// How the worker answers a task.
    #[must_use]
    pub fn task_fails(self, step: u64, attempt: u64) -> bool {
        match self {
            Self::Caught => true,
            Self::Retry => attempt < RETRIES,
            Self::Redriven => step == 2 && attempt == 0,
            _ => false,
        }
    }

    /// What the run must come to after so many redrives.
    #[must_use]
    pub fn expected(self, seed: u64, run: u64, redrives: u32) -> Expected {
        let mut output = self.input(seed, run);
        let done = |branch: u64, step: u64, attempt: u64| task_output(run, branch, step, attempt);
        match self {
            Self::Pass | Self::WaitExpress | Self::WaitStandard | Self::Named => {}
            Self::FiveState => {
                let size = if output["amount"].as_u64() >= Some(500) { "large" } else { "small" };
                output = json!([{"run": run, "size": size}, {"run": run, "amount": output["amount"]}]);
            }
            Self::TasksExpress | Self::TasksStandard => {
                for (step, name) in (1..).zip(["one", "two", "three"]) {
                    output[name] = done(0, step, 0);
                }
            }
            Self::Sync => {
                output["one"] = done(0, 1, 0);
                output["two"] = done(0, 2, 0);
            }
            Self::Redriven if redrives == 0 => {
                return Expected::Failed { error: TASK_ERROR, cause: "it fails on purpose" };
            }
            Self::Redriven => {
                for (step, name) in (1..).zip(["one", "two", "three"]) {
                    output[name] = done(0, step, u64::from(step > 1));
                }
            }
            Self::Fan => {
                let items: Vec<Value> = (11..=13).map(|branch| done(branch, 1, 0)).collect();
                output["both"] = json!([done(1, 2, 0), items]);
                output["join"] = done(0, 9, 0);
            }
            Self::Retry => output["done"] = done(0, 1, RETRIES),
            Self::Caught => {
                output["caught"] = json!({"Error": TASK_ERROR, "Cause": "it fails on purpose"});
            }
            Self::Fail => {
                return Expected::Failed { error: "Crash.Meant", cause: "it fails on purpose" };
            }
        }
        Expected::Succeeded(output)
    }
}

fn five_state() -> Value {
    let pass =
        |result: &str| json!({"Type": "Pass", "Result": result, "ResultPath": "$.size", "Next": "Both"});
    let branch = |member: &str| {
        let mut parameters = json!({"run.$": "$.run"});
        parameters[format!("{member}.$")] = format!("$.{member}").into();
        json!({"StartAt": member, "States": {member: {"Type": "Pass", "Parameters": parameters, "End": true}}})
    };
    json!({"StartAt": "Receive", "States": {
        "Receive": {"Type": "Pass", "Next": "Large?"},
        "Large?": {"Type": "Choice", "Default": "Small", "Choices": [
            {"Variable": "$.amount", "NumericGreaterThanEquals": 500, "Next": "Large"}]},
        "Large": pass("large"),
        "Small": pass("small"),
        "Both": {"Type": "Parallel", "Branches": [branch("size"), branch("amount")], "Next": "Done"},
        "Done": {"Type": "Succeed"}}})
}

/// What the worker answers to a task.
#[must_use]
pub fn task_output(run: u64, branch: u64, step: u64, attempt: u64) -> Value {
    json!({"run": run, "branch": branch, "step": step, "attempt": attempt})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_accepted_and_every_name_leads_back() {
        for kind in Kind::ALL {
            let definition = kind.definition();
            let compiled = asl::Program::compile(definition.as_bytes(), asl::Dialect::Asl);
            assert!(compiled.is_ok(), "{}: {:?}", kind.name(), compiled.err());
            assert_eq!(Kind::of(kind.name()), Some(kind));
        }
    }

    #[test]
    fn the_mixture_has_every_kind_but_the_synchronous_one() {
        let mut dice = Dice::new(1);
        let drawn: std::collections::HashSet<Kind> = (0..4_000).map(|_| Kind::draw(&mut dice)).collect();
        assert_eq!(drawn.len(), Kind::ALL.len() - 1);
        assert!(!drawn.contains(&Kind::Sync));
    }

    #[test]
    fn a_redriven_run_fails_first_and_then_succeeds() {
        let expected = |redrives| Kind::Redriven.expected(1, 7, redrives);
        assert!(matches!(expected(0), Expected::Failed { error: TASK_ERROR, .. }));
        let Expected::Succeeded(output) = expected(1) else { unreachable!("it succeeds") };
        assert_eq!(output["one"]["attempt"], 0, "what had succeeded is not done again");
        assert_eq!(output["two"]["attempt"], 1);
        assert!(Kind::Redriven.task_fails(2, 0) && !Kind::Redriven.task_fails(2, 1));
    }

    #[test]
    fn inputs_differ_by_run_and_by_seed_and_are_the_same_when_made_again() {
        let input = |seed, run| Kind::Pass.input(seed, run);
        assert_eq!(input(1, 7), input(1, 7));
        assert_ne!(input(1, 7)["note"], input(1, 8)["note"]);
        assert_ne!(input(1, 7)["note"], input(2, 7)["note"]);
    }
}
