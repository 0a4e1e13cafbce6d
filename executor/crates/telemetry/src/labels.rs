//! Which names may be labels: a bounded set for the whole node, first come, first served.
//!
//! Invariants: what was granted once stays granted, so that a series never changes its meaning; what comes later is counted
//! under [`OVERFLOW`]; shards ask when they see a name for the first time, never on the hot path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Machines that have a label of their own on one node.
pub const MACHINES_MAX: usize = 1_000;

/// States that have a label of their own on one node, over all machines.
pub const STATES_MAX: usize = 4_000;

/// States of one machine that have a label of their own.
pub const STATES_PER_MACHINE_MAX: usize = 200;

/// Error names that have a label of their own on one node, over all machines.
pub const ERRORS_MAX: usize = 1_000;

/// Error names of one machine that have a label of their own: a function may make them up as it goes.
pub const ERRORS_PER_MACHINE_MAX: usize = 50;

/// Targets of tasks that have a label of their own on one node.
pub const TARGETS_MAX: usize = 500;

/// The label of everything beyond the bounds.
pub const OVERFLOW: &str = "other";

/// A text that many series share.
pub type Label = Arc<str>;

/// Names within names, each bounded, and all of them together.
#[derive(Debug)]
struct Bounded {
    max: usize,
    within_max: usize,
    granted: usize,
    names: BTreeMap<Label, BTreeSet<Label>>,
}

impl Bounded {
    fn new(max: usize, within_max: usize) -> Self {
        Self { max, within_max, granted: 0, names: BTreeMap::new() }
    }

    /// The label of a name within another; [`OVERFLOW`] is free.
    fn grant(&mut self, within: &str, name: &str) -> Label {
        if let Some(known) = self.names.get(within).and_then(|names| names.get(name)) {
            return Arc::clone(known);
        }
        let of_this = self.names.get(within).map_or(0, BTreeSet::len);
        if within == OVERFLOW || name == OVERFLOW || self.granted >= self.max || of_this >= self.within_max {
            return OVERFLOW.into();
        }
        self.granted += 1;
        let label = Label::from(name);
        self.names.entry(within.into()).or_default().insert(Arc::clone(&label));
        label
    }
}

/// The labels that a node has granted.
#[derive(Debug)]
pub(crate) struct Labels {
    machines: Mutex<BTreeSet<Label>>,
    states: Mutex<Bounded>,
    errors: Mutex<Bounded>,
    targets: Mutex<Bounded>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            machines: Mutex::default(),
            states: Mutex::new(Bounded::new(STATES_MAX, STATES_PER_MACHINE_MAX)),
            errors: Mutex::new(Bounded::new(ERRORS_MAX, ERRORS_PER_MACHINE_MAX)),
            targets: Mutex::new(Bounded::new(TARGETS_MAX, TARGETS_MAX)),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Labels {
    /// The label of a machine, by ARN or QRN.
    pub fn machine(&self, arn: &str) -> Label {
        let mut machines = locked(&self.machines);
        if let Some(known) = machines.get(arn) {
            return Arc::clone(known);
        }
        if machines.len() >= MACHINES_MAX {
            return OVERFLOW.into();
        }
        let label = Label::from(arn);
        machines.insert(Arc::clone(&label));
        label
    }

    /// The label of a machine if it has one already: for whoever names machines that may not exist.
    pub fn known_machine(&self, arn: &str) -> Label {
        locked(&self.machines).get(arn).map_or_else(|| OVERFLOW.into(), Arc::clone)
    }

    /// How many names of each set have a label, and how many can.
    pub fn used(&self) -> [(&'static str, usize, usize); 4] {
        [
            ("machines", locked(&self.machines).len(), MACHINES_MAX),
            ("states", locked(&self.states).granted, STATES_MAX),
            ("errors", locked(&self.errors).granted, ERRORS_MAX),
            ("targets", locked(&self.targets).granted, TARGETS_MAX),
        ]
    }

    /// Every machine that has a label.
    pub fn machines(&self) -> Vec<Label> {
        locked(&self.machines).iter().map(Arc::clone).collect()
    }

    /// The label of a state of the machine with this label.
    pub fn state(&self, machine: &str, state: &str) -> Label {
        locked(&self.states).grant(machine, state)
    }

    /// The label of an error name that executions of the machine with this label meet.
    pub fn error(&self, machine: &str, error: &str) -> Label {
        locked(&self.errors).grant(machine, error)
    }

    /// The label of what tasks are given to.
    pub fn target(&self, integration: &str, target: &str) -> Label {
        locked(&self.targets).grant(integration, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_label_and_later_ones_share_one() {
        let mut bounded = Bounded::new(3, 2);
        assert_eq!(&*bounded.grant("a", "1"), "1");
        assert_eq!(&*bounded.grant("a", "2"), "2");
        assert_eq!(&*bounded.grant("a", "3"), OVERFLOW, "a machine has its own bound");
        assert_eq!(&*bounded.grant("b", "1"), "1");
        assert_eq!(&*bounded.grant("c", "1"), OVERFLOW, "the node has one as well");
        assert_eq!(&*bounded.grant("a", "2"), "2");
        assert_eq!(&*bounded.grant(OVERFLOW, "1"), OVERFLOW);
    }

    #[test]
    fn a_machine_that_may_not_exist_takes_no_label() {
        let labels = Labels::default();
        assert_eq!(&*labels.known_machine("m"), OVERFLOW);
        assert_eq!(&*labels.machine("m"), "m");
        assert_eq!(&*labels.known_machine("m"), "m");
        assert_eq!(labels.machines().len(), 1);
    }
}
