//! Tasks, timers and workers.

use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

#[tokio::test]
async fn a_task_goes_to_a_worker_and_its_output_ends_the_execution() {
    let world = World::new();
    let task = world.define(TASK).await;
    for (sequence, mode) in [(1, Mode::Express), (2, Mode::Standard)] {
        let shard = world.shard().await;
        let mut watcher = shard.watch().await;
        let mut worker = shard.worker(1, 10).await;
        shard.started(batch(sequence, task, mode, &[r#"{"n":1}"#])).await;
        let given = tasks(&mut worker, 1).await.remove(0);
        assert!(given.function.ends_with(":pay"));
        assert_eq!(given.input, r#"{"n":1}"#);
        world.clock.advance(TICK);
        shard.succeed(1, &given.token, r#"{"paid":true}"#).await;
        let outcome = outcomes(&mut watcher, 1).await.remove(0);
        assert_eq!(outcome.output.as_deref(), Some(br#"{"paid":true}"#.as_slice()), "{mode:?}");
    }
}

#[tokio::test]
async fn a_standard_task_leaves_only_after_its_cause_is_durable() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    world.store.hold_appends();
    shard.start(batch(1, task, Mode::Standard, &["1"])).await;
    shard.settled().await;
    assert!(worker.try_recv().is_err());
    world.store.release_appends();
    tasks(&mut worker, 1).await;
}

#[tokio::test]
async fn an_express_task_leaves_at_once() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    world.store.hold_appends();
    shard.start(batch(1, task, Mode::Express, &["1"])).await;
    tasks(&mut worker, 1).await;
}

#[tokio::test]
async fn a_second_outcome_for_the_same_task_changes_nothing() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, two, Mode::Express, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &pay.token, r#""first""#).await;
    shard.succeed(1, &pay.token, r#""second""#).await;
    let ship = tasks(&mut worker, 1).await.remove(0);
    assert_eq!(ship.input, r#""first""#);
    world.clock.advance(TICK);
    shard.succeed(1, &ship.token, "3").await;
    shard.succeed(1, &pay.token, r#""late""#).await;
    assert_eq!(outcomes(&mut watcher, 1).await[0].output.as_deref(), Some(b"3".as_slice()));
}

#[tokio::test]
async fn a_task_without_a_worker_waits_and_times_out() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, task, Mode::Express, &["1"])).await;
    world.clock.advance(Duration::from_secs(30));
    let outcome = outcomes(&mut watcher, 1).await.remove(0);
    assert_eq!(outcome.error.as_deref(), Some("States.Timeout"));
}

#[tokio::test]
async fn a_task_whose_function_no_pool_serves_fails_with_what_to_do() {
    const ELSEWHERE: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task",
        "Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"pay"},"End":true}}}"#;
    let world = World::new();
    let elsewhere = world.define(ELSEWHERE).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, elsewhere, Mode::Standard, &["1"])).await;
    world.clock.advance(TICK);
    let outcome = outcomes(&mut watcher, 1).await.remove(0);
    assert_eq!(outcome.error.as_deref(), Some("Lambda.ResourceNotFoundException"));
    assert!(outcome.cause.expect("a cause").contains("--bind"));
}

#[tokio::test]
async fn a_task_whose_worker_answers_no_json_fails() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, task, Mode::Express, &["1"])).await;
    let given = tasks(&mut worker, 1).await.remove(0);
    world.clock.advance(TICK);
    shard.succeed(1, &given.token, "{").await;
    let outcome = outcomes(&mut watcher, 1).await.remove(0);
    assert_eq!(
        (outcome.status(), outcome.error.as_deref()),
        (ExecutionStatus::Failed, Some("Lambda.Unknown"))
    );
}

#[tokio::test]
async fn the_task_of_a_worker_that_leaves_is_done_by_another() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut first = shard.worker(1, 10).await;
    shard.started(batch(1, task, Mode::Express, &["1"])).await;
    tasks(&mut first, 1).await;
    let mut second = shard.worker(2, 10).await;
    shard.send(Command::WorkerDetached { worker: 1 }).await;
    let given = tasks(&mut second, 1).await.remove(0);
    world.clock.advance(TICK);
    shard.succeed(2, &given.token, "2").await;
    assert_eq!(outcomes(&mut watcher, 1).await[0].output.as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn a_thousand_waits_end_when_their_time_has_come_and_not_before() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    for sequence in 0..4 {
        shard.started(batch(sequence, wait, Mode::Express, &["1"; 250])).await;
    }
    world.clock.advance(Duration::from_secs(59));
    shard.settled().await;
    assert!(watcher.try_recv().is_err());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(outcomes(&mut watcher, 1_000).await.len(), 1_000);
}

#[tokio::test]
async fn an_execution_whose_journal_is_in_too_many_blocks_ends_and_can_be_read() {
    let asks = r#"{"StartAt":"A","States":{
        "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","Next":"B"},
        "B":{"Type":"Choice","Default":"A","Choices":[{"Variable":"$","IsNull":true,"Next":"C"}]},
        "C":{"Type":"Succeed"}}}"#;
    let world = World::new();
    let asks = world.define(asks).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, u32::MAX).await;
    shard.started(batch(1, asks, Mode::Standard, &["1"])).await;
    let ended = loop {
        let told = tokio::select! {
            task = tasks(&mut worker, 1) => Err(task),
            outcome = outcomes(&mut watcher, 1) => Ok(outcome),
        };
        match told {
            Ok(mut outcome) => break outcome.remove(0),
            Err(task) => {
                shard.clock.advance(TICK);
                shard.succeed(1, &task[0].token, "1").await;
            }
        }
    };
    assert_eq!(ended.error.as_deref(), Some("States.Runtime"));
    assert!(ended.cause.is_some_and(|cause| cause.contains("blocks of the journal")));
    let form = v1::HistoryForm::Unspecified;
    let history = shard
        .ask(|reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply })
        .await
        .map(|page| page.events);
    let history = history.expect("a history");
    let tasks = history.iter().filter(|event| event.r#type == "LambdaFunctionSucceeded").count();
    assert!((60..=64).contains(&tasks), "{tasks}");
    assert_eq!(history.last().map(|event| &*event.r#type), Some("ExecutionFailed"));
}

#[tokio::test]
async fn what_is_written_where_there_is_little_waits_for_a_tick_only_where_an_execution_is_in_many_blocks() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    shard.started(batch(1, two, Mode::Standard, &["1"])).await;
    for _ in 0..limits::PACED_BLOCKS {
        let task = tasks(&mut worker, 1).await.remove(0);
        shard.succeed(1, &task.token, "1").await;
    }
    for _ in 0..8 {
        shard.settled().await;
    }
    assert!(watcher.try_recv().is_err(), "the clock stands still");
    world.clock.advance(TICK);
    assert_eq!(outcomes(&mut watcher, 1).await[0].status(), ExecutionStatus::Succeeded);
}
