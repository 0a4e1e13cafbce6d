//! A shard on its own thread against a store in memory, and a client that speaks to its queue.

mod archiving;
mod assigned;
mod broken;
mod bulk;
mod calling;
mod calling_back;
mod carrying;
mod checkpoints;
mod children;
mod condemning;
mod counting;
mod lasting;
mod map_runs;
mod mapping;
mod mending;
mod moving;
mod naming;
mod owning;
mod paging;
mod polling;
mod probing;
mod reaching;
mod recorded;
mod recovering;
mod redriving;
mod replaced;
mod replaying;
mod rewriting;
mod settling;
mod starting;
mod stopping;
mod tcsl;
mod telling;
mod tracing;
mod turns;
mod went_back;
mod working;

use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, ArchiveOptions};
use asl::Dialect;
use bytes::Bytes;
use ids::{BatchId, DefinitionHash, ExecutionName, PartitionId};
use journal::memory::MemoryStore;
use journal::store::Connect;
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use telemetry::ShardMetrics;
use tokio::sync::{mpsc, oneshot, watch};

use super::handle::{Binding, Pace, ShardConfig, ShardHandle, ShardState};
use super::{Archiver, Command, HistoryCut, MakeIntegrations, ShardContext};
use crate::clock::{Clock, ManualClock};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::definitions::Definitions;
use crate::error::Error;
use crate::limits;
use crate::objects::Objects;
use crate::owners::Owners;
use crate::secret::ClusterSecret;

/// A history in one page.
pub const WHOLE: HistoryCut = HistoryCut { reverse: false, size: usize::MAX, place: None };

pub const START_MS: u64 = 1_700_000_000_000;
pub const MACHINE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";

pub const PASS: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}}"#;
pub const FAIL: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Fail","Error":"E","Cause":"C"}}}"#;
pub const WAIT: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":60,"End":true}}}"#;
pub const TASK: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","TimeoutSeconds":30,"End":true}}}"#;
pub const TWO_TASKS: &str = r#"{"StartAt":"A","States":{
    "A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","Next":"B"},
    "B":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:ship","End":true}}}"#;

/// So far a test moves its clock to let the next small flush begin: whole milliseconds, as records keep them.
pub const TICK: Duration = Duration::from_millis(crate::limits::FLUSH_PACE.as_millis() as u64 + 1);

/// How long a test waits for what must come; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What must come, comes.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Everything that outlives a shard.
pub struct World {
    pub store: MemoryStore,
    pub clock: ManualClock,
    pub cluster: Arc<Cluster>,
    pub definitions: Arc<Definitions>,
    pub integrations: MakeIntegrations,
    pub objects: Option<Arc<Objects>>,
    pub archive: Option<(String, Duration)>,
    /// Where histories and traces go.
    pub outside: super::Outside,
    pub retention: Duration,
    pub open_max: u64,
    /// Of the whole cluster.
    pub partitions: u16,
}

/// A running shard.
pub struct TestShard {
    pub handle: ShardHandle,
    pub metrics: Arc<ShardMetrics>,
    clock: ManualClock,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl World {
    pub fn new() -> Self {
        let cluster = Cluster::open(&Config::embedded(), Clock::default()).expect("no state directory");
        Self {
            store: MemoryStore::new(),
            clock: ManualClock::at_ms(START_MS),
            cluster: Arc::new(cluster),
            definitions: Arc::default(),
            integrations: super::no_integrations(),
            objects: None,
            archive: None,
            outside: Default::default(),
            retention: Duration::from_secs(3_600),
            open_max: 10_000,
            partitions: 1,
        }
    }

    /// Puts a definition.
    pub async fn define(&self, definition: &'static str) -> DefinitionHash {
        self.define_as(definition, Dialect::Asl).await
    }

    /// Puts a definition in a dialect.
    pub async fn define_as(&self, definition: &'static str, dialect: Dialect) -> DefinitionHash {
        let store = self.store.connect().await.expect("a connection");
        let text = Bytes::from_static(definition.as_bytes());
        self.definitions.put(&*store, text, dialect).await.expect("a good definition")
    }

    /// A shard that serves partition 0, ready.
    pub async fn shard(&self) -> TestShard {
        let shard = self.spawn();
        shard.until(ShardState::Serving).await;
        shard
    }

    /// A shard that serves partition 0, at once.
    pub fn spawn(&self) -> TestShard {
        self.spawn_with(Some(vec![partition()]))
    }

    /// A shard that has what it is assigned.
    pub fn managed(&self) -> TestShard {
        self.spawn_with(None)
    }

    /// What a shard needs to begin.
    pub fn parts(&self, partitions: Option<Vec<PartitionId>>) -> (ShardConfig, ShardContext) {
        let bindings = ["arn:aws:lambda:*", "qrn:*", "*:activity:pooled"]
            .map(|pattern| Binding { pattern: pattern.to_owned(), pool: "workers".to_owned() });
        let config = ShardConfig {
            index: 0,
            shards: 1,
            partitions,
            partition_count: self.partitions,
            data_address: "127.0.0.1:1".to_owned(),
            queue_commands: 64,
            open_max: self.open_max,
            bytes_max: 1 << 30,
            retention: self.retention,
            bindings: Arc::new(bindings),
            // Reached sooner than in a node.
            pace: Pace { checkpoint_blocks: 80, ..Pace::default() },
        };
        let context = ShardContext {
            integrations: Arc::clone(&self.integrations),
            connect: Arc::new(self.store.clone()),
            objects: self.objects.clone(),
            archiver: self.archiver(),
            outside: self.outside.clone(),
            cluster: Arc::clone(&self.cluster),
            secret: Arc::new(ClusterSecret::from_key(&[7; 32])),
            definitions: Arc::clone(&self.definitions),
            owners: Arc::new(Owners::new(self.partitions)),
            metrics: Arc::default(),
            clock: Clock::Manual(self.clock.clone()),
            crumbs: Arc::default(),
        };
        (config, context)
    }

    /// An archive in a folder, for so long where a machine does not say.
    fn archiver(&self) -> Option<Archiver> {
        let (url, keep) = self.archive.clone()?;
        let archive = Archive::open(&ArchiveOptions { url, ..Default::default() }).expect("an archive");
        Some(Archiver::new(archive, Arc::new(self.store.clone()), self.retention, keep))
    }

    fn spawn_with(&self, partitions: Option<Vec<PartitionId>>) -> TestShard {
        let (config, context) = self.parts(partitions);
        let metrics = Arc::clone(&context.metrics);
        let (end, ended) = oneshot::channel::<()>();
        let serve: super::Serve = Box::new(|_| {
            Box::pin(async move {
                let _ = ended.await;
            })
        });
        let (handle, thread) = super::spawn(config, context, serve).expect("a thread");
        TestShard { handle, metrics, clock: self.clock.clone(), end: Some(end), thread: Some(thread) }
    }
}

pub fn partition() -> PartitionId {
    PartitionId::new(0).expect("in range")
}

pub fn batch_id(sequence: u64) -> BatchId {
    BatchId::new(partition(), 1, sequence).expect("in range")
}

/// The name of an execution by its id.
pub fn execution(sequence: u64, index: u8) -> ExecutionName {
    ExecutionName::Id(batch_id(sequence).execution(index))
}

/// A batch of executions of one machine.
pub fn batch(sequence: u64, definition: DefinitionHash, mode: v1::Mode, inputs: &[&str]) -> v1::StartBatch {
    let machine = v1::Machine {
        arn: MACHINE.to_owned(),
        definition_hash: Bytes::copy_from_slice(&definition),
        mode: mode as i32,
        dialect: v1::Dialect::Asl as i32,
        ..Default::default()
    };
    v1::StartBatch {
        id: Some(batch_id(sequence).into()),
        machines: vec![machine],
        input: inputs.iter().map(|input| Bytes::copy_from_slice(input.as_bytes())).collect(),
        start_time_ms: START_MS,
        seed: 7,
        ..Default::default()
    }
}

impl TestShard {
    pub async fn until(&self, state: ShardState) {
        let mut states: watch::Receiver<ShardState> = self.handle.state.clone();
        let reached = soon("a state", states.wait_for(|known| *known == state)).await;
        assert!(reached.is_ok(), "the shard ended before it was {state:?}");
    }

    pub async fn send(&self, command: Command) {
        assert!(self.handle.sender.send(command).await.is_ok(), "the shard has ended");
    }

    /// Sends a batch; the channel gives its answers.
    pub async fn start(&self, batch: v1::StartBatch) -> mpsc::Receiver<v1::StartAck> {
        // Small flushes are a tick apart, and the clock stands still.
        self.clock.advance(TICK);
        let (acks, answers) = mpsc::channel(512);
        self.send(Command::Start { batch, acks }).await;
        answers
    }

    /// Sends a batch and gives its answers, once everything is answered, in order.
    pub async fn started(&self, batch: v1::StartBatch) -> Vec<Answer> {
        let count = batch.input.len() as u32;
        let mut answers = self.start(batch).await;
        let mut given = Vec::new();
        while given.iter().map(|answer: &Answer| answer.to - answer.from).sum::<u32>() < count {
            given.push(next(&mut answers).await);
        }
        given.sort_by_key(|answer| answer.from);
        given
    }

    pub async fn ask<T>(&self, command: impl FnOnce(super::Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await;
        soon("an answer", answer).await.expect("the shard answers")
    }

    /// What a shard does with a question after everything that was sent before it.
    pub async fn settled(&self) {
        let _ = self.ask(|reply| Command::Report { reply }).await;
    }

    pub async fn watch(&self) -> mpsc::Receiver<v1::CompletionBatch> {
        let (completions, receiver) = mpsc::channel(512);
        self.send(Command::Watch { include_outcomes: true, completions }).await;
        // Whoever moves the clock afterwards finds the watcher in its place.
        self.settled().await;
        receiver
    }

    /// A worker with so much credit.
    pub async fn worker(&self, id: u64, credit: u32) -> mpsc::Receiver<v1::TaskBatch> {
        let (tasks, receiver) = mpsc::channel(64);
        let hello = v1::WorkerHello { pool: "workers".to_owned(), worker: format!("worker-{id}") };
        self.send(Command::WorkerAttached { worker: id, hello, tasks }).await;
        self.say(id, v1::WorkerMessage { credit, ..Default::default() }).await;
        receiver
    }

    pub async fn say(&self, worker: u64, message: v1::WorkerMessage) {
        self.send(Command::WorkerMessage { worker, message }).await;
    }

    /// A worker's answer.
    pub async fn succeed(&self, worker: u64, token: &Bytes, output: &str) {
        let output = v1::task_outcome::Outcome::Output(Bytes::copy_from_slice(output.as_bytes()));
        let outcome = v1::TaskOutcome { token: token.clone(), outcome: Some(output) };
        self.say(worker, v1::WorkerMessage { outcomes: vec![outcome], ..Default::default() }).await;
    }
}

impl Drop for TestShard {
    /// As sudden as a crash: nothing is flushed.
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the shard's thread panicked");
        }
    }
}

/// One answer to a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    pub from: u32,
    pub to: u32,
    pub refusal: Option<v1::StartRefusal>,
    pub running: Option<v1::RunningExecution>,
}

impl Answer {
    pub fn reason(&self) -> Option<Reason> {
        self.refusal.as_ref().map(v1::StartRefusal::reason)
    }
}

pub async fn next(answers: &mut mpsc::Receiver<v1::StartAck>) -> Answer {
    let ack = soon("an acknowledgement", answers.recv()).await.expect("the shard answers");
    Answer { from: ack.from, to: ack.to, refusal: ack.refusal, running: ack.running }
}

/// Lets the clock go on until something has come.
pub async fn ticking<T>(shard: &TestShard, what: impl Future<Output = T>) -> T {
    let clock = async {
        loop {
            shard.clock.advance(TICK);
            shard.settled().await;
        }
    };
    tokio::select! {
        what = what => what,
        () = clock => unreachable!("the clock goes on for ever"),
    }
}

/// The outcomes that a watcher is told, until it has so many, in the order of their ids.
pub async fn outcomes(watcher: &mut mpsc::Receiver<v1::CompletionBatch>, count: usize) -> Vec<v1::Outcome> {
    let mut outcomes: Vec<v1::Outcome> = Vec::new();
    while outcomes.len() < count {
        outcomes.extend(soon("a completion", watcher.recv()).await.expect("the shard tells").outcomes);
    }
    outcomes.sort_by_key(|outcome| (outcome.id.map(|id| id.sequence), outcome.index));
    outcomes
}

/// The tasks that a worker is given, until it has so many.
pub async fn tasks(worker: &mut mpsc::Receiver<v1::TaskBatch>, count: usize) -> Vec<v1::Task> {
    let mut tasks = Vec::new();
    while tasks.len() < count {
        tasks.extend(soon("a task", worker.recv()).await.expect("the shard sends").tasks);
    }
    tasks
}
