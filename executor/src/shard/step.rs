//! Events in, effects out: how an execution is told something, and what becomes of what it asks for.
//!
//! Invariants: an event goes through the execution's mailbox, in the order in which it came; a late one (the execution has
//! left its slot, has ended, or no longer wants the effect) changes nothing. What a STANDARD execution is told is
//! journalled in the block under construction before it is handled, and the tasks it asks for leave only after that block
//! is confirmed (write-ahead); timers are armed at once, since a timer changes nothing outside. EXPRESS tasks leave at
//! once; reads and writes of Maps (`transfers`) and calls of integrations (`calls`) have rooms of their own. What may fail:
//! nothing here; what neither a pool nor an integration serves fails its task.

use std::rc::Rc;

use asl::{Effect, EffectId, Event, Outcome, Str, Timestamp};
use bytes::Bytes;
use ids::Mode;
use journal::block::{JournalledKind, JournalledView, encode_failure};

use super::bindings::PoolIndex;
use super::calls::Asked;
use super::core::Shard;
use super::crumbs;
use super::errand::Through;
use super::execution::{Ended, Waiting};
use super::flush::RECORD_BYTES;
use super::functions::{self, Call};
use super::machine;
use super::slab::Address;
use super::tasks::{Stand, Task};
use super::timers::Wakeup;
use super::transfers::Work;
use crate::limits;

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

    /// Lets every execution that was told something handle it, but for those that stand still.
    pub(super) fn run_mailboxes(&mut self) {
        let mut still = Vec::new();
        loop {
            while let Some(address) = self.runnable.pop_front() {
                match self.open.get(address) {
                    Some(open) if self.stands_still(usize::from(open.log)) => still.push(address),
                    _ => self.run(address),
                }
            }
            let Some((address, event)) = self.refused.pop_front() else { break };
            self.deliver(address, event);
        }
        self.runnable.extend(still);
    }

    /// Lets an execution handle what it was told.
    pub(super) fn run(&mut self, address: Address) {
        let mut effects = std::mem::take(&mut self.effects);
        loop {
            let now = self.timestamp();
            let Some(open) = self.open.get_mut(address) else { break };
            open.runnable = false;
            let Some(event) = self.mail.pop(&mut open.mailbox) else { break };
            if open.ended.is_some() {
                continue;
            }
            let standard = open.machine.key.mode == Mode::Standard;
            let journalled = standard && self.journal(address, &event);
            let event = if journalled { self.outgrown(address, event) } else { event };
            let Some(open) = self.open.get_mut(address) else { break };
            self.crumb.set(open.id);
            crumbs::failpoint(open.machine.name.name());
            let run = open.run();
            let observer = &mut self.telling.live(&open.machine, open.trace.as_deref(), run);
            open.execution.handle(event, now, &mut effects, observer);
            self.crumb.clear();
            self.turns.worked(open.execution.worked());
            self.metrics.steps.add(1);
            let log = usize::from(open.log);
            let told = self.telling.take_of(open);
            self.tell(log, told);
            self.apply(address, &mut effects);
            // With what it has led to, which leaves with this block.
            if journalled && self.logs[log].page.bytes >= limits::FLUSH_BYTES_MAX {
                self.seal_if_long(log);
            }
        }
        self.effects = effects;
    }

    /// What an execution is told instead whose journal is in as many blocks as a closed record can name.
    fn outgrown(&self, address: Address, event: Event) -> Event {
        let blocks = self.open.get(address).map_or(0, |open| open.blocks.len());
        if blocks < limits::EXECUTION_BLOCKS || matches!(event, Event::Stop { .. }) {
            return event;
        }
        let cause = format!(
            "What the execution was told is spread over {} blocks of the journal, which is the most: divide its work \
             among several executions.",
            limits::EXECUTION_BLOCKS
        );
        Event::GiveUp { error: "States.Runtime".into(), cause: cause.into() }
    }

    /// Writes what a STANDARD execution is told into the block under construction, if it has to be told again.
    pub(super) fn journal(&mut self, address: Address, event: &Event) -> bool {
        let (effect, kind, payload) = match event {
            Event::TaskSucceeded { id, output } => {
                (id.0, JournalledKind::TaskSucceeded, output.bytes().clone())
            }
            Event::TaskFailed { id, error, cause } => {
                (id.0, JournalledKind::TaskFailed, encode_failure(Some(error), Some(cause)))
            }
            Event::TaskStarted { id, worker } => {
                (id.0, JournalledKind::TaskStarted, Bytes::copy_from_slice(worker.as_bytes()))
            }
            Event::TaskSubmitted { id, output } => {
                (id.0, JournalledKind::TaskSubmitted, output.bytes().clone())
            }
            Event::TimerFired(id) => (id.0, JournalledKind::TimerFired, Bytes::new()),
            Event::Stop { error, cause } => {
                (0, JournalledKind::Stopped, encode_failure(error.as_deref(), cause.as_deref()))
            }
            Event::ItemsRead { id, body } => match self.kept(address, *id, body) {
                Some((kind, payload)) => (id.0, kind, payload),
                None => return false,
            },
            Event::ResultsWritten(id) => (id.0, JournalledKind::ResultsWritten, Bytes::new()),
            // The closed record says it.
            Event::GiveUp { .. }
            // It only moves a timer.
            | Event::TaskHeartbeat(_)
            // Nobody but its family tells it how a child ended, and does again in a replay.
            | Event::ChildEnded(_)
            // It is journalled where it is told.
            | Event::Redrive => return false,
        };
        let Some(open) = self.open.get_mut(address) else { return false };
        let at = usize::from(open.log);
        let log = &mut self.logs[at];
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
        log.page.bytes += RECORD_BYTES + payload.len();
        if kind == JournalledKind::TaskStarted
            && let Some(task) = open.waiting_for.activity(EffectId(effect))
        {
            self.activities.wrote(task);
            log.page.begun.push(task);
        }
        true
    }

    /// Carries out what an execution asks for. It runs nothing meanwhile: that could end the execution before the rest of
    /// what it asked for is armed, held or cancelled.
    pub(super) fn apply(&mut self, address: Address, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::ScheduleTask { id, resource, input, role_arn, .. } => {
                    self.schedule(address, id, Asked { resource, input, role_arn });
                }
                Effect::ReadItems { id, resource, parameters } => {
                    let parameters = parameters.bytes().clone();
                    self.transfer(address, id, Work::Read { resource, parameters });
                }
                Effect::WriteResults { id, resource, bucket, objects } => {
                    self.transfer(address, id, Work::Write { resource, bucket, objects });
                }
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

    /// What an effect has become is no longer wanted.
    pub(super) fn cancel(&mut self, address: Address, id: EffectId, task: bool) {
        let Some(open) = self.open.get_mut(address) else { return };
        let waiting = open.waiting_for.remove(id, task);
        waiting.into_iter().for_each(|waiting| self.abandon(address, waiting));
    }

    /// What was asked for is no longer wanted by anybody: a job that it has begun is stopped.
    fn abandon(&mut self, address: Address, waiting: Waiting) {
        if let Waiting::Call(call) = waiting
            && let Some(job) = self.calls.job(call)
            && let Some(open) = self.open.get(address)
        {
            self.logs[usize::from(open.log)].page.jobs.push(job);
        }
        self.give_up(waiting);
    }

    /// What was asked for is no longer wanted here.
    pub(super) fn give_up(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Task(task) => self.tasks.cancel(task),
            Waiting::Transfer(transfer) => self.transfers.cancel(transfer),
            Waiting::Call(call) => self.calls.cancel(call),
            Waiting::Activity(task) => drop(self.activities.remove(task)),
            Waiting::Timer(key) => {
                self.timers.cancel(key);
            }
            Waiting::Callback => {}
        }
    }

    /// Gives a task to who serves it: a pool that is bound to its function, whoever polls its activity, else an integration.
    /// Without any, it fails.
    fn schedule(&mut self, address: Address, effect: EffectId, asked: Asked) {
        let Asked { resource, input, role_arn } = asked;
        let form = functions::Form::of(&resource);
        let standard = self.open.get(address).is_some_and(|open| open.machine.is_standard());
        let named = match form.refusal(standard, &resource) {
            Some(refusal) => Err(refusal),
            None => form.function(&input),
        };
        let named = match named {
            Ok(named) => named,
            Err(failure) => return self.refuse_task(address, effect, failure),
        };
        let function = named.as_ref().unwrap_or(&resource);
        if let Some(pool) = self.bindings.resolve(function) {
            let call = functions::call(resource, input, named);
            self.hand_to_pool(address, effect, pool, (call, form.calls_back));
            if form.activity {
                // Nobody polls for it: as a function, it counts as started at once.
                let started = Event::TaskStarted { id: effect, worker: Str::new() };
                self.refused.push_back((address, started));
            }
        } else if form.activity {
            self.schedule_activity(address, effect, resource, input);
        } else if let Some(integration) = self.calls.integrations.find(&resource).map(Rc::clone) {
            self.call(address, effect, integration, Asked { resource, input, role_arn });
        } else {
            self.refuse_task(address, effect, functions::unbound(function));
        }
    }

    /// A task fails before it is begun.
    pub(super) fn refuse_task(&mut self, address: Address, id: EffectId, (error, cause): functions::Failure) {
        self.refused.push_back((address, Event::TaskFailed { id, error, cause }));
    }

    fn hand_to_pool(
        &mut self,
        address: Address,
        effect: EffectId,
        pool: PoolIndex,
        (call, calls_back): (Call, bool),
    ) {
        let Some(open) = self.open.get_mut(address) else { return };
        let Call { function, input, wrapped } = call;
        let errand = self.targets.errand(Through::Worker, &function, self.now_us);
        let log = usize::from(open.log);
        let run = match open.machine.key.mode {
            Mode::Standard => 0,
            // Cut as the token says.
            Mode::Express | Mode::SyncExpress => self.logs[log].generation as u32,
        };
        let task = self.tasks.schedule(Task {
            execution: address,
            id: open.id,
            trace: open.onwards(effect).map(Box::new),
            run,
            effect,
            function,
            input,
            wrapped,
            calls_back,
            pool,
            log: log as u16,
            stand: Stand::Held,
            errand,
        });
        if let Some(Waiting::Task(before)) = open.waiting_for.insert(effect, Waiting::Task(task)) {
            self.tasks.cancel(before);
        }
        match self.logs[log].page_of_cause(open) {
            Some(page) => page.held.push(task),
            None => self.tasks.release(task),
        }
    }

    /// The execution has ended; its record goes into the block under construction.
    fn finish(&mut self, address: Address, outcome: Outcome) {
        let waiting = self.open.get_mut(address).map(|open| open.waiting_for.take_all());
        waiting.into_iter().flatten().for_each(|waiting| self.abandon(address, waiting));
        self.release_effects(address);
        let stop_time_ms = self.now_us / 1_000;
        let Some(open) = self.open.get_mut(address) else { return };
        open.ended = Some(Box::new(Ended { outcome, stop_time_ms, written: false }));
        if open.opened {
            self.logs[usize::from(open.log)].page.ended.push(address);
        }
    }

    /// Gives back whatever an execution still waits for.
    pub(super) fn release_effects(&mut self, address: Address) {
        let Some(open) = self.open.get_mut(address) else { return };
        while self.mail.pop(&mut open.mailbox).is_some() {}
        for waiting in open.waiting_for.take_all() {
            self.give_up(waiting);
        }
    }
}
