//! `/metrics` for Prometheus and `/healthz` for people and probes, over plain HTTP/1.1 on a port of their
//! own.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections; a request that is not complete within
//! [`HEADERS_WITHIN`] is dropped; nothing that is asked here changes anything. What may fail: a connection,
//! and then it is closed.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry::NodeMetrics;

use crate::grpc::health::Health;
use crate::grpc::listener;

/// Scrapers and probes are few.
const CONNECTIONS_MAX: usize = 64;
/// A request's headers take no longer.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// Answers until it is dropped.
///
/// # Errors
/// The listener cannot be used by this runtime.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    metrics: NodeMetrics,
    health: Health,
) -> io::Result<()> {
    let mut connections = pin!(listener::incoming(listener, CONNECTIONS_MAX, None)?);
    let shared = Arc::new((metrics, health));
    while let Some(connection) = connections.next().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(&request, &shared.0, &shared.1);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
        let served = server.serve_connection(TokioIo::new(connection?), service);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to the metrics port broke");
            }
        });
    }
    Ok(())
}

fn answer<B>(request: &Request<B>, metrics: &NodeMetrics, health: &Health) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    match request.uri().path() {
        "/metrics" => match metrics.render() {
            Ok(body) => with_type(StatusCode::OK, telemetry::CONTENT_TYPE, body),
            Err(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be written: {error}\n"))
            }
        },
        "/healthz" => {
            let ready = health.is_serving() && !health.is_draining();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            text(status, format!("{}\n", health.explain()))
        }
        _ => text(StatusCode::NOT_FOUND, "here are /metrics and /healthz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn get(path: &str, metrics: &NodeMetrics, health: &Health) -> (u16, String) {
        let request = Request::get(path).body(()).expect("a request");
        let response = answer(&request, metrics, health);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn metrics_and_health_are_answered_and_nothing_else() {
        let metrics = NodeMetrics::new("1.2.3", 1);
        let right = tokio::sync::watch::Sender::<String>::default();
        let health = Health::new(metrics.clone(), right.subscribe()).await;
        let (status, body) = get("/metrics", &metrics, &health).await;
        assert!(status == 200 && body.contains("executor_build_info") && body.contains("1.2.3"), "{body}");
        let (status, body) = get("/healthz", &metrics, &health).await;
        assert!(status == 503 && body.starts_with("starting: the store"), "{body}");
        health.latch().await;
        assert_eq!(get("/healthz", &metrics, &health).await, (503, "draining\n".to_owned()));
        assert_eq!(get("/", &metrics, &health).await.0, 404);
        let post = Request::post("/metrics").body(()).expect("a request");
        assert_eq!(answer(&post, &metrics, &health).status(), 405);
    }
}
