//! `/metrics` for Prometheus and `/healthz` for people and probes, over plain HTTP/1.1 on a port of their
//! own.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections, and [`RENDERS_MAX`] texts in the making, on threads of
//! their own; a request that is not complete within [`HEADERS_WITHIN`] is dropped; nothing that is asked here
//! changes anything. What may fail: a connection, and then it is closed.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry::{Form, NodeMetrics};
use tokio::sync::Semaphore;

use crate::grpc::health::Health;
use crate::grpc::listener;

/// Scrapers and probes are few.
const CONNECTIONS_MAX: usize = 64;
/// A text of a thousand machines is some megabytes.
const RENDERS_MAX: usize = 2;
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
    let shared = Arc::new(Port { metrics, health, renders: Semaphore::new(RENDERS_MAX) });
    while let Some(connection) = connections.next().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(shared.answer(&request).await) }
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

/// What every connection asks.
struct Port {
    metrics: NodeMetrics,
    health: Health,
    renders: Semaphore,
}

impl Port {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
                let encoding = request.headers().get(header::ACCEPT_ENCODING);
                let gzip = encoding.and_then(|value| value.to_str().ok()).is_some_and(takes_gzip);
                self.render(Form::accepted(accept), gzip).await
            }
            "/healthz" => {
                let ready = self.health.is_serving() && !self.health.is_draining();
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                text(status, format!("{}\n", self.health.explain()))
            }
            _ => text(StatusCode::NOT_FOUND, "here are /metrics and /healthz\n"),
        }
    }

    /// The metrics in this form, written and compressed beside the node's own thread.
    async fn render(&self, form: Form, gzip: bool) -> Response<Full<Bytes>> {
        // Nobody closes it.
        let _permit = self.renders.acquire().await;
        let metrics = self.metrics.clone();
        let written = tokio::task::spawn_blocking(move || {
            let text = metrics.render(form).into_bytes();
            if gzip { compressed(&text) } else { Ok(text) }
        });
        match written.await.map_err(io::Error::other).flatten() {
            Ok(body) => {
                let mut response = with_type(StatusCode::OK, form.content_type(), body);
                if gzip {
                    let encoding = header::HeaderValue::from_static("gzip");
                    response.headers_mut().insert(header::CONTENT_ENCODING, encoding);
                }
                response
            }
            Err(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be written: {error}\n"))
            }
        }
    }
}

/// Whether an `Accept-Encoding` names gzip, and not to refuse it.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}

fn compressed(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
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

    async fn get(path: &str, accept: &str, port: &Port) -> (u16, String, String) {
        let request = Request::get(path).header(header::ACCEPT, accept).body(()).expect("a request");
        let response = port.answer(&request).await;
        let status = response.status().as_u16();
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn port() -> Port {
        let metrics = NodeMetrics::new("1.2.3", 1);
        let right = tokio::sync::watch::Sender::<String>::default();
        let health = Health::new(metrics.clone(), right.subscribe()).await;
        Port { metrics, health, renders: Semaphore::new(RENDERS_MAX) }
    }

    #[tokio::test]
    async fn metrics_and_health_are_answered_and_nothing_else() {
        let port = port().await;
        let (status, _, body) = get("/metrics", "*/*", &port).await;
        assert!(status == 200 && body.contains("executor_build_info") && body.contains("1.2.3"), "{body}");
        let (status, _, body) = get("/healthz", "*/*", &port).await;
        assert!(status == 503 && body.starts_with("starting: the store"), "{body}");
        port.health.latch().await;
        let (status, _, body) = get("/healthz", "*/*", &port).await;
        assert_eq!((status, body.as_str()), (503, "draining\n"));
        assert_eq!(get("/", "*/*", &port).await.0, 404);
        let post = Request::post("/metrics").body(()).expect("a request");
        assert_eq!(port.answer(&post).await.status(), 405);
    }

    #[tokio::test]
    async fn a_scraper_gets_the_form_that_it_prefers() {
        let port = port().await;
        let (_, content_type, body) = get("/metrics", "text/plain", &port).await;
        assert!(content_type.starts_with("text/plain; version=0.0.4") && !body.contains("# EOF"), "{body}");
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        let (_, content_type, body) = get("/metrics", accept, &port).await;
        assert!(
            content_type.starts_with("application/openmetrics-text") && body.ends_with("# EOF\n"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn a_scraper_that_takes_gzip_gets_the_same_text_compressed() {
        use std::io::Read;
        let port = port().await;
        let request = Request::get("/metrics").header(header::ACCEPT_ENCODING, "br, gzip;q=0.8");
        let response = port.answer(&request.body(()).expect("a request")).await;
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).expect("gzip");
        assert!(text.contains("executor_build_info") && body.len() < text.len() / 4, "{}", body.len());
        for refused in ["", "identity", "br", "gzip;q=0", "gzipped"] {
            assert!(!takes_gzip(refused), "{refused}");
        }
    }
}
