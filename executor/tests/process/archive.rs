//! kill -9 while what closed is archived and the logs are trimmed of it: it is found, once, by id, name and listing.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use ids::PartitionId;
use journal::BlockId;
use journal::store::BlockRange;
use proto::executor::v1;
use testkit::eventually_async;

use crate::support::PATIENCE;
use crate::support::load::{Ended, Load, PASS, arn};
use crate::support::node::{Node, PARTITIONS, start_request};
use crate::support::readback::{ends, every_acknowledged_execution_succeeds};
use crate::support::store::StoreUnderTest;

/// Rounds of load and kill.
const KILLS: usize = 2;
/// Acknowledgements between two pauses: time has to pass here, not many executions.
const ACKS: u64 = 64;
const PAUSE: Duration = Duration::from_millis(50);

/// Some load, as long as the node lives.
async fn paced(load: &mut Load, node: &Node) -> Ended {
    loop {
        match load.run(node, load.acknowledged + ACKS).await {
            Ended::Done => tokio::time::sleep(PAUSE).await,
            broken => return broken,
        }
    }
}

/// Segments of all partitions.
fn segments(dir: &Path) -> usize {
    let folders = std::fs::read_dir(dir).expect("the archive's directory").flatten();
    folders.filter_map(|folder| Some(std::fs::read_dir(folder.path()).ok()?.count())).sum()
}

/// Where each log begins and ends.
async fn logs(store: &StoreUnderTest) -> Vec<(BlockId, BlockId)> {
    let store = store.connect().connect().await.expect("the store is there");
    let mut logs = Vec::new();
    for partition in (0..PARTITIONS).map(|number| PartitionId::new(number).expect("a partition")) {
        let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
        let range = BlockRange { from: BlockId::default(), to, reverse: false, limit: 1 };
        let first = store.read(partition, range).await.expect("the log is readable");
        let top = store.top(partition).await.expect("a top").unwrap_or_default();
        logs.push((first.first().map_or(top, |(id, _)| *id), top));
    }
    logs
}

/// All executions of a machine, as listings give them.
async fn listed(node: &Node, machine: &str) -> Vec<String> {
    let mut client = node.client().await.expect("the node answers");
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListExecutionsRequest {
            machine_arn: arn(machine),
            max_results: 1_000,
            next_token: token,
            ..Default::default()
        };
        let page = client.list_executions(request).await.expect("a page").into_inner();
        found.extend(page.executions.into_iter().map(|execution| execution.execution_id));
        if page.next_token.is_empty() {
            return found;
        }
        token = page.next_token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_logs_are_archived_and_trimmed_loses_nothing_and_shows_nothing_twice() {
    let store = StoreUnderTest::redis();
    let archive = tempfile::tempdir().expect("a directory");
    let url = format!("file://{}", archive.path().display());
    let mut node = Node::serving(&store.flags(), &["--retention", "4s", "--archive", &url]).await;
    let mut load = Load::new(&node).await;
    let request = v1::StartExecutionRequest { name: "monday".to_owned(), ..start_request(PASS, "\"first\"") };
    let mut client = node.client().await.expect("the node answers");
    let monday = client.start_execution(request).await.expect("started").into_inner();
    for kill in 0..KILLS {
        let (before, killer) = (segments(archive.path()), node.killer());
        // The kill falls while segments are written.
        let (ended, ()) = tokio::join!(paced(&mut load, &node), async {
            eventually_async("another segment", PATIENCE, || async {
                let now = segments(archive.path());
                if now > before { Ok(()) } else { Err(format!("{now} segments in round {kill}")) }
            })
            .await;
            killer.kill9().unwrap_or_else(|error| panic!("{error}"));
        });
        assert!(matches!(ended, Ended::Broken(_)), "a node that is dead goes on: {}", load.place());
        node.kill9();
        node.relaunch();
        node.wait_serving().await;
    }
    load.settle(&node).await;
    let tops: Vec<BlockId> = logs(&store).await.iter().map(|log| log.1).collect();
    while logs(&store).await.iter().zip(&tops).any(|((first, _), top)| first <= top) {
        assert_eq!(load.run(&node, load.acknowledged + ACKS).await, Ended::Done);
        tokio::time::sleep(PAUSE).await;
    }
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    let mut client = node.client().await.expect("the node answers");
    for execution in [monday.execution_id.clone(), monday.execution_arn] {
        let request = v1::DescribeExecutionRequest { execution: execution.clone() };
        let found = client.describe_execution(request).await.expect("found by id and by name").into_inner();
        assert_eq!(found.input, "\"first\"", "{execution}");
    }
    let all = [listed(&node, "pass").await, listed(&node, "wait").await].concat();
    let once: HashSet<&String> = all.iter().collect();
    assert_eq!(once.len(), all.len(), "nothing is listed twice");
    let ids = load.ledger.read().expect("the ledger is readable");
    let missing: Vec<&String> = ids.iter().filter(|id| !once.contains(id)).collect();
    assert!(missing.is_empty(), "{} of {} are not listed: {missing:?}", missing.len(), ids.len());
    assert_eq!(node.terminate().code, Some(0), "the node drains");
    let in_log = ends(store.connect()).await;
    let trimmed = ids.iter().filter(|id| !in_log.contains_key(*id)).count();
    assert!(trimmed > 1_000, "{trimmed} of {} are in the archive alone", ids.len());
}
