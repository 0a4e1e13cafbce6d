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
