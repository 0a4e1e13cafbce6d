//! Choice rules.

/// A compiled choice rule, without its `Next`.
#[derive(Debug, Clone)]
pub struct Condition {}
