//! What travels beside the blocks is lost with an owner that is killed in between, and given again by the next ones.

use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

async fn described(shard: &TestShard, execution: ExecutionName) -> ExecutionStatus {
    let shown = format!("{execution:?}");
    let found = shard.ask(|reply| Command::Describe { execution, reply }).await;
    found.unwrap_or_else(|error| panic!("{shown}: {error}")).summary.expect("a summary").status()
}

async fn listed(shard: &TestShard) -> Vec<String> {
    let request = v1::ListExecutionsRequest {
        machine_arn: MACHINE.to_owned(),
        max_results: 1_000,
        ..Default::default()
    };
    let page = shard.ask(|reply| Command::List { request, reply }).await.expect("a page");
    page.executions.into_iter().map(|execution| execution.execution_id).collect()
}

fn id(sequence: u64) -> String {
    batch_id(sequence).execution(0).to_string()
}

fn name(sequence: u64) -> String {
    format!("n{sequence}")
}

/// One named STANDARD start.
fn named(sequence: u64, definition: DefinitionHash) -> v1::StartBatch {
    let start_time_ms = START_MS + sequence;
    let batch = batch(sequence, definition, Mode::Standard, &["1"]);
    v1::StartBatch { name: vec![name(sequence)], start_time_ms, ..batch }
}

/// Starts where the shard may write blocks of its own accord: one that has begun at this very instant lets the next wait for its
/// tick, and the clock stands still.
async fn started_beside_chores(shard: &TestShard, batch: v1::StartBatch) {
    let mut answers = shard.start(batch).await;
    let ticks = async {
        loop {
            shard.settled().await;
            let due = Clock::Manual(shard.clock.clone()).now_us() + TICK.as_micros() as u64;
            if shard.clock.next_sleeper_us().is_some_and(|at| at <= due) {
                shard.clock.advance(TICK);
            }
        }
    };
    tokio::select! {
        _ = next(&mut answers) => {}
        () = ticks => {}
    }
}

/// Waits until a new owner has written what was lost before it, all of which fits beside one block.
async fn written_again(world: &World, shard: &TestShard) {
    let written = async {
        while shard.metrics.flushes.get() == 0 {
            world.clock.advance(TICK);
            shard.settled().await;
        }
    };
    soon("a block", written).await;
}

#[tokio::test]
async fn owners_that_die_one_after_the_other_between_block_and_index_lose_nothing_that_is_looked_up() {
    let world = World::new();
    let (pass, wait) = (world.define(PASS).await, world.define(WAIT).await);
    world.store.lose_derived(true);
    let mut sequences = Vec::new();
    for generation in 0..3 {
        let shard = world.shard().await;
        for (sequence, definition) in [(generation * 10 + 1, pass), (generation * 10 + 2, wait)] {
            let answers = shard.started(named(sequence, definition)).await;
            assert_eq!(answers[0].refusal, None);
            sequences.push(sequence);
        }
    }
    // More owners than blocks are looked back over: each writes what was lost beside a block without records, and dies.
    for _ in 0..=limits::LOST_BLOCKS_MAX {
        let shard = world.shard().await;
        written_again(&world, &shard).await;
    }
    world.store.lose_derived(false);
    let shard = world.shard().await;
    written_again(&world, &shard).await;
    let mut expected: Vec<String> = sequences.iter().map(|sequence| id(*sequence)).collect();
    expected.reverse();
    assert_eq!(listed(&shard).await, expected);
    for sequence in sequences {
        let status = if sequence % 10 == 1 { ExecutionStatus::Succeeded } else { ExecutionStatus::Running };
        let by_name = ExecutionName::Named { machine: "orders".to_owned(), name: name(sequence) };
        assert_eq!(described(&shard, execution(sequence, 0)).await, status);
        assert_eq!(described(&shard, by_name).await, status);
        let again = named(sequence + 100, pass);
        let again =
            v1::StartBatch { name: vec![name(sequence)], input: vec![Bytes::from_static(b"2")], ..again };
        assert_eq!(shard.started(again).await[0].reason(), Some(Reason::Conflict), "the name is taken");
    }
}

/// Open for three retentions; what was written beside its start has been forgotten by then, and what is written beside
/// its end is lost with the owner.
#[tokio::test]
async fn a_straggler_is_found_after_its_end_by_id_name_and_listing_for_a_retention_also_over_a_kill() {
    let world = World { retention: Duration::from_secs(20), ..World::new() };
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let mut shard = world.shard().await;
    world.store.lose_derived(true);
    let mut watcher = shard.watch().await;
    // It is written somewhat after it was accepted.
    world.clock.advance(Duration::from_secs(5));
    shard.started(named(1, wait)).await;
    // More blocks than are looked back over.
    for sequence in 2..2 + limits::LOST_BLOCKS_MAX {
        shard.started(batch(sequence, pass, Mode::Express, &["1"])).await;
    }
    world.clock.advance(Duration::from_secs(61));
    outcomes(&mut watcher, 1 + limits::LOST_BLOCKS_MAX as usize).await;
    drop(shard);
    world.store.lose_derived(false);
    shard = world.shard().await;
    written_again(&world, &shard).await;
    // Time goes on, and with it the trimming, up to a retention after the end.
    for second in 1..=18 {
        world.clock.advance(Duration::from_secs(1));
        let start_time_ms = START_MS + 62_000 + second * 1_000;
        let sent = batch(1_000 + second, pass, Mode::Express, &["1"]);
        started_beside_chores(&shard, v1::StartBatch { start_time_ms, ..sent }).await;
        assert_eq!(described(&shard, execution(1, 0)).await, ExecutionStatus::Succeeded, "after {second} s");
    }
    let by_name = ExecutionName::Named { machine: "orders".to_owned(), name: name(1) };
    assert_eq!(described(&shard, by_name).await, ExecutionStatus::Succeeded);
    assert!(listed(&shard).await.contains(&id(1)));
    let again =
        v1::StartBatch { name: vec![name(1)], start_time_ms: START_MS + 80_000, ..named(3_000, pass) };
    assert_eq!(shard.started(again).await[0].reason(), Some(Reason::Conflict), "the name is taken");
    world.clock.advance(limits::BLOCK_KEPT_MIN);
    for second in 1..=10 {
        world.clock.advance(Duration::from_secs(1));
        let start_time_ms = START_MS + 322_000 + second * 1_000;
        let sent = batch(2_000 + second, pass, Mode::Express, &["1"]);
        started_beside_chores(&shard, v1::StartBatch { start_time_ms, ..sent }).await;
    }
    assert!(world.store.block_count(partition()) < 60, "and then it goes");
}
