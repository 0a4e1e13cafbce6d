//! What a connection is doing, and since when: by this it is closed when it does nothing, or only pretends to do something.
//!
//! Invariants: one thread's; keeping it costs a request two looks at the clock and no timer. A connection with a request under
//! way is never ended here but when the door is shut: bodies, calls and shutting have bounds of their own. Nothing here fails.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Limits;
use crate::tell::Connection;

/// What HTTP/2 begins with; no method does.
const HTTP2_BEGINS: &[u8] = b"PRI ";

/// See the module.
pub(super) struct Activity {
    /// Requests that are received or answered.
    under_way: Cell<u32>,
    /// Whether its TLS handshake goes on.
    handshake: Cell<bool>,
    /// Whether a part of the next request's headers is there.
    head: Cell<bool>,
    /// Since when it is what it is.
    since: Cell<Instant>,
    /// Whether it has had a request.
    spoke: Cell<bool>,
    protocol: Cell<Protocol>,
    order: Cell<Option<Order>>,
    ordered: Notify,
}

/// What is spoken, as far as the first bytes tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes of what HTTP/2 begins with have come, and nothing else.
    Unknown(usize),
    Http1,
    Http2,
}

/// What a connection is told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Make room.
    End,
    /// Answer what is under way, and end.
    Drain,
}

/// What comes to pass on a connection from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It ends, and this is why.
    End(Connection),
    /// It takes nothing more.
    Drain,
}

impl Activity {
    /// A connection that has just come, of which a handshake or a first request is expected soon.
    pub(super) fn new(handshake: bool) -> Self {
        Self {
            under_way: Cell::new(0),
            handshake: Cell::new(handshake),
            head: Cell::new(false),
            since: Cell::new(Instant::now()),
            spoke: Cell::new(false),
            protocol: Cell::new(Protocol::Unknown(0)),
            order: Cell::new(None),
            ordered: Notify::new(),
        }
    }

    /// The handshake is over, or a request was answered.
    pub(super) fn waits(&self) {
        self.handshake.set(false);
        self.head.set(false);
        self.since.set(Instant::now());
    }

    /// A request is there; it is under way until what is returned is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.head.set(false);
        self.spoke.set(true);
        UnderWay(Rc::clone(self))
    }

    /// Tells it to do something.
    pub(super) fn order(&self, order: Order) {
        self.order.set(Some(order));
        self.ordered.notify_one();
    }

    /// How readily it may be closed: `None` when it is busy or ends anyway, else the least is closed first. Those that have
    /// asked for nothing yet go first, then those that have been silent for longest.
    pub(super) fn readiness(&self) -> Option<(bool, Instant)> {
        let free = self.under_way.get() == 0 && self.order.get().is_none();
        free.then(|| (self.spoke.get(), self.since.get()))
    }

    /// Bytes have come.
    fn received(&self, bytes: &[u8]) {
        if let Protocol::Unknown(seen) = self.protocol.get() {
            let (rest, matching) = (&HTTP2_BEGINS[seen..], bytes.len().min(HTTP2_BEGINS.len() - seen));
            let protocol = match () {
                () if bytes[..matching] != rest[..matching] => Protocol::Http1,
                () if matching == rest.len() => Protocol::Http2,
                () => Protocol::Unknown(seen + matching),
            };
            self.protocol.set(protocol);
        }
        // HTTP/2 has frames beside those of requests; what it leaves unfinished counts as doing nothing.
        let begins = self.under_way.get() == 0 && !self.head.get();
        if begins && self.protocol.get() != Protocol::Http2 {
            self.head.set(true);
            self.since.set(Instant::now());
        }
    }

    /// When it is to be ended if nothing happens until then, and as what.
    fn deadline(&self, limits: &Limits) -> Option<(Instant, Connection)> {
        if self.under_way.get() > 0 {
            return None;
        }
        let (within, what) = match () {
            () if self.handshake.get() => (limits.head_within, Connection::Handshake),
            () if self.head.get() => (limits.head_within, Connection::SlowHead),
            () if !self.spoke.get() => (limits.head_within, Connection::Idle),
            () => (limits.idle_within, Connection::Idle),
        };
        Some((self.since.get() + within, what))
    }

    /// Waits until it has to end or drain. To be asked again after a drain; drop it and nothing is lost.
    pub(super) async fn due(&self, limits: &Limits) -> Due {
        // A deadline moves with each request, so it is not waited for but looked at.
        let look_every = (limits.head_within.min(limits.idle_within) / 2).max(Duration::from_millis(1));
        loop {
            match self.order.get() {
                Some(Order::End) => return Due::End(Connection::Evicted),
                Some(Order::Drain) => return Due::Drain,
                None => {}
            }
            let now = Instant::now();
            let next = match self.deadline(limits) {
                Some((at, what)) if at <= now => return Due::End(what),
                Some((at, _)) => at.min(now + look_every),
                None => now + look_every,
            };
            tokio::select! {
                () = self.ordered.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }
}

/// A request that is under way.
pub(super) struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = self.0.under_way.get() - 1;
        self.0.under_way.set(left);
        if left == 0 {
            self.0.waits();
        }
    }
}

/// A stream that tells what comes.
pub(super) struct Noticed<S> {
    stream: S,
    activity: Rc<Activity>,
}

impl<S> Noticed<S> {
    pub(super) fn new(stream: S, activity: Rc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(new) = buf.filled().get(before..).filter(|new| !new.is_empty()) {
            self.activity.received(new);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noticed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
