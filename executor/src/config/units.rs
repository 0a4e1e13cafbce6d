//! Durations and sizes as people write them: `500ms`, `30s`, `1h`; `64KiB`, `4MiB`, `1GiB`.
//!
//! Invariant: what is printed parses back to the same value. What may fail: parsing, with a text that says
//! what was expected.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A duration with a unit; to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// A number of bytes with an optional binary unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Size", into = "String")]
pub struct Bytes(pub u64);

/// A file may write a size as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Number(u64),
    Text(String),
}

/// From the longest to the shortest, in milliseconds.
const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// From the largest to the smallest, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// The whole number before the unit, times the unit.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let exact = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    let smallest = units.last().copied().unwrap_or(("", 1));
    let (unit, factor) = exact.copied().unwrap_or(smallest);
    write!(f, "{}{unit}", value / factor)
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = parse(text, &SPANS).ok_or_else(|| {
            format!(
                "{text:?} is no duration: write a whole number and a unit, such as 500ms, 30s, 5m, 1h or 7d"
            )
        })?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &SPANS)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = parse(text, &SIZES).ok_or_else(|| {
            format!("{text:?} is no size: write a whole number of bytes, or one with a unit, such as 64KiB, 4MiB or 1GiB")
        })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SIZES)
    }
}

impl TryFrom<Size> for Bytes {
    type Error = String;

    fn try_from(size: Size) -> Result<Self, String> {
        match size {
            Size::Number(bytes) => Ok(Self(bytes)),
            Size::Text(text) => text.parse(),
        }
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_parses_back(value in 0..1u64 << 40) {
            let span = Span(Duration::from_millis(value));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            let bytes = Bytes(value);
            prop_assert_eq!(bytes.to_string().parse::<Bytes>(), Ok(bytes));
        }
    }

    #[test]
    fn the_largest_exact_unit_is_printed() {
        let spans = ["0ms", "1ms", "1500ms", "90s", "1h", "7d"];
        for text in spans {
            assert_eq!(text.parse::<Span>().expect("a duration").to_string(), text);
        }
        assert_eq!("4096KiB".parse::<Bytes>().expect("a size").to_string(), "4MiB");
    }

    #[test]
    fn a_number_without_a_unit_or_beyond_all_bounds_is_no_duration() {
        for text in
            ["", "5", "h", "-1s", "1.5h", "5 parsecs", "99999999999999999999s", "18446744073709551615d"]
        {
            let error = text.parse::<Span>().expect_err(text);
            assert!(error.contains("500ms"), "{error}");
        }
        assert!("4MB".parse::<Bytes>().expect_err("not binary").contains("4MiB"));
    }
}
