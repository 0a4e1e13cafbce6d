//! SIGTERM under load.

use crate::support::load::{Ended, Load};
use crate::support::node::Node;
use crate::support::readback::{
    every_acknowledged_execution_ended_once, every_acknowledged_execution_succeeds,
};
use crate::support::store::StoreUnderTest;

/// The client goes on sending until the node closes its stream; then the node starts again and everything is
/// compared.
async fn sigterm_under_load(store: StoreUnderTest) {
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, 1_000).await, Ended::Done);
    node.send_sigterm();
    // Refusals and the end of the stream are both right now; an acknowledgement is a promise as ever.
    let mut attempts = 0;
    while let Ended::Done = load.run(&node, load.acknowledged + 200).await {
        attempts += 1;
        assert!(attempts < 1_000, "a draining node takes work for ever");
    }
    let exit = node.wait_exit();
    assert_eq!((exit.code, exit.signal), (Some(0), None), "{}", node.log());
    node.relaunch();
    node.wait_serving().await;
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_exits_0_and_loses_nothing_on_redis() {
    sigterm_under_load(StoreUnderTest::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_exits_0_and_loses_nothing_on_files() {
    sigterm_under_load(StoreUnderTest::file()).await;
}
