//! A process of a node: a real shard, its clock, its calls of the store on their way, and what it has to say.
//!
//! Invariants: its memory ends with it; it does nothing while nobody runs it; in which order answered calls reach the
//! shard is drawn from the seed. Everything that leaves it is taken out by the world, see [`Process::drain`]. Nothing
//! here fails.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use assign::NodeKey;
use executor::clock::{Clock, ManualClock};
use executor::cluster::Cluster;
use executor::config::Config;
use executor::error::Error;
use executor::owners::Owners;
use executor::secret::ClusterSecret;
use executor::shard::simulation::{Flight, Landed, SimulatedShard};
use executor::shard::{
    Binding, Command, Crumbs, HistoryCut, HistoryPage, Pace, ShardConfig, ShardContext, ShardState,
};
use ids::{ExecutionId, ExecutionName, PartitionId};
use journal::BlockId;
use proto::executor::v1;
use telemetry::ShardMetrics;
use tokio::sync::{mpsc, oneshot, watch};

use crate::answers::{Answer, answers, of, take};
use crate::callbacks::{CallBack, SECRET};
use crate::machines::Catalogue;
use crate::points::CallKind;
use crate::rng::Rng;
use crate::store::Desk;

/// Unix time at which every run begins, in microseconds.
pub const EPOCH_US: u64 = 1_700_000_000_000_000;

/// What is asked of a process.
#[derive(Debug, Clone)]
pub enum Message {
    /// A batch of a dispatcher; `forged` says that its id was used for other content before.
    Start { dispatcher: usize, forged: bool, batch: Arc<v1::StartBatch> },
    /// Ends an execution.
    Stop(ExecutionId),
    /// Redrives an execution; which of its redrives it is.
    Redrive(ExecutionId, usize),
    /// Says how a task went.
    CallBack(Arc<CallBack>),
    /// Asks for an execution.
    Describe(ExecutionId),
    /// Asks for the history of an execution.
    History(ExecutionId),
    /// Asks for the executions of a machine.
    List(Arc<str>),
    /// A worker comes.
    WorkerComes(u64),
    /// A worker says something.
    WorkerSays(u64, v1::WorkerMessage),
    /// A worker goes.
    WorkerLeaves(u64),
    /// What it owns.
    Report,
    /// What it shall own.
    Assign(Vec<PartitionId>),
    /// It is to end.
    Drain,
}

/// What a process says.
#[derive(Debug)]
pub enum Said {
    Ack {
        dispatcher: usize,
        forged: bool,
        ack: v1::StartAck,
    },
    Completions(v1::CompletionBatch),
    Tasks(u64, v1::TaskBatch),
    Stopped(ExecutionId),
    Redriven(ExecutionId),
    CalledBack(Arc<CallBack>),
    Described(ExecutionId, Box<v1::DescribeExecutionResponse>),
    /// There is no such execution.
    Denied(ExecutionId),
    /// `None`: it is not kept.
    History(ExecutionId, Option<Vec<v1::HistoryEvent>>),
    Listed(Vec<v1::ExecutionSummary>),
    Reported(v1::Shard),
    Drained,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Airborne {
    flight: Flight,
    woken: Arc<Woken>,
    waker: Waker,
}

/// A running process.
pub struct Process {
    /// Never used again.
    pub id: u32,
    /// When it began, by the time of the simulation.
    pub born_us: u64,
    /// Which group of partitions is its own from the beginning, if one is.
    pub group: Option<usize>,
    /// It stands still until then, if it does.
    pub paused_until_us: Option<u64>,
    /// How long its clock has stood still, in all.
    pub slept_us: u64,
    /// What the process before it was stepping when it died, and that one's life.
    pub crumb: Option<(ExecutionId, u64)>,
    /// When it is run next.
    pub run_at_us: Option<u64>,
    /// What was answered since it ran last.
    pub answered: Vec<CallKind>,
    /// Whether it has said that it lacks a partition of its group.
    pub lacks: bool,
    /// By which name schedulers know it.
    pub node: NodeKey,
    /// The scheduler that it talks to, and the number of its stream there.
    pub link: Option<(u64, u64)>,
    /// The incarnation of the scheduler that it followed last.
    pub followed: u32,
    /// Since when it wants to lose everything.
    pub leaving_since_us: Option<u64>,
    crumbs: Arc<Crumbs>,
    owners: Arc<Owners>,
    metrics: Arc<ShardMetrics>,
    changes: watch::Receiver<u64>,
    shard: SimulatedShard,
    clock: ManualClock,
    /// Of the simulation, when its clock was moved last.
    moved_us: u64,
    /// How far its clock is ahead of the simulation's.
    ahead_us: i64,
    /// How long it is to stand still.
    halt_us: u64,
    inbox: VecDeque<Command>,
    flights: BTreeMap<u64, Airborne>,
    next_flight: u64,
    landed: Vec<Landed>,
    links: BTreeMap<(usize, bool), (mpsc::Sender<v1::StartAck>, mpsc::Receiver<v1::StartAck>)>,
    completions: mpsc::Receiver<v1::CompletionBatch>,
    workers: BTreeMap<u64, mpsc::Receiver<v1::TaskBatch>>,
    stops: Vec<(ExecutionId, Answer<u64>)>,
    redrives: Vec<(ExecutionId, Answer<u64>)>,
    callbacks: Vec<(Arc<CallBack>, Answer<()>)>,
    descriptions: Vec<(ExecutionId, Answer<v1::DescribeExecutionResponse>)>,
    histories: Vec<(ExecutionId, Answer<HistoryPage>)>,
    lists: Vec<Answer<v1::ListExecutionsResponse>>,
    reports: Vec<Answer<v1::Shard>>,
    drains: Vec<Answer<()>>,
}

/// Executions of a listing; no run has as many.
const LIST_MAX: u32 = 1_000;
/// Commands that a shard handles in one wake-up.
const COMMANDS: usize = executor::limits::COMMANDS_PER_WAKE;

/// The settings of a process's shard.
fn config_of(
    id: u32,
    partitions: Option<Vec<PartitionId>>,
    partition_count: u16,
    (retention, pace): (Duration, Pace),
) -> ShardConfig {
    let binding = Binding { pattern: "arn:aws:lambda:*".to_owned(), pool: "workers".to_owned() };
    ShardConfig {
        index: 0,
        shards: 1,
        partitions,
        partition_count,
        data_address: format!("process-{id}:1"),
        queue_commands: 64,
        open_max: 10_000,
        bytes_max: 1 << 30,
        retention,
        bindings: Arc::new([binding]),
        pace,
    }
}

impl Process {
    /// A process that begins to recover its partitions when it runs first.
    #[must_use]
    pub fn new(
        (id, group, node): (u32, Option<usize>, NodeKey),
        (partitions, partition_count): (Option<Vec<PartitionId>>, u16),
        (now_us, ahead_us): (u64, i64),
        (retention, pace, crumb): (Duration, Pace, Option<(ExecutionId, u64)>),
        desk: &Desk,
        catalogue: &Catalogue,
    ) -> Self {
        let config = config_of(id, partitions, partition_count, (retention, pace));
        let clock = ManualClock::at_ms((EPOCH_US + now_us).saturating_add_signed(ahead_us) / 1_000);
        let (owners, metrics) = (Arc::new(Owners::new(partition_count)), Arc::<ShardMetrics>::default());
        let crumbs = crumb.map_or_else(Arc::default, |(id, life)| Crumbs::of(id, life));
        let cluster = Cluster::open(&Config::embedded(), Clock::Manual(clock.clone()));
        let cluster = cluster.expect("a node without a state directory has none to read");
        let context = ShardContext {
            integrations: executor::shard::no_integrations(),
            connect: Arc::new(desk.of(id)),
            archiver: None,
            outside: Default::default(),
            objects: None,
            cluster: Arc::new(cluster),
            secret: Arc::new(ClusterSecret::from_key(&SECRET)),
            definitions: Arc::clone(&catalogue.definitions),
            owners: Arc::clone(&owners),
            metrics: Arc::clone(&metrics),
            clock: Clock::Manual(clock.clone()),
            crumbs: Arc::clone(&crumbs),
        };
        let (sender, completions) = mpsc::channel(512);
        let watch = Command::Watch { include_outcomes: true, completions: sender };
        Self {
            id,
            born_us: now_us,
            group,
            paused_until_us: None,
            slept_us: 0,
            crumb,
            crumbs,
            run_at_us: None,
            answered: Vec::new(),
            lacks: false,
            node,
            link: None,
            followed: 0,
            leaving_since_us: None,
            changes: owners.subscribe(),
            owners,
            metrics,
            shard: SimulatedShard::new(config, context),
            clock,
            moved_us: now_us,
            ahead_us,
            halt_us: 0,
            inbox: VecDeque::from([watch]),
            flights: BTreeMap::new(),
            next_flight: 0,
            landed: Vec::new(),
            links: BTreeMap::new(),
            completions,
            workers: BTreeMap::new(),
            stops: Vec::new(),
            redrives: Vec::new(),
            callbacks: Vec::new(),
            descriptions: Vec::new(),
            histories: Vec::new(),
            lists: Vec::new(),
            reports: Vec::new(),
            drains: Vec::new(),
        }
    }

    /// Whether it says that it is of no more use.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.lacks || self.shard.state() == ShardState::Failed
    }

    /// Whether its workers are attached.
    #[must_use]
    pub fn workers(&self) -> Vec<u64> {
        self.workers.keys().copied().collect()
    }

    /// Blocks that it has counted as lost.
    #[must_use]
    pub fn blocks_lost(&self) -> u64 {
        self.metrics.blocks_lost.get()
    }

    /// What stands in its state directory when it dies: what it has not had counted of its predecessor.
    #[must_use]
    pub fn uncounted(&self) -> Option<(ExecutionId, u64)> {
        self.crumb.filter(|_| !self.crumbs.are_counted())
    }

    /// Executions that it has carried into later blocks.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.metrics.carried.get()
    }

    /// Where the recoveries began of what it has, if at checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<(PartitionId, BlockId)> {
        self.shard.checkpoints()
    }

    /// Whether it has this partition.
    #[must_use]
    pub fn has(&self, partition: PartitionId) -> bool {
        self.owners.of(partition).is_some()
    }

    /// Whether what it has is another than when this was asked last.
    pub fn has_changed(&mut self) -> bool {
        let changed = self.changes.has_changed().unwrap_or_default();
        self.changes.mark_unchanged();
        changed
    }

    /// How long its clock has stood still.
    #[must_use]
    pub fn silent_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.moved_us)
    }

    /// Its clock goes on; a machine that slept may have a clock that slept too.
    pub fn tell_time(&mut self, now_us: u64, asleep_us: u64) {
        let passed = now_us.saturating_sub(self.moved_us).saturating_sub(asleep_us);
        let halted_us = passed.min(self.halt_us);
        self.moved_us = now_us;
        self.halt_us -= halted_us;
        self.slept_us += asleep_us + halted_us;
        self.clock.advance(Duration::from_micros(passed - halted_us));
    }

    /// Somebody sets the clock of its machine. A process follows no step back, and so stands still where its clock is slewed.
    pub fn set_clock(&mut self, ahead_us: i64) {
        let by_us = ahead_us - std::mem::replace(&mut self.ahead_us, ahead_us);
        if by_us < 0 {
            self.halt_us += by_us.unsigned_abs();
            return;
        }
        let less_us = self.halt_us.min(by_us.unsigned_abs());
        self.halt_us -= less_us;
        self.clock.advance(Duration::from_micros(by_us.unsigned_abs() - less_us));
    }

    /// Something reaches it.
    pub fn receive(&mut self, message: Message) {
        let command = match message {
            Message::Start { dispatcher, forged, batch } => {
                let link = self.links.entry((dispatcher, forged)).or_insert_with(|| mpsc::channel(1_024));
                Command::Start { batch: (*batch).clone(), acks: link.0.clone() }
            }
            Message::Stop(id) => {
                let (reply, answer) = oneshot::channel();
                self.stops.push((id, answer));
                let (error, cause) = ("Stopped".to_owned(), String::new());
                Command::Stop { execution: ExecutionName::Id(id), error, cause, reply }
            }
            Message::Redrive(id, nth) => {
                let (reply, answer) = oneshot::channel();
                self.redrives.push((id, answer));
                Command::Redrive { execution: ExecutionName::Id(id), token: nth.to_string().into(), reply }
            }
            Message::CallBack(callback) => {
                let (command, answer) = callback.command();
                self.callbacks.push((callback, answer));
                command
            }
            Message::Describe(id) => {
                let (reply, answer) = oneshot::channel();
                self.descriptions.push((id, answer));
                Command::Describe { execution: ExecutionName::Id(id), reply }
            }
            Message::History(id) => {
                let (reply, answer) = oneshot::channel();
                self.histories.push((id, answer));
                let (execution, form) = (ExecutionName::Id(id), v1::HistoryForm::StepFunctions);
                // All of it: what is told here is short.
                let cut = HistoryCut { reverse: false, size: usize::MAX, place: None };
                Command::History { execution, form, cut, reply }
            }
            Message::List(machine_arn) => {
                let (reply, answer) = oneshot::channel();
                self.lists.push(answer);
                let (machine_arn, max_results) = (machine_arn.to_string(), LIST_MAX);
                let request = v1::ListExecutionsRequest { machine_arn, max_results, ..Default::default() };
                Command::List { request, reply }
            }
            Message::WorkerComes(worker) => {
                let (tasks, receiver) = mpsc::channel(64);
                self.workers.insert(worker, receiver);
                let hello = v1::WorkerHello { pool: "workers".to_owned(), worker: format!("w{worker}") };
                Command::WorkerAttached { worker, hello, tasks }
            }
            Message::WorkerSays(worker, message) => Command::WorkerMessage { worker, message },
            Message::WorkerLeaves(worker) => {
                self.workers.remove(&worker);
                Command::WorkerDetached { worker }
            }
            Message::Report => {
                let (reply, answer) = oneshot::channel();
                self.reports.push(answer);
                Command::Report { reply }
            }
            Message::Assign(partitions) => Command::Assign { partitions },
            Message::Drain => {
                let (reply, answer) = oneshot::channel();
                self.drains.push(answer);
                Command::Drain { reply }
            }
        };
        self.inbox.push_back(command);
    }

    /// Goes on with the calls of the store that have their answers, in some order.
    pub fn fly(&mut self, rng: &mut Rng) {
        let mut woken: Vec<u64> = self.woken().collect();
        rng.shuffle(&mut woken);
        for number in woken {
            let Some(airborne) = self.flights.get_mut(&number) else { continue };
            airborne.woken.0.store(false, Ordering::Relaxed);
            let mut cx = Context::from_waker(&airborne.waker);
            if let Poll::Ready(landed) = airborne.flight.poll(&mut cx) {
                self.landed.push(landed);
                self.flights.remove(&number);
            }
        }
    }

    fn woken(&self) -> impl Iterator<Item = u64> + '_ {
        self.flights.iter().filter(|(_, flight)| flight.woken.0.load(Ordering::Relaxed)).map(|(at, _)| *at)
    }

    /// The shard handles what is there. What it asks of the store has not left the process yet.
    pub fn wake(&mut self) {
        let commands = self.inbox.drain(..self.inbox.len().min(COMMANDS)).collect();
        let flights = self.shard.wake(commands, std::mem::take(&mut self.landed));
        self.take_over(flights);
    }

    fn take_over(&mut self, flights: Vec<Flight>) {
        for flight in flights {
            let woken = Arc::new(Woken(AtomicBool::new(true)));
            let waker = Waker::from(Arc::clone(&woken));
            self.flights.insert(self.next_flight, Airborne { flight, woken, waker });
            self.next_flight += 1;
        }
    }

    /// What the process that was here before waited for: a mutation.
    pub fn inherit(&mut self, other: Self) {
        let flights = other.flights.into_values().map(|airborne| airborne.flight).collect();
        self.take_over(flights);
    }

    /// In how many microseconds it has something to do, if anything.
    #[must_use]
    pub fn due_in_us(&self) -> Option<u64> {
        if !self.inbox.is_empty() || self.woken().next().is_some() {
            return Some(0);
        }
        let sleeper = self.clock.next_sleeper_us();
        let alarm = self.shard.next_alarm_us();
        let at_us = sleeper.into_iter().chain(alarm).min()?;
        Some(at_us.saturating_sub(Clock::Manual(self.clock.clone()).now_us()).max(1))
    }

    /// What it has said since it was asked last.
    pub fn drain(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        for ((dispatcher, forged), (_, acks)) in &mut self.links {
            while let Ok(ack) = acks.try_recv() {
                said.push(Said::Ack { dispatcher: *dispatcher, forged: *forged, ack });
            }
        }
        while let Ok(batch) = self.completions.try_recv() {
            said.push(Said::Completions(batch));
        }
        for (worker, tasks) in &mut self.workers {
            while let Ok(batch) = tasks.try_recv() {
                said.push(Said::Tasks(*worker, batch));
            }
        }
        answers(&mut self.stops, |id, told| said.extend(of(id, told, |_| Said::Stopped(id))));
        answers(&mut self.redrives, |id, told| said.extend(of(id, told, |_| Said::Redriven(id))));
        answers(&mut self.callbacks, |callback, told| {
            said.extend(told.ok().map(|()| Said::CalledBack(callback)));
        });
        answers(&mut self.descriptions, |id, told| {
            said.extend(of(id, told, |described| Said::Described(id, Box::new(described))));
        });
        answers(&mut self.histories, |id, page| match page {
            Err(Error::Conflict { code: "HistoryNotKept", .. }) => said.push(Said::History(id, None)),
            page => said.extend(of(id, page, |page| Said::History(id, Some(page.events)))),
        });
        take(&mut self.lists, |list| said.extend(list.ok().map(|list| Said::Listed(list.executions))));
        take(&mut self.reports, |shard| said.extend(shard.ok().map(Said::Reported)));
        take(&mut self.drains, |drained| said.extend(drained.ok().map(|()| Said::Drained)));
        said
    }
}
