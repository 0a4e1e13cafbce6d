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
/// How long an answer may take: less than a pump waits for its sink, which could not say where it hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(9);
/// What a request says that it comes from.
const USER_AGENT: &str = concat!("myriad/", env!("CARGO_PKG_VERSION"));
/// An answer is read so far.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// `tls` says whom to trust.
pub(crate) fn client(tls: &Arc<ClientConfig>) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(ClientConfig::clone(tls)).no_proxy();
    let builder = builder.redirect(reqwest::redirect::Policy::none()).user_agent(USER_AGENT);
    builder.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT).build()
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

/// An error with what caused it, which alone says what is wrong, and with what to do where that is known; without the URL.
pub(crate) fn explain(error: reqwest::Error) -> String {
    let plain = error.url().is_some_and(|url| url.scheme() == "http");
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    match hint(&text, plain) {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

/// What to do where the two do not speak alike.
fn hint(text: &str, plain: bool) -> Option<&'static str> {
    let certificate = text.contains("invalid peer certificate");
    let others = ["Expired", "NotValidForName", "NotValidYet", "Revoked"];
    if text.contains("InvalidContentType") {
        Some("does it speak TLS? if not, write http://")
    } else if plain && (text.contains("connection closed before message") || text.contains("invalid HTTP")) {
        Some("does it speak plain HTTP? if it speaks TLS, write https://")
    } else if certificate && !others.iter().any(|other| text.contains(other)) {
        Some("--egress-ca names authorities beside the system's")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What is told of a peer that answers this, and closes.
    async fn told(scheme: &str, says: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let peer = async {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            assert!(stream.read(&mut [0; 4_096]).await.is_ok_and(|read| read > 0), "it is asked");
            stream.write_all(says).await.expect("said");
            stream.shutdown().await.expect("ended");
            stream
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("versions").with_root_certificates(rustls::RootCertStore::empty());
        let client = client(&Arc::new(tls.with_no_client_auth())).expect("a client");
        let asked = client.post(format!("{scheme}://{address}/?token=secret")).body("x").send();
        let (answer, _stream) = tokio::join!(asked, peer);
        explain(answer.expect_err("no answer"))
    }

    #[tokio::test]
    async fn who_speaks_otherwise_is_told_with_what_to_write() {
        let plain = told("https", b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert!(plain.contains("write http://") && !plain.contains("secret"), "{plain}");
        // An alert of TLS, as a server sends it that met no handshake.
        for says in [&b"\x15\x03\x01\x00\x02\x02\x0a"[..], b""] {
            let tls = told("http", says).await;
            assert!(tls.contains("write https://") && !tls.contains("secret"), "{tls}");
        }
    }

    #[test]
    fn a_certificate_of_an_unknown_authority_is_told_with_the_flag_for_it() {
        for (text, known) in [
            ("invalid peer certificate: UnknownIssuer", true),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", true),
            ("invalid peer certificate: Expired", false),
            ("tcp connect error: Connection refused", false),
        ] {
            assert_eq!(hint(text, false).is_some_and(|hint| hint.contains("--egress-ca")), known, "{text}");
        }
    }
}
