//! What is told of Map Runs, which nobody keeps.

use proto::executor::v1::{ExecutionStatus, MapRun, MapRunCounts, Mode};

use super::super::{ChildrenCut, ChildrenPage};
use super::redriving::fail;
use super::*;

/// Two children at once, of two items each.
const BATCHES: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Label":"Pairs","MaxConcurrency":2,"End":true,
    "ItemBatcher":{"MaxItemsPerBatch":2},"ToleratedFailureCount":2,"ToleratedFailurePercentage":50,
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}}}}}"#;

/// A Map that is tried once more.
const TWICE: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Label":"M","End":true,
    "Retry":[{"ErrorEquals":["States.ALL"],"IntervalSeconds":1,"MaxAttempts":1}],
    "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}}}}}"#;

async fn map_runs(shard: &TestShard) -> Vec<MapRun> {
    shard.ask(|reply| Command::MapRuns { execution: execution(1, 0), reply }).await.expect("it is there")
}

/// Status, executions and items of a Map Run: under way, succeeded, failed, aborted.
fn counts(run: &MapRun) -> (ExecutionStatus, [u64; 4], [u64; 4]) {
    let of = |counts: Option<&MapRunCounts>| {
        let MapRunCounts { running, succeeded, failed, aborted, .. } = counts.copied().unwrap_or_default();
        [running, succeeded, failed, aborted]
    };
    (run.status(), of(run.executions.as_ref()), of(run.items.as_ref()))
}

#[tokio::test]
async fn children_and_their_items_are_counted_as_what_they_came_to_and_alike_after_a_crash() {
    let world = World::new();
    let batches = world.define(BATCHES).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, batches, Mode::Standard, &["[1,2,3,4,5]"])).await;
    let mut open = tasks(&mut worker, 2).await;
    let run = map_runs(&shard).await.remove(0);
    assert!(run.arn.contains(":mapRun:orders/Pairs:"), "{}", run.arn);
    assert_eq!((run.machine_arn.clone(), run.max_concurrency), (format!("{MACHINE}/Pairs"), 2));
    assert_eq!((run.tolerated_failure_count, run.tolerated_failure_percentage), (2, 50.0));
    assert_eq!((run.start_time_ms, run.stop_time_ms), (START_MS, 0));
    assert_eq!(counts(&run), (ExecutionStatus::Running, [2, 0, 0, 0], [4, 0, 0, 0]));

    world.clock.advance(TICK);
    fail(&shard, &open.remove(0).token).await;
    open.extend(tasks(&mut worker, 1).await);
    world.clock.advance(TICK);
    shard.succeed(1, &open.remove(0).token, "1").await;
    shard.settled().await;
    world.clock.advance(TICK);
    shard.settled().await;
    let expected = (ExecutionStatus::Running, [1, 1, 1, 0], [1, 2, 2, 0]);
    assert_eq!(counts(&map_runs(&shard).await[0]), expected);
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(counts(&map_runs(&shard).await[0]), expected);

    let (error, cause) = (String::new(), String::new());
    let stop = |reply| Command::Stop { execution: execution(1, 0), error, cause, reply };
    let stopped_ms = ticking(&shard, shard.ask(stop)).await.expect("stopped");
    let run = map_runs(&shard).await.remove(0);
    assert_eq!(counts(&run), (ExecutionStatus::Aborted, [0, 1, 1, 1], [0, 2, 2, 1]));
    assert_eq!(run.stop_time_ms, stopped_ms);
}

#[tokio::test]
async fn a_retry_is_another_map_run_and_what_was_under_way_in_the_first_is_aborted() {
    let world = World::new();
    let twice = world.define(TWICE).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, twice, Mode::Standard, &["[1,2]"])).await;
    let first = tasks(&mut worker, 2).await;
    world.clock.advance(TICK);
    fail(&shard, &first[0].token).await;
    shard.settled().await;
    world.clock.advance(Duration::from_secs(1) + TICK);
    let second = ticking(&shard, tasks(&mut worker, 2)).await;
    for task in &second {
        shard.succeed(1, &task.token, "1").await;
    }
    let told = ticking(&shard, outcomes(&mut watcher, 1)).await;
    assert_eq!(told[0].status(), ExecutionStatus::Succeeded);
    let runs = map_runs(&shard).await;
    let told: Vec<_> = runs.iter().map(counts).collect();
    let failed = (ExecutionStatus::Failed, [0, 0, 1, 1], [0, 0, 1, 1]);
    assert_eq!(told, [failed, (ExecutionStatus::Succeeded, [0, 2, 0, 0], [0, 2, 0, 0])]);
    assert!(runs[0].arn != runs[1].arn && runs[0].stop_time_ms <= runs[1].start_time_ms, "{runs:?}");
    assert!(runs[1].stop_time_ms > 0);
}

#[tokio::test]
async fn an_execution_without_a_distributed_map_has_no_map_run() {
    let world = World::new();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(batch(1, pass, Mode::Standard, &["1"])).await;
    assert_eq!(map_runs(&shard).await, []);
}

async fn children(shard: &TestShard, cut: ChildrenCut) -> ChildrenPage {
    shard.ask(|reply| Command::Children { execution: execution(1, 0), cut, reply }).await.expect("a page")
}

/// Status and items of each child of a page.
fn rows(page: &ChildrenPage) -> Vec<(ExecutionStatus, u64)> {
    page.executions.iter().map(|child| (child.status(), child.items)).collect()
}

#[tokio::test]
async fn the_children_of_a_map_run_are_listed_newest_first_page_by_page_and_alike_after_a_crash() {
    use ExecutionStatus::{Aborted, Failed, Running, Succeeded, Unspecified};
    let world = World::new();
    let batches = world.define(BATCHES).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, batches, Mode::Standard, &["[1,2,3,4,5]"])).await;
    let mut open = tasks(&mut worker, 2).await;
    let map_run = map_runs(&shard).await.remove(0).arn;
    let cut = |status, size| ChildrenCut { map_run: map_run.clone(), status, size, place: None };
    assert_eq!(rows(&children(&shard, cut(Unspecified, 9)).await), [(Running, 2), (Running, 2)]);

    world.clock.advance(TICK);
    fail(&shard, &open.remove(0).token).await;
    open.extend(tasks(&mut worker, 1).await);
    world.clock.advance(TICK);
    shard.succeed(1, &open.remove(0).token, "1").await;
    shard.settled().await;
    world.clock.advance(TICK);
    shard.settled().await;
    let all = children(&shard, cut(Unspecified, 9)).await;
    assert_eq!((all.machine_arn.clone(), all.next), (format!("{MACHINE}/Pairs"), None));
    assert_eq!(rows(&all), [(Running, 1), (Succeeded, 2), (Failed, 2)]);
    let [_, succeeded, failed] = &all.executions[..] else { panic!("{all:?}") };
    assert!(failed.arn.ends_with(&format!(":execution:orders/Pairs:{}", failed.name)), "{}", failed.arn);
    assert!(failed.start_time_ms == START_MS && failed.stop_time_ms < succeeded.stop_time_ms, "{all:?}");
    for (status, expected) in [(Running, 0), (Succeeded, 1), (Failed, 2)] {
        let page = children(&shard, cut(status, 9)).await;
        assert_eq!(page.executions, std::slice::from_ref(&all.executions[expected]));
    }
    assert_eq!(children(&shard, cut(Aborted, 9)).await.executions, []);

    drop(shard);
    let shard = world.shard().await;
    let (mut seen, mut place) = (Vec::new(), None);
    loop {
        let page = children(&shard, ChildrenCut { place, ..cut(Unspecified, 2) }).await;
        assert!(page.executions.len() <= 2);
        seen.extend(page.executions);
        if page.next.is_none() {
            break;
        }
        place = page.next;
    }
    assert_eq!(seen, all.executions);

    let (error, cause) = (String::new(), String::new());
    let stop = |reply| Command::Stop { execution: execution(1, 0), error, cause, reply };
    let stopped_ms = ticking(&shard, shard.ask(stop)).await.expect("stopped");
    let page = children(&shard, cut(Aborted, 1)).await;
    assert_eq!((rows(&page), page.executions[0].stop_time_ms), (vec![(Aborted, 1)], stopped_ms));
    let unknown = ChildrenCut { map_run: "other".to_owned(), ..cut(Unspecified, 1) };
    let refused =
        shard.ask(|reply| Command::Children { execution: execution(1, 0), cut: unknown, reply }).await;
    assert!(matches!(refused, Err(Error::NotFound { code: "ResourceNotFound", .. })), "{refused:?}");
}

#[tokio::test]
async fn more_children_than_a_page_has_are_each_listed_once() {
    let quick = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Label":"M","End":true,"MaxConcurrency":3,
        "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"A","States":{
        "A":{"Type":"Pass","End":true}}}}}}"#;
    let world = World::new();
    let quick = world.define(quick).await;
    let shard = world.shard().await;
    let items = format!("[{}]", vec!["0"; 50].join(","));
    shard.started(batch(1, quick, Mode::Standard, &[&items])).await;
    shard.settled().await;
    let map_run = map_runs(&shard).await.remove(0).arn;
    let cut =
        |place| ChildrenCut { map_run: map_run.clone(), status: ExecutionStatus::Succeeded, size: 7, place };
    let (mut names, mut place) = (Vec::new(), None);
    loop {
        let page = children(&shard, cut(place)).await;
        names.extend(page.executions.into_iter().map(|child| child.name));
        if page.next.is_none() {
            break;
        }
        place = page.next;
    }
    assert_eq!(names.len(), 50);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50, "none is listed twice");
}

/// How many reads of blocks a question costs.
async fn reads<T>(world: &World, question: impl Future<Output = T>) -> (u64, T) {
    let before = world.store.reads();
    let answer = question.await;
    (world.store.reads() - before, answer)
}

#[tokio::test]
async fn pages_after_the_first_and_the_same_question_again_cost_no_more_than_a_look_up() {
    let world = World::new();
    let batches = world.define(BATCHES).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 20).await;
    let items: Vec<String> = (0..24).map(|item| item.to_string()).collect();
    shard.started(batch(1, batches, Mode::Standard, &[&format!("[{}]", items.join(","))])).await;
    let mut open = tasks(&mut worker, 2).await;
    for ended in 1..=12 {
        world.clock.advance(TICK);
        shard.succeed(1, &open.remove(0).token, "1").await;
        if ended <= 10 {
            open.extend(ticking(&shard, tasks(&mut worker, 1)).await);
        }
    }
    world.clock.advance(TICK);
    shard.settled().await;
    let describe = shard.ask(|reply| Command::Describe { execution: execution(1, 0), reply });
    let (look_up, described) = reads(&world, describe).await;
    let summary = described.expect("it is there").summary.expect("a summary");
    assert_eq!(summary.status(), ExecutionStatus::Succeeded);
    let (first, runs) = reads(&world, map_runs(&shard)).await;
    assert!(first > look_up, "its journal is read once: {first}, {look_up}");
    let (again, same) = reads(&world, map_runs(&shard)).await;
    assert_eq!((again, same), (look_up, runs.clone()));

    let cut = |place| ChildrenCut {
        map_run: runs[0].arn.clone(),
        status: ExecutionStatus::Unspecified,
        size: 5,
        place,
    };
    let (first, mut page) = reads(&world, children(&shard, cut(None))).await;
    assert!(first > look_up, "{first}");
    let mut listed = page.executions.len();
    while page.next.is_some() {
        let (read, following) = reads(&world, children(&shard, cut(page.next))).await;
        assert_eq!(read, look_up);
        listed += following.executions.len();
        page = following;
    }
    assert_eq!(listed, 12);
}

#[tokio::test]
async fn a_walk_is_of_the_moment_of_its_first_page_for_a_minute_and_every_first_page_of_now() {
    use ExecutionStatus::{Running, Succeeded};
    let world = World::new();
    let batches = world.define(BATCHES).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, batches, Mode::Standard, &["[1,2,3,4]"])).await;
    let open = tasks(&mut worker, 2).await;
    let map_run = map_runs(&shard).await.remove(0).arn;
    let cut = |size, place| ChildrenCut {
        map_run: map_run.clone(),
        status: ExecutionStatus::Unspecified,
        size,
        place,
    };
    let first = children(&shard, cut(1, None)).await;
    assert!(first.next.is_some());
    // The older of both ends.
    let oldest = open.into_iter().find(|task| task.input.windows(5).any(|text| text == b"[1,2]"));
    world.clock.advance(TICK);
    shard.succeed(1, &oldest.expect("its task").token, "1").await;
    shard.settled().await;
    world.clock.advance(TICK);
    shard.settled().await;
    let following = async || rows(&children(&shard, cut(1, first.next)).await);
    assert_eq!(following().await, [(Running, 2)], "as it stood");
    world.clock.advance(limits::KEPT_REPLAY_MAX + TICK);
    shard.settled().await;
    assert_eq!(following().await, [(Succeeded, 2)], "too long ago");
    assert_eq!(rows(&children(&shard, cut(2, None)).await), [(Running, 2), (Succeeded, 2)], "as it stands");
}
