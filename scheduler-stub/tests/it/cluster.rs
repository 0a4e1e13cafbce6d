//! Several real nodes that take their partitions from one scheduler, in one process on one store.

use std::sync::Arc;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::ExecutionStatus;
use proto::scheduler::v1::CreateStateMachineRequest;
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::eventually_async;
use tokio::sync::watch;

use crate::fake::PATIENCE;

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const WAIT: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;
const PARTITIONS: u16 = 8;

/// A scheduler on a store, and a client of it.
pub struct Stage {
    memory: MemoryStore,
    pub scheduler: Scheduler,
    pub client: Client,
}

impl Stage {
    pub async fn new() -> Self {
        let memory = MemoryStore::new();
        let store = memory.connect().await.expect("memory");
        let config = SchedulerConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            expected_nodes: 1,
            ..SchedulerConfig::default()
        };
        let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
        let client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
        Self { memory, scheduler, client }
    }

    /// A node that follows the scheduler.
    pub fn node(&self) -> Node {
        let scheduler = Some(format!("http://{}", self.scheduler.address()));
        let config = Config { shards: 2, partitions: PARTITIONS, scheduler, ..Config::embedded() };
        Node::start(config, Arc::new(self.memory.clone())).expect("the node starts")
    }

    /// Waits until each node serves so many partitions.
    pub async fn shares(&self, wanted: &[(&Node, usize)]) {
        eventually_async("the shares", PATIENCE, async || {
            let view = self.scheduler.directory().view();
            let share = |node: &Node| -> usize {
                let address = node.addresses().public.to_string();
                let shards = view.shards.iter().filter(|shard| *shard.public_address == *address);
                shards.map(|shard| shard.partitions.len()).sum()
            };
            let shares: Vec<usize> = wanted.iter().map(|(node, _)| share(node)).collect();
            let wanted = wanted.iter().map(|(_, share)| *share);
            if shares.iter().copied().eq(wanted) { Ok(()) } else { Err(format!("{shares:?}")) }
        })
        .await;
    }

    /// A STANDARD machine; gives its ARN.
    pub async fn create(&self, name: &str, definition: &'static [u8]) -> String {
        let request = CreateStateMachineRequest {
            name: name.into(),
            definition: Bytes::from_static(definition),
            ..CreateStateMachineRequest::default()
        };
        self.client.clone().create(request).await.expect("created").arn
    }
}

/// Waits until some more starts were acknowledged.
async fn more(count: &mut watch::Receiver<usize>) {
    let before = *count.borrow();
    let went_on = count.wait_for(|count| *count >= before + 10);
    drop(tokio::time::timeout(PATIENCE, went_on).await.expect("starts go on").expect("no start failed"));
}

#[tokio::test]
async fn starts_go_on_without_an_error_while_nodes_join_and_drain_and_nothing_is_lost() {
    let stage = Stage::new().await;
    let (pass, wait) = (stage.create("pass", PASS).await, stage.create("wait", WAIT).await);
    let one = stage.node();
    stage.shares(&[(&one, 8)]).await;
    let open = stage.client.clone().start(&wait, "open", Bytes::new()).await.expect("started");

    let (enough, stop) = watch::channel(false);
    let (counter, mut count) = watch::channel(0);
    let (mut client, machine) = (stage.client.clone(), pass.clone());
    let load = tokio::spawn(async move {
        let mut started = Vec::new();
        while !*stop.borrow() {
            counter.send_replace(started.len());
            let name = format!("n{}", started.len());
            let name = if started.len() % 2 == 0 { name.as_str() } else { "" };
            started.push(client.start(&machine, name, Bytes::new()).await.expect("no error").execution_arn);
        }
        started
    });
    more(&mut count).await;
    let two = stage.node();
    stage.shares(&[(&one, 4), (&two, 4)]).await;
    more(&mut count).await;
    one.drain();
    stage.shares(&[(&two, 8)]).await;
    one.wait().await;
    more(&mut count).await;
    enough.send_replace(true);

    let started = load.await.expect("every start is acknowledged");
    for execution in &started {
        eventually_async("its end", PATIENCE, async || {
            let described =
                stage.client.clone().describe(execution).await.map_err(|status| status.to_string())?;
            match described.summary.expect("a summary").status() {
                ExecutionStatus::Succeeded => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    let mut client = stage.client.clone();
    let listed = client.list(&pass, ExecutionStatus::Unspecified, started.len() + 10).await.expect("listed");
    assert_eq!(listed.len(), started.len(), "each once");
    client.stop(&open.execution_arn, "", "it has moved twice and lives").await.expect("stopped");
    stage.scheduler.shut_down().await;
}
