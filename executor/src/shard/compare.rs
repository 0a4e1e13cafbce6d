//! Resends of batches that were accepted before this process began: they are compared with what the log holds.

use std::sync::Arc;

use ids::BatchId;
use journal::block::{SubBlockKind, seed_for};
use journal::store::BlockRange;
use journal::{Block, BlockId, Record, Store, StoreError};
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use tokio::sync::mpsc;

use super::answer::{refusal, send_acks};
use super::core::{Landed, Shard};
use super::start::{already_exists, conflict};
use super::validate;

/// The ranges of a batch that the block holds, if it holds what the batch says.
async fn compare(
    store: &dyn Store,
    id: BatchId,
    at: BlockId,
    batch: &v1::StartBatch,
) -> Result<Option<Vec<(u32, u32)>>, StoreError> {
    let range = BlockRange { from: at, to: at, reverse: false, limit: 1 };
    let found = store.read(id.partition, range).await?;
    let Some((_, bytes)) = found.first() else { return Ok(None) };
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
                return Ok(None);
            }
            indexes.push(u32::from(opened.id.index));
        }
    }
    Ok(Some(ranges(indexes)))
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

    /// What the log holds is acknowledged; what it does not hold was refused for its input, and is again.
    pub(super) fn compared(
        &mut self,
        batch: &v1::StartBatch,
        acks: &mpsc::Sender<v1::StartAck>,
        result: Result<Option<Vec<(u32, u32)>>, StoreError>,
    ) {
        let all = (0, batch.input.len() as u32);
        let accepted = match result {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return self.refuse(acks, batch.id, all, conflict()),
            Err(error) => {
                let refusal = refusal(Reason::StoreUnavailable, "StoreUnavailable", error.to_string());
                let retry_after_ms = self.admission.retry_after_ms();
                return self.refuse(acks, batch.id, all, v1::StartRefusal { retry_after_ms, ..refusal });
            }
        };
        for index in (0..all.1).filter(|index| !accepted.iter().any(|(from, to)| (from..to).contains(&index)))
        {
            let machine = batch.machine_index.get(index as usize).map_or(0, |at| *at as usize);
            let tcsl = batch.machines.get(machine).is_some_and(|wire| wire.dialect() == v1::Dialect::Tcsl);
            let dialect = if tcsl { asl::Dialect::Tcsl } else { asl::Dialect::Asl };
            let refusal = match validate::input(&batch.input[index as usize], dialect) {
                Err(message) => refusal(Reason::Invalid, "InvalidExecutionInput", message),
                Ok(_) => match batch.name.get(index as usize).filter(|name| !name.is_empty()) {
                    Some(name) => already_exists(name, None),
                    None => conflict(),
                },
            };
            self.refuse(acks, batch.id, (index, index + 1), refusal);
        }
        if let Some(id) = batch.id {
            send_acks(acks, id, &accepted);
        }
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
