//! Which names may be labels: a bounded set for the whole node, first come, first served.
//!
//! Invariants: what was granted once stays granted, so that a series never changes its meaning; what comes later, and what is
//! longer than [`LABEL_BYTES_MAX`], is counted under [`OVERFLOW`]: executions may name errors and targets as they like. Shards
//! ask when they see a name for the first time, never on the hot path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::reasons::CallKind;

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

/// Targets of tasks of one integration that have a label of their own on one node, so that none takes those of others.
pub const TARGETS_PER_INTEGRATION_MAX: usize = 200;

/// Targets of tasks that have a label of their own on one node: workers, activities and each integration have their part.
pub const TARGETS_MAX: usize = (CallKind::ALL.len() + 2) * TARGETS_PER_INTEGRATION_MAX;

/// Bytes of a name that has a label of its own: an error's name, a machine's ARN and a function's are no longer.
pub const LABEL_BYTES_MAX: usize = 256;

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

    /// The label of a name within another; [`OVERFLOW`], under which a name that is too long is counted, is free.
    fn grant(&mut self, within: &str, name: &str) -> Label {
        if let Some(known) = self.names.get(within).and_then(|names| names.get(name)) {
            return Arc::clone(known);
        }
        let of_this = self.names.get(within).map_or(0, BTreeSet::len);
        let is_free = within == OVERFLOW || name == OVERFLOW || name.len() > LABEL_BYTES_MAX;
        if is_free || self.granted >= self.max || of_this >= self.within_max {
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
    /// No error name gets a label any more: whoever meets new ones takes no lock for them.
    errors_full: AtomicBool,
    targets: Mutex<Bounded>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            machines: Mutex::default(),
            states: Mutex::new(Bounded::new(STATES_MAX, STATES_PER_MACHINE_MAX)),
            errors: Mutex::new(Bounded::new(ERRORS_MAX, ERRORS_PER_MACHINE_MAX)),
            errors_full: AtomicBool::new(false),
            targets: Mutex::new(Bounded::new(TARGETS_MAX, TARGETS_PER_INTEGRATION_MAX)),
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
        if machines.len() >= MACHINES_MAX || arn.len() > LABEL_BYTES_MAX {
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

    /// The label of a state of the machine with this label.
    pub fn state(&self, machine: &str, state: &str) -> Label {
        locked(&self.states).grant(machine, state)
    }

    /// The label of an error name, unknown to its shard so far, that executions of the machine with this label meet.
    pub fn error(&self, machine: &str, error: &str) -> Label {
        if self.errors_full.load(Ordering::Relaxed) {
            return OVERFLOW.into();
        }
        let mut errors = locked(&self.errors);
        let label = errors.grant(machine, error);
        self.errors_full.store(errors.granted >= errors.max, Ordering::Relaxed);
        label
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
    fn a_name_that_is_too_long_takes_no_label_of_any_set() {
        let labels = Labels::default();
        let (longest, longer) = ("x".repeat(LABEL_BYTES_MAX), "x".repeat(LABEL_BYTES_MAX + 1));
        let all = |name: &str| {
            [
                labels.machine(name),
                labels.state("m", name),
                labels.error("m", name),
                labels.target("lambda", name),
            ]
        };
        assert!(all(&longer).iter().all(|label| &**label == OVERFLOW));
        assert!(labels.used().iter().all(|(_, used, _)| *used == 0), "{:?}", labels.used());
        assert!(all(&longest).iter().all(|label| **label == *longest));
    }

    #[test]
    fn an_integration_with_many_targets_takes_no_label_of_others() {
        let labels = Labels::default();
        let granted = |integration: &str| {
            let targets =
                (0..2 * TARGETS_PER_INTEGRATION_MAX).map(|at| labels.target(integration, &at.to_string()));
            targets.filter(|label| &**label != OVERFLOW).count()
        };
        let kinds = CallKind::ALL.map(|(_, name)| name);
        for integration in ["worker", "activity"].into_iter().chain(kinds) {
            assert_eq!(granted(integration), TARGETS_PER_INTEGRATION_MAX, "{integration}");
        }
    }

    #[test]
    fn a_machine_that_may_not_exist_takes_no_label() {
        let labels = Labels::default();
        assert_eq!(&*labels.known_machine("m"), OVERFLOW);
        assert_eq!(&*labels.machine("m"), "m");
        assert_eq!(&*labels.known_machine("m"), "m");
        assert_eq!(labels.used()[0], ("machines", 1, MACHINES_MAX));
    }
}
