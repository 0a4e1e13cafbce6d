//! Too much work is refused with a time to come back, and the scheduler hears how much a node carries.

use std::pin::Pin;
use std::sync::Arc;

use executor::config::Config;
use executor::node::Drained;
use futures_util::Stream;
use journal::memory::MemoryStore;
use proto::scheduler::v1::nodes_server::{Nodes, NodesServer};
use proto::scheduler::v1::{Assignment, NodeDirective, NodeReport, ShardAssignment};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};
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

/// A scheduler that hands on what it hears, and gives the node everything until it drains.
struct Listening(mpsc::Sender<NodeReport>);

#[tonic::async_trait]
impl Nodes for Listening {
    type HeartbeatStream = Pin<Box<dyn Stream<Item = Result<NodeDirective, Status>> + Send>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let (heard, mut reports) = (self.0.clone(), request.into_inner());
        let (directives, answers) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                let directive = NodeDirective {
                    heartbeat_interval_ms: 100,
                    known: true,
                    assignment: Some(Assignment {
                        scheduler_incarnation: 7,
                        shards: (0..2)
                            .filter(|_| !report.draining)
                            .map(|index| ShardAssignment { index, partitions: vec![index, index + 2] })
                            .collect(),
                    }),
                };
                if heard.send(report).await.is_err() || directives.send(directive).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers).map(Ok))))
    }
}

#[tokio::test]
async fn a_scheduler_hears_what_the_node_has_and_carries_and_a_draining_node_gives_everything_back() {
    let (sender, mut reports) = mpsc::channel(64);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let scheduler = format!("http://{}", listener.local_addr().expect("bound"));
    let service = NodesServer::new(Listening(sender));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let reporting = Config { scheduler: Some(scheduler), node_id: "n1".to_owned(), ..config() };
    let mut test = start(reporting, Arc::new(MemoryStore::new())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.ready()).await, Ok(true));
    while test.client.start_execution(request(WAIT, "{}")).await.is_err() {
        // It is ready before it has anything to serve.
        tokio::task::yield_now().await;
    }
    let mut hear = async |wanted: fn(&NodeReport) -> bool| {
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                let report = reports.recv().await.expect("the node reports");
                assert_eq!(report.node_id, "n1");
                if wanted(&report) {
                    return report;
                }
            }
        });
        heard.await.expect("in time")
    };
    let carrying = |report: &NodeReport| {
        report.serving && report.shards.iter().map(|shard| shard.open_executions).sum::<u64>() == 1
    };
    let has = |report: &NodeReport| report.shards.iter().map(|shard| shard.owned.len()).sum::<usize>();
    let report = hear(carrying).await;
    assert_eq!(report.public_address, test.node.addresses().public.to_string());
    let partitions: usize = report.shards.iter().map(|shard| shard.partitions.len()).sum();
    assert_eq!((report.shards.len(), partitions, has(&report)), (2, 4, 4));
    assert!(report.managed);
    assert_eq!((report.scheduler_incarnation, report.partition_count), (7, 4));
    test.node.drain();
    let report = hear(|report| report.draining).await;
    assert!(!report.serving);
    hear(|report| report.shards.iter().all(|shard| shard.owned.is_empty())).await;
    assert_eq!(tokio::time::timeout(PATIENCE, test.node.wait()).await, Ok(Drained::Clean));
}
