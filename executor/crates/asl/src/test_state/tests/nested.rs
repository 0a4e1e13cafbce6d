//! Parallel and Map states: what is inside is mocked, what would begin is told.

use super::*;

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
fn no_more_items_can_have_failed_than_a_map_has() {
    let failed = |failures: u64| {
        let configuration = Configuration {
            map_item_reader_data: Some(r#"{"rows": [1, 2, 3]}"#.into()),
            map_iteration_failure_count: Some(failures),
            ..Configuration::default()
        };
        test(&TestState { mock: gives("[]"), configuration, ..request(DISTRIBUTED, "{}") })
    };
    assert_eq!(failed(3).unwrap().error.as_deref(), Some("States.ExceedToleratedFailureThreshold"));
    let rejection = failed(4).unwrap_err();
    assert_eq!(rejection.code, "ValidationException");
    assert!(rejection.message.contains("4") && rejection.message.contains("3 items"), "{rejection}");
}

#[test]
fn what_a_reader_would_read_may_stand_in_the_input_where_itemspath_finds_it() {
    let definition = DISTRIBUTED.replace(r#""MaxConcurrency": 1"#, r#""ItemsPath": "$.orders""#);
    let tested =
        test(&TestState { mock: gives("[1]"), ..request(&definition, r#"{"orders": [7, 8]}"#) }).unwrap();
    assert_eq!(told(&tested, "afterItemsPath"), json("[7, 8]"));
    assert_eq!(told(&tested, "afterItemSelector"), json(r#"[{"n": 7}, {"n": 8}]"#));
    let configuration =
        Configuration { map_item_reader_data: Some(r#"{"rows": [1]}"#.into()), ..Configuration::default() };
    let request =
        TestState { mock: gives("[1]"), configuration, ..request(&definition, r#"{"orders": [7]}"#) };
    let tested = test(&request).unwrap();
    assert_eq!(
        (told(&tested, "afterItemsPath"), told(&tested, "afterItemsPointer")),
        (Value::Null, json("[1]"))
    );
}

#[test]
fn a_state_inside_of_a_map_sees_its_input_as_the_first_item() {
    let machine = |config: &str, around: &str| {
        let inner = r#"{"Type": "Pass", "Parameters": {"item.$": "$$.Map.Item"}, "End": true}"#;
        let graph = match around {
            "" => format!(r#""StartAt": "I", "States": {{"I": {inner}}}"#),
            _ => format!(
                r#""StartAt": "P", "States": {{"P": {{"Type": "Parallel", "End": true,
                    "Branches": [{{"StartAt": "I", "States": {{"I": {inner}}}}}]}}}}"#
            ),
        };
        format!(
            r#"{{"StartAt": "M", "States": {{"M": {{"Type": "Map", "End": true,
                "ItemProcessor": {{{config} {graph}}}}}}}}}"#
        )
    };
    let tested = |machine: &str, mock| {
        test(&TestState { state_name: Some("I".into()), mock, ..request(machine, r#"{"q": 1}"#) })
    };
    let inline = r#"{"item":{"Index":0,"Value":{"q":1}}}"#;
    assert_eq!(output(&tested(&machine("", ""), None).unwrap()), inline);
    assert_eq!(output(&tested(&machine("", "Parallel"), None).unwrap()), inline);
    let distributed = r#""ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},"#;
    assert_eq!(
        output(&tested(&machine(distributed, ""), None).unwrap()),
        r#"{"item":{"Index":0,"Value":{"q":1},"Source":"STATE_DATA"}}"#
    );
    let alone = r#"{"StartAt": "I", "States": {"I":
        {"Type": "Pass", "Parameters": {"item.$": "$$.Map.Item"}, "End": true}}}"#;
    assert_eq!(tested(alone, None).unwrap().status, Status::Failed);
}

#[test]
fn a_state_that_leads_to_itself_is_tested_once() {
    let choice = r#"{"StartAt": "C", "States": {"C": {"Type": "Choice", "Default": "C",
        "Choices": [{"Variable": "$", "IsNull": true, "Next": "D"}]}, "D": {"Type": "Succeed"}}}"#;
    let rule = r#"{"StartAt": "C", "States": {"C": {"Type": "Choice", "Default": "D",
        "Choices": [{"Variable": "$", "IsNumeric": true, "Next": "C"}]}, "D": {"Type": "Succeed"}}}"#;
    for definition in [choice, rule] {
        let tested = test(&TestState { state_name: Some("C".into()), ..request(definition, "1") });
        let tested = tested.map_err(|rejection| rejection.message).unwrap();
        assert_eq!(
            (tested.next_state.as_deref(), tested.output.as_ref().map(Payload::text)),
            (Some("C"), Some("1"))
        );
    }
}
