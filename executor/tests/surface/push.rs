//! A node that pushes metrics to a peer that never answers.

use std::sync::Arc;

use executor::config::{Config, PushOptions};
use executor::node::Drained;
use journal::memory::MemoryStore;
use proto::executor::v1;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::{PASS, PATIENCE, config, start};

#[tokio::test]
async fn a_collector_that_hangs_changes_nothing_for_executions_and_holds_up_no_drain() {
    let collector = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = collector.local_addr().expect("an address");
    let push = PushOptions { metrics_otlp: Some(format!("http://{address}")), ..PushOptions::default() };
    let mut test = start(Config { push, ..config() }, Arc::new(MemoryStore::new())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    let (mut connection, _) = collector.accept().await.expect("it pushes");
    let mut begin = [0; 21];
    connection.read_exact(&mut begin).await.expect("a request");
    assert_eq!(&begin, b"POST /v1/metrics HTTP");

    let execution = test.start(PASS, "{}").await.execution_id;
    let ended = test.ended(&execution).await;
    assert_eq!(ended.summary.expect("a summary").status(), v1::ExecutionStatus::Succeeded);
    test.node.drain();
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.wait()).await, Ok(Drained::Clean));
}
