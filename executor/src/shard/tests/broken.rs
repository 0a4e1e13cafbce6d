//! The store loses a part of what a STANDARD execution was told: what was done is not done again in silence.

use journal::BlockId;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

/// An execution whose first task is done and journalled in block 1-2, and longer ago than anything is held.
async fn one_task_done(world: &World, shard: &TestShard, worker: &mut mpsc::Receiver<v1::TaskBatch>) {
    let two = world.define(TWO_TASKS).await;
    assert_eq!(shard.started(batch(1, two, Mode::Standard, &["1"])).await[0].refusal, None);
    let pay = tasks(worker, 1).await.remove(0);
    assert!(pay.function.ends_with("pay"));
    shard.succeed(1, &pay.token, "2").await;
    let ship = ticking(shard, tasks(worker, 1)).await.remove(0);
    assert!(ship.function.ends_with("ship"));
}

/// A block of its own, which pushes out what is held no longer.
async fn one_more_block(world: &World, shard: &TestShard, sequence: u64) {
    let pass = world.define(PASS).await;
    let start_time_ms = Clock::Manual(world.clock.clone()).now_ms();
    let batch = v1::StartBatch { start_time_ms, ..batch(sequence, pass, Mode::Express, &["1"]) };
    loop {
        let mut answers = shard.start(batch.clone()).await;
        if ticking(shard, next(&mut answers)).await.refusal.is_none() {
            return;
        }
    }
}

async fn described(shard: &TestShard) -> v1::DescribeExecutionResponse {
    let described = shard.ask(|reply| Command::Describe { execution: execution(1, 0), reply }).await;
    described.expect("it is known")
}

#[tokio::test]
async fn an_execution_whose_journal_the_store_has_lost_ends_as_failed_and_does_no_task_again() {
    let world = World::new();
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    one_task_done(&world, &shard, &mut worker).await;
    world.clock.advance(limits::HELD_TIME);
    one_more_block(&world, &shard, 2).await;
    world.store.go_back(partition(), BlockId { generation: 1, sequence: 1 });
    one_more_block(&world, &shard, 3).await;
    assert_eq!(shard.metrics.blocks_lost.get(), 1, "the one with the outcome");
    let history = |shard: &TestShard| {
        let (execution, form) = (execution(1, 0), v1::HistoryForm::Unspecified);
        let (reply, answer) = oneshot::channel();
        let sender = shard.handle.sender.clone();
        async move {
            let _ = sender.send(Command::History { execution, form, cut: WHOLE, reply }).await;
            answer.await.expect("answered")
        }
    };
    let history_before = history(&shard).await;
    assert!(
        matches!(history_before, Err(Error::Conflict { code: "HistoryNotKept", .. })),
        "{history_before:?}"
    );
    drop((shard, worker));

    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    assert_eq!(shard.metrics.broken.get(), 1);
    let ended = async {
        while described(&shard).await.summary.expect("a summary").status() == ExecutionStatus::Running {}
    };
    ticking(&shard, ended).await;
    let found = described(&shard).await;
    assert_eq!(found.error.as_deref(), Some("States.Runtime"));
    assert!(found.cause.is_some_and(|cause| cause.contains("lost a part")));
    assert!(worker.try_recv().is_err(), "no task is done again");
    let redriven =
        shard.ask(|reply| Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply }).await;
    assert!(matches!(redriven, Err(Error::Conflict { code: "ExecutionNotRedrivable", .. })), "{redriven:?}");
    assert!(matches!(history(&shard).await, Err(Error::Conflict { code: "HistoryNotKept", .. })));
    drop(shard);
    let shard = world.shard().await;
    assert_eq!((shard.metrics.broken.get(), shard.metrics.recovered.get()), (0, 0), "that was its end");
}

#[tokio::test]
async fn an_execution_whose_opening_alone_was_lost_is_written_again_and_goes_on_after_a_crash() {
    let world = World::new();
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    let two = world.define(TWO_TASKS).await;
    assert_eq!(shard.started(batch(1, two, Mode::Standard, &["1"])).await[0].refusal, None);
    let pay = tasks(&mut worker, 1).await.remove(0);
    // More than that: the next block may be confirmed before the clock goes on.
    world.clock.advance(limits::HELD_TIME + TICK);
    shard.settled().await;
    shard.succeed(1, &pay.token, "2").await;
    ticking(&shard, tasks(&mut worker, 1)).await;
    world.store.go_back(partition(), BlockId { generation: 1, sequence: 0 });
    one_more_block(&world, &shard, 2).await;
    assert_eq!((shard.metrics.blocks_lost.get(), shard.metrics.blocks_resent.get()), (1, 1));
    drop((shard, worker));

    let shard = world.shard().await;
    assert_eq!((shard.metrics.broken.get(), shard.metrics.recovered.get()), (0, 1));
    let mut worker = shard.worker(1, 10).await;
    let ship = tasks(&mut worker, 1).await.remove(0);
    assert!(ship.function.ends_with("ship"), "what is done is not done again: {}", ship.function);
    let mut watcher = shard.watch().await;
    shard.succeed(1, &ship.token, "3").await;
    let told = ticking(&shard, outcomes(&mut watcher, 1)).await;
    assert_eq!(told[0].status(), ExecutionStatus::Succeeded);
}
