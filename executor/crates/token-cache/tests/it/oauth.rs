//! OAuth client credentials against a server that checks them as RFC 6749 says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{Response, StatusCode};
use token_cache::providers::{ClientAuthentication, OAuth, OAuthClient, OAuthClients};
use token_cache::{CredentialError, CredentialKey, Credentials, Provider};
use tokio::sync::watch;

use crate::http::{Received, serve, transport};
use crate::support::{BEGIN_MS, Clock};

/// A server that knows the client `us`, whose secret has characters that must be encoded.
fn token(received: &Received) -> Response<String> {
    let body = std::str::from_utf8(&received.body).expect("a form");
    let basic = received.headers.get("authorization").map(|value| value.to_str().expect("text"));
    // base64 of `us:a%26b%3Dc%25`, which is how RFC 6749 wants `a&b=c%`.
    let known = basic == Some("Basic dXM6YSUyNmIlM0RjJTI1")
        || body.ends_with("&client_id=us&client_secret=a%26b%3Dc%25");
    let (status, text) = match (known, received.target.as_str()) {
        (false, _) => (
            StatusCode::UNAUTHORIZED,
            r#"{"error":"invalid_client","error_description":"who is that"}"#.to_owned(),
        ),
        (true, "/token") => (
            StatusCode::OK,
            format!(r#"{{"access_token":"t:{body}","token_type":"Bearer","expires_in":3600}}"#),
        ),
        (true, "/short") => (StatusCode::OK, r#"{"access_token":"x","token_type":"bearer"}"#.to_owned()),
        (true, "/mac") => (StatusCode::OK, r#"{"access_token":"x","token_type":"mac"}"#.to_owned()),
        (true, "/busy") => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        (true, "/long") => (StatusCode::OK, "x".repeat(65_537)),
        (true, "/moved") => {
            let moved = Response::builder().status(307).header("location", "/token");
            return moved.body(String::new()).expect("a response");
        }
        _ => (StatusCode::OK, "<html>".to_owned()),
    };
    Response::builder().status(status).body(text).expect("a response")
}

async fn ask(
    path: &str,
    secret: &str,
    authentication: ClientAuthentication,
    scope: &str,
) -> Result<Credentials, CredentialError> {
    let address = serve(|received| token(&received)).await;
    let client = OAuthClient {
        token_url: format!("http://{address}{path}"),
        client_id: "us".to_owned(),
        client_secret: secret.to_owned().into(),
        authentication,
        parameters: vec![("audience".to_owned(), "a b".to_owned())],
    };
    let oauth = OAuth::new(transport(), clients("connection:orders", client), Clock::new().reader());
    oauth.fetch(&CredentialKey::new("connection:orders", scope)).await
}

fn clients(name: &str, client: OAuthClient) -> watch::Receiver<Arc<OAuthClients>> {
    watch::channel(Arc::new(HashMap::from([(Arc::from(name), client)]))).1
}

#[tokio::test]
async fn a_token_is_given_to_a_client_who_says_who_it_is_in_either_way() {
    use ClientAuthentication::{Basic, Body};
    let form = "t:grant_type=client_credentials&scope=read%20write&audience=a%20b";
    let given = ask("/token", "a&b=c%", Basic, "read write").await.expect("a token");
    assert_eq!(given.token.as_deref().map(String::as_str), Some(form));
    assert_eq!(given.expires_at, Some(UNIX_EPOCH + Duration::from_millis(BEGIN_MS + 3_600_000)));
    let given = ask("/token", "a&b=c%", Body, "read write").await.expect("a token");
    let form = format!("{form}&client_id=us&client_secret=a%26b%3Dc%25");
    assert_eq!(given.token.as_deref(), Some(&form));
    let given = ask("/short", "a&b=c%", Body, "").await.expect("a token");
    assert_eq!(
        given.expires_at,
        Some(UNIX_EPOCH + Duration::from_millis(BEGIN_MS + 300_000)),
        "five minutes unless said"
    );
}

#[tokio::test]
async fn errors_tell_what_the_server_said_and_nothing_of_the_secret() {
    use ClientAuthentication::Basic;
    for (path, secret, refused, words) in [
        ("/token", "wrong-word", true, "invalid_client who is that"),
        ("/mac", "a&b=c%", true, "tokens of the type \"mac\""),
        ("/busy", "a&b=c%", false, "status 503"),
        ("/long", "a&b=c%", false, "more than 65536 bytes"),
        ("/moved", "a&b=c%", false, "status 307"),
        ("/html", "a&b=c%", false, "something else than a token"),
    ] {
        let error = ask(path, secret, Basic, "s").await.expect_err(path);
        assert_eq!(matches!(error, CredentialError::Refused { .. }), refused, "{path}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(words) && !text.contains(secret), "{path}: {text}");
    }
}

#[tokio::test]
async fn nobody_there_and_no_such_connection_are_told_apart() {
    let client = OAuthClient {
        token_url: format!("http://127.0.0.1:{}/token", testkit::free_port()),
        client_id: "us".to_owned(),
        client_secret: "hidden".to_owned().into(),
        authentication: ClientAuthentication::Basic,
        parameters: Vec::new(),
    };
    assert!(!format!("{client:?}").contains("hidden"));
    let oauth = OAuth::new(transport(), clients("c", client), Clock::new().reader());
    let error = oauth.fetch(&CredentialKey::new("c", "")).await.expect_err("nobody listens");
    assert!(matches!(error, CredentialError::Unavailable { .. }), "{error}");
    let error = oauth.fetch(&CredentialKey::new("d", "")).await.expect_err("no such connection");
    assert!(matches!(error, CredentialError::Refused { .. }), "{error}");
}
