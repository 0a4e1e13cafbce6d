//! From text to a filter.

use super::PathSyntaxError;
use super::filter::{Filter, Operand, Pattern};
use super::operator::Operator;
use super::parse::{NESTING_MAX, Parser};
use crate::value::{JsonLimits, Value};

/// Symbols before words, longer ones before their beginnings.
const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("in", Operator::In),
    ("nin", Operator::NotIn),
    ("subsetof", Operator::SubsetOf),
    ("anyof", Operator::AnyOf),
    ("noneof", Operator::NoneOf),
    ("contains", Operator::Contains),
    ("size", Operator::Size),
    ("empty", Operator::Empty),
];

/// Sizes of compiled regular expressions, in bytes: the largest, and what counts as a visit for each character of a text.
/// A pattern of some dozens of characters takes a few hundred bytes, one with `{1,999}` in it some ten thousands.
const PATTERN_BYTES_MAX: usize = 1 << 16;
pub(super) const PATTERN_BYTES_PER_VISIT: usize = 1 << 9;

/// Reads a filter behind its `?`. Jayway wants parentheses around it; without them it is accepted too.
pub(super) fn filter(parser: &mut Parser<'_>) -> Result<Filter, PathSyntaxError> {
    nested(parser, or)
}

fn nested<'a, T>(
    parser: &mut Parser<'a>,
    read: impl FnOnce(&mut Parser<'a>) -> Result<T, PathSyntaxError>,
) -> Result<T, PathSyntaxError> {
    if parser.nesting >= NESTING_MAX {
        return parser.error(format!("filters nest deeper than {NESTING_MAX} levels"));
    }
    parser.nesting += 1;
    let result = read(parser);
    parser.nesting -= 1;
    result
}

fn or(parser: &mut Parser<'_>) -> Result<Filter, PathSyntaxError> {
    let mut parts = vec![and(parser)?];
    while eat_operator(parser, "||") {
        parts.push(and(parser)?);
    }
    Ok(single(parts, Filter::Or))
}

fn and(parser: &mut Parser<'_>) -> Result<Filter, PathSyntaxError> {
    let mut parts = vec![unary(parser)?];
    while eat_operator(parser, "&&") {
        parts.push(unary(parser)?);
    }
    Ok(single(parts, Filter::And))
}

fn eat_operator(parser: &mut Parser<'_>, operator: &str) -> bool {
    parser.skip_space();
    parser.eat(operator)
}

fn single(mut parts: Vec<Filter>, join: impl FnOnce(Box<[Filter]>) -> Filter) -> Filter {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => join(parts.into_iter().chain(last).collect()),
    }
}

fn unary(parser: &mut Parser<'_>) -> Result<Filter, PathSyntaxError> {
    parser.skip_space();
    if parser.eat("!") {
        return nested(parser, |parser| Ok(Filter::Not(Box::new(unary(parser)?))));
    }
    if parser.eat("(") {
        let inner = nested(parser, or)?;
        parser.skip_space();
        parser.expect(")")?;
        return Ok(inner);
    }
    relation(parser)
}

fn relation(parser: &mut Parser<'_>) -> Result<Filter, PathSyntaxError> {
    let left = operand(parser)?;
    parser.skip_space();
    if parser.eat("=~") {
        parser.skip_space();
        return Ok(Filter::Matches(left, pattern(parser)?));
    }
    for (text, operator) in OPERATORS {
        let start = parser.at;
        if !parser.eat(text) {
            continue;
        }
        // A word has to end where it ends.
        if text.starts_with(char::is_alphabetic) && parser.peek().is_some_and(char::is_alphanumeric) {
            parser.at = start;
            continue;
        }
        parser.skip_space();
        return Ok(Filter::Compare(left, *operator, operand(parser)?));
    }
    if matches!(parser.peek(), None | Some(')' | ']' | '&' | '|')) {
        return Ok(Filter::Exists(left));
    }
    parser.error("expected an operator: == != < <= > >= =~ in nin subsetof anyof noneof contains size empty")
}

fn operand(parser: &mut Parser<'_>) -> Result<Operand, PathSyntaxError> {
    match parser.peek() {
        Some(start @ ('@' | '$')) => {
            parser.at += 1;
            let query = parser.query()?;
            Ok(if start == '@' { Operand::Node(query) } else { Operand::Root(query) })
        }
        _ => nested(parser, constant).map(Operand::Constant),
    }
}

/// A string in either quotes, an array of constants, or any other scalar of JSON. A bare word is a string:
/// AWS accepts `[?(@.code==es)]`, as early Jayway did.
fn constant(parser: &mut Parser<'_>) -> Result<Value, PathSyntaxError> {
    match parser.peek() {
        Some('\'' | '"') => parser.quoted().map(Value::String),
        Some('[') => array(parser),
        _ => {
            let rest = parser.rest();
            let end = rest
                .find(|next: char| !(next.is_ascii_alphanumeric() || "+-._".contains(next)))
                .unwrap_or(rest.len());
            let text = &rest[..end];
            let scalar = Value::parse(text.as_bytes(), JsonLimits { depth: 0, bytes: 1_024 });
            let value = match scalar {
                Ok(scalar) => scalar,
                Err(_) if text.starts_with(|first: char| first.is_ascii_alphabetic()) => text.into(),
                Err(_) => {
                    return parser.error(
                        "expected `@`, `$`, a text in quotes, a number, true, false, null or an array",
                    );
                }
            };
            parser.at += end;
            Ok(value)
        }
    }
}

fn array(parser: &mut Parser<'_>) -> Result<Value, PathSyntaxError> {
    parser.expect("[")?;
    let mut items = Vec::new();
    loop {
        parser.skip_space();
        if items.is_empty() && parser.eat("]") {
            break;
        }
        items.push(nested(parser, constant)?);
        parser.skip_space();
        if parser.eat("]") {
            break;
        }
        parser.expect(",")?;
    }
    Ok(items.into())
}

/// `/regex/flags`. As in Jayway the whole text has to match.
fn pattern(parser: &mut Parser<'_>) -> Result<Pattern, PathSyntaxError> {
    let start = parser.at;
    if !parser.eat("/") {
        return parser.error("expected a regular expression between slashes");
    }
    let mut body = String::new();
    loop {
        let Some(character) = parser.peek() else { return parser.error("the regular expression has no end") };
        parser.at += character.len_utf8();
        match character {
            '/' => break,
            '\\' if parser.eat("/") => body.push('/'),
            '\\' => {
                body.push('\\');
                body.extend(parser.peek());
                parser.at += parser.peek().map_or(0, char::len_utf8);
            }
            other => body.push(other),
        }
    }
    let flags: String = parser.rest().chars().take_while(char::is_ascii_alphabetic).collect();
    parser.at += flags.len();
    match compiled(&body, &flags) {
        Ok(pattern) if flags.chars().all(|flag| "imsx".contains(flag)) => Ok(pattern),
        Ok(_) => {
            parser.at = start;
            parser.error("the flags of a regular expression are i, m, s and x")
        }
        Err(error) => {
            parser.at = start;
            parser.error(format!("the regular expression cannot be used: {error}"))
        }
    }
}

/// Compiles within the least power of two that holds it, for the library does not say how large it is.
fn compiled(body: &str, flags: &str) -> Result<Pattern, regex_lite::Error> {
    let mut builder = regex_lite::RegexBuilder::new(&format!("^(?:{body})$"));
    builder
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .ignore_whitespace(flags.contains('x'));
    let mut bytes = PATTERN_BYTES_PER_VISIT;
    loop {
        match builder.size_limit(bytes).build() {
            Ok(regex) => return Ok(Pattern { regex, visits: bytes / PATTERN_BYTES_PER_VISIT }),
            Err(error) if bytes >= PATTERN_BYTES_MAX => return Err(error),
            Err(_) => bytes *= 2,
        }
    }
}
