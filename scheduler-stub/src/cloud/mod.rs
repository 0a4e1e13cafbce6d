//! A stub of the clouds that Tasks call: functions, media and speech APIs, and a carrier's API behind OAuth, on one port.
//!
//! Purpose: what the quick start's and a laptop's workflows call over the network, as they would call the real ones. Invariants:
//! every request to a cloud is verified as its vendor does it, with keys that the stub of the authorization service has issued
//! under the same secret ([`crate::auth::Issuer`]); nothing is answered to anybody else; bodies, jobs and what is stored are
//! bounded; secrets reach no log. What may fail: a request, with the vendor's own error.
//!
//! Rooms: `server` (the port), `lambda` (AWS's Invoke API), `tencent` (API 3.0, and the services behind it), `web` (the token
//! endpoint and the carrier's API), `kept` (what is remembered, the oldest let go).

mod kept;
mod lambda;
mod server;
mod tencent;
mod web;

pub use server::{CloudConfig, CloudStub};
pub use tencent::Services;
pub use web::OAuthClient;

use serde_json::Value;

/// Runs the function of this name; the error is its type and message. [`NO_FUNCTION`] says that there is none.
pub type Functions = fn(&str, &Value) -> Result<Value, (&'static str, String)>;

/// The error of a function that does not exist.
pub const NO_FUNCTION: &str = "Lambda.ResourceNotFoundException";
