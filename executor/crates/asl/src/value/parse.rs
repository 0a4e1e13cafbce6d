//! From text to a tree, with an explicit stack.

use std::sync::Arc;

use super::scan::{JsonError, JsonLimits, RawNumber, RawString, Sink, drive, hex4};
use super::{Map, Number, Str, Value};

pub(super) fn parse(text: &[u8], limits: JsonLimits) -> Result<Value, JsonError> {
    let mut builder = Builder { open: Vec::new(), done: Value::Null };
    drive(text, limits, &mut builder)?;
    Ok(builder.done)
}

enum Open {
    Array(Vec<Value>),
    /// The members so far, and the key whose value comes next.
    Object(Map, Str),
}

struct Builder {
    open: Vec<Open>,
    done: Value,
}

impl Builder {
    #[inline]
    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(members, key)) => {
                members.insert(std::mem::take(key), value);
            }
            None => self.done = value,
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::Array(items)) => self.put(Value::Array(Arc::new(items))),
            Some(Open::Object(members, _)) => self.put(Value::Object(Arc::new(members))),
            None => {}
        }
    }
}

impl Sink for Builder {
    fn null(&mut self) {
        self.put(Value::Null);
    }

    fn bool(&mut self, truth: bool) {
        self.put(Value::Bool(truth));
    }

    fn number(&mut self, number: RawNumber<'_>) {
        self.put(Value::Number(read_number(number)));
    }

    fn string(&mut self, text: RawString<'_>) {
        self.put(Value::String(read_string(text)));
    }

    fn key(&mut self, text: RawString<'_>) {
        if let Some(Open::Object(_, key)) = self.open.last_mut() {
            *key = read_string(text);
        }
    }

    fn begin_array(&mut self) {
        self.open.push(Open::Array(Vec::new()));
    }

    fn end_array(&mut self) {
        self.close();
    }

    fn begin_object(&mut self) {
        self.open.push(Open::Object(Map::default(), Str::new()));
    }

    fn end_object(&mut self) {
        self.close();
    }
}

#[inline]
fn read_number(number: RawNumber<'_>) -> Number {
    match number {
        RawNumber::Short { negative, said } => {
            let said = said.cast_signed();
            Number::Int(if negative { -said } else { said })
        }
        RawNumber::Text { text, integer } => read_long_number(text, integer),
    }
}

fn read_long_number(text: &str, integer: bool) -> Number {
    if integer {
        if let Ok(exact) = text.parse::<i64>() {
            return Number::Int(exact);
        }
        if let Ok(exact) = text.parse::<u64>() {
            return Number::UInt(exact);
        }
    }
    // The scan has checked form and range, so this always succeeds.
    Number::Float(text.parse().unwrap_or(0.0))
}

fn read_string(raw: RawString<'_>) -> Str {
    if !raw.escaped {
        return raw.text.into();
    }
    let mut out = Str::with_capacity(raw.text.len());
    let mut rest = raw.text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (character, len) = read_escape(&rest.as_bytes()[at..]);
        out.push(character);
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    out
}

/// The character of an escape that the scan has checked, and the escape's length.
fn read_escape(bytes: &[u8]) -> (char, usize) {
    let short = |character| (character, 2);
    match bytes.get(1) {
        Some(b'b') => short('\u{8}'),
        Some(b'f') => short('\u{c}'),
        Some(b'n') => short('\n'),
        Some(b'r') => short('\r'),
        Some(b't') => short('\t'),
        Some(b'u') => {
            let unit = hex4(bytes, 2).unwrap_or(0xfffd);
            if let 0xd800..=0xdbff = unit {
                let low = hex4(bytes, 8).unwrap_or(0xdc00);
                let scalar = 0x1_0000 + ((unit - 0xd800) << 10) + (low & 0x3ff);
                return (char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
            }
            (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
        }
        Some(other) => short(char::from(*other)),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}
