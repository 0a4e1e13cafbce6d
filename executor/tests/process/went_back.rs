//! A Redis that loses what it confirmed: a replica is promoted without the last writes, or somebody empties it.

use testkit::{Redis, RedisOptions, eventually_async};

use crate::support::PATIENCE;
use crate::support::load::{Ended, Load};
use crate::support::node::Node;
use crate::support::readback::{
    every_acknowledged_execution_ended_once, every_acknowledged_execution_succeeds,
};
use crate::support::store::StoreUnderTest;

fn say(redis: &Redis, words: &[&str]) -> String {
    redis.command(words).unwrap_or_else(|error| panic!("{error}"))
}

/// The sum of a counter over all shards.
fn counted(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn not_serving(node: &Node) {
    eventually_async("health says that the store is not the right one", PATIENCE, || async {
        match node.health().await {
            Err(health) if health == "NotServing" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_promoted_without_the_last_writes_gets_them_again_from_their_owner() {
    let master = Redis::durable();
    let of_master = ("replicaof".to_owned(), format!("127.0.0.1 {}", master.port()));
    let replica = Redis::start(RedisOptions { extra: vec![of_master], ..Default::default() })
        .unwrap_or_else(|error| panic!("{error}"));
    let port = master.port().to_string();
    let mut store = StoreUnderTest::Redis(master);
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, 1_000).await, Ended::Done);
    eventually_async("the replica follows", PATIENCE, || async {
        let info = say(&replica, &["INFO", "replication"]);
        if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
    })
    .await;
    // From here on the master is alone, and acknowledges what the other one will not have.
    say(&replica, &["REPLICAOF", "NO", "ONE"]);
    assert_eq!(load.run(&node, 2_000).await, Ended::Done);
    store.kill9();
    say(&replica, &["CONFIG", "SET", "port", &port]);
    node.says("the log is mended and taken anew");
    assert_eq!(load.run(&node, 3_000).await, Ended::Done);
    load.settle(&node).await;
    let metrics = node.scrape().await;
    assert!(counted(&metrics, "executor_store_blocks_resent_total") > 0.0, "{metrics}");
    assert!(counted(&metrics, "executor_store_blocks_lost_total") < 0.5, "{metrics}");
    every_acknowledged_execution_succeeds(&node, &load).await;
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_emptied_gets_nothing_until_its_operator_accepts_that() {
    let store = StoreUnderTest::redis();
    let StoreUnderTest::Redis(redis) = &store else { panic!("a Redis was asked for") };
    let state = tempfile::tempdir().expect("a directory");
    let dir = state.path().to_str().expect("text");
    let mut node = Node::serving(&store.flags(), &["--state-dir", dir]).await;
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, 200).await, Ended::Done);
    say(redis, &["FLUSHALL"]);
    not_serving(&node).await;
    let line = node.says("is EMPTY: the record of cluster");
    assert!(line.contains("until the right store is back"), "{line}");
    eventually_async("/healthz says why", PATIENCE, || async {
        let health = node.get("/healthz").await;
        if health.contains("store refused: ") && health.contains("is EMPTY") { Ok(()) } else { Err(health) }
    })
    .await;
    assert!(node.scrape().await.contains("executor_store_foreign 1"));
    let keys = || say(redis, &["KEYS", "*log"]) + &say(redis, &["KEYS", "*durable*"]);
    assert_eq!(keys(), "", "nothing was written");
    node.kill9();
    node.relaunch();
    let line = node.says("is empty, and this node belongs to cluster");
    assert!(line.contains("--accept-empty-store") && line.contains(&redis.port().to_string()), "{line}");
    let health = node.get("/healthz").await;
    assert!(health.contains("store refused: ") && health.contains("--accept-empty-store"), "{health}");
    not_serving(&node).await;
    assert_eq!(keys(), "", "nothing was written");
    node.kill9();
    let mut node = Node::serving(&store.flags(), &["--state-dir", dir, "--accept-empty-store"]).await;
    node.says("a new cluster begins in it");
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, 200).await, Ended::Done);
    assert_eq!(node.terminate().code, Some(0));
}
