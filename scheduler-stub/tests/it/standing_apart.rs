//! Nodes that do not belong: of another number of partitions, or alone without the store. Both ends say so.

use std::net::SocketAddr;
use std::sync::Arc;

use executor::config::{Config, StoreConfig};
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::Shard;
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::{Proxy, Redis, eventually_async};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::PATIENCE;

async fn scheduler(expected_nodes: usize) -> Scheduler {
    let store = MemoryStore::new().connect().await.expect("memory");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let config = SchedulerConfig { listen, expected_nodes, ..SchedulerConfig::default() };
    Scheduler::start(config, store).await.expect("the scheduler starts")
}

fn config(scheduler: &Scheduler, partitions: u16) -> Config {
    let metrics = Some("127.0.0.1:0".parse().expect("an address"));
    let scheduler = Some(format!("http://{}", scheduler.address()));
    Config { shards: 1, partitions, scheduler, metrics, ..Config::embedded() }
}

async fn client(scheduler: &Scheduler) -> Client {
    Client::connect(&scheduler.address().to_string(), None).await.expect("it answers")
}

/// What `/healthz` says.
async fn health(node: &Node) -> String {
    let port: SocketAddr = node.addresses().metrics.expect("it has such a port");
    let mut stream = tokio::net::TcpStream::connect(port).await.expect("it listens");
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn a_node_with_another_number_of_partitions_is_refused_and_both_ends_say_why() {
    let scheduler = scheduler(1).await;
    let store = MemoryStore::new();
    let right = Node::start(config(&scheduler, 8), Arc::new(store)).expect("the node starts");
    assert!(tokio::time::timeout(PATIENCE, right.ready()).await.expect("it becomes ready"));
    // A store of its own: the cluster's would have refused it already.
    let wrong = Node::start(config(&scheduler, 16), Arc::new(MemoryStore::new())).expect("the node starts");
    eventually_async("the node's word", PATIENCE, async || {
        let told = health(&wrong).await;
        let all = ["503", "refused by the scheduler", "16 partitions", "--partitions 8"];
        if all.iter().all(|part| told.contains(part)) { Ok(()) } else { Err(told) }
    })
    .await;
    let cluster = client(&scheduler).await.nodes().await.expect("answered");
    assert_eq!((cluster.partitions, cluster.nodes.len()), (8, 1), "names are looked for where they were");
    let [refused] = &cluster.refused[..] else { panic!("{:?}", cluster.refused) };
    assert_eq!(refused.public_address, wrong.addresses().public.to_string());
    assert!(refused.why.contains("--partitions 8"), "{}", refused.why);
}

/// The shards of a node, as the scheduler sees them.
async fn shards(client: &Client, node: &Node) -> Vec<Shard> {
    let cluster = client.clone().nodes().await.expect("answered");
    let address = node.addresses().public.to_string();
    let found = cluster.nodes.into_iter().find(|known| known.public_address == address);
    found.map(|node| node.shards).unwrap_or_default()
}

async fn until_served(client: &Client, wanted: &[(&Node, usize)]) {
    for (node, count) in wanted {
        eventually_async("the share of a node", PATIENCE, async || {
            let shards = shards(client, node).await;
            let served: usize = shards.iter().map(|shard| shard.partitions.len()).sum();
            if served == *count { Ok(()) } else { Err(format!("{shards:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_that_alone_is_without_the_store_says_so_and_others_take_its_partitions_until_it_is_back() {
    let redis = Redis::durable();
    let proxy = Proxy::start(redis.address()).expect("a free port");
    let scheduler = scheduler(2).await;
    let node = |url: String| {
        let store = StoreConfig::Redis(url.as_str().into());
        let connect = executor::store::open(&store).expect("a URL");
        Node::start(Config { store, ..config(&scheduler, 4) }, connect).expect("the node starts")
    };
    let (alone, other) = (node(format!("redis://{}", proxy.address())), node(redis.url()));
    let client = client(&scheduler).await;
    until_served(&client, &[(&alone, 2), (&other, 2)]).await;
    proxy.refuse(true);
    proxy.reset();
    eventually_async("the node's word", PATIENCE, async || {
        let (shards, told) = (shards(&client, &alone).await, health(&alone).await);
        let says = shards.iter().all(|shard| shard.cut_off) && told.contains("store down");
        if says { Ok(()) } else { Err(format!("{shards:?} {told}")) }
    })
    .await;
    until_served(&client, &[(&other, 4)]).await;
    proxy.refuse(false);
    until_served(&client, &[(&alone, 2), (&other, 2)]).await;
    assert!(shards(&client, &alone).await.iter().all(|shard| !shard.cut_off));
}
