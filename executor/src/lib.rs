//! The node.

pub mod admission;
mod alarm;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod definitions;
pub mod error;
mod exports;
pub mod grpc;
mod heartbeat;
mod history_export;
pub mod integrations;
pub mod limits;
pub mod listing;
pub mod metrics_http;
mod metrics_push;
pub mod node;
pub mod objects;
pub mod owners;
mod promise;
pub mod secret;
pub mod shard;
pub mod store;
mod traces_export;
