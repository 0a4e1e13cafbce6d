//! What the public is shown, and what happens when its files change.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use trust::{PublicIdentity, TrustError};

/// A certificate for `door.test` and its key, written into a folder; each call makes another one.
fn issue(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["door.test".to_owned()]).expect("a certificate");
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

fn load(dir: &Path) -> Result<PublicIdentity, TrustError> {
    PublicIdentity::load(dir.join("cert.pem"), dir.join("key.pem"))
}

/// Whether a client that trusts this certificate alone comes in, and what it is offered.
async fn offered(
    identity: &PublicIdentity,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> Option<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let (ours, theirs) = tokio::io::duplex(16 << 10);
    let name = ServerName::try_from("door.test").expect("a name");
    let (server, client) =
        tokio::join!(identity.accept(ours), TlsConnector::from(Arc::new(config)).connect(name, theirs));
    let client = client.ok()?;
    server.expect("both sides agree");
    client.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
}

#[tokio::test]
async fn the_public_needs_no_certificate_and_is_offered_both_versions_of_http() {
    let dir = TempDir::new().expect("a folder");
    let certificate = issue(dir.path());
    let identity = load(dir.path()).expect("it is right");
    for protocol in [&b"h2"[..], b"http/1.1"] {
        assert_eq!(offered(&identity, &certificate, protocol).await.as_deref(), Some(protocol));
    }
    assert_eq!(offered(&identity, &certificate, b"spdy/3").await, None);
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_shown_and_one_that_cannot_be_used_is_not() {
    let dir = TempDir::new().expect("a folder");
    let old = issue(dir.path());
    let identity = load(dir.path()).expect("it is right");
    assert!(!identity.refresh().expect("nothing has changed"));
    let new = issue(dir.path());
    assert!(offered(&identity, &new, b"h2").await.is_none(), "it was not read yet");
    assert!(identity.refresh().expect("it is right"));
    assert!(offered(&identity, &new, b"h2").await.is_some());
    assert!(offered(&identity, &old, b"h2").await.is_none());
    let key = std::fs::read(dir.path().join("key.pem")).expect("a key");
    issue(dir.path());
    std::fs::write(dir.path().join("key.pem"), key).expect("written");
    let error = identity.refresh().expect_err("another certificate's key").to_string();
    assert!(error.contains("cert.pem") && error.contains("see whether"), "{error}");
    assert!(offered(&identity, &new, b"h2").await.is_some(), "what was there stays in force");
}

#[test]
fn files_that_hold_something_else_are_named_without_what_they_hold() {
    let dir = TempDir::new().expect("a folder");
    assert!(load(dir.path()).expect_err("there is nothing").to_string().contains("cert.pem"));
    issue(dir.path());
    std::fs::write(dir.path().join("key.pem"), "my secret").expect("written");
    let error = load(dir.path()).expect_err("no key").to_string();
    assert!(error.contains("key.pem") && !error.contains("my secret"), "{error}");
}
