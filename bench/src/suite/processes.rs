//! The processes of a run: Redis, the node, the scheduler, the echo worker. All end with their handle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proto::executor::v1::DescribeNodeRequest;
use proto::executor::v1::executor_client::ExecutorClient;
use tempfile::TempDir;
use testkit::{Process, ProcessOptions, Redis, RedisOptions};

use super::observers::{self, Collector};
use super::peers::{self, Peer};
use super::{Settings, readback};
use crate::error::Error;
use crate::ledger::Stored;
use crate::load::{Observed, connect};
use crate::machine::{cpu_us, resident_bytes};
use crate::profile::{ECHO_FUNCTION, ECHO_POOL, Profile};
use crate::{scrape, tls};

/// How long a process may take to be ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a node may take to be ready after it was killed.
const RECOVERED_WITHIN: Duration = Duration::from_secs(120);

/// Ports of a run, one after the other: the node's two and one for each shard, then the scheduler's.
const PORTS: u16 = 40;
/// The most shards that a node of the suite may have.
pub const SHARDS_MAX: u16 = PORTS - 3;

/// Where executions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// A Redis of the suite's own.
    Redis,
    /// Files of the node.
    File,
    /// The node's memory: nothing survives, nothing can be read back.
    Memory,
}

impl StoreKind {
    /// As on the node's command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::File => "file",
            Self::Memory => "memory",
        }
    }
}

/// Running processes of one run.
#[derive(Debug)]
pub struct Cluster {
    kind: StoreKind,
    worker: Option<Process>,
    peer: Option<Peer>,
    /// One that never answers.
    hung: Option<Peer>,
    scheduler: Option<(Process, u16)>,
    collector: Option<Collector>,
    node: Process,
    redis: Option<Redis>,
    directory: TempDir,
    port: u16,
    /// The node's, to start it again.
    arguments: Vec<String>,
}

pub(super) fn process(error: testkit::TestkitError) -> Error {
    Error::Process(error.to_string())
}

impl Cluster {
    /// Starts everything that a profile needs, and waits until it is ready.
    ///
    /// # Errors
    /// A process that does not start; with the end of its log.
    pub async fn start(settings: &Settings, profile: Profile) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&settings.dir)
            .map_err(|source| Error::File { path: settings.dir.display().to_string(), source })?;
        let redis = match settings.store {
            StoreKind::Redis => {
                let dir = Some(directory.path().to_owned());
                let (appendfsync, extra) = (settings.appendfsync, recommended_redis());
                let options = RedisOptions { appendfsync, dir, extra, ..RedisOptions::default() };
                Some(Redis::start(options).map_err(process)?)
            }
            StoreKind::File | StoreKind::Memory => None,
        };
        let port = testkit::free_ports(PORTS);
        let mut arguments = node_arguments(settings, port);
        match (&redis, settings.store) {
            (Some(redis), _) => arguments.extend(["--redis-url".to_owned(), redis.url()]),
            (None, StoreKind::File) => {
                let store = directory.path().join("store");
                arguments.extend(["--store-dir".to_owned(), store.display().to_string()]);
            }
            (None, _) => {}
        }
        let calls = profile.needs_peer();
        if calls {
            arguments.extend(peers::node_flags(directory.path())?);
        }
        let peer = calls.then(|| Peer::start(false)).transpose()?;
        let hung = (calls && settings.hung > 0).then(|| Peer::start(true)).transpose()?;
        let everything = settings.observed == Some(Observed::Everything);
        let collector = everything.then(Collector::start).transpose()?;
        match (&collector, settings.observed) {
            (Some(collector), _) => arguments.extend(collector.node_flags(directory.path())),
            (None, Some(_)) => arguments.extend(observers::silent()),
            (None, None) => {}
        }
        arguments.extend(settings.node_flags.iter().cloned());
        let mut node = start(settings, "executor", arguments.clone())?;
        wait_until_serving(&mut node, port).await?;
        let scheduler =
            if settings.through_scheduler { Some(start_scheduler(settings, port).await?) } else { None };
        let worker = if profile.needs_worker() { Some(start_worker(port)?) } else { None };
        let kind = settings.store;
        let cluster =
            Self { kind, worker, peer, hung, scheduler, collector, node, redis, directory, port, arguments };
        if let Some(hung) = &cluster.hung {
            let addresses = (&*cluster.node_address(), &*cluster.metrics_address());
            peers::hang(settings, addresses, hung).await?;
        }
        Ok(cluster)
    }

    /// Where the HTTP peer is, if it runs.
    #[must_use]
    pub fn peer_url(&self) -> Option<String> {
        self.peer.as_ref().map(Peer::url)
    }

    /// Shards of the node.
    ///
    /// # Errors
    /// A node that does not answer.
    pub async fn shards(&self) -> Result<usize, Error> {
        let mut client = ExecutorClient::new(connect(&self.node_address()).await?);
        let described = client.describe_node(DescribeNodeRequest {}).await;
        let failed = |status| Error::Call { call: "DescribeNode", status: Box::new(status) };
        Ok(described.map_err(failed)?.into_inner().shards.len())
    }

    /// The node's public address.
    #[must_use]
    pub fn node_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The scheduler's address, if it runs.
    #[must_use]
    pub fn scheduler_address(&self) -> Option<String> {
        self.scheduler.as_ref().map(|(_, port)| format!("127.0.0.1:{port}"))
    }

    /// Kills the node and starts it again; how long it took to be ready.
    ///
    /// # Errors
    /// A node that does not start.
    pub async fn kill_and_restart(&mut self, settings: &Settings) -> Result<Duration, Error> {
        self.node.kill9();
        let begun = std::time::Instant::now();
        self.node = start(settings, "executor", self.arguments.clone())?;
        loop {
            let metrics = self.metrics().await.unwrap_or_default();
            if metrics.lines().any(|line| line == "executor_ready 1") {
                return Ok(begun.elapsed());
            }
            if self.node.try_exit().is_some() {
                return Err(ended("node", &mut self.node));
            }
            if begun.elapsed() > RECOVERED_WITHIN {
                return Err(Error::Process(format!("the node was not ready in time:\n{}", self.node.tail())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the node's metrics say, as text.
    ///
    /// # Errors
    /// A node that does not listen.
    pub async fn metrics(&self) -> Result<String, Error> {
        scrape::get(&self.metrics_address()).await
    }

    /// Where the node's metrics are scraped.
    pub(crate) fn metrics_address(&self) -> String {
        format!("127.0.0.1:{}", self.port + 1)
    }

    /// Of the node's process.
    pub(crate) fn node_pid(&self) -> u32 {
        self.node.pid()
    }

    /// Resident memory of the node, in bytes.
    #[must_use]
    pub fn node_resident_bytes(&self) -> u64 {
        resident_bytes(self.node.pid()).unwrap_or_default()
    }

    /// CPU time of each process so far, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> BTreeMap<String, u64> {
        let processes = [
            ("generator", Some(std::process::id())),
            ("node", Some(self.node.pid())),
            ("scheduler", self.scheduler.as_ref().map(|(process, _)| process.pid())),
            ("collector", self.collector.as_ref().map(|collector| collector.process.pid())),
            ("worker", self.worker.as_ref().map(Process::pid)),
            ("peer", self.peer.as_ref().map(|peer| peer.process.pid())),
            ("redis", self.redis.as_ref().and_then(Redis::pid)),
        ];
        let used = |(name, pid): (&str, Option<u32>)| Some((name.to_owned(), cpu_us(pid?)?));
        processes.into_iter().filter_map(used).collect()
    }

    /// What the store takes: Redis's memory in use, or the bytes that files hold.
    #[must_use]
    pub fn store_bytes(&self) -> Option<u64> {
        let redis = self.redis.as_ref()?;
        let info = redis.command(&["INFO", "memory"]).ok()?;
        info.lines().find_map(|line| line.strip_prefix("used_memory:"))?.trim().parse().ok()
    }

    /// Stops the processes, then reads everything that the store holds. `None` for the memory store.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub async fn read_back(&mut self) -> Result<Option<Stored>, Error> {
        if let Some(worker) = &mut self.worker {
            worker.kill9();
        }
        if let Some((scheduler, _)) = &mut self.scheduler {
            scheduler.kill9();
        }
        let metrics = self.metrics_address();
        if let Some(hung) = &mut self.hung {
            peers::end_hung(&metrics, hung).await?;
        }
        self.node.terminate().map_err(process)?;
        let exit = self.node.wait_exit(READY_WITHIN).map_err(process)?;
        if exit.code != Some(0) {
            return Err(Error::Process(format!("the node ended with {exit}:\n{}", self.node.tail())));
        }
        match (self.kind, &self.redis) {
            (StoreKind::Redis, Some(redis)) => {
                let store = journal_redis::RedisConnect::new(journal_redis::RedisOptions::new(redis.url()))?;
                readback::read(&store).await.map(Some)
            }
            (StoreKind::File, _) => {
                let options = journal::file::FileOptions::new(self.directory.path().join("store"));
                readback::read(&journal::file::FileStore::open(options)?).await.map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The settings that `executor/deploy/redis.conf` recommends, but for the one that the suite varies.
fn recommended_redis() -> Vec<(String, String)> {
    let lines = include_str!("../../../executor/deploy/redis.conf").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| *name != "appendfsync")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn node_arguments(settings: &Settings, port: u16) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "serve",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--data-port-base",
        &(port + 2).to_string(),
        "--metrics",
        &format!("127.0.0.1:{}", port + 1),
        "--store",
        settings.store.name(),
        "--retention",
        "12h",
        "--bind",
        &format!("{ECHO_FUNCTION}={ECHO_POOL}"),
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(open) = settings.max_open {
        arguments.extend(["--max-open".to_owned(), open.to_string()]);
    }
    if let Some(shards) = settings.shards {
        arguments.extend(["--shards".to_owned(), shards.to_string()]);
    }
    arguments
}

fn start(settings: &Settings, name: &str, mut arguments: Vec<String>) -> Result<Process, Error> {
    arguments.extend(tls::arguments());
    let program: PathBuf = settings.binaries.join(name);
    if !program.is_file() {
        return Err(Error::Process(format!(
            "{} is not there: build it with `cargo build --release --workspace`",
            program.display()
        )));
    }
    Process::start(&ProcessOptions::new(name, program, arguments)).map_err(process)
}

/// What a process that has ended by itself said last; its log is read to the end first.
fn ended(name: &str, gone: &mut Process) -> Error {
    match gone.wait_exit(READY_WITHIN) {
        Ok(exit) => Error::Process(format!("the {name} ended with {exit}:\n{}", gone.tail())),
        Err(error) => process(error),
    }
}

/// Until the node answers DescribeNode with its shards.
async fn wait_until_serving(node: &mut Process, port: u16) -> Result<(), Error> {
    let deadline = std::time::Instant::now() + READY_WITHIN;
    let address = format!("127.0.0.1:{port}");
    loop {
        if let Ok(channel) = connect(&address).await {
            let described = ExecutorClient::new(channel).describe_node(DescribeNodeRequest {}).await;
            if described
                .is_ok_and(|reply| reply.get_ref().shards.iter().all(|shard| !shard.partitions.is_empty()))
            {
                return Ok(());
            }
        }
        if node.try_exit().is_some() {
            return Err(ended("node", node));
        }
        if std::time::Instant::now() > deadline {
            return Err(Error::Process(format!("the node was not ready in time:\n{}", node.tail())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn start_scheduler(settings: &Settings, node_port: u16) -> Result<(Process, u16), Error> {
    let port = node_port + PORTS - 1;
    let address = format!("127.0.0.1:{port}");
    let node = format!("http://127.0.0.1:{node_port}");
    let mut arguments =
        ["serve", "--listen", &address, "--store", "memory", "--node", &node].map(str::to_owned).to_vec();
    arguments.extend(settings.scheduler_flags.iter().cloned());
    let mut scheduler = start(settings, "scheduler-stub", arguments)?;
    let deadline = std::time::Instant::now() + READY_WITHIN;
    while connect(&address).await.is_err() {
        if scheduler.try_exit().is_some() {
            return Err(ended("scheduler", &mut scheduler));
        }
        if std::time::Instant::now() > deadline {
            return Err(Error::Process(format!(
                "the scheduler was not ready in time:\n{}",
                scheduler.tail()
            )));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((scheduler, port))
}

fn start_worker(node_port: u16) -> Result<Process, Error> {
    let program = std::env::current_exe()
        .map_err(|source| Error::File { path: "the path of this program".to_owned(), source })?;
    let node = format!("127.0.0.1:{node_port}");
    let mut arguments = ["worker", "--node", &node, "--pool", ECHO_POOL].map(str::to_owned).to_vec();
    arguments.extend(tls::arguments());
    let options = ProcessOptions::new("worker", program, arguments);
    let mut worker = Process::start(&options).map_err(process)?;
    worker.wait_for_line("serving", READY_WITHIN).map_err(process)?;
    Ok(worker)
}
