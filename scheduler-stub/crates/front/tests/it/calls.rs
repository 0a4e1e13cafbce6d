//! Calls as good clients make them, and what they get.

use front::{Api, Kind, Outcome, Right};
use serde_json::json;

use crate::support::{Door, asw, request, sfn};

#[test]
fn a_call_of_step_functions_reaches_the_gate_whole_and_is_answered_in_its_form() {
    let door = Door::open();
    let response =
        door.client().call("StartExecution", r#"{"stateMachineArn":"arn:a","input":"{\"x\":1}","y":2}"#);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), "application/x-amz-json-1.0");
    let id = response.header("x-amzn-requestid");
    assert_eq!(
        response.json(),
        json!({
            "operation": "StartExecution",
            "input": {"stateMachineArn": "arn:a", "input": "{\"x\":1}"},
            "key": "good",
            "account": "123456789012",
            "requestId": id,
            "region": null,
        })
    );
    assert_eq!(id.len(), 36);
    let told = door.counts.answered();
    assert_eq!(
        (told[0].api, told[0].operation, told[0].error, told[0].outcome),
        (Some(Api::Sfn), Some("StartExecution"), None, Outcome::Succeeded)
    );
    assert_eq!((told[0].received, told[0].sent), (53, response.body.len()));
}

#[test]
fn a_call_of_asw_is_answered_in_an_envelope_of_exactly_the_type_that_its_sdk_wants() {
    let door = Door::open();
    let response = door.client().action("StartExecution", r#"{"StateMachineResourceName":"q","Name":"n"}"#);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), "application/json");
    let envelope = response.json();
    let answer = &envelope["Response"];
    assert_eq!(answer["input"], json!({"StateMachineResourceName": "q", "Name": "n"}));
    assert_eq!((&answer["account"], &answer["region"]), (&json!("100"), &json!("ap-guangzhou")));
    assert_eq!(answer["RequestId"], response.header("x-amzn-requestid"));
    assert_eq!(answer["requestId"], answer["RequestId"], "the gate knows the id that the caller sees");
}

#[test]
fn a_fault_of_the_gate_is_told_in_the_words_of_the_api_that_was_called() {
    let door = Door::open();
    let mut client = door.client();
    let response = client.call("StopExecution", r#"{"executionArn":"e"}"#);
    assert_eq!((response.status, response.header("x-amzn-errortype")), (400, "ExecutionDoesNotExist"));
    assert_eq!(
        response.json(),
        json!({
            "__type": "com.amazonaws.swf.service.v2.model#ExecutionDoesNotExist",
            "message": "there is no such execution",
        })
    );
    let response = client.call("ListTagsForResource", r#"{"resourceArn":"r"}"#);
    assert_eq!(response.json()["resourceName"], "thing");
    let response = client.action("StopExecution", r#"{"ExecutionQrn":"e"}"#);
    assert_eq!((response.status, response.header("content-type")), (200, "application/json"));
    assert_eq!(
        response.json(),
        json!({"Response": {
            "Error": {"Code": "ResourceNotFound", "Message": "there is no such execution"},
            "RequestId": response.header("x-amzn-requestid"),
        }})
    );
    let errors: Vec<_> = door.counts.answered().iter().map(|told| told.error).collect();
    assert_eq!(errors, [Some("ExecutionDoesNotExist"), Some("ResourceNotFound"), Some("ResourceNotFound")]);
}

#[test]
fn one_connection_carries_calls_of_both_apis_also_when_they_are_sent_at_once() {
    let door = Door::open();
    let mut client = door.client();
    let mut all = String::new();
    for number in 0..50 {
        all += &sfn("DescribeExecution", &format!(r#"{{"executionArn":"e{number}"}}"#));
        all += &asw("DescribeExecution", &format!(r#"{{"ExecutionResourceName":"q{number}"}}"#));
    }
    client.send(&all);
    for number in 0..50 {
        assert_eq!(client.receive().json()["input"]["executionArn"], format!("e{number}"));
        let envelope = client.receive().json();
        assert_eq!(envelope["Response"]["input"]["ExecutionResourceName"], format!("q{number}"));
    }
    assert_eq!(door.seen().calls, 100);
}

#[test]
fn an_unsigned_or_wrongly_signed_call_reaches_nobody() {
    let door = Door::open();
    let mut client = door.client();
    client.send(sfn("ListStateMachines", "{}").replace("Authorization: key good\r\n", ""));
    let response = client.receive();
    assert_eq!((response.status, response.error()), (400, "MissingAuthenticationTokenException".to_owned()));
    client.send(sfn("ListStateMachines", "no JSON").replace("key good", "key broken"));
    assert_eq!(client.receive().error(), "InvalidSignatureException", "the signature comes before the shape");
    client.send(asw("DescribeFlowServices", "{}").replace("key good", "key broken"));
    let response = client.receive();
    assert_eq!((response.status, response.error()), (200, "AuthFailure.SignatureFailure".to_owned()));
    assert_eq!((door.seen().calls, door.asked()), (0, Vec::new()));
}

#[test]
fn rights_are_asked_for_the_machine_that_a_call_is_about() {
    let door = Door::open();
    let mut client = door.client();
    let machine = |name: &str| format!("arn:aws:states:r:1:stateMachine:{name}");
    for (operation, body, right, machine) in [
        ("StartExecution", json!({"stateMachineArn": machine("orders")}), Right::Start, Some("orders")),
        (
            "DescribeExecution",
            json!({"executionArn": "arn:aws:states:r:1:execution:a:e"}),
            Right::Read,
            Some("a"),
        ),
        ("ListStateMachines", json!({}), Right::Read, None),
        ("DeleteActivity", json!({"activityArn": "arn:aws:states:r:1:activity:a"}), Right::Manage, None),
        (
            "CreateStateMachine",
            json!({"name": "n", "definition": "d", "roleArn": "r"}),
            Right::Manage,
            Some("n"),
        ),
    ] {
        assert_eq!(client.call(operation, &body.to_string()).status, 200, "{operation}");
        assert_eq!(door.asked(), [(right, machine.map(str::to_owned))], "{operation}");
    }
    assert_eq!(client.call("SendTaskHeartbeat", r#"{"taskToken":"t"}"#).status, 200);
    assert_eq!(door.asked(), [], "a token is a right of its own");
    client.action("StopExecution", r#"{"ExecutionQrn":"qrn:qcs:asw:r:1:execution:abcd1234:e"}"#);
    let hidden = "machine-of-qrn:qcs:asw:r:1:execution:abcd1234:e".to_owned();
    assert_eq!(door.asked(), [(Right::Start, Some(hidden))]);
}

#[test]
fn a_key_that_may_not_do_it_to_the_machine_does_not_reach_the_gate() {
    let door = Door::open();
    let mut client = door.client();
    let mut narrow = |operation: &str, body: &str| {
        client.send(sfn(operation, body).replace("key good", "key narrow"));
        client.receive()
    };
    let orders = r#"{"stateMachineArn":"arn:aws:states:r:1:stateMachine:orders"}"#;
    assert_eq!(narrow("StartExecution", orders).status, 200);
    assert_eq!(narrow("ListStateMachines", "{}").status, 200);
    assert_eq!(
        narrow("SendTaskFailure", r#"{"taskToken":"t"}"#).status,
        200,
        "a token is a right of its own"
    );
    let calls = door.seen().calls;
    for (operation, body) in [
        ("StartExecution", r#"{"stateMachineArn":"arn:aws:states:r:1:stateMachine:others"}"#),
        ("CreateActivity", r#"{"name":"orders"}"#),
        // One of two is not enough.
        (
            "UpdateStateMachineAlias",
            r#"{"stateMachineAliasArn":"arn:aws:states:r:1:stateMachine:orders:live","routingConfiguration":[
                {"stateMachineVersionArn":"arn:aws:states:r:1:stateMachine:others:1","weight":100}]}"#,
        ),
    ] {
        assert_eq!(narrow(operation, body).error(), "AccessDeniedException", "{operation}");
    }
    assert_eq!(door.seen().calls, calls);
}

/// Every operation is found, and asks for what its model requires before anything else.
#[test]
fn every_operation_of_both_apis_is_answered_by_name() {
    let door = Door::open();
    let mut client = door.client();
    for (api, operation) in
        [Api::Sfn, Api::Asw].into_iter().flat_map(|api| api.operations().iter().map(move |one| (api, one)))
    {
        if matches!(operation.name, "GetActivityTask" | "StartSyncExecution") {
            door.let_go();
        }
        let response = match api {
            Api::Sfn => client.call(operation.name, "{}"),
            Api::Asw => client.action(operation.name, "{}"),
        };
        let required: Vec<&str> =
            operation.members.iter().filter(|member| member.required).map(|member| member.name).collect();
        if required.is_empty() {
            assert_eq!((response.status, response.error().as_str()), (200, ""), "{}", operation.name);
            continue;
        }
        let expected = if api == Api::Sfn { Kind::Validation } else { Kind::MissingParameter };
        assert_eq!(response.error(), expected.code(api), "{}", operation.name);
        let told = if api == Api::Sfn { &required[..] } else { &required[..1] };
        for member in told {
            assert!(response.text().contains(member), "{}: {}", operation.name, response.text());
        }
    }
}

#[test]
fn a_client_that_asks_first_whether_its_body_is_wanted_is_told_to_send_it() {
    let door = Door::open();
    let mut client = door.client();
    let whole = sfn("ListStateMachines", "{}").replace("Host:", "Expect: 100-continue\r\nHost:");
    let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
    client.send(format!("{head}\r\n\r\n"));
    assert_eq!(client.receive().status, 100);
    client.send(body);
    assert_eq!(client.receive().status, 200);
}

#[test]
fn the_media_type_may_name_utf_8() {
    let door = Door::open();
    let mut client = door.client();
    for content_type in
        ["application/x-amz-json-1.0; charset=utf-8", "Application/X-Amz-Json-1.0;charset=UTF-8"]
    {
        let content_type = format!("Content-Type: {content_type}");
        let target = "X-Amz-Target: AWSStepFunctions.ListActivities";
        client.send(request(&["Host: h", "Authorization: key good", &content_type, target], "{}"));
        assert_eq!(client.receive().status, 200, "{content_type}");
    }
}
