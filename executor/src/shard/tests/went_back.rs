//! The store confirms, and forgets again what it has confirmed.

use journal::index;
use journal::memory::Fault;
use journal::{BlockId, Store, StoreError};
use proto::executor::v1::{ExecutionStatus, Mode};

use super::*;

fn block(generation: u64, sequence: u64) -> BlockId {
    BlockId { generation, sequence }
}

/// So many batches of one execution each, in blocks of their own.
async fn start_each(shard: &TestShard, definition: DefinitionHash, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        let answers = shard.started(batch(sequence, definition, Mode::Express, &["1"])).await;
        assert_eq!(answers[0].refusal, None);
    }
}

/// Starts a batch until it is taken: it is refused while a log is mended, and small flushes wait for the next tick.
async fn taken(shard: &TestShard, batch: v1::StartBatch) {
    let taken = async {
        loop {
            let mut answers = shard.start(batch.clone()).await;
            let ack = loop {
                match answers.try_recv() {
                    Ok(ack) => break ack,
                    Err(_) if *shard.handle.state.borrow() == ShardState::Serving => {
                        shard.clock.advance(TICK)
                    }
                    Err(_) => {}
                }
                shard.settled().await;
            };
            if ack.refusal.is_none() {
                return;
            }
        }
    };
    soon("an acceptance", taken).await;
}

async fn status(shard: &TestShard, sequence: u64) -> Result<ExecutionStatus, Error> {
    let execution = execution(sequence, 0);
    let described = shard.ask(|reply| Command::Describe { execution, reply }).await?;
    Ok(described.summary.expect("a summary").status())
}

#[tokio::test]
async fn what_a_promoted_replica_did_not_have_is_written_again_and_the_partition_taken_anew() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=5).await;
    world.store.go_back(partition(), block(1, 2));
    // It is noticed with the next block, and nothing of it reaches whoever waits.
    start_each(&shard, pass, 6..=6).await;
    shard.until(ShardState::Serving).await;
    assert_eq!((shard.metrics.blocks_resent.get(), shard.metrics.blocks_lost.get()), (3, 0));
    // What travelled beside the blocks may go before it, in one of its own.
    let last = shard.started(batch(7, pass, Mode::Express, &["1"]));
    assert_eq!(ticking(&shard, last).await[0].refusal, None);
    drop(shard);
    for sequence in 1..=7 {
        let found = index::lookup(&world.store, batch_id(sequence).execution(0)).await.expect("read");
        assert!(found.is_some_and(|found| found.closed.is_some()), "{sequence}");
    }
    let top = world.store.top(partition()).await.expect("answered");
    let above = top.is_some_and(|top| top > block(2, 0));
    assert!(above, "an older owner whose fence was lost is fenced again: {top:?}");
}

#[tokio::test]
async fn an_idle_shard_notices_by_itself_and_does_not_wait_for_a_start() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=2).await;
    world.store.go_back(partition(), block(1, 0));
    world.clock.advance(Duration::from_secs(1));
    let written = async {
        while world.store.top(partition()).await.expect("answered") != Some(block(2, 0)) {
            shard.settled().await;
        }
    };
    soon("the new mark", written).await;
    assert_eq!(world.store.block_count(partition()), 2);
}

#[tokio::test]
async fn what_is_not_held_any_more_is_counted_and_what_is_open_is_written_again() {
    let world = World::new();
    let (pass, wait) = (world.define(PASS).await, world.define(WAIT).await);
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Express, &[r#"{"kept": 1}"#])).await;
    shard.started(batch(2, wait, Mode::Standard, &["2"])).await;
    start_each(&shard, pass, 3..=3).await;
    // Beyond that nothing is held of them.
    world.clock.advance(limits::HELD_TIME);
    let at = START_MS + limits::HELD_TIME.as_millis() as u64;
    let later = v1::StartBatch { start_time_ms: at, ..batch(4, pass, Mode::Express, &["4"]) };
    shard.started(later).await;
    world.store.go_back(partition(), block(1, 0));
    taken(&shard, v1::StartBatch { start_time_ms: at, ..batch(5, pass, Mode::Express, &["5"]) }).await;
    assert_eq!((shard.metrics.blocks_resent.get(), shard.metrics.blocks_lost.get()), (1, 3));
    for (sequence, known) in [(1, true), (2, true), (3, false), (4, true), (5, true)] {
        assert_eq!(status(&shard, sequence).await.is_ok(), known, "{sequence}");
    }
    // Sent again, the lost one is new, and the open ones are known.
    taken(&shard, batch(3, pass, Mode::Express, &["1"])).await;
    let known = shard.metrics.duplicates.get();
    shard.started(batch(1, wait, Mode::Express, &[r#"{"kept": 1}"#])).await;
    assert_eq!(shard.metrics.duplicates.get(), known + 1);
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(shard.metrics.recovered.get(), 2, "the next owner finds both that are open");
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(60));
    let told = outcomes(&mut watcher, 2).await;
    assert!(told.iter().all(|outcome| outcome.status() == ExecutionStatus::Succeeded), "{told:?}");
    assert_eq!(told[0].output.as_deref(), Some(br#"{"kept": 1}"#.as_slice()));
}

#[tokio::test]
async fn what_ended_and_waits_for_its_block_is_found_although_its_opening_was_lost() {
    let world = World::new();
    let (pass, wait) = (world.define(PASS).await, world.define(WAIT).await);
    let shard = world.shard().await;
    shard.started(batch(1, wait, Mode::Express, &["1"])).await;
    world.clock.advance(Duration::from_secs(30));
    let at = START_MS + 30_000;
    shard.started(v1::StartBatch { start_time_ms: at, ..batch(2, pass, Mode::Express, &["2"]) }).await;
    let mut watcher = shard.watch().await;
    world.store.go_back(partition(), block(1, 0));
    world.clock.advance(Duration::from_secs(31));
    let mended = async {
        while shard.metrics.blocks_lost.get() == 0 {
            shard.settled().await;
        }
    };
    soon("what is lost", mended).await;
    shard.until(ShardState::Serving).await;
    world.clock.advance(TICK);
    assert_eq!(outcomes(&mut watcher, 1).await[0].status(), ExecutionStatus::Succeeded);
    assert_eq!(shard.metrics.blocks_lost.get(), 1);
}

/// Found by the simulator: the listing was known by what travelled beside a lost block.
#[tokio::test]
async fn what_is_kept_is_listed_though_its_listing_was_begun_by_what_is_lost() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=1).await;
    world.clock.advance(limits::HELD_TIME);
    start_each(&shard, pass, 2..=2).await;
    world.store.forget_derived(partition(), b"h");
    world.store.go_back(partition(), block(1, 0));
    taken(&shard, batch(3, pass, Mode::Express, &["3"])).await;
    assert_eq!((shard.metrics.blocks_resent.get(), shard.metrics.blocks_lost.get()), (1, 1));
    let machine_arn = MACHINE.to_owned();
    let listed = async {
        loop {
            let request = v1::ListExecutionsRequest {
                machine_arn: machine_arn.clone(),
                max_results: 10,
                ..Default::default()
            };
            if let Ok(page) = shard.ask(|reply| Command::List { request, reply }).await {
                return page.executions;
            }
            shard.clock.advance(TICK);
            shard.settled().await;
        }
    };
    let listed = soon("a page", listed).await;
    let mut listed: Vec<String> = listed.into_iter().map(|execution| execution.execution_id).collect();
    listed.sort_unstable();
    assert_eq!(listed, [2, 3].map(|sequence| batch_id(sequence).execution(0).to_string()));
}

#[tokio::test]
async fn a_log_that_is_gone_altogether_gets_nothing_until_it_is_back() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=2).await;
    world.store.go_back(partition(), BlockId::default());
    let mut answers = shard.start(batch(3, pass, Mode::Express, &["1"])).await;
    shard.until(ShardState::StoreDown).await;
    let refused = shard.started(batch(4, pass, Mode::Express, &["1"])).await.remove(0);
    assert_eq!(refused.reason(), Some(Reason::StoreUnavailable));
    world.clock.advance(Duration::from_secs(5));
    shard.settled().await;
    assert!(answers.try_recv().is_err(), "nothing is acknowledged");
    let unknown = status(&shard, 1).await.expect_err("its log is gone").to_string();
    assert!(unknown.contains("not mended yet"), "not as if it had never been: {unknown}");
    assert_eq!(world.store.top(partition()).await.expect("answered"), None, "nothing is written");
}

#[tokio::test]
async fn a_store_of_another_cluster_gets_nothing_until_the_right_one_is_back() {
    let world = World::new();
    let pass = world.define(PASS).await;
    world.cluster.join(&world.store).await.expect("a new cluster");
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=2).await;
    let record = world.store.get("cluster".into()).await.expect("read");
    world.store.compare_and_put("cluster".into(), record.clone(), None).await.expect("written");
    world.store.go_back(partition(), block(1, 1));
    let mut answers = shard.start(batch(3, pass, Mode::Express, &["1"])).await;
    shard.until(ShardState::StoreDown).await;
    world.clock.advance(Duration::from_secs(5));
    shard.settled().await;
    assert!(answers.try_recv().is_err() && world.store.block_count(partition()) == 1);
    world.store.put("cluster".into(), record.expect("it was there")).await.expect("written");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(next(&mut answers).await.refusal, None);
    shard.until(ShardState::Serving).await;
    assert_eq!(world.store.block_count(partition()), 3);
}

#[tokio::test]
async fn an_owner_whose_log_another_one_took_meanwhile_gives_it_up() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=2).await;
    world.store.go_back(partition(), block(1, 1));
    world.store.acquire(partition()).await.expect("taken");
    world.clock.advance(TICK);
    let (acks, _answers) = mpsc::channel(8);
    shard.send(Command::Start { batch: batch(3, pass, Mode::Express, &["1"]), acks }).await;
    shard.until(ShardState::Failed).await;
}

#[tokio::test]
async fn while_one_log_is_mended_what_another_one_has_is_told() {
    let world = World { partitions: 2, ..World::new() };
    let pass = world.define(PASS).await;
    let (mended, other) = (partition(), PartitionId::new(1).expect("in range"));
    let shard = world.spawn_with(Some(vec![mended, other]));
    shard.until(ShardState::Serving).await;
    let id = BatchId::new(other, 1, 1).expect("in range");
    start_each(&shard, pass, 1..=1).await;
    shard.started(v1::StartBatch { id: Some(id.into()), ..batch(1, pass, Mode::Express, &["1"]) }).await;
    world.store.go_back(mended, block(1, 0));
    world.store.hold_appends();
    world.clock.advance(Duration::from_secs(1));
    let unsettled = async { while !matches!(status(&shard, 1).await, Err(Error::Store(_))) {} };
    soon("the mending", unsettled).await;
    let execution = ExecutionName::Id(id.execution(0));
    let found = shard.ask(|reply| Command::Describe { execution, reply }).await.expect("told");
    assert_eq!(found.summary.expect("a summary").status(), ExecutionStatus::Succeeded);
    world.store.release_appends();
}

#[tokio::test]
async fn what_was_confirmed_is_not_acknowledged_again_while_its_log_is_mended() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=2).await;
    world.store.hold_appends();
    world.store.go_back(partition(), block(1, 1));
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::StoreDown).await;
    let again = batch(2, pass, Mode::Express, &["1"]);
    assert_eq!(shard.started(again.clone()).await[0].reason(), Some(Reason::StoreUnavailable));
    world.store.release_appends();
    ticking(&shard, shard.until(ShardState::Serving)).await;
    assert_eq!((shard.metrics.blocks_resent.get(), shard.metrics.blocks_lost.get()), (1, 0));
    assert_eq!(ticking(&shard, shard.started(again)).await[0].reason(), None);
}

#[tokio::test]
async fn a_batch_of_an_earlier_owner_is_not_said_to_be_gone_where_the_store_lacks_its_block_for_now() {
    let world = World::new();
    let pass = world.define(PASS).await;
    world.cluster.join(&world.store).await.expect("a new cluster");
    let shard = world.shard().await;
    start_each(&shard, pass, 1..=2).await;
    drop(shard);
    let shard = world.shard().await;
    let again = batch(2, pass, Mode::Express, &["1"]);
    let record = world.store.get("cluster".into()).await.expect("read");
    world.store.compare_and_put("cluster".into(), record, None).await.expect("written");
    world.store.hold_reads(true);
    let mut read_before = shard.start(again.clone()).await;
    shard.settled().await;
    world.store.go_back(partition(), block(1, 1));
    world.store.hold_reads(false);
    assert_eq!(next(&mut read_before).await.reason(), Some(Reason::StoreUnavailable), "nobody knows yet");
    world.clock.advance(Duration::from_secs(1));
    shard.until(ShardState::StoreDown).await;
    assert_eq!(shard.started(again).await[0].reason(), Some(Reason::StoreUnavailable), "it is known");
}

#[tokio::test]
async fn what_is_lost_is_counted_once_although_the_store_goes_back_again_before_it_is_mended() {
    let world = World::new();
    let (pass, wait) = (world.define(PASS).await, world.define(WAIT).await);
    let shard = world.shard().await;
    start_each(&shard, wait, 1..=2).await;
    // Beyond that nothing is held of them.
    world.clock.advance(limits::HELD_TIME);
    start_each(&shard, pass, 3..=3).await;
    let (confirmed, top) = (block(1, 3), Some(block(1, 1)));
    world.store.fail_next(Fault::Refuse(StoreError::WentBack { partition: partition(), confirmed, top }));
    world.store.go_back(partition(), block(1, 1));
    let mended = async {
        while world.store.top(partition()).await.expect("answered") < Some(block(2, 1)) {
            shard.settled().await;
        }
    };
    ticking(&shard, mended).await;
    assert_eq!((shard.metrics.blocks_resent.get(), shard.metrics.blocks_lost.get()), (1, 1));
    drop(shard);
    assert_eq!(world.shard().await.metrics.recovered.get(), 2, "what is open was written again");
}

#[tokio::test]
async fn resends_that_wait_for_the_log_are_bounded_and_the_others_are_refused_with_a_delay() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let (most, all) = (limits::LOADING_BATCHES_MAX as u64, limits::LOADING_BATCHES_MAX as u64 + 5);
    start_each(&shard, pass, 1..=all).await;
    drop(shard);
    let shard = world.shard().await;
    world.store.hold_reads(true);
    let mut answers = Vec::new();
    for sequence in 1..=all {
        answers.push(shard.start(batch(sequence, pass, Mode::Express, &["1"])).await);
    }
    shard.settled().await;
    for late in &mut answers[most as usize..] {
        assert_eq!(next(late).await.reason(), Some(Reason::Overloaded));
    }
    world.store.hold_reads(false);
    for early in &mut answers[..most as usize] {
        assert_eq!(next(early).await.refusal, None);
    }
    let again = shard.started(batch(all, pass, Mode::Express, &["1"])).await;
    assert_eq!(again[0].refusal, None, "there is room again");
}
