//! Redirects and names that lead where calls may not go.

use http::{Method, Response};
use tasks::http::{Egress, HttpError};

use crate::faults::get;
use crate::peers::{Answered, Peer, client, client_with, http, json};

fn to(status: u16, location: &str) -> Answered {
    Response::builder()
        .status(status)
        .header("location", location)
        .body(bytes::Bytes::new())
        .expect("an answer")
}

/// What comes of a call to a server that redirects to there.
async fn redirected(location: &'static str) -> HttpError {
    let peer = http(move |_| to(302, location)).await;
    let mut request = get(&peer.url("/"));
    request.redirects_max = 5;
    // The server itself may be called, and nothing else of loopback.
    let alone = Egress::new(vec![Egress::network("127.0.0.1").expect("a network")], false);
    let client = client_with(|options| options.egress = alone);
    client.send(request).await.expect_err(location)
}

#[tokio::test]
async fn redirects_to_where_calls_may_not_go_are_not_followed() {
    for (location, why) in [
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://2852039166/", "link-local"),
        ("http://100.100.100.200/latest/meta-data/", "metadata"),
        ("http://127.0.0.2/", "this machine"),
        ("http://[::1]/", "this machine"),
        ("http://10.0.0.1/", "private"),
        ("//192.168.1.1/", "private"),
    ] {
        let error = redirected(location).await;
        assert!(matches!(error, HttpError::Egress { .. }), "{location}: {error}");
        assert!(error.to_string().contains(why), "{location}: {error}");
    }
    assert!(matches!(redirected("ftp://127.0.0.1/").await, HttpError::Request { .. }));
    assert!(matches!(redirected("http://user:word@127.0.0.1/").await, HttpError::Request { .. }));
    assert!(matches!(redirected("http://").await, HttpError::Redirect { .. }));
}

#[tokio::test]
async fn a_name_is_judged_by_the_address_that_it_has() {
    // Every system has this one.
    let refused = client_with(|options| options.egress = Egress::default());
    let error = refused.send(get("http://localhost:9/")).await.expect_err("it is this machine");
    assert!(matches!(error, HttpError::Egress { .. }), "{error}");
    let error = redirected("http://localhost:9/").await;
    // Its other address, ::1, may not be called, and at this one nobody listens.
    assert!(matches!(error, HttpError::Connect { .. } | HttpError::Egress { .. }), "{error}");
    let peer = http(|_| json("{}")).await;
    let named = format!("http://localhost:{}/", peer.address.port());
    client().send(get(&named)).await.expect("an answer");
}

#[tokio::test]
async fn redirects_without_end_are_followed_as_often_as_is_allowed() {
    let peer = http(|_| to(307, "/again")).await;
    let mut request = get(&peer.url("/"));
    request.redirects_max = 5;
    let error = client().send(request).await.expect_err("there is no end");
    assert!(matches!(error, HttpError::Redirect { .. }), "{error}");
    assert_eq!(peer.counts().asked, 6);
    let answer = client().send(get(&peer.url("/"))).await.expect("none is followed");
    assert_eq!(answer.status, 307);
}

/// A server that sends to another one, which tells what came.
async fn two(status: u16) -> (Peer, Peer) {
    let other = http(|received| {
        let keys =
            ["authorization", "cookie", "x-api-key", "accept"].map(|name| received.header(name).to_owned());
        json(format!("{} {} [{}] {}", received.method, received.target, received.text(), keys.join("|")))
    })
    .await;
    let location = other.url("/there");
    (http(move |_| to(status, &location)).await, other)
}

#[tokio::test]
async fn what_was_meant_for_one_host_does_not_go_to_another() {
    let (first, _) = two(302).await;
    let mut request = get(&first.url("/here?key=1"));
    request.redirects_max = 1;
    request.method = Method::POST;
    request.body = "secret".into();
    for name in ["authorization", "cookie", "x-api-key", "accept"] {
        request.headers.insert(name, "secret".parse().expect("a value"));
    }
    let answer = client().send(request.clone()).await.expect("an answer");
    assert_eq!(&answer.body[..], b"GET /there [] |||secret");
    // 307 would take the body along.
    let (first, second) = two(307).await;
    request.url = first.url("/").parse().expect("a URL");
    let error = client().send(request).await.expect_err("it is not taken along");
    assert!(matches!(error, HttpError::Redirect { .. }), "{error}");
    assert_eq!(second.counts().opened, 0);
}
