//! Integrations: what a Task state's `Resource` asks of the outside world.
//!
//! Purpose: [`Integrations`] takes a [`Request`] to the one module that serves its resource. Invariants: an integration keeps
//! no state of an execution, so that a request can be made again by another node; nothing here journals, times out a state
//! or retries: the shard and the definition do; whatever a peer sends is bounded before it is read; secrets reach no cause.
//! What may fail: the call, with a [`Failure`] as the state sees it.
//!
//! One shard has one [`Integrations`]; its futures run on the shard's thread and are dropped to cancel them.

mod credentials;
pub mod errors;
pub mod http;
pub mod http_invoke;
mod integrations;
pub mod lambda;
mod limits;
pub mod nested;
mod request;
pub mod tencent;

pub use credentials::{CredentialSource, Scheme, Signer};
pub use integrations::{IntegrationSettings, Integrations, LambdaSettings};
pub use request::{Answer, Call, Failure, Integration, Names, Origin, Request};
