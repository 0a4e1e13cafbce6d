//! What inputs are taken, and what is said of those that are not.

use serde_json::json;

use super::*;

fn sfn(operation: &str, input: &str) -> Result<Value, Fault> {
    read(Api::Sfn, Api::Sfn.operation(operation).expect("an operation"), input.as_bytes())
}

fn asw(action: &str, input: &str) -> Result<Value, Fault> {
    read(Api::Asw, Api::Asw.operation(action).expect("an action"), input.as_bytes())
}

fn said(result: Result<Value, Fault>) -> (Kind, String) {
    let fault = result.expect_err("it is refused");
    (fault.kind(), fault.message().to_owned())
}

#[test]
fn an_input_keeps_what_its_operation_knows_and_loses_nulls() {
    let input =
        sfn("StartExecution", r#"{"stateMachineArn":"a","name":null,"later":{"x":[1]},"input":"{}"}"#);
    assert_eq!(input.expect("it is right"), json!({"stateMachineArn": "a", "input": "{}"}));
    let nested =
        sfn("UpdateStateMachine", r#"{"stateMachineArn":"a","tracingConfiguration":{"enabled":null,"x":1}}"#);
    assert_eq!(nested.expect("it is right"), json!({"stateMachineArn": "a", "tracingConfiguration": {}}));
    assert_eq!(sfn("ListStateMachines", "{}").expect("nothing is required"), json!({}));
    assert_eq!(asw("DescribeFlowServices", r#"{"Offset":null}"#).expect("it is right"), json!({}));
}

#[test]
fn step_functions_tells_every_problem_in_awss_words() {
    for (operation, input, expected) in [
        (
            "StartExecution",
            "{}",
            "1 validation error detected: Value null at 'stateMachineArn' failed to satisfy constraint: Member must \
             not be null",
        ),
        (
            "StartExecution",
            r#"{"stateMachineArn":"","name":""}"#,
            "2 validation errors detected: Value '' at 'stateMachineArn' failed to satisfy constraint: Member must have \
             length greater than or equal to 1; Value '' at 'name' failed to satisfy constraint: Member must have length \
             greater than or equal to 1",
        ),
        (
            "ListExecutions",
            r#"{"maxResults":1001,"statusFilter":"GONE"}"#,
            "2 validation errors detected: Value 'GONE' at 'statusFilter' failed to satisfy constraint: Member must \
             satisfy enum value set: [RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED, PENDING_REDRIVE]; Value '1001' at \
             'maxResults' failed to satisfy constraint: Member must have value less than or equal to 1000",
        ),
        (
            "TagResource",
            r#"{"resourceArn":"a","tags":[{"key":"k"},{"key":""}]}"#,
            "1 validation error detected: Value '' at 'tags.2.member.key' failed to satisfy constraint: Member must have \
             length greater than or equal to 1",
        ),
        (
            "UpdateMapRun",
            r#"{"mapRunArn":"a","toleratedFailurePercentage":-0.5}"#,
            "1 validation error detected: Value '-0.5' at 'toleratedFailurePercentage' failed to satisfy constraint: \
             Member must have value greater than or equal to 0",
        ),
        (
            "RedriveExecution",
            r#"{"executionArn":"a","clientToken":"a b"}"#,
            "1 validation error detected: Value 'a b' at 'clientToken' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: [!-~]+",
        ),
    ] {
        assert_eq!(said(sfn(operation, input)), (Kind::Validation, expected.to_owned()), "{input}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_not_beyond_it() {
    let name = |length| format!(r#"{{"stateMachineArn":"a","name":"{}"}}"#, "é".repeat(length));
    sfn("StartExecution", &name(80)).expect("80 characters are right");
    let (kind, message) = said(sfn("StartExecution", &name(81)));
    assert!(kind == Kind::Validation && message.contains("less than or equal to 80"), "{message}");
    let routes = |count: usize| {
        let route = r#"{"stateMachineVersionArn":"v","weight":50}"#;
        format!(r#"{{"name":"live","routingConfiguration":[{}]}}"#, vec![route; count].join(","))
    };
    sfn("CreateStateMachineAlias", &routes(1)).expect("one is right");
    sfn("CreateStateMachineAlias", &routes(2)).expect("two are right");
    for wrong in [0, 3] {
        assert_eq!(said(sfn("CreateStateMachineAlias", &routes(wrong))).0, Kind::Validation, "{wrong}");
    }
    let (_, message) = said(sfn("UpdateMapRun", r#"{"mapRunArn":"a","maxConcurrency":-1}"#));
    assert!(message.contains("greater than or equal to 0"), "{message}");
}

#[test]
fn another_type_is_told_by_where_it_is() {
    for (input, expected) in [
        (r#"{"stateMachineArn":7}"#, "'stateMachineArn' is a number, and must be a text"),
        (r#"{"stateMachineArn":["a"]}"#, "'stateMachineArn' is a list, and must be a text"),
        (r#"{"stateMachineArn":"a","maxResults":"7"}"#, "'maxResults' is a text, and must be a number"),
        (
            r#"{"stateMachineArn":"a","maxResults":1.5}"#,
            "'maxResults' is a number, and must be a whole number",
        ),
    ] {
        assert_eq!(said(sfn("ListExecutions", input)), (Kind::Serialization, expected.to_owned()), "{input}");
    }
    let (kind, message) =
        said(sfn("UpdateStateMachine", r#"{"stateMachineArn":"a","loggingConfiguration":true}"#));
    assert_eq!(
        (kind, message.as_str()),
        (Kind::Serialization, "'loggingConfiguration' is a boolean, and must be an object")
    );
    let (kind, message) = said(sfn("TagResource", r#"{"resourceArn":"a","tags":[null]}"#));
    assert_eq!(
        (kind, message.as_str()),
        (Kind::Serialization, "'tags.1.member' is null, and must be an object")
    );
    let (kind, _) =
        said(sfn("CreateStateMachine", r#"{"name":"a","definition":"d","roleArn":"r","publish":1}"#));
    assert_eq!(kind, Kind::Serialization);
}

#[test]
fn what_is_no_json_object_is_refused_with_where() {
    for (input, expected) in [
        ("", "the body is empty"),
        ("{", "line 1 column 1"),
        ("[]", "expected an object"),
        ("null", "expected an object"),
        (r#""{}""#, "expected an object"),
        ("{} {}", "trailing characters"),
        (r#"{"a":1e999}"#, "number out of range"),
        (r#"{"stateMachineArn":"\ud800"}"#, "line 1 column"),
        (r#"{"stateMachineArn":"a","stateMachineArn":"b"}"#, "a member is there twice"),
        ("{\"name\":\"a\nb\"}", "control character"),
    ] {
        let (kind, message) = said(sfn("StartExecution", input));
        assert!(kind == Kind::Serialization && message.contains(expected), "{input}: {message}");
    }
    let operation = Api::Sfn.operation("StartExecution").expect("an operation");
    let fault = read(Api::Sfn, operation, b"{\"name\":\"a\xff\"}").expect_err("it is no UTF-8");
    assert!(fault.message().contains("not in UTF-8 from byte 10 on"), "{fault}");
}

#[test]
fn depth_is_bounded_also_in_members_that_nobody_knows() {
    let deep =
        |depth: usize| format!(r#"{{"stateMachineArn":"a","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    sfn("StartExecution", &deep(100)).expect("it is not that deep");
    let (kind, message) = said(sfn("StartExecution", &deep(500_000)));
    assert!(kind == Kind::Serialization && message.contains("recursion limit"), "{message}");
}

#[test]
fn as_many_problems_are_told_as_fit_into_an_answer() {
    let tags = vec![r#"{"key":""}"#; 50_000].join(",");
    let (_, message) = said(sfn("TagResource", &format!(r#"{{"resourceArn":"a","tags":[{tags}]}}"#)));
    assert!(message.starts_with("16 validation errors detected: "), "{}", &message[..64]);
    assert!(message.len() < 4_096, "{}", message.len());
    let (_, message) =
        said(sfn("StartExecution", &format!(r#"{{"stateMachineArn":"{}"}}"#, "é".repeat(100_000))));
    assert!(message.len() < 1_024, "{}", message.len());
}

#[test]
fn what_is_sensitive_is_not_shown() {
    let long = "secret".repeat(60_000);
    for (operation, input) in [
        ("StartExecution", format!(r#"{{"stateMachineArn":"a","input":"{long}"}}"#)),
        ("SendTaskHeartbeat", format!(r#"{{"taskToken":"{long}"}}"#)),
        ("StopExecution", format!(r#"{{"executionArn":"a","cause":"{long}"}}"#)),
    ] {
        let (kind, message) = said(sfn(operation, &input));
        assert!(kind == Kind::Validation && !message.contains("secret"), "{message}");
        assert!(message.contains("failed to satisfy constraint: Member must have length"), "{message}");
    }
    let (_, message) = said(asw(
        "StartExecution",
        &format!(r#"{{"StateMachineResourceName":"a","Input":"{}"}}"#, "secret".repeat(100_000)),
    ));
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn asw_tells_the_first_problem_by_a_code_of_its_own() {
    for (action, input, kind, expected) in [
        ("StopExecution", "{}", Kind::MissingParameter, "Parameter `ExecutionQrn`: it is missing"),
        (
            "StopExecution",
            r#"{"ExecutionQrn":"q","ExecutionArn":"q"}"#,
            Kind::UnknownParameter,
            "Parameter `ExecutionArn`: there is no such member here; there are ExecutionQrn",
        ),
        ("StopExecution", r#"{"ExecutionQrn":""}"#, Kind::Validation, "length greater than or equal to 1"),
        ("StopExecution", r#"{"ExecutionQrn":5}"#, Kind::Serialization, "must be a text"),
        ("DescribeFlowServices", r#"{"Limit":101}"#, Kind::Validation, "`Limit` is '101'"),
        (
            "DescribeFlowServices",
            r#"{"Filters":[{"Name":"Creator","Values":["x"]}]}"#,
            Kind::Validation,
            "`Filters.0.Name` is 'Creator'",
        ),
        (
            "DescribeFlowServices",
            r#"{"Filters":[{"Name":"Type","Values":["1","2","3","4","5","6"]}]}"#,
            Kind::Validation,
            "less than or equal to 5",
        ),
    ] {
        let (found, message) = said(asw(action, input));
        assert!(found == kind && message.contains(expected), "{input}: {found:?} {message}");
    }
    let most = format!(r#"{{"StateMachineResourceName":"a","Input":"{}"}}"#, "字".repeat(524_288));
    asw("StartExecution", &most).expect("as many characters are right");
}
