//! The smallest scheduler: hears what nodes have, and tells each what the test wants it to have.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt};
use proto::executor::v1::owned_partition::State;
use proto::scheduler::v1::nodes_server::{Nodes, NodesServer};
use proto::scheduler::v1::{Assignment, NodeDirective, NodeReport, ShardAssignment};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::PATIENCE;
use super::node::{PARTITIONS, SHARDS};

/// Between two reports of a node.
const INTERVAL_MS: u32 = 100;

#[derive(Default)]
struct Known {
    /// What each node shall have; a node that is not here is told nothing.
    wanted: BTreeMap<String, Vec<u32>>,
    reports: BTreeMap<String, NodeReport>,
}

/// See the module.
#[derive(Clone)]
pub struct Scheduler {
    known: Arc<Mutex<Known>>,
    heard: watch::Sender<u64>,
    ended: watch::Sender<bool>,
    url: String,
}

impl Scheduler {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (heard, ended) = (watch::Sender::new(0), watch::Sender::new(false));
        let scheduler = Self { known: Arc::default(), heard, ended, url };
        let server = tonic::transport::Server::builder().add_service(NodesServer::new(scheduler.clone()));
        let server = server.serve_with_incoming(TcpListenerStream::new(listener));
        let mut ended = scheduler.ended.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                served = server => served.expect("the port can be served"),
                _ = ended.wait_for(|ended| *ended) => {}
            }
        });
        scheduler
    }

    /// As a kill: its port is closed, its streams break.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Flags of a node that has what this scheduler says.
    pub fn flags<'a>(&'a self, node: &'a str) -> [&'a str; 4] {
        ["--scheduler", &self.url, "--node-id", node]
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the node shall have these.
    pub fn assign(&self, node: &str, partitions: impl IntoIterator<Item = u32>) {
        self.known().wanted.insert(node.to_owned(), partitions.into_iter().collect());
    }

    /// From now on the node is told nothing.
    pub fn forget(&self, node: &str) {
        let mut known = self.known();
        known.wanted.remove(node);
        known.reports.remove(node);
    }

    /// Gives a node everything, and waits until it serves all of it.
    pub async fn give_all(&self, node: &str) {
        self.assign(node, 0..PARTITIONS);
        self.until(node, |report| served(report) == PARTITIONS as usize).await;
    }

    /// Waits for such a report of a node.
    pub async fn until(&self, node: &str, wanted: impl Fn(&NodeReport) -> bool) {
        let mut heard = self.heard.subscribe();
        let such = heard.wait_for(|_| self.known().reports.get(node).is_some_and(&wanted));
        let came = tokio::time::timeout(PATIENCE, such).await;
        assert!(came.is_ok(), "{node} does not report it: {:?}", self.known().reports.get(node));
    }

    fn directive(&self, report: NodeReport) -> NodeDirective {
        let mut known = self.known();
        // Whoever goes shall have nothing.
        let wanted = known.wanted.get(&report.node_id).cloned();
        let wanted = wanted.map(|wanted| if report.draining { Vec::new() } else { wanted });
        known.reports.insert(report.node_id.clone(), report);
        let assignment = wanted.map(|wanted| Assignment {
            scheduler_incarnation: 1,
            shards: (0..u32::from(SHARDS))
                .map(|index| ShardAssignment {
                    index,
                    partitions: wanted
                        .iter()
                        .copied()
                        .filter(|partition| partition % u32::from(SHARDS) == index)
                        .collect(),
                })
                .collect(),
        });
        NodeDirective { heartbeat_interval_ms: INTERVAL_MS, known: true, assignment, ..Default::default() }
    }
}

/// Partitions that a node serves.
pub fn served(report: &NodeReport) -> usize {
    let owned = report.shards.iter().flat_map(|shard| &shard.owned);
    owned.filter(|owned| owned.state() == State::Serving).count()
}

/// Partitions that a node has, in whatever state.
pub fn owned(report: &NodeReport) -> usize {
    report.shards.iter().map(|shard| shard.owned.len()).sum()
}

#[tonic::async_trait]
impl Nodes for Scheduler {
    type HeartbeatStream = Pin<Box<dyn Stream<Item = Result<NodeDirective, Status>> + Send>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let scheduler = self.clone();
        let directives = request.into_inner().map(move |report| {
            let directive = scheduler.directive(report?);
            scheduler.heard.send_modify(|heard| *heard += 1);
            Ok(directive)
        });
        let mut ended = self.ended.subscribe();
        let end = async move {
            let _ = ended.wait_for(|ended| *ended).await;
        };
        Ok(Response::new(Box::pin(directives.take_until(Box::pin(end)))))
    }
}
