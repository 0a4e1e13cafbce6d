//! From text to a path.
//!
//! A dotted name goes to the next `.`, `[`, `(` or white space, so `$.a-b` and `$.&Ж中` are names; a backslash
//! takes the next character as it is. Refused with a reason: steps of slices, mixed unions, unknown
//! functions, functions with arguments that are not numbers.

use super::filter::Filter;
use super::function::Function;
use super::syntax::{Query, Segment, Step};
use super::{PathSyntaxError, Root};
use crate::value::Str;
use crate::variables;

/// Nesting of filters and their parentheses.
pub(super) const NESTING_MAX: usize = 32;

/// Segments of one path. A value that a reference path builds is as deep as the path is long.
pub(super) const SEGMENTS_MAX: usize = 256;

/// What ends a dotted name outside of filters.
const NAME_ENDS: &[char] = &['.', '[', '(', ' ', '\t', '\r', '\n'];
/// What ends a dotted name inside of filters too: operators and brackets.
const NAME_ENDS_IN_FILTER: &[char] =
    &['.', '[', '(', ' ', '\t', '\r', '\n', ')', ']', '=', '!', '<', '>', '&', '|', ',', '~'];

/// Reads a whole text as a path.
pub(super) fn path(text: &str) -> Result<(Root, Query), PathSyntaxError> {
    let mut parser = Parser { text, at: 0, nesting: 0 };
    let root = parser.root()?;
    let query = parser.query()?;
    if parser.at < text.len() {
        return parser.error("the path goes on where it should end");
    }
    Ok((root, query))
}

/// A place in a text.
pub(super) struct Parser<'a> {
    pub text: &'a str,
    /// In bytes, at a boundary of characters.
    pub at: usize,
    /// Open filters and parentheses.
    pub nesting: usize,
}

impl<'a> Parser<'a> {
    pub fn error<T>(&self, reason: impl Into<String>) -> Result<T, PathSyntaxError> {
        let column = self.text[..self.at].chars().count() + 1;
        Err(PathSyntaxError { text: self.text.to_owned(), column, reason: reason.into() })
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Goes past this text, if it comes next.
    pub fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    pub fn expect(&mut self, expected: &str) -> Result<(), PathSyntaxError> {
        if self.eat(expected) { Ok(()) } else { self.error(format!("expected `{expected}`")) }
    }

    pub fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn root(&mut self) -> Result<Root, PathSyntaxError> {
        if self.eat("$$") {
            return Ok(Root::Context);
        }
        if !self.eat("$") {
            return self.error("a path starts with `$`");
        }
        let name: String =
            self.rest().chars().take_while(|character| variables::continues_name(*character)).collect();
        if name.starts_with(|first: char| !variables::begins_name(first)) {
            return self.error("a variable's name starts with a letter");
        }
        self.at += name.len();
        Ok(if name.is_empty() { Root::Input } else { Root::Variable(name.into()) })
    }

    /// Segments as long as there are any, and perhaps a function behind them.
    pub fn query(&mut self) -> Result<Query, PathSyntaxError> {
        let mut segments = Vec::new();
        let mut function = None;
        while let Some(next @ ('.' | '[')) = self.peek() {
            if segments.len() >= SEGMENTS_MAX {
                return self.error(format!("a path has at most {SEGMENTS_MAX} segments"));
            }
            if next == '[' {
                segments.push(self.bracket()?);
                continue;
            }
            if self.eat("..") {
                segments.push(Segment::Descend);
                if self.peek() == Some('[') {
                    continue;
                }
            } else {
                self.at += 1;
                // Jayway reads `$.[0]` as `$[0]`.
                if self.peek() == Some('[') {
                    continue;
                }
            }
            if self.eat("*") {
                segments.push(Segment::Wildcard);
                continue;
            }
            let start = self.at;
            let name = self.name()?;
            if self.peek() == Some('(') {
                function = Some(self.function(&name, start)?);
                break;
            }
            segments.push(Segment::Step(Step::Key(name)));
        }
        Ok(Query::new(segments, function))
    }

    /// A dotted name.
    fn name(&mut self) -> Result<Str, PathSyntaxError> {
        let ends = if self.nesting == 0 { NAME_ENDS } else { NAME_ENDS_IN_FILTER };
        let mut name = Str::new();
        while let Some(character) = self.peek() {
            if ends.contains(&character) {
                break;
            }
            self.at += character.len_utf8();
            if character != '\\' {
                name.push(character);
                continue;
            }
            let Some(escaped) = self.peek() else { return self.error("nothing follows the backslash") };
            name.push(escaped);
            self.at += escaped.len_utf8();
        }
        if name.is_empty() {
            return self.error("expected a name; a path does not end with a dot");
        }
        Ok(name)
    }

    /// `(...)` behind a function's name, up to the end of the path. `start` is where the name starts, which may be longer
    /// there, by its escapes.
    fn function(&mut self, name: &str, start: usize) -> Result<Function, PathSyntaxError> {
        self.expect("(")?;
        let Some(end) = self.rest().find(')') else { return self.error("expected `)`") };
        let argument = self.rest()[..end].trim().to_owned();
        self.at += end + 1;
        match Function::new(name, &argument) {
            Some(_) if matches!(self.peek(), Some('.' | '[')) => self.error("nothing may follow a function"),
            Some(function) => Ok(function),
            None => {
                self.at = start;
                self.error(format!(
                    "`{name}({argument})` is not among the functions of paths: {}",
                    Function::NAMES
                ))
            }
        }
    }

    /// A segment in brackets.
    fn bracket(&mut self) -> Result<Segment, PathSyntaxError> {
        self.expect("[")?;
        self.skip_space();
        let segment = match self.peek() {
            Some('\'' | '"') => self.keys()?,
            Some('*') => {
                self.at += 1;
                Segment::Wildcard
            }
            Some('?') => {
                self.at += 1;
                self.skip_space();
                Segment::Filter(Box::new(Filter::parse(self)?))
            }
            Some('0'..='9' | '-' | ':') => self.indexes()?,
            _ => return self.error("expected a name in quotes, an index, a slice, `*` or `?`"),
        };
        self.skip_space();
        self.expect("]")?;
        Ok(segment)
    }

    fn keys(&mut self) -> Result<Segment, PathSyntaxError> {
        let mut keys = vec![self.quoted()?];
        loop {
            self.skip_space();
            if !self.eat(",") {
                break;
            }
            self.skip_space();
            if !matches!(self.peek(), Some('\'' | '"')) {
                return self.error("names and other selectors do not mix in one pair of brackets");
            }
            keys.push(self.quoted()?);
        }
        Ok(match keys.pop() {
            Some(key) if keys.is_empty() => Segment::Step(Step::Key(key)),
            last => Segment::Keys(keys.into_iter().chain(last).collect()),
        })
    }

    fn indexes(&mut self) -> Result<Segment, PathSyntaxError> {
        let first = self.integer()?;
        self.skip_space();
        if self.eat(":") {
            self.skip_space();
            let end = self.integer()?;
            self.skip_space();
            return match self.peek() {
                Some(':') => self.error("a slice has no step in this dialect"),
                Some(',') => self.error("slices do not mix with other selectors"),
                _ => Ok(Segment::Slice(first, end)),
            };
        }
        let Some(first) = first else { return self.error("expected an index") };
        let mut indexes = vec![first];
        loop {
            self.skip_space();
            if !self.eat(",") {
                break;
            }
            self.skip_space();
            let Some(index) = self.integer()? else { return self.error("expected an index") };
            indexes.push(index);
        }
        Ok(match indexes[..] {
            [index] => Segment::Step(Step::Index(index)),
            _ => Segment::Indexes(indexes.into()),
        })
    }

    /// An integer of 32 bits, as Jayway has them; `None` when no number comes next.
    fn integer(&mut self) -> Result<Option<i64>, PathSyntaxError> {
        let rest = self.rest();
        let digits = rest.trim_start_matches('-').trim_start_matches(|digit: char| digit.is_ascii_digit());
        let text = &rest[..rest.len() - digits.len()];
        if text.is_empty() {
            return Ok(None);
        }
        let Ok(index) = text.parse::<i32>() else { return self.error("not an index") };
        self.at += text.len();
        Ok(Some(i64::from(index)))
    }

    /// A text in single or double quotes, with the escapes of RFC 9535. A backslash before anything else
    /// stays, as AWS has it: `['a\"b']` is the key `a\"b` with its backslash.
    pub fn quoted(&mut self) -> Result<Str, PathSyntaxError> {
        let Some(quote) = self.peek() else { return self.error("expected a quote") };
        self.at += quote.len_utf8();
        let mut text = Str::new();
        while let Some(character) = self.peek() {
            self.at += character.len_utf8();
            if character == quote {
                return Ok(text);
            }
            if character == '\\' {
                self.escape(quote, &mut text)?;
            } else {
                text.push(character);
            }
        }
        self.error("the quote has no end")
    }

    /// What stands behind a backslash.
    fn escape(&mut self, quote: char, out: &mut Str) -> Result<(), PathSyntaxError> {
        let Some(character) = self.peek() else { return self.error("nothing follows the backslash") };
        self.at += character.len_utf8();
        let plain = match character {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '\\' | '/' => character,
            'u' => self.unicode_escape()?,
            other if other == quote => other,
            other => {
                out.push('\\');
                other
            }
        };
        out.push(plain);
        Ok(())
    }

    fn unicode_escape(&mut self) -> Result<char, PathSyntaxError> {
        let unit = self.code_unit()?;
        let scalar = if (0xd800..0xdc00).contains(&unit) && self.eat("\\u") {
            let low = self.code_unit()?;
            if !(0xdc00..0xe000).contains(&low) {
                return self.error("a lone surrogate is not a character");
            }
            0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
        } else {
            unit
        };
        char::from_u32(scalar).map_or_else(|| self.error("a lone surrogate is not a character"), Ok)
    }

    fn code_unit(&mut self) -> Result<u32, PathSyntaxError> {
        let digits =
            self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return self.error("`\\u` needs four hexadecimal digits");
        };
        self.at += 4;
        Ok(unit)
    }
}
