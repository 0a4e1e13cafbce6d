//! An execution whose step, or whose call of an integration, kills the node again and again.

use proto::executor::v1;
use testkit::eventually_async;

use crate::support::PATIENCE;
use crate::support::load::arn;
use crate::support::node::{Node, start_request};
use crate::support::store::StoreUnderTest;

/// Its first step ends, its second one kills the node.
const POISON: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"End":true}}}"#;
/// The call of its task does.
const POISONED_CALL: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"Next":"T"},"T":{"Type":"Task",
    "Resource":"arn:aws:states:::http:invoke","Parameters":{"ApiEndpoint":"https://10.0.0.1","Method":"GET"},"End":true}}}"#;
/// Open all the time.
const INNOCENT: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":600,"End":true}}}"#;

async fn described(node: &Node, execution: &str) -> Result<v1::DescribeExecutionResponse, String> {
    let request = v1::DescribeExecutionRequest { execution: execution.to_owned() };
    let answer = node.client().await?.describe_execution(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_kills_its_node_is_closed_at_its_third_recovery_and_all_others_go_on() {
    dies_thrice("poison", POISON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_whose_call_kills_its_node_is_closed_in_the_same_way() {
    dies_thrice("arn:aws:states:::http:invoke", POISONED_CALL).await;
}

async fn dies_thrice(failpoint: &str, poison: &'static str) {
    let store = StoreUnderTest::file();
    let state = tempfile::tempdir().expect("a directory");
    let more = ["--state-dir", state.path().to_str().expect("a path of text")];
    let failpoint = format!("FAILPOINT_ABORT_IN={failpoint}");
    let failpoint = ["env", failpoint.as_str()];
    let mut node = Node::launch_through(&failpoint, &store.flags(), &more);
    node.wait_serving().await;
    let mut client = node.client().await.expect("the node answers");
    let innocent = client.start_execution(start_request(INNOCENT, "1")).await.expect("started").into_inner();
    let poison = v1::StartExecutionRequest { machine_arn: arn("poison"), ..start_request(poison, "1") };
    let poison = client.start_execution(poison).await.expect("acknowledged").into_inner();
    for death in 1..=3 {
        // The Wait ends, and what follows aborts.
        let exit = node.wait_exit();
        assert_eq!(exit.signal, Some(6), "death {death}: {exit:?}");
        node.relaunch();
    }
    node.wait_serving().await;
    let closed = || async {
        let found = described(&node, &poison.execution_id).await?;
        let status = found.summary.as_ref().map(|summary| summary.status());
        if status == Some(v1::ExecutionStatus::Failed) { Ok(found) } else { Err(format!("{status:?}")) }
    };
    let failed = eventually_async("it is closed", PATIENCE, closed).await;
    assert_eq!(failed.error.as_deref(), Some("States.Runtime"));
    assert!(failed.cause.is_some_and(|cause| cause.contains("3 times")));
    let found = described(&node, &innocent.execution_id).await.expect("found");
    assert_eq!(found.summary.map(|summary| summary.status()), Some(v1::ExecutionStatus::Running));
    let metrics = node.scrape().await;
    let poisoned = metrics.lines().filter(|line| line.starts_with("executor_poisoned_executions_total"));
    assert_eq!(poisoned.filter(|line| line.ends_with(" 1")).count(), 1, "{metrics}");
    assert_eq!(node.terminate().code, Some(0), "the node lives");
}
