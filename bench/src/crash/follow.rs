//! Follows the store's logs: reads every block, and tells [`LogCheck`](super::logs::LogCheck) what was opened and closed.
//!
//! Redis is read while it is written; files, which one process holds at a time, when everything is over. Blocks are trimmed
//! by age, so the reader has to keep up; what it has not seen counts as not closed. A store that is away is asked again; a
//! block that is none is a fault, and those after it are read all the same.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::StoreError;
use journal::block::{Block, JournalledKind, Record};
use journal::store::{BlockId, BlockRange, Connect, Store};

use super::logs::{Opening, SharedLogs};
use super::shared::Shared;
use super::tasks::Done;
use crate::error::Error;
use crate::load::unix_ms;

/// Blocks that are read at a time.
const PAGE: usize = 64;
/// Between two looks at all partitions.
const PAUSE: Duration = Duration::from_millis(200);
/// No block has it, nor a higher one.
const END: BlockId = BlockId { generation: u64::MAX, sequence: u64::MAX };

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
    /// Reads on until `stop`, and then once to the end, on a thread of its own; a store that is away is asked again.
    ///
    /// # Errors
    /// A thread that cannot be had.
    pub fn spawn(
        self,
        store: impl Connect + 'static,
        stop: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>, Error> {
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
                if let Err(error) = self.read_last(&store, &mut places).await {
                    self.shared.fault(&format!("the logs cannot be read to their end: {error}"));
                }
            });
        };
        std::thread::Builder::new().name("logs".to_owned()).spawn(follow).map_err(failed)
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

    async fn read_last(&self, store: &impl Connect, places: &mut [BlockId]) -> Result<(), Error> {
        self.read_once(store.connect().await?.as_ref(), places).await
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
        loop {
            let range = BlockRange { from: *place, to: END, reverse: false, limit: PAGE };
            let blocks = match store.read(partition, range).await {
                Err(error) if !error.is_retryable() => {
                    // Nobody knows where it could be read on; that its ends are missing is told at the end too.
                    self.shared.fault(&format!(
                        "the log of partition {partition} cannot be read after {place}: {error}"
                    ));
                    *place = END;
                    return Ok(());
                }
                read => read?,
            };
            let Some((last, _)) = blocks.last() else { return Ok(()) };
            for (id, bytes) in &blocks {
                if let Err(error) = self.read_block((partition, *id), bytes) {
                    self.shared
                        .fault(&format!("block {id} of partition {partition} cannot be read: {error}"));
                }
            }
            *place = BlockId { generation: last.generation, sequence: last.sequence + 1 };
            // A log that grows as fast as it is read must not keep the others waiting.
            if blocks.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn read_block(&self, place: (PartitionId, BlockId), bytes: &Bytes) -> Result<(), StoreError> {
        let block = Block::parse(bytes)?;
        if (block.partition(), block.id()) != place {
            let (partition, id) = (block.partition(), block.id());
            return Err(StoreError::Corrupt(format!(
                "it says that it is block {id} of partition {partition}"
            )));
        }
        let mut wrong = Vec::new();
        for record in block.records()? {
            let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            match record {
                Record::Opened(opened) => {
                    let at = Opening { start_ms: opened.start_time_ms, generation: place.1.generation };
                    wrong.extend(logs.open(opened.id, at, &opened.input).err());
                }
                Record::Journalled(told) if told.kind == JournalledKind::TaskSucceeded => {
                    match Done::read(&told.payload) {
                        Some(done) => self.shared.tasks().journalled(done),
                        None => wrong.push(format!("execution {} was told what no worker says", told.id)),
                    }
                }
                Record::Journalled(_) => {}
                Record::Closed(closed) => {
                    let lag = unix_ms().saturating_sub(closed.stop_time_ms);
                    self.shared.log_lag_ms.fetch_max(lag, Relaxed);
                    match logs.close(&closed, place.1.generation) {
                        Ok(ended) => ended.into_iter().for_each(|run| self.shared.tasks().ended(run)),
                        Err(told) => wrong.push(told),
                    }
                }
            }
        }
        let (partition, id) = place;
        for told in wrong {
            self.shared.fault(&format!("{told} (block {id} of partition {partition})"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_block_that_cannot_be_read_is_told() {
        let shared = Arc::new(Shared::new(1, 1, PathBuf::new()));
        let follower = Follower { logs: SharedLogs::default(), shared, partitions: 1 };
        let place = (PartitionId::new(0).expect("in range"), BlockId { generation: 1, sequence: 1 });
        assert!(follower.read_block(place, &Bytes::from_static(b"no block at all")).is_err());
    }
}
