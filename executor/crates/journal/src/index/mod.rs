//! Look-up by id, listing by machine, names and definitions, on top of the [`crate::Store`] contract.
//!
//! Invariants: everything under derived keys can be rebuilt from the log; a look-up reads a fixed number of
//! blocks, however long the log is; what a reader finds is checked against what it asked for, so that a
//! collision of hashes or an expired key is "not found" and never a wrong answer. What may fail: the store.
//!
//! # Keys
//!
//! Numbers are big-endian.
//!
//! | key | what |
//! |---|---|
//! | derived `b` incarnation:u32 sequence:u40 | which blocks hold the batch: [`Pointer`] |
//! | derived list `l` Unix time / 10 s:u32 | a summary of each block with a start in that time |
//! | derived `h` Unix time / 3,600 s:u32 | a bitmap of the hour's 360 buckets that have a list |
//! | derived `n` XXH3-128 of machine, 0, name | the execution of that name, 12 bytes |
//! | derived `a` XXH3-64 of an archive's URL | below which block the log is archived there, generation and sequence |
//! | durable `d/` SHA-256 | a definition's bytes |
//!
//! A summary is: version (1), statuses of what opened there when it was written (a bit each), generation and
//! sequence of the block, earliest and latest start (both as differences from the bucket's begin), bytes of a
//! hash (8, or 2 when the block has many machines), then the sorted hashes (XXH3-64 of the ARN, high bytes
//! first) of its machines.

mod definition;
mod listing;
mod lookup;
mod name;
mod pointer;
mod summary;
mod writer;

#[cfg(test)]
mod tests;

pub use definition::{get_definition, put_definition};
pub use listing::{Cursor, Listed, Page, PageRequest, list};
pub use lookup::{Execution, lookup, lookup_at, lookup_with_journal};
pub use name::{lookup_name, name_entry};
pub use pointer::{Located, Pointer, get_pointers, merge_pointers};
pub(crate) use writer::Part;
pub use writer::{IndexWriter, Tracked};

/// Unix time is counted in hours of so many milliseconds.
pub const HOUR_MS: u64 = summary::HOUR_MS;

/// How a machine is told from others in summaries.
#[must_use]
pub fn machine_hash(arn: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(arn.as_bytes())
}
