//! Checkpoints: where a recovery may begin instead of at the first block of a log.
//!
//! A checkpoint says what its owner knew when it finished a block: what is open and which blocks hold its records, which
//! batches are remembered, which blocks are still wanted, and what the index waits for. A new owner reads the newest one
//! that fits, the log after its block, and the blocks of what is open. It is derived: everything in it stands in the log,
//! so that one that is lost, or does not fit, costs time and nothing else.
//!
//! Invariants: a checkpoint is used only if the log holds its very block, under its id and with its checksum (a store that
//! went back may hold another one there); a partition has two places for checkpoints, written in turn, so that one that
//! was written halfway leaves the one before. What may fail: the store; whatever cannot be read is no checkpoint.
//!
//! # Format, version 1
//!
//! A checkpoint lies under derived keys, `c` place:u8 part:u16 (big-endian), at most [`PART_BYTES_MAX`] bytes of it in
//! each. Numbers of fixed width in values are little-endian; varints and differences are those of [`crate::block`].
//!
//! ```text
//! part     := "MYRC" version:u8=1 partition:u16 generation:u64 sequence:u64 block_crc:u32 parts:u16 part:u16
//!             piece crc
//! body     := the pieces of all parts, in their order
//!           = floor_ms:varint opens batches buckets tracked hours     each a count:varint and as many of
//! open     := batch first:u8 count-1:u8 blocks        executions in a row whose records are in the same blocks
//! batch    := tag:varint [incarnation:u32]
//!             tag = zigzag(sequence - that of the batch before in this list, at first 0) << 1
//!                   | 1 when the incarnation is not that of the one before (at first 0), and follows
//! blocks   := count+1:varint { generation, sequence: differences from the one before, at first 0 }
//!             or 0: those of the entry before
//! seen     := batch generation sequence time_ms       differences from the entry before
//! bucket   := generation sequence begin_ms last_ms    differences from the entry before
//! tracked  := batch expected+1:varint (0: not known) parts:varint
//!             { generation, sequence: differences from the one before, first:u8 last:u8 closed:u8 }
//! hour     := difference from the one before
//! crc      := CRC-32 (IEEE) of everything before it in the part
//! ```

mod decode;
mod encode;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ids::{BatchId, PartitionId};

pub use encode::Encoder;

use crate::block::Reader;
use crate::index::Tracked;
use crate::store::{BlockId, BlockRange, Derived, Store, StoreError};

const MAGIC: [u8; 4] = *b"MYRC";
const VERSION: u8 = 1;
/// Bytes of a checkpoint under one key.
pub const PART_BYTES_MAX: usize = 256 * 1024;
/// Parts of a checkpoint at most; a larger one is not written, and recovery reads the whole log.
pub const PARTS_MAX: usize = 512;
/// Places of a partition.
const PLACES: u8 = 2;
/// As long as anything may be open, and more.
const TTL: Duration = Duration::from_hours(400 * 24);

/// Executions in a row that are open, and whose records are in the same blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// Their batch.
    pub batch: BatchId,
    /// The lowest index.
    pub first: u8,
    /// How many, 1 to 256.
    pub count: u16,
    /// The first holds the opened records; all hold the journal.
    pub blocks: Arc<[BlockId]>,
}

/// A batch that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBatch {
    /// Which.
    pub batch: BatchId,
    /// Where it was written.
    pub block: BlockId,
    /// Unix time in milliseconds from which it is forgotten after the horizon.
    pub time_ms: u64,
}

/// Blocks that were written at about the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The first of them.
    pub first: BlockId,
    /// When it was written, Unix time in milliseconds.
    pub begin_ms: u64,
    /// The last close of what they hold.
    pub last_ms: u64,
}

/// What an owner knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// When it had finished this block.
    pub block: BlockId,
    /// What was open.
    pub open: Vec<OpenRun>,
    /// What started before, Unix time in milliseconds, and is not among the batches may have been forgotten.
    pub floor_ms: u64,
    /// Which batches it remembered.
    pub batches: Vec<SeenBatch>,
    /// Which blocks were still wanted.
    pub buckets: Vec<Bucket>,
    /// Batches whose pointer was not known to be written.
    pub tracked: Vec<(BatchId, Tracked)>,
    /// Hours, since 1970, of which the listing has a bitmap.
    pub hours: Vec<u64>,
}

/// Which block a checkpoint stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    partition: PartitionId,
    block: BlockId,
    crc: u32,
}

impl Stamp {
    /// Of a finished block.
    #[must_use]
    pub fn of(partition: PartitionId, id: BlockId, block: &[u8]) -> Self {
        let crc = block.last_chunk::<4>().copied().map_or(0, u32::from_le_bytes);
        Self { partition, block: id, crc }
    }
}

fn key(place: u8, part: u16) -> Bytes {
    let [high, low] = part.to_be_bytes();
    Bytes::copy_from_slice(&[b'c', place, high, low])
}

/// Whether an entry is a part of a checkpoint.
#[must_use]
pub fn is_part(entry: &Derived) -> bool {
    matches!(entry, Derived::Put { key, .. } if key.first() == Some(&b'c'))
}

/// A checkpoint as its entries, the first part last: it is written when all others are. Nothing, when it is too long.
/// `place` is 0 or 1: not that of the one that is to stay meanwhile.
#[must_use]
pub fn entries(body: &[u8], stamp: Stamp, place: u8) -> Vec<Derived> {
    let count = body.len().div_ceil(PART_BYTES_MAX).max(1);
    if count > PARTS_MAX {
        return Vec::new();
    }
    let place = place % PLACES;
    let entry = |part: usize| {
        let piece = &body[part * PART_BYTES_MAX..body.len().min((part + 1) * PART_BYTES_MAX)];
        let mut value = Vec::with_capacity(piece.len() + 40);
        value.extend_from_slice(&MAGIC);
        value.push(VERSION);
        value.extend_from_slice(&stamp.partition.get().to_le_bytes());
        value.extend_from_slice(&stamp.block.generation.to_le_bytes());
        value.extend_from_slice(&stamp.block.sequence.to_le_bytes());
        value.extend_from_slice(&stamp.crc.to_le_bytes());
        value.extend_from_slice(&(count as u16).to_le_bytes());
        value.extend_from_slice(&(part as u16).to_le_bytes());
        value.extend_from_slice(piece);
        let crc = crc32fast::hash(&value);
        value.extend_from_slice(&crc.to_le_bytes());
        Derived::Put { key: key(place, part as u16), value: value.into(), ttl: TTL }
    };
    (0..count).rev().map(entry).collect()
}

/// A part that was read: which checkpoint it belongs to, how many parts that has, and the piece.
fn read_part(value: &Bytes, part: u16) -> Option<(Stamp, u16, Bytes)> {
    let (covered, crc) = value.split_last_chunk::<4>()?;
    let mut reader = Reader::new(covered);
    let magic: [u8; 4] = reader.array().ok()?;
    let version = reader.byte().ok()?;
    if magic != MAGIC || version != VERSION || crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let partition = PartitionId::new(u32::from(u16::from_le_bytes(reader.array().ok()?))).ok()?;
    let block = BlockId { generation: reader.u64_le().ok()?, sequence: reader.u64_le().ok()? };
    let crc = u32::from_le_bytes(reader.array().ok()?);
    let parts = u16::from_le_bytes(reader.array().ok()?);
    let own = u16::from_le_bytes(reader.array().ok()?);
    let known = own == part && (1..=PARTS_MAX).contains(&usize::from(parts));
    let piece = value.slice(covered.len() - reader.remaining()..covered.len());
    known.then_some((Stamp { partition, block, crc }, parts, piece))
}

/// Whether the log holds the very block that a checkpoint stands for.
async fn fits(store: &dyn Store, stamp: Stamp) -> Result<bool, StoreError> {
    let range = BlockRange { from: stamp.block, to: stamp.block, reverse: false, limit: 1 };
    let found = store.read(stamp.partition, range).await?;
    Ok(found.iter().any(|(id, block)| Stamp::of(stamp.partition, *id, block) == stamp))
}

/// The rest of a checkpoint whose first part was read.
async fn read_rest(
    store: &dyn Store,
    place: u8,
    (stamp, parts, first): (Stamp, u16, Bytes),
) -> Result<Option<Checkpoint>, StoreError> {
    let mut body = first.to_vec();
    for part in 1..parts {
        let found = store.get_derived(stamp.partition, vec![key(place, part)]).await?;
        let found = found.into_iter().next().flatten().and_then(|value| read_part(&value, part));
        let Some((_, _, piece)) = found.filter(|(other, count, _)| *other == stamp && *count == parts) else {
            return Ok(None);
        };
        body.extend_from_slice(&piece);
    }
    Ok(Checkpoint::decode(&body, stamp.partition, stamp.block).ok())
}

/// What there is of checkpoints of a partition.
#[derive(Debug, Default)]
pub struct Found {
    /// Place and block of the newest one that fits the log.
    pub newest: Option<(u8, BlockId)>,
    /// The newest one that fits and stands for a block below the given one.
    pub below: Option<Checkpoint>,
}

/// Finds the newest checkpoint that fits the log, and the newest of those that stand for a block below `before`: what
/// comes from there on has to be read anyhow.
///
/// # Errors
/// What the store says.
pub async fn find(store: &dyn Store, partition: PartitionId, before: BlockId) -> Result<Found, StoreError> {
    let keys = (0..PLACES).map(|place| key(place, 0)).collect();
    let heads = store.get_derived(partition, keys).await?;
    let heads = (0..PLACES).zip(heads).filter_map(|(place, head)| Some((place, read_part(&head?, 0)?)));
    let mut heads: Vec<_> = heads.filter(|(_, (stamp, ..))| stamp.partition == partition).collect();
    heads.sort_by_key(|(_, (stamp, ..))| std::cmp::Reverse(stamp.block));
    let mut found = Found::default();
    for (place, head) in heads {
        if !fits(store, head.0).await? {
            continue;
        }
        if let Some(checkpoint) = read_rest(store, place, head).await? {
            found.newest.get_or_insert((place, checkpoint.block));
            if checkpoint.block < before {
                found.below = Some(checkpoint);
                break;
            }
        }
    }
    Ok(found)
}
