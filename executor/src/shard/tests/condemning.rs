//! What is open and may not be begun again is closed at recovery: executions that kill their nodes, and synchronous ones.

use proto::executor::v1::{ExecutionStatus, Mode};

use super::super::suspects;
use super::*;

async fn described(shard: &TestShard, execution: ExecutionName) -> v1::DescribeExecutionResponse {
    shard.ask(|reply| Command::Describe { execution, reply }).await.expect("it is there")
}

fn status(described: &v1::DescribeExecutionResponse) -> ExecutionStatus {
    described.summary.as_ref().expect("a summary").status()
}

async fn count_deaths(world: &World, index: u8, deaths: u32) {
    let store = world.store.connect().await.expect("a connection");
    for life in 1..=u64::from(deaths) {
        suspects::accuse(&*store, batch_id(1).execution(index), life, START_MS).await.expect("counted");
    }
}

async fn suspected(world: &World) -> usize {
    let store = world.store.connect().await.expect("a connection");
    suspects::of(&*store, partition()).await.expect("read").len()
}

/// Until what stands against whoever has ended is dropped.
async fn until_suspected(world: &World, shard: &TestShard, count: usize) {
    let dropped = async {
        while suspected(world).await != count {
            world.clock.advance(TICK);
            shard.settled().await;
        }
    };
    soon("a clean slate", dropped).await;
}

#[tokio::test]
async fn an_execution_that_killed_three_nodes_ends_as_failed_and_its_batch_goes_on() {
    for mode in [Mode::Standard, Mode::Express] {
        let world = World::new();
        let wait = world.define(WAIT).await;
        let shard = world.shard().await;
        let started = v1::StartBatch {
            name: vec!["a".into(), "b".into(), "c".into()],
            ..batch(1, wait, mode, &["1", "2", "3"])
        };
        shard.started(started).await;
        drop(shard);
        count_deaths(&world, 0, 1).await;
        count_deaths(&world, 1, limits::NODE_DEATHS_MAX).await;
        count_deaths(&world, 2, limits::NODE_DEATHS_MAX - 1).await;
        let mut shard = world.shard().await;
        until_suspected(&world, &shard, 2).await;
        for crash in [false, true] {
            if crash {
                drop(shard);
                shard = world.shard().await;
            }
            let failed = described(&shard, execution(1, 1)).await;
            assert_eq!(
                (status(&failed), failed.error.as_deref()),
                (ExecutionStatus::Failed, Some("States.Runtime"))
            );
            assert!(failed.cause.expect("a cause").contains("killed the node that stepped it 3 times"));
            for index in [0, 2] {
                assert_eq!(status(&described(&shard, execution(1, index)).await), ExecutionStatus::Running);
            }
            let form = v1::HistoryForm::Unspecified;
            let history = shard
                .ask(|reply| Command::History { execution: execution(1, 1), form, cut: WHOLE, reply })
                .await
                .map(|page| page.events);
            assert!(matches!(history, Err(Error::Conflict { code: "HistoryNotKept", .. })), "{history:?}");
        }
        let mut watcher = shard.watch().await;
        world.clock.advance(Duration::from_secs(60));
        shard.settled().await;
        world.clock.advance(TICK);
        let ended = outcomes(&mut watcher, 2).await;
        assert!(ended.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded), "{ended:?}");
        until_suspected(&world, &shard, 0).await;
    }
}

#[tokio::test]
async fn a_start_that_killed_three_nodes_before_it_was_acknowledged_is_refused_and_its_neighbours_are_not() {
    let world = World::new();
    let pass = world.define(PASS).await;
    count_deaths(&world, 1, limits::NODE_DEATHS_MAX).await;
    let shard = world.shard().await;
    let answers = shard.started(batch(1, pass, Mode::Standard, &["1", "2", "3"])).await;
    let refused: Vec<_> =
        answers.iter().map(|answer| answer.refusal.as_ref().map(|why| why.code.as_str())).collect();
    assert_eq!(refused, [None, Some("ExecutionPoisonous"), None]);
    drop(shard);
    // Its batch is forgotten by then, and what stands against it with it.
    world.clock.advance(2 * limits::BATCH_HORIZON + Duration::from_secs(1));
    let shard = world.shard().await;
    until_suspected(&world, &shard, 0).await;
}

#[tokio::test]
async fn a_synchronous_execution_is_not_begun_again_after_a_crash() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::SyncExpress, &["1"])).await;
    shard.started(batch(2, pass, Mode::SyncExpress, &["1"])).await;
    assert_eq!(status(&described(&shard, execution(1, 0)).await), ExecutionStatus::Running);
    drop(shard);
    let mut shard = world.shard().await;
    for crash in [false, true] {
        if crash {
            drop(shard);
            shard = world.shard().await;
        }
        let closed = async {
            while status(&described(&shard, execution(1, 0)).await) == ExecutionStatus::Running {
                world.clock.advance(TICK);
                shard.settled().await;
            }
        };
        soon("its end", closed).await;
        let failed = described(&shard, execution(1, 0)).await;
        assert_eq!(
            (status(&failed), failed.error.as_deref()),
            (ExecutionStatus::Failed, Some("States.Runtime"))
        );
        assert!(failed.cause.expect("a cause").contains("at most once"));
        assert_eq!(status(&described(&shard, execution(2, 0)).await), ExecutionStatus::Succeeded);
        let request = v1::ListExecutionsRequest {
            machine_arn: MACHINE.to_owned(),
            max_results: 9,
            status: ExecutionStatus::Failed.into(),
            ..Default::default()
        };
        let page = shard.ask(|reply| Command::List { request, reply }).await.expect("a page");
        assert_eq!(page.executions.len(), 1);
    }
}

#[tokio::test]
async fn who_waits_for_an_end_is_told_when_it_is_durable_or_at_once_if_it_is() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::SyncExpress, &["1"])).await;
    let (reply, mut answer) = oneshot::channel();
    shard.send(Command::Await { execution: execution(1, 0), reply }).await;
    // One that goes away is not missed.
    let (gone, _) = oneshot::channel();
    shard.send(Command::Await { execution: execution(1, 0), reply: gone }).await;
    shard.settled().await;
    assert!(answer.try_recv().is_err());
    world.clock.advance(Duration::from_secs(60));
    shard.settled().await;
    world.clock.advance(TICK);
    shard.settled().await;
    let first = soon("an answer", answer).await.expect("answered").expect("ended");
    let second =
        shard.ask(|reply| Command::Await { execution: execution(1, 0), reply }).await.expect("ended");
    assert_eq!(first, second);
}

/// Found by the simulator: a node died after the hand-out and before its start was durable, which was then begun again.
#[tokio::test]
async fn a_task_of_a_synchronous_execution_leaves_when_its_start_is_durable() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    for (sequence, mode) in [(1, Mode::Express), (2, Mode::SyncExpress)] {
        world.store.hold_appends();
        let mut answers = shard.start(batch(sequence, task, mode, &["1"])).await;
        world.clock.advance(TICK);
        if mode == Mode::Express {
            assert_eq!(tasks(&mut worker, 1).await.len(), 1);
        }
        // Tasks leave when a round is over: after the answer to what it was asked in it.
        shard.settled().await;
        shard.settled().await;
        assert!(worker.try_recv().is_err(), "{mode:?}");
        world.store.release_appends();
        assert_eq!(next(&mut answers).await.refusal, None);
    }
    assert_eq!(tasks(&mut worker, 1).await.len(), 1);
}

async fn assign(shard: &TestShard, partitions: Vec<PartitionId>) {
    shard.send(Command::Assign { partitions }).await;
    shard.settled().await;
}

/// The partition is given back, or the node drains, while two synchronous executions are open.
async fn gives_up(world: &World, shard: &TestShard, drains: bool) -> oneshot::Receiver<Result<(), Error>> {
    let (reply, done) = oneshot::channel();
    match drains {
        true => shard.send(Command::Drain { reply }).await,
        false => {
            assign(shard, Vec::new()).await;
            // Answered when the partition has another owner's turn.
            drop(reply);
        }
    }
    world.clock.advance(TICK);
    shard.settled().await;
    done
}

#[tokio::test]
async fn a_synchronous_execution_ends_before_its_partition_is_given_back_or_its_node_drains() {
    for drains in [false, true] {
        let world = World::new();
        let (wait, task) = (world.define(WAIT).await, world.define(TASK).await);
        let shard = world.managed();
        assign(&shard, vec![partition()]).await;
        shard.until(ShardState::Serving).await;
        let mut worker = shard.worker(1, 8).await;
        shard.started(batch(1, task, Mode::SyncExpress, &["1"])).await;
        shard.started(batch(2, wait, Mode::SyncExpress, &["1"])).await;
        shard.started(batch(3, wait, Mode::Standard, &["1"])).await;
        let ends = [1, 2].map(|sequence| {
            let (reply, end) = oneshot::channel();
            (Command::Await { execution: execution(sequence, 0), reply }, end)
        });
        let [(first, ended), (second, cut)] = ends;
        shard.send(first).await;
        shard.send(second).await;
        let done = gives_up(&world, &shard, drains).await;
        let refused = shard.started(batch(4, wait, Mode::SyncExpress, &["1"])).await.remove(0);
        assert!(matches!(refused.reason(), Some(Reason::NotOwner | Reason::Draining)), "{refused:?}");
        // It goes on, and so does its task.
        shard.succeed(1, &tasks(&mut worker, 1).await[0].token, "7").await;
        let ended = ticking(&shard, ended).await.expect("answered").expect("an end");
        assert_eq!(ended.output.as_deref(), Some(b"7".as_slice()));
        world.clock.advance(limits::SYNC_GRACE);
        let cut = ticking(&shard, cut).await.expect("answered").expect("an end");
        assert_eq!(cut.error.as_deref(), Some("States.Runtime"));
        let cause = cut.cause.expect("a cause");
        assert!(cause.contains("gave back") && cause.contains("at most once"), "{cause}");
        if drains {
            ticking(&shard, done).await.expect("answered").expect("drained");
        }
        drop(shard);
        let next = world.shard().await;
        assert_eq!(next.metrics.recovered.get(), 1, "the STANDARD one goes on");
        assert_eq!(status(&described(&next, execution(2, 0)).await), ExecutionStatus::Failed);
    }
}

#[tokio::test]
async fn a_partition_without_synchronous_executions_is_given_back_at_once() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.managed();
    assign(&shard, vec![partition()]).await;
    shard.until(ShardState::Serving).await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    assign(&shard, Vec::new()).await;
    let owned = shard.ask(|reply| Command::Report { reply }).await.expect("a report").owned;
    assert_eq!(owned, []);
}
