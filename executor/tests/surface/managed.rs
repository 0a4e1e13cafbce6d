//! A node that has what its scheduler says, and reports it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use executor::config::Config;
use executor::node::Drained;
use futures_util::{Stream, StreamExt};
use journal::memory::MemoryStore;
use proto::executor::v1::{self, ExecutionStatus};
use proto::scheduler::v1::nodes_server::{Nodes, NodesServer};
use proto::scheduler::v1::{Assignment, NodeDirective, NodeReport, ShardAssignment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::{PASS, PATIENCE, TestNode, WAIT, config, refused, request, start};

/// A scheduler that hands on what it hears, and answers with what the test wants.
struct Service {
    heard: mpsc::Sender<NodeReport>,
    said: watch::Receiver<Option<Assignment>>,
}

#[tonic::async_trait]
impl Nodes for Service {
    type HeartbeatStream = Pin<Box<dyn Stream<Item = Result<NodeDirective, Status>> + Send>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let (heard, said) = (self.heard.clone(), self.said.clone());
        let directives = request.into_inner().then(move |report| {
            let (heard, assignment) = (heard.clone(), said.borrow().clone());
            async move {
                // The test may have heard enough.
                let _ = heard.send(report?).await;
                Ok(NodeDirective {
                    heartbeat_interval_ms: 100,
                    known: true,
                    assignment,
                    ..NodeDirective::default()
                })
            }
        });
        Ok(Response::new(Box::pin(directives)))
    }
}

struct Managed {
    test: TestNode,
    reports: mpsc::Receiver<NodeReport>,
    say: watch::Sender<Option<Assignment>>,
}

/// As a scheduler of this incarnation says it: each shard shall have these partitions.
fn assignment(scheduler_incarnation: u32, shards: [&[u32]; 2]) -> Assignment {
    let shards = (0..).zip(shards).map(|(index, partitions)| {
        let partitions = partitions.to_vec();
        ShardAssignment { index, partitions }
    });
    Assignment { scheduler_incarnation, shards: shards.collect() }
}

impl Managed {
    async fn start() -> Self {
        Self::start_with(config()).await
    }

    async fn start_with(config: Config) -> Self {
        let (heard, reports) = mpsc::channel(64);
        let (say, said) = watch::channel(None);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let scheduler = Some(format!("http://{}", listener.local_addr().expect("bound")));
        let server =
            tonic::transport::Server::builder().add_service(NodesServer::new(Service { heard, said }));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = Config { scheduler, metrics, node_id: "n1".to_owned(), ..config };
        let test = start(config, Arc::new(MemoryStore::new())).await;
        Self { test, reports, say }
    }

    /// The next report that is such.
    async fn hear(&mut self, wanted: impl Fn(&NodeReport) -> bool) -> NodeReport {
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                let report = self.reports.recv().await.expect("the node reports");
                if wanted(&report) {
                    return report;
                }
            }
        });
        heard.await.expect("in time")
    }

    /// Says what the shards shall have, and waits until they serve it.
    async fn give(&mut self, incarnation: u32, shards: [&[u32]; 2]) -> NodeReport {
        self.say.send_replace(Some(assignment(incarnation, shards)));
        self.hear(|report| served(report) == shards).await
    }

    async fn health(&self) -> String {
        let address = self.test.node.addresses().metrics.expect("a metrics port");
        let mut stream = TcpStream::connect(address).await.expect("it is open");
        let request = b"GET /healthz HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned()
    }
}

fn served(report: &NodeReport) -> Vec<Vec<u32>> {
    report.shards.iter().map(|shard| shard.partitions.clone()).collect()
}

fn owned(report: &NodeReport) -> usize {
    report.shards.iter().map(|shard| shard.owned.len()).sum()
}

#[tokio::test]
async fn a_node_begins_empty_is_ready_once_it_is_told_what_it_shall_have_and_refuses_what_it_has_not() {
    let mut managed = Managed::start().await;
    let report = managed.hear(|report| report.shards.len() == 2).await;
    assert!(report.managed && !report.serving && owned(&report) == 0);
    assert_eq!((report.node_id.as_str(), report.scheduler_incarnation, report.partition_count), ("n1", 0, 4));
    assert_eq!(report.public_address, managed.test.node.addresses().public.to_string());
    while managed.health().await.starts_with("starting: the store") {}
    let health = managed.health().await;
    assert!(health.starts_with("starting: the scheduler has not said"), "{health}");
    managed.give(1, [&[], &[]]).await;
    assert_eq!(tokio::time::timeout(PATIENCE, managed.test.node.ready()).await, Ok(true));
    assert_eq!(managed.health().await, "serving");
    let (code, reason, _) = refused(managed.test.client.start_execution(request(PASS, "{}")).await);
    assert_eq!((code, reason.as_str()), (Code::Unavailable, "NothingServed"));
    managed.give(1, [&[2], &[]]).await;
    let started = managed.test.start(PASS, "{}").await.execution_id;
    let status = managed.test.ended(&started).await.summary.map(|summary| summary.status());
    assert_eq!(status, Some(ExecutionStatus::Succeeded));
    managed.give(1, [&[1], &[]]).await;
    let (code, reason, message) = refused(managed.test.describe(&started).await);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "NotOwner"));
    assert!(message.contains("partition 2") && message.contains("ask the scheduler"), "{message}");
    managed.test.start(PASS, "{}").await;
}

#[tokio::test]
async fn a_partition_moves_from_shard_to_shard_of_one_node_and_its_executions_with_it() {
    let mut managed = Managed::start().await;
    managed.give(1, [&[0], &[]]).await;
    let execution = managed.test.start(WAIT, "{}").await.execution_id;
    for shards in [[&[][..], &[0]], [&[0], &[]], [&[], &[0]]] {
        let report = managed.give(1, shards).await;
        assert_eq!(owned(&report), 1);
    }
    let status = managed.test.describe(&execution).await.expect("known").summary.map(|found| found.status());
    assert_eq!(status, Some(ExecutionStatus::Running));
    let stop = v1::StopExecutionRequest { execution: execution.clone(), ..Default::default() };
    managed.test.client.stop_execution(stop).await.expect("stopped");
    let status = managed.test.ended(&execution).await.summary.map(|summary| summary.status());
    assert_eq!(status, Some(ExecutionStatus::Aborted));
}

#[tokio::test]
async fn a_scheduler_that_was_replaced_moves_nothing_any_more() {
    let mut managed = Managed::start().await;
    let report = managed.give(7, [&[0, 2], &[1, 3]]).await;
    assert_eq!(report.scheduler_incarnation, 7);
    managed.say.send_replace(Some(assignment(6, [&[], &[]])));
    // The second report from now on was made after the older directive was heard.
    for _ in 0..3 {
        let report = managed.hear(|_| true).await;
        assert_eq!((owned(&report), report.scheduler_incarnation), (4, 7));
    }
    let report = managed.give(8, [&[0], &[]]).await;
    assert_eq!((owned(&report), report.scheduler_incarnation), (1, 8));
}

/// One state that works for a second or more.
const HEAVY: &[u8] = br#"{"QueryLanguage":"JSONata","StartAt":"A","States":{"A":{"Type":"Pass","End":true,
    "Output":"{% $sum($map([1..700], function($i) { $sum($map([1..700], function($j) { $i * $j })) })) %}"}}}"#;

#[tokio::test]
async fn a_node_whose_shard_works_much_reports_that_it_still_has_what_it_has() {
    let mut managed = Managed::start().await;
    managed.give(1, [&[0, 2], &[1, 3]]).await;
    let (mut client, heavy) = (managed.test.client.clone(), request(HEAVY, "{}"));
    let started = tokio::spawn(async move { client.start_execution(heavy).await });
    let busy = |report: &NodeReport| report.shards.iter().any(|shard| shard.busy);
    let report = managed.hear(busy).await;
    assert_eq!(served(&report), [vec![0, 2], vec![1, 3]], "{report:?}");
    let described = managed.test.client.describe_node(v1::DescribeNodeRequest {}).await.expect("answered");
    assert_eq!(described.into_inner().shards.len(), 2);
    tokio::time::timeout(PATIENCE, started).await.expect("in time").expect("no panic").expect("started");
    managed.hear(|report| !busy(report)).await;
}

#[tokio::test]
async fn a_draining_node_says_so_goes_on_until_everything_is_moved_and_takes_nothing_new() {
    let mut managed = Managed::start().await;
    managed.give(1, [&[0], &[1]]).await;
    managed.test.start(WAIT, "{}").await;
    let carrying = |report: &NodeReport| report.shards.iter().any(|shard| shard.open_executions == 1);
    managed.hear(carrying).await;
    managed.test.node.drain();
    let report = managed.hear(|report| report.draining).await;
    assert!(!report.serving && owned(&report) == 2);
    managed.say.send_replace(Some(assignment(1, [&[2], &[1, 3]])));
    managed.hear(|report| served(report) == [vec![], vec![1]]).await;
    managed.say.send_replace(Some(assignment(1, [&[], &[]])));
    managed.hear(|report| owned(report) == 0).await;
    assert_eq!(tokio::time::timeout(PATIENCE, managed.test.node.wait()).await, Ok(Drained::Clean));
}

#[tokio::test]
async fn a_draining_node_gives_back_what_the_scheduler_does_not_move_in_time_and_says_so() {
    let hasty = Config { drain_deadline: Duration::from_secs(2), ..config() };
    let mut managed = Managed::start_with(hasty).await;
    managed.give(1, [&[0], &[1]]).await;
    managed.test.start(WAIT, "{}").await;
    managed.test.node.drain();
    managed.hear(|report| report.draining && owned(report) == 0).await;
    assert_eq!(tokio::time::timeout(PATIENCE, managed.test.node.wait()).await, Ok(Drained::Clean));
}
