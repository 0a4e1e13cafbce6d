//! Blocks: what one flush writes for one partition, and how it looks in bytes.
//!
//! A block holds opened, journalled and closed records in sub-blocks of at most [`SUB_BLOCK_RECORDS_MAX`]
//! records. The id columns stand outside the compressed part, so that recovery and look-up skip by them.
//! Invariants: what [`BlockBuilder`] writes, [`Block`] reads back unchanged; reading hostile bytes never
//! panics, and never allocates more than [`RAW_BYTES_MAX`] for a sub-block. What may fail: reading, with
//! [`crate::StoreError::Corrupt`].
//!
//! # Format, version 2
//!
//! Numbers of fixed width are little-endian. A *varint* has seven bits a byte, low bits first; a *difference*
//! is a zigzag varint of a wrapping 64-bit subtraction.
//!
//! ```text
//! block      := header machines sub-blocks crc
//! header     := "MYRB" version:u8=2 flags:u8 partition:u16 generation:u64 sequence:u64 time_ms:u64
//! machines   := count:varint { mode:u8 dialect:u8 definition:[u8;32] arn_length:varint arn [retention:varint]
//!               [role_length:varint role] [logging:u8] [origin_length:varint origin] }
//! sub-blocks := count:varint { sub-block }       in the order of their kinds, which is the order of causes
//! sub-block  := kind:u8 flags:u8 records-1:u8 runs-1:u8 { run } statuses
//!               payload_length:varint raw_length:varint stored_length:varint stored
//! run        := tag:varint [incarnation:u32] first:u8 [count-1:u8]
//!               tag = zigzag(batch sequence - that of the run before, at first 0) << 2
//!                     | 2 when the incarnation is not that of the run before (at first 0), and follows
//!                     | 1 when the run is one record alone, and no count follows
//! statuses   := nothing for opened and journalled; one byte for all (flag 2) or one byte a record
//! stored     := raw, or its lz4 block (flag 1)
//! raw        := payloads columns
//! crc        := CRC-32 (IEEE) of everything before it
//! ```
//!
//! Flag 1 of a block says that each machine has a retention, in seconds, 0 for none; it is set where one has. Flag 2 says the
//! same of the ARN of a role, which may be empty. Flag 4 says that each has a byte for what of its executions' histories is
//! exported: the level in its low two bits (0 OFF, 1 FATAL, 2 ERROR, 3 ALL), and 4 where data are told. Flag 8 says that each
//! has a text for how it was started (a version, an alias), which may be empty.
//!
//! Flag 4 of a sub-block of kind 1 or 2 says that a column follows the others, with the lengths of the traces that executions
//! came with (0: none), and then the traces, see `ids::TraceContext::encode`; it is set where one has.
//!
//! Kinds: 1 opened and closed in this block, 2 opened, 3 journalled, 4 closed. The partition of every id is
//! the block's.
//!
//! A *column* is a byte and as many numbers as the sub-block has records: 0 and one varint, when all are the
//! same; 1 and a varint each; 2 and a difference each from the one before (at first from 0); 3 and eight
//! bytes each.
//!
//! | kind | payloads, record by record | columns, in this order |
//! |---|---|---|
//! | 1 | input, output unless it is the input | as 2, stop − start time, output length + 1 (0: the input) |
//! | 2 | input | machine, start time, seed, name, input length |
//! | 3 | payload | time, sequence, effect, kind, payload length |
//! | 4 | payload | stop time, payload length, blocks |
//!
//! An effect is the language core's id. What its bits mean is not this format's to say, but replays rest on it: version 1
//! had the same bytes and other ids, so its journals would be replayed without what they say, and are refused.
//!
//! Seeds are kept as the difference (exclusive or) to what the id says, see [`seed_for`]. Names are a column
//! of length + 1 (0: no name), followed by the texts. Blocks are a column of counts + 1 (0: the same as the
//! record before), followed by generation and sequence of each as differences from the one before.
//!
//! An execution may be opened again ([`BlockBuilder::reopened`]): of several opened records of one execution the last counts, with
//! the journalled records from there on, and what was closed before it is closed no more.
//!
//! Kinds of outcomes ([`JournalledKind`]) may be added without another version: what was written before reads as before, and
//! an older program refuses a block with a kind that it does not know rather than replay without it.

mod builder;
mod column;
mod read;
mod read_digest;
mod record;
mod rows;
mod section;

pub use builder::{BlockBuilder, OpenedSummary};
pub use read::{Block, Found, IdRun, SubBlock, SubBlockKind};
pub use read_digest::ReadDigest;
pub use record::{
    Closed, ClosedView, Journalled, JournalledKind, JournalledView, MachineRef, Opened, OpenedView, Record,
    decode_failure, encode_failure, seed_for,
};

pub(crate) use column::{Reader, put_difference, put_varint};

/// What every block begins with.
pub(crate) const MAGIC: [u8; 4] = *b"MYRB";
/// What is written, and all that is read.
pub(crate) const VERSION: u8 = 2;
/// The flag of blocks whose machines have a retention.
pub(crate) const RETENTIONS: u8 = 1;
/// The flag of blocks whose machines have a role.
pub(crate) const ROLES: u8 = 2;
/// The flag of blocks of whose machines something is exported.
pub(crate) const LOGGINGS: u8 = 4;
/// The flag of blocks of whose machines one was started by a version or an alias.
pub(crate) const ORIGINS: u8 = 8;
/// The flag of sub-blocks whose records have traces.
pub(crate) const TRACES: u8 = 4;
/// Magic, version, flags, partition, id, time.
pub(crate) const HEADER_BYTES: usize = 32;
/// Records of a sub-block: a look-up decompresses one.
pub const SUB_BLOCK_RECORDS_MAX: usize = 256;
/// Payload bytes at which a sub-block is closed early, so that a look-up stays quick.
pub const SUB_BLOCK_PAYLOAD_TARGET: usize = 256 * 1024;
/// The longest payload that a block takes. The language's own limit is far below.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest sub-block before compression: the target, one record above it with its two payloads, and
/// columns.
pub const RAW_BYTES_MAX: usize = 20 * 1024 * 1024;
/// The longest caller's name that a block takes; the API's own limit is 80 characters.
pub const NAME_BYTES_MAX: usize = 1_024;
/// The longest trace that a block takes.
pub const TRACE_BYTES_MAX: usize = 25 + ids::TRACE_STATE_BYTES_MAX;
/// The most blocks that a closed record may refer to.
pub const CLOSED_BLOCKS_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests;
