//! A fault shows on the overview within half a minute, and the alert that fires names it.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use testkit::eventually;

use crate::stage::{PATIENCE, Rules, Stage};

/// What is promised.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);

/// The query of a panel in one of the overview's first two rows.
fn query(title: &str) -> String {
    let overview = dashboards::overview::dashboard();
    let panels = overview.rows.into_iter().take(2).flat_map(|row| row.panels);
    let panel = panels.into_iter().find(|panel| panel.title == title).expect("a panel of the first rows");
    panel.targets[0].expr.clone()
}

/// Waits until a panel of the first rows shows what is bad, and then until the alert fires.
fn shows(stage: &Stage, title: &str, bad: impl Fn(f64) -> bool, alert: &str) {
    let expr = query(title);
    eventually(&format!("{title} shows it"), SHOWS_WITHIN, || match stage.now(&expr) {
        Some(value) if bad(value) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually(&format!("{alert} fires"), PATIENCE, || {
        firing(stage, alert).then_some(()).ok_or("it does not")
    });
    let alerts = stage.now(&query("Alerts")).unwrap_or_default();
    assert!(alerts >= 1.0, "the overview counts {alerts} alerts");
}

fn firing(stage: &Stage, alert: &str) -> bool {
    let alert = alert.replacen('{', r#"{alertstate="firing", "#, 1);
    stage.now(&format!("count({alert})")).is_some()
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
async fn a_failing_target_a_slow_store_and_a_stopped_shard_show_and_are_named() {
    let stage = Stage::open(Rules::Quick).await;
    well(&stage, "Worst task target", |share| share > 0.0 && share < 0.25);
    stage.target.fails.store(true, Ordering::Relaxed);
    let named = format!(
        r#"ALERTS{{alertname="MyriadTaskTargetFails", target=~".*{}.*"}}"#,
        stage.target.address.port()
    );
    shows(&stage, "Worst task target", |share| share > 0.25, &named);
    stage.target.fails.store(false, Ordering::Relaxed);

    well(&stage, "Store latency p99", |seconds| seconds < 0.25);
    stage.proxy.delay(Duration::from_millis(500));
    shows(&stage, "Store latency p99", |seconds| seconds > 0.25, r#"ALERTS{alertname="MyriadStoreSlow"}"#);
    stage.proxy.delay(Duration::ZERO);

    well(&stage, "Nodes serving", |share| share >= 1.0);
    let dead = r#"ALERTS{alertname="MyriadShardDead", shard="1"}"#;
    assert!(!firing(&stage, dead), "every shard works");
    let stopped = Stopped::shard(stage.node.pid(), 1);
    shows(&stage, "Nodes serving", |share| share < 1.0, dead);
    drop(stopped);
    well(&stage, "Nodes serving", |share| share >= 1.0);
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
