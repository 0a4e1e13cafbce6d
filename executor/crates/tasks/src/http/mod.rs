//! The HTTP client that every integration calls through: pools, name look-up, egress policy, limits and breakers per target.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

/// A request to a peer.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// Method.
    pub method: Method,
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// Headers; `Host` and `Content-Length` are the client's.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Bytes,
    /// For all of it, redirects and the answer's body included.
    pub timeout: Duration,
    /// The most that is read of the answer's body.
    pub response_bytes_max: usize,
}

/// A peer's answer.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Bytes,
}

/// Why there is no answer. Each message names the target, and no secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none that can be called.
    #[error("{0}")]
    Url(String),
    /// The egress policy refuses the target.
    #[error("{0}")]
    Egress(String),
    /// The name has no address, or nobody answers there.
    #[error("{0}")]
    Connect(String),
    /// It took longer than it may.
    #[error("{0}")]
    Timeout(String),
    /// The connection broke, or what came is no HTTP.
    #[error("{0}")]
    Broken(String),
    /// The answer is longer than what is read.
    #[error("{0}")]
    TooLong(String),
    /// The target has failed too often, or has as many calls as it may: nothing was sent.
    #[error("{0}")]
    Shed(String),
}
