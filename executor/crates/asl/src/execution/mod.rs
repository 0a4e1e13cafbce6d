//! The machine that steps: events in, effects out.
//!
//! [`Execution::start`] and [`Execution::handle`] are the only entrances. Both run until nothing more can happen without
//! the outside world, push what they want from it as [`Effect`]s, and return.
//!
//! Purpose: an execution is a tree of threads of control (the machine's states, the branches of Parallel states, the
//! iterations of Map states), each in one state at a time. Invariants: no clock, no randomness, no I/O; the same machine,
//! start, input and events give the same effects with the same ids; work is iterative, never recursive on the number of
//! states, and bounded by [`Machine::history_events_max`]; after [`Effect::Finished`] nothing changes any more but by [`Event::Redrive`]. What may
//! fail: nothing here; a failed execution is an [`Outcome`].
//!
//! Rooms: `context` (what `$$` says), `threads` (the tree), `run` (the loop, entering and leaving states), `flow` (data
//! through a state), `assign` (variables), `dynamic` (fields that are evaluated), `leave` (from data to output), `work`
//! (tasks and waits), `fork` (Parallel, and the join), `map` (Map), `map_run` and `map_fields` (distributed Map), `child`
//! (its child executions, as it asks for them), `failure` (errors, Retry, Catch), `redrive` (from the failed state on), `budget` (what a run may work), `family`
//! (an execution and its children in one place).

mod assign;
mod budget;
mod child;
mod context;
mod dynamic;
mod effect;
mod failure;
mod family;
mod flow;
mod fork;
mod inspect;
mod leave;
mod map;
mod map_fields;
mod map_run;
mod redrive;
mod run;
#[cfg(test)]
mod tests;
mod threads;
mod work;

use std::cell::Cell;
use std::sync::Arc;

use budget::{Spent, Turn};
pub use child::{ChildEnded, ChildStart};
pub use context::{FixedNames, Machine, NameExecution, StartContext};
pub use effect::{Effect, EffectId, Event, Outcome};
pub use family::Family;
pub(crate) use inspect::{Settled, Standing};
use redrive::Kept;
use run::Run;
use threads::{NO_THREAD, ROOT, Threads, Work};

use crate::history::Observer;
use crate::program::Kind;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// An execution under way.
#[derive(Debug)]
pub struct Execution {
    machine: Arc<Machine>,
    start: StartContext,
    started_at: Timestamp,
    input: Payload,
    core: Core,
}

/// What changes as an execution steps.
#[derive(Debug)]
struct Core {
    threads: Threads,
    /// The id of the history's last event.
    last_event: u32,
    /// Effects numbered so far.
    effects: u64,
    /// Random numbers drawn by evaluations so far.
    draws: Cell<u64>,
    /// What this run has worked.
    spent: Spent,
    turn: Turn,
    /// Whether the timer of the whole execution is armed.
    timed: bool,
    ended: bool,
    /// What a redrive needs, where the start said so.
    kept: Option<Box<Kept>>,
}

/// Where a task was scheduled, or a read or write asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPlace {
    /// The Task or Map state's name.
    pub state: Str,
    /// The Map states around it with the index of the iteration, outermost first.
    pub map_path: Vec<(Str, u32)>,
}

impl Execution {
    /// Starts an execution. What it wants is pushed to `effects`; when the last of them is [`Effect::Finished`], it has
    /// already ended. The time is `now`; an input that no state looks into leaves as the same bytes.
    pub fn start<O: Observer>(
        machine: &Arc<Machine>,
        start: StartContext,
        input: Payload,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) -> Self {
        let mut execution = Self::new(machine, start, input, now);
        execution.begin(now, effects, observer);
        execution
    }

    /// Begins with what [`Self::new`] gave.
    fn begin<O: Observer>(&mut self, now: Timestamp, effects: &mut Vec<Effect>, observer: &mut O) {
        self.run(now, effects, observer).begin();
    }

    /// One that has not begun.
    #[inline]
    fn new(machine: &Arc<Machine>, start: StartContext, input: Payload, now: Timestamp) -> Self {
        let threads = Threads::with_root(machine.program.root.start, input.clone());
        let core = Core {
            threads,
            last_event: 0,
            effects: 0,
            draws: Cell::new(0),
            spent: Spent::default(),
            turn: Turn::default(),
            timed: false,
            ended: false,
            kept: start.keeps.then(Box::default),
        };
        Self { machine: Arc::clone(machine), start, started_at: now, input, core }
    }

    /// Takes an event in. An event for an effect that is no longer wanted changes nothing.
    pub fn handle<O: Observer>(
        &mut self,
        event: Event,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) {
        if event == Event::Redrive {
            self.run(now, effects, observer).redrive();
        } else if !self.core.ended {
            self.run(now, effects, observer).handle(event);
        }
    }

    /// Gives the execution a right-sized copy of its input, so that the frame it was cut from can be freed; call it when
    /// it stays open longer than its frame should. Returns the input as it was and the copy, for whoever else holds a
    /// clone.
    pub fn detach(&mut self) -> (Payload, Payload) {
        let own = self.input.detach();
        let frame = std::mem::replace(&mut self.input, own.clone());
        self.core.threads.replace_inputs(&frame, &own);
        (frame, own)
    }

    /// What it was started with.
    pub fn input(&self) -> &Payload {
        &self.input
    }

    /// Has it wait for its next turn before it enters another state.
    fn end_turn(&mut self) {
        self.core.turn.end();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.core.ended
    }

    /// Whether it has ended and [`Event::Redrive`] would have it go on.
    pub fn is_redrivable(&self) -> bool {
        self.core.kept.as_deref().is_some_and(Kept::is_resumable)
    }

    /// How often it was redriven.
    pub fn redrives(&self) -> u32 {
        self.core.kept.as_deref().map_or(0, |kept| kept.redrives.count)
    }

    /// Units of work (a unit is about 100 ns) that handling its start or its last event took.
    pub fn worked(&self) -> u64 {
        self.core.spent.units()
    }

    /// How many events its history has so far.
    pub fn history_events(&self) -> u64 {
        u64::from(self.core.last_event)
    }

    /// The machine that it runs.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Where a task, read or write that is still wanted was asked for; `None` for any other id.
    pub fn task_place(&self, id: EffectId) -> Option<TaskPlace> {
        let slot = id.slot();
        let thread = self.core.threads.get(slot)?;
        let wanted = match &thread.work {
            Work::Task(task) => task.id == id,
            Work::Joining(join) => join.run.as_ref().is_some_and(|run| run.awaiting == Some(id)),
            _ => false,
        };
        if !wanted {
            return None;
        }
        Some(self.place_of(slot))
    }

    /// The id of the event that the state in this slot was entered with, if anything is there.
    fn entered_in(&self, slot: u32) -> Option<u32> {
        self.core.threads.get(slot).map(|thread| thread.entered_event)
    }

    /// When it was redriven last.
    pub fn redriven_at(&self) -> Option<Timestamp> {
        self.core.kept.as_deref().and_then(|kept| kept.redrives.at)
    }

    /// Where a child execution was asked for that is still wanted: the Map, and the child's number in it as the last of the
    /// iterations.
    fn child_place(&self, id: EffectId) -> Option<TaskPlace> {
        let slot = id.slot();
        let Work::Joining(join) = &self.core.threads.get(slot)?.work else { return None };
        let number = join.run.as_ref()?.number_of(id)?;
        let mut place = self.place_of(slot);
        place.map_path.push((place.state.clone(), number));
        Some(place)
    }

    /// Where the thread in a slot that is taken is.
    fn place_of(&self, slot: u32) -> TaskPlace {
        let (program, threads) = (&self.machine.program, &self.core.threads);
        let state = |slot| &threads.graph(program, slot).states[usize::from(threads.at(slot).state)];
        let mut map_path = Vec::new();
        let mut child = threads.at(slot);
        while child.parent != NO_THREAD {
            let around = state(child.parent);
            if matches!(around.kind, Kind::Map(_)) {
                map_path.push((around.name.clone(), child.branch));
            }
            child = threads.at(child.parent);
        }
        map_path.reverse();
        TaskPlace { state: state(slot).name.clone(), map_path }
    }

    /// Threads of control that it has memory for.
    fn threads(&self) -> usize {
        self.core.threads.slots()
    }

    /// The name of the state that the root thread of control is in; `None` once ended.
    pub fn current_state(&self) -> Option<&str> {
        let root = self.core.threads.get(ROOT)?;
        let state = self.machine.program.root.states.get(usize::from(root.state))?;
        (!self.core.ended).then_some(state.name.as_str())
    }

    fn run<'a, O: Observer>(
        &'a mut self,
        now: Timestamp,
        effects: &'a mut Vec<Effect>,
        observer: &'a mut O,
    ) -> Run<'a, O> {
        let Self { machine, start, started_at, input, core } = self;
        let redrives = core.kept.as_deref().map(|kept| kept.redrives).unwrap_or_default();
        let facts = context::Facts { machine, start, started_at: *started_at, input, redrives };
        Run::new(facts, core, now, effects, observer)
    }
}
