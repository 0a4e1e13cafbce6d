//! Streams of workers: tasks out, outcomes back, credit for flow control.
//!
//! On a data port a stream is its shard's. On the public port it is attached to every shard: credit is spread
//! so that each shard always has some (a worker may so receive up to one task per shard beyond its credit). An outcome goes to
//! the shard that serves its token's partition now, whichever stream it comes on and whoever gave the task; where this node
//! has none, it goes to a shard of the stream, which gives it back to the worker. Invariant: a stream
//! that has ended, however it ended, is detached, and its tasks go to others.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use proto::executor::v1;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use trust::Roles;

use super::Surface;
use super::status::invalid;
use crate::error::Error;
use crate::shard::{Command, ShardHandle, WorkerId, partition_of};

/// Messages that a shard may be ahead of a worker; credit keeps it far from that.
const AHEAD_MAX: usize = 1_024;
/// Characters of a pool's and of a worker's name.
const NAME_MAX: usize = 256;

/// The tasks of one worker stream.
pub struct Tasks {
    shards: Vec<TasksOf>,
    turn: usize,
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    failure: Arc<RwLock<Option<Status>>>,
}

struct TasksOf {
    tasks: mpsc::Receiver<v1::TaskBatch>,
    outstanding: Arc<AtomicU32>,
    ended: bool,
}

impl Stream for Tasks {
    type Item = Result<v1::TaskBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
            self.closing = None;
            self.shards.iter_mut().for_each(|shard| shard.tasks.close());
        }
        let shards = self.shards.len();
        for step in 0..shards {
            let at = (self.turn + step) % shards;
            let shard = &mut self.shards[at];
            if shard.ended {
                continue;
            }
            match shard.tasks.poll_recv(cx) {
                Poll::Ready(Some(batch)) => {
                    let sent = u32::try_from(batch.tasks.len()).unwrap_or(u32::MAX);
                    let spend = |credit: u32| Some(credit.saturating_sub(sent));
                    let _ = shard.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
                    self.turn = (at + 1) % shards;
                    return Poll::Ready(Some(Ok(batch)));
                }
                Poll::Ready(None) => shard.ended = true,
                Poll::Pending => {}
            }
        }
        if !self.shards.iter().all(|shard| shard.ended) {
            return Poll::Pending;
        }
        let failure = self.failure.write().unwrap_or_else(PoisonError::into_inner).take();
        Poll::Ready(failure.map(Err))
    }
}

/// One shard of a worker stream, from the worker's side.
struct Attached {
    shard: ShardHandle,
    /// Credit given and not yet used up by tasks.
    outstanding: Arc<AtomicU32>,
}

/// Reads the hello, attaches the worker, and begins to pump its messages.
pub(super) async fn serve(
    surface: &Surface,
    peer: Option<&Roles>,
    mut messages: Streaming<v1::WorkerMessage>,
) -> Result<Tasks, Status> {
    let first = messages.message().await?;
    let hello = first.as_ref().and_then(|message| message.hello.clone());
    let (Some(first), Some(hello)) = (first, hello) else {
        let message = "the first message of a worker must hold `hello`, with the pool that it works for";
        return Err(invalid("InvalidHello", message).into());
    };
    check(&hello)?;
    if peer.is_some_and(|roles| !roles.works_for(&hello.pool)) {
        return Err(Status::permission_denied(format!(
            "the certificate of this worker does not give the right to take the tasks of pool {:?}",
            hello.pool
        )));
    }
    let worker = surface.node.next_worker();
    let (mut attached, mut shards) = (Vec::new(), Vec::new());
    for shard in surface.streamed()? {
        let (sender, tasks) = mpsc::channel(AHEAD_MAX);
        let command = Command::WorkerAttached { worker, hello: hello.clone(), tasks: sender };
        shard.sender.send(command).await.map_err(|_| Error::ShardGone)?;
        let outstanding = Arc::new(AtomicU32::new(0));
        shards.push(TasksOf { tasks, outstanding: Arc::clone(&outstanding), ended: false });
        attached.push(Attached { shard: shard.clone(), outstanding });
    }
    tracing::info!(worker, name = hello.worker, pool = hello.pool, "worker attached");
    let failure = Arc::new(RwLock::new(None));
    let pump = Pump { surface: surface.clone(), worker, attached };
    let closing = Some(Box::pin(surface.node.closing()) as Pin<Box<dyn Future<Output = ()> + Send>>);
    let failed = Arc::clone(&failure);
    tokio::spawn(async move {
        let ended = pump.run(first, messages).await;
        if let Err(status) = ended {
            *failed.write().unwrap_or_else(PoisonError::into_inner) = Some(status);
        }
        pump.detach().await;
    });
    Ok(Tasks { shards, turn: 0, closing, failure })
}

fn check(hello: &v1::WorkerHello) -> Result<(), Error> {
    for (field, text) in [("hello.pool", &hello.pool), ("hello.worker", &hello.worker)] {
        if text.chars().count() > NAME_MAX {
            return Err(invalid("InvalidHello", format!("`{field}` has more than {NAME_MAX} characters")));
        }
    }
    if hello.pool.is_empty() {
        let message = "`hello.pool` is empty: name the pool that the node's --bind sends functions to";
        return Err(invalid("InvalidHello", message));
    }
    Ok(())
}

struct Pump {
    surface: Surface,
    worker: WorkerId,
    attached: Vec<Attached>,
}

impl Pump {
    /// Until the worker ends its stream, breaks it, or the node closes.
    async fn run(
        &self,
        first: v1::WorkerMessage,
        mut messages: Streaming<v1::WorkerMessage>,
    ) -> Result<(), Status> {
        let mut closing = pin!(self.surface.node.closing());
        let mut message = v1::WorkerMessage { hello: None, ..first };
        loop {
            if message.hello.is_some() {
                return Err(invalid("InvalidHello", "`hello` may stand in the first message only").into());
            }
            self.forward(message).await?;
            let next = tokio::select! {
                biased;
                next = messages.message() => next?,
                () = &mut closing => return Ok(()),
            };
            match next {
                Some(next) => message = next,
                None => return Ok(()),
            }
        }
    }

    async fn forward(&self, message: v1::WorkerMessage) -> Result<(), Error> {
        if let [only] = self.attached.as_slice() {
            let outcomes = message.outcomes.iter().map(|outcome| &outcome.token);
            let mut tokens = outcomes.chain(&message.heartbeats);
            let elsewhere =
                |token: &Bytes| self.shard_of(token).is_some_and(|shard| shard != only.shard.index);
            if !tokens.any(elsewhere) {
                return self.send(&only.shard, message).await;
            }
        }
        self.spread(message).await
    }

    async fn send(&self, shard: &ShardHandle, message: v1::WorkerMessage) -> Result<(), Error> {
        if message == v1::WorkerMessage::default() {
            return Ok(());
        }
        let command = Command::WorkerMessage { worker: self.worker, message };
        shard.sender.send(command).await.map_err(|_| Error::ShardGone)
    }

    /// Cuts a message into one for each shard of the node; credit is for the attached ones.
    async fn spread(&self, message: v1::WorkerMessage) -> Result<(), Error> {
        let shards = self.surface.node.shards()?;
        let mut parts = vec![v1::WorkerMessage::default(); shards.len()];
        for outcome in message.outcomes {
            if let Some(part) = self.part_of(&mut parts, &outcome.token) {
                part.outcomes.push(outcome);
            }
        }
        for heartbeat in message.heartbeats {
            if let Some(part) = self.part_of(&mut parts, &heartbeat) {
                part.heartbeats.push(heartbeat);
            }
        }
        let given =
            spread_credit(message.credit, &self.attached.iter().map(Attached::left).collect::<Vec<_>>());
        for (attached, credit) in self.attached.iter().zip(given) {
            attached.outstanding.fetch_add(credit, Ordering::Relaxed);
            if let Some(part) = parts.get_mut(attached.shard.index as usize) {
                part.credit = credit;
            }
        }
        for (shard, part) in shards.iter().zip(parts) {
            self.send(shard, part).await?;
        }
        Ok(())
    }

    /// The shard of this node that serves the partition of a token.
    fn shard_of(&self, token: &[u8]) -> Option<u32> {
        self.surface.node.owners.serving(partition_of(token)?)
    }

    /// Where what concerns a token goes: to one of the stream's own shards if none of this node serves its partition.
    fn part_of<'a>(
        &self,
        parts: &'a mut [v1::WorkerMessage],
        token: &[u8],
    ) -> Option<&'a mut v1::WorkerMessage> {
        let own = || self.attached.first().map(|attached| attached.shard.index);
        parts.get_mut(self.shard_of(token).or_else(own)? as usize)
    }

    async fn detach(&self) {
        for attached in &self.attached {
            // A shard that is gone has forgotten the worker already.
            let _ = attached.shard.sender.send(Command::WorkerDetached { worker: self.worker }).await;
        }
        tracing::info!(worker = self.worker, "worker detached");
    }
}

impl Attached {
    fn left(&self) -> u32 {
        self.outstanding.load(Ordering::Relaxed)
    }
}

/// How much of the new credit each shard gets: those with the least first, and at least enough that none is
/// left without.
fn spread_credit(new: u32, left: &[u32]) -> Vec<u32> {
    if new == 0 || left.is_empty() {
        return vec![0; left.len()];
    }
    let total = left.iter().map(|credit| u64::from(*credit)).sum::<u64>() + u64::from(new);
    let even = u32::try_from(total / left.len() as u64).unwrap_or(u32::MAX).max(1);
    let mut rest = new;
    let mut given: Vec<u32> = left
        .iter()
        .map(|credit| {
            let wanted = even.saturating_sub(*credit);
            let given = wanted.min(rest);
            rest -= given;
            // None is left without, even where that is one more than the worker granted.
            if *credit + given == 0 { 1 } else { given }
        })
        .collect();
    if let Some(first) = given.first_mut() {
        *first += rest;
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_shard_is_left_without_credit_and_all_of_it_is_given(
            new in 1u32..100_000, left in prop::collection::vec(0u32..1_000, 1..9)
        ) {
            let given = spread_credit(new, &left);
            prop_assert!(left.iter().zip(&given).all(|(left, given)| left + given > 0));
            let sum: u32 = given.iter().sum();
            prop_assert!(sum >= new && sum as usize <= new as usize + left.len(), "{given:?}");
        }
    }

    #[test]
    fn no_credit_gives_none() {
        assert_eq!(spread_credit(0, &[0, 0]), [0, 0]);
        assert_eq!(spread_credit(10, &[4, 0]), [3, 7]);
    }
}
