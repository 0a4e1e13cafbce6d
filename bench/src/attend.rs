//! A worker that looks at what it is given: it counts tasks, holds answers back, and stays until a number has come.
//!
//! What may fail: a node that cannot be reached, and one that hands out nothing for a while.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, select_all};
use proto::executor::v1::executor_client::ExecutorClient;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{
    DescribeNodeRequest, TaskBatch, TaskOutcome, WorkerHello, WorkerMessage, task_outcome::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::Error;
use crate::load::connect;

/// Tasks that one stream may bring before it is told of more room.
const CREDIT: u32 = 16_384;
/// Messages on their way to the node.
const OUTBOX: usize = 256;
/// A node that hands out nothing for so long will not.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// Streams to all shards of a node.
pub(crate) struct Attendant {
    outboxes: Vec<mpsc::Sender<WorkerMessage>>,
    tasks: SelectAll<BoxStream<'static, (usize, TaskBatch)>>,
    /// Tasks that came.
    pub given: u64,
}

fn failed(call: &'static str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::Call { call, status: Box::new(status) }
}

impl Attendant {
    /// Opens a stream to each shard of a node.
    ///
    /// # Errors
    /// A node that cannot be reached.
    pub async fn open(address: &str, pool: &str) -> Result<Self, Error> {
        let mut node = ExecutorClient::new(connect(address).await?);
        let described = node.describe_node(DescribeNodeRequest {}).await.map_err(failed("DescribeNode"))?;
        let (mut outboxes, mut streams) = (Vec::new(), Vec::new());
        for (number, shard) in described.into_inner().shards.into_iter().enumerate() {
            let mut client = WorkerClient::new(connect(&shard.data_address).await?)
                .max_decoding_message_size(8 << 20)
                .max_encoding_message_size(8 << 20);
            let (outbox, messages) = mpsc::channel(OUTBOX);
            let hello = WorkerHello { pool: pool.to_owned(), worker: "attendant".to_owned() };
            let first = WorkerMessage { hello: Some(hello), credit: CREDIT, ..WorkerMessage::default() };
            // The channel is empty: there is room.
            let _ = outbox.try_send(first);
            let tasks = client.work(ReceiverStream::new(messages)).await.map_err(failed("Work"))?;
            let told = tasks.into_inner().filter_map(|batch| std::future::ready(batch.ok()));
            streams.push(told.map(move |batch| (number, batch)).boxed());
            outboxes.push(outbox);
        }
        Ok(Self { outboxes, tasks: select_all(streams), given: 0 })
    }

    /// The answer to the next tasks, each with its input, and the stream that it belongs to. Room is given back at once.
    async fn next(&mut self) -> Result<(usize, WorkerMessage), Error> {
        loop {
            let next = tokio::time::timeout(SILENT_MAX, self.tasks.next()).await.ok().flatten();
            let Some((number, batch)) = next else {
                return Err(Error::Void(format!("no task came any more after {}", self.given)));
            };
            if batch.tasks.is_empty() {
                continue;
            }
            self.given += batch.tasks.len() as u64;
            let credit = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
            self.send(number, WorkerMessage { credit, ..WorkerMessage::default() }).await?;
            let outcomes = batch
                .tasks
                .into_iter()
                .map(|task| TaskOutcome { token: task.token, outcome: Some(Outcome::Output(task.input)) });
            return Ok((number, WorkerMessage { outcomes: outcomes.collect(), ..WorkerMessage::default() }));
        }
    }

    async fn send(&self, number: usize, message: WorkerMessage) -> Result<(), Error> {
        let gone = || Error::Void("the node has closed a stream of the worker".to_owned());
        self.outboxes.get(number).ok_or_else(gone)?.send(message).await.map_err(|_| gone())
    }

    /// Answers the first `count` tasks once all of them have come, and stays until as many more have come: of STANDARD
    /// executions that proves that these answers are in the journal.
    ///
    /// # Errors
    /// Fewer tasks.
    pub async fn answer_first(&mut self, count: u64) -> Result<(), Error> {
        let mut held = Vec::new();
        while self.given < count {
            held.push(self.next().await?);
        }
        for (number, answer) in held {
            self.send(number, answer).await?;
        }
        while self.given < count * 2 {
            self.next().await?;
        }
        Ok(())
    }

    /// Answers everything until `count` tasks have come.
    ///
    /// # Errors
    /// Fewer tasks.
    pub async fn answer(&mut self, count: u64) -> Result<(), Error> {
        while self.given < count {
            let (number, answer) = self.next().await?;
            self.send(number, answer).await?;
        }
        Ok(())
    }
}
