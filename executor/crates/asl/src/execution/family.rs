//! An execution and its children in one place.
//!
//! Purpose: an execution with a distributed Map asks for child executions by an effect, and whoever drives a [`Family`] sees
//! none of that: it starts, tells and asks it as it would an [`Execution`], and the children run where their parent does. To
//! run them elsewhere is to answer that effect in another place. A member is the execution itself (0), a child, or a child's
//! child, and all of them stand in one table; the ids of their effects say whose they are, so that an event finds its member.
//!
//! Invariants: the same events give the same effects, with the same ids; ended children are told before anything else
//! begins, so that what is alive is bounded by what runs at once; what a member wanted is cancelled when it ends, whoever
//! ends it; all members share one turn (see `budget`), and who begins or goes on after it does so in the order in which that
//! was asked for. A machine without a distributed Map has no table, and nothing looks at its effects. What may fail: a child
//! beyond the bounds here, with `States.Runtime`, which its Map may tolerate.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::budget::RUN_TURN;
use super::child::{ChildEnded, ChildStart};
use super::context::{Machine, StartContext};
use super::effect::{Effect, EffectId, Event, MEMBER_FIRST, MEMBER_LAST, Outcome};
use super::{Execution, TaskPlace};
use crate::history::{ChildExecution, NoObserver, Observer};
use crate::path::EvalError;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};

/// Child executions of an execution at once, those of children too: less than a kilobyte each, beside their data.
const CHILDREN_ALIVE_MAX: u32 = 100_000;
/// Child executions of an execution in all: what the ids of effects hold.
const CHILDREN_MAX: u32 = 8_388_608;
const _: () = assert!(CHILDREN_MAX == MEMBER_LAST - MEMBER_FIRST + 1);
/// Branches and iterations of all child executions at once.
const CHILD_THREADS_MAX: usize = 500_000;
/// Units of work of what members tell each other, beside what they evaluate. What comes from outside is not counted so: of
/// that, a replay is not told all (see `Event::TaskHeartbeat`).
const STEP_UNITS: u64 = 16;

/// An execution and its children.
#[derive(Debug)]
pub struct Family {
    execution: Execution,
    /// Of a machine with a distributed Map.
    members: Option<Box<Members>>,
}

/// The children.
#[derive(Debug, Default)]
struct Members {
    alive: BTreeMap<u32, Box<Member>>,
    /// The children that parents wait for, by what asked for them; those that have ended, until their parent is told.
    wanted: BTreeMap<EffectId, u32>,
    /// Children so far.
    begun: u32,
    /// Threads of control of all children.
    threads: usize,
    /// Children whose parents are not told yet that they have ended.
    ended: VecDeque<Box<ChildEnded>>,
    /// Members that begin, or have their next turn, in this order.
    waiting: VecDeque<u32>,
    /// Units of work since the last turn was given.
    spent: u64,
    /// Units of work of this call.
    worked: u64,
    /// Whether the next turn was asked for.
    asked: bool,
    /// A list of effects to use again.
    spare: Vec<Effect>,
}

/// A child that has not ended.
#[derive(Debug)]
struct Member {
    execution: Execution,
    /// What asked for it.
    id: EffectId,
    begun: bool,
}

impl Member {
    /// Tells it something; the first time it begins. Who looks at children sees it.
    fn tell<O: Observer>(
        &mut self,
        event: Event,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) {
        if !O::CHILDREN {
            return self.step(event, now, effects, &mut NoObserver);
        }
        observer.enter_child();
        self.step(event, now, effects, observer);
        let Execution { machine, start, .. } = &self.execution;
        observer.leave_child(ChildExecution { machine, start });
    }

    fn step<O: Observer>(
        &mut self,
        event: Event,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) {
        if std::mem::replace(&mut self.begun, true) {
            self.execution.handle(event, now, effects, observer);
        } else {
            self.execution.begin(now, effects, observer);
        }
    }
}

/// One call from outside.
struct Call<'a, O> {
    root: &'a mut Execution,
    members: &'a mut Members,
    now: Timestamp,
    effects: &'a mut Vec<Effect>,
    observer: &'a mut O,
}

impl Family {
    /// Starts an execution, see [`Execution::start`].
    pub fn start<O: Observer>(
        machine: &Arc<Machine>,
        start: StartContext,
        input: Payload,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) -> Self {
        if !machine.program.has_children {
            let execution = Execution::start(machine, start, input, now, effects, observer);
            return Self { execution, members: None };
        }
        let waits = start.waits;
        let mut execution = Execution::new(machine, start, input, now);
        let mut members = Box::new(Members::default());
        if waits {
            members.spent = u64::MAX;
        }
        Call { root: &mut execution, members: &mut members, now, effects, observer }.begin();
        Self { execution, members: Some(members) }
    }

    /// Takes an event in, see [`Execution::handle`].
    pub fn handle<O: Observer>(
        &mut self,
        event: Event,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) {
        let root = &mut self.execution;
        match &mut self.members {
            None => root.handle(event, now, effects, observer),
            Some(members) => Call { root, members, now, effects, observer }.handle(event),
        }
    }

    /// See [`Execution::detach`]. The inputs of children are cut from no frame.
    pub fn detach(&mut self) -> (Payload, Payload) {
        self.execution.detach()
    }

    /// What the execution was started with.
    pub fn input(&self) -> &Payload {
        self.execution.input()
    }

    /// Whether the execution has ended, and its children with it.
    pub fn is_finished(&self) -> bool {
        self.execution.is_finished()
    }

    /// See [`Execution::redrives`].
    pub fn redrives(&self) -> u32 {
        self.execution.redrives()
    }

    /// See [`Execution::redriven_at`].
    pub fn redriven_at(&self) -> Option<Timestamp> {
        self.execution.redriven_at()
    }

    /// See [`Execution::is_redrivable`].
    pub fn is_redrivable(&self) -> bool {
        self.execution.is_redrivable()
    }

    /// See [`Execution::worked`]; that of all members together.
    pub fn worked(&self) -> u64 {
        self.members.as_ref().map_or_else(|| self.execution.worked(), |members| members.worked)
    }

    /// See [`Execution::history_events`]. Children have histories of their own.
    pub fn history_events(&self) -> u64 {
        self.execution.history_events()
    }

    /// The machine that the execution runs.
    pub fn machine(&self) -> &Arc<Machine> {
        self.execution.machine()
    }

    /// Where a task, read or write of any member was asked for, the Maps around its child included.
    pub fn task_place(&self, id: EffectId) -> Option<TaskPlace> {
        let mut place = self.member(id.member())?.task_place(id)?;
        let mut number = id.member();
        while number != 0 {
            let asked_by = self.members.as_ref()?.alive.get(&number)?.id;
            number = asked_by.member();
            let around = self.member(number)?.child_place(asked_by)?;
            place.map_path.splice(0..0, around.map_path);
        }
        Some(place)
    }

    /// The id of the event that the state was entered with which has asked for this effect; of a child's, the Map that the child
    /// belongs to, for the histories of children are not told. `None` when it is gone.
    pub fn entered_by(&self, mut id: EffectId) -> Option<u32> {
        while id.member() != 0 {
            id = self.members.as_ref()?.alive.get(&id.member())?.id;
        }
        self.execution.entered_in(id.slot())
    }

    /// See [`Execution::current_state`].
    pub fn current_state(&self) -> Option<&str> {
        self.execution.current_state()
    }

    /// Child executions that have not ended.
    pub fn children(&self) -> usize {
        self.members.as_ref().map_or(0, |members| members.alive.len())
    }

    fn member(&self, number: u32) -> Option<&Execution> {
        match number {
            0 => Some(&self.execution),
            child => Some(&self.members.as_ref()?.alive.get(&child)?.execution),
        }
    }
}

impl Members {
    fn count(&mut self, units: u64) {
        self.worked = self.worked.saturating_add(units);
        self.spent = self.spent.saturating_add(units);
    }

    fn spare(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.spare)
    }

    /// Takes a child in that begins when its turn comes. Gives the cause where it cannot.
    fn add(&mut self, id: EffectId, child: ChildStart, now: Timestamp) -> Result<(), Str> {
        if self.wanted.len() >= CHILDREN_ALIVE_MAX as usize {
            return Err(ecow::eco_format!(
                "More than {CHILDREN_ALIVE_MAX} child executions of one execution cannot run at once."
            ));
        }
        if self.begun >= CHILDREN_MAX {
            return Err(ecow::eco_format!("One execution has at most {CHILDREN_MAX} child executions."));
        }
        let number = MEMBER_FIRST + self.begun;
        self.begun += 1;
        let ChildStart { machine, start, input } = child;
        let start = StartContext { member: number, keeps: false, ..start };
        let execution = Execution::new(&machine, start, input, now);
        self.threads += execution.threads();
        self.alive.insert(number, Box::new(Member { execution, id, begun: false }));
        self.wanted.insert(id, number);
        self.waiting.push_back(number);
        Ok(())
    }

    /// Takes a child out of the table.
    fn remove(&mut self, number: u32) -> Option<Box<Member>> {
        let member = self.alive.remove(&number)?;
        self.threads = self.threads.saturating_sub(member.execution.threads());
        Some(member)
    }
}

impl<O: Observer> Call<'_, O> {
    fn begin(&mut self) {
        let mut asked = self.members.spare();
        self.root.begin(self.now, &mut asked, self.observer);
        self.members.count(self.root.worked());
        self.route(0, asked);
        self.go_on();
    }

    fn handle(&mut self, event: Event) {
        self.members.worked = 0;
        if event == Event::Redrive {
            // Whoever gives turns has forgotten that one was asked for.
            (self.members.asked, self.members.spent) = (false, 0);
        } else if self.root.is_finished() {
            return;
        }
        if event == Event::TimerFired(EffectId::NEXT_TURN) {
            // The members' own turns are given here.
            if std::mem::take(&mut self.members.asked) {
                self.members.spent = 0;
            }
        } else {
            let number = event.effect().map_or(0, EffectId::member);
            // A replay is not told heartbeats, and they take no turn.
            if self.members.spent > RUN_TURN && !matches!(event, Event::TaskHeartbeat(_)) {
                self.end_turn(number);
            }
            self.tell(number, event);
        }
        self.go_on();
    }

    /// What this member is about to do waits for its turn, for others have worked as much as one may.
    fn end_turn(&mut self, number: u32) {
        if number == 0 {
            self.root.end_turn();
        } else if let Some(member) = self.members.alive.get_mut(&number).filter(|member| member.begun) {
            member.execution.end_turn();
        }
    }

    /// Until nothing more can happen without the outside world, or others should have their turn.
    fn go_on(&mut self) {
        while !self.root.is_finished() {
            let members = &mut *self.members;
            if members.spent > RUN_TURN {
                let waits = !members.ended.is_empty() || !members.waiting.is_empty();
                if waits && !std::mem::replace(&mut members.asked, true) {
                    self.effects.push(Effect::Yield);
                }
                return;
            }
            if let Some(ended) = members.ended.pop_front() {
                // It may have been given up meanwhile.
                if members.wanted.remove(&ended.id).is_some() {
                    members.count(STEP_UNITS);
                    self.tell(ended.id.member(), Event::ChildEnded(ended));
                }
            } else if let Some(number) = members.waiting.pop_front() {
                members.count(STEP_UNITS);
                self.tell(number, Event::TimerFired(EffectId::next_turn(number)));
            } else {
                return;
            }
        }
        self.members.ended.clear();
        self.members.waiting.clear();
    }

    /// Tells a member something, which is nothing to one that has ended. A child begins with its first turn, and hears of
    /// nothing before.
    fn tell(&mut self, number: u32, event: Event) {
        let (now, mut asked) = (self.now, self.members.spare());
        if number == 0 {
            self.root.handle(event, now, &mut asked, self.observer);
            self.members.count(self.root.worked());
            return self.route(0, asked);
        }
        let begins = event == Event::TimerFired(EffectId::next_turn(number));
        let member = self.members.alive.get_mut(&number).filter(|member| member.begun || begins);
        let Some(member) = member else { return };
        let (id, started_at, before) = (member.id, member.execution.started_at, member.execution.threads());
        member.tell(event, now, &mut asked, self.observer);
        let (worked, grown) = (member.execution.worked(), member.execution.threads() - before);
        self.members.count(worked);
        self.members.threads += grown;
        self.route(number, asked);
        if self.members.threads > CHILD_THREADS_MAX && grown > 0 && self.members.alive.contains_key(&number) {
            let cause = ecow::eco_format!(
                "More than {CHILD_THREADS_MAX} branches and iterations of child executions cannot run at once."
            );
            // It fails, as its Map is told.
            self.end(number, Event::GiveUp { error: EvalError::RUNTIME.into(), cause: cause.clone() });
            self.fail(id, started_at, cause);
        }
    }

    /// What a member asks for goes on to whoever drives the family, but for what is between members.
    fn route(&mut self, number: u32, mut asked: Vec<Effect>) {
        for effect in asked.drain(..) {
            match effect {
                Effect::StartChild { id, child } => {
                    if let Err(cause) = self.members.add(id, *child, self.now) {
                        // No child is 0, so that there is none to end where it is given up.
                        self.members.wanted.insert(id, 0);
                        self.fail(id, self.now, cause);
                    }
                }
                Effect::CancelTask(id) => match self.members.wanted.remove(&id) {
                    Some(child) => self.end(child, Event::Stop { error: None, cause: None }),
                    None => self.effects.push(Effect::CancelTask(id)),
                },
                Effect::Yield => self.members.waiting.push_back(number),
                Effect::Finished(outcome) if number != 0 => self.ended(number, outcome),
                other => self.effects.push(other),
            }
        }
        self.members.spare = asked;
    }

    /// A child has come to its end.
    fn ended(&mut self, number: u32, outcome: Outcome) {
        let Some(Member { execution, id, .. }) = self.members.remove(number).map(|member| *member) else {
            return;
        };
        let (started_at, stopped_at) = (execution.started_at, self.now);
        self.members.ended.push_back(Box::new(ChildEnded { id, outcome, started_at, stopped_at }));
    }

    /// A child cannot run, or not go on.
    fn fail(&mut self, id: EffectId, started_at: Timestamp, cause: Str) {
        let outcome = Outcome::Failed { error: Some(EvalError::RUNTIME.into()), cause: Some(cause) };
        let stopped_at = self.now;
        self.members.ended.push_back(Box::new(ChildEnded { id, outcome, started_at, stopped_at }));
    }

    /// Ends a child that nobody waits for, or that cannot go on, and its children: as deep as the definition nests distributed
    /// Maps.
    fn end(&mut self, number: u32, event: Event) {
        let Some(mut member) = self.members.remove(number) else { return };
        if !member.begun {
            return;
        }
        let mut asked = self.members.spare();
        member.tell(event, self.now, &mut asked, self.observer);
        self.route(number, asked);
    }
}

#[cfg(test)]
mod tests;
