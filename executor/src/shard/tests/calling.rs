//! Calls of integrations: over HTTP to a server on loopback, and of a job that is begun and followed.

use ::tasks::{Answer as CallAnswer, Call, Failure, Integration, Integrations, Request};
use asl::Payload;
use proto::executor::v1::{ExecutionStatus, Mode};
use telemetry::CallKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::*;
use crate::config::IntegrationOptions;
use crate::integrations::{self, Surroundings};

/// A server that lets the test answer each request.
struct Api {
    url: String,
    asked: mpsc::Receiver<Asked>,
}

/// A request that has come, on a connection of its own.
struct Asked {
    head: String,
    stream: TcpStream,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (requests, asked) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).expect("a head in ASCII");
                    let _ = requests.send(Asked { head, stream }).await;
                });
            }
        });
        Self { url, asked }
    }

    async fn asked(&mut self) -> Asked {
        soon("a request", self.asked.recv()).await.expect("the server runs")
    }

    /// A definition with one task that calls this server.
    fn definition(&self, path: &str, more: &str) -> &'static str {
        format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","Resource":"arn:aws:states:::http:invoke",
            "Parameters":{{"ApiEndpoint":"{}{path}","Method":"GET"}},
            "ResultSelector":{{"body.$":"$.ResponseBody"}},{more}"End":true}}}}}}"#,
            self.url
        )
        .leak()
    }
}

impl Asked {
    async fn answer(mut self, status: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        self.stream.write_all(format!("{head}{body}").as_bytes()).await.expect("the client reads");
    }

    /// Waits until the client has closed the connection.
    async fn closed(mut self) {
        let ended = soon("the connection's end", self.stream.read(&mut [0; 64])).await;
        assert!(!ended.is_ok_and(|read| read > 0), "nothing more comes on it");
    }
}

/// A world whose shards call what is on loopback.
fn world() -> World {
    let options = IntegrationOptions { egress_allow: vec!["127.0.0.0/8".to_owned()], ..Default::default() };
    let surroundings = Surroundings {
        runtime: Handle::current(),
        metrics: telemetry::NodeMetrics::new("test", 1),
        trust: None,
        scheduler: None,
        clock: Clock::default(),
    };
    let integrations = integrations::open(&options, surroundings).expect("integrations");
    World { integrations, ..World::new() }
}

async fn types(shard: &TestShard, sequence: u64) -> Vec<String> {
    let (execution, form) = (execution(sequence, 0), v1::HistoryForm::Unspecified);
    let events = shard
        .ask(|reply| Command::History { execution, form, cut: WHOLE, reply })
        .await
        .map(|page| page.events)
        .expect("a history");
    events.into_iter().map(|event| event.r#type).collect()
}

#[tokio::test]
async fn a_standard_call_leaves_after_its_cause_is_durable_and_an_express_one_at_once() {
    let (world, mut api) = (world(), Api::start().await);
    let standard = world.define(api.definition("/standard", "")).await;
    let express = world.define(api.definition("/express", "")).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    world.store.hold_appends();
    shard.start(batch(1, standard, Mode::Standard, &["1"])).await;
    shard.start(batch(2, express, Mode::Express, &["1"])).await;
    let first = api.asked().await;
    assert!(first.head.starts_with("GET /express "), "{}", first.head);
    shard.settled().await;
    assert_eq!(shard.metrics.calls_under_way.get(), 2, "the other one waits for the store");
    first.answer("200 OK", "1").await;
    world.store.release_appends();
    let second = ticking(&shard, api.asked()).await;
    assert!(second.head.starts_with("GET /standard "), "{}", second.head);
    second.answer("200 OK", r#"{"paid":true}"#).await;
    let ended = ticking(&shard, outcomes(&mut watcher, 2)).await;
    let outputs = ended.iter().map(|outcome| outcome.output.as_deref());
    assert!(outputs.eq([Some(&br#"{"body":{"paid":true}}"#[..]), Some(&br#"{"body":1}"#[..])]), "{ended:?}");
    assert_eq!(shard.metrics.calls[CallKind::Http as usize].answered.get(), 2);
}

#[tokio::test]
async fn a_call_whose_time_is_over_ends_its_connection() {
    for mode in [Mode::Standard, Mode::Express] {
        let (world, mut api) = (world(), Api::start().await);
        let task = world.define(api.definition("/slow", r#""TimeoutSeconds":30,"#)).await;
        let shard = world.shard().await;
        let mut watcher = shard.watch().await;
        shard.started(batch(1, task, mode, &["1"])).await;
        let asked = api.asked().await;
        world.clock.advance(Duration::from_secs(30));
        asked.closed().await;
        let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
        assert_eq!(ended.error.as_deref(), Some("States.Timeout"), "{ended:?}");
        shard.settled().await;
        let cells = &shard.metrics.calls[CallKind::Http as usize];
        assert_eq!((cells.cancelled.get(), shard.metrics.calls_under_way.get()), (1, 0));
    }
}

#[tokio::test]
async fn a_call_whose_execution_is_stopped_ends_its_connection() {
    let (world, mut api) = (world(), Api::start().await);
    let task = world.define(api.definition("/slow", "")).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    let (asked, (reply, _stopped)) = (api.asked().await, oneshot::channel());
    let (error, cause) = ("Stop".to_owned(), String::new());
    shard.send(Command::Stop { execution: execution(1, 0), error, cause, reply }).await;
    asked.closed().await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.status(), ExecutionStatus::Aborted, "{ended:?}");
    assert_eq!(shard.metrics.calls[CallKind::Http as usize].cancelled.get(), 1);
    assert_eq!(shard.metrics.target("http", &api.url).cancelled.get(), 1);
}

#[tokio::test]
async fn a_failing_answer_is_retried_as_the_definition_says() {
    let (world, mut api) = (world(), Api::start().await);
    let retry = r#""Retry":[{"ErrorEquals":["States.Http.StatusCode.503"],"IntervalSeconds":1}],"#;
    let task = world.define(api.definition("/flaky", retry)).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    api.asked().await.answer("503 Service Unavailable", "later").await;
    ticking(&shard, api.asked()).await.answer("200 OK", "7").await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.output.as_deref(), Some(&br#"{"body":7}"#[..]), "{ended:?}");
    let cells = &shard.metrics.calls[CallKind::Http as usize];
    assert_eq!((cells.failed.get(), cells.answered.get()), (1, 1));
    // Their target has a host and no path.
    let target = shard.metrics.target("http", &api.url);
    assert_eq!((target.failed.get(), target.succeeded.get()), (1, 1));
    let told = types(&shard, 1).await;
    let once = ["TaskScheduled", "TaskStarted", "TaskFailed"];
    assert_eq!(told[2..8], [&once[..], &["TaskScheduled", "TaskStarted", "TaskSucceeded"]].concat());
}

#[tokio::test]
async fn a_call_without_an_answer_is_made_again_after_a_crash() {
    let (world, mut api) = (world(), Api::start().await);
    let task = world.define(api.definition("/pay", "")).await;
    let shard = world.shard().await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    let asked = api.asked().await;
    drop(shard);
    asked.closed().await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    api.asked().await.answer("200 OK", "2").await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.output.as_deref(), Some(&br#"{"body":2}"#[..]), "{ended:?}");
}

#[tokio::test]
async fn an_address_that_may_not_be_called_fails_its_task_with_what_to_configure() {
    let api = Api::start().await;
    let closed = integrations::open(
        &IntegrationOptions::default(),
        Surroundings {
            runtime: Handle::current(),
            metrics: telemetry::NodeMetrics::new("test", 1),
            trust: None,
            scheduler: None,
            clock: Clock::default(),
        },
    );
    let world = World { integrations: closed.expect("integrations"), ..World::new() };
    let task = world.define(api.definition("/", "")).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, task, Mode::Express, &["1"])).await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.error.as_deref(), Some("States.Runtime"), "{ended:?}");
    assert!(ended.cause.as_deref().is_some_and(|cause| cause.contains("--egress-allow")), "{ended:?}");
}

const JOB: &str = "arn:aws:states:::test:runJob.sync";
pub(super) const JOB_TASK: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"arn:aws:states:::test:runJob.sync",
    "TimeoutSeconds":3000,"End":true}}}"#;

/// What a shard asks of a service with jobs, and where the test answers.
pub(super) struct JobAsked {
    attempt: String,
    /// For whom.
    role: String,
    /// What was submitted, when a job is followed.
    pub(super) follows: Option<String>,
    /// Whether it is to be stopped.
    pub(super) stop: bool,
    pub(super) answer: oneshot::Sender<CallAnswer>,
}

/// A service with jobs.
struct Jobs(mpsc::Sender<JobAsked>);

impl Jobs {
    async fn ask(
        &self,
        request: &Request,
        follows: Option<&Payload>,
        stop: bool,
    ) -> Result<CallAnswer, Failure> {
        let (answer, told) = oneshot::channel();
        let (attempt, follows) =
            (request.origin.names.attempt().to_string(), follows.map(|it| it.text().to_owned()));
        let role = request.origin.role_arn.to_string();
        let asked = JobAsked { attempt, role, follows, stop, answer };
        let gone = || Failure::runtime("the test has ended".to_owned());
        self.0.send(asked).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())
    }
}

impl Integration for Jobs {
    fn kind(&self) -> CallKind {
        CallKind::Execution
    }

    fn serves(&self, resource: &str) -> bool {
        JOB.starts_with(resource)
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, CallAnswer> {
        Box::pin(self.ask(request, None, false))
    }

    fn complete<'a>(&'a self, request: &'a Request, submitted: &'a Payload) -> Call<'a, Payload> {
        Box::pin(async move {
            match self.ask(request, Some(submitted), false).await? {
                CallAnswer::Output(output) | CallAnswer::Submitted(output) => Ok(output),
            }
        })
    }

    fn stop<'a>(&'a self, request: &'a Request, submitted: &'a Payload) -> Call<'a, ()> {
        Box::pin(async move { self.ask(request, Some(submitted), true).await.map(|_| ()) })
    }
}

pub(super) fn world_with_jobs() -> (World, mpsc::Receiver<JobAsked>) {
    let (asked, jobs) = mpsc::channel(4);
    let integrations: MakeIntegrations =
        Arc::new(move |_: &ShardContext| Integrations::default().and(std::rc::Rc::new(Jobs(asked.clone()))));
    (World { integrations, ..World::new() }, jobs)
}

pub(super) fn json(text: &'static str) -> Payload {
    Payload::from_checked(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn an_owner_that_has_not_heard_of_its_store_for_the_lease_calls_nobody_until_it_has() {
    const LATER: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":60,"Next":"A"},
        "A":{"Type":"Task","Resource":"arn:aws:states:::test:runJob","End":true}}}"#;
    let (world, mut jobs) = world_with_jobs();
    let later = world.define(LATER).await;
    let shard = world.shard().await;
    ticking(&shard, shard.started(batch(1, later, Mode::Express, &["1", "2"]))).await;
    world.store.set_unavailable(Some("cut off"));
    world.clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        shard.settled().await;
    }
    assert_eq!(shard.metrics.calls_under_way.get(), 2);
    assert!(jobs.try_recv().is_err(), "a call has left");
    world.store.set_unavailable(None);
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(ticking(&shard, jobs.recv()).await.expect("a call"));
    }
    shard.settled().await;
    assert!(jobs.try_recv().is_err(), "each has left once");
}

#[tokio::test]
async fn a_job_that_was_submitted_is_followed_after_a_crash_and_begun_no_second_time() {
    let (world, mut jobs) = world_with_jobs();
    let task = world.define(JOB_TASK).await;
    let shard = world.shard().await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    let begun = soon("a job", jobs.recv()).await.expect("a call");
    let attempt = begun.attempt;
    drop(shard);
    // It had no answer: the same attempt is made again.
    let shard = world.shard().await;
    let begun = soon("a job", jobs.recv()).await.expect("a call");
    assert_eq!((begun.attempt.as_str(), begun.follows.as_deref()), (attempt.as_str(), None));
    assert!(
        attempt.len() <= 64 && attempt.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "{attempt}"
    );
    begun.answer.send(CallAnswer::Submitted(json(r#"{"job":7}"#))).expect("the shard waits");
    let followed = soon("a look at the job", jobs.recv()).await.expect("a call");
    assert_eq!(followed.follows.as_deref(), Some(r#"{"job":7}"#));
    // A later start in a block of its own: what was told before is durable.
    ticking(&shard, shard.started(batch(2, task, Mode::Standard, &["1"]))).await;
    drop(soon("another job", jobs.recv()).await);
    drop(shard);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let (mut ended, mut followed) = (Vec::new(), 0);
    while ended.is_empty() {
        let asked = soon("a call", jobs.recv()).await.expect("a call");
        if let Some(job) = asked.follows {
            assert_eq!((asked.attempt.as_str(), job.as_str()), (attempt.as_str(), r#"{"job":7}"#));
            followed += 1;
            asked.answer.send(CallAnswer::Output(json(r#"{"done":true}"#))).expect("the shard waits");
            ended = ticking(&shard, outcomes(&mut watcher, 1)).await;
        }
    }
    assert_eq!((followed, ended[0].output.as_deref()), (1, Some(&br#"{"done":true}"#[..])));
    let told = types(&shard, 1).await;
    let expected = ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"];
    assert_eq!(&told[2..6], expected, "{told:?}");
}

#[tokio::test]
async fn a_task_with_credentials_is_done_for_their_role_also_after_a_crash() {
    let (world, mut jobs) = world_with_jobs();
    let (role, named) =
        ("arn:aws:iam::77:role/narrow", r#""Credentials":{"RoleArn":"arn:aws:iam::77:role/narrow"},"End""#);
    let narrow = world.define(JOB_TASK.replace(r#""End""#, named).leak()).await;
    let broken =
        world.define(JOB_TASK.replace(r#""End""#, r#""Credentials":{"RoleArn.$":"$"},"End""#).leak()).await;
    let shard = world.shard().await;
    shard.started(batch(1, narrow, Mode::Standard, &["1"])).await;
    let asked = soon("a job", jobs.recv()).await.expect("a call");
    assert_eq!(asked.role, role);
    asked.answer.send(CallAnswer::Submitted(json("7"))).expect("the shard waits");
    let look = soon("a look", jobs.recv()).await.expect("a call");
    assert_eq!(look.role, role);
    // What is no role is not taken for the machine's.
    ticking(&shard, shard.started(batch(2, broken, Mode::Standard, &["[1]"]))).await;
    let second = soon("a job", jobs.recv()).await.expect("a call");
    assert_eq!(second.role, "[1]");
    drop((shard, look, second));
    let _shard = world.shard().await;
    let again = [soon("a call", jobs.recv()).await, soon("a call", jobs.recv()).await];
    let mut roles = again.each_ref().map(|asked| asked.as_ref().expect("a call").role.as_str());
    roles.sort_unstable();
    assert_eq!(roles, ["[1]", role]);
}

#[tokio::test]
async fn a_job_is_stopped_when_it_is_durable_that_nobody_waits_for_it_and_left_alone_in_a_crash() {
    for stopped in [false, true] {
        let (world, mut jobs) = world_with_jobs();
        let task = world.define(JOB_TASK).await;
        let shard = world.shard().await;
        shard.started(batch(1, task, Mode::Standard, &["1"])).await;
        let begun = soon("a job", jobs.recv()).await.expect("a call");
        begun.answer.send(CallAnswer::Submitted(json(r#"{"job":7}"#))).expect("the shard waits");
        let followed = soon("a look at the job", jobs.recv()).await.expect("a call");
        ticking(&shard, shard.started(batch(2, task, Mode::Standard, &["1"]))).await;
        let other = soon("another job", jobs.recv()).await.expect("a call");
        drop(shard);
        let shard = world.shard().await;
        let again = [soon("a call", jobs.recv()).await, soon("a call", jobs.recv()).await];
        assert!(again.iter().flatten().all(|asked| !asked.stop), "both go on");
        world.store.hold_appends();
        if stopped {
            let (reply, _stopped) = oneshot::channel();
            let (error, cause) = (String::new(), String::new());
            shard.send(Command::Stop { execution: execution(1, 0), error, cause, reply }).await;
        } else {
            world.clock.advance(Duration::from_secs(3_000));
        }
        shard.settled().await;
        assert!(jobs.try_recv().is_err(), "it is not durable yet");
        world.store.release_appends();
        let last = ticking(&shard, jobs.recv()).await.expect("a call");
        assert_eq!((last.stop, last.follows.as_deref()), (true, Some(r#"{"job":7}"#)));
        drop((followed, other, again));
    }
}

#[tokio::test]
async fn an_express_execution_may_not_wait_for_a_job_or_a_token() {
    let (world, mut jobs) = world_with_jobs();
    let token = JOB_TASK.replace("test:runJob.sync", "sqs:sendMessage.waitForTaskToken");
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    for (sequence, definition) in [(1, JOB_TASK), (2, token.leak())] {
        let task = world.define(definition).await;
        shard.started(batch(sequence, task, Mode::Express, &["1"])).await;
        let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
        assert_eq!(ended.error.as_deref(), Some("States.Runtime"), "{ended:?}");
        assert!(ended.cause.as_deref().is_some_and(|cause| cause.contains("STANDARD")), "{ended:?}");
    }
    assert!(jobs.try_recv().is_err());
}

#[tokio::test]
async fn a_task_that_waits_for_its_token_waits_on_when_its_worker_has_answered_and_after_a_crash() {
    const CALLBACK: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task",
        "Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken","Parameters":{
        "FunctionName":"arn:aws:lambda:us-east-1:123456789012:function:ask","Payload":{"token.$":"$$.Task.Token"}},
        "TimeoutSeconds":600,"End":true}}}"#;
    let world = World::new();
    let task = world.define(CALLBACK).await;
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 10).await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    let given = tasks(&mut worker, 1).await.remove(0);
    shard.succeed(1, &given.token, r#""noted""#).await;
    // A later start in a block of its own: what was told before is durable.
    ticking(&shard, shard.started(batch(2, task, Mode::Standard, &["1"]))).await;
    drop(shard);
    let shard = world.shard().await;
    let (mut watcher, mut worker) = (shard.watch().await, shard.worker(2, 10).await);
    // The other one's task, and not this one's again.
    let again = tasks(&mut worker, 1).await;
    assert!(again.len() == 1 && !again[0].input.is_empty());
    shard.settled().await;
    assert!(worker.try_recv().is_err());
    world.clock.advance(Duration::from_secs(600));
    let ended = ticking(&shard, outcomes(&mut watcher, 2)).await;
    assert_eq!(ended[0].error.as_deref(), Some("States.Timeout"), "{ended:?}");
    let told = types(&shard, 1).await;
    let expected = ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskTimedOut"];
    assert_eq!(&told[2..6], expected, "{told:?}");
    assert!(!types(&shard, 2).await.contains(&"TaskSubmitted".to_owned()));
}

#[tokio::test]
async fn what_nobody_serves_fails_with_what_to_configure() {
    let world = world();
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let cases = [
        ("arn:aws:states:::lambda:invoke", "--lambda-endpoint"),
        ("arn:aws:states:::sqs:sendMessage", "arn:aws:states:::sqs:sendMessage"),
        ("arn:aws:states:::states:startExecution", "--scheduler"),
    ];
    for ((resource, part), sequence) in cases.into_iter().zip(1..) {
        let definition = JOB_TASK.replace(JOB, resource);
        let definition = definition.replace(r#""End""#, r#""Parameters":{"FunctionName":"pay"},"End""#);
        let task = world.define(definition.leak()).await;
        shard.started(batch(sequence, task, Mode::Standard, &["1"])).await;
        let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
        assert!(ended.cause.as_deref().is_some_and(|cause| cause.contains(part)), "{ended:?}");
        assert!(ended.cause.as_deref().is_some_and(|cause| cause.contains("--bind")), "{ended:?}");
    }
}

#[tokio::test]
async fn an_answer_beyond_what_a_journal_takes_fails_its_task() {
    let (world, mut jobs) = world_with_jobs();
    let task = world.define(JOB_TASK).await;
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    shard.started(batch(1, task, Mode::Standard, &["1"])).await;
    let begun = soon("a job", jobs.recv()).await.expect("a call");
    let long: &'static str = format!("{:?}", "x".repeat(limits::TASK_OUTPUT_BYTES_MAX)).leak();
    begun.answer.send(CallAnswer::Submitted(json(long))).expect("the shard waits");
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.error.as_deref(), Some("States.DataLimitExceeded"), "{ended:?}");
    assert!(jobs.try_recv().is_err(), "nothing is followed");
}

/// Answers one resource at once, and the other never.
struct HalfHung;

const HUNG: &str = "arn:aws:states:::test:hang";
const QUICK: &str = "arn:aws:states:::test:answer";

impl Integration for HalfHung {
    fn kind(&self) -> CallKind {
        CallKind::Http
    }

    fn serves(&self, resource: &str) -> bool {
        [HUNG, QUICK].contains(&resource)
    }

    fn begin<'a>(&'a self, request: &'a Request) -> Call<'a, CallAnswer> {
        Box::pin(async move {
            match &*request.resource {
                QUICK => Ok(CallAnswer::Output(json("1"))),
                _ => std::future::pending().await,
            }
        })
    }

    fn complete<'a>(&'a self, _: &'a Request, submitted: &'a Payload) -> Call<'a, Payload> {
        Box::pin(std::future::ready(Ok(submitted.clone())))
    }
}

#[tokio::test]
async fn calls_that_wait_for_something_slow_hold_up_no_others_however_many_they_are() {
    let integrations: MakeIntegrations =
        Arc::new(|_: &ShardContext| Integrations::default().and(std::rc::Rc::new(HalfHung)));
    let world = World { integrations, open_max: 20_000, ..World::new() };
    let task = |resource| JOB_TASK.replace(JOB, resource).leak();
    let (hung, quick) = (world.define(task(HUNG)).await, world.define(task(QUICK)).await);
    let shard = world.shard().await;
    let mut watcher = shard.watch().await;
    let batches = (limits::CALLS_MAX / limits::BATCH_EXECUTIONS_MAX + 1) as u64;
    for sequence in 1..=batches {
        let inputs = ["1"; limits::BATCH_EXECUTIONS_MAX];
        shard.started(batch(sequence, hung, Mode::Express, &inputs)).await;
    }
    shard.started(batch(batches + 1, quick, Mode::Express, &["1"])).await;
    let ended = ticking(&shard, outcomes(&mut watcher, 1)).await.remove(0);
    assert_eq!(ended.output.as_deref(), Some(&b"1"[..]), "{ended:?}");
}
