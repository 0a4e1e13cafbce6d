//! One partition's log as its shard holds it: the block under construction, the blocks on their way, and what to do when
//! the store has confirmed them.
//!
//! Invariant: a block's number is given when it is finished, blocks are appended in that order, and one append is
//! outstanding at a time; whatever waits for a block's confirmation travels with it, in its [`Page`].

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use asl::{Outcome, Str};
use futures_util::future::AbortHandle;
use ids::{BatchId, ExecutionId, Mode, PartitionId, Status};
use journal::index::IndexWriter;
use journal::{Append, BlockBuilder, BlockId, Derived};
use proto::executor::v1;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::archive::Archiving;
use super::calls::Job;
use super::carry::Carry;
use super::checkpoint::Checkpoints;
use super::command::Reply;
use super::dedupe::Dedupe;
use super::execution::OpenExecution;
use super::flush::{RECORD_BYTES, status_of};
use super::machine::Machine;
use super::retain::Retained;
use super::scan::{Blocks, Map};
use super::slab::Address;
use super::told::Told;
use super::went_back::Held;
use super::workers::cut;
use crate::admission::Permit;
use crate::error::Error;
use crate::limits;

/// How a log fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// Its owner reads it.
    Recovering,
    /// Blocks are confirmed.
    Serving,
    /// The store does not confirm; the same block is tried again.
    Down,
    /// What was accepted is being made durable; then the shard has it no longer.
    Releasing,
    /// Given back: whoever takes it next finds everything in the log.
    Released,
    /// Another owner has it, or it cannot be read or written for good.
    Lost,
}

impl LogState {
    /// Whether the shard has it.
    pub fn is_here(self) -> bool {
        !matches!(self, Self::Released | Self::Lost)
    }

    /// Whether it takes starts, as far as the store lets it.
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Down)
    }
}

/// A batch whose acknowledgement waits for its block.
#[derive(Debug)]
pub struct StartedBatch {
    pub id: BatchId,
    pub acks: SmallVec<[mpsc::Sender<v1::StartAck>; 1]>,
    /// The ranges that were accepted.
    pub accepted: SmallVec<[(u32, u32); 1]>,
    /// What is answered with executions that run already; their openings are durable no later than this batch.
    pub running: Vec<(u32, v1::RunningExecution)>,
    pub received_us: u64,
    /// Of the executions that ended at once.
    #[allow(dead_code, reason = "held for its drop")]
    pub permit: Permit,
}

/// What is counted when a block is confirmed.
#[derive(Debug)]
pub struct Tally {
    pub machine: Rc<Machine>,
    /// `None` counts starts.
    pub end: Option<End>,
    pub count: u64,
    pub received_us: u64,
}

/// How executions ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub status: Status,
    /// The error's name, of failed and timed-out ones.
    pub error: Option<Str>,
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        // A Fail state may take it from anywhere in its input.
        let named = |error: &Option<Str>, else_named: &str| match error {
            Some(error) if error.len() > limits::ERROR_BYTES_MAX => {
                cut(error, limits::ERROR_BYTES_MAX).into()
            }
            Some(error) => error.clone(),
            None => else_named.into(),
        };
        let error = match outcome {
            Outcome::Failed { error, .. } => Some(named(error, "none")),
            Outcome::TimedOut { error, .. } => Some(named(error, "States.Timeout")),
            Outcome::Succeeded(_) | Outcome::Aborted { .. } => None,
        };
        Self { status: status_of(outcome), error }
    }
}

/// What waits for a block's confirmation.
#[derive(Debug, Default)]
pub struct Page {
    pub batches: Vec<StartedBatch>,
    /// Accepted in this block, and not ended in their first step.
    pub fresh: Vec<Address>,
    /// About how many bytes the opened records of these have, what was journalled in this block, and what ended at once with
    /// more than it began with.
    pub bytes: usize,
    /// Redriven: opened again in this block.
    pub reopened: Vec<Address>,
    /// Opened in an earlier block, ended in this one, or in a later one if that is long.
    pub ended: Vec<Address>,
    /// Journalled in this block.
    pub touched: Vec<Address>,
    /// Tasks of STANDARD executions whose cause is in this block, and of synchronous ones that are opened in it.
    pub held: Vec<Address>,
    /// Tasks of activities, likewise.
    pub activities: Vec<Address>,
    /// Those that were taken in this block.
    pub begun: Vec<Address>,
    /// Writes of their Maps, likewise.
    pub writes: Vec<Address>,
    /// Calls of integrations, likewise.
    pub calls: Vec<Address>,
    /// Jobs to stop, likewise.
    pub jobs: Vec<Job>,
    /// Whose slots are given back.
    pub closing: Vec<Address>,
    /// Suspects that are closed in this block.
    pub absolved: Vec<ExecutionId>,
    /// Who waits for redrives in this block, with their time.
    pub redrives: Vec<(Reply<u64>, u64)>,
    /// Who waits for what callbacks have led to in this block or before, with the answer: as many as calls are under way.
    pub callbacks: Vec<(Reply<()>, Result<(), Error>)>,
    /// What is told of histories.
    pub told: Told,
    pub tallies: Vec<Tally>,
    pub completions: Vec<v1::CompletionRange>,
    pub outcomes: Vec<v1::Outcome>,
}

impl Page {
    /// An execution with so many bytes of input, name and trace is opened in this block.
    pub fn begin(&mut self, address: Address, payload_bytes: usize) {
        self.fresh.push(address);
        self.bytes += RECORD_BYTES + payload_bytes;
    }

    /// Counts a start or an end at its machine.
    pub fn tally(&mut self, machine: &Rc<Machine>, end: Option<End>, received_us: u64) {
        let same = self.tallies.iter_mut().rev().take(4).find(|tally| {
            tally.received_us == received_us && Rc::ptr_eq(&tally.machine, machine) && tally.end == end
        });
        match same {
            Some(tally) => tally.count += 1,
            None => self.tallies.push(Tally { machine: Rc::clone(machine), end, count: 1, received_us }),
        }
    }

    /// Takes what waits for a later block.
    pub fn absorb(&mut self, later: Self) {
        self.batches.extend(later.batches);
        self.fresh.extend(later.fresh);
        self.bytes += later.bytes;
        self.reopened.extend(later.reopened);
        self.ended.extend(later.ended);
        self.touched.extend(later.touched);
        self.held.extend(later.held);
        self.writes.extend(later.writes);
        self.calls.extend(later.calls);
        self.jobs.extend(later.jobs);
        self.closing.extend(later.closing);
        self.activities.extend(later.activities);
        self.begun.extend(later.begun);
        self.absolved.extend(later.absolved);
        self.redrives.extend(later.redrives);
        self.callbacks.extend(later.callbacks);
        self.told.absorb(later.told);
        self.tallies.extend(later.tallies);
        self.completions.extend(later.completions);
        self.outcomes.extend(later.outcomes);
    }

    /// Tells the watchers, once the block is confirmed, that an execution has ended.
    pub fn completed(&mut self, id: ExecutionId, status: Status) {
        let (index, status) = (u32::from(id.index), v1::ExecutionStatus::from(status) as i32);
        let wire = v1::BatchId::from(id.batch);
        if let Some(last) = self.completions.last_mut()
            && last.to == index
            && last.status == status
            && last.id == Some(wire)
        {
            last.to += 1;
            return;
        }
        let range = v1::CompletionRange { id: Some(wire), from: index, to: index + 1, status };
        self.completions.push(range);
    }
}

/// A finished block that the store has not confirmed.
#[derive(Debug)]
pub struct Sealed {
    pub append: Append,
    pub page: Page,
    pub records: usize,
}

/// What is open and has no slot.
#[derive(Debug)]
pub struct Away {
    pub blocks: Blocks,
    /// 0 where its records cannot be read.
    pub start_time_ms: u64,
}

/// A partition's log.
#[derive(Debug)]
pub struct Log {
    pub partition: PartitionId,
    pub state: LogState,
    /// Tells the times apart that the shard has had this partition: what was begun in an earlier one lands in none.
    pub tenure: u64,
    /// When this tenure began, or ended; in microseconds.
    pub since_us: u64,
    /// When the last question was asked, or append begun, to which the store has said that this owner is the present one.
    pub heard_us: u64,
    /// Its log is being read; the handle ends that.
    pub reading: Option<AbortHandle>,
    /// It is one of the few logs that are being recovered.
    pub recovering: bool,
    /// What was open is being brought back.
    pub restoring: bool,
    /// Executions that are being replayed in flights.
    pub replaying: usize,
    /// It is given back as soon as its synchronous executions have ended.
    pub parting: bool,
    pub generation: u64,
    pub next_sequence: u64,
    pub builder: BlockBuilder,
    /// Names the block under construction within the shard.
    pub serial: u64,
    pub page: Page,
    pub sealed: VecDeque<Sealed>,
    pub in_flight: bool,
    /// What was confirmed lately.
    pub held: Held,
    /// Whether the store went back behind it, and that is not mended yet.
    pub mending: bool,
    /// Whether it is being taken anew: no block is finished meanwhile, for its generation is not known.
    pub renewing: bool,
    /// Whether what travelled beside confirmed blocks is among what travels beside the next ones.
    pub repeated: bool,
    /// Whether the store was seen not to be the right one.
    pub foreign: bool,
    pub attempts: u32,
    /// How often it was lost in a row, but not to another owner.
    pub losses: u32,
    /// When the last append began, in microseconds.
    pub begun_us: u64,
    pub retained: Retained,
    pub dedupe: Dedupe,
    /// Makes the index entries beside each block; shared with listings under way.
    pub index: Rc<RefCell<IndexWriter>>,
    /// Index entries that go beside the next block.
    pub derived: Vec<Derived>,
    /// Index entries that a crash may have lost; they go beside the next blocks, some at a time.
    pub lost: VecDeque<Derived>,
    /// The last block beside which some of them went.
    pub lost_until: u64,
    pub checkpoints: Checkpoints,
    pub carry: Carry,
    pub archiving: Archiving,
    /// Batches of which something is in a slot.
    pub open_batches: HashSet<BatchId, foldhash::fast::RandomState>,
    /// What is open and in no slot: it is being replayed, or cannot be now.
    pub away: Map<ExecutionId, Away>,
}

impl Log {
    /// The page of the block in which an execution is opened, until that is confirmed.
    pub(super) fn page_of_opening(&mut self, open: &OpenExecution) -> Option<&mut Page> {
        if !open.opened {
            return Some(&mut self.page);
        }
        let block = *open.blocks.first()?;
        let sealed = self.sealed.iter_mut().find(|sealed| sealed.append.id == block);
        sealed.map(|sealed| &mut sealed.page)
    }

    /// The page with whose block leaves what an execution asks for now; without one it leaves at once.
    pub(super) fn page_of_cause(&mut self, open: &OpenExecution) -> Option<&mut Page> {
        match open.machine.key.mode {
            Mode::Standard => Some(&mut self.page),
            // It runs at most once: nothing of it leaves before a later owner would see that it was begun.
            Mode::SyncExpress => self.page_of_opening(open),
            Mode::Express => None,
        }
    }

    /// A log that is to be recovered.
    pub fn new(partition: PartitionId, retention: Duration) -> Self {
        Self {
            partition,
            state: LogState::Recovering,
            tenure: 0,
            since_us: 0,
            heard_us: 0,
            reading: None,
            recovering: false,
            restoring: false,
            replaying: 0,
            parting: false,
            generation: 0,
            next_sequence: 1,
            builder: BlockBuilder::new(partition),
            serial: 0,
            page: Page::default(),
            sealed: VecDeque::new(),
            in_flight: false,
            held: Held::default(),
            mending: false,
            renewing: false,
            repeated: false,
            foreign: false,
            attempts: 0,
            losses: 0,
            begun_us: 0,
            retained: Retained::new(retention),
            index: Rc::new(RefCell::new(IndexWriter::new(partition, retention))),
            dedupe: Dedupe::default(),
            derived: Vec::new(),
            lost: VecDeque::new(),
            lost_until: 0,
            checkpoints: Checkpoints::default(),
            carry: Carry::default(),
            archiving: Archiving::default(),
            open_batches: HashSet::default(),
            away: Map::default(),
        }
    }

    /// The id of the block under construction.
    pub fn next_block(&self) -> BlockId {
        BlockId { generation: self.generation, sequence: self.next_sequence }
    }

    /// What the scheduler is told of it; nothing when the shard does not have it.
    pub fn owned(&self) -> Option<v1::OwnedPartition> {
        let state = match self.state {
            LogState::Recovering => v1::owned_partition::State::Recovering,
            LogState::Serving | LogState::Down => v1::owned_partition::State::Serving,
            LogState::Releasing => v1::owned_partition::State::Releasing,
            LogState::Released | LogState::Lost => return None,
        };
        let partition = u32::from(self.partition.get());
        Some(v1::OwnedPartition { partition, generation: self.generation, state: state.into() })
    }

    /// Whether the store finds what the log has by name and in listings: what earlier owners may have lost is written again.
    pub fn is_indexed(&self) -> bool {
        self.lost.is_empty() && self.confirmed_id().sequence >= self.lost_until
    }

    /// Records in the block under construction.
    pub fn waiting(&self) -> usize {
        self.builder.len() + self.page.fresh.len() + self.page.reopened.len() + self.page.ended.len()
    }

    /// Whether the block under construction has to be finished before more comes to it. What has ended does not count: of that
    /// a block takes as much as fits.
    pub fn is_long(&self) -> bool {
        self.page.bytes >= limits::FLUSH_BYTES_MAX || self.builder.bytes_estimate() >= limits::FLUSH_BYTES_MAX
    }

    /// Whether so many blocks wait for the store that nothing more is begun that would add to them.
    pub fn is_congested(&self) -> bool {
        self.sealed.len() >= limits::FLUSHES_WAITING_MAX
    }

    /// Whether its tasks are handed out and their outcomes taken: what comes of them will be written.
    pub fn works(&self) -> bool {
        self.state.serves() || self.parting
    }

    /// Whether it is being given back, and nobody in it is waited for any more.
    pub fn is_halted(&self) -> bool {
        self.state == LogState::Releasing && !self.parting
    }

    /// What waits to be written, besides records that others wait for.
    pub fn chores(&self) -> usize {
        let overdue = usize::from(self.retained.is_overdue());
        self.lost.len() + self.checkpoints.entries.len() + self.carry.len() + overdue
    }

    /// Whether the store has confirmed everything.
    pub fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.sealed.is_empty() && !self.mending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_of_neighbours_with_one_status_are_one_range() {
        let batch = BatchId::new(PartitionId::new(3).expect("in range"), 1, 9).expect("in range");
        let mut page = Page::default();
        for (index, status) in
            [(0, Status::Succeeded), (1, Status::Succeeded), (2, Status::Failed), (4, Status::Failed)]
        {
            page.completed(batch.execution(index), status);
        }
        let ranges: Vec<_> = page.completions.iter().map(|range| (range.from, range.to)).collect();
        assert_eq!(ranges, [(0, 2), (2, 3), (4, 5)]);
    }
}
