//! A Map Run: the child executions of a distributed Map, the reads that give their inputs, and what becomes of their results.
//!
//! Purpose: [`Run::pump`] starts children while there are items and places for them, and asks for what has to be read;
//! everything that happens to a Map Run ends there. Invariants: children end in any order, results stand in the order of
//! the items; one read or write is under way at a time; at most the concurrency of children is alive, one object and what
//! the results may take. What may fail: reading (`States.ItemReaderFailed`), too many children
//! (`States.ExceedToleratedFailureThreshold`), writing (`States.ResultWriterFailed`).

use std::collections::HashMap;

use bytes::Bytes;

use super::context::MapItem;
use super::effect::{Effect, EffectId};
use super::failure::draw;
use super::flow::{self, DATA_LIMIT_EXCEEDED};
use super::map_fields::{prepare, tolerance};
use super::run::{Run, Step};
use super::threads::{Join, NO_THREAD, Thread, Work};
use crate::history::{EventKind, Observer, Stage};
use crate::map::{
    Batcher, Child, Ending, Item, Next, OutputType, RESULTS_BYTES_MAX, ReadError, Results, Source, Tolerance,
    Transformation, manifest_key, uuid,
};
use crate::path::EvalError;
use crate::program::{Distributed, ExecutionType, Kind, State};
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str, Value};

/// The items cannot be read.
pub(super) const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
/// The results cannot be written.
pub(super) const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";
/// Too many items failed.
pub(super) const TOLERANCE_EXCEEDED: &str = "States.ExceedToleratedFailureThreshold";

/// A Map Run under way.
#[derive(Debug)]
pub(super) struct MapRun {
    arn: Str,
    /// The names of its children are drawn from this.
    seed: u64,
    pub source: Source,
    pub batcher: Option<Batcher>,
    /// Items that went through the selector so far.
    items: u64,
    tolerance: Tolerance,
    /// Items whose child failed.
    failed: u64,
    concurrency: usize,
    running: HashMap<u32, Running, foldhash::fast::RandomState>,
    results: Results,
    pub destination: Option<Destination>,
    /// The read or write that is under way.
    pub awaiting: Option<EffectId>,
    /// The timer at which it goes on starting children.
    pub resumes: Option<EffectId>,
    /// Whether it is the write: all children have ended.
    writing: bool,
}

/// A child that has not ended.
#[derive(Debug)]
struct Running {
    input: Payload,
    started_at: Timestamp,
    items: u32,
}

/// Where the results go.
#[derive(Debug)]
pub(super) struct Destination {
    pub resource: Str,
    pub bucket: Str,
    pub prefix: Str,
    pub output: OutputType,
}

/// The input of the next child.
enum Input {
    /// With how many items are in it.
    Next(Value, u32),
    Awaited,
    End,
}

impl From<ReadError> for EvalError {
    fn from(error: ReadError) -> Self {
        Self::new(ITEM_READER_FAILED, error.to_string())
    }
}

impl<'a, O: Observer> Run<'a, O> {
    /// Begins after `MapStateStarted`. Without a reader, the items are an array's or an object's.
    pub(super) fn begin_map_run(
        &mut self,
        slot: u32,
        state: &'a State,
        distributed: &'a Distributed,
        concurrency: u32,
        input: Value,
        items: Value,
    ) -> Result<Step, EvalError> {
        let context = self.context(self.threads.at(slot), state);
        let tolerance = tolerance(distributed, &input, &context)?;
        self.log.stage(&Stage::Tolerance(tolerance.count, tolerance.percentage));
        let writer = distributed.writer.as_ref();
        let mut run = MapRun {
            arn: Str::new(),
            seed: 0,
            source: Source::of_data(items).unwrap_or_else(Source::empty),
            batcher: None,
            items: 0,
            tolerance,
            failed: 0,
            concurrency: concurrency as usize,
            running: HashMap::default(),
            results: Results::new(writer.map_or(Transformation::Compact, |writer| writer.transformation)),
            destination: None,
            awaiting: None,
            resumes: None,
            writing: false,
        };
        // What is wrong with these fails the Map Run, which therefore begins before that is told.
        let prepared = prepare(&mut run, distributed, &input, &context);
        let number = self.effect_id(slot).0;
        let seed = self.facts.start.seed;
        run.seed = draw(seed, number);
        run.arn = self.map_run_arn(distributed, &uuid(run.seed, draw(!seed, number)));
        let Thread { previous, silent, .. } = self.threads.at_mut(slot);
        self.log.advance(previous, *silent, EventKind::MapRunStarted { arn: &run.arn });
        let join = Join {
            results: Vec::new(),
            kept: 0,
            ended: 0,
            next: 0,
            input,
            items: Value::Null,
            map: true,
            run: Some(Box::new(run)),
        };
        self.threads.at_mut(slot).work = Work::Joining(Box::new(join));
        prepared?;
        self.pump(slot)
    }

    /// Starts what can be started, and asks for what has to be read first.
    fn pump(&mut self, slot: u32) -> Result<Step, EvalError> {
        let Some(mut run) = self.take_run(slot) else { return Ok(Step::Idle) };
        let step = self.pump_run(slot, &mut run);
        self.put_run(slot, run);
        match step {
            Ok(true) => Ok(self.map_run_ended(slot)),
            Ok(false) => Ok(Step::Idle),
            Err(error) => Err(error),
        }
    }

    /// True when all children have ended and no more will begin.
    fn pump_run(&mut self, slot: u32, run: &mut MapRun) -> Result<bool, EvalError> {
        if O::INSPECTS {
            return self.inspect_children(slot, run);
        }
        while run.running.len() < run.concurrency {
            match self.next_input(slot, run)? {
                Input::Next(input, items) => self.begin_child(slot, run, input, items)?,
                Input::Awaited => return Ok(false),
                Input::End => {
                    // Now the share of the failed items is known.
                    run.tolerate()?;
                    return Ok(run.running.is_empty() && run.awaiting.is_none());
                }
            }
        }
        Ok(false)
    }

    fn next_input(&mut self, slot: u32, run: &mut MapRun) -> Result<Input, EvalError> {
        loop {
            if self.is_over_its_turn() {
                if run.resumes.is_none() {
                    run.resumes = Some(self.arm_next_turn(slot));
                }
                return Ok(Input::Awaited);
            }
            let item = match run.source.advance()? {
                Next::Item(item) => {
                    self.log.stage(&Stage::ItemRead(&item.value));
                    let item = self.select_item(slot, run, item)?;
                    self.log.stage(&Stage::ItemSelected(&item));
                    item
                }
                Next::Read(read) => {
                    let id = self.effect_id(slot);
                    let parameters = Payload::from_value(read.parameters);
                    self.effects.push(Effect::ReadItems { id, resource: read.resource, parameters });
                    run.awaiting = Some(id);
                    return Ok(Input::Awaited);
                }
                Next::Waiting => return Ok(Input::Awaited),
                Next::End => {
                    let rest = run.batcher.as_mut().and_then(Batcher::finish);
                    return Ok(rest.map_or(Input::End, |(batch, items)| Input::Next(batch, items)));
                }
            };
            let Some(batcher) = &mut run.batcher else { return Ok(Input::Next(item, 1)) };
            let full = batcher.push(item);
            let full = full.map_err(|error| EvalError::new(ITEM_READER_FAILED, error.to_string()))?;
            if let Some((batch, items)) = full {
                return Ok(Input::Next(batch, items));
            }
        }
    }

    /// What the item selector makes of an item.
    fn select_item(&self, slot: u32, run: &mut MapRun, item: Item) -> Result<Value, EvalError> {
        let index = run.items;
        run.items += 1;
        let state = self.state(slot);
        let thread = self.threads.at(slot);
        let (Kind::Map(map), Work::Joining(join)) = (&state.kind, &thread.work) else {
            return Ok(item.value);
        };
        let Some(selector) = &map.item_selector else {
            return Ok(match item.key {
                None => item.value,
                Some(key) => Value::object([("Key", Value::from(key)), ("Value", item.value)]),
            });
        };
        let Item { key, value, source } = &item;
        let mut context = self.context(thread, state);
        context.item = Some(MapItem { index, value, key: key.as_ref(), source });
        selector.evaluate(&context.scope(&join.input))
    }

    /// What the children would begin with; they do not.
    fn inspect_children(&mut self, slot: u32, run: &mut MapRun) -> Result<bool, EvalError> {
        while let Input::Next(input, _) = self.next_input(slot, run)? {
            if run.batcher.is_some() {
                self.log.stage(&Stage::Batch(&input));
            }
        }
        Ok(false)
    }

    fn begin_child(
        &mut self,
        slot: u32,
        run: &mut MapRun,
        input: Value,
        items: u32,
    ) -> Result<(), EvalError> {
        let state = self.state(slot);
        let Kind::Map(map) = &state.kind else { return Ok(()) };
        let input = flow::bounded(Payload::from_value(input), &state.name)?;
        let started_at = self.now();
        let Work::Joining(join) = &mut self.threads.at_mut(slot).work else { return Ok(()) };
        let number = join.next;
        join.next += 1;
        let mut child = Thread::new(map.processor.start, input.clone(), slot, number);
        child.silent = true;
        // Its own history begins with its start.
        child.previous = 1;
        child.events = 1;
        run.results.begin();
        run.running.insert(number, Running { input, started_at, items });
        self.insert(child)
    }

    /// A child is over; its thread is gone.
    pub(super) fn child_execution_ended(&mut self, slot: u32, number: u32, ending: Ending) -> Step {
        let failed = matches!(ending, Ending::Failed(..));
        let told = failed || self.map_run(slot).is_some_and(|run| run.results.tells_executions());
        let child = if told { self.child_of(slot, number) } else { None };
        let now = self.now();
        let Some(run) = self.map_run(slot) else { return Step::Idle };
        let Some(running) = run.running.remove(&number) else { return Step::Idle };
        if failed {
            run.failed += u64::from(running.items);
        }
        // Of a failed child there is no output, so it is told in full.
        let result = match (child, ending) {
            (Some(child), ending) => child.told(&ending, now),
            (None, Ending::Succeeded(output)) => output.into_value(),
            (None, Ending::Failed(..)) => Value::Null,
        };
        run.results.end(number, result, failed);
        let checked = run.tolerate().and_then(|()| run.bounded());
        let step = checked.and_then(|()| self.pump(slot));
        self.or_failed(slot, step)
    }

    /// All children are over: the results are the state's, or have to be written.
    fn map_run_ended(&mut self, slot: u32) -> Step {
        let Some(run) = self.map_run(slot) else { return Step::Idle };
        let resumes = run.resumes.take();
        let results = std::mem::replace(&mut run.results, Results::new(Transformation::None));
        let unwritten = run.destination.is_none();
        self.effects.extend(resumes.map(Effect::CancelTimer));
        if unwritten {
            return self.map_run_succeeded(slot, results.into_value());
        }
        let id = self.effect_id(slot);
        let Some(run) = self.map_run(slot) else { return Step::Idle };
        let Some(Destination { resource, bucket, prefix, output }) = &run.destination else {
            return Step::Idle;
        };
        let objects = results.into_objects(bucket, prefix, &run.arn, *output);
        let (resource, bucket) = (resource.clone(), bucket.clone());
        (run.awaiting, run.writing) = (Some(id), true);
        self.effects.push(Effect::WriteResults { id, resource, bucket, objects });
        Step::Idle
    }

    fn map_run_succeeded(&mut self, slot: u32, result: Value) -> Step {
        let Thread { previous, silent, .. } = self.threads.at_mut(slot);
        // Recordings from before November 2024, which are most, have the state's exit follow this event; later ones have
        // it follow the run's start.
        self.log.advance(previous, *silent, EventKind::MapRunSucceeded);
        self.log.beside(*previous, *silent, EventKind::MapStateSucceeded);
        Step::Complete(slot, Box::new(Payload::from_value(result)))
    }

    /// What a Map Run asked to read has come.
    pub(super) fn items_read(&mut self, id: EffectId, body: Bytes) -> Step {
        let slot = id.slot();
        let Some(run) = self.awaiting_run(id).filter(|run| !run.writing) else { return Step::Idle };
        run.awaiting = None;
        let answered = run.source.answer(body).map_err(EvalError::from);
        let step = answered.and_then(|()| self.pump(slot));
        self.or_failed(slot, step)
    }

    /// The results of a Map Run are where they belong.
    pub(super) fn results_written(&mut self, id: EffectId) -> Step {
        let slot = id.slot();
        let Some(run) = self.awaiting_run(id).filter(|run| run.writing) else { return Step::Idle };
        let Some(Destination { bucket, prefix, .. }) = &run.destination else { return Step::Idle };
        let details = Value::object([
            ("Bucket", Value::from(bucket.clone())),
            ("Key", Value::from(manifest_key(prefix, &run.arn))),
        ]);
        let arn = Value::from(run.arn.clone());
        self.map_run_succeeded(slot, Value::object([("MapRunArn", arn), ("ResultWriterDetails", details)]))
    }

    /// Others had their turn: it goes on starting children.
    pub(super) fn resume_run(&mut self, slot: u32, timer: EffectId) -> Step {
        let Some(run) = self.map_run(slot).filter(|run| run.resumes == Some(timer)) else {
            return Step::Idle;
        };
        run.resumes = None;
        let step = self.pump(slot);
        self.or_failed(slot, step)
    }

    /// A read or a write failed.
    pub(super) fn transfer_failed(&mut self, id: EffectId, cause: Str) -> Step {
        let Some(run) = self.awaiting_run(id) else { return Step::Idle };
        run.awaiting = None;
        let error = if run.writing { RESULT_WRITER_FAILED } else { ITEM_READER_FAILED };
        self.or_failed(id.slot(), Err(EvalError::new(error, cause)))
    }

    fn or_failed(&mut self, slot: u32, step: Result<Step, EvalError>) -> Step {
        step.unwrap_or_else(|error| Step::Fail(slot, self.evaluation_failed(slot, error)))
    }

    fn map_run(&mut self, slot: u32) -> Option<&mut MapRun> {
        match &mut self.threads.at_mut(slot).work {
            Work::Joining(join) => join.run.as_deref_mut(),
            _ => None,
        }
    }

    /// The Map Run that waits for this.
    fn awaiting_run(&mut self, id: EffectId) -> Option<&mut MapRun> {
        self.threads.get(id.slot())?;
        self.map_run(id.slot()).filter(|run| run.awaiting == Some(id))
    }

    fn take_run(&mut self, slot: u32) -> Option<Box<MapRun>> {
        match &mut self.threads.at_mut(slot).work {
            Work::Joining(join) => join.run.take(),
            _ => None,
        }
    }

    fn put_run(&mut self, slot: u32, run: Box<MapRun>) {
        if let Work::Joining(join) = &mut self.threads.at_mut(slot).work {
            join.run = Some(run);
        }
    }

    /// The child execution that a thread inside of a distributed Map belongs to.
    pub(super) fn child_around(&self, thread: &Thread) -> Option<Child> {
        let mut child = thread;
        while child.parent != NO_THREAD {
            let parent = self.threads.at(child.parent);
            if matches!(&parent.work, Work::Joining(join) if join.run.is_some()) {
                return self.child_of(child.parent, child.branch);
            }
            child = parent;
        }
        None
    }

    /// A child of the Map in this slot, by its number.
    fn child_of(&self, slot: u32, number: u32) -> Option<Child> {
        let Kind::Map(map) = &self.state(slot).kind else { return None };
        let distributed = map.distributed.as_ref()?;
        let Work::Joining(join) = &self.threads.at(slot).work else { return None };
        let run = join.run.as_ref()?;
        let Running { input, started_at, .. } = run.running.get(&number)?;
        let place = u64::from(number) * 2;
        let name = uuid(draw(run.seed, place), draw(run.seed, place + 1));
        let Distributed { label, execution_type, .. } = &**distributed;
        let machine = &self.facts.machine.arn;
        let arn = match execution_type {
            ExecutionType::Standard => {
                let machine = machine.replacen(":stateMachine:", ":execution:", 1);
                ecow::eco_format!("{machine}/{label}:{name}")
            }
            ExecutionType::Express => {
                let machine = machine.replacen(":stateMachine:", ":express:", 1);
                ecow::eco_format!("{machine}/{label}:{name}:{name}")
            }
        };
        Some(Child {
            arn,
            name,
            machine_arn: ecow::eco_format!("{machine}/{label}"),
            input: input.clone(),
            started_at: *started_at,
        })
    }

    /// `arn:aws:states:<region>:<account>:mapRun:<machine>/<label>:<uuid>`.
    fn map_run_arn(&self, distributed: &Distributed, id: &str) -> Str {
        let machine = self.facts.machine.arn.replacen(":stateMachine:", ":mapRun:", 1);
        ecow::eco_format!("{machine}/{}:{id}", distributed.label)
    }
}

impl MapRun {
    /// So many items have failed, as an inspection says.
    pub(super) fn fail_items(&mut self, failed: u64) -> Result<(), EvalError> {
        self.failed = failed;
        self.tolerate()
    }

    fn tolerate(&self) -> Result<(), EvalError> {
        if self.tolerance.is_exceeded(self.failed, self.source.total()) {
            let message = "The specified tolerated failure threshold was exceeded";
            return Err(EvalError::new(TOLERANCE_EXCEEDED, message));
        }
        Ok(())
    }

    /// Results are kept until the run ends, so they have a bound; those that become the state's have a closer one, which
    /// the state's output is held to.
    fn bounded(&self) -> Result<(), EvalError> {
        if self.results.bytes() <= RESULTS_BYTES_MAX {
            return Ok(());
        }
        let error = if self.destination.is_some() { RESULT_WRITER_FAILED } else { DATA_LIMIT_EXCEEDED };
        let message = format!("The results of the Map Run take more than {RESULTS_BYTES_MAX} bytes.");
        Err(EvalError::new(error, message))
    }
}
