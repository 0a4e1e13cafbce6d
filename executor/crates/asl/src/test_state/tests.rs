//! What a test of one state tells, what it refuses, and that it gives what executions give.

use proptest::prelude::*;

use super::*;
use crate::execution::{FixedNames, Machine, Outcome, StartContext};
use crate::history::NoObserver;
use crate::program::Program;
use crate::simulate::{Answer, Reply, Request, simulate};
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

const PARALLEL: &str = r#"{"Type": "Parallel", "End": true, "ResultPath": "$.r", "Branches": [
    {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}},
    {"StartAt": "Q", "States": {"Q": {"Type": "Pass", "End": true}}}]}"#;

#[test]
fn a_parallel_state_gives_what_the_mock_says_of_its_branches() {
    let tested = test(&TestState { mock: gives("[1, 2]"), ..request(PARALLEL, "{}") }).unwrap();
    assert_eq!(output(&tested), r#"{"r":[1,2]}"#);
    for (result, message) in [("[1]", "same number of items"), ("{}", "must be an array")] {
        let refused = refused(&TestState { mock: gives(result), ..request(PARALLEL, "{}") });
        assert!(refused.contains(message), "{refused}");
    }
    let tested = test(&TestState { mock: fails("E"), ..request(PARALLEL, "{}") }).unwrap();
    assert_eq!((tested.status, tested.error.as_deref()), (Status::Failed, Some("E")));
}

#[test]
fn an_error_inside_comes_from_a_state_that_is_there() {
    let from = |state: &str| {
        let configuration =
            Configuration { error_caused_by_state: Some(state.into()), ..Configuration::default() };
        test(&TestState { mock: fails("E"), configuration, ..request(PARALLEL, "{}") })
    };
    assert!(from("Q").is_ok());
    assert!(from("Z").unwrap_err().message.contains("'Z'"));
}

#[test]
fn a_map_tells_what_its_iterations_would_begin_with() {
    let definition = r#"{"Type": "Map", "ItemsPath": "$.rows", "MaxConcurrency": 1, "End": true,
        "ItemSelector": {"n.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index"},
        "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}"#;
    let tested =
        test(&TestState { mock: gives("[0]"), ..request(definition, r#"{"rows": [7, 8]}"#) }).unwrap();
    assert_eq!(told(&tested, "afterItemsPath"), json("[7, 8]"));
    assert_eq!(told(&tested, "afterItemSelector"), json(r#"[{"n": 7, "i": 0}, {"n": 8, "i": 1}]"#));
    assert_eq!(told(&tested, "maxConcurrency"), json("1"));
    assert_eq!(output(&tested), "[0]");
    // Without items there are no iterations; the result is the mock's all the same.
    let tested = test(&TestState { mock: gives("[0]"), ..request(definition, r#"{"rows": []}"#) }).unwrap();
    assert_eq!(output(&tested), "[0]");
}

const DISTRIBUTED: &str = r#"{"Type": "Map", "MaxConcurrency": 1, "End": true, "ToleratedFailureCount": 1,
    "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "k"},
        "ReaderConfig": {"InputType": "JSON", "ItemsPointer": "/rows"}},
    "ItemSelector": {"n.$": "$$.Map.Item.Value"}, "ItemBatcher": {"MaxItemsPerBatch": 2},
    "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}"#;

fn distributed(failures: u64, mock: Option<Mock>) -> Tested {
    let configuration = Configuration {
        map_item_reader_data: Some(r#"{"rows": [1, 2, 3]}"#.into()),
        map_iteration_failure_count: Some(failures),
        ..Configuration::default()
    };
    test(&TestState { mock, configuration, ..request(DISTRIBUTED, "{}") }).unwrap()
}

#[test]
fn a_distributed_map_tells_what_it_reads_selects_and_batches() {
    let tested = distributed(0, gives("[1, 4, 9]"));
    assert_eq!(output(&tested), "[1,4,9]");
    assert_eq!(
        names(&tested),
        [
            "input",
            "afterInputPath",
            "afterItemsPointer",
            "afterItemSelector",
            "afterItemBatcher",
            "toleratedFailureCount",
            "maxConcurrency",
            "afterResultSelector",
            "afterResultPath"
        ]
    );
    assert_eq!(told(&tested, "afterItemsPointer"), json("[1, 2, 3]"));
    assert_eq!(told(&tested, "afterItemSelector"), json(r#"[{"n": 1}, {"n": 2}, {"n": 3}]"#));
    assert_eq!(
        told(&tested, "afterItemBatcher"),
        json(r#"[{"Items": [{"n": 1}, {"n": 2}]}, {"Items": [{"n": 3}]}]"#)
    );
}

#[test]
fn too_many_failed_items_fail_a_distributed_map() {
    assert_eq!(distributed(1, gives("[]")).status, Status::Succeeded);
    let tested = distributed(2, gives("[]"));
    assert_eq!(tested.error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    assert_eq!(distributed(2, fails("Own")).error.as_deref(), Some("Own"));
}

#[test]
fn a_map_that_reads_works_without_its_data() {
    let tested = test(&TestState { mock: gives("[1]"), ..request(DISTRIBUTED, "{}") }).unwrap();
    assert_eq!((tested.status, output(&tested).as_str()), (Status::Succeeded, "[1]"));
    assert!(!names(&tested).contains(&"afterItemSelector"));
}

#[test]
fn a_member_that_is_too_long_for_the_api_is_left_out() {
    let items = vec!["1"; 2_000].join(",");
    let definition = r#"{"Type": "Map", "ItemSelector": {"all.$": "$"}, "End": true,
        "ItemProcessor": {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}}"#;
    let tested =
        test(&TestState { mock: gives("[]"), ..request(definition, &format!("[{items}]")) }).unwrap();
    assert_eq!(tested.status, Status::Succeeded);
    assert!(names(&tested).contains(&"afterItemsPath") && !names(&tested).contains(&"afterItemSelector"));
    let configuration =
        Configuration { map_item_reader_data: Some("x".repeat(262_145)), ..Configuration::default() };
    let message = refused(&TestState { mock: gives("[]"), configuration, ..request(DISTRIBUTED, "{}") });
    assert!(message.contains("at most 262144"), "{message}");
}

#[test]
fn a_state_is_found_at_any_depth_of_a_machine() {
    let machine = format!(
        r#"{{"StartAt": "Outer", "States": {{"Outer": {}, "Last": {{"Type": "Succeed"}}}}}}"#,
        PARALLEL.replace(r#""End": true, "ResultPath""#, r#""Next": "Last", "ResultPath""#)
    );
    let named =
        |name: &str, mock| test(&TestState { state_name: Some(name.into()), mock, ..request(&machine, "5") });
    assert_eq!(output(&named("Q", None).unwrap()), "5");
    assert_eq!(named("Last", None).unwrap().status, Status::Succeeded);
    assert_eq!(named("Outer", fails("E")).unwrap().status, Status::Failed);
    assert!(named("Nobody", None).unwrap_err().message.contains("no state 'Nobody'"));
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

/// What an execution of a machine with this state alone gives.
fn executed(definition: &str, input: &Value, result: &Value) -> Result<Value, Option<Str>> {
    let machine = format!(r#"{{"StartAt": "StateName", "States": {{"StateName": {definition}}}}}"#);
    let program = Program::compile(machine.as_bytes(), Dialect::Asl).unwrap().program;
    let machine = Machine {
        program,
        arn: "a".into(),
        name: "m".into(),
        role_arn: "r".into(),
        mode_timeout_seconds: 300,
        history_events_max: 1_000,
        names: Box::new(FixedNames { arn: "a".into(), name: "n".into() }),
    };
    let mut services = |_: &Request<'_>| Reply::now(Answer::Succeeds(Payload::from_value(result.clone())));
    let input = Payload::from_value(input.clone());
    let context = StartContext::default();
    let simulated =
        simulate(&std::sync::Arc::new(machine), context, input, Timestamp(0), &mut services, &mut NoObserver);
    match simulated.outcome {
        Some(Outcome::Succeeded(output)) => Ok(output.into_value()),
        Some(Outcome::Failed { error, .. }) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from)
    ];
    let members = |inner| prop::collection::vec(("[a-c]", inner), 0..4).prop_map(Value::object);
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), members(inner)]
    })
}

proptest! {
    #[test]
    fn a_tested_state_gives_what_an_execution_gives(input in data(), result in data()) {
        const RESOURCE: &str = r#""Resource": "arn:aws:lambda:us-east-1:123456789012:function:f""#;
        for fields in [
            r#""Type": "Pass", "InputPath": "$.a", "ResultPath": "$.b""#.to_owned(),
            r#""Type": "Pass", "Parameters": {"x.$": "$.a"}, "OutputPath": "$.x""#.to_owned(),
            format!(r#""Type": "Task", {RESOURCE}, "ResultSelector": {{"x.$": "$.a"}}, "ResultPath": "$.c""#),
            format!(r#""Type": "Task", {RESOURCE}, "QueryLanguage": "JSONata", "Output": "{{% $states.result.a %}}""#),
        ] {
            let definition = format!(r#"{{{fields}, "End": true}}"#);
            let mock = fields.contains("Task").then(|| gives(&result.to_json_string())).flatten();
            let input_payload = Payload::from_value(input.clone());
            let tested = test(&TestState { mock, input: input_payload, ..request(&definition, "{}") }).unwrap();
            let seen = match tested.output {
                Some(output) => Ok(output.into_value()),
                None => Err(tested.error),
            };
            prop_assert_eq!(seen, executed(&definition, &input, &result), "{}", definition);
        }
    }
}
