//! A Redis that is not there, a Redis that goes away, and clients that speak nonsense.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proto::executor::v1;
use testkit::{Redis, eventually_async};
use tonic::Code;

use crate::support::PATIENCE;
use crate::support::load::{Ended, Load, PASS};
use crate::support::node::{Node, start_request};
use crate::support::readback::{
    every_acknowledged_execution_ended_once, every_acknowledged_execution_succeeds,
};
use crate::support::store::StoreUnderTest;

/// One plain start; the code of its refusal, or DEADLINE_EXCEEDED where the answer waits for the store.
async fn start(node: &Node) -> Result<v1::StartExecutionResponse, tonic::Status> {
    let mut client = node.client().await.map_err(tonic::Status::unknown)?;
    let call = client.start_execution(start_request(PASS, "1"));
    match tokio::time::timeout(Duration::from_secs(2), call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(tonic::Status::deadline_exceeded("no answer yet")),
    }
}

/// Waits until a start is refused for the store's sake, and returns the refusal. None may be acknowledged
/// meanwhile.
async fn refused(node: &Node) -> tonic::Status {
    eventually_async("starts are refused", PATIENCE, || async {
        match start(node).await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => Ok(status),
            Err(status) => Err(status.to_string()),
            Ok(answer) => panic!("acknowledged without a store: {answer:?}"),
        }
    })
    .await
}

/// Waits until starts are acknowledged.
async fn accepted(node: &Node) {
    eventually_async("starts are acknowledged", PATIENCE, || start(node)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_redis_is_absent_says_so_and_serves_when_it_comes() {
    let mut redis = Redis::durable();
    redis.kill9();
    let mut store = StoreUnderTest::Redis(redis);
    let mut node = Node::launch(&store.flags(), &[]);
    let line = node.says("cannot connect to Redis at 127.0.0.1:");
    assert!(line.contains("check that it runs"), "{line}");
    let health = eventually_async("health answers", PATIENCE, || async {
        match node.health().await {
            Err(health) if health == "NotServing" => Ok(health),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(health, "NotServing");
    let status = refused(&node).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    store.restart();
    node.wait_serving().await;
    accepted(&node).await;
    assert_eq!(node.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_lost_in_mid_run_stops_acknowledgements_until_it_is_back() {
    let mut store = StoreUnderTest::redis();
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&node).await;
    assert_eq!(load.run(&node, 500).await, Ended::Done);
    accepted(&node).await;
    store.kill9();
    let status = refused(&node).await;
    assert!(!status.message().is_empty());
    node.says("nothing is acknowledged and starts are refused");
    store.restart();
    accepted(&node).await;
    assert_eq!(load.run(&node, 1_000).await, Ended::Done);
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    every_acknowledged_execution_ended_once(&mut node, &store, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_while_another_took_its_partitions_acknowledges_nothing() {
    let store = StoreUnderTest::redis();
    let mut old = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&old).await;
    assert_eq!(load.run(&old, 500).await, Ended::Done);
    old.freeze();
    let mut new = Node::serving(&store.flags(), &[]).await;
    assert_eq!(load.run(&new, 1_000).await, Ended::Done);
    old.thaw();
    // The old node learns of its loss when it next writes; what it is asked then is refused.
    eventually_async("the old node refuses", PATIENCE, || async {
        match start(&old).await {
            // A start that was on its way is told of the new owner, one that comes later that the node does not serve.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::Unavailable) => Ok(()),
            Err(status) => Err(status.to_string()),
            Ok(answer) => panic!("a node without partitions acknowledged: {answer:?}"),
        }
    })
    .await;
    old.says("has another owner");
    assert_eq!(load.run(&new, 1_500).await, Ended::Done);
    load.settle(&new).await;
    every_acknowledged_execution_succeeds(&new, &load).await;
    old.kill9();
    every_acknowledged_execution_ended_once(&mut new, &store, &load).await;
}

/// Sends bytes, and reads what comes until the node closes or stays silent.
fn shout(address: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else {
        panic!("{address} takes no connections any more")
    };
    let silent = stream.set_read_timeout(Some(Duration::from_millis(100)));
    // The node may close while we still talk: that is a good answer to nonsense.
    drop(silent.and_then(|()| stream.write_all(bytes)));
    drop(stream.read(&mut [0; 4_096]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_any_port_harms_nobody_else() {
    let store = StoreUnderTest::redis();
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut random = 7_u32;
    let noise: Vec<u8> = (0..65_536)
        .map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        })
        .collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let with_preface = |tail: &[u8]| [preface.as_slice(), tail].concat();
    let garbage: Vec<Vec<u8>> = vec![
        noise.clone(),
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        preface.clone(),
        with_preface(&noise),
        // A frame that promises 16 MiB, an unknown frame, and a DATA frame for a stream that does not exist.
        with_preface(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
        with_preface(&[0, 0, 0, 0x7f, 0, 0, 0, 0, 0]),
        with_preface(&[0, 0, 4, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4]),
        Vec::new(),
    ];
    for address in [node.public, node.data, node.metrics] {
        for bytes in &garbage {
            shout(address, bytes);
        }
        for _ in 0..100 {
            drop(TcpStream::connect(address).expect("a connection that says nothing"));
        }
    }
    accepted(&node).await;
    node.health().await.expect("it serves");
    assert!(!node.log().contains("panicked"), "{}", node.log());
    assert_eq!(node.terminate().code, Some(0));
}
