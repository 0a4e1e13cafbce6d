//! What the simulated store holds: logs with their fence, derived keys, durable keys.
//!
//! Invariants: the contract of [`journal::Store`] to the letter, unless a [`Mutation`] is asked for; whatever is written
//! is told to the audit ([`Image::appended`]), be it trimmed later or not. Derived writes wait with their writer for a
//! while, as those of the Redis client do, and are lost with it. Nothing here waits.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ids::PartitionId;
use journal::block::SubBlockKind;
use journal::store::{BlockRange, check_key};
use journal::{Acquired, Append, Block, BlockId, Derived, StoreError};

use crate::mutation::{Mutation, Mutations};

/// Who calls: a process of the simulation. 0 is the simulation itself.
pub type Caller = u32;

/// How long derived writes wait with their writer, at most.
const LAG_US: u64 = 5_000;

/// A block that was written.
#[derive(Debug)]
pub struct Written {
    /// By whom.
    pub by: Caller,
    /// To which log.
    pub partition: PartitionId,
    /// Under which id.
    pub id: BlockId,
    /// The block.
    pub bytes: Bytes,
    /// The log was trimmed of what is below.
    pub trim_below: Option<BlockId>,
}

/// Everything durable.
#[derive(Debug, Default)]
pub struct Image {
    /// The time of the simulation; time to live counts by it.
    pub now_us: u64,
    /// What is broken on purpose.
    pub mutations: Mutations,
    /// Blocks that were written since the audit looked last.
    pub appended: VecDeque<Written>,
    /// Who has taken which partition since the audit looked last, and whether it went back and its owner has mended it.
    pub acquired: VecDeque<(Caller, PartitionId, bool)>,
    logs: BTreeMap<u16, Log>,
    keys: BTreeMap<Bytes, Bytes>,
    lagging: Vec<Lagging>,
    appends: u64,
}

#[derive(Debug, Default)]
struct Log {
    generation: u64,
    owner: Caller,
    /// When the owner took it.
    taken_us: u64,
    last: Option<BlockId>,
    blocks: BTreeMap<BlockId, Bytes>,
    derived: BTreeMap<Bytes, (u64, Value)>,
    /// What was written beside which block, and when.
    beside: Vec<(BlockId, u64, Derived)>,
    /// Where it ended before it went back, until an owner takes it anew.
    went_back_from: Option<BlockId>,
    /// Whether its owner knows.
    accepted: bool,
}

#[derive(Debug)]
enum Value {
    One(Bytes),
    List(Vec<Bytes>),
}

#[derive(Debug)]
struct Lagging {
    writer: Caller,
    partition: PartitionId,
    block: BlockId,
    due_us: u64,
    derived: Vec<Derived>,
}

fn micros(ttl: std::time::Duration) -> u64 {
    u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)
}

impl Image {
    fn log(&mut self, partition: PartitionId) -> &mut Log {
        self.logs.entry(partition.get()).or_default()
    }

    /// Who has taken the partition last, and when.
    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> (Caller, u64) {
        self.logs.get(&partition.get()).map_or((0, 0), |log| (log.owner, log.taken_us))
    }

    /// The oldest block that a log holds.
    #[must_use]
    pub fn oldest(&self, partition: PartitionId) -> Option<BlockId> {
        self.logs.get(&partition.get())?.blocks.keys().next().copied()
    }

    pub(crate) fn acquire(&mut self, caller: Caller, partition: PartitionId) -> Acquired {
        let raise = u64::from(!self.mutations.has(Mutation::OwnersShareAGeneration));
        let now_us = self.now_us;
        let log = self.log(partition);
        log.taken_us = now_us;
        log.generation = (log.generation + raise).max(1);
        log.owner = caller;
        let mended = log.went_back_from.take().is_some() && log.accepted;
        let acquired = Acquired { generation: log.generation, last: log.last };
        self.acquired.push_back((caller, partition, mended));
        acquired
    }

    pub(crate) fn append(&mut self, caller: Caller, append: Append) -> Result<(), StoreError> {
        append.check()?;
        let (id, partition) = (append.id, append.partition);
        let fenced = !self.mutations.has(Mutation::NoFence);
        let trims_too_much = self.mutations.has(Mutation::TrimsTooMuch);
        let now_us = self.now_us;
        self.appends += 1;
        if self.mutations.has(Mutation::ConfirmsWithoutWriting) && self.appends.is_multiple_of(7) {
            return Ok(());
        }
        let log = self.log(partition);
        if let Some(confirmed) = log.went_back_from.filter(|_| !log.accepted) {
            return Err(StoreError::WentBack { partition, confirmed, top: log.top() });
        }
        if fenced && (id.generation < log.generation || log.last.is_some_and(|last| id <= last)) {
            if log.blocks.get(&id).is_some_and(|written| *written == append.block) {
                return Ok(());
            }
            let last = log.top().unwrap_or_default();
            return Err(StoreError::Fenced { partition, attempted: id, last });
        }
        log.generation = log.generation.max(id.generation);
        log.last = log.last.max(Some(id));
        log.blocks.insert(id, append.block.clone());
        if let Some(mark) = append.trim_below {
            log.blocks = log.blocks.split_off(&mark);
            if trims_too_much {
                log.blocks.pop_first();
            }
        }
        let (bytes, trim_below) = (append.block, append.trim_below);
        self.appended.push_back(Written { by: caller, partition, id, bytes, trim_below });
        if !self.mutations.has(Mutation::NoDerivedKeys) && !append.derived.is_empty() {
            let due_us = now_us + LAG_US;
            self.lagging.push(Lagging {
                writer: caller,
                partition,
                block: id,
                due_us,
                derived: append.derived,
            });
        }
        Ok(())
    }

    /// Writes what has waited with its writer: what is due, and all of this caller's, whose reads come after its writes.
    fn settle(&mut self, caller: Caller) {
        let now_us = self.now_us;
        let (due, waiting) = std::mem::take(&mut self.lagging)
            .into_iter()
            .partition::<Vec<_>, _>(|lagging| lagging.writer == caller || lagging.due_us <= now_us);
        self.lagging = waiting;
        for lagging in due {
            let log = self.log(lagging.partition);
            for derived in lagging.derived {
                log.beside.push((lagging.block, now_us, derived.clone()));
                log.derive(derived, now_us);
            }
        }
    }

    /// A process is gone, and with it what it had not sent.
    pub fn crashed(&mut self, writer: Caller) {
        self.settle(0);
        self.lagging.retain(|lagging| lagging.writer != writer);
        if self.mutations.has(Mutation::LosesTheLastBlock) {
            self.lose_last(|_| true);
        }
        if self.mutations.has(Mutation::LosesAJournalEntry) {
            self.lose_last(|block| {
                block.sub_blocks().iter().any(|sub_block| sub_block.kind() == SubBlockKind::Journalled)
            });
        }
    }

    /// A replica takes over that lacks up to so many of the last blocks of the present owner, and all that was written beside
    /// them; gives what is lost.
    pub fn go_back(&mut self, partition: PartitionId, blocks: u64) -> Vec<(BlockId, Bytes)> {
        self.settle(0);
        let unnoticed = self.mutations.has(Mutation::NobodyIsToldOfLostBlocks);
        let log = self.log(partition);
        let Some(top) = log.last.filter(|last| last.generation == log.generation) else { return Vec::new() };
        let to = BlockId { sequence: top.sequence.saturating_sub(blocks), ..top };
        let above = BlockId { sequence: to.sequence + 1, ..to };
        let lost: Vec<_> = log.blocks.split_off(&above).into_iter().collect();
        log.last = log.blocks.keys().next_back().copied();
        if !unnoticed {
            (log.went_back_from, log.accepted) = (Some(top), false);
        }
        log.derived.clear();
        log.beside.retain(|(block, ..)| *block < above);
        for (_, at_us, derived) in log.beside.clone() {
            log.derive(derived, at_us);
        }
        lost
    }

    /// The owner knows that the log ends here.
    pub(crate) fn accept(&mut self, partition: PartitionId, top: BlockId) {
        let log = self.log(partition);
        log.accepted = log.top() == Some(top);
    }

    fn lose_last(&mut self, wanted: impl Fn(&Block) -> bool) {
        for log in self.logs.values_mut() {
            let last = log.blocks.iter().next_back().map(|(id, bytes)| (*id, bytes.clone()));
            if let Some((id, bytes)) = last
                && Block::parse(&bytes).is_ok_and(|block| wanted(&block))
            {
                log.blocks.remove(&id);
            }
        }
    }

    pub(crate) fn tops(&self, partitions: &[PartitionId]) -> Vec<Option<BlockId>> {
        partitions.iter().map(|partition| self.logs.get(&partition.get())?.top()).collect()
    }

    pub(crate) fn read(&self, partition: PartitionId, range: BlockRange) -> Vec<(BlockId, Bytes)> {
        let Some(log) = self.logs.get(&partition.get()).filter(|_| range.from <= range.to) else {
            return Vec::new();
        };
        let blocks = log.blocks.range(range.from..=range.to).map(|(id, block)| (*id, block.clone()));
        if range.reverse {
            return blocks.rev().take(range.limit).collect();
        }
        let mut page: Vec<_> = blocks.take(range.limit).collect();
        let recovery = range.limit > 1 && page.len() < range.limit;
        if recovery && self.mutations.has(Mutation::RecoveryMissesTheLastBlock) {
            page.pop();
        }
        page
    }

    pub(crate) fn get_derived(
        &mut self,
        caller: Caller,
        partition: PartitionId,
        keys: &[Bytes],
    ) -> Vec<Option<Bytes>> {
        self.settle(caller);
        let now_us = self.now_us;
        let log = self.log(partition);
        let value = |key| match log.live(key, now_us) {
            Some(Value::One(value)) => Some(value.clone()),
            _ => None,
        };
        keys.iter().map(value).collect()
    }

    pub(crate) fn list(
        &mut self,
        caller: Caller,
        (partition, list): (PartitionId, &Bytes),
        skip: usize,
        limit: usize,
    ) -> Vec<Bytes> {
        self.settle(caller);
        let now_us = self.now_us;
        match self.log(partition).live(list, now_us) {
            Some(Value::List(entries)) => entries.iter().skip(skip).take(limit).cloned().collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        check_key(&key)?;
        self.keys.insert(key, value);
        Ok(())
    }

    pub(crate) fn compare_and_put(
        &mut self,
        key: Bytes,
        expected: Option<&Bytes>,
        value: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        check_key(&key)?;
        if self.keys.get(&key) != expected {
            return Ok(false);
        }
        match value {
            Some(value) => self.keys.insert(key, value),
            None => self.keys.remove(&key),
        };
        Ok(true)
    }

    pub(crate) fn get(&self, key: &Bytes) -> Option<Bytes> {
        self.keys.get(key).cloned()
    }

    pub(crate) fn scan(&self, prefix: &Bytes, after: Option<&Bytes>, limit: usize) -> Vec<(Bytes, Bytes)> {
        let keys = self.keys.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(prefix));
        let keys = keys.filter(|(key, _)| after.is_none_or(|after| *key > after));
        keys.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn increment(&mut self, key: Bytes) -> Result<u64, StoreError> {
        check_key(&key)?;
        let known = self.keys.get(&key).map(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let Some(old) = known.unwrap_or(Some(0_u64)) else {
            return Err(StoreError::Refused("this key holds no counter".to_owned()));
        };
        self.keys.insert(key, Bytes::from((old + 1).to_string()));
        Ok(old + 1)
    }
}

impl Log {
    fn top(&self) -> Option<BlockId> {
        let mark = BlockId { generation: self.generation, sequence: 0 };
        (self.generation > 0).then(|| self.last.unwrap_or_default().max(mark))
    }

    fn live(&self, key: &Bytes, now_us: u64) -> Option<&Value> {
        self.derived.get(key).filter(|(until_us, _)| *until_us > now_us).map(|(_, value)| value)
    }

    fn derive(&mut self, derived: Derived, now_us: u64) {
        match derived {
            Derived::Put { key, value, ttl } => {
                self.derived.insert(key, (now_us.saturating_add(micros(ttl)), Value::One(value)));
            }
            Derived::Push { list, value, ttl } => {
                let mut entries = match self.live(&list, now_us) {
                    Some(Value::List(entries)) => entries.clone(),
                    _ => Vec::new(),
                };
                entries.push(value);
                self.derived.insert(list, (now_us.saturating_add(micros(ttl)), Value::List(entries)));
            }
        }
    }
}
