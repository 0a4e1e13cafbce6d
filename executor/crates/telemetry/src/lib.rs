//! Metrics and logs.
//!
//! Purpose: every metric has its name, help, unit and labels in one [`inventory`]; a shard counts in [`cells`] of its
//! own, which are merged when somebody scrapes. Invariants: a cell has one writer and is never contended; labels come
//! from bounded sets ([`MACHINES_MAX`] machines, then [`MACHINE_OVERFLOW`]); every name that is exposed stands in the
//! inventory and the other way round. What may fail: nothing on the hot path; a scrape that cannot be written.

pub mod cells;
mod credentials;
mod exposition;
pub mod inventory;
pub mod logs;
mod process;
mod shard;

pub use credentials::{CredentialFailure, CredentialMetrics};
pub use exposition::{CONTENT_TYPE, NodeMetrics};
pub use shard::{
    CallKind, CallMetrics, MACHINE_OVERFLOW, MACHINES_MAX, MachineMetrics, Refusal, ShardMetrics,
    StoreFailure,
};
