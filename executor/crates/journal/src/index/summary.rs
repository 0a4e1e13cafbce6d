//! Summaries of blocks, in lists for each ten seconds, and which of these lists there are.
//!
//! Invariants: a block is in the list of each ten seconds in which one of its executions started (at most an
//! hour of them); the bitmap of an hour has a bit for each such list. What may fail: reading, with
//! [`StoreError::Corrupt`].

use std::collections::BTreeMap;
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
/// Hour keys of one read.
const HOURS_PER_READ: usize = 128;

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

pub(super) type Bitmap = [u8; BUCKETS_PER_HOUR as usize / 8];

/// Which buckets have a list, by hour.
#[derive(Debug)]
pub(super) struct Hours {
    retention: Duration,
    bitmaps: BTreeMap<u64, Bitmap>,
}

impl Hours {
    pub(super) fn new(retention: Duration) -> Self {
        Self { retention, bitmaps: BTreeMap::new() }
    }

    fn kept(&self) -> usize {
        (summary_ttl(self.retention).as_secs() / 3_600) as usize + 3
    }

    pub(super) async fn load(
        &mut self,
        store: &dyn Store,
        partition: PartitionId,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let newest = now_ms / HOUR_MS + 1;
        let oldest = newest.saturating_sub(self.kept() as u64);
        self.bitmaps = read_hours(store, partition, oldest, newest).await?;
        Ok(())
    }

    /// Marks the buckets of a summary, and gives each bitmap that changed.
    pub(super) fn mark(&mut self, summary: &OpenedSummary, derived: &mut Vec<Derived>) {
        for bucket in buckets(summary) {
            let hour = bucket / BUCKETS_PER_HOUR;
            let bit = (bucket % BUCKETS_PER_HOUR) as usize;
            let bitmap = self.bitmaps.entry(hour).or_insert([0; 45]);
            if bitmap[bit / 8] >> (bit % 8) & 1 == 1 {
                continue;
            }
            bitmap[bit / 8] |= 1 << (bit % 8);
            let value = Bytes::copy_from_slice(bitmap);
            let ttl = summary_ttl(self.retention) + Duration::from_millis(HOUR_MS);
            derived.push(Derived::Put { key: key(b'h', hour), value, ttl });
        }
        while self.bitmaps.len() > self.kept() {
            self.bitmaps.pop_first();
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
    oldest: u64,
    newest: u64,
) -> Result<BTreeMap<u64, Bitmap>, StoreError> {
    let hours: Vec<u64> = (oldest..=newest).collect();
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
