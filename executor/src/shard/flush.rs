//! Flushing: blocks are finished, appended one at a time, confirmed, and only then is anybody told.
//!
//! A flush begins when the last one was answered, at once where the shard writes little or 256 records wait, else with the
//! next tick of 2.5 ms: alone, an execution waits one round trip; under load blocks grow by themselves, to 2 MiB. An append whose
//! outcome is unknown is repeated as it is, with growing pauses; meanwhile nothing is acknowledged and starts are refused.
//! What may fail: the store. A fenced log is dropped with everything in it; what it had acknowledged is the new owner's.

use std::sync::Arc;
use std::time::Duration;

use asl::Outcome;
use bytes::Bytes;
use ids::Status;
use journal::block::{ClosedView, encode_failure};
use journal::{Append, StoreError};
use telemetry::StoreFailure;

use super::answer::{count, wire_outcome};
use super::core::{Landed, Shard};
use super::described::{ended_so, summary};
use super::execution::Waiter;
use super::flush_pace::FlushPace;
use super::log::{End, LogState, Page, Sealed};
use super::slab::Address;
use crate::limits;

/// Pauses between attempts grow from this by factors of two ...
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// ... to this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// About how many bytes a record has beside its payload.
pub(super) const RECORD_BYTES: usize = 32;

/// The status of an outcome.
#[must_use]
pub fn status_of(outcome: &Outcome) -> Status {
    match outcome {
        Outcome::Succeeded(_) => Status::Succeeded,
        Outcome::Failed { .. } => Status::Failed,
        Outcome::TimedOut { .. } => Status::TimedOut,
        Outcome::Aborted { .. } => Status::Aborted,
    }
}

/// What a closed record keeps of an outcome: the output, or error and cause.
#[must_use]
pub fn payload_of(outcome: &Outcome) -> Bytes {
    match outcome {
        Outcome::Succeeded(output) => output.bytes().clone(),
        Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } => encode_failure(error.as_deref(), cause.as_deref()),
    }
}

impl Shard {
    /// Begins whatever flush may begin.
    pub(super) fn flush_all(&mut self) {
        for log in 0..self.logs.len() {
            self.flush(log);
        }
    }

    /// Begins a flush of this log if it is time.
    pub(super) fn flush(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let flushed = matches!(log.state, LogState::Serving | LogState::Down | LogState::Releasing);
        if log.in_flight || !flushed {
            return;
        }
        if log.sealed.is_empty() {
            if log.mending {
                return self.renew(at);
            }
            log.retained.look(self.now_us / 1_000, log.next_block());
            let halted = log.is_halted();
            let asked = log.waiting();
            let waiting = asked + if halted { 0 } else { log.chores() };
            if waiting == 0 {
                self.tell_at_rest(at);
                return;
            }
            if waiting < limits::FLUSH_RECORDS_MIN && !halted {
                let due_us = self.small_flush_due_us(at, asked > 0);
                if self.now_us < due_us {
                    return self.alarm_at(due_us);
                }
            }
            self.flush_pace.wrote(waiting, self.now_us);
            self.seal(at);
        }
        self.append(at, Duration::ZERO);
    }

    /// When a small flush of this log may begin; `asked`: somebody waits for what it would write. Each block is one of those that
    /// the journals in it may have, and one read more for who reads them, so that an execution with many has no more than ticks.
    fn small_flush_due_us(&mut self, at: usize, asked: bool) -> u64 {
        let log = &self.logs[at];
        let due_us = self.flush_pace.due_us(log.begun_us, self.now_us);
        let has_many = |address: &Address| {
            self.open.get(*address).is_some_and(|open| open.blocks.len() >= limits::PACED_BLOCKS)
        };
        // Only where little is written they are looked at one by one.
        if due_us <= self.now_us && (!asked || log.page.touched.iter().any(has_many)) {
            return FlushPace::tick_after_us(log.begun_us);
        }
        due_us
    }

    /// Finishes the block under construction.
    pub(super) fn seal(&mut self, at: usize) {
        let now_ms = self.now_us / 1_000;
        let log = &mut self.logs[at];
        let block = log.next_block();
        let filled = log.waiting() + log.carry.len() > 0;
        let mut page = std::mem::take(&mut log.page);
        log.retained.wrote_so(block, now_ms, filled);
        self.write_carried(at, block);
        self.write_reopened(at, &mut page);
        self.write_fresh(at, &mut page);
        self.write_ended(at, &mut page);
        let log = &mut self.logs[at];
        for address in page.touched.drain(..) {
            let Some(open) = self.open.get_mut(address) else { continue };
            // Where it is closed in this block, that is looked at in any case.
            if open.is_open_in_log() && open.blocks.last() != Some(&block) {
                open.blocks.push(block);
                if open.blocks.len().is_multiple_of(limits::CARRY_BLOCKS) {
                    log.carry.crowded(open.id, now_ms.saturating_sub(open.start_time_ms));
                }
            }
        }
        let records = log.builder.len();
        let mut derived = std::mem::take(&mut log.derived);
        let lost = log.lost.len().min(limits::LOST_ENTRIES_PER_BLOCK);
        derived.extend(log.lost.drain(..lost));
        if lost > 0 {
            log.lost_until = block.sequence;
        }
        log.index.borrow_mut().flush(&log.builder, block, now_ms, &mut derived);
        let trim_below = log.retained.trim_below(now_ms);
        let counts = log.builder.opened_runs().next().is_some() || log.builder.closed_runs().next().is_some();
        let block_bytes = log.builder.finish(block, now_ms);
        self.checkpoint(at, (block, counts), &block_bytes, &mut derived);
        self.mark_archived(at, &mut derived);
        let log = &mut self.logs[at];
        let append = Append { partition: log.partition, id: block, block: block_bytes, derived, trim_below };
        log.next_sequence += 1;
        self.serial += 1;
        log.serial = self.serial;
        log.sealed.push_back(Sealed { append, page, records });
    }

    /// Finishes the block under construction if it has become long.
    pub(super) fn seal_if_long(&mut self, at: usize) {
        let log = &self.logs[at];
        if log.is_long() && !log.renewing {
            self.seal(at);
        }
    }

    /// Closed records of what was opened before. What does not fit any more waits for the next block.
    fn write_ended(&mut self, at: usize, page: &mut Page) {
        let (log, mut bytes) = (&mut self.logs[at], 0);
        let mut waiting = std::mem::take(&mut page.ended).into_iter();
        while bytes < limits::FLUSH_BYTES_MAX
            && let Some(address) = waiting.next()
        {
            let Some(open) = self.open.get_mut(address) else { continue };
            let Some(ended) = &mut open.ended else { continue };
            ended.written = true;
            let retention_ms = self.config.retention.as_millis() as u64;
            if let Some(block) = open.blocks.first()
                && ended.stop_time_ms.saturating_sub(open.start_time_ms) > retention_ms
            {
                let arn = &open.machine.key.arn;
                let mut index = log.index.borrow_mut();
                index.straggler(arn, open.start_time_ms, *block, ended.stop_time_ms, &mut log.derived);
            }
            // A checkpoint of this block knows it no longer, and it is retained from now on.
            let oldest = open.blocks.iter().min();
            oldest.into_iter().for_each(|oldest| log.retained.closed(*oldest, ended.stop_time_ms));
            log.derived.extend(open.machine.name_entry(open.name.as_deref(), open.id, self.config.retention));
            let moved = (!log.carry.is_still()).then(|| log.carry.place_of(open.id, &open.blocks));
            let (payload, blocks) = (payload_of(&ended.outcome), moved.as_ref().unwrap_or(&open.blocks));
            log.builder.closed(ClosedView {
                id: open.id,
                status: status_of(&ended.outcome),
                stop_time_ms: ended.stop_time_ms,
                payload: &payload,
                blocks,
            });
            bytes += RECORD_BYTES + payload.len() + blocks.len() * size_of::<u64>();
            page.closing.push(address);
        }
        let waiting = waiting.as_slice();
        log.page.ended.extend_from_slice(waiting);
        self.tell_later(at, &mut page.told, waiting);
    }

    /// Opened records, and opened-and-closed records of what has ended meanwhile. All of them are opened here, for a batch is in
    /// one block; the ends that do not fit wait for the next one.
    fn write_fresh(&mut self, at: usize, page: &mut Page) {
        let (log, mut bytes) = (&mut self.logs[at], 0);
        let block = log.next_block();
        for address in page.fresh.drain(..) {
            let Some(open) = self.open.get_mut(address) else { continue };
            let machine = open.machine.index_in(&mut log.builder, log.serial);
            open.opened = true;
            log.derived.extend(open.machine.name_entry(open.name.as_deref(), open.id, self.config.retention));
            let end = open.ended.as_mut().filter(|_| bytes < limits::FLUSH_BYTES_MAX).map(|ended| {
                ended.written = true;
                (status_of(&ended.outcome), ended.stop_time_ms, payload_of(&ended.outcome))
            });
            let opened = open.record(machine);
            if let Some((status, stop_time_ms, payload)) = end {
                log.builder.opened_and_closed(opened, status, stop_time_ms, &payload);
                bytes += payload.len();
                page.closing.push(address);
                continue;
            }
            log.builder.opened(opened);
            if open.ended.is_some() {
                page.ended.push(address);
            }
            log.retained.hold(block, 1);
            open.blocks.push(block);
            // From here on the log has the input, and the frame it came in may go.
            open.input = Bytes::new();
            let (frame, own) = open.execution.detach();
            for task in open.waiting_for.tasks() {
                self.tasks.detach_input(task, &frame, &own);
            }
            for task in open.waiting_for.activities() {
                self.activities.detach_input(task, &frame, &own);
            }
        }
    }

    /// Sends the oldest finished block to the store, after a pause.
    fn append(&mut self, at: usize, pause: Duration) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let log = &mut self.logs[at];
        let Some(sealed) = log.sealed.front() else { return };
        let append = sealed.append.clone();
        log.in_flight = true;
        log.begun_us = self.now_us;
        let tenure = log.tenure;
        let (clock, at_us) = (self.clock.clone(), self.now_us + pause.as_micros() as u64);
        self.flights.push(Box::pin(async move {
            clock.sleep_until_us(at_us).await;
            Landed::Appended { log: at, tenure, result: store.append(append).await }
        }));
    }

    /// The store has answered an append.
    pub(super) fn appended(&mut self, at: usize, tenure: u64, result: Result<(), StoreError>) {
        if !self.lasts(at, tenure) {
            return;
        }
        let log = &mut self.logs[at];
        log.in_flight = false;
        match result {
            Ok(()) => {
                log.attempts = 0;
                self.heard();
                self.heard_of(at, self.logs[at].begun_us);
                let log = &mut self.logs[at];
                if log.state == LogState::Down && !log.mending {
                    log.state = LogState::Serving;
                    tracing::info!(partition = log.partition.get(), "the store confirms again");
                    self.publish_state();
                }
                self.confirmed(at);
                self.end_release(at);
            }
            Err(error) if error.is_retryable() => self.append_again(at, &error),
            Err(StoreError::WentBack { .. }) => self.went_back(at),
            Err(error) => self.lose(at, &error),
        }
    }

    fn append_again(&mut self, at: usize, error: &StoreError) {
        let unknown = matches!(error, StoreError::Unknown(_));
        self.metrics.store_failed(if unknown { StoreFailure::Unknown } else { StoreFailure::Unavailable });
        let log = &mut self.logs[at];
        let pause = RETRY_PAUSE.saturating_mul(1 << log.attempts.min(10)).min(RETRY_PAUSE_MAX);
        log.attempts += 1;
        if log.state == LogState::Serving {
            log.state = LogState::Down;
            tracing::error!(
                partition = log.partition.get(), %error,
                "the store does not confirm: nothing is acknowledged and starts are refused until it does"
            );
            self.publish_state();
        }
        self.append(at, pause);
    }

    /// The partition is no longer ours.
    pub(super) fn lose(&mut self, at: usize, error: &StoreError) {
        let fenced = matches!(error, StoreError::Fenced { .. });
        self.metrics.store_failed(if fenced { StoreFailure::Fenced } else { StoreFailure::Other });
        self.metrics.partitions_lost.add(1);
        let partition = self.logs[at].partition.get();
        tracing::error!(
            partition, %error,
            "partition dropped: what was acknowledged is in its log, what was not will be sent again elsewhere"
        );
        self.forsake(at, fenced);
    }

    /// The oldest finished block is durable: everybody may know.
    fn confirmed(&mut self, at: usize) {
        let held_max = self.held_bytes_max();
        let log = &mut self.logs[at];
        let Some(sealed) = log.sealed.pop_front() else { return };
        log.losses = 0;
        log.repeated = false;
        let Sealed { append, mut page, records } = sealed;
        log.index.borrow_mut().confirmed(append.id);
        self.move_carried(at, append.id);
        let log = &mut self.logs[at];
        let block_bytes = append.block.len() as u64;
        log.held.keep(append, &page, self.now_us, held_max);
        let latency_us = self.now_us.saturating_sub(log.begun_us);
        self.metrics.flushes.add(1);
        self.metrics.flush_records.add(records as u64);
        self.metrics.flush_bytes.add(block_bytes);
        self.metrics.flush_latency.observe(latency_us);
        for task in page.held.drain(..) {
            self.tasks.release(task);
        }
        for task in page.activities.drain(..) {
            self.activities.release(task);
        }
        for task in page.begun.drain(..) {
            self.hand_out(task);
        }
        for write in page.writes.drain(..) {
            self.begin_transfer(write);
        }
        for call in page.calls.drain(..) {
            self.begin_call(call);
        }
        for job in page.jobs.drain(..) {
            self.stop_job(job);
        }
        for batch in page.batches.drain(..) {
            self.acknowledge(at, batch);
        }
        for id in page.absolved.drain(..) {
            self.absolve(id);
        }
        for (reply, at_ms) in page.redrives.drain(..) {
            // Who no longer listens needs no answer.
            let _ = reply.send(Ok(at_ms));
        }
        for (reply, answer) in page.callbacks.drain(..) {
            let _ = reply.send(answer);
        }
        for address in std::mem::take(&mut page.closing) {
            self.close_durably(at, address, &mut page);
        }
        self.telling.leave(&mut page.told);
        for tally in page.tallies.drain(..) {
            count(&tally, self.now_us);
        }
        self.tell_watchers(page.completions, page.outcomes);
    }

    /// An end is durable: the slot and the permit are given back.
    fn close_durably(&mut self, at: usize, address: Address, page: &mut Page) {
        let Some(open) = self.dismiss(address) else { return };
        if let Some(block) = open.oldest_block() {
            self.logs[at].retained.release(block, 1, self.now_us / 1_000);
        }
        let Some(ended) = open.ended else { return };
        let status = status_of(&ended.outcome);
        if !self.suspects.is_empty() {
            self.absolve(open.id);
        }
        page.tally(&open.machine, Some(End::from(&ended.outcome)), open.received_us);
        if !self.watchers.is_empty() {
            page.completed(open.id, status);
            if self.outcomes_watched {
                page.outcomes.push(wire_outcome(open.id, &ended.outcome));
            }
        }
        let waiters = open.stoppers.into_iter().flat_map(|stoppers| *stoppers);
        for waiter in waiters {
            // Who no longer listens needs no answer.
            match waiter {
                Waiter::Time(reply) => drop(reply.send(Ok(ended.stop_time_ms))),
                Waiter::End(reply) => {
                    let end = Some((status, ended.stop_time_ms));
                    let summary =
                        summary(&open.machine.key, open.id, open.name.as_deref(), open.start_time_ms, end);
                    drop(reply.send(Ok(ended_so(summary, &ended.outcome))));
                }
            }
        }
    }
}
