//! One open execution as its shard keeps it: the pure machine, its mailbox, what it waits for, and where its records are.
//!
//! Invariant: a tenant leaves its slot only after its end is durable, so that whoever asks in between finds it, and its
//! permit is held as long.

use std::collections::HashMap;
use std::rc::Rc;

use asl::{EffectId, Outcome};
use bytes::Bytes;
use ids::ExecutionId;
use journal::BlockId;
use journal::block::OpenedView;
use proto::executor::v1;
use smallvec::SmallVec;

use super::command::Reply;
use super::machine::{self, Machine};
use super::mailbox::Mailbox;
use super::scan::Blocks;
use super::slab::Address;
use super::spans::Run;
use super::timers::TimerKey;
use super::trace::Trace;
use crate::admission::Permit;
use crate::error::Error;

/// Entries up to which what an execution waits for is searched in a row.
const SEARCHED_IN_A_ROW: usize = 16;

/// An open execution, or one whose end is not durable yet.
#[derive(Debug)]
pub struct OpenExecution {
    pub machine: Rc<Machine>,
    pub id: ExecutionId,
    pub execution: asl::Family,
    pub mailbox: Mailbox,
    /// Whether it stands in the shard's run queue.
    pub runnable: bool,
    /// Whether its opened record is in a finished block.
    pub opened: bool,
    /// Index of its partition's log.
    pub log: u16,
    /// Events journalled so far (STANDARD).
    pub journalled: u32,
    /// Bytes of what its Maps have read that the journal keeps (STANDARD).
    pub reads_kept: u32,
    pub start_time_ms: u64,
    /// When the shard took it, in microseconds, for the duration.
    pub received_us: u64,
    pub seed: u64,
    pub name: Option<Box<str>>,
    /// The trace that it belongs to, if any.
    pub trace: Option<Rc<Trace>>,
    /// Until the opened record is written; then the log has it.
    pub input: Bytes,
    /// The blocks with its opened record, which is in the first, and its journal.
    pub blocks: Blocks,
    pub waiting_for: WaitingFor,
    pub ended: Option<Box<Ended>>,
    /// Held until its end is durable.
    #[allow(dead_code, reason = "held for its drop")]
    pub permit: Permit,
    /// Who wants to know when its end is durable.
    #[allow(clippy::box_collection, reason = "rare: eight bytes in every open execution instead of 24")]
    pub stoppers: Option<Box<Vec<Waiter>>>,
}

impl OpenExecution {
    /// Its opened record, in a block that has its machine at this place.
    pub fn record(&self, machine: u32) -> OpenedView<'_> {
        OpenedView {
            id: self.id,
            machine,
            start_time_ms: self.start_time_ms,
            seed: self.seed,
            name: self.name.as_deref(),
            input: &self.input,
            trace: self.trace.as_deref().and_then(Trace::stored),
        }
    }

    /// Where it stands in its trace, where its spans are told.
    #[inline]
    pub fn run(&self) -> Option<Run> {
        let trace = self.trace.as_deref().filter(|trace| trace.is_told())?;
        let since = self.execution.redriven_at();
        let since = since.unwrap_or_else(|| machine::timestamp_of_ms(self.start_time_ms));
        trace.run(self.id, self.execution.redrives(), since)
    }

    /// The block that the log has to be kept from.
    pub fn oldest_block(&self) -> Option<BlockId> {
        self.blocks.iter().min().copied()
    }

    /// Whether the finished blocks of the log say that it is open.
    pub fn is_open_in_log(&self) -> bool {
        self.opened && !self.ended.as_ref().is_some_and(|ended| ended.written)
    }
}

/// How an execution ended, until that is durable.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub stop_time_ms: u64,
    /// Whether its closed record is in a finished block.
    pub written: bool,
}

/// Who waits for an end, and for what of it.
#[derive(Debug)]
pub enum Waiter {
    /// For its time.
    Time(Reply<u64>),
    /// For all of it.
    End(Reply<v1::StartSyncExecutionResponse>),
}

impl Waiter {
    /// There will be no end here.
    pub fn refuse(self, error: Error) {
        // Who no longer listens needs no answer.
        match self {
            Self::Time(reply) => drop(reply.send(Err(error))),
            Self::End(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What an effect has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A task, by its address among the shard's tasks.
    Task(Address),
    /// A read or write of a Map, by its address among the shard's transfers.
    Transfer(Address),
    /// An armed timer.
    Timer(TimerKey),
    /// An integration's call, by its address among the shard's calls.
    Call(Address),
    /// Nothing but its token: a `.waitForTaskToken` task whose first request was answered.
    Callback,
    /// An activity's task, by its address among those of the shard.
    Activity(Address),
}

/// What an execution waits for, by effect. Small in most executions; a wide Map makes it a hash map.
#[derive(Debug)]
pub enum WaitingFor {
    Few(SmallVec<[(EffectId, Waiting); 1]>),
    #[allow(clippy::box_collection, reason = "rare: keeps the common case small")]
    Many(Box<HashMap<(EffectId, bool), Waiting, foldhash::fast::RandomState>>),
}

impl Default for WaitingFor {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

/// All but timers are tasks in this respect: the core gives their ids in one way.
fn is_task(waiting: Waiting) -> bool {
    !matches!(waiting, Waiting::Timer(_))
}

impl WaitingFor {
    /// Remembers what an effect has become, and gives what it was before.
    pub fn insert(&mut self, id: EffectId, waiting: Waiting) -> Option<Waiting> {
        let before = self.remove(id, is_task(waiting));
        if let Self::Few(few) = self
            && few.len() >= SEARCHED_IN_A_ROW
        {
            let many = few.drain(..).map(|(id, waiting)| ((id, is_task(waiting)), waiting)).collect();
            *self = Self::Many(Box::new(many));
        }
        match self {
            Self::Few(few) => few.push((id, waiting)),
            Self::Many(many) => {
                many.insert((id, is_task(waiting)), waiting);
            }
        }
        before
    }

    /// Forgets a task's effect (`task`) or a timer's.
    pub fn remove(&mut self, id: EffectId, task: bool) -> Option<Waiting> {
        match self {
            Self::Few(few) => {
                let at = few.iter().position(|entry| entry.0 == id && is_task(entry.1) == task)?;
                Some(few.swap_remove(at).1)
            }
            Self::Many(many) => many.remove(&(id, task)),
        }
    }

    /// What the effect of a task has become, if its outcome is still wanted.
    pub fn work(&self, id: EffectId) -> Option<Waiting> {
        match self {
            Self::Few(few) => few.iter().find(|entry| entry.0 == id && is_task(entry.1)).map(|entry| entry.1),
            Self::Many(many) => many.get(&(id, true)).copied(),
        }
    }

    /// The streaming worker's task of an effect, likewise.
    pub fn task(&self, id: EffectId) -> Option<Address> {
        match self.work(id)? {
            Waiting::Task(address) => Some(address),
            _ => None,
        }
    }

    /// The activity's task of an effect, if its outcome is still wanted.
    pub fn activity(&self, id: EffectId) -> Option<Address> {
        match self.work(id)? {
            Waiting::Activity(address) => Some(address),
            _ => None,
        }
    }

    /// Whether a task's effect (`task`) or a timer's is still wanted.
    #[cfg(test)]
    #[must_use]
    pub fn contains(&self, id: EffectId, task: bool) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|entry| entry.0 == id && is_task(entry.1) == task),
            Self::Many(many) => many.contains_key(&(id, task)),
        }
    }

    /// The tasks among it.
    pub fn tasks(&self) -> SmallVec<[Address; 4]> {
        let task = |waiting: &Waiting| match waiting {
            Waiting::Task(address) => Some(*address),
            _ => None,
        };
        match self {
            Self::Few(few) => few.iter().filter_map(|entry| task(&entry.1)).collect(),
            Self::Many(many) => many.values().filter_map(task).collect(),
        }
    }

    /// The tasks of activities among it.
    pub fn activities(&self) -> SmallVec<[Address; 4]> {
        let task = |waiting: &Waiting| match waiting {
            Waiting::Activity(address) => Some(*address),
            _ => None,
        };
        match self {
            Self::Few(few) => few.iter().filter_map(|entry| task(&entry.1)).collect(),
            Self::Many(many) => many.values().filter_map(task).collect(),
        }
    }

    /// Forgets everything, and gives it.
    pub fn take_all(&mut self) -> SmallVec<[Waiting; 4]> {
        match std::mem::take(self) {
            Self::Few(few) => few.into_iter().map(|entry| entry.1).collect(),
            Self::Many(many) => many.into_values().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_and_a_timer_of_the_same_effect_are_two_things() {
        let mut waiting = WaitingFor::default();
        for id in 0..40 {
            let task = Waiting::Task(Address { slot: id, generation: 0 });
            assert_eq!(waiting.insert(EffectId(u64::from(id)), task), None);
            let other =
                waiting.insert(EffectId(u64::from(id)), Waiting::Task(Address { slot: id, generation: 1 }));
            assert_eq!(other, Some(task));
        }
        for id in 0..40 {
            assert!(waiting.contains(EffectId(id), true) && !waiting.contains(EffectId(id), false));
            assert!(waiting.remove(EffectId(id), false).is_none());
            assert!(waiting.remove(EffectId(id), true).is_some());
        }
        assert!(waiting.take_all().is_empty());
    }
}
