//! Index entries that a crash may have lost, given again at recovery.
//!
//! What travels beside the last blocks of a log may not have been written when their owner was killed: summaries and
//! names of what they opened, and what was renewed for what they closed. Pointers are the index writer's own part
//! ([`IndexWriter::settle`]). Invariants: an entry given twice is harmless; a name comes back for what is left of its
//! retention, and to its last holder. Bounded by the records of
//! [`limits::LOST_BLOCKS_MAX`] blocks, or of as many as the owner is configured with. What may fail: the store, or a block that cannot be read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use ids::{ExecutionId, MachineName, Mode, PartitionId};
use journal::index::{self, HOUR_MS, IndexWriter};
use journal::store::BlockRange;
use journal::{Block, BlockId, Derived, Opened, Record, Store, StoreError};

use crate::limits;

/// The first of the log's last so many blocks with records, of whatever generation: an owner that was
/// killed before it had written the entries of its predecessor again has lost those, too, however many owners were.
pub async fn begin(
    store: &dyn Store,
    partition: PartitionId,
    (last, blocks): (BlockId, u64),
) -> Result<BlockId, StoreError> {
    let (mut first, mut left) = (last, blocks);
    let mut to = Some(last);
    while let (Some(end), true) = (to, left > 0) {
        let limit = limits::RECOVERY_PAGE;
        let range = BlockRange { from: BlockId::default(), to: end, reverse: true, limit };
        let page = store.read(partition, range).await?;
        for (id, bytes) in &page {
            let block = Block::parse(bytes)?;
            let empty = block.opened_runs().next().is_none() && block.closed_runs().next().is_none();
            // A block without records was written for the sake of the entries beside it alone.
            left = left.saturating_sub(u64::from(!empty));
            first = *id;
            if left == 0 {
                break;
            }
        }
        to = (page.len() == limit).then_some(first).and_then(BlockId::before);
    }
    Ok(first)
}

/// Names that may have been lost, in the order in which they were given: the last holder is the one that is found.
#[derive(Default)]
struct Names {
    /// Of executions that were opened before the blocks that are looked at.
    earlier: Vec<Given>,
    given: Vec<Given>,
    /// When those have closed that have.
    closed: HashMap<ExecutionId, u64>,
}

struct Given {
    id: ExecutionId,
    segment: String,
    name: String,
}

impl Given {
    /// What a STANDARD execution was given.
    fn to(block: &Block, opened: &Opened) -> Option<Self> {
        let name = opened.name.clone()?;
        let machine = block.machines().get(opened.machine as usize)?;
        let parsed = MachineName::parse(&machine.arn).ok().filter(|_| machine.mode == Mode::Standard)?;
        Some(Self { id: opened.id, segment: parsed.execution_segment().to_owned(), name })
    }
}

impl Names {
    /// The entries, each for what is left of its retention; none where nothing is.
    fn entries(&self, retention: Duration, now_ms: u64) -> impl Iterator<Item = Derived> {
        self.earlier.iter().chain(&self.given).filter_map(move |given| {
            let closed_ms = self.closed.get(&given.id).copied().unwrap_or(now_ms);
            let left = retention.checked_sub(Duration::from_millis(now_ms.saturating_sub(closed_ms)))?;
            let wanted = !left.is_zero();
            wanted.then(|| index::name_entry(&given.segment, &given.name, given.id, left))
        })
    }
}

/// Gives again what stood beside the blocks from the first one on: summaries and names of what they opened, and what was
/// renewed for what they closed and earlier ones opened.
pub async fn again(
    store: &dyn Store,
    partition: PartitionId,
    (first, retention, now_ms): (BlockId, Duration, u64),
    index: &mut IndexWriter,
    lost: &mut Vec<Derived>,
) -> Result<(), StoreError> {
    let mut earlier: BTreeMap<BlockId, HashSet<ExecutionId>> = BTreeMap::new();
    let mut names = Names::default();
    let (mut from, to) = (first, BlockId { generation: u64::MAX, sequence: u64::MAX });
    loop {
        let range = BlockRange { from, to, reverse: false, limit: limits::RECOVERY_PAGE };
        let page = store.read(partition, range).await?;
        for (_, bytes) in &page {
            let block = Block::parse(bytes)?;
            let records = block.records()?;
            index.load_hours(store, &hours(&records), now_ms).await?;
            index.summarise_again(&block, now_ms, lost)?;
            for record in records {
                match record {
                    Record::Opened(opened) => {
                        // It was redriven, if it had closed.
                        names.closed.remove(&opened.id);
                        names.given.extend(Given::to(&block, &opened));
                    }
                    Record::Closed(closed) => {
                        names.closed.insert(closed.id, closed.stop_time_ms);
                        let opened_in = closed.blocks.first().filter(|opened_in| **opened_in < first);
                        if let Some(opened_in) = opened_in {
                            earlier.entry(*opened_in).or_default().insert(closed.id);
                        }
                    }
                    Record::Journalled(_) => {}
                }
            }
        }
        match page.last() {
            Some((last, _)) if page.len() >= limits::RECOVERY_PAGE => from = last.after().unwrap_or(to),
            _ => break,
        }
    }
    for (opened_in, ids) in earlier {
        let beside = (&mut *index, &mut *lost);
        let found = closed(store, partition, (opened_in, &ids), (retention, now_ms), beside).await?;
        names.earlier.extend(found);
    }
    lost.extend(names.entries(retention, now_ms));
    Ok(())
}

/// In which hours executions started.
fn hours(records: &[Record]) -> BTreeSet<u64> {
    let starts = records.iter().filter_map(|record| match record {
        Record::Opened(opened) => Some(opened.start_time_ms / HOUR_MS),
        _ => None,
    });
    starts.collect()
}

/// Names, and summaries of stragglers, of what this block opened and later ones closed: both are renewed by a close.
async fn closed(
    store: &dyn Store,
    partition: PartitionId,
    (opened_in, ids): (BlockId, &HashSet<ExecutionId>),
    (retention, now_ms): (Duration, u64),
    (index, lost): (&mut IndexWriter, &mut Vec<Derived>),
) -> Result<Vec<Given>, StoreError> {
    let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let range = BlockRange { from: opened_in, to: opened_in, reverse: false, limit: 1 };
    let found = store.read(partition, range).await?;
    let mut names = Vec::new();
    let Some((_, bytes)) = found.first() else { return Ok(names) };
    let block = Block::parse(bytes)?;
    let records = block.records()?;
    index.load_hours(store, &hours(&records), now_ms).await?;
    for record in records {
        let Record::Opened(opened) = record else { continue };
        if !ids.contains(&opened.id) {
            continue;
        }
        names.extend(Given::to(&block, &opened));
        let machine = block.machines().get(opened.machine as usize);
        let straggles = now_ms.saturating_sub(opened.start_time_ms) > retention_ms;
        if let Some(machine) = machine.filter(|_| straggles) {
            index.straggler(&machine.arn, opened.start_time_ms, opened_in, now_ms, lost);
        }
    }
    Ok(names)
}
