//! The archive read as a log is: blocks by their ids, derived keys, lists.
//!
//! A view is made for one question and lists each partition once. One that is made for a machine passes over the segments that
//! have nothing of it in hours and lists. Invariants: what is past its time is not shown; of what
//! several segments say of one thing, the newest comes first; nothing can be written. Reads go in parallel, a few at a
//! time. What may fail: the object store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ids::PartitionId;
use journal::index::{HOUR_MS, merge_pointers};
use journal::store::{Acquired, Append, BlockRange, StoreFuture};
use journal::{Block, BlockBuilder, BlockId, Durability, Record, Store, StoreError, Top};

use crate::index::{Index, machine_key};
use crate::name::{BatchKey, SegmentName};
use crate::objects::Archive;

/// Reads under way for one question.
const READS_AT_ONCE: usize = 8;
/// The length of the buckets of listings.
const BUCKET_MS: u64 = 10_000;

type Segments = Arc<Vec<SegmentName>>;

/// See the module.
#[derive(Debug)]
pub struct View(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    archive: Arc<Archive>,
    now_ms: u64,
    listed: Mutex<HashMap<PartitionId, Segments>>,
    /// The key of the machine whose executions are listed.
    machine: Option<Bytes>,
}

/// What a derived key asks for.
enum Asked {
    Batch(BatchKey),
    Name,
    Hour(u64),
    Unknown,
}

fn asked(key: &[u8]) -> Asked {
    match key {
        [b'b', i0, i1, i2, i3, s0, s1, s2, s3, s4] => {
            let incarnation = u32::from_be_bytes([*i0, *i1, *i2, *i3]);
            Asked::Batch((incarnation, u64::from_be_bytes([0, 0, 0, *s0, *s1, *s2, *s3, *s4])))
        }
        [b'n', ..] => Asked::Name,
        [b'h', a, b, c, d] => Asked::Hour(u64::from(u32::from_be_bytes([*a, *b, *c, *d]))),
        _ => Asked::Unknown,
    }
}

impl View {
    pub(crate) fn new(archive: Arc<Archive>, now_ms: u64) -> Self {
        Self(Arc::new(Inner { archive, now_ms, listed: Mutex::default(), machine: None }))
    }

    /// The same for a listing of this machine alone.
    #[must_use]
    pub fn of_machine(&self, arn: &str) -> Self {
        let (archive, now_ms) = (Arc::clone(&self.0.archive), self.0.now_ms);
        let machine = Some(machine_key(arn));
        Self(Arc::new(Inner { archive, now_ms, listed: Mutex::default(), machine }))
    }

    /// The earliest start of anything that these partitions have here; Unix time in milliseconds.
    ///
    /// # Errors
    /// What the object store says.
    pub async fn oldest_start_ms(&self, partitions: &[PartitionId]) -> Result<Option<u64>, StoreError> {
        let (inner, partitions) = (Arc::clone(&self.0), partitions.to_vec());
        self.run(async move {
            let inner = &inner;
            let earliest = stream::iter(partitions)
                .map(|partition| async move {
                    let segments = inner.segments(partition).await?;
                    Ok::<_, StoreError>(segments.iter().map(|name| name.starts_ms.0).min())
                })
                .buffer_unordered(READS_AT_ONCE);
            let earliest: Vec<Option<u64>> = earliest.try_collect().await?;
            Ok(earliest.into_iter().flatten().min())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.archive.run(work).await?
    }
}

impl Inner {
    async fn segments(&self, partition: PartitionId) -> Result<Segments, StoreError> {
        let known = self.listed.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut found = self.archive.segments(partition).await?;
        found.retain(|name| name.until_ms >= self.now_ms);
        let found = Arc::new(found);
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, Arc::clone(&found));
        Ok(found)
    }

    /// The indexes of the segments that may have something, the newest first.
    async fn indexes(
        &self,
        partition: PartitionId,
        may: impl Fn(&SegmentName) -> bool,
    ) -> Result<Vec<(SegmentName, Arc<Index>)>, StoreError> {
        let segments = self.segments(partition).await?;
        let wanted: Vec<SegmentName> = segments.iter().filter(|name| may(name)).cloned().collect();
        let read = stream::iter(wanted)
            .map(|name| async move {
                let index = self.archive.index(&name).await?;
                Ok::<_, StoreError>(index.map(|index| (name, index)))
            })
            .buffered(READS_AT_ONCE);
        read.try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
    }

    /// As [`Inner::indexes`], of those with executions of the machine whose listing this is.
    async fn listings(
        &self,
        partition: PartitionId,
        may: impl Fn(&SegmentName) -> bool,
    ) -> Result<Vec<(SegmentName, Arc<Index>)>, StoreError> {
        let mut indexes = self.indexes(partition, may).await?;
        if let Some(machine) = &self.machine {
            indexes.retain(|(_, index)| index.has(machine));
        }
        Ok(indexes)
    }

    async fn pointer(
        &self,
        partition: PartitionId,
        key: &Bytes,
        batch: BatchKey,
    ) -> Result<Option<Bytes>, StoreError> {
        let indexes = self.indexes(partition, |name| name.may_have(batch)).await?;
        let found: Vec<Bytes> = indexes.iter().flat_map(|(_, index)| index.values(key)).collect();
        if found.is_empty() { Ok(None) } else { merge_pointers(&found).map(Some) }
    }

    async fn name(&self, partition: PartitionId, key: &Bytes) -> Result<Option<Bytes>, StoreError> {
        let segments = self.segments(partition).await?;
        let named: Vec<SegmentName> = segments.iter().filter(|name| name.named).cloned().collect();
        for some in named.chunks(READS_AT_ONCE) {
            let indexes = self.indexes(partition, |name| some.contains(name)).await?;
            if let Some(value) = indexes.iter().find_map(|(_, index)| index.values(key).pop()) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Which buckets of an hour have a list: the union of what the segments say.
    async fn hour(
        &self,
        partition: PartitionId,
        key: &Bytes,
        hour: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let within = |name: &SegmentName| name.overlaps(hour * HOUR_MS, (hour + 1) * HOUR_MS - 1);
        let indexes = self.listings(partition, within).await?;
        let mut union: Option<Vec<u8>> = None;
        for value in indexes.iter().flat_map(|(_, index)| index.values(key)) {
            let bits = union.get_or_insert_with(|| vec![0; value.len()]);
            bits.iter_mut().zip(&value).for_each(|(bits, more)| *bits |= more);
        }
        Ok(union.map(Bytes::from))
    }

    async fn derived(
        &self,
        partition: PartitionId,
        keys: Vec<Bytes>,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        for key in &keys {
            values.push(match asked(key) {
                Asked::Batch(batch) => self.pointer(partition, key, batch).await?,
                Asked::Name => self.name(partition, key).await?,
                Asked::Hour(hour) => self.hour(partition, key, hour).await?,
                Asked::Unknown => None,
            });
        }
        Ok(values)
    }

    async fn list(&self, partition: PartitionId, list: &Bytes) -> Result<Vec<Bytes>, StoreError> {
        let [b'l', a, b, c, d] = list[..] else { return Ok(Vec::new()) };
        let from_ms = u64::from(u32::from_be_bytes([a, b, c, d])) * BUCKET_MS;
        let within = |name: &SegmentName| name.overlaps(from_ms, from_ms + BUCKET_MS - 1);
        let indexes = self.listings(partition, within).await?;
        Ok(indexes.iter().rev().flat_map(|(_, index)| index.values(list)).collect())
    }

    /// The block of this id: of executions that are kept for different times, each segment has its part of it.
    async fn block(&self, partition: PartitionId, id: BlockId) -> Result<Option<Bytes>, StoreError> {
        let indexes = self.indexes(partition, |name| name.may_hold(id)).await?;
        let mut parts: Vec<Bytes> = Vec::new();
        for (name, index) in indexes {
            let Some(range) = index.block(id) else { continue };
            let part = self.archive.part(&name, range).await?;
            parts.extend(part.filter(|part| !parts.contains(part)));
        }
        match parts.len() {
            0 | 1 => Ok(parts.pop()),
            _ => whole(partition, id, &parts).map(Some),
        }
    }
}

/// One block with what these have; of an execution that several have, once.
fn whole(partition: PartitionId, id: BlockId, parts: &[Bytes]) -> Result<Bytes, StoreError> {
    let mut builder = BlockBuilder::new(partition);
    let (mut seen, mut time_ms) = (std::collections::HashSet::new(), 0);
    for part in parts {
        let block = Block::parse(part)?;
        time_ms = block.time_ms();
        let mut own = std::collections::HashSet::new();
        for record in block.records()? {
            if seen.contains(&record.id()) {
                continue;
            }
            own.insert(record.id());
            match record {
                Record::Opened(mut opened) => {
                    let machine = block.machines().get(opened.machine as usize);
                    let machine =
                        machine.ok_or_else(|| StoreError::Corrupt(format!("block {id} lacks a machine")))?;
                    opened.machine = builder.machine(machine);
                    builder.opened(&opened);
                }
                Record::Journalled(told) => builder.journalled(&told),
                Record::Closed(closed) => builder.closed(&closed),
            }
        }
        seen.extend(own);
    }
    Ok(builder.finish(id, time_ms))
}

fn read_only<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused("the archive is read, not written".to_owned()))
}

impl Store for View {
    fn acquire(&self, _: PartitionId) -> StoreFuture<'_, Acquired> {
        Box::pin(async { read_only() })
    }

    fn append(&self, _: Append) -> StoreFuture<'_, ()> {
        Box::pin(async { read_only() })
    }

    fn tops(&self, _: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>> {
        Box::pin(async { read_only() })
    }

    /// Single blocks alone: that is how they are looked up.
    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            if range.from != range.to {
                return Err(StoreError::Refused("the archive gives blocks one by one".to_owned()));
            }
            let found = self.run(async move { inner.block(partition, range.from).await }).await?;
            Ok(found.map(|bytes| (range.from, bytes)).into_iter().collect())
        })
    }

    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>> {
        let inner = Arc::clone(&self.0);
        Box::pin(self.run(async move { inner.derived(partition, keys).await }))
    }

    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let entries = self.run(async move { inner.list(partition, &list).await }).await?;
            Ok(entries.into_iter().skip(skip).take(limit).collect())
        })
    }

    fn put(&self, _: Bytes, _: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async { read_only() })
    }

    fn compare_and_put(&self, _: Bytes, _: Option<Bytes>, _: Option<Bytes>) -> StoreFuture<'_, bool> {
        Box::pin(async { read_only() })
    }

    fn get(&self, _: Bytes) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async { read_only() })
    }

    fn scan(&self, _: Bytes, _: Option<Bytes>, _: usize) -> StoreFuture<'_, Vec<(Bytes, Bytes)>> {
        Box::pin(async { read_only() })
    }

    fn increment(&self, _: Bytes) -> StoreFuture<'_, u64> {
        Box::pin(async { read_only() })
    }

    fn ping(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { read_only() })
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        Box::pin(async { read_only() })
    }
}
