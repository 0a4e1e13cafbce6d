//! Closed sets of label values, and the cells that are counted by them.

use crate::cells::{Counter, Histogram};

/// Why starts were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Bad input.
    Invalid,
    /// The definition is not here yet.
    DefinitionMissing,
    /// No permits.
    Overloaded,
    /// Another shard owns the partition.
    NotOwner,
    /// The node is going away.
    Draining,
    /// The store does not confirm.
    StoreUnavailable,
    /// The id stands for other content.
    Conflict,
    /// Older than ids are remembered.
    Expired,
}

impl Refusal {
    /// All of them, with the value of the `reason` label.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Invalid, "invalid"),
        (Self::DefinitionMissing, "definition_missing"),
        (Self::Overloaded, "overloaded"),
        (Self::NotOwner, "not_owner"),
        (Self::Draining, "draining"),
        (Self::StoreUnavailable, "store_unavailable"),
        (Self::Conflict, "conflict"),
        (Self::Expired, "expired"),
    ];
}

/// Why the store did not confirm a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StoreFailure {
    /// It cannot write now.
    Unavailable,
    /// The reply was lost.
    Unknown,
    /// Another owner has the partition.
    Fenced,
    /// The log ends below what was confirmed.
    WentBack,
    /// Anything else.
    Other,
}

impl StoreFailure {
    /// All of them, with the value of the `kind` label.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Unavailable, "unavailable"),
        (Self::Unknown, "unknown"),
        (Self::Fenced, "fenced"),
        (Self::WentBack, "went-back"),
        (Self::Other, "other"),
    ];
}

/// What a call is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CallKind {
    /// An HTTPS API, by `http:invoke`.
    Http,
    /// AWS Lambda, or what speaks its API.
    Lambda,
    /// Tencent Cloud.
    Tencent,
    /// Executions of this cluster.
    Execution,
}

impl CallKind {
    /// All of them, with the value of the `integration` label.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Http, "http"),
        (Self::Lambda, "lambda"),
        (Self::Tencent, "tencent"),
        (Self::Execution, "execution"),
    ];
}

/// What is counted for the calls of one integration on one shard.
#[derive(Debug, Default)]
pub struct CallMetrics {
    /// Came to a good end.
    pub answered: Counter,
    /// Failed their task.
    pub failed: Counter,
    /// Were no longer wanted.
    pub cancelled: Counter,
    /// From the beginning to the answer of the first request.
    pub latency: Histogram,
}
