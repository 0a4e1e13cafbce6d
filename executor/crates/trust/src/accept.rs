//! Connections from clients, with or without TLS, and who the client is.
//!
//! Invariants: a handshake never holds up another connection, and takes no longer than [`HANDSHAKE_WITHIN`]; at most
//! [`HANDSHAKES_MAX`] are under way, further connections wait for one of them; a client whose names are on no list is told so
//! by the end of its connection. Nothing here ends the port: what goes wrong with a connection is that connection's end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::allow::Roles;
use crate::explain;
use crate::identity::Trust;
use crate::standing::Watched;

/// How long a client may take for its handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// A connection that is ready for HTTP/2.
#[derive(Debug)]
pub enum Accepted<S> {
    /// Without TLS: everybody may do everything.
    Plain(S),
    /// With TLS.
    Tls(Box<Watched<TlsStream<S>>>, Arc<Roles>),
}

/// Who calls: in the extensions of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where.
    pub address: Option<SocketAddr>,
    /// What it is; `None` where there is no TLS, and then it may do everything.
    pub roles: Option<Arc<Roles>>,
}

/// Makes a connection ready: at once without TLS, else after its handshake.
///
/// # Errors
/// The handshake failed, took too long, or nobody knows the client.
pub async fn accept<S>(stream: S, trust: Option<&Trust>) -> io::Result<Accepted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Connected<ConnectInfo = TcpConnectInfo>,
{
    let Some(trust) = trust else { return Ok(Accepted::Plain(stream)) };
    let address = stream.connect_info().remote_addr();
    let peer = address.map_or_else(|| "a client".to_owned(), |address| format!("the client at {address}"));
    let handshake = TlsAcceptor::from(trust.server()).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
        Ok(stream) => stream
            .map_err(|error| io::Error::new(error.kind(), explain::handshake(&error, &peer, &trust.ca())))?,
        Err(_) => {
            let message = format!("the TLS handshake of {peer} took too long; see whether it speaks TLS");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let (roles, end) = trust.welcome(&peer, chain);
    if roles.is_empty() {
        let names = chain.first().map(explain::names).unwrap_or_default();
        let message = format!(
            "the certificate of {peer} is good, and nothing on the allow-list (--tls-allow, --tls-allow-file) says what it \
             is; {names}: add ROLE=NAME, or issue it another name"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(Accepted::Tls(Box::new(Watched::new(stream, end)), Arc::new(roles)))
}

impl<S> Accepted<S> {
    fn transport(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream, _) => stream.get_ref().get_ref().0,
        }
    }
}

impl<S: Connected<ConnectInfo = TcpConnectInfo>> Connected for Accepted<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let address = self.transport().connect_info().remote_addr();
        let roles = match self {
            Self::Plain(_) => None,
            Self::Tls(_, roles) => Some(Arc::clone(roles)),
        };
        Peer { address, roles }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
