//! Resends: batches that were seen before are answered as they were, and not begun again.
//!
//! Content is compared by its hash; where a batch was accepted before this process began, with what the log holds.
//! Invariant: while it is known that the store went back, nothing is said of what was confirmed, neither that it is durable
//! nor that it is gone; and what was read meanwhile says nothing. Reads are bounded by [`limits::LOADING_BATCHES_MAX`]. What
//! may fail: the store, and then the batch is refused until it answers.

use std::sync::Arc;

use ids::{BatchId, MachineName};
use journal::block::{SubBlockKind, seed_for};
use journal::store::BlockRange;
use journal::{Block, BlockId, Record, Store, StoreError};
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use tokio::sync::mpsc;

use super::answer::{refusal, send_acks, send_running};
use super::core::{Landed, Shard};
use super::dedupe::{Content, Verdict};
use super::exception::{Exception, accepted, running};
use super::start::{conflict, expired};
use super::validate;
use crate::limits;

/// What the log says of a batch.
pub(super) enum Comparison {
    /// It holds these ranges, and they are what the batch says.
    Same(Vec<(u32, u32)>),
    /// It holds something else under the batch's id.
    Other,
    /// It holds it no more: all of it has ended longer ago than the retention.
    Gone,
}

async fn compare(
    store: &dyn Store,
    id: BatchId,
    at: BlockId,
    batch: &v1::StartBatch,
) -> Result<Comparison, StoreError> {
    let range = BlockRange { from: at, to: at, reverse: false, limit: 1 };
    let found = store.read(id.partition, range).await?;
    let Some((_, bytes)) = found.first() else {
        // Trimmed, or not there yet again.
        return match store.top(id.partition).await? {
            Some(top) if top >= at => Ok(Comparison::Gone),
            top => Err(StoreError::WentBack { partition: id.partition, confirmed: at, top }),
        };
    };
    let block = Block::parse(bytes)?;
    let mut indexes: Vec<u32> = Vec::new();
    for sub_block in block.sub_blocks() {
        if !matches!(sub_block.kind(), SubBlockKind::Opened | SubBlockKind::OpenedAndClosed) {
            continue;
        }
        for record in block.records_of(sub_block, |execution| execution.batch == id)? {
            let Record::Opened(opened) = record else { continue };
            let index = usize::from(opened.id.index);
            let machine = batch.machine_index.get(index).map_or(0, |at| *at as usize);
            let key = batch.machines.get(machine).and_then(|wire| validate::machine(machine, wire).ok());
            let name = batch.name.get(index).map(String::as_str).filter(|name| !name.is_empty());
            let same = batch.input.get(index).is_some_and(|input| *input == opened.input)
                && name == opened.name.as_deref()
                && batch.start_time_ms == opened.start_time_ms
                && seed_for(opened.id, batch.seed) == opened.seed
                && key.as_ref() == block.machines().get(opened.machine as usize);
            if !same {
                return Ok(Comparison::Other);
            }
            indexes.push(u32::from(opened.id.index));
        }
    }
    Ok(Comparison::Same(ranges(indexes)))
}

/// Sorted numbers as ranges.
fn ranges(mut indexes: Vec<u32>) -> Vec<(u32, u32)> {
    indexes.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, to)) if *to == index => *to += 1,
            _ => ranges.push((index, index + 1)),
        }
    }
    ranges
}

impl Shard {
    /// Whether the batch was seen before; then it is answered here.
    pub(super) fn is_resend(
        &mut self,
        at: usize,
        id: BatchId,
        hash: u64,
        wire: &v1::StartBatch,
        acks: &mpsc::Sender<v1::StartAck>,
    ) -> Result<bool, v1::StartRefusal> {
        let log = &self.logs[at];
        let seen = match log.dedupe.look_up(id, wire.start_time_ms) {
            Verdict::New => return Ok(false),
            Verdict::Expired => return Err(expired(wire.start_time_ms)),
            Verdict::Known(seen) => seen,
        };
        self.metrics.duplicates.add(wire.input.len() as u64);
        if matches!(seen.content, Content::Hash(known) if known != hash) {
            return Err(conflict());
        }
        if log.mending && !seen.in_flight {
            return Err(self.unsettled());
        }
        if seen.content == Content::Logged {
            let block = seen.block;
            self.may_ask_store()?;
            self.compare(at, (id, block), wire.clone(), acks.clone());
            return Ok(true);
        }
        let in_flight = seen.in_flight;
        let exceptions = seen.exceptions.clone();
        self.refuse_exceptions(acks, id, &exceptions);
        if in_flight {
            self.join_waiters(at, id, acks);
        } else {
            send_acks(acks, id.into(), &accepted(wire.input.len() as u32, &exceptions));
            send_running(acks, id.into(), &running(&exceptions));
        }
        Ok(true)
    }

    /// One more stream waits for a batch that is in flight.
    fn join_waiters(&mut self, at: usize, id: BatchId, acks: &mpsc::Sender<v1::StartAck>) {
        let log = &mut self.logs[at];
        let pages = log.sealed.iter_mut().map(|sealed| &mut sealed.page).chain([&mut log.page]);
        let found = pages.flat_map(|page| &mut page.batches).find(|batch| batch.id == id);
        if let Some(batch) = found {
            if batch.acks.len() >= limits::BATCH_WAITERS_MAX {
                batch.acks.remove(0);
            }
            batch.acks.push(acks.clone());
        }
    }

    /// Whether a batch that was confirmed is durable is not known now.
    fn unsettled(&self) -> v1::StartRefusal {
        let message = "the store went back behind what it had confirmed, and the log is being mended: send the batch again later";
        let refusal = refusal(Reason::StoreUnavailable, "StoreUnavailable", message.to_owned());
        v1::StartRefusal { retry_after_ms: self.admission.retry_after_ms(), ..refusal }
    }

    /// Compares a resend with the log.
    fn compare(
        &mut self,
        at: usize,
        (id, block): (BatchId, BlockId),
        batch: v1::StartBatch,
        acks: mpsc::Sender<v1::StartAck>,
    ) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let batch = Box::new(batch);
        let log = &self.logs[at];
        let (tenure, generation) = (log.tenure, log.generation);
        self.loading += 1;
        self.flights.push(Box::pin(async move {
            let result = compare(&*store, id, block, &batch).await;
            Landed::Compared { log: at, since: (tenure, generation), batch, acks, result }
        }));
    }

    /// What the log holds is acknowledged; what it does not hold was refused for its input or its name, or answered with
    /// an execution that ran, and is judged again.
    pub(super) fn compared(
        &mut self,
        (at, since): (usize, (u64, u64)),
        batch: &v1::StartBatch,
        acks: &mpsc::Sender<v1::StartAck>,
        result: Result<Comparison, StoreError>,
    ) {
        self.loading -= 1;
        let all = (0, batch.input.len() as u32);
        let log = &self.logs[at];
        if log.mending || since != (log.tenure, log.generation) {
            return self.refuse(acks, batch.id, all, self.unsettled());
        }
        let accepted = match result {
            Ok(Comparison::Same(accepted)) => accepted,
            Ok(Comparison::Other) => return self.refuse(acks, batch.id, all, conflict()),
            Ok(Comparison::Gone) => return self.refuse(acks, batch.id, all, expired(batch.start_time_ms)),
            Err(error) => {
                let refusal = refusal(Reason::StoreUnavailable, "StoreUnavailable", error.to_string());
                let retry_after_ms = self.admission.retry_after_ms();
                return self.refuse(acks, batch.id, all, v1::StartRefusal { retry_after_ms, ..refusal });
            }
        };
        for index in (0..all.1).filter(|index| !accepted.iter().any(|(from, to)| (from..to).contains(&index)))
        {
            match self.judge_again(batch, index as usize) {
                Exception::Refused(refusal) => self.refuse(acks, batch.id, (index, index + 1), refusal),
                Exception::Running(running) => {
                    if let Some(id) = batch.id {
                        send_running(acks, id, &[(index, running)]);
                    }
                }
            }
        }
        if let Some(id) = batch.id {
            send_acks(acks, id, &accepted);
        }
    }

    /// Why an entry of a batch is not in the log.
    fn judge_again(&self, batch: &v1::StartBatch, at: usize) -> Exception {
        let machine = batch.machine_index.get(at).map_or(0, |index| *index as usize);
        let machine = batch.machines.get(machine);
        let tcsl = machine.is_some_and(|wire| wire.dialect() == v1::Dialect::Tcsl);
        let dialect = if tcsl { asl::Dialect::Tcsl } else { asl::Dialect::Asl };
        if let Err(message) = validate::input(&batch.input[at], dialect) {
            return Exception::Refused(refusal(Reason::Invalid, "InvalidExecutionInput", message));
        }
        let standard = machine.filter(|wire| wire.mode() == v1::Mode::Standard);
        let named = batch.name.get(at).filter(|name| !name.is_empty());
        let parsed = standard.and_then(|wire| MachineName::parse(&wire.arn).ok());
        let (Some(name), Some(machine)) = (named, parsed) else { return Exception::Refused(conflict()) };
        let holder = self.names.holder(machine.execution_segment(), name);
        self.name_taken(holder, &machine, name, &batch.input[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_in_a_row_are_one_range() {
        assert_eq!(ranges(vec![5, 0, 1, 2, 9, 4]), [(0, 3), (4, 6), (9, 10)]);
        assert_eq!(ranges(Vec::new()), []);
    }
}
