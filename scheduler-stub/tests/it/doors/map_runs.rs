//! Map Runs, as Step Functions' API asks for them.

use proto::executor::v1::Mode;
use serde_json::{Value, json};

use super::Stage;

/// Two Maps, one after the other: the first one's items come in pairs.
const MAPS: &str = r#"{"StartAt":"M","States":{
    "M":{"Type":"Map","Label":"Pairs","MaxConcurrency":1,"ItemBatcher":{"MaxItemsPerBatch":2},"ToleratedFailureCount":1,
        "ResultPath":null,"Next":"N","ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
        "StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}},
    "N":{"Type":"Map","Label":"Waits","End":true,
        "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
        "StartAt":"B","States":{"B":{"Type":"Wait","Seconds":86400,"End":true}}}}}}"#;

#[tokio::test]
async fn map_runs_are_listed_newest_first_described_with_counts_and_stay_as_they_began() {
    let stage = Stage::new().await;
    let machine = stage.machine("maps", Mode::Standard, MAPS).await;
    let execution = stage.start(&machine, "[1,2,3]").await;
    let name = execution.replace(":execution:maps:", ":mapRun:maps/Pairs:");
    let ask = |arn: &str| json!({"mapRunArn": arn});
    assert_eq!(stage.refused("DescribeMapRun", ask(&name)).await, "ResourceNotFound");
    assert_eq!(stage.refused("DescribeMapRun", ask(&execution)).await, "InvalidArn");

    let first = stage.call("ListMapRuns", json!({"executionArn": execution, "maxResults": 1})).await;
    let next = json!({"executionArn": execution, "maxResults": 1, "nextToken": first["nextToken"]});
    let second = stage.call("ListMapRuns", next.clone()).await;
    assert!(first["nextToken"].is_string() && second.get("nextToken").is_none(), "{first} {second}");
    let (waits, pairs) = (&first["mapRuns"][0], &second["mapRuns"][0]);
    assert_eq!(pairs["stateMachineArn"], json!(format!("{machine}/Pairs")));
    assert_eq!((&pairs["executionArn"], &waits["executionArn"]), (&json!(execution), &json!(execution)));
    assert!(
        waits["startDate"].is_f64() && waits.get("stopDate").is_none() && pairs["stopDate"].is_f64(),
        "{first}"
    );

    let described = stage.call("DescribeMapRun", ask(pairs["mapRunArn"].as_str().expect("an ARN"))).await;
    let counts = |running: u64, succeeded: u64| {
        json!({"pending": 0, "running": running, "succeeded": succeeded, "failed": 0, "timedOut": 0, "aborted": 0,
            "total": running + succeeded, "resultsWritten": 0})
    };
    let expected = json!({"mapRunArn": pairs["mapRunArn"], "executionArn": execution, "status": "SUCCEEDED",
        "startDate": pairs["startDate"], "stopDate": pairs["stopDate"], "maxConcurrency": 1,
        "toleratedFailureCount": 1, "toleratedFailurePercentage": 0.0,
        "itemCounts": counts(0, 3), "executionCounts": counts(0, 2)});
    assert_eq!(described, expected);
    let running = waits["mapRunArn"].as_str().expect("an ARN");
    let described = stage.call("DescribeMapRun", ask(running)).await;
    assert_eq!((&described["status"], &described["itemCounts"]), (&json!("RUNNING"), &counts(3, 0)));
    for run in [waits, pairs] {
        let update = json!({"mapRunArn": run["mapRunArn"], "maxConcurrency": 9});
        assert_eq!(stage.refused("UpdateMapRun", update).await, "ValidationException");
    }

    let other = stage.start(&machine, "[]").await;
    let foreign = json!({"executionArn": other, "nextToken": next["nextToken"]});
    assert_eq!(stage.refused("ListMapRuns", foreign).await, "InvalidToken");
    let unknown = json!({"executionArn": execution.replace("maps", "others")});
    assert_eq!(stage.refused("ListMapRuns", unknown).await, "ExecutionDoesNotExist");
}

/// Statuses and items of what a list tells.
fn rows(listed: &Value) -> Vec<(&str, u64)> {
    let rows = listed["executions"].as_array().expect("executions").iter();
    rows.map(|row| (row["status"].as_str().expect("text"), row["itemCount"].as_u64().expect("a number")))
        .collect()
}

#[tokio::test]
async fn the_children_of_a_map_run_are_listed_newest_first_by_its_arn() {
    let stage = Stage::new().await;
    let machine = stage.machine("maps", Mode::Standard, MAPS).await;
    let execution = stage.start(&machine, "[1,2,3]").await;
    let runs = stage.call("ListMapRuns", json!({"executionArn": execution})).await;
    let arn = |at: usize| runs["mapRuns"][at]["mapRunArn"].as_str().expect("an ARN");
    let (waits, pairs) = (arn(0), arn(1));
    let list = |more: Value| {
        let mut input = json!({"mapRunArn": pairs});
        input.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        input
    };
    let all = stage.call("ListExecutions", list(json!({}))).await;
    assert_eq!(rows(&all), [("SUCCEEDED", 1), ("SUCCEEDED", 2)]);
    let row = &all["executions"][0];
    let name = row["name"].as_str().expect("a name");
    assert_eq!(row["executionArn"], json!(execution_of(&machine, "Pairs", name)));
    assert_eq!(
        (&row["stateMachineArn"], &row["mapRunArn"]),
        (&json!(format!("{machine}/Pairs")), &json!(pairs))
    );
    assert!(row["startDate"].is_f64() && row["stopDate"].is_f64() && row["redriveCount"] == 0, "{row}");

    let first = stage.call("ListExecutions", list(json!({"maxResults": 1}))).await;
    let next = json!({"maxResults": 1, "nextToken": first["nextToken"]});
    let second = stage.call("ListExecutions", list(next.clone())).await;
    assert_eq!(
        (&first["executions"][0], &second["executions"][0]),
        (&all["executions"][0], &all["executions"][1])
    );
    assert!(second.get("nextToken").is_none(), "{second}");
    for nothing in [json!({"statusFilter": "FAILED"}), json!({"redriveFilter": "REDRIVEN"})] {
        assert_eq!(rows(&stage.call("ListExecutions", list(nothing)).await), []);
    }
    let waiting = stage.call("ListExecutions", json!({"mapRunArn": waits, "statusFilter": "RUNNING"})).await;
    assert_eq!(rows(&waiting), [("RUNNING", 1); 3]);

    let foreign = json!({"mapRunArn": waits, "nextToken": next["nextToken"]});
    assert_eq!(stage.refused("ListExecutions", foreign).await, "InvalidToken");
    let unknown = json!({"mapRunArn": pairs.replace("maps", "others")});
    assert_eq!(stage.refused("ListExecutions", unknown).await, "ResourceNotFound");
    assert_eq!(stage.refused("ListExecutions", json!({"mapRunArn": execution})).await, "InvalidArn");
}

#[tokio::test]
async fn a_map_run_that_is_not_there_any_more_is_not_found_whatever_the_list_is_narrowed_to() {
    let stage = Stage::new().await;
    let machine = stage.machine("maps", Mode::Standard, MAPS).await;
    let there = stage.start(&machine, "[1]").await;
    let gone = there.replace(":maps:", ":maps:not-");
    let arns = [&there, &gone].map(|of| {
        let arn = machine.replace(":stateMachine:maps", &format!(":mapRun:maps/Pairs:{}", of.len()));
        // As of an execution whose retention has passed since.
        stage.gate.doors().map_runs.learn(of, [arn.as_str()].into_iter());
        arn
    });
    let narrowed = [
        json!({}),
        json!({"statusFilter": "SUCCEEDED"}),
        json!({"statusFilter": "PENDING_REDRIVE"}),
        json!({"redriveFilter": "REDRIVEN"}),
    ];
    for (arn, mut input) in arns.iter().flat_map(|arn| narrowed.iter().map(move |to| (arn, to.clone()))) {
        input["mapRunArn"] = json!(arn);
        assert_eq!(stage.refused("ListExecutions", input.clone()).await, "ResourceNotFound", "{input}");
    }
    for arn in arns {
        assert_eq!(stage.refused("DescribeMapRun", json!({"mapRunArn": arn})).await, "ResourceNotFound");
    }
    let runs = stage.call("ListMapRuns", json!({"executionArn": there})).await;
    for filter in [json!({"statusFilter": "PENDING_REDRIVE"}), json!({"redriveFilter": "REDRIVEN"})] {
        let mut input = filter;
        input["mapRunArn"] = runs["mapRuns"][0]["mapRunArn"].clone();
        assert_eq!(rows(&stage.call("ListExecutions", input).await), [], "of one that is there");
    }
}

/// The ARN of a child execution.
fn execution_of(machine: &str, label: &str, name: &str) -> String {
    let kind = machine.replace(":stateMachine:", ":express:");
    format!("{kind}/{label}:{name}:{name}")
}
