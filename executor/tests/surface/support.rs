//! A node on free ports, and what tests say to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use executor::shard::Binding;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub const ORDERS: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";
pub const PASS: &[u8] = br#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
pub const WAIT: &[u8] = br#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":86400,"End":true}}}"#;
pub const TASK: &[u8] = br#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":
    "arn:aws:lambda:us-east-1:123456789012:function:double","End":true}}}"#;

/// Nothing in these tests takes long; a wait this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestNode {
    pub node: Node,
    pub client: ExecutorClient<Channel>,
}

pub fn config() -> Config {
    let bindings = vec![Binding { pattern: "*:function:double".to_owned(), pool: "doublers".to_owned() }];
    Config { shards: 2, partitions: 4, bindings, ..Config::embedded() }
}

pub async fn channel(address: std::net::SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
    endpoint.connect().await.expect("the port is open")
}

/// A node that serves.
pub async fn node() -> TestNode {
    let test = start(config(), Arc::new(MemoryStore::new())).await;
    let ready = tokio::time::timeout(PATIENCE, test.node.ready()).await;
    assert_eq!(ready, Ok(true), "the node serves");
    test
}

/// A node that may not serve yet.
pub async fn start(config: Config, connect: Arc<dyn Connect>) -> TestNode {
    let node = Node::start(config, connect).expect("free ports");
    let client = ExecutorClient::new(channel(node.addresses().public).await);
    TestNode { node, client }
}

pub fn request(definition: &'static [u8], input: impl Into<Bytes>) -> v1::StartExecutionRequest {
    v1::StartExecutionRequest {
        machine_arn: ORDERS.to_owned(),
        definition: Bytes::from_static(definition),
        mode: v1::Mode::Standard.into(),
        input: input.into(),
        ..Default::default()
    }
}

impl TestNode {
    pub async fn start(&mut self, definition: &'static [u8], input: &str) -> v1::StartExecutionResponse {
        let request = request(definition, input.to_owned());
        self.client.start_execution(request).await.expect("started").into_inner()
    }

    pub async fn describe(&mut self, execution: &str) -> Result<v1::DescribeExecutionResponse, Status> {
        let request = v1::DescribeExecutionRequest { execution: execution.to_owned() };
        self.client.describe_execution(request).await.map(tonic::Response::into_inner)
    }

    /// Waits for the end by watching, not by asking again and again.
    pub async fn ended(&mut self, execution: &str) -> v1::DescribeExecutionResponse {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let described = self.describe(execution).await.expect("known");
                let status = described.summary.as_ref().expect("a summary").status();
                if status != v1::ExecutionStatus::Running {
                    return described;
                }
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("the execution ends")
    }
}

/// Code and stable reason of a refusal.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String, String) {
    let status = result.expect_err("refused");
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), reason, status.message().to_owned())
}
