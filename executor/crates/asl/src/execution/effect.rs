//! What an execution wants from the outside world, and what it is told.

use bytes::Bytes;

use super::threads::SLOT_BITS;
use crate::map::ResultObject;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// Names an effect: deterministic, so that a replay asks for the same effects. Unique within its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId(pub u64);

impl EffectId {
    /// The timer of the whole execution.
    pub const EXECUTION_TIMER: Self = Self(0);
    /// The next turn of the whole execution, see [`Effect::Yield`]. No thread of control has an effect of this number.
    pub const NEXT_TURN: Self = Self(1);

    /// The `number`th effect of the execution (from 1), wanted by the thread of control in this slot.
    pub(super) fn new(number: u64, slot: u32) -> Self {
        Self(number << SLOT_BITS | u64::from(slot))
    }

    /// The slot of the thread of control that wants it.
    pub(super) fn slot(self) -> u32 {
        (self.0 & ((1 << SLOT_BITS) - 1)) as u32
    }
}

/// What an execution wants from the outside world.
#[derive(Debug, Clone, PartialEq)]
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
    /// The outcome of this task, read or write is no longer wanted.
    CancelTask(EffectId),
    /// Read this for a distributed Map; answer with [`Event::ItemsRead`] or [`Event::TaskFailed`]. An object and a page of
    /// a listing are one read each, so a Map may ask again.
    ReadItems {
        /// Comes back with the answer.
        id: EffectId,
        /// `...:s3:getObject` or `...:s3:listObjectsV2`
        resource: Str,
        /// The parameters of the call, JSON, named as in S3's API.
        parameters: Payload,
    },
    /// Write these objects for a distributed Map, the last one when all others are there; answer with
    /// [`Event::ResultsWritten`] or [`Event::TaskFailed`].
    WriteResults {
        /// Comes back with the answer.
        id: EffectId,
        /// `...:s3:putObject`
        resource: Str,
        /// The bucket.
        bucket: Str,
        /// What to write.
        objects: Vec<ResultObject>,
    },
    /// Answer with [`Event::TimerFired`] at this instant, or later.
    ArmTimer {
        /// Comes back with the event.
        id: EffectId,
        /// When.
        at: Timestamp,
    },
    /// The execution has worked for so long that others should have their turn: answer with [`Event::TimerFired`] of
    /// [`EffectId::NEXT_TURN`] when they had it. Other events may come before.
    Yield,
    /// This timer is no longer wanted; a late [`Event::TimerFired`] for it does no harm.
    CancelTimer(EffectId),
    /// The execution has ended; always the last effect. Everything that it still wanted was cancelled before.
    Finished(Outcome),
}

/// What the outside world tells an execution. An event for an effect that is no longer wanted changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker has taken up an activity's task. Only the history shows it, and only for activities: functions and
    /// services count as started when they are scheduled. It gets an event id, so a replay needs it too.
    TaskStarted(EffectId),
    /// A `.sync` or `.waitForTaskToken` task's first request was answered. Only the history shows it; it gets an event
    /// id, so a replay needs it too.
    TaskSubmitted {
        /// Which task.
        id: EffectId,
        /// The answer, JSON.
        output: Payload,
    },
    /// The task's output.
    TaskSucceeded {
        /// Which task.
        id: EffectId,
        /// JSON.
        output: Payload,
    },
    /// What a Map asked to read: an object's bytes, or a page of a listing as JSON, its members named as in S3's API.
    ItemsRead {
        /// Which read.
        id: EffectId,
        /// The bytes.
        body: Bytes,
    },
    /// A Map's results are written.
    ResultsWritten(EffectId),
    /// The failure of a task, or of a read or write, of which the error name is known beforehand.
    TaskFailed {
        /// Which task, read or write.
        id: EffectId,
        /// Error name; empty where the worker gave none.
        error: Str,
        /// Cause, often JSON text; empty where the worker gave none.
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
#[derive(Debug, Clone, PartialEq)]
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
