//! What tests do to a store in memory: faults that wait for the next appends, parts that are away, steps back.
//!
//! Nothing here fails; a test that scripts more than fits is told by a panic.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use tokio::time::Instant;

use super::{MemoryStore, lock};
use crate::store::{BlockId, StoreError};

/// Scripted failures that may wait.
const FAULTS_MAX: usize = 1_024;

/// What the next appends meet, for tests.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The append is not written and gives this error.
    Refuse(StoreError),
    /// The append is written, and its reply is lost: [`StoreError::Unknown`].
    LoseReply,
}

impl MemoryStore {
    /// The next append meets this; calls queue up, at most 1,024.
    pub fn fail_next(&self, fault: Fault) {
        self.script(Some(fault));
    }

    /// The next append that is not spoken for meets nothing; counts as a fault.
    pub fn spare_next(&self) {
        self.script(None);
    }

    fn script(&self, fault: Option<Fault>) {
        let mut faults = lock(&self.shared.faults);
        assert!(faults.len() < FAULTS_MAX, "{FAULTS_MAX} faults wait already");
        faults.push_back(fault);
    }

    /// The next calls of [`compare_and_put`](crate::Store::compare_and_put) meet these, one each; `None` lets one go.
    pub fn fail_key_writes(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        let mut waiting = lock(&self.shared.key_faults);
        waiting.extend(faults);
        assert!(waiting.len() <= FAULTS_MAX, "more than {FAULTS_MAX} faults wait");
    }

    /// From now on every call gives [`StoreError::Unavailable`] with this reason; `None` ends it.
    pub fn set_unavailable(&self, reason: Option<&str>) {
        self.shared.unavailable.send_replace(reason.map(str::to_owned));
    }

    /// From now on calls about this partition give [`StoreError::Unavailable`], and others go on, as when one master of
    /// several is away; `false` ends it.
    pub fn set_away(&self, partition: PartitionId, away: bool) {
        lock(self.partition(partition)).away = away;
    }

    /// From now on appends wait, unwritten and unanswered, until [`MemoryStore::release_appends`].
    pub fn hold_appends(&self) {
        self.hold_appends_after(0);
    }

    /// The same, once so many more were written.
    pub fn hold_appends_after(&self, appends: u64) {
        self.shared.passing.send_replace(appends);
    }

    /// Lets held appends go on.
    pub fn release_appends(&self) {
        self.shared.passing.send_replace(u64::MAX);
    }

    /// While this is set, acquires wait, as appends do after [`MemoryStore::hold_appends`].
    pub fn hold_acquires(&self, held: bool) {
        self.shared.acquires_held.send_replace(held);
    }

    /// While this is set, reads of blocks wait, and then say what is there when they go on.
    pub fn hold_reads(&self, held: bool) {
        self.shared.reads_held.send_replace(held);
    }

    /// While this is set, appends write their block and lose what travels beside it, as a crash in between does.
    pub fn lose_derived(&self, lost: bool) {
        self.shared.derived_lost.store(lost, Ordering::Relaxed);
    }

    /// Takes a partition's log back: what is above `to` is gone, as after the promotion of a replica that did not have
    /// it. [`BlockId::default`] takes everything.
    pub fn go_back(&self, partition: PartitionId, to: BlockId) {
        lock(self.partition(partition)).go_back(to);
    }

    /// As [`MemoryStore::go_back`], and nobody knows it yet: where a mark is gone, the next one who takes the partition takes
    /// the generation of its present owner.
    pub fn go_back_unseen(&self, partition: PartitionId, to: BlockId) {
        let mut state = lock(self.partition(partition));
        state.go_back(to);
        state.went_back_from = None;
    }

    /// Makes a block unreadable, for tests.
    pub fn spoil(&self, partition: PartitionId, id: BlockId) {
        lock(self.partition(partition)).blocks.insert(id, Bytes::from_static(b"spoilt"));
    }

    /// Forgets the derived keys of a partition that begin so, for tests.
    pub fn forget_derived(&self, partition: PartitionId, prefix: &[u8]) {
        lock(self.partition(partition)).derived.retain(|key, _| !key.starts_with(prefix));
    }

    /// Lets so much of the time to live of a partition's derived keys pass at once, for tests whose clock they turn.
    pub fn age_derived(&self, partition: PartitionId, by: Duration) {
        let mut state = lock(self.partition(partition));
        let now = Instant::now();
        state.expiries.clear();
        for (key, mut slot) in std::mem::take(&mut state.derived) {
            if slot.expiry.0 <= now + by {
                continue;
            }
            slot.expiry.0 -= by;
            state.expiries.insert(slot.expiry, key.clone());
            state.derived.insert(key, slot);
        }
    }

    /// A store as this one would be if it had gone back: without the blocks of a partition above this one, and with all
    /// derived keys, for tests.
    #[must_use]
    pub fn truncated(&self, partition: PartitionId, last: BlockId) -> Self {
        let back = Self::new();
        back.keys_of(self);
        let state = lock(self.partition(partition));
        let mut other = lock(back.partition(partition));
        other.generation = last.generation;
        other.last = Some(last);
        other.blocks = state.blocks.range(..=last).map(|(id, block)| (*id, block.clone())).collect();
        for (key, slot) in &state.derived {
            other.set(key.clone(), slot.expiry.0, |_| slot.value.clone());
        }
        drop(other);
        back
    }

    fn keys_of(&self, other: &Self) {
        lock(&self.shared.keys).clone_from(&lock(&other.shared.keys));
    }

    /// How many blocks a partition's log holds, for tests.
    #[must_use]
    pub fn block_count(&self, partition: PartitionId) -> usize {
        lock(self.partition(partition)).blocks.len()
    }

    /// How often it was asked whether it answers or where its logs stand, for tests.
    #[must_use]
    pub fn pings(&self) -> u64 {
        self.shared.pings.load(Ordering::Relaxed)
    }

    /// How often blocks were asked for, for tests.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::Relaxed)
    }
}
