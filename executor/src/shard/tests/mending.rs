//! The store goes back while a partition is being read, taken anew or given back.

use journal::{BlockId, Store};
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

const DAY: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;

fn block(generation: u64, sequence: u64) -> BlockId {
    BlockId { generation, sequence }
}

async fn assign(shard: &TestShard, partitions: Vec<PartitionId>) {
    shard.send(Command::Assign { partitions }).await;
}

/// Asks until something is true.
async fn until(shard: &TestShard, what: &str, is_true: impl Fn() -> bool) {
    soon(what, async {
        while !is_true() {
            shard.settled().await
        }
    })
    .await;
}

async fn serve(shard: &TestShard) {
    assign(shard, vec![partition()]).await;
    until(shard, "the partition", || *shard.handle.state.borrow() == ShardState::Serving).await;
    until(shard, "its recovery", || shard.metrics.partitions_owned.get() == 1).await;
}

/// How many are open that the next owner finds.
async fn open_next(world: &World) -> u64 {
    world.shard().await.metrics.recovered.get()
}

#[tokio::test]
async fn a_partition_that_is_given_back_while_it_is_taken_anew_is_released_with_what_has_ended() {
    let world = World::new();
    let (pass, wait) = (world.define(PASS).await, world.define(WAIT).await);
    let shard = world.managed();
    serve(&shard).await;
    shard.started(batch(1, wait, Mode::Express, &["1"])).await;
    shard.started(batch(2, pass, Mode::Express, &["2"])).await;
    world.store.hold_acquires(true);
    world.store.go_back(partition(), block(1, 1));
    world.clock.advance(Duration::from_secs(1));
    until(&shard, "what is written again", || world.store.block_count(partition()) == 2).await;
    shard.settled().await;
    // An end has to be written, and then the partition shall go.
    world.clock.advance(Duration::from_secs(60));
    shard.settled().await;
    assign(&shard, vec![]).await;
    shard.settled().await;
    world.store.hold_acquires(false);
    until(&shard, "the release", || shard.metrics.partitions_owned.get() == 0).await;
    assert_eq!(shard.metrics.partitions_lost.get(), 0);
    world.clock.advance(TICK);
    assert!(open_next(&world).await <= 1);
    let top = world.store.top(partition()).await.expect("answered");
    assert!(top.is_some_and(|top| top.generation == 3), "{top:?}");
}

#[tokio::test]
async fn a_batch_that_waited_while_the_partition_was_taken_anew_is_known_to_the_owner_after_a_checkpoint() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    for sequence in 1..=2 {
        shard.started(batch(sequence, pass, Mode::Express, &["1"])).await;
    }
    world.store.hold_appends();
    let mut first = shard.start(batch(3, pass, Mode::Express, &["1"])).await;
    let mut second = shard.start(batch(4, pass, Mode::Express, &["1"])).await;
    // Both are taken: a start that comes while the partition is taken anew is refused.
    shard.settled().await;
    world.store.go_back(partition(), block(1, 1));
    world.store.release_appends();
    for answers in [&mut first, &mut second] {
        assert_eq!(ticking(&shard, next(answers)).await.refusal, None);
    }
    for sequence in 100..400 {
        let sent = batch(sequence, pass, Mode::Express, &["1"]);
        assert_eq!(ticking(&shard, shard.started(sent)).await[0].refusal, None);
    }
    assert!(shard.metrics.checkpoints.get() > 1);
    drop(shard);
    let shard = world.shard().await;
    let again = ticking(&shard, shard.started(batch(4, pass, Mode::Express, &["1"]))).await;
    assert_eq!((again[0].reason(), shard.metrics.duplicates.get()), (None, 1));
}

#[tokio::test]
async fn what_waits_to_be_brought_back_is_written_again_when_the_store_goes_back_meanwhile() {
    const BATCHES: u64 = 8;
    let world = World::new();
    let day = world.define(DAY).await;
    let shard = world.shard().await;
    for sequence in 1..=BATCHES {
        shard.started(batch(sequence, day, Mode::Standard, &["1"; 250])).await;
    }
    drop(shard);
    // The clock goes on while executions are brought back, so that this takes many rounds.
    let (clock, (stop, stopped)) = (world.clock.clone(), std::sync::mpsc::sync_channel::<()>(1));
    let ticks = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            clock.advance(Duration::from_millis(6));
            std::thread::yield_now();
        }
    });
    let shard = world.spawn();
    until(&shard, "a log that is read", || shard.metrics.recovered.get() > 0).await;
    world.store.go_back(partition(), block(1, BATCHES - 1));
    until(&shard, "what is lost", || shard.metrics.blocks_lost.get() > 0).await;
    let mended =
        || *shard.handle.state.borrow() == ShardState::Serving && shard.metrics.store_pending.get() == 0;
    until(&shard, "what is written again", mended).await;
    drop(stop);
    ticks.join().expect("the clock stops");
    assert_eq!(shard.metrics.partitions_lost.get(), 0);
    drop(shard);
    assert_eq!(open_next(&world).await, BATCHES * 250);
}

#[tokio::test]
async fn what_is_open_in_a_partition_that_is_being_given_back_is_written_again() {
    let world = World::new();
    let (day, pass) = (world.define(DAY).await, world.define(PASS).await);
    let shard = world.managed();
    serve(&shard).await;
    shard.started(batch(1, day, Mode::Standard, &["1", "2"])).await;
    // Beyond that nothing is held of them.
    world.clock.advance(limits::HELD_TIME);
    let at = START_MS + limits::HELD_TIME.as_millis() as u64;
    shard.started(v1::StartBatch { start_time_ms: at, ..batch(2, pass, Mode::Express, &["2"]) }).await;
    world.store.hold_appends();
    let last = v1::StartBatch { start_time_ms: at, ..batch(3, pass, Mode::Express, &["3"]) };
    let mut answers = shard.start(last).await;
    shard.settled().await;
    world.store.go_back(partition(), block(1, 0));
    assign(&shard, vec![]).await;
    shard.settled().await;
    assert_eq!(shard.metrics.open.get(), 2, "they stay until everything is in the log");
    let execution = execution(1, 0);
    let described = shard.ask(|reply| Command::Describe { execution, reply }).await;
    if let Ok(described) = described {
        assert_eq!(described.summary.expect("a summary").status(), ExecutionStatus::Running);
    }
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    until(&shard, "the release", || shard.metrics.partitions_owned.get() == 0).await;
    assert_eq!((shard.metrics.open.get(), shard.metrics.blocks_lost.get()), (0, 1));
    assert_eq!(open_next(&world).await, 2);
}
