//! Executions that work much, and those beside them.

use proto::executor::v1::{ExecutionStatus, Mode};

use super::super::actor::Wake;
use super::replaying::Bare;
use super::*;

/// Works for as long as there are events.
const ENDLESS: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{
    "A":{"Type":"Pass","Output":"{% $count([1..100000]) %}","Next":"B"},
    "B":{"Type":"Choice","Default":"A","Choices":[{"Condition":"{% $states.input = 0 %}","Next":"C"}]},
    "C":{"Type":"Succeed"}}}"#;

/// Works for twenty turns, and waits for a task in the middle.
const LONG: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{
    "A":{"Type":"Pass","Output":"{% $states.input + $count([1..100000]) / 100000 %}","Next":"B"},
    "B":{"Type":"Choice","Default":"A","Choices":[
        {"Condition":"{% $states.input = 10 %}","Next":"T"},
        {"Condition":"{% $states.input = 20 %}","Next":"C"}]},
    "T":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","Next":"A"},
    "C":{"Type":"Succeed"}}}"#;

async fn stop(shard: &TestShard, execution: ExecutionName) {
    let stopped = shard
        .ask(|reply| Command::Stop { execution, error: String::new(), cause: String::new(), reply })
        .await;
    assert!(stopped.is_ok(), "{stopped:?}");
}

#[tokio::test]
async fn a_loop_that_never_rests_leaves_time_for_others_and_can_be_stopped() {
    let world = World::new();
    let (endless, pass) = (world.define(ENDLESS).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    for mode in [Mode::Express, Mode::Standard] {
        let first = 1 + 2 * mode as u64;
        ticking(&shard, shard.started(batch(first, endless, mode, &["1", "1", "1", "1"]))).await;
        ticking(&shard, shard.started(batch(first + 1, pass, Mode::Express, &["\"other\""]))).await;
        let others = ticking(&shard, outcomes(&mut watcher, 1)).await;
        assert_eq!(others[0].output.as_deref(), Some(&b"\"other\""[..]));
        for index in 0..4 {
            ticking(&shard, stop(&shard, execution(first, index))).await;
        }
        let stopped = outcomes(&mut watcher, 4).await;
        assert!(stopped.iter().all(|outcome| outcome.status() == ExecutionStatus::Aborted), "{stopped:?}");
        let form = v1::HistoryForm::Unspecified;
        let history = shard
            .ask(|reply| Command::History { execution: execution(first, 0), form, cut: WHOLE, reply })
            .await
            .map(|page| page.events);
        match mode {
            // Where it stood is not kept, and to run it again would not say.
            Mode::Express => {
                let refused = history.unwrap_err();
                assert!(matches!(refused, Error::Conflict { code: "HistoryNotKept", .. }), "{refused}");
            }
            _ => assert_eq!(&*history.unwrap().pop().unwrap().r#type, "ExecutionAborted"),
        }
    }
}

#[tokio::test]
async fn a_batch_of_executions_that_work_much_is_accepted_before_all_of_them_have_ended() {
    const HEAVY: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{
        "A":{"Type":"Pass","Output":"{% $count([1..100000]) + $states.input %}","End":true}}}"#;
    let world = World::new();
    let heavy = world.define(HEAVY).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let inputs: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    for (sequence, mode) in [(1, Mode::Express), (2, Mode::Standard)] {
        let steps = shard.metrics.steps.get();
        let answers = shard.started(batch(sequence, heavy, mode, &inputs)).await;
        assert_eq!(answers, [Answer { from: 0, to: 20, ..Default::default() }]);
        let told = ticking(&shard, outcomes(&mut watcher, 20)).await;
        let outputs: Vec<_> = told.into_iter().map(|told| told.output).collect();
        let expected: Vec<_> = (0..20).map(|number| Some((100_000 + number).to_string().into())).collect();
        assert_eq!(outputs, expected);
        // Who begins after much was worked is opened first, and takes its first step in a turn of its own.
        let steps = shard.metrics.steps.get() - steps;
        assert!(steps > 30, "{mode:?}: {steps} steps");
    }
}

#[tokio::test]
async fn a_standard_execution_that_waited_for_its_first_turn_goes_on_after_a_crash_and_tells_its_history() {
    let world = World::new();
    let long = world.define(LONG).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 64).await;
    let inputs = ["0"; 20];
    shard.started(batch(1, long, Mode::Standard, &inputs)).await;
    ticking(&shard, tasks(&mut worker, 20)).await;
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 64).await;
    for task in tasks(&mut worker, 20).await {
        shard.succeed(1, &task.token, "10").await;
    }
    let told = ticking(&shard, outcomes(&mut watcher, 20)).await;
    assert!(told.iter().all(|told| told.output.as_deref() == Some(&b"20"[..])), "{told:?}");
    let form = v1::HistoryForm::Unspecified;
    for index in [0, 19] {
        let execution = execution(1, index);
        let history = shard
            .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
            .await
            .map(|page| page.events)
            .expect("kept");
        let entered = history.iter().filter(|event| event.r#type == "PassStateEntered").count();
        assert_eq!((entered, &*history[history.len() - 1].r#type), (20, "ExecutionSucceeded"));
    }
}

#[tokio::test]
async fn a_standard_execution_that_was_stopped_before_its_first_turn_has_entered_no_state() {
    let world = World::new();
    let long = world.define(LONG).await;
    let mut bare = Bare::new(&world);
    bare.settle(&world).await;
    let (acks, _answers) = mpsc::channel(32);
    let (reply, stopped) = oneshot::channel();
    let start = Command::Start { batch: batch(1, long, Mode::Standard, &["0"; 20]), acks };
    let (last, error, cause) = (execution(1, 19), String::new(), String::new());
    let stop = Command::Stop { execution: last.clone(), error, cause, reply };
    // Both in one round: it is stopped before turns are given.
    bare.wake(Wake { commands: vec![start, stop], ..Wake::default() });
    bare.settle(&world).await;
    assert!(soon("an answer", stopped).await.expect("the shard answers").is_ok());
    let form = v1::HistoryForm::Unspecified;
    let (reply, history) = oneshot::channel();
    bare.tell(Command::History { execution: last, form, cut: WHOLE, reply });
    bare.settle(&world).await;
    let history = soon("an answer", history).await.expect("the shard answers").expect("kept");
    let kinds: Vec<_> = history.events.into_iter().map(|event| event.r#type).collect();
    assert_eq!(kinds, ["ExecutionStarted", "ExecutionAborted"]);
}

#[tokio::test]
async fn a_standard_execution_goes_on_after_a_crash_with_the_turns_that_it_had() {
    let world = World::new();
    let long = world.define(LONG).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(batch(1, long, Mode::Standard, &["0"])).await;
    assert_eq!(&ticking(&shard, tasks(&mut worker, 1)).await[0].input[..], b"10");
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 1).await;
    let task = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &task.token, "10").await;
    assert_eq!(ticking(&shard, outcomes(&mut watcher, 1)).await[0].output.as_deref(), Some(&b"20"[..]));
    let history = shard
        .ask(|reply| Command::History {
            execution: execution(1, 0),
            form: v1::HistoryForm::Unspecified,
            cut: WHOLE,
            reply,
        })
        .await
        .expect("a history")
        .events;
    let count = |kind: &str| history.iter().filter(|event| event.r#type == kind).count();
    assert_eq!((count("PassStateEntered"), count("ChoiceStateExited")), (20, 20));
    assert_eq!(history.last().map(|event| &*event.r#type), Some("ExecutionSucceeded"));
}

#[tokio::test]
async fn the_history_of_an_express_execution_that_worked_for_many_turns_is_derived() {
    let world = World::new();
    let long = world.define(LONG).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, long, Mode::Express, &["11"])).await;
    assert_eq!(ticking(&shard, outcomes(&mut watcher, 1)).await[0].output.as_deref(), Some(&b"20"[..]));
    let history = shard
        .ask(|reply| Command::History {
            execution: execution(1, 0),
            form: v1::HistoryForm::Unspecified,
            cut: WHOLE,
            reply,
        })
        .await
        .expect("a history")
        .events;
    assert_eq!(history.iter().filter(|event| event.r#type == "PassStateEntered").count(), 9);
    assert_eq!(history.last().map(|event| &*event.r#type), Some("ExecutionSucceeded"));
}
