//! A small HTTP server on loopback whose answers a test decides.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use token_cache::providers::{HttpTransport, Transport};

/// What a server received.
pub struct Received {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn signed(&self) -> sign::Received<'_> {
        sign::Received {
            method: &self.method,
            target: &self.target,
            headers: &self.headers,
            body: &self.body,
        }
    }
}

/// Serves as long as the test's runtime lives; returns where.
pub async fn serve(answer: impl Fn(Received) -> Response<String> + Send + Sync + 'static) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let target = parts.uri.to_string();
                    let received = Received { method: parts.method, target, headers: parts.headers, body };
                    Ok::<_, hyper::Error>(answer(received).map(|text| Full::new(Bytes::from(text))))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

pub fn transport() -> Arc<dyn Transport> {
    Arc::new(HttpTransport::new(builder()).expect("a client"))
}

fn builder() -> reqwest::ClientBuilder {
    // Another test may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}
