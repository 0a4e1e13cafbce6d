//! A history in ASW's form, member by member: a flow of the shape whose history ASW publishes.

use std::sync::Arc;

use asl::execution::{FixedNames, Machine};
use asl::history::AswHistory;
use asl::simulate::{Answer, Reply, Request, simulate};
use asl::value::JsonLimits;
use asl::{Dialect, Payload, Program, StartContext, Timestamp};
use serde_json::{Value, json};

const BEGAN: Timestamp = Timestamp(1_600_000_000_000);
const EXECUTION: &str = "qrn:qcs:asw:ap-guangzhou:1250000000:execution:abcd1234:run";
const ROLE: &str = "qcs::cam::uin/1250000000:roleName/flow";

/// Received, then a job is sent off, then awaited for 33 seconds.
fn definition() -> Value {
    let task = |call: &str, next: Value| {
        let mut task = json!({
            "Type": "Task",
            "Resource": format!("qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:{call}"),
        });
        task.as_object_mut().expect("an object").extend(next.as_object().expect("an object").clone());
        task
    };
    json!({"StartAt": "Received", "States": {
        "Received": {"Type": "Pass", "Next": "Send"},
        "Send": task("mps:audioSeparate", json!({"Parameters": {"Object.$": "$.object"}, "Next": "Await"})),
        "Await": task("mps:checkMpsJob", json!({"InputPath": "$.Response", "End": true})),
    }})
}

fn payload(value: &Value) -> Payload {
    Payload::check(value.to_string().into(), JsonLimits::PAYLOAD).expect("JSON")
}

fn history(capacity: usize) -> AswHistory {
    let compiled =
        Program::compile(definition().to_string().as_bytes(), Dialect::Tcsl).expect("a definition");
    let machine = Arc::new(Machine {
        program: compiled.program,
        arn: "qrn:qcs:asw:ap-guangzhou:1250000000:http:json:flowmachine:flow:abcd1234".into(),
        name: "flow".into(),
        role_arn: ROLE.into(),
        mode_timeout_seconds: 300,
        history_events_max: 1_000,
        names: Box::new(FixedNames { arn: EXECUTION.into(), name: "run".into() }),
    });
    let mut history = AswHistory::new(capacity);
    let mut services = |request: &Request<'_>| {
        let done = request.place.state == "Await";
        let answer =
            if done { json!({"Response": {"Status": 2}}) } else { json!({"Response": {"JobId": 7}}) };
        let after_millis = if done { 33_000 } else { 200 };
        Reply { after_millis, ..Reply::now(Answer::Succeeds(payload(&answer))) }
    };
    let input = payload(&json!({"object": "a \"b\".mp4"}));
    simulate(&machine, StartContext::default(), input, BEGAN, &mut services, &mut history);
    history
}

/// The members of an event's content; those that are JSON texts are parsed.
fn content(event: &Value) -> Value {
    let text = event["Content"].as_str().expect("a text");
    let mut content: Value = serde_json::from_str(text).expect("content is JSON");
    for name in ["input", "output", "local_variables", "next"] {
        if let Some(inner) = content.get_mut(name) {
            *inner = serde_json::from_str(inner.as_str().expect("a text")).expect("a member is JSON");
        }
    }
    content
}

#[test]
fn every_event_has_the_members_and_the_content_that_asw_shows() {
    let events: Vec<Value> = history(100)
        .events()
        .iter()
        .map(|event| serde_json::from_str(&event.to_api(EXECUTION).to_json_string()).expect("JSON"))
        .collect();
    let input = json!({"object": "a \"b\".mp4"});
    let qrn = |call: &str| format!("qrn:qcs:asw:ap-guangzhou:1250000000:sdk:json:qcloud:{call}");
    let enter = |input: Value| json!({"input": input, "local_variables": input});
    let exit = |output: Value, next: &str| json!({"output": output, "exception": {}, "local_variables": output, "next": [next]});
    let (sent, done) = (json!({"Response": {"JobId": 7}}), json!({"Response": {"Status": 2}}));
    let expected = [
        ("ExecutionStart", "START", "".to_owned(), 0, json!({"input": input, "role": ROLE})),
        ("Unknown", "START", "".to_owned(), 0, Value::Null),
        ("PassNodeEnter", "Received", "".to_owned(), 0, enter(input.clone())),
        ("PassNodeExit", "Received", "".to_owned(), 0, exit(input, "Send")),
        ("TaskNodeEnter", "Send", qrn("mps:audioSeparate"), 0, enter(json!({"Object": "a \"b\".mp4"}))),
        ("TaskNodeExit", "Send", qrn("mps:audioSeparate"), 200, exit(sent, "Await")),
        ("TaskNodeEnter", "Await", qrn("mps:checkMpsJob"), 200, enter(json!({"JobId": 7}))),
        ("TaskNodeExit", "Await", qrn("mps:checkMpsJob"), 33_200, exit(done, "END")),
        ("Unknown", "END", "".to_owned(), 33_200, Value::Null),
    ];
    assert_eq!(events.len(), expected.len());
    for ((id, event), (category, step, resource, after, told)) in (1..).zip(&events).zip(expected) {
        assert_eq!(content(event), told, "event {id}");
        let mut event = event.clone();
        event.as_object_mut().expect("an object").remove("Content");
        assert_eq!(
            event,
            json!({
                "ExecutionResourceName": EXECUTION, "EventId": id, "EventCategory": category, "StepName": step,
                "ResourceName": resource, "Timestamp": (BEGAN.0 + after).to_string(), "Exception": "",
            })
        );
    }
}

#[test]
fn events_beyond_the_bound_are_counted_and_the_first_stay_as_they_are() {
    let (whole, cut) = (history(100), history(6));
    assert_eq!(cut.dropped(), 3);
    assert_eq!(cut.events()[..5], whole.events()[..5]);
    assert_eq!(history(0).dropped(), 9);
}
