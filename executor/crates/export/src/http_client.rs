//! HTTP towards what takes exports.
//!
//! Invariants: redirects are not followed and proxies not asked, for a request may carry keys; of an answer so much is read as
//! a message needs. What may fail: building a client.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use rustls::ClientConfig;

/// How long a peer may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An answer is read so far.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// `tls` says whom to trust.
pub(crate) fn client(tls: &Arc<ClientConfig>) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(ClientConfig::clone(tls)).no_proxy();
    builder.redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_TIMEOUT).build()
}

/// The answer's body, or the beginning of a long one.
pub(crate) async fn body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    body
}

/// When to come again, where the answer says it in seconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// An error with what caused it, which alone says what is wrong; without the URL.
pub(crate) fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
