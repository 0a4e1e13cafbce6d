//! A partition serves while an execution that worked much is told again what it was told. The shard is driven by hand
//! here: so its replay stands still for as long as a test looks.

use futures_util::FutureExt as _;
use proto::executor::v1::{ExecutionStatus, Mode};

use super::super::actor::Wake;
use super::super::core::{Flight, Shard};
use super::super::log::LogState;
use super::calling::{JOB_TASK, world_with_jobs};
use super::*;

/// Works for turns, then waits for a task.
const HOT: &str = r#"{"QueryLanguage":"JSONata","StartAt":"A","States":{
    "A":{"Type":"Pass","Output":"{% $states.input + $count([1..100000]) / 100000 %}","Next":"B"},
    "B":{"Type":"Choice","Default":"A","Choices":[{"Condition":"{% $states.input = 5 %}","Next":"T"}]},
    "T":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}}}"#;

/// A shard without a thread.
pub(super) struct Bare {
    pub(super) shard: Shard,
    /// The oldest first.
    flights: Vec<Flight>,
}

impl Bare {
    pub(super) fn new(world: &World) -> Self {
        Self::with(world, Some(vec![partition()]))
    }

    /// A shard that has these partitions, or what it is assigned.
    pub(super) fn with(world: &World, partitions: Option<Vec<PartitionId>>) -> Self {
        let (config, context) = world.parts(partitions);
        let (state, _) = watch::channel(ShardState::Recovering);
        let mut bare = Self { shard: Shard::new(config, context, state), flights: Vec::new() };
        bare.wake(Wake::default());
        bare
    }

    pub(super) fn wake(&mut self, mut wake: Wake) {
        self.shard.wake(&mut wake);
        self.flights.append(&mut self.shard.flights);
    }

    pub(super) fn tell(&mut self, command: Command) {
        self.wake(Wake { commands: vec![command], ..Wake::default() });
    }

    /// Lets a flight come to its end.
    async fn land(&mut self, at: usize) {
        let landed = soon("a landing", self.flights.remove(at)).await;
        self.wake(Wake { landed: vec![landed], ..Wake::default() });
    }

    /// Lets every flight come to its end, and what follows from it.
    pub(super) async fn settle(&mut self, world: &World) {
        while !self.flights.is_empty() {
            self.land(0).await;
            world.clock.advance(TICK);
            self.wake(Wake::default());
        }
    }

    /// Asks, and lets what the question needs come to its end; the replay that began first stands still.
    async fn ask<T>(&mut self, command: impl FnOnce(super::super::Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply));
        while self.flights.len() > 1 {
            self.land(1).await;
        }
        soon("an answer", answer).await.expect("the shard answers")
    }
}

fn assigned(partitions: &[PartitionId]) -> Command {
    Command::Assign { partitions: partitions.to_vec() }
}

fn hot(definition: DefinitionHash) -> v1::StartBatch {
    v1::StartBatch { name: vec!["n".to_owned()], ..batch(1, definition, Mode::Standard, &["0"]) }
}

#[tokio::test]
async fn a_partition_serves_while_a_replay_that_works_much_is_under_way() {
    let world = World::new();
    let (hot_one, pass) = (world.define(HOT).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(hot(hot_one)).await;
    ticking(&shard, tasks(&mut worker, 1)).await;
    drop(shard);

    let mut bare = Bare::new(&world);
    for _ in ["the connection", "the log"] {
        assert_eq!(bare.flights.len(), 1);
        bare.land(0).await;
    }
    // What the crash may have lost is written again meanwhile.
    while bare.flights.len() > 1 {
        bare.land(1).await;
    }
    assert_eq!((bare.shard.logs[0].away.len(), bare.shard.open.len()), (1, 0), "the replay is under way");
    for execution in
        [execution(1, 0), ExecutionName::Named { machine: "orders".to_owned(), name: "n".to_owned() }]
    {
        let asked = execution.clone();
        let found = bare.ask(|reply| Command::Describe { execution: asked, reply }).await.expect("found");
        assert_eq!(found.summary.expect("a summary").status(), ExecutionStatus::Running);
        let (error, cause) = (String::new(), String::new());
        let stopped = bare.ask(|reply| Command::Stop { execution, error, cause, reply }).await;
        assert!(matches!(stopped, Err(Error::Shed { .. })), "{stopped:?}");
    }
    // Another one is started, and the name of the one that is away is taken.
    let (acks, mut answers) = mpsc::channel(8);
    world.clock.advance(TICK);
    bare.tell(Command::Start { batch: batch(2, pass, Mode::Express, &["1"]), acks: acks.clone() });
    bare.tell(Command::Start {
        batch: v1::StartBatch { id: Some(batch_id(3).into()), ..hot(hot_one) },
        acks,
    });
    while bare.flights.len() > 1 {
        bare.land(1).await;
        world.clock.advance(TICK);
        bare.wake(Wake::default());
    }
    let (first, second) = (next(&mut answers).await, next(&mut answers).await);
    let shown = format!("{first:?} {second:?}");
    let running = first.running.or(second.running).unwrap_or_else(|| panic!("the holder runs: {shown}"));
    assert_eq!((running.batch, running.index), (Some(batch_id(1).into()), 0));
    // It comes back where it was.
    bare.land(0).await;
    assert_eq!((bare.shard.open.len(), bare.shard.tasks.len()), (1, 1));
    assert!(bare.shard.logs[0].away.is_empty());
}

#[tokio::test]
async fn while_a_log_is_brought_back_no_task_leaves_and_no_outcome_is_taken_for_it_may_be_given_back_as_it_is()
 {
    let world = World::new();
    let two = world.define(TWO_TASKS).await;
    let first = world.shard().await;
    let mut worker = first.worker(1, 100).await;
    first.started(batch(1, two, Mode::Standard, &["1"; 50])).await;
    let given = tasks(&mut worker, 50).await;
    drop(first);

    let mut bare = Bare::with(&world, None);
    bare.tell(assigned(&[partition()]));
    bare.land(0).await;
    // Each execution takes as long as all of a slice.
    world.clock.advance_with_each_look(limits::TURNS_SLICE);
    bare.land(0).await;
    let (sender, mut worker) = mpsc::channel(8);
    let hello = v1::WorkerHello { pool: "workers".to_owned(), worker: "worker-1".to_owned() };
    bare.tell(Command::WorkerAttached { worker: 1, hello, tasks: sender });
    let succeeded = |task: &v1::Task| v1::TaskOutcome {
        token: task.token.clone(),
        outcome: Some(v1::task_outcome::Outcome::Output(Bytes::from_static(b"2"))),
    };
    let outcomes: Vec<v1::TaskOutcome> = given.iter().map(succeeded).collect();
    let message = v1::WorkerMessage { credit: 100, outcomes, ..Default::default() };
    bare.tell(Command::WorkerMessage { worker: 1, message });
    let (log, open) = (&bare.shard.logs[0], bare.shard.open.len());
    assert!(log.state == LogState::Recovering && open > 0 && open < 50, "some are back: {open}");
    assert_eq!(bare.shard.tasks.len(), open, "each wants its task");
    bare.tell(assigned(&[]));
    assert!(bare.shard.logs[0].state == LogState::Released && bare.shard.open.len() == 0);
    let mut returned = Vec::new();
    while let Ok(batch) = worker.try_recv() {
        assert!(batch.tasks.is_empty(), "a task has left");
        returned.extend(batch.returned.into_iter().filter_map(|returned| returned.outcome));
    }
    assert_eq!(returned.len(), 50, "every outcome is the worker's again");

    world.clock.advance_with_each_look(Duration::ZERO);
    let second = world.shard().await;
    let mut worker = second.worker(2, 0).await;
    let message = v1::WorkerMessage { credit: 100, outcomes: returned, ..Default::default() };
    second.say(2, message).await;
    let next = ticking(&second, tasks(&mut worker, 50)).await;
    assert!(next.iter().all(|task| task.function.ends_with("ship")), "no task is done twice");
}

#[tokio::test]
async fn while_a_log_is_brought_back_no_call_leaves_and_then_all_do() {
    let (world, mut jobs) = world_with_jobs();
    let task = world.define(JOB_TASK).await;
    let first = world.shard().await;
    first.started(batch(1, task, Mode::Standard, &["1"; 50])).await;
    drop(first);
    while jobs.try_recv().is_ok() {}

    let mut bare = Bare::with(&world, None);
    bare.tell(assigned(&[partition()]));
    bare.land(0).await;
    // Each execution takes as long as all of a slice.
    world.clock.advance_with_each_look(limits::TURNS_SLICE);
    bare.land(0).await;
    let (state, open) = (bare.shard.logs[0].state, bare.shard.open.len());
    assert!(state == LogState::Recovering && open > 0 && open < 50, "some are back: {open}");
    assert_eq!(bare.shard.calls.len(), open, "each wants its call");
    for flight in &mut bare.flights {
        drop(flight.as_mut().now_or_never());
    }
    assert!(jobs.try_recv().is_err(), "a call has left");
    bare.tell(assigned(&[]));
    assert!(bare.shard.logs[0].state == LogState::Released && bare.shard.calls.len() == 0);

    world.clock.advance_with_each_look(Duration::ZERO);
    let _second = world.shard().await;
    let mut begun = Vec::new();
    while begun.len() < 50 {
        begun.push(soon("a call", jobs.recv()).await.expect("a call"));
    }
}

#[tokio::test]
async fn a_replay_that_lands_while_its_partition_is_given_back_wakes_nothing() {
    let world = World::new();
    let (hot_one, pass) = (world.define(HOT).await, world.define(PASS).await);
    let shard = world.shard().await;
    let mut worker = shard.worker(1, 1).await;
    shard.started(hot(hot_one)).await;
    ticking(&shard, tasks(&mut worker, 1)).await;
    drop(shard);

    let mut bare = Bare::with(&world, None);
    bare.tell(assigned(&[partition()]));
    for _ in ["the connection", "the log"] {
        bare.land(0).await;
    }
    while bare.flights.len() > 1 {
        bare.land(1).await;
    }
    let (acks, mut answers) = mpsc::channel(8);
    world.clock.advance(TICK);
    bare.tell(Command::Start { batch: batch(2, pass, Mode::Express, &["1"]), acks });
    bare.tell(assigned(&[]));
    assert!(bare.shard.logs[0].is_halted(), "its last block is on its way");
    bare.land(0).await;
    let shard = &bare.shard;
    assert_eq!((shard.open.len(), shard.tasks.len(), shard.timers.len()), (0, 0, 0));
    bare.settle(&world).await;
    assert_eq!(next(&mut answers).await.refusal, None);
    assert_eq!(bare.shard.logs[0].state, LogState::Released);
    let next = world.shard().await;
    let mut worker = next.worker(2, 1).await;
    assert_eq!(ticking(&next, tasks(&mut worker, 1)).await.len(), 1, "its next owner wakes it");
}
