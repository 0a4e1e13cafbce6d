//! States: their fields, numbers, paths, rules.

use asl::definition::MachineType;
use asl::{Dialect, Severity};

use crate::check::{check, check_as, check_state, compile, lines, one_state};

#[test]
fn the_type_is_one_of_eight() {
    let values = "[Task, Wait, Pass, Succeed, Fail, Choice, Parallel, Map]";
    let found = compile(&one_state("{\"Type\":\"pass\",\"End\":true}"), Dialect::Asl, MachineType::Standard);
    let message = format!("The field 'Type' should have one of these values: {values}");
    assert_eq!((found[0].message.as_str(), found[0].location.as_str()), (message.as_str(), "/States/S/Type"));
    check_state(
        "{\"End\":true}",
        &["1:26 error SCHEMA_VALIDATION_FAILED: These fields are required: [Type] at /States/S"],
    );
}

#[test]
fn next_and_end_exclude_each_other_and_one_is_required() {
    let place = "at /States/S";
    check_state(
        "{\"Type\":\"Pass\",\"Next\":\"S\",\"End\":true}",
        &[&format!(
            "2:27 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [Next, End] {place}"
        )],
    );
    let missing = format!(
        "1:26 error SCHEMA_VALIDATION_FAILED: This object should have only one of the following fields: [Next, End] {place}"
    );
    let endless = "1:16 error MISSING_END_STATE: Workflow has no terminal state at null";
    check_state("{\"Type\":\"Pass\"}", &[endless, &missing]);
    check_state(
        "{\"Type\":\"Succeed\",\"End\":true}",
        &["2:19 error SCHEMA_VALIDATION_FAILED: Field 'End' is not supported at /States/S"],
    );
    check_state(
        "{\"Type\":\"Fail\",\"Next\":\"S\"}",
        &["2:16 error SCHEMA_VALIDATION_FAILED: Field 'Next' is not supported at /States/S"],
    );
    check_state(
        "{\"Type\":\"Pass\",\"End\":\"True\"}",
        &[
            "1:16 error MISSING_END_STATE: Workflow has no terminal state at null",
            "2:22 error SCHEMA_VALIDATION_FAILED: Expected value of type Boolean at /States/S/End",
        ],
    );
}

#[test]
fn fields_stand_only_where_their_state_has_them() {
    let refused = |state: &str, fields: &[&str]| {
        for field in fields {
            let text = one_state(&format!("{{{state},\n\"{field}\":{{}}}}"));
            let found = compile(&text, Dialect::Asl, MachineType::Standard);
            let messages = [
                format!("Field '{field}' is not supported"),
                format!(
                    "The QueryLanguage is set to 'JSONPath', but field '{field}' is only supported for the 'JSONata' \
                     QueryLanguage"
                ),
            ];
            assert!(
                found.iter().any(|one| messages.contains(&one.message) && (one.line, one.column) == (3, 1)),
                "{text}: {found:?}"
            );
        }
    };
    refused(
        "\"Type\":\"Pass\",\"End\":true",
        &["Retry", "Catch", "ResultSelector", "TimeoutSeconds", "Choices"],
    );
    refused("\"Type\":\"Succeed\"", &["Parameters", "ResultPath", "ResultSelector", "Assign", "Result"]);
    refused("\"Type\":\"Fail\"", &["InputPath", "OutputPath", "ResultSelector", "Assign", "Output"]);
    refused("\"Type\":\"Wait\",\"Seconds\":1,\"End\":true", &["ResultPath", "Parameters", "Retry"]);
    refused("\"Type\":\"Pass\",\"End\":true", &["Arguments", "Items", "Condition", "Nonsense"]);
}

const TASK: &str =
    "\"Type\":\"Task\",\"End\":true,\"Resource\":\"arn:aws:lambda:us-east-1:123456789012:function:f\"";

#[track_caller]
fn check_task(fields: &str, expected: &[&str]) {
    check_state(&format!("{{{TASK},\n{fields}}}"), expected);
}

#[test]
fn a_task_needs_a_resource_that_is_an_arn() {
    check_state(
        "{\"Type\":\"Task\",\"End\":true}",
        &["1:26 error SCHEMA_VALIDATION_FAILED: These fields are required: [Resource] at /States/S"],
    );
    check_state(
        "{\"Type\":\"Task\",\"End\":true,\"Resource\":\"f\"}",
        &["2:38 error SCHEMA_VALIDATION_FAILED: Value is not a valid resource ARN at /States/S/Resource"],
    );
    let qrn = "{\"Type\":\"Task\",\"End\":true,\"Resource\":\"qrn:qcs:asw:ap-guangzhou:1:sdk:json:\
               qcloud:scf:Invoke/f\"}";
    check_state(
        qrn,
        &["2:38 error SCHEMA_VALIDATION_FAILED: Value is not a valid resource ARN at /States/S/Resource"],
    );
    check_as(Dialect::Tcsl, MachineType::Standard, &one_state(qrn), &[]);
}

#[test]
fn timeouts_are_positive_and_heartbeats_shorter() {
    check_task("\"TimeoutSeconds\":2,\"HeartbeatSeconds\":1", &[]);
    check_task(
        "\"TimeoutSeconds\":2,\"HeartbeatSeconds\":2",
        &["3:39 error SCHEMA_VALIDATION_FAILED: The field 'HeartbeatSeconds' must be less than \
            'TimeoutSeconds' \
           at /States/S/HeartbeatSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":0",
        &["3:18 error SCHEMA_VALIDATION_FAILED: Minimum value is 1 at \
           /States/S/TimeoutSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":100000000",
        &["3:18 error SCHEMA_VALIDATION_FAILED: Maximum value is 99999999 at \
           /States/S/TimeoutSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":1.5",
        &["3:18 error SCHEMA_VALIDATION_FAILED: Expected value of type Integer at /States/S/TimeoutSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":1,\"TimeoutSecondsPath\":\"$.t\"",
        &[
            "3:20 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [TimeoutSeconds, \
           TimeoutSecondsPath] at /States/S",
        ],
    );
}

#[test]
fn retriers_are_checked_field_by_field() {
    check_task(
        "\"Retry\":[{\"ErrorEquals\":[\"States.ALL\"],\"IntervalSeconds\":1,\"MaxAttempts\":0,\
                \"BackoffRate\":1,\"MaxDelaySeconds\":31622400,\"JitterStrategy\":\"NONE\"}]",
        &[],
    );
    check_task("\"Retry\":[]", &[]);
    check_task(
        "\"Retry\":[{\n\"IntervalSeconds\":0,\n\"MaxAttempts\":-1,\n\"BackoffRate\":0.9,\
        \n\"MaxDelaySeconds\":31622401,\n\
         \"JitterStrategy\":\"PARTIAL\",\n\"Nonsense\":1}]",
        &[
            "3:10 error SCHEMA_VALIDATION_FAILED: These fields are required: [ErrorEquals] at \
            /States/S/Retry[0]",
            "4:19 error SCHEMA_VALIDATION_FAILED: Minimum value is 1 at \
             /States/S/Retry[0]/IntervalSeconds",
            "5:15 error SCHEMA_VALIDATION_FAILED: Minimum value is 0 at \
             /States/S/Retry[0]/MaxAttempts",
            "6:15 error SCHEMA_VALIDATION_FAILED: Minimum value is 1.0 at \
             /States/S/Retry[0]/BackoffRate",
            "7:19 error SCHEMA_VALIDATION_FAILED: Maximum value is 31622400 at \
             /States/S/Retry[0]/MaxDelaySeconds",
            "8:18 error SCHEMA_VALIDATION_FAILED: Value should be one of the following: [NONE, FULL] at /States/S/Retry[0]/JitterStrategy",
            "9:1 error SCHEMA_VALIDATION_FAILED: Field 'Nonsense' is not supported at /States/S/Retry[0]",
        ],
    );
}

#[test]
fn states_all_stands_alone_and_last() {
    check_task(
        "\"Retry\":[{\"ErrorEquals\":[\"States.ALL\",\"E\"]},\n{\"ErrorEquals\":[\"F\"]},\
        {\"ErrorEquals\":[]}]",
        &[
            "3:11 error SCHEMA_VALIDATION_FAILED: States.ALL must appear alone and at end of list at \
             /States/S/Retry[0]/ErrorEquals",
            "4:24 error SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/S/Retry[2]/ErrorEquals",
        ],
    );
}

#[test]
fn a_catcher_needs_errors_and_a_target() {
    check_task(
        "\"Catch\":[{\"ErrorEquals\":[\"E\"]},\n{\"ErrorEquals\":[\"F\"],\"Next\":\"Nowhere\"}]",
        &[
            "3:10 error SCHEMA_VALIDATION_FAILED: These fields are required: [Next] at /States/S/Catch[0]",
            "4:29 error MISSING_TRANSITION_TARGET: Missing 'Next' target: Nowhere at /States/S/Catch[1]/Next",
        ],
    );
}

#[test]
fn a_wait_has_exactly_one_of_four_forms() {
    check_state("{\"Type\":\"Wait\",\"End\":true,\"Seconds\":0}", &[]);
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Timestamp\":\"2016-03-14T01:59:00.123456789+02:00\"}",
        &[],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true}",
        &[
            "1:26 error SCHEMA_VALIDATION_FAILED: This object should have only one of the following fields: [SecondsPath, \
            Seconds, TimestampPath, Timestamp] at /States/S",
        ],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Seconds\":1,\"SecondsPath\":\"$.s\"}",
        &[
            "2:39 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [SecondsPath, \
            Seconds, TimestampPath, Timestamp] at /States/S",
        ],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Seconds\":-1}",
        &["2:37 error SCHEMA_VALIDATION_FAILED: Minimum value is 0 at /States/S/Seconds"],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Timestamp\":\"tomorrow\"}",
        &["2:39 error SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at \
            /States/S/Timestamp"],
    );
}

#[test]
fn a_fail_takes_texts_or_paths_but_not_both() {
    check_state("{\"Type\":\"Fail\",\"Error\":\"E\",\"CausePath\":\"$.c\"}", &[]);
    check_state(
        "{\"Type\":\"Fail\",\"Cause\":\"C\",\"CausePath\":\"$.c\"}",
        &["2:28 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [Cause, \
            CausePath] at \
           /States/S"],
    );
    check_state(
        "{\"Type\":\"Fail\",\"Cause\":\"$.c\"}",
        &["2:24 warning NO_PATH: The value looks evaluated; to evaluate it name the field 'CausePath' at \
           /States/S/Cause"],
    );
}

#[test]
fn paths_and_templates_are_checked_where_they_stand() {
    check_state(
        "{\"Type\":\"Pass\",\"End\":true,\"OutputPath\":\"Test\"}",
        &["2:40 error SCHEMA_VALIDATION_FAILED: Value must be a valid JSONPath. at /States/S/OutputPath"],
    );
    check_state(
        "{\"Type\":\"Pass\",\"End\":true,\"Parameters\":{\n\"a\":[{\n\"b.$\":\"nonsense\"}],\n\"c.$\":3}}",
        &[
            "4:7 error SCHEMA_VALIDATION_FAILED: The value for the field 'b.$' must be a valid JSONPath \
            or a valid \
             intrinsic function call at /States/S/Parameters",
            "5:7 error SCHEMA_VALIDATION_FAILED: The value for the field 'c.$' must be a valid JSONPath \
            or a valid \
             intrinsic function call at /States/S/Parameters",
        ],
    );
    for path in ["$.a[*]", "$..a", "$.a[?(@.b)]", "$$.Execution", "$.a[0,1]", "$.a[1:2]"] {
        let state = format!("{{\"Type\":\"Pass\",\"End\":true,\"ResultPath\":\"{path}\"}}");
        let found = compile(&one_state(&state), Dialect::Asl, MachineType::Standard);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].message.starts_with("Value is not a Reference Path: "), "{path}: {found:?}");
        assert_eq!((found[0].line, found[0].column), (2, 40));
    }
}

#[test]
fn a_template_that_forgets_the_dollar_is_remarked_upon() {
    check_state(
        "{\"Type\":\"Pass\",\"End\":true,\"Parameters\":{\"a\":\"$.b\"}}",
        &["2:45 warning NO_DOLLAR: The value looks evaluated; to evaluate it name the field 'a.$' at \
           /States/S/Parameters"],
    );
    check_state(
        "{\"Type\":\"Pass\",\"End\":true,\"Result\":{\"a.$\":\"$.b\"}}",
        &["2:37 warning PASS_RESULT_IS_STATIC: A Pass state's 'Result' is static; use 'Parameters' to \
            evaluate \
           paths at /States/S/Result/a.$"],
    );
}

#[test]
fn choice_rules_are_checked() {
    check_state(
        "{\"Type\":\"Choice\",\"Default\":\"S\"}",
        &[
            "1:16 error MISSING_END_STATE: Workflow has no terminal state at null",
            "1:26 error SCHEMA_VALIDATION_FAILED: These fields are required: [Choices] at /States/S",
        ],
    );
    let choice = |rule: &str| {
        format!(
            "{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":\"Choice\",\"Choices\":[\n{rule}]}},\
            \"T\":{{\"Type\":\
             \"Succeed\"}}}}}}"
        )
    };
    check(&choice("{\"Variable\":\"$.a\",\"IsNull\":true,\"Next\":\"T\",\"Comment\":\"fine\"}"), &[]);
    for (rule, place) in [
        ("{\"Variable\":\"$.a\",\"Next\":\"T\"}", "/States/S/Choices[0]"),
        ("{\"IsNull\":true,\"Next\":\"T\"}", "/States/S/Choices[0]"),
        ("{\"Variable\":\"$.a\",\"IsNull\":true,\"IsString\":true,\"Next\":\"T\"}", "/States/S/Choices[0]"),
        ("{\"And\":[],\"Next\":\"T\"}", "/States/S/Choices[0]/And"),
        (
            "{\"Not\":{\"Variable\":\"a\",\"IsNull\":true},\"Next\":\"T\"}",
            "/States/S/Choices[0]/Not/Variable",
        ),
        (
            "{\"Variable\":\"$.a\",\"NumericEquals\":\"1\",\"Next\":\"T\"}",
            "/States/S/Choices[0]/NumericEquals",
        ),
        ("{\"Variable\":\"$.a\",\"Nonsense\":1,\"Next\":\"T\"}", "/States/S/Choices[0]"),
        ("{\"Variable\":\"$.a\",\"IsNull\":true,\"Next\":\"T\",\"End\":true}", "/States/S/Choices[0]"),
        (
            "{\"Not\":{\"Variable\":\"$.a\",\"IsNull\":true,\"Next\":\"T\"},\"Next\":\"T\"}",
            "/States/S/Choices[0]/Not",
        ),
    ] {
        let found = compile(&choice(rule), Dialect::Asl, MachineType::Standard);
        let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{rule}: {found:?}");
        assert_eq!(errors[0].code, "SCHEMA_VALIDATION_FAILED", "{rule}");
        assert!(errors[0].location.starts_with(place), "{rule}: {}", errors[0].location);
        assert_eq!(errors[0].line, 2, "{rule}");
    }
}

#[test]
fn branches_and_processors_are_required() {
    check_state(
        "{\"Type\":\"Parallel\",\"End\":true,\"Branches\":[]}",
        &["2:31 error SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/S/Branches"],
    );
    check_state(
        "{\"Type\":\"Parallel\",\"End\":true}",
        &["1:26 error SCHEMA_VALIDATION_FAILED: These fields are required: [Branches] at /States/S"],
    );
    check_state(
        "{\"Type\":\"Map\",\"End\":true}",
        &["1:26 error SCHEMA_VALIDATION_FAILED: This object should have only one of the following fields: \
            [ItemProcessor, Iterator] \
           at /States/S"],
    );
}

/// A Map with a processor and these fields on line 3.
fn map(fields: &str) -> String {
    one_state(&format!(
        "{{\"Type\":\"Map\",\"End\":true,\"ItemProcessor\":{{\"StartAt\":\"I\",\
        \"States\":{{\"I\":{{\"Type\":\"Succeed\"}}}}}}\
         \n{fields}}}"
    ))
}

#[test]
fn a_map_has_one_selector_one_concurrency_and_sane_tolerances() {
    check(&map(",\"ItemSelector\":{\"a.$\":\"$$.Map.Item.Value\"},\"MaxConcurrency\":0"), &[]);
    check(
        &map(",\"ItemSelector\":{},\"Parameters\":{}"),
        &[
            "3:20 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [ItemSelector, \
            Parameters] at \
           /States/S",
        ],
    );
    check(
        &map(",\"MaxConcurrency\":1,\"MaxConcurrencyPath\":\"$.n\""),
        &[
            "3:21 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [MaxConcurrency, \
           MaxConcurrencyPath] at /States/S",
        ],
    );
    let found = compile(&map(",\"ToleratedFailurePercentage\":101"), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].message, "Maximum value is 100.0");
}

#[test]
fn labels_are_bounded_unique_and_plain() {
    let code = |label: &str| {
        let found = compile(&map(&format!(",\"Label\":\"{label}\"")), Dialect::Asl, MachineType::Standard);
        found.first().map(|one| one.code)
    };
    assert_eq!(code(&"x".repeat(40)), None);
    assert_eq!(code(&"x".repeat(41)), Some("INVALID_LABEL_NAME"));
    assert_eq!(code(""), Some("INVALID_LABEL_NAME"));
    for bad in [" ", "?", "*", "<", "|", "\\u0007", "\\u009f", ";", "\\\\", "~"] {
        assert_eq!(code(&format!("a{bad}b")), Some("INVALID_LABEL_NAME"), "{bad}");
    }
}

#[test]
fn all_problems_of_a_state_are_told_at_once() {
    check_state(
        "{\"Type\":\"Task\",\"Resource\":\"f\",\n\"TimeoutSeconds\":\"60\",\
        \n\"Parameters\":{\"a.$\":\"$.x[\"},\n\
         \"ResultPath\":5,\n\"Retry\":3,\n\"Catch\":{},\n\"Next\":\"T\",\"Colour\":1}",
        &[
            "1:16 error MISSING_END_STATE: Workflow has no terminal state at null",
            "2:27 error SCHEMA_VALIDATION_FAILED: Value is not a valid resource ARN at /States/S/Resource",
            "3:18 error SCHEMA_VALIDATION_FAILED: Expected value of type Integer at /States/S/TimeoutSeconds",
            "4:21 error SCHEMA_VALIDATION_FAILED: The value for the field 'a.$' must be a valid JSONPath \
            or a \
             valid intrinsic function call at /States/S/Parameters",
            "5:14 error SCHEMA_VALIDATION_FAILED: Expected value of type String at /States/S/ResultPath",
            "6:9 error SCHEMA_VALIDATION_FAILED: Expected value of type Array at /States/S/Retry",
            "7:1 error SCHEMA_VALIDATION_FAILED: Expected value of type Array at /States/S/Catch",
            "8:8 error MISSING_TRANSITION_TARGET: Missing 'Next' target: T at /States/S/Next",
            "8:12 error SCHEMA_VALIDATION_FAILED: Field 'Colour' is not supported at /States/S",
        ],
    );
}

/// The words are those of Step Functions; a place inside of a template is its own.
#[test]
fn jsonata_is_refused_at_its_place_in_the_words_of_step_functions() {
    let state =
        |fields: &str| format!("{{\"Type\":\"Pass\",\"QueryLanguage\":\"JSONata\",\"End\":true,\n{fields}}}");
    check_state(
        &state("\"Output\":{\"v\":[1,\"{% phone %}\"]}"),
        &[
            "3:18 error UNSUPPORTED_JSONATA_EXPRESSION: Reference to 'phone' at the top level is not supported. at \
           /States/S/Output/v[1]",
        ],
    );
    check_state(
        &state("\"InputPath\":\"$\""),
        &[
            "3:1 error SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONata', but field 'InputPath' is only \
           supported for the 'JSONPath' QueryLanguage at /States/S",
        ],
    );
    check_state(
        &state("\"Output\":{\"x\":\"{% $states.result %}\",\n\"y\":\"{% $states.errorOutput %}\"}"),
        &[
            "3:15 error UNSUPPORTED_JSONATA_EXPRESSION: Reference to '$states.result' is not supported in this field. \
             at /States/S/Output/x",
            "4:5 error UNSUPPORTED_JSONATA_EXPRESSION: Reference to '$states.errorOutput' is not supported in this \
             field. at /States/S/Output/y",
        ],
    );
}

/// The message is AWS's, as recorded; the note says what is wrong at which character.
#[test]
fn a_bad_intrinsic_function_is_refused_with_its_character_in_a_note() {
    let state = |value: &str| {
        let state =
            serde_json::json!({"Type": "Pass", "Parameters": {"in": {"parsed.$": value}}, "End": true});
        compile(&one_state(&state.to_string()), Dialect::Asl, MachineType::Standard)
    };
    for (value, note) in [
        (
            r#"States.StringToJson('{"text":"An \"escaped double quote\" here"}')"#,
            "a backslash stands before `'`, `{`, `}` or another backslash; before anything else it is written twice at \
             character 34",
        ),
        ("States.format('a')", "`States.format` is not among the intrinsic functions: States.Array,"),
        ("States.MathAdd(1)", "`States.MathAdd` takes 2 arguments, and is given 1 at character 1"),
        ("States.Array($.a[)", "expected a name in quotes, an index, a slice, `*` or `?` at character 18"),
    ] {
        let found = state(value);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].to_string(),
            "SCHEMA_VALIDATION_FAILED: The value for the field 'parsed.$' must be a valid JSONPath or a valid \
             intrinsic function call at /States/S/Parameters"
        );
        assert!(found[0].note.starts_with(note), "{}", found[0].note);
    }
}

#[test]
fn a_fail_state_calls_the_functions_that_the_guide_lists() {
    let fail = |path: &str| {
        let path = serde_json::json!(path);
        let state = format!("{{\"Type\":\"Fail\",\"CausePath\":{path}}}");
        compile(&one_state(&state), Dialect::Asl, MachineType::Standard)
    };
    assert!(fail("States.JsonToString($.a)").is_empty());
    for (path, note) in [
        (
            "States.MathAdd(1, 2)",
            "A Fail state cannot call 'States.MathAdd'; it can call States.ArrayGetItem, States.Base64Encode, \
             States.Base64Decode, States.Hash, States.JsonToString, States.UUID, States.Format",
        ),
        (
            "States.UUID('')",
            "`States.UUID` takes no arguments, and is given 1 at character 1 of the intrinsic function",
        ),
    ] {
        let found = fail(path);
        assert_eq!(
            lines(&found),
            [
                "2:28 error SCHEMA_VALIDATION_FAILED: Value must be a valid JSONPath or a valid intrinsic function call at \
              /States/S/CausePath"
            ]
        );
        assert!(found[0].note.starts_with(note), "{}", found[0].note);
    }
}
