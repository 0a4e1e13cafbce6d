//! What the logs say of executions, against what was acknowledged.
//!
//! Every acknowledged execution is closed in a log, once, with the right outcome, whatever Describe says; a second terminal
//! record is right after a redrive alone, and only one. An id is given to one start, and a run is opened under one id,
//! acknowledged or not: what was closed and never acknowledged is held against its own input, and counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use ids::{BatchId, ExecutionId, Status};
use journal::block::{Closed, decode_failure};
use proto::executor::v1::ExecutionStatus;
use serde::Deserialize;

use super::acks::Ack;
use super::kept::Kept;
use super::tasks::Runs;
use super::verdict::{Outcome, Verdict, is_sync_ended, is_sync_given_back, judge_outcome};
use super::workload::Kind;
use crate::ledger::Mask;

/// What is known of a batch.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    acknowledged: Mask,
    opened: Mask,
    closed: Mask,
    described: Mask,
}

/// A run of a machine.
type Run = (Kind, u64);

/// Where and when an execution was opened.
#[derive(Debug, Default, Clone, Copy)]
pub struct Opening {
    /// Unix time in milliseconds.
    pub start_ms: u64,
    /// Of the owner that wrote it.
    pub generation: u64,
}

/// What is known of an execution until it is both acknowledged and closed.
#[derive(Debug, Default, Clone)]
struct Half {
    acknowledged: Option<Run>,
    /// As its input in the log says.
    opened: Option<Run>,
    at: Opening,
    closed: Option<(Status, Bytes)>,
    stop_ms: u64,
}

/// An execution that was blamed for the ends of its nodes, from when to when it ran.
#[derive(Debug, Clone, Copy)]
pub struct Condemned {
    /// Which.
    pub id: ExecutionId,
    /// When it was opened; 0 for one that was redriven.
    pub start_ms: u64,
    /// When it was closed.
    pub stop_ms: u64,
}

/// What an input says of itself.
#[derive(Deserialize)]
struct Input<'a> {
    run: u64,
    #[serde(borrow)]
    kind: &'a str,
}

/// What was acknowledged, against what the logs have closed. Bounded by the batches of a run, some 150 bytes each, and by
/// what is open or was never acknowledged.
#[derive(Debug, Default)]
pub struct LogCheck {
    seed: u64,
    batches: HashMap<BatchId, Known>,
    halves: HashMap<ExecutionId, Half>,
    /// Runs that were opened.
    opened: Runs,
    /// Executions whose redrive was asked for; bounded by their share of the mixture.
    redriven: HashMap<ExecutionId, Redriven>,
    closed: u64,
    closed_again: u64,
    condemned: Vec<Condemned>,
    syncs_ended: u64,
    end_lag_ms: u64,
    /// What must be in the logs still.
    pub(super) kept: Kept,
}

/// An execution whose redrive was asked for.
#[derive(Debug, Clone, Copy)]
struct Redriven {
    run: Run,
    /// The answer was that it goes on.
    answered: bool,
    /// Its second end is in the log.
    closed: bool,
}

impl LogCheck {
    /// Nothing yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, batches: HashMap::new(), halves: HashMap::new(), ..Self::default() }
    }

    /// Notes acknowledged executions.
    ///
    /// # Errors
    /// An id that was acknowledged before, one whose log has another run, and the first wrong outcome of those that were
    /// closed already.
    pub fn acknowledge(&mut self, ack: &Ack) -> Result<(), String> {
        let known = self.batches.entry(ack.batch).or_default();
        let before = known.acknowledged.set(ack.first_index, ack.first_index + ack.count);
        let mut wrong = match before {
            0 => Ok(()),
            some => {
                Err(format!("{some} ids were acknowledged a second time, for other starts: {}", ack.line()))
            }
        };
        for offset in 0..ack.count {
            let Some(id) = ack.execution(offset) else { continue };
            let run = (ack.kind, ack.first_run + u64::from(offset));
            let half = self.halves.entry(id).or_default();
            half.acknowledged = Some(run);
            let half = half.clone();
            if let Some(opened) = half.opened.filter(|opened| *opened != run) {
                wrong = wrong.and(Err(mixed_up(id, run, opened)));
            }
            if let Some((status, payload)) = half.closed {
                self.halves.remove(&id);
                let span = (half.at.start_ms, half.stop_ms);
                wrong = wrong.and(self.judge((id, span), run, 0, (status, &payload)));
            }
        }
        wrong
    }

    /// Notes that an execution was opened. What is open is written again where it is carried on.
    ///
    /// # Errors
    /// Its run has another id too, or was acknowledged with another id; an input that is none of this test.
    pub fn open(&mut self, id: ExecutionId, at: Opening, input: &[u8]) -> Result<(), String> {
        let index = u32::from(id.index);
        let known = self.batches.entry(id.batch).or_default();
        if known.opened.set(index, index + 1) > 0 {
            return Ok(());
        }
        let read = serde_json::from_slice::<Input<'_>>(input).ok();
        let Some(run) = read.and_then(|input| Some((Kind::of(input.kind)?, input.run))) else {
            return Err(format!("execution {id} was opened with an input that nobody sent"));
        };
        let half = self.halves.entry(id).or_default();
        (half.opened, half.at) = (Some(run), at);
        if let Some(acknowledged) = half.acknowledged.filter(|acknowledged| *acknowledged != run) {
            return Err(mixed_up(id, acknowledged, run));
        }
        if self.opened.add(run.1) {
            let (kind, run) = (run.0.name(), run.1);
            return Err(format!("run {run} ({kind}) was started twice: {id} is not its first execution"));
        }
        Ok(())
    }

    /// Notes a terminal record, in a block of this generation; gives the run that has ended for good with it.
    ///
    /// # Errors
    /// It is a second one, or says a wrong outcome.
    pub fn close(&mut self, record: &Closed, generation: u64) -> Result<Option<u64>, String> {
        let (id, index) = (record.id, u32::from(record.id.index));
        let (end, stop_ms) = ((record.status, &record.payload), record.stop_time_ms);
        self.kept.note(id, stop_ms);
        let known = self.batches.entry(id.batch).or_default();
        if known.closed.set(index, index + 1) > 0 {
            let Some(redriven) = self.redriven.get_mut(&id).filter(|redriven| !redriven.closed) else {
                return Err(format!("execution {id} has a second terminal outcome: {:?}", record.status));
            };
            redriven.closed = true;
            self.closed_again += 1;
            let run = redriven.run;
            return self.judge((id, (0, stop_ms)), run, 1, end).map(|()| Some(run.1));
        }
        self.closed += 1;
        let half = self.halves.entry(id).or_default();
        if let Some((kind, _)) = half.opened {
            let lasts = u64::try_from(kind.lasts().as_millis()).unwrap_or(0);
            self.end_lag_ms = self.end_lag_ms.max(stop_ms.saturating_sub(half.at.start_ms + lasts));
        }
        if is_ended_sync(record.status, &record.payload) {
            self.syncs_ended += 1;
            if !is_given_back(&record.payload) && half.opened.is_some() && generation <= half.at.generation {
                return Err(format!(
                    "synchronous execution {id} was closed because its node had ended, by the owner that had opened it"
                ));
            }
        }
        if let Some((kind, run)) = half.acknowledged {
            let span = (half.at.start_ms, stop_ms);
            self.halves.remove(&id);
            return self
                .judge((id, span), (kind, run), 0, end)
                .map(|()| (kind != Kind::Redriven).then_some(run));
        }
        // The payload is a slice of its block: what is kept is copied.
        (half.closed, half.stop_ms) =
            (Some((record.status, Bytes::copy_from_slice(&record.payload))), stop_ms);
        Ok(None)
    }

    /// Executions that were closed and never acknowledged, how many, and what is wrong with them. `may_be` says whether a
    /// start may have been carried out of which nobody was told; `parted` are synchronous executions that were answered with
    /// the end of their node.
    pub fn leftovers(
        &mut self,
        may_be: impl Fn(u64) -> bool,
        parted: &BTreeSet<ExecutionId>,
    ) -> (u64, Vec<String>) {
        let left: Vec<_> = self
            .halves
            .iter()
            .filter_map(|(id, half)| {
                Some((*id, half.opened, half.closed.clone()?, (half.at.start_ms, half.stop_ms)))
            })
            .collect();
        let mut wrong = Vec::new();
        for (id, opened, (status, payload), span) in &left {
            let is_ended = is_ended_sync(*status, payload);
            wrong.extend(match opened {
                None => Some(format!("execution {id} was closed, and no log says that it was opened")),
                Some((Kind::Sync, _)) if is_ended && parted.contains(id) => None,
                Some((kind, run)) if !may_be(*run) => Some(format!(
                    "execution {id} ({}, run {run}) was carried out, and its start was refused or answered otherwise",
                    kind.name()
                )),
                Some((Kind::Sync, _)) if is_ended => None,
                Some(run) => self.judge((*id, *span), *run, 0, (*status, payload)).err(),
            });
        }
        let closed_so = |id: &ExecutionId| {
            let closed = self.halves.get(id).and_then(|half| half.closed.as_ref());
            closed.is_some_and(|(status, payload)| is_ended_sync(*status, payload))
        };
        let unlike = parted.iter().filter(|id| !closed_so(id));
        wrong.extend(unlike.map(|id| format!("execution {id} was answered as parted, and no log says it")));
        (left.len() as u64, wrong)
    }

    fn judge(
        &mut self,
        (id, (start_ms, stop_ms)): (ExecutionId, (u64, u64)),
        (kind, run): Run,
        redrives: u32,
        (status, payload): (Status, &Bytes),
    ) -> Result<(), String> {
        let wrong =
            |wrong: String| format!("execution {id} ({}, run {run}), closed record: {wrong}", kind.name());
        let (status, failed) = match status {
            Status::Succeeded => (ExecutionStatus::Succeeded, false),
            Status::Failed => (ExecutionStatus::Failed, true),
            Status::TimedOut => (ExecutionStatus::TimedOut, true),
            Status::Aborted => (ExecutionStatus::Aborted, true),
            Status::Running => (ExecutionStatus::Running, true),
        };
        let outcome = if failed {
            let (error, cause) = decode_failure(payload).map_err(|error| wrong(error.to_string()))?;
            Outcome { status, output: None, error, cause }
        } else {
            Outcome { status, output: Some(payload), error: None, cause: None }
        };
        let verdict = judge_outcome(&kind.expected(self.seed, run, redrives), outcome).map_err(wrong)?;
        if verdict == Verdict::Condemned {
            self.condemned.push(Condemned { id, start_ms, stop_ms });
        }
        Ok(())
    }

    /// Notes that a redrive is about to be asked for: from now on a second end is right.
    pub fn ask_redrive(&mut self, id: ExecutionId, run: Run) {
        self.redriven.entry(id).or_insert(Redriven { run, answered: false, closed: false });
    }

    /// Notes that a redrive was acknowledged: now there must be a second end.
    pub fn redrive(&mut self, id: ExecutionId) {
        self.redriven.entry(id).and_modify(|redriven| redriven.answered = true);
    }

    /// Notes that Describe has shown an execution at its end.
    pub fn describe(&mut self, id: ExecutionId) {
        let index = u32::from(id.index);
        self.batches.entry(id.batch).or_default().described.set(index, index + 1);
    }

    /// Executions with a terminal record.
    #[must_use]
    pub fn closed_once(&self) -> u64 {
        self.closed
    }

    /// Executions with a second terminal record, after their redrive.
    #[must_use]
    pub fn closed_again(&self) -> u64 {
        self.closed_again
    }

    /// Executions that were blamed for the ends of their nodes.
    #[must_use]
    pub fn condemned(&self) -> &[Condemned] {
        &self.condemned
    }

    /// The latest that an execution ended after it could have.
    #[must_use]
    pub fn end_lag_ms(&self) -> u64 {
        self.end_lag_ms
    }

    /// Synchronous executions that were closed unfinished because their node had ended.
    #[must_use]
    pub fn syncs_ended(&self) -> u64 {
        self.syncs_ended
    }

    /// Acknowledged executions and redrives without a terminal record in the logs, whatever Describe has shown; and the first
    /// of them.
    #[must_use]
    pub fn unclosed(&self) -> (u64, Vec<String>) {
        self.lacking(|known| known.closed, |_| false)
    }

    /// Those of them that Describe has not shown either.
    #[must_use]
    pub fn unseen(&self) -> u64 {
        let described = |id: &ExecutionId| {
            self.batches.get(&id.batch).is_some_and(|known| known.described.has(id.index.into()))
        };
        self.lacking(|known| known.closed.with(&known.described), described).0
    }

    fn lacking(
        &self,
        shown: impl Fn(&Known) -> Mask,
        redrive_shown: impl Fn(&ExecutionId) -> bool,
    ) -> (u64, Vec<String>) {
        let mut lacking: Vec<(BatchId, u32)> = self
            .batches
            .iter()
            .map(|(batch, known)| (*batch, known.acknowledged.without(&shown(known))))
            .filter(|(_, count)| *count > 0)
            .collect();
        lacking.sort_unstable();
        let unclosed = |redriven: &Redriven| redriven.answered && !redriven.closed;
        let redrives = self.redriven.iter().filter(|(id, redriven)| unclosed(redriven) && !redrive_shown(id));
        let redrives: Vec<ExecutionId> = redrives.map(|(id, _)| *id).collect();
        let count = lacking.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() + redrives.len() as u64;
        let named =
            |(batch, count): &(BatchId, u32)| format!("{count} of the batch of {}", batch.execution(0));
        let redrives = redrives.iter().map(|id| format!("the redrive of {id}"));
        (count, lacking.iter().map(named).chain(redrives).take(10).collect())
    }
}

fn mixed_up(id: ExecutionId, (kind, run): Run, (other, opened): Run) -> String {
    let (kind, other) = (kind.name(), other.name());
    format!("execution {id} was acknowledged as {kind}, run {run}, and opened as {other}, run {opened}")
}

/// Whether this is the end of a synchronous execution whose node has ended.
fn is_ended_sync(status: Status, payload: &Bytes) -> bool {
    status == Status::Failed
        && decode_failure(payload).is_ok_and(|(_, cause)| cause.is_some_and(is_sync_ended))
}

/// Whether it was closed by its owner, which gave its partition back.
fn is_given_back(payload: &Bytes) -> bool {
    decode_failure(payload).is_ok_and(|(_, cause)| cause.is_some_and(is_sync_given_back))
}

/// The check, shared by whoever acknowledges and the reader.
pub(super) type SharedLogs = Arc<Mutex<LogCheck>>;

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
