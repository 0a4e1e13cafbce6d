//! The export of traces, as the node's configuration has it.
//!
//! One thread, one intake for each shard. It starts before the shards and ends after them, so that what they have told last is
//! sent. What may fail: the configuration, with [`TracesError`]; what the peer does later is the exporter's.

use std::time::Duration;

use export::otlp::{OtlpError, OtlpTraces};
use export::{Exporter, Intake, IntakeBounds, PumpOptions, Retry, SpanPage, Traces};
use tasks::http::SetupError;
use telemetry::{NodeMetrics, Signal};

use crate::config::{Config, ConfigError};
use crate::limits::{TRACES_INTAKE_BYTES, TRACES_INTAKE_BYTES_MIN, TRACES_INTAKE_ITEMS};

/// For how long spans are kept for a peer that does not take them: a trace that is late helps nobody, and metrics say that
/// something is wrong.
const KEPT: Duration = Duration::from_mins(5);

/// On the wire, before it is compressed, a span takes some times as much as here.
const BATCH_BYTES: usize = 512 << 10;

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The authorities that servers may have certificates of.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// OTLP.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The exporter's thread.
    #[error("the thread that exports traces cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts what is configured, and gives an intake for each shard; nothing where no traces are exported.
///
/// # Errors
/// [`TracesError`]
pub(crate) fn start(
    config: &Config,
    metrics: &NodeMetrics,
) -> Result<(Option<Exporter>, Vec<Intake<SpanPage>>), TracesError> {
    let Some(target) = config.traces.target(&config.node_id)? else { return Ok((None, Vec::new())) };
    let share = TRACES_INTAKE_BYTES / (config.shards.max(1) as usize);
    let bounds = IntakeBounds { items: TRACES_INTAKE_ITEMS, bytes: share.max(TRACES_INTAKE_BYTES_MIN) };
    let usual = PumpOptions::default();
    let retry = Retry { age: KEPT, ..usual.retry };
    let options = PumpOptions { batch_bytes: BATCH_BYTES, retry, ..usual };
    let cells = metrics.exporter(Signal::Spans, "otlp");
    let tls = tasks::http::tls(config.integrations.egress_ca.as_deref())?;
    let sink = OtlpTraces::new(target, &tls)?;
    let traces = Traces::new(bounds).and("otlp", options, cells, move || sink);
    let (exporter, intakes) = traces.start(config.shards as usize)?;
    Ok((Some(exporter), intakes))
}
