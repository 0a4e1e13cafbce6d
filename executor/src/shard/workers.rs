//! Workers come, take tasks, answer, and go.
//!
//! Invariants: an outcome is taken once, from whoever holds the token; one for a STANDARD task whose partition is not served
//! here (it has left, or is being recovered or given back, and what came would not be written) is given back to the worker, to be sent again to the owner, which would have the
//! task done again else; one for a task that is no longer wanted is dropped and counted nowhere but in the log. What may fail:
//! a pool that no function is bound to; an output that is no JSON, and then the task fails.

use asl::value::JsonLimits;
use asl::{Event, Payload, Str};
use ids::PartitionId;
use proto::executor::v1;
use tokio::sync::mpsc;

use super::command::WorkerId;
use super::core::Shard;
use super::functions;
use super::log::Log;
use super::slab::Address;
use super::token::TaskToken;
use crate::limits;

/// For whom something is that a worker says.
enum Addressee {
    /// A task of this shard.
    Here(Address),
    /// One that whoever serves this partition has, or will have.
    Elsewhere(PartitionId),
    /// One that nobody waits for.
    Nobody,
}

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
            self.outcome(worker, outcome);
        }
        for token in &message.heartbeats {
            if let Addressee::Here(address) = self.addressee(token)
                && let Some(task) = self.tasks.get(address)
            {
                let (execution, effect) = (task.execution, task.effect);
                self.deliver(execution, Event::TaskHeartbeat(effect));
            }
        }
    }

    /// For whom an outcome or a heartbeat is: a task where it was when it was sent, else wherever a recovery has put it since.
    fn addressee(&mut self, token: &[u8]) -> Addressee {
        let token = self.secret.get().and_then(|secret| TaskToken::open(secret, token));
        let Some(token) = token else { return Addressee::Nobody };
        let hinted = self.tasks.at(token.hint, &token).and_then(|task| self.logs.get(usize::from(task.log)));
        if hinted.is_some_and(Log::works) {
            return Addressee::Here(token.hint);
        }
        let (id, partition) = (token.execution, token.execution.batch.partition);
        let settled = self
            .log_at(partition)
            .map(|at| &self.logs[at])
            .is_some_and(|log| log.state.serves() && !log.away.contains_key(&id));
        if !settled && token.outlives_its_owner() {
            return Addressee::Elsewhere(partition);
        }
        let open = self.find(id).and_then(|address| self.open.get(address));
        let task = open.and_then(|open| open.waiting_for.task(token.effect));
        let task = task.filter(|address| self.tasks.at(*address, &token).is_some());
        task.map_or(Addressee::Nobody, Addressee::Here)
    }

    fn outcome(&mut self, worker: WorkerId, outcome: v1::TaskOutcome) {
        let task = match self.addressee(&outcome.token) {
            Addressee::Here(address) => self.tasks.take(address),
            Addressee::Elsewhere(partition) => {
                let partition = u32::from(partition.get());
                let returned = v1::ReturnedOutcome { outcome: Some(outcome), partition };
                self.metrics.outcomes_returned.add(u64::from(self.tasks.give_back(worker, returned)));
                return;
            }
            Addressee::Nobody => None,
        };
        let Some(mut task) = task else {
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
                        match task.calls_back {
                            true => Event::TaskSubmitted { id, output },
                            false => Event::TaskSucceeded { id, output },
                        }
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
        let done = matches!(event, Event::TaskSucceeded { .. } | Event::TaskSubmitted { .. });
        let counter = if done { &self.metrics.tasks_succeeded } else { &self.metrics.tasks_failed };
        counter.add(1);
        task.errand.end(done, self.now_us);
        match event {
            Event::TaskSubmitted { id, output } => self.submitted(task.execution, id, output),
            event => self.deliver(task.execution, event),
        }
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
