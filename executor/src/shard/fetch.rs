//! Reads the records of executions: exactly the blocks that hold them, each once.
//!
//! Invariants: blocks that follow one another are read in pages, others one by one, some at a time; where a record is
//! in the log twice, the later copy counts, and only blocks that were read and count are named. What may fail: the
//! store; a block that cannot be read, which fails those alone whose records are in it; a start that is not where it
//! should be. A part of the journal that is nowhere is told ([`RecoveredExecution::whole`]): the store has lost it. So
//! is a block that was named and is not in the log ([`RecoveredExecution::absent`]): a journal without its end looks
//! whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use ids::{ExecutionId, PartitionId};
use journal::block::SubBlockKind;
use journal::store::BlockRange;
use journal::{Block, BlockId, Journalled, MachineRef, Opened, Record, Store, StoreError};

use super::scan::{Blocks, Map};
use crate::error::Error;
use crate::limits;

/// An open execution as the log has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecoveredExecution {
    pub machine: MachineRef,
    pub opened: Opened,
    pub journal: Vec<Journalled>,
    /// The first holds the opened record, all of them hold the journal.
    pub blocks: Blocks,
    /// Whether nothing is missing of the journal: what is not whole must not be replayed, for it would do again what was done.
    pub whole: bool,
    /// The last of the blocks that were named and are not in the log: it was trimmed of them, or has lost them.
    pub absent: Option<BlockId>,
}

/// Whether nothing is missing of a journal in its order.
pub(super) fn is_whole(journal: &[Journalled]) -> bool {
    journal.iter().map(|told| told.sequence).eq(0..journal.len() as u32)
}

/// What was read of an execution so far.
#[derive(Default)]
struct Gathered {
    opened: Option<(BlockId, MachineRef, Opened)>,
    journal: BTreeMap<u32, (BlockId, Journalled)>,
}

impl Gathered {
    fn finish(self, id: ExecutionId, absent: Option<BlockId>) -> Result<RecoveredExecution, StoreError> {
        let (opened_in, machine, opened) = self.opened.ok_or_else(|| missing("the start", id))?;
        let mut blocks = Blocks::from_iter([opened_in]);
        let mut journal = Vec::with_capacity(self.journal.len());
        for (block, told) in self.journal.into_values() {
            if blocks.last() != Some(&block) {
                blocks.push(block);
            }
            journal.push(told);
        }
        let whole = is_whole(&journal);
        Ok(RecoveredExecution { machine, opened, journal, blocks, whole, absent })
    }
}

pub(super) fn missing(what: &str, id: ExecutionId) -> StoreError {
    StoreError::Corrupt(format!("{what} of {id} is in no block that should hold it"))
}

/// Neighbours among sorted blocks as ranges, each of a page at most.
fn ranges(blocks: &[BlockId]) -> Vec<BlockRange> {
    let mut ranges: Vec<BlockRange> = Vec::new();
    for block in blocks {
        match ranges.last_mut() {
            Some(range)
                if range.to.generation == block.generation
                    && range.to.sequence + 1 == block.sequence
                    && range.limit < limits::RECOVERY_PAGE =>
            {
                range.to = *block;
                range.limit += 1;
            }
            _ => ranges.push(BlockRange { from: *block, to: *block, reverse: false, limit: 1 }),
        }
    }
    ranges
}

/// Takes in what a block holds of what is wanted.
fn gather(block: &Block, gathered: &mut Map<ExecutionId, Gathered>) -> Result<(), StoreError> {
    for sub_block in block.sub_blocks() {
        if !matches!(sub_block.kind(), SubBlockKind::Opened | SubBlockKind::Journalled) {
            continue;
        }
        for record in block.records_of(sub_block, |id| gathered.contains_key(&id))? {
            match record {
                Record::Opened(opened) => {
                    let Some(found) = gathered.get_mut(&opened.id) else { continue };
                    let machine = block.machines().get(opened.machine as usize).cloned();
                    let machine =
                        machine.ok_or_else(|| StoreError::Corrupt(format!("no machine of {}", opened.id)))?;
                    // Of its own, so that the rest of its block may go.
                    let input = Bytes::copy_from_slice(&opened.input);
                    found.opened = Some((block.id(), machine, Opened { input, ..opened }));
                }
                Record::Journalled(told) => {
                    let Some(found) = gathered.get_mut(&told.id) else { continue };
                    let payload = Bytes::copy_from_slice(&told.payload);
                    found.journal.insert(told.sequence, (block.id(), Journalled { payload, ..told }));
                }
                Record::Closed(_) => {}
            }
        }
    }
    Ok(())
}

/// Tells `take` what each of these blocks holds of what an execution was told, in their order; nothing of a block that is gone.
/// So many are read at once as [`limits::JOURNAL_BLOCKS_AT_ONCE`] says.
pub(super) async fn journal_in(
    store: &dyn Store,
    id: ExecutionId,
    blocks: &[BlockId],
    mut take: impl FnMut(Option<Vec<Journalled>>) -> Result<(), Error>,
) -> Result<(), Error> {
    for some in blocks.chunks(limits::JOURNAL_BLOCKS_AT_ONCE) {
        let ranges = ranges(some);
        let pages = ranges.iter().map(|range| store.read(id.batch.partition, *range));
        let pages = futures_util::future::try_join_all(pages).await?;
        let mut there = pages.into_iter().flatten().peekable();
        for block in some {
            let Some((_, bytes)) = there.next_if(|(id, _)| id == block) else {
                take(None)?;
                continue;
            };
            let told = Block::parse(&bytes)?.find(id)?.journalled.into_iter();
            // Of its own, so that the rest of its block may go.
            take(Some(
                told.map(|told| Journalled { payload: Bytes::copy_from_slice(&told.payload), ..told })
                    .collect(),
            ))?;
        }
    }
    Ok(())
}

/// The records of these executions, in their order; an error for each whose records are not all there.
pub(super) async fn fetch(
    store: &dyn Store,
    partition: PartitionId,
    wanted: &[(ExecutionId, Blocks)],
) -> Result<Vec<Result<RecoveredExecution, StoreError>>, StoreError> {
    let mut blocks: Vec<BlockId> = wanted.iter().flat_map(|(_, blocks)| blocks.iter().copied()).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let mut gathered: Map<ExecutionId, Gathered> =
        wanted.iter().map(|(id, _)| (*id, Gathered::default())).collect();
    let (mut there, mut unreadable) = (Vec::with_capacity(blocks.len()), Vec::new());
    for some in ranges(&blocks).chunks(limits::RECOVERY_READS_AT_ONCE) {
        let pages = some.iter().map(|range| store.read(partition, *range));
        for (id, bytes) in futures_util::future::try_join_all(pages).await?.iter().flatten() {
            there.push(*id);
            let read = Block::parse(bytes).and_then(|block| gather(&block, &mut gathered));
            unreadable.extend(read.err().map(|error| (*id, error)));
        }
    }
    let finish = |(id, blocks): &(ExecutionId, Blocks)| {
        let found = gathered.remove(id).unwrap_or_default();
        match unreadable.iter().find(|(block, _)| blocks.contains(block)) {
            Some((_, error)) => Err(error.clone()),
            None => {
                let absent = blocks.iter().filter(|block| there.binary_search(block).is_err()).max();
                found.finish(*id, absent.copied())
            }
        }
    };
    Ok(wanted.iter().map(finish).collect())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use ids::BatchId;
    use journal::block::{BlockBuilder, JournalledKind};
    use journal::memory::MemoryStore;
    use journal::store::{Append, Connect};

    use super::*;

    fn block(generation: u64, sequence: u64) -> BlockId {
        BlockId { generation, sequence }
    }

    #[test]
    fn neighbours_are_read_together_and_no_more_than_a_page() {
        let far = [block(1, 1), block(1, 2), block(1, 4), block(2, 5)];
        let found = ranges(&far).into_iter().map(|range| (range.from, range.to, range.limit));
        let expected = [(far[0], far[1], 2), (far[2], far[2], 1), (far[3], far[3], 1)];
        assert!(found.eq(expected));
        let many: Vec<_> = (0..40).map(|sequence| block(1, sequence)).collect();
        assert!(ranges(&many).iter().all(|range| range.limit <= limits::RECOVERY_PAGE));
        assert_eq!(ranges(&many).iter().map(|range| range.limit).sum::<usize>(), 40);
    }

    /// A store whose log has these blocks, each of which tells the execution one thing more.
    async fn told(blocks: &[BlockId]) -> (MemoryStore, Arc<dyn Store>, ExecutionId) {
        let memory = MemoryStore::new();
        let store = memory.connect().await.expect("memory");
        let partition = PartitionId::new(0).expect("in range");
        let id = BatchId::new(partition, 1, 1).expect("in range").execution(0);
        for (sequence, at) in (0..).zip(blocks) {
            let mut builder = BlockBuilder::new(partition);
            let (kind, payload) = (JournalledKind::TimerFired, Bytes::new());
            builder.journalled(&Journalled { id, time_ms: 1, sequence, effect: 1, kind, payload });
            let block = builder.finish(*at, 1);
            let append = Append { partition, id: *at, block, derived: Vec::new(), trim_below: None };
            store.append(append).await.expect("appended");
        }
        (memory, store, id)
    }

    /// What was read is told in order: which outcome each block has, `None` where it is gone.
    async fn read(store: &dyn Store, id: ExecutionId, blocks: &[BlockId]) -> Vec<Option<u32>> {
        let mut seen = Vec::new();
        let take = |told: Option<Vec<Journalled>>| {
            seen.push(told.map(|told| told[0].sequence));
            Ok(())
        };
        journal_in(store, id, blocks, take).await.expect("read");
        seen
    }

    #[tokio::test]
    async fn of_a_journal_sixteen_blocks_are_read_at_once_wherever_they_are() {
        let far: Vec<BlockId> = (1..=40).map(|number| block(1, 2 * number)).collect();
        let (memory, store, id) = told(&far).await;
        let before = memory.reads();
        memory.hold_reads(true);
        let mut reading = pin!(read(&*store, id, &far));
        let waits = reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(waits && memory.reads() - before == 16, "sixteen are asked for before one is answered");
        memory.hold_reads(false);
        assert!(reading.await.into_iter().eq((0..40).map(Some)));
        assert_eq!(memory.reads() - before, 40);
    }

    #[tokio::test]
    async fn neighbours_are_one_read_of_a_journal_and_a_block_that_is_gone_is_told_in_its_place() {
        let near: Vec<BlockId> = (1..=40).map(|number| block(1, number)).collect();
        let (memory, store, id) = told(&[&near[..9], &near[10..]].concat()).await;
        let before = memory.reads();
        let seen = read(&*store, id, &near).await;
        assert_eq!(memory.reads() - before, 3);
        let expected = (0..40).map(|at: u32| (at != 9).then_some(at - u32::from(at > 9)));
        assert!(seen.into_iter().eq(expected));
    }
}
