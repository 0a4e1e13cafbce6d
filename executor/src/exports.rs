//! What leaves the node to be looked at elsewhere: histories, traces and pushed metrics, on a thread each.
//!
//! Invariants: all start before the shards and end after them, so that what these have told and counted last is sent; metrics end
//! last, so that they tell what the others had to leave behind; who hangs holds up no drain for long. What may fail: the start.

use std::time::Duration;

use export::Exporter;
use futures_util::future::join;
use telemetry::{NodeMetrics, Signal};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::node::StartError;
use crate::shard::{Outside, Sampling};
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
        config.check_secrets()?;
        let (history, pages) = history_export::start(config, metrics, clock)?;
        let (traces, spans) = traces_export::start(config, metrics)?;
        let metrics = metrics_push::start(config, metrics, clock)?;
        let sampling = config.traces.sampling(config.shards);
        let outside = |shard: usize| Outside {
            history: pages.get(shard).cloned(),
            spans: spans.get(shard).cloned().map(|spans| (spans, sampling)),
        };
        let outside = (0..config.shards as usize).map(outside).collect();
        announce(config);
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

/// One line for each way out.
fn announce(config: &Config) {
    for (signal, sink, to) in ways(config) {
        tracing::info!(signal = signal.as_str(), sink, to, "exports");
    }
    if config.traces.traces_otlp.is_some() {
        let Sampling { ratio, followed_per_s } = config.traces.sampling(1);
        tracing::info!(ratio, followed_per_s, "samples executions for traces");
    }
}

/// What is exported, how, and to where.
fn ways(config: &Config) -> Vec<(Signal, &'static str, String)> {
    let (history, push, traces) = (&config.history, &config.push, &config.traces);
    let at = |url: &Option<String>, more: &Option<String>| {
        // A query may hold a token.
        let place = url.as_deref()?.split('?').next().unwrap_or_default();
        Some(more.as_deref().map_or_else(|| place.to_owned(), |more| format!("{place} ({more})")))
    };
    let brokers = Some(history.history_kafka.join(",")).filter(|brokers| !brokers.is_empty());
    let cloudwatch = push.metrics_cloudwatch_endpoint.clone().or_else(|| push.metrics_cloudwatch.clone());
    let cloudwatch = cloudwatch.filter(|_| push.metrics_cloudwatch.is_some());
    let files = history.history_files.as_ref().map(|dir| dir.display().to_string());
    let ways = [
        (Signal::History, "files", files),
        (Signal::History, "cls", at(&history.history_cls, &history.history_cls_topic)),
        (Signal::History, "redis", at(&history.history_redis, &history.history_redis_stream)),
        (Signal::History, "kafka", at(&brokers, &history.history_kafka_topic)),
        (Signal::History, "otlp", at(&history.history_otlp, &None)),
        (Signal::Metrics, "otlp", at(&push.metrics_otlp, &None)),
        (Signal::Metrics, "cloudwatch", at(&cloudwatch, &push.metrics_cloudwatch_namespace)),
        (Signal::Metrics, "tencent", at(&push.metrics_tencent, &None)),
        (Signal::Spans, "otlp", at(&traces.traces_otlp, &None)),
    ];
    ways.into_iter().filter_map(|(signal, sink, to)| Some((signal, sink, to?))).collect()
}

async fn end(exporter: Option<Exporter>, what: &str, within: Duration) {
    let Some(exporter) = exporter else { return };
    if !exporter.stop(within).await {
        tracing::warn!(what, "an export did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HistoryOptions, PushOptions, TracesOptions};

    #[test]
    fn a_node_says_where_each_signal_goes() {
        let text = |text: &str| Some(text.to_owned());
        let history = HistoryOptions {
            history_files: Some("/h".into()),
            history_kafka: vec!["a:1".to_owned(), "b:2".to_owned()],
            history_kafka_topic: text("t"),
            ..HistoryOptions::default()
        };
        let push = PushOptions { metrics_cloudwatch: text("us-east-1"), ..PushOptions::default() };
        let traces =
            TracesOptions { traces_otlp: text("https://h/o?token=secret"), ..TracesOptions::default() };
        let config = Config { history, push, traces, ..Config::embedded() };
        let told = |(signal, sink, to): &(Signal, &str, String)| format!("{} {sink} {to}", signal.as_str());
        let told: Vec<String> = ways(&config).iter().map(told).collect();
        let expected = [
            "history files /h",
            "history kafka a:1,b:2 (t)",
            "metrics cloudwatch us-east-1",
            "spans otlp https://h/o",
        ];
        assert_eq!(told, expected);
        assert!(ways(&Config::embedded()).is_empty());
    }
}
