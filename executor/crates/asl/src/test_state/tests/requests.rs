//! What is refused, in which words, and the context object.

use super::*;

#[test]
fn states_with_work_need_a_mock_and_the_others_take_none() {
    let parallel = r#"{"Type": "Parallel", "End": true,
        "Branches": [{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}]}"#;
    assert_eq!(refused(&request(TASK, "{}")), "RoleArn must be specified when testing a Task state");
    assert!(refused(&request(parallel, "{}")).contains("'Parallel' is only supported when a mock"));
    for kind in
        [r#""Pass", "End": true"#, r#""Succeed""#, r#""Fail""#, r#""Wait", "Seconds": 1, "End": true"#]
    {
        let definition = format!(r#"{{"Type": {kind}}}"#);
        let message = refused(&TestState { mock: gives("{}"), ..request(&definition, "{}") });
        assert!(message.ends_with("is not supported when a mock is specified"), "{message}");
    }
}

#[test]
fn a_mock_says_one_thing_and_hides_no_secrets() {
    let both = Mock { error_output: fails("E").unwrap().error_output, ..gives("{}").unwrap() };
    for mock in [both, Mock::default()] {
        let message = refused(&TestState { mock: Some(mock), ..request(TASK, "{}") });
        assert!(message.contains("only one of"), "{message}");
    }
    let message = refused(&TestState { mock: gives("{}"), reveal_secrets: true, ..request(TASK, "{}") });
    assert!(message.contains("RevealSecrets"), "{message}");
    let message = refused(&TestState { mock: gives("{"), ..request(TASK, "{}") });
    assert!(message.contains("valid JSON"), "{message}");
    let nameless = Mock { error_output: Some(ErrorOutput::default()), ..Mock::default() };
    let message = refused(&TestState { mock: Some(nameless), ..request(TASK, "{}") });
    assert!(message.contains("must have an error"), "{message}");
}

#[test]
fn a_mocked_result_has_a_bound_in_characters() {
    let long = |characters: usize| gives(&format!("\"{}\"", "\u{5b57}".repeat(characters - 2)));
    let definition =
        r#"{"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:f", "End": true}"#;
    let tested = |mock| test(&TestState { mock, ..request(definition, "{}") });
    // Then the bound of all data, in bytes, is passed.
    assert_eq!(tested(long(262_144)).unwrap().error.as_deref(), Some("States.DataLimitExceeded"));
    let message = tested(long(262_145)).unwrap_err().message;
    assert!(message.contains("at most 262144 characters"), "{message}");
}

#[test]
fn a_mocked_result_conforms_to_its_service_as_closely_as_wanted() {
    let with = |result: &str, validation| {
        let mock = Mock { validation, ..gives(result).unwrap() };
        let definition =
            r#"{"Type": "Task", "Resource": "arn:aws:states:::states:startExecution", "End": true}"#;
        test(&TestState { mock: Some(mock), ..request(definition, "{}") })
            .map_err(|rejection| rejection.message)
    };
    assert!(with("{}", FieldValidation::Strict).unwrap_err().contains("'ExecutionArn' is missing"));
    assert!(with("{}", FieldValidation::Present).is_ok());
    assert!(with(r#"{"StartDate": 1}"#, FieldValidation::Present).unwrap_err().contains("must be a string"));
    assert!(with(r#"{"StartDate": 1}"#, FieldValidation::None).is_ok());
    assert!(with("[]", FieldValidation::Present).unwrap_err().contains("JSON object"));
}

#[test]
fn a_state_alone_may_lead_anywhere_and_its_problems_have_a_place() {
    let tested = test(&request(r#"{"Type": "Pass", "Next": "Somewhere"}"#, "1")).unwrap();
    assert_eq!(tested.next_state.as_deref(), Some("Somewhere"));
    let rejection = test(&request(r#"{"Type": "Parallel", "Branches": [], "End": true}"#, "1"));
    let rejection = rejection.unwrap_err();
    assert_eq!(rejection.code, "InvalidDefinition");
    assert!(rejection.message.contains("at /States/StateName/Branches"), "{rejection}");
    assert_eq!(rejection.diagnostics.len(), 1);
    for text in ["", "[]", "{", r#"{"Type": 1}"#] {
        assert_eq!(test(&request(text, "1")).unwrap_err().code, "InvalidDefinition", "{text}");
    }
}

const CONTEXT: &str = r#"{"Type": "Task", "QueryLanguage": "JSONata", "Output": "{% $states.context %}", "End": true,
    "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
    "Arguments": {"t": "{% $states.context.Task.Token %}"}}"#;

#[test]
fn a_context_is_made_where_none_is_given() {
    let tested = test(&TestState { mock: gives("{}"), ..request(CONTEXT, "1") }).unwrap();
    let context = tested.output.as_ref().unwrap().value();
    let at = |pointer: &str| context.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    assert_eq!(at("/Execution/Id"), "arn:aws:states:local:000000000000:express:machine:test");
    assert_eq!(at("/State/Name"), "StateName");
    assert_eq!(context.pointer("/Execution/RedriveCount"), None);
    assert!(
        told(&tested, "afterArguments")
            .get("t")
            .and_then(Value::as_str)
            .is_some_and(|token| !token.is_empty())
    );
}

#[test]
fn a_given_context_stands_for_itself() {
    let given = json(r#"{"Task": {"Token": "abc"}, "State": {"RetryCount": 4}}"#);
    let request = TestState { mock: gives("{}"), context: Some(given.clone()), ..request(CONTEXT, "1") };
    let tested = test(&request).unwrap();
    assert_eq!(tested.output.as_ref().map(Payload::value), Some(&given));
    for (context, message) in [
        (r#"{"Pokedex": {}}"#, "Field 'Pokedex' is not allowed"),
        (r#"{"Execution": {"x": 1}}"#, "Field 'x' is not allowed"),
        (r#"{"Execution": {"Id": 1}}"#, "Execution.Id must be a string"),
        (r#"{"State": {"RetryCount": "1"}}"#, "State.RetryCount must be a number"),
        (r#"{"State": 1}"#, "State must be an object"),
        (r#"{"Map": {}}"#, "'Map' field is not supported"),
        ("1", "must be a JSON object"),
    ] {
        let message_given = refused(&TestState { context: Some(json(context)), ..request.clone() });
        assert!(message_given.starts_with("Invalid Context object provided: "), "{message_given}");
        assert!(message_given.contains(message), "{message_given}");
    }
    let pass = r#"{"Type": "Pass", "End": true}"#;
    let message = refused(&TestState { mock: None, definition: pass.as_bytes(), ..request });
    assert!(message.contains("only be specified when a mock"), "{message}");
}
