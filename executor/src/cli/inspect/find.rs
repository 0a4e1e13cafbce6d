//! Finds partitions and executions in a store, without taking anything.
//!
//! An execution whose batch is complete is found by its pointer, in a few reads. What is open, or has just ended, is found by
//! reading its partition's log back from the end, id columns first; what was written again since (a later record of the same
//! kind) supersedes what is older. What may fail: the store.

use ids::{ExecutionId, ExecutionName, PartitionId};
use journal::store::BlockRange;
use journal::{Block, BlockId, Closed, Journalled, MachineRef, Opened, Store, StoreError, index};

/// Blocks of one read.
const PAGE: usize = 64;
/// Pages between two lines of progress.
const PROGRESS_PAGES: usize = 64;

/// One partition.
pub(super) struct Partition {
    pub partition: PartitionId,
    pub top: BlockId,
    /// Id and time of the oldest and of the newest block.
    pub oldest: Option<(BlockId, u64)>,
    pub newest: Option<(BlockId, u64)>,
}

/// Every partition that has ever had an owner.
pub(super) async fn partitions(store: &dyn Store, count: u16) -> Result<Vec<Partition>, StoreError> {
    let all: Vec<PartitionId> =
        (0..u32::from(count)).filter_map(|number| PartitionId::new(number).ok()).collect();
    let tops = store.tops(all.clone()).await?;
    let mut found = Vec::new();
    for (partition, top) in all.into_iter().zip(tops) {
        let Some(top) = top? else { continue };
        let oldest = end(store, partition, false).await?;
        let newest = end(store, partition, true).await?;
        found.push(Partition { partition, top, oldest, newest });
    }
    Ok(found)
}

async fn end(
    store: &dyn Store,
    partition: PartitionId,
    reverse: bool,
) -> Result<Option<(BlockId, u64)>, StoreError> {
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let found = store.read(partition, BlockRange { from: BlockId::default(), to, reverse, limit: 1 }).await?;
    found.first().map(|(id, bytes)| Block::parse(bytes).map(|block| (*id, block.time_ms()))).transpose()
}

/// An execution, and where its records are.
pub(super) struct Execution {
    pub machine: MachineRef,
    pub opened: (BlockId, Opened),
    pub journal: Vec<(BlockId, Journalled)>,
    pub closed: Option<(BlockId, Closed)>,
}

/// The execution of this name or id.
pub(super) async fn execution(
    store: &dyn Store,
    name: &ExecutionName,
    partitions: u16,
) -> Result<Option<Execution>, StoreError> {
    let refused = |error: ids::IdError| StoreError::Refused(error.to_string());
    let id = match name {
        ExecutionName::Id(id) => *id,
        ExecutionName::Named { machine, name: given } => {
            let partition = name.partition(partitions).map_err(refused)?;
            match index::lookup_name(store, partition, machine, given).await? {
                Some(id) => id,
                None => return Ok(None),
            }
        }
    };
    let partition = id.batch.partition;
    let mut search = Search::new(id);
    if let Some(located) =
        index::get_pointers(store, partition, &[id.batch]).await?.into_iter().flatten().next()
    {
        let at = located.locate(id.index);
        for block in [at.opened, at.closed].into_iter().flatten() {
            search.read_one(store, partition, block).await?;
        }
    }
    if search.closed.is_none() || search.opened.is_none() {
        search = Search::new(id);
        search.read_back(store, partition).await?;
    }
    let named = search.closed.as_ref().map(|(_, closed)| closed.blocks.clone()).unwrap_or_default();
    for block in named {
        search.read_one(store, partition, block).await?;
    }
    Ok(search.into_execution())
}

/// What was found of an execution so far.
struct Search {
    id: ExecutionId,
    read: Vec<BlockId>,
    machine: Option<MachineRef>,
    opened: Option<(BlockId, Opened)>,
    journal: Vec<(BlockId, Journalled)>,
    closed: Option<(BlockId, Closed)>,
}

impl Search {
    fn new(id: ExecutionId) -> Self {
        Self { id, read: Vec::new(), machine: None, opened: None, journal: Vec::new(), closed: None }
    }

    async fn read_one(
        &mut self,
        store: &dyn Store,
        partition: PartitionId,
        block: BlockId,
    ) -> Result<(), StoreError> {
        let range = BlockRange { from: block, to: block, reverse: false, limit: 1 };
        for (_, bytes) in store.read(partition, range).await? {
            self.take(&Block::parse(&bytes)?)?;
        }
        Ok(())
    }

    /// From the end of the log to the record that opened it.
    async fn read_back(&mut self, store: &dyn Store, partition: PartitionId) -> Result<(), StoreError> {
        let mut to = BlockId { generation: u64::MAX, sequence: u64::MAX };
        let mut pages = 0_usize;
        loop {
            let range = BlockRange { from: BlockId::default(), to, reverse: true, limit: PAGE };
            let page = store.read(partition, range).await?;
            for (_, bytes) in &page {
                self.take(&Block::parse(bytes)?)?;
            }
            let last = page.last().map(|(id, _)| *id).filter(|_| page.len() == PAGE && self.opened.is_none());
            let Some(before) = last.and_then(BlockId::before) else { return Ok(()) };
            to = before;
            pages += 1;
            if pages.is_multiple_of(PROGRESS_PAGES) {
                eprintln!("partition {partition}: {} blocks read, back to {to}", pages * PAGE);
            }
        }
    }

    fn take(&mut self, block: &Block) -> Result<(), StoreError> {
        if self.read.contains(&block.id()) {
            return Ok(());
        }
        let found = block.find(self.id)?;
        if found != journal::block::Found::default() {
            self.read.push(block.id());
        }
        let newer = |known: Option<BlockId>| known.is_none_or(|known| known < block.id());
        if let Some(opened) = found.opened.filter(|_| newer(self.opened.as_ref().map(|(at, _)| *at))) {
            self.machine = block.machines().get(opened.machine as usize).cloned();
            self.opened = Some((block.id(), opened));
        }
        self.journal.extend(found.journalled.into_iter().map(|told| (block.id(), told)));
        if let Some(closed) = found.closed.filter(|_| newer(self.closed.as_ref().map(|(at, _)| *at))) {
            self.closed = Some((block.id(), closed));
        }
        Ok(())
    }

    fn into_execution(mut self) -> Option<Execution> {
        self.journal.sort_by_key(|(block, told)| (told.sequence, *block));
        self.journal.dedup_by_key(|(_, told)| told.sequence);
        let (machine, opened) = (self.machine?, self.opened?);
        let closed = self.closed.filter(|(at, _)| *at >= opened.0);
        Some(Execution { machine, opened, journal: self.journal, closed })
    }
}
