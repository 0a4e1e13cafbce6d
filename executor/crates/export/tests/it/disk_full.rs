//! A disk that is full: as a limit on the length of files, which cuts a write in the middle as a full disk does.
//!
//! The limit is the process's own, so the test runs itself again in a process of its own.

use std::io::Read;
use std::process::Command;
use std::sync::Arc;

use export::sinks::files::{Files, FilesOptions};
use export::{Batch, Line, Sink};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{batch, now, page};

const INSIDE: &str = "EXPORT_TEST_DISK_FULL";
const NAME: &str = "disk_full::what_does_not_fit_leaves_no_partial_garbage_and_is_written_once_there_is_room";

/// Text that does not compress to nothing.
fn large(execution: &str) -> Batch<Arc<Line>> {
    batch(&[page(execution, 1..200)])
}

#[test]
fn what_does_not_fit_leaves_no_partial_garbage_and_is_written_once_there_is_room() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(inside());
    }
    let itself = std::env::current_exe().expect("this test");
    // The signal that comes with the limit would end the process; ignored, the write fails instead.
    let script = "trap '' XFSZ; exec \"$0\" --exact \"$1\" --nocapture";
    let child = Command::new("sh").args(["-c", script]).arg(itself).arg(NAME).env(INSIDE, "1").output();
    let child = child.expect("sh");
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

async fn inside() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut files = Files::new(FilesOptions::new(dir.path(), "n"), now(), Arc::default());
    let (first, second) = (large("first"), large("second"));
    let frame = files.send(&first).await.expect("written").bytes;
    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(frame + 10), maximum: hard }).expect("limited");
    let error = files.send(&second).await.expect_err("it does not fit").to_string();
    assert!(error.contains(".part") && error.contains("large"), "{error}");
    files.send(&second).await.expect_err("it still does not fit");
    let part = std::fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let part = part.into_iter().find(|path| path.to_string_lossy().ends_with(".part")).expect("one");
    assert_eq!(std::fs::metadata(&part).expect("a file").len(), frame, "what was written in part is cut off");
    setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).expect("room again");
    files.send(&second).await.expect("written");
    files.close().await.expect("completed");
    let complete = part.with_extension("");
    let mut text = String::new();
    let file = std::fs::File::open(complete).expect("a file");
    zstd::stream::read::Decoder::new(file).expect("zstd").read_to_string(&mut text).expect("whole");
    let expected = first.items.iter().chain(&second.items).map(|line| format!("{}\n", line.text));
    assert_eq!(text, expected.collect::<String>());
}
