//! Histories, as the model of Step Functions' API has them.

use proto::executor::v1::Mode;
use serde_json::{Value, json};

use super::Stage;

/// Variables, a choice, parallel branches, a map, a failure that is caught.
const STORY: &str = r#"{"QueryLanguage":"JSONata","StartAt":"Keep","States":{
    "Keep":{"Type":"Pass","Assign":{"n":1,"t":"x"},"Next":"Choose"},
    "Choose":{"Type":"Choice","Choices":[{"Condition":"{% true %}","Next":"Both"}]},
    "Both":{"Type":"Parallel","Branches":[
        {"StartAt":"L","States":{"L":{"Type":"Pass","End":true}}},
        {"StartAt":"R","States":{"R":{"Type":"Succeed"}}}],"Next":"Each"},
    "Each":{"Type":"Map","Items":"{% [1,2] %}","ItemProcessor":{
        "StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"Next":"Wrong"},
    "Wrong":{"Type":"Pass","Output":"{% $error('no') %}","Next":"End"},
    "End":{"Type":"Succeed"}}}"#;

/// The members of details by the member of the event that has them.
const MODEL: [(&str, &[&str]); 8] = [
    (
        "executionStartedEventDetails",
        &["input", "inputDetails", "roleArn", "stateMachineAliasArn", "stateMachineVersionArn"],
    ),
    ("executionFailedEventDetails", &["error", "cause"]),
    ("stateEnteredEventDetails", &["name", "input", "inputDetails"]),
    (
        "stateExitedEventDetails",
        &["name", "output", "outputDetails", "assignedVariables", "assignedVariablesDetails"],
    ),
    ("mapStateStartedEventDetails", &["length"]),
    ("mapIterationStartedEventDetails", &["name", "index"]),
    ("mapIterationSucceededEventDetails", &["name", "index"]),
    ("evaluationFailedEventDetails", &["error", "cause", "location", "state"]),
];

fn check(event: &Value) {
    let event = event.as_object().expect("an object");
    for (member, value) in event {
        match member.as_str() {
            "timestamp" => assert!(value.is_f64(), "{value}"),
            "type" => assert!(value.is_string()),
            "id" | "previousEventId" => assert!(value.is_u64()),
            details => {
                let known = MODEL.iter().find(|(member, _)| *member == details);
                let (_, known) = known.unwrap_or_else(|| panic!("{details} of {event:?}"));
                for (member, value) in value.as_object().expect("details") {
                    assert!(known.contains(&member.as_str()), "{member} of {event:?}");
                    let is_text = matches!(member.as_str(), "input" | "output" | "name" | "error" | "cause");
                    assert!(!is_text || value.is_string(), "{member} of {event:?}");
                }
            }
        }
    }
}

async fn pages(stage: &Stage, ask: Value) -> Vec<Value> {
    let (mut events, mut ask) = (Vec::new(), ask);
    loop {
        let page = stage.call("GetExecutionHistory", ask.clone()).await;
        events.extend(page["events"].as_array().expect("a list").iter().cloned());
        match page.get("nextToken") {
            Some(next) => ask["nextToken"] = next.clone(),
            None => return events,
        }
    }
}

#[tokio::test]
async fn a_history_has_the_members_of_the_model_and_all_its_pages_are_the_whole_in_both_orders() {
    let stage = Stage::new().await;
    let machine = stage.machine("story", Mode::Standard, STORY).await;
    let execution = stage.start(&machine, r#"{"a":1.5}"#).await;
    stage.until(&execution, "FAILED").await;
    let whole = pages(&stage, json!({"executionArn": execution})).await;
    whole.iter().for_each(check);
    let kinds: Vec<&str> = whole.iter().map(|event| event["type"].as_str().expect("text")).collect();
    for kind in [
        "ExecutionStarted",
        "ChoiceStateEntered",
        "ParallelStateStarted",
        "MapIterationSucceeded",
        "EvaluationFailed",
    ] {
        assert!(kinds.contains(&kind), "{kind} of {kinds:?}");
    }
    assert_eq!(whole[0]["executionStartedEventDetails"]["input"], r#"{"a":1.5}"#);
    let assigned = |event: &&Value| event["stateExitedEventDetails"]["assignedVariables"].is_object();
    let assigned = whole.iter().find(assigned).expect("variables");
    let expected = json!({"n": "1", "t": "\"x\""});
    assert_eq!(assigned["stateExitedEventDetails"]["assignedVariables"], expected);
    let paged = pages(&stage, json!({"executionArn": execution, "maxResults": 3})).await;
    assert_eq!(paged, whole);
    let reverse = json!({"executionArn": execution, "maxResults": 3, "reverseOrder": true});
    let mut reverse = pages(&stage, reverse).await;
    reverse.reverse();
    assert_eq!(reverse, whole);
    let bare = json!({"executionArn": execution, "includeExecutionData": false});
    let bare = pages(&stage, bare).await;
    bare.iter().for_each(check);
    let texts: String = bare.iter().map(Value::to_string).collect();
    for payload in ["\"input\"", "\"output\"", "Variables", "truncated"] {
        assert!(!texts.contains(payload), "{payload}");
    }
}

#[tokio::test]
async fn histories_that_cannot_be_told_are_refused() {
    let stage = Stage::new().await;
    let wait = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;
    let machine = stage.machine("wait", Mode::Standard, wait).await;
    let express = stage.machine("express", Mode::Express, wait).await;
    let execution = stage.start(&machine, "{}").await;
    let made_up = json!({"executionArn": execution, "nextToken": "made-up"});
    assert_eq!(stage.refused("GetExecutionHistory", made_up).await, "InvalidToken");
    let express = stage.start(&express, "{}").await;
    let waits = json!({"executionArn": express});
    assert_eq!(stage.refused("GetExecutionHistory", waits).await, "InvalidArn");
}
