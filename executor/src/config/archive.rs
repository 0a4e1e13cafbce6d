//! The archive as a node is configured with it.

use std::time::Duration;

use archive::ArchiveOptions;

use super::{ConfigError, Options};

/// Where closed executions go, and how long they are kept there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// The folder or the bucket.
    pub place: ArchiveOptions,
    /// For how long from their close where a state machine does not say it; if no longer than in the store, only those
    /// are archived whose machine says more.
    pub retention: Duration,
}

impl ArchiveConfig {
    /// As long as Step Functions keeps what has ended.
    pub const RETENTION: Duration = Duration::from_hours(90 * 24);

    /// As it is asked for, if it is.
    pub(super) fn of(options: &Options) -> Result<Option<Self>, ConfigError> {
        let (endpoint, region) = (options.archive_endpoint.clone(), options.archive_region.clone());
        let retention = options.archive_retention.map_or(Self::RETENTION, |span| span.0);
        let Some(url) = options.archive.clone() else { return Self::none(options) };
        Ok(Some(Self { place: ArchiveOptions { url, endpoint, region }, retention }))
    }

    /// No archive: then none of its settings makes sense.
    fn none(options: &Options) -> Result<Option<Self>, ConfigError> {
        let given = [
            ("--archive-retention", options.archive_retention.is_some()),
            ("--archive-endpoint", options.archive_endpoint.is_some()),
            ("--archive-region", options.archive_region.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((setting, _)) => {
                let message = "there is no archive: say where with --archive, or leave this out".to_owned();
                Err(ConfigError::Value { setting, message })
            }
            None => Ok(None),
        }
    }
}
