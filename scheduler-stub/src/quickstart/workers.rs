//! A pool of workers inside the process, over the real worker protocol: the same stream that a worker in any
//! other program and language would use.

use bytes::Bytes;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{Task, TaskFailure, TaskOutcome, WorkerHello, WorkerMessage, task_outcome};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::functions;
use crate::error::Error;

/// The pool of the quick start's workers.
pub const POOL: &str = "demo";

/// What the quick start's node binds to it: functions by their ARN, and one that an example invokes by its name.
pub const FUNCTIONS: [&str; 2] = ["arn:aws:lambda:local:*", "reserve-stock"];

/// Tasks that a worker holds at once.
const CREDIT: u32 = 512;

/// The pause before what came back is sent again.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// Messages of a worker that wait to be sent.
const MESSAGES_MAX: usize = 64;

/// Connects one worker to a node. Its stream is open when this returns; the future that it gives runs until
/// the node ends the stream.
///
/// # Errors
/// The node cannot be reached, or refuses the worker.
pub async fn attach(
    channel: Channel,
    name: String,
) -> Result<impl Future<Output = Result<(), tonic::Status>> + Send, Error> {
    let (messages, queued) = mpsc::channel(MESSAGES_MAX);
    let hello = WorkerHello { pool: POOL.to_owned(), worker: name };
    let first = WorkerMessage { hello: Some(hello), credit: CREDIT, ..WorkerMessage::default() };
    let gone = || Error::unavailable("the worker's own queue is gone");
    messages.send(first).await.map_err(|_| gone())?;
    let refused = |status: tonic::Status| Error::unavailable(format!("the node refuses workers: {status}"));
    let mut tasks =
        WorkerClient::new(channel).work(ReceiverStream::new(queued)).await.map_err(refused)?.into_inner();
    Ok(async move {
        while let Some(batch) = tasks.message().await? {
            let credit = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
            let returned: Vec<_> =
                batch.returned.into_iter().filter_map(|returned| returned.outcome).collect();
            if !returned.is_empty() {
                // This node has every partition, or will have it in a moment.
                tokio::time::sleep(AGAIN).await;
            }
            let outcomes = batch.tasks.iter().map(run).chain(returned).collect();
            let done = WorkerMessage { hello: None, credit, outcomes, heartbeats: Vec::new() };
            if messages.send(done).await.is_err() {
                break;
            }
        }
        Ok(())
    })
}

fn run(task: &Task) -> TaskOutcome {
    let answer = match serde_json::from_slice(&task.input) {
        Ok(input) => functions::call(&task.function, &input),
        Err(error) => Err(("BadRequest", error.to_string())),
    };
    let outcome = match answer {
        Ok(output) => task_outcome::Outcome::Output(Bytes::from(output.to_string())),
        Err((error, cause)) => task_outcome::Outcome::Failure(TaskFailure { error: error.to_owned(), cause }),
    };
    TaskOutcome { token: task.token.clone(), outcome: Some(outcome) }
}
