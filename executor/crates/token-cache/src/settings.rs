//! Times and bounds of the cache.

use std::sync::Arc;
use std::time::Duration;

/// The clock: Unix time in milliseconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Times and bounds.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Keys that are remembered, refused ones among them; of more, those are let go that are nearest to their refresh.
    pub entries_max: usize,
    /// Keys that one shard remembers.
    pub local_entries_max: usize,
    /// Longest fetch.
    pub fetch_timeout: Duration,
    /// How long before their expiry credentials are no longer handed out, so that calls under way end in time; never more
    /// than a twentieth of their lifetime.
    pub margin: Duration,
    /// How long a refusal is remembered.
    pub refusal_kept: Duration,
    /// How old credentials have to be before others are fetched because a service does not take them.
    pub refusals_apart: Duration,
    /// How long nobody is asked for a key for which there was no answer; doubles up to [`Settings::retry_max`] while there are
    /// older credentials.
    pub retry: Duration,
    /// The longest pause between two attempts.
    pub retry_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            local_entries_max: 10_000,
            fetch_timeout: Duration::from_secs(10),
            margin: Duration::from_secs(5),
            refusal_kept: Duration::from_secs(5),
            refusals_apart: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
        }
    }
}

/// A duration in milliseconds, as the cache counts.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
