//! The language as the specification tells it: recursive, on the definition's own JSON, one branch after the other.
//!
//! Time is a number that every step hands on: branches run "at the same time" because each begins at the instant at which
//! its Parallel began. Of branches that fail, the one that fails first counts. Where the specification leaves something
//! open (two failures at the same instant, a payload that quotes our own messages), there is no answer: [`Undecided`].

use std::cell::Cell;

use serde_json::{Map, Value as Json, json};

use super::choice;
use super::intrinsic::{CAUSE, Unfilled, filled};
use super::path::{Roots, put, value};
use super::script::{Answer, Reply, Script};

/// The reference has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// The machine takes more steps than a test has patience for.
    Long,
    /// Two things happen at the same instant, and their order decides.
    Tie,
    /// A result depends on the order of members, or on the words of a message.
    Unsaid,
}

/// How a state, a branch or a machine failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub error: Option<String>,
    pub cause: Option<String>,
    heartbeat: bool,
}

/// When something ended, in milliseconds from the start, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended<T> {
    pub at: u64,
    pub result: Result<T, Fault>,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Succeeded(Json),
    Failed { error: Option<String> },
    TimedOut,
}

/// The Map states around a state with the index of the iteration, outermost first.
type Around<'a> = [(&'a str, u32)];

/// What comes behind a state.
enum Then {
    Next(String),
    End,
}

pub struct Interpreter<'a> {
    pub machine: &'a Json,
    pub input: &'a Json,
    pub script: &'a Script,
    /// Variables of the machine: none, until states assign them.
    pub variables: Map<String, Json>,
    pub steps_left: Cell<u32>,
    pub unordered: Cell<bool>,
}

/// A fault of the language's own, whose cause is in our words.
fn fault(error: &str) -> Fault {
    Fault { error: Some(error.to_owned()), cause: Some(CAUSE.to_owned()), heartbeat: false }
}

fn runtime() -> Fault {
    fault("States.Runtime")
}

impl Interpreter<'_> {
    pub fn run(&self) -> Result<Outcome, Undecided> {
        let ended = self.graph(self.machine, self.input, 0, &[])?;
        if self.unordered.get() {
            return Err(Undecided::Unsaid);
        }
        if let Some(limit) = self.machine["TimeoutSeconds"].as_u64().map(|seconds| seconds * 1_000) {
            match ended.at.cmp(&limit) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(Undecided::Tie),
                std::cmp::Ordering::Greater => return Ok(Outcome::TimedOut),
            }
        }
        Ok(match ended.result {
            Ok(output) => Outcome::Succeeded(output),
            Err(fault) => Outcome::Failed { error: fault.error },
        })
    }

    /// A machine, a branch or an iteration.
    fn graph(
        &self,
        graph: &Json,
        input: &Json,
        at: u64,
        around: &Around<'_>,
    ) -> Result<Ended<Json>, Undecided> {
        let mut name = graph["StartAt"].as_str().expect("StartAt").to_owned();
        let (mut input, mut at) = (input.clone(), at);
        loop {
            let ended = self.state(&name, &graph["States"][&name], &input, at, around)?;
            at = ended.at;
            match ended.result {
                Err(fault) => return Ok(Ended { at, result: Err(fault) }),
                Ok((output, Then::End)) => return Ok(Ended { at, result: Ok(output) }),
                Ok((output, Then::Next(next))) => (input, name) = (output, next),
            }
        }
    }

    /// A state with its retries, up to the catcher that takes over.
    fn state(
        &self,
        name: &str,
        state: &Json,
        input: &Json,
        entered: u64,
        around: &Around<'_>,
    ) -> Result<Ended<(Json, Then)>, Undecided> {
        let retriers = state["Retry"].as_array().map_or(&[][..], Vec::as_slice);
        let mut taken = vec![0; retriers.len()];
        let mut at = entered;
        loop {
            let left = self.steps_left.get().checked_sub(1).ok_or(Undecided::Long)?;
            self.steps_left.set(left);
            let retries: i32 = taken.iter().sum();
            let visit = Visit { name, state, input, entered, retries, around };
            let Attempt { ended, of_branch } = self.attempt(&visit, at)?;
            let fault = match ended.result {
                Ok(left) => return Ok(Ended { at: ended.at, result: Ok(left) }),
                Err(fault) => fault,
            };
            at = ended.at;
            let decider = retriers.iter().position(|retrier| takes(retrier, &fault, of_branch));
            if let Some(decider) = decider.filter(|decider| taken[*decider] < attempts(&retriers[*decider])) {
                taken[decider] += 1;
                at += delay(&retriers[decider], taken[decider]);
                continue;
            }
            let catchers = state["Catch"].as_array().map_or(&[][..], Vec::as_slice);
            let catcher = catchers.iter().find(|catcher| takes(catcher, &fault, of_branch));
            let result = match catcher {
                None => Err(fault),
                Some(catcher) => {
                    let output = json!({"Error": fault.error, "Cause": fault.cause});
                    let next = Then::Next(catcher["Next"].as_str().expect("Next").to_owned());
                    result_path(catcher, input, output).map(|output| (output, next))
                }
            };
            return Ok(Ended { at, result });
        }
    }

    fn attempt(&self, visit: &Visit<'_>, at: u64) -> Result<Attempt, Undecided> {
        let kind = visit.state["Type"].as_str().expect("Type");
        let context = self.context(visit)?;
        match kind {
            "Task" => self.task(visit, &context, at),
            "Parallel" => self.parallel(visit, &context, at),
            "Map" => self.map(visit, &context, at),
            _ => {
                let (waited, result) = match kind {
                    "Pass" => (0, self.pass(visit, &context)?),
                    "Choice" => (0, self.choice(visit, &context)),
                    "Wait" => self.wait(visit, &context),
                    "Succeed" => (0, self.through(visit, &context)),
                    _ => (0, Err(self.fail(visit, &context))),
                };
                Ok(Attempt::own(at + waited, result))
            }
        }
    }

    fn roots<'r>(&'r self, input: &'r Json, context: &'r Json) -> Roots<'r> {
        Roots { input, context, variables: &self.variables, unordered: &self.unordered }
    }

    /// InputPath or OutputPath.
    fn selected(&self, visit: &Visit<'_>, field: &str, data: &Json, context: &Json) -> Result<Json, Fault> {
        match &visit.state[field] {
            Json::String(path) => value(path, &self.roots(data, context)).map_err(|_| runtime()),
            Json::Null if visit.state.get(field).is_some() => Ok(json!({})),
            _ => Ok(data.clone()),
        }
    }

    /// A payload template. Where nothing can be caught, a path to nowhere is a mistake of the definition.
    fn template(
        &self,
        template: &Json,
        input: &Json,
        context: &Json,
        caught: bool,
    ) -> Result<Result<Json, Fault>, Undecided> {
        match filled(template, &self.roots(input, context)) {
            Ok(value) => Ok(Ok(value)),
            Err(Unfilled::Unsaid) => Err(Undecided::Unsaid),
            Err(Unfilled::Function) => Ok(Err(fault("States.IntrinsicFailure"))),
            Err(Unfilled::Path) if caught => Ok(Err(fault("States.ParameterPathFailure"))),
            Err(Unfilled::Path) => Ok(Err(runtime())),
        }
    }

    /// InputPath and `Parameters`.
    fn effective(
        &self,
        visit: &Visit<'_>,
        context: &Json,
        caught: bool,
    ) -> Result<Result<Json, Fault>, Undecided> {
        let input = match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => input,
            Err(fault) => return Ok(Err(fault)),
        };
        match visit.state.get("Parameters") {
            None => Ok(Ok(input)),
            Some(template) => self.template(template, &input, context, caught),
        }
    }

    /// ResultSelector, ResultPath, OutputPath and what comes next.
    fn left(
        &self,
        visit: &Visit<'_>,
        context: &Json,
        result: &Json,
    ) -> Result<Result<(Json, Then), Fault>, Undecided> {
        let selected = match visit.state.get("ResultSelector") {
            None => Ok(result.clone()),
            Some(selector) => self.template(selector, result, context, true)?,
        };
        let output = selected
            .and_then(|result| result_path(visit.state, visit.input, result))
            .and_then(|output| self.selected(visit, "OutputPath", &output, context));
        Ok(output.map(|output| (output, visit.then())))
    }

    fn pass(&self, visit: &Visit<'_>, context: &Json) -> Result<Result<(Json, Then), Fault>, Undecided> {
        let result = match visit.state.get("Result") {
            Some(result) => Ok(result.clone()),
            None => self.effective(visit, context, false)?,
        };
        match result {
            Ok(result) => self.left(visit, context, &result),
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// InputPath and OutputPath, with nothing between them.
    fn through(&self, visit: &Visit<'_>, context: &Json) -> Result<(Json, Then), Fault> {
        let input = self.selected(visit, "InputPath", visit.input, context)?;
        self.selected(visit, "OutputPath", &input, context).map(|output| (output, visit.then()))
    }

    fn choice(&self, visit: &Visit<'_>, context: &Json) -> Result<(Json, Then), Fault> {
        let input = self.selected(visit, "InputPath", visit.input, context)?;
        let roots = self.roots(&input, context);
        let mut next = visit.state["Default"].as_str();
        for rule in visit.state["Choices"].as_array().expect("Choices") {
            if choice::holds(rule, &roots).map_err(|_| runtime())? {
                next = rule["Next"].as_str();
                break;
            }
        }
        let next = next.ok_or_else(|| fault("States.NoChoiceMatched"))?.to_owned();
        self.selected(visit, "OutputPath", &input, context).map(|output| (output, Then::Next(next)))
    }

    fn wait(&self, visit: &Visit<'_>, context: &Json) -> (u64, Result<(Json, Then), Fault>) {
        let input = match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => input,
            Err(fault) => return (0, Err(fault)),
        };
        let seconds = match visit.state["SecondsPath"].as_str() {
            None => visit.state["Seconds"].as_f64(),
            Some(path) => value(path, &self.roots(&input, context)).ok().and_then(|found| found.as_f64()),
        };
        match seconds.filter(|seconds| *seconds >= 0.0 && seconds.fract() == 0.0) {
            None => (0, Err(runtime())),
            Some(seconds) => (seconds as u64 * 1_000, self.through(visit, context)),
        }
    }

    fn fail(&self, visit: &Visit<'_>, context: &Json) -> Fault {
        let text = |constant: &str, path: &str| match (&visit.state[constant], &visit.state[path]) {
            (Json::String(text), _) => Ok(Some(text.clone())),
            (_, Json::String(path)) => {
                let found = value(path, &self.roots(visit.input, context)).map_err(|_| runtime())?;
                found.as_str().map(|text| Some(text.to_owned())).ok_or_else(runtime)
            }
            _ => Ok(None),
        };
        let (error, cause) = (text("Error", "ErrorPath"), text("Cause", "CausePath"));
        match (error, cause) {
            (Ok(error), Ok(cause)) => Fault { error, cause, heartbeat: false },
            (Err(fault), _) | (_, Err(fault)) => fault,
        }
    }

    fn task(&self, visit: &Visit<'_>, context: &Json, at: u64) -> Result<Attempt, Undecided> {
        let input = match self.effective(visit, context, true)? {
            Ok(input) => input,
            Err(fault) => return Ok(Attempt::own(at, Err(fault))),
        };
        let seconds = |field: &str| visit.state[field].as_u64().map(|seconds| seconds * 1_000);
        let (timeout, heartbeat) = (seconds("TimeoutSeconds"), seconds("HeartbeatSeconds"));
        let reply = self.script.reply(visit.name, visit.around, at, &input, timeout.or(heartbeat).is_some());
        let Reply { after, beat, answer } = reply;
        let silent = heartbeat.and_then(|heartbeat| silence(after, beat, heartbeat, answer == Answer::Never));
        let done = (answer != Answer::Never).then_some(after);
        let first = [done, timeout, silent].into_iter().flatten().min().expect("a task ends");
        if [done, timeout, silent].iter().filter(|end| **end == Some(first)).count() > 1 {
            return Err(Undecided::Tie);
        }
        let at = at + first;
        let failed = |error: &str, cause: Option<&str>, heartbeat: bool| {
            Err(Fault { error: Some(error.to_owned()), cause: cause.map(str::to_owned), heartbeat })
        };
        if done != Some(first) {
            return Ok(Attempt::own(at, failed("States.Timeout", None, silent == Some(first))));
        }
        let result = match &answer {
            Answer::Succeeds(output) => self.left(visit, context, output)?,
            Answer::Fails(error, cause) => failed(error, Some(cause), false),
            Answer::Never => panic!("a task that never ends times out"),
        };
        Ok(Attempt::own(at, result))
    }

    fn parallel(&self, visit: &Visit<'_>, context: &Json, at: u64) -> Result<Attempt, Undecided> {
        let input = match self.effective(visit, context, true)? {
            Ok(input) => input,
            Err(fault) => return Ok(Attempt::own(at, Err(fault))),
        };
        let branches = visit.state["Branches"].as_array().expect("Branches").iter();
        let ended: Result<Vec<_>, _> =
            branches.map(|branch| self.graph(branch, &input, at, visit.around)).collect();
        self.join(visit, context, at, ended?)
    }

    fn map(&self, visit: &Visit<'_>, context: &Json, at: u64) -> Result<Attempt, Undecided> {
        let input = match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => input,
            Err(fault) => return Ok(Attempt::own(at, Err(fault))),
        };
        let path = visit.state["ItemsPath"].as_str().unwrap_or("$");
        let items = match value(path, &self.roots(&input, context)) {
            Ok(Json::Array(items)) => items,
            _ => return Ok(Attempt::own(at, Err(runtime()))),
        };
        let limit = visit.state["MaxConcurrency"].as_u64().filter(|limit| *limit > 0).unwrap_or(40);
        // When each of the places for iterations is free again.
        let mut free = vec![at; usize::try_from(limit).expect("a small limit")];
        let mut ended = Vec::new();
        for (index, item) in (0_u32..).zip(&items) {
            let place = (0..free.len()).min_by_key(|place| free[*place]).expect("a place");
            let begins = free[place];
            let input = match visit.state.get("ItemSelector") {
                None => Ok(item.clone()),
                Some(selector) => {
                    let mut context = context.clone();
                    context["Map"] = json!({"Item": {"Index": index, "Value": item}});
                    self.template(selector, &input, &context, true)?
                }
            };
            let around: Vec<_> = visit.around.iter().copied().chain([(visit.name, index)]).collect();
            let iteration = match input {
                Ok(input) => self.graph(&visit.state["ItemProcessor"], &input, begins, &around)?,
                Err(fault) => Ended { at: begins, result: Err(fault) },
            };
            free[place] = iteration.at;
            ended.push(iteration);
        }
        self.join(visit, context, at, ended)
    }

    /// Branches or iterations together: the first failure ends all, else their outputs in order.
    fn join(
        &self,
        visit: &Visit<'_>,
        context: &Json,
        began: u64,
        ended: Vec<Ended<Json>>,
    ) -> Result<Attempt, Undecided> {
        let failed = || ended.iter().filter(|ended| ended.result.is_err());
        if let Some(first) = failed().min_by_key(|ended| ended.at) {
            if failed().any(|other| other.at == first.at && other.result != first.result) {
                return Err(Undecided::Tie);
            }
            let result = first.result.clone().map(|output| (output, Then::End));
            return Ok(Attempt { ended: Ended { at: first.at, result }, of_branch: true });
        }
        let at = ended.iter().map(|ended| ended.at).max().unwrap_or(began);
        let outputs: Json = ended.into_iter().filter_map(|ended| ended.result.ok()).collect();
        Ok(Attempt::own(at, self.left(visit, context, &outputs)?))
    }

    /// `$$`, as one visit to a state sees it.
    fn context(&self, visit: &Visit<'_>) -> Result<Json, Undecided> {
        let mut state = json!({"Name": visit.name, "EnteredTime": time(visit.entered)?});
        if ["Task", "Parallel", "Map"].contains(&visit.state["Type"].as_str().expect("Type")) {
            state["RetryCount"] = visit.retries.into();
        }
        Ok(json!({
            "Execution": {
                "Id": "arn:execution", "Input": self.input, "Name": "case", "RoleArn": "role", "RedriveCount": 0,
                "StartTime": time(0)?,
            },
            "StateMachine": {"Id": "arn:machine", "Name": "machine"},
            "State": state,
        }))
    }
}

/// One visit to a state.
struct Visit<'a> {
    name: &'a str,
    state: &'a Json,
    /// The raw input.
    input: &'a Json,
    entered: u64,
    /// Retries so far.
    retries: i32,
    around: &'a Around<'a>,
}

impl Visit<'_> {
    fn then(&self) -> Then {
        self.state["Next"].as_str().map_or(Then::End, |next| Then::Next(next.to_owned()))
    }
}

struct Attempt {
    ended: Ended<(Json, Then)>,
    /// It failed because a branch or an iteration did.
    of_branch: bool,
}

impl Attempt {
    fn own(at: u64, result: Result<(Json, Then), Fault>) -> Self {
        Self { ended: Ended { at, result }, of_branch: false }
    }
}

/// `ResultPath` of a state or a catcher.
fn result_path(field: &Json, input: &Json, result: Json) -> Result<Json, Fault> {
    match &field["ResultPath"] {
        Json::String(path) => put(path, input, result).map_err(|_| fault("States.ResultPathMatchFailure")),
        Json::Null if field.get("ResultPath").is_some() => Ok(input.clone()),
        _ => Ok(result),
    }
}

/// Whether a retrier or catcher takes a fault.
fn takes(taker: &Json, fault: &Fault, of_branch: bool) -> bool {
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

fn attempts(retrier: &Json) -> i32 {
    retrier["MaxAttempts"].as_i64().map_or(3, |attempts| attempts as i32)
}

/// In milliseconds: interval times rate to the attempts before, up to the longest.
fn delay(retrier: &Json, attempt: i32) -> u64 {
    let interval = retrier["IntervalSeconds"].as_f64().unwrap_or(1.0);
    let rate = retrier["BackoffRate"].as_f64().unwrap_or(2.0);
    let longest = retrier["MaxDelaySeconds"].as_f64().unwrap_or(f64::INFINITY);
    ((1..attempt).fold(interval, |seconds, _| seconds * rate).min(longest) * 1_000.0) as u64
}

/// When a task has been silent for too long: no beat within the heartbeat, before its work is done.
fn silence(after: u64, beat: u64, heartbeat: u64, never: bool) -> Option<u64> {
    let mut last = 0;
    while beat > 0 && last + beat < after && beat <= heartbeat {
        last += beat;
    }
    let end = last + heartbeat;
    (never || end <= after).then_some(end)
}

/// An instant of the first day.
fn time(at: u64) -> Result<String, Undecided> {
    let (hours, minutes, seconds) = (at / 3_600_000, at / 60_000 % 60, at / 1_000 % 60);
    if hours > 23 {
        return Err(Undecided::Long);
    }
    Ok(format!("2024-05-01T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", at % 1_000))
}
