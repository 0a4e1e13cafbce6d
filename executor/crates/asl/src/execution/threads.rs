//! The tree of threads of control, in a slab.
//!
//! Invariants: the root is in slot 0 as long as the execution runs; a child's parent is joining; a slot that is free is
//! in the list of free slots. An id of an effect names the slot and is never given again, so a slot's next tenant does not
//! take the events of the one before.

use std::sync::Arc;

use smallvec::SmallVec;

use super::effect::EffectId;
use super::map_run::MapRun;
use crate::program::{Graph, Kind, Program, StateIndex};
use crate::timestamp::Timestamp;
use crate::value::{Payload, Value};
use crate::variables::Variables;

/// Slots have the lowest bits of an effect's id.
pub(super) const SLOT_BITS: u32 = 16;
/// Threads alive in an execution at once: a few hundred bytes each. Each child of a distributed Map has as many of its own.
const THREADS_MAX: u32 = 65_536;
const _: () = assert!(THREADS_MAX <= 1 << SLOT_BITS);
/// The root's slot.
pub(super) const ROOT: u32 = 0;
/// No slot.
pub(super) const NO_THREAD: u32 = u32::MAX;

/// A thread of control.
#[derive(Debug)]
pub(super) struct Thread {
    /// The raw input of its state; of a Wait that waits, the effective one.
    pub input: Payload,
    pub work: Work,
    pub retries: Option<Box<Retries>>,
    /// The variables that it sees; `None` while none was assigned.
    pub variables: Option<Arc<Variables>>,
    /// When it entered its state.
    pub entered_at: Timestamp,
    /// The id of the event that says so.
    pub entered_event: u32,
    /// The id of the event before that one.
    pub entered_after: u32,
    /// The id of its last event.
    pub previous: u32,
    /// Its parent's slot, or [`NO_THREAD`].
    pub parent: u32,
    /// Which branch or iteration of its parent it is.
    pub branch: u32,
    /// The state that it is in.
    pub state: StateIndex,
    /// Whether its variables are a scope of its own; else they are those around it.
    pub scoped: bool,
}

/// What a thread of control does.
#[derive(Debug)]
pub(super) enum Work {
    /// Stepping, or about to.
    Ready,
    /// Waits for a task.
    Task(TaskWork),
    /// A Wait state waits for its timer.
    Waiting(Pause),
    /// Waits for the next attempt.
    Retrying(EffectId),
    /// Enters its state when others had their turn.
    Yielding(EffectId),
    /// A Parallel or Map state waits for its children.
    Joining(Box<Join>),
    /// Nobody's slot; the next free one.
    Free(u32),
}

/// A Wait under way.
#[derive(Debug)]
pub(super) struct Pause {
    pub timer: EffectId,
    pub since: Timestamp,
    pub until: Timestamp,
    /// The raw input, where a redrive may need it.
    pub raw: Option<Box<Payload>>,
}

/// A task under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskWork {
    pub id: EffectId,
    pub timeout: Option<EffectId>,
    /// Its timer keeps its id however often it is moved: a replay is not told of heartbeats, and numbers effects alike. That of
    /// an activity is armed at the start.
    pub heartbeat: Option<EffectId>,
    pub heartbeat_seconds: u32,
    /// When the next heartbeat is due.
    pub heartbeat_at: Timestamp,
    /// Of an activity's task that nobody has taken up: how long it may take then, in seconds, or 0. [`STARTED`] once the history
    /// has its start.
    pub to_start: u32,
}

/// See [`TaskWork::to_start`]; longer than any time-out.
pub(super) const STARTED: u32 = u32::MAX;

impl TaskWork {
    /// Whether the history has its start.
    pub fn has_started(&self) -> bool {
        self.to_start == STARTED
    }

    /// The timer of its heartbeats, where they are due.
    pub fn armed_heartbeat(&self) -> Option<EffectId> {
        self.heartbeat.filter(|_| self.has_started())
    }
}

/// A Parallel or Map state under way.
#[derive(Debug)]
pub(super) struct Join {
    /// Outputs so far, by branch.
    pub results: Vec<Value>,
    /// Their bytes, where there are so many that they have to be counted.
    pub kept: usize,
    pub ended: u32,
    /// The next item to begin with.
    pub next: u32,
    /// The effective input, for the item selector.
    pub input: Value,
    /// A Map's items.
    pub items: Value,
    pub map: bool,
    /// Of a distributed Map.
    pub run: Option<Box<MapRun>>,
}

/// Retries of one visit to a state.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// By retrier.
    pub by_retrier: SmallVec<[u32; 4]>,
    pub total: u32,
}

/// The slab.
#[derive(Debug)]
pub(super) struct Threads {
    slots: SmallVec<[Thread; 1]>,
    free: u32,
    /// What the variables of all threads take as JSON.
    pub variable_bytes: usize,
}

impl Threads {
    pub fn with_root(state: StateIndex, input: Payload) -> Self {
        let mut slots = SmallVec::new();
        slots.push(Thread::new(state, input, NO_THREAD, 0));
        Self { slots, free: NO_THREAD, variable_bytes: 0 }
    }

    /// Puts `own` wherever a thread's input is the text of `frame`.
    pub fn replace_inputs(&mut self, frame: &Payload, own: &Payload) {
        for thread in self.slots.iter_mut().filter(|thread| thread.input.shares_text(frame)) {
            thread.input = own.clone();
        }
    }

    /// The thread in a slot, if someone is there.
    pub fn get(&self, slot: u32) -> Option<&Thread> {
        self.slots.get(slot as usize).filter(|thread| !matches!(thread.work, Work::Free(_)))
    }

    /// The thread in a slot that is known to be taken.
    #[inline]
    pub fn at(&self, slot: u32) -> &Thread {
        &self.slots[slot as usize]
    }

    /// The thread in a slot that is known to be taken.
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> &mut Thread {
        &mut self.slots[slot as usize]
    }

    /// The id of the event that the state around a thread was entered with; 0 for none.
    #[inline]
    pub fn around(&self, slot: u32) -> u64 {
        match self.at(slot).parent {
            NO_THREAD => 0,
            parent => u64::from(self.at(parent).entered_event),
        }
    }

    /// Puts a thread into a slot; `None` when all are taken. Inlined, so that a thread is made where it stays.
    #[inline]
    pub fn insert(&mut self, thread: Thread) -> Option<u32> {
        if self.free != NO_THREAD {
            let slot = self.free;
            let place = &mut self.slots[slot as usize];
            if let Work::Free(next) = place.work {
                self.free = next;
            }
            *place = thread;
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < THREADS_MAX)?;
        self.slots.push(thread);
        Some(slot)
    }

    /// Slots that take memory, free ones too.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Frees a slot and gives what its thread was doing.
    pub fn remove(&mut self, slot: u32) -> Work {
        let thread = &mut self.slots[slot as usize];
        thread.input = Payload::default();
        thread.retries = None;
        if let Some(variables) = thread.variables.take().filter(|_| thread.scoped) {
            self.variable_bytes = self.variable_bytes.saturating_sub(variables.own_bytes());
        }
        let work = std::mem::replace(&mut thread.work, Work::Free(self.free));
        self.free = slot;
        work
    }

    /// Frees a slot and gives its thread, whose attempts and timers are over.
    pub fn take(&mut self, slot: u32, work: Work) -> Thread {
        let thread = &mut self.slots[slot as usize];
        let (input, variables) = (std::mem::take(&mut thread.input), thread.variables.clone());
        let (entered_at, scoped) = (thread.entered_at, thread.scoped);
        let Thread { entered_event, entered_after, previous, parent, branch, state, .. } = *thread;
        self.remove(slot);
        let retries = None;
        Thread {
            input,
            work,
            retries,
            variables,
            entered_at,
            entered_event,
            entered_after,
            previous,
            parent,
            branch,
            state,
            scoped,
        }
    }

    /// Puts threads back into the slots that they had; all others are free.
    pub fn put_back(&mut self, threads: Vec<(u32, Thread)>) {
        let last = threads.iter().map(|(slot, _)| *slot as usize).max().unwrap_or_default();
        let slots = self.slots.len().max(last + 1);
        (self.free, self.variable_bytes) = (NO_THREAD, 0);
        self.slots.clear();
        self.slots.resize_with(slots, || {
            let work = Work::Free(NO_THREAD);
            Thread { work, ..Thread::new(0, Payload::default(), NO_THREAD, 0) }
        });
        for (slot, thread) in threads {
            if let Some(variables) = thread.variables.as_ref().filter(|_| thread.scoped) {
                self.variable_bytes = self.variable_bytes.saturating_add(variables.own_bytes());
            }
            self.slots[slot as usize] = thread;
        }
        for (slot, thread) in (0..slots as u32).zip(&mut self.slots).rev() {
            if let Work::Free(next) = &mut thread.work {
                *next = std::mem::replace(&mut self.free, slot);
            }
        }
    }

    /// The slots of all threads below this one, in ascending order.
    pub fn below(&self, ancestor: u32) -> Vec<u32> {
        let is_below = |slot: &u32| {
            let mut at = self.slots[*slot as usize].parent;
            while at != NO_THREAD && at != ancestor {
                at = self.slots[at as usize].parent;
            }
            at == ancestor
        };
        self.taken().filter(is_below).collect()
    }

    /// The slots of all threads.
    pub fn taken(&self) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.slots)
            .filter(|(_, thread)| !matches!(thread.work, Work::Free(_)))
            .map(|(slot, _)| slot)
    }

    /// The graph that a thread runs. As deep as the definition nests Parallel and Map states.
    pub fn graph<'a>(&self, program: &'a Program, slot: u32) -> &'a Graph {
        let thread = &self.slots[slot as usize];
        if thread.parent == NO_THREAD {
            return &program.root;
        }
        let around = self.graph(program, thread.parent);
        let parent = &self.slots[thread.parent as usize];
        match &around.states[usize::from(parent.state)].kind {
            Kind::Parallel { branches } => &branches[thread.branch as usize],
            Kind::Map(map) => &map.processor,
            _ => around,
        }
    }
}

impl Thread {
    pub fn new(state: StateIndex, input: Payload, parent: u32, branch: u32) -> Self {
        Self {
            input,
            work: Work::Ready,
            retries: None,
            variables: None,
            entered_at: Timestamp(0),
            entered_event: 0,
            entered_after: 0,
            previous: 0,
            parent,
            branch,
            state,
            scoped: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_holds_a_bounded_number_of_threads_at_once() {
        let mut threads = Threads::with_root(0, Payload::default());
        let child = || Thread::new(0, Payload::default(), ROOT, 0);
        for _ in 1..THREADS_MAX {
            threads.insert(child()).expect("a slot");
        }
        assert_eq!(threads.insert(child()), None);
        threads.remove(7);
        assert_eq!(threads.insert(child()), Some(7));
    }

    #[test]
    fn the_parts_of_an_idle_execution_stay_small() {
        assert!(size_of::<Work>() <= 56, "{}", size_of::<Work>());
        assert!(size_of::<Thread>() <= 192, "{}", size_of::<Thread>());
        assert!(size_of::<super::super::Execution>() <= 400, "{}", size_of::<super::super::Execution>());
        // A machine without a distributed Map pays for no table of children.
        assert!(size_of::<super::super::Family>() <= 408, "{}", size_of::<super::super::Family>());
    }
}
