//! One kind's sub-blocks while they are filled and sealed.
//!
//! Invariants: the columns, ids, statuses and payloads of a section have the same number of records. What may
//! fail: nothing; a record beyond the limits of the format is a bug of the caller and stops the process.

use ids::{ExecutionId, Status};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::builder::OpenedSummary;
use super::column::{put_difference, put_varint};
use super::read::{IdRun, SubBlockKind};
use super::record::{OpenedView, seed_base};
use super::{
    CLOSED_BLOCKS_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SUB_BLOCK_PAYLOAD_TARGET, SUB_BLOCK_RECORDS_MAX,
    TRACE_BYTES_MAX, TRACES,
};
use crate::store::BlockId;

/// Capacity of a reused buffer above which it is given back.
const REUSED_BYTES_MAX: usize = 1024 * 1024;
/// Below this, compression costs more than it saves.
const COMPRESSED_BYTES_MIN: usize = 64;

/// The compressor's table and output, used again and again.
pub(super) struct Compressor {
    table: CompressTable,
    scratch: Vec<u8>,
}

/// What a column looks like when its values differ.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Plain = 1,
    Differences = 2,
    Fixed = 3,
}

impl SubBlockKind {
    pub(super) const ALL: [Self; 4] = [Self::OpenedAndClosed, Self::Opened, Self::Journalled, Self::Closed];

    pub(super) fn place(self) -> usize {
        self as usize - 1
    }

    /// The columns of a sub-block, in their order.
    fn styles(self) -> &'static [Style] {
        use Style::{Differences, Fixed, Plain};
        match self {
            Self::OpenedAndClosed => &[Plain, Differences, Fixed, Plain, Plain, Plain, Plain],
            Self::Opened => &[Plain, Differences, Fixed, Plain, Plain],
            Self::Journalled => &[Differences, Plain, Plain, Plain, Plain],
            Self::Closed => &[Differences, Plain, Plain],
        }
    }

    /// After which column its texts or block ids follow.
    fn side_column(self) -> Option<usize> {
        match self {
            Self::OpenedAndClosed | Self::Opened => Some(3),
            Self::Journalled => None,
            Self::Closed => Some(2),
        }
    }
}

/// One kind's sub-blocks: those sealed, and the one that is being filled.
pub(super) struct Section {
    kind: SubBlockKind,
    count: usize,
    pub(super) columns: Vec<Vec<u64>>,
    /// Names, or the block ids of closed records.
    side: Vec<u8>,
    last_blocks: Vec<BlockId>,
    /// Lengths of traces, once one of the sub-block's records has one, and their bytes.
    traces: (Vec<u64>, Vec<u8>),
    statuses: Vec<u8>,
    /// The encoded runs before the present one.
    runs: Vec<u8>,
    run_count: usize,
    run_first: Option<ExecutionId>,
    run_length: usize,
    run_before: (u32, u64),
    /// The runs of all sub-blocks of this kind, but for the present one.
    pub(super) ended_runs: Vec<IdRun>,
    pub(super) summary: Option<OpenedSummary>,
    /// Payloads; the columns are added when the sub-block is sealed.
    raw: Vec<u8>,
    pub(super) sealed: Vec<u8>,
    pub(super) sealed_count: u64,
}

impl Section {
    pub(super) fn new(kind: SubBlockKind) -> Self {
        Self {
            kind,
            count: 0,
            columns: kind.styles().iter().map(|_| Vec::new()).collect(),
            side: Vec::new(),
            last_blocks: Vec::new(),
            traces: Default::default(),
            statuses: Vec::new(),
            runs: Vec::new(),
            run_count: 0,
            run_first: None,
            run_length: 0,
            run_before: (0, 0),
            ended_runs: Vec::new(),
            summary: None,
            raw: Vec::new(),
            sealed: Vec::new(),
            sealed_count: 0,
        }
    }

    pub(super) fn push_id(&mut self, id: ExecutionId) {
        self.count += 1;
        if let Some(first) = self.run_first {
            if first.batch == id.batch && usize::from(first.index) + self.run_length == usize::from(id.index)
            {
                self.run_length += 1;
                return;
            }
            self.end_run(first);
        }
        self.run_first = Some(id);
        self.run_length = 1;
    }

    fn end_run(&mut self, first: ExecutionId) {
        let (incarnation, sequence) = self.run_before;
        let (new_incarnation, new_sequence) = (first.batch.incarnation, first.batch.sequence());
        let difference = new_sequence.wrapping_sub(sequence) as i64;
        let zigzag = (difference << 1 ^ difference >> 63) as u64;
        let other = incarnation != new_incarnation;
        let alone = self.run_length == 1;
        put_varint(&mut self.runs, zigzag << 2 | u64::from(other) << 1 | u64::from(alone));
        if other {
            self.runs.extend_from_slice(&new_incarnation.to_le_bytes());
        }
        self.runs.push(first.index);
        if !alone {
            self.runs.push((self.run_length - 1) as u8);
        }
        self.run_before = (new_incarnation, new_sequence);
        self.run_count += 1;
        self.ended_runs.extend(self.present_run());
        self.run_first = None;
    }

    pub(super) fn present_run(&self) -> Option<IdRun> {
        self.run_first.map(|first| IdRun {
            batch: first.batch,
            first: first.index,
            count: self.run_length as u16,
        })
    }

    /// An execution that was opened now.
    pub(super) fn push_opened(&mut self, record: &OpenedView<'_>) {
        self.push_reopened(record);
        let start = record.start_time_ms;
        let summary = self.summary.get_or_insert(OpenedSummary {
            start_min_ms: start,
            start_max_ms: start,
            statuses: 0,
        });
        summary.start_min_ms = summary.start_min_ms.min(start);
        summary.start_max_ms = summary.start_max_ms.max(start);
        if self.kind == SubBlockKind::Opened {
            summary.statuses |= 1 << Status::Running as u8;
        }
    }

    /// An execution that may have been opened long ago: it has no part in the block's summary.
    pub(super) fn push_reopened(&mut self, record: &OpenedView<'_>) {
        self.columns[0].push(u64::from(record.machine));
        self.columns[1].push(record.start_time_ms);
        self.columns[2].push(record.seed ^ seed_base(record.id));
        self.columns[3].push(record.name.map_or(0, |name| name.len() as u64 + 1));
        self.columns[4].push(record.input.len() as u64);
        if let Some(name) = record.name {
            assert!(name.len() <= NAME_BYTES_MAX, "a name of {} bytes came to a block", name.len());
            self.side.extend_from_slice(name.as_bytes());
        }
        self.push_trace(record.trace);
        self.push_payload(record.input);
    }

    /// Of the last record. A sub-block without any has no column of them.
    fn push_trace(&mut self, trace: Option<&[u8]>) {
        let (lengths, bytes) = &mut self.traces;
        if trace.is_some() || !lengths.is_empty() {
            let trace = trace.unwrap_or_default();
            assert!(trace.len() <= TRACE_BYTES_MAX, "a trace of {} bytes came to a block", trace.len());
            lengths.resize(self.count - 1, 0);
            lengths.push(trace.len() as u64);
            bytes.extend_from_slice(trace);
        }
    }

    pub(super) fn push_payload(&mut self, payload: &[u8]) {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a payload of {} bytes came to a block", payload.len());
        self.raw.extend_from_slice(payload);
    }

    pub(super) fn push_status(&mut self, status: Status) {
        self.statuses.push(status as u8);
        if let Some(summary) = &mut self.summary {
            summary.statuses |= 1 << status as u8;
        }
    }

    pub(super) fn push_blocks(&mut self, blocks: &[BlockId]) {
        assert!(blocks.len() <= CLOSED_BLOCKS_MAX, "a closed record came with {} blocks", blocks.len());
        if self.count > 1 && blocks == self.last_blocks {
            self.columns[2].push(0);
            return;
        }
        self.columns[2].push(blocks.len() as u64 + 1);
        let mut before = BlockId::default();
        for block in blocks {
            put_difference(&mut self.side, before.generation, block.generation);
            put_difference(&mut self.side, before.sequence, block.sequence);
            before = *block;
        }
        self.last_blocks.clear();
        self.last_blocks.extend_from_slice(blocks);
    }

    pub(super) fn bytes_estimate(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.len() * 8).sum();
        self.sealed.len()
            + self.raw.len()
            + columns
            + self.side.len()
            + self.traces.0.len() * 8
            + self.traces.1.len()
            + self.runs.len()
            + self.statuses.len()
            + 32
    }

    /// Ends the sub-block that is being filled, if it holds anything.
    pub(super) fn seal(&mut self, compressor: &mut Compressor) {
        let Some(first) = self.run_first else { return };
        self.end_run(first);
        let payload_length = self.raw.len();
        for (place, style) in self.kind.styles().iter().enumerate() {
            put_column(&mut self.raw, &self.columns[place], *style);
            if self.kind.side_column() == Some(place) {
                self.raw.extend_from_slice(&self.side);
            }
        }
        let (lengths, traces) = &self.traces;
        if !lengths.is_empty() {
            put_column(&mut self.raw, lengths, Style::Plain);
            self.raw.extend_from_slice(traces);
        }
        let one_status =
            self.statuses.first().filter(|first| self.statuses.iter().all(|other| other == *first));
        let flags_at = self.sealed.len() + 1;
        let counts = [(self.count - 1) as u8, (self.run_count - 1) as u8];
        self.sealed.extend_from_slice(&[
            self.kind as u8,
            u8::from(one_status.is_some()) << 1 | if lengths.is_empty() { 0 } else { TRACES },
            counts[0],
            counts[1],
        ]);
        self.sealed.extend_from_slice(&self.runs);
        match one_status {
            Some(status) => self.sealed.push(*status),
            None => self.sealed.extend_from_slice(&self.statuses),
        }
        put_varint(&mut self.sealed, payload_length as u64);
        put_varint(&mut self.sealed, self.raw.len() as u64);
        if compressor.append(&self.raw, &mut self.sealed) {
            self.sealed[flags_at] |= 1;
        }
        self.sealed_count += 1;
        self.begin();
    }

    /// Whether the sub-block that is being filled has to be sealed.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.raw.len() + self.side.len() + self.traces.1.len();
        self.count == SUB_BLOCK_RECORDS_MAX || bytes >= SUB_BLOCK_PAYLOAD_TARGET
    }

    fn begin(&mut self) {
        self.count = 0;
        self.run_count = 0;
        self.run_before = (0, 0);
        self.columns.iter_mut().for_each(Vec::clear);
        self.side.clear();
        self.last_blocks.clear();
        self.traces.0.clear();
        self.traces.1.clear();
        self.statuses.clear();
        self.runs.clear();
        self.raw.clear();
    }

    pub(super) fn reset(&mut self) {
        self.sealed.clear();
        self.sealed_count = 0;
        self.ended_runs.clear();
        self.summary = None;
        for buffer in [&mut self.raw, &mut self.sealed, &mut self.side] {
            buffer.shrink_to(REUSED_BYTES_MAX);
        }
    }
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { table: CompressTable::large(), scratch: Vec::new() }
    }

    /// Gives back what an unusually large sub-block took.
    pub(super) fn reset(&mut self) {
        self.scratch.truncate(REUSED_BYTES_MAX);
        self.scratch.shrink_to(REUSED_BYTES_MAX);
    }

    /// Appends length and bytes, compressed when that pays; says whether it did.
    fn append(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        if raw.len() >= COMPRESSED_BYTES_MIN {
            let room = get_maximum_output_size(raw.len());
            if self.scratch.len() < room {
                self.scratch.resize(room, 0);
            }
            if let Ok(length) = compress_into_with_table(raw, &mut self.scratch, &mut self.table)
                && length < raw.len()
            {
                put_varint(out, length as u64);
                out.extend_from_slice(&self.scratch[..length]);
                return true;
            }
        }
        put_varint(out, raw.len() as u64);
        out.extend_from_slice(raw);
        false
    }
}

fn put_column(out: &mut Vec<u8>, values: &[u64], style: Style) {
    let first = values.first().copied().unwrap_or_default();
    if values.iter().all(|value| *value == first) {
        out.push(0);
        put_varint(out, first);
        return;
    }
    out.push(style as u8);
    let mut before = 0;
    for value in values {
        match style {
            Style::Plain => put_varint(out, *value),
            Style::Differences => put_difference(out, before, *value),
            Style::Fixed => out.extend_from_slice(&value.to_le_bytes()),
        }
        before = *value;
    }
}
