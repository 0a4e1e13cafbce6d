//! Acknowledged = found = exactly one terminal outcome.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use ids::{PartitionId, Status};
use journal::store::{BlockRange, Connect};
use journal::{Block, BlockId, Record};
use proto::executor::v1;
use testkit::eventually_async;

use super::PATIENCE;
use super::load::Load;
use super::node::{Node, PARTITIONS};
use super::store::StoreUnderTest;

/// Questions that are asked at once.
const QUESTIONS: usize = 32;
const PAGE: usize = 64;

/// Waits until every acknowledged execution has ended well, as the node says.
pub async fn every_acknowledged_execution_succeeds(node: &Node, load: &Load) {
    let client = node.client().await.expect("the node answers");
    let ids = load.ledger.read().expect("the ledger is readable");
    assert_eq!(ids.len() as u64, load.acknowledged, "the ledger is complete");
    stream::iter(ids)
        .map(|id| {
            let client = client.clone();
            async move {
                let described = eventually_async(&format!("{id} has succeeded"), PATIENCE, || {
                    let mut client = client.clone();
                    let request = v1::DescribeExecutionRequest { execution: id.clone() };
                    async move {
                        let reply = client.describe_execution(request).await;
                        let described = reply.map_err(|status| status.to_string())?.into_inner();
                        let status = described.summary.as_ref().map(v1::ExecutionSummary::status);
                        match status {
                            Some(v1::ExecutionStatus::Succeeded) => Ok(described),
                            other => Err(format!("{other:?} {:?}", described.cause)),
                        }
                    }
                })
                .await;
                assert_eq!(described.output.as_ref(), Some(&described.input), "{id} passes its input on");
            }
        })
        .buffer_unordered(QUESTIONS)
        .collect::<Vec<()>>()
        .await;
}

/// Ends of executions as the store's logs have them.
pub async fn ends(connect: Arc<dyn Connect>) -> HashMap<String, Vec<Status>> {
    let store = connect.connect().await.expect("the store is there");
    let mut ends: HashMap<String, Vec<Status>> = HashMap::new();
    let highest = BlockId { generation: u64::MAX, sequence: u64::MAX };
    for partition in (0..PARTITIONS).map(|number| PartitionId::new(number).expect("a partition")) {
        let mut from = BlockId::default();
        loop {
            let range = BlockRange { from, to: highest, reverse: false, limit: PAGE };
            let blocks = store.read(partition, range).await.expect("the log is readable");
            let Some((last, _)) = blocks.last() else { break };
            from = BlockId { sequence: last.sequence + 1, ..*last };
            for (_, bytes) in &blocks {
                let block = Block::parse(bytes).expect("a block");
                for record in block.records().expect("its records") {
                    if let Record::Closed(closed) = record {
                        ends.entry(closed.id.to_string()).or_default().push(closed.status);
                    }
                }
            }
        }
    }
    ends
}

/// Ends the node in order and compares the ledger with the logs.
pub async fn every_acknowledged_execution_ended_once(node: &mut Node, store: &StoreUnderTest, load: &Load) {
    assert_eq!(node.terminate().code, Some(0), "the node drains");
    let ends = ends(store.connect()).await;
    for (id, statuses) in &ends {
        assert_eq!(statuses.len(), 1, "{id} ended more than once: {statuses:?}");
    }
    for id in load.ledger.read().expect("the ledger is readable") {
        assert_eq!(ends.get(&id).map(Vec::as_slice), Some([Status::Succeeded].as_slice()), "{id}");
    }
}
