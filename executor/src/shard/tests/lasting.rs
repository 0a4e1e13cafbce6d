//! Long executions: as many events as a history may have, and a year.

use std::collections::BTreeSet;

use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

/// A Map of Maps of tasks.
const MAP: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,"ItemProcessor":{"StartAt":"N","States":{
    "N":{"Type":"Map","End":true,"ItemProcessor":{"StartAt":"A","States":{
        "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}}}}}}}}"#;
const LONG_WAIT: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":31000000,"End":true}}}"#;

/// Items of the outer Map.
const MAPS: usize = 40;
/// Items of each inner Map, of which each takes seven events of the history.
const ITEMS: usize = 88;
/// How many tasks run at once.
const AT_ONCE: u32 = 1_600;

#[tokio::test]
async fn an_execution_of_25_000_events_goes_on_after_a_crash_and_has_its_whole_history() {
    let world = World::new();
    let definition = world.define(MAP).await;
    let mut shard = world.shard().await;
    let numbers: Vec<String> = (0..MAPS * ITEMS).map(|item| item.to_string()).collect();
    let maps: Vec<String> = numbers.chunks(ITEMS).map(|items| format!("[{}]", items.join(","))).collect();
    let input = format!("[{}]", maps.join(","));
    let mut worker = shard.worker(1, AT_ONCE).await;
    shard.started(batch(1, definition, Mode::Standard, &[&input])).await;
    let (mut done, mut crashed) = (BTreeSet::new(), false);
    let mut watcher = shard.watch().await;
    while done.len() < MAPS * ITEMS {
        for task in given(&world, &shard, &mut worker).await {
            let item: usize = std::str::from_utf8(&task.input).expect("text").parse().expect("a number");
            assert!(done.insert(item), "{item} was done before");
            shard.succeed(1, &task.token, &item.to_string()).await;
        }
        shard.say(1, v1::WorkerMessage { credit: AT_ONCE, ..Default::default() }).await;
        if !crashed && done.len() >= MAPS * ITEMS / 2 {
            crashed = true;
            durable(&world, &shard).await;
            drop(shard);
            shard = world.shard().await;
            worker = shard.worker(1, AT_ONCE).await;
            watcher = shard.watch().await;
        }
    }
    durable(&world, &shard).await;
    let ended = outcomes(&mut watcher, 1).await;
    assert_eq!(
        (ended[0].status(), ended[0].output.as_deref()),
        (ExecutionStatus::Succeeded, Some(input.as_bytes()))
    );
    let form = v1::HistoryForm::Unspecified;
    let events = shard
        .ask(|reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply })
        .await
        .map(|page| page.events);
    let events = events.expect("a history");
    assert_eq!(events.len(), MAPS * (7 * ITEMS + 6) + 6);
    assert!((1..).zip(&events).all(|(id, event)| event.id == id && event.previous_event_id < id));
    assert_eq!(events.last().map(|event| event.r#type.as_str()), Some("ExecutionSucceeded"));
}

/// The next tasks, once the blocks are written that hold their causes.
async fn given(
    world: &World,
    shard: &TestShard,
    worker: &mut mpsc::Receiver<v1::TaskBatch>,
) -> Vec<v1::Task> {
    let come = async {
        loop {
            match worker.try_recv() {
                Ok(batch) => return batch.tasks,
                Err(_) => {
                    world.clock.advance(TICK);
                    shard.settled().await;
                }
            }
        }
    };
    soon("a task", come).await
}

/// Until everything that was accepted so far is in the log.
async fn durable(world: &World, shard: &TestShard) {
    let written = async {
        while shard.metrics.store_pending.get() > 0 {
            world.clock.advance(TICK);
            shard.settled().await;
        }
    };
    soon("an empty page", written).await;
}

#[tokio::test]
async fn an_execution_waits_for_a_year_over_many_owners() {
    let world = World { retention: Duration::from_secs(60), ..World::new() };
    let definition = world.define(LONG_WAIT).await;
    let mut shard = world.shard().await;
    shard.started(batch(1, definition, Mode::Standard, &["1"])).await;
    for _ in 0..10 {
        drop(shard);
        world.clock.advance(Duration::from_secs(3_000_000));
        shard = world.shard().await;
        let request = |reply| Command::Describe { execution: execution(1, 0), reply };
        let summary = shard.ask(request).await.expect("it is there").summary.expect("a summary");
        assert_eq!(summary.status(), ExecutionStatus::Running);
    }
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(1_000_000));
    shard.settled().await;
    world.clock.advance(TICK);
    assert_eq!(outcomes(&mut watcher, 1).await[0].status(), ExecutionStatus::Succeeded);
}
