//! Tasks that were with workers when their partition left: their outcomes go to the next owner.
//!
//! A worker that reports a task here after its partition was given back, or lost, has done it; to drop the report would have
//! the next owner's workers do it again. So it is given back to the worker, under a token that any owner of the partition
//! understands: the execution and the effect. The worker sends it again to whoever has the partition then. Invariants: only
//! for STANDARD executions, for which an effect's id stands for the same task wherever it is replayed; an outcome is taken
//! from a worker of the task's own pool alone; while a partition is being recovered an outcome is given back, not dropped.
//! Bounded: of [`limits::TASKS_MOVED_MAX`] tasks the oldest are forgotten first, and done again. Nothing here fails.

use std::collections::{HashMap, VecDeque};

use asl::EffectId;
use bytes::Bytes;
use ids::{ExecutionId, PartitionId};
use proto::executor::v1;

use super::command::WorkerId;
use super::core::Shard;
use super::execution::Waiting;
use super::log::LogState;
use super::slab::Address;
use crate::limits;

/// Which task, wherever its partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskKey {
    execution: ExecutionId,
    effect: EffectId,
}

impl TaskKey {
    fn token(self) -> Bytes {
        format!("{} {}", self.execution, self.effect.0).into()
    }

    fn of(token: &[u8]) -> Option<Self> {
        let (execution, effect) = std::str::from_utf8(token).ok()?.split_once(' ')?;
        Some(Self { execution: execution.parse().ok()?, effect: EffectId(effect.parse().ok()?) })
    }
}

/// The partition of a task of a token that was given with an outcome that came back.
pub(crate) fn partition_of(token: &[u8]) -> Option<PartitionId> {
    TaskKey::of(token).map(|key| key.execution.batch.partition)
}

/// Tasks that left with their partitions.
#[derive(Debug, Default)]
pub(super) struct Moved {
    tasks: HashMap<Address, TaskKey, foldhash::fast::RandomState>,
    /// The oldest first; those that were reported since are in it, too.
    order: VecDeque<Address>,
}

impl Moved {
    fn insert(&mut self, address: Address, key: TaskKey) {
        if self.order.len() >= limits::TASKS_MOVED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tasks.remove(&oldest);
        }
        self.order.push_back(address);
        self.tasks.insert(address, key);
    }
}

/// What an outcome is for.
pub(super) enum Addressee {
    /// A task of this shard.
    Here(Address),
    /// One that another owner has, or will have.
    Elsewhere(TaskKey),
    /// One that nobody waits for.
    Nobody,
}

impl Shard {
    /// Takes the tasks of an execution that leaves from their pools, and remembers those that are with workers.
    pub(super) fn move_tasks(&mut self, execution: Address) {
        let Some(open) = self.open.get_mut(execution).filter(|open| open.machine.is_standard()) else {
            return;
        };
        for address in open.waiting_for.tasks() {
            if let Some(task) = self.tasks.take(address).filter(|task| task.worker.is_some()) {
                self.tasks.moved.insert(address, TaskKey { execution: open.id, effect: task.effect });
            }
        }
    }

    /// For whom an outcome is that a worker sends.
    pub(super) fn addressee(&mut self, worker: WorkerId, token: &[u8]) -> Addressee {
        if let Some((address, _)) = self.tasks.find(token) {
            return Addressee::Here(address);
        }
        let left = self.tasks.address(token).and_then(|address| self.tasks.moved.tasks.remove(&address));
        let Some(key) = left.or_else(|| TaskKey::of(token)) else { return Addressee::Nobody };
        let id = key.execution;
        let Some(log) = self.log_at(id.batch.partition).map(|at| &self.logs[at]) else {
            return Addressee::Elsewhere(key);
        };
        let settled = matches!(log.state, LogState::Serving | LogState::Down) && !log.away.contains_key(&id);
        if !settled {
            return Addressee::Elsewhere(key);
        }
        let open = self.find(id).and_then(|address| self.open.get(address));
        let open = open.filter(|open| open.machine.is_standard());
        match open.and_then(|open| open.waiting_for.task(key.effect)) {
            Some(Waiting::Task(task)) if self.tasks.is_for(worker, task) => Addressee::Here(task),
            _ => Addressee::Nobody,
        }
    }

    /// Gives an outcome back to its worker, for the owner of its partition.
    pub(super) fn give_back(&mut self, worker: WorkerId, key: TaskKey, outcome: v1::TaskOutcome) {
        let partition = u32::from(key.execution.batch.partition.get());
        let outcome = v1::TaskOutcome { token: key.token(), ..outcome };
        self.metrics.outcomes_returned.add(1);
        self.tasks.give_back(worker, v1::ReturnedOutcome { outcome: Some(outcome), partition });
    }
}
