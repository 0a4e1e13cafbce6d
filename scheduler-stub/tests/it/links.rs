//! What the dispatcher sends to nodes, and what it makes of their answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::start_refusal::Reason;
use proto::executor::v1::{self, ExecutionStatus};
use proto::scheduler::v1::{
    CreateStateMachineRequest, StartExecutionRequest, StartExecutionsRequest, StartExecutionsResponse,
};
use scheduler_stub::client::Client;
use scheduler_stub::dispatch::STARTS_MAX;
use scheduler_stub::error::OUTCOME_UNKNOWN;
use scheduler_stub::{Scheduler, SchedulerConfig};
use tokio::sync::{Barrier, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming};
use tonic_types::StatusExt;

use crate::fake::{FakeNode, PATIENCE};

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;

pub struct Stage {
    pub scheduler: Scheduler,
    pub client: Client,
    pub machine: String,
}

pub async fn stage(nodes: &[&FakeNode]) -> Stage {
    let store = MemoryStore::new().connect().await.expect("memory");
    let config = SchedulerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        nodes: nodes.iter().map(|node| node.address.clone()).collect(),
        ..SchedulerConfig::default()
    };
    let scheduler = Scheduler::start(config, Arc::clone(&store)).await.expect("it starts");
    let mut changes = scheduler.directory().changes();
    let all_there = changes.wait_for(|view| view.shards.len() == nodes.len());
    drop(tokio::time::timeout(PATIENCE, all_there).await.expect("the nodes join").expect("it lives"));
    let mut client = Client::connect(&scheduler.address().to_string(), None).await.expect("it answers");
    let request = CreateStateMachineRequest {
        name: "pass".into(),
        definition: Bytes::from_static(PASS),
        ..CreateStateMachineRequest::default()
    };
    let machine = client.create(request).await.expect("a machine").arn;
    Stage { scheduler, client, machine }
}

pub struct Batches {
    sender: mpsc::Sender<StartExecutionsRequest>,
    answers: Streaming<StartExecutionsResponse>,
}

impl Batches {
    pub async fn open(stage: &Stage) -> Self {
        let (sender, queued) = mpsc::channel(1);
        let stream = stage.client.executions().start_executions(ReceiverStream::new(queued)).await;
        Self { sender, answers: stream.expect("a stream").into_inner() }
    }

    pub async fn send(&self, tag: u64, machine: &str, starts: usize) {
        let input = vec![Bytes::from_static(b"{}"); starts];
        let state_machine_arn = machine.to_owned();
        let message = StartExecutionsRequest { tag, state_machine_arn, input, ..Default::default() };
        self.sender.send(message).await.expect("the stream is open");
    }

    pub async fn next(&mut self) -> StartExecutionsResponse {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        answer.expect("an answer comes").expect("the stream is sound").expect("the stream is open")
    }

    /// Returns when all messages before have reached their link: messages are taken in order, and this one is
    /// refused at once.
    pub async fn all_taken(&mut self) {
        self.send(u64::MAX, "arn:aws:states:local:000000000000:stateMachine:nobody", 1).await;
        assert_eq!(self.next().await.tag, u64::MAX);
    }
}

#[tokio::test]
async fn a_lone_start_is_sent_at_once_and_what_gathers_meanwhile_shares_the_next_batch() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    batches.send(0, &stage.machine, 1).await;
    let first = node.next().await;
    assert_eq!(first.len(), 1);
    for tag in 1..=50 {
        batches.send(tag, &stage.machine, 1).await;
    }
    batches.all_taken().await;
    first.acknowledge().await;
    let second = node.next().await;
    assert_eq!(second.len(), 50);
    second.acknowledge().await;
    let id = second.batch.id.expect("an id");
    assert_eq!(id.partition, first.batch.id.expect("an id").partition, "one partition is filled at a time");
    let mut answered = Vec::new();
    for _ in 0..=50 {
        let answer = batches.next().await;
        assert_eq!(answer.refusal, None);
        answered.push(answer.tag);
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..=50).collect::<Vec<u64>>());
    stage.scheduler.shut_down().await;
}

#[tokio::test]
async fn full_batches_do_not_wait_for_each_other() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    for tag in 0..4 {
        batches.send(tag, &stage.machine, 256).await;
    }
    let mut received = Vec::new();
    for _ in 0..4 {
        received.push(node.next().await);
    }
    for batch in received.iter().rev() {
        assert_eq!(batch.len(), 256);
        batch.acknowledge().await;
    }
    let mut ids: Vec<_> = received.iter().map(|batch| batch.batch.id.expect("an id").sequence).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4, "every batch has an id of its own");
    for _ in 0..4 {
        let answer = batches.next().await;
        assert_eq!((answer.from, answer.to, answer.refusal), (0, 256, None));
    }
}

#[tokio::test]
async fn a_batch_whose_stream_broke_is_sent_again_unchanged_and_answered_once() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    batches.send(7, &stage.machine, 3).await;
    let first = node.next().await;
    first.cut().await;
    let again = node.next().await;
    assert_eq!(again.batch, first.batch);
    again.acknowledge().await;
    again.acknowledge().await;
    let answer = batches.next().await;
    assert_eq!((answer.tag, answer.from, answer.to, answer.batch), (7, 0, 3, first.batch.id));
    batches.all_taken().await;
}

#[tokio::test]
async fn what_the_node_cannot_take_now_is_sent_again_under_the_same_id() {
    for reason in [Reason::Overloaded, Reason::StoreUnavailable, Reason::Draining, Reason::NotOwner] {
        let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
        let mut stage = stage(&[&node]).await;
        let machine = stage.machine.clone();
        let start = tokio::spawn(async move { stage.client.start(&machine, "", Bytes::new()).await });
        let first = node.next().await;
        first.refuse(reason).await;
        let again = node.next().await;
        assert_eq!(again.batch, first.batch, "{reason:?}");
        again.acknowledge().await;
        assert!(start.await.expect("no panic").is_ok(), "{reason:?}");
    }
}

#[tokio::test]
async fn a_start_that_a_killed_node_may_have_written_is_not_told_as_one_to_make_again() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let (mut client, state_machine_arn) = (stage.client.executions(), stage.machine.clone());
    let start = tokio::spawn(async move {
        let mut start = Request::new(StartExecutionRequest { state_machine_arn, ..Default::default() });
        start.set_timeout(Duration::from_secs(1));
        client.start_execution(start).await
    });
    node.next().await;
    node.kill();
    let status = start.await.expect("no panic").expect_err("nobody acknowledges it");
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!((status.code(), reason), (Code::Unavailable, Some(OUTCOME_UNKNOWN)), "{status}");
    assert!(details.retry_info().is_none() && status.message().contains("ListExecutions"), "{status}");
}

fn trace(traceparent: &str) -> v1::TraceContext {
    v1::TraceContext { traceparent: traceparent.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn starts_reach_nodes_with_the_traces_of_their_calls_and_messages_and_none_where_none_can_be_read() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    batches.send(0, &stage.machine, 1).await;
    let first = node.next().await;
    assert_eq!(first.batch.trace, []);
    // What comes meanwhile is one batch.
    batches.send(1, &stage.machine, 1).await;
    let input = vec![Bytes::from_static(b"{}"); 2];
    let (trace_column, state_machine_arn) = (vec![trace("what"), trace(PARENT)], stage.machine.clone());
    let message = StartExecutionsRequest {
        tag: 2,
        state_machine_arn,
        input,
        trace: trace_column,
        ..Default::default()
    };
    batches.sender.send(message).await.expect("the stream is open");
    batches.all_taken().await;
    first.acknowledge().await;
    let second = node.next().await;
    assert_eq!(second.batch.trace, [trace(""), trace(""), trace(PARENT)]);
    second.acknowledge().await;
    let (mut client, state_machine_arn) = (stage.client.executions(), stage.machine.clone());
    let start = tokio::spawn(async move {
        let mut start = Request::new(StartExecutionRequest { state_machine_arn, ..Default::default() });
        start.metadata_mut().insert("traceparent", PARENT.parse().expect("a value"));
        client.start_execution(start).await
    });
    let third = node.next().await;
    assert_eq!(third.batch.trace, [trace(PARENT)]);
    third.acknowledge().await;
    assert!(start.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_list_asks_all_nodes_at_once() {
    let nodes = [FakeNode::start(&[0, 1]).await, FakeNode::start(&[2, 3]).await];
    let mut stage = stage(&[&nodes[0], &nodes[1]]).await;
    let both = Arc::new(Barrier::new(nodes.len()));
    nodes.iter().for_each(|node| node.lists_at(&both));
    let listed = stage.client.list(&stage.machine, ExecutionStatus::Unspecified, 10).await;
    assert_eq!(listed.expect("both are asked before one has answered"), []);
}

#[tokio::test]
async fn a_node_that_lacks_the_definition_is_given_it() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let mut stage = stage(&[&node]).await;
    let machine = stage.machine.clone();
    let start = tokio::spawn(async move { stage.client.start(&machine, "", Bytes::new()).await });
    let first = node.next().await;
    first.refuse(Reason::DefinitionMissing).await;
    let again = node.next().await;
    assert_eq!(node.definitions_put(), 1);
    assert_eq!(again.batch, first.batch);
    again.acknowledge().await;
    assert!(start.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn only_the_entries_that_the_node_refuses_are_refused() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    batches.send(1, &stage.machine, 5).await;
    let batch = node.next().await;
    batch.answer(0, 2, None).await;
    batch.answer(2, 3, Some(Reason::Invalid)).await;
    batch.answer(3, 5, None).await;
    let mut ranges = Vec::new();
    for _ in 0..3 {
        let answer = batches.next().await;
        ranges.push((answer.from, answer.to, answer.first_index, answer.refusal.map(|refusal| refusal.code)));
    }
    assert_eq!(ranges, [(0, 2, 0, None), (2, 3, 2, Some("Invalid".into())), (3, 5, 3, None)]);
}

#[tokio::test]
async fn a_start_that_the_node_answers_with_a_running_execution_is_answered_with_that() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    batches.send(5, &stage.machine, 3).await;
    let batch = node.next().await;
    let other = v1::BatchId { partition: 2, incarnation: 9, sequence: 77 };
    let running = v1::RunningExecution { batch: Some(other), index: 4, start_time_ms: 1 };
    batch.answer_with(1, running).await;
    batch.acknowledge().await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let answer = batches.next().await;
        assert_eq!((answer.tag, answer.refusal), (5, None));
        answers.push((answer.from, answer.to, answer.batch, answer.first_index));
    }
    let own = batch.batch.id;
    assert_eq!(answers, [(0, 1, own, 0), (1, 2, Some(other), 4), (2, 3, own, 2)]);
    stage.scheduler.shut_down().await;
}

#[tokio::test]
async fn a_batch_follows_its_partition_to_the_next_owner() {
    let mut old = FakeNode::start(&[0, 1, 2, 3]).await;
    let mut new = FakeNode::start(&[]).await;
    let mut stage = stage(&[&old, &new]).await;
    // Both shards may be chosen; only one owns partitions yet.
    new.owns(&[]);
    let machine = stage.machine.clone();
    let start = tokio::spawn(async move {
        loop {
            match stage.client.start(&machine, "", Bytes::new()).await {
                Err(status) if status.message().contains("owns no partition") => {}
                decided => return decided,
            }
        }
    });
    let first = old.next().await;
    old.owns(&[]);
    new.owns(&[0, 1, 2, 3]);
    first.refuse(Reason::NotOwner).await;
    let moved = loop {
        tokio::select! {
            moved = new.next() => break moved,
            again = old.next() => again.refuse(Reason::NotOwner).await,
        }
    };
    assert_eq!(moved.batch, first.batch);
    moved.acknowledge().await;
    assert!(start.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_full_scheduler_refuses_at_once_and_says_when_to_come_back() {
    let mut node = FakeNode::start(&[0, 1, 2, 3]).await;
    let mut stage = stage(&[&node]).await;
    let mut batches = Batches::open(&stage).await;
    let full = u64::try_from(STARTS_MAX / 256).expect("small");
    for tag in 0..full {
        batches.send(tag, &stage.machine, 256).await;
    }
    batches.send(full, &stage.machine, 1).await;
    let refused = batches.next().await;
    let refusal = refused.refusal.expect("refused");
    assert_eq!((refused.tag, refusal.reason()), (full, Reason::Overloaded));
    assert!(refusal.retry_after_ms > 0);
    let status = stage.client.start(&stage.machine, "", Bytes::new()).await.expect_err("full");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some());
    // It takes again as soon as there is room.
    node.next().await.acknowledge().await;
    assert_eq!(batches.next().await.refusal, None);
    batches.send(full + 1, &stage.machine, 1).await;
    batches.all_taken().await;
}
