//! The grammar of JSON text, once: it drives the parser and the checker, so that both accept the same texts.
//!
//! Invariants: no recursion (nesting is a bit stack), every byte is looked at a bounded number of times.
//! Refused: bytes that are not UTF-8, control characters in strings, unknown escapes, lone surrogates,
//! numbers beyond a double, leading zeros, nesting beyond the limit, anything after the document. A byte
//! order mark is not white space.

use super::plain::plain_len;

/// Bounds of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Nesting of arrays and objects; a scalar has 0.
    pub depth: usize,
    /// Length in bytes.
    pub bytes: usize,
}

impl JsonLimits {
    /// The deepest nesting that is accepted unless told otherwise. AWS's own bound is not documented. A tree
    /// of this depth, grown by another of the same depth in one step of an execution, is written, compared
    /// and dropped by recursion within half of a 2 MiB stack, in builds without optimisation too.
    pub const DEPTH: usize = 512;
    /// The payload limit of Step Functions: 256 KiB.
    pub const PAYLOAD_BYTES: usize = 262_144;
    /// The definition limit of Step Functions: 1 MiB.
    pub const DEFINITION_BYTES: usize = 1_048_576;

    /// Bounds of a payload.
    pub const PAYLOAD: Self = Self { depth: Self::DEPTH, bytes: Self::PAYLOAD_BYTES };
    /// Bounds of a definition.
    pub const DEFINITION: Self = Self { depth: Self::DEPTH, bytes: Self::DEFINITION_BYTES };
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self::PAYLOAD
    }
}

/// Where a text stops being JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct JsonError {
    /// Offset in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl JsonError {
    /// Line and column of the error, both from 1; the column counts characters.
    pub fn line_column(&self, text: &[u8]) -> (u32, u32) {
        line_column(text, self.offset)
    }
}

/// Line and column of a byte offset in a text, both from 1; the column counts characters.
pub(crate) fn line_column(text: &[u8], offset: usize) -> (u32, u32) {
    let before = &text[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // Continuation bytes do not start a character.
    let column = before[start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Receives a document piece by piece, in the order of its text. The grammar has already been checked.
pub(super) trait Sink {
    fn null(&mut self);
    fn bool(&mut self, truth: bool);
    fn number(&mut self, number: RawNumber<'_>);
    fn string(&mut self, text: RawString<'_>);
    fn key(&mut self, text: RawString<'_>);
    fn begin_array(&mut self);
    fn end_array(&mut self);
    fn begin_object(&mut self);
    fn end_object(&mut self);
}

/// Looks at nothing: what remains is the check.
pub(super) struct Ignore;

impl Sink for Ignore {
    fn null(&mut self) {}
    fn bool(&mut self, _: bool) {}
    fn number(&mut self, _: RawNumber<'_>) {}
    fn string(&mut self, _: RawString<'_>) {}
    fn key(&mut self, _: RawString<'_>) {}
    fn begin_array(&mut self) {}
    fn end_array(&mut self) {}
    fn begin_object(&mut self) {}
    fn end_object(&mut self) {}
}

/// A string between its quotes.
#[derive(Clone, Copy)]
pub(super) struct RawString<'a> {
    pub text: &'a str,
    pub escaped: bool,
}

/// A number as it was scanned.
#[derive(Clone, Copy)]
pub(super) enum RawNumber<'a> {
    /// An integer of at most [`SHORT_DIGITS`] digits: its absolute value.
    Short { negative: bool, said: u64 },
    /// Any other.
    Text {
        text: &'a str,
        /// Neither fraction nor exponent.
        integer: bool,
    },
}

/// So many digits always fit into an i64.
const SHORT_DIGITS: usize = 18;

/// Runs the grammar over a text.
pub(super) fn drive<S: Sink>(bytes: &[u8], limits: JsonLimits, sink: &mut S) -> Result<(), JsonError> {
    if bytes.len() > limits.bytes {
        return Err(JsonError { offset: limits.bytes, reason: "the text is longer than its limit" });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError { offset: error.valid_up_to(), reason: "not UTF-8" })?;
    let mut scanner = Scanner { text, bytes, at: 0 };
    let mut nesting = Nesting { kinds: 0, aside: Vec::new(), depth: 0, limit: limits.depth };
    loop {
        if scanner.value(&mut nesting, sink)? {
            continue;
        }
        // A value is complete: close what ends here, until something wants another value.
        loop {
            scanner.skip_space();
            let Some(object) = nesting.top() else {
                return if scanner.at == bytes.len() {
                    Ok(())
                } else {
                    scanner.error("text after the document")
                };
            };
            match (scanner.peek(), object) {
                (Some(b','), true) => {
                    scanner.at += 1;
                    scanner.skip_space();
                    scanner.key(sink)?;
                    break;
                }
                (Some(b','), false) => {
                    scanner.at += 1;
                    break;
                }
                (Some(b'}'), true) => sink.end_object(),
                (Some(b']'), false) => sink.end_array(),
                (_, true) => return scanner.error("expected `,` or `}`"),
                (_, false) => return scanner.error("expected `,` or `]`"),
            }
            scanner.at += 1;
            nesting.pop();
        }
    }
}

/// Which kind each open container has: one bit each, the innermost lowest. Full words are put aside, so that what is less
/// than 64 levels deep allocates nothing.
struct Nesting {
    kinds: u64,
    aside: Vec<u64>,
    depth: usize,
    limit: usize,
}

impl Nesting {
    #[inline]
    fn push(&mut self, object: bool) -> bool {
        if self.depth >= self.limit {
            return false;
        }
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.aside.push(self.kinds);
        }
        self.kinds = self.kinds << 1 | u64::from(object);
        self.depth += 1;
        true
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
        self.kinds >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.kinds = self.aside.pop().unwrap_or_default();
        }
    }

    /// Whether the innermost container is an object; `None` outside of all.
    #[inline]
    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.kinds & 1 == 1)
    }
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Reads a scalar or the start of a container. True when a value must follow: the container has a first
    /// member.
    #[inline]
    fn value<S: Sink>(&mut self, nesting: &mut Nesting, sink: &mut S) -> Result<bool, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                sink.string(text);
            }
            Some(b'{') => {
                if !nesting.push(true) {
                    return self.error("nested too deeply");
                }
                self.at += 1;
                sink.begin_object();
                self.skip_space();
                if self.peek() != Some(b'}') {
                    self.key(sink)?;
                    return Ok(true);
                }
                self.at += 1;
                nesting.pop();
                sink.end_object();
            }
            Some(b'[') => {
                if !nesting.push(false) {
                    return self.error("nested too deeply");
                }
                self.at += 1;
                sink.begin_array();
                self.skip_space();
                if self.peek() != Some(b']') {
                    return Ok(true);
                }
                self.at += 1;
                nesting.pop();
                sink.end_array();
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                sink.number(number);
            }
            Some(b't') => {
                self.word(b"true")?;
                sink.bool(true);
            }
            Some(b'f') => {
                self.word(b"false")?;
                sink.bool(false);
            }
            Some(b'n') => {
                self.word(b"null")?;
                sink.null();
            }
            Some(_) => return self.error("expected a value"),
            None => return self.error("the text ends where a value is expected"),
        }
        Ok(false)
    }

    /// A key and its colon.
    #[inline]
    fn key<S: Sink>(&mut self, sink: &mut S) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return self.error("expected a key in quotes");
        }
        let text = self.string()?;
        sink.key(text);
        self.skip_space();
        if self.peek() != Some(b':') {
            return self.error("expected `:`");
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        // Compact texts have none: one comparison settles it.
        while let Some(byte) = self.peek() {
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return;
            }
            self.at += 1;
        }
    }

    #[cold]
    fn error<T>(&self, reason: &'static str) -> Result<T, JsonError> {
        Err(JsonError { offset: self.at, reason })
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.error("expected a value");
        }
        self.at += word.len();
        Ok(())
    }

    /// A string from its opening quote; leaves behind the closing one.
    // As a call it would return through memory, a third of the check's time.
    #[inline(always)]
    fn string(&mut self) -> Result<RawString<'a>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_len(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let text = self.slice(start);
                    self.at += 1;
                    return Ok(RawString { text, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.error("a control character in a string must be escaped"),
                None => return self.error("the string has no end"),
            }
        }
    }

    /// The text from `start` to here. Both are boundaries of characters: next to them is an ASCII byte.
    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// An escape from its backslash. An error points at the backslash.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let Some(unit) = hex4(self.bytes, self.at + 2) else {
                    return self.error("`\\u` needs four hexadecimal digits");
                };
                match unit {
                    0xd800..=0xdbff => {
                        let low = (self.bytes.get(self.at + 6..self.at + 8) == Some(b"\\u"))
                            .then(|| hex4(self.bytes, self.at + 8))
                            .flatten();
                        if !matches!(low, Some(0xdc00..=0xdfff)) {
                            return self.error("a lone surrogate is not a character");
                        }
                        self.at += 12;
                    }
                    0xdc00..=0xdfff => return self.error("a lone surrogate is not a character"),
                    _ => self.at += 6,
                }
                Ok(())
            }
            Some(_) => self.error("unknown escape"),
            None => self.error("the string has no end"),
        }
    }

    /// Skips digits, and gives how many there were and what they say while that fits into 19 of them.
    #[inline]
    fn digits(&mut self) -> (usize, u64) {
        let start = self.at;
        let mut said: u64 = 0;
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            said = said.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        (self.at - start, said)
    }

    /// A number. An error of range points at its start.
    // For the same reason as a string.
    #[inline(always)]
    fn number(&mut self) -> Result<RawNumber<'a>, JsonError> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let leading_zero = self.peek() == Some(b'0');
        let (whole, said) = self.digits();
        if whole == 0 {
            return self.error("expected a digit");
        }
        if leading_zero && whole > 1 {
            self.at -= whole;
            return self.error("a number has no leading zeros");
        }
        if !matches!(self.peek(), Some(b'.' | b'e' | b'E')) && whole <= SHORT_DIGITS {
            return Ok(RawNumber::Short { negative, said });
        }
        self.long_number(start, whole)
    }

    /// The rest of a number with a fraction, an exponent or many digits.
    #[inline(never)]
    fn long_number(&mut self, start: usize, whole: usize) -> Result<RawNumber<'a>, JsonError> {
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            if self.digits().0 == 0 {
                return self.error("expected a digit");
            }
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits().0 == 0 {
                return self.error("expected a digit");
            }
        }
        let text = self.slice(start);
        // 308 digits always fit in a double: most numbers need no closer look.
        if (exponent || whole > 308) && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(JsonError { offset: start, reason: "number out of range" });
        }
        Ok(RawNumber::Text { text, integer })
    }
}

/// Four hexadecimal digits at this offset.
pub(super) fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |sum, byte| Some(sum * 16 + char::from(*byte).to_digit(16)?))
}
