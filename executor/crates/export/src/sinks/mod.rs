//! Where the histories of executions go.

pub mod cls;
pub mod files;
pub mod kafka;
pub mod redis;
