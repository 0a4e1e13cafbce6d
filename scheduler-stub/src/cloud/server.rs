//! The port: requests are read within bounds and taken to whom they are for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use executor::clock::Clock;
use executor::grpc::listener;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::tencent::{Services, Tencent};
use super::web::{OAuthClient, Web};
use super::{Functions, lambda};
use crate::auth::Issuer;
use crate::error::Error;

/// Connections that are open at once.
const CONNECTIONS_MAX: usize = 4_096;
/// A request's headers take no longer, nor does the next request on a connection; longer than clients keep one.
const HEADERS_WITHIN: Duration = Duration::from_secs(90);
/// A request's body takes no longer.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// A request's body; 6 MB is what both clouds' functions take.
const BODY_BYTES_MAX: usize = 8 << 20;

/// What a stub is configured with.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Where it listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Knows the keys.
    pub issuer: Issuer,
    /// Who may have tokens for the carrier's API; `None`: nobody.
    pub client: Option<OAuthClient>,
    /// The functions of both clouds.
    pub functions: Functions,
    /// How long a job of the media and speech services takes.
    pub job_time: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// A running stub.
pub struct CloudStub {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// What was asked.
pub(super) struct Received {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What is answered.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

struct Doors {
    issuer: Issuer,
    functions: Functions,
    tencent: Tencent,
    web: Web,
    clock: Clock,
}

impl CloudStub {
    /// Starts it; answers requests when it returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the address is taken.
    pub fn start(config: CloudConfig) -> Result<Self, Error> {
        let CloudConfig { listen, issuer, client, functions, job_time, clock } = config;
        let taken = |error: std::io::Error| {
            Error::unavailable(format!("cannot listen on {listen}: {error}; choose another with --listen"))
        };
        let port = listener::bind(listen).map_err(taken)?;
        let address = port.local_addr().map_err(taken)?;
        let connections = listener::incoming(port, CONNECTIONS_MAX, None).map_err(taken)?;
        let doors = Arc::new(Doors {
            tencent: Tencent::new(Services::new(functions, job_time), issuer.clone()),
            web: Web::new(client, issuer.clone()),
            issuer,
            functions,
            clock,
        });
        let (stop, stopped) = watch::channel(false);
        let mut stop_told = stopped.clone();
        let server = tokio::spawn(async move {
            let stop = async { _ = stop_told.wait_for(|stopped| *stopped).await };
            let mut stop = std::pin::pin!(stop);
            let mut connections = std::pin::pin!(connections);
            let mut served = JoinSet::new();
            loop {
                let connection = tokio::select! {
                    connection = connections.next() => connection,
                    Some(_) = served.join_next(), if !served.is_empty() => continue,
                    () = &mut stop => None,
                };
                match connection {
                    Some(Ok(connection)) => {
                        _ = served.spawn(serve(Arc::clone(&doors), connection, stopped.clone()))
                    }
                    Some(Err(error)) => tracing::debug!(%error, "a connection was not accepted"),
                    None => break,
                }
            }
            while served.join_next().await.is_some() {}
        });
        tracing::info!(%address, "the stub of the clouds serves");
        Ok(Self { address, stop, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends when the requests under way are answered.
    pub async fn shut_down(self) {
        self.stop.send_replace(true);
        // A panic of the server has been told by its hook.
        let _ = self.server.await;
    }
}

async fn serve<S>(doors: Arc<Doors>, stream: S, mut stopped: watch::Receiver<bool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let doors = Arc::clone(&doors);
        async move { Ok::<_, Infallible>(doors.answer(request).await.into_response()) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    let stop = async { _ = stopped.wait_for(|stopped| *stopped).await };
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stop => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

impl Doors {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let refused = |status, message| Answer::new(status, serde_json::json!({ "message": message }));
        let body = match tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await
        {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let message = format!("The request has more than {BODY_BYTES_MAX} bytes, or broke off.");
                return refused(StatusCode::PAYLOAD_TOO_LARGE, message);
            }
            Err(_) => {
                let message = format!("The request has not come whole within {BODY_WITHIN:?}.");
                return refused(StatusCode::REQUEST_TIMEOUT, message);
            }
        };
        let uri = parts.uri;
        let received = Received {
            method: parts.method,
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            headers: parts.headers,
            body: body.to_bytes(),
        };
        let now_ms = self.clock.now_ms();
        if received.header("authorization").starts_with("TC3-")
            || received.headers.contains_key("x-tc-action")
        {
            return self.tencent.answer(&received, now_ms);
        }
        if received.path.starts_with(lambda::FUNCTIONS) {
            return lambda::answer(&received, &self.issuer, self.functions, now_ms);
        }
        self.web.answer(&received, now_ms)
    }
}

impl Received {
    /// As verifiers take it.
    pub fn signed(&self) -> sign::Received<'_> {
        let Self { method, target, headers, body, .. } = self;
        sign::Received { method, target, headers, body }
    }

    /// A header's text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Answer {
    pub fn new(status: StatusCode, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}
