//! Index entries that a crash may have lost, given again at recovery.
//!
//! What travels beside the last blocks of a log may not have been written when their owner was killed: summaries and
//! names of what they opened, and what was renewed for what they closed. Pointers are the index writer's own part
//! ([`IndexWriter::settle`]). Invariant: an entry given twice is harmless. Bounded by the records of
//! [`limits::LOST_BLOCKS_MAX`] blocks. What may fail: the store, or a block that cannot be read.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ids::{ExecutionId, MachineName, Mode, PartitionId};
use journal::index::{self, IndexWriter};
use journal::store::BlockRange;
use journal::{Block, BlockId, Derived, Opened, Record, Store, StoreError};

use super::recover::read_all;
use crate::limits;

/// The first of the log's last [`limits::LOST_BLOCKS_MAX`] blocks with records, of whatever generation: an owner that was
/// killed before it had written the entries of its predecessor again has lost those, too, however many owners were.
pub async fn begin(store: &dyn Store, partition: PartitionId, last: BlockId) -> Result<BlockId, StoreError> {
    let (mut first, mut left) = (last, limits::LOST_BLOCKS_MAX);
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
        to = (page.len() == limit).then_some(first).and_then(before);
    }
    Ok(first)
}

/// The greatest id below this one.
fn before(id: BlockId) -> Option<BlockId> {
    match id.sequence.checked_sub(1) {
        Some(sequence) => Some(BlockId { sequence, ..id }),
        None => Some(BlockId { generation: id.generation.checked_sub(1)?, sequence: u64::MAX }),
    }
}

/// The entry by which a STANDARD execution is found under its name.
fn name_again(block: &Block, opened: &Opened, retention: Duration) -> Option<Derived> {
    let name = opened.name.as_deref()?;
    let machine = block.machines().get(opened.machine as usize)?;
    let parsed = MachineName::parse(&machine.arn).ok().filter(|_| machine.mode == Mode::Standard)?;
    Some(index::name_entry(parsed.execution_segment(), name, opened.id, retention))
}

/// Summary and names of what a block opened.
pub fn opened(
    block: &Block,
    retention: Duration,
    now_ms: u64,
    index: &mut IndexWriter,
    lost: &mut Vec<Derived>,
) -> Result<(), StoreError> {
    index.summarise_again(block, now_ms, lost)?;
    for record in block.records()? {
        if let Record::Opened(opened) = record {
            lost.extend(name_again(block, &opened, retention));
        }
    }
    Ok(())
}

/// Names, and summaries of stragglers, of what the blocks from the first one on closed and earlier ones opened: both are
/// renewed by a close.
pub async fn closed(
    store: &dyn Store,
    partition: PartitionId,
    (first, retention, now_ms): (BlockId, Duration, u64),
    index: &mut IndexWriter,
    lost: &mut Vec<Derived>,
) -> Result<(), StoreError> {
    let mut earlier: BTreeMap<BlockId, HashSet<ExecutionId>> = BTreeMap::new();
    read_all(store, partition, first, |block| {
        for record in block.records()? {
            let Record::Closed(closed) = record else { continue };
            if let Some(opened_in) = closed.blocks.first().filter(|opened_in| **opened_in < first) {
                earlier.entry(*opened_in).or_default().insert(closed.id);
            }
        }
        Ok(())
    })
    .await?;
    let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    for (opened_in, ids) in earlier {
        let range = BlockRange { from: opened_in, to: opened_in, reverse: false, limit: 1 };
        let found = store.read(partition, range).await?;
        let Some((_, bytes)) = found.first() else { continue };
        let block = Block::parse(bytes)?;
        for record in block.records()? {
            let Record::Opened(opened) = record else { continue };
            if !ids.contains(&opened.id) {
                continue;
            }
            lost.extend(name_again(&block, &opened, retention));
            let machine = block.machines().get(opened.machine as usize);
            if let Some(machine) =
                machine.filter(|_| now_ms.saturating_sub(opened.start_time_ms) > retention_ms)
            {
                index.straggler(&machine.arn, opened.start_time_ms, opened_in, now_ms, lost);
            }
        }
    }
    Ok(())
}
