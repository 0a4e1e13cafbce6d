//! Callbacks: tasks that wait for their tokens, and whoever sends them, early, late, twice, or never.
//!
//! Invariant: what a callback says follows from its task's input. What may fail: an acknowledged callback that is not in the log,
//! which is a violation.

use std::sync::Arc;

use asl::Payload;
use executor::secret::ClusterSecret;
use executor::shard::{Callback, Command, TaskToken};
use ids::{ExecutionId, PartitionId};
use journal::JournalledKind;
use proto::executor::v1;
use proto::executor::v1::task_outcome::Outcome;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::answers::Answer;
use crate::audit::{Audit, Violation, field};
use crate::process::Message;
use crate::world::{Event, World};

/// The key of the secret that all processes of a cluster have.
pub const SECRET: [u8; 32] = [7; 32];

/// How a task went, and by which token that is said.
#[derive(Debug)]
pub struct CallBack {
    token: TaskToken,
    /// Of the task, in its outcome.
    key: String,
    outcome: Outcome,
}

impl CallBack {
    /// Of a task whose input says its token.
    fn of(input: &Value, key: &str, outcome: &Outcome) -> Option<Arc<Self>> {
        let token = input.get("token")?.as_str()?;
        let token = TaskToken::open_text(&ClusterSecret::from_key(&SECRET).get().ok()?, token)?;
        Some(Arc::new(Self { token, key: key.to_owned(), outcome: outcome.clone() }))
    }

    /// As a shard is told it.
    pub fn command(&self) -> (Command, Answer<()>) {
        let (reply, answer) = oneshot::channel();
        let callback = match &self.outcome {
            Outcome::Output(output) => Callback::Succeeded(Payload::from_checked(output.clone())),
            Outcome::Failure(v1::TaskFailure { error, cause }) => {
                Callback::Failed { error: error.as_str().into(), cause: cause.as_str().into() }
            }
        };
        (Command::Callback { token: self.token, callback, reply }, answer)
    }
}

impl World {
    /// A task that waits for its token was given out: somebody will send that. Gives what its worker answers.
    pub(crate) fn call_back(&mut self, input: &Value, key: &str, outcome: Outcome) -> Outcome {
        let Some(callback) = CallBack::of(input, key, &outcome) else { return outcome };
        let options = self.options.worker.clone();
        let twice = self.rng.permille(options.twice);
        if !self.rng.permille(options.never) {
            for _ in 0..1 + u64::from(twice) {
                let in_us = 1 + self.rng.below(2 * options.task_us);
                self.after(in_us, Event::CallsBack(Arc::clone(&callback)));
            }
        }
        Outcome::Output("null".into())
    }

    /// Whoever has the partition now is told.
    pub(crate) fn calls_back(&mut self, callback: Arc<CallBack>) {
        let partition: PartitionId = callback.token.execution.batch.partition;
        let owner = self.owner_of(partition).1;
        self.post_to(owner, &Message::CallBack(callback));
    }

    /// A callback was acknowledged.
    pub(crate) fn called_back(&mut self, callback: &CallBack) -> Result<(), Violation> {
        self.report.called_back += 1;
        match &callback.outcome {
            Outcome::Output(_) => self.audit.called_back(callback.token.execution, &callback.key),
            Outcome::Failure(_) => Ok(()),
        }
    }
}

impl Audit {
    /// Somebody is told that the outcome of a task was taken.
    ///
    /// # Errors
    /// It is not in the log.
    fn called_back(&self, id: ExecutionId, key: &str) -> Result<(), Violation> {
        let mut told = self.journal.range((id, 0)..=(id, u32::MAX)).map(|(_, (_, told))| told);
        let durable = told.any(|told| {
            told.kind == JournalledKind::TaskSucceeded && field(&told.payload, "key").as_deref() == Some(key)
        });
        if durable || self.losses.touch(id) {
            return Ok(());
        }
        Err(format!("the callback of task {key} of {id} was acknowledged, and is not in the log"))
    }
}
