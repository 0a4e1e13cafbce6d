//! What the logs say of executions, against what was acknowledged.
//!
//! Every acknowledged execution is closed in a log, once, with the right outcome, whatever Describe says; a second terminal
//! record is right after a redrive alone, and only one. An id is given to one start, and a run is opened under one id,
//! acknowledged or not: what was closed and never acknowledged is held against its own input, and counted.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use ids::{BatchId, ExecutionId, Status};
use journal::block::{Closed, decode_failure};
use proto::executor::v1::ExecutionStatus;
use serde::Deserialize;

use super::acks::Ack;
use super::tasks::Runs;
use super::verdict::{Outcome, Verdict, is_sync_ended, judge_outcome};
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

/// What is known of an execution until it is both acknowledged and closed.
#[derive(Debug, Default, Clone)]
struct Half {
    acknowledged: Option<Run>,
    /// As its input in the log says.
    opened: Option<Run>,
    closed: Option<(Status, Bytes)>,
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
    condemned: u64,
    syncs_ended: u64,
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
                wrong = wrong.and(self.judge(id, run, 0, (status, &payload)));
            }
        }
        wrong
    }

    /// Notes that an execution was opened. What is open is written again where it is carried on.
    ///
    /// # Errors
    /// Its run has another id too, or was acknowledged with another id; an input that is none of this test.
    pub fn open(&mut self, id: ExecutionId, input: &[u8]) -> Result<(), String> {
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
        half.opened = Some(run);
        if let Some(acknowledged) = half.acknowledged.filter(|acknowledged| *acknowledged != run) {
            return Err(mixed_up(id, acknowledged, run));
        }
        if self.opened.add(run.1) {
            let (kind, run) = (run.0.name(), run.1);
            return Err(format!("run {run} ({kind}) was started twice: {id} is not its first execution"));
        }
        Ok(())
    }

    /// Notes a terminal record; gives the run that has ended for good with it.
    ///
    /// # Errors
    /// It is a second one, or says a wrong outcome.
    pub fn close(&mut self, record: &Closed) -> Result<Option<u64>, String> {
        let (id, index) = (record.id, u32::from(record.id.index));
        let end = (record.status, &record.payload);
        let known = self.batches.entry(id.batch).or_default();
        if known.closed.set(index, index + 1) > 0 {
            let Some(redriven) = self.redriven.get_mut(&id).filter(|redriven| !redriven.closed) else {
                return Err(format!("execution {id} has a second terminal outcome: {:?}", record.status));
            };
            redriven.closed = true;
            self.closed_again += 1;
            let run = redriven.run;
            return self.judge(id, run, 1, end).map(|()| Some(run.1));
        }
        self.closed += 1;
        self.syncs_ended += u64::from(is_ended_sync(record.status, &record.payload));
        let half = self.halves.entry(id).or_default();
        if let Some((kind, run)) = half.acknowledged {
            self.halves.remove(&id);
            return self.judge(id, (kind, run), 0, end).map(|()| (kind != Kind::Redriven).then_some(run));
        }
        // The payload is a slice of its block: what is kept is copied.
        half.closed = Some((record.status, Bytes::copy_from_slice(&record.payload)));
        Ok(None)
    }

    /// Executions that were closed and never acknowledged, how many, and what is wrong with them.
    pub fn leftovers(&mut self) -> (u64, Vec<String>) {
        let closed = |(id, half): (&ExecutionId, &Half)| Some((*id, half.opened, half.closed.clone()?));
        let left: Vec<_> = self.halves.iter().filter_map(closed).collect();
        let judged = left.iter().filter_map(|(id, opened, (status, payload))| match opened {
            None => Some(format!("execution {id} was closed, and no log says that it was opened")),
            Some((Kind::Sync, _)) if is_ended_sync(*status, payload) => None,
            Some(run) => self.judge(*id, *run, 0, (*status, payload)).err(),
        });
        let wrong = judged.collect();
        (left.len() as u64, wrong)
    }

    fn judge(
        &mut self,
        id: ExecutionId,
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
        self.condemned += u64::from(verdict == Verdict::Condemned);
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
    pub fn condemned(&self) -> u64 {
        self.condemned
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

/// The check, shared by whoever acknowledges and the reader.
pub(super) type SharedLogs = Arc<Mutex<LogCheck>>;

#[cfg(test)]
mod tests {
    use ids::PartitionId;

    use super::super::workload::Expected;
    use super::*;

    fn batch() -> BatchId {
        BatchId::new(PartitionId::new(1).expect("in range"), 1, 9).expect("in range")
    }

    fn ack() -> Ack {
        Ack { kind: Kind::FiveState, first_run: 40, count: 3, batch: batch(), first_index: 5 }
    }

    fn closed(index: u8, run: u64) -> Closed {
        let Expected::Succeeded(output) = Kind::FiveState.expected(1, run, 0) else {
            unreachable!("it succeeds")
        };
        Closed {
            id: batch().execution(index),
            status: Status::Succeeded,
            stop_time_ms: 1,
            payload: output.to_string().into(),
            blocks: Vec::new(),
        }
    }

    #[test]
    fn what_is_acknowledged_and_closed_once_is_well_in_either_order() {
        let mut check = LogCheck::new(1);
        assert_eq!(check.close(&closed(5, 40)), Ok(None), "closed before its acknowledgement came");
        assert_eq!(check.acknowledge(&ack()), Ok(()));
        assert_eq!(check.close(&closed(6, 41)), Ok(Some(41)));
        assert_eq!(check.close(&closed(7, 42)), Ok(Some(42)));
        assert_eq!((check.unclosed().0, check.closed_once()), (0, 3));
        assert!(check.halves.is_empty(), "nothing is kept of what is settled");
    }

    #[test]
    fn a_lost_execution_and_a_second_outcome_are_found() {
        let mut check = LogCheck::new(1);
        check.acknowledge(&ack()).expect("none is closed");
        check.close(&closed(5, 40)).expect("right");
        let (count, named) = check.unclosed();
        assert_eq!(count, 2);
        assert!(named[0].starts_with("2 of "), "{named:?}");
        assert!(check.close(&closed(5, 40)).expect_err("twice").contains("second"));
        check.describe(batch().execution(6));
        assert_eq!((check.unclosed().0, check.unseen()), (2, 1), "Describe does not speak for the log");
    }

    #[test]
    fn an_id_that_is_acknowledged_twice_is_found_and_so_is_one_that_another_start_has() {
        let mut check = LogCheck::new(1);
        check.acknowledge(&ack()).expect("none is closed");
        let other = Ack { first_run: 90, first_index: 7, ..ack() };
        assert!(check.acknowledge(&other).expect_err("7 is taken").contains("1 ids were acknowledged"));
        let opened = Kind::FiveState.input_bytes(1, 99);
        let told = check.open(batch().execution(5), &opened).expect_err("another run");
        assert!(told.contains("run 40") && told.contains("run 99"), "{told}");
        check.open(batch().execution(20), &Kind::FiveState.input_bytes(1, 3)).expect("nobody else has it");
        let late = Ack { first_run: 4, count: 1, first_index: 20, ..ack() };
        assert!(check.acknowledge(&late).expect_err("opened as 3").contains("run 3"));
    }

    #[test]
    fn a_run_that_is_opened_under_two_ids_is_found_and_one_that_is_carried_is_well() {
        let mut check = LogCheck::new(1);
        let input = Kind::FiveState.input_bytes(1, 40);
        assert_eq!(check.open(batch().execution(5), &input), Ok(()));
        assert_eq!(check.open(batch().execution(5), &input), Ok(()), "written again");
        let told = check.open(batch().execution(6), &input).expect_err("a second start");
        assert!(told.contains("run 40") && told.contains("twice"), "{told}");
        assert!(check.open(batch().execution(8), b"{}").is_err(), "nobody sent it");
    }

    #[test]
    fn what_is_closed_and_never_acknowledged_is_counted_and_held_against_its_input() {
        let mut check = LogCheck::new(1);
        for (index, run) in [(5, 40), (6, 41)] {
            check.open(batch().execution(index), &Kind::FiveState.input_bytes(1, run)).expect("once each");
        }
        check.close(&closed(5, 40)).expect("nobody asks yet");
        assert_eq!(check.leftovers(), (1, Vec::new()));
        check.close(&closed(6, 40)).expect("nobody asks yet");
        check.close(&closed(7, 42)).expect("nobody asks yet");
        let (count, wrong) = check.leftovers();
        assert_eq!((count, wrong.len()), (3, 2), "{wrong:?}");
    }

    #[test]
    fn a_wrong_outcome_is_found_whichever_comes_first() {
        let mut check = LogCheck::new(1);
        check.close(&closed(5, 41)).expect("nobody knows yet whose it is");
        assert!(check.acknowledge(&ack()).expect_err("the outcome of another run").contains("run 40"));
        assert!(check.close(&closed(6, 40)).is_err());
        let failed = Closed {
            status: Status::Failed,
            payload: journal::block::encode_failure(Some("States.Runtime"), None),
            ..closed(7, 42)
        };
        assert!(check.close(&failed).expect_err("it must not fail").contains("States.Runtime"));
    }

    fn ends(kind: Kind, redrives: u32) -> Closed {
        let (status, payload) = match kind.expected(1, 40, redrives) {
            Expected::Succeeded(output) => (Status::Succeeded, output.to_string().into()),
            Expected::Failed { error, cause } => {
                (Status::Failed, journal::block::encode_failure(Some(error), Some(cause)))
            }
        };
        Closed { status, payload, ..closed(5, 40) }
    }

    #[test]
    fn a_redrive_allows_one_second_end_and_no_third_and_must_come_to_it_once_it_was_acknowledged() {
        let mut check = LogCheck::new(1);
        let (id, run) = (batch().execution(5), (Kind::Redriven, 40));
        check.acknowledge(&Ack { kind: Kind::Redriven, count: 1, ..ack() }).expect("none is closed");
        assert_eq!(check.close(&ends(Kind::Redriven, 0)), Ok(None), "it goes on when it is redriven");
        check.ask_redrive(id, run);
        assert_eq!(check.unclosed().0, 0, "nobody has said that it goes on");
        check.redrive(id);
        assert_eq!(check.unclosed().1, [format!("the redrive of {id}")]);
        assert_eq!(check.close(&ends(Kind::Redriven, 1)), Ok(Some(40)));
        assert_eq!((check.unclosed().0, check.closed_again()), (0, 1));
        assert!(check.close(&ends(Kind::Redriven, 1)).expect_err("a third").contains("second"));
    }

    #[test]
    fn synchronous_executions_whose_node_has_ended_are_counted() {
        let mut check = LogCheck::new(1);
        let cause = "The node that ran the synchronous execution has ended. It runs at most once";
        let payload = journal::block::encode_failure(Some("States.Runtime"), Some(cause));
        check.close(&Closed { status: Status::Failed, payload, ..closed(5, 40) }).expect("nobody was told");
        assert_eq!(check.syncs_ended(), 1);
    }
}
