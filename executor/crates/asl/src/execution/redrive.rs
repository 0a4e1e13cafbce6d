//! Redrive: an execution that has ended without success goes on from where it failed.
//!
//! Purpose: as Step Functions' RedriveExecution: what has succeeded is not done again, a state that failed or was given up
//! begins again from the same input, with its attempts at zero, and the branches and iterations of a Parallel or an inline
//! Map that succeeded keep their results. A Wait waits anew, or until the instant that it was given. A distributed Map
//! begins again with all of its items. Where a join has failed of itself (its data beyond the bound, its output), all of its
//! branches run again. The timeout of the execution begins anew, but ends no later than an execution of its mode may run.
//!
//! Only who was told so at the start ([`StartContext::keeps`](super::StartContext)) keeps what this needs: raw inputs, and
//! the threads of control that fall. What runs for the first time keeps nothing and pays nothing, for a redrive always
//! follows a replay. Invariant: keeping changes no effect and no event. What may fail: nothing; what cannot go on stays
//! ended.

use super::context::Context;
use super::effect::{Effect, EffectId};
use super::map::wanted_concurrency;
use super::run::{Run, Step};
use super::threads::{Thread, Work};
use crate::history::{EventKind, Observer};
use crate::path::EvalError;
use crate::program::{Dynamic, Kind, MapState, State, Wait};
use crate::timestamp::Timestamp;
use crate::value::Payload;

/// What a redrive needs.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The threads that have failed or were given up on the way to the execution's end, with the slots that they had.
    fallen: Vec<(u32, Thread)>,
    /// Whether the execution has ended in a way that it can go on from.
    resumable: bool,
    pub redrives: Redrives,
}

/// What `$$.Execution` says of redrives.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Redrives {
    pub count: u32,
    /// When the last one was.
    pub at: Option<Timestamp>,
}

impl Kept {
    pub fn is_resumable(&self) -> bool {
        self.resumable
    }
}

/// What is kept of the work of a thread that falls.
fn suspended(work: Work) -> Work {
    match work {
        Work::Joining(join) if join.run.is_none() => Work::Joining(join),
        Work::Waiting(pause) => Work::Waiting(pause),
        _ => Work::Ready,
    }
}

impl<'a, O: Observer> Run<'a, O> {
    /// The raw input of a state that may not need it any more.
    #[inline]
    pub fn take_input(&mut self, slot: u32) -> Payload {
        let input = &mut self.threads.at_mut(slot).input;
        if self.kept.is_some() { input.clone() } else { std::mem::take(input) }
    }

    /// A thread is over without success; its work has been cancelled.
    pub fn fall(&mut self, slot: u32, work: Work) {
        match self.kept.as_deref_mut() {
            Some(kept) => {
                let thread = self.threads.take(slot, suspended(work));
                kept.fallen.push((slot, thread));
            }
            None => drop(self.threads.remove(slot)),
        }
    }

    /// Somebody takes over from what has fallen.
    pub fn forget_fallen(&mut self) {
        if let Some(kept) = self.kept.as_deref_mut() {
            kept.fallen.clear();
        }
    }

    /// A state falls that was joining: what its other branches came to is kept, unless that is why it fell.
    pub fn keep_join(&mut self, slot: u32, work: Work, by_data: bool) {
        let fell = |kept: &Kept| kept.fallen.iter().any(|(_, thread)| thread.parent == slot);
        let keeps = !by_data && self.kept.as_deref().is_some_and(fell);
        match suspended(work) {
            Work::Joining(join) if keeps => self.threads.at_mut(slot).work = Work::Joining(join),
            _ => self.forget_fallen(),
        }
    }

    /// The execution has ended.
    pub fn note_end(&mut self, resumable: bool) {
        if let Some(kept) = self.kept.as_deref_mut() {
            kept.resumable = resumable;
        }
    }

    /// Goes on, if it has ended and can.
    pub fn redrive(&mut self) {
        let Some(kept) = self.kept.as_deref_mut().filter(|kept| kept.resumable) else { return };
        if !self.log.has_room() {
            return;
        }
        kept.resumable = false;
        kept.redrives.count += 1;
        kept.redrives.at = Some(self.log.now);
        let (fallen, count) = (std::mem::take(&mut kept.fallen), kept.redrives.count);
        self.facts.redrives = kept.redrives;
        self.threads.put_back(fallen);
        *self.ended = false;
        *self.turn = Default::default();
        let mut previous = self.log.last();
        self.log.advance(&mut previous, EventKind::ExecutionRedriven { count });
        self.ready.extend(self.threads.taken());
        for slot in self.threads.taken().collect::<Vec<_>>() {
            self.threads.at_mut(slot).previous = previous;
        }
        self.drive(Step::Idle);
        if !*self.ended {
            let longest = self.facts.started_at.plus_seconds(self.facts.machine.mode_timeout_seconds);
            let at = self.now().plus_seconds(self.timeout_seconds()).min(longest);
            let id = EffectId::execution_timer(self.facts.start.member);
            self.effects.push(Effect::ArmTimer { id, at });
            *self.timed = true;
        }
    }

    /// A thread that had entered its state goes on in it.
    pub fn resume(&mut self, slot: u32) -> Step {
        let state = self.state(slot);
        match (&state.kind, &self.threads.at(slot).work) {
            (Kind::Fail { .. }, _) => Step::Enter(slot),
            (Kind::Wait(wait), Work::Waiting(_)) => self.resume_wait(slot, wait),
            (_, Work::Joining(_)) => self.resume_join(slot, state),
            _ => Step::Begin(slot),
        }
    }

    fn resume_wait(&mut self, slot: u32, wait: &Wait) -> Step {
        let now = self.now();
        let Work::Waiting(pause) = &mut self.threads.at_mut(slot).work else { return Step::Idle };
        if matches!(wait, Wait::Seconds(_)) {
            let millis = pause.until.as_millis() - pause.since.as_millis();
            pause.until = now.plus_millis(u64::try_from(millis).unwrap_or_default());
            pause.since = now;
        }
        let until = pause.until;
        if until <= now {
            return self.wait_is_over(slot);
        }
        let timer = self.arm(slot, until);
        if let Work::Waiting(pause) = &mut self.threads.at_mut(slot).work {
            pause.timer = timer;
        }
        Step::Idle
    }

    /// The branches that have fallen go on by themselves; a Map begins those of its iterations for which there is room.
    fn resume_join(&mut self, slot: u32, state: &'a State) -> Step {
        let alive = self.threads.taken().filter(|child| self.threads.at(*child).parent == slot).count();
        let Work::Joining(join) = &self.threads.at(slot).work else { return Step::Idle };
        if alive + join.ended as usize != join.next as usize {
            // It fell before all that it counted had begun.
            for child in self.threads.below(slot) {
                self.threads.remove(child);
            }
            let threads = &*self.threads;
            self.ready.retain(|ready| threads.get(*ready).is_some());
            return Step::Begin(slot);
        }
        let Kind::Map(map) = &state.kind else { return Step::Idle };
        match self.begin_more(slot, state, map, alive) {
            Ok(()) => Step::Idle,
            Err(error) => Step::Fail(slot, self.evaluation_failed(slot, error)),
        }
    }

    fn begin_more(
        &mut self,
        slot: u32,
        state: &'a State,
        map: &'a MapState,
        alive: usize,
    ) -> Result<(), EvalError> {
        let thread = self.threads.at(slot);
        let Work::Joining(join) = &thread.work else { return Ok(()) };
        let context: Context<'_> = self.context(thread, state);
        let wanted = match &map.max_concurrency {
            Dynamic::Constant(concurrency) => *concurrency,
            _ => wanted_concurrency(map, &join.input, &context)?,
        };
        let most = super::map::concurrency(map, wanted) as usize;
        let left = join.results.len().saturating_sub(join.next as usize);
        let previous = thread.previous;
        for _ in 0..most.saturating_sub(alive).min(left) {
            self.begin_iteration(slot, state, map, previous)?;
        }
        Ok(())
    }
}
