//! What a node is configured with.
//!
//! [`Config`] is complete and checked: every value is present, every default is applied. It is made from
//! [`Options`] — flags first, then `MYRIAD_…` environment variables, then a TOML file — or by a program that
//! runs a node inside itself. What may fail: [`ConfigError`], which names the setting and says what would be
//! right.

mod archive;
mod bindings;
pub(crate) mod file;
mod history;
mod integrations;
mod options;
mod otlp;
mod push;
mod redis;
mod secrets;
mod traces;
pub mod units;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use archive::ArchiveConfig;
pub use history::{Compression, HistoryOptions};
pub use integrations::{CredentialKind, IntegrationOptions};
pub use options::{DeclaredAppendFsync, LogFormat, Options, StoreKind};
pub use push::PushOptions;
pub use redis::{RedisConfig, RedisFlags, RedisUrl};
pub use traces::TracesOptions;

use trust::TlsSettings;

use crate::limits;
use crate::shard::Binding;

/// Shards that a node may have at most; beyond this many threads one machine gains nothing.
pub const SHARDS_MAX: u32 = 64;

/// Everything that a node needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The public port: accepts every call and forwards it. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Shard `i` serves its batch streams on this port + i, on the public port's address. 0: any free ports.
    pub data_port_base: u16,
    /// The host that others reach this node by; the public port's address where absent.
    pub advertise: Option<String>,
    /// What the node calls itself towards the scheduler.
    pub node_id: String,
    /// Threads that run executions.
    pub shards: u32,
    /// Partitions of the whole cluster; fixed once the store holds executions.
    pub partitions: u16,
    /// Where executions are kept.
    pub store: StoreConfig,
    /// Where the node remembers over its own restarts what it needs to: its cluster, and what it was stepping; it remembers
    /// nothing if absent.
    pub state_dir: Option<PathBuf>,
    /// Whether an empty store begins a new cluster, whatever the node remembers.
    pub accept_empty_store: bool,
    /// How long a closed execution is kept, from its close.
    pub retention: Duration,
    /// Where closed executions go before the store is rid of them; nowhere if absent.
    pub archive: Option<ArchiveConfig>,
    /// Executions that may be open at once, on the whole node.
    pub max_open: u64,
    /// Bytes of input that open executions may hold, on the whole node.
    pub max_bytes: u64,
    /// Function names to worker pools; the first match wins.
    pub bindings: Vec<Binding>,
    /// The folder with the objects that distributed Maps read and write; they fail without one.
    pub objects_dir: Option<PathBuf>,
    /// What Tasks reach without a worker.
    pub integrations: IntegrationOptions,
    /// Where the histories of executions are exported to.
    pub history: HistoryOptions,
    /// Where metrics are pushed to.
    pub push: PushOptions,
    /// Where traces are exported to, and of how many executions.
    pub traces: TracesOptions,
    /// Where `/metrics` and `/healthz` are served; nowhere if absent.
    pub metrics: Option<SocketAddr>,
    /// Certificates, and who may speak to this node; plain text without.
    pub tls: TlsSettings,
    /// Keys that seal tokens; one that the store keeps without.
    pub cluster_secret_file: Option<PathBuf>,
    /// Allows ports that other machines reach, without TLS.
    pub allow_plaintext: bool,
    /// The scheduler that says which partitions this node has; without one it has all of them.
    pub scheduler: Option<String>,
    /// Connections that each port accepts at once.
    pub connections_max: usize,
    /// How long health says NOT_SERVING before a drain refuses starts.
    pub drain_notice: Duration,
    /// How long a drain may take in all.
    pub drain_deadline: Duration,
    /// How long a call waits for a task of an activity; for programs and tests alone to change.
    pub poll_wait: Duration,
}

/// Where executions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process: gone with it.
    Memory,
    /// In files below this directory.
    File(PathBuf),
    /// In Redis.
    Redis(RedisConfig),
}

impl StoreConfig {
    /// For people; a password never shows.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::File(dir) => format!("file ({})", dir.display()),
            Self::Redis(redis) => format!("redis ({})", redis.url),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// A setting has a value that cannot work.
    #[error("{setting}: {message}")]
    Value {
        /// As a flag, for example `--shards`.
        setting: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A file that a setting names is not there, or may not be read.
    #[error("{setting}: {message}")]
    Unreadable {
        /// As a flag.
        setting: &'static str,
        /// Which file, and what the system says.
        message: String,
    },
    /// The file cannot be read, or is no TOML, or holds a key that nobody knows.
    #[error("{path}: {message}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong where.
        message: String,
    },
    /// An environment variable that looks like a setting, and is none.
    #[error("environment variable {name} is no setting{suggestion}; `executor serve --help` lists them all")]
    Environment {
        /// Which.
        name: String,
        /// `; did you mean MYRIAD_LISTEN?`, or nothing.
        suggestion: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400),
            data_port_base: 7410,
            advertise: None,
            node_id: default_node_id(),
            shards: u32::try_from(cores).unwrap_or(SHARDS_MAX).min(16),
            partitions: 64,
            store: StoreConfig::Memory,
            state_dir: None,
            accept_empty_store: false,
            retention: Duration::from_hours(1),
            archive: None,
            max_open: 1_000_000,
            max_bytes: 1 << 30,
            bindings: Vec::new(),
            objects_dir: None,
            integrations: IntegrationOptions::default(),
            history: HistoryOptions::default(),
            push: PushOptions::default(),
            traces: TracesOptions::default(),
            metrics: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7490)),
            tls: TlsSettings::default(),
            cluster_secret_file: None,
            allow_plaintext: false,
            scheduler: None,
            connections_max: 1_024,
            drain_notice: Duration::ZERO,
            drain_deadline: Duration::from_secs(25),
            poll_wait: limits::POLL_WAIT,
        }
    }
}

/// The machine's name, which is unique enough within a cluster.
fn default_node_id() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "node".to_owned() } else { name.trim().to_owned() }
}

impl Config {
    /// A node inside another program: loopback, any free ports, no metrics port.
    #[must_use]
    pub fn embedded() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            data_port_base: 0,
            metrics: None,
            ..Self::default()
        }
    }

    /// Whether these values can work together.
    ///
    /// # Errors
    /// The first that cannot, with what would be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |setting, message: String| Err(ConfigError::Value { setting, message });
        if self.partitions == 0 || self.partitions > ids::PARTITIONS_MAX {
            let max = ids::PARTITIONS_MAX;
            return value("--partitions", format!("{} is not from 1 to {max}", self.partitions));
        }
        let shards_max = SHARDS_MAX.min(u32::from(self.partitions));
        if self.shards == 0 || self.shards > shards_max {
            let message = format!(
                "{} is not from 1 to {shards_max}: more shards than partitions would have nothing to do, and a node has at most \
                 {SHARDS_MAX} shards",
                self.shards
            );
            return value("--shards", message);
        }
        let last_port = u32::from(self.data_port_base) + self.shards - 1;
        if self.data_port_base != 0 && last_port > u32::from(u16::MAX) {
            let message =
                format!("shard {} would listen on port {last_port}: ports end at 65535", self.shards - 1);
            return value("--data-port-base", message);
        }
        for (setting, number) in [("--max-open", self.max_open), ("--max-bytes", self.max_bytes)] {
            if number < u64::from(self.shards) {
                return value(setting, format!("{number} is too small: each shard needs a share of it"));
            }
        }
        if self.connections_max == 0 {
            return value("--connections-max", "0 would accept nobody: write 1 or more".to_owned());
        }
        if let Some(scheduler) = &self.scheduler {
            let plain = scheduler
                .parse::<http::Uri>()
                .is_ok_and(|uri| uri.scheme() == Some(&http::uri::Scheme::HTTP) && uri.host().is_some());
            if !plain {
                let message = format!("{scheduler:?} is no http:// URL, such as http://127.0.0.1:7300");
                return value("--scheduler", message);
            }
        }
        self.integrations.check()?;
        self.history.check()?;
        self.push.check()?;
        self.traces.check()?;
        self.check_plaintext()
    }

    /// How others reach one of this node's ports. A node that listens on every address is reached by its
    /// name.
    #[must_use]
    pub fn advertised(&self, address: SocketAddr) -> String {
        match &self.advertise {
            Some(host) => format!("{host}:{}", address.port()),
            None if address.ip().is_unspecified() => format!("{}:{}", self.node_id, address.port()),
            None => address.to_string(),
        }
    }

    fn check_plaintext(&self) -> Result<(), ConfigError> {
        let listen = Some(self.listen).filter(|_| !self.tls.is_on());
        let of_listen = "anyone on the network could read and start executions; listen on 127.0.0.1, give it certificates \
             (--tls-cert), or say --allow-plaintext where the network itself is trusted";
        let of_metrics = "anyone on the network could read metrics, with the names of machines, states and targets, and \
             start nothing; stay on 127.0.0.1, or say --allow-plaintext where that may be (with --tls-cert every other \
             port has TLS all the same)";
        let ports = [("--listen", listen, of_listen), ("--metrics", self.metrics, of_metrics)];
        for (setting, address, what) in ports {
            let Some(address) = address.filter(|address| !address.ip().is_loopback()) else { continue };
            if !self.allow_plaintext {
                let message = format!(
                    "{address} can be reached from other machines, and this port speaks plain text: {what}"
                );
                return Err(ConfigError::Value { setting, message });
            }
        }
        Ok(())
    }

    /// The partitions of a shard: every `shards`-th, so that each shard has as many as any other, or one
    /// less.
    #[must_use]
    pub fn partitions_of(&self, shard: u32) -> Vec<ids::PartitionId> {
        (shard..u32::from(self.partitions))
            .step_by(self.shards.max(1) as usize)
            .filter_map(|number| ids::PartitionId::new(number).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_belongs_to_exactly_one_shard() {
        let config = Config { shards: 3, partitions: 64, ..Config::default() };
        let mut all: Vec<u16> =
            (0..3).flat_map(|shard| config.partitions_of(shard)).map(ids::PartitionId::get).collect();
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<u16>>());
    }

    #[test]
    fn a_port_that_others_reach_needs_the_word_plaintext() {
        let open = SocketAddr::from(([0, 0, 0, 0], 7400));
        let config = Config { listen: open, ..Config::default() };
        let error = config.check().expect_err("not loopback").to_string();
        assert!(error.contains("--listen") && error.contains("--allow-plaintext"), "{error}");
        assert!(Config { allow_plaintext: true, ..config }.check().is_ok());
        let metrics = Config { metrics: Some(open), ..Config::default() };
        let error = metrics.check().expect_err("not loopback").to_string();
        assert!(error.contains("--metrics") && error.contains("read metrics"), "{error}");
        assert!(!error.contains("start executions"), "{error}");
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        let base = Config::default;
        let wrong = [
            ("--partitions", Config { partitions: 0, ..base() }),
            ("--partitions", Config { partitions: 1_025, ..base() }),
            ("--shards", Config { shards: 0, ..base() }),
            ("--shards", Config { shards: 3, partitions: 2, ..base() }),
            ("--data-port-base", Config { data_port_base: 65_535, shards: 2, ..base() }),
            ("--max-open", Config { max_open: 0, ..base() }),
            ("--scheduler", Config { scheduler: Some("127.0.0.1:7300".to_owned()), ..base() }),
            ("--scheduler", Config { scheduler: Some("https://h".to_owned()), ..base() }),
            ("--connections-max", Config { connections_max: 0, ..base() }),
        ];
        for (setting, config) in wrong {
            let error = config.check().expect_err(setting).to_string();
            assert!(error.starts_with(setting), "{error}");
        }
        assert!(base().check().is_ok());
    }

    #[test]
    fn others_hear_an_address_that_leads_here() {
        let (loopback, open) = (SocketAddr::from(([127, 0, 0, 1], 7)), SocketAddr::from(([0, 0, 0, 0], 8)));
        let config = Config { node_id: "n1".to_owned(), ..Config::default() };
        assert_eq!(
            (config.advertised(loopback), config.advertised(open)),
            ("127.0.0.1:7".into(), "n1:8".into())
        );
        let named = Config { advertise: Some("h.example".to_owned()), ..config };
        assert_eq!(named.advertised(open), "h.example:8");
    }
}
