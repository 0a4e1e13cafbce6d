//! The suite that every store passes: what [`crate::Store`] promises, as named checks.
//!
//! A store's crate implements [`Subject`] and writes `journal::store_conformance!(make_subject);`, which
//! gives one test for each check (it needs `tokio` with `macros` and `rt`). Every check gets a subject of its
//! own, empty or with keys of its own. Invariants: checks wait for conditions, never for a time; a check's
//! failure is a panic that says which promise was broken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;

use crate::store::{Acquired, Append, BlockId, BlockRange, Connect, Derived, Store, StoreError};

/// How long a check waits for an expiry before it says that the store never forgets.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time to live of what shall outlive a check.
const LONG: Duration = Duration::from_secs(3_600);

/// A store under test.
pub trait Subject: Send {
    /// The store as it runs now.
    fn connect(&self) -> Arc<dyn Connect>;

    /// Ends the store as hard as it promises to survive, and starts it again on the same data. `false` when
    /// it keeps nothing by design. All connections have been dropped before.
    fn reopen(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// Makes one test of each check; the argument is the path of an `async fn() -> impl Subject`. A second one makes the
/// subjects of those checks that reopen them, where the others share one store.
#[macro_export]
macro_rules! store_conformance {
    ($make:path) => {
        $crate::store_conformance!($make, $make);
    };
    ($make:path, $make_to_reopen:path) => {
        $crate::store_conformance!($make:
            blocks_are_read_in_order_both_ways_and_within_limits,
            an_owner_begins_above_everything_before,
            a_stale_owner_is_refused,
            the_top_of_a_log_tells_its_owner_and_its_last_block,
            a_repeated_append_is_success_and_other_content_is_refused,
            a_sequence_that_was_passed_is_refused,
            of_owners_at_once_each_gets_a_generation_of_its_own,
            trimming_keeps_everything_from_its_mark_on,
            trimming_everything_keeps_the_fence,
            partitions_do_not_touch_each_other,
            large_blocks_and_values_are_kept_whole,
            what_is_out_of_its_limits_is_refused,
            derived_keys_and_lists_are_read_back,
            derived_keys_and_lists_are_forgotten_in_time,
            durable_keys_are_put_read_and_compared,
            durable_keys_are_scanned_in_order_and_in_pages,
            counters_rise_by_one_under_concurrency,
            of_two_that_compare_and_put_one_wins,
            connections_share_one_store,
            a_store_that_is_there_answers,
            random_calls_are_answered_as_the_store_in_memory_does,
        );
        $crate::store_conformance!($make_to_reopen:
            what_was_acknowledged_survives_a_restart,
            the_fence_survives_a_restart,
        );
    };
    ($make:path: $($check:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::conformance::$check(&mut $make().await).await;
            }
        )+
    };
}

mod keys;
mod random;

pub use keys::*;
pub use random::random_calls_are_answered_as_the_store_in_memory_does;

fn partition(number: u32) -> PartitionId {
    PartitionId::new(number).expect("the checks' partitions are in range")
}

fn block_id(generation: u64, sequence: u64) -> BlockId {
    BlockId { generation, sequence }
}

fn append(partition: PartitionId, id: BlockId, block: impl Into<Bytes>) -> Append {
    Append { partition, id, block: block.into(), derived: Vec::new(), trim_below: None }
}

fn everything(reverse: bool, limit: usize) -> BlockRange {
    BlockRange { from: BlockId::default(), to: block_id(u64::MAX, u64::MAX), reverse, limit }
}

async fn store(subject: &impl Subject) -> Arc<dyn Store> {
    subject.connect().connect().await.expect("the store connects")
}

async fn acquire(store: &Arc<dyn Store>, partition: PartitionId) -> Acquired {
    store.acquire(partition).await.expect("the partition can be acquired")
}

async fn write(store: &Arc<dyn Store>, append: Append) {
    let id = append.id;
    store.append(append).await.unwrap_or_else(|error| panic!("block {id} is written: {error}"));
}

async fn ids(store: &Arc<dyn Store>, partition: PartitionId, range: BlockRange) -> Vec<BlockId> {
    let blocks = store.read(partition, range).await.expect("the log can be read");
    blocks.into_iter().map(|(id, _)| id).collect()
}

/// Tries until `done` or [`PATIENCE`] is over.
async fn eventually<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let attempt = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, attempt).await.is_ok(), "never came: {what}");
}

/// See the name.
pub async fn blocks_are_read_in_order_both_ways_and_within_limits(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(1));
    let generation = acquire(&store, partition).await.generation;
    assert_eq!(ids(&store, partition, everything(false, 10)).await, [], "an owner's mark is no block");
    for sequence in 1..=12 {
        write(&store, append(partition, block_id(generation, sequence), format!("block {sequence}"))).await;
    }
    let up: Vec<_> = (1..=12).map(|sequence| block_id(generation, sequence)).collect();
    let down: Vec<_> = up.iter().rev().copied().collect();
    assert_eq!(ids(&store, partition, everything(false, 100)).await, up);
    assert_eq!(ids(&store, partition, everything(true, 100)).await, down);
    assert_eq!(ids(&store, partition, everything(false, 5)).await, up[..5]);
    assert_eq!(ids(&store, partition, everything(true, 5)).await, down[..5]);
    let middle = BlockRange { from: up[3], to: up[6], reverse: false, limit: 100 };
    assert_eq!(ids(&store, partition, middle).await, up[3..=6], "both ends are inclusive");
    assert_eq!(
        ids(&store, partition, BlockRange { reverse: true, limit: 2, ..middle }).await,
        [up[6], up[5]]
    );
    let upside_down = BlockRange { from: up[6], to: up[3], reverse: false, limit: 100 };
    assert_eq!(ids(&store, partition, upside_down).await, []);
    let one = BlockRange { from: up[8], to: up[8], reverse: false, limit: 1 };
    let blocks = store.read(partition, one).await.expect("the log can be read");
    assert_eq!(blocks, [(up[8], Bytes::from_static(b"block 9"))]);
}

/// See the name.
pub async fn an_owner_begins_above_everything_before(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(2));
    let first = acquire(&store, partition).await;
    assert!(first.generation >= 1);
    assert_eq!(first.last, None, "the log is empty");
    write(&store, append(partition, block_id(first.generation, 1), "one")).await;
    write(&store, append(partition, block_id(first.generation, 2), "two")).await;
    let second = acquire(&store, partition).await;
    assert!(second.generation > first.generation);
    assert_eq!(second.last, Some(block_id(first.generation, 2)));
    let third = acquire(&store, partition).await;
    assert!(third.generation > second.generation);
    assert_eq!(third.last, Some(block_id(first.generation, 2)), "marks of owners are no blocks");
    write(&store, append(partition, block_id(third.generation, 1), "three")).await;
    let all = [block_id(first.generation, 1), block_id(first.generation, 2), block_id(third.generation, 1)];
    assert_eq!(ids(&store, partition, everything(false, 10)).await, all);
}

/// See the name.
pub async fn a_stale_owner_is_refused(subject: &mut impl Subject) {
    let (old, new, partition) = (store(subject).await, store(subject).await, partition(3));
    let stale = acquire(&old, partition).await.generation;
    write(&old, append(partition, block_id(stale, 1), "mine")).await;
    let fresh = acquire(&new, partition).await.generation;
    let late = append(partition, block_id(stale, 2), "too late");
    for attempt in 0..2 {
        match old.append(late.clone()).await {
            Err(StoreError::Fenced { partition: other, attempted, last }) => {
                assert_eq!((other, attempted), (partition, block_id(stale, 2)));
                assert!(last >= block_id(fresh, 0), "the error says where the log stands: {last}");
            }
            other => panic!("attempt {attempt} of a stale owner gave {other:?}"),
        }
    }
    write(&new, append(partition, block_id(fresh, 1), "new owner")).await;
    let expected = [block_id(stale, 1), block_id(fresh, 1)];
    assert_eq!(ids(&new, partition, everything(false, 10)).await, expected);
    // What it had written before is still its own: a repetition is answered as before.
    write(&old, append(partition, block_id(stale, 1), "mine")).await;
}

/// See the name.
pub async fn the_top_of_a_log_tells_its_owner_and_its_last_block(subject: &mut impl Subject) {
    let (store, here, empty) = (store(subject).await, partition(31), partition(32));
    let tops = async || {
        let tops = store.tops(vec![here, empty]).await.expect("the tops can be read");
        tops.into_iter().map(|top| top.expect("each can be read")).collect::<Vec<_>>()
    };
    assert_eq!(tops().await, [None, None]);
    let first = acquire(&store, here).await.generation;
    assert_eq!(tops().await, [Some(block_id(first, 0)), None], "the mark of an owner counts");
    write(&store, append(here, block_id(first, 1), "one")).await;
    assert_eq!(tops().await, [Some(block_id(first, 1)), None]);
    let trimmed = Append { trim_below: Some(block_id(first, 3)), ..append(here, block_id(first, 2), "two") };
    write(&store, trimmed).await;
    assert_eq!(tops().await, [Some(block_id(first, 2)), None], "trimming does not lower it");
    let second = acquire(&store, here).await.generation;
    assert_eq!(tops().await, [Some(block_id(second, 0)), None]);
}

/// See the name.
pub async fn a_repeated_append_is_success_and_other_content_is_refused(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(4));
    let generation = acquire(&store, partition).await.generation;
    let first = append(partition, block_id(generation, 1), "content");
    write(&store, first.clone()).await;
    write(&store, first.clone()).await;
    write(&store, append(partition, block_id(generation, 2), "next")).await;
    write(&store, first).await;
    let other = store.append(append(partition, block_id(generation, 1), "other content")).await;
    assert!(matches!(other, Err(StoreError::Fenced { .. })), "{other:?}");
    let blocks = store.read(partition, everything(false, 10)).await.expect("the log can be read");
    let expected = [(block_id(generation, 1), "content"), (block_id(generation, 2), "next")];
    assert_eq!(blocks, expected.map(|(id, block)| (id, Bytes::from_static(block.as_bytes()))));
}

/// See the name.
pub async fn a_sequence_that_was_passed_is_refused(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(5));
    let generation = acquire(&store, partition).await.generation;
    write(&store, append(partition, block_id(generation, 5), "five")).await;
    let passed = store.append(append(partition, block_id(generation, 3), "three")).await;
    assert!(matches!(passed, Err(StoreError::Fenced { .. })), "{passed:?}");
    write(&store, append(partition, block_id(generation, 6), "six")).await;
}

/// See the name.
pub async fn of_owners_at_once_each_gets_a_generation_of_its_own(subject: &mut impl Subject) {
    let partition = partition(6);
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(store(subject).await);
    }
    let mut tasks = Vec::new();
    for store in &stores {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move { acquire(&store, partition).await.generation }));
    }
    let mut generations = Vec::new();
    for task in tasks {
        generations.push(task.await.expect("no panic"));
    }
    let highest = generations.iter().copied().max().expect("eight of them");
    for (store, generation) in stores.iter().zip(&generations) {
        let result = store.append(append(partition, block_id(*generation, 1), format!("{generation}"))).await;
        assert_eq!(result.is_ok(), *generation == highest, "{generations:?}: {generation} gave {result:?}");
    }
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), 8, "two owners got the same generation");
}

/// See the name.
pub async fn trimming_keeps_everything_from_its_mark_on(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(7));
    let generation = acquire(&store, partition).await.generation;
    let block = Bytes::from(vec![7; 2_000]);
    for sequence in 1..=300 {
        let mark = (sequence > 100).then(|| block_id(generation, sequence - 100));
        let append = append(partition, block_id(generation, sequence), block.clone());
        write(&store, Append { trim_below: mark, ..append }).await;
    }
    let left = ids(&store, partition, everything(false, 1_000)).await;
    let kept: Vec<_> = (200..=300).map(|sequence| block_id(generation, sequence)).collect();
    assert!(left.ends_with(&kept), "everything from the mark on is there: {left:?}");
    let acquired = acquire(&store, partition).await;
    assert_eq!(acquired.last, Some(block_id(generation, 300)));
}

/// See the name.
pub async fn trimming_everything_keeps_the_fence(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(8));
    let generation = acquire(&store, partition).await.generation;
    write(&store, append(partition, block_id(generation, 1), "one")).await;
    let all = Some(block_id(generation, 1_000));
    write(&store, Append { trim_below: all, ..append(partition, block_id(generation, 2), "two") }).await;
    let passed = store.append(append(partition, block_id(generation, 1), "one again")).await;
    assert!(matches!(passed, Err(StoreError::Fenced { .. })), "{passed:?}");
    assert!(acquire(&store, partition).await.generation > generation);
}

/// See the name.
pub async fn partitions_do_not_touch_each_other(subject: &mut impl Subject) {
    let store = store(subject).await;
    let numbers = [0, 9, 10, 63, 64, 255, 256, 1_023];
    let mut generations = Vec::new();
    for number in numbers {
        let generation = acquire(&store, partition(number)).await.generation;
        let key = Derived::Put { key: "key".into(), value: number.to_string().into(), ttl: LONG };
        let append = append(partition(number), block_id(generation, 1), format!("of {number}"));
        write(&store, Append { derived: vec![key], ..append }).await;
        generations.push(generation);
    }
    for (number, generation) in numbers.into_iter().zip(generations) {
        let blocks = store.read(partition(number), everything(false, 10)).await.expect("the log can be read");
        assert_eq!(blocks, [(block_id(generation, 1), Bytes::from(format!("of {number}")))]);
        let keys = store.get_derived(partition(number), vec!["key".into()]).await.expect("keys can be read");
        assert_eq!(keys, [Some(Bytes::from(number.to_string()))]);
    }
}

/// See the name.
pub async fn large_blocks_and_values_are_kept_whole(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(11));
    let generation = acquire(&store, partition).await.generation;
    let mut state = 1u32;
    let large: Bytes = (0..4 * 1024 * 1024)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect::<Vec<u8>>()
        .into();
    write(&store, append(partition, block_id(generation, 1), large.clone())).await;
    write(&store, append(partition, block_id(generation, 2), Bytes::new())).await;
    let blocks = store.read(partition, everything(false, 10)).await.expect("the log can be read");
    let expected = [(block_id(generation, 1), large.clone()), (block_id(generation, 2), Bytes::new())];
    assert!(blocks == expected, "a block of 4 MiB and an empty one come back as they were");
    store.put("large".into(), large.clone()).await.expect("a large value is put");
    assert!(store.get("large".into()).await.expect("keys can be read") == Some(large));
}

/// See the name.
pub async fn what_is_out_of_its_limits_is_refused(subject: &mut impl Subject) {
    let (store, partition) = (store(subject).await, partition(12));
    let generation = acquire(&store, partition).await.generation;
    let mark = store.append(append(partition, block_id(generation, 0), "a mark")).await;
    assert!(matches!(mark, Err(StoreError::Refused(_))), "sequence 0 belongs to owners: {mark:?}");
    for length in [0, 257] {
        let key = Bytes::from(vec![b'k'; length]);
        let put = store.put(key.clone(), "value".into()).await;
        assert!(matches!(put, Err(StoreError::Refused(_))), "a key of {length} bytes: {put:?}");
        let derived = vec![Derived::Put { key, value: "value".into(), ttl: LONG }];
        let result =
            store.append(Append { derived, ..append(partition, block_id(generation, 1), "b") }).await;
        assert!(matches!(result, Err(StoreError::Refused(_))), "a derived key of {length} bytes: {result:?}");
    }
    let key = Bytes::from(vec![b'k'; 256]);
    store.put(key.clone(), "value".into()).await.expect("a key of 256 bytes is put");
    assert_eq!(store.get(key).await.expect("keys can be read"), Some("value".into()));
    store.put("text".into(), "no number".into()).await.expect("a text is put");
    let increment = store.increment("text".into()).await;
    assert!(matches!(increment, Err(StoreError::Refused(_))), "a text is no counter: {increment:?}");
}

/// See the name.
pub async fn what_was_acknowledged_survives_a_restart(subject: &mut impl Subject) {
    let partition = partition(15);
    let before = store(subject).await;
    let generation = acquire(&before, partition).await.generation;
    let mut expected = Vec::new();
    for sequence in 1..=20 {
        let block = Bytes::from(format!("block {sequence} ").repeat(sequence as usize * 50));
        write(&before, append(partition, block_id(generation, sequence), block.clone())).await;
        expected.push((block_id(generation, sequence), block));
    }
    before.put("kept".into(), "value".into()).await.expect("it is put");
    let counter = before.increment("kept counter".into()).await.expect("it rises");
    drop(before);
    if !subject.reopen().await {
        return;
    }
    let after = store(subject).await;
    let blocks = after.read(partition, everything(false, 100)).await.expect("the log can be read");
    assert!(blocks == expected, "every acknowledged block is there after a restart, and nothing else");
    assert_eq!(after.get("kept".into()).await.expect("keys can be read"), Some("value".into()));
    let next = after.increment("kept counter".into()).await.expect("it rises");
    assert_eq!(next, counter + 1);
    let acquired = acquire(&after, partition).await;
    assert_eq!(acquired.last, Some(block_id(generation, 20)));
    write(&after, append(partition, block_id(acquired.generation, 1), "after")).await;
}

/// See the name.
pub async fn the_fence_survives_a_restart(subject: &mut impl Subject) {
    let partition = partition(16);
    let before = store(subject).await;
    let stale = acquire(&before, partition).await.generation;
    let fresh = acquire(&before, partition).await.generation;
    drop(before);
    if !subject.reopen().await {
        return;
    }
    let after = store(subject).await;
    let late = after.append(append(partition, block_id(stale, 1), "too late")).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    write(&after, append(partition, block_id(fresh, 1), "still the owner")).await;
    assert!(acquire(&after, partition).await.generation > fresh);
}

/// See the name.
pub async fn connections_share_one_store(subject: &mut impl Subject) {
    let (one, other, partition) = (store(subject).await, store(subject).await, partition(17));
    let generation = acquire(&one, partition).await.generation;
    write(&one, append(partition, block_id(generation, 1), "block")).await;
    assert_eq!(ids(&other, partition, everything(false, 9)).await, [block_id(generation, 1)]);
    one.put("shared".into(), "value".into()).await.expect("it is put");
    assert_eq!(other.get("shared".into()).await.expect("keys can be read"), Some("value".into()));
    let durability = one.durability().await.expect("the settings can be read");
    assert!(!durability.store.is_empty() && !durability.detail.is_empty());
}

/// A store that runs answers a ping, before anything was written and between writes.
pub async fn a_store_that_is_there_answers(subject: &mut impl Subject) {
    let store = subject.connect().connect().await.expect("a connection");
    store.ping().await.expect("an empty store answers");
    store.acquire(partition(0)).await.expect("acquired");
    store.ping().await.expect("a store in use answers");
}
