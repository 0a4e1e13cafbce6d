//! A Redis Cluster of one's own, on free loopback ports.
//!
//! Invariants: masters come first in the order of their slots, replicas after them; ranges are those that
//! `redis-cli --cluster create` would give. A cluster needs two seconds before it takes writes, whatever one does:
//! tests of one program share [`RedisCluster::shared`] and keep to prefixes or partitions of their own.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::redis::{Redis, RedisOptions};
use crate::{TestkitError, eventually, free_port};

const SETTLE_WITHIN: Duration = Duration::from_secs(60);
const SLOTS: usize = 16_384;
/// Keys that one MIGRATE takes along.
const MIGRATE_KEYS: &str = "100";
/// Masters of the shared cluster.
const SHARED_MASTERS: usize = 3;

static SHARED: Mutex<Weak<RedisCluster>> = Mutex::new(Weak::new());

/// A running cluster.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
    masters: usize,
    /// Held while slots change hands.
    changing: Mutex<()>,
}

impl RedisCluster {
    /// Starts so many masters, each with so many replicas, and returns when all take writes.
    ///
    /// # Errors
    /// When a server does not start; see [`Redis::start`].
    pub fn start(masters: usize, replicas: usize, options: &RedisOptions) -> Result<Self, TestkitError> {
        Self::start_nodes(masters, replicas, || node_options(options))
    }

    /// As [`RedisCluster::start`] without replicas, with a port for TLS on each node, and TLS among them; the options
    /// name the certificates.
    ///
    /// # Errors
    /// When a server does not start; see [`Redis::start`].
    pub fn start_with_tls(masters: usize, options: &RedisOptions) -> Result<Self, TestkitError> {
        Self::start_nodes(masters, 0, || {
            let mut options = node_options(options);
            options.extra.push(("tls-port".to_owned(), free_port().to_string()));
            options.extra.push(("tls-cluster".to_owned(), "yes".to_owned()));
            options
        })
    }

    fn start_nodes(
        masters: usize,
        replicas: usize,
        options: impl Fn() -> RedisOptions,
    ) -> Result<Self, TestkitError> {
        let starting: Vec<_> = (0..masters * (1 + replicas))
            .map(|_| {
                let options = options();
                std::thread::spawn(move || Redis::start(options))
            })
            .collect();
        let nodes = starting
            .into_iter()
            .map(|node| node.join().unwrap_or_else(|_| panic!("a node's start panicked")));
        let cluster = Self { nodes: nodes.collect::<Result<_, _>>()?, masters, changing: Mutex::default() };
        cluster.introduce()?;
        Ok(cluster)
    }

    /// A cluster with `appendfsync always`, for tests.
    ///
    /// # Panics
    /// When it cannot be started; the message says why.
    #[must_use]
    pub fn durable(masters: usize, replicas: usize) -> Self {
        Self::start(masters, replicas, &RedisOptions::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The cluster of three masters that tests of this program share while any of them holds it.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::durable(SHARED_MASTERS, 0));
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// Makes the nodes one cluster.
    fn introduce(&self) -> Result<(), TestkitError> {
        for (at, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
            if at < self.masters {
                let first = (at * SLOTS).div_ceil(self.masters);
                let last = ((at + 1) * SLOTS).div_ceil(self.masters) - 1;
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            }
            for other in &self.nodes[..at] {
                let bus = other.command(&["CONFIG", "GET", "cluster-port"])?;
                let bus = bus.lines().last().unwrap_or_default();
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus])?;
            }
        }
        self.wait_until_whole();
        for at in self.masters..self.nodes.len() {
            let id = self.id(at % self.masters)?;
            self.nodes[at].command(&["CLUSTER", "REPLICATE", &id])?;
        }
        self.wait_for_replicas();
        Ok(())
    }

    /// Waits until every node that answers knows all others and finds the cluster well.
    pub fn wait_until_whole(&self) {
        let wanted = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            eventually("the cluster is whole", SETTLE_WITHIN, || {
                let info = node.command(&["CLUSTER", "INFO"]).map_err(|error| error.to_string())?;
                let whole =
                    info.contains("cluster_state:ok") && info.lines().any(|line| line.trim_end() == wanted);
                if whole { Ok(()) } else { Err(info) }
            });
        }
    }

    /// Waits until every replica has the data of its master.
    pub fn wait_for_replicas(&self) {
        for node in &self.nodes[self.masters..] {
            eventually("the replica is in step", SETTLE_WITHIN, || {
                let info = node.command(&["INFO", "replication"]).map_err(|error| error.to_string())?;
                let in_step = info.contains("role:slave") && info.contains("master_link_status:up");
                if in_step { Ok(()) } else { Err(info) }
            });
        }
    }

    /// All nodes as the seeds of a client.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis://{}", hosts.join(","))
    }

    /// The nodes: masters first, then replicas; replica `masters + i` follows master `i % masters`.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// One node, to kill and start it.
    pub fn node_mut(&mut self, at: usize) -> &mut Redis {
        &mut self.nodes[at]
    }

    /// The node's name in the cluster.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn id(&self, at: usize) -> Result<String, TestkitError> {
        self.nodes[at].command(&["CLUSTER", "MYID"])
    }

    /// Which node serves a slot, as this node sees it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn master_of(&self, slot: u16, asked: usize) -> Result<Option<usize>, TestkitError> {
        let ranges = self.nodes[asked].command(&["CLUSTER", "NODES"])?;
        let serves = |range: &str| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let (from, to) = (from.parse::<u16>().ok(), to.parse::<u16>().ok());
            from.zip(to).is_some_and(|(from, to)| (from..=to).contains(&slot))
        };
        let line = ranges.lines().find(|line| line.split(' ').skip(8).any(serves));
        let address = line.and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        Ok(self.nodes.iter().position(|node| address.starts_with(&format!("{}@", node.address()))))
    }

    /// Says at both ends that a slot is on its way.
    ///
    /// # Errors
    /// When one of them refuses.
    pub fn begin_migration(&self, slot: u16, from: usize, to: usize) -> Result<(), TestkitError> {
        let slot = slot.to_string();
        self.nodes[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)?])?;
        self.nodes[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)?])?;
        Ok(())
    }

    /// Moves keys of a slot that is on its way, at most a hundred; how many there were.
    ///
    /// # Errors
    /// When one of the nodes refuses.
    pub fn migrate_some(&self, slot: u16, from: usize, to: usize) -> Result<usize, TestkitError> {
        let keys =
            self.nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), MIGRATE_KEYS])?;
        let port = self.nodes[to].port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "20000", "KEYS"];
        migrate.extend(keys.lines());
        let count = keys.lines().count();
        if count > 0 {
            self.nodes[from].command(&migrate)?;
        }
        Ok(count)
    }

    /// Says everywhere that a slot has arrived.
    ///
    /// # Errors
    /// When one of the nodes refuses.
    pub fn end_migration(&self, slot: u16, from: usize, to: usize) -> Result<(), TestkitError> {
        // Two changes at once, or one before the last is known everywhere, may get the same epoch: then nodes that both
        // think they are right never agree.
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, slot, id) = (slot, slot.to_string(), self.id(to)?);
        // The others would learn it by gossip; told by us, they agree at once, as `redis-cli` has it.
        let others = (0..self.masters).filter(|at| *at != to && *at != from);
        for at in [to, from].into_iter().chain(others) {
            self.nodes[at].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id])?;
        }
        self.wait_until_agreed(number, to);
        Ok(())
    }

    /// Waits until all masters know the same epoch, and who serves the slot.
    fn wait_until_agreed(&self, slot: u16, master: usize) {
        eventually("the cluster agrees", SETTLE_WITHIN, || {
            let mut epochs = Vec::new();
            for at in 0..self.masters {
                let said = |error: TestkitError| error.to_string();
                let info = self.nodes[at].command(&["CLUSTER", "INFO"]).map_err(said)?;
                epochs.extend(
                    info.lines().find(|line| line.starts_with("cluster_current_epoch")).map(str::to_owned),
                );
                let seen = self.master_of(slot, at).map_err(said)?;
                if seen != Some(master) {
                    return Err(format!("node {at} thinks that slot {slot} is with {seen:?}"));
                }
            }
            epochs.dedup();
            if epochs.len() == 1 { Ok(()) } else { Err(format!("{epochs:?}")) }
        });
    }

    /// Moves a slot with all its keys, while clients go on.
    ///
    /// # Errors
    /// When one of the nodes refuses.
    pub fn migrate(&self, slot: u16, from: usize, to: usize) -> Result<(), TestkitError> {
        self.begin_migration(slot, from, to)?;
        while self.migrate_some(slot, from, to)? > 0 {}
        self.end_migration(slot, from, to)
    }

    /// SIGKILL for every node, and a start on the same files.
    ///
    /// # Errors
    /// When a node does not start again.
    pub fn restart(&mut self) -> Result<(), TestkitError> {
        for node in &mut self.nodes {
            node.kill9();
        }
        for node in &mut self.nodes {
            node.restart()?;
        }
        self.wait_until_whole();
        self.wait_for_replicas();
        Ok(())
    }
}

fn node_options(options: &RedisOptions) -> RedisOptions {
    let mut options = options.clone();
    let settings = [
        ("cluster-enabled", "yes".to_owned()),
        // Beside the data port by default, where the system numbers outgoing connections.
        ("cluster-port", free_port().to_string()),
        ("cluster-node-timeout", "1000".to_owned()),
        ("cluster-require-full-coverage", "no".to_owned()),
        ("cluster-announce-ip", "127.0.0.1".to_owned()),
        ("repl-diskless-sync-delay", "0".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    // What the caller says comes last and counts.
    options.extra = settings.into_iter().chain(options.extra).collect();
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_takes_writes_moves_a_slot_and_keeps_what_it_had_over_kill_9() {
        let mut cluster = RedisCluster::durable(2, 0);
        // The slot of "key" is 12539 (CLUSTER KEYSLOT), on the second master.
        assert_eq!(cluster.master_of(12_539, 0).expect("a reply"), Some(1));
        cluster.nodes()[1].command(&["SET", "key", "value"]).expect("written");
        assert!(
            cluster.nodes()[0].command(&["GET", "key"]).expect_err("elsewhere").to_string().contains("MOVED")
        );
        cluster.migrate(12_539, 1, 0).expect("moved");
        assert_eq!(cluster.nodes()[0].command(&["GET", "key"]).expect("a reply"), "value");
        cluster.restart().expect("it starts again");
        assert_eq!(cluster.nodes()[0].command(&["GET", "key"]).expect("a reply"), "value");
    }
}
