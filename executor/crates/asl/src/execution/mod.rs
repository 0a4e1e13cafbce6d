//! The machine that steps: events in, effects out.
//!
//! [`Execution::start`] and [`Execution::handle`] are the only entrances. Both run until nothing more can happen without
//! the outside world, push what they want from it as [`Effect`]s, and return.

use std::sync::Arc;

use crate::program::Program;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// What the context object (`$$`) says of the execution and its machine.
#[derive(Debug, Clone)]
pub struct StartContext {
    /// `$$.Execution.Id`: the ARN or QRN.
    pub execution_arn: Str,
    /// `$$.Execution.Name`
    pub execution_name: Str,
    /// `$$.Execution.RoleArn`
    pub role_arn: Str,
    /// `$$.StateMachine.Id`
    pub machine_arn: Str,
    /// `$$.StateMachine.Name`
    pub machine_name: Str,
    /// All randomness of the execution is drawn from this.
    pub seed: u64,
    /// The longest the execution may run, in seconds, by its mode; the machine's own `TimeoutSeconds` may be shorter.
    pub mode_timeout_seconds: u64,
    /// Events of the history after which the execution fails (25,000 for STANDARD).
    pub history_events_max: u64,
}

/// Names an effect: deterministic, so that a replay asks for the same effects. Unique within its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId(pub u64);

/// What an execution wants from the outside world.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Do this work; answer with [`Event::TaskSucceeded`] or [`Event::TaskFailed`]. Timeouts are timers of their own.
    ScheduleTask {
        /// Comes back with the outcome.
        id: EffectId,
        /// The state's `Resource`.
        resource: Str,
        /// The effective input.
        input: Payload,
        /// For the worker to know, in seconds.
        timeout_seconds: Option<u64>,
        /// A heartbeat is due this often, in seconds; each [`Event::TaskHeartbeat`] re-arms it.
        heartbeat_seconds: Option<u64>,
    },
    /// The outcome of this task is no longer wanted.
    CancelTask(EffectId),
    /// Answer with [`Event::TimerFired`] at this instant, or later.
    ArmTimer {
        /// Comes back with the event.
        id: EffectId,
        /// When.
        at: Timestamp,
    },
    /// This timer is no longer wanted; a late [`Event::TimerFired`] for it does no harm.
    CancelTimer(EffectId),
    /// The execution has ended; always the last effect.
    Finished(Outcome),
}

/// What the outside world tells an execution. An event for an effect that is no longer wanted changes nothing.
#[derive(Debug, Clone)]
pub enum Event {
    /// A worker has taken the task up (for the history only).
    TaskStarted(EffectId),
    /// The task's output.
    TaskSucceeded {
        /// Which task.
        id: EffectId,
        /// JSON.
        output: Payload,
    },
    /// The task's failure.
    TaskFailed {
        /// Which task.
        id: EffectId,
        /// Error name.
        error: Str,
        /// Cause, often JSON text.
        cause: Str,
    },
    /// The worker lives.
    TaskHeartbeat(EffectId),
    /// The timer's instant has come.
    TimerFired(EffectId),
    /// StopExecution.
    Stop {
        /// Optional error name.
        error: Option<Str>,
        /// Optional cause.
        cause: Option<Str>,
    },
}

/// How an execution ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With this output.
    Succeeded(Payload),
    /// With an error; both texts are optional in ASL.
    Failed {
        /// Error name.
        error: Option<Str>,
        /// Cause.
        cause: Option<Str>,
    },
    /// Ran too long.
    TimedOut {
        /// Error name (`States.Timeout`), where AWS gives one.
        error: Option<Str>,
        /// Cause.
        cause: Option<Str>,
    },
    /// Stopped.
    Aborted {
        /// Error name.
        error: Option<Str>,
        /// Cause.
        cause: Option<Str>,
    },
}

/// An execution under way.
#[derive(Debug)]
pub struct Execution {
    program: Arc<Program>,
}
