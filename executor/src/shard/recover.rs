//! Bringing back what was open in a partition.
//!
//! `reading` takes the partition and reads its log; here the shard takes over what it found. An EXPRESS execution starts
//! again from its input. A STANDARD one is replayed (`replay`): it is told what it was told, and only what it then still
//! waits for is done again. Invariants: nothing is acknowledged anew; a store that is not the cluster's is not written to;
//! few logs are read at a time, and one whose part of the store is away keeps none of the others waiting. What may fail: the
//! store (tried again, with pauses) or a block that cannot be read (the partition is given up, loudly).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use asl::{Dialect, Effect, EffectId, Event, Payload, Program};
use futures_util::future::{Aborted, abortable};
use ids::{DefinitionHash, ExecutionId};
use journal::block::{JournalledKind, ReadDigest, decode_failure};
use journal::{Journalled, Store, StoreError};
use telemetry::StoreFailure;

use super::calls::Asked;
use super::core::{Landed, Shard};
use super::crumbs::Crumbs;
use super::fetch::RecoveredExecution;
use super::log::Log;
use super::reading::{Reading, Recovered};
use super::scan::Map;
use super::suspects::Suspect;
use super::transfers::{Desk, Unread};
use crate::clock::Clock;
use crate::cluster::Cluster;

/// Pauses after failed attempts grow from this by factors of two ...
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// ... to this, so that a store that never works does not fill the log, and one that comes back is soon used.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why an execution cannot be told again what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untold {
    #[error(transparent)]
    Journal(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] Unread),
}

/// What an execution was told, as it was told; read again where the journal has only its digest. Not all entries told it
/// something.
pub(super) async fn event_of(told: &Journalled, desk: &Desk) -> Result<Option<Event>, Untold> {
    let id = asl::EffectId(told.effect);
    let text = |text: Option<&str>| text.map(asl::Str::from);
    Ok(Some(match told.kind {
        JournalledKind::TaskSucceeded => {
            Event::TaskSucceeded { id, output: Payload::from_checked(told.payload.clone()) }
        }
        JournalledKind::TaskFailed => {
            let (error, cause) = decode_failure(&told.payload)?;
            let (error, cause) = (text(error).unwrap_or_default(), text(cause).unwrap_or_default());
            Event::TaskFailed { id, error, cause }
        }
        JournalledKind::TaskSubmitted => {
            Event::TaskSubmitted { id, output: Payload::from_checked(told.payload.clone()) }
        }
        JournalledKind::TimerFired => Event::TimerFired(id),
        JournalledKind::TaskStarted => {
            Event::TaskStarted { id, worker: String::from_utf8_lossy(&told.payload).as_ref().into() }
        }
        JournalledKind::Stopped => {
            let (error, cause) = decode_failure(&told.payload)?;
            Event::Stop { error: text(error), cause: text(cause) }
        }
        JournalledKind::ItemsRead => Event::ItemsRead { id, body: told.payload.clone() },
        JournalledKind::ItemsDigest => {
            let digest = ReadDigest::decode(&told.payload)?;
            Event::ItemsRead { id, body: desk.read_again(&digest).await? }
        }
        JournalledKind::ResultsWritten => Event::ResultsWritten(id),
        JournalledKind::Redriven => Event::Redrive,
        JournalledKind::GaveUp => {
            let (error, cause) = decode_failure(&told.payload)?;
            let (error, cause) = (text(error).unwrap_or_default(), text(cause).unwrap_or_default());
            Event::GiveUp { error, cause }
        }
        JournalledKind::Mended => return Ok(None),
    }))
}

/// What an execution wants that was told what it was told: a wide Map wants much, so each effect is found by its id.
#[derive(Default)]
pub(super) struct Wanted {
    /// In the order in which it was asked for.
    effects: BTreeMap<u64, Effect>,
    asked: u64,
    /// Tasks of activities that a worker has taken.
    pub(super) begun: HashSet<EffectId>,
    /// The place of each, by its id and whether it is work or a timer.
    places: Map<(EffectId, bool), u64>,
    /// What tasks among it said when their first request was answered.
    submitted: Map<EffectId, Payload>,
}

/// A task that was submitted: its effect, what was asked, and what it said.
pub(super) type SubmittedTask = (EffectId, Asked, Payload);

impl Wanted {
    /// Drops what an event has answered.
    pub(super) fn settle(&mut self, event: &Event) {
        match event {
            Event::TaskSucceeded { id, .. }
            | Event::TaskFailed { id, .. }
            | Event::ItemsRead { id, .. }
            | Event::ResultsWritten(id) => self.remove(*id, true),
            Event::TimerFired(id) => self.remove(*id, false),
            Event::TaskStarted { id, .. } if self.places.contains_key(&(*id, true)) => {
                self.begun.insert(*id);
            }
            Event::TaskSubmitted { id, output } if self.places.contains_key(&(*id, true)) => {
                self.submitted.insert(*id, output.clone());
            }
            // It had ended, and wanted nothing any more.
            Event::Redrive => {
                (self.effects, self.begun, self.places, self.submitted) = Default::default();
            }
            _ => {}
        }
    }

    fn remove(&mut self, id: EffectId, work: bool) {
        if work {
            self.begun.remove(&id);
        }
        if let Some(place) = self.places.remove(&(id, work)) {
            self.effects.remove(&place);
            if work {
                self.submitted.remove(&id);
            }
        }
    }

    /// Adds what a step asks for, and drops what it takes back.
    pub(super) fn gather(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            let key = match &effect {
                Effect::CancelTask(id) => {
                    self.remove(*id, true);
                    continue;
                }
                Effect::CancelTimer(id) => {
                    self.remove(*id, false);
                    continue;
                }
                Effect::ScheduleTask { id, .. }
                | Effect::ReadItems { id, .. }
                | Effect::WriteResults { id, .. }
                | Effect::StartChild { id, .. } => Some((*id, true)),
                Effect::ArmTimer { id, .. } => Some((*id, false)),
                Effect::Yield => Some((EffectId::NEXT_TURN, false)),
                Effect::Finished(_) => None,
            };
            if let Some((id, work)) = key {
                self.remove(id, work);
                self.places.insert((id, work), self.asked);
            }
            self.effects.insert(self.asked, effect);
            self.asked += 1;
        }
    }

    /// The tasks among it.
    pub(super) fn tasks(&self) -> Vec<EffectId> {
        let task = |effect: &Effect| match effect {
            Effect::ScheduleTask { id, .. } => Some(*id),
            _ => None,
        };
        self.effects.values().filter_map(task).collect()
    }

    /// What has to be done, and what was submitted and has only to be waited for.
    pub(super) fn into_parts(mut self) -> (Vec<Effect>, Vec<SubmittedTask>) {
        let (mut effects, mut submitted) = (Vec::new(), Vec::new());
        for effect in self.effects.into_values() {
            match effect {
                Effect::ScheduleTask { id, resource, input, role_arn, .. }
                    if self.submitted.contains_key(&id) =>
                {
                    let said = self.submitted.remove(&id).unwrap_or_default();
                    submitted.push((id, Asked { resource, input, role_arn }, said));
                }
                effect => effects.push(effect),
            }
        }
        (effects, submitted)
    }
}

/// What the shard has to see to of a log that it has taken over.
struct TakenOver {
    open: Vec<RecoveredExecution>,
    programs: Map<(DefinitionHash, Dialect), Arc<Program>>,
    suspects: HashMap<ExecutionId, Suspect>,
}

impl Log {
    /// The log is this owner's, and as its blocks say. What is open is away until it is brought back.
    fn take_over(&mut self, recovered: Recovered, now_ms: u64) -> TakenOver {
        let Recovered { open, programs, suspects, .. } = recovered;
        self.attempts = 0;
        self.generation = recovered.generation;
        self.held.begin(recovered.last);
        self.retained = recovered.retained;
        self.index.replace(recovered.index);
        self.lost = recovered.lost.into();
        self.checkpoints = recovered.checkpoints;
        self.away = recovered.away;
        self.dedupe = recovered.dedupe;
        // Reading took a while.
        self.dedupe.begin(now_ms, 0);
        TakenOver { open, programs, suspects }
    }
}

fn failure_of(error: &StoreError) -> StoreFailure {
    match error {
        StoreError::Fenced { .. } => StoreFailure::Fenced,
        StoreError::Unknown(_) => StoreFailure::Unknown,
        _ => StoreFailure::Unavailable,
    }
}

/// The pause after one more failed attempt.
fn pause_after(failed: &mut u32) -> Duration {
    let pause = RETRY_PAUSE.saturating_mul(1 << (*failed).min(10)).min(RETRY_PAUSE_MAX);
    *failed = failed.saturating_add(1);
    pause
}

/// What comes before a partition is taken: whether this is the store at all, for to take one writes into it, and what the
/// process before died of.
async fn prepare(
    store: &dyn Store,
    cluster: &Cluster,
    crumbs: &Crumbs,
    clock: &Clock,
) -> Result<(), StoreError> {
    cluster.compare(store).await?.map_err(|foreign| StoreError::Unavailable(foreign.to_string()))?;
    crumbs.report(store, clock.now_ms()).await
}

impl Shard {
    /// Connects, then recovers what the shard has from the beginning.
    pub(super) fn begin_recovery(&mut self) {
        if let Some(partitions) = self.config.partitions.clone() {
            self.assign(partitions);
        }
        self.connect_after(Duration::ZERO);
    }

    fn connect_after(&mut self, pause: Duration) {
        let (connect, clock) = (Arc::clone(&self.context.connect), self.clock.clone());
        let at_us = self.now_us + pause.as_micros() as u64;
        self.flights.push(Box::pin(async move {
            clock.sleep_until_us(at_us).await;
            Landed::Connected(connect.connect().await)
        }));
    }

    pub(super) fn connected(&mut self, result: Result<Arc<dyn Store>, StoreError>) {
        match result {
            Ok(store) => {
                self.store = Some(store);
                if let Some(cluster) = self.context.cluster.id() {
                    self.telling.sampler.ids = ids::TraceIds::of_cluster(cluster.0);
                }
                self.recover_next();
                self.publish_state();
            }
            Err(error) => {
                let first = self.connects_failed == 0;
                let pause = pause_after(&mut self.connects_failed);
                if first {
                    tracing::error!(%error, "no connection to the store: nothing is served until there is one");
                }
                self.connect_after(pause);
            }
        }
    }

    pub(super) fn recover_log(&mut self, at: usize) {
        let Some(store) = self.store.as_ref().map(Arc::clone) else { return };
        let (definitions, clock) = (Arc::clone(&self.definitions), self.clock.clone());
        let (cluster, crumbs) = (Arc::clone(&self.context.cluster), Arc::clone(&self.context.crumbs));
        let (reporter, reported_at) = (Arc::clone(&store), clock.clone());
        let (archives, batches_max) = (self.context.archiver.is_some(), self.batches_max());
        let (retention, lost_blocks) = (self.config.retention, self.config.pace.lost_blocks);
        let log = &mut self.logs[at];
        let (partition, tenure) = (log.partition, log.tenure);
        log.heard_us = self.now_us;
        let (reading, abort) = abortable(async move {
            let (store, definitions, now_ms) = (&*store, &*definitions, clock.now_ms());
            Reading { store, definitions, partition, retention, archives, batches_max, lost_blocks, now_ms }
                .recover()
                .await
        });
        log.reading = Some(abort);
        self.flights.push(Box::pin(async move {
            // Before the partition is taken, and not ended in its midst: deaths are counted once.
            let read = match prepare(&*reporter, &cluster, &crumbs, &reported_at).await {
                Ok(()) => reading.await,
                Err(error) => Ok(Err(error)),
            };
            match read {
                Ok(result) => Landed::Recovered { log: at, tenure, result: result.map(Box::new) },
                Err(Aborted) => Landed::Dropped,
            }
        }));
    }

    pub(super) fn recovered(&mut self, at: usize, tenure: u64, result: Result<Box<Recovered>, StoreError>) {
        if !self.lasts(at, tenure) {
            return;
        }
        self.logs[at].reading = None;
        let recovered = match result {
            Ok(recovered) => recovered,
            Err(error) if error.is_retryable() || matches!(error, StoreError::Fenced { .. }) => {
                let pause = pause_after(&mut self.logs[at].attempts);
                let partition = self.logs[at].partition;
                tracing::error!(%partition, %error, again_in = ?pause, "recovery failed: trying again");
                self.metrics.store_failed(failure_of(&error));
                return self.recover_again(at, pause);
            }
            Err(error) => return self.lose(at, &error),
        };
        self.metrics.recovery_blocks.add(recovered.read as u64);
        let now_ms = self.now_us / 1_000;
        let TakenOver { open, programs, suspects } = self.logs[at].take_over(*recovered, now_ms);
        self.suspects.extend(suspects);
        self.metrics.recovered.add(open.len() as u64);
        self.restore_later(at, open, programs);
    }
}
