//! What both schemes share: hashes, the chain of keys, hosts, canonical headers, dates.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Uri};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::SignError;

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let mut text = String::with_capacity(2 * bytes.len());
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

/// The bytes of a signature, which is written in lower case; `None` if it is none.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != 32 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// HMAC-SHA-256 under the key that follows from `first` by the parts of a scope.
pub(crate) fn mac(first: &[u8], scope: &[&str]) -> Hmac<Sha256> {
    let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    scope.iter().fold(keyed(first), |key, part| {
        let derived: Zeroizing<[u8; 32]> =
            Zeroizing::new(key.chain_update(part).finalize().into_bytes().into());
        keyed(&*derived)
    })
}

/// What a client sends as `Host`: the authority without user and without the scheme's own port.
pub(crate) fn host(url: &str) -> Result<String, SignError> {
    let uri: Uri = url.parse().map_err(|error| SignError::of(format!("{url:?} is no URL: {error}")))?;
    let host = uri.host().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| SignError::of(format!("{url:?} names no host")))?;
    let usual = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(SignError::of(format!("{url:?} is neither http nor https"))),
    };
    Ok(match uri.port_u16() {
        Some(port) if port != usual => format!("{host}:{port}"),
        _ => host.to_owned(),
    })
}

/// A header's values, trimmed, runs of blanks as one, joined by commas; `None` where it is missing or no text.
pub(crate) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| Some(value.to_str().ok()?.split_ascii_whitespace().collect::<Vec<_>>().join(" ")))
        .collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.join(","))
}

/// Writes a header's values behind a text as [`header`] tells them, `host` as the client means it; `false` where it is missing or no
/// text.
pub(crate) fn push_header(text: &mut String, headers: &HeaderMap, host: &str, name: &str) -> bool {
    if name == "host" {
        text.push_str(host.trim());
        return true;
    }
    let mut there = false;
    for value in headers.get_all(name) {
        let Ok(value) = value.to_str() else { return false };
        if there {
            text.push(',');
        }
        there = true;
        for (at, word) in value.split_ascii_whitespace().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
    }
    there
}

/// The UTC date of a Unix time as `(year, month, day)`; `None` beyond the calendar.
pub(crate) fn date(unix_seconds: u64) -> Option<(i32, u8, u8)> {
    let date = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_seconds).ok()?).ok()?.date();
    Some((date.year(), u8::from(date.month()), date.day()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_what_a_client_sends() {
        for (url, expected) in [
            ("https://sts.tencentcloudapi.com/", "sts.tencentcloudapi.com"),
            ("https://sts.tencentcloudapi.com:443/", "sts.tencentcloudapi.com"),
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
            ("http://user:word@h:80/", "h"),
            ("https://h:80/", "h:80"),
        ] {
            assert_eq!(host(url).expect(url), expected);
        }
        for url in ["/path", "ftp://h/", "http://", "no url at all"] {
            host(url).expect_err(url);
        }
    }

    #[test]
    fn what_is_no_signature_is_not_taken_for_one() {
        let signature = hash(b"");
        assert_eq!(hex(&unhex(&signature).expect("64 digits")), signature);
        let (longer, shouted) = (format!("{signature}0"), signature.to_uppercase());
        for wrong in ["", "12", &signature[1..], &longer, &signature.replace('e', "g"), &shouted] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
