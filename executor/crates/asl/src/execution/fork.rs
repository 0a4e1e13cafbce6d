//! Parallel and Map: one thread of control for each branch or iteration, and the join.
//!
//! Invariants: results stand in the order of branches and items, whatever the order in which they end; a Map has at most
//! its concurrency of iterations alive, so its memory is bounded by that and its results.

use std::sync::Arc;

use super::failure::draw;
use super::flow;
use super::run::{Run, Step};
use super::threads::{Join, Thread, Work};
use crate::history::{EventKind, Iteration, Observer};
use crate::path::{EvalError, Path, Scope};
use crate::program::{Distributed, Dynamic, Graph, Kind, MapState, State};
use crate::value::{Payload, Str, Value};

/// Iterations of an inline Map that run at once where its definition sets no limit.
const INLINE_CONCURRENCY: u32 = 40;
/// Children of a distributed Map that run at once where its definition sets no limit.
const DISTRIBUTED_CONCURRENCY: u32 = 10_000;

impl<'a, O: Observer> Run<'a, O> {
    pub(super) fn begin_parallel(
        &mut self,
        slot: u32,
        state: &'a State,
        branches: &'a [Arc<Graph>],
    ) -> Result<Step, EvalError> {
        let thread = self.threads.at(slot);
        let input = flow::effective(&state.flow, &thread.input, &self.context(thread, state))?;
        self.note_input(slot, &input);
        // The join makes a tree of every output, so branches share one from the start.
        let input = input.into_value();
        let join = Join {
            results: vec![Value::Null; branches.len()],
            ended: 0,
            next: u32::try_from(branches.len()).unwrap_or(u32::MAX),
            input: Value::Null,
            items: Value::Null,
            map: false,
            distributed: false,
        };
        let thread = self.threads.at_mut(slot);
        thread.work = Work::Joining(Box::new(join));
        self.log.advance(&mut thread.previous, thread.silent, EventKind::ParallelStateStarted);
        for (index, branch) in (0..).zip(branches) {
            let child = Thread::new(branch.start, Payload::from_value(input.clone()), slot, index);
            self.adopt(slot, child)?;
        }
        Ok(if branches.is_empty() { self.joined(slot) } else { Step::Idle })
    }

    pub(super) fn begin_map(
        &mut self,
        slot: u32,
        state: &'a State,
        map: &'a MapState,
    ) -> Result<Step, EvalError> {
        let thread = self.threads.at(slot);
        let context = self.context(thread, state);
        let input = flow::effective(&state.flow, &thread.input, &context)?;
        self.note_input(slot, &input);
        let input = input.into_value();
        let items = match &map.items_path {
            None => input.clone(),
            Some(path) => flow::at(path, &input, &context)?,
        };
        let length = match &items {
            Value::Array(items) => items.len(),
            _ => return Err(not_an_array(map.items_path.as_ref())),
        };
        let concurrency = concurrency(map, &input, &context)?;
        let join = Join {
            results: vec![Value::Null; length],
            ended: 0,
            next: 0,
            input,
            items,
            map: true,
            distributed: map.distributed.is_some(),
        };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let Thread { previous, silent, work, .. } = self.threads.at_mut(slot);
        *work = Work::Joining(Box::new(join));
        self.log.advance(previous, *silent, EventKind::MapStateStarted { length });
        if let Some(distributed) = &map.distributed {
            let arn = self.map_run_arn(slot, state, distributed);
            let Thread { previous, silent, .. } = self.threads.at_mut(slot);
            self.log.advance(previous, *silent, EventKind::MapRunStarted { arn: &arn });
        }
        if length == 0 {
            return Ok(self.joined(slot));
        }
        let previous = self.threads.at(slot).previous;
        let first = u64::from(concurrency).min(length);
        for _ in 0..first {
            self.begin_iteration(slot, state, map, previous)?;
        }
        Ok(Step::Idle)
    }

    /// Begins a Map's next iteration, whose first event follows `previous`.
    fn begin_iteration(
        &mut self,
        slot: u32,
        state: &'a State,
        map: &'a MapState,
        previous: u32,
    ) -> Result<(), EvalError> {
        let thread = self.threads.at(slot);
        let Work::Joining(join) = &thread.work else { return Ok(()) };
        let index = join.next;
        let Some(item) = join.items.at(index as usize) else { return Ok(()) };
        let input = match &map.item_selector {
            None => item.clone(),
            Some(selector) => {
                let mut context = self.context(thread, state);
                context.item = Some((index, item));
                selector.evaluate(&Scope::new(&join.input, &context))?
            }
        };
        let mut child = Thread::new(map.processor.start, Payload::from_value(input), slot, index);
        if map.distributed.is_some() {
            child.silent = true;
        } else {
            child.previous = previous;
            child.silent = thread.silent;
            let event = EventKind::MapIterationStarted(Iteration { name: &state.name, index });
            self.log.advance(&mut child.previous, child.silent, event);
        }
        if let Work::Joining(join) = &mut self.threads.at_mut(slot).work {
            join.next += 1;
        }
        self.insert(child)
    }

    /// Takes a branch in, whose first event follows its parent's last.
    fn adopt(&mut self, parent: u32, mut child: Thread) -> Result<(), EvalError> {
        let parent = self.threads.at(parent);
        child.previous = parent.previous;
        child.silent = parent.silent;
        self.insert(child)
    }

    fn insert(&mut self, child: Thread) -> Result<(), EvalError> {
        match self.threads.insert(child) {
            Some(slot) => {
                self.ready.push_back(slot);
                Ok(())
            }
            None => Err(EvalError::runtime(
                "More branches and iterations run at once than an execution can hold.",
            )),
        }
    }

    /// A branch or iteration is over.
    pub(super) fn child_ended(&mut self, slot: u32, output: Payload) -> Step {
        let Thread { parent, branch, previous, silent, .. } = *self.threads.at(slot);
        let mut last = previous;
        let state = self.state(parent);
        let map = match &state.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        };
        if map.is_some_and(|map| map.distributed.is_none()) {
            let iteration = Iteration { name: &state.name, index: branch };
            // The state's end follows this event, the next iteration what was before it.
            self.log.advance(&mut last, silent, EventKind::MapIterationSucceeded(iteration));
        }
        self.threads.remove(slot);
        let Work::Joining(join) = &mut self.threads.at_mut(parent).work else { return Step::Idle };
        if let Some(result) = join.results.get_mut(branch as usize) {
            *result = output.into_value();
        }
        join.ended += 1;
        let total = join.results.len();
        if join.ended as usize == total {
            self.continue_line(parent, last, silent);
            return self.joined(parent);
        }
        if let Some(map) = map
            && (join.next as usize) < total
            && let Err(error) = self.begin_iteration(parent, state, map, previous)
        {
            return Step::Fail(parent, self.evaluation_failed(parent, error));
        }
        Step::Idle
    }

    /// All branches or iterations are over.
    fn joined(&mut self, slot: u32) -> Step {
        let Thread { previous, silent, work, .. } = self.threads.at_mut(slot);
        let Work::Joining(join) = std::mem::replace(work, Work::Ready) else { return Step::Idle };
        if join.distributed {
            self.log.advance(previous, *silent, EventKind::MapRunSucceeded);
        }
        let event = if join.map { EventKind::MapStateSucceeded } else { EventKind::ParallelStateSucceeded };
        self.log.beside(*previous, *silent, event);
        Step::Complete(slot, Payload::from_value(Value::from(join.results)))
    }

    /// `arn:aws:states:<region>:<account>:mapRun:<machine>/<label>:<uuid>`.
    fn map_run_arn(&mut self, slot: u32, state: &State, distributed: &Distributed) -> Str {
        let number = self.effect_id(slot).0;
        let seed = self.facts.start.seed;
        let (high, low) = (draw(seed, number), draw(!seed, number));
        let id = ecow::eco_format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        );
        let label = distributed.label.as_ref().unwrap_or(&state.name);
        let machine = self.facts.machine.arn.replacen(":stateMachine:", ":mapRun:", 1);
        ecow::eco_format!("{machine}/{label}:{id}")
    }
}

/// `MaxConcurrency` or `MaxConcurrencyPath`.
fn concurrency(
    map: &MapState,
    input: &Value,
    context: &super::context::Context<'_>,
) -> Result<u32, EvalError> {
    let wanted = match &map.max_concurrency {
        Dynamic::Constant(concurrency) => *concurrency,
        Dynamic::Path(path) => {
            let found = flow::at(path, input, context)?;
            if found.as_i64().is_some_and(|number| number < 0) {
                return Err(EvalError::runtime("MaxConcurrency cannot be negative."));
            }
            let count = found.as_u64();
            let count = count.ok_or_else(|| EvalError::not_an_integer(path, "MaxConcurrencyPath", &found))?;
            u32::try_from(count).unwrap_or(u32::MAX)
        }
    };
    let longest = if map.distributed.is_some() { DISTRIBUTED_CONCURRENCY } else { INLINE_CONCURRENCY };
    Ok(if wanted == 0 { longest } else { wanted.min(longest) })
}

fn not_an_array(path: Option<&Path>) -> EvalError {
    let path = path.map_or("$", Path::text);
    EvalError::runtime(format!("Reference path \"{path}\" must point to array."))
}
