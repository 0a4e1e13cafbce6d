//! Takes what nodes export over HTTP (OTLP, CLS): reads each request to its end, and answers that it was taken.
//!
//! It looks at nothing: what is in the requests is for the tests of the exporters. What may fail: the port.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::error::Error;

/// Serves until it is dropped. `ready` is called with the address when connections are taken.
///
/// # Errors
/// The port is taken.
pub async fn serve(listen: SocketAddr, ready: impl FnOnce(SocketAddr)) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Process(format!("the collector's port {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    ready(listener.local_addr().map_err(failed)?);
    loop {
        let (stream, _) = listener.accept().await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        tokio::spawn(connection(stream));
    }
}

/// A connection that breaks is its client's affair.
async fn connection(stream: TcpStream) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(take(request).await) });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn take(request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let mut body = request.into_body();
    let mut response = Response::new(Empty::new());
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
    }
    // An empty message of OTLP says that everything was taken; CLS says nothing either.
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    response
}
