//! The texts of a node as Prometheus' own tools read them: `promtool` of Debian's package `prometheus`.

use std::io::Write;
use std::process::{Command, Stdio};

use telemetry::inventory::{self, Kind};
use telemetry::{CallKind, DropReason, Form, NodeMetrics, Refusal, Signal, StateKind};

/// A node on which everything has happened that makes a series, with names that have to be escaped.
fn node() -> NodeMetrics {
    let node = NodeMetrics::new("0.0.0", 2);
    for index in 0..2 {
        let shard = node.shard(index).expect("there are two");
        let machine = shard.machine("qrn:qcs:asw:ap-guangzhou:1:stateMachine/\"quoted\"\\path\nline");
        machine.started.add(3);
        machine.duration.observe_n(1_500, 3);
        machine.count_error("Custom.\"Error\"", 1);
        machine.state("支付 Pay").entered.add(2);
        shard.refuse(Refusal::Overloaded, 2);
        shard.throttle("unknown", 2);
        shard.start_ack.observe(900);
        shard.busy_us.add(1_234_567);
        shard.state_duration[StateKind::Task as usize].observe(86_400_000_001);
        shard.calls[CallKind::Http as usize].answered.add(1);
        let target = shard.target("http", "https://api.example:8443");
        target.failed.add(1);
        target.latency.observe(3_000);
    }
    let exporter = node.exporter(Signal::History, "kafka");
    exporter.intake().offered.add(5);
    exporter.drop_items(DropReason::GaveUp, 1, 7);
    node.set_durability("redis", vec![("appendfsync", "always".to_owned())]);
    node.add_reload("certificates", std::sync::Arc::default());
    node.set_secret_keys(vec![7, 3]);
    node
}

/// Runs promtool with this text as its input; what it says, where it is not content.
fn promtool(arguments: &[&str], text: &str) -> Result<String, String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: Debian's package `prometheus`");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn promtool_has_nothing_to_say_against_the_text_and_its_conventions() {
    let text = node().render(Form::Prometheus);
    assert_eq!(promtool(&["check", "metrics"], &text), Ok(String::new()));
    // The check can fail.
    let wrong = text.replace("# HELP executor_ready", "# HELP executor_unready");
    assert!(promtool(&["check", "metrics"], &wrong).is_err());
}

#[test]
fn prometheus_reads_every_series_of_the_open_metrics_text() {
    let (folder, text) = (tempfile::tempdir().expect("a folder"), node().render(Form::OpenMetrics));
    // A block is made of samples with times, which a scrape has none of.
    let timed =
        |line: &str| if line.starts_with('#') { line.to_owned() } else { format!("{line} 1700000000") };
    let input: String = text.lines().map(|line| timed(line) + "\n").collect();
    let (file, blocks) = (folder.path().join("metrics"), folder.path().join("blocks"));
    std::fs::write(&file, &input).expect("a file");
    // As in the folder of a server, which a dump expects.
    std::fs::create_dir_all(blocks.join("wal")).expect("a folder");
    let (file, blocks) = (file.to_str().expect("a path"), blocks.to_str().expect("a path"));
    let read = |file: &str| promtool(&["tsdb", "create-blocks-from", "openmetrics", file, blocks], "");
    read(file).expect("Prometheus reads it");
    let dumped = promtool(&["tsdb", "dump", blocks], "").expect("the block is whole");
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(dumped.lines().filter(|line| line.starts_with('{')).count(), samples);
    for metric in inventory::ALL {
        let ends: &[&str] = match metric.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge | Kind::Info => &[""],
        };
        for end in ends {
            let name = format!("__name__=\"{}{end}\"", metric.name);
            assert!(dumped.contains(&name), "{name} was not read");
        }
    }
    // The reader can fail.
    let broken = format!("{file}.broken");
    std::fs::write(&broken, input.replace("# EOF\n", "")).expect("a file");
    assert!(read(&broken).is_err());
}
