//! Carries what is open for long into later blocks, so that its log can be trimmed.
//!
//! When a block is wanted for nothing but what is still open, or the journal of an execution is in very many blocks,
//! its records are read, and written again into the blocks that come, some at a time; once these are confirmed the
//! execution is found there, and the old block is let go. Invariants: an old block is let go only after the block that
//! completes the copy, and while the copy is all there: what the store has lost a part of is dropped, and carried
//! again; a copy has all that was in the old blocks; what has ended meanwhile is not carried on; no checkpoint is taken
//! while an execution is half copied. Bounded by a few executions at a time, and so many records and bytes beside the
//! others of a block. What may fail: the store, and then it is tried again later; an execution whose records cannot be
//! read, which stays where it is.

use std::collections::VecDeque;
use std::sync::Arc;

use ids::ExecutionId;
use journal::block::{JournalledKind, JournalledView, OpenedView};
use journal::{BlockId, StoreError};

use super::core::{Landed, Shard};
use super::fetch::{RecoveredExecution, fetch};
use super::log::LogState;
use super::scan::{Blocks, Map};
use crate::limits;

/// The pause before a log is looked through again; it grows by factors of two while nothing is carried ...
const PAUSE_US: u64 = 1_000_000;
/// ... to this, which is also the pause after something could not be read.
const PAUSE_MAX_US: u64 = 60_000_000;
/// How many times as long as it took to look through the log it is not looked through again.
const LOOK_PAUSES: u64 = 50;

/// Where an execution was when it was read, and what was read.
pub(super) type Due = (Blocks, Result<RecoveredExecution, StoreError>);

/// What a log carries.
#[derive(Debug, Default)]
pub(super) struct Carry {
    due: VecDeque<ExecutionId>,
    reading: bool,
    copies: VecDeque<Copy>,
    /// What is copied, in the order of the blocks that complete the copies, until these are confirmed.
    moves: VecDeque<Move>,
    not_before_us: u64,
    /// Looks through the log since something was carried.
    looks: u32,
}

/// An execution that is being written again.
#[derive(Debug)]
pub(super) struct Copy {
    execution: RecoveredExecution,
    /// Where it was when it was read; what it was told afterwards stands in later blocks.
    before: Blocks,
    /// Entries of its journal that are written.
    written: usize,
    /// Where to.
    blocks: Blocks,
}

/// An execution whose copy is complete.
#[derive(Debug)]
struct Move {
    id: ExecutionId,
    /// Those of its blocks that are replaced by those of the copy.
    before: Blocks,
    /// The first holds the opened record, and completes the copy.
    blocks: Blocks,
}

impl Move {
    /// The blocks of the execution after the move. It stays where it is when it is not where it was copied from.
    fn blocks(&self, now: &[BlockId]) -> Blocks {
        match now.strip_prefix(&self.before[..]) {
            Some(later) => self.blocks.iter().chain(later).copied().collect(),
            None => Blocks::from_slice(now),
        }
    }
}

/// What was read to be copied; an error if the store did not have all of it.
fn complete(execution: RecoveredExecution) -> Result<RecoveredExecution, StoreError> {
    match execution.absent {
        None => Ok(execution),
        Some(block) => {
            let id = execution.opened.id;
            Err(StoreError::Corrupt(format!("block {block}, which holds records of {id}, is not in the log")))
        }
    }
}

impl Carry {
    /// Executions that wait to be written.
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// Executions that have moved as soon as the last block is in the log, and where they are then.
    pub fn moved(&self) -> Map<ExecutionId, impl Fn(&[BlockId]) -> Blocks> {
        self.moves.iter().map(|moved| (moved.id, |before: &[BlockId]| moved.blocks(before))).collect()
    }

    /// The journal of an execution of this age is in many blocks: carried, it is in few.
    pub fn crowded(&mut self, id: ExecutionId, age_ms: u64) {
        if u128::from(age_ms) > limits::CARRY_AGE_MIN.as_millis() && self.due.len() < limits::CARRIED_MAX {
            self.due.push_back(id);
        }
    }

    /// Whether nothing is on its way into another block.
    pub fn is_still(&self) -> bool {
        self.moves.is_empty()
    }

    /// Where an execution is that ends in the block under construction: its copy, if that is complete.
    pub fn place_of(&self, id: ExecutionId, before: &Blocks) -> Blocks {
        let moved = self.moves.iter().find(|moved| moved.id == id);
        moved.map_or_else(|| before.clone(), |moved| moved.blocks(before))
    }

    /// Blocks are lost: what was copied into them stays where it was, and is carried again.
    pub fn lose(&mut self, is_lost: impl Fn(&BlockId) -> bool) {
        let is_there = |blocks: &Blocks| !blocks.iter().any(&is_lost);
        self.copies.retain(|copy| is_there(&copy.blocks));
        self.moves.retain(|moved| is_there(&moved.blocks));
        self.looks = 0;
    }

    /// Whether an execution is half written.
    pub fn is_midway(&self) -> bool {
        self.copies.front().is_some_and(|copy| copy.written > 0)
    }
}

impl Shard {
    /// Begins to carry whatever keeps a log from being trimmed.
    pub(super) fn carry(&mut self) {
        for at in 0..self.logs.len() {
            let log = &self.logs[at];
            let idle = !log.carry.reading && log.carry.copies.is_empty();
            if log.state != LogState::Serving || !idle {
                continue;
            }
            if log.carry.due.is_empty() && self.now_us >= log.carry.not_before_us {
                self.find_due(at);
            }
            if !self.logs[at].carry.due.is_empty() {
                self.read_due(at);
            }
        }
    }

    fn find_due(&mut self, at: usize) {
        let age_ms = limits::CARRY_AGE_MIN.as_millis() as u64;
        let log = &self.logs[at];
        let Some(below) = log.retained.due(self.now_us / 1_000, age_ms) else { return };
        let begun_us = self.clock.now_us();
        let old = |blocks: &Blocks| blocks.iter().any(|block| *block < below);
        let addresses = log.open_batches.iter().filter_map(|batch| self.by_batch.get(batch)).flatten();
        let slots = addresses.filter_map(|(_, address)| self.open.get(*address));
        let open = slots.filter(|open| open.ended.is_none() && old(&open.blocks)).map(|open| open.id);
        let away = log.away.iter().filter(|(_, away)| old(&away.blocks)).map(|(id, _)| *id);
        let mut due: Vec<ExecutionId> = open.chain(away).take(limits::CARRIED_MAX).collect();
        // Maps have no order of their own, and a block shall say the same whenever the same has happened.
        due.sort_unstable();
        // Where much is open, looking through it takes a small part of the time at most.
        let rest_us = self.clock.now_us().saturating_sub(begun_us).saturating_mul(LOOK_PAUSES);
        let carry = &mut self.logs[at].carry;
        carry.due = due.into();
        let pause_us = (PAUSE_US << carry.looks.min(6)).max(rest_us).min(PAUSE_MAX_US);
        carry.not_before_us = self.now_us + pause_us;
        carry.looks += 1;
    }

    /// Where the log has an open execution.
    fn blocks_of(&mut self, at: usize, id: ExecutionId) -> Option<&mut Blocks> {
        match self.find(id) {
            Some(address) => {
                let open = self.open.get_mut(address);
                open.filter(|open| open.opened && open.ended.is_none()).map(|open| &mut open.blocks)
            }
            None => self.logs[at].away.get_mut(&id).map(|away| &mut away.blocks),
        }
    }

    /// Reads the next of what is due.
    fn read_due(&mut self, at: usize) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let (mut wanted, mut blocks) = (Vec::new(), 0);
        let confirmed = self.logs[at].confirmed_id();
        for _ in 0..self.logs[at].carry.due.len().min(limits::CARRIED_AT_ONCE) {
            let Some(id) = self.logs[at].carry.due.pop_front() else { break };
            let Some(own) = self.blocks_of(at, id) else { continue };
            if own.iter().any(|block| *block > confirmed) {
                // A block that is not in the log yet would be missing from the copy.
                self.logs[at].carry.due.push_back(id);
                continue;
            }
            blocks += own.len();
            wanted.push((id, own.clone()));
            if blocks >= limits::CARRIED_BLOCKS_AT_ONCE {
                break;
            }
        }
        if wanted.is_empty() {
            return;
        }
        let log = &mut self.logs[at];
        log.carry.reading = true;
        let (partition, tenure) = (log.partition, log.tenure);
        self.flights.push(Box::pin(async move {
            let found = fetch(&*store, partition, &wanted).await;
            let result =
                found.map(|found| std::iter::zip(wanted.into_iter().map(|one| one.1), found).collect());
            Landed::Due { log: at, tenure, result }
        }));
    }

    /// What is due was read.
    pub(super) fn due_read(&mut self, at: usize, tenure: u64, result: Result<Vec<Due>, StoreError>) {
        if !self.lasts(at, tenure) {
            return;
        }
        let log = &mut self.logs[at];
        let partition = log.partition.get();
        log.carry.reading = false;
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(partition, %error, "what is open cannot be carried now: its log is not trimmed meanwhile");
                let pause_us = if error.is_retryable() { PAUSE_US } else { PAUSE_MAX_US };
                log.carry.due.clear();
                log.carry.not_before_us = self.now_us + pause_us;
                return;
            }
        };
        for (before, execution) in found {
            match execution.and_then(complete) {
                Ok(execution) => {
                    log.carry.copies.push_back(Copy { execution, before, written: 0, blocks: Blocks::new() })
                }
                Err(error) => {
                    tracing::error!(partition, %error, "an open execution cannot be carried: its log is not trimmed");
                    self.metrics.not_carried.add(1);
                    log.carry.not_before_us = self.now_us + PAUSE_MAX_US;
                }
            }
        }
    }

    /// Writes of what is carried as much as a block takes beside its own records.
    pub(super) fn write_carried(&mut self, at: usize, block: BlockId) {
        let (mut records, mut bytes) = (0, 0);
        while records < self.config.pace.carried_records
            && bytes < limits::CARRIED_BYTES_PER_BLOCK
            && let Some(mut copy) = self.logs[at].carry.copies.pop_front()
        {
            let id = copy.execution.opened.id;
            let here = self.blocks_of(at, id).is_some_and(|blocks| blocks.starts_with(&copy.before));
            if !here {
                continue;
            }
            let log = &mut self.logs[at];
            if let Some(told) = copy.execution.journal.get(copy.written) {
                if told.kind == JournalledKind::Redriven {
                    copy.written += 1;
                    log.carry.copies.push_front(copy);
                    continue;
                }
                log.builder.journalled(JournalledView::from(told));
                bytes += told.payload.len();
                copy.written += 1;
                if copy.blocks.last() != Some(&block) {
                    copy.blocks.push(block);
                }
                log.carry.copies.push_front(copy);
            } else {
                bytes += self.complete_copy(at, block, &copy);
            }
            records += 1;
        }
    }

    /// The journal is copied: with the opened record, of so many bytes, the execution has moved.
    fn complete_copy(&mut self, at: usize, block: BlockId, copy: &Copy) -> usize {
        let RecoveredExecution { machine, opened, .. } = &copy.execution;
        let now_ms = self.now_us / 1_000;
        let log = &mut self.logs[at];
        // Who describes the execution finds its redrives beside its opened record.
        let redrives = copy.execution.journal.iter().filter(|told| told.kind == JournalledKind::Redriven);
        redrives.for_each(|told| log.builder.journalled(JournalledView::from(told)));
        let index = log.builder.machine(machine);
        let record = OpenedView {
            id: opened.id,
            machine: index,
            start_time_ms: opened.start_time_ms,
            seed: opened.seed,
            name: opened.name.as_deref(),
            input: &opened.input,
            trace: opened.trace.as_deref(),
        };
        log.builder.carried(record);
        let mut writer = log.index.borrow_mut();
        writer.straggler(&machine.arn, opened.start_time_ms, block, now_ms, &mut log.derived);
        drop(writer);
        let others = copy.blocks.iter().copied().filter(|other| *other != block);
        let blocks = std::iter::once(block).chain(others).collect();
        log.carry.moves.push_back(Move { id: opened.id, before: copy.before.clone(), blocks });
        record.payload_bytes()
    }

    /// Blocks up to this one are in the log: what is copied there is found there from now on, and lets its old blocks go.
    pub(super) fn move_carried(&mut self, at: usize, confirmed: BlockId) {
        while let Some(moved) = self.logs[at].carry.moves.pop_front_if(|moved| moved.blocks[0] <= confirmed) {
            let Some(blocks) = self.blocks_of(at, moved.id) else { continue };
            if !blocks.starts_with(&moved.before) {
                continue;
            }
            let oldest = blocks.iter().min().copied();
            *blocks = moved.blocks(blocks);
            let moved_to = blocks.iter().min().copied();
            let log = &mut self.logs[at];
            moved_to.into_iter().for_each(|block| log.retained.hold(block, 1));
            oldest.into_iter().for_each(|block| log.retained.release(block, 1, 0));
            log.carry.looks = 0;
            self.metrics.carried.add(1);
        }
    }
}
