//! One target that hangs takes nothing from another.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use testkit::eventually_async;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::support::PATIENCE;
use crate::support::node::{Node, SHARDS, start_request};

/// More than all shards together call one target at once, so that some wait for their turn.
const HUNG: usize = executor::limits::TARGET_CALLS_MAX * SHARDS as usize + 64;
const QUICK: usize = 200;
/// Calls of the test at once.
const AT_ONCE: usize = 32;

/// A peer that takes every request, and answers or does not.
async fn peer(answers: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |_| async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"\"done\""))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn calls(peer: SocketAddr) -> String {
    let call = |next: &str| {
        format!(
            r#"{{"Type":"Task","Resource":"arn:aws:states:::http:invoke","Parameters":{{"ApiEndpoint":"http://{peer}/",
            "Method":"GET"}},"ResultPath":null,{next}}}"#
        )
    };
    format!(r#"{{"StartAt":"A","States":{{"A":{},"B":{}}}}}"#, call(r#""Next":"B""#), call(r#""End":true"#))
}

async fn start(client: &ExecutorClient<Channel>, definition: &str, count: usize) -> Vec<String> {
    let starts = (0..count).map(|_| {
        let (mut client, request) = (client.clone(), start_request(definition, "{}"));
        async move { client.start_execution(request).await.map(|started| started.into_inner().execution_id) }
    });
    stream::iter(starts).buffer_unordered(AT_ONCE).try_collect().await.expect("all are started")
}

async fn status(mut client: ExecutorClient<Channel>, id: &str) -> v1::ExecutionStatus {
    let request = v1::DescribeExecutionRequest { execution: id.to_owned() };
    let described = client.describe_execution(request).await.expect("it is known").into_inner();
    described.summary.expect("a summary").status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_that_call_one_service_end_while_hundreds_wait_for_another_that_hangs() {
    let (hanging, answering) = (peer(false).await, peer(true).await);
    let store = ["--store".to_owned(), "memory".to_owned()];
    let node = Node::serving(&store, &["--egress-allow", "127.0.0.1"]).await;
    let client = node.client().await.expect("the node answers");
    let hung = start(&client, &calls(hanging), HUNG).await;
    let quick = start(&client, &calls(answering), QUICK).await;
    for id in &quick {
        eventually_async(&format!("{id} ends"), PATIENCE, || async {
            match status(client.clone(), id).await {
                v1::ExecutionStatus::Succeeded => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    let running = stream::iter(&hung)
        .map(|id| status(client.clone(), id))
        .buffer_unordered(AT_ONCE)
        .filter(|status| std::future::ready(*status == v1::ExecutionStatus::Running))
        .count()
        .await;
    assert_eq!(running, HUNG, "those that wait go on waiting");
}
