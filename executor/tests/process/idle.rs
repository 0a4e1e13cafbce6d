//! A store that goes away while nobody asks anything of the node.

use testkit::eventually_async;

use crate::support::PATIENCE;
use crate::support::node::Node;
use crate::support::store::StoreUnderTest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_notices_by_itself_that_its_redis_is_gone_and_that_it_is_back() {
    let mut store = StoreUnderTest::redis();
    let mut node = Node::serving(&store.flags(), &[]).await;
    store.kill9();
    eventually_async("health says that the store is gone", PATIENCE, || async {
        match node.health().await {
            Err(health) if health == "NotServing" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    node.says("the store does not answer: starts are refused until it does");
    store.restart();
    node.wait_serving().await;
    node.says("the store answers again");
    assert_eq!(node.terminate().code, Some(0));
}
