//! The Redis servers of a kill test: none, one, or the masters of a Redis Cluster.
//!
//! Invariants: `appendfsync always`, so that what was confirmed survives any kill; a server comes back on the same files and
//! the same port; its files stay when the run ends, for whoever looks for what went wrong. What may fail: a server that does
//! not start.

use std::net::SocketAddr;
use std::path::Path;

use testkit::{AppendFsync, Redis, RedisCluster, RedisOptions, TestkitError};

use super::cluster::ClusterSettings;

/// Which store the nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CrashStore {
    /// One Redis; it is killed too
    Redis,
    /// A Redis Cluster of three masters without replicas; each is killed too
    RedisCluster,
    /// Files: one node
    File,
}

/// Masters of [`CrashStore::RedisCluster`].
const MASTERS: u16 = 3;

impl CrashStore {
    /// How many Redis servers there are.
    #[must_use]
    pub fn masters(self) -> u16 {
        match self {
            Self::Redis => 1,
            Self::RedisCluster => MASTERS,
            Self::File => 0,
        }
    }

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
            Self::File => "file",
        }
    }
}

/// The Redis servers of a run.
pub(super) enum Servers {
    None,
    One(Box<Redis>),
    Cluster(RedisCluster),
}

impl Servers {
    /// Starts them.
    ///
    /// # Errors
    /// See [`Redis::start`].
    pub fn start(settings: &ClusterSettings, directory: &Path) -> Result<Self, TestkitError> {
        let options = RedisOptions {
            appendfsync: if settings.redis_forgets { AppendFsync::Off } else { AppendFsync::Always },
            dir: Some(directory.to_owned()),
            extra: redis_settings(),
            tied: true,
            survives_limits: true,
            keep: true,
            ..RedisOptions::default()
        };
        match settings.store {
            CrashStore::File => Ok(Self::None),
            CrashStore::Redis => Redis::start(options).map(Box::new).map(Self::One),
            CrashStore::RedisCluster => {
                RedisCluster::start(usize::from(MASTERS), 0, &options).map(Self::Cluster)
            }
        }
    }

    /// All masters.
    pub fn all(&self) -> &[Redis] {
        match self {
            Self::None => &[],
            Self::One(redis) => std::slice::from_ref(redis),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// One of them.
    pub fn get(&mut self, number: u16) -> Option<&mut Redis> {
        match self {
            Self::One(redis) if number == 0 => Some(redis),
            Self::Cluster(cluster) if usize::from(number) < cluster.nodes().len() => {
                Some(cluster.node_mut(usize::from(number)))
            }
            _ => None,
        }
    }

    /// Where a single one is; masters of a cluster tell their own addresses.
    pub fn single(&self) -> Option<SocketAddr> {
        match self {
            Self::One(redis) => Some(redis.address()),
            Self::None | Self::Cluster(_) => None,
        }
    }

    /// As nodes take it.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::One(redis) => Some(redis.url()),
            Self::Cluster(cluster) => Some(cluster.url()),
        }
    }
}

/// Redis gives its log back before it is large: what is trimmed is left out when the log is written anew.
fn redis_settings() -> Vec<(String, String)> {
    [("auto-aof-rewrite-min-size", "128mb"), ("auto-aof-rewrite-percentage", "50")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}
