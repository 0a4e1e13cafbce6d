//! Partitions are taken from a store of which a part is away, or which is not the right one.

use proto::executor::v1::Mode;
use proto::executor::v1::owned_partition::State;

use super::*;

fn partitions(numbers: std::ops::Range<u32>) -> Vec<PartitionId> {
    numbers.map(|number| PartitionId::new(number).expect("in range")).collect()
}

/// How often the store did not answer.
fn failures(shard: &TestShard) -> u64 {
    shard.metrics.store_errors[telemetry::StoreFailure::Unavailable as usize].get()
}

/// Waits until so many partitions are served, and gives them.
async fn until_served(world: &World, shard: &TestShard, count: usize) -> Vec<u32> {
    let served = async {
        loop {
            let owned = shard.ask(|reply| Command::Report { reply }).await.expect("a report").owned;
            let served = owned.iter().filter(|owned| owned.state() == State::Serving);
            let served: Vec<u32> = served.map(|owned| owned.partition).collect();
            if served.len() == count {
                return served;
            }
            world.clock.advance(Duration::from_millis(50));
        }
    };
    soon("partitions that are served", served).await
}

#[tokio::test]
async fn a_part_of_the_store_that_is_away_holds_up_the_recovery_of_its_own_partitions_alone() {
    let world = World { partitions: 8, ..World::new() };
    let pass = world.define(PASS).await;
    let away = partitions(0..4);
    away.iter().for_each(|partition| world.store.set_away(*partition, true));
    let shard = world.spawn_with(Some(partitions(0..8)));
    assert_eq!(until_served(&world, &shard, 4).await, [4, 5, 6, 7]);
    shard.until(ShardState::Serving).await;
    let batch_of = |number: u32| {
        let id = BatchId::new(PartitionId::new(number).expect("in range"), 1, 1).expect("in range");
        v1::StartBatch { id: Some(id.into()), ..batch(1, pass, Mode::Express, &["1"]) }
    };
    assert_eq!(shard.started(batch_of(7)).await[0].refusal, None);
    assert_eq!(shard.started(batch_of(0)).await[0].reason(), Some(Reason::StoreUnavailable));
    away.iter().for_each(|partition| world.store.set_away(*partition, false));
    assert_eq!(until_served(&world, &shard, 8).await, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(shard.started(batch_of(0)).await[0].refusal, None);
}

#[tokio::test]
async fn a_shard_is_not_ready_while_none_of_its_partitions_can_be_recovered() {
    let world = World { partitions: 2, ..World::new() };
    partitions(0..2).iter().for_each(|partition| world.store.set_away(*partition, true));
    let shard = world.spawn_with(Some(partitions(0..2)));
    let tried_again = async {
        while failures(&shard) < 4 {
            world.clock.advance(Duration::from_millis(500));
            shard.settled().await;
        }
    };
    soon("attempts", tried_again).await;
    assert_eq!(*shard.handle.state.borrow(), ShardState::Recovering);
    partitions(0..2).iter().for_each(|partition| world.store.set_away(*partition, false));
    until_served(&world, &shard, 2).await;
    shard.until(ShardState::Serving).await;
}

#[tokio::test]
async fn a_partition_is_not_taken_from_a_store_that_was_emptied_under_the_node() {
    let world = World { partitions: 2, ..World::new() };
    let store = world.store.connect().await.expect("a connection");
    world.cluster.join(&*store).await.expect("joined");
    let shard = world.managed();
    shard.send(Command::Assign { partitions: partitions(0..1) }).await;
    assert_eq!(until_served(&world, &shard, 1).await, [0]);
    let key = Bytes::from_static(journal::cluster::KEY);
    let record = store.get(key.clone()).await.expect("asked");
    assert!(store.compare_and_put(key.clone(), record.clone(), None).await.expect("asked"));
    shard.send(Command::Assign { partitions: partitions(0..2) }).await;
    let before = failures(&shard);
    let refused = async {
        while failures(&shard) < before + 3 {
            world.clock.advance(Duration::from_millis(500));
            shard.settled().await;
        }
    };
    soon("attempts", refused).await;
    assert_eq!(shard.metrics.store_available.get(), 0, "which is what the alert looks at");
    assert!(store.compare_and_put(key, None, record).await.expect("asked"));
    assert_eq!(until_served(&world, &shard, 2).await, [0, 1]);
    let owned = shard.ask(|reply| Command::Report { reply }).await.expect("a report").owned;
    assert!(owned.iter().all(|owned| owned.generation == 1), "nothing was written into it: {owned:?}");
    assert_eq!(shard.metrics.store_available.get(), 1);
}
