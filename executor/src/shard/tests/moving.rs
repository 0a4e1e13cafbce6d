//! What a partition has goes with it, and nothing of it is said to be absent on the way.

use std::sync::atomic::{AtomicBool, Ordering};

use proto::executor::v1::owned_partition::State;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::assigned::*;
use super::*;

async fn history(shard: &TestShard, execution: ExecutionName) -> Result<(), Error> {
    let form = v1::HistoryForm::StepFunctions;
    shard.ask(|reply| Command::History { execution, form, cut: WHOLE, reply }).await.map(drop)
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
    let (fail, wait) = (world.define(FAIL).await, world.define(WAIT).await);
    first.started(batch(1, pass, Mode::Express, &["1"])).await;
    first.started(batch(3, fail, Mode::Standard, &["1"])).await;
    first.started(batch(4, wait, Mode::Standard, &["1"])).await;
    // Beside it the pointer of the one before is written.
    first.started(batch(5, pass, Mode::Express, &["1"])).await;
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
        second.ask(|reply| Command::Await { execution: execution(7, 0), reply }).await.map(drop),
        second.ask(|reply| Command::Await { execution: execution(4, 0), reply }).await.map(drop),
        history(&second, execution(7, 0)).await,
        history(&second, execution(4, 0)).await,
        // It may have been redriven since.
        history(&second, execution(3, 0)).await,
        list(&second).await.map(drop),
    ] {
        assert!(matches!(unsettled, Err(Error::Recovering { partition: 0, .. })), "{unsettled:?}");
    }
    for sequence in [3, 4, 7] {
        let redriven = second
            .ask(|reply| Command::Redrive { execution: execution(sequence, 0), token: Bytes::new(), reply })
            .await;
        assert!(matches!(redriven, Err(Error::NotDurable { .. })), "{sequence}: {redriven:?}");
    }
    let refused = second.started(batch(2, pass, Mode::Express, &["1"])).await.remove(0);
    assert_eq!(refused.refusal.expect("refused").code, "Recovering");
    world.clock.advance(Duration::from_secs(1));
    until_owned(&second, &[(0, State::Serving)]).await;
    assert!(matches!(status(&second, execution(7, 0)).await, Err(Error::NotFound { .. })));
    history(&second, execution(4, 0)).await.expect("it goes on");
    history(&second, execution(3, 0)).await.expect("it has ended");
    let redrive =
        second.ask(|reply| Command::Redrive { execution: execution(3, 0), token: Bytes::new(), reply });
    ticking(&second, redrive).await.expect("redriven");
}

/// The outcomes that a worker gets back, until it has one.
async fn returned(worker: &mut mpsc::Receiver<v1::TaskBatch>) -> v1::TaskOutcome {
    loop {
        let mut batch = soon("an outcome", worker.recv()).await.expect("the shard sends");
        if let Some(v1::ReturnedOutcome { outcome: Some(outcome), partition: 0 }) = batch.returned.pop() {
            return outcome;
        }
    }
}

#[tokio::test]
async fn an_outcome_that_comes_after_its_partition_has_left_reaches_the_next_owner_and_its_task_is_done_once()
{
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    let mut old = first.worker(1, 10).await;
    first.started(batch(1, two, Mode::Standard, &["1"])).await;
    let pay = tasks(&mut old, 1).await.remove(0);
    release(&first).await;
    first.succeed(1, &pay.token, "2").await;
    let outcome = returned(&mut old).await;
    let send = |outcome: &v1::TaskOutcome| v1::WorkerMessage {
        outcomes: vec![outcome.clone()],
        ..Default::default()
    };
    // Whoever does not have the partition gives it back again.
    let mut new = second.worker(2, 0).await;
    second.say(2, send(&outcome)).await;
    let outcome = returned(&mut new).await;
    serve(&second).await;
    for _ in 0..2 {
        // The second time, nobody waits for it.
        second.say(2, send(&outcome)).await;
    }
    second.say(2, v1::WorkerMessage { credit: 10, ..Default::default() }).await;
    let next = ticking(&second, tasks(&mut new, 1)).await.remove(0);
    assert!(next.function.ends_with("ship") && next.input == "2", "the first task is done: {next:?}");
    let mut watcher = second.watch().await;
    second.succeed(2, &next.token, "3").await;
    let told = ticking(&second, outcomes(&mut watcher, 1)).await;
    assert_eq!(told[0].output.as_deref(), Some(b"3".as_slice()));
    assert_eq!((first.metrics.outcomes_returned.get(), second.metrics.outcomes_returned.get()), (1, 1));
    assert!(new.try_recv().is_err(), "no task is given out twice");
}

#[tokio::test]
async fn an_outcome_of_an_express_execution_that_began_again_elsewhere_is_not_taken_for_the_new_one() {
    let world = World::new();
    let task = world.define(TASK).await;
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    let mut old = first.worker(1, 10).await;
    first.started(batch(1, task, Mode::Express, &["1"])).await;
    let pay = tasks(&mut old, 1).await.remove(0);
    release(&first).await;
    first.succeed(1, &pay.token, "2").await;
    first.settled().await;
    first.settled().await;
    assert_eq!(first.metrics.outcomes_returned.get(), 0);
    serve(&second).await;
    let mut new = second.worker(2, 10).await;
    assert_eq!(tasks(&mut new, 1).await.len(), 1, "it began again");
}
