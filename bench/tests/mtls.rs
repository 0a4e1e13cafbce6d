//! Load and a worker that show certificates to a node that asks for them.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bench::profile::{ECHO_FUNCTION, ECHO_POOL};
use executor::config::Config;
use executor::node::Node;
use executor::shard::Binding;
use testkit::{Authority, Certificate, Process, ProcessOptions};
use trust::TlsSettings;

const PATIENCE: Duration = Duration::from_secs(60);
const ALLOW: [&str; 3] = ["node=a.node", "scheduler=load.test", "worker:echo=echo.test"];

/// A node with certificates, and its public address.
fn node(certificate: &Certificate) -> (Node, String) {
    let tls = TlsSettings {
        cert: Some(certificate.cert.clone()),
        key: Some(certificate.key.clone()),
        ca: Some(certificate.ca.clone()),
        allow: ALLOW.map(str::to_owned).to_vec(),
        allow_file: None,
    };
    let bindings = vec![Binding { pattern: ECHO_FUNCTION.to_owned(), pool: ECHO_POOL.to_owned() }];
    let config = Config { shards: 2, partitions: 4, tls, bindings, ..Config::embedded() };
    let node = Node::start(config, Arc::new(journal::memory::MemoryStore::new())).expect("the node starts");
    let address = node.addresses().public.to_string();
    (node, address)
}

fn load(address: &str, flags: &[String]) -> Output {
    let words = ["load", "--node", address, "--profile", "three-tasks", "--rate", "50", "--duration", "2s"];
    Command::new(env!("CARGO_BIN_EXE_bench")).args(words).args(flags).output().expect("the program starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_and_its_worker_run_where_every_process_shows_a_certificate_and_a_stranger_s_does_not() {
    let authority = Authority::new();
    let (node, address) = node(&authority.issue("a.node"));
    assert!(tokio::time::timeout(PATIENCE, node.ready()).await.expect("it becomes ready"));
    let words = ["worker", "--node", &address, "--pool", ECHO_POOL].map(str::to_owned);
    let words = words.into_iter().chain(authority.issue("echo.test").flags(&ALLOW));
    let worker = ProcessOptions::new("worker", env!("CARGO_BIN_EXE_bench"), words);
    let mut worker = Process::start(&worker).unwrap_or_else(|error| panic!("{error}"));
    worker.wait_for_line("serving", PATIENCE).unwrap_or_else(|error| panic!("{error}"));

    let certificate = authority.issue("load.test").flags(&ALLOW);
    let address_of_load = address.clone();
    let ran =
        tokio::task::spawn_blocking(move || load(&address_of_load, &certificate)).await.expect("it ends");
    let (told, errors) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    // A busy machine may fall short of the rate; what counts is what came back.
    assert!(told.contains("SUCCEEDED 100") && told.contains("errors  none"), "{told}\n{errors}");

    let strangers = Authority::new();
    let stranger = strangers.issue("load.test").flags(&ALLOW);
    let ran = tokio::task::spawn_blocking(move || load(&address, &stranger)).await.expect("it ends");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && errors.contains("certificate"), "{errors}");
}
