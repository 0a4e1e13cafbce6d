//! Workers of activities: they poll a node, and answer by tokens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use executor::config::Config;
use journal::memory::MemoryStore;
use proto::executor::v1::{self, ExecutionStatus, GetActivityTaskRequest, GetActivityTaskResponse};
use testkit::eventually_async;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::support::{PATIENCE, TestNode, config, refused, start};

const REVIEW: &str = "arn:aws:states:us-east-1:123456789012:activity:review";
const ASK: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Task","End":true,
    "Resource":"arn:aws:states:us-east-1:123456789012:activity:review"}}}"#;

async fn node_on(store: &MemoryStore, poll_wait: Duration) -> TestNode {
    let metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let test = start(Config { poll_wait, metrics, ..config() }, Arc::new(store.clone())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true), "the node serves");
    test
}

async fn node(poll_wait: Duration) -> TestNode {
    node_on(&MemoryStore::new(), poll_wait).await
}

fn asks(activity: &str, worker: &str) -> GetActivityTaskRequest {
    GetActivityTaskRequest { activity_arn: activity.to_owned(), worker_name: worker.to_owned() }
}

type Polled = Result<GetActivityTaskResponse, Status>;

impl TestNode {
    fn poll(&self, worker: &str) -> JoinHandle<Polled> {
        let (mut client, request) = (self.client.clone(), asks(REVIEW, worker));
        tokio::spawn(async move { Ok(client.get_activity_task(request).await?.into_inner()) })
    }

    async fn succeeds(&mut self, task: &GetActivityTaskResponse, output: &'static [u8]) {
        let (task_token, output) = (task.task_token.clone(), output.into());
        let request = v1::SendTaskSuccessRequest { task_token, output };
        self.client.send_task_success(request).await.expect("taken");
    }

    /// Waits until so many calls wait for a task.
    async fn polled_by(&self, count: u64) {
        let address = self.node.addresses().metrics.expect("a metrics port");
        eventually_async("the calls that wait", PATIENCE, async || {
            let mut stream = TcpStream::connect(address).await.expect("it is open");
            let request = b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.expect("asked");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("answered");
            let line =
                text.lines().find(|line| line.starts_with("executor_activity_polls ")).unwrap_or_default();
            if line == format!("executor_activity_polls {count}") { Ok(()) } else { Err(line.to_owned()) }
        })
        .await;
    }
}

async fn answer(poll: JoinHandle<Polled>) -> GetActivityTaskResponse {
    let polled = tokio::time::timeout(PATIENCE, poll).await.expect("it is answered");
    polled.expect("no panic").expect("no refusal")
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_when_a_task_comes_and_the_token_ends_it() {
    let mut test = node(PATIENCE).await;
    let poll = test.poll("anna");
    test.polled_by(1).await;
    let execution = test.start(ASK, r#"{"n":1}"#).await.execution_id;
    let task = answer(poll).await;
    assert_eq!(task.input, r#"{"n":1}"#);
    test.polled_by(0).await;
    test.succeeds(&task, b"[7]").await;
    let ended = test.ended(&execution).await;
    assert_eq!(ended.output.as_deref(), Some(b"[7]".as_slice()));
    let request = v1::GetExecutionHistoryRequest { execution, ..Default::default() };
    let events = test.client.get_execution_history(request).await.expect("a history").into_inner().events;
    let started = events.iter().find(|event| event.r#type == "ActivityStarted").expect("its start");
    assert_eq!(started.details, r#"{"workerName":"anna"}"#);
}

#[tokio::test]
async fn a_poll_of_nothing_is_answered_empty_and_a_draining_node_does_not_keep_it() {
    let test = node(Duration::from_millis(20)).await;
    assert_eq!(answer(test.poll("anna")).await, GetActivityTaskResponse::default());
    let test = node(Duration::from_secs(3_600)).await;
    let poll = test.poll("anna");
    test.polled_by(1).await;
    test.node.drain();
    assert_eq!(answer(poll).await, GetActivityTaskResponse::default());
}

#[tokio::test]
async fn of_two_polls_one_gets_the_task_and_the_other_the_next_one_on_whichever_shard_it_is() {
    let mut test = node(PATIENCE).await;
    let polls = [test.poll("anna"), test.poll("bert")];
    test.polled_by(2).await;
    test.start(ASK, "1").await;
    test.polled_by(1).await;
    for number in 2..=9 {
        test.start(ASK, &number.to_string()).await;
    }
    let mut inputs = Vec::new();
    for poll in polls {
        inputs.push(answer(poll).await.input);
    }
    // All others are there too, each once.
    for _ in 0..7 {
        inputs.push(answer(test.poll("cora")).await.input);
    }
    inputs.sort();
    assert_eq!(inputs, (1..=9).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_that_was_dropped_takes_nothing() {
    let mut test = node(PATIENCE).await;
    let gone = test.poll("anna");
    test.polled_by(1).await;
    gone.abort();
    test.polled_by(0).await;
    test.start(ASK, "1").await;
    assert_eq!(answer(test.poll("bert")).await.input, "1");
}

#[tokio::test]
async fn a_task_that_was_taken_outlives_its_node_and_one_that_was_not_is_given_by_the_next() {
    let store = MemoryStore::new();
    let mut first = node_on(&store, PATIENCE).await;
    let taken = first.start(ASK, "1").await.execution_id;
    let task = answer(first.poll("anna")).await;
    first.start(ASK, "2").await;
    drop(first);
    let mut second = node_on(&store, PATIENCE).await;
    assert_eq!(answer(second.poll("bert")).await.input, "2");
    second.succeeds(&task, b"7").await;
    let status = second.ended(&taken).await.summary.map(|summary| summary.status());
    assert_eq!(status, Some(ExecutionStatus::Succeeded));
}

#[tokio::test]
async fn a_scheduler_waits_without_taking_and_takes_without_waiting() {
    let mut test = node(PATIENCE).await;
    let nothing = test.client.take_activity_task(asks(REVIEW, "anna")).await.expect("answered");
    assert_eq!(nothing.into_inner(), GetActivityTaskResponse::default());
    let mut client = test.client.clone();
    let waiting = tokio::spawn(async move {
        let request = v1::AwaitActivityTaskRequest { activity_arn: REVIEW.to_owned() };
        client.await_activity_task(request).await
    });
    test.polled_by(1).await;
    test.start(ASK, "1").await;
    let told =
        tokio::time::timeout(PATIENCE, waiting).await.expect("told").expect("no panic").expect("no refusal");
    assert_eq!(told.into_inner().waiting, 1);
    let task = test.client.take_activity_task(asks(REVIEW, "anna")).await.expect("answered").into_inner();
    assert_eq!(task.input, "1");
}

#[tokio::test]
async fn what_is_no_activity_and_a_name_that_is_too_long_are_refused() {
    let mut test = node(PATIENCE).await;
    let (long, name) = (format!("{REVIEW}{}", "x".repeat(2_048)), "x".repeat(81));
    for (activity, worker, wanted) in [
        ("review", "", "InvalidArn"),
        ("arn:aws:states:us-east-1:123456789012:stateMachine:review", "", "InvalidArn"),
        (&long, "", "InvalidArn"),
        (REVIEW, &name, "InvalidName"),
    ] {
        let (code, reason, _) = refused(test.client.get_activity_task(asks(activity, worker)).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, wanted));
    }
}
