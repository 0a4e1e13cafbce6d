//! Executions that start others, and a machine's role: real nodes that follow one scheduler.

use std::collections::HashMap;

use asl::{Payload, Value};
use bytes::Bytes;
use executor::node::Node;
use proto::executor::v1::{DescribeExecutionResponse, ExecutionStatus, Mode};
use proto::scheduler::v1::CreateStateMachineRequest;
use serde_json::json;
use testkit::eventually_async;

use crate::cluster::Stage;
use crate::fake::PATIENCE;

/// The first state asks for a child and goes on, the second waits for one to its end.
const PARENT: &[u8] = br#"{"StartAt":"Ask","States":{
    "Ask":{"Type":"Task","Resource":"arn:aws:states:::states:startExecution","ResultPath":"$.asked","Next":"Run",
        "Parameters":{"StateMachineArn":"arn:aws:states:local:000000000000:stateMachine:child","Input":{"from":"ask"},"Name.$":"$.name"}},
    "Run":{"Type":"Task","Resource":"arn:aws:states:::states:startExecution.sync:2","ResultPath":"$.ran","End":true,
        "Parameters":{"StateMachineArn":"arn:aws:states:local:000000000000:stateMachine:child","Input":{"from":"run"}}}}}"#;
const CHILD: &[u8] =
    br#"{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"got.$":"$.from"},"End":true}}}"#;
/// Catches whatever its child ends with.
const CATCHER: &[u8] = br#"{"StartAt":"Run","States":{
    "Run":{"Type":"Task","Resource":"arn:aws:states:::states:startExecution.sync","ResultPath":"$.ran","End":true,
        "Parameters":{"StateMachineArn":"arn:aws:states:local:000000000000:stateMachine:child"},
        "Catch":[{"ErrorEquals":["States.TaskFailed"],"ResultPath":"$.caught","Next":"Caught"}]},
    "Caught":{"Type":"Pass","End":true}}}"#;
/// Names its child by an alias.
const BY_ALIAS: &[u8] = br#"{"StartAt":"Run","States":{
    "Run":{"Type":"Task","Resource":"arn:aws:states:::states:startExecution.sync:2","End":true,
        "Parameters":{"StateMachineArn":"arn:aws:states:local:000000000000:stateMachine:child:PROD","Input":{"from":"x"}}}}}"#;
const FAIL: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Fail","Error":"TooPoor","Cause":"no money"}}}"#;
const WAIT: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;
/// Gives its child a second.
const HASTY: &[u8] = br#"{"StartAt":"Run","States":{
    "Run":{"Type":"Task","Resource":"arn:aws:states:::states:startExecution.sync","TimeoutSeconds":1,"End":true,
        "Parameters":{"StateMachineArn":"arn:aws:states:local:000000000000:stateMachine:child"}}}}"#;
const ROLE_TELLER: &[u8] = br#"{"StartAt":"A","States":{
    "A":{"Type":"Pass","Parameters":{"role.$":"$$.Execution.RoleArn"},"End":true}}}"#;

async fn one_node() -> (Stage, Node) {
    let stage = Stage::new().await;
    let node = stage.node();
    stage.shares(&[(&node, 8)]).await;
    (stage, node)
}

async fn describe(stage: &Stage, execution: &str) -> DescribeExecutionResponse {
    stage.client.clone().describe(execution).await.expect("described")
}

fn status_of(described: &DescribeExecutionResponse) -> ExecutionStatus {
    described.summary.as_ref().expect("a summary").status()
}

async fn ended(stage: &Stage, execution: &str) -> DescribeExecutionResponse {
    eventually_async("its end", PATIENCE, async || {
        let described = describe(stage, execution).await;
        match status_of(&described) {
            ExecutionStatus::Running => Err("it runs".to_owned()),
            _ => Ok(described),
        }
    })
    .await
}

fn output(described: &DescribeExecutionResponse) -> Value {
    let output = described.output.clone().unwrap_or_else(|| panic!("no output: {described:?}"));
    Payload::from_checked(output).into_value()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

/// The one execution of a machine, when there is one.
async fn only(stage: &Stage, machine: &str) -> String {
    eventually_async("the child", PATIENCE, async || {
        let listed = stage.client.clone().list(machine, ExecutionStatus::Unspecified, 10).await;
        let listed = listed.map_err(|status| status.to_string())?;
        match &listed[..] {
            [only] => Ok(only.execution_arn.clone()),
            others => Err(format!("{others:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_state_starts_another_machine_and_another_waits_for_its_end() {
    let (stage, _node) = one_node().await;
    let (parent, child) = (stage.create("parent", PARENT).await, stage.create("child", CHILD).await);
    let input = Bytes::from_static(br#"{"name":"monday"}"#);
    let started = stage.client.clone().start(&parent, "", input).await.expect("started");
    let told = output(&ended(&stage, &started.execution_arn).await);

    let asked = text(&told, "/asked/ExecutionArn").to_owned();
    assert_eq!(asked, "arn:aws:states:local:000000000000:execution:child:monday");
    assert_eq!(output(&ended(&stage, &asked).await).to_string(), r#"{"got":"ask"}"#);
    let ran = describe(&stage, text(&told, "/ran/ExecutionArn")).await;
    assert_eq!(told.pointer("/ran/Output").map(Value::to_string).as_deref(), Some(r#"{"got":"run"}"#));
    assert_eq!(told.pointer("/ran/Input").map(Value::to_string).as_deref(), Some(r#"{"from":"run"}"#));
    assert_eq!((text(&told, "/ran/Status"), text(&told, "/ran/StateMachineArn")), ("SUCCEEDED", &*child));
    let summary = ran.summary.expect("a summary");
    assert_eq!(text(&told, "/ran/Name"), summary.name);
    assert_eq!(told.pointer("/ran/StartDate").and_then(Value::as_u64), Some(summary.start_time_ms));

    let history = stage.client.clone().history(&started.execution_arn).await.expect("its history");
    let mut kinds: HashMap<String, usize> = HashMap::new();
    history.into_iter().for_each(|event| *kinds.entry(event.r#type).or_default() += 1);
    let kinds = ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"].map(|kind| kinds[kind]);
    assert_eq!(kinds, [2, 2, 1, 2]);
}

#[tokio::test]
async fn a_childs_failure_is_the_tasks_and_a_machine_that_is_not_there_is_named() {
    let (stage, _node) = one_node().await;
    let catcher = stage.create("catcher", CATCHER).await;
    let absent = stage.client.clone().start(&catcher, "", Bytes::new()).await.expect("started");
    let absent = ended(&stage, &absent.execution_arn).await;
    assert_eq!(absent.error.as_deref(), None, "every error of a task is caught as States.TaskFailed");
    let absent = output(&absent);
    assert_eq!(text(&absent, "/caught/Error"), "StepFunctions.StateMachineDoesNotExistException");
    assert!(text(&absent, "/caught/Cause").contains("stateMachine:child"), "{absent}");

    stage.create("child", FAIL).await;
    let failed = stage.client.clone().start(&catcher, "", Bytes::new()).await.expect("started");
    let told = output(&ended(&stage, &failed.execution_arn).await);
    assert_eq!(text(&told, "/caught/Error"), "States.TaskFailed");
    let cause = Bytes::copy_from_slice(text(&told, "/caught/Cause").as_bytes());
    let cause = Payload::from_checked(cause).into_value();
    let of = |name: &str| text(&cause, name).to_owned();
    assert_eq!(
        (of("/Status"), of("/Error"), of("/Cause")),
        ("FAILED".into(), "TooPoor".into(), "no money".into())
    );
}

#[tokio::test]
async fn a_parent_that_moves_while_it_waits_follows_the_child_that_it_has_started_once() {
    let (stage, one) = one_node().await;
    let (catcher, child) = (stage.create("catcher", CATCHER).await, stage.create("child", WAIT).await);
    let parent = stage.client.clone().start(&catcher, "", Bytes::new()).await.expect("started");
    let started = only(&stage, &child).await;
    let two = stage.node();
    stage.shares(&[(&one, 4), (&two, 4)]).await;
    one.drain();
    stage.shares(&[(&two, 8)]).await;
    one.wait().await;

    assert_eq!(only(&stage, &child).await, started, "it is the same");
    assert_eq!(status_of(&describe(&stage, &started).await), ExecutionStatus::Running, "it was let alone");
    stage.client.clone().stop(&started, "Enough", "said the test").await.expect("stopped");
    let told = output(&ended(&stage, &parent.execution_arn).await);
    let cause = text(&told, "/caught/Cause");
    assert!(
        cause.contains(&started) && cause.contains("ABORTED") && cause.contains("said the test"),
        "{cause}"
    );
    assert_eq!(only(&stage, &child).await, started);
}

#[tokio::test]
async fn a_child_that_nobody_waits_for_any_more_is_stopped() {
    let (stage, _node) = one_node().await;
    let child = stage.create("child", WAIT).await;
    let catcher = stage.create("catcher", CATCHER).await;
    let parent = stage.client.clone().start(&catcher, "", Bytes::new()).await.expect("started");
    let of_stopped = only(&stage, &child).await;
    // A job that the parent has not been told of yet is not known to it.
    submitted(&stage, &parent.execution_arn).await;
    stage.client.clone().stop(&parent.execution_arn, "", "").await.expect("stopped");
    let stopped = ended(&stage, &of_stopped).await;
    assert_eq!(status_of(&stopped), ExecutionStatus::Aborted);
    assert!(
        stopped.cause.as_deref().is_some_and(|cause| cause.contains(&parent.execution_arn)),
        "{stopped:?}"
    );

    let hasty = stage.create("hasty", HASTY).await;
    let parent = stage.client.clone().start(&hasty, "", Bytes::new()).await.expect("started");
    let parent = ended(&stage, &parent.execution_arn).await;
    assert_eq!(parent.error.as_deref(), Some("States.Timeout"));
    eventually_async("no child that runs", PATIENCE, async || {
        let open = stage.client.clone().list(&child, ExecutionStatus::Running, 10).await;
        let open = open.map_err(|status| status.to_string())?;
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await;
}

async fn submitted(stage: &Stage, execution: &str) {
    eventually_async("TaskSubmitted", PATIENCE, async || {
        let history = stage.client.clone().history(execution).await.map_err(|status| status.to_string())?;
        let last = history.last().map(|event| event.r#type.clone());
        if last.as_deref() == Some("TaskSubmitted") { Ok(()) } else { Err(format!("{last:?}")) }
    })
    .await;
}

#[tokio::test]
async fn an_execution_knows_the_role_of_its_machine_however_it_was_started() {
    let (stage, _node) = one_node().await;
    let role = "arn:aws:iam::123456789012:role/orders";
    for (name, mode, role_arn) in
        [("standard", Mode::Standard, role), ("express", Mode::Express, role), ("none", Mode::Standard, "")]
    {
        let request = CreateStateMachineRequest {
            name: name.into(),
            definition: Bytes::from_static(ROLE_TELLER),
            mode: mode.into(),
            role_arn: role_arn.into(),
            ..CreateStateMachineRequest::default()
        };
        let machine = stage.client.clone().create(request).await.expect("created").arn;
        let expected = format!(r#"{{"role":"{role_arn}"}}"#);
        let started = stage.client.clone().start(&machine, "", Bytes::new()).await.expect("started");
        assert_eq!(output(&ended(&stage, &started.execution_arn).await).to_string(), expected);
        if mode == Mode::Express {
            let told = stage.client.clone().start_sync(&machine, "", Bytes::new()).await.expect("an end");
            assert_eq!(told.output.as_deref(), Some(expected.as_bytes()));
        }
    }
}

#[tokio::test]
async fn a_child_that_its_parent_names_by_an_alias_is_the_version_to_which_that_leads() {
    let (stage, _node) = one_node().await;
    let (parent, child) = (stage.create("parent", BY_ALIAS).await, stage.create("child", CHILD).await);
    let call = async |operation: &str, input| {
        crate::doors::call(stage.scheduler.gate(), operation, input).await.expect(operation)
    };
    let version = call("PublishStateMachineVersion", json!({"stateMachineArn": child})).await;
    let version = &version["stateMachineVersionArn"];
    let update = json!({"stateMachineArn": child, "definition": String::from_utf8_lossy(FAIL)});
    call("UpdateStateMachine", update).await;
    let routing = json!([{"stateMachineVersionArn": version, "weight": 100}]);
    call("CreateStateMachineAlias", json!({"name": "PROD", "routingConfiguration": routing})).await;

    let started = stage.client.clone().start(&parent, "", Bytes::new()).await.expect("started");
    let told = output(&ended(&stage, &started.execution_arn).await);
    assert_eq!((text(&told, "/Output/got"), text(&told, "/StateMachineArn")), ("x", &*child));
    let described = call("DescribeExecution", json!({"executionArn": text(&told, "/ExecutionArn")})).await;
    assert_eq!(described["stateMachineVersionArn"], *version);
    assert_eq!(described["stateMachineAliasArn"], format!("{child}:PROD"));
}
