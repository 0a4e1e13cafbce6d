//! Reads everything that a store holds after a run.
//!
//! Only id columns are looked at: millions of executions take seconds. The suite raises the retention so far that
//! nothing is trimmed while a run lasts.

use ids::{BatchId, PARTITIONS_MAX, PartitionId};
use journal::block::{Block, IdRun};
use journal::store::{BlockId, BlockRange, Connect, Store};

use crate::error::Error;
use crate::ledger::Stored;

/// Blocks that are read at a time.
const PAGE: usize = 64;

/// All partitions of a store.
///
/// # Errors
/// A store that cannot be reached, or holds something else than blocks.
pub(crate) async fn read(store: &dyn Connect) -> Result<Stored, Error> {
    let store = store.connect().await?;
    let mut stored = Stored::default();
    for number in 0..PARTITIONS_MAX {
        let Ok(partition) = PartitionId::new(u32::from(number)) else { break };
        read_partition(store.as_ref(), partition, &mut stored).await?;
    }
    Ok(stored)
}

async fn read_partition(store: &dyn Store, partition: PartitionId, stored: &mut Stored) -> Result<(), Error> {
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let mut from = BlockId::default();
    loop {
        let range = BlockRange { from, to, reverse: false, limit: PAGE };
        let blocks = store.read(partition, range).await?;
        let Some((last, _)) = blocks.last() else { return Ok(()) };
        from = BlockId { generation: last.generation, sequence: last.sequence + 1 };
        for (_, bytes) in &blocks {
            let block = Block::parse(bytes)?;
            each(block.opened_runs(), |batch, from, to| stored.opened(batch, from, to));
            each(block.closed_runs(), |batch, from, to| stored.closed(batch, from, to));
        }
    }
}

fn each(runs: impl Iterator<Item = IdRun>, mut note: impl FnMut(BatchId, u32, u32)) {
    for run in runs {
        let first = u32::from(run.first);
        note(run.batch, first, first + u32::from(run.count));
    }
}
