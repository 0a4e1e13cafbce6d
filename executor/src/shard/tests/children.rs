//! Child executions of a distributed Map, which run where their parent does.

use export::{IntakeBounds, Outlet, Page};
use proto::executor::v1::{ExecutionStatus, LogLevel, Mode};

use super::super::Outside;
use super::*;

/// Two children at once, each with two tasks.
const CHILDREN: &str = r#"{"StartAt":"M","States":{"M":{"Type":"Map","Label":"M","MaxConcurrency":2,"End":true,"ItemProcessor":{
    "ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","Next":"B","ResultPath":null},
    "B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","End":true}}}}}}"#;

/// What tasks ask for: the function's name and the input.
fn asked(tasks: &[v1::Task]) -> Vec<(String, String)> {
    let name = |task: &v1::Task| task.function.rsplit(':').next().unwrap_or_default().to_owned();
    let input = |task: &v1::Task| String::from_utf8_lossy(&task.input).into_owned();
    let mut asked: Vec<_> = tasks.iter().map(|task| (name(task), input(task))).collect();
    asked.sort();
    asked
}

fn expected(asked: &[(&str, &str)]) -> Vec<(String, String)> {
    asked.iter().map(|(name, input)| ((*name).to_owned(), (*input).to_owned())).collect()
}

/// Takes the task of this function and input out.
fn take(tasks: &mut Vec<v1::Task>, function: &str, input: &str) -> v1::Task {
    let is = |task: &v1::Task| task.function.ends_with(function) && task.input == input.as_bytes();
    let at = tasks.iter().position(is).unwrap_or_else(|| panic!("no {function} of {input}"));
    tasks.remove(at)
}

async fn kinds(shard: &TestShard) -> Vec<String> {
    let form = v1::HistoryForm::Unspecified;
    let ask = |reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply };
    shard.ask(ask).await.expect("a history").events.into_iter().map(|event| event.r#type).collect()
}

#[tokio::test]
async fn children_of_a_standard_execution_go_on_after_a_crash_and_repeat_no_task() {
    let world = World::new();
    let children = world.define(CHILDREN).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, children, Mode::Standard, &["[1,2,3]"])).await;
    let mut open = tasks(&mut worker, 2).await;
    assert_eq!(asked(&open), expected(&[("pay", "1"), ("pay", "2")]));
    world.clock.advance(TICK);
    shard.succeed(1, &take(&mut open, "pay", "2").token, "0").await;
    // The second task leaves only when the first one's outcome is durable.
    assert_eq!(asked(&tasks(&mut worker, 1).await), expected(&[("ship", "2")]));
    drop(shard);

    let shard = world.shard().await;
    let mut worker = shard.worker(2, 10).await;
    let mut open = tasks(&mut worker, 2).await;
    assert_eq!(asked(&open), expected(&[("pay", "1"), ("ship", "2")]));
    world.clock.advance(TICK);
    shard.succeed(2, &take(&mut open, "ship", "2").token, r#""two""#).await;
    // A child has ended, the next one begins.
    assert_eq!(asked(&tasks(&mut worker, 1).await), expected(&[("pay", "3")]));
    drop(shard);

    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(3, 10).await;
    let mut open = tasks(&mut worker, 2).await;
    assert_eq!(asked(&open), expected(&[("pay", "1"), ("pay", "3")]));
    for (function, input, output) in
        [("pay", "3", "0"), ("pay", "1", "0"), ("ship", "1", r#""one""#), ("ship", "3", r#""three""#)]
    {
        world.clock.advance(TICK);
        shard.succeed(3, &take(&mut open, function, input).token, output).await;
        if function == "pay" {
            open.extend(tasks(&mut worker, 1).await);
        }
    }
    world.clock.advance(TICK);
    let told = outcomes(&mut watcher, 1).await.remove(0);
    assert_eq!(told.status(), ExecutionStatus::Succeeded);
    assert_eq!(told.output.as_deref(), Some(br#"["one","two","three"]"#.as_slice()));
    let history = [
        "ExecutionStarted",
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ];
    assert_eq!(kinds(&shard).await, history);
}

#[tokio::test]
async fn a_stopped_execution_takes_the_tasks_of_its_children_back() {
    let world = World::new();
    let children = world.define(CHILDREN).await;
    let shard = world.shard().await;
    shard.started(batch(1, children, Mode::Standard, &["[1,2,3]"])).await;
    shard.settled().await;
    // The execution has a timer of its own, and so has each child.
    assert_eq!((shard.metrics.tasks_waiting.get(), shard.metrics.timers.get()), (2, 3));
    world.clock.advance(TICK);
    let (error, cause) = (String::new(), String::new());
    let stop = |reply| Command::Stop { execution: execution(1, 0), error, cause, reply };
    shard.ask(stop).await.expect("stopped");
    shard.settled().await;
    assert_eq!((shard.metrics.tasks_waiting.get(), shard.metrics.timers.get()), (0, 0));
}

#[tokio::test]
async fn a_map_that_fails_while_its_children_are_refused_leaves_nothing_behind() {
    // More children than a mailbox holds, each with a task that nobody serves.
    let unserved = r#"{"StartAt":"M","States":{"M":{"Type":"Map","End":true,
        "ItemsPath":"$","ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},
        "StartAt":"A","States":{"A":{"Type":"Task","Resource":"arn:aws:states:::sns:publish","End":true}}}}}}"#;
    let world = World::new();
    let unserved = world.define(unserved).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let items = format!("[{}]", vec!["0"; 3_000].join(","));
    for (sequence, mode) in [(1, Mode::Standard), (2, Mode::Express)] {
        shard.start(batch(sequence, unserved, mode, &[&items])).await;
        let ended = async {
            loop {
                world.clock.advance(TICK);
                shard.settled().await;
                if let Ok(told) = watcher.try_recv() {
                    break told;
                }
            }
        };
        let told = soon("an outcome", ended).await;
        let error = told.outcomes[0].error.as_deref();
        assert_eq!(error, Some("States.ExceedToleratedFailureThreshold"));
        shard.settled().await;
        assert_eq!((shard.metrics.timers.get(), shard.metrics.open.get()), (0, 0));
    }
}

/// What has left of child executions: their names in the order in which they were told first, each with the ids and types of
/// its events.
async fn told(shard: &TestShard, outlet: &Outlet<Page>) -> Vec<(String, Vec<(u64, &'static str)>)> {
    shard.settled().await;
    let mut told = Vec::<(String, Vec<_>)>::new();
    for page in std::iter::from_fn(|| outlet.take()) {
        let Some(run) = &page.map_run else { continue };
        assert!(run.starts_with("arn:aws:states:us-east-1:123456789012:mapRun:orders/M:"), "{run}");
        assert_eq!(&*page.machine, format!("{MACHINE}/M"));
        assert_eq!(page.redrive_count, 0);
        let at = told.iter().position(|(name, _)| *name == *page.execution).unwrap_or(told.len());
        if at == told.len() {
            told.push((page.execution.to_string(), Vec::new()));
        }
        told[at].1.extend(page.events.iter().map(|(event, _)| (event.id, event.kind)));
    }
    told
}

fn logged(level: LogLevel, mut batch: v1::StartBatch) -> v1::StartBatch {
    let logging = v1::LoggingConfiguration { level: level.into(), include_execution_data: true };
    batch.machines[0].logging = Some(logging);
    batch
}

const BEGUN: [(u64, &str); 4] = [
    (1, "ExecutionStarted"),
    (2, "TaskStateEntered"),
    (3, "LambdaFunctionScheduled"),
    (4, "LambdaFunctionStarted"),
];

#[tokio::test]
async fn child_executions_are_told_under_their_own_names_and_by_the_next_owner_with_the_same_ids() {
    let (history, outlet) = export::intake(IntakeBounds::default(), Arc::default());
    let world = World { outside: Outside { history: Some(history), spans: None }, ..World::new() };
    let children = world.define(CHILDREN).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    let starts = batch(1, children, Mode::Standard, &["[1,2,3]"]);
    shard.started(logged(LogLevel::All, starts)).await;
    tasks(&mut worker, 2).await;
    let first = told(&shard, &outlet).await;
    assert_eq!(first.iter().map(|(_, events)| &events[..]).collect::<Vec<_>>(), [BEGUN, BEGUN]);
    assert_ne!(first[0].0, first[1].0);
    let name = "arn:aws:states:us-east-1:123456789012:execution:orders/M:";
    assert!(first.iter().all(|(execution, _)| execution.starts_with(name)), "{first:?}");
    drop(shard);

    let shard = world.shard().await;
    assert_eq!(told(&shard, &outlet).await, first, "what is open is told again");
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(2, 10).await;
    let mut answered = 0;
    while answered < 6 {
        for task in ticking(&shard, tasks(&mut worker, 1)).await {
            shard.succeed(2, &task.token, "0").await;
            answered += 1;
        }
    }
    ticking(&shard, outcomes(&mut watcher, 1)).await;
    let rest = told(&shard, &outlet).await;
    assert_eq!(rest.len(), 3);
    let end = (12, "ExecutionSucceeded");
    assert!(rest.iter().all(|(_, events)| events.last() == Some(&end)), "{rest:?}");
    assert_eq!(rest[2].1.len(), 12, "the third child is told from its start");
}

#[tokio::test]
async fn a_child_that_is_given_up_is_told_at_its_machine_s_level_and_one_that_never_began_is_not() {
    let (history, outlet) = export::intake(IntakeBounds::default(), Arc::default());
    let world = World { outside: Outside { history: Some(history), spans: None }, ..World::new() };
    let children = world.define(CHILDREN).await;
    let shard = world.shard().await;
    let starts = batch(1, children, Mode::Standard, &["[1,2,3]"]);
    shard.started(logged(LogLevel::Fatal, starts)).await;
    let stop =
        |reply| Command::Stop { execution: execution(1, 0), error: "E".into(), cause: "C".into(), reply };
    ticking(&shard, shard.ask(stop)).await.expect("stopped");
    let told = told(&shard, &outlet).await;
    let ends: Vec<_> = told.iter().map(|(_, events)| &events[..]).collect();
    assert_eq!(ends, [[(5, "ExecutionAborted")], [(5, "ExecutionAborted")]]);
}

#[tokio::test]
async fn the_states_of_children_count_at_their_machine() {
    let world = World::new();
    let children = world.define(CHILDREN).await;
    let shard = world.shard().await;
    let state = |name: &str| shard.metrics.machine(MACHINE).state(name);
    shard.settled().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, children, Mode::Standard, &["[1,2,3]"])).await;
    let first = tasks(&mut worker, 2).await.remove(0);
    assert_eq!((state("M").entered.get(), state("A").entered.get(), state("B").entered.get()), (1, 2, 0));
    shard.succeed(1, &first.token, "0").await;
    ticking(&shard, tasks(&mut worker, 1)).await;
    assert_eq!((state("A").exited.get(), state("B").entered.get()), (1, 1));
    let stop =
        |reply| Command::Stop { execution: execution(1, 0), error: "E".into(), cause: "C".into(), reply };
    ticking(&shard, shard.ask(stop)).await.expect("stopped");
    assert_eq!([state("A"), state("B"), state("M")].map(|state| state.aborted.get()), [1, 1, 1]);
}
