//! One execution, by its id.

use ids::{ExecutionId, PartitionId};

use super::pointer::{Located, locate};
use crate::block::{Block, Closed, Journalled, MachineRef, Opened};
use crate::store::{BlockId, BlockRange, Store, StoreError};

/// Everything that the log knows of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// What it runs.
    pub machine: MachineRef,
    /// Its start.
    pub opened: Opened,
    /// Its outcomes, in order; empty unless they were asked for.
    pub journalled: Vec<Journalled>,
    /// Its end, if it has ended.
    pub closed: Option<Closed>,
}

/// Finds an execution whose batch's pointer has been written: one key and one or two blocks are read. `None`
/// when the store does not know it (any more), or when its batch is not complete: then its owner knows, see
/// [`super::IndexWriter::find`] and [`lookup_with_journal`].
///
/// # Errors
/// What the store says; [`StoreError::Corrupt`] when a block cannot be read.
pub async fn lookup(store: &dyn Store, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
    match locate(store, id).await? {
        Some(located) => lookup_at(store, id, located).await,
        None => Ok(None),
    }
}

/// As [`lookup`], and reads the blocks that the closed record names for its outcomes. `located` is what its
/// owner knows, if it knows something.
///
/// # Errors
/// As [`lookup`].
pub async fn lookup_with_journal(
    store: &dyn Store,
    id: ExecutionId,
    located: Option<Located>,
) -> Result<Option<Execution>, StoreError> {
    let found = match located {
        Some(located) => lookup_at(store, id, located).await?,
        None => lookup(store, id).await?,
    };
    let Some(mut execution) = found else { return Ok(None) };
    let blocks = execution.closed.as_ref().map(|closed| closed.blocks.clone()).unwrap_or_default();
    for block_id in blocks {
        if let Some(block) = read_block(store, id.batch.partition, block_id).await? {
            execution.journalled.extend(block.find(id)?.journalled);
        }
    }
    execution.journalled.sort_by_key(|outcome| outcome.sequence);
    execution.journalled.dedup_by_key(|outcome| outcome.sequence);
    Ok(Some(execution))
}

/// As [`lookup`], with what its owner knows.
///
/// # Errors
/// As [`lookup`].
pub async fn lookup_at(
    store: &dyn Store,
    id: ExecutionId,
    located: Located,
) -> Result<Option<Execution>, StoreError> {
    let partition = id.batch.partition;
    let Some(opened_in) = located.opened else { return Ok(None) };
    let Some(block) = read_block(store, partition, opened_in).await? else { return Ok(None) };
    let mut found = block.find(id)?;
    let Some(opened) = found.opened.take() else { return Ok(None) };
    let machine = block.machines().get(opened.machine as usize).cloned();
    let machine = machine.ok_or_else(|| StoreError::Corrupt(format!("block {opened_in} lacks a machine")))?;
    if let Some(closed_in) = located.closed.filter(|closed_in| *closed_in != opened_in)
        && let Some(block) = read_block(store, partition, closed_in).await?
    {
        let later = block.find(id)?;
        found.journalled.extend(later.journalled);
        found.closed = later.closed;
    }
    Ok(Some(Execution { machine, opened, journalled: found.journalled, closed: found.closed }))
}

/// One block, if the log still holds it.
pub(super) async fn read_block(
    store: &dyn Store,
    partition: PartitionId,
    id: BlockId,
) -> Result<Option<Block>, StoreError> {
    let range = BlockRange { from: id, to: id, reverse: false, limit: 1 };
    let blocks = store.read(partition, range).await?;
    let Some((_, bytes)) = blocks.into_iter().find(|(other, _)| *other == id) else { return Ok(None) };
    let block = Block::parse(&bytes)?;
    if block.id() != id || block.partition() != partition {
        return Err(StoreError::Corrupt(format!("block {id} of partition {partition} says it is another")));
    }
    Ok(Some(block))
}
