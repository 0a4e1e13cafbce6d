//! Which blocks of a log are still wanted: those that hold an open execution, those whose executions closed less than the
//! retention ago, and those that hold the beginning of a batch that may be sent again.
//!
//! With an archive, a block also has to wait until what closed in it, or was opened in it and closed later, is archived.
//!
//! Blocks are counted in buckets of equal time (a second, or less for short retentions), so that an hour of a busy log
//! costs 3,600 entries. Invariants: a block is trimmed only when its whole bucket and all buckets before it are free; an
//! open execution holds its bucket however long it is open. A log is trimmed beside its appends; where none comes, it is told
//! now and then whether one is wanted for that alone. Nothing here fails.

use std::collections::VecDeque;
use std::time::Duration;

use journal::BlockId;
use journal::checkpoint;

use crate::limits;

/// The width of a bucket for retentions of a minute and more.
const BUCKET_MS_MAX: u64 = 1_000;

#[derive(Debug)]
struct Bucket {
    first: BlockId,
    begin_ms: u64,
    /// Executions that are open and whose oldest record is in these blocks.
    holds: u64,
    /// The last close of what these blocks hold.
    last_ms: u64,
    /// Whether they hold anything, as far as is known.
    filled: bool,
}

/// The blocks of one log.
#[derive(Debug)]
pub struct Retained {
    buckets: VecDeque<Bucket>,
    retention_ms: u64,
    width_ms: u64,
    trimmed: BlockId,
    /// What closed below is archived; nothing if nothing has to be.
    archived: Option<BlockId>,
    /// When it was last looked whether the log is to be trimmed for its own sake, and whether it is.
    looked_ms: u64,
    overdue: bool,
}

impl Retained {
    /// Nothing yet.
    #[must_use]
    pub fn new(retention: Duration) -> Self {
        let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let width_ms = (retention_ms / 60).clamp(1, BUCKET_MS_MAX);
        Self {
            buckets: VecDeque::new(),
            retention_ms,
            width_ms,
            trimmed: BlockId::default(),
            archived: None,
            looked_ms: 0,
            overdue: false,
        }
    }

    /// Whether trimming waits for an archive.
    #[must_use]
    pub fn gated(self, archives: bool) -> Self {
        Self { archived: archives.then(BlockId::default), ..self }
    }

    /// What closed below this block is archived.
    pub fn archived(&mut self, below: BlockId) {
        if let Some(archived) = &mut self.archived {
            *archived = below.max(*archived);
        }
    }

    /// The first block of the log.
    #[must_use]
    pub fn first(&self) -> Option<BlockId> {
        self.buckets.front().map(|bucket| bucket.first)
    }

    /// The first block that was written less than this long ago.
    #[must_use]
    pub fn written_within(&self, now_ms: u64, age_ms: u64) -> Option<BlockId> {
        let young =
            |bucket: &&Bucket| bucket.begin_ms.saturating_add(self.width_ms).saturating_add(age_ms) >= now_ms;
        self.buckets.iter().find(young).map(|bucket| bucket.first)
    }

    /// For how long the oldest block at or above this one has been in the log.
    #[must_use]
    pub fn age_ms(&self, from: BlockId, now_ms: u64) -> u64 {
        let after = self.buckets.partition_point(|bucket| bucket.first <= from);
        let bucket = self.buckets.get(after.saturating_sub(1));
        bucket.map_or(0, |bucket| now_ms.saturating_sub(bucket.begin_ms))
    }

    /// Whether everything that closed until then is archived, as far as it has to be; `next` is the next block.
    fn is_archived(&self, until_ms: u64, next: Option<BlockId>) -> bool {
        let Some(archived) = self.archived else { return true };
        // What closed until then did so below the first block that was written after.
        let later = self.buckets.partition_point(|bucket| bucket.begin_ms <= until_ms);
        self.buckets.get(later).map(|bucket| bucket.first).or(next).is_some_and(|first| first <= archived)
    }

    /// What a checkpoint says; who is open holds it again.
    #[must_use]
    pub fn restore(retention: Duration, buckets: &[checkpoint::Bucket]) -> Self {
        let mut retained = Self::new(retention);
        retained.buckets.extend(buckets.iter().map(|bucket| {
            let checkpoint::Bucket { first, begin_ms, last_ms } = *bucket;
            Bucket { first, begin_ms, holds: 0, last_ms, filled: true }
        }));
        retained
    }

    /// What a checkpoint keeps.
    pub fn buckets(&self) -> impl Iterator<Item = checkpoint::Bucket> {
        self.buckets.iter().map(|bucket| checkpoint::Bucket {
            first: bucket.first,
            begin_ms: bucket.begin_ms,
            last_ms: bucket.last_ms,
        })
    }

    /// A block was written at this time.
    pub fn wrote(&mut self, block: BlockId, at_ms: u64) {
        self.wrote_so(block, at_ms, true);
    }

    /// A block was written at this time, with records or without any.
    pub fn wrote_so(&mut self, block: BlockId, at_ms: u64, filled: bool) {
        match self.buckets.back_mut() {
            Some(last) if at_ms < last.begin_ms.saturating_add(self.width_ms) => {
                last.last_ms = last.last_ms.max(at_ms);
                last.filled |= filled;
            }
            _ => {
                let bucket = Bucket { first: block, begin_ms: at_ms, holds: 0, last_ms: at_ms, filled };
                self.buckets.push_back(bucket);
            }
        }
    }

    fn bucket(&mut self, block: BlockId) -> Option<&mut Bucket> {
        let after = self.buckets.partition_point(|bucket| bucket.first <= block);
        self.buckets.get_mut(after.checked_sub(1)?)
    }

    /// This block is wanted until it is released as often.
    pub fn hold(&mut self, block: BlockId, times: u64) {
        if let Some(bucket) = self.bucket(block) {
            bucket.holds += times;
        }
    }

    /// What was held has closed at this time.
    pub fn release(&mut self, block: BlockId, times: u64, mut at_ms: u64) {
        if self.archived.is_some() && at_ms > 0 {
            // The block that closed it is at or below the last one, whatever the clock says.
            at_ms = at_ms.max(self.buckets.back().map_or(0, |last| last.begin_ms));
        }
        if let Some(bucket) = self.bucket(block) {
            bucket.holds = bucket.holds.saturating_sub(times);
            bucket.last_ms = bucket.last_ms.max(at_ms);
        }
    }

    /// What was opened in this block closed at this time, before it was held.
    pub fn closed(&mut self, block: BlockId, at_ms: u64) {
        self.release(block, 0, at_ms);
    }

    /// The first block that is wanted for more than what is still open: where something below it is held, that is to be
    /// carried into later blocks, so that the log can be trimmed. Nothing, while nothing is held for longer than `age_ms`.
    #[must_use]
    pub fn due(&self, now_ms: u64, age_ms: u64) -> Option<BlockId> {
        let age_ms = age_ms.max(self.retention_ms);
        let old = |bucket: &&Bucket| bucket.last_ms.saturating_add(age_ms) < now_ms;
        let count = self.buckets.iter().take_while(old).count().min(self.buckets.len().saturating_sub(1));
        let held = self.buckets.iter().take(count).any(|bucket| bucket.holds > 0);
        self.buckets.get(count).filter(|_| held).map(|bucket| bucket.first)
    }

    fn is_free(&self, bucket: &Bucket, now_ms: u64) -> bool {
        let kept_ms = u64::try_from(limits::BLOCK_KEPT_MIN.as_millis()).unwrap_or(u64::MAX);
        let sent_again_until_ms = bucket.begin_ms.saturating_add(self.width_ms).saturating_add(kept_ms);
        let until_ms = bucket.last_ms.saturating_add(self.retention_ms).max(sent_again_until_ms);
        bucket.holds == 0 && until_ms < now_ms
    }

    /// Looks, now and then, whether a log into which nothing was written for a while is to be trimmed: a block without
    /// records, whose id would be `next`, would do it. Such blocks themselves are not worth it.
    pub fn look(&mut self, now_ms: u64, next: BlockId) {
        let most_ms = u64::try_from(limits::ARCHIVE_PERIOD_MAX.as_millis()).unwrap_or(u64::MAX);
        let pause_ms = (self.retention_ms / 4).min(most_ms);
        let written_ms = self.buckets.back().map_or(0, |last| last.last_ms);
        if now_ms < self.looked_ms.max(written_ms).saturating_add(pause_ms) {
            return;
        }
        self.looked_ms = now_ms;
        let free =
            |bucket: &&Bucket| self.is_free(bucket, now_ms) && self.is_archived(bucket.last_ms, Some(next));
        self.overdue = self.buckets.iter().take_while(free).any(|bucket| bucket.filled);
    }

    /// Whether a block is to be written for the sake of trimming.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// Forgets what nobody wants, and tells from which block on the log is wanted, when that has changed.
    pub fn trim_below(&mut self, now_ms: u64) -> Option<BlockId> {
        self.overdue = false;
        // The last bucket stays: blocks are still being written into it.
        while self.buckets.len() > 1 {
            let free = |bucket| self.is_free(bucket, now_ms) && self.is_archived(bucket.last_ms, None);
            if !self.buckets.front().is_some_and(free) {
                break;
            }
            self.buckets.pop_front();
        }
        let first = self.buckets.front().map(|bucket| bucket.first)?;
        if first <= self.trimmed {
            return None;
        }
        self.trimmed = first;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(sequence: u64) -> BlockId {
        BlockId { generation: 1, sequence }
    }

    fn log() -> Retained {
        let mut log = Retained::new(Duration::from_secs(600));
        for second in 1..=10 {
            log.wrote(block(second), second * 1_000);
        }
        log.trim_below(10_000);
        log
    }

    #[test]
    fn blocks_are_trimmed_when_their_retention_has_passed() {
        let mut log = log();
        assert_eq!(log.trim_below(601_000), None);
        assert_eq!(log.trim_below(603_500), Some(block(4)));
        assert_eq!(log.trim_below(603_500), None);
    }

    #[test]
    fn a_block_outlives_a_short_retention_while_a_batch_that_began_in_it_may_be_sent_again() {
        let mut log = Retained::new(Duration::from_secs(6));
        (1..=10).for_each(|second| log.wrote(block(second), second * 1_000));
        let kept_ms = limits::BLOCK_KEPT_MIN.as_millis() as u64;
        log.trim_below(3_000);
        assert_eq!(log.trim_below(1_000 + kept_ms), None);
        assert_eq!(log.trim_below(3_500 + kept_ms), Some(block(4)));
    }

    #[test]
    fn with_an_archive_a_block_is_trimmed_when_whatever_closed_it_is_archived() {
        let mut log = Retained::new(Duration::from_secs(60)).gated(true);
        (1..=6).for_each(|second| log.wrote(block(second), second * 1_000));
        log.closed(block(2), 6_500);
        (7..=10).for_each(|second| log.wrote(block(second), second * 1_000));
        let later = 3_600_000;
        assert_eq!(log.trim_below(later), Some(block(1)));
        log.archived(block(6));
        assert_eq!(log.trim_below(later), Some(block(2)), "what block 2 opened was closed in block 6");
        log.archived(block(7));
        assert_eq!(log.trim_below(later), Some(block(7)));
        log.archived(block(6));
        assert_eq!(log.trim_below(later), None, "what is archived stays archived");
    }

    #[test]
    fn a_log_in_which_nothing_happens_is_trimmed_by_empty_blocks_until_nothing_but_such_is_left() {
        for archives in [false, true] {
            let mut log = Retained::new(Duration::from_secs(60)).gated(archives);
            (1..=3).for_each(|second| log.wrote(block(second), second * 1_000));
            log.hold(block(2), 1);
            log.trim_below(4_000);
            log.look(5_000, block(4));
            assert!(!log.is_overdue(), "nothing is past its time");
            let hour_ms = 3_600_000;
            log.look(hour_ms, block(4));
            assert_eq!(log.is_overdue(), !archives, "with an archive, nothing is archived yet");
            log.archived(block(4));
            log.look(2 * hour_ms, block(4));
            assert!(log.is_overdue());
            log.wrote_so(block(4), 2 * hour_ms, false);
            assert_eq!(log.trim_below(2 * hour_ms), Some(block(2)), "what is open stays");
            log.look(3 * hour_ms, block(5));
            assert!(!log.is_overdue());
            log.release(block(2), 1, 3 * hour_ms);
            log.archived(block(5));
            log.look(4 * hour_ms, block(5));
            assert!(log.is_overdue());
            log.wrote_so(block(5), 4 * hour_ms, false);
            assert_eq!(log.trim_below(4 * hour_ms), Some(block(5)));
            log.archived(block(6));
            log.look(5 * hour_ms, block(6));
            assert!(!log.is_overdue(), "an empty block is not worth another one");
        }
    }

    #[test]
    fn a_log_that_is_written_into_is_not_overdue() {
        let mut log = Retained::new(Duration::from_secs(60));
        (1..=1_000).for_each(|second| log.wrote(block(second), second * 1_000));
        log.look(1_001_000, block(1_001));
        assert!(!log.is_overdue() && log.trim_below(1_001_000).is_some());
    }

    #[test]
    fn a_clock_that_goes_back_hides_no_close_from_the_archive() {
        let mut log = Retained::new(Duration::from_secs(60)).gated(true);
        (1..=10).for_each(|second| log.wrote(block(second), second * 1_000));
        // Block 10 closed what block 2 had opened, and says that it did so long before.
        log.release(block(2), 1, 1_500);
        log.archived(block(10));
        assert_eq!(log.trim_below(3_600_000), Some(block(2)));
    }

    #[test]
    fn an_open_execution_holds_its_block_and_all_later_ones_for_years() {
        let mut log = log();
        log.hold(block(3), 1);
        let year = 365 * 86_400_000;
        assert_eq!(log.trim_below(year), Some(block(3)));
        assert_eq!(log.trim_below(2 * year), None);
        log.release(block(3), 1, 2 * year);
        assert_eq!(log.trim_below(2 * year + 600_000), None, "retention counts from the close");
        assert_eq!(log.trim_below(2 * year + 600_001), Some(block(10)));
    }
}
