//! What the door reports, for whoever counts: it knows no metrics itself.

use std::time::Duration;

use crate::operations::Api;

/// Whose affair it is how a request ended: names of errors do not always tell, for an API may have one name for many kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Succeeded,
    /// Something is wrong with it, or its caller may not.
    Refused,
    /// There was no room, or its caller asks too much.
    Throttled,
    /// What stands behind the door could not do it, or does not know whether it did.
    Failed,
    /// The caller went away before its answer was there.
    Gone,
}

/// A request that was answered, or whose caller went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The thread that answered it, from 0.
    pub thread: usize,
    /// By which API it came; `None` where it named none.
    pub api: Option<Api>,
    /// One of the API's operations; `None` where it named none that there is.
    pub operation: Option<&'static str>,
    /// The error's name in that API ([`crate::Kind::code`]); `None` when it succeeded. Where it named no API, an HTTP status
    /// alone was answered and the name is `Http`; where the caller went away before, it is `Gone`.
    pub error: Option<&'static str>,
    /// Whose affair that is.
    pub outcome: Outcome,
    /// From the last byte of its headers to when its answer was there.
    pub took: Duration,
    /// Bytes of its body, as far as it was received.
    pub received: usize,
    /// Bytes of its answer.
    pub sent: usize,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connection {
    /// It was accepted. Each of these is followed by [`Connection::Closed`], sooner or later.
    Opened,
    /// It has ended.
    Closed,
    /// It was accepted and closed, for all others were busy.
    Refused,
    /// It was closed to make room.
    Evicted,
    /// Its TLS handshake failed, or took too long.
    Handshake,
    /// Its request's headers took too long.
    SlowHead,
    /// Its peer read nothing of an answer for too long.
    SlowReader,
    /// It was closed because nothing had been under way for long.
    Idle,
    /// What it sent was no HTTP, or was more than may be, or it broke.
    Broken,
}

/// Counts. Called on the door's threads, which it must not hold up.
pub trait Tell: Send + Sync + 'static {
    /// A request was answered.
    fn answered(&self, told: Told);

    /// Something happened to a connection of this thread.
    fn connection(&self, thread: usize, what: Connection);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Tell for Silent {
    fn answered(&self, _told: Told) {}

    fn connection(&self, _thread: usize, _what: Connection) {}
}
