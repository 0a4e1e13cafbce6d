//! Histories to a Redis stream: one entry for each event.
//!
//! `XADD key MAXLEN ~ n * execution … id … type … event …`, a batch as one pipeline. Invariants: the stream is about as long
//! as it may be, whatever comes; entries of a batch stand in its order; a password is read from its file at each connection
//! and reaches no message. What may fail: Redis; then the batch comes again from the pipeline that failed, and what was written of
//! that one before stands twice. One
//! server: of a cluster, the one that has the stream's key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion};

use crate::{Batch, Line, Sent, Sink, SinkError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What waits for an answer at once.
const PIPELINE_ENTRIES_MAX: usize = 1_000;

/// Where, and how much.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// `redis://host:port/database`, or `rediss://` for TLS with the system's authorities.
    pub url: String,
    /// The stream.
    pub stream: String,
    /// Entries, about: Redis trims whole nodes of the stream.
    pub entries_max: u64,
    /// Holds the password.
    pub password_file: Option<PathBuf>,
    /// How long to wait for an answer.
    pub response_timeout: Duration,
}

impl std::fmt::Debug for RedisOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// The stream `myriad:history` with about a million entries.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            stream: "myriad:history".to_owned(),
            entries_max: 1_000_000,
            password_file: None,
            response_timeout: Duration::from_secs(5),
        }
    }
}

/// The URL cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the URL of the Redis for histories cannot be used ({0}): expected redis://host:port/database or rediss://"
)]
pub struct RedisUrlError(String);

/// See the module.
pub struct Redis {
    options: RedisOptions,
    info: ConnectionInfo,
    connection: Option<MultiplexedConnection>,
    /// The batch that was sent last, and how many of its lines Redis has taken.
    taken: (u64, usize),
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Redis {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`RedisUrlError`]
    pub fn new(options: RedisOptions) -> Result<Self, RedisUrlError> {
        // Which cryptography is meant must be said once in a process; whoever said it before, said enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let info = options.url.as_str().into_connection_info().map_err(|error| {
            // Not the error's own text, which may hold the URL.
            RedisUrlError(error.detail().unwrap_or(error.category()).to_owned())
        })?;
        if matches!(info.addr(), redis::ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(RedisUrlError("it ends in #insecure, which would trust anybody".to_owned()));
        }
        Ok(Self { options, info, connection: None, taken: (0, 0) })
    }

    /// Whether the URL holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.info.redis_settings().password().is_some()
    }

    async fn connect(&self) -> Result<MultiplexedConnection, SinkError> {
        let mut settings = self.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        if let Some(path) = &self.options.password_file {
            let password = tokio::fs::read_to_string(path).await.map_err(|error| {
                SinkError::unavailable(format!("the password of Redis: {}: {error}", path.display()))
            })?;
            settings = settings.set_password(password.trim_end_matches(['\r', '\n']));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.options.response_timeout));
        let client = Client::open(self.info.clone().set_redis_settings(settings));
        let client = client.map_err(|error| self.unavailable(&error))?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &redis::RedisError) -> SinkError {
        let tls = matches!(self.info.addr(), redis::ConnectionAddr::TcpTls { .. });
        let hint =
            if tls && error.is_timeout() { " (does it speak TLS? if not, write redis://)" } else { "" };
        SinkError::unavailable(format!("Redis at {} for histories: {error}{hint}", self.info.addr()))
    }

    fn pipeline(&self, lines: &[Arc<Line>]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(lines.len());
        for line in lines {
            pipeline
                .cmd("XADD")
                .arg(&self.options.stream)
                .arg("MAXLEN")
                .arg("~")
                .arg(self.options.entries_max)
                .arg("*")
                .arg("execution")
                .arg(line.execution.as_ref())
                .arg("id")
                .arg(line.id)
                .arg("type")
                .arg(line.kind)
                .arg("event")
                .arg(&line.text)
                .ignore();
        }
        pipeline
    }
}

impl Sink<Arc<Line>> for Redis {
    async fn send(&mut self, batch: &Batch<Arc<Line>>) -> Result<Sent, SinkError> {
        // Taken out: a connection whose answers nobody has waited for is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if self.taken.0 != batch.number {
            self.taken = (batch.number, 0);
        }
        let mut sent = 0_u64;
        while let Some(lines) = batch.items.get(self.taken.1..).filter(|lines| !lines.is_empty()) {
            let lines = lines.get(..PIPELINE_ENTRIES_MAX).unwrap_or(lines);
            let pipeline = self.pipeline(lines);
            sent += pipeline.get_packed_pipeline().len() as u64;
            pipeline.exec_async(&mut connection).await.map_err(|error| self.unavailable(&error))?;
            self.taken.1 += lines.len();
        }
        self.taken.1 = 0;
        self.connection = Some(connection);
        Ok(sent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for url in ["no url", "http://h", "redis://me:secret@host:notaport", "rediss://me:secret@h#insecure"]
        {
            let error = Redis::new(RedisOptions::new(url)).expect_err(url).to_string();
            assert!(error.contains("redis://host") && !error.contains("secret"), "{error}");
        }
        let shown = format!("{:?}", Redis::new(RedisOptions::new("redis://me:secret@h")).expect("good"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
