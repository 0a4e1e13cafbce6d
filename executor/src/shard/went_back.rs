//! The store went back: what it confirmed is gone, after the promotion of a replica that did not have it.
//!
//! Each log holds the blocks that were confirmed lately. When the store says that a log ends below what it confirmed, the
//! owner first asks whether this is its store at all (`cluster`): an emptied or foreign one gets nothing, and nothing is
//! acknowledged until the right one is back. In the right one it writes again what it holds, in order and under the same
//! ids, then what was on its way, and takes the partition anew, so that an older owner whose fence was lost is fenced again.
//! Invariants: nothing is acknowledged until that is done; what is not held any more is counted and told in one line of the
//! log, never passed over; what is open is written again, since the shard still has it. What may fail: the store (asked
//! again, with pauses), or another owner was quicker (the partition is given up).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, PartitionId};
use journal::block::{JournalledKind, JournalledView};
use journal::store::Acquired;
use journal::{Append, BlockId, Derived, Store, StoreError};
use telemetry::StoreFailure;

use super::core::{Landed, Shard};
use super::execution::OpenExecution;
use super::log::{Log, LogState, Page, Sealed};
use super::slab::Address;
use crate::cluster::{Cluster, Foreign};
use crate::limits;

/// The pause before a store that is not the right one is looked at again.
const PAUSE: Duration = Duration::from_millis(500);

/// What was confirmed lately: all blocks above `dropped`.
#[derive(Debug, Default)]
pub(super) struct Held {
    blocks: VecDeque<(u64, Append)>,
    bytes: usize,
    /// Of what is confirmed and not held, the highest.
    dropped: BlockId,
    /// The highest that is confirmed.
    last: BlockId,
    /// Which batches began in which block, also of blocks that were dropped ...
    batches: VecDeque<(BlockId, BatchId)>,
    /// ... above this one.
    batches_above: BlockId,
}

/// Confirmed blocks that are lost: those above `after`, up to `last`.
#[derive(Debug, Clone, Copy)]
struct Gap {
    after: BlockId,
    last: BlockId,
}

impl Gap {
    fn holds(&self, block: BlockId) -> bool {
        self.after < block && block <= self.last
    }

    /// How many blocks; of several generations those of the last one, for the ends of the others are not known.
    fn blocks(&self) -> u64 {
        let before = if self.after.generation == self.last.generation { self.after.sequence } else { 0 };
        self.last.sequence.saturating_sub(before)
    }
}

/// About how much memory an append takes.
fn bytes_of(append: &Append) -> usize {
    let derived = append.derived.iter().map(|derived| match derived {
        Derived::Put { key, value, .. } | Derived::Push { list: key, value, .. } => {
            key.len() + value.len() + size_of::<Derived>()
        }
    });
    append.block.len() + derived.sum::<usize>()
}

/// The key whose value is replaced.
fn key_of(derived: &Derived) -> Option<&Bytes> {
    match derived {
        Derived::Put { key, .. } => Some(key),
        Derived::Push { .. } => None,
    }
}

impl Held {
    /// The log is ours, and this is the last block of earlier owners.
    pub fn begin(&mut self, last: Option<BlockId>) {
        let last = last.unwrap_or_default();
        *self = Self { dropped: last, last, batches_above: last, ..Self::default() };
    }

    /// A block is confirmed.
    pub fn keep(&mut self, append: Append, page: &Page, now_us: u64, bytes_max: usize) {
        self.last = append.id;
        for batch in &page.batches {
            if self.batches.len() >= limits::HELD_BATCHES_MAX
                && let Some((block, _)) = self.batches.pop_front()
            {
                self.batches_above = block;
            }
            self.batches.push_back((append.id, batch.id));
        }
        self.bytes += bytes_of(&append);
        self.blocks.push_back((now_us, append));
        let oldest_us = now_us.saturating_sub(limits::HELD_TIME.as_micros() as u64);
        while let Some((at_us, append)) = self.blocks.front()
            && (*at_us < oldest_us || self.bytes > bytes_max)
        {
            self.bytes -= bytes_of(append);
            self.dropped = append.id;
            self.blocks.pop_front();
        }
    }

    /// Takes out the appends above `top`.
    fn take_above(&mut self, top: BlockId) -> Vec<Append> {
        let at = self.blocks.partition_point(|(_, append)| append.id <= top);
        let above: Vec<Append> = self.blocks.drain(at..).map(|(_, append)| append).collect();
        self.bytes -= above.iter().map(bytes_of).sum::<usize>();
        above
    }

    /// What travelled beside the blocks that are held.
    fn derived(&self) -> impl Iterator<Item = Derived> + '_ {
        self.blocks.iter().flat_map(|(_, append)| append.derived.iter().cloned())
    }

    /// What is not held and above `top`.
    fn gap(&self, top: BlockId) -> Option<Gap> {
        (top < self.dropped).then_some(Gap { after: top, last: self.dropped })
    }

    /// The gap was told: the log is known to end before it.
    fn told(&mut self, gap: Gap) {
        self.dropped = gap.after;
        self.batches.retain(|(block, _)| !gap.holds(*block));
    }

    /// The batches that began in lost blocks; nothing when not all of them are known.
    fn lost_batches(&self, gap: Gap) -> Option<Vec<BatchId>> {
        let lost = self.batches.iter().filter(|(block, _)| gap.holds(*block)).map(|(_, batch)| *batch);
        (gap.after >= self.batches_above).then(|| lost.collect())
    }
}

/// What an owner finds that was told that its log went back.
#[derive(Debug)]
pub(super) enum Finding {
    /// It is not the store, or not all of it.
    Foreign(Foreign),
    /// The log ends here, and takes appends above it.
    EndsAt(BlockId),
}

async fn examine(
    store: &dyn Store,
    cluster: &Cluster,
    (partition, from): (PartitionId, BlockId),
) -> Result<Finding, StoreError> {
    if let Err(foreign) = cluster.compare(store).await? {
        return Ok(Finding::Foreign(foreign));
    }
    match store.top(partition).await? {
        None => Ok(Finding::Foreign(Foreign::log_is_gone(partition))),
        Some(top) => {
            store.accept(partition, top, from).await?;
            Ok(Finding::EndsAt(top))
        }
    }
}

impl Log {
    /// What travelled beside the blocks that are still there may have been later than they: it is given again, and comes
    /// after the blocks that are written again, whose own must not be put back by it.
    fn give_derived_again(&mut self, now_ms: u64) {
        let listings: Vec<Derived> = self.index.borrow_mut().listings_again(now_ms).collect();
        let after = self.sealed.iter().flat_map(|sealed| &sealed.append.derived);
        let newer: HashSet<_> = after.chain(&listings).filter_map(key_of).cloned().collect();
        let older =
            self.held.derived().filter(|derived| key_of(derived).is_none_or(|key| !newer.contains(key)));
        self.lost.extend(older);
        listings.into_iter().rev().for_each(|listing| self.lost.push_front(listing));
    }

    /// The lowest id that the store may get from here: of what is held, on its way, or to come.
    fn first_to_send(&self) -> BlockId {
        let held = self.held.blocks.front().map(|(_, append)| append.id);
        held.or_else(|| self.sealed.front().map(|sealed| sealed.append.id)).unwrap_or(self.next_block())
    }

    /// The highest id that the store has confirmed.
    pub(super) fn confirmed_id(&self) -> BlockId {
        self.held.last.max(BlockId { generation: self.generation, sequence: 0 })
    }

    /// What is open is found from another block on, or from none.
    fn hold_instead(&mut self, before: Option<BlockId>, after: Option<BlockId>, now_ms: u64) {
        after.into_iter().for_each(|block| self.retained.hold(block, 1));
        before.into_iter().for_each(|block| self.retained.release(block, 1, now_ms));
    }

    /// Forgets what is open in no slot and was opened in lost blocks, and says what; and how much has lost something.
    fn lose_away(&mut self, gap: Gap, now_ms: u64) -> (HashSet<ExecutionId>, u64) {
        let (mut moved, mut lost) = (Vec::new(), HashSet::new());
        let mut broken = 0;
        self.away.retain(|id, away| {
            if !away.blocks.iter().any(|block| gap.holds(*block)) {
                return true;
            }
            broken += 1;
            let before = away.blocks.iter().min().copied();
            let opening_lost = away.blocks.first().is_some_and(|block| gap.holds(*block));
            away.blocks.retain(|block| !gap.holds(*block));
            if opening_lost {
                tracing::error!(execution = %id, "LOST: the store went back behind its start, and it is in no slot");
                away.blocks.clear();
                lost.insert(*id);
            }
            moved.push((before, away.blocks.iter().min().copied()));
            !opening_lost
        });
        moved.into_iter().for_each(|(before, after)| self.hold_instead(before, after, now_ms));
        (lost, broken)
    }
}

impl Shard {
    /// What one log may hold of what was confirmed.
    pub(super) fn held_bytes_max(&self) -> usize {
        limits::HELD_BYTES_PER_LOG_MAX.min(limits::HELD_BYTES_MAX / self.own.here.max(1))
    }

    /// The store says that this log went back.
    pub(super) fn went_back(&mut self, at: usize) {
        self.metrics.store_failed(StoreFailure::WentBack);
        let log = &mut self.logs[at];
        if log.state == LogState::Serving {
            log.state = LogState::Down;
        }
        log.mending = true;
        let (partition, confirmed) = (log.partition.get(), log.confirmed_id());
        tracing::error!(
            partition, %confirmed,
            "the store went back behind what it had confirmed: nothing is acknowledged and starts are refused until \
             that is mended"
        );
        self.publish_state();
        self.examine(at, Duration::ZERO);
    }

    fn examine(&mut self, at: usize, pause: Duration) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let log = &mut self.logs[at];
        log.in_flight = true;
        let from = log.first_to_send();
        let (cluster, partition, tenure) = (Arc::clone(&self.context.cluster), log.partition, log.tenure);
        let (clock, at_us) = (self.clock.clone(), self.now_us + pause.as_micros() as u64);
        self.flights.push(Box::pin(async move {
            clock.sleep_until_us(at_us).await;
            let result = examine(&*store, &cluster, (partition, from)).await;
            Landed::Examined { log: at, tenure, result }
        }));
    }

    pub(super) fn examined(&mut self, at: usize, tenure: u64, result: Result<Finding, StoreError>) {
        if !self.lasts(at, tenure) {
            return;
        }
        let log = &mut self.logs[at];
        let (partition, generation) = (log.partition, log.generation);
        match result {
            Ok(Finding::EndsAt(top)) if top.generation > generation => {
                let attempted = log.next_block();
                self.lose(at, &StoreError::Fenced { partition, attempted, last: top });
            }
            Ok(Finding::EndsAt(top)) => {
                log.foreign = false;
                if log.restoring || log.replaying > 0 {
                    // What is open is known when it is back in its slots.
                    return self.examine(at, PAUSE);
                }
                log.in_flight = false;
                self.mend(at, top);
            }
            Ok(Finding::Foreign(foreign)) => {
                if !std::mem::replace(&mut log.foreign, true) {
                    tracing::error!(%partition, "{foreign}");
                }
                self.examine(at, PAUSE);
            }
            Err(error) if error.is_retryable() => self.examine(at, PAUSE),
            Err(error) => self.lose(at, &error),
        }
    }

    /// Writes again what is held above `top`, and sees to what is not.
    fn mend(&mut self, at: usize, top: BlockId) {
        let log = &mut self.logs[at];
        let gap = log.held.gap(top);
        let appends = log.held.take_above(top);
        let resent = appends.len() as u64;
        if let Some(gap) = gap {
            self.tell_lost(at, gap, resent);
            self.wait_for_what_is_open(at);
        } else {
            let partition = log.partition.get();
            tracing::warn!(partition, ends_at = %top, resent, "every lost block is held here and is written again");
        }
        let log = &mut self.logs[at];
        for append in appends.into_iter().rev() {
            log.sealed.push_front(Sealed { append, page: Page::default(), records: 0 });
        }
        if !std::mem::replace(&mut log.repeated, true) {
            log.give_derived_again(self.now_us / 1_000);
        }
        self.metrics.blocks_resent.add(resent);
    }

    /// What is open is written again in the next block: what rests on blocks before it is not told earlier than that.
    fn wait_for_what_is_open(&mut self, at: usize) {
        let log = &mut self.logs[at];
        if log.waiting() > 0 {
            let sealed = log.sealed.iter_mut().map(|sealed| std::mem::take(&mut sealed.page));
            let mut pages = sealed.chain([std::mem::take(&mut log.page)]);
            let mut page = pages.next().unwrap_or_default();
            pages.for_each(|later| page.absorb(later));
            log.page = page;
        }
    }

    /// Blocks are lost: everybody who rests on them hears of it.
    fn tell_lost(&mut self, at: usize, gap: Gap, resent: u64) {
        self.metrics.blocks_lost.add(gap.blocks());
        let (reopened, broken) = self.reopen(at, gap);
        let log = &mut self.logs[at];
        log.index.borrow_mut().lost(gap.after, gap.last, &mut log.derived);
        log.carry.lose(|block| gap.holds(*block));
        let batches = log.held.lost_batches(gap);
        log.held.told(gap);
        let still_open = |batch: &BatchId| self.by_batch.contains_key(batch);
        match &batches {
            Some(batches) => {
                batches.iter().filter(|batch| !still_open(batch)).for_each(|batch| log.dedupe.unsee(*batch));
            }
            None => log.dedupe.expire(self.now_us / 1_000),
        }
        let batches = batches.unwrap_or_default();
        let id = |batch: Option<&BatchId>| {
            batch.map_or_else(|| "unknown".to_owned(), |id| id.execution(0).to_string())
        };
        tracing::error!(
            partition = log.partition.get(),
            lost_after = %gap.after,
            lost_to = %gap.last,
            blocks = gap.blocks(),
            first_batch = id(batches.iter().min()),
            last_batch = id(batches.iter().max()),
            batches = batches.len(),
            resent, reopened, broken,
            "LOST: the store went back, and these blocks were confirmed too long ago to be held here; executions that \
             ended in them are gone. Open ones are written again (reopened); those whose journal was in them (broken) go on \
             here, and would be closed as FAILED by a recovery"
        );
    }

    /// Writes again the openings of what is open: how many, and how many have lost what they were told.
    fn reopen(&mut self, at: usize, gap: Gap) -> (u64, u64) {
        let now_ms = self.now_us / 1_000;
        let log = &mut self.logs[at];
        let (lost, mut broken) = log.lose_away(gap, now_ms);
        self.names.forget_holders(&lost);
        let mut reopened = 0;
        let batches = log.open_batches.iter().filter_map(|batch| self.by_batch.get(batch));
        let mut addresses: Vec<Address> = batches.flatten().map(|(_, address)| *address).collect();
        // Maps have no order of their own, and a block shall say the same whenever the same has happened.
        addresses.sort_unstable_by_key(|address| address.slot);
        for address in addresses {
            let touched = |open: &&mut OpenExecution| open.blocks.iter().any(|block| gap.holds(*block));
            let Some(open) = self.open.get_mut(address).filter(touched) else { continue };
            let opening_lost = open.blocks.first().is_some_and(|block| gap.holds(*block));
            let closing = open.ended.as_ref().is_some_and(|ended| ended.written);
            broken += u64::from(closing || open.blocks.iter().skip(1).any(|block| gap.holds(*block)));
            if closing {
                continue;
            }
            let held = open.oldest_block();
            if open.journalled > 0 {
                // What is lost of the journal, if anything, was its end as far as the log can tell: now it is a hole.
                log.builder.journalled(JournalledView {
                    id: open.id,
                    time_ms: now_ms,
                    sequence: open.journalled,
                    effect: 0,
                    kind: JournalledKind::Mended,
                    payload: &[],
                });
                open.journalled += 1;
                log.page.touched.push(address);
            }
            if !opening_lost {
                open.blocks.retain(|block| !gap.holds(*block));
                log.hold_instead(held, open.oldest_block(), now_ms);
                continue;
            }
            log.hold_instead(held, None, now_ms);
            open.blocks.clear();
            open.opened = false;
            open.input = open.execution.input().bytes().clone();
            log.page.fresh.push(address);
            reopened += 1;
        }
        log.page.ended.retain(|address| self.open.get(*address).is_some_and(|open| open.opened));
        (reopened, broken)
    }

    /// Everything is written again: takes the partition anew.
    pub(super) fn renew(&mut self, at: usize) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let log = &mut self.logs[at];
        (log.in_flight, log.renewing, log.begun_us) = (true, true, self.now_us);
        let (partition, tenure) = (log.partition, log.tenure);
        self.flights.push(Box::pin(async move {
            Landed::Renewed { log: at, tenure, result: store.acquire(partition).await }
        }));
    }

    pub(super) fn renewed(&mut self, at: usize, tenure: u64, result: Result<Acquired, StoreError>) {
        if !self.lasts(at, tenure) {
            return;
        }
        let log = &mut self.logs[at];
        (log.in_flight, log.renewing) = (false, false);
        let acquired = match result {
            Ok(acquired) => acquired,
            Err(error) if error.is_retryable() => return self.examine(at, PAUSE),
            Err(error) => return self.lose(at, &error),
        };
        let (partition, confirmed) = (log.partition, log.confirmed_id());
        let stranger = acquired.last.filter(|last| *last > confirmed);
        if acquired.generation <= log.generation || stranger.is_some() {
            let last = stranger.unwrap_or_default();
            let attempted = BlockId { generation: acquired.generation, sequence: 0 };
            return self.lose(at, &StoreError::Fenced { partition, attempted, last });
        }
        let before = log.next_block();
        log.generation = acquired.generation;
        log.next_sequence = 1;
        log.lost_until = 0;
        log.mending = false;
        let block = log.next_block();
        log.page.batches.iter().for_each(|batch| log.dedupe.moved(batch.id, before, block));
        if log.state == LogState::Down {
            log.state = LogState::Serving;
        }
        tracing::info!(%partition, generation = acquired.generation, "the log is mended and taken anew");
        self.heard();
        self.heard_of(at, self.logs[at].begun_us);
        self.end_release(at);
        self.release_unwanted(at);
        self.publish_state();
    }
}
