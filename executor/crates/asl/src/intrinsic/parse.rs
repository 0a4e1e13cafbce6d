//! From text to a call.
//!
//! Escapes of a quoted text are `\'`, `\{`, `\}` and `\\`; a backslash before anything else is refused, as recorded
//! from AWS, and braces need none. `{}` is a place for a value in the first argument of `States.Format` and text
//! elsewhere. White space may stand around arguments.

use super::function::{FORMAT, FUNCTIONS, Function};
use super::{Argument, CALLS_MAX, Call, IntrinsicSyntaxError};
use crate::path::Path;
use crate::value::{JsonLimits, Str, Value};

/// Reads a whole text as a call.
pub(super) fn intrinsic(text: &str) -> Result<Call, IntrinsicSyntaxError> {
    let mut parser = Parser { text, at: 0, calls: 0 };
    let call = parser.call()?;
    if parser.at < text.len() {
        return parser.error("the text goes on where the call has ended");
    }
    Ok(call)
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes, at a boundary of characters.
    at: usize,
    /// Calls begun so far.
    calls: usize,
}

impl<'a> Parser<'a> {
    fn error<T>(&self, reason: impl Into<String>) -> Result<T, IntrinsicSyntaxError> {
        self.error_at(self.at, reason)
    }

    fn error_at<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, IntrinsicSyntaxError> {
        let column = self.text[..at].chars().count() + 1;
        Err(IntrinsicSyntaxError { text: self.text.to_owned(), column, reason: reason.into() })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Goes past the longest beginning of these characters.
    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.len() - rest.trim_start_matches(belongs).len();
        self.at += len;
        &rest[..len]
    }

    fn skip_space(&mut self) {
        self.take_while(|character| matches!(character, ' ' | '\t' | '\r' | '\n'));
    }

    /// Recursion is as deep as calls are nested, [`CALLS_MAX`] at most.
    fn call(&mut self) -> Result<Call, IntrinsicSyntaxError> {
        let start = self.at;
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return self.error(format!("a field has at most {CALLS_MAX} intrinsic functions"));
        }
        let name = self.take_while(|character| character.is_ascii_alphanumeric() || character == '.');
        let Some(function) = Function::named(name) else {
            let names = FUNCTIONS.iter().map(|function| function.name).collect::<Vec<_>>().join(", ");
            return self.error_at(start, format!("`{name}` is not among the intrinsic functions: {names}"));
        };
        if !self.eat("(") {
            return self.error("expected `(`");
        }
        self.skip_space();
        let mut pattern = None;
        if function.name == FORMAT && self.rest().starts_with('\'') {
            pattern = Some(self.quoted(true)?.into_boxed_slice());
        }
        let arguments = self.arguments(pattern.is_some())?;
        let given = arguments.len() + usize::from(pattern.is_some());
        if !(function.least..=function.most).contains(&given) {
            let reason = format!("`{name}` takes {}, and is given {given}", function.arity());
            return self.error_at(start, reason);
        }
        Ok(Call { function, pattern, arguments: arguments.into(), span: start..self.at })
    }

    /// Arguments up to the closing parenthesis. `follows` says that one has been read.
    fn arguments(&mut self, mut follows: bool) -> Result<Vec<Argument>, IntrinsicSyntaxError> {
        let mut arguments = Vec::new();
        loop {
            self.skip_space();
            if self.eat(")") {
                return Ok(arguments);
            }
            if follows && !self.eat(",") {
                return self.error("expected `,` or `)`");
            }
            self.skip_space();
            arguments.push(self.argument(follows)?);
            follows = true;
        }
    }

    fn argument(&mut self, follows: bool) -> Result<Argument, IntrinsicSyntaxError> {
        match self.rest().chars().next() {
            Some('\'') => {
                let text = self.quoted(false)?.pop().unwrap_or_default();
                Ok(Argument::Literal(text.into()))
            }
            Some('$') => self.path().map(Argument::Path),
            Some('-' | '0'..='9') => self.number().map(Argument::Literal),
            Some('"') => self.error("a text stands in single quotes"),
            Some(letter) if letter.is_ascii_alphabetic() && !self.rest().starts_with("States.") => self.word(),
            Some(letter) if letter.is_ascii_alphabetic() => self.call().map(Argument::Call),
            _ if follows => self.error(
                "expected an argument: a text in single quotes, a number, `true`, `false`, `null`, a path or an \
                 intrinsic function",
            ),
            _ => self.error("expected an argument or `)`"),
        }
    }

    fn word(&mut self) -> Result<Argument, IntrinsicSyntaxError> {
        let start = self.at;
        let word =
            self.take_while(|character| character.is_alphanumeric() || character == '_' || character == '.');
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => {
                return self.error_at(
                    start,
                    format!(
                        "`{word}` is no argument; a text stands in single quotes, a path begins with `$`"
                    ),
                );
            }
        };
        Ok(Argument::Literal(value))
    }

    fn number(&mut self) -> Result<Value, IntrinsicSyntaxError> {
        let start = self.at;
        let text = self.take_while(|character| matches!(character, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        match Value::parse(text.as_bytes(), JsonLimits::PAYLOAD) {
            Ok(number) => Ok(number),
            Err(error) => self.error_at(start, format!("`{text}` is no number of JSON: {}", error.reason)),
        }
    }

    /// A path ends before the `,` or `)` that does not belong to it.
    fn path(&mut self) -> Result<Path, IntrinsicSyntaxError> {
        let start = self.at;
        self.at += path_len(self.rest());
        let text = &self.text[start..self.at];
        match Path::parse(text) {
            Ok(path) => Ok(path),
            Err(error) => {
                let before = text.chars().take(error.column - 1).map(char::len_utf8).sum::<usize>();
                self.error_at(start + before, error.reason)
            }
        }
    }

    /// A text in quotes, without its escapes. With `places` it is taken apart at each `{}`, else it is one piece.
    fn quoted(&mut self, places: bool) -> Result<Vec<Str>, IntrinsicSyntaxError> {
        let start = self.at;
        self.at += 1;
        let mut pieces = Vec::new();
        let mut piece = Str::new();
        loop {
            let plain = self.take_while(|character| !matches!(character, '\'' | '\\' | '{'));
            piece.push_str(plain);
            if self.eat("'") {
                pieces.push(piece);
                return Ok(pieces);
            }
            if places && self.eat("{}") {
                pieces.push(std::mem::take(&mut piece));
            } else if self.eat("{") {
                piece.push('{');
            } else if self.rest().is_empty() {
                return self.error_at(start, "the text in single quotes has no end");
            } else {
                piece.push(self.escape()?);
            }
        }
    }

    /// The character behind a backslash.
    fn escape(&mut self) -> Result<char, IntrinsicSyntaxError> {
        match self.rest().chars().nth(1) {
            Some(escaped @ ('\'' | '{' | '}' | '\\')) => {
                self.at += 1 + escaped.len_utf8();
                Ok(escaped)
            }
            _ => self.error(
                "a backslash stands before `'`, `{`, `}` or another backslash; before anything else it is written \
                 twice",
            ),
        }
    }
}

/// Length of the path at the start of a text: up to the first comma, parenthesis or space outside of its brackets and
/// parentheses. Whether it is a path is for its own parser to say.
fn path_len(text: &str) -> usize {
    let (mut brackets, mut parentheses) = (0_usize, 0_usize);
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if quote == Some(character) => quote = None,
            _ if quote.is_some() => {}
            '\'' | '"' if brackets > 0 => quote = Some(character),
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            '(' => parentheses += 1,
            ')' if parentheses > 0 => parentheses -= 1,
            ')' | ',' | ' ' | '\t' | '\r' | '\n' if brackets == 0 && parentheses == 0 => return at,
            _ => {}
        }
    }
    text.len()
}
