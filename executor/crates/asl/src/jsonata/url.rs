//! `$encodeUrl`, `$encodeUrlComponent`, `$decodeUrl`, `$decodeUrlComponent`: JavaScript's functions of like names, which
//! JSONata has and the engine only roughly.
//!
//! What may fail: reading, when a `%` does not begin an escape or the bytes are not UTF-8.

/// What stands in a component as it is, beside letters and digits.
const COMPONENT: &[u8] = b"-_.!~*'()";
/// What has a meaning in a whole URL: it is neither encoded in one nor decoded.
const RESERVED: &[u8] = b";/?:@&=+$,#";

/// Which text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A whole URL.
    Whole,
    /// A piece that is put between what has a meaning in a URL.
    Component,
}

impl Part {
    fn keeps(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || COMPONENT.contains(&byte)
            || (self == Self::Whole && RESERVED.contains(&byte))
    }
}

/// With each byte that cannot stand in the part as `%XX`.
pub(super) fn encode(text: &str, part: Part) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if part.keeps(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// With each `%XX` as the byte that it stands for, but in a whole URL those of bytes with a meaning. `None` when that is no
/// text.
pub(super) fn decode(text: &str, part: Part) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte != b'%' {
            out.push(*byte);
            at += 1;
            continue;
        }
        let escape = bytes.get(at..at + 3)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let decoded = digit(escape[1])? << 4 | digit(escape[2])?;
        if part == Part::Whole && RESERVED.contains(&decoded) {
            out.extend_from_slice(escape);
        } else {
            out.push(decoded);
        }
        at += 3;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Part::{Component, Whole};
    use super::{decode, encode};

    /// What JavaScript gives for all of printable ASCII.
    #[test]
    fn what_cannot_stand_in_a_url_is_encoded() {
        let signs = " !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~";
        assert_eq!(encode(signs, Whole), "%20!%22#$%25&'()*+,-./09:;%3C=%3E?@AZ%5B%5C%5D%5E_%60az%7B%7C%7D~");
        assert_eq!(
            encode(signs, Component),
            "%20!%22%23%24%25%26'()*%2B%2C-.%2F09%3A%3B%3C%3D%3E%3F%40AZ%5B%5C%5D%5E_%60az%7B%7C%7D~"
        );
        assert_eq!(encode("é\u{1}", Whole), "%C3%A9%01");
    }

    #[test]
    fn a_whole_url_keeps_the_escapes_of_what_has_a_meaning() {
        assert_eq!(decode("%2F%41%20%c3%A9", Whole).as_deref(), Some("%2FA é"));
        assert_eq!(decode("%2F%41%20%c3%A9", Component).as_deref(), Some("/A é"));
    }

    #[test]
    fn what_is_no_escape_or_no_text_is_not_decoded() {
        for text in ["%", "%4", "%zz", "%+1", "%E0%A4%A", "%FF"] {
            assert_eq!((decode(text, Whole), decode(text, Component)), (None, None), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_as_it_was(text in any::<String>()) {
            prop_assert_eq!(decode(&encode(&text, Component), Component), Some(text));
        }
    }
}
