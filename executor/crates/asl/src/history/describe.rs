//! What Step Functions' API calls an event, and what its details say: written down as it is, into whatever takes it.
//!
//! Invariant: members come in one order for each type of event. What may fail: nothing.

use super::{EventKind, Fault, Iteration, StateType, TaskKind, TaskResource};
use crate::value::{Map, Payload, Str, Value};

/// Takes the members of an event's details, in their order.
pub trait Details {
    /// A text.
    fn text(&mut self, name: &'static str, text: &str);

    /// A number.
    fn number(&mut self, name: &'static str, number: u64);

    /// What is no data of the execution, but of its definition.
    fn value(&mut self, name: &'static str, value: &Value);

    /// Data of the execution: `input`, `output` or `parameters`.
    fn data(&mut self, name: &'static str, data: &Payload);

    /// The variables that a state has set, by their names: data, too.
    fn variables(&mut self, name: &'static str, variables: &Map);
}

/// The name of the event's type; its details go to `out`.
pub fn describe(kind: &EventKind<'_>, out: &mut impl Details) -> &'static str {
    match kind {
        EventKind::ExecutionStarted { input, role_arn } => {
            out.data("input", input);
            out.text("roleArn", role_arn);
            "ExecutionStarted"
        }
        EventKind::ExecutionSucceeded { output } => {
            out.data("output", output);
            "ExecutionSucceeded"
        }
        EventKind::ExecutionFailed(fault) => failed(*fault, out, "ExecutionFailed"),
        EventKind::ExecutionTimedOut(fault) => failed(*fault, out, "ExecutionTimedOut"),
        EventKind::ExecutionAborted(fault) => failed(*fault, out, "ExecutionAborted"),
        EventKind::ExecutionRedriven { count } => {
            out.number("redriveCount", u64::from(*count));
            "ExecutionRedriven"
        }
        EventKind::StateEntered { state, name, input, .. } => {
            out.text("name", name);
            out.data("input", input);
            entered(*state)
        }
        EventKind::StateExited { state, name, output, assigned, .. } => {
            out.text("name", name);
            out.data("output", output);
            if let Some(assigned) = assigned {
                out.variables("assignedVariables", assigned);
            }
            exited(*state)
        }
        EventKind::EvaluationFailed { state, location, fault } => {
            out.text("state", state);
            out.text("location", location);
            failed(*fault, out, "EvaluationFailed")
        }
        EventKind::StateAborted(state) => aborted(*state),
        EventKind::TaskScheduled { .. }
        | EventKind::TaskStarted { .. }
        | EventKind::TaskSubmitted { .. }
        | EventKind::TaskSucceeded { .. }
        | EventKind::TaskFailed { .. }
        | EventKind::TaskTimedOut { .. } => describe_task(kind, out),
        _ => describe_group(kind, out),
    }
}

/// The events of Map and Parallel states.
fn describe_group(kind: &EventKind<'_>, out: &mut impl Details) -> &'static str {
    match kind {
        EventKind::MapStateStarted { length } => {
            out.number("length", *length);
            "MapStateStarted"
        }
        EventKind::MapStateSucceeded => "MapStateSucceeded",
        EventKind::MapStateFailed => "MapStateFailed",
        EventKind::MapIterationStarted(iteration) => iterated(*iteration, out, "MapIterationStarted"),
        EventKind::MapIterationSucceeded(iteration) => iterated(*iteration, out, "MapIterationSucceeded"),
        EventKind::MapIterationFailed(iteration) => iterated(*iteration, out, "MapIterationFailed"),
        EventKind::MapIterationAborted(iteration) => iterated(*iteration, out, "MapIterationAborted"),
        EventKind::MapRunStarted { arn, .. } => {
            out.text("mapRunArn", arn);
            "MapRunStarted"
        }
        EventKind::MapRunSucceeded => "MapRunSucceeded",
        EventKind::MapRunFailed(fault) => failed(*fault, out, "MapRunFailed"),
        EventKind::MapRunAborted => "MapRunAborted",
        EventKind::ParallelStateStarted => "ParallelStateStarted",
        EventKind::ParallelStateSucceeded => "ParallelStateSucceeded",
        EventKind::ParallelStateFailed => "ParallelStateFailed",
        _ => "",
    }
}

/// The events of a task, whose names depend on its resource.
fn describe_task(kind: &EventKind<'_>, out: &mut impl Details) -> &'static str {
    match *kind {
        EventKind::TaskScheduled { resource, .. } => {
            let task = TaskResource::parse(resource);
            scheduled(kind, task, out);
            named(task, ["ActivityScheduled", "LambdaFunctionScheduled", "TaskScheduled"])
        }
        EventKind::TaskStarted { resource, worker } => {
            let task = of_task(resource, out);
            if !worker.is_empty() {
                out.text("workerName", worker);
            }
            named(task, ["ActivityStarted", "LambdaFunctionStarted", "TaskStarted"])
        }
        EventKind::TaskSubmitted { resource, output } => {
            of_task(resource, out);
            out.data("output", output);
            "TaskSubmitted"
        }
        EventKind::TaskSucceeded { resource, output } => {
            let task = of_task(resource, out);
            out.data("output", output);
            named(task, ["ActivitySucceeded", "LambdaFunctionSucceeded", "TaskSucceeded"])
        }
        EventKind::TaskFailed { resource, fault } => {
            let task = of_task(resource, out);
            failed(fault, out, named(task, ["ActivityFailed", "LambdaFunctionFailed", "TaskFailed"]))
        }
        EventKind::TaskTimedOut { resource, fault } => {
            let task = of_task(resource, out);
            failed(fault, out, named(task, ["ActivityTimedOut", "LambdaFunctionTimedOut", "TaskTimedOut"]))
        }
        _ => "",
    }
}

fn scheduled(kind: &EventKind<'_>, task: TaskResource<'_>, out: &mut impl Details) {
    let EventKind::TaskScheduled { resource, input, region, credentials, timeout_seconds, heartbeat_seconds } =
        *kind
    else {
        return;
    };
    if task.kind == TaskKind::Task {
        called(task, out);
        out.text("region", region);
        out.data("parameters", input);
    } else {
        out.text("resource", resource);
        out.data("input", input);
    }
    if let Some(role) = credentials.and_then(|credentials| credentials.get("RoleArn")) {
        out.value("taskCredentials", &Value::object([("roleArn", role.clone())]));
    }
    for (name, seconds) in [("timeoutInSeconds", timeout_seconds), ("heartbeatInSeconds", heartbeat_seconds)]
    {
        if let Some(seconds) = seconds {
            out.number(name, seconds);
        }
    }
}

fn named(task: TaskResource<'_>, [activity, function, service]: [&'static str; 3]) -> &'static str {
    match task.kind {
        TaskKind::Activity => activity,
        TaskKind::LambdaFunction => function,
        TaskKind::Task => service,
    }
}

/// `resourceType` and `resource`, which only service integrations repeat in each event.
fn of_task<'r>(resource: &'r str, out: &mut impl Details) -> TaskResource<'r> {
    let task = TaskResource::parse(resource);
    if task.kind == TaskKind::Task {
        called(task, out);
    }
    task
}

fn called(task: TaskResource<'_>, out: &mut impl Details) {
    out.text("resourceType", task.service);
    out.text("resource", task.call);
}

fn iterated(iteration: Iteration<'_>, out: &mut impl Details, name: &'static str) -> &'static str {
    out.text("name", iteration.name);
    out.number("index", u64::from(iteration.index));
    name
}

fn failed(fault: Fault<'_>, out: &mut impl Details, name: &'static str) -> &'static str {
    let mut add = |name: &'static str, text: Option<&Str>| {
        if let Some(text) = text {
            out.text(name, text);
        }
    };
    add("error", fault.error);
    add("cause", fault.cause);
    name
}

fn entered(state: StateType) -> &'static str {
    match state {
        StateType::Choice => "ChoiceStateEntered",
        StateType::Fail => "FailStateEntered",
        StateType::Map => "MapStateEntered",
        StateType::Parallel => "ParallelStateEntered",
        StateType::Pass => "PassStateEntered",
        StateType::Succeed => "SucceedStateEntered",
        StateType::Task => "TaskStateEntered",
        StateType::Wait => "WaitStateEntered",
    }
}

fn exited(state: StateType) -> &'static str {
    match state {
        StateType::Choice => "ChoiceStateExited",
        StateType::Fail => "FailStateExited",
        StateType::Map => "MapStateExited",
        StateType::Parallel => "ParallelStateExited",
        StateType::Pass => "PassStateExited",
        StateType::Succeed => "SucceedStateExited",
        StateType::Task => "TaskStateExited",
        StateType::Wait => "WaitStateExited",
    }
}

fn aborted(state: StateType) -> &'static str {
    match state {
        StateType::Map => "MapStateAborted",
        StateType::Parallel => "ParallelStateAborted",
        StateType::Wait => "WaitStateAborted",
        _ => "TaskStateAborted",
    }
}
