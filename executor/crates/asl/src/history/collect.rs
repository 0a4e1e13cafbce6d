//! Collects a history with the names and details of Step Functions' API.

use super::{EventKind, Fault, Iteration, Observer, Record, StateType, TaskKind, TaskResource};
use crate::timestamp::Timestamp;
use crate::value::{Map, Str, Value};

/// An event of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEvent {
    /// From 1, without gaps.
    pub id: u64,
    /// The event before it on the same thread of control; 0 for none.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// For example `PassStateEntered`.
    pub kind: &'static str,
    /// The members of the API's `...EventDetails`, with `input`, `output` and `parameters` as JSON values.
    pub details: Value,
}

impl From<&Record<'_>> for HistoryEvent {
    fn from(record: &Record<'_>) -> Self {
        let Record { id, previous, at, ref kind } = *record;
        let (kind, details) = describe(kind);
        Self { id, previous, at, kind, details: Value::from(details) }
    }
}

/// Collects events, up to a bound.
#[derive(Debug, Clone)]
pub struct Collector {
    events: Vec<HistoryEvent>,
    capacity: usize,
    dropped: u64,
}

impl Collector {
    /// Keeps the first `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self { events: Vec::new(), capacity, dropped: 0 }
    }

    /// What was collected, oldest first.
    pub fn events(&self) -> &[HistoryEvent] {
        &self.events
    }

    /// What was collected, oldest first.
    pub fn into_events(self) -> Vec<HistoryEvent> {
        self.events
    }

    /// Events beyond the bound.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Observer for Collector {
    fn event(&mut self, record: &Record<'_>) {
        if self.events.len() >= self.capacity {
            self.dropped += 1;
            return;
        }
        self.events.push(HistoryEvent::from(record));
    }
}

/// The event's type name and details.
fn describe(kind: &EventKind<'_>) -> (&'static str, Map) {
    match kind {
        EventKind::ExecutionStarted { input, role_arn } => (
            "ExecutionStarted",
            members([("input", input.value().clone()), ("roleArn", Value::from((*role_arn).clone()))]),
        ),
        EventKind::ExecutionSucceeded { output } => ("ExecutionSucceeded", output_of(output.value())),
        EventKind::ExecutionFailed(fault) => ("ExecutionFailed", fault_of(*fault)),
        EventKind::ExecutionTimedOut(fault) => ("ExecutionTimedOut", fault_of(*fault)),
        EventKind::ExecutionAborted(fault) => ("ExecutionAborted", fault_of(*fault)),
        EventKind::ExecutionRedriven { count } => {
            ("ExecutionRedriven", members([("redriveCount", Value::from(i64::from(*count)))]))
        }
        EventKind::StateEntered { state, name, input, .. } => {
            (entered(*state), members([("name", (*name).clone().into()), ("input", input.value().clone())]))
        }
        EventKind::StateExited { state, name, output, assigned, .. } => {
            let mut details = members([("name", (*name).clone().into()), ("output", output.value().clone())]);
            if let Some(assigned) = assigned {
                details.insert("assignedVariables", Value::from((*assigned).clone()));
            }
            (exited(*state), details)
        }
        EventKind::EvaluationFailed { state, location, fault } => {
            let details =
                members([("state", (*state).clone().into()), ("location", (*location).clone().into())]);
            ("EvaluationFailed", add_fault(details, *fault))
        }
        EventKind::StateAborted(state) => (aborted(*state), Map::default()),
        EventKind::MapStateStarted { length } => {
            ("MapStateStarted", members([("length", Value::from(*length))]))
        }
        EventKind::MapStateSucceeded => ("MapStateSucceeded", Map::default()),
        EventKind::MapStateFailed => ("MapStateFailed", Map::default()),
        EventKind::MapIterationStarted(iteration) => ("MapIterationStarted", iteration_of(*iteration)),
        EventKind::MapIterationSucceeded(iteration) => ("MapIterationSucceeded", iteration_of(*iteration)),
        EventKind::MapIterationFailed(iteration) => ("MapIterationFailed", iteration_of(*iteration)),
        EventKind::MapIterationAborted(iteration) => ("MapIterationAborted", iteration_of(*iteration)),
        EventKind::MapRunStarted { arn, .. } => {
            ("MapRunStarted", members([("mapRunArn", Value::from((*arn).clone()))]))
        }
        EventKind::MapRunSucceeded => ("MapRunSucceeded", Map::default()),
        EventKind::MapRunFailed(fault) => ("MapRunFailed", fault_of(*fault)),
        EventKind::MapRunAborted => ("MapRunAborted", Map::default()),
        EventKind::ParallelStateStarted => ("ParallelStateStarted", Map::default()),
        EventKind::ParallelStateSucceeded => ("ParallelStateSucceeded", Map::default()),
        EventKind::ParallelStateFailed => ("ParallelStateFailed", Map::default()),
        EventKind::TaskScheduled { .. }
        | EventKind::TaskStarted { .. }
        | EventKind::TaskSubmitted { .. }
        | EventKind::TaskSucceeded { .. }
        | EventKind::TaskFailed { .. }
        | EventKind::TaskTimedOut { .. } => describe_task(kind),
    }
}

/// The events of a task, whose names depend on its resource.
fn describe_task(kind: &EventKind<'_>) -> (&'static str, Map) {
    match *kind {
        EventKind::TaskScheduled {
            resource,
            input,
            region,
            credentials,
            timeout_seconds,
            heartbeat_seconds,
        } => {
            let task = TaskResource::parse(resource);
            let mut details = task_of(task);
            if task.kind == TaskKind::Task {
                details.insert("region", Value::from(region));
                details.insert("parameters", input.value().clone());
            } else {
                details.insert("resource", Value::from(resource.clone()));
                details.insert("input", input.value().clone());
            }
            if let Some(role) = credentials.and_then(|credentials| credentials.get("RoleArn")) {
                details.insert("taskCredentials", Value::object([("roleArn", role.clone())]));
            }
            for (name, seconds) in
                [("timeoutInSeconds", timeout_seconds), ("heartbeatInSeconds", heartbeat_seconds)]
            {
                if let Some(seconds) = seconds {
                    details.insert(name, Value::from(seconds));
                }
            }
            (named(task, ["ActivityScheduled", "LambdaFunctionScheduled", "TaskScheduled"]), details)
        }
        EventKind::TaskStarted { resource, worker } => {
            let task = TaskResource::parse(resource);
            let mut details = task_of(task);
            if !worker.is_empty() {
                details.insert("workerName", Value::from(worker));
            }
            (named(task, ["ActivityStarted", "LambdaFunctionStarted", "TaskStarted"]), details)
        }
        EventKind::TaskSubmitted { resource, output } => {
            let mut details = task_of(TaskResource::parse(resource));
            details.insert("output", output.value().clone());
            ("TaskSubmitted", details)
        }
        EventKind::TaskSucceeded { resource, output } => {
            let task = TaskResource::parse(resource);
            let mut details = task_of(task);
            details.insert("output", output.value().clone());
            (named(task, ["ActivitySucceeded", "LambdaFunctionSucceeded", "TaskSucceeded"]), details)
        }
        EventKind::TaskFailed { resource, fault } => {
            let task = TaskResource::parse(resource);
            let names = ["ActivityFailed", "LambdaFunctionFailed", "TaskFailed"];
            (named(task, names), add_fault(task_of(task), fault))
        }
        EventKind::TaskTimedOut { resource, fault } => {
            let task = TaskResource::parse(resource);
            let names = ["ActivityTimedOut", "LambdaFunctionTimedOut", "TaskTimedOut"];
            (named(task, names), add_fault(task_of(task), fault))
        }
        _ => ("", Map::default()),
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
fn task_of(task: TaskResource<'_>) -> Map {
    if task.kind == TaskKind::Task {
        members([("resourceType", Value::from(task.service)), ("resource", Value::from(task.call))])
    } else {
        Map::default()
    }
}

fn members<const N: usize>(members: [(&'static str, Value); N]) -> Map {
    members.into_iter().collect()
}

fn output_of(output: &Value) -> Map {
    members([("output", output.clone())])
}

fn iteration_of(iteration: Iteration<'_>) -> Map {
    members([("name", iteration.name.clone().into()), ("index", Value::from(iteration.index))])
}

fn fault_of(fault: Fault<'_>) -> Map {
    add_fault(Map::default(), fault)
}

fn add_fault(mut details: Map, fault: Fault<'_>) -> Map {
    let mut add = |name: &'static str, text: Option<&Str>| {
        if let Some(text) = text {
            details.insert(name, Value::from(text.clone()));
        }
    };
    add("error", fault.error);
    add("cause", fault.cause);
    details
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
