//! `executor inspect` beside a running node.

use std::process::Command;

use serde_json::Value;
use testkit::eventually_async;

use crate::support::PATIENCE;
use crate::support::node::{Node, start_request};
use crate::support::store::StoreUnderTest;

const TASK: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":1,"Next":"T"},"T":{"Type":"Task",
    "Resource":"arn:aws:lambda:us-east-1:123456789012:function:nobody-has-it","Next":"End"},"End":{"Type":"Pass","End":true}}}"#;

const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;

/// What it prints, if it exits so.
fn inspect(store: &StoreUnderTest, arguments: &[&str], code: i32) -> String {
    inspect_at(&store.flags(), arguments, code)
}

fn inspect_at(store: &[String], arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_executor"));
    command.arg("inspect").args(arguments).args(store);
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &errors
}

fn object(text: &str) -> Value {
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_shows_an_open_execution_and_then_its_end_beside_a_running_node() {
    let store = StoreUnderTest::redis();
    let node = Node::serving(&store.flags(), &["--bind", "*nobody*=pool"]).await;
    let mut client = node.client().await.expect("connected");
    let started =
        client.start_execution(start_request(TASK, r#"{"secret":1}"#)).await.expect("started").into_inner();
    let (id, arn) = (started.execution_id.as_str(), started.execution_arn.as_str());

    let open = object(&inspect(&store, &["execution", arn, "--format", "json"], 0));
    assert_eq!((&open["opened"]["execution"], &open["closed"]), (&Value::from(id), &Value::Null), "{open}");
    assert!(!open.to_string().contains("secret"), "payloads are shown where they are asked for: {open}");
    eventually_async("the timer's outcome is in the journal", PATIENCE, || async {
        let found = object(&inspect(&store, &["execution", id, "--format", "json"], 0));
        match found["journal"][0]["kind"].as_str() {
            Some("TimerFired") => Ok(()),
            _ => Err(found.to_string()),
        }
    })
    .await;
    let request =
        proto::executor::v1::StopExecutionRequest { execution: id.to_owned(), ..Default::default() };
    client.stop_execution(request).await.expect("stopped");
    let closed = object(&inspect(&store, &["execution", id, "--payloads", "--format", "json"], 0));
    assert_eq!(closed["closed"]["status"], "ABORTED", "{closed}");
    assert_eq!(closed["opened"]["input"]["secret"], 1, "{closed}");

    let block = closed["closed"]["block"].as_str().expect("a block");
    let partition = closed["opened"]["partition"].as_u64().expect("a partition").to_string();
    assert!(inspect(&store, &["block", &partition, block], 0).contains(id));
    assert!(inspect(&store, &["blocks", &partition], 0).contains(block));
    assert!(inspect(&store, &["partitions"], 0).lines().any(|line| line.starts_with(&partition)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_says_what_is_not_there() {
    let store = StoreUnderTest::redis();
    assert!(inspect(&store, &["partitions"], 1).contains("no partition has ever had an owner"));
    assert!(inspect(&store, &["block", "3", "7-1"], 1).contains("partition 3 does not hold block 7-1"));
    assert!(inspect(&store, &["execution", "nonsense"], 2).contains("not an execution id"));
    assert!(inspect(&store, &["block", "3", "seven"], 2).contains("GENERATION-SEQUENCE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_speaks_to_redis_as_its_nodes_do_over_tls_and_as_a_user_of_its_own() {
    let authority = testkit::Authority::new();
    let (server, ours) = (authority.issue("localhost"), authority.issue("oncall"));
    let port = testkit::free_port();
    let path = |path: &std::path::Path| path.display().to_string();
    let extra = [
        ("tls-port", port.to_string()),
        ("tls-cert-file", path(&server.cert)),
        ("tls-key-file", path(&server.key)),
        ("tls-ca-cert-file", path(&server.ca)),
        ("user", "oncall on >of-the-file ~* +@read +@connection +info +cluster +eval".to_owned()),
    ];
    let extra = extra.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let redis = testkit::Redis::start(testkit::RedisOptions { extra, ..Default::default() });
    let redis = redis.unwrap_or_else(|error| panic!("{error}"));
    let _node = Node::serving(&["--redis-url".to_owned(), redis.url()], &[]).await;
    let password = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(password.path(), "of-the-file\n").expect("written");
    let url = format!("rediss://oncall@localhost:{port}");
    let partitions = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_executor"));
        command.args(["inspect", "partitions", "--redis-url", &url]).args(more);
        let output = command.output().expect("the program starts");
        let told =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), told)
    };
    let (ca, cert, key) = (path(&ours.ca), path(&ours.cert), path(&ours.key));
    let password = path(password.path());
    let flags =
        ["--redis-ca", &ca, "--redis-cert", &cert, "--redis-key", &key, "--redis-password-file", &password];
    let (code, told) = partitions(&flags);
    assert!(code == Some(0) && told.contains("GENERATION"), "{code:?} {told}");
    let (code, told) = partitions(&flags[..2]);
    assert!(code == Some(3) && told.contains("cannot connect"), "without a certificate: {code:?} {told}");
    std::fs::write(&password, "another\n").expect("written");
    let (code, told) = partitions(&flags);
    assert!(code == Some(3) && told.contains("password"), "{code:?} {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_reads_a_file_store_whose_node_is_stopped_and_makes_and_changes_nothing() {
    let store = StoreUnderTest::file();
    let dir = std::path::PathBuf::from(&store.flags()[1]);
    let nowhere = dir.join("nowhere");
    let flags = ["--store-dir".to_owned(), nowhere.display().to_string()];
    let told = inspect_at(&flags, &["partitions"], 3);
    assert!(told.contains("no store") && !nowhere.exists(), "{told}");
    let mut node = Node::serving(&store.flags(), &[]).await;
    let mut client = node.client().await.expect("connected");
    let started = client.start_execution(start_request(PASS, "{}")).await.expect("started").into_inner();
    let told = inspect(&store, &["partitions"], 3);
    assert!(told.contains(&format!("process {} uses the directory", node.pid())), "{told}");
    assert_eq!(node.terminate().code, Some(0));
    let files = || {
        let mut found = Vec::new();
        let mut left = vec![dir.clone()];
        while let Some(path) = left.pop() {
            let about = std::fs::metadata(&path).expect("there");
            if about.is_dir() {
                left.extend(
                    std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("there").path()),
                );
            }
            found.push((path, about.len(), about.modified().expect("a time")));
        }
        found.sort();
        found
    };
    let before = files();
    assert!(inspect(&store, &["partitions"], 0).contains("GENERATION"));
    let shown = inspect(&store, &["execution", &started.execution_arn, "--format", "json"], 0);
    assert_eq!(object(&shown)["closed"]["status"], "SUCCEEDED", "{shown}");
    let told = inspect(&store, &["blocks", "99"], 2);
    assert!(told.contains("0 to 3"), "{told}");
    assert_eq!(files(), before);
}

#[test]
fn inspect_says_of_a_redis_that_is_gone_that_it_cannot_be_read() {
    let url = format!("redis://127.0.0.1:{}", testkit::free_port());
    let told = inspect_at(&["--redis-url".to_owned(), url], &["partitions"], 3);
    assert!(told.contains("cannot be read now") && !told.contains("write"), "{told}");
}
