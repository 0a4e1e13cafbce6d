//! Histories to Tencent Cloud's log service (CLS), by its own interface: `POST /structuredlog`.
//!
//! A line becomes a log whose keys are the members of the line, with the details as JSON text; its time is the event's. A
//! batch is one packet: protobuf, a raw LZ4 block, signed. Invariants: a packet is within CLS's limits; keys are read anew for
//! each packet, so that they can be replaced, and reach no message. What may fail: the service. What an operator can mend
//! (keys, the topic, the account) is tried again as long as anything is; only what is wrong with the packet itself is refused.

mod answer;
mod packet;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use rustls::ClientConfig;
use sign::{Keys, Unsigned};
use zeroize::Zeroizing;

use crate::{Batch, Line, Now, PumpOptions, Sink, SinkError};
pub use packet::{Content, Log, LogGroup, LogGroupList, LogTag};

/// How long the service may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Logs in one group.
const LOGS_MAX: usize = 10_000;
/// Of the lines in one packet: its values are then below 5 MB and the packet below 6 MB, even of 10,000 short lines.
const LINES_BYTES_MAX: usize = 3 << 20;

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClsOptions {
    /// For example `https://ap-guangzhou.cls.tencentcs.com`, or a private one of the region.
    pub endpoint: String,
    /// The topic's id.
    pub topic: String,
    /// Holds `TENCENTCLOUD_SECRET_ID=…`, `TENCENTCLOUD_SECRET_KEY=…` and, of temporary keys, `TENCENTCLOUD_TOKEN=…`, each on
    /// a line of its own.
    pub keys_file: PathBuf,
    /// What the logs say they are from: the node.
    pub source: String,
}

/// Batches as CLS takes them.
#[must_use]
pub fn pump_options(usual: PumpOptions) -> PumpOptions {
    PumpOptions {
        batch_items: usual.batch_items.min(LOGS_MAX),
        batch_bytes: usual.batch_bytes.min(LINES_BYTES_MAX),
        ..usual
    }
}

/// See the module.
pub struct Cls {
    options: ClsOptions,
    url: String,
    client: reqwest::Client,
    now: Now,
}

impl std::fmt::Debug for Cls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cls").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClsError {
    /// The endpoint.
    #[error(
        "the CLS endpoint {0:?} is no http:// or https:// URL, such as https://ap-guangzhou.cls.tencentcs.com"
    )]
    Endpoint(String),
    /// The HTTP client.
    #[error("no HTTP client towards CLS: {0}")]
    Client(#[from] reqwest::Error),
}

impl Cls {
    /// `tls` says whom to trust; redirects are not followed.
    ///
    /// # Errors
    /// [`ClsError`]
    pub fn new(options: ClsOptions, tls: Arc<ClientConfig>, now: Now) -> Result<Self, ClsError> {
        let wrong = || ClsError::Endpoint(options.endpoint.clone());
        let mut url = url::Url::parse(&options.endpoint).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        url.set_path("/structuredlog");
        url.set_query(None);
        url.query_pairs_mut().append_pair("topic_id", &options.topic);
        let none = reqwest::redirect::Policy::none();
        let builder =
            reqwest::Client::builder().tls_backend_preconfigured(ClientConfig::clone(&tls)).no_proxy();
        let client = builder.redirect(none).connect_timeout(CONNECT_TIMEOUT).build()?;
        Ok(Self { url: url.into(), options, client, now })
    }

    async fn keys(&self) -> Result<Keys, SinkError> {
        let path = &self.options.keys_file;
        let text = tokio::fs::read_to_string(path).await.map(Zeroizing::new);
        let text = text.map_err(|error| {
            SinkError::unavailable(format!("the keys for CLS: {}: {error}", path.display()))
        })?;
        keys_of(&text).ok_or_else(|| {
            let form = "it needs lines TENCENTCLOUD_SECRET_ID=… and TENCENTCLOUD_SECRET_KEY=…";
            SinkError::unavailable(format!("the keys for CLS: {}: {form}", path.display()))
        })
    }

    fn headers(&self, keys: &Keys, body: &[u8]) -> Result<HeaderMap, SinkError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert("x-cls-compress-type", HeaderValue::from_static("lz4"));
        let mut request =
            Unsigned { method: &http::Method::POST, url: &self.url, headers: &mut headers, body };
        sign::cls::sign(&mut request, keys, (self.now)() / 1_000).map_err(SinkError::unavailable)?;
        Ok(headers)
    }
}

/// The keys of a file; the last line of a name counts.
fn keys_of(text: &str) -> Option<Keys> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let found = lines.filter(|(key, _)| key.trim() == name).last().map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty())
    };
    Some(Keys {
        id: value("TENCENTCLOUD_SECRET_ID")?.to_owned(),
        secret: Zeroizing::new(value("TENCENTCLOUD_SECRET_KEY")?.to_owned()),
        token: value("TENCENTCLOUD_TOKEN").map(|token| Zeroizing::new(token.to_owned())),
    })
}

impl Sink<Arc<Line>> for Cls {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<u64, SinkError> {
        let keys = self.keys().await?;
        let body = packet::encode(&batch.items, &self.options.source);
        let sent = body.len() as u64;
        let headers = self.headers(&keys, &body)?;
        let request = self.client.post(&self.url).headers(headers).body(body);
        let response = request.send().await.map_err(|error| {
            SinkError::unavailable(format!("CLS cannot be reached: {}", answer::explain(&error)))
        })?;
        answer::read(response).await.map(|()| sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_lines_and_missing_ones_are_none() {
        let keys =
            keys_of("TENCENTCLOUD_SECRET_ID = id \r\n# more\nTENCENTCLOUD_SECRET_KEY=a=b\n").expect("keys");
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token.is_none()), ("id", "a=b", true));
        let keys = keys_of("TENCENTCLOUD_SECRET_ID=i\nTENCENTCLOUD_SECRET_KEY=k\nTENCENTCLOUD_TOKEN=t")
            .expect("keys");
        assert_eq!(keys.token.as_deref().map(String::as_str), Some("t"));
        for text in ["", "TENCENTCLOUD_SECRET_ID=i", "TENCENTCLOUD_SECRET_ID=i\nTENCENTCLOUD_SECRET_KEY="] {
            assert!(keys_of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_batch_is_never_larger_than_a_packet_may_be() {
        let large =
            PumpOptions { batch_items: usize::MAX, batch_bytes: usize::MAX, ..PumpOptions::default() };
        let options = pump_options(large);
        assert_eq!((options.batch_items, options.batch_bytes), (LOGS_MAX, LINES_BYTES_MAX));
        let small = PumpOptions { batch_items: 1, batch_bytes: 2, ..large };
        assert_eq!(pump_options(small), small);
    }
}
