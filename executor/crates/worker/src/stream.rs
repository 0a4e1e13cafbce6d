//! One stream: tasks in, outcomes and credit out.
//!
//! Invariants: a message has at most [`OUTCOMES_MAX`] outcomes, and about [`BYTES_MAX`] bytes of them; what could not be handed
//! to the stream before it broke goes to another one. What may fail: opening the stream, and the stream.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{
    ReturnedOutcome, Task, TaskBatch, TaskFailure, TaskOutcome, WorkerHello, WorkerMessage,
    task_outcome::Outcome,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::hand::Held;
use crate::links::{Done, LinkId};
use crate::{Handler, Phase, Shared};

/// Outcomes of one message.
const OUTCOMES_MAX: usize = 256;
/// Bytes of outcomes of one message, but for the last one. A node takes messages of 4 MiB.
const BYTES_MAX: usize = 1 << 20;
/// Messages may be larger than this library expects: tasks of a batch, and the largest of them.
const DECODED_MAX: usize = 8 << 20;
/// Outcomes that wait for their message.
const OUTBOX: usize = 1_024;
/// The pause before an outcome that was given back is sent again: a partition on its move needs a moment.
const AGAIN: Duration = Duration::from_millis(50);

/// Serves until the stream ends.
///
/// # Errors
/// The stream's, also when it could not be opened.
pub(crate) async fn serve(
    shared: Arc<Shared<impl Handler>>,
    channel: Channel,
    credit: u32,
) -> Result<(), Status> {
    let link = shared.links.number();
    let (messages, queued) = mpsc::channel(1);
    let hello = WorkerHello { pool: shared.settings.pool.clone(), worker: shared.settings.name.clone() };
    let credit = if shared.is(Phase::Working) { credit } else { 0 };
    let first = WorkerMessage { hello: Some(hello), credit, ..WorkerMessage::default() };
    // The channel is empty, and its other end is here.
    let _ = messages.try_send(first);
    let mut client = WorkerClient::new(channel).max_decoding_message_size(DECODED_MAX);
    let mut batches = client.work(ReceiverStream::new(queued)).await?.into_inner();
    let (outbox, done) = mpsc::channel(OUTBOX);
    tokio::spawn(speak(Arc::clone(&shared), link, done, messages));
    shared.links.open(link, outbox);
    if shared.is(Phase::Done) {
        shared.links.clear();
    }
    let ended = loop {
        match batches.message().await {
            Ok(Some(batch)) => receive(&shared, link, batch),
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    shared.links.close(link);
    ended
}

fn receive(shared: &Arc<Shared<impl Handler>>, link: LinkId, batch: TaskBatch) {
    for token in &batch.cancelled {
        shared.hand.cancel(token);
    }
    for mut task in batch.tasks {
        // A copy: a slice would keep the whole message in memory as long as the task.
        task.token = Bytes::copy_from_slice(&task.token);
        if let Some(unwanted) = shared.hand.take(&task.token, link) {
            let held = shared.hand.hold();
            tokio::spawn(work(Arc::clone(shared), (link, held), task, unwanted));
        }
    }
    for ReturnedOutcome { outcome, .. } in batch.returned {
        let shared = Arc::clone(shared);
        let done = Done { outcome, charged: None, held: shared.hand.hold() };
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN).await;
            shared.links.send_on(link, done).await;
        });
    }
}

/// Runs one task when there is a place for it, and says what came of it.
async fn work(
    shared: Arc<Shared<impl Handler>>,
    (link, held): (LinkId, Held),
    task: Task,
    unwanted: oneshot::Receiver<()>,
) {
    let token = task.token.clone();
    let ran = async {
        // It is never closed.
        let _place = shared.places.acquire().await;
        let ran = AssertUnwindSafe(async { shared.handler.run(task).await }).catch_unwind().await;
        ran.unwrap_or_else(|_| {
            let cause = "The function has panicked; see the worker's log.".to_owned();
            Err(TaskFailure { error: "Worker.Panic".to_owned(), cause })
        })
    };
    let ran = tokio::select! {
        biased;
        _ = unwanted => None,
        ran = ran => Some(ran),
    };
    let outcome = ran.map(|ran| match ran {
        Ok(output) => Outcome::Output(output),
        Err(failure) => Outcome::Failure(failure),
    });
    let charged = shared.hand.put_down(&token);
    let outcome = outcome.map(|outcome| TaskOutcome { token, outcome: Some(outcome) });
    shared.links.send(charged.unwrap_or(link), Done { outcome, charged, held }).await;
}

/// Gathers what is done into messages until the stream ends or the worker does.
async fn speak(
    shared: Arc<Shared<impl Handler>>,
    link: LinkId,
    mut done: mpsc::Receiver<Done>,
    messages: mpsc::Sender<WorkerMessage>,
) {
    let mut beats = shared.settings.heartbeat.map(|every| {
        let mut beats = interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats
    });
    loop {
        let first = tokio::select! {
            first = done.recv() => first,
            () = beat(&mut beats) => {
                let alive = WorkerMessage { heartbeats: shared.hand.of(link), ..WorkerMessage::default() };
                if !alive.heartbeats.is_empty() && messages.send(alive).await.is_err() {
                    break;
                }
                continue;
            }
            () = messages.closed() => break,
        };
        let Some(first) = first else { return };
        let (message, held) =
            gather(first, &mut done, |charged| charged == Some(link) && shared.is(Phase::Working));
        if let Err(mpsc::error::SendError(message)) = messages.send(message).await {
            shared.links.close(link);
            for outcome in message.outcomes {
                let done = Done { outcome: Some(outcome), charged: None, held: shared.hand.hold() };
                shared.links.send_on(link, done).await;
            }
            drop(held);
            break;
        }
    }
    shared.links.close(link);
    done.close();
    while let Some(done) = done.recv().await {
        if done.outcome.is_some() {
            shared.links.send_on(link, done).await;
        }
    }
}

async fn beat(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

/// One message of what is there now.
fn gather(
    first: Done,
    done: &mut mpsc::Receiver<Done>,
    gives_credit: impl Fn(Option<LinkId>) -> bool,
) -> (WorkerMessage, Vec<Held>) {
    let (mut message, mut held, mut bytes) = (WorkerMessage::default(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(Done { outcome, charged, held: holds }) = next {
        message.credit += u32::from(gives_credit(charged));
        held.push(holds);
        bytes += outcome.as_ref().map_or(0, size);
        message.outcomes.extend(outcome);
        let full = held.len() >= OUTCOMES_MAX || bytes >= BYTES_MAX;
        next = if full { None } else { done.try_recv().ok() };
    }
    (message, held)
}

fn size(outcome: &TaskOutcome) -> usize {
    match &outcome.outcome {
        Some(Outcome::Output(output)) => output.len(),
        Some(Outcome::Failure(failure)) => failure.error.len() + failure.cause.len(),
        None => 0,
    }
}

impl<H> Shared<H> {
    fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand::Hand;

    fn done(hand: &Hand, bytes: usize, charged: LinkId) -> Done {
        let output = Outcome::Output(Bytes::from(vec![b'1'; bytes]));
        let outcome = TaskOutcome { token: Bytes::new(), outcome: Some(output) };
        Done { outcome: Some(outcome), charged: Some(charged), held: hand.hold() }
    }

    #[tokio::test]
    async fn a_message_takes_what_is_there_up_to_its_bounds_and_gives_its_own_credit_back() {
        let hand = Hand::default();
        let (outbox, mut inbox) = mpsc::channel(OUTCOMES_MAX * 2);
        for _ in 0..OUTCOMES_MAX {
            outbox.try_send(done(&hand, 1, 7)).expect("room");
        }
        let mine = |charged| charged == Some(7);
        let (message, held) = gather(done(&hand, 1, 8), &mut inbox, mine);
        assert_eq!((message.outcomes.len(), held.len()), (OUTCOMES_MAX, OUTCOMES_MAX));
        assert_eq!(message.credit as usize, OUTCOMES_MAX - 1, "the first was another stream's");
        outbox.try_send(done(&hand, BYTES_MAX, 7)).expect("room");
        outbox.try_send(done(&hand, 1, 7)).expect("room");
        let (message, _) = gather(done(&hand, 1, 7), &mut inbox, mine);
        assert_eq!(message.outcomes.len(), 3, "one that was left, and the large one, which is the last");
        drop(held);
    }
}
