//! Shards take partitions and give them back while they run.

use proto::executor::v1::owned_partition::State;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::assigned::*;
use super::replaying::Bare;
use super::*;

#[tokio::test]
async fn a_shard_has_nothing_until_it_is_assigned_something_and_then_serves_it() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.managed();
    shard.until(ShardState::Unassigned).await;
    assert_eq!(
        shard.started(batch(1, pass, Mode::Express, &["1"])).await[0].reason(),
        Some(Reason::NotOwner)
    );
    assert!(matches!(status(&shard, execution(1, 0)).await, Err(Error::NotOwner { partition: 0 })));
    assign(&shard, &[]).await;
    shard.until(ShardState::Serving).await;
    serve(&shard).await;
    assert_eq!(shard.started(batch(1, pass, Mode::Express, &["1"])).await[0].refusal, None);
    assert_eq!(shard.metrics.partitions_owned.get(), 1);
    assign(&shard, &[0, 0, 1_023]).await;
    until_owned(&shard, &[(0, State::Serving)]).await;
    assert_eq!(shard.started(batch(2, pass, Mode::Express, &["1"])).await[0].refusal, None);
}

#[tokio::test]
async fn what_was_accepted_is_durable_before_a_partition_is_given_back() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.managed();
    serve(&shard).await;
    world.store.hold_appends();
    let mut answers = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    assign(&shard, &[]).await;
    until_owned(&shard, &[(0, State::Releasing)]).await;
    assert_eq!(
        shard.started(batch(2, pass, Mode::Express, &["1"])).await[0].reason(),
        Some(Reason::NotOwner)
    );
    let unknown = status(&shard, execution(9, 0)).await;
    assert!(matches!(unknown, Err(Error::Recovering { partition: 0, .. })), "{unknown:?}");
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    until_owned(&shard, &[]).await;
    assert_eq!(shard.metrics.permits_used_count.get(), 0);
    assert!(matches!(status(&shard, execution(1, 0)).await, Err(Error::NotOwner { partition: 0 })));
    let next = world.managed();
    serve(&next).await;
    assert_eq!(status(&next, execution(1, 0)).await.expect("known"), ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn a_release_waits_for_a_store_that_does_not_answer() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.managed();
    serve(&shard).await;
    world.store.set_unavailable(Some("gone"));
    let mut answers = shard.start(batch(1, wait, Mode::Standard, &["1"])).await;
    shard.until(ShardState::StoreDown).await;
    assign(&shard, &[]).await;
    until_owned(&shard, &[(0, State::Releasing)]).await;
    world.store.set_unavailable(None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(next(&mut answers).await.refusal, None);
    until_owned(&shard, &[]).await;
    serve(&shard).await;
    assert_eq!(shard.metrics.recovered.get(), 1);
}

#[tokio::test]
async fn a_partition_that_is_wanted_again_while_it_is_given_back_is_taken_back_afterwards() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.managed();
    serve(&shard).await;
    world.store.hold_appends();
    let mut answers = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    assign(&shard, &[]).await;
    assign(&shard, &[0]).await;
    until_owned(&shard, &[(0, State::Releasing)]).await;
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    until_owned(&shard, &[(0, State::Serving)]).await;
    assert_eq!(shard.started(batch(2, pass, Mode::Express, &["1"])).await[0].refusal, None);
}

#[tokio::test]
async fn a_recovery_that_is_no_longer_wanted_ends_and_its_partition_may_come_back() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.managed();
    serve(&shard).await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    for _ in 0..5 {
        assign(&shard, &[]).await;
        assign(&shard, &[0]).await;
    }
    until_owned(&shard, &[(0, State::Serving)]).await;
    shard.settled().await;
    assert_eq!(shard.metrics.open.get(), 1);
    release(&shard).await;
    assert_eq!(shard.metrics.open.get(), 0);
}

#[test]
fn what_all_logs_share_is_shared_among_those_that_are_here() {
    let world = World { partitions: 64, ..World::new() };
    let mut bare = Bare::with(&world, None);
    for count in [64, 4, 0, 16] {
        let partitions = (0..count).map(|number| PartitionId::new(number).expect("in range")).collect();
        bare.tell(Command::Assign { partitions });
        let here = count.max(1) as usize;
        assert_eq!(bare.shard.batches_max(), limits::BATCHES_REMEMBERED_MAX / here);
        let held = limits::HELD_BYTES_PER_LOG_MAX.min(limits::HELD_BYTES_MAX / here);
        assert_eq!(bare.shard.held_bytes_max(), held);
    }
}
