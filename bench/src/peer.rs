//! The HTTP peer of `three-calls`: answers every request with its body, on connections that are kept; or none.
//!
//! A request without the API key is refused, so that what is measured goes through connections as it does in earnest. What may
//! fail: the port.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::error::Error;

/// The header that a connection's API key is in, and the key.
pub const KEY_HEADER: &str = "x-api-key";
/// It guards nothing but this peer.
pub const KEY: &str = "bench";

/// Serves until it is dropped. `ready` is called when connections are taken; with `hang` nothing is ever answered.
///
/// # Errors
/// The port is taken.
pub async fn serve(listen: SocketAddr, hang: bool, ready: impl FnOnce()) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Process(format!("the peer's port {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    ready();
    loop {
        let (stream, _) = listener.accept().await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        tokio::spawn(connection(stream, hang));
    }
}

/// A connection that breaks is its client's affair.
async fn connection(stream: TcpStream, hang: bool) {
    let service = service_fn(move |request| async move {
        if hang {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(echo(request).await)
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let known = request.headers().get(KEY_HEADER).is_some_and(|key| key.as_bytes() == KEY.as_bytes());
    let body = match request.into_body().collect().await {
        Ok(body) if known => Ok(body.to_bytes()),
        Ok(_) => Err(StatusCode::UNAUTHORIZED),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    };
    let (status, body) = match body {
        Ok(body) => (StatusCode::OK, body),
        Err(status) => (status, Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
