//! Records and their columnar encoding.
//!
//! A block is what one flush writes for one partition: opened, journalled and closed records in sub-blocks of at most
//! 256 executions. The id columns stand outside the compressed part, so that recovery and look-up skip by them.

use bytes::Bytes;
use ids::{DefinitionHash, ExecutionId, Mode, PartitionId, Status};

use crate::store::{BlockId, StoreError};

/// Which machine an execution runs; repeated often, so it is a table of the block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MachineRef {
    /// ARN or QRN.
    pub arn: String,
    /// Which definition.
    pub definition: DefinitionHash,
    /// How it is kept.
    pub mode: Mode,
    /// 0 ASL, 1 TCSL.
    pub dialect: u8,
}

/// An execution was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub id: ExecutionId,
    /// Index into the builder's machine table, see [`BlockBuilder::machine`].
    pub machine: u32,
    /// Unix time in milliseconds.
    pub start_time_ms: u64,
    /// Its randomness.
    pub seed: u64,
    /// A caller's name; `None` is generated from the id.
    pub name: Option<String>,
    /// JSON text.
    pub input: Bytes,
}

/// An outcome that a STANDARD execution was told, in the order in which it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journalled {
    /// Whose.
    pub id: ExecutionId,
    /// Unix time in milliseconds at which the event was handled.
    pub time_ms: u64,
    /// From 0 within the execution.
    pub sequence: u32,
    /// Which effect it answers.
    pub effect: u64,
    /// What came.
    pub kind: JournalledKind,
    /// Output as JSON text; or error and cause.
    pub payload: Bytes,
}

/// What an execution was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum JournalledKind {
    /// A task's output.
    TaskSucceeded = 1,
    /// A task's error and cause, see [`encode_failure`].
    TaskFailed = 2,
    /// A timer.
    TimerFired = 3,
    /// A worker took a task up.
    TaskStarted = 4,
    /// StopExecution, see [`encode_failure`].
    Stopped = 5,
}

/// An execution has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its id.
    pub id: ExecutionId,
    /// How.
    pub status: Status,
    /// Unix time in milliseconds.
    pub stop_time_ms: u64,
    /// For [`Status::Succeeded`] the output as JSON text, else error and cause, see [`encode_failure`].
    pub payload: Bytes,
    /// The blocks that hold the opened and the journalled records, oldest first; empty when opened in this very block.
    pub blocks: Vec<BlockId>,
}

/// A record of a decoded block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// See [`Opened`].
    Opened(Opened),
    /// See [`Journalled`].
    Journalled(Journalled),
    /// See [`Closed`].
    Closed(Closed),
}

/// Error and cause as one payload; either may be absent.
#[must_use]
pub fn encode_failure(error: Option<&str>, cause: Option<&str>) -> Bytes {
    let _ = (error, cause);
    Bytes::new()
}

/// Collects the records of one flush.
#[derive(Debug)]
pub struct BlockBuilder {}

/// A block as read from a store.
#[derive(Debug)]
pub struct Block {}

#[allow(dead_code, reason = "placeholder of the signature until the encoding lands")]
type Shape = (PartitionId, StoreError);
