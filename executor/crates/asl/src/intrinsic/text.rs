//! `States.Format`, `StringSplit`.

use std::borrow::Cow;

use super::error::Failure;
use super::function::Arguments;
use crate::value::{JsonLimits, Str, Value};

/// The longest text that `States.Format` makes: what is longer could not leave its state.
const TEXT_BYTES_MAX: usize = JsonLimits::PAYLOAD_BYTES;

/// A pattern with each `{}` replaced by a value.
///
/// Texts go in without quotes. Arrays and objects, which the specification does not allow here, are written as Java
/// writes them: `{a=1, b=[2, c]}`, as recorded from AWS.
pub(super) fn format(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    // A pattern that was written out has been taken apart by the parser, which knows its escapes.
    let (pieces, values): (Cow<'_, [Str]>, _) = match given.pattern {
        Some(pieces) => (pieces.into(), given.values),
        None => {
            let pattern = given.text(0)?;
            given.work.spend(pattern.len().saturating_mul(2))?;
            (pattern.split("{}").map(Str::from).collect(), given.values.get(1..).unwrap_or_default())
        }
    };
    let places = pieces.len().saturating_sub(1);
    if places != values.len() {
        return Err(Failure::Places { places, given: values.len() });
    }
    let mut out = Str::new();
    for (at, piece) in pieces.iter().enumerate() {
        if let Some(value) = at.checked_sub(1).and_then(|before| values.get(before)) {
            if matches!(value, Value::Array(_) | Value::Object(_)) {
                given.work.walk(at + 1, value)?;
            }
            write_value(value, &mut out)?;
        }
        push(piece, &mut out)?;
    }
    given.work.spend(out.len())?;
    Ok(Value::from(out))
}

fn push(text: &str, out: &mut Str) -> Result<(), Failure> {
    if text.len() > TEXT_BYTES_MAX - out.len() {
        return Err(Failure::Result(TEXT_BYTES_MAX));
    }
    out.push_str(text);
    Ok(())
}

/// As Java's `toString` writes strings, numbers, booleans, lists and maps. Recursion is as deep as the value, which has
/// been measured.
fn write_value(value: &Value, out: &mut Str) -> Result<(), Failure> {
    match value {
        Value::Null => push("null", out),
        Value::Bool(truth) => push(if *truth { "true" } else { "false" }, out),
        Value::Number(number) => push(&number.to_string(), out),
        Value::String(text) => push(text, out),
        Value::Array(items) => {
            push("[", out)?;
            for (at, item) in items.iter().enumerate() {
                push(if at > 0 { ", " } else { "" }, out)?;
                write_value(item, out)?;
            }
            push("]", out)
        }
        Value::Object(members) => {
            push("{", out)?;
            for (at, (key, value)) in members.iter().enumerate() {
                push(if at > 0 { ", " } else { "" }, out)?;
                push(key, out)?;
                push("=", out)?;
                write_value(value, out)?;
            }
            push("}", out)
        }
    }
}

/// The pieces of a text between delimiters. Each character of the second argument is one; empty pieces are dropped.
pub(super) fn split(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (text, delimiters) = (given.text(0)?, given.text(1)?);
    given.work.spend(text.len().saturating_add(delimiters.len().saturating_mul(4)))?;
    // Sorted, so that many delimiters cost little.
    let mut delimiters: Vec<char> = delimiters.chars().collect();
    delimiters.sort_unstable();
    delimiters.dedup();
    let is_delimiter = |character: char| delimiters.binary_search(&character).is_ok();
    let pieces = || text.split(is_delimiter).filter(|piece| !piece.is_empty());
    given.work.items(pieces().count())?;
    Ok(Value::array(pieces().map(Value::from)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{evaluate, fails, gives};
    use super::*;

    /// The developer guide's examples: the pattern is written out, or comes from a path.
    #[test]
    fn values_are_put_where_the_braces_are() {
        let input = r#"{"name":"Arnav","template":"Hello, my name is {}."}"#;
        assert_eq!(
            gives("States.Format('Hello, my name is {}.', $.name)", input),
            r#""Hello, my name is Arnav.""#
        );
        assert_eq!(gives("States.Format($.template, $.name)", input), r#""Hello, my name is Arnav.""#);
        assert_eq!(gives("States.Format('{}{}', 1, 'b')", "{}"), r#""1b""#);
        assert_eq!(gives("States.Format('plain')", "{}"), r#""plain""#);
        assert_eq!(gives("States.Format('')", "{}"), r#""""#);
        assert_eq!(gives("States.Format(States.Format('\\{\\}-{}', 1), 2)", "{}"), r#""2-1""#);
    }

    #[test]
    fn a_value_with_braces_is_no_place() {
        assert_eq!(gives("States.Format('{}/{}', '{}', $)", r#""{}{}""#), r#""{}/{}{}""#);
    }

    #[test]
    fn escaped_and_single_braces_are_text() {
        assert_eq!(gives(r"States.Format('\{\} {} \{{}\}', 1, 2)", "{}"), r#""{} 1 {2}""#);
        assert_eq!(gives(r#"States.Format('{"a": "{}"}', 1)"#, "{}"), r#""{\"a\": \"1\"}""#);
        assert_eq!(gives(r"States.Format('{\}{}', 1)", "{}"), r#""{}1""#);
    }

    #[test]
    fn values_are_written_as_java_writes_them() {
        let format = |value: &str| gives("States.Format('{}', $.v)", &format!(r#"{{"v":{value}}}"#));
        assert_eq!(format("null"), r#""null""#);
        assert_eq!(format("true"), r#""true""#);
        assert_eq!(format("1.10"), r#""1.1""#);
        assert_eq!(format("1E10"), r#""1.0E10""#);
        assert_eq!(format("9007199254740993"), r#""9007199254740993""#);
        assert_eq!(format(r#""a\"b""#), r#""a\"b""#);
        assert_eq!(
            format(r#"{"a":1,"b":["x",null,{}],"c":{"d":"e, f"}}"#),
            r#""{a=1, b=[x, null, {}], c={d=e, f}}""#
        );
        assert_eq!(format("[]"), r#""[]""#);
    }

    #[test]
    fn each_place_has_its_value() {
        let fails = |arguments: &str| fails(&format!("States.Format({arguments})"), r#"{"t":"{} {}"}"#);
        assert_eq!(
            fails("'{} {}', 1"),
            "The template has 2 occurrences of {}, but 1 values are given for them"
        );
        assert_eq!(fails("'a', 1"), "The template has 0 occurrences of {}, but 1 values are given for them");
        assert_eq!(
            fails("$.t, 1, 2, 3"),
            "The template has 2 occurrences of {}, but 3 values are given for them"
        );
        assert_eq!(fails("7"), "Argument 1 must be a string, but it is of type number");
    }

    #[test]
    fn a_formatted_text_is_no_longer_than_a_payload() {
        let input = Value::from("x".repeat(TEXT_BYTES_MAX / 2).as_str());
        assert!(evaluate("States.Format('{}{}', $, $)", &input).is_ok());
        let error = evaluate("States.Format('{}{}.', $, $)", &input).unwrap_err();
        assert!(
            error.message.ends_with("The result is longer than 262144 bytes"),
            "{}",
            &error.message[..80]
        );
    }

    /// The developer guide's examples.
    #[test]
    fn a_text_is_split_at_each_of_the_delimiters() {
        assert_eq!(gives("States.StringSplit('1,2,3,4,5', ',')", "{}"), r#"["1","2","3","4","5"]"#);
        assert_eq!(
            gives("States.StringSplit('This.is+a,test=string', '.+,=')", "{}"),
            r#"["This","is","a","test","string"]"#
        );
        assert_eq!(gives("States.StringSplit('AWS::EC2::VPC', '::')", "{}"), r#"["AWS","EC2","VPC"]"#);
        assert_eq!(gives("States.StringSplit('aéb😀c', '😀é')", "{}"), r#"["a","b","c"]"#);
    }

    #[test]
    fn empty_pieces_are_dropped() {
        assert_eq!(gives("States.StringSplit(',a,,b,', ',')", "{}"), r#"["a","b"]"#);
        assert_eq!(gives("States.StringSplit(',,', ',')", "{}"), "[]");
        assert_eq!(gives("States.StringSplit('', ',')", "{}"), "[]");
        assert_eq!(gives("States.StringSplit('a,b', '')", "{}"), r#"["a,b"]"#);
        assert_eq!(gives("States.StringSplit('', '')", "{}"), "[]");
        assert_eq!(
            fails("States.StringSplit(1, ',')", "{}"),
            "Argument 1 must be a string, but it is of type number"
        );
        assert_eq!(
            fails("States.StringSplit('a', null)", "{}"),
            "Argument 2 must be a string, but it is of type null"
        );
    }

    proptest! {
        #[test]
        fn pieces_are_not_empty_and_make_the_text_without_its_delimiters(
            text in "[a-c,;\u{e9}]{0,20}",
            delimiters in "[,;a]{0,3}",
        ) {
            let input = Value::array([text.as_str(), delimiters.as_str()].map(Value::from));
            let pieces = evaluate("States.StringSplit($[0], $[1])", &input).unwrap();
            let pieces: Vec<&str> = pieces.as_array().unwrap().iter().map(|piece| piece.as_str().unwrap()).collect();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            let kept: String = text.chars().filter(|character| !delimiters.contains(*character)).collect();
            prop_assert_eq!(pieces.concat(), kept);
        }
    }
}
