//! Everything that can go wrong in a node, with a stable code, and the one table to gRPC status.

use std::time::Duration;

/// What went wrong. Messages say what, where, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is wrong; resending will not help.
    #[error("{message}")]
    Invalid {
        /// Stable code in the API's words, for example `InvalidExecutionInput`.
        code: &'static str,
        /// What, where, and what to do.
        message: String,
    },
    /// The definition does not compile.
    #[error("the definition is refused: {}", problems(.diagnostics))]
    InvalidDefinition {
        /// Every problem, warnings too.
        diagnostics: Vec<asl::Diagnostic>,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// Stable code, for example `ExecutionDoesNotExist`.
        code: &'static str,
        /// What, where, and what to do.
        message: String,
    },
    /// It exists, with other content or in another state.
    #[error("{message}")]
    Conflict {
        /// Stable code, for example `ExecutionAlreadyExists`.
        code: &'static str,
        /// What, where, and what to do.
        message: String,
    },
    /// Too much work: refused before it cost anything.
    #[error("{what} is at its limit of {limit}; retry after {retry_after:?}")]
    Overloaded {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: u64,
        /// With jitter.
        retry_after: Duration,
    },
    /// A shard refuses to take more now, in its own words.
    #[error("{message}")]
    Shed {
        /// What is full.
        message: String,
        /// With jitter.
        retry_after: Duration,
    },
    /// A shard cannot make anything durable now, in its own words.
    #[error("{message}")]
    NotDurable {
        /// Why.
        message: String,
        /// With jitter.
        retry_after: Duration,
    },
    /// The node is going away: another one will take the work.
    #[error("this node is draining: send the request to another node")]
    Draining,
    /// Another shard or node owns the partition.
    #[error(
        "partition {partition} is not owned here: ask the scheduler, or DescribeNode of other nodes, for its owner, and \
         send the request there"
    )]
    NotOwner {
        /// Which.
        partition: u16,
    },
    /// The partition was lost before the store had confirmed the start, or the redrive.
    #[error(
        "the owner of partition {partition} has changed before the request was confirmed; whether it took effect is not \
         known: look for the execution before you send it again"
    )]
    OwnerChanged {
        /// Which.
        partition: u16,
    },
    /// The partition is changing hands: what is not found yet may well be there.
    #[error("partition {partition} is changing hands and its log is being read: retry after {retry_after:?}")]
    Recovering {
        /// Which.
        partition: u16,
        /// With jitter.
        retry_after: Duration,
    },
    /// The node has no partition that takes a start which may live anywhere, or has just given it back.
    #[error(
        "no partition of this node takes the start now: send it to another node, or retry after {retry_after:?}"
    )]
    NothingServed {
        /// When to come back.
        retry_after: Duration,
    },
    /// A synchronous execution was started, and its end cannot be told. To start it again would do its work twice.
    #[error(
        "execution {execution} was started, and how it ends is not known here: {why}; look for its end with \
         DescribeExecution, and do not start it again before you know that its work can be done twice"
    )]
    EndUnknown {
        /// Which.
        execution: String,
        /// What kept the node from telling.
        why: String,
    },
    /// The shard's thread has ended before it answered.
    #[error("the shard ended before it answered; whether the request took effect is not known: ask again")]
    ShardGone,
    /// The node has not connected to its store yet.
    #[error("the node is starting and has not reached its store yet: retry after {retry_after:?}")]
    Starting {
        /// When to come back.
        retry_after: Duration,
    },
    /// The store cannot say.
    #[error(transparent)]
    Store(#[from] journal::StoreError),
}

/// Every diagnostic in one line each.
fn problems(diagnostics: &[asl::Diagnostic]) -> String {
    let lines = diagnostics
        .iter()
        .map(|problem| format!("{problem} (line {}, column {})", problem.line, problem.column));
    lines.collect::<Vec<_>>().join("; ")
}
