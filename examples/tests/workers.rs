//! The example workers against a real node: they are killed with tasks in hand, their node is killed, they are asked to end; and
//! every execution ends, with the outcome that it should have.
//!
//! The Python worker runs in the virtual environment that `examples/python/setup.sh` makes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use tempfile::TempDir;
use testkit::process::built_binary;
use testkit::{Authority, Process, ProcessOptions, eventually, eventually_async, free_ports};
use tonic::transport::{Channel, Endpoint};
use trust::{TlsSettings, Trust};

const PATIENCE: Duration = Duration::from_secs(60);
const SHARDS: u16 = 2;
/// Executions of a test; they are spread over the shards.
const EXECUTIONS: usize = 12;
const POOL: &str = "demo";

/// A file is awaited, then somebody is greeted.
const MACHINE: &str = r#"{"StartAt":"Await","States":{
    "Await":{"Type":"Task","Resource":"arn:aws:lambda:local:000000000000:function:await-file","ResultPath":"$.awaited",
        "TimeoutSeconds":600,"HeartbeatSeconds":60,"Next":"Greet"},
    "Greet":{"Type":"Task","Resource":"arn:aws:lambda:local:000000000000:function:greet","End":true}}}"#;

#[derive(Debug, Clone, Copy)]
enum Language {
    Rust,
    Python,
}

/// A node on files, and a file that is not there yet.
struct World {
    directory: TempDir,
    node: Process,
    options: ProcessOptions,
    public: SocketAddr,
    ids: Vec<String>,
    certificates: Option<Certificates>,
}

/// Of a world in which everybody shows one.
struct Certificates {
    authority: Authority,
    /// The test's own.
    operator: Trust,
}

const NODE_NAME: &str = "one.nodes.test";
const ALLOW: [&str; 3] = ["node=one.nodes.test", "operator=ops.test", "worker:demo=worker.test"];

impl Certificates {
    fn new() -> Self {
        let authority = Authority::new();
        let ours = authority.issue("ops.test");
        let settings = TlsSettings {
            cert: Some(ours.cert),
            key: Some(ours.key),
            ca: Some(ours.ca),
            allow: ALLOW.map(str::to_owned).to_vec(),
            allow_file: None,
        };
        let operator = settings.trust().expect("certificates").expect("they are there");
        Self { authority, operator }
    }

    /// Flags of a worker.
    fn flags(&self, language: Language) -> Vec<String> {
        let certificate = self.authority.issue("worker.test");
        match language {
            Language::Rust => certificate.flags(&ALLOW[..1]),
            Language::Python => {
                let name = ["--tls-node-name", NODE_NAME].map(str::to_owned);
                certificate.flags(&[]).into_iter().chain(name).collect()
            }
        }
    }
}

impl World {
    async fn new() -> Self {
        Self::start_node(None).await
    }

    async fn start_node(certificates: Option<Certificates>) -> Self {
        let disk = testkit::redis::real_disk(None).unwrap_or_else(|error| panic!("{error}"));
        let directory = tempfile::Builder::new().prefix("workers-").tempdir_in(disk).expect("a directory");
        let base = free_ports(SHARDS + 2);
        let address = |offset: u16| format!("127.0.0.1:{}", base + offset);
        let store = directory.path().join("store").display().to_string();
        let (data, shards) = ((base + 2).to_string(), SHARDS.to_string());
        let flags = [
            ["--listen", &address(0)],
            ["--metrics", &address(1)],
            ["--data-port-base", &data],
            ["--shards", &shards],
            ["--partitions", "4"],
            ["--store-dir", &store],
            ["--bind", &format!("*={POOL}")],
        ];
        let program = built_binary("executor", "executor").unwrap_or_else(|error| panic!("{error}"));
        let shown = certificates.as_ref().map(|all| all.authority.issue(NODE_NAME).flags(&ALLOW));
        let shown = shown.unwrap_or_default();
        let flags = flags.into_iter().flatten().map(str::to_owned).chain(shown);
        let arguments = ["serve".to_owned()].into_iter().chain(flags);
        let options = ProcessOptions::new("node", program, arguments);
        let node = Process::start(&options).unwrap_or_else(|error| panic!("{error}"));
        let public = address(0).parse().expect("an address");
        let world = Self { directory, node, options, public, ids: Vec::new(), certificates };
        world.wait_serving().await;
        world
    }

    async fn client(&self) -> Result<ExecutorClient<Channel>, String> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.public)).expect("a URL");
        let trust = self.certificates.as_ref().map(|all| &all.operator);
        let channel = trust::channel(&endpoint, trust).await.map_err(|error| format!("{error:?}"))?;
        Ok(ExecutorClient::new(channel))
    }

    async fn wait_serving(&self) {
        eventually_async("the node serves", PATIENCE, || async {
            let described = self.client().await?.describe_node(v1::DescribeNodeRequest {}).await;
            let described = described.map_err(|status| status.to_string())?.into_inner();
            let serving = described.shards.iter().filter(|shard| !shard.partitions.is_empty()).count();
            if serving == usize::from(SHARDS) { Ok(()) } else { Err(described.condition) }
        })
        .await;
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("file")
    }

    async fn start(&mut self, mode: v1::Mode) {
        let mut client = self.client().await.expect("the node answers");
        for _ in 0..EXECUTIONS {
            let name = self.ids.len();
            let input =
                format!(r#"{{"path":{:?},"name":"number {name}"}}"#, self.file().display().to_string());
            let request = v1::StartExecutionRequest {
                machine_arn: "arn:aws:states:local:000000000000:stateMachine:example".to_owned(),
                definition: MACHINE.into(),
                mode: mode.into(),
                input: input.into(),
                ..Default::default()
            };
            let started = client.start_execution(request).await.expect("it is started").into_inner();
            self.ids.push(started.execution_id);
        }
    }

    /// A worker with streams to all shards.
    fn worker(&self, language: Language) -> Process {
        let worker = self.start_worker(language, POOL);
        has_said(&worker, "stream opened", usize::from(SHARDS));
        worker
    }

    fn start_worker(&self, language: Language, pool: &str) -> Process {
        let address = self.public.to_string();
        let flags = ["--node", &address, "--pool", pool, "--concurrency", "64"].map(str::to_owned);
        let shown = self.certificates.as_ref().map(|all| all.flags(language)).unwrap_or_default();
        let (program, arguments, env) = match language {
            Language::Rust => (PathBuf::from(env!("CARGO_BIN_EXE_example-worker")), Vec::new(), Vec::new()),
            Language::Python => {
                let venv = virtual_environment();
                let stubs = venv.join("stubs").display().to_string();
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/worker.py");
                let env = vec![("PYTHONPATH".to_owned(), stubs)];
                (venv.join("bin/python"), vec![script.display().to_string()], env)
            }
        };
        let arguments = arguments.into_iter().chain(flags).chain(shown);
        let mut options = ProcessOptions::new(&format!("{language:?} worker"), program, arguments);
        options.env = env;
        Process::start(&options).unwrap_or_else(|error| panic!("{error}"))
    }

    async fn everything_succeeds(&self) {
        let client = self.client().await.expect("the node answers");
        for (number, id) in self.ids.iter().enumerate() {
            let described = eventually_async(&format!("{id} ends"), PATIENCE, || {
                let mut client = client.clone();
                async move {
                    let request = v1::DescribeExecutionRequest { execution: id.clone() };
                    let described = client.describe_execution(request).await;
                    let described = described.map_err(|status| status.to_string())?.into_inner();
                    let status = described.summary.as_ref().map(v1::ExecutionSummary::status);
                    let ended = status.is_some_and(|status| status != v1::ExecutionStatus::Running);
                    if ended { Ok(described) } else { Err("it is running".to_owned()) }
                }
            })
            .await;
            let output = described.output.unwrap_or_else(|| panic!("{:?}", described.cause));
            let greeted = format!("Hello, number {number}!");
            assert!(String::from_utf8_lossy(&output).contains(&greeted), "{output:?}");
        }
    }

    fn let_the_tasks_end(&self) {
        std::fs::write(self.file(), "").expect("the file is written");
    }
}

/// `target/python`, beside the profile's folder.
fn virtual_environment() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.ancestors().nth(3).expect("target/<profile>/deps/<test>");
    let venv = target.join("python");
    let python = venv.join("bin/python");
    assert!(python.is_file(), "{} is not there: run examples/python/setup.sh first", python.display());
    venv
}

/// Waits until a worker has said something so often.
fn has_said(worker: &Process, text: &str, times: usize) {
    eventually(&format!("{times} times {text:?}"), PATIENCE, || {
        let said = worker.log().matches(text).count();
        if said >= times { Ok(()) } else { Err(format!("{said} times:\n{}", worker.tail())) }
    });
}

async fn a_worker_dies_with_tasks_in_hand(language: Language) {
    let mut world = World::new().await;
    let mut worker = world.worker(language);
    world.start(v1::Mode::Standard).await;
    world.start(v1::Mode::Express).await;
    has_said(&worker, "begun", 2 * EXECUTIONS);
    worker.kill9();
    let next = world.worker(language);
    has_said(&next, "begun", 2 * EXECUTIONS);
    world.let_the_tasks_end();
    world.everything_succeeds().await;
}

async fn a_node_dies_and_its_worker_comes_back(language: Language) {
    let mut world = World::new().await;
    let worker = world.worker(language);
    world.start(v1::Mode::Standard).await;
    world.start(v1::Mode::Express).await;
    has_said(&worker, "begun", 2 * EXECUTIONS);
    world.node.kill9();
    // What is done meanwhile has no stream to leave on.
    world.let_the_tasks_end();
    has_said(&worker, "done", 2 * EXECUTIONS);
    world.node = Process::start(&world.options).unwrap_or_else(|error| panic!("{error}"));
    world.wait_serving().await;
    world.everything_succeeds().await;
}

async fn a_worker_that_is_asked_to_end_finishes_what_it_has(language: Language) {
    let mut world = World::new().await;
    let mut worker = world.worker(language);
    world.start(v1::Mode::Standard).await;
    has_said(&worker, "begun", EXECUTIONS);
    worker.terminate().expect("it runs");
    has_said(&worker, "no new tasks are taken", 1);
    world.let_the_tasks_end();
    let exit = worker.wait_exit(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(exit.code, Some(0), "{}", worker.log());
    // Another one does what came after that, and nothing of the first tasks.
    let next = world.worker(language);
    world.everything_succeeds().await;
    let log = worker.log() + &next.log();
    assert_eq!(
        log.matches("done function=\"await-file\"").count() + log.matches("done await-file").count(),
        EXECUTIONS
    );
}

async fn a_worker_shows_a_certificate_and_is_given_its_own_pool_alone(language: Language) {
    let mut world = World::start_node(Some(Certificates::new())).await;
    let _worker = world.worker(language);
    world.let_the_tasks_end();
    world.start(v1::Mode::Standard).await;
    world.everything_succeeds().await;
    let mut other = world.start_worker(language, "payments");
    let exit = other.wait_exit(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let log = other.log();
    assert!(exit.code == Some(1) && log.contains("refuses this worker") && log.contains("payments"), "{log}");
}

macro_rules! of_each_language {
    ($($name:ident, $rust:ident, $python:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rust() {
            $name(Language::Rust).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $python() {
            $name(Language::Python).await;
        }
    )+};
}

of_each_language! {
    a_worker_dies_with_tasks_in_hand,
        tasks_in_hand_of_a_killed_rust_worker_are_done_by_the_next,
        tasks_in_hand_of_a_killed_python_worker_are_done_by_the_next;
    a_node_dies_and_its_worker_comes_back,
        a_rust_worker_comes_back_to_its_node_with_what_it_has_done,
        a_python_worker_comes_back_to_its_node_with_what_it_has_done;
    a_worker_that_is_asked_to_end_finishes_what_it_has,
        a_rust_worker_that_is_asked_to_end_finishes_what_it_has,
        a_python_worker_that_is_asked_to_end_finishes_what_it_has;
    a_worker_shows_a_certificate_and_is_given_its_own_pool_alone,
        a_rust_worker_shows_a_certificate_and_is_given_its_own_pool_alone,
        a_python_worker_shows_a_certificate_and_is_given_its_own_pool_alone;
}
