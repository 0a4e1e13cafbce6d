//! The public HTTP API behind its door: calls as the door hands them in, against fake and real nodes in the same process.

mod asw;
mod dispatch;
mod executions;
mod history;
mod machines;
mod map_runs;
mod work;

use std::sync::Arc;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use front::{Api, Call, Caller, Fault, Gate as _};
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::Mode;
use proto::scheduler::v1::CreateStateMachineRequest;
use scheduler_stub::client::Client;
use scheduler_stub::doors::Gate;
use scheduler_stub::{Scheduler, SchedulerConfig};
use serde_json::{Value, json};
use testkit::eventually_async;

use crate::fake::PATIENCE;

/// A call as the door hands it in.
fn call_of(api: Api, operation: &str, input: Value) -> Call {
    Call {
        api,
        operation: api.operation(operation).expect("an operation"),
        input,
        caller: Caller::anonymous(),
        request_id: "r".to_owned(),
        region: None,
    }
}

/// Calls an operation of Step Functions' API.
pub async fn call(gate: &Gate, operation: &str, input: Value) -> Result<Value, Fault> {
    let answer = gate.call(call_of(Api::Sfn, operation, input)).await?;
    Ok(serde_json::from_slice(answer.as_bytes()).expect("an object"))
}

/// The name of the exception that a client sees.
async fn refused(gate: &Gate, operation: &str, input: Value) -> &'static str {
    let shown = input.to_string();
    let fault = call(gate, operation, input).await.expect_err(&shown);
    assert_ne!(fault.message(), "");
    fault.kind().sfn()
}

/// A scheduler with a real node.
struct Stage {
    gate: Gate,
    client: Client,
    scheduler: Scheduler,
    _node: Node,
}

impl Stage {
    async fn new() -> Self {
        let memory = MemoryStore::new();
        let node = Node::start(Config { shards: 2, ..Config::embedded() }, Arc::new(memory.clone()));
        let node = node.expect("the node starts");
        assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
        let config = SchedulerConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            nodes: vec![node.addresses().public.to_string()],
            ..SchedulerConfig::default()
        };
        let store = memory.connect().await.expect("memory");
        let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
        scheduler.directory().wait_for_shards(PATIENCE).await.expect("the node joins");
        let client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
        Self { gate: scheduler.gate().clone(), client, scheduler, _node: node }
    }

    async fn machine(&self, name: &str, mode: Mode, definition: &'static str) -> String {
        let request = CreateStateMachineRequest {
            name: name.to_owned(),
            definition: Bytes::from_static(definition.as_bytes()),
            mode: mode.into(),
            ..Default::default()
        };
        self.client.clone().create(request).await.expect("created").arn
    }

    async fn call(&self, operation: &str, input: Value) -> Value {
        call(&self.gate, operation, input).await.expect(operation)
    }

    async fn refused(&self, operation: &str, input: Value) -> &'static str {
        refused(&self.gate, operation, input).await
    }

    /// Starts an execution; gives its ARN.
    async fn start(&self, machine: &str, input: &str) -> String {
        let started = self.call("StartExecution", json!({"stateMachineArn": machine, "input": input})).await;
        started["executionArn"].as_str().expect("an ARN").to_owned()
    }

    /// Waits for an execution's end, and gives what is told of it.
    async fn until(&self, execution: &str, status: &str) -> Value {
        let ask = json!({"executionArn": execution});
        eventually_async("the execution's status", PATIENCE, async || {
            let described = self.call("DescribeExecution", ask.clone()).await;
            if described["status"] == status { Ok(()) } else { Err(described["status"].to_string()) }
        })
        .await;
        self.call("DescribeExecution", ask).await
    }
}

const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const WAIT: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;
