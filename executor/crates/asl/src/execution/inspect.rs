//! One state under inspection: it begins as if others had gone before, and the outcome of its work is given.
//!
//! Only for observers that inspect ([`Observer::INSPECTS`]). The state is evaluated, retried and caught by what executions
//! run; here is only what puts it where it is to stand.

use std::sync::Arc;

use smallvec::SmallVec;

use super::effect::Effect;
use super::failure::Failure;
use super::run::{Run, Step};
use super::threads::{ROOT, Retries, Work};
use super::{Execution, Machine, StartContext};
use crate::history::Observer;
use crate::path::EvalError;
use crate::timestamp::Timestamp;
use crate::value::{Payload, Str};
use crate::variables::Variables;

/// What has happened before the inspected state begins.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The variables of the scope that it is in.
    pub variables: Option<Variables>,
    /// How often each of its retriers has retried it.
    pub retries: u32,
}

/// How the work of the inspected state ends.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Its result; or error name and cause.
    pub work: Result<Payload, (Str, Option<Str>)>,
    /// Of a distributed Map, how many items failed.
    pub failed_items: u64,
}

impl Execution {
    /// Starts at the first state of the machine, as if this had happened before.
    pub(crate) fn inspect<O: Observer>(
        machine: &Arc<Machine>,
        start: StartContext,
        input: Payload,
        standing: Standing,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) -> Self {
        let mut execution = Self::new(machine, start, input, now);
        let threads = &mut execution.core.threads;
        if let Some(variables) = standing.variables {
            threads.variable_bytes = variables.own_bytes();
            let thread = threads.at_mut(ROOT);
            thread.variables = Some(Arc::new(variables));
            thread.scoped = true;
        }
        if standing.retries > 0 {
            let root = &machine.program.root;
            let retriers = root.states[usize::from(root.start)].retry.len();
            let by_retrier = SmallVec::from_elem(standing.retries, retriers);
            threads.at_mut(ROOT).retries = Some(Box::new(Retries { by_retrier, total: standing.retries }));
        }
        execution.begin(now, effects, observer);
        execution
    }

    /// Ends the work of the inspected state, where it has begun.
    pub(crate) fn settle<O: Observer>(
        &mut self,
        settled: Settled,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        observer: &mut O,
    ) {
        if !self.core.ended {
            self.run(now, effects, observer).settle(settled);
        }
    }
}

impl<O: Observer> Run<'_, O> {
    fn settle(&mut self, settled: Settled) {
        let Settled { work, failed_items } = settled;
        let step = match work {
            Err((error, cause)) => {
                Step::Fail(ROOT, Box::new(Failure { error: Some(error), cause, heartbeat: false }))
            }
            Ok(result) => match self.tolerates(failed_items) {
                Ok(()) => {
                    let work = std::mem::replace(&mut self.threads.at_mut(ROOT).work, Work::Ready);
                    self.cancel(&work);
                    Step::Complete(ROOT, Box::new(result))
                }
                Err(error) => Step::Fail(ROOT, self.evaluation_failed(ROOT, error)),
            },
        };
        self.drive(step);
    }

    /// Whether a distributed Map goes on with so many failed items.
    fn tolerates(&mut self, failed_items: u64) -> Result<(), EvalError> {
        match &mut self.threads.at_mut(ROOT).work {
            Work::Joining(join) => match &mut join.run {
                Some(run) if failed_items > 0 => run.fail_items(failed_items),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
