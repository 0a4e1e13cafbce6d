//! The worker of a kill test: one stream to each shard of each node, opened again whenever it breaks.
//!
//! It answers what the task's input asks for, and tells the ledger of tasks what it was given. An outcome that comes back,
//! for its partition has moved, is sent again to one stream after the other, until a node takes it. It runs inside the
//! bench: it is no target, for what it has seen must outlive every strike.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{
    ReturnedOutcome, Task, TaskBatch, TaskFailure, TaskOutcome, WorkerHello, WorkerMessage,
    task_outcome::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::shared::Shared;
use super::tasks::{Seen, Sight, TaskId};
use super::workload::{Kind, POOL, TASK_ERROR, task_output};
use crate::load::connect;

/// Tasks that one stream may hold.
const CREDIT: u32 = 4_096;
/// Messages of outcomes on their way to the node.
const OUTBOX: usize = 256;
/// Between two attempts to open a stream.
const AGAIN: Duration = Duration::from_millis(100);
/// The pause before an outcome that came back is sent again.
const RETURN_AFTER: Duration = Duration::from_millis(50);
/// See [`age`].
const MOMENT: Duration = Duration::from_millis(200);
/// How long every fourth batch of tasks takes, so that kills find tasks under way.
const SLOW: Duration = Duration::from_millis(150);

type Outbox = mpsc::Sender<WorkerMessage>;

/// The streams that are open, by the address of their shard.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<BTreeMap<String, Outbox>>);

impl Streams {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream after this one; the first after the last.
    fn next(&self, address: &str) -> Option<Outbox> {
        let streams = self.lock();
        let later = streams.iter().find(|(other, _)| other.as_str() > address);
        later.or_else(|| streams.iter().next()).map(|(_, outbox)| outbox.clone())
    }
}

/// Lets what the logs have shown hold, a few moments after it: on the thread of the streams, so that what is late with one is
/// late with the other.
pub(super) async fn age(shared: Arc<Shared>) {
    let mut moments = tokio::time::interval(MOMENT);
    moments.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        moments.tick().await;
        shared.tasks().age();
    }
}

/// Serves one shard until it is dropped.
pub(super) async fn serve(shared: Arc<Shared>, streams: Arc<Streams>, node: u16, address: String) {
    loop {
        // A broken stream is what the test is about.
        let _ = serve_stream(&shared, &streams, node, &address).await;
        streams.lock().remove(&address);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve_stream(shared: &Arc<Shared>, streams: &Arc<Streams>, node: u16, address: &str) -> Option<()> {
    let opened_ms = shared.now_ms();
    let mut client = WorkerClient::new(connect(address).await.ok()?)
        .max_decoding_message_size(8 << 20)
        .max_encoding_message_size(8 << 20);
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let hello = WorkerHello { pool: POOL.to_owned(), worker: "crash".to_owned() };
    let first = WorkerMessage { hello: Some(hello), credit: CREDIT, ..WorkerMessage::default() };
    outbox.send(first).await.ok()?;
    let mut tasks = client.work(ReceiverStream::new(messages)).await.ok()?.into_inner();
    streams.lock().insert(address.to_owned(), outbox.clone());
    let mut batches = 0u64;
    while let Some(Ok(mut batch)) = tasks.next().await {
        send_on(shared, streams, address, std::mem::take(&mut batch.returned));
        if batch.tasks.is_empty() {
            continue;
        }
        batches += 1;
        let slow = batches.is_multiple_of(4);
        let reply = answer(shared, (node, opened_ms), slow, batch);
        let outbox = outbox.clone();
        if slow {
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

/// Outcomes that a shard gave back, to the next one. Bounded by what the shards give back.
fn send_on(shared: &Shared, streams: &Arc<Streams>, address: &str, returned: Vec<ReturnedOutcome>) {
    let outcomes: Vec<TaskOutcome> = returned.into_iter().filter_map(|returned| returned.outcome).collect();
    if outcomes.is_empty() {
        return;
    }
    shared.outcomes_returned.fetch_add(outcomes.len() as u64, Relaxed);
    let (streams, address) = (Arc::clone(streams), address.to_owned());
    tokio::spawn(async move {
        tokio::time::sleep(RETURN_AFTER).await;
        // Without any stream there is nobody who waits: the task is given out again.
        if let Some(outbox) = streams.next(&address) {
            let _ = outbox.send(WorkerMessage { outcomes, ..WorkerMessage::default() }).await;
        }
    });
}

fn answer(shared: &Shared, from: (u16, u64), slow: bool, batch: TaskBatch) -> WorkerMessage {
    let credit = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
    let takes = if slow { SLOW } else { Duration::ZERO };
    let answered_ms = shared.now_ms() + u64::try_from(takes.as_millis()).unwrap_or(0);
    let sight = Sight { excuse: shared.excuse(from.0, from.1), answered_ms };
    let outcomes = batch
        .tasks
        .into_iter()
        .map(|Task { token, input, .. }| TaskOutcome {
            token,
            outcome: Some(work(shared, from, sight, &input)),
        })
        .collect();
    WorkerMessage { hello: None, credit, outcomes, heartbeats: Vec::new() }
}

fn work(shared: &Shared, (node, opened_ms): (u16, u64), sight: Sight, input: &[u8]) -> Outcome {
    let Some(task) = TaskId::read(input) else {
        shared.fault(&format!("a task came with another input: {}", String::from_utf8_lossy(input)));
        return failure("Crash.Unreadable", "the input of the task is none of this run");
    };
    if shared.tasks().see(task, sight) == Seen::Repeated {
        let rule = match task.kind {
            Kind::Sync => "task of a synchronous execution repeated",
            _ => "STANDARD task repeated after its outcome was journalled",
        };
        shared.fault(&format!(
            "{rule}: machine {}, run {}, branch {}, step {}, attempt {}, sent by node-{node} on a stream that was opened at \
             {:.1} s ({:?})",
            task.kind.name(),
            task.run,
            task.branch,
            task.step,
            task.attempt,
            opened_ms as f64 / 1e3,
            sight.excuse
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[tokio::test]
    async fn an_outcome_that_comes_back_is_sent_as_it_is_to_the_next_shard() {
        let shared = Shared::new(1, 2, PathBuf::new());
        let streams = Arc::new(Streams::default());
        let mut inboxes: Vec<_> = ["a", "b"]
            .map(|address| {
                let (outbox, inbox) = mpsc::channel(1);
                streams.lock().insert(address.to_owned(), outbox);
                inbox
            })
            .into();
        let outcome = TaskOutcome { token: "t".into(), outcome: Some(Outcome::Output("1".into())) };
        let returned = || vec![ReturnedOutcome { outcome: Some(outcome.clone()), partition: 3 }];
        for (from, to) in [("a", 1), ("b", 0)] {
            send_on(&shared, &streams, from, returned());
            let message = inboxes[to].recv().await.expect("sent on");
            assert_eq!((message.outcomes, message.credit), (vec![outcome.clone()], 0));
        }
        assert_eq!(shared.outcomes_returned.load(Relaxed), 2);
    }
}
