//! The observer with which a shard steps executions: it counts states, and collects what is told of their histories and traces.
//!
//! Counting costs an index into the machine's own table for each state, and nothing is kept for it: when a state was entered
//! is what the language core knows. Events are built only where the machine's level takes them and the node exports
//! histories, and spans where the execution's are told (`trace`). Invariants: an event and a span have the same id whenever
//! they are told. A partition that is taken anew tells all of what is open in it once more, for nobody knows what has reached
//! the exporters. The states of a distributed Map's child executions are counted at the machine, whose definition names them;
//! their events are told under their own names, with their Map Run; spans they have none. What may fail: nothing.

use std::rc::Rc;
use std::sync::Arc;

use asl::history::{ChildExecution, EventKind, Note, Observer, Record, Severity};
use asl::program::Kind;
use asl::{Program, Str, Timestamp};
use export::{Events, Intake, Page, Span, SpanPage};
use ids::LogLevel;
use telemetry::cells::Counter;
use telemetry::{MachineMetrics, ShardMetrics, StateKind, StateMetrics};

use super::machine::Machine;
use super::spans::Run;
use super::telling::child_page;
use super::trace::Trace;
use crate::limits;

/// Events of a replay that leave together.
const RETOLD_AT_ONCE: usize = 64;

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

/// Where a state is counted, and what spans say of it.
#[derive(Debug, Clone)]
pub struct StateCells {
    metrics: Arc<StateMetrics>,
    pub(super) kind: StateKind,
    pub(super) name: Str,
}

/// The cells of a machine's states, by their places.
pub(super) fn cells_of(program: &Program, metrics: &MachineMetrics) -> Box<[StateCells]> {
    let states = program.states();
    let places = states.iter().map(|state| state.place as usize + 1).max().unwrap_or(0);
    let nobody = StateCells { metrics: Arc::default(), kind: StateKind::Pass, name: Str::new() };
    let mut cells = vec![nobody; places];
    for state in states {
        if let Some(cells) = cells.get_mut(state.place as usize) {
            let name = state.name.clone();
            *cells = StateCells { metrics: metrics.state(&name), kind: kind_of(&state.kind), name };
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

/// Where the events of a step go, as far as there is room for them.
pub(super) struct StepEvents<'a> {
    pub events: &'a mut Events,
    pub children: &'a mut Vec<Page>,
    /// Bytes that may still be told.
    pub left: usize,
    /// Events that found no room.
    pub untold: &'a mut u64,
}

impl StepEvents<'_> {
    /// A step may be long and payloads large: what there is no room for later is never written.
    fn push(&mut self, record: &Record<'_>, include_data: bool) {
        if self.left == 0 {
            *self.untold += 1;
            return;
        }
        let before = self.events.bytes();
        self.events.push(record, include_data);
        self.left = self.left.saturating_sub(self.events.bytes() - before);
    }
}

/// See the module.
pub(super) struct Live<'a> {
    level: LogLevel,
    machine: &'a Machine,
    metrics: &'a ShardMetrics,
    telling: StepEvents<'a>,
    /// A child's events come, and begin here.
    child_from: Option<usize>,
    /// Of an execution whose spans are told.
    traced: Option<(&'a Trace, Run)>,
    spans: &'a mut Vec<Span>,
}

impl<'a> Live<'a> {
    #[inline]
    pub fn new(
        (level, machine, metrics): (LogLevel, &'a Machine, &'a ShardMetrics),
        telling: StepEvents<'a>,
        (traced, spans): (Option<(&'a Trace, Run)>, &'a mut Vec<Span>),
    ) -> Self {
        Self { level, machine, metrics, telling, child_from: None, traced, spans }
    }

    /// A state that is counted nowhere is one of a machine that is not stepped here.
    #[inline]
    fn count(&self, place: u32, cell: fn(&StateMetrics) -> &Counter) {
        if let Some(state) = self.machine.cells.get(place as usize) {
            cell(&state.metrics).add(1);
        }
    }

    /// A state is over.
    #[inline]
    fn left(&self, place: u32, took_us: u64, cell: fn(&StateMetrics) -> &Counter) {
        let Some(state) = self.machine.cells.get(place as usize) else { return };
        cell(&state.metrics).add(1);
        state.metrics.time_us.add(took_us);
        self.metrics.state_duration[state.kind as usize].observe(took_us);
    }

    /// Out of the way of those who collect nothing.
    #[cold]
    fn collect(&mut self, record: &Record<'_>) {
        self.telling.push(record, self.machine.key.logging.include_data);
    }

    /// The events from here on are a child's.
    #[cold]
    fn child_told(&mut self, from: usize, child: ChildExecution<'_>) {
        let events = self.telling.events.split_off(from);
        self.telling.children.push(Page { events, ..child_page(child) });
    }

    #[cold]
    fn trace(&mut self, record: &Record<'_>) {
        if let Some((trace, run)) = &mut self.traced {
            self.spans.extend(run.event(trace, self.machine, record));
        }
    }

    #[cold]
    fn trace_note(&mut self, at: Timestamp, note: &Note<'_>) {
        if let Some((_, run)) = &mut self.traced {
            self.spans.extend(run.note(self.machine, at, note));
        }
    }
}

impl Observer for Live<'_> {
    const CHILDREN: bool = true;

    #[inline]
    fn enter_child(&mut self) {
        self.child_from = Some(self.telling.events.len());
    }

    #[inline]
    fn leave_child(&mut self, child: ChildExecution<'_>) {
        match self.child_from.take() {
            Some(from) if from < self.telling.events.len() => self.child_told(from, child),
            _ => {}
        }
    }

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
        if self.traced.is_some() && self.child_from.is_none() {
            self.trace(record);
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
        if self.traced.is_some() && self.child_from.is_none() {
            self.trace_note(at, note);
        }
    }
}

/// Tells what is durable once more.
pub(super) struct Again {
    level: LogLevel,
    include_data: bool,
    /// None where nothing is told.
    page: Option<(Page, Intake<Page>)>,
    /// Of the child execution that is stepped.
    child_events: Events,
    is_child: bool,
    /// None where no span is told.
    traced: Option<Box<TracedAgain>>,
}

/// Tells the spans of what is durable once more.
pub(super) struct TracedAgain {
    pub machine: Rc<Machine>,
    pub trace: Rc<Trace>,
    pub run: Run,
    /// Without spans yet.
    pub spans: SpanPage,
    pub intake: Intake<SpanPage>,
}

impl TracedAgain {
    fn push(&mut self, span: Option<Span>) {
        self.spans.spans.extend(span);
        if self.spans.spans.len() >= RETOLD_AT_ONCE {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let spans = std::mem::take(&mut self.spans.spans);
        if !spans.is_empty() {
            // What it does not take, it counts.
            self.intake.offer_again(SpanPage { spans, ..self.spans.clone() });
        }
    }
}

impl Again {
    /// Tells at this level, with data or without, what is put on the page, and spans where they are told.
    pub fn new(
        (level, include_data): (LogLevel, bool),
        page: Option<(Page, Intake<Page>)>,
        traced: Option<TracedAgain>,
    ) -> Self {
        let (child_events, traced) = (Events::default(), traced.map(Box::new));
        Self { level, include_data, page, child_events, is_child: false, traced }
    }

    fn leave(&mut self) {
        if let Some((page, intake)) = &mut self.page
            && !page.events.is_empty()
        {
            // What it does not take, it counts.
            intake.offer_again(page.take());
        }
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.leave();
        self.traced.iter_mut().for_each(|traced| traced.leave());
    }
}

impl Observer for Again {
    const CHILDREN: bool = true;

    fn enter_child(&mut self) {
        self.is_child = true;
    }

    fn leave_child(&mut self, child: ChildExecution<'_>) {
        self.is_child = false;
        let events = std::mem::take(&mut self.child_events);
        let Some((_, intake)) = self.page.as_ref().filter(|_| !events.is_empty()) else { return };
        // What it does not take, it counts.
        intake.offer_again(Page { events, ..child_page(child) });
    }

    fn event(&mut self, record: &Record<'_>) {
        if let Some(traced) = self.traced.as_mut().filter(|_| !self.is_child) {
            let span = traced.run.event(&traced.trace, &traced.machine, record);
            traced.push(span);
        }
        if let EventKind::ExecutionRedriven { count } = record.kind {
            self.leave();
            self.page.iter_mut().for_each(|(page, _)| page.redrive_count = count);
        }
        let told = self.page.as_mut().filter(|_| takes(self.level, &record.kind));
        let Some((page, intake)) = told else { return };
        if self.is_child {
            // Whose they are is known at the end of its step, which may be long.
            if self.child_events.bytes() >= limits::TOLD_BYTES_MIN {
                return intake.refuse_records(1);
            }
            return self.child_events.push(record, self.include_data);
        }
        page.push(record, self.include_data);
        if page.events.len() >= RETOLD_AT_ONCE || page.events.bytes() >= limits::TOLD_PAGE_BYTES_MAX {
            self.leave();
        }
    }

    fn note(&mut self, at: Timestamp, note: &Note<'_>) {
        if let Some(traced) = self.traced.as_mut().filter(|_| !self.is_child) {
            let span = traced.run.note(&traced.machine, at, note);
            traced.push(span);
        }
    }
}
