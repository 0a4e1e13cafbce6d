//! An owner notices that another one has taken its partition, and says and does nothing before it knows.

use journal::{BlockId, Store};
use proto::executor::v1::owned_partition::State;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::assigned::*;
use super::*;

#[tokio::test]
async fn an_owner_that_was_replaced_learns_it_from_its_next_append_and_refuses_what_waits() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let (stale, second) = (world.managed(), world.managed());
    serve(&stale).await;
    serve(&second).await;
    let sent = batch(1, pass, Mode::Express, &["1", "2"]);
    assert_eq!(stale.started(sent.clone()).await[0].reason(), Some(Reason::NotOwner));
    until_owned(&stale, &[]).await;
    assert_eq!(stale.metrics.partitions_lost.get(), 1);
    assert_eq!(second.started(sent).await[0].refusal, None);
    assert_eq!(second.metrics.duplicates.get(), 0, "the refused block is in no log");
}

#[tokio::test]
async fn an_idle_owner_that_was_replaced_learns_it_within_a_second() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let (stale, second) = (world.managed(), world.managed());
    serve(&stale).await;
    stale.started(batch(1, wait, Mode::Standard, &["1"])).await;
    serve(&second).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&stale, &[]).await;
    assert_eq!((stale.metrics.partitions_lost.get(), stale.metrics.open.get()), (1, 0));
    until_owned(&second, &[(0, State::Serving)]).await;
    assert_eq!(second.metrics.partitions_lost.get(), 0);
}

#[tokio::test]
async fn an_owner_whose_very_generation_was_given_again_by_a_store_that_went_back_gives_the_partition_up() {
    for idle in [true, false] {
        let world = World::new();
        let pass = world.define(PASS).await;
        let (stale, second) = (world.managed(), world.managed());
        serve(&second).await;
        second.started(batch(1, pass, Mode::Express, &["1"])).await;
        release(&second).await;
        serve(&stale).await;
        let before = world.store.top(partition()).await.expect("told").expect("there");
        for sequence in 2..=4 {
            stale.started(batch(sequence, pass, Mode::Express, &["1"])).await;
        }
        let first = BlockId { generation: 1, sequence: 1 };
        world.store.go_back_unseen(partition(), first);
        serve(&second).await;
        let again = world.store.top(partition()).await.expect("told").expect("there");
        assert_eq!(again.generation, before.generation, "the mark was lost");
        for sequence in 5..=9 {
            assert_eq!(second.started(batch(sequence, pass, Mode::Express, &["1"])).await[0].refusal, None);
        }
        if idle {
            world.clock.advance(Duration::from_secs(1));
        } else {
            let refused = stale.started(batch(10, pass, Mode::Express, &["1"])).await.remove(0);
            assert_eq!(refused.reason(), Some(Reason::NotOwner));
        }
        until_owned(&stale, &[]).await;
        until_owned(&second, &[(0, State::Serving)]).await;
        assert_eq!(second.started(batch(11, pass, Mode::Express, &["1"])).await[0].refusal, None);
    }
}

#[tokio::test]
async fn a_partition_that_was_lost_is_taken_back_only_when_it_is_assigned_after_a_while() {
    let world = World::new();
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    serve(&second).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&first, &[]).await;
    world.clock.advance(limits::LEASE);
    first.settled().await;
    until_owned(&first, &[]).await;
    // As by a directive that was on its way when the partition was lost, and one that takes it back.
    world.clock.advance(Duration::from_secs(1));
    serve(&first).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&second, &[]).await;
    for (partitions, wait) in [([0].as_slice(), Duration::ZERO), (&[], limits::LEASE)] {
        assign(&second, partitions).await;
        world.clock.advance(wait);
        second.settled().await;
        until_owned(&second, &[]).await;
    }
    // What is said by somebody who goes on saying it is done when the while is over.
    world.clock.advance(Duration::from_secs(1));
    serve(&second).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&first, &[]).await;
    assign(&first, &[0]).await;
    first.settled().await;
    until_owned(&first, &[]).await;
    world.clock.advance(limits::LEASE);
    until_owned(&first, &[(0, State::Serving)]).await;
}

#[tokio::test]
async fn a_partition_that_was_lost_does_not_come_back_because_something_else_changes() {
    let world = World { partitions: 2, ..World::new() };
    let pass = world.define(PASS).await;
    let (first, second) = (world.managed(), world.managed());
    assign(&first, &[0, 1]).await;
    until_owned(&first, &[(0, State::Serving), (1, State::Serving)]).await;
    world.store.hold_appends();
    let id = BatchId::new(PartitionId::new(1).expect("in range"), 1, 1).expect("in range");
    let mut answers =
        first.start(v1::StartBatch { id: Some(id.into()), ..batch(1, pass, Mode::Express, &["1"]) }).await;
    assign(&first, &[0]).await;
    until_owned(&first, &[(0, State::Serving), (1, State::Releasing)]).await;
    assign(&second, &[0]).await;
    until_owned(&second, &[(0, State::Serving)]).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&first, &[(1, State::Releasing)]).await;
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    until_owned(&first, &[]).await;
    world.clock.advance(limits::LEASE);
    first.settled().await;
    first.settled().await;
    until_owned(&first, &[]).await;
}

#[tokio::test]
async fn an_owner_that_has_not_heard_of_its_store_for_the_lease_neither_answers_nor_hands_out_tasks() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    shard.started(batch(1, task, Mode::Express, &["1"])).await;
    world.store.hold_appends();
    let _on_its_way = shard.start(batch(2, task, Mode::Express, &["2"])).await;
    // Nothing but memory has this one: its block waits for the one before.
    let mut answers = shard.start(batch(3, task, Mode::Express, &["3"])).await;
    assert_eq!(status(&shard, execution(3, 0)).await.expect("in memory"), ExecutionStatus::Running);
    world.store.set_unavailable(Some("cut off"));
    world.clock.advance(limits::LEASE + Duration::from_millis(1));
    let unknown = status(&shard, execution(3, 0)).await;
    assert!(matches!(unknown, Err(Error::Store(_))), "{unknown:?}");
    let mut worker = shard.worker(1, 10).await;
    // Tasks leave at the end of a round.
    shard.settled().await;
    shard.settled().await;
    assert!(worker.try_recv().is_err(), "a task has left");
    world.store.set_unavailable(None);
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        tasks(&mut worker, 3).await.iter().map(|task| &task.input[..]).collect::<Vec<_>>(),
        [b"1", b"2", b"3"]
    );
    assert_eq!(status(&shard, execution(3, 0)).await.expect("confirmed"), ExecutionStatus::Running);
}

#[tokio::test]
async fn a_zombie_answers_no_question_from_memory_and_hands_out_no_task() {
    let world = World::new();
    let task = world.define(TASK).await;
    let (zombie, second) = (world.managed(), world.managed());
    serve(&zombie).await;
    world.store.hold_appends();
    let mut answers = zombie.start(batch(1, task, Mode::Express, &["1"])).await;
    zombie.settled().await;
    serve(&second).await;
    world.clock.advance(limits::LEASE + Duration::from_millis(1));
    assert!(matches!(status(&zombie, execution(1, 0)).await, Err(Error::NotOwner { partition: 0 })));
    // An append that is on its way does not keep it from noticing.
    until_owned(&zombie, &[]).await;
    let mut worker = zombie.worker(1, 10).await;
    zombie.settled().await;
    zombie.settled().await;
    assert!(worker.try_recv().is_err(), "a task has left");
    assert_eq!(next(&mut answers).await.reason(), Some(Reason::NotOwner));
    // What was begun before lands in the next time that it has the partition, and changes nothing.
    world.clock.advance(limits::LEASE);
    assign(&zombie, &[0]).await;
    until_owned(&zombie, &[(0, State::Serving)]).await;
    world.store.release_appends();
    soon("an index", async { while list(&zombie).await.is_err() {} }).await;
    let pass = world.define(PASS).await;
    assert_eq!(zombie.started(batch(2, pass, Mode::Express, &["1"])).await[0].refusal, None);
    until_owned(&zombie, &[(0, State::Serving)]).await;
    assert_eq!(zombie.metrics.partitions_lost.get(), 1);
}
