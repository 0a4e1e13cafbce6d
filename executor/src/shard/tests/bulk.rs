//! Much comes at once: blocks stay short enough for the store, whatever they are made of.

use std::fmt::Write;

use bytes::Bytes;
use journal::StoreError;
use journal::memory::Fault;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

/// A payload that compression does not make shorter, as a JSON text.
fn noise(seed: u64, bytes: usize) -> String {
    let (mut text, mut state) = (String::with_capacity(bytes + 20), seed | 1);
    text.push('"');
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "{state:x}").expect("memory");
    }
    text.push('"');
    text
}

/// Executions of `count` inputs of 200 KB, five in a batch.
async fn start_bulky(shard: &TestShard, definition: DefinitionHash, count: u64) {
    for sequence in 1..=count / 5 {
        let inputs: Vec<String> = (0..5).map(|at| noise(sequence * 5 + at, 200_000)).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let answers =
            ticking(shard, shard.started(batch(sequence, definition, Mode::Standard, &inputs))).await;
        assert!(answers.iter().all(|answer| answer.refusal.is_none()), "{answers:?}");
    }
}

/// How so many executions end.
async fn ends(
    shard: &TestShard,
    watcher: &mut mpsc::Receiver<v1::CompletionBatch>,
    count: usize,
) -> Vec<v1::Outcome> {
    ticking(shard, outcomes(watcher, count)).await
}

async fn until_failed(shard: &TestShard, sequence: u64) {
    let wait = |reply| Command::Await { execution: execution(sequence, 0), reply };
    ticking(shard, shard.ask(wait)).await.expect("it ends");
}

#[tokio::test]
async fn many_bulky_waits_that_are_overdue_after_an_outage_all_succeed() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    start_bulky(&shard, wait, 250).await;
    drop(shard);
    world.clock.advance(Duration::from_secs(3_600));
    let shard = world.spawn();
    let mut watcher = shard.watch().await;
    let ended = ends(&shard, &mut watcher, 250).await;
    assert!(ended.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded));
    assert_eq!((shard.metrics.recovered.get(), shard.metrics.partitions_lost.get()), (250, 0));
    drop(shard);
    assert_eq!(world.shard().await.metrics.recovered.get(), 0, "every end is in the log");
}

#[tokio::test]
async fn outcomes_that_come_while_the_store_is_slow_are_written_in_several_blocks_and_lead_on() {
    const COUNT: usize = 200;
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 2 * COUNT as u32).await;
    for sequence in 1..=COUNT as u64 {
        shard.started(batch(sequence, two, Mode::Standard, &["1"])).await;
    }
    let pay = ticking(&shard, tasks(&mut worker, COUNT)).await;
    world.store.hold_appends();
    let mut answers = shard.start(batch(1_000, two, Mode::Standard, &["1"])).await;
    for (task, seed) in pay.iter().zip(1..) {
        shard.succeed(1, &task.token, &noise(seed, 200_000)).await;
    }
    shard.settled().await;
    world.store.release_appends();
    assert_eq!(ticking(&shard, next(&mut answers)).await.refusal, None);
    let ship = ticking(&shard, tasks(&mut worker, COUNT)).await;
    for task in ship.iter().filter(|task| task.function.ends_with(":ship")) {
        shard.succeed(1, &task.token, "2").await;
    }
    let rest = COUNT - ship.iter().filter(|task| task.function.ends_with(":ship")).count();
    let ended = ends(&shard, &mut watcher, COUNT - rest).await;
    assert!(rest <= 1 && ended.iter().all(|outcome| outcome.output.as_deref() == Some(b"2".as_slice())));
    assert_eq!(shard.metrics.partitions_lost.get(), 0);
}

#[tokio::test]
async fn a_batch_whose_first_steps_give_much_more_than_they_take_ends_in_several_blocks() {
    let world = World::new();
    let result = noise(7, 200_000);
    let pass =
        format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","Result":{result},"End":true}}}}}}"#);
    let pass = world.define(Box::leak(pass.into_boxed_str())).await;
    for mode in [Mode::Express, Mode::Standard] {
        let shard = world.shard().await;
        let mut watcher = shard.watch().await;
        let answers = ticking(&shard, shard.started(batch(mode as u64 + 1, pass, mode, &["1"; 250]))).await;
        assert!(answers.iter().all(|answer| answer.refusal.is_none()), "{answers:?}");
        let ended = ends(&shard, &mut watcher, 250).await;
        assert!(ended.iter().all(|outcome| outcome.output.as_deref() == Some(result.as_bytes())));
        assert_eq!(shard.metrics.partitions_lost.get(), 0);
        drop(shard);
        assert_eq!(world.shard().await.metrics.recovered.get(), 0, "every end is in the log");
    }
}

#[tokio::test]
async fn a_crash_between_the_blocks_of_many_ends_repeats_only_those_that_were_not_told() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    start_bulky(&shard, wait, 50).await;
    let mut watcher = shard.watch().await;
    let before = world.store.block_count(partition());
    // The first block of ends is confirmed, and the next one is not.
    world.store.hold_appends_after(1);
    world.clock.advance(Duration::from_secs(60));
    let told = ticking(&shard, outcomes(&mut watcher, 1)).await.len();
    drop(shard);
    assert!(told < 50 && world.store.block_count(partition()) == before + 1);
    world.store.release_appends();
    let shard = world.spawn();
    let mut watcher = shard.watch().await;
    shard.until(ShardState::Serving).await;
    let open = shard.metrics.recovered.get() as usize;
    assert!(open > 0 && open <= 50 - told, "{open} are open, {told} were told");
    let ended = ends(&shard, &mut watcher, open).await;
    assert!(ended.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded));
}

/// Many tasks at once, and then one more.
const MANY: &str = r#"{"StartAt":"M","States":{
    "M":{"Type":"Map","ItemProcessor":{"StartAt":"A","States":{
        "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","ResultPath":null,"End":true}}},"Next":"B"},
    "B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","End":true}}}"#;

#[tokio::test]
async fn redrives_of_long_journals_in_one_round_go_into_blocks_of_their_own() {
    const TOLD: usize = 75;
    let world = World::new();
    let many = world.define(MANY).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1_000).await;
    let (items, payload) = (format!("[{}1]", "1,".repeat(TOLD - 1)), noise(1, 250_000));
    for sequence in 1..=2 {
        shard.started(batch(sequence, many, Mode::Standard, &[&items])).await;
        let ship = 'last: loop {
            for task in ticking(&shard, tasks(&mut worker, 1)).await {
                if task.function.ends_with(":ship") {
                    break 'last task;
                }
                shard.succeed(1, &task.token, &payload).await;
            }
        };
        super::redriving::fail(&shard, &ship.token).await;
        until_failed(&shard, sequence).await;
    }
    world.store.hold_appends();
    let mut answers = shard.start(batch(1_000, many, Mode::Standard, &["[1]"])).await;
    let mut waiting = Vec::new();
    for sequence in 1..=2 {
        let (reply, answer) = oneshot::channel();
        shard.send(Command::Redrive { execution: execution(sequence, 0), token: Bytes::new(), reply }).await;
        waiting.push(answer);
    }
    soon("both redrives", async {
        while shard.metrics.redriven.get() < 2 {
            shard.settled().await
        }
    })
    .await;
    world.store.release_appends();
    assert_eq!(ticking(&shard, next(&mut answers)).await.refusal, None);
    for answer in waiting {
        assert!(ticking(&shard, answer).await.expect("answered").is_ok());
    }
    assert_eq!(shard.metrics.partitions_lost.get(), 0);
    drop(shard);
    assert_eq!(world.shard().await.metrics.recovered.get(), 3);
}

#[tokio::test]
async fn a_node_of_fixed_partitions_takes_one_again_that_the_store_refused_to_write() {
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    world.store.fail_next(Fault::Refuse(StoreError::Refused("as a test wants it".to_owned())));
    let refused = shard.started(batch(2, wait, Mode::Standard, &["2"])).await.remove(0);
    assert_eq!(refused.reason(), Some(Reason::NotOwner));
    shard.until(ShardState::Failed).await;
    world.clock.advance(limits::LEASE);
    shard.until(ShardState::Serving).await;
    let accepted = async {
        let sent = batch(2, wait, Mode::Standard, &["2"]);
        while ticking(&shard, shard.started(sent.clone())).await[0].refusal.is_some() {}
    };
    soon("an acceptance", accepted).await;
    assert_eq!((shard.metrics.partitions_lost.get(), shard.metrics.recovered.get()), (1, 1));
}

/// A batch of waits with long names, in traces whose states are long and not to be compressed.
fn traced(sequence: u64, definition: DefinitionHash) -> v1::StartBatch {
    let trace = |at: u64| {
        let text = noise((sequence << 8 | at) << 1, 500);
        let traceparent = format!("00-{at:016x}{sequence:016x}-{:016x}-00", at + 1);
        v1::TraceContext { traceparent, tracestate: format!("a={},b={}", &text[1..250], &text[251..500]) }
    };
    let name = |at: u64| format!("{sequence:04}{at:04}{}", "x".repeat(72));
    let waits = batch(sequence, definition, Mode::Express, &["1"; 256]);
    v1::StartBatch { trace: (0..256).map(trace).collect(), name: (0..256).map(name).collect(), ..waits }
}

#[tokio::test]
async fn starts_with_long_traces_and_names_that_wait_for_a_slow_store_are_written_in_several_blocks() {
    const COUNT: u64 = 36;
    let world = World::new();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    world.store.hold_appends();
    let mut last = None;
    for sequence in 1..=COUNT {
        last = Some(shard.start(traced(sequence, wait)).await);
        shard.settled().await;
    }
    world.store.release_appends();
    let answer = ticking(&shard, next(last.as_mut().expect("there are some"))).await;
    assert_eq!(answer.refusal, None);
    let (flushes, bytes) = (shard.metrics.flushes.get(), shard.metrics.flush_bytes.get() as usize);
    assert!(bytes > 2 * limits::FLUSH_BYTES_MAX, "{bytes}");
    // The first batch has a block of its own, and the rest is three times what a block takes.
    assert!(flushes >= 4, "{flushes} blocks of {bytes} bytes");
}
