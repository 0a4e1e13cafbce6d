//! `States.JsonMerge`, `StringToJson`, `JsonToString`.

use super::error::Failure;
use super::function::Arguments;
use crate::value::{JsonLimits, Str, Value};

/// The members of both objects; of equal keys the second object's member, as it is. Step Functions merges no deeper.
pub(super) fn merge(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (first, second) = (given.object(0)?, given.object(1)?);
    if given.boolean(2)? {
        return Err(Failure::DeepMerge { position: 3 });
    }
    // A member is a key and a value, and perhaps an entry of the object's index.
    given.work.items(first.len().saturating_add(second.len()).saturating_mul(3))?;
    let mut merged = first.clone();
    for (key, value) in second {
        merged.insert(key.clone(), value.clone());
    }
    Ok(merged.into())
}

/// The value that a text spells. As recorded from AWS, a text of white space alone spells `null`.
pub(super) fn parse(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let text = given.text(0)?;
    // A tree takes several times the room of its text.
    given.work.spend(text.len().saturating_mul(4))?;
    if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        return Ok(Value::Null);
    }
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD).map_err(|reason| Failure::Json { position: 1, reason })
}

/// The value as compact JSON.
pub(super) fn write(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let value = given.value(0);
    // Once for looking, once for the text.
    given.work.walk(1, value)?;
    given.work.walk(1, value)?;
    Ok(Value::String(Str::from(value.to_json_string())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_value, evaluate, fails, gives};
    use super::*;

    /// The developer guide's example.
    #[test]
    fn objects_are_merged_at_their_top_level() {
        let input = r#"{"one":{"a":{"a1":1,"a2":2},"b":2,"d":3},"two":{"a":{"a3":1,"a4":2},"c":3,"d":4}}"#;
        assert_eq!(
            gives("States.JsonMerge($.one, $.two, false)", input),
            r#"{"a":{"a3":1,"a4":2},"b":2,"d":4,"c":3}"#
        );
    }

    #[test]
    fn only_objects_are_merged_and_only_shallowly() {
        let fails = |arguments: &str| fails(&format!("States.JsonMerge({arguments})"), "{}");
        assert_eq!(fails("$, $, true"), "Deep merging is not supported: argument 3 must be false");
        assert_eq!(fails("$, $, 'false'"), "Argument 3 must be a boolean, but it is of type string");
        assert_eq!(fails("null, $, false"), "Argument 1 must be an object, but it is of type null");
        assert_eq!(
            fails("$, States.Array(), false"),
            "Argument 2 must be an object, but it is of type array"
        );
    }

    #[test]
    fn a_text_is_parsed_as_json() {
        for (text, json) in [
            ("null", "null"),
            ("-0", "0"),
            ("1.10", "1.1"),
            (r#""a""#, r#""a""#),
            (r#" {"b": [1, 2], "a": null} "#, r#"{"b":[1,2],"a":null}"#),
        ] {
            assert_eq!(gives(&format!("States.StringToJson('{text}')"), "{}"), json);
        }
    }

    /// As recorded from AWS.
    #[test]
    fn a_text_of_white_space_is_null() {
        assert_eq!(gives("States.StringToJson('')", "{}"), "null");
        assert_eq!(gives("States.StringToJson(' \n\t\r')", "{}"), "null");
    }

    #[test]
    fn what_is_no_json_fails_with_its_place() {
        for text in ["{", "1 2", "nul", "{\"a\":1,}", "'a'", "\u{a0}", "1e999"] {
            let reason = fails(&format!("States.StringToJson('{}')", text.replace('\'', "\\'")), "{}");
            assert!(reason.starts_with("Argument 1 is no valid JSON: "), "{reason}");
            assert!(reason.contains(" at byte "), "{reason}");
        }
        assert_eq!(
            fails("States.StringToJson($)", "{}"),
            "Argument 1 must be a string, but it is of type object"
        );
    }

    #[test]
    fn a_value_is_written_as_compact_json() {
        assert_eq!(
            gives("States.JsonToString($)", r#"{ "a" : [1.50, "b\"", null] }"#),
            r#""{\"a\":[1.5,\"b\\\"\",null]}""#
        );
        assert_eq!(gives("States.JsonToString('x')", "{}"), r#""\"x\"""#);
        assert_eq!(gives("States.JsonToString(null)", "{}"), r#""null""#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_parsed_to_the_same(value in any_value()) {
            prop_assert_eq!(evaluate("States.StringToJson(States.JsonToString($))", &value).unwrap(), value);
        }

        #[test]
        fn merging_keeps_the_second_and_adds_the_first(
            first in prop::collection::vec(("[a-d]", any_value()), 0..5),
            second in prop::collection::vec(("[a-d]", any_value()), 0..5),
        ) {
            let (first, second) = (Value::object(first), Value::object(second));
            let input = Value::array([first.clone(), second.clone()]);
            let merged = evaluate("States.JsonMerge($[0], $[1], false)", &input).unwrap();
            for key in ["a", "b", "c", "d"] {
                prop_assert_eq!(merged.get(key), second.get(key).or(first.get(key)));
            }
        }
    }
}
