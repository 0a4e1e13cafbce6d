//! What this connection knows of a log, and whether the log still has it.
//!
//! Invariants: what was confirmed only rises; before the first append on another
//! connection to a server than the last time, the log's top is compared with it, on that very connection. So a
//! replica that was promoted without the last writes, or a server that came back with older files, never gets a
//! block that would hide the gap. A connection belongs to one server process: what that process confirmed, it has,
//! as long as it lives and serves. What may fail: [`StoreError::WentBack`], until its owner
//! mends the log or acquires the partition anew.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ids::PartitionId;
use journal::{BlockId, StoreError};

use crate::stand::Stand;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Position {
    state: Mutex<State>,
}

/// Who has a log under one generation: no two takings draw the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u64);

impl Owner {
    pub fn new() -> Self {
        // A fresh `RandomState` is the standard library's source of randomness.
        Self(RandomState::new().hash_one(0))
    }

    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// `None`: written before owners were named.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    confirmed: Option<BlockId>,
    /// Under which generation we have taken the log last, and as whom.
    owner: Option<(u64, Owner)>,
    /// The connection on which the log was last seen to have it.
    seen_on: u64,
    /// In which reign of a server the log was seen to have it, and nobody else's.
    looked_in: u64,
}

impl Position {
    /// The highest id that was confirmed here.
    pub fn confirmed(&self) -> Option<BlockId> {
        self.state().confirmed
    }

    /// Whether an append may be sent on this connection without a look at the log.
    pub fn is_known_on(&self, connection: u64) -> bool {
        let state = *self.state();
        state.seen_on == connection || state.confirmed.is_none()
    }

    /// A reply on this connection said that the log stands at `id`.
    pub fn confirm(&self, id: BlockId, connection: u64) {
        let mut state = self.state();
        *state = State { confirmed: state.confirmed.max(Some(id)), seen_on: connection, ..*state };
    }

    /// The log was taken by this mark.
    pub fn own(&self, mark: BlockId, owner: Owner, connection: u64) {
        self.confirm(mark, connection);
        self.state().owner = Some((mark.generation, owner));
    }

    /// As whom we have a generation.
    pub fn owner(&self, generation: u64) -> Option<Owner> {
        self.state().owner.filter(|(owned, _)| *owned == generation).map(|(_, owner)| owner)
    }

    /// Whether the log, as it stands now, is not another owner's under our own generation.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    pub fn check(
        &self,
        partition: PartitionId,
        attempted: BlockId,
        stand: Option<&Stand>,
    ) -> Result<(), StoreError> {
        let Some(Stand { top, owner: Some(owner) }) = stand else { return Ok(()) };
        match self.owner(top.generation) {
            Some(ours) if ours != *owner => Err(StoreError::Fenced { partition, attempted, last: *top }),
            _ => Ok(()),
        }
    }

    /// The log's top as this connection tells it.
    ///
    /// # Errors
    /// [`StoreError::WentBack`] when it is below what was confirmed.
    pub fn compare(
        &self,
        partition: PartitionId,
        top: Option<BlockId>,
        connection: u64,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        match state.confirmed {
            Some(confirmed) if top.is_none_or(|top| top < confirmed) => {
                state.looked_in = 0;
                Err(StoreError::WentBack { partition, confirmed, top })
            }
            _ => {
                state.seen_on = connection;
                Ok(())
            }
        }
    }

    /// The owner mends the log, which ends below what was confirmed as this connection tells it.
    pub fn accept(&self, connection: u64) {
        let mut state = self.state();
        (state.seen_on, state.looked_in) = (connection, 0);
    }

    /// A look in this reign found this top.
    pub fn looked(&self, top: Option<BlockId>, reign: u64) {
        let mut state = self.state();
        let has_it = top.is_some() && top >= state.confirmed;
        state.looked_in = if has_it { reign } else { 0 };
    }

    /// What was confirmed, if the log is known to have it since a look in this reign.
    pub fn known_in(&self, reign: u64) -> Option<BlockId> {
        let state = *self.state();
        state.confirmed.filter(|_| reign > 0 && state.looked_in == reign)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(generation: u64, sequence: u64) -> BlockId {
        BlockId { generation, sequence }
    }

    #[test]
    fn a_log_is_looked_at_once_on_each_connection_and_a_lower_top_is_told_every_time() {
        let partition = PartitionId::new(1).expect("in range");
        let position = Position::default();
        assert!(position.is_known_on(1), "nothing was confirmed: nothing can be missing");
        position.confirm(id(2, 7), 1);
        assert!(position.is_known_on(1) && !position.is_known_on(2));
        for top in [None, Some(id(2, 6)), Some(id(1, 9))] {
            let refused = position.compare(partition, top, 2);
            assert!(
                matches!(refused, Err(StoreError::WentBack { top: told, .. }) if told == top),
                "{refused:?}"
            );
            assert!(!position.is_known_on(2));
        }
        for (connection, top) in [(2, id(2, 7)), (3, id(2, 8)), (4, id(3, 0))] {
            position.compare(partition, Some(top), connection).expect("it has what was confirmed");
            assert!(position.is_known_on(connection));
        }
        assert!(!position.is_known_on(2), "only the last connection counts: a server may have gone and come");
    }
}
