//! The wire: generated messages and services, with conversions to the types of `ids`.
//!
//! Invariant: `bytes` fields decode to [`bytes::Bytes`] slices of the received frame; whoever keeps one longer than
//! its batch is open makes a right-sized copy. Conversions from the wire fail with [`IdError`], never panic.

/// `auth.v1`: temporary keys of roles.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from the commented .proto files"
)]
pub mod auth {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("auth.v1");
    }
}

/// `executor.v1`: what a node offers.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from the commented .proto files"
)]
pub mod executor {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("executor.v1");
    }
}

/// `scheduler.v1`: what the scheduler offers.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from the commented .proto files"
)]
pub mod scheduler {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("scheduler.v1");
    }
}

mod ids;
mod redacted;
mod trace;
pub use ids::IdError;
