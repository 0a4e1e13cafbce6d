//! Instants in milliseconds since the Unix epoch, and their RFC 3339 spellings.

/// Milliseconds since the Unix epoch. The core has no clock: every instant comes from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);
