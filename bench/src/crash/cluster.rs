//! The processes that are hit: scheduler, nodes, Redis. All blocking, owned by one thread.
//!
//! Invariants: every process is tied to the thread that started it, so that none outlives the bench, however it ends; a
//! process comes back with the same command line on the same ports. What may fail: a process that does not start or that
//! ends by itself; both end the run, with its log.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use testkit::{Process, ProcessOptions, Redis};

use super::links::{BEFORE_NODES, Links};
use super::peaks::Taken;
use super::plan::Target;
pub use super::servers::CrashStore;
use super::servers::Servers;
use super::workload::{FUNCTION, POOL};
use crate::error::Error;
use crate::machine::resident_bytes;
use crate::tls;

/// How long a drain may take: no time is asserted, and a machine may be far behind. Half of it goes by where no other node
/// can take the partitions.
fn drain_deadline(nodes: u16) -> String {
    format!("{}s", if nodes > 1 { 60 } else { 20 })
}

/// How long a node may take to answer whether it is ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What to start.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Which store.
    pub store: CrashStore,
    /// How many nodes.
    pub nodes: u16,
    /// Shards of each.
    pub shards: u16,
    /// Partitions of the cluster.
    pub partitions: u16,
    /// How long closed executions are kept.
    pub retention: Duration,
    /// Redis keeps no log of its own, and loses everything when it is killed: to see that the test finds it.
    pub redis_forgets: bool,
    /// Proxies stand between the processes, to be cut.
    pub links: bool,
    /// Where directories are made: a real disk.
    pub dir: PathBuf,
    /// Where the binaries are.
    pub binaries: PathBuf,
}

/// Running processes.
pub struct Cluster {
    settings: ClusterSettings,
    directory: TempDir,
    port: u16,
    redis: Servers,
    links: Links,
    scheduler: Option<Process>,
    nodes: Vec<Option<Process>>,
}

pub(super) fn process(error: testkit::TestkitError) -> Error {
    Error::Process(error.to_string())
}

impl Cluster {
    /// Starts everything; returns once all processes run (not: serve).
    ///
    /// # Errors
    /// A process that does not start.
    pub fn start(settings: ClusterSettings) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("crash-")
            .tempdir_in(&settings.dir)
            .map_err(|source| Error::File { path: settings.dir.display().to_string(), source })?;
        let redis = Servers::start(&settings, directory.path()).map_err(process)?;
        let port = testkit::free_ports(1 + settings.nodes * (2 + settings.shards));
        let nodes = (0..settings.nodes).map(|_| None).collect();
        let links = Links::default();
        let mut cluster = Self { settings, directory, port, redis, links, scheduler: None, nodes };
        if cluster.settings.links {
            cluster.add_links()?;
        }
        cluster.launch(Target::Scheduler)?;
        for node in 0..cluster.settings.nodes {
            cluster.launch(Target::Node(node))?;
        }
        Ok(cluster)
    }

    fn add_links(&mut self) -> Result<(), Error> {
        let scheduler = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        for node in 0..self.settings.nodes {
            let port = self.node_port(node);
            let data = port + 2..port + 2 + self.settings.shards;
            self.links.add(data.chain([port]), scheduler, self.redis.single()).map_err(process)?;
        }
        Ok(())
    }

    /// The ways between the processes.
    pub(super) fn links(&self) -> &Links {
        &self.links
    }

    /// A Redis server.
    pub(super) fn redis(&mut self, number: u16) -> Option<&mut Redis> {
        self.redis.get(number)
    }

    /// Replies that were lost on the way so far.
    #[must_use]
    pub fn lost_replies(&self) -> u64 {
        self.links.lost_replies()
    }

    /// Where files of the run are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Keeps the directory, for whoever looks for what went wrong.
    pub fn keep_directory(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// The scheduler's address.
    #[must_use]
    pub fn scheduler_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// URL of Redis, if there is one.
    #[must_use]
    pub fn redis_url(&self) -> Option<String> {
        self.redis.url()
    }

    /// Public address of each node.
    #[must_use]
    pub fn node_addresses(&self) -> Vec<String> {
        (0..self.settings.nodes).map(|node| format!("127.0.0.1:{}", self.node_port(node))).collect()
    }

    /// Where each node tells its metrics.
    #[must_use]
    pub fn metrics_addresses(&self) -> Vec<String> {
        (0..self.settings.nodes).map(|node| format!("127.0.0.1:{}", self.node_port(node) + 1)).collect()
    }

    /// Of the cluster.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.settings.partitions
    }

    /// Address of each data port, with its node.
    #[must_use]
    pub fn data_addresses(&self) -> Vec<(u16, String)> {
        let shards = |node| (0..self.settings.shards).map(move |shard| (node, shard));
        (0..self.settings.nodes)
            .flat_map(shards)
            .map(|(node, shard)| (node, format!("127.0.0.1:{}", self.node_port(node) + 2 + shard)))
            .collect()
    }

    fn node_port(&self, node: u16) -> u16 {
        self.port + 1 + node * (2 + self.settings.shards)
    }

    /// Where a process keeps its own files.
    fn own_directory(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn scheduler_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned(), "--listen".to_owned(), self.scheduler_address()];
        match self.redis_url() {
            Some(url) => arguments.extend(["--store".into(), "redis".into(), "--redis-url".into(), url]),
            None => arguments.extend([
                "--store".into(),
                "file".into(),
                "--store-dir".into(),
                self.own_directory("scheduler"),
                // A node on files is nobody's but its own: it does not report, and the scheduler looks at it.
                "--node".into(),
                format!("http://{}:{}", self.host_of_nodes(), self.node_port(0)),
            ]),
        }
        arguments
    }

    fn node_arguments(&self, node: u16) -> Vec<String> {
        let ClusterSettings { shards, partitions, retention, .. } = &self.settings;
        let (port, name) = (self.node_port(node), format!("node-{node}"));
        let mut flags = vec![
            ("listen", format!("127.0.0.1:{port}")),
            ("metrics", format!("127.0.0.1:{}", port + 1)),
            ("data-port-base", (port + 2).to_string()),
            ("shards", shards.to_string()),
            ("partitions", partitions.to_string()),
            ("retention", format!("{}s", retention.as_secs())),
            ("bind", format!("{FUNCTION}={POOL}")),
            ("state-dir", self.own_directory(&name)),
            ("drain-deadline", drain_deadline(self.settings.nodes)),
            ("node-id", name),
        ];
        if self.settings.links {
            flags.push(("advertise", self.host_of_nodes().to_string()));
        }
        let redis = self.links.redis_of(node).map(|address| format!("redis://{address}"));
        match redis.or_else(|| self.redis_url()) {
            Some(url) => {
                let scheduler = self.links.scheduler_of(node).map(|address| address.to_string());
                let scheduler = scheduler.unwrap_or_else(|| self.scheduler_address());
                flags.extend([("store", "redis".to_owned()), ("redis-url", url)]);
                flags.push(("scheduler", format!("http://{scheduler}")));
            }
            None => flags.extend([("store", "file".to_owned()), ("store-dir", self.own_directory("store"))]),
        }
        let flags = flags.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]);
        ["serve".to_owned()].into_iter().chain(flags).collect()
    }

    /// Where the others find nodes: at themselves, or at the proxies before them.
    fn host_of_nodes(&self) -> IpAddr {
        if self.settings.links { BEFORE_NODES } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    /// Starts a process that does not run.
    pub(super) fn launch(&mut self, target: Target) -> Result<(), Error> {
        let (program, arguments) = match target {
            Target::Scheduler => ("scheduler-stub", self.scheduler_arguments()),
            Target::Node(node) => ("executor", self.node_arguments(node)),
            Target::Redis(number) => {
                return self.redis.get(number).map_or(Ok(()), Redis::restart).map_err(process);
            }
            Target::StoreLink(_) | Target::DataLink(_) | Target::ReportLink(_) => return Ok(()),
        };
        let path = self.settings.binaries.join(program);
        if !path.is_file() {
            let path = path.display();
            return Err(Error::Process(format!(
                "{path} is not there: build it with `cargo build --workspace`"
            )));
        }
        let arguments = arguments.into_iter().chain(tls::arguments());
        let mut options = ProcessOptions::new(&target.to_string(), path, arguments);
        options.tied = true;
        options.survives_limits = true;
        let started = Process::start(&options).map_err(process)?;
        match target {
            Target::Node(node) => self.nodes[usize::from(node)] = Some(started),
            _ => self.scheduler = Some(started),
        }
        Ok(())
    }

    /// The process of a scheduler or node.
    pub(super) fn process_mut(&mut self, target: Target) -> Option<&mut Process> {
        match target {
            Target::Scheduler => self.scheduler.as_mut(),
            Target::Node(node) => self.nodes.get_mut(usize::from(node))?.as_mut(),
            _ => None,
        }
    }

    /// A process that has ended without having been hit, if there is one.
    pub fn ended_by_itself(&mut self) -> Option<String> {
        for target in self.targets() {
            let exit = match target {
                Target::Redis(number) => self.redis.get(number).and_then(Redis::try_exit),
                target => self.process_mut(target).and_then(Process::try_exit),
            };
            if let Some(exit) = exit {
                let tail = match target {
                    Target::Redis(number) => {
                        self.redis.get(number).map(|redis| redis.tail()).unwrap_or_default()
                    }
                    target => self.process_mut(target).map(|process| process.tail()).unwrap_or_default(),
                };
                return Some(format!("{target} ended by itself with {exit}; the end of its log:\n{tail}"));
            }
        }
        None
    }

    /// All processes, those first that others need last.
    pub(super) fn targets(&self) -> Vec<Target> {
        let nodes = (0..self.settings.nodes).map(Target::Node);
        let masters = (0..).zip(self.redis.all()).map(|(number, _)| Target::Redis(number));
        [Target::Scheduler].into_iter().chain(nodes).chain(masters).collect()
    }

    /// Whether a node serves; whether anybody listens where the scheduler does.
    pub(super) fn readiness(&self, target: Target) -> impl Fn() -> bool + use<> {
        let port = match target {
            Target::Node(node) => self.node_port(node) + 1,
            _ => self.port,
        };
        let (address, is_node) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), port != self.port);
        let look = move || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
            if !is_node {
                return Ok(true);
            }
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.split(' ').nth(1) == Some("200"))
        };
        move || look().unwrap_or(false)
    }

    /// Appends what a process has said to its file: a process that comes back begins a new log.
    pub(super) fn save_log(&mut self, target: Target, until: &str) {
        let path = self.directory.path().join(format!("{target}.log"));
        let log = match target {
            Target::Redis(number) => self.redis.get(number).map(|redis| redis.log()),
            target => self.process_mut(target).map(|process| process.log()),
        };
        let Some(log) = log else { return };
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // Evidence, not proof: a log that cannot be written changes no verdict.
        let _ = opened.and_then(|mut file| writeln!(file, "{log}--- {until}"));
    }

    /// All logs, at the end.
    pub fn save_logs(&mut self) {
        for target in self.targets() {
            self.save_log(target, "end of the run");
        }
    }

    /// Memory and disk that are taken now.
    #[must_use]
    pub fn taken(&self) -> Taken {
        let resident = |pid: Option<u32>| pid.and_then(resident_bytes).unwrap_or(0);
        let nodes = self.nodes.iter().map(|node| resident(node.as_ref().map(Process::pid)));
        let servers = self.redis.all();
        Taken {
            node_bytes: nodes.max().unwrap_or(0),
            scheduler_bytes: resident(self.scheduler.as_ref().map(Process::pid)),
            redis_bytes: servers.iter().map(|redis| resident(redis.pid())).sum(),
            store_bytes: servers.iter().map(|redis| size_of(redis.dir())).sum::<u64>()
                + size_of(&self.directory.path().join("store")),
        }
    }
}

fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
