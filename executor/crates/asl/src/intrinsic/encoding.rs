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

/// The basic alphabet of RFC 4648. Reading is as lenient as Java's decoder, which AWS runs on: padding may be absent and
/// unused bits of the last character may be set.
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
