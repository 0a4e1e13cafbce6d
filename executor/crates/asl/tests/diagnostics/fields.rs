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
