//! Redrive: a STANDARD execution that has ended without success is opened again and goes on from where it failed.
//!
//! It is replayed to its end beside the shard's other work, and then told to go on (see `asl`). What it was told is written
//! again, with the redrive, behind a new opened record and in the same block, so that a crash leaves it redriven or ended
//! and nothing in between, and the blocks that had it may go. From there on it is an open execution like any other, and
//! comes to a new end. An end that its node gave it (`GiveUp`) stands in no journal; it is written into this one.
//!
//! Invariants: one redrive of an execution at a time; whoever asked is answered when it is durable; children of distributed
//! Maps are part of their parent and are redriven with it alone. What may fail: the store, and whatever makes an execution
//! not redrivable, with the reason.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use asl::history::NoObserver;
use asl::{Effect, Event, Family, Payload, Program};
use bytes::Bytes;
use ids::{ExecutionId, ExecutionName, PartitionId, Status};
use journal::block::{JournalledKind, JournalledView, MachineRef};
use journal::index::{self, Execution, IndexWriter, Located, Pointer, get_pointers};
use journal::{Journalled, Opened, Store};

use super::beyond::only_archived;
use super::command::Reply;
use super::core::{Landed, Shard};
use super::execution::{OpenExecution, WaitingFor};
use super::fetch::{is_whole, journal_in};
use super::flush::RECORD_BYTES;
use super::log::{LogState, Page};
use super::lookup::{Place, fetch, moved, spelt, unknown};
use super::machine::{self, Beginning, Machine, dialect_of};
use super::mailbox::Mailbox;
use super::names;
use super::recover::event_of;
use super::redrivable::{name_given, not_redrivable, obstacle, redrives};
use super::telling::Tale;
use super::trace::Trace;
use super::transfers::Desk;
use super::turns;
use crate::definitions::Definitions;
use crate::error::Error;
use crate::limits;
use crate::secret::ClusterSecret;

/// An ended execution that was replayed, for whoever asked.
pub(super) struct Revival {
    /// Once its id is known.
    claim: Option<Claim>,
    reply: Reply<u64>,
    result: Result<Read, Error>,
}

/// What was read of an execution that is to be redriven.
enum Read {
    /// It can go on.
    Revived(Box<Revived>),
    /// It went on at this time (Unix milliseconds), when the same was asked for before.
    Already(u64),
}

/// One redrive has an execution: no other one begins, and what is tracked of its batch stays until this is dropped.
struct Claim {
    id: ExecutionId,
    index: Rc<RefCell<IndexWriter>>,
    reviving: Rc<RefCell<HashSet<ExecutionId>>>,
}

impl Claim {
    fn new(
        id: ExecutionId,
        index: &Rc<RefCell<IndexWriter>>,
        reviving: &Rc<RefCell<HashSet<ExecutionId>>>,
    ) -> Option<Self> {
        if !reviving.borrow_mut().insert(id) {
            return None;
        }
        index.borrow_mut().pin(id.batch);
        Some(Self { id, index: Rc::clone(index), reviving: Rc::clone(reviving) })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.index.borrow_mut().unpin(self.id.batch);
        self.reviving.borrow_mut().remove(&self.id);
    }
}

struct Revived {
    /// Names the redrive.
    token: Bytes,
    /// Where its records were while they were read, as its owner knows.
    located: Option<Located>,
    key: MachineRef,
    program: Arc<Program>,
    opened: Opened,
    /// What it was told, its end included.
    journal: Vec<Journalled>,
    execution: Family,
    /// Of its batch.
    pointer: Option<Pointer>,
}

/// What a replay reads.
struct Sources {
    definitions: Arc<Definitions>,
    desk: Desk,
    secret: Arc<ClusterSecret>,
    now_ms: u64,
}

/// Reads an ended execution and replays it to its end.
async fn revive(
    store: &dyn Store,
    sources: &Sources,
    id: ExecutionId,
    place: Place,
    token: Bytes,
) -> Result<Read, Error> {
    let (name, partition, located) = (ExecutionName::Id(id), id.batch.partition, place.located);
    let refused = |why: &str| not_redrivable(&id.to_string(), why);
    let found = fetch(store, &name, Some(place), partition).await?;
    let Execution { machine: key, closed, .. } = &found;
    if token.is_empty()
        && let Some(why) = obstacle(key.mode, closed.as_ref(), 0, sources.now_ms)
    {
        return Err(refused(&why));
    }
    // Of one that runs, only a redrive is looked for: its records stand in the block of its opened record.
    let mut journal = match closed {
        Some(_) => read_journal(store, &found).await?,
        None => found.journalled.clone(),
    };
    let before = |told: &&Journalled| told.kind == JournalledKind::Redriven && told.payload == token;
    if let Some(told) = journal.iter().find(before).filter(|_| !token.is_empty()) {
        return Ok(Read::Already(told.time_ms));
    }
    if let Some(why) = obstacle(key.mode, closed.as_ref(), redrives(&journal).0, sources.now_ms) {
        return Err(refused(&why));
    }
    let wanted = [(key.definition, dialect_of(key.dialect))];
    let program = sources.definitions.load_all(store, &wanted).await.ok().and_then(|mut found| found.pop());
    let program = program.ok_or_else(|| refused("its definition cannot be read: put it again"))?;
    let machine = Machine::alone(key.clone(), Arc::clone(&program), &sources.secret);
    let machine = machine.map_err(|_| refused("its machine's name is neither an ARN nor a QRN"))?;
    let mut execution = replay(&machine, &found.opened, &journal, &sources.desk).await?;
    if !execution.is_finished() {
        give_up(&mut execution, &found, &mut journal, &sources.desk).await?;
    }
    if !execution.is_redrivable() {
        return Err(refused("it ended at a bound of the language, which it would meet again"));
    }
    if execution.history_events() + 1 >= limits::STANDARD_HISTORY_EVENTS_MAX {
        return Err(refused("its history has no room for more events"));
    }
    let pointer = get_pointers(store, partition, &[id.batch]).await?.pop().flatten();
    // Asked last: whoever is given the name from here on is in memory when this one is opened again.
    if let Some(other) = names::other_holder(store, &machine, &found.opened).await? {
        return Err(name_given(id, other));
    }
    let (key, opened) = (key.clone(), found.opened);
    Ok(Read::Revived(Box::new(Revived { token, located, key, program, opened, journal, execution, pointer })))
}

/// Everything that an ended execution was told.
async fn read_journal(store: &dyn Store, found: &Execution) -> Result<Vec<Journalled>, Error> {
    let mut journal = found.journalled.clone();
    let blocks = found.closed.as_ref().map_or(&[][..], |closed| &closed.blocks);
    let lost = || {
        let why = "a part of what it was told is gone, and to go on without it would do work again";
        not_redrivable(&found.opened.id.to_string(), why)
    };
    let mut bytes = 0;
    let take = |told: Option<Vec<Journalled>>| {
        let told = told.ok_or_else(&lost)?;
        bytes += told.iter().map(|told| told.payload.len()).sum::<usize>();
        if bytes > limits::REDRIVE_JOURNAL_BYTES_MAX {
            let max = limits::REDRIVE_JOURNAL_BYTES_MAX;
            let why =
                format!("what it was told takes more than {max} bytes, which is too much to tell it again");
            return Err(not_redrivable(&found.opened.id.to_string(), &why));
        }
        journal.extend(told);
        Ok(())
    };
    journal_in(store, found.opened.id, blocks, take).await?;
    journal.sort_by_key(|told| told.sequence);
    journal.dedup_by_key(|told| told.sequence);
    if is_whole(&journal) { Ok(journal) } else { Err(lost()) }
}

async fn replay(
    machine: &Machine,
    opened: &Opened,
    journal: &[Journalled],
    desk: &Desk,
) -> Result<Family, Error> {
    let Opened { id, start_time_ms, seed, name, input, .. } = opened;
    let (name, seed, start_time_ms) = (name.as_deref(), *seed, *start_time_ms);
    let (waits, journal) = turns::beginning(journal);
    let beginning = Beginning { id: *id, name, seed, start_time_ms, waits, keeps: true };
    let (mut effects, mut turn) = (Vec::new(), std::time::Instant::now());
    let input = Payload::from_checked(input.clone());
    let mut execution = machine.begin(&beginning, input, &mut effects, &mut NoObserver);
    for told in journal {
        if effects.contains(&Effect::Yield) {
            turns::rest(&mut turn).await;
        }
        effects.clear();
        let event = event_of(told, desk).await;
        let event = event.map_err(|error| not_redrivable(&id.to_string(), &error.to_string()))?;
        let Some(event) = event else { continue };
        machine::handle_unobserved(
            &mut execution,
            event,
            machine::timestamp_of_ms(told.time_ms),
            &mut effects,
        );
    }
    Ok(execution)
}

/// The end that its node gave it, which its closed record alone says until now.
async fn give_up(
    execution: &mut Family,
    found: &Execution,
    journal: &mut Vec<Journalled>,
    desk: &Desk,
) -> Result<(), Error> {
    let id = found.opened.id;
    let Some(closed) = found.closed.as_ref().filter(|closed| closed.status == Status::Failed) else {
        return Err(not_redrivable(&id.to_string(), "its journal does not lead to its end"));
    };
    let told = Journalled {
        id,
        time_ms: closed.stop_time_ms,
        sequence: next_sequence(journal),
        effect: 0,
        kind: JournalledKind::GaveUp,
        payload: closed.payload.clone(),
    };
    let event = event_of(&told, desk).await;
    if let Some(event) = event.map_err(|error| not_redrivable(&id.to_string(), &error.to_string()))? {
        let at = machine::timestamp_of_ms(told.time_ms);
        machine::handle_unobserved(execution, event, at, &mut Vec::new());
    }
    journal.push(told);
    Ok(())
}

fn next_sequence(journal: &[Journalled]) -> u32 {
    journal.last().map_or(0, |told| told.sequence + 1)
}

/// The id of what was asked for.
async fn id_of(
    store: &dyn Store,
    execution: &ExecutionName,
    held: Option<ExecutionId>,
    partition: PartitionId,
) -> Result<ExecutionId, Error> {
    match (execution, held) {
        (ExecutionName::Id(id), _) => Ok(*id),
        (_, Some(id)) => Ok(id),
        (ExecutionName::Named { machine, name }, None) => {
            let found = index::lookup_name(store, partition, machine, name).await?;
            let found = found.ok_or_else(|| unknown(&spelt(execution)))?;
            // Keys of names are hashes: what was found must have the name.
            let place = Place { id: found, located: None };
            fetch(store, execution, Some(place), partition).await.map(|found| found.opened.id)
        }
    }
}

impl Shard {
    pub(super) fn redrive(&mut self, execution: ExecutionName, token: Bytes, reply: Reply<u64>) {
        let log = match self.log_of(&execution).and_then(|log| self.may_redrive(log).map(|()| log)) {
            Ok(log) => log,
            Err(error) => return drop(reply.send(Err(error))),
        };
        // With a token it may run because this very redrive was asked for before.
        if token.is_empty() && self.slot_of(&execution).is_some() {
            let why = "Execution is RUNNING and cannot be redriven";
            return drop(reply.send(Err(not_redrivable(&spelt(&execution), why))));
        }
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let held = self.place_of(log, &execution).map(|place| place.id);
        let (partition, tenure) = (self.logs[log].partition, self.logs[log].tenure);
        let standing = self.standing(log);
        let (index, reviving) = (Rc::clone(&self.logs[log].index), Rc::clone(&self.reviving));
        let (definitions, desk) = (Arc::clone(&self.definitions), self.transfers.desk.clone());
        let secret = Arc::clone(&self.context.secret);
        let sources = Sources { definitions, desk, secret, now_ms: self.now_us / 1_000 };
        let archive = self.archive_view();
        self.questions.under_way += 1;
        self.flights.push(Box::pin(async move {
            let mut claim = None;
            let result = async {
                standing.ask(&*store).await?;
                let id = id_of(&*store, &execution, held, partition).await;
                let id = standing.believed(&*store, id).await?;
                claim = Claim::new(id, &index, &reviving);
                if claim.is_none() && !token.is_empty() {
                    // Perhaps this very one, asked for before: its end tells.
                    return Err(moved(&ExecutionName::Id(id)));
                }
                if claim.is_none() {
                    return Err(not_redrivable(&id.to_string(), "it is being redriven"));
                }
                // Where it is now: only this redrive opens it again from here on.
                let located = index.borrow().find(id);
                let revived = revive(&*store, &sources, id, Place { id, located }, token).await;
                standing.believed(&*store, revived).await
            };
            let result = match result.await {
                Err(error) => Err(only_archived(archive.as_ref(), &execution, partition, error).await),
                read => read,
            };
            Landed::Revived { log, tenure, revival: Box::new(Revival { claim, reply, result }) }
        }));
    }

    /// Whether a redrive can be taken now.
    fn may_redrive(&self, log: usize) -> Result<(), Error> {
        let retry_after = std::time::Duration::from_millis(u64::from(self.admission.retry_after_ms()));
        if self.draining.is_some() {
            return Err(Error::Draining);
        }
        if self.questions.under_way >= limits::QUESTIONS_MAX {
            let limit = limits::QUESTIONS_MAX as u64;
            return Err(Error::Overloaded { what: "look-ups under way", limit, retry_after });
        }
        let log = &self.logs[log];
        match log.state {
            LogState::Serving if !log.is_indexed() => {
                let message = "what an earlier owner may not have written is being written again, and may be older than what a \
                               redrive would write";
                Err(Error::NotDurable { message: message.to_owned(), retry_after })
            }
            LogState::Serving if !self.probe.silent && !log.mending && !log.is_congested() => Ok(()),
            LogState::Releasing | LogState::Released | LogState::Lost => {
                Err(Error::NotOwner { partition: log.partition.get() })
            }
            _ => {
                let message =
                    "this partition takes nothing now: its log is being read, or the store does not confirm";
                Err(Error::NotDurable { message: message.to_owned(), retry_after })
            }
        }
    }

    /// An ended execution was replayed: it goes on now.
    pub(super) fn revived(&mut self, log: usize, tenure: u64, revival: Revival) {
        self.questions.under_way = self.questions.under_way.saturating_sub(1);
        // The claim ends when it is tracked, or will not be.
        let Revival { claim, reply, result } = revival;
        let admitted = match result {
            Ok(Read::Already(at_ms)) => return drop(reply.send(Ok(at_ms))),
            Ok(Read::Revived(revived)) => self.readmit(log, tenure, *revived),
            // It was not found where it ended, for it has been opened again: perhaps by this very redrive, asked for before.
            Err(Error::NotFound { .. }) if let Some(id) = self.open_again(claim.as_ref()) => {
                Err(moved(&ExecutionName::Id(id)))
            }
            Err(error) => Err(error),
        };
        match admitted {
            Ok(at_ms) => {
                self.logs[log].page.redrives.push((reply, at_ms));
                self.seal_if_long(log);
            }
            // Who no longer listens needs no answer.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Whom a redrive has claimed, if that is open.
    fn open_again(&self, claim: Option<&Claim>) -> Option<ExecutionId> {
        claim.map(|claim| claim.id).filter(|id| self.find(*id).is_some())
    }

    fn readmit(&mut self, at: usize, tenure: u64, revived: Revived) -> Result<u64, Error> {
        let Revived { token, located, key, program, opened, mut journal, mut execution, pointer } = revived;
        let (id, now_ms) = (opened.id, self.now_us / 1_000);
        if !self.lasts(at, tenure) {
            return Err(Error::NotOwner { partition: id.batch.partition.get() });
        }
        self.may_redrive(at)?;
        let stays = self.logs[at].index.borrow().find(id) == located;
        if self.find(id).is_some() || self.logs[at].away.contains_key(&id) || !stays {
            // Its batch's pointer was written, a neighbour was redriven, or it has changed itself: another look tells.
            return Err(moved(&ExecutionName::Id(id)));
        }
        let machine = self.machine_of(key, program)?;
        if let Some(other) = self.other_holder(&machine, &opened) {
            return Err(name_given(id, other));
        }
        let permit = self.admission.take(1, opened.input.len() as u64).map_err(|overload| {
            let retry_after = std::time::Duration::from_millis(u64::from(overload.retry_after_ms));
            Error::Overloaded { what: overload.what, limit: overload.limit, retry_after }
        })?;
        let mut effects = std::mem::take(&mut self.effects);
        let trace = self.telling.sampler.recovered(id, opened.trace.as_deref());
        let told = self.go_on(&machine, &opened, trace.as_deref(), &mut execution, &mut effects);
        let (sequence, kind) = (next_sequence(&journal), JournalledKind::Redriven);
        journal.push(Journalled { id, time_ms: now_ms, sequence, effect: 0, kind, payload: token });
        let kept = journal.iter().filter(|told| told.kind == JournalledKind::ItemsRead);
        let open = OpenExecution {
            machine,
            id,
            execution,
            mailbox: Mailbox::default(),
            runnable: false,
            opened: false,
            log: at as u16,
            journalled: sequence + 1,
            reads_kept: kept.map(|told| told.payload.len() as u32).sum(),
            start_time_ms: opened.start_time_ms,
            received_us: self.now_us,
            seed: opened.seed,
            name: opened.name.map(Into::into),
            trace,
            input: opened.input.clone(),
            blocks: Default::default(),
            waiting_for: WaitingFor::default(),
            ended: None,
            permit,
            stoppers: None,
        };
        let bytes = RECORD_BYTES + open.record(0).payload_bytes();
        let address = self.admit(open, &opened.input);
        let bytes = journal.iter().fold(bytes, |bytes, told| bytes + RECORD_BYTES + told.payload.len());
        if self.logs[at].page.bytes + bytes >= limits::FLUSH_BYTES_MAX && self.logs[at].waiting() > 0 {
            self.seal(at);
        }
        let log = &mut self.logs[at];
        log.page.bytes += bytes;
        log.index.borrow_mut().reopen(id, pointer.as_ref());
        for told in &journal {
            log.builder.journalled(JournalledView::from(told));
        }
        log.page.reopened.push(address);
        self.tell(at, told);
        self.apply(address, &mut effects);
        self.effects = effects;
        self.metrics.redriven.add(1);
        Ok(now_ms)
    }

    /// Tells an execution that it goes on; gives what it has told.
    fn go_on(
        &mut self,
        machine: &Machine,
        opened: &Opened,
        trace: Option<&Trace>,
        execution: &mut Family,
        effects: &mut Vec<Effect>,
    ) -> Option<Tale> {
        let (id, now) = (opened.id, self.timestamp());
        self.crumb.set(id);
        let run = trace.and_then(|trace| trace.run(id, execution.redrives(), now));
        execution.handle(Event::Redrive, now, effects, &mut self.telling.live(machine, trace, run));
        self.crumb.clear();
        let named = (id, opened.name.as_deref());
        self.telling.take(machine, named, execution.redrives(), trace)
    }

    fn machine_of(&mut self, key: MachineRef, program: Arc<Program>) -> Result<Rc<Machine>, Error> {
        if let Some(machine) = self.machines.get(&key) {
            return Ok(machine);
        }
        let machine = self.machines.add(key, program, &self.metrics);
        machine.map_err(|error| Error::Invalid { code: "InvalidArn", message: error.to_string() })
    }

    /// Opened records of what was redriven. What has ended meanwhile is closed in the same block.
    pub(super) fn write_reopened(&mut self, at: usize, page: &mut Page) {
        let log = &mut self.logs[at];
        let block = log.next_block();
        for address in page.reopened.drain(..) {
            let Some(open) = self.open.get_mut(address) else { continue };
            let machine = open.machine.index_in(&mut log.builder, log.serial);
            log.builder.reopened(open.record(machine));
            open.opened = true;
            open.input = Bytes::new();
            open.blocks.push(block);
            log.retained.hold(block, 1);
            log.derived.extend(open.machine.name_entry(open.name.as_deref(), open.id, self.config.retention));
            let now_ms = self.now_us / 1_000;
            let (arn, start_ms) = (&open.machine.key.arn, open.start_time_ms);
            log.index.borrow_mut().straggler(arn, start_ms, block, now_ms, &mut log.derived);
            if open.ended.is_some() {
                page.ended.push(address);
            }
        }
    }
}
