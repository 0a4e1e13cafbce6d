//! Nodes that were not taken in, for the operator to see.
//!
//! Invariants: a node is one process, whatever address it claims; it is said once in the log for as long as it is refused for
//! the same reason; what was not refused for
//! [`FORGET_AFTER`] is forgotten; no more than [`REFUSED_MAX`] are kept. Nothing here fails.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use executor::clock::Clock;
use proto::scheduler::v1::RefusedNode;

use crate::directory::FORGET_AFTER;

/// A process that calls itself a node.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// What it calls itself.
    pub node_id: &'a str,
    /// Where it says that it can be reached.
    pub address: &'a str,
    /// Which process it is; 0 where it does not say.
    pub instance: u64,
}

impl Who<'_> {
    fn key(&self) -> (String, u64) {
        (self.address.to_owned(), self.instance)
    }
}

/// Nodes that are kept.
const REFUSED_MAX: usize = 1_024;

#[derive(Debug)]
struct Refused {
    node_id: String,
    why: String,
    at_us: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Refusals {
    /// By address and process.
    by_who: Mutex<BTreeMap<(String, u64), Refused>>,
    clock: Clock,
}

impl Refusals {
    /// Nobody is refused.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { by_who: Mutex::default(), clock }
    }

    /// A node is not taken in.
    pub fn refuse(&self, who: Who<'_>, why: &str) {
        let (at_us, Who { node_id, address, .. }) = (self.clock.now_us(), who);
        let mut refused = self.recent(at_us);
        let known = refused.get(&who.key()).is_some_and(|known| known.why == why);
        if !known {
            tracing::error!(node = %node_id, %address, "a node is not taken in: {why}");
        }
        if known || refused.len() < REFUSED_MAX {
            let entry = Refused { node_id: node_id.to_owned(), why: why.to_owned(), at_us };
            refused.insert(who.key(), entry);
        }
    }

    /// Nothing speaks against a node any more.
    pub fn forgive(&self, who: Who<'_>) {
        self.by_who.lock().unwrap_or_else(PoisonError::into_inner).remove(&who.key());
    }

    /// Those that are refused now, by address.
    #[must_use]
    pub fn list(&self) -> Vec<RefusedNode> {
        let now_us = self.clock.now_us();
        let refused = |((address, _), node): (&(String, u64), &Refused)| RefusedNode {
            node_id: node.node_id.clone(),
            public_address: address.clone(),
            why: node.why.clone(),
            silent_ms: u32::try_from(now_us.saturating_sub(node.at_us) / 1_000).unwrap_or(u32::MAX),
        };
        self.recent(now_us).iter().map(refused).collect()
    }

    fn recent(&self, now_us: u64) -> MutexGuard<'_, BTreeMap<(String, u64), Refused>> {
        let mut refused = self.by_who.lock().unwrap_or_else(PoisonError::into_inner);
        let old = FORGET_AFTER.as_micros();
        refused.retain(|_, node| u128::from(now_us.saturating_sub(node.at_us)) < old);
        refused
    }
}

#[cfg(test)]
mod tests {
    use executor::clock::ManualClock;

    use super::*;

    #[test]
    fn a_node_is_shown_as_long_as_it_is_refused_and_is_then_forgotten() {
        let manual = ManualClock::at_ms(1_000);
        let refusals = Refusals::new(Clock::Manual(manual.clone()));
        let [one, two, same_address] = [("one", "h:1", 1), ("two", "h:2", 2), ("three", "h:1", 3)]
            .map(|(node_id, address, instance)| Who { node_id, address, instance });
        refusals.refuse(one, "too many partitions");
        refusals.refuse(two, "too many partitions");
        refusals.forgive(two);
        refusals.forgive(same_address);
        let listed = refusals.list();
        assert_eq!((listed.len(), &*listed[0].public_address, listed[0].silent_ms), (1, "h:1", 0));
        manual.advance(FORGET_AFTER);
        assert_eq!(refusals.list(), []);
    }
}
