//! Gathers blocks of whole executions into a segment.
//!
//! What is found by id, by name and in listings is what a log's own index writer says of these blocks, so that the archive
//! answers as a log does. Invariant: the same blocks give the same segment, byte for byte. Bounded by whoever puts blocks
//! in. What may fail: a block that cannot be read, with [`StoreError::Corrupt`].

use bytes::Bytes;
use ids::{MachineName, Mode, PartitionId};
use journal::index::{self, IndexWriter};
use journal::{Block, BlockId, Derived, Opened, Record, StoreError};
use std::time::Duration;

use crate::index::{Contents, encode, head, machine_key};
use crate::name::{BatchKey, SegmentName};

/// A finished segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// Its bytes.
    pub bytes: Bytes,
    /// How many executions are in it.
    pub executions: u64,
}

/// A segment under construction.
#[derive(Debug)]
pub struct SegmentBuilder {
    partition: PartitionId,
    keep: Duration,
    bytes: Vec<u8>,
    contents: Contents,
    writer: IndexWriter,
    derived: Vec<Derived>,
    batches: Option<(BatchKey, BatchKey)>,
    starts_ms: (u64, u64),
    stop_max_ms: u64,
    named: bool,
    executions: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl SegmentBuilder {
    /// An empty segment, whose executions are kept for so long from their ends.
    #[must_use]
    pub fn new(partition: PartitionId, keep: Duration) -> Self {
        Self {
            partition,
            keep,
            bytes: head(partition).to_vec(),
            contents: Contents::default(),
            // How long a log keeps its derived keys is of no account here.
            writer: IndexWriter::new(partition, keep),
            derived: Vec::new(),
            batches: None,
            starts_ms: (u64::MAX, 0),
            stop_max_ms: 0,
            named: false,
            executions: 0,
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents.blocks.is_empty()
    }

    /// Adds an encoded block whose executions are whole: each opens and ends in it. Blocks come in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it cannot be read.
    pub fn push(&mut self, bytes: &Bytes) -> Result<(), StoreError> {
        let block = Block::parse(bytes)?;
        for record in block.records()? {
            match record {
                Record::Opened(opened) => self.opened(&block, &opened),
                Record::Closed(closed) => {
                    self.stop_max_ms = self.stop_max_ms.max(closed.stop_time_ms);
                    self.executions += 1;
                }
                Record::Journalled(_) => {}
            }
        }
        for run in block.opened_runs() {
            let key = (run.batch.incarnation, run.batch.sequence());
            let (low, high) = self.batches.unwrap_or((key, key));
            self.batches = Some((low.min(key), high.max(key)));
        }
        for machine in block.machines() {
            self.contents.keys.entry(machine_key(&machine.arn)).or_default();
        }
        self.writer.recovered(&block);
        self.writer.summarise_again(&block, block.time_ms(), &mut self.derived)?;
        let from = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self.contents.blocks.push((block.id(), from..self.bytes.len() as u64));
        Ok(())
    }

    fn opened(&mut self, block: &Block, opened: &Opened) {
        let (earliest, latest) = self.starts_ms;
        self.starts_ms = (earliest.min(opened.start_time_ms), latest.max(opened.start_time_ms));
        let Some(name) = opened.name.as_deref() else { return };
        let machine = block.machines().get(opened.machine as usize);
        let Some(machine) = machine.filter(|machine| machine.mode == Mode::Standard) else { return };
        if let Ok(parsed) = MachineName::parse(&machine.arn) {
            self.named = true;
            let segment = parsed.execution_segment();
            self.derived.push(index::name_entry(segment, name, opened.id, self.keep));
        }
    }

    /// The segment; `None` when there is nothing in it.
    #[must_use]
    pub fn finish(mut self) -> Option<Segment> {
        let (first, last) = (self.contents.blocks.first()?.0, self.contents.blocks.last()?.0);
        let mut derived = std::mem::take(&mut self.derived);
        derived.extend(self.writer.settle(BlockId::default()));
        for entry in derived {
            match entry {
                Derived::Put { key, value, .. } => drop(self.contents.keys.insert(key, vec![value])),
                Derived::Push { list, value, .. } => {
                    self.contents.keys.entry(list).or_default().push(value);
                }
            }
        }
        self.bytes.extend_from_slice(&encode(self.partition, &self.contents));
        let name = SegmentName {
            partition: self.partition,
            first,
            last,
            batches: self.batches?,
            starts_ms: self.starts_ms,
            until_ms: self.stop_max_ms.saturating_add(millis(self.keep)),
            named: self.named,
        };
        Some(Segment { name, bytes: self.bytes.into(), executions: self.executions })
    }
}
