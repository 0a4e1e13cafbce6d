//! Executions, as clients of Step Functions' API see them.

use front::{Api, Gate as _};
use proto::executor::v1::Mode;
use serde_json::{Value, json};

use super::{PASS, Stage, WAIT, call_of};

/// The members of an object.
fn members(object: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

#[tokio::test]
async fn a_name_starts_one_execution_whoever_asks_again_with_the_same_input() {
    let stage = Stage::new().await;
    let machine = stage.machine("wait", Mode::Standard, WAIT).await;
    let start = json!({"stateMachineArn": machine, "name": "monday", "input": "{\"a\":1}"});
    let first = stage.call("StartExecution", start.clone()).await;
    assert_eq!(members(&first), ["executionArn", "startDate"]);
    assert!(
        first["startDate"].is_f64()
            && first["executionArn"].as_str().expect("text").ends_with(":wait:monday")
    );
    assert_eq!(stage.call("StartExecution", start.clone()).await, first);
    let other = json!({"stateMachineArn": machine, "name": "monday", "input": "{\"a\":2}"});
    assert_eq!(stage.refused("StartExecution", other).await, "ExecutionAlreadyExists");
    let execution = first["executionArn"].clone();
    let stopped = stage.call("StopExecution", json!({"executionArn": execution})).await;
    assert_eq!(members(&stopped), ["stopDate"]);
    assert_eq!(stage.refused("StartExecution", start).await, "ExecutionAlreadyExists");
}

#[tokio::test]
async fn starts_that_cannot_be_are_refused_in_the_words_of_the_model() {
    let stage = Stage::new().await;
    let machine = stage.machine("pass", Mode::Standard, PASS).await;
    let unknown = machine.replace(":pass", ":nobody");
    for (input, exception) in [
        (json!({"stateMachineArn": machine, "name": "a b"}), "InvalidName"),
        (json!({"stateMachineArn": machine, "input": "{"}), "InvalidExecutionInput"),
        (json!({"stateMachineArn": unknown}), "StateMachineDoesNotExist"),
        (json!({"stateMachineArn": "pass"}), "InvalidArn"),
        (json!({"stateMachineArn": format!("{machine}:7")}), "StateMachineDoesNotExist"),
        (json!({"stateMachineArn": format!("{machine}/Each")}), "ValidationException"),
    ] {
        assert_eq!(stage.refused("StartExecution", input.clone()).await, exception, "{input}");
    }
    let sync = json!({"stateMachineArn": machine});
    assert_eq!(stage.refused("StartSyncExecution", sync).await, "StateMachineTypeNotSupported");
}

#[tokio::test]
async fn an_execution_is_described_from_its_start_to_its_end() {
    let stage = Stage::new().await;
    let pass = stage.machine("pass", Mode::Standard, PASS).await;
    let execution = stage.start(&pass, r#"{"n":1.10}"#).await;
    let described = stage.until(&execution, "SUCCEEDED").await;
    assert_eq!(
        (&described["executionArn"], &described["stateMachineArn"]),
        (&json!(execution), &json!(pass))
    );
    assert_eq!(
        (&described["input"], &described["output"]),
        (&json!(r#"{"n":1.10}"#), &json!(r#"{"n":1.10}"#))
    );
    assert_eq!(described["redriveStatus"], "NOT_REDRIVABLE");
    let (start, stop) = (described["startDate"].as_f64(), described["stopDate"].as_f64());
    assert!(start.expect("a number") <= stop.expect("a number"));
    let bare = json!({"executionArn": execution, "includedData": "METADATA_ONLY"});
    let bare = stage.call("DescribeExecution", bare).await;
    assert_eq!((bare.get("input"), bare.get("output")), (None, None));
    assert_eq!(bare["inputDetails"], json!({"included": false}));

    let wait = stage.machine("wait", Mode::Standard, WAIT).await;
    let open = stage.start(&wait, "{}").await;
    let described = stage.call("DescribeExecution", json!({"executionArn": open})).await;
    assert_eq!(described["status"], "RUNNING");
    for absent in ["stopDate", "output", "error", "cause", "redriveDate"] {
        assert_eq!(described.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn an_execution_is_stopped_and_redriven_once_by_each_token() {
    let stage = Stage::new().await;
    let wait = stage.machine("wait", Mode::Standard, WAIT).await;
    let execution = stage.start(&wait, "{}").await;
    let stop = json!({"executionArn": execution, "error": "Enough", "cause": "said the test"});
    stage.call("StopExecution", stop).await;
    let stopped = stage.until(&execution, "ABORTED").await;
    assert_eq!((&stopped["error"], &stopped["redriveStatus"]), (&json!("Enough"), &json!("REDRIVABLE")));
    let redrive = json!({"executionArn": execution, "clientToken": "once"});
    let redriven = stage.call("RedriveExecution", redrive.clone()).await;
    assert_eq!(members(&redriven), ["redriveDate"]);
    assert_eq!(stage.call("RedriveExecution", redrive).await, redriven);
    let described = stage.call("DescribeExecution", json!({"executionArn": execution})).await;
    assert_eq!((&described["status"], &described["redriveCount"]), (&json!("RUNNING"), &json!(1)));
    assert_eq!(described["redriveDate"], redriven["redriveDate"]);
    let other = json!({"executionArn": execution, "clientToken": "twice"});
    assert_eq!(stage.refused("RedriveExecution", other).await, "ExecutionNotRedrivable");
}

#[tokio::test]
async fn an_id_under_the_name_of_another_machine_is_no_execution() {
    let stage = Stage::new().await;
    let mine = stage.machine("mine", Mode::Standard, WAIT).await;
    stage.machine("theirs", Mode::Standard, WAIT).await;
    let quick = stage.machine("quick", Mode::Express, PASS).await;
    let execution = stage.start(&mine, "{}").await;
    let express = stage.start(&quick, "{}").await;
    let id = execution.rsplit(':').next().expect("an id");
    let forged = [
        execution.replace(":mine:", ":theirs:"),
        execution.replace(":execution:mine:", ":express:mine:x:"),
        express.replace(":quick:", ":theirs:"),
        "arn:aws:states:local:000000000000:execution:mine:nobody".to_owned(),
    ];
    for execution in &forged {
        for operation in ["DescribeExecution", "StopExecution", "RedriveExecution", "GetExecutionHistory"] {
            let refused = stage.refused(operation, json!({"executionArn": execution})).await;
            assert_eq!(refused, "ExecutionDoesNotExist", "{operation} {execution}");
        }
    }
    for text in [id, "orders", "arn:aws:s3:::bucket"] {
        assert_eq!(stage.refused("StopExecution", json!({"executionArn": text})).await, "InvalidArn");
    }
    let described = stage.call("DescribeExecution", json!({"executionArn": execution})).await;
    assert_eq!(described["status"], "RUNNING");
}

#[tokio::test]
async fn calls_that_do_not_name_their_machine_are_led_to_it() {
    let stage = Stage::new().await;
    let of = async |operation, input| {
        let call = call_of(Api::Sfn, operation, input);
        stage.gate.machine(&call).await.map_err(|fault| fault.kind().sfn())
    };
    assert_eq!(of("SendTaskHeartbeat", json!({"taskToken": "t"})).await, Ok(None));
    let short = json!({"executionArn": "0000"});
    assert_eq!(of("DescribeExecution", short).await, Err("InvalidArn"));
    let qrn = json!({"executionArn": "qrn:qcs:asw:local:000000000000:execution:abcd2345:nobody"});
    assert_eq!(of("DescribeExecution", qrn).await, Err("ExecutionDoesNotExist"));
}

#[tokio::test]
async fn lists_are_of_standard_machines_newest_first_and_by_status() {
    let stage = Stage::new().await;
    let wait = stage.machine("wait", Mode::Standard, WAIT).await;
    let mut executions = Vec::new();
    for _ in 0..5 {
        executions.push(stage.start(&wait, "{}").await);
    }
    let stop = json!({"executionArn": executions[2]});
    stage.call("StopExecution", stop).await;
    let (mut listed, mut token) = (Vec::new(), None);
    loop {
        let mut page = json!({"stateMachineArn": wait, "maxResults": 2});
        if let Some(token) = token.take() {
            page["nextToken"] = token;
        }
        let page = stage.call("ListExecutions", page).await;
        let rows = page["executions"].as_array().expect("a list");
        listed.extend(rows.iter().map(|row| row["executionArn"].as_str().expect("text").to_owned()));
        match page.get("nextToken") {
            Some(next) => token = Some(next.clone()),
            None => break,
        }
    }
    listed.sort_unstable();
    executions.sort_unstable();
    assert_eq!(listed, executions);
    let aborted = json!({"stateMachineArn": wait, "statusFilter": "ABORTED"});
    let aborted = stage.call("ListExecutions", aborted).await;
    assert_eq!(aborted["executions"].as_array().map(Vec::len), Some(1));
    let pending = json!({"stateMachineArn": wait, "statusFilter": "PENDING_REDRIVE"});
    assert_eq!(stage.call("ListExecutions", pending).await, json!({"executions": []}));
}

#[tokio::test]
async fn lists_that_cannot_be_are_refused() {
    let stage = Stage::new().await;
    let wait = stage.machine("wait", Mode::Standard, WAIT).await;
    let quick = stage.machine("quick", Mode::Express, PASS).await;
    for (input, exception) in [
        (json!({"stateMachineArn": quick}), "StateMachineTypeNotSupported"),
        (json!({"stateMachineArn": wait.replace("wait", "nobody")}), "StateMachineDoesNotExist"),
        (json!({"stateMachineArn": wait, "nextToken": "made-up"}), "InvalidToken"),
        (json!({}), "ValidationException"),
        (
            json!({"stateMachineArn": wait, "mapRunArn": "arn:aws:states:r:a:mapRun:m/l:u"}),
            "ValidationException",
        ),
    ] {
        assert_eq!(stage.refused("ListExecutions", input.clone()).await, exception, "{input}");
    }
}

#[tokio::test]
async fn an_express_execution_is_run_to_its_end_and_billed() {
    let stage = Stage::new().await;
    let quick = stage.machine("quick", Mode::Express, PASS).await;
    let start = json!({"stateMachineArn": quick, "name": "n", "input": "[1]", "traceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793"});
    for _ in 0..2 {
        let ended = stage.call("StartSyncExecution", start.clone()).await;
        assert_eq!((&ended["status"], &ended["output"]), (&json!("SUCCEEDED"), &json!("[1]")));
        assert_eq!((&ended["stateMachineArn"], &ended["name"]), (&json!(quick), &json!("n")));
        let billed = &ended["billingDetails"];
        assert_eq!(billed["billedMemoryUsedInMB"], 64);
        assert_eq!(billed["billedDurationInMilliseconds"].as_u64().expect("a number") % 100, 0);
        assert_eq!(ended["traceHeader"], start["traceHeader"]);
        let execution = json!({"executionArn": ended["executionArn"]});
        let described = stage.call("DescribeExecution", execution).await;
        assert_eq!((described.get("redriveStatus"), &described["status"]), (None, &json!("SUCCEEDED")));
    }
    let fail = r#"{"StartAt":"A","States":{"A":{"Type":"Fail","Error":"E","Cause":"why"}}}"#;
    let fail = stage.machine("fail", Mode::Express, fail).await;
    let ended = json!({"stateMachineArn": fail, "includedData": "METADATA_ONLY"});
    let ended = stage.call("StartSyncExecution", ended).await;
    assert_eq!(
        (&ended["status"], &ended["error"], &ended["cause"]),
        (&json!("FAILED"), &json!("E"), &json!("why"))
    );
    assert_eq!((ended.get("input"), ended.get("output")), (None, None));
}

#[tokio::test]
async fn what_was_started_by_a_version_or_an_alias_says_so_wherever_it_is_shown() {
    let stage = Stage::new().await;
    let machine = stage.machine("wait", Mode::Standard, WAIT).await;
    let published = stage.call("PublishStateMachineVersion", json!({"stateMachineArn": machine})).await;
    let version = &published["stateMachineVersionArn"];
    let routing = json!([{"stateMachineVersionArn": version, "weight": 100}]);
    let alias = json!({"name": "PROD", "routingConfiguration": routing});
    let alias = &stage.call("CreateStateMachineAlias", alias).await["stateMachineAliasArn"];
    let by_alias = stage.start(alias.as_str().expect("an ARN"), "{}").await;
    let by_version = stage.start(version.as_str().expect("an ARN"), "{}").await;
    let by_neither = stage.start(&machine, "{}").await;
    for (execution, version, alias) in [
        (&by_alias, Some(version), Some(alias)),
        (&by_version, Some(version), None),
        (&by_neither, None, None),
    ] {
        let ask = json!({"executionArn": execution});
        let described = stage.call("DescribeExecution", ask.clone()).await;
        assert_eq!(described["stateMachineArn"], json!(machine));
        let history = stage.call("GetExecutionHistory", ask.clone()).await;
        let listed = stage.call("ListExecutions", json!({"stateMachineArn": machine})).await;
        let rows = listed["executions"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["executionArn"] == json!(execution)).expect("it is listed");
        for shown in [&described, &history["events"][0]["executionStartedEventDetails"], row] {
            let told = (shown.get("stateMachineVersionArn"), shown.get("stateMachineAliasArn"));
            assert_eq!(told, (version, alias), "{shown}");
        }
    }
    let count = async |filter: Value| {
        let listed = stage.call("ListExecutions", filter).await;
        listed["executions"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count(json!({"stateMachineArn": version})).await, 2);
    assert_eq!(count(json!({"stateMachineArn": alias})).await, 1);
    // It is the oldest: two that are none of the alias' stand before it.
    assert_eq!(count(json!({"stateMachineArn": alias, "maxResults": 1})).await, 1);
    assert_eq!(count(json!({"stateMachineArn": machine, "redriveFilter": "REDRIVEN"})).await, 0);
    assert_eq!(count(json!({"stateMachineArn": machine, "redriveFilter": "NOT_REDRIVEN"})).await, 3);
}

#[tokio::test]
async fn an_executions_machine_is_described_as_it_was_when_it_started() {
    let stage = Stage::new().await;
    let machine = stage.machine("wait", Mode::Standard, WAIT).await;
    let execution = stage.start(&machine, "{}").await;
    let before = stage.call("DescribeStateMachine", json!({"stateMachineArn": machine})).await;
    let change = json!({"stateMachineArn": machine, "definition": PASS});
    stage.call("UpdateStateMachine", change).await;
    let ask = json!({"executionArn": execution});
    let described = stage.call("DescribeStateMachineForExecution", ask.clone()).await;
    for member in ["stateMachineArn", "name", "definition", "roleArn", "loggingConfiguration"] {
        assert_eq!(described[member], before[member], "{member}");
    }
    assert_eq!(described["updateDate"], before["creationDate"]);
    stage.call("DeleteStateMachine", json!({"stateMachineArn": machine})).await;
    let after = stage.call("DescribeStateMachineForExecution", ask).await;
    assert_eq!((&after["definition"], &after["name"]), (&json!(WAIT), &json!("wait")));
}

#[tokio::test]
async fn a_short_form_is_refused_in_the_words_of_what_its_member_names() {
    let stage = Stage::new().await;
    for (operation, member, told) in [
        ("DescribeExecution", "executionArn", "of the execution"),
        ("DescribeStateMachine", "stateMachineArn", "stateMachineArn: give the whole ARN"),
        ("ListExecutions", "mapRunArn", "mapRunArn: give the whole ARN"),
        ("TagResource", "resourceArn", "resourceArn: give the whole ARN"),
    ] {
        let call = call_of(Api::Sfn, operation, json!({member: "orders"}));
        let fault = front::Gate::machine(&stage.gate, &call).await.expect_err(operation);
        assert_eq!(fault.kind(), front::Kind::InvalidArn, "{operation}");
        assert!(fault.message().contains(told), "{operation}: {}", fault.message());
    }
}
