//! Which shard of this node has which partition.
//!
//! Purpose: the surface finds the shard that a call concerns, and whoever reports hears that something has changed.
//! A shard itself knows what it has and never reads this on its way. Invariants: a partition is in the hands of one shard
//! of the node at most ([`Owners::claim`]); only that shard changes its entry; a reader takes no lock. What it says may be
//! old by the time it is used: the shard has the last word, and the store's fence the very last. Nothing here fails.

use std::sync::atomic::{AtomicU16, Ordering};

use ids::PartitionId;
use tokio::sync::watch;

/// Nobody has it; else twice the shard's number from 1, and 1 more where starts are taken.
const NOBODY: u16 = 0;

/// The partitions of the cluster, each with the shard of this node that has it.
#[derive(Debug)]
pub struct Owners {
    table: Box<[AtomicU16]>,
    changes: watch::Sender<u64>,
}

fn entry(shard: u32, serves: bool) -> u16 {
    // A node has at most 64 shards.
    (u16::try_from(shard).unwrap_or(u16::MAX >> 2) + 1) << 1 | u16::from(serves)
}

fn shard_of(entry: u16) -> Option<u32> {
    (entry != NOBODY).then(|| u32::from(entry >> 1) - 1)
}

impl Owners {
    /// Nobody has anything.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        let table = (0..partitions).map(|_| AtomicU16::new(NOBODY)).collect();
        Self { table, changes: watch::Sender::new(0) }
    }

    fn slot(&self, partition: PartitionId) -> Option<&AtomicU16> {
        self.table.get(usize::from(partition.get()))
    }

    /// Gives a partition to a shard; `false` while another shard of this node has it, or if there is no such partition.
    pub fn claim(&self, partition: PartitionId, shard: u32) -> bool {
        let Some(slot) = self.slot(partition) else { return false };
        let taken = slot.compare_exchange(NOBODY, entry(shard, false), Ordering::AcqRel, Ordering::Acquire);
        if taken.is_ok() {
            self.changed();
        }
        taken.map_or_else(|other| shard_of(other) == Some(shard), |_| true)
    }

    /// The shard that has it takes starts for it from now on.
    pub fn serve(&self, partition: PartitionId, shard: u32) {
        self.set(partition, entry(shard, true));
    }

    /// The shard that has it takes no more starts for it.
    pub fn suspend(&self, partition: PartitionId, shard: u32) {
        self.set(partition, entry(shard, false));
    }

    /// The shard that has it has it no longer.
    pub fn leave(&self, partition: PartitionId) {
        self.set(partition, NOBODY);
    }

    fn set(&self, partition: PartitionId, entry: u16) {
        let Some(slot) = self.slot(partition) else { return };
        if slot.swap(entry, Ordering::AcqRel) != entry {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The shard that has a partition.
    #[must_use]
    pub fn of(&self, partition: PartitionId) -> Option<u32> {
        shard_of(self.slot(partition)?.load(Ordering::Acquire))
    }

    /// What a shard has, ascending, each with whether it takes starts.
    #[must_use]
    pub fn held_by(&self, shard: u32) -> Vec<(PartitionId, bool)> {
        let entries = (0..).zip(&self.table).map(|(number, slot)| (number, slot.load(Ordering::Acquire)));
        let held = entries.filter(|(_, entry)| shard_of(*entry) == Some(shard));
        held.filter_map(|(number, entry)| Some((PartitionId::new(number).ok()?, entry & 1 == 1))).collect()
    }

    /// The shard that takes starts for a partition.
    #[must_use]
    pub fn serving(&self, partition: PartitionId) -> Option<u32> {
        let entry = self.slot(partition)?.load(Ordering::Acquire);
        shard_of(entry).filter(|_| entry & 1 == 1)
    }

    /// Whether no shard has anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.iter().all(|slot| slot.load(Ordering::Acquire) == NOBODY)
    }

    /// The first partition of each shard that takes starts for one.
    #[must_use]
    pub fn homes(&self) -> Vec<PartitionId> {
        let mut homes: Vec<(u32, PartitionId)> = Vec::new();
        for (number, slot) in (0..).zip(&self.table) {
            let entry = slot.load(Ordering::Acquire);
            let (Some(shard), Ok(partition)) = (shard_of(entry), PartitionId::new(number)) else { continue };
            if entry & 1 == 1 && !homes.iter().any(|(known, _)| *known == shard) {
                homes.push((shard, partition));
            }
        }
        homes.into_iter().map(|(_, partition)| partition).collect()
    }

    /// Counts changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32) -> PartitionId {
        PartitionId::new(number).expect("in range")
    }

    #[test]
    fn a_partition_goes_to_another_shard_only_when_the_first_has_left_it() {
        let owners = Owners::new(4);
        assert!(owners.is_empty() && owners.of(partition(3)).is_none());
        assert!(owners.claim(partition(3), 1) && owners.claim(partition(3), 1));
        assert!(!owners.claim(partition(3), 0), "the other shard has it");
        assert!(!owners.claim(partition(4), 0), "there is no such partition");
        assert_eq!((owners.of(partition(3)), owners.serving(partition(3))), (Some(1), None));
        owners.serve(partition(3), 1);
        assert_eq!(owners.serving(partition(3)), Some(1));
        owners.leave(partition(3));
        assert!(owners.is_empty() && owners.claim(partition(3), 0));
    }

    #[test]
    fn a_shard_is_at_home_in_its_first_partition_that_takes_starts() {
        let owners = Owners::new(4);
        for (number, shard) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
            assert!(owners.claim(partition(number), shard));
        }
        assert!(owners.homes().is_empty());
        let changes = owners.subscribe();
        for (number, shard) in [(1, 0), (2, 1), (3, 1)] {
            owners.serve(partition(number), shard);
        }
        assert_eq!(owners.homes(), [partition(1), partition(2)]);
        assert!(changes.has_changed().expect("its sender lives"));
        owners.suspend(partition(1), 0);
        assert_eq!(owners.homes(), [partition(2)]);
        assert_eq!(owners.held_by(0), [(partition(0), false), (partition(1), false)]);
        assert_eq!(owners.held_by(1), [(partition(2), true), (partition(3), true)]);
    }
}
