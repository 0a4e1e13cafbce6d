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
