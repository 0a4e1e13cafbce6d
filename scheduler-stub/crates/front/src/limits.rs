//! What a peer can make the door keep, and for how long.

use std::time::Duration;

use crate::Error;

/// Every bound of the door. Counts and bytes are those of one thread, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open. Beyond, the one that has been silent for longest makes room; if all are busy, a new one is
    /// told so and closed.
    pub connections: usize,
    /// Bytes of a request's line and headers, 8 KiB to 1 MiB. More is HTTP 431.
    pub head_bytes: usize,
    /// Headers of a request. More is HTTP 431.
    pub headers: usize,
    /// Bytes of a request's body. More is `RequestEntityTooLargeException`, `RequestSizeLimitExceeded`.
    pub body_bytes: usize,
    /// Bytes of a body that count against no budget, so that big bodies leave small ones their place.
    pub small_body_bytes: usize,
    /// Bytes of all bodies that are being received or answered, and of all answers that are being written, beyond those. What
    /// finds no room is throttled; answers are written in any case.
    pub budget_bytes: usize,
    /// Requests that are being received or answered, until the answer is written. More are throttled.
    pub requests: usize,
    /// Streams of one HTTP/2 connection. More are refused.
    pub streams: u32,
    /// From the first byte of a request, or of a TLS handshake, to the last one of its headers. Of an HTTP/2 connection, `idle_within` holds
    /// instead.
    pub head_within: Duration,
    /// From the last byte of its headers to the last one of its body; of one that is refused, to the last one that is read.
    pub body_within: Duration,
    /// A connection on which nothing is under way is closed after this.
    pub idle_within: Duration,
    /// A connection is closed whose peer lets nothing of an answer be written for this long.
    pub write_within: Duration,
    /// A call that has no answer after this is given up; longer than the longest call, a synchronous execution of 5 minutes.
    pub call_within: Duration,
    /// What is under way when the door is shut may take so long.
    pub drain_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_bytes: 16 << 10,
            headers: 64,
            // 524,288 characters of an ASW input, each escaped as \uXXXX, and something around them.
            body_bytes: 4 << 20,
            small_body_bytes: 16 << 10,
            budget_bytes: 64 << 20,
            requests: 8_192,
            streams: 128,
            head_within: Duration::from_secs(10),
            body_within: Duration::from_secs(20),
            idle_within: Duration::from_secs(75),
            write_within: Duration::from_secs(20),
            call_within: Duration::from_secs(330),
            drain_within: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// # Errors
    /// [`Error::Limits`]: a limit of nothing, or headers that the HTTP library cannot bound.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(8 << 10..=1 << 20).contains(&self.head_bytes) {
            return Err(Error::Limits("head_bytes: 8 KiB at least, 1 MiB at most"));
        }
        if self.headers > 1_024 {
            return Err(Error::Limits("headers: 1,024 at most"));
        }
        let least = [self.connections, self.headers, self.body_bytes, self.requests, self.streams as usize];
        if least.contains(&0) {
            return Err(Error::Limits(
                "connections, headers, body_bytes, requests and streams: one at least",
            ));
        }
        Ok(())
    }
}
