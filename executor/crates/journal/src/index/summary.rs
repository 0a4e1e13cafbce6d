//! Summaries of blocks, in lists for each ten seconds, and which of these lists there are.
//!
//! Invariants: a block is in the list of each ten seconds in which one of its executions started (at most an
//! hour of them); the bitmap of an hour has a bit for each such list. What may fail: reading, with
//! [`StoreError::Corrupt`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ids::{PartitionId, Status};

use super::listing::PageRequest;
use super::machine_hash;
use crate::block::{OpenedSummary, Reader, put_difference, put_varint};
use crate::store::{BlockId, Derived, Store, StoreError};

const VERSION: u8 = 1;
pub(super) const BUCKET_MS: u64 = 10_000;
pub(super) const BUCKETS_PER_HOUR: u64 = 360;
pub(super) const HOUR_MS: u64 = BUCKET_MS * BUCKETS_PER_HOUR;
/// A block whose starts lie further apart is listed under the latest of them alone.
const BUCKETS_PER_BLOCK_MAX: u64 = 360;
/// Up to so many machines a summary carries whole hashes.
const WHOLE_HASHES_MAX: usize = 16;
/// Hours back that are ever looked at: a year, as long as a STANDARD execution may run, and two days.
pub(super) const HOURS_MAX: u64 = 367 * 24;
/// Hour keys of one read.
const HOURS_PER_READ: usize = 1_024;

pub(super) fn bucket_of(time_ms: u64) -> u64 {
    time_ms / BUCKET_MS
}

pub(super) fn key(prefix: u8, number: u64) -> Bytes {
    let [.., a, b, c, d] = number.to_be_bytes();
    Bytes::copy_from_slice(&[prefix, a, b, c, d])
}

/// How long a summary lives: an execution that closes within the retention is listed for a retention from
/// then on.
fn summary_ttl(retention: Duration) -> Duration {
    retention.saturating_mul(2)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) type Bitmap = [u8; BUCKETS_PER_HOUR as usize / 8];

/// Which buckets have a list, by hour, as the store has it. An hour is remembered for as long as the store may have
/// it: a bitmap that was begun anew would hide what the old one still shows.
#[derive(Debug)]
pub(super) struct Hours {
    retention: Duration,
    hours: BTreeMap<u64, Hour>,
}

#[derive(Debug)]
struct Hour {
    bitmap: Bitmap,
    /// Unix time in milliseconds at which it was last written, or earlier.
    written_ms: u64,
}

impl Hours {
    pub(super) fn new(retention: Duration) -> Self {
        Self { retention, hours: BTreeMap::new() }
    }

    fn ttl(&self) -> Duration {
        summary_ttl(self.retention) + Duration::from_millis(HOUR_MS)
    }

    pub(super) async fn load(
        &mut self,
        store: &dyn Store,
        partition: PartitionId,
        oldest_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let newest = now_ms / HOUR_MS + 1;
        let kept_ms = millis(self.ttl()).saturating_add(HOUR_MS);
        let oldest = oldest_ms.min(now_ms.saturating_sub(kept_ms)) / HOUR_MS;
        let hours = oldest.max(newest.saturating_sub(HOURS_MAX))..=newest;
        self.load_also(store, partition, &hours.collect(), now_ms).await
    }

    /// As [`Hours::load`], of these hours; what is known already stays.
    pub(super) async fn load_also(
        &mut self,
        store: &dyn Store,
        partition: PartitionId,
        hours: &BTreeSet<u64>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let unknown = hours.iter().filter(|hour| !self.hours.contains_key(hour)).copied();
        let bitmaps = read_hours(store, partition, &unknown.collect::<Vec<_>>()).await?;
        // When they were written is not known: they are written again when next they are needed.
        let written_ms = now_ms.saturating_sub(millis(self.retention));
        self.hours.extend(bitmaps.into_iter().map(|(hour, bitmap)| (hour, Hour { bitmap, written_ms })));
        Ok(())
    }

    pub(super) fn known(&self) -> impl Iterator<Item = u64> {
        self.hours.keys().copied()
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.hours.keys().next().map(|hour| hour * HOUR_MS)
    }

    /// Every bitmap as it should be, for a store that may have lost any of them.
    pub(super) fn again(&mut self, now_ms: u64) -> impl Iterator<Item = Derived> {
        let ttl = self.ttl();
        self.hours.iter_mut().map(move |(number, hour)| {
            hour.written_ms = now_ms;
            Derived::Put { key: key(b'h', *number), value: Bytes::copy_from_slice(&hour.bitmap), ttl }
        })
    }

    /// Marks the buckets of a summary, and gives each bitmap that changed, or would be forgotten before the summary.
    pub(super) fn mark(&mut self, summary: &OpenedSummary, now_ms: u64, derived: &mut Vec<Derived>) {
        let (ttl, retention_ms) = (self.ttl(), millis(self.retention));
        for bucket in buckets(summary) {
            let hour = bucket / BUCKETS_PER_HOUR;
            let bit = (bucket % BUCKETS_PER_HOUR) as usize;
            let known = self.hours.entry(hour).or_insert(Hour { bitmap: [0; 45], written_ms: 0 });
            let is_set = known.bitmap[bit / 8] >> (bit % 8) & 1 == 1;
            // The summary lives for two retentions from now, the bitmap for an hour longer.
            if is_set && now_ms < known.written_ms.saturating_add(HOUR_MS.min(retention_ms)) {
                continue;
            }
            known.bitmap[bit / 8] |= 1 << (bit % 8);
            known.written_ms = now_ms;
            let value = Bytes::copy_from_slice(&known.bitmap);
            derived.push(Derived::Put { key: key(b'h', hour), value, ttl });
        }
        // One retention more than the store keeps it, for those of which it is not known when they were written.
        let kept_ms = millis(ttl).saturating_add(retention_ms);
        if self.hours.len() > 1 {
            self.hours.retain(|_, hour| hour.written_ms.saturating_add(kept_ms) > now_ms);
        }
    }
}

fn buckets(summary: &OpenedSummary) -> std::ops::RangeInclusive<u64> {
    let last = bucket_of(summary.start_max_ms);
    bucket_of(summary.start_min_ms).max(last.saturating_sub(BUCKETS_PER_BLOCK_MAX - 1))..=last
}

pub(super) async fn read_hours(
    store: &dyn Store,
    partition: PartitionId,
    hours: &[u64],
) -> Result<BTreeMap<u64, Bitmap>, StoreError> {
    let mut bitmaps = BTreeMap::new();
    for chunk in hours.chunks(HOURS_PER_READ) {
        let values =
            store.get_derived(partition, chunk.iter().map(|hour| key(b'h', *hour)).collect()).await?;
        for (hour, value) in chunk.iter().zip(values) {
            if let Some(bitmap) = value.and_then(|value| Bitmap::try_from(value.as_ref()).ok()) {
                bitmaps.insert(*hour, bitmap);
            }
        }
    }
    Ok(bitmaps)
}

/// Adds a block's summary to the list of each of its buckets. `hashes` are sorted.
pub(super) fn summary_entry(
    id: BlockId,
    summary: &OpenedSummary,
    hashes: &[u64],
    retention: Duration,
    derived: &mut Vec<Derived>,
) {
    let width = if hashes.len() > WHOLE_HASHES_MAX { 2 } else { 8 };
    for bucket in buckets(summary) {
        let mut value = Vec::with_capacity(24 + width * hashes.len());
        value.extend_from_slice(&[VERSION, summary.statuses]);
        put_varint(&mut value, id.generation);
        put_varint(&mut value, id.sequence);
        put_difference(&mut value, bucket * BUCKET_MS, summary.start_min_ms);
        put_difference(&mut value, bucket * BUCKET_MS, summary.start_max_ms);
        value.push(width as u8);
        hashes.iter().for_each(|hash| value.extend_from_slice(&hash.to_be_bytes()[..width]));
        let ttl = summary_ttl(retention);
        derived.push(Derived::Push { list: key(b'l', bucket), value: value.into(), ttl });
    }
}

/// A block that may hold executions of the page.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) start_max_ms: u64,
    pub(super) start_min_ms: u64,
    pub(super) partition: PartitionId,
    pub(super) id: BlockId,
}

/// The block of a summary, if it may hold what is looked for.
pub(super) fn read_summary(
    value: &[u8],
    partition: PartitionId,
    bucket: u64,
    request: &PageRequest<'_>,
) -> Result<Option<Candidate>, StoreError> {
    let mut reader = Reader::new(value);
    let [version, statuses] = reader.array()?;
    if version != VERSION {
        return Err(StoreError::Corrupt(format!(
            "a summary has version {version}, this program reads {VERSION}"
        )));
    }
    let id = BlockId { generation: reader.varint()?, sequence: reader.varint()? };
    let start_min_ms = reader.difference(bucket * BUCKET_MS)?;
    let start_max_ms = reader.difference(bucket * BUCKET_MS)?;
    let width = usize::from(reader.byte()?).clamp(1, 8);
    let hash = machine_hash(request.machine_arn).to_be_bytes();
    let mut hashes = reader.rest().chunks_exact(width);
    let has_machine = hashes.any(|other| other == &hash[..width]);
    // What was running when the summary was written may have any status by now.
    let wanted = request.status.map_or(u8::MAX, |status| 1 << status as u8 | 1 << Status::Running as u8);
    let in_time = request.after.is_none_or(|after| start_min_ms <= after.start_time_ms);
    let wanted = has_machine && in_time && statuses & wanted != 0;
    Ok(wanted.then_some(Candidate { start_max_ms, start_min_ms, partition, id }))
}
