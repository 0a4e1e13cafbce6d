//! Partitions find owners, and starts follow them: nodes that join, vanish, drain; schedulers that come and go.

use std::sync::Arc;

use bytes::Bytes;
use journal::Store;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::{Mode, StartExecutionResponse};
use proto::scheduler::v1::CreateStateMachineRequest;
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::eventually_async;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::fake::PATIENCE;
use crate::managed::{Fence, Managed};

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const ALL: [u32; 4] = [0, 1, 2, 3];

struct Stage {
    fence: Fence,
    store: Arc<dyn Store>,
    scheduler: Scheduler,
    client: Client,
    machine: String,
}

async fn scheduler(store: &Arc<dyn Store>, expected_nodes: usize) -> Scheduler {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let config = SchedulerConfig { listen, expected_nodes, ..SchedulerConfig::default() };
    Scheduler::start(config, Arc::clone(store)).await.expect("it starts")
}

async fn stage(expected_nodes: usize) -> Stage {
    let store = MemoryStore::new().connect().await.expect("memory");
    let scheduler = scheduler(&store, expected_nodes).await;
    let mut client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
    let request = CreateStateMachineRequest {
        name: "pass".into(),
        definition: Bytes::from_static(PASS),
        mode: Mode::Standard.into(),
        ..CreateStateMachineRequest::default()
    };
    let machine = client.create(request).await.expect("a machine").arn;
    Stage { fence: Fence::default(), store, scheduler, client, machine }
}

impl Stage {
    async fn node(&self) -> Managed {
        Managed::start(&self.fence, &self.scheduler.address().to_string()).await
    }

    fn start(&self, name: &'static str) -> JoinHandle<Result<StartExecutionResponse, Status>> {
        let (mut client, machine) = (self.client.clone(), self.machine.clone());
        tokio::spawn(async move { client.start(&machine, name, Bytes::new()).await })
    }

    /// Waits until the scheduler routes to these nodes, and each partition has an owner.
    async fn routes_to(&self, nodes: &[&Managed]) {
        eventually_async("the routes", PATIENCE, async || {
            let view = self.scheduler.directory().view();
            let serving = view.shards.iter().filter(|shard| !shard.partitions.is_empty());
            let routed: Vec<&str> = serving.map(|shard| &*shard.data_address).collect();
            let all = nodes.iter().all(|node| routed.contains(&node.fake.address.as_str()));
            let standing = self.scheduler.ownership().standing();
            let served = view.shards.iter().map(|shard| shard.partitions.len()).sum::<usize>();
            if all && routed.len() == nodes.len() && served == ALL.len() && standing.moves == 0 {
                Ok(())
            } else {
                Err(format!("{routed:?}, {served} served, {standing:?}"))
            }
        })
        .await;
    }
}

fn all_of(nodes: &[&Managed]) -> Vec<u32> {
    let mut owned: Vec<u32> = nodes.iter().flat_map(|node| node.owned()).collect();
    owned.sort_unstable();
    owned
}

#[tokio::test]
async fn nodes_that_join_share_the_partitions_and_one_that_comes_later_gets_its_part() {
    let stage = stage(2).await;
    let (one, two) = (stage.node().await, stage.node().await);
    stage.routes_to(&[&one, &two]).await;
    assert_eq!((one.owned().len(), two.owned().len()), (2, 2));
    let (three, four) = (stage.node().await, stage.node().await);
    stage.routes_to(&[&one, &two, &three, &four]).await;
    assert_eq!(all_of(&[&one, &two, &three, &four]), ALL);
    assert_eq!((one.taken(), two.taken(), three.taken(), four.taken()), (2, 2, 1, 1), "few moves");
}

#[tokio::test]
async fn a_batch_that_a_vanished_node_has_is_sent_to_the_next_owner_and_the_caller_only_waits() {
    let stage = stage(1).await;
    let mut one = stage.node().await;
    stage.routes_to(&[&one]).await;
    let start = stage.start("");
    let first = one.fake.next().await;
    let mut two = stage.node().await;
    one.vanish();
    let again = two.fake.next().await;
    assert_eq!(again.batch, first.batch, "the same id, the same content");
    again.acknowledge().await;
    start.await.expect("no panic").expect("acknowledged");
    assert_eq!(two.owned(), ALL);
}

#[tokio::test]
async fn a_named_start_waits_for_the_owner_of_its_partition() {
    let stage = stage(1).await;
    let mut one = stage.node().await;
    stage.routes_to(&[&one]).await;
    one.vanish();
    let mut changes = stage.scheduler.directory().changes();
    let away = changes.wait_for(|view| view.shards.is_empty());
    drop(tokio::time::timeout(PATIENCE, away).await.expect("it is missed").expect("the scheduler lives"));
    // Another node lives, and has nothing yet.
    let mut two = stage.node().await;
    let joined = changes.wait_for(|view| !view.shards.is_empty());
    drop(tokio::time::timeout(PATIENCE, joined).await.expect("it joins").expect("the scheduler lives"));
    let start = stage.start("monday");
    let batch = two.fake.next().await;
    assert_eq!(batch.batch.name, ["monday"]);
    batch.acknowledge().await;
    start.await.expect("no panic").expect("acknowledged");
}

#[tokio::test]
async fn a_draining_node_serves_until_all_of_its_partitions_are_elsewhere() {
    let stage = stage(1).await;
    let one = stage.node().await;
    stage.routes_to(&[&one]).await;
    one.drain();
    eventually_async("the drain", PATIENCE, async || {
        let view = stage.scheduler.directory().view();
        view.shards.iter().any(|shard| shard.draining).then_some(()).ok_or("not yet")
    })
    .await;
    assert_eq!(
        stage.scheduler.directory().view().shards[0].partitions.len(),
        ALL.len(),
        "nobody else is there"
    );
    let mut two = stage.node().await;
    eventually_async("the hand-over", PATIENCE, async || {
        if two.owned() == ALL && one.owned().is_empty() { Ok(()) } else { Err(format!("{:?}", two.owned())) }
    })
    .await;
    let start = stage.start("");
    two.fake.next().await.acknowledge().await;
    start.await.expect("no panic").expect("acknowledged");
}

#[tokio::test]
async fn a_batch_that_is_refused_by_a_draining_node_goes_to_the_next_owner() {
    let stage = stage(1).await;
    let mut one = stage.node().await;
    stage.routes_to(&[&one]).await;
    let start = stage.start("");
    let first = one.fake.next().await;
    let mut two = stage.node().await;
    one.drain();
    first.refuse(proto::executor::v1::start_refusal::Reason::Draining).await;
    let moved = loop {
        tokio::select! {
            moved = two.fake.next() => break moved,
            again = one.fake.next() => again.refuse(proto::executor::v1::start_refusal::Reason::Draining).await,
        }
    };
    assert_eq!(moved.batch, first.batch);
    moved.acknowledge().await;
    start.await.expect("no panic").expect("acknowledged");
}

#[tokio::test]
async fn a_new_scheduler_adopts_what_nodes_have_and_moves_nothing() {
    let mut stage = stage(2).await;
    let (mut one, mut two) = (stage.node().await, stage.node().await);
    stage.routes_to(&[&one, &two]).await;
    let before = (one.owned(), two.owned());
    let next = scheduler(&stage.store, 0).await;
    std::mem::replace(&mut stage.scheduler, next).shut_down().await;
    let address = stage.scheduler.address().to_string();
    // Its incarnation is newer in the real store; the fakes count for themselves.
    one.follow(0);
    two.follow(0);
    one.report_to(&address);
    two.report_to(&address);
    stage.routes_to(&[&one, &two]).await;
    eventually_async("the new scheduler", PATIENCE, async || {
        let standing = stage.scheduler.ownership().standing();
        if standing.assigning && standing.unassigned.is_empty() {
            Ok(())
        } else {
            Err(format!("{standing:?}"))
        }
    })
    .await;
    assert_eq!((one.owned(), two.owned()), before);
    assert_eq!((one.taken(), two.taken()), (2, 2));
}

#[tokio::test]
async fn a_scheduler_that_was_replaced_assigns_nothing_any_more_and_still_dispatches() {
    let stage = stage(1).await;
    let mut one = stage.node().await;
    stage.routes_to(&[&one]).await;
    one.follow(99);
    eventually_async("the replacement", PATIENCE, async || {
        let standing = stage.scheduler.ownership().standing();
        if standing.replaced_by == 99 && !standing.assigning { Ok(()) } else { Err(format!("{standing:?}")) }
    })
    .await;
    let two = stage.node().await;
    eventually_async("the other node", PATIENCE, async || {
        let known = stage.scheduler.directory().seen().len();
        if known == 2 { Ok(()) } else { Err(known) }
    })
    .await;
    let start = stage.start("");
    one.fake.next().await.acknowledge().await;
    start.await.expect("no panic").expect("acknowledged");
    assert_eq!(two.owned(), Vec::<u32>::new());
    let shown = stage.client.clone().nodes().await.expect("described");
    assert_eq!((shown.partitions, shown.nodes.len(), shown.replaced_by), (4, 2, 99));
}
