//! `States.MathAdd`, `MathRandom`, and how AWS rounds.

use sha2::{Digest, Sha256};

use super::error::Failure;
use super::function::Arguments;
use crate::value::{Number, Value};

/// The nearest integer, halves upwards: 1.5 is 2 and -1.5 is -1, as recorded from AWS (Java's `Math.round`). `None`
/// beyond 64 bits.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Intrinsic;
    use super::super::tests::{Chance, evaluate, fails, gives};
    use super::*;
    use crate::path::Scope;

    #[test]
    fn halves_are_rounded_upwards() {
        for (number, rounded) in [
            (0.5, 1),
            (1.5, 2),
            (2.5, 3),
            (-0.5, 0),
            (-1.5, -1),
            (-2.5, -2),
            (1.49, 1),
            (-1.51, -2),
            (0.499_999_999_999_999_94, 0),
            (4_503_599_627_370_497.5, 4_503_599_627_370_498),
            (-9.2e18, -9_200_000_000_000_000_000),
        ] {
            assert_eq!(round(Number::from_f64(number).unwrap()), Some(rounded), "{number}");
        }
        assert_eq!(round(Number::from_f64(1e19).unwrap()), None);
        assert_eq!(round(Number::UInt(u64::MAX)), None);
        assert_eq!(round(Number::Int(i64::MAX)), Some(i64::MAX));
    }

    #[test]
    fn numbers_are_rounded_and_added() {
        assert_eq!(gives("States.MathAdd($.value1, $.step)", r#"{"value1":111,"step":-1}"#), "110");
        assert_eq!(gives("States.MathAdd(1.49, 1.5)", "{}"), "3");
        assert_eq!(
            fails("States.MathAdd(1, '2')", "{}"),
            "Argument 2 must be a number, but it is of type string"
        );
    }

    #[test]
    fn what_is_added_has_thirty_two_bits() {
        assert_eq!(gives("States.MathAdd(2147483647, -2147483648)", "{}"), "-1");
        assert_eq!(gives("States.MathAdd(2147483647, 2147483647)", "{}"), "4294967294");
        assert_eq!(gives("States.MathAdd(2147483647.4, -2147483648.5)", "{}"), "-1");
        for (arguments, position, found) in [
            ("2147483648, 0", 1, "2147483648"),
            ("0, -2147483649", 2, "-2147483649"),
            ("2147483647.5, 0", 1, "2147483648"),
        ] {
            assert_eq!(
                fails(&format!("States.MathAdd({arguments})"), "{}"),
                format!("Argument {position} must be between -2147483648 and 2147483647, but it is {found}")
            );
        }
    }

    #[test]
    fn a_random_number_comes_from_the_executions_chance() {
        let (call, chance) = (Intrinsic::parse("States.MathRandom(1, 999)").unwrap(), Chance::default());
        let draw = || call.evaluate(&Scope::new(&Value::Null, &chance)).unwrap().as_i64().unwrap();
        let numbers: Vec<i64> = (0..100).map(|_| draw()).collect();
        assert!(numbers.iter().all(|number| (1..999).contains(number)));
        assert_ne!(numbers[0], numbers[1]);
        assert_eq!(chance.draws.get(), 100);
    }

    #[test]
    fn a_seed_repeats_the_number_and_draws_no_chance() {
        let chance = Chance::default();
        let random = |seed: &str| {
            let call = Intrinsic::parse(&format!("States.MathRandom(0, 1000000, {seed})")).unwrap();
            call.evaluate(&Scope::new(&Value::Null, &chance)).unwrap()
        };
        assert_eq!(random("5"), random("5"));
        assert_eq!(random("4.5"), random("5"));
        assert_ne!(random("5"), random("6"));
        assert_eq!(chance.draws.get(), 0);
        // The number stays the same from version to version: executions are replayed.
        assert_eq!(random("5").to_json_string(), "366917");
    }

    #[test]
    fn the_start_is_less_than_the_end() {
        assert_eq!(gives("States.MathRandom(12.5, 13.6)", "{}"), "13");
        for arguments in ["1, 1", "0.5, 1.4", "1, 1, 7"] {
            assert_eq!(
                fails(&format!("States.MathRandom({arguments})"), "{}"),
                "The start number 1 must be less than the end number 1"
            );
        }
        assert_eq!(
            fails("States.MathRandom(null, 1)", "{}"),
            "Argument 1 must be a number, but it is of type null"
        );
        assert_eq!(
            fails("States.MathRandom(0, 1, 'x')", "{}"),
            "Argument 3 must be a number, but it is of type string"
        );
    }

    proptest! {
        #[test]
        fn a_random_number_is_in_its_range(start in any::<i64>(), length in 1_u64..=u64::MAX, seed in any::<i64>()) {
            let end = start.saturating_add_unsigned(length);
            prop_assume!(start < end);
            let random = evaluate(&format!("States.MathRandom({start}, {end}, {seed})"), &Value::Null).unwrap();
            prop_assert!((start..end).contains(&random.as_i64().unwrap()));
        }

        #[test]
        fn adding_is_what_it_is_for_integers(left in any::<i32>(), right in any::<i32>()) {
            let sum = evaluate(&format!("States.MathAdd({left}, {right})"), &Value::Null).unwrap();
            prop_assert_eq!(sum.as_i64(), Some(i64::from(left) + i64::from(right)));
        }
    }
}
