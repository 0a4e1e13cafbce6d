//! Names that callers gave to STANDARD executions: who holds a name now.
//!
//! The owner of a name's partition is its only writer and decides. Invariants: a name is held from the moment its start is
//! taken until its entry beside the log is certain to be found, and somewhat longer, so that no start falls between the
//! memory and the store. Bounded by admission and by time. Nothing here fails.

use std::collections::{HashMap, VecDeque};

use ids::ExecutionId;

/// How long a name stays in memory after its end is durable.
const LINGER_MS: u64 = 30_000;

/// The names of one shard.
#[derive(Debug, Default)]
pub struct Names {
    held: HashMap<String, ExecutionId, foldhash::fast::RandomState>,
    lingering: VecDeque<(u64, String, ExecutionId)>,
}

fn key(machine: &str, name: &str) -> String {
    // Neither may contain a slash.
    [machine, "/", name].concat()
}

impl Names {
    /// Who holds the name, if that is known in memory.
    #[must_use]
    pub fn holder(&self, machine: &str, name: &str) -> Option<ExecutionId> {
        if self.held.is_empty() {
            return None;
        }
        self.held.get(&key(machine, name)).copied()
    }

    /// Gives a name.
    pub fn hold(&mut self, machine: &str, name: &str, id: ExecutionId) {
        self.held.insert(key(machine, name), id);
    }

    /// The holder's end is durable: the store knows from now on.
    pub fn ended(&mut self, machine: &str, name: &str, id: ExecutionId, now_ms: u64) {
        self.lingering.push_back((now_ms + LINGER_MS, key(machine, name), id));
        self.forget(now_ms);
    }

    /// Forgets what has lingered long enough.
    pub fn forget(&mut self, now_ms: u64) {
        while let Some((until_ms, ..)) = self.lingering.front()
            && *until_ms <= now_ms
            && let Some((_, key, id)) = self.lingering.pop_front()
        {
            if self.held.get(&key) == Some(&id) {
                self.held.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, PartitionId};

    use super::*;

    #[test]
    fn a_name_is_held_until_a_while_after_its_end() {
        let id = BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range").execution(0);
        let mut names = Names::default();
        names.hold("orders", "monday", id);
        assert_eq!(names.holder("orders", "monday"), Some(id));
        assert_eq!(names.holder("orders", "tuesday"), None);
        names.ended("orders", "monday", id, 1_000);
        names.forget(1_000 + LINGER_MS - 1);
        assert_eq!(names.holder("orders", "monday"), Some(id));
        names.forget(1_000 + LINGER_MS);
        assert_eq!(names.holder("orders", "monday"), None);
    }
}
