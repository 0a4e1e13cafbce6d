//! Tells the log how far a long recovery is. Nothing here fails.

use std::time::{Duration, Instant};

use ids::PartitionId;
use journal::BlockId;

/// Between two lines of one recovery; most are over before the first.
const EVERY: Duration = Duration::from_secs(5);

/// How far the reading of a log is.
pub struct Progress {
    partition: PartitionId,
    last: BlockId,
    blocks: u64,
    told: Instant,
}

impl Progress {
    /// A log that ends with this block is going to be read.
    pub fn new(partition: PartitionId, last: Option<BlockId>) -> Self {
        Self { partition, last: last.unwrap_or_default(), blocks: 0, told: Instant::now() }
    }

    /// One more block was read, so many executions are open up to here.
    pub fn read(&mut self, at: BlockId, open: impl FnOnce() -> u64) {
        self.blocks += 1;
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            let (partition, blocks, last, open) = (self.partition, self.blocks, self.last, open());
            tracing::info!(
                "recovering partition {partition}: {blocks} blocks read, at {at} of {last}, {open} executions open"
            );
        }
    }
}
