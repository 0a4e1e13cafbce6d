//! What is told to the outside, and when: acknowledgements and refusals of batches, completions to watchers.
//!
//! Invariants: an acknowledgement or a completion leaves only after its block is confirmed; nothing waits for a slow
//! reader: a full acknowledgement channel drops (the dispatcher sends the batch again), a full watcher's is counted.

use asl::Outcome;
use ids::{ExecutionId, Status};
use proto::executor::v1;
use telemetry::Refusal;
use tokio::sync::mpsc;

use super::core::Shard;
use super::flush::status_of;
use super::log::{End, StartedBatch, Tally};
use crate::limits;

/// Outcomes of one message to a watcher, in bytes of output, error and cause.
const COMPLETION_BYTES_MAX: usize = 1 << 20;

/// Who is told of terminal outcomes.
#[derive(Debug)]
pub struct Watcher {
    pub include_outcomes: bool,
    pub completions: mpsc::Sender<v1::CompletionBatch>,
    pub dropped: u64,
}

/// Why a start is refused: the reason for programs and for counting.
#[must_use]
pub fn refusal(reason: v1::start_refusal::Reason, code: &str, message: String) -> v1::StartRefusal {
    v1::StartRefusal {
        reason: reason as i32,
        code: code.to_owned(),
        message,
        retry_after_ms: 0,
        missing_definitions: Vec::new(),
    }
}

fn counted_as(refusal: &v1::StartRefusal) -> Refusal {
    use v1::start_refusal::Reason;
    match refusal.reason() {
        Reason::Unspecified | Reason::Invalid => Refusal::Invalid,
        Reason::DefinitionMissing => Refusal::DefinitionMissing,
        Reason::Overloaded => Refusal::Overloaded,
        Reason::NotOwner => Refusal::NotOwner,
        Reason::Draining => Refusal::Draining,
        // The latter is a scheduler's word; no shard says it.
        Reason::StoreUnavailable | Reason::OutcomeUnknown => Refusal::StoreUnavailable,
        Reason::Conflict => Refusal::Conflict,
        Reason::Expired => Refusal::Expired,
    }
}

/// An outcome as the wire says it.
#[must_use]
pub fn wire_outcome(id: ExecutionId, outcome: &Outcome) -> v1::Outcome {
    let status = v1::ExecutionStatus::from(status_of(outcome)) as i32;
    let mut wire =
        v1::Outcome { id: Some(id.batch.into()), index: id.index.into(), status, ..Default::default() };
    match outcome {
        Outcome::Succeeded(output) => wire.output = Some(output.bytes().clone()),
        Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } => {
            wire.error = error.as_ref().map(ToString::to_string);
            wire.cause = cause.as_ref().map(ToString::to_string);
        }
    }
    wire
}

/// Adds what is now durable to the machine's cells.
pub fn count(tally: &Tally, now_us: u64) {
    let cells = &tally.machine.metrics;
    let Some(End { status, error }) = &tally.end else { return cells.started.add(tally.count) };
    let counter = match status {
        Status::Succeeded => &cells.succeeded,
        Status::TimedOut => &cells.timed_out,
        Status::Aborted => &cells.aborted,
        Status::Failed | Status::Running => &cells.failed,
    };
    counter.add(tally.count);
    error.iter().for_each(|error| cells.count_error(error, tally.count));
    cells.duration.observe_n(now_us.saturating_sub(tally.received_us), tally.count);
}

impl Shard {
    /// Refuses a range of a batch.
    pub(super) fn refuse(
        &self,
        acks: &mpsc::Sender<v1::StartAck>,
        id: Option<v1::BatchId>,
        range: (u32, u32),
        refusal: v1::StartRefusal,
    ) {
        self.metrics.refuse(counted_as(&refusal), u64::from(range.1 - range.0));
        // A full or closed channel drops: the dispatcher asks again.
        let _ = acks.try_send(v1::StartAck {
            id,
            from: range.0,
            to: range.1,
            refusal: Some(refusal),
            running: None,
        });
    }

    /// Acknowledges a batch once everything that it tells of is durable: its own executions, which are in the block
    /// under construction, and others of which it may tell that they run, which are there or in an earlier block.
    pub(super) fn acknowledge_later(&mut self, at: usize, batch: StartedBatch) {
        let log = &mut self.logs[at];
        if log.waiting() > 0 {
            log.page.batches.push(batch);
        } else if let Some(last) = log.sealed.back_mut() {
            last.page.batches.push(batch);
        } else {
            self.acknowledge(at, batch);
        }
    }

    /// A batch is durable.
    pub(super) fn acknowledge(&mut self, log: usize, batch: StartedBatch) {
        self.logs[log].dedupe.confirm(batch.id);
        let started: u32 = batch.accepted.iter().map(|(from, to)| to - from).sum();
        self.metrics.start_ack.observe_n(self.now_us.saturating_sub(batch.received_us), u64::from(started));
        for acks in &batch.acks {
            send_acks(acks, batch.id.into(), &batch.accepted);
            send_running(acks, batch.id.into(), &batch.running);
        }
    }

    /// Terminal outcomes are durable.
    pub(super) fn tell_watchers(&mut self, ranges: Vec<v1::CompletionRange>, outcomes: Vec<v1::Outcome>) {
        if ranges.is_empty() || self.watchers.is_empty() {
            return;
        }
        let completed: u64 = ranges.iter().map(|range| u64::from(range.to - range.from)).sum();
        let batches = chunks(ranges, outcomes);
        self.watchers.retain_mut(|watcher| {
            for batch in &batches {
                let mut batch = batch.clone();
                batch.dropped = watcher.dropped;
                if !watcher.include_outcomes {
                    batch.outcomes.clear();
                }
                match watcher.completions.try_send(batch) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        watcher.dropped += completed;
                        self.metrics.completions_dropped.add(completed);
                        break;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                }
            }
            true
        });
        self.outcomes_watched = self.watchers.iter().any(|watcher| watcher.include_outcomes);
    }

    /// A new watcher; beyond the bound its stream ends at once.
    pub(super) fn watch(&mut self, include_outcomes: bool, completions: mpsc::Sender<v1::CompletionBatch>) {
        self.watchers.retain(|watcher| !watcher.completions.is_closed());
        if self.watchers.len() < limits::WATCHERS_MAX {
            self.watchers.push(Watcher { include_outcomes, completions, dropped: 0 });
            self.outcomes_watched |= include_outcomes;
        }
    }
}

/// Acknowledges ranges of a batch.
pub fn send_acks(acks: &mpsc::Sender<v1::StartAck>, id: v1::BatchId, ranges: &[(u32, u32)]) {
    for (from, to) in ranges {
        let _ = acks.try_send(v1::StartAck { id: Some(id), from: *from, to: *to, ..Default::default() });
    }
}

/// Answers entries of a batch with executions that run already.
pub fn send_running(
    acks: &mpsc::Sender<v1::StartAck>,
    id: v1::BatchId,
    running: &[(u32, v1::RunningExecution)],
) {
    for (at, running) in running {
        let ack = v1::StartAck {
            id: Some(id),
            from: *at,
            to: at + 1,
            running: Some(*running),
            ..Default::default()
        };
        let _ = acks.try_send(ack);
    }
}

/// Messages that stay well below what a transport carries: the ranges in the first, outcomes as they fit.
fn chunks(ranges: Vec<v1::CompletionRange>, outcomes: Vec<v1::Outcome>) -> Vec<v1::CompletionBatch> {
    let mut batches = vec![v1::CompletionBatch { ranges, ..Default::default() }];
    let mut bytes = 0;
    for outcome in outcomes {
        let size = outcome.output.as_ref().map_or(0, bytes::Bytes::len)
            + outcome.error.as_ref().map_or(0, String::len)
            + outcome.cause.as_ref().map_or(0, String::len)
            + 32;
        if bytes > 0 && bytes + size > COMPLETION_BYTES_MAX {
            batches.push(v1::CompletionBatch::default());
            bytes = 0;
        }
        bytes += size;
        if let Some(last) = batches.last_mut() {
            last.outcomes.push(outcome);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn large_outcomes_go_in_several_messages_and_none_is_lost() {
        let outcome = |index| v1::Outcome {
            index,
            output: Some(Bytes::from(vec![b'1'; 262_144])),
            ..Default::default()
        };
        let batches = chunks(vec![v1::CompletionRange::default()], (0..10).map(outcome).collect());
        assert_eq!(batches.iter().map(|batch| batch.ranges.len()).sum::<usize>(), 1);
        let indexes: Vec<_> =
            batches.iter().flat_map(|batch| batch.outcomes.iter().map(|outcome| outcome.index)).collect();
        assert_eq!(indexes, (0..10).collect::<Vec<_>>());
        assert!(batches.iter().all(|batch| (1..=4).contains(&batch.outcomes.len())));
    }
}
