//! OTLP over HTTP: protobuf, gzipped, `POST {endpoint}/v1/{signal}`.
//!
//! Purpose: [`OtlpMetrics`] pushes snapshots of metrics, [`OtlpLogs`] events of histories, [`OtlpTraces`] spans. Invariants: what is tried again is
//! what OTLP says may be (429, 502, 503, 504, no answer); headers, which may hold a token, are read from their file for each
//! request and reach no message; what a peer says that it rejected of a request is counted. What may fail: the peer.

mod logs;
mod metrics;
mod traces;

use std::path::PathBuf;
use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress, Status};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::http_client::{body, client, explain, retry_after};
use crate::{Sent, SinkError};
pub use logs::OtlpLogs;
pub use metrics::OtlpMetrics;
pub use traces::OtlpTraces;

/// So much of what a peer says goes into a message.
const MESSAGE_CHARS_MAX: usize = 300;
/// What tells, as OTLP has it.
const SCOPE: &str = "myriad";

/// Where, and who tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpOptions {
    /// For example `http://127.0.0.1:4318`; the path of the signal is added.
    pub endpoint: String,
    /// Holds headers that go with each request, a line `name: value` each.
    pub headers_file: Option<PathBuf>,
    /// `service.instance.id`: the node's name.
    pub instance: String,
    /// `service.version`.
    pub version: String,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The endpoint.
    #[error("the OTLP endpoint {0:?} is no http:// or https:// URL, such as http://127.0.0.1:4318")]
    Endpoint(String),
    /// The HTTP client.
    #[error("no HTTP client towards OTLP: {0}")]
    Client(#[from] reqwest::Error),
}

/// One signal's way to a peer.
struct Client {
    url: String,
    options: OtlpOptions,
    http: reqwest::Client,
    gzip: Gzip,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    fn new(options: OtlpOptions, signal: &str, tls: &Arc<ClientConfig>) -> Result<Self, OtlpError> {
        let wrong = || OtlpError::Endpoint(options.endpoint.clone());
        let mut url = url::Url::parse(&options.endpoint).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        let path = format!("{}/v1/{signal}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self { url: url.into(), http: client(tls)?, options, gzip: Gzip::new() })
    }

    /// Who tells.
    fn resource(&self) -> Resource {
        let OtlpOptions { instance, version, .. } = &self.options;
        let attributes = [
            ("service.name", "myriad"),
            ("service.instance.id", instance.as_str()),
            ("service.version", version.as_str()),
        ];
        Resource {
            attributes: attributes.into_iter().map(|(key, value)| attribute(key, text(value))).collect(),
            ..Resource::default()
        }
    }

    fn scope(&self) -> InstrumentationScope {
        let (name, version) = (SCOPE.to_owned(), self.options.version.clone());
        InstrumentationScope { name, version, ..InstrumentationScope::default() }
    }

    /// Sends a request; gives the answer, and how many bytes were sent.
    async fn send<A: Message + Default>(&mut self, request: &impl Message) -> Result<(A, u64), SinkError> {
        self.send_parts(&[&request.encode_to_vec()]).await
    }

    /// Sends a request whose bytes follow each other in these parts.
    async fn send_parts<A: Message + Default>(&mut self, parts: &[&[u8]]) -> Result<(A, u64), SinkError> {
        let mut headers = self.headers().await?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let packed = self.gzip.pack(parts)?;
        let sent = packed.len() as u64;
        let request = self.http.post(&self.url).headers(headers).body(packed);
        let response = request.send().await.map_err(|error| {
            SinkError::unavailable(format!("OTLP at {} cannot be reached: {}", self.url, explain(error)))
        })?;
        let (status, after) = (response.status().as_u16(), retry_after(response.headers()));
        let body = body(response).await;
        if (200..300).contains(&status) {
            // An answer that nobody can read says no less that the request was taken.
            return Ok((A::decode(body.as_slice()).unwrap_or_default(), sent));
        }
        let why = format!("OTLP at {} answered {status}: {}", self.url, told(&body));
        Err(match status {
            429 | 502 | 503 | 504 => SinkError::Unavailable { why, after },
            // It may be for one record, or because there are too many.
            400 | 413 => SinkError::RefusedWhole { why },
            _ => SinkError::Refused { why },
        })
    }

    /// A request of so many bytes, which the peer took without some of its records.
    fn taken(&self, bytes: u64, rejected: i64, why: &str) -> Sent {
        let rejected = u64::try_from(rejected).unwrap_or_default();
        if rejected > 0 {
            let why: String = why.chars().take(MESSAGE_CHARS_MAX).collect();
            tracing::debug!(url = self.url, rejected, why, "OTLP's peer rejects a part of a request");
        }
        Sent { bytes, rejected }
    }

    async fn headers(&self) -> Result<HeaderMap, SinkError> {
        let Some(path) = &self.options.headers_file else { return Ok(HeaderMap::new()) };
        let wrong = |why: &dyn std::fmt::Display| {
            SinkError::unavailable(format!("the headers for OTLP: {}: {why}", path.display()))
        };
        let lines = tokio::fs::read_to_string(path).await.map(Zeroizing::new);
        let lines = lines.map_err(|error| wrong(&error))?;
        headers_of(&lines).ok_or_else(|| wrong(&HEADERS_WANTED))
    }
}

/// What is wrong with a file without headers.
pub(crate) const HEADERS_WANTED: &str = "each line has to be a header, NAME: VALUE";

/// The headers of a file; empty lines and those that begin with `#` are passed over.
pub(crate) fn headers_of(lines: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(':')?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value);
    }
    Some(headers)
}

/// What a refusal says: the message of a `google.rpc.Status`, else text.
fn told(body: &[u8]) -> String {
    #[derive(Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let status = Status::decode(body).ok().filter(|status| !status.message.is_empty());
    let text = status.map_or_else(|| String::from_utf8_lossy(body).into_owned(), |status| status.message);
    let shown = text.chars().filter(|char| !char.is_control()).take(MESSAGE_CHARS_MAX);
    let shown: String = shown.collect();
    if shown.is_empty() { "(it did not say)".to_owned() } else { shown }
}

/// Packs request after request with the same tables, which take more memory than most requests. What cannot be packed is never sent
/// in part: a cut stream would be refused by the peer, or worse, read.
struct Gzip(Compress);

/// The request cannot be packed, now or later.
fn not_packed(why: &dyn std::fmt::Display) -> SinkError {
    SinkError::Refused { why: format!("a request to OTLP cannot be packed: {why}") }
}

impl Gzip {
    fn new() -> Self {
        const WINDOW_BITS: u8 = 15;
        Self(Compress::new_gzip(Compression::fast(), WINDOW_BITS))
    }

    /// # Errors
    /// [`SinkError::Refused`]: the compressor fails; the next request is packed anew.
    fn pack(&mut self, parts: &[&[u8]]) -> Result<Vec<u8>, SinkError> {
        self.0.reset();
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(bytes / 8 + 1_024);
        for part in parts {
            self.feed(part, FlushCompress::None, &mut out)?;
        }
        self.feed(&[], FlushCompress::Finish, &mut out)?;
        Ok(out)
    }

    /// Until all of it is taken, or nothing is left to be written.
    fn feed(&mut self, part: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> Result<(), SinkError> {
        let begin = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - begin).unwrap_or(usize::MAX);
            let rest = part.get(taken..).unwrap_or_default();
            if rest.is_empty() && flush == FlushCompress::None {
                return Ok(());
            }
            out.reserve(out.len().max(1_024));
            let before = (self.0.total_in(), self.0.total_out());
            match self.0.compress_vec(rest, out, flush) {
                Ok(Status::StreamEnd) if flush == FlushCompress::Finish => return Ok(()),
                // There is room, so that it goes on or never will.
                Ok(Status::Ok | Status::BufError) if (self.0.total_in(), self.0.total_out()) != before => {}
                Ok(status) => return Err(not_packed(&format!("the compressor stands still ({status:?})"))),
                Err(error) => return Err(not_packed(&error)),
            }
        }
    }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_their_values_show_nowhere() {
        let headers = headers_of("# a token\n\nAuthorization: Bearer a:b \r\nx-scope: 1\n").expect("good");
        assert_eq!((headers["authorization"].as_bytes(), headers.len()), (&b"Bearer a:b"[..], 2));
        assert!(!format!("{headers:?}").contains("Bearer"));
        for wrong in ["no header", "na me: v", ": v", "n: \u{1}"] {
            assert!(headers_of(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn request_after_request_is_packed_whole() {
        use std::io::Read as _;
        let mut gzip = Gzip::new();
        let noise: Vec<u8> =
            (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for parts in [&[&noise[..], b"", b"end"][..], &[b"a"], &[], &[&noise[1..]]] {
            let packed = gzip.pack(parts).expect("it is packed");
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("gzip");
            assert!(unpacked == parts.concat(), "{} bytes", unpacked.len());
        }
    }

    #[test]
    fn what_cannot_be_packed_is_an_error_and_no_cut_stream_and_the_next_request_is_packed() {
        let (mut gzip, mut out) = (Gzip::new(), Vec::new());
        gzip.feed(&[], FlushCompress::Finish, &mut out).expect("an empty stream");
        let error = gzip.feed(b"more", FlushCompress::None, &mut out).expect_err("the stream has ended");
        assert!(matches!(&error, SinkError::Refused { why } if why.contains("cannot be packed")), "{error}");
        assert!(gzip.pack(&[b"more"]).is_ok());
    }

    #[test]
    fn a_refusal_says_what_its_status_says_or_its_text() {
        assert_eq!(told(b"\x08\x03\x12\x04oops"), "oops");
        assert_eq!(told(b"<html>not here\n</html>"), "<html>not here</html>");
        assert_eq!(told(b""), "(it did not say)");
    }
}
