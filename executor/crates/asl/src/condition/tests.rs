//! Choice rules: the tables of the specification.

use proptest::prelude::*;

use super::*;
use crate::value::JsonLimits;

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
}

fn evaluate(rule: &str, input: &str) -> Result<bool, EvalError> {
    let condition = Condition::compile(&value(rule)).unwrap();
    condition.evaluate(&Scope::new(&value(input), &value(r#"{"Execution":{"Name":"e1"}}"#)))
}

/// `{"Variable": "$.v", operator: operand}` on `{"v": variable, "o": other}`.
fn test(operator: &str, operand: &str, variable: &str) -> bool {
    let input = format!(r#"{{"v":{variable},"o":{operand}}}"#);
    let constant = evaluate(&format!(r#"{{"Variable":"$.v","{operator}":{operand}}}"#), &input).unwrap();
    // Every comparison has a variant by path that says the same.
    if !operator.starts_with("Is") && operator != "StringMatches" {
        let by_path = evaluate(&format!(r#"{{"Variable":"$.v","{operator}Path":"$.o"}}"#), &input).unwrap();
        assert_eq!(constant, by_path, "{operator} {operand} on {variable}");
    }
    constant
}

/// Results for a variable below, at and above the operand, by operator.
fn orders(kind: &str, operand: &str, variables: [&str; 3]) {
    for (operator, expected) in [
        ("Equals", [false, true, false]),
        ("LessThan", [true, false, false]),
        ("GreaterThan", [false, false, true]),
        ("LessThanEquals", [true, true, false]),
        ("GreaterThanEquals", [false, true, true]),
    ] {
        let operator = format!("{kind}{operator}");
        assert_eq!(variables.map(|variable| test(&operator, operand, variable)), expected, "{operator}");
    }
}

#[test]
fn every_comparison_orders_values_of_its_type() {
    orders("String", r#""b""#, [r#""a""#, r#""b""#, r#""ba""#]);
    orders("Numeric", "2", ["-1e3", "2.0", "2.5"]);
    orders(
        "Timestamp",
        r#""2016-03-14T01:59:00Z""#,
        [
            r#""2016-03-14T02:58:59.9999+01:00""#,
            r#""2016-03-13T20:59:00.000-05:00""#,
            r#""2016-03-14T01:59:00.000000001Z""#,
        ],
    );
    assert!(test("BooleanEquals", "true", "true"));
    assert!(!test("BooleanEquals", "true", "false"));
}

#[test]
fn a_value_of_another_type_makes_a_comparison_false() {
    let values = ["null", "true", "1", r#""1""#, r#""2016-03-14T01:59:00Z""#, "[1]", r#"{"a":1}"#];
    for (kind, operand, matching) in [
        ("String", r#""1""#, vec![3, 4]),
        ("Numeric", "1", vec![2]),
        ("Timestamp", r#""2016-03-14T01:59:00Z""#, vec![4]),
    ] {
        for (at, variable) in values.iter().enumerate() {
            let either = test(&format!("{kind}LessThanEquals"), operand, variable)
                || test(&format!("{kind}GreaterThanEquals"), operand, variable);
            assert_eq!(either, matching.contains(&at), "{kind} on {variable}");
        }
    }
    assert!(!test("BooleanEquals", "true", "1"));
    assert!(!evaluate(r#"{"Variable":"$.v","NumericEqualsPath":"$.o"}"#, r#"{"v":1,"o":"1"}"#).unwrap());
}

#[test]
fn strings_are_ordered_by_code_units_without_folding() {
    assert!(test("StringLessThan", r#""a""#, r#""B""#));
    assert!(!test("StringEquals", r#""é""#, r#""e\u0301""#));
    // U+1F600 is written with a surrogate, which stands before U+FF5E.
    assert!(test("StringLessThan", r#""\uff5e""#, r#""😀""#));
}

#[test]
fn type_tests_look_at_the_type_alone() {
    let stamp = r#""2016-03-14T01:59:00Z""#;
    let values = ["null", "true", "1.5", r#""x""#, stamp, "[]", "{}"];
    for (operator, matching) in [
        ("IsNull", vec![0]),
        ("IsBoolean", vec![1]),
        ("IsNumeric", vec![2]),
        ("IsString", vec![3, 4]),
        ("IsTimestamp", vec![4]),
        ("IsPresent", vec![0, 1, 2, 3, 4, 5, 6]),
    ] {
        for (at, variable) in values.iter().enumerate() {
            assert_eq!(test(operator, "true", variable), matching.contains(&at), "{operator} on {variable}");
            assert_eq!(
                test(operator, "false", variable),
                !matching.contains(&at),
                "not {operator} on {variable}"
            );
        }
    }
}

#[test]
fn presence_is_the_only_question_that_an_absent_variable_answers() {
    assert_eq!(evaluate(r#"{"Variable":"$.x","IsPresent":true}"#, "{}"), Ok(false));
    assert_eq!(evaluate(r#"{"Variable":"$.x","IsPresent":false}"#, "{}"), Ok(true));
    let message = "Invalid path '$.x': The choice state's condition path references an invalid value.";
    for rule in [
        r#"{"Variable":"$.x","IsNull":true}"#,
        r#"{"Variable":"$.x","StringEquals":""}"#,
        r#"{"Variable":"$.v","StringEqualsPath":"$.x"}"#,
    ] {
        assert_eq!(evaluate(rule, r#"{"v":""}"#), Err(EvalError::runtime(message)), "{rule}");
    }
}

#[test]
fn the_context_object_is_within_reach() {
    assert_eq!(evaluate(r#"{"Variable":"$$.Execution.Name","StringEquals":"e1"}"#, "{}"), Ok(true));
    assert_eq!(
        evaluate(r#"{"Variable":"$.v","StringEqualsPath":"$$.Execution.Name"}"#, r#"{"v":"e1"}"#),
        Ok(true)
    );
}

/// From the specification: a star matches any text, a backslash takes away its meaning.
#[test]
fn patterns_match_with_stars_and_escapes() {
    for (pattern, text, expected) in [
        ("foo*.log", "foo23.log", true),
        ("foo*.log", "foo.log", true),
        ("foo*.log", "fooabarc.logx", false),
        ("*.log", "zebra.log", true),
        ("foobar", "foobar", true),
        ("foobar", "foobarx", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("*ab*ab*", "abab", true),
        ("*ab*ab*", "aab", false),
        ("*", "", true),
        ("", "", true),
        ("", "x", false),
        ("**", "x", true),
        (r"a\\*", "a*", true),
        (r"a\\*", "ab", false),
        (r"a\\\\*", r"a\\b", true),
        ("Ж*中", "Ж-中", true),
    ] {
        let operand = format!("\"{pattern}\"");
        assert_eq!(test("StringMatches", &operand, &format!("\"{text}\"")), expected, "{pattern} on {text}");
    }
    assert!(!test("StringMatches", "\"*\"", "1"));
}

/// The specification makes this an error of the run, not of the definition.
#[test]
fn a_pattern_broken_off_behind_a_backslash_fails_at_run_time() {
    let error = evaluate(r#"{"Variable":"$.v","StringMatches":"a\\"}"#, r#"{"v":"a"}"#).unwrap_err();
    assert_eq!(error.error, "States.Runtime");
}

#[test]
fn and_or_and_not_combine_and_stop_early() {
    let yes = r#"{"Variable":"$.v","IsNumeric":true}"#;
    let no = r#"{"Variable":"$.v","IsString":true}"#;
    let fails = r#"{"Variable":"$.absent","IsString":true}"#;
    for (rule, expected) in [
        (format!(r#"{{"And":[{yes},{yes}]}}"#), Some(true)),
        (format!(r#"{{"And":[{yes},{no}]}}"#), Some(false)),
        (format!(r#"{{"And":[{no},{fails}]}}"#), Some(false)),
        (format!(r#"{{"And":[{yes},{fails}]}}"#), None),
        (format!(r#"{{"Or":[{no},{yes}]}}"#), Some(true)),
        (format!(r#"{{"Or":[{no},{no}]}}"#), Some(false)),
        (format!(r#"{{"Or":[{yes},{fails}]}}"#), Some(true)),
        (format!(r#"{{"Not":{no}}}"#), Some(true)),
        (format!(r#"{{"Not":{{"Or":[{no},{{"Not":{yes}}}]}},"Next":"X"}}"#), Some(true)),
    ] {
        assert_eq!(evaluate(&rule, r#"{"v":1}"#).ok(), expected, "{rule}");
    }
}

fn errors(rule: &str) -> Vec<String> {
    Condition::compile(&value(rule)).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_with_a_rule_is_told_at_once_with_its_places() {
    assert_eq!(errors("[]"), ["Expected value of type Object at "]);
    assert_eq!(
        errors(r#"{"Variable":"$.v","Next":"X"}"#),
        ["A choice rule must have exactly one operator at "]
    );
    assert_eq!(errors(r#"{"Variable":"$.v","IsNull":true,"IsString":true}"#).len(), 1);
    assert_eq!(errors(r#"{"IsNull":true}"#), ["These fields are required: [Variable] at "]);
    assert_eq!(errors(r#"{"And":[]}"#), ["Value cannot be empty at /And"]);
    assert_eq!(errors(r#"{"Or":{}}"#), ["Expected value of type Array at /Or"]);
    let nested = errors(
        r#"{"Or":[{"Variable":"v","IsNull":1},{"Not":{"Variable":"$.v","StringEquals":5}},
            {"Variable":"$.v","TimestampEquals":"2016"},{"Variable":"$.v","StringMatchesPath":"$.x"},
            {"Variable":"$.v","BooleanLessThan":true}]}"#,
    );
    assert_eq!(
        nested,
        [
            "Value is not a Reference Path: Reference path didn't start with '$' at /Or/0/Variable",
            "Expected value of type Boolean at /Or/0/IsNull",
            "Expected value of type String at /Or/1/Not/StringEquals",
            "String does not match RFC3339 timestamp at /Or/2/TimestampEquals",
            "'StringMatchesPath' is not an operator of choice rules at /Or/3/StringMatchesPath",
            "'BooleanLessThan' is not an operator of choice rules at /Or/4/BooleanLessThan",
        ]
    );
}

#[test]
fn the_list_of_operators_is_what_compiles() {
    for operator in OPERATORS {
        let operand = match operator {
            path if path.ends_with("Path") => "\"$.x\"",
            number if number.starts_with("Numeric") => "1",
            boolean if boolean.starts_with("Is") || boolean.starts_with("Boolean") => "true",
            _ => "\"2016-03-14T01:59:00Z\"",
        };
        let rule = format!(r#"{{"Variable":"$.v","{operator}":{operand}}}"#);
        assert!(Condition::compile(&value(&rule)).is_ok(), "{rule}");
    }
}

#[test]
fn rules_nest_to_a_limit() {
    let rule = |depth: usize| {
        let inner = r#"{"Variable":"$.v","IsNull":true}"#;
        format!("{}{inner}{}", r#"{"Not":"#.repeat(depth), "}".repeat(depth))
    };
    assert!(Condition::compile(&value(&rule(NESTING_MAX - 1))).is_ok());
    assert_eq!(Condition::compile(&value(&rule(NESTING_MAX))).unwrap_err().len(), 1);
}

proptest! {
    /// Against the plainest way to match: try every split at every star.
    #[test]
    fn matching_takes_the_first_fit_and_misses_nothing(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                Some((byte, rest)) => text.first() == Some(byte) && slow(rest, &text[1..]),
            }
        }
        let expected = slow(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&text), expected);
    }

    #[test]
    fn strings_compare_as_sequences_of_utf16(
        left in "[a\u{e9}\u{ff5e}\u{1f600}]{0,4}",
        right in "[a\u{e9}\u{ff5e}\u{1f600}]{0,4}",
    ) {
        let expected = left.encode_utf16().collect::<Vec<_>>().cmp(&right.encode_utf16().collect());
        prop_assert_eq!(compare_strings(&left, &right), expected);
    }
}
