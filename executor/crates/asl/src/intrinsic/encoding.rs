//! `States.Base64Encode`, `Base64Decode`, `Hash`.

use std::fmt::Write;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::error::Failure;
use super::function::{Arguments, short};
use crate::value::{Str, Value};

/// The longest text that these functions take, in UTF-16 code units.
const CHARACTERS_MAX: usize = 10_000;

/// The basic alphabet of RFC 4648. Reading is as lenient as Java's decoder, which AWS runs on: padding may be absent
/// and unused bits of the last character may be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Base64 of a text's UTF-8.
pub(super) fn base64_encode(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let text = given.short_text(0, CHARACTERS_MAX)?;
    given.work.spend(text.len().saturating_mul(2))?;
    Ok(BASE64.encode(text.as_bytes()).into())
}

/// The text whose UTF-8 this is the Base64 of.
pub(super) fn base64_decode(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let text = given.short_text(0, CHARACTERS_MAX)?;
    given.work.spend(text.len())?;
    let bytes = BASE64.decode(text.as_bytes()).map_err(|reason| Failure::Base64 { position: 1, reason })?;
    // JSON has texts only, and another text than the one that was encoded would help nobody.
    String::from_utf8(bytes).map(Value::from).map_err(|_| Failure::NoText { position: 1 })
}

/// Hexadecimal digits of a text's hash. What is no text is hashed as compact JSON.
pub(super) fn hash(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let algorithm = given.text(1)?;
    let data: Str = match given.value(0) {
        Value::String(text) => text.clone(),
        other => {
            given.work.walk(1, other)?;
            other.to_json_string().into()
        }
    };
    short(0, &data, CHARACTERS_MAX)?;
    given.work.spend(data.len())?;
    let digits = match algorithm.as_str() {
        "MD5" => digits::<Md5>(&data),
        "SHA-1" => digits::<Sha1>(&data),
        "SHA-256" => digits::<Sha256>(&data),
        "SHA-384" => digits::<Sha384>(&data),
        "SHA-512" => digits::<Sha512>(&data),
        _ => {
            let expected = "one of MD5, SHA-1, SHA-256, SHA-384, SHA-512";
            let found = algorithm.chars().take(80).collect();
            return Err(Failure::Value { position: 2, expected, found });
        }
    };
    Ok(digits.into())
}

fn digits<D: Digest>(data: &str) -> Str {
    let mut digits = Str::new();
    for byte in D::digest(data.as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{evaluate, fails, gives};
    use super::*;

    /// The developer guide's example, and one beyond ASCII.
    #[test]
    fn a_text_is_encoded_as_the_base64_of_its_utf8() {
        assert_eq!(gives("States.Base64Encode('Data to encode')", "{}"), r#""RGF0YSB0byBlbmNvZGU=""#);
        assert_eq!(gives("States.Base64Encode('é')", "{}"), r#""w6k=""#);
        assert_eq!(gives("States.Base64Encode('')", "{}"), r#""""#);
        assert_eq!(
            fails("States.Base64Encode(1)", "{}"),
            "Argument 1 must be a string, but it is of type number"
        );
    }

    /// AWS takes texts without padding too.
    #[test]
    fn base64_is_decoded_with_and_without_padding() {
        assert_eq!(gives("States.Base64Decode('RGVjb2RlZCBkYXRh')", "{}"), r#""Decoded data""#);
        for text in ["YQ==", "YQ", "YR=="] {
            assert_eq!(gives(&format!("States.Base64Decode('{text}')"), "{}"), r#""a""#, "{text}");
        }
        assert_eq!(gives("States.Base64Decode('')", "{}"), r#""""#);
    }

    #[test]
    fn what_is_no_base64_or_no_text_fails() {
        assert_eq!(
            fails("States.Base64Decode('YQ*=')", "{}"),
            "Argument 1 is no valid Base64 text: Invalid symbol 42, offset 2."
        );
        for text in ["Y", "Y_8=", "YQ==YQ=="] {
            let reason = fails(&format!("States.Base64Decode('{text}')"), "{}");
            assert!(reason.starts_with("Argument 1 is no valid Base64 text"), "{text}: {reason}");
        }
        assert_eq!(
            fails("States.Base64Decode('/w==')", "{}"),
            "Argument 1 decodes to bytes that are no text in UTF-8"
        );
        assert_eq!(
            fails("States.Base64Decode(null)", "{}"),
            "Argument 1 must be a string, but it is of type null"
        );
    }

    #[test]
    fn texts_have_at_most_ten_thousand_characters() {
        let call = |function: &str, text: &str, rest: &str| {
            evaluate(&format!("States.{function}('{text}'{rest})"), &Value::Null)
                .map_err(|error| error.message)
        };
        for (function, rest) in [("Base64Encode", ""), ("Base64Decode", ""), ("Hash", ", 'MD5'")] {
            assert!(call(function, &"A".repeat(10_000), rest).is_ok(), "{function}");
            let message = call(function, &"A".repeat(10_001), rest).unwrap_err();
            assert!(
                message.ends_with("Argument 1 must have at most 10000 characters, but it has 10001"),
                "{function}"
            );
        }
        // As Java counts: one for each of these, two for those beyond the first plane.
        assert!(call("Base64Encode", &"é".repeat(10_000), "").is_ok());
        assert!(call("Base64Encode", &"\u{1f600}".repeat(5_000), "").is_ok());
        assert!(call("Base64Encode", &"\u{1f600}".repeat(5_001), "").is_err());
    }

    /// The test vectors of the algorithms for `abc`.
    #[test]
    fn a_text_is_hashed_by_five_algorithms() {
        let hash = |algorithm: &str| gives(&format!("States.Hash('abc', '{algorithm}')"), "{}");
        assert_eq!(hash("MD5"), r#""900150983cd24fb0d6963f7d28e17f72""#);
        assert_eq!(hash("SHA-1"), r#""a9993e364706816aba3e25717850c26c9cd0d89d""#);
        assert_eq!(hash("SHA-256"), r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#);
        assert_eq!(
            hash("SHA-384"),
            r#""cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7""#
        );
        assert_eq!(
            hash("SHA-512"),
            "\"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
             454d4423643ce80e2a9ac94fa54ca49f\""
        );
    }

    #[test]
    fn what_is_no_text_is_hashed_as_json() {
        let hash = |data: &str| gives(&format!("States.Hash({data}, 'MD5')"), r#"{"a":[1,"b"]}"#);
        assert_eq!(hash("$"), hash(r#"'{"a":[1,"b"]}'"#));
        assert_eq!(hash("12"), hash("'12'"));
        assert_eq!(hash("null"), hash("'null'"));
    }

    #[test]
    fn other_algorithms_fail_with_the_list() {
        for algorithm in ["sha-256", "SHA256", "CRC", ""] {
            assert_eq!(
                fails(&format!("States.Hash('a', '{algorithm}')"), "{}"),
                format!(
                    "Argument 2 must be one of MD5, SHA-1, SHA-256, SHA-384, SHA-512, but it is {algorithm}"
                )
            );
        }
        assert_eq!(
            fails("States.Hash('a', 1)", "{}"),
            "Argument 2 must be a string, but it is of type number"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_the_same(text in "\\PC{0,40}") {
            let input = Value::from(text);
            prop_assert_eq!(evaluate("States.Base64Decode(States.Base64Encode($))", &input).unwrap(), input);
        }
    }
}
