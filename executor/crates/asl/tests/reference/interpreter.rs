//! The language as the specification tells it: recursive, on the definition's own JSON, one branch after the other.
//!
//! Time is a number that every step hands on: branches run "at the same time" because each begins at the instant at which
//! its Parallel began. Of branches that fail, the one that fails first counts. Where the specification leaves something
//! open (two failures at the same instant, a payload that quotes our own messages), there is no answer: [`Undecided`].

use std::cell::Cell;

use serde_json::{Map, Value as Json, json};

use super::choice;
use super::errors::{Fault, attempts, delay, fault, runtime, takes};
use super::intrinsic::{Unfilled, filled};
use super::path::{Roots, put, value};
use super::script::Script;

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
pub type Around<'a> = [(&'a str, u32)];

/// Variables, by their names.
pub type Variables = Map<String, Json>;

/// How a state is left: its output, what it assigns, and what comes behind it.
pub struct Left {
    output: Json,
    assigned: Variables,
    then: Then,
}

pub enum Then {
    Next(String),
    End,
}

pub struct Interpreter<'a> {
    pub machine: &'a Json,
    pub input: &'a Json,
    pub script: &'a Script,
    pub steps_left: Cell<u32>,
    pub unordered: Cell<bool>,
}

impl Interpreter<'_> {
    pub fn run(&self) -> Result<Outcome, Undecided> {
        let ended = self.graph(self.machine, self.input, 0, &[], &Variables::new())?;
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

    /// A machine, a branch or an iteration, which begins with the variables around it and keeps its own to itself.
    pub fn graph(
        &self,
        graph: &Json,
        input: &Json,
        at: u64,
        around: &Around<'_>,
        outer: &Variables,
    ) -> Result<Ended<Json>, Undecided> {
        let mut name = graph["StartAt"].as_str().expect("StartAt").to_owned();
        let (mut input, mut at, mut variables) = (input.clone(), at, outer.clone());
        loop {
            let ended = self.state(&name, &graph["States"][&name], &input, at, around, &variables)?;
            at = ended.at;
            let left = match ended.result {
                Err(fault) => return Ok(Ended { at, result: Err(fault) }),
                Ok(left) => left,
            };
            variables.extend(left.assigned);
            match left.then {
                Then::End => return Ok(Ended { at, result: Ok(left.output) }),
                Then::Next(next) => (input, name) = (left.output, next),
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
        variables: &Variables,
    ) -> Result<Ended<Left>, Undecided> {
        let retriers = state["Retry"].as_array().map_or(&[][..], Vec::as_slice);
        let mut taken = vec![0; retriers.len()];
        let mut at = entered;
        loop {
            let left = self.steps_left.get().checked_sub(1).ok_or(Undecided::Long)?;
            self.steps_left.set(left);
            let retries: i32 = taken.iter().sum();
            let visit = Visit { name, state, input, entered, retries, around, variables };
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
                Some(catcher) => self.caught(&visit, catcher, &fault)?,
            };
            return Ok(Ended { at, result });
        }
    }

    fn caught(
        &self,
        visit: &Visit<'_>,
        catcher: &Json,
        fault: &Fault,
    ) -> Result<Result<Left, Fault>, Undecided> {
        // Step Functions: a timeout has an empty cause, any other error without one has null.
        let timeout = fault.error.as_deref() == Some("States.Timeout");
        let cause = fault.cause.clone().or_else(|| timeout.then(String::new));
        let error_output = json!({"Error": fault.error, "Cause": cause});
        let assigned = self.assigned(visit, catcher, &error_output, true)?;
        let output = result_path(catcher, visit.input, error_output);
        let then = Then::Next(catcher["Next"].as_str().expect("Next").to_owned());
        together(assigned, output, then)
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
                    "Choice" => (0, self.choice(visit, &context)?),
                    "Wait" => self.wait(visit, &context)?,
                    "Succeed" => (0, self.through(visit, &context)?),
                    _ => (0, Err(self.fail(visit, &context))),
                };
                Ok(Attempt::own(at + waited, result))
            }
        }
    }

    pub fn roots<'r>(&'r self, visit: &Visit<'r>, input: &'r Json, context: &'r Json) -> Roots<'r> {
        Roots { input, context, variables: visit.variables, unordered: &self.unordered }
    }

    /// `Assign` of a state, a rule or a catcher.
    fn assigned(
        &self,
        visit: &Visit<'_>,
        field: &Json,
        data: &Json,
        caught: bool,
    ) -> Result<Result<Variables, Fault>, Undecided> {
        let Some(assign) = field.get("Assign") else { return Ok(Ok(Variables::new())) };
        let context = self.context(visit)?;
        let assigned = self.template(visit, assign, data, &context, caught)?;
        Ok(assigned.map(|assigned| assigned.as_object().cloned().expect("an object")))
    }

    /// InputPath or OutputPath.
    pub fn selected(
        &self,
        visit: &Visit<'_>,
        field: &str,
        data: &Json,
        context: &Json,
    ) -> Result<Json, Fault> {
        match &visit.state[field] {
            Json::String(path) => value(path, &self.roots(visit, data, context)).map_err(|_| runtime()),
            Json::Null if visit.state.get(field).is_some() => Ok(json!({})),
            _ => Ok(data.clone()),
        }
    }

    /// A payload template. Where nothing can be caught, a path to nowhere is a mistake of the definition.
    pub fn template(
        &self,
        visit: &Visit<'_>,
        template: &Json,
        input: &Json,
        context: &Json,
        caught: bool,
    ) -> Result<Result<Json, Fault>, Undecided> {
        match filled(template, &self.roots(visit, input, context)) {
            Ok(value) => Ok(Ok(value)),
            Err(Unfilled::Unsaid) => Err(Undecided::Unsaid),
            Err(Unfilled::Function) => Ok(Err(fault("States.IntrinsicFailure"))),
            Err(Unfilled::Path) if caught => Ok(Err(fault("States.ParameterPathFailure"))),
            Err(Unfilled::Path) => Ok(Err(runtime())),
        }
    }

    /// InputPath and `Parameters`.
    pub fn effective(
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
            Some(template) => self.template(visit, template, &input, context, caught),
        }
    }

    /// Assign on the result; ResultSelector, ResultPath, OutputPath; and what comes next.
    pub fn left(
        &self,
        visit: &Visit<'_>,
        context: &Json,
        result: &Json,
        caught: bool,
    ) -> Result<Result<Left, Fault>, Undecided> {
        let assigned = self.assigned(visit, visit.state, result, caught)?;
        let selected = match visit.state.get("ResultSelector") {
            None => Ok(result.clone()),
            Some(selector) => self.template(visit, selector, result, context, true)?,
        };
        let output = selected
            .and_then(|result| result_path(visit.state, visit.input, result))
            .and_then(|output| self.selected(visit, "OutputPath", &output, context));
        together(assigned, output, visit.then())
    }

    fn pass(&self, visit: &Visit<'_>, context: &Json) -> Result<Result<Left, Fault>, Undecided> {
        let result = match visit.state.get("Result") {
            Some(result) => Ok(result.clone()),
            None => self.effective(visit, context, false)?,
        };
        match result {
            Ok(result) => self.left(visit, context, &result, false),
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// InputPath and OutputPath, with nothing between them but Assign, of the state or of a rule.
    fn passed_on(
        &self,
        visit: &Visit<'_>,
        context: &Json,
        input: &Json,
        assigns: &Json,
        then: Then,
    ) -> Result<Result<Left, Fault>, Undecided> {
        let assigned = self.assigned(visit, assigns, input, false)?;
        let output = self.selected(visit, "OutputPath", input, context);
        together(assigned, output, then)
    }

    fn through(&self, visit: &Visit<'_>, context: &Json) -> Result<Result<Left, Fault>, Undecided> {
        match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => self.passed_on(visit, context, &input, visit.state, visit.then()),
            Err(fault) => Ok(Err(fault)),
        }
    }

    fn choice(&self, visit: &Visit<'_>, context: &Json) -> Result<Result<Left, Fault>, Undecided> {
        let input = match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => input,
            Err(fault) => return Ok(Err(fault)),
        };
        let roots = self.roots(visit, &input, context);
        let mut chosen = (visit.state, visit.state["Default"].as_str());
        for rule in visit.state["Choices"].as_array().expect("Choices") {
            match choice::holds(rule, &roots) {
                Err(_) => return Ok(Err(runtime())),
                Ok(false) => {}
                Ok(true) => {
                    chosen = (rule, rule["Next"].as_str());
                    break;
                }
            }
        }
        let (assigns, Some(next)) = chosen else { return Ok(Err(fault("States.NoChoiceMatched"))) };
        self.passed_on(visit, context, &input, assigns, Then::Next(next.to_owned()))
    }

    fn wait(&self, visit: &Visit<'_>, context: &Json) -> Result<(u64, Result<Left, Fault>), Undecided> {
        let input = match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => input,
            // Whether it fails before or behind the wait is not said.
            Err(_) if visit.state["Seconds"].as_u64() > Some(0) => return Err(Undecided::Unsaid),
            Err(fault) => return Ok((0, Err(fault))),
        };
        let seconds = match visit.state["SecondsPath"].as_str() {
            None => visit.state["Seconds"].as_f64(),
            Some(path) => {
                value(path, &self.roots(visit, &input, context)).ok().and_then(|found| found.as_f64())
            }
        };
        match seconds.filter(|seconds| *seconds >= 0.0 && seconds.fract() == 0.0) {
            None => Ok((0, Err(runtime()))),
            Some(seconds) => Ok((seconds as u64 * 1_000, self.through(visit, context)?)),
        }
    }

    fn fail(&self, visit: &Visit<'_>, context: &Json) -> Fault {
        let text = |constant: &str, path: &str| match (&visit.state[constant], &visit.state[path]) {
            (Json::String(text), _) => Ok(Some(text.clone())),
            (_, Json::String(path)) => {
                let found = value(path, &self.roots(visit, visit.input, context)).map_err(|_| runtime())?;
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
pub struct Visit<'a> {
    pub name: &'a str,
    pub state: &'a Json,
    /// The raw input.
    pub input: &'a Json,
    pub entered: u64,
    /// Retries so far.
    pub retries: i32,
    pub around: &'a Around<'a>,
    pub variables: &'a Variables,
}

impl Visit<'_> {
    fn then(&self) -> Then {
        self.state["Next"].as_str().map_or(Then::End, |next| Then::Next(next.to_owned()))
    }
}

pub struct Attempt {
    pub ended: Ended<Left>,
    /// It failed because a branch or an iteration did.
    pub of_branch: bool,
}

impl Attempt {
    pub fn own(at: u64, result: Result<Left, Fault>) -> Self {
        Self { ended: Ended { at, result }, of_branch: false }
    }
}

/// What is assigned and what goes on: both, or neither.
fn together(
    assigned: Result<Variables, Fault>,
    output: Result<Json, Fault>,
    then: Then,
) -> Result<Result<Left, Fault>, Undecided> {
    match (assigned, output) {
        (Ok(assigned), Ok(output)) => Ok(Ok(Left { output, assigned, then })),
        // Which of two failures counts is not said.
        (Err(one), Err(other)) if one != other => Err(Undecided::Unsaid),
        (Err(fault), _) | (_, Err(fault)) => Ok(Err(fault)),
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

/// An instant of the first day.
fn time(at: u64) -> Result<String, Undecided> {
    let (hours, minutes, seconds) = (at / 3_600_000, at / 60_000 % 60, at / 1_000 % 60);
    if hours > 23 {
        return Err(Undecided::Long);
    }
    let fraction = match at % 1_000 {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    Ok(format!("2024-05-01T{hours:02}:{minutes:02}:{seconds:02}{fraction}Z"))
}
