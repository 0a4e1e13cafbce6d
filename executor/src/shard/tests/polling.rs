//! Tasks of activities: taken by polls, answered by their tokens.

use asl::Payload;
use proto::executor::v1::{ExecutionStatus, GetActivityTaskResponse, Mode};
use trust::Secret;

use super::*;
use crate::shard::{Callback, Offer, TaskToken};

const REVIEW: &str = "arn:aws:states:us-east-1:123456789012:activity:review";

/// A worker has a minute from when it took the task, and says every ten seconds that it lives; tried twice.
const ASK: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","TimeoutSeconds":60,"HeartbeatSeconds":10,
    "Resource":"arn:aws:states:us-east-1:123456789012:activity:review",
    "Retry":[{"ErrorEquals":["States.HeartbeatTimeout"],"IntervalSeconds":1,"MaxAttempts":1}],"End":true}}}"#;

type Taken = Result<Option<GetActivityTaskResponse>, Error>;

impl TestShard {
    /// Asks for a task, and gives what will be the answer.
    async fn asked(&self, worker: &str) -> oneshot::Receiver<Taken> {
        self.clock.advance(TICK);
        let (reply, answer) = oneshot::channel();
        let (activity, worker) = (REVIEW.into(), worker.into());
        self.send(Command::TakeActivityTask { activity, worker, reply }).await;
        answer
    }

    async fn take(&self, worker: &str) -> Option<GetActivityTaskResponse> {
        let answer = self.asked(worker).await;
        // The block with its start may begin a tick later.
        let answer = ticking(self, soon("an answer", answer)).await;
        answer.expect("the shard answers").expect("no error")
    }

    /// Takes a task that is there, or will be once the store has confirmed what the shard asks it.
    async fn taken(&self, worker: &str) -> GetActivityTaskResponse {
        soon("a task", async {
            loop {
                if let Some(task) = self.take(worker).await {
                    return task;
                }
                self.clock.advance(Duration::from_millis(50));
            }
        })
        .await
    }

    async fn poll(&self) -> mpsc::Receiver<Offer> {
        let (poll, offers) = mpsc::channel(1);
        self.send(Command::AwaitActivityTask { activity: REVIEW.into(), poll }).await;
        self.settled().await;
        offers
    }

    async fn says(&self, task: &GetActivityTaskResponse, callback: Callback) -> Result<(), Error> {
        self.clock.advance(TICK);
        let token =
            TaskToken::open_text(&Secret::from_key(&[7; 32]), &task.task_token).expect("a token of ours");
        ticking(self, self.ask(|reply| Command::Callback { token, callback, reply })).await
    }

    async fn succeeds(&self, task: &GetActivityTaskResponse) {
        let output = Payload::from_checked(Bytes::from_static(b"[7]"));
        self.says(task, Callback::Succeeded(output)).await.expect("taken");
    }

    async fn events(&self) -> Vec<(String, String)> {
        let form = v1::HistoryForm::Unspecified;
        let history = self
            .ask(|reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply })
            .await
            .map(|page| page.events);
        let text = |details: &Bytes| String::from_utf8(details.to_vec()).expect("text");
        history.expect("a history").iter().map(|event| (event.r#type.clone(), text(&event.details))).collect()
    }
}

async fn asking() -> (World, TestShard) {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.shard().await;
    shard.started(batch(1, ask, Mode::Standard, &[r#"{"n":1}"#])).await;
    (world, shard)
}

#[tokio::test]
async fn a_task_is_given_to_one_poll_with_a_token_that_ends_it_and_the_history_names_the_worker() {
    let (_world, shard) = asking().await;
    let mut watcher = shard.watch().await;
    let task = shard.take("anna").await.expect("a task");
    assert_eq!(task.input, r#"{"n":1}"#);
    assert_eq!(shard.take("bert").await, None, "it is handed out once");
    shard.succeeds(&task).await;
    assert_eq!(outcomes(&mut watcher, 1).await[0].output.as_deref(), Some(b"[7]".as_slice()));
    let events = shard.events().await;
    let types: Vec<_> = events.iter().map(|(kind, _)| &**kind).collect();
    assert_eq!(
        types,
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivitySucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
    assert_eq!(events[3].1, r#"{"workerName":"anna"}"#);
}

#[tokio::test]
async fn a_task_stands_in_line_only_when_its_cause_is_durable_and_is_handed_out_only_when_its_start_is() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.shard().await;
    world.store.hold_appends();
    let mut started = shard.start(batch(1, ask, Mode::Standard, &["1"])).await;
    assert_eq!(shard.take("anna").await, None);
    world.store.release_appends();
    next(&mut started).await;
    world.store.hold_appends();
    let mut answer = shard.asked("anna").await;
    shard.settled().await;
    assert!(answer.try_recv().is_err(), "its start is not durable");
    world.store.release_appends();
    let task = soon("an answer", answer).await.expect("the shard answers").expect("no error");
    assert!(task.is_some_and(|task| !task.task_token.is_empty()));
}

#[tokio::test]
async fn whoever_has_gone_takes_nothing() {
    let (_world, shard) = asking().await;
    let (reply, answer) = oneshot::channel();
    drop(answer);
    let (activity, worker) = (REVIEW.into(), "anna".into());
    shard.send(Command::TakeActivityTask { activity, worker, reply }).await;
    let mut watcher = shard.watch().await;
    let task = shard.take("bert").await.expect("the task is still there");
    shard.succeeds(&task).await;
    outcomes(&mut watcher, 1).await;
    assert_eq!(shard.events().await[3].1, r#"{"workerName":"bert"}"#);
}

#[tokio::test]
async fn a_task_whose_taker_has_gone_before_its_start_was_durable_is_handed_to_the_next_and_stands_first() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, ask, Mode::Standard, &["1"])).await;
    shard.started(batch(2, ask, Mode::Standard, &["2"])).await;
    world.store.hold_appends();
    let answer = shard.asked("anna").await;
    shard.settled().await;
    drop(answer);
    let mut poll = shard.poll().await;
    poll.try_recv().expect("the second is in line");
    world.store.release_appends();
    soon("the first", async {
        while shard.metrics.activity_tasks_waiting.get() < 2 {
            shard.settled().await;
        }
    })
    .await;
    let task = shard.taken("bert").await;
    assert_eq!(task.input, "1");
    assert_eq!(shard.taken("carl").await.input, "2");
    shard.says(&task, Callback::Heartbeat).await.expect("it is bert's");
    shard.succeeds(&task).await;
    assert_eq!(outcomes(&mut watcher, 1).await[0].output.as_deref(), Some(b"[7]".as_slice()));
    let starts = shard.events().await.into_iter().filter(|(kind, _)| kind == "ActivityStarted").count();
    assert_eq!(starts, 1, "its time has begun once");
}

#[tokio::test]
async fn a_poll_is_told_of_a_task_that_comes_and_the_next_one_if_the_first_does_not_take_it() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.shard().await;
    let gone = shard.poll().await;
    drop(gone);
    let (mut first, mut second) = (shard.poll().await, shard.poll().await);
    shard.started(batch(1, ask, Mode::Standard, &["1"])).await;
    let offer = soon("an offer", first.recv()).await;
    assert_eq!(offer, Some(Offer { shard: 0, waiting: 1 }));
    shard.settled().await;
    assert!(second.try_recv().is_err(), "there is one task");
    world.clock.advance(Duration::from_millis(250));
    soon("an offer", second.recv()).await.expect("the first has not taken it");
    let mut third = shard.poll().await;
    third.try_recv().expect("who comes while there is something is told at once");
    shard.take("anna").await.expect("a task");
    let mut fourth = shard.poll().await;
    world.clock.advance(Duration::from_secs(1));
    shard.settled().await;
    assert!(fourth.try_recv().is_err(), "nothing is in line");
}

#[tokio::test]
async fn as_many_polls_are_told_as_there_are_tasks() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.shard().await;
    let mut polls = [shard.poll().await, shard.poll().await, shard.poll().await];
    shard.started(batch(1, ask, Mode::Standard, &["1", "2"])).await;
    shard.settled().await;
    let told: Vec<bool> = polls.iter_mut().map(|poll| poll.try_recv().is_ok()).collect();
    assert_eq!(told, [true, true, false], "who has waited the longest");
    assert_eq!(shard.metrics.activity_tasks_waiting.get(), 2);
}

#[tokio::test]
async fn heartbeats_are_due_from_the_start_on_and_a_task_whose_worker_dies_is_handed_out_again() {
    let (world, shard) = asking().await;
    let mut watcher = shard.watch().await;
    // A shard whose clock has jumped asks its store first, within a second.
    world.clock.advance(Duration::from_secs(50));
    let first = shard.taken("anna").await;
    for _ in 0..4 {
        world.clock.advance(Duration::from_secs(8));
        shard.settled().await;
        soon("the heartbeat", async { while shard.says(&first, Callback::Heartbeat).await.is_err() {} })
            .await;
    }
    world.clock.advance(Duration::from_secs(10));
    shard.settled().await;
    world.clock.advance(Duration::from_secs(1));
    let second = shard.taken("bert").await;
    assert_ne!(second.task_token, first.task_token);
    let late = shard.says(&first, Callback::Heartbeat).await;
    assert!(matches!(late, Err(Error::Conflict { code: "TaskTimedOut", .. })), "{late:?}");
    shard.succeeds(&second).await;
    outcomes(&mut watcher, 1).await;
    let events = shard.events().await;
    let of_tasks = events.iter().filter(|(kind, _)| kind.starts_with("Activity"));
    let of_tasks: Vec<(&str, &str)> = of_tasks.map(|(kind, details)| (&**kind, &**details)).collect();
    let started: Vec<_> = of_tasks.iter().filter(|(kind, _)| *kind == "ActivityStarted").collect();
    assert_eq!(
        of_tasks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [
            "ActivityScheduled",
            "ActivityStarted",
            "ActivityTimedOut",
            "ActivityScheduled",
            "ActivityStarted",
            "ActivitySucceeded"
        ]
    );
    assert!(started[0].1.contains("anna") && started[1].1.contains("bert"), "{started:?}");
}

#[tokio::test]
async fn a_task_that_nobody_takes_times_out_and_one_that_was_taken_late_has_its_time_from_then_on() {
    let (world, shard) = asking().await;
    let mut watcher = shard.watch().await;
    world.clock.advance(Duration::from_secs(60));
    let outcome = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(
        (outcome.status(), outcome.error.as_deref()),
        (ExecutionStatus::Failed, Some("States.Timeout"))
    );
    assert_eq!(shard.take("anna").await, None);
    assert_eq!(shard.metrics.activity_tasks_waiting.get(), 0);
    let kinds: Vec<String> = shard.events().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds[2..4], ["ActivityScheduled", "ActivityTimedOut"]);
}

#[tokio::test]
async fn after_a_recovery_a_task_that_was_taken_stays_with_its_worker_and_one_that_was_not_is_in_line() {
    let (world, shard) = asking().await;
    let task = shard.take("anna").await.expect("a task");
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    assert_eq!(shard.take("bert").await, None, "it is anna's");
    shard.succeeds(&task).await;
    assert_eq!(outcomes(&mut watcher, 1).await[0].output.as_deref(), Some(b"[7]".as_slice()));
    let ask = world.define(ASK).await;
    shard.started(batch(2, ask, Mode::Standard, &["2"])).await;
    drop(shard);
    let shard = world.shard().await;
    assert_eq!(shard.taken("bert").await.input, "2");
}

#[tokio::test]
async fn a_worker_that_dies_with_its_node_is_missed_after_the_recovery() {
    let (world, shard) = asking().await;
    let first = shard.take("anna").await.expect("a task");
    drop(shard);
    let shard = world.shard().await;
    world.clock.advance(Duration::from_secs(10));
    shard.settled().await;
    world.clock.advance(Duration::from_secs(1));
    let second = shard.taken("bert").await;
    assert_ne!(second.task_token, first.task_token);
    shard.succeeds(&second).await;
}

#[tokio::test]
async fn a_task_that_nobody_has_taken_is_not_ended_by_its_token() {
    let (_world, other) = asking().await;
    let task = other.take("anna").await.expect("a task");
    // The same execution, of a cluster with the same secret.
    let (_world, shard) = asking().await;
    let refused = shard.says(&task, Callback::Heartbeat).await;
    assert!(matches!(refused, Err(Error::NotFound { code: "TaskDoesNotExist", .. })), "{refused:?}");
    assert_eq!(shard.take("bert").await.expect("a task").task_token, task.task_token);
    shard.says(&task, Callback::Heartbeat).await.expect("now somebody has it");
}

#[tokio::test]
async fn a_task_that_was_taken_while_its_partition_leaves_is_handed_out_and_answered_to_the_next_owner() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.managed();
    let assign = |partitions: &[PartitionId]| Command::Assign { partitions: partitions.to_vec() };
    shard.send(assign(&[partition()])).await;
    shard.until(ShardState::Serving).await;
    shard.started(batch(1, ask, Mode::Standard, &["1"])).await;
    world.store.hold_appends();
    let answer = shard.asked("anna").await;
    shard.send(assign(&[])).await;
    shard.settled().await;
    world.store.release_appends();
    let task =
        ticking(&shard, soon("an answer", answer)).await.expect("the shard answers").expect("no error");
    let task = task.expect("a task");
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    assert_eq!(shard.take("bert").await, None, "it is anna's");
    shard.succeeds(&task).await;
    outcomes(&mut watcher, 1).await;
}

#[tokio::test]
async fn an_activity_that_a_pool_is_bound_to_is_the_pools_and_counts_as_started_at_once() {
    const POOLED: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","HeartbeatSeconds":10,"End":true,
        "Resource":"arn:aws:states:us-east-1:123456789012:activity:pooled"}}}"#;
    let world = World::new();
    let pooled = world.define(POOLED).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(batch(1, pooled, Mode::Standard, &["1"])).await;
    assert!(tasks(&mut worker, 1).await[0].function.ends_with(":pooled"));
    world.clock.advance(Duration::from_secs(11));
    let outcome = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(outcome.error.as_deref(), Some("States.Timeout"), "its worker has not said that it lives");
    let kinds: Vec<String> = shard.events().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds[2..5], ["ActivityScheduled", "ActivityStarted", "ActivityTimedOut"]);
}

#[tokio::test]
async fn a_stop_takes_a_task_out_of_line() {
    let (_world, shard) = asking().await;
    let stop = |reply| {
        let (error, cause) = (String::new(), String::new());
        Command::Stop { execution: execution(1, 0), error, cause, reply }
    };
    let (reply, stopped) = oneshot::channel();
    shard.clock.advance(TICK);
    shard.send(stop(reply)).await;
    soon("the end", stopped).await.expect("the shard answers").expect("stopped");
    assert_eq!(shard.take("anna").await, None);
    let mut poll = shard.poll().await;
    assert!(poll.try_recv().is_err());
}
