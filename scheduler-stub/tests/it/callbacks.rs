//! Callbacks through the scheduler: a token is all that it is given.

use std::sync::Arc;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use executor::shard::Binding;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{ExecutionStatus, WorkerHello, WorkerMessage};
use proto::scheduler::v1::CreateStateMachineRequest;
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::eventually_async;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic_types::StatusExt;

use crate::fake::PATIENCE;

const ASK: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Task","End":true,
    "Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken",
    "Parameters":{"FunctionName":"ask","Payload.$":"$$.Task.Token"}}}}"#;

/// A scheduler, and two nodes that have of one store what it says.
struct Stage {
    nodes: Vec<Node>,
    scheduler: Scheduler,
    client: Client,
}

async fn stage() -> Stage {
    let memory = MemoryStore::new();
    let config = SchedulerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        expected_nodes: 2,
        ..SchedulerConfig::default()
    };
    let store = memory.connect().await.expect("memory");
    let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
    let mut nodes = Vec::new();
    for node_id in ["n1", "n2"] {
        let config = Config {
            shards: 1,
            partitions: 4,
            node_id: node_id.to_owned(),
            scheduler: Some(format!("http://{}", scheduler.address())),
            bindings: vec![Binding { pattern: "ask".to_owned(), pool: "askers".to_owned() }],
            ..Config::embedded()
        };
        nodes.push(Node::start(config, Arc::new(memory.clone())).expect("the node starts"));
    }
    for node in &nodes {
        assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
    }
    let mut changes = scheduler.directory().changes();
    let both =
        changes.wait_for(|view| view.is_whole() && view.public_addresses.len() == 2 && view.partitions == 4);
    drop(tokio::time::timeout(PATIENCE, both).await.expect("in time").expect("the scheduler lives"));
    let client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
    Stage { nodes, scheduler, client }
}

/// Gives the tokens that tasks of a node come with.
async fn worker(node: &Node, tokens: mpsc::Sender<String>) {
    let address = format!("http://{}", node.addresses().public);
    let mut client = WorkerClient::connect(address).await.expect("the port is open");
    let (messages, receiver) = mpsc::channel(1);
    let hello = Some(WorkerHello { pool: "askers".to_owned(), worker: "w".to_owned() });
    messages.send(WorkerMessage { hello, credit: 100, ..Default::default() }).await.expect("open");
    let mut tasks = client.work(ReceiverStream::new(receiver)).await.expect("attached").into_inner();
    tokio::spawn(async move {
        let _open = messages;
        while let Ok(Some(batch)) = tasks.message().await {
            for task in batch.tasks {
                let token = serde_json::from_slice(&task.input).expect("a token");
                // The test may have seen enough.
                let _ = tokens.send(token).await;
            }
        }
    });
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn callbacks_reach_the_node_that_has_the_task_and_its_answers_come_back() {
    let Stage { nodes, scheduler, mut client } = stage().await;
    let owners = [0, 1, 2, 3].map(|partition| {
        let partition = ids::PartitionId::new(partition).expect("in range");
        scheduler.directory().view().holder(partition).cloned()
    });
    assert!(owners.iter().any(|owner| *owner != owners[0]), "each node has some: {owners:?}");
    let request = CreateStateMachineRequest {
        name: "ask".into(),
        definition: Bytes::from_static(ASK),
        ..CreateStateMachineRequest::default()
    };
    let machine = client.create(request).await.expect("created").arn;
    let (sender, mut tokens) = mpsc::channel(64);
    for node in &nodes {
        worker(node, sender.clone()).await;
    }
    let mut started = Vec::new();
    for number in 0..12 {
        // Names are spread over all partitions.
        started.push(client.start(&machine, &format!("n{number}"), Bytes::new()).await.expect("started"));
    }
    for number in 0..12 {
        let token = tokio::time::timeout(PATIENCE, tokens.recv()).await.expect("in time").expect("a token");
        client.task_heartbeat(token.clone()).await.expect("it is waited for");
        let sent = match number % 2 {
            0 => client.task_success(token.clone(), Bytes::from_static(b"[1]")).await,
            _ => client.task_failure(token.clone(), "Refused".to_owned(), "no".to_owned()).await,
        };
        sent.expect("taken");
        let again = client.task_success(token, Bytes::from_static(b"[2]")).await.expect_err("it is over");
        assert_eq!(reason(&again), "TaskTimedOut");
    }
    let mut ended = [0, 0];
    for execution in started {
        let described = eventually_async("an end", PATIENCE, async || {
            let described = client.clone().describe(&execution.execution_arn).await.expect("described");
            let status = described.summary.as_ref().expect("a summary").status();
            if status == ExecutionStatus::Running { Err("it runs".to_owned()) } else { Ok(described) }
        })
        .await;
        match (described.output.as_deref(), described.error.as_deref()) {
            (Some(b"[1]"), None) => ended[0] += 1,
            (None, Some("Refused")) => ended[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ended, [6, 6]);
}

#[tokio::test]
async fn what_is_no_token_is_refused_by_the_scheduler_or_by_the_node_that_judges_it() {
    let Stage { mut client, nodes: _nodes, scheduler: _scheduler } = stage().await;
    // Key 0, partition 1; key 0, partition 255.
    let (forged, beyond) = ("A".repeat(2) + "AB" + &"A".repeat(62), "AAD_".to_owned() + &"A".repeat(62));
    for (token, wanted) in [
        ("", "InvalidToken"),
        ("x y", "InvalidToken"),
        (&forged, "InvalidToken"),
        (&beyond, "TaskDoesNotExist"),
    ] {
        let refused =
            client.task_success(token.to_owned(), Bytes::from_static(b"1")).await.expect_err("no token");
        assert_eq!(reason(&refused), wanted, "{token}");
        assert!(!refused.message().is_empty());
    }
}
