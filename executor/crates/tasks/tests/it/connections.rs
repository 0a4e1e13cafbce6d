//! Connections of `http:invoke`: whoever is called sees who asks, and nobody else does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tasks::Failure;
use tasks::http_invoke::{Connection, ConnectionSettings, Connections, HttpInvoke};
use token_cache::providers::{ClientAuthentication, HttpTransport, OAuth, OAuthClient};
use tokio::sync::{mpsc, watch};

use crate::credentials::Cached;
use crate::peers::{Peer, answer, ask, client, http, json, raw, slowly};

const ARN: &str = "arn:aws:events:eu-west-1:123456789012:connection/orders/1";

/// For the peers of these tests.
fn here() -> ConnectionSettings {
    ConnectionSettings {
        hosts: vec!["127.0.0.1".to_owned(), "10.0.0.1".to_owned()],
        insecure: true,
        ..ConnectionSettings::default()
    }
}

fn connections(settings: ConnectionSettings) -> watch::Receiver<Arc<Connections>> {
    watch::channel(known(settings)).1
}

fn known(settings: ConnectionSettings) -> Arc<Connections> {
    let connection = Connection::new(ARN, settings).expect("a connection");
    Arc::new(Connections::new([(ARN.to_owned(), connection)]).expect("connections"))
}

/// A cache that gives no tokens, for nobody asks for one.
fn without_tokens() -> std::rc::Rc<Cached> {
    crate::credentials::signer(&Arc::default()).1
}

async fn invoke(http: &HttpInvoke, url: &str, more: &str) -> Result<String, Failure> {
    let input = format!(
        r#"{{"ApiEndpoint":"{url}","Method":"POST","Authentication":{{"ConnectionArn":"{ARN}"}}{more}}}"#
    );
    ask(http, "arn:aws:states:::http:invoke", &input).await
}

/// Tells what reached it.
async fn mirror() -> Peer {
    http(|received| {
        let keys = ["authorization", "x-api-key", "x-more"].map(|name| received.header(name).to_owned());
        answer(200, "text/plain", format!("{}~{}~{}", keys.join("|"), received.target, received.text()))
    })
    .await
}

fn secret(name: &str, value: &str) -> (String, zeroize::Zeroizing<String>) {
    (name.to_owned(), value.to_owned().into())
}

#[tokio::test]
async fn keys_and_passwords_of_a_connection_reach_its_api_and_win_over_what_the_state_says() {
    let mirror = mirror().await;
    let api_key = ConnectionSettings {
        api_key: Some(secret("x-api-key", "key-1")),
        headers: vec![secret("x-more", "more-1")],
        query: vec![secret("q", "query-1")],
        body: vec![secret("b", "body-1")],
        ..here()
    };
    let http = HttpInvoke::new(client(), connections(api_key), without_tokens());
    let more = r#","Headers":{"X-Api-Key":"mine","X-More":"mine"},"QueryParameters":{"q":"mine","r":1},"RequestBody":{"b":"mine","c":2}"#;
    let told = invoke(&http, &mirror.url("/a"), more).await.expect("an output");
    let expected = r#""ResponseBody":"|key-1|more-1~/a?r=1&q=query-1~{\"b\":\"body-1\",\"c\":2}""#;
    assert!(told.contains(expected), "{told}");
    let basic = ConnectionSettings { basic: Some(secret("us", "word")), ..here() };
    let http = HttpInvoke::new(client(), connections(basic), without_tokens());
    let told = invoke(&http, &mirror.url("/"), "").await.expect("an output");
    // base64 of us:word
    assert!(told.contains("Basic dXM6d29yZA==||"), "{told}");
}

#[tokio::test]
async fn a_connection_is_for_its_hosts_and_roles_and_not_for_plain_http_unless_it_says_so() {
    let mirror = mirror().await;
    let key = || Some(secret("x-api-key", "hidden"));
    let elsewhere = vec!["api.example".to_owned(), "*.0.0.1.example".to_owned()];
    for (settings, named) in [
        (ConnectionSettings { api_key: key(), hosts: elsewhere, ..here() }, "hosts"),
        (ConnectionSettings { api_key: key(), insecure: false, ..here() }, "insecure"),
        (
            ConnectionSettings { api_key: key(), roles: vec!["arn:aws:iam::1:role/r".into()], ..here() },
            "roles",
        ),
    ] {
        let http = HttpInvoke::new(client(), connections(settings), without_tokens());
        let failure = invoke(&http, &mirror.url("/"), "").await.expect_err(named);
        assert_eq!(failure.error, "Events.ConnectionResource.AccessDenied");
        assert!(failure.cause.contains(named) && !failure.cause.contains("hidden"), "{}", failure.cause);
    }
    assert_eq!(mirror.counts().opened, 0);
    let roles = vec![crate::peers::origin().role_arn.to_string()];
    let own = connections(ConnectionSettings { api_key: key(), roles, ..here() });
    invoke(&HttpInvoke::new(client(), own, without_tokens()), &mirror.url("/"), "").await.expect("an output");
    let nowhere = ConnectionSettings { api_key: key(), ..ConnectionSettings::default() };
    let error = Connection::new(ARN, nowhere).expect_err("for nobody");
    assert!(error.to_string().contains("hosts"), "{error}");
}

#[tokio::test]
async fn a_connection_is_for_the_role_of_the_machine_whatever_role_its_task_names() {
    let mirror = mirror().await;
    let roles = vec!["arn:aws:iam::1:role/r".to_owned()];
    let own = ConnectionSettings { api_key: Some(secret("x-api-key", "hidden")), roles, ..here() };
    let http = HttpInvoke::new(client(), connections(own), without_tokens());
    let input = format!(
        r#"{{"ApiEndpoint":"{}","Method":"GET","Authentication":{{"ConnectionArn":"{ARN}"}}}}"#,
        mirror.url("/")
    );
    for (of_machine, of_task, admitted) in [
        ("", "arn:aws:iam::1:role/r", false),
        ("arn:aws:iam::1:role/else", "arn:aws:iam::1:role/r", false),
        ("arn:aws:iam::1:role/r", "arn:aws:iam::1:role/else", true),
    ] {
        let origin = tasks::Origin {
            role_arn: of_task.into(),
            machine_role_arn: of_machine.into(),
            ..crate::peers::origin()
        };
        let input = asl::Payload::from_checked(input.clone().into());
        let request = tasks::Request { resource: "arn:aws:states:::http:invoke".into(), input, origin };
        let told = tasks::Integration::begin(&http, &request).await;
        assert_eq!(told.is_ok(), admitted, "{told:?}");
    }
    assert_eq!(mirror.counts().asked, 1);
}

#[tokio::test]
async fn secrets_of_a_connection_are_in_no_failure() {
    let settings = ConnectionSettings {
        api_key: Some(secret("x-api-key", "hidden")),
        query: vec![secret("q", "hidden")],
        body: vec![secret("b", "hidden")],
        ..here()
    };
    let connections = connections(settings);
    assert!(!format!("{connections:?}").contains("hidden"));
    let http_invoke = HttpInvoke::new(client(), connections, without_tokens());
    let breaks = raw(|stream| async move { drop(stream) }).await;
    let says_no = http(|_| answer(400, "text/plain", "no")).await;
    let elsewhere = http(|_| {
        let mut moved = answer(307, "text/plain", "");
        moved.headers_mut().insert("location", "http://10.0.0.1/".parse().expect("a value"));
        moved
    })
    .await;
    for url in
        [breaks.url("/"), says_no.url("/"), elsewhere.url("/"), "http://10.0.0.1/".into(), "ftp://a/".into()]
    {
        let failure = invoke(&http_invoke, &url, "").await.expect_err(&url);
        let told = format!("{failure:?}");
        assert!(!told.contains("hidden"), "{told}");
    }
    let unknown = HttpInvoke::new(client(), watch::channel(Arc::default()).1, without_tokens());
    let failure = invoke(&unknown, &says_no.url("/"), "").await.expect_err("no such connection");
    assert_eq!(failure.error, "Events.ConnectionResource.ResourceNotFound");
}

#[tokio::test]
async fn a_call_has_the_connections_in_force_when_it_begins_and_keeps_them() {
    let (asked, mut asks) = mpsc::channel(2);
    let (say, hold) = watch::channel(false);
    let slow = slowly(move |received| {
        let (asked, mut hold) = (asked.clone(), hold.clone());
        Box::pin(async move {
            asked.send(()).await.expect("the test listens");
            hold.wait_for(|said| *said).await.expect("the test says so");
            answer(200, "text/plain", received.header("x-api-key").to_owned())
        })
    })
    .await;
    let of = |key: &str| known(ConnectionSettings { api_key: Some(secret("x-api-key", key)), ..here() });
    let (changed, connections) = watch::channel(of("before"));
    let http = HttpInvoke::new(client(), connections, without_tokens());
    let url = slow.url("/");
    let begun = async {
        let (first, second) = tokio::join!(invoke(&http, &url, ""), async {
            asks.recv().await.expect("the first call is under way");
            changed.send_replace(of("after"));
            let second = invoke(&http, &url, "");
            let both = async {
                asks.recv().await.expect("the second call is under way");
                say.send_replace(true);
            };
            tokio::join!(second, both).0
        });
        (first.expect("an output"), second.expect("an output"))
    };
    let (first, second) = begun.await;
    assert!(first.contains("before") && !first.contains("after"), "{first}");
    assert!(second.contains("after") && !second.contains("before"), "{second}");
}

/// An authorization server that numbers its tokens, and an API that takes the newest alone, and at `/strict` none.
struct Guarded {
    /// The authorization server answers nobody properly.
    down: Arc<AtomicBool>,
    tokens: Arc<AtomicUsize>,
    revoked: Arc<AtomicUsize>,
    authority: Peer,
    api: Peer,
    cached: std::rc::Rc<Cached>,
    http: HttpInvoke,
}

async fn guarded() -> Guarded {
    let (tokens, revoked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let down = Arc::<AtomicBool>::default();
    let (given, is_down) = (Arc::clone(&tokens), Arc::clone(&down));
    let authority = http(move |received| {
        if is_down.load(Ordering::SeqCst) {
            return answer(503, "text/plain", "down");
        }
        // base64 of us:hidden; a scope that nobody has asked for would be refused.
        let known = received.header("authorization") == "Basic dXM6aGlkZGVu";
        if !known || received.text() != "grant_type=client_credentials&audience=orders" {
            return answer(401, "application/json", r#"{"error":"invalid_client"}"#);
        }
        let number = given.fetch_add(1, Ordering::SeqCst) + 1;
        json(format!(r#"{{"access_token":"veiled-{number}","token_type":"Bearer","expires_in":3600}}"#))
    })
    .await;
    let (given, gone) = (Arc::clone(&tokens), Arc::clone(&revoked));
    let api = http(move |received| {
        let number = received.header("authorization").strip_prefix("Bearer veiled-");
        let number: usize = number.and_then(|number| number.parse().ok()).unwrap_or_default();
        let strict = received.target == "/strict";
        let known = !strict && number > gone.load(Ordering::SeqCst) && number <= given.load(Ordering::SeqCst);
        if known { json(received.body) } else { answer(401, "text/plain", "who are you") }
    })
    .await;
    let oauth = OAuthClient {
        token_url: authority.url("/token"),
        client_id: "us".to_owned(),
        client_secret: "hidden".to_owned().into(),
        authentication: ClientAuthentication::Basic,
        parameters: vec![("audience".to_owned(), "orders".to_owned())],
    };
    // Another test may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let transport = HttpTransport::new(reqwest::Client::builder().no_proxy()).expect("a client");
    let clients = watch::channel(Arc::new(HashMap::from([(Arc::from("orders"), oauth)]))).1;
    let cached = Cached::new(|now| Arc::new(OAuth::new(Arc::new(transport), clients, now)));
    let settings = ConnectionSettings { oauth: Some("orders".into()), ..here() };
    let source = std::rc::Rc::clone(&cached) as std::rc::Rc<dyn tasks::CredentialSource>;
    let http = HttpInvoke::new(client(), connections(settings), source);
    Guarded { down, tokens, revoked, authority, api, cached, http }
}

impl Guarded {
    async fn invoke(&self) -> Result<String, Failure> {
        invoke(&self.http, &self.api.url("/"), r#","RequestBody":{"a":1}"#).await
    }
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_calls() {
    let world = guarded().await;
    let calls = futures_util::future::join_all((0..20).map(|_| world.invoke())).await;
    for told in calls {
        let told = told.expect("an output");
        assert!(told.contains(r#""ResponseBody":{"a":1}"#) && !told.contains("veiled"), "{told}");
    }
    assert_eq!((world.authority.counts().asked, world.api.counts().asked), (1, 20));
}

#[tokio::test]
async fn a_token_that_is_not_taken_any_more_is_fetched_anew_and_the_call_made_once_more() {
    let world = guarded().await;
    world.invoke().await.expect("an output");
    world.revoked.store(1, Ordering::SeqCst);
    world.cached.advance(Duration::from_secs(30));
    world.invoke().await.expect("an output with another token");
    assert_eq!((world.tokens.load(Ordering::SeqCst), world.api.counts().asked), (2, 3));
    // So soon after the last one another token would be no better.
    world.revoked.store(2, Ordering::SeqCst);
    let failure = world.invoke().await.expect_err("it is refused");
    assert_eq!(
        (failure.error.as_str(), failure.cause.as_str()),
        ("States.Http.StatusCode.401", "who are you")
    );
    assert_eq!((world.tokens.load(Ordering::SeqCst), world.api.counts().asked), (2, 4));
}

#[tokio::test]
async fn a_refusal_takes_the_token_from_nobody_else_while_no_other_can_be_had() {
    let world = guarded().await;
    world.invoke().await.expect("an output");
    world.cached.advance(Duration::from_secs(60));
    world.down.store(true, Ordering::SeqCst);
    let failure = invoke(&world.http, &world.api.url("/strict"), "").await.expect_err("it is refused");
    assert_eq!(failure.error, "States.Http.StatusCode.401");
    assert_eq!(world.authority.counts().asked, 2, "another token was asked for");
    world.invoke().await.expect("an output with the token that there is");
}

#[tokio::test]
async fn a_client_that_the_authority_does_not_know_gets_no_call_through() {
    let world = guarded().await;
    let settings = ConnectionSettings { oauth: Some("else".into()), ..here() };
    let http = HttpInvoke::new(client(), connections(settings), world.cached.clone());
    let failure = invoke(&http, &world.api.url("/"), "").await.expect_err("no token");
    assert_eq!(failure.error, "Events.ConnectionResource.InvalidConnectionState");
    assert!(!format!("{failure:?}").contains("hidden"));
    assert_eq!(world.api.counts().asked, 0);
}

#[tokio::test]
async fn an_authority_that_is_away_is_an_error_of_its_own_and_the_next_attempt_asks_again() {
    let world = guarded().await;
    world.down.store(true, Ordering::SeqCst);
    let failure = world.invoke().await.expect_err("no token");
    assert_eq!(failure.error, "Events.ConnectionResource.InternalError");
    assert!(failure.cause.contains(ARN) && failure.cause.contains("503"), "{}", failure.cause);
    assert_eq!(world.api.counts().asked, 0);
    world.down.store(false, Ordering::SeqCst);
    world.cached.advance(Duration::from_secs(30));
    world.invoke().await.expect("an output");
}
