//! Errors: what they are called, who may retry or catch them, and how they end what is around them.

use super::effect::Outcome;
use super::flow::DATA_LIMIT_EXCEEDED;
use super::map_run::{ITEM_READER_FAILED, RESULT_WRITER_FAILED, TOLERANCE_EXCEEDED};
use super::run::{Run, Step, fault, state_type};
use super::threads::{ROOT, Thread, Work};
use crate::history::{EventKind, Iteration, Note, Observer, Stage};
use crate::path::EvalError;
use crate::program::{Catcher, Kind, Retrier, State};
use crate::value::{Str, Value};

const ALL: &str = "States.ALL";
const TASK_FAILED: &str = "States.TaskFailed";
const BRANCH_FAILED: &str = "States.BranchFailed";
/// A task, or the whole execution, took too long.
pub(super) const TIMEOUT: &str = "States.Timeout";
/// A task's worker was silent for too long.
const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
/// The longest delay, in seconds, as the language bounds `IntervalSeconds`.
const DELAY_SECONDS_MAX: u64 = 99_999_999;

/// How a state failed. Both texts are optional, as a Fail state's are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub error: Option<Str>,
    pub cause: Option<Str>,
    /// A missed heartbeat: told as `States.Timeout`, but also taken by `States.HeartbeatTimeout`.
    pub heartbeat: bool,
}

impl Failure {
    fn name(&self) -> &str {
        self.error.as_deref().unwrap_or_default()
    }

    /// What a catcher gets; `null` stands for a text that is not there, but a timeout has an empty cause.
    fn output(&self) -> Value {
        let cause = if self.name() == TIMEOUT {
            Some(self.cause.clone().unwrap_or_default())
        } else {
            self.cause.clone()
        };
        Value::object([("Error", Value::from(self.error.clone())), ("Cause", Value::from(cause))])
    }
}

/// Whether a retrier or catcher with these names takes an error.
///
/// `States.Runtime` is never taken, `States.DataLimitExceeded` only by its own name. `States.ALL` takes anything else,
/// `States.TaskFailed` anything but `States.Timeout`, `States.HeartbeatTimeout` the timeouts that a missed heartbeat was
/// the reason of, and `States.BranchFailed` whatever ended a branch: Step Functions hands on the branch's own error.
fn takes(names: &[Str], failure: &Failure, of_branch: bool) -> bool {
    let error = failure.name();
    if error == EvalError::RUNTIME {
        return false;
    }
    names.iter().any(|name| match name.as_str() {
        own if own == error => true,
        _ if error == DATA_LIMIT_EXCEEDED => false,
        ALL => true,
        TASK_FAILED => error != TIMEOUT,
        HEARTBEAT_TIMEOUT => failure.heartbeat,
        BRANCH_FAILED => of_branch,
        _ => false,
    })
}

/// How long to wait before the `attempt`th retry (from 1), in milliseconds. `draw` is uniform in 64 bits.
pub(super) fn delay_millis(retrier: &Retrier, attempt: u32, draw: u64) -> u64 {
    let longest = retrier.max_delay_seconds.unwrap_or(DELAY_SECONDS_MAX).min(DELAY_SECONDS_MAX);
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    #[allow(clippy::cast_precision_loss, reason = "both are below 2^53, or bounded by min")]
    let seconds = (retrier.interval_seconds as f64 * retrier.backoff_rate.powi(exponent)).min(longest as f64);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10^11")]
    let millis = (seconds * 1000.0) as u64;
    if !retrier.full_jitter {
        return millis;
    }
    // Uniform in 0..=millis: the high half of a 128-bit product.
    let scaled = (u128::from(draw) * u128::from(millis + 1)) >> 64;
    u64::try_from(scaled).unwrap_or(millis)
}

/// Uniform in 64 bits, from the execution's seed and the number of the draw (the finaliser of SplitMix64).
pub(super) fn draw(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl<'a, O: Observer> Run<'a, O> {
    /// An evaluation's error as the state's failure; the history tells of one in a field of a JSONata state.
    pub fn evaluation_failed(&mut self, slot: u32, error: EvalError) -> Box<Failure> {
        let EvalError { error, message, location } = error;
        let cause = if [DATA_LIMIT_EXCEEDED, ITEM_READER_FAILED, RESULT_WRITER_FAILED, TOLERANCE_EXCEEDED]
            .contains(&error)
        {
            Str::from(message)
        } else {
            let name = &self.state(slot).name;
            let event = self.threads.at(slot).entered_event;
            ecow::eco_format!(
                "An error occurred while executing the state '{name}' (entered at the event id #{event}). {message}"
            )
        };
        let failure = Failure { error: Some(Str::from(error)), cause: Some(cause), heartbeat: false };
        if let Some(location) = location {
            self.note_evaluation(slot, &location, &failure);
        }
        Box::new(failure)
    }

    fn note_evaluation(&mut self, slot: u32, location: &Str, failure: &Failure) {
        let state = self.state(slot);
        let Thread { previous, entered_event, entered_after, .. } = self.threads.at_mut(slot);
        // Step Functions evaluates what a state begins with before its line of events has reached the state; a Wait looks
        // at its value later.
        if *previous == *entered_event && !matches!(state.kind, Kind::Wait(_)) {
            *previous = *entered_after;
        }
        let fault = fault(&failure.error, &failure.cause);
        let event = EventKind::EvaluationFailed { state: &state.name, location, fault };
        self.log.advance(previous, event);
    }

    /// A state failed: retries it, lets a catcher take over, or ends what is around it.
    pub fn fail(&mut self, slot: u32, failure: Box<Failure>) -> Step {
        let state = self.state(slot);
        let work = std::mem::replace(&mut self.threads.at_mut(slot).work, Work::Ready);
        let joining = matches!(work, Work::Joining(_));
        self.log.stage(&Stage::Failed(fault(&failure.error, &failure.cause)));
        if let Work::Joining(join) = &work {
            self.abort_children(slot, &failure);
            self.cancel(&work);
            if join.run.is_some() {
                // A retry is another Map Run, so this one ends in any case.
                let Thread { previous, .. } = self.threads.at_mut(slot);
                let fault = fault(&failure.error, &failure.cause);
                self.log.advance(previous, EventKind::MapRunFailed(fault));
            }
        }
        if let Some(step) = self.retry(slot, state, &failure, joining) {
            self.forget_fallen();
            return step;
        }
        let begun = joining || failure.name() == EvalError::QUERY_EVALUATION_ERROR;
        let event = match &state.kind {
            Kind::Map(_) => Some(EventKind::MapStateFailed),
            Kind::Parallel { .. } => Some(EventKind::ParallelStateFailed),
            _ => None,
        };
        if let Some(event) = event.filter(|_| begun) {
            let Thread { previous, .. } = self.threads.at_mut(slot);
            self.log.advance(previous, event);
        }
        let taker = |catcher: &Catcher| takes(&catcher.error_equals, &failure, joining);
        match state.catch.iter().position(taker) {
            Some(index) => {
                self.log.stage(&Stage::Caught { index });
                self.forget_fallen();
                self.catch(slot, &state.catch[index], &failure)
            }
            None => {
                self.keep_join(slot, work, failure.name() == DATA_LIMIT_EXCEEDED);
                self.fail_around(slot, state, failure)
            }
        }
    }

    /// The first retrier that takes the error decides; when it is exhausted, no other one is asked.
    fn retry(&mut self, slot: u32, state: &State, failure: &Failure, of_branch: bool) -> Option<Step> {
        let taker = |retrier: &Retrier| takes(&retrier.error_equals, failure, of_branch);
        let index = state.retry.iter().position(taker)?;
        let retrier = &state.retry[index];
        let retries = self.threads.at_mut(slot).retries.get_or_insert_default();
        retries.by_retrier.resize(state.retry.len(), 0);
        let attempts = &mut retries.by_retrier[index];
        if u64::from(*attempts) >= retrier.max_attempts {
            self.log.stage(&Stage::Retried { index, after_millis: None });
            return None;
        }
        *attempts += 1;
        retries.total += 1;
        let attempt = *attempts;
        let delay = delay_millis(retrier, attempt, draw(self.facts.start.seed, *self.numbered));
        self.log.stage(&Stage::Retried { index, after_millis: Some(delay) });
        self.log.note(&Note::Retried { place: state.place });
        let at = self.now().plus_millis(delay);
        let timer = self.arm(slot, at);
        self.threads.at_mut(slot).work = Work::Retrying(timer);
        Some(Step::Idle)
    }

    fn catch(&mut self, slot: u32, catcher: &Catcher, failure: &Failure) -> Step {
        let raw = self.take_input(slot);
        match self.caught(slot, catcher, raw, failure.output()) {
            Ok(step) => {
                let entered = u64::from(self.threads.at(slot).entered_event);
                let (place, fault) = (self.state(slot).place, fault(&failure.error, &failure.cause));
                self.log.note(&Note::Caught { entered, place, fault });
                step
            }
            Err(error) => {
                let failure = self.evaluation_failed(slot, error);
                let state = self.state(slot);
                self.fail_around(slot, state, failure)
            }
        }
    }

    /// Ends the execution, the branch or the iteration of a state that failed for good.
    fn fail_around(&mut self, slot: u32, state: &State, failure: Box<Failure>) -> Step {
        if slot == ROOT {
            let Failure { error, cause, .. } = *failure;
            return self.end(Outcome::Failed { error, cause }, Some(ROOT));
        }
        let Thread { parent, branch, previous, .. } = *self.threads.at(slot);
        let around = self.state(parent);
        match &around.kind {
            Kind::Map(_) => {
                let iteration = Iteration { name: &around.name, index: branch };
                self.log.beside(previous, EventKind::MapIterationFailed(iteration));
            }
            Kind::Parallel { .. } if matches!(state.kind, Kind::Task(_)) => {
                self.log.beside(previous, EventKind::StateAborted(state_type(&state.kind)));
            }
            _ => {}
        }
        self.note_abandoned(&[slot], fault(&failure.error, &failure.cause), Some(slot));
        let work = std::mem::replace(&mut self.threads.at_mut(slot).work, Work::Ready);
        self.fall(slot, work);
        // The parent's line of events goes on where its child's ended.
        self.threads.at_mut(parent).previous = previous;
        Step::Fail(parent, failure)
    }

    /// Gives up all threads below this one, because one of them failed.
    fn abort_children(&mut self, slot: u32, failure: &Failure) {
        let children = self.threads.below(slot);
        self.note_abandoned(&children, fault(&failure.error, &failure.cause), None);
        for &child in &children {
            let thread = self.threads.at(child);
            let Thread { parent, branch, previous, .. } = *thread;
            let idle = matches!(thread.work, Work::Ready | Work::Yielding(_));
            if matches!(&thread.work, Work::Joining(join) if join.run.is_some()) {
                self.log.beside(previous, EventKind::MapRunAborted);
            }
            if !idle {
                let state = self.state(child);
                self.log.beside(previous, EventKind::StateAborted(state_type(&state.kind)));
            }
            let around = self.state(parent);
            if matches!(around.kind, Kind::Map(_)) {
                let iteration = Iteration { name: &around.name, index: branch };
                self.log.beside(previous, EventKind::MapIterationAborted(iteration));
            }
        }
        for child in children {
            let work = std::mem::replace(&mut self.threads.at_mut(child).work, Work::Ready);
            self.cancel(&work);
            self.fall(child, work);
        }
        let threads = &*self.threads;
        self.ready.retain(|ready| threads.get(*ready).is_some());
    }
}
