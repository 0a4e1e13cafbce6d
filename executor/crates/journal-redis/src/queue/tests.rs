//! What waits keeps its order and its bounds.

use std::time::Duration;

use bytes::Bytes;
use ids::PartitionId;
use journal::Derived;

use super::*;
use crate::keys::Keys;

const HOUR: Duration = Duration::from_secs(3_600);

fn id(generation: u64, sequence: u64) -> BlockId {
    BlockId { generation, sequence }
}

/// Writes that stood beside a block of a partition; their slot.
fn beside(partition: u32, block: BlockId, values: &[usize]) -> (u16, Vec<Write>) {
    let keys = Keys::new("test").of(PartitionId::new(partition).expect("in range"));
    let write = |bytes: &usize| {
        let value = Bytes::from(vec![7; *bytes]);
        Write::new(&keys, block, Derived::Put { key: "key".into(), value, ttl: HOUR })
    };
    (keys.slot, values.iter().map(write).collect())
}

fn numbers(writes: &VecDeque<Write>) -> Vec<u64> {
    writes.iter().map(|write| write.number).collect()
}

#[test]
fn writes_of_one_slot_have_one_sender_at_a_time_and_come_back_to_their_place() {
    let queue = Queue::default();
    let (one, first) = beside(1, id(1, 1), &[1, 1]);
    let (other, second) = beside(2, id(1, 1), &[1, 1]);
    queue.keep(first, None);
    queue.keep(second, None);
    let (sender, taken) = queue.take(|write| write.slot == one);
    assert_eq!(numbers(&taken), [1, 2]);
    queue.keep(beside(1, id(1, 2), &[1]).1, None);
    let (next, rest) = queue.take(|_| true);
    assert_eq!(numbers(&rest), [3, 4], "what is of the slot that is under way waits");
    assert!(matches!(queue.rest(one, 2), Rest::UnderWay) && matches!(queue.rest(other, 4), Rest::UnderWay));
    queue.end(next);
    assert!(matches!(queue.rest(other, 4), Rest::Nothing));
    queue.put_back(taken);
    queue.end(sender);
    assert!(matches!(queue.rest(one, 2), Rest::Waits { .. }));
    assert_eq!(numbers(&queue.take(|_| true).1), [1, 2, 5]);
}

#[test]
fn what_came_later_stays_behind_what_goes_elsewhere() {
    let queue = Queue::default();
    queue.keep(beside(1, id(1, 1), &[1]).1, None);
    queue.keep(beside(1, id(1, 2), &[1]).1, None);
    queue.keep(beside(2, id(1, 1), &[1]).1, None);
    assert_eq!(numbers(&queue.take(|write| write.number > 1).1), [3], "the first goes to another server");
}

#[test]
fn a_reader_waits_for_what_was_kept_before_it_and_for_nothing_else() {
    let queue = Queue::default();
    let (slot, writes) = beside(1, id(1, 1), &[1]);
    let upto = queue.kept();
    queue.keep(writes, None);
    assert!(matches!(queue.rest(slot, upto), Rest::Nothing));
    assert!(matches!(queue.rest(slot, queue.kept()), Rest::Waits { .. }));
    let (_, taken) = queue.take(|_| true);
    assert!(matches!(queue.rest(slot, upto), Rest::Nothing));
    assert_eq!(taken.len(), 1);
}

#[test]
fn a_block_may_not_follow_what_a_recovery_would_not_write_again() {
    let queue = Queue::default();
    let (slot, writes) = beside(1, id(2, 1), &[1]);
    assert_eq!(queue.obstacle(slot, id(2, 1)), None);
    queue.keep(writes, None);
    for (block, obstacle) in [
        (id(2, DERIVED_BEHIND_MAX), None),
        (id(2, DERIVED_BEHIND_MAX + 1), Some(slot)),
        (id(3, 1), Some(slot)),
    ] {
        assert_eq!(queue.obstacle(slot, block), obstacle, "{block}");
    }
    assert_eq!(queue.obstacle(slot + 1, id(3, 1)), None, "another log may go on");
    let (sender, _) = queue.take(|_| true);
    assert_eq!(queue.obstacle(slot, id(3, 1)), Some(slot), "what is under way may come back");
    queue.end(sender);
    assert_eq!(queue.obstacle(slot, id(3, 1)), None);
}

#[test]
fn too_many_or_too_long_ones_stop_every_log_until_they_are_written() {
    for values in [vec![0; PENDING_MAX], vec![PENDING_BYTES_MAX]] {
        let queue = Queue::default();
        let (slot, writes) = beside(1, id(1, 1), &values);
        queue.keep(writes, None);
        assert_eq!(queue.obstacle(slot + 1, id(1, 1)), Some(slot));
        let mut taken = 0;
        while taken < values.len() {
            let (sender, writes) = queue.take(|_| true);
            assert!((1..=SEND_MAX).contains(&writes.len()), "{}", writes.len());
            taken += writes.len();
            assert_eq!(queue.obstacle(slot + 1, id(1, 1)).is_some(), taken <= SEND_MAX, "{taken} are taken");
            queue.end(sender);
        }
        assert_eq!(queue.obstacle(slot + 1, id(1, 1)), None);
    }
}

#[test]
fn a_timer_runs_as_long_as_something_is_left_for_it() {
    let (queue, runs) = (Queue::default(), AtomicBool::new(false));
    assert!(queue.keep(beside(1, id(1, 1), &[1]).1, Some(&runs)), "the first asks for one");
    assert!(!queue.keep(beside(1, id(1, 2), &[1]).1, Some(&runs)));
    assert_eq!(queue.timer(&runs, |_| true), Some(2));
    let (sender, taken) = queue.take(|_| true);
    assert_eq!(queue.timer(&runs, |_| true), Some(2), "it may come back");
    queue.end(sender);
    assert_eq!((queue.timer(&runs, |_| true), taken.len()), (None, 2));
    assert!(queue.keep(beside(1, id(1, 3), &[1]).1, Some(&runs)), "the next asks for one again");
}
