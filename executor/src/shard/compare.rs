//! Resends of batches that were accepted before this process began: they are compared with what the log holds.

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
use super::exception::Exception;
use super::start::{conflict, expired};
use super::validate;

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
    let Some((_, bytes)) = found.first() else { return Ok(Comparison::Gone) };
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
    /// Compares a resend with the log.
    pub(super) fn compare(
        &mut self,
        id: BatchId,
        block: BlockId,
        batch: v1::StartBatch,
        acks: mpsc::Sender<v1::StartAck>,
    ) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let batch = Box::new(batch);
        self.flights.push(Box::pin(async move {
            let result = compare(&*store, id, block, &batch).await;
            Landed::Compared { batch, acks, result }
        }));
    }

    /// What the log holds is acknowledged; what it does not hold was refused for its input or its name, or answered with
    /// an execution that ran, and is judged again.
    pub(super) fn compared(
        &mut self,
        batch: &v1::StartBatch,
        acks: &mpsc::Sender<v1::StartAck>,
        result: Result<Comparison, StoreError>,
    ) {
        let all = (0, batch.input.len() as u32);
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
        self.name_taken(self.names.holder(machine.execution_segment(), name), name, &batch.input[at])
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
