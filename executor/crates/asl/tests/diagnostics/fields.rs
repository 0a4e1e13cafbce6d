//! Fields that do not belong where they stand: what is said of them, and what is not.

use asl::Dialect;
use asl::definition::MachineType;

use crate::check::{check, check_state, compile, one_state};

#[test]
fn of_a_field_that_does_not_belong_there_nothing_more_is_said() {
    let refused = |field: &str| {
        format!("2:16 error SCHEMA_VALIDATION_FAILED: Field '{field}' is not supported at /States/S")
    };
    check_state("{\"Type\":\"Fail\",\"Retry\":[{\"MaxAttempts\":\"x\"}]}", &[&refused("Retry")]);
    check_state(
        "{\"Type\":\"Wait\",\"Parameters\":{\"a.$\":\"b\",\"c\":\"$.c\"},\"Seconds\":1,\"End\":true}",
        &[&refused("Parameters")],
    );
    // A field inside of it that is refused too does not let the rest be told.
    check_state(
        "{\"Type\":\"Fail\",\"Catch\":[{\"Foo\":1,\"ErrorEquals\":[],\"Next\":5}]}",
        &[&refused("Catch")],
    );
    let found = compile(
        &one_state("{\"Type\":\"Succeed\",\"Catch\":[{\"Output\":1,\"ErrorEquals\":[],\"Next\":5}]}"),
        Dialect::Tcsl,
        MachineType::Standard,
    );
    assert!(found.iter().all(|one| one.message.starts_with("Field ")), "{found:?}");
    check_state(
        "{\"Type\":\"Pass\",\"QueryLanguage\":\"JSONata\",\"InputPath\":\"x\",\"End\":true}",
        &[
            "2:42 error SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONata', but field 'InputPath' is only \
           supported for the 'JSONPath' QueryLanguage at /States/S",
        ],
    );
}

#[test]
fn a_rule_has_no_other_fields_than_its_operator_and_the_nearest_name_is_told() {
    let rule = |rule: &str| {
        let text = format!(
            "{{\"Type\":\"Choice\",\"Choices\":[{{\"Variable\":\"$.a\",\"Next\":\"S\",{rule}}}],\"Default\":\"S\"}}"
        );
        let found = compile(&one_state(&text), Dialect::Asl, MachineType::Standard);
        let found = found.into_iter().find(|one| one.message.starts_with("Field ")).expect("a refused field");
        (found.message, found.note, found.location)
    };
    let told = |name: &str, note: &str, place: &str| {
        (format!("Field '{name}' is not supported"), note.to_owned(), format!("/States/S/Choices[0]{place}"))
    };
    assert_eq!(rule("\"StringEqual\":\"x\""), told("StringEqual", "Did you mean 'StringEquals'?", ""));
    assert_eq!(rule("\"isNull\":true"), told("isNull", "Did you mean 'IsNull'?", ""));
    assert_eq!(
        rule("\"IsNull\":true,\"End\":true"),
        told("End", "A rule leads on by 'Next'; to end there, lead to a Succeed state", "")
    );
    assert_eq!(
        rule("\"And\":[{\"StringMatchesPath\":\"$\"}]").0,
        "Field 'StringMatchesPath' is not supported"
    );
    assert_eq!(rule("\"Not\":{\"IsNul\":true}"), told("IsNul", "Did you mean 'IsNull'?", "/Not"));
}

#[test]
fn a_wrong_query_language_is_taken_for_jsonata() {
    let machine = |field: &str| {
        format!(
            "{{\"QueryLanguage\":\"jsonata\",\"StartAt\":\"S\",\n\"States\":{{\"S\":{{\"Type\":\"Pass\",\"End\":true,{field}}}}}}}"
        )
    };
    let wrong = "1:18 error SCHEMA_VALIDATION_FAILED: Value should be one of the following: [JSONPath, JSONata] at \
                 /QueryLanguage";
    check(&machine("\"Output\":\"{% 1 %}\""), &[wrong]);
    let found = compile(&machine("\"Parameters\":{}"), Dialect::Asl, MachineType::Standard);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_text_where_a_number_stands_tells_how_it_is_read_from_the_data() {
    let note = |state: &str| {
        let found = compile(&one_state(state), Dialect::Asl, MachineType::Standard);
        found.into_iter().map(|one| (one.message, one.note)).next().expect("a problem")
    };
    let integer = |note: &str| ("Expected value of type Integer".to_owned(), note.to_owned());
    let path = |field: &str| format!("To read it from the data, name the field '{field}Path'");
    assert_eq!(note(r#"{"Type":"Wait","Seconds":"$.s","End":true}"#), integer(&path("Seconds")));
    assert_eq!(note(r#"{"Type":"Wait","Seconds":"10","End":true}"#), integer(""));
    assert_eq!(
        note(r#"{"Type":"Wait","QueryLanguage":"JSONata","Seconds":"$s","End":true}"#),
        integer("An expression stands between '{%' and '%}'")
    );
    assert_eq!(
        note(r#"{"Type":"Wait","Timestamp":"$.at","End":true}"#),
        ("String does not match RFC3339 timestamp".to_owned(), path("Timestamp"))
    );
    let map = |field: &str| {
        format!(
            r#"{{"Type":"Map","ItemProcessor":{{"StartAt":"I","States":{{"I":{{"Type":"Succeed"}}}}}},{field},"End":true}}"#
        )
    };
    assert_eq!(note(&map(r#""MaxConcurrency":"$.n""#)), integer(&path("MaxConcurrency")));
    assert_eq!(note(&map(r#""ToleratedFailureCount":"$.n""#)), integer(&path("ToleratedFailureCount")));
}

#[test]
fn a_call_in_the_cause_of_a_fail_state_is_remarked_upon() {
    check_state(
        "{\"Type\":\"Fail\",\"Cause\":\"States.Format('{}', $.a)\"}",
        &["2:24 warning NO_PATH: The value looks evaluated; to evaluate it name the field 'CausePath' at \
           /States/S/Cause"],
    );
}
