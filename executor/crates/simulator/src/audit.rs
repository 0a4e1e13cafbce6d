//! What must hold: told of every durable block and of everything that leaves a process.
//!
//! The audit reads the log by itself and believes no process. Invariants that it holds the product to: an execution is
//! opened once and closed once at most, with the outcome that its input calls for; what is acknowledged, and what
//! watchers are told, is durable by then; a name stands for one execution; no task is given out again by the owner of
//! the log once its outcome is in there. What may fail: the product, and then the [`Violation`] says how.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, Mode, PartitionId, Status};
use journal::block::{decode_failure, seed_for};
use journal::{Block, BlockId, Closed, Journalled, JournalledKind, Opened, Record};
use proto::executor::v1;
use serde_json::Value;

use crate::image::{Caller, Written};
use crate::losses::Losses;
use crate::machines::{Catalogue, Expected};
use crate::options::Options;

mod history;
mod kept;
mod names;
mod told;

/// Something that must never happen has happened.
pub type Violation = String;

/// An execution as the log knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its machine.
    pub arn: Arc<str>,
    /// How it is kept.
    pub mode: Mode,
    /// What must come of it.
    pub expected: Expected,
    /// When its batch was made, by the time of the simulation.
    pub created_us: u64,
    /// The block that said first that it was accepted, and who wrote that.
    begun: (BlockId, Caller),
    /// The block that says it now.
    opened_in: BlockId,
    /// Where its end is, and the Unix time of that in milliseconds.
    closed_in: (BlockId, u64),
    /// Its end.
    pub end: Option<(Status, Bytes)>,
    told: u32,
    /// Whether it was written again into a later block.
    carried: bool,
    /// Its ends before it was redriven.
    past: Vec<(Status, Bytes)>,
}

/// Redrives of an execution.
const REDRIVES_MAX: usize = 3;

impl Known {
    /// Whether it has ended in a way that may be made good.
    #[must_use]
    pub fn is_redrivable(&self) -> bool {
        let failed = self.end.as_ref().is_some_and(|(status, _)| *status != Status::Succeeded);
        self.mode == Mode::Standard && failed && self.past.len() < REDRIVES_MAX
    }

    /// How often it has ended and gone on.
    #[must_use]
    pub fn redriven(&self) -> usize {
        self.past.len()
    }

    /// Its end, and those that it had before.
    fn ends(&self) -> impl Iterator<Item = &(Status, Bytes)> {
        self.end.iter().chain(&self.past)
    }
}

/// What the log says, and what was promised.
#[derive(Debug)]
pub struct Audit {
    catalogue: Catalogue,
    now_us: u64,
    /// How far a clock may be ahead.
    skew_us: u64,
    retention_us: u64,
    /// Every execution that was ever durable.
    pub known: BTreeMap<ExecutionId, Known>,
    /// Every execution that somebody was told is accepted.
    pub acknowledged: BTreeSet<ExecutionId>,
    /// Executions that somebody has asked to stop.
    pub stopping: BTreeSet<ExecutionId>,
    /// Executions that somebody has asked to go on after their end.
    pub redriving: BTreeSet<ExecutionId>,
    /// Which process has given out tasks of synchronous executions, by their marks.
    sync: BTreeMap<String, u32>,
    /// When batches were made.
    batches: BTreeMap<BatchId, (Arc<v1::StartBatch>, u64)>,
    names: BTreeMap<(String, String), ExecutionId>,
    open: usize,
    /// Keys of tasks of STANDARD executions whose outcome is in the log.
    outcomes: BTreeMap<String, ExecutionId>,
    /// When timers of executions have fired.
    timers: BTreeSet<(ExecutionId, u64)>,
    /// What executions were told, to know a copy of it.
    pub journal: BTreeMap<(ExecutionId, u32), (BlockId, Journalled)>,
    /// Records that were written again into later blocks.
    pub copied: u64,
    /// Processes that died while they stepped an execution.
    pub deaths: BTreeMap<ExecutionId, u32>,
    /// Starts that were refused for a name whose holder was not durable yet.
    pub refused_early: u64,
    /// Who was to give back which partition.
    pub parting: BTreeSet<(Caller, PartitionId)>,
    /// When each block was durable, and until when what it opened was open: for ever, while something is.
    blocks: BTreeMap<(PartitionId, BlockId), (u64, u64)>,
    /// What each process has told its watchers.
    told: BTreeSet<(u32, ExecutionId, usize)>,
    /// What stores have lost.
    pub losses: Losses,
    /// Tasks that an owner whom another one has followed gave out although their outcome was in the log.
    pub stale_tasks: u64,
}

/// How far apart two clocks may be, in microseconds.
pub const SKEW_US: u64 = 60_000_000;
/// How long something is open before it is carried into later blocks.
const CARRIED_US: u64 = executor::limits::CARRY_AGE_MIN.as_micros() as u64;
/// When an EXPRESS execution is timed out.
const EXPRESS_US: u64 = 300_000_000;

/// The text of a task's input or output under a name.
pub fn field(json: &[u8], name: &str) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    Some(value.get(name)?.as_str()?.to_owned())
}

/// The key of a task, from its input.
#[must_use]
pub fn task_key(input: &[u8]) -> Option<String> {
    Some(format!("{}/{}", field(input, "id")?, field(input, "step")?))
}

/// Whether an execution failed as its machine says.
fn is_by_design(payload: &[u8]) -> bool {
    decode_failure(payload).is_ok_and(|(error, _)| matches!(error, Some("Doomed" | "Rejected")))
}

/// Whether its node has given an execution up.
fn is_cut_off(payload: &[u8]) -> bool {
    decode_failure(payload).is_ok_and(|(error, _)| error == Some("States.Runtime"))
}

fn id_of(record: &Record) -> ExecutionId {
    match record {
        Record::Opened(opened) => opened.id,
        Record::Journalled(told) => told.id,
        Record::Closed(closed) => closed.id,
    }
}

/// The executions that are redriven in these records: with how many things they were told before.
fn redriven_in(records: &[Record]) -> BTreeMap<ExecutionId, usize> {
    let told = || {
        records.iter().filter_map(|record| match record {
            Record::Journalled(told) => Some(told),
            _ => None,
        })
    };
    let redriven = told().filter(|told| told.kind == JournalledKind::Redriven);
    redriven.map(|last| (last.id, told().filter(|other| other.id == last.id).count() - 1)).collect()
}

impl Audit {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(catalogue: Catalogue, options: &Options) -> Self {
        Self {
            catalogue,
            now_us: 0,
            skew_us: options.skew_us,
            retention_us: options.retention_s * 1_000_000,
            known: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            stopping: BTreeSet::new(),
            redriving: BTreeSet::new(),
            sync: BTreeMap::new(),
            batches: BTreeMap::new(),
            names: BTreeMap::new(),
            open: 0,
            outcomes: BTreeMap::new(),
            timers: BTreeSet::new(),
            journal: BTreeMap::new(),
            copied: 0,
            deaths: BTreeMap::new(),
            refused_early: 0,
            parting: BTreeSet::new(),
            blocks: BTreeMap::new(),
            told: BTreeSet::new(),
            losses: Losses::default(),
            stale_tasks: 0,
        }
    }

    /// A dispatcher has made a batch.
    pub fn made(&mut self, id: BatchId, batch: Arc<v1::StartBatch>, now_us: u64) {
        self.batches.insert(id, (batch, now_us));
    }

    /// How many executions are in the log and have not ended.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open
    }

    /// Executions that are in the log and have not ended.
    pub fn open(&self) -> impl Iterator<Item = ExecutionId> + '_ {
        let open = self.known.iter().filter(|(id, known)| known.end.is_none() && !self.losses.touch(**id));
        open.map(|(id, _)| *id)
    }

    /// A block is durable.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn appended(&mut self, written: &Written, now_us: u64) -> Result<(), Violation> {
        let Written { by, partition, id: at, ref bytes, .. } = *written;
        self.now_us = now_us;
        let block = Block::parse(bytes).map_err(|error| format!("block {at} cannot be read: {error}"))?;
        if (block.partition(), block.id()) != (partition, at) {
            return Err(format!("block {at} of partition {partition} says that it is {}", block.id()));
        }
        if self.losses.is_mended((partition, at), bytes)? {
            return Ok(());
        }
        self.blocks.insert((partition, at), (now_us, 0));
        let mut records = block.records().map_err(|error| format!("block {at}: {error}"))?;
        // Within a block, kinds stand together: in the life of an execution their order is this.
        records.sort_by_key(|record| match record {
            Record::Opened(_) => 0,
            Record::Journalled(_) => 1,
            Record::Closed(_) => 2,
        });
        let redriven = redriven_in(&records);
        for record in records {
            if self.losses.touch(id_of(&record)) {
                continue;
            }
            match record {
                Record::Opened(opened) if redriven.contains_key(&opened.id) && self.has_ended(opened.id) => {
                    self.redriven(&block, opened, &redriven)?;
                }
                Record::Opened(opened) => self.opened((&block, by), opened)?,
                Record::Journalled(told) => self.journalled(at, &told)?,
                Record::Closed(closed) => self.closed((at, by), &closed)?,
            }
        }
        Ok(())
    }

    /// A process is gone, and what it held of lost blocks with it: nobody can count them.
    pub fn owner_is_gone(&mut self, process: u32) {
        let lost = self.losses.owner_is_gone(process);
        self.forgive(&lost);
    }

    /// Somebody has taken a partition; whoever has mended it has counted so many blocks as lost until now.
    ///
    /// # Errors
    /// More or less is lost than was counted.
    pub fn taken(
        &mut self,
        process: u32,
        partition: PartitionId,
        counted: Option<u64>,
    ) -> Result<(), Violation> {
        let lost = self.losses.taken(process, partition, counted)?;
        self.forgive(&lost);
        Ok(())
    }

    /// Of executions with records in lost blocks nothing is promised any more.
    fn forgive(&mut self, lost: &[Bytes]) {
        let blocks = lost.iter().filter_map(|bytes| Block::parse(bytes).ok());
        let records = blocks.filter_map(|block| block.records().ok()).flatten();
        for id in records.map(|record| id_of(&record)) {
            let open = self.known.get(&id).is_some_and(|known| known.end.is_none());
            if self.losses.forgive(id) && open {
                self.open -= 1;
            }
        }
        let losses = &self.losses;
        self.names.retain(|_, id| !losses.touch(*id));
    }

    fn opened(&mut self, (block, by): (&Block, Caller), opened: Opened) -> Result<(), Violation> {
        let id = opened.id;
        let machine = block.machines().get(opened.machine as usize);
        let machine = machine.ok_or_else(|| format!("{id} has no machine in block {}", block.id()))?;
        let plan = self.catalogue.find(&machine.arn).map(|machine| &machine.plan);
        let input: Value = serde_json::from_slice(&opened.input).unwrap_or_default();
        let number = input.get("v").and_then(Value::as_i64);
        let (Some(plan), Some(number)) = (plan, number) else {
            return Err(format!("{id} was opened with a machine or an input that nobody sent"));
        };
        let Some((batch, created_us)) = self.batches.get(&id.batch) else {
            return Err(format!("{id} was opened, but nobody made its batch"));
        };
        let (index, created_us) = (usize::from(id.index), *created_us);
        let name = batch.name.get(index).map(String::as_str).filter(|name| !name.is_empty());
        if batch.input.get(index) != Some(&opened.input) || name != opened.name.as_deref() {
            return Err(format!("{id} was opened with another input or name than was sent"));
        }
        if opened.seed != seed_for(id, id.batch.sequence()) {
            return Err(format!("{id} was opened with another seed than was sent"));
        }
        let expected = plan.expected(number);
        let arn = machine.arn.as_str().into();
        let mode = machine.mode;
        let known = Known {
            arn,
            mode,
            expected,
            created_us,
            begun: (block.id(), by),
            opened_in: block.id(),
            closed_in: (BlockId::default(), 0),
            end: None,
            told: 0,
            carried: false,
            past: Vec::new(),
        };
        if let Some(before) = self.known.get(&id) {
            if before.end.is_some() || !self.is_carried(id, before) {
                return Err(format!("{id} was started twice: again in block {}", block.id()));
            }
            let (told, carried_from, past) = (before.told, before.opened_in, before.past.clone());
            let (begun, created_us) = (before.begun, before.created_us);
            self.copied += 1;
            if let Some((_, wanted_us)) = self.blocks.get_mut(&(id.batch.partition, carried_from)) {
                *wanted_us = self.now_us;
            }
            self.known.insert(id, Known { told, carried: true, past, begun, created_us, ..known });
            return Ok(());
        }
        self.known.insert(id, known);
        self.open += 1;
        if let Some(name) = opened.name.filter(|_| machine.mode == Mode::Standard)
            && let Some(other) = self.names.insert((machine.arn.clone(), name.clone()), id)
        {
            return Err(format!("the name {name:?} of {} stands for {other} and for {id}", machine.arn));
        }
        Ok(())
    }

    fn has_ended(&self, id: ExecutionId) -> bool {
        self.known.get(&id).is_some_and(|known| known.end.is_some())
    }

    /// An execution goes on after its end: with all that it was told, in this very block.
    fn redriven(
        &mut self,
        block: &Block,
        opened: Opened,
        redriven: &BTreeMap<ExecutionId, usize>,
    ) -> Result<(), Violation> {
        let (id, now_us) = (opened.id, self.now_us);
        let written = redriven.get(&id).copied().unwrap_or_default() as u32;
        let asked = self.redriving.contains(&id);
        let Some(known) = self.known.get_mut(&id).filter(|known| asked && known.is_redrivable()) else {
            return Err(format!("{id} was redriven, which nobody has asked for or may be asked for"));
        };
        // What it was told, and perhaps the end that its node gave it.
        if written != known.told && written != known.told + 1 {
            return Err(format!("{id} was redriven with {written} of {} that it was told", known.told));
        }
        known.past.extend(known.end.take());
        known.carried = true;
        let from = std::mem::replace(&mut known.opened_in, block.id());
        if let Some((_, wanted_us)) = self.blocks.get_mut(&(id.batch.partition, from)) {
            *wanted_us = now_us;
        }
        self.open += 1;
        Ok(())
    }

    /// Somebody is told that an execution goes on.
    ///
    /// # Errors
    /// That is not durable.
    pub fn told_redriven(&self, id: ExecutionId) -> Result<(), Violation> {
        let redriven = self.known.get(&id).is_some_and(|known| !known.past.is_empty());
        if redriven || self.losses.touch(id) {
            return Ok(());
        }
        Err(format!("{id} was reported redriven, and is not in the log"))
    }

    /// Whether what is open may be written again: it has been so long in its block that it is carried.
    fn is_carried(&self, id: ExecutionId, known: &Known) -> bool {
        let opened = self.blocks.get(&(id.batch.partition, known.opened_in));
        opened.is_some_and(|(at_us, _)| self.now_us.saturating_sub(*at_us) + SKEW_US >= CARRIED_US)
    }

    fn journalled(&mut self, at: BlockId, told: &Journalled) -> Result<(), Violation> {
        let id = told.id;
        let known = self.known.get(&id).ok_or_else(|| format!("{id} was told something unopened"))?;
        let may_be_again = known.carried || self.is_carried(id, known);
        if let Some((block, before)) = self.journal.get_mut(&(id, told.sequence))
            && before == told
            && may_be_again
        {
            *block = at;
            self.copied += 1;
            return Ok(());
        }
        self.journal.insert((id, told.sequence), (at, told.clone()));
        let known = self.known.get_mut(&id).ok_or_else(|| format!("{id} was told something unopened"))?;
        if known.end.is_some() {
            return Err(format!("{id} was told something after its end"));
        }
        if told.sequence != known.told {
            return Err(format!("{id} was told number {} after {} were told", told.sequence, known.told));
        }
        known.told += 1;
        if told.kind == JournalledKind::TimerFired {
            self.timers.insert((id, told.time_ms));
        }
        // An outcome that comes in the very round in which its time is over comes after that, and changes nothing: the
        // task is tried again.
        let in_time = !self.timers.contains(&(id, told.time_ms));
        if in_time
            && told.kind == JournalledKind::TaskSucceeded
            && let Some(key) = field(&told.payload, "key")
            && self.outcomes.insert(key.clone(), id).is_some()
        {
            return Err(format!("the outcome of task {key} is in the log twice"));
        }
        Ok(())
    }

    fn closed(&mut self, (at, by): (BlockId, Caller), closed: &Closed) -> Result<(), Violation> {
        let (id, now_us) = (closed.id, self.now_us);
        let stopping = self.stopping.contains(&id);
        let killed = self.deaths.get(&id).is_some_and(|deaths| *deaths >= executor::limits::NODE_DEATHS_MAX);
        let parting = self.parting.contains(&(by, id.batch.partition));
        let known = self.known.get_mut(&id).ok_or_else(|| format!("{id} was closed, but never opened"))?;
        if let Some((status, _)) = &known.end {
            return Err(format!("{id} ended twice: {} and {}", status.as_str(), closed.status.as_str()));
        }
        known.end = Some((closed.status, closed.payload.clone()));
        known.closed_in = (at, closed.stop_time_ms);
        let begun_by_another = known.begun.1 != by || known.begun.0.generation != at.generation;
        self.open -= 1;
        if let Some((_, ended_us)) = self.blocks.get_mut(&(id.batch.partition, known.opened_in)) {
            *ended_us = now_us;
        }
        let late = now_us.saturating_sub(known.created_us) + SKEW_US >= EXPRESS_US;
        let right = match (closed.status, known.expected) {
            (Status::Succeeded, Expected::Number(number)) => {
                let output: Value = serde_json::from_slice(&closed.payload).unwrap_or_default();
                output.get("v").and_then(Value::as_i64) == Some(number)
            }
            // It is not begun again when its node has gone, or lost its partition or was to give that back.
            (Status::Failed, _) if known.mode == Mode::SyncExpress && is_cut_off(&closed.payload) => {
                begun_by_another || parting
            }
            (Status::Failed, _) if is_cut_off(&closed.payload) => killed,
            (Status::Failed, Expected::Error(error)) => {
                decode_failure(&closed.payload).is_ok_and(|(named, _)| named == Some(error))
            }
            (Status::Aborted, _) => stopping,
            (Status::TimedOut, _) => known.mode != Mode::Standard && late,
            _ => false,
        };
        if right {
            return Ok(());
        }
        let (status, payload) = (closed.status.as_str(), String::from_utf8_lossy(&closed.payload));
        Err(format!("{id} ended as {status} with {payload:?}, and {:?} was expected", known.expected))
    }
}
