//! Which workers do the tasks of which functions, as people write it.

use super::ConfigError;
use crate::shard::Binding;

/// `PATTERN=POOL`; a pattern may hold `=`, a pool may not.
pub(super) fn binding(text: &str) -> Result<Binding, ConfigError> {
    match text.rsplit_once('=') {
        Some((pattern, pool)) if !pattern.trim().is_empty() && !pool.trim().is_empty() => {
            Ok(Binding { pattern: pattern.trim().to_owned(), pool: pool.trim().to_owned() })
        }
        _ => Err(ConfigError::Value {
            setting: "--bind",
            message: format!(
                "{text:?} is not PATTERN=POOL, for example 'arn:aws:lambda:*:function:ocr-*=ocr'"
            ),
        }),
    }
}
