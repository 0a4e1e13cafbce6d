//! Metrics and logs.
//!
//! Purpose: every metric has its name, help, unit and labels in one [`inventory`]; a shard counts in [`cells`] of its
//! own, which are merged when somebody scrapes. Invariants: a cell has one writer and is never contended; labels come
//! from bounded sets ([`labels`]); every name that is exposed stands in the
//! inventory and the other way round. What may fail: nothing on the hot path; a scrape that cannot be written.

pub mod cells;
mod credentials;
mod door;
mod export;
mod grpc;
pub mod inventory;
pub mod labels;
mod limit;
pub mod logs;
mod machine;
mod node;
mod picture;
mod process;
mod reasons;
mod shard;
pub mod snapshot;
mod text;

pub use credentials::{CredentialFailure, CredentialMetrics};
pub use door::{
    DoorCounts, DoorEnd, DoorMetrics, DoorOutcome, DoorRequest, DoorTrouble, OK, SchedulerMetrics,
    SchedulerState,
};
pub use export::{DropReason, ExportMetrics, IntakeMetrics, RemovedFiles, Signal};
pub use grpc::{GRPC_METHODS, GrpcCode, GrpcMetrics, MethodMetrics};
pub use machine::{MachineMetrics, StateKind, StateMetrics, TargetMetrics};
pub use node::NodeMetrics;
pub use reasons::{CallKind, CallMetrics, Refusal, StoreFailure};
pub use shard::ShardMetrics;
pub use snapshot::Snapshot;
pub use text::Form;
