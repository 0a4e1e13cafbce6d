//! Executions of a machine, newest start first.
//!
//! Each block in which executions open leaves a small summary in the list of each ten seconds in which one of
//! them started; a bitmap for each hour says which of these lists there are. A reader walks the buckets from
//! new to old, reads the blocks whose summary has the machine, latest start first, and gives an execution out
//! as soon as no unread block can hold a later one.
//!
//! Invariants: pages are in the order of (start, id), both descending, whatever the order of the flushes; a
//! page reads a bounded number of blocks, and says where to go on. What may fail: the store.

use std::collections::{BinaryHeap, HashMap, HashSet};

use ids::{BatchId, ExecutionId, Mode, PartitionId, Status};

use super::lookup::read_block;
use super::pointer::{Located, Pointer, get_pointers};
use super::summary::{
    BUCKET_MS, BUCKETS_PER_HOUR, Bitmap, Candidate, HOUR_MS, HOURS_MAX, bucket_of, key, read_hours,
    read_summary,
};
use crate::block::{Block, Record};
use crate::store::{BlockId, Store, StoreError};

/// Entries of one read of a bucket.
const ENTRIES_PER_READ: usize = 4_096;
/// Hours that a page looks through at first; then four times as many, and so on.
const HOURS_AT_FIRST: u64 = 24;
/// Closed blocks and pointers that a page keeps at hand.
const CACHED_MAX: usize = 256;

/// A place in the order of a listing: by start and id, both descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Unix time in milliseconds.
    pub start_time_ms: u64,
    /// Decides among executions that started in the same millisecond.
    pub id: ExecutionId,
}

/// Which executions.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'a> {
    /// Where to look; a shard gives its own.
    pub partitions: &'a [PartitionId],
    /// Whose.
    pub machine_arn: &'a str,
    /// `None`: any.
    pub status: Option<Status>,
    /// Only what comes strictly after this place in the order.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: usize,
    /// Executions that started before are not looked for; Unix time in milliseconds.
    pub oldest_ms: u64,
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// A page that has read so many blocks ends early, 1,024 for example.
    pub blocks_max: usize,
}

/// One execution of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ExecutionId,
    /// How it is kept.
    pub mode: Mode,
    /// The caller's name, if it chose one.
    pub name: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// Unix time in milliseconds.
    pub start_time_ms: u64,
    /// Unix time in milliseconds, once it has ended.
    pub stop_time_ms: Option<u64>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Newest start first.
    pub executions: Vec<Listed>,
    /// Where the next page begins; `None` when there is no more. A page that ended early may have few
    /// executions, or none, and everything down to this place has been given.
    pub next: Option<Cursor>,
}

/// One page of a machine's executions, newest start first. `local` says what the partitions' owner knows of
/// an execution whose batch's pointer is not written (see [`super::IndexWriter::find`]). What neither it nor a pointer
/// knows ended longer ago than the retention: it is passed over, as a look-up does not find it.
///
/// # Errors
/// What the store says; [`StoreError::Corrupt`] when a block or an entry cannot be read.
pub async fn list(
    store: &dyn Store,
    request: &PageRequest<'_>,
    local: impl Fn(ExecutionId) -> Option<Located>,
) -> Result<Page, StoreError> {
    let mut walk = Walk {
        store,
        request,
        local,
        page: Page::default(),
        blocks_read: 0,
        ends: HashMap::new(),
        pointers: HashMap::new(),
        considered: None,
    };
    let top_ms = request.after.map_or(request.now_ms + HOUR_MS, |after| after.start_time_ms);
    let newest = top_ms / HOUR_MS;
    let oldest = (request.oldest_ms / HOUR_MS).max(newest.saturating_sub(HOURS_MAX)).min(newest);
    // Most pages end within the newest hours, and where there are years of them it costs to ask for all.
    let (mut below, mut width) = (newest + 1, HOURS_AT_FIRST);
    while below > oldest {
        let from = below.saturating_sub(width).max(oldest);
        if walk.hours(from..below, top_ms).await? {
            break;
        }
        (below, width) = (from, width.saturating_mul(4));
    }
    Ok(walk.page)
}

struct Walk<'a, L> {
    store: &'a dyn Store,
    request: &'a PageRequest<'a>,
    local: L,
    page: Page,
    blocks_read: usize,
    /// Status and stop time of what closed in a block.
    ends: HashMap<(PartitionId, BlockId), HashMap<ExecutionId, (Status, u64)>>,
    pointers: HashMap<BatchId, Option<Pointer>>,
    /// The last one that was ready to be given: what was carried into another block, or opened again, may be there twice.
    considered: Option<Cursor>,
}

/// Where an execution stands that did not end in the block that opened it.
enum Stand {
    Running,
    Ended(Status, u64),
    /// It ended, and was let go since: its summary outlives its pointer, and may outlive the block of its end.
    Gone,
}

/// An execution that was read and not given out yet; the heap's top is the newest.
#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    cursor: Cursor,
    mode: Mode,
    name: Option<String>,
    end: Option<(Status, u64)>,
    opened_in: BlockId,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Of an execution that was opened again, the last opening is the one that counts.
        (self.cursor, self.opened_in).cmp(&(other.cursor, other.opened_in))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<L: Fn(ExecutionId) -> Option<Located>> Walk<'_, L> {
    /// Gives out what started within these hours, the newest first; says whether the page has ended.
    async fn hours(&mut self, wanted: std::ops::Range<u64>, top_ms: u64) -> Result<bool, StoreError> {
        let wanted: Vec<u64> = wanted.collect();
        let mut hours = Vec::with_capacity(self.request.partitions.len());
        for partition in self.request.partitions {
            hours.push((*partition, read_hours(self.store, *partition, &wanted).await?));
        }
        let present: HashSet<u64> = hours.iter().flat_map(|(_, bitmaps)| bitmaps.keys().copied()).collect();
        let mut present: Vec<u64> = present.into_iter().collect();
        present.sort_unstable_by_key(|hour| std::cmp::Reverse(*hour));
        for hour in present {
            for bit in (0..BUCKETS_PER_HOUR).rev() {
                let bucket = hour * BUCKETS_PER_HOUR + bit;
                if bucket > bucket_of(top_ms) || (bucket + 1) * BUCKET_MS <= self.request.oldest_ms {
                    continue;
                }
                let has = |bitmap: &Bitmap| bitmap[bit as usize / 8] >> (bit % 8) & 1 == 1;
                let partitions = hours.iter().filter(|(_, bitmaps)| bitmaps.get(&hour).is_some_and(has));
                let partitions: Vec<PartitionId> = partitions.map(|(partition, _)| *partition).collect();
                if !partitions.is_empty() && self.bucket(bucket, &partitions).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Gives out what started within a bucket; says whether the page has ended.
    async fn bucket(&mut self, bucket: u64, partitions: &[PartitionId]) -> Result<bool, StoreError> {
        let mut candidates = Vec::new();
        for partition in partitions {
            self.candidates(bucket, *partition, &mut candidates).await?;
        }
        // The latest start last, to be popped first.
        candidates.sort_unstable();
        let mut waiting = BinaryHeap::new();
        // A block may be there twice, after a recovery.
        let mut seen = HashSet::new();
        loop {
            let next_max = candidates.last().map(|candidate| candidate.start_max_ms);
            let ripe = |top: &Waiting| next_max.is_none_or(|next| top.cursor.start_time_ms > next);
            if waiting.peek().is_some_and(ripe) {
                if let Some(top) = waiting.pop()
                    && self.give(top).await?
                {
                    return Ok(true);
                }
                continue;
            }
            let Some(candidate) = candidates.pop() else { return Ok(false) };
            // What is newer than the bucket has been given, although the block may hold such too.
            if self.exhausted(candidate.start_max_ms.min((bucket + 1) * BUCKET_MS - 1)) {
                return Ok(true);
            }
            if seen.insert((candidate.partition, candidate.id))
                && let Some(block) = read_block(self.store, candidate.partition, candidate.id).await?
            {
                self.blocks_read += 1;
                self.take_in(&block, bucket, &mut waiting)?;
            }
        }
    }

    /// Whether the page has read enough, and has come further than the page before: then it ends here.
    fn exhausted(&mut self, left_max_ms: u64) -> bool {
        let start_time_ms = left_max_ms.saturating_add(1);
        let further = self.request.after.is_none_or(|after| start_time_ms < after.start_time_ms);
        if self.blocks_read < self.request.blocks_max.max(1) || !further {
            return false;
        }
        // Nothing that started in this very millisecond is left, so that the lowest id of all will do.
        self.page.next = Some(Cursor { start_time_ms, id: lowest_id() });
        true
    }

    async fn candidates(
        &self,
        bucket: u64,
        partition: PartitionId,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), StoreError> {
        let mut skip = 0;
        loop {
            let entries = self.store.list(partition, key(b'l', bucket), skip, ENTRIES_PER_READ).await?;
            for entry in &entries {
                candidates.extend(read_summary(entry, partition, bucket, self.request)?);
            }
            skip += entries.len();
            if entries.len() < ENTRIES_PER_READ {
                return Ok(());
            }
        }
    }

    fn take_in(
        &self,
        block: &Block,
        bucket: u64,
        waiting: &mut BinaryHeap<Waiting>,
    ) -> Result<(), StoreError> {
        let machines: Vec<Option<Mode>> = block
            .machines()
            .iter()
            .map(|machine| Some(machine.mode).filter(|_| machine.arn == self.request.machine_arn))
            .collect();
        let mut ends = HashMap::new();
        let mut starts = Vec::new();
        for record in block.records()? {
            match record {
                Record::Opened(opened) => starts.push(opened),
                Record::Closed(closed) => drop(ends.insert(closed.id, (closed.status, closed.stop_time_ms))),
                Record::Journalled(_) => {}
            }
        }
        for opened in starts {
            let Some(mode) = machines.get(opened.machine as usize).copied().flatten() else { continue };
            let cursor = Cursor { start_time_ms: opened.start_time_ms, id: opened.id };
            let after = self.request.after.is_none_or(|after| cursor < after);
            if !after
                || bucket_of(opened.start_time_ms) != bucket
                || opened.start_time_ms < self.request.oldest_ms
            {
                continue;
            }
            let end = ends.remove(&opened.id);
            waiting.push(Waiting { cursor, mode, name: opened.name, end, opened_in: block.id() });
        }
        Ok(())
    }

    /// Gives an execution out, if it has the status; says whether the page is full.
    async fn give(&mut self, waiting: Waiting) -> Result<bool, StoreError> {
        let id = waiting.cursor.id;
        if self.considered.replace(waiting.cursor) == Some(waiting.cursor) {
            return Ok(false);
        }
        let end = match waiting.end {
            Some(end) => Some(end),
            None => match self.stand_of(id, waiting.opened_in).await? {
                Stand::Running => None,
                Stand::Ended(status, stop_time_ms) => Some((status, stop_time_ms)),
                Stand::Gone => return Ok(false),
            },
        };
        let status = end.map_or(Status::Running, |(status, _)| status);
        if self.request.status.is_some_and(|wanted| wanted != status) {
            return Ok(false);
        }
        if self.page.executions.len() >= self.request.limit {
            let last = self.page.executions.last();
            let cursor = last.map(|last| Cursor { start_time_ms: last.start_time_ms, id: last.id });
            self.page.next = cursor.or(self.request.after);
            return Ok(true);
        }
        self.page.executions.push(Listed {
            id,
            mode: waiting.mode,
            name: waiting.name,
            status,
            start_time_ms: waiting.cursor.start_time_ms,
            stop_time_ms: end.map(|(_, stop_time_ms)| stop_time_ms),
        });
        Ok(false)
    }

    /// Where an execution stands that did not end in the block that opened it.
    async fn stand_of(&mut self, id: ExecutionId, opened_in: BlockId) -> Result<Stand, StoreError> {
        let located = match (self.local)(id) {
            Some(located) => located,
            None => self.pointed(id).await?,
        };
        let Some(closed_in) = located.closed.filter(|closed_in| *closed_in != opened_in) else {
            return Ok(if located.opened.is_some() { Stand::Running } else { Stand::Gone });
        };
        let place = (id.batch.partition, closed_in);
        if !self.ends.contains_key(&place) {
            let ends = match read_block(self.store, place.0, closed_in).await? {
                Some(block) => ends_of(&block)?,
                None => HashMap::new(),
            };
            self.blocks_read += 1;
            if self.ends.len() >= CACHED_MAX {
                self.ends.clear();
            }
            self.ends.insert(place, ends);
        }
        let end = self.ends.get(&place).and_then(|ends| ends.get(&id));
        Ok(end.map_or(Stand::Gone, |(status, stop_time_ms)| Stand::Ended(*status, *stop_time_ms)))
    }

    async fn pointed(&mut self, id: ExecutionId) -> Result<Located, StoreError> {
        if !self.pointers.contains_key(&id.batch) {
            if self.pointers.len() >= CACHED_MAX {
                self.pointers.clear();
            }
            let found = get_pointers(self.store, id.batch.partition, &[id.batch]).await?;
            self.pointers.insert(id.batch, found.into_iter().next().flatten());
        }
        let pointer = self.pointers.get(&id.batch).and_then(Option::as_ref);
        Ok(pointer.map(|pointer| pointer.locate(id.index)).unwrap_or_default())
    }
}

fn lowest_id() -> ExecutionId {
    let partition = PartitionId::new(0).expect("partition 0 is in range");
    BatchId::new(partition, 0, 0).expect("sequence 0 is in range").execution(0)
}

fn ends_of(block: &Block) -> Result<HashMap<ExecutionId, (Status, u64)>, StoreError> {
    let mut ends = HashMap::new();
    for record in block.records()? {
        if let Record::Closed(closed) = record {
            ends.insert(closed.id, (closed.status, closed.stop_time_ms));
        }
    }
    Ok(ends)
}
