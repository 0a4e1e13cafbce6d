//! What leaves the node to be looked at elsewhere: histories, traces and pushed metrics, on a thread each.
//!
//! Invariants: all start before the shards and end after them, so that what these have told and counted last is sent; metrics end
//! last, so that they tell what the others had to leave behind; who hangs holds up no drain for long. What may fail: the start.

use std::time::Duration;

use export::Exporter;
use futures_util::future::join;
use telemetry::NodeMetrics;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::node::StartError;
use crate::shard::Outside;
use crate::{history_export, metrics_push, traces_export};

/// How long what waits may take to be sent in any case, once the shards have ended.
const GRACE: Duration = Duration::from_secs(1);
/// No longer than this for the last metrics.
const METRICS_MAX: Duration = Duration::from_secs(2);
/// The same of the last histories and spans.
const OTHERS_MAX: Duration = Duration::from_secs(5);

/// The threads.
pub(crate) struct Exports {
    history: Option<Exporter>,
    traces: Option<Exporter>,
    metrics: Option<Exporter>,
}

impl Exports {
    /// Starts what is configured, and gives each shard its ends.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(
        config: &Config,
        metrics: &NodeMetrics,
        clock: &Clock,
    ) -> Result<(Self, Vec<Outside>), StartError> {
        let (history, pages) = history_export::start(config, metrics, clock)?;
        let (traces, spans) = traces_export::start(config, metrics)?;
        let metrics = metrics_push::start(config, metrics, clock)?;
        let sampling = config.traces.sampling(config.shards);
        let outside = |shard: usize| Outside {
            history: pages.get(shard).cloned(),
            spans: spans.get(shard).cloned().map(|spans| (spans, sampling)),
        };
        let outside = (0..config.shards as usize).map(outside).collect();
        Ok((Self { history, traces, metrics }, outside))
    }

    /// What waits is sent, in what is left of a drain's time and a moment in any case.
    pub async fn end(self, deadline: Instant) {
        let within = |most| (deadline - Instant::now()).max(GRACE).min(most);
        let others = within(OTHERS_MAX);
        join(end(self.history, "histories", others), end(self.traces, "traces", others)).await;
        end(self.metrics, "metrics", within(METRICS_MAX)).await;
    }
}

async fn end(exporter: Option<Exporter>, what: &str, within: Duration) {
    let Some(exporter) = exporter else { return };
    if !exporter.stop(within).await {
        tracing::warn!(what, "an export did not end in time");
    }
}
