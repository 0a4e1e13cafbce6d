//! Reads blocks, from a store that may hold anything.
//!
//! Invariants: parsing looks at headers and id columns alone; a sub-block is decompressed when one of its
//! records is asked for; every declared length is checked before it is trusted. What may fail: everything,
//! with [`StoreError::Corrupt`].

use std::ops::Range;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, Logging, Mode, PartitionId, Status};

use super::column::Reader;
use super::record::{Closed, Journalled, MachineRef, Opened, Record};
use super::rows::Rows;
use super::{
    LOGGINGS, MAGIC, ORIGINS, RAW_BYTES_MAX, RETENTIONS, ROLES, SUB_BLOCK_RECORDS_MAX, TRACES, VERSION,
};
use crate::store::{BlockId, StoreError};

/// What a sub-block's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SubBlockKind {
    /// Executions that ended in the flush that they opened in.
    OpenedAndClosed = 1,
    /// See [`Opened`].
    Opened = 2,
    /// See [`Journalled`].
    Journalled = 3,
    /// See [`Closed`].
    Closed = 4,
}

/// Executions of one batch with indexes in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRun {
    /// Their batch.
    pub batch: BatchId,
    /// The lowest index.
    pub first: u8,
    /// How many, 1 to 256.
    pub count: u16,
}

impl IdRun {
    /// Whether the run holds this execution.
    #[must_use]
    pub fn contains(&self, id: ExecutionId) -> bool {
        let offset = u16::from(id.index).wrapping_sub(u16::from(self.first));
        self.batch == id.batch && offset < self.count
    }

    /// Its executions, in order.
    pub fn ids(self) -> impl Iterator<Item = ExecutionId> {
        (0..self.count).map(move |offset| self.batch.execution((u16::from(self.first) + offset) as u8))
    }
}

/// A sub-block's header: everything that can be read without decompressing.
#[derive(Debug, Clone)]
pub struct SubBlock {
    kind: SubBlockKind,
    count: usize,
    runs: Vec<IdRun>,
    statuses: Statuses,
    compressed: bool,
    pub(super) traced: bool,
    payload_length: usize,
    raw_length: usize,
    stored: Range<usize>,
}

#[derive(Debug, Clone)]
enum Statuses {
    All(Status),
    Each(Vec<Status>),
}

impl SubBlock {
    /// What its records are.
    #[must_use]
    pub fn kind(&self) -> SubBlockKind {
        self.kind
    }

    /// How many records it has, 1 to 256.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never: a sub-block has a record at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The ids, in the order of the records.
    #[must_use]
    pub fn runs(&self) -> &[IdRun] {
        &self.runs
    }

    /// The status at a record's place; [`Status::Running`] for opened and journalled records.
    #[must_use]
    pub fn status(&self, place: usize) -> Status {
        match &self.statuses {
            Statuses::All(status) => *status,
            Statuses::Each(each) => each.get(place).copied().unwrap_or(Status::Running),
        }
    }

    /// Each record's id and status, in order.
    pub fn ids(&self) -> impl Iterator<Item = (ExecutionId, Status)> + '_ {
        let ids = self.runs.iter().flat_map(|run| run.ids());
        ids.enumerate().map(|(place, id)| (id, self.status(place)))
    }
}

/// A block as read from a store.
#[derive(Debug, Clone)]
pub struct Block {
    bytes: Bytes,
    partition: PartitionId,
    id: BlockId,
    time_ms: u64,
    machines: Vec<MachineRef>,
    sub_blocks: Vec<SubBlock>,
}

/// What a block knows of an execution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its start, if it is in this block.
    pub opened: Option<Opened>,
    /// Its outcomes of this block, in order.
    pub journalled: Vec<Journalled>,
    /// Its end, if it is in this block.
    pub closed: Option<Closed>,
}

pub(super) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::Corrupt(what.into())
}

impl Block {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the bytes are no block, of another version, cut, or damaged.
    pub fn parse(bytes: &Bytes) -> Result<Self, StoreError> {
        let Some((covered, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(corrupt(format!("{} bytes are no block", bytes.len())));
        };
        let mut reader = Reader::new(covered);
        if reader.array()? != MAGIC {
            return Err(corrupt("these bytes do not begin as a block does"));
        }
        let [version, flags] = reader.array()?;
        if version != VERSION || flags & !FLAGS != 0 {
            return Err(corrupt(format!(
                "the block has version {version} and flags {flags}; this program reads {VERSION} and up to {FLAGS}"
            )));
        }
        if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
            return Err(corrupt("a block's checksum is wrong: its bytes were cut or changed"));
        }
        let partition = PartitionId::new(u32::from(u16::from_le_bytes(reader.array()?)))
            .map_err(|error| corrupt(error.to_string()))?;
        let id = BlockId { generation: reader.u64_le()?, sequence: reader.u64_le()? };
        let time_ms = reader.u64_le()?;
        let machines = read_machines(&mut reader, flags)?;
        let count = reader.length(reader.remaining())?;
        let mut sub_blocks = Vec::new();
        for _ in 0..count {
            sub_blocks.push(read_sub_block(&mut reader, partition, covered.len())?);
        }
        if !reader.is_empty() {
            return Err(corrupt("a block has bytes after its last sub-block"));
        }
        Ok(Self { bytes: bytes.clone(), partition, id, time_ms, machines, sub_blocks })
    }

    /// Whose block this is.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// Its place in the log.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// When it was encoded, Unix time in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The machine table that [`Opened::machine`] refers to.
    #[must_use]
    pub fn machines(&self) -> &[MachineRef] {
        &self.machines
    }

    /// The headers, in the order of causes: what opened stands before what closed.
    #[must_use]
    pub fn sub_blocks(&self) -> &[SubBlock] {
        &self.sub_blocks
    }

    /// How many bytes the block has.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Runs of executions that opened in this block, whether or not they closed in it too.
    pub fn opened_runs(&self) -> impl Iterator<Item = IdRun> + '_ {
        self.runs_of(|kind| matches!(kind, SubBlockKind::Opened | SubBlockKind::OpenedAndClosed))
    }

    /// Runs of executions that closed in this block, whether or not they opened in it too.
    pub fn closed_runs(&self) -> impl Iterator<Item = IdRun> + '_ {
        self.runs_of(|kind| matches!(kind, SubBlockKind::Closed | SubBlockKind::OpenedAndClosed))
    }

    fn runs_of(&self, wanted: fn(SubBlockKind) -> bool) -> impl Iterator<Item = IdRun> + '_ {
        let sub_blocks = self.sub_blocks.iter().filter(move |sub_block| wanted(sub_block.kind));
        sub_blocks.flat_map(|sub_block| sub_block.runs.iter().copied())
    }

    /// All records, sub-block by sub-block; one that opened and closed in this block gives two. Payloads are
    /// slices of their sub-block: copy what is kept for long.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::with_capacity(self.sub_blocks.iter().map(SubBlock::len).sum());
        for sub_block in &self.sub_blocks {
            self.read(sub_block, |_| true, &mut |record| records.push(record))?;
        }
        Ok(records)
    }

    /// The records of one sub-block of [`Block::sub_blocks`] whose ids are wanted.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn records_of(
        &self,
        sub_block: &SubBlock,
        wanted: impl Fn(ExecutionId) -> bool,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        if sub_block.runs.iter().any(|run| run.ids().any(&wanted)) {
            self.read(sub_block, wanted, &mut |record| records.push(record))?;
        }
        Ok(records)
    }

    /// What this block knows of an execution; only sub-blocks that hold it are decompressed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn find(&self, id: ExecutionId) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for sub_block in &self.sub_blocks {
            if sub_block.runs.iter().any(|run| run.contains(id)) {
                self.read(sub_block, |other| other == id, &mut |record| match record {
                    Record::Opened(record) => found.opened = Some(record),
                    Record::Journalled(record) => found.journalled.push(record),
                    Record::Closed(record) => found.closed = Some(record),
                })?;
            }
        }
        Ok(found)
    }

    fn raw(&self, sub_block: &SubBlock) -> Result<Bytes, StoreError> {
        let stored = self.bytes.slice(sub_block.stored.clone());
        if !sub_block.compressed {
            return Ok(stored);
        }
        let mut raw = vec![0; sub_block.raw_length];
        match lz4_flex::block::decompress_into(&stored, &mut raw) {
            Ok(length) if length == raw.len() => Ok(raw.into()),
            Ok(length) => Err(corrupt(format!("a sub-block has {length} bytes of {}", raw.len()))),
            Err(error) => Err(corrupt(format!("a sub-block cannot be decompressed: {error}"))),
        }
    }

    fn read(
        &self,
        sub_block: &SubBlock,
        wanted: impl Fn(ExecutionId) -> bool,
        sink: &mut impl FnMut(Record),
    ) -> Result<(), StoreError> {
        let raw = self.raw(sub_block)?;
        let columns =
            raw.get(sub_block.payload_length..).ok_or_else(|| corrupt("a sub-block has no columns"))?;
        let mut rows = Rows {
            columns: Reader::new(columns),
            payloads: raw.slice(..sub_block.payload_length),
            payload_at: 0,
            count: sub_block.count,
            machines: self.machines.len(),
        };
        match sub_block.kind {
            SubBlockKind::Opened => rows.opened(sub_block, false, wanted, sink),
            SubBlockKind::OpenedAndClosed => rows.opened(sub_block, true, wanted, sink),
            SubBlockKind::Journalled => rows.journalled(sub_block, wanted, sink),
            SubBlockKind::Closed => rows.closed(sub_block, wanted, sink),
        }
    }
}

/// The flags that are known.
const FLAGS: u8 = RETENTIONS | ROLES | LOGGINGS | ORIGINS;

fn read_machines(reader: &mut Reader<'_>, flags: u8) -> Result<Vec<MachineRef>, StoreError> {
    let count = reader.length(reader.remaining())?;
    let mut machines = Vec::new();
    for _ in 0..count {
        let [mode, dialect] = reader.array()?;
        let mode = Mode::from_u8(mode).ok_or_else(|| corrupt(format!("a machine has mode {mode}")))?;
        let definition = reader.array()?;
        let arn = read_text(reader)?;
        let retention = if flags & RETENTIONS != 0 { reader.varint()? } else { 0 };
        let retention_s = u32::try_from(retention).map_err(|_| corrupt("a machine keeps for too long"))?;
        let role_arn = if flags & ROLES != 0 { read_text(reader)? } else { String::new() };
        let logging = if flags & LOGGINGS != 0 { reader.byte()? } else { 0 };
        let logging = Logging::from_u8(logging).ok_or_else(|| corrupt("a machine has no known log level"))?;
        let origin = if flags & ORIGINS != 0 { read_text(reader)? } else { String::new() };
        machines.push(MachineRef { arn, definition, mode, dialect, retention_s, role_arn, logging, origin });
    }
    Ok(machines)
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, StoreError> {
    let text = std::str::from_utf8(reader.bytes_with_length()?);
    Ok(text.map_err(|_| corrupt("an ARN of a machine or its role, or its origin, is not UTF-8"))?.to_owned())
}

fn read_sub_block(
    reader: &mut Reader<'_>,
    partition: PartitionId,
    block_length: usize,
) -> Result<SubBlock, StoreError> {
    let [kind, flags, count, run_count] = reader.array()?;
    let known_kind = SubBlockKind::ALL.into_iter().find(|known| *known as u8 == kind);
    let opens = matches!(known_kind, Some(SubBlockKind::Opened | SubBlockKind::OpenedAndClosed));
    let known = if opens { 3 | TRACES } else { 3 };
    let known_kind = known_kind.filter(|_| flags & !known == 0);
    let kind = known_kind.ok_or_else(|| {
        corrupt(format!(
            "a sub-block has kind {kind} and flags {flags}, which this program does not know: a newer one wrote it, if its \
             checksum is right; start that one"
        ))
    })?;
    let count = usize::from(count) + 1;
    let runs = read_runs(reader, partition, usize::from(run_count) + 1)?;
    if runs.iter().map(|run| usize::from(run.count)).sum::<usize>() != count {
        return Err(corrupt("a sub-block has another number of ids than of records"));
    }
    let status =
        |byte: u8| Status::from_u8(byte).ok_or_else(|| corrupt(format!("a record has status {byte}")));
    let statuses = match kind {
        SubBlockKind::Opened | SubBlockKind::Journalled => Statuses::All(Status::Running),
        _ if flags & 2 != 0 => Statuses::All(status(reader.byte()?)?),
        _ => Statuses::Each(reader.take(count)?.iter().map(|byte| status(*byte)).collect::<Result<_, _>>()?),
    };
    let payload_length = reader.length(RAW_BYTES_MAX)?;
    let raw_length = reader.length(RAW_BYTES_MAX)?;
    let stored_length = reader.length(reader.remaining())?;
    let start = block_length - reader.remaining();
    reader.take(stored_length)?;
    let compressed = flags & 1 != 0;
    // lz4 cannot expand further than this; a larger claim would only make us allocate.
    let possible = if compressed {
        raw_length <= stored_length.saturating_mul(255)
    } else {
        raw_length == stored_length
    };
    if !possible || payload_length > raw_length {
        return Err(corrupt("a sub-block declares lengths that cannot be"));
    }
    let stored = start..start + stored_length;
    let traced = flags & TRACES != 0;
    Ok(SubBlock { kind, count, runs, statuses, compressed, traced, payload_length, raw_length, stored })
}

fn read_runs(
    reader: &mut Reader<'_>,
    partition: PartitionId,
    count: usize,
) -> Result<Vec<IdRun>, StoreError> {
    let mut runs = Vec::with_capacity(count);
    let (mut incarnation, mut sequence) = (0, 0u64);
    for _ in 0..count {
        let tag = reader.varint()?;
        let zigzag = tag >> 2;
        sequence = sequence.wrapping_add(zigzag >> 1 ^ (zigzag & 1).wrapping_neg());
        if tag & 2 != 0 {
            incarnation = u32::from_le_bytes(reader.array()?);
        }
        let first = reader.byte()?;
        let count = if tag & 1 != 0 { 1 } else { u16::from(reader.byte()?) + 1 };
        if usize::from(first) + usize::from(count) > SUB_BLOCK_RECORDS_MAX {
            return Err(corrupt("a run of ids goes beyond its batch"));
        }
        let batch =
            BatchId::new(partition, incarnation, sequence).map_err(|error| corrupt(error.to_string()))?;
        runs.push(IdRun { batch, first, count });
    }
    Ok(runs)
}
