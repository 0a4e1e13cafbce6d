//! Collects the records of one flush and encodes them.
//!
//! Invariants: a payload is copied once, into the buffer that is compressed; buffers are reused from flush to
//! flush and given back when a flush was unusually large. What may fail: nothing, for records within the
//! limits of [`super::PAYLOAD_BYTES_MAX`], [`super::NAME_BYTES_MAX`] and [`super::CLOSED_BLOCKS_MAX`]; others
//! are a bug of the caller and stop the process rather than write what nobody can read.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use ids::{ExecutionId, Logging, PartitionId, Status};

use super::column::put_varint;
use super::read::{IdRun, SubBlockKind};
use super::record::{ClosedView, JournalledView, MachineRef, OpenedView};
use super::section::{Compressor, Section};
use super::{HEADER_BYTES, LOGGINGS, MAGIC, ORIGINS, RETENTIONS, ROLES, VERSION};
use crate::store::BlockId;

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
            compressor: Compressor::new(),
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

    /// An execution that is open is carried into this block: as [`BlockBuilder::opened`], but it is not of those that began
    /// now, and [`BlockBuilder::opened_summary`] does not count it.
    pub fn carried<'a>(&mut self, record: impl Into<OpenedView<'a>>) {
        self.reopened(record);
    }

    /// An execution that had ended goes on: its start again. It is no part of [`BlockBuilder::opened_summary`].
    pub fn reopened<'a>(&mut self, record: impl Into<OpenedView<'a>>) {
        let record = record.into();
        let section = self.section(SubBlockKind::Opened, record.id);
        section.push_reopened(&record);
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

    /// The last outcome, with a kind that a later program may have.
    #[cfg(test)]
    pub(super) fn change_kind(&mut self, kind: u64) {
        if let Some(last) = self.sections[SubBlockKind::Journalled.place()].columns[3].last_mut() {
            *last = kind;
        }
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
        let machines = self.machines.iter().map(|machine| {
            let MachineRef { arn, role_arn, origin, .. } = machine;
            arn.len() + role_arn.len() + origin.len() + 48
        });
        let machines: usize = machines.sum();
        HEADER_BYTES + machines + sections + 8
    }

    /// Encodes the block, and begins an empty one with the same buffers.
    pub fn finish(&mut self, id: BlockId, now_ms: u64) -> Bytes {
        for section in &mut self.sections {
            section.seal(&mut self.compressor);
        }
        let mut out = Vec::with_capacity(self.bytes_estimate() + 16);
        out.extend_from_slice(&MAGIC);
        let flags = flags_of(&self.machines);
        out.extend_from_slice(&[VERSION, flags]);
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
            if flags & RETENTIONS != 0 {
                put_varint(&mut out, u64::from(machine.retention_s));
            }
            if flags & ROLES != 0 {
                put_varint(&mut out, machine.role_arn.len() as u64);
                out.extend_from_slice(machine.role_arn.as_bytes());
            }
            if flags & LOGGINGS != 0 {
                out.push(machine.logging.to_u8());
            }
            if flags & ORIGINS != 0 {
                put_varint(&mut out, machine.origin.len() as u64);
                out.extend_from_slice(machine.origin.as_bytes());
            }
        }
        self.machine_indexes.clear();
        put_varint(&mut out, self.sections.iter().map(|section| section.sealed_count).sum());
        for section in &mut self.sections {
            out.extend_from_slice(&section.sealed);
            section.reset();
        }
        self.compressor.reset();
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
        if section.is_full() {
            section.seal(&mut self.compressor);
        }
    }
}

/// What the machines of a block have that most have not.
fn flags_of(machines: &[MachineRef]) -> u8 {
    let any = |has: fn(&MachineRef) -> bool, flag| if machines.iter().any(has) { flag } else { 0 };
    any(|machine| machine.retention_s > 0, RETENTIONS)
        | any(|machine| !machine.role_arn.is_empty(), ROLES)
        | any(|machine| machine.logging != Logging::default(), LOGGINGS)
        | any(|machine| !machine.origin.is_empty(), ORIGINS)
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
