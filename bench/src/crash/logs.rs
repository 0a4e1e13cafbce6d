//! The store's logs: every acknowledged execution is closed there, once, and with the right outcome.
//!
//! Redis is read while it is written; files, which one process holds at a time, when everything is over. It sees what
//! look-ups cannot: a second terminal record, which only a redrive allows, and only one. Blocks are trimmed by age, so the reader has to keep up; what it has not seen
//! counts as not closed, unless Describe has shown it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use ids::{BatchId, ExecutionId, PartitionId, Status};
use journal::block::{Block, Closed, Record, SubBlockKind, decode_failure};
use journal::store::{BlockId, BlockRange, Connect, Store};
use proto::executor::v1::ExecutionStatus;

use super::acks::Ack;
use super::shared::Shared;
use super::verdict::{Outcome, SYNC_ENDED, Verdict, judge_outcome};
use super::workload::Kind;
use crate::error::Error;
use crate::ledger::Mask;
use crate::load::unix_ms;

/// Blocks that are read at a time.
const PAGE: usize = 64;
/// Between two looks at all partitions.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of a batch.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    acknowledged: Mask,
    closed: Mask,
    described: Mask,
}

/// An execution of which one of the two is known: that it was acknowledged, or how it was closed.
#[derive(Debug, Clone)]
enum Half {
    Acknowledged(Kind, u64),
    Closed(Status, Bytes),
}

/// What was acknowledged, against what the logs have closed. Bounded by the batches of a run, some 150 bytes each, and by
/// what is open or was never acknowledged.
#[derive(Debug, Default)]
pub struct LogCheck {
    seed: u64,
    batches: HashMap<BatchId, Known>,
    halves: HashMap<ExecutionId, Half>,
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
    run: (Kind, u64),
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
    /// The first wrong outcome of those that were closed already.
    pub fn acknowledge(&mut self, ack: &Ack) -> Result<(), String> {
        let known = self.batches.entry(ack.batch).or_default();
        known.acknowledged.set(ack.first_index, ack.first_index + ack.count);
        let mut wrong = Ok(());
        for offset in 0..ack.count {
            let (Some(id), run) = (ack.execution(offset), ack.first_run + u64::from(offset)) else {
                continue;
            };
            match self.halves.remove(&id) {
                Some(Half::Closed(status, payload)) => {
                    wrong = wrong.and(self.judge(id, (ack.kind, run), 0, (status, &payload)));
                }
                _ => drop(self.halves.insert(id, Half::Acknowledged(ack.kind, run))),
            }
        }
        wrong
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
        self.syncs_ended += u64::from(is_ended_sync(record));
        match self.halves.remove(&id) {
            Some(Half::Acknowledged(kind, run)) => {
                self.judge(id, (kind, run), 0, end).map(|()| (kind != Kind::Redriven).then_some(run))
            }
            // The payload is a slice of its block: what is kept is copied.
            _ => {
                let payload = Bytes::copy_from_slice(&record.payload);
                self.halves.insert(id, Half::Closed(record.status, payload));
                Ok(None)
            }
        }
    }

    fn judge(
        &mut self,
        id: ExecutionId,
        (kind, run): (Kind, u64),
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
    pub fn ask_redrive(&mut self, id: ExecutionId, run: (Kind, u64)) {
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

    /// Redrives that were acknowledged and whose execution has no second end, neither in the logs nor by Describe.
    fn unclosed_redrives(&self) -> impl Iterator<Item = ExecutionId> {
        let described = |id: &ExecutionId| {
            self.batches.get(&id.batch).is_some_and(|known| known.described.has(id.index.into()))
        };
        let lacks = |redriven: &Redriven| redriven.answered && !redriven.closed;
        self.redriven
            .iter()
            .filter(move |(id, redriven)| lacks(redriven) && !described(id))
            .map(|(id, _)| *id)
    }

    /// Acknowledged executions and redrives without a terminal record that Describe has not shown either; and the first of
    /// them.
    #[must_use]
    pub fn unclosed(&self) -> (u64, Vec<String>) {
        let lacking = |known: &Known| known.acknowledged.without(&known.closed.with(&known.described));
        let mut lacking: Vec<(BatchId, u32)> = self
            .batches
            .iter()
            .map(|(batch, known)| (*batch, lacking(known)))
            .filter(|(_, count)| *count > 0)
            .collect();
        lacking.sort_unstable();
        let redrives: Vec<ExecutionId> = self.unclosed_redrives().collect();
        let count = lacking.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() + redrives.len() as u64;
        let named =
            |(batch, count): &(BatchId, u32)| format!("{count} of the batch of {}", batch.execution(0));
        let redrives = redrives.iter().map(|id| format!("the redrive of {id}"));
        (count, lacking.iter().map(named).chain(redrives).take(10).collect())
    }
}

/// Whether a record closes a synchronous execution whose node has ended.
fn is_ended_sync(record: &Closed) -> bool {
    record.status == Status::Failed
        && decode_failure(&record.payload)
            .is_ok_and(|(_, cause)| cause.is_some_and(|cause| cause.starts_with(SYNC_ENDED)))
}

/// The check, shared by whoever acknowledges and the reader.
pub(super) type SharedLogs = Arc<Mutex<LogCheck>>;

/// Reads a store's logs.
pub(super) struct Follower {
    /// Against what.
    pub logs: SharedLogs,
    /// Where faults go.
    pub shared: Arc<Shared>,
    /// Of the cluster.
    pub partitions: u16,
}

impl Follower {
    /// Reads on until `stop`, on a thread of its own; a store that is away is asked again.
    ///
    /// # Errors
    /// A thread that cannot be had.
    pub fn spawn(self, store: impl Connect + 'static, stop: Arc<AtomicBool>) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Process(format!("no thread for the logs: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let follow = move || {
            let mut places = self.beginning();
            runtime.block_on(async {
                while !stop.load(Relaxed) {
                    // A store that is killed is what the test is about; the places stay.
                    let _ = self.read_on(&store, &mut places, &stop).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        };
        std::thread::Builder::new().name("logs".to_owned()).spawn(follow).map(drop).map_err(failed)
    }

    /// Reads everything that a store holds.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn read_all(&self, store: &impl Connect) -> Result<(), Error> {
        let store = store.connect().await?;
        self.read_once(store.as_ref(), &mut self.beginning()).await
    }

    fn beginning(&self) -> Vec<BlockId> {
        vec![BlockId::default(); usize::from(self.partitions)]
    }

    async fn read_on(
        &self,
        store: &impl Connect,
        places: &mut [BlockId],
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let store = store.connect().await?;
        while !stop.load(Relaxed) {
            self.read_once(store.as_ref(), places).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn read_once(&self, store: &dyn Store, places: &mut [BlockId]) -> Result<(), Error> {
        for (number, place) in (0u32..).zip(places.iter_mut()) {
            let Ok(partition) = PartitionId::new(number) else { break };
            self.read_partition(store, partition, place).await?;
        }
        Ok(())
    }

    async fn read_partition(
        &self,
        store: &dyn Store,
        partition: PartitionId,
        place: &mut BlockId,
    ) -> Result<(), Error> {
        let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
        loop {
            let range = BlockRange { from: *place, to, reverse: false, limit: PAGE };
            let blocks = store.read(partition, range).await?;
            let Some((last, _)) = blocks.last() else { return Ok(()) };
            for (_, bytes) in &blocks {
                self.read_block(bytes)?;
            }
            *place = BlockId { generation: last.generation, sequence: last.sequence + 1 };
            // A log that grows as fast as it is read must not keep the others waiting.
            if blocks.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn read_block(&self, bytes: &Bytes) -> Result<(), Error> {
        let block = Block::parse(bytes)?;
        for sub_block in block.sub_blocks() {
            if !matches!(sub_block.kind(), SubBlockKind::Closed | SubBlockKind::OpenedAndClosed) {
                continue;
            }
            for record in block.records_of(sub_block, |_| true)? {
                let Record::Closed(closed) = record else { continue };
                let lag = unix_ms().saturating_sub(closed.stop_time_ms);
                self.shared.log_lag_ms.fetch_max(lag, Relaxed);
                let noted = self.logs.lock().unwrap_or_else(PoisonError::into_inner).close(&closed);
                match noted {
                    Ok(ended) => ended.into_iter().for_each(|run| self.shared.tasks().ended(run)),
                    Err(wrong) => {
                        let (partition, id) = (block.partition(), block.id());
                        let (generation, sequence) = (id.generation, id.sequence);
                        self.shared.fault(&format!(
                            "{wrong} (block {generation}-{sequence} of partition {partition})"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(check.unclosed().0, 1, "what Describe has shown is not lost");
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
        let cause = format!("{SYNC_ENDED}. It runs at most once");
        let payload = journal::block::encode_failure(Some("States.Runtime"), Some(&cause));
        check.close(&Closed { status: Status::Failed, payload, ..closed(5, 40) }).expect("nobody was told");
        assert_eq!(check.syncs_ended(), 1);
    }
}
