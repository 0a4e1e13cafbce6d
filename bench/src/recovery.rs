//! How long a node takes to serve again when it was killed with so many executions open (T12).
//!
//! Executions are left waiting for a worker that does not come: EXPRESS ones for their first task, STANDARD ones for their
//! second, with the outcome of the first in the journal. Then others are logged that end at once, as many times more; then
//! the node is killed and started again. After the last kill a worker comes. A run is void unless as many were left open as
//! were asked for, each of them ended once, by its id, and the tasks that were handed out are those that were to be done:
//! all of an EXPRESS execution, of a STANDARD one those that were not done before. What may fail: a process that does not
//! start, and a void run.

use std::time::{Duration, Instant};

use proto::executor::v1::Mode;
use serde::Serialize;

use crate::attend::Attendant;
use crate::error::Error;
use crate::load;
use crate::machine::Machine;
use crate::payload::Entropy;
use crate::profile::{ECHO_POOL, Profile};
use crate::scrape::values;
use crate::suite::{self, Cluster};

/// Tasks of an execution that is left open.
const TASKS: u64 = 3;
/// How long the last ends may take after the last answer.
const ENDED_WITHIN: Duration = Duration::from_secs(60);
/// Starts a second of what is left open.
const OPEN_PER_S: u64 = 40_000;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Executions that are open when the node is killed.
    pub open: u64,
    /// For each of them so many that have ended were logged.
    pub closed_per_open: u64,
    /// Starts a second of those.
    pub rate: u64,
    /// How often the node is killed.
    pub kills: u32,
    /// How the open ones are kept.
    pub mode: Mode,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// `recovery`.
    pub profile: &'static str,
    /// `express` or `standard`: what is open.
    pub mode: &'static str,
    /// Executions open when the node was killed.
    pub open: u64,
    /// Executions that were logged and have ended.
    pub closed: u64,
    /// `redis` or `file`.
    pub store: String,
    /// From the start of the process until it serves, of each kill, in seconds.
    pub serving_s: Vec<f64>,
    /// From the first acquire of the slowest shard until all it has is back, of each kill, in seconds.
    pub recovery_s: Vec<f64>,
    /// Blocks that were read after checkpoints, of each kill.
    pub blocks: Vec<u64>,
    /// Bytes of the node when it served again, of each kill.
    pub resident_bytes: Vec<u64>,
    /// Bytes of the node before the first kill.
    pub resident_bytes_before: u64,
    /// Tasks that were handed out after the last kill, until everything had ended.
    pub tasks_after: u64,
    /// The surroundings.
    pub machine: Machine,
}

impl Recovery {
    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { mode, open, closed, store, serving_s, recovery_s, blocks, resident_bytes, .. } = self;
        let tasks = self.tasks_after;
        let before = self.resident_bytes_before;
        format!(
            "      recovery  {open} open ({mode}), {closed} closed, {store}; all ended once, after {tasks} tasks\n       serving  {serving_s:?} s after the start\n      \
             recovery  {recovery_s:?} s\n        blocks  {blocks:?}\n      resident  {resident_bytes:?}, before {before}\n"
        )
    }
}

fn load_of(cluster: &Cluster, (profile, mode): (Profile, Mode), rate: u64, count: u64) -> load::Settings {
    load::Settings {
        address: cluster.node_address(),
        scheduler: None,
        profile,
        mode,
        rate: Some(rate),
        duration: Duration::from_secs_f64(count as f64 / rate as f64),
        payload_bytes: 200,
        entropy: Entropy::Templated,
        machines: 1,
        observed: None,
        window: 32_768,
        seed: 0x5EED,
        progress: false,
        peer: None,
    }
}

/// Measures.
///
/// # Errors
/// Processes that do not start; a run of which not everything came back.
pub async fn run(settings: &Settings, suite: &suite::Settings) -> Result<Recovery, Error> {
    let Settings { open, closed_per_open, rate, kills, mode } = *settings;
    let machine = Machine::look();
    let mut cluster = Cluster::start(suite, Profile::Pass).await?;
    let tasks = (Profile::ThreeTasks, mode);
    let waiting = load::run(&load_of(&cluster, tasks, OPEN_PER_S.min(open), open)).await?.stats.ledger;
    let left_open = waiting.len();
    if left_open < open {
        return Err(Error::Void(format!("{open} executions were to be left open, {left_open} were")));
    }
    if mode == Mode::Standard {
        Attendant::open(&cluster.node_address(), ECHO_POOL).await?.answer_first(left_open).await?;
    }
    let pass = (Profile::Pass, Mode::Express);
    let ended = load::run(&load_of(&cluster, pass, rate, open * closed_per_open)).await?.stats.ledger;
    let mut recovery = Recovery {
        profile: "recovery",
        mode: if mode == Mode::Standard { "standard" } else { "express" },
        open: left_open,
        closed: ended.len(),
        store: suite.store.name().to_owned(),
        serving_s: Vec::new(),
        recovery_s: Vec::new(),
        blocks: Vec::new(),
        resident_bytes: Vec::new(),
        resident_bytes_before: cluster.node_resident_bytes(),
        tasks_after: 0,
        machine,
    };
    for _ in 0..kills {
        let took = cluster.kill_and_restart(suite).await?;
        let metrics = cluster.metrics().await?;
        let sum = |name: &str| values(&metrics, name).sum::<f64>();
        let back = sum("executor_recovered_executions_total") as u64;
        if back != left_open {
            return Err(Error::Void(format!("{left_open} executions were open, {back} came back")));
        }
        recovery.serving_s.push(took.as_secs_f64());
        recovery.recovery_s.push(values(&metrics, "executor_recovery_seconds").fold(0.0, f64::max));
        recovery.blocks.push(sum("executor_recovery_blocks_total") as u64);
        recovery.resident_bytes.push(cluster.node_resident_bytes());
    }
    let done = if mode == Mode::Standard { 1 } else { 0 };
    recovery.tasks_after = finish(&cluster, (TASKS - done) * left_open).await?;
    if let Some(stored) = cluster.read_back().await? {
        waiting.verify(&stored)?;
        ended.verify(&stored)?;
    }
    Ok(recovery)
}

/// Lets a worker do what is left to do, which is so many tasks; how many it was given.
async fn finish(cluster: &Cluster, tasks: u64) -> Result<u64, Error> {
    let mut attendant = Attendant::open(&cluster.node_address(), ECHO_POOL).await?;
    attendant.answer(tasks).await?;
    let until = Instant::now() + ENDED_WITHIN;
    loop {
        let open = values(&cluster.metrics().await?, "executor_executions_open").sum::<f64>();
        if open == 0.0 {
            return Ok(attendant.given);
        }
        // A task too many keeps its execution open: nobody answers it.
        if Instant::now() > until {
            return Err(Error::Void(format!("after {tasks} tasks {open} executions are still open")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
