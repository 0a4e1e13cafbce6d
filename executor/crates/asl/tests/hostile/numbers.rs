//! Numbers beyond all sense: in an input, in a definition, where something is counted by them.

use asl::value::JsonLimits;
use asl::{Dialect, Outcome, Payload, Program, Value};

use super::{failure, run};

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD).expect("JSON")
}

fn one(state: &str) -> String {
    format!(r#"{{"StartAt":"S","States":{{"S":{{{state},"End":true}}}}}}"#)
}

#[test]
fn a_number_that_no_double_holds_is_refused_in_inputs_and_definitions() {
    for number in ["1e999", "-1e999", &"9".repeat(400)] {
        let refused = Payload::check(format!("[{number}]").into(), JsonLimits::PAYLOAD).unwrap_err();
        assert_eq!((refused.offset, refused.reason), (1, "number out of range"));
        for state in [
            format!(r#""Type":"Pass","Result":{number}"#),
            format!(r#""Type":"Wait","Seconds":{number}"#),
            format!(
                r#""Type":"Map","MaxConcurrency":{number},"ItemProcessor":{{"StartAt":"I","States":{{"I":{{"Type":"Succeed"}}}}}}"#
            ),
        ] {
            assert!(Program::compile(one(&state).as_bytes(), Dialect::Asl).is_err(), "{state}");
        }
    }
}

#[test]
fn a_wait_for_ever_ends_with_the_execution_s_time() {
    for (state, input) in [
        (r#""Type":"Wait","SecondsPath":"$""#, "18446744073709551615"),
        (r#""Type":"Wait","SecondsPath":"$""#, "9223372036854775807"),
        (r#""Type":"Wait","TimestampPath":"$""#, r#""9999-12-31T23:59:59.999999999-23:59""#),
    ] {
        let definition = one(state).replacen('{', r#"{"TimeoutSeconds":60,"#, 1);
        let (outcome, counted) = run(&definition, value(input));
        assert!(matches!(outcome, Outcome::TimedOut { .. }), "{input}: {outcome:?}");
        assert!(counted.events < 5);
    }
}

#[test]
fn counts_that_are_none_are_errors_and_large_ones_stop_at_the_bound() {
    for input in ["1e300", "-1", "1.5", "-0.5", "1e20", "null", r#""x""#, "[]"] {
        let (outcome, _) = run(&one(r#""Type":"Wait","SecondsPath":"$""#), value(input));
        assert_eq!(failure(&outcome).0, "States.Runtime", "{input}");
    }
    let map = one(
        r#""Type":"Map","ItemsPath":"$.items","MaxConcurrencyPath":"$.n","ItemProcessor":{"StartAt":"W","States":{
            "W":{"Type":"Wait","Seconds":1,"End":true}}}"#,
    );
    let items = format!("[{}]", vec!["0"; 100].join(","));
    let (outcome, _) = run(&map, value(&format!(r#"{{"n":9223372036854775807,"items":{items}}}"#)));
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
}

#[test]
fn sums_and_ranges_beyond_their_bounds_are_failures_of_their_functions() {
    for call in [
        "States.MathAdd(9223372036854775807, 1)",
        "States.MathAdd($, $)",
        "States.ArrayRange(-9223372036854775808, 9223372036854775807, 1)",
        "States.ArrayRange(0, 1e300, 1)",
        "States.ArrayPartition(States.Array(1), -9223372036854775808)",
        "States.ArrayGetItem(States.Array(1), 18446744073709551615)",
        "States.MathRandom(9223372036854775807, -9223372036854775808)",
    ] {
        let state = format!(r#""Type":"Pass","Parameters":{{"x.$":"{call}"}}"#);
        let (outcome, _) = run(&one(&state), value("1e308"));
        assert_eq!(failure(&outcome).0, "States.IntrinsicFailure", "{call}");
    }
}
