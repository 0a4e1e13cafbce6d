//! Names of STANDARD executions: given once, and idempotent while their execution runs.

use proto::executor::v1::Mode;

use super::*;

/// One start of a name in a batch of its own.
fn named(sequence: u64, definition: DefinitionHash, mode: Mode, name: &str, input: &str) -> v1::StartBatch {
    v1::StartBatch { name: vec![name.to_owned()], ..batch(sequence, definition, mode, &[input]) }
}

fn code(answers: &[Answer]) -> Option<&str> {
    answers[0].refusal.as_ref().map(|refusal| refusal.code.as_str())
}

const TAKEN: Option<&str> = Some("ExecutionAlreadyExists");

/// What a start is answered with that repeats the first of a batch.
fn same_as(sequence: u64) -> Option<v1::RunningExecution> {
    let batch = Some(batch_id(sequence).into());
    Some(v1::RunningExecution { batch, index: 0, start_time_ms: START_MS })
}

#[tokio::test]
async fn a_name_of_a_standard_execution_is_given_once_even_after_a_change_of_owner() {
    let world = World::new();
    let (pass, wait) = (world.define(PASS).await, world.define(WAIT).await);
    let monday = named(1, pass, Mode::Standard, "monday", "1");
    let friday = named(2, wait, Mode::Standard, "friday", "1");
    let shard = world.shard().await;
    for first in [&monday, &friday] {
        for _ in 0..2 {
            let answers = shard.started(first.clone()).await;
            assert_eq!((code(&answers), answers[0].running), (None, None), "a resend is the same execution");
        }
    }
    let closed = shard.started(named(3, pass, Mode::Standard, "monday", "1")).await;
    assert_eq!(code(&closed), TAKEN);
    assert_eq!(closed[0].reason(), Some(Reason::Conflict));
    assert_eq!(code(&shard.started(named(4, pass, Mode::Express, "monday", "1")).await), None);
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(code(&shard.started(named(5, pass, Mode::Standard, "monday", "1")).await), TAKEN);
    assert_eq!(code(&shard.started(named(6, pass, Mode::Standard, "friday", "2")).await), TAKEN);
    assert_eq!(code(&shard.started(named(7, pass, Mode::Standard, "sunday", "1")).await), None);
}

#[tokio::test]
async fn the_same_name_and_input_is_the_running_execution_also_after_kill_9_and_until_it_closes() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let mut shard = world.shard().await;
    shard.started(named(1, wait, Mode::Standard, "monday", "1")).await;
    for sequence in [2, 4] {
        let later = START_MS + sequence;
        let again = named(sequence, wait, Mode::Standard, "monday", "1");
        let again = v1::StartBatch { start_time_ms: later, ..again };
        let answers = shard.started(again.clone()).await;
        assert_eq!((code(&answers), answers[0].running), (None, same_as(1)));
        assert_eq!(shard.started(again).await, answers, "a resend is answered alike");
        let other = shard.started(named(sequence + 1, wait, Mode::Standard, "monday", "2")).await;
        assert_eq!(code(&other), TAKEN, "with another input");
        drop(shard);
        shard = world.shard().await;
    }
    let execution = execution(1, 0);
    let stop = |reply| Command::Stop { execution, error: String::new(), cause: String::new(), reply };
    world.clock.advance(TICK);
    shard.ask(stop).await.expect("stopped");
    assert_eq!(code(&shard.started(named(6, wait, Mode::Standard, "monday", "1")).await), TAKEN, "closed");
}

#[tokio::test]
async fn a_running_execution_is_the_answer_only_when_its_own_start_is_durable() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    world.store.hold_appends();
    let mut first = shard.start(named(1, wait, Mode::Standard, "monday", "1")).await;
    shard.settled().await;
    let mut again = shard.start(named(2, wait, Mode::Standard, "monday", "1")).await;
    let mut resent = shard.start(named(2, wait, Mode::Standard, "monday", "1")).await;
    for _ in 0..3 {
        shard.settled().await;
    }
    assert!(first.try_recv().is_err() && again.try_recv().is_err() && resent.try_recv().is_err());
    world.store.release_appends();
    assert_eq!(next(&mut first).await.running, None);
    assert_eq!(next(&mut again).await.running, same_as(1));
    assert_eq!(next(&mut resent).await.running, same_as(1));
    assert_eq!(world.store.block_count(partition()), 1, "an answer that starts nothing writes nothing");
}

#[tokio::test]
async fn of_one_batch_the_second_of_two_equal_names_is_answered_with_the_first() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let name = ["a", "a", "", "a"].map(str::to_owned).to_vec();
    let sent = v1::StartBatch { name, ..batch(1, wait, Mode::Standard, &["1", "1", "1", "2"]) };
    let answers = shard.started(sent.clone()).await;
    let told = |answers: &[Answer]| -> Vec<_> {
        answers.iter().map(|answer| (answer.from, answer.to, answer.running, answer.reason())).collect()
    };
    let expected = [
        (0, 1, None, None),
        (1, 2, same_as(1), None),
        (2, 3, None, None),
        (3, 4, None, Some(Reason::Conflict)),
    ];
    assert_eq!(told(&answers), expected);
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(told(&shard.started(sent).await), expected, "the log is compared, the names are judged again");
}

/// Forgets the entries of names, as a store does when their time has come.
fn forget_names(world: &World) {
    world.store.forget_derived(partition(), b"n");
}

/// Waits until a new owner has written what was lost before it.
async fn written_again(world: &World, shard: &TestShard) {
    let written = async {
        while shard.metrics.flushes.get() == 0 {
            world.clock.advance(TICK);
            shard.settled().await;
        }
    };
    soon("a block", written).await;
}

fn monday() -> ExecutionName {
    ExecutionName::Named { machine: "orders".to_owned(), name: "monday".to_owned() }
}

#[tokio::test]
async fn the_name_of_an_open_execution_is_held_although_its_definition_is_gone() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    world.shard().await.started(named(1, wait, Mode::Standard, "monday", "1")).await;
    let store = world.store.connect().await.expect("a connection");
    let key = Bytes::from([b"definition/".as_slice(), &wait].concat());
    let text = store.get(key.clone()).await.expect("asked");
    assert!(text.is_some() && store.compare_and_put(key, text, None).await.expect("asked"));
    let world = World { definitions: Arc::default(), ..world };
    let shard = world.shard().await;
    forget_names(&world);
    assert_eq!(code(&shard.started(named(2, pass, Mode::Standard, "monday", "2")).await), TAKEN);
    let described = shard.ask(|reply| Command::Describe { execution: monday(), reply }).await;
    let summary = described.expect("it is open").summary.expect("a summary");
    assert_eq!(summary.execution_id, batch_id(1).execution(0).to_string());
}

#[tokio::test]
async fn a_name_whose_retention_has_passed_is_free_after_a_change_of_owner_too() {
    let world = World::new();
    let pass = world.define(PASS).await;
    world.shard().await.started(named(1, pass, Mode::Standard, "monday", "1")).await;
    forget_names(&world);
    world.clock.advance(world.retention + Duration::from_secs(1));
    let shard = world.shard().await;
    written_again(&world, &shard).await;
    let later = START_MS + 3_602_000;
    let again = v1::StartBatch { start_time_ms: later, ..named(2, pass, Mode::Standard, "monday", "2") };
    assert_eq!(code(&shard.started(again).await), None);
}

#[tokio::test]
async fn a_name_that_was_given_again_is_not_taken_back_to_its_first_holder_by_a_change_of_owner() {
    let world = World { retention: Duration::from_secs(40), ..World::new() };
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    // What is open keeps the blocks after it.
    let long = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":90000,"End":true}}}"#;
    shard.started(batch(900, world.define(long).await, Mode::Standard, &["1"])).await;
    shard.started(named(1, wait, Mode::Standard, "monday", "1")).await;
    // More blocks than are looked back over.
    for sequence in 2..2 + limits::LOST_BLOCKS_MAX {
        shard.started(batch(sequence, pass, Mode::Express, &["1"])).await;
    }
    world.clock.advance(Duration::from_secs(60));
    outcomes(&mut watcher, 1 + limits::LOST_BLOCKS_MAX as usize).await;
    world.clock.advance(world.retention + Duration::from_secs(1));
    forget_names(&world);
    let later = START_MS + 101_000;
    let again = v1::StartBatch { start_time_ms: later, ..named(1_000, pass, Mode::Standard, "monday", "2") };
    assert_eq!(code(&shard.started(again).await), None);
    drop(shard);
    let shard = world.shard().await;
    written_again(&world, &shard).await;
    let described = shard.ask(|reply| Command::Describe { execution: monday(), reply }).await;
    let summary = described.expect("it is kept").summary.expect("a summary");
    assert_eq!(summary.execution_id, batch_id(1_000).execution(0).to_string());
}

#[tokio::test]
async fn an_execution_that_the_store_has_lost_does_not_hold_its_name() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Express, &["1"])).await;
    shard.started(named(2, wait, Mode::Standard, "monday", "1")).await;
    drop(shard);
    // Without its definition it is in no slot, and cannot be written again.
    let store = world.store.connect().await.expect("a connection");
    let key = Bytes::from([b"definition/".as_slice(), &wait].concat());
    let text = store.get(key.clone()).await.expect("asked");
    assert!(text.is_some() && store.compare_and_put(key, text, None).await.expect("asked"));
    let world = World { definitions: Arc::default(), ..world };
    let shard = world.shard().await;
    world.store.go_back(partition(), journal::BlockId { generation: 1, sequence: 1 });
    let mended = async {
        while shard.metrics.blocks_lost.get() == 0 || *shard.handle.state.borrow() != ShardState::Serving {
            shard.settled().await
        }
    };
    ticking(&shard, mended).await;
    forget_names(&world);
    let start_time_ms = Clock::Manual(world.clock.clone()).now_ms();
    let again = v1::StartBatch { start_time_ms, ..named(3, pass, Mode::Standard, "monday", "1") };
    let answers = ticking(&shard, shard.started(again)).await;
    assert_eq!((code(&answers), answers[0].running), (None, None));
}
