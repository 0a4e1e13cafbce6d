//! What an answer about a redriven execution is worth while its log is read, and redrives beside each other.

use std::future::poll_fn;
use std::task::{Context, Poll};

use proto::executor::v1::{ExecutionStatus, Mode};

use super::super::simulation::{Flight, Landed, SimulatedShard};
use super::redriving::fail;
use super::*;

async fn status(shard: &TestShard, sequence: u64) -> Result<ExecutionStatus, Error> {
    let execution = execution(sequence, 0);
    let described = shard.ask(|reply| Command::Describe { execution, reply }).await?;
    Ok(described.summary.expect("a summary").status())
}

async fn assign(shard: &TestShard, numbers: &[u32]) {
    let partitions = numbers.iter().map(|number| PartitionId::new(*number).expect("in range")).collect();
    shard.send(Command::Assign { partitions }).await;
}

#[tokio::test]
async fn while_a_log_is_read_an_end_without_success_is_not_told_for_a_redrive_may_have_followed() {
    let world = World::new();
    let (task, pass, failing) =
        (world.define(TASK).await, world.define(PASS).await, world.define(FAIL).await);
    let first = world.shard().await;
    first.started(batch(2, pass, Mode::Standard, &["1"])).await;
    first.started(batch(3, failing, Mode::Express, &["1"])).await;
    let (mut worker, mut watcher) = (first.worker(1, 8).await, first.watch().await);
    first.started(batch(1, task, Mode::Standard, &["1"])).await;
    fail(&first, &tasks(&mut worker, 1).await[0].token).await;
    world.clock.advance(TICK);
    outcomes(&mut watcher, 1).await;
    world.clock.advance(TICK);
    first
        .ask(|reply| Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply })
        .await
        .expect("redriven");
    drop(first);
    let second = world.managed();
    assign(&second, &[]).await;
    second.until(ShardState::Serving).await;
    // The first attempt fails; the next one waits for the clock.
    world.store.set_unavailable(Some("loading"));
    assign(&second, &[0]).await;
    soon("the first attempt", async { while !matches!(status(&second, 1).await, Err(Error::Store(_))) {} })
        .await;
    second.settled().await;
    world.store.set_unavailable(None);
    let stop = |reply| Command::Stop {
        execution: execution(1, 0),
        error: String::new(),
        cause: String::new(),
        reply,
    };
    let (awaited, form) = (execution(1, 0), v1::HistoryForm::Unspecified);
    for unsettled in [
        status(&second, 1).await.map(drop),
        second.ask(stop).await.map(drop),
        second.ask(|reply| Command::Await { execution: awaited, reply }).await.map(drop),
        second
            .ask(|reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply })
            .await
            .map(drop),
    ] {
        assert!(matches!(unsettled, Err(Error::Recovering { partition: 0, .. })), "{unsettled:?}");
    }
    assert_eq!(status(&second, 2).await.expect("for good"), ExecutionStatus::Succeeded);
    assert_eq!(status(&second, 3).await.expect("for good"), ExecutionStatus::Failed);
    world.clock.advance(Duration::from_secs(1));
    soon("an owner", async { while status(&second, 1).await.is_err() {} }).await;
    assert_eq!(status(&second, 1).await.expect("it is read"), ExecutionStatus::Running);
}

/// A shard that is driven by hand: what the store answers comes when the test wants it.
struct ByHand {
    shard: SimulatedShard,
    flights: Vec<Flight>,
}

impl ByHand {
    fn wake(&mut self, commands: Vec<Command>, landed: Vec<Landed>) {
        let flights = self.shard.wake(commands, landed);
        self.flights.extend(flights);
    }

    /// Everything that lands now.
    async fn land(&mut self) -> Vec<Landed> {
        // Flights that wait for the clock stay.
        poll_fn(|cx: &mut Context<'_>| {
            let mut landed = Vec::new();
            self.flights.retain_mut(|flight| match flight.poll(cx) {
                Poll::Ready(one) => {
                    landed.push(one);
                    false
                }
                Poll::Pending => true,
            });
            Poll::Ready(landed)
        })
        .await
    }

    /// Goes on until nothing lands any more.
    async fn settle(&mut self, world: &World) {
        for _ in 0..20 {
            world.clock.advance(TICK);
            let landed = self.land().await;
            self.wake(Vec::new(), landed);
        }
    }
}

#[tokio::test]
async fn a_redrive_that_its_batch_overtakes_leaves_the_others_of_the_batch_where_they_are() {
    let world = World::new();
    let task = world.define(TASK).await;
    let (config, context) = world.parts(Some(vec![partition()]));
    let mut hand = ByHand { shard: SimulatedShard::new(config, context), flights: Vec::new() };
    hand.settle(&world).await;
    let (tasks, mut given) = mpsc::channel(64);
    let hello = v1::WorkerHello { pool: "workers".to_owned(), worker: "one".to_owned() };
    let credit = v1::WorkerMessage { credit: 8, ..Default::default() };
    let (acks, mut answers) = mpsc::channel(8);
    hand.wake(
        vec![
            Command::WorkerAttached { worker: 1, hello, tasks },
            Command::WorkerMessage { worker: 1, message: credit },
            Command::Start { batch: batch(1, task, Mode::Standard, &["0", "1"]), acks },
        ],
        Vec::new(),
    );
    hand.settle(&world).await;
    assert_eq!(next(&mut answers).await.refusal, None);
    let mut tokens: Vec<v1::Task> = Vec::new();
    while let Ok(batch) = given.try_recv() {
        tokens.extend(batch.tasks);
    }
    tokens.sort_by(|one, other| one.input.cmp(&other.input));
    let failure = v1::TaskFailure { error: "E".to_owned(), cause: String::new() };
    let failed = |token: &Bytes| {
        let outcome = Some(v1::task_outcome::Outcome::Failure(failure.clone()));
        let outcomes = vec![v1::TaskOutcome { token: token.clone(), outcome }];
        Command::WorkerMessage { worker: 1, message: v1::WorkerMessage { outcomes, ..Default::default() } }
    };
    hand.wake(vec![failed(&tokens[0].token)], Vec::new());
    hand.settle(&world).await;
    // The first is read to be redriven; meanwhile the other one ends, durably, and with it the batch.
    let (reply, redriven) = oneshot::channel();
    hand.wake(vec![Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply }], Vec::new());
    let revived = hand.land().await;
    hand.wake(vec![failed(&tokens[1].token)], Vec::new());
    hand.settle(&world).await;
    hand.wake(Vec::new(), revived);
    hand.settle(&world).await;
    redriven.await.expect("answered").expect("redriven");
    for (index, expected) in [(0, ExecutionStatus::Running), (1, ExecutionStatus::Failed)] {
        let (reply, mut described) = oneshot::channel();
        hand.wake(vec![Command::Describe { execution: execution(1, index), reply }], Vec::new());
        hand.settle(&world).await;
        let described = described.try_recv().expect("answered").expect("it is known");
        assert_eq!(described.summary.expect("a summary").status(), expected, "{index}");
    }
}

#[tokio::test]
async fn nothing_is_redriven_before_what_an_earlier_owner_may_have_lost_is_written_again() {
    let world = World::new();
    let failing = world.define(FAIL).await;
    world.store.lose_derived(true);
    world.shard().await.started(batch(1, failing, Mode::Standard, &["1"])).await;
    world.store.lose_derived(false);
    world.store.hold_appends();
    let shard = world.shard().await;
    let redrive = |reply| Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply };
    let refused = shard.ask(redrive).await;
    assert!(matches!(refused, Err(Error::NotDurable { .. })), "{refused:?}");
    world.store.release_appends();
    let redriven = async {
        while shard.ask(redrive).await.is_err() {
            world.clock.advance(TICK);
        }
    };
    ticking(&shard, redriven).await;
    assert_eq!(status(&shard, 1).await.expect("it has ended again"), ExecutionStatus::Failed);
}

#[tokio::test]
async fn while_a_redrive_waits_for_its_block_nobody_is_told_that_there_is_no_such_execution() {
    let world = World::new();
    let (task, pass) = (world.define(TASK).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 8).await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    let mut watcher = shard.watch().await;
    fail(&shard, &tasks(&mut worker, 1).await[0].token).await;
    world.clock.advance(TICK);
    outcomes(&mut watcher, 1).await;
    // A block is on its way: what comes waits for the next one.
    world.store.hold_appends();
    let mut answers = shard.start(batch(2, pass, Mode::Express, &["1"])).await;
    let (reply, mut redriven) = oneshot::channel();
    shard.send(Command::Redrive { execution: execution(1, 0), token: "a".into(), reply }).await;
    soon("a redrive", async {
        while shard.metrics.redriven.get() == 0 {
            shard.settled().await
        }
    })
    .await;
    let form = v1::HistoryForm::Unspecified;
    let again = shard.ask(|reply| Command::Redrive { execution: execution(1, 0), token: "a".into(), reply });
    let history = shard.ask(|reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply });
    for unsettled in [again.await.map(drop), history.await.map(drop)] {
        assert!(matches!(unsettled, Err(Error::Shed { .. })), "{unsettled:?}");
    }
    assert_eq!(status(&shard, 1).await.expect("it is there"), ExecutionStatus::Running);
    assert!(redriven.try_recv().is_err(), "it is not durable yet");
    world.store.release_appends();
    assert_eq!(next(&mut answers).await.refusal, None);
    let at_ms = ticking(&shard, redriven).await.expect("answered").expect("redriven");
    let again = shard.ask(|reply| Command::Redrive { execution: execution(1, 0), token: "a".into(), reply });
    assert_eq!(again.await.expect("the same"), at_ms);
}
