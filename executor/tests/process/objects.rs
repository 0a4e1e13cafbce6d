//! kill -9 in the middle of a distributed Map over a file.

use std::path::Path;

use proto::executor::v1;
use proto::executor::v1::worker_client::WorkerClient;
use testkit::eventually_async;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::support::PATIENCE;
use crate::support::node::{Node, SHARDS, start_request};
use crate::support::store::StoreUnderTest;

/// Rows of the file; each is a child with a task, one after the other.
const ROWS: usize = 8;
/// The task that is out when the node is killed, from 0.
const KILLED_AT: usize = 4;

const EACH_ROW: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,"MaxConcurrency":1,
    "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{"InputType":"CSV","CSVHeaderLocation":"FIRST_ROW"},
        "Parameters":{"Bucket":"b","Key":"rows.csv"}},
    "ItemSelector":{"row.$":"$$.Map.Item.Value.row"},
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"T","States":{"T":{"Type":"Task",
        "Resource":"arn:aws:lambda:us-east-1:123456789012:function:row","End":true}}},
    "ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket":"b","Prefix":"out"},
        "WriterConfig":{"Transformation":"COMPACT","OutputType":"JSON"}}}}}"#;

/// A worker with one task at a time on each shard of a node.
struct Worker {
    shards: Vec<(mpsc::Sender<v1::WorkerMessage>, Streaming<v1::TaskBatch>)>,
}

impl Worker {
    async fn attach(node: &Node) -> Self {
        let mut shards = Vec::new();
        for shard in 0..SHARDS {
            let address = format!("http://{}:{}", node.data.ip(), node.data.port() + shard);
            let (messages, receiver) = mpsc::channel(16);
            let hello = v1::WorkerHello { pool: "rows".to_owned(), worker: "w".to_owned() };
            let first = v1::WorkerMessage { hello: Some(hello), credit: 1, ..Default::default() };
            messages.send(first).await.expect("open");
            let mut client = WorkerClient::connect(address).await.expect("the data port answers");
            let tasks = client.work(ReceiverStream::new(receiver)).await.expect("attached").into_inner();
            shards.push((messages, tasks));
        }
        Self { shards }
    }

    /// The next task, and the shard that it comes from.
    async fn next(&mut self) -> (usize, v1::Task) {
        loop {
            let [(_, one), (_, other)] = self.shards.as_mut_slice() else { panic!("there are two shards") };
            let (shard, batch) = tokio::select! {
                batch = one.message() => (0, batch),
                batch = other.message() => (1, batch),
                () = tokio::time::sleep(PATIENCE) => panic!("no task for {PATIENCE:?}"),
            };
            let batch = batch.expect("the stream goes on").expect("the stream does not end");
            if let Some(task) = batch.tasks.into_iter().next() {
                return (shard, task);
            }
        }
    }

    /// Answers a task with its input, and asks for another.
    async fn answer(&mut self, shard: usize, task: v1::Task) {
        let output = v1::task_outcome::Outcome::Output(task.input);
        let outcomes = vec![v1::TaskOutcome { token: task.token, outcome: Some(output) }];
        let message = v1::WorkerMessage { credit: 1, outcomes, ..Default::default() };
        self.shards[shard].0.send(message).await.expect("open");
    }
}

fn input_of(row: usize) -> String {
    format!(r#"{{"row":"{row}"}}"#)
}

async fn ended(node: &Node, id: &str) -> v1::DescribeExecutionResponse {
    eventually_async("the execution ends", PATIENCE, || async {
        let request = v1::DescribeExecutionRequest { execution: id.to_owned() };
        let described = node.client().await?.describe_execution(request).await;
        let described = described.map_err(|status| status.to_string())?.into_inner();
        match described.summary.as_ref().map(v1::ExecutionSummary::status) {
            Some(v1::ExecutionStatus::Running) => Err("it runs".to_owned()),
            _ => Ok(described),
        }
    })
    .await
}

/// The only result file below a folder.
fn results(out: &Path) -> String {
    let runs: Vec<_> =
        std::fs::read_dir(out).expect("results").map(|run| run.expect("an entry").path()).collect();
    assert_eq!(runs.len(), 1, "one Map Run has written: {runs:?}");
    std::fs::read_to_string(runs[0].join("SUCCEEDED_0.json")).expect("the results of those that succeeded")
}

/// Starts the Map; under its name it is started once, however often that takes.
async fn started(node: &Node) -> String {
    let request = v1::StartExecutionRequest { name: "rows".to_owned(), ..start_request(EACH_ROW, "{}") };
    eventually_async("the start is accepted", PATIENCE, || async {
        let started = node.client().await?.start_execution(request.clone()).await;
        started.map(|started| started.into_inner().execution_id).map_err(|status| status.to_string())
    })
    .await
}

/// A Map over a file, the node killed while a child's task is out, and the rest after it is back.
async fn a_map_outlives_its_node(store: StoreUnderTest, padding: usize) {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(folder.path().join("b")).expect("a bucket");
    let row = |row| format!("{row},{}\n", "x".repeat(padding));
    let rows: String = (0..ROWS).map(row).collect();
    std::fs::write(folder.path().join("b/rows.csv"), format!("row,padding\n{rows}")).expect("a file");
    let objects = folder.path().display().to_string();
    let flags = ["--objects-dir", &objects, "--bind", "*=rows"];
    let mut node = Node::serving(&store.flags(), &flags).await;
    let mut worker = Worker::attach(&node).await;
    let id = started(&node).await;
    for row in 0..=KILLED_AT {
        let (shard, task) = worker.next().await;
        assert_eq!(task.input, input_of(row));
        // A task leaves when the outcome of the one before is durable.
        if row < KILLED_AT {
            worker.answer(shard, task).await;
        }
    }
    node.kill9();
    node.relaunch();
    node.wait_serving().await;
    let mut worker = Worker::attach(&node).await;
    for row in KILLED_AT..ROWS {
        let (shard, task) = worker.next().await;
        assert_eq!(task.input, input_of(row), "no task that was completed is repeated");
        worker.answer(shard, task).await;
    }
    let described = ended(&node, &id).await;
    let summary = described.summary.as_ref().expect("a summary");
    assert_eq!(summary.status(), v1::ExecutionStatus::Succeeded, "{described:?}");
    let expected: Vec<String> = (0..ROWS).map(input_of).collect();
    assert_eq!(results(&folder.path().join("b/out")), format!("[{}]", expected.join(",")));
    let request = v1::GetExecutionHistoryRequest { execution: id, ..Default::default() };
    let mut client = node.client().await.expect("the node answers");
    let history = client.get_execution_history(request).await.expect("a history").into_inner();
    let told: Vec<&str> = history.events.iter().map(|event| event.r#type.as_str()).collect();
    let expected = [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(told, expected);
    let metrics = node.scrape().await;
    let written = metrics.lines().filter(|line| line.starts_with("executor_objects_written_total{"));
    assert_eq!(written.filter(|line| line.ends_with(" 1")).count(), 1, "{metrics}");
    assert_eq!(node.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_map_repeats_no_completed_task_on_files() {
    a_map_outlives_its_node(StoreUnderTest::file(), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_map_over_a_long_object_repeats_no_completed_task_on_redis() {
    a_map_outlives_its_node(StoreUnderTest::redis(), 300_000).await;
}
