//! kill -9, at any moment, of the node and of its store.

use std::collections::HashSet;
use std::time::Duration;

use ids::BatchId;
use proto::executor::v1;

use crate::support::PATIENCE;
use crate::support::load::{Ended, Load};
use crate::support::node::{Node, start_request};
use crate::support::readback::{
    every_acknowledged_execution_ended_once, every_acknowledged_execution_succeeds,
};
use crate::support::store::StoreUnderTest;

/// Rounds of load and kill.
const KILLS: u64 = 3;
/// Acknowledgements between two kills.
const ACKS: u64 = 1_000;

/// Executions that stay open over the retention.
const OPEN: usize = 40;
/// Open for longer than the retention of these tests, also after a restart.
const SLOW: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":4,"End":true}}}"#;

/// Load, kill -9 with batches in flight, start again, repeat what was not acknowledged; in the end compare.
async fn a_node_is_killed_again_and_again(mut store: StoreUnderTest, with_its_store: bool) {
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&node).await;
    for kill in 1..=KILLS {
        let (enough, killer) = (load.reaches(kill * ACKS), node.killer());
        // The kill falls while batches go out and acknowledgements come in.
        let (ended, ()) = tokio::join!(load.run(&node, u64::MAX), async {
            enough.await;
            if with_its_store {
                store.kill9();
            }
            killer.kill9().unwrap_or_else(|error| panic!("{error}"));
        });
        assert!(matches!(ended, Ended::Broken(_)), "a node that is dead goes on: {}", load.place());
        node.kill9();
        if with_its_store {
            store.restart();
        }
        node.relaunch();
        node.wait_serving().await;
    }
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_a_node_on_files_loses_nothing_acknowledged() {
    a_node_is_killed_again_and_again(StoreUnderTest::file(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_a_node_on_redis_loses_nothing_acknowledged() {
    a_node_is_killed_again_and_again(StoreUnderTest::redis(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_node_and_redis_together_loses_nothing_acknowledged() {
    a_node_is_killed_again_and_again(StoreUnderTest::redis(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_redis_under_a_living_node_loses_nothing_acknowledged() {
    let mut store = StoreUnderTest::redis();
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&node).await;
    for kill in 1..=KILLS {
        let enough = load.reaches((2 * kill - 1) * ACKS);
        // The load goes on while Redis is gone, and after it is back.
        let (ended, ()) = tokio::join!(load.run(&node, 2 * kill * ACKS), async {
            enough.await;
            store.kill9();
            store.restart();
        });
        assert_eq!(ended, Ended::Done, "{}", load.place());
    }
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}

/// Store and node are down for longer than the retention, with executions open; afterwards others come and end, while those
/// are still open. No log is so short-lived that it is trimmed here: a block stays for as long as a batch may be sent again.
async fn open_executions_outlive_the_retention(mut store: StoreUnderTest) {
    let retention = ["--retention", "1s"];
    let mut node = Node::serving(&store.flags(), &retention).await;
    let mut open = HashSet::new();
    let mut client = node.client().await.expect("the node answers");
    for number in 0..OPEN {
        let request = start_request(SLOW, &format!("{number}"));
        let started = client.start_execution(request).await.expect("started").into_inner();
        open.insert(started.execution_id);
    }
    node.kill9();
    store.kill9();
    // The time that passes is what is tested here: nothing is waited for.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    store.restart();
    node.relaunch();
    node.wait_serving().await;
    let mut client = node.client().await.expect("the node answers");
    let request = v1::WatchCompletionsRequest { include_outcomes: true };
    let mut completions = client.watch_completions(request).await.expect("a watch").into_inner();
    for id in open.clone() {
        let request = v1::DescribeExecutionRequest { execution: id.clone() };
        let found = client.describe_execution(request).await.unwrap_or_else(|why| panic!("{id}: {why}"));
        match found.into_inner().summary.map(|summary| summary.status()) {
            Some(v1::ExecutionStatus::Running) => {}
            // A machine that is busy may come here after its time, and after the watch had begun or before.
            Some(v1::ExecutionStatus::Succeeded) => drop(open.remove(&id)),
            other => panic!("{id}: {other:?}"),
        }
    }
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, ACKS).await, Ended::Done);
    while !open.is_empty() {
        let batch = tokio::time::timeout(PATIENCE, completions.message()).await.expect("they end in time");
        let batch = batch.expect("the watch goes on").expect("the watch does not end");
        for outcome in batch.outcomes {
            let id = BatchId::try_from(outcome.id.as_ref().expect("an id")).expect("a batch id");
            let id = id.execution(u8::try_from(outcome.index).expect("small")).to_string();
            if open.remove(&id) {
                assert_eq!(outcome.status(), v1::ExecutionStatus::Succeeded, "{id}");
            }
        }
    }
    load.settle(&node).await;
    assert_eq!(node.terminate().code, Some(0), "the node drains");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_for_longer_than_the_retention_goes_on_and_ends_on_redis() {
    open_executions_outlive_the_retention(StoreUnderTest::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_for_longer_than_the_retention_goes_on_and_ends_on_files() {
    open_executions_outlive_the_retention(StoreUnderTest::file()).await;
}
