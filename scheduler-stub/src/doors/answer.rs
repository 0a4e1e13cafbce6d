//! What answers of both APIs are made of: times, texts, sizes of pages.
//!
//! Nothing here fails but [`text`].

use bytes::Bytes;
use front::{Fault, Kind};

/// Members of a page that says no size (Step Functions).
const PAGE_DEFAULT: u32 = 100;
/// Members of the biggest page (Step Functions).
const PAGE_MAX: u32 = 1_000;

/// A time as Step Functions' API has it: seconds of Unix time, a JSON number with a fraction.
pub(super) fn seconds(ms: u64) -> f64 {
    // Below 2^53 for the next 285,000 years.
    ms as f64 / 1_000.0
}

/// A time as ASW's API has it: milliseconds of Unix time, a text.
pub(super) fn millis(ms: u64) -> String {
    ms.to_string()
}

/// JSON as the APIs carry it: a text.
///
/// # Errors
/// [`Kind::Internal`] for what is not in UTF-8, which a node never sends.
pub(super) fn text(json: &Bytes) -> Result<&str, Fault> {
    std::str::from_utf8(json)
        .map_err(|_| Fault::new(Kind::Internal, "a node has answered with what is no text"))
}

/// How many members a page of Step Functions' API has at most: 100 where it is not said, or 0.
pub(super) fn page(max_results: Option<u32>) -> u32 {
    match max_results {
        None | Some(0) => PAGE_DEFAULT,
        Some(max) => max.min(PAGE_MAX),
    }
}

/// The token of the next page, if there is one.
pub(super) fn token(next: String) -> Option<String> {
    if next.is_empty() { None } else { Some(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_milliseconds_in_both_spellings() {
        let of = |ms| serde_json::to_string(&seconds(ms)).expect("a number");
        assert_eq!(of(1_700_000_000_123), "1700000000.123");
        assert_eq!(of(1_700_000_000_000), "1700000000.0");
        assert_eq!(millis(1_700_000_000_123), "1700000000123");
    }

    #[test]
    fn a_page_without_a_size_has_100_members_and_none_has_more_than_1000() {
        assert_eq!([None, Some(0), Some(7), Some(5_000)].map(page), [100, 100, 7, 1_000]);
        assert_eq!([String::new(), "t".to_owned()].map(token), [None, Some("t".to_owned())]);
    }
}
