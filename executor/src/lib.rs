//! The node.

pub mod error;
pub mod shard;
