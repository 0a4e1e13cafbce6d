//! Data that grow with every state end with an error.

use asl::Value;
use asl::value::JsonLimits;

use super::{failure, looped, run};

#[test]
fn a_loop_that_wraps_its_input_each_turn_ends_at_the_depth_of_values() {
    for state in [
        r#""Type":"Pass","Parameters":{"x.$":"$"}"#,
        r#""Type":"Pass","Parameters":{"a":[{"x.$":"$"}]}"#,
        r#""Type":"Parallel","Branches":[{"StartAt":"B","States":{"B":{"Type":"Succeed"}}}]"#,
        r#""Type":"Task","Resource":"FUNCTION","ResultSelector":{"x.$":"$"}"#,
        r#""Type":"Pass","QueryLanguage":"JSONata","Output":{"x":"{% $states.input %}"}"#,
    ] {
        let (outcome, _) = run(&looped(state), Value::empty_object());
        let (error, cause) = failure(&outcome);
        assert_eq!(error, "States.DataLimitExceeded", "{cause}");
        assert!(cause.contains("nested deeper than 512 levels"), "{cause}");
    }
}

#[test]
fn a_loop_that_doubles_its_input_each_turn_ends_at_the_length_of_payloads() {
    for state in [
        r#""Type":"Pass","Parameters":{"left.$":"$","right.$":"$"}"#,
        r#""Type":"Task","Resource":"FUNCTION","Parameters":{"left.$":"$","right.$":"$"}"#,
        r#""Type":"Task","Resource":"FUNCTION","ResultPath":"$.copy.copy"}, "B": {"Type": "Pass",
            "Parameters": {"left.$":"$","right.$":"$.copy"}"#,
        r#""Type":"Pass","QueryLanguage":"JSONata","Output":"{% [$states.input, $states.input] %}""#,
    ] {
        let definition = looped(state).replace(r#"}, "B": {"#, r#","Next":"B"}, "B": {"#);
        let (outcome, counted) = run(&definition, Value::object([("a", Value::from("x"))]));
        let (error, cause) = failure(&outcome);
        assert_eq!(error, "States.DataLimitExceeded");
        assert!(cause.contains("a size exceeding the maximum number of bytes service limit"), "{cause}");
        assert!(counted.events < 200, "{} events", counted.events);
    }
}

/// A cause quotes the input in which a path was not found; caught, it becomes a part of that input.
#[test]
fn an_error_that_quotes_its_input_and_is_caught_into_it_ends_at_the_length_of_payloads() {
    let (outcome, counted) = run(
        r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"FUNCTION","Parameters":{"x.$":"$.missing"},"End":true,
            "Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":"$.error","Next":"A"}]}}}"#,
        Value::object([("a", Value::from("\"\\"))]),
    );
    assert_eq!(failure(&outcome).0, "States.DataLimitExceeded");
    assert!(counted.longest <= JsonLimits::PAYLOAD_BYTES, "{} bytes", counted.longest);
}

/// `count` states of this kind inside each other, each of which doubles what it is given, around a task.
fn nested(count: usize, open: &str, close: &str) -> String {
    let mut definition =
        String::from(r#"{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"FUNCTION","End":true}}}"#);
    for level in 0..count {
        definition = format!(
            r#"{{"StartAt":"S{level}","States":{{"S{level}":{{{open}{definition}{close},"End":true}}}}}}"#
        );
    }
    definition
}

#[test]
fn branches_inside_of_branches_are_not_given_more_than_a_payload() {
    let open = r#""Type":"Parallel","Parameters":{"left.$":"$","right.$":"$"},"Branches":["#;
    let (outcome, counted) = run(&nested(40, open, "]"), Value::from("x"));
    assert_eq!(failure(&outcome).0, "States.DataLimitExceeded");
    assert_eq!(counted.tasks, 0, "no task sees what is too long");
    let open = r#""Type":"Parallel","QueryLanguage":"JSONata","Arguments":"{% [$states.input, $states.input] %}","Branches":["#;
    let (outcome, _) = run(&nested(40, open, "]"), Value::from("x"));
    assert_eq!(failure(&outcome).0, "States.DataLimitExceeded");
}

#[test]
fn iterations_inside_of_iterations_are_not_given_more_than_a_payload() {
    let open = r#""Type":"Map","MaxConcurrency":1,"ItemsPath":"$.items",
        "ItemSelector":{"items":[1],"left.$":"$","right.$":"$"},"ItemProcessor":"#;
    let items = Value::object([("items", Value::array([Value::from(1)]))]);
    let (outcome, counted) = run(&nested(40, open, ""), items);
    assert_eq!(failure(&outcome).0, "States.DataLimitExceeded");
    assert_eq!(counted.tasks, 0, "no task sees what is too long");
}

/// `$..*` of a deep value holds its inside once for each level.
#[test]
fn a_path_that_selects_the_same_part_many_times_does_not_hand_on_more_than_a_payload() {
    let text = "x".repeat(10_000);
    let deep = (0..200).fold(Value::from(text.as_str()), |inside, _| Value::array([inside]));
    for field in ["InputPath", "OutputPath"] {
        let definitions = [
            format!(r#"{{"StartAt":"S","States":{{"S":{{"Type":"Succeed","{field}":"$..*"}}}}}}"#),
            format!(
                r#"{{"StartAt":"C","States":{{"C":{{"Type":"Choice","{field}":"$..*","Default":"S",
                "Choices":[{{"Variable":"$","IsNull":true,"Next":"S"}}]}},"S":{{"Type":"Succeed"}}}}}}"#
            ),
            format!(
                r#"{{"StartAt":"T","States":{{"T":{{"Type":"Task","Resource":"FUNCTION","{field}":"$..*","End":true}}}}}}"#
            ),
            format!(
                r#"{{"StartAt":"W","States":{{"W":{{"Type":"Wait","Seconds":1,"{field}":"$..*","End":true}}}}}}"#
            ),
        ];
        for definition in definitions {
            let (outcome, _) = run(&definition, deep.clone());
            assert_eq!(failure(&outcome).0, "States.DataLimitExceeded", "{definition}");
        }
    }
}
