//! Payload templates: `Parameters`, `ResultSelector`, `ItemSelector`.

/// A compiled payload template.
#[derive(Debug, Clone)]
pub struct Template {}
