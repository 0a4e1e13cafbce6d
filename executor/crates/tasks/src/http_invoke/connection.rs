//! Connections: who an HTTP task is towards an API, kept out of definitions.
//!
//! A connection is named by its ARN, as EventBridge's are, and stands in the node's configuration. Invariants: a secret is read
//! from its file, never written in configuration; it is in no `Debug` text, output or cause, and leaves for the hosts of its
//! connection alone ([`Audience`]). What may fail: a file, a header that is none, no host, or two kinds of authorization, with
//! [`ConnectionError`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use asl::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use token_cache::{CredentialError, CredentialKey, Credentials};
use zeroize::Zeroizing;

use super::audience::Audience;
use super::call::Parsed;
use crate::errors;
use crate::request::Failure;

/// Why connections cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Two have the same ARN.
    #[error("the connection {0} is given twice")]
    Twice(String),
    /// It makes no request.
    #[error("the connection {connection}: {problem}")]
    Unusable {
        /// Its ARN.
        connection: String,
        /// Why.
        problem: ConnectionProblem,
    },
}

/// What is wrong with a connection, in the words of whoever configures it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionProblem {
    /// It is for no host.
    #[error("`hosts` names none: write [\"api.example\"], or [\"*.api.example\"] for all hosts within")]
    NoHost,
    /// One that is none.
    #[error(
        "`hosts` has {shown}, which is no host: write \"api.example\", or \"*.api.example\" for all hosts within",
        shown = shown(.0)
    )]
    Host(String),
    /// It shows in no way who asks, or in several.
    #[error("it has {0} of `api-key`, `basic` and `oauth`: give it exactly one")]
    Authorizations(usize),
    /// Of a key that no request can carry.
    #[error(
        "`api-key` makes no header: write its name in letters, digits and hyphens, its value in one line"
    )]
    ApiKey,
    /// The same of user name and password.
    #[error("`basic` makes no header: the user name must have no colon in it")]
    Basic,
    /// The same of a header that is added.
    #[error(
        "`headers` has {0:?}, which makes none: write a name in letters, digits and hyphens, a value in one line"
    )]
    Header(String),
}

/// A text that was to be a host: a URL with an `@` may hold a password.
fn shown(host: &str) -> String {
    if host.contains('@') { "an entry with an `@`".to_owned() } else { format!("{host:?}") }
}

/// How a connection shows who asks.
#[derive(PartialEq, Eq)]
enum Authorization {
    /// A header with a key.
    ApiKey(HeaderName, HeaderValue),
    /// User name and password, as the header's value.
    Basic(HeaderValue),
    /// A bearer token, fetched with client credentials under this key.
    OAuth(CredentialKey),
}

/// A connection.
#[derive(PartialEq, Eq)]
pub struct Connection {
    audience: Audience,
    authorization: Authorization,
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Vec<(String, Zeroizing<String>)>,
    body: Vec<(String, Zeroizing<String>)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Settings of a connection, its secrets read.
#[derive(Default)]
pub struct Settings {
    /// Hosts that it is for, one at least: `api.example`, or `*.example` for all within.
    pub hosts: Vec<String>,
    /// Whether its secrets may go over plain HTTP.
    pub insecure: bool,
    /// Roles of machines that it is for; none for all.
    pub roles: Vec<String>,
    /// Name and value of the API key's header.
    pub api_key: Option<(String, Zeroizing<String>)>,
    /// User name and password.
    pub basic: Option<(String, Zeroizing<String>)>,
    /// Which client credentials.
    pub oauth: Option<Arc<str>>,
    /// Headers that are added.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// Query parameters that are added.
    pub query: Vec<(String, Zeroizing<String>)>,
    /// Members of the body that are added.
    pub body: Vec<(String, Zeroizing<String>)>,
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name).ok()?, value))
}

impl Connection {
    /// A connection of these settings.
    ///
    /// # Errors
    /// [`ConnectionError::Unusable`]
    pub fn new(arn: &str, settings: Settings) -> Result<Self, ConnectionError> {
        let unusable = |problem| ConnectionError::Unusable { connection: arn.to_owned(), problem };
        Self::of(settings).map_err(unusable)
    }

    fn of(settings: Settings) -> Result<Self, ConnectionProblem> {
        let Settings { hosts, insecure, roles, api_key, basic, oauth, headers, query, body } = settings;
        let audience = Audience::new(&hosts, insecure, roles)?;
        let authorization = match (api_key, basic, oauth) {
            (Some((name, key)), None, None) => {
                let (name, value) = header(&name, &key).ok_or(ConnectionProblem::ApiKey)?;
                Authorization::ApiKey(name, value)
            }
            (None, Some((user, password)), None) => {
                let pair = Zeroizing::new(format!("{user}:{}", *password));
                let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let value = header("authorization", &text).filter(|_| !user.contains(':'));
                Authorization::Basic(value.ok_or(ConnectionProblem::Basic)?.1)
            }
            (None, None, Some(client)) => {
                // No scope of its own: what a server wants to know stands in the client's parameters.
                Authorization::OAuth(CredentialKey::new(client, ""))
            }
            (api_key, basic, oauth) => {
                let given = [api_key.is_some(), basic.is_some(), oauth.is_some()];
                let given = given.into_iter().filter(|given| *given).count();
                return Err(ConnectionProblem::Authorizations(given));
            }
        };
        let added = |(name, value): &(String, Zeroizing<String>)| {
            header(name, value).ok_or_else(|| ConnectionProblem::Header(name.clone()))
        };
        let headers = headers.iter().map(added).collect::<Result<_, _>>()?;
        Ok(Self { audience, authorization, headers, query, body })
    }

    /// Whose client credentials give its token; `None` where it needs none.
    pub(super) fn client(&self) -> Option<&CredentialKey> {
        match &self.authorization {
            Authorization::OAuth(key) => Some(key),
            Authorization::ApiKey(..) | Authorization::Basic(_) => None,
        }
    }

    /// Whether a request may have what the connection adds.
    ///
    /// # Errors
    /// [`errors::CONNECTION_DENIED`]
    pub(super) fn admits(&self, call: &Parsed, role: &str) -> Result<(), Failure> {
        let refused = self.audience.admits(&call.url, role);
        refused.map_err(|why| {
            let arn = call.connection.as_deref().unwrap_or_default();
            let cause = format!("The HTTP task makes no request: the connection {arn} {why}.");
            Failure::new(errors::CONNECTION_DENIED, cause)
        })
    }

    /// Adds to a request what the connection has; `token` is that of [`Connection::client`].
    ///
    /// # Errors
    /// [`errors::CONNECTION_STATE`] for a token that no header can have; `arn` is how the connection is called there.
    pub(super) fn apply(
        &self,
        call: &mut Parsed,
        arn: &str,
        token: Option<&Credentials>,
    ) -> Result<(), Failure> {
        for (name, value) in &self.headers {
            call.headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.query {
            call.set_query(name, value.to_string());
        }
        if !self.body.is_empty() {
            let body = call.body.get_or_insert_with(Value::empty_object);
            if let Value::Object(members) = body {
                let members = Arc::make_mut(members);
                for (name, value) in &self.body {
                    members.insert(name.as_str(), Value::from(value.as_str()));
                }
            }
        }
        let (name, value) = match &self.authorization {
            Authorization::ApiKey(name, value) => (name.clone(), value.clone()),
            Authorization::Basic(value) => (AUTHORIZATION, value.clone()),
            Authorization::OAuth(_) => {
                let token = token.and_then(|given| given.token.as_deref()).map_or("", String::as_str);
                let bearer = Zeroizing::new(format!("Bearer {token}"));
                header("authorization", &bearer).ok_or_else(|| {
                    let cause = "its authorization server has given one that no header can have";
                    tokenless(errors::CONNECTION_STATE, arn, cause)
                })?
            }
        };
        call.headers.insert(name, value);
        Ok(())
    }
}

fn tokenless(error: &str, arn: &str, why: &str) -> Failure {
    let why = why.trim_end_matches('.');
    Failure::new(error, format!("The HTTP task makes no request: the connection {arn} has no token: {why}."))
}

/// The failure of a task whose connection gets no token: for good, as long as nobody changes it, or at the moment.
pub(super) fn without_token(arn: &str, error: &CredentialError) -> Failure {
    match error {
        CredentialError::Refused { why, .. } => tokenless(errors::CONNECTION_STATE, arn, why),
        CredentialError::Unavailable { why, .. } => tokenless(errors::CONNECTION_AWAY, arn, why),
    }
}

/// The failure of a task whose connection is not known here.
pub(super) fn unknown(arn: &str) -> Failure {
    let cause = format!(
        "The HTTP task makes no request: the connection {arn} is not in this node's file of --connections."
    );
    Failure::new(errors::CONNECTION_UNKNOWN, cause)
}

/// The connections of a node, by ARN.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Connections(HashMap<String, Connection>);

impl Connections {
    /// These.
    ///
    /// # Errors
    /// [`ConnectionError::Twice`]
    pub fn new(given: impl IntoIterator<Item = (String, Connection)>) -> Result<Self, ConnectionError> {
        let mut known = HashMap::new();
        for (arn, connection) in given {
            if known.contains_key(&arn) {
                return Err(ConnectionError::Twice(arn));
            }
            known.insert(arn, connection);
        }
        Ok(Self(known))
    }

    pub(super) fn get(&self, arn: &str) -> Option<&Connection> {
        self.0.get(arn)
    }
}
