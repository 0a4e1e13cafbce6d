//! The workload: machines whose outcome is known from their input alone.
//!
//! A machine is a row of steps, each of which changes a number in a known way; tasks, waits, retries, branches and loops
//! over items stand between input and outcome. [`Plan::expected`] is the whole interpreter. Invariants: the catalogue is
//! the same in every run, so that a seed stands for the same run everywhere; every task carries a key that no other task
//! of any execution has. What may fail: compiling, which is a bug here.

use std::sync::Arc;

use asl::Dialect;
use bytes::Bytes;
use executor::definitions::Definitions;
use ids::DefinitionHash;
use serde_json::{Map, Value, json};

use crate::rng::Rng;
use crate::store::Desk;

/// Machines of the catalogue.
pub const MACHINES: usize = 96;
/// Further ones, whose tasks wait for their tokens: for STANDARD executions alone.
const ASKING: usize = 12;
/// The seed of the catalogue.
const CATALOGUE: u64 = 20_260_101;

/// What a machine does on its way.
#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Wait(u64),
    Choice {
        from: i64,
        high: i64,
        low: i64,
    },
    Task(i64),
    /// A task that fails for good and is caught.
    Caught(i64),
    Parallel(Vec<Step>, Vec<Step>),
    /// A Map of one task over these items.
    Map(Vec<i64>, i64),
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeed,
    Fail,
    /// With a task that fails and is not caught.
    Rejected,
}

/// What must come of an execution that is not stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Success, with this number.
    Number(i64),
    /// Failure, with this error.
    Error(&'static str),
}

/// What a machine does.
#[derive(Debug, Clone)]
pub struct Plan {
    steps: Vec<Step>,
    end: End,
    asks: bool,
}

/// A machine of the catalogue.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its ARN.
    pub arn: String,
    /// Of its definition.
    pub hash: DefinitionHash,
    /// What it does.
    pub plan: Plan,
}

/// The machines of every run, compiled.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// All machines.
    pub machines: Arc<Vec<Machine>>,
    /// Their programs.
    pub definitions: Arc<Definitions>,
}

fn simple(rng: &mut Rng) -> Step {
    match rng.below(8) {
        0 | 1 => Step::Pass(rng.below(9) as i64),
        // Some wait for so long that they are carried into later blocks.
        2 if rng.permille(250) => Step::Wait(rng.between(130, 200)),
        2 => Step::Wait(rng.between(1, 30)),
        3 => Step::Choice { from: rng.below(60) as i64, high: rng.below(9) as i64, low: rng.below(9) as i64 },
        4 => Step::Caught(rng.below(9) as i64),
        _ => Step::Task(rng.below(9) as i64),
    }
}

impl Plan {
    fn draw(rng: &mut Rng) -> Self {
        let count = rng.below(6);
        let branch = |rng: &mut Rng| (0..rng.between(1, 2)).map(|_| simple(rng)).collect::<Vec<_>>();
        let step = |rng: &mut Rng| match rng.below(8) {
            0 => Step::Parallel(branch(rng), branch(rng)),
            1 => Step::Map((0..rng.between(1, 3)).map(|_| rng.below(9) as i64).collect(), 3),
            _ => simple(rng),
        };
        let steps = (0..count).map(|_| step(rng)).collect();
        let end = match rng.below(10) {
            0 => End::Fail,
            1 => End::Rejected,
            _ => End::Succeed,
        };
        Self { steps, end, asks: false }
    }

    /// Whether its tasks wait for their tokens.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// What comes of an input.
    #[must_use]
    pub fn expected(&self, number: i64) -> Expected {
        match self.end {
            End::Succeed => Expected::Number(run(&self.steps, number)),
            End::Fail => Expected::Error("Doomed"),
            End::Rejected => Expected::Error("Rejected"),
        }
    }

    /// How many states an execution enters that ends as it should, and how many tasks of it succeed.
    #[must_use]
    pub fn events(&self) -> (usize, usize) {
        let (entered, done) = events(&self.steps);
        (entered + 1, done)
    }

    /// Its definition.
    fn definition(&self) -> String {
        let mut states = Map::new();
        let start = spell(&self.steps, "S", "End", &mut states);
        let end = match self.end {
            End::Succeed => json!({"Type": "Succeed"}),
            End::Fail => json!({"Type": "Fail", "Error": "Doomed", "Cause": "by design"}),
            End::Rejected => with(task("reject", &json!("End"), 0), json!({"End": true})),
        };
        states.insert("End".to_owned(), end);
        let mut definition = json!({"StartAt": start, "States": states});
        if self.asks {
            ask(&mut definition);
        }
        definition.to_string()
    }
}

/// Has all tasks wait for their tokens.
fn ask(part: &mut Value) {
    if part["Type"] == "Task" {
        let input = with(part["Parameters"].take(), json!({"token.$": "$$.Task.Token"}));
        part["Parameters"] = json!({"FunctionName": part["Resource"], "Payload": input});
        part["Resource"] = "arn:aws:states:::lambda:invoke.waitForTaskToken".into();
        return;
    }
    match part {
        Value::Object(members) => members.values_mut().for_each(ask),
        Value::Array(items) => items.iter_mut().for_each(ask),
        _ => {}
    }
}

fn run(steps: &[Step], number: i64) -> i64 {
    steps.iter().fold(number, |number, step| match step {
        Step::Pass(add) | Step::Task(add) | Step::Caught(add) => number + add,
        Step::Wait(_) => number,
        Step::Choice { from, high, low } => number + if number >= *from { high } else { low },
        Step::Parallel(one, other) => run(one, number) + run(other, number),
        Step::Map(items, add) => items.iter().map(|item| item + add).sum(),
    })
}

fn events(steps: &[Step]) -> (usize, usize) {
    let of = |step: &Step| match step {
        Step::Pass(_) | Step::Wait(_) => (1, 0),
        Step::Choice { .. } | Step::Caught(_) => (2, 0),
        Step::Task(_) => (1, 1),
        Step::Parallel(one, other) => {
            let (one, other) = (events(one), events(other));
            (2 + one.0 + other.0, one.1 + other.1)
        }
        Step::Map(items, _) => (3 + items.len(), items.len()),
    };
    steps.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn with(mut state: Value, more: Value) -> Value {
    if let (Value::Object(state), Value::Object(more)) = (&mut state, more) {
        state.extend(more);
    }
    state
}

fn next(state: Value, to: &str) -> Value {
    with(state, if to.is_empty() { json!({"End": true}) } else { json!({"Next": to}) })
}

fn add(number: i64) -> Value {
    let sum = format!("States.MathAdd($.v, {number})");
    json!({"Type": "Pass", "Parameters": {"id.$": "$.id", "v.$": sum}})
}

/// A task; its step is a text, or a template where it is an object.
fn task(function: &str, step: &Value, number: i64) -> Value {
    let named = match step {
        Value::Object(template) => json!({"step.$": template["format"]}),
        step => json!({"step": step}),
    };
    let retry = json!([{
        "ErrorEquals": ["Flaky", "States.Timeout"], "IntervalSeconds": 1, "MaxAttempts": 90, "BackoffRate": 1.0,
    }]);
    json!({
        "Type": "Task",
        "Resource": format!("arn:aws:lambda:us-east-1:123456789012:function:{function}"),
        "Parameters": with(json!({"id.$": "$.id", "v.$": "$.v", "add": number}), named),
        "ResultSelector": {"id.$": "$.id", "v.$": "$.v"},
        "TimeoutSeconds": 20,
        "Retry": retry,
    })
}

/// The sum of the numbers of so many results.
fn sum(count: usize) -> Value {
    let sum = (1..count).fold("$[0].v".to_owned(), |sum, at| format!("States.MathAdd({sum}, $[{at}].v)"));
    json!({"Type": "Pass", "Parameters": {"id.$": "$[0].id", "v.$": sum}})
}

/// Writes the states of a row of steps; gives the name of the first.
fn spell(steps: &[Step], prefix: &str, last: &str, states: &mut Map<String, Value>) -> String {
    let name = |at: usize| if at < steps.len() { format!("{prefix}{at}") } else { last.to_owned() };
    for (at, step) in steps.iter().enumerate() {
        let (own, then) = (name(at), name(at + 1));
        let mut put = |suffix: &str, state: Value| drop(states.insert(format!("{own}{suffix}"), state));
        match step {
            Step::Pass(number) => put("", next(add(*number), &then)),
            Step::Wait(seconds) => put("", next(json!({"Type": "Wait", "Seconds": seconds}), &then)),
            Step::Choice { from, high, low } => {
                let rule =
                    json!({"Variable": "$.v", "NumericGreaterThanEquals": from, "Next": format!("{own}h")});
                put("", json!({"Type": "Choice", "Choices": [rule], "Default": format!("{own}l")}));
                put("h", next(add(*high), &then));
                put("l", next(add(*low), &then));
            }
            Step::Task(number) => put("", next(task("add", &json!(own), *number), &then)),
            Step::Caught(number) => {
                let catch = json!([{"ErrorEquals": ["Rejected"], "ResultPath": "$.error", "Next": format!("{own}c")}]);
                put("", with(next(task("reject", &json!(own), 0), &then), json!({"Catch": catch})));
                put("c", next(add(*number), &then));
            }
            Step::Parallel(one, other) => {
                let branch = |steps: &[Step], letter: &str| {
                    let mut inner = Map::new();
                    let start = spell(steps, &format!("{own}{letter}"), "", &mut inner);
                    json!({"StartAt": start, "States": inner})
                };
                let branches = [branch(one, "a"), branch(other, "b")];
                put("", json!({"Type": "Parallel", "Branches": branches, "Next": format!("{own}s")}));
                put("s", next(sum(2), &then));
            }
            Step::Map(items, number) => {
                put(
                    "",
                    json!({"Type": "Pass", "Parameters": {"id.$": "$.id", "items": items}, "Next": format!("{own}m")}),
                );
                let step = json!({"format": format!("States.Format('{own}-{{}}', $.at)")});
                let state = next(task("add", &step, *number), "");
                put(
                    "m",
                    json!({
                        "Type": "Map", "ItemsPath": "$.items", "Next": format!("{own}s"),
                        "ItemSelector": {"id.$": "$.id", "v.$": "$$.Map.Item.Value", "at.$": "$$.Map.Item.Index"},
                        "ItemProcessor": {"StartAt": format!("{own}t"), "States": {format!("{own}t"): state}},
                    }),
                );
                put("s", next(sum(items.len()), &then));
            }
        }
    }
    name(0)
}

impl Catalogue {
    /// Compiles all machines.
    ///
    /// # Errors
    /// A machine that does not compile.
    pub fn compile() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| format!("a runtime to compile with: {error}"))?;
        let definitions = Arc::<Definitions>::default();
        let (mut rng, mut machines) = (Rng::new(CATALOGUE), Vec::new());
        let store = Desk::immediate().of(0);
        for number in 0..MACHINES + ASKING {
            let plan = Plan { asks: number >= MACHINES, ..Plan::draw(&mut rng) };
            let text = plan.definition();
            let put = definitions.put(&store, Bytes::from(text.clone()), Dialect::Asl);
            let hash = runtime.block_on(put).map_err(|error| format!("machine {number}: {error}\n{text}"))?;
            let arn = format!("arn:aws:states:us-east-1:123456789012:stateMachine:m{number}");
            machines.push(Machine { arn, hash, plan });
        }
        Ok(Self { machines: Arc::new(machines), definitions })
    }

    /// The machine of an ARN.
    #[must_use]
    pub fn find(&self, arn: &str) -> Option<&Machine> {
        let number: usize = arn.rsplit_once(":m")?.1.parse().ok()?;
        self.machines.get(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_compiles_and_the_catalogue_holds_every_kind_of_state_and_end() {
        let catalogue = Catalogue::compile().expect("compiles");
        let all: String = catalogue.machines.iter().map(|machine| machine.plan.definition()).collect();
        for kind in ["Pass", "Wait", "Choice", "Task", "Parallel", "Map", "Succeed", "Fail"] {
            assert!(all.contains(&format!("\"Type\":\"{kind}\"")), "no {kind}");
        }
        for end in [End::Succeed, End::Fail, End::Rejected] {
            assert!(catalogue.machines.iter().any(|machine| machine.plan.end == end), "no {end:?}");
        }
    }
}
