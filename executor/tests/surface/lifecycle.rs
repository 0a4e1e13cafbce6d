//! Health, drain, and a store that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use executor::config::Config;
use executor::node::{Drained, Node, StartError};
use journal::memory::MemoryStore;
use journal::store::{Connect, StoreFuture};
use journal::{Store, StoreError};
use proto::executor::v1;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{PASS, PATIENCE, WAIT, channel, config, node, refused, request, start};

const SERVICES: [&str; 3] = ["", "executor.v1.Executor", "executor.v1.Worker"];

async fn health(address: std::net::SocketAddr) -> Vec<ServingStatus> {
    let mut client = HealthClient::new(channel(address).await);
    let mut all = Vec::new();
    for service in SERVICES {
        let request = HealthCheckRequest { service: service.to_owned() };
        all.push(client.check(request).await.expect("a known service").into_inner().status());
    }
    all
}

/// A store that is away until it is told to come.
struct Absent {
    here: AtomicBool,
    store: MemoryStore,
}

impl Connect for Absent {
    fn connect(&self) -> StoreFuture<'_, Arc<dyn Store>> {
        if self.here.load(Ordering::SeqCst) {
            return self.store.connect();
        }
        Box::pin(async { Err(StoreError::Unavailable("connection refused".to_owned())) })
    }
}

#[tokio::test]
async fn a_node_whose_store_is_away_serves_nothing_and_serves_once_it_comes() {
    let absent = Arc::new(Absent { here: AtomicBool::new(false), store: MemoryStore::new() });
    let connect: Arc<dyn Connect> = Arc::clone(&absent) as Arc<dyn Connect>;
    let mut test = start(config(), connect).await;
    let addresses = test.node.addresses().clone();
    for address in [addresses.public, addresses.data[0], addresses.data[1]] {
        assert_eq!(health(address).await, [ServingStatus::NotServing; 3]);
    }
    let (code, ..) = refused(test.client.start_execution(request(PASS, "{}")).await);
    assert_eq!(code, Code::Unavailable);
    absent.here.store(true, Ordering::SeqCst);
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    for address in [addresses.public, addresses.data[0]] {
        assert_eq!(health(address).await, [ServingStatus::Serving; 3]);
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_of_the_start_that_names_the_setting() {
    let first = node().await;
    let listen = first.node.addresses().public;
    let taken = Node::start(Config { listen, ..config() }, Arc::new(MemoryStore::new()));
    let Err(error @ StartError::Bind { .. }) = taken else { panic!("the port is taken") };
    let text = error.to_string();
    assert!(text.contains("--listen") && text.contains(&listen.to_string()), "{text}");
}

#[tokio::test]
async fn a_node_never_listens_in_the_open_without_the_word() {
    let listen = ([0, 0, 0, 0], 0).into();
    let refused = Node::start(Config { listen, ..config() }, Arc::new(MemoryStore::new()));
    let Err(StartError::Config(error)) = refused else { panic!("refused before anything is bound") };
    assert!(error.to_string().contains("--allow-plaintext"), "{error}");
}

#[tokio::test]
async fn a_drain_under_load_loses_nothing_that_was_acknowledged() {
    let store = Arc::new(MemoryStore::new());
    let mut test = start(config(), Arc::clone(&store) as Arc<dyn Connect>).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    let sleeper = test.start(WAIT, "{}").await;
    let (mut acknowledged, mut refusals) = (vec![sleeper.execution_id.clone()], 0);
    let (count_sender, mut counts) = tokio::sync::watch::channel(0usize);
    let mut starters = tokio::task::JoinSet::new();
    let count_sender = Arc::new(count_sender);
    for _ in 0..8 {
        let (mut client, counted) = (test.client.clone(), Arc::clone(&count_sender));
        starters.spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                match client.start_execution(request(PASS, "{}")).await {
                    Ok(started) => {
                        acknowledged.push(started.into_inner().execution_id);
                        counted.send_modify(|count| *count += 1);
                    }
                    Err(status) => return (acknowledged, status),
                }
            }
        });
    }
    tokio::time::timeout(PATIENCE, counts.wait_for(|count| *count >= 500))
        .await
        .expect("load")
        .expect("open");
    test.node.drain();
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.wait()).await, Ok(Drained::Clean));
    while let Some(done) = starters.join_next().await {
        let (mine, status) = done.expect("no panic");
        // A call that still waited in the client when the node closed its connection was never sent: the client's own word.
        let unsent = status.code() == Code::Cancelled && std::error::Error::source(&status).is_some();
        assert!(
            status.code() == Code::Unavailable || unsent,
            "refused, so that another node is asked: {status:?}"
        );
        acknowledged.extend(mine);
        refusals += 1;
    }
    assert_eq!(refusals, 8);
    let mut next = start(config(), store as Arc<dyn Connect>).await;
    assert_eq!(tokio::time::timeout(PATIENCE, next.node.ready()).await, Ok(true));
    for execution in acknowledged {
        let described = next.describe(&execution).await.expect("nothing is lost");
        let status = described.summary.expect("a summary").status();
        let expected = if execution == sleeper.execution_id {
            v1::ExecutionStatus::Running
        } else {
            v1::ExecutionStatus::Succeeded
        };
        assert_eq!(status, expected, "{execution}");
    }
}

#[tokio::test]
async fn streams_end_with_the_node_and_not_with_an_error() {
    let mut test = node().await;
    let watch = v1::WatchCompletionsRequest::default();
    let mut completions = test.client.watch_completions(watch).await.expect("a stream").into_inner();
    let (batches, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut acks = test.client.start_executions(receiver).await.expect("a stream").into_inner();
    let mut probe = HealthClient::new(channel(test.node.addresses().data[0]).await);
    let mut statuses = probe.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    assert_eq!(statuses.message().await.expect("no error").expect("open").status(), ServingStatus::Serving);
    test.client.drain(v1::DrainRequest {}).await.expect("accepted");
    assert_eq!(
        statuses.message().await.expect("no error").expect("open").status(),
        ServingStatus::NotServing
    );
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.wait()).await, Ok(Drained::Clean));
    assert!(acks.message().await.expect("no error").is_none());
    assert!(completions.message().await.expect("no error").is_none());
    assert!(statuses.message().await.expect("no error").is_none());
    drop(batches);
}

#[tokio::test]
async fn a_store_that_fails_in_mid_run_stops_the_service_until_it_is_back() {
    let store = Arc::new(MemoryStore::new());
    let mut test = start(config(), Arc::clone(&store) as Arc<dyn Connect>).await;
    let mut serving = test.node.serving();
    tokio::time::timeout(PATIENCE, serving.wait_for(|serving| *serving))
        .await
        .expect("serves")
        .expect("open");
    // The definition and the dispatcher's incarnation are known from now on: only the log is needed.
    test.start(PASS, "{}").await;
    store.set_unavailable(Some("pulled the plug"));
    let mut unanswered = test.client.clone();
    let waiting = tokio::spawn(async move { unanswered.start_execution(request(PASS, "{}")).await });
    tokio::time::timeout(PATIENCE, serving.wait_for(|serving| !serving))
        .await
        .expect("notices")
        .expect("open");
    let (code, ..) = refused(test.client.start_execution(request(PASS, "{}")).await);
    assert_eq!(code, Code::Unavailable);
    store.set_unavailable(None);
    tokio::time::timeout(PATIENCE, serving.wait_for(|serving| *serving))
        .await
        .expect("is back")
        .expect("open");
    // The start that was under way is either durable now or was refused; it is never lost after an
    // acknowledgement.
    if let Ok(started) = waiting.await.expect("no panic") {
        test.describe(&started.into_inner().execution_id).await.expect("what was acknowledged is known");
    }
    test.start(PASS, "{}").await;
}
