//! `States.MathAdd`, `MathRandom`, and how AWS rounds.

use sha2::{Digest, Sha256};

use super::error::Failure;
use super::function::Arguments;
use crate::value::{Number, Value};

/// The nearest integer, halves upwards: 1.5 is 2 and -1.5 is -1, as recorded from AWS (Java's `Math.round`). `None` beyond
/// 64 bits.
pub(super) fn round(number: Number) -> Option<i64> {
    if let Some(integer) = number.as_i64() {
        return Some(integer);
    }
    let number = number.as_f64();
    let below = number.floor();
    // Not `(number + 0.5).floor()`, whose sum rounds once more.
    let nearest = if number - below >= 0.5 { below + 1.0 } else { below };
    Number::from_f64(nearest)?.as_i64()
}

/// The sum of two integers of 32 bits. It may need a bit more than they.
pub(super) fn add(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let integer = |at: usize| match given.rounded(at)? {
        integer if i32::try_from(integer).is_ok() => Ok(integer),
        integer => {
            let expected = "between -2147483648 and 2147483647";
            Err(Failure::Value { position: at + 1, expected, found: integer.to_string() })
        }
    };
    Ok(Value::from(integer(0)? + integer(1)?))
}

/// An integer from start to below end. With a seed it is the same each time.
pub(super) fn random(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (start, end) = (given.rounded(0)?, given.rounded(1)?);
    if start >= end {
        return Err(Failure::EmptyRange { start, end });
    }
    let bits = if given.values.len() > 2 { seeded(given.rounded(2)?) } else { given.scope.context.draw() };
    // Uniform in 0..end - start: the high half of a 128-bit product. The range fits in 64 bits without a sign.
    let range = end.wrapping_sub(start) as u64;
    let offset = ((u128::from(bits) * u128::from(range)) >> 64) as u64;
    Ok(Value::from(start.wrapping_add_unsigned(offset)))
}

/// Uniform in 64 bits, and the same for the same seed in every version.
fn seeded(seed: i64) -> u64 {
    let digest = Sha256::digest(seed.to_be_bytes());
    digest.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}
