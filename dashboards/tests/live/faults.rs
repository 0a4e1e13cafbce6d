//! A fault shows on the overview within half a minute, and the alert that fires names it; so does a machine that fails, later.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dashboards::Dashboard;
use testkit::eventually;

use crate::stage::{PATIENCE, Stage, Watch};

/// What is promised.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);

/// The overview's first two rows.
fn overview() -> Dashboard {
    let mut overview = dashboards::overview::dashboard();
    overview.rows.truncate(2);
    overview
}

/// The query of a panel there.
fn query(title: &str) -> String {
    let panels = overview().rows.into_iter().flat_map(|row| row.panels);
    let panel = panels.into_iter().find(|panel| panel.title == title).expect("a panel of the first rows");
    panel.targets[0].expr.clone()
}

/// An alert, and a label by which it names what is wrong, with a part of its value.
#[derive(Clone, Copy)]
struct Named<'a>(&'a str, &'a str, &'a str);

/// Whether the overview has the alert among those that fire, with its name for what is wrong.
fn fires(stage: &Stage, Named(alert, label, value): Named<'_>) -> Result<(), String> {
    let now = stage.last(1.0).map_err(|error| error.to_string())?;
    let all = stage.ask(&query("Alerts that fire"), now).map_err(|error| error.to_string())?;
    let found =
        all.iter().any(|series| series.label("alertname") == alert && series.label(label).contains(value));
    if found { Ok(()) } else { Err(format!("{all:?}")) }
}

/// Waits until a panel of the first rows shows what is bad, and then until the alert fires.
fn shows(stage: &Stage, title: &str, bad: impl Fn(f64) -> bool, named: Named<'_>) {
    let expr = query(title);
    eventually(&format!("{title} shows it"), SHOWS_WITHIN, || match stage.now(&expr) {
        Some(value) if bad(value) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually(&format!("{} fires", named.0), PATIENCE, || fires(stage, named));
    let alerts = stage.now(&query("Alerts")).unwrap_or_default();
    assert!(alerts >= 1.0, "the overview counts {alerts} alerts");
}

/// Waits until a panel of the first rows shows what is good.
fn well(stage: &Stage, title: &str, good: impl Fn(f64) -> bool) {
    let expr = query(title);
    eventually(&format!("{title} is well"), PATIENCE, || match stage.now(&expr) {
        Some(value) if good(value) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_target_a_slow_store_a_lost_collector_and_a_stopped_shard_show_and_are_named() {
    let mut stage = Stage::open(Watch::AsGiven).await;
    well(&stage, "Worst task target", |share| share > 0.0 && share < 0.25);
    stage.target.fails.store(true, Ordering::Relaxed);
    let port = stage.target.address.port().to_string();
    let named = Named("MyriadTaskTargetFails", "target", &port);
    shows(&stage, "Worst task target", |share| share > 0.25, named);
    stage.target.fails.store(false, Ordering::Relaxed);

    well(&stage, "Store latency p99", |seconds| seconds < 0.5);
    stage.proxy.delay(Duration::from_millis(500));
    let named = Named("MyriadStoreSlow", "instance", "127.0.0.1");
    shows(&stage, "Store latency p99", |seconds| seconds > 0.5, named);
    stage.proxy.delay(Duration::ZERO);

    well(&stage, "Exports dropped", |records| records == 0.0);
    stage.collector.fails.store(true, Ordering::Relaxed);
    shows(&stage, "Exports dropped", |records| records > 0.0, Named("MyriadExportDrops", "sink", "otlp"));
    stage.collector.fails.store(false, Ordering::Relaxed);

    well(&stage, "Nodes serving", |share| share >= 1.0);
    let dead = Named("MyriadShardDead", "shard", "1");
    assert!(fires(&stage, dead).is_err(), "every shard works");
    let stopped = Stopped::shard(stage.node.pid(), 1);
    shows(&stage, "Nodes serving", |share| share < 1.0, dead);
    if crate::drawing() {
        crate::draw(&stage, &overview(), 60.0, "overview-while-a-shard-stands-still.png");
    }
    drop(stopped);
    well(&stage, "Nodes serving", |share| share >= 1.0);

    // No execution of this machine has ever come to a good end.
    for alert in ["MyriadMachineFails", "MyriadMachineTimesOut"] {
        let named = Named(alert, "machine", ":too-long");
        eventually(&format!("{alert} fires"), PATIENCE, || fires(&stage, named));
    }

    // Last, for it does not come back.
    let named = Named("MyriadSchedulerDown", "instance", "127.0.0.1");
    assert!(fires(&stage, named).is_err(), "it answers");
    stage.scheduler.kill9();
    eventually("MyriadSchedulerDown fires", PATIENCE, || fires(&stage, named));
}

/// A thread that stands still for as long as this lives, while the others of its process go on.
struct Stopped(Child);

impl Stopped {
    fn shard(process: u32, shard: u32) -> Self {
        let name = format!("shard-{shard}\n");
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads");
        let thread = threads
            .filter_map(|thread| thread.ok().map(|thread| thread.path()))
            .find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name));
        let thread = thread.and_then(|path| path.file_name().map(|id| id.to_string_lossy().into_owned()));
        let thread = thread.expect("the shard's thread");
        // A debugger's way: seize the one thread, interrupt it, hold it until our input ends.
        let script = "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True)\n\
            libc.ptrace.argtypes = [ctypes.c_long] * 4\n\
            for request in (0x4206, 0x4207):\n \
              assert libc.ptrace(request, int(sys.argv[1]), 0, 0) == 0, ctypes.get_errno()\n\
            sys.stdin.read()";
        let child = Command::new("python3").args(["-c", script, &thread]).stdin(Stdio::piped()).spawn();
        Self(child.expect("python3 is installed"))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The system lets the thread go on when its tracer has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
