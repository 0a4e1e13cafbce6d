//! Synchronous EXPRESS executions, and redrives, as a client sees them.

use std::sync::Arc;
use std::time::Duration;

use ids::PartitionId;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::support::{PASS, PATIENCE, WAIT, config, node, refused, request, start};

const FAIL: &[u8] = br#"{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"E","Cause":"why"}}}"#;
const BRIEF: &[u8] = br#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"End":true}}}"#;

fn sync(definition: &'static [u8], input: &'static str) -> v1::StartExecutionRequest {
    v1::StartExecutionRequest { mode: v1::Mode::Express.into(), ..request(definition, input) }
}

#[tokio::test]
async fn a_synchronous_start_is_answered_with_the_end() {
    let mut test = node().await;
    for (definition, status) in [
        (PASS, v1::ExecutionStatus::Succeeded),
        (BRIEF, v1::ExecutionStatus::Succeeded),
        (FAIL, v1::ExecutionStatus::Failed),
    ] {
        let ended = test
            .client
            .start_sync_execution(sync(definition, r#"{"a":1}"#))
            .await
            .expect("an end")
            .into_inner();
        let summary = ended.summary.expect("a summary");
        assert_eq!((summary.status(), summary.mode()), (status, v1::Mode::SyncExpress));
        assert!(summary.stop_time_ms >= summary.start_time_ms && summary.execution_arn.contains(":express:"));
        if status == v1::ExecutionStatus::Succeeded {
            assert_eq!(ended.output.as_deref(), Some(&br#"{"a":1}"#[..]));
        } else {
            assert_eq!((ended.error.as_deref(), ended.cause.as_deref()), (Some("E"), Some("why")));
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_what_it_started() {
    let mut test = node().await;
    let mut brief = Request::new(sync(BRIEF, "{}"));
    brief.set_timeout(Duration::from_millis(300));
    let status = test.client.start_sync_execution(brief).await.expect_err("no end yet");
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    let request =
        v1::ListExecutionsRequest { machine_arn: crate::support::ORDERS.to_owned(), ..Default::default() };
    let listed = test.client.list_executions(request).await.expect("a page").into_inner().executions;
    assert_eq!(listed.len(), 1);
    let ended = tokio::time::timeout(PATIENCE, test.ended(&listed[0].execution_id)).await.expect("an end");
    assert_eq!(ended.summary.expect("a summary").status(), v1::ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn who_waits_for_an_end_that_another_owner_will_tell_is_not_asked_to_start_it_again() {
    let store = MemoryStore::new();
    let mut test = start(config(), Arc::new(store.clone())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true), "the node serves");
    let mut client = test.client.clone();
    let waiting = tokio::spawn(async move { client.start_sync_execution(sync(WAIT, "{}")).await });
    let request =
        v1::ListExecutionsRequest { machine_arn: crate::support::ORDERS.to_owned(), ..Default::default() };
    let started = async {
        loop {
            let page = test.client.list_executions(request.clone()).await.expect("a page").into_inner();
            if let [started] = &page.executions[..] {
                return started.execution_id.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let id = tokio::time::timeout(PATIENCE, started).await.expect("it is started");
    let other = store.connect().await.expect("a connection");
    for number in 0..u32::from(config().partitions) {
        other.acquire(PartitionId::new(number).expect("in range")).await.expect("another owner");
    }
    let status = tokio::time::timeout(PATIENCE, waiting).await.expect("an answer").expect("it ends");
    let status = status.expect_err("its end is not known here");
    assert!(status.get_error_details().retry_info().is_none(), "{status}");
    assert!(!status.metadata().contains_key("grpc-retry-pushback-ms"), "{status}");
    let (code, reason, message) = refused::<()>(Err(status));
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "EndUnknown"));
    assert!(message.contains(&id), "{message}");
}

#[tokio::test]
async fn only_express_machines_are_run_synchronously_and_only_so() {
    let mut test = node().await;
    let (code, reason, _) = refused(test.client.start_sync_execution(request(PASS, "{}")).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "StateMachineTypeNotSupported"));
    let wrong = v1::StartExecutionRequest { mode: v1::Mode::SyncExpress.into(), ..request(PASS, "{}") };
    let (code, reason, _) = refused(test.client.start_execution(wrong).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "StateMachineTypeNotSupported"));
}

#[tokio::test]
async fn a_stopped_execution_is_redriven_by_its_arn_and_refused_while_it_runs() {
    let mut test = node().await;
    let started = test.start(WAIT, "{}").await;
    let redrive = || v1::RedriveExecutionRequest {
        execution: started.execution_arn.clone(),
        client_token: String::new(),
    };
    let (_, reason, _) = refused(test.client.redrive_execution(redrive()).await);
    assert_eq!(reason, "ExecutionNotRedrivable");
    let stop = v1::StopExecutionRequest { execution: started.execution_id.clone(), ..Default::default() };
    test.client.stop_execution(stop).await.expect("stopped");
    let at = test.client.redrive_execution(redrive()).await.expect("redriven").into_inner().redrive_time_ms;
    let described = test.describe(&started.execution_id).await.expect("known");
    assert_eq!((described.redrive_count, described.redrive_time_ms), (1, at));
    assert_eq!(described.summary.expect("a summary").status(), v1::ExecutionStatus::Running);
}

#[tokio::test]
async fn a_token_of_a_redrive_is_as_long_as_step_functions_allows_and_no_longer() {
    let mut test = node().await;
    let started = test.start(WAIT, "{}").await;
    for (length, code) in [(64, Code::FailedPrecondition), (65, Code::InvalidArgument)] {
        let (execution, client_token) = (started.execution_id.clone(), "t".repeat(length));
        let request = v1::RedriveExecutionRequest { execution, client_token };
        let status = test.client.redrive_execution(request).await.expect_err("it runs");
        assert_eq!(status.code(), code, "{status}");
    }
}
