//! Where Redis is and how it is spoken to, as people give it: the same for a node, for a scheduler, and for whoever looks into
//! the store.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{DeclaredAppendFsync, RedisConfig, redact_url};

/// The settings of Redis.
// They are global, so that they may also stand behind the subcommands of `inspect`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Store")]
pub struct RedisFlags {
    /// Redis, for example redis://127.0.0.1:6379; rediss:// for TLS. Of a Redis Cluster one node is enough, and
    /// several are possible: redis://a:6379,b:6379
    #[arg(long, value_name = "URL", env = "MYRIAD_REDIS_URL", hide_env_values = true, global = true)]
    pub redis_url: Option<String>,
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
        let default = RedisConfig::from(self.redis_url.as_deref()?);
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
            redis_url: Some(redact_url(&config.url)),
            redis_prefix: Some(config.prefix.clone()),
            redis_declared_appendfsync: config.declared_appendfsync,
            redis_password_file: config.password_file.clone(),
            redis_ca: config.ca.clone(),
            redis_cert: config.cert.clone(),
            redis_key: config.key.clone(),
        }
    }
}
