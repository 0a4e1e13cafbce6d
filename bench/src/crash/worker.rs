//! The worker of a kill test: one stream to each shard of each node, opened again whenever it breaks.
//!
//! It answers what the task's input asks for, and tells the ledger of tasks what it was given. It runs inside the bench:
//! it is no target, for what it has seen must outlive every strike.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{
    Task, TaskBatch, TaskFailure, TaskOutcome, WorkerHello, WorkerMessage, task_outcome::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::shared::Shared;
use super::tasks::{Seen, TaskId};
use super::workload::{Kind, POOL, TASK_ERROR, task_output};
use crate::load::connect;

/// Tasks that one stream may hold.
const CREDIT: u32 = 4_096;
/// Messages of outcomes on their way to the node.
const OUTBOX: usize = 256;
/// Between two attempts to open a stream.
const AGAIN: Duration = Duration::from_millis(100);
/// How long every fourth batch of tasks takes, so that kills find tasks under way.
const SLOW: Duration = Duration::from_millis(150);

/// Serves one shard until it is dropped.
pub(super) async fn serve(shared: Arc<Shared>, node: u16, address: String) {
    loop {
        // A broken stream is what the test is about.
        let _ = serve_stream(&shared, node, &address).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve_stream(shared: &Arc<Shared>, node: u16, address: &str) -> Option<()> {
    let opened_ms = shared.now_ms();
    let mut client = WorkerClient::new(connect(address).await.ok()?)
        .max_decoding_message_size(8 << 20)
        .max_encoding_message_size(8 << 20);
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let hello = WorkerHello { pool: POOL.to_owned(), worker: "crash".to_owned() };
    let first = WorkerMessage { hello: Some(hello), credit: CREDIT, ..WorkerMessage::default() };
    outbox.send(first).await.ok()?;
    let mut tasks = client.work(ReceiverStream::new(messages)).await.ok()?.into_inner();
    let mut batches = 0u64;
    while let Some(Ok(batch)) = tasks.next().await {
        batches += 1;
        let reply = answer(shared, node, opened_ms, batch);
        let outbox = outbox.clone();
        if batches.is_multiple_of(4) {
            // Bounded by the credit: a task that is being worked on holds its share of it.
            tokio::spawn(async move {
                tokio::time::sleep(SLOW).await;
                let _ = outbox.send(reply).await;
            });
        } else {
            outbox.send(reply).await.ok()?;
        }
    }
    Some(())
}

fn answer(shared: &Shared, node: u16, opened_ms: u64, batch: TaskBatch) -> WorkerMessage {
    let credit = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
    let excused = shared.is_excused(node, opened_ms);
    let outcomes = batch
        .tasks
        .into_iter()
        .map(|Task { token, input, .. }| TaskOutcome {
            token,
            outcome: Some(work(shared, (node, opened_ms), excused, &input)),
        })
        .collect();
    WorkerMessage { hello: None, credit, outcomes, heartbeats: Vec::new() }
}

fn work(shared: &Shared, (node, opened_ms): (u16, u64), excused: bool, input: &[u8]) -> Outcome {
    let Some(task) = TaskId::read(input) else {
        shared.fault(&format!("a task came with another input: {}", String::from_utf8_lossy(input)));
        return failure("Crash.Unreadable", "the input of the task is none of this run");
    };
    if shared.tasks().see(task, excused) == Seen::Repeated {
        let rule = match task.kind {
            Kind::Sync => "task of a synchronous execution repeated",
            _ => "STANDARD task repeated after its outcome was journalled",
        };
        shared.fault(&format!(
            "{rule}: machine {}, run {}, branch {}, step {}, attempt {}, sent by node-{node} on a stream that was opened at \
             {:.1} s",
            task.kind.name(),
            task.run,
            task.branch,
            task.step,
            task.attempt,
            opened_ms as f64 / 1e3
        ));
    }
    if task.kind.task_fails(task.step, task.attempt) {
        return failure(TASK_ERROR, "it fails on purpose");
    }
    Outcome::Output(task_output(task.run, task.branch, task.step, task.attempt).to_string().into())
}

fn failure(error: &str, cause: &str) -> Outcome {
    Outcome::Failure(TaskFailure { error: error.to_owned(), cause: cause.to_owned() })
}
