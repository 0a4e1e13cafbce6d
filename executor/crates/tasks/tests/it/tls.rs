//! TLS: what a peer offers is spoken, and a stranger is not spoken to.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tasks::http::{HttpError, Outbound};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::faults::get;
use crate::peers::{Peer, Received, client, client_with, counted, json, serve, trusting};

/// A server for `localhost` that offers these protocols, and who trusts it.
async fn secure(offers: &[&[u8]]) -> (Peer, RootCertStore) {
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = config.with_single_cert(vec![certificate], key).expect("its key");
    config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = counted(listener.local_addr().expect("an address"));
    let accepts = peer.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, peer) = (acceptor.clone(), accepts.clone());
            tokio::spawn(async move {
                // A client that does not trust us leaves here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = |received: Received| {
                    let version = format!("{:?}", received.version).into();
                    async move { json(if received.body.is_empty() { version } else { received.body }) }
                        .boxed()
                };
                serve(stream, Arc::new(answer), peer).await;
            });
        }
    });
    (peer, roots)
}

fn url(peer: &Peer) -> String {
    format!("https://localhost:{}/", peer.address.port())
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_one_connection_serves_all_calls() {
    for (offers, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], "HTTP/2.0"),
        (&[&b"http/1.1"[..]][..], "HTTP/1.1"),
        (&[][..], "HTTP/1.1"),
    ] {
        let (peer, roots) = secure(offers).await;
        let client = client_with(|options| options.tls = Arc::new(trusting(roots)));
        let first = client.send(get(&url(&peer))).await.expect("an answer");
        assert_eq!(&first.body[..], version.as_bytes());
        let answers = join_all((0..20).map(|_| client.send(get(&url(&peer))))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        if version == "HTTP/2.0" {
            assert_eq!(peer.counts().opened, 1);
        }
    }
}

#[tokio::test]
async fn long_answers_come_whole_over_one_connection_of_http2() {
    let (peer, roots) = secure(&[b"h2"]).await;
    let client = client_with(|options| options.tls = Arc::new(trusting(roots)));
    client.send(get(&url(&peer))).await.expect("a connection");
    // 40 at once are more than a target's 16 MiB.
    let long = bytes::Bytes::from(vec![b'x'; 900_000]);
    let asked = (0..40).map(|_| client.send(Outbound { body: long.clone(), ..get(&url(&peer)) }));
    for answer in join_all(asked).await {
        assert!(answer.expect("an answer").body == long);
    }
    assert_eq!(peer.counts().opened, 1);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_spoken_to() {
    let (peer, _) = secure(&[b"h2"]).await;
    let error = client().send(get(&url(&peer))).await.expect_err("who is that");
    assert!(matches!(error, HttpError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(peer.counts().asked, 0);
}
