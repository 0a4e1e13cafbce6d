//! The file of connections.
//!
//! Invariants: a key that nobody knows is an error; a secret is named by its file or its environment variable, and its text
//! reaches no message. What may fail: the file, what it names, or a connection that makes no request, with
//! [`IntegrationError::File`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tasks::http_invoke::{Connection, ConnectionSettings, Connections};
use token_cache::providers::{ClientAuthentication, OAuthClient, OAuthClients};
use zeroize::Zeroizing;

use super::IntegrationError;

/// What a file says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub connections: Arc<Connections>,
    /// The clients whose tokens connections use, by the name under which the cache knows them.
    pub clients: Arc<OAuthClients>,
}

/// The name of a connection's client in the cache: the ARN's, and of the client as it is.
pub(super) type NameClient<'a> = &'a dyn Fn(&str, &OAuthClient) -> Arc<str>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    connection: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    arn: String,
    hosts: Vec<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    roles: Vec<String>,
    api_key: Option<ApiKey>,
    basic: Option<Basic>,
    oauth: Option<OAuth>,
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    #[serde(default)]
    query: BTreeMap<String, Text>,
    #[serde(default)]
    body: BTreeMap<String, Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiKey {
    header: String,
    value: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Basic {
    user: String,
    password: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OAuth {
    token_url: String,
    client_id: String,
    client_secret: Secret,
    #[serde(default)]
    authentication: Authentication,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum Authentication {
    #[default]
    Basic,
    Body,
}

/// Where a secret stands.
#[derive(Deserialize)]
#[serde(try_from = "toml::Value")]
enum Secret {
    File(PathBuf),
    Env(String),
}

impl TryFrom<toml::Value> for Secret {
    type Error = &'static str;

    /// Not derived: serde's messages show what stands here instead, which may be the secret itself.
    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let member = |name: &str| value.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        match (value.as_table().map_or(0, toml::Table::len), member("file"), member("env")) {
            (1, Some(file), None) => Ok(Self::File(file.into())),
            (1, None, Some(env)) => Ok(Self::Env(env)),
            _ => Err(
                "a secret is { file = \"PATH\" } or { env = \"VARIABLE\" }, and does not stand here itself",
            ),
        }
    }
}

/// What may be a secret and need not be one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Secret(Secret),
}

impl Secret {
    fn read(&self) -> Result<Zeroizing<String>, String> {
        match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("the secret in {} cannot be read: {error}", path.display()))?;
                let text = Zeroizing::new(text);
                Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            Self::Env(name) => std::env::var(name)
                .map(Zeroizing::new)
                .map_err(|_| format!("the environment variable {name}, which holds a secret, is not there")),
        }
    }
}

fn texts(given: BTreeMap<String, Text>) -> Result<Vec<(String, Zeroizing<String>)>, String> {
    let text = |(name, text)| match text {
        Text::Plain(text) => Ok((name, Zeroizing::new(text))),
        Text::Secret(secret) => Ok((name, secret.read()?)),
    };
    given.into_iter().map(text).collect()
}

/// The connections of a file, and the clients whose tokens they use, under these names.
///
/// # Errors
/// [`IntegrationError::File`]
pub(super) fn read(path: &Path, name: NameClient<'_>) -> Result<Read, IntegrationError> {
    let wrong = |message: String| IntegrationError::File { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("the connections cannot be read: {error}")))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        // Without the line itself, which may hold what should not be shown.
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        wrong(format!("line {line}: {}", error.message().replace('\n', ", ")))
    })?;
    let (mut connections, mut clients) = (Vec::new(), OAuthClients::new());
    for entry in file.connection {
        let arn = entry.arn.clone();
        let connection = connection(entry, name, &mut clients);
        let connection = connection.map_err(|message| wrong(format!("the connection {arn}: {message}")))?;
        connections.push((arn, connection));
    }
    let connections = Connections::new(connections).map_err(|error| wrong(error.to_string()))?;
    Ok(Read { connections: Arc::new(connections), clients: Arc::new(clients) })
}

fn connection(entry: Entry, name: NameClient<'_>, clients: &mut OAuthClients) -> Result<Connection, String> {
    let Entry { arn, hosts, insecure, roles, api_key, basic, oauth, headers, query, body } = entry;
    let api_key = api_key.map(|key| Ok::<_, String>((key.header, key.value.read()?))).transpose()?;
    let basic = basic.map(|basic| Ok::<_, String>((basic.user, basic.password.read()?))).transpose()?;
    let oauth = oauth.map(|oauth| {
        let OAuth { token_url, client_id, client_secret, authentication, parameters } = oauth;
        let authentication = match authentication {
            Authentication::Basic => ClientAuthentication::Basic,
            Authentication::Body => ClientAuthentication::Body,
        };
        let (client_secret, parameters) = (client_secret.read()?, parameters.into_iter().collect());
        let client = OAuthClient { token_url, client_id, client_secret, authentication, parameters };
        let name = name(&arn, &client);
        clients.insert(Arc::clone(&name), client);
        Ok::<_, String>(name)
    });
    let oauth = oauth.transpose()?;
    let (headers, query, body) = (texts(headers)?, texts(query)?, texts(body)?);
    let settings = ConnectionSettings { hosts, insecure, roles, api_key, basic, oauth, headers, query, body };
    Connection::new(&arn, settings).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_arn(arn: &str, _: &OAuthClient) -> Arc<str> {
        format!("oauth:{arn}").into()
    }

    fn refused(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        read(file.path(), &by_arn).map(drop).expect_err("refused").to_string()
    }

    #[test]
    fn a_connection_has_its_secret_from_a_file_and_a_client_is_known_by_its_name() {
        let secret = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(secret.path(), "s3cret\n").expect("written");
        let secret = secret.path().display();
        let text = format!(
            "[[connection]]\narn = 'arn:a'\nhosts = ['a.example']\ninsecure = true\nroles = ['arn:r']\napi-key = {{ header = 'x-api-key', value = {{ file = '{secret}' }} }}\n\
             headers = {{ x-tenant = 'acme' }}\n\
             [[connection]]\narn = 'arn:b'\nhosts = ['*.b.example']\noauth = {{ token-url = 'https://h/token', client-id = 'c', \
             client-secret = {{ file = '{secret}' }}, authentication = 'body', parameters = {{ scope = 'pay' }} }}\n"
        );
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let read = read(file.path(), &by_arn).map_err(|error| error.to_string()).expect("connections");
        let client = read.clients.get("oauth:arn:b").expect("the client");
        assert_eq!((client.client_id.as_str(), client.client_secret.as_str()), ("c", "s3cret"));
        assert_eq!(client.parameters, [("scope".to_owned(), "pay".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_a_secret() {
        let unknown = refused("[[connection]]\narn = 'a'\napi-kye = 1\n");
        assert!(unknown.contains("line 3") && unknown.contains("api-kye"), "{unknown}");
        let plain = refused(
            "[[connection]]\narn = 'a'\nbasic = { user = 'u', password = 'hunter2' }\nhosts = ['h']\n",
        );
        assert!(plain.contains("line 3") && !plain.contains("hunter2"), "{plain}");
        let absent = refused(
            "[[connection]]\narn = 'a'\nhosts = ['h']\nbasic = { user = 'u', password = { file = '/no/such' } }\n",
        );
        assert!(absent.contains("connection a") && absent.contains("/no/such"), "{absent}");
        let nobody = refused("[[connection]]\narn = 'a'\nhosts = ['h']\n");
        assert!(nobody.contains("exactly one authorization"), "{nobody}");
        let anywhere =
            refused("[[connection]]\narn = 'a'\nbasic = { user = 'u', password = { env = 'PATH' } }\n");
        assert!(anywhere.contains("hosts"), "{anywhere}");
        let every = refused(
            "[[connection]]\narn = 'a'\nhosts = ['*']\nbasic = { user = 'u', password = { env = 'PATH' } }\n",
        );
        assert!(every.contains("hosts"), "{every}");
        let key = "hosts = ['h']\nbasic = { user = 'u', password = { env = 'PATH' } }";
        let twice = refused(&format!("[[connection]]\narn = 'a'\n{key}\n[[connection]]\narn = 'a'\n{key}\n"));
        assert!(twice.contains("twice"), "{twice}");
    }
}
