//! Where Redis is and how to speak to it.
//!
//! Invariant: a password never reaches a message; errors name the part of the URL that is wrong.

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
    /// `redis://[[user]:password@]host[:port][/database]` or `unix:///path/of/socket`.
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
        }
    }

    /// Checks the options; nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`], naming what is wrong.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, StoreError> {
        self.check_prefix()?;
        let form = "expected redis://[[user]:password@]host[:port][/database] or unix:///path/of/socket";
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            Some("redis" | "unix" | "redis+unix") => {}
            Some("rediss") => {
                let message = "the Redis URL asks for TLS (rediss), which this build does not speak: use \
                               redis:// on a private network, or a TLS tunnel beside the node";
                return Err(StoreError::Refused(message.to_owned()));
            }
            Some(other) => {
                return Err(StoreError::Refused(format!(
                    "the Redis URL has the unknown scheme {other:?}: {form}"
                )));
            }
            None => return Err(StoreError::Refused(format!("the Redis URL has no scheme: {form}"))),
        }
        let info = self.url.as_str().into_connection_info().map_err(|error| {
            let why = error.detail().map_or_else(|| error.category().to_owned(), str::to_owned);
            StoreError::Refused(format!("the Redis URL cannot be read ({why}): {form}"))
        })?;
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2)
            .set_lib_name("myriad", env!("CARGO_PKG_VERSION"));
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
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
        match RedisOptions::new(url).connection_info() {
            Err(StoreError::Refused(why)) => why,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn a_url_gives_an_address_without_its_password() {
        let info =
            RedisOptions::new("redis://me:secret@example.test:7000/2").connection_info().expect("good");
        assert_eq!(address(&info), "example.test:7000");
        assert_eq!(info.redis_settings().db(), 2);
        let info = RedisOptions::new("redis://localhost").connection_info().expect("good");
        assert_eq!(address(&info), "localhost:6379");
        let info = RedisOptions::new("unix:///run/redis.sock").connection_info().expect("good");
        assert_eq!(address(&info), "unix:/run/redis.sock");
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_form_that_is_expected_and_without_its_password() {
        assert!(refused("localhost:6379").contains("no scheme"), "{}", refused("localhost:6379"));
        assert!(refused("http://localhost").contains("\"http\""));
        assert!(refused("rediss://localhost").contains("TLS"));
        for url in ["redis://me:secret@host:notaport", "redis://me:secret@host/notanumber"] {
            let why = refused(url);
            assert!(why.contains("expected redis://") && !why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn a_prefix_cannot_carry_braces_or_spaces() {
        for prefix in ["", "a b", "a{b}", &"x".repeat(65)] {
            let options = RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::new("redis://h") };
            let why = options.connection_info().expect_err("not allowed").to_string();
            assert!(why.contains("prefix"), "{why}");
        }
    }
}
