//! Too much work is refused with a time to come back.

use std::sync::Arc;

use executor::config::Config;
use journal::memory::MemoryStore;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{PASS, PATIENCE, WAIT, config, request, start};

#[tokio::test]
async fn a_full_node_refuses_with_a_time_to_come_back_and_takes_starts_again_once_there_is_room() {
    let full = Config { max_open: 2, ..config() };
    let mut test = start(full, Arc::new(MemoryStore::new())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    let mut open = Vec::new();
    let refusal = loop {
        match test.client.start_execution(request(WAIT, "{}")).await {
            Ok(started) => open.push(started.into_inner().execution_id),
            Err(status) => break status,
        }
        assert!(open.len() <= 2, "each of two shards has room for one");
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{}", refusal.message());
    let retry = refusal.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
    assert!(retry.is_some_and(|delay| !delay.is_zero()), "{retry:?}");
    assert!(refusal.metadata().contains_key("grpc-retry-pushback-ms"));
    for execution in open {
        let stop = proto::executor::v1::StopExecutionRequest { execution, ..Default::default() };
        test.client.stop_execution(stop).await.expect("stopped");
    }
    test.start(PASS, "{}").await;
}
