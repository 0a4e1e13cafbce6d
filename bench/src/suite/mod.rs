//! The set of runs: starts its own Redis and all processes, runs each profile, reads the store back, records.

mod observers;
mod peers;
mod processes;
pub(crate) mod readback;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proto::executor::v1::Mode;

use crate::client;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::load::{self, Measured, Observed};
use crate::machine::{Disk, Machine};
use crate::payload::Entropy;
use crate::profile::Profile;
use crate::report::{Calls, Percentiles, Report};

pub use processes::{Cluster, SHARDS_MAX, StoreKind};

/// How long the HTTP client is measured alone, at the most.
const CLIENT_FOR: Duration = Duration::from_secs(10);
/// Of the profile that calls over HTTP.
const CALLS_PER_EXECUTION: f64 = 3.0;

/// What the suite runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Profiles, in order.
    pub profiles: Vec<Profile>,
    /// How executions are kept.
    pub mode: Mode,
    /// Executions a second; `None` is each profile's floor.
    pub rate: Option<u64>,
    /// Closed loop instead.
    pub max: bool,
    /// Of each run.
    pub duration: Duration,
    /// Which store.
    pub store: StoreKind,
    /// For Redis.
    pub appendfsync: testkit::AppendFsync,
    /// Where the store's directory is made: a real disk.
    pub dir: PathBuf,
    /// Bytes of each input.
    pub payload_bytes: usize,
    /// How predictable inputs are.
    pub entropy: Entropy,
    /// Machines mixed in each batch.
    pub machines: usize,
    /// Instead: an observed load, and who looks at it or nobody at all.
    pub observed: Option<Observed>,
    /// Flags of the node, beside its own.
    pub node_flags: Vec<String>,
    /// Shards of the node; `None` leaves the node's default.
    pub shards: Option<u16>,
    /// Executions that the node keeps open; `None` leaves the node's default.
    pub max_open: Option<u64>,
    /// Executions on their way in a closed loop, for each shard; `None` is each profile's.
    pub window: Option<usize>,
    /// Calls that a peer is left with that never answers, in the profiles that call over HTTP.
    pub hung: u32,
    /// Flags of the scheduler, beside its own.
    pub scheduler_flags: Vec<String>,
    /// Whether batches go through the scheduler.
    pub through_scheduler: bool,
    /// Where the binaries are; beside this one by default.
    pub binaries: PathBuf,
}

/// Runs every profile in a cluster of its own. Reports come as they are made, so that a failure loses none.
///
/// # Errors
/// Processes that do not start, and runs that are void.
pub async fn run(settings: &Settings, mut report: impl FnMut(&Report)) -> Result<Vec<Report>, Error> {
    let disk = if settings.store == StoreKind::Memory { None } else { Some(Disk::measure(&settings.dir)?) };
    let mut reports = Vec::new();
    for profile in &settings.profiles {
        let one = run_profile(settings, *profile, disk.clone()).await?;
        report(&one);
        reports.push(one);
    }
    Ok(reports)
}

/// The load of a profile on a cluster.
pub(crate) fn load_settings(settings: &Settings, profile: Profile, cluster: &Cluster) -> load::Settings {
    let rate = settings.rate.unwrap_or_else(|| profile.floor_per_s(settings.mode));
    load::Settings {
        address: cluster.node_address(),
        scheduler: cluster.scheduler_address(),
        profile,
        mode: settings.mode,
        rate: (!settings.max).then_some(rate),
        duration: settings.duration,
        payload_bytes: settings.payload_bytes,
        entropy: settings.entropy,
        machines: settings.machines,
        observed: settings.observed,
        window: settings.window.unwrap_or_else(|| profile.window()),
        seed: 0x5EED,
        progress: true,
        peer: cluster.peer_url(),
    }
}

/// Runs a profile in a cluster of its own.
///
/// # Errors
/// Processes that do not start, and a void run.
pub async fn run_profile(settings: &Settings, profile: Profile, disk: Option<Disk>) -> Result<Report, Error> {
    let mut cluster = Cluster::start(settings, profile).await?;
    let (mut report, ledger) = measure(settings, profile, &cluster).await?;
    report.disk = disk;
    let shards = cluster.shards().await?;
    let stored = cluster.read_back().await?;
    report.verified = stored.map(|stored| ledger.verify(&stored)).transpose()?;
    report.calls = cluster.peer_url().map(|peer| calls(settings, &peer, shards, &report)).transpose()?;
    if let Some(verified) = &report.verified
        && verified.acknowledged != report.acknowledged
    {
        return Err(Error::Void(format!(
            "{} executions were acknowledged more than once",
            report.acknowledged - verified.acknowledged
        )));
    }
    Ok(report)
}

/// Loads a cluster, and says what it took.
async fn measure(
    settings: &Settings,
    profile: Profile,
    cluster: &Cluster,
) -> Result<(Report, Ledger), Error> {
    let load = load_settings(settings, profile, cluster);
    let machine = Machine::look();
    let store_before = cluster.store_bytes();
    let (cpu_before, clock) = (cluster.cpu_us(), std::time::Instant::now());
    let (metrics, scrapes) = (cluster.metrics_address(), AtomicU64::new(0));
    let mut measured = match settings.observed {
        Some(Observed::Everything) => tokio::select! {
            measured = load::run(&load) => measured?,
            failed = observers::scrape(&metrics, &scrapes) => return Err(failed),
        },
        Some(Observed::Nothing | Observed::Whole) | None => load::run(&load).await?,
    };
    let exported = match settings.observed {
        Some(Observed::Everything) => {
            let (executions, scrapes) = (measured.stats.ack.len(), scrapes.into_inner());
            Some(observers::exported(&metrics, executions, scrapes).await?)
        }
        Some(Observed::Nothing | Observed::Whole) | None => None,
    };
    let (cpu_after, wall) = (cluster.cpu_us(), clock.elapsed());
    let store_after = cluster.store_bytes();
    let ledger = std::mem::take(&mut measured.stats.ledger);
    let mut report = report_of(&load, measured, machine);
    let executions = report.acknowledged.max(1) as f64;
    let used: BTreeMap<String, f64> = cpu_after
        .iter()
        .map(|(name, after)| {
            (name.clone(), after.saturating_sub(cpu_before.get(name).copied().unwrap_or(0)) as f64)
        })
        .collect();
    report.machine_cpu_ratio =
        used.values().sum::<f64>() / (wall.as_micros() as f64 * report.machine.cpus as f64);
    report.cpu_us_per_execution = used.into_iter().map(|(name, us)| (name, us / executions)).collect();
    report.store_bytes_per_execution = match (store_before, store_after) {
        (Some(before), Some(after)) => Some(after.saturating_sub(before) as f64 / executions),
        _ => None,
    };
    settings.store.name().clone_into(&mut report.store);
    report.appendfsync = (settings.store == StoreKind::Redis).then(|| settings.appendfsync.to_string());
    report.exported = exported;
    Ok((report, ledger))
}

/// Compares the calls of a run with what the client does alone, now that the node has ended.
fn calls(settings: &Settings, peer: &str, shards: usize, report: &Report) -> Result<Calls, Error> {
    let inputs = (settings.payload_bytes, settings.entropy);
    let client_per_s = client::calls_per_second(peer, shards, inputs, settings.duration.min(CLIENT_FOR))?;
    let made = report.completed_per_s as f64 * CALLS_PER_EXECUTION;
    Ok(Calls { client_per_s, of_client: made / client_per_s.max(1) as f64, hung: settings.hung })
}

/// A report of a load run alone: the suite adds what it knows of processes and store.
#[must_use]
pub fn report_of(load: &load::Settings, measured: Measured, machine: Machine) -> Report {
    let Measured { stats, ack_time, completion_time } = measured;
    let acknowledged = stats.ack.len();
    let ended: u64 = stats.completed.values().sum();
    let per_second = |count: u64, time: Duration| (count as f64 / time.as_secs_f64().max(1e-9)) as u64;
    Report {
        profile: load.profile.name().to_owned(),
        mode: if load.mode == Mode::Standard { "STANDARD" } else { "EXPRESS" }.to_owned(),
        loop_kind: if load.rate.is_some() { "open" } else { "closed" },
        through_scheduler: load.scheduler.is_some(),
        offered_per_s: load.rate.unwrap_or(0),
        achieved_per_s: per_second(acknowledged, ack_time),
        completed_per_s: per_second(ended, completion_time),
        duration_s: load.duration.as_secs_f64(),
        acknowledged,
        completed: stats.completed.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        errors: stats.errors.clone(),
        ack_ms: Percentiles::of(&stats.ack),
        completion_ms: Percentiles::of(&stats.completion),
        payload_bytes: load.payload_bytes,
        entropy: format!("{:?}", load.entropy).to_lowercase(),
        machines: load.machines,
        cpu_us_per_execution: BTreeMap::new(),
        machine_cpu_ratio: 0.0,
        store_bytes_per_execution: None,
        store: "unknown".to_owned(),
        appendfsync: None,
        calls: None,
        exported: None,
        verified: None,
        disk: None,
        machine,
    }
}

/// Writes reports as JSON lines, after what the file holds already if `append`.
///
/// # Errors
/// [`Error::File`].
pub fn write_json(path: &Path, reports: &[impl serde::Serialize], append: bool) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.display().to_string(), source };
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    let mut file = options.open(path).map_err(failed)?;
    for report in reports {
        let line = serde_json::to_string(report).map_err(|error| failed(error.into()))?;
        writeln!(file, "{line}").map_err(failed)?;
    }
    Ok(())
}
