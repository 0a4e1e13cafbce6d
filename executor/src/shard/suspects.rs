//! Executions that kill their node, and those that may not be begun again.
//!
//! A durable key for each suspect counts the deaths of nodes that were stepping it ([`super::crumbs`]). At its third
//! recovery it is closed as FAILED, without a step; a start that was never acknowledged is refused instead. A synchronous
//! EXPRESS execution is closed at its first recovery: it runs at most once.
//!
//! Invariants: what is closed here is closed once, as anything else; a count is dropped when its execution has ended, or
//! long after its start could still be sent again. Who was not being stepped is not suspected. A node that dies of something
//! else, as by kill -9, in the very midst of a step, counts against what it was stepping: it takes three such deaths to
//! condemn somebody who is innocent. What may fail: the store.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ids::{ExecutionId, Mode, PartitionId, Status};
use journal::block::{Closed, ClosedView, decode_failure, encode_failure};
use journal::{Store, StoreError};
use proto::executor::v1;
use proto::executor::v1::start_refusal::Reason;

use super::answer::refusal;
use super::core::{Landed, Shard};
use super::fetch::RecoveredExecution;
use super::log::{Away, End};
use super::machine::Machine;
use super::redrivable::redrives;
use crate::limits;

/// What the cause of a poisonous execution begins with.
const POISON: &str = "The execution killed the node that stepped it";
/// Suspects of a partition that are read at most.
const SUSPECTS_MAX: usize = 10_000;
/// Attempts to raise a count that others raise too.
const RACES_MAX: usize = 16;

/// What stands against an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Nodes that died while they stepped it.
    pub deaths: u32,
    /// When that was counted last, Unix time in milliseconds.
    pub time_ms: u64,
}

fn prefix(partition: PartitionId) -> String {
    format!("suspect/{partition}/")
}

fn key(id: ExecutionId) -> Bytes {
    format!("{}{id}", prefix(id.batch.partition)).into()
}

/// `DEATHS TIME_MS LIFE`, the last one of the process whose death was counted last.
fn parse(value: &[u8]) -> Option<(Suspect, u64)> {
    let mut fields = std::str::from_utf8(value).ok()?.split(' ');
    let (deaths, time_ms) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // Earlier versions did not say whose.
    let life = fields.next().and_then(|life| life.parse().ok()).unwrap_or_default();
    Some((Suspect { deaths, time_ms }, life))
}

/// Counts the death of a process, known by its life, once; gives how many there were.
pub(super) async fn accuse(
    store: &dyn Store,
    id: ExecutionId,
    life: u64,
    now_ms: u64,
) -> Result<u32, StoreError> {
    for _ in 0..RACES_MAX {
        let before = store.get(key(id)).await?;
        let known = before.as_deref().and_then(parse);
        if let Some((suspect, _)) = known.filter(|(_, counted)| *counted == life && life != 0) {
            return Ok(suspect.deaths);
        }
        let deaths = known.map_or(0, |(suspect, _)| suspect.deaths).saturating_add(1);
        let value = Bytes::from(format!("{deaths} {now_ms} {life}"));
        if store.compare_and_put(key(id), before, Some(value)).await? {
            return Ok(deaths);
        }
    }
    Err(StoreError::Unavailable(format!("others keep counting what stands against {id}")))
}

/// Everybody who is suspected.
pub(super) async fn of(
    store: &dyn Store,
    partition: PartitionId,
) -> Result<HashMap<ExecutionId, Suspect>, StoreError> {
    let prefix = prefix(partition);
    let entries = store.scan(Bytes::from(prefix.clone()), None, SUSPECTS_MAX).await?;
    let suspect = |(key, value): (Bytes, Bytes)| {
        let id = std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?.parse().ok()?;
        Some((id, parse(&value)?.0))
    };
    Ok(entries.into_iter().filter_map(suspect).collect())
}

/// Whether an execution was closed because it kills nodes: nobody may step it again, not for its history either.
pub(super) fn is_poison(closed: &Closed) -> bool {
    closed.status == Status::Failed
        && decode_failure(&closed.payload)
            .is_ok_and(|(_, cause)| cause.is_some_and(|cause| cause.starts_with(POISON)))
}

impl Shard {
    /// Drops what is old and stands against nobody who is open: its start cannot come again.
    pub(super) fn drop_old_suspects(&mut self, at: usize) {
        let horizon_ms = u64::try_from(limits::BATCH_HORIZON.as_millis()).unwrap_or(u64::MAX);
        let partition = self.logs[at].partition;
        let old = |id: &ExecutionId, suspect: &Suspect| {
            id.batch.partition == partition
                && suspect.time_ms.saturating_add(2 * horizon_ms) < self.now_us / 1_000
                && self.find(*id).is_none()
                && !self.logs[at].away.contains_key(id)
        };
        let old: Vec<_> =
            self.suspects.iter().filter(|(id, known)| old(id, known)).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.absolve(id));
    }

    /// Why an open execution of a recovered log may not go on: its error and cause.
    pub(super) fn verdict(
        &self,
        machine: &Machine,
        recovered: &RecoveredExecution,
    ) -> Option<(&'static str, String)> {
        let id = recovered.opened.id;
        if machine.key.mode == Mode::SyncExpress {
            let cause = "The node that ran the synchronous execution has ended, or has lost its partition. It runs at most once, so it was not begun \
                         again: start another one if its work can be done twice.";
            return Some(("States.Runtime", cause.to_owned()));
        }
        let machine = &machine.key.arn;
        if !recovered.whole {
            self.metrics.broken.add(1);
            let cause = "The store has lost a part of what the execution was told, so it cannot go on: to begin again would do \
                         again what was done. See what it had done, and start another one for the rest.";
            tracing::error!(execution = %id, machine, cause, "BROKEN: an execution is closed as FAILED");
            return Some(("States.Runtime", cause.to_owned()));
        }
        let deaths = self.suspects.get(&id)?.deaths;
        (deaths >= limits::NODE_DEATHS_MAX).then(|| {
            let cause = format!(
                "{POISON} {deaths} times, so it was not begun again: see the logs of the nodes for how they died. Until it is \
                 known why, machines like this one may kill other nodes."
            );
            self.metrics.poisoned.add(1);
            tracing::error!(execution = %id, machine, cause, "a poisonous execution is closed as FAILED");
            ("States.Runtime", cause)
        })
    }

    /// A start that has killed nodes before it could be acknowledged is refused.
    pub(super) fn poisonous(&self, id: ExecutionId) -> Option<v1::StartRefusal> {
        let deaths = self.suspects.get(&id)?.deaths;
        (deaths >= limits::NODE_DEATHS_MAX).then(|| {
            let message = format!("the start killed the node {deaths} times and is not tried again");
            refusal(Reason::Invalid, "ExecutionPoisonous", message)
        })
    }

    /// Closes what was open and may not go on, without a step.
    pub(super) fn close_unstepped(
        &mut self,
        at: usize,
        machine: &Rc<Machine>,
        recovered: RecoveredExecution,
        (error, cause): (&str, &str),
    ) {
        let opened = recovered.opened;
        let Some(Away { blocks, .. }) = self.logs[at].away.remove(&opened.id) else { return };
        let (id, name, now_ms) = (opened.id, opened.name.as_deref(), self.now_us / 1_000);
        let log = &mut self.logs[at];
        let retention_ms = u64::try_from(self.config.retention.as_millis()).unwrap_or(u64::MAX);
        blocks.iter().min().into_iter().for_each(|oldest| log.retained.release(*oldest, 1, now_ms));
        if let Some(block) = blocks.first()
            && now_ms.saturating_sub(opened.start_time_ms) > retention_ms
        {
            let (arn, start_ms) = (&machine.key.arn, opened.start_time_ms);
            log.index.borrow_mut().straggler(arn, start_ms, *block, now_ms, &mut log.derived);
        }
        log.derived.extend(machine.name_entry(name, id, self.config.retention));
        log.builder.closed(ClosedView {
            id,
            status: Status::Failed,
            stop_time_ms: now_ms,
            payload: &encode_failure(Some(error), Some(cause)),
            blocks: &blocks,
        });
        let end = End { status: Status::Failed, error: Some(error.into()) };
        log.page.tally(machine, Some(end), opened.start_time_ms.saturating_mul(1_000));
        log.page.completed(id, Status::Failed);
        log.page.absolved.push(id);
        self.tell_failed(at, machine, (&opened, redrives(&recovered.journal)), (error, cause));
        if let Some(name) = name.filter(|_| machine.is_standard()) {
            self.names.ended(machine.name.execution_segment(), name, id, now_ms);
        }
        self.seal_if_long(at);
    }

    /// An execution has ended for good: nothing stands against it any more.
    pub(super) fn absolve(&mut self, id: ExecutionId) {
        if self.suspects.remove(&id).is_none() {
            return;
        }
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        self.questions.under_way += 1;
        self.flights.push(Box::pin(async move {
            let dropped = async {
                let known = store.get(key(id)).await?;
                match known {
                    Some(known) => store.compare_and_put(key(id), Some(known), None).await,
                    None => Ok(true),
                }
            };
            if let Err(error) = dropped.await {
                tracing::warn!(execution = %id, %error, "what stands against an ended execution is dropped later");
            }
            Landed::Answered
        }));
    }
}
