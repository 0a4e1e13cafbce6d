//! The generator.
//!
//! One thread makes the starts when they are due and hands them to the streams; another one, with a runtime of its own,
//! moves the streams and takes the acknowledgements and completions down. A batch's sequence number is the index of its
//! first execution in the schedule, so that a latency needs no look-up. In an open loop a start that cannot be sent in
//! time stays due, and its latency grows; in a closed loop (`--max`) so many executions are kept on their way.

mod mix;
mod pace;
mod stats;
mod target;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use proto::executor::v1::Mode;
use tonic::transport::{Channel, Endpoint};

pub use mix::{Observed, Told};
pub use stats::Stats;
pub(crate) use target::unix_ms;
pub use target::{Target, Via};

use crate::error::Error;
use crate::payload::Entropy;
use crate::profile::{PEER, Profile};
use crate::schedule::Schedule;
use crate::tls;

/// How long after its last start a run waits for what is still missing.
const GRACE: Duration = Duration::from_secs(30);

/// What a run does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's public address.
    pub address: String,
    /// The scheduler's address, when the batches go through it.
    pub scheduler: Option<String>,
    /// Which machine.
    pub profile: Profile,
    /// How executions are kept.
    pub mode: Mode,
    /// Executions a second; `None` is a closed loop.
    pub rate: Option<u64>,
    /// How long starts are made.
    pub duration: Duration,
    /// Bytes of each input.
    pub payload_bytes: usize,
    /// How predictable inputs are.
    pub entropy: Entropy,
    /// Different machines mixed in each batch.
    pub machines: usize,
    /// Instead of these: one machine, one in a hundred starts told in full if anything is, and one in a hundred that fails.
    pub observed: Option<Observed>,
    /// Executions on their way in a closed loop, for each shard.
    pub window: usize,
    /// Seed of the inputs.
    pub seed: u64,
    /// Whether progress is shown.
    pub progress: bool,
    /// `http://host:port` of the HTTP peer, for the profiles that need it.
    pub peer: Option<String>,
}

impl Settings {
    /// What is run.
    pub(crate) fn definition(&self) -> String {
        let definition = self.profile.definition();
        self.peer.as_ref().map_or(definition.clone(), |peer| definition.replace(PEER, peer))
    }
}

/// Opens a channel with windows that fit batches.
///
/// # Errors
/// [`Error::Connect`] with the address and the reason.
pub async fn connect(address: &str) -> Result<Channel, Error> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let failed = |reason: String| Error::Connect { address: address.to_owned(), reason };
    let endpoint = Endpoint::from_shared(url).map_err(|error| failed(error.to_string()))?;
    let endpoint = endpoint
        .tcp_nodelay(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_timeout(Duration::from_secs(5));
    trust::channel(&endpoint, tls::trust()).await.map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        failed(source.unwrap_or_else(|| error.to_string()))
    })
}

/// What a run measured.
#[derive(Debug)]
pub struct Measured {
    /// Counts, latencies, and what was acknowledged.
    pub stats: Stats,
    /// From the first scheduled instant to the last acknowledgement.
    pub ack_time: Duration,
    /// From the first scheduled instant to the last completion.
    pub completion_time: Duration,
}

/// Runs the load and waits for what it started.
///
/// # Errors
/// A server that cannot be reached or refuses the definition; errors of single starts are counted instead.
pub async fn run(settings: &Settings) -> Result<Measured, Error> {
    let schedule = settings.rate.map(|rate| Schedule::new(rate, settings.duration));
    let shared = Arc::new(stats::Shared::new(schedule, settings.window));
    let target = Target::open(settings, &shared).await?;
    let lanes = target.lanes();
    let began = shared.begin();
    let pacer = pace::spawn(settings, Arc::clone(&shared), lanes)?;
    shared.set_pacer(pacer.thread().clone());
    let progress =
        settings.progress.then(|| tokio::spawn(stats::show_progress(Arc::clone(&shared), settings.duration)));
    while !pacer.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pacer.join().map_err(|_| Error::Process("the generator's thread has panicked".to_owned()))?;
    wait_for_the_rest(&shared).await;
    if let Some(progress) = progress {
        progress.abort();
    }
    let times = (shared.last_ack(), shared.last_completion());
    target.close().await;
    let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.duration_since(began));
    Ok(Measured { ack_time: since(times.0), completion_time: since(times.1), stats: shared.take() })
}

/// Until every start is answered and every acknowledged one has ended, or nothing more comes for a while.
async fn wait_for_the_rest(shared: &stats::Shared) {
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        let answered = shared.acknowledged.load(Relaxed) + shared.refused.load(Relaxed);
        let ended = shared.completed.load(Relaxed);
        if answered >= shared.sent.load(Relaxed) && ended >= shared.acknowledged.load(Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
