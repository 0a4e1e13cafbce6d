//! What a node opens beside its store: the archive and the integrations of Tasks.
//!
//! Both are shared by the shards. What may fail: what configuration says of them cannot be used.

use std::sync::Arc;

use archive::Archive;
use journal::store::Connect;
use telemetry::NodeMetrics;
use tokio::runtime::Handle;

use super::StartError;
use crate::config::{ArchiveConfig, Config};
use crate::grpc::NodeContext;
use crate::integrations::{self, IntegrationError, Surroundings};
use crate::shard::{Archiver, MakeIntegrations};

/// What Tasks reach without a worker, with the node's one cache of credentials.
pub(super) fn open_integrations(
    config: &Config,
    context: &NodeContext,
    metrics: &NodeMetrics,
) -> Result<MakeIntegrations, IntegrationError> {
    let surroundings = Surroundings {
        runtime: Handle::current(),
        metrics: metrics.clone(),
        trust: context.trust.clone(),
        scheduler: config.scheduler.clone(),
        clock: context.clock.clone(),
    };
    integrations::open(&config.integrations, surroundings)
}

/// The archive, if the node has one, with a store connection of its own.
pub(super) fn open_archive(
    config: &Config,
    connect: &Arc<dyn Connect>,
) -> Result<Option<Archiver>, StartError> {
    let Some(ArchiveConfig { place, retention }) = &config.archive else { return Ok(None) };
    let archive = Archive::open(place)?;
    Ok(Some(Archiver::new(archive, Arc::clone(connect), config.retention, *retention)))
}
