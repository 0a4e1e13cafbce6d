//! What one shard counts of a machine, of its states and of what its tasks are given to.
//!
//! Invariants: each cell has one writer, the shard; series of several shards with the same labels are added at a scrape;
//! whoever counts asks for the cells once and keeps them, since asking takes a lock that only a scrape shares.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cells::{Counter, Gauge, Histogram};
use crate::labels::{LABEL_BYTES_MAX, Label, Labels, OVERFLOW};

/// Cells by label.
#[derive(Debug)]
pub(crate) struct Table<K, C>(Mutex<HashMap<K, Arc<C>, foldhash::fast::RandomState>>);

impl<K, C> Default for Table<K, C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + std::hash::Hash, C> Table<K, C> {
    pub fn get(&self, key: K, new: impl FnOnce() -> C) -> Arc<C> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(key).or_insert_with(|| Arc::new(new())))
    }

    /// What is there already.
    pub fn find<Q: Eq + std::hash::Hash + ?Sized>(&self, key: &Q) -> Option<Arc<C>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).map(Arc::clone)
    }

    /// All of them, for a scrape.
    pub fn all(&self) -> Vec<(K, Arc<C>)> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(key, cells)| (key.clone(), Arc::clone(cells))).collect()
    }
}

/// What is counted for one machine on one shard.
#[derive(Debug, Default)]
pub struct MachineMetrics {
    /// Starts that are durable.
    pub started: Counter,
    /// Ended with an output.
    pub succeeded: Counter,
    /// Ended with an error.
    pub failed: Counter,
    /// Ran too long.
    pub timed_out: Counter,
    /// Stopped.
    pub aborted: Counter,
    /// Starts that were refused for want of room.
    pub throttled: Counter,
    /// Have not ended.
    pub open: Gauge,
    /// From the accepted start to the durable end.
    pub duration: Histogram,
    label: Label,
    labels: Arc<Labels>,
    states: Table<Label, StateMetrics>,
    errors: Table<Label, Counter>,
    /// No error name of this machine gets a label any more.
    errors_full: AtomicBool,
}

impl MachineMetrics {
    pub(crate) fn new(label: Label, labels: &Arc<Labels>) -> Self {
        Self { label, labels: Arc::clone(labels), ..Self::default() }
    }

    /// The cells of a state, by its name. A shard asks once for each state and keeps the answer; asking for all of a machine's
    /// states when it is first seen makes their series begin at zero.
    #[must_use]
    pub fn state(&self, name: &str) -> Arc<StateMetrics> {
        self.states.get(self.labels.state(&self.label, name), StateMetrics::default)
    }

    /// Counts executions that ended with an error of this name. Takes a lock that only a scrape shares, and one of the node
    /// for a name that this shard has not met, until the machine has as many labels as it may: one that makes up names stands
    /// in nobody's way.
    pub fn count_error(&self, name: &str, executions: u64) {
        let known = self.errors.find(name);
        known.unwrap_or_else(|| self.errors.get(self.error_label(name), Counter::default)).add(executions);
    }

    fn error_label(&self, name: &str) -> Label {
        if self.errors_full.load(Ordering::Relaxed) || name.len() > LABEL_BYTES_MAX {
            return OVERFLOW.into();
        }
        let label = self.labels.error(&self.label, name);
        self.errors_full.store(&*label == OVERFLOW && name != OVERFLOW, Ordering::Relaxed);
        label
    }

    /// The cells of every state so far.
    #[must_use]
    pub fn states(&self) -> Vec<(Label, Arc<StateMetrics>)> {
        self.states.all()
    }

    /// How many executions ended with each error so far.
    #[must_use]
    pub fn errors(&self) -> Vec<(Label, Arc<Counter>)> {
        self.errors.all()
    }
}

/// What is counted for one state of one machine on one shard. `entered` is `exited`, `failed` and `aborted` and what is in
/// the state now, as long as no partition moves: who takes one over counts the ends of states that another one has counted
/// as entered.
#[derive(Debug, Default)]
pub struct StateMetrics {
    /// Times it was entered.
    pub entered: Counter,
    /// Times it was left for the next state or the end, by a catcher too.
    pub exited: Counter,
    /// Times it failed for good: no catcher took its error.
    pub failed: Counter,
    /// Times it was given up with what is around it: a failed branch, a stopped execution.
    pub aborted: Counter,
    /// Errors of it that a catcher took; it is `exited` then.
    pub caught: Counter,
    /// Attempts after a failed one.
    pub retried: Counter,
    /// From entry to exit, failure or abort, summed; in microseconds.
    pub time_us: Counter,
}

/// The type of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StateKind {
    /// `Choice`
    Choice,
    /// `Fail`
    Fail,
    /// `Map`
    Map,
    /// `Parallel`
    Parallel,
    /// `Pass`
    Pass,
    /// `Succeed`
    Succeed,
    /// `Task`
    Task,
    /// `Wait`
    Wait,
}

impl StateKind {
    /// All of them, with the value of the `type` label.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Choice, "Choice"),
        (Self::Fail, "Fail"),
        (Self::Map, "Map"),
        (Self::Parallel, "Parallel"),
        (Self::Pass, "Pass"),
        (Self::Succeed, "Succeed"),
        (Self::Task, "Task"),
        (Self::Wait, "Wait"),
    ];
}

/// What tasks of one target came to on one shard: a function, a host, a service.
#[derive(Debug, Default)]
pub struct TargetMetrics {
    /// Came to a good end.
    pub succeeded: Counter,
    /// Ended with an error.
    pub failed: Counter,
    /// Nobody waits for them any more: they took too long, or their execution ended or is elsewhere now.
    pub cancelled: Counter,
    /// From when the task was asked for to its end, good or bad; not of cancelled ones.
    pub latency: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::ERRORS_PER_MACHINE_MAX;

    #[test]
    fn a_machine_that_makes_up_error_names_asks_for_no_more_labels_once_it_has_its_part() {
        let labels = Arc::<Labels>::default();
        let machine = MachineMetrics::new("m".into(), &labels);
        machine.count_error(&"x".repeat(LABEL_BYTES_MAX + 1), 1);
        machine.count_error(OVERFLOW, 1);
        assert!(!machine.errors_full.load(Ordering::Relaxed), "such names say nothing about the others");
        for at in 0..=ERRORS_PER_MACHINE_MAX {
            machine.count_error(&at.to_string(), 1);
        }
        assert!(machine.errors_full.load(Ordering::Relaxed));
        machine.count_error("0", 1);
        machine.count_error("new", 1);
        let count = |name: &str| machine.errors.find(name).map(|counter| counter.get());
        assert_eq!((count("0"), count(OVERFLOW), count("new")), (Some(2), Some(4), None));
    }
}
