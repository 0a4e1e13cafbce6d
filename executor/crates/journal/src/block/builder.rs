//! Collects the records of one flush and encodes them.
//!
//! Invariants: a payload is copied once, into the buffer that is compressed; buffers are reused from flush to
//! flush and given back when a flush was unusually large. What may fail: nothing, for records within the
//! limits of [`super::PAYLOAD_BYTES_MAX`], [`super::NAME_BYTES_MAX`] and [`super::CLOSED_BLOCKS_MAX`]; others
//! are a bug of the caller and stop the process rather than write what nobody can read.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use ids::{ExecutionId, PartitionId, Status};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::column::{put_difference, put_varint};
use super::read::{IdRun, SubBlockKind};
use super::record::{ClosedView, JournalledView, MachineRef, OpenedView, seed_base};
use super::{
    CLOSED_BLOCKS_MAX, HEADER_BYTES, MAGIC, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SUB_BLOCK_PAYLOAD_TARGET,
    SUB_BLOCK_RECORDS_MAX, VERSION,
};
use crate::store::BlockId;

/// Capacity of a reused buffer above which it is given back.
const REUSED_BYTES_MAX: usize = 1024 * 1024;
/// Below this, compression costs more than it saves.
const COMPRESSED_BYTES_MIN: usize = 64;

/// Collects the records of one flush.
pub struct BlockBuilder {
    partition: PartitionId,
    machines: Vec<MachineRef>,
    machine_indexes: HashMap<MachineRef, u32, RandomState>,
    sections: [Section; 4],
    compressor: Compressor,
    records: usize,
}

impl std::fmt::Debug for BlockBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockBuilder")
            .field("partition", &self.partition)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl BlockBuilder {
    /// An empty block of this partition.
    #[must_use]
    pub fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            machines: Vec::new(),
            machine_indexes: HashMap::default(),
            sections: SubBlockKind::ALL.map(Section::new),
            compressor: Compressor { table: CompressTable::large(), scratch: Vec::new() },
            records: 0,
        }
    }

    /// Whose block this is.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The index of a machine in this block's table; it holds until [`BlockBuilder::finish`].
    pub fn machine(&mut self, machine: &MachineRef) -> u32 {
        if let Some(index) = self.machine_indexes.get(machine) {
            return *index;
        }
        let index = self.machines.len() as u32;
        self.machines.push(machine.clone());
        self.machine_indexes.insert(machine.clone(), index);
        index
    }

    /// An execution was accepted.
    pub fn opened<'a>(&mut self, record: impl Into<OpenedView<'a>>) {
        let record = record.into();
        let section = self.section(SubBlockKind::Opened, record.id);
        section.push_opened(&record);
        self.added(SubBlockKind::Opened);
    }

    /// An outcome that a STANDARD execution was told.
    pub fn journalled<'a>(&mut self, record: impl Into<JournalledView<'a>>) {
        let record = record.into();
        let section = self.section(SubBlockKind::Journalled, record.id);
        section.columns[0].push(record.time_ms);
        section.columns[1].push(u64::from(record.sequence));
        section.columns[2].push(record.effect);
        section.columns[3].push(record.kind as u64);
        section.columns[4].push(record.payload.len() as u64);
        section.push_payload(record.payload);
        self.added(SubBlockKind::Journalled);
    }

    /// An execution that was opened in an earlier block, or by [`BlockBuilder::opened`] in this one, has
    /// ended.
    pub fn closed<'a>(&mut self, record: impl Into<ClosedView<'a>>) {
        let record = record.into();
        let section = self.section(SubBlockKind::Closed, record.id);
        section.push_status(record.status);
        section.columns[0].push(record.stop_time_ms);
        section.columns[1].push(record.payload.len() as u64);
        section.push_blocks(record.blocks);
        section.push_payload(record.payload);
        self.added(SubBlockKind::Closed);
    }

    /// An execution ends in the flush that it opens in: written once. An output that is the input costs
    /// nothing more.
    pub fn opened_and_closed<'a>(
        &mut self,
        opened: impl Into<OpenedView<'a>>,
        status: Status,
        stop_time_ms: u64,
        payload: &[u8],
    ) {
        let opened = opened.into();
        let section = self.section(SubBlockKind::OpenedAndClosed, opened.id);
        section.push_opened(&opened);
        section.push_status(status);
        section.columns[5].push(stop_time_ms.wrapping_sub(opened.start_time_ms));
        if payload == opened.input {
            section.columns[6].push(0);
        } else {
            section.columns[6].push(payload.len() as u64 + 1);
            section.push_payload(payload);
        }
        self.added(SubBlockKind::OpenedAndClosed);
    }

    /// Records so far; an execution that was opened and closed at once counts once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Runs of executions that open in this block, whether or not they close in it too.
    pub fn opened_runs(&self) -> impl Iterator<Item = IdRun> + '_ {
        self.runs_of([SubBlockKind::OpenedAndClosed, SubBlockKind::Opened])
    }

    /// Runs of executions that close in this block, whether or not they open in it too.
    pub fn closed_runs(&self) -> impl Iterator<Item = IdRun> + '_ {
        self.runs_of([SubBlockKind::OpenedAndClosed, SubBlockKind::Closed])
    }

    fn runs_of(&self, kinds: [SubBlockKind; 2]) -> impl Iterator<Item = IdRun> + '_ {
        kinds.into_iter().flat_map(|kind| {
            let section = &self.sections[kind.place()];
            section.ended_runs.iter().copied().chain(section.present_run())
        })
    }

    /// The machines so far, in the order of their indexes.
    #[must_use]
    pub fn machines(&self) -> &[MachineRef] {
        &self.machines
    }

    /// What the executions that open in this block have in common; `None` when none does.
    #[must_use]
    pub fn opened_summary(&self) -> Option<OpenedSummary> {
        let sections = [SubBlockKind::OpenedAndClosed, SubBlockKind::Opened];
        let summaries = sections.into_iter().filter_map(|kind| self.sections[kind.place()].summary);
        summaries.reduce(|one, other| OpenedSummary {
            start_min_ms: one.start_min_ms.min(other.start_min_ms),
            start_max_ms: one.start_max_ms.max(other.start_max_ms),
            statuses: one.statuses | other.statuses,
        })
    }

    /// About how many bytes [`BlockBuilder::finish`] would give, at most: what is not compressed yet counts
    /// in full.
    #[must_use]
    pub fn bytes_estimate(&self) -> usize {
        let sections: usize = self.sections.iter().map(Section::bytes_estimate).sum();
        let machines: usize = self.machines.iter().map(|machine| machine.arn.len() + 36).sum();
        HEADER_BYTES + machines + sections + 8
    }

    /// Encodes the block, and begins an empty one with the same buffers.
    pub fn finish(&mut self, id: BlockId, now_ms: u64) -> Bytes {
        for section in &mut self.sections {
            section.seal(&mut self.compressor);
        }
        let mut out = Vec::with_capacity(self.bytes_estimate() + 16);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&self.partition.get().to_le_bytes());
        for number in [id.generation, id.sequence, now_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_varint(&mut out, self.machines.len() as u64);
        for machine in self.machines.drain(..) {
            out.extend_from_slice(&[machine.mode as u8, machine.dialect]);
            out.extend_from_slice(&machine.definition);
            put_varint(&mut out, machine.arn.len() as u64);
            out.extend_from_slice(machine.arn.as_bytes());
        }
        self.machine_indexes.clear();
        put_varint(&mut out, self.sections.iter().map(|section| section.sealed_count).sum());
        for section in &mut self.sections {
            out.extend_from_slice(&section.sealed);
            section.reset();
        }
        self.compressor.scratch.truncate(REUSED_BYTES_MAX);
        self.compressor.scratch.shrink_to(REUSED_BYTES_MAX);
        self.records = 0;
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.into()
    }

    fn section(&mut self, kind: SubBlockKind, id: ExecutionId) -> &mut Section {
        assert_eq!(id.batch.partition, self.partition, "a record of another partition came to this block");
        let section = &mut self.sections[kind.place()];
        section.push_id(id);
        section
    }

    fn added(&mut self, kind: SubBlockKind) {
        self.records += 1;
        let section = &mut self.sections[kind.place()];
        if section.count == SUB_BLOCK_RECORDS_MAX
            || section.raw.len() + section.side.len() >= SUB_BLOCK_PAYLOAD_TARGET
        {
            section.seal(&mut self.compressor);
        }
    }
}

/// What the executions that open in one block have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedSummary {
    /// The earliest start, Unix time in milliseconds.
    pub start_min_ms: u64,
    /// The latest start, Unix time in milliseconds.
    pub start_max_ms: u64,
    /// One bit for each status that they have when the block is written: bit [`Status`] as a number.
    pub statuses: u8,
}

/// The compressor's table and output, used again and again.
struct Compressor {
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
struct Section {
    kind: SubBlockKind,
    count: usize,
    columns: Vec<Vec<u64>>,
    /// Names, or the block ids of closed records.
    side: Vec<u8>,
    last_blocks: Vec<BlockId>,
    statuses: Vec<u8>,
    /// The encoded runs before the present one.
    runs: Vec<u8>,
    run_count: usize,
    run_first: Option<ExecutionId>,
    run_length: usize,
    run_before: (u32, u64),
    /// The runs of all sub-blocks of this kind, but for the present one.
    ended_runs: Vec<IdRun>,
    summary: Option<OpenedSummary>,
    /// Payloads; the columns are added when the sub-block is sealed.
    raw: Vec<u8>,
    sealed: Vec<u8>,
    sealed_count: u64,
}

impl Section {
    fn new(kind: SubBlockKind) -> Self {
        Self {
            kind,
            count: 0,
            columns: kind.styles().iter().map(|_| Vec::new()).collect(),
            side: Vec::new(),
            last_blocks: Vec::new(),
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

    fn push_id(&mut self, id: ExecutionId) {
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

    fn present_run(&self) -> Option<IdRun> {
        self.run_first.map(|first| IdRun {
            batch: first.batch,
            first: first.index,
            count: self.run_length as u16,
        })
    }

    fn push_opened(&mut self, record: &OpenedView<'_>) {
        self.columns[0].push(u64::from(record.machine));
        self.columns[1].push(record.start_time_ms);
        self.columns[2].push(record.seed ^ seed_base(record.id));
        self.columns[3].push(record.name.map_or(0, |name| name.len() as u64 + 1));
        self.columns[4].push(record.input.len() as u64);
        if let Some(name) = record.name {
            assert!(name.len() <= NAME_BYTES_MAX, "a name of {} bytes came to a block", name.len());
            self.side.extend_from_slice(name.as_bytes());
        }
        self.push_payload(record.input);
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

    fn push_payload(&mut self, payload: &[u8]) {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a payload of {} bytes came to a block", payload.len());
        self.raw.extend_from_slice(payload);
    }

    fn push_status(&mut self, status: Status) {
        self.statuses.push(status as u8);
        if let Some(summary) = &mut self.summary {
            summary.statuses |= 1 << status as u8;
        }
    }

    fn push_blocks(&mut self, blocks: &[BlockId]) {
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

    fn bytes_estimate(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.len() * 8).sum();
        self.sealed.len()
            + self.raw.len()
            + columns
            + self.side.len()
            + self.runs.len()
            + self.statuses.len()
            + 32
    }

    /// Ends the sub-block that is being filled, if it holds anything.
    fn seal(&mut self, compressor: &mut Compressor) {
        let Some(first) = self.run_first else { return };
        self.end_run(first);
        let payload_length = self.raw.len();
        for (place, style) in self.kind.styles().iter().enumerate() {
            put_column(&mut self.raw, &self.columns[place], *style);
            if self.kind.side_column() == Some(place) {
                self.raw.extend_from_slice(&self.side);
            }
        }
        let one_status =
            self.statuses.first().filter(|first| self.statuses.iter().all(|other| other == *first));
        let flags_at = self.sealed.len() + 1;
        let counts = [(self.count - 1) as u8, (self.run_count - 1) as u8];
        self.sealed.extend_from_slice(&[
            self.kind as u8,
            u8::from(one_status.is_some()) << 1,
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

    fn begin(&mut self) {
        self.count = 0;
        self.run_count = 0;
        self.run_before = (0, 0);
        self.columns.iter_mut().for_each(Vec::clear);
        self.side.clear();
        self.last_blocks.clear();
        self.statuses.clear();
        self.runs.clear();
        self.raw.clear();
    }

    fn reset(&mut self) {
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
