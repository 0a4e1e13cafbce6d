//! Asks the store how the shard's logs stand, where nothing was heard of them for a second.
//!
//! A busy log learns from its next append that its store is gone or that another owner has it; an idle one learns it here,
//! and so does one whose process stood still. Invariants: a log that is appended to is not asked for as long as that works,
//! since every confirmed block is an answer; one question is under way at a time, for all logs that need it. What may fail: the store, which is
//! what is asked.

use std::sync::Arc;
use std::time::Duration;

use journal::{BlockId, StoreError, Top};

use super::core::{Landed, Shard};
use super::log::{Log, LogState};

/// How long nothing must have been heard of a log.
const SILENCE: Duration = Duration::from_secs(1);
/// Logs of which nothing was heard for so long are asked for together with those that are due.
const NEARLY: Duration = Duration::from_millis(500);
/// An append that is under way for longer no longer keeps its log from being asked for.
const LATE: Duration = Duration::from_secs(2);
/// The pause between two questions to a store that does not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a first connection may take before the shard says that it is cut off.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// What the shard knows of its store beside its flushes.
#[derive(Debug)]
pub struct Probe {
    /// When the shard began, in microseconds.
    began_us: u64,
    /// When the store was asked last, in microseconds.
    asked_us: u64,
    under_way: bool,
    /// Whether the last question was not answered.
    pub silent: bool,
    /// Whether nothing else of the store answered either.
    cut_off: bool,
}

impl Probe {
    /// Of a shard that begins now.
    pub fn new(now_us: u64) -> Self {
        Self { began_us: now_us, asked_us: 0, under_way: false, silent: false, cut_off: false }
    }
}

/// A log that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    log: usize,
    tenure: u64,
    /// The last block that was confirmed before.
    confirmed: BlockId,
}

fn us(pause: Duration) -> u64 {
    pause.as_micros() as u64
}

/// Whether only a question tells how this log stands.
fn is_quiet(log: &Log, now_us: u64) -> bool {
    let late = log.heard_us + us(LATE) <= now_us;
    log.state.is_here() && log.generation > 0 && (late || !log.in_flight)
}

impl Shard {
    /// Asks the store if that is due, and sees to being woken when it will be.
    pub(super) fn probe(&mut self) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        if self.probe.under_way {
            return;
        }
        let now_us = self.now_us;
        let quiet = self.logs.iter().filter(|log| is_quiet(log, now_us)).map(|log| log.heard_us).min();
        let idle = !self.logs.iter().any(|log| log.state.is_here());
        let pause_us = us(if self.probe.silent { PAUSE } else { SILENCE });
        let due_us = match quiet {
            Some(heard_us) if self.probe.silent => self.probe.asked_us.max(heard_us) + pause_us,
            Some(heard_us) => (heard_us + pause_us).max(self.probe.asked_us + us(PAUSE)),
            // Without partitions it is still told whether the node could work.
            None if idle => self.probe.asked_us + pause_us,
            // What is under way wakes the shard when it lands.
            None => return,
        };
        if self.now_us < due_us {
            return self.alarm_at(due_us);
        }
        (self.probe.under_way, self.probe.asked_us) = (true, self.now_us);
        let nearly = |log: &Log| is_quiet(log, now_us) && log.heard_us + us(NEARLY) <= now_us;
        let asked = self.logs.iter().enumerate().filter(|(_, log)| nearly(log));
        let asked: Vec<Asked> = asked
            .map(|(at, log)| Asked { log: at, tenure: log.tenure, confirmed: log.confirmed_id() })
            .collect();
        let partitions = asked.iter().map(|asked| self.logs[asked.log].partition).collect();
        self.flights.push(Box::pin(async move {
            let result = match asked.is_empty() {
                true => store.ping().await.map(|()| Vec::new()),
                false => store.tops(partitions).await,
            };
            // Servers of several may be away, of these logs or of all: others could do no better with them.
            let answered =
                result.as_ref().is_ok_and(|tops| asked.is_empty() || tops.iter().any(Result::is_ok));
            let cut_off = !answered && (asked.is_empty() || store.ping().await.is_err());
            Landed::Probed { asked, result, cut_off }
        }));
    }

    /// The store answers.
    pub(super) fn heard(&mut self) {
        self.probe.cut_off = false;
        if std::mem::take(&mut self.probe.silent) {
            tracing::info!("the store answers again");
            self.publish_state();
        }
    }

    /// Whether nothing of the store answers.
    pub(super) fn is_cut_off(&self) -> bool {
        let late = self.now_us.saturating_sub(self.probe.began_us) >= us(CONNECT_WITHIN);
        self.probe.cut_off || self.store.is_none() && late
    }

    pub(super) fn probed(&mut self, asked: &[Asked], result: Result<Vec<Top>, StoreError>, cut_off: bool) {
        (self.probe.under_way, self.probe.cut_off) = (false, cut_off);
        let tops = match result {
            Ok(tops) => tops,
            Err(error) => return self.unheard(&error),
        };
        let here = self.logs.iter().filter(|log| log.state.is_here()).count();
        match tops.iter().find_map(|top| top.as_ref().err()) {
            Some(error) if asked.len() == here && tops.iter().all(Result::is_err) => self.unheard(error),
            _ => self.heard(),
        }
        for (asked, top) in asked.iter().zip(tops) {
            if !self.lasts(asked.log, asked.tenure) {
                continue;
            }
            match top {
                Ok(top) => self.stands(*asked, top),
                Err(error) if error.is_retryable() => self.is_away(asked.log, &error),
                Err(error) => self.lose(asked.log, &error),
            }
        }
    }

    fn unheard(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.probe.silent, true) {
            tracing::error!(%error, "the store does not answer: starts are refused until it does");
            self.publish_state();
        }
    }

    /// The part of the store that has this log does not answer. An append that is on its way tells by itself.
    fn is_away(&mut self, at: usize, error: &StoreError) {
        let log = &mut self.logs[at];
        if log.state == LogState::Serving && !log.in_flight && !self.probe.silent {
            log.state = LogState::Down;
            let partition = log.partition.get();
            tracing::error!(partition, %error, "the store does not tell of this log: its starts are refused until it does");
            self.publish_state();
        }
    }

    /// The part of the store that has this log answers again.
    fn is_back(&mut self, at: usize) {
        let log = &mut self.logs[at];
        if log.state == LogState::Down && log.sealed.is_empty() && !log.mending {
            log.state = LogState::Serving;
            tracing::info!(partition = log.partition.get(), "the store tells of this log again");
            self.publish_state();
        }
    }

    /// Where a log stands: with this owner, with another one, or further back than it was.
    fn stands(&mut self, asked: Asked, top: Option<BlockId>) {
        let log = &self.logs[asked.log];
        let (partition, generation, attempted) = (log.partition, log.generation, log.next_block());
        match top {
            Some(last) if last.generation > generation => {
                self.lose(asked.log, &StoreError::Fenced { partition, attempted, last });
            }
            Some(last) if last >= asked.confirmed => {
                self.heard_of(asked.log, self.probe.asked_us);
                self.is_back(asked.log);
            }
            // An append that is on its way tells by itself.
            _ if log.in_flight || log.mending => {}
            _ => self.went_back(asked.log),
        }
    }
}
