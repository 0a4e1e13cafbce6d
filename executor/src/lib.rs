//! The node.

pub mod admission;
pub mod clock;
pub mod config;
pub mod definitions;
pub mod error;
pub mod limits;
pub mod shard;
