//! Checkpoints against what was put in, against hostile bytes, and against logs that they do not fit.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::block::BlockBuilder;
use crate::index::Part;
use crate::memory::MemoryStore;
use crate::store::Append;

fn partition() -> PartitionId {
    PartitionId::new(9).expect("in range")
}

fn batch_of((incarnation, sequence): (u32, u64)) -> BatchId {
    BatchId::new(partition(), incarnation, sequence).expect("in range")
}

fn block() -> impl Strategy<Value = BlockId> {
    (1..4u64, 1..u64::MAX).prop_map(|(generation, sequence)| BlockId { generation, sequence })
}

fn batch() -> impl Strategy<Value = BatchId> {
    (0..3u32, 0..1u64 << 40).prop_map(batch_of)
}

fn part() -> impl Strategy<Value = Part> {
    (block(), any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(block, one, other, closed)| Part {
        block,
        first: one.min(other),
        last: one.max(other),
        closed,
    })
}

prop_compose! {
    fn checkpoint()(
        block in block(),
        open in vec((batch(), any::<u8>(), 1..9u16, vec(block(), 1..4)), 0..20),
        batches in vec((batch(), block(), any::<u64>()), 0..20),
        buckets in vec((block(), any::<u64>(), any::<u64>()), 0..20),
        tracked in vec((batch(), proptest::option::of(0..=256u16), vec(part(), 0..4)), 0..20),
        hours in vec(any::<u64>(), 0..20),
        floor_ms in any::<u64>(),
    ) -> Checkpoint {
        let open = open.into_iter().map(|(batch, first, count, blocks)| {
            OpenRun { batch, first: first.min(240), count, blocks: blocks.into() }
        });
        let batches =
            batches.into_iter().map(|(batch, block, time_ms)| SeenBatch { batch, block, time_ms });
        let buckets =
            buckets.into_iter().map(|(first, begin_ms, last_ms)| Bucket { first, begin_ms, last_ms });
        let tracked =
            tracked.into_iter().map(|(batch, expected, parts)| (batch, Tracked { expected, parts }));
        Checkpoint {
            block,
            open: open.collect(),
            batches: batches.collect(),
            buckets: buckets.collect(),
            tracked: tracked.collect(),
            hours,
            floor_ms,
        }
    }
}

fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for run in &checkpoint.open {
        for index in 0..run.count {
            encoder.open(run.batch.execution((u16::from(run.first) + index) as u8), &run.blocks);
        }
    }
    checkpoint.batches.iter().for_each(|seen| encoder.seen(*seen));
    checkpoint.buckets.iter().for_each(|bucket| encoder.bucket(*bucket));
    checkpoint.tracked.iter().for_each(|(batch, tracked)| encoder.tracked(*batch, tracked));
    checkpoint.hours.iter().for_each(|hour| encoder.hour(*hour));
    encoder.floor(checkpoint.floor_ms);
    encoder.finish()
}

/// The executions that are open, one by one: runs may be joined.
fn open_of(checkpoint: &Checkpoint) -> Vec<(BatchId, u16, Vec<BlockId>)> {
    let ids = checkpoint.open.iter().flat_map(|run| {
        (0..run.count).map(|index| (run.batch, u16::from(run.first) + index, run.blocks.to_vec()))
    });
    ids.collect()
}

proptest! {
    #[test]
    fn what_is_put_in_comes_out(checkpoint in checkpoint()) {
        let read = Checkpoint::decode(&encode(&checkpoint), partition(), checkpoint.block).expect("whole");
        prop_assert_eq!(open_of(&read), open_of(&checkpoint));
        prop_assert_eq!(Checkpoint { open: checkpoint.open.clone(), ..read }, checkpoint);
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_and_never_panic(
        checkpoint in checkpoint(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..200),
    ) {
        let mut body = encode(&checkpoint);
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.truncate(cut.index(body.len()) + 1);
        let block = BlockId::default();
        let _ = Checkpoint::decode(&body, partition(), block);
        let _ = Checkpoint::decode(&noise, partition(), block);
        prop_assert!(read_part(&noise.into(), 0).is_none());
    }

    #[test]
    fn a_part_of_which_one_byte_was_changed_is_no_part(at in any::<prop::sample::Index>(), by in 1..=255u8) {
        let stamp = Stamp { partition: partition(), block: BlockId { generation: 1, sequence: 2 }, crc: 3 };
        let [Derived::Put { value, .. }] = &entries(b"some bytes", stamp, 0)[..] else { panic!("one part") };
        let mut value = value.to_vec();
        let at = at.index(value.len());
        value[at] ^= by;
        prop_assert!(read_part(&value.into(), 0).is_none());
    }
}

async fn append(store: &MemoryStore, sequence: u64, now_ms: u64, derived: Vec<Derived>) -> Stamp {
    let id = BlockId { generation: 1, sequence };
    let block = BlockBuilder::new(partition()).finish(id, now_ms);
    let stamp = Stamp::of(partition(), id, &block);
    let append = Append { partition: partition(), id, block, derived, trim_below: None };
    store.append(append).await.expect("appended");
    stamp
}

const END: BlockId = BlockId { generation: u64::MAX, sequence: u64::MAX };

/// The hours of the newest checkpoint: by them the tests tell one from another.
async fn newest_hours(store: &MemoryStore, before: BlockId) -> Option<Vec<u64>> {
    let found = find(store, partition(), before).await.expect("readable");
    found.below.map(|checkpoint| checkpoint.hours)
}

fn body(hours: &[u64]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    hours.iter().for_each(|hour| encoder.hour(*hour));
    encoder.finish()
}

#[tokio::test]
async fn the_newest_that_fits_is_found_and_the_one_before_where_it_does_not() {
    let store = MemoryStore::new();
    store.acquire(partition()).await.expect("acquired");
    assert_eq!(newest_hours(&store, END).await, None);
    let first = append(&store, 1, 5, Vec::new()).await;
    let second = append(&store, 2, 5, entries(&body(&[1]), first, 1)).await;
    append(&store, 3, 5, entries(&body(&[2]), second, 0)).await;
    assert_eq!(newest_hours(&store, END).await, Some(vec![2]));
    assert_eq!(newest_hours(&store, second.block).await, Some(vec![1]));
    assert_eq!(newest_hours(&store, first.block).await, None);
    let found = find(&store, partition(), first.block).await.expect("readable");
    assert_eq!(found.newest, Some((0, second.block)), "the other place is free for the next one");
    // Of a block that the log does not hold, or holds with other bytes.
    let (absent, other) =
        (Stamp { block: BlockId { generation: 1, sequence: 9 }, ..first }, Stamp { crc: 1, ..second });
    for (sequence, foreign) in [(4, absent), (5, other)] {
        append(&store, sequence, 5, entries(&body(&[3]), foreign, 1)).await;
        assert_eq!(newest_hours(&store, END).await, Some(vec![2]));
    }
}

#[tokio::test]
async fn one_of_which_a_part_is_missing_is_none() {
    let store = MemoryStore::new();
    store.acquire(partition()).await.expect("acquired");
    let hours: Vec<u64> = (0..PART_BYTES_MAX as u64).map(|hour| hour * 1_000).collect();
    let first = append(&store, 1, 5, Vec::new()).await;
    let second = append(&store, 2, 5, entries(&body(&[1]), first, 0)).await;
    let mut parts = entries(&body(&hours), second, 1);
    assert!(parts.len() > 2);
    let last = parts.remove(0);
    append(&store, 3, 5, parts).await;
    assert_eq!(newest_hours(&store, END).await, Some(vec![1]), "half of the newest is there");
    append(&store, 4, 5, vec![last]).await;
    assert_eq!(newest_hours(&store, END).await, Some(hours));
}

#[test]
fn one_that_is_too_long_is_not_written() {
    let stamp = Stamp { partition: partition(), block: END, crc: 0 };
    assert!(entries(&vec![0; PART_BYTES_MAX * PARTS_MAX + 1], stamp, 0).is_empty());
    assert_eq!(entries(&[], stamp, 0).len(), 1);
}
