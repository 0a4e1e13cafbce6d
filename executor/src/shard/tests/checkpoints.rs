//! Recovery begins at a checkpoint, and finds there what the whole log says.

use std::collections::{BTreeMap, BTreeSet};

use ids::ExecutionId;
use journal::{Append, Block, BlockBuilder, BlockId};
use proptest::collection::vec;
use proptest::prelude::*;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::super::fetch::RecoveredExecution;
use super::super::reading::{Reading, Recovered};
use super::*;

/// Blocks that a recovery reads at most here: up to the checkpoint before the last blocks, which are read in any case.
const TAIL_MAX: u64 = 64 + 2 * 80 + 8;

/// So many blocks, each of an execution that ends at once.
async fn fill(shard: &TestShard, pass: DefinitionHash, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        shard.started(batch(sequence, pass, Mode::Express, &["1"])).await;
    }
}

#[tokio::test]
async fn a_recovery_reads_the_blocks_after_its_checkpoint_and_those_of_what_is_open() {
    let world = World::new();
    let (wait, two, pass) =
        (world.define(WAIT).await, world.define(TWO_TASKS).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(batch(1, wait, Mode::Express, &["1", "2"])).await;
    shard.started(batch(2, two, Mode::Standard, &["3"])).await;
    let pay = tasks(&mut worker, 1).await.remove(0);
    fill(&shard, pass, 100..150).await;
    shard.succeed(1, &pay.token, r#""paid""#).await;
    fill(&shard, pass, 150..700).await;
    drop(shard);
    for round in 0..3 {
        let shard = world.shard().await;
        assert_eq!(shard.metrics.recovered.get(), 3);
        let read = shard.metrics.recovery_blocks.get();
        assert!(read < TAIL_MAX, "{read} blocks in round {round}");
    }
    // The journal of the STANDARD one came back, too.
    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let ship = tasks(&mut worker, 1).await.remove(0);
    assert!(ship.function.ends_with(":ship") && ship.input == r#""paid""#, "{ship:?}");
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(60));
    let ended = outcomes(&mut watcher, 2).await;
    assert!(ended.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded));
}

#[tokio::test]
async fn owners_that_come_one_after_the_other_take_checkpoints_together() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    world.shard().await.started(batch(1, wait, Mode::Express, &["1"])).await;
    for owner in 1..30 {
        let shard = world.shard().await;
        fill(&shard, pass, owner * 100..owner * 100 + 20).await;
    }
    let shard = world.shard().await;
    assert_eq!(shard.metrics.recovered.get(), 1);
    let read = shard.metrics.recovery_blocks.get();
    assert!(read < TAIL_MAX, "no owner wrote as many blocks as a checkpoint takes: {read} blocks");
}

#[tokio::test]
async fn the_others_of_a_batch_are_found_after_one_was_redriven_behind_the_checkpoint() {
    let world = World::new();
    let (wait, failing, pass) =
        (world.define(WAIT).await, world.define(FAIL).await, world.define(PASS).await);
    let mut shard = world.shard().await;
    shard.started(batch(1, failing, Mode::Standard, &["1", "2"])).await;
    shard.started(batch(2, wait, Mode::Standard, &["1", "2"])).await;
    for execution in [execution(2, 0), execution(2, 1)] {
        let stop = |reply| Command::Stop { execution, error: "E".to_owned(), cause: String::new(), reply };
        ticking(&shard, shard.ask(stop)).await.expect("stopped");
    }
    fill(&shard, pass, 100..500).await;
    for execution in [execution(1, 1), execution(2, 1)] {
        ticking(&shard, shard.ask(|reply| Command::Redrive { execution, token: Bytes::new(), reply }))
            .await
            .expect("redriven");
    }
    fill(&shard, pass, 500..510).await;
    use ExecutionStatus::{Aborted, Failed, Running, Succeeded};
    for (round, last) in [(1, Running), (2, Running), (3, Succeeded)] {
        drop(shard);
        shard = world.shard().await;
        let read = shard.metrics.recovery_blocks.get();
        assert!(read < TAIL_MAX, "{read} blocks in round {round}");
        fill(&shard, pass, round * 1_000..round * 1_000 + 10).await;
        let wanted = [((1, 0), Failed), ((1, 1), Failed), ((2, 0), Aborted), ((2, 1), last)];
        for ((sequence, index), status) in wanted {
            let execution = execution(sequence, index);
            let found = shard.ask(|reply| Command::Describe { execution, reply }).await;
            let found = found.unwrap_or_else(|error| panic!("{sequence}/{index} in round {round}: {error}"));
            assert_eq!(
                found.summary.expect("a summary").status(),
                status,
                "{sequence}/{index} in round {round}"
            );
            assert_eq!(found.redrive_count, u32::from(index));
        }
        if round == 2 {
            let mut watcher = shard.watch().await;
            world.clock.advance(Duration::from_secs(60));
            ticking(&shard, outcomes(&mut watcher, 1)).await;
        }
    }
}

#[tokio::test]
async fn without_a_checkpoint_the_whole_log_is_read() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    fill(&shard, pass, 100..400).await;
    drop(shard);
    world.store.forget_derived(partition(), b"c");
    let shard = world.shard().await;
    assert_eq!((shard.metrics.recovered.get(), shard.metrics.recovery_blocks.get()), (1, 301));
}

/// A store that has gone back holds other blocks after the point to which it went back.
#[tokio::test]
async fn a_checkpoint_of_a_block_that_the_store_no_longer_has_is_not_used() {
    let world = World::new();
    let (wait, pass) = (world.define(WAIT).await, world.define(PASS).await);
    let shard = world.shard().await;
    fill(&shard, pass, 100..500).await;
    drop(shard);
    let back = world.store.truncated(partition(), BlockId { generation: 1, sequence: 20 });
    let world = World { store: back, ..world };
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Standard, &["1"])).await;
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(shard.metrics.recovered.get(), 1);
    assert!(shard.metrics.recovery_blocks.get() >= 21, "the whole log");
}

fn now_ms(world: &World) -> u64 {
    Clock::Manual(world.clock.clone()).now_ms()
}

/// What a test does with a shard.
#[derive(Debug, Clone)]
enum Op {
    Pass(u8),
    Wait(Mode, u8),
    Work,
    Succeed,
    Pause(u16),
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (1..4u8).prop_map(Op::Pass),
        2 => (prop_oneof![Just(Mode::Express), Just(Mode::Standard)], 1..5u8)
            .prop_map(|(mode, count)| Op::Wait(mode, count)),
        2 => Just(Op::Work),
        3 => Just(Op::Succeed),
        1 => (1..30_000u16).prop_map(Op::Pause),
        1 => Just(Op::Crash),
    ]
}

async fn carry_out(world: &World, ops: Vec<Op>) {
    let definitions = [world.define(PASS).await, world.define(WAIT).await, world.define(TWO_TASKS).await];
    let mut shard = world.shard().await;
    let mut worker = shard.worker(0, 1_000).await;
    for (number, op) in ops.into_iter().enumerate() {
        let sequence = number as u64 + 1;
        let start = |definition, mode, count: u8| {
            let inputs: Vec<String> = (0..count).map(|input| input.to_string()).collect();
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let sent = batch(sequence, definition, mode, &inputs);
            v1::StartBatch { start_time_ms: now_ms(world), ..sent }
        };
        match op {
            Op::Pass(count) => {
                drop(ticking(&shard, shard.started(start(definitions[0], Mode::Express, count))).await)
            }
            Op::Wait(mode, count) => {
                drop(ticking(&shard, shard.started(start(definitions[1], mode, count))).await)
            }
            Op::Work => drop(ticking(&shard, shard.started(start(definitions[2], Mode::Standard, 2))).await),
            Op::Succeed => {
                let waiting = worker.try_recv().map(|batch| batch.tasks).unwrap_or_default();
                for task in waiting {
                    shard.succeed(0, &task.token, "{}").await;
                }
            }
            Op::Pause(ms) => {
                world.clock.advance(Duration::from_millis(ms.into()));
                shard.settled().await;
            }
            Op::Crash => {
                drop(shard);
                shard = world.shard().await;
                worker = shard.worker(0, 1_000).await;
            }
        }
    }
}

/// What is compared of an execution: where its records are may differ.
fn told(execution: &RecoveredExecution) -> (ExecutionId, String) {
    let RecoveredExecution { machine, opened, journal, .. } = execution;
    let opened = journal::Opened { machine: 0, ..opened.clone() };
    (opened.id, format!("{machine:?} {opened:?} {journal:?}"))
}

async fn recover(world: &World) -> Recovered {
    let store = world.store.connect().await.expect("a connection");
    let reading = Reading {
        store: &*store,
        definitions: &world.definitions,
        partition: partition(),
        retention: world.retention,
        archives: false,
        batches_max: limits::BATCHES_REMEMBERED_MAX,
        lost_blocks: limits::LOST_BLOCKS_MAX,
        now_ms: now_ms(world),
    };
    reading.recover().await.expect("recovered")
}

/// Whether the blocks of what has closed are kept for a retention from then. The store confirms somewhat after a block was
/// written.
fn retains(recovered: &Recovered, closed: &journal::Closed, closed_ms: u64) {
    let Some(oldest) = closed.blocks.iter().min() else { return };
    let bucket = recovered.retained.buckets().take_while(|bucket| bucket.first <= *oldest).last();
    // Where it is not known any more, the block has been trimmed.
    if let Some(bucket) = bucket {
        assert!(bucket.last_ms + 1_000 > closed_ms, "{closed:?}, closed at {closed_ms}: {bucket:?}");
    }
}

/// Compares what two recoveries found, and what each knows of everything in the log.
async fn compare(world: &World, one: &Recovered, other: &Recovered) {
    let open = |recovered: &Recovered| recovered.open.iter().map(told).collect::<BTreeMap<_, _>>();
    assert_eq!(open(one), open(other));
    for recovered in [one, other] {
        assert_eq!(recovered.away.len(), recovered.open.len(), "nothing is broken");
    }
    let from_ms = now_ms(world) - limits::BATCH_HORIZON.as_millis() as u64;
    // A block tells of the clock of who wrote it, a checkpoint when a batch was started: up to so much earlier.
    let ahead_ms = limits::CLOCK_AHEAD_MAX.as_millis() as u64;
    let batches = |recovered: &Recovered, from_ms: u64| {
        let within = recovered.dedupe.remembered(partition()).filter(|(_, _, time_ms)| *time_ms > from_ms);
        within.map(|(batch, block, _)| (batch, block)).collect::<BTreeSet<_>>()
    };
    for (these, those) in [(one, other), (other, one)] {
        let missing = &batches(these, from_ms + ahead_ms) - &batches(those, 0);
        assert!(missing.is_empty(), "{missing:?}");
    }
    let store = world.store.connect().await.expect("a connection");
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let range = journal::store::BlockRange { from: BlockId::default(), to, reverse: false, limit: 10_000 };
    for (_, bytes) in store.read(partition(), range).await.expect("readable") {
        let block = Block::parse(&bytes).expect("a block");
        for id in block.opened_runs().flat_map(|run| run.ids()) {
            assert_eq!(one.index.find(id), other.index.find(id), "{id}");
        }
        for record in block.records().expect("readable") {
            if let journal::Record::Closed(closed) = record {
                [one, other].into_iter().for_each(|found| retains(found, &closed, block.time_ms()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recovery_from_a_checkpoint_finds_what_the_whole_log_says(ops in vec(op(), 250..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let same: Result<(), TestCaseError> = runtime.block_on(async {
            let world = World { retention: Duration::from_secs(200), ..World::new() };
            carry_out(&world, ops).await;
            let from_checkpoint = recover(&world).await;
            world.store.forget_derived(partition(), b"c");
            let from_log = recover(&world).await;
            compare(&world, &from_checkpoint, &from_log).await;
            prop_assert!(from_log.read < 250 || from_checkpoint.read < from_log.read, "there was none");
            Ok(())
        });
        same?;
    }
}

#[tokio::test]
async fn a_checkpoint_that_names_blocks_which_do_not_hold_what_is_open_is_put_aside() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    fill(&shard, pass, 100..200).await;
    drop(shard);
    let store = world.store.connect().await.expect("a connection");
    let (id, to) = (BlockId { generation: 1, sequence: 10 }, BlockId { generation: 1, sequence: 90 });
    let range = journal::store::BlockRange { from: id, to: id, reverse: false, limit: 1 };
    let block = store.read(partition(), range).await.expect("readable").remove(0).1;
    let stamp = journal::checkpoint::Stamp::of(partition(), id, &block);
    world.store.forget_derived(partition(), b"c");
    let mut lying = journal::checkpoint::Encoder::default();
    lying.open(batch_id(5).execution(0), &[to]);
    let derived = journal::checkpoint::entries(&lying.finish(), stamp, 0);
    let id = BlockId { generation: 1, sequence: 1_000 };
    let block = BlockBuilder::new(partition()).finish(id, START_MS);
    let append = Append { partition: partition(), id, block, derived, trim_below: None };
    store.append(append).await.expect("appended");
    let shard = world.shard().await;
    assert_eq!((shard.metrics.recovered.get(), shard.metrics.recovery_blocks.get()), (0, 101));
}
