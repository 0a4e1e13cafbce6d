//! The processes that are hit: scheduler, nodes, Redis. All blocking, owned by one thread.
//!
//! Invariants: every process is tied to the thread that started it, so that none outlives the bench, however it ends; a
//! process comes back with the same command line on the same ports. What may fail: a process that does not start or that
//! ends by itself; both end the run, with its log.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use testkit::{AppendFsync, Process, ProcessOptions, Redis, RedisCluster, RedisOptions};

use super::plan::{Blow, Strike, Target};
use super::shared::Shared;
use super::workload::{FUNCTION, POOL};
use crate::error::Error;
use crate::tls;

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
    scheduler: Option<Process>,
    nodes: Vec<Option<Process>>,
}

/// The Redis servers of a run.
enum Servers {
    None,
    One(Box<Redis>),
    Cluster(RedisCluster),
}

impl Servers {
    fn start(settings: &ClusterSettings, directory: &Path) -> Result<Self, Error> {
        let options = RedisOptions {
            appendfsync: if settings.redis_forgets { AppendFsync::Off } else { AppendFsync::Always },
            dir: Some(directory.to_owned()),
            extra: redis_settings(),
            tied: true,
            ..RedisOptions::default()
        };
        match settings.store {
            CrashStore::File => Ok(Self::None),
            CrashStore::Redis => Redis::start(options).map(Box::new).map(Self::One).map_err(process),
            CrashStore::RedisCluster => {
                RedisCluster::start(usize::from(MASTERS), 0, &options).map(Self::Cluster).map_err(process)
            }
        }
    }

    fn all(&self) -> &[Redis] {
        match self {
            Self::None => &[],
            Self::One(redis) => std::slice::from_ref(redis),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    fn get(&mut self, number: u16) -> Option<&mut Redis> {
        match self {
            Self::One(redis) if number == 0 => Some(redis),
            Self::Cluster(cluster) if usize::from(number) < cluster.nodes().len() => {
                Some(cluster.node_mut(usize::from(number)))
            }
            _ => None,
        }
    }

    fn url(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::One(redis) => Some(redis.url()),
            Self::Cluster(cluster) => Some(cluster.url()),
        }
    }
}

fn process(error: testkit::TestkitError) -> Error {
    Error::Process(error.to_string())
}

/// Redis gives its log back before it is large: what is trimmed is left out when the log is written anew.
fn redis_settings() -> Vec<(String, String)> {
    [("auto-aof-rewrite-min-size", "128mb"), ("auto-aof-rewrite-percentage", "50")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
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
        let redis = Servers::start(&settings, directory.path())?;
        let port = testkit::free_ports(1 + settings.nodes * (2 + settings.shards));
        let nodes = (0..settings.nodes).map(|_| None).collect();
        let mut cluster = Self { settings, directory, port, redis, scheduler: None, nodes };
        cluster.launch(Target::Scheduler)?;
        for node in 0..cluster.settings.nodes {
            cluster.launch(Target::Node(node))?;
        }
        Ok(cluster)
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
            ]),
        }
        arguments
    }

    fn node_arguments(&self, node: u16) -> Vec<String> {
        let ClusterSettings { shards, partitions, retention, .. } = &self.settings;
        let port = self.node_port(node);
        let mut arguments: Vec<String> = [
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--metrics",
            &format!("127.0.0.1:{}", port + 1),
            "--data-port-base",
            &(port + 2).to_string(),
            "--node-id",
            &format!("node-{node}"),
            "--scheduler",
            &format!("http://{}", self.scheduler_address()),
            "--shards",
            &shards.to_string(),
            "--partitions",
            &partitions.to_string(),
            "--retention",
            &format!("{}s", retention.as_secs()),
            "--bind",
            &format!("{FUNCTION}={POOL}"),
        ]
        .map(str::to_owned)
        .to_vec();
        match self.redis_url() {
            Some(url) => arguments.extend(["--store".into(), "redis".into(), "--redis-url".into(), url]),
            None => arguments.extend([
                "--store".into(),
                "file".into(),
                "--store-dir".into(),
                self.own_directory("store"),
            ]),
        }
        arguments
    }

    /// Starts a process that does not run.
    fn launch(&mut self, target: Target) -> Result<(), Error> {
        let (program, arguments) = match target {
            Target::Scheduler => ("scheduler-stub", self.scheduler_arguments()),
            Target::Node(node) => ("executor", self.node_arguments(node)),
            Target::Redis(number) => {
                return self.redis.get(number).map_or(Ok(()), Redis::restart).map_err(process);
            }
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
        let started = Process::start(&options).map_err(process)?;
        match target {
            Target::Node(node) => self.nodes[usize::from(node)] = Some(started),
            _ => self.scheduler = Some(started),
        }
        Ok(())
    }

    fn process_mut(&mut self, target: Target) -> Option<&mut Process> {
        match target {
            Target::Scheduler => self.scheduler.as_mut(),
            Target::Node(node) => self.nodes.get_mut(usize::from(node))?.as_mut(),
            Target::Redis(_) => None,
        }
    }

    /// Hits the targets.
    ///
    /// # Errors
    /// A process that cannot be signalled, for it has ended by itself.
    pub fn strike(&mut self, strike: &Strike, shared: &Shared) -> Result<(), Error> {
        for target in &strike.targets {
            match (strike.blow, *target) {
                (Blow::Kill, Target::Redis(number)) => {
                    self.redis.get(number).into_iter().for_each(Redis::kill9);
                }
                (Blow::Freeze, Target::Redis(number)) => {
                    self.redis.get(number).map_or(Ok(()), |redis| redis.freeze()).map_err(process)?;
                }
                (Blow::Kill, target) => {
                    self.save_log(target, &format!("strike {}", strike.number));
                    if let Some(process) = self.process_mut(target) {
                        process.kill9();
                    }
                    if let Target::Node(node) = target {
                        shared.node_killed(node);
                    }
                }
                (Blow::Freeze, target) => {
                    if let Target::Node(node) = target {
                        shared.excuse_node(node, u64::MAX);
                    }
                    if let Some(one) = self.process_mut(target) {
                        one.freeze().map_err(process)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the targets run again; `excuse_ms` is how long a node that stood still may send what it had sent before.
    ///
    /// # Errors
    /// A process that does not start.
    pub fn heal(&mut self, strike: &Strike, shared: &Shared, excuse_ms: u64) -> Result<(), Error> {
        for target in &strike.targets {
            match (strike.blow, *target) {
                (Blow::Kill, target) => self.launch(target)?,
                (Blow::Freeze, Target::Redis(number)) => {
                    self.redis.get(number).map_or(Ok(()), |redis| redis.thaw()).map_err(process)?;
                }
                (Blow::Freeze, target) => {
                    if let Some(one) = self.process_mut(target) {
                        one.thaw().map_err(process)?;
                    }
                    if let Target::Node(node) = target {
                        shared.excuse_node(node, shared.now_ms() + excuse_ms);
                    }
                }
            }
        }
        Ok(())
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

    fn targets(&self) -> Vec<Target> {
        let nodes = (0..self.settings.nodes).map(Target::Node);
        let masters = (0..).zip(self.redis.all()).map(|(number, _)| Target::Redis(number));
        [Target::Scheduler].into_iter().chain(nodes).chain(masters).collect()
    }

    /// Appends what a process has said to its file: a process that comes back begins a new log.
    fn save_log(&mut self, target: Target, until: &str) {
        let path = self.directory.path().join(format!("{target}.log"));
        let Some(log) = self.process_mut(target).map(|process| process.log()) else { return };
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

    /// Bytes that the store takes on the disk.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.redis.all().iter().map(|redis| size_of(redis.dir())).sum::<u64>()
            + size_of(&self.directory.path().join("store"))
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
