//! When a log is archived, and what follows from it.
//!
//! What closed longer than half a retention ago is archived, in ranges that cover a quarter of a retention (or a
//! segment, if that is less), so that there is time left before the log is trimmed of it. Invariants: a log is trimmed
//! of nothing that is not archived, however long the archive is away: the log grows meanwhile; what was begun in one
//! tenure counts in no other, nor does what was read while the store was going back; a mark beside the log says how far
//! it is archived, and where that is lost, some is archived again. What may fail: the archive or the store, and then it
//! is tried again.

use journal::{BlockId, Derived};

use super::archiving::{Archived, Range, Unarchived, mark_of};
use super::core::{Landed, Shard};
use super::log::LogState;
use crate::limits;

/// What a log knows of its archive.
#[derive(Debug, Default)]
pub(super) struct Archiving {
    /// What closed below is archived; not known before the first range is.
    below: Option<BlockId>,
    /// What its mark says, or is about to say.
    marked: BlockId,
    /// The generation of the log when the range under way was begun.
    busy: Option<u64>,
    /// Whether the last attempt failed.
    failing: bool,
    not_before_us: u64,
    swept_us: u64,
}

impl Archiving {
    /// How far the log is archived, where that is more than its mark says.
    fn unmarked(&mut self) -> Option<BlockId> {
        let below = self.below.filter(|below| *below > self.marked)?;
        self.marked = below;
        Some(below)
    }
}

impl Shard {
    /// The time between two ranges of a log.
    fn archive_period_us(&self) -> u64 {
        let quarter = self.config.retention / 4;
        quarter.clamp(limits::ARCHIVE_PERIOD_MIN, limits::ARCHIVE_PERIOD_MAX).as_micros() as u64
    }

    /// Begins to archive whatever is due.
    pub(super) fn archive(&mut self) {
        if self.context.archiver.is_none() {
            return;
        }
        for at in 0..self.logs.len() {
            let log = &self.logs[at];
            if log.state != LogState::Serving || log.mending || log.archiving.busy.is_some() {
                continue;
            }
            if self.now_us >= log.archiving.not_before_us {
                self.archive_log(at);
            } else {
                self.alarm_at(log.archiving.not_before_us);
            }
        }
    }

    fn archive_log(&mut self, at: usize) {
        let Some(archiver) = self.context.archiver.clone() else { return };
        let period_us = self.archive_period_us();
        let now_ms = self.now_us / 1_000;
        let log = &mut self.logs[at];
        // What is on its way to the store is not there to be read.
        let confirmed = log.confirmed_id();
        let end = BlockId { sequence: confirmed.sequence + 1, ..confirmed };
        let age_ms = self.config.retention.as_millis() as u64 / 2;
        let below = log.retained.written_within(now_ms, age_ms).map_or(end, |young| young.min(end));
        let from = log.archiving.below.or_else(|| log.retained.first()).unwrap_or(below);
        let sweeps = self.now_us >= log.archiving.swept_us.saturating_add(4 * period_us);
        log.archiving.not_before_us = self.now_us + period_us;
        if from >= below && !sweeps {
            return self.alarm_at(self.now_us + period_us);
        }
        if sweeps {
            log.archiving.swept_us = self.now_us;
        }
        log.archiving.busy = Some(log.generation);
        let resumes = log.archiving.below.is_none();
        let (partition, tenure) = (log.partition, log.tenure);
        let range = Range { partition, from, below: below.max(from), confirmed, resumes, sweeps, now_ms };
        self.flights.push(Box::pin(async move {
            Landed::Archived { log: at, tenure, result: archiver.archive(range).await }
        }));
    }

    /// A range was archived, or not.
    pub(super) fn archived(&mut self, at: usize, tenure: u64, result: Result<Archived, Unarchived>) {
        if !self.lasts(at, tenure) {
            return;
        }
        let retry_us = self.archive_period_us().min(limits::ARCHIVE_RETRY.as_micros() as u64);
        let log = &mut self.logs[at];
        let partition = log.partition.get();
        let begun = log.archiving.busy.take();
        let Archived { below, executions, bytes, unreadable, expired, more } = match result {
            Ok(archived) => archived,
            Err(error) => {
                self.metrics.archive_failures.add(1);
                log.archiving.not_before_us = self.now_us + retry_us;
                if !std::mem::replace(&mut log.archiving.failing, true) {
                    tracing::error!(
                        partition, %error,
                        "the archive cannot be written: what it lacks stays in the log, which grows until it can"
                    );
                }
                return;
            }
        };
        if log.mending || begun != Some(log.generation) {
            tracing::warn!(partition, "the store went back while a range was archived: it is archived again");
            log.archiving.not_before_us = self.now_us + retry_us;
            return;
        }
        if std::mem::take(&mut log.archiving.failing) {
            tracing::info!(partition, "the archive is written again");
        }
        log.archiving.below = Some(below);
        if more {
            log.archiving.not_before_us = self.now_us;
        }
        log.retained.archived(below);
        self.metrics.archived_executions.add(executions);
        self.metrics.archived_bytes.add(bytes);
        self.metrics.archive_failures.add(unreadable);
        self.metrics.archive_expired.add(expired);
    }

    /// Adds what travels beside the next block: how far the log is archived.
    pub(super) fn mark_archived(&mut self, at: usize, derived: &mut Vec<Derived>) {
        let Some(below) = self.logs[at].archiving.unmarked() else { return };
        let key = self.context.archiver.as_ref().map(|archiver| archiver.mark_key());
        let (value, ttl) = (mark_of(below), limits::ARCHIVE_MARK_TTL);
        derived.extend(key.map(|key| Derived::Put { key, value, ttl }));
    }

    /// For how long what is archived next has been wanted there, beyond the retention; in milliseconds.
    pub(super) fn archive_overdue_ms(&self) -> u64 {
        let (now_ms, retention_ms) = (self.now_us / 1_000, self.config.retention.as_millis() as u64);
        let overdue = self.logs.iter().filter(|log| log.state.serves()).map(|log| {
            let from = log.archiving.below.or_else(|| log.retained.first()).unwrap_or_default();
            let all = from > log.confirmed_id();
            if all { 0 } else { log.retained.age_ms(from, now_ms).saturating_sub(retention_ms) }
        });
        overdue.max().unwrap_or_default()
    }
}
