//! RedriveExecution: what ended without success goes on, is found as running, and comes to a new end; also over crashes.

use proto::executor::v1::{ExecutionStatus, Mode, RedriveStatus};

use super::*;

/// Two branches and a task behind them.
const BRANCHES: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","Next":"Z","ResultPath":"$.p","Branches":[
    {"StartAt":"A","States":{"A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}},
    {"StartAt":"B","States":{"B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","End":true}}}]},
  "Z":{"Type":"Pass","End":true}}}"#;

async fn redrive(world: &World, shard: &TestShard, execution: ExecutionName) -> Result<u64, Error> {
    world.clock.advance(TICK);
    shard.ask(|reply| Command::Redrive { execution, token: Bytes::new(), reply }).await
}

async fn described(shard: &TestShard, execution: ExecutionName) -> v1::DescribeExecutionResponse {
    shard.ask(|reply| Command::Describe { execution, reply }).await.expect("it is there")
}

fn status(described: &v1::DescribeExecutionResponse) -> ExecutionStatus {
    described.summary.as_ref().expect("a summary").status()
}

async fn listed(shard: &TestShard, status: ExecutionStatus) -> Vec<String> {
    let request = v1::ListExecutionsRequest {
        machine_arn: MACHINE.to_owned(),
        status: status.into(),
        max_results: 100,
        ..Default::default()
    };
    let page = shard.ask(|reply| Command::List { request, reply }).await.expect("a page");
    page.executions.into_iter().map(|execution| execution.execution_id).collect()
}

async fn types(shard: &TestShard, execution: ExecutionName) -> Vec<String> {
    let form = v1::HistoryForm::Unspecified;
    let events = shard
        .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
        .await
        .map(|page| page.events)
        .expect("a history");
    assert!((1..).zip(&events).all(|(id, event)| event.id == id));
    events.into_iter().map(|event| event.r#type).collect()
}

pub async fn fail(shard: &TestShard, token: &Bytes) {
    let failure = v1::TaskFailure { error: "E".to_owned(), cause: "why".to_owned() };
    let outcome = Some(v1::task_outcome::Outcome::Failure(failure));
    let outcome = v1::TaskOutcome { token: token.clone(), outcome };
    shard.say(1, v1::WorkerMessage { outcomes: vec![outcome], ..Default::default() }).await;
}

fn code(result: Result<u64, Error>) -> &'static str {
    match result {
        Err(Error::Conflict { code, .. } | Error::NotFound { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn by_function(mut tasks: Vec<v1::Task>) -> Vec<v1::Task> {
    tasks.sort_by(|one, other| one.function.cmp(&other.function));
    tasks
}

#[tokio::test]
async fn a_branch_that_failed_is_done_again_and_one_that_succeeded_is_not_also_after_kill_9() {
    let world = World::new();
    let definition = world.define(BRANCHES).await;
    let mut shard = world.shard().await;
    let mut worker = shard.worker(1, 8).await;
    let started = batch(1, definition, Mode::Standard, &[r#"{"a":1}"#, r#"{"a":2}"#]);
    let started = v1::StartBatch { name: vec!["monday".to_owned(), "friday".to_owned()], ..started };
    let mut watcher = shard.watch().await;
    shard.started(started.clone()).await;
    let given = by_function(tasks(&mut worker, 4).await);
    for task in &given[..2] {
        shard.succeed(1, &task.token, "10").await;
    }
    for task in &given[2..] {
        fail(&shard, &task.token).await;
    }
    world.clock.advance(TICK);
    outcomes(&mut watcher, 2).await;
    let failed = described(&shard, execution(1, 0)).await;
    assert_eq!(
        (status(&failed), failed.redrive_status()),
        (ExecutionStatus::Failed, RedriveStatus::Redrivable)
    );
    let name = ExecutionName::Named { machine: "orders".to_owned(), name: "monday".to_owned() };
    let at_ms = redrive(&world, &shard, name).await.expect("redriven");
    for crash in [false, true, true] {
        if crash {
            drop(shard);
            world.clock.advance(TICK);
            shard = world.shard().await;
            worker = shard.worker(1, 8).await;
        }
        let running = described(&shard, execution(1, 0)).await;
        assert_eq!(
            (status(&running), running.redrive_status()),
            (ExecutionStatus::Running, RedriveStatus::NotRedrivable)
        );
        assert_eq!(
            (running.redrive_count, running.redrive_time_ms, running.input.as_ref()),
            (1, at_ms, &br#"{"a":1}"#[..])
        );
        let (first, second) = (batch_id(1).execution(0).to_string(), batch_id(1).execution(1).to_string());
        assert_eq!(listed(&shard, ExecutionStatus::Running).await, [first]);
        assert_eq!(listed(&shard, ExecutionStatus::Failed).await, [second]);
        assert_eq!(code(redrive(&world, &shard, execution(1, 0)).await), "ExecutionNotRedrivable");
        let answers = shard.started(started.clone()).await;
        assert_eq!(
            answers.iter().filter_map(|answer| answer.refusal.clone()).collect::<Vec<_>>(),
            [],
            "a resend is one"
        );
    }
    let mut watcher = shard.watch().await;
    let again = tasks(&mut worker, 1).await;
    assert!(again.len() == 1 && again[0].function.ends_with("ship"), "{again:?}");
    shard.succeed(1, &again[0].token, "20").await;
    world.clock.advance(TICK);
    let outcome = outcomes(&mut watcher, 1).await;
    assert_eq!(outcome[0].output.as_deref(), Some(&br#"{"a":1,"p":[10,20]}"#[..]));
    for crash in [false, true] {
        if crash {
            drop(shard);
            shard = world.shard().await;
        }
        let done = described(&shard, execution(1, 0)).await;
        assert_eq!((status(&done), done.redrive_count), (ExecutionStatus::Succeeded, 1));
        assert_eq!(done.redrive_status_reason, "Execution is SUCCEEDED and cannot be redriven");
        let types = types(&shard, execution(1, 0)).await;
        let end = types.iter().position(|kind| kind == "ExecutionFailed").expect("its first end");
        assert_eq!(types[end + 1], "ExecutionRedriven");
        assert_eq!(types.last().map(String::as_str), Some("ExecutionSucceeded"));
        assert_eq!(types.iter().filter(|kind| kind.ends_with("Scheduled")).count(), 3);
        assert_eq!(status(&described(&shard, execution(1, 1)).await), ExecutionStatus::Failed);
        assert_eq!(code(redrive(&world, &shard, execution(1, 0)).await), "ExecutionNotRedrivable");
    }
}

#[tokio::test]
async fn what_ends_at_once_and_again_is_redriven_as_often_as_asked_for_and_keeps_one_history() {
    let world = World::new();
    let definition = world.define(FAIL).await;
    let mut shard = world.shard().await;
    shard.started(batch(1, definition, Mode::Standard, &["1", "2"])).await;
    for count in 1..=3 {
        redrive(&world, &shard, execution(1, 1)).await.expect("redriven");
        if count == 2 {
            drop(shard);
            shard = world.shard().await;
        }
        let failed = described(&shard, execution(1, 1)).await;
        assert_eq!((status(&failed), failed.redrive_count), (ExecutionStatus::Failed, count));
        assert_eq!(status(&described(&shard, execution(1, 0)).await), ExecutionStatus::Failed);
        let types = types(&shard, execution(1, 1)).await;
        assert_eq!(types.iter().filter(|kind| *kind == "ExecutionRedriven").count(), count as usize);
        assert_eq!(types.iter().filter(|kind| *kind == "FailStateEntered").count(), count as usize + 1);
        assert_eq!(listed(&shard, ExecutionStatus::Failed).await.len(), 2, "each is listed once");
    }
}

#[tokio::test]
async fn a_redrive_that_is_asked_for_again_with_its_token_is_done_once_and_answered_alike() {
    let world = World::new();
    let (fail, task) = (world.define(FAIL).await, world.define(TASK).await);
    let mut shard = world.shard().await;
    let mut worker = shard.worker(1, 8).await;
    shard.started(batch(1, fail, Mode::Standard, &["1"])).await;
    shard.started(batch(2, task, Mode::Standard, &["1"])).await;
    self::fail(&shard, &tasks(&mut worker, 1).await[0].token).await;
    for (sequence, runs) in [(1, false), (2, true)] {
        let asked = async |shard: &TestShard, token: &'static str| {
            let execution = execution(sequence, 0);
            ticking(shard, shard.ask(|reply| Command::Redrive { execution, token: token.into(), reply }))
                .await
        };
        let first = asked(&shard, "a").await.expect("redriven");
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(asked(&shard, "a").await.expect("the same"), first);
        drop(shard);
        shard = world.shard().await;
        assert_eq!(asked(&shard, "a").await.expect("the same to the next owner"), first);
        assert_eq!(described(&shard, execution(sequence, 0)).await.redrive_count, 1);
        assert_eq!(asked(&shard, "b").await.is_err(), runs, "another token is another redrive");
    }
}

#[tokio::test]
async fn a_stopped_execution_goes_on_and_its_name_answers_again() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let named = |sequence| {
        let batch = batch(sequence, wait, Mode::Standard, &["1"]);
        v1::StartBatch { name: vec!["monday".to_owned()], ..batch }
    };
    shard.started(named(1)).await;
    world.clock.advance(TICK);
    let stop = |reply| Command::Stop {
        execution: execution(1, 0),
        error: String::new(),
        cause: String::new(),
        reply,
    };
    shard.ask(stop).await.expect("stopped");
    assert_eq!(shard.started(named(2)).await[0].reason(), Some(Reason::Conflict));
    redrive(&world, &shard, execution(1, 0)).await.expect("redriven");
    let running = shard.started(named(3)).await[0].running.expect("it runs");
    assert_eq!(running.batch, Some(batch_id(1).into()));
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(60));
    shard.settled().await;
    world.clock.advance(TICK);
    assert_eq!(outcomes(&mut watcher, 1).await[0].status(), ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn what_cannot_be_redriven_is_refused_with_the_reason() {
    let world = World { retention: Duration::from_secs(30 * 86_400), ..World::new() };
    let (pass, fail) = (world.define(PASS).await, world.define(FAIL).await);
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Standard, &["1"])).await;
    shard.started(batch(2, fail, Mode::Express, &["1"])).await;
    shard.started(batch(3, fail, Mode::Standard, &["1"])).await;
    for sequence in [1, 2] {
        let refused = redrive(&world, &shard, execution(sequence, 0)).await;
        assert_eq!(code(refused), "ExecutionNotRedrivable");
    }
    assert_eq!(code(redrive(&world, &shard, execution(9, 0)).await), "ExecutionDoesNotExist");
    world.clock.advance(limits::REDRIVE_WINDOW);
    assert_eq!(code(redrive(&world, &shard, execution(3, 0)).await), "ExecutionNotRedrivable");
}

#[tokio::test]
async fn a_crash_before_the_redrive_is_durable_leaves_the_execution_ended() {
    let world = World::new();
    let fail = world.define(FAIL).await;
    let shard = world.shard().await;
    shard.started(batch(1, fail, Mode::Standard, &["1"])).await;
    world.store.hold_appends();
    world.clock.advance(TICK);
    let (reply, answer) = oneshot::channel();
    shard.send(Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply }).await;
    for _ in 0..3 {
        shard.settled().await;
    }
    drop(shard);
    assert!(soon("an answer", answer).await.is_err());
    world.store.release_appends();
    let shard = world.shard().await;
    let failed = described(&shard, execution(1, 0)).await;
    assert_eq!(failed.redrive_status(), RedriveStatus::Redrivable);
}

#[tokio::test]
async fn an_execution_whose_name_was_given_to_another_one_is_not_redriven_and_the_other_keeps_the_name() {
    // Shorter than blocks are kept.
    let world = World { retention: Duration::from_secs(40), ..World::new() };
    let (wait, fail) = (world.define(WAIT).await, world.define(FAIL).await);
    let shard = world.shard().await;
    let monday = |sequence, definition, start_time_ms| {
        let batch = batch(sequence, definition, Mode::Standard, &["1"]);
        v1::StartBatch { name: vec!["monday".to_owned()], start_time_ms, ..batch }
    };
    shard.started(monday(1, fail, START_MS)).await;
    world.clock.advance(world.retention + Duration::from_secs(1));
    shard.settled().await;
    world.store.forget_derived(partition(), b"n");
    assert_eq!(shard.started(monday(2, wait, START_MS + 41_000)).await[0].refusal, None, "the name is free");
    let holder = async || {
        let execution = ExecutionName::Named { machine: "orders".to_owned(), name: "monday".to_owned() };
        described(&shard, execution).await.summary.expect("a summary").execution_id
    };
    let second = batch_id(2).execution(0).to_string();
    // While it runs, and when it has ended so long ago that memory does not know it.
    for wait in [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(60)] {
        world.clock.advance(wait);
        shard.settled().await;
        let refused = redrive(&world, &shard, execution(1, 0)).await;
        let Err(Error::Conflict { code: "ExecutionNotRedrivable", message }) = refused else {
            panic!("{refused:?}");
        };
        assert!(message.contains(&second), "{message}");
        assert_eq!(holder().await, second);
    }
    assert_eq!(status(&described(&shard, execution(2, 0)).await), ExecutionStatus::Succeeded);
    assert_eq!(status(&described(&shard, execution(1, 0)).await), ExecutionStatus::Failed);
}
