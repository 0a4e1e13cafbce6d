//! A batch of starts, from its frame to the block under construction.
//!
//! The order is the order of cost: shape, resend, room, definitions, and only then the inputs. Invariants: permits are
//! taken before an input is looked at; a refused input leaves its neighbours alone; an execution that ends in its first
//! step never enters the slab, and its payload is copied once, from the frame into the block. What may fail: everything
//! a dispatcher can get wrong, as a [`v1::StartRefusal`].

use std::rc::Rc;
use std::sync::Arc;

use asl::{Effect, Family, Outcome, Payload, Program};
use ids::{BatchId, ExecutionId, PartitionId, Status};
use journal::block::{OpenedView, seed_for};
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::answer::{refusal, wire_outcome};
use super::core::{Landed, Shard};
use super::dedupe::{Content, Seen};
use super::exception::{ExceptRange, Exception, accepted, except, running};
use super::execution::{OpenExecution, WaitingFor};
use super::flush::{payload_of, status_of};
use super::log::{End, LogState, StartedBatch};
use super::machine::{Beginning, Machine, dialect_of, timestamp_of_ms};
use super::mailbox::Mailbox;
use super::names::Holder;
use super::trace::Trace;
use super::{turns, validate};
use crate::admission::Permit;
use crate::definitions::LoadError;
use crate::error::Error;
use crate::limits;

/// A batch whose shape is right and which is new.
struct Batch<'a> {
    wire: &'a v1::StartBatch,
    id: BatchId,
    log: usize,
    machines: SmallVec<[(Rc<Machine>, u32); 1]>,
    permit: Permit,
    taken: Taken,
    exceptions: Vec<ExceptRange>,
}

/// Which starts of a batch ask for a name that the store gives to an execution.
pub(super) type Taken = Vec<(usize, ExecutionId)>;

type Acks = mpsc::Sender<v1::StartAck>;

impl Shard {
    /// Starts a batch, or refuses it.
    pub(super) fn start(&mut self, batch: v1::StartBatch, acks: &Acks) {
        self.start_checked(batch, acks, None);
    }

    /// As [`Shard::start`], once it is known which of its names are taken.
    pub(super) fn start_checked(&mut self, batch: v1::StartBatch, acks: &Acks, taken: Option<Taken>) {
        let all = (0, batch.input.len().max(1) as u32);
        if let Err(refusal) = self.try_start(batch, acks, taken) {
            let (id, refusal) = *refusal;
            self.refuse(acks, id, all, refusal);
        }
    }

    fn try_start(
        &mut self,
        wire: v1::StartBatch,
        acks: &Acks,
        taken: Option<Taken>,
    ) -> Result<(), Box<(Option<v1::BatchId>, v1::StartRefusal)>> {
        let wire_id = wire.id;
        let refused = |refusal| Box::new((wire_id, refusal));
        let id = validate::id(&wire).map_err(refused)?;
        let Some(log) = self.log_at(id.partition) else {
            return Err(refused(not_owner(id.partition)));
        };
        validate::shape(&wire, self.now_us / 1_000).map_err(refused)?;
        let hash = validate::content_hash(&wire, &self.hasher);
        if self.logs[log].state != LogState::Recovering
            && self.is_resend(log, id, hash, &wire, acks).map_err(refused)?
        {
            return Ok(());
        }
        self.may_start(log).map_err(|refusal| refused(self.throttled(&wire, refusal)))?;
        let bytes: usize = wire.input.iter().map(bytes::Bytes::len).sum();
        let permit = self.admission.take(wire.input.len() as u32, bytes as u64).map_err(|full| {
            let message = format!(
                "{} are at this shard's limit of {}: send the batch again later",
                full.what, full.limit
            );
            let overloaded = refusal(Reason::Overloaded, "Overloaded", message);
            let overloaded = v1::StartRefusal { retry_after_ms: full.retry_after_ms, ..overloaded };
            refused(self.throttled(&wire, overloaded))
        })?;
        match self.resolve(log, &wire).map_err(refused)? {
            Resolved::Here(machines) => {
                let named =
                    !wire.name.is_empty() && machines.iter().any(|(machine, _)| machine.is_standard());
                if named && taken.is_none() {
                    self.may_ask_names(log).map_err(|refusal| refused(self.throttled(&wire, refusal)))?;
                    self.check_names(log, &machines, wire, acks);
                    return Ok(());
                }
                let (taken, exceptions) = (taken.unwrap_or_default(), Vec::new());
                let batch = Batch { wire: &wire, id, log, machines, permit, taken, exceptions };
                self.start_new(batch, hash, acks);
            }
            Resolved::Missing(hashes) => {
                self.may_ask_store().map_err(|refusal| refused(self.throttled(&wire, refusal)))?;
                self.load(wire, acks, hashes);
            }
        }
        Ok(())
    }

    /// Counts the starts of a batch that is refused for want of room, by machine.
    fn throttled(&self, wire: &v1::StartBatch, refusal: v1::StartRefusal) -> v1::StartRefusal {
        if refusal.reason() == Reason::Overloaded {
            let mut starts: SmallVec<[u64; 4]> = wire.machines.iter().map(|_| 0).collect();
            for at in 0..wire.input.len() {
                let machine = wire.machine_index.get(at).map_or(0, |index| *index as usize);
                starts.get_mut(machine).into_iter().for_each(|starts| *starts += 1);
            }
            for (machine, starts) in wire.machines.iter().zip(starts) {
                self.metrics.throttle(&machine.arn, starts);
            }
        }
        refusal
    }

    pub(super) fn refuse_exceptions(&self, acks: &Acks, id: BatchId, exceptions: &[ExceptRange]) {
        for (from, to, exception) in exceptions {
            if let Exception::Refused(refusal) = exception {
                self.refuse(acks, Some(id.into()), (*from, *to), refusal.clone());
            }
        }
    }

    /// Whether new work is taken at all.
    fn may_start(&self, log: usize) -> Result<(), v1::StartRefusal> {
        if self.draining.is_some() {
            return Err(refusal(
                Reason::Draining,
                "Draining",
                "this node is draining: send the batch to another".into(),
            ));
        }
        let wait = |refusal| v1::StartRefusal { retry_after_ms: self.admission.retry_after_ms(), ..refusal };
        let unavailable =
            |code, message: &str| wait(refusal(Reason::StoreUnavailable, code, message.to_owned()));
        let log = &self.logs[log];
        match log.state {
            LogState::Serving if log.is_congested() => {
                let message = "the store is slower than the starts: send the batch again later".to_owned();
                Err(wait(refusal(Reason::Overloaded, "FlushQueueFull", message)))
            }
            LogState::Serving if !self.probe.silent => Ok(()),
            LogState::Recovering => Err(unavailable(
                "Recovering",
                "this partition's log is being read: send the batch again later",
            )),
            LogState::Serving | LogState::Down => {
                Err(unavailable("StoreUnavailable", "the store does not confirm: send the batch again later"))
            }
            LogState::Releasing | LogState::Released | LogState::Lost => Err(not_owner(log.partition)),
        }
    }

    /// Whether the store can say which names are taken.
    fn may_ask_names(&self, log: usize) -> Result<(), v1::StartRefusal> {
        if self.logs[log].is_indexed() {
            return self.may_ask_store();
        }
        let message = "names that an earlier owner gave are being written again: send the batch again later";
        let unavailable = refusal(Reason::StoreUnavailable, "Recovering", message.to_owned());
        Err(v1::StartRefusal { retry_after_ms: self.admission.retry_after_ms(), ..unavailable })
    }

    /// Whether one more batch may wait for definitions, names or its block from the store.
    pub(super) fn may_ask_store(&self) -> Result<(), v1::StartRefusal> {
        if self.loading < limits::LOADING_BATCHES_MAX {
            return Ok(());
        }
        let message = "too many batches wait for the store's answers: send the batch again later".to_owned();
        let overloaded = refusal(Reason::Overloaded, "StoreReadsFull", message);
        Err(v1::StartRefusal { retry_after_ms: self.admission.retry_after_ms(), ..overloaded })
    }

    /// The batch's machines, with their index in the block under construction.
    fn resolve(&mut self, log: usize, wire: &v1::StartBatch) -> Result<Resolved, v1::StartRefusal> {
        let mut machines = SmallVec::new();
        let mut missing = Vec::new();
        for (at, machine) in wire.machines.iter().enumerate() {
            let key = validate::machine(at, machine)?;
            let known = match self.machines.get(&key) {
                Some(known) => known,
                None => match self.definitions.compiled(&key.definition, dialect_of(key.dialect)) {
                    Some(program) => self.machines.add(key, program, &self.metrics).map_err(|error| {
                        refusal(Reason::Invalid, "InvalidArn", format!("`machines[{at}].arn`: {error}"))
                    })?,
                    None => {
                        missing.push((key.definition, dialect_of(key.dialect)));
                        continue;
                    }
                },
            };
            let log = &mut self.logs[log];
            let index = known.index_in(&mut log.builder, log.serial);
            machines.push((known, index));
        }
        Ok(if missing.is_empty() { Resolved::Here(machines) } else { Resolved::Missing(missing) })
    }

    /// Reads definitions from the store; the batch is started again when they are here.
    fn load(&mut self, batch: v1::StartBatch, acks: &Acks, hashes: Vec<(ids::DefinitionHash, asl::Dialect)>) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let (definitions, acks) = (Arc::clone(&self.definitions), acks.clone());
        let batch = Box::new(batch);
        self.loading += 1;
        self.flights.push(Box::pin(async move {
            let result = definitions.load_all(&*store, &hashes).await;
            Landed::Loaded { batch, acks, result }
        }));
    }

    /// The definitions of a batch were read, or are not there. Holding the programs meanwhile keeps them compiled.
    pub(super) fn loaded(
        &mut self,
        batch: v1::StartBatch,
        acks: &Acks,
        result: Result<Vec<Arc<Program>>, LoadError>,
    ) {
        self.loading -= 1;
        let all = (0, batch.input.len() as u32);
        let refusal = match result {
            Ok(_programs) => return self.start(batch, acks),
            Err(LoadError::Missing(hashes)) => {
                let message = "put the missing definitions, then send the batch again".to_owned();
                let missing_definitions =
                    hashes.iter().map(|hash| bytes::Bytes::copy_from_slice(hash)).collect();
                let refusal = refusal(Reason::DefinitionMissing, "StateMachineDoesNotExist", message);
                v1::StartRefusal { missing_definitions, ..refusal }
            }
            Err(LoadError::Store(error)) => {
                let refusal = refusal(Reason::StoreUnavailable, "StoreUnavailable", error.to_string());
                v1::StartRefusal { retry_after_ms: self.admission.retry_after_ms(), ..refusal }
            }
            Err(LoadError::Invalid(message)) => refusal(Reason::Invalid, "InvalidDefinition", message),
        };
        self.refuse(acks, batch.id, all, refusal);
    }

    fn start_new(&mut self, mut batch: Batch<'_>, hash: u64, acks: &Acks) {
        let received_us = self.now_us;
        for index in 0..batch.wire.input.len() {
            self.start_one(&mut batch, index, received_us);
        }
        let Batch { wire, id, log: at, permit, exceptions, .. } = batch;
        self.refuse_exceptions(acks, id, &exceptions);
        let (accepted, running) = (accepted(wire.input.len() as u32, &exceptions), running(&exceptions));
        if accepted.is_empty() && running.is_empty() {
            return;
        }
        let max = self.batches_max();
        let log = &mut self.logs[at];
        let (content, block) = (Content::Hash(hash), log.next_block());
        let seen = Seen { content, block, in_flight: true, exceptions: exceptions.into() };
        log.dedupe.remember(id, wire.start_time_ms, seen, self.now_us / 1_000, max);
        let count: u32 = accepted.iter().map(|(from, to)| to - from).sum();
        if count > 0 {
            log.index.borrow_mut().expect(id, count as u16);
        }
        let acks = SmallVec::from_iter([acks.clone()]);
        self.acknowledge_later(at, StartedBatch { id, acks, accepted, running, received_us, permit });
        if self.logs[at].is_long() {
            self.seal(at);
            self.flush(at);
        }
    }

    fn start_one(&mut self, batch: &mut Batch<'_>, at: usize, received_us: u64) {
        let wire = batch.wire;
        let (machine, in_block) =
            &batch.machines[wire.machine_index.get(at).map_or(0, |index| *index as usize)];
        let input = match validate::input(&wire.input[at], machine.program().dialect) {
            Ok(input) => input,
            Err(message) => {
                let refusal = refusal(Reason::Invalid, "InvalidExecutionInput", message);
                return except(&mut batch.exceptions, at as u32, Exception::Refused(refusal));
            }
        };
        let id = batch.id.execution(at as u8);
        let name = wire.name.get(at).map(String::as_str).filter(|name| !name.is_empty());
        let named = name.filter(|_| machine.is_standard());
        if let Some(exception) = self.exception(batch, at, machine, named) {
            return except(&mut batch.exceptions, at as u32, exception);
        }
        let seed = seed_for(id, wire.seed);
        let mut effects = std::mem::take(&mut self.effects);
        let waits = self.has_to_wait();
        let beginning = Beginning { id, name, seed, start_time_ms: wire.start_time_ms, waits, keeps: false };
        let trace = self.telling.trace(id, wire.trace.get(at), self.now_us);
        let execution = self.begin((batch.log, machine), &beginning, trace.as_deref(), input, &mut effects);
        let page = &mut self.logs[batch.log].page;
        page.tally(machine, None, received_us);
        if let ([Effect::Finished(outcome)], ..limits::FLUSH_BYTES_MAX) = (effects.as_slice(), page.bytes) {
            let opened = OpenedView {
                id,
                machine: *in_block,
                start_time_ms: wire.start_time_ms,
                seed,
                name,
                input: &wire.input[at],
                trace: trace.as_deref().and_then(Trace::stored),
            };
            self.write_one_shot(batch.log, machine, opened, named.is_some(), received_us, outcome);
            effects.clear();
        } else {
            let open = OpenExecution {
                machine: Rc::clone(machine),
                id,
                execution,
                mailbox: Mailbox::default(),
                runnable: false,
                opened: false,
                log: batch.log as u16,
                journalled: 0,
                reads_kept: 0,
                start_time_ms: wire.start_time_ms,
                received_us,
                seed,
                name: name.map(Into::into),
                trace,
                input: wire.input[at].clone(),
                blocks: SmallVec::new(),
                waiting_for: WaitingFor::default(),
                ended: None,
                permit: batch.permit.split(1, wire.input[at].len() as u64),
                stoppers: None,
            };
            let bytes = open.record(*in_block).payload_bytes();
            let address = self.admit(open, &wire.input[at]);
            self.logs[batch.log].page.begin(address, bytes);
            if waits && machine.is_standard() {
                self.journal(address, &turns::mark());
            }
            self.apply(address, &mut effects);
        }
        self.effects = effects;
    }

    /// The first step of an execution.
    fn begin(
        &mut self,
        (log, machine): (usize, &Machine),
        beginning: &Beginning<'_>,
        trace: Option<&Trace>,
        input: Payload,
        effects: &mut Vec<Effect>,
    ) -> Family {
        self.crumb.set(beginning.id);
        let since = timestamp_of_ms(beginning.start_time_ms);
        let run = trace.and_then(|trace| trace.run(beginning.id, 0, since));
        let observer = &mut self.telling.live(machine, trace, run);
        let execution = machine.begin(beginning, input, effects, observer);
        self.crumb.clear();
        self.turns.worked(execution.worked());
        self.metrics.steps.add(1);
        let told = self.telling.take(machine, (beginning.id, beginning.name), 0, trace);
        self.tell(log, told);
        execution
    }

    /// Why an entry is not started whose input is good: its name is taken, or it has killed nodes.
    fn exception(
        &self,
        batch: &Batch<'_>,
        at: usize,
        machine: &Machine,
        named: Option<&str>,
    ) -> Option<Exception> {
        let id = batch.id.execution(at as u8);
        if !self.suspects.is_empty()
            && let Some(refusal) = self.poisonous(id)
        {
            return Some(Exception::Refused(refusal));
        }
        let (name, segment) = (named?, machine.name.execution_segment());
        let holder = self.holder(&batch.taken, at, segment, name).filter(|holder| holder.id != id);
        holder.map(|holder| self.name_taken(Some(holder), &machine.name, name, &batch.wire.input[at]))
    }

    /// Who has a name. Whoever only the store knows has ended: what runs is in memory.
    fn holder(&self, taken: &[(usize, ExecutionId)], at: usize, segment: &str, name: &str) -> Option<Holder> {
        let stored = taken.iter().find(|(asked, _)| *asked == at);
        self.names.holder(segment, name).or(stored.map(|(_, holder)| Holder::ended(*holder)))
    }

    /// An execution that ended in its first step: one record, opened and closed.
    fn write_one_shot(
        &mut self,
        at: usize,
        machine: &Rc<Machine>,
        opened: OpenedView<'_>,
        named: bool,
        received_us: u64,
        outcome: &Outcome,
    ) {
        let OpenedView { id, name, .. } = opened;
        let (status, now_ms) = (status_of(outcome), self.now_us / 1_000);
        let log = &mut self.logs[at];
        match outcome {
            Outcome::Succeeded(output) => {
                log.page.bytes += output.bytes().len().saturating_sub(opened.input.len());
                log.builder.opened_and_closed(opened, status, now_ms, output.bytes())
            }
            other => log.builder.opened_and_closed(opened, status, now_ms, &payload_of(other)),
        }
        log.page.tally(machine, Some(End::from(outcome)), received_us);
        log.derived.extend(machine.name_entry(name, id, self.config.retention));
        if let Some(name) = name.filter(|_| named) {
            let segment = machine.name.execution_segment();
            self.names.ended(segment, name, id, now_ms);
        }
        self.ended_at_once(at, id, status, outcome);
    }

    fn ended_at_once(&mut self, log: usize, id: ExecutionId, status: Status, outcome: &Outcome) {
        if self.watchers.is_empty() {
            return;
        }
        let page = &mut self.logs[log].page;
        page.completed(id, status);
        if self.outcomes_watched {
            page.outcomes.push(wire_outcome(id, outcome));
        }
    }
}

/// The code of a refusal that leaves open whether the batch is durable.
pub(crate) const OWNER_CHANGED: &str = "OwnerChanged";

enum Resolved {
    Here(SmallVec<[(Rc<Machine>, u32); 1]>),
    Missing(Vec<(ids::DefinitionHash, asl::Dialect)>),
}

pub(super) fn not_owner(partition: PartitionId) -> v1::StartRefusal {
    let message = Error::NotOwner { partition: partition.get() }.to_string();
    refusal(Reason::NotOwner, "NotOwner", message)
}

/// As [`not_owner`], for what may be durable all the same.
pub(super) fn owner_changed(partition: PartitionId) -> v1::StartRefusal {
    let message = format!(
        "this shard has lost partition {partition} before the store has confirmed the batch: send it again as it is to \
         the partition's owner, which knows whether it is durable"
    );
    refusal(Reason::NotOwner, OWNER_CHANGED, message)
}

pub(super) fn conflict() -> v1::StartRefusal {
    let message =
        "this batch id was used for other content: raise the sequence, or register the dispatcher again";
    refusal(Reason::Conflict, "BatchIdInUse", message.to_owned())
}

pub(super) fn expired(start_time_ms: u64) -> v1::StartRefusal {
    let message = format!(
        "the batch's start_time_ms {start_time_ms} lies further back than batch ids are remembered \
         (at most {:?}): look its executions up before starting them under a new id",
        limits::BATCH_HORIZON
    );
    refusal(Reason::Expired, "BatchExpired", message)
}
