//! The store's logs: every acknowledged execution is closed there, once, and with the right outcome.
//!
//! Redis is read while it is written; files, which one process holds at a time, when everything is over. It sees what
//! look-ups cannot: a second terminal record. Blocks are trimmed by age, so the reader has to keep up; what it has not seen
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
use super::verdict::{Outcome, judge_outcome};
use super::workload::Kind;
use crate::error::Error;
use crate::ledger::Mask;

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
    closed: u64,
    closed_twice: u64,
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
                    wrong = wrong.and(self.judge(id, (ack.kind, run), status, &payload));
                }
                _ => drop(self.halves.insert(id, Half::Acknowledged(ack.kind, run))),
            }
        }
        wrong
    }

    /// Notes a terminal record.
    ///
    /// # Errors
    /// It is a second one, or says a wrong outcome.
    pub fn close(&mut self, record: &Closed) -> Result<(), String> {
        let (id, index) = (record.id, u32::from(record.id.index));
        let known = self.batches.entry(id.batch).or_default();
        if known.closed.set(index, index + 1) > 0 {
            self.closed_twice += 1;
            return Err(format!("execution {id} has a second terminal outcome: {:?}", record.status));
        }
        self.closed += 1;
        match self.halves.remove(&id) {
            Some(Half::Acknowledged(kind, run)) => {
                self.judge(id, (kind, run), record.status, &record.payload)
            }
            // The payload is a slice of its block: what is kept is copied.
            _ => {
                let payload = Bytes::copy_from_slice(&record.payload);
                self.halves.insert(id, Half::Closed(record.status, payload));
                Ok(())
            }
        }
    }

    fn judge(
        &self,
        id: ExecutionId,
        (kind, run): (Kind, u64),
        status: Status,
        payload: &Bytes,
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
        judge_outcome(&kind.expected(self.seed, run), outcome).map_err(wrong)
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

    /// Acknowledged executions without a terminal record that Describe has not shown either; and the first batches of them.
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
        let count = lacking.iter().map(|(_, count)| u64::from(*count)).sum();
        let named =
            |(batch, count): &(BatchId, u32)| format!("{count} of the batch of {}", batch.execution(0));
        (count, lacking.iter().take(10).map(named).collect())
    }
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
                let noted = self.logs.lock().unwrap_or_else(PoisonError::into_inner).close(&closed);
                if let Err(wrong) = noted {
                    let (partition, id) = (block.partition(), block.id());
                    let (generation, sequence) = (id.generation, id.sequence);
                    self.shared
                        .fault(&format!("{wrong} (block {generation}-{sequence} of partition {partition})"));
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
        let Expected::Succeeded(output) = Kind::FiveState.expected(1, run) else {
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
        assert_eq!(check.close(&closed(5, 40)), Ok(()), "closed before its acknowledgement came");
        assert_eq!(check.acknowledge(&ack()), Ok(()));
        assert_eq!(check.close(&closed(6, 41)).and_then(|()| check.close(&closed(7, 42))), Ok(()));
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
}
