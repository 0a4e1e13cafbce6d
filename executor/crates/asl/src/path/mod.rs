//! JSONPath as AWS accepts it, and reference paths.

use crate::value::{Str, Value};

/// What paths and templates are evaluated against.
pub struct Scope<'a> {
    /// What `$` means.
    pub input: &'a Value,
    /// What `$$` means; built when first asked for.
    pub context: &'a dyn ContextSource,
}

/// Gives the context object. Most executions never look at it, so it is built on demand.
pub trait ContextSource {
    /// The context object (`$$`).
    fn context(&self) -> &Value;
}

/// A compiled path. Definite paths compile to a straight walk.
#[derive(Debug, Clone)]
pub struct Path {
    text: Str,
}

/// A path that names exactly one place, where a value can be put.
#[derive(Debug, Clone)]
pub struct ReferencePath {
    text: Str,
}
