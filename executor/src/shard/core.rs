//! The shard's state and its one entrance, [`Shard::wake`].
//!
//! Nothing here knows actix or waits: commands and answers of the store come in, calls of the store ([`Flight`]) go out,
//! and [`Shard::next_alarm_us`] says when to wake it without either. The order within a wake-up is fixed: the store's
//! answers (they free room), timers, commands, mailboxes, turns, tasks to workers, flushes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use asl::{Effect, EffectId, Event, Program, Str};
use ids::{BatchId, ExecutionId};
use journal::store::Acquired;
use journal::{Store, StoreError, Top};
use proto::executor::v1;
use tasks::{Answer, Failure};
use telemetry::ShardMetrics;
use tokio::sync::{mpsc, watch};

use super::activities::Activities;
use super::actor::Wake;
use super::answer::Watcher;
use super::archiving::{Archived, Unarchived};
use super::bindings::Bindings;
use super::calls::Calls;
use super::carry::Due;
use super::compare::Comparison;
use super::crumbs::Crumb;
use super::errand::Targets;
use super::execution::OpenExecution;
use super::flush_pace::FlushPace;
use super::log::{Log, LogState};
use super::machine::Machines;
use super::mailbox::MailRoom;
use super::names::Names;
use super::own::Own;
use super::parting::Last;
use super::probe::{Asked, Probe};
use super::reading::Recovered;
use super::redrive::Revival;
use super::replay::Replayed;
use super::slab::{Address, Slab};
use super::start::Taken;
use super::suspects::Suspect;
use super::tasks::Tasks;
use super::telling::Telling;
use super::timers::{Wakeup, Wheel};
use super::transfers::{Done, Transfers};
use super::turns::Turns;
use super::went_back::Finding;
use super::{Command, Reply, ShardConfig, ShardContext, ShardState};
use crate::admission::Admission;
use crate::clock::Clock;
use crate::definitions::{Definitions, LoadError};
use crate::limits;
use crate::secret::SecretReader;

/// What the shard waits for without waiting: a call of the store.
pub(super) type Flight = Pin<Box<dyn Future<Output = Landed>>>;

/// How a flight ended.
pub(super) enum Landed {
    /// The connection stands.
    Connected(Result<Arc<dyn Store>, StoreError>),
    /// A log was taken and read.
    Recovered { log: usize, tenure: u64, result: Result<Box<Recovered>, StoreError> },
    /// An execution was replayed that works much, or had to wait for what it has read.
    Replayed { log: usize, tenure: u64, replayed: Option<Box<Replayed>> },
    /// The store answered an append.
    Appended { log: usize, tenure: u64, result: Result<(), StoreError> },
    /// What is to be carried into later blocks was read.
    Due { log: usize, tenure: u64, result: Result<Vec<Due>, StoreError> },
    /// A range of a log was archived.
    Archived { log: usize, tenure: u64, result: Result<Archived, Unarchived> },
    /// A batch waited for definitions.
    Loaded {
        batch: Box<v1::StartBatch>,
        acks: mpsc::Sender<v1::StartAck>,
        result: Result<Vec<Arc<Program>>, LoadError>,
    },
    /// A resend was compared with the log.
    Compared {
        log: usize,
        /// The tenure and the generation in which it was read.
        since: (u64, u64),
        batch: Box<v1::StartBatch>,
        acks: mpsc::Sender<v1::StartAck>,
        result: Result<Comparison, StoreError>,
    },
    /// The store says which names of a batch are taken.
    NamesChecked {
        tenure: u64,
        batch: Box<v1::StartBatch>,
        acks: mpsc::Sender<v1::StartAck>,
        result: Result<Taken, StoreError>,
    },
    /// A Map's read or write came to its end, or was cancelled.
    Transferred { transfer: Address, result: Option<Result<Done, Str>> },
    /// An integration's call was answered, or was cancelled.
    Called { call: Address, result: Option<Result<Answer, Failure>> },
    /// An ended execution was replayed to be redriven.
    Revived { log: usize, tenure: u64, revival: Box<Revival> },
    /// The store has told where logs stand, in which tenures.
    /// `cut_off`: nothing else of the store answered either.
    Probed { asked: Vec<Asked>, result: Result<Vec<Top>, StoreError>, cut_off: bool },
    /// What was begun for a partition is no longer wanted.
    Dropped,
    /// What the store is, and where a log ends that went back.
    Examined { log: usize, tenure: u64, result: Result<Finding, StoreError> },
    /// A log that was mended is taken anew.
    Renewed { log: usize, tenure: u64, result: Result<Acquired, StoreError> },
    /// A question was answered to whoever asked it.
    Answered,
}

/// Everything that one thread owns.
pub(super) struct Shard {
    pub config: ShardConfig,
    pub context: ShardContext,
    pub metrics: Arc<ShardMetrics>,
    pub clock: Clock,
    pub definitions: Arc<Definitions>,
    pub store: Option<Arc<dyn Store>>,
    pub state: watch::Sender<ShardState>,
    pub admission: Admission,
    /// Those that the shard has, and those that it had; a partition keeps its place.
    pub logs: Vec<Log>,
    pub own: Own,
    pub machines: Machines,
    pub open: Slab<OpenExecution>,
    pub mail: MailRoom,
    pub runnable: VecDeque<Address>,
    /// Failures of tasks that nobody serves: told when all that was asked for beside them is under way.
    pub refused: VecDeque<(Address, Event)>,
    pub turns: Turns,
    pub timers: Wheel,
    pub bindings: Bindings,
    pub targets: Targets,
    pub tasks: Tasks,
    pub activities: Activities,
    /// Seals and opens their tokens.
    pub secret: SecretReader,
    pub transfers: Transfers,
    pub calls: Calls,
    pub watchers: Vec<Watcher>,
    pub outcomes_watched: bool,
    /// What is told of histories.
    pub telling: Telling,
    /// Used again for every step.
    pub effects: Vec<Effect>,
    /// Used again for every wake-up.
    pub woken: Vec<Wakeup>,
    pub flights: Vec<Flight>,
    /// Names blocks under construction.
    pub serial: u64,
    /// When small flushes begin.
    pub flush_pace: FlushPace,
    pub now_us: u64,
    pub alarm_us: Option<u64>,
    pub draining: Option<Vec<Reply<()>>>,
    /// What a drain lets end.
    pub last: Option<Last>,
    pub begun: bool,
    /// Connections that failed before the first one stood.
    pub connects_failed: u32,
    /// Batches that wait for what they have asked the store.
    pub loading: usize,
    /// Of the content hashes; drawn anew by each process.
    pub hasher: foldhash::quality::RandomState,
    /// Names of STANDARD executions.
    pub names: Names,
    pub probe: Probe,
    /// Executions that are being replayed to be redriven.
    pub reviving: Rc<RefCell<HashSet<ExecutionId>>>,
    /// Says what is being stepped.
    pub crumb: Rc<Crumb>,
    /// What stands against executions of its partitions.
    pub suspects: HashMap<ExecutionId, Suspect>,
    /// Look-ups under way, and what they leave for those that follow.
    pub questions: super::kept_replays::Questions,
    /// Open executions by batch, for who asks by id.
    pub by_batch: HashMap<BatchId, Vec<(u8, Address)>, foldhash::fast::RandomState>,
}

impl Shard {
    pub fn new(config: ShardConfig, context: ShardContext, state: watch::Sender<ShardState>) -> Self {
        let now_us = context.clock.now_us();
        let bindings = Bindings::new(Arc::clone(&config.bindings));
        let metrics = Arc::clone(&context.metrics);
        metrics.permits_limit_count.set(config.open_max);
        metrics.permits_limit_bytes.set(config.bytes_max);
        Self {
            metrics,
            clock: context.clock.clone(),
            definitions: Arc::clone(&context.definitions),
            store: None,
            state,
            admission: Admission::new(config.open_max, config.bytes_max),
            serial: 0,
            flush_pace: FlushPace::new(config.shards),
            logs: Vec::new(),
            own: Own::new(config.partition_count),
            machines: Machines::new(Arc::clone(&context.secret)),
            open: Slab::default(),
            mail: MailRoom::default(),
            runnable: VecDeque::new(),
            refused: VecDeque::new(),
            turns: Turns::default(),
            timers: Wheel::new(now_us / 1_000),
            targets: Targets::new(Arc::clone(&context.metrics)),
            tasks: Tasks::new(bindings.pools().len()),
            activities: Activities::new(config.index),
            secret: context.secret.reader(),
            bindings,
            transfers: Transfers::new(context.objects.clone()),
            calls: Calls::new((context.integrations)(&context), Arc::clone(&context.metrics)),
            watchers: Vec::new(),
            outcomes_watched: false,
            telling: Telling::new(context.outside.clone(), Arc::clone(&context.metrics), config.shards),
            effects: Vec::new(),
            woken: Vec::new(),
            flights: Vec::new(),
            now_us,
            alarm_us: None,
            draining: None,
            last: None,
            begun: false,
            connects_failed: 0,
            loading: 0,
            hasher: foldhash::quality::RandomState::default(),
            names: Names::default(),
            probe: Probe::new(now_us),
            reviving: Rc::default(),
            crumb: Rc::new(context.crumbs.slot(config.index)),
            suspects: HashMap::new(),
            questions: Default::default(),
            by_batch: HashMap::default(),
            config,
            context,
        }
    }

    /// Handles what a wake-up brings, and whatever follows from it.
    pub fn wake(&mut self, wake: &mut Wake) {
        let begun_us = self.clock.now_us();
        self.now_us = begun_us;
        self.alarm_us = None;
        self.turns.begin_round();
        if !std::mem::replace(&mut self.begun, true) {
            self.begin_recovery();
        }
        for landed in wake.landed.drain(..) {
            self.landed(landed);
        }
        self.fire_timers();
        self.names.forget(self.now_us / 1_000);
        for command in wake.commands.drain(..) {
            self.metrics.commands.add(1);
            self.command(command);
            self.now_us = self.clock.now_us();
        }
        self.take_again();
        self.restore_some();
        self.run_mailboxes();
        self.give_turns();
        self.part_some();
        self.dispatch_tasks();
        self.begin_parked_calls();
        self.tell_polls();
        self.carry();
        self.archive();
        self.flush_all();
        self.probe();
        self.answer_drain();
        self.set_gauges();
        let busy_us = self.clock.now_us().saturating_sub(begun_us);
        self.metrics.busy_us.add(busy_us);
        self.metrics.wake_latency.observe(busy_us);
    }

    /// When something is due without a command or an answer.
    pub fn next_alarm_us(&self) -> Option<u64> {
        let timer = self.timers.next_ms().map(|ms| ms.saturating_mul(1_000));
        match (timer, self.alarm_us) {
            (Some(timer), Some(alarm)) => Some(timer.min(alarm)),
            (timer, alarm) => timer.or(alarm),
        }
    }

    /// Wakes the shard at this instant at the latest.
    pub fn alarm_at(&mut self, at_us: u64) {
        self.alarm_us = Some(self.alarm_us.map_or(at_us, |known| known.min(at_us)));
    }

    fn landed(&mut self, landed: Landed) {
        match landed {
            Landed::Connected(result) => self.connected(result),
            Landed::Recovered { log, tenure, result } => self.recovered(log, tenure, result),
            Landed::Replayed { log, tenure, replayed } => self.replayed(log, tenure, replayed),
            Landed::Appended { log, tenure, result } => self.appended(log, tenure, result),
            Landed::Due { log, tenure, result } => self.due_read(log, tenure, result),
            Landed::Archived { log, tenure, result } => self.archived(log, tenure, result),
            Landed::Loaded { batch, acks, result } => self.loaded(*batch, &acks, result),
            Landed::Compared { log, since, batch, acks, result } => {
                self.compared((log, since), &batch, &acks, result)
            }
            Landed::NamesChecked { tenure, batch, acks, result } => {
                self.names_checked(tenure, *batch, &acks, result)
            }
            Landed::Transferred { transfer, result } => self.transferred(transfer, result),
            Landed::Called { call, result } => self.called(call, result),
            Landed::Revived { log, tenure, revival } => self.revived(log, tenure, *revival),
            Landed::Probed { asked, result, cut_off } => self.probed(&asked, result, cut_off),
            Landed::Dropped => {}
            Landed::Examined { log, tenure, result } => self.examined(log, tenure, result),
            Landed::Renewed { log, tenure, result } => self.renewed(log, tenure, result),
            Landed::Answered => self.questions.under_way = self.questions.under_way.saturating_sub(1),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Start { batch, acks } => self.start(batch, &acks),
            Command::Describe { execution, reply } => self.describe(execution, reply),
            Command::History { execution, form, cut, reply } => self.history(execution, form, cut, reply),
            Command::MapRuns { execution, reply } => self.map_runs(execution, reply),
            Command::Children { execution, cut, reply } => self.children(execution, cut, reply),
            Command::Stop { execution, error, cause, reply } => self.stop(execution, &error, &cause, reply),
            Command::Await { execution, reply } => self.await_end(execution, reply),
            Command::Redrive { execution, token, reply } => self.redrive(execution, token, reply),
            Command::Callback { token, callback, reply } => self.callback(&token, callback, reply),
            Command::List { request, reply } => self.list(request, reply),
            Command::Watch { include_outcomes, completions } => self.watch(include_outcomes, completions),
            Command::WorkerAttached { worker, hello, tasks } => self.worker_attached(worker, &hello, tasks),
            Command::WorkerMessage { worker, message } => self.worker_message(worker, message),
            Command::WorkerDetached { worker } => self.tasks.detach(worker),
            Command::AwaitActivityTask { activity, poll } => self.await_activity(&activity, poll),
            Command::TakeActivityTask { activity, worker, reply } => {
                self.take_activity(&activity, worker, reply);
            }
            Command::Report { reply } => {
                let _ = reply.send(Ok(self.report()));
            }
            Command::Assign { partitions } => self.assign(partitions),
            Command::Drain { reply } => self.drain(reply),
        }
    }

    fn fire_timers(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        let (metrics, now_us) = (&self.metrics, self.now_us);
        self.timers.advance(now_us / 1_000, |wakeup, at_ms| {
            metrics.timer_lateness.observe(now_us.saturating_sub(at_ms.saturating_mul(1_000)));
            woken.push(wakeup);
        });
        metrics.timers_fired.add(woken.len() as u64);
        for wakeup in woken.drain(..) {
            let effect = EffectId(wakeup.effect);
            let open = self.open.get_mut(wakeup.address);
            if open.is_some_and(|open| open.waiting_for.remove(effect, false).is_some()) {
                self.deliver(wakeup.address, Event::TimerFired(effect));
            }
        }
        self.woken = woken;
    }

    /// An execution takes its slot; the log has its input, or is about to.
    pub fn admit(&mut self, open: OpenExecution, input: &[u8]) -> Address {
        let id = open.id;
        if let Some(name) = open.name.as_deref().filter(|_| open.machine.is_standard()) {
            self.names.hold(open.machine.name.execution_segment(), name, id, input);
        }
        let log = usize::from(open.log);
        open.machine.metrics.open.add(1);
        let address = self.open.insert(open);
        let batch = self.by_batch.entry(id.batch).or_default();
        if batch.is_empty() {
            self.logs[log].open_batches.insert(id.batch);
        }
        batch.push((id.index, address));
        address
    }

    /// An execution leaves its slot.
    pub fn dismiss(&mut self, address: Address) -> Option<OpenExecution> {
        let open = self.open.remove(address)?;
        open.machine.metrics.open.sub(1);
        if let Some(name) = open.name.as_deref().filter(|_| open.machine.is_standard()) {
            self.names.ended(open.machine.name.execution_segment(), name, open.id, self.now_us / 1_000);
        }
        if let Some(batch) = self.by_batch.get_mut(&open.id.batch) {
            batch.retain(|(index, _)| *index != open.id.index);
            if batch.is_empty() {
                self.by_batch.remove(&open.id.batch);
                self.logs[usize::from(open.log)].open_batches.remove(&open.id.batch);
            }
        }
        Some(open)
    }

    /// Where an open execution is.
    pub fn find(&self, id: ExecutionId) -> Option<Address> {
        let batch = self.by_batch.get(&id.batch)?;
        batch.iter().find(|(index, _)| *index == id.index).map(|(_, address)| *address)
    }

    /// Batch ids that one log may remember.
    pub fn batches_max(&self) -> usize {
        (limits::BATCHES_REMEMBERED_MAX / self.own.here.max(1)).max(1)
    }

    fn report(&self) -> v1::Shard {
        v1::Shard {
            index: self.config.index,
            data_address: self.config.data_address.clone(),
            partitions: self.served().map(|partition| u32::from(partition.get())).collect(),
            open_executions: self.open.len() as u64,
            saturation_ratio: self.admission.saturation(),
            owned: self.logs.iter().filter_map(Log::owned).collect(),
            cut_off: self.is_cut_off(),
            busy: false,
        }
    }

    fn drain(&mut self, reply: Reply<()>) {
        if self.draining.is_none() {
            self.last = self.last_of(self.open.iter().map(|(address, _)| address).collect());
        }
        self.draining.get_or_insert_default().push(reply);
        self.publish_state();
    }

    /// A drain is answered when synchronous executions have ended and everything accepted so far is durable; what else is
    /// open stays in the log.
    fn answer_drain(&mut self) {
        let Some(replies) = self.draining.as_mut().filter(|_| self.last.is_none()) else { return };
        if self.logs.iter().all(Log::is_idle) {
            for reply in replies.drain(..) {
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Tells the node how the shard fares, when that has changed.
    pub fn publish_state(&mut self) {
        let any = |state| self.logs.iter().any(|log| log.state == state);
        let connected = self.store.is_some();
        // What was tried and failed is told apart for each partition: it keeps nobody from the others.
        let untried = |log: &Log| log.state == LogState::Recovering && log.attempts == 0;
        let some = self.logs.iter().any(|log| log.state.serves()) || !any(LogState::Recovering);
        self.own.ready |= connected && self.own.assigned && some && !self.logs.iter().any(untried);
        let lost =
            self.config.partitions.is_some() && self.logs.iter().all(|log| log.state == LogState::Lost);
        let state = if lost && !self.logs.is_empty() {
            ShardState::Failed
        } else if self.draining.is_some() {
            ShardState::Draining
        } else if !connected {
            ShardState::Connecting
        } else if !self.own.assigned {
            ShardState::Unassigned
        } else if !self.own.ready {
            ShardState::Recovering
        } else if any(LogState::Down) || self.probe.silent {
            ShardState::StoreDown
        } else {
            ShardState::Serving
        };
        let right = !self.context.cluster.is_foreign();
        let available = !any(LogState::Down) && !self.probe.silent && connected && right;
        self.metrics.store_available.set(u64::from(available));
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
    }

    fn set_gauges(&self) {
        let (executions, bytes) = self.admission.used();
        self.metrics.permits_used_count.set(executions);
        self.metrics.permits_used_bytes.set(bytes);
        self.metrics.open.set(self.open.len() as u64);
        self.metrics.timers.set(self.timers.len() as u64);
        self.metrics.tasks_waiting.set(self.tasks.len() as u64);
        self.metrics.activity_tasks_waiting.set(self.activities.waiting() as u64);
        self.metrics.calls_under_way.set(self.calls.len() as u64);
        self.metrics.workers.set(self.tasks.workers() as u64);
        let sealed = |log: &Log| log.sealed.iter().map(|sealed| sealed.records).sum::<usize>();
        let pending: usize = self.logs.iter().map(|log| log.waiting() + sealed(log)).sum();
        self.metrics.store_pending.set(pending as u64);
        let dropped = self.store.as_ref().map_or(0, |store| store.derived_dropped());
        self.metrics.derived_dropped.add(dropped.saturating_sub(self.metrics.derived_dropped.get()));
        if self.context.archiver.is_some() {
            self.metrics.archive_overdue_ms.set(self.archive_overdue_ms());
        }
        let number = |of: fn(&Log) -> bool| self.logs.iter().filter(|log| of(log)).count() as u64;
        self.metrics.partitions_owned.set(number(|log| log.state.is_here()));
        self.metrics.partitions_recovering.set(number(|log| log.state == LogState::Recovering));
    }
}
