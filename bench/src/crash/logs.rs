//! The store's logs, read while they are written: every acknowledged execution is closed there, and closed once.
//!
//! Only id columns are looked at. It sees what look-ups cannot: a second terminal record. Blocks are trimmed by age, so
//! the reader has to keep up; what it has not seen counts as not closed. Files cannot be read beside their node; for them
//! there is the read-back at the end.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use ids::{BatchId, PartitionId};
use journal::block::Block;
use journal::store::{BlockId, BlockRange, Connect, Store};

use super::acks::Ack;
use super::shared::Shared;
use crate::error::Error;
use crate::ledger::Mask;

/// Blocks that are read at a time.
const PAGE: usize = 64;
/// Between two looks at all partitions.
const PAUSE: Duration = Duration::from_millis(200);

/// What was acknowledged, against what the logs have closed. Bounded by the batches of a run, some 100 bytes each.
#[derive(Debug, Default)]
pub struct LogCheck {
    batches: HashMap<BatchId, (Mask, Mask)>,
    closed: u64,
    closed_twice: u64,
}

impl LogCheck {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { batches: HashMap::new(), ..Self::default() }
    }

    /// Notes acknowledged executions.
    pub fn acknowledge(&mut self, ack: &Ack) {
        let (acknowledged, _) = self.batches.entry(ack.batch).or_default();
        acknowledged.set(ack.first_index, ack.first_index + ack.count);
    }

    /// Notes terminal records of [from, to), and returns how many of these executions had one before.
    pub fn close(&mut self, batch: BatchId, from: u32, to: u32) -> u32 {
        let (_, closed) = self.batches.entry(batch).or_default();
        let twice = closed.set(from, to);
        self.closed += u64::from(to.saturating_sub(from));
        self.closed_twice += u64::from(twice);
        twice
    }

    /// Terminal records, and how many of them were a second one.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.closed, self.closed_twice)
    }

    /// Acknowledged executions without a terminal record; and the first batches of them.
    #[must_use]
    pub fn unclosed(&self) -> (u64, Vec<String>) {
        let mut lacking: Vec<(BatchId, u32)> = self
            .batches
            .iter()
            .map(|(batch, (acknowledged, closed))| (*batch, acknowledged.without(closed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        lacking.sort_unstable();
        let count = lacking.iter().map(|(_, count)| u64::from(*count)).sum();
        let named = |(batch, count): &(BatchId, u32)| format!("{count} of {}…", batch.execution(0));
        (count, lacking.iter().take(10).map(named).collect())
    }
}

/// The check, shared by whoever acknowledges and the reader.
pub(super) type SharedLogs = Arc<Mutex<LogCheck>>;

/// Reads on until `stop`; a store that is away is asked again.
pub(super) async fn follow(
    store: impl Connect,
    partitions: u16,
    shared: Arc<Shared>,
    logs: SharedLogs,
    stop: Arc<AtomicBool>,
) {
    let mut places = vec![BlockId::default(); usize::from(partitions)];
    while !stop.load(Relaxed) {
        // A store that is killed is what the test is about; the places stay.
        let _ = read_on(&store, &mut places, &shared, &logs, &stop).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read_on(
    store: &impl Connect,
    places: &mut [BlockId],
    shared: &Shared,
    logs: &SharedLogs,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let store = store.connect().await?;
    while !stop.load(Relaxed) {
        for (number, place) in (0u32..).zip(places.iter_mut()) {
            let Ok(partition) = PartitionId::new(number) else { break };
            read_partition(store.as_ref(), partition, place, shared, logs).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn read_partition(
    store: &dyn Store,
    partition: PartitionId,
    place: &mut BlockId,
    shared: &Shared,
    logs: &SharedLogs,
) -> Result<(), Error> {
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    loop {
        let range = BlockRange { from: *place, to, reverse: false, limit: PAGE };
        let blocks = store.read(partition, range).await?;
        let Some((last, _)) = blocks.last() else { return Ok(()) };
        for (id, bytes) in &blocks {
            let block = Block::parse(bytes)?;
            let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
            for run in block.closed_runs() {
                let (from, to) = (u32::from(run.first), u32::from(run.first) + u32::from(run.count));
                let twice = logs.close(run.batch, from, to);
                if twice > 0 {
                    let first = run.batch.execution(run.first);
                    shared.fault(&format!(
                        "{twice} of {} executions from {first} have a second terminal outcome, in block {}-{} of \
                         partition {partition}",
                        run.count, id.generation, id.sequence
                    ));
                }
            }
        }
        *place = BlockId { generation: last.generation, sequence: last.sequence + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::Kind;
    use super::*;

    fn batch(sequence: u64) -> BatchId {
        BatchId::new(PartitionId::new(1).expect("in range"), 1, sequence).expect("in range")
    }

    fn check() -> LogCheck {
        let mut check = LogCheck::new();
        let ack = Ack { kind: Kind::Pass, first_run: 0, count: 10, batch: batch(1), first_index: 5 };
        check.acknowledge(&ack);
        check
    }

    #[test]
    fn what_is_acknowledged_and_closed_once_is_well_in_either_order() {
        let mut check = check();
        assert_eq!(check.close(batch(1), 0, 10) + check.close(batch(1), 10, 20), 0);
        assert_eq!(check.close(batch(2), 0, 3), 0, "closed before its acknowledgement came");
        assert_eq!(check.unclosed().0, 0);
    }

    #[test]
    fn a_lost_execution_and_a_second_outcome_are_found() {
        let mut check = check();
        check.close(batch(1), 5, 14);
        let (count, named) = check.unclosed();
        assert_eq!(count, 1);
        assert!(named[0].starts_with("1 of "), "{named:?}");
        assert_eq!(check.close(batch(1), 13, 15), 1);
        assert_eq!(check.counts(), (11, 1));
    }
}
