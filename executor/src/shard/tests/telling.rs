//! What a shard tells of histories to be exported, and what it counts of states.

use export::{IntakeBounds, Outlet, Page};
use journal::StoreError;
use journal::memory::Fault;
use proto::executor::v1::{LogLevel, LoggingConfiguration, Mode};
use telemetry::StateMetrics;

use super::super::Outside;
use super::*;

/// A retry, a catcher, and a Fail state.
const CAUGHT: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay",
        "Retry":[{"ErrorEquals":["Again"],"MaxAttempts":1}],
        "Catch":[{"ErrorEquals":["States.ALL"],"Next":"B"}],"End":true},
    "B":{"Type":"Fail","Error":"E","Cause":"C"}}}"#;

/// Two branches: one fails, and the other is given up.
const BRANCHES: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","End":true,"Branches":[
    {"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":60,"End":true}}},
    {"StartAt":"V","States":{"V":{"Type":"Wait","Seconds":10,"Next":"F"},"F":{"Type":"Fail","Error":"E"}}}]}}}"#;

fn world() -> (World, Outlet<Page>) {
    let (history, outlet) = export::intake(IntakeBounds::default(), Arc::default());
    (World { outside: Outside { history: Some(history), spans: None }, ..World::new() }, outlet)
}

fn logged(mut batch: v1::StartBatch, level: LogLevel, include_execution_data: bool) -> v1::StartBatch {
    batch.machines[0].logging = Some(LoggingConfiguration { level: level.into(), include_execution_data });
    batch
}

/// What has left by now: acknowledgements leave before what is told.
async fn taken(shard: &TestShard, outlet: &Outlet<Page>) -> Vec<Page> {
    shard.settled().await;
    std::iter::from_fn(|| outlet.take()).collect()
}

/// The ids and types of the events of one execution, as far as they have left.
fn events(pages: &[Page], index: u8) -> Vec<(u64, &'static str)> {
    let id = batch_id(1).execution(index).to_string();
    let of = pages.iter().filter(|page| page.execution.ends_with(&id));
    of.flat_map(|page| page.events.iter()).map(|(event, _)| (event.id, event.kind)).collect()
}

fn kinds(pages: &[Page], index: u8) -> Vec<&'static str> {
    events(pages, index).into_iter().map(|(_, kind)| kind).collect()
}

/// Whether an input or an output is told.
fn with_data(pages: &[Page]) -> bool {
    let details = pages.iter().flat_map(|page| page.events.iter()).map(|(_, details)| details);
    let texts = details.map(|details| std::str::from_utf8(details).expect("text"));
    texts.into_iter().any(|text| text.contains("putDetails"))
}

async fn fail(shard: &TestShard, token: &Bytes, error: &str) {
    let failure = v1::TaskFailure { error: error.to_owned(), cause: "no".to_owned() };
    let failed = v1::task_outcome::Outcome::Failure(failure);
    let outcome = v1::TaskOutcome { token: token.clone(), outcome: Some(failed) };
    shard.say(1, v1::WorkerMessage { outcomes: vec![outcome], ..Default::default() }).await;
}

fn state(shard: &TestShard, name: &str) -> Arc<StateMetrics> {
    shard.metrics.machine(MACHINE).state(name)
}

/// Entered, exited, failed, aborted, caught, retried.
fn counts(state: &StateMetrics) -> [u64; 6] {
    let StateMetrics { entered, exited, failed, aborted, caught, retried, .. } = state;
    [entered, exited, failed, aborted, caught, retried].map(telemetry::cells::Counter::get)
}

#[tokio::test]
async fn each_level_tells_the_events_that_step_functions_logs_at_it() {
    for (level, told) in [
        (
            LogLevel::All,
            &[
                (1, "ExecutionStarted"),
                (2, "TaskStateEntered"),
                (3, "LambdaFunctionScheduled"),
                (4, "LambdaFunctionStarted"),
                (5, "LambdaFunctionFailed"),
                (6, "TaskStateExited"),
                (7, "FailStateEntered"),
                (8, "ExecutionFailed"),
            ][..],
        ),
        (LogLevel::Error, &[(5, "LambdaFunctionFailed"), (7, "FailStateEntered"), (8, "ExecutionFailed")]),
        (LogLevel::Fatal, &[(8, "ExecutionFailed")]),
        (LogLevel::Off, &[]),
    ] {
        for mode in [Mode::Standard, Mode::Express] {
            let (world, outlet) = world();
            let caught = world.define(CAUGHT).await;
            let shard = world.shard().await;
            let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
            shard.started(logged(batch(1, caught, mode, &["1"]), level, true)).await;
            let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
            fail(&shard, &task.token, "Declined").await;
            ticking(&shard, outcomes(&mut watcher, 1)).await;
            let pages = taken(&shard, &outlet).await;
            assert_eq!(events(&pages, 0), told, "{level:?} {mode:?}");
            assert!(pages.iter().all(|page| &*page.machine == MACHINE));
            let is_entered = told.iter().any(|(_, kind)| kind.ends_with("Entered"));
            assert_eq!(with_data(&pages), is_entered, "{level:?}");
        }
    }
}

#[tokio::test]
async fn a_start_may_ask_for_another_level_than_the_machine_has() {
    let (world, outlet) = world();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let mut starts = logged(batch(1, pass, Mode::Express, &["1", "2", "3"]), LogLevel::Off, false);
    let all = LoggingConfiguration { level: LogLevel::All.into(), include_execution_data: false };
    starts.machines.push(v1::Machine { logging: Some(all), ..starts.machines[0].clone() });
    starts.machine_index = vec![0, 1, 0];
    shard.started(starts).await;
    let pages = taken(&shard, &outlet).await;
    assert_eq!(pages.len(), 1);
    assert!(!with_data(&pages));
    let whole = ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"];
    assert_eq!(kinds(&pages, 1), whole);
    let machine = shard.metrics.machine(MACHINE);
    assert_eq!(machine.started.get(), 3, "it is one machine all the same");
}

#[tokio::test]
async fn a_level_that_is_none_is_refused() {
    let (world, _) = world();
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    let mut starts = batch(1, pass, Mode::Express, &["1"]);
    starts.machines[0].logging = Some(LoggingConfiguration { level: 9, include_execution_data: false });
    let refusal = shard.started(starts).await.remove(0).refusal.expect("refused");
    assert_eq!(refusal.code, "InvalidLoggingConfiguration");
    assert!(refusal.message.contains("log level 9"), "{}", refusal.message);
}

#[tokio::test]
async fn nothing_leaves_before_the_block_with_its_cause_is_confirmed() {
    let (world, outlet) = world();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    world.store.hold_appends();
    let mut answers = shard.start(logged(batch(1, task, Mode::Express, &["1"]), LogLevel::All, true)).await;
    // EXPRESS tasks leave before their execution is durable.
    let given = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &given.token, "2").await;
    shard.settled().await;
    assert!(taken(&shard, &outlet).await.is_empty());
    world.store.release_appends();
    ticking(&shard, next(&mut answers)).await;
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    assert_eq!(kinds(&taken(&shard, &outlet).await, 0).last(), Some(&"ExecutionSucceeded"));
}

#[tokio::test]
async fn what_is_open_is_told_again_by_the_next_owner_with_the_same_ids() {
    for mode in [Mode::Standard, Mode::Express] {
        let (world, outlet) = world();
        let wait = world.define(WAIT).await;
        let shard = world.shard().await;
        shard.started(logged(batch(1, wait, mode, &["1"]), LogLevel::All, true)).await;
        let first = events(&taken(&shard, &outlet).await, 0);
        assert_eq!(first, [(1, "ExecutionStarted"), (2, "WaitStateEntered")]);
        drop(shard);
        let shard = world.shard().await;
        let mut watcher = shard.watch().await;
        assert_eq!(events(&taken(&shard, &outlet).await, 0), first);
        world.clock.advance(Duration::from_secs(60));
        ticking(&shard, outcomes(&mut watcher, 1)).await;
        let rest = events(&taken(&shard, &outlet).await, 0);
        assert_eq!(rest, [(3, "WaitStateExited"), (4, "ExecutionSucceeded")], "{mode:?}");
    }
}

#[tokio::test]
async fn what_a_start_asked_for_is_what_the_next_owner_tells() {
    let (world, outlet) = world();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let mut starts = logged(batch(1, wait, Mode::Standard, &["1", "2", "3"]), LogLevel::Error, false);
    let asked = LoggingConfiguration { level: LogLevel::All.into(), include_execution_data: true };
    starts.machines.push(v1::Machine { logging: Some(asked), ..starts.machines[0].clone() });
    starts.machine_index = vec![0, 1, 0];
    shard.started(starts).await;
    drop(shard);
    while outlet.take().is_some() {}
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(60));
    ticking(&shard, outcomes(&mut watcher, 3)).await;
    let pages = taken(&shard, &outlet).await;
    let whole = ["ExecutionStarted", "WaitStateEntered", "WaitStateExited", "ExecutionSucceeded"];
    assert_eq!(kinds(&pages, 1), whole);
    assert!(kinds(&pages, 0).is_empty() && kinds(&pages, 2).is_empty(), "they did not fail");
    assert!(with_data(&pages));
}

#[tokio::test]
async fn each_level_takes_the_same_of_a_machine_of_tcsl() {
    const FLOW: &str = "qrn:qcs:asw:gz:1:http:json:flowmachine:flow:abcd1234";
    for (level, told) in [
        (LogLevel::All, &["ExecutionStarted", "FailStateEntered", "ExecutionFailed"][..]),
        (LogLevel::Error, &["FailStateEntered", "ExecutionFailed"]),
        (LogLevel::Fatal, &["ExecutionFailed"]),
        (LogLevel::Off, &[]),
    ] {
        let (world, outlet) = world();
        let fail = world.define_as(FAIL, Dialect::Tcsl).await;
        let shard = world.shard().await;
        let mut starts = logged(batch(1, fail, Mode::Express, &["1"]), level, true);
        starts.machines[0].arn = FLOW.to_owned();
        starts.machines[0].dialect = v1::Dialect::Tcsl.into();
        shard.started(starts).await;
        let pages = taken(&shard, &outlet).await;
        assert_eq!(kinds(&pages, 0), told, "{level:?}");
        assert!(pages.iter().all(|page| &*page.machine == FLOW), "{pages:?}");
    }
}

#[tokio::test]
async fn the_ends_of_stopped_executions_and_of_those_that_may_not_go_on_are_told() {
    let (world, outlet) = world();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    shard.started(logged(batch(1, wait, Mode::SyncExpress, &["1", "2"]), LogLevel::Fatal, true)).await;
    let stop =
        |reply| Command::Stop { execution: execution(1, 0), error: "E".into(), cause: "C".into(), reply };
    ticking(&shard, shard.ask(stop)).await.expect("stopped");
    assert_eq!(events(&taken(&shard, &outlet).await, 0), [(3, "ExecutionAborted")]);
    drop(shard);
    let shard = world.shard().await;
    let told = async {
        loop {
            let pages = taken(&shard, &outlet).await;
            if !pages.is_empty() {
                return pages;
            }
        }
    };
    let pages = soon("the end", ticking(&shard, told)).await;
    assert_eq!(events(&pages, 1), [(limits::EXPRESS_HISTORY_EVENTS_MAX + 1, "ExecutionFailed")]);
}

#[tokio::test]
async fn states_are_counted_and_timed_whatever_is_exported() {
    let world = World::new();
    let caught = world.define(CAUGHT).await;
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(1, 10).await);
    shard.started(batch(1, caught, Mode::Standard, &["1"])).await;
    for error in ["Again", "Again"] {
        let task = ticking(&shard, tasks(&mut worker, 1)).await.remove(0);
        fail(&shard, &task.token, error).await;
    }
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    shard.settled().await;
    assert_eq!(counts(&state(&shard, "A")), [1, 1, 0, 0, 1, 1]);
    assert_eq!(counts(&state(&shard, "B")), [1, 0, 1, 0, 0, 0]);
    assert!(state(&shard, "A").time_us.get() >= 1_000_000, "a retry waits a second");
    assert_eq!(state(&shard, "B").time_us.get(), 0, "left in the step in which it was entered");
}

#[tokio::test]
async fn a_state_that_is_given_up_with_what_is_around_it_counts_as_aborted() {
    let world = World::new();
    let branches = world.define(BRANCHES).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, branches, Mode::Express, &["1"])).await;
    world.clock.advance(Duration::from_secs(10));
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let all = ["W", "V", "F", "P"].map(|name| counts(&state(&shard, name)));
    assert_eq!(all, [[1, 0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]]);
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_counted_and_the_execution_goes_on() {
    let cells = Arc::<telemetry::IntakeMetrics>::default();
    let bounds = IntakeBounds { items: 1, bytes: 1 << 20 };
    let (history, outlet) = export::intake(bounds, Arc::clone(&cells));
    let world = World { outside: Outside { history: Some(history), spans: None }, ..World::new() };
    let pass = world.define(PASS).await;
    let shard = world.shard().await;
    shard.started(logged(batch(1, pass, Mode::Express, &["1", "2", "3"]), LogLevel::All, true)).await;
    shard.settled().await;
    assert_eq!((cells.offered.get(), cells.dropped.get(), cells.dropped_records.get()), (3, 2, 8));
    assert_eq!(taken(&shard, &outlet).await.len(), 1);
}

#[tokio::test]
async fn an_end_that_waits_for_a_later_block_is_not_told_before_that_is_confirmed() {
    const COUNT: usize = 15;
    let (world, outlet) = world();
    let wait = world.define(WAIT).await;
    let shard = world.shard().await;
    let input = format!("\"{}\"", "x".repeat(200_000));
    for sequence in 1..=COUNT as u64 / 5 {
        let starts = batch(sequence, wait, Mode::Express, &[input.as_str(); 5]);
        shard.started(logged(starts, LogLevel::All, false)).await;
    }
    taken(&shard, &outlet).await;
    // Of the ends 2 MiB go with one block, and the rest with the next one.
    world.store.spare_next();
    (0..3).for_each(|_| world.store.fail_next(Fault::Refuse(StoreError::Unavailable("a test".to_owned()))));
    world.clock.advance(Duration::from_secs(61));
    let told = async {
        loop {
            let pages = taken(&shard, &outlet).await;
            if !pages.is_empty() {
                return pages;
            }
        }
    };
    let mut pages = soon("the first ends", ticking(&shard, told)).await;
    pages.extend(taken(&shard, &outlet).await);
    drop(shard);
    let ends = pages
        .iter()
        .flat_map(|page| page.events.iter())
        .filter(|(event, _)| event.kind == "ExecutionSucceeded");
    let (ended, shard) = (ends.count(), world.spawn());
    ticking(&shard, shard.until(ShardState::Serving)).await;
    assert!(ended > 0 && ended < COUNT, "{ended}");
    let recovered = shard.metrics.recovered.get() as usize;
    assert_eq!(recovered, COUNT - ended, "who runs again has not been told to have ended");
}

#[tokio::test]
async fn a_long_step_with_large_payloads_writes_no_more_than_there_is_room_for_and_counts_the_rest() {
    const LOOP: &str = r#"{"StartAt":"A","States":{
        "A":{"Type":"Pass","Next":"B"},
        "B":{"Type":"Choice","Choices":[{"Variable":"$","StringEquals":"stop","Next":"C"}],"Default":"A"},
        "C":{"Type":"Succeed"}}}"#;
    let cells = Arc::<telemetry::IntakeMetrics>::default();
    let bounds = IntakeBounds { bytes: 1 << 30, ..IntakeBounds::default() };
    let (history, outlet) = export::intake(bounds, Arc::clone(&cells));
    let world = World { outside: Outside { history: Some(history), spans: None }, ..World::new() };
    let looping = world.define(LOOP).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let input = format!("\"{}\"", "x".repeat(20_000));
    // Nothing of it leaves before its end.
    world.store.hold_appends();
    let _answers =
        shard.start(logged(batch(1, looping, Mode::Standard, &[&input]), LogLevel::All, true)).await;
    let rounds = limits::STANDARD_HISTORY_EVENTS_MAX / 4 - 1;
    let run = async {
        while state(&shard, "A").exited.get() < rounds {
            shard.settled().await;
        }
    };
    ticking(&shard, run).await;
    world.store.release_appends();
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let pages = taken(&shard, &outlet).await;
    let bytes: usize = pages.iter().map(|page| page.events.bytes()).sum();
    // Half a GB would be all of it. A shard alone has all of the room; what is told at the end finds room again.
    let room = limits::TOLD_BYTES_MAX;
    assert!((room / 2..room + room / 8).contains(&bytes), "{bytes}");
    let told: usize = pages.iter().map(|page| page.events.len()).sum();
    assert_eq!(told as u64 + cells.unconfirmed_records.get(), limits::STANDARD_HISTORY_EVENTS_MAX);
}
