//! Map Runs: of each distributed Map that an execution has entered, how many children and items came to what.
//!
//! Nothing of them is stored: as a history, they are derived by running the execution again, and this time the children are
//! counted; what that showed is kept while the execution stands still (`kept_replays.rs`). Invariants: a child that has begun
//! is counted once, as what it came to; what is under way when its Map Run ends is aborted with it; the Map Runs of children
//! are their own matter, and not told. What may fail: whatever a history may.

use std::collections::HashMap;
use std::rc::Rc;

use asl::history::{ChildExecution, EventKind, Observer, Record};
use asl::map::Tolerance;
use asl::program::Distributed;
use asl::{Payload, Str, Timestamp, Value};
use ids::ExecutionName;
use proto::executor::v1::{self, ExecutionStatus};

use super::command::Reply;
use super::core::Shard;
use super::history::{Watch, replay};
use super::kept_replays::{Shown, Stamp};
use super::machine::ms_of;

impl Shard {
    pub(super) fn map_runs(&mut self, execution: ExecutionName, reply: Reply<Vec<v1::MapRun>>) {
        let (now_us, kept) = (self.now_us, Rc::clone(&self.questions.kept));
        let keeping = Rc::clone(&kept);
        let known = move |stamp: &Stamp| kept.borrow().runs(stamp);
        self.derived(execution, reply, known, async move |machine, told| {
            let mut counting = Counting { machine: machine.key.arn.clone(), ..Counting::default() };
            replay(machine, told, &mut counting).await?;
            let runs: Vec<_> = counting.runs.into_iter().map(|run| run.told).collect();
            keeping.borrow_mut().keep(told.stamp.clone(), now_us, Shown::Runs(runs.clone()));
            Ok(runs)
        });
    }
}

/// Counts the children of an execution that is replayed.
#[derive(Debug, Default)]
struct Counting {
    /// The machine's ARN.
    machine: String,
    runs: Vec<Run>,
    /// Where each Map Run is.
    places: HashMap<Str, usize, foldhash::fast::RandomState>,
    /// Whose Map the events are of that an event of an open Map Run may hang at.
    lines: HashMap<u64, usize, foldhash::fast::RandomState>,
    /// What the child does that is stepped.
    child: Option<Step>,
}

#[derive(Debug)]
struct Run {
    told: v1::MapRun,
    /// The events of its Map since it began, while it has not ended: what hangs at one of them is the Map's.
    line: Vec<u64>,
    /// Items of each child under way, by the child's seed; where they are batched, else each has one.
    batches: Option<HashMap<u64, u64, foldhash::fast::RandomState>>,
    writes: bool,
}

/// A step of a child.
#[derive(Debug, Default)]
struct Step {
    input: Option<Payload>,
    end: Option<ExecutionStatus>,
}

/// The items of a batch.
pub(super) fn items_in(input: &Payload) -> u64 {
    match input.value().get("Items") {
        Some(Value::Array(items)) => items.len() as u64,
        _ => 1,
    }
}

/// So many more have begun.
fn begin(counts: &mut Option<v1::MapRunCounts>, number: u64) {
    counts.get_or_insert_default().running += number;
}

/// So many that were under way have ended.
fn end(counts: &mut Option<v1::MapRunCounts>, status: ExecutionStatus, number: u64) {
    let counts = counts.get_or_insert_default();
    counts.running = counts.running.saturating_sub(number);
    *match status {
        ExecutionStatus::Succeeded => &mut counts.succeeded,
        ExecutionStatus::TimedOut => &mut counts.timed_out,
        ExecutionStatus::Aborted => &mut counts.aborted,
        ExecutionStatus::Unspecified | ExecutionStatus::Running | ExecutionStatus::Failed => {
            &mut counts.failed
        }
    } += number;
}

impl Run {
    fn is_open(&self) -> bool {
        self.told.status() == ExecutionStatus::Running
    }

    /// A child has done something.
    fn stepped(&mut self, seed: u64, step: &Step) {
        let v1::MapRun { items, executions, .. } = &mut self.told;
        if let Some(input) = &step.input {
            let held = self
                .batches
                .as_mut()
                .map_or(1, |batches| *batches.entry(seed).or_insert_with(|| items_in(input)));
            begin(items, held);
            begin(executions, 1);
        }
        if let Some(status) = step.end {
            let held = self.batches.as_mut().map_or(1, |batches| batches.remove(&seed).unwrap_or(1));
            end(items, status, held);
            end(executions, status, 1);
        }
    }

    /// It is over, and with it what is still under way.
    fn ended(&mut self, status: ExecutionStatus, at: Timestamp) {
        self.told.set_status(status);
        self.told.stop_time_ms = ms_of(at);
        let writes = self.writes && status == ExecutionStatus::Succeeded;
        for counts in [&mut self.told.items, &mut self.told.executions] {
            let running = counts.get_or_insert_default().running;
            end(counts, ExecutionStatus::Aborted, running);
            if let Some(counts) = counts.as_mut().filter(|_| writes) {
                counts.results_written = counts.succeeded + counts.failed + counts.timed_out + counts.aborted;
            }
        }
        self.batches = None;
    }
}

impl Counting {
    fn began(
        &mut self,
        record: &Record<'_>,
        arn: &Str,
        map: &Distributed,
        (concurrency, tolerance): (u32, Tolerance),
    ) {
        let told = v1::MapRun {
            arn: arn.to_string(),
            machine_arn: format!("{}/{}", self.machine, map.label),
            status: ExecutionStatus::Running.into(),
            start_time_ms: ms_of(record.at),
            stop_time_ms: 0,
            max_concurrency: concurrency,
            tolerated_failure_count: tolerance.count.unwrap_or(0),
            tolerated_failure_percentage: tolerance.percentage.unwrap_or(0.0),
            items: Some(v1::MapRunCounts::default()),
            executions: Some(v1::MapRunCounts::default()),
        };
        let batches = map.batcher.as_ref().map(|_| HashMap::default());
        self.places.insert(arn.clone(), self.runs.len());
        self.lines.insert(record.id, self.runs.len());
        self.runs.push(Run { told, line: vec![record.id], batches, writes: map.writer.is_some() });
    }

    fn ended(&mut self, record: &Record<'_>, status: ExecutionStatus) {
        if let Some(run) = self.lines.get(&record.previous).copied() {
            let run = &mut self.runs[run];
            run.ended(status, record.at);
            for event in std::mem::take(&mut run.line) {
                self.lines.remove(&event);
            }
        }
    }

    /// An event of the execution itself.
    fn own(&mut self, record: &Record<'_>) {
        match &record.kind {
            EventKind::MapRunStarted { arn, map, concurrency, tolerance } => {
                self.began(record, arn, map, (*concurrency, *tolerance));
            }
            EventKind::MapRunSucceeded => self.ended(record, ExecutionStatus::Succeeded),
            EventKind::MapRunFailed(_) => self.ended(record, ExecutionStatus::Failed),
            EventKind::MapRunAborted => self.ended(record, ExecutionStatus::Aborted),
            EventKind::ExecutionSucceeded { .. }
            | EventKind::ExecutionFailed(_)
            | EventKind::ExecutionTimedOut(_)
            | EventKind::ExecutionAborted(_) => {
                self.lines.clear();
                for run in self.runs.iter_mut().filter(|run| run.is_open()) {
                    run.ended(ExecutionStatus::Aborted, record.at);
                }
            }
            _ => {
                if let Some(run) = self.lines.get(&record.previous).copied() {
                    self.runs[run].line.push(record.id);
                    self.lines.insert(record.id, run);
                }
            }
        }
    }
}

impl Watch for Counting {}

impl Observer for Counting {
    const CHILDREN: bool = true;

    fn enter_child(&mut self) {
        self.child = Some(Step::default());
    }

    fn leave_child(&mut self, child: ChildExecution<'_>) {
        let Some(step) = self.child.take() else { return };
        let run = child.machine.names.map_run().and_then(|arn| self.places.get(arn));
        if let Some(run) = run.and_then(|run| self.runs.get_mut(*run)).filter(|run| run.is_open()) {
            run.stepped(child.start.seed, &step);
        }
    }

    fn event(&mut self, record: &Record<'_>) {
        let Some(step) = &mut self.child else { return self.own(record) };
        match &record.kind {
            EventKind::ExecutionStarted { input, .. } => step.input = Some((*input).clone()),
            EventKind::ExecutionSucceeded { .. } => step.end = Some(ExecutionStatus::Succeeded),
            EventKind::ExecutionFailed(_) => step.end = Some(ExecutionStatus::Failed),
            EventKind::ExecutionTimedOut(_) => step.end = Some(ExecutionStatus::TimedOut),
            EventKind::ExecutionAborted(_) => step.end = Some(ExecutionStatus::Aborted),
            _ => {}
        }
    }
}
