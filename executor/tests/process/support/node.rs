//! A node as a process of its own.

use std::net::SocketAddr;
use std::time::Duration;

use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use testkit::{Exit, Killer, Process, ProcessOptions, eventually_async, free_ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::PATIENCE;

pub const SHARDS: u16 = 2;
pub const PARTITIONS: u32 = 4;

/// A node that can be killed and started again on the same ports.
pub struct Node {
    options: ProcessOptions,
    process: Option<Process>,
    pub public: SocketAddr,
    pub data: SocketAddr,
    pub metrics: SocketAddr,
}

impl Node {
    /// Starts a node and does not wait for it.
    pub fn launch(store: &[String], more: &[&str]) -> Self {
        Self::launch_through(&[], store, more)
    }

    /// Starts a node by a program that becomes it, and waits until it serves.
    pub async fn serving_through(program: &[&str], store: &[String]) -> Self {
        let node = Self::launch_through(program, store, &[]);
        node.wait_serving().await;
        node
    }

    /// Starts a node by a program that becomes it.
    pub fn launch_through(program: &[&str], store: &[String], more: &[&str]) -> Self {
        let base = free_ports(SHARDS + 2);
        let address = |offset: u16| SocketAddr::from(([127, 0, 0, 1], base + offset));
        let (public, metrics, data) = (address(0), address(1), address(2));
        let mut args = vec!["serve".to_owned()];
        let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
        flag("--listen", public.to_string());
        flag("--metrics", metrics.to_string());
        flag("--data-port-base", data.port().to_string());
        flag("--shards", SHARDS.to_string());
        flag("--partitions", PARTITIONS.to_string());
        if !more.contains(&"--node-id") {
            flag("--node-id", "node-under-test".to_owned());
        }
        if !more.contains(&"--log-limit") {
            // Tests wait for lines.
            flag("--log-limit", "0".to_owned());
        }
        args.extend(store.iter().cloned());
        args.extend(more.iter().map(|&text| text.to_owned()));
        let mut words = program.iter().map(|&word| word.to_owned()).collect::<Vec<String>>();
        words.push(env!("CARGO_BIN_EXE_executor").to_owned());
        words.extend(args);
        let options = ProcessOptions::new("executor", words.remove(0), words);
        let mut node = Self { options, process: None, public, data, metrics };
        node.relaunch();
        node
    }

    /// Starts a node and waits until it serves.
    pub async fn serving(store: &[String], more: &[&str]) -> Self {
        let node = Self::launch(store, more);
        node.wait_serving().await;
        node
    }

    /// Starts it again after its end.
    pub fn relaunch(&mut self) {
        self.process = Some(Process::start(&self.options).unwrap_or_else(|error| panic!("{error}")));
    }

    pub async fn wait_serving(&self) {
        eventually_async("the node serves", PATIENCE, || self.health()).await;
    }

    /// `Ok` when it says SERVING.
    pub async fn health(&self) -> Result<(), String> {
        let channel = self.channel().await?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        match answer.map_err(|status| status.to_string())?.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    pub async fn channel(&self) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.public)).map_err(|e| e.to_string())?;
        let endpoint = endpoint.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(30));
        endpoint.connect().await.map_err(|error| format!("no connection to the node: {error}"))
    }

    pub async fn client(&self) -> Result<ExecutorClient<Channel>, String> {
        Ok(ExecutorClient::new(self.channel().await?))
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node was launched").pid()
    }

    /// What `/metrics` says.
    pub async fn scrape(&self) -> String {
        self.get("/metrics").await
    }

    /// What the metrics port answers, with its headers.
    pub async fn get(&self, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.expect("the metrics port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text
    }

    pub fn kill9(&mut self) {
        self.process().kill9();
    }

    /// Kills it while others hold it; see [`Node::kill9`] for the reaping.
    pub fn killer(&self) -> Killer {
        self.process.as_ref().expect("the node was launched").killer()
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> Exit {
        self.process().terminate().unwrap_or_else(|error| panic!("{error}"));
        self.process().wait_exit(PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// SIGSTOP: it stands still, with its connections open.
    pub fn freeze(&mut self) {
        self.process().freeze().unwrap_or_else(|error| panic!("{error}"));
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.process().thaw().unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn send_sigterm(&mut self) {
        self.process().terminate().unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn wait_exit(&mut self) -> Exit {
        self.process().wait_exit(PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for a line of its log.
    pub fn says(&mut self, text: &str) -> String {
        self.process().wait_for_line(text, PATIENCE).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn log(&mut self) -> String {
        self.process().log()
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the node was launched")
    }
}

/// A plain start.
pub fn start_request(definition: &str, input: &str) -> v1::StartExecutionRequest {
    v1::StartExecutionRequest {
        machine_arn: super::load::arn("plain"),
        definition: definition.as_bytes().to_vec().into(),
        mode: v1::Mode::Standard.into(),
        input: input.as_bytes().to_vec().into(),
        ..Default::default()
    }
}
