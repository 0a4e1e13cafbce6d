//! What an execution may work before others have their turn.
//!
//! Purpose: an expression has its own bound, but a machine may loop, and a run holds its shard's thread. So work is counted:
//! the states entered, JSONata's fuel, the visits of paths, the bytes that are read and made. Beyond its turn an execution
//! asks for the next one ([`Effect::Yield`]), and whoever is about to enter a state, or to start a child, waits for it.
//! Invariants: work is counted and never timed, so a replay gives way at the same places; who waits goes on in the order in
//! which it came, however many turns that takes. What may fail: a single state that works beyond [`RUN_FUEL`] ends the
//! execution.

use std::cell::Cell;
use std::collections::VecDeque;

use super::effect::{Effect, EffectId, Outcome};
use super::run::{Run, Step};
use super::threads::Work;
use crate::history::Observer;
use crate::path::EvalError;
use crate::value::Str;

/// Units of work (see [`crate::jsonata`]) of a turn: some ten milliseconds at most, if no state takes longer.
pub(super) const RUN_TURN: u64 = 1 << 17;
/// Units of work at which a run ends the execution: four times what one expression may take, so what a state evaluates
/// can be heavy and hold the thread for some seconds at worst.
pub(super) const RUN_FUEL: u64 = 1 << 25;
/// The turn of an execution.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Units of work of the runs before this one.
    before: u64,
    /// Threads that wait for the next turn, by what they wait for.
    #[allow(clippy::box_collection, reason = "rare: eight bytes in every execution instead of 32")]
    waiting: Option<Box<VecDeque<EffectId>>>,
    /// Whether the next turn was asked for.
    asked: bool,
}

/// Units of work of one run.
#[derive(Debug, Default)]
pub(super) struct Spent(Cell<u64>);

impl Spent {
    /// Counts work.
    #[inline]
    pub fn spend(&self, units: u64) {
        self.0.set(self.0.get().saturating_add(units));
    }

    /// Units so far.
    pub fn units(&self) -> u64 {
        self.0.get()
    }

    /// What the run may still work.
    pub fn fuel(&self) -> u64 {
        RUN_FUEL.saturating_sub(self.0.get())
    }
}

impl Turn {
    /// A run begins.
    #[inline]
    pub fn begin_run(&mut self, spent: &Spent) {
        self.before = self.before.saturating_add(spent.0.take());
    }

    /// It is over.
    pub fn end(&mut self) {
        self.before = u64::MAX;
    }
}

impl<O: Observer> Run<'_, O> {
    /// Whether this execution has had its turn.
    #[inline]
    pub fn is_over_its_turn(&self) -> bool {
        !O::INSPECTS && self.turn.before.saturating_add(self.spent.0.get()) > RUN_TURN
    }

    /// Has the thread in this slot wait for the next turn, by this id.
    pub fn await_turn(&mut self, slot: u32) -> EffectId {
        let id = self.effect_id(slot);
        self.turn.waiting.get_or_insert_default().push_back(id);
        id
    }

    /// Has the thread enter its state in the next turn.
    pub fn give_way(&mut self, slot: u32) -> Step {
        let id = self.await_turn(slot);
        let thread = self.threads.at_mut(slot);
        thread.work = Work::Yielding(id);
        // It is in no state that could be given up.
        thread.entered_event = 0;
        Step::Idle
    }

    /// Others have their turn first.
    pub fn end_turn(&mut self) {
        self.turn.end();
    }

    /// The next turn has come.
    pub fn take_turn(&mut self) -> Step {
        if std::mem::take(&mut self.turn.asked) {
            self.turn.before = 0;
        }
        Step::Idle
    }

    /// What the first thread does that waited for this turn. Where it is over, the rest waits for the next one.
    pub fn next_waiting(&mut self) -> Option<Step> {
        while !self.is_over_its_turn() {
            let id = self.turn.waiting.as_mut()?.pop_front()?;
            match self.threads.get(id.slot()).map(|thread| &thread.work) {
                Some(Work::Yielding(awaited)) if *awaited == id => {
                    self.threads.at_mut(id.slot()).work = Work::Ready;
                    return Some(Step::Enter(id.slot()));
                }
                Some(Work::Joining(_)) => return Some(self.resume_run(id.slot())),
                // It was given up meanwhile.
                _ => {}
            }
        }
        let waits = self.turn.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty());
        if waits && !std::mem::replace(&mut self.turn.asked, true) {
            self.effects.push(Effect::Yield);
        }
        None
    }

    /// How an execution ends that has reached a bound.
    #[inline]
    pub fn exhausted(&self) -> Option<Outcome> {
        let worked = self.spent.fuel() == 0;
        let numbered = *self.numbered >= EffectId::most(self.facts.start.member);
        if !(self.log.full || worked || numbered) || *self.ended {
            return None;
        }
        Some(self.bound_reached())
    }

    #[cold]
    fn bound_reached(&self) -> Outcome {
        let effects_max = EffectId::most(self.facts.start.member);
        let cause = if self.spent.fuel() == 0 {
            ecow::eco_format!(
                "The execution evaluated more than {RUN_FUEL} units of work without a pause: spread it over several \
                 states."
            )
        } else if *self.numbered >= effects_max {
            ecow::eco_format!("The execution asked for more than {effects_max} tasks, timers and children.")
        } else {
            let bound = self.facts.machine.history_events_max;
            ecow::eco_format!("The execution reached the maximum number of history events ({bound}).")
        };
        Outcome::Failed { error: Some(Str::from(EvalError::RUNTIME)), cause: Some(cause) }
    }
}
