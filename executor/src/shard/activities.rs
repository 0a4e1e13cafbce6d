//! Tasks of activities: they wait in line until a worker asks for one.
//!
//! A worker asks in two steps. It *waits*, on all shards of all nodes, and is told once there is something in line; nothing is
//! taken by that. Then it *takes* from one of them: the task is journalled as started, and handed out when that is durable. So
//! nobody is given more than it asked for, and what moves with its partition in between is taken where it is then.
//! Invariants: a task is handed out once, and is told to be started before; one whose taker has gone by then stands first in
//! line again, and has begun all the same: its time runs, and the history names who took it first; who is told is only told:
//! if nobody takes a task within [`AGAIN`], the next one is told, whatever became of the first. A line is of one activity and one log, so that
//! a log that hands nothing out holds up no other. Bounded by admission (a task belongs to an open execution) and by the
//! surface (polls). What may fail: nothing; who has gone is not told. A task that was begun and handed to nobody, because its
//! partition left or its node crashed meanwhile, is missed by its heartbeat or time-out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use asl::history::{TaskKind, TaskResource};
use asl::{EffectId, Event, Payload, Str};
use ids::{ExecutionId, TraceContext};
use proto::executor::v1;
use tokio::sync::mpsc;

use super::command::Reply;
use super::core::Shard;
use super::errand::{Errand, Through};
use super::execution::Waiting;
use super::line::Line;
use super::slab::{Address, Slab};
use super::token::TaskToken;

/// How long a task stands in line after somebody was told of it, before the next one is told.
const AGAIN: Duration = Duration::from_millis(250);
/// Polls of one activity, and activities, below which nobody looks for those that have gone.
const SWEPT_FROM: usize = 64;

/// Who waits for a task; hears of one from each shard, once.
pub type Poll = mpsc::Sender<Offer>;

/// Answers a take; nothing where nothing is in line.
pub type Take = Reply<Option<v1::GetActivityTaskResponse>>;

/// There is something in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// On which shard.
    pub shard: u32,
    /// How many tasks.
    pub waiting: u32,
}

/// Whether a task's resource is an activity.
#[must_use]
pub fn is_activity(resource: &str) -> bool {
    TaskResource::parse(resource).kind == TaskKind::Activity
}

/// A task that a worker has taken, or may take.
#[derive(Debug)]
pub struct ActivityTask {
    pub execution: Address,
    pub id: ExecutionId,
    pub effect: EffectId,
    /// The trace that whoever does it goes on with.
    pub trace: Option<Box<TraceContext>>,
    /// Its ARN.
    pub activity: Str,
    pub input: Payload,
    /// The place of its partition's log.
    pub log: u16,
    /// Counts its end.
    pub errand: Errand,
}

/// Where a task stands.
#[derive(Debug)]
enum Stand {
    /// Nowhere: its cause is not durable yet.
    Held,
    /// In line.
    Waiting,
    /// Nowhere: it was taken, which its execution will be told.
    Taken(Take),
    /// Nowhere: that it was taken is journalled, and not durable yet.
    Written(Take),
    /// With a worker.
    Begun,
}

#[derive(Debug)]
struct Entry {
    task: ActivityTask,
    stand: Stand,
}

#[derive(Debug, Default)]
struct Activity {
    /// By the place of their log; none is empty.
    lines: Vec<(u16, Line)>,
    /// Which line is next.
    turn: usize,
    /// Tasks in all lines.
    waiting: usize,
    /// Who waits the longest comes first.
    polls: VecDeque<Poll>,
    /// Polls at which those that have gone are dropped.
    sweep_at: usize,
    /// Tasks that nobody was told of.
    untold: usize,
    told_us: u64,
    /// Whether it is among those with something to tell.
    stirred: bool,
}

impl Activity {
    fn hands_out(&self, hands_out: &impl Fn(u16) -> bool) -> bool {
        self.lines.iter().any(|(log, _)| hands_out(*log))
    }

    fn push(&mut self, log: u16, address: Address, first: bool) {
        let known = self.lines.iter().position(|(of, _)| *of == log);
        let at = known.unwrap_or_else(|| {
            self.lines.push((log, Line::default()));
            self.lines.len() - 1
        });
        let line = &mut self.lines[at].1;
        if first {
            line.push_front(address)
        } else {
            line.push_back(address)
        }
        self.waiting += 1;
    }

    /// Takes the first task of the next line that hands out.
    fn pop(&mut self, entries: &Slab<Entry>, hands_out: &impl Fn(u16) -> bool) -> Option<Address> {
        let lines = self.lines.len();
        let next =
            (0..lines).map(|step| (self.turn + step) % lines).find(|at| hands_out(self.lines[*at].0))?;
        let address = self.lines[next].1.pop_front(entries)?;
        self.turn = next + 1;
        self.waiting -= 1;
        self.lines.retain(|(_, line)| !line.is_empty());
        Some(address)
    }

    /// Somebody in line has left the slab.
    fn left(&mut self, log: u16, entries: &Slab<Entry>) {
        if let Some((_, line)) = self.lines.iter_mut().find(|(of, _)| *of == log) {
            line.left(entries);
        }
        self.waiting -= 1;
        self.lines.retain(|(_, line)| !line.is_empty());
    }

    fn join(&mut self, poll: Poll) {
        if self.polls.len() >= self.sweep_at.max(SWEPT_FROM) {
            self.polls.retain(|poll| !poll.is_closed());
            self.sweep_at = 2 * self.polls.len();
        }
        self.polls.push_back(poll);
    }

    fn offer(&self, shard: u32) -> Offer {
        Offer { shard, waiting: u32::try_from(self.waiting).unwrap_or(u32::MAX) }
    }

    /// Tells so many of those that wait.
    fn tell(&mut self, shard: u32, count: usize) {
        let mut told = 0;
        while told < count
            && let Some(poll) = self.polls.pop_front()
        {
            told += usize::from(poll.try_send(self.offer(shard)).is_ok());
        }
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.polls.iter().all(Poll::is_closed)
    }
}

/// The tasks of activities of a shard, and who waits for them.
#[derive(Debug, Default)]
pub struct Activities {
    /// The shard's number.
    shard: u32,
    entries: Slab<Entry>,
    known: HashMap<Str, Activity, foldhash::fast::RandomState>,
    /// Activities at which those of no use are forgotten.
    sweep_at: usize,
    /// Those with something to tell.
    stirred: Vec<Str>,
    waiting: usize,
}

impl Activities {
    /// Of the shard with this number.
    #[must_use]
    pub fn new(shard: u32) -> Self {
        Self { shard, ..Self::default() }
    }

    /// Tasks in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// A task; it is not in line before [`Activities::release`].
    pub fn schedule(&mut self, task: ActivityTask) -> Address {
        self.entries.insert(Entry { task, stand: Stand::Held })
    }

    /// The task may be taken now, unless it was cancelled meanwhile.
    pub fn release(&mut self, address: Address) {
        if self.entries.get(address).is_some_and(|entry| matches!(entry.stand, Stand::Held)) {
            self.line_up(address, false);
        }
    }

    /// Puts a task in line, before all others where it is to be the `first`.
    fn line_up(&mut self, address: Address, first: bool) {
        let Some(entry) = self.entries.get_mut(address) else { return };
        entry.stand = Stand::Waiting;
        let (name, log) = (entry.task.activity.clone(), entry.task.log);
        self.waiting += 1;
        let activity = self.activity(&name);
        activity.push(log, address, first);
        activity.untold += 1;
        if !std::mem::replace(&mut activity.stirred, true) {
            self.stirred.push(name);
        }
    }

    /// Tasks of an execution that was brought back: those that were begun are with their workers still, and the others stand in
    /// line again.
    pub fn bring_back(&mut self, tasks: Vec<Address>, begun: &HashSet<EffectId>) {
        for address in tasks {
            match self.entries.get_mut(address) {
                Some(entry) if begun.contains(&entry.task.effect) => entry.stand = Stand::Begun,
                _ => self.release(address),
            }
        }
    }

    /// Whether a worker has it.
    #[must_use]
    pub fn has_begun(&self, address: Address) -> bool {
        self.entries.get(address).is_some_and(|entry| matches!(entry.stand, Stand::Begun))
    }

    /// That a task was taken stands in the block under construction.
    pub fn wrote(&mut self, address: Address) {
        let Some(entry) = self.entries.get_mut(address) else { return };
        entry.stand = match std::mem::replace(&mut entry.stand, Stand::Begun) {
            Stand::Taken(take) => Stand::Written(take),
            other => other,
        };
    }

    /// A task that its worker is given once that is durable.
    #[must_use]
    pub fn written(&self, address: Address) -> Option<&ActivityTask> {
        let entry = self.entries.get(address)?;
        matches!(entry.stand, Stand::Written(_)).then_some(&entry.task)
    }

    /// Puts `own` in the place of an input that is the text of `frame`, so that the frame can be freed.
    pub fn detach_input(&mut self, address: Address, frame: &Payload, own: &Payload) {
        if let Some(entry) = self.entries.get_mut(address)
            && entry.task.input.shares_text(frame)
        {
            entry.task.input = own.clone();
        }
    }

    /// Takes a task out: its outcome has come, or is no longer wanted.
    pub fn remove(&mut self, address: Address) -> Option<ActivityTask> {
        let Entry { task, stand } = self.entries.remove(address)?;
        match stand {
            Stand::Waiting => {
                self.waiting -= 1;
                if let Some(activity) = self.known.get_mut(&task.activity) {
                    activity.left(task.log, &self.entries);
                }
            }
            // Who no longer listens needs no answer.
            Stand::Taken(take) | Stand::Written(take) => drop(take.send(Ok(None))),
            Stand::Held | Stand::Begun => {}
        }
        Some(task)
    }

    fn activity(&mut self, name: &Str) -> &mut Activity {
        if self.known.len() >= self.sweep_at.max(SWEPT_FROM) && !self.known.contains_key(name) {
            self.known.retain(|_, activity| activity.stirred || !activity.is_idle());
            self.sweep_at = 2 * self.known.len();
        }
        self.known.entry(name.clone()).or_default()
    }

    /// Somebody waits: it is told now if there is something, else in its turn.
    pub fn wait(&mut self, name: &Str, poll: Poll, hands_out: impl Fn(u16) -> bool) {
        let shard = self.shard;
        let activity = self.activity(name);
        if activity.hands_out(&hands_out) {
            // Whose poll is full or gone is not waiting.
            let _ = poll.try_send(activity.offer(shard));
            return;
        }
        activity.join(poll);
        if activity.waiting > 0 && !std::mem::replace(&mut activity.stirred, true) {
            self.stirred.push(name.clone());
        }
    }

    /// Tells those that wait of what is in line; gives when to do so again.
    pub fn tell(&mut self, now_us: u64, hands_out: impl Fn(u16) -> bool) -> Option<u64> {
        let (shard, known, mut again) = (self.shard, &mut self.known, None::<u64>);
        let again_us = AGAIN.as_micros() as u64;
        self.stirred.retain(|name| {
            let Some(activity) = known.get_mut(name) else { return false };
            if activity.untold > 0 || activity.told_us + again_us <= now_us {
                if activity.hands_out(&hands_out) {
                    activity.tell(shard, activity.untold.max(1));
                    activity.untold = 0;
                }
                activity.told_us = now_us;
            }
            activity.stirred = activity.waiting > 0 && !activity.polls.is_empty();
            if activity.stirred {
                let next = activity.told_us + again_us;
                again = Some(again.map_or(next, |known| known.min(next)));
            } else {
                activity.untold = 0;
            }
            activity.stirred
        });
        again
    }

    /// Takes the first task in line out of it, for this answer.
    fn take(
        &mut self,
        name: &str,
        take: Take,
        hands_out: impl Fn(u16) -> bool,
    ) -> Option<(Address, EffectId)> {
        let next = self.known.get_mut(name).and_then(|activity| activity.pop(&self.entries, &hands_out));
        let Some(entry) = next.and_then(|address| self.entries.get_mut(address)) else {
            // Who no longer listens needs no answer.
            let _ = take.send(Ok(None));
            return None;
        };
        self.waiting -= 1;
        entry.stand = Stand::Taken(take);
        Some((entry.task.execution, entry.task.effect))
    }

    /// The start of a task is durable: who has taken it, if it was not cancelled meanwhile.
    fn begin(&mut self, address: Address) -> Option<(Take, &ActivityTask)> {
        let entry = self.entries.get_mut(address)?;
        match std::mem::replace(&mut entry.stand, Stand::Begun) {
            Stand::Taken(take) | Stand::Written(take) => Some((take, &entry.task)),
            Stand::Held | Stand::Waiting | Stand::Begun => None,
        }
    }
}

impl Shard {
    /// A task of an activity, which STANDARD executions alone have: it stands in line once its cause is durable.
    pub(super) fn schedule_activity(
        &mut self,
        address: Address,
        effect: EffectId,
        activity: Str,
        input: Payload,
    ) {
        let Some(open) = self.open.get_mut(address) else { return };
        let (id, log, trace) = (open.id, open.log, open.onwards(effect).map(Box::new));
        let errand = self.targets.errand(Through::Activity, &activity, self.now_us);
        let task = ActivityTask { execution: address, id, effect, trace, activity, input, log, errand };
        let task = self.activities.schedule(task);
        open.waiting_for.insert(effect, Waiting::Activity(task));
        self.logs[usize::from(log)].page.activities.push(task);
    }

    /// The outcome of a task has come, if it is one of an activity.
    pub(super) fn activity_ended(&mut self, address: Address, effect: EffectId, done: bool) {
        let task = self.open.get(address).and_then(|open| open.waiting_for.activity(effect));
        if let Some(entry) = task.and_then(|task| self.activities.entries.get_mut(task)) {
            entry.task.errand.end(done, self.now_us);
        }
    }

    pub(super) fn await_activity(&mut self, activity: &Str, poll: Poll) {
        let (logs, now_us) = (&self.logs, self.now_us);
        let hands_out = |log| logs.get(usize::from(log)).is_some_and(|log| log.hands_out(now_us));
        self.activities.wait(activity, poll, hands_out);
    }

    /// Takes the first task in line; it is answered when the start is durable.
    pub(super) fn take_activity(&mut self, activity: &str, worker: Str, take: Take) {
        // Who has gone takes nothing.
        if take.is_closed() {
            return;
        }
        let (logs, now_us) = (&self.logs, self.now_us);
        let hands_out = |log| logs.get(usize::from(log)).is_some_and(|log| log.hands_out(now_us));
        if let Some((execution, id)) = self.activities.take(activity, take, hands_out) {
            self.deliver(execution, Event::TaskStarted { id, worker });
        }
    }

    /// The start of a task is durable: it is the worker's.
    pub(super) fn hand_out(&mut self, address: Address) {
        // Whoever has reached the store has the secret.
        let Some(secret) = self.secret.get() else { return };
        let Some((take, task)) = self.activities.begin(address) else { return };
        let open = self.open.get(task.execution);
        let stays = open.is_some_and(|open| open.waiting_for.activity(task.effect) == Some(address));
        let task_token = TaskToken::of_callback(task.id, task.effect).seal_text(secret).to_string();
        let input = task.input.bytes().clone();
        let trace = task.trace.as_deref().map(v1::TraceContext::from);
        let given = take.send(Ok(Some(v1::GetActivityTaskResponse { task_token, input, trace }))).is_ok();
        self.metrics.tasks_scheduled.add(u64::from(given));
        if !stays {
            // Its partition leaves: the outcome is for the next owner.
            self.activities.remove(address);
        } else if !given {
            self.activities.line_up(address, true);
        }
    }

    /// Tells those that wait for tasks that there are some.
    pub(super) fn tell_polls(&mut self) {
        let (logs, now_us) = (&self.logs, self.now_us);
        let hands_out = |log| logs.get(usize::from(log)).is_some_and(|log| log.hands_out(now_us));
        if let Some(again_us) = self.activities.tell(now_us, hands_out) {
            self.alarm_at(again_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(u16) -> bool = |_| true;

    fn waits(activities: &mut Activities, name: &str) -> mpsc::Receiver<Offer> {
        let (poll, offers) = mpsc::channel(1);
        activities.wait(&name.into(), poll, ALL);
        offers
    }

    fn task(log: u16) -> ActivityTask {
        let batch = ids::BatchId::new(ids::PartitionId::new(0).expect("in range"), 1, 1);
        let (id, input) = (batch.expect("in range").execution(0), Payload::empty_object());
        let (execution, effect, activity) = (Address::default(), EffectId(8), "a".into());
        let errand = Errand::default();
        ActivityTask { execution, id, effect, trace: None, activity, input, log, errand }
    }

    #[test]
    fn polls_that_have_gone_take_no_room_and_those_that_wait_keep_their_place() {
        let mut activities = Activities::new(3);
        let mut first = waits(&mut activities, "a");
        for _ in 0..10_000 {
            drop(waits(&mut activities, "a"));
        }
        assert!(activities.known["a"].polls.len() <= SWEPT_FROM + 1);
        for number in 0..10_000 {
            drop(waits(&mut activities, &number.to_string()));
        }
        assert!(activities.known.len() <= SWEPT_FROM + 1);
        let task = activities.schedule(task(0));
        activities.release(task);
        activities.tell(1, ALL);
        assert_eq!(first.try_recv(), Ok(Offer { shard: 3, waiting: 1 }));
        assert!(activities.remove(task).is_some());
        assert_eq!((activities.waiting(), activities.known["a"].waiting), (0, 0));
    }

    #[test]
    fn a_log_that_hands_nothing_out_holds_up_no_other() {
        let mut activities = Activities::new(0);
        for log in [0, 1, 0, 1] {
            let task = activities.schedule(task(log));
            activities.release(task);
        }
        let mut take = |of: fn(u16) -> bool| {
            let (take, _answer) = tokio::sync::oneshot::channel();
            activities.take("a", take, of).is_some()
        };
        assert_eq!([take(|log| log == 1), take(|log| log == 1), take(|log| log == 1)], [true, true, false]);
        assert_eq!([take(ALL), take(ALL), take(ALL)], [true, true, false]);
    }
}
