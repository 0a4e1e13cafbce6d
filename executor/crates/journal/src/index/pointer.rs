//! Deferred pointers: one small key for each start batch says which blocks hold its executions.
//!
//! Invariants: a pointer names, for each index of a batch, at most one block that opened it and one that
//! closed it. What may fail: decoding, with [`StoreError::Corrupt`].
//!
//! Format: version (1), then until the end for each block: flags (1 opened, 2 closed, 3 both), generation and
//! sequence as differences from the block before (at first from 0-0), and the indexes: a count of ranges and
//! first and count − 1 of each, or 255 and a bitmap of 32 bytes.

use bytes::Bytes;
use ids::{BatchId, ExecutionId, PartitionId};

use crate::block::{IdRun, Reader, put_difference};
use crate::store::{BlockId, Store, StoreError};

const VERSION: u8 = 1;
const OPENED: u8 = 1;
const CLOSED: u8 = 2;
const BITMAP: u8 = 255;
/// Above this many ranges a bitmap is shorter.
const RANGES_MAX: usize = 15;
/// Keys of one read.
const KEYS_PER_READ: usize = 128;

/// Indexes of a batch, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct IndexSet([u64; 4]);

impl IndexSet {
    pub(super) fn insert(&mut self, index: u8) {
        self.0[usize::from(index >> 6)] |= 1 << (index & 63);
    }

    pub(super) fn contains(&self, index: u8) -> bool {
        self.0[usize::from(index >> 6)] >> (index & 63) & 1 == 1
    }

    fn ranges(&self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for index in (0..=255).filter(|index| self.contains(*index)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => ranges.push((index, index)),
            }
        }
        ranges
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let ranges = self.ranges();
        if ranges.len() > RANGES_MAX {
            out.push(BITMAP);
            self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
            return;
        }
        out.push(ranges.len() as u8);
        ranges.iter().for_each(|(first, last)| out.extend_from_slice(&[*first, last - first]));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, StoreError> {
        let count = reader.byte()?;
        if count == BITMAP {
            let words = [reader.u64_le()?, reader.u64_le()?, reader.u64_le()?, reader.u64_le()?];
            return Ok(Self(words));
        }
        let mut set = Self::default();
        for _ in 0..count {
            let [first, more] = reader.array()?;
            let last = first.checked_add(more);
            let last =
                last.ok_or_else(|| StoreError::Corrupt("a pointer goes beyond its batch".to_owned()))?;
            (first..=last).for_each(|index| set.insert(index));
        }
        Ok(set)
    }
}

/// Where an execution's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Located {
    /// The block that holds its start.
    pub opened: Option<BlockId>,
    /// The block that holds its end.
    pub closed: Option<BlockId>,
}

/// Where a batch's executions are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer {
    blocks: Vec<(BlockId, IndexSet, IndexSet)>,
}

impl Pointer {
    /// Where the execution at this index is.
    #[must_use]
    pub fn locate(&self, index: u8) -> Located {
        let block_of = |wanted: fn(&(BlockId, IndexSet, IndexSet)) -> &IndexSet| {
            self.blocks.iter().find(|entry| wanted(entry).contains(index)).map(|entry| entry.0)
        };
        Located { opened: block_of(|entry| &entry.1), closed: block_of(|entry| &entry.2) }
    }

    pub(super) fn note(&mut self, block: BlockId, indexes: impl Iterator<Item = u8>, closed: bool) {
        let place = match self.blocks.iter().position(|entry| entry.0 == block) {
            Some(place) => place,
            None => {
                self.blocks.push((block, IndexSet::default(), IndexSet::default()));
                self.blocks.len() - 1
            }
        };
        let (_, opened_set, closed_set) = &mut self.blocks[place];
        let set = if closed { closed_set } else { opened_set };
        indexes.for_each(|index| set.insert(index));
    }

    /// Which executions of the batch were opened or closed in which blocks.
    pub(super) fn runs(&self, batch: BatchId) -> Vec<(BlockId, IdRun, bool)> {
        let mut runs = Vec::new();
        for (block, opened, closed) in &self.blocks {
            for (set, closed) in [(opened, false), (closed, true)] {
                for (first, last) in set.ranges() {
                    let run = IdRun { batch, first, count: u16::from(last - first) + 1 };
                    runs.push((*block, run, closed));
                }
            }
        }
        runs
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 * self.blocks.len());
        out.push(VERSION);
        let mut before = BlockId::default();
        let mut put = |flags: u8, block: BlockId, set: &IndexSet| {
            out.push(flags);
            put_difference(&mut out, before.generation, block.generation);
            put_difference(&mut out, before.sequence, block.sequence);
            before = block;
            set.encode(&mut out);
        };
        for (block, opened, closed) in &self.blocks {
            if opened == closed {
                put(OPENED | CLOSED, *block, opened);
                continue;
            }
            for (flags, set) in [(OPENED, opened), (CLOSED, closed)] {
                if *set != IndexSet::default() {
                    put(flags, *block, set);
                }
            }
        }
        out.into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(StoreError::Corrupt(format!(
                "a pointer has version {version}, this program reads {VERSION}"
            )));
        }
        let mut blocks = Vec::new();
        let mut block = BlockId::default();
        while !reader.is_empty() {
            let flags = reader.byte()?;
            block.generation = reader.difference(block.generation)?;
            block.sequence = reader.difference(block.sequence)?;
            let set = IndexSet::decode(&mut reader)?;
            let of = |flag| if flags & flag == 0 { IndexSet::default() } else { set };
            blocks.push((block, of(OPENED), of(CLOSED)));
        }
        Ok(Self { blocks })
    }
}

/// The derived key of a batch's pointer.
pub(super) fn key(batch: BatchId) -> Bytes {
    let bytes = batch.to_bytes();
    [b"b".as_slice(), &bytes[2..]].concat().into()
}

/// The pointers of these batches of one partition, where they have been written.
///
/// # Errors
/// What the store says; [`StoreError::Corrupt`] when an entry is no pointer.
pub async fn get_pointers(
    store: &dyn Store,
    partition: PartitionId,
    batches: &[BatchId],
) -> Result<Vec<Option<Pointer>>, StoreError> {
    let mut pointers = Vec::with_capacity(batches.len());
    for chunk in batches.chunks(KEYS_PER_READ) {
        let values = store.get_derived(partition, chunk.iter().map(|batch| key(*batch)).collect()).await?;
        for value in values {
            pointers.push(value.map(|value| Pointer::decode(&value)).transpose()?);
        }
    }
    Ok(pointers)
}

/// Several pointers of one batch as one; of what several of them name, the first counts.
///
/// # Errors
/// [`StoreError::Corrupt`] when one of them is no pointer.
pub fn merge_pointers(pointers: &[Bytes]) -> Result<Bytes, StoreError> {
    let mut merged = Pointer::default();
    for pointer in pointers {
        merged.blocks.extend(Pointer::decode(pointer)?.blocks);
    }
    Ok(merged.encode())
}

/// Where one execution is, if its batch's pointer has been written.
pub(super) async fn locate(store: &dyn Store, id: ExecutionId) -> Result<Option<Located>, StoreError> {
    let pointers = get_pointers(store, id.batch.partition, &[id.batch]).await?;
    Ok(pointers.into_iter().next().flatten().map(|pointer| pointer.locate(id.index)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pointer_survives_its_encoding(
            blocks in vec(
                (1..4u64, any::<u64>(), btree_set(any::<u8>(), 0..256), btree_set(any::<u8>(), 0..9)),
                0..5,
            ),
        ) {
            let mut pointer = Pointer::default();
            for (generation, sequence, opened, closed) in blocks {
                let block = BlockId { generation, sequence };
                pointer.note(block, opened.into_iter(), false);
                pointer.note(block, closed.into_iter(), true);
            }
            let decoded = Pointer::decode(&pointer.encode()).expect("a pointer");
            for index in 0..=255 {
                prop_assert_eq!(decoded.locate(index), pointer.locate(index));
            }
        }

        #[test]
        fn any_bytes_are_a_pointer_or_an_error_and_never_a_panic(bytes: Vec<u8>) {
            let _ = Pointer::decode(&bytes);
        }
    }

    #[test]
    fn a_batch_in_one_block_takes_a_few_bytes() {
        let mut pointer = Pointer::default();
        let block = BlockId { generation: 3, sequence: 100_000 };
        pointer.note(block, 0..=255, false);
        pointer.note(block, 0..=255, true);
        assert!(pointer.encode().len() <= 10, "{:?}", pointer.encode());
    }
}
