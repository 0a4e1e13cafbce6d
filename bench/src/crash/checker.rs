//! Reads back what the ledger holds, before it expires: Describe of each execution, histories of some; redrives those that
//! failed to be redriven.
//!
//! A sample of the executions, drawn by the seed, is described in lanes of its own, whole: one of it that cannot be
//! described before it expires fails the run. When most of the retention has passed it is described once more, or at the end
//! of the run, after everything was started anew. As many of the others are described as the rest of the lanes carries; for
//! what remains the log's check stands alone, which is counted. An execution that still runs is looked at again. Whoever is
//! away has said nothing; one that somebody says is not there is lost, unless it may have expired.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ids::ExecutionId;
use proto::executor::v1::{
    DescribeExecutionRequest, GetExecutionHistoryRequest, Mode, RedriveExecutionRequest,
};
use proto::scheduler::v1::executions_client::ExecutionsClient;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::acks::Ack;
use super::agenda::{Agenda, Look, Sample};
use super::logs::{LogCheck, SharedLogs};
use super::shared::Shared;
use super::verdict::{Standing, judge, judge_history};
use super::workload::Kind;
use crate::error::Error;

/// Names the one redrive that an execution gets, however often it is asked for.
const REDRIVE: &str = "the first";
/// Looks at the sample that are under way at once.
const SAMPLE_LANES: usize = 256;
/// Looks at others that are under way at once.
const OTHER_LANES: usize = 48;
/// Looks at others that begin in one round of [`ROUND`]: looking must not take the machine from what is tested.
const LOOKS_OF_ROUND: usize = 16;
/// Between two rounds.
const ROUND: Duration = Duration::from_millis(10);
/// A call that takes longer is made again.
const CALL_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at one that is open.
const AGAIN_MS: u64 = 1_000;
/// One that has not ended for so long, with everything running, never will; summed over strikes.
const STUCK_AFTER_MS: u64 = 90_000;
/// Every so many runs of STANDARD machines has its history read.
const HISTORY_OF: u64 = 8;

/// What the checker works with.
pub(super) struct Checker {
    shared: Arc<Shared>,
    scheduler: ExecutionsClient<Channel>,
    retention: Duration,
    logs: SharedLogs,
    sample: Sample,
    /// What is to be looked at again at the end.
    kept: Mutex<Vec<Look>>,
    /// What the looks have come to.
    pub seen: SeenCounts,
}

/// What the looks have come to.
#[derive(Debug, Default)]
pub(super) struct SeenCounts {
    /// Executions of the sample.
    pub sampled: AtomicU64,
    /// Of those: described at their right end.
    pub sample_described: AtomicU64,
    /// Of those: described once more, when most of the retention had passed or after everything was started anew.
    pub described_again: AtomicU64,
    /// Of those: not asked about again in time.
    pub missed_again: AtomicU64,
    /// Executions that only the log's check stands for.
    pub by_log_alone: AtomicU64,
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
        sample: Sample,
    ) -> Result<Arc<Self>, Error> {
        let failed = |error: tonic::transport::Error| Error::Connect {
            address: scheduler.to_owned(),
            reason: error.to_string(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{scheduler}")).map_err(failed)?;
        let endpoint = endpoint.connect_timeout(CALL_WITHIN).timeout(CALL_WITHIN).tcp_nodelay(true);
        let scheduler = ExecutionsClient::new(endpoint.connect_lazy());
        let (kept, seen) = Default::default();
        Ok(Arc::new(Self { shared, scheduler, retention, logs, sample, kept, seen }))
    }

    /// Until no acknowledgement comes any more and all were looked at; what is to be looked at again is left for
    /// [`Checker::finish`].
    pub async fn run(self: Arc<Self>, mut synced: mpsc::Receiver<Ack>) {
        let (mut sample, mut others, mut again) = (Agenda::default(), Agenda::default(), Agenda::default());
        let (mut sampling, mut looking): (JoinSet<Vec<Look>>, JoinSet<Vec<Look>>) = Default::default();
        let (mut left, mut more) = (LOOKS_OF_ROUND, true);
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while more || !(sample.is_empty() && others.is_empty() && sampling.is_empty() && looking.is_empty()) {
            let now = self.shared.now_ms();
            tokio::select! {
                ack = synced.recv(), if more => match ack {
                    Some(ack) => self.plan(ack, &mut sample, &mut others),
                    None => more = false,
                },
                Some(done) = sampling.join_next() => self.put_again(done, &mut sample, &mut again),
                Some(done) = looking.join_next() => self.put_again(done, &mut others, &mut again),
                _ = rounds.tick() => left = LOOKS_OF_ROUND,
            }
            while sampling.len() < SAMPLE_LANES
                && let Some(look) = sample.take(now).or_else(|| again.take(now))
            {
                sampling.spawn(Arc::clone(&self).look(look));
            }
            while left > 0
                && !sample.is_late(now)
                && looking.len() < OTHER_LANES
                && let Some(look) = others.take(now)
            {
                left -= 1;
                looking.spawn(Arc::clone(&self).look(look));
            }
        }
        self.kept().extend(again.drain());
    }

    fn plan(&self, ack: Ack, sample: &mut Agenda, others: &mut Agenda) {
        self.note(&ack);
        for look in self.sample.looks(ack, (self.shared.now_ms(), self.shared.healthy_ms())) {
            if look.sampled {
                self.seen.sampled.fetch_add(1, Relaxed);
                sample.put(look);
            } else {
                others.put(look);
            }
        }
    }

    /// Looks again, now, at what was left.
    pub async fn finish(self: Arc<Self>) {
        let mut agenda = Agenda::default();
        let left = std::mem::take(&mut *self.kept());
        left.into_iter().for_each(|look| agenda.put(Look { due_ms: self.shared.now_ms(), ..look }));
        let mut looking: JoinSet<Vec<Look>> = JoinSet::new();
        let mut rounds = tokio::time::interval(ROUND);
        while !(agenda.is_empty() && looking.is_empty()) {
            tokio::select! {
                Some(done) = looking.join_next() => self.put_again(done, &mut Agenda::default(), &mut agenda),
                _ = rounds.tick() => {}
            }
            while looking.len() < SAMPLE_LANES
                && let Some(look) = agenda.take(self.shared.now_ms())
            {
                looking.spawn(Arc::clone(&self).look(look));
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Look>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_again(&self, done: Result<Vec<Look>, JoinError>, agenda: &mut Agenda, kept: &mut Agenda) {
        match done {
            Ok(looks) => {
                looks.into_iter().for_each(|look| if look.again { kept.put(look) } else { agenda.put(look) })
            }
            Err(error) => self.shared.fault(&format!("the checker broke: {error}")),
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

    fn retention_ms(&self) -> u64 {
        u64::try_from(self.retention.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether nothing follows from not finding it.
    fn may_have_expired(&self, look: &Look) -> bool {
        self.age_ms(look) > self.retention_ms() / 10 * 9
    }

    /// Whether a look would be in vain. One of the sample is asked about for longer than it must be kept: found is found.
    fn is_over(&self, look: &Look) -> bool {
        let patient = look.sampled && !self.shared.is_faulty();
        let until_ms = if patient { self.retention_ms() * 2 } else { self.retention_ms() / 4 * 3 };
        self.age_ms(look) > until_ms
    }

    fn age_ms(&self, look: &Look) -> u64 {
        self.shared.now_ms().saturating_sub(look.open_ms)
    }

    /// Looks at each execution of an acknowledgement; returns those to look at again.
    async fn look(self: Arc<Self>, look: Look) -> Vec<Look> {
        let mut again = Vec::new();
        let lag_ms = self.shared.now_ms().saturating_sub(look.due_ms);
        self.shared.look_lag_ms.fetch_max(lag_ms, Relaxed);
        // Others that are so late that all of them would become too late are shortened.
        let count = if lag_ms > self.retention_ms() / 4 { 1 } else { look.ack.count };
        self.seen.by_log_alone.fetch_add((look.ack.count - count).into(), Relaxed);
        for offset in 0..count {
            let mut one = look.part(offset, 1);
            if self.is_over(&one) {
                self.expire(&look.part(offset, count - offset));
                return again;
            }
            if let Some(due_ms) = self.look_at(&mut one).await {
                again.push(Look { due_ms, ..one });
            }
        }
        again
    }

    /// It is too late to look: one of the sample is missed at the end.
    fn expire(&self, look: &Look) {
        let missed = if look.again { &self.seen.missed_again } else { &self.seen.by_log_alone };
        if look.again || !look.sampled {
            missed.fetch_add(look.ack.count.into(), Relaxed);
        }
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
        let Ack { kind, first_run: run, .. } = look.ack;
        let redriven = kind == Kind::Redriven && found.redrive_count == 0;
        match judge(kind, (self.shared.seed, run), &found) {
            Ok(Standing::Open) if !look.again => self.still_open(look, &id.to_string()),
            Ok(Standing::Ended) if redriven && !look.again => self.redrive(look, id).await,
            Ok(Standing::Ended) if !redriven => {
                if kind.mode() == Mode::Standard && !look.again {
                    self.shared.tasks().ended(run);
                    if run.is_multiple_of(HISTORY_OF) && !self.read_history(&id.to_string(), look).await {
                        return Some(self.shared.now_ms() + AGAIN_MS / 4);
                    }
                }
                self.described(look, id)
            }
            Ok(Standing::Condemned) => self.described(look, id),
            Ok(stands) => {
                self.shared.fault(&format!(
                    "execution {id} ({}, run {run}) had ended, and is found as {stands:?}, redriven {} times",
                    kind.name(),
                    found.redrive_count
                ));
                None
            }
            Err(wrong) => {
                self.shared.fault(&format!("execution {id} ({}, run {run}): {wrong}", kind.name()));
                None
            }
        }
    }

    /// It was found as it must be; one of the sample is looked at again when most of the retention has passed.
    fn described(&self, look: &mut Look, id: ExecutionId) -> Option<u64> {
        if look.again {
            self.seen.described_again.fetch_add(1, Relaxed);
            return None;
        }
        self.shared.described.fetch_add(1, Relaxed);
        self.logs().describe(id);
        if !look.sampled {
            return None;
        }
        self.seen.sample_described.fetch_add(1, Relaxed);
        look.again = true;
        Some(look.open_ms + self.retention_ms() / 10 * 7)
    }

    fn still_open(&self, look: &mut Look, id: &str) -> Option<u64> {
        let now = self.shared.now_ms();
        if self.shared.healthy_ms().saturating_sub(look.healthy_ms) > STUCK_AFTER_MS {
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
        let request = RedriveExecutionRequest { execution: id.to_string(), client_token: REDRIVE.to_owned() };
        match self.scheduler.clone().redrive_execution(request).await {
            Ok(_) => {
                self.shared.redrives.fetch_add(1, Relaxed);
                self.logs().redrive(id);
                let now = self.shared.now_ms();
                (look.acked_ms, look.open_ms, look.healthy_ms) = (now, now, self.shared.healthy_ms());
            }
            // Asked for again by the same name, one that was carried out is answered like the first time.
            Err(status) if note_refusal(&self.shared, "RedriveExecution", &status) => {}
            Err(_) => return None,
        }
        Some(self.shared.now_ms() + AGAIN_MS)
    }

    fn not_found(&self, look: &mut Look, status: &Status) -> Option<u64> {
        let now = self.shared.now_ms();
        if status.code() != Code::NotFound {
            // The scheduler or the node is away: nothing is said about the execution.
            return note_refusal(&self.shared, "DescribeExecution", status).then_some(now + AGAIN_MS / 4);
        }
        if self.may_have_expired(look) {
            self.expire(look);
        } else {
            self.lost(look, status.message());
        }
        None
    }

    fn lost(&self, look: &Look, why: &str) {
        let Ack { kind, first_run, .. } = look.ack;
        let id = look.ack.execution(0).map(|id| id.to_string()).unwrap_or_default();
        self.shared.fault(&format!(
            "execution {id} ({}, run {first_run}) is LOST: acknowledged at {:.1} s, {}: {why}",
            kind.name(),
            look.acked_ms as f64 / 1e3,
            if look.again { "found at its end once, not found again" } else { "not found" }
        ));
    }

    /// `false` when whoever has it is away.
    async fn read_history(&self, id: &str, look: &Look) -> bool {
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
                Err(status) => return !note_refusal(&self.shared, "GetExecutionHistory", &status),
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
        true
    }
}

/// A call that failed, whatever was hit meanwhile, must be one that can be made again: `true`. Anything else is a fault.
pub(super) fn note_refusal(shared: &Shared, call: &str, status: &Status) -> bool {
    let may_be_made_again = match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => true,
        // The partition has moved: the next call finds its owner. No other precondition comes and goes.
        Code::FailedPrecondition => {
            status.get_error_details().error_info().is_some_and(|info| info.reason == "NotOwner")
        }
        // Our own transport's words for a connection that broke; what a server says has no source.
        Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    };
    if !may_be_made_again {
        let (code, message) = (status.code(), status.message());
        shared.fault(&format!("{call} failed with what no retry mends: {code:?}, {message}"));
    }
    may_be_made_again
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn checker(retention: Duration) -> Arc<Checker> {
        let shared = Arc::new(Shared::new(1, 1, PathBuf::new()));
        let sample = Sample { seed: 1, of: 2 };
        Checker::new(shared, "127.0.0.1:1", retention, SharedLogs::default(), sample).expect("an address")
    }

    fn look(kind: Kind) -> Look {
        let batch = ids::BatchId::new(ids::PartitionId::new(1).expect("in range"), 1, 9).expect("in range");
        Look::new(Ack { kind, first_run: 40, count: 1, batch, first_index: 0 }, (0, 0), true)
    }

    #[test]
    fn a_refusal_that_a_retry_mends_is_no_fault_and_any_other_is_one() {
        let shared = Shared::new(1, 1, PathBuf::new());
        let mut details = tonic_types::ErrorDetails::new();
        details.set_error_info("NotOwner", "executor", std::collections::HashMap::new());
        for status in [
            Status::unavailable("draining"),
            Status::resource_exhausted("overloaded"),
            Status::deadline_exceeded("slow"),
            Status::cancelled("gone"),
            Status::with_error_details(Code::FailedPrecondition, "moved", details),
        ] {
            assert!(note_refusal(&shared, "DescribeExecution", &status), "{status}");
        }
        assert_eq!(shared.faults().0, 0);
        let wrong = [
            Status::data_loss("a block is broken"),
            Status::internal("a bug"),
            Status::unknown("who knows"),
            Status::failed_precondition("the store refuses to give partition 3"),
            Status::not_found("no history"),
        ];
        for status in &wrong {
            assert!(!note_refusal(&shared, "DescribeExecution", status), "{status}");
        }
        let (count, told) = shared.faults();
        assert_eq!(count, wrong.len() as u64);
        assert!(told[0].contains("DescribeExecution") && told[0].contains("a block is broken"), "{told:?}");
    }

    #[tokio::test]
    async fn what_is_not_found_is_lost_at_once_and_who_is_away_has_said_nothing() {
        let checker = checker(Duration::from_secs(60));
        let mut look = look(Kind::Pass);
        assert!(checker.not_found(&mut look, &Status::unavailable("it recovers")).is_some());
        assert_eq!(checker.shared.faults().0, 0);
        assert_eq!(checker.not_found(&mut look, &Status::not_found("no execution")), None);
        assert!(checker.shared.faults().1[0].contains("LOST"));
    }

    #[tokio::test]
    async fn what_may_have_expired_is_not_lost_and_is_counted() {
        let checker = checker(Duration::ZERO);
        let absent = Status::not_found("no execution");
        while checker.shared.now_ms() == 0 {
            tokio::task::yield_now().await;
        }
        let mut again = Look { again: true, ..look(Kind::Pass) };
        assert_eq!(checker.not_found(&mut again, &absent), None);
        let unseen = Look { sampled: false, ..look(Kind::Pass) };
        assert!(Arc::clone(&checker).look(unseen).await.is_empty());
        let seen = &checker.seen;
        assert_eq!((seen.missed_again.load(Relaxed), seen.by_log_alone.load(Relaxed)), (1, 1));
        assert_eq!(checker.shared.faults().0, 0);
    }

    #[tokio::test]
    async fn one_of_the_sample_is_looked_at_again_when_most_of_the_retention_has_passed() {
        let checker = checker(Duration::from_secs(60));
        let mut look = look(Kind::Pass);
        let id = look.ack.execution(0).expect("in range");
        assert_eq!(checker.described(&mut look, id), Some(42_000));
        assert_eq!(checker.described(&mut look, id), None);
        let seen = &checker.seen;
        assert_eq!((seen.sample_described.load(Relaxed), seen.described_again.load(Relaxed)), (1, 1));
    }

    #[tokio::test]
    async fn a_damage_ends_a_look_and_is_a_fault() {
        let checker = checker(Duration::from_secs(60));
        assert_eq!(checker.not_found(&mut look(Kind::Pass), &Status::data_loss("a block is broken")), None);
        assert_eq!(checker.shared.faults().0, 1);
    }
}
