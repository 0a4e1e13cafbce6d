//! The file of connections.
//!
//! Invariants: a key that nobody knows is an error; a secret is named by its file or its environment variable, and its text
//! reaches no message; what a connection's first call would stumble upon is found here. What may fail: the file and what is
//! wrong in it, with its line and column ([`IntegrationError::File`]), a file that cannot be read
//! ([`IntegrationError::Unreadable`]).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tasks::http_invoke::{Connection, ConnectionError, ConnectionProblem, ConnectionSettings, Connections};
use token_cache::providers::{ClientAuthentication, OAuthClient, OAuthClients};
use toml::Spanned;
use url::Url;
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
    arn: Spanned<String>,
    hosts: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    roles: Vec<Spanned<String>>,
    api_key: Option<Spanned<ApiKey>>,
    basic: Option<Spanned<Basic>>,
    oauth: Option<OAuth>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Text>>,
    #[serde(default)]
    query: BTreeMap<String, Spanned<Text>>,
    #[serde(default)]
    body: BTreeMap<String, Spanned<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ header = \"NAME\", value = SECRET }")]
struct ApiKey {
    header: String,
    value: Spanned<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ user = \"NAME\", password = SECRET }")]
struct Basic {
    user: String,
    password: Spanned<Secret>,
}

#[derive(Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "{ token-url = \"URL\", client-id = \"ID\", client-secret = SECRET }"
)]
struct OAuth {
    token_url: Spanned<String>,
    client_id: Spanned<String>,
    client_secret: Spanned<Secret>,
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
#[serde(try_from = "toml::Value")]
enum Text {
    Plain(String),
    Secret(Secret),
}

impl TryFrom<toml::Value> for Text {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        match value {
            toml::Value::String(text) => Ok(Self::Plain(text)),
            other => other.try_into().map(Self::Secret).map_err(|_: toml::de::Error| {
                "write a text, or a secret: { file = \"PATH\" } or { env = \"VARIABLE\" }"
            }),
        }
    }
}

/// What is wrong, and at which byte of the file.
struct Wrong {
    at: usize,
    what: String,
    /// A file that the file names, and not the file itself.
    elsewhere: bool,
}

impl Wrong {
    fn at<T>(place: &Spanned<T>, what: impl Into<String>) -> Self {
        Self { at: place.span().start, what: what.into(), elsewhere: false }
    }

    fn error(self, path: &Path, text: &str, arn: &str) -> IntegrationError {
        let Self { at, what, elsewhere } = self;
        let (path, message) = (path.to_owned(), format!("{}: the connection {arn}: {what}", place(text, at)));
        match elsewhere {
            true => IntegrationError::Unreadable { path, message },
            false => IntegrationError::File { path, message },
        }
    }
}

/// Line and column of a byte.
fn place(text: &str, at: usize) -> String {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

fn secret(given: &Spanned<Secret>) -> Result<Zeroizing<String>, Wrong> {
    let (text, named) = match given.get_ref() {
        Secret::File(path) => {
            let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Wrong {
                elsewhere: true,
                ..Wrong::at(given, format!("the secret in {} cannot be read: {error}", path.display()))
            })?;
            let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
            (text, format!("the file {}", path.display()))
        }
        Secret::Env(name) => {
            let text = std::env::var(name).map(Zeroizing::new).map_err(|_| {
                Wrong::at(given, format!("the environment variable {name}, which holds a secret, is not set"))
            })?;
            (text, format!("the environment variable {name}"))
        }
    };
    if text.trim().is_empty() {
        return Err(Wrong::at(given, format!("{named} is empty, and should hold a secret")));
    }
    Ok(text)
}

fn texts(given: &BTreeMap<String, Spanned<Text>>) -> Result<Vec<(String, Zeroizing<String>)>, Wrong> {
    let text = |(name, text): (&String, &Spanned<Text>)| match text.get_ref() {
        Text::Plain(plain) => Ok((name.clone(), Zeroizing::new(plain.clone()))),
        Text::Secret(named) => {
            let named = match named {
                Secret::File(path) => Secret::File(path.clone()),
                Secret::Env(name) => Secret::Env(name.clone()),
            };
            Ok((name.clone(), secret(&Spanned::new(text.span(), named))?))
        }
    };
    given.iter().map(text).collect()
}

/// The connections of a file, and the clients whose tokens they use, under these names.
///
/// # Errors
/// [`IntegrationError::File`], [`IntegrationError::Unreadable`]
pub(super) fn read(path: &Path, name: NameClient<'_>) -> Result<Read, IntegrationError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("the connections (--connections) cannot be read: {error}");
        IntegrationError::Unreadable { path: path.to_owned(), message }
    })?;
    let wrong = |message: String| IntegrationError::File { path: path.to_owned(), message };
    let file: File = toml::from_str(&text).map_err(|error| {
        // Without the line itself, which may hold what should not be shown.
        let at = error.span().map_or(0, |span| span.start);
        wrong(format!("{}: {}", place(&text, at), without_values(error.message())))
    })?;
    let (mut connections, mut clients) = (Vec::new(), OAuthClients::new());
    let mut places = HashMap::new();
    for entry in &file.connection {
        let arn = entry.arn.get_ref();
        let first = places.insert(arn.clone(), entry.arn.span().start);
        let connection = match first {
            Some(first) => {
                let first = place(&text, first);
                Err(Wrong::at(&entry.arn, format!("it is given twice: it stands at {first} already")))
            }
            None => connection(entry, name, &mut clients),
        };
        connections.push((arn.clone(), connection.map_err(|wrong| wrong.error(path, &text, arn))?));
    }
    let connections = Connections::new(connections).map_err(|error| wrong(error.to_string()))?;
    Ok(Read { connections: Arc::new(connections), clients: Arc::new(clients) })
}

/// serde's words without the value that it found, which may be a secret that somebody wrote in the wrong place.
fn without_values(message: &str) -> String {
    let shown = match message.rsplit_once(", expected ") {
        // A field that nobody knows is a name.
        Some((found, expected)) if !message.starts_with("unknown field") => {
            let kind = found.split(['`', '"']).next().unwrap_or_default();
            format!("{}, expected {expected}", kind.trim_end())
        }
        _ => message.to_owned(),
    };
    shown.replace('\n', ", ")
}

fn is_connection(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let named = |rest: &str| rest.strip_prefix("connection/").is_some_and(|name| !name.is_empty());
    let known =
        matches!(parts[..], ["arn", partition, "events", _, _, rest] if !partition.is_empty() && named(rest));
    known && arn.bytes().all(|byte| byte.is_ascii_graphic())
}

fn token_url(given: &Spanned<String>) -> Result<(), Wrong> {
    let wrong = |why: &str| {
        // Without the URL, for somebody may have put a key into it.
        Err(Wrong::at(given, format!("`token-url` {why}: write https://HOST/PATH")))
    };
    match Url::parse(given.get_ref()) {
        Err(error) => wrong(&format!("is no URL ({error})")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => wrong("is neither https nor http"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("holds a user name or password, which `client-id` and `client-secret` are for")
        }
        Ok(url) if url.fragment().is_some() => wrong("has a part behind #, which no server sees"),
        Ok(_) => Ok(()),
    }
}

fn client(oauth: &OAuth) -> Result<OAuthClient, Wrong> {
    token_url(&oauth.token_url)?;
    if oauth.client_id.get_ref().trim().is_empty() {
        return Err(Wrong::at(
            &oauth.client_id,
            "`client-id` is empty: write what the server knows the client as",
        ));
    }
    Ok(OAuthClient {
        token_url: oauth.token_url.get_ref().clone(),
        client_id: oauth.client_id.get_ref().clone(),
        client_secret: secret(&oauth.client_secret)?,
        authentication: match oauth.authentication {
            Authentication::Basic => ClientAuthentication::Basic,
            Authentication::Body => ClientAuthentication::Body,
        },
        parameters: oauth.parameters.clone().into_iter().collect(),
    })
}

fn connection(entry: &Entry, name: NameClient<'_>, clients: &mut OAuthClients) -> Result<Connection, Wrong> {
    let arn = entry.arn.get_ref();
    if !is_connection(arn) {
        let what = "this is no ARN of a connection: write arn:aws:events:REGION:ACCOUNT:connection/NAME/ID, as \
                    states name it in ConnectionArn";
        return Err(Wrong::at(&entry.arn, what));
    }
    for role in &entry.roles {
        ids::check_role(role.get_ref()).map_err(|error| Wrong::at(role, format!("`roles`: {error}")))?;
    }
    let api_key = entry.api_key.as_ref().map(|key| {
        let ApiKey { header, value } = key.get_ref();
        Ok((header.clone(), secret(value)?))
    });
    let basic = entry.basic.as_ref().map(|basic| {
        let Basic { user, password } = basic.get_ref();
        Ok((user.clone(), secret(password)?))
    });
    let oauth = entry.oauth.as_ref().map(|oauth| {
        let client = client(oauth)?;
        let name = name(arn, &client);
        clients.insert(Arc::clone(&name), client);
        Ok(name)
    });
    let owned = |texts: &[Spanned<String>]| texts.iter().map(|text| text.get_ref().clone()).collect();
    let settings = ConnectionSettings {
        hosts: owned(entry.hosts.get_ref()),
        insecure: entry.insecure,
        roles: owned(&entry.roles),
        api_key: api_key.transpose()?,
        basic: basic.transpose()?,
        oauth: oauth.transpose()?,
        headers: texts(&entry.headers)?,
        query: texts(&entry.query)?,
        body: texts(&entry.body)?,
    };
    Connection::new(arn, settings).map_err(|error| unusable(entry, error))
}

/// With the place of what is wrong.
fn unusable(entry: &Entry, error: ConnectionError) -> Wrong {
    let ConnectionError::Unusable { problem, .. } = error else {
        return Wrong::at(&entry.arn, error.to_string());
    };
    let what = problem.to_string();
    let at = match &problem {
        ConnectionProblem::NoHost => Some(entry.hosts.span()),
        ConnectionProblem::Host(host) => {
            entry.hosts.get_ref().iter().find(|known| known.get_ref() == host).map(Spanned::span)
        }
        ConnectionProblem::Authorizations(_) => None,
        ConnectionProblem::ApiKey => entry.api_key.as_ref().map(Spanned::span),
        ConnectionProblem::Basic => entry.basic.as_ref().map(Spanned::span),
        ConnectionProblem::Header(name) => entry.headers.get(name).map(Spanned::span),
    };
    Wrong { at: at.unwrap_or_else(|| entry.arn.span()).start, what, elsewhere: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:events:r:1:connection/a";

    fn by_arn(arn: &str, _: &OAuthClient) -> Arc<str> {
        format!("oauth:{arn}").into()
    }

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    fn refused(text: &str) -> IntegrationError {
        let file = written(text);
        let error = read(file.path(), &by_arn).map(drop).expect_err(text);
        assert!(error.to_string().starts_with(&file.path().display().to_string()), "{error}");
        error
    }

    /// A connection with a key, and these lines: they begin at the third one.
    fn with(lines: &str) -> String {
        format!("[[connection]]\narn = '{ARN}'\n{lines}\n")
    }

    #[test]
    fn a_connection_has_its_secret_from_a_file_and_a_client_is_known_by_its_name() {
        let secret = written("s3cret\n");
        let secret = secret.path().display();
        let text = format!(
            "[[connection]]\narn = '{ARN}'\nhosts = ['a.example']\ninsecure = true\nroles = ['arn:aws:iam::1:role/r']\n\
             api-key = {{ header = 'x-api-key', value = {{ file = '{secret}' }} }}\n\
             headers = {{ x-tenant = 'acme', x-more = {{ file = '{secret}' }} }}\n\
             [[connection]]\narn = '{ARN}/b'\nhosts = ['*.b.example']\noauth = {{ token-url = 'https://h/token', client-id = 'c', \
             client-secret = {{ file = '{secret}' }}, authentication = 'body', parameters = {{ scope = 'pay' }} }}\n"
        );
        let read =
            read(written(&text).path(), &by_arn).map_err(|error| error.to_string()).expect("connections");
        let client = read.clients.get(format!("oauth:{ARN}/b").as_str()).expect("the client");
        assert_eq!((client.client_id.as_str(), client.client_secret.as_str()), ("c", "s3cret"));
        assert_eq!(client.parameters, [("scope".to_owned(), "pay".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_said_once_with_its_line_and_column_and_what_to_do() {
        let key = "api-key = { header = 'k', value = { env = 'PATH' } }";
        let oauth = |more: &str| {
            format!(
                "hosts = ['h']\noauth = {{ client-id = 'c', client-secret = {{ env = 'PATH' }}, {more} }}"
            )
        };
        let cases = [
            ("hosts = ['h']\napi-kye = 1".to_owned(), "line 4, column 1", "api-kye"),
            ("hosts = ['h']".to_owned(), "line 2, column 7", "exactly one"),
            (format!("hosts = []\n{key}"), "line 3, column 9", "`hosts` names none"),
            (format!("hosts = ['a.example', '*']\n{key}"), "line 3, column 23", "\"*\", which is no host"),
            (format!("hosts = ['h']\nroles = ['r']\n{key}"), "line 4, column 10", "ARN of a role"),
            (format!("hosts = ['h']\n{key}\nheaders = {{ x = 5 }}"), "line 5, column 17", "write a text"),
            (format!("hosts = ['h']\n{key}\nheaders = {{ 'x y' = 'z' }}"), "line 5, column 21", "makes none"),
            (
                "hosts = ['h']\nbasic = { user = 'a:b', password = { env = 'PATH' } }".to_owned(),
                "line 4, column 9",
                "colon",
            ),
            (oauth("token-url = 'ftp://h/t'"), "line 4, column 74", "neither https nor http"),
            (oauth("token-url = 'https://'"), "line 4, column 74", "is no URL"),
            (oauth("token-url = 'login.example'"), "line 4, column 74", "is no URL"),
            (oauth("token-url = 'https://u:p@h/t'"), "line 4, column 74", "client-secret"),
        ];
        for (lines, place, part) in cases {
            let told = refused(&with(&lines)).to_string();
            assert!(told.contains(place) && told.contains(part), "{lines}: {told}");
            assert!(told.matches("the connection").count() <= 1, "{told}");
        }
        let whole = with(&format!("hosts = ['h']\n{key}"));
        read(written(&whole).path(), &by_arn).map(drop).expect("it is the one line that was wrong");
        let twice = refused(&format!("{whole}{whole}")).to_string();
        assert!(twice.contains("line 6, column 7") && twice.contains("at line 2, column 7"), "{twice}");
        let text = whole.replace(ARN, "arn:aws:events:r:1:connections/a");
        let told = refused(&text).to_string();
        assert!(told.contains("line 2, column 7") && told.contains("no ARN of a connection"), "{told}");
    }

    #[test]
    fn a_secret_that_is_not_there_or_empty_is_named_by_its_place() {
        let of =
            |secret: &str| with(&format!("hosts = ['h']\nbasic = {{ user = 'u', password = {secret} }}"));
        let empty = written("\r\n");
        let told = refused(&of(&format!("{{ file = '{}' }}", empty.path().display())));
        assert!(
            matches!(told, IntegrationError::File { .. }) && told.to_string().contains("is empty"),
            "{told}"
        );
        let told = refused(&of("{ env = 'MYRIAD_NO_SUCH_VARIABLE' }"));
        assert!(
            matches!(told, IntegrationError::File { .. }) && told.to_string().contains("is not set"),
            "{told}"
        );
        let told = refused(&of("{ file = '/no/such' }"));
        let text = told.to_string();
        assert!(text.contains("line 4, column 34") && text.contains("/no/such"), "{text}");
        assert!(matches!(told, IntegrationError::Unreadable { .. }), "it may be there later");
    }

    #[test]
    fn a_secret_that_stands_in_the_file_is_not_shown() {
        for lines in [
            "hosts = ['h']\nbasic = { user = 'u', password = 'hunter2' }",
            "hosts = ['h']\nbasic = 'hunter2'",
            "hosts = ['h']\napi-key = 'hunter2'",
            "hosts = ['h']\napi-key = { header = 'x', value = { file = ['hunter2'] } }",
            "hosts = ['h']\noauth = { token-url = 'https://h', client-id = 'c', client-secret = { env = 'PATH' }, authentication = 'hunter2' }",
            "hosts = ['h']\noauth = 'hunter2'",
            "hosts = 'hunter2'",
            "hosts = ['h', 'https://u:hunter2@h']",
            "hosts = ['h']\nbasic = { user = 'u', password = { env = 'PATH' } }\nheaders = { x = ['hunter2'] }",
            "hosts = ['h']\noauth = { token-url = 'h?key=hunter2', client-id = 'c', client-secret = { env = 'PATH' } }",
        ] {
            let told = refused(&with(lines)).to_string();
            assert!(told.contains(": line ") && !told.contains("hunter2"), "{told}");
        }
    }
}
