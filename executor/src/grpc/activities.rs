//! Workers of activities: they ask for a task, and wait for one.
//!
//! A call waits on all shards of the node, and takes from the first that has something. Invariants: calls that wait are
//! bounded by [`limits::POLLS_MAX`], and cost nothing meanwhile but their memory; a call that ends without a task, however it
//! ends, has taken none; one that takes waits for the answer, also where its minute is over. What may fail: the request; too
//! many calls; a node that is starting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use asl::Str;
use proto::executor::v1;
use tokio::sync::mpsc;
use tonic::{Request, Status};
use trust::{Peer, Role};

use super::status::invalid;
use super::{NodeContext, ask};
use crate::error::Error;
use crate::limits;
use crate::shard::{Command, Offer, ShardHandle, is_activity};

/// A place among the calls that wait.
struct Place(Arc<AtomicU64>);

impl Place {
    fn of(node: &NodeContext) -> Result<Self, Error> {
        let place = Self(Arc::clone(&node.polls));
        if place.0.fetch_add(1, Ordering::Relaxed) >= limits::POLLS_MAX {
            // Its drop gives the place back.
            return Err(Error::Overloaded {
                what: "calls that wait for tasks of activities",
                limit: limits::POLLS_MAX,
                retry_after: super::dispatch::RETRY_AFTER,
            });
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the peer may have the tasks of an activity: a worker of one pool may have those of the activity of that name.
///
/// # Errors
/// `PERMISSION_DENIED`.
pub fn check_peer(request: &Request<v1::GetActivityTaskRequest>) -> Result<(), Status> {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.roles.as_deref());
    let name = request.get_ref().activity_arn.rsplit(':').next().unwrap_or_default();
    let may = peer.is_none_or(|roles| {
        roles.works_for(name)
            || [Role::Operator, Role::Scheduler, Role::Caller].iter().any(|role| roles.has(role))
    });
    if may {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "the certificate of this worker does not give the right to take the tasks of activity {name:?}"
    )))
}

fn checked(request: &v1::GetActivityTaskRequest) -> Result<(Str, Str), Error> {
    let v1::GetActivityTaskRequest { activity_arn, worker_name } = request;
    let characters = worker_name.chars().count();
    if characters > limits::WORKER_NAME_CHARS_MAX {
        let max = limits::WORKER_NAME_CHARS_MAX;
        let message = format!("`worker_name` has {characters} characters; at most {max} are kept");
        return Err(invalid("InvalidName", message));
    }
    Ok((activity(activity_arn)?, worker_name.as_str().into()))
}

fn activity(arn: &str) -> Result<Str, Error> {
    if arn.len() > limits::ARN_BYTES_MAX || !is_activity(arn) {
        let message =
            "`activity_arn` is not the ARN of an activity: arn:aws:states:REGION:ACCOUNT:activity:NAME";
        return Err(invalid("InvalidArn", message.to_owned()));
    }
    Ok(arn.into())
}

/// Waits for a task and takes it.
pub(super) async fn get(
    node: &NodeContext,
    request: v1::GetActivityTaskRequest,
) -> Result<v1::GetActivityTaskResponse, Error> {
    let (activity, worker) = checked(&request)?;
    let _place = Place::of(node)?;
    let mut waiting = Waiting::begin(node, &activity).await?;
    while let Some(offer) = waiting.next().await {
        let Some(shard) = node.shards()?.iter().find(|shard| shard.index == offer.shard) else { break };
        if let Some(task) = take_from(shard, &activity, &worker).await? {
            return Ok(task);
        }
        waiting.again(shard).await?;
    }
    Ok(v1::GetActivityTaskResponse::default())
}

/// Waits until there is a task.
pub(super) async fn wait(
    node: &NodeContext,
    request: v1::AwaitActivityTaskRequest,
) -> Result<v1::AwaitActivityTaskResponse, Error> {
    let activity = activity(&request.activity_arn)?;
    let _place = Place::of(node)?;
    let offer = Waiting::begin(node, &activity).await?.next().await;
    Ok(v1::AwaitActivityTaskResponse { waiting: offer.map_or(0, |offer| offer.waiting) })
}

/// Takes a task from the first shard that has one.
pub(super) async fn take(
    node: &NodeContext,
    request: v1::GetActivityTaskRequest,
) -> Result<v1::GetActivityTaskResponse, Error> {
    let (activity, worker) = checked(&request)?;
    let shards = node.shards()?;
    // Each call begins with another one, so that none is taken from last every time.
    let first = node.next_worker() as usize % shards.len().max(1);
    for shard in shards[first..].iter().chain(&shards[..first]) {
        if let Some(task) = take_from(shard, &activity, &worker).await? {
            return Ok(task);
        }
    }
    Ok(v1::GetActivityTaskResponse::default())
}

async fn take_from(
    shard: &ShardHandle,
    activity: &Str,
    worker: &Str,
) -> Result<Option<v1::GetActivityTaskResponse>, Error> {
    let (activity, worker) = (activity.clone(), worker.clone());
    ask(shard, |reply| Command::TakeActivityTask { activity, worker, reply }).await
}

/// One call's place on all shards.
struct Waiting<'a> {
    node: &'a NodeContext,
    activity: &'a Str,
    sender: mpsc::Sender<Offer>,
    offers: mpsc::Receiver<Offer>,
    until: tokio::time::Instant,
}

impl<'a> Waiting<'a> {
    async fn begin(node: &'a NodeContext, activity: &'a Str) -> Result<Self, Error> {
        let shards = node.shards()?;
        let until = tokio::time::Instant::now() + node.poll_wait;
        // Each shard offers once before it is asked again.
        let (sender, offers) = mpsc::channel(shards.len().max(1));
        let waiting = Self { node, activity, sender, offers, until };
        for shard in shards {
            waiting.again(shard).await?;
        }
        Ok(waiting)
    }

    async fn again(&self, shard: &ShardHandle) -> Result<(), Error> {
        let (activity, poll) = (self.activity.clone(), self.sender.clone());
        let command = Command::AwaitActivityTask { activity, poll };
        shard.sender.send(command).await.map_err(|_| Error::ShardGone)
    }

    /// The next offer; nothing when the call has waited long enough, or the node closes.
    async fn next(&mut self) -> Option<Offer> {
        tokio::select! {
            biased;
            offer = self.offers.recv() => offer,
            () = tokio::time::sleep_until(self.until) => None,
            () = self.node.closing() => None,
        }
    }
}
