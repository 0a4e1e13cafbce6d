//! Map Runs, as Step Functions' API asks for them.

use proto::executor::v1::Mode;
use serde_json::json;

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
