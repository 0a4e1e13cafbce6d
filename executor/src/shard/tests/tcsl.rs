//! TCSL in a shard: histories in either service's form, answers of cloud APIs.

use asl::Dialect;
use proto::executor::v1::{HistoryForm, Mode};
use serde_json::Value;

use super::*;

const FLOW: &str = "qrn:qcs:asw:gz:1:http:json:flowmachine:flow:abcd1234";
const SEND: &str = "qrn:qcs:asw:gz:1:sdk:json:qcloud:mps:ProcessMedia";
const DEFINITION: &str = r#"{"StartAt":"Send","States":{"Send":{"Type":"Task","End":true,
    "Resource":"qrn:qcs:asw:gz:1:sdk:json:qcloud:mps:ProcessMedia"}}}"#;

fn flow(definition: DefinitionHash, input: &str) -> v1::StartBatch {
    let mut batch = batch(1, definition, Mode::Standard, &[input]);
    batch.machines[0].arn = FLOW.to_owned();
    batch.machines[0].dialect = v1::Dialect::Tcsl as i32;
    batch.name = vec!["monday".to_owned()];
    batch
}

/// Runs the flow with this answer of its task; the outcome, and the events in a form.
async fn run(answer: &str, form: HistoryForm) -> (v1::Outcome, Vec<v1::HistoryEvent>) {
    let world = World::new();
    let definition = world.define_as(DEFINITION, Dialect::Tcsl).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(flow(definition, r#"{"a":1}"#)).await;
    let task = tasks(&mut worker, 1).await.remove(0);
    assert_eq!(task.function, SEND);
    world.clock.advance(Duration::from_millis(5));
    shard.succeed(1, &task.token, answer).await;
    world.clock.advance(Duration::from_millis(1));
    let outcome = outcomes(&mut watcher, 1).await.remove(0);
    let ask = |reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply };
    (outcome, shard.ask(ask).await.expect("a history").events)
}

fn types(events: &[v1::HistoryEvent]) -> Vec<&str> {
    events.iter().map(|event| event.r#type.as_str()).collect()
}

#[tokio::test]
async fn a_tcsl_execution_has_the_history_of_asw_where_nothing_else_is_asked_for() {
    let (_, events) = run(r#"{"Response":{"TaskId":"t"}}"#, HistoryForm::Unspecified).await;
    assert_eq!(types(&events), ["ExecutionStart", "Unknown", "TaskNodeEnter", "TaskNodeExit", "Unknown"]);
    let exit: Value = serde_json::from_slice(&events[3].details).expect("JSON");
    let name = "qrn:qcs:asw:gz:1:execution:abcd1234:monday";
    assert_eq!((exit["ExecutionResourceName"].as_str(), exit["EventId"].as_u64()), (Some(name), Some(4)));
    assert_eq!((exit["StepName"].as_str(), exit["ResourceName"].as_str()), (Some("Send"), Some(SEND)));
    let content: Value = serde_json::from_str(exit["Content"].as_str().expect("text")).expect("JSON");
    assert_eq!(content["output"], r#"{"Response":{"TaskId":"t"}}"#);
    assert_eq!(content["next"], r#"["END"]"#);
    assert_eq!(exit["Timestamp"], events[3].timestamp_ms.to_string());
}

#[tokio::test]
async fn a_tcsl_execution_has_the_history_of_step_functions_where_that_is_asked_for() {
    let (_, events) = run(r#"{"Response":{"TaskId":"t"}}"#, HistoryForm::StepFunctions).await;
    assert_eq!(
        types(&events),
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
    let scheduled: Value = serde_json::from_slice(&events[2].details).expect("JSON");
    assert_eq!(
        (scheduled["resourceType"].as_str(), scheduled["resource"].as_str()),
        (Some("mps"), Some("ProcessMedia"))
    );
}

#[tokio::test]
async fn an_asl_execution_may_be_told_in_asws_form() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Standard, &["1"])).await;
    let ask =
        |reply| Command::History { execution: execution(1, 0), form: HistoryForm::Asw, cut: WHOLE, reply };
    let events = shard.ask(ask).await.expect("a history").events;
    assert_eq!(types(&events), ["ExecutionStart", "Unknown", "PassNodeEnter", "PassNodeExit", "Unknown"]);
}

#[tokio::test]
async fn an_answer_whose_envelope_holds_an_error_fails_the_task_with_its_code() {
    let answer = r#"{"Response":{"Error":{"Code":"LimitExceeded","Message":"slow down"},"RequestId":"r"}}"#;
    let (outcome, events) = run(answer, HistoryForm::Asw).await;
    assert_eq!(
        (outcome.error.as_deref(), outcome.cause.as_deref()),
        (Some("LimitExceeded"), Some("slow down"))
    );
    let exit: Value = serde_json::from_slice(&events[3].details).expect("JSON");
    assert_eq!(exit["Exception"], r#"{"Error":"LimitExceeded","Cause":"slow down"}"#);
}
