//! The records: what is kept of an execution, as values and as borrowed views.
//!
//! Invariants: a view borrows everything, so that a payload is copied once, from its frame into the builder's
//! buffer. What may fail: [`decode_failure`], when the bytes are no failure.

use bytes::Bytes;
use ids::{DefinitionHash, ExecutionId, Logging, Mode, Status};

use super::column::{Reader, put_varint};
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
    /// How long its closed executions are to be kept, in seconds; 0: as long as the node says.
    pub retention_s: u32,
    /// ARN or QRN of the role whose permissions its tasks have; empty: it has none.
    pub role_arn: String,
    /// What of their histories is exported.
    pub logging: Logging,
    /// By which of the machine's versions and aliases they were started, as the scheduler spells it; empty: by none.
    pub origin: String,
}

/// An execution was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub id: ExecutionId,
    /// Index into the block's machine table, see [`super::BlockBuilder::machine`] and
    /// [`super::Block::machines`].
    pub machine: u32,
    /// Unix time in milliseconds.
    pub start_time_ms: u64,
    /// Its randomness; [`seed_for`] makes seeds that cost nothing in the store.
    pub seed: u64,
    /// A caller's name; `None` is generated from the id.
    pub name: Option<String>,
    /// JSON text.
    pub input: Bytes,
    /// The trace that it came with, as `ids::TraceContext` is encoded.
    pub trace: Option<Box<[u8]>>,
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
    /// As its kind says: output as JSON text, error and cause, bytes.
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
    /// What a distributed Map has read, as its bytes.
    ItemsRead = 6,
    /// What a distributed Map has read, see [`super::ReadDigest`].
    ItemsDigest = 7,
    /// A distributed Map's results are written; without a payload.
    ResultsWritten = 8,
    /// RedriveExecution; the token that names it, if it has one. Its records stand in the block of the opened record.
    Redriven = 9,
    /// Its node gave it up, see [`encode_failure`]. Written only when it is redriven: until then its closed record says it.
    GaveUp = 10,
    /// Its owner went on after the store had lost blocks; tells the execution nothing, without a payload. It is numbered like
    /// the others, so that a replay sees that something is missing before it, and does not do again what was done.
    Mended = 11,
    /// What a task said when its first request was answered, and it goes on: its output.
    TaskSubmitted = 12,
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
    /// The blocks that hold the opened and the journalled records, oldest first; empty when opened in this
    /// very block.
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

/// Makes a seed from an execution's id and a salt. The encoding keeps only what of a seed the id does not
/// say, so that executions of a flush that share a salt cost one salt together, and not eight bytes each.
#[must_use]
pub fn seed_for(id: ExecutionId, salt: u64) -> u64 {
    seed_base(id) ^ salt
}

/// The part of a seed that the id says: a mix of all its bits.
pub(crate) fn seed_base(id: ExecutionId) -> u64 {
    let low = id.batch.sequence() << 8 | u64::from(id.index);
    let high = u64::from(id.batch.incarnation) << 16 | u64::from(id.batch.partition.get());
    mix(low ^ mix(high.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Error and cause as one payload; either may be absent.
///
/// Format: a byte whose bit 0 says that there is an error and bit 1 that there is a cause; the error's length
/// as a varint, if there is an error; the error; the cause.
#[must_use]
pub fn encode_failure(error: Option<&str>, cause: Option<&str>) -> Bytes {
    let size = 6 + error.map_or(0, str::len) + cause.map_or(0, str::len);
    let mut out = Vec::with_capacity(size);
    out.push(u8::from(error.is_some()) | u8::from(cause.is_some()) << 1);
    if let Some(error) = error {
        put_varint(&mut out, error.len() as u64);
        out.extend_from_slice(error.as_bytes());
    }
    out.extend_from_slice(cause.unwrap_or_default().as_bytes());
    out.into()
}

/// The error and the cause of a payload that [`encode_failure`] made.
///
/// # Errors
/// [`StoreError::Corrupt`] when the bytes are no failure.
pub fn decode_failure(payload: &[u8]) -> Result<(Option<&str>, Option<&str>), StoreError> {
    let corrupt = || StoreError::Corrupt("a payload is no failure (flags, error, cause)".to_owned());
    let mut reader = Reader::new(payload);
    let flags = reader.byte()?;
    let error = if flags & 1 == 0 { &[][..] } else { reader.bytes_with_length()? };
    let cause = reader.rest();
    if flags > 3 || (flags & 2 == 0 && !cause.is_empty()) {
        return Err(corrupt());
    }
    let text = |bytes, present| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text).filter(|_| present)),
        Err(_) => Err(corrupt()),
    };
    Ok((text(error, flags & 1 != 0)?, text(cause, flags & 2 != 0)?))
}

/// [`Opened`], borrowed.
#[derive(Debug, Clone, Copy)]
pub struct OpenedView<'a> {
    /// See [`Opened::id`].
    pub id: ExecutionId,
    /// See [`Opened::machine`].
    pub machine: u32,
    /// See [`Opened::start_time_ms`].
    pub start_time_ms: u64,
    /// See [`Opened::seed`].
    pub seed: u64,
    /// See [`Opened::name`].
    pub name: Option<&'a str>,
    /// See [`Opened::input`].
    pub input: &'a [u8],
    /// See [`Opened::trace`].
    pub trace: Option<&'a [u8]>,
}

impl OpenedView<'_> {
    /// Bytes of what has no fixed length, before compression.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.input.len() + self.name.map_or(0, str::len) + self.trace.map_or(0, <[u8]>::len)
    }
}

/// [`Journalled`], borrowed.
#[derive(Debug, Clone, Copy)]
pub struct JournalledView<'a> {
    /// See [`Journalled::id`].
    pub id: ExecutionId,
    /// See [`Journalled::time_ms`].
    pub time_ms: u64,
    /// See [`Journalled::sequence`].
    pub sequence: u32,
    /// See [`Journalled::effect`].
    pub effect: u64,
    /// See [`Journalled::kind`].
    pub kind: JournalledKind,
    /// See [`Journalled::payload`].
    pub payload: &'a [u8],
}

/// [`Closed`], borrowed.
#[derive(Debug, Clone, Copy)]
pub struct ClosedView<'a> {
    /// See [`Closed::id`].
    pub id: ExecutionId,
    /// See [`Closed::status`].
    pub status: Status,
    /// See [`Closed::stop_time_ms`].
    pub stop_time_ms: u64,
    /// See [`Closed::payload`].
    pub payload: &'a [u8],
    /// See [`Closed::blocks`].
    pub blocks: &'a [BlockId],
}

impl<'a> From<&'a Opened> for OpenedView<'a> {
    fn from(opened: &'a Opened) -> Self {
        Self {
            id: opened.id,
            machine: opened.machine,
            start_time_ms: opened.start_time_ms,
            seed: opened.seed,
            name: opened.name.as_deref(),
            input: &opened.input,
            trace: opened.trace.as_deref(),
        }
    }
}

impl<'a> From<&'a Journalled> for JournalledView<'a> {
    fn from(record: &'a Journalled) -> Self {
        Self {
            id: record.id,
            time_ms: record.time_ms,
            sequence: record.sequence,
            effect: record.effect,
            kind: record.kind,
            payload: &record.payload,
        }
    }
}

impl<'a> From<&'a Closed> for ClosedView<'a> {
    fn from(closed: &'a Closed) -> Self {
        Self {
            id: closed.id,
            status: closed.status,
            stop_time_ms: closed.stop_time_ms,
            payload: &closed.payload,
            blocks: &closed.blocks,
        }
    }
}

impl JournalledKind {
    /// The last one that was added.
    pub const NEWEST: Self = Self::TaskSubmitted;

    /// The kind of a stored byte.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::TaskSucceeded),
            2 => Some(Self::TaskFailed),
            3 => Some(Self::TimerFired),
            4 => Some(Self::TaskStarted),
            5 => Some(Self::Stopped),
            6 => Some(Self::ItemsRead),
            7 => Some(Self::ItemsDigest),
            8 => Some(Self::ResultsWritten),
            9 => Some(Self::Redriven),
            10 => Some(Self::GaveUp),
            11 => Some(Self::Mended),
            12 => Some(Self::TaskSubmitted),
            _ => None,
        }
    }
}

impl Record {
    /// Whose.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        match self {
            Self::Opened(record) => record.id,
            Self::Journalled(record) => record.id,
            Self::Closed(record) => record.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_failure_survives_its_encoding(error: Option<String>, cause: Option<String>) {
            let encoded = encode_failure(error.as_deref(), cause.as_deref());
            let decoded = decode_failure(&encoded).expect("a failure");
            prop_assert_eq!(decoded, (error.as_deref(), cause.as_deref()));
        }

        #[test]
        fn any_bytes_are_a_failure_or_an_error_and_never_a_panic(bytes: Vec<u8>) {
            if let Ok((error, cause)) = decode_failure(&bytes) {
                let again = encode_failure(error, cause);
                prop_assert_eq!(decode_failure(&again).expect("a failure"), (error, cause));
            }
        }
    }
}
