//! A worker: takes tasks from nodes on streams, runs a function for each, and reports what came of it.
//!
//! Purpose: what every worker in Rust needs of `executor.v1.Worker` (docs/workers.md): a stream to each shard of each node,
//! credit, outcomes in batches, heartbeats, streams that are opened again. Invariants: no more functions run at once than
//! [`Settings::concurrency`]; a task in hand goes on when its stream breaks, and its outcome leaves on the next stream, so that
//! only what was on its way is done again; an outcome that a node gives back is sent to the next one. What may fail: a node
//! that refuses this worker for good, with [`WorkerError`]; everything else is tried again.
//!
//! Rooms: `links` (the open streams, and which one an outcome takes), `hand` (tasks in hand), `stream` (one stream), `nodes`
//! (streams to all shards of a node, opened again when they break).

mod hand;
mod links;
mod nodes;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use proto::executor::v1::{Task, TaskFailure};
use tokio::sync::{Semaphore, watch};
use trust::Trust;

use hand::Hand;
use links::Links;

/// Functions that may run at once.
pub const CONCURRENCY_MAX: u32 = 16_384;
/// How long streams may take to end once everything was reported.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Who a worker is, and how much it takes.
#[derive(Clone)]
pub struct Settings {
    /// Public addresses of nodes, `host:port`.
    pub nodes: Vec<String>,
    /// The pool that the nodes' `--bind` sends functions to.
    pub pool: String,
    /// For logs.
    pub name: String,
    /// Functions that run at once: 1 to [`CONCURRENCY_MAX`].
    pub concurrency: u32,
    /// How often nodes are told that the tasks in hand are alive, more than nothing; for states with `HeartbeatSeconds`.
    pub heartbeat: Option<Duration>,
    /// Our certificate; without one plain text is spoken.
    pub trust: Option<Trust>,
}

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A value makes no sense.
    #[error("{0}")]
    Settings(String),
    /// The node will not have it.
    #[error("the node at {node} refuses this worker: {message}")]
    Refused {
        /// Its public address.
        node: String,
        /// In its words.
        message: String,
    },
    /// Nobody answers there; it is tried again.
    #[error("{address} cannot be reached ({why}): see that a node runs there, or give another address")]
    Unreachable {
        /// Which address.
        address: String,
        /// What the system said.
        why: String,
    },
}

/// What runs tasks: a function from a task to a future.
pub trait Handler: Send + Sync + 'static {
    /// Runs one task: its JSON input to JSON output, or to a failure that the state's `Retry` and `Catch` see. The future is
    /// dropped when the outcome is no longer wanted. [`Task::trace`] is the W3C trace context to go on with, where there is one.
    fn run(&self, task: Task) -> impl Future<Output = Result<Bytes, TaskFailure>> + Send;
}

impl<H, F> Handler for H
where
    H: Fn(Task) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Bytes, TaskFailure>> + Send,
{
    fn run(&self, task: Task) -> impl Future<Output = Result<Bytes, TaskFailure>> + Send {
        self(task)
    }
}

/// How far the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Working,
    /// No new credit is given; what is in hand is finished.
    Finishing,
    /// Everything was reported.
    Done,
}

/// What all streams share.
pub(crate) struct Shared<H> {
    settings: Settings,
    handler: H,
    places: Semaphore,
    links: Links,
    hand: Hand,
    phase: watch::Sender<Phase>,
}

fn shared<H>(settings: Settings, handler: H) -> Shared<H> {
    Shared {
        handler,
        places: Semaphore::new(settings.concurrency as usize),
        links: Links::default(),
        hand: Hand::default(),
        phase: watch::Sender::new(Phase::Working),
        settings,
    }
}

/// Works until `stop` ends, then finishes what it has.
///
/// # Errors
/// [`WorkerError::Settings`], [`WorkerError::Refused`]
pub async fn run(
    settings: Settings,
    handler: impl Handler,
    stop: impl Future<Output = ()>,
) -> Result<(), WorkerError> {
    if !(1..=CONCURRENCY_MAX).contains(&settings.concurrency) || settings.nodes.is_empty() {
        let why = format!("a worker needs a node, and runs 1 to {CONCURRENCY_MAX} functions at once");
        return Err(WorkerError::Settings(why));
    }
    for node in &settings.nodes {
        nodes::endpoint(node)?;
    }
    if settings.heartbeat.is_some_and(|every| every.is_zero()) {
        let why = "heartbeats have time between them, or there are none (`heartbeat: None`)".to_owned();
        return Err(WorkerError::Settings(why));
    }
    let shared = Arc::new(shared(settings, handler));
    let attended = shared.settings.nodes.iter().map(|node| nodes::attend(&shared, node));
    let mut attended = std::pin::pin!(try_join_all(attended));
    tokio::select! {
        refused = &mut attended => return refused.map(drop),
        () = stop => {}
    }
    shared.phase.send_replace(Phase::Finishing);
    tracing::info!(tasks = shared.hand.len(), "no new tasks are taken; those in hand are finished");
    tokio::select! {
        refused = &mut attended => return refused.map(drop),
        () = shared.hand.empty() => {}
    }
    shared.phase.send_replace(Phase::Done);
    shared.links.clear();
    // The nodes end the streams when they have read everything; one that hangs is not waited for.
    tokio::time::timeout(END_WITHIN, attended).await.unwrap_or(Ok(Vec::new())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn settings() -> Settings {
        Settings {
            nodes: vec!["127.0.0.1:1".to_owned()],
            pool: "demo".to_owned(),
            name: "one".to_owned(),
            concurrency: 1,
            heartbeat: None,
            trust: None,
        }
    }

    #[tokio::test]
    async fn settings_that_no_worker_can_work_with_are_refused() {
        for (settings, part) in [
            (Settings { nodes: Vec::new(), ..settings() }, "a node"),
            (Settings { concurrency: 0, ..settings() }, "functions"),
            (Settings { concurrency: CONCURRENCY_MAX + 1, ..settings() }, "functions"),
            (Settings { heartbeat: Some(Duration::ZERO), ..settings() }, "heartbeats"),
        ] {
            let handler = |_: Task| async { Ok(Bytes::new()) };
            let error = run(settings, handler, std::future::pending()).await.expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
