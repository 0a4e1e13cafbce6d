//! The tokens of pages: for the question that they were given for, in the hands of any scheduler of the cluster.

use std::sync::Arc;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::{ListExecutionsRequest, ListExecutionsResponse};
use proto::scheduler::v1::CreateStateMachineRequest;
use proto::scheduler::v1::executions_client::ExecutionsClient;
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::fake::PATIENCE;

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;

async fn scheduler(memory: &MemoryStore, node: &Node) -> Scheduler {
    let config = SchedulerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        nodes: vec![node.addresses().public.to_string()],
        ..SchedulerConfig::default()
    };
    let store = memory.connect().await.expect("memory");
    let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
    scheduler.directory().wait_for_shards(PATIENCE).await.expect("the node joins");
    scheduler
}

async fn page(scheduler: &Scheduler, machine: &str, token: &str) -> Result<ListExecutionsResponse, Status> {
    let url = format!("http://{}", scheduler.address());
    let mut client = ExecutionsClient::connect(url).await.expect("it answers");
    let (machine_arn, next_token) = (machine.to_owned(), token.to_owned());
    let request = ListExecutionsRequest { machine_arn, next_token, max_results: 1, ..Default::default() };
    client.list_executions(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_page_s_token_outlives_its_scheduler_and_is_refused_changed_made_up_or_for_another_machine() {
    let memory = MemoryStore::new();
    let config = Config { shards: 2, ..Config::embedded() };
    let node = Node::start(config, Arc::new(memory.clone())).expect("the node starts");
    assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
    let first = scheduler(&memory, &node).await;
    let mut client = Client::connect(&first.address().to_string(), None).await.expect("it answers");
    let mut machines = Vec::new();
    for name in ["pass", "other"] {
        let definition = Bytes::from_static(PASS);
        let request = CreateStateMachineRequest { name: name.into(), definition, ..Default::default() };
        machines.push(client.create(request).await.expect("created").arn);
    }
    for name in ["a", "b", "c"] {
        client.start(&machines[0], name, Bytes::new()).await.expect("started");
    }
    let token = page(&first, &machines[0], "").await.expect("a page").next_token;
    first.shut_down().await;

    let second = scheduler(&memory, &node).await;
    let next = page(&second, &machines[0], &token).await.expect("the next page");
    assert_eq!(next.executions.len(), 1);
    let last = if token.ends_with('0') { "1" } else { "0" };
    let changed = format!("{}{last}", &token[..token.len() - 1]);
    let shown = &next.executions[0];
    let made_up = format!("{}:{}", shown.start_time_ms, shown.execution_id);
    for (machine, token) in [(0, &changed), (0, &made_up), (1, &token)] {
        let refused = page(&second, &machines[machine], token).await.expect_err("refused");
        let reason = refused.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!((refused.code(), reason.as_deref()), (Code::InvalidArgument, Some("InvalidToken")));
    }
}
