//! The scheduler with a real node in the same process.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use executor::config::{Config, HistoryOptions};
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::{ExecutionStatus, LogLevel, LoggingConfiguration, Mode};
use proto::scheduler::v1::executions_client::ExecutionsClient;
use proto::scheduler::v1::{
    CreateStateMachineRequest, StartExecutionRequest, StartExecutionsRequest, UpdateStateMachineRequest,
};
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use testkit::eventually_async;
use tokio_stream::iter;
use tonic::Code;
use tonic_types::StatusExt;

use crate::fake::PATIENCE;

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
const WAIT: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;

struct Stage {
    memory: MemoryStore,
    node: Node,
    scheduler: Scheduler,
    client: Client,
}

async fn node(memory: &MemoryStore, config: Config) -> Node {
    let node = Node::start(config, Arc::new(memory.clone())).expect("the node starts");
    assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
    node
}

async fn stage() -> Stage {
    stage_with(HistoryOptions::default()).await
}

/// Whose node exports histories.
async fn stage_with(history: HistoryOptions) -> Stage {
    let memory = MemoryStore::new();
    let node = node(&memory, Config { shards: 2, history, ..Config::embedded() }).await;
    let config = SchedulerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        nodes: vec![node.addresses().public.to_string()],
        ..SchedulerConfig::default()
    };
    let store = memory.connect().await.expect("memory");
    let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
    scheduler.directory().wait_for_shards(PATIENCE).await.expect("the node joins");
    let client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
    Stage { memory, node, scheduler, client }
}

async fn create(client: &mut Client, name: &str, definition: &'static [u8]) -> String {
    let definition = Bytes::from_static(definition);
    let request =
        CreateStateMachineRequest { name: name.into(), definition, ..CreateStateMachineRequest::default() };
    client.create(request).await.expect("created").arn
}

async fn status_of(client: &Client, execution: &str) -> ExecutionStatus {
    let mut client = client.clone();
    let described = client.describe(execution).await.expect("described");
    described.summary.expect("a summary").status()
}

async fn until(client: &Client, execution: &str, wanted: ExecutionStatus) {
    eventually_async("the execution's status", PATIENCE, async || match status_of(client, execution).await {
        status if status == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn an_execution_is_started_described_and_stopped_through_the_scheduler() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let pass = create(&mut client, "pass", PASS).await;
    let started = client.start(&pass, "", Bytes::from_static(br#"{"a":1}"#)).await.expect("started");
    assert!(started.execution_arn.ends_with(&started.execution_id), "{}", started.execution_arn);
    until(&client, &started.execution_arn, ExecutionStatus::Succeeded).await;
    let described = client.describe(&started.execution_id).await.expect("by its id too");
    assert_eq!(described.output.as_deref(), Some(&br#"{"a":1}"#[..]));

    let wait = create(&mut client, "wait", WAIT).await;
    let open = client.start(&wait, "", Bytes::new()).await.expect("started");
    assert_eq!(status_of(&client, &open.execution_arn).await, ExecutionStatus::Running);
    client.stop(&open.execution_arn, "Enough", "said the test").await.expect("stopped");
    until(&client, &open.execution_arn, ExecutionStatus::Aborted).await;
    client.redrive(&open.execution_arn, "").await.expect("redriven");
    assert_eq!(status_of(&client, &open.execution_arn).await, ExecutionStatus::Running);
    let again = client.redrive(&open.execution_arn, "").await.expect_err("it runs");
    let reason = again.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("ExecutionNotRedrivable"));
}

#[tokio::test]
async fn a_comment_stays_where_an_update_says_nothing_of_it_and_goes_where_it_says_that_there_is_none() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let arn = create(&mut client, "pass", PASS).await;
    let (said, taken_away) = (Some("for people".to_owned()), Some(String::new()));
    let longer = Some(86_400);
    for (comment, retention_seconds, expected) in
        [(said, None, "for people"), (None, longer, "for people"), (taken_away, None, "")]
    {
        let arn = arn.clone();
        let request = UpdateStateMachineRequest { arn, comment, retention_seconds, ..Default::default() };
        let machine = request.arn.clone();
        client.update(request).await.expect("updated");
        assert_eq!(client.machine(&machine, 0).await.expect("known").comment, expected);
    }
}

#[tokio::test]
async fn an_express_machine_is_run_synchronously_and_a_standard_one_is_not() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let request = CreateStateMachineRequest {
        name: "quick".into(),
        definition: Bytes::from_static(PASS),
        mode: Mode::Express.into(),
        ..Default::default()
    };
    let express = client.create(request).await.expect("created").arn;
    let standard = create(&mut client, "pass", PASS).await;
    let address = format!("http://{}", stage.scheduler.address());
    let mut executions = ExecutionsClient::connect(address).await.expect("it answers");
    let start = |state_machine_arn| StartExecutionRequest {
        state_machine_arn,
        input: Bytes::from_static(b"[1]"),
        ..Default::default()
    };
    let ended = executions.start_sync_execution(start(express)).await.expect("an end").into_inner();
    assert_eq!(ended.output.as_deref(), Some(&b"[1]"[..]));
    assert_eq!(ended.summary.expect("a summary").status(), ExecutionStatus::Succeeded);
    let refused = executions.start_sync_execution(start(standard)).await.expect_err("refused");
    let reason = refused.get_error_details().error_info().map(|info| info.reason.clone());
    assert_eq!(reason.as_deref(), Some("StateMachineTypeNotSupported"));
}

#[tokio::test]
async fn a_named_start_repeated_while_it_runs_is_the_same_execution_and_then_the_name_is_taken() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let wait = create(&mut client, "wait", WAIT).await;
    let first = client.start(&wait, "monday", Bytes::from_static(b"{}")).await.expect("started");
    let again = client.start(&wait, "monday", Bytes::from_static(b"{}")).await.expect("the same");
    assert_eq!(again, first);
    for closed in [false, true] {
        if closed {
            client.stop(&first.execution_arn, "", "").await.expect("stopped");
        }
        let input = if closed { "{}" } else { "[]" };
        let taken = client.start(&wait, "monday", Bytes::from_static(input.as_bytes())).await;
        let taken = taken.expect_err("taken");
        let reason = taken.get_error_details().error_info().map(|info| info.reason.clone());
        assert_eq!((taken.code(), reason.as_deref()), (Code::AlreadyExists, Some("ExecutionAlreadyExists")));
    }
}

#[tokio::test]
async fn a_batch_of_256_starts_is_acknowledged_as_one_range() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let state_machine_arn = create(&mut client, "pass", PASS).await;
    let input = (0..256).map(|number| Bytes::from(format!("{{\"n\":{number}}}"))).collect();
    let message = StartExecutionsRequest { tag: 9, state_machine_arn, input, ..Default::default() };
    let stream = client.executions().start_executions(iter([message])).await;
    let mut answers = stream.expect("a stream").into_inner();
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("it comes").expect("sound");
    let answer = answer.expect("an answer");
    assert_eq!((answer.tag, answer.from, answer.to, answer.refusal), (9, 0, 256, None));
    let batch = ids::BatchId::try_from(&answer.batch.expect("an id")).expect("an id");
    let execution = batch.execution(255).to_string();
    until(&client, &execution, ExecutionStatus::Succeeded).await;
    let described = client.describe(&execution).await.expect("described");
    assert_eq!(described.output.as_deref(), Some(&br#"{"n":255}"#[..]));
}

#[tokio::test]
async fn a_batch_with_bad_entries_starts_the_good_ones() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let state_machine_arn = create(&mut client, "pass", PASS).await;
    let bad: [&[u8]; 3] = [b"{\"a\":1e999}", b"\"\xff\"", b"\"\\ud800\""];
    let mut input = vec![Bytes::from_static(b"{}")];
    input.extend(bad.map(Bytes::from_static));
    input.push(Bytes::from_static(b"[]"));
    let message = StartExecutionsRequest { tag: 1, state_machine_arn, input, ..Default::default() };
    let stream = client.executions().start_executions(iter([message])).await;
    let mut answers = stream.expect("a stream").into_inner();
    let mut verdicts = Vec::new();
    while verdicts.len() < 5 {
        let answer =
            tokio::time::timeout(PATIENCE, answers.message()).await.expect("it comes").expect("sound");
        let answer = answer.expect("the stream is open");
        for entry in answer.from..answer.to {
            verdicts.push((entry, answer.refusal.as_ref().map(|refusal| refusal.code.clone())));
        }
    }
    verdicts.sort();
    let invalid = Some("InvalidExecutionInput".to_owned());
    let expected = [(0, None), (1, invalid.clone()), (2, invalid.clone()), (3, invalid), (4, None)];
    assert_eq!(verdicts, expected);
}

#[tokio::test]
async fn mistakes_are_told_with_their_code() {
    let stage = stage().await;
    let mut client = stage.client.clone();
    let pass = create(&mut client, "pass", PASS).await;
    let unknown = "arn:aws:states:local:000000000000:stateMachine:nobody";
    let long = format!("\"{}\"", "x".repeat(262_143));
    let cases = [
        (unknown, "", "{}", Code::NotFound, "StateMachineDoesNotExist"),
        ("orders", "", "{}", Code::InvalidArgument, "InvalidArn"),
        (&pass, "a b", "{}", Code::InvalidArgument, "InvalidName"),
        (&pass, "", "{", Code::InvalidArgument, "InvalidExecutionInput"),
        (&pass, "", "{\"a\":1e999}", Code::InvalidArgument, "InvalidExecutionInput"),
        (&pass, "", &long, Code::InvalidArgument, "InvalidExecutionInput"),
    ];
    for (machine, name, input, grpc, reason) in cases {
        let status = client.start(machine, name, Bytes::from(input.to_owned())).await.expect_err(reason);
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((status.code(), info.reason.as_str()), (grpc, reason), "{status}");
    }
    let status = client.describe("what").await.expect_err("no execution");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_node_that_goes_and_comes_back_takes_starts_again_and_knows_the_old_ones() {
    let Stage { memory, node: first, mut client, scheduler } = stage().await;
    let pass = create(&mut client, "pass", PASS).await;
    let before = client.start(&pass, "", Bytes::new()).await.expect("started");
    until(&client, &before.execution_arn, ExecutionStatus::Succeeded).await;
    let listen = first.addresses().public;
    first.drain();
    first.wait().await;
    drop(first);
    let mut changes = scheduler.directory().changes();
    let gone = changes.wait_for(|view| view.shards.is_empty());
    drop(tokio::time::timeout(PATIENCE, gone).await.expect("it is missed").expect("the scheduler lives"));
    let status = client.start(&pass, "", Bytes::new()).await.expect_err("no node");
    assert_eq!(status.code(), Code::Unavailable);
    let named = format!("the one at {listen} ");
    assert!(
        status.message().contains(&named) && status.message().contains("scheduler-stub nodes"),
        "{status}"
    );

    let _second = node(&memory, Config { shards: 2, listen, ..Config::embedded() }).await;
    scheduler.directory().wait_for_shards(PATIENCE).await.expect("it joins again");
    let after = client.start(&pass, "", Bytes::new()).await.expect("started");
    assert_ne!(after.execution_id, before.execution_id);
    until(&client, &after.execution_arn, ExecutionStatus::Succeeded).await;
    until(&client, &before.execution_arn, ExecutionStatus::Succeeded).await;
}

/// The lines of all files of histories.
fn lines(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if !path.to_string_lossy().ends_with(".ndjson.zst") {
            continue;
        }
        let (file, mut text) = (std::fs::File::open(&path).expect("a file"), String::new());
        let mut decoder = zstd::stream::read::Decoder::new(file).expect("zstd");
        decoder.read_to_string(&mut text).expect("whole");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

#[tokio::test]
async fn what_is_logged_a_machine_says_and_its_update_and_a_start_for_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let history = HistoryOptions { history_files: Some(dir.path().to_owned()), ..HistoryOptions::default() };
    let stage = stage_with(history).await;
    let mut client = stage.client.clone();
    let logging = |level: LogLevel, include_execution_data| {
        Some(LoggingConfiguration { level: level.into(), include_execution_data })
    };
    let request = CreateStateMachineRequest {
        name: "pass".into(),
        definition: Bytes::from_static(PASS),
        logging: logging(LogLevel::Fatal, false),
        ..CreateStateMachineRequest::default()
    };
    let arn = client.create(request).await.expect("created").arn;
    let update = |comment: &str, logging| UpdateStateMachineRequest {
        arn: arn.clone(),
        definition: Bytes::from_static(PASS),
        comment: Some(comment.to_owned()),
        logging,
        ..UpdateStateMachineRequest::default()
    };
    let start = |said, input: &'static str| StartExecutionRequest {
        state_machine_arn: arn.clone(),
        input: Bytes::from_static(input.as_bytes()),
        logging: said,
        ..StartExecutionRequest::default()
    };
    client.update(update("says nothing of it", None)).await.expect("updated");
    assert_eq!(client.machine(&arn, 0).await.expect("known").logging, logging(LogLevel::Fatal, false));
    let quiet = client.start_as(start(None, r#""machine""#)).await.expect("started");
    let asked = client.start_as(start(logging(LogLevel::All, true), r#""asked""#)).await.expect("started");
    client.update(update("all", logging(LogLevel::All, false))).await.expect("updated");
    let told = client.start_as(start(None, r#""updated""#)).await.expect("started");
    let off = client.start_as(start(logging(LogLevel::Off, true), r#""off""#)).await.expect("started");
    for started in [&quiet, &asked, &told, &off] {
        until(&client, &started.execution_arn, ExecutionStatus::Succeeded).await;
    }
    stage.node.drain();
    stage.node.wait().await;
    let lines = lines(dir.path());
    let of = |execution: &str| lines.iter().filter(|line| line.contains(execution)).count();
    let counts = [&quiet, &asked, &told, &off].map(|started| of(&started.execution_arn));
    assert_eq!(counts, [0, 4, 4, 0], "a success is nothing at FATAL");
    assert_eq!(lines.iter().filter(|line| line.contains("asked")).count(), 4, "with data");
    assert!(!lines.iter().any(|line| line.contains("updated")), "without: {lines:?}");
}
