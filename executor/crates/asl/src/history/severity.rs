//! Which log levels take an event.
//!
//! As the table "Log levels for Step Functions execution events" of Step Functions' developer guide has it
//! (<https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html>): `FATAL` takes the ends of executions
//! that did not succeed, `ERROR` these and whatever failed, was given up or took too long, and entering a Fail state; `ALL`
//! takes everything. What the table does not name (activities, Map Runs, evaluations) is put with its like.

use super::{EventKind, StateType};

/// How bad an event is. The worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For `ALL` alone.
    Plain,
    /// For `ERROR` too.
    Error,
    /// For `FATAL` too.
    Fatal,
}

impl EventKind<'_> {
    /// How bad it is. Whoever knows the kind of an event where it is made knows this too, once it is inlined.
    #[inline]
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::ExecutionFailed(_) | Self::ExecutionTimedOut(_) | Self::ExecutionAborted(_) => {
                Severity::Fatal
            }
            Self::StateEntered { state: StateType::Fail, .. }
            | Self::EvaluationFailed { .. }
            | Self::StateAborted(_)
            | Self::TaskFailed { .. }
            | Self::TaskTimedOut { .. }
            | Self::MapStateFailed
            | Self::MapIterationFailed(_)
            | Self::MapIterationAborted(_)
            | Self::MapRunFailed(_)
            | Self::MapRunAborted
            | Self::ParallelStateFailed => Severity::Error,
            Self::ExecutionStarted { .. }
            | Self::ExecutionSucceeded { .. }
            | Self::ExecutionRedriven { .. }
            | Self::StateEntered { .. }
            | Self::StateExited { .. }
            | Self::TaskScheduled { .. }
            | Self::TaskStarted { .. }
            | Self::TaskSubmitted { .. }
            | Self::TaskSucceeded { .. }
            | Self::MapStateStarted { .. }
            | Self::MapStateSucceeded
            | Self::MapIterationStarted(_)
            | Self::MapIterationSucceeded(_)
            | Self::MapRunStarted { .. }
            | Self::MapRunSucceeded
            | Self::ParallelStateStarted
            | Self::ParallelStateSucceeded => Severity::Plain,
        }
    }
}
