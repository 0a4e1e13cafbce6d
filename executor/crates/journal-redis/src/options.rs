//! Where Redis is and how to speak to it.
//!
//! Invariant: a password never reaches a message; errors name the part of the URL that is wrong.

use std::path::PathBuf;
use std::time::Duration;

use journal::StoreError;
use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

/// When Redis writes its log through to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before each reply: an acknowledged write survives.
    Always,
    /// Once a second.
    Everysec,
    /// When the operating system likes, or there is no log.
    No,
}

/// A Redis and how to speak to it.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, or `unix:///path/of/socket`. Whether it is
    /// a Redis Cluster is asked of the server; of a cluster several nodes may be named, `redis://host:port,host:port`:
    /// the first that answers tells the others.
    pub url: String,
    /// Begins every key, so that several installations can share a Redis. 1 to 64 characters of `a-z`, `A-Z`,
    /// `0-9`, `_`, `.`, `:` and `-`.
    pub prefix: String,
    /// How long to try to connect.
    pub connect_timeout: Duration,
    /// How long to wait for a reply; after that the outcome of a write is unknown.
    pub response_timeout: Duration,
    /// Where `CONFIG GET` is denied: what the operator says about `appendfsync`.
    pub declared_appendfsync: Option<AppendFsync>,
    /// Holds the password, in the place of one in the URL. Read anew at each connection, as all files here: what is
    /// rotated is taken up without a restart.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) of those who may vouch for a server, in the place of the system's; only with `rediss`.
    pub ca_file: Option<PathBuf>,
    /// Our certificate (PEM) where a server asks for one; only with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
}

impl RedisOptions {
    /// The prefix unless another one is chosen.
    pub const DEFAULT_PREFIX: &'static str = "myriad";

    /// The usual options for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: Self::DEFAULT_PREFIX.to_owned(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
            declared_appendfsync: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
        }
    }

    /// Checks the options and gives the servers to begin with; nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`], naming what is wrong.
    pub(crate) fn seeds(&self) -> Result<Vec<ConnectionInfo>, StoreError> {
        self.check_prefix()?;
        let refused = |message: &str| Err(StoreError::Refused(message.to_owned()));
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return Err(StoreError::Refused(format!("the Redis URL has no scheme: {FORM}")));
        };
        let tls_files = self.ca_file.is_some() || self.certificate_file.is_some() || self.key_file.is_some();
        match scheme {
            "rediss" => {}
            "redis" | "unix" | "redis+unix" if tls_files => {
                return refused("certificates are given and the Redis URL asks for no TLS: use rediss://");
            }
            "redis" => {}
            "unix" | "redis+unix" => return Ok(vec![connection_info(&self.url)?]),
            other => {
                let message = format!("the Redis URL has the unknown scheme {other:?}: {FORM}");
                return Err(StoreError::Refused(message));
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return refused(
                "a certificate towards Redis needs its key, and a key its certificate: give both",
            );
        }
        // Passwords may hold commas and slashes only in percent-encoding; users often forget the latter.
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let (hosts, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let at = if login.is_empty() { "" } else { "@" };
        let one = |host: &str| connection_info(&format!("{scheme}://{login}{at}{host}{path}"));
        hosts.split(',').map(one).collect()
    }

    fn check_prefix(&self) -> Result<(), StoreError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(good) {
            return Ok(());
        }
        let message = format!(
            "the Redis prefix {:?} is not allowed: use 1 to 64 of the characters a-z A-Z 0-9 _ . : -",
            self.prefix
        );
        Err(StoreError::Refused(message))
    }
}

const FORM: &str = "expected redis://[[user]:password@]host[:port][,host[:port]...][/database], rediss://... for TLS, or \
                    unix:///path/of/socket";

fn connection_info(url: &str) -> Result<ConnectionInfo, StoreError> {
    let info = url.into_connection_info().map_err(|error| {
        let why = error.detail().map_or_else(|| error.category().to_owned(), str::to_owned);
        StoreError::Refused(format!("the Redis URL cannot be read ({why}): {FORM}"))
    })?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        let message =
            "the Redis URL ends in #insecure, which would trust anybody: name the CA's file in its place";
        return Err(StoreError::Refused(message.to_owned()));
    }
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP2)
        .set_lib_name("myriad", env!("CARGO_PKG_VERSION"));
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// The address for messages: host and port, or the socket's path; never a password.
pub(crate) fn address(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Unix(path) => format!("unix:{}", path.display()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match RedisOptions::new(url).seeds() {
            Err(StoreError::Refused(why)) => why,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn addresses(seeds: &[ConnectionInfo]) -> Vec<String> {
        seeds.iter().map(address).collect()
    }

    #[test]
    fn a_url_gives_an_address_without_its_password() {
        let seeds = RedisOptions::new("redis://me:secret@example.test:7000/2").seeds().expect("good");
        assert_eq!(addresses(&seeds), ["example.test:7000"]);
        assert_eq!(seeds[0].redis_settings().db(), 2);
        for (url, address) in [
            ("redis://localhost", "localhost:6379"),
            ("rediss://localhost:7", "localhost:7"),
            ("redis://[::1]:7", "::1:7"),
            ("unix:///run/redis.sock", "unix:/run/redis.sock"),
        ] {
            let seeds = RedisOptions::new(url).seeds().expect("good");
            assert!(addresses(&seeds)[0].ends_with(address), "{:?}", addresses(&seeds));
        }
    }

    #[test]
    fn several_nodes_of_a_cluster_share_user_and_password() {
        let seeds = RedisOptions::new("rediss://me:p%2Cq@one:7000,two,three:7002").seeds().expect("good");
        assert_eq!(addresses(&seeds), ["one:7000", "two:6379", "three:7002"]);
        for seed in &seeds {
            let login = seed.redis_settings();
            assert_eq!((login.username(), login.password()), (Some("me"), Some("p,q")));
        }
    }

    #[test]
    fn certificates_need_tls_and_a_certificate_its_key() {
        let plain = RedisOptions { ca_file: Some("ca.pem".into()), ..RedisOptions::new("redis://h") };
        assert!(plain.seeds().expect_err("no TLS").to_string().contains("rediss://"));
        let half = RedisOptions { key_file: Some("key.pem".into()), ..RedisOptions::new("rediss://h") };
        assert!(half.seeds().expect_err("no certificate").to_string().contains("give both"));
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_form_that_is_expected_and_without_its_password() {
        assert!(refused("localhost:6379").contains("no scheme"), "{}", refused("localhost:6379"));
        assert!(refused("http://localhost").contains("\"http\""));
        assert!(refused("rediss://localhost#insecure").contains("CA"));
        for url in [
            "redis://me:secret@host:notaport",
            "redis://me:secret@a,host/notanumber",
            "redis://me:sec/ret@h:x",
        ] {
            let why = refused(url);
            assert!(why.contains("expected redis://") && !why.contains("sec"), "{why}");
        }
    }

    #[test]
    fn a_prefix_cannot_carry_braces_or_spaces() {
        for prefix in ["", "a b", "a{b}", &"x".repeat(65)] {
            let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::new("redis://h") };
            let why = options.seeds().expect_err("not allowed").to_string();
            assert!(why.contains("prefix"), "{why}");
        }
    }
}
