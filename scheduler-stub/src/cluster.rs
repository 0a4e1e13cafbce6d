//! How nodes become known: by asking those that the operator named, and by listening to those that report.
//!
//! A node is greeted before it gets work: it says how many partitions the cluster has, and gives this
//! dispatcher an incarnation from the counter in its store. A node that cannot be greeted is asked again at
//! the next beat. A cluster has one store and one number of partitions: those of the cluster record in the scheduler's own
//! store, or, where that is another store, those of the first node that was greeted. A node of another cluster is not taken
//! in, for what was acknowledged by others would not be found there. The node at an address is the one that answers there:
//! whoever else claims the address is not taken in either. Whoever is not taken in is told why, and so is the operator.
//!
//! A store in memory ends with its node. So where the cluster's store was that of one node's memory, and another process answers
//! at this node's address, the cluster has ended, and that process's is the cluster from then on: nothing of the former one
//! can be found any more, and a log line says so. It is the only case in which a scheduler changes its cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::Store;
use proto::executor::v1::{self, DescribeNodeRequest, RegisterDispatcherRequest};
use proto::scheduler::v1::{NodeDirective, NodeReport};
use tonic::Request;

use crate::directory::{Directory, HEARTBEAT, Report};
use crate::dispatch::{Dispatcher, NodeClients};
use crate::error::Error;
use crate::ownership::{Ownership, Place};
use crate::refusals::{Refusals, Who};

/// How long a node may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Nodes whose greeting is remembered. Beyond, all are greeted anew.
const GREETED_MAX: usize = 4_096;

/// What a node calls a store that ends with it.
const MEMORY: &str = "memory";

/// Numbers that are asked of a new cluster's counter, to get past those of the former one. Each start of a scheduler took one of
/// that.
const REGISTRATIONS_MAX: u32 = 1_024;

/// Brings nodes into the directory.
pub struct Cluster {
    directory: Arc<Directory>,
    clients: NodeClients,
    dispatcher: Dispatcher,
    ownership: Arc<Ownership>,
    /// The scheduler's own store, which is the nodes' too, as a rule.
    store: Arc<dyn Store>,
    /// By the node's public address.
    greeted: Mutex<HashMap<String, Greeted>>,
    /// Never another one while we run, but where its store has ended with a node's memory.
    identity: Mutex<Option<Identity>>,
    refusals: Refusals,
}

/// A node that was greeted.
#[derive(Debug, Clone, Copy)]
struct Greeted {
    /// Of the whole cluster.
    partitions: u16,
    /// Which process it is; 0 where it does not say.
    instance: u64,
}

impl Greeted {
    fn is(&self, instance: u64) -> bool {
        self.instance == instance || self.instance == 0 || instance == 0
    }
}

/// What all nodes of a cluster have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    partitions: u16,
    /// Of the store; empty where nobody has said it.
    cluster: String,
    /// The address of the node in whose memory the store is.
    in_memory_of: Option<String>,
}

impl Identity {
    /// Whether a cluster is another one; what nobody says counts for nothing.
    fn is_foreign(&self, cluster: &str) -> bool {
        !cluster.is_empty() && !self.cluster.is_empty() && cluster != self.cluster
    }

    /// Whether another process at this address means that this cluster has ended.
    fn ends_with(&self, address: &str) -> bool {
        self.in_memory_of.as_deref() == Some(address)
    }

    /// Why a node is not of this cluster.
    fn objection(&self, address: &str, partitions: u32, cluster: &str) -> Option<String> {
        let (ours, of) = (&self.cluster, self.partitions);
        if partitions != 0 && u32::from(of) != partitions {
            return Some(format!(
                "it has {partitions} partitions, and the cluster of this scheduler has {of}: start it with \
                 --partitions {of} and the store of this cluster, or, where the cluster was made anew, start the \
                 scheduler again"
            ));
        }
        if !self.is_foreign(cluster) || self.ends_with(address) {
            return None;
        }
        Some(match &self.in_memory_of {
            Some(node) => format!(
                "its store is that of cluster {cluster}, and this scheduler's is cluster {ours}, in the memory of the node at \
                 {node}: nodes that share a cluster need a store that they share (--redis-url); if that node is gone for good, \
                 and its executions with it, start this one at its address (--listen), or the scheduler again"
            ),
            None => format!(
                "its store is that of cluster {cluster}, and this scheduler's is cluster {ours}: give it the store of \
                 this cluster (--redis-url, --redis-prefix), or, where the cluster was made anew, start the scheduler again"
            ),
        })
    }
}

impl Cluster {
    /// A cluster without nodes.
    #[must_use]
    pub fn new(
        directory: Arc<Directory>,
        clients: NodeClients,
        dispatcher: Dispatcher,
        ownership: Arc<Ownership>,
        store: Arc<dyn Store>,
    ) -> Self {
        let (greeted, identity) = (Mutex::default(), Mutex::default());
        let refusals = Refusals::new(directory.clock().clone());
        Self { directory, clients, dispatcher, ownership, store, greeted, identity, refusals }
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
            condition: node.condition,
        });
        Ok(())
    }

    /// Takes a node's own report in, and answers it in `place`. A node that cannot be reached stays unknown for now.
    pub async fn reported(&self, session: u64, report: NodeReport, place: Place) {
        let heartbeat_interval_ms = u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX);
        let unknown =
            |refusal: String| NodeDirective { heartbeat_interval_ms, refusal, ..NodeDirective::default() };
        match self.admit(&report).await {
            Ok(Some(partitions)) if self.observe(&report, partitions) => {
                self.ownership.reported(session, &report, partitions, place);
            }
            Ok(_) => drop(place.send(Ok(unknown(String::new())))),
            Err(why) => drop(place.send(Ok(unknown(why.to_string())))),
        }
    }

    /// Whether the directory has taken the node in.
    fn observe(&self, report: &NodeReport, partitions: u16) -> bool {
        self.directory.observe(Report {
            node_id: report.node_id.clone(),
            public_address: report.public_address.clone(),
            shards: report.shards.clone(),
            partitions,
            // Each partition of a managed node says for itself whether it is served.
            serving: report.managed || report.serving && !report.draining,
            managed: report.managed,
            draining: report.draining,
            condition: report.condition.clone(),
        })
    }

    /// The partitions of the cluster, if a node that reports is of it; `None`: it is not ready to be greeted.
    async fn admit(&self, report: &NodeReport) -> Result<Option<u16>, Error> {
        let NodeReport { node_id, public_address: address, instance, .. } = report;
        let who = Who { node_id, address, instance: *instance };
        self.check(who, report.partition_count, &report.cluster)?;
        if let Some(known) = self.known(address).filter(|known| known.is(*instance)) {
            self.learn(&report.cluster);
            self.refusals.forgive(who);
            return Ok(Some(known.partitions));
        }
        let node = self.describe(address).await.map_err(|error| {
            self.refuse(
                who,
                &format!(
                    "it cannot be reached at {address}, which it says is its address ({error}): say with --advertise how \
                     others reach it"
                ),
            )
        })?;
        let there = Greeted { partitions: 0, instance: node.instance };
        if !there.is(*instance) {
            let why = format!(
                "another node, {:?}, answers at {address}, which it says is its address: give each node its own \
                 (--listen, --advertise)",
                node.node_id
            );
            return Err(self.refuse(who, &why));
        }
        match self.greet(&node, address).await {
            Ok(partitions) => {
                self.refusals.forgive(who);
                Ok(Some(partitions))
            }
            // Not the right one, or it cannot reach its store yet, which it says in its own log.
            Err(error) => {
                self.check(who, node.partitions, &node.cluster)?;
                tracing::debug!(node = %node_id, "is not ready yet: {error}");
                Ok(None)
            }
        }
    }

    fn refuse(&self, who: Who<'_>, why: &str) -> Error {
        self.refusals.refuse(who, why);
        Error::unavailable(why)
    }

    /// Whether a node is of this cluster.
    fn check(&self, who: Who<'_>, partitions: u32, cluster: &str) -> Result<(), Error> {
        let objection = |ours: &Identity| ours.objection(who.address, partitions, cluster);
        let objection = self.identity().as_ref().and_then(objection);
        match objection {
            Some(why) => Err(self.refuse(who, &why)),
            None => Ok(()),
        }
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

    fn known(&self, public_address: &str) -> Option<Greeted> {
        self.greeted.lock().unwrap_or_else(PoisonError::into_inner).get(public_address).copied()
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
        let who = Who { node_id: &node.node_id, address, instance: node.instance };
        if let Some(known) = self.known(address).filter(|known| known.is(node.instance)) {
            self.learn(&node.cluster);
            self.refusals.forgive(who);
            return Ok(known.partitions);
        }
        let partitions = u16::try_from(node.partitions)
            .ok()
            .filter(|partitions| (1..=ids::PARTITIONS_MAX).contains(partitions))
            .ok_or_else(|| Error::unavailable(format!("{} partitions are none", node.partitions)))?;
        self.look_up_identity().await?;
        self.check(who, node.partitions, &node.cluster)?;
        let incarnation = self.register(node, address).await?;
        self.settle_identity(node, address, partitions);
        // Another one may have been quicker.
        self.check(who, node.partitions, &node.cluster)?;
        self.refusals.forgive(who);
        self.dispatcher.set_incarnation(incarnation);
        self.ownership.registered(incarnation);
        tracing::info!(
            node = %node.node_id, %address, incarnation, store = %node.store, durability = %node.durability,
            shards = node.shards.len(), partitions, cluster = node.cluster, "node joins",
        );
        self.mind_namesakes(&node.node_id, address);
        let mut greeted = self.greeted.lock().unwrap_or_else(PoisonError::into_inner);
        if greeted.len() >= GREETED_MAX {
            greeted.clear();
        }
        greeted.insert(address.to_owned(), Greeted { partitions, instance: node.instance });
        Ok(partitions)
    }

    /// Takes an incarnation from a node's store. A new cluster's counter begins anew: it is raised until it gives one that no
    /// batch of ours has had, so that neither these nor the next scheduler's meet an id that was there before.
    async fn register(&self, node: &v1::DescribeNodeResponse, address: &str) -> Result<u32, Error> {
        let anew = match &*self.identity() {
            Some(ours) if ours.ends_with(address) && node.cluster.is_empty() => {
                return Err(Error::unavailable("it has not said yet which cluster its store is of"));
            }
            Some(ours) => ours.is_foreign(&node.cluster),
            None => false,
        };
        let above = if anew { self.dispatcher.incarnation() } else { 0 };
        for _ in 0..REGISTRATIONS_MAX {
            let mut request = Request::new(RegisterDispatcherRequest { name: "scheduler-stub".into() });
            request.set_timeout(DESCRIBE_TIMEOUT);
            let registered = self.clients.client(address)?.register_dispatcher(request).await;
            let incarnation = registered.map_err(unreachable)?.into_inner().incarnation;
            if incarnation > above {
                return Ok(incarnation);
            }
        }
        Err(Error::unavailable(format!(
            "a new cluster's counter of schedulers does not get past {above}: start the scheduler again"
        )))
    }

    /// The cluster is that of this node, if we had none yet, or if ours has ended with the process that was at its address.
    fn settle_identity(&self, node: &v1::DescribeNodeResponse, address: &str, partitions: u16) {
        let mut identity = self.identity();
        let ended = match &*identity {
            Some(ours) if ours.is_foreign(&node.cluster) && ours.ends_with(address) => {
                Some(ours.cluster.clone())
            }
            Some(_) => return,
            None => None,
        };
        let in_memory_of = (node.store == MEMORY).then(|| address.to_owned());
        *identity = Some(Identity { partitions, cluster: node.cluster.clone(), in_memory_of });
        if let Some(ended) = ended {
            tracing::warn!(
                node = %node.node_id, %address, %ended, begun = %node.cluster,
                "the node had its store in memory and has started again: a new cluster begins, and the executions of the \
                 former one are LOST, running and ended ones; state machines and activities are kept by this scheduler",
            );
        }
    }

    /// A node may be greeted just before it knows which cluster its store is of: it says it later, and then it is ours.
    fn learn(&self, cluster: &str) {
        if let Some(ours) = self.identity().as_mut().filter(|ours| ours.cluster.is_empty()) {
            cluster.clone_into(&mut ours.cluster);
        }
    }

    fn identity(&self) -> MutexGuard<'_, Option<Identity>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names are for people: two nodes of one name do no harm but to who reads logs.
    fn mind_namesakes(&self, node_id: &str, address: &str) {
        let namesake = self.directory.seen().into_iter().map(|seen| seen.report);
        let namesake = namesake.filter(|other| other.node_id == node_id && other.public_address != address);
        for other in namesake {
            tracing::warn!(
                node = %node_id, %address, other = %other.public_address,
                "two nodes have one name: logs do not tell them apart; give each its own (--node-id)",
            );
        }
    }

    /// Reads the cluster record of our own store, if it has one: then that is the cluster, whichever node comes first.
    async fn look_up_identity(&self) -> Result<(), Error> {
        let unknown = self.identity().is_none();
        if unknown && let Some(record) = journal::cluster::read(&*self.store).await? {
            let (partitions, cluster) = (record.partitions, record.id.to_string());
            self.identity().get_or_insert(Identity { partitions, cluster, in_memory_of: None });
        }
        Ok(())
    }
}

/// `host:port` of an address or URL.
fn bare(address: &str) -> String {
    address.split("://").last().unwrap_or(address).trim_end_matches('/').to_owned()
}

fn unreachable(status: tonic::Status) -> Error {
    Error::unavailable(trust::with_causes(&format!("{:?}: {}", status.code(), status.message()), &status))
}
