//! What is said about bad definitions: code, line and column, place and words.

use asl::definition::{DEFINITION_BYTES_MAX, DEPTH_MAX, MachineType, Style, render};
use asl::program::{Dynamic, Kind};
use asl::{Diagnostic, Dialect, Program, Severity};

fn compile(text: &str, dialect: Dialect, machine: MachineType) -> Vec<Diagnostic> {
    match Program::compile_for(text.as_bytes(), dialect, machine) {
        Ok(compiled) => {
            assert!(compiled.warnings.iter().all(|one| one.severity == Severity::Warning));
            compiled.warnings
        }
        Err(diagnostics) => {
            assert!(diagnostics.iter().any(|one| one.severity == Severity::Error));
            diagnostics
        }
    }
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |one: &Diagnostic| {
        let severity = match one.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{}:{} {severity} {one}", one.line, one.column)
    };
    diagnostics.iter().map(line).collect()
}

#[track_caller]
fn check_as(dialect: Dialect, machine: MachineType, text: &str, expected: &[&str]) {
    assert_eq!(lines(&compile(text, dialect, machine)), expected, "for {text}");
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_as(Dialect::Asl, MachineType::Standard, text, expected);
}

/// A machine with this one state, named S, on its second line.
fn one_state(state: &str) -> String {
    format!("{{\"StartAt\":\"S\",\"States\":{{\"S\":\n{state}}}}}")
}

/// The state stands from column 1 of line 2 on.
#[track_caller]
fn check_state(state: &str, expected: &[&str]) {
    check(&one_state(state), expected);
}

#[test]
fn a_text_that_is_no_json_is_refused_with_its_place() {
    check("", &["1:1 error SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at null"]);
    check(" \n ", &["1:1 error SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at null"]);
    check("[]", &["1:1 error SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at null"]);
    let found = compile("{\n  \"StartAt\" \"S\"\n}", Dialect::Asl, MachineType::Standard);
    assert_eq!((found[0].code, found[0].line, found[0].column), ("INVALID_JSON_DESCRIPTION", 2, 13));
    let words =
        "Unexpected character ('\"' (code 34)): was expecting a colon to separate field name and value";
    assert_eq!(found[0].message.lines().next(), Some(words));
}

#[test]
fn the_location_of_malformed_json_is_spelt_as_recorded() {
    let found = compile("not a definition", Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].location, "[Source: (String)\"not a definition\"; line: 1, column: 4]");
    assert!(found[0].message.ends_with("\n at [Source: (String)\"not a definition\"; line: 1, column: 4]"));
}

#[test]
fn bad_utf8_is_refused_at_its_byte() {
    let found = Program::compile(b"{\n \"\xff\"}", Dialect::Asl).expect_err("refused");
    assert_eq!((found[0].code, found[0].line, found[0].column), ("INVALID_JSON_DESCRIPTION", 2, 3));
    assert_eq!(found[0].message, "Invalid UTF-8 byte 0xff at offset 4");
}

#[test]
fn a_definition_may_have_a_mebibyte_and_no_byte_more() {
    let text = one_state("{\"Type\":\"Succeed\"}");
    let padded = |length: usize| text.clone() + &" ".repeat(length - text.len());
    check(&padded(DEFINITION_BYTES_MAX), &[]);
    check(
        &padded(DEFINITION_BYTES_MAX + 1),
        &[
            "1:1 error SCHEMA_VALIDATION_FAILED: The definition has 1048577 bytes; at most 1048576 are allowed \
           at null",
        ],
    );
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let found = compile(&"[".repeat(100_000), Dialect::Asl, MachineType::Standard);
    assert_eq!((found[0].code, found[0].column), ("TOO_DEEPLY_NESTED", DEPTH_MAX as u32 + 1));
    let found = compile(&"{\"a\":".repeat(100_000), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].code, "TOO_DEEPLY_NESTED");
}

#[test]
fn nested_parallels_are_compiled_to_the_limit_of_nesting() {
    let mut graph = "{\"StartAt\":\"S0\",\"States\":{\"S0\":{\"Type\":\"Succeed\"}}}".to_owned();
    for level in 1..=(DEPTH_MAX - 3) / 4 {
        graph = format!(
            "{{\"StartAt\":\"S{level}\",\"States\":{{\"S{level}\":{{\"Type\":\"Parallel\",\"End\":true,\
             \"Branches\":[{graph}]}}}}}}"
        );
    }
    check(&graph, &[]);
}

#[test]
fn required_fields_of_the_machine_are_named_together() {
    check("{}", &["1:1 error SCHEMA_VALIDATION_FAILED: These fields are required: [States, StartAt] at /"]);
    check(
        "{\"StartAt\":\"A\"}",
        &["1:1 error SCHEMA_VALIDATION_FAILED: These fields are required: [States] at /"],
    );
    check(
        "{\"StartAt\":\"A\",\"States\":{}}",
        &["1:16 error SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States"],
    );
}

#[test]
fn fields_of_the_machine_are_checked() {
    check(
        "{\"StartAt\":\"S\",\"Foo\":1,\"Version\":\"2.0\",\"TimeoutSeconds\":0,\"Comment\":3,\n\
         \"QueryLanguage\":\"SQL\",\"States\":{\"S\":{\"Type\":\"Succeed\"}}}",
        &[
            "1:16 error SCHEMA_VALIDATION_FAILED: Field 'Foo' is not supported at /",
            "1:34 error SCHEMA_VALIDATION_FAILED: The field 'Version' should have one of these values: [1.0] at \
             /Version",
            "1:57 error SCHEMA_VALIDATION_FAILED: The value must not be less than 1 at /TimeoutSeconds",
            "1:69 error SCHEMA_VALIDATION_FAILED: Expected value of type String at /Comment",
            "2:17 error SCHEMA_VALIDATION_FAILED: The field 'QueryLanguage' should have one of these values: \
             [JSONPath, JSONata] at /QueryLanguage",
        ],
    );
}

#[test]
fn transitions_lead_to_states_of_the_same_scope() {
    check(
        "{\"StartAt\":\"s\",\"States\":{\"S\":{\"Type\":\"Pass\",\"Next\":\"T\"}}}",
        &[
            "1:12 error MISSING_TRANSITION_TARGET: Missing 'Next' target: s at /StartAt",
            "1:16 error MISSING_END_STATE: Workflow has no terminal state at null",
            "1:26 error MISSING_TRANSITION_TARGET: State \"S\" is not reachable. at /States/S",
            "1:52 error MISSING_TRANSITION_TARGET: Missing 'Next' target: T at /States/S/Next",
        ],
    );
}

#[test]
fn a_branch_cannot_jump_out() {
    check(
        "{\"StartAt\":\"P\",\"States\":{\"P\":{\"Type\":\"Parallel\",\"Next\":\"Z\",\"Branches\":[\n\
         {\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Choice\",\"Choices\":[{\"Variable\":\"$.a\",\"IsPresent\":true,\n\
         \"Next\":\"Z\"}],\"Default\":\"B\"},\"B\":{\"Type\":\"Succeed\"}}}]},\"Z\":{\"Type\":\"Succeed\"}}}",
        &["3:8 error MISSING_TRANSITION_TARGET: Missing 'Next' target: Z at \
           /States/P/Branches[0]/States/A/Choices[0]/Next"],
    );
}

#[test]
fn an_unreachable_state_is_an_error_in_asl_and_a_warning_in_tcsl() {
    let text = "{\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Succeed\"},\n\"B\":{\"Type\":\"Succeed\"}}}";
    check(text, &["2:1 error MISSING_TRANSITION_TARGET: State \"B\" is not reachable. at /States/B"]);
    check_as(
        Dialect::Tcsl,
        MachineType::Standard,
        text,
        &["2:1 warning MISSING_TRANSITION_TARGET: State \"B\" is not reachable. at /States/B"],
    );
}

#[test]
fn state_names_are_bounded_and_unique_in_the_machine() {
    let named =
        |name: &str| format!("{{\"StartAt\":\"{name}\",\"States\":{{\"{name}\":{{\"Type\":\"Succeed\"}}}}}}");
    check(&named(&"\u{72b6}".repeat(80)), &[]);
    let found = compile(&named(&"x".repeat(81)), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].code, "INVALID_STATE_NAME");
    assert_eq!(found[0].message, "The state name has 81 characters; at most 80 are allowed");
    check(&named(""), &["1:25 error INVALID_STATE_NAME: The state name is empty at /States/"]);
    check(
        "{\"StartAt\":\"M\",\"States\":{\"M\":{\"Type\":\"Map\",\"End\":true,\"ItemProcessor\":{\"StartAt\":\"M\",\n\
         \"States\":{\"M\":{\"Type\":\"Succeed\"}}}}}}",
        &["2:11 error DUPLICATE_STATE_NAME: The state name 'M' appears more than once in the machine at \
           /States/M/ItemProcessor/States/M"],
    );
}

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
            "2:27 error SCHEMA_VALIDATION_FAILED: Only one of these fields may be used: [Next, End] {place}"
        )],
    );
    let missing = format!(
        "1:26 error SCHEMA_VALIDATION_FAILED: Exactly one of these fields is required: [Next, End] {place}"
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
            let message = format!("Field '{field}' is not supported");
            assert!(
                found.iter().any(|one| one.message == message && (one.line, one.column) == (3, 1)),
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
    refused("\"Type\":\"Pass\",\"End\":true", &["Output", "Arguments", "Items", "Condition", "Nonsense"]);
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
        &["2:38 error INVALID_RESOURCE: Value is not a valid resource ARN at /States/S/Resource"],
    );
    let qrn = "{\"Type\":\"Task\",\"End\":true,\"Resource\":\"qrn:qcs:asw:ap-guangzhou:1:sdk:json:qcloud:scf:Invoke/f\"}";
    check_state(
        qrn,
        &["2:38 error INVALID_RESOURCE: Value is not a valid resource ARN at /States/S/Resource"],
    );
    check_as(Dialect::Tcsl, MachineType::Standard, &one_state(qrn), &[]);
}

#[test]
fn timeouts_are_positive_and_heartbeats_shorter() {
    check_task("\"TimeoutSeconds\":2,\"HeartbeatSeconds\":1", &[]);
    check_task(
        "\"TimeoutSeconds\":2,\"HeartbeatSeconds\":2",
        &[
            "3:39 error SCHEMA_VALIDATION_FAILED: The field 'HeartbeatSeconds' must be less than 'TimeoutSeconds' \
           at /States/S/HeartbeatSeconds",
        ],
    );
    check_task(
        "\"TimeoutSeconds\":0",
        &["3:18 error SCHEMA_VALIDATION_FAILED: The value must not be less than 1 at \
           /States/S/TimeoutSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":100000000",
        &["3:18 error SCHEMA_VALIDATION_FAILED: The value must not be greater than 99999999 at \
           /States/S/TimeoutSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":1.5",
        &["3:18 error SCHEMA_VALIDATION_FAILED: Expected value of type Integer at /States/S/TimeoutSeconds"],
    );
    check_task(
        "\"TimeoutSeconds\":1,\"TimeoutSecondsPath\":\"$.t\"",
        &["3:20 error SCHEMA_VALIDATION_FAILED: Only one of these fields may be used: [TimeoutSeconds, \
           TimeoutSecondsPath] at /States/S"],
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
        "\"Retry\":[{\n\"IntervalSeconds\":0,\n\"MaxAttempts\":-1,\n\"BackoffRate\":0.9,\n\"MaxDelaySeconds\":31622401,\n\
         \"JitterStrategy\":\"PARTIAL\",\n\"Nonsense\":1}]",
        &[
            "3:10 error SCHEMA_VALIDATION_FAILED: These fields are required: [ErrorEquals] at /States/S/Retry[0]",
            "4:19 error SCHEMA_VALIDATION_FAILED: The value must not be less than 1 at \
             /States/S/Retry[0]/IntervalSeconds",
            "5:15 error SCHEMA_VALIDATION_FAILED: The value must not be less than 0 at \
             /States/S/Retry[0]/MaxAttempts",
            "6:15 error SCHEMA_VALIDATION_FAILED: The field 'BackoffRate' must be a number not less than 1.0 at \
             /States/S/Retry[0]/BackoffRate",
            "7:19 error SCHEMA_VALIDATION_FAILED: The value must not be greater than 31622400 at \
             /States/S/Retry[0]/MaxDelaySeconds",
            "8:18 error SCHEMA_VALIDATION_FAILED: The field 'JitterStrategy' should have one of these values: \
             [FULL, NONE] at /States/S/Retry[0]/JitterStrategy",
            "9:1 error SCHEMA_VALIDATION_FAILED: Field 'Nonsense' is not supported at /States/S/Retry[0]",
        ],
    );
}

#[test]
fn states_all_stands_alone_and_last() {
    check_task(
        "\"Retry\":[{\"ErrorEquals\":[\"States.ALL\",\"E\"]},\n{\"ErrorEquals\":[\"F\"]},{\"ErrorEquals\":[]}]",
        &[
            "3:11 error SCHEMA_VALIDATION_FAILED: 'States.ALL' must appear alone in 'ErrorEquals' at \
             /States/S/Retry[0]/ErrorEquals",
            "3:11 error SCHEMA_VALIDATION_FAILED: 'States.ALL' may appear only in the last entry at \
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
            "1:26 error SCHEMA_VALIDATION_FAILED: Exactly one of these fields is required: [Seconds, SecondsPath, \
           Timestamp, TimestampPath] at /States/S",
        ],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Seconds\":1,\"SecondsPath\":\"$.s\"}",
        &[
            "2:39 error SCHEMA_VALIDATION_FAILED: Only one of these fields may be used: [Seconds, SecondsPath, \
           Timestamp, TimestampPath] at /States/S",
        ],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Seconds\":-1}",
        &["2:37 error SCHEMA_VALIDATION_FAILED: The value must not be less than 0 at /States/S/Seconds"],
    );
    check_state(
        "{\"Type\":\"Wait\",\"End\":true,\"Timestamp\":\"tomorrow\"}",
        &["2:39 error SCHEMA_VALIDATION_FAILED: Value must be a valid RFC 3339 timestamp such as \
           2016-03-14T01:59:00Z at /States/S/Timestamp"],
    );
}

#[test]
fn a_fail_takes_texts_or_paths_but_not_both() {
    check_state("{\"Type\":\"Fail\",\"Error\":\"E\",\"CausePath\":\"$.c\"}", &[]);
    check_state(
        "{\"Type\":\"Fail\",\"Cause\":\"C\",\"CausePath\":\"$.c\"}",
        &[
            "2:28 error SCHEMA_VALIDATION_FAILED: Only one of these fields may be used: [Cause, CausePath] at \
           /States/S",
        ],
    );
    check_state(
        "{\"Type\":\"Fail\",\"Cause\":\"$.c\"}",
        &["2:24 warning NO_PATH: The value looks like a path; to evaluate it name the field 'CausePath' at \
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
            "4:7 error SCHEMA_VALIDATION_FAILED: The value for the field 'b.$' must be a valid JSONPath or a valid \
             intrinsic function call at /States/S/Parameters",
            "5:7 error SCHEMA_VALIDATION_FAILED: The value for the field 'c.$' must be a valid JSONPath or a valid \
             intrinsic function call at /States/S/Parameters",
        ],
    );
    for path in ["$.a[*]", "$..a", "$.a[?(@.b)]", "$$.Execution", "$.a[0,1]", "$.a[1:2]", "a"] {
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
        &[
            "2:37 warning PASS_RESULT_IS_STATIC: A Pass state's 'Result' is static; use 'Parameters' to evaluate \
           paths at /States/S/Result/a.$",
        ],
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
            "{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":\"Choice\",\"Choices\":[\n{rule}]}},\"T\":{{\"Type\":\
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
        &[
            "1:26 error SCHEMA_VALIDATION_FAILED: Exactly one of these fields is required: [ItemProcessor, Iterator] \
           at /States/S",
        ],
    );
}

/// A Map with a processor and these fields on line 3.
fn map(fields: &str) -> String {
    one_state(&format!(
        "{{\"Type\":\"Map\",\"End\":true,\"ItemProcessor\":{{\"StartAt\":\"I\",\"States\":{{\"I\":{{\"Type\":\"Succeed\"}}}}}}\
         \n{fields}}}"
    ))
}

#[test]
fn a_map_has_one_selector_one_concurrency_and_sane_tolerances() {
    check(&map(",\"ItemSelector\":{\"a.$\":\"$$.Map.Item.Value\"},\"MaxConcurrency\":0"), &[]);
    check(
        &map(",\"ItemSelector\":{},\"Parameters\":{}"),
        &[
            "3:20 error SCHEMA_VALIDATION_FAILED: Only one of these fields may be used: [ItemSelector, Parameters] at \
           /States/S",
        ],
    );
    check(
        &map(",\"MaxConcurrency\":1,\"MaxConcurrencyPath\":\"$.n\""),
        &["3:21 error SCHEMA_VALIDATION_FAILED: Only one of these fields may be used: [MaxConcurrency, \
           MaxConcurrencyPath] at /States/S"],
    );
    let found = compile(&map(",\"ToleratedFailurePercentage\":101"), Dialect::Asl, MachineType::Standard);
    assert_eq!(found[0].message, "The value must be a number from 0 to 100");
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
fn features_of_a_later_version_are_named_once_each() {
    check(
        "{\"StartAt\":\"A\",\"States\":{\n\
         \"A\":{\"Type\":\"Pass\",\"Assign\":{\"x\":1},\"Next\":\"B\"},\n\
         \"B\":{\"Type\":\"Pass\",\"Assign\":{\"y\":1},\"Next\":\"C\"},\n\
         \"C\":{\"Type\":\"Pass\",\"QueryLanguage\":\"JSONata\",\"Output\":\"{% 1 %}\",\"Next\":\"D\"},\n\
         \"D\":{\"Type\":\"Pass\",\"Parameters\":{\"a.$\":\"States.UUID()\",\"b.$\":\"States.UUID()\"},\"End\":true}}}",
        &[
            "2:20 error UNSUPPORTED_FEATURE: Not supported by this version of the executor: variables (Assign) \
             at /States/A/Assign",
            "4:36 error UNSUPPORTED_FEATURE: Not supported by this version of the executor: JSONata at \
             /States/C/QueryLanguage",
            "5:40 error UNSUPPORTED_FEATURE: Not supported by this version of the executor: intrinsic functions \
             at /States/D/Parameters",
        ],
    );
}

#[test]
fn an_express_machine_does_not_wait_for_others() {
    let check_express = |resource: &str, message: &str| {
        let state = format!("{{\"Type\":\"Task\",\"End\":true,\"Resource\":\"{resource}\"}}");
        let line = format!("2:38 error SCHEMA_VALIDATION_FAILED: {message} at /States/S/Resource");
        check_as(Dialect::Asl, MachineType::Express, &one_state(&state), &[line.as_str()]);
        check_state(&state, &[]);
    };
    check_express(
        "arn:aws:states:::states:startExecution.sync",
        "Express state machine does not support '.sync' service integration",
    );
    check_express(
        "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Express state machine does not support '.waitForTaskToken' service integration ",
    );
}

#[test]
fn a_jsonpath_state_cannot_stand_in_a_jsonata_machine() {
    let found = compile(
        "{\"QueryLanguage\":\"JSONata\",\"StartAt\":\"S\",\"States\":{\"S\":{\"Type\":\"Succeed\",\
         \"QueryLanguage\":\"JSONPath\"}}}",
        Dialect::Asl,
        MachineType::Standard,
    );
    let message = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine";
    assert!(found.iter().any(|one| one.message == message && one.location == "/States/S"), "{found:?}");
}

#[test]
fn tcsl_tolerates_the_spelling_of_types_and_runs_maps_one_by_one() {
    let text = one_state(
        "{\"Type\":\"map\",\"End\":true,\"Iterator\":{\"StartAt\":\"I\",\"States\":{\"I\":{\"Type\":\"Pass\",\
         \"ResultSelector\":{\"a.$\":\"$.b\"},\"End\":true}}}}",
    );
    let compiled = Program::compile(text.as_bytes(), Dialect::Tcsl).expect("accepted");
    assert_eq!(
        lines(&compiled.warnings),
        ["2:9 warning TYPE_SPELLING: The field 'Type' is spelt 'map'; it is read as 'Map' at /States/S/Type"]
    );
    let Kind::Map(state) = &compiled.program.root.states[0].kind else { panic!("a Map") };
    assert!(matches!(state.max_concurrency, Dynamic::Constant(1)));
    assert!(state.processor.states[0].flow.result_selector.is_some());
}

#[test]
fn start_at_is_exact_in_tcsl_too() {
    check_as(
        Dialect::Tcsl,
        MachineType::Standard,
        "{\"StartAt\":\"sum\",\"States\":{\"Sum\":{\"Type\":\"Succeed\"}}}",
        &[
            "1:12 error MISSING_TRANSITION_TARGET: Missing 'Next' target: sum at /StartAt",
            "1:28 warning MISSING_TRANSITION_TARGET: State \"Sum\" is not reachable. at /States/Sum",
        ],
    );
}

#[test]
fn diagnostics_are_drawn_under_their_source() {
    let text = "{\n  \"StartAt\": \"\u{5f00}\u{59cb}\",\n  \"States\": {\n    \"\u{5f00}\u{59cb}\": {\"Type\": \"Pass\", \"Next\": \"\u{7ed3}\u{675f}\"},\n    \
                \"Z\": {\"Type\": \"Succeed\"}\n  }\n}\n";
    let found = compile(text, Dialect::Tcsl, MachineType::Standard);
    let drawn = render(text.as_bytes(), &found, "flow.json", Style::Plain);
    let expected = "\
error[MISSING_TRANSITION_TARGET]: Missing 'Next' target: \u{7ed3}\u{675f}
 --> flow.json:4:36
  |
4 |     \"\u{5f00}\u{59cb}\": {\"Type\": \"Pass\", \"Next\": \"\u{7ed3}\u{675f}\"},
  |                                      ^^^^^^ /States/\u{5f00}\u{59cb}/Next

warning[MISSING_TRANSITION_TARGET]: State \"Z\" is not reachable.
 --> flow.json:5:5
  |
5 |     \"Z\": {\"Type\": \"Succeed\"}
  |     ^^^ /States/Z

1 error, 1 warning
";
    assert_eq!(drawn, expected);
    let colour = render(text.as_bytes(), &found, "flow.json", Style::Colour);
    assert!(colour.contains("\u{1b}[1;31m^^^^^^\u{1b}[0m"));
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let text = format!("{{\"Comment\":\"{}\",\"StartAt\":\"S\",\"States\":{{}}}}", "x".repeat(5_000));
    let found = compile(&text, Dialect::Asl, MachineType::Standard);
    let drawn = render(text.as_bytes(), &found, "f", Style::Plain);
    assert!(drawn.lines().all(|line| line.chars().count() < 150), "{drawn}");
    let source = drawn.lines().nth(3).expect("a source line");
    let carets = drawn.lines().nth(4).expect("a caret line");
    let under: String =
        source.chars().skip(carets.find('^').expect("carets")).take("\"States\"".len()).collect();
    assert_eq!(under, "\"States\"");
}

#[test]
fn nothing_of_a_definition_reaches_the_terminal_as_a_control_character() {
    let text = "{\"StartAt\":\"\u{9b}31m\",\"States\":{\"\\u001b[31m\":{\"Type\":\"Succeed\"}}}";
    let found = compile(text, Dialect::Asl, MachineType::Standard);
    let drawn = render(text.as_bytes(), &found, "a\u{1b}b", Style::Plain);
    assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
}
