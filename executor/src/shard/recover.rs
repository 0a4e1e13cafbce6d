//! Taking a partition and bringing back what was open in it.
//!
//! The log is read forward twice: once by its id columns alone, to learn what was opened and not closed and which batches
//! are remembered; then, from the oldest open execution on, for the records of what is open. An EXPRESS execution starts
//! again from its input. A STANDARD one is replayed (`replay`): it is told what it was told, and only what it then still
//! waits for is done again. Invariants: nothing is acknowledged anew; the partition takes starts only when everything
//! open is back; few logs are read at a time, in pages, so that memory is bounded by what is open. What may fail: the
//! store (tried again, with pauses) or a block that cannot be read (the partition is given up, loudly).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use asl::{Dialect, Effect, EffectId, Event, Payload, Program};
use ids::{BatchId, DefinitionHash, ExecutionId, PartitionId};
use journal::block::{IdRun, JournalledKind, MachineRef, ReadDigest, SubBlockKind, decode_failure};
use journal::index::IndexWriter;
use journal::store::BlockRange;
use journal::{Block, BlockId, Derived, Journalled, Opened, Record, Store, StoreError};
use smallvec::SmallVec;

use super::core::{Landed, Shard};
use super::dedupe::{Content, Seen};
use super::log::LogState;
use super::lookup::started_before_ms;
use super::machine::dialect_of;
use super::retain::Retained;
use super::rewrite;
use super::suspects::{self, Suspect};
use super::transfers::{Desk, Unread};
use crate::definitions::{Definitions, LoadError};
use crate::limits;

/// Pauses after failed attempts grow from this by factors of two ...
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// ... to this, so that a store that never works does not fill the log, and one that comes back is soon used.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What was open.
#[derive(Debug)]
pub struct RecoveredExecution {
    pub machine: MachineRef,
    pub opened: Opened,
    pub journal: Vec<Journalled>,
    pub blocks: SmallVec<[BlockId; 1]>,
}

/// What a log told its new owner.
pub struct Recovered {
    pub generation: u64,
    pub retained: Retained,
    pub index: IndexWriter,
    /// Index entries that the crash may have lost.
    pub lost: Vec<Derived>,
    /// Batches within the horizon, with their block and its time.
    pub batches: Vec<(BatchId, BlockId, u64)>,
    pub open: Vec<RecoveredExecution>,
    pub programs: Map<(DefinitionHash, Dialect), Arc<Program>>,
    /// What stands against executions.
    pub suspects: HashMap<ExecutionId, Suspect>,
}

/// What the id columns say.
#[derive(Default)]
struct Scan {
    open: Map<BatchId, (BlockId, [u64; 4])>,
    batches: Vec<(BatchId, BlockId, u64)>,
}

fn mask(run: &IdRun) -> [u64; 4] {
    let mut bits = [0; 4];
    for id in run.ids() {
        bits[usize::from(id.index) / 64] |= 1 << (id.index % 64);
    }
    bits
}

impl Scan {
    fn block(&mut self, block: &Block, remembered_from_ms: u64, retained: &mut Retained) {
        let at = block.id();
        for run in block.opened_runs() {
            let (_, bits) = self.open.entry(run.batch).or_insert((at, [0; 4]));
            bits.iter_mut().zip(mask(&run)).for_each(|(bits, mask)| *bits |= mask);
            let last = self.batches.last().map(|(batch, _, _)| *batch);
            if block.time_ms() >= remembered_from_ms && last != Some(run.batch) {
                self.batches.push((run.batch, at, block.time_ms()));
            }
        }
        for run in block.closed_runs() {
            if let Some((opened_in, bits)) = self.open.get_mut(&run.batch) {
                retained.closed(*opened_in, block.time_ms());
                bits.iter_mut().zip(mask(&run)).for_each(|(bits, mask)| *bits &= !mask);
                if *bits == [0; 4] {
                    self.open.remove(&run.batch);
                }
            }
        }
    }

    fn is_open(&self, id: ExecutionId) -> bool {
        let bits = self.open.get(&id.batch).map(|(_, bits)| bits[usize::from(id.index) / 64]);
        bits.is_some_and(|bits| bits >> (id.index % 64) & 1 == 1)
    }
}

/// Calls `visit` with every block from `from` on.
pub(super) async fn read_all(
    store: &dyn Store,
    partition: PartitionId,
    mut from: BlockId,
    mut visit: impl FnMut(&Block) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    loop {
        let range = BlockRange { from, to, reverse: false, limit: limits::RECOVERY_PAGE };
        let page = store.read(partition, range).await?;
        for (_, bytes) in &page {
            visit(&Block::parse(bytes)?)?;
        }
        match page.last() {
            Some((last, _)) if page.len() >= limits::RECOVERY_PAGE => {
                from = BlockId { generation: last.generation, sequence: last.sequence + 1 };
            }
            _ => return Ok(()),
        }
    }
}

/// The records of everything open, in the order in which it was opened.
async fn collect(
    store: &dyn Store,
    partition: PartitionId,
    scan: &Scan,
) -> Result<Vec<RecoveredExecution>, StoreError> {
    let Some(from) = scan.open.values().map(|(block, _)| *block).min() else { return Ok(Vec::new()) };
    let mut open: Vec<RecoveredExecution> = Vec::new();
    let mut places: Map<ExecutionId, usize> = Map::default();
    read_all(store, partition, from, |block| {
        for sub_block in block.sub_blocks() {
            if !matches!(sub_block.kind(), SubBlockKind::Opened | SubBlockKind::Journalled) {
                continue;
            }
            for record in block.records_of(sub_block, |id| scan.is_open(id))? {
                match record {
                    Record::Opened(opened) => {
                        let machine = block.machines().get(opened.machine as usize).cloned();
                        let machine = machine
                            .ok_or_else(|| StoreError::Corrupt(format!("no machine of {}", opened.id)))?;
                        let place = *places.entry(opened.id).or_insert(open.len());
                        let input = bytes::Bytes::copy_from_slice(&opened.input);
                        let opened = Opened { input, ..opened };
                        let blocks = SmallVec::from_iter([block.id()]);
                        let found = RecoveredExecution { machine, opened, journal: Vec::new(), blocks };
                        match open.get_mut(place) {
                            // It was opened again, and what was written before counts no more.
                            Some(before) => *before = found,
                            None => open.push(found),
                        }
                    }
                    Record::Journalled(told) => {
                        let Some(found) = places.get(&told.id).and_then(|at| open.get_mut(*at)) else {
                            continue;
                        };
                        if found.blocks.last() != Some(&block.id()) {
                            found.blocks.push(block.id());
                        }
                        // Of its own, so that the rest of its block may go.
                        let payload = bytes::Bytes::copy_from_slice(&told.payload);
                        found.journal.push(Journalled { payload, ..told });
                    }
                    Record::Closed(_) => {}
                }
            }
        }
        Ok(())
    })
    .await?;
    for execution in &mut open {
        // What was redriven has its redrives first.
        execution.journal.sort_by_key(|told| told.sequence);
    }
    Ok(open)
}

/// When the log's first block was written.
async fn first_block_ms(store: &dyn Store, partition: PartitionId) -> Result<Option<u64>, StoreError> {
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let range = BlockRange { from: BlockId::default(), to, reverse: false, limit: 1 };
    let page = store.read(partition, range).await?;
    page.first().map(|(_, bytes)| Block::parse(bytes).map(|block| block.time_ms())).transpose()
}

/// Takes a partition and reads its log.
async fn recover(
    store: &dyn Store,
    definitions: &Definitions,
    partition: PartitionId,
    retention: Duration,
    now_ms: u64,
) -> Result<Recovered, StoreError> {
    let acquired = store.acquire(partition).await?;
    let horizon_ms = u64::try_from(limits::BATCH_HORIZON.as_millis()).unwrap_or(u64::MAX);
    let (mut scan, mut retained) = (Scan::default(), Retained::new(retention));
    let mut index = IndexWriter::new(partition, retention);
    let oldest_ms = first_block_ms(store, partition).await?.unwrap_or(now_ms);
    index.load(store, oldest_ms.saturating_sub(started_before_ms()), now_ms).await?;
    let rewrite_from = rewrite::begin(store, partition, acquired.last.unwrap_or_default()).await?;
    let mut lost = Vec::new();
    read_all(store, partition, BlockId::default(), |block| {
        retained.wrote(block.id(), block.time_ms());
        scan.block(block, now_ms.saturating_sub(horizon_ms), &mut retained);
        index.recovered(block);
        if block.id() >= rewrite_from {
            rewrite::opened(block, retention, now_ms, &mut index, &mut lost)?;
        }
        Ok(())
    })
    .await?;
    rewrite::closed(store, partition, (rewrite_from, retention, now_ms), &mut index, &mut lost).await?;
    lost.extend(index.settle(rewrite_from));
    let open = collect(store, partition, &scan).await?;
    let mut wanted: Vec<(DefinitionHash, Dialect)> = Vec::new();
    let mut seen = HashSet::new();
    for execution in &open {
        retained.hold(execution.blocks[0], 1);
        let machine = &execution.machine;
        if seen.insert((machine.definition, machine.dialect)) {
            wanted.push((machine.definition, dialect_of(machine.dialect)));
        }
    }
    let mut programs = Map::default();
    for key in wanted {
        match definitions.load_all(store, &[key]).await {
            Ok(loaded) => programs.extend(loaded.into_iter().map(|program| (key, program))),
            Err(LoadError::Store(error)) => return Err(error),
            Err(error @ (LoadError::Missing(_) | LoadError::Invalid(_))) => {
                tracing::error!(%partition, %error, "open executions stay in the log until their definition is back");
            }
        }
    }
    // A batch is written in one block; what was redriven since has been opened again in another.
    let (mut batches, mut known) = (scan.batches, HashSet::new());
    batches.retain(|(batch, ..)| known.insert(*batch));
    let suspects = suspects::of(store, partition).await?;
    Ok(Recovered {
        generation: acquired.generation,
        retained,
        index,
        lost,
        batches,
        open,
        programs,
        suspects,
    })
}

/// Why an execution cannot be told again what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untold {
    #[error(transparent)]
    Journal(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] Unread),
}

/// What an execution was told, as it was told; read again where the journal has only its digest.
pub(super) async fn event_of(told: &Journalled, desk: &Desk) -> Result<Event, Untold> {
    let id = asl::EffectId(told.effect);
    let text = |text: Option<&str>| text.map(asl::Str::from);
    Ok(match told.kind {
        JournalledKind::TaskSucceeded => {
            Event::TaskSucceeded { id, output: Payload::from_checked(told.payload.clone()) }
        }
        JournalledKind::TaskFailed => {
            let (error, cause) = decode_failure(&told.payload)?;
            let (error, cause) = (text(error).unwrap_or_default(), text(cause).unwrap_or_default());
            Event::TaskFailed { id, error, cause }
        }
        JournalledKind::TimerFired => Event::TimerFired(id),
        JournalledKind::TaskStarted => Event::TaskStarted(id),
        JournalledKind::Stopped => {
            let (error, cause) = decode_failure(&told.payload)?;
            Event::Stop { error: text(error), cause: text(cause) }
        }
        JournalledKind::ItemsRead => Event::ItemsRead { id, body: told.payload.clone() },
        JournalledKind::ItemsDigest => {
            let digest = ReadDigest::decode(&told.payload)?;
            Event::ItemsRead { id, body: desk.read_again(&digest).await? }
        }
        JournalledKind::ResultsWritten => Event::ResultsWritten(id),
        JournalledKind::Redriven => Event::Redrive,
        JournalledKind::GaveUp => {
            let (error, cause) = decode_failure(&told.payload)?;
            let (error, cause) = (text(error).unwrap_or_default(), text(cause).unwrap_or_default());
            Event::GiveUp { error, cause }
        }
    })
}

/// What an execution wants that was told what it was told: a wide Map wants much, so each effect is found by its id.
#[derive(Default)]
pub(super) struct Wanted {
    /// In the order in which it was asked for.
    effects: BTreeMap<u64, Effect>,
    asked: u64,
    /// The place of each, by its id and whether it is work or a timer.
    places: Map<(EffectId, bool), u64>,
}

impl Wanted {
    /// Drops what an event has answered.
    pub(super) fn settle(&mut self, event: &Event) {
        match event {
            Event::TaskSucceeded { id, .. }
            | Event::TaskFailed { id, .. }
            | Event::ItemsRead { id, .. }
            | Event::ResultsWritten(id) => self.remove(*id, true),
            Event::TimerFired(id) => self.remove(*id, false),
            // It had ended, and wanted nothing any more.
            Event::Redrive => (self.effects, self.places) = Default::default(),
            _ => {}
        }
    }

    fn remove(&mut self, id: EffectId, work: bool) {
        if let Some(place) = self.places.remove(&(id, work)) {
            self.effects.remove(&place);
        }
    }

    /// Adds what a step asks for, and drops what it takes back.
    pub(super) fn gather(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            let key = match &effect {
                Effect::CancelTask(id) => {
                    self.remove(*id, true);
                    continue;
                }
                Effect::CancelTimer(id) => {
                    self.remove(*id, false);
                    continue;
                }
                Effect::ScheduleTask { id, .. }
                | Effect::ReadItems { id, .. }
                | Effect::WriteResults { id, .. }
                | Effect::StartChild { id, .. } => Some((*id, true)),
                Effect::ArmTimer { id, .. } => Some((*id, false)),
                Effect::Yield => Some((EffectId::NEXT_TURN, false)),
                Effect::Finished(_) => None,
            };
            if let Some((id, work)) = key {
                self.remove(id, work);
                self.places.insert((id, work), self.asked);
            }
            self.effects.insert(self.asked, effect);
            self.asked += 1;
        }
    }

    /// The tasks among it.
    pub(super) fn tasks(&self) -> Vec<EffectId> {
        let task = |effect: &Effect| match effect {
            Effect::ScheduleTask { id, .. } => Some(*id),
            _ => None,
        };
        self.effects.values().filter_map(task).collect()
    }

    pub(super) fn into_effects(self) -> Vec<Effect> {
        self.effects.into_values().collect()
    }
}

/// The pause after one more failed attempt.
fn pause_after(failed: &mut u32) -> Duration {
    let pause = RETRY_PAUSE.saturating_mul(1 << (*failed).min(10)).min(RETRY_PAUSE_MAX);
    *failed = failed.saturating_add(1);
    pause
}

impl Shard {
    /// Connects, then recovers every log.
    pub(super) fn begin_recovery(&mut self) {
        self.connect_after(Duration::ZERO);
    }

    fn connect_after(&mut self, pause: Duration) {
        let (connect, clock) = (Arc::clone(&self.context.connect), self.clock.clone());
        let at_us = self.now_us + pause.as_micros() as u64;
        self.flights.push(Box::pin(async move {
            clock.sleep_until_us(at_us).await;
            Landed::Connected(connect.connect().await)
        }));
    }

    pub(super) fn connected(&mut self, result: Result<Arc<dyn Store>, StoreError>) {
        match result {
            Ok(store) => {
                self.store = Some(store);
                for _ in 0..limits::RECOVERIES_AT_ONCE {
                    self.recover_next();
                }
                self.publish_state();
            }
            Err(error) => {
                let pause = pause_after(&mut self.connects_failed);
                tracing::error!(%error, again_in = ?pause, "no connection to the store: nothing is served until there is one");
                self.connect_after(pause);
            }
        }
    }

    fn recover_next(&mut self) {
        if self.recovering < self.logs.len() {
            self.recovering += 1;
            self.recover_log(self.recovering - 1, Duration::ZERO);
        }
    }

    fn recover_log(&mut self, log: usize, pause: Duration) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let (definitions, clock) = (Arc::clone(&self.definitions), self.clock.clone());
        let crumbs = Arc::clone(&self.context.crumbs);
        let (partition, retention) = (self.logs[log].partition, self.config.retention);
        let at_us = self.now_us + pause.as_micros() as u64;
        self.flights.push(Box::pin(async move {
            clock.sleep_until_us(at_us).await;
            let result = async {
                crumbs.report(&*store, clock.now_ms()).await?;
                recover(&*store, &definitions, partition, retention, clock.now_ms()).await
            };
            let result = result.await;
            Landed::Recovered { log, result: result.map(Box::new) }
        }));
    }

    pub(super) fn recovered(&mut self, at: usize, result: Result<Box<Recovered>, StoreError>) {
        let recovered = match result {
            Ok(recovered) => recovered,
            Err(error) if error.is_retryable() || matches!(error, StoreError::Fenced { .. }) => {
                let pause = pause_after(&mut self.logs[at].attempts);
                let partition = self.logs[at].partition;
                tracing::error!(%partition, %error, again_in = ?pause, "recovery failed: trying again");
                return self.recover_log(at, pause);
            }
            Err(error) => {
                self.lose(at, &error);
                return self.recover_next();
            }
        };
        let Recovered { generation, retained, index, lost, batches, open, programs, suspects } = *recovered;
        self.suspect(suspects);
        let (now_ms, max) = (self.now_us / 1_000, self.batches_max());
        let log = &mut self.logs[at];
        log.attempts = 0;
        log.generation = generation;
        log.retained = retained;
        log.index.replace(index);
        log.lost = lost.into();
        log.dedupe.begin(now_ms);
        for (batch, block, time_ms) in batches {
            let seen = Seen { content: Content::Logged(block), in_flight: false, exceptions: Box::default() };
            log.dedupe.remember(batch, time_ms, seen, now_ms, max);
        }
        self.metrics.recovered.add(open.len() as u64);
        for execution in open {
            self.restore(at, execution, &programs);
        }
        self.drop_old_suspects(at);
        self.serve_when_all_are_back(at);
    }

    /// A partition takes starts when nothing of it is being replayed any more.
    pub(super) fn serve_when_all_are_back(&mut self, at: usize) {
        if self.logs[at].replaying > 0 {
            return;
        }
        self.logs[at].state = LogState::Serving;
        let ms = self.now_us.saturating_sub(self.begun_us) / 1_000;
        self.metrics.recovery_ms.set(ms);
        self.heard();
        self.publish_state();
        self.recover_next();
    }
}
