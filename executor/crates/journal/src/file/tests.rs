//! What only files can do wrong: torn tails, damage, full disks, two processes.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use super::segment::path_of;
use super::*;
use crate::conformance::Subject;
use crate::store::Derived;

/// A store in a directory of its own.
struct Place {
    dir: tempfile::TempDir,
    store: Option<FileStore>,
}

impl Place {
    fn options(&self) -> FileOptions {
        // Small segments, so that every test crosses from one to the next.
        FileOptions { segment_bytes: 64 * 1024, ..FileOptions::new(self.dir.path()) }
    }

    fn segment(&self, number: u64) -> PathBuf {
        path_of(&self.dir.path().join("log"), number)
    }

    fn store(&self) -> &FileStore {
        self.store.as_ref().expect("it is open")
    }

    fn reopen(&mut self) -> &FileStore {
        self.store = None;
        self.store = Some(FileStore::open(self.options()).expect("it opens again"));
        self.store()
    }
}

async fn subject() -> Place {
    let mut place = Place { dir: tempfile::tempdir().expect("a directory"), store: None };
    place.reopen();
    place
}

impl Subject for Place {
    fn connect(&self) -> Arc<dyn Connect> {
        Arc::new(self.store().clone())
    }

    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Self::reopen(self);
        Box::pin(async { true })
    }
}

crate::store_conformance!(subject);

fn partition() -> PartitionId {
    PartitionId::new(3).expect("in range")
}

fn id(generation: u64, sequence: u64) -> BlockId {
    BlockId { generation, sequence }
}

fn append(id: BlockId, block: impl Into<Bytes>) -> Append {
    Append { partition: partition(), id, block: block.into(), derived: Vec::new(), trim_below: None }
}

async fn blocks(store: &FileStore) -> Vec<(BlockId, Bytes)> {
    let range = BlockRange { from: BlockId::default(), to: id(u64::MAX, 0), reverse: false, limit: 10_000 };
    store.read(partition(), range).await.expect("the log can be read")
}

/// Three blocks in the first segment, and where the last frame's header begins.
async fn three_blocks() -> (Place, Vec<u8>, usize) {
    let mut place = subject().await;
    let store = place.store();
    store.acquire(partition()).await.expect("acquired");
    for sequence in 1..=3 {
        store.append(append(id(1, sequence), format!("block {sequence}"))).await.expect("appended");
    }
    place.store = None;
    let bytes = std::fs::read(place.segment(1)).expect("readable");
    let payload = bytes.windows(7).position(|window| window == b"block 3").expect("there");
    (place, bytes, payload - segment::FRAME_BYTES)
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_writing_goes_on() {
    let (mut place, bytes, last_frame) = three_blocks().await;
    let end = last_frame + segment::FRAME_BYTES + 7;
    for cut in last_frame..end {
        let mut torn = bytes.clone();
        torn.truncate(cut);
        std::fs::write(place.segment(1), &torn).expect("writable");
        let store = place.reopen();
        assert_eq!(blocks(store).await.len(), 2, "cut at {cut}");
        store.append(append(id(1, 3), "again")).await.expect("appended");
        let store = place.reopen();
        let found = blocks(store).await;
        assert_eq!(found.len(), 3, "cut at {cut}");
        assert_eq!(found[2].1, "again");
        place.store = None;
        for number in 2..10 {
            let _ = std::fs::remove_file(place.segment(number));
        }
    }
}

#[tokio::test]
async fn a_tail_changed_at_any_byte_is_cut() {
    let (mut place, bytes, last_frame) = three_blocks().await;
    let end = last_frame + segment::FRAME_BYTES + 7;
    for place_changed in last_frame..end {
        let mut torn = bytes.clone();
        torn[place_changed] ^= 0x55;
        std::fs::write(place.segment(1), &torn).expect("writable");
        let store = place.reopen();
        assert_eq!(blocks(store).await.len(), 2, "changed at {place_changed}");
    }
}

#[tokio::test]
async fn a_segment_that_was_never_begun_is_no_error() {
    let (mut place, _, _) = three_blocks().await;
    for begun in [&[][..], &[0; 4_096]] {
        std::fs::write(place.segment(2), begun).expect("writable");
        let store = place.reopen();
        assert_eq!(blocks(store).await.len(), 3);
        assert!(!place.segment(2).exists());
    }
}

/// Enough blocks for some segments; gives how many.
async fn fill(store: &FileStore, trim_below: impl Fn(u64) -> Option<BlockId>) -> u64 {
    let block = Bytes::from(vec![7; 5_000]);
    for sequence in 1..=60 {
        let append = Append { trim_below: trim_below(sequence), ..append(id(1, sequence), block.clone()) };
        store.append(append).await.expect("appended");
    }
    60
}

#[tokio::test]
async fn damage_to_what_was_acknowledged_is_an_error_and_never_silence() {
    let mut place = subject().await;
    place.store().acquire(partition()).await.expect("acquired");
    fill(place.store(), |_| None).await;
    place.store = None;
    let path = place.segment(2);
    let whole = std::fs::read(&path).expect("readable");
    let mut header = whole.clone();
    header[100] ^= 1;
    std::fs::write(&path, &header).expect("writable");
    let error = FileStore::open(place.options()).expect_err("the header of a frame is damaged");
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("2.segment")), "{error}");
    let mut payload = whole.clone();
    payload[3_000] ^= 1;
    std::fs::write(&path, &payload).expect("writable");
    let store = place.reopen();
    let range = BlockRange { from: id(1, 1), to: id(1, 60), reverse: false, limit: 100 };
    let error = store.read(partition(), range).await.expect_err("a payload is damaged");
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    place.store = None;
    std::fs::write(&path, &whole).expect("writable");
    assert_eq!(blocks(place.reopen()).await.len(), 60);
}

#[tokio::test]
async fn trimmed_segments_go_and_the_fence_and_what_is_open_stay() {
    let mut place = subject().await;
    let store = place.store();
    let other = PartitionId::new(4).expect("in range");
    store.acquire(other).await.expect("acquired");
    store.append(Append { partition: other, ..append(id(1, 1), "open") }).await.expect("appended");
    store.acquire(partition()).await.expect("acquired");
    fill(store, |sequence| Some(id(1, sequence.saturating_sub(3)))).await;
    let kept = store.inner.log.segment_count();
    assert!(kept <= 3, "{kept} segments are kept: the first for the other partition, and the last");
    assert!(!place.segment(2).exists());
    let store = place.reopen();
    let left: Vec<_> = blocks(store).await.into_iter().map(|(id, _)| id.sequence).collect();
    assert_eq!(left, [57, 58, 59, 60]);
    let range = BlockRange { from: id(1, 1), to: id(1, 1), reverse: false, limit: 1 };
    assert_eq!(store.read(other, range).await.expect("readable").len(), 1, "what is not trimmed stays");
    let stale = store.append(append(id(1, 60), "other content")).await;
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    let acquired = store.acquire(partition()).await.expect("acquired");
    assert_eq!(acquired, Acquired { generation: 2, last: Some(id(1, 60)) });
}

#[tokio::test]
async fn the_fence_outlives_the_segments_that_held_it() {
    let mut place = subject().await;
    let store = place.store();
    let other = PartitionId::new(4).expect("in range");
    for _ in 0..5 {
        store.acquire(other).await.expect("acquired");
    }
    store.acquire(partition()).await.expect("acquired");
    fill(store, |sequence| Some(id(1, sequence))).await;
    assert!(!place.segment(1).exists());
    let acquired = place.reopen().acquire(other).await.expect("acquired");
    assert_eq!(acquired, Acquired { generation: 6, last: None });
}

#[tokio::test]
async fn a_second_store_on_the_directory_is_refused_with_the_holder() {
    let mut place = subject().await;
    let error = FileStore::open(place.options()).expect_err("it is in use").to_string();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    assert!(error.contains(&place.dir.path().display().to_string()), "{error}");
    place.reopen();
}

#[tokio::test]
async fn a_full_disk_is_said_with_what_to_do_and_writing_goes_on_by_itself() {
    let mut place = subject().await;
    place.store = None;
    let options = FileOptions { log_bytes_max: Some(200 * 1024), ..place.options() };
    let store = FileStore::open(options).expect("it opens");
    store.acquire(partition()).await.expect("acquired");
    let block = Bytes::from(vec![7; 5_000]);
    let mut written = 0;
    let error = loop {
        match store.append(append(id(1, written + 1), block.clone())).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the limit was never met");
    };
    assert!(error.is_retryable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("free some space") && text.contains("segment"), "{text}");
    assert_eq!(blocks(&store).await.len() as u64, written, "what was acknowledged is there");
    let again = store.append(append(id(1, written + 1), block.clone())).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");
    // What is no longer wanted makes room for the very append that says so.
    let trimming = Append { trim_below: Some(id(1, written)), ..append(id(1, written + 1), block) };
    store.append(trimming).await.expect("writing goes on");
    assert_eq!(blocks(&store).await.len(), 2);
}

#[tokio::test]
async fn where_a_usual_segment_has_no_room_smaller_ones_are_made() {
    const MIB: u64 = 1024 * 1024;
    let mut place = subject().await;
    place.store = None;
    let options = FileOptions { segment_bytes: 64 * MIB, log_bytes_max: Some(11 * MIB), ..place.options() };
    let store = FileStore::open(options).expect("it opens");
    store.acquire(partition()).await.expect("acquired");
    assert_eq!(std::fs::metadata(place.segment(1)).expect("there").len(), 8 * MIB);
    let block = Bytes::from(vec![7; 1_000_000]);
    let mut written = 0;
    while store.append(append(id(1, written + 1), block.clone())).await.is_ok() {
        written += 1;
    }
    assert_eq!(written, 11, "8 MiB, 2 MiB and 1 MiB, as full of blocks as they go");
    assert_eq!(blocks(&store).await.len() as u64, written);
}

#[tokio::test]
async fn appends_of_many_shards_at_once_are_all_kept() {
    let mut place = subject().await;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let store = place.store().clone();
        tasks.push(tokio::spawn(async move {
            let partition = PartitionId::new(number).expect("in range");
            store.acquire(partition).await.expect("acquired");
            for sequence in 1..=50 {
                let derived = vec![Derived::Put {
                    key: sequence.to_string().into(),
                    value: number.to_string().into(),
                    ttl: Duration::from_secs(60),
                }];
                let append = append(id(1, sequence), format!("block {sequence} of {number}"));
                store.append(Append { partition, derived, ..append }).await.expect("appended");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let store = place.reopen();
    for number in 0..8 {
        let partition = PartitionId::new(number).expect("in range");
        let range = BlockRange { from: id(1, 1), to: id(1, 99), reverse: true, limit: 99 };
        let blocks = store.read(partition, range).await.expect("readable");
        assert_eq!(blocks.len(), 50);
        assert_eq!(blocks[0].1, format!("block 50 of {number}"));
        let derived = store.get_derived(partition, vec!["50".into()]).await.expect("readable");
        assert_eq!(derived, [Some(Bytes::from(number.to_string()))]);
    }
}

#[tokio::test]
async fn expired_derived_keys_are_cleared_away() {
    let place = subject().await;
    let store = place.store();
    store.acquire(partition()).await.expect("acquired");
    for sequence in 1..=3 {
        let derived = vec![
            Derived::Push { list: "list".into(), value: "old".into(), ttl: Duration::ZERO },
            Derived::Put { key: "key".into(), value: "old".into(), ttl: Duration::ZERO },
        ];
        store.append(Append { derived, ..append(id(1, sequence), "block") }).await.expect("appended");
        let list = store.list(partition(), "list".into(), 0, 9).await.expect("readable");
        assert!(list.is_empty(), "an expired list is never seen: {list:?}");
    }
    let derived =
        vec![Derived::Push { list: "list".into(), value: "new".into(), ttl: Duration::from_secs(60) }];
    store.append(Append { derived, ..append(id(1, 4), "block") }).await.expect("appended");
    assert_eq!(store.list(partition(), "list".into(), 0, 9).await.expect("readable"), ["new"]);
}

#[tokio::test]
async fn the_settings_say_what_an_acknowledgement_is_worth() {
    let place = subject().await;
    let durability = place.store().durability().await.expect("settings");
    assert!(durability.survives_process_kill);
    assert!(durability.detail.contains(&place.dir.path().display().to_string()));
    let here = describe(Path::new("/dev/shm"));
    if Path::new("/dev/shm").exists() && !here.survives_power_loss {
        assert!(here.detail.contains("tmpfs"), "{}", here.detail);
    }
}

/// Every file below a directory, with its content and when it was written.
fn files(dir: &std::path::Path) -> std::collections::BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let written = entry.metadata().expect("there").modified().expect("a time");
            found.insert(path.clone(), (std::fs::read(&path).expect("readable"), written));
        }
    }
    found
}

#[tokio::test]
async fn a_store_that_is_read_is_what_its_node_left_and_stays_so_torn_tail_and_all() {
    let mut place = subject().await;
    let other = PartitionId::new(4).expect("in range");
    let derived = vec![Derived::Put { key: "k".into(), value: "v".into(), ttl: Duration::from_secs(600) }];
    for partition in [other, partition()] {
        place.store().acquire(partition).await.expect("acquired");
    }
    let first = Append { partition: other, derived, ..append(id(1, 1), "a block") };
    place.store().append(first).await.expect("appended");
    place.store().put("name".into(), "value".into()).await.expect("put");
    for sequence in 1..=3 {
        place.store().append(append(id(1, sequence), format!("block {sequence}"))).await.expect("appended");
    }
    let expected = blocks(place.store()).await[..2].to_vec();
    let refused = FileReader::open(place.dir.path()).expect_err("its node runs").to_string();
    assert!(refused.contains(&std::process::id().to_string()) && refused.contains("ask it"), "{refused}");
    place.store = None;
    let mut bytes = std::fs::read(place.segment(1)).expect("readable");
    let third = bytes.windows(7).position(|window| window == b"block 3").expect("there");
    bytes.truncate(third + 3);
    std::fs::write(place.segment(1), &bytes).expect("written");
    let before = files(place.dir.path());
    let reader = FileReader::open(place.dir.path()).expect("it opens");
    let range = BlockRange { from: BlockId::default(), to: id(u64::MAX, 0), reverse: false, limit: 100 };
    assert_eq!(reader.read(partition(), range).await.expect("read"), expected);
    assert_eq!(reader.get("name".into()).await.expect("read"), Some("value".into()));
    let found = reader.get_derived(other, vec!["k".into()]).await.expect("read");
    assert_eq!(found, [Some("v".into())]);
    assert!(reader.put("name".into(), "other".into()).await.is_err());
    let locked = FileStore::open(place.options()).expect_err("it is read").to_string();
    assert!(locked.contains("uses the directory"), "{locked}");
    drop(reader);
    assert_eq!(files(place.dir.path()), before);
}

#[test]
fn a_directory_that_is_no_store_is_said_to_be_none_and_nothing_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let absent = dir.path().join("absent");
    for path in [dir.path(), &absent] {
        let error = FileReader::open(path).expect_err("no store").to_string();
        assert!(error.contains("no store"), "{error}");
    }
    assert!(!absent.exists() && files(dir.path()).is_empty());
}
