//! The gRPC surface: one implementation of every call, served on the public port and on each shard's data
//! port.
//!
//! Purpose: turn messages into [`crate::shard::Command`]s for the shard that they concern, and answers into
//! messages. Invariants: nothing here holds an execution's state; every stream and queue has a bound, and a
//! slow reader slows its own sender only; every stream ends when the node closes; every failure becomes a
//! status by the one table in [`status`]. What may fail: requests, with such a status.
//!
//! Rooms: `service` (which call goes where), `starts` (batch streams), `dispatch` (plain starts gathered into
//! batches),
//! `measure` (how many calls, and how they ended), `rights` (who may call what), `plain` (calls that are answered once), `callbacks` (how tasks went, by their tokens), `reports` (what shards say of themselves), `listing` (pages merged over shards), `watch` (completions),
//! `work` (workers), `activities` (workers of activities), [`health`], `listener` (connections), [`status`].

mod activities;
mod callbacks;
mod dispatch;
pub mod health;
pub mod listener;
mod listing;
mod measure;
mod plain;
mod reports;
mod rights;
mod service;
mod starts;
pub mod status;
mod watch;
mod work;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ids::PartitionId;
use journal::{Durability, Store};
use proto::executor::v1::executor_server::ExecutorServer;
use proto::executor::v1::worker_server::WorkerServer;
use telemetry::{GrpcMetrics, NodeMetrics};
use tokio::sync::{mpsc, oneshot, watch as signal};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};
use trust::{RightsLayer, Trust};

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::definitions::Definitions;
use crate::error::Error;
use crate::owners::Owners;
use crate::secret::ClusterSecret;
use crate::shard::{Command, Reply, ShardHandle, WorkerId};
use health::Health;
use measure::MeasureLayer;

pub use activities::check_peer as check_activity_worker;
pub(crate) use dispatch::{dispatcher, queue};
pub(crate) use reports::{Reports, look_after_shards, report_shards};

/// Bytes of a message that the transport takes: a little above the 4 MiB that are promised, so that what is
/// slightly too large is refused by the limit that names it and not by the transport.
const MESSAGE_BYTES_MAX: usize = (4 << 20) + (64 << 10);
/// Streams of one connection.
const STREAMS_MAX: u32 = 1_024;
/// Bytes of a request's headers.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Bytes in flight towards us on one stream and on one connection: a few batches, so that senders need not
/// wait.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A peer that is silent this long is asked, and closed after as long again.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Streams that a peer may open and reset at once before it is thrown out (the rapid-reset attack).
const RESETS_MAX: usize = 64;
/// When to come back while the node starts.
const STARTING_RETRY: Duration = Duration::from_millis(200);

/// What all ports of a node share.
pub struct NodeContext {
    /// What the node calls itself.
    pub node_id: String,
    /// Tells this process from every other, whatever they call themselves.
    pub instance: u64,
    /// Partitions of the whole cluster.
    pub partitions: u16,
    /// Whose store it has to be.
    pub cluster: Arc<Cluster>,
    /// Programs by hash.
    pub definitions: Arc<Definitions>,
    /// Where time comes from.
    pub clock: Clock,
    /// Our certificate, and who may speak to us; plain text without.
    pub trust: Option<Trust>,
    /// Seals what goes out and comes back.
    pub secret: Arc<ClusterSecret>,
    /// What its ports count.
    pub metrics: NodeMetrics,
    /// SERVING or not.
    pub health: Health,
    /// Which shard has which partition.
    pub owners: Arc<Owners>,
    /// What shards said of themselves last.
    pub(crate) reports: Reports,
    /// Set once all shards have their threads.
    pub(crate) shards: OnceLock<Vec<ShardHandle>>,
    /// Set once the node's own connection to the store stands.
    pub(crate) store: OnceLock<NodeStore>,
    /// Plain starts, towards the dispatcher.
    pub(crate) starts: mpsc::Sender<dispatch::Start>,
    /// Why the store will never take the node.
    pub(crate) refused: signal::Sender<Option<String>>,
    /// Asks the node to drain.
    pub(crate) drain: signal::Sender<bool>,
    /// True once streams have to end.
    pub(crate) closing: signal::Sender<bool>,
    /// The last worker stream's number.
    pub(crate) workers: AtomicU64,
    /// Calls that wait for tasks of activities.
    pub(crate) polls: Arc<AtomicU64>,
    /// How long such a call waits.
    pub(crate) poll_wait: Duration,
}

/// The node's own connection to the store, and what it promises.
pub(crate) struct NodeStore {
    pub store: Arc<dyn Store>,
    pub durability: signal::Receiver<Durability>,
}

impl NodeContext {
    /// Every shard of this node.
    pub(crate) fn shards(&self) -> Result<&[ShardHandle], Error> {
        self.shards.get().map(Vec::as_slice).ok_or(Error::Starting { retry_after: STARTING_RETRY })
    }

    /// The shard that has a partition.
    fn owner(&self, partition: PartitionId) -> Result<&ShardHandle, Error> {
        let (shards, owner) = (self.shards()?, self.owners.of(partition));
        let shard = owner.and_then(|index| shards.get(index as usize));
        shard.ok_or(Error::NotOwner { partition: partition.get() })
    }

    fn store(&self) -> Result<&NodeStore, Error> {
        if self.cluster.is_foreign() {
            let message =
                "the store is not the one of this node's cluster: nothing is written to it".to_owned();
            return Err(Error::NotDurable { message, retry_after: STARTING_RETRY });
        }
        self.store.get().ok_or(Error::Starting { retry_after: STARTING_RETRY })
    }

    /// Ends when streams have to end.
    fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closing = self.closing.subscribe();
        async move {
            // An error means that the node is gone, which closes streams as well.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    fn next_worker(&self) -> WorkerId {
        self.workers.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Asks a shard something that it answers once.
pub(crate) async fn ask<T>(
    shard: &ShardHandle,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, Error> {
    let (reply, answer) = oneshot::channel();
    shard.sender.send(command(reply)).await.map_err(|_| Error::ShardGone)?;
    answer.await.map_err(|_| Error::ShardGone)?
}

/// Which shards a port stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The public port: all of them, by forwarding.
    Node,
    /// A data port: its own for streams; plain calls are forwarded as everywhere.
    Shard(u32),
}

/// Serves every call on one port.
#[derive(Clone)]
pub struct Surface {
    node: Arc<NodeContext>,
    scope: Scope,
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surface").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Surface {
    pub(crate) fn new(node: Arc<NodeContext>, scope: Scope) -> Self {
        Self { node, scope }
    }

    /// What this port counts.
    fn counted(&self) -> Arc<GrpcMetrics> {
        let metrics = &self.node.metrics;
        match self.scope {
            Scope::Node => metrics.grpc(),
            Scope::Shard(index) => {
                metrics.shard(index as usize).map(|shard| Arc::clone(&shard.grpc)).unwrap_or_default()
            }
        }
    }

    /// The shards whose streams this port serves.
    fn streamed(&self) -> Result<&[ShardHandle], Error> {
        let shards = self.node.shards()?;
        match self.scope {
            Scope::Node => Ok(shards),
            Scope::Shard(index) => {
                let at = shards.iter().position(|shard| shard.index == index).ok_or(Error::ShardGone)?;
                Ok(&shards[at..=at])
            }
        }
    }
}

/// A server with every service, to be given its connections.
pub(crate) fn router(surface: Surface) -> Router<Stack<RightsLayer, Stack<MeasureLayer, Identity>>> {
    let health = surface.node.health.service(surface.node.closing.subscribe());
    let knows_peers = surface.node.trust.is_some();
    let measure = MeasureLayer { metrics: surface.counted(), clock: surface.node.clock.clone() };
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .layer(measure)
        .layer(RightsLayer { rights: rights::may_call, knows_peers })
        .add_service(health)
        .add_service(ExecutorServer::new(surface.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(WorkerServer::new(surface).max_decoding_message_size(MESSAGE_BYTES_MAX))
}
