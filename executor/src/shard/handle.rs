//! How the node holds a shard: what it is configured with, how it is reached, how it says how it fares.
//!
//! A shard's thread runs until the future that the node gave it has ended (see [`Serve`]). Ending it without a
//! [`Command::Drain`] before is as harmless as a crash: nothing acknowledged is lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ids::PartitionId;
use tokio::sync::{mpsc, watch};

use super::Command;
use crate::limits;

/// What a shard is configured with. Limits are the shard's own share of the node's.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// From 0.
    pub index: u32,
    /// Shards of this node.
    pub shards: u32,
    /// The partitions that this shard has from the beginning, ascending; `None`: it has what [`Command::Assign`] says.
    pub partitions: Option<Vec<PartitionId>>,
    /// Partitions of the whole cluster.
    pub partition_count: u16,
    /// `host:port` of the shard's data port, for [`Command::Report`].
    pub data_address: String,
    /// Commands that may wait in the queue.
    pub queue_commands: usize,
    /// Executions that may be open at once.
    pub open_max: u64,
    /// Bytes of input that open executions may hold.
    pub bytes_max: u64,
    /// How long a closed execution is kept, from its close.
    pub retention: Duration,
    /// Function names to worker pools, in the order of the configuration: the first match wins.
    pub bindings: Arc<[Binding]>,
    /// How much its logs gather.
    pub pace: Pace,
}

/// How much a log gathers before its owner sees to it. Tests see to it sooner; all owners of a log have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// See [`limits::CHECKPOINT_BLOCKS`].
    pub checkpoint_blocks: usize,
    /// See [`limits::LOST_BLOCKS_MAX`].
    pub lost_blocks: u64,
    /// See [`limits::CARRIED_RECORDS_PER_BLOCK`].
    pub carried_records: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            checkpoint_blocks: limits::CHECKPOINT_BLOCKS,
            lost_blocks: limits::LOST_BLOCKS_MAX,
            carried_records: limits::CARRIED_RECORDS_PER_BLOCK,
        }
    }
}

/// Sends tasks whose function name matches a pattern to a worker pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// A function name, Lambda ARN or SCF QRN; `*` stands for any text.
    pub pattern: String,
    /// The pool that workers name in their hello.
    pub pool: String,
}

/// How a shard fares, for health and refusals: the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShardState {
    /// Accepts and acknowledges.
    Serving,
    /// Refuses starts, ends what ends soon.
    Draining,
    /// Reads the logs of its first partitions. One whose part of the store does not answer holds up no other once it was
    /// tried, and what is assigned later is recovered beside what the shard serves: [`Command::Report`] tells how far each
    /// partition is.
    Recovering,
    /// Nobody has said yet which partitions it shall have.
    Unassigned,
    /// Has not reached its store yet.
    Connecting,
    /// The store does not answer: nothing is acknowledged, starts are refused, what is open goes on.
    StoreDown,
    /// Stopped for good (fenced from every partition, or a bug): the log says why.
    Failed,
}

/// Reaches a shard from any thread.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    /// From 0.
    pub index: u32,
    /// Its bounded queue.
    pub sender: mpsc::Sender<Command>,
    /// How it fares; changes wake those who wait.
    pub state: watch::Receiver<ShardState>,
}

/// What the node runs on the shard's own runtime beside the actor: the data port's server. Begun before recovery, so
/// that the port answers (with refusals) while the shard recovers. When the future ends, the shard's thread ends.
pub type Serve = Box<dyn FnOnce(ShardHandle) -> Pin<Box<dyn Future<Output = ()>>> + Send>;
