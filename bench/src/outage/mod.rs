//! Those who look at a node hang, are gone, and come back, while it runs a load of which everything is told.
//!
//! Metrics go by OTLP and are scraped; histories go to files, by OTLP, to CLS and by Kafka's protocol, with the smallest queues.
//! Four periods of the same load: all is well; every peer takes connections and answers nothing, and scrapers stand still in
//! the middle of a scrape; every peer resets connections; all is well again. What must hold: in each period every start is
//! acknowledged and every execution succeeds; the node's memory stays within what its queues may hold, though several times
//! as much was told; each exporter drops in both outages, and each drop is counted: in the end as much was taken and dropped as
//! was offered, nothing waits, and each took more once its peer was back. What is stored is read back. Latencies are printed, and
//! no verdict depends on them.
//!
//! What may fail: processes that do not start, and a void run; what does not hold is among the faults.

mod broker;
mod counts;
mod peers;

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::load::{self, Observed};
use crate::machine::{Machine, resident_bytes};
use crate::profile::Profile;
use crate::report::{Percentiles, thousands};
use crate::suite::{self, Cluster};

use counts::{Counts, EXPORTERS, Exporter};
use peers::{Mood, Peers, QUEUE_BYTES};

/// What a node's memory may grow by in an outage: what waits for the exporter's thread, and the queues of four sinks
/// (docs/history-export.md).
const ROOM_BYTES: u64 = (64 << 20) + 4 * QUEUE_BYTES;
/// An execution of one Pass state has so many events, each with the input or the output.
const EVENTS: u64 = 4;
/// How long what is counted, or sent, may take to come.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The load.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Executions a second.
    pub rate: u64,
    /// How long each of the four periods is.
    pub each: Duration,
    /// Bytes of each input.
    pub payload_bytes: usize,
}

/// What a period came to.
#[derive(Debug, Clone, Serialize)]
pub struct Period {
    /// How the peers were.
    pub peers: String,
    /// Executions that were acknowledged.
    pub acknowledged: u64,
    /// From the scheduled instant to the acknowledgement.
    pub ack_ms: Percentiles,
    /// The most that the node's memory took.
    pub resident_bytes_max: u64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Outage {
    /// `outage`.
    pub profile: &'static str,
    /// Executions a second.
    pub rate: u64,
    /// Seconds of each period.
    pub each_s: f64,
    /// Bytes of each input.
    pub payload_bytes: usize,
    /// In their order.
    pub periods: Vec<Period>,
    /// What each exporter came to.
    pub exporters: Vec<Exporter>,
    /// What the node's memory may have grown by.
    pub room_bytes: u64,
    /// What did not hold.
    pub faults: Vec<String>,
    /// The surroundings.
    pub machine: Machine,
}

impl Settings {
    /// Whether so much is told that a node that kept it all would be found.
    fn check(&self) -> Result<(), Error> {
        let executions = (self.rate as f64 * self.each.as_secs_f64()) as u64;
        let told = 2 * executions * EVENTS * self.payload_bytes as u64;
        if told < 2 * ROOM_BYTES {
            return Err(Error::Settings(format!(
                "{told} bytes are told in both outages, and {ROOM_BYTES} may be kept: give more --rate, --each or --payload"
            )));
        }
        Ok(())
    }
}

/// Runs it.
///
/// # Errors
/// Settings that show nothing, processes that do not start, and a void run.
pub async fn run(settings: &Settings, suite: &suite::Settings) -> Result<Outage, Error> {
    settings.check()?;
    let machine = Machine::look();
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&suite.dir);
    let directory =
        directory.map_err(|source| Error::File { path: suite.dir.display().to_string(), source })?;
    let mut peers = Peers::start().await?;
    let suite = suite::Settings { node_flags: peers.node_flags(directory.path())?, ..suite.clone() };
    let mut cluster = Cluster::start(&suite, Profile::Pass).await?;
    let mut run =
        Run { settings, suite: &suite, periods: Vec::new(), ledgers: Vec::new(), faults: Vec::new() };
    for mood in [Mood::Well, Mood::Hang, Mood::Refuse, Mood::Well] {
        peers.become_(mood, &cluster.metrics_address()).await?;
        run.period(mood, &cluster).await?;
    }
    let counts = run.settle(&cluster).await?;
    run.check_memory();
    let Run { periods, ledgers, faults, .. } = run;
    if let Some(stored) = cluster.read_back().await? {
        ledgers.iter().try_for_each(|ledger| ledger.verify(&stored).map(drop))?;
    }
    Ok(Outage {
        profile: "outage",
        rate: settings.rate,
        each_s: settings.each.as_secs_f64(),
        payload_bytes: settings.payload_bytes,
        periods,
        exporters: counts.exporters(),
        room_bytes: ROOM_BYTES,
        faults,
        machine,
    })
}

/// What is known so far.
struct Run<'a> {
    settings: &'a Settings,
    suite: &'a suite::Settings,
    periods: Vec<Period>,
    ledgers: Vec<Ledger>,
    faults: Vec<String>,
}

impl Run<'_> {
    async fn period(&mut self, mood: Mood, cluster: &Cluster) -> Result<(), Error> {
        let before = Counts::of(cluster).await?;
        let load = load::Settings {
            observed: Some(Observed::Whole),
            rate: Some(self.settings.rate),
            duration: self.settings.each,
            payload_bytes: self.settings.payload_bytes,
            progress: false,
            ..suite::load_settings(self.suite, Profile::Pass, cluster)
        };
        let mut resident_bytes_max = 0;
        let mut measured = tokio::select! {
            measured = load::run(&load) => measured?,
            () = watch_memory(cluster.node_pid(), &mut resident_bytes_max) => return Ok(()),
        };
        let peers = format!("{mood:?}").to_lowercase();
        let (acknowledged, errors) = (measured.stats.ack.len(), measured.stats.errors.values().sum::<u64>());
        let succeeded = measured.stats.completed.get("SUCCEEDED").copied().unwrap_or(0);
        let due = (self.settings.rate as f64 * self.settings.each.as_secs_f64()).round() as u64;
        if (acknowledged, errors, succeeded) != (due, 0, due) {
            self.faults.push(format!(
                "{peers}: of {due} starts {acknowledged} were acknowledged, {errors} refused, {succeeded} succeeded"
            ));
        }
        self.ledgers.push(std::mem::take(&mut measured.stats.ledger));
        let ack_ms = Percentiles::of(&measured.stats.ack);
        self.periods.push(Period { peers: peers.clone(), acknowledged, ack_ms, resident_bytes_max });
        let wanted: fn(&Counts, &Counts, &str) -> bool = match mood {
            Mood::Well => |now, before, exporter| now.taken(exporter) > before.taken(exporter),
            Mood::Hang | Mood::Refuse => {
                |now, before, exporter| now.dropped(exporter) > before.dropped(exporter)
            }
        };
        for exporter in EXPORTERS {
            if !until(cluster, |now| wanted(now, &before, exporter)).await? {
                let what = if mood == Mood::Well { "takes nothing" } else { "has dropped nothing" };
                self.faults.push(format!("{peers}: {exporter} {what}"));
            }
        }
        let now = Counts::of(cluster).await?;
        for exporter in EXPORTERS.into_iter().filter(|exporter| now.waiting_bytes(exporter) > QUEUE_BYTES) {
            self.faults.push(format!("{peers}: {} bytes wait for {exporter}", now.waiting_bytes(exporter)));
        }
        Ok(())
    }

    /// Waits until nothing waits. Files may have lost some where the machine is too busy for the exporter's thread.
    async fn settle(&mut self, cluster: &Cluster) -> Result<Counts, Error> {
        let histories = EXPORTERS.into_iter().filter(|exporter| exporter.starts_with("history"));
        for exporter in histories.chain([counts::FILES]) {
            if !until(cluster, |now| now.is_settled(exporter)).await? {
                let counts = Counts::of(cluster).await?;
                self.faults
                    .push(format!("{exporter} does not come to rest: {:?}", counts.exporter(exporter)));
            }
        }
        Counts::of(cluster).await
    }

    fn check_memory(&mut self) {
        let Some(well) = self.periods.first().map(|period| period.resident_bytes_max) else { return };
        for period in &self.periods {
            let grown = period.resident_bytes_max.saturating_sub(well);
            if grown > ROOM_BYTES {
                self.faults.push(format!("{}: the node's memory grew by {grown} bytes", period.peers));
            }
        }
    }
}

/// Until it is dropped.
async fn watch_memory(pid: u32, most: &mut u64) {
    loop {
        *most = resident_bytes(pid).unwrap_or(0).max(*most);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether it comes to this in time.
async fn until(cluster: &Cluster, holds: impl Fn(&Counts) -> bool) -> Result<bool, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if holds(&Counts::of(cluster).await?) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Outage {
    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows = vec![format!(
            "        outage  {}/s with {} B each, {:.0} s each period\n",
            thousands(self.rate),
            thousands(self.payload_bytes as u64),
            self.each_s
        )];
        for Period { peers, acknowledged, ack_ms, resident_bytes_max } in &self.periods {
            let (acknowledged, megabytes) = (thousands(*acknowledged), resident_bytes_max >> 20);
            rows.push(format!(
                "{peers:>14}  {acknowledged} acknowledged, {}, {megabytes} MiB\n",
                ack_ms.text()
            ));
        }
        for Exporter { name, offered, taken, dropped, dropped_records } in &self.exporters {
            let [offered, taken, dropped, records] =
                [offered, taken, dropped, dropped_records].map(|count| thousands(*count));
            rows.push(format!(
                "{name:>14}  {offered} offered = {taken} taken and {dropped} dropped ({records} records)\n"
            ));
        }
        rows.extend(self.faults.iter().map(|fault| format!("         FAULT  {fault}\n")));
        rows.concat()
    }
}
