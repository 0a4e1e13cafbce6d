//! What a shard can be told, by the gRPC surface and by itself.
//!
//! Tonic's services must be `Send`, a shard's state is not: they meet in this bounded queue. On a data port both ends
//! run on the shard's own thread, so that a command never crosses threads on the hot path; the public port's commands
//! come from another thread through the same queue.

use asl::Str;
use bytes::Bytes;
use ids::{ExecutionName, PartitionId};
use proto::executor::v1;
use tokio::sync::{mpsc, oneshot};

use super::activities::Offer;
use super::callbacks::Callback;
use super::history_page::{HistoryCut, HistoryPage};
use super::map_run_children::{ChildrenCut, ChildrenPage};
use super::token::TaskToken;
use crate::error::Error;

/// Answers a question once.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Names a worker stream within its shard; never reused.
pub type WorkerId = u64;

/// What a shard can be told.
#[derive(Debug)]
pub enum Command {
    /// Start a batch. Acknowledgements go to `acks` when the store has confirmed; a full or closed `acks` drops them,
    /// and the dispatcher sends the batch again.
    Start {
        /// As received; its `Bytes` are slices of the frame.
        batch: v1::StartBatch,
        /// One range or several for each batch.
        acks: mpsc::Sender<v1::StartAck>,
    },
    /// Describe an execution, open or closed.
    Describe {
        /// Which.
        execution: ExecutionName,
        /// Answer.
        reply: Reply<v1::DescribeExecutionResponse>,
    },
    /// Derive a page of an execution's history.
    History {
        /// Which.
        execution: ExecutionName,
        /// As which service tells it.
        form: v1::HistoryForm,
        /// Which page.
        cut: HistoryCut,
        /// Answer.
        reply: Reply<HistoryPage>,
    },
    /// Derive the Map Runs of an execution, in the order in which they began.
    MapRuns {
        /// Which.
        execution: ExecutionName,
        /// Answer.
        reply: Reply<Vec<v1::MapRun>>,
    },
    /// Derive a page of the children of one of an execution's Map Runs.
    Children {
        /// Which.
        execution: ExecutionName,
        /// Of which Map Run, and which page.
        cut: ChildrenCut,
        /// Answer.
        reply: Reply<ChildrenPage>,
    },
    /// Stop an execution; answered with the stop time (Unix milliseconds) when the abort is durable.
    Stop {
        /// Which.
        execution: ExecutionName,
        /// Error name, empty for none.
        error: String,
        /// Cause, empty for none.
        cause: String,
        /// Answer.
        reply: Reply<u64>,
    },
    /// Wait for the end of an execution; answered with it when it is durable.
    Await {
        /// Which.
        execution: ExecutionName,
        /// Answer.
        reply: Reply<v1::StartSyncExecutionResponse>,
    },
    /// Redrive an execution; answered with the time of the redrive (Unix milliseconds) when that is durable.
    Redrive {
        /// Which.
        execution: ExecutionName,
        /// Names this redrive: asked for again with it, it is done once. Empty: each request is one of its own.
        token: Bytes,
        /// Answer.
        reply: Reply<u64>,
    },
    /// Say how a task went, by its token; answered when that is durable, a heartbeat at once.
    Callback {
        /// Whose task.
        token: TaskToken,
        /// How it went.
        callback: Callback,
        /// Answer.
        reply: Reply<()>,
    },
    /// One page of this shard's executions of a machine, newest start first (ties: higher id first); the surface merges
    /// the shards' pages. `next_token` is a cursor that every shard understands: `START_TIME_MS:EXECUTION_ID`, and asks
    /// for what comes strictly after that execution in this order, whichever shard it belongs to. In the answer it is
    /// empty where the shard has no more.
    List {
        /// As received.
        request: v1::ListExecutionsRequest,
        /// Answer.
        reply: Reply<v1::ListExecutionsResponse>,
    },
    /// Send terminal outcomes here as they become durable. A full queue drops and counts.
    Watch {
        /// Also outputs, errors and causes.
        include_outcomes: bool,
        /// Where to.
        completions: mpsc::Sender<v1::CompletionBatch>,
    },
    /// A worker stream has begun.
    WorkerAttached {
        /// Names it from now on.
        worker: WorkerId,
        /// Its pool and name.
        hello: v1::WorkerHello,
        /// Where its tasks go. Credit keeps it from filling up.
        tasks: mpsc::Sender<v1::TaskBatch>,
    },
    /// Credit, outcomes and heartbeats of a worker.
    WorkerMessage {
        /// From whom.
        worker: WorkerId,
        /// As received.
        message: v1::WorkerMessage,
    },
    /// A worker stream has ended: its tasks go to others of its pool.
    WorkerDetached {
        /// Who.
        worker: WorkerId,
    },
    /// Say when there is a task of an activity in line.
    AwaitActivityTask {
        /// Its ARN.
        activity: Str,
        /// Told once; who has gone is forgotten.
        poll: mpsc::Sender<Offer>,
    },
    /// Hand out the first task of an activity in line; answered when its start is durable, or with nothing.
    TakeActivityTask {
        /// Its ARN.
        activity: Str,
        /// What the worker calls itself.
        worker: Str,
        /// Answer.
        reply: Reply<Option<v1::GetActivityTaskResponse>>,
    },
    /// For DescribeNode and heartbeats.
    Report {
        /// Answer.
        reply: Reply<v1::Shard>,
    },
    /// Have these partitions and no others: what is new is taken and recovered, what is not named any more is released.
    /// Saying it again changes nothing, except that a partition that was lost to another owner is taken back, after a while.
    Assign {
        /// In any order.
        partitions: Vec<PartitionId>,
    },
    /// Refuse starts from now on, end what ends soon, flush; answered when the last flush is durable.
    Drain {
        /// Answer.
        reply: Reply<()>,
    },
}
