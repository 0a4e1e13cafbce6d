//! Dispatchers: they make batches, send them to whom they take for the owner, and send again what was not answered.
//!
//! Invariants: a batch keeps its id and its content for ever; an entry is settled by one final answer, and is answered so
//! again whenever its batch is sent again, until batch ids are forgotten. What may fail: an answer that no dispatcher should
//! get, which is a violation.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ids::{BatchId, ExecutionId, MachineName, PartitionId, partition_of_name};
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use serde_json::json;

use crate::audit::Violation;
use crate::mutation::Mutation;
use crate::options::Options;
use crate::process::{EPOCH_US, Message};
use crate::rng::Rng;
use crate::world::{Event, World};

/// An input that is no JSON.
const INVALID: &[u8] = b"{";
/// Names that callers choose among.
const NAMES: u64 = 12;
/// Batches that a dispatcher remembers, to send them again.
const DONE_MAX: usize = 64;
/// How often a batch is sent again that was answered in full, at most.
const AGAIN_MAX: u64 = 3;
/// How long batch ids are remembered.
const HORIZON_US: u64 = executor::limits::BATCH_HORIZON.as_micros() as u64;

/// A final answer to an entry of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    Invalid,
    /// Another one has the name: it has ended, or runs with the same input.
    Taken,
    /// Nobody knows any more.
    Expired,
}

/// A batch and its answers.
#[derive(Debug)]
struct Sent {
    batch: Arc<v1::StartBatch>,
    created_us: u64,
    sent_us: u64,
    settled: BTreeMap<u32, Answer>,
}

/// A dispatcher.
#[derive(Debug)]
pub struct Dispatcher {
    incarnation: u32,
    /// How far its clock is ahead of what it shows at least.
    skew_us: u64,
    sequence: u64,
    left: u64,
    cut_off_from_us: u64,
    pending: BTreeMap<BatchId, Sent>,
    /// Those that were answered in full.
    done: BTreeMap<BatchId, Sent>,
    /// The last owner that it has sent something to, for each group.
    former: BTreeMap<usize, u32>,
}

impl Dispatcher {
    /// A dispatcher that has made nothing yet.
    #[must_use]
    pub fn new(number: usize, options: &Options, rng: &mut Rng) -> Self {
        Self {
            incarnation: number as u32 + 1,
            skew_us: rng.between(0, 2 * options.skew_us),
            sequence: 0,
            left: options.batches,
            cut_off_from_us: rng.below(20_000_000),
            pending: BTreeMap::new(),
            done: BTreeMap::new(),
            former: BTreeMap::new(),
        }
    }

    /// Whether everything is made and settled.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.pending.is_empty()
    }

    /// What is not settled, for people.
    pub fn waiting(&self) -> impl Iterator<Item = String> + '_ {
        self.pending.iter().map(|(id, pending)| format!("{id:?}: {:?} settled", pending.settled))
    }

    fn is_cut_off(&self, now_us: u64, options: &Options) -> bool {
        (self.cut_off_from_us..self.cut_off_from_us + options.cut_off_us).contains(&now_us)
    }
}

impl World {
    /// A dispatcher makes a batch and sends it.
    pub(crate) fn next_batch(&mut self, number: usize) {
        let partition = self.rng.below(u64::from(self.partition_count())) as u32;
        let Ok(partition) = PartitionId::new(partition) else { return };
        let dispatcher = &mut self.dispatchers[number];
        dispatcher.left -= 1;
        dispatcher.sequence += 1;
        let (left, skew_us) = (dispatcher.left, dispatcher.skew_us);
        let Ok(id) = BatchId::new(partition, dispatcher.incarnation, dispatcher.sequence) else { return };
        let clock_us = EPOCH_US + self.now_us + skew_us - self.options.skew_us;
        let batch = Arc::new(self.draw_batch(id, clock_us / 1_000));
        self.audit.made(id, Arc::clone(&batch), self.now_us);
        let (created_us, sent_us, settled) = (self.now_us, self.now_us, BTreeMap::new());
        let pending = Sent { batch: Arc::clone(&batch), created_us, sent_us, settled };
        self.dispatchers[number].pending.insert(id, pending);
        self.trace.note(self.now_us, "batch", [id.sequence(), u64::from(id.partition.get())]);
        self.trace.say(self.now_us, "  batch", || format!("{id:?} {batch:?}"));
        self.send_batch(number, id, batch, false);
        if left > 0 {
            let pause_us = 1 + self.rng.below(self.options.batch_pause_us);
            self.after(pause_us, Event::NextBatch(number));
        }
    }

    fn draw_batch(&mut self, id: BatchId, start_time_ms: u64) -> v1::StartBatch {
        let count = self.rng.between(1, self.options.batch_max);
        let mut batch = v1::StartBatch { id: Some(id.into()), start_time_ms, ..Default::default() };
        batch.seed = id.sequence();
        let catalogue = self.catalogue.clone();
        for index in 0..count {
            let machine = self.rng.pick(&catalogue.machines);
            let standard = self.rng.permille(self.options.standard) || machine.plan.asks();
            let mode = match standard {
                true => v1::Mode::Standard,
                false if self.rng.permille(self.options.sync) => v1::Mode::SyncExpress,
                false => v1::Mode::Express,
            };
            batch.machines.push(v1::Machine {
                arn: machine.arn.clone(),
                definition_hash: Bytes::copy_from_slice(&machine.hash),
                mode: mode as i32,
                dialect: v1::Dialect::Asl as i32,
                ..Default::default()
            });
            batch.machine_index.push(index as u32);
            let partition = id.partition;
            let named = standard && self.rng.permille(self.options.named);
            let name = named.then(|| self.draw_name(&machine.arn, partition)).flatten();
            let (marker, number) = match &name {
                Some(name) => (format!("p{partition}.{}.{name}", machine.arn), self.rng.below(2)),
                None => {
                    let own = format!("p{partition}.{}.{}.{index}", id.incarnation, id.sequence());
                    (own, self.rng.below(50))
                }
            };
            let input = json!({"id": marker, "v": number}).to_string();
            let invalid = name.is_none() && self.rng.permille(self.options.invalid);
            batch.input.push(if invalid { Bytes::from_static(INVALID) } else { Bytes::from(input) });
            batch.name.push(name.unwrap_or_default());
        }
        batch
    }

    /// A name that lives in this partition.
    fn draw_name(&mut self, arn: &str, partition: PartitionId) -> Option<String> {
        let machine = MachineName::parse(arn).ok()?;
        let name = format!("n{}", self.rng.below(NAMES));
        let home = partition_of_name(machine.execution_segment(), &name, self.partition_count()).ok()?;
        (home == partition).then_some(name)
    }

    /// Sends a batch to whom its dispatcher takes for the owner.
    fn send_batch(&mut self, number: usize, id: BatchId, batch: Arc<v1::StartBatch>, forged: bool) {
        let dispatcher = &self.dispatchers[number];
        if !self.healed && dispatcher.is_cut_off(self.now_us, &self.options) {
            return;
        }
        let (group, owner) = self.owner_of(id.partition);
        let former = dispatcher.former.get(&group).copied();
        let behind = !self.healed && self.rng.permille(200);
        let to = former.filter(|_| behind).unwrap_or(owner);
        self.dispatchers[number].former.insert(group, to);
        self.post_to(to, &Message::Start { dispatcher: number, forged, batch });
    }

    /// Sends again what was not answered.
    pub(crate) fn resend(&mut self, number: usize) {
        let (now_us, after_us) = (self.now_us, self.options.resend_us);
        let due = |pending: &&mut Sent| pending.sent_us + after_us <= now_us;
        let mut again = Vec::new();
        for pending in self.dispatchers[number].pending.values_mut().filter(due) {
            pending.sent_us = now_us;
            again.push(Arc::clone(&pending.batch));
        }
        for batch in again {
            let Some(id) = batch.id.as_ref().and_then(|id| BatchId::try_from(id).ok()) else { continue };
            let changed = self.mutations.has(Mutation::DispatcherChangesABatch);
            let batch = if changed { Arc::new(changed_batch(&batch)) } else { batch };
            self.trace.note(now_us, "resend", [id.sequence(), u64::from(id.partition.get())]);
            self.send_batch(number, id, batch, false);
        }
        if !self.dispatchers[number].is_done() {
            self.after(after_us, Event::Resend(number));
        }
    }

    /// Sends a batch again that was answered in full.
    pub(crate) fn send_again(&mut self, number: usize, id: BatchId) {
        let Some(done) = self.dispatchers[number].done.get(&id) else { return };
        let batch = Arc::clone(&done.batch);
        let changed = self.mutations.has(Mutation::DispatcherChangesABatch);
        let batch = if changed { Arc::new(changed_batch(&batch)) } else { batch };
        self.trace.note(self.now_us, "again", [id.sequence(), u64::from(id.partition.get())]);
        self.send_batch(number, id, batch, false);
    }

    /// A dispatcher is answered.
    pub(crate) fn acknowledged(
        &mut self,
        number: usize,
        forged: bool,
        ack: &v1::StartAck,
    ) -> Result<(), Violation> {
        let id = ack.id.as_ref().and_then(|id| BatchId::try_from(id).ok());
        let Some(id) = id.filter(|_| !forged) else { return Ok(()) };
        self.trace.say(self.now_us, "  answer", || format!("{id:?} {ack:?}"));
        let Dispatcher { pending, done, .. } = &self.dispatchers[number];
        let Some(sent) = pending.get(&id).or_else(|| done.get(&id)) else { return Ok(()) };
        let is_done = done.contains_key(&id);
        let mut answers = Vec::new();
        for index in ack.from..ack.to.min(sent.batch.input.len() as u32) {
            let Some(answer) = self.answer((id, index), sent, ack)? else { continue };
            let before = sent.settled.get(&index).copied();
            self.is_the_same((id, index), before, answer)?;
            answers.push((index, answer));
        }
        if is_done {
            self.report.answered_again += answers.len() as u64;
            return Ok(());
        }
        let Some(pending) = self.dispatchers[number].pending.get_mut(&id) else { return Ok(()) };
        pending.settled.extend(answers);
        if pending.settled.len() == pending.batch.input.len()
            && let Some(sent) = self.dispatchers[number].pending.remove(&id)
        {
            self.settled(number, id, sent);
        }
        Ok(())
    }

    /// What an answer says of an entry, if that is final.
    fn answer(
        &self,
        (id, index): (BatchId, u32),
        sent: &Sent,
        ack: &v1::StartAck,
    ) -> Result<Option<Answer>, Violation> {
        let (batch, age_us) = (&sent.batch, self.now_us - sent.created_us);
        let invalid = batch.input[index as usize] == INVALID;
        let named = batch.name.get(index as usize).is_some_and(|name| !name.is_empty());
        let Some(refusal) = &ack.refusal else {
            if invalid {
                return Err(format!("{id:?}[{index}] was accepted with an input that is no JSON"));
            }
            return Ok(Some(if ack.running.is_some() { Answer::Taken } else { Answer::Accepted }));
        };
        let lost = self.audit.losses.touch(id.execution(index as u8));
        let skew_us = self.options.skew_us.max(20_000_000) * 2;
        match refusal.reason() {
            Reason::Overloaded | Reason::NotOwner | Reason::Draining | Reason::StoreUnavailable => Ok(None),
            Reason::Invalid if invalid => Ok(Some(Answer::Invalid)),
            Reason::Conflict if named && refusal.code == "ExecutionAlreadyExists" => Ok(Some(Answer::Taken)),
            Reason::Expired if lost || age_us + skew_us >= HORIZON_US => Ok(Some(Answer::Expired)),
            _ => Err(format!("{id:?}[{index}], {age_us} us old, was refused: {refusal:?}")),
        }
    }

    /// Whoever sends a batch again is answered as before, unless nobody knows of it any more.
    fn is_the_same(
        &self,
        (id, index): (BatchId, u32),
        before: Option<Answer>,
        answer: Answer,
    ) -> Result<(), Violation> {
        let Some(before) = before.filter(|before| *before != answer) else { return Ok(()) };
        let unknown = [before, answer].contains(&Answer::Expired);
        // What was lost, and what was refused for something that was lost, may be started.
        if unknown || !self.audit.losses.is_found(id.execution(index as u8)) {
            return Ok(());
        }
        Err(format!("{id:?}[{index}] was answered with {before:?} and, sent again, with {answer:?}"))
    }

    /// Everything of a batch is answered: somebody may stop it, ask for it, or use its id again.
    fn settled(&mut self, number: usize, id: BatchId, sent: Sent) {
        let batch = Arc::clone(&sent.batch);
        for index in 0..batch.input.len() {
            let execution: ExecutionId = id.execution(index as u8);
            if !self.audit.acknowledged.contains(&execution) {
                continue;
            }
            let owner = self.owner_of(id.partition).1;
            if self.rng.permille(self.options.stop) {
                self.audit.stopping.insert(execution);
                self.post_to(owner, &Message::Stop(execution));
            }
            if self.rng.permille(self.options.ask) {
                self.post_to(owner, &Message::Describe(execution));
                self.post_to(owner, &Message::List(batch.machines[index].arn.as_str().into()));
            }
        }
        let accepted = self.audit.acknowledged.contains(&id.execution(0));
        if accepted && self.rng.permille(self.options.forged) {
            let forged = Arc::new(changed_batch(&batch));
            self.send_batch(number, id, forged, true);
        }
        if self.rng.permille(self.options.again) {
            for _ in 0..self.rng.between(1, AGAIN_MAX) {
                let at_us = sent.created_us + self.rng.below(HORIZON_US);
                self.after(at_us.saturating_sub(self.now_us), Event::SendAgain(number, id));
            }
        }
        let done = &mut self.dispatchers[number].done;
        done.insert(id, sent);
        while done.len() > DONE_MAX {
            done.pop_first();
        }
    }
}

/// The same id with other content.
fn changed_batch(batch: &v1::StartBatch) -> v1::StartBatch {
    let mut changed = batch.clone();
    if let Some(input) = changed.input.first_mut() {
        *input = Bytes::from(json!({"id": "p0.changed", "v": 77}).to_string());
    }
    changed
}
