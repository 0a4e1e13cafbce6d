//! The node: what starts in which order, what ends in which order.
//!
//! Purpose: put shards, ports, store and health together. Invariants: a port is bound before anything runs,
//! so that a port in use is an error of [`Node::start`]; health is NOT_SERVING until every shard serves, and
//! for good from the first moment of a drain; nothing acknowledged depends on an orderly end. What may fail:
//! the start ([`StartError`]); a drain that takes longer than its deadline ([`Drained::Cut`]).
//!
//! Threads: one for each shard, with its data port; one for everything else (public port, metrics port,
//! heartbeats, the gathering of plain starts), so that a slow probe or scrape never holds up an execution.

mod opening;
mod serving;
mod threads;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use journal::store::Connect;
use telemetry::NodeMetrics;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::cluster::{self, Cluster};
use crate::config::{Config, ConfigError};
use crate::definitions::Definitions;
use crate::exports::Exports;
use crate::grpc::health::Health;
use crate::grpc::{NodeContext, Reports, Scope, ask, dispatcher, listener, look_after_shards, queue};
use crate::heartbeat::Link;
use crate::history_export::HistoryError;
use crate::integrations::IntegrationError;
use crate::metrics_push::MetricsPushError;
use crate::objects::{FolderError, Objects};
use crate::owners::Owners;
use crate::secret::ClusterSecret;
use crate::shard::{
    self, Command, CrumbError, Crumbs, Outside, Pace, ShardConfig, ShardContext, ShardHandle,
};
use crate::traces_export::TracesError;
use crate::{heartbeat, metrics_http, store};
use opening::{open_archive, open_integrations};
use serving::{data_port, serve_port};
use threads::{join_threads, spawn_logged};

/// Commands that may wait for a shard. Each is a batch at most; what is beyond waits in its connection.
const SHARD_QUEUE_COMMANDS: usize = 1_024;
/// How long streams may take to end once everything is durable.
const STREAMS_GRACE: Duration = Duration::from_secs(2);

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Accepts every call.
    pub public: SocketAddr,
    /// Batch streams and workers, one for each shard.
    pub data: Vec<SocketAddr>,
    /// `/metrics` and `/healthz`.
    pub metrics: Option<SocketAddr>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port cannot be bound.
    #[error("{setting}: {address} cannot be bound ({source}): is another node running? choose another port")]
    Bind {
        /// The setting that names the port.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The objects folder cannot be used.
    #[error(transparent)]
    Objects(#[from] FolderError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Trust(#[from] trust::TrustError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] CrumbError),
    /// The archive cannot be used.
    #[error(transparent)]
    Archive(#[from] archive::ArchiveError),
    /// The export of histories.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The export of traces.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The push of metrics.
    #[error(transparent)]
    MetricsPush(#[from] MetricsPushError),
    /// Integrations, or what they are configured with.
    #[error(transparent)]
    Integrations(#[from] IntegrationError),
    /// A thread or its runtime cannot be made.
    #[error("a thread of the node cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drained {
    /// Everything is durable, every stream has ended.
    Clean,
    /// The store is not this node's, or does not take it, which was found at the start: nothing was done.
    Refused {
        /// What is wrong, and what to do.
        why: String,
    },
    /// The deadline came first. Nothing acknowledged is lost: the next owner of the partitions takes it from
    /// the store.
    Cut {
        /// What was still going on.
        left: String,
    },
}

/// A running node. Dropping it begins a drain and does not wait for it.
#[derive(Debug)]
pub struct Node {
    addresses: Addresses,
    drain: watch::Sender<bool>,
    serving: watch::Receiver<bool>,
    ended: watch::Receiver<Option<Drained>>,
}

/// Ports that are bound and not served yet.
struct Ports {
    public: TcpListener,
    data: Vec<TcpListener>,
    metrics: Option<TcpListener>,
    addresses: Addresses,
}

impl Node {
    /// Binds the ports, starts the threads and returns; [`Node::serving`] says when the node accepts work.
    /// Blocks for some milliseconds; may be called from inside a runtime and from outside.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start(config: Config, connect: Arc<dyn Connect>) -> Result<Self, StartError> {
        Self::start_at(config, connect, Clock::default())
    }

    /// The same, with a clock of the caller's.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start_at(config: Config, connect: Arc<dyn Connect>, clock: Clock) -> Result<Self, StartError> {
        config.check()?;
        let ports = Ports::bind(&config)?;
        let addresses = ports.addresses.clone();
        let (drain, ended) = (watch::Sender::new(false), watch::Sender::new(None));
        let (asked, outcome) = (drain.clone(), ended.subscribe());
        let (report, started) = std::sync::mpsc::sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("node".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let running = match Running::start(config, connect, clock, ports, asked).await {
                    Ok(running) => running,
                    Err(error) => {
                        // Node::start waits for it.
                        let _ = report.send(Err(error));
                        return;
                    }
                };
                let _ = report.send(Ok(running.context.health.subscribe()));
                let drained = running.until_drained().await;
                ended.send_replace(Some(drained));
            });
        })?;
        let gone = || io::Error::other("it ended before it began");
        let serving = started.recv().map_err(|_| gone())??;
        Ok(Self { addresses, drain, serving, ended: outcome })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether it accepts work, as that changes.
    #[must_use]
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.clone()
    }

    /// Waits until it accepts work; `false` if it ended before.
    pub async fn ready(&self) -> bool {
        let (mut serving, mut ended) = (self.serving.clone(), self.ended.clone());
        tokio::select! {
            serving = serving.wait_for(|serving| *serving) => serving.is_ok(),
            _ = ended.wait_for(Option::is_some) => false,
        }
    }

    /// Begins a drain: NOT_SERVING, no new starts, everything durable, streams ended. Asking again changes
    /// nothing.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Waits until it has ended; a drain that somebody else asked for (the Drain call) ends it too.
    pub async fn wait(&self) -> Drained {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.map(|drained| drained.clone()) {
            Ok(Some(drained)) => drained,
            Ok(None) | Err(_) => Drained::Cut { left: "the node's thread ended by itself".to_owned() },
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.drain.send_replace(true);
    }
}

impl Ports {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |setting, address: SocketAddr| {
            let bound = listener::bind(address).and_then(|port| Ok((port.local_addr()?, port)));
            bound.map_err(|source| StartError::Bind { setting, address, source })
        };
        let (public_address, public) = bind("--listen", config.listen)?;
        let (mut data, mut data_addresses) = (Vec::new(), Vec::new());
        for shard in 0..config.shards {
            let offset = u16::try_from(shard).unwrap_or(u16::MAX);
            let port =
                if config.data_port_base == 0 { 0 } else { config.data_port_base.saturating_add(offset) };
            let (address, port) = bind("--data-port-base", SocketAddr::new(config.listen.ip(), port))?;
            data.push(port);
            data_addresses.push(address);
        }
        let metrics = config.metrics.map(|address| bind("--metrics", address)).transpose()?;
        let (metrics_address, metrics) = metrics.unzip();
        let addresses = Addresses { public: public_address, data: data_addresses, metrics: metrics_address };
        Ok(Self { public, data, metrics, addresses })
    }
}

/// A shard's thread and the end of its data port.
struct ShardThread {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

/// What the node's own thread holds.
struct Running {
    config: Config,
    context: Arc<NodeContext>,
    shards: Vec<ShardThread>,
    /// Sends what shards have told and counted.
    exports: Exports,
    /// Ends servers at once, streams or not.
    abort: watch::Sender<bool>,
    public: tokio::task::JoinHandle<()>,
    drain: watch::Receiver<bool>,
    /// To the scheduler that says which partitions the node has; without one it has those of its configuration.
    link: Option<Arc<Link>>,
}

impl Running {
    /// The order of the start: what answers "not yet" comes first, what accepts work comes last.
    async fn start(
        config: Config,
        connect: Arc<dyn Connect>,
        clock: Clock,
        ports: Ports,
        drain: watch::Sender<bool>,
    ) -> Result<Self, StartError> {
        let metrics = NodeMetrics::new(env!("CARGO_PKG_VERSION"), config.shards as usize);
        let cluster = Arc::new(Cluster::open(&config, clock.clone())?);
        let health = Health::new(metrics.clone(), cluster.wrong()).await;
        tokio::spawn(health.clone().follow_store());
        let (starts, waiting) = queue();
        let context = Arc::new(NodeContext {
            node_id: config.node_id.clone(),
            instance: cluster::draw_number(),
            partitions: config.partitions,
            cluster,
            definitions: Arc::new(Definitions::default()),
            clock,
            trust: config.tls.trust()?,
            secret: Arc::new(ClusterSecret::new(config.cluster_secret_file.clone())?),
            health: health.clone(),
            owners: Arc::new(Owners::new(config.partitions)),
            reports: Reports::default(),
            shards: OnceLock::new(),
            store: OnceLock::new(),
            starts,
            refused: watch::Sender::new(None),
            drain: drain.clone(),
            closing: watch::Sender::new(false),
            workers: AtomicU64::new(0),
            metrics: metrics.clone(),
            polls: metrics.activity_polls(),
            poll_wait: config.poll_wait,
        });
        let abort = watch::Sender::new(false);
        let connect = store::joined(connect, &context.cluster, &context.secret, config.store.describe());
        if let Some(port) = ports.metrics {
            spawn_logged("the metrics port", metrics_http::serve(port, health.clone()));
        }
        let public =
            serve_port(&context, Scope::Node, ports.public, config.connections_max, abort.subscribe())?;
        let public = tokio::spawn(public);
        tokio::spawn(store::reach(Arc::clone(&context), Arc::clone(&connect), metrics.clone()));
        let (exports, outside) = Exports::start(&config, &metrics, &context.clock)?;
        let parts = (ports.data, outside);
        let (handles, shards) = start_shards(&config, &context, &connect, &metrics, parts, &abort)?;
        keep_fresh(&context, &metrics);
        let states = handles.iter().map(|handle| handle.state.clone()).collect();
        // Nobody else sets it.
        let _ = context.shards.set(handles);
        tokio::spawn(dispatcher(Arc::clone(&context), waiting));
        tokio::spawn(async move { health.follow(states).await });
        tokio::spawn(look_after_shards(Arc::clone(&context)));
        let scheduler = config.scheduler.clone().and_then(heartbeat::endpoint);
        let link = scheduler.map(|scheduler| {
            let (link, public_address) = (Arc::<Link>::default(), config.advertised(ports.addresses.public));
            tokio::spawn(heartbeat::report(
                Arc::clone(&context),
                scheduler,
                public_address,
                Arc::clone(&link),
            ));
            link
        });
        announce(&config, &ports.addresses);
        Ok(Self { config, context, shards, exports, abort, public, drain: drain.subscribe(), link })
    }

    /// Until somebody asks for a drain, and then until that is done.
    async fn until_drained(mut self) -> Drained {
        let mut refused = self.context.refused.subscribe();
        tokio::select! {
            // An error means that the Node was dropped, which asks for a drain as well.
            _ = self.drain.wait_for(|drain| *drain) => {}
            Ok(Some(why)) = async { refused.wait_for(Option::is_some).await.map(|why| why.clone()) } => {
                self.abort.send_replace(true);
                return Drained::Refused { why };
            }
        }
        let deadline = Instant::now() + self.config.drain_deadline;
        tracing::info!(deadline = ?self.config.drain_deadline, "drain begins");
        let drained = match tokio::time::timeout_at(deadline, self.drain()).await {
            Ok(Ok(())) => Drained::Clean,
            Ok(Err(error)) => Drained::Cut { left: error.to_string() },
            Err(_) => Drained::Cut { left: self.left().await },
        };
        self.abort.send_replace(true);
        self.exports.end(deadline).await;
        match &drained {
            Drained::Clean | Drained::Refused { .. } => {
                tracing::info!("drained: everything acknowledged is durable");
            }
            Drained::Cut { left } => tracing::error!(
                left,
                "the drain was cut short; nothing acknowledged is lost: it is recovered from the store"
            ),
        }
        drained
    }

    /// The order of the end: first nobody sends work here, then the scheduler moves the partitions elsewhere, then no
    /// work is taken, then all of it is durable, then everybody is told, then the threads end.
    async fn drain(&mut self) -> Result<(), crate::error::Error> {
        self.context.health.latch().await;
        tokio::time::sleep(self.config.drain_notice).await;
        if let Some(link) = &self.link {
            link.hand_over(&self.context.owners, self.config.drain_deadline / 2).await;
        }
        let shards = self.context.shards()?;
        try_join_all(shards.iter().map(|shard| ask(shard, |reply| Command::Drain { reply }))).await?;
        if let Some(link) = &self.link {
            link.give_back(&self.context.owners, shards).await;
        }
        self.context.closing.send_replace(true);
        let servers = join_all(self.shards.iter_mut().map(|shard| &mut shard.ended));
        let ended = async { (servers.await, (&mut self.public).await) };
        if tokio::time::timeout(STREAMS_GRACE, ended).await.is_err() {
            tracing::warn!("some clients did not end their streams; they are cut");
        }
        self.abort.send_replace(true);
        let threads = std::mem::take(&mut self.shards).into_iter().map(|shard| shard.thread);
        join_threads(threads.collect()).await;
        Ok(())
    }

    /// What is still open, for the log line that nobody wants to read.
    async fn left(&self) -> String {
        let report =
            tokio::time::timeout(Duration::from_millis(200), crate::grpc::report_shards(&self.context));
        match report.await {
            Ok(Ok(shards)) => {
                let open: u64 = shards.iter().map(|shard| shard.open_executions).sum();
                format!("{open} executions are open")
            }
            Ok(Err(_)) | Err(_) => "the shards did not answer in time".to_owned(),
        }
    }
}

/// Follows the files that may be replaced while the node runs, and tells the metrics what is in force.
fn keep_fresh(context: &Arc<NodeContext>, metrics: &NodeMetrics) {
    if let Some(trust) = context.trust.clone() {
        metrics.add_reload("certificates", trust.failing());
        tokio::spawn(trust.keep_fresh());
    }
    if let Some(failing) = context.secret.failing() {
        metrics.add_reload("secret", failing);
    }
    let (fresh, told, metrics) = (Arc::clone(context), context.secret.clone(), metrics.clone());
    tokio::spawn(async move { fresh.secret.keep_fresh().await });
    tokio::spawn(async move { told.follow(|ids| metrics.set_secret_keys(ids)).await });
}

/// One thread for each shard, each with its data port and its ends of what is exported.
fn start_shards(
    config: &Config,
    context: &Arc<NodeContext>,
    connect: &Arc<dyn Connect>,
    metrics: &NodeMetrics,
    (ports, outside): (Vec<TcpListener>, Vec<Outside>),
    abort: &watch::Sender<bool>,
) -> Result<(Vec<ShardHandle>, Vec<ShardThread>), StartError> {
    let (mut handles, mut threads) = (Vec::new(), Vec::new());
    let crumbs = Crumbs::open(config.state_dir.as_deref(), config.shards)?;
    let archiver = open_archive(config, connect)?;
    let objects = config.objects_dir.as_deref().map(Objects::open).transpose()?.map(Arc::new);
    let integrations = open_integrations(config, context, metrics)?;
    for ((index, port), outside) in (0..config.shards).zip(ports).zip(outside) {
        let shard_config = ShardConfig {
            index,
            shards: config.shards,
            partitions: config.scheduler.is_none().then(|| config.partitions_of(index)),
            partition_count: config.partitions,
            data_address: config.advertised(port.local_addr()?),
            queue_commands: SHARD_QUEUE_COMMANDS,
            open_max: config.max_open / u64::from(config.shards),
            bytes_max: config.max_bytes / u64::from(config.shards),
            retention: config.retention,
            bindings: config.bindings.clone().into(),
            pace: Pace::default(),
        };
        let shared = ShardContext {
            connect: Arc::clone(connect),
            integrations: Arc::clone(&integrations),
            objects: objects.clone(),
            archiver: archiver.clone(),
            outside,
            cluster: Arc::clone(&context.cluster),
            secret: Arc::clone(&context.secret),
            definitions: Arc::clone(&context.definitions),
            owners: Arc::clone(&context.owners),
            metrics: metrics.shard(index as usize).unwrap_or_default(),
            clock: context.clock.clone(),
            crumbs: Arc::clone(&crumbs),
        };
        let (serve, ended) = data_port(context, index, port, config.connections_max, abort.subscribe());
        let (handle, thread) = shard::spawn(shard_config, shared, serve)?;
        handles.push(handle);
        threads.push(ShardThread { thread, ended });
    }
    Ok((handles, threads))
}

/// One line that says what this node is.
fn announce(config: &Config, addresses: &Addresses) {
    let data: Vec<String> = addresses.data.iter().map(ToString::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node_id,
        listen = %addresses.public,
        data = data.join(","),
        metrics = addresses.metrics.map_or_else(|| "none".to_owned(), |address| address.to_string()),
        shards = config.shards,
        partitions = config.partitions,
        store = config.store.describe(),
        retention = ?config.retention,
        "node started; it serves once its shards have recovered"
    );
}
