//! The kill test: kill -9 any process at any time, and nothing acknowledged is lost.
//!
//! Purpose: to hold the promise against real processes. A scheduler, nodes and a store run under an open-loop load of mixed
//! machines; a seeded plan kills and stops them, again and again. What was acknowledged is written to a ledger of the
//! bench's own and synced before it counts; everything on the ledger is then read back before it expires.
//!
//! Invariants: a fault is never forgiven, and each is told with seed, strike and execution; the same seed gives the same
//! strikes and the same inputs; no time is asserted, only that something heals at all. What may fail: processes that do not
//! start (an [`Error`]); everything else is a fault in the report.
//!
//! Rooms: [`plan`] (who is hit when), [`workload`] (machines, inputs, right outcomes), [`cluster`] (processes), `servers`
//! (Redis), `links` (the ways between them), `blows` (how each is hit) and `effects` (whether it was), [`drive`] (the thread that
//! hits them), [`peaks`] (memory and disk), `load`, `resend` and `syncs` (starts), [`acks`] (the ledger), `agenda`, `checker` and
//! [`verdict`] (Describe, redrives and histories), `follow` and [`logs`] (one start and one terminal record each), `kept` (what is
//! there later too), `settle` (what is known in the end only), `counters` (what nodes say of their store), `worker` and [`tasks`]
//! (tasks that must not come again), [`made`] and [`report`].

pub mod acks;
mod agenda;
mod blows;
mod checker;
pub mod cluster;
mod counters;
pub mod drive;
mod effects;
mod follow;
mod kept;
mod links;
mod load;
pub mod logs;
pub mod made;
pub mod peaks;
pub mod plan;
pub mod report;
mod resend;
mod servers;
mod settle;
pub mod shared;
mod syncs;
pub mod tasks;
pub mod verdict;
mod worker;
pub mod workload;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use testkit::AckLedger;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::machine::{Disk, Machine};
use acks::Ack;
use agenda::Sample;
use checker::Checker;
use cluster::ClusterSettings;
pub use cluster::CrashStore;
use drive::{Addresses, Driver, Struggle};
use follow::Follower;
use kept::Kept;
use logs::{LogCheck, SharedLogs};
use plan::{Blow, Field, Plan};
use report::CrashReport;
use resend::Resender;
use shared::Shared;
use syncs::Syncs;
use workload::Kind;

/// How long scheduler and nodes may take until the machines are created.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// What a kill test does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many strikes.
    pub kills: u64,
    /// Which; none is all that are possible.
    pub blows: Vec<Blow>,
    /// Of plan and inputs.
    pub seed: u64,
    /// Which processes.
    pub cluster: ClusterSettings,
    /// Starts a second.
    pub rate: u64,
    /// A process that stands still does so for longer than this.
    pub lease: Duration,
    /// Whether strikes go on after a fault.
    pub keep_going: bool,
    /// Set from outside, ends the run early, with a report.
    pub stop: Arc<AtomicBool>,
}

impl Settings {
    /// What strikes are drawn from.
    ///
    /// # Errors
    /// A strike that hits nothing of this store.
    fn field(&self) -> Result<Field, Error> {
        let (nodes, masters) = (self.cluster.nodes, self.cluster.store.masters());
        let field = Field { nodes, masters, lease: self.lease, blows: self.blows.clone() };
        match self.blows.iter().find(|blow| !blow.is_possible(&field)) {
            Some(blow) => Err(Error::Settings(format!(
                "{} hits Redis, and there is none: leave it out, or give --store redis",
                blow.name()
            ))),
            None => Ok(field),
        }
    }
}

/// Parts of a run that end when it does.
struct Background(Vec<JoinHandle<()>>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Runs the kill test. `kept` is told where logs and ledgers stay when something went wrong.
///
/// # Errors
/// Processes that do not start; all that goes wrong later is in the report.
pub async fn run(settings: &Settings, kept: impl FnOnce(&Path)) -> Result<CrashReport, Error> {
    if settings.cluster.store == CrashStore::File && settings.cluster.nodes > 1 {
        return Err(Error::Settings("files are for one node: give --nodes 1, or --store redis".to_owned()));
    }
    Disk::measure(&settings.cluster.dir)?;
    let field = settings.field()?;
    let mut cluster = settings.cluster.clone();
    cluster.links = field.drawn().into_iter().any(Blow::hits_links);
    let plan = Plan::new(settings.seed, field);
    let strikes_over = Arc::new(AtomicBool::new(false));
    let (driver, addresses, struggle) =
        drive::start(cluster, plan, settings.kills, Arc::clone(&strikes_over)).await?;
    let arns = create_machines(&addresses.scheduler).await?;
    let shared = Arc::new(Shared::new(settings.seed, settings.cluster.nodes, addresses.directory.clone()));
    let mut run = Run { settings, shared, addresses, strikes_over, driver: Some(driver) };
    let (struggle, checked) = run.load_and_check(arns, struggle).await?;
    let duration = Duration::from_millis(run.shared.now_ms());
    if let Some(driver) = run.driver.take() {
        // Joining blocks: the processes end one after the other, in a moment. The directory is still needed.
        let _ = tokio::task::spawn_blocking(move || driver.finish()).await;
    }
    run.settle(&checked, duration).await;
    let report = run.report(&struggle, &checked, duration);
    let directory = &run.addresses.directory;
    if report.faults > 0 {
        crate::suite::write_json(&directory.join("report.json"), std::slice::from_ref(&report), false)?;
        kept(directory);
    } else if let Err(error) = std::fs::remove_dir_all(directory) {
        eprintln!("{} stays: {error}", directory.display());
    }
    Ok(report)
}

async fn create_machines(scheduler: &str) -> Result<HashMap<Kind, String>, Error> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        match load::create_machines(scheduler).await {
            Ok(arns) => return Ok(arns),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Run<'a> {
    settings: &'a Settings,
    shared: Arc<Shared>,
    addresses: Addresses,
    /// Ends the strikes; the load ends after them.
    strikes_over: Arc<AtomicBool>,
    driver: Option<Driver>,
}

/// What only the checks know in the end.
struct Checked {
    checker: Arc<Checker>,
    logs: SharedLogs,
}

fn locked(logs: &SharedLogs) -> MutexGuard<'_, LogCheck> {
    logs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    async fn load_and_check(
        &mut self,
        arns: HashMap<Kind, String>,
        mut struggle: tokio::sync::oneshot::Receiver<Struggle>,
    ) -> Result<(Struggle, Checked), Error> {
        let shared = &self.shared;
        let path: PathBuf = self.addresses.directory.join("ledger");
        let ledger = AckLedger::open(path).map_err(|error| Error::Process(error.to_string()))?;
        let acks = acks::spawn(Arc::clone(shared), ledger)?;
        let checks_over = Arc::new(AtomicBool::new(false));
        let _background = self.begin_background();
        let (scheduler, retention) = (&self.addresses.scheduler, self.settings.cluster.retention);
        let logs: SharedLogs = Arc::new(Mutex::new(LogCheck::new(shared.seed)));
        locked(&logs).kept = Kept::new(u64::try_from(retention.as_millis()).unwrap_or(u64::MAX));
        let follower = self.follow_logs(&logs, &checks_over)?;
        let sample = Sample::new(shared.seed, self.settings.rate);
        let checker = Checker::new(Arc::clone(shared), scheduler, retention, logs.clone(), sample)?;
        let checking = tokio::spawn(Arc::clone(&checker).run(acks.synced));
        let load_over = Arc::new(AtomicBool::new(false));
        let load = load::Settings { address: scheduler.clone(), rate: self.settings.rate, arns };
        let sync = load.arns.get(&Kind::Sync).cloned().unwrap_or_default();
        let syncs = Syncs::new(Arc::clone(shared), scheduler, sync, acks.received.clone())?;
        let syncing = tokio::spawn(syncs.run(Arc::clone(&load_over)));
        let resender = self.resender(&load.arns, acks.received.clone());
        let resending = tokio::spawn(resender.run(Arc::clone(&load_over)));
        let loading =
            tokio::spawn(load::run(load, Arc::clone(shared), acks.received, Arc::clone(&load_over)));
        if let Some(driver) = &self.driver {
            driver.begin(Arc::clone(shared));
        }
        let struggle = loop {
            tokio::select! {
                over = &mut struggle => {
                    break over.map_err(|_| Error::Process("the thread of the strikes ended".to_owned()))?;
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            let fault = shared.is_faulty() && !self.settings.keep_going;
            if fault || self.settings.stop.load(Relaxed) {
                self.strikes_over.store(true, Relaxed);
            }
        };
        load_over.store(true, Relaxed);
        let _ = tokio::join!(loading, resending, syncing);
        let _ = checking.await;
        if self.addresses.redis_url.is_some() {
            self.wait_for_the_logs(&logs).await;
        }
        self.look_once_more(&checker, &logs).await;
        checks_over.store(true, Relaxed);
        if let Some(follower) = follower {
            // It reads on to the end first: a second end that comes late is one too.
            let _ = tokio::task::spawn_blocking(move || follower.join()).await;
        }
        let ledger = tokio::task::spawn_blocking(move || acks.thread.join()).await;
        match ledger {
            Ok(Ok(ledger)) => self.read_ledger(&ledger),
            _ => shared.fault("the thread of the ledger has panicked"),
        }
        Ok((struggle, Checked { checker, logs }))
    }

    /// The worker, and what looks at the nodes; until it is dropped.
    fn begin_background(&self) -> Background {
        let shared = || Arc::clone(&self.shared);
        let streams = Arc::new(worker::Streams::default());
        let serve = |(node, address)| worker::serve(shared(), Arc::clone(&streams), node, address);
        let serving = self.addresses.data.iter().cloned().map(serve).map(tokio::spawn);
        let watch = |address: &String| counters::watch(shared(), address.clone());
        let watching = self.addresses.metrics.iter().map(watch).map(tokio::spawn);
        Background(serving.chain(watching).chain([tokio::spawn(worker::age(shared()))]).collect())
    }

    fn resender(&self, arns: &HashMap<Kind, String>, acks: tokio::sync::mpsc::Sender<Ack>) -> Resender {
        let (shared, nodes) = (Arc::clone(&self.shared), self.addresses.nodes.clone());
        let ClusterSettings { partitions, retention, .. } = self.settings.cluster;
        Resender { shared, nodes, partitions, retention, arns: arns.clone(), acks }
    }

    fn follower(&self, logs: &SharedLogs) -> Follower {
        let partitions = self.settings.cluster.partitions;
        Follower { logs: Arc::clone(logs), shared: Arc::clone(&self.shared), partitions }
    }

    /// Redis is read beside its nodes.
    fn follow_logs(
        &self,
        logs: &SharedLogs,
        over: &Arc<AtomicBool>,
    ) -> Result<Option<std::thread::JoinHandle<()>>, Error> {
        let Some(url) = self.addresses.redis_url.clone() else { return Ok(None) };
        let store = journal_redis::RedisConnect::new(journal_redis::RedisOptions::new(url))?;
        self.follower(logs).spawn(store, Arc::clone(over)).map(Some)
    }

    fn report(&self, struggle: &Struggle, checked: &Checked, duration: Duration) -> CrashReport {
        let (shared, cluster) = (&self.shared, &self.settings.cluster);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let (faults, faults_told) = shared.faults();
        let duration_s = duration.as_secs_f64();
        let acknowledged = count(&shared.acknowledged);
        let (tasks, logs) = (shared.tasks(), locked(&checked.logs));
        let made = made::Made::of(&struggle.struck, self.settings.field().ok().as_ref());
        CrashReport {
            profile: "crash",
            seed: shared.seed,
            store: cluster.store.name().to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            nodes: cluster.nodes,
            shards: cluster.shards,
            partitions: cluster.partitions,
            retention_s: cluster.retention.as_secs(),
            duration_s,
            node_hours: duration_s * f64::from(cluster.nodes) / 3_600.0,
            lost_replies: struggle.lost_replies,
            offered_per_s: self.settings.rate,
            acknowledged_per_s: (acknowledged as f64 / duration_s.max(1e-9)) as u64,
            sent: count(&shared.sent),
            unsent: count(&shared.unsent),
            unknown: count(&shared.unknown),
            refused: shared.refused(),
            acknowledged,
            described: count(&shared.described),
            sampled: count(&checked.checker.seen.sampled),
            sample_described: count(&checked.checker.seen.sample_described),
            described_again: count(&checked.checker.seen.described_again),
            missed_again: count(&checked.checker.seen.missed_again),
            kept: count(&shared.kept),
            scrapes: count(&shared.scrapes),
            by_log_alone: count(&checked.checker.seen.by_log_alone),
            unacknowledged: count(&shared.unacknowledged),
            expired: count(&shared.expired),
            closed_once: logs.closed_once(),
            redrives: count(&shared.redrives),
            closed_again: logs.closed_again(),
            syncs_answered: count(&shared.syncs_answered),
            syncs_unknown: count(&shared.syncs_unknown),
            syncs_ended: logs.syncs_ended(),
            condemned: logs.condemned().len() as u64,
            histories: count(&shared.histories),
            names_again: count(&shared.names_again),
            batches_again: count(&shared.batches_again),
            batches_expired: count(&shared.batches_expired),
            look_lag_ms: count(&shared.look_lag_ms),
            log_lag_ms: count(&shared.log_lag_ms),
            end_lag_ms: logs.end_lag_ms(),
            tasks: tasks.tasks,
            tasks_again: tasks.again,
            tasks_late: tasks.late,
            outcomes_returned: count(&shared.outcomes_returned),
            tasks_repeated: tasks.repeated,
            tasks_journalled: tasks.journalled,
            faults,
            faults_told,
            recovery_ms: report::recovery(&struggle.struck),
            taken_max: struggle.peaks.most(),
            taken_by_quarter: struggle.peaks.quarters(),
            loss_per_kill_below: report::rule_of_three(made.drawn_kills, faults),
            loss_per_strike_below: report::rule_of_three(made.drawn, faults),
            made,
            machine: Machine::look(),
        }
    }
}
