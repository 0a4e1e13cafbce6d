//! Writing compact JSON, and its length without writing it.
//!
//! Escapes are those of Jackson: the short ones where JSON has them, `\u00XX` with capital digits for other
//! control characters, everything else as it is.

use super::plain::{is_plain, plain_len};
use super::{Str, Value};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Length of a byte inside a JSON string: 1, 2 (`\n`) or 6 (`\u0001`).
const ESCAPED_LEN: [u8; 256] = {
    let mut table = [1; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = 6;
        byte += 1;
    }
    let short = *b"\"\\\x08\x09\x0a\x0c\x0d";
    let mut at = 0;
    while at < short.len() {
        table[short[at] as usize] = 2;
        at += 1;
    }
    table
};

impl Value {
    /// Appends the value as compact JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(number) => number.write(out),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    item.write_json(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_string(key, out);
                    out.push(b':');
                    value.write_json(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The value as compact JSON text.
    pub fn to_json_string(&self) -> String {
        String::from_utf8(self.to_json()).unwrap_or_else(|error| {
            // Every piece that is written is Unicode; a lossy copy is still better than a panic.
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    }

    /// The value as compact JSON bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write_json(&mut out);
        out
    }

    /// Length in bytes of the compact JSON text, without writing it.
    pub fn json_len(&self) -> usize {
        match self {
            Self::Null | Self::Bool(true) => 4,
            Self::Bool(false) => 5,
            Self::Number(number) => number_len(*number),
            Self::String(text) => string_len(text),
            // Brackets, and a comma between any two.
            Self::Array(items) => {
                items.iter().map(Self::json_len).sum::<usize>() + items.len().saturating_sub(1) + 2
            }
            Self::Object(members) => {
                let inner: usize =
                    members.iter().map(|(key, value)| string_len(key) + 1 + value.json_len()).sum();
                inner + members.len().saturating_sub(1) + 2
            }
        }
    }
}

/// Length of a number's text.
#[inline]
pub(super) fn number_len(number: super::Number) -> usize {
    use super::Number;
    match number {
        Number::Int(number) => digits(number.unsigned_abs()) + usize::from(number < 0),
        Number::UInt(number) => digits(number),
        Number::Float(_) => {
            let mut text = Vec::with_capacity(24);
            number.write(&mut text);
            text.len()
        }
    }
}

#[inline]
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Length of a string's text, with its quotes and escapes.
#[inline]
pub(super) fn string_len(text: &Str) -> usize {
    let bytes = text.as_bytes();
    if is_plain(bytes) { bytes.len() + 2 } else { escaped_len(bytes) }
}

fn escaped_len(bytes: &[u8]) -> usize {
    let escapes = bytes.iter().map(|byte| usize::from(ESCAPED_LEN[usize::from(*byte)]));
    escapes.sum::<usize>() + 2
}

/// Appends a JSON string: the text with its quotes and escapes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_len(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain).copied() else { break };
        rest = &rest[plain + 1..];
        let short = match byte {
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _ => byte,
        };
        if ESCAPED_LEN[usize::from(byte)] == 2 {
            out.extend_from_slice(&[b'\\', short]);
        } else {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
    out.push(b'"');
}
