//! Warnings, and where a place is told in both spellings.

use asl::definition::MachineType;
use asl::{Dialect, Severity};

use crate::check::{check, check_as, check_state, compile, one_state};

const TASK: &str =
    "\"Type\":\"Task\",\"End\":true,\"Resource\":\"arn:aws:lambda:us-east-1:123456789012:function:f\"";

#[test]
fn a_loop_without_a_way_out_is_remarked_upon_once() {
    let text = |again: &str| {
        format!(
            "{{\"StartAt\":\"A\",\"States\":{{\"A\":{{\"Type\":\"Choice\",\"Choices\":[{{\"Variable\":\"$.a\",\
             \"IsNull\":true,\"Next\":\"B\"}}],\"Default\":\"D\"}},\n\"B\":{{\"Type\":\"Pass\",\"Next\":\"C\"}},\
             \n\"C\":{{\"Type\":\"Pass\",\"Next\":\"{again}\"}},\"D\":{{\"Type\":\"Succeed\"}}}}}}"
        )
    };
    check(&text("A"), &[]);
    check(&text("B"), &["2:1 warning ENDLESS_LOOP: No terminal state can be reached from 'B' at /States/B"]);
    let found = compile(&text("B"), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].note, "Nor from one more state");
}

#[test]
fn a_state_without_a_transition_is_an_error_and_no_loop() {
    let text = "{\"StartAt\":\"S\",\"States\":{\"S\":{\"Type\":\"Choice\",\"Choices\":[{\"Variable\":\"$.a\",\
                \"IsNull\":true,\"Next\":\"L\"}],\"Default\":\"T\"},\n\"L\":{\"Type\":\"Pass\"},\
                \"T\":{\"Type\":\"Succeed\"}}}";
    check(
        text,
        &["2:1 error SCHEMA_VALIDATION_FAILED: This object should have only one of the following fields: \
           [Next, End] at /States/L"],
    );
}

#[test]
fn a_template_may_be_any_json_but_a_path_alone_is_remarked_upon() {
    check_state("{\"Type\":\"Pass\",\"End\":true,\"Parameters\":[{\"a.$\":\"$.b\"}]}", &[]);
    check_state(
        &format!("{{{TASK},\n\"ResultSelector\":\"$.Payload\"}}"),
        &["3:18 warning NO_DOLLAR: The value looks evaluated, but stays text; write an object with a field \
           whose name ends in '.$' at /States/S/ResultSelector"],
    );
}

#[test]
fn a_catcher_is_a_way_out_of_a_loop() {
    let state = "{\"Type\":\"Task\",\"Resource\":\"arn:aws:lambda:us-east-1:123456789012:function:f\",\
                 \"Catch\":[{\"ErrorEquals\":[\"E\"],\"Next\":\"Out\"}],\"Next\":\"S\"}";
    let text = format!("{{\"StartAt\":\"S\",\"States\":{{\"S\":{state},\"Out\":{{\"Type\":\"Fail\"}}}}}}");
    check(&text, &[]);
}

#[test]
fn where_nothing_ends_what_cannot_be_reached_is_not_told() {
    check(
        "{\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Pass\",\"Next\":\"A\"},\"B\":{\"Type\":\"Pass\",\
         \"Next\":\"A\"}}}",
        &["1:16 error MISSING_END_STATE: Workflow has no terminal state at null"],
    );
}

#[test]
fn names_of_errors_that_the_language_has_not_are_remarked_upon() {
    let retry = |name: &str| format!("{{{TASK},\n\"Retry\":[{{\"ErrorEquals\":[\"{name}\"]}}]}}");
    let known = [
        "States.Timeout",
        "States.TaskFailed",
        "States.ALL",
        "States.Http.StatusCode.404",
        "Custom",
        "states.x",
    ];
    for known in known {
        check_state(&retry(known), &[]);
    }
    check_state(
        &retry("States.TimeOuts"),
        &["3:26 warning UNKNOWN_ERROR_NAME: The language has no error 'States.TimeOuts'; this entry never \
           matches it at /States/S/Retry[0]/ErrorEquals[0]"],
    );
    let found = compile(&one_state(&retry("States.TimeOuts")), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].note, "Did you mean 'States.Timeout'?");
    check_as(Dialect::Tcsl, MachineType::Standard, &one_state(&retry("States.TimeOuts")), &[]);
}

#[test]
fn a_fail_that_raises_an_error_of_the_language_is_remarked_upon() {
    check_state("{\"Type\":\"Fail\",\"Error\":\"Mine\",\"Cause\":\"States.ALL\"}", &[]);
    check_state(
        "{\"Type\":\"Fail\",\"Error\":\"States.Mine\"}",
        &["2:24 warning RESERVED_ERROR_NAME: Names that begin with 'States.' are the language's own: \
           'States.Mine' at /States/S/Error"],
    );
}

#[test]
fn an_error_that_an_earlier_entry_has_is_remarked_upon() {
    check_state(
        &format!(
            "{{{TASK},\"Retry\":[{{\"ErrorEquals\":[\"A\",\"A\"]}},\n{{\"ErrorEquals\":[\"B\",\"A\"]}}]}}"
        ),
        &[
            "3:21 warning REPEATED_ERROR_NAME: An earlier entry handles 'A'; this one is never used for it at \
           /States/S/Retry[1]/ErrorEquals[1]",
        ],
    );
}

#[test]
fn a_variable_that_nothing_reads_is_remarked_upon_where_it_is_assigned() {
    let text = |read: &str| {
        format!(
            "{{\"StartAt\":\"A\",\"States\":{{\"A\":{{\"Type\":\"Choice\",\"Comment\":\"sets $a\",\"Assign\":{{\n\
             \"a\":1}},\"Choices\":[{{\"Variable\":\"$.x\",\"IsNull\":true,\"Next\":\"B\",\"Assign\":{{\n\"b.$\":\"$.x\"}}}}],\
             \"Default\":\"B\"}},\"B\":{{\"Type\":\"Parallel\",\"End\":true,\"Branches\":[{{\"StartAt\":\"C\",\"States\":\
             {{\"C\":{{\"Type\":\"Pass\",\"Parameters\":{{\"v\":[\"{read}\"]}},\"Assign\":{{\n\"c\":1}},\"End\":true}}}}}}]}}}}}}"
        )
    };
    let unused = |read: &str| {
        let found = compile(&text(read), Dialect::Asl, MachineType::Standard);
        let own = found.iter().filter(|one| one.code == "UNUSED_VARIABLE");
        own.map(|one| (one.line, one.column, one.pointer.clone())).collect::<Vec<_>>()
    };
    let [a, b, c] = [
        (2, 1, "/States/A/Assign/a".to_owned()),
        (3, 1, "/States/A/Choices/0/Assign/b.$".to_owned()),
        (4, 1, "/States/B/Branches/0/States/C/Assign/c".to_owned()),
    ];
    assert_eq!(unused("$.a"), [a.clone(), b.clone(), c.clone()]);
    assert_eq!(unused("{% $a & $bee %}"), [b, c.clone()]);
    assert_eq!(unused("States.Format('{}', $b.x)"), [a, c]);
    assert_eq!(unused("$a + $b[0] + $c"), []);
}

/// Every pointer of a diagnostic names a place of the definition, or a member that is missing there.
#[test]
fn a_pointer_names_the_very_place_where_the_location_names_only_the_state() {
    let text = "{\"StartAt\":\"a/b~c\",\"Nonsense\":1,\"States\":{\"a/b~c\":{\"Type\":\"Pass\",\"Retry\":[],\
                \"Parameters\":{\"x\":[{\"y.$\":\"no path\"}],\"z\":\"$.z\"},\"Next\":\"Z\",\"End\":true},\
                \"Z\":{\"Type\":\"Wait\",\"Seconds\":-1,\"SecondsPath\":\"$.s\",\"End\":true}}}";
    let found = compile(text, Dialect::Asl, MachineType::Standard);
    let root: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let places: Vec<(&str, &str)> =
        found.iter().map(|one| (one.location.as_str(), one.pointer.as_str())).collect();
    assert_eq!(
        places,
        [
            ("/", "/Nonsense"),
            ("/States/a/b~c", "/States/a~1b~0c/Retry"),
            ("/States/a/b~c/Parameters", "/States/a~1b~0c/Parameters/x/0/y.$"),
            ("/States/a/b~c/Parameters", "/States/a~1b~0c/Parameters/z"),
            ("/States/a/b~c", "/States/a~1b~0c/End"),
            ("/States/Z", "/States/Z/SecondsPath"),
        ]
    );
    for one in &found {
        assert!(root.pointer(&one.pointer).is_some(), "{}", one.pointer);
    }
    assert_eq!(found.iter().filter(|one| one.severity == Severity::Warning).count(), 1);
}

#[test]
fn paths_that_have_to_name_one_place_are_reference_paths() {
    let refused = |state: &str| {
        let found = compile(&one_state(state), Dialect::Asl, MachineType::Standard);
        assert_eq!(found.len(), 1, "{state}: {found:?}");
        assert!(found[0].message.starts_with("Value is not a Reference Path: "), "{state}: {found:?}");
    };
    for path in ["$.a[*]", "$..a", "$.a[0:2]", "$.a[?(@.b)]", "$.a[0,1]"] {
        for field in ["SecondsPath", "TimestampPath"] {
            refused(&format!("{{\"Type\":\"Wait\",\"End\":true,\"{field}\":\"{path}\"}}"));
        }
        for field in ["TimeoutSecondsPath", "HeartbeatSecondsPath"] {
            refused(&format!("{{{TASK},\"{field}\":\"{path}\"}}"));
        }
        for field in ["ErrorPath", "CausePath"] {
            refused(&format!("{{\"Type\":\"Fail\",\"{field}\":\"{path}\"}}"));
        }
        for field in ["ItemsPath", "MaxConcurrencyPath"] {
            refused(&format!(
                "{{\"Type\":\"Map\",\"End\":true,\"{field}\":\"{path}\",\"ItemProcessor\":{{\"StartAt\":\"I\",\
                 \"States\":{{\"I\":{{\"Type\":\"Succeed\"}}}}}}}}"
            ));
        }
        // These two may select as they like.
        for field in ["InputPath", "OutputPath"] {
            check_state(&format!("{{\"Type\":\"Pass\",\"End\":true,\"{field}\":\"{path}\"}}"), &[]);
        }
    }
    check_state("{\"Type\":\"Wait\",\"End\":true,\"SecondsPath\":\"$$.Execution.Input.s\"}", &[]);
}

#[test]
fn both_sides_of_a_choice_rule_are_reference_paths_and_it_asks_one_question() {
    let choice = |rule: &str| {
        format!(
            "{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":\"Choice\",\"Choices\":[\n{rule}]}},\
             \"T\":{{\"Type\":\"Succeed\"}}}}}}"
        )
    };
    check(
        &choice("{\"Variable\":\"v\",\"IsNull\":true,\"Next\":\"T\"}"),
        &["2:13 error SCHEMA_VALIDATION_FAILED: Value is not a Reference Path: Reference path didn't start \
           with '$' at /States/S/Choices[0]/Variable"],
    );
    for rule in [
        "{\"Variable\":\"$.a[*]\",\"IsNull\":true,\"Next\":\"T\"}",
        "{\"Variable\":\"$.a\",\"StringEqualsPath\":\"$..b\",\"Next\":\"T\"}",
    ] {
        let found = compile(&choice(rule), Dialect::Asl, MachineType::Standard);
        assert!(found[0].message.starts_with("Value is not a Reference Path: "), "{found:?}");
    }
    check(
        &choice("{\"Variable\":\"$.a\",\"IsNull\":true,\"IsString\":true,\"Next\":\"T\"}"),
        &["2:1 error SCHEMA_VALIDATION_FAILED: There should only be one of the following fields: [IsNull, \
           IsString] at /States/S/Choices[0]"],
    );
    check(
        &choice("{\"Variable\":\"$.a\",\"Not\":{\"Variable\":\"$.a\",\"IsNull\":true},\"Next\":\"T\"}"),
        &[
            "2:1 error SCHEMA_VALIDATION_FAILED: The object must have only one of the following fields, [And, \
           Or, Not, Variable, Condition] at /States/S/Choices[0]",
        ],
    );
}

#[test]
fn a_field_of_the_other_query_language_is_refused_for_that() {
    let words = |field: &str| {
        format!(
            "2:27 error SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONPath', but field '{field}' \
             is only supported for the 'JSONata' QueryLanguage at /States/S"
        )
    };
    check_state("{\"Type\":\"Pass\",\"End\":true,\"Output\":1}", &[&words("Output")]);
    check_state(
        &format!("{{{TASK},\n\"Catch\":[{{\"ErrorEquals\":[\"E\"],\"Output\":1,\"Next\":\"S\"}}]}}"),
        &[&words("Output").replace("2:27", "3:31").replace("/States/S", "/States/S/Catch[0]")],
    );
}

#[test]
fn a_distributed_map_and_an_activity_are_not_for_express() {
    let map = "{\"Type\":\"Map\",\"End\":true,\"ItemProcessor\":{\n\"ProcessorConfig\":{\"Mode\":\"DISTRIBUTED\",\
               \"ExecutionType\":\"EXPRESS\"},\"StartAt\":\"I\",\"States\":{\"I\":{\"Type\":\"Succeed\"}}}}";
    check_as(
        Dialect::Asl,
        MachineType::Express,
        &one_state(map),
        &["3:27 error SCHEMA_VALIDATION_FAILED: The field 'Mode' with value 'DISTRIBUTED' is not supported \
           inside 'EXPRESS' state machines at /States/S/ItemProcessor/ProcessorConfig/Mode"],
    );
    let activity = "{\"Type\":\"Task\",\"End\":true,\"Resource\":\"arn:aws:states:us-east-1:1:activity:a\"}";
    check_as(
        Dialect::Asl,
        MachineType::Express,
        &one_state(activity),
        &["2:38 error SCHEMA_VALIDATION_FAILED: Express state machine does not support Activity ARN at \
           /States/S/Resource"],
    );
}

#[test]
fn an_inline_map_has_no_execution_type() {
    let map = "{\"Type\":\"Map\",\"End\":true,\"ItemProcessor\":{\n\"ProcessorConfig\":{\"Mode\":\"INLINE\",\
               \"ExecutionType\":\"EXPRESS\"},\"StartAt\":\"I\",\"States\":{\"I\":{\"Type\":\"Succeed\"}}}}";
    check_state(
        map,
        &["3:36 error SCHEMA_VALIDATION_FAILED: Field 'ExecutionType' is not supported at \
           /States/S/ItemProcessor/ProcessorConfig"],
    );
}

#[test]
fn an_integration_is_remarked_upon_only_where_its_name_is_nearly_a_known_one() {
    let told = |resource: &str| {
        let text = one_state(&format!("{{\"Type\":\"Task\",\"Resource\":\"{resource}\",\"End\":true}}"));
        let found = compile(&text, Dialect::Asl, MachineType::Standard);
        found.into_iter().map(|one| one.note).collect::<String>()
    };
    assert_eq!(told("arn:aws:states:::lamda:invoke"), "Did you mean 'lambda:invoke'?");
    assert_eq!(
        told("arn:aws-cn:states:::sqs:sendmessage.waitForTaskToken"),
        "Did you mean 'sqs:sendMessage'?"
    );
    assert_eq!(
        told("arn:aws:states:::states:startExecutoin.sync:2"),
        "Did you mean 'states:startExecution'?"
    );
    assert_eq!(told("arn:aws:states:::http:invoke.waitForTaskToken"), "It waits for its answer alone.");
    assert_eq!(told("arn:aws:states:::lambda:invoke.sync"), "It has .waitForTaskToken.");
    for resource in [
        "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "arn:aws:states:::states:startExecution.sync:2",
        "arn:aws:states:::glue:startJobRun.sync",
        "arn:aws:states:::quantum:entangle",
        "arn:aws:states:::aws-sdk:lamda:invoke",
        "arn:aws:states:us-east-1:123456789012:activity:lamda",
        "arn:aws:lambda:us-east-1:123456789012:function:lamda:invoke",
    ] {
        assert_eq!(told(resource), "", "{resource}");
    }
}
