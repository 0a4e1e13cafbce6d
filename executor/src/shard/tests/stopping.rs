//! Stop, describe, history, list, drain.

use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

async fn described(
    shard: &TestShard,
    execution: ExecutionName,
) -> Result<v1::DescribeExecutionResponse, Error> {
    shard.ask(|reply| Command::Describe { execution, reply }).await
}

async fn history(shard: &TestShard, execution: ExecutionName) -> Result<Vec<String>, Error> {
    let form = v1::HistoryForm::Unspecified;
    let events = shard
        .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
        .await
        .map(|page| page.events)?;
    Ok(events.into_iter().map(|event| event.r#type).collect())
}

fn status(response: &v1::DescribeExecutionResponse) -> ExecutionStatus {
    response.summary.as_ref().expect("a summary").status()
}

#[tokio::test]
async fn a_stopped_execution_is_aborted_with_the_given_error_and_answered_when_that_is_durable() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    world.clock.advance(Duration::from_secs(2));
    let stop =
        |reply| Command::Stop { execution: execution(1, 0), error: "E".into(), cause: "C".into(), reply };
    let stopped = shard.ask(stop).await.expect("stopped");
    assert_eq!(stopped, START_MS + 2_000 + TICK.as_millis() as u64);
    let outcome = outcomes(&mut watcher, 1).await.remove(0);
    assert_eq!(outcome.status(), ExecutionStatus::Aborted);
    assert_eq!((outcome.error.as_deref(), outcome.cause.as_deref()), (Some("E"), Some("C")));
    assert_eq!(shard.ask(stop).await.expect("stopped before"), stopped);
    let types = history(&shard, execution(1, 0)).await.expect("a history");
    assert_eq!(types, ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"]);
}

#[tokio::test]
async fn an_execution_that_runs_is_described_without_a_read_of_the_store() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Standard, &[r#"{"n":1}"#])).await;
    world.store.hold_reads(true);
    let running = soon("an answer", described(&shard, execution(1, 0))).await.expect("described");
    world.store.hold_reads(false);
    assert_eq!((status(&running), running.input), (ExecutionStatus::Running, r#"{"n":1}"#.into()));
}

#[tokio::test]
async fn an_execution_is_described_while_it_runs_and_after_its_end() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, wait, Mode::Standard, &[r#"{"n":1}"#, "2"])).await;
    let running = described(&shard, execution(1, 0)).await.expect("described");
    assert_eq!((status(&running), running.input), (ExecutionStatus::Running, r#"{"n":1}"#.into()));
    world.clock.advance(Duration::from_secs(60));
    outcomes(&mut watcher, 2).await;
    let ended = described(&shard, execution(1, 0)).await.expect("described");
    assert_eq!((status(&ended), ended.output), (ExecutionStatus::Succeeded, Some(r#"{"n":1}"#.into())));
    let summary = ended.summary.expect("a summary");
    assert_eq!(summary.machine_arn, MACHINE);
    assert!(summary.execution_arn.contains(":execution:orders:x-"), "{}", summary.execution_arn);
    assert_eq!(summary.stop_time_ms, START_MS + 60_000 + TICK.as_millis() as u64);
}

#[tokio::test]
async fn an_execution_is_found_by_the_name_that_its_caller_gave_it() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    let named = |batch, name: &str| v1::StartBatch { name: vec![name.to_owned()], ..batch };
    shard.started(named(batch(1, wait, Mode::Standard, &["1"]), "monday")).await;
    shard.started(named(batch(2, pass, Mode::Standard, &["2"]), "tuesday")).await;
    let name = |name: &str| ExecutionName::Named { machine: "orders".to_owned(), name: name.to_owned() };
    let monday = described(&shard, name("monday")).await.expect("described");
    assert_eq!((status(&monday), monday.input), (ExecutionStatus::Running, "1".into()));
    let tuesday = described(&shard, name("tuesday")).await.expect("described");
    assert_eq!((status(&tuesday), tuesday.input), (ExecutionStatus::Succeeded, "2".into()));
    let nobody = described(&shard, name("friday")).await.expect_err("nobody");
    assert!(matches!(nobody, Error::NotFound { code: "ExecutionDoesNotExist", .. }), "{nobody}");
}

#[tokio::test]
async fn a_standard_history_is_derived_from_the_journal_and_an_express_one_is_not_kept() {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 10).await;
    for (sequence, mode) in [(1, Mode::Standard), (2, Mode::Express)] {
        shard.started(batch(sequence, two, mode, &["1"])).await;
        for _ in 0..2 {
            let given = tasks(&mut worker, 1).await.remove(0);
            world.clock.advance(TICK);
            shard.succeed(1, &given.token, "2").await;
        }
        world.clock.advance(TICK);
        outcomes(&mut watcher, 1).await;
    }
    let types = history(&shard, execution(1, 0)).await.expect("a history");
    let once = |last| types.iter().filter(|kind| *kind == last).count();
    assert_eq!(
        (types[0].as_str(), types.last().map(String::as_str)),
        ("ExecutionStarted", Some("ExecutionSucceeded"))
    );
    assert_eq!((once("LambdaFunctionScheduled"), once("LambdaFunctionSucceeded")), (2, 2), "{types:?}");
    let express = history(&shard, execution(2, 0)).await.expect_err("not kept");
    assert!(matches!(express, Error::Conflict { code: "HistoryNotKept", .. }), "{express}");
}

#[tokio::test]
async fn an_express_execution_that_needed_nothing_from_outside_has_a_history() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Express, &["1"])).await;
    let types = history(&shard, execution(1, 0)).await.expect("a history");
    assert_eq!(types, ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]);
}

#[tokio::test]
async fn a_listing_gives_what_runs_and_what_has_ended_newest_first_page_by_page() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    for sequence in 1..=3 {
        let definition = if sequence == 2 { wait } else { pass };
        let batch = batch(sequence, definition, Mode::Standard, &["1", "2"]);
        shard.started(v1::StartBatch { start_time_ms: START_MS + sequence, ..batch }).await;
    }
    let list = async |status: ExecutionStatus, next_token: String| {
        let machine_arn = MACHINE.to_owned();
        let request = v1::ListExecutionsRequest {
            machine_arn,
            status: status as i32,
            max_results: 4,
            next_token,
            ..Default::default()
        };
        shard.ask(|reply| Command::List { request, reply }).await.expect("a page")
    };
    let first = list(ExecutionStatus::Unspecified, String::new()).await;
    let second = list(ExecutionStatus::Unspecified, first.next_token.clone()).await;
    let all: Vec<_> = first.executions.iter().chain(&second.executions).collect();
    let starts: Vec<_> = all.iter().map(|summary| summary.start_time_ms - START_MS).collect();
    assert_eq!(starts, [3, 3, 2, 2, 1, 1]);
    assert_eq!(second.next_token, "");
    let running = list(ExecutionStatus::Running, String::new()).await;
    let starts: Vec<_> = running.executions.iter().map(|summary| summary.start_time_ms - START_MS).collect();
    assert_eq!(starts, [2, 2]);
}

#[tokio::test]
async fn a_drain_refuses_starts_and_is_answered_when_everything_accepted_is_durable() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    world.store.hold_appends();
    let mut accepted = shard.start(batch(1, pass, Mode::Express, &["1"])).await;
    let (reply, mut drained) = oneshot::channel();
    shard.send(Command::Drain { reply }).await;
    let refused = shard.started(batch(2, pass, Mode::Express, &["2"])).await.remove(0);
    assert_eq!(refused.reason(), Some(Reason::Draining));
    assert!(drained.try_recv().is_err());
    world.store.release_appends();
    assert_eq!(next(&mut accepted).await.refusal, None);
    assert!(soon("the drain", drained).await.expect("answered").is_ok());
}
