//! The settings as people give them: every one optional, from a flag, else the environment, else a TOML file.
//!
//! One struct is the manual, the flags and the file's keys, so that the three cannot drift apart. clap puts
//! flags before the environment; [`Options::resolve`] puts the file behind both, and the defaults behind
//! that.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use trust::TlsSettings;

use super::bindings::binding;
use super::file;
use super::history::HistoryOptions;
use super::integrations::IntegrationOptions;
use super::push::PushOptions;
use super::redis::RedisFlags;
use super::traces::TracesOptions;
use super::units::{Bytes, Span};
use super::{ArchiveConfig, Config, ConfigError, StoreConfig};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In this process: nothing survives it. For trying out.
    Memory,
    /// In files on this machine, synced before each acknowledgement.
    File,
    /// In Redis; survives this machine.
    Redis,
}

/// What the operator says about Redis's `appendfsync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredAppendFsync {
    /// Before each reply.
    Always,
    /// Once a second.
    Everysec,
    /// When the operating system likes, or there is no append-only file.
    No,
}

impl From<DeclaredAppendFsync> for journal_redis::AppendFsync {
    fn from(declared: DeclaredAppendFsync) -> Self {
        match declared {
            DeclaredAppendFsync::Always => Self::Always,
            DeclaredAppendFsync::Everysec => Self::Everysec,
            DeclaredAppendFsync::No => Self::No,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for telemetry::logs::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Human => Self::Human,
            LogFormat::Json => Self::Json,
        }
    }
}

/// The settings of `executor serve`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
// Keys that nobody knows are refused where the file is read: serde cannot do it beside `flatten`.
#[serde(rename_all = "kebab-case", default)]
#[command(next_help_heading = "Network")]
pub struct Options {
    /// Public port: every call, forwarded to the shard that it concerns. Port 0 takes any free port
    /// [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS:PORT", env = "MYRIAD_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Shard i serves its batch streams on port PORT + i; 0 takes any free ports [default: 7410]
    #[arg(long, value_name = "PORT", env = "MYRIAD_DATA_PORT_BASE")]
    pub data_port_base: Option<u16>,
    /// Host name or address by which schedulers and workers reach this node [default: the address of
    /// --listen, or --node-id where that is 0.0.0.0 or ::]
    #[arg(long, value_name = "HOST", env = "MYRIAD_ADVERTISE")]
    pub advertise: Option<String>,
    /// Accept connections from other machines without TLS: only where the network itself is trusted
    #[arg(long, value_name = "BOOL", env = "MYRIAD_ALLOW_PLAINTEXT", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub allow_plaintext: Option<bool>,
    /// This node's certificate (PEM), and those between it and the authority; with it every port but that of
    /// --metrics speaks TLS, and asks for a certificate. Read again when the file changes
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_CERT", help_heading = "Trust")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_KEY", help_heading = "Trust")]
    pub tls_key: Option<PathBuf>,
    /// The authorities (PEM) that the certificates of others must lead to
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_CA", help_heading = "Trust")]
    pub tls_ca: Option<PathBuf>,
    /// What the holder of a name (DNS or URI subject alternative name; * is any text) is: node, scheduler,
    /// caller, operator, worker, or worker:POOL. Repeat, or separate by commas
    #[arg(
        long,
        value_name = "ROLE=NAME",
        env = "MYRIAD_TLS_ALLOW",
        value_delimiter = ',',
        help_heading = "Trust"
    )]
    pub tls_allow: Vec<String>,
    /// File with such entries, one a line, beside those of --tls-allow. Read again when it changes: connections of
    /// those whose roles it changes are ended
    #[arg(long, value_name = "FILE", env = "MYRIAD_TLS_ALLOW_FILE", help_heading = "Trust")]
    pub tls_allow_file: Option<PathBuf>,
    /// Keys that seal tokens, a line `ID KEY` each; the first seals, all open. The same on every node. Read
    /// again when the file changes [default: one key, kept in the store]
    #[arg(long, value_name = "FILE", env = "MYRIAD_CLUSTER_SECRET_FILE", help_heading = "Trust")]
    pub cluster_secret_file: Option<PathBuf>,
    /// Connections that each port accepts at once [default: 1024]
    #[arg(long, value_name = "N", env = "MYRIAD_CONNECTIONS_MAX")]
    pub connections_max: Option<usize>,
    /// Scheduler that says which partitions this node has, hears what it carries, and starts the executions that states
    /// start, for example http://127.0.0.1:7300 [default: none: the node has all partitions, and such states fail]
    #[arg(long, value_name = "URL", env = "MYRIAD_SCHEDULER")]
    pub scheduler: Option<String>,
    /// What this node calls itself; unique within the cluster [default: the machine's host name]
    #[arg(long, value_name = "NAME", env = "MYRIAD_NODE_ID")]
    pub node_id: Option<String>,

    /// Threads that run executions; each has its own port and store connection [default: the cores, 16 at
    /// most]
    #[arg(long, value_name = "N", env = "MYRIAD_SHARDS", help_heading = "Execution")]
    pub shards: Option<u32>,
    /// Partitions of the whole cluster, 1 to 1024; fixed once the store holds executions [default: 64]
    #[arg(long, value_name = "N", env = "MYRIAD_PARTITIONS", help_heading = "Execution")]
    pub partitions: Option<u16>,
    /// Executions open at once on this node; further starts are refused with a time to retry [default:
    /// 1000000]
    #[arg(long, value_name = "N", env = "MYRIAD_MAX_OPEN", help_heading = "Execution")]
    pub max_open: Option<u64>,
    /// Bytes of input that open executions may hold, for example 4GiB [default: 1GiB]
    #[arg(long, value_name = "SIZE", env = "MYRIAD_MAX_BYTES", help_heading = "Execution")]
    pub max_bytes: Option<Bytes>,
    /// Send the tasks of functions that match PATTERN (name, Lambda ARN, SCF QRN; * is any text) to the
    /// workers of POOL. Repeat, or separate by commas; the first match wins
    #[arg(
        long,
        value_name = "PATTERN=POOL",
        env = "MYRIAD_BIND",
        value_delimiter = ',',
        help_heading = "Execution"
    )]
    pub bind: Vec<String>,
    /// Folder whose files BUCKET/KEY are the objects that distributed Maps read and write, in the place of
    /// S3 [default: none, and such Maps fail]
    #[arg(long, value_name = "DIR", env = "MYRIAD_OBJECTS_DIR", help_heading = "Execution")]
    pub objects_dir: Option<PathBuf>,

    #[allow(missing_docs, reason = "a doc comment would be shown as the manual of the whole command")]
    #[command(flatten)]
    #[serde(flatten)]
    pub integrations: IntegrationOptions,

    #[allow(missing_docs, reason = "a doc comment would be shown as the manual of the whole command")]
    #[command(flatten)]
    #[serde(flatten)]
    pub history: HistoryOptions,

    #[allow(missing_docs, reason = "a doc comment would be shown as the manual of the whole command")]
    #[command(flatten)]
    #[serde(flatten)]
    pub push: PushOptions,

    #[allow(missing_docs, reason = "a doc comment would be shown as the manual of the whole command")]
    #[command(flatten)]
    #[serde(flatten)]
    pub traces: TracesOptions,

    /// Where executions are kept [default: memory]
    #[arg(long, value_name = "KIND", env = "MYRIAD_STORE", help_heading = "Store")]
    pub store: Option<StoreKind>,
    /// Directory of the file store; made if it is missing
    #[arg(long, value_name = "DIR", env = "MYRIAD_STORE_DIR", help_heading = "Store")]
    pub store_dir: Option<PathBuf>,
    #[allow(missing_docs, reason = "a doc comment would be shown as the manual of the whole command")]
    #[command(flatten)]
    #[serde(flatten)]
    pub redis: RedisFlags,
    /// Directory in which the node remembers over its restarts which cluster it is of and which executions it was
    /// stepping: with it, a node that finds an empty or another cluster's store refuses it, and an execution that has
    /// killed the node three times is closed. Under systemd give it %S/myriad [default: none]
    #[arg(long, value_name = "DIR", env = "MYRIAD_STATE_DIR", help_heading = "Store")]
    pub state_dir: Option<PathBuf>,
    /// Begin a new cluster if the store is empty, although the node remembers one; for one start
    #[arg(long, value_name = "BOOL", env = "MYRIAD_ACCEPT_EMPTY_STORE", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", help_heading = "Store")]
    pub accept_empty_store: Option<bool>,
    /// How long a closed execution is kept, counted from its close; open ones are always kept [default: 1h]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_RETENTION", help_heading = "Store")]
    pub retention: Option<Span>,
    /// Where closed executions go before the retention has passed, to be looked up beyond it: file:///DIRECTORY, or
    /// s3://BUCKET/PREFIX with credentials from AWS_ACCESS_KEY_ID and so on. While it cannot be written the store keeps
    /// them [default: none]
    #[arg(long, value_name = "URL", env = "MYRIAD_ARCHIVE", help_heading = "Archive")]
    pub archive: Option<String>,
    /// How long the archive keeps an execution, from its close, whose state machine does not say it; 0s: only those
    /// that do [default: 90d]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_ARCHIVE_RETENTION", help_heading = "Archive")]
    pub archive_retention: Option<Span>,
    /// S3-compatible store that is not Amazon's, for example https://minio:9000 [default: AWS_ENDPOINT_URL, else Amazon's]
    #[arg(long, value_name = "URL", env = "MYRIAD_ARCHIVE_ENDPOINT", help_heading = "Archive")]
    pub archive_endpoint: Option<String>,
    /// Region of the bucket [default: AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION", env = "MYRIAD_ARCHIVE_REGION", help_heading = "Archive")]
    pub archive_region: Option<String>,

    /// Port of /metrics (Prometheus), /healthz and /livez [default: 127.0.0.1:7490]
    #[arg(long, value_name = "ADDRESS:PORT", env = "MYRIAD_METRICS", help_heading = "Observation")]
    pub metrics: Option<SocketAddr>,
    /// Open no metrics port
    #[arg(long, value_name = "BOOL", env = "MYRIAD_NO_METRICS", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", help_heading = "Observation")]
    pub no_metrics: Option<bool>,
    /// How log lines on standard error look [default: human]
    #[arg(long, value_name = "FORMAT", env = "MYRIAD_LOG", help_heading = "Observation")]
    pub log: Option<LogFormat>,
    /// error, warn, info, debug, trace, or target=level, separated by commas [default: info]
    #[arg(long, value_name = "LEVEL", env = "MYRIAD_LOG_LEVEL", help_heading = "Observation")]
    pub log_level: Option<String>,
    /// Lines that one place in the program may log within 10 s, errors excepted; what is beyond is counted, and said in one
    /// line; 0: no limit [default: 10]
    #[arg(long, value_name = "LINES", env = "MYRIAD_LOG_LIMIT", help_heading = "Observation")]
    pub log_limit: Option<u32>,

    /// How long health says NOT_SERVING before a drain refuses starts: one period of whatever probes it
    /// [default: 0s]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_DRAIN_NOTICE", help_heading = "Drain")]
    pub drain_notice: Option<Span>,
    /// How long a drain may take in all; keep it below terminationGracePeriodSeconds [default: 25s]
    #[arg(long, value_name = "DURATION", env = "MYRIAD_DRAIN_DEADLINE", help_heading = "Drain")]
    pub drain_deadline: Option<Span>,
}

/// Variables that begin like ours and are others' to set: Kubernetes makes `MYRIAD_SERVICE_HOST` and
/// `MYRIAD_PORT…` for a service that is called `myriad`; the other programs of this workspace have their own.
const FOREIGN: [&str; 5] =
    ["MYRIAD_SERVICE_", "MYRIAD_PORT", "MYRIAD_SCHEDULER_", "MYRIAD_BENCH_", "MYRIAD_TEST_"];

impl Options {
    /// Flags and environment (already in `self`), then the file, then the defaults; checked.
    ///
    /// # Errors
    /// The file cannot be read or holds a key or a value that is wrong; values that cannot work together.
    pub fn resolve(self, path: Option<&std::path::Path>) -> Result<(Config, Options), ConfigError> {
        let merged = match path {
            Some(path) => self.or(file::read(path)?),
            None => self,
        };
        let config = merged.build()?;
        config.check()?;
        Ok((config, merged))
    }

    /// Each value from `self`, else from `other`.
    fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            data_port_base: self.data_port_base.or(other.data_port_base),
            advertise: self.advertise.or(other.advertise),
            allow_plaintext: self.allow_plaintext.or(other.allow_plaintext),
            connections_max: self.connections_max.or(other.connections_max),
            cluster_secret_file: self.cluster_secret_file.or(other.cluster_secret_file),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_allow: if self.tls_allow.is_empty() { other.tls_allow } else { self.tls_allow },
            tls_allow_file: self.tls_allow_file.or(other.tls_allow_file),
            scheduler: self.scheduler.or(other.scheduler),
            node_id: self.node_id.or(other.node_id),
            shards: self.shards.or(other.shards),
            partitions: self.partitions.or(other.partitions),
            max_open: self.max_open.or(other.max_open),
            max_bytes: self.max_bytes.or(other.max_bytes),
            bind: if self.bind.is_empty() { other.bind } else { self.bind },
            objects_dir: self.objects_dir.or(other.objects_dir),
            integrations: self.integrations.or(other.integrations),
            history: self.history.or(other.history),
            push: self.push.or(other.push),
            traces: self.traces.or(other.traces),
            store: self.store.or(other.store),
            store_dir: self.store_dir.or(other.store_dir),
            redis: self.redis.or(other.redis),
            state_dir: self.state_dir.or(other.state_dir),
            accept_empty_store: self.accept_empty_store.or(other.accept_empty_store),
            retention: self.retention.or(other.retention),
            archive: self.archive.or(other.archive),
            archive_retention: self.archive_retention.or(other.archive_retention),
            archive_endpoint: self.archive_endpoint.or(other.archive_endpoint),
            archive_region: self.archive_region.or(other.archive_region),
            metrics: self.metrics.or(other.metrics),
            no_metrics: self.no_metrics.or(other.no_metrics.filter(|_| self.metrics.is_none())),
            log: self.log.or(other.log),
            log_level: self.log_level.or(other.log_level),
            log_limit: self.log_limit.or(other.log_limit),
            drain_notice: self.drain_notice.or(other.drain_notice),
            drain_deadline: self.drain_deadline.or(other.drain_deadline),
        }
    }

    /// The defaults applied.
    fn build(&self) -> Result<Config, ConfigError> {
        let default = Config::default();
        let metrics = self.metrics.or(default.metrics);
        Ok(Config {
            listen: self.listen.unwrap_or(default.listen),
            data_port_base: self.data_port_base.unwrap_or(default.data_port_base),
            advertise: self.advertise.clone(),
            node_id: self.node_id.clone().unwrap_or(default.node_id),
            shards: self.shards.unwrap_or(default.shards),
            partitions: self.partitions.unwrap_or(default.partitions),
            store: self.store()?,
            state_dir: self.state_dir.clone(),
            accept_empty_store: self.accept_empty_store.unwrap_or(default.accept_empty_store),
            retention: self.retention.map_or(default.retention, |span| span.0),
            archive: ArchiveConfig::of(self)?,
            max_open: self.max_open.unwrap_or(default.max_open),
            max_bytes: self.max_bytes.map_or(default.max_bytes, |bytes| bytes.0),
            bindings: self.bind.iter().map(|text| binding(text)).collect::<Result<_, _>>()?,
            objects_dir: self.objects_dir.clone(),
            integrations: self.integrations.clone(),
            history: self.history.clone(),
            push: self.push.clone(),
            traces: self.traces.clone(),
            metrics: metrics.filter(|_| !self.no_metrics.unwrap_or(false)),
            allow_plaintext: self.allow_plaintext.unwrap_or(default.allow_plaintext),
            cluster_secret_file: self.cluster_secret_file.clone(),
            tls: TlsSettings {
                cert: self.tls_cert.clone(),
                key: self.tls_key.clone(),
                ca: self.tls_ca.clone(),
                allow: self.tls_allow.clone(),
                allow_file: self.tls_allow_file.clone(),
            },
            scheduler: self.scheduler.clone(),
            connections_max: self.connections_max.unwrap_or(default.connections_max),
            drain_notice: self.drain_notice.map_or(default.drain_notice, |span| span.0),
            drain_deadline: self.drain_deadline.map_or(default.drain_deadline, |span| span.0),
            poll_wait: default.poll_wait,
        })
    }

    /// The store, with what it needs. A place without a kind says the kind.
    fn store(&self) -> Result<StoreConfig, ConfigError> {
        let kind = match (self.store, &self.store_dir, &self.redis.redis_url) {
            (Some(kind), ..) => kind,
            (None, Some(_), None) => StoreKind::File,
            (None, None, Some(_)) => StoreKind::Redis,
            (None, None, None) => StoreKind::Memory,
            (None, Some(_), Some(_)) => {
                let message = "both --store-dir and --redis-url are given: say --store file or --store redis";
                return Err(ConfigError::Value { setting: "--store", message: message.to_owned() });
            }
        };
        let missing = |setting, example| ConfigError::Value {
            setting,
            message: format!("the store needs it; for example {setting} {example}"),
        };
        Ok(match kind {
            StoreKind::Memory => StoreConfig::Memory,
            StoreKind::File => {
                let dir = self.store_dir.clone();
                StoreConfig::File(dir.ok_or_else(|| missing("--store-dir", "/var/lib/myriad"))?)
            }
            StoreKind::Redis => {
                let redis = self.redis.config();
                StoreConfig::Redis(redis.ok_or_else(|| missing("--redis-url", "redis://127.0.0.1:6379"))?)
            }
        })
    }

    /// What `--print-config` prints: a file that gives this very configuration, without a password.
    ///
    /// # Errors
    /// Never, as long as every setting can be written as TOML.
    pub fn print(&self, config: &Config) -> Result<String, toml::ser::Error> {
        let (store, store_dir, redis) = match &config.store {
            StoreConfig::Memory => (StoreKind::Memory, None, None),
            StoreConfig::File(dir) => (StoreKind::File, Some(dir.clone()), None),
            StoreConfig::Redis(redis) => (StoreKind::Redis, None, Some(redis)),
        };
        let bind = config.bindings.iter().map(|binding| format!("{}={}", binding.pattern, binding.pool));
        toml::to_string(&Self {
            listen: Some(config.listen),
            data_port_base: Some(config.data_port_base),
            advertise: config.advertise.clone(),
            allow_plaintext: Some(config.allow_plaintext),
            connections_max: Some(config.connections_max),
            cluster_secret_file: config.cluster_secret_file.clone(),
            tls_cert: config.tls.cert.clone(),
            tls_key: config.tls.key.clone(),
            tls_ca: config.tls.ca.clone(),
            tls_allow: config.tls.allow.clone(),
            tls_allow_file: config.tls.allow_file.clone(),
            scheduler: config.scheduler.clone(),
            node_id: Some(config.node_id.clone()),
            shards: Some(config.shards),
            partitions: Some(config.partitions),
            max_open: Some(config.max_open),
            max_bytes: Some(Bytes(config.max_bytes)),
            bind: bind.collect(),
            objects_dir: config.objects_dir.clone(),
            integrations: config.integrations.clone(),
            history: config.history.clone(),
            push: config.push.clone(),
            traces: config.traces.clone(),
            store: Some(store),
            store_dir,
            redis: redis.map(RedisFlags::of).unwrap_or_default(),
            state_dir: config.state_dir.clone(),
            accept_empty_store: Some(config.accept_empty_store),
            retention: Some(Span(config.retention)),
            archive: self.archive.clone(),
            archive_retention: config.archive.as_ref().map(|archive| Span(archive.retention)),
            archive_endpoint: self.archive_endpoint.clone(),
            archive_region: self.archive_region.clone(),
            metrics: config.metrics,
            no_metrics: Some(config.metrics.is_none()),
            log: Some(self.log()),
            log_level: Some(self.log_level().to_owned()),
            log_limit: Some(self.log_limit()),
            drain_notice: Some(Span(config.drain_notice)),
            drain_deadline: Some(Span(config.drain_deadline)),
        })
    }

    /// How log lines look.
    #[must_use]
    pub fn log(&self) -> LogFormat {
        self.log.unwrap_or(LogFormat::Human)
    }

    /// Which lines are logged.
    #[must_use]
    pub fn log_level(&self) -> &str {
        self.log_level.as_deref().unwrap_or("info")
    }

    /// How many lines one place in the program may log within [`telemetry::logs::EVERY`]; 0 is no limit.
    #[must_use]
    pub fn log_limit(&self) -> u32 {
        self.log_limit.unwrap_or(telemetry::logs::LINES)
    }

    /// A variable that looks like a setting and is none would silently not apply: it is an error.
    ///
    /// # Errors
    /// [`ConfigError::Environment`] for the first such variable.
    pub fn check_environment(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
        let known: Vec<String> = file::KEYS.iter().map(|key| variable(key)).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).chain(["MYRIAD_CONFIG"]).collect();
        for name in names {
            let ours = name.starts_with("MYRIAD_") && !FOREIGN.iter().any(|prefix| name.starts_with(prefix));
            if ours && !known.contains(&name.as_str()) {
                let suggestion = file::suggest(&name, &known)
                    .map_or_else(String::new, |known| format!("; did you mean {known}?"));
                return Err(ConfigError::Environment { name, suggestion });
            }
        }
        Ok(())
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("MYRIAD_{}", key.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
