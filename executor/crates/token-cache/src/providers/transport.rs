//! One POST and its answer, bounded in size: how providers that speak HTTP reach theirs.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};

/// Answers are read up to so many bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a connection may take to stand, the look-up of its name included.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A request to a provider.
pub struct Post {
    /// Absolute URL.
    pub url: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Its answer.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// The `Date` header: what the server's clock says.
    pub date: Option<String>,
    /// Body, whole.
    pub body: Bytes,
}

/// How requests reach providers. The node's own is [`HttpTransport`]; where an egress policy holds for the target, another.
pub trait Transport: Send + Sync + 'static {
    /// Sends it; it must follow no redirect. The error says what went wrong, without the body.
    fn post(&self, post: Post) -> BoxFuture<'_, Result<Reply, String>>;
}

/// By reqwest.
pub struct HttpTransport(reqwest::Client);

impl HttpTransport {
    /// With the builder's TLS, names and proxies; redirects are not followed.
    ///
    /// # Errors
    /// The builder's settings cannot be used: mostly that no TLS was configured.
    pub fn new(builder: reqwest::ClientBuilder) -> Result<Self, reqwest::Error> {
        let client =
            builder.redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_WITHIN).build()?;
        Ok(Self(client))
    }
}

impl Transport for HttpTransport {
    fn post(&self, post: Post) -> BoxFuture<'_, Result<Reply, String>> {
        Box::pin(async move {
            let url = shown(&post.url);
            let request = self.0.post(&post.url).headers(post.headers).body(post.body);
            let mut response = request.send().await.map_err(|error| explain(&error, url))?;
            let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error, url))? {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(format!("{url} has answered with more than {ANSWER_BYTES_MAX} bytes"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Reply { status: response.status(), date, body: body.freeze() })
        })
    }
}

/// A URL as messages have it: without its query, which may hold a key.
pub(super) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// What went wrong, by its deepest cause, which alone says so. The library's own words have the whole URL.
fn explain(error: &reqwest::Error, url: &str) -> String {
    let mut cause = std::error::Error::source(error);
    let mut last = None;
    while let Some(deeper) = cause {
        last = Some(deeper);
        cause = deeper.source();
    }
    let what = if error.is_connect() { "cannot be reached" } else { "has not answered properly" };
    match last {
        Some(why) => format!("{url} {what}: {why}"),
        None => format!("{url} {what}"),
    }
}
