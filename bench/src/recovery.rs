//! How long a node takes to serve again when it was killed with so many executions open (T12).
//!
//! EXPRESS executions are left waiting for a worker that does not come; then others are logged that end at once, as many
//! times more; then the node is killed and started again. A run is void unless everything that was acknowledged and not
//! ended is open again. What may fail: a process that does not start, and a run of which not all came back.

use std::time::Duration;

use proto::executor::v1::Mode;
use serde::Serialize;

use crate::error::Error;
use crate::load;
use crate::machine::Machine;
use crate::payload::Entropy;
use crate::profile::Profile;
use crate::scrape::values;
use crate::suite::{self, Cluster};

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
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// `recovery`.
    pub profile: &'static str,
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
    /// The surroundings.
    pub machine: Machine,
}

impl Recovery {
    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { open, closed, store, serving_s, recovery_s, blocks, resident_bytes, .. } = self;
        let before = self.resident_bytes_before;
        format!(
            "      recovery  {open} open, {closed} closed, {store}\n       serving  {serving_s:?} s after the start\n      \
             recovery  {recovery_s:?} s\n        blocks  {blocks:?}\n      resident  {resident_bytes:?}, before {before}\n"
        )
    }
}

fn load_of(cluster: &Cluster, profile: Profile, rate: u64, count: u64) -> load::Settings {
    load::Settings {
        address: cluster.node_address(),
        scheduler: None,
        profile,
        mode: Mode::Express,
        rate: Some(rate),
        duration: Duration::from_secs_f64(count as f64 / rate as f64),
        payload_bytes: 200,
        entropy: Entropy::Templated,
        machines: 1,
        window: 32_768,
        seed: 0x5EED,
        progress: false,
    }
}

/// Measures.
///
/// # Errors
/// Processes that do not start; a run of which not everything came back.
pub async fn run(settings: &Settings, suite: &suite::Settings) -> Result<Recovery, Error> {
    let Settings { open, closed_per_open, rate, kills } = *settings;
    let machine = Machine::look();
    let mut cluster = Cluster::start(suite, Profile::Pass).await?;
    let waiting = load::run(&load_of(&cluster, Profile::ThreeTasks, OPEN_PER_S.min(open), open)).await?;
    let left_open = waiting.stats.ack.len();
    let ended = load::run(&load_of(&cluster, Profile::Pass, rate, open * closed_per_open)).await?;
    let mut recovery = Recovery {
        profile: "recovery",
        open: left_open,
        closed: ended.stats.ack.len(),
        store: suite.store.name().to_owned(),
        serving_s: Vec::new(),
        recovery_s: Vec::new(),
        blocks: Vec::new(),
        resident_bytes: Vec::new(),
        resident_bytes_before: cluster.node_resident_bytes(),
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
    Ok(recovery)
}
