//! Nodes that are not of the cluster, or not where they say they are: none gets a partition, and all are told why.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use executor::config::{Config, StoreConfig};
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::{Dialect, Mode, RegisterDispatcherRequest};
use proto::scheduler::v1::nodes_client::NodesClient;
use proto::scheduler::v1::{CreateStateMachineRequest, DescribeClusterResponse, NodeReport, RefusedNode};
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use tempfile::TempDir;
use testkit::{eventually_async, free_port};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::fake::{FakeNode, PATIENCE};

const PARTITIONS: u16 = 8;

async fn scheduler(store: &MemoryStore) -> Scheduler {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let config = SchedulerConfig { listen, expected_nodes: 1, ..SchedulerConfig::default() };
    let store = store.connect().await.expect("memory");
    Scheduler::start(config, store).await.expect("the scheduler starts")
}

fn start(scheduler: &Scheduler, store: &MemoryStore, config: Config) -> Node {
    let scheduler = Some(format!("http://{}", scheduler.address()));
    let config = Config { shards: 1, partitions: PARTITIONS, scheduler, ..config };
    Node::start(config, Arc::new(store.clone())).expect("the node starts")
}

async fn cluster(scheduler: &Scheduler) -> DescribeClusterResponse {
    let client = Client::connect(&scheduler.address().to_string(), None).await;
    client.expect("it answers").nodes().await.expect("answered")
}

async fn until_refused(scheduler: &Scheduler) -> RefusedNode {
    eventually_async("a node is refused", PATIENCE, async || {
        let cluster = cluster(scheduler).await;
        cluster.refused.first().cloned().ok_or_else(|| format!("{cluster:?}"))
    })
    .await
}

async fn until_all_is_with(scheduler: &Scheduler, node: &Node) {
    let address = node.addresses().public.to_string();
    eventually_async("the right node has everything", PATIENCE, async || {
        let cluster = cluster(scheduler).await;
        let served = |cluster: &DescribeClusterResponse| {
            let [node] = &cluster.nodes[..] else { return false };
            let served: usize = node.shards.iter().map(|shard| shard.partitions.len()).sum();
            node.public_address == address && served == usize::from(PARTITIONS)
        };
        if served(&cluster) { Ok(()) } else { Err(format!("{cluster:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_node_of_another_store_gets_nothing_though_all_its_settings_are_right() {
    let (own, right_store, wrong_store) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
    let scheduler = scheduler(&own).await;
    let right = start(&scheduler, &right_store, Config::embedded());
    until_all_is_with(&scheduler, &right).await;
    let wrong = start(&scheduler, &wrong_store, Config::embedded());
    let refused = until_refused(&scheduler).await;
    assert_eq!(refused.public_address, wrong.addresses().public.to_string());
    assert!(refused.why.contains("its store is that of cluster"), "{}", refused.why);
    let home = format!("in the memory of the node at {}", right.addresses().public);
    assert!(refused.why.contains(&home) && refused.why.contains("--redis-url"), "{}", refused.why);
    until_all_is_with(&scheduler, &right).await;
}

/// An address that nobody else takes while no node is there.
fn reserved() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

async fn ended(node: Node) -> SocketAddr {
    let address = node.addresses().public;
    node.drain();
    tokio::time::timeout(PATIENCE, node.wait()).await.expect("it ends");
    address
}

/// The next number of the counter in a node's store.
async fn incarnation(node: &Node) -> u32 {
    let url = format!("http://{}", node.addresses().public);
    let mut client = ExecutorClient::connect(url).await.expect("it answers");
    let request = RegisterDispatcherRequest { name: "test".into() };
    client.register_dispatcher(request).await.expect("registered").into_inner().incarnation
}

#[tokio::test]
async fn a_node_that_kept_its_store_in_memory_and_starts_again_begins_a_new_cluster_at_its_address() {
    let own = MemoryStore::new();
    let scheduler = scheduler(&own).await;
    let founder = Config { shards: 1, partitions: PARTITIONS, listen: reserved(), ..Config::embedded() };
    let store = MemoryStore::new();
    let first = Node::start(founder, Arc::new(store.clone())).expect("the node starts");
    assert!(tokio::time::timeout(PATIENCE, first.ready()).await.expect("it becomes ready"));
    for expected in 1..=3 {
        assert_eq!(incarnation(&first).await, expected);
    }
    let listen = ended(first).await;
    let first = start(&scheduler, &store, Config { listen, ..Config::embedded() });
    until_all_is_with(&scheduler, &first).await;
    let followed = cluster(&scheduler).await.scheduler_incarnation;
    assert_eq!(followed, 4);
    let mut client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
    let machine = CreateStateMachineRequest {
        name: "pass".into(),
        definition: r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#.into(),
        mode: Mode::Standard.into(),
        dialect: Dialect::Asl.into(),
        ..CreateStateMachineRequest::default()
    };
    let machine = client.create(machine).await.expect("created").arn;
    let lost = client.start(&machine, "", Bytes::new()).await.expect("started");

    let listen = ended(first).await;
    let second = start(&scheduler, &MemoryStore::new(), Config { listen, ..Config::embedded() });
    until_all_is_with(&scheduler, &second).await;
    assert_eq!(cluster(&scheduler).await.refused, []);
    let found = client.start(&machine, "", Bytes::new()).await.expect("started");
    client.describe(&found.execution_arn).await.expect("it is there");
    let gone = client.describe(&lost.execution_arn).await.expect_err("its store is gone");
    assert_eq!(gone.code(), Code::NotFound, "{gone}");
    let next = incarnation(&second).await;
    assert!(
        next > followed + 1,
        "{next}: the next scheduler must be followed, and make ids that none has had"
    );
}

#[tokio::test]
async fn a_node_whose_durable_store_is_another_one_after_a_restart_is_refused_at_its_own_address() {
    let own = MemoryStore::new();
    let scheduler = scheduler(&own).await;
    let [former, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let node = |dir: &TempDir, listen: SocketAddr| {
        let store = StoreConfig::File(dir.path().to_owned());
        let connect = executor::store::open(&store).expect("a directory");
        let scheduler = Some(format!("http://{}", scheduler.address()));
        let config =
            Config { shards: 1, partitions: PARTITIONS, scheduler, listen, store, ..Config::embedded() };
        Node::start(config, connect).expect("the node starts")
    };
    let first = node(&former, reserved());
    until_all_is_with(&scheduler, &first).await;
    let listen = ended(first).await;
    let wrong = node(&other, listen);
    let refused = until_refused(&scheduler).await;
    assert!(refused.why.contains("its store is that of cluster"), "{}", refused.why);
    ended(wrong).await;
    let right = node(&former, listen);
    until_all_is_with(&scheduler, &right).await;
}

/// Reports these clusters one after the other on one stream; the refusals, and what keeps the stream.
async fn report(
    scheduler: &Scheduler,
    node: &FakeNode,
    clusters: &[&str],
) -> (Vec<String>, mpsc::Sender<NodeReport>) {
    let report = |cluster: &str| NodeReport {
        node_id: "node".into(),
        public_address: node.address.clone(),
        serving: true,
        managed: true,
        partition_count: 4,
        cluster: cluster.to_owned(),
        ..NodeReport::default()
    };
    let (sender, reports) = mpsc::channel(clusters.len());
    for cluster in clusters {
        sender.send(report(cluster)).await.expect("there is room");
    }
    let url = format!("http://{}", scheduler.address());
    let mut client = NodesClient::connect(url).await.expect("it answers");
    let directives = client.heartbeat(ReceiverStream::new(reports)).await.expect("a stream");
    let (mut directives, mut refusals) = (directives.into_inner(), Vec::new());
    while refusals.len() < clusters.len() {
        let directive = tokio::time::timeout(PATIENCE, directives.message()).await.expect("in time");
        refusals.push(directive.expect("no error").expect("an answer").refusal);
    }
    (refusals, sender)
}

#[tokio::test]
async fn a_cluster_whose_first_node_knew_its_name_only_later_takes_no_stranger_in() {
    let scheduler = scheduler(&MemoryStore::new()).await;
    let (first, other) = (FakeNode::start(&[]).await, FakeNode::start(&[]).await);
    let (refusals, _stays) = report(&scheduler, &first, &["", "one"]).await;
    assert_eq!(refusals, ["", ""]);
    let (refusals, _) = report(&scheduler, &other, &["two"]).await;
    assert!(refusals[0].contains("its store is that of cluster two"), "{refusals:?}");
}

#[tokio::test]
async fn the_scheduler_s_own_store_says_which_cluster_it_is_even_if_a_stranger_comes_first() {
    let (store, strange) = (MemoryStore::new(), MemoryStore::new());
    // The cluster is there already.
    let founder = Node::start(
        Config { shards: 1, partitions: PARTITIONS, ..Config::embedded() },
        Arc::new(store.clone()),
    );
    let founder = founder.expect("the node starts");
    assert!(tokio::time::timeout(PATIENCE, founder.ready()).await.expect("it becomes ready"));
    founder.drain();
    tokio::time::timeout(PATIENCE, founder.wait()).await.expect("it ends");
    let scheduler = scheduler(&store).await;
    let stranger = start(&scheduler, &strange, Config::embedded());
    let refused = until_refused(&scheduler).await;
    assert_eq!(refused.public_address, stranger.addresses().public.to_string());
    let right = start(&scheduler, &store, Config::embedded());
    until_all_is_with(&scheduler, &right).await;
}

#[tokio::test]
async fn of_two_nodes_that_claim_one_address_the_one_that_answers_there_is_the_node() {
    let store = MemoryStore::new();
    let scheduler = scheduler(&store).await;
    let right = start(&scheduler, &store, Config::embedded());
    until_all_is_with(&scheduler, &right).await;
    let listen = SocketAddr::new(IpAddr::from([127, 0, 0, 2]), right.addresses().public.port());
    let advertise = Some("127.0.0.1".to_owned());
    let _other = start(&scheduler, &store, Config { listen, advertise, ..Config::embedded() });
    let refused = until_refused(&scheduler).await;
    assert_eq!(refused.public_address, right.addresses().public.to_string());
    assert!(refused.why.contains("another node") && refused.why.contains("--advertise"), "{}", refused.why);
    until_all_is_with(&scheduler, &right).await;
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_where_it_says_is_told_so_with_the_address() {
    let store = MemoryStore::new();
    let scheduler = scheduler(&store).await;
    let advertise = Some("127.0.0.3".to_owned());
    let node = start(&scheduler, &store, Config { advertise, ..Config::embedded() });
    let refused = until_refused(&scheduler).await;
    let claimed = format!("127.0.0.3:{}", node.addresses().public.port());
    assert_eq!(refused.public_address, claimed);
    assert!(refused.why.contains(&claimed) && refused.why.contains("--advertise"), "{}", refused.why);
}
