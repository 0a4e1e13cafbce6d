//! Pushed metrics: snapshots of all cells, taken at an interval and brought to exporters.
//!
//! An exporter is a [`Sink`] of snapshots behind a [`pump`] of its own. Invariants: snapshots are taken on this thread, never on
//! a shard's; one that is on its way is tried until the next one is due, one more may wait, and what does not fit is dropped and
//! counted: the older one. A dropped snapshot costs resolution and no counts: what cells hold is cumulative, and the next one tells it. What
//! may fail: starting the thread.

mod answer;
mod cloudwatch;
mod deltas;
mod tencent;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use telemetry::{ExportMetrics, IntakeMetrics, NodeMetrics, Signal, Snapshot};
use tokio::time::MissedTickBehavior;

use crate::exporter::{Named, until_ended};
use crate::{Exporter, Feed, PumpOptions, Retry, Sink, Stop, Weigh, pump};
pub use cloudwatch::{CloudWatch, CloudWatchOptions};
pub use tencent::{TencentMonitor, TencentOptions};

/// What a series takes in memory, about: most of it is the buckets of a histogram.
const SERIES_BYTES: usize = 256;
/// Of one snapshot, and of the two that may wait: more than the bounds of labels let a node have.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// The settings of a cloud's exporter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The endpoint.
    #[error(
        "the endpoint {0:?} is no http:// or https:// URL, such as https://monitoring.us-east-1.amazonaws.com"
    )]
    Endpoint(String),
    /// The HTTP client.
    #[error("no HTTP client towards a cloud's monitoring: {0}")]
    Client(#[from] reqwest::Error),
}

/// An endpoint as it is signed and called: its root.
fn url(endpoint: String) -> Result<String, PushError> {
    let parsed = url::Url::parse(&endpoint).ok();
    let known = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let mut url = known.ok_or(PushError::Endpoint(endpoint))?;
    url.set_path("/");
    url.set_query(None);
    Ok(url.into())
}

impl Weigh for Snapshot {
    fn bytes(&self) -> usize {
        self.families.iter().map(|family| family.series.len() * SERIES_BYTES).sum()
    }

    fn records(&self) -> u64 {
        self.families.iter().map(|family| family.series.len() as u64).sum()
    }
}

/// An exporter before it runs: made on the thread.
type Make = Box<dyn FnOnce(Stop) -> (Feed<Arc<Snapshot>>, LocalBoxFuture<'static, ()>) + Send>;

struct Due {
    make: Make,
    named: Named,
    every: Duration,
    offered: Arc<IntakeMetrics>,
}

/// Exporters of metrics, to be started together.
pub struct MetricsPush {
    node: NodeMetrics,
    exporters: Vec<Due>,
}

impl std::fmt::Debug for MetricsPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsPush").field("exporters", &self.exporters.len()).finish_non_exhaustive()
    }
}

impl MetricsPush {
    /// Of these cells, without exporters yet.
    #[must_use]
    pub fn new(node: NodeMetrics) -> Self {
        Self { node, exporters: Vec::new() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exporters.is_empty()
    }

    /// One more exporter, called `name` in logs, that gets a snapshot at the start, then every so often, and at the end. It
    /// is made on the thread.
    #[must_use]
    pub fn and<S, M>(
        mut self,
        name: &'static str,
        every: Duration,
        metrics: &Arc<ExportMetrics>,
        make: M,
    ) -> Self
    where
        S: Sink<Arc<Snapshot>> + 'static,
        M: FnOnce() -> S + Send + 'static,
    {
        let (cells, offered) = (Arc::clone(metrics), Arc::<IntakeMetrics>::default());
        metrics.share_intake(&offered);
        let make: Make = Box::new(move |stop| {
            let (feed, pump) = pump((Signal::Metrics, name), options(every), cells, make(), stop);
            (feed, Box::pin(pump.run()))
        });
        let named = ((Signal::Metrics, name), Arc::clone(metrics));
        self.exporters.push(Due { make, named, every, offered });
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self) -> io::Result<Exporter> {
        Exporter::start("metrics-push", move |stop| run(self, stop))
    }
}

/// One on its way, one that waits.
fn options(every: Duration) -> PumpOptions {
    let usual = PumpOptions::default();
    PumpOptions {
        queue_items: 2,
        queue_bytes: 2 * SNAPSHOT_BYTES_MAX,
        batch_items: 1,
        batch_bytes: SNAPSHOT_BYTES_MAX,
        batch_age: Duration::ZERO,
        retry: Retry { age: every, ..usual.retry },
        latest: true,
        ..usual
    }
}

/// Until it is stopped and the exporters have ended.
async fn run(push: MetricsPush, mut stop: Stop) {
    let (stop_pumps, asked) = Stop::new();
    let mut pumps = Vec::new();
    let (mut feeders, mut named) = (Vec::new(), Vec::new());
    for Due { make, named: name, every, offered } in push.exporters {
        named.push(name);
        let (feed, pump) = make(asked.clone());
        pumps.push(tokio::task::spawn_local(pump));
        feeders.push(feed_until(push.node.clone(), every, feed, offered, stop.clone()));
    }
    join_all(feeders).await;
    stop_pumps.send_replace(Some(stop.asked().await));
    until_ended(pumps, &named).await;
}

/// A snapshot at once, every so often, and at the end.
async fn feed_until(
    node: NodeMetrics,
    every: Duration,
    feed: Feed<Arc<Snapshot>>,
    offered: Arc<IntakeMetrics>,
    mut stop: Stop,
) {
    let mut due = tokio::time::interval(every);
    // After a pause of the machine one snapshot is enough.
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            _ = due.tick() => {}
            _ = stop.asked() => stopping = true,
        }
        offered.offered.add(1);
        feed.push([Arc::new(node.snapshot())]);
    }
}
