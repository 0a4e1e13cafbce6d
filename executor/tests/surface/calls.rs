//! Each plain call, as a client sees it.

use std::collections::BTreeSet;

use bytes::Bytes;
use proto::executor::v1;

use tonic::Code;

use crate::support::{ORDERS, PASS, WAIT, node, refused, request};

#[tokio::test]
async fn a_start_is_found_by_its_id_and_by_its_arn() {
    let mut test = node().await;
    let started = test.start(PASS, r#"{"a":1}"#).await;
    assert!(started.execution_arn.ends_with(&format!("execution:orders:{}", started.execution_id)));
    for name in [&started.execution_id, &started.execution_arn] {
        let described = test.ended(name).await;
        let summary = described.summary.expect("a summary");
        assert_eq!(summary.status(), v1::ExecutionStatus::Succeeded);
        assert_eq!(
            (summary.execution_id, summary.start_time_ms),
            (started.execution_id.clone(), started.start_time_ms)
        );
        assert_eq!(described.input, r#"{"a":1}"#);
        assert_eq!(described.output.as_deref(), Some(br#"{"a":1}"#.as_slice()));
    }
}

#[tokio::test]
async fn no_input_is_the_empty_object() {
    let mut test = node().await;
    let started = test.start(PASS, "").await;
    assert_eq!(test.ended(&started.execution_id).await.input, "{}");
}

#[tokio::test]
async fn an_execution_with_a_caller_s_name_is_found_by_its_arn() {
    let mut test = node().await;
    let named = v1::StartExecutionRequest { name: "monday".to_owned(), ..request(WAIT, "{}") };
    let started = test.client.start_execution(named).await.expect("started").into_inner();
    assert!(started.execution_arn.ends_with(":execution:orders:monday"), "{}", started.execution_arn);
    let summary = test.describe(&started.execution_arn).await.expect("known").summary.expect("a summary");
    assert_eq!((summary.execution_id, summary.name.as_str()), (started.execution_id, "monday"));
}

/// Step Functions, StartExecution: idempotent for STANDARD with the same name and input while it runs, 400
/// ExecutionAlreadyExists otherwise; not for EXPRESS.
#[tokio::test]
async fn a_named_start_repeated_while_it_runs_is_the_same_execution_and_otherwise_the_name_is_taken() {
    let mut test = node().await;
    let named = |input: &str| v1::StartExecutionRequest {
        name: "monday".to_owned(),
        ..request(WAIT, input.to_owned())
    };
    let first = test.client.start_execution(named("{}")).await.expect("started").into_inner();
    let again = test.client.start_execution(named("{}")).await.expect("the same").into_inner();
    assert_eq!(again, first);
    let taken = || (Code::AlreadyExists, "ExecutionAlreadyExists".to_owned());
    let (code, reason, message) = refused(test.client.start_execution(named("{ }")).await);
    assert_eq!((code, reason), taken());
    assert!(message.contains(&first.execution_arn), "{message}");
    let stop = v1::StopExecutionRequest { execution: first.execution_arn.clone(), ..Default::default() };
    test.client.stop_execution(stop).await.expect("stopped");
    let (code, reason, _) = refused(test.client.start_execution(named("{}")).await);
    assert_eq!((code, reason), taken());
    let express = |input| v1::StartExecutionRequest { mode: v1::Mode::Express.into(), ..named(input) };
    let one = test.client.start_execution(express("{}")).await.expect("started").into_inner();
    let two = test.client.start_execution(express("{}")).await.expect("started").into_inner();
    assert_ne!(one.execution_id, two.execution_id, "EXPRESS names are not unique");
}

#[tokio::test]
async fn a_definition_that_was_put_is_started_by_its_hash() {
    let mut test = node().await;
    let put = v1::PutDefinitionRequest { definition: Bytes::from_static(PASS), ..Default::default() };
    let hash = test.client.put_definition(put).await.expect("compiles").into_inner().definition_hash;
    assert_eq!(hash.len(), 32);
    let by_hash =
        v1::StartExecutionRequest { definition: Bytes::new(), definition_hash: hash, ..request(PASS, "1") };
    let started = test.client.start_execution(by_hash).await.expect("started").into_inner();
    assert_eq!(test.ended(&started.execution_id).await.output.as_deref(), Some(b"1".as_slice()));
}

#[tokio::test]
async fn a_stopped_execution_is_aborted_with_the_given_error_and_cause() {
    let mut test = node().await;
    let started = test.start(WAIT, "{}").await;
    let stop = v1::StopExecutionRequest {
        execution: started.execution_arn.clone(),
        error: "Cancelled".to_owned(),
        cause: "by the customer".to_owned(),
    };
    let stopped = test.client.stop_execution(stop).await.expect("stopped").into_inner();
    let described = test.describe(&started.execution_id).await.expect("known");
    let summary = described.summary.expect("a summary");
    assert_eq!(summary.status(), v1::ExecutionStatus::Aborted);
    assert_eq!(summary.stop_time_ms, stopped.stop_time_ms);
    assert_eq!(
        (described.error.as_deref(), described.cause.as_deref()),
        (Some("Cancelled"), Some("by the customer"))
    );
}

#[tokio::test]
async fn a_history_is_paged_in_either_order() {
    let mut test = node().await;
    let started = test.start(PASS, "{}").await;
    test.ended(&started.execution_id).await;
    let mut types = Vec::new();
    let mut next_token = String::new();
    loop {
        let request = v1::GetExecutionHistoryRequest {
            execution: started.execution_id.clone(),
            max_results: 3,
            next_token,
            ..Default::default()
        };
        let page = test.client.get_execution_history(request).await.expect("known").into_inner();
        types.extend(page.events.into_iter().map(|event| event.r#type));
        next_token = page.next_token;
        if next_token.is_empty() {
            break;
        }
    }
    assert_eq!(types, ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]);
    let reverse = v1::GetExecutionHistoryRequest {
        execution: started.execution_id,
        reverse_order: true,
        max_results: 1,
        ..Default::default()
    };
    let page = test.client.get_execution_history(reverse).await.expect("known").into_inner();
    assert_eq!(page.events[0].r#type, "ExecutionSucceeded");
}

#[tokio::test]
async fn a_listing_gives_the_executions_of_all_shards_once_and_newest_first() {
    let mut test = node().await;
    let mut started = BTreeSet::new();
    for round in 0..5 {
        let first = test.start(PASS, "{}").await.execution_id;
        // A caller's name decides the partition: these spread over both shards.
        let named = v1::StartExecutionRequest { name: format!("n{round}"), ..request(PASS, "{}") };
        let second = test.client.start_execution(named).await.expect("started").into_inner().execution_id;
        started.extend([first.clone(), second.clone()]);
        test.ended(&first).await;
        test.ended(&second).await;
    }
    let (mut listed, mut times, mut next_token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let request = v1::ListExecutionsRequest {
            machine_arn: ORDERS.to_owned(),
            max_results: 3,
            next_token,
            ..Default::default()
        };
        let page = test.client.list_executions(request).await.expect("listed").into_inner();
        assert!(page.executions.len() <= 3);
        times.extend(page.executions.iter().map(|summary| summary.start_time_ms));
        listed.extend(page.executions.into_iter().map(|summary| summary.execution_id));
        next_token = page.next_token;
        if next_token.is_empty() {
            break;
        }
    }
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!(listed.len(), started.len(), "each once: {listed:?}");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), started);
}

#[tokio::test]
async fn a_node_says_what_it_is_and_dispatchers_never_share_an_incarnation() {
    let mut test = node().await;
    let described =
        test.client.describe_node(v1::DescribeNodeRequest {}).await.expect("described").into_inner();
    let mut partitions: Vec<u32> =
        described.shards.iter().flat_map(|shard| shard.partitions.clone()).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3]);
    let addresses: Vec<String> = described.shards.iter().map(|shard| shard.data_address.clone()).collect();
    let bound: Vec<String> = test.node.addresses().data.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, bound);
    assert_eq!((described.store.as_str(), described.partitions, described.draining), ("memory", 4, false));
    assert!(!described.durability.is_empty());
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let register = v1::RegisterDispatcherRequest { name: "test".to_owned() };
        let registered = test.client.register_dispatcher(register).await.expect("registered").into_inner();
        assert!(seen.insert(registered.incarnation));
    }
}
