//! Shards take partitions and give them back while they run, and notice when another one has taken them.

use std::sync::atomic::{AtomicBool, Ordering};

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

async fn list(shard: &TestShard) -> Result<v1::ListExecutionsResponse, Error> {
    let request = v1::ListExecutionsRequest { machine_arn: MACHINE.to_owned(), ..Default::default() };
    shard.ask(|reply| Command::List { request, reply }).await
}

/// The shard has partition 0, and the store finds everything by name again.
async fn serve(shard: &TestShard) {
    assign(shard, &[0]).await;
    until_owned(shard, &[(0, State::Serving)]).await;
    soon("an index", async { while list(shard).await.is_err() {} }).await;
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
async fn a_name_that_an_earlier_owner_gave_is_not_given_again_before_the_store_knows_it_for_certain() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let (first, second) = (world.managed(), world.managed());
    let named = |sequence| v1::StartBatch {
        name: vec!["monday".to_owned()],
        ..batch(sequence, pass, Mode::Standard, &["1"])
    };
    serve(&first).await;
    // What travels beside the last block of an owner may not arrive.
    world.store.lose_derived(true);
    first.started(named(1)).await;
    release(&first).await;
    world.store.lose_derived(false);
    world.store.hold_appends();
    assign(&second, &[0]).await;
    until_owned(&second, &[(0, State::Serving)]).await;
    assert_eq!(second.started(named(2)).await[0].refusal.as_ref().expect("refused").code, "Recovering");
    let machine = ids::MachineName::parse(MACHINE).expect("an ARN").execution_segment().to_owned();
    let by_name = ExecutionName::Named { machine, name: "monday".to_owned() };
    let unsettled = status(&second, by_name.clone()).await;
    assert!(matches!(unsettled, Err(Error::Recovering { .. })), "{unsettled:?}");
    world.store.release_appends();
    soon("an index", async { while list(&second).await.is_err() {} }).await;
    let taken = second.started(named(3)).await.remove(0).refusal.expect("the name is taken");
    assert_eq!(taken.code, "ExecutionAlreadyExists", "{}", taken.message);
    assert_eq!(status(&second, by_name).await.expect("known"), ExecutionStatus::Succeeded);
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

#[tokio::test]
async fn many_executions_are_brought_back_in_slices_and_none_is_forgotten() {
    const BATCHES: u64 = 8;
    const MONTHS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":20000000,"End":true}}}"#;
    let world = World::new();
    let wait = world.define(MONTHS).await;
    let inputs = vec!["1"; 250];
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    for sequence in 1..=BATCHES {
        first.started(batch(sequence, wait, Mode::Standard, &inputs)).await;
    }
    release(&first).await;
    // The clock moves on while they come back, so that a slice is over long before all are back.
    let (done, clock) = (Arc::new(AtomicBool::new(false)), world.clock.clone());
    let ticking = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                clock.advance(Duration::from_micros(100));
                std::thread::yield_now();
            }
        }
    });
    serve(&second).await;
    done.store(true, Ordering::Relaxed);
    ticking.join().expect("it ends");
    second.settled().await;
    assert_eq!(second.metrics.recovered.get(), BATCHES * 250);
    assert_eq!(second.metrics.open.get(), BATCHES * 250);
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
        list(&second).await.map(drop),
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
