//! Which partitions the shard has: taking and releasing them while it runs.
//!
//! A partition is taken (acquired in the store, which fences older owners), recovered, and served; it is released by making
//! durable what was accepted and forgetting what is open, for the log has it; it is lost when the store says that another
//! owner has taken it. Invariants: each time that the shard has a partition is a tenure with a number of its own, and what
//! was begun in one lands in no other; what waits for a confirmation that will not come is refused, never dropped in
//! silence; a partition that was lost is not taken back at once, for whoever took it may well be right. What may fail: the
//! store, and then a release waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use asl::{Dialect, Program};
use ids::{BatchId, DefinitionHash, PartitionId};

use super::core::Shard;
use super::fetch::RecoveredExecution;
use super::log::{Log, LogState};
use super::parting::Parting;
use super::scan::Map;
use super::slab::Address;
use super::start::owner_changed;
use crate::error::Error;
use crate::limits;

/// The pause between two attempts at a partition that another shard of the node is giving back.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);
/// A partition that was lost again and again is taken back after pauses that grow up to `2^5` leases.
const LOSSES_MAX: u32 = 5;
/// The place of a partition that the shard has never had.
const NO_LOG: u16 = u16::MAX;

/// What was open in a log and is being brought back.
struct Restoring {
    log: usize,
    tenure: u64,
    open: std::vec::IntoIter<RecoveredExecution>,
    programs: Map<(DefinitionHash, Dialect), Arc<Program>>,
}

/// A log that waits for its recovery, and from when on it may begin, in microseconds.
struct Waiting {
    log: usize,
    from_us: u64,
}

/// What the shard has, and what it shall have.
pub(super) struct Own {
    /// The place of each partition of the cluster among the shard's logs.
    places: Box<[u16]>,
    /// How many of the logs are here.
    pub here: usize,
    /// The partitions that the shard shall have.
    wanted: Vec<PartitionId>,
    /// Whether somebody has said which.
    pub assigned: bool,
    /// When those of them that could not be taken are tried again, in microseconds.
    again_us: Option<u64>,
    /// Whether the first of them are recovered, but for those whose part of the store does not answer.
    pub ready: bool,
    /// Logs that wait for their recovery.
    waiting: VecDeque<Waiting>,
    recovering: usize,
    restoring: VecDeque<Restoring>,
    /// Logs whose synchronous executions are let end.
    pub parting: Vec<Parting>,
}

impl Own {
    pub fn new(partitions: u16) -> Self {
        Self {
            places: (0..partitions).map(|_| NO_LOG).collect(),
            here: 0,
            wanted: Vec::new(),
            assigned: false,
            again_us: None,
            ready: false,
            waiting: VecDeque::new(),
            recovering: 0,
            restoring: VecDeque::new(),
            parting: Vec::new(),
        }
    }

    fn place(&self, partition: PartitionId) -> u16 {
        self.places.get(usize::from(partition.get())).copied().unwrap_or(NO_LOG)
    }
}

/// How long a lost partition is left alone.
fn pause_after(losses: u32) -> Duration {
    limits::LEASE * (1 << losses.saturating_sub(1).min(LOSSES_MAX))
}

impl Shard {
    /// The log of a partition that the shard has.
    pub(super) fn log_at(&self, partition: PartitionId) -> Option<usize> {
        let at = usize::from(self.own.place(partition));
        self.logs.get(at).filter(|log| log.state.is_here()).map(|_| at)
    }

    /// Whether a tenure has not ended.
    pub(super) fn lasts(&self, at: usize, tenure: u64) -> bool {
        self.logs.get(at).is_some_and(|log| log.tenure == tenure)
    }

    /// The partitions that take starts.
    pub(super) fn served(&self) -> impl Iterator<Item = PartitionId> {
        self.logs.iter().filter(|log| log.state.serves()).map(|log| log.partition)
    }

    /// The shard shall have these partitions and no others.
    pub(super) fn assign(&mut self, mut partitions: Vec<PartitionId>) {
        partitions.sort_unstable();
        partitions.dedup();
        self.own.assigned = true;
        self.own.wanted = partitions;
        for at in 0..self.logs.len() {
            if self.own.wanted.binary_search(&self.logs[at].partition).is_err() {
                self.release(at);
            }
        }
        self.take_all();
        self.publish_state();
    }

    /// Tries again to take and to recover what could not be, when it is time.
    pub(super) fn take_again(&mut self) {
        match self.own.again_us {
            Some(again_us) if again_us <= self.now_us => return self.take_all(),
            Some(again_us) => self.alarm_at(again_us),
            None => {}
        }
        self.recover_next();
    }

    fn take_all(&mut self) {
        self.own.again_us = None;
        for number in 0..self.own.wanted.len() {
            let again_us = self.take(self.own.wanted[number]).err();
            self.own.again_us = self.own.again_us.into_iter().chain(again_us).min();
        }
        self.recover_next();
    }

    /// What all logs may have together, each has an equal part of: those that the shard had before have none.
    fn count_here(&mut self) {
        self.own.here = self.logs.iter().filter(|log| log.state.is_here()).count();
    }

    /// A log at the beginning of a tenure.
    fn new_log(&mut self, partition: PartitionId, state: LogState) -> Log {
        self.serial += 1;
        let (tenure, serial, since_us) = (self.serial, self.serial, self.now_us);
        Log { state, tenure, serial, since_us, ..Log::new(partition, self.config.retention) }
    }

    /// Takes a partition that the shard does not have; else says when to try again.
    fn take(&mut self, partition: PartitionId) -> Result<(), u64> {
        let number = usize::from(partition.get());
        if number >= self.own.places.len() {
            let partitions = self.own.places.len();
            tracing::error!(%partition, partitions, "a partition was assigned that the cluster does not have");
            return Ok(());
        }
        let mut at = usize::from(self.own.place(partition));
        if let Some(log) = self.logs.get(at) {
            // Who was assigned it on the way, or by mistake, has time to hear better before it is taken from another owner.
            let early_us = log.since_us + pause_after(log.losses).as_micros() as u64;
            if log.state == LogState::Lost && self.now_us < early_us {
                return Err(early_us);
            }
            if log.state.is_here() {
                return Ok(());
            }
        }
        if self.draining.is_some() {
            return Ok(());
        }
        if !self.context.owners.claim(partition, self.config.index) {
            // Another shard of this node is giving it back.
            return Err(self.now_us + CLAIM_PAUSE.as_micros() as u64);
        }
        let losses = self.logs.get(at).map_or(0, |log| log.losses);
        let log = Log { losses, ..self.new_log(partition, LogState::Recovering) };
        if at < self.logs.len() {
            self.logs[at] = log;
        } else {
            at = self.logs.len();
            self.logs.push(log);
            self.own.places[number] = at as u16;
        }
        self.count_here();
        self.own.waiting.push_back(Waiting { log: at, from_us: self.now_us });
        Ok(())
    }

    /// Begins the recovery of logs that wait for it, a few at a time, in the order in which they came.
    pub(super) fn recover_next(&mut self) {
        while self.store.is_some() && self.own.recovering < limits::RECOVERIES_AT_ONCE {
            let due = self.own.waiting.iter().position(|waiting| waiting.from_us <= self.now_us);
            let Some(next) = due.and_then(|due| self.own.waiting.remove(due)) else { break };
            self.own.recovering += 1;
            self.logs[next.log].recovering = true;
            self.recover_log(next.log);
        }
        let next_us =
            self.own.waiting.iter().map(|waiting| waiting.from_us).filter(|at| *at > self.now_us).min();
        next_us.into_iter().for_each(|at_us| self.alarm_at(at_us));
    }

    /// The recovery of a log failed: it is tried again after a pause, behind those that wait. Until then others have its
    /// place, for what fails may be the part of the store that has this log, and no other.
    pub(super) fn recover_again(&mut self, at: usize, pause: Duration) {
        let from_us = self.now_us + pause.as_micros() as u64;
        self.own.waiting.push_back(Waiting { log: at, from_us });
        self.end_recovery(at);
        self.publish_state();
    }

    /// Brings back what was open in a log, in the next rounds.
    pub(super) fn restore_later(
        &mut self,
        at: usize,
        open: Vec<RecoveredExecution>,
        programs: Map<(DefinitionHash, Dialect), Arc<Program>>,
    ) {
        let log = &mut self.logs[at];
        log.restoring = true;
        let (tenure, open) = (log.tenure, open.into_iter());
        self.own.restoring.push_back(Restoring { log: at, tenure, open, programs });
    }

    /// Brings back executions for a while, so that others have their turn between.
    pub(super) fn restore_some(&mut self) {
        let until_us = self.now_us + limits::TURNS_SLICE.as_micros() as u64;
        while let Some(mut next) = self.own.restoring.pop_front() {
            if !self.lasts(next.log, next.tenure) {
                continue;
            }
            for execution in next.open.by_ref() {
                self.restore(next.log, execution, &next.programs);
                self.now_us = self.clock.now_us();
                if self.now_us >= until_us {
                    break;
                }
            }
            if next.open.len() > 0 {
                self.own.restoring.push_front(next);
                return self.alarm_at(self.now_us);
            }
            self.logs[next.log].restoring = false;
            self.serve_when_all_are_back(next.log);
        }
    }

    /// A partition takes starts when everything open is back, or away: being replayed, or not to be told now.
    pub(super) fn serve_when_all_are_back(&mut self, at: usize) {
        let log = &mut self.logs[at];
        if log.restoring {
            return;
        }
        // It may have been seen that the store went back meanwhile.
        log.state = if log.mending { LogState::Down } else { LogState::Serving };
        let (partition, generation, since_us) = (log.partition, log.generation, log.since_us);
        tracing::debug!(%partition, generation, "partition served");
        self.metrics.recoveries.add(1);
        self.metrics.recovery_ms.set(self.now_us.saturating_sub(since_us) / 1_000);
        self.context.owners.serve(partition, self.config.index);
        self.end_recovery(at);
        self.drop_old_suspects(at);
        self.heard();
        self.publish_state();
    }

    fn end_recovery(&mut self, at: usize) {
        if std::mem::take(&mut self.logs[at].recovering) {
            self.own.recovering -= 1;
            self.recover_next();
        }
    }

    /// Gives a partition back: at once, or when its synchronous executions have ended and the store has confirmed what was
    /// accepted.
    fn release(&mut self, at: usize) {
        match self.logs[at].state {
            LogState::Recovering => self.leave(at, LogState::Released),
            // What happens is not written before it is taken anew, and then this is asked again.
            LogState::Serving | LogState::Down if self.logs[at].renewing => {}
            LogState::Serving | LogState::Down => {
                let last = self.last_of(self.open_of(at));
                let log = &mut self.logs[at];
                log.state = LogState::Releasing;
                log.parting = true;
                let tenure = log.tenure;
                self.context.owners.suspend(log.partition, self.config.index);
                match last {
                    Some(last) => self.own.parting.push(Parting { log: at, tenure, last }),
                    None => self.part(at),
                }
            }
            LogState::Releasing | LogState::Released | LogState::Lost => {}
        }
    }

    /// Nobody is waited for any more: what was told before is handled, and its records are the last ones.
    pub(super) fn part(&mut self, at: usize) {
        self.run_mailboxes();
        self.logs[at].parting = false;
        self.halt(at);
        self.end_release(at);
    }

    /// Gives a partition back that was not to be given back before it was taken anew.
    pub(super) fn release_unwanted(&mut self, at: usize) {
        if self.own.wanted.binary_search(&self.logs[at].partition).is_err() {
            self.release(at);
        }
    }

    /// Whether the executions of a log stand still: it is being given back or taken anew.
    pub(super) fn stands_still(&self, at: usize) -> bool {
        self.logs[at].renewing || self.logs[at].is_halted()
    }

    /// The slots of a log's executions, always in the same order.
    pub(super) fn open_of(&self, at: usize) -> Vec<Address> {
        let batches = self.logs[at].open_batches.iter().filter_map(|batch| self.by_batch.get(batch));
        let mut open: Vec<Address> = batches.flatten().map(|(_, address)| *address).collect();
        open.sort_unstable_by_key(|address| address.slot);
        open
    }

    /// Takes everything away from the executions of a log that could wake them, and gives them. They stay in their slots until
    /// the partition is given back: if the store goes back before, they are written again.
    fn halt(&mut self, at: usize) -> Vec<Address> {
        let halted = self.open_of(at);
        for address in &halted {
            self.leave_tasks(*address);
            self.release_effects(*address);
        }
        halted
    }

    /// The partition is given back when everything is durable.
    pub(super) fn end_release(&mut self, at: usize) {
        let log = &self.logs[at];
        if !log.is_halted() || !log.is_idle() {
            return;
        }
        let (partition, generation) = (log.partition, log.generation);
        tracing::info!(%partition, generation, "partition released");
        self.leave(at, LogState::Released);
        self.take_all();
    }

    /// The tenure has ended: nothing of the partition stays in memory.
    fn leave(&mut self, at: usize, state: LogState) {
        if let Some(reading) = self.logs[at].reading.take() {
            reading.abort();
        }
        self.refuse_waiting(at);
        self.forget_open(at);
        let (partition, losses) = (self.logs[at].partition, self.logs[at].losses);
        self.names.forget_partition(partition);
        self.suspects.retain(|id, _| id.batch.partition != partition);
        self.own.waiting.retain(|waiting| waiting.log != at);
        self.end_recovery(at);
        self.logs[at] = Log { losses, ..self.new_log(partition, state) };
        self.count_here();
        self.context.owners.leave(partition);
        self.publish_state();
    }

    /// The partition is no longer ours. Another owner has it, or is given it by whoever hears of the loss; where nobody does,
    /// since partitions are fixed, it is taken again.
    pub(super) fn forsake(&mut self, at: usize, fenced: bool) {
        let partition = self.logs[at].partition;
        if fenced || self.config.partitions.is_none() {
            // It is taken back only if somebody says so who may know of the loss.
            self.own.wanted.retain(|wanted| *wanted != partition);
        } else {
            self.logs[at].losses += 1;
        }
        self.leave(at, LogState::Lost);
        self.take_all();
    }

    /// Tells those whose batches will not be confirmed here to send them to the next owner, which knows what is durable.
    fn refuse_waiting(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let partition = log.partition.get();
        let (sealed, last) = (std::mem::take(&mut log.sealed), std::mem::take(&mut log.page));
        for page in sealed.into_iter().map(|sealed| sealed.page).chain([last]) {
            for task in page.begun {
                drop(self.activities.remove(task));
            }
            for (reply, _) in page.redrives {
                // Who no longer listens needs no answer.
                let _ = reply.send(Err(Error::OwnerChanged { partition }));
            }
            for (reply, _) in page.callbacks {
                let _ = reply.send(Err(Error::OwnerChanged { partition }));
            }
            for batch in page.batches {
                let id: BatchId = batch.id;
                let running = batch.running.iter().map(|(at, _)| (*at, at + 1));
                for range in batch.accepted.iter().copied().chain(running) {
                    for acks in &batch.acks {
                        self.refuse(acks, Some(id.into()), range, owner_changed(id.partition));
                    }
                }
            }
        }
    }

    /// Drops executions of a log from memory, as if they had never been here.
    fn forget_open(&mut self, at: usize) {
        let partition = self.logs[at].partition.get();
        for address in self.halt(at) {
            let Some(open) = self.dismiss(address) else { continue };
            let waiters = open.stoppers.into_iter().flat_map(|stoppers| *stoppers);
            waiters.for_each(|waiter| waiter.refuse(Error::NotOwner { partition }));
        }
    }

    /// The tasks of a STANDARD execution stay with their workers when its partition leaves: the next owner wants their
    /// outcomes. That of an activity which was taken is handed out when that is durable.
    fn leave_tasks(&mut self, execution: Address) {
        let open = self.open.get_mut(execution).filter(|open| open.machine.is_standard());
        let Some(open) = open else { return };
        for address in open.waiting_for.tasks() {
            drop(self.tasks.take(address));
        }
        for address in open.waiting_for.activities() {
            if let Some(task) = self.activities.written(address) {
                open.waiting_for.remove(task.effect, true);
            }
        }
    }
}
