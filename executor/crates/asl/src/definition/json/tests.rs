//! The reader: places, escapes, words, bounds; and that it agrees with other parsers.

use super::*;

#[track_caller]
fn refused(text: &str, message: &str) {
    let problem = explain(text).expect("the text is refused");
    assert_eq!(problem.message, message, "for {text}");
    assert!(text.is_char_boundary(problem.start) && problem.start <= problem.end);
}

#[test]
fn a_value_remembers_where_it_stood() {
    let text = "{ \"a\" : [1, \"\u{4e2d}\"] }";
    let root = read(text).expect("valid");
    let member = &root.members().expect("object")[0];
    assert_eq!(&text[member.name_span.start..member.name_span.end], "\"a\"");
    assert_eq!(&text[member.value.span.start..member.value.span.end], "[1, \"\u{4e2d}\"]");
}

#[test]
fn escapes_and_surrogate_pairs_are_decoded() {
    let root = read(r#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00""#).expect("valid");
    assert_eq!(root.as_str(), Some("\"\\/\u{8}\u{c}\n\r\tA\u{1f600}"));
}

#[test]
fn problems_are_named_in_the_words_of_the_recordings() {
    refused(
        "not a definition",
        "Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', \
         'true' or 'false')",
    );
    refused(
        "{'a': 1}",
        "Unexpected character (''' (code 39)): was expecting double-quote to start field name",
    );
}

#[test]
fn a_key_twice_is_refused() {
    refused(r#"{"a":1,"a":2}"#, "Duplicate field 'a'");
    refused(r#"{"a":1,"\u0061":2}"#, "Duplicate field 'a'");
}

#[test]
fn lone_surrogates_control_characters_and_giant_numbers_are_refused() {
    refused(r#""\ud800""#, "Unpaired surrogate in a \\u escape");
    refused(r#""\udc00\ud800""#, "Unpaired surrogate in a \\u escape");
    refused(r#""\ud800\ud800""#, "Unpaired surrogate in a \\u escape");
    refused("1e999", "Number is out of range of a double");
    refused("01", "Invalid numeric value: Leading zeroes not allowed");
    assert!(explain("\"a\nb\"").is_some());
}

#[test]
fn truncated_texts_are_refused_at_every_length() {
    let text = r#"{"a":[1.5e-3,"\u0041x",{"b":null}],"c":true}"#;
    assert_eq!(explain(text), None);
    for length in 0..text.len() {
        assert!(explain(&text[..length]).is_some(), "accepted: {}", &text[..length]);
    }
}

#[test]
fn nesting_is_accepted_to_the_limit_and_refused_beyond() {
    let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(explain(&nest(DEPTH_MAX)), None);
    let problem = explain(&nest(DEPTH_MAX + 1)).expect("refused");
    assert_eq!((problem.kind, problem.start), (JsonProblemKind::TooDeep, DEPTH_MAX));
    let deep = explain(&"[".repeat(100_000)).expect("refused");
    assert_eq!(deep.kind, JsonProblemKind::TooDeep);
}

/// Pieces of JSON text, in any order.
const PIECES: &str = r#"([\[\]{}:, 0-9e.-]|"|\\|\\u00|d83d|true|false|null|"a":|"b"|é|\x09){0,14}"#;

proptest::proptest! {
    #[test]
    fn the_reader_accepts_what_the_parser_of_payloads_accepts(text in PIECES) {
        let theirs = crate::value::Value::parse(text.as_bytes(), crate::value::JsonLimits::DEFINITION);
        match explain(&text) {
            None => proptest::prop_assert!(theirs.is_ok(), "{text}: {theirs:?}"),
            Some(problem) => proptest::prop_assert!(
                theirs.is_err() || problem.message.starts_with("Duplicate field"),
                "{text}: {problem:?}"
            ),
        }
    }

    #[test]
    fn the_reader_accepts_what_serde_json_accepts(text in "[\\[\\]{}:,\"a0-9e.\\\\ utrlsfn-]{0,12}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match explain(&text) {
            None => proptest::prop_assert!(theirs.is_ok(), "{text}"),
            Some(problem) => proptest::prop_assert!(
                theirs.is_err() || problem.message.starts_with("Duplicate field"),
                "{text}: {problem:?}"
            ),
        }
    }
}
