//! One run of an execution: from an event until nothing more can happen without the outside world.
//!
//! Invariant: a run is a loop over [`Step`]s; no step calls another, so the stack does not grow with the number of states.
//! Each event counts towards the history's bound, whatever adds it, so a run ends: the one that would take the place of the
//! last is not told, and the execution fails instead.

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::collections::VecDeque;

use smallvec::SmallVec;

use super::assign::Assigned;
use super::budget::{Spent, Turn};
use super::context::{Context, Facts};
use super::effect::{Effect, EffectId, Event, Outcome};
use super::failure::Failure;
use super::redrive::Kept;
use super::threads::{Pause, ROOT, Thread, Threads, Work};
use super::{Core, flow};
use crate::history::{EventKind, Fault, Field, Note, Observer, Record, Stage, StateType};
use crate::program::{Kind, Next, Program, State};
use crate::timestamp::Timestamp;
use crate::value::{Map, Payload, Str};

/// What to do next. Small, so that it travels in registers: what a state leaves with is its thread's input by then.
pub(super) enum Step {
    /// The thread enters its state.
    Enter(u32),
    /// The thread's state begins its work, the first time or again.
    Begin(u32),
    /// The thread's state is over, with the thread's input as its output, and what it assigned.
    Exit(u32, Next, Assigned),
    /// The work of the thread's state gave this result.
    Complete(u32, Box<Payload>),
    /// The thread's state failed.
    Fail(u32, Box<Failure>),
    /// This thread can do nothing more; another one may.
    Idle,
}

/// A run.
pub(super) struct Run<'a, O> {
    pub facts: Facts<'a>,
    pub program: &'a Program,
    pub threads: &'a mut Threads,
    pub log: Log<'a, O>,
    pub effects: &'a mut Vec<Effect>,
    /// Effects numbered so far.
    pub numbered: &'a mut u64,
    draws: &'a Cell<u64>,
    pub spent: &'a Spent,
    pub turn: &'a mut Turn,
    /// Threads that are ready to enter their state.
    pub ready: VecDeque<u32>,
    pub timed: &'a mut bool,
    pub ended: &'a mut bool,
    pub kept: &'a mut Option<Box<Kept>>,
}

/// Gives events their ids and shows them to the observer.
pub(super) struct Log<'a, O> {
    observer: &'a mut O,
    last: &'a mut u32,
    /// Events that the history may have.
    most: u64,
    /// Whether an event found no room: the execution has to fail.
    pub full: bool,
    pub now: Timestamp,
}

impl<O: Observer> Log<'_, O> {
    /// An event on a thread's line: the next one will name it as previous.
    #[inline]
    pub fn advance(&mut self, previous: &mut u32, kind: EventKind<'_>) {
        self.beside(*previous, kind);
        *previous = *self.last;
    }

    /// What the inspected state has come to.
    #[inline]
    pub fn stage(&mut self, stage: &Stage<'_>) {
        if O::INSPECTS {
            self.observer.stage(stage);
        }
    }

    /// The data of the inspected state after this field.
    #[inline]
    pub fn data(&mut self, field: Field, data: &Payload) {
        self.stage(&Stage::Data(field, data));
    }

    /// An event beside a thread's line.
    #[inline]
    pub fn beside(&mut self, previous: u32, kind: EventKind<'_>) {
        if !self.has_room() {
            self.full = true;
            return;
        }
        self.tell(previous, kind);
    }

    /// Whether there is room for an event beside the last.
    #[inline]
    pub fn has_room(&self) -> bool {
        u64::from(*self.last) + 1 < self.most
    }

    /// The id of the last event.
    pub fn last(&self) -> u32 {
        *self.last
    }

    /// An event for which there is room; the execution's last has room kept.
    #[inline]
    fn tell(&mut self, previous: u32, kind: EventKind<'_>) {
        *self.last += 1;
        if O::ENABLED {
            let (id, previous) = (u64::from(*self.last), u64::from(previous));
            self.observer.event(&Record { id, previous, at: self.now, kind });
        }
    }

    /// What no event tells.
    #[inline]
    pub fn note(&mut self, note: &Note<'_>) {
        if O::ENABLED {
            self.observer.note(self.now, note);
        }
    }
}

impl<'a, O: Observer> Run<'a, O> {
    pub fn new(
        facts: Facts<'a>,
        core: &'a mut Core,
        now: Timestamp,
        effects: &'a mut Vec<Effect>,
        observer: &'a mut O,
    ) -> Self {
        let Core { threads, last_event, effects: numbered, draws, spent, turn, timed, ended, kept } = core;
        turn.begin_run(spent);
        let log =
            Log { observer, last: last_event, most: facts.machine.history_events_max, full: false, now };
        let program = &*facts.machine.program;
        Self {
            facts,
            program,
            threads,
            log,
            effects,
            numbered,
            draws,
            spent,
            turn,
            ready: VecDeque::new(),
            timed,
            ended,
            kept,
        }
    }

    /// From the execution's start.
    pub fn begin(&mut self) {
        let Facts { machine, input, start, .. } = self.facts;
        if start.waits {
            self.end_turn();
        }
        self.log.tell(0, EventKind::ExecutionStarted { input, role_arn: &machine.role_arn });
        self.drive(Step::Enter(ROOT));
        if !*self.ended {
            let seconds = self.timeout_seconds();
            let at = self.facts.started_at.plus_seconds(seconds);
            let id = EffectId::execution_timer(self.facts.start.member);
            self.effects.push(Effect::ArmTimer { id, at });
            *self.timed = true;
        }
    }

    /// From an event.
    pub fn handle(&mut self, event: Event) {
        let step = match event {
            Event::TimerFired(id) if id.is_execution_timer() => self.execution_timer_fired(),
            Event::TimerFired(id) if id.is_next_turn() => self.take_turn(),
            Event::TimerFired(id) => self.timer_fired(id),
            Event::TaskStarted { id, worker } => self.task_started(id, &worker),
            Event::TaskSubmitted { id, output } => self.task_submitted(id, &output),
            Event::TaskSucceeded { id, output } => self.task_succeeded(id, output),
            Event::TaskFailed { id, error, cause } => self.task_failed(id, error, cause),
            Event::ItemsRead { id, body } => self.items_read(id, body),
            Event::ResultsWritten(id) => self.results_written(id),
            Event::ChildEnded(ended) => self.child_execution_ended(*ended),
            Event::TaskHeartbeat(id) => self.task_heartbeat(id),
            Event::GiveUp { error, cause } => {
                self.finish(Outcome::Failed { error: Some(error), cause: Some(cause) })
            }
            Event::Stop { error, cause } => self.finish(Outcome::Aborted { error, cause }),
            Event::Redrive => Step::Idle,
        };
        self.drive(step);
    }

    /// Until nothing more can happen without the outside world.
    pub fn drive(&mut self, first: Step) {
        let mut step = first;
        loop {
            if let Some(outcome) = self.exhausted() {
                self.finish(outcome);
                return;
            }
            step = match step {
                Step::Enter(slot) => self.enter(slot),
                Step::Begin(slot) => self.begin_state(slot, self.state(slot)),
                Step::Exit(slot, next, assigned) => self.exit(slot, next, assigned.as_deref()),
                Step::Complete(slot, result) => self.complete(slot, *result),
                Step::Fail(slot, failure) => self.fail(slot, failure),
                Step::Idle => match self.ready.pop_front() {
                    Some(slot) if self.threads.at(slot).entered_event == 0 => Step::Enter(slot),
                    Some(slot) => self.resume(slot),
                    None => match self.next_waiting() {
                        Some(step) => step,
                        None => return,
                    },
                },
            };
        }
    }

    /// The state that a thread is in.
    #[inline]
    pub fn state(&self, slot: u32) -> &'a State {
        &self.threads.graph(self.program, slot).states[usize::from(self.threads.at(slot).state)]
    }

    /// What `$$` says to the state that a thread is in.
    pub fn context<'s>(&self, thread: &Thread, state: &'s State) -> Context<'s>
    where
        'a: 's,
    {
        let retries = thread.retries.as_ref().map_or(0, |retries| retries.total);
        let counted = matches!(state.kind, Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_));
        Context {
            facts: self.facts,
            state: &state.name,
            entered_at: thread.entered_at,
            retry_count: counted.then_some(retries),
            task: None,
            item: None,
            now: self.now(),
            draws: self.draws,
            spent: self.spent,
            variables: thread.variables.clone(),
            built: OnceCell::new(),
        }
    }

    /// Tells observers the effective input of the state that a thread is in.
    #[inline]
    pub fn note_input(&mut self, slot: u32, input: &Payload) {
        if O::ENABLED {
            let entered = u64::from(self.threads.at(slot).entered_event);
            self.log.note(&Note::Input { entered, input });
        }
    }

    /// Tells observers that the states of these threads are over without an output: the latest entered first, so that
    /// what is inside ends before what is around it.
    /// `own` is the one among them whose fault it is.
    pub fn note_abandoned(&mut self, slots: &[u32], fault: Fault<'_>, own: Option<u32>) {
        if O::ENABLED {
            let events = slots.iter().map(|slot| (self.threads.at(*slot).entered_event, *slot));
            let mut entered: Vec<(u32, u32)> = events.filter(|(event, _)| *event > 0).collect();
            entered.sort_unstable_by_key(|(event, _)| Reverse(*event));
            for (event, slot) in entered {
                let (entered, since) = (u64::from(event), self.threads.at(slot).entered_at);
                let (place, own) = (self.state(slot).place, own == Some(slot));
                let around = self.threads.around(slot);
                self.log.note(&Note::Abandoned { entered, place, since, around, own, fault });
            }
        }
    }

    /// A new effect's id, for a thread.
    pub fn effect_id(&mut self, slot: u32) -> EffectId {
        *self.numbered += 1;
        EffectId::new(self.facts.start.member, *self.numbered, slot)
    }

    /// Arms a timer for a thread.
    pub fn arm(&mut self, slot: u32, at: Timestamp) -> EffectId {
        let id = self.effect_id(slot);
        self.effects.push(Effect::ArmTimer { id, at });
        id
    }

    /// The instant of this run.
    pub fn now(&self) -> Timestamp {
        self.log.now
    }

    fn enter(&mut self, slot: u32) -> Step {
        if self.is_over_its_turn() {
            return self.give_way(slot);
        }
        self.spent.spend(1);
        let state = self.state(slot);
        let now = self.now();
        let Thread { input, previous, entered_at, entered_event, entered_after, .. } =
            self.threads.at_mut(slot);
        if !self.log.has_room() {
            self.log.full = true;
            return Step::Idle;
        }
        *entered_after = *previous;
        self.log.advance(
            previous,
            EventKind::StateEntered {
                state: state_type(&state.kind),
                name: &state.name,
                place: state.place,
                input,
                resource: match &state.kind {
                    Kind::Task(task) => Some(&task.resource),
                    _ => None,
                },
            },
        );
        *entered_at = now;
        *entered_event = *previous;
        self.begin_state(slot, state)
    }

    fn begin_state(&mut self, slot: u32, state: &'a State) -> Step {
        self.threads.at_mut(slot).work = Work::Ready;
        let result = match &state.kind {
            // By far the most frequent, so it takes the shortest way.
            Kind::Pass { result: None }
                if !O::INSPECTS && state.assign.is_none() && flow::is_trivial(&state.flow) =>
            {
                return Step::Exit(slot, state.next, None);
            }
            Kind::Pass { result } => self.begin_pass(slot, state, result.as_ref()),
            Kind::Succeed => self.through(slot, state, Next::End),
            Kind::Choice { .. } => self.choose(slot, state),
            Kind::Fail { .. } => self.begin_fail(slot, state),
            Kind::Wait(wait) => self.begin_wait(slot, state, wait),
            Kind::Task(task) => self.begin_task(slot, state, task),
            Kind::Parallel { branches } => self.begin_parallel(slot, state, branches),
            Kind::Map(map) => self.begin_map(slot, state, map),
        };
        result.unwrap_or_else(|error| Step::Fail(slot, self.evaluation_failed(slot, error)))
    }

    fn exit(&mut self, slot: u32, next: Next, assigned: Option<&Map>) -> Step {
        let state = self.state(slot);
        let around = if O::ENABLED { self.threads.around(slot) } else { 0 };
        let thread = self.threads.at_mut(slot);
        self.log.advance(
            &mut thread.previous,
            EventKind::StateExited {
                state: state_type(&state.kind),
                name: &state.name,
                output: &thread.input,
                assigned,
                entered: u64::from(thread.entered_event),
                place: state.place,
                since: thread.entered_at,
                around,
            },
        );
        thread.retries = None;
        if let Some(assigned) = assigned {
            self.threads.assign(slot, assigned);
        }
        if let Next::State(next) = next {
            let thread = self.threads.at_mut(slot);
            thread.state = next;
            return Step::Enter(slot);
        }
        let output = std::mem::take(&mut self.threads.at_mut(slot).input);
        if slot == ROOT {
            return self.finish(Outcome::Succeeded(output));
        }
        self.child_ended(slot, output)
    }

    /// Ends the execution: cancels what it still wants, and says how it ended. It has failed where the history has no room
    /// for how it came here.
    pub fn finish(&mut self, outcome: Outcome) -> Step {
        self.end(outcome, None)
    }

    /// As [`Self::finish`]; `failed` is the thread whose state's failure it is.
    pub fn end(&mut self, mut outcome: Outcome, failed: Option<u32>) -> Step {
        let exhausted = self.exhausted();
        let resumable = exhausted.is_none() && !matches!(outcome, Outcome::Succeeded(_));
        let failed = failed.filter(|_| exhausted.is_none());
        if let Some(exhausted) = exhausted {
            outcome = exhausted;
        }
        let previous = self.threads.at(ROOT).previous;
        let open: SmallVec<[u32; 8]> = self.threads.taken().collect();
        if let Outcome::Failed { error, cause }
        | Outcome::TimedOut { error, cause }
        | Outcome::Aborted { error, cause } = &outcome
        {
            self.note_abandoned(&open, fault(error, cause), failed);
        }
        for slot in open {
            let work = std::mem::replace(&mut self.threads.at_mut(slot).work, Work::Ready);
            self.cancel(&work);
            self.fall(slot, work);
        }
        self.note_end(resumable);
        if std::mem::take(self.timed) {
            let id = EffectId::execution_timer(self.facts.start.member);
            self.effects.push(Effect::CancelTimer(id));
        }
        let event = match &outcome {
            Outcome::Succeeded(output) => EventKind::ExecutionSucceeded { output },
            Outcome::Failed { error, cause } => EventKind::ExecutionFailed(fault(error, cause)),
            Outcome::TimedOut { error, cause } => EventKind::ExecutionTimedOut(fault(error, cause)),
            Outcome::Aborted { error, cause } => EventKind::ExecutionAborted(fault(error, cause)),
        };
        self.log.tell(previous, event);
        self.effects.push(Effect::Finished(outcome));
        *self.ended = true;
        self.ready.clear();
        Step::Idle
    }

    /// Cancels what a thread waited for.
    pub fn cancel(&mut self, work: &Work) {
        match work {
            Work::Task(task) => {
                self.effects.push(Effect::CancelTask(task.id));
                self.cancel_timers(task);
            }
            Work::Waiting(Pause { timer, .. }) | Work::Retrying(timer) => {
                self.effects.push(Effect::CancelTimer(*timer));
            }
            Work::Joining(join) => {
                let wanted = join.run.iter().flat_map(|run| run.wanted());
                self.effects.extend(wanted.map(Effect::CancelTask));
            }
            Work::Ready | Work::Yielding(_) | Work::Free(_) => {}
        }
    }

    fn execution_timer_fired(&mut self) -> Step {
        if !*self.timed {
            return Step::Idle;
        }
        *self.timed = false;
        self.finish(Outcome::TimedOut { error: None, cause: None })
    }

    pub fn timeout_seconds(&self) -> u64 {
        let longest = self.facts.machine.mode_timeout_seconds;
        self.program.timeout_seconds.map_or(longest, |seconds| seconds.min(longest))
    }
}

/// The type of a state, as events name it.
pub(super) fn state_type(kind: &Kind) -> StateType {
    match kind {
        Kind::Pass { .. } => StateType::Pass,
        Kind::Task(_) => StateType::Task,
        Kind::Choice { .. } => StateType::Choice,
        Kind::Wait(_) => StateType::Wait,
        Kind::Succeed => StateType::Succeed,
        Kind::Fail { .. } => StateType::Fail,
        Kind::Parallel { .. } => StateType::Parallel,
        Kind::Map(_) => StateType::Map,
    }
}

/// Two optional texts as an event tells them.
pub(super) fn fault<'a>(error: &'a Option<Str>, cause: &'a Option<Str>) -> Fault<'a> {
    Fault { error: error.as_ref(), cause: cause.as_ref() }
}
