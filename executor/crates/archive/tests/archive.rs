//! The archive in a folder and in a bucket: written, looked up, listed, expired.
//!
//! `segments/<version>` is an archive that an earlier program wrote. One is added by `cargo test -p archive --test archive --
//! --ignored` when the format of segments or their names changes, and none is ever written again: that would make its test
//! prove nothing.

mod support;

use std::process::Command;
use std::sync::Arc;

use archive::{Archive, ArchiveOptions};
use support::peer::{KEY_ID, Peer, REGION, SECRET};
use support::{KEEP, START_MS, by_name, execution, found, listed, partition, segment, serves};

fn folder(dir: &tempfile::TempDir) -> Arc<Archive> {
    let url = format!("file://{}/archive", dir.path().display());
    Arc::new(Archive::open(&ArchiveOptions { url, ..Default::default() }).expect("a folder"))
}

#[tokio::test]
async fn a_folder_serves_as_an_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    serves(folder(&dir)).await;
}

#[tokio::test]
async fn a_segment_that_was_damaged_is_an_error_and_never_an_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let archive = folder(&dir);
    let written = segment(1..3, KEEP);
    let place = dir.path().join("archive").join(written.name.to_string());
    std::fs::create_dir_all(place.parent().expect("a folder")).expect("made");
    let good = written.bytes.to_vec();
    for (what, bad) in [
        ("cut", good[..good.len() - 5].to_vec()),
        ("empty", Vec::new()),
        ("other", vec![7; 100]),
        (
            "block",
            good.iter().enumerate().map(|(at, byte)| if at == 60 { byte ^ 1 } else { *byte }).collect(),
        ),
    ] {
        std::fs::write(&place, bad).expect("written");
        // Another archive, which has not read the index yet.
        let archive = folder(&dir);
        let found = journal::index::lookup(&archive.view(START_MS), execution(1, 0)).await;
        assert!(
            matches!(found, Err(journal::StoreError::Corrupt(_) | journal::StoreError::Unavailable(_))),
            "{what}: {found:?}"
        );
    }
    std::fs::write(&place, good).expect("written");
    assert!(found(&archive.view(START_MS), execution(1, 0)).await.is_some());
}

fn recorded() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/segments")
}

/// What each recorded archive has: segments of these batches.
const RECORDED: [std::ops::Range<u64>; 2] = [1..4, 4..6];

#[tokio::test]
async fn archives_of_every_version_are_read_as_they_were_written() {
    let mut read = 0;
    for version in std::fs::read_dir(recorded()).expect("archives are there") {
        let url = format!("file://{}", version.expect("a folder").path().display());
        let archive = Archive::open(&ArchiveOptions { url, ..Default::default() }).expect("a folder");
        let view = Arc::new(archive).view(START_MS + 60_000);
        for sequence in 1..6 {
            let expected = (sequence.to_string().into(), "\"done\"".into());
            assert_eq!(found(&view, execution(sequence, 3)).await, Some(expected), "{sequence}");
            assert_eq!(by_name(&view, &format!("n{sequence}-2")).await, Some(execution(sequence, 2)));
        }
        assert_eq!(found(&view, execution(6, 0)).await, None);
        let all = (1..6).rev().flat_map(|one| (0..4).rev().map(move |at| (one, at))).collect::<Vec<_>>();
        assert_eq!(listed(&view).await.expect("a listing"), all);
        read += 1;
    }
    assert!(read > 0, "no recorded archive");
}

#[test]
#[ignore = "writes an archive of a new format"]
fn an_archive_is_recorded_once() {
    for written in RECORDED.map(|batches| segment(batches, KEEP)) {
        let place = recorded().join("v1").join(written.name.to_string());
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        let file = std::fs::File::options().write(true).create_new(true).open(&place);
        let mut file = file.unwrap_or_else(|error| panic!("{}: {error}: never overwritten", place.display()));
        std::io::Write::write_all(&mut file, &written.bytes).expect("written");
    }
}

#[test]
fn the_same_blocks_give_the_same_segment() {
    let (one, other) = (segment(1..9, KEEP), segment(1..9, KEEP));
    assert_eq!((one.name, one.bytes), (other.name, other.bytes));
}

#[test]
fn a_place_that_is_none_is_refused_with_what_would_be_right() {
    for (url, part) in [
        ("s3:bucket", "s3://BUCKET/PREFIX"),
        ("file://relative/path", "file:///var/lib/myriad"),
        ("ftp://h/x", "neither"),
    ] {
        let refused = Archive::open(&ArchiveOptions { url: url.to_owned(), ..Default::default() });
        let message = refused.expect_err("refused").to_string();
        assert!(message.starts_with("--archive: ") && message.contains(part), "{message}");
    }
}

/// Credentials come from the environment, as users give them: so the bucket is tested in a process of its own.
#[test]
fn a_bucket_serves_as_an_archive_and_every_request_is_signed() {
    let test = std::env::current_exe().expect("this program");
    let ended = Command::new(test)
        .args(["--ignored", "--exact", "in_a_bucket"])
        .env("AWS_ACCESS_KEY_ID", KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .output()
        .expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[tokio::test]
#[ignore = "run with credentials by the test above"]
async fn in_a_bucket() {
    let (peer, address) = Peer::serve().await;
    let options = |url: &str| ArchiveOptions {
        url: url.to_owned(),
        endpoint: Some(format!("http://{address}")),
        region: Some(REGION.to_owned()),
    };
    let archive = Archive::open(&options("s3://bucket/some/prefix")).expect("a bucket");
    *peer.faults.lock().expect("no panic") = 2;
    serves(Arc::new(archive)).await;
    // Another store of the kind knows no conditions.
    peer.plain.store(true, std::sync::atomic::Ordering::Relaxed);
    serves(Arc::new(Archive::open(&options("s3://bucket/some/prefix/plain")).expect("a bucket"))).await;
    assert_eq!(*peer.refused.lock().expect("no panic"), Vec::<String>::new());
    let calls = peer.calls.lock().expect("no panic").clone();
    assert!(
        ["put", "get", "head", "list", "delete"].iter().all(|call| calls.contains_key(call)),
        "{calls:?}"
    );
    let objects = peer.objects.lock().expect("no panic").clone();
    assert!(
        objects.keys().all(|path| ["0005/", "plain/0005/"]
            .iter()
            .any(|folder| path.starts_with(&format!("/bucket/some/prefix/{folder}")))),
        "{objects:?}"
    );
    // Wrong keys are told, and not taken for an empty archive.
    let other = Arc::new(
        Archive::open(&ArchiveOptions {
            region: Some("elsewhere".to_owned()),
            ..options("s3://bucket/some/prefix")
        })
        .expect("a bucket"),
    );
    let refused = journal::index::lookup(&other.view(START_MS), execution(1, 0)).await;
    assert!(matches!(refused, Err(journal::StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(partition().get(), 5);
}
