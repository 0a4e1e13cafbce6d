//! OAuth 2.0 client credentials (RFC 6749, 4.4): bearer tokens for connections.
//!
//! A key's role is the name of a connection, its session the scope that is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::times::after;
use super::transport::{Post, Reply, Transport, shown};
use super::{Fetch, Provider};
use crate::{CredentialError, CredentialKey, Credentials, Now};

/// What `application/x-www-form-urlencoded` encodes, but for blanks, which are `%20` here.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');
/// How long a token is used of which the server does not say how long it is good.
const LIFETIME_UNSAID: Duration = Duration::from_secs(300);
/// The longest that a token is used.
const LIFETIME_MAX: u64 = 86_400 * 30;

/// How a client says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// In the `Authorization` header, which every server has to accept.
    Basic,
    /// In the body, as `client_id` and `client_secret`.
    Body,
}

/// A client of an authorization server.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthClient {
    /// The server's token endpoint.
    pub token_url: String,
    /// Who we are there.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Zeroizing<String>,
    /// How that is said.
    pub authentication: ClientAuthentication,
    /// What else the server wants to know, `audience` for instance.
    pub parameters: Vec<(String, String)>,
}

impl std::fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { token_url, client_id, .. } = self;
        let mut shown = f.debug_struct("OAuthClient");
        shown.field("token_url", token_url).field("client_id", client_id).finish_non_exhaustive()
    }
}

/// Clients by the name of their connection.
pub type OAuthClients = HashMap<Arc<str>, OAuthClient>;

/// See the module.
pub struct OAuth {
    transport: Arc<dyn Transport>,
    clients: watch::Receiver<Arc<OAuthClients>>,
    now: Now,
}

impl OAuth {
    /// Asks for the tokens of these connections, as they change.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, clients: watch::Receiver<Arc<OAuthClients>>, now: Now) -> Self {
        Self { transport, clients, now }
    }

    async fn ask(&self, key: &CredentialKey) -> Result<Credentials, CredentialError> {
        let clients = Arc::clone(&self.clients.borrow());
        let client = clients.get(&key.role);
        let client = client.ok_or_else(|| CredentialError::refused(key, "there is no such connection"))?;
        let sent_ms = (self.now)();
        let post = request(client, &key.session).map_err(|why| CredentialError::refused(key, why))?;
        let reply = self.transport.post(post).await.map_err(|why| CredentialError::unavailable(key, why))?;
        read(key, client, &reply, sent_ms)
    }
}

impl Provider for OAuth {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(self.ask(key))
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn request(client: &OAuthClient, scope: &str) -> Result<Post, &'static str> {
    let mut form = Zeroizing::new("grant_type=client_credentials".to_owned());
    let mut add = |name: &str, value: &str| form.extend(["&", &encode(name), "=", &encode(value)]);
    if !scope.is_empty() {
        add("scope", scope);
    }
    client.parameters.iter().for_each(|(name, value)| add(name, value));
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert("accept", HeaderValue::from_static("application/json"));
    let (id, secret) = (&client.client_id, &client.client_secret);
    match client.authentication {
        ClientAuthentication::Basic => {
            let pair = Zeroizing::new(format!("{}:{}", encode(id), encode(secret)));
            let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
            let mut value =
                HeaderValue::from_str(&text).map_err(|_| "its client's id and secret make no header")?;
            value.set_sensitive(true);
            headers.insert("authorization", value);
        }
        ClientAuthentication::Body => {
            add("client_id", id);
            add("client_secret", secret);
        }
    }
    let body = Bytes::copy_from_slice(form.as_bytes());
    Ok(Post { url: client.token_url.clone(), headers, body })
}

fn read(
    key: &CredentialKey,
    client: &OAuthClient,
    reply: &Reply,
    sent_ms: u64,
) -> Result<Credentials, CredentialError> {
    let (url, status) = (shown(&client.token_url), reply.status);
    if !status.is_success() {
        let said: Failure = serde_json::from_slice(&reply.body).unwrap_or_default();
        let Failure { error, error_description: words } = said;
        let why = format!("{url} has answered with status {status}: {error} {words}");
        // RFC 6749, 5.2: the request is wrong, and stays so. Other statuses say that it was not looked at.
        let refused = matches!(status.as_u16(), 400 | 401 | 403);
        let error = if refused { CredentialError::refused } else { CredentialError::unavailable };
        return Err(error(key, why.trim_end_matches([' ', ':'])));
    }
    let answer: Answer = serde_json::from_slice(&reply.body).map_err(|_| {
        CredentialError::unavailable(
            key,
            format!("{url} has answered with something else than a token in JSON"),
        )
    })?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        let why = format!(
            "{url} gives tokens of the type {:?}, and a connection can show bearer tokens alone",
            answer.token_type
        );
        return Err(CredentialError::refused(key, why));
    }
    let lifetime =
        answer.expires_in.map_or(LIFETIME_UNSAID, |seconds| Duration::from_secs(seconds.min(LIFETIME_MAX)));
    Ok(Credentials {
        id: String::new(),
        secret: Zeroizing::default(),
        token: Some(Zeroizing::new(answer.access_token)),
        expires_at: Some(after(sent_ms, lifetime)),
    })
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}
