//! Histories in files: what is in them after kill -9 of the node, and with and without execution data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use executor::clock::Clock;
use proto::executor::v1;
use serde_json::Value;
use testkit::{eventually, eventually_async};

use crate::support::PATIENCE;
use crate::support::load::{Ended, Load};
use crate::support::node::{Node, start_request};
use crate::support::readback::every_acknowledged_execution_succeeds;
use crate::support::store::StoreUnderTest;

/// Acknowledgements before the kill.
const ACKS: u64 = 2_000;

fn logging(include_execution_data: bool) -> Option<v1::LoggingConfiguration> {
    Some(v1::LoggingConfiguration { level: v1::LogLevel::All.into(), include_execution_data })
}

fn names(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

/// The events of all complete files, by execution: each file whole, each line JSON.
fn told(dir: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut told = BTreeMap::<String, Vec<Value>>::new();
    for path in names(dir, ".ndjson.zst") {
        let mut text = String::new();
        let decoder = zstd::stream::read::Decoder::new(File::open(&path).expect("a file"));
        let read = decoder.expect("zstd").read_to_string(&mut text);
        read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.ends_with('\n'), "{}", path.display());
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let execution = event["execution_arn"].as_str().expect("a name").to_owned();
            told.entry(execution).or_default().push(event);
        }
    }
    told
}

/// The events of an execution, by the end of its name.
fn of<'a>(told: &'a BTreeMap<String, Vec<Value>>, id: &str) -> &'a [Value] {
    let found = told.iter().find(|(execution, _)| execution.ends_with(id));
    found.map_or(&[], |(_, events)| events)
}

fn ids(events: &[Value]) -> BTreeSet<u64> {
    events.iter().map(|event| event["id"].as_str().expect("text").parse().expect("a number")).collect()
}

async fn summary(node: &Node, id: &str) -> v1::ExecutionSummary {
    let request = v1::DescribeExecutionRequest { execution: id.to_owned() };
    let mut client = node.client().await.expect("the node answers");
    let described = client.describe_execution(request).await.expect("it is there").into_inner();
    described.summary.expect("a summary")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_files_are_completed_and_what_was_open_is_told_from_its_start_to_its_end() {
    let (store, dir) = (StoreUnderTest::file(), tempfile::tempdir().expect("a folder"));
    let folder = dir.path().display().to_string();
    let mut node = Node::serving(&store.flags(), &["--history-files", &folder]).await;
    let mut load = Load::logged(&node, logging(true)).await;
    let (enough, killer) = (load.reaches(ACKS), node.killer());
    let (ended, ()) = tokio::join!(load.run(&node, u64::MAX), async {
        enough.await;
        eventually("a file is begun", PATIENCE, || {
            let begun =
                names(dir.path(), ".part").iter().any(|part| fs::metadata(part).is_ok_and(|m| m.len() > 0));
            begun.then_some(()).ok_or_else(|| "none".to_owned())
        });
        killer.kill9().unwrap_or_else(|error| panic!("{error}"));
    });
    assert!(matches!(ended, Ended::Broken(_)), "{ended:?}");
    node.kill9();
    let killed_ms = Clock::default().now_ms();
    // A frame that was written in part, as a power failure leaves it.
    let parts = names(dir.path(), ".part");
    assert_eq!(parts.len(), 1, "{parts:?}");
    let torn = zstd::bulk::compress(&b"{\"torn\":1}\n".repeat(50), 3).expect("compressed");
    let mut part = File::options().append(true).open(&parts[0]).expect("a file");
    part.write_all(&torn[..torn.len() / 2]).expect("written");
    drop(part);

    node.relaunch();
    node.wait_serving().await;
    load.settle(&node).await;
    every_acknowledged_execution_succeeds(&node, &load).await;
    eventually_async("what was torn is completed", PATIENCE, || async {
        if parts[0].exists() { Err("it is there") } else { Ok(()) }
    })
    .await;
    let mut standard = Vec::new();
    for id in load.ledger.read().expect("the ledger is readable") {
        let summary = summary(&node, &id).await;
        if summary.mode() == v1::Mode::Standard {
            standard.push((id, summary));
        }
    }
    assert_eq!(node.terminate().code, Some(0), "the node drains, and sends what waits");
    assert_eq!(names(dir.path(), ".part"), Vec::<PathBuf>::new());
    let (told, mut recovered, mut lost) = (told(dir.path()), 0, 0);
    for (id, summary) in &standard {
        let events = of(&told, id);
        let succeeded = events.iter().any(|event| event["type"] == "ExecutionSucceeded");
        if summary.stop_time_ms <= killed_ms {
            // It may have been in the queue, which is lost with the node: nobody tells it again.
            lost += usize::from(!succeeded);
            continue;
        }
        assert!(succeeded, "{id} ended after the recovery: {events:?}");
        let ids = ids(events);
        assert_eq!(ids.iter().copied().collect::<Vec<_>>(), (1..=6).collect::<Vec<_>>(), "{id}");
        recovered += usize::from(summary.start_time_ms < killed_ms);
    }
    assert!(recovered > 0, "the kill found executions open");
    assert!(lost < standard.len(), "{lost} of {} were in the queue", standard.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_and_outputs_are_in_the_files_where_the_start_asks_for_them_and_nowhere_else() {
    let (store, dir) = (StoreUnderTest::file(), tempfile::tempdir().expect("a folder"));
    let folder = dir.path().display().to_string();
    let mut node = Node::serving(&store.flags(), &["--history-files", &folder]).await;
    let mut client = node.client().await.expect("the node answers");
    let mut started = Vec::new();
    for logging in [logging(true), logging(false), None] {
        let request = start_request(crate::support::load::PASS, r#"{"card":"4711"}"#);
        let request = v1::StartExecutionRequest { logging, ..request };
        started.push(client.start_execution(request).await.expect("started").into_inner().execution_arn);
    }
    assert_eq!(node.terminate().code, Some(0));
    let told = told(dir.path());
    let [with, without, off] = [0, 1, 2].map(|at| of(&told, &started[at]));
    assert_eq!((with.len(), without.len(), off.len()), (4, 4, 0));
    for event in with {
        let data = ["input", "output"].map(|name| event["details"][name].as_str());
        assert!(data.contains(&Some(r#"{"card":"4711"}"#)), "{event}");
    }
    for event in without {
        assert!(!event.to_string().contains("4711"), "{event}");
        assert_eq!(event["details"].get("inputDetails"), None, "{event}");
    }
}
