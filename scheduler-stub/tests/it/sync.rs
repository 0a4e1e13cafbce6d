//! Synchronous executions go where starts are taken.

use std::time::Duration;

use bytes::Bytes;
use proto::executor::v1::{ExecutionStatus, Mode};
use proto::scheduler::v1::CreateStateMachineRequest;

use crate::lists::Scene;

/// Each runs once on each node, if nodes were taken in turns.
const TURNS: usize = 4;

#[tokio::test]
async fn a_synchronous_execution_is_not_given_to_a_node_that_drains_or_has_gone() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    let definition = Bytes::from_static(br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#);
    let mode = Mode::Express.into();
    let request = CreateStateMachineRequest { name: "quick".into(), definition, mode, ..Default::default() };
    let machine = client.create(request).await.expect("created").arn;
    for gone in [false, true] {
        if gone {
            scene.nodes[0].drain();
        }
        for _ in 0..TURNS {
            let input = Bytes::from_static(b"[7]");
            let ended = client.start_sync(&machine, "", input).await.expect("it ran");
            let status = ended.summary.map(|summary| summary.status());
            assert_eq!(
                (status, ended.output.as_deref()),
                (Some(ExecutionStatus::Succeeded), Some(&b"[7]"[..]))
            );
        }
        scene.until_served_by(2 - usize::from(gone)).await;
    }
    tokio::time::timeout(Duration::from_secs(20), scene.nodes[0].wait()).await.expect("it has drained");
    for _ in 0..TURNS {
        client.start_sync(&machine, "", Bytes::new()).await.expect("it ran");
    }
}
