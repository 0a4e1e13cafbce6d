//! An idle shard notices that its store is gone, and that it is back.

use proto::executor::v1::Mode;

use super::*;

#[tokio::test]
async fn an_idle_shard_notices_a_lost_store_by_itself_and_serves_again_when_it_is_back() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    world.store.set_unavailable(Some("gone"));
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::StoreDown).await;
    assert_eq!(shard.metrics.store_available.get(), 0);
    assert!(shard.ask(|reply| Command::Report { reply }).await.expect("a report").cut_off);
    let refused = shard.started(batch(1, pass, Mode::Express, &["1"])).await.remove(0);
    assert_eq!(refused.reason(), Some(Reason::StoreUnavailable));
    assert!(refused.refusal.is_some_and(|refusal| refusal.retry_after_ms > 0));
    world.store.set_unavailable(None);
    world.clock.advance(Duration::from_millis(250));
    shard.until(ShardState::Serving).await;
    assert_eq!(shard.metrics.store_available.get(), 1);
    assert!(!shard.ask(|reply| Command::Report { reply }).await.expect("a report").cut_off);
    assert_eq!(shard.started(batch(1, pass, Mode::Express, &["1"])).await[0].refusal, None);
}

#[tokio::test]
async fn a_shard_that_is_confirmed_within_each_second_asks_nothing() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let before = world.store.pings();
    for sequence in 1..=20 {
        world.clock.advance(Duration::from_millis(900));
        let at = START_MS + sequence * 901;
        let batch = batch(sequence, pass, Mode::Express, &["1"]);
        shard.started(v1::StartBatch { start_time_ms: at, ..batch }).await;
    }
    assert_eq!(world.store.pings(), before);
    world.clock.advance(Duration::from_secs(1));
    while world.store.pings() == before {
        shard.settled().await;
    }
}

/// A batch of another partition.
fn batch_in(number: u32, sequence: u64, definition: DefinitionHash) -> v1::StartBatch {
    let partition = PartitionId::new(number).expect("in range");
    let id = BatchId::new(partition, 1, sequence).expect("in range");
    v1::StartBatch { id: Some(id.into()), ..batch(sequence, definition, Mode::Standard, &["1"]) }
}

#[tokio::test]
async fn a_part_of_the_store_that_is_away_takes_its_own_partitions_along_and_no_lease_of_others() {
    let mut world = World::new();
    world.partitions = 2;
    let task = world.define(TASK).await;
    let shard = world.spawn_with(Some((0..2).map(|number| PartitionId::new(number).expect("one")).collect()));
    shard.until(ShardState::Serving).await;
    let away = PartitionId::new(1).expect("in range");
    world.store.set_away(away, true);
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::StoreDown).await;
    let refused = shard.started(batch_in(1, 1, task)).await.remove(0);
    assert_eq!(refused.reason(), Some(Reason::StoreUnavailable));
    assert_eq!(shard.started(batch_in(0, 1, task)).await[0].refusal, None);
    assert!(!shard.ask(|reply| Command::Report { reply }).await.expect("a report").cut_off);
    // The lease of the other one is confirmed time and again, else the task would not be handed out.
    for _ in 0..5 {
        let before = world.store.pings();
        world.clock.advance(Duration::from_secs(1));
        while world.store.pings() == before {
            shard.settled().await;
        }
        shard.settled().await;
    }
    let mut worker = shard.worker(1, 1).await;
    assert_eq!(tasks(&mut worker, 1).await.len(), 1);
    world.store.set_away(away, false);
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::Serving).await;
    assert_eq!(shard.started(batch_in(1, 2, task)).await[0].refusal, None);
}

#[tokio::test]
async fn a_shard_all_of_whose_logs_are_away_is_not_cut_off_while_other_parts_of_the_store_answer() {
    let world = World::new();
    let shard = world.shard().await;
    world.store.set_away(partition(), true);
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::StoreDown).await;
    assert!(!shard.ask(|reply| Command::Report { reply }).await.expect("a report").cut_off);
    world.store.set_away(partition(), false);
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::Serving).await;
}
