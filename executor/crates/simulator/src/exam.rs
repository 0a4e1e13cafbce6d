//! The examination at the end of a run: what was acknowledged is asked for, and again after one more crash of everybody.
//!
//! Invariant: who asks for an execution that is kept gets the same end and the same history from every owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use ids::ExecutionId;
use proto::executor::v1;

use crate::audit::Violation;
use crate::process::Message;
use crate::world::World;

/// Executions that are asked for.
const ASKED: usize = 12;
/// How often a question is asked again.
const AGAIN_US: u64 = 3_000_000;
/// How long owners may take to learn what is durable.
const SETTLING_US: u64 = 5_000_000;

#[derive(Debug, Default)]
struct Answers {
    description: Option<v1::DescribeExecutionResponse>,
    history: Option<Option<Vec<v1::HistoryEvent>>>,
    listed: Option<v1::ExecutionStatus>,
}

impl Answers {
    fn are_complete(&self) -> bool {
        self.description.is_some() && self.history.is_some() && self.listed.is_some()
    }
}

/// What is asked, and what came.
#[derive(Debug, Default)]
pub struct Exam {
    asked: BTreeMap<ExecutionId, Answers>,
    before: BTreeMap<ExecutionId, Answers>,
    /// When the last end was durable.
    done_us: Option<u64>,
    asked_us: u64,
    begun: bool,
    repeated: bool,
}

impl Exam {
    /// An execution was described.
    pub fn described(&mut self, id: ExecutionId, answer: &v1::DescribeExecutionResponse) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.description = Some(answer.clone());
        }
    }

    /// The history of an execution was told, or cannot be.
    pub fn history(&mut self, id: ExecutionId, events: Option<Vec<v1::HistoryEvent>>) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.history = Some(events);
        }
    }

    /// An execution was listed.
    pub fn listed(&mut self, id: ExecutionId, status: v1::ExecutionStatus) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.listed = Some(status);
        }
    }

    /// For people.
    #[must_use]
    pub fn what_is_missing(&self) -> String {
        let what = |answers: &Answers| {
            (answers.description.is_some(), answers.history.is_some(), answers.listed.is_some())
        };
        let missing: Vec<_> =
            self.unanswered().map(|id| (id.to_string(), id.batch, what(&self.asked[&id]))).collect();
        format!("not (described, told, listed): {missing:?}")
    }

    fn unanswered(&self) -> impl Iterator<Item = ExecutionId> {
        self.asked.iter().filter(|(_, answers)| !answers.are_complete()).map(|(id, _)| *id)
    }
}

impl World {
    /// Examines what is kept; `true` when that is over.
    pub(crate) fn examine(&mut self) -> Result<bool, Violation> {
        if self.options.retention_s < 3_600 {
            return Ok(true);
        }
        let settled_us = self.exam.done_us.get_or_insert(self.now_us);
        if self.now_us - *settled_us < SETTLING_US {
            return Ok(false);
        }
        if !self.exam.begun {
            self.exam.begun = true;
            let kept = self.audit.acknowledged.iter().filter(|id| self.audit.losses.is_found(**id));
            let mut all: Vec<ExecutionId> = kept.copied().collect();
            self.rng.shuffle(&mut all);
            self.exam.asked = all.into_iter().take(ASKED).map(|id| (id, Answers::default())).collect();
            self.ask();
        }
        if self.exam.unanswered().next().is_some() {
            if self.now_us - self.exam.asked_us > AGAIN_US {
                self.ask();
            }
            return Ok(false);
        }
        self.compare()?;
        if self.exam.repeated {
            return Ok(true);
        }
        self.exam.repeated = true;
        self.exam.before = std::mem::take(&mut self.exam.asked);
        self.exam.asked = self.exam.before.keys().map(|id| (*id, Answers::default())).collect();
        let all: Vec<u32> = self.processes.keys().copied().collect();
        all.into_iter().for_each(|process| self.crash(process));
        self.exam.asked_us = self.now_us;
        Ok(false)
    }

    fn ask(&mut self) {
        self.exam.asked_us = self.now_us;
        let ids: Vec<ExecutionId> = self.exam.unanswered().collect();
        for id in ids {
            let owner = self.owner_of(id.batch.partition).1;
            self.post_to(owner, &Message::Describe(id));
            self.post_to(owner, &Message::History(id));
            if let Some(arn) = self.audit.known.get(&id).map(|known| Arc::clone(&known.arn)) {
                self.post_to(owner, &Message::List(arn));
            }
        }
    }

    fn compare(&self) -> Result<(), Violation> {
        for (id, answers) in &self.exam.asked {
            let Some(description) = &answers.description else { continue };
            let status = description.summary.as_ref().map(v1::ExecutionSummary::status).unwrap_or_default();
            if status == v1::ExecutionStatus::Running || answers.listed != Some(status) {
                let listed = answers.listed;
                return Err(format!(
                    "{id} has ended, and is described as {status:?} and listed as {listed:?}"
                ));
            }
            let output = description.output.as_ref();
            self.audit.outcome(*id, output)?;
            if let Some(history) = &answers.history {
                self.audit.history(*id, history.as_deref())?;
            }
            if let Some(before) = self.exam.before.get(id)
                && (before.description != answers.description || before.history != answers.history)
            {
                return Err(format!("{id} is told differently after a crash:\n{before:?}\n{answers:?}"));
            }
        }
        Ok(())
    }
}
