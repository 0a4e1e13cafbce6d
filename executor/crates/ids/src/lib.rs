//! Identifiers that wire, store and people share.
//!
//! Purpose: one place where an execution's identity is made, packed, spelt and parsed, in traces too. Invariants: a [`BatchId`] never
//! comes back (its incarnation is a counter in the store); the text of an [`ExecutionId`] carries a checksum, so that a
//! name chosen by a caller is never taken for an id. What may fail: parsing, with an [`IdError`] that says what was
//! expected. No I/O, no clock.

mod arn;
mod execution;
mod logging;
mod trace;

pub use arn::{ExecutionName, MachineName, check_role, partition_of_name};
pub use execution::{BatchId, ExecutionId, NAME_PREFIX, PartitionId};
pub use logging::{LogLevel, Logging};
pub use trace::{SpanId, SpanOf, TRACE_STATE_BYTES_MAX, TraceContext, TraceId, TraceIds};

/// Executions of one batch: the unit of dispatch, idempotence, durability and look-up.
pub const BATCH_EXECUTIONS_MAX: usize = 256;

/// Partitions that a cluster may be created with.
pub const PARTITIONS_MAX: u16 = 1_024;

/// SHA-256 of a definition's bytes.
pub type DefinitionHash = [u8; 32];

/// How an execution is kept, named as in Step Functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// Continues after a crash from its last journalled result.
    Standard = 1,
    /// At least once; restarts from its input.
    Express = 2,
    /// EXPRESS, and whoever started it waits for its end: at most once; a crash ends it.
    SyncExpress = 3,
}

/// Where an execution stands, named as in Step Functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Not ended yet.
    Running = 1,
    /// Ended with an output.
    Succeeded = 2,
    /// Ended with an error and a cause.
    Failed = 3,
    /// Ran longer than its `TimeoutSeconds`, or than its mode allows.
    TimedOut = 4,
    /// Stopped by StopExecution.
    Aborted = 5,
}

impl Mode {
    /// The mode of a stored or received byte.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Standard),
            2 => Some(Self::Express),
            3 => Some(Self::SyncExpress),
            _ => None,
        }
    }

    /// `STANDARD` or `EXPRESS`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Express | Self::SyncExpress => "EXPRESS",
        }
    }
}

impl Status {
    /// Every status, in the order of its number.
    pub const ALL: [Self; 5] = [Self::Running, Self::Succeeded, Self::Failed, Self::TimedOut, Self::Aborted];

    /// The status of a stored or received byte.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == byte)
    }

    /// The name that the API uses, for example `SUCCEEDED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }

    /// Whether the execution has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self != Self::Running
    }
}

/// Why a text or a number is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A partition number at or above [`PARTITIONS_MAX`].
    #[error("partition {0} is out of range: partitions are numbered below {PARTITIONS_MAX}")]
    Partition(u32),
    /// A batch sequence that does not fit in 40 bits.
    #[error("batch sequence {0} is out of range: sequences are below 2^40")]
    Sequence(u64),
    /// An index at or above [`BATCH_EXECUTIONS_MAX`].
    #[error("index {0} is out of range: a batch holds at most {BATCH_EXECUTIONS_MAX} executions")]
    Index(u32),
    /// A field of the message is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A number that is no log level.
    #[error("log level {0} is none: 1 OFF, 2 FATAL, 3 ERROR, 4 ALL")]
    LogLevel(i32),
    /// The text is no execution id.
    #[error("{0:?} is not an execution id: ids look like x-0123456789abcdefghjkmn")]
    Text(String),
    /// The text is an id with a wrong checksum: a typing error, most likely.
    #[error("{0:?} has a wrong checksum: check the id for a typing error")]
    Checksum(String),
    /// The text is neither an ARN nor a QRN of the expected kind.
    #[error("{text:?} is not {expected}")]
    Name {
        /// What was given.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
}
