//! Writes a checkpoint's body, entry by entry, without a copy of what it describes.
//!
//! Nothing here fails.

use ids::{BatchId, ExecutionId};

use super::{Bucket, SeenBatch};
use crate::block::{put_difference, put_varint};
use crate::index::Tracked;
use crate::store::BlockId;

/// Entries of one kind.
#[derive(Debug, Default)]
struct List {
    count: u64,
    bytes: Vec<u8>,
    batch: (u32, u64),
}

impl List {
    fn batch(&mut self, batch: BatchId) {
        let (incarnation, sequence) = self.batch;
        let difference = batch.sequence().wrapping_sub(sequence) as i64;
        let zigzag = (difference << 1 ^ difference >> 63) as u64;
        let other = batch.incarnation != incarnation;
        put_varint(&mut self.bytes, zigzag << 1 | u64::from(other));
        if other {
            self.bytes.extend_from_slice(&batch.incarnation.to_le_bytes());
        }
        self.batch = (batch.incarnation, batch.sequence());
    }

    fn block(&mut self, before: BlockId, block: BlockId) {
        put_difference(&mut self.bytes, before.generation, block.generation);
        put_difference(&mut self.bytes, before.sequence, block.sequence);
    }
}

/// Collects a checkpoint.
#[derive(Debug, Default)]
pub struct Encoder {
    opens: List,
    /// The present run: its first execution and its length.
    run: Option<(ExecutionId, u16)>,
    run_blocks: Vec<BlockId>,
    written_blocks: Option<Vec<BlockId>>,
    seen: List,
    seen_before: (BlockId, u64),
    buckets: List,
    bucket_before: (BlockId, u64, u64),
    tracked: List,
    hours: List,
    hour_before: u64,
    floor_ms: u64,
}

impl Encoder {
    /// An execution is open. Neighbours of a batch whose records are in the same blocks are short, one after the other.
    pub fn open(&mut self, id: ExecutionId, blocks: &[BlockId]) {
        if let Some((first, count)) = &mut self.run
            && first.batch == id.batch
            && u16::from(first.index) + *count == u16::from(id.index)
            && self.run_blocks == blocks
        {
            *count += 1;
            return;
        }
        self.end_run();
        self.run = Some((id, 1));
        self.run_blocks.clear();
        self.run_blocks.extend_from_slice(blocks);
    }

    fn end_run(&mut self) {
        let Some((first, count)) = self.run.take() else { return };
        self.opens.count += 1;
        self.opens.batch(first.batch);
        self.opens.bytes.extend_from_slice(&[first.index, (count - 1) as u8]);
        if self.written_blocks.as_ref() == Some(&self.run_blocks) {
            put_varint(&mut self.opens.bytes, 0);
            return;
        }
        put_varint(&mut self.opens.bytes, self.run_blocks.len() as u64 + 1);
        let mut before = BlockId::default();
        for block in &self.run_blocks {
            self.opens.block(before, *block);
            before = *block;
        }
        self.written_blocks.get_or_insert_default().clone_from(&self.run_blocks);
    }

    /// Batches that started before, Unix time in milliseconds, may have been forgotten.
    pub fn floor(&mut self, floor_ms: u64) {
        self.floor_ms = floor_ms;
    }

    /// A batch is remembered.
    pub fn seen(&mut self, seen: SeenBatch) {
        let (block, time_ms) = self.seen_before;
        self.seen.count += 1;
        self.seen.batch(seen.batch);
        self.seen.block(block, seen.block);
        put_difference(&mut self.seen.bytes, time_ms, seen.time_ms);
        self.seen_before = (seen.block, seen.time_ms);
    }

    /// Blocks are still wanted.
    pub fn bucket(&mut self, bucket: Bucket) {
        let (block, begin_ms, last_ms) = self.bucket_before;
        self.buckets.count += 1;
        self.buckets.block(block, bucket.first);
        put_difference(&mut self.buckets.bytes, begin_ms, bucket.begin_ms);
        put_difference(&mut self.buckets.bytes, last_ms, bucket.last_ms);
        self.bucket_before = (bucket.first, bucket.begin_ms, bucket.last_ms);
    }

    /// A batch's pointer is not known to be written.
    pub fn tracked(&mut self, batch: BatchId, tracked: &Tracked) {
        self.tracked.count += 1;
        self.tracked.batch(batch);
        put_varint(&mut self.tracked.bytes, tracked.expected.map_or(0, |expected| u64::from(expected) + 1));
        put_varint(&mut self.tracked.bytes, tracked.parts.len() as u64);
        let mut before = BlockId::default();
        for part in &tracked.parts {
            self.tracked.block(before, part.block);
            self.tracked.bytes.extend_from_slice(&[part.first, part.last, u8::from(part.closed)]);
            before = part.block;
        }
    }

    /// The listing has a bitmap of this hour.
    pub fn hour(&mut self, hour: u64) {
        self.hours.count += 1;
        put_difference(&mut self.hours.bytes, self.hour_before, hour);
        self.hour_before = hour;
    }

    /// The body.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.end_run();
        let mut out = Vec::new();
        put_varint(&mut out, self.floor_ms);
        for list in [&self.opens, &self.seen, &self.buckets, &self.tracked, &self.hours] {
            put_varint(&mut out, list.count);
            out.extend_from_slice(&list.bytes);
        }
        out
    }
}
