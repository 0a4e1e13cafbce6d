//! Which batches were seen: a batch sent again is recognised, never run again.
//!
//! A batch is remembered until its start time lies [`limits::BATCH_HORIZON`] back, or until too many are remembered; what
//! is older than anything that may be forgotten is refused as expired. So an unknown id within the horizon is new, for
//! certain. Content is compared by a 64-bit hash whose seed is drawn anew by each process; what was found in the log at
//! recovery is compared with the log itself. Invariant: `floor_ms` never goes back. Nothing here fails.

use std::collections::{HashMap, VecDeque};

use ids::{BatchId, PartitionId};
use journal::BlockId;

use super::exception::ExceptRange;
use crate::limits;

/// What is known of a batch.
#[derive(Debug)]
pub struct Seen {
    /// Its content.
    pub content: Content,
    /// The block that holds what was accepted of it.
    pub block: BlockId,
    /// Not yet confirmed by the store.
    pub in_flight: bool,
    /// The ranges that were not started, and why.
    pub exceptions: Box<[ExceptRange]>,
}

/// How a resend is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// With this hash.
    Hash(u64),
    /// With what the log holds.
    Logged,
}

/// What an id stands for.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// Nothing yet.
    New,
    /// A batch that was seen.
    Known(&'a Seen),
    /// Nobody knows any more.
    Expired,
}

/// The batches of one partition that are remembered.
#[derive(Debug, Default)]
pub struct Dedupe {
    seen: HashMap<(u32, u64), Seen, foldhash::fast::RandomState>,
    order: VecDeque<(u64, (u32, u64))>,
    floor_ms: u64,
}

fn key(id: BatchId) -> (u32, u64) {
    (id.incarnation, id.sequence())
}

impl Dedupe {
    /// Batches remembered.
    #[cfg(test)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// What this id stands for.
    #[must_use]
    pub fn look_up(&self, id: BatchId, start_time_ms: u64) -> Verdict<'_> {
        match self.seen.get(&key(id)) {
            Some(seen) => Verdict::Known(seen),
            None if start_time_ms < self.floor_ms => Verdict::Expired,
            None => Verdict::New,
        }
    }

    /// Remembers a batch, and forgets what is too old or too much.
    pub fn remember(&mut self, id: BatchId, start_time_ms: u64, seen: Seen, now_ms: u64, max: usize) {
        if self.seen.insert(key(id), seen).is_none() {
            self.order.push_back((start_time_ms, key(id)));
        }
        self.forget(now_ms, max);
    }

    /// The log is ours from now on; an earlier owner may have forgotten what started before `floor_ms`.
    pub fn begin(&mut self, now_ms: u64, floor_ms: u64) {
        self.floor_ms = self.floor_ms.max(floor_ms);
        self.forget(now_ms, usize::MAX);
    }

    /// What started before, and is not remembered, may have been forgotten.
    #[must_use]
    pub fn floor_ms(&self) -> u64 {
        self.floor_ms
    }

    /// The batches, each with its block and start time.
    pub fn remembered(&self, partition: PartitionId) -> impl Iterator<Item = (BatchId, BlockId, u64)> {
        self.order.iter().filter_map(move |(start_time_ms, key)| {
            let batch = BatchId::new(partition, key.0, key.1).ok()?;
            Some((batch, self.seen.get(key)?.block, *start_time_ms))
        })
    }

    /// Forgets what lies beyond the horizon. What is in flight stays, and with it what came after.
    fn forget(&mut self, now_ms: u64, max: usize) {
        let horizon_ms = u64::try_from(limits::BATCH_HORIZON.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = now_ms.saturating_sub(horizon_ms);
        self.floor_ms = self.floor_ms.max(oldest_ms);
        while let Some((start_time_ms, key)) = self.order.front().copied() {
            let wanted = start_time_ms >= oldest_ms && self.order.len() <= max;
            if wanted || self.seen.get(&key).is_some_and(|seen| seen.in_flight) {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&key);
            self.floor_ms = self.floor_ms.max(start_time_ms.saturating_add(1));
        }
    }

    /// The store has lost it: sent again, it is new.
    pub fn unsee(&mut self, id: BatchId) {
        if self.seen.get(&key(id)).is_some_and(|seen| !seen.in_flight) {
            self.seen.remove(&key(id));
        }
    }

    /// The store has lost batches, and nobody knows which: what was confirmed so far is not known any more.
    pub fn expire(&mut self, now_ms: u64) {
        self.seen.retain(|_, seen| seen.in_flight);
        self.order.retain(|(_, key)| self.seen.contains_key(key));
        self.floor_ms = self.floor_ms.max(now_ms);
    }

    /// If it was to be in this block, it will be in another one.
    pub fn moved(&mut self, id: BatchId, from: BlockId, to: BlockId) {
        if let Some(seen) = self.seen.get_mut(&key(id)).filter(|seen| seen.block == from) {
            seen.block = to;
        }
    }

    /// The store has confirmed it.
    pub fn confirm(&mut self, id: BatchId) {
        if let Some(seen) = self.seen.get_mut(&key(id)) {
            seen.in_flight = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn batch(sequence: u64) -> BatchId {
        BatchId::new(PartitionId::new(1).expect("in range"), 1, sequence).expect("in range")
    }

    fn seen(in_flight: bool) -> Seen {
        Seen { content: Content::Hash(7), block: BlockId::default(), in_flight, exceptions: Box::default() }
    }

    #[test]
    fn a_batch_is_known_within_the_horizon_and_expired_beyond() {
        let mut dedupe = Dedupe::default();
        dedupe.remember(batch(1), HOUR_MS, seen(false), HOUR_MS, 100);
        assert!(matches!(dedupe.look_up(batch(1), HOUR_MS), Verdict::Known(_)));
        assert!(matches!(dedupe.look_up(batch(2), HOUR_MS), Verdict::New));
        dedupe.remember(batch(3), 2 * HOUR_MS, seen(false), 2 * HOUR_MS, 100);
        assert!(matches!(dedupe.look_up(batch(1), HOUR_MS), Verdict::Expired));
        assert_eq!(dedupe.len(), 1);
    }

    #[test]
    fn what_is_forgotten_for_want_of_room_is_expired_and_never_new() {
        let mut dedupe = Dedupe::default();
        for number in 0..10 {
            dedupe.remember(batch(number), HOUR_MS + number, seen(false), HOUR_MS + number, 4);
        }
        for number in 0..10 {
            let verdict = dedupe.look_up(batch(number), HOUR_MS + number);
            let known = matches!(verdict, Verdict::Known(_));
            assert!(known || matches!(verdict, Verdict::Expired), "{number}: {verdict:?}");
            assert_eq!(known, number >= 6, "{number}");
        }
    }

    #[test]
    fn what_is_in_flight_is_not_forgotten() {
        let mut dedupe = Dedupe::default();
        dedupe.remember(batch(1), HOUR_MS, seen(true), HOUR_MS, 100);
        dedupe.remember(batch(2), 2 * HOUR_MS, seen(false), 2 * HOUR_MS, 100);
        assert!(matches!(dedupe.look_up(batch(1), HOUR_MS), Verdict::Known(_)));
        dedupe.confirm(batch(1));
        dedupe.remember(batch(3), 2 * HOUR_MS, seen(false), 2 * HOUR_MS, 100);
        assert!(matches!(dedupe.look_up(batch(1), HOUR_MS), Verdict::Expired));
    }
}
