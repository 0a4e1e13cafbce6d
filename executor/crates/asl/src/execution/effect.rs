//! What an execution wants from the outside world, and what it is told.

use bytes::Bytes;

use super::child::{ChildEnded, ChildStart};
use super::threads::SLOT_BITS;
use crate::map::ResultObject;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// Names an effect: deterministic, so that a replay asks for the same effects. Unique within its execution, its children and
/// theirs included.
///
/// From the lowest bit: 16 bits for the thread of control that wants it, then the number of the effect. The id of a child
/// execution's effect has 24 bits for that number and the member's number above it (see [`super::Family`]), the first bit of
/// which is set; the execution itself has 47 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EffectId(pub u64);

/// Where the member's number begins.
const MEMBER_SHIFT: u32 = 40;
/// Bits of a member's number.
const MEMBER_BITS: u32 = u64::BITS - MEMBER_SHIFT;
/// The number of the first child execution; the execution itself has 0.
pub(super) const MEMBER_FIRST: u32 = 1 << (MEMBER_BITS - 1);
/// The number of the last one.
pub(super) const MEMBER_LAST: u32 = (1 << MEMBER_BITS) - 1;
/// Numbers that one step may take beyond those that there are: more than the children of a Map that run at once.
const SPARE: u64 = 1 << 16;

impl EffectId {
    /// The timer of the whole execution.
    pub const EXECUTION_TIMER: Self = Self(0);
    /// The next turn of the whole execution, see [`Effect::Yield`]. No thread of control has an effect of this number.
    pub const NEXT_TURN: Self = Self(1);

    /// The `number`th effect (from 1) of this member, wanted by the thread of control in this slot.
    pub(super) fn new(member: u32, number: u64, slot: u32) -> Self {
        Self(u64::from(member) << MEMBER_SHIFT | number << SLOT_BITS | u64::from(slot))
    }

    /// The effects that a member can number, whatever its last step takes.
    pub(super) fn most(member: u32) -> u64 {
        let bits = if member == 0 { u64::BITS - 1 } else { MEMBER_SHIFT };
        (1 << (bits - SLOT_BITS)) - SPARE
    }

    /// What [`EffectId::EXECUTION_TIMER`] is to a member.
    pub(super) fn execution_timer(member: u32) -> Self {
        Self::new(member, 0, 0)
    }

    /// What [`EffectId::NEXT_TURN`] is to a member.
    pub(super) fn next_turn(member: u32) -> Self {
        Self(Self::new(member, 0, 0).0 | Self::NEXT_TURN.0)
    }

    /// Whether it is the timer of a whole execution.
    pub(crate) fn is_execution_timer(self) -> bool {
        self == Self::execution_timer(self.member())
    }

    /// Whether it is the next turn of an execution.
    pub(super) fn is_next_turn(self) -> bool {
        self == Self::next_turn(self.member())
    }

    /// The member of the family that wants it.
    pub(super) fn member(self) -> u32 {
        let member = (self.0 >> MEMBER_SHIFT) as u32;
        if member < MEMBER_FIRST { 0 } else { member }
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
        /// `Credentials.RoleArn`: for whom it is done, in the place of the machine's role.
        role_arn: Option<Str>,
        /// For the worker to know, in seconds.
        timeout_seconds: Option<u64>,
        /// A heartbeat is due this often, in seconds; each [`Event::TaskHeartbeat`] moves its timer, which keeps its id.
        heartbeat_seconds: Option<u64>,
    },
    /// The outcome of this task, read, write or child execution is no longer wanted.
    CancelTask(EffectId),
    /// Run this child execution of a distributed Map; answer with [`Event::ChildEnded`]. [`super::Family`] does, so whoever
    /// drives one sees neither.
    StartChild {
        /// Comes back with the outcome.
        id: EffectId,
        /// What to run.
        child: Box<ChildStart>,
    },
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
    /// A worker has taken up an activity's task: its time counts from now on, and its heartbeats are due. Functions and
    /// services count as started when they are scheduled. It gets an event id, so a replay needs it too.
    TaskStarted {
        /// Which task.
        id: EffectId,
        /// What the worker calls itself; may be empty.
        worker: Str,
    },
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
    /// A child execution has ended.
    ChildEnded(Box<ChildEnded>),
    /// The failure of a task, or of a read or write, of which the error name is known beforehand.
    TaskFailed {
        /// Which task, read or write.
        id: EffectId,
        /// Error name; empty where the worker gave none.
        error: Str,
        /// Cause, often JSON text; empty where the worker gave none.
        cause: Str,
    },
    /// The worker lives. A replay can do without.
    TaskHeartbeat(EffectId),
    /// The timer's instant has come.
    TimerFired(EffectId),
    /// Whoever runs the execution cannot go on with it: it fails, past every Catch and Retry.
    GiveUp {
        /// Error name.
        error: Str,
        /// Cause.
        cause: Str,
    },
    /// RedriveExecution: an execution that has ended without success goes on from where it failed, if it kept what that
    /// needs (see [`super::StartContext::keeps`]). Any other is told nothing.
    Redrive,
    /// StopExecution.
    Stop {
        /// Optional error name.
        error: Option<Str>,
        /// Optional cause.
        cause: Option<Str>,
    },
}

impl Event {
    /// The effect that it answers.
    pub(super) fn effect(&self) -> Option<EffectId> {
        match self {
            Self::TaskStarted { id, .. }
            | Self::TaskSubmitted { id, .. }
            | Self::TaskSucceeded { id, .. }
            | Self::TaskFailed { id, .. }
            | Self::ItemsRead { id, .. }
            | Self::ResultsWritten(id)
            | Self::TaskHeartbeat(id)
            | Self::TimerFired(id) => Some(*id),
            Self::ChildEnded(ended) => Some(ended.id),
            Self::GiveUp { .. } | Self::Stop { .. } | Self::Redrive => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_it_is() {
        let slot = (1 << SLOT_BITS) - 1;
        for member in [0, MEMBER_FIRST, MEMBER_FIRST + 7, MEMBER_LAST] {
            for number in [1, EffectId::most(member) + SPARE - 1] {
                let id = EffectId::new(member, number, slot);
                assert_eq!((id.member(), id.slot()), (member, slot));
                assert!(!id.is_execution_timer() && !id.is_next_turn());
            }
            assert!(EffectId::execution_timer(member).is_execution_timer());
            assert!(EffectId::next_turn(member).is_next_turn());
        }
        assert_eq!(EffectId::execution_timer(0), EffectId::EXECUTION_TIMER);
        assert_eq!(EffectId::next_turn(0), EffectId::NEXT_TURN);
    }
}
