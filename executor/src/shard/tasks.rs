//! Tasks on their way to workers and back.
//!
//! A task waits in the line of its pool until a worker of that pool has credit; it leaves in a batch; its outcome comes
//! back under its [`TaskToken`]. Those of a log that hands nothing out now are *parked*, in a line of that log. Invariants:
//! an outcome is taken once, a second one finds nobody; a task stands in one [`Line`] at most, that of its pool, its log or
//! its worker; a worker that leaves gives its tasks back to the front of its pool's, in the order in which it got them.
//! Bounded by admission (a task belongs to an open execution) and by credit. What may fail: a full or closed worker
//! channel, and then the tasks stay here.

use std::collections::HashMap;

use asl::{EffectId, Payload, Str};
use bytes::Bytes;
use ids::{ExecutionId, TraceContext};
use proto::executor::v1;
use telemetry::ShardMetrics;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use trust::Secret;

use super::bindings::PoolIndex;
use super::command::WorkerId;
use super::errand::Errand;
use super::line::Line;
use super::slab::{Address, Slab};
use super::token::TaskToken;
use crate::limits;

/// A task that somebody waits for.
#[derive(Debug)]
pub struct Task {
    /// The execution.
    pub execution: Address,
    /// Its id.
    pub id: ExecutionId,
    /// The trace that whoever does it goes on with.
    pub trace: Option<Box<TraceContext>>,
    /// See [`TaskToken::run`].
    pub run: u32,
    /// Which of its effects.
    pub effect: EffectId,
    /// What the worker is told to run.
    pub function: Str,
    /// What the worker is given.
    pub input: Payload,
    /// Whether the output is wrapped as the answer of `lambda:invoke`.
    pub wrapped: bool,
    /// Whether it is over only when its token comes back.
    pub calls_back: bool,
    /// Who serves it.
    pub pool: PoolIndex,
    /// The place of its partition's log.
    pub log: u16,
    /// Where it stands.
    pub stand: Stand,
    /// Counts its end.
    pub errand: Errand,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Nowhere: its cause is not durable yet.
    Held,
    /// In the line of its pool.
    Waiting,
    /// In the line of its log.
    Parked,
    /// With a worker.
    With(WorkerId),
}

impl Task {
    fn token(&self, hint: Address) -> TaskToken {
        TaskToken { execution: self.id, effect: self.effect, run: self.run, hint }
    }
}

#[derive(Debug)]
struct Pool {
    queue: Line,
    workers: Vec<WorkerId>,
    turn: usize,
}

#[derive(Debug)]
struct Worker {
    pool: PoolIndex,
    credit: u32,
    sender: mpsc::Sender<v1::TaskBatch>,
    /// What it has, in the order in which it got it.
    tasks: Line,
    cancelled: Vec<TaskToken>,
    /// Outcomes that go back to it.
    returned: Vec<v1::ReturnedOutcome>,
}

impl Worker {
    /// The tokens of what it need not do any more. After a change of keys they are not those that it was given: then it
    /// works in vain, and nobody waits for the outcome.
    fn sealed(&self, secret: &Secret) -> Vec<Bytes> {
        self.cancelled.iter().map(|token| token.seal(secret)).collect()
    }
}

/// The tasks and workers of a shard.
#[derive(Debug)]
pub struct Tasks {
    entries: Slab<Task>,
    pools: Vec<Pool>,
    workers: HashMap<WorkerId, Worker, foldhash::fast::RandomState>,
    /// Tasks of logs that hand nothing out now, by the log's place.
    parked: Vec<Line>,
}

impl Tasks {
    /// So many pools, all without workers.
    #[must_use]
    pub fn new(pools: usize) -> Self {
        let pools =
            (0..pools).map(|_| Pool { queue: Line::default(), workers: Vec::new(), turn: 0 }).collect();
        Self { entries: Slab::default(), pools, workers: HashMap::default(), parked: Vec::new() }
    }

    /// A task; it is not sent before [`Tasks::release`].
    pub fn schedule(&mut self, task: Task) -> Address {
        self.entries.insert(task)
    }

    /// The task may leave now, unless it was cancelled meanwhile.
    pub fn release(&mut self, address: Address) {
        let Some(task) = self.entries.get_mut(address).filter(|task| task.stand == Stand::Held) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(usize::from(task.pool)) {
            task.stand = Stand::Waiting;
            pool.queue.push_back(address);
        }
    }

    /// Puts `own` in the place of an input that is the text of `frame`, so that the frame can be freed.
    pub fn detach_input(&mut self, address: Address, frame: &Payload, own: &Payload) {
        if let Some(task) = self.entries.get_mut(address)
            && task.input.shares_text(frame)
        {
            task.input = own.clone();
        }
    }

    /// The outcome is no longer wanted; a worker that has the task is told with its next batch.
    pub fn cancel(&mut self, address: Address) {
        let Some(task) = self.take(address) else { return };
        if let Stand::With(worker) = task.stand
            && let Some(worker) = self.workers.get_mut(&worker)
        {
            worker.cancelled.push(task.token(address));
        }
    }

    /// The task at an address, if it is the token's and somebody still waits for it.
    #[must_use]
    pub fn at(&self, address: Address, token: &TaskToken) -> Option<&Task> {
        self.entries.get(address).filter(|task| task.token(address) == TaskToken { hint: address, ..*token })
    }

    /// A task, if it is still there.
    #[must_use]
    pub fn get(&self, address: Address) -> Option<&Task> {
        self.entries.get(address)
    }

    /// Takes a task out: its outcome has come.
    pub fn take(&mut self, address: Address) -> Option<Task> {
        let task = self.entries.remove(address)?;
        let line = match task.stand {
            Stand::Held => None,
            Stand::Waiting => self.pools.get_mut(usize::from(task.pool)).map(|pool| &mut pool.queue),
            Stand::Parked => self.parked.get_mut(usize::from(task.log)),
            Stand::With(worker) => self.workers.get_mut(&worker).map(|worker| &mut worker.tasks),
        };
        line.into_iter().for_each(|line| line.left(&self.entries));
        Some(task)
    }

    /// Tasks that wait for a worker or for their outcome.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Workers attached.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A worker has come; `false` when there are too many.
    pub fn attach(&mut self, id: WorkerId, pool: PoolIndex, sender: mpsc::Sender<v1::TaskBatch>) -> bool {
        let Some(entry) = self.pools.get_mut(usize::from(pool)) else { return false };
        if self.workers.len() >= limits::WORKERS_MAX || self.workers.contains_key(&id) {
            return false;
        }
        entry.workers.push(id);
        let (tasks, cancelled, returned) = (Line::default(), Vec::new(), Vec::new());
        self.workers.insert(id, Worker { pool, credit: 0, sender, tasks, cancelled, returned });
        true
    }

    /// A worker takes so many tasks more.
    pub fn grant(&mut self, id: WorkerId, credit: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.credit = worker.credit.saturating_add(credit).min(limits::WORKER_CREDIT_MAX);
        }
    }

    /// A worker has gone: what it had goes to others.
    pub fn detach(&mut self, id: WorkerId) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        let Some(pool) = self.pools.get_mut(usize::from(worker.pool)) else { return };
        pool.workers.retain(|other| *other != id);
        while let Some(address) = worker.tasks.pop_back(&self.entries) {
            self.wait_first(address);
        }
    }

    /// A task stands before all others of its pool.
    fn wait_first(&mut self, address: Address) {
        let Some(task) = self.entries.get_mut(address) else { return };
        if let Some(pool) = self.pools.get_mut(usize::from(task.pool)) {
            task.stand = Stand::Waiting;
            pool.queue.push_front(address);
        }
    }

    /// Sends what can be sent; tasks of a log that `waits` are parked until it does not.
    pub fn dispatch(&mut self, metrics: &ShardMetrics, secret: &Secret, waits: impl Fn(u16) -> bool) {
        for log in 0..self.parked.len() {
            if !self.parked[log].is_empty() && !waits(log as u16) {
                self.go_on(log);
            }
        }
        for pool in 0..self.pools.len() {
            self.dispatch_pool(pool, metrics, secret, &waits);
        }
        let mut gone = Vec::new();
        for (id, worker) in &mut self.workers {
            if !worker.cancelled.is_empty() || !worker.returned.is_empty() {
                let (cancelled, returned) = (worker.sealed(secret), std::mem::take(&mut worker.returned));
                match worker.sender.try_send(v1::TaskBatch { tasks: Vec::new(), cancelled, returned }) {
                    Err(TrySendError::Full(batch)) => {
                        worker.cancelled.truncate(limits::TASK_BATCH_MAX);
                        worker.returned = batch.returned;
                    }
                    Ok(()) | Err(TrySendError::Closed(_)) => worker.cancelled.clear(),
                }
            }
            if worker.sender.is_closed() {
                gone.push(*id);
            }
        }
        for id in gone {
            self.detach(id);
        }
    }

    /// The tasks of a log may leave: they are the oldest.
    fn go_on(&mut self, log: usize) {
        let mut parked = std::mem::take(&mut self.parked[log]);
        while let Some(address) = parked.pop_back(&self.entries) {
            self.wait_first(address);
        }
    }

    fn dispatch_pool(
        &mut self,
        pool: usize,
        metrics: &ShardMetrics,
        secret: &Secret,
        waits: &impl Fn(u16) -> bool,
    ) {
        let mut idle = 0;
        while let Some(entry) = self.pools.get_mut(pool) {
            if entry.queue.is_empty() || idle >= entry.workers.len() {
                return;
            }
            entry.turn = (entry.turn + 1) % entry.workers.len();
            let worker = entry.workers[entry.turn];
            if self.send_batch(pool, worker, metrics, secret, waits) { idle = 0 } else { idle += 1 }
        }
    }

    /// Sends one batch to a worker; `false` when it takes none.
    fn send_batch(
        &mut self,
        pool: usize,
        id: WorkerId,
        metrics: &ShardMetrics,
        secret: &Secret,
        waits: &impl Fn(u16) -> bool,
    ) -> bool {
        let credit = self.workers.get(&id).map_or(0, |worker| worker.credit);
        if credit == 0 {
            return false;
        }
        let count = credit.min(limits::TASK_BATCH_MAX as u32) as usize;
        let addresses = self.fill(pool, count, waits);
        if addresses.is_empty() {
            return false;
        }
        let tasks = addresses.iter().filter_map(|address| self.wire_task(*address, secret)).collect();
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let cancelled = worker.sealed(secret);
        match worker.sender.try_send(v1::TaskBatch { tasks, cancelled, returned: Vec::new() }) {
            Ok(()) => {
                worker.credit -= addresses.len() as u32;
                worker.cancelled.clear();
                metrics.tasks_scheduled.add(addresses.len() as u64);
                for address in addresses {
                    if let Some(task) = self.entries.get_mut(address) {
                        task.stand = Stand::With(id);
                        worker.tasks.push_back(address);
                    }
                }
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                addresses.into_iter().rev().for_each(|address| self.wait_first(address));
                false
            }
        }
    }

    /// Takes tasks from the front of a pool's line, by count and by bytes.
    fn fill(&mut self, pool: usize, count: usize, waits: &impl Fn(u16) -> bool) -> Vec<Address> {
        let (mut addresses, mut bytes) = (Vec::new(), 0);
        let queue = &mut self.pools[pool].queue;
        while addresses.len() < count
            && let Some(address) = queue.pop_front(&self.entries)
            && let Some(task) = self.entries.get_mut(address)
        {
            let log = usize::from(task.log);
            if waits(task.log) {
                task.stand = Stand::Parked;
                if self.parked.len() <= log {
                    self.parked.resize_with(log + 1, Line::default);
                }
                self.parked[log].push_back(address);
                continue;
            }
            bytes += task.input.len();
            if bytes > limits::TASK_BATCH_BYTES_MAX && !addresses.is_empty() {
                queue.push_front(address);
                break;
            }
            addresses.push(address);
        }
        addresses
    }

    fn wire_task(&self, address: Address, secret: &Secret) -> Option<v1::Task> {
        let task = self.entries.get(address)?;
        let (token, function) = (task.token(address).seal(secret), task.function.to_string());
        let trace = task.trace.as_deref().map(v1::TraceContext::from);
        Some(v1::Task { token, function, input: task.input.bytes().clone(), trace })
    }

    /// Gives an outcome back with the worker's next message; `false` when it is dropped, for the worker is not here, or does
    /// not read and has had its share.
    pub fn give_back(&mut self, worker: WorkerId, returned: v1::ReturnedOutcome) -> bool {
        let worker = self.workers.get_mut(&worker);
        let worker = worker.filter(|worker| worker.returned.len() < limits::TASK_BATCH_MAX);
        worker.map(|worker| worker.returned.push(returned)).is_some()
    }
}

#[cfg(test)]
mod tests;
