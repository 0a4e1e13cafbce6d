//! Towards a server: a channel that makes its handshake with the certificates that are in force when it connects.

use std::io;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use crate::explain;
use crate::identity::Trust;
use crate::standing::Watched;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that is silent this long is asked, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// An endpoint whose server is noticed to be gone also when it goes without a word, as a host does that loses its power.
#[must_use]
pub fn lively(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
}

/// A channel that connects when it is first used, and again whenever it must.
#[must_use]
pub fn channel_lazy(endpoint: &Endpoint, trust: Option<&Trust>) -> Channel {
    match trust {
        None => endpoint.connect_lazy(),
        Some(trust) => {
            let trust = trust.clone();
            endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| connect(uri, trust.clone())))
        }
    }
}

/// A channel that is connected.
///
/// # Errors
/// The server cannot be reached, or is not who it should be.
pub async fn channel(endpoint: &Endpoint, trust: Option<&Trust>) -> Result<Channel, Error> {
    match trust {
        None => endpoint.connect().await,
        Some(trust) => {
            let trust = trust.clone();
            endpoint.connect_with_connector(service_fn(move |uri: Uri| connect(uri, trust.clone()))).await
        }
    }
}

/// What was said, and the causes behind it: "transport error" alone helps nobody. A cause that was told is not told again,
/// for the words of a handshake come wrapped more than once.
#[must_use]
pub fn with_causes(said: &str, error: &dyn std::error::Error) -> String {
    let mut text = said.to_owned();
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

async fn connect(uri: Uri, trust: Trust) -> io::Result<TokioIo<Watched<TlsStream<TcpStream>>>> {
    let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    let host = uri.host().ok_or_else(|| wrong(format!("{uri} names no host")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(format!("{host:?}: {error}")))?;
    let stream = TlsConnector::from(trust.client()).connect(name, stream).await;
    let peer = format!("the server at {host}:{port}");
    let told =
        |error: io::Error| io::Error::new(error.kind(), explain::handshake(&error, &peer, &trust.ca()));
    let stream = stream.map_err(told)?;
    let end = trust.met(&peer, stream.get_ref().1.peer_certificates().unwrap_or_default());
    Ok(TokioIo::new(Watched::new(stream, end)))
}
