//! `/metrics` for Prometheus, `/healthz` for people and for probes that keep load away, and `/livez` for probes that start a
//! process again, over plain HTTP/1.1 on a port of their own.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections, of one request each; a request that is not complete within
//! [`HEADERS_WITHIN`] is dropped, and so is one whose answer is not read within [`ANSWERED_WITHIN`]; at most
//! [`SCRAPES_MAX`] of them ask for metrics, so that slow readers leave places to `/healthz`; at most [`RENDERS_MAX`] texts are in
//! the making, on threads of their own, whether their askers still wait or not. Nothing that is asked here changes anything.
//! What may fail: a connection, and then it is closed.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
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
use telemetry::Form;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::grpc::listener;

/// Scrapers and probes are few.
const CONNECTIONS_MAX: usize = 64;
/// Connections that ask for metrics at once; each holds its text until it was read.
const SCRAPES_MAX: usize = 16;
/// A text of a thousand machines is some megabytes.
const RENDERS_MAX: usize = 2;
/// A request's headers take no longer.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// A connection takes no longer, from its first byte to its last: scrapers wait for 10 s and less.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Who is asked.
pub trait Told: Send + Sync + 'static {
    /// All metrics of this moment. Called on a thread that may be kept busy.
    fn metrics(&self, form: Form) -> String;

    /// Whether it serves, and in a line what it does.
    fn health(&self) -> (bool, Cow<'static, str>);
}

/// Answers until it is dropped.
///
/// # Errors
/// The listener cannot be used by this runtime.
pub async fn serve(listener: std::net::TcpListener, told: impl Told) -> io::Result<()> {
    let mut connections = pin!(listener::incoming(listener, CONNECTIONS_MAX, None)?);
    let port = Arc::new(Port::new(told));
    while let Some(connection) = connections.next().await {
        let (connection, port) = (TokioIo::new(connection?), Arc::clone(&port));
        tokio::spawn(async move {
            match tokio::time::timeout(ANSWERED_WITHIN, port.one_request(connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection to the metrics port broke"),
                Err(_) => tracing::debug!("a connection to the metrics port did not read its answer in time"),
            }
        });
    }
    Ok(())
}

/// What every connection asks.
struct Port {
    told: Arc<dyn Told>,
    scrapes: Arc<Semaphore>,
    renders: Arc<Semaphore>,
}

/// Held by a connection until it has ended, for its text is in memory until then.
type Place = OnceLock<OwnedSemaphorePermit>;

impl Port {
    fn new(told: impl Told) -> Self {
        let bound = |places| Arc::new(Semaphore::new(places));
        Self { told: Arc::new(told), scrapes: bound(SCRAPES_MAX), renders: bound(RENDERS_MAX) }
    }

    /// Answers what a connection asks first, and ends it: whoever asks seldom loses nothing, and an idle one holds no place.
    async fn one_request<C>(self: Arc<Self>, connection: C) -> hyper::Result<()>
    where
        C: hyper::rt::Read + hyper::rt::Write + Unpin,
    {
        let place = Arc::<Place>::default();
        let service = service_fn(|request: Request<Incoming>| {
            let (port, place) = (Arc::clone(&self), Arc::clone(&place));
            async move { Ok::<_, Infallible>(port.answer(&request, &place).await) }
        });
        let mut server = http1::Builder::new();
        server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
        server.serve_connection(connection, service).await
    }

    async fn answer<B>(&self, request: &Request<B>, place: &Place) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let Ok(free) = Arc::clone(&self.scrapes).try_acquire_owned() else {
                    return text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "too many ask for metrics at once: ask again\n",
                    );
                };
                // A connection asks once.
                let _ = place.set(free);
                let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
                let encoding = request.headers().get(header::ACCEPT_ENCODING);
                let gzip = encoding.and_then(|value| value.to_str().ok()).is_some_and(takes_gzip);
                self.render(Form::accepted(accept), gzip).await
            }
            "/healthz" => {
                let (ready, said) = self.told.health();
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                text(status, format!("{said}\n"))
            }
            // That it is answered is all that is asked: who waits for a store or for nodes is not helped by a new start.
            "/livez" => text(StatusCode::OK, "alive\n"),
            _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /livez\n"),
        }
    }

    /// The metrics in this form, written and compressed beside the thread of whoever is asked.
    async fn render(&self, form: Form, gzip: bool) -> Response<Full<Bytes>> {
        let told = Arc::clone(&self.told);
        let written = beside(&self.renders, move || {
            let text = told.metrics(form).into_bytes();
            if gzip { compressed(&text) } else { Ok(text) }
        });
        match written.await.flatten() {
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

/// Does this on a thread of its own. Its place is free when it is done, not when its asker goes: a thread cannot be called back.
async fn beside<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let worked = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    worked.await.map_err(io::Error::other)
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
    use telemetry::NodeMetrics;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::grpc::health::Health;

    async fn get(path: &str, accept: &str, port: &Port) -> (u16, String, String) {
        let request = Request::get(path).header(header::ACCEPT, accept).body(()).expect("a request");
        let response = port.answer(&request, &Place::new()).await;
        let status = response.status().as_u16();
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn port() -> (Port, Health) {
        let metrics = NodeMetrics::new("1.2.3", 1);
        let right = tokio::sync::watch::Sender::<String>::default();
        let health = Health::new(metrics.clone(), right.subscribe()).await;
        (Port::new(health.clone()), health)
    }

    #[tokio::test]
    async fn metrics_and_health_are_answered_and_nothing_else() {
        let (port, health) = port().await;
        let (status, _, body) = get("/metrics", "*/*", &port).await;
        assert!(status == 200 && body.contains("executor_build_info") && body.contains("1.2.3"), "{body}");
        let (status, _, body) = get("/healthz", "*/*", &port).await;
        assert!(status == 503 && body.starts_with("starting: the store"), "{body}");
        health.latch().await;
        let (status, _, body) = get("/healthz", "*/*", &port).await;
        assert_eq!((status, body.as_str()), (503, "draining\n"));
        let (status, _, body) = get("/livez", "*/*", &port).await;
        assert_eq!((status, body.as_str()), (200, "alive\n"), "whatever it can do now");
        assert_eq!(get("/", "*/*", &port).await.0, 404);
        let post = Request::post("/metrics").body(()).expect("a request");
        assert_eq!(port.answer(&post, &Place::new()).await.status(), 405);
    }

    #[tokio::test]
    async fn a_scraper_gets_the_form_that_it_prefers() {
        let (port, _) = port().await;
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
        let (port, _) = port().await;
        let request = Request::get("/metrics").header(header::ACCEPT_ENCODING, "br, gzip;q=0.8");
        let response = port.answer(&request.body(()).expect("a request"), &Place::new()).await;
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).expect("gzip");
        assert!(text.contains("executor_build_info") && body.len() < text.len() / 4, "{}", body.len());
        for refused in ["", "identity", "br", "gzip;q=0", "gzipped"] {
            assert!(!takes_gzip(refused), "{refused}");
        }
    }

    /// The port behind a listener, and a client that has asked for this.
    async fn asked(port: &Arc<Port>, listener: &TcpListener, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (connection, _) = listener.accept().await.expect("accepted");
        let served = Arc::clone(port).one_request(TokioIo::new(connection));
        tokio::spawn(tokio::time::timeout(ANSWERED_WITHIN, served));
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: n\r\n\r\n").as_bytes()).await.expect("asked");
        client
    }

    async fn are_free(places: &Semaphore, expected: usize) {
        let look = || async {
            let free = places.available_permits();
            if free == expected { Ok(()) } else { Err(format!("{free} places are free")) }
        };
        testkit::wait::eventually_async(&format!("{expected} places are free"), ANSWERED_WITHIN, look).await;
    }

    async fn all_of(mut client: TcpStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("read to the end");
        text
    }

    #[tokio::test]
    async fn scrapes_that_hang_are_bounded_and_leave_health_its_place() {
        let port = Arc::new(port().await.0);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let renders = Arc::clone(&port.renders).acquire_many_owned(2).await.expect("open");
        let mut hanging = Vec::new();
        for _ in 0..SCRAPES_MAX {
            hanging.push(asked(&port, &listener, "/metrics").await);
        }
        are_free(&port.scrapes, 0).await;
        let refused = all_of(asked(&port, &listener, "/metrics").await).await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("ask again"), "{refused}");
        let healthy = all_of(asked(&port, &listener, "/healthz").await).await;
        assert!(
            healthy.contains("connection: close") && healthy.contains("starting: the store"),
            "{healthy}"
        );
        drop(renders);
        for client in hanging {
            assert!(all_of(client).await.contains("executor_build_info"));
        }
        are_free(&port.scrapes, SCRAPES_MAX).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_answer_takes_too_long_is_closed_and_its_place_is_free() {
        let port = Arc::new(port().await.0);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let _renders = Arc::clone(&port.renders).acquire_many_owned(2).await.expect("open");
        assert_eq!(all_of(asked(&port, &listener, "/metrics").await).await, "");
        assert_eq!(port.scrapes.available_permits(), SCRAPES_MAX);
    }

    #[tokio::test]
    async fn a_text_in_the_making_keeps_its_place_although_nobody_waits_for_it_any_more() {
        let places = Arc::new(Semaphore::new(1));
        let (go_on, held) = std::sync::mpsc::sync_channel::<()>(1);
        let (begin, begun) = tokio::sync::oneshot::channel();
        let asked = beside(&places, move || {
            let _ = begin.send(());
            held.recv()
        });
        tokio::select! {
            _ = asked => panic!("it is held"),
            begun = begun => begun.expect("it has begun"),
        }
        assert_eq!(places.available_permits(), 0, "the asker is gone, the thread is not");
        go_on.send(()).expect("it waits");
        assert!(beside(&places, || 7).await.is_ok_and(|seven| seven == 7));
    }
}
