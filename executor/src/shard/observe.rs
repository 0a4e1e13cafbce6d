//! The observer with which a shard steps executions: it counts states, and collects what is told of their histories and traces.
//!
//! Counting costs an index into the machine's own table for each state, and nothing is kept for it: when a state was entered
//! is what the language core knows. Events are built only where the machine's level takes them and the node exports
//! histories, and spans where the execution's are told (`trace`). They travel with the block under construction, as acknowledgements do, and leave for the exporter when the
//! store has confirmed it. Invariants: nothing here waits; what is told and not yet confirmed is bounded for each block, and
//! what does not fit is dropped and counted; an event has the same id whenever it is told. A partition that is taken anew
//! tells all of what is open in it once more, for nobody knows what has reached the exporter. What may fail: nothing.

use std::rc::Rc;
use std::sync::Arc;

use asl::history::{EventKind, HistoryEvent, Note, Observer, Record, Severity};
use asl::program::Kind;
use asl::{Program, Str, Timestamp, Value};
use export::{Intake, Page, Span, SpanPage, Weigh};
use ids::{ExecutionId, LogLevel, Mode};
use journal::Opened;
use telemetry::cells::Counter;
use telemetry::{MachineMetrics, ShardMetrics, StateKind, StateMetrics};

use super::core::Shard;
use super::execution::OpenExecution;
use super::machine::{self, Machine};
use super::spans::Run;
use super::trace::{Sampler, Sampling, Trace};
use crate::limits;

/// Events of a replay that leave together.
const RETOLD_AT_ONCE: usize = 64;

/// Where a shard hands over what it tells: its own ends.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Of histories, where they are exported.
    pub history: Option<Intake<Page>>,
    /// Of traces, where they are, and of how many.
    pub spans: Option<(Intake<SpanPage>, Sampling)>,
}

/// What a step has told of an execution.
#[derive(Debug)]
pub(super) struct Tale {
    page: Option<Page>,
    spans: Option<SpanPage>,
}

/// What is told when a block is confirmed.
#[derive(Debug, Default)]
pub struct Told {
    pages: Vec<Page>,
    spans: Vec<SpanPage>,
    bytes: usize,
}

impl Told {
    /// Takes what waits for a later block.
    pub fn absorb(&mut self, later: Self) {
        self.pages.extend(later.pages);
        self.spans.extend(later.spans);
        self.bytes += later.bytes;
    }
}

/// Where histories and traces go, and what the present step has told.
#[derive(Debug)]
pub(super) struct Telling {
    intake: Option<Intake<Page>>,
    traces: Option<Intake<SpanPage>>,
    pub sampler: Sampler,
    metrics: Arc<ShardMetrics>,
    events: Vec<HistoryEvent>,
    spans: Vec<Span>,
}

impl Telling {
    pub fn new(outside: Outside, metrics: Arc<ShardMetrics>) -> Self {
        let Outside { history: intake, spans } = outside;
        let sampler = Sampler::new(spans.as_ref().map(|(_, sampling)| *sampling));
        let traces = spans.map(|(traces, _)| traces);
        Self { intake, traces, sampler, metrics, events: Vec::new(), spans: Vec::new() }
    }

    /// The level of a machine's executions here.
    fn level(&self, machine: &Machine) -> LogLevel {
        if self.intake.is_some() { machine.key.logging.level } else { LogLevel::Off }
    }

    /// Observes a step of an execution of this machine, whose spans are told where its run is known.
    pub fn live<'a>(
        &'a mut self,
        machine: &'a Machine,
        trace: Option<&'a Trace>,
        run: Option<Run>,
    ) -> Live<'a> {
        let (level, traced) = (self.level(machine), trace.zip(run));
        let Self { metrics, events, spans, .. } = self;
        Live { level, machine, metrics, events, traced, spans }
    }

    /// Observes a replay, whose events are durable: they leave at once.
    pub fn again(
        &self,
        machine: &Rc<Machine>,
        (id, name): (ExecutionId, Option<&str>),
        trace: Option<&Rc<Trace>>,
        since: Timestamp,
    ) -> Again {
        let level = self.level(machine);
        let intake = self.intake.clone().filter(|_| level != LogLevel::Off);
        let page = intake.is_some().then(|| page(machine, id, name, 0));
        let traced = trace.filter(|trace| trace.is_told()).zip(self.traces.clone()).map(|(trace, intake)| {
            let (run, spans) = (Run::new(id, 0, since), span_page(machine, id, name, trace));
            Box::new(TracedAgain { machine: Rc::clone(machine), trace: Rc::clone(trace), run, spans, intake })
        });
        Again { level, intake, page, traced }
    }

    /// What the step has told of an execution.
    #[inline]
    pub fn take(
        &mut self,
        machine: &Machine,
        (id, name): (ExecutionId, Option<&str>),
        redrives: u32,
        trace: Option<&Trace>,
    ) -> Option<Tale> {
        if self.events.is_empty() && self.spans.is_empty() {
            return None;
        }
        let events = std::mem::take(&mut self.events);
        let spans = std::mem::take(&mut self.spans);
        let page = (!events.is_empty()).then(|| Page { events, ..page(machine, id, name, redrives) });
        let trace = trace.filter(|_| !spans.is_empty());
        let spans = trace.map(|trace| SpanPage { spans, ..span_page(machine, id, name, trace) });
        Some(Tale { page, spans })
    }

    /// As [`Self::take`].
    pub fn take_of(&mut self, open: &OpenExecution) -> Option<Tale> {
        let (named, redrives) = ((open.id, open.name.as_deref()), open.execution.redrives());
        self.take(&open.machine, named, redrives, open.trace.as_deref())
    }

    /// Hands over what a confirmed block has told.
    pub fn leave(&self, told: &mut Told) {
        told.bytes = 0;
        if let Some(intake) = &self.intake {
            hand_over(&mut told.pages, intake);
        }
        if let Some(intake) = &self.traces {
            hand_over(&mut told.spans, intake);
        }
    }
}

fn hand_over<T: Weigh>(told: &mut Vec<T>, intake: &Intake<T>) {
    for page in told.drain(..) {
        // What it does not take, it counts.
        intake.offer(page);
    }
}

/// An execution's ARN or QRN.
fn spelt(machine: &Machine, id: ExecutionId, name: Option<&str>) -> Arc<str> {
    let generated = name.is_none().then(|| id.to_string());
    let name = name.or(generated.as_deref()).unwrap_or_default();
    machine.name.execution(machine.key.mode, name, id).into()
}

/// A page without spans yet.
fn span_page(machine: &Machine, id: ExecutionId, name: Option<&str>, trace: &Trace) -> SpanPage {
    SpanPage {
        trace_id: trace.id(),
        trace_state: trace.state().into(),
        execution: spelt(machine, id, name),
        machine: machine.key.arn.as_str().into(),
        spans: Vec::new(),
    }
}

/// A page without events yet.
fn page(machine: &Machine, id: ExecutionId, name: Option<&str>, redrive_count: u32) -> Page {
    Page {
        execution: spelt(machine, id, name),
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

/// See the module.
pub(super) struct Live<'a> {
    level: LogLevel,
    machine: &'a Machine,
    metrics: &'a ShardMetrics,
    events: &'a mut Vec<HistoryEvent>,
    /// Of an execution whose spans are told.
    traced: Option<(&'a Trace, Run)>,
    spans: &'a mut Vec<Span>,
}

impl Live<'_> {
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

    #[cold]
    fn collect(&mut self, record: &Record<'_>) {
        if takes(self.level, &record.kind) {
            self.events.push(HistoryEvent::from(record));
        }
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
    #[inline]
    fn event(&mut self, record: &Record<'_>) {
        match record.kind {
            EventKind::StateEntered { place, .. } => self.count(place, |cells| &cells.entered),
            EventKind::StateExited { place, since, .. } => {
                self.left(place, took_us(since, record.at), |cells| &cells.exited);
            }
            _ => {}
        }
        if self.level != LogLevel::Off {
            self.collect(record);
        }
        if self.traced.is_some() {
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
        if self.traced.is_some() {
            self.trace_note(at, note);
        }
    }
}

/// Tells what is durable once more.
pub(super) struct Again {
    level: LogLevel,
    intake: Option<Intake<Page>>,
    /// None where nothing is told.
    page: Option<Page>,
    /// The same of spans.
    traced: Option<Box<TracedAgain>>,
}

/// Tells the spans of what is durable once more.
struct TracedAgain {
    machine: Rc<Machine>,
    trace: Rc<Trace>,
    run: Run,
    spans: SpanPage,
    intake: Intake<SpanPage>,
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
            self.intake.offer(SpanPage { spans, ..self.spans.clone() });
        }
    }
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
        self.traced.iter_mut().for_each(|traced| traced.leave());
    }
}

impl Observer for Again {
    fn event(&mut self, record: &Record<'_>) {
        if let Some(traced) = &mut self.traced {
            let span = traced.run.event(&traced.trace, &traced.machine, record);
            traced.push(span);
        }
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

    fn note(&mut self, at: Timestamp, note: &Note<'_>) {
        if let Some(traced) = &mut self.traced {
            let span = traced.run.note(&traced.machine, at, note);
            traced.push(span);
        }
    }
}

impl Shard {
    /// What a step has told goes with the block under construction.
    #[inline]
    pub(super) fn tell(&mut self, log: usize, tale: Option<Tale>) {
        if let Some(tale) = tale {
            self.tell_some(log, tale);
        }
    }

    fn tell_some(&mut self, log: usize, Tale { page, spans }: Tale) {
        let told = &mut self.logs[log].page.told;
        if let Some(page) = page {
            add((&mut told.pages, &mut told.bytes), page, self.telling.intake.as_ref());
        }
        if let Some(spans) = spans {
            add((&mut told.spans, &mut told.bytes), spans, self.telling.traces.as_ref());
        }
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
        opened: &Opened,
        failure: (&str, &str),
    ) {
        let (named, at) = ((opened.id, opened.name.as_deref()), self.timestamp());
        let trace = self.telling.sampler.recovered(opened.id, opened.trace.as_deref());
        let trace = trace.as_deref().filter(|trace| trace.is_told());
        let since = machine::timestamp_of_ms(opened.start_time_ms);
        let span = trace.map(|trace| Run::new(opened.id, 0, since).closed(trace, machine, at, failure));
        self.telling.spans.extend(span);
        if self.telling.level(machine) != LogLevel::Off {
            self.telling.events.push(last_event(machine, at, failure));
        }
        let tale = self.telling.take(machine, named, 0, trace);
        self.tell(log, tale);
    }
}

/// Adds what still has room among what a block tells; the rest is counted as dropped.
fn add<T: Weigh>((told, held): (&mut Vec<T>, &mut usize), page: T, intake: Option<&Intake<T>>) {
    let bytes = page.bytes();
    if *held + bytes > limits::TOLD_BYTES_MAX {
        intake.into_iter().for_each(|intake| intake.refuse(&page));
        return;
    }
    *held += bytes;
    told.push(page);
}

/// The end of an execution that is closed without a step.
fn last_event(machine: &Machine, at: Timestamp, (error, cause): (&str, &str)) -> HistoryEvent {
    let events_max = match machine.key.mode {
        Mode::Standard => limits::STANDARD_HISTORY_EVENTS_MAX,
        Mode::Express | Mode::SyncExpress => limits::EXPRESS_HISTORY_EVENTS_MAX,
    };
    HistoryEvent {
        id: events_max + 1,
        previous: 0,
        at,
        kind: "ExecutionFailed",
        details: Value::object([("error", Value::from(error)), ("cause", Value::from(cause))]),
    }
}
