//! Batch streams, completions and workers.

use bytes::Bytes;
use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::start_refusal::Reason;
use proto::executor::v1::worker_client::WorkerClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::support::{ORDERS, PASS, PATIENCE, TASK, TestNode, channel, node, refused};

struct Starts {
    batches: mpsc::Sender<v1::StartBatch>,
    acks: Streaming<v1::StartAck>,
}

async fn open(client: &mut ExecutorClient<tonic::transport::Channel>) -> Starts {
    let (batches, receiver) = mpsc::channel(16);
    let acks = client.start_executions(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
    Starts { batches, acks }
}

impl Starts {
    async fn send(&self, batch: v1::StartBatch) {
        self.batches.send(batch).await.expect("the stream is open");
    }

    async fn ack(&mut self) -> v1::StartAck {
        let ack = tokio::time::timeout(PATIENCE, self.acks.message()).await.expect("in time");
        ack.expect("no error").expect("the stream is open")
    }

    async fn reason(&mut self) -> (Reason, String) {
        let refusal = self.ack().await.refusal.expect("refused");
        (refusal.reason(), refusal.message)
    }
}

async fn put(test: &mut TestNode, definition: &'static [u8]) -> Bytes {
    let put = v1::PutDefinitionRequest { definition: Bytes::from_static(definition), ..Default::default() };
    test.client.put_definition(put).await.expect("compiles").into_inner().definition_hash
}

fn batch(hash: &Bytes, partition: u32, sequence: u64, inputs: &[&'static str]) -> v1::StartBatch {
    v1::StartBatch {
        id: Some(v1::BatchId { partition, incarnation: 1_000, sequence }),
        machines: vec![v1::Machine {
            arn: ORDERS.to_owned(),
            definition_hash: hash.clone(),
            mode: v1::Mode::Express.into(),
            ..Default::default()
        }],
        input: inputs.iter().map(|input| Bytes::from_static(input.as_bytes())).collect(),
        start_time_ms: executor::clock::Clock::System.now_ms(),
        seed: 1,
        ..Default::default()
    }
}

#[tokio::test]
async fn the_public_port_forwards_batches_to_the_shard_of_their_partition() {
    let mut test = node().await;
    let hash = put(&mut test, PASS).await;
    let mut starts = open(&mut test.client).await;
    for partition in 0..4 {
        starts.send(batch(&hash, partition, 1, &["1", "2", "3"])).await;
        let ack = starts.ack().await;
        assert_eq!((ack.from, ack.to, ack.refusal), (0, 3, None));
        assert_eq!(ack.id.expect("an id").partition, partition);
    }
}

#[tokio::test]
async fn a_data_port_serves_its_own_partitions_and_redirects_for_others() {
    let mut test = node().await;
    let hash = put(&mut test, PASS).await;
    let mut client = ExecutorClient::new(channel(test.node.addresses().data[1]).await);
    let mut starts = open(&mut client).await;
    starts.send(batch(&hash, 1, 1, &["{}"])).await;
    assert_eq!(starts.ack().await.refusal, None);
    starts.send(batch(&hash, 2, 1, &["{}"])).await;
    let (reason, message) = starts.reason().await;
    assert!(reason == Reason::NotOwner && message.contains("DescribeNode"), "{message}");
}

#[tokio::test]
async fn one_bad_input_is_refused_and_the_others_of_its_batch_go_on() {
    let mut test = node().await;
    let hash = put(&mut test, PASS).await;
    let mut starts = open(&mut test.client).await;
    starts.send(batch(&hash, 0, 1, &["1", "{", "3"])).await;
    let mut outcome = [None; 3];
    while outcome.contains(&None) {
        let ack = starts.ack().await;
        for index in ack.from..ack.to {
            outcome[index as usize] = Some(ack.refusal.as_ref().map(v1::StartRefusal::reason));
        }
    }
    assert_eq!(outcome, [Some(None), Some(Some(Reason::Invalid)), Some(None)]);
}

#[tokio::test]
async fn batches_that_are_none_are_refused_and_the_stream_goes_on() {
    let mut test = node().await;
    let hash = put(&mut test, PASS).await;
    let mut starts = open(&mut test.client).await;
    let good = batch(&hash, 0, 1, &["{}"]);
    let many = vec![Bytes::from_static(b"{}"); 257];
    let wrong = [
        v1::StartBatch { id: None, ..good.clone() },
        batch(&hash, 5_000, 1, &["{}"]),
        batch(&hash, 0, 1 << 41, &["{}"]),
        v1::StartBatch { input: many, ..good.clone() },
        v1::StartBatch { machines: vec![], ..good.clone() },
        v1::StartBatch { machine_index: vec![7], ..good.clone() },
    ];
    for batch in wrong {
        let shown = format!("{:?} {} inputs", batch.id, batch.input.len());
        starts.send(batch).await;
        let (reason, message) = starts.reason().await;
        assert!(reason == Reason::Invalid && !message.is_empty(), "{shown}: {reason:?} {message}");
    }
    starts.send(batch(&Bytes::from_static(&[9; 32]), 0, 2, &["{}"])).await;
    let refusal = starts.ack().await.refusal.expect("refused");
    assert_eq!(refusal.reason(), Reason::DefinitionMissing);
    assert_eq!(refusal.missing_definitions, [Bytes::from_static(&[9; 32])]);
    starts.send(good).await;
    assert_eq!(starts.ack().await.refusal, None);
}

#[tokio::test]
async fn a_batch_sent_again_is_acknowledged_again_and_started_once() {
    let mut test = node().await;
    let hash = put(&mut test, PASS).await;
    let mut starts = open(&mut test.client).await;
    let first = batch(&hash, 0, 1, &["1"]);
    for _ in 0..3 {
        starts.send(first.clone()).await;
        assert_eq!(starts.ack().await.refusal, None);
    }
    starts.send(v1::StartBatch { input: vec![Bytes::from_static(b"2")], ..first }).await;
    assert_eq!(starts.reason().await.0, Reason::Conflict);
    let list = v1::ListExecutionsRequest { machine_arn: ORDERS.to_owned(), ..Default::default() };
    let listed = test.client.list_executions(list).await.expect("listed").into_inner();
    assert_eq!(listed.executions.len(), 1);
}

#[tokio::test]
async fn completions_of_every_shard_reach_a_watcher_of_the_public_port() {
    let mut test = node().await;
    let hash = put(&mut test, PASS).await;
    let watch = v1::WatchCompletionsRequest { include_outcomes: true };
    let mut completions = test.client.watch_completions(watch).await.expect("a stream").into_inner();
    let starts = open(&mut test.client).await;
    for partition in 0..4 {
        starts.send(batch(&hash, partition, 1, &["1", "2"])).await;
    }
    let mut ended = 0;
    let mut outputs = Vec::new();
    while ended < 8 {
        let next = tokio::time::timeout(PATIENCE, completions.message()).await.expect("in time");
        let batch = next.expect("no error").expect("open");
        for range in &batch.ranges {
            assert_eq!(range.status(), v1::ExecutionStatus::Succeeded);
            ended += range.to - range.from;
        }
        outputs.extend(batch.outcomes.into_iter().filter_map(|outcome| outcome.output));
        assert_eq!(batch.dropped, 0);
    }
    outputs.sort();
    assert_eq!(outputs, ["1", "1", "1", "1", "2", "2", "2", "2"]);
}

#[tokio::test]
async fn a_worker_of_the_public_port_gets_the_tasks_of_every_shard() {
    let mut test = node().await;
    let mut worker = WorkerClient::new(channel(test.node.addresses().public).await);
    let (messages, receiver) = mpsc::channel(16);
    let hello = v1::WorkerHello { pool: "doublers".to_owned(), worker: "w1".to_owned() };
    messages
        .send(v1::WorkerMessage { hello: Some(hello), credit: 1, ..Default::default() })
        .await
        .expect("open");
    let mut tasks = worker.work(ReceiverStream::new(receiver)).await.expect("attached").into_inner();
    let hash = put(&mut test, TASK).await;
    let mut starts = open(&mut test.client).await;
    for partition in 0..4 {
        starts.send(batch(&hash, partition, 1, &["21"])).await;
        assert_eq!(starts.ack().await.refusal, None);
    }
    for _ in 0..4 {
        let mut done = 0;
        while done == 0 {
            let next = tokio::time::timeout(PATIENCE, tasks.message()).await.expect("in time");
            let batch = next.expect("no error").expect("open");
            let outcomes: Vec<_> = batch.tasks.into_iter().map(double).collect();
            done = outcomes.len();
            let credit = u32::try_from(done).expect("few");
            messages.send(v1::WorkerMessage { credit, outcomes, ..Default::default() }).await.expect("open");
        }
        if done > 1 {
            break;
        }
    }
    for partition in 0..4 {
        let id = ids::PartitionId::new(partition).expect("in range");
        let id = ids::BatchId::new(id, 1_000, 1).expect("in range").execution(0).to_string();
        let described = finish(&mut test, &id, &mut tasks, &messages).await;
        assert_eq!(described.output.as_deref(), Some(b"42".as_slice()));
    }
}

fn double(task: v1::Task) -> v1::TaskOutcome {
    assert!(task.function.ends_with(":function:double"), "{}", task.function);
    let number: u64 = std::str::from_utf8(&task.input).expect("text").parse().expect("a number");
    let output = Bytes::from((2 * number).to_string());
    v1::TaskOutcome { token: task.token, outcome: Some(v1::task_outcome::Outcome::Output(output)) }
}

/// Serves tasks until the execution has ended.
async fn finish(
    test: &mut TestNode,
    execution: &str,
    tasks: &mut Streaming<v1::TaskBatch>,
    messages: &mpsc::Sender<v1::WorkerMessage>,
) -> v1::DescribeExecutionResponse {
    let ended = test.ended(execution);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            described = &mut ended => return described,
            next = tasks.message() => {
                let batch = next.expect("no error").expect("open");
                let outcomes: Vec<_> = batch.tasks.into_iter().map(double).collect();
                let credit = u32::try_from(outcomes.len()).expect("few");
                messages.send(v1::WorkerMessage { credit, outcomes, ..Default::default() }).await.expect("open");
            }
        }
    }
}

#[tokio::test]
async fn a_worker_that_does_not_introduce_itself_is_refused() {
    let test = node().await;
    let mut worker = WorkerClient::new(channel(test.node.addresses().data[0]).await);
    let hello = |pool: &str| Some(v1::WorkerHello { pool: pool.to_owned(), worker: String::new() });
    for hello in [None, hello(""), hello(&"p".repeat(300))] {
        let first = v1::WorkerMessage { hello, credit: 1, ..Default::default() };
        let result = worker.work(tokio_stream::once(first)).await;
        let (code, reason, _) = refused(result);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "InvalidHello"));
    }
}
