//! Reads back what the ledger holds, before it expires: Describe of each execution, histories of some; redrives those that
//! failed to be redriven.
//!
//! An execution that still runs is looked at again; one that is not found is looked at again for a while, for then either
//! the look-up or the execution is lost, and both are told apart. Where more is acknowledged than can be described in time,
//! one of each acknowledgement is described, and the log's check alone stands for the rest, which is counted.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ids::ExecutionId;
use proto::executor::v1::{
    DescribeExecutionRequest, GetExecutionHistoryRequest, Mode, RedriveExecutionRequest,
};
use proto::scheduler::v1::executions_client::ExecutionsClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::acks::Ack;
use super::logs::{LogCheck, SharedLogs};
use super::shared::Shared;
use super::verdict::{Standing, judge, judge_history};
use super::workload::Kind;
use crate::error::Error;

/// Acknowledgements that are looked at at once.
const AT_ONCE: usize = 48;
/// Acknowledgements whose looks begin in one round of [`ROUND`]: looking must not take the machine from what is tested.
const LOOKS_OF_ROUND: usize = 16;
/// Between two rounds.
const ROUND: Duration = Duration::from_millis(10);
/// A call that takes longer is made again.
const CALL_WITHIN: Duration = Duration::from_secs(5);
/// Looks that are so late are shortened.
const LATE_MS: u64 = 3_000;
/// Until an execution should have ended, there is this much more time.
const SLACK_MS: u64 = 1_500;
/// Between two looks at one that is open or missing.
const AGAIN_MS: u64 = 1_000;
/// One that is not found for so long, with everything running, is lost.
const LOST_AFTER_MS: u64 = 20_000;
/// One that has not ended for so long, with everything running, never will.
const STUCK_AFTER_MS: u64 = 90_000;
/// Every so many runs of STANDARD machines has its history read.
const HISTORY_OF: u64 = 8;

/// What the checker works with.
pub(super) struct Checker {
    shared: Arc<Shared>,
    scheduler: ExecutionsClient<Channel>,
    retention: Duration,
    logs: SharedLogs,
    /// Executions that only the log's check stands for.
    pub by_log_alone: AtomicU64,
}

/// Acknowledged executions to look at.
#[derive(Debug, Clone, Copy)]
struct Look {
    ack: Ack,
    acked_ms: u64,
    /// Last time that it was known to be open; its acknowledgement counts.
    open_ms: u64,
    /// When it is to be looked at.
    due_ms: u64,
    /// First time that it was not found.
    missing_ms: Option<u64>,
}

impl Look {
    fn new(ack: Ack, now_ms: u64) -> Self {
        let lasts = u64::try_from(ack.kind.lasts().as_millis()).unwrap_or(u64::MAX);
        Self { ack, acked_ms: now_ms, open_ms: now_ms, due_ms: now_ms + lasts + SLACK_MS, missing_ms: None }
    }
}

/// Looks that wait, by when they are due. Those that act (a redrive) come before those that only see, however many wait.
#[derive(Debug, Default)]
struct Agenda {
    acting: BTreeMap<(u64, u64), Look>,
    seeing: BTreeMap<(u64, u64), Look>,
    number: u64,
}

impl Agenda {
    fn put(&mut self, look: Look) {
        self.number += 1;
        let looks = if look.ack.kind == Kind::Redriven { &mut self.acting } else { &mut self.seeing };
        looks.insert((look.due_ms, self.number), look);
    }

    fn take(&mut self, now_ms: u64) -> Option<Look> {
        let due =
            |looks: &BTreeMap<(u64, u64), Look>| looks.keys().next().is_some_and(|(due, _)| *due <= now_ms);
        let looks = if due(&self.acting) { &mut self.acting } else { &mut self.seeing };
        looks.first_entry().filter(|entry| entry.key().0 <= now_ms).map(|entry| entry.remove())
    }

    fn is_empty(&self) -> bool {
        self.acting.is_empty() && self.seeing.is_empty()
    }
}

impl Checker {
    /// Of executions behind this scheduler.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        shared: Arc<Shared>,
        scheduler: &str,
        retention: Duration,
        logs: SharedLogs,
    ) -> Result<Arc<Self>, Error> {
        let failed = |error: tonic::transport::Error| Error::Connect {
            address: scheduler.to_owned(),
            reason: error.to_string(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{scheduler}")).map_err(failed)?;
        let endpoint = endpoint.connect_timeout(CALL_WITHIN).timeout(CALL_WITHIN).tcp_nodelay(true);
        let scheduler = ExecutionsClient::new(endpoint.connect_lazy());
        Ok(Arc::new(Self { shared, scheduler, retention, logs, by_log_alone: AtomicU64::new(0) }))
    }

    /// Until no acknowledgement comes any more and all were looked at.
    pub async fn run(self: Arc<Self>, mut synced: mpsc::Receiver<Ack>) {
        let (mut agenda, mut more) = (Agenda::default(), true);
        let mut running: JoinSet<Vec<Look>> = JoinSet::new();
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut left = LOOKS_OF_ROUND;
        while more || !agenda.is_empty() || !running.is_empty() {
            let now = self.shared.now_ms();
            tokio::select! {
                ack = synced.recv(), if more => match ack {
                    Some(ack) => {
                        self.note(&ack);
                        agenda.put(Look::new(ack, now));
                    }
                    None => more = false,
                },
                Some(done) = running.join_next() => match done {
                    Ok(again) => again.into_iter().for_each(|look| agenda.put(look)),
                    Err(error) => self.shared.fault(&format!("the checker broke: {error}")),
                },
                _ = rounds.tick() => left = LOOKS_OF_ROUND,
            }
            while left > 0
                && running.len() < AT_ONCE
                && let Some(look) = agenda.take(now)
            {
                left -= 1;
                running.spawn(Arc::clone(&self).look(look));
            }
        }
    }

    fn note(&self, ack: &Ack) {
        let noted = self.logs().acknowledge(ack);
        if let Err(wrong) = noted {
            self.shared.fault(&wrong);
        }
    }

    fn logs(&self) -> MutexGuard<'_, LogCheck> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a look could come too late: then nothing follows from not finding it.
    fn may_have_expired(&self, look: &Look) -> bool {
        let retention = u64::try_from(self.retention.as_millis()).unwrap_or(u64::MAX);
        self.shared.now_ms().saturating_sub(look.open_ms) > retention * 3 / 4
    }

    /// Looks at each execution of an acknowledgement; returns those to look at again.
    async fn look(self: Arc<Self>, look: Look) -> Vec<Look> {
        let mut again = Vec::new();
        let lag_ms = self.shared.now_ms().saturating_sub(look.due_ms);
        self.shared.look_lag_ms.fetch_max(lag_ms, Relaxed);
        let late = lag_ms > LATE_MS;
        let count = if late { 1 } else { look.ack.count };
        self.by_log_alone.fetch_add((look.ack.count - count).into(), Relaxed);
        for offset in 0..count {
            let ack = Ack {
                first_run: look.ack.first_run + u64::from(offset),
                first_index: look.ack.first_index + offset,
                count: 1,
                ..look.ack
            };
            let mut one = Look { ack, ..look };
            if self.may_have_expired(&one) {
                self.by_log_alone.fetch_add((count - offset).into(), Relaxed);
                return again;
            }
            if let Some(due_ms) = self.look_at(&mut one).await {
                again.push(Look { due_ms, ..one });
            }
        }
        again
    }

    /// When to look again, if it has to be.
    async fn look_at(&self, look: &mut Look) -> Option<u64> {
        let Some(id) = look.ack.execution(0) else {
            self.shared.fault(&format!("an acknowledgement beyond its batch: {}", look.ack.line()));
            return None;
        };
        let request = DescribeExecutionRequest { execution: id.to_string() };
        let found = match self.scheduler.clone().describe_execution(request).await {
            Ok(found) => found.into_inner(),
            Err(status) => return self.not_found(look, &status),
        };
        if look.missing_ms.take().is_some() {
            self.shared.missing_for_a_moment.fetch_add(1, Relaxed);
        }
        let Ack { kind, first_run: run, .. } = look.ack;
        match judge(kind, (self.shared.seed, run), &found) {
            Ok(Standing::Ended) if kind == Kind::Redriven && found.redrive_count == 0 => {
                self.redrive(look, id).await
            }
            Ok(Standing::Ended) => {
                self.shared.described.fetch_add(1, Relaxed);
                self.logs().describe(id);
                if kind.mode() == Mode::Standard {
                    self.shared.tasks().ended(run);
                    if run.is_multiple_of(HISTORY_OF) {
                        self.read_history(&id.to_string(), look).await;
                    }
                }
                None
            }
            Ok(Standing::Open) => self.still_open(look, &id.to_string()),
            Err(wrong) => {
                self.shared.fault(&format!("execution {id} ({}, run {run}): {wrong}", kind.name()));
                None
            }
        }
    }

    fn since_healed(&self, instant_ms: u64) -> u64 {
        self.shared.now_ms().saturating_sub(instant_ms.max(self.shared.healed_ms()))
    }

    fn still_open(&self, look: &mut Look, id: &str) -> Option<u64> {
        let now = self.shared.now_ms();
        if self.since_healed(look.acked_ms) > STUCK_AFTER_MS {
            let Ack { kind, first_run, .. } = look.ack;
            let kind = kind.name();
            self.shared
                .fault(&format!("execution {id} ({kind}, run {first_run}): expected an end, found RUNNING"));
            return None;
        }
        // It is kept for a retention from its close, which is still to come.
        look.open_ms = now;
        Some(now + AGAIN_MS)
    }

    /// Lets a failed execution go on; whether it does shows at the next look.
    async fn redrive(&self, look: &mut Look, id: ExecutionId) -> Option<u64> {
        self.logs().ask_redrive(id, (look.ack.kind, look.ack.first_run));
        let request = RedriveExecutionRequest { execution: id.to_string() };
        match self.scheduler.clone().redrive_execution(request).await {
            Ok(_) => {
                self.shared.redrives.fetch_add(1, Relaxed);
                self.logs().redrive(id);
                let now = self.shared.now_ms();
                (look.acked_ms, look.open_ms) = (now, now);
            }
            // An earlier one, whose answer was lost, has been carried out.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) => note_refusal(&self.shared, "RedriveExecution", &status),
        }
        Some(self.shared.now_ms() + AGAIN_MS)
    }

    fn not_found(&self, look: &mut Look, status: &Status) -> Option<u64> {
        let now = self.shared.now_ms();
        if status.code() != Code::NotFound {
            // The scheduler or the node is away: nothing is said about the execution.
            note_refusal(&self.shared, "DescribeExecution", status);
            return Some(now + AGAIN_MS / 4);
        }
        let since = *look.missing_ms.get_or_insert(now);
        if self.since_healed(since) < LOST_AFTER_MS {
            return Some(now + AGAIN_MS);
        }
        let Ack { kind, first_run, .. } = look.ack;
        let id = look.ack.execution(0).map(|id| id.to_string()).unwrap_or_default();
        self.shared.fault(&format!(
            "execution {id} ({}, run {first_run}) is LOST: acknowledged at {:.1} s, not found since {:.1} s: {}",
            kind.name(),
            look.acked_ms as f64 / 1e3,
            since as f64 / 1e3,
            status.message()
        ));
        None
    }

    async fn read_history(&self, id: &str, look: &Look) {
        let (mut events, mut token) = (Vec::new(), String::new());
        loop {
            let execution = id.to_owned();
            let request = GetExecutionHistoryRequest { execution, next_token: token, ..Default::default() };
            match self.scheduler.clone().get_execution_history(request).await {
                Ok(page) => {
                    let page = page.into_inner();
                    events.extend(page.events);
                    token = page.next_token;
                }
                // Whoever is away answers another time; this was a sample.
                Err(status) => {
                    if status.code() != Code::NotFound {
                        note_refusal(&self.shared, "GetExecutionHistory", &status);
                    }
                    return;
                }
            }
            if token.is_empty() {
                break;
            }
        }
        self.shared.histories.fetch_add(1, Relaxed);
        if let Err(wrong) = judge_history(&events) {
            let Ack { kind, first_run, .. } = look.ack;
            self.shared
                .fault(&format!("history of execution {id} ({}, run {first_run}): {wrong}", kind.name()));
        }
    }
}

/// A call that failed, whatever was hit meanwhile, must be one that can be made again.
pub(super) fn note_refusal(shared: &Shared, call: &str, status: &Status) {
    let may_be_made_again = match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => true,
        // The partition has moved: the next call finds its owner.
        Code::FailedPrecondition => status.message().contains("partition"),
        // The transport's words for a connection that broke.
        Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    };
    if !may_be_made_again {
        let (code, message) = (status.code(), status.message());
        shared.fault(&format!("{call} failed with what no retry mends: {code:?}, {message}"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_refusal_that_a_retry_mends_is_no_fault_and_any_other_is_one() {
        let shared = Shared::new(1, 1, PathBuf::new());
        for status in [Status::unavailable("draining"), Status::resource_exhausted("overloaded")] {
            note_refusal(&shared, "DescribeExecution", &status);
        }
        assert_eq!(shared.faults().0, 0);
        for status in [Status::data_loss("a block is broken"), Status::internal("a bug")] {
            note_refusal(&shared, "DescribeExecution", &status);
        }
        let (count, told) = shared.faults();
        assert_eq!(count, 2);
        assert!(told[0].contains("DescribeExecution") && told[0].contains("a block is broken"), "{told:?}");
    }

    #[test]
    fn looks_come_when_they_are_due_and_redrives_before_the_others() {
        let batch = ids::BatchId::new(ids::PartitionId::new(1).expect("in range"), 1, 9).expect("in range");
        let look = |kind, due_ms| Look {
            due_ms,
            ..Look::new(Ack { kind, first_run: due_ms, count: 1, batch, first_index: 0 }, 0)
        };
        let mut agenda = Agenda::default();
        [look(Kind::Pass, 5), look(Kind::Redriven, 7), look(Kind::Pass, 3), look(Kind::Redriven, 99)]
            .into_iter()
            .for_each(|look| agenda.put(look));
        let order: Vec<u64> = std::iter::from_fn(|| agenda.take(10)).map(|look| look.due_ms).collect();
        assert_eq!(order, [7, 3, 5]);
        assert!(!agenda.is_empty(), "one is not due yet");
    }
}
