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

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use rustls::ClientConfig;
use sign::{Keys, Unsigned};

use crate::http_client::{client, explain};
use crate::keys::{self, TENCENT};
use crate::{Batch, Line, Now, PumpOptions, Sent, Sink, SinkError};
pub use packet::{Content, Log, LogGroup, LogGroupList, LogTag};

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
        Ok(Self { url: url.into(), options, client: client(&tls)?, now })
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

impl Sink<Arc<Line>> for Cls {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<Sent, SinkError> {
        let keys = keys::read(&self.options.keys_file, TENCENT, "CLS").await?;
        let body = packet::encode(&batch.items, &self.options.source);
        let sent = body.len() as u64;
        let headers = self.headers(&keys, &body)?;
        let request = self.client.post(&self.url).headers(headers).body(body);
        let response = request.send().await.map_err(|error| {
            SinkError::unavailable(format!(
                "CLS at {} cannot be reached: {}",
                self.options.endpoint,
                explain(error)
            ))
        })?;
        answer::read(response).await.map(|()| sent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
