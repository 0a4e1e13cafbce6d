//! Pushed metrics, as the node's configuration has them.
//!
//! One thread for all exporters, which looks at the cells as a scrape does. What may fail: the configuration, with
//! [`MetricsPushError`]; what exporters do later is theirs.

use std::sync::Arc;

use export::otlp::{OtlpError, OtlpMetrics};
use export::push::{CloudWatch, MetricsPush, PushError, TencentMonitor};
use export::{Exporter, Now};
use tasks::http::SetupError;
use telemetry::{NodeMetrics, Signal};

use crate::clock::Clock;
use crate::config::{Config, ConfigError};

/// Why metrics cannot be pushed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsPushError {
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The authorities that servers may have certificates of.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// OTLP.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// A cloud.
    #[error(transparent)]
    Cloud(#[from] PushError),
    /// The thread.
    #[error("the thread that pushes metrics cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts what is configured; nothing where there is no exporter.
///
/// # Errors
/// [`MetricsPushError`]
pub(crate) fn start(
    config: &Config,
    metrics: &NodeMetrics,
    clock: &Clock,
) -> Result<Option<Exporter>, MetricsPushError> {
    let targets = config.push.targets(&config.node_id, config.integrations.tencent_region.as_deref())?;
    let now: Now = {
        let clock = clock.clone();
        Arc::new(move || clock.now_ms())
    };
    let tls = || tasks::http::tls(config.integrations.egress_ca.as_deref());
    let cells = |sink| metrics.exporter(Signal::Metrics, sink);
    let mut push = MetricsPush::new(metrics.clone());
    if let Some((options, every)) = targets.otlp {
        let sink = OtlpMetrics::new(options, &tls()?)?;
        push = push.and("otlp", every, &cells("otlp"), move || sink);
    }
    if let Some((options, every)) = targets.cloudwatch {
        let sink = CloudWatch::new(options, &tls()?, Arc::clone(&now))?;
        push = push.and("cloudwatch", every, &cells("cloudwatch"), move || sink);
    }
    if let Some((options, every)) = targets.tencent {
        let sink = TencentMonitor::new(options, &tls()?, now)?;
        push = push.and("tencent", every, &cells("tencent"), move || sink);
    }
    if push.is_empty() { Ok(None) } else { Ok(Some(push.start()?)) }
}
