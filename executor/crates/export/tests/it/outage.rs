//! Outages: one sink hangs, refuses connections or is slow, the other goes on; memory stays bounded, what is dropped is
//! counted, and order is kept.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use export::sinks::files::{Files, FilesOptions};
use export::{Exporter, History, Intake, IntakeBounds, Page};
use telemetry::{DropReason, ExportMetrics};
use testkit::{Proxy, eventually_async};

use crate::support::{ClsDouble, Mood, SECRET_KEY, arn, cls, keys_file, now, page, small_pump, value};

const WITHIN: Duration = Duration::from_secs(60);

struct Node {
    exporter: Exporter,
    intakes: Vec<Intake<Page>>,
    files: Arc<ExportMetrics>,
    cls: Arc<ExportMetrics>,
    dir: tempfile::TempDir,
}

/// Two shards; files, and CLS at this address.
fn node(double: &ClsDouble) -> Node {
    let dir = tempfile::tempdir().expect("a folder");
    keys_file(dir.path(), SECRET_KEY, None);
    let (files_cells, cls_cells) = (Arc::<ExportMetrics>::default(), Arc::<ExportMetrics>::default());
    let files = Files::new(FilesOptions::new(dir.path().join("histories"), "n"), now(), Arc::default());
    let cls = cls(double, dir.path());
    let roomy = export::PumpOptions { queue_items: 1 << 16, batch_items: 1_000, ..small_pump() };
    let roomy = export::PumpOptions { send_timeout: WITHIN, ..roomy };
    let history = History::new(IntakeBounds::default())
        .and("files", roomy, Arc::clone(&files_cells), || files)
        .and("cls", small_pump(), Arc::clone(&cls_cells), || cls);
    let (exporter, intakes) = history.start(2).expect("started");
    Node { exporter, intakes, files: files_cells, cls: cls_cells, dir }
}

/// Offers events of two executions, one on each shard, by pages of five.
fn offer(node: &Node, pages: std::ops::Range<u64>) {
    for number in pages {
        for (intake, execution) in node.intakes.iter().zip(["a", "b"]) {
            assert!(
                intake.offer(page(execution, number * 5 + 1..number * 5 + 6)),
                "the intake is never full here"
            );
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    eventually_async(what, WITHIN, || async { if holds() { Ok(()) } else { Err("not yet") } }).await;
}

/// The event ids of each execution, in the order in which they stand in the files.
fn in_files(dir: &Path) -> HashMap<String, Vec<u64>> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    // One that a stop had no time to complete counts too.
    names.retain(|path| path.to_string_lossy().contains(".ndjson.zst"));
    names.sort();
    let mut found: HashMap<String, Vec<u64>> = HashMap::new();
    for path in names {
        let file = std::fs::File::open(path).expect("a file");
        let mut text = String::new();
        zstd::stream::read::Decoder::new(file).expect("zstd").read_to_string(&mut text).expect("whole");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let id = line["id"].as_str().expect("text").parse().expect("a number");
            found.entry(line["execution_arn"].as_str().expect("text").to_owned()).or_default().push(id);
        }
    }
    found
}

/// What CLS has of an execution, each event where it came first: a packet whose answer was late comes again.
fn in_cls(double: &ClsDouble, execution: &str) -> Vec<u64> {
    let logs = double.logs();
    let of = logs.iter().filter(|log| value(log, "execution_arn") == arn(execution));
    let mut seen = HashSet::new();
    of.map(|log| value(log, "id").parse().expect("a number")).filter(|id| seen.insert(*id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_keeps_its_bounds_and_the_others_go_on() {
    let double = ClsDouble::start(Mood::Hangs).await;
    let node = node(&double);
    offer(&node, 0..200);
    until("the files have everything", || node.files.records.get() == 2_000).await;
    until("CLS was tried again", || node.cls.retries.get() >= 3).await;
    assert!(node.cls.queue_bytes.get() <= 1 << 20);
    let (_, dropped) = node.cls.dropped_for(DropReason::QueueFull);
    assert_eq!((node.cls.records.get(), dropped), (0, 2_000 - 100), "a hundred lines wait, no more");
    assert!(node.cls.lag_ms.get() > 0);

    double.state().mood = Mood::Takes;
    until("CLS has what waited", || node.cls.records.get() == 100).await;
    offer(&node, 200..204);
    until("CLS goes on", || node.cls.records.get() == 140).await;
    assert!(node.exporter.stop(WITHIN).await);
    for execution in ["a", "b"] {
        let seen = in_cls(&double, execution);
        assert!(seen.is_sorted() && seen.ends_with(&(1_001..1_021).collect::<Vec<_>>()), "{seen:?}");
    }
    let files = in_files(&node.dir.path().join("histories"));
    for execution in ["a", "b"] {
        assert_eq!(files[&arn(execution)], (1..1_021).collect::<Vec<_>>(), "every event, once, in order");
    }
    assert_eq!((node.files.items.get(), node.files.offered()), (408, 408));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_whose_connections_are_reset_and_then_refused_gets_everything_once_it_is_back() {
    let mut double = ClsDouble::start(Mood::Takes).await;
    let proxy = Proxy::start(double.address).expect("a proxy");
    double.address = proxy.address();
    let node = node(&double);
    offer(&node, 0..4);
    until("CLS has the first", || node.cls.records.get() == 40).await;
    proxy.refuse(true);
    proxy.reset();
    offer(&node, 4..9);
    until("CLS fails", || node.cls.failures.get() >= 3).await;
    proxy.refuse(false);
    until("CLS has everything", || node.cls.records.get() == 90).await;
    assert_eq!(node.cls.dropped_for(DropReason::QueueFull), (0, 0));
    for execution in ["a", "b"] {
        assert_eq!(in_cls(&double, execution), (1..46).collect::<Vec<_>>());
    }
    assert!(node.exporter.stop(WITHIN).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_tells_events_twice_and_never_out_of_order() {
    let mut double = ClsDouble::start(Mood::Takes).await;
    let proxy = Proxy::start(double.address).expect("a proxy");
    double.address = proxy.address();
    let node = node(&double);
    proxy.lose_replies(2);
    offer(&node, 0..8);
    until("CLS has everything", || node.cls.records.get() == 80).await;
    assert!(proxy.lost_replies() == 2 && node.cls.failures.get() >= 2);
    assert!(double.logs().len() > 80, "what was taken and not confirmed came again");
    for execution in ["a", "b"] {
        assert_eq!(in_cls(&double, execution), (1..41).collect::<Vec<_>>());
    }
    assert!(node.exporter.stop(WITHIN).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_sends_what_was_offered_and_leaves_a_hanging_sink_behind() {
    let double = ClsDouble::start(Mood::Hangs).await;
    let node = node(&double);
    offer(&node, 0..10);
    assert!(node.exporter.stop(Duration::from_secs(10)).await, "it ends by its deadline");
    assert_eq!(node.files.records.get(), 100);
    assert_eq!(node.cls.dropped_for(DropReason::Closing).1, 100);
    assert_eq!(in_files(&node.dir.path().join("histories"))[&arn("a")].len(), 50);
}

#[tokio::test]
async fn an_intake_that_is_full_drops_and_every_sink_knows() {
    let double = ClsDouble::start(Mood::Takes).await;
    let dir = tempfile::tempdir().expect("a folder");
    keys_file(dir.path(), SECRET_KEY, None);
    let (one, two) = (Arc::<ExportMetrics>::default(), Arc::<ExportMetrics>::default());
    let (cls_one, cls_two) = (cls(&double, dir.path()), cls(&double, dir.path()));
    // Nothing fits: a page weighs more.
    let history = History::new(IntakeBounds { items: 10, bytes: 50 })
        .and("one", small_pump(), Arc::clone(&one), || cls_one)
        .and("two", small_pump(), Arc::clone(&two), || cls_two);
    let (exporter, intakes) = history.start(1).expect("started");
    assert!(!intakes[0].offer(page("a", 1..6)));
    for cells in [&one, &two] {
        assert_eq!((cells.offered(), cells.dropped_for(DropReason::QueueFull)), (1, (1, 5)));
    }
    assert!(exporter.stop(WITHIN).await);
}
