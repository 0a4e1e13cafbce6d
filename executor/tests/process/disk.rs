//! A disk that is full under a running node.

use std::time::Duration;

use proto::executor::v1;
use testkit::eventually_async;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::PATIENCE;
use crate::support::disk::SmallDisk;
use crate::support::load::{Ended, Load, PASS};
use crate::support::node::{Node, start_request};
use crate::support::readback::{
    every_acknowledged_execution_ended_once, every_acknowledged_execution_succeeds,
};

/// A start whose input fills a disk: 200 kB that do not compress.
fn heavy(seed: u64) -> v1::StartExecutionRequest {
    let mut random = seed.wrapping_mul(2) | 1;
    let text: String = (0..200_000)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + u8::try_from((random >> 33) % 75).expect("small"))
        })
        .map(|letter| if letter == '\\' { '_' } else { letter })
        .collect();
    start_request(PASS, &format!("\"{text}\""))
}

/// Starts until the node refuses; gives the refusal, and how many were acknowledged.
async fn until_refused(node: &Node, ids: &mut Vec<String>) -> Status {
    for seed in 0..10_000 {
        let mut client = node.client().await.expect("the node answers");
        let call = client.start_execution(heavy(seed));
        match tokio::time::timeout(Duration::from_secs(2), call).await {
            Ok(Ok(started)) => ids.push(started.into_inner().execution_id),
            Ok(Err(status)) => return status,
            // What was let in before the node knew waits for space.
            Err(_) => {}
        }
    }
    panic!("the disk never fills, or the node never says so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_acknowledgements_sheds_starts_and_ends_by_itself() {
    let (disk, store) = SmallDisk::new();
    let mut node =
        Node::serving_through(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"], &store.flags()).await;
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, 500).await, Ended::Done);
    disk.fill(node.pid());
    let mut acknowledged = Vec::new();
    let refusal = until_refused(&node, &mut acknowledged).await;
    assert!(matches!(refusal.code(), Code::Unavailable | Code::ResourceExhausted), "{refusal}");
    let details = refusal.get_error_details();
    assert!(details.retry_info().and_then(|info| info.retry_delay).is_some(), "{refusal:?}");
    let line = node.says("nothing is acknowledged and starts are refused");
    assert!(line.contains("free some space"), "{line}");
    let health = eventually_async("health says so", PATIENCE, || async {
        match node.health().await {
            Err(health) if health == "NotServing" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    health.await;
    let metrics = node.scrape().await;
    assert!(
        metrics.lines().any(|line| line.starts_with("executor_store_available{") && line.ends_with(" 0"))
    );
    assert!(metrics.contains("executor_store_errors_total"));
    // Reading goes on.
    let old = load.ledger.read().expect("the ledger is readable");
    for id in old.iter().take(20).chain(&acknowledged) {
        let request = v1::DescribeExecutionRequest { execution: id.clone() };
        let mut client = node.client().await.expect("the node answers");
        client.describe_execution(request).await.unwrap_or_else(|why| panic!("{id}: {why}"));
    }
    disk.free(node.pid());
    node.wait_serving().await;
    assert_eq!(load.run(&node, 1_500).await, Ended::Done);
    load.settle(&node).await;
    load.add(&acknowledged);
    every_acknowledged_execution_succeeds(&node, &load).await;
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}
