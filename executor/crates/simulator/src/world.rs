//! A cluster on one thread: what is due happens, one event after the other, at a time of the simulation.
//!
//! Invariants: everything that happens follows from the seed; events of one instant happen in the order in which they
//! were made; the run ends at the first violation. A run has three parts: trouble, then healing (no new trouble, and
//! everything that was promised must come true within a bounded time), then an examination of what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audit::{Audit, Violation};
use crate::callbacks::CallBack;
use crate::client::Dispatcher;
use crate::exam::Exam;
use crate::machines::Catalogue;
use crate::mutation::Mutations;
use crate::options::Options;
use crate::placement::{Group, Seat};
use crate::points::Points;
use crate::process::{Message, Process};
use crate::rng::Rng;
use crate::scheduler::Scheduler;
use crate::store::{Call, Desk};
use crate::trace::Trace;
use assign::{Assignment, NodeKey};
use ids::{BatchId, ExecutionId, PartitionId};
use proto::executor::v1;

/// How long after healing everything must have come to its end.
const PATIENCE_US: u64 = 1_200_000_000;
/// Events of one run; more is a loop that makes no headway.
const EVENTS_MAX: u64 = 3_000_000;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A call reaches the store.
    CallArrives(u64),
    /// An answer of the store reaches its process.
    CallAnswered(u64),
    /// A process has something to do.
    Run(u32),
    /// A message reaches a process.
    Arrives(u32, Box<Message>),
    /// An acknowledgement reaches its dispatcher.
    Acknowledged { dispatcher: usize, forged: bool, ack: Box<v1::StartAck> },
    /// A dispatcher makes a batch.
    NextBatch(usize),
    /// A dispatcher looks for what was not answered.
    Resend(usize),
    /// A dispatcher sends a batch again that was answered in full.
    SendAgain(usize, BatchId),
    /// Somebody looks after the processes.
    Placement,
    /// A node says how it is.
    Beat(u32),
    /// A report reaches a scheduler.
    Reported(u64, u32, Box<assign::Report>),
    /// The stream of a node to a scheduler has ended.
    StreamEnds(u64, NodeKey, u64),
    /// A node is told what it shall have.
    Directed(u32, Box<Assignment>),
    /// Whoever has the token of a task says how it went.
    CallsBack(Arc<CallBack>),
    /// A scheduler begins.
    SchedulerBegins,
    /// A scheduler gets its incarnation.
    SchedulerRegisters(u64),
    /// A scheduler looks at the clock.
    SchedulerTicks(u64),
    /// A scheduler that was replaced is stopped.
    SchedulerStopped(u64),
    /// A scheduler dies, stands still, or is followed by another though it lives.
    SchedulerFails,
    /// A process of this group dies.
    Crash(usize),
    /// A process of this group stands still for so long.
    Pause(usize, u64),
    /// A group is given to others though its owner is well.
    Replace(usize),
    /// The store is away until then.
    Outage(u64),
    /// A replica takes over the log of a partition of this group, without its last blocks.
    Failover(usize),
    /// A replica takes over the log of this partition.
    GoesBack(PartitionId),
    /// The clock of the machine of a process of this group is set.
    ClockJumps(usize),
    /// No more trouble.
    Heal,
}

/// How calls of the store fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As they should.
    Well,
    /// Refused without effect.
    Refused,
    /// In effect, and nobody is told.
    ReplyLost,
    /// Given up by the caller, in effect long after.
    Late,
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Of everything that happened.
    pub trace: u64,
    /// Events.
    pub steps: u64,
    /// Time of the simulation, in microseconds, of all processes together.
    pub process_us: u64,
    /// Executions acknowledged.
    pub acknowledged: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Appends that the store refused to owners whom others had followed.
    pub fenced: u64,
    /// See [`Audit::stale_tasks`].
    pub stale_tasks: u64,
    /// Blocks that replicas lacked, and of these: that nodes have counted as lost, and that were lost with their owner.
    pub went_back: [u64; 3],
    /// Entries of batches that were answered again.
    pub answered_again: u64,
    /// See [`Audit::refused_early`].
    pub refused_early: u64,
    /// Callbacks that were acknowledged.
    pub called_back: u64,
    /// Executions that were carried into later blocks.
    pub carried: u64,
    /// Recoveries that began at a checkpoint.
    pub from_checkpoints: u64,
    /// Crash points that were hit.
    pub hits: BTreeMap<crate::points::Point, u64>,
}

/// Everything.
pub struct World {
    pub(crate) now_us: u64,
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) mutations: Mutations,
    pub(crate) catalogue: Catalogue,
    pub(crate) desk: Desk,
    pub(crate) calls: BTreeMap<u64, (Call, Fate)>,
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) groups: Vec<Group>,
    pub(crate) seats: Vec<Seat>,
    /// Those that are there, the last one being the one that should be.
    pub(crate) schedulers: BTreeMap<u64, Scheduler>,
    /// How many schedulers have registered.
    pub(crate) incarnations: u32,
    pub(crate) dispatchers: Vec<Dispatcher>,
    pub(crate) audit: Audit,
    pub(crate) points: Points,
    pub(crate) trace: Trace,
    pub(crate) report: Report,
    pub(crate) outage_until_us: u64,
    pub(crate) healed: bool,
    /// Of processes, calls and workers.
    pub(crate) number: u64,
    pub(crate) exam: Exam,
    /// What processes were stepping when they died, with their lives.
    pub(crate) crumbs: BTreeMap<NodeKey, (ExecutionId, u64)>,
    events: BTreeMap<(u64, u64), Event>,
    event_number: u64,
}

/// Runs one seed.
///
/// # Errors
/// The violation that it found.
pub fn run(
    seed: u64,
    catalogue: &Catalogue,
    mutations: Mutations,
    printed: bool,
) -> Result<Report, Violation> {
    let mut rng = Rng::new(seed);
    let options = Options::draw(&mut rng);
    let points = Points::plan(&mut rng, options.crashes_at_points);
    let mut world = World {
        now_us: 0,
        rng,
        mutations,
        catalogue: catalogue.clone(),
        desk: Desk::new(mutations),
        calls: BTreeMap::new(),
        processes: BTreeMap::new(),
        groups: Vec::new(),
        seats: Vec::new(),
        schedulers: BTreeMap::new(),
        incarnations: 0,
        dispatchers: Vec::new(),
        audit: Audit::new(catalogue.clone(), &options),
        points,
        trace: Trace::new(printed),
        report: Report::default(),
        outage_until_us: 0,
        healed: false,
        number: 0,
        exam: Exam::default(),
        crumbs: BTreeMap::new(),
        events: BTreeMap::new(),
        event_number: 0,
        options,
    };
    world.trace.say(0, "options", || format!("{:?}", world.options));
    world.begin();
    world
        .live()
        .map_err(|violation| format!("seed {seed} at {:.6} s: {violation}", world.now_us as f64 / 1e6))?;
    Ok(world.into_report())
}

impl World {
    /// Something is to happen.
    pub(crate) fn after(&mut self, in_us: u64, event: Event) {
        self.event_number += 1;
        self.events.insert((self.now_us + in_us, self.event_number), event);
    }

    /// A number that nobody else has.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn begin(&mut self) {
        let Options { dispatchers, batches, batch_pause_us, cut_off_us, .. } = self.options.clone();
        self.begin_groups();
        for number in 0..dispatchers as usize {
            let dispatcher = Dispatcher::new(number, &self.options, &mut self.rng);
            self.dispatchers.push(dispatcher);
            let (first, again) = (self.rng.below(batch_pause_us) + 10_000, self.options.resend_us);
            self.after(first, Event::NextBatch(number));
            self.after(again, Event::Resend(number));
        }
        let trouble_us = (batches * batch_pause_us + 20_000_000 + 2 * cut_off_us).min(240_000_000);
        for (count, kind) in [
            (self.options.crashes, 0),
            (self.options.pauses, 1),
            (self.options.replaced, 2),
            (self.options.outages, 3),
            (self.options.scheduler_failures, 4),
            (self.options.failovers, 5),
            (self.options.clock_jumps, 6),
        ] {
            for _ in 0..count {
                let at_us = self.rng.below(trouble_us);
                let group = self.rng.below(self.groups.len() as u64) as usize;
                let long_us = self.rng.between(100_000, 30_000_000);
                self.after(
                    at_us,
                    match kind {
                        0 => Event::Crash(group),
                        1 => Event::Pause(group, long_us),
                        2 => Event::Replace(group),
                        3 => Event::Outage(long_us / 3),
                        4 => Event::SchedulerFails,
                        5 => Event::Failover(group),
                        _ => Event::ClockJumps(group),
                    },
                );
            }
        }
        self.after(100_000, Event::Placement);
        if self.options.nodes > 0 {
            self.begin_scheduler();
        }
        self.after(trouble_us, Event::Heal);
    }

    fn live(&mut self) -> Result<(), Violation> {
        let mut deadline_us = u64::MAX;
        while let Some(((at_us, _), event)) = self.events.pop_first() {
            self.now_us = at_us;
            if self.trace.steps > EVENTS_MAX {
                return Err(format!("more than {EVENTS_MAX} events: no headway"));
            }
            if matches!(event, Event::Heal) {
                deadline_us = self.now_us + PATIENCE_US;
            }
            self.happen(event)?;
            if self.healed && self.all_is_done() && self.examine()? {
                return Ok(());
            }
            if self.now_us > deadline_us {
                return Err(self.what_is_missing());
            }
        }
        Err("nothing is left to happen".to_owned())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::CallArrives(call) => self.call_arrives(call)?,
            Event::CallAnswered(call) => self.call_answered(call),
            Event::Run(process) => self.run_process(process)?,
            Event::Arrives(process, message) => self.arrives(process, *message),
            Event::Acknowledged { dispatcher, forged, ack } => self.acknowledged(dispatcher, forged, &ack)?,
            Event::NextBatch(dispatcher) => self.next_batch(dispatcher),
            Event::Resend(dispatcher) => self.resend(dispatcher),
            Event::SendAgain(dispatcher, id) => self.send_again(dispatcher, id),
            Event::Placement => self.look_after_processes(),
            Event::Beat(process) => self.beat(process),
            Event::Reported(scheduler, process, report) => self.scheduler_hears(scheduler, process, *report),
            Event::StreamEnds(scheduler, node, session) => self.stream_ends(scheduler, &node, session),
            Event::Directed(process, assignment) => self.directed(process, &assignment),
            Event::CallsBack(callback) => self.calls_back(callback),
            Event::SchedulerBegins => self.begin_scheduler(),
            Event::SchedulerRegisters(scheduler) => self.scheduler_registers(scheduler),
            Event::SchedulerTicks(scheduler) => self.scheduler_ticks(scheduler),
            Event::SchedulerStopped(scheduler) => self.stop_scheduler(scheduler),
            Event::SchedulerFails => self.scheduler_fails(),
            Event::Crash(group) => self.crash_owner(group),
            Event::Pause(group, long_us) => self.pause(group, long_us),
            Event::Replace(group) => self.replace(group),
            Event::Outage(long_us) => {
                self.trace.note(self.now_us, "outage", [long_us, 0]);
                self.outage_until_us = self.now_us + long_us;
            }
            Event::Failover(group) => self.fail_over(group),
            Event::GoesBack(partition) => self.goes_back(partition),
            Event::ClockJumps(group) => self.clock_jumps(group),
            Event::Heal => self.heal(),
        }
        Ok(())
    }

    /// No more trouble from here on.
    fn heal(&mut self) {
        self.trace.note(self.now_us, "heal", [0, 0]);
        self.healed = true;
        self.points.heal();
        self.outage_until_us = 0;
        let options = &mut self.options;
        (options.drop, options.duplicate, options.stop, options.ask, options.forged) = (0, 0, 0, 0, 0);
        options.redrive = 0;
        (options.refuse, options.lose_reply, options.late_effect) = (0, 0, 0);
        let worker = &mut options.worker;
        (worker.late, worker.twice, worker.never, worker.flaky, worker.leave) = (0, 0, 0, 0, 0);
        for process in self.processes.values_mut() {
            process.paused_until_us = process.paused_until_us.map(|until| until.min(self.now_us));
        }
        self.heal_schedulers();
        let all: Vec<u32> = self.processes.keys().copied().collect();
        for process in all {
            // Credit that was lost with messages comes back with new workers.
            self.change_workers(process);
            self.run_soon(process, 0);
        }
    }

    fn all_is_done(&self) -> bool {
        self.dispatchers.iter().all(Dispatcher::is_done)
            && self.audit.open_count() == 0
            && self.audit.losses.are_settled()
    }

    fn what_is_missing(&self) -> Violation {
        let open: Vec<String> =
            self.audit.open().take(5).map(|id| format!("{id} ({:?})", id.batch)).collect();
        let waiting: Vec<String> = self.dispatchers.iter().flat_map(Dispatcher::waiting).take(5).collect();
        format!(
            "not everything came to its end within {} s after healing: open {open:?}, unanswered {waiting:?}, {}, {}",
            PATIENCE_US / 1_000_000,
            self.exam.what_is_missing(),
            self.audit.losses.what_is_missing()
        )
    }

    fn into_report(mut self) -> Report {
        for process in std::mem::take(&mut self.processes).into_values() {
            self.take_leave(&process);
        }
        Report {
            trace: self.trace.hash(),
            steps: self.trace.steps,
            acknowledged: self.audit.acknowledged.len() as u64,
            stale_tasks: self.audit.stale_tasks,
            refused_early: self.audit.refused_early,
            went_back: self.audit.losses.counts,
            hits: self.points.hits,
            ..self.report
        }
    }
}
