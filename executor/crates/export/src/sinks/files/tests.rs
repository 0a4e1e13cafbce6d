//! Files of histories: what is in them, when they are completed, what a crash and a full disk leave.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::line::lines;
use crate::page::tests::page_of;

struct Rig {
    dir: tempfile::TempDir,
    time: Arc<AtomicU64>,
    files: Files,
}

fn files_at(dir: &Path, time: &Arc<AtomicU64>, change: impl FnOnce(&mut FilesOptions)) -> Files {
    let mut options = FilesOptions::new(dir, "node-1");
    change(&mut options);
    let time = Arc::clone(time);
    Files::new(options, Arc::new(move || time.load(Ordering::Relaxed)), Arc::default())
}

fn rig(change: impl FnOnce(&mut FilesOptions)) -> Rig {
    let (dir, time) = (tempfile::tempdir().expect("a folder"), Arc::new(AtomicU64::new(1_700_000_000_000)));
    let files = files_at(dir.path(), &time, change);
    Rig { dir, time, files }
}

/// Lines of one execution, whose texts zstd cannot make much shorter.
fn batch(execution: &str, events: u64) -> Batch<Arc<Line>> {
    Batch::of(lines(&page_of(execution, events)).map(Arc::new).collect())
}

fn names(dir: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("text")).collect();
    names.retain(|name| name.ends_with(ending));
    names.sort();
    names
}

/// What is in a file, as far as it can be read, and whether it was whole.
fn read(path: &Path) -> (String, bool) {
    let mut text = String::new();
    let mut decoder = zstd::stream::read::Decoder::new(fs::File::open(path).expect("a file")).expect("zstd");
    let whole = decoder.read_to_string(&mut text).is_ok();
    (text, whole)
}

fn text(batch: &Batch<Arc<Line>>) -> String {
    batch.items.iter().map(|line| format!("{}\n", line.text)).collect()
}

#[tokio::test]
async fn a_file_has_its_last_name_only_when_it_is_complete_and_holds_every_line_in_order() {
    let mut rig = rig(|_| {});
    let (one, two) = (batch("a", 3), batch("b", 2));
    let sent = rig.files.send(&one).await.expect("written").bytes;
    rig.files.send(&two).await.expect("written");
    assert_eq!((names(rig.dir.path(), ".zst").len(), names(rig.dir.path(), ".part").len()), (0, 1));
    assert!(sent > 0 && sent < text(&one).len() as u64);
    rig.time.fetch_add(5 * 60_000, Ordering::Relaxed);
    rig.files.idle().await.expect("completed");
    let complete = names(rig.dir.path(), ".zst");
    assert_eq!(complete, ["history-node_1-20231114T221320000Z-000001.ndjson.zst"]);
    assert_eq!(names(rig.dir.path(), ".part"), [""; 0]);
    let (read, whole) = read(&rig.dir.path().join(&complete[0]));
    assert_eq!((read, whole), (text(&one) + &text(&two), true));
}

#[tokio::test]
async fn files_follow_each_other_by_size_and_the_oldest_are_removed_and_counted() {
    let mut rig = rig(|options| {
        options.file_bytes = 1;
        options.total_bytes = 600;
    });
    let removed = Arc::clone(&rig.files.removed);
    let frame = rig.files.send(&batch("e0", 1)).await.expect("written").bytes;
    for number in 1..10 {
        rig.files.send(&batch(&format!("e{number}"), 1)).await.expect("written");
    }
    rig.files.close().await.expect("closed");
    let kept = names(rig.dir.path(), ".zst");
    let total: u64 =
        kept.iter().map(|name| fs::metadata(rig.dir.path().join(name)).expect("a file").len()).sum();
    assert!(total <= 600 && total + frame + 20 > 600, "{total} bytes in {} files of {frame}", kept.len());
    assert_eq!(removed.files.get() as usize + kept.len(), 10);
    let newest = read(&rig.dir.path().join(kept.last().expect("one"))).0;
    assert_eq!(newest, text(&batch("e9", 1)));
}

#[tokio::test]
async fn what_a_crash_has_left_is_readable_and_completed_up_to_its_last_whole_frame() {
    let mut rig = rig(|_| {});
    rig.files.send(&batch("a", 3)).await.expect("written");
    rig.files.send(&batch("b", 3)).await.expect("written");
    // The process dies: nothing is completed, and of the last frame only a part is on the disk.
    drop(rig.files);
    let part = rig.dir.path().join(&names(rig.dir.path(), ".part")[0]);
    let length = fs::metadata(&part).expect("a file").len();
    fs::OpenOptions::new().write(true).open(&part).expect("a file").set_len(length - 3).expect("cut");
    let (readable, whole) = read(&part);
    assert!(readable.starts_with(&text(&batch("a", 3))) && !whole);

    let mut next = files_at(rig.dir.path(), &rig.time, |_| {});
    next.send(&batch("c", 1)).await.expect("written");
    let complete = names(rig.dir.path(), ".zst");
    assert_eq!(read(&rig.dir.path().join(&complete[0])), (text(&batch("a", 3)), true));
    assert_eq!(names(rig.dir.path(), ".part").len(), 1, "and the next file is begun");
}

#[tokio::test]
async fn only_one_process_writes_the_files_of_a_node_and_other_nodes_files_are_left_alone() {
    let mut rig = rig(|options| options.total_bytes = 1);
    let other = rig.dir.path().join("history-node_1-2-20231114T221320000Z-000001.ndjson.zst");
    fs::write(&other, "of the node that is called node_1-2").expect("written");
    rig.files.send(&batch("a", 1)).await.expect("written");
    let mut same = files_at(rig.dir.path(), &rig.time, |_| {});
    let error = same.send(&batch("b", 1)).await.expect_err("it is taken").to_string();
    assert!(error.contains("another process") && error.contains("node_1"), "{error}");
    rig.files.close().await.expect("closed");
    assert!(other.exists());
    drop(rig.files);
    same.send(&batch("b", 1)).await.expect("now it may");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_error_that_names_it_and_works_once_it_can() {
    let mut rig = rig(|options| options.dir.push("a-file"));
    let blocked = rig.dir.path().join("a-file");
    fs::write(&blocked, "").expect("written");
    let error = rig.files.send(&batch("a", 1)).await.expect_err("no folder").to_string();
    assert!(error.contains("a-file"), "{error}");
    fs::remove_file(&blocked).expect("removed");
    rig.files.send(&batch("a", 1)).await.expect("the folder is made");
}

#[tokio::test]
async fn nobody_but_the_owner_and_the_group_reads_the_folder_and_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().expect("a folder");
    let dir = parent.path().join("histories");
    let mut files = files_at(&dir, &Arc::new(AtomicU64::new(1_700_000_000_000)), |_| {});
    files.send(&batch("a", 3)).await.expect("written");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    // What the process's mask takes away besides is its own affair.
    assert_eq!(mode(&dir) & 0o027, 0);
    let entries: Vec<_> =
        fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    assert!(entries.len() >= 2 && entries.iter().all(|path| mode(path) & 0o137 == 0), "{entries:?}");
}
