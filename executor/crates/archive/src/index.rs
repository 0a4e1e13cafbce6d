//! The index of a segment, and what surrounds it.
//!
//! ```text
//! segment := head block* index tail
//! head    := "MYRA" version:u8=1 0:u8 partition:u16
//! index   := an lz4 block of raw
//! raw     := blocks:u32 { generation:u64 sequence:u64 offset:u64 length:u64 }   by their ids
//!            keys:u32 { length:u16 key values:u32 { length:u32 value } }        sorted
//! tail    := index_length:u64 raw_length:u64 crc:u32 head
//! ```
//!
//! Numbers are little-endian. Blocks are those of the log's format, each with its own checksum and its id; the CRC-32 is
//! that of index and lengths. Keys and values are those of the derived keys of a log (`journal::index`): pointers of batches,
//! names, summaries, hours. Invariant: reading hostile bytes never panics, and allocates no more than
//! [`RAW_BYTES_MAX`]. Each machine has a key of its own besides, `m` and its hash, without a value. What may fail: reading, with [`ArchiveError::Corrupt`].

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use ids::PartitionId;
use journal::BlockId;

use crate::ArchiveError;

const MAGIC: [u8; 4] = *b"MYRA";
const VERSION: u8 = 1;
pub(crate) const HEAD_BYTES: usize = 8;
pub(crate) const TAIL_BYTES: usize = 28;
/// The longest index that is read: that of a segment whose executions are all alone in their batches is below.
pub(crate) const RAW_BYTES_MAX: u64 = 256 << 20;

/// Where each block is, and what is found under each key.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub blocks: Vec<(BlockId, Range<u64>)>,
    pub keys: BTreeMap<Bytes, Vec<Bytes>>,
}

/// A read index.
#[derive(Debug)]
pub(crate) struct Index {
    raw: Bytes,
    blocks: Vec<(BlockId, Range<u64>)>,
    /// Where the entry of each key begins, in the order of the keys.
    entries: Vec<u32>,
}

fn corrupt(what: &str) -> ArchiveError {
    ArchiveError::Corrupt(format!("a segment of the archive: {what}"))
}

/// The key that says that a machine has executions in a segment.
pub(crate) fn machine_key(arn: &str) -> Bytes {
    [b"m".as_slice(), &journal::index::machine_hash(arn).to_be_bytes()].concat().into()
}

pub(crate) fn head(partition: PartitionId) -> [u8; HEAD_BYTES] {
    let [low, high] = partition.get().to_le_bytes();
    let [m, y, r, a] = MAGIC;
    [m, y, r, a, VERSION, 0, low, high]
}

/// Index and tail.
pub(crate) fn encode(partition: PartitionId, contents: &Contents) -> Vec<u8> {
    let mut raw = Vec::new();
    raw.extend_from_slice(&(contents.blocks.len() as u32).to_le_bytes());
    for (id, range) in &contents.blocks {
        for number in [id.generation, id.sequence, range.start, range.end - range.start] {
            raw.extend_from_slice(&number.to_le_bytes());
        }
    }
    raw.extend_from_slice(&(contents.keys.len() as u32).to_le_bytes());
    for (key, values) in &contents.keys {
        raw.extend_from_slice(&(key.len() as u16).to_le_bytes());
        raw.extend_from_slice(key);
        raw.extend_from_slice(&(values.len() as u32).to_le_bytes());
        for value in values {
            raw.extend_from_slice(&(value.len() as u32).to_le_bytes());
            raw.extend_from_slice(value);
        }
    }
    let mut out = lz4_flex::block::compress(&raw);
    let length = out.len() as u64;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(raw.len() as u64).to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&head(partition));
    out
}

/// The end of a segment: how long its index is, and how to read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    pub index_length: u64,
    raw_length: u64,
    crc: u32,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ArchiveError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| corrupt("its index is cut"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| corrupt("its index is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, ArchiveError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, ArchiveError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
}

impl Tail {
    pub(crate) fn parse(bytes: &[u8], partition: PartitionId) -> Result<Self, ArchiveError> {
        let mut reader = Reader(bytes);
        let tail = Self { index_length: reader.u64()?, raw_length: reader.u64()?, crc: reader.u32()? };
        let ours: [u8; HEAD_BYTES] = reader.array()?;
        if ours[..4] != MAGIC {
            return Err(corrupt("it does not end as one does"));
        }
        if ours != head(partition) {
            return Err(corrupt("it is of another version or partition"));
        }
        Ok(tail)
    }
}

impl Index {
    /// Reads an index.
    pub(crate) fn parse(stored: &[u8], tail: Tail) -> Result<Self, ArchiveError> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(stored);
        crc.update(&tail.index_length.to_le_bytes());
        crc.update(&tail.raw_length.to_le_bytes());
        if crc.finalize() != tail.crc {
            return Err(corrupt("the checksum of its index is wrong: bytes were cut or changed"));
        }
        let possible = RAW_BYTES_MAX.min((stored.len() as u64).saturating_mul(255));
        if tail.raw_length > possible {
            return Err(corrupt("its index declares a length that cannot be"));
        }
        let mut raw = vec![0; tail.raw_length as usize];
        match lz4_flex::block::decompress_into(stored, &mut raw) {
            Ok(length) if length == raw.len() => {}
            _ => return Err(corrupt("its index cannot be decompressed")),
        }
        let mut reader = Reader(&raw);
        let mut blocks = Vec::new();
        for _ in 0..reader.u32()? {
            let id = BlockId { generation: reader.u64()?, sequence: reader.u64()? };
            let (offset, length) = (reader.u64()?, reader.u64()?);
            let end = offset.checked_add(length).ok_or_else(|| corrupt("a block lies nowhere"))?;
            blocks.push((id, offset..end));
        }
        let mut entries = Vec::new();
        for _ in 0..reader.u32()? {
            entries.push((raw.len() - reader.0.len()) as u32);
            let length = u16::from_le_bytes(reader.array()?);
            reader.take(usize::from(length))?;
            for _ in 0..reader.u32()? {
                let length = reader.u32()?;
                reader.take(length as usize)?;
            }
        }
        Ok(Self { raw: raw.into(), blocks, entries })
    }

    /// Where a block is.
    pub(crate) fn block(&self, id: BlockId) -> Option<Range<u64>> {
        let place = self.blocks.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.blocks.get(place).map(|(_, range)| range.clone())
    }

    /// What stands under a key.
    pub(crate) fn values(&self, key: &[u8]) -> Vec<Bytes> {
        let found = self.entries.binary_search_by(|entry| self.key(*entry).cmp(key)).ok();
        found.and_then(|place| self.values_at(*self.entries.get(place)?).ok()).unwrap_or_default()
    }

    /// Whether there is such a key.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.entries.binary_search_by(|entry| self.key(*entry).cmp(key)).is_ok()
    }

    fn key(&self, entry: u32) -> &[u8] {
        let mut reader = Reader(self.raw.get(entry as usize..).unwrap_or_default());
        let length = reader.array().map(u16::from_le_bytes).unwrap_or_default();
        reader.take(usize::from(length)).unwrap_or_default()
    }

    fn values_at(&self, entry: u32) -> Result<Vec<Bytes>, ArchiveError> {
        let mut reader = Reader(self.raw.get(entry as usize..).unwrap_or_default());
        let length = u16::from_le_bytes(reader.array()?);
        reader.take(usize::from(length))?;
        let mut values = Vec::new();
        for _ in 0..reader.u32()? {
            let length = reader.u32()?;
            values.push(self.raw.slice_ref(reader.take(length as usize)?));
        }
        Ok(values)
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.raw.len() + self.blocks.len() * size_of::<(BlockId, Range<u64>)>() + self.entries.len() * 4 + 256
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn partition() -> PartitionId {
        PartitionId::new(7).expect("in range")
    }

    fn read(bytes: &[u8]) -> Result<Index, ArchiveError> {
        let (stored, tail) = bytes.split_at(bytes.len().saturating_sub(TAIL_BYTES));
        Index::parse(stored, Tail::parse(tail, partition())?)
    }

    proptest! {
        #[test]
        fn what_is_put_into_an_index_is_found_in_it(
            keys in btree_map(vec(any::<u8>(), 0..9), vec(vec(any::<u8>(), 0..9), 1..4), 0..9),
        ) {
            let id = |sequence| BlockId { generation: 2, sequence };
            let bytes = |bytes: &Vec<u8>| Bytes::copy_from_slice(bytes);
            let contents = Contents {
                blocks: vec![(id(3), 8..20), (id(9), 20..90)],
                keys: keys.iter().map(|(key, values)| (bytes(key), values.iter().map(bytes).collect())).collect(),
            };
            let index = read(&encode(partition(), &contents)).expect("an index");
            for (key, values) in &contents.keys {
                prop_assert_eq!(&index.values(key), values);
            }
            prop_assert!(keys.keys().all(|key| index.has(key)) && !index.has(b"another key"));
            prop_assert!(index.values(b"another key that is there in none").is_empty());
            prop_assert_eq!((index.block(id(9)), index.block(id(4))), (Some(20..90), None));
        }

        #[test]
        fn any_bytes_are_an_index_or_an_error_and_never_a_panic(bytes in vec(any::<u8>(), TAIL_BYTES..200)) {
            prop_assert!(read(&bytes).is_err());
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let keys = [(Bytes::from_static(b"key"), vec![Bytes::from_static(b"value")])].into();
        let good = encode(partition(), &Contents { blocks: Vec::new(), keys });
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert!(read(&bad).is_err(), "byte {place}");
        }
        assert!(read(&good).is_ok());
    }
}
