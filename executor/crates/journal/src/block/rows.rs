//! Records from the columns of a decompressed sub-block.
//!
//! Invariants: payloads are slices of the sub-block, never copies; only wanted records are made. What may
//! fail: every column, with [`StoreError::Corrupt`].

use std::ops::Range;

use bytes::Bytes;
use ids::{ExecutionId, TraceContext};

use super::column::Reader;
use super::read::{SubBlock, corrupt};
use super::record::{Closed, Journalled, JournalledKind, Opened, Record, seed_base};
use super::{CLOSED_BLOCKS_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TRACE_BYTES_MAX};
use crate::store::{BlockId, StoreError};

/// Walks the columns of a decompressed sub-block.
pub(super) struct Rows<'a> {
    pub(super) columns: Reader<'a>,
    pub(super) payloads: Bytes,
    pub(super) payload_at: usize,
    pub(super) count: usize,
    pub(super) machines: usize,
}

/// Passing over what a newer program wrote would replay without it.
fn unknown_kind(kind: u64) -> StoreError {
    corrupt(format!(
        "an outcome is of kind {kind}, and this program knows kinds up to {}: a newer one wrote it; start that one again",
        JournalledKind::NEWEST as u8
    ))
}

impl Rows<'_> {
    fn column(&mut self) -> Result<Vec<u64>, StoreError> {
        let style = self.columns.byte()?;
        if style == 0 {
            return Ok(vec![self.columns.varint()?; self.count]);
        }
        let mut values = Vec::with_capacity(self.count);
        let mut before = 0;
        for _ in 0..self.count {
            before = match style {
                1 => self.columns.varint()?,
                2 => self.columns.difference(before)?,
                3 => self.columns.u64_le()?,
                _ => return Err(corrupt(format!("a column has style {style}"))),
            };
            values.push(before);
        }
        Ok(values)
    }

    fn next_payload(&mut self, length: u64) -> Result<Range<usize>, StoreError> {
        let start = self.payload_at;
        let end = usize::try_from(length).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX);
        let end = end.map(|length| start + length).filter(|end| *end <= self.payloads.len());
        self.payload_at = end.ok_or_else(|| corrupt("a payload goes beyond its sub-block"))?;
        Ok(start..self.payload_at)
    }

    fn names(&mut self) -> Result<Vec<Option<String>>, StoreError> {
        let lengths = self.column()?;
        let mut names = Vec::with_capacity(self.count);
        for length in lengths {
            let Some(length) = length.checked_sub(1) else {
                names.push(None);
                continue;
            };
            let length = usize::try_from(length).ok().filter(|length| *length <= NAME_BYTES_MAX);
            let text = self.columns.take(length.ok_or_else(|| corrupt("a name is too long"))?)?;
            let text = std::str::from_utf8(text).map_err(|_| corrupt("a name is not UTF-8"))?;
            names.push(Some(text.to_owned()));
        }
        Ok(names)
    }

    fn traces(&mut self) -> Result<Vec<Option<Box<[u8]>>>, StoreError> {
        let lengths = self.column()?;
        let mut traces = Vec::with_capacity(self.count);
        for length in lengths {
            let length = usize::try_from(length).ok().filter(|length| *length <= TRACE_BYTES_MAX);
            let bytes = self.columns.take(length.ok_or_else(|| corrupt("a trace is too long"))?)?;
            if !bytes.is_empty() && TraceContext::decode(bytes).is_none() {
                return Err(corrupt("a trace has no ids, or unknown flags"));
            }
            traces.push((!bytes.is_empty()).then(|| bytes.into()));
        }
        Ok(traces)
    }

    pub(super) fn opened(
        &mut self,
        sub_block: &SubBlock,
        and_closed: bool,
        wanted: impl Fn(ExecutionId) -> bool,
        sink: &mut impl FnMut(Record),
    ) -> Result<(), StoreError> {
        let (machines, starts, seeds) = (self.column()?, self.column()?, self.column()?);
        let mut names = self.names()?;
        let inputs = self.column()?;
        let ends = if and_closed { Some((self.column()?, self.column()?)) } else { None };
        let mut traces = if sub_block.traced { self.traces()? } else { Vec::new() };
        for (place, (id, status)) in sub_block.ids().enumerate() {
            let input = self.next_payload(inputs[place])?;
            let closed = match &ends {
                None => None,
                Some((durations, outputs)) => {
                    let output = match outputs[place].checked_sub(1) {
                        None => input.clone(),
                        Some(length) => self.next_payload(length)?,
                    };
                    Some((starts[place].wrapping_add(durations[place]), output))
                }
            };
            if !wanted(id) {
                continue;
            }
            let machine =
                u32::try_from(machines[place]).ok().filter(|machine| (*machine as usize) < self.machines);
            sink(Record::Opened(Opened {
                id,
                machine: machine.ok_or_else(|| corrupt("a record names a machine that the block lacks"))?,
                start_time_ms: starts[place],
                seed: seeds[place] ^ seed_base(id),
                name: names[place].take(),
                input: self.payloads.slice(input),
                trace: traces.get_mut(place).and_then(Option::take),
            }));
            if let Some((stop_time_ms, output)) = closed {
                let payload = self.payloads.slice(output);
                sink(Record::Closed(Closed { id, status, stop_time_ms, payload, blocks: Vec::new() }));
            }
        }
        Ok(())
    }

    pub(super) fn journalled(
        &mut self,
        sub_block: &SubBlock,
        wanted: impl Fn(ExecutionId) -> bool,
        sink: &mut impl FnMut(Record),
    ) -> Result<(), StoreError> {
        let (times, sequences, effects) = (self.column()?, self.column()?, self.column()?);
        let (kinds, lengths) = (self.column()?, self.column()?);
        for (place, (id, _)) in sub_block.ids().enumerate() {
            let payload = self.next_payload(lengths[place])?;
            if !wanted(id) {
                continue;
            }
            let kind = u8::try_from(kinds[place]).ok().and_then(JournalledKind::from_u8);
            let sequence = u32::try_from(sequences[place]).ok();
            sink(Record::Journalled(Journalled {
                id,
                time_ms: times[place],
                sequence: sequence.ok_or_else(|| corrupt("an outcome's sequence is too large"))?,
                effect: effects[place],
                kind: kind.ok_or_else(|| unknown_kind(kinds[place]))?,
                payload: self.payloads.slice(payload),
            }));
        }
        Ok(())
    }

    pub(super) fn closed(
        &mut self,
        sub_block: &SubBlock,
        wanted: impl Fn(ExecutionId) -> bool,
        sink: &mut impl FnMut(Record),
    ) -> Result<(), StoreError> {
        let (stops, lengths, counts) = (self.column()?, self.column()?, self.column()?);
        let mut blocks = Vec::new();
        for (place, (id, status)) in sub_block.ids().enumerate() {
            let payload = self.next_payload(lengths[place])?;
            if let Some(count) = counts[place].checked_sub(1) {
                blocks = self.block_ids(count)?;
            }
            if wanted(id) {
                let payload = self.payloads.slice(payload);
                let stop_time_ms = stops[place];
                sink(Record::Closed(Closed { id, status, stop_time_ms, payload, blocks: blocks.clone() }));
            }
        }
        Ok(())
    }

    fn block_ids(&mut self, count: u64) -> Result<Vec<BlockId>, StoreError> {
        // Each takes two bytes at least, so that a lying count cannot make us allocate.
        let possible = CLOSED_BLOCKS_MAX.min(self.columns.remaining() / 2);
        let count = usize::try_from(count).ok().filter(|count| *count <= possible);
        let mut before = BlockId::default();
        let mut blocks = Vec::new();
        for _ in 0..count.ok_or_else(|| corrupt("a closed record names too many blocks"))? {
            before.generation = self.columns.difference(before.generation)?;
            before.sequence = self.columns.difference(before.sequence)?;
            blocks.push(before);
        }
        Ok(blocks)
    }
}
