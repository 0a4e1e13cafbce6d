//! The credentials file.
//!
//! Its form is told at [`crate::Desk`]. Invariants: a member that nobody knows is an error; no secret reaches a message. What may
//! fail: the file and what is wrong in it, with its line and column ([`Error::Credentials`]), a file that cannot be read
//! ([`Error::CredentialsUnreadable`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Spanned;
use toml::value::Datetime;
use zeroize::Zeroizing;

use super::rate::Rate;
use super::ring::{Grant, Key, Ring, TokenHash};
use crate::Error;
use crate::operations::{Api, Right};

/// A file, or one of a secret, is no longer than this.
const FILE_BYTES_MAX: u64 = 4 << 20;
const KEYS_MAX: usize = 10_000;
/// As long as Tencent's temporary ids may be.
const ID_BYTES_MAX: usize = 1_024;
/// A shorter secret can be guessed from a request that somebody has recorded.
const SECRET_BYTES_MIN: usize = 16;
/// As long as Tencent's temporary keys and tokens may be.
const SECRET_BYTES_MAX: usize = 4_096;
const ACCOUNT_DIGITS_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of a key: id, secret, account, and grants")]
struct Entry {
    id: Spanned<String>,
    secret: Spanned<Secret>,
    account: Spanned<String>,
    apis: Option<Spanned<Vec<Spanned<String>>>>,
    token: Option<Spanned<Secret>>,
    expires: Option<Spanned<Datetime>>,
    rate: Option<Spanned<i64>>,
    #[serde(default)]
    once: bool,
    #[serde(default)]
    ask: bool,
    #[serde(default)]
    grant: Vec<GrantEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table of a grant: rights and machines")]
struct GrantEntry {
    rights: Spanned<Vec<Spanned<String>>>,
    machines: Option<Spanned<Vec<Spanned<String>>>>,
}

/// A secret, or where it stands.
#[derive(Deserialize)]
#[serde(try_from = "toml::Value")]
enum Secret {
    Here(Zeroizing<String>),
    File(PathBuf),
    Env(String),
}

impl TryFrom<toml::Value> for Secret {
    type Error = &'static str;

    /// Not derived: serde's messages show what stands here instead, which may be the secret itself.
    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let value = match value {
            toml::Value::String(text) => return Ok(Self::Here(Zeroizing::new(text))),
            other => other,
        };
        let member = |name: &str| value.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        match (value.as_table().map_or(0, toml::Table::len), member("file"), member("env")) {
            (1, Some(file), None) => Ok(Self::File(file.into())),
            (1, None, Some(env)) => Ok(Self::Env(env)),
            _ => Err("a secret is a text, { file = \"PATH\" } or { env = \"VARIABLE\" }"),
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
}

/// The keys of a file.
///
/// # Errors
/// [`Error::Credentials`], [`Error::CredentialsUnreadable`].
pub(super) fn read(path: &Path) -> Result<Ring, Error> {
    let wrong = |message: String| Error::Credentials { path: path.to_owned(), message };
    let unreadable = |message: String| Error::CredentialsUnreadable { path: path.to_owned(), message };
    let text = bounded(path).map_err(|why| unreadable(format!("the credentials cannot be read: {why}")))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        // Without the line itself, which may hold what should not be shown.
        let at = error.span().map_or(0, |span| span.start);
        wrong(format!("{}: {}", place(&text, at), without_values(error.message())))
    })?;
    if file.key.is_empty() {
        return Err(wrong(
            "it has no key: write [[key]] with id, secret, account and a [[key.grant]]".to_owned(),
        ));
    }
    if file.key.len() > KEYS_MAX {
        return Err(wrong(format!("it has {} keys, at most {KEYS_MAX} are possible", file.key.len())));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut places = HashMap::new();
    let mut keys = Vec::with_capacity(file.key.len());
    for (number, entry) in file.key.iter().enumerate() {
        let first = places.insert(entry.id.get_ref().as_str(), entry.id.span().start);
        let key = match first {
            None => key(entry, folder),
            Some(first) => {
                Err(Wrong::at(&entry.id, format!("its id stands at {} already", place(&text, first))))
            }
        };
        keys.push(key.map_err(|Wrong { at, what, elsewhere }| {
            let message = format!("{}: key {}: {what}", place(&text, at), number + 1);
            if elsewhere { unreadable(message) } else { wrong(message) }
        })?);
    }
    Ok(Ring::of(keys))
}

/// A file's text, if it is not too long to be one.
fn bounded(path: &Path) -> Result<Zeroizing<String>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes, at most {FILE_BYTES_MAX} are possible"));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| error.to_string())
}

/// Line and column of a byte.
fn place(text: &str, at: usize) -> String {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
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

fn key(entry: &Entry, folder: &Path) -> Result<Key, Wrong> {
    let id = entry.id.get_ref().as_str();
    let of_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(of_id) {
        let what = "`id` is none: write letters, digits, `-`, `_` and `.`, as AccessKeyId and SecretId are";
        return Err(Wrong::at(&entry.id, what));
    }
    let account = entry.account.get_ref().as_str();
    if !(1..=ACCOUNT_DIGITS_MAX).contains(&account.len())
        || !account.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Wrong::at(&entry.account, "`account` is none: write digits, as \"123456789012\""));
    }
    let secret = secret(&entry.secret, folder)?;
    if secret.len() < SECRET_BYTES_MIN {
        let what =
            format!("the secret is too short: it needs {SECRET_BYTES_MIN} bytes, or it can be guessed");
        return Err(Wrong::at(&entry.secret, what));
    }
    let token = entry.token.as_ref().map(|token| self::secret(token, folder)).transpose()?;
    let grants = entry.grant.iter().map(grant).collect::<Result<Vec<_>, _>>()?;
    if grants.is_empty() && !entry.ask {
        let what = "it may nothing: give it a [[key.grant]], or `ask = true` for what the authorization service says";
        return Err(Wrong::at(&entry.id, what));
    }
    Ok(Key {
        id: id.into(),
        secret,
        account: account.into(),
        apis: apis(entry)?,
        token: token.map(|token| TokenHash::of(&token)),
        expires: entry.expires.as_ref().map(expires).transpose()?,
        once: entry.once,
        rate: entry.rate.as_ref().map(rate).transpose()?,
        grants,
        ask: entry.ask,
    })
}

/// A secret's text, from where it stands.
fn secret(given: &Spanned<Secret>, folder: &Path) -> Result<Zeroizing<String>, Wrong> {
    let (text, named) = match given.get_ref() {
        Secret::Here(text) => (text.clone(), "it".to_owned()),
        Secret::File(path) => {
            let path = folder.join(path);
            let text = bounded(&path).map_err(|why| Wrong {
                elsewhere: true,
                ..Wrong::at(given, format!("the secret in {} cannot be read: {why}", path.display()))
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
    if text.is_empty() || text.len() > SECRET_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what =
            format!("{named} holds no secret: up to {SECRET_BYTES_MAX} visible ASCII characters, no blanks");
        return Err(Wrong::at(given, what));
    }
    Ok(text)
}

fn apis(entry: &Entry) -> Result<Vec<Api>, Wrong> {
    const ALL: [Api; 2] = [Api::Sfn, Api::Asw];
    let Some(given) = &entry.apis else { return Ok(ALL.to_vec()) };
    if given.get_ref().is_empty() {
        return Err(Wrong::at(given, "`apis` names none: leave it out for both"));
    }
    let api = |name: &Spanned<String>| {
        let found = ALL.into_iter().find(|api| api.as_str() == name.get_ref());
        found.ok_or_else(|| Wrong::at(name, "`apis` are \"sfn\" (Step Functions) and \"asw\""))
    };
    given.get_ref().iter().map(api).collect()
}

fn expires(given: &Spanned<Datetime>) -> Result<u64, Wrong> {
    let time = OffsetDateTime::parse(&given.get_ref().to_string(), &Rfc3339).ok();
    let seconds = time.and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    seconds.ok_or_else(|| Wrong::at(given, "`expires` is no instant: write 2027-01-31T00:00:00Z"))
}

fn rate(given: &Spanned<i64>) -> Result<Arc<Rate>, Wrong> {
    let per_second = u32::try_from(*given.get_ref()).ok().filter(|rate| (1..=1_000_000).contains(rate));
    let per_second =
        per_second.ok_or_else(|| Wrong::at(given, "`rate` is calls a second, from 1 to 1000000"))?;
    Ok(Arc::new(Rate::new(per_second)))
}

fn grant(entry: &GrantEntry) -> Result<Grant, Wrong> {
    const ALL: [Right; 3] = [Right::Read, Right::Start, Right::Manage];
    let right = |name: &Spanned<String>| {
        let found = ALL.into_iter().find(|right| right.as_str() == name.get_ref());
        found.ok_or_else(|| Wrong::at(name, "`rights` are \"read\", \"start\" and \"manage\""))
    };
    let pattern = |pattern: &Spanned<String>| match pattern.get_ref().as_str() {
        "" => Err(Wrong::at(pattern, "a machine's name is not empty: \"*\" are all machines")),
        text if text.contains(':') => {
            Err(Wrong::at(pattern, "write a machine's own name, not its ARN or QRN; * is any text"))
        }
        text => Ok(text.to_owned()),
    };
    let rights = entry.rights.get_ref().iter().map(right).collect::<Result<Vec<_>, _>>()?;
    if rights.is_empty() {
        return Err(Wrong::at(&entry.rights, "`rights` names none"));
    }
    let machines = match &entry.machines {
        None => vec!["*".to_owned()],
        Some(given) if given.get_ref().is_empty() => {
            return Err(Wrong::at(given, "`machines` names none: leave it out for all"));
        }
        Some(given) => given.get_ref().iter().map(pattern).collect::<Result<_, _>>()?,
    };
    Ok(Grant { rights, machines })
}

#[cfg(test)]
mod tests;
