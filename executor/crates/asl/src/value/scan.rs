//! One pass over JSON text that accepts exactly what the parser accepts.

/// Bounds of a document.
#[derive(Debug, Clone, Copy)]
pub struct JsonLimits {
    /// Nesting of arrays and objects.
    pub depth: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// Where a text stops being JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct JsonError {
    /// Offset in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}
