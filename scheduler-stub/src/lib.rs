//! A small, honest scheduler: templates, placement, dispatch in batches, front doors.
//!
//! Purpose: everything between a user's StartExecution and a node. Invariants: an answer means durable; an
//! execution id is made here once and never changes on resends; no start waits for a timer. What may fail:
//! the request, the store of the templates, the nodes, each with an [`Error`] that says what to do.
//!
//! Rooms, from the ground up: [`names`], [`templates`] (machines in the store), [`directory`] (who lives and
//! owns what), [`assign`] and [`ownership`] (who shall own what), [`placement`] (where a start goes), [`dispatch`] (batches to shards), [`executions`] (all that is asked about them), [`grpc`] (the services), [`doors`] (the public HTTP API),
//! [`server`] (all of it together), [`auth`] and [`cloud`] (stubs of the authorization service
//! and of the clouds that Tasks call), [`client`] and [`cli`] (for people), [`quickstart`] (everything in one
//! process).

pub mod activities;
mod ailments;
pub mod auth;
pub mod cli;
pub mod client;
pub mod cloud;
pub mod cluster;
pub mod directory;
pub mod dispatch;
pub mod doors;
pub mod error;
pub mod executions;
pub mod forward;
pub mod grpc;
mod metrics;
pub mod names;
pub mod ownership;
pub mod placement;
pub mod quickstart;
mod readiness;
pub mod refusals;
mod rights;
pub mod server;
pub mod signals;
pub mod templates;
pub mod timeline;
pub mod validate;

pub use error::Error;
pub use server::{Scheduler, SchedulerConfig};
