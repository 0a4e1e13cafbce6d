//! A scheduler, a node that reports to it, callers and workers, each with a certificate.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use executor::config::Config;
use executor::node::Node;
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1::worker_client::WorkerClient;
use proto::executor::v1::{ExecutionStatus, TaskBatch, WorkerHello, WorkerMessage};
use proto::scheduler::v1::CreateStateMachineRequest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scheduler_stub::client::Client;
use scheduler_stub::{Scheduler, SchedulerConfig};
use tempfile::TempDir;
use testkit::eventually_async;
use tokio_stream::StreamExt;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};
use trust::{TlsSettings, Trust};

use crate::fake::PATIENCE;

const PASS: &[u8] = br#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;

const ROLES: [&str; 5] = [
    "node=*.node",
    "scheduler=*.scheduler",
    "caller=*.caller",
    "operator=*.operator",
    "worker:ocr=ocr.worker",
];

/// An authority, and certificates of it.
struct Certificates {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let certificates = Self { dir: TempDir::new().expect("a directory"), authority };
        certificates.allow(&ROLES);
        certificates
    }

    /// What the allow-list of everybody says from now on; it is looked at when it is, or by `Trust::refresh`.
    fn allow(&self, entries: &[&str]) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, entries.join("\n")).expect("written");
        std::fs::rename(new, self.dir.path().join("allow")).expect("renamed");
    }

    fn settings(&self, name: &str) -> TlsSettings {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let cert = params.signed_by(&key, &self.authority).expect("signed");
        let write = |kind: &str, text: String| {
            let path = Path::new(self.dir.path()).join(format!("{name}.{kind}.pem"));
            std::fs::write(&path, text).expect("written");
            Some(path)
        };
        TlsSettings {
            cert: write("cert", cert.pem()),
            key: write("key", key.serialize_pem()),
            ca: write("ca", self.authority.pem()),
            allow: Vec::new(),
            allow_file: Some(self.dir.path().join("allow")),
        }
    }

    fn trust(&self, name: &str) -> Trust {
        self.settings(name).trust().expect("certificates").expect("TLS")
    }
}

struct Stage {
    certificates: Certificates,
    node: Node,
    scheduler: Scheduler,
}

impl Stage {
    async fn new() -> Self {
        let (certificates, memory) = (Certificates::new(), MemoryStore::new());
        let config =
            Config { shards: 1, partitions: 1, tls: certificates.settings("a.node"), ..Config::embedded() };
        let node = Node::start(config, Arc::new(memory.clone())).expect("the node starts");
        assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
        let config = SchedulerConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            nodes: vec![node.addresses().public.to_string()],
            trust: Some(certificates.trust("a.scheduler")),
            ..SchedulerConfig::default()
        };
        let store = memory.connect().await.expect("memory");
        let scheduler = Scheduler::start(config, store).await.expect("the scheduler starts");
        scheduler.directory().wait_for_shards(PATIENCE).await.expect("the node joins");
        Self { certificates, node, scheduler }
    }

    async fn client(&self, name: &str) -> Client {
        let trust = self.certificates.trust(name);
        Client::connect(&self.scheduler.address().to_string(), Some(&trust)).await.expect("it answers")
    }

    /// The stream of a worker with this certificate that asks for the tasks of a pool.
    async fn work(&self, name: &str, pool: &str) -> Result<Streaming<TaskBatch>, tonic::Status> {
        let trust = self.certificates.trust(name);
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.node.addresses().data[0])).expect("an address");
        let channel = trust::channel(&endpoint, Some(&trust)).await.expect("connected");
        let hello = WorkerHello { pool: pool.to_owned(), worker: "w".to_owned() };
        let first = WorkerMessage { hello: Some(hello), ..WorkerMessage::default() };
        let messages = tokio_stream::iter([first]).chain(tokio_stream::pending());
        WorkerClient::new(channel).work(messages).await.map(tonic::Response::into_inner)
    }
}

fn pass() -> CreateStateMachineRequest {
    let definition = Bytes::from_static(PASS);
    CreateStateMachineRequest { name: "pass".into(), definition, ..CreateStateMachineRequest::default() }
}

#[tokio::test]
async fn executions_run_where_every_process_shows_a_certificate() {
    let stage = Stage::new().await;
    let arn = stage.client("an.operator").await.create(pass()).await.expect("created").arn;
    let mut caller = stage.client("a.caller").await;
    let started = caller.start(&arn, "", Bytes::from_static(b"{}")).await.expect("started");
    eventually_async("it succeeds", PATIENCE, async || {
        let described = caller.clone().describe(&started.execution_id).await.expect("described");
        match described.summary.expect("a summary").status() {
            ExecutionStatus::Succeeded => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn who_shows_no_certificate_or_a_foreign_one_is_not_let_in() {
    let stage = Stage::new().await;
    let address = stage.scheduler.address().to_string();
    let foreign = Certificates::new().trust("a.caller");
    assert!(Client::connect(&address, Some(&foreign)).await.is_err());
    // Plain text is no handshake: the connection ends at the first call, if not before.
    if let Ok(mut plain) = Client::connect(&address, None).await {
        assert!(plain.machines().await.is_err());
    }
}

#[tokio::test]
async fn a_role_gives_its_own_rights_and_no_others() {
    let stage = Stage::new().await;
    let refused = stage.client("a.caller").await.create(pass()).await.expect_err("no operator");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("/scheduler.v1.Templates/CreateStateMachine"), "{refused}");
    stage.work("ocr.worker", "ocr").await.expect("its own pool");
    for (name, pool) in [("ocr.worker", "asr"), ("a.caller", "ocr")] {
        let refused = stage.work(name, pool).await.expect_err("no right");
        assert_eq!(refused.code(), Code::PermissionDenied, "{name} {pool}: {refused}");
    }
}

#[tokio::test]
async fn who_is_taken_off_the_list_loses_its_stream_and_nobody_else_does() {
    let stage = Stage::new().await;
    let arn = stage.client("an.operator").await.create(pass()).await.expect("created").arn;
    let mut stream = stage.work("ocr.worker", "ocr").await.expect("its own pool");
    stage.certificates.allow(&ROLES[..4]);
    let lost = tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = stream.message().await {} });
    lost.await.expect("its stream ends");
    let mut caller = stage.client("a.caller").await;
    caller.start(&arn, "", Bytes::from_static(b"{}")).await.expect("the scheduler's stream stands");
}

#[tokio::test]
async fn a_scheduler_that_is_taken_off_a_clients_list_is_asked_no_more() {
    let stage = Stage::new().await;
    let (address, trust) = (stage.scheduler.address().to_string(), stage.certificates.trust("a.caller"));
    let mut client = Client::connect(&address, Some(&trust)).await.expect("it answers");
    client.machines().await.expect("it is a scheduler");
    stage.certificates.allow(&ROLES[2..]);
    assert!(trust.refresh().expect("readable"));
    assert!(client.machines().await.is_err(), "the connection is ended");
    let refused = Client::connect(&address, Some(&trust)).await.expect_err("it is none any more").to_string();
    assert!(refused.contains("its names are a.scheduler"), "{refused}");
}
