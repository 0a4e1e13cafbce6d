//! Shards take partitions and give them back while they run, and notice when another one has taken them.

use proto::executor::v1::owned_partition::State;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

/// Waits until the shard has this, as it reports it.
async fn until_owned(shard: &TestShard, wanted: &[(u32, State)]) {
    let reported = async {
        loop {
            let owned = shard.ask(|reply| Command::Report { reply }).await.expect("a report").owned;
            let owned: Vec<_> = owned.iter().map(|owned| (owned.partition, owned.state())).collect();
            if owned == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("a report of what the shard has", reported).await;
    // The gauges are set after the round that has answered.
    shard.settled().await;
}

async fn assign(shard: &TestShard, partitions: &[u32]) {
    let partitions = partitions.iter().map(|number| PartitionId::new(*number).expect("in range")).collect();
    shard.send(Command::Assign { partitions }).await;
}

async fn serve(shard: &TestShard) {
    assign(shard, &[0]).await;
    until_owned(shard, &[(0, State::Serving)]).await;
}

async fn release(shard: &TestShard) {
    assign(shard, &[]).await;
    until_owned(shard, &[]).await;
}

async fn status(shard: &TestShard, execution: ExecutionName) -> Result<ExecutionStatus, Error> {
    let described = shard.ask(|reply| Command::Describe { execution, reply }).await?;
    Ok(described.summary.expect("a summary").status())
}

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
async fn what_is_open_goes_on_with_the_next_owner_and_ends_once_wherever_the_partition_goes() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let (first, second) = (world.managed(), world.managed());
    let (mut here, mut there) = (first.watch().await, second.watch().await);
    serve(&first).await;
    first.started(batch(1, wait, Mode::Standard, &["1", "2"])).await;
    first.started(batch(2, wait, Mode::Express, &["1", "2"])).await;
    release(&first).await;
    serve(&second).await;
    release(&second).await;
    serve(&first).await;
    release(&first).await;
    assert_eq!((first.metrics.open.get(), first.metrics.timers.get()), (0, 0));
    serve(&second).await;
    assert_eq!(second.metrics.recovered.get(), 8);
    world.clock.advance(Duration::from_secs(60));
    let outcomes = outcomes(&mut there, 4).await;
    assert!(outcomes.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded));
    release(&second).await;
    serve(&first).await;
    assert_eq!(first.metrics.recovered.get(), 4, "nothing is open that had ended");
    assert!(here.try_recv().is_err(), "an execution has ended twice");
}

#[tokio::test]
async fn a_batch_that_is_sent_again_to_the_next_owner_is_recognised() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    let sent = batch(1, pass, Mode::Express, &["1", "2"]);
    first.started(sent.clone()).await;
    release(&first).await;
    serve(&second).await;
    assert_eq!(second.started(sent).await[0], Answer { from: 0, to: 2, ..Default::default() });
    assert_eq!((second.metrics.duplicates.get(), second.metrics.steps.get()), (2, 0));
    let other = second.started(batch(1, pass, Mode::Express, &["1", "3"])).await.remove(0);
    assert_eq!(other.reason(), Some(Reason::Conflict));
}

#[tokio::test]
async fn a_name_goes_with_its_partition() {
    let world = World::new();
    let task = world.define(TASK).await;
    let (first, second) = (world.managed(), world.managed());
    let named = |sequence| v1::StartBatch {
        name: vec!["monday".to_owned()],
        ..batch(sequence, task, Mode::Standard, &["1"])
    };
    serve(&first).await;
    first.started(named(1)).await;
    release(&first).await;
    serve(&second).await;
    let running = second.started(named(2)).await.remove(0).running.expect("it runs already");
    assert_eq!(running.batch, Some(batch_id(1).into()));
    let mut worker = second.worker(1, 1).await;
    let token = tasks(&mut worker, 1).await.remove(0).token;
    let mut watcher = second.watch().await;
    world.clock.advance(TICK);
    second.succeed(1, &token, "2").await;
    outcomes(&mut watcher, 1).await;
    release(&second).await;
    serve(&first).await;
    let taken = first.started(named(3)).await.remove(0).refusal.expect("the name is taken");
    assert_eq!(taken.code, "ExecutionAlreadyExists", "{}", taken.message);
}

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
async fn a_partition_that_was_lost_is_taken_back_only_when_it_is_assigned_after_a_while() {
    let world = World::new();
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    serve(&second).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&first, &[]).await;
    // As by a directive that was on its way when the partition was lost.
    assign(&first, &[0]).await;
    first.settled().await;
    until_owned(&first, &[]).await;
    world.clock.advance(limits::LEASE);
    first.settled().await;
    until_owned(&first, &[]).await;
    serve(&first).await;
    world.clock.advance(Duration::from_secs(1));
    until_owned(&second, &[]).await;
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

#[tokio::test]
async fn while_a_log_is_read_what_is_found_is_told_and_what_is_not_found_is_not_said_to_be_absent() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    first.started(batch(1, pass, Mode::Express, &["1"])).await;
    release(&first).await;
    assign(&second, &[]).await;
    second.until(ShardState::Serving).await;
    // The first attempt fails; the next one waits for the clock.
    world.store.set_unavailable(Some("loading"));
    assign(&second, &[0]).await;
    until_owned(&second, &[(0, State::Recovering)]).await;
    soon("the first attempt", async {
        while !matches!(status(&second, execution(1, 0)).await, Err(Error::Store(_))) {}
    })
    .await;
    second.settled().await;
    world.store.set_unavailable(None);
    assert_eq!(status(&second, execution(1, 0)).await.expect("found"), ExecutionStatus::Succeeded);
    for unsettled in [
        status(&second, execution(7, 0)).await.map(drop),
        second
            .ask(|reply| Command::Stop {
                execution: execution(7, 0),
                error: String::new(),
                cause: String::new(),
                reply,
            })
            .await
            .map(drop),
        second.ask(|reply| Command::List { request: Default::default(), reply }).await.map(drop),
    ] {
        assert!(matches!(unsettled, Err(Error::Recovering { partition: 0, .. })), "{unsettled:?}");
    }
    let refused = second.started(batch(2, pass, Mode::Express, &["1"])).await.remove(0);
    assert_eq!(refused.refusal.expect("refused").code, "Recovering");
    world.clock.advance(Duration::from_secs(1));
    until_owned(&second, &[(0, State::Serving)]).await;
    assert!(matches!(status(&second, execution(7, 0)).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn an_owner_that_has_not_heard_of_its_store_for_the_lease_neither_answers_nor_hands_out_tasks() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    shard.started(batch(1, task, Mode::Express, &["1"])).await;
    world.store.hold_appends();
    let mut answers = shard.start(batch(2, task, Mode::Express, &["2"])).await;
    assert_eq!(status(&shard, execution(2, 0)).await.expect("in memory"), ExecutionStatus::Running);
    world.store.set_unavailable(Some("cut off"));
    world.clock.advance(limits::LEASE + Duration::from_millis(1));
    let unknown = status(&shard, execution(2, 0)).await;
    assert!(matches!(unknown, Err(Error::Store(_))), "{unknown:?}");
    let mut worker = shard.worker(1, 10).await;
    shard.settled().await;
    assert!(worker.try_recv().is_err(), "a task has left");
    world.store.set_unavailable(None);
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(
        tasks(&mut worker, 2).await.iter().map(|task| &task.input[..]).collect::<Vec<_>>(),
        [b"1", b"2"]
    );
    assert_eq!(status(&shard, execution(2, 0)).await.expect("confirmed"), ExecutionStatus::Running);
}

#[tokio::test]
async fn a_zombie_answers_no_question_from_memory_and_hands_out_no_task() {
    let world = World::new();
    let task = world.define(TASK).await;
    let (zombie, second) = (world.managed(), world.managed());
    serve(&zombie).await;
    world.store.hold_appends();
    // Its append is on its way for longer than the lease, so that nothing else tells it.
    let mut answers = zombie.start(batch(1, task, Mode::Express, &["1"])).await;
    zombie.settled().await;
    serve(&second).await;
    world.clock.advance(limits::LEASE + Duration::from_millis(1));
    assert!(matches!(status(&zombie, execution(1, 0)).await, Err(Error::NotOwner { partition: 0 })));
    let mut worker = zombie.worker(1, 10).await;
    zombie.settled().await;
    assert!(worker.try_recv().is_err(), "a task has left");
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.reason(), Some(Reason::NotOwner));
    until_owned(&zombie, &[]).await;
}
