//! What a test of one state tells.

mod agreement;
mod nested;
mod requests;

use super::*;
use crate::value::JsonLimits;

fn json(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
}

fn request<'a>(definition: &'a str, input: &str) -> TestState<'a> {
    TestState {
        definition: definition.as_bytes(),
        dialect: Dialect::Asl,
        state_name: None,
        input: Payload::from_value(json(input)),
        variables: None,
        context: None,
        mock: None,
        configuration: Configuration::default(),
        level: InspectionLevel::Debug,
        reveal_secrets: false,
        identity: Identity::default(),
        now: Timestamp(1_704_067_200_000),
    }
}

fn gives(result: &str) -> Option<Mock> {
    Some(Mock { result: Some(result.to_owned()), ..Mock::default() })
}

fn fails(error: &str) -> Option<Mock> {
    let error_output = ErrorOutput { error: Some(error.into()), cause: Some("because".into()) };
    Some(Mock { error_output: Some(error_output), ..Mock::default() })
}

/// The names of the members of the inspection, in order.
fn names(tested: &Tested) -> Vec<&str> {
    tested.inspection.iter().flat_map(Map::keys).map(Str::as_str).collect()
}

fn told(tested: &Tested, name: &str) -> Value {
    tested.inspection.as_ref().and_then(|told| told.get(name)).cloned().unwrap_or_default()
}

fn output(tested: &Tested) -> String {
    tested.output.as_ref().map(|output| output.text().to_owned()).unwrap_or_default()
}

fn refused(request: &TestState<'_>) -> String {
    test(request).unwrap_err().message
}

/// As in an execution: what a cloud API answers says in its envelope whether the call failed.
#[test]
fn an_envelope_with_an_error_fails_a_task_of_tcsl() {
    let task = |call: &str| {
        format!(
            r#"{{"Type": "Task", "Resource": "qrn:qcs:asw:gz:1:sdk:json:qcloud:{call}", "End": true,
            "Catch": [{{"ErrorEquals": ["Busy"], "Next": "C"}}]}}"#
        )
    };
    let envelope = r#"{"Response": {"Error": {"Code": "Busy", "Message": "later"}}}"#;
    let (api, function) = (task("asr:CreateRecTask"), task("scf:Invoke/f"));
    let tested = |definition| {
        let request =
            TestState { dialect: Dialect::Tcsl, mock: gives(envelope), ..request(definition, "{}") };
        test(&request).unwrap()
    };
    let failed = tested(&api);
    assert_eq!(failed.status, Status::CaughtError);
    assert_eq!((failed.error.as_deref(), failed.cause.as_deref()), (Some("Busy"), Some("later")));
    assert_eq!(tested(&function).status, Status::Succeeded);
}

const TASK: &str = r#"{"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "InputPath": "$.in",
    "Parameters": {"Payload.$": "$.x"}, "ResultSelector": {"got.$": "$.Payload"}, "ResultPath": "$.out",
    "Retry": [{"ErrorEquals": ["Other"]}, {"ErrorEquals": ["Busy"], "IntervalSeconds": 3, "MaxAttempts": 2}],
    "Catch": [{"ErrorEquals": ["Other"], "Next": "A"}, {"ErrorEquals": ["States.ALL"], "Next": "B"}], "Next": "C"}"#;

#[test]
fn a_task_tells_its_data_after_each_field_in_the_order_in_which_they_flow() {
    let request = TestState { mock: gives(r#"{"Payload": 2}"#), ..request(TASK, r#"{"in": {"x": 1}}"#) };
    let tested = test(&request).unwrap();
    assert_eq!(tested.status, Status::Succeeded);
    assert_eq!(tested.next_state.as_deref(), Some("C"));
    assert_eq!(
        Value::from(tested.inspection.clone().unwrap()).to_json_string(),
        r#"{"input":{"in":{"x":1}},"afterInputPath":{"x":1},"afterParameters":{"Payload":1},"result":{"Payload":2},"#
            .to_owned()
            + r#""afterResultSelector":{"got":2},"afterResultPath":{"in":{"x":1},"out":{"got":2}}}"#
    );
    assert_eq!(output(&tested), r#"{"in":{"x":1},"out":{"got":2}}"#);
}

#[test]
fn a_jsonata_task_tells_its_arguments_and_its_result() {
    let definition = r#"{"Type": "Task", "QueryLanguage": "JSONata", "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"x": "{% $states.input.x + 1 %}"}, "Output": "{% $states.result.y %}", "End": true}"#;
    let tested =
        test(&TestState { mock: gives(r#"{"y": 5}"#), ..request(definition, r#"{"x": 1}"#) }).unwrap();
    assert_eq!(names(&tested), ["input", "afterArguments", "result"]);
    assert_eq!(told(&tested, "afterArguments"), json(r#"{"x": 2}"#));
    assert_eq!((output(&tested).as_str(), &tested.next_state), ("5", &None));
}

#[test]
fn a_pass_with_a_result_tells_nothing_of_its_effective_input() {
    let definition = r#"{"Type": "Pass", "InputPath": "$.a", "Result": 1, "ResultPath": "$.b", "End": true}"#;
    let tested = test(&request(definition, r#"{"a": 0}"#)).unwrap();
    assert_eq!(names(&tested), ["input", "result", "afterResultSelector", "afterResultPath"]);
    let tested = test(&request(r#"{"Type": "Pass", "End": true}"#, "1")).unwrap();
    assert_eq!(
        names(&tested),
        ["input", "afterInputPath", "afterParameters", "afterResultSelector", "afterResultPath"]
    );
}

#[test]
fn states_without_work_tell_what_they_select() {
    for (definition, status, error) in [
        (r#"{"Type": "Succeed", "InputPath": "$.a"}"#, Status::Succeeded, None),
        (r#"{"Type": "Wait", "InputPath": "$.a", "Seconds": 60, "End": true}"#, Status::Succeeded, None),
        (
            r#"{"Type": "Choice", "InputPath": "$.a", "Choices": [{"Variable": "$", "IsNull": true, "Next": "N"}],
                "Default": "D"}"#,
            Status::Succeeded,
            None,
        ),
        (r#"{"Type": "Fail", "Error": "E", "Cause": "C"}"#, Status::Failed, Some("E")),
    ] {
        let tested = test(&request(definition, r#"{"a": 0}"#)).unwrap();
        assert_eq!(tested.status, status, "{definition}");
        assert_eq!(tested.error.as_deref(), error, "{definition}");
        assert_eq!(names(&tested), ["input", "afterInputPath"], "{definition}");
        let jsonata = definition
            .replace(r#", "InputPath": "$.a""#, "")
            .replace(r#""Type":"#, r#""QueryLanguage": "JSONata", "Type":"#);
        if !jsonata.contains("Variable") {
            assert_eq!(names(&test(&request(&jsonata, "0")).unwrap()), ["input"], "{jsonata}");
        }
    }
}

#[test]
fn an_error_is_retried_as_often_as_its_retrier_allows_and_then_caught() {
    let busy = |count| {
        let configuration = Configuration { retrier_retry_count: count, ..Configuration::default() };
        test(&TestState { mock: fails("Busy"), configuration, ..request(TASK, r#"{"in": {"x": 1}}"#) })
            .unwrap()
    };
    let tested = busy(1);
    assert_eq!(tested.status, Status::Retriable);
    assert_eq!((tested.error.as_deref(), tested.cause.as_deref()), (Some("Busy"), Some("because")));
    assert_eq!(told(&tested, "errorDetails"), json(r#"{"retryIndex": 1, "retryBackoffIntervalSeconds": 6}"#));
    assert_eq!((tested.output, tested.next_state), (None, None));

    let tested = busy(2);
    assert_eq!(tested.status, Status::CaughtError);
    assert_eq!(told(&tested, "errorDetails"), json(r#"{"catchIndex": 1, "retryIndex": 1}"#));
    assert_eq!(tested.next_state.as_deref(), Some("B"));
    assert_eq!(tested.error.as_deref(), Some("Busy"));
    assert_eq!(output(&tested), r#"{"Error":"Busy","Cause":"because"}"#);
}

#[test]
fn an_evaluation_that_fails_tells_how_far_the_data_came() {
    let definition = r#"{"Type": "Pass", "InputPath": "$.a", "Parameters": {"b.$": "$.b"}, "End": true}"#;
    let tested = test(&request(definition, r#"{"a": {}}"#)).unwrap();
    assert_eq!((tested.status, tested.error.as_deref()), (Status::Failed, Some("States.Runtime")));
    assert_eq!(names(&tested), ["input", "afterInputPath"]);
}

#[test]
fn nothing_is_told_between_the_fields_where_nobody_asks() {
    let tested = test(&TestState { level: InspectionLevel::Info, ..request(r#"{"Type": "Succeed"}"#, "1") });
    assert_eq!(tested.unwrap().inspection, None);
}

#[test]
fn a_state_that_leads_to_itself_is_left_once() {
    let tested = test(&request(r#"{"Type": "Pass", "Result": 1, "Next": "StateName"}"#, "0")).unwrap();
    assert_eq!((output(&tested).as_str(), tested.next_state.as_deref()), ("1", Some("StateName")));
    assert_eq!(told(&tested, "input"), json("0"));
}

#[test]
fn a_wait_passes_in_virtual_time_and_five_minutes_are_too_long() {
    let waited = |seconds: u32| {
        let definition = format!(r#"{{"Type": "Wait", "Seconds": {seconds}, "Next": "N"}}"#);
        test(&request(&definition, "1")).unwrap()
    };
    assert_eq!(waited(299).next_state.as_deref(), Some("N"));
    let tested = waited(301);
    assert_eq!((tested.status, tested.error.as_deref()), (Status::Failed, Some("States.Timeout")));
}

#[test]
fn variables_are_seen_and_told_with_what_the_state_assigns() {
    let definition =
        r#"{"Type": "Pass", "Parameters": {"a.$": "$v"}, "Assign": {"w.$": "$.x"}, "End": true}"#;
    let variables = json(r#"{"v": 1}"#).as_object().cloned();
    let tested = test(&TestState { variables, ..request(definition, "{}") }).unwrap();
    assert_eq!(tested.error.as_deref(), Some("States.Runtime"));
    assert_eq!(told(&tested, "variables"), json(r#"{"v": 1}"#));
    let variables = json(r#"{"v": 1, "w": 0}"#).as_object().cloned();
    let definition = definition.replace("$.x", "$.a");
    let tested = test(&TestState { variables, ..request(&definition, "{}") }).unwrap();
    assert_eq!(told(&tested, "variables"), json(r#"{"v": 1, "w": 1}"#));
}
