//! Accepts connections: bounded in number, without Nagle's delay, and never ended by one bad connection.
//!
//! Invariants: at most the configured number of connections is open on a port, further ones wait in the
//! kernel's queue; a connection that sends nothing within [`FIRST_BYTE_WITHIN`] is closed, so that silence
//! holds no place.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};
use trust::{Accepted, Trust};

/// How long a new connection may be silent.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait after the kernel refused a connection (too many open files, most likely).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Handshakes under way on one port; further connections wait for one of them.
const HANDSHAKES_MAX: usize = 256;
/// Connections that wait in the kernel's queue.
const BACKLOG: u32 = 1_024;

/// Binds a port now, so that a port in use is an error at start and the number of port 0 is known.
///
/// # Errors
/// The port is in use, or may not be bound.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A stream of connections for a server, at most `connections_max` of them open.
///
/// # Errors
/// When the listener cannot be used by this runtime.
pub fn incoming(
    listener: std::net::TcpListener,
    connections_max: usize,
    trust: Option<Trust>,
) -> io::Result<impl Stream<Item = io::Result<Accepted<Connection>>>> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(connections_max));
    let connections = futures_util::stream::unfold((listener, places), |(listener, places)| async move {
        let connection = accept(&listener, &places).await?;
        Some((connection, (listener, places)))
    });
    let ready = connections.map(move |connection| {
        let trust = trust.clone();
        async move {
            let peer = connection.stream.peer_addr();
            match trust::accept(connection, trust.as_ref()).await {
                Ok(connection) => Some(Ok(connection)),
                Err(error) => {
                    let peer = peer.map_or_else(|_| "gone".to_owned(), |peer| peer.to_string());
                    tracing::warn!(peer, %error, "a connection was refused");
                    None
                }
            }
        }
    });
    Ok(ready.buffer_unordered(HANDSHAKES_MAX).filter_map(std::future::ready))
}

/// The next connection; `None` never comes, for the semaphore is never closed.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Connection> {
    let mut failing = false;
    loop {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection was gone before it began");
                    continue;
                }
                let silence = Some(Box::pin(tokio::time::sleep(FIRST_BYTE_WITHIN)));
                return Some(Connection { stream, silence, _place: place });
            }
            Err(error) => {
                // Said once for as long as it lasts: it is tried again many times a second.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted: those that stand go on, others wait");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// A connection that holds its place among the port's connections.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Until the first byte.
    silence: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.silence = None;
        } else if let Some(silence) = self.silence.as_mut()
            && silence.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the connection stayed silent")));
        }
        read
    }
}

impl AsyncWrite for Connection {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_until_another_has_gone() {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut incoming = Box::pin(incoming(listener, 1, None).expect("usable"));
        let _first_client = TcpStream::connect(address).await.expect("connects");
        let _second_client = TcpStream::connect(address).await.expect("waits in the kernel");
        let first = incoming.next().await.expect("never ends").expect("never fails");
        assert!(incoming.next().now_or_never().is_none());
        drop(first);
        assert!(incoming.next().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed_and_one_that_spoke_is_not() {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut incoming = Box::pin(incoming(listener, 2, None).expect("usable"));
        let _silent = TcpStream::connect(address).await.expect("connects");
        let mut connection = incoming.next().await.expect("never ends").expect("never fails");
        let error = connection.read_u8().await.expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut speaker = TcpStream::connect(address).await.expect("connects");
        let accepted = incoming.next().await.expect("never ends").expect("never fails");
        let Accepted::Plain(mut connection) = accepted else { panic!("no certificates") };
        speaker.write_all(&[7]).await.expect("written");
        connection.stream.readable().await.expect("bytes arrive");
        assert_eq!(connection.read_u8().await.expect("a byte"), 7);
        let waited = tokio::time::timeout(FIRST_BYTE_WITHIN * 2, connection.read_u8()).await;
        assert!(waited.is_err(), "a connection that spoke may be silent");
    }
}
