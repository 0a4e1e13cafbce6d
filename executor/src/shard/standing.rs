//! What an answer about a partition is worth now: whether memory may give it, and whether all of the log is known.
//!
//! An owner that was stopped, or cut off from its store, may have been replaced without noticing. Invariants: what has not
//! been confirmed by the store for longer than [`limits::LEASE`] is neither answered from memory nor handed to a worker
//! before the store has said that the partition still has this owner; while a log is being read or given back, what is not
//! found is not said to be absent, and while it is read, what failed is not said to have ended; nor is anything said to be absent
//! from a store that lacks what it had confirmed. No clock but this process's own is trusted, and only with that: writes are fenced by
//! the store. What may fail: the store, and then there is no answer.

use std::time::Duration;

use ids::{Mode, PartitionId, Status};
use journal::index::Execution;
use journal::{BlockId, Store};

use super::core::Shard;
use super::log::{Log, LogState};
use crate::error::Error;
use crate::limits;

/// The code of an execution that is not there.
pub(super) const ABSENT: &str = "ExecutionDoesNotExist";

impl Log {
    /// Whether the store has not confirmed this owner for longer than the lease.
    pub fn has_lapsed(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.heard_us) > limits::LEASE.as_micros() as u64
    }

    /// Whether tasks are handed out. Their outcomes have to be written: while too much waits for the store, no more is asked
    /// for, and nothing of a log that may still be given back as it is.
    pub fn hands_out(&self, now_us: u64) -> bool {
        self.works() && !self.has_lapsed(now_us) && !self.is_congested()
    }
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    partition: PartitionId,
    generation: u64,
    /// The last block that the store had confirmed when the question came.
    confirmed: BlockId,
    lapsed: bool,
    /// Not everything of the log is known here.
    moving: bool,
    /// Nothing of it is: what ended may have been redriven since.
    unread: bool,
    retry_after: Duration,
}

impl Standing {
    /// Whether memory alone may answer.
    pub fn is_firm(self) -> bool {
        !self.lapsed
    }

    /// Asks the store whether the partition still has this owner, if that is not known.
    pub async fn ask(self, store: &dyn Store) -> Result<(), Error> {
        if !self.lapsed {
            return Ok(());
        }
        match store.top(self.partition).await {
            Ok(Some(top)) if top.generation == self.generation => Ok(()),
            Err(error) if error.is_retryable() => Err(error.into()),
            _ => Err(Error::NotOwner { partition: self.partition.get() }),
        }
    }

    /// What was found, or not, as far as it may be told; with it whether it was found in the archive.
    pub async fn told(
        self,
        store: &dyn Store,
        found: Result<(Execution, bool), Error>,
    ) -> Result<(Execution, bool), Error> {
        let (found, archived) = self.believed(store, found).await?;
        Ok((self.settle(found)?, archived))
    }

    /// An answer as it is, but what is not found is told only where it cannot be there.
    pub async fn believed<T>(self, store: &dyn Store, found: Result<T, Error>) -> Result<T, Error> {
        match found {
            Err(error @ Error::NotFound { code: ABSENT, .. }) if !self.moving => {
                Err(self.absent(store).await.map_or_else(|unsure| unsure, |()| error))
            }
            found => found.map_err(|error| self.judge(error)),
        }
    }

    /// Whether what is not found is absent: the log has all that was confirmed, and nobody has taken it who knows more.
    async fn absent(self, store: &dyn Store) -> Result<(), Error> {
        match store.top(self.partition).await? {
            Some(top) if top.generation > self.generation => {
                Err(Error::NotOwner { partition: self.partition.get() })
            }
            top if top.unwrap_or_default() < self.confirmed => Err(self.unsettled()),
            _ => Ok(()),
        }
    }

    /// The error, unless it says more than can be known while the partition changes hands.
    pub fn judge(self, error: Error) -> Error {
        match error {
            Error::NotFound { code: ABSENT, .. } | Error::Conflict { code: "ExecutionEnding", .. }
                if self.moving =>
            {
                self.unsettled()
            }
            other => other,
        }
    }

    /// An error where an answer would need the whole log, and that is not known.
    pub fn whole(self) -> Result<(), Error> {
        if self.moving { Err(self.unsettled()) } else { Ok(()) }
    }

    /// The execution, unless it may have been redriven after the end that was found: the store has the place of that end
    /// until it comes to a new one.
    fn settle(self, found: Execution) -> Result<Execution, Error> {
        let failed = found.closed.as_ref().is_some_and(|closed| closed.status != Status::Succeeded);
        let redrivable = failed && found.machine.mode == Mode::Standard;
        if self.unread && redrivable { Err(self.unsettled()) } else { Ok(found) }
    }

    fn unsettled(self) -> Error {
        Error::Recovering { partition: self.partition.get(), retry_after: self.retry_after }
    }
}

impl Shard {
    /// What an answer about this log is worth.
    pub(super) fn standing(&self, at: usize) -> Standing {
        let log = &self.logs[at];
        Standing {
            partition: log.partition,
            generation: log.generation,
            confirmed: log.confirmed_id(),
            // Before it is acquired, nothing of it is in memory.
            lapsed: log.generation > 0 && log.has_lapsed(self.now_us),
            moving: matches!(log.state, LogState::Recovering | LogState::Releasing) || !log.is_indexed(),
            unread: log.state == LogState::Recovering,
            retry_after: Duration::from_millis(u64::from(self.admission.retry_after_ms())),
        }
    }

    /// Hands tasks to workers, those whose owner the store has confirmed within the lease.
    pub(super) fn dispatch_tasks(&mut self) {
        let (logs, now_us) = (&self.logs, self.now_us);
        // Whoever has reached the store has the secret.
        let Some(secret) = self.secret.get() else { return };
        self.tasks.dispatch(&self.metrics, secret, |log| {
            logs.get(usize::from(log)).is_none_or(|log| !log.hands_out(now_us))
        });
    }

    /// The store has confirmed, to a question asked at this instant or an append begun at it, that the log has this owner.
    pub(super) fn heard_of(&mut self, at: usize, asked_us: u64) {
        let log = &mut self.logs[at];
        log.heard_us = log.heard_us.max(asked_us);
    }
}
