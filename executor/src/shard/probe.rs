//! Asks a store of which nothing was heard for a second whether it still answers.
//!
//! A busy shard learns that its store is gone from its next flush; an idle one would learn it from the first start that it
//! takes and cannot acknowledge. Invariants: under load there is no probe, for every confirmed block is one; one probe is
//! under way at a time, and none while a block is. What may fail: the store, which is what is asked.

use std::sync::Arc;
use std::time::Duration;

use journal::StoreError;

use super::core::{Landed, Shard};
use super::log::LogState;

/// How long nothing must have been heard of the store.
const SILENCE: Duration = Duration::from_secs(1);
/// The pause between two probes of a store that does not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// What the shard knows of its store beside its flushes.
#[derive(Debug, Default)]
pub struct Probe {
    /// When a block was confirmed or a probe ended, in microseconds.
    heard_us: u64,
    under_way: bool,
    /// Whether the last probe failed.
    pub silent: bool,
}

impl Shard {
    /// Probes the store if that is due, and sees to being woken when it will be.
    pub(super) fn probe(&mut self) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let busy = |log: &super::log::Log| log.in_flight || log.state == LogState::Recovering;
        let lost = self.logs.iter().all(|log| log.state == LogState::Lost);
        if self.probe.under_way || lost || self.logs.iter().any(busy) {
            // What is under way wakes the shard when it lands.
            return;
        }
        let pause = if self.probe.silent { PAUSE } else { SILENCE };
        let due_us = self.probe.heard_us + pause.as_micros() as u64;
        if self.now_us < due_us {
            return self.alarm_at(due_us);
        }
        self.probe.under_way = true;
        self.flights.push(Box::pin(async move { Landed::Probed(store.ping().await) }));
    }

    /// The store has confirmed a block, or was read from end to end.
    pub(super) fn heard(&mut self) {
        self.probe.heard_us = self.now_us;
        if std::mem::take(&mut self.probe.silent) {
            tracing::info!("the store answers again");
            self.publish_state();
        }
    }

    pub(super) fn probed(&mut self, result: Result<(), StoreError>) {
        self.probe.under_way = false;
        match result {
            Ok(()) => self.heard(),
            Err(error) => {
                self.probe.heard_us = self.now_us;
                if !std::mem::replace(&mut self.probe.silent, true) {
                    tracing::error!(%error, "the store does not answer: starts are refused until it does");
                    self.publish_state();
                }
            }
        }
    }
}
