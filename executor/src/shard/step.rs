//! Events in, effects out: how an execution is told something, and what becomes of what it asks for.
//!
//! Invariants: an event goes through the execution's mailbox, in the order in which it came; a late one (the execution has
//! left its slot, has ended, or no longer wants the effect) changes nothing. What a STANDARD execution is told is
//! journalled in the block under construction before it is handled, and the tasks it asks for leave only after that block
//! is confirmed (write-ahead); timers are armed at once, since a timer changes nothing outside. EXPRESS tasks leave at
//! once. What may fail: nothing here; a function that no pool serves fails its task.

use asl::{Effect, EffectId, Event, Outcome, Payload, Str, Timestamp};
use bytes::Bytes;
use ids::Mode;
use journal::block::{JournalledKind, JournalledView, encode_failure};

use super::core::Shard;
use super::execution::{Ended, Waiting};
use super::functions::{self, Call};
use super::machine;
use super::slab::Address;
use super::tasks::Task;
use super::timers::Wakeup;

impl Shard {
    /// The present instant, as the language counts it.
    pub(super) fn timestamp(&self) -> Timestamp {
        machine::timestamp_of_ms(self.now_us / 1_000)
    }

    /// Tells an execution something.
    pub(super) fn deliver(&mut self, address: Address, event: Event) {
        let full = self.open.get(address).is_some_and(|open| open.mailbox.is_full());
        if full {
            self.run(address);
        }
        let Some(open) = self.open.get_mut(address).filter(|open| open.ended.is_none()) else { return };
        self.mail.push(&mut open.mailbox, event);
        if !std::mem::replace(&mut open.runnable, true) {
            self.runnable.push_back(address);
        }
    }

    /// Lets every execution that was told something handle it.
    pub(super) fn run_mailboxes(&mut self) {
        while let Some(address) = self.runnable.pop_front() {
            self.run(address);
        }
    }

    fn run(&mut self, address: Address) {
        let mut effects = std::mem::take(&mut self.effects);
        loop {
            let now = self.timestamp();
            let Some(open) = self.open.get_mut(address) else { break };
            open.runnable = false;
            let Some(event) = self.mail.pop(&mut open.mailbox) else { break };
            if open.ended.is_some() {
                continue;
            }
            if open.machine.key.mode == Mode::Standard {
                self.journal(address, &event);
            }
            let Some(open) = self.open.get_mut(address) else { break };
            machine::handle_unobserved(&mut open.execution, event, now, &mut effects);
            self.turns.worked(open.execution.worked());
            self.metrics.steps.add(1);
            self.apply(address, &mut effects);
        }
        self.effects = effects;
    }

    /// Writes what a STANDARD execution is told into the block under construction.
    fn journal(&mut self, address: Address, event: &Event) {
        let Some(open) = self.open.get_mut(address) else { return };
        let (effect, kind, payload) = match event {
            Event::TaskSucceeded { id, output } => {
                (id.0, JournalledKind::TaskSucceeded, output.bytes().clone())
            }
            Event::TaskFailed { id, error, cause } => {
                (id.0, JournalledKind::TaskFailed, encode_failure(Some(error), Some(cause)))
            }
            Event::TimerFired(id) => (id.0, JournalledKind::TimerFired, Bytes::new()),
            Event::Stop { error, cause } => {
                (0, JournalledKind::Stopped, encode_failure(error.as_deref(), cause.as_deref()))
            }
            // A start is told again with its outcome; a heartbeat only moves a timer; no task of ours is submitted.
            // A read or write of ours ends as a failure, see `refuse_transfer`.
            Event::TaskStarted(_)
            | Event::TaskHeartbeat(_)
            | Event::TaskSubmitted { .. }
            | Event::ItemsRead { .. }
            | Event::ResultsWritten(_)
            // Nobody but its family tells it so, and does again in a replay.
            | Event::ChildEnded(_) => return,
        };
        let log = &mut self.logs[usize::from(open.log)];
        log.builder.journalled(JournalledView {
            id: open.id,
            time_ms: self.now_us / 1_000,
            sequence: open.journalled,
            effect,
            kind,
            payload: &payload,
        });
        open.journalled += 1;
        if open.opened && log.page.touched.last() != Some(&address) {
            log.page.touched.push(address);
        }
    }

    /// Carries out what an execution asks for.
    pub(super) fn apply(&mut self, address: Address, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::ScheduleTask { id, resource, input, .. } => {
                    self.schedule(address, id, resource, input)
                }
                Effect::ReadItems { id, resource, .. } => self.refuse_transfer(address, id, &resource),
                Effect::WriteResults { id, resource, .. } => self.refuse_transfer(address, id, &resource),
                Effect::CancelTask(id) => self.cancel(address, id, true),
                Effect::ArmTimer { id, at } => self.arm(address, id, at),
                Effect::Yield => self.turns.wait(address),
                Effect::CancelTimer(id) => self.cancel(address, id, false),
                Effect::Finished(outcome) => self.finish(address, outcome),
                // Its family has taken it.
                Effect::StartChild { .. } => {}
            }
        }
    }

    fn arm(&mut self, address: Address, id: EffectId, at: Timestamp) {
        let Some(open) = self.open.get_mut(address) else { return };
        let key = self.timers.arm(machine::ms_of(at), Wakeup { address, effect: id.0 });
        if let Some(Waiting::Timer(before)) = open.waiting_for.insert(id, Waiting::Timer(key)) {
            self.timers.cancel(before);
        }
    }

    fn cancel(&mut self, address: Address, id: EffectId, task: bool) {
        let Some(open) = self.open.get_mut(address) else { return };
        match open.waiting_for.remove(id, task) {
            Some(Waiting::Task(task)) => self.tasks.cancel(task),
            Some(Waiting::Timer(key)) => {
                self.timers.cancel(key);
            }
            None => {}
        }
    }

    /// Binds a task to the pool that serves its function. Without one, the task fails.
    fn schedule(&mut self, address: Address, effect: EffectId, resource: Str, input: Payload) {
        let call = functions::call(resource, input);
        let bound = call.and_then(|call| match self.bindings.resolve(&call.function) {
            Some(pool) => Ok((pool, call)),
            None => Err(functions::unbound(&call.function)),
        });
        let (pool, call) = match bound {
            Ok(bound) => bound,
            Err((error, cause)) => {
                self.deliver(address, Event::TaskFailed { id: effect, error, cause });
                return;
            }
        };
        let Some(open) = self.open.get_mut(address) else { return };
        let Call { function, input, wrapped } = call;
        let standard = open.machine.is_standard();
        let log = usize::from(open.log);
        let task = self.tasks.schedule(Task {
            execution: address,
            effect,
            function,
            input,
            wrapped,
            pool,
            worker: None,
        });
        if let Some(Waiting::Task(before)) = open.waiting_for.insert(effect, Waiting::Task(task)) {
            self.tasks.cancel(before);
        }
        if standard {
            self.logs[log].page.held.push(task);
        } else {
            self.tasks.release(task);
        }
    }

    /// No integration of this node reads or writes objects, which fails the Map that wants it.
    fn refuse_transfer(&mut self, address: Address, id: EffectId, resource: &str) {
        let cause = Str::from(format!("This node has no integration that serves {resource}."));
        self.deliver(address, Event::TaskFailed { id, error: Str::new(), cause });
    }

    /// The execution has ended; its record goes into the block under construction.
    fn finish(&mut self, address: Address, outcome: Outcome) {
        self.release_effects(address);
        let stop_time_ms = self.now_us / 1_000;
        let Some(open) = self.open.get_mut(address) else { return };
        open.ended = Some(Box::new(Ended { outcome, stop_time_ms }));
        if open.opened {
            self.logs[usize::from(open.log)].page.ended.push(address);
        }
    }

    /// Gives back whatever an execution still waits for.
    pub(super) fn release_effects(&mut self, address: Address) {
        let Some(open) = self.open.get_mut(address) else { return };
        for waiting in open.waiting_for.take_all() {
            match waiting {
                Waiting::Task(task) => self.tasks.cancel(task),
                Waiting::Timer(key) => {
                    self.timers.cancel(key);
                }
            }
        }
        while self.mail.pop(&mut open.mailbox).is_some() {}
    }
}
