//! A Map Run: the child executions of a distributed Map, the reads that give their inputs, and what becomes of their results.
//!
//! Purpose: [`Run::pump`] asks for children while there are items and places for them, and for what has to be read;
//! everything that happens to a Map Run ends there. Children are run elsewhere: they begin with an effect and end with an
//! event. Invariants: children end in any order, results stand in the order of the items; one read or write is under way at
//! a time; at most the concurrency of children is alive, one object and what the results may take. What may fail: reading
//! (`States.ItemReaderFailed`), too many children (`States.ExceedToleratedFailureThreshold`), writing
//! (`States.ResultWriterFailed`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::child::{ChildEnded, ChildStart};
use super::context::{Machine, MapItem, StartContext};
use super::effect::{Effect, EffectId, Outcome};
use super::failure::draw;
use super::flow::{self, DATA_LIMIT_EXCEEDED};
use super::map_fields::{prepare, tolerance};
use super::run::{Run, Step};
use super::threads::{Join, Thread, Work};
use crate::history::{EventKind, Observer, Stage};
use crate::map::{
    Batcher, Child, Ending, Item, Next, OutputType, RESULTS_BYTES_MAX, ReadError, Results, Source, Tolerance,
    Transformation, manifest_key, uuid,
};
use crate::path::EvalError;
use crate::program::{Distributed, Kind, State};
use crate::value::{Payload, Str, Value};

/// The items cannot be read.
pub(super) const ITEM_READER_FAILED: &str = "States.ItemReaderFailed";
/// The results cannot be written.
pub(super) const RESULT_WRITER_FAILED: &str = "States.ResultWriterFailed";
/// Too many items failed.
pub(super) const TOLERANCE_EXCEEDED: &str = "States.ExceedToleratedFailureThreshold";
/// Units of work that asking for a child takes, beside its input.
const CHILD_UNITS: u64 = 8;

/// A Map Run under way.
#[derive(Debug)]
pub(super) struct MapRun {
    arn: Str,
    /// The seeds of its children are drawn from this.
    seed: u64,
    /// What its children run.
    machine: Arc<Machine>,
    /// Children so far.
    begun: u32,
    pub source: Source,
    pub batcher: Option<Batcher>,
    /// Items that went through the selector so far.
    items: u64,
    tolerance: Tolerance,
    /// Items whose child failed.
    failed: u64,
    concurrency: usize,
    /// By what asked for them, and so in the order in which they began.
    running: BTreeMap<EffectId, Running>,
    results: Results,
    pub destination: Option<Destination>,
    /// The read or write that is under way.
    pub awaiting: Option<EffectId>,
    /// Whether it goes on starting children in the next turn.
    resumes: bool,
    /// Whether it is the write: all children have ended.
    writing: bool,
}

/// A child that has not ended.
#[derive(Debug)]
struct Running {
    /// Its place among the results.
    number: u32,
    seed: u64,
    input: Payload,
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
        let (number, drawn) = (self.effect_id(slot).0, self.facts.start.seed);
        let seed = draw(drawn, number);
        let arn = self.map_run_arn(distributed, &uuid(seed, draw(!drawn, number)));
        let context = self.context(self.threads.at(slot), state);
        let mut run = MapRun {
            seed,
            machine: self.facts.machine.of_children(distributed, &arn),
            arn,
            begun: 0,
            source: Source::of_data(items).unwrap_or_else(Source::empty),
            batcher: None,
            items: 0,
            tolerance,
            failed: 0,
            concurrency: concurrency as usize,
            running: BTreeMap::new(),
            results: Results::new(writer.map_or(Transformation::Compact, |writer| writer.transformation)),
            destination: None,
            awaiting: None,
            resumes: false,
            writing: false,
        };
        // What is wrong with these fails the Map Run, which therefore begins before that is told.
        let prepared = prepare(&mut run, distributed, &input, &context);
        let Thread { previous, .. } = self.threads.at_mut(slot);
        let event = EventKind::MapRunStarted { arn: &run.arn, map: distributed, concurrency, tolerance };
        self.log.advance(previous, event);
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
                if !std::mem::replace(&mut run.resumes, true) {
                    self.await_turn(slot);
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
        let input = flow::bounded(Payload::from_value(input), &self.state(slot).name, self.spent)?;
        self.spent.spend(CHILD_UNITS);
        let id = self.effect_id(slot);
        let number = run.begun;
        let seed = draw(run.seed, u64::from(number));
        run.begun += 1;
        run.results.begin();
        run.running.insert(id, Running { number, seed, input: input.clone(), items });
        let start = StartContext { key: self.facts.start.key, seed, ..StartContext::default() };
        let child = Box::new(ChildStart { machine: Arc::clone(&run.machine), start, input });
        self.effects.push(Effect::StartChild { id, child });
        Ok(())
    }

    /// A child is over.
    pub(super) fn child_execution_ended(&mut self, ended: ChildEnded) -> Step {
        let slot = ended.id.slot();
        let Some(run) = self.map_run(slot) else { return Step::Idle };
        let Some(running) = run.running.remove(&ended.id) else { return Step::Idle };
        run.end_child(running, ended);
        let checked = run.tolerate().and_then(|()| run.bounded());
        let step = checked.and_then(|()| self.pump(slot));
        self.or_failed(slot, step)
    }

    /// All children are over: the results are the state's, or have to be written.
    fn map_run_ended(&mut self, slot: u32) -> Step {
        let Some(run) = self.map_run(slot) else { return Step::Idle };
        let results = std::mem::replace(&mut run.results, Results::new(Transformation::None));
        let unwritten = run.destination.is_none();
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
        let Thread { previous, .. } = self.threads.at_mut(slot);
        // Recordings from before November 2024, which are most, have the state's exit follow this event; later ones have
        // it follow the run's start.
        self.log.advance(previous, EventKind::MapRunSucceeded);
        self.log.beside(*previous, EventKind::MapStateSucceeded);
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
    pub(super) fn resume_run(&mut self, slot: u32) -> Step {
        let Some(run) = self.map_run(slot) else { return Step::Idle };
        run.resumes = false;
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
        self.threads.get(slot)?;
        match &mut self.threads.at_mut(slot).work {
            Work::Joining(join) => join.run.as_deref_mut(),
            _ => None,
        }
    }

    /// The Map Run that waits for this.
    fn awaiting_run(&mut self, id: EffectId) -> Option<&mut MapRun> {
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

    /// `arn:aws:states:<region>:<account>:mapRun:<machine>/<label>:<uuid>`.
    fn map_run_arn(&self, distributed: &Distributed, id: &str) -> Str {
        let machine = self.facts.machine.arn.replacen(":stateMachine:", ":mapRun:", 1);
        ecow::eco_format!("{machine}/{}:{id}", distributed.label)
    }
}

impl MapRun {
    /// What is no longer wanted when it ends.
    pub(super) fn wanted(&self) -> impl Iterator<Item = EffectId> {
        self.awaiting.into_iter().chain(self.running.keys().copied())
    }

    /// The place of a child among the results.
    pub(super) fn number_of(&self, child: EffectId) -> Option<u32> {
        self.running.get(&child).map(|running| running.number)
    }

    /// Keeps what a child came to.
    fn end_child(&mut self, running: Running, ended: ChildEnded) {
        let Running { number, seed, input, items } = running;
        let ChildEnded { outcome, started_at, stopped_at, .. } = ended;
        let ending = match outcome {
            Outcome::Succeeded(output) => Ending::Succeeded(output),
            Outcome::TimedOut { error, cause } => Ending::TimedOut(error, cause),
            Outcome::Failed { error, cause } | Outcome::Aborted { error, cause } => {
                Ending::Failed(error, cause)
            }
        };
        let failed = !matches!(ending, Ending::Succeeded(_));
        if failed {
            self.failed += u64::from(items);
        }
        let result = match ending {
            Ending::Succeeded(output) if !self.results.tells_executions() => output.into_value(),
            // Of a failed child there is no output, so it is told in full.
            ending => {
                let (names, start) = (&self.machine.names, StartContext { seed, ..StartContext::default() });
                let child = Child {
                    arn: names.arn(&start),
                    name: names.name(&start),
                    machine_arn: self.machine.arn.clone(),
                    input,
                    started_at,
                };
                child.told(&ending, stopped_at)
            }
        };
        self.results.end(number, result, failed);
    }

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
