//! The HTTP client that every integration calls through.
//!
//! Purpose: connections that are kept (HTTP/1.1 keep-alive, HTTP/2), names that are looked up once ([`names`]), where a call
//! may go ([`egress`]), and how many calls a target gets ([`target`]). Invariants: an address is checked where it is connected
//! to, after every redirect too, so that a name cannot point elsewhere in between; no more of an answer is read than the
//! caller asked for; sockets, waiting calls, bytes of answers and everything remembered are bounded; no proxy of the environment is used. What
//! may fail: everything outside, with [`HttpError`]. One shard has one client; dropping a call closes what it used.

mod client;
mod egress;
mod name_files;
mod name_servers;
mod names;
mod share;
mod target;
mod tls;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

pub(crate) use client::target_of;
pub use client::{Client, ClientOptions, SetupError};
pub use egress::{Egress, EgressError};
pub use name_files::NameSources;
pub use tls::{Tls, tls, transport};

/// A request to a peer. Its `Debug` text has the target alone, for keys may stand in URL, headers and body.
#[derive(Clone)]
pub struct Outbound {
    /// Method.
    pub method: Method,
    /// Absolute, `http` or `https`.
    pub url: Url,
    /// Headers; `Host` and `Content-Length` are the client's.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Bytes,
    /// For all of it: waiting for a place, redirects and the answer's body.
    pub timeout: Duration,
    /// The most that is read of the answer's body.
    pub response_bytes_max: usize,
    /// How many redirects are followed; what is signed follows none.
    pub redirects_max: usize,
    /// What is asked for behind the target, where many things are that have nothing to do with each other: functions, services.
    /// Each has places of its own, so that one that is slow takes none from others.
    pub lane: Option<String>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, url, .. } = self;
        let target = client::target_of(url);
        f.debug_struct("Outbound").field("method", method).field("target", &target).finish_non_exhaustive()
    }
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It is nothing that can be asked for.
    #[error("{target} cannot be called: {why}")]
    Request {
        /// Scheme, host and port.
        target: String,
        /// What is wrong with it.
        why: String,
    },
    /// The egress policy refuses the target.
    #[error("{target} is not called: {why}")]
    Egress {
        /// Scheme, host and port.
        target: String,
        /// Which rule, and how it is changed.
        why: String,
    },
    /// The name has no address, or nobody says which: that says nothing of the target itself.
    #[error("{target} cannot be reached: {why}")]
    Name {
        /// Scheme, host and port.
        target: String,
        /// What the name servers said.
        why: String,
    },
    /// Nobody answers there.
    #[error("{target} cannot be reached: {why}")]
    Connect {
        /// Scheme, host and port.
        target: String,
        /// What the system said.
        why: String,
    },
    /// It took longer than it may.
    #[error("{target} has not answered within {}.", seconds(*.after))]
    Timeout {
        /// Scheme, host and port.
        target: String,
        /// The bound.
        after: Duration,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("{target} has not answered properly: {why}")]
    Broken {
        /// Scheme, host and port.
        target: String,
        /// What went wrong.
        why: String,
    },
    /// The answer is longer than what is read.
    #[error("{target} has answered with more than {bytes_max} bytes, which is the most that is read.")]
    TooLong {
        /// Scheme, host and port.
        target: String,
        /// The bound.
        bytes_max: usize,
    },
    /// It redirects further than is followed, or to where it may not.
    #[error("{target} redirects {why}")]
    Redirect {
        /// Scheme, host and port.
        target: String,
        /// Where to.
        why: String,
    },
    /// The target failed so often that it has a pause: nothing was sent.
    #[error("{target} has failed {failures} times in a row and is not called again for {}.", seconds(*.pause))]
    Paused {
        /// Scheme, host and port.
        target: String,
        /// How often.
        failures: u32,
        /// What is left of the pause.
        pause: Duration,
    },
    /// As many calls wait for the target as may: nothing was sent.
    #[error("{target} has {waiting} calls waiting for it, which is the most.")]
    Crowded {
        /// Scheme, host and port.
        target: String,
        /// How many.
        waiting: usize,
    },
}

/// A duration for people: in tenths of a second below ten seconds, and never shorter than it is.
fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis().div_ceil(100);
    if tenths.is_multiple_of(10) || tenths > 100 {
        return format!("{} s", tenths.div_ceil(10));
    }
    format!("{}.{} s", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_figures_that_people_read() {
        let (target, failures) = ("http://a".to_owned(), 5);
        let pause = Duration::from_nanos(2_816_589_285);
        let paused = HttpError::Paused { target, failures, pause };
        let expected = "http://a has failed 5 times in a row and is not called again for 2.9 s.";
        assert_eq!(paused.to_string(), expected);
        for (millis, told) in [(0, "0 s"), (1, "0.1 s"), (1_000, "1 s"), (10_001, "11 s"), (60_000, "60 s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), told);
        }
    }
}
