//! Where an execution goes: the power of two choices on reported load, one partition's batch at a time.
//!
//! Spreading every start would make every batch small, and the store's work is per flush, not per execution.
//! So one shard takes a whole batch's worth of starts, then the next is chosen; and a shard's batches go to
//! one of its partitions for [`BATCHES_PER_PARTITION`] batches, then to the next.

use std::sync::{Arc, Mutex, PoisonError};

use ids::{BATCH_EXECUTIONS_MAX, PartitionId};

use crate::directory::{ShardView, View};

/// Batches that go to one partition before the next one of its shard has its turn.
pub const BATCHES_PER_PARTITION: u32 = 4_096;

/// A small generator for choices that need no secrecy (xorshift64*).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed throws the same.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A generator that no other process has.
    #[must_use]
    pub fn random() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self::new(std::hash::RandomState::new().build_hasher().finish())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let high = (u128::from(self.next_u64()) * limit as u128) >> 64;
        usize::try_from(high).unwrap_or(0)
    }
}

#[derive(Debug)]
struct Present {
    shard: Option<Arc<str>>,
    starts_left: usize,
    dice: Dice,
}

/// Chooses a shard for starts that may go anywhere.
#[derive(Debug)]
pub struct Placement(Mutex<Present>);

impl Placement {
    /// A placement with its own dice.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        Self(Mutex::new(Present { shard: None, starts_left: 0, dice }))
    }

    /// The shard for the next `starts`; `None` when no shard takes starts. `queued` says how full the
    /// scheduler's own queue to a shard is, from 0 to 1: it is newer than any report.
    pub fn choose(&self, view: &View, starts: usize, queued: impl Fn(&str) -> f64) -> Option<Arc<str>> {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = &present.shard
            && present.starts_left >= starts
            && view.is_open(shard)
        {
            let shard = Arc::clone(shard);
            present.starts_left -= starts;
            return Some(shard);
        }
        // A shard without partitions takes nothing.
        let candidates = view.open.len();
        if candidates == 0 {
            present.shard = None;
            return None;
        }
        let first = present.dice.below(candidates);
        // The second choice is another one whenever there is another one.
        let step = present.dice.below(candidates.saturating_sub(1)) + 1;
        let second = (first + step) % candidates;
        let shard = |place: usize| view.open.get(place).and_then(|index| view.shards.get(*index));
        let (Some(first), Some(second)) = (shard(first), shard(second)) else { return None };
        let load = |shard: &ShardView| shard.saturation_ratio + queued(&shard.data_address);
        let chosen = if load(second) < load(first) { second } else { first };
        let shard = Arc::clone(&chosen.data_address);
        present.shard = Some(Arc::clone(&shard));
        present.starts_left = BATCH_EXECUTIONS_MAX.saturating_sub(starts);
        Some(shard)
    }

    /// The next batch goes elsewhere: the shard that was chosen is full or away.
    pub fn move_on(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).starts_left = 0;
    }
}

/// Chooses among the partitions of one shard.
#[derive(Debug)]
pub struct Rotation {
    present: Option<PartitionId>,
    batches_left: u32,
    dice: Dice,
}

impl Rotation {
    /// A rotation with its own dice.
    #[must_use]
    pub fn new(dice: Dice) -> Self {
        Self { present: None, batches_left: 0, dice }
    }

    /// The partition for the next batch of a shard that owns `partitions`.
    pub fn next(&mut self, partitions: &[PartitionId]) -> Option<PartitionId> {
        if let Some(present) = self.present
            && self.batches_left > 0
            && partitions.contains(&present)
        {
            self.batches_left -= 1;
            return Some(present);
        }
        let place = self.dice.below(partitions.len());
        self.present = partitions.get(place).copied();
        self.batches_left = BATCHES_PER_PARTITION - 1;
        self.present
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn view(loads: &[f64]) -> View {
        let shards = loads.iter().enumerate().map(|(index, load)| ShardView {
            data_address: format!("h:{index}").into(),
            public_address: "h".into(),
            partitions: vec![PartitionId::new(0).expect("in range")],
            saturation_ratio: *load,
            open_executions: 0,
            draining: false,
        });
        View { shards: shards.collect(), ..View::default() }.with_open()
    }

    #[test]
    fn single_starts_fill_one_shards_batch_before_the_next_is_chosen() {
        let placement = Placement::new(Dice::new(7));
        let view = view(&[0.0; 8]);
        let mut runs: Vec<(Arc<str>, usize)> = Vec::new();
        for _ in 0..BATCH_EXECUTIONS_MAX * 8 {
            let shard = placement.choose(&view, 1, |_| 0.0).expect("a shard");
            match runs.last_mut() {
                Some((last, length)) if *last == shard => *length += 1,
                _ => runs.push((shard, 1)),
            }
        }
        assert!(runs.iter().all(|(_, length)| length % BATCH_EXECUTIONS_MAX == 0), "{runs:?}");
        assert!(runs.len() > 1, "{runs:?}");
    }

    #[test]
    fn the_busiest_of_several_shards_is_never_chosen() {
        let placement = Placement::new(Dice::new(3));
        let view = view(&[0.1, 0.9, 0.1]);
        let mut chosen: HashMap<Arc<str>, usize> = HashMap::new();
        for _ in 0..1_000 {
            *chosen.entry(placement.choose(&view, 256, |_| 0.0).expect("a shard")).or_default() += 1;
        }
        assert!(!chosen.contains_key("h:1"), "{chosen:?}");
        assert_eq!(chosen.len(), 2, "{chosen:?}");
    }

    #[test]
    fn a_full_queue_counts_as_load() {
        let placement = Placement::new(Dice::new(3));
        let view = view(&[0.1, 0.1]);
        for _ in 0..100 {
            let queued = |address: &str| if address == "h:0" { 1.0 } else { 0.0 };
            assert_eq!(placement.choose(&view, 256, queued).as_deref(), Some("h:1"));
        }
    }

    #[test]
    fn a_shard_that_went_away_is_left_at_once() {
        let placement = Placement::new(Dice::new(3));
        assert!(placement.choose(&view(&[0.0]), 1, |_| 0.0).is_some());
        assert_eq!(placement.choose(&view(&[]), 1, |_| 0.0), None);
    }

    #[test]
    fn a_partition_keeps_its_turn_and_loses_it_with_its_owner() {
        let all: Vec<PartitionId> =
            (0..8).map(|number| PartitionId::new(number).expect("in range")).collect();
        let mut rotation = Rotation::new(Dice::new(9));
        let first = rotation.next(&all).expect("a partition");
        for _ in 1..BATCHES_PER_PARTITION {
            assert_eq!(rotation.next(&all), Some(first));
        }
        let other: Vec<PartitionId> = all.iter().copied().filter(|partition| *partition != first).collect();
        assert_ne!(rotation.next(&other), Some(first));
        assert_eq!(rotation.next(&[]), None);
    }
}
