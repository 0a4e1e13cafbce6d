//! Taking a partition, and reading of its log what its new owner has to know.
//!
//! Recovery begins at the newest checkpoint that fits: it reads the id columns of the blocks after it, and then exactly
//! the blocks with records of what is open. Without a checkpoint it reads the id columns of the whole log. Invariants: a
//! checkpoint that proves wrong is put aside, and the log decides; pages are few, so that memory is bounded by what is
//! open; what is done for each execution that is open is done in turns, beside the shard's other work. What may fail: the store, or a block that cannot be read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use asl::{Dialect, Program};
use bytes::Bytes;
use ids::{BatchId, DefinitionHash, ExecutionId, PartitionId};
use journal::checkpoint::{self, Checkpoint};
use journal::index::{HOUR_MS, IndexWriter, get_pointers};
use journal::store::BlockRange;
use journal::{Acquired, Block, BlockId, Derived, Store, StoreError};

use super::checkpoint::Checkpoints;
use super::dedupe::{Content, Dedupe, Seen};
use super::fetch::{RecoveredExecution, fetch, missing};
use super::log::Away;
use super::lookup::started_before_ms;
use super::machine::dialect_of;
use super::progress::Progress;
use super::retain::Retained;
use super::rewrite;
use super::scan::{Blocks, Map, Scan, reopened_in};
use super::suspects::{self, Suspect};
use crate::definitions::{Definitions, LoadError};
use crate::limits;

/// The end of every log.
const END: BlockId = BlockId { generation: u64::MAX, sequence: u64::MAX };

/// What a log told its new owner.
pub(super) struct Recovered {
    pub generation: u64,
    /// The last block of earlier owners.
    pub last: Option<BlockId>,
    pub retained: Retained,
    pub index: IndexWriter,
    /// Index entries that the crash may have lost.
    pub lost: Vec<Derived>,
    /// Batches within the horizon.
    pub dedupe: Dedupe,
    /// What can be told again of what is open.
    pub open: Vec<RecoveredExecution>,
    /// All that is open.
    pub away: Map<ExecutionId, Away>,
    pub programs: Map<(DefinitionHash, Dialect), Arc<Program>>,
    /// Blocks of the log after the checkpoint, or of all of it.
    pub read: usize,
    pub checkpoints: Checkpoints,
    /// What stands against executions.
    pub suspects: HashMap<ExecutionId, Suspect>,
}

/// Calls `visit` with every block from `from` on.
async fn read_all(
    store: &dyn Store,
    partition: PartitionId,
    mut from: BlockId,
    mut visit: impl FnMut(&Block) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    loop {
        let range = BlockRange { from, to: END, reverse: false, limit: limits::RECOVERY_PAGE };
        let page = store.read(partition, range).await?;
        for (_, bytes) in &page {
            visit(&Block::parse(bytes)?)?;
        }
        match page.last() {
            Some((last, _)) if page.len() >= limits::RECOVERY_PAGE => from = last.after().unwrap_or(END),
            _ => return Ok(()),
        }
    }
}

/// What is needed to read a log.
pub(super) struct Reading<'a> {
    pub store: &'a dyn Store,
    pub definitions: &'a Definitions,
    pub partition: PartitionId,
    pub retention: Duration,
    /// Whether what is closed has to be archived before it is trimmed.
    pub archives: bool,
    /// How many batches are remembered at most.
    pub batches_max: usize,
    /// Blocks at the end of the log whose index entries may have been lost.
    pub lost_blocks: u64,
    pub now_ms: u64,
}

/// After so many entries of what may be very many, others have their turn.
const ENTRIES_PER_TURN: usize = 4_096;

/// Lets others have their turn behind every so many entries.
async fn take_turns(entry: usize) {
    if entry % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1 {
        tokio::task::yield_now().await;
    }
}

/// What is open and not brought back yet, or cannot be.
async fn away_of(open: &[RecoveredExecution], broken: Vec<(ExecutionId, Blocks)>) -> Map<ExecutionId, Away> {
    let mut away = Map::default();
    away.extend(broken.into_iter().map(|(id, blocks)| (id, Away { blocks, start_time_ms: 0 })));
    for (entry, execution) in open.iter().enumerate() {
        let (opened, blocks) = (&execution.opened, execution.blocks.clone());
        away.insert(opened.id, Away { blocks, start_time_ms: opened.start_time_ms });
        take_turns(entry).await;
    }
    away
}

impl Reading<'_> {
    /// Takes the partition and reads its log.
    pub async fn recover(&self) -> Result<Recovered, StoreError> {
        let acquired = self.store.acquire(self.partition).await?;
        let last = acquired.last.unwrap_or_default();
        let rewrite_from = rewrite::begin(self.store, self.partition, (last, self.lost_blocks)).await?;
        // What a crash may have lost of the last blocks is given again, so that they are read in any case.
        let found = checkpoint::find(self.store, self.partition, rewrite_from).await?;
        let newest = found.newest.unwrap_or_default();
        if let Some(below) = found.below {
            let block = below.block;
            match self.read(acquired, (rewrite_from, newest), Some(below)).await {
                Err(StoreError::Corrupt(what)) => tracing::error!(
                    partition = %self.partition, %block, what,
                    "a checkpoint does not fit its log: the whole log is read; please report this"
                ),
                result => return result,
            }
        }
        self.read(acquired, (rewrite_from, newest), None).await
    }

    async fn read(
        &self,
        acquired: Acquired,
        (rewrite_from, (place, newest)): (BlockId, (u8, BlockId)),
        mut from: Option<Checkpoint>,
    ) -> Result<Recovered, StoreError> {
        let (store, partition, retention, now_ms) = (self.store, self.partition, self.retention, self.now_ms);
        let horizon_ms = u64::try_from(limits::BATCH_HORIZON.as_millis()).unwrap_or(u64::MAX);
        let mut index = IndexWriter::new(partition, retention);
        self.load_hours(&mut index, acquired, from.as_ref()).await?;
        let (mut scan, mut retained) = (Scan::default(), Retained::new(retention).gated(self.archives));
        let mut after = BlockId::default();
        if let Some(checkpoint) = &mut from {
            scan = Scan::restore(checkpoint);
            retained = Retained::restore(retention, &checkpoint.buckets).gated(self.archives);
            index.restore(std::mem::take(&mut checkpoint.tracked));
            after = checkpoint.block.after().unwrap_or(END);
        }
        let (mut since, mut reopened) = ((0, 0), Vec::new());
        let mut progress = Progress::new(partition, acquired.last);
        read_all(store, partition, after, |block| {
            if block.id() > newest {
                let counts = block.opened_runs().next().is_some() || block.closed_runs().next().is_some();
                since = (since.0 + usize::from(counts), since.1 + block.byte_len());
            }
            retained.wrote(block.id(), block.time_ms());
            scan.block(block, now_ms.saturating_sub(horizon_ms), &mut retained);
            reopened.extend(reopened_in(block).filter(|batch| from.is_some() && !index.tracks(*batch)));
            index.recovered(block);
            progress.read(block.id());
            Ok(())
        })
        .await?;
        self.load_begun_before(&mut index, &reopened).await?;
        let mut lost = index.settle(rewrite_from);
        let (mut batches, read) = (std::mem::take(&mut scan.batches), scan.read);
        // A batch is written in one block; what was redriven since has been opened again in another.
        let mut known = HashSet::new();
        batches.retain(|(batch, ..)| known.insert(*batch));
        let dedupe = self.dedupe(batches, from.as_ref().map_or(0, |checkpoint| checkpoint.floor_ms)).await;
        let (open, broken) = self.open(scan, from.is_some()).await?;
        let hours: BTreeSet<u64> =
            open.iter().map(|execution| execution.opened.start_time_ms / HOUR_MS).collect();
        index.load_hours(store, &hours, now_ms).await?;
        rewrite::again(store, partition, (rewrite_from, retention, now_ms), &mut index, &mut lost).await?;
        let away = away_of(&open, broken).await;
        for (entry, away) in away.values().enumerate() {
            away.blocks.iter().min().into_iter().for_each(|oldest| retained.hold(*oldest, 1));
            take_turns(entry).await;
        }
        let programs = self.programs(&open).await?;
        let suspects = suspects::of(store, partition).await?;
        let Acquired { generation, last } = acquired;
        let checkpoints = Checkpoints::recovered(place, since, from.map(|checkpoint| checkpoint.block));
        Ok(Recovered {
            generation,
            last,
            retained,
            index,
            lost,
            dedupe,
            open,
            away,
            programs,
            read,
            checkpoints,
            suspects,
        })
    }

    /// Remembers batches, each with its block and the time from which it is forgotten after the horizon; what started before
    /// `floor_ms` may have been forgotten.
    async fn dedupe(&self, batches: Vec<(BatchId, BlockId, u64)>, floor_ms: u64) -> Dedupe {
        let mut dedupe = Dedupe::default();
        dedupe.begin(self.now_ms, floor_ms);
        for (entry, (batch, block, time_ms)) in batches.into_iter().enumerate() {
            let seen = Seen { content: Content::Logged, block, in_flight: false, exceptions: Box::default() };
            dedupe.remember(batch, time_ms, seen, self.now_ms, self.batches_max);
            take_turns(entry).await;
        }
        dedupe
    }

    /// What is open, and what of it cannot be told again. A checkpoint by which records are missing is wrong.
    async fn open(
        &self,
        scan: Scan,
        strict: bool,
    ) -> Result<(Vec<RecoveredExecution>, Vec<(ExecutionId, Blocks)>), StoreError> {
        let wanted = scan.into_open();
        let found = fetch(self.store, self.partition, &wanted).await?;
        let lacks = strict && found.iter().flatten().any(|execution| execution.absent.is_some());
        // What lies before has been trimmed: it was carried after the checkpoint.
        let first = if lacks { self.first().await?.map_or(END, |(id, _)| id) } else { END };
        let (mut open, mut broken) = (Vec::with_capacity(found.len()), Vec::new());
        for ((id, blocks), found) in wanted.into_iter().zip(found) {
            match found {
                // A checkpoint that does not know of all of it is put aside before that is believed.
                Ok(execution) if strict && (!execution.whole || execution.absent >= Some(first)) => {
                    return Err(missing("a part of the journal", id));
                }
                Ok(execution) => open.push(execution),
                Err(error) if strict => return Err(error),
                Err(error) => {
                    tracing::error!(execution = %id, %error, "an open execution stays in the log: it cannot be read");
                    broken.push((id, blocks));
                }
            }
        }
        // In the order in which it was opened.
        open.sort_by_key(|execution| (execution.blocks[0], execution.opened.id));
        Ok((open, broken))
    }

    /// The first block of the log.
    async fn first(&self) -> Result<Option<(BlockId, Bytes)>, StoreError> {
        let range = BlockRange { from: BlockId::default(), to: END, reverse: false, limit: 1 };
        Ok(self.store.read(self.partition, range).await?.into_iter().next())
    }

    /// Reads which hours have a listing: those of the checkpoint and after it; without one, all that there may be.
    async fn load_hours(
        &self,
        index: &mut IndexWriter,
        acquired: Acquired,
        from: Option<&Checkpoint>,
    ) -> Result<(), StoreError> {
        let now_ms = self.now_ms;
        if let Some(checkpoint) = from {
            let since_ms = checkpoint.buckets.last().map_or(0, |bucket| bucket.begin_ms);
            index.load(self.store, since_ms.saturating_sub(started_before_ms()), now_ms).await?;
            return index.load_hours(self.store, &checkpoint.hours.iter().copied().collect(), now_ms).await;
        }
        let first = if acquired.last.is_some() { self.first().await? } else { None };
        let oldest_ms = match &first {
            None => now_ms,
            // Nothing was trimmed, and so nothing carried.
            Some((id, bytes)) if *id == (BlockId { generation: 1, sequence: 1 }) => {
                Block::parse(bytes)?.time_ms().saturating_sub(started_before_ms())
            }
            Some(_) => 0,
        };
        index.load(self.store, oldest_ms, now_ms).await
    }

    /// Reads where the others of a batch are of which something was redriven after the checkpoint.
    async fn load_begun_before(
        &self,
        index: &mut IndexWriter,
        reopened: &[BatchId],
    ) -> Result<(), StoreError> {
        let pointers = get_pointers(self.store, self.partition, reopened).await?;
        for (batch, pointer) in reopened.iter().zip(pointers) {
            pointer.into_iter().for_each(|pointer| index.began_before(*batch, &pointer));
        }
        Ok(())
    }

    /// The programs of what is open.
    async fn programs(
        &self,
        open: &[RecoveredExecution],
    ) -> Result<Map<(DefinitionHash, Dialect), Arc<Program>>, StoreError> {
        let mut wanted: Vec<(DefinitionHash, Dialect)> = Vec::new();
        let mut seen = HashSet::new();
        for (entry, machine) in open.iter().map(|execution| &execution.machine).enumerate() {
            take_turns(entry).await;
            if seen.insert((machine.definition, machine.dialect)) {
                wanted.push((machine.definition, dialect_of(machine.dialect)));
            }
        }
        let mut programs = Map::default();
        for key in wanted {
            match self.definitions.load_all(self.store, &[key]).await {
                Ok(loaded) => programs.extend(loaded.into_iter().map(|program| (key, program))),
                Err(LoadError::Store(error)) => return Err(error),
                Err(error @ (LoadError::Missing(_) | LoadError::Invalid(_))) => {
                    tracing::error!(
                        partition = %self.partition, %error,
                        "open executions stay in the log until their definition is back"
                    );
                }
            }
        }
        Ok(programs)
    }
}
