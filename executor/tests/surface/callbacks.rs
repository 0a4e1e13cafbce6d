//! Callbacks, as whoever has a token sends them.

use std::sync::Arc;

use bytes::Bytes;
use journal::memory::MemoryStore;
use proto::executor::v1;
use proto::executor::v1::worker_client::WorkerClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{PATIENCE, TestNode, channel, config, node, refused, start};

/// Gives its token to a worker, and waits for the callback.
const ASK: &[u8] = br#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken","Parameters":{
        "FunctionName":"arn:aws:lambda:us-east-1:123456789012:function:double","Payload":{"token.$":"$$.Task.Token"}},
        "Catch":[{"ErrorEquals":["Refused"],"Next":"B"}],"End":true},
    "B":{"Type":"Pass","End":true}}}"#;
/// The same with a second between signs of life.
const SHORT: &[u8] = br#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken","HeartbeatSeconds":1,"Parameters":{
        "FunctionName":"arn:aws:lambda:us-east-1:123456789012:function:double","Payload":{"token.$":"$$.Task.Token"}},
        "End":true}}}"#;

/// A worker of the public port that answers each task with `null`.
struct Asked {
    messages: mpsc::Sender<v1::WorkerMessage>,
    tasks: Streaming<v1::TaskBatch>,
}

impl Asked {
    async fn attach(test: &TestNode) -> Self {
        let mut worker = WorkerClient::new(channel(test.node.addresses().public).await);
        let (messages, receiver) = mpsc::channel(16);
        let hello = Some(v1::WorkerHello { pool: "doublers".to_owned(), worker: "w1".to_owned() });
        messages.send(v1::WorkerMessage { hello, credit: 100, ..Default::default() }).await.expect("open");
        let tasks = worker.work(ReceiverStream::new(receiver)).await.expect("attached").into_inner();
        Self { messages, tasks }
    }

    /// The token of the next task.
    async fn token(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.tasks.message()).await.expect("in time");
            let Some(task) = next.expect("no error").expect("open").tasks.pop() else { continue };
            let output = v1::task_outcome::Outcome::Output(Bytes::from_static(b"null"));
            let outcomes = vec![v1::TaskOutcome { token: task.token, outcome: Some(output) }];
            self.messages.send(v1::WorkerMessage { outcomes, ..Default::default() }).await.expect("open");
            let text = std::str::from_utf8(&task.input).expect("text");
            let token = text.strip_prefix(r#"{"token":""#).and_then(|text| text.strip_suffix(r#""}"#));
            return token.expect("a token").to_owned();
        }
    }
}

async fn success(test: &mut TestNode, token: &str, output: &str) -> Result<(), Status> {
    let request = v1::SendTaskSuccessRequest {
        task_token: token.to_owned(),
        output: Bytes::copy_from_slice(output.as_bytes()),
    };
    test.client.send_task_success(request).await.map(drop)
}

async fn failure(test: &mut TestNode, token: &str, error: &str, cause: &str) -> Result<(), Status> {
    let request = v1::SendTaskFailureRequest {
        task_token: token.to_owned(),
        error: error.to_owned(),
        cause: cause.to_owned(),
    };
    test.client.send_task_failure(request).await.map(drop)
}

async fn heartbeat(test: &mut TestNode, token: &str) -> Result<(), Status> {
    let request = v1::SendTaskHeartbeatRequest { task_token: token.to_owned() };
    test.client.send_task_heartbeat(request).await.map(drop)
}

fn over() -> (Code, String) {
    (Code::FailedPrecondition, "TaskTimedOut".to_owned())
}

fn told(result: Result<(), Status>) -> (Code, String) {
    let (code, reason, message) = refused(result);
    assert!(!message.is_empty());
    (code, reason)
}

#[tokio::test]
async fn a_task_succeeds_with_the_output_that_is_sent_with_its_token_and_only_once() {
    let mut test = node().await;
    let mut asked = Asked::attach(&test).await;
    let started = test.start(ASK, "{}").await;
    let token = asked.token().await;
    heartbeat(&mut test, &token).await.expect("it is waited for");
    success(&mut test, &token, r#"{"approved":true}"#).await.expect("taken");
    let ended = test.ended(&started.execution_id).await;
    assert_eq!(ended.output.as_deref(), Some(br#"{"approved":true}"#.as_slice()));
    assert_eq!(told(success(&mut test, &token, "1").await), over());
    assert_eq!(told(failure(&mut test, &token, "", "").await), over());
    assert_eq!(told(heartbeat(&mut test, &token).await), over());
}

#[tokio::test]
async fn a_task_fails_with_the_error_and_cause_that_are_sent_and_they_can_be_caught() {
    let mut test = node().await;
    let mut asked = Asked::attach(&test).await;
    for (error, cause, output) in [
        ("Refused", "too dear", Some(r#"{"Error":"Refused","Cause":"too dear"}"#)),
        (&"É".repeat(256), &"u".repeat(32_768), None),
    ] {
        let started = test.start(ASK, "{}").await;
        let token = asked.token().await;
        failure(&mut test, &token, error, cause).await.expect("taken");
        let ended = test.ended(&started.execution_id).await;
        assert_eq!(ended.output.as_deref(), output.map(str::as_bytes));
        if output.is_none() {
            assert_eq!((ended.error.as_deref(), ended.cause.as_deref()), (Some(error), Some(cause)));
        }
    }
}

#[tokio::test]
async fn a_task_without_heartbeats_times_out_and_then_it_is_too_late() {
    let mut test = node().await;
    let mut asked = Asked::attach(&test).await;
    let started = test.start(SHORT, "{}").await;
    let token = asked.token().await;
    let ended = test.ended(&started.execution_id).await;
    assert_eq!(ended.error.as_deref(), Some("States.Timeout"));
    assert_eq!(told(success(&mut test, &token, "1").await), over());
    assert_eq!(told(heartbeat(&mut test, &token).await), over());
}

#[tokio::test]
async fn what_is_no_token_of_the_cluster_is_refused_whatever_is_sent_with_it() {
    let mut test = node().await;
    let mut asked = Asked::attach(&test).await;
    let started = test.start(ASK, "{}").await;
    let token = asked.token().await;
    let mut other_cluster = node().await;
    let changed = |at: usize| {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    };
    let long = token.repeat(40);
    for forged in ["", "x", &token[1..], &format!("{token}A"), &changed(3), &changed(30), &changed(60), &long]
    {
        for result in [
            success(&mut test, forged, "1").await,
            failure(&mut test, forged, "E", "").await,
            heartbeat(&mut test, forged).await,
        ] {
            assert_eq!(told(result), (Code::InvalidArgument, "InvalidToken".to_owned()), "{forged}");
        }
    }
    let result = success(&mut other_cluster, &token, "1").await;
    assert_eq!(told(result), (Code::InvalidArgument, "InvalidToken".to_owned()));
    success(&mut test, &token, "1").await.expect("nothing of that has ended it");
    assert_eq!(test.ended(&started.execution_id).await.output.as_deref(), Some(b"1".as_slice()));
}

#[tokio::test]
async fn what_is_no_json_or_too_long_is_refused_and_the_task_is_waited_for_still() {
    let mut test = node().await;
    let mut asked = Asked::attach(&test).await;
    let started = test.start(ASK, "{}").await;
    let token = asked.token().await;
    let long = format!("\"{}\"", "x".repeat(262_143));
    for output in ["", "{", "{} {}", "nonsense", r#"{"a":1e999}"#, &long] {
        let result = success(&mut test, &token, output).await;
        assert_eq!(told(result), (Code::InvalidArgument, "InvalidOutput".to_owned()));
    }
    for (error, cause) in [("E".repeat(257), String::new()), ("E".to_owned(), "c".repeat(32_769))] {
        let result = failure(&mut test, &token, &error, &cause).await;
        assert_eq!(told(result), (Code::InvalidArgument, "InvalidRequest".to_owned()));
    }
    let longest = format!("\"{}\"", "x".repeat(262_142));
    success(&mut test, &token, &longest).await.expect("as long as may be");
    assert_eq!(test.ended(&started.execution_id).await.output.as_deref(), Some(longest.as_bytes()));
}

#[tokio::test]
async fn a_token_is_good_with_the_next_process_and_what_was_taken_is_not_lost() {
    let store = MemoryStore::new();
    let mut test = start(config(), Arc::new(store.clone())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    let mut asked = Asked::attach(&test).await;
    let waiting = test.start(ASK, "{}").await;
    let open = asked.token().await;
    let answered = test.start(ASK, "{}").await;
    let taken = asked.token().await;
    success(&mut test, &taken, "1").await.expect("taken");
    drop((test, asked));
    let mut test = start(config(), Arc::new(store)).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    assert_eq!(test.ended(&answered.execution_id).await.output.as_deref(), Some(b"1".as_slice()));
    assert_eq!(told(success(&mut test, &taken, "2").await), over());
    success(&mut test, &open, "3").await.expect("the token outlives the process");
    assert_eq!(test.ended(&waiting.execution_id).await.output.as_deref(), Some(b"3".as_slice()));
}
