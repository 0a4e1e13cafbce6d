//! Connections that stand, and end when their peer would no longer be let in as what it was let in as.
//!
//! Invariants: they are looked through when certificates or the allow-list have changed, and every minute for what time has
//! ended; whoever has other roles now, or whose certificate has expired or is of an authority that is no longer trusted, loses
//! the connection with everything on it, and comes back as what it is now or not at all. Bounded by the connections that
//! there are. Nothing here fails.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// A peer whose connection stands.
#[derive(Debug)]
pub(crate) struct Peer<A> {
    /// For the log.
    pub(crate) name: String,
    /// Its certificate, and those between it and the authority.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// What it was let in as.
    pub(crate) as_what: A,
}

/// All connections of a process that stand.
#[derive(Debug)]
pub(crate) struct Standing<A>(Mutex<Vec<Entry<A>>>);

/// A peer, and what ends its connection.
type Entry<A> = (Peer<A>, oneshot::Sender<()>);

impl<A> Default for Standing<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A> Standing<A> {
    /// A connection is there. `peer` is made before a look through them begins, and is looked at, or after, by what is in
    /// force then.
    pub(crate) fn add(&self, peer: impl FnOnce() -> Peer<A>) -> End {
        let (ender, end) = oneshot::channel();
        let mut all = self.lock();
        if all.len() == all.capacity() {
            all.retain(|(_, ender)| !ender.is_closed());
        }
        all.push((peer(), ender));
        End::Open(end)
    }

    /// Ends those that there is something to say against. New ones need not wait for it.
    pub(crate) fn review(&self, objection: impl Fn(&Peer<A>) -> Option<String>) {
        let standing = std::mem::take(&mut *self.lock());
        let mut kept = Vec::with_capacity(standing.len());
        for (peer, ender) in standing.into_iter().filter(|(_, ender)| !ender.is_closed()) {
            match objection(&peer) {
                None => kept.push((peer, ender)),
                Some(why) => {
                    tracing::warn!("the connection with {} is ended: {why}", peer.name);
                    // It may have ended by itself meanwhile.
                    let _ = ender.send(());
                }
            }
        }
        self.lock().append(&mut kept);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry<A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection has been ended.
#[derive(Debug)]
pub(crate) enum End {
    Open(oneshot::Receiver<()>),
    /// Nobody looks after it any more.
    Alone,
    Ended,
}

/// A stream that ends when its peer has lost what it was let in for.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    end: End,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, end: End) -> Self {
        Self { stream, end }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }

    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut S>>
    where
        S: Unpin,
    {
        if let End::Open(end) = &mut self.end
            && let Poll::Ready(ended) = Pin::new(end).poll(cx)
        {
            self.end = ended.map_or(End::Alone, |()| End::Ended);
        }
        match self.end {
            End::Open(_) | End::Alone => Ok(Pin::new(&mut self.stream)),
            End::Ended => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the peer is not what it was let in as any more",
            )),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream(cx)?.poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream(cx)?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream(cx)?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
