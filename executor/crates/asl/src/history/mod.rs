//! Observers see every event of an execution's history as it happens; when nobody looks, they cost nothing.
//!
//! Invariants: ids are 1, 2, 3, … in the order of the calls; `previous` is the id of the event before it on the same
//! thread of control, as Step Functions links them: closing events of iterations and branches hang beside the line, and
//! the first state's event names 0. What may fail: nothing.
//!
//! Rooms: `describe` (what Step Functions calls an event and says of it), `collect` (a history in that form), `asw` (as ASW
//! tells it), `resource` (what a task's resource says about its events), `severity` (which log levels take an event), `stage`
//! (what an inspected state comes to).

mod asw;
mod collect;
mod describe;
mod resource;
mod severity;
mod stage;

pub use asw::{AswEvent, AswHistory};
pub use collect::{Collector, HistoryEvent};
pub use describe::{Details, describe};
pub use resource::{TaskKind, TaskResource};
pub use severity::Severity;
pub use stage::{Field, Stage};

use crate::execution::{Machine, StartContext};
use crate::map::Tolerance;
use crate::program::Distributed;
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Str, Value};

/// Sees the events of executions.
pub trait Observer {
    /// Whether anyone looks. Where nobody does, the calls are compiled away.
    const ENABLED: bool = true;

    /// Whether it inspects one state: it is told what happens between the events, and no branch or iteration begins, for
    /// the outcome of the state's work is given. Where nobody does, all of it is compiled away.
    const INSPECTS: bool = false;

    /// Whether it looks at the child executions of distributed Maps too, whose events have ids of their own. Where not,
    /// children are compiled as if nobody looked.
    const CHILDREN: bool = false;

    /// An event has happened.
    fn event(&mut self, record: &Record<'_>);

    /// What happens from now on is a child's; only where [`Self::CHILDREN`].
    fn enter_child(&mut self) {}

    /// Since then it was this one's; what comes next is the execution's own again.
    fn leave_child(&mut self, _: ChildExecution<'_>) {}

    /// Something has happened that Step Functions' history does not tell, and that has no number in it.
    fn note(&mut self, _at: Timestamp, _note: &Note<'_>) {}

    /// The inspected state has come so far; only where [`Self::INSPECTS`].
    fn stage(&mut self, _: &Stage<'_>) {}
}

/// A child execution of a distributed Map.
#[derive(Debug, Clone, Copy)]
pub struct ChildExecution<'a> {
    /// What all children of its Map Run share.
    pub machine: &'a Machine,
    /// What this one adds.
    pub start: &'a StartContext,
}

/// Nobody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    const ENABLED: bool = false;

    fn event(&mut self, _: &Record<'_>) {}
}

/// An event, borrowing what it tells.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// From 1, without gaps.
    pub id: u64,
    /// The event before it on the same thread of control; 0 for none.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind<'a>,
}

/// What happens to a state between the events of its history. A state is named by the id of the event that it was
/// entered with, in the history of its own execution: those of a distributed Map's children have their own.
#[derive(Debug, Clone)]
pub enum Note<'a> {
    /// Its effective input is known: after InputPath and Parameters. Again with each attempt; not where the state does
    /// nothing to its input.
    Input {
        /// Whose.
        entered: u64,
        /// The effective input.
        input: &'a Payload,
    },
    /// It failed and a catcher takes over: it is exited next.
    Caught {
        /// Whose.
        entered: u64,
        /// The state's [`place`](crate::program::State::place).
        place: u32,
        /// How it failed.
        fault: Fault<'a>,
    },
    /// An attempt failed, and there will be another one.
    Retried {
        /// The state's [`place`](crate::program::State::place).
        place: u32,
    },
    /// It is over without an output: it failed for good, or was given up with what is around it. States inside others
    /// are noted before those around them.
    Abandoned {
        /// Whose.
        entered: u64,
        /// The state's [`place`](crate::program::State::place).
        place: u32,
        /// When it was entered.
        since: Timestamp,
        /// The id of the event that the state around it was entered with; 0 for none.
        around: u64,
        /// Whether the fault is its own, or that of a state in it.
        own: bool,
        /// Why.
        fault: Fault<'a>,
    },
}

/// Which type of state an event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateType {
    /// `Choice`
    Choice,
    /// `Fail`
    Fail,
    /// `Map`
    Map,
    /// `Parallel`
    Parallel,
    /// `Pass`
    Pass,
    /// `Succeed`
    Succeed,
    /// `Task`
    Task,
    /// `Wait`
    Wait,
}

/// An error as events tell it.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// Error name, where there is one.
    pub error: Option<&'a Str>,
    /// Cause, where there is one.
    pub cause: Option<&'a Str>,
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum EventKind<'a> {
    /// The first event.
    ExecutionStarted {
        /// The execution's input.
        input: &'a Payload,
        /// `$$.Execution.RoleArn`
        role_arn: &'a Str,
    },
    /// The last event of a success.
    ExecutionSucceeded {
        /// The execution's output.
        output: &'a Payload,
    },
    /// The last event of a failure.
    ExecutionFailed(Fault<'a>),
    /// The last event of an execution that ran too long.
    ExecutionTimedOut(Fault<'a>),
    /// The last event of an execution that was stopped.
    ExecutionAborted(Fault<'a>),
    /// An execution that had ended goes on.
    ExecutionRedriven {
        /// How often it has done so.
        count: u32,
    },
    /// A state begins.
    StateEntered {
        /// Its type.
        state: StateType,
        /// Its name.
        name: &'a Str,
        /// Its [`place`](crate::program::State::place).
        place: u32,
        /// Its raw input.
        input: &'a Payload,
        /// A Task's `Resource`.
        resource: Option<&'a Str>,
    },
    /// A state is over.
    StateExited {
        /// Its type.
        state: StateType,
        /// Its name.
        name: &'a Str,
        /// What it passes on.
        output: &'a Payload,
        /// The variables that it set, where it set any.
        assigned: Option<&'a Map>,
        /// The id of the event that it was entered with.
        entered: u64,
        /// Its [`place`](crate::program::State::place).
        place: u32,
        /// When it was entered.
        since: Timestamp,
        /// The id of the event that the state around it was entered with; 0 for none.
        around: u64,
    },
    /// A field of a JSONata state could not be evaluated.
    EvaluationFailed {
        /// The state's name.
        state: &'a Str,
        /// The field.
        location: &'a Str,
        /// How.
        fault: Fault<'a>,
    },
    /// A state was given up, because of a failure of its own or elsewhere in a Parallel or Map state.
    StateAborted(StateType),
    /// Work was asked for.
    TaskScheduled {
        /// Whose.
        resource: &'a Str,
        /// The effective input.
        input: &'a Payload,
        /// The machine's region.
        region: &'a str,
        /// `Credentials`
        credentials: Option<&'a Value>,
        /// `TimeoutSeconds`
        timeout_seconds: Option<u64>,
        /// `HeartbeatSeconds`
        heartbeat_seconds: Option<u64>,
    },
    /// The work was taken up.
    TaskStarted {
        /// Whose.
        resource: &'a Str,
        /// Of an activity: what its worker calls itself; may be empty.
        worker: &'a str,
    },
    /// The first request of a `.sync` or `.waitForTaskToken` task was answered.
    TaskSubmitted {
        /// Whose.
        resource: &'a Str,
        /// The answer.
        output: &'a Payload,
    },
    /// The work is done.
    TaskSucceeded {
        /// Whose.
        resource: &'a Str,
        /// Its result.
        output: &'a Payload,
    },
    /// The work failed.
    TaskFailed {
        /// Whose.
        resource: &'a Str,
        /// How.
        fault: Fault<'a>,
    },
    /// The work took too long.
    TaskTimedOut {
        /// Whose.
        resource: &'a Str,
        /// `States.Timeout`.
        fault: Fault<'a>,
    },
    /// A Map state knows its items.
    MapStateStarted {
        /// How many.
        length: u64,
    },
    /// All iterations are over.
    MapStateSucceeded,
    /// An iteration failed for good.
    MapStateFailed,
    /// An iteration begins.
    MapIterationStarted(Iteration<'a>),
    /// An iteration is over.
    MapIterationSucceeded(Iteration<'a>),
    /// An iteration failed.
    MapIterationFailed(Iteration<'a>),
    /// An iteration was given up, because another one failed.
    MapIterationAborted(Iteration<'a>),
    /// A distributed Map's children begin.
    MapRunStarted {
        /// The name of the Map Run.
        arn: &'a Str,
        /// The Map that it is a run of.
        map: &'a Distributed,
        /// Children at once, at most.
        concurrency: u32,
        /// Items that may fail.
        tolerance: Tolerance,
    },
    /// A distributed Map's children are over.
    MapRunSucceeded,
    /// A distributed Map's children failed.
    MapRunFailed(Fault<'a>),
    /// A distributed Map's children were given up.
    MapRunAborted,
    /// All branches begin.
    ParallelStateStarted,
    /// All branches are over.
    ParallelStateSucceeded,
    /// A branch failed for good.
    ParallelStateFailed,
}

/// One iteration of a Map state.
#[derive(Debug, Clone, Copy)]
pub struct Iteration<'a> {
    /// The Map state's name.
    pub name: &'a Str,
    /// From 0.
    pub index: u32,
}
