//! TLS: what the public is shown, and connections that never come to speak HTTP.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use front::{Connection, Error, Limits};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use testkit::{Authority, Certificate};

use crate::support::{Client, Door, sfn};

fn identity(certificate: &Certificate) -> trust::PublicIdentity {
    trust::PublicIdentity::load(certificate.cert.clone(), certificate.key.clone()).expect("it is right")
}

fn door(certificate: &Certificate, limits: Limits) -> Door {
    Door::start(limits, "127.0.0.1:0", Some(identity(certificate)), false).expect("it opens")
}

/// A client that knows the authority, and offers these protocols.
fn config(certificate: &Certificate, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(&certificate.ca).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

fn client(
    door: &Door,
    certificate: &Certificate,
    protocols: &[&[u8]],
) -> Client<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("door.test").expect("a name");
    let connection = ClientConnection::new(config(certificate, protocols), name).expect("a connection");
    Client::on(StreamOwned::new(connection, door.client().stream))
}

#[test]
fn calls_are_answered_over_tls_and_clients_need_no_certificate() {
    let authority = Authority::new();
    let certificate = authority.issue("door.test");
    let door = door(&certificate, Limits::default());
    for protocols in [&[] as &[&[u8]], &[b"http/1.1"]] {
        let mut client = client(&door, &certificate, protocols);
        assert_eq!(client.call("ListStateMachines", "{}").status, 200);
        assert_eq!(client.call("ListActivities", "{}").status, 200);
    }
}

#[test]
fn a_client_that_offers_http2_is_given_it() {
    let authority = Authority::new();
    let certificate = authority.issue("door.test");
    let door = door(&certificate, Limits::default());
    let mut client = client(&door, &certificate, &[b"h2", b"http/1.1"]);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert!(client.more(), "its settings come");
    assert_eq!(client.take_unread()[3], 4);
}

#[test]
fn whoever_does_not_speak_tls_or_says_nothing_is_cut_off() {
    let authority = Authority::new();
    let certificate = authority.issue("door.test");
    let door = door(&certificate, Limits { head_within: Duration::from_millis(200), ..Limits::default() });
    let mut plain = door.client();
    plain.send(sfn("ListStateMachines", "{}"));
    while plain.more() {}
    let said = plain.take_unread();
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    let mut silent = door.client();
    silent.ends();
    door.counts.wait(Connection::Handshake, 2);
    // Half a handshake, too.
    let mut half = door.client();
    half.send([0x16, 3, 1, 2, 0, 1]);
    half.ends();
    door.counts.wait(Connection::Handshake, 3);
    assert_eq!(door.seen().calls, 0);
}

#[test]
fn off_loopback_calls_must_be_signed_although_there_is_tls() {
    let authority = Authority::new();
    let certificate = authority.issue("door.test");
    let error = Door::start(Limits::default(), "0.0.0.0:0", Some(identity(&certificate)), true).err();
    assert!(matches!(error, Some(Error::NoAuth(_))), "{error:?}");
}
