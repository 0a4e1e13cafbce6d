//! What a shard tells the outside of its executions: pages of their histories and of their spans.
//!
//! What a step has told travels with the block under construction, as acknowledgements do, and leaves for the exporters when
//! the store has confirmed it. Invariants: nothing here waits; what is told and not yet confirmed is bounded for the shard
//! (`told`), and what does not fit is dropped and counted. What may fail: nothing.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use asl::Timestamp;
use asl::history::{ChildExecution, EventKind, Fault, Record};
use export::{Events, Intake, Page, Span, SpanPage, Weigh};
use ids::{ExecutionId, LogLevel, Mode};
use journal::Opened;
use proto::executor::v1;
use telemetry::ShardMetrics;

use super::core::Shard;
use super::execution::OpenExecution;
use super::machine::{self, Machine};
use super::observe::{Again, Live, StepEvents, TracedAgain};
use super::slab::Address;
use super::spans::Run;
use super::told::{Room, Told};
use super::trace::{Sampler, Sampling, Trace};
use crate::limits;

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
    /// Of child executions.
    children: Vec<Page>,
    spans: Option<SpanPage>,
}

/// Where histories and traces go, and what the present step has told.
#[derive(Debug)]
pub(super) struct Telling {
    intake: Option<Intake<Page>>,
    traces: Option<Intake<SpanPage>>,
    /// For what waits to be confirmed.
    room: Rc<Room>,
    pub sampler: Sampler,
    metrics: Arc<ShardMetrics>,
    events: Events,
    /// Of child executions.
    children: Vec<Page>,
    /// Events that the present step had no room for: it may be long, and payloads large.
    untold: u64,
    spans: Vec<Span>,
}

impl Telling {
    /// On one of so many shards.
    pub fn new(outside: Outside, metrics: Arc<ShardMetrics>, shards: u32) -> Self {
        let room = (limits::TOLD_BYTES_MAX / shards.max(1) as usize).max(limits::TOLD_BYTES_MIN);
        let room = Room::new(room);
        let Outside { history: intake, spans } = outside;
        let sampler = Sampler::new(spans.as_ref().map(|(_, sampling)| *sampling));
        let traces = spans.map(|(traces, _)| traces);
        Self {
            intake,
            traces,
            room,
            sampler,
            metrics,
            events: Events::default(),
            children: Vec::new(),
            untold: 0,
            spans: Vec::new(),
        }
    }

    /// The level of a machine's executions here.
    fn level(&self, machine: &Machine) -> LogLevel {
        if self.intake.is_some() { machine.key.logging.level } else { LogLevel::Off }
    }

    /// The trace of an execution that begins.
    #[inline]
    pub fn trace(
        &mut self,
        id: ExecutionId,
        said: Option<&v1::TraceContext>,
        now_us: u64,
    ) -> Option<Rc<Trace>> {
        let trace = self.sampler.begin(id, said, now_us);
        if self.traces.is_some() && trace.as_deref().is_some_and(Trace::is_not_followed) {
            self.metrics.traces_not_followed.add(1);
        }
        trace
    }

    /// Observes a step of an execution of this machine, whose spans are told where its run is known.
    pub fn live<'a>(
        &'a mut self,
        machine: &'a Machine,
        trace: Option<&'a Trace>,
        run: Option<Run>,
    ) -> Live<'a> {
        let (level, left) = (self.level(machine), self.room.left());
        let Self { metrics, events, children, untold, spans, .. } = self;
        let telling = StepEvents { events, children, left, untold };
        Live::new((level, machine, metrics), telling, (trace.zip(run), spans))
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
        let traced = trace.zip(self.traces.clone()).and_then(|(trace, intake)| {
            let (run, spans) = (trace.run(id, 0, since)?, span_page(machine, id, name, trace));
            Some(TracedAgain { machine: Rc::clone(machine), trace: Rc::clone(trace), run, spans, intake })
        });
        Again::new((level, machine.key.logging.include_data), page.zip(intake), traced)
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
        if self.events.is_empty() && self.spans.is_empty() && self.children.is_empty() {
            return None;
        }
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            self.intake.iter().for_each(|intake| intake.refuse_records(untold));
        }
        let is_told = !self.events.is_empty();
        let page =
            is_told.then(|| Page { events: self.events.hand_over(), ..page(machine, id, name, redrives) });
        let spans = std::mem::take(&mut self.spans);
        let trace = trace.filter(|_| !spans.is_empty());
        let spans = trace.map(|trace| SpanPage { spans, ..span_page(machine, id, name, trace) });
        Some(Tale { page, children: std::mem::take(&mut self.children), spans })
    }

    /// As [`Self::take`].
    pub fn take_of(&mut self, open: &OpenExecution) -> Option<Tale> {
        let (named, redrives) = ((open.id, open.name.as_deref()), open.execution.redrives());
        self.take(&open.machine, named, redrives, open.trace.as_deref())
    }

    /// Adds a page to what a block tells, in parts if it is long; what finds no room is counted as dropped.
    fn add(&self, told: &mut Told, page: Page) {
        let bytes = page.bytes();
        if page.events.len() > 1 && bytes > limits::TOLD_PAGE_BYTES_MAX {
            page.parts(limits::TOLD_PAGE_BYTES_MAX).for_each(|part| self.add_part(told, part));
        } else {
            self.add_part(told, page);
        }
    }

    fn add_part(&self, told: &mut Told, page: Page) {
        let bytes = page.bytes();
        if let Err(page) = told.page(page, bytes, &self.room) {
            self.intake.iter().for_each(|intake| intake.refuse(&page));
        }
    }

    /// Hands over what a confirmed block has told.
    pub fn leave(&self, told: &mut Told) {
        told.leave(self.intake.as_ref(), self.traces.as_ref());
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
        machine: Arc::clone(&machine.told_as),
        spans: Vec::new(),
    }
}

/// A page without events yet.
fn page(machine: &Machine, id: ExecutionId, name: Option<&str>, redrive_count: u32) -> Page {
    Page {
        execution: spelt(machine, id, name),
        machine: Arc::clone(&machine.told_as),
        map_run: None,
        redrive_count,
        events: Events::default(),
    }
}

/// A page of a child execution of a distributed Map, without events yet. It is never redriven: its Map begins again with others.
pub(super) fn child_page(child: ChildExecution<'_>) -> Page {
    let ChildExecution { machine, start } = child;
    Page {
        execution: machine.names.arn(start).as_str().into(),
        machine: machine.arn.as_str().into(),
        map_run: machine.names.map_run().map(|run| run.as_str().into()),
        redrive_count: 0,
        events: Events::default(),
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

    fn tell_some(&mut self, log: usize, Tale { page, children, spans }: Tale) {
        let (told, telling) = (&mut self.logs[log].page.told, &self.telling);
        for page in page.into_iter().chain(children) {
            telling.add(told, page);
        }
        if let Some(spans) = spans
            && let Err(spans) = told.spans(spans, &telling.room)
        {
            telling.traces.iter().for_each(|intake| intake.refuse(&spans));
        }
    }

    /// What is told of executions whose ends wait for the next block, waits for it too.
    pub(super) fn tell_later(&mut self, log: usize, told: &mut Told, waiting: &[Address]) {
        if told.is_empty() || waiting.is_empty() {
            return;
        }
        let open = waiting.iter().filter_map(|address| self.open.get(*address));
        let names: HashSet<_> =
            open.map(|open| spelt(&open.machine, open.id, open.name.as_deref())).collect();
        self.logs[log].page.told.absorb(told.of(|execution| names.contains(execution)));
    }

    /// Nothing is under way or waits to be written: what was told stands on durable causes alone.
    pub(super) fn tell_at_rest(&mut self, log: usize) {
        self.telling.leave(&mut self.logs[log].page.told);
    }

    /// Tells the end of an execution, redriven so often and then last, that is closed without a step. Its id is one that none of the events before it can have,
    /// for how many there were is not known.
    pub(super) fn tell_failed(
        &mut self,
        log: usize,
        machine: &Machine,
        (opened, (redrives, redriven_ms)): (&Opened, (u32, u64)),
        failure: (&str, &str),
    ) {
        let (named, at) = ((opened.id, opened.name.as_deref()), self.timestamp());
        let trace = self.telling.sampler.recovered(opened.id, opened.trace.as_deref());
        let trace = trace.as_deref().filter(|trace| trace.is_told());
        let since = machine::timestamp_of_ms(opened.start_time_ms.max(redriven_ms));
        let run = trace.and_then(|trace| Some((trace, trace.run(opened.id, redrives, since)?)));
        let span = run.map(|(trace, run)| run.closed(trace, machine, at, failure));
        self.telling.spans.extend(span);
        if self.telling.level(machine) != LogLevel::Off {
            tell_last(&mut self.telling.events, machine, at, failure);
        }
        let tale = self.telling.take(machine, named, redrives, trace);
        self.tell(log, tale);
    }
}

/// The end of an execution that is closed without a step.
fn tell_last(events: &mut Events, machine: &Machine, at: Timestamp, (error, cause): (&str, &str)) {
    let events_max = match machine.key.mode {
        Mode::Standard => limits::STANDARD_HISTORY_EVENTS_MAX,
        Mode::Express | Mode::SyncExpress => limits::EXPRESS_HISTORY_EVENTS_MAX,
    };
    let (error, cause) = (error.into(), cause.into());
    let kind = EventKind::ExecutionFailed(Fault { error: Some(&error), cause: Some(&cause) });
    events.push(&Record { id: events_max + 1, previous: 0, at, kind }, machine.key.logging.include_data);
}

#[cfg(test)]
mod tests {
    use asl::history::StateType;
    use asl::{Payload, Program, Value};
    use ids::{BatchId, Logging, PartitionId};
    use journal::block::MachineRef;
    use telemetry::NodeMetrics;

    use super::super::machine::{Beginning, Machines};
    use super::*;
    use crate::secret::ClusterSecret;

    const FAILS: &str = r#"{"StartAt":"A","States":{
        "A":{"Type":"Pass","Next":"B"},"B":{"Type":"Fail","Error":"E"}}}"#;

    /// For how many events room was made while an execution ran that fails.
    fn built(exports: bool, level: LogLevel) -> usize {
        let program = Program::compile(FAILS.as_bytes(), asl::Dialect::Asl).expect("a definition").program;
        let metrics = NodeMetrics::new("test", 1).shard(0).expect("there is one");
        let key = MachineRef {
            arn: "arn:aws:states:us-east-1:123456789012:stateMachine:orders".to_owned(),
            definition: program.hash,
            mode: Mode::Express,
            dialect: 0,
            retention_s: 0,
            role_arn: String::new(),
            logging: Logging { level, include_data: true },
            origin: String::new(),
        };
        let mut machines = Machines::new(Arc::new(ClusterSecret::from_key(&[7; 32])));
        let machine = machines.add(key, program, &metrics).expect("a machine");
        let intake = exports.then(|| export::intake(export::IntakeBounds::default(), Arc::default()).0);
        let mut telling = Telling::new(Outside { history: intake, spans: None }, metrics, 1);
        let id = BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range").execution(0);
        let beginning = Beginning { id, name: None, seed: 1, start_time_ms: 1, waits: false, keeps: false };
        let mut effects = Vec::new();
        let input = Payload::from_value(Value::empty_object());
        machine.begin(&beginning, input, &mut effects, &mut telling.live(&machine, None, None));
        assert_eq!(effects.len(), 1, "it has ended");
        assert_eq!(machine.metrics.state("B").entered.get(), 1, "it is counted in any case");
        telling.events.len()
    }

    #[test]
    fn without_a_sink_or_at_off_no_event_is_built() {
        for level in [LogLevel::Off, LogLevel::Fatal, LogLevel::Error, LogLevel::All] {
            assert_eq!(built(false, level), 0, "{level:?}");
            assert_eq!(built(true, level) > 0, level != LogLevel::Off, "{level:?}");
        }
    }

    #[test]
    fn a_long_page_is_told_in_parts_and_what_finds_no_room_is_counted_by_its_own_name() {
        let cells = Arc::<telemetry::IntakeMetrics>::default();
        let (intake, outlet) = export::intake(export::IntakeBounds::default(), Arc::clone(&cells));
        let metrics = NodeMetrics::new("test", 1).shard(0).expect("there is one");
        let mut telling = Telling::new(Outside { history: Some(intake), spans: None }, metrics, 1);
        let input = Payload::from_value("x".repeat(100_000).as_str().into());
        let mut page = Page {
            execution: "e".into(),
            machine: "m".into(),
            map_run: None,
            redrive_count: 0,
            events: Events::default(),
        };
        for id in 1..=8 {
            let (state, name, resource) = (StateType::Pass, &"A".into(), None);
            let kind = EventKind::StateEntered { state, name, place: 0, input: &input, resource };
            page.push(&Record { id, previous: id - 1, at: Timestamp(1), kind }, true);
        }
        // Parts of two events; of the four there is room for three.
        telling.room = Room::new(700_000);
        let mut told = Told::default();
        telling.add(&mut told, page);
        telling.leave(&mut told);
        let parts: Vec<Vec<u64>> = std::iter::from_fn(|| outlet.take())
            .map(|page| page.events.iter().map(|(event, _)| event.id).collect())
            .collect();
        assert_eq!(parts, [[1, 2], [3, 4], [5, 6]]);
        let counts = [&cells.offered, &cells.dropped, &cells.unconfirmed, &cells.unconfirmed_records];
        assert_eq!(counts.map(|cell| cell.get()), [4, 0, 1, 2]);
    }
}
