//! Tasks on their way to workers and back.
//!
//! A task waits in the queue of its pool until a worker of that pool has credit; it leaves in a batch; its outcome comes
//! back under its [`TaskToken`]. Invariants: an outcome is taken once, a second one finds nobody; a worker that leaves gives its tasks back to the front of the queue, in their
//! order. Bounded by admission (a task belongs to an open execution) and by credit. What may fail: a full or closed
//! worker channel, and then the tasks stay here.

use std::collections::{HashMap, VecDeque};

use asl::{EffectId, Payload, Str};
use bytes::Bytes;
use ids::ExecutionId;
use proto::executor::v1;
use telemetry::ShardMetrics;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use trust::Secret;

use super::bindings::PoolIndex;
use super::command::WorkerId;
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
    /// Who serves it.
    pub pool: PoolIndex,
    /// The place of its partition's log.
    pub log: u16,
    /// Who has it.
    pub worker: Option<WorkerId>,
}

impl Task {
    fn token(&self, hint: Address) -> TaskToken {
        TaskToken { execution: self.id, effect: self.effect, run: self.run, hint }
    }
}

#[derive(Debug)]
struct Pool {
    queue: VecDeque<Address>,
    workers: Vec<WorkerId>,
    turn: usize,
}

#[derive(Debug)]
struct Worker {
    pool: PoolIndex,
    credit: u32,
    sender: mpsc::Sender<v1::TaskBatch>,
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
    /// Tasks of logs of which it is not known whether they still have this owner.
    parked: Vec<Address>,
}

impl Tasks {
    /// So many pools, all without workers.
    #[must_use]
    pub fn new(pools: usize) -> Self {
        let pools =
            (0..pools).map(|_| Pool { queue: VecDeque::new(), workers: Vec::new(), turn: 0 }).collect();
        Self { entries: Slab::default(), pools, workers: HashMap::default(), parked: Vec::new() }
    }

    /// A task; it is not sent before [`Tasks::release`].
    pub fn schedule(&mut self, task: Task) -> Address {
        self.entries.insert(task)
    }

    /// The task may leave now, unless it was cancelled meanwhile.
    pub fn release(&mut self, address: Address) {
        let pool = self.entries.get(address).map(|task| usize::from(task.pool));
        if let Some(pool) = pool.and_then(|pool| self.pools.get_mut(pool)) {
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
        let Some(task) = self.entries.remove(address) else { return };
        if let Some(worker) = task.worker.and_then(|worker| self.workers.get_mut(&worker)) {
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
        self.entries.remove(address)
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
        self.workers
            .insert(id, Worker { pool, credit: 0, sender, cancelled: Vec::new(), returned: Vec::new() });
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
        let Some(worker) = self.workers.remove(&id) else { return };
        let Some(pool) = self.pools.get_mut(usize::from(worker.pool)) else { return };
        pool.workers.retain(|other| *other != id);
        let had: Vec<Address> = self
            .entries
            .iter()
            .filter(|(_, task)| task.worker == Some(id))
            .map(|(address, _)| address)
            .collect();
        for address in had.into_iter().rev() {
            if let Some(task) = self.entries.get_mut(address) {
                task.worker = None;
            }
            pool.queue.push_front(address);
        }
    }

    /// Sends what can be sent; a task of a log that has `lapsed` waits until that goes on.
    pub fn dispatch(&mut self, metrics: &ShardMetrics, secret: &Secret, lapsed: impl Fn(u16) -> bool) {
        for pool in 0..self.pools.len() {
            self.dispatch_pool(pool, metrics, secret, &lapsed);
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

    /// The tasks of a log that waited for its owner may leave: they are the oldest.
    pub fn go_on(&mut self, log: u16) {
        if self.parked.is_empty() {
            return;
        }
        let (entries, pools) = (&self.entries, &mut self.pools);
        let mut others = Vec::new();
        for address in self.parked.drain(..).rev() {
            match entries.get(address) {
                Some(task) if task.log == log => pools[usize::from(task.pool)].queue.push_front(address),
                Some(_) => others.push(address),
                None => {}
            }
        }
        others.reverse();
        self.parked = others;
    }

    fn dispatch_pool(
        &mut self,
        pool: usize,
        metrics: &ShardMetrics,
        secret: &Secret,
        lapsed: &impl Fn(u16) -> bool,
    ) {
        let mut idle = 0;
        while let Some(entry) = self.pools.get_mut(pool) {
            if entry.queue.is_empty() || idle >= entry.workers.len() {
                return;
            }
            entry.turn = (entry.turn + 1) % entry.workers.len();
            let worker = entry.workers[entry.turn];
            if self.send_batch(pool, worker, metrics, secret, lapsed) { idle = 0 } else { idle += 1 }
        }
    }

    /// Sends one batch to a worker; `false` when it takes none.
    fn send_batch(
        &mut self,
        pool: usize,
        id: WorkerId,
        metrics: &ShardMetrics,
        secret: &Secret,
        lapsed: &impl Fn(u16) -> bool,
    ) -> bool {
        let credit = self.workers.get(&id).map_or(0, |worker| worker.credit);
        if credit == 0 {
            return false;
        }
        let count = credit.min(limits::TASK_BATCH_MAX as u32) as usize;
        let addresses = self.fill(pool, id, count, lapsed);
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
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                for address in addresses.into_iter().rev() {
                    if let Some(task) = self.entries.get_mut(address) {
                        task.worker = None;
                    }
                    self.pools[pool].queue.push_front(address);
                }
                false
            }
        }
    }

    /// Takes tasks from the front of a pool's queue for a worker, by count and by bytes.
    fn fill(
        &mut self,
        pool: usize,
        id: WorkerId,
        count: usize,
        lapsed: &impl Fn(u16) -> bool,
    ) -> Vec<Address> {
        let (mut addresses, mut bytes) = (Vec::new(), 0);
        let queue = &mut self.pools[pool].queue;
        while addresses.len() < count
            && let Some(address) = queue.pop_front()
        {
            // Whoever was cancelled while it waited is no longer there.
            let Some(task) = self.entries.get_mut(address) else { continue };
            if lapsed(task.log) {
                self.parked.push(address);
                continue;
            }
            bytes += task.input.len();
            if bytes > limits::TASK_BATCH_BYTES_MAX && !addresses.is_empty() {
                queue.push_front(address);
                break;
            }
            task.worker = Some(id);
            addresses.push(address);
        }
        addresses
    }

    fn wire_task(&self, address: Address, secret: &Secret) -> Option<v1::Task> {
        let task = self.entries.get(address)?;
        let (token, function) = (task.token(address).seal(secret), task.function.to_string());
        Some(v1::Task { token, function, input: task.input.bytes().clone() })
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
mod tests {
    use super::*;

    const POOL: PoolIndex = 0;

    fn secret() -> Secret {
        Secret::from_key(&[7; 32])
    }

    fn id() -> ExecutionId {
        let partition = ids::PartitionId::new(1).expect("in range");
        ids::BatchId::new(partition, 1, 1).expect("in range").execution(0)
    }

    /// The task that an outcome with this token would be taken for.
    fn find<'a>(tasks: &'a Tasks, token: &[u8]) -> Option<&'a Task> {
        let token = TaskToken::open(&secret(), token)?;
        tasks.at(token.hint, &token)
    }

    fn tasks(number: u64) -> (Tasks, Vec<Address>) {
        let mut tasks = Tasks::new(1);
        let addresses = (0..number)
            .map(|effect| {
                let address = tasks.schedule(Task {
                    execution: Address::default(),
                    id: id(),
                    run: 1,
                    effect: EffectId(effect),
                    function: "f".into(),
                    input: Payload::from_checked(Bytes::from_static(b"{}")),
                    wrapped: false,
                    pool: POOL,
                    log: 0,
                    worker: None,
                });
                tasks.release(address);
                address
            })
            .collect();
        (tasks, addresses)
    }

    fn attach(tasks: &mut Tasks, id: WorkerId, credit: u32) -> mpsc::Receiver<v1::TaskBatch> {
        let (sender, receiver) = mpsc::channel(8);
        assert!(tasks.attach(id, POOL, sender));
        tasks.grant(id, credit);
        receiver
    }

    fn received(tasks: &Tasks, receiver: &mut mpsc::Receiver<v1::TaskBatch>) -> Vec<u64> {
        let mut effects = Vec::new();
        while let Ok(batch) = receiver.try_recv() {
            effects.extend(batch.tasks.iter().filter_map(|task| Some(find(tasks, &task.token)?.effect.0)));
        }
        effects
    }

    #[test]
    fn a_worker_gets_no_more_than_its_credit() {
        let metrics = ShardMetrics::default();
        let (mut tasks, _) = tasks(5);
        let mut worker = attach(&mut tasks, 1, 2);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(received(&tasks, &mut worker), [0, 1]);
        tasks.grant(1, 10);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(received(&tasks, &mut worker), [2, 3, 4]);
    }

    #[test]
    fn the_tasks_of_a_worker_that_leaves_go_to_another_in_their_order() {
        let metrics = ShardMetrics::default();
        let (mut tasks, _) = tasks(4);
        let mut first = attach(&mut tasks, 1, 3);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(received(&tasks, &mut first), [0, 1, 2]);
        drop(first);
        tasks.dispatch(&metrics, &secret(), |_| false);
        let mut second = attach(&mut tasks, 2, 10);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(received(&tasks, &mut second), [0, 1, 2, 3]);
    }

    #[test]
    fn tasks_of_a_log_that_has_lapsed_wait_and_then_leave_before_later_ones_in_their_order() {
        let metrics = ShardMetrics::default();
        let (mut tasks, addresses) = tasks(6);
        for at in [1, 3, 4] {
            tasks.entries.get_mut(addresses[at]).expect("scheduled").log = 1;
        }
        let mut worker = attach(&mut tasks, 1, 3);
        tasks.dispatch(&metrics, &secret(), |log| log == 1);
        assert_eq!(received(&tasks, &mut worker), [0, 2, 5]);
        tasks.cancel(addresses[3]);
        tasks.go_on(0);
        tasks.grant(1, 10);
        tasks.dispatch(&metrics, &secret(), |log| log == 1);
        assert!(received(&tasks, &mut worker).is_empty(), "the other log goes on");
        tasks.go_on(1);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(received(&tasks, &mut worker), [1, 4]);
    }

    #[test]
    fn a_cancelled_task_is_not_sent_or_its_worker_is_told() {
        let metrics = ShardMetrics::default();
        let (mut tasks, addresses) = tasks(3);
        tasks.cancel(addresses[0]);
        let mut worker = attach(&mut tasks, 1, 10);
        tasks.dispatch(&metrics, &secret(), |_| false);
        let sent = worker.try_recv().expect("a batch").tasks;
        assert_eq!(sent.len(), 2);
        tasks.cancel(addresses[1]);
        tasks.dispatch(&metrics, &secret(), |_| false);
        assert_eq!(worker.try_recv().expect("a batch").cancelled, [sent[0].token.clone()]);
        assert!(find(&tasks, &sent[0].token).is_none());
    }

    #[test]
    fn a_token_of_another_run_or_another_effect_finds_nobody() {
        let (tasks, addresses) = tasks(1);
        let token = TaskToken { execution: id(), effect: EffectId(0), run: 1, hint: addresses[0] };
        assert!(tasks.at(addresses[0], &token).is_some());
        let elsewhere = TaskToken { hint: Address::default(), ..token };
        assert!(tasks.at(addresses[0], &elsewhere).is_some(), "the hint is no part of what it names");
        for other in [TaskToken { run: 2, ..token }, TaskToken { effect: EffectId(1), ..token }] {
            assert!(tasks.at(addresses[0], &other).is_none(), "{other:?}");
        }
    }
}
