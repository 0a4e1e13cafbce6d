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

#[cfg(test)]
mod tests {
    use super::super::Intrinsic;
    use super::super::tests::{Chance, gives};
    use super::*;
    use crate::path::Scope;

    #[test]
    fn a_uuid_has_version_four_and_the_variant_of_the_rfc() {
        let (call, chance) = (Intrinsic::parse("States.UUID()").unwrap(), Chance::default());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..64 {
            let uuid = call.evaluate(&Scope::new(&Value::Null, &chance)).unwrap();
            let uuid = uuid.as_str().unwrap();
            let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert!(
                uuid.chars().all(|digit| digit == '-' || matches!(digit, '0'..='9' | 'a'..='f')),
                "{uuid}"
            );
            assert!(uuid[14..15] == *"4" && "89ab".contains(&uuid[19..20]), "{uuid}");
            assert!(seen.insert(uuid.to_owned()));
        }
    }

    #[test]
    fn the_same_chance_gives_the_same_uuid() {
        assert_eq!(gives("States.UUID()", "{}"), gives("States.UUID()", "{}"));
        assert_ne!(
            gives("States.UUID()", "{}"),
            gives("States.ArrayGetItem(States.Array(States.UUID(), States.UUID()), 1)", "{}")
        );
    }
}
