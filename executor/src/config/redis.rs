//! Where Redis is and how it is spoken to, as people give it: the same for a node, for a scheduler, and for whoever looks into
//! the store.
//!
//! Invariant: what may be a password reaches no log, no message and no printed configuration; [`RedisUrl`] sees to it. Nothing
//! here fails: whether a URL is one is said where it is used.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize, Serializer};

use super::DeclaredAppendFsync;

/// Which Redis, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// See [`journal_redis::RedisOptions::url`].
    pub url: RedisUrl,
    /// See [`journal_redis::RedisOptions::prefix`].
    pub prefix: String,
    /// What the operator says where Redis does not tell its settings.
    pub declared_appendfsync: Option<DeclaredAppendFsync>,
    /// See [`journal_redis::RedisOptions::password_file`].
    pub password_file: Option<PathBuf>,
    /// See [`journal_redis::RedisOptions::ca_file`].
    pub ca: Option<PathBuf>,
    /// See [`journal_redis::RedisOptions::certificate_file`].
    pub cert: Option<PathBuf>,
    /// See [`journal_redis::RedisOptions::key_file`].
    pub key: Option<PathBuf>,
}

impl From<&str> for RedisConfig {
    fn from(url: &str) -> Self {
        let prefix = journal_redis::RedisOptions::DEFAULT_PREFIX.to_owned();
        Self {
            url: RedisUrl::from(url.to_owned()),
            prefix,
            declared_appendfsync: None,
            password_file: None,
            ca: None,
            cert: None,
            key: None,
        }
    }
}

/// The settings of Redis.
// They are global, so that they may also stand behind the subcommands of `inspect`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Store")]
pub struct RedisFlags {
    /// Redis, for example redis://127.0.0.1:6379; rediss:// for TLS. Of a Redis Cluster one node is enough, and
    /// several are possible: redis://a:6379,b:6379
    #[arg(long, value_name = "URL", env = "MYRIAD_REDIS_URL", hide_env_values = true, global = true)]
    pub redis_url: Option<RedisUrl>,
    /// Begins every key in Redis, so that installations can share one; nodes of one installation agree on it
    /// [default: myriad]
    #[arg(long, value_name = "PREFIX", env = "MYRIAD_REDIS_PREFIX", global = true)]
    pub redis_prefix: Option<String>,
    /// What Redis's appendfsync is, where CONFIG GET is denied: without it the node promises nothing there
    #[arg(long, value_name = "WHEN", env = "MYRIAD_REDIS_DECLARED_APPENDFSYNC", global = true)]
    pub redis_declared_appendfsync: Option<DeclaredAppendFsync>,
    /// File with Redis's password, in the place of one in the URL; read anew at each connection, so that it can
    /// be rotated
    #[arg(long, value_name = "FILE", env = "MYRIAD_REDIS_PASSWORD_FILE", global = true)]
    pub redis_password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that Redis's is checked against [default: the system's]
    #[arg(long, value_name = "FILE", env = "MYRIAD_REDIS_CA", global = true)]
    pub redis_ca: Option<PathBuf>,
    /// Certificate (PEM) that is shown to Redis; needs --redis-key
    #[arg(long, value_name = "FILE", env = "MYRIAD_REDIS_CERT", global = true)]
    pub redis_cert: Option<PathBuf>,
    /// Key (PEM) of --redis-cert
    #[arg(long, value_name = "FILE", env = "MYRIAD_REDIS_KEY", global = true)]
    pub redis_key: Option<PathBuf>,
}

impl RedisFlags {
    /// Each value from `self`, else from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            redis_url: self.redis_url.or(other.redis_url),
            redis_prefix: self.redis_prefix.or(other.redis_prefix),
            redis_declared_appendfsync: self.redis_declared_appendfsync.or(other.redis_declared_appendfsync),
            redis_password_file: self.redis_password_file.or(other.redis_password_file),
            redis_ca: self.redis_ca.or(other.redis_ca),
            redis_cert: self.redis_cert.or(other.redis_cert),
            redis_key: self.redis_key.or(other.redis_key),
        }
    }

    /// With the defaults applied; nothing where no URL is given.
    #[must_use]
    pub fn config(&self) -> Option<RedisConfig> {
        let default = RedisConfig::from(self.redis_url.as_ref()?.expose());
        Some(RedisConfig {
            prefix: self.redis_prefix.clone().unwrap_or(default.prefix),
            declared_appendfsync: self.redis_declared_appendfsync,
            password_file: self.redis_password_file.clone(),
            ca: self.redis_ca.clone(),
            cert: self.redis_cert.clone(),
            key: self.redis_key.clone(),
            ..default
        })
    }

    /// What gives this very configuration, without a password.
    pub(super) fn of(config: &RedisConfig) -> Self {
        Self {
            redis_url: Some(config.url.clone()),
            redis_prefix: Some(config.prefix.clone()),
            redis_declared_appendfsync: config.declared_appendfsync,
            redis_password_file: config.password_file.clone(),
            redis_ca: config.ca.clone(),
            redis_cert: config.cert.clone(),
            redis_key: config.key.clone(),
        }
    }
}

/// Where Redis is, with what is said to it first. Shown, printed and serialised without anything that may be secret: a scheme,
/// hosts, a socket's path and a database's number show where each is what it should be, all else does not.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct RedisUrl(String);

/// What stands in the place of a secret, or of what may be one.
const HIDDEN: &str = "***";

impl RedisUrl {
    /// The whole URL, for whoever connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn shown(&self) -> String {
        match self.0.split_once("://") {
            Some((scheme @ ("unix" | "redis+unix"), rest)) => format!("{scheme}://{}", socket(rest)),
            Some((scheme @ ("redis" | "rediss"), rest)) => format!("{scheme}://{}", servers(rest)),
            _ => HIDDEN.to_owned(),
        }
    }
}

/// What may be shown of `/path?user=me&pass=secret`.
fn socket(rest: &str) -> String {
    let (path, more) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    match path {
        path if !path.starts_with('/') || path.contains('@') => HIDDEN.to_owned(),
        path if more.is_empty() => path.to_owned(),
        path => format!("{path}?{HIDDEN}"),
    }
}

/// What may be shown of `me:secret@host:6379,host/0?more`.
fn servers(rest: &str) -> String {
    let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
    let (hosts, more) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (database, more) = more.split_at(more.find(['?', '#']).unwrap_or(more.len()));
    let all = |text: &str, others: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    let login = match login.map(|login| login.split_once(':').unwrap_or((HIDDEN, login))) {
        None => String::new(),
        // What looks like a host's end may be the password's midst.
        Some((_, password)) if password.contains(['/', '?', '#']) => return HIDDEN.to_owned(),
        Some((user, _)) if all(user, b"._-") => format!("{user}:{HIDDEN}@"),
        Some(_) => format!("{HIDDEN}@"),
    };
    let hosts = if all(hosts, b".-_:,[]%") { hosts } else { HIDDEN };
    let number = database.strip_prefix('/').unwrap_or(database);
    let database = if number.bytes().all(|byte| byte.is_ascii_digit()) { database } else { "/***" };
    let more = if more.is_empty() { String::new() } else { format!("?{HIDDEN}") };
    format!("{login}{hosts}{database}{more}")
}

impl From<String> for RedisUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn shown(url: &str) -> String {
        RedisUrl::from(url.to_owned()).to_string()
    }

    #[test]
    fn an_address_shows_as_it_was_given() {
        for url in [
            "redis://h",
            "redis://127.0.0.1:6379/0",
            "rediss://a.example:7000,b-2:7001/3",
            "redis://[::1]:7",
            "unix:///run/redis.sock",
        ] {
            assert_eq!(shown(url), url);
        }
    }

    #[test]
    fn whatever_may_be_a_password_never_shows() {
        for (url, wanted) in [
            ("redis://me:secret@h:6379/0", "redis://me:***@h:6379/0"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://secret@h", "redis://***@h"),
            ("redis://me:a@secret@h", "redis://me:***@h"),
            ("redis://secret!:x@h", "redis://***@h"),
            ("redis://me:se/cret@h", "redis://***"),
            ("redis://h?pass=a@secret", "redis://***"),
            ("redis://h:1?pass=secret", "redis://h:1?***"),
            ("redis://h/secret", "redis://h/***"),
            ("redis://h#secret", "redis://h?***"),
            ("redis://secret!", "redis://***"),
            ("unix:///sock?user=me&pass=secret", "unix:///sock?***"),
            ("unix:///sock?pass=a@secret", "unix:///sock?***"),
            ("unix://me:secret@/sock", "unix://***"),
            ("me:secret@h:6379", "***"),
            ("secret", "***"),
            ("https://me:secret@h", "***"),
        ] {
            assert_eq!(shown(url), wanted);
        }
    }

    #[test]
    fn no_form_of_the_settings_shows_a_password() {
        for url in ["unix:///sock?user=me&pass=hunter2", "me:hunter2@h:6379", "redis://me:hunter2@h"] {
            let flags = RedisFlags { redis_url: Some(url.to_owned().into()), ..RedisFlags::default() };
            let config = flags.config().expect("a URL");
            assert_eq!(config.url.expose(), url, "whoever connects needs all of it");
            let options = Options { redis: flags.clone(), ..Options::default() };
            let (resolved, used) = options.clone().resolve(None).expect("good");
            let printed = used.print(&resolved).expect("it prints");
            let described = resolved.store.describe();
            let debug = format!("{flags:?} {config:?} {options:?} {resolved:?} {used:?}");
            for text in [printed, described, debug] {
                assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
            }
        }
    }
}
