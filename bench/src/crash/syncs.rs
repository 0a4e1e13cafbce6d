//! Synchronous executions: started one by one, each at most once, whatever is hit meanwhile.
//!
//! A call that is answered is an acknowledgement like any other. One that breaks is not made again under the same run: its
//! execution may have ended, or is closed as FAILED by whoever recovers its partition; the worker sees none of its tasks
//! twice, and the logs hold one end of it. An answer is held against what the run must come to.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ids::ExecutionId;
use proto::executor::v1::{ExecutionStatus, StartSyncExecutionResponse};
use proto::scheduler::v1::StartExecutionRequest;
use proto::scheduler::v1::executions_client::ExecutionsClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::acks::Ack;
use super::checker::note_refusal;
use super::shared::Shared;
use super::verdict::{Outcome, Verdict, is_sync_ended, judge_outcome};
use super::workload::{Kind, SYNC_RUNS};
use crate::error::Error;

/// Between two starts.
const EVERY: Duration = Duration::from_millis(50);
/// Calls that wait for their answer; beyond that none is made.
const CALLS_MAX: usize = 64;
/// An answer that does not come in this time is not waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Syncs {
    shared: Arc<Shared>,
    scheduler: ExecutionsClient<Channel>,
    arn: String,
    acks: mpsc::Sender<Ack>,
}

impl Syncs {
    /// Of a machine behind a scheduler.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        shared: Arc<Shared>,
        scheduler: &str,
        arn: String,
        acks: mpsc::Sender<Ack>,
    ) -> Result<Arc<Self>, Error> {
        let failed = |error: tonic::transport::Error| Error::Connect {
            address: scheduler.to_owned(),
            reason: error.to_string(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{scheduler}")).map_err(failed)?;
        let endpoint = endpoint.timeout(ANSWER_WITHIN).tcp_nodelay(true);
        let scheduler = ExecutionsClient::new(endpoint.connect_lazy());
        Ok(Arc::new(Self { shared, scheduler, arn, acks }))
    }

    /// Starts one after the other until `stop`, and waits for the last answers.
    pub async fn run(self: Arc<Self>, stop: Arc<AtomicBool>) {
        let mut running: JoinSet<()> = JoinSet::new();
        let mut run = SYNC_RUNS;
        while !stop.load(Relaxed) {
            while running.try_join_next().is_some() {}
            if running.len() < CALLS_MAX {
                running.spawn(Arc::clone(&self).start(run));
                run += 1;
            }
            tokio::time::sleep(EVERY).await;
        }
        while running.join_next().await.is_some() {}
    }

    async fn start(self: Arc<Self>, run: u64) {
        let input = Kind::Sync.input_bytes(self.shared.seed, run);
        let request = StartExecutionRequest {
            state_machine_arn: self.arn.clone(),
            name: String::new(),
            input,
            ..Default::default()
        };
        match self.scheduler.clone().start_sync_execution(request).await {
            Ok(answer) => self.answered(run, &answer.into_inner()).await,
            Err(status) => {
                self.shared.syncs_unknown.fetch_add(1, Relaxed);
                // What is refused because there is no room was not begun.
                if status.code() != Code::ResourceExhausted {
                    self.shared.unanswered([run]);
                }
                note_refusal(&self.shared, "StartSyncExecution", &status);
            }
        }
    }

    async fn answered(&self, run: u64, answer: &StartSyncExecutionResponse) {
        let summary = answer.summary.clone().unwrap_or_default();
        let ended = answer.cause.as_deref().is_some_and(is_sync_ended);
        let Ok(id) = summary.execution_id.parse::<ExecutionId>() else {
            return self.shared.fault(&format!("synchronous run {run} was answered without an id"));
        };
        if summary.status() == ExecutionStatus::Failed && ended {
            // The log must say the same, and that its partition was lost or given back.
            return self.shared.parted(id);
        }
        let outcome = Outcome {
            status: summary.status(),
            output: answer.output.as_deref(),
            error: answer.error.as_deref(),
            cause: answer.cause.as_deref(),
        };
        let judged = judge_outcome(&Kind::Sync.expected(self.shared.seed, run, 0), outcome);
        if judged != Ok(Verdict::Right) {
            let wrong = judged.err().unwrap_or_else(|| "it is blamed for kills".to_owned());
            self.shared.fault(&format!("synchronous execution {id} (run {run}), answered: {wrong}"));
        }
        self.shared.syncs_answered.fetch_add(1, Relaxed);
        let ack =
            Ack { kind: Kind::Sync, first_run: run, count: 1, batch: id.batch, first_index: id.index.into() };
        // The ledger's thread is gone when the run is over.
        let _ = self.acks.send(ack).await;
    }
}
