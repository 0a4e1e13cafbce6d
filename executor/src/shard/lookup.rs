//! Questions about executions: describe, list, stop.
//!
//! What is open is described from its slot; everything else is read from the log, by the place that
//! the slot, the index writer or the batch's pointer names, in one or two blocks. Invariants: an answer tells only what
//! is durable, except that an execution whose start is not durable yet is told to be running; reading never holds up the
//! shard. What may fail: the store; an execution that nobody knows (any more).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use asl::{Event, Str};
use ids::{ExecutionId, ExecutionName, MachineName, Mode, PartitionId, Status};
use journal::block::MachineRef;
use journal::index::{self, Cursor, Execution, IndexWriter, Located, PageRequest};
use journal::{Store, StoreError};
use proto::executor::v1;

use super::beyond::{ARCHIVED, fetch_anywhere, list_everywhere};
use super::command::Reply;
use super::core::{Landed, Shard};
use super::described::{described, described_open, summary};
use super::execution::{OpenExecution, Waiter};
use super::scan::Blocks;
use super::slab::Address;
use super::standing::{ABSENT, Standing};
use super::workers::cut;
use crate::error::Error;
use crate::limits;

/// Blocks that one page of a listing reads at most.
const LIST_BLOCKS_MAX: usize = 1_024;
/// Entries of one page of a listing at most.
const LIST_ENTRIES_MAX: u32 = 1_000;

/// An error of a question about an execution that nobody knows.
pub(super) fn unknown(execution: &impl std::fmt::Display) -> Error {
    let message = format!("no execution {execution}: it never was, or its retention has passed");
    Error::NotFound { code: ABSENT, message }
}

/// An error of a question about what is open and was on its way to another block while it was read.
pub(super) fn moved(asked: &ExecutionName) -> Error {
    let message = format!("the records of {} are being written: ask again", spelt(asked));
    Error::Shed { message, retry_after: std::time::Duration::from_millis(100) }
}

/// How people write what they asked for.
pub(super) fn spelt(execution: &ExecutionName) -> String {
    match execution {
        ExecutionName::Id(id) => id.to_string(),
        ExecutionName::Named { machine, name } => format!("{name} of {machine}"),
    }
}

/// Where an answer is to be read.
pub(super) struct Place {
    pub id: ExecutionId,
    pub located: Option<Located>,
}

/// The execution at a place, or of a name, as the log has it.
pub(super) async fn fetch(
    store: &dyn Store,
    asked: &ExecutionName,
    place: Option<Place>,
    partition: PartitionId,
) -> Result<Execution, Error> {
    let place = match (place, asked) {
        (Some(place), _) => place,
        (None, ExecutionName::Id(id)) => Place { id: *id, located: None },
        (None, ExecutionName::Named { machine, name }) => {
            let found = index::lookup_name(store, partition, machine, name).await?;
            Place { id: found.ok_or_else(|| unknown(&spelt(asked)))?, located: None }
        }
    };
    let found = match place.located {
        Some(located) => {
            let found = index::lookup_at(store, place.id, located).await?;
            if found.is_none() && located.opened.is_some() && located.closed.is_none() {
                return Err(moved(asked));
            }
            found
        }
        None => index::lookup(store, place.id).await?,
    };
    let found = found.ok_or_else(|| unknown(&spelt(asked)))?;
    // Keys of names are hashes: what was found must have the name.
    let same = match asked {
        ExecutionName::Id(id) => *id == found.opened.id,
        ExecutionName::Named { machine, name } => {
            let segment = MachineName::parse(&found.machine.arn).ok();
            segment.is_some_and(|found| found.execution_segment() == machine)
                && found.opened.name.as_deref() == Some(name)
        }
    };
    if same { Ok(found) } else { Err(unknown(&spelt(asked))) }
}

impl Shard {
    /// The log that an execution is in.
    pub(super) fn log_of(&self, execution: &ExecutionName) -> Result<usize, Error> {
        let partition = execution.partition(self.config.partition_count);
        let partition = partition.map_err(|_| unknown(&spelt(execution)))?;
        self.log_at(partition).ok_or(Error::NotOwner { partition: partition.get() })
    }

    /// The slot of an execution, if it has one and does not stand still because its partition is being given back.
    pub(super) fn slot_of(&self, execution: &ExecutionName) -> Option<Address> {
        let id = match execution {
            ExecutionName::Id(id) => *id,
            ExecutionName::Named { machine, name } => self.names.holder(machine, name)?.id,
        };
        let address = self.find(id)?;
        let open = self.open.get(address)?;
        let halted = self.logs[usize::from(open.log)].is_halted() && open.ended.is_none();
        (!halted).then_some(address)
    }

    /// The blocks of an execution that is open and has no slot.
    pub(super) fn away(&self, log: usize, execution: &ExecutionName) -> Option<&Blocks> {
        let id = match execution {
            ExecutionName::Id(id) => *id,
            ExecutionName::Named { machine, name } => self.names.holder(machine, name)?.id,
        };
        self.logs[log].away.get(&id).map(|away| &away.blocks)
    }

    /// Where the log has an execution, as far as the shard knows without asking the store.
    pub(super) fn place_of(&self, log: usize, execution: &ExecutionName) -> Option<Place> {
        let id = match execution {
            ExecutionName::Id(id) => *id,
            ExecutionName::Named { machine, name } => self.names.holder(machine, name)?.id,
        };
        let open = self.find(id).and_then(|address| self.open.get(address));
        // Whatever the index says of one that is being opened (again), it is of no use: its block will have it.
        let next = || open.filter(|open| !open.opened).map(|_| self.logs[log].next_block());
        let opened = open.and_then(|open| open.blocks.first().copied()).or_else(next);
        let located = match opened {
            // What is open is not closed, whatever is on its way.
            Some(block) => Some(Located { opened: Some(block), closed: None }),
            None => self.logs[log].index.borrow().find(id),
        };
        Some(Place { id, located })
    }

    pub(super) fn describe(&mut self, execution: ExecutionName, reply: Reply<v1::DescribeExecutionResponse>) {
        let log = match self.log_of(&execution) {
            Ok(log) => log,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let slot = self.slot_of(&execution).and_then(|address| self.open.get(address));
        let standing = self.standing(log);
        // Whoever waits for an end looks again and again: what is open costs the store nothing.
        let mending = self.logs[log].mending;
        let known = |open: &&OpenExecution| !open.opened || !mending && open.execution.redrives() == 0;
        if let Some(open) = slot.filter(known) {
            let described = described_open(open);
            if standing.is_firm() {
                return drop(reply.send(Ok(described)));
            }
            return self
                .answer(reply, &[log], async move |store| standing.ask(&*store).await.map(|()| described));
        }
        let place = self.place_of(log, &execution);
        let (partition, now_ms) = (self.logs[log].partition, self.now_us / 1_000);
        let archive = self.archive_view();
        self.answer(reply, &[log], async move |store| {
            standing.ask(&*store).await?;
            let found = fetch_anywhere(&*store, archive.as_ref(), &execution, place, partition).await;
            let (found, archived) = standing.told(&*store, found).await?;
            let mut described = described(found, now_ms)?;
            if archived && described.redrive_status() == v1::RedriveStatus::Redrivable {
                described.set_redrive_status(v1::RedriveStatus::NotRedrivable);
                ARCHIVED.clone_into(&mut described.redrive_status_reason);
            }
            Ok(described)
        });
    }

    /// Answers a question about some logs beside the shard's other work.
    pub(super) fn answer<T: 'static>(
        &mut self,
        reply: Reply<T>,
        logs: &[usize],
        question: impl AsyncFnOnce(Arc<dyn Store>) -> Result<T, Error> + 'static,
    ) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else {
            let unavailable = StoreError::Unavailable("this shard has no connection to it yet".to_owned());
            return drop(reply.send(Err(unavailable.into())));
        };
        if logs.iter().any(|log| self.logs[*log].mending) {
            // What is not found now may have been acknowledged.
            let mending = "it lost what it had confirmed, and that is not mended yet: ask again".to_owned();
            return drop(reply.send(Err(StoreError::Unavailable(mending).into())));
        }
        if self.questions.under_way >= limits::QUESTIONS_MAX {
            let retry_after = std::time::Duration::from_millis(u64::from(self.admission.retry_after_ms()));
            let limit = limits::QUESTIONS_MAX as u64;
            return drop(reply.send(Err(Error::Overloaded {
                what: "look-ups under way",
                limit,
                retry_after,
            })));
        }
        self.questions.under_way += 1;
        self.flights.push(Box::pin(async move {
            let mut reply = reply;
            // Who no longer listens needs no answer, and none is looked for any more.
            let answer = tokio::select! {
                answer = question(store) => Some(answer),
                () = reply.closed() => None,
            };
            if let Some(answer) = answer {
                let _ = reply.send(answer);
            }
            Landed::Answered
        }));
    }

    pub(super) fn stop(&mut self, execution: ExecutionName, error: &str, cause: &str, reply: Reply<u64>) {
        let log = match self.log_of(&execution) {
            Ok(log) => log,
            Err(error) => return drop(reply.send(Err(error))),
        };
        if self.away(log, &execution).is_some() {
            return drop(reply.send(Err(self.is_brought_back(&execution))));
        }
        let Some(address) = self.slot_of(&execution) else {
            // It has ended: stopping it again gives the time at which it did.
            return self.answer_end(log, execution, reply, |found| {
                Ok(found.closed.map(|closed| closed.stop_time_ms))
            });
        };
        let text = |text: &str, max| Some(Str::from(cut(text, max))).filter(|text| !text.is_empty());
        let error = text(error, limits::ERROR_BYTES_MAX);
        let cause = text(cause, limits::CAUSE_BYTES_MAX);
        self.deliver(address, Event::Stop { error, cause });
        self.tell_end(address, Waiter::Time(reply));
    }

    /// Answers with the end, once it is durable.
    pub(super) fn await_end(
        &mut self,
        execution: ExecutionName,
        reply: Reply<v1::StartSyncExecutionResponse>,
    ) {
        let log = match self.log_of(&execution) {
            Ok(log) => log,
            Err(error) => return drop(reply.send(Err(error))),
        };
        if self.away(log, &execution).is_some() {
            return drop(reply.send(Err(self.is_brought_back(&execution))));
        }
        match self.slot_of(&execution) {
            Some(address) => self.tell_end(address, Waiter::End(reply)),
            None => self.answer_end(log, execution, reply, |found| {
                let ended = found.closed.is_some();
                let v1::DescribeExecutionResponse { summary, output, error, cause, .. } =
                    described(found, 0)?;
                let response = v1::StartSyncExecutionResponse { summary, output, error, cause };
                Ok(ended.then_some(response))
            }),
        }
    }

    /// Of one that has ended, what is asked for.
    fn answer_end<T: 'static>(
        &mut self,
        log: usize,
        execution: ExecutionName,
        reply: Reply<T>,
        of: impl FnOnce(Execution) -> Result<Option<T>, StoreError> + 'static,
    ) {
        let (place, partition) = (self.place_of(log, &execution), self.logs[log].partition);
        let (standing, archive) = (self.standing(log), self.archive_view());
        self.answer(reply, &[log], async move |store| {
            standing.ask(&*store).await?;
            let found = fetch_anywhere(&*store, archive.as_ref(), &execution, place, partition).await;
            let (found, _) = standing.told(&*store, found).await?;
            let ending = || Error::Conflict {
                code: "ExecutionEnding",
                message: format!("{} has no end in the log yet: ask again", spelt(&execution)),
            };
            of(found)?.ok_or_else(|| standing.judge(ending()))
        });
    }

    fn is_brought_back(&self, execution: &ExecutionName) -> Error {
        let message = format!("{} is being brought back: ask again", spelt(execution));
        let retry_after = std::time::Duration::from_millis(u64::from(self.admission.retry_after_ms()));
        Error::Shed { message, retry_after }
    }

    /// Of one that is open, when its end is durable.
    fn tell_end(&mut self, address: Address, waiter: Waiter) {
        if let Some(open) = self.open.get_mut(address) {
            let stoppers = open.stoppers.get_or_insert_default();
            if stoppers.len() < limits::BATCH_WAITERS_MAX {
                stoppers.push(waiter);
            }
        }
    }

    pub(super) fn list(
        &mut self,
        request: v1::ListExecutionsRequest,
        reply: Reply<v1::ListExecutionsResponse>,
    ) {
        let after = match cursor(&request.next_token) {
            Ok(after) => after,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let retention_ms = u64::try_from(self.config.retention.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.now_us / 1_000;
        // What is listed may have begun long before the retention; the hours that have a listing say how long.
        let oldest = self.logs.iter().filter_map(|log| log.index.borrow().oldest_listed_ms()).min();
        let kept_from_ms = now_ms.saturating_sub(retention_ms);
        let oldest_ms = kept_from_ms.min(oldest.unwrap_or(now_ms));
        let mut here: Vec<usize> = (0..self.logs.len()).filter(|at| self.logs[*at].state.is_here()).collect();
        here.sort_unstable_by_key(|at| self.logs[*at].partition);
        let standings: Vec<Standing> = here.iter().map(|at| self.standing(*at)).collect();
        let partitions: Vec<PartitionId> = here.iter().map(|at| self.logs[*at].partition).collect();
        let writers: Vec<Rc<RefCell<IndexWriter>>> =
            here.iter().map(|at| Rc::clone(&self.logs[*at].index)).collect();
        let archive = self.archive_view();
        self.answer(reply, &here, async move |store| {
            for standing in standings {
                standing.whole()?;
                standing.ask(&*store).await?;
            }
            let request = &request;
            let local = |id: ExecutionId| {
                let at = partitions.binary_search(&id.batch.partition).ok()?;
                writers[at].borrow().find(id)
            };
            let status = match request.status() {
                v1::ExecutionStatus::Unspecified => None,
                other => Status::from_u8(other as u8),
            };
            let limit = request.max_results.clamp(1, LIST_ENTRIES_MAX) as usize;
            let page = PageRequest {
                partitions: &partitions,
                machine_arn: &request.machine_arn,
                status,
                after,
                limit,
                oldest_ms,
                now_ms,
                blocks_max: LIST_BLOCKS_MAX,
            };
            let page = list_everywhere(&*store, archive.as_ref(), (&page, kept_from_ms), local).await?;
            let partitions = partitions.iter().map(|partition| u32::from(partition.get())).collect();
            Ok(v1::ListExecutionsResponse { partitions, ..listed(page, &request.machine_arn) })
        });
    }
}

/// How long before its block an execution may have been started: batches are accepted within their horizon.
pub(super) fn started_before_ms() -> u64 {
    u64::try_from(limits::BATCH_HORIZON.as_millis()).unwrap_or(u64::MAX)
}

/// A page as the wire says it.
fn listed(page: index::Page, machine_arn: &str) -> v1::ListExecutionsResponse {
    let executions = page.executions.into_iter().map(|listed| {
        let machine = machine_of(machine_arn, listed.mode);
        let end = listed.stop_time_ms.map(|stopped| (listed.status, stopped));
        summary(&machine, listed.id, listed.name.as_deref(), listed.start_time_ms, end)
    });
    let token = |next: Cursor| format!("{}:{}", next.start_time_ms, next.id);
    v1::ListExecutionsResponse {
        executions: executions.collect(),
        next_token: page.next.map(token).unwrap_or_default(),
        ..Default::default()
    }
}

fn machine_of(arn: &str, mode: Mode) -> MachineRef {
    MachineRef {
        arn: arn.to_owned(),
        definition: [0; 32],
        mode,
        dialect: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        origin: String::new(),
    }
}

/// Where a page begins: `START_TIME_MS:EXECUTION_ID`, or the beginning.
fn cursor(token: &str) -> Result<Option<Cursor>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token
        .split_once(':')
        .and_then(|(time, id)| Some(Cursor { start_time_ms: time.parse().ok()?, id: id.parse().ok()? }));
    parsed.map(Some).ok_or_else(|| Error::Invalid {
        code: "InvalidToken",
        message: "`next_token` is none that a listing gave: begin again without it".to_owned(),
    })
}
