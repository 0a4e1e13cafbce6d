//! `States.UUID`.

use super::error::Failure;
use super::function::Arguments;
use crate::value::Value;

/// A UUID of version 4 (RFC 9562): 122 bits of chance, drawn from the execution's seed, so that a replay has the same.
pub(super) fn uuid(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (high, low) = (given.scope.context.draw(), given.scope.context.draw());
    let high = (high & !0xf000) | 0x4000;
    let low = (low & (u64::MAX >> 2)) | (1 << 63);
    let text = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    Ok(text.into())
}
