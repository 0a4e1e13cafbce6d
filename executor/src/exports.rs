//! What leaves the node to be looked at elsewhere: histories and pushed metrics, on a thread each.
//!
//! Invariants: both start before the shards and end after them, so that what these have told and counted last is sent; none
//! holds up the other. What may fail: the start.

use std::time::Duration;

use export::{Exporter, Intake, Page};
use futures_util::future::join;
use telemetry::NodeMetrics;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::node::StartError;
use crate::{history_export, metrics_push};

/// How long what waits may take to be sent in any case, once the shards have ended.
const GRACE: Duration = Duration::from_secs(1);
/// No longer than this for the last metrics: who hangs holds up no drain.
const METRICS_MAX: Duration = Duration::from_secs(2);

/// The threads.
pub(crate) struct Exports {
    history: Option<Exporter>,
    metrics: Option<Exporter>,
}

impl Exports {
    /// Starts what is configured, and gives an intake for each shard where histories are exported.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(
        config: &Config,
        metrics: &NodeMetrics,
        clock: &Clock,
    ) -> Result<(Self, Vec<Intake<Page>>), StartError> {
        let (history, intakes) = history_export::start(config, metrics, clock)?;
        let metrics = metrics_push::start(config, metrics, clock)?;
        Ok((Self { history, metrics }, intakes))
    }

    /// What waits is sent, in what is left of a drain's time and a moment in any case.
    pub async fn end(self, deadline: Instant) {
        let within = (deadline - Instant::now()).max(GRACE);
        join(end(self.history, "histories", within), end(self.metrics, "metrics", within.min(METRICS_MAX)))
            .await;
    }
}

async fn end(exporter: Option<Exporter>, what: &str, within: Duration) {
    let Some(exporter) = exporter else { return };
    if !exporter.stop(within).await {
        tracing::warn!(what, "an export did not end in time");
    }
}
