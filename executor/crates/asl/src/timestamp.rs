//! Instants in milliseconds since the Unix epoch, and their RFC 3339 spellings.
//!
//! The profile is that of ASL: a capital `T`, then a capital `Z` or a numeric offset. Fractions of up to nine
//! digits are read; [`Timestamp`] keeps the milliseconds, [`ExactTimestamp`] everything, for comparisons.
//! Written are always three digits of fraction and `Z`; AWS leaves a fraction of zero out where an execution can see it
//! ([`Timestamp::to_text`]).
//!
//! The conversion between days and dates is written out here: it is twenty lines, needs no allocation, and no
//! time zone.

use std::fmt;

/// Milliseconds since the Unix epoch. The core has no clock: every instant comes from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// An instant to the nanosecond, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExactTimestamp {
    /// Seconds since the Unix epoch.
    seconds: i64,
    /// Of the second.
    nanos: u32,
}

/// The text is no RFC 3339 timestamp in the profile of ASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a timestamp: expected RFC 3339 with a capital `T` and `Z` or an offset, like 2024-01-31T12:00:00Z"
)]
pub struct TimestampError;

const DAY_SECONDS: i64 = 86_400;

impl Timestamp {
    /// Reads an RFC 3339 timestamp; digits beyond the milliseconds are cut off.
    ///
    /// # Errors
    /// When the text is not one, or names a day or time that does not exist.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        ExactTimestamp::parse(text).map(ExactTimestamp::to_millis)
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This much later; stays at the end of time instead of passing it.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add_unsigned(millis))
    }

    /// This much later; stays at the end of time instead of passing it.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        self.plus_millis(seconds.saturating_mul(1_000))
    }

    /// The beginning of its second.
    #[must_use]
    pub fn whole_second(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(1_000)))
    }

    /// As Step Functions writes it into the context object and into results: without a fraction that is zero.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = self.to_string();
        if self == self.whole_second() {
            text.truncate(text.len() - ".000Z".len());
            text.push('Z');
        }
        text
    }

    /// Milliseconds since an earlier instant; negative when it is later.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.div_euclid(1_000), self.0.rem_euclid(1_000));
        let (day, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        let (year, month, day) = civil_from_days(day);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

impl ExactTimestamp {
    /// Reads an RFC 3339 timestamp.
    ///
    /// # Errors
    /// When the text is not one, or names a day or time that does not exist.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        parse(text.as_bytes()).ok_or(TimestampError)
    }

    /// Without the digits beyond the milliseconds.
    pub fn to_millis(self) -> Timestamp {
        Timestamp(self.seconds * 1_000 + i64::from(self.nanos / 1_000_000))
    }
}

fn parse(text: &[u8]) -> Option<ExactTimestamp> {
    let number = |from: usize, to: usize| -> Option<i64> {
        text.get(from..to)?.iter().try_fold(0, |sum, byte| match byte {
            b'0'..=b'9' => Some(sum * 10 + i64::from(byte - b'0')),
            _ => None,
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let separators = [text[4], text[7], text[10], text[13], text[16]];
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if separators != *b"--T::" || !in_range {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if text.get(at) == Some(&b'.') {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        nanos = number(at + 1, at + 1 + digits)? * 10_i64.pow(9 - u32::try_from(digits).ok()?);
        at += 1 + digits;
    }
    let offset = match (text.get(at)?, text.len() - at) {
        (b'Z', 1) => 0,
        (sign @ (b'+' | b'-'), 6) if text[at + 3] == b':' => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = hours * 3_600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds =
        days_from_civil(year, month, day) * DAY_SECONDS + hour * 3_600 + minute * 60 + second - offset;
    Some(ExactTimestamp { seconds, nanos: u32::try_from(nanos).ok()? })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years start in March, so that the leap day is a
/// year's last day, and eras of 400 years all have 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_are_written_as_aws_writes_them() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_736_937_001_500).to_string(), "2025-01-15T10:30:01.500Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Timestamp(951_782_400_000).to_text(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp(951_782_400_010).to_text(), "2000-02-29T00:00:00.010Z");
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        let noon = Timestamp::parse("2012-10-09T19:00:55Z").unwrap();
        assert_eq!(Timestamp::parse("2012-10-09T20:00:55+01:00"), Ok(noon));
        assert_eq!(Timestamp::parse("2012-10-09T13:30:55-05:30"), Ok(noon));
        assert_eq!(Timestamp::parse("2012-10-09T19:00:55.1239Z"), Ok(noon.plus_millis(123)));
        let (early, late) = ("2012-10-09T19:00:55.123456788Z", "2012-10-09T19:00:55.123456789Z");
        assert!(ExactTimestamp::parse(early).unwrap() < ExactTimestamp::parse(late).unwrap());
    }

    #[test]
    fn what_is_no_timestamp_of_the_profile_is_refused() {
        for text in [
            "",
            "2012",
            "2012-10-09T19:00:55",
            "2012-10-09t19:00:55Z",
            "2012-10-09T19:00:55z",
            "2012-10-09 19:00:55Z",
            "2016-13-05T21:29:29Z",
            "2016-12-05T25:29:29Z",
            "2023-02-29T00:00:00Z",
            "2012-10-09T19:60:55Z",
            "2012-10-09T19:00:60Z",
            "2012-10-09T19:00:55.Z",
            "2012-10-09T19:00:55+0100",
            "2012-10-09T19:00:55.1234567890Z",
            "2012-10-09T19:00:55+24:00",
            "2012-10-09T19:00:55Z ",
            "-012-10-09T19:00:55Z",
            "２012-10-09T19:00:55Z",
            "2012-10-09T19:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn arithmetic_stays_at_the_end_of_time() {
        assert_eq!(Timestamp(i64::MAX).plus_seconds(u64::MAX), Timestamp(i64::MAX));
        assert_eq!(Timestamp(1_000).plus_seconds(2), Timestamp(3_000));
        assert_eq!(Timestamp(1_000).millis_since(Timestamp(3_000)), -2_000);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in -62_135_596_800_000_i64..253_402_300_800_000) {
            let timestamp = Timestamp(millis);
            prop_assert_eq!(Timestamp::parse(&timestamp.to_string()), Ok(timestamp));
        }

        #[test]
        fn order_of_instants_is_order_of_texts(
            left in 0_i64..253_402_300_800_000,
            right in 0_i64..253_402_300_800_000,
        ) {
            let texts = (Timestamp(left).to_string(), Timestamp(right).to_string());
            prop_assert_eq!(left.cmp(&right), texts.0.cmp(&texts.1));
        }
    }
}
