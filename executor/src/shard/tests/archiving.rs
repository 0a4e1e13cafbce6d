//! Closed executions in an archive, after the log was trimmed of them.

use ids::MachineName;
use journal::BlockId;
use journal::store::BlockRange;
use proto::executor::v1::{ExecutionStatus, HistoryForm, Mode};
use tempfile::TempDir;

use super::super::archiving::{Range, Unarchived};
use super::*;

/// The retention of the log in these tests.
const RETENTION: Duration = Duration::from_secs(60);
/// What the archive keeps where a machine does not say. The clock of these tests runs far ahead of the archive's thread.
const KEEP: Duration = Duration::from_hours(90 * 24);

fn url(dir: &TempDir) -> String {
    format!("file://{}", dir.path().display())
}

fn world(dir: &TempDir) -> World {
    World { retention: RETENTION, archive: Some((url(dir), KEEP)), ..World::new() }
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The first block of the log.
async fn first(world: &World) -> Option<BlockId> {
    let store = world.store.connect().await.expect("a connection");
    let to = BlockId { generation: u64::MAX, sequence: u64::MAX };
    let range = BlockRange { from: BlockId::default(), to, reverse: false, limit: 1 };
    store.read(partition(), range).await.expect("the log").first().map(|(id, _)| *id)
}

/// Lets time pass, with a start every ten seconds, until the log is trimmed of everything that was in it before.
async fn trimmed(world: &World, shard: &TestShard, definition: DefinitionHash, from: u64) {
    let before = first(world).await.expect("a log");
    let end = {
        let store = world.store.connect().await.expect("a connection");
        store.top(partition()).await.expect("a top").expect("a block")
    };
    assert!(before <= end);
    let passes = async {
        let mut sequence = from;
        while first(world).await.is_some_and(|first| first <= end) {
            world.clock.advance(Duration::from_secs(10));
            let start_time_ms = Clock::Manual(world.clock.clone()).now_ms();
            let late = batch(sequence, definition, Mode::Express, &["0"]);
            shard.started(v1::StartBatch { start_time_ms, ..late }).await;
            sequence += 1;
        }
    };
    soon("a trimmed log", passes).await;
}

async fn described(shard: &TestShard, execution: ExecutionName) -> v1::DescribeExecutionResponse {
    shard.ask(|reply| Command::Describe { execution, reply }).await.expect("it is found")
}

fn named(name: &str) -> ExecutionName {
    let machine = MachineName::parse(MACHINE).expect("a machine").execution_segment().to_owned();
    ExecutionName::Named { machine, name: name.to_owned() }
}

async fn history(shard: &TestShard, execution: ExecutionName) -> Vec<String> {
    let form = HistoryForm::StepFunctions;
    let events = shard
        .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
        .await
        .map(|page| page.events)
        .expect("a history");
    events.into_iter().map(|event| event.r#type).collect()
}

async fn listed(shard: &TestShard, status: ExecutionStatus, token: &str) -> v1::ListExecutionsResponse {
    let request = v1::ListExecutionsRequest {
        machine_arn: MACHINE.to_owned(),
        status: status.into(),
        max_results: 3,
        next_token: token.to_owned(),
        ..Default::default()
    };
    shard.ask(|reply| Command::List { request, reply }).await.expect("a page")
}

/// All pages of a listing.
async fn all(shard: &TestShard, status: ExecutionStatus) -> Vec<v1::ExecutionSummary> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = listed(shard, status, &token).await;
        found.extend(page.executions);
        if page.next_token.is_empty() {
            return found;
        }
        token = page.next_token;
    }
}

/// Three executions that end at once, of which one fails, and a named STANDARD one with a task.
async fn some(world: &World, shard: &TestShard) -> DefinitionHash {
    let (pass, fail) = (world.define(PASS).await, world.define(FAIL).await);
    let two = world.define(TWO_TASKS).await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 8).await;
    shard.started(batch(1, pass, Mode::Express, &["1", "\"two\""])).await;
    shard.started(batch(2, fail, Mode::Express, &["3"])).await;
    let monday = batch(3, two, Mode::Standard, &["4"]);
    shard.started(v1::StartBatch { name: vec!["monday".to_owned()], ..monday }).await;
    for output in ["\"paid\"", "\"shipped\""] {
        let task = ticking(shard, tasks(&mut worker, 1)).await.remove(0);
        shard.succeed(1, &task.token, output).await;
    }
    ticking(shard, outcomes(&mut watcher, 4)).await;
    pass
}

/// Whether everything that `some` began is found in each way.
async fn found(shard: &TestShard) {
    let two = described(shard, execution(1, 1)).await;
    assert_eq!(two.output.as_deref(), Some(&b"\"two\""[..]));
    let failed = described(shard, execution(2, 0)).await;
    assert_eq!((failed.error.as_deref(), failed.cause.as_deref()), (Some("E"), Some("C")));
    for asked in [named("monday"), execution(3, 0)] {
        let monday = described(shard, asked.clone()).await;
        assert_eq!((&monday.input[..], monday.output.as_deref()), (&b"4"[..], Some(&b"\"shipped\""[..])));
        assert_eq!(monday.summary.expect("a summary").name, "monday");
        let events = history(shard, asked).await;
        assert_eq!(events.first().map(String::as_str), Some("ExecutionStarted"));
        assert_eq!(
            events.iter().filter(|event| *event == "LambdaFunctionSucceeded").count(),
            2,
            "{events:?}"
        );
        assert_eq!(events.last().map(String::as_str), Some("ExecutionSucceeded"));
    }
    assert!(!history(shard, execution(1, 0)).await.is_empty(), "an EXPRESS one that needed nothing");
    let failed = all(shard, ExecutionStatus::Failed).await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    let succeeded = all(shard, ExecutionStatus::Succeeded).await;
    let ids: std::collections::BTreeSet<_> = succeeded.iter().map(|one| &one.execution_id).collect();
    assert_eq!(ids.len(), succeeded.len(), "nothing is listed twice");
    let wanted = [batch_id(1).execution(0), batch_id(1).execution(1), batch_id(3).execution(0)];
    assert!(wanted.iter().all(|id| ids.contains(&id.to_string())), "{ids:?}");
    assert!(succeeded.is_sorted_by(|one, other| one.start_time_ms >= other.start_time_ms));
}

#[tokio::test]
async fn what_the_log_is_trimmed_of_is_found_in_the_archive_also_by_the_next_owner() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    let pass = some(&world, &shard).await;
    found(&shard).await;
    trimmed(&world, &shard, pass, 10).await;
    found(&shard).await;
    drop(shard);
    let shard = world.shard().await;
    found(&shard).await;
    assert_eq!(shard.metrics.archive_failures.get(), 0);
}

#[tokio::test]
async fn just_after_its_retention_nothing_that_ended_is_said_to_run_and_the_archive_tells_how_it_ended() {
    let dir = dir();
    for archive in [None, Some((url(&dir), KEEP))] {
        let kept = archive.is_some();
        let world = World { retention: RETENTION, archive, ..World::new() };
        let shard = world.shard().await;
        let two = world.define(TWO_TASKS).await;
        let mut watcher = shard.watch().await;
        let mut worker = shard.worker(1, 8).await;
        shard.started(batch(1, two, Mode::Standard, &["1"])).await;
        for output in ["\"paid\"", "\"shipped\""] {
            let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
            shard.succeed(1, &task.token, output).await;
        }
        ticking(&shard, outcomes(&mut watcher, 1)).await;
        let succeeded = all(&shard, ExecutionStatus::Succeeded).await;
        assert_eq!(succeeded.len(), 1, "{succeeded:?}");
        world.clock.advance(RETENTION + Duration::from_secs(1));
        world.store.age_derived(partition(), RETENTION + Duration::from_secs(1));
        if kept {
            let archived = async {
                while shard.metrics.archived_executions.get() == 0 {
                    world.clock.advance(TICK);
                    shard.settled().await;
                }
            };
            soon("an archived execution", archived).await;
        }
        assert_eq!(all(&shard, ExecutionStatus::Running).await, []);
        let expected = if kept { succeeded } else { Vec::new() };
        assert_eq!(all(&shard, ExecutionStatus::Unspecified).await, expected);
        assert_eq!(all(&shard, ExecutionStatus::Succeeded).await, expected);
        assert_eq!(
            shard.ask(|reply| Command::Describe { execution: execution(1, 0), reply }).await.is_ok(),
            kept
        );
    }
}

#[tokio::test]
async fn what_is_in_the_archive_alone_is_said_to_be_there_when_a_redrive_is_asked_for() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    let (pass, fail) = (world.define(PASS).await, world.define(FAIL).await);
    shard.started(batch(1, fail, Mode::Standard, &["1"])).await;
    trimmed(&world, &shard, pass, 10).await;
    let redrive = |execution| shard.ask(|reply| Command::Redrive { execution, token: Bytes::new(), reply });
    let refused = redrive(execution(1, 0)).await.expect_err("it is archived");
    assert!(matches!(refused, Error::Conflict { code: "ExecutionNotRedrivable", .. }), "{refused}");
    assert!(refused.to_string().contains("archived"), "{refused}");
    let described = described(&shard, execution(1, 0)).await;
    assert_eq!(described.redrive_status(), v1::RedriveStatus::NotRedrivable, "{described:?}");
    assert!(described.redrive_status_reason.contains("archived"), "{described:?}");
    let absent = redrive(execution(9, 0)).await.expect_err("it never was");
    assert!(matches!(absent, Error::NotFound { code: "ExecutionDoesNotExist", .. }), "{absent}");
}

/// Longer than the retention, and so long that it is carried.
const LONG_WAIT: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":900,"End":true}}}"#;

#[tokio::test]
async fn what_was_redriven_or_carried_is_archived_as_it_ended_in_the_end() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    let (pass, fail) = (world.define(PASS).await, world.define(FAIL).await);
    let wait = world.define(LONG_WAIT).await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, fail, Mode::Standard, &["1"])).await;
    shard.started(batch(2, wait, Mode::Standard, &["2"])).await;
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let redriven =
        shard.ask(|reply| Command::Redrive { execution: execution(1, 0), token: Bytes::new(), reply });
    ticking(&shard, redriven).await.expect("it is redriven");
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let ended = async {
        let mut sequence = 1_000_000;
        while shard.metrics.open.get() > 0 {
            world.clock.advance(Duration::from_secs(10));
            let start_time_ms = Clock::Manual(world.clock.clone()).now_ms();
            let late = batch(sequence, pass, Mode::Express, &["0"]);
            // What the clock wakes may have begun a flush at this instant already.
            ticking(&shard, shard.started(v1::StartBatch { start_time_ms, ..late })).await;
            sequence += 1;
        }
    };
    soon("the end of what waits", ended).await;
    assert!(shard.metrics.carried.get() > 0, "it was carried while it waited");
    trimmed(&world, &shard, pass, 10).await;
    let failed = described(&shard, execution(1, 0)).await;
    let status = failed.summary.as_ref().map(v1::ExecutionSummary::status);
    assert_eq!((status, failed.redrive_count), (Some(ExecutionStatus::Failed), 1));
    let events = history(&shard, execution(1, 0)).await;
    assert!(events.iter().any(|event| event == "ExecutionRedriven"), "{events:?}");
    let waited = described(&shard, execution(2, 0)).await;
    assert_eq!((&waited.input[..], waited.output.as_deref()), (&b"2"[..], Some(&b"2"[..])));
    assert_eq!(all(&shard, ExecutionStatus::Failed).await.len(), 1);
    assert_eq!(shard.metrics.archive_failures.get(), 0);
}

/// Works for two turns.
const TWO_TURNS: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{
    "A":{"Type":"Pass","Output":"{% $count([1..100000]) %}","Next":"B"},
    "B":{"Type":"Pass","Output":"{% $count([1..100000]) %}","End":true}}}"#;

#[tokio::test]
async fn what_worked_much_has_its_history_in_the_archive_also_if_it_ended_in_the_block_that_opened_it() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    let (pass, two) = (world.define(PASS).await, world.define(TWO_TURNS).await);
    let mut watcher = shard.watch().await;
    let inputs = ["0"; 20];
    shard.started(batch(1, two, Mode::Standard, &inputs)).await;
    ticking(&shard, outcomes(&mut watcher, 20)).await;
    trimmed(&world, &shard, pass, 10).await;
    let expected = [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ];
    for index in 0..20 {
        assert_eq!(history(&shard, execution(1, index)).await, expected, "{index}");
    }
}

#[tokio::test]
async fn an_archive_that_is_away_keeps_the_log_from_being_trimmed_and_is_caught_up_with() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    // A file where the partition's folder should be.
    let place = dir.path().join("0000");
    std::fs::write(&place, "").expect("a file");
    let pass = some(&world, &shard).await;
    let before = first(&world).await;
    let away = async {
        for sequence in 10.. {
            world.clock.advance(Duration::from_secs(10));
            let start_time_ms = Clock::Manual(world.clock.clone()).now_ms();
            let late = batch(sequence, pass, Mode::Express, &["0"]);
            shard.started(v1::StartBatch { start_time_ms, ..late }).await;
            if shard.metrics.archive_failures.get() > 3 && sequence > 40 {
                return sequence;
            }
        }
        unreachable!("the numbers do not end")
    };
    let sequence = soon("failures", away).await;
    assert_eq!(first(&world).await, before, "nothing was trimmed");
    assert!(shard.metrics.archive_overdue_ms.get() > 60_000, "and it is told for how long");
    std::fs::remove_file(&place).expect("the file");
    trimmed(&world, &shard, pass, sequence + 1).await;
    found(&shard).await;
}

#[tokio::test]
async fn only_machines_that_ask_for_it_are_archived_where_the_node_keeps_nothing_longer() {
    let dir = dir();
    let world = World { archive: Some((url(&dir), Duration::ZERO)), ..world(&dir) };
    let shard = world.shard().await;
    let pass = world.define(PASS).await;
    let mut asks = batch(1, pass, Mode::Express, &["1"]);
    asks.machines[0].retention_seconds = 60 * 86_400;
    shard.started(asks).await;
    shard.started(batch(2, pass, Mode::Express, &["2"])).await;
    trimmed(&world, &shard, pass, 10).await;
    assert_eq!(described(&shard, execution(1, 0)).await.output.as_deref(), Some(&b"1"[..]));
    let gone = shard.ask(|reply| Command::Describe { execution: execution(2, 0), reply }).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    assert_eq!(shard.metrics.archived_executions.get(), 1);
    // Its own time passes, too.
    let passes = async {
        while shard.metrics.archive_expired.get() == 0 {
            world.clock.advance(Duration::from_hours(24));
            shard.settled().await;
        }
    };
    soon("an expired segment", passes).await;
    let gone = shard.ask(|reply| Command::Describe { execution: execution(1, 0), reply }).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    let left = std::fs::read_dir(dir.path().join("0000")).expect("the folder").count();
    assert_eq!(left, 0, "nothing is left of it");
}

#[tokio::test]
async fn what_is_archived_again_by_an_owner_that_knows_of_nothing_is_still_there_once() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    let pass = some(&world, &shard).await;
    trimmed(&world, &shard, pass, 10).await;
    let archived = shard.metrics.archived_executions.get();
    drop(shard);
    // What a crash may lose: the mark of how far the log is archived.
    let key = [b"a".as_slice(), &journal::index::machine_hash(&url(&dir)).to_be_bytes()].concat();
    world.store.forget_derived(partition(), &key);
    let shard = world.shard().await;
    let again = async {
        while shard.metrics.archived_executions.get() == 0 {
            world.clock.advance(Duration::from_secs(10));
            shard.settled().await;
        }
    };
    soon("another segment", again).await;
    assert!(archived > 0);
    found(&shard).await;
}

/// Lets time pass, with nothing else.
async fn idle(world: &World, shard: &TestShard) {
    world.clock.advance(Duration::from_secs(10));
    shard.settled().await;
}

#[tokio::test]
async fn a_range_does_not_count_as_archived_where_the_store_ends_below_what_it_had_confirmed() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    let pass = world.define(PASS).await;
    for sequence in 1..=3 {
        shard.started(batch(sequence, pass, Mode::Express, &["1"])).await;
    }
    drop(shard);
    let archiver = world.archiver().expect("an archive");
    let confirmed = BlockId { generation: 1, sequence: 3 };
    let below = BlockId { generation: 1, sequence: 4 };
    let (from, now_ms) = (BlockId { generation: 1, sequence: 1 }, START_MS);
    let range =
        Range { partition: partition(), from, below, confirmed, resumes: true, sweeps: false, now_ms };
    let archived = archiver.archive(range).await.expect("archived");
    assert_eq!((archived.below, archived.executions, archived.more), (below, 3, false));
    for lost in [BlockId { generation: 1, sequence: 2 }, from, BlockId::default()] {
        world.store.go_back(partition(), lost);
        let archived = archiver.archive(range).await;
        assert!(
            matches!(archived, Err(Unarchived::Store(journal::StoreError::WentBack { .. }))),
            "{lost}: {archived:?}"
        );
    }
}

#[tokio::test]
async fn a_log_in_which_nothing_happens_is_archived_and_trimmed_and_then_left_alone() {
    let dir = dir();
    let world = world(&dir);
    let shard = world.shard().await;
    some(&world, &shard).await;
    let store = world.store.connect().await.expect("a connection");
    let end = store.top(partition()).await.expect("a top").expect("a block");
    let emptied = async {
        while first(&world).await.is_some_and(|first| first <= end) {
            idle(&world, &shard).await;
        }
    };
    soon("a trimmed log", emptied).await;
    found(&shard).await;
    let top = store.top(partition()).await.expect("a top");
    for _ in 0..1_000 {
        idle(&world, &shard).await;
    }
    assert_eq!(store.top(partition()).await.expect("a top"), top, "nothing more is written");
    found(&shard).await;
}
