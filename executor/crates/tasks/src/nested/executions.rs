//! What nested executions need of whoever runs executions.

use std::time::Duration;

use asl::Timestamp;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use ids::{Status, TraceContext};

/// Runs executions: a scheduler, which knows machines by their names.
pub trait Executions {
    /// Starts one. A start of a STANDARD machine that is repeated as it is gives the execution that it gave before.
    fn start(&self, start: Start) -> Reply<'_, Started>;

    /// Whether a machine is STANDARD.
    fn is_standard(&self, machine_arn: String) -> Reply<'_, bool>;

    /// What is known of one: its id, ARN or QRN.
    fn describe(&self, execution: String) -> Reply<'_, Described>;

    /// Stops one; nothing happens to one that has ended.
    fn stop(&self, execution: String, cause: String) -> Reply<'_, ()>;
}

/// The answer of [`Executions`]; dropping it waits no longer.
pub type Reply<'a, T> = LocalBoxFuture<'a, Result<T, Refusal>>;

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// ARN or QRN.
    pub machine_arn: String,
    /// Its name.
    pub name: String,
    /// JSON text.
    pub input: Bytes,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// An execution that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// ARN or QRN.
    pub execution_arn: String,
    /// When.
    pub at: Timestamp,
}

/// An execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// ARN or QRN.
    pub execution_arn: String,
    /// Of its machine.
    pub machine_arn: String,
    /// Its own name.
    pub name: String,
    /// Where it stands.
    pub status: Status,
    /// When it was started.
    pub started: Timestamp,
    /// When it ended.
    pub stopped: Option<Timestamp>,
    /// JSON text.
    pub input: Bytes,
    /// JSON text; of one that has succeeded.
    pub output: Option<Bytes>,
    /// Of one that has not.
    pub error: Option<String>,
    /// The same.
    pub cause: Option<String>,
    /// How often it was redriven.
    pub redrive_count: u32,
    /// Why it cannot be redriven; `None`: it can.
    pub not_redrivable: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was asked for is not done, and asking again changes nothing.
    #[error("{message}")]
    Refused {
        /// As the API of Step Functions calls it, for example `StateMachineDoesNotExist`.
        code: String,
        /// What, and what to do.
        message: String,
    },
    /// Nobody can do it now, and nothing is done.
    #[error("{message}")]
    Unavailable {
        /// What, and what to do.
        message: String,
        /// When it is worth asking again, if that was said.
        retry_after: Option<Duration>,
    },
    /// Nobody can tell whether it is done.
    #[error("{message}")]
    Unknown {
        /// What was heard last, and what to do.
        message: String,
    },
}

impl Refusal {
    /// Whether it was refused with this code.
    pub(super) fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == expected)
    }
}
