//! Processes come, work, stand still, die, and are followed by others.
//!
//! A process that the placement takes for dead may go on, and only the fence in the store stands between it and the log.
//! Invariant: nothing of a process outlives it but what it has sent.

use std::time::Duration;

use assign::NodeKey;
use ids::{ExecutionId, ExecutionName, PartitionId};
use proto::executor::v1;

use crate::audit::Violation;
use crate::mutation::Mutation;
use crate::process::{Message, Process, Said};
use crate::world::{Event, World};

/// Credit of a worker.
const CREDIT: u32 = 8;
/// How long a process needs to begin its work, at most.
const RUN_US: u64 = 50;

fn id_of(wire: Option<v1::BatchId>, index: u32) -> Result<ExecutionId, Violation> {
    let batch = wire.as_ref().and_then(|wire| ids::BatchId::try_from(wire).ok());
    let batch = batch.ok_or_else(|| "a process named a batch that cannot be".to_owned())?;
    ExecutionId::new(batch, index).map_err(|error| error.to_string())
}

impl World {
    /// Partitions of the cluster.
    pub(crate) fn partition_count(&self) -> u16 {
        (self.options.groups * self.options.partitions_per_group) as u16
    }

    /// Where a partition is thought to be.
    pub(crate) fn owner_of(&self, partition: PartitionId) -> (usize, u32) {
        let group = usize::from(partition.get()) / self.partitions_per_group() as usize;
        (group, self.groups.get(group).map_or(0, |group| group.owner))
    }

    /// A process begins, with the partitions of a group or with none.
    pub(crate) fn spawn(&mut self, group: Option<usize>, node: NodeKey) -> u32 {
        let id = self.next_number() as u32;
        let ahead_us = self.draw_skew();
        let partitions = group.map(|group| self.groups[group].partitions.clone());
        let partitions = (partitions, self.partition_count());
        let forgetful = self.mutations.has(Mutation::OwnersForgetEarly);
        let retention = Duration::from_secs(if forgetful { 1 } else { self.options.retention_s });
        let kept = (retention, self.options.pace, self.crumbs.remove(&node));
        let times = (self.now_us, ahead_us);
        let process = Process::new((id, group, node), partitions, times, kept, &self.desk, &self.catalogue);
        self.processes.insert(id, process);
        self.trace.note(self.now_us, "begins", [u64::from(id), group.map_or(0, |group| group as u64 + 1)]);
        self.change_workers(id);
        self.run_soon(id, 0);
        id
    }

    /// New workers for a process; those that it has go.
    pub(crate) fn change_workers(&mut self, process: u32) {
        let Some(alive) = self.processes.get(&process) else { return };
        for worker in alive.workers() {
            self.arrives(process, Message::WorkerLeaves(worker));
        }
        for _ in 0..self.rng.between(1, 2) {
            let worker = self.next_number();
            self.arrives(process, Message::WorkerComes(worker));
            let credit = v1::WorkerMessage { credit: CREDIT, ..Default::default() };
            self.arrives(process, Message::WorkerSays(worker, credit));
        }
    }

    /// A process dies: its memory is gone, what it has sent is on its way.
    pub(crate) fn crash(&mut self, id: u32) {
        self.break_link(id);
        let Some(process) = self.processes.remove(&id) else { return };
        self.report.crashes += 1;
        self.take_leave(&process);
        self.leave_a_crumb(&process);
        self.trace.note(self.now_us, "dies", [u64::from(id), 0]);
        self.desk.with(|image| image.crashed(id));
        self.audit.owner_is_gone(id);
        let inherits = self.mutations.has(Mutation::AnswersReachTheNextTenure);
        if let Some(group) = process.group.filter(|_| inherits) {
            self.follow(group);
            let owner = self.groups[group].owner;
            if let Some(next) = self.processes.get_mut(&owner) {
                next.inherit(process);
            }
        }
    }

    /// A process is no more, or the run is over.
    pub(crate) fn take_leave(&mut self, process: &Process) {
        self.report.process_us += self.now_us - process.born_us;
        self.report.carried += process.carried();
        self.report.from_checkpoints += process.checkpoints().len() as u64;
    }

    /// What a process was stepping when it died stands in the state directory of its node.
    fn leave_a_crumb(&mut self, process: &Process) {
        let mut crumb = process.uncounted();
        if crumb.is_none() && !self.healed && self.rng.permille(self.options.dies_stepping) {
            let desk = self.desk.clone();
            let own = |id: &ExecutionId| desk.with(|image| image.owner(id.batch.partition).0) == process.id;
            let open: Vec<ExecutionId> = self.audit.open().filter(own).collect();
            if !open.is_empty() {
                let id = *self.rng.pick(&open);
                *self.audit.deaths.entry(id).or_default() += 1;
                self.trace.say(self.now_us, "  stepping", || id.to_string());
                crumb = Some((id, self.next_number()));
            }
        }
        if let Some(crumb) = crumb {
            self.crumbs.insert(process.node.clone(), crumb);
        }
    }

    fn draw_skew(&mut self) -> i64 {
        let skew_us = self.options.skew_us;
        self.rng.between(0, 2 * skew_us) as i64 - skew_us as i64
    }

    /// Somebody sets the clock of a machine.
    pub(crate) fn clock_jumps(&mut self, group: usize) {
        let ahead_us = self.draw_skew();
        let owner = self.groups[group].owner;
        let Some(process) = self.processes.get_mut(&owner).filter(|_| !self.healed) else { return };
        process.set_clock(ahead_us);
        self.trace.note(self.now_us, "clock", [u64::from(owner), ahead_us as u64]);
        self.run_soon(owner, 0);
    }

    pub(crate) fn crash_owner(&mut self, group: usize) {
        if !self.healed {
            self.crash(self.groups[group].owner);
        }
    }

    /// A process stands still.
    pub(crate) fn pause(&mut self, group: usize, long_us: u64) {
        let until_us = self.now_us + long_us;
        if let Some(process) = self.processes.get_mut(&self.groups[group].owner).filter(|_| !self.healed) {
            process.paused_until_us = Some(until_us);
            self.trace.note(self.now_us, "pauses", [u64::from(process.id), long_us]);
        }
    }

    /// A process has something to do, in so many microseconds at the latest.
    pub(crate) fn run_soon(&mut self, id: u32, in_us: u64) {
        let at_us = self.now_us + in_us + 1 + self.rng.below(RUN_US);
        let Some(process) = self.processes.get_mut(&id) else { return };
        let at_us = process.paused_until_us.map_or(at_us, |until| at_us.max(until));
        if process.run_at_us.is_none_or(|known| at_us < known) {
            process.run_at_us = Some(at_us);
            self.after(at_us - self.now_us, Event::Run(id));
        }
    }

    /// A process does what there is to do.
    pub(crate) fn run_process(&mut self, id: u32) -> Result<(), Violation> {
        let (now_us, sleeps) = (self.now_us, self.options.skew_us == 0);
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        if process.run_at_us != Some(now_us) {
            return Ok(());
        }
        process.run_at_us = None;
        let mut asleep_us = 0;
        if let Some(until_us) = process.paused_until_us {
            if now_us < until_us {
                self.run_soon(id, until_us - now_us);
                return Ok(());
            }
            process.paused_until_us = None;
            // The clock of a machine that slept has slept, too, on some.
            asleep_us = if sleeps && self.rng.permille(500) { process.silent_us(now_us) } else { 0 };
        }
        process.tell_time(now_us, asleep_us);
        process.fly(&mut self.rng);
        if !self.send_calls() {
            return Ok(());
        }
        let Some(process) = self.processes.get_mut(&id) else { return Ok(()) };
        process.wake();
        let answered = std::mem::take(&mut process.answered);
        if self.dies_having_handled(&answered) {
            self.crash(id);
            return Ok(());
        }
        let said = self.processes.get_mut(&id).map(Process::drain).unwrap_or_default();
        for said in said {
            self.said(id, said)?;
        }
        if let Some(process) = self.processes.get_mut(&id) {
            process.fly(&mut self.rng);
            if process.has_changed() && self.options.nodes > 0 {
                self.arrives(id, Message::Report);
            }
        }
        if self.send_calls()
            && let Some(in_us) = self.processes.get(&id).and_then(Process::due_in_us)
        {
            self.run_soon(id, in_us);
        }
        Ok(())
    }

    /// Something leaves a process.
    fn said(&mut self, process: u32, said: Said) -> Result<(), Violation> {
        match said {
            Said::Ack { dispatcher, forged, ack } => {
                self.check_ack(forged, &ack)?;
                self.post(|| Event::Acknowledged { dispatcher, forged, ack: Box::new(ack.clone()) });
            }
            Said::Completions(batch) => self.completed(process, &batch)?,
            Said::Tasks(worker, batch) => self.given_out(process, worker, batch)?,
            Said::Stopped(id) => {
                let ended = self.audit.known.get(&id).is_some_and(|known| known.end.is_some());
                if !ended && !self.audit.losses.touch(id) {
                    return Err(format!("{id} was reported stopped, and has no end in the log"));
                }
            }
            Said::CalledBack(callback) => self.called_back(&callback)?,
            Said::Redriven(id) => self.audit.told_redriven(id)?,
            Said::Described(id, described) => {
                let status = described.summary.as_ref().map(v1::ExecutionSummary::status);
                self.audit.described(id, status.unwrap_or_default())?;
                self.exam.described(id, &described);
            }
            Said::Denied(id) => self.audit.denied(id, self.now_us)?,
            Said::History(id, events) => {
                let denied = self.mutations.has(Mutation::HistoriesAreDenied);
                self.exam.history(id, events.filter(|_| !denied));
            }
            Said::Listed(summaries) => {
                for summary in summaries {
                    if let Ok(ExecutionName::Id(id)) = ExecutionName::parse(&summary.execution_id) {
                        self.audit.described(id, summary.status())?;
                        self.exam.listed(id, summary.status());
                    }
                }
            }
            Said::Reported(shard) => self.reported(process, &shard),
            // What it had accepted is durable: it may go.
            Said::Drained => self.crash(process),
        }
        Ok(())
    }

    /// An acknowledgement leaves a process: what it says must be durable by now.
    fn check_ack(&mut self, forged: bool, ack: &v1::StartAck) -> Result<(), Violation> {
        self.trace.note(self.now_us, "ack", [u64::from(ack.from), u64::from(ack.to)]);
        if let Some(refusal) = &ack.refusal {
            let taken = refusal.code == "ExecutionAlreadyExists" && !forged;
            return (ack.from..ack.to)
                .filter(|_| taken)
                .try_for_each(|index| self.audit.name_refused(id_of(ack.id, index)?));
        }
        if let Some(running) = &ack.running {
            let running = id_of(running.batch, running.index)?;
            self.audit.runs_already(id_of(ack.id, ack.from)?, running)?;
            return self.audit.acknowledge(running);
        }
        for index in ack.from..ack.to {
            let id = id_of(ack.id, index)?;
            if forged {
                return Err(format!("{id} was acknowledged to somebody who sent other content under its id"));
            }
            self.audit.acknowledge(id)?;
        }
        Ok(())
    }

    /// Somebody sees how an execution has ended, and lets it go on.
    fn redrive_perhaps(&mut self, id: ExecutionId) {
        let Some(known) = self.audit.known.get(&id).filter(|known| known.is_redrivable()) else { return };
        let nth = known.redriven();
        if self.rng.permille(self.options.redrive) {
            self.audit.redriving.insert(id);
            let owner = self.owner_of(id.batch.partition).1;
            self.post_to(owner, &Message::Redrive(id, nth));
        }
    }

    fn completed(&mut self, process: u32, batch: &v1::CompletionBatch) -> Result<(), Violation> {
        for range in &batch.ranges {
            for index in range.from..range.to {
                let id = id_of(range.id, index)?;
                self.audit.completed(process, id, range.status())?;
                self.redrive_perhaps(id);
            }
        }
        for outcome in &batch.outcomes {
            self.audit.outcome(id_of(outcome.id, outcome.index)?, outcome.output.as_ref())?;
        }
        self.trace.note(self.now_us, "completions", [batch.ranges.len() as u64, batch.dropped]);
        Ok(())
    }
}
