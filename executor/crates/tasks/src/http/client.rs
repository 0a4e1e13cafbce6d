//! Making the calls.

use std::error::Error as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use tokio::time::Instant;
use url::{Host, Position, Url};

use super::egress::Egress;
use super::name_files::NameSources;
use super::names::{LOOK_UP_WITHIN, NameError, Names, forbidden};
use super::target::{Bounds, Target, Targets, Turn};
use super::{HttpError, Inbound, Outbound};

/// How long a connection may take to stand, the look-up of its name included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const _: () = assert!(LOOK_UP_WITHIN.as_millis() < CONNECT_WITHIN.as_millis());
/// How long a connection without a call is kept: less than most servers do, or a call would meet one that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// A connection of HTTP/2 with calls is asked so often whether it still stands; all calls of a target may share one.
const PING_EVERY: Duration = Duration::from_secs(15);
/// An answer up to here is short: it is read at once. Longer ones wait until all of it may be had.
const SHORT_MAX: usize = 16 * 1024;
/// Memory is not reserved beyond this before an answer has come.
const RESERVED_MAX: usize = 64 * 1024;
/// What an answer over HTTP/2 may send ahead of its reader: little, since one that waits for its bytes has it on top of theirs.
const WINDOW: u32 = SHORT_MAX as u32;
/// What all answers of a connection of HTTP/2 may send ahead: the protocol's least and most.
const CONNECTION_WINDOW: [u32; 2] = [65_535, i32::MAX.unsigned_abs()];

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where calls may go.
    pub egress: Egress,
    /// Calls under way at once, to all targets together.
    pub calls_max: usize,
    /// Calls to one target at once.
    pub target_calls_max: usize,
    /// Calls that wait for one target.
    pub target_waiting_max: usize,
    /// Who knows names.
    pub names: NameSources,
    /// What servers are checked against.
    pub tls: Arc<ClientConfig>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Its own settings.
    #[error("the HTTP client of integrations cannot be made: {0}")]
    Client(#[from] reqwest::Error),
    /// Its TLS.
    #[error("the HTTP client of integrations cannot speak TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A file with authorities.
    #[error("{}: the authorities of --egress-ca cannot be used: {why}", .path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// The client of one shard.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    egress: Egress,
    targets: Targets,
}

/// Headers that speak of a body.
const OF_A_BODY: [http::HeaderName; 3] = [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING];

impl Client {
    /// A client.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(options: &ClientOptions) -> Result<Self, SetupError> {
        let mut tls = ClientConfig::clone(&options.tls);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let http = reqwest::Client::builder()
            .dns_resolver(Arc::new(Names::new(options.egress.clone(), options.names.clone())))
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            // Whatever features others ask of the library for: a body that unpacks to gigabytes stays as it came.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .http2_initial_stream_window_size(WINDOW)
            // Answers that wait for their bytes hold up none beside them.
            .http2_initial_connection_window_size(window(options.calls_max))
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(CONNECT_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(options.target_calls_max)
            .tcp_nodelay(true)
            .build()?;
        let bounds = Bounds { calls_max: options.target_calls_max, waiting_max: options.target_waiting_max };
        Ok(Self { http, egress: options.egress.clone(), targets: Targets::new(bounds, options.calls_max) })
    }

    /// Makes a call, and reads its answer whole.
    ///
    /// # Errors
    /// [`HttpError`]; an answer with any status but a redirect that is followed is none.
    pub async fn send(&self, mut request: Outbound) -> Result<Inbound, HttpError> {
        let deadline = Instant::now() + request.timeout;
        for followed in 0..=request.redirects_max {
            let answer = self.once(&request, deadline).await?;
            let Some(location) = redirect(&answer) else { return Ok(answer) };
            if request.redirects_max == 0 {
                return Ok(answer);
            }
            if followed == request.redirects_max {
                break;
            }
            follow(&mut request, answer.status, &location)?;
        }
        let why = format!("more than {} times.", request.redirects_max);
        Err(HttpError::Redirect { target: target_of(&request.url), why })
    }

    async fn once(&self, request: &Outbound, deadline: Instant) -> Result<Inbound, HttpError> {
        let target = target_of(&request.url);
        self.check(&request.url, &target)?;
        let late = || HttpError::Timeout { target: target.clone(), after: request.timeout };
        let place = match &request.lane {
            Some(lane) => self.targets.get(&format!("{target} ({lane})")),
            None => self.targets.get(&target),
        };
        // Late, a turn is dropped without a word: the request was sent, and what was asked for takes long, which says nothing of the
        // target. A connection that does not come about has a bound of its own.
        let answered = tokio::time::timeout_at(deadline, self.in_turn(request, &target, &place)).await;
        answered.unwrap_or_else(|_| Err(late()))
    }

    async fn in_turn(
        &self,
        request: &Outbound,
        target: &str,
        place: &Rc<Target>,
    ) -> Result<Inbound, HttpError> {
        let turn = place.enter().await?;
        let answer = self.exchange(request, target, &turn).await;
        match answer {
            Err(HttpError::Connect { .. } | HttpError::Broken { .. }) => turn.ended(false),
            // Nobody has asked it.
            Err(HttpError::Name { .. }) => drop(turn),
            // What cannot be asked, or is too long, says nothing against the target.
            _ => turn.ended(true),
        }
        answer
    }

    /// Whether a URL may be called as far as it can be told before its name is looked up.
    fn check(&self, url: &Url, target: &str) -> Result<(), HttpError> {
        let refused = |why: &str| Err(HttpError::Request { target: target.to_owned(), why: why.to_owned() });
        if !matches!(url.scheme(), "http" | "https") {
            return refused("only http and https are spoken.");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("a URL must hold no user name or password: use a connection.");
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return refused("it has no host."),
        };
        match self.egress.refusal(address) {
            Some(why) => Err(HttpError::Egress { target: target.to_owned(), why: forbidden(why) }),
            None => Ok(()),
        }
    }

    async fn exchange(&self, request: &Outbound, target: &str, turn: &Turn) -> Result<Inbound, HttpError> {
        let asked = self.http.request(request.method.clone(), request.url.clone());
        let asked = asked.headers(request.headers.clone());
        let asked = if request.body.is_empty() { asked } else { asked.body(request.body.clone()) };
        let mut answer = asked.send().await.map_err(|error| explain(&error, target))?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let body = read(&mut answer, target, turn, request.response_bytes_max).await?;
        Ok(Inbound { status, headers, body })
    }
}

/// What all calls of a connection of HTTP/2 may have sent ahead.
fn window(calls: usize) -> u32 {
    let [least, most] = CONNECTION_WINDOW;
    u32::try_from(calls).unwrap_or(u32::MAX).saturating_mul(WINDOW).clamp(least, most)
}

/// Reads a body up to its bound.
async fn read(
    answer: &mut reqwest::Response,
    target: &str,
    turn: &Turn,
    bytes_max: usize,
) -> Result<Bytes, HttpError> {
    let long = || HttpError::TooLong { target: target.to_owned(), bytes_max };
    let expected = answer.content_length().and_then(|length| usize::try_from(length).ok());
    if expected.is_some_and(|expected| expected > bytes_max) {
        return Err(long());
    }
    let mut held = None;
    let mut body = BytesMut::with_capacity(expected.unwrap_or_default().min(SHORT_MAX));
    loop {
        if held.is_none() && expected.unwrap_or(body.len()) > SHORT_MAX {
            held = Some(turn.bytes(expected.unwrap_or(bytes_max)).await);
            body.reserve(expected.unwrap_or_default().min(RESERVED_MAX));
        }
        let Some(chunk) = answer.chunk().await.map_err(|error| explain(&error, target))? else { break };
        if body.len() + chunk.len() > bytes_max {
            return Err(long());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Scheme, host and port: what is called, without what may be secret.
pub(crate) fn target_of(url: &Url) -> String {
    [url.scheme(), "://", &url[Position::BeforeHost..Position::AfterPort]].concat()
}

/// Where an answer sends its reader.
fn redirect(answer: &Inbound) -> Option<String> {
    use StatusCode as Status;
    let moved = [
        Status::MOVED_PERMANENTLY,
        Status::FOUND,
        Status::SEE_OTHER,
        Status::TEMPORARY_REDIRECT,
        Status::PERMANENT_REDIRECT,
    ];
    let location = answer.headers.get(LOCATION).filter(|_| moved.contains(&answer.status))?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Makes the request that a redirect asks for. What was meant for one origin stays there.
fn follow(request: &mut Outbound, status: StatusCode, location: &str) -> Result<(), HttpError> {
    let refused = |why: &str| HttpError::Redirect { target: target_of(&request.url), why: why.to_owned() };
    let next = request.url.join(location).map_err(|_| refused("to something that is no URL."))?;
    if request.url.scheme() == "https" && next.scheme() != "https" {
        return Err(refused("from https to http, which is not followed."));
    }
    let becomes_get = status == StatusCode::SEE_OTHER
        || (matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND)
            && request.method == Method::POST);
    if becomes_get && request.method != Method::HEAD {
        request.method = Method::GET;
        request.body = Bytes::new();
        remove(&mut request.headers, &OF_A_BODY);
    }
    if next.origin() != request.url.origin() {
        // A connection may have put a key into it.
        if !request.body.is_empty() {
            return Err(refused("to another host with the body of the request, which is not followed."));
        }
        // Any header may be a key: an API key has the name that its API gave it.
        let kept = request.headers.iter().filter(|(name, _)| is_harmless(name));
        request.headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    request.url = next;
    Ok(())
}

fn is_harmless(name: &http::HeaderName) -> bool {
    OF_A_BODY.contains(name) || matches!(name.as_str(), "accept" | "accept-language" | "user-agent")
}

fn remove(headers: &mut HeaderMap, names: &[http::HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// What went wrong, from the first cause that says so.
fn explain(error: &reqwest::Error, target: &str) -> HttpError {
    let target = target.to_owned();
    let mut cause = error.source();
    let mut last = None;
    while let Some(known) = cause {
        match known.downcast_ref::<NameError>() {
            Some(NameError::Egress(why)) => return HttpError::Egress { target, why: why.clone() },
            Some(unknown) => return HttpError::Name { target, why: unknown.to_string() },
            None => {}
        }
        last = Some(known);
        cause = known.source();
    }
    // reqwest's own text names the whole URL, which may hold a key.
    let why = last.map_or_else(|| "the call failed.".to_owned(), |cause| format!("{cause}."));
    if error.is_connect() {
        HttpError::Connect { target, why }
    } else if error.is_builder() {
        HttpError::Request { target, why }
    } else {
        HttpError::Broken { target, why }
    }
}
