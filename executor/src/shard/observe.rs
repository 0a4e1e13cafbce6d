//! The observer with which a shard steps executions: it counts states, and collects what is told of their histories.
//!
//! Counting costs an index into the machine's own table for each state, and nothing is kept for it: when a state was entered
//! is what the language core knows. Events are built only where the machine's level takes them and the node exports
//! histories. They travel with the block under construction, as acknowledgements do, and leave for the exporter when the
//! store has confirmed it. Invariants: nothing here waits; what is told and not yet confirmed is bounded for each block, and
//! what does not fit is dropped and counted; an event has the same id whenever it is told. A partition that is taken anew
//! tells all of what is open in it once more, for nobody knows what has reached the exporter. What may fail: nothing.

use std::sync::Arc;

use asl::history::{EventKind, HistoryEvent, Note, Observer, Record, Severity};
use asl::program::Kind;
use asl::{Program, Timestamp, Value};
use export::{Intake, Page, Weigh};
use ids::{ExecutionId, LogLevel, Mode};
use telemetry::cells::Counter;
use telemetry::{MachineMetrics, ShardMetrics, StateKind, StateMetrics};

use super::core::Shard;
use super::execution::OpenExecution;
use super::machine::{self, Machine};
use crate::limits;

/// Events of a replay that leave together.
const RETOLD_AT_ONCE: usize = 64;

/// What is told when a block is confirmed.
#[derive(Debug, Default)]
pub struct Told {
    pages: Vec<Page>,
    bytes: usize,
}

impl Told {
    /// Takes what waits for a later block.
    pub fn absorb(&mut self, later: Self) {
        self.pages.extend(later.pages);
        self.bytes += later.bytes;
    }
}

/// Where histories go, and what the present step has told.
#[derive(Debug)]
pub(super) struct Telling {
    intake: Option<Intake<Page>>,
    metrics: Arc<ShardMetrics>,
    events: Vec<HistoryEvent>,
}

impl Telling {
    pub fn new(intake: Option<Intake<Page>>, metrics: Arc<ShardMetrics>) -> Self {
        Self { intake, metrics, events: Vec::new() }
    }

    /// The level of a machine's executions here.
    fn level(&self, machine: &Machine) -> LogLevel {
        if self.intake.is_some() { machine.key.logging.level } else { LogLevel::Off }
    }

    /// Observes a step of an execution of this machine.
    pub fn live<'a>(&'a mut self, machine: &'a Machine) -> Live<'a> {
        let (level, cells) = (self.level(machine), &machine.cells);
        Live { level, cells, metrics: &self.metrics, events: &mut self.events }
    }

    /// Observes a replay, whose events are durable: they leave at once.
    pub fn again(&self, machine: &Machine, id: ExecutionId, name: Option<&str>) -> Again {
        let level = self.level(machine);
        let intake = self.intake.clone().filter(|_| level != LogLevel::Off);
        let page = intake.is_some().then(|| page(machine, id, name, 0));
        Again { level, intake, page }
    }

    /// What the step has told of an execution.
    pub fn take(
        &mut self,
        machine: &Machine,
        id: ExecutionId,
        name: Option<&str>,
        redrives: u32,
    ) -> Option<Page> {
        if self.events.is_empty() {
            return None;
        }
        Some(Page { events: std::mem::take(&mut self.events), ..page(machine, id, name, redrives) })
    }

    /// As [`Self::take`].
    pub fn take_of(&mut self, open: &OpenExecution) -> Option<Page> {
        self.take(&open.machine, open.id, open.name.as_deref(), open.execution.redrives())
    }

    /// Hands over what a confirmed block has told.
    pub fn leave(&self, told: &mut Told) {
        told.bytes = 0;
        let Some(intake) = &self.intake else { return };
        for page in told.pages.drain(..) {
            // What it does not take, it counts.
            intake.offer(page);
        }
    }
}

/// A page without events yet.
fn page(machine: &Machine, id: ExecutionId, name: Option<&str>, redrive_count: u32) -> Page {
    let generated = name.is_none().then(|| id.to_string());
    let name = name.or(generated.as_deref()).unwrap_or_default();
    Page {
        execution: machine.name.execution(machine.key.mode, name, id).into(),
        machine: machine.key.arn.as_str().into(),
        tcsl: machine.key.dialect == 1,
        redrive_count,
        include_data: machine.key.logging.include_data,
        events: Vec::new(),
    }
}

/// Whether a level takes an event.
#[inline]
fn takes(level: LogLevel, kind: &EventKind<'_>) -> bool {
    match level {
        LogLevel::Off => false,
        LogLevel::Fatal => kind.severity() == Severity::Fatal,
        LogLevel::Error => kind.severity() >= Severity::Error,
        LogLevel::All => true,
    }
}

/// Where a state is counted.
#[derive(Debug, Clone)]
pub struct StateCells {
    metrics: Arc<StateMetrics>,
    kind: StateKind,
}

/// The cells of a machine's states, by their places.
pub(super) fn cells_of(program: &Program, metrics: &MachineMetrics) -> Box<[StateCells]> {
    let states = program.states();
    let places = states.iter().map(|state| state.place as usize + 1).max().unwrap_or(0);
    let nobody = StateCells { metrics: Arc::default(), kind: StateKind::Pass };
    let mut cells = vec![nobody; places];
    for state in states {
        if let Some(cells) = cells.get_mut(state.place as usize) {
            *cells = StateCells { metrics: metrics.state(&state.name), kind: kind_of(&state.kind) };
        }
    }
    cells.into()
}

fn kind_of(kind: &Kind) -> StateKind {
    match kind {
        Kind::Choice { .. } => StateKind::Choice,
        Kind::Fail { .. } => StateKind::Fail,
        Kind::Map(_) => StateKind::Map,
        Kind::Parallel { .. } => StateKind::Parallel,
        Kind::Pass { .. } => StateKind::Pass,
        Kind::Succeed => StateKind::Succeed,
        Kind::Task(_) => StateKind::Task,
        Kind::Wait(_) => StateKind::Wait,
    }
}

/// In microseconds, though clocks of histories count milliseconds: a state that is left in the step in which it was entered
/// took none.
fn took_us(since: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.as_millis() - since.as_millis()).unwrap_or(0).saturating_mul(1_000)
}

/// See the module.
pub(super) struct Live<'a> {
    level: LogLevel,
    cells: &'a [StateCells],
    metrics: &'a ShardMetrics,
    events: &'a mut Vec<HistoryEvent>,
}

impl Live<'_> {
    /// A state that is counted nowhere is one of a machine that is not stepped here.
    #[inline]
    fn count(&self, place: u32, cell: fn(&StateMetrics) -> &Counter) {
        if let Some(state) = self.cells.get(place as usize) {
            cell(&state.metrics).add(1);
        }
    }

    /// A state is over.
    #[inline]
    fn left(&self, place: u32, took_us: u64, cell: fn(&StateMetrics) -> &Counter) {
        let Some(state) = self.cells.get(place as usize) else { return };
        cell(&state.metrics).add(1);
        state.metrics.time_us.add(took_us);
        self.metrics.state_duration[state.kind as usize].observe(took_us);
    }

    /// Out of the way of those who collect nothing.
    #[cold]
    fn collect(&mut self, record: &Record<'_>) {
        self.events.push(HistoryEvent::from(record));
    }
}

impl Observer for Live<'_> {
    #[inline]
    fn event(&mut self, record: &Record<'_>) {
        match record.kind {
            EventKind::StateEntered { place, .. } => self.count(place, |cells| &cells.entered),
            EventKind::StateExited { place, since, .. } => {
                self.left(place, took_us(since, record.at), |cells| &cells.exited);
            }
            _ => {}
        }
        if takes(self.level, &record.kind) {
            self.collect(record);
        }
    }

    #[inline]
    fn note(&mut self, at: Timestamp, note: &Note<'_>) {
        match *note {
            Note::Input { .. } => {}
            Note::Retried { place } => self.count(place, |cells| &cells.retried),
            Note::Caught { place, .. } => self.count(place, |cells| &cells.caught),
            Note::Abandoned { place, since, own: true, .. } => {
                self.left(place, took_us(since, at), |cells| &cells.failed);
            }
            Note::Abandoned { place, since, own: false, .. } => {
                self.left(place, took_us(since, at), |cells| &cells.aborted);
            }
        }
    }
}

/// Tells what is durable once more.
pub(super) struct Again {
    level: LogLevel,
    intake: Option<Intake<Page>>,
    /// None where nothing is told.
    page: Option<Page>,
}

impl Again {
    fn leave(&mut self) {
        if let (Some(intake), Some(page)) = (&self.intake, &mut self.page)
            && !page.events.is_empty()
        {
            let events = std::mem::take(&mut page.events);
            // What it does not take, it counts.
            intake.offer(Page { events, ..page.clone() });
        }
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Observer for Again {
    fn event(&mut self, record: &Record<'_>) {
        if self.page.is_none() {
            return;
        }
        if let EventKind::ExecutionRedriven { count } = record.kind {
            self.leave();
            self.page.iter_mut().for_each(|page| page.redrive_count = count);
        }
        if !takes(self.level, &record.kind) {
            return;
        }
        let events = self.page.as_mut().map(|page| {
            page.events.push(HistoryEvent::from(record));
            page.events.len()
        });
        if events >= Some(RETOLD_AT_ONCE) {
            self.leave();
        }
    }
}

impl Shard {
    /// What a step has told goes with the block under construction.
    pub(super) fn tell(&mut self, log: usize, told: Option<Page>) {
        let Some(page) = told else { return };
        let (bytes, told) = (page.bytes(), &mut self.logs[log].page.told);
        if told.bytes + bytes > limits::TOLD_BYTES_MAX {
            self.telling.intake.iter().for_each(|intake| intake.refuse(&page));
            return;
        }
        told.bytes += bytes;
        told.pages.push(page);
    }

    /// Nothing is under way or waits to be written: what was told stands on durable causes alone.
    pub(super) fn tell_at_rest(&mut self, log: usize) {
        self.telling.leave(&mut self.logs[log].page.told);
    }

    /// Tells the end of an execution that is closed without a step. Its id is one that none of the events before it can have,
    /// for how many there were is not known.
    pub(super) fn tell_failed(
        &mut self,
        log: usize,
        machine: &Machine,
        (id, name): (ExecutionId, Option<&str>),
        (error, cause): (&str, &str),
    ) {
        if self.telling.level(machine) == LogLevel::Off {
            return;
        }
        let events_max = match machine.key.mode {
            Mode::Standard => limits::STANDARD_HISTORY_EVENTS_MAX,
            Mode::Express | Mode::SyncExpress => limits::EXPRESS_HISTORY_EVENTS_MAX,
        };
        let event = HistoryEvent {
            id: events_max + 1,
            previous: 0,
            at: machine::timestamp_of_ms(self.now_us / 1_000),
            kind: "ExecutionFailed",
            details: Value::object([("error", Value::from(error)), ("cause", Value::from(cause))]),
        };
        self.tell(log, Some(Page { events: vec![event], ..page(machine, id, name, 0) }));
    }
}
