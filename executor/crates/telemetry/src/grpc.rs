//! What a port counts of the calls that it answers: how many, with which codes, how long they took.
//!
//! Invariants: methods and codes are closed sets, so that every series is there from the beginning; whoever calls something
//! else is counted as [`OVERFLOW`]. A port is served by one thread, which is its cells' one writer.

use std::sync::Arc;

use crate::cells::{Counter, Gauge, Histogram};
use crate::labels::OVERFLOW;

/// The paths of what a node answers.
pub const GRPC_METHODS: [&str; 24] = [
    "/executor.v1.Executor/StartExecution",
    "/executor.v1.Executor/StartSyncExecution",
    "/executor.v1.Executor/StartExecutions",
    "/executor.v1.Executor/StopExecution",
    "/executor.v1.Executor/RedriveExecution",
    "/executor.v1.Executor/DescribeExecution",
    "/executor.v1.Executor/GetExecutionHistory",
    "/executor.v1.Executor/ListMapRuns",
    "/executor.v1.Executor/ListMapRunExecutions",
    "/executor.v1.Executor/ListExecutions",
    "/executor.v1.Executor/WatchCompletions",
    "/executor.v1.Executor/PutDefinition",
    "/executor.v1.Executor/DescribeNode",
    "/executor.v1.Executor/RegisterDispatcher",
    "/executor.v1.Executor/Drain",
    "/executor.v1.Executor/GetActivityTask",
    "/executor.v1.Executor/AwaitActivityTask",
    "/executor.v1.Executor/TakeActivityTask",
    "/executor.v1.Executor/SendTaskSuccess",
    "/executor.v1.Executor/SendTaskFailure",
    "/executor.v1.Executor/SendTaskHeartbeat",
    "/executor.v1.Worker/Work",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// How a call has ended, as gRPC's codes say it; those that a node gives for known reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcCode {
    /// Good.
    Ok,
    /// The client has gone, or no longer wants it.
    Cancelled,
    /// Bad input.
    InvalidArgument,
    /// Whatever is asked for is not there.
    NotFound,
    /// A name is taken.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// No room.
    ResourceExhausted,
    /// Not in this state of things.
    FailedPrecondition,
    /// Not now.
    Unavailable,
    /// Something broke.
    Internal,
    /// Any other code.
    Other,
}

impl GrpcCode {
    /// All of them, with the value of the `code` label.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Ok, "OK"),
        (Self::Cancelled, "CANCELLED"),
        (Self::InvalidArgument, "INVALID_ARGUMENT"),
        (Self::NotFound, "NOT_FOUND"),
        (Self::AlreadyExists, "ALREADY_EXISTS"),
        (Self::PermissionDenied, "PERMISSION_DENIED"),
        (Self::ResourceExhausted, "RESOURCE_EXHAUSTED"),
        (Self::FailedPrecondition, "FAILED_PRECONDITION"),
        (Self::Unavailable, "UNAVAILABLE"),
        (Self::Internal, "INTERNAL"),
        (Self::Other, OVERFLOW),
    ];
}

/// What is counted for one method.
#[derive(Debug, Default)]
pub struct MethodMetrics {
    /// Calls that have ended, by how.
    pub calls: [Counter; GrpcCode::ALL.len()],
    /// Calls that have not.
    pub under_way: Gauge,
    /// From the call to the end of its answer.
    pub latency: Histogram,
}

/// What one port counts.
#[derive(Debug, Default)]
pub struct GrpcMetrics {
    methods: [Arc<MethodMetrics>; GRPC_METHODS.len()],
    other: Arc<MethodMetrics>,
}

impl GrpcMetrics {
    /// The cells of a method, by the path of its calls.
    #[must_use]
    pub fn method(&self, path: &str) -> Arc<MethodMetrics> {
        let at = GRPC_METHODS.iter().position(|known| *known == path);
        Arc::clone(at.and_then(|at| self.methods.get(at)).unwrap_or(&self.other))
    }

    /// Every method's cells, by the value of the `method` label.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &Arc<MethodMetrics>)> {
        let name = |path: &'static str| path.rsplit('/').next().unwrap_or(path);
        GRPC_METHODS.iter().map(move |path| name(path)).zip(&self.methods).chain([(OVERFLOW, &self.other)])
    }
}
