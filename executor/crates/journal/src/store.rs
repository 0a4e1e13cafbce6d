//! The store contract: a fenced log per partition, small keys with a time to live, bounded lists.
//!
//! Everything else — look-up by id, listing by machine, definitions, templates — is built on it, the same for
//! every store. Every implementation passes [`crate::conformance`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;

/// A block's place in its partition's log, and its fence: the store refuses an id that is not above the last
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct BlockId {
    /// Raised whenever a partition changes its owner.
    pub generation: u64,
    /// From 1 within a generation; 0 is the mark by which the owner took over.
    pub sequence: u64,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.sequence)
    }
}

impl BlockId {
    /// The greatest id below this one.
    #[must_use]
    pub fn before(self) -> Option<Self> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(Self { sequence, ..self }),
            None => Some(Self { generation: self.generation.checked_sub(1)?, sequence: u64::MAX }),
        }
    }

    /// The least id above this one.
    #[must_use]
    pub fn after(self) -> Option<Self> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(Self { sequence, ..self }),
            None => Some(Self { generation: self.generation.checked_add(1)?, sequence: 0 }),
        }
    }
}

/// The longest block. A flush aims far below; one execution with a very long payload may come near.
pub const BLOCK_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The longest key, durable or derived.
pub const KEY_BYTES_MAX: usize = 256;

/// At most so many blocks of a log, its last ones, may be there while what stood beside them is not: those are what a
/// recovery looks through.
pub const DERIVED_BEHIND_MAX: u64 = 64;

/// One flush of one partition.
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose log.
    pub partition: PartitionId,
    /// Must be above the last id of the log.
    pub id: BlockId,
    /// An encoded block, see [`crate::block`].
    pub block: Bytes,
    /// Written with the block, or soon after; lost with a crash at worst, and rebuilt then. A block is not written before
    /// what stood beside the [`DERIVED_BEHIND_MAX`]th before it is.
    pub derived: Vec<Derived>,
    /// Blocks below this id are no longer wanted; the store may keep some of them.
    pub trim_below: Option<BlockId>,
}

impl Append {
    /// Checks what every store checks before it writes.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when sequence, block or a key is out of its limits.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.id.sequence == 0 || self.id.generation == 0 {
            return Err(StoreError::Refused(format!(
                "block {}: generations and sequences begin at 1, x-0 is the mark of an owner",
                self.id
            )));
        }
        if self.block.len() > BLOCK_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "block {} has {} bytes, at most {BLOCK_BYTES_MAX} are stored",
                self.id,
                self.block.len()
            )));
        }
        self.derived.iter().try_for_each(|derived| match derived {
            Derived::Put { key, .. } | Derived::Push { list: key, .. } => check_key(key),
        })
    }
}

/// Checks the length of a key, 1 to [`KEY_BYTES_MAX`] bytes.
///
/// # Errors
/// [`StoreError::Refused`].
pub fn check_key(key: &[u8]) -> Result<(), StoreError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        return Ok(());
    }
    Err(StoreError::Refused(format!("a key has {} bytes, 1 to {KEY_BYTES_MAX} are possible", key.len())))
}

/// What can be rebuilt from the log, and only makes look-ups quick.
#[derive(Debug, Clone)]
pub enum Derived {
    /// Sets a key.
    Put {
        /// Up to 256 bytes. Belongs to the partition of its append.
        key: Bytes,
        /// Small.
        value: Bytes,
        /// Forgotten after this long.
        ttl: Duration,
    },
    /// Appends to a list, and lets the whole list live this long from now.
    Push {
        /// Up to 256 bytes. Belongs to the partition of its append.
        list: Bytes,
        /// Small.
        value: Bytes,
        /// Forgotten after this long without another push.
        ttl: Duration,
    },
}

/// What a new owner finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquired {
    /// The generation that the new owner writes under.
    pub generation: u64,
    /// The last block before, if the log is not empty.
    pub last: Option<BlockId>,
}

/// What an acknowledgement is worth with the store's present settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// `redis`, `file` or `memory`.
    pub store: &'static str,
    /// Whether an acknowledged write survives kill -9 of every process.
    pub survives_process_kill: bool,
    /// Whether it survives the loss of power.
    pub survives_power_loss: bool,
    /// For people: the settings, and what to change where a promise cannot be kept.
    pub detail: String,
    /// Settings as label and value, for the info metric, for example `("appendfsync", "always")`.
    pub settings: Vec<(&'static str, String)>,
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another owner has taken the partition: stop, and forget what is not acknowledged.
    #[error(
        "partition {partition} has another owner: the log stands at {last}, block {attempted} was refused"
    )]
    Fenced {
        /// Which.
        partition: PartitionId,
        /// What was to be written.
        attempted: BlockId,
        /// Where the log stands.
        last: BlockId,
    },
    /// The log ends below what this connection saw confirmed: a replica without the last writes was promoted, or
    /// files of an earlier day were restored. Nothing was written; [`Store::accept`] or a new
    /// [`Store::acquire`] leads on.
    #[error(
        "the log of partition {partition} went back: {confirmed} was confirmed, and now it ends at {}; the store was \
         restored from older files, or a replica without the last writes was promoted",
        top.map_or_else(|| "nothing".to_owned(), |top| top.to_string())
    )]
    WentBack {
        /// Which.
        partition: PartitionId,
        /// The highest id that was confirmed here.
        confirmed: BlockId,
        /// Where the log ends now; `None`: it is not there.
        top: Option<BlockId>,
    },
    /// Not written, and may work later: connection refused, loading, out of memory, read only, disk full.
    #[error("the store cannot write now: {0}")]
    Unavailable(String),
    /// The reply was lost: written or not, nobody knows. Send the same again: the id makes it harmless.
    #[error("the store's reply was lost: {0}")]
    Unknown(String),
    /// What was read is no block, or not the one that was asked for.
    #[error("the store holds something else than was written: {0}")]
    Corrupt(String),
    /// The request can never work: a limit is passed, or the settings forbid it.
    #[error("the store refuses: {0}")]
    Refused(String),
}

impl StoreError {
    /// Whether the same request may work later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unknown(_))
    }
}

/// Where one log stands, as far as that can be told.
pub type Top = Result<Option<BlockId>, StoreError>;

/// What every call of a store gives.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Which blocks to read.
#[derive(Debug, Clone, Copy)]
pub struct BlockRange {
    /// The lowest id.
    pub from: BlockId,
    /// The highest id.
    pub to: BlockId,
    /// From high to low.
    pub reverse: bool,
    /// At most this many blocks.
    pub limit: usize,
}

/// A connection to a store. Each shard has its own.
pub trait Store: Send + Sync {
    /// Takes a partition: writes the mark `(generation + 1)-0`, which refuses all appends of older owners. The
    /// generation is also above all that this connection saw confirmed, if the log has gone back. Where it went back over a
    /// mark, another connection may take the same generation: then the one that took it first is fenced.
    fn acquire(&self, partition: PartitionId) -> StoreFuture<'_, Acquired>;

    /// Writes a block; returns when it is as durable as [`Store::durability`] says. Repeating an append whose
    /// outcome was unknown is harmless: if the log holds this very block under this id, that is success. Where the store
    /// may have changed behind the connection (it came back, another master serves), what was confirmed here is looked
    /// for first: [`StoreError::WentBack`].
    fn append(&self, append: Append) -> StoreFuture<'_, ()>;

    /// The owner knows that the log went back to `top` and mends it: appends above `top` are taken again. It writes again what
    /// it holds, under the same ids and none below `from`, and then acquires the partition anew. Another owner that took it
    /// meanwhile, be it under the same generation, is told as [`StoreError::Fenced`]. Nothing happens in a store that cannot
    /// go back.
    fn accept(&self, _partition: PartitionId, _top: BlockId, _from: BlockId) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// The highest id that each log has ever had, marks of owners included; `None` for a log that is not there. An
    /// owner learns by it that another one has taken over, or that the store has gone back. Each log has an answer of its
    /// own, for one part of a store may be away while the others serve.
    fn tops(&self, partitions: Vec<PartitionId>) -> StoreFuture<'_, Vec<Top>>;

    /// As [`Store::tops`], of one log.
    fn top(&self, partition: PartitionId) -> StoreFuture<'_, Option<BlockId>> {
        Box::pin(async move { self.tops(vec![partition]).await?.pop().unwrap_or(Ok(None)) })
    }

    /// Blocks in order, without the marks of owners.
    fn read(&self, partition: PartitionId, range: BlockRange) -> StoreFuture<'_, Vec<(BlockId, Bytes)>>;

    /// Derived keys of a partition.
    fn get_derived(&self, partition: PartitionId, keys: Vec<Bytes>) -> StoreFuture<'_, Vec<Option<Bytes>>>;

    /// Entries of a derived list, oldest first: at most `limit` of them, from entry `skip` on.
    fn list(
        &self,
        partition: PartitionId,
        list: Bytes,
        skip: usize,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Bytes>>;

    /// How many derived writes this connection has given up, for the store refused them for good: until they are written
    /// again, what they say is found in the log alone.
    fn derived_dropped(&self) -> u64 {
        0
    }

    /// Durable keys that live for ever: definitions, templates. Returns when durable.
    fn put(&self, key: Bytes, value: Bytes) -> StoreFuture<'_, ()>;

    /// Sets a durable key if its value is still `expected` (`None`: absent); `false` if it is not.
    fn compare_and_put(
        &self,
        key: Bytes,
        expected: Option<Bytes>,
        value: Option<Bytes>,
    ) -> StoreFuture<'_, bool>;

    /// A durable key.
    fn get(&self, key: Bytes) -> StoreFuture<'_, Option<Bytes>>;

    /// Durable keys that begin so, in order, after `after`: at most `limit` of them.
    fn scan(&self, prefix: Bytes, after: Option<Bytes>, limit: usize)
    -> StoreFuture<'_, Vec<(Bytes, Bytes)>>;

    /// Raises a durable counter by one and returns its new value.
    fn increment(&self, key: Bytes) -> StoreFuture<'_, u64>;

    /// Whether the store answers, as cheaply as that can be told; writes nothing. Whether the next append will be
    /// confirmed is told by that alone: a disk may be full.
    fn ping(&self) -> StoreFuture<'_, ()>;

    /// Reads the settings that decide what an acknowledgement is worth.
    fn durability(&self) -> StoreFuture<'_, Durability>;
}

/// Opens connections: one for each shard, one for whatever else.
pub trait Connect: Send + Sync {
    /// A new connection.
    fn connect(&self) -> StoreFuture<'_, std::sync::Arc<dyn Store>>;
}
