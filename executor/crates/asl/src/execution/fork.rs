//! Parallel, and the join that it shares with Map: one thread of control for each branch or iteration.
//!
//! Invariant: results stand in the order of branches and items, whatever the order in which they end.

use std::sync::Arc;

use super::context::Context;
use super::flow;
use super::run::{Run, Step};
use super::threads::{Join, Thread, Work};
use crate::history::{EventKind, Iteration, Observer};
use crate::map::RESULTS_BYTES_MAX;
use crate::path::EvalError;
use crate::program::{Graph, Kind, State};
use crate::value::{JsonLimits, Payload, Value};

/// So many results of branches or iterations are kept without counting their bytes: each is at most a payload, so that
/// they stay within [`RESULTS_BYTES_MAX`] together.
const RESULTS_COUNTED: usize = RESULTS_BYTES_MAX / JsonLimits::PAYLOAD_BYTES;

impl<'a, O: Observer> Run<'a, O> {
    pub(super) fn begin_parallel(
        &mut self,
        slot: u32,
        state: &'a State,
        branches: &'a [Arc<Graph>],
    ) -> Result<Step, EvalError> {
        let (_, input) = self.effective_input(slot, state)?;
        // The join makes a tree of every output, so branches share one from the start.
        let input = input.into_value();
        let join = Join {
            results: vec![Value::Null; branches.len()],
            kept: 0,
            ended: 0,
            next: u32::try_from(branches.len()).unwrap_or(u32::MAX),
            input: Value::Null,
            items: Value::Null,
            map: false,
            run: None,
        };
        let thread = self.threads.at_mut(slot);
        thread.work = Work::Joining(Box::new(join));
        self.log.advance(&mut thread.previous, EventKind::ParallelStateStarted);
        if O::INSPECTS {
            return Ok(Step::Idle);
        }
        for (index, branch) in (0..).zip(branches) {
            let child = Thread::new(branch.start, Payload::from_value(input.clone()), slot, index);
            self.adopt(slot, child)?;
        }
        Ok(if branches.is_empty() { self.joined(slot) } else { Step::Idle })
    }

    /// What the branches or iterations begin from, and what `$$` says to the state while it begins.
    pub(super) fn effective_input(
        &mut self,
        slot: u32,
        state: &'a State,
    ) -> Result<(Context<'a>, Payload), EvalError> {
        let thread = self.threads.at(slot);
        let context = self.context(thread, state);
        let input = flow::effective(&state.flow, &thread.input, &context, &mut self.log)?;
        self.note_input(slot, &input);
        Ok((context, input))
    }

    /// Takes a branch in, whose first event follows its parent's last.
    fn adopt(&mut self, parent: u32, mut child: Thread) -> Result<(), EvalError> {
        let parent = self.threads.at(parent);
        child.previous = parent.previous;
        child.variables.clone_from(&parent.variables);
        self.insert(child)
    }

    /// Takes a thread in that is ready to enter its state.
    #[inline]
    pub(super) fn insert(&mut self, child: Thread) -> Result<(), EvalError> {
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
        let Thread { parent, branch, previous, .. } = *self.threads.at(slot);
        let mut last = previous;
        let state = self.state(parent);
        let map = match &state.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        };
        if map.is_some() {
            let iteration = Iteration { name: &state.name, index: branch };
            // The state's end follows this event, the next iteration what was before it.
            self.log.advance(&mut last, EventKind::MapIterationSucceeded(iteration));
        }
        self.threads.remove(slot);
        let Work::Joining(join) = &mut self.threads.at_mut(parent).work else { return Step::Idle };
        let total = join.results.len();
        if total > RESULTS_COUNTED {
            join.kept += output.len();
        }
        if let Some(result) = join.results.get_mut(branch as usize) {
            *result = output.into_value();
        }
        join.ended += 1;
        let (kept, ended, next) = (join.kept, join.ended as usize, join.next as usize);
        if kept > RESULTS_BYTES_MAX {
            let message = format!("The results of the state take more than {RESULTS_BYTES_MAX} bytes.");
            let error = EvalError::new(flow::DATA_LIMIT_EXCEEDED, message);
            return Step::Fail(parent, self.evaluation_failed(parent, error));
        }
        if ended == total {
            self.threads.at_mut(parent).previous = last;
            return self.joined(parent);
        }
        if let Some(map) = map
            && next < total
            && let Err(error) = self.begin_iteration(parent, state, map, previous)
        {
            return Step::Fail(parent, self.evaluation_failed(parent, error));
        }
        Step::Idle
    }

    /// All branches or iterations are over.
    pub(super) fn joined(&mut self, slot: u32) -> Step {
        let Thread { previous, work, .. } = self.threads.at_mut(slot);
        let Work::Joining(join) = std::mem::replace(work, Work::Ready) else { return Step::Idle };
        let event = if join.map { EventKind::MapStateSucceeded } else { EventKind::ParallelStateSucceeded };
        self.log.beside(*previous, event);
        Step::Complete(slot, Box::new(Payload::from_value(Value::from(join.results))))
    }
}
