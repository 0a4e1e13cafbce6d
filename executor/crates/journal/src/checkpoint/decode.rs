//! Reads a checkpoint's body, which may be anything.
//!
//! Invariants: nothing is allocated by a declared count, and every entry takes bytes. What may fail: everything, with
//! [`StoreError::Corrupt`].

use std::sync::Arc;

use ids::{BatchId, PartitionId};

use super::{Bucket, Checkpoint, OpenRun, SeenBatch};
use crate::block::Reader;
use crate::index::{Part, Tracked};
use crate::store::{BlockId, StoreError};

fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("a checkpoint cannot be read: {what}"))
}

/// Walks the entries of one list.
struct Entries<'a, 'b> {
    reader: &'a mut Reader<'b>,
    partition: PartitionId,
    batch: (u32, u64),
}

impl<'a, 'b> Entries<'a, 'b> {
    fn new(reader: &'a mut Reader<'b>, partition: PartitionId) -> Self {
        Self { reader, partition, batch: (0, 0) }
    }

    fn batch(&mut self) -> Result<BatchId, StoreError> {
        let (mut incarnation, sequence) = self.batch;
        let tag = self.reader.varint()?;
        let zigzag = tag >> 1;
        let sequence = sequence.wrapping_add(zigzag >> 1 ^ (zigzag & 1).wrapping_neg());
        if tag & 1 != 0 {
            incarnation = u32::from_le_bytes(self.reader.array()?);
        }
        self.batch = (incarnation, sequence);
        BatchId::new(self.partition, incarnation, sequence).map_err(corrupt)
    }

    fn block(&mut self, before: BlockId) -> Result<BlockId, StoreError> {
        let generation = self.reader.difference(before.generation)?;
        Ok(BlockId { generation, sequence: self.reader.difference(before.sequence)? })
    }

    /// Reads as many entries as are declared.
    fn all<T>(
        mut self,
        mut entry: impl FnMut(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let count = self.reader.length(self.reader.remaining())?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(entry(&mut self)?);
        }
        Ok(entries)
    }
}

fn opens(entries: Entries<'_, '_>) -> Result<Vec<OpenRun>, StoreError> {
    let mut blocks: Arc<[BlockId]> = Arc::default();
    entries.all(|entries| {
        let batch = entries.batch()?;
        let [first, more] = entries.reader.array()?;
        let count = u16::from(more) + 1;
        if u16::from(first) + count > 256 {
            return Err(corrupt("executions beyond their batch"));
        }
        if let Some(count) = entries.reader.varint()?.checked_sub(1) {
            let (mut own, mut before) = (Vec::new(), BlockId::default());
            for _ in 0..count {
                before = entries.block(before)?;
                own.push(before);
            }
            blocks = own.into();
        }
        if blocks.is_empty() {
            return Err(corrupt("an open execution without a block"));
        }
        Ok(OpenRun { batch, first, count, blocks: Arc::clone(&blocks) })
    })
}

fn tracked(entries: Entries<'_, '_>) -> Result<Vec<(BatchId, Tracked)>, StoreError> {
    entries.all(|entries| {
        let batch = entries.batch()?;
        let expected = match entries.reader.varint()? {
            0 => None,
            more => Some(u16::try_from(more - 1).map_err(corrupt)?),
        };
        let count = entries.reader.length(entries.reader.remaining())?;
        let (mut parts, mut before) = (Vec::new(), BlockId::default());
        for _ in 0..count {
            before = entries.block(before)?;
            let [first, last, closed] = entries.reader.array()?;
            if first > last || closed > 1 {
                return Err(corrupt("a part of a batch that cannot be"));
            }
            parts.push(Part { block: before, first, last, closed: closed == 1 });
        }
        Ok((batch, Tracked { expected, parts }))
    })
}

impl Checkpoint {
    /// Reads what [`super::Encoder`] wrote when it had finished this block.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn decode(body: &[u8], partition: PartitionId, block: BlockId) -> Result<Self, StoreError> {
        let mut reader = Reader::new(body);
        let floor_ms = reader.varint()?;
        let open = opens(Entries::new(&mut reader, partition))?;
        let (mut at, mut time_ms) = (BlockId::default(), 0);
        let batches = Entries::new(&mut reader, partition).all(|entries| {
            let batch = entries.batch()?;
            at = entries.block(at)?;
            time_ms = entries.reader.difference(time_ms)?;
            Ok(SeenBatch { batch, block: at, time_ms })
        })?;
        let mut before = Bucket { first: BlockId::default(), begin_ms: 0, last_ms: 0 };
        let buckets = Entries::new(&mut reader, partition).all(|entries| {
            let first = entries.block(before.first)?;
            let begin_ms = entries.reader.difference(before.begin_ms)?;
            before = Bucket { first, begin_ms, last_ms: entries.reader.difference(before.last_ms)? };
            Ok(before)
        })?;
        let tracked = tracked(Entries::new(&mut reader, partition))?;
        let mut hour = 0;
        let hours = Entries::new(&mut reader, partition).all(|entries| {
            hour = entries.reader.difference(hour)?;
            Ok(hour)
        })?;
        if !reader.is_empty() {
            return Err(corrupt("bytes after its end"));
        }
        Ok(Self { block, open, floor_ms, batches, buckets, tracked, hours })
    }
}
