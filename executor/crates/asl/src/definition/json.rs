//! Reads a definition's text into a tree that remembers where everything stood.
//!
//! Purpose: diagnostics with positions, and duplicate keys found. Invariants: spans are byte offsets into
//! the text and fall on character boundaries; nesting is bounded by [`DEPTH_MAX`], so neither reading nor
//! dropping a tree can exhaust the stack. What may fail: text that is not JSON; the first problem ends the
//! reading. Messages use the words of the JSON parser behind Step Functions, so that people find them with
//! a search.

/// Nesting of arrays and objects in a definition. One level of Parallel or Map takes four.
pub const DEPTH_MAX: usize = 250;

/// A range of bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) shape: Shape,
}

/// What a value is. A number stays text: its span says where.
#[derive(Debug)]
pub(super) enum Shape {
    Null,
    Bool(bool),
    Number,
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) value: Node,
}

impl Node {
    /// The text of a string.
    pub(super) fn as_str(&self) -> Option<&str> {
        if let Shape::String(text) = &self.shape { Some(text) } else { None }
    }

    /// The members of an object.
    pub(super) fn members(&self) -> Option<&[Member]> {
        if let Shape::Object(members) = &self.shape { Some(members) } else { None }
    }

    /// The items of an array; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        if let Shape::Array(items) = &self.shape { items } else { &[] }
    }

    /// The member of this name, where this is an object that has it.
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        self.members()?.iter().find(|member| member.name == name)
    }

    /// The value of the member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.member(name).map(|member| &member.value)
    }

    /// What to underline: a scalar whole, of an array or object the opening bracket.
    pub(super) fn pointed(&self) -> Span {
        match self.shape {
            Shape::Array(_) | Shape::Object(_) => Span::new(self.span.start, self.span.start + 1),
            _ => self.span,
        }
    }
}

impl Member {
    /// Name and value.
    pub(super) fn span(&self) -> Span {
        Span::new(self.name_span.start, self.value.span.end)
    }

    /// What to underline: a scalar's value, otherwise the name.
    pub(super) fn pointed(&self) -> Span {
        match self.value.shape {
            Shape::Array(_) | Shape::Object(_) => self.name_span,
            _ => self.value.span,
        }
    }
}

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonProblem {
    /// Which kind.
    pub kind: JsonProblemKind,
    /// What is wrong, in the words of AWS's parser.
    pub message: String,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
}

/// Kinds of problems of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonProblemKind {
    /// Nothing but white space.
    Empty,
    /// Not JSON, or a key twice in one object.
    Syntax,
    /// More than [`DEPTH_MAX`] arrays and objects inside each other.
    TooDeep,
}

/// Says why a text is not JSON (or holds a key twice, or is nested too deeply); `None` when it is.
pub fn explain(text: &str) -> Option<JsonProblem> {
    read(text).err()
}

/// Reads a whole text.
pub(super) fn read(text: &str) -> Result<Node, JsonProblem> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, depth: 0 };
    reader.skip_space();
    if reader.at == reader.bytes.len() {
        return Err(JsonProblem {
            kind: JsonProblemKind::Empty,
            message: "No content to map due to end-of-input".into(),
            start: 0,
            end: 0,
        });
    }
    let node = reader.value()?;
    reader.skip_space();
    if reader.at < reader.bytes.len() {
        return Err(reader.unexpected("expected nothing after the end of the value"));
    }
    Ok(node)
}

const VALUE_EXPECTED: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn problem(&self, message: String, start: usize, end: usize) -> JsonProblem {
        JsonProblem { kind: JsonProblemKind::Syntax, message, start, end: end.min(self.bytes.len()) }
    }

    /// The character at the reading position is not what should stand there.
    fn unexpected(&self, expected: &str) -> JsonProblem {
        match self.text[self.at..].chars().next() {
            Some(found) => self.problem(
                format!("Unexpected character ('{found}' (code {})): {expected}", u32::from(found)),
                self.at,
                self.at + found.len_utf8(),
            ),
            None => self.problem(format!("Unexpected end-of-input: {expected}"), self.at, self.at),
        }
    }

    fn value(&mut self) -> Result<Node, JsonProblem> {
        let start = self.at;
        let shape = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Shape::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => self.word()?,
            _ => return Err(self.unexpected(&format!("expected a valid value {VALUE_EXPECTED}"))),
        };
        Ok(Node { span: Span::new(start, self.at), shape })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Shape, JsonProblem>) -> Result<Shape, JsonProblem> {
        if self.depth == DEPTH_MAX {
            return Err(JsonProblem {
                kind: JsonProblemKind::TooDeep,
                message: format!("Arrays and objects are nested deeper than {DEPTH_MAX} levels"),
                start: self.at,
                end: self.at + 1,
            });
        }
        self.depth += 1;
        self.at += 1;
        let shape = read(self);
        self.depth -= 1;
        shape
    }

    fn object(&mut self) -> Result<Shape, JsonProblem> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = std::collections::HashSet::<String, foldhash::fast::RandomState>::default();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Shape::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("was expecting double-quote to start field name"));
            }
            let start = self.at;
            let name = self.string()?;
            let name_span = Span::new(start, self.at);
            if !seen.insert(name.clone()) {
                return Err(self.problem(format!("Duplicate field '{name}'"), start, self.at));
            }
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("was expecting a colon to separate field name and value"));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value()?;
            members.push(Member { name, name_span, value });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Shape::Object(members));
                }
                _ => return Err(self.unexpected("was expecting comma to separate Object entries")),
            }
        }
    }

    fn array(&mut self) -> Result<Shape, JsonProblem> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Shape::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value()?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Shape::Array(items));
                }
                _ => return Err(self.unexpected("was expecting comma to separate Array entries")),
            }
        }
    }

    fn word(&mut self) -> Result<Shape, JsonProblem> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected(&format!("expected a valid value {VALUE_EXPECTED}")));
        }
        let shape = match &rest[..length] {
            "null" => Shape::Null,
            "true" => Shape::Bool(true),
            "false" => Shape::Bool(false),
            token => {
                let shown: String = token.chars().take(256).collect();
                let message = format!("Unrecognized token '{shown}': was expecting {VALUE_EXPECTED}");
                return Err(self.problem(message, self.at, self.at + length));
            }
        };
        self.at += length;
        Ok(shape)
    }

    fn number(&mut self) -> Result<Shape, JsonProblem> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.at += 1;
                if let Some(b'0'..=b'9') = self.peek() {
                    let message = "Invalid numeric value: Leading zeroes not allowed".into();
                    return Err(self.problem(message, start, self.at + 1));
                }
            }
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("expected digit (0-9) to follow minus sign")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.unexpected("Decimal point not followed by a digit"));
            }
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.unexpected("Exponent indicator not followed by a digit"));
            }
            self.digits();
        }
        if !self.text[start..self.at].parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(self.problem("Number is out of range of a double".into(), start, self.at));
        }
        Ok(Shape::Number)
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<String, JsonProblem> {
        let quote = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let run = self.at;
            while let Some(byte) = self.peek() {
                if byte == b'"' || byte == b'\\' || byte < 0x20 {
                    break;
                }
                self.at += 1;
            }
            text.push_str(&self.text[run..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(byte) => {
                    let message = format!(
                        "Illegal unquoted character ((CTRL-CHAR, code {byte})): has to be escaped using \
                         backslash to be included in string value"
                    );
                    return Err(self.problem(message, self.at, self.at + 1));
                }
                None => {
                    let message =
                        "Unexpected end-of-input: was expecting closing quote for a string value".into();
                    return Err(self.problem(message, quote, self.at));
                }
            }
        }
    }

    /// From the backslash on.
    fn escape(&mut self) -> Result<char, JsonProblem> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => return Err(self.unexpected("unrecognized character escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// From the `u` on; takes the second half of a surrogate pair too.
    fn unicode(&mut self, start: usize) -> Result<char, JsonProblem> {
        self.at += 1;
        let first = self.hex4()?;
        let lone =
            |reader: &Self| reader.problem("Unpaired surrogate in a \\u escape".into(), start, reader.at);
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or_else(|| lone(self));
        }
        if first >= 0xdc00 || !self.bytes[self.at..].starts_with(b"\\u") {
            return Err(lone(self));
        }
        self.at += 2;
        let second = self.hex4()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone(self));
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).ok_or_else(|| lone(self))
    }

    fn hex4(&mut self) -> Result<u32, JsonProblem> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("expected a hex-digit for character escape sequence"));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
