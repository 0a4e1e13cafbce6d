//! Values and payloads: reading, writing, comparing, measuring.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Value, JsonError> {
    Value::parse(text.as_bytes(), JsonLimits::default())
}

fn check(text: &[u8]) -> Result<(), JsonError> {
    Payload::check(Bytes::copy_from_slice(text), JsonLimits::default()).map(|_| ())
}

fn value(text: &str) -> Value {
    parse(text).unwrap()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn what_is_read_is_written_compactly_and_in_order() {
    let text = r#" { "b" : [ 1 , -2.50 , "x\u00e9\n\u0001" , null ] , "a" : { } , "c" : [ ] , "d" : true } "#;
    let expected = "{\"b\":[1,-2.5,\"xé\\n\\u0001\",null],\"a\":{},\"c\":[],\"d\":true}";
    assert_eq!(value(text).to_json_string(), expected);
    assert_eq!(value(text).json_len(), expected.len());
}

#[test]
fn of_equal_keys_the_last_value_wins_at_the_first_place() {
    assert_eq!(value(r#"{"a":1,"b":2,"a":3}"#).to_json_string(), r#"{"a":3,"b":2}"#);
    let many: String = (0..40).map(|at| format!("\"k{}\":{at},", at % 20)).collect();
    let object = value(&format!("{{{}}}", many.trim_end_matches(',')));
    assert_eq!(object.as_object().map(Map::len), Some(20));
    assert_eq!(object.get("k19"), Some(&39.into()));
    assert_eq!(object.as_object().and_then(|members| members.keys().next()).map(Str::as_str), Some("k0"));
}

#[test]
fn members_are_found_and_taken_out_in_large_objects_too() {
    let mut map: Map = (0..100_i64).map(|at| (format!("key {at}"), Value::from(at))).collect();
    assert_eq!(map.get("key 57"), Some(&57.into()));
    assert_eq!(map.remove("key 3"), Some(3.into()));
    assert_eq!(map.get("key 57"), Some(&57.into()));
    assert_eq!(map.get("key 3"), None);
    assert_eq!(map.insert("key 57", Value::Null), Some(57.into()));
    assert_eq!(map.len(), 99);
}

#[test]
fn keys_of_any_length_are_told_apart_by_any_of_their_bytes() {
    for len in 0..40_usize {
        let key = "k".repeat(len);
        let mut map = Map::default();
        map.insert(key.as_str(), Value::Null);
        assert!(map.contains_key(&key));
        assert!(!map.contains_key(&"k".repeat(len + 1)));
        for at in 0..len {
            let mut other = key.clone();
            other.replace_range(at..=at, "x");
            assert!(!map.contains_key(&other), "{key} and {other}");
        }
    }
}

#[test]
fn an_escape_is_counted_at_any_place_of_a_string_of_any_length() {
    for len in 0..40_usize {
        for at in 0..len {
            for special in ["\"", "\\", "\n", "\u{1}", "\u{1f}"] {
                let mut text = "a".repeat(len);
                text.replace_range(at..=at, special);
                let value = Value::from(text);
                assert_eq!(value.json_len(), value.to_json_string().len(), "{value}");
            }
        }
    }
}

#[test]
fn what_is_open_is_closed_by_its_own_bracket_at_any_depth() {
    // Kinds are kept 64 to a word.
    for depth in [1_usize, 2, 63, 64, 65, 127, 128, 129, 500] {
        for step in [1, 2, 3, 7] {
            let is_object = |level: usize| level.is_multiple_of(step);
            let open: String =
                (0..depth).map(|level| if is_object(level) { "{\"a\":" } else { "[" }).collect();
            let close = |level: usize| if is_object(level) { '}' } else { ']' };
            let closing: String = (0..depth).rev().map(close).collect();
            assert_eq!(check(format!("{open}1{closing}").as_bytes()), Ok(()), "{depth} {step}");
            for wrong in [0, depth / 2, depth - 1] {
                let mut closing: Vec<char> = closing.chars().collect();
                closing[wrong] = if closing[wrong] == '}' { ']' } else { '}' };
                let text: String = open.chars().chain(['1']).chain(closing).collect();
                check(text.as_bytes()).expect_err("a bracket of the other kind");
            }
        }
    }
}

#[test]
fn order_of_members_does_not_matter_for_equality_and_order_of_items_does() {
    assert_eq!(value(r#"{"a":1,"b":[1]}"#), value(r#"{"b":[1.0],"a":1e0}"#));
    assert_ne!(value("[1,2]"), value("[2,1]"));
    assert_ne!(value(r#"{"a":1}"#), value(r#"{"a":1,"b":2}"#));
    assert_ne!(value("0"), value("false"));
}

#[test]
fn numbers_keep_64_bits_and_become_doubles_beyond() {
    for (text, written) in [
        ("9223372036854775807", "9223372036854775807"),
        ("999999999999999999", "999999999999999999"),
        ("-999999999999999999", "-999999999999999999"),
        ("1000000000000000000", "1000000000000000000"),
        ("-1000000000000000000", "-1000000000000000000"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552E19"),
        ("-9223372036854775809", "-9.223372036854776E18"),
        ("1.0", "1.0"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("0.001", "0.001"),
        ("9999999.0", "9999999.0"),
        ("1e-999", "0.0"),
    ] {
        assert_eq!(value(text).to_json_string(), written);
        assert_eq!(value(text).json_len(), written.len());
    }
}

/// Examples of the notation in the documentation of Java's `Double.toString`.
#[test]
fn large_and_small_doubles_are_written_as_java_does() {
    for (text, written) in [
        ("1e7", "1.0E7"),
        ("1e10", "1.0E10"),
        ("12345678.9", "1.23456789E7"),
        ("0.00099", "9.9E-4"),
        ("-1.5e-7", "-1.5E-7"),
        ("1.7976931348623157e308", "1.7976931348623157E308"),
        ("100.25", "100.25"),
        ("1e2", "100.0"),
    ] {
        assert_eq!(value(text).to_json_string(), written);
    }
}

#[test]
fn integers_and_doubles_compare_as_the_numbers_they_are() {
    assert_eq!(Number::Int(1), Number::Float(1.0));
    assert_ne!(Number::Int(9_007_199_254_740_993), Number::Float(9_007_199_254_740_992.0));
    assert_eq!(
        Number::UInt(u64::MAX).compare(Number::Float(18_446_744_073_709_551_616.0)),
        std::cmp::Ordering::Less
    );
    assert_eq!(Number::Int(-1).compare(Number::UInt(u64::MAX)), std::cmp::Ordering::Less);
    assert_eq!(Number::Float(2.5).compare(Number::Int(2)), std::cmp::Ordering::Greater);
    assert_eq!((Number::Float(1.0).as_i64(), Number::Float(1.5).as_i64()), (Some(1), None));
    assert_eq!((Number::Int(-1).as_u64(), Number::Float(1e30).as_u64()), (None, None));
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, offset, reason) in [
        ("", 0, "the text ends where a value is expected"),
        ("[1,]", 3, "expected a value"),
        ("{\"a\":1,}", 7, "expected a key in quotes"),
        ("{'a':1}", 1, "expected a key in quotes"),
        ("{\"a\" 1}", 5, "expected `:`"),
        ("[1 2]", 3, "expected `,` or `]`"),
        ("{\"a\":1]", 6, "expected `,` or `}`"),
        ("[1", 2, "expected `,` or `]`"),
        ("1 1", 2, "text after the document"),
        ("nul", 0, "expected a value"),
        ("\u{feff}1", 0, "expected a value"),
        ("01", 0, "a number has no leading zeros"),
        ("-", 1, "expected a digit"),
        ("1.", 2, "expected a digit"),
        ("1e+", 3, "expected a digit"),
        ("NaN", 0, "expected a value"),
        ("[1e999]", 1, "number out of range"),
        ("-1e309", 0, "number out of range"),
        ("\"abc", 4, "the string has no end"),
        ("\"a\\", 2, "the string has no end"),
        ("\"a\\x\"", 2, "unknown escape"),
        ("\"a\nb\"", 2, "a control character in a string must be escaped"),
        ("\"\\u12g4\"", 1, "`\\u` needs four hexadecimal digits"),
        ("\"\\ud800\"", 1, "a lone surrogate is not a character"),
        ("\"\\ud800\\u0041\"", 1, "a lone surrogate is not a character"),
        ("\"\\udc00\"", 1, "a lone surrogate is not a character"),
    ] {
        assert_eq!(parse(text), Err(JsonError { offset, reason }), "{text}");
        assert_eq!(check(text.as_bytes()), Err(JsonError { offset, reason }), "{text}");
    }
    let many_digits = "9".repeat(400);
    assert_eq!(parse(&many_digits).unwrap_err().reason, "number out of range");
    assert_eq!(check(b"\"\xff\""), Err(JsonError { offset: 1, reason: "not UTF-8" }));
    // A surrogate in UTF-8's clothes, an overlong slash.
    assert_eq!(check(b"\"\xed\xa0\x80\"").unwrap_err().offset, 1);
    assert_eq!(check(b"\"\xc0\xaf\"").unwrap_err().offset, 1);
}

#[test]
fn depth_and_length_are_accepted_at_the_limit_and_refused_beyond() {
    let limit = JsonLimits::DEPTH;
    assert_eq!(parse(&nested(limit)).unwrap().measure(JsonLimits::PAYLOAD).unwrap().depth, limit);
    assert_eq!(parse(&nested(limit + 1)), Err(JsonError { offset: limit, reason: "nested too deeply" }));
    let limits = JsonLimits { depth: 1, bytes: 4 };
    assert!(Value::parse(b"[42]", limits).is_ok());
    assert_eq!(Value::parse(b"[421]", limits).unwrap_err().offset, 4);
}

#[test]
fn a_hundred_thousand_levels_are_refused_without_harm() {
    for text in [nested(100_000), "{\"a\":".repeat(100_000), "[{\"a\":".repeat(50_000)] {
        let limits = JsonLimits { bytes: usize::MAX, ..JsonLimits::default() };
        assert_eq!(Value::parse(text.as_bytes(), limits).unwrap_err().reason, "nested too deeply");
        assert_eq!(Payload::check(text.into(), limits).unwrap_err().reason, "nested too deeply");
    }
}

/// What [`JsonLimits::DEPTH`] promises, on the small stack of a test's thread.
#[test]
fn a_tree_of_twice_the_depth_is_handled_within_half_of_a_two_mebibyte_stack() {
    let work = || {
        let half = JsonLimits { depth: 2 * JsonLimits::DEPTH, bytes: usize::MAX };
        let deep = Value::parse(nested(2 * JsonLimits::DEPTH).as_bytes(), half).unwrap();
        let same = Value::parse(nested(2 * JsonLimits::DEPTH).as_bytes(), half).unwrap();
        assert_eq!(deep, same);
        assert_eq!(deep.to_json_string().len(), deep.json_len());
        assert_eq!(deep.measure(JsonLimits::PAYLOAD), Err(LimitExceeded::Depth(JsonLimits::DEPTH)));
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn an_error_knows_its_line_and_its_column_in_characters() {
    let text = "{\n  \"é\": 1,\n  \"b\": ?\n}";
    let error = parse(text).unwrap_err();
    assert_eq!(error.line_column(text.as_bytes()), (3, 8));
    assert_eq!(parse("\"éé").unwrap_err().line_column("\"éé".as_bytes()), (1, 4));
}

#[test]
fn measuring_stops_at_the_limits() {
    let tree = value(r#"{"a":[1,[2]],"b":"x\n"}"#);
    assert_eq!(tree.measure(JsonLimits::default()), Ok(Measured { bytes: tree.json_len(), depth: 3 }));
    assert_eq!(tree.measure(JsonLimits { depth: 2, bytes: 99 }), Err(LimitExceeded::Depth(2)));
    let len = tree.json_len();
    assert!(tree.measure(JsonLimits { depth: 3, bytes: len }).is_ok());
    assert_eq!(tree.measure(JsonLimits { depth: 3, bytes: len - 1 }), Err(LimitExceeded::Bytes(len - 1)));
}

#[test]
fn a_payload_is_held_to_length_and_depth_as_bytes_and_as_a_tree() {
    let limits = JsonLimits { depth: 1, bytes: 4 };
    let tree = |text| Payload::from_value(value(text)).within(limits);
    assert_eq!((tree("[42]"), tree("[421]")), (Ok(4), Err(LimitExceeded::Bytes(4))));
    assert_eq!(tree("[[]]"), Err(LimitExceeded::Depth(1)));
    let bytes = |text: &'static str| Payload::from_checked(text.into()).within(limits);
    assert_eq!((bytes("[42]"), bytes("[421]")), (Ok(0), Err(LimitExceeded::Bytes(4))));
}

#[test]
fn a_payload_that_nothing_looks_into_stays_the_bytes_it_came_as() {
    let frame = Bytes::from_static(b"[{ \"a\" : 1e2 }]");
    let payload = Payload::check(frame.slice(1..14), JsonLimits::default()).unwrap();
    assert!(!payload.is_materialised());
    assert_eq!(payload.len(), 13);
    assert_eq!(payload.bytes().as_ptr(), frame[1..].as_ptr());
    assert_ne!(payload.detach().bytes().as_ptr(), frame[1..].as_ptr());
    let own = payload.clone().without_frame();
    assert!(own.bytes().as_ptr() != frame[1..].as_ptr() && !own.is_materialised());
    assert_eq!(payload.value().get("a"), Some(&100.into()));
    assert!(payload.is_materialised());
    assert_eq!(payload.text(), "{ \"a\" : 1e2 }");
}

#[test]
fn a_payload_made_of_a_tree_is_written_when_asked_for() {
    assert!(
        Payload::from_value(Value::Null).without_frame().is_materialised(),
        "a tree has no frame to leave"
    );
    let payload = Payload::from_value(Value::object([("a", Value::from(1)), ("b", "x".into())]));
    assert_eq!(payload.len(), 15);
    assert_eq!(payload.bytes(), r#"{"a":1,"b":"x"}"#);
    assert_eq!(payload, Payload::from_checked(Bytes::from_static(br#"{ "b":"x", "a":1.0 }"#)));
    assert_eq!(payload.into_value().get("b").and_then(Value::as_str), Some("x"));
}

#[test]
fn a_clone_shares_its_subtrees() {
    let tree = value(r#"{"a":{"b":[1,2,3]}}"#);
    let copy = tree.clone();
    let (Some(Value::Object(original)), Some(Value::Object(copy))) = (tree.get("a"), copy.get("a")) else {
        panic!("both are objects")
    };
    assert!(Arc::ptr_eq(original, copy));
}

#[test]
fn json_pointers_name_members_and_items() {
    let tree = value(r#"{"a/b":[{"~":1}]}"#);
    assert_eq!(tree.pointer("/a~1b/0/~0"), Some(&1.into()));
    assert_eq!(tree.pointer(""), Some(&tree));
    assert_eq!(tree.pointer("/a~1b/1"), None);
}

/// Any tree; also those that serde_json cannot tell apart from ours.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
        (-10_000_i32..10_000).prop_map(|number| Value::Number(Number::Float(f64::from(number) / 64.0))),
        ".{0,20}".prop_map(Value::from),
        "[\\x00-\\x7f\u{e9}\u{1f600}]{0,20}".prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec(("[a-e\"\\\\\n]{0,3}", inner), 0..24).prop_map(Value::object),
        ]
    })
}

/// What serde_json makes of a text, in our terms.
fn from_serde(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => number.into(),
            (_, Some(number), _) => number.into(),
            (_, _, number) => number.and_then(Number::from_f64).map_or(Value::Null, Value::Number),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => Value::array(items.iter().map(from_serde)),
        serde_json::Value::Object(members) => {
            Value::object(members.iter().map(|(key, value)| (key.as_str(), from_serde(value))))
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(tree in any_value()) {
        let text = tree.to_json_string();
        prop_assert_eq!(text.len(), tree.json_len());
        prop_assert_eq!(&value(&text), &tree);
        let limits = JsonLimits::default();
        prop_assert_eq!(tree.measure(limits).unwrap().bytes, text.len());
        let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(from_serde(&reference), tree);
    }

    /// Parser and checker agree on texts that are nearly JSON, and with serde_json on all of these: it
    /// refuses numbers beyond a double, bad UTF-8 and lone surrogates when it builds a tree.
    #[test]
    fn checker_parser_and_serde_json_accept_the_same_texts(
        tree in any_value(),
        edits in prop::collection::vec(any_edit(), 1..5),
    ) {
        const PIECES: [&[u8]; 24] = [
            b"{", b"}", b"[", b"]", b",", b":", b"\"", b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"0", b"-",
            b".", b"e",
            b"E+", b"1e308", b"e309", b" ", b"\n", b"\x01", b"\xff", b"\xc3\xa9", b"true",
        ];
        let mut text = tree.to_json();
        for (place, action, piece) in edits {
            let at = place.index(text.len() + 1);
            let piece = PIECES[piece.index(PIECES.len())];
            match action {
                0 if at < text.len() => { text.remove(at); }
                1 if at < text.len() => text[at] = piece[0],
                2 => { text.truncate(at); }
                _ => { text.splice(at..at, piece.iter().copied()); }
            }
        }
        let parsed = Value::parse(&text, JsonLimits::default());
        let checked = check(&text);
        prop_assert_eq!(parsed.as_ref().err(), checked.as_ref().err());
        let reference = serde_json::from_slice::<serde_json::Value>(&text);
        prop_assert_eq!(parsed.is_ok(), reference.is_ok(), "{:?}", String::from_utf8_lossy(&text));
        if let (Ok(parsed), Ok(reference)) = (parsed, reference) {
            prop_assert_eq!(parsed, from_serde(&reference));
        }
    }

    #[test]
    fn checker_and_parser_agree_on_any_bytes(text in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(Value::parse(&text, JsonLimits::default()).err(), check(&text).err());
    }

    #[test]
    fn comparing_numbers_is_antisymmetric(left in any_number(), right in any_number()) {
        prop_assert_eq!(left.compare(right), right.compare(left).reverse());
        prop_assert_eq!(left == right, left.compare(right).is_eq());
    }
}

/// Where, what and with which piece a text is changed.
fn any_edit() -> impl Strategy<Value = (prop::sample::Index, u8, prop::sample::Index)> {
    (any::<prop::sample::Index>(), 0..4_u8, any::<prop::sample::Index>())
}

fn any_number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-4_i64..4).prop_map(Number::from),
        prop::num::f64::NORMAL.prop_map(Number::Float),
        any::<i64>().prop_map(|number| Number::Float(number as f64)),
        (-8_i32..8).prop_map(|number| Number::Float(f64::from(number) / 2.0)),
    ]
}
