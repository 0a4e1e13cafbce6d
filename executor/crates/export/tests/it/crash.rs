//! A process that is killed while it writes files of histories: what it has left is readable, and the next one completes it.
//!
//! The test runs itself again as the process that is killed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use export::Sink;
use export::sinks::files::{Files, FilesOptions};
use testkit::eventually;

use crate::support::{batch, now, page};

const INSIDE: &str = "EXPORT_TEST_CRASH_DIR";
const NAME: &str = "crash::what_a_killed_process_has_left_is_readable_and_completed_by_the_next_one";
/// Events of one batch.
const EVENTS: u64 = 200;

fn ends_with(dir: &Path, ending: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(ending))
}

/// The ids that can be read, and whether the file was whole.
fn ids(path: &Path) -> (Vec<u64>, bool) {
    let mut text = String::new();
    let file = File::open(path).expect("a file");
    let whole = zstd::stream::read::Decoder::new(file).expect("zstd").read_to_string(&mut text).is_ok();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        line["id"].as_str().expect("text").parse().expect("a number")
    };
    (lines.map(id).collect(), whole)
}

#[test]
fn what_a_killed_process_has_left_is_readable_and_completed_by_the_next_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Some(dir) = std::env::var_os(INSIDE) {
        return runtime.block_on(write_until_killed(Path::new(&dir)));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", NAME])
        .env(INSIDE, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("itself");
    let part = eventually("it writes", Duration::from_secs(60), || {
        let part = ends_with(dir.path(), ".part").ok_or("no file")?;
        let long = std::fs::metadata(&part).is_ok_and(|file| file.len() > 50_000);
        if long { Ok(part) } else { Err("the file is short") }
    });
    child.kill().expect("killed");
    child.wait().expect("it is gone");
    let (left, _) = ids(&part);
    assert!(
        left.len() as u64 >= EVENTS && left.iter().copied().eq(1..=left.len() as u64),
        "{} events",
        left.len()
    );

    let mut next = Files::new(FilesOptions::new(dir.path(), "n"), now(), Arc::default());
    runtime.block_on(next.idle()).expect("it takes the folder");
    let (ids, whole) = ids(&ends_with(dir.path(), ".zst").expect("completed"));
    assert!(
        whole && (ids.len() as u64).is_multiple_of(EVENTS) && left.starts_with(&ids),
        "{} events",
        ids.len()
    );
}

async fn write_until_killed(dir: &Path) {
    let mut files = Files::new(FilesOptions::new(dir, "n"), now(), Arc::default());
    for number in 0.. {
        let ids = number * EVENTS + 1..(number + 1) * EVENTS + 1;
        files.send(&batch(&[page("e", ids)])).await.expect("written");
    }
}
