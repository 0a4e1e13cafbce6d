//! What a run may work before others have their turn.
//!
//! Purpose: an expression has its own bound, but a machine may loop through expensive ones, and a run holds its shard's
//! thread. Work is counted where it is done (JSONata's fuel, the visits of paths), never timed, so a replay gives way at the
//! same places. Invariant: a machine that evaluates nothing is never charged. What may fail: a single state that works
//! beyond [`RUN_FUEL`] ends the execution.

use super::effect::{EffectId, Outcome};
use super::failure::Failure;
use super::run::{Run, Step};
use super::threads::Work;
use crate::history::Observer;
use crate::path::EvalError;
use crate::value::Str;

/// Units of work (see [`crate::jsonata`]) at one instant after which an execution's threads enter no more states and its
/// Map Runs start no more children: they go on a millisecond later.
const RUN_TURN: u64 = 1 << 21;
/// Units of work at which a run ends the execution: four times what one expression may take, so what a state evaluates
/// can be heavy and hold the thread for some seconds at worst.
pub(super) const RUN_FUEL: u64 = 1 << 25;

impl<O: Observer> Run<'_, O> {
    /// Whether this run has had its turn.
    #[inline]
    pub fn is_over_its_turn(&self) -> bool {
        !O::INSPECTS && self.earlier.saturating_add(self.spent.get()) > RUN_TURN
    }

    /// Arms the timer of the next turn: at another instant, since all that is due at one is handled in a row.
    pub fn arm_next_turn(&mut self, slot: u32) -> EffectId {
        self.arm(slot, self.now().plus_millis(1))
    }

    /// Has the thread enter its state in a later run.
    pub fn give_way(&mut self, slot: u32) -> Step {
        let timer = self.arm_next_turn(slot);
        let thread = self.threads.at_mut(slot);
        thread.work = Work::Yielding(timer);
        // It is in no state that could be given up.
        thread.entered_event = 0;
        Step::Idle
    }

    /// How an execution ends that has reached a bound.
    #[inline]
    pub fn exhausted(&self) -> Option<Outcome> {
        let worked = self.spent.get() > RUN_FUEL;
        if !(self.log.full || worked) || *self.ended {
            return None;
        }
        let Failure { error, cause, .. } = if worked { overworked() } else { self.history_full() };
        Some(Outcome::Failed { error, cause })
    }

    /// The history has no room left.
    pub fn history_full(&self) -> Failure {
        let bound = self.facts.machine.history_events_max;
        runtime(ecow::eco_format!("The execution reached the maximum number of history events ({bound})."))
    }
}

fn overworked() -> Failure {
    runtime(ecow::eco_format!(
        "The execution evaluated more than {RUN_FUEL} units of work without a pause: spread it over several states."
    ))
}

fn runtime(cause: Str) -> Failure {
    Failure { error: Some(Str::from(EvalError::RUNTIME)), cause: Some(cause), heartbeat: false }
}
