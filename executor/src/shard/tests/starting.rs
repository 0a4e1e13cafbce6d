//! Batches of starts: acknowledged, refused, sent again.

use journal::memory::Fault;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

#[tokio::test]
async fn a_batch_is_acknowledged_as_one_range_and_its_outcomes_are_told() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let answers = shard.started(batch(1, pass, Mode::Express, &[r#"{"a":1}"#, "2", "[3]"])).await;
    assert_eq!(answers, [Answer { from: 0, to: 3, ..Default::default() }]);
    let outcomes = outcomes(&mut watcher, 3).await;
    let outputs: Vec<_> = outcomes.iter().map(|outcome| outcome.output.clone().expect("an output")).collect();
    assert_eq!(outputs, [r#"{"a":1}"#, "2", "[3]"]);
    assert!(outcomes.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded));
    assert_eq!(world.store.block_count(partition()), 1, "opened and closed in one block");
}

#[tokio::test]
async fn a_failed_execution_is_told_with_its_error_and_cause() {
    let world = World::new();
    let fail = world.define(FAIL).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, fail, Mode::Standard, &["{}"])).await;
    let outcome = outcomes(&mut watcher, 1).await.remove(0);
    assert_eq!(outcome.status(), ExecutionStatus::Failed);
    assert_eq!((outcome.error.as_deref(), outcome.cause.as_deref()), (Some("E"), Some("C")));
}

#[tokio::test]
async fn a_bad_input_is_refused_alone() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let bad = batch(1, pass, Mode::Express, &["{}", "{", "1e999", "3"]);
    let answers = shard.started(bad.clone()).await;
    let ranges: Vec<_> = answers.iter().map(|answer| (answer.from, answer.to, answer.reason())).collect();
    let invalid = Some(Reason::Invalid);
    assert_eq!(ranges, [(0, 1, None), (1, 2, invalid), (2, 3, invalid), (3, 4, None)]);
    let refusal = answers[1].refusal.as_ref().expect("refused");
    assert_eq!(refusal.code, "InvalidExecutionInput");
    assert_eq!(shard.started(bad).await, answers, "a resend is answered alike");
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_store_has_confirmed() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    world.store.hold_appends();
    let mut answers = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    let mut watcher = shard.watch().await;
    for _ in 0..3 {
        shard.settled().await;
    }
    assert!(answers.try_recv().is_err() && watcher.try_recv().is_err());
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
}

#[tokio::test]
async fn a_batch_sent_again_is_acknowledged_and_not_run_again() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let first = shard.started(batch(1, pass, Mode::Express, &["1", "2"])).await;
    let again = shard.started(batch(1, pass, Mode::Express, &["1", "2"])).await;
    assert_eq!(first, again);
    assert_eq!(world.store.block_count(partition()), 1);
    assert_eq!(shard.metrics.duplicates.get(), 2, "starts are counted, not batches");
}

#[tokio::test]
async fn a_batch_sent_again_while_it_is_in_flight_is_acknowledged_when_it_is_durable() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    world.store.hold_appends();
    let mut first = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    let mut again = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    shard.settled().await;
    assert!(first.try_recv().is_err() && again.try_recv().is_err());
    world.store.release_appends();
    assert_eq!(next(&mut first).await.refusal, None);
    assert_eq!(next(&mut again).await.refusal, None);
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict_and_never_an_acknowledgement() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Express, &["1"])).await;
    let other = shard.started(batch(1, pass, Mode::Express, &["2"])).await;
    assert_eq!(other[0].reason(), Some(Reason::Conflict));
}

#[tokio::test]
async fn a_batch_older_than_ids_are_remembered_is_expired() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let old = v1::StartBatch { start_time_ms: START_MS - 121_000, ..batch(1, pass, Mode::Express, &["1"]) };
    assert_eq!(shard.started(old).await[0].reason(), Some(Reason::Expired));
}

#[tokio::test]
async fn an_unknown_definition_is_asked_for_by_its_hash() {
    let world = World::new();
    let shard = world.shard().await;
    let answers = shard.started(batch(1, [9; 32], Mode::Express, &["1", "2"])).await;
    let refusal = answers[0].refusal.as_ref().expect("refused");
    assert_eq!((answers[0].from, answers[0].to, refusal.reason()), (0, 2, Reason::DefinitionMissing));
    assert_eq!(refusal.missing_definitions, [vec![9; 32]]);
}

#[tokio::test]
async fn a_definition_that_only_the_store_has_is_read_from_it() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let world = World { definitions: Arc::default(), ..world };
    let shard = world.shard().await;
    assert_eq!(shard.started(batch(1, pass, Mode::Express, &["1"])).await[0].refusal, None);
}

#[tokio::test]
async fn a_partition_of_another_shard_is_refused() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let mut elsewhere = batch(1, pass, Mode::Express, &["1"]);
    elsewhere.id = Some(v1::BatchId { partition: 5, incarnation: 1, sequence: 1 });
    assert_eq!(shard.started(elsewhere).await[0].reason(), Some(Reason::NotOwner));
}

#[tokio::test]
async fn too_many_open_executions_are_shed_with_a_delay_and_room_is_made_by_their_end() {
    let world = World { open_max: 2, ..World::new() };
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    assert_eq!(shard.started(batch(1, wait, Mode::Express, &["1", "2"])).await[0].refusal, None);
    let shed = shard.started(batch(2, wait, Mode::Express, &["3"])).await.remove(0).refusal.expect("shed");
    assert_eq!(shed.reason(), Reason::Overloaded);
    assert!(shed.retry_after_ms >= 50 && shed.message.contains('2'), "{shed:?}");
    world.clock.advance(Duration::from_secs(60));
    outcomes(&mut watcher, 2).await;
    let again = v1::StartBatch { start_time_ms: START_MS + 60_000, ..batch(2, wait, Mode::Express, &["3"]) };
    assert_eq!(shard.started(again).await[0].refusal, None);
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_the_batch_is_acknowledged_once() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    world.store.fail_next(Fault::LoseReply);
    let mut answers = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    shard.until(ShardState::StoreDown).await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(next(&mut answers).await.refusal, None);
    shard.until(ShardState::Serving).await;
    assert_eq!(world.store.block_count(partition()), 1);
    shard.settled().await;
    assert!(answers.try_recv().is_err());
}

#[tokio::test]
async fn while_the_store_is_down_starts_are_refused_and_then_all_goes_on() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    world.store.set_unavailable(Some("disk full"));
    let mut first = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    shard.until(ShardState::StoreDown).await;
    let refused = shard.started(batch(2, pass, Mode::Express, &["2"])).await.remove(0);
    assert_eq!(refused.reason(), Some(Reason::StoreUnavailable));
    assert!(first.try_recv().is_err());
    world.store.set_unavailable(None);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(next(&mut first).await.refusal, None);
    shard.until(ShardState::Serving).await;
    assert_eq!(shard.started(batch(2, pass, Mode::Express, &["2"])).await[0].refusal, None);
}
