//! Workers: they do their tasks late, twice, never, or as they should.
//!
//! Invariant: the outcome of a task follows from its input, however often it is done; which of them fail for a while is
//! drawn from the seed.

use bytes::Bytes;
use ids::PartitionId;
use proto::executor::v1;
use proto::executor::v1::task_outcome::Outcome;
use serde_json::{Value, json};

use crate::audit::{Violation, task_key};
use crate::mutation::Mutation;
use crate::process::Message;
use crate::world::{Event, World};

/// How long a late task takes: longer than its timeout.
const LATE_US: u64 = 25_000_000;

/// The partition that an input names.
fn partition_of(input: &Value) -> Option<PartitionId> {
    let text = input.get("id")?.as_str()?;
    PartitionId::new(text.strip_prefix('p')?.split_once('.')?.0.parse().ok()?).ok()
}

/// What a function makes of its input.
fn outcome(function: &str, input: &Value, key: &str) -> Outcome {
    if function.ends_with(":reject") {
        let (error, cause) = ("Rejected".to_owned(), String::new());
        return Outcome::Failure(v1::TaskFailure { error, cause });
    }
    let number = |name| input.get(name).and_then(Value::as_i64).unwrap_or_default();
    let output = json!({"id": input["id"], "v": number("v") + number("add"), "key": key});
    Outcome::Output(Bytes::from(output.to_string()))
}

impl World {
    /// A process gives tasks to a worker.
    pub(crate) fn given_out(
        &mut self,
        process: u32,
        worker: u64,
        mut batch: v1::TaskBatch,
    ) -> Result<(), Violation> {
        if self.mutations.has(Mutation::WorkerMixesUpTokens) {
            let tokens: Vec<Bytes> = batch.tasks.iter().map(|task| task.token.clone()).rev().collect();
            batch.tasks.iter_mut().zip(tokens).for_each(|(task, token)| task.token = token);
        }
        for task in batch.tasks {
            let input: Value = serde_json::from_slice(&task.input).unwrap_or_default();
            let partition = partition_of(&input).ok_or("a task whose input nobody sent")?;
            let (owner, taken_us) = self.desk.with(|image| image.owner(partition));
            let slept_us = self.processes.get(&process).map_or(0, |process| process.slept_us);
            let stale_us = (owner != process).then(|| (self.now_us - taken_us).saturating_sub(slept_us));
            self.audit.given_out(&task.input, process, stale_us)?;
            self.trace.note(self.now_us, "task", [u64::from(process), worker]);
            self.trace.say(self.now_us, "  task", || String::from_utf8_lossy(&task.input).into_owned());
            self.work(process, worker, task, &input);
        }
        if self.rng.permille(self.options.worker.leave) {
            self.change_workers(process);
        }
        Ok(())
    }

    fn work(&mut self, process: u32, worker: u64, task: v1::Task, input: &Value) {
        let options = self.options.worker.clone();
        let key = task_key(&task.input).unwrap_or_default();
        let done = if self.rng.permille(options.flaky) {
            let (error, cause) = ("Flaky".to_owned(), String::new());
            Outcome::Failure(v1::TaskFailure { error, cause })
        } else {
            outcome(&task.function, input, &key)
        };
        let never = self.rng.permille(options.never);
        let twice = self.rng.permille(options.twice);
        let late_us = if self.rng.permille(options.late) { LATE_US } else { 0 };
        let done = self.call_back(input, &key, done);
        let outcome = v1::TaskOutcome { token: task.token, outcome: Some(done) };
        let outcomes = if never { Vec::new() } else { vec![outcome] };
        let says = v1::WorkerMessage { credit: 1, outcomes, ..Default::default() };
        for _ in 0..1 + u64::from(twice) {
            let in_us =
                late_us + 1 + self.rng.below(options.task_us) + self.rng.below(self.options.network_us);
            if !self.rng.permille(self.options.drop) {
                self.after(
                    in_us,
                    Event::Arrives(process, Box::new(Message::WorkerSays(worker, says.clone()))),
                );
            }
        }
    }
}
