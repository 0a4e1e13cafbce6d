//! A peer that speaks as much of S3 as the archive uses: PUT (also where nothing is yet), GET of ranges, HEAD, ListObjectsV2
//! in short pages, DELETE. Each request's signature (AWS Signature Version 4) is computed anew and compared.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};

pub const KEY_ID: &str = "AKIDARCHIVE";
pub const SECRET: &str = "an archive's secret";
pub const REGION: &str = "eu-test-1";

/// Entries of a page: few, so that listings have several.
const PAGE: usize = 2;

/// What the peer has, and what it was asked.
#[derive(Debug, Default)]
pub struct Peer {
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub refused: Mutex<Vec<String>>,
    /// Requests that are answered with 503 before others are answered well.
    pub faults: Mutex<u32>,
    pub calls: Mutex<BTreeMap<&'static str, usize>>,
    /// Whether it knows no PUT with a condition, as some stores do not.
    pub plain: AtomicBool,
}

impl Peer {
    /// Serves on a free port, for as long as the runtime lives.
    pub async fn serve() -> (Arc<Self>, SocketAddr) {
        let peer = Arc::<Self>::default();
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = port.local_addr().expect("its address");
        let served = Arc::clone(&peer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = port.accept().await {
                let peer = Arc::clone(&served);
                let service = service_fn(move |request| {
                    let peer = Arc::clone(&peer);
                    async move { Ok::<_, Infallible>(peer.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (peer, address)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        if let Err(why) = check(&head, &body) {
            self.refused.lock().expect("no panic").push(why.clone());
            return error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", &why);
        }
        {
            let mut faults = self.faults.lock().expect("no panic");
            if *faults > 0 {
                *faults -= 1;
                return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "later");
            }
        }
        let path = head.uri.path().to_owned();
        let query: BTreeMap<String, String> =
            pairs(head.uri.query().unwrap_or_default()).into_iter().collect();
        let mut objects = self.objects.lock().expect("no panic");
        let call = match head.method {
            Method::PUT => "put",
            Method::DELETE => "delete",
            Method::GET if query.contains_key("list-type") => "list",
            Method::GET => "get",
            Method::HEAD => "head",
            _ => return error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", head.method.as_str()),
        };
        *self.calls.lock().expect("no panic").entry(call).or_default() += 1;
        match call {
            "put" if head.headers.contains_key("if-none-match") && self.plain.load(Ordering::Relaxed) => {
                error(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "conditions")
            }
            "put" if head.headers.contains_key("if-none-match") && objects.contains_key(&path) => {
                error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", &path)
            }
            "put" => {
                objects.insert(path, body);
                Response::builder().header("etag", "\"e\"").body(Full::default()).expect("a response")
            }
            "delete" => {
                objects.remove(&path);
                Response::builder().status(StatusCode::NO_CONTENT).body(Full::default()).expect("a response")
            }
            "list" => list(&objects, &path, &query),
            _ => match objects.get(&path) {
                Some(object) => {
                    ranged(object, head.headers.get("range").and_then(|range| range.to_str().ok()))
                }
                None => error(StatusCode::NOT_FOUND, "NoSuchKey", &path),
            },
        }
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Response::builder().status(status).body(Full::from(body)).expect("a response")
}

fn ranged(object: &Bytes, range: Option<&str>) -> Response<Full<Bytes>> {
    let length = object.len();
    let range = range.and_then(|range| range.strip_prefix("bytes=")).and_then(|range| range.split_once('-'));
    let (from, to) = match range {
        None => (0, length),
        Some(("", last)) => (length.saturating_sub(last.parse().expect("a length")), length),
        Some((from, last)) => {
            (from.parse().expect("a number"), length.min(last.parse::<usize>().expect("a number") + 1))
        }
    };
    let builder = Response::builder()
        .header("etag", "\"e\"")
        .header("last-modified", "Tue, 03 Nov 2026 10:00:00 GMT")
        .status(if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let builder = match range {
        Some(_) => builder.header("content-range", format!("bytes {from}-{}/{length}", to - 1)),
        None => builder,
    };
    builder.body(Full::from(object.slice(from..to))).expect("a response")
}

fn list(
    objects: &BTreeMap<String, Bytes>,
    bucket: &str,
    query: &BTreeMap<String, String>,
) -> Response<Full<Bytes>> {
    let bucket = format!("{}/", bucket.trim_end_matches('/'));
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let keys = objects.iter().filter_map(|(path, object)| Some((path.strip_prefix(&bucket)?, object)));
    let mut found: Vec<_> =
        keys.filter(|(key, _)| key.starts_with(&prefix) && **key > *after.as_str()).take(PAGE + 1).collect();
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let mut body = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    for (key, object) in &found {
        let length = object.len();
        let _ = write!(
            body,
            "<Contents><Key>{key}</Key><LastModified>2026-11-03T10:00:00.000Z</LastModified>\
             <ETag>\"e\"</ETag><Size>{length}</Size></Contents>"
        );
    }
    if let Some((last, _)) = found.last().filter(|_| more) {
        let _ = write!(body, "<NextContinuationToken>{last}</NextContinuationToken>");
    }
    body.push_str("</ListBucketResult>");
    Response::new(Full::from(body))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        rest = others;
        match (first, others) {
            (b'%', [a, b, after @ ..]) => {
                let digits = [*a, *b];
                let digits = std::str::from_utf8(&digits).expect("digits");
                out.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(k, v)| (unescaped(k), unescaped(v)))
        .collect()
}

/// The signature as the documentation of AWS says it is made.
fn check(head: &hyper::http::request::Parts, body: &Bytes) -> Result<(), String> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let authorization = header("authorization").ok_or("no authorization")?;
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
    let field = |name: &str| {
        let found =
            fields.split(',').map(str::trim).find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.ok_or(format!("no {name}"))
    };
    let (credential, signed) = (field("Credential")?, field("SignedHeaders")?);
    let time = header("x-amz-date").ok_or("no time")?;
    let date = time.get(..8).ok_or("no date")?;
    let scope = format!("{date}/{REGION}/s3/aws4_request");
    if credential != format!("{KEY_ID}/{scope}") {
        return Err(format!("credential {credential}"));
    }
    let hash = header("x-amz-content-sha256").ok_or("no hash of the body")?;
    if hash != hex(Sha256::digest(body)) {
        return Err(format!("the body has another hash than {hash}"));
    }
    if !["host", "x-amz-content-sha256", "x-amz-date"]
        .iter()
        .all(|name| signed.split(';').any(|other| other == *name))
    {
        return Err(format!("too little is signed: {signed}"));
    }
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", header(name).unwrap_or_default())).collect();
    let mut query: Vec<String> = pairs(head.uri.query().unwrap_or_default())
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    query.sort();
    let canonical =
        [head.method.as_str(), head.uri.path(), &query.join("&"), &headers, signed, hash].join("\n");
    let text = ["AWS4-HMAC-SHA256", time, &scope, &hex(Sha256::digest(&canonical))].join("\n");
    let key = [date, REGION, "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
    let expected = hex(mac(&key, &text));
    if field("Signature")? == expected { Ok(()) } else { Err(format!("signature of {canonical}")) }
}
