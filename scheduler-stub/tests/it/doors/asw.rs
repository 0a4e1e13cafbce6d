//! ASW's API, as its SDKs call it.

use front::{Api, Fault, Gate as _};
use serde_json::{Value, json};
use testkit::eventually_async;

use super::{PASS, Stage, WAIT, call_of};
use crate::fake::PATIENCE;

const ROLE: &str = "qcs::cam::uin/100000000001:roleName/orders";
/// Of the flow service `orders`.
const QRN: &str = "qrn:qcs:asw:local:000000000000:http:json:flowmachine:orders:";

async fn ask(stage: &Stage, action: &str, input: Value) -> Result<Value, Fault> {
    let answer = stage.gate.call(call_of(Api::Asw, action, input)).await?;
    Ok(serde_json::from_slice(answer.as_bytes()).expect("an object"))
}

async fn told(stage: &Stage, action: &str, input: Value) -> Value {
    ask(stage, action, input).await.expect(action)
}

/// The code that a client sees.
async fn refused(stage: &Stage, action: &str, input: Value) -> &'static str {
    let fault = ask(stage, action, input).await.expect_err(action);
    assert_ne!(fault.message(), "");
    fault.kind().asw()
}

async fn create(stage: &Stage, name: &str, definition: &str, kind: &str) -> String {
    let input = json!({"FlowServiceName": name, "Definition": definition, "IsNewRole": false, "Type": kind,
        "FlowServiceChineseName": "订单", "RoleResource": ROLE, "Description": "for people", "EnableCLS": true,
        "Input": r#"{"given": false}"#});
    let created = told(stage, "CreateFlowService", input).await;
    assert!(is_time(&created["CreateDate"]), "{created}");
    created["FlowServiceResource"].as_str().expect("a QRN").to_owned()
}

/// Milliseconds as a text.
fn is_time(value: &Value) -> bool {
    value.as_str().and_then(|text| text.parse::<u64>().ok()).is_some_and(|ms| ms > 1_600_000_000_000)
}

async fn start(stage: &Stage, machine: &str, more: Value) -> String {
    let mut input = json!({"StateMachineResourceName": machine});
    for (member, value) in more.as_object().expect("an object") {
        input[member] = value.clone();
    }
    let started = told(stage, "StartExecution", input).await;
    assert!(is_time(&started["StartDate"]), "{started}");
    started["ExecutionResourceName"].as_str().expect("a QRN").to_owned()
}

async fn described(stage: &Stage, execution: &str) -> Value {
    told(stage, "DescribeExecution", json!({"ExecutionResourceName": execution})).await
}

async fn until(stage: &Stage, execution: &str, status: &str) -> Value {
    eventually_async("the execution's status", PATIENCE, async || {
        let described = described(stage, execution).await;
        if described["Status"] == status { Ok(described) } else { Err(described.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_flow_service_is_created_looked_at_modified_listed_and_deleted() {
    let stage = Stage::new().await;
    let machine = create(&stage, "orders", PASS, "STANDARD").await;
    assert!(machine.starts_with(QRN), "{machine}");
    let of_machine = |machine: &str| json!({"FlowServiceResource": machine});
    let detail = told(&stage, "DescribeFlowServiceDetail", of_machine(&machine)).await;
    let expected = json!({"FlowServiceName": "orders", "Status": "Online", "Definition": PASS, "RoleResource": ROLE,
        "Type": "STANDARD", "CreateDate": detail["CreateDate"], "Description": "for people",
        "FlowServiceChineseName": "订单", "EnableCLS": true, "CLSUrl": null, "FlowInput": r#"{"given": false}"#});
    assert_eq!(detail, expected);

    // Its region may be spelt in another way.
    let elsewhere = machine.replace(":local:", ":sh:");
    let modify = |name: &str, kind: &str| {
        json!({"FlowServiceResource": elsewhere, "Definition": WAIT, "FlowServiceName": name,
            "FlowServiceChineseName": "", "IsNewRole": false, "Type": kind, "RoleResource": "", "EnableCLS": false})
    };
    for wrong in [modify("other", "STANDARD"), modify("orders", "EXPRESS")] {
        assert_eq!(refused(&stage, "ModifyFlowService", wrong).await, "InvalidParameterValue");
    }
    let modified = told(&stage, "ModifyFlowService", modify("orders", "STANDARD")).await;
    assert_eq!(modified["FlowServiceResource"], json!(machine));
    assert!(is_time(&modified["UpdateDate"]), "{modified}");
    let detail = told(&stage, "DescribeFlowServiceDetail", of_machine(&elsewhere)).await;
    assert_eq!((&detail["Definition"], &detail["RoleResource"]), (&json!(WAIT), &json!("")));
    assert_eq!((&detail["EnableCLS"], &detail["Description"]), (&json!(false), &json!("for people")));

    let mut emptied = modify("orders", "STANDARD");
    emptied["Description"] = json!("");
    told(&stage, "ModifyFlowService", emptied).await;
    let detail = told(&stage, "DescribeFlowServiceDetail", of_machine(&elsewhere)).await;
    assert_eq!(detail["Description"], json!(""));

    create(&stage, "quick", PASS, "EXPRESS").await;
    let filters = json!({"Filters": [{"Name": "Type", "Values": ["STANDARD"]}]});
    let listed = told(&stage, "DescribeFlowServices", filters).await;
    let line = &listed["FlowServiceSet"][0];
    assert_eq!((&listed["TotalCount"], &line["FlowServiceResource"]), (&json!(1), &json!(machine)));
    let id = machine.rsplit(':').next().expect("an id");
    assert_eq!((&line["FlowServiceId"], &line["Status"]), (&json!(format!("svc-{id}")), &json!("Online")));
    assert!(is_time(&line["CreateDate"]) && is_time(&line["ModifyDate"]), "{line}");

    assert_eq!(told(&stage, "DeleteFlowService", of_machine(&elsewhere)).await, json!({}));
    for action in ["DeleteFlowService", "DescribeFlowServiceDetail"] {
        assert_eq!(refused(&stage, action, of_machine(&machine)).await, "ResourceNotFound");
    }
    let nonsense = of_machine("orders");
    assert_eq!(refused(&stage, "DescribeFlowServiceDetail", nonsense).await, "InvalidParameterValue");
}

#[tokio::test]
async fn an_execution_is_started_with_the_machines_input_where_it_has_none_and_told_of_whole() {
    let stage = Stage::new().await;
    let machine = create(&stage, "orders", PASS, "STANDARD").await;
    let bare = start(&stage, &machine.replace(":local:", ":sh:"), json!({"Name": "", "Input": ""})).await;
    let named = start(&stage, &machine, json!({"Name": "monday", "Input": r#"{"n": 1}"#})).await;
    assert!(named.starts_with("qrn:qcs:asw:local:000000000000:execution:"), "{named}");
    assert!(named.ends_with(":monday"), "{named}");
    assert_eq!(until(&stage, &bare, "SUCCEED").await["Input"], r#"{"given": false}"#);
    let described = until(&stage, &named, "SUCCEED").await;
    let expected = json!({"ExecutionResourceName": named, "Name": "monday", "StartDate": described["StartDate"],
        "StopDate": described["StopDate"], "StateMachineResourceName": machine, "Status": "SUCCEED",
        "Input": r#"{"n": 1}"#, "Output": r#"{"n": 1}"#, "ExecutionDefinition": PASS});
    assert_eq!(described, expected);
    assert!(is_time(&described["StartDate"]) && is_time(&described["StopDate"]), "{described}");

    let history = json!({"ExecutionResourceName": named.replace(":local:", ":sh:")});
    let history = told(&stage, "DescribeExecutionHistory", history).await;
    let events = history["Events"].as_array().expect("events");
    assert!((1..).zip(events).all(|(id, event)| event["EventId"] == id), "{history}");
    let categories: Vec<&str> = events.iter().filter_map(|event| event["EventCategory"].as_str()).collect();
    assert!(categories.contains(&"PassNodeEnter") && categories.contains(&"PassNodeExit"), "{categories:?}");
    for event in events {
        assert_eq!(event["ExecutionResourceName"], json!(named));
        let texts = ["StepName", "ResourceName", "Content", "Exception"];
        assert!(
            texts.iter().all(|member| event[member].is_string()) && is_time(&event["Timestamp"]),
            "{event}"
        );
    }

    let taken = json!({"StateMachineResourceName": machine, "Name": "monday", "Input": "{}"});
    assert_eq!(refused(&stage, "StartExecution", taken).await, "ResourceInUse");
    let wrong = json!({"StateMachineResourceName": machine, "Input": "{"});
    assert_eq!(refused(&stage, "StartExecution", wrong).await, "InvalidParameterValue");
    let unknown = json!({"StateMachineResourceName": machine.replace("orders", "others")});
    assert_eq!(refused(&stage, "StartExecution", unknown).await, "ResourceNotFound");
}

#[tokio::test]
async fn executions_are_listed_in_numbered_pages_and_by_their_status() {
    let stage = Stage::new().await;
    let (wait, other) =
        (create(&stage, "wait", WAIT, "STANDARD").await, create(&stage, "other", WAIT, "STANDARD").await);
    let mut started = Vec::new();
    for name in ["a", "b", "c"] {
        started.push(start(&stage, &wait, json!({"Name": name})).await);
    }
    let foreign = start(&stage, &other, json!({})).await;
    let running = described(&stage, &started[0]).await;
    assert_eq!((&running["StopDate"], &running["Output"]), (&json!("0"), &Value::Null));
    assert_eq!(told(&stage, "StopExecution", json!({"ExecutionQrn": started[0]})).await, json!({}));
    until(&stage, &started[0], "TERMINATED").await;

    let list = async |more: Value| {
        let mut input = json!({"StateMachineResourceName": wait, "PageSize": 2, "PageIndex": 1});
        for (member, value) in more.as_object().expect("an object") {
            input[member] = value.clone();
        }
        let listed = told(&stage, "DescribeExecutions", input).await;
        let rows = listed["Executions"].as_array().expect("rows").iter();
        let mut names: Vec<String> =
            rows.map(|row| row["Name"].as_str().expect("a name").to_owned()).collect();
        names.sort();
        (names.concat(), listed["TotalCount"].as_u64().expect("a number"))
    };
    let (first, count) = list(json!({})).await;
    let (second, _) = list(json!({"PageIndex": 2})).await;
    let mut all: Vec<char> = first.chars().chain(second.chars()).collect();
    all.sort_unstable();
    assert_eq!((all, count), (vec!['a', 'b', 'c'], 3));
    assert_eq!(list(json!({"FilterExecutionStatus": "TERMINATED"})).await, ("a".to_owned(), 1));
    assert_eq!(list(json!({"FilterExecutionStatus": "RUNNING"})).await, ("bc".to_owned(), 2));
    assert_eq!(list(json!({"FilterExecutionStatus": "FAILED"})).await, (String::new(), 0));
    let by_name = async |execution: &str| list(json!({"FilterExecutionResourceName": execution})).await;
    assert_eq!(by_name(&started[1]).await, ("b".to_owned(), 1));
    for none in [&foreign, &started[1].replace(":b", ":z")] {
        assert_eq!(by_name(none).await, (String::new(), 0), "{none}");
    }
    let far = json!({"StateMachineResourceName": wait, "PageSize": 100, "PageIndex": 101});
    assert_eq!(refused(&stage, "DescribeExecutions", far).await, "InvalidParameterValue");
}

#[tokio::test]
async fn an_execution_is_found_under_its_own_machine_alone() {
    let stage = Stage::new().await;
    let (mine, yours) =
        (create(&stage, "mine", WAIT, "STANDARD").await, create(&stage, "yours", WAIT, "STANDARD").await);
    let execution = start(&stage, &yours, json!({})).await;
    let segment = |machine: &str| machine.rsplit(':').next().expect("an id").to_owned();
    let forged = execution.replace(&segment(&yours), &segment(&mine));
    assert_ne!(forged, execution);
    let id = execution.rsplit(':').next().expect("a name");
    for (wrong, code) in [(forged.as_str(), "ResourceNotFound"), (id, "InvalidParameterValue")] {
        for action in ["DescribeExecution", "DescribeExecutionHistory"] {
            let input = json!({"ExecutionResourceName": wrong});
            assert_eq!(refused(&stage, action, input).await, code, "{action} {wrong}");
        }
        assert_eq!(refused(&stage, "StopExecution", json!({"ExecutionQrn": wrong})).await, code);
    }
    assert_eq!(described(&stage, &execution).await["Status"], "RUNNING");
}
