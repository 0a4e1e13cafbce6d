//! Requests as bytes: one head, a signature of its own for each.
//!
//! Invariant: a request is what a client of AWS sends: `POST /`, JSON 1.0, SigV4 over all its headers. What may fail: a URL that is none,
//! and keys that cannot sign.

use http::{HeaderMap, HeaderValue, Method};
use sign::{Keys, Unsigned, sigv4};
use url::Url;

use crate::error::Error;
use crate::load::unix_ms;

/// As the service's signatures name it.
const SERVICE: &str = "states";

/// Makes requests to one door.
#[derive(Debug)]
pub(super) struct Requests {
    /// `host:port`.
    address: String,
    url: String,
    keys: Option<Keys>,
    region: String,
}

impl Requests {
    /// # Errors
    /// [`Error::Settings`]: the URL is none, or asks for TLS.
    pub fn new(url: &str, keys: Option<Keys>, region: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Settings(format!("--url {url}: {why}; write http://HOST:PORT"));
        let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if parsed.scheme() != "http" {
            return Err(wrong("plain HTTP alone is measured"));
        }
        let host = parsed.host_str().ok_or_else(|| wrong("it has no host"))?;
        let address = format!("{host}:{}", parsed.port_or_known_default().unwrap_or(80));
        Ok(Self { url: format!("http://{address}/"), address, keys, region: region.to_owned() })
    }

    /// Where the door is, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A request, signed now.
    ///
    /// # Errors
    /// [`Error::Settings`]: the keys cannot sign.
    pub fn write(&self, operation: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
        self.at(operation, body, unix_ms() / 1_000)
    }

    fn at(&self, operation: &str, body: &[u8], unix_seconds: u64) -> Result<Vec<u8>, Error> {
        let wrong =
            |error: &dyn std::fmt::Display| Error::Settings(format!("the call cannot be signed: {error}"));
        let mut headers = HeaderMap::with_capacity(8);
        let target = HeaderValue::try_from(format!("AWSStepFunctions.{operation}"));
        headers.insert("x-amz-target", target.map_err(|error| wrong(&error))?);
        headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
        if let Some(keys) = &self.keys {
            let mut unsigned =
                Unsigned { method: &Method::POST, url: &self.url, headers: &mut headers, body };
            sigv4::sign(&mut unsigned, keys, SERVICE, &self.region, unix_seconds)
                .map_err(|error| wrong(&error))?;
        }
        let mut bytes = Vec::with_capacity(768 + body.len());
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n", self.address);
        bytes.extend_from_slice(head.as_bytes());
        for (name, value) in &headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use sign::Received;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_request_is_one_that_the_door_can_verify() {
        let secret = || Zeroizing::new("secret".to_owned());
        let keys = Keys { id: "AKID".to_owned(), secret: secret(), token: None };
        let requests = Requests::new("http://127.0.0.1:7380", Some(keys), "local").expect("a URL");
        let bytes = requests.at("StartExecution", b"{\"a\":1}", 1_800_000_000).expect("it is signed");
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut headers);
        let head = parsed.parse(&bytes).expect("HTTP").unwrap();
        let mut received = HeaderMap::new();
        for header in parsed.headers.iter() {
            let name = http::HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
            received.insert(name, HeaderValue::from_bytes(header.value).expect("a value"));
        }
        assert_eq!(received["x-amz-target"], "AWSStepFunctions.StartExecution");
        assert_eq!(received["content-length"], "7");
        let request =
            Received { method: &Method::POST, target: "/", headers: &received, body: &bytes[head..] };
        let claim = sigv4::verify(&request, 1_800_000_000, |_| Some(secret())).expect("it is signed");
        assert_eq!(
            (claim.id.as_str(), claim.service.as_str(), claim.region.as_str()),
            ("AKID", "states", "local")
        );
    }

    #[test]
    fn a_url_that_cannot_be_measured_is_refused_with_what_to_write() {
        for url in ["127.0.0.1", "https://127.0.0.1:1", "http:"] {
            let error = Requests::new(url, None, "local").expect_err(url).to_string();
            assert!(error.contains("http://HOST:PORT"), "{error}");
        }
    }
}
