//! Nodes that were not taken in, for the operator to see.
//!
//! Invariants: a node is said once in the log for as long as it is refused for the same reason; what was not refused for
//! [`FORGET_AFTER`] is forgotten; no more than [`REFUSED_MAX`] are kept. Nothing here fails.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use executor::clock::Clock;
use proto::scheduler::v1::RefusedNode;

use crate::directory::FORGET_AFTER;

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
    by_address: Mutex<BTreeMap<String, Refused>>,
    clock: Clock,
}

impl Refusals {
    /// Nobody is refused.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { by_address: Mutex::default(), clock }
    }

    /// A node is not taken in.
    pub fn refuse(&self, node_id: &str, address: &str, why: &str) {
        let at_us = self.clock.now_us();
        let mut refused = self.recent(at_us);
        let known = refused.get(address).is_some_and(|known| known.why == why);
        if !known {
            tracing::error!(node = %node_id, %address, "a node is not taken in: {why}");
        }
        if known || refused.len() < REFUSED_MAX {
            let entry = Refused { node_id: node_id.to_owned(), why: why.to_owned(), at_us };
            refused.insert(address.to_owned(), entry);
        }
    }

    /// Nothing speaks against a node any more.
    pub fn forgive(&self, address: &str) {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }

    /// Those that are refused now, by address.
    #[must_use]
    pub fn list(&self) -> Vec<RefusedNode> {
        let now_us = self.clock.now_us();
        let refused = |(address, node): (&String, &Refused)| RefusedNode {
            node_id: node.node_id.clone(),
            public_address: address.clone(),
            why: node.why.clone(),
            silent_ms: u32::try_from(now_us.saturating_sub(node.at_us) / 1_000).unwrap_or(u32::MAX),
        };
        self.recent(now_us).iter().map(refused).collect()
    }

    fn recent(&self, now_us: u64) -> MutexGuard<'_, BTreeMap<String, Refused>> {
        let mut refused = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
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
        refusals.refuse("one", "h:1", "too many partitions");
        refusals.refuse("two", "h:2", "too many partitions");
        refusals.forgive("h:2");
        let listed = refusals.list();
        assert_eq!((listed.len(), &*listed[0].public_address, listed[0].silent_ms), (1, "h:1", 0));
        manual.advance(FORGET_AFTER);
        assert_eq!(refusals.list(), []);
    }
}
