//! Length and depth of a tree, stopping at a limit.

use super::text::{number_len, string_len};
use super::{JsonLimits, Value};

/// Size of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Length in bytes as compact JSON.
    pub bytes: usize,
    /// Nesting of arrays and objects; 0 for a scalar.
    pub depth: usize,
}

/// A tree is beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// Nested too deeply.
    #[error("the value is nested deeper than {0} levels")]
    Depth(usize),
    /// Too long as compact JSON.
    #[error("the value is longer than {0} bytes of JSON")]
    Bytes(usize),
}

impl Value {
    /// Length and depth, unless beyond `limits`. It never recurses deeper than the depth limit, and stops
    /// soon after the length limit, so it is safe on any tree.
    ///
    /// # Errors
    /// When a limit is exceeded.
    pub fn measure(&self, limits: JsonLimits) -> Result<Measured, LimitExceeded> {
        let mut measured = Measured { bytes: 0, depth: 0 };
        measure(self, 0, limits, &mut measured)?;
        if measured.bytes > limits.bytes {
            return Err(LimitExceeded::Bytes(limits.bytes));
        }
        Ok(measured)
    }
}

fn measure(value: &Value, depth: usize, limits: JsonLimits, sum: &mut Measured) -> Result<(), LimitExceeded> {
    let enter = |len: usize, sum: &mut Measured| {
        if depth >= limits.depth {
            return Err(LimitExceeded::Depth(limits.depth));
        }
        sum.depth = sum.depth.max(depth + 1);
        sum.bytes += 2 + len.saturating_sub(1);
        if sum.bytes > limits.bytes {
            return Err(LimitExceeded::Bytes(limits.bytes));
        }
        Ok(())
    };
    match value {
        Value::Null | Value::Bool(true) => sum.bytes += 4,
        Value::Bool(false) => sum.bytes += 5,
        Value::Number(number) => sum.bytes += number_len(*number),
        Value::String(text) => sum.bytes += string_len(text),
        Value::Array(items) => {
            enter(items.len(), sum)?;
            for item in items.iter() {
                measure(item, depth + 1, limits, sum)?;
            }
        }
        Value::Object(members) => {
            enter(members.len(), sum)?;
            for (key, value) in members.iter() {
                sum.bytes += string_len(key) + 1;
                measure(value, depth + 1, limits, sum)?;
            }
        }
    }
    Ok(())
}
