//! The echo worker: answers every task with its input, after a chosen delay.
//!
//! It asks the node for its shards and opens one stream to each data port. Credit bounds what a stream holds.

use std::time::Duration;

use futures_util::StreamExt;
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{
    DescribeNodeRequest, TaskBatch, TaskOutcome, WorkerHello, WorkerMessage, task_outcome::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::error::Error;
use crate::load::connect;

/// Tasks that one stream may hold.
const CREDIT: u32 = 16_384;
/// Messages of outcomes on their way to the node.
const OUTBOX: usize = 256;
/// The pause before an outcome that came back is sent again.
const AGAIN: Duration = Duration::from_millis(50);

/// What the worker does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's public address.
    pub address: String,
    /// Which pool it serves.
    pub pool: String,
    /// How long each task takes.
    pub delay: Duration,
}

/// Serves until the node closes the streams. `ready` is told the number of shards once a stream to each is open.
///
/// # Errors
/// The node cannot be reached, or refuses the stream.
pub async fn serve(settings: Settings, ready: impl FnOnce(usize)) -> Result<(), Error> {
    let mut node = ExecutorClient::new(connect(&settings.address).await?);
    let shards = node
        .describe_node(DescribeNodeRequest {})
        .await
        .map_err(|status| Error::Call { call: "DescribeNode", status: Box::new(status) })?
        .into_inner()
        .shards;
    let open = shards.iter().map(|shard| open(&settings, &shard.data_address));
    let streams = futures_util::future::try_join_all(open).await?;
    ready(streams.len());
    let served = streams.into_iter().map(|(outbox, tasks)| serve_stream(settings.delay, outbox, tasks));
    futures_util::future::try_join_all(served).await.map(drop)
}

async fn open(
    settings: &Settings,
    address: &str,
) -> Result<(mpsc::Sender<WorkerMessage>, Streaming<TaskBatch>), Error> {
    let mut client = WorkerClient::new(connect(address).await?)
        .max_decoding_message_size(8 << 20)
        .max_encoding_message_size(8 << 20);
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let worker = format!("echo-{}", std::process::id());
    let hello = WorkerHello { pool: settings.pool.clone(), worker };
    let first = WorkerMessage { hello: Some(hello), credit: CREDIT, ..WorkerMessage::default() };
    // The channel is empty: there is room.
    let _ = outbox.try_send(first);
    let tasks = client
        .work(ReceiverStream::new(messages))
        .await
        .map_err(|status| Error::Call { call: "Work", status: Box::new(status) })?
        .into_inner();
    Ok((outbox, tasks))
}

async fn serve_stream(
    delay: Duration,
    outbox: mpsc::Sender<WorkerMessage>,
    mut tasks: Streaming<TaskBatch>,
) -> Result<(), Error> {
    while let Some(batch) = tasks.next().await {
        let mut batch = batch.map_err(|status| Error::Call { call: "Work", status: Box::new(status) })?;
        let outcomes =
            std::mem::take(&mut batch.returned).into_iter().filter_map(|returned| returned.outcome);
        let again = WorkerMessage { outcomes: outcomes.collect(), ..WorkerMessage::default() };
        if !again.outcomes.is_empty() {
            // The node passes it on to whichever of its shards has the partition by then.
            let outbox = outbox.clone();
            tokio::spawn(async move {
                tokio::time::sleep(AGAIN).await;
                let _ = outbox.send(again).await;
            });
        }
        if batch.tasks.is_empty() {
            continue;
        }
        let reply = echo(batch);
        if delay.is_zero() {
            if outbox.send(reply).await.is_err() {
                return Ok(());
            }
        } else {
            // Bounded by the credit: a task that sleeps still holds its share of it.
            let outbox = outbox.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = outbox.send(reply).await;
            });
        }
    }
    Ok(())
}

/// Every task's input as its output; the credit that the tasks took comes back with them.
fn echo(batch: TaskBatch) -> WorkerMessage {
    let credit = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
    let outcomes = batch
        .tasks
        .into_iter()
        .map(|task| TaskOutcome { token: task.token, outcome: Some(Outcome::Output(task.input)) })
        .collect();
    WorkerMessage { hello: None, credit, outcomes, heartbeats: Vec::new() }
}

#[cfg(test)]
mod tests {
    use proto::executor::v1::Task;

    use super::*;

    #[test]
    fn an_echo_gives_back_the_input_and_the_credit() {
        let task =
            Task { token: "t".into(), function: "f".into(), input: "{\"a\":1}".into(), ..Task::default() };
        let reply = echo(TaskBatch { tasks: vec![task.clone(), task], ..TaskBatch::default() });
        assert_eq!((reply.credit, reply.outcomes.len()), (2, 2));
        assert_eq!(reply.outcomes[0].outcome, Some(Outcome::Output("{\"a\":1}".into())));
    }
}
