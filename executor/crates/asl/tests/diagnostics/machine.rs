//! The machine as a whole: fields, transitions, names, dialects, types.

use asl::definition::{FINDINGS_MAX, MachineType, in_aws_order, invalid_definition};
use asl::program::{DataFlow, Dynamic, Kind};
use asl::{Diagnostic, Dialect, Program, Severity};

use crate::check::{check, check_as, check_state, compile, lines, one_state};

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
            "1:34 error SCHEMA_VALIDATION_FAILED: Value should be one of the following: [1.0] at \
             /Version",
            "1:57 error SCHEMA_VALIDATION_FAILED: Minimum value is 1 at /TimeoutSeconds",
            "1:69 error SCHEMA_VALIDATION_FAILED: Expected value of type String at /Comment",
            "2:17 error SCHEMA_VALIDATION_FAILED: Value should be one of the following: [JSONPath, JSONata] at /QueryLanguage",
        ],
    );
}

#[test]
fn transitions_lead_to_states_of_the_same_scope() {
    check(
        "{\"StartAt\":\"s\",\"States\":{\"S\":{\"Type\":\"Pass\",\"Next\":\"T\"},\
         \"E\":{\"Type\":\"Succeed\"}}}",
        &[
            "1:12 error MISSING_TRANSITION_TARGET: Missing 'Next' target: s at /StartAt",
            "1:26 error MISSING_TRANSITION_TARGET: State \"S\" is not reachable. at /States/S",
            "1:52 error MISSING_TRANSITION_TARGET: Missing 'Next' target: T at /States/S/Next",
            "1:57 error MISSING_TRANSITION_TARGET: State \"E\" is not reachable. at /States/E",
        ],
    );
}

#[test]
fn a_branch_cannot_jump_out() {
    check(
        "{\"StartAt\":\"P\",\"States\":{\"P\":{\"Type\":\"Parallel\",\"Next\":\"Z\",\"Branches\":[\n\
         {\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Choice\",\"Choices\":[{\"Variable\":\"$.a\",\
         \"IsPresent\":true,\n\
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
    assert_eq!(found[0].message, "The state name exceeds the 80-character limit allowed by the service");
    check(&named(""), &["1:25 error INVALID_STATE_NAME: The state name is empty at /States/"]);
    check(
        "{\"StartAt\":\"M\",\"States\":{\"M\":{\"Type\":\"Map\",\"End\":true,\
        \"ItemProcessor\":{\"StartAt\":\"M\",\n\
         \"States\":{\"M\":{\"Type\":\"Succeed\"}}}}}}",
        &["2:11 error DUPLICATE_STATE_NAME: Duplicate State name: M at \
           /States/M/ItemProcessor/States/M"],
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
    let DataFlow::JsonPath(flow) = &state.processor.states[0].flow else { panic!("JSONPath") };
    assert!(flow.result_selector.is_some());
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
fn a_misspelt_name_has_the_nearest_one_as_a_note() {
    let found = compile(
        "{\"StartAt\":\"Start\",\"States\":{\"Start\":{\"Type\":\"Pass\",\"Next\":\"Finsh\",\
        \"ResultPaht\":null},\
         \"Finish\":{\"Type\":\"Succeed\"}},\"Coment\":\"\"}",
        Dialect::Tcsl,
        MachineType::Standard,
    );
    let notes: Vec<&str> = found.iter().map(|one| one.note.as_str()).collect();
    assert_eq!(
        notes,
        ["Did you mean 'Finish'?", "Did you mean 'ResultPath'?", "", "Did you mean 'Comment'?"]
    );
}

#[test]
fn in_the_order_of_aws_a_machine_without_an_end_is_told_last() {
    let text = r#"{"StartAt":"S","States":{"S":{"Type":"Pass","Next":"T"}}}"#;
    let found = compile(text, Dialect::Asl, MachineType::Standard);
    let codes = |found: &mut dyn Iterator<Item = &Diagnostic>| found.map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(codes(&mut found.iter()), ["MISSING_END_STATE", "MISSING_TRANSITION_TARGET"]);
    assert_eq!(codes(&mut in_aws_order(&found)), ["MISSING_TRANSITION_TARGET", "MISSING_END_STATE"]);
    assert_eq!(
        invalid_definition(&found),
        "Invalid State Machine Definition: 'MISSING_TRANSITION_TARGET: Missing 'Next' target: T at /States/S/Next, \
         MISSING_END_STATE: Workflow has no terminal state at null'"
    );
}

#[test]
fn an_error_takes_the_place_of_a_remark_where_there_are_too_many_to_list() {
    let remarks: String = (0..FINDINGS_MAX).map(|at| format!(r#""p{at}":"$.p","#)).collect();
    let text = format!(
        r#"{{"StartAt":"S","States":{{"S":{{"Type":"Pass","Parameters":{{{remarks}"e.$":"x"}},"OutputPath":"x","End":true}}}}}}"#
    );
    let found = compile(&text, Dialect::Asl, MachineType::Standard);
    let errors: Vec<_> =
        found.iter().filter(|one| one.severity == Severity::Error).map(|one| &one.message).collect();
    assert_eq!(found.len(), FINDINGS_MAX + 1);
    assert!(errors.iter().any(|message| message.starts_with("Value must be a valid JSONPath")), "{errors:?}");
    assert!(errors.iter().any(|message| message.contains("'e.$'")), "{errors:?}");
    assert!(errors.iter().any(|message| message.starts_with("2 more problems")), "{errors:?}");
}
