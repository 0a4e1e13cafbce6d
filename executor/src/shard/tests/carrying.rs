//! What is open for long is carried into later blocks, and its log stays short.

use journal::Store;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

/// The retention of these tests.
const RETENTION: Duration = Duration::from_secs(150);
const DAY: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":86400,"End":true}}}"#;
const YEAR: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":31000000,"End":true}}}"#;
const ORDERS: &str = "orders";

fn now_ms(world: &World) -> u64 {
    Clock::Manual(world.clock.clone()).now_ms()
}

/// One named STANDARD start.
fn named(world: &World, sequence: u64, definition: DefinitionHash, inputs: &[&str]) -> v1::StartBatch {
    let sent = batch(sequence, definition, Mode::Standard, inputs);
    let name = (0..inputs.len()).map(|index| format!("n{sequence}-{index}")).collect();
    v1::StartBatch { name, start_time_ms: now_ms(world), ..sent }
}

/// Lets time pass, with an execution that ends at once every ten seconds.
async fn pass_time(world: &World, shard: &TestShard, pass: DefinitionHash, from: u64, seconds: u64) {
    for step in 0..seconds / 10 {
        world.clock.advance(Duration::from_secs(10));
        let sent = batch(from + step, pass, Mode::Express, &["1"]);
        let sent = v1::StartBatch { start_time_ms: now_ms(world), ..sent };
        let answers = ticking(shard, shard.started(sent)).await;
        assert_eq!(answers[0].refusal, None);
    }
}

async fn described(shard: &TestShard, execution: ExecutionName) -> v1::DescribeExecutionResponse {
    let shown = format!("{execution:?}");
    let found = shard.ask(|reply| Command::Describe { execution, reply }).await;
    found.unwrap_or_else(|error| panic!("{shown}: {error}"))
}

fn status(described: &v1::DescribeExecutionResponse) -> ExecutionStatus {
    described.summary.as_ref().expect("a summary").status()
}

fn by_name(sequence: u64) -> ExecutionName {
    ExecutionName::Named { machine: ORDERS.to_owned(), name: format!("n{sequence}-0") }
}

async fn listed(shard: &TestShard, wanted: ExecutionStatus) -> Vec<String> {
    let request = v1::ListExecutionsRequest {
        machine_arn: MACHINE.to_owned(),
        max_results: 1_000,
        status: wanted as i32,
        ..Default::default()
    };
    // Until what a crash may have lost of the index is written again, which takes some ticks.
    let mut ticks = 0;
    let page = loop {
        let request = request.clone();
        match shard.ask(|reply| Command::List { request, reply }).await {
            Ok(page) => break page,
            Err(Error::Recovering { .. }) if ticks < 1_000 => {
                shard.clock.advance(limits::FLUSH_PACE);
                shard.settled().await;
                ticks += 1;
            }
            Err(error) => panic!("no page: {error}"),
        }
    };
    page.executions.into_iter().map(|execution| execution.execution_id).collect()
}

async fn history(shard: &TestShard, execution: ExecutionName) -> Vec<String> {
    let form = v1::HistoryForm::StepFunctions;
    let events = shard
        .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
        .await
        .map(|page| page.events)
        .expect("a history");
    events.into_iter().map(|event| event.r#type).collect()
}

#[tokio::test]
async fn the_log_of_what_waits_for_days_is_trimmed_and_it_is_found_by_id_name_and_listing_throughout() {
    let world = World { retention: RETENTION, ..World::new() };
    let (day, pass) = (world.define(DAY).await, world.define(PASS).await);
    let mut shard = world.shard().await;
    // Of the same batch, one ends soon.
    shard.started(named(&world, 1, day, &["11", "12"])).await;
    shard.started(batch(2, day, Mode::Express, &["2"])).await;
    let execution = self::execution(1, 1);
    let stop = |reply| Command::Stop { execution, error: "E".to_owned(), cause: String::new(), reply };
    assert!(ticking(&shard, shard.ask(stop)).await.is_ok());
    for round in 1..6 {
        pass_time(&world, &shard, pass, round * 1_000, 600).await;
        let blocks = world.store.block_count(partition());
        assert!(
            blocks < 60,
            "{blocks} blocks in round {round}: a block of ten seconds and few others in a retention"
        );
        for found in [execution_of(1), by_name(1)] {
            let found = described(&shard, found).await;
            assert_eq!((status(&found), found.input.as_ref()), (ExecutionStatus::Running, b"11".as_slice()));
        }
        let running = listed(&shard, ExecutionStatus::Running).await;
        // What is EXPRESS has timed out after five minutes.
        assert_eq!(running, [batch_id(1).execution(0).to_string()], "round {round}");
        if round % 2 == 0 {
            drop(shard);
            shard = world.shard().await;
            assert_eq!(shard.metrics.recovered.get(), 1);
        } else {
            assert!(shard.metrics.carried.get() > 0);
        }
    }
    // Its end is found as any other.
    let execution = execution_of(1);
    let stop = |reply| Command::Stop { execution, error: "E".to_owned(), cause: String::new(), reply };
    assert!(ticking(&shard, shard.ask(stop)).await.is_ok());
    for _ in 0..2 {
        for found in [execution_of(1), by_name(1)] {
            assert_eq!(status(&described(&shard, found).await), ExecutionStatus::Aborted);
        }
        assert_eq!(listed(&shard, ExecutionStatus::Aborted).await, [batch_id(1).execution(0).to_string()]);
        let types = history(&shard, execution_of(1)).await;
        assert_eq!(types, ["ExecutionStarted", "WaitStateEntered", "ExecutionAborted"]);
        drop(shard);
        shard = world.shard().await;
        assert_eq!(shard.metrics.recovered.get(), 0);
    }
    pass_time(&world, &shard, pass, 9_000, 600).await;
    let gone = shard.ask(|reply| Command::Describe { execution: execution_of(1), reply }).await;
    assert!(gone.is_err(), "its retention has passed: {gone:?}");
}

fn execution_of(sequence: u64) -> ExecutionName {
    execution(sequence, 0)
}

#[tokio::test]
async fn a_journal_is_carried_with_its_execution_and_no_task_is_repeated() {
    let world = World { retention: RETENTION, ..World::new() };
    let (slow, pass) = (world.define(SLOW_TASKS).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(named(&world, 1, slow, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &pay.token, r#""paid""#).await;
    shard.say(1, v1::WorkerMessage { credit: 1, ..Default::default() }).await;
    let pack = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    pass_time(&world, &shard, pass, 1_000, 600).await;
    assert!(shard.metrics.carried.get() > 1);
    shard.succeed(1, &pack.token, r#""packed""#).await;
    pass_time(&world, &shard, pass, 2_000, 600).await;
    for round in 0..3 {
        let ship = {
            let shard = world.shard().await;
            let mut worker = shard.worker(2, 10).await;
            let ship = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
            pass_time(&world, &shard, pass, 3_000 + round * 1_000, 600).await;
            ship
        };
        assert!(ship.function.ends_with(":ship") && ship.input == r#""packed""#, "{ship:?}");
    }
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(3, 10).await;
    let ship = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    shard.succeed(3, &ship.token, "3").await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await;
    assert_eq!(ended[0].output.as_deref(), Some(b"3".as_slice()));
    let types = history(&shard, execution_of(1)).await;
    assert_eq!(types.iter().filter(|kind| *kind == "LambdaFunctionSucceeded").count(), 3, "{types:?}");
    assert!(world.store.block_count(partition()) < 60);
}

#[tokio::test]
async fn a_redriven_execution_is_carried_with_its_redrives() {
    let world = World { retention: RETENTION, ..World::new() };
    let (slow, pass) = (world.define(SLOW_TASKS).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    let mut sent = named(&world, 1, slow, &["1"]);
    sent.machines[0].origin = "3:PROD".to_owned();
    shard.started(sent).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &pay.token, r#""paid""#).await;
    let pack = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    super::redriving::fail(&shard, &pack.token).await;
    ticking(&shard, shard.ask(|reply| Command::Await { execution: by_name(1), reply }))
        .await
        .expect("it fails");
    let redrive = |reply| Command::Redrive { execution: by_name(1), token: Bytes::new(), reply };
    let at_ms = ticking(&shard, shard.ask(redrive)).await.expect("redriven");
    let pack = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    // What it is told next fills a block, so that its journal is carried into one and its opened record into another.
    let packed = format!("{:?}", "p".repeat(limits::CARRIED_BYTES_PER_BLOCK - 2));
    shard.succeed(1, &pack.token, &packed).await;
    let mut ship = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    pass_time(&world, &shard, pass, 1_000, 600).await;
    assert!(shard.metrics.carried.get() > 0);
    let mut last = shard;
    for round in 2..5 {
        for execution in [execution_of(1), by_name(1)] {
            let found = described(&last, execution).await;
            assert_eq!((status(&found), found.redrive_count), (ExecutionStatus::Running, 1), "round {round}");
            assert_eq!((found.redrive_time_ms, &*found.origin), (at_ms, "3:PROD"));
        }
        drop(last);
        last = world.shard().await;
        let mut worker = last.worker(1, 10).await;
        ship = ticking(&last, tasks(&mut worker, 1)).await.remove(0);
        assert!(ship.function.ends_with(":ship") && ship.input == packed, "{}", ship.function);
        pass_time(&world, &last, pass, round * 1_000, 600).await;
    }
    super::redriving::fail(&last, &ship.token).await;
    ticking(&last, last.ask(|reply| Command::Await { execution: by_name(1), reply }))
        .await
        .expect("it fails");
    let failed = described(&last, by_name(1)).await;
    assert_eq!((status(&failed), failed.redrive_count), (ExecutionStatus::Failed, 1));
    assert_eq!(failed.origin, "3:PROD");
    let types = history(&last, by_name(1)).await;
    assert_eq!(types.iter().filter(|kind| *kind == "ExecutionRedriven").count(), 1, "{types:?}");
    assert!(world.store.block_count(partition()) < 60);
}

/// Three tasks that take as long as they like.
const SLOW_TASKS: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","TimeoutSeconds":99999999,"Next":"B"},
    "B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pack","TimeoutSeconds":99999999,"Next":"C"},
    "C":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","TimeoutSeconds":99999999,"End":true}}}"#;

#[tokio::test]
async fn one_that_waits_for_a_year_keeps_a_few_blocks() {
    let world = World { retention: RETENTION, ..World::new() };
    let (year, pass) = (world.define(YEAR).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(named(&world, 1, year, &["1"])).await;
    for month in 1..12 {
        world.clock.advance(Duration::from_secs(30 * 86_400));
        pass_time(&world, &shard, pass, month * 1_000, 400).await;
        outcomes(&mut watcher, 40).await;
        let blocks = world.store.block_count(partition());
        assert!(blocks < 60, "{blocks} blocks in month {month}");
    }
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(40 * 86_400));
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await;
    assert_eq!(ended[0].status(), ExecutionStatus::Succeeded);
    assert_eq!(status(&described(&shard, by_name(1)).await), ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn what_is_told_in_a_block_that_is_on_its_way_is_not_left_out_of_the_copy() {
    let world = World { retention: RETENTION, ..World::new() };
    let (slow, wait) = (world.define(SLOW_TASKS).await, world.define(YEAR).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(named(&world, 1, slow, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    world.clock.advance(Duration::from_secs(10));
    world.store.hold_appends();
    // One block is on its way, and a long one is finished behind it, with what the execution is told.
    let mut answers = shard.start(named(&world, 2, wait, &["2"])).await;
    shard.succeed(1, &pay.token, r#""paid""#).await;
    let long = format!("{:?}", "i".repeat(200_000));
    for sequence in 3..15 {
        shard.start(named(&world, sequence, wait, &[&long])).await;
    }
    shard.settled().await;
    world.clock.advance(RETENTION + Duration::from_secs(5));
    // Two rounds: what is due is found in one, and what was read is there in another.
    for _ in 0..4 {
        shard.settled().await;
    }
    world.store.release_appends();
    assert_eq!(ticking(&shard, next(&mut answers)).await.refusal, None);
    let carried = async {
        while shard.metrics.carried.get() == 0 {
            shard.settled().await
        }
    };
    ticking(&shard, carried).await;
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let pack = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    assert!(pack.function.ends_with(":pack") && pack.input == r#""paid""#, "{pack:?}");
}

#[tokio::test]
async fn one_that_cannot_be_read_is_counted_and_others_are_carried() {
    let world = World { retention: RETENTION, ..World::new() };
    let (year, pass) = (world.define(YEAR).await, world.define(PASS).await);
    let shard = world.shard().await;
    for sequence in 1..=3 {
        shard.started(named(&world, sequence, year, &["1"])).await;
    }
    world.store.spoil(partition(), journal::BlockId { generation: 1, sequence: 2 });
    pass_time(&world, &shard, pass, 1_000, 300).await;
    assert_eq!(shard.metrics.carried.get(), 2);
    // Looked at again after a minute, not every second.
    let failures = shard.metrics.not_carried.get();
    assert!((1..=5).contains(&failures), "{failures} failures in five minutes");
}

#[tokio::test]
async fn the_log_is_trimmed_after_the_store_lost_what_was_carried_into_two_blocks() {
    let world = World { retention: RETENTION, ..World::new() };
    let (slow, pass) = (world.define(SLOW_TASKS).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(named(&world, 1, slow, &["1"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    // It fills a block, so that its journal is carried into one and its opened record into another.
    let paid = format!("{:?}", "p".repeat(limits::CARRIED_BYTES_PER_BLOCK - 2));
    shard.succeed(1, &pay.token, &paid).await;
    ticking(&shard, tasks(&mut worker, 1)).await;
    pass_time(&world, &shard, pass, 1_000, 300).await;
    assert!(shard.metrics.carried.get() > 0);
    world.store.go_back(partition(), journal::BlockId { generation: 1, sequence: 1 });
    let lost = async {
        while shard.metrics.blocks_lost.get() == 0 {
            shard.settled().await
        }
    };
    ticking(&shard, lost).await;
    for round in 2..4 {
        let serving = async {
            while *shard.handle.state.borrow() != ShardState::Serving {
                shard.settled().await
            }
        };
        ticking(&shard, serving).await;
        pass_time(&world, &shard, pass, round * 1_000, 600).await;
    }
    let blocks = world.store.block_count(partition());
    assert!(blocks < 60, "{blocks} blocks");
}

#[tokio::test]
async fn a_journal_in_many_blocks_is_joined_before_the_execution_has_to_be_ended_for_it() {
    let asks = r#"{"StartAt":"A","States":{
        "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","Next":"B"},
        "B":{"Type":"Choice","Default":"A","Choices":[{"Variable":"$","NumericEquals":0,"Next":"C"}]},
        "C":{"Type":"Succeed"}}}"#;
    let world = World::new();
    let asks = world.define(asks).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, u32::MAX).await;
    shard.started(batch(1, asks, Mode::Standard, &["1"])).await;
    world.clock.advance(limits::CARRY_AGE_MIN);
    let told = 3 * limits::EXECUTION_BLOCKS;
    for at in 0..told {
        if at == told / 2 {
            assert!(shard.metrics.carried.get() > 0);
        }
        let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        shard.succeed(1, &task.token, "1").await;
    }
    drop((shard, worker));
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 1).await);
    let last = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    shard.succeed(1, &last.token, "0").await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.status(), ExecutionStatus::Succeeded, "{ended:?}");
    let done = history(&shard, self::execution(1, 0)).await;
    let done = done.iter().filter(|event| *event == "LambdaFunctionSucceeded").count();
    assert!((told..=told + 1).contains(&done), "{done} of {told}: the last may be lost with the crash");
}

/// Four tasks that take as long as they like.
const FOUR_TASKS: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","TimeoutSeconds":99999999,"Next":"B"},
    "B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pick","TimeoutSeconds":99999999,"Next":"C"},
    "C":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pack","TimeoutSeconds":99999999,"Next":"D"},
    "D":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","TimeoutSeconds":99999999,"End":true}}}"#;

async fn top(world: &World) -> journal::BlockId {
    world.store.top(partition()).await.expect("answered").expect("a block")
}

/// Lets the clock go on for so long, and then what follows from it come.
async fn after(shard: &TestShard, time: Duration) {
    shard.clock.advance(time);
    for _ in 0..8 {
        shard.settled().await;
    }
}

/// An execution whose three outcomes fill three blocks, when it has become due to be carried. Gives the last of them and the
/// last block.
async fn due_to_be_carried(world: &World, shard: &TestShard) -> (String, journal::BlockId) {
    let (four, pass) = (world.define(FOUR_TASKS).await, world.define(PASS).await);
    let mut worker = shard.worker(1, 10).await;
    shard.started(named(world, 1, four, &["1"])).await;
    let mut told = String::new();
    for letter in ["a", "b", "c"] {
        let task = tasks(&mut worker, 1).await.remove(0);
        told = format!("{:?}", letter.repeat(limits::CARRIED_BYTES_PER_BLOCK - 2));
        shard.succeed(1, &task.token, &told).await;
        // One tick for each block: all are of the same second, and due at the same time.
        shard.clock.advance(TICK);
    }
    tasks(&mut worker, 1).await;
    world.clock.advance(RETENTION + Duration::from_secs(5));
    let late = v1::StartBatch { start_time_ms: now_ms(world), ..batch(2, pass, Mode::Express, &["1"]) };
    shard.started(late).await;
    after(shard, Duration::ZERO).await;
    (told, top(world).await)
}

/// The store goes back behind the first of the blocks of a copy, of which so many are in the log; the others are not yet.
async fn half_copied(written: u64) {
    let world = World { retention: RETENTION, ..World::new() };
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let (told, last) = due_to_be_carried(&world, &shard).await;
    for at in 0..written {
        // The second block comes when the first one is not held any more.
        world.clock.advance(if at == 1 { limits::HELD_TIME + TICK } else { TICK });
        let next = journal::BlockId { sequence: last.sequence + at + 1, ..last };
        let copied = async {
            while top(&world).await != next {
                shard.settled().await;
            }
        };
        soon("a block of the copy", copied).await;
        after(&shard, Duration::ZERO).await;
    }
    world.store.hold_appends();
    after(&shard, TICK).await;
    world.store.go_back(partition(), last);
    world.store.release_appends();
    let mended = async {
        while shard.metrics.blocks_lost.get() == 0 || *shard.handle.state.borrow() != ShardState::Serving {
            shard.settled().await
        }
    };
    ticking(&shard, mended).await;
    assert_eq!(shard.metrics.blocks_lost.get(), 1);
    // It is carried all the same, and the log is trimmed of where it was.
    pass_time(&world, &shard, pass, 1_000, 900).await;
    assert!(shard.metrics.carried.get() > 0 && world.store.block_count(partition()) < 60);
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let ship = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    assert!(ship.function.ends_with(":ship") && ship.input == told, "{}", ship.function);
}

#[tokio::test]
async fn an_execution_whose_copy_the_store_lost_before_it_was_complete_goes_on_from_where_it_was() {
    half_copied(2).await;
}

#[tokio::test]
async fn an_execution_whose_copy_the_store_lost_before_it_was_confirmed_goes_on_from_where_it_was() {
    half_copied(3).await;
}

#[tokio::test]
async fn what_is_read_of_a_store_that_went_back_unnoticed_is_not_carried_without_its_end() {
    let world = World { retention: RETENTION, ..World::new() };
    let (slow, pass) = (world.define(SLOW_TASKS).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(named(&world, 1, slow, &["1"])).await;
    let opened = top(&world).await;
    let pay = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    shard.succeed(1, &pay.token, r#""paid""#).await;
    ticking(&shard, tasks(&mut worker, 1)).await;
    world.clock.advance(Duration::from_secs(2));
    let late = v1::StartBatch { start_time_ms: now_ms(&world), ..batch(2, pass, Mode::Express, &["1"]) };
    shard.started(late).await;
    after(&shard, Duration::ZERO).await;
    // Only what is due to be carried asks the store, and then the owner does.
    world.store.go_back(partition(), opened);
    after(&shard, RETENTION + Duration::from_secs(5)).await;
    let mended = async {
        while shard.metrics.blocks_resent.get() == 0 || *shard.handle.state.borrow() != ShardState::Serving {
            shard.settled().await
        }
    };
    ticking(&shard, mended).await;
    assert_eq!(shard.metrics.blocks_lost.get(), 0);
    pass_time(&world, &shard, pass, 1_000, 900).await;
    assert!(shard.metrics.carried.get() > 0 && world.store.block_count(partition()) < 60);
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let pack = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
    assert!(pack.function.ends_with(":pack") && pack.input == r#""paid""#, "{pack:?}");
}
