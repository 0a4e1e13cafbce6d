//! Bringing back one execution: it is told again what it was told.
//!
//! Most replays need nothing but the journal and happen at once. One that works much, or has to read again what its Map has
//! read, is a flight, and the partition serves meanwhile: the execution is *away*, it is looked up in the log, its name is
//! taken, and who wants to stop it has to ask again. Invariants: only what the journal says is told; a flight that lands
//! after its partition was lost, or taken anew, changes nothing; an execution for which what it has read cannot be had any
//! more ends with `States.ItemReaderFailed`, for what followed the read cannot be told without it, and the jobs of tasks that it had asked for
//! before it are stopped; one of whose journal the store has lost a part ends with `States.Runtime`, and its jobs go on, for
//! nothing is told of it; one for which that cannot be known now stays in the log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use asl::{Dialect, EffectId, Event, Payload, Program};
use futures_util::FutureExt;
use ids::{DefinitionHash, MachineName, Mode};
use journal::{JournalledKind, Opened};
use tokio::sync::Mutex;

use super::core::{Landed, Shard};
use super::crumbs::Crumb;
use super::execution::{OpenExecution, WaitingFor};
use super::fetch::RecoveredExecution;
use super::log::Away;
use super::machine::{self, Beginning, Machine, dialect_of};
use super::mailbox::Mailbox;
use super::observe::Again;
use super::recover::{SubmittedTask, Untold, Wanted, event_of};
use super::scan::Map;
use super::slab::Address;
use super::transfers::{Desk, Unread};
use super::turns;

/// An execution that was told again what it was told.
pub(super) struct Replayed {
    machine: Rc<Machine>,
    recovered: RecoveredExecution,
    execution: asl::Family,
    /// What it waits for.
    wanted: Wanted,
    /// Why it cannot go on.
    lost: Option<Unread>,
}

/// Whether an entry says what has become of a task.
fn is_of_task(kind: JournalledKind) -> bool {
    matches!(kind, JournalledKind::TaskSubmitted | JournalledKind::TaskSucceeded | JournalledKind::TaskFailed)
}

/// Replays an execution; nothing when that cannot be done now. Between two of its turns others have theirs.
async fn replay(
    machine: Rc<Machine>,
    recovered: RecoveredExecution,
    waits: bool,
    (desk, resting, crumb): (Desk, Arc<Mutex<()>>, Rc<Crumb>),
    mut observer: Again,
) -> Option<Box<Replayed>> {
    let mut turn = Instant::now();
    let Opened { id, start_time_ms, seed, name, input, .. } = &recovered.opened;
    let (name, start_time_ms) = (name.as_deref(), *start_time_ms);
    let (waited, journal) = turns::beginning(&recovered.journal);
    let waits = if machine.is_standard() { waited } else { waits };
    let keeps = recovered.journal.iter().any(|told| told.kind == JournalledKind::Redriven);
    let beginning = Beginning { id: *id, name, seed: *seed, start_time_ms, waits, keeps };
    let (mut effects, mut wanted, mut lost) = (Vec::new(), Wanted::default(), None);
    let payload = Payload::from_checked(input.clone());
    crumb.set(*id);
    let mut execution = machine.begin(&beginning, payload, &mut effects, &mut observer);
    crumb.clear();
    wanted.gather(&mut effects);
    let mut entries = journal.iter().filter(|_| machine.is_standard());
    for told in entries.by_ref() {
        let event = match event_of(told, &desk).await {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(Untold::Journal(error)) => {
                tracing::error!(execution = %id, %error, "an open execution stays in the log: what it was told cannot be read");
                return None;
            }
            Err(Untold::Read(gone @ Unread::Gone { .. })) => {
                lost = Some(gone);
                break;
            }
            Err(Untold::Read(error)) => {
                tracing::error!(execution = %id, %error, "an open execution stays in the log until the node is started again");
                return None;
            }
        };
        if event == Event::TimerFired(EffectId::NEXT_TURN) {
            turns::rest_in_turn(&mut turn, &resting).await;
        }
        wanted.settle(&event);
        let at = machine::timestamp_of_ms(told.time_ms);
        crumb.set(*id);
        execution.handle(event, at, &mut effects, &mut observer);
        crumb.clear();
        wanted.gather(&mut effects);
    }
    // It is told nothing more; what it has begun meanwhile has to be known, to be stopped.
    for told in entries.filter(|told| is_of_task(told.kind)) {
        if let Ok(Some(event)) = event_of(told, &desk).await {
            wanted.settle(&event);
        }
    }
    Some(Box::new(Replayed { machine, recovered, execution, wanted, lost }))
}

impl Shard {
    /// Replays an execution: at once, unless it has to wait for what it has read.
    pub(super) fn restore(
        &mut self,
        log: usize,
        recovered: RecoveredExecution,
        programs: &Map<(DefinitionHash, Dialect), Arc<Program>>,
    ) {
        self.hold_name(&recovered);
        let key = &recovered.machine;
        let Some(program) = programs.get(&(key.definition, dialect_of(key.dialect))) else { return };
        let known = self
            .machines
            .get(key)
            .map_or_else(|| self.machines.add(key.clone(), Arc::clone(program), &self.metrics), Ok);
        let Ok(machine) = known else { return };
        if let Some((error, cause)) = self.verdict(&machine, &recovered) {
            return self.close_unstepped(log, &machine, recovered, (error, &cause));
        }
        let waits = self.has_to_wait();
        let beside = (self.transfers.desk.clone(), Arc::clone(&self.turns.resting), Rc::clone(&self.crumb));
        let opened = &recovered.opened;
        let trace = self.telling.sampler.recovered(opened.id, opened.trace.as_deref());
        let (named, since) = ((opened.id, opened.name.as_deref()), opened.start_time_ms);
        let since = machine::timestamp_of_ms(since);
        let observer = self.telling.again(&machine, named, trace.as_ref(), since);
        let mut replaying = Box::pin(replay(machine, recovered, waits, beside, observer));
        match (&mut replaying).now_or_never() {
            Some(replayed) => self.put_back(log, replayed),
            None => {
                let tenure = self.logs[log].tenure;
                self.logs[log].replaying += 1;
                self.flights.push(Box::pin(async move {
                    Landed::Replayed { log, tenure, replayed: replaying.await }
                }));
            }
        }
    }

    /// What is open has its name, also where its definition cannot be had.
    fn hold_name(&mut self, recovered: &RecoveredExecution) {
        let (key, opened) = (&recovered.machine, &recovered.opened);
        let Some(name) = opened.name.as_deref().filter(|_| key.mode == Mode::Standard) else { return };
        if let Ok(machine) = MachineName::parse(&key.arn) {
            self.names.hold(machine.execution_segment(), name, opened.id, &opened.input);
        }
    }

    pub(super) fn replayed(&mut self, log: usize, tenure: u64, replayed: Option<Box<Replayed>>) {
        if self.lasts(log, tenure) {
            self.logs[log].replaying -= 1;
            // What is given back already is the next owner's to wake.
            self.put_back(log, replayed.filter(|_| !self.logs[log].is_halted()));
        }
    }

    /// Puts an execution back where it was.
    fn put_back(&mut self, log: usize, replayed: Option<Box<Replayed>>) {
        let Some(replayed) = replayed else { return };
        let Replayed { machine, recovered, mut execution, mut wanted, lost } = *replayed;
        let RecoveredExecution { opened, journal, .. } = recovered;
        // It may have been carried meanwhile.
        let Some(Away { blocks, .. }) = self.logs[log].away.remove(&opened.id) else { return };
        self.turns.worked(execution.worked());
        let mut effects = std::mem::take(&mut self.effects);
        for id in wanted.tasks() {
            // Heartbeats are not journalled, and whoever does the task now has as long for the first one.
            let now = self.timestamp();
            machine::handle_unobserved(&mut execution, Event::TaskHeartbeat(id), now, &mut effects);
            wanted.gather(&mut effects);
        }
        self.effects = effects;
        let Opened { id, start_time_ms, seed, name, input, trace, .. } = opened;
        let trace = self.telling.sampler.recovered(id, trace.as_deref());
        let kept = journal.iter().filter(|told| told.kind == JournalledKind::ItemsRead);
        let open = OpenExecution {
            machine,
            id,
            execution,
            mailbox: Mailbox::default(),
            runnable: false,
            opened: true,
            log: log as u16,
            journalled: journal.len() as u32,
            reads_kept: kept.map(|told| told.payload.len() as u32).sum(),
            start_time_ms,
            received_us: start_time_ms.saturating_mul(1_000),
            seed,
            name: name.map(Into::into),
            trace,
            input: bytes::Bytes::new(),
            blocks,
            waiting_for: WaitingFor::default(),
            ended: None,
            permit: self.admission.take_anyway(1, input.len() as u64),
            stoppers: None,
        };
        let address = self.admit(open, &input);
        if let Some(lost) = lost {
            // What it has begun is stopped with its end.
            self.resume_all(address, wanted.into_parts().1);
            let (error, cause) = ("States.ItemReaderFailed".into(), lost.to_string().into());
            return self.deliver(address, Event::GiveUp { error, cause });
        }
        // Others of this log may go on already: what they wait for is held for causes that are not durable yet.
        let page = &self.logs[log].page;
        let (tasks, writes, calls) = (page.held.len(), page.writes.len(), page.calls.len());
        let (activities, begun) = (page.activities.len(), std::mem::take(&mut wanted.begun));
        let (mut effects, submitted) = wanted.into_parts();
        self.apply(address, &mut effects);
        self.resume_all(address, submitted);
        // What it waits for was caused by what is durable already.
        let page = &mut self.logs[log].page;
        let (tasks, writes) = (page.held.split_off(tasks), page.writes.split_off(writes));
        let calls = page.calls.split_off(calls);
        let activities = page.activities.split_off(activities);
        for task in tasks {
            self.tasks.release(task);
        }
        self.activities.bring_back(activities, &begun);
        for write in writes {
            self.begin_transfer(write);
        }
        for call in calls {
            self.begin_call(call);
        }
    }

    /// What was submitted goes on.
    fn resume_all(&mut self, address: Address, submitted: Vec<SubmittedTask>) {
        for (effect, asked, said) in submitted {
            self.resume(address, effect, asked, said);
        }
    }
}
