//! The node.

pub mod admission;
pub mod clock;
pub mod definitions;
pub mod config;
pub mod error;
pub mod limits;
pub mod shard;
