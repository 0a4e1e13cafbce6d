//! From a definition's text to a [`crate::Program`], with all problems at once.

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The definition is refused.
    Error,
    /// The definition is accepted; its author should know.
    Warning,
}

/// A problem of a definition, in AWS's words where recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Refused, or only remarked upon.
    pub severity: Severity,
    /// Stable code, for example `SCHEMA_VALIDATION_FAILED`.
    pub code: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
    /// JSON pointer of the place, for example `/States/Pay/Next`.
    pub location: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}
