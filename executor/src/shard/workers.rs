//! Workers come, take tasks, answer, and go.
//!
//! Invariants: an outcome is taken once, from whoever holds the token; one for a task that is no longer wanted is dropped
//! and counted nowhere but in the log. What may fail: a pool that no function is bound to; an output that is no JSON, and
//! then the task fails.

use asl::value::JsonLimits;
use asl::{Event, Payload, Str};
use proto::executor::v1;
use tokio::sync::mpsc;

use super::command::WorkerId;
use super::core::Shard;
use super::functions;
use super::slab::Address;
use super::token::TaskToken;
use crate::limits;

impl Shard {
    pub(super) fn worker_attached(
        &mut self,
        worker: WorkerId,
        hello: &v1::WorkerHello,
        tasks: mpsc::Sender<v1::TaskBatch>,
    ) {
        // Dropping `tasks` ends the worker's stream.
        let Some(pool) = self.bindings.pool(&hello.pool) else {
            tracing::warn!(
                pool = hello.pool,
                worker = hello.worker,
                "a worker came for a pool that no function is bound to: start the node with --bind 'PATTERN=POOL'"
            );
            return;
        };
        if !self.tasks.attach(worker, pool, tasks) {
            tracing::warn!(
                pool = hello.pool,
                worker = hello.worker,
                limit = limits::WORKERS_MAX,
                "a worker was turned away: this shard has as many as it takes"
            );
        }
    }

    pub(super) fn worker_message(&mut self, worker: WorkerId, message: v1::WorkerMessage) {
        self.tasks.grant(worker, message.credit);
        for outcome in message.outcomes {
            self.outcome(outcome);
        }
        for token in &message.heartbeats {
            if let Some(task) = self.task_of(token).and_then(|address| self.tasks.get(address)) {
                let (execution, effect) = (task.execution, task.effect);
                self.deliver(execution, Event::TaskHeartbeat(effect));
            }
        }
    }

    /// The task of a token, if somebody still waits for it: where it was when it was sent, else wherever a recovery has put
    /// it since.
    fn task_of(&mut self, token: &[u8]) -> Option<Address> {
        let token = TaskToken::open(self.secret.get()?, token)?;
        if self.tasks.at(token.hint, &token).is_some() {
            return Some(token.hint);
        }
        let open = self.open.get(self.find(token.execution)?)?;
        let address = open.waiting_for.task(token.effect)?;
        self.tasks.at(address, &token).map(|_| address)
    }

    fn outcome(&mut self, outcome: v1::TaskOutcome) {
        let Some(task) = self.task_of(&outcome.token).and_then(|address| self.tasks.take(address)) else {
            tracing::debug!("an outcome came for a task that nobody waits for");
            return;
        };
        if let Some(open) = self.open.get_mut(task.execution) {
            open.waiting_for.remove(task.effect, true);
        }
        let id = task.effect;
        let failed = |error: Str, cause: Str| Event::TaskFailed { id, error, cause };
        let event = match outcome.outcome {
            Some(v1::task_outcome::Outcome::Output(output)) => {
                let limits = JsonLimits { bytes: limits::TASK_OUTPUT_BYTES_MAX, ..JsonLimits::default() };
                match Payload::check(output, limits) {
                    Ok(output) => {
                        // The answer outlives its frame, which holds many others.
                        let output = functions::output(output.detach(), task.wrapped);
                        Event::TaskSucceeded { id, output }
                    }
                    Err(problem) => {
                        let (error, cause) = functions::no_json(&problem);
                        failed(error, cause)
                    }
                }
            }
            Some(v1::task_outcome::Outcome::Failure(failure)) => {
                let error = cut(&failure.error, limits::ERROR_BYTES_MAX);
                failed(error.into(), cut(&failure.cause, limits::CAUSE_BYTES_MAX).into())
            }
            None => failed("Lambda.Unknown".into(), "The worker sent no outcome.".into()),
        };
        let counter = match event {
            Event::TaskSucceeded { .. } => &self.metrics.tasks_succeeded,
            _ => &self.metrics.tasks_failed,
        };
        counter.add(1);
        self.deliver(task.execution, event);
    }
}

/// At most so many bytes of a text, cut at a character.
pub(super) fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aЖЖ", 4), "aЖ");
        assert_eq!(cut("Ж", 1), "");
    }
}
