//! The export of histories, as the node's configuration has it.
//!
//! One thread for all sinks, one intake for each shard. It starts before the shards and ends after them, so that what they
//! have told last is sent. What may fail: the configuration, with [`HistoryError`]; what sinks do later is theirs.

use std::sync::Arc;

use export::otlp::{OtlpError, OtlpLogs};
use export::sinks::cls::{self, Cls, ClsError};
use export::sinks::files::Files;
use export::sinks::kafka::{self, Kafka};
use export::sinks::redis::{Redis, RedisUrlError};
use export::{Exporter, History, Intake, IntakeBounds, Now, Page};
use tasks::http::SetupError;
use telemetry::{NodeMetrics, Signal};

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::limits::{HISTORY_INTAKE_BYTES, HISTORY_INTAKE_BYTES_MIN};

/// Why histories cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The authorities that servers may have certificates of.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// CLS.
    #[error(transparent)]
    Cls(#[from] ClsError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisUrlError),
    /// OTLP.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The exporter's thread.
    #[error("the thread that exports histories cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts what is configured, and gives an intake for each shard; nothing where no sink is.
///
/// # Errors
/// [`HistoryError`]
pub(crate) fn start(
    config: &Config,
    metrics: &NodeMetrics,
    clock: &Clock,
) -> Result<(Option<Exporter>, Vec<Intake<Page>>), HistoryError> {
    let (sinks, pump) = (config.history.sinks(&config.node_id)?, config.history.pump());
    let now: Now = {
        let clock = clock.clone();
        Arc::new(move || clock.now_ms())
    };
    let share = HISTORY_INTAKE_BYTES / (config.shards.max(1) as usize);
    let bounds = IntakeBounds { bytes: share.max(HISTORY_INTAKE_BYTES_MIN), ..IntakeBounds::default() };
    let tls = || tasks::http::tls(config.integrations.egress_ca.as_deref());
    let cells = |sink| metrics.exporter(Signal::History, sink);
    let mut history = History::new(bounds);
    if let Some(options) = sinks.files {
        let (now, removed) = (Arc::clone(&now), metrics.removed_files());
        history = history.and("files", pump, cells("files"), move || Files::new(options, now, removed));
    }
    if let Some(options) = sinks.cls {
        let sink = Cls::new(options, tls()?, Arc::clone(&now))?;
        history = history.and("cls", cls::pump_options(pump), cells("cls"), move || sink);
    }
    if let Some(options) = sinks.redis {
        let sink = Redis::new(options)?;
        history = history.and("redis", pump, cells("redis"), move || sink);
    }
    if let Some(options) = sinks.kafka {
        let sink = Kafka::new(options, tls()?);
        history = history.and("kafka", kafka::pump_options(pump), cells("kafka"), move || sink);
    }
    if let Some(options) = sinks.otlp {
        let sink = OtlpLogs::new(options, &tls()?, now)?;
        history = history.and("otlp", pump, cells("otlp"), move || sink);
    }
    if history.is_empty() {
        return Ok((None, Vec::new()));
    }
    let (exporter, intakes) = history.start(config.shards as usize)?;
    Ok((Some(exporter), intakes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use asl::Timestamp;
    use asl::history::{EventKind, Record};

    use export::Events;

    use super::*;
    use crate::config::HistoryOptions;

    fn page(execution: &str) -> Page {
        let mut page = Page {
            execution: execution.into(),
            machine: "m".into(),
            map_run: None,
            redrive_count: 0,
            events: Events::default(),
        };
        let kind = EventKind::ExecutionSucceeded { output: &asl::Payload::empty_object() };
        page.push(&Record { id: 1, previous: 0, at: Timestamp(0), kind }, true);
        page
    }

    #[tokio::test]
    async fn what_shards_offer_is_in_files_once_the_export_has_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let history =
            HistoryOptions { history_files: Some(dir.path().join("h")), ..HistoryOptions::default() };
        let config = Config { shards: 2, history, node_id: "n".to_owned(), ..Config::embedded() };
        let metrics = NodeMetrics::new("test", 2);
        let (history, intakes) = start(&config, &metrics, &Clock::default()).expect("started");
        assert_eq!(intakes.len(), 2);
        assert!(intakes[0].offer(page("a")) && intakes[1].offer(page("b")));
        assert!(history.expect("there is a sink").stop(Duration::from_secs(60)).await);
        let cells = metrics.exporter(Signal::History, "files");
        assert_eq!((cells.offered(), cells.items.get(), cells.records.get()), (2, 2, 2));
        let names = std::fs::read_dir(dir.path().join("h")).expect("a folder");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(names.iter().any(|name| name.to_string_lossy().ends_with(".ndjson.zst")), "{names:?}");
    }

    #[test]
    fn without_a_sink_there_is_no_thread() {
        let started = start(&Config::embedded(), &NodeMetrics::new("test", 1), &Clock::default());
        let (history, intakes) = started.expect("good");
        assert!(history.is_none() && intakes.is_empty());
    }
}
