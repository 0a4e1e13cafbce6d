//! How nodes become known: by asking those that the operator named, and by listening to those that report.
//!
//! A node is greeted before it gets work: it says how many partitions the cluster has, and gives this
//! dispatcher an incarnation from the counter in its store. A node that cannot be greeted is asked again at
//! the next beat. A cluster has one number of partitions, that of the first node that was greeted: a node that says another
//! is not taken in, for names and listings would be looked for in the wrong places, and both it and the operator are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use proto::executor::v1::{self, DescribeNodeRequest, RegisterDispatcherRequest};
use proto::scheduler::v1::{NodeDirective, NodeReport};
use tonic::Request;

use crate::directory::{Directory, HEARTBEAT, Report};
use crate::dispatch::{Dispatcher, NodeClients};
use crate::error::Error;
use crate::ownership::{Directives, Ownership};
use crate::refusals::Refusals;

/// How long a node may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Nodes whose greeting is remembered. Beyond, all are greeted anew.
const GREETED_MAX: usize = 4_096;

/// Brings nodes into the directory.
pub struct Cluster {
    directory: Arc<Directory>,
    clients: NodeClients,
    dispatcher: Dispatcher,
    ownership: Arc<Ownership>,
    /// Partitions of the cluster, by the node's public address.
    greeted: Mutex<HashMap<String, u16>>,
    /// Partitions of the cluster, as its first node said; never another number while we run.
    partitions: OnceLock<u16>,
    refusals: Refusals,
}

impl Cluster {
    /// A cluster without nodes.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        clients: NodeClients,
        dispatcher: Dispatcher,
        ownership: Arc<Ownership>,
    ) -> Self {
        let (greeted, partitions) = (Mutex::default(), OnceLock::new());
        let refusals = Refusals::new(directory.clock().clone());
        Self { directory, clients, dispatcher, ownership, greeted, partitions, refusals }
    }

    /// Which nodes are not taken in.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Who shall have which partition.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// Asks a named node again and again. Ends only when it is dropped.
    pub async fn follow(&self, address: &str) {
        let mut was_there = true;
        loop {
            match self.ask(address).await {
                Ok(()) => was_there = true,
                Err(error) => {
                    // It may come back with another store: then our incarnation must be new too.
                    self.forget(&bare(address));
                    if was_there {
                        tracing::warn!(node = %address, "does not answer, will be asked again: {error}");
                    }
                    was_there = false;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(HEARTBEAT) => {}
                // Nobody gains from asking a node that is away more often than its backoff says.
                () = self.directory.asked_again(), if was_there => {
                    tokio::time::sleep(HEARTBEAT / 20).await;
                }
            }
        }
    }

    /// Suspects and forgets silent nodes. Ends only when it is dropped.
    pub async fn watch_silence(&self) {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            self.directory.sweep();
        }
    }

    async fn ask(&self, address: &str) -> Result<(), Error> {
        let node = self.describe(address).await?;
        let public_address = bare(address);
        let partitions = self.greet(&node, &public_address).await?;
        self.directory.observe(Report {
            node_id: node.node_id,
            public_address,
            shards: node.shards,
            partitions,
            serving: !node.draining,
            managed: false,
            draining: node.draining,
        });
        Ok(())
    }

    /// Takes a node's own report in, and answers it. A node that cannot be reached stays unknown for now.
    pub async fn reported(&self, session: u64, report: NodeReport, directives: &Directives) -> NodeDirective {
        let heartbeat_interval_ms = u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX);
        let unknown = NodeDirective { heartbeat_interval_ms, ..NodeDirective::default() };
        if let Err(why) = self.check(&report.node_id, &report.public_address, report.partition_count) {
            return NodeDirective { refusal: why.to_string(), ..unknown };
        }
        let partitions = match self.known(&report.public_address) {
            Some(partitions) => partitions,
            None => {
                let greeting = async {
                    let node = self.describe(&report.public_address).await?;
                    self.greet(&node, &report.public_address).await
                };
                match greeting.await {
                    Ok(partitions) => partitions,
                    Err(error) => {
                        tracing::warn!(node = %report.node_id, "reports, but cannot be reached: {error}");
                        return unknown;
                    }
                }
            }
        };
        let known = self.directory.observe(Report {
            node_id: report.node_id.clone(),
            public_address: report.public_address.clone(),
            shards: report.shards.clone(),
            partitions,
            // Each partition of a managed node says for itself whether it is served.
            serving: report.managed || report.serving && !report.draining,
            managed: report.managed,
            draining: report.draining,
        });
        if known { self.ownership.reported(session, &report, partitions, directives) } else { unknown }
    }

    /// A node's report stream has ended.
    pub fn gone(&self, public_address: &str, session: u64) {
        // A node that has opened another stream is not gone.
        if self.ownership.closed(public_address, session) {
            self.forget(public_address);
            self.directory.lost(public_address);
        }
    }

    fn forget(&self, public_address: &str) {
        self.greeted.lock().unwrap_or_else(PoisonError::into_inner).remove(public_address);
    }

    fn known(&self, public_address: &str) -> Option<u16> {
        self.greeted.lock().unwrap_or_else(PoisonError::into_inner).get(public_address).copied()
    }

    /// Whether a node has as many partitions as the cluster; 0: it does not say.
    fn check(&self, node_id: &str, address: &str, partitions: u32) -> Result<(), Error> {
        match self.partitions.get() {
            Some(cluster) if partitions != 0 && u32::from(*cluster) != partitions => {
                let why = format!(
                    "it has {partitions} partitions, and the cluster of this scheduler has {cluster}: start it with \
                     --partitions {cluster} and the store of this cluster, or, where the cluster was made anew, start the \
                     scheduler again"
                );
                self.refusals.refuse(node_id, &bare(address), &why);
                Err(Error::unavailable(why))
            }
            _ => {
                self.refusals.forgive(&bare(address));
                Ok(())
            }
        }
    }

    async fn describe(&self, address: &str) -> Result<v1::DescribeNodeResponse, Error> {
        let mut request = Request::new(DescribeNodeRequest {});
        request.set_timeout(DESCRIBE_TIMEOUT);
        let answer = tokio::time::timeout(DESCRIBE_TIMEOUT, async {
            self.clients.client(address)?.describe_node(request).await.map_err(unreachable)
        });
        match answer.await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Error::unavailable(format!("no answer within {DESCRIBE_TIMEOUT:?}"))),
        }
    }

    /// Takes an incarnation from a node that is new.
    async fn greet(&self, node: &v1::DescribeNodeResponse, address: &str) -> Result<u16, Error> {
        if let Some(partitions) = self.known(address) {
            return Ok(partitions);
        }
        let partitions = u16::try_from(node.partitions)
            .ok()
            .filter(|partitions| (1..=ids::PARTITIONS_MAX).contains(partitions))
            .ok_or_else(|| Error::unavailable(format!("{} partitions are none", node.partitions)))?;
        self.check(&node.node_id, address, node.partitions)?;
        let mut request = Request::new(RegisterDispatcherRequest { name: "scheduler-stub".into() });
        request.set_timeout(DESCRIBE_TIMEOUT);
        let registered =
            self.clients.client(address)?.register_dispatcher(request).await.map_err(unreachable)?;
        let incarnation = registered.into_inner().incarnation;
        let cluster = *self.partitions.get_or_init(|| partitions);
        if cluster != partitions {
            // Another one was quicker.
            self.check(&node.node_id, address, node.partitions)?;
        }
        self.dispatcher.set_incarnation(incarnation);
        self.ownership.registered(incarnation);
        tracing::info!(
            node = %node.node_id, %address, incarnation, store = %node.store, durability = %node.durability,
            shards = node.shards.len(), partitions, "node joins",
        );
        let mut greeted = self.greeted.lock().unwrap_or_else(PoisonError::into_inner);
        if greeted.len() >= GREETED_MAX {
            greeted.clear();
        }
        greeted.insert(address.to_owned(), partitions);
        Ok(partitions)
    }
}

/// `host:port` of an address or URL.
fn bare(address: &str) -> String {
    address.split("://").last().unwrap_or(address).trim_end_matches('/').to_owned()
}

fn unreachable(status: tonic::Status) -> Error {
    Error::unavailable(format!("{:?}: {}", status.code(), status.message()))
}
