//! A shard: one thread, one actix arbiter, its partitions and their executions.

mod command;
mod handle;

pub use command::{Command, Reply, WorkerId};
pub use handle::{Binding, Serve, ShardConfig, ShardHandle, ShardState};
