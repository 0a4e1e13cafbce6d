//! Activities and callbacks, as workers of Step Functions' API see them.

use proto::executor::v1::Mode;
use serde_json::json;
use testkit::eventually_async;

use super::{Stage, call};
use crate::fake::PATIENCE;

const ASK: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","End":true,
    "Resource":"arn:aws:states:local:000000000000:activity:review"}}}"#;

#[tokio::test]
async fn activities_are_made_once_listed_and_deleted_as_often_as_one_likes() {
    let stage = Stage::new().await;
    let create = json!({"name": "review", "tags": [{"key": "team", "value": "a"}], "encryptionConfiguration": {"type": "AWS_OWNED_KEY"}});
    let created = stage.call("CreateActivity", create.clone()).await;
    assert_eq!(stage.call("CreateActivity", create).await, created);
    let arn = json!({"activityArn": created["activityArn"]});
    let mut described = stage.call("DescribeActivity", arn.clone()).await;
    assert_eq!(
        (&described["name"], &described["creationDate"]),
        (&json!("review"), &created["creationDate"])
    );
    // Lists do not say how an activity's data are encrypted.
    let encryption = described.as_object_mut().and_then(|members| members.remove("encryptionConfiguration"));
    assert_eq!(encryption, Some(json!({"type": "AWS_OWNED_KEY"})));
    let listed = stage.call("ListActivities", json!({})).await;
    assert_eq!(listed, json!({"activities": [described]}));
    for _ in 0..2 {
        assert_eq!(stage.call("DeleteActivity", arn.clone()).await, json!({}));
    }
    assert_eq!(stage.refused("DescribeActivity", arn.clone()).await, "ActivityDoesNotExist");
    assert_eq!(stage.refused("GetActivityTask", arn).await, "ActivityDoesNotExist");
    for (operation, input, exception) in [
        ("CreateActivity", json!({"name": "a b"}), "InvalidName"),
        ("DescribeActivity", json!({"activityArn": "review"}), "InvalidArn"),
        ("ListActivities", json!({"nextToken": "made-up"}), "InvalidToken"),
        (
            "CreateActivity",
            json!({"name": "x", "encryptionConfiguration": {"type": "CUSTOMER_MANAGED_KMS_KEY", "kmsKeyId": "k"}}),
            "InvalidEncryptionConfiguration",
        ),
    ] {
        assert_eq!(stage.refused(operation, input).await, exception, "{operation}");
    }
}

#[tokio::test]
async fn a_worker_is_given_a_task_and_answers_it_once_by_its_token() {
    let stage = Stage::new().await;
    let created = stage.call("CreateActivity", json!({"name": "review"})).await;
    let machine = stage.machine("ask", Mode::Standard, ASK).await;
    let execution = stage.start(&machine, r#"{"n":1.10}"#).await;
    let poll = json!({"activityArn": created["activityArn"], "workerName": "anna"});
    let task = stage.call("GetActivityTask", poll).await;
    assert_eq!(task["input"], r#"{"n":1.10}"#);
    let token = &task["taskToken"];
    assert_eq!(stage.call("SendTaskHeartbeat", json!({"taskToken": token})).await, json!({}));
    let wrong = json!({"taskToken": token, "output": "{"});
    assert_eq!(stage.refused("SendTaskSuccess", wrong).await, "InvalidOutput");
    let success = json!({"taskToken": token, "output": "{\"ok\":true}"});
    assert_eq!(stage.call("SendTaskSuccess", success.clone()).await, json!({}));
    assert_eq!(stage.until(&execution, "SUCCEEDED").await["output"], "{\"ok\":true}");
    assert_eq!(stage.refused("SendTaskSuccess", success).await, "TaskTimedOut");
    let late = json!({"taskToken": token, "error": "E", "cause": "why"});
    assert_eq!(stage.refused("SendTaskFailure", late).await, "TaskTimedOut");
    assert_eq!(stage.refused("SendTaskHeartbeat", json!({"taskToken": "made-up"})).await, "InvalidToken");
}

#[tokio::test]
async fn a_worker_that_has_gone_frees_its_place_and_is_given_no_task() {
    let stage = Stage::new().await;
    let created = stage.call("CreateActivity", json!({"name": "review"})).await;
    let machine = stage.machine("ask", Mode::Standard, ASK).await;
    let poll = json!({"activityArn": created["activityArn"]});
    let polls = stage.scheduler.gate().doors().polls.clone();
    let waiting = async |wanted| {
        eventually_async("workers that wait", PATIENCE, async || match polls.waiting() {
            waiting if waiting == wanted => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
    };
    let (gate, ask) = (stage.gate.clone(), poll.clone());
    let gone = tokio::spawn(async move { call(&gate, "GetActivityTask", ask).await });
    waiting(1).await;
    gone.abort();
    waiting(0).await;
    stage.start(&machine, "{}").await;
    let task = tokio::time::timeout(PATIENCE, stage.call("GetActivityTask", poll)).await;
    assert!(task.expect("nobody else has it")["taskToken"].is_string());
}
