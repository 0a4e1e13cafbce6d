//! The cells of a node's cache of credentials, which all shards share: it writes them under its lock.

use crate::cells::{Counter, Gauge, Histogram};

/// Why a provider gave no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CredentialFailure {
    /// The role may not be assumed, or is none.
    Refused,
    /// The provider did not answer, or could not.
    Unavailable,
}

impl CredentialFailure {
    /// All of them, with the value of the `reason` label.
    pub const ALL: [(Self, &'static str); 2] =
        [(Self::Refused, "refused"), (Self::Unavailable, "unavailable")];
}

/// See [`crate::inventory`] for what each one means.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the inventory has one sentence for each")]
pub struct CredentialMetrics {
    pub fetched: Counter,
    pub failures: [Counter; CredentialFailure::ALL.len()],
    pub fetch_latency: Histogram,
    pub entries: Gauge,
    pub oldest_age_ms: Gauge,
}
