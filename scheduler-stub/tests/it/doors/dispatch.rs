//! What starts from the door's threads do to nodes, and what clients are told of nodes that fail.

use std::time::Duration;

use front::Kind;
use futures_util::future::join_all;
use scheduler_stub::dispatch::STARTS_MAX;
use scheduler_stub::doors::{Doors, Gate};
use serde_json::json;

use super::call;
use crate::fake::FakeNode;
use crate::links::{Batches, stage};

#[tokio::test]
async fn starts_that_come_at_the_same_time_share_batches() {
    const STARTS: u32 = 64;
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let gate = stage.scheduler.gate().clone();
    let start = json!({"stateMachineArn": stage.machine});
    let starts = tokio::spawn(async move {
        join_all((0..STARTS).map(|_| call(&gate, "StartExecution", start.clone()))).await
    });
    let (mut started, mut batches) = (0, 0);
    while started < STARTS {
        let batch = node.next().await;
        started += batch.len();
        batches += 1;
        batch.acknowledge().await;
    }
    let mut arns: Vec<String> = starts
        .await
        .expect("no panic")
        .into_iter()
        .map(|answer| answer.expect("started")["executionArn"].to_string())
        .collect();
    arns.sort_unstable();
    arns.dedup();
    assert_eq!(arns.len(), STARTS as usize);
    assert!(batches <= 3, "{batches}");
}

#[tokio::test]
async fn what_the_first_start_makes_outlives_the_thread_that_it_came_from() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let gate = stage.scheduler.gate().clone();
    let start = json!({"stateMachineArn": stage.machine});
    let ask = start.clone();
    let of_the_thread = gate.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(call(&of_the_thread, "StartExecution", ask))
    });
    node.next().await.acknowledge().await;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await.expect("no panic");
    assert!(joined.expect("no panic").is_ok());
    let second = tokio::spawn(async move { call(&gate, "StartExecution", start).await });
    node.next().await.acknowledge().await;
    assert!(second.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_full_scheduler_throttles() {
    let node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    for tag in 0..u64::try_from(STARTS_MAX / 256).expect("small") {
        batches.send(tag, &stage.machine, 256).await;
    }
    batches.all_taken().await;
    let start = json!({"stateMachineArn": stage.machine});
    let fault = call(stage.scheduler.gate(), "StartExecution", start).await.expect_err("full");
    assert_eq!((fault.kind(), fault.kind().status()), (Kind::Throttling, 400));
}

#[tokio::test]
async fn a_start_whose_outcome_is_unknown_is_repeated_by_clients_only_where_its_name_makes_it_one() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let doors = stage.scheduler.gate().doors().clone();
    let gate = Gate::new(Doors { start_patience: Duration::from_millis(300), ..doors });
    for (start, kind, status) in [
        (json!({"stateMachineArn": stage.machine}), Kind::OutcomeUnknown, 400),
        (json!({"stateMachineArn": stage.machine, "name": "monday"}), Kind::Internal, 500),
    ] {
        let gate = gate.clone();
        let answer = tokio::spawn(async move { call(&gate, "StartExecution", start).await });
        // It was sent, and nothing is heard of it.
        let _sent = node.next().await;
        let fault = answer.await.expect("no panic").expect_err("nobody acknowledges it");
        assert_eq!((fault.kind(), fault.kind().status()), (kind, status), "{fault}");
        assert!(fault.message().contains("may have been started"), "{fault}");
    }
}
