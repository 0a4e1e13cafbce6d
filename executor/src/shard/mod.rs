//! A shard: one thread, one actix arbiter, its partitions and their executions.

mod command;

pub use command::{Command, Reply, WorkerId};
