//! Callbacks: how tasks went, said by whoever has their tokens.

use ::tasks::{Answer as CallAnswer, Call, Failure, Integration, Integrations, Request};
use asl::Payload;
use journal::StoreError;
use journal::memory::Fault;
use proto::executor::v1::{ExecutionStatus, Mode};
use telemetry::CallKind;
use trust::Secret;

use super::assigned::*;
use super::*;
use crate::shard::{Callback, TaskToken};

/// Asks a worker, and waits for its token for an hour, with a sign of life every minute.
const ASK: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken","TimeoutSeconds":3600,
        "HeartbeatSeconds":60,"Parameters":{"FunctionName":"arn:aws:lambda:us-east-1:123456789012:function:ask",
        "Payload":{"token.$":"$$.Task.Token"}},"Catch":[{"ErrorEquals":["Refused"],"Next":"B"}],"End":true},
    "B":{"Type":"Pass","End":true}}}"#;

fn secret() -> Secret {
    Secret::from_key(&[7; 32])
}

/// The token that a worker was given in its input.
fn token_of(task: &v1::Task) -> String {
    let text = std::str::from_utf8(&task.input).expect("text");
    text.strip_prefix(r#"{"token":""#)
        .and_then(|text| text.strip_suffix(r#""}"#))
        .expect("a token")
        .to_owned()
}

fn opened(token: &str) -> TaskToken {
    TaskToken::open_text(&secret(), token).expect("a token of ours")
}

fn success(output: &str) -> Callback {
    Callback::Succeeded(Payload::from_checked(Bytes::copy_from_slice(output.as_bytes())))
}

fn failure(error: &str, cause: &str) -> Callback {
    Callback::Failed { error: error.into(), cause: cause.into() }
}

impl TestShard {
    /// Sends a callback, and gives what will be the answer.
    async fn called(&self, token: &str, callback: Callback) -> oneshot::Receiver<Result<(), Error>> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Callback { token: opened(token), callback, reply }).await;
        answer
    }

    /// Sends a callback, and lets the clock go on until it is answered.
    async fn call_back(&self, token: &str, callback: Callback) -> Result<(), Error> {
        let answer = self.called(token, callback).await;
        ticking(self, soon("an answer", answer)).await.expect("the shard answers")
    }

    /// An execution that waits for its token; its worker has answered where `asked`.
    async fn waits(&self, definition: DefinitionHash, sequence: u64, asked: bool) -> String {
        let mut worker = self.worker(sequence, 1).await;
        ticking(self, self.started(batch(sequence, definition, Mode::Standard, &["1"]))).await;
        let task = tasks(&mut worker, 1).await.remove(0);
        if asked {
            self.succeed(sequence, &task.token, r#"{"sent":true}"#).await;
        }
        token_of(&task)
    }
}

/// A shard, and a machine that asks.
async fn asking() -> (World, DefinitionHash, TestShard) {
    let world = World::new();
    let ask = world.define(ASK).await;
    let shard = world.shard().await;
    (world, ask, shard)
}

/// How the next execution ends.
async fn ended(shard: &TestShard, watcher: &mut mpsc::Receiver<v1::CompletionBatch>) -> v1::Outcome {
    ticking(shard, outcomes(watcher, 1)).await.remove(0)
}

fn code(result: Result<(), Error>) -> &'static str {
    match result {
        Ok(()) => "taken",
        Err(Error::Conflict { code, .. } | Error::NotFound { code, .. } | Error::Invalid { code, .. }) => {
            code
        }
        Err(Error::NotOwner { .. }) => "NotOwner",
        Err(Error::OwnerChanged { .. }) => "OwnerChanged",
        Err(Error::NotDurable { .. }) => "NotDurable",
        Err(Error::Recovering { .. }) => "Recovering",
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_callback_ends_its_task_once_before_and_after_the_worker_has_answered() {
    for asked in [false, true] {
        let (_world, ask, shard) = asking().await;
        let mut watcher = shard.watch().await;
        let token = shard.waits(ask, 1, asked).await;
        assert_eq!(code(shard.call_back(&token, success("[7]")).await), "taken");
        assert_eq!(code(shard.call_back(&token, success("[8]")).await), "TaskTimedOut");
        assert_eq!(code(shard.call_back(&token, Callback::Heartbeat).await), "TaskTimedOut");
        assert_eq!(ended(&shard, &mut watcher).await.output.as_deref(), Some(b"[7]".as_slice()), "{asked}");
        let form = v1::HistoryForm::Unspecified;
        let history = shard
            .ask(|reply| Command::History { execution: execution(1, 0), form, cut: WHOLE, reply })
            .await
            .map(|page| page.events);
        let history = history.expect("a history");
        let types: Vec<_> = history.iter().map(|event| &*event.r#type).collect();
        let submitted = if asked { &["TaskSubmitted"][..] } else { &[] };
        let before = ["ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskStarted"];
        let after = ["TaskSucceeded", "TaskStateExited", "ExecutionSucceeded"];
        assert_eq!(types, [&before[..], submitted, &after].concat());
        let scheduled = std::str::from_utf8(&history[2].details).expect("text");
        assert!(scheduled.contains(&token), "as Step Functions shows it: {scheduled}");
    }
}

#[tokio::test]
async fn a_worker_is_told_that_its_answer_is_no_longer_wanted_once_a_callback_has_come() {
    let (_world, ask, shard) = asking().await;
    let mut worker = shard.worker(1, 2).await;
    shard.started(batch(1, ask, Mode::Standard, &["1"])).await;
    let task = tasks(&mut worker, 1).await.remove(0);
    assert_eq!(code(shard.call_back(&token_of(&task), success("1")).await), "taken");
    let told = soon("a message", worker.recv()).await.expect("the shard sends");
    assert_eq!(told.cancelled, [task.token]);
}

#[tokio::test]
async fn a_failure_is_caught_by_its_name_or_ends_the_execution() {
    let (_world, ask, shard) = asking().await;
    let mut watcher = shard.watch().await;
    let (one, two) = (shard.waits(ask, 1, true).await, shard.waits(ask, 2, true).await);
    assert_eq!(code(shard.call_back(&one, failure("Refused", "too dear")).await), "taken");
    assert_eq!(code(shard.call_back(&two, failure("Broken", "it fell")).await), "taken");
    let ended = ticking(&shard, outcomes(&mut watcher, 2)).await;
    assert_eq!(ended[0].output.as_deref(), Some(br#"{"Error":"Refused","Cause":"too dear"}"#.as_slice()));
    assert_eq!((ended[1].error.as_deref(), ended[1].cause.as_deref()), (Some("Broken"), Some("it fell")));
}

#[tokio::test]
async fn a_callback_is_answered_when_it_is_durable_and_so_is_the_refusal_of_a_second_one() {
    let (world, ask, shard) = asking().await;
    let token = shard.waits(ask, 1, true).await;
    world.store.hold_appends();
    let mut first = shard.called(&token, success("1")).await;
    shard.settled().await;
    let mut second = shard.called(&token, success("2")).await;
    shard.settled().await;
    for _ in 0..3 {
        world.clock.advance(TICK);
        shard.settled().await;
    }
    assert!(first.try_recv().is_err() && second.try_recv().is_err(), "nothing is durable yet");
    world.store.release_appends();
    assert_eq!(code(ticking(&shard, soon("an answer", first)).await.expect("answered")), "taken");
    assert_eq!(code(ticking(&shard, soon("an answer", second)).await.expect("answered")), "TaskTimedOut");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_and_a_token_is_good_after_one() {
    let (world, ask, shard) = asking().await;
    let told = shard.waits(ask, 1, true).await;
    let untold = shard.waits(ask, 2, true).await;
    assert_eq!(code(shard.call_back(&told, failure("Refused", "no")).await), "taken");
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    assert_eq!(code(shard.call_back(&told, success("1")).await), "TaskTimedOut");
    let wait = |reply| Command::Await { execution: execution(1, 0), reply };
    let caught = ticking(&shard, shard.ask(wait)).await;
    let caught = caught.expect("it has ended").output;
    assert_eq!(caught.as_deref(), Some(br#"{"Error":"Refused","Cause":"no"}"#.as_slice()));
    assert_eq!(code(shard.call_back(&untold, success("2")).await), "taken");
    assert_eq!(ended(&shard, &mut watcher).await.output.as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn a_task_that_is_asked_for_again_after_a_crash_has_the_token_that_it_had() {
    let (world, ask, shard) = asking().await;
    let before = shard.waits(ask, 1, false).await;
    drop(shard);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    let again = tasks(&mut worker, 1).await.remove(0);
    assert_eq!(token_of(&again), before);
    assert_eq!(code(shard.call_back(&before, success("1")).await), "taken");
}

#[tokio::test]
async fn heartbeats_keep_a_task_and_without_them_it_times_out() {
    for asked in [false, true] {
        let (world, ask, shard) = asking().await;
        let mut watcher = shard.watch().await;
        let token = shard.waits(ask, 1, asked).await;
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(45));
            assert_eq!(code(shard.call_back(&token, Callback::Heartbeat).await), "taken", "{asked}");
        }
        shard.settled().await;
        assert!(watcher.try_recv().is_err());
        world.clock.advance(Duration::from_secs(61));
        let outcome = ended(&shard, &mut watcher).await;
        assert_eq!(
            (outcome.status(), outcome.error.as_deref()),
            (ExecutionStatus::Failed, Some("States.Timeout"))
        );
        assert_eq!(code(shard.call_back(&token, success("1")).await), "TaskTimedOut");
    }
}

#[tokio::test]
async fn a_callback_that_comes_with_the_time_out_is_too_late() {
    let (world, ask, shard) = asking().await;
    let mut watcher = shard.watch().await;
    let token = shard.waits(ask, 1, true).await;
    world.clock.advance(Duration::from_secs(60));
    // The timer is found due in the wake-up that brings the callback, if not before.
    let late = shard.called(&token, success("1")).await;
    assert_eq!(code(ticking(&shard, soon("an answer", late)).await.expect("answered")), "TaskTimedOut");
    assert_eq!(ended(&shard, &mut watcher).await.error.as_deref(), Some("States.Timeout"));
}

#[tokio::test]
async fn the_token_of_a_stream_s_task_calls_nobody_back() {
    let world = World::new();
    let task = world.define(TASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let mut worker = shard.worker(1, 2).await;
    for (sequence, mode) in [(1, Mode::Standard), (2, Mode::Express)] {
        ticking(&shard, shard.started(batch(sequence, task, mode, &["1"]))).await;
        let given = tasks(&mut worker, 1).await.remove(0);
        let token = TaskToken::open(&secret(), &given.token).expect("a token").seal_text(&secret());
        assert_eq!(code(shard.call_back(&token, success("1")).await), "TaskDoesNotExist", "{mode:?}");
        shard.succeed(1, &given.token, "2").await;
        assert_eq!(ended(&shard, &mut watcher).await.output.as_deref(), Some(b"2".as_slice()));
    }
}

#[tokio::test]
async fn the_task_of_an_execution_that_was_stopped_is_over() {
    let (_world, ask, shard) = asking().await;
    let token = shard.waits(ask, 1, true).await;
    let (error, cause) = (String::new(), String::new());
    let stop = |reply| Command::Stop { execution: execution(1, 0), error, cause, reply };
    ticking(&shard, shard.ask(stop)).await.expect("stopped");
    assert_eq!(code(shard.call_back(&token, success("1")).await), "TaskTimedOut");
}

#[tokio::test]
async fn while_the_store_does_not_confirm_nothing_is_taken_and_afterwards_it_is() {
    let (world, ask, shard) = asking().await;
    let token = shard.waits(ask, 1, true).await;
    world.store.set_unavailable(Some("a test"));
    // Something has to be written before that is noticed.
    let (definition, mode) = (ask, Mode::Standard);
    drop(shard.start(batch(2, definition, mode, &["1"])).await);
    ticking(&shard, shard.until(ShardState::StoreDown)).await;
    assert_eq!(code(shard.call_back(&token, success("1")).await), "NotDurable");
    world.store.set_unavailable(None);
    ticking(&shard, shard.until(ShardState::Serving)).await;
    assert_eq!(code(shard.call_back(&token, success("1")).await), "taken");
}

#[tokio::test]
async fn heartbeats_keep_a_task_while_the_store_does_not_confirm_for_longer_than_they_are_apart() {
    let world = World::new();
    let (ask, pass) = (world.define(ASK).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let (kept, over) = (shard.waits(ask, 1, true).await, shard.waits(ask, 2, true).await);
    assert_eq!(code(shard.call_back(&over, success("1")).await), "taken");
    outcomes(&mut watcher, 1).await;
    world.store.set_unavailable(Some("a test"));
    drop(shard.start(batch(3, pass, Mode::Standard, &["1"])).await);
    ticking(&shard, shard.until(ShardState::StoreDown)).await;
    assert_eq!(code(shard.call_back(&kept, Callback::Heartbeat).await), "taken");
    assert_eq!(code(shard.call_back(&over, Callback::Heartbeat).await), "NotDurable");
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(45));
        // Whether the partition is still this owner's cannot be known after the lease; the task has its time all the same.
        let answer = shard.call_back(&kept, Callback::Heartbeat).await;
        assert!(matches!(answer, Ok(()) | Err(Error::Store(_))), "{answer:?}");
    }
    world.store.set_unavailable(None);
    ticking(&shard, shard.until(ShardState::Serving)).await;
    assert_eq!(code(shard.call_back(&kept, success("[7]")).await), "taken");
    let ended = ticking(&shard, outcomes(&mut watcher, 2)).await;
    assert!(ended.iter().any(|one| one.output.as_deref() == Some(b"[7]".as_slice())), "{ended:?}");
}

#[tokio::test]
async fn one_that_was_sent_to_an_owner_that_is_replaced_is_not_acknowledged_and_taken_by_the_next() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let (stale, second) = (world.managed(), world.managed());
    serve(&stale).await;
    let token = stale.waits(ask, 1, true).await;
    serve(&second).await;
    // It may have heard of the next one before.
    let refused = code(stale.call_back(&token, success("1")).await);
    assert!(matches!(refused, "OwnerChanged" | "NotOwner"), "{refused}");
    until_owned(&stale, &[]).await;
    assert_eq!(code(stale.call_back(&token, success("1")).await), "NotOwner");
    let mut watcher = second.watch().await;
    assert_eq!(code(second.call_back(&token, success("2")).await), "taken");
    assert_eq!(ended(&second, &mut watcher).await.output.as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn a_partition_that_was_given_back_takes_no_callback_here_and_its_next_owner_does() {
    let world = World::new();
    let ask = world.define(ASK).await;
    let (first, second) = (world.managed(), world.managed());
    serve(&first).await;
    let (one, two) = (first.waits(ask, 1, true).await, first.waits(ask, 2, false).await);
    assert_eq!(code(second.call_back(&one, success("1")).await), "NotOwner");
    ticking(&first, release(&first)).await;
    assert_eq!(code(first.call_back(&one, success("1")).await), "NotOwner");
    serve(&second).await;
    let mut watcher = second.watch().await;
    for token in [one, two] {
        assert_eq!(code(second.call_back(&token, success("2")).await), "taken");
        let outcome = ended(&second, &mut watcher).await;
        assert_eq!(outcome.output.as_deref(), Some(b"2".as_slice()));
    }
}

#[tokio::test]
async fn a_refusal_is_not_told_from_memory_by_an_owner_that_the_store_has_not_confirmed_for_long() {
    let (world, ask, shard) = asking().await;
    let token = shard.waits(ask, 1, true).await;
    assert_eq!(code(shard.call_back(&token, success("1")).await), "taken");
    world.store.set_away(partition(), true);
    world.clock.advance(limits::LEASE + TICK);
    let answer = shard.call_back(&token, success("1")).await;
    assert!(!matches!(answer, Err(Error::Conflict { .. })), "{answer:?}");
    world.store.set_away(partition(), false);
    let asked = async {
        loop {
            let answer = shard.call_back(&token, success("1")).await;
            if matches!(answer, Err(Error::Conflict { .. })) {
                return code(answer);
            }
        }
    };
    assert_eq!(soon("a refusal", asked).await, "TaskTimedOut");
}

#[tokio::test]
async fn a_reply_of_the_store_that_is_lost_loses_no_callback() {
    let (world, ask, shard) = asking().await;
    let mut watcher = shard.watch().await;
    for (sequence, fault) in
        [(1, Fault::LoseReply), (2, Fault::Refuse(StoreError::Unavailable("a test".to_owned())))]
    {
        let token = shard.waits(ask, sequence, true).await;
        world.store.fail_next(fault);
        // Where the fault meets something that is written beside, it is refused as long as the store is away.
        let sent = async {
            loop {
                match code(shard.call_back(&token, success("1")).await) {
                    "NotDurable" => {}
                    answer => return answer,
                }
            }
        };
        assert_eq!(ticking(&shard, sent).await, "taken");
        assert_eq!(ended(&shard, &mut watcher).await.output.as_deref(), Some(b"1".as_slice()));
    }
}

const SEND: &str = "arn:aws:states:::test:send.waitForTaskToken";
const SEND_TASK: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","End":true,
    "Resource":"arn:aws:states:::test:send.waitForTaskToken","Parameters":{"token.$":"$$.Task.Token"}}}}"#;

/// A token that was sent to a service, and where the test answers that.
type Sent = (Bytes, oneshot::Sender<()>);

/// A service that is sent tokens.
struct Messages(mpsc::Sender<Sent>);

impl Integration for Messages {
    fn kind(&self) -> CallKind {
        CallKind::Execution
    }

    fn serves(&self, resource: &str) -> bool {
        resource == SEND
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, CallAnswer> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let gone = || Failure::runtime("the test has ended".to_owned());
            self.0.send((request.input.bytes().clone(), answer)).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?;
            Ok(CallAnswer::Output(Payload::from_checked(Bytes::from_static(br#"{"id":1}"#))))
        })
    }

    fn complete<'a>(&'a self, _: &'a Request, _: &'a Payload) -> Call<'a, Payload> {
        Box::pin(async { Err(Failure::runtime("it begins no jobs".to_owned())) })
    }
}

#[tokio::test]
async fn a_callback_may_come_before_its_call_was_answered_and_ends_it() {
    for answered in [false, true] {
        let (sender, mut sent) = mpsc::channel::<Sent>(4);
        let integrations: MakeIntegrations = Arc::new(move |_: &ShardContext| {
            Integrations::default().and(std::rc::Rc::new(Messages(sender.clone())))
        });
        let world = World { integrations, ..World::new() };
        let send = world.define(SEND_TASK).await;
        let shard = world.shard().await;
        let mut watcher = shard.watch().await;
        ticking(&shard, shard.started(batch(1, send, Mode::Standard, &["1"]))).await;
        let (input, mut answer) = soon("a call", sent.recv()).await.expect("the shard calls");
        let token = token_of(&v1::Task { input, ..Default::default() });
        if answered {
            answer.send(()).expect("the shard waits");
            soon("an answer", async {
                while shard.metrics.calls_under_way.get() > 0 {
                    shard.settled().await;
                }
            })
            .await;
            assert_eq!(code(shard.call_back(&token, success("7")).await), "taken");
        } else {
            assert_eq!(code(shard.call_back(&token, success("7")).await), "taken");
            soon("the call's end", answer.closed()).await;
        }
        let outcome = ended(&shard, &mut watcher).await;
        assert_eq!(outcome.output.as_deref(), Some(b"7".as_slice()));
        assert_eq!(code(shard.call_back(&token, success("8")).await), "TaskTimedOut");
    }
}
