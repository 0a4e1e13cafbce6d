//! The scheduler as a whole: start order and shutdown order as one readable function each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use executor::clock::Clock;
use executor::grpc::listener;
use executor::secret::ClusterSecret;
use front::Front;
use futures_util::Stream;
use journal::Store;
use proto::scheduler::v1::activities_server::ActivitiesServer;
use proto::scheduler::v1::cluster_server::ClusterServer;
use proto::scheduler::v1::executions_server::ExecutionsServer;
use proto::scheduler::v1::nodes_server::NodesServer;
use proto::scheduler::v1::templates_server::TemplatesServer;
use telemetry::SchedulerMetrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use trust::{RightsLayer, Trust};

use crate::activities::{Activities, POLL_WAIT, Polls};
use crate::cluster::Cluster;
use crate::directory::Directory;
use crate::dispatch::{Dispatcher, MESSAGE_BYTES_MAX, NodeClients, START_DEADLINE};
use crate::doors::{self, Doors, Gate, HttpConfig, KnownRuns};
use crate::error::Error;
use crate::executions::Executions;
use crate::forward::Forward;
use crate::grpc::{ActivitiesService, ClusterService, ExecutionsService, NodesService, TemplatesService};
use crate::metrics::Port;
use crate::names::Naming;
use crate::ownership::Ownership;
use crate::readiness::Readiness;
use crate::rights;
use crate::templates::Templates;

/// As metrics say it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Connections that are open at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// How often a store that does not answer yet is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long a shutdown waits for streams to end.
const GRACE: Duration = Duration::from_secs(3);

/// What a scheduler is configured with.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Where it listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Nodes by name: `host:port` or URL of their public ports. Others report themselves.
    pub nodes: Vec<String>,
    /// Nodes that report before partitions without an owner are given out; 0: whoever reports in a while.
    pub expected_nodes: usize,
    /// Region and account of ARNs and QRNs.
    pub naming: Naming,
    /// Our certificate, and who may speak to us; plain text without.
    pub trust: Option<Trust>,
    /// Keys that seal the tokens of pages; without them one is kept in the store.
    pub secret_file: Option<PathBuf>,
    /// The public HTTP door, if there is to be one.
    pub http: Option<HttpConfig>,
    /// Where `/metrics`, `/healthz` and `/livez` are served; nowhere if absent.
    pub metrics: Option<SocketAddr>,
    /// How long a call waits for a task of an activity; for programs and tests alone to change.
    pub poll_wait: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 7300));
        Self {
            listen,
            nodes: Vec::new(),
            expected_nodes: 0,
            naming: Naming::default(),
            trust: None,
            secret_file: None,
            http: None,
            metrics: None,
            poll_wait: POLL_WAIT,
        }
    }
}

/// A running scheduler.
pub struct Scheduler {
    address: SocketAddr,
    directory: Arc<Directory>,
    ownership: Arc<Ownership>,
    dispatcher: Dispatcher,
    gate: Gate,
    /// The front door, and its URL.
    front: Option<(Front, String)>,
    /// Where `/metrics` is.
    metrics: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Scheduler {
    /// Starts everything, in the order in which it is needed; answers calls when it returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when an address is taken, [`Error::Invalid`] when a node's address is none or the secret's file
    /// cannot be used, [`Error::Store`].
    pub async fn start(config: SchedulerConfig, store: Arc<dyn Store>) -> Result<Self, Error> {
        let clock = Clock::System;
        let taken = |error: std::io::Error| {
            let listen = config.listen;
            Error::unavailable(format!("cannot listen on {listen}: {error}; choose another with --listen"))
        };
        let listener = listener::bind(config.listen).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let connections =
            listener::incoming(listener, CONNECTIONS_MAX, config.trust.clone()).map_err(taken)?;
        let (port, metrics) = (config.metrics.map(Port::bind).transpose()?, SchedulerMetrics::new(VERSION));
        let directory = Arc::new(Directory::new(clock.clone()));
        let clients = NodeClients::new(config.trust.clone());
        let dispatcher = Dispatcher::new(Arc::clone(&directory), clients.clone(), clock.clone());
        let ownership =
            Arc::new(Ownership::new(Arc::clone(&directory), clock.clone(), config.expected_nodes));
        let cluster = Arc::new(Cluster::new(
            Arc::clone(&directory),
            clients.clone(),
            dispatcher.clone(),
            Arc::clone(&ownership),
            Arc::clone(&store),
        ));
        let (mut tasks, (stop, stopped)) = (JoinSet::new(), watch::channel(false));
        let readiness = Readiness::new(&directory, &ownership, &store);
        let at = port.map(|port| open_metrics(&mut tasks, &stopped, port, &metrics, readiness));
        let secret = secret(config.secret_file, &*store).await?;
        let polls = Polls::new(Arc::clone(&directory), clients.clone(), config.poll_wait);
        let activities = activities(config.naming.clone(), &clock, &store, &secret);
        let naming = config.naming.clone();
        let templates = Arc::new(Templates::new(store, clock.clone(), naming, Arc::clone(&secret)));
        for node in config.nodes {
            clients.client(&node)?;
            let (cluster, stopped) = (Arc::clone(&cluster), stopped.clone());
            tasks.spawn(async move { until(stopped, cluster.follow(&node)).await });
        }
        watch_nodes(&mut tasks, &stopped, &cluster, &ownership);
        let forward = Forward::new(Arc::clone(&directory), clients.clone(), Arc::clone(&secret));
        let executions = Executions {
            templates: Arc::clone(&templates),
            dispatcher: dispatcher.clone(),
            forward,
            clients,
        };
        let doors = Doors {
            executions,
            templates,
            activities,
            polls,
            naming: config.naming,
            clock,
            map_runs: KnownRuns::default(),
            start_patience: START_DEADLINE,
            main: Handle::current(),
        };
        let status = ClusterService {
            directory: Arc::clone(&directory),
            ownership: Arc::clone(&ownership),
            cluster: Arc::clone(&cluster),
        };
        let nodes = NodesService { cluster, stopped: stopped.clone() };
        let grpc = grpc(&doors, (status, nodes), config.trust.is_some(), connections, stopped.clone()).await;
        let gate = Gate::new(doors);
        let open = |http| open_front(&mut tasks, &stopped, http, &gate, config.trust.as_ref(), &metrics);
        let front = config.http.map(open).transpose()?;
        keep_fresh(&mut tasks, &stopped, config.trust, secret, &metrics);
        tasks.spawn(grpc);
        tracing::info!(%address, "scheduler serves");
        Ok(Self { address, directory, ownership, dispatcher, gate, front, metrics: at, stop, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which nodes it knows.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Who shall have which partition.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// The URL of the front door, if there is one.
    #[must_use]
    pub fn http_url(&self) -> Option<&str> {
        self.front.as_ref().map(|(_, url)| url.as_str())
    }

    /// Where `/metrics` is served, if it is.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// What answers the calls of the public HTTP API.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Stops in the order that loses nothing: no new calls, then the links once what is under way is settled.
    pub async fn shut_down(mut self) {
        if let Some((front, _)) = self.front.take() {
            front.shut_down().await;
        }
        // The receivers may be gone already.
        let _ = self.stop.send(true);
        self.dispatcher.shut_down();
        let ended = tokio::time::timeout(GRACE, async { while self.tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::debug!("streams were still open after {GRACE:?}: cut");
            self.tasks.abort_all();
        }
    }
}

/// The services, until they are told to stop.
async fn grpc<S, C>(
    doors: &Doors,
    (status, nodes): (ClusterService, NodesService),
    knows_peers: bool,
    connections: C,
    stopped: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<S, C>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    C: Stream<Item = std::io::Result<S>> + Send + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ExecutionsServer<ExecutionsService>>().await;
    health.set_serving::<TemplatesServer<TemplatesService>>().await;
    let activities =
        ActivitiesService { activities: Arc::clone(&doors.activities), polls: doors.polls.clone() };
    let router = transport()
        .layer(RightsLayer { rights: rights::may_call, knows_peers })
        .add_service(health_service)
        .add_service(limited(TemplatesServer::new(TemplatesService(Arc::clone(&doors.templates)))))
        .add_service(sized(ExecutionsServer::new(ExecutionsService(doors.executions.clone()))))
        .add_service(ActivitiesServer::new(activities))
        .add_service(ClusterServer::new(status))
        .add_service(NodesServer::new(nodes));
    async move {
        if let Err(error) = router.serve_with_incoming_shutdown(connections, wait(stopped)).await {
            tracing::error!("the gRPC server ended: {error}");
        }
    }
}

/// Opens the public HTTP door; how clients write where it is comes with it.
fn open_front(
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
    config: HttpConfig,
    gate: &Gate,
    trust: Option<&Trust>,
    metrics: &SchedulerMetrics,
) -> Result<(Front, String), Error> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let (front, beside) = doors::open(config, gate.clone(), trust, metrics)?;
    tasks.spawn(until(stopped.clone(), beside));
    let url = format!("{scheme}://{}", front.address());
    tracing::info!(%url, "the front door is open");
    Ok((front, url))
}

/// Serves `/metrics` and what stands beside it; where, comes with it. Before the cluster's secret is
/// waited for in the store, so that this can be said.
fn open_metrics(
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
    port: Port,
    metrics: &SchedulerMetrics,
    readiness: Readiness,
) -> SocketAddr {
    let address = port.address();
    tasks.spawn(until(stopped.clone(), port.serve(metrics.clone(), readiness)));
    address
}

/// Activities in the store.
fn activities(
    naming: Naming,
    clock: &Clock,
    store: &Arc<dyn Store>,
    secret: &Arc<ClusterSecret>,
) -> Arc<Activities> {
    Arc::new(Activities::new(Arc::clone(store), clock.clone(), naming, Arc::clone(secret)))
}

/// How connections are spoken on.
fn transport() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_concurrent_streams(1_024)
        .http2_max_header_list_size(16 << 10)
}

/// From the operator's file, or from the store, which is waited for: it can be reached before it answers, as a cluster whose
/// masters have just come back.
async fn secret(file: Option<PathBuf>, store: &dyn Store) -> Result<Arc<ClusterSecret>, Error> {
    let secret = ClusterSecret::new(file);
    let secret =
        secret.map_err(|error| Error::invalid("InvalidSecret", format!("--cluster-secret-file: {error}")))?;
    let mut said = false;
    loop {
        match secret.of_store(store).await {
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, "the store does not answer yet: nothing is served until it does");
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            decided => {
                decided?;
                return Ok(Arc::new(secret));
            }
        }
    }
}

/// Looks at the clock for nodes that say nothing any more.
fn watch_nodes(
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
    cluster: &Arc<Cluster>,
    ownership: &Arc<Ownership>,
) {
    let (cluster, stopping) = (Arc::clone(cluster), stopped.clone());
    tasks.spawn(async move { until(stopping, cluster.watch_silence()).await });
    let (ownership, stopping) = (Arc::clone(ownership), stopped.clone());
    tasks.spawn(async move { until(stopping, ownership.watch()).await });
}

fn sized(service: ExecutionsServer<ExecutionsService>) -> ExecutionsServer<ExecutionsService> {
    service.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn limited(service: TemplatesServer<TemplatesService>) -> TemplatesServer<TemplatesService> {
    service.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the scheduler itself is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Reads certificates and keys again when their files change.
fn keep_fresh(
    tasks: &mut JoinSet<()>,
    stopped: &watch::Receiver<bool>,
    trust: Option<Trust>,
    secret: Arc<ClusterSecret>,
    metrics: &SchedulerMetrics,
) {
    if let Some(failing) = secret.failing() {
        metrics.add_reload("secret", failing);
    }
    if let Some(trust) = trust {
        metrics.add_reload("certificates", trust.failing());
        let stopped = stopped.clone();
        tasks.spawn(async move { until(stopped, trust.keep_fresh()).await });
    }
    tasks.spawn(until(stopped.clone(), async move { secret.keep_fresh().await }));
}

async fn until(stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = wait(stopped) => {}
        () = work => {}
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use journal::memory::MemoryStore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_yet_is_asked_again_until_it_does() {
        let store = MemoryStore::new();
        store.set_unavailable(Some("CLUSTERDOWN"));
        let mut secret = Box::pin(secret(None, &store));
        for _ in 0..5 {
            assert!((&mut secret).now_or_never().is_none());
            tokio::time::advance(STORE_PAUSE).await;
        }
        store.set_unavailable(None);
        assert!(secret.await.expect("the store answers").get().is_ok());
    }
}
