//! What a task is given to, for its metrics.
//!
//! Purpose: a task has an [`Errand`] from when it is asked for to its end, which counts at its target: the worker's function, the
//! activity, the host, function or machine that an integration calls. Invariants: an errand counts once, as a success or a
//! failure when it is told so, else as cancelled when it is dropped; targets that are remembered are bounded by number and
//! length, and so are their labels (`telemetry::labels`): definitions and their executions' data name them. Nothing fails.

use std::collections::HashMap;
use std::sync::Arc;

use asl::Str;
use telemetry::labels::{LABEL_BYTES_MAX, OVERFLOW};
use telemetry::{CallKind, ShardMetrics, TargetMetrics};

/// Targets of one kind that a shard remembers.
const KNOWN_MAX: usize = 4_096;
const KINDS: usize = CallKind::ALL.len() + 2;

/// Who does a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// A worker of a pool.
    Worker,
    /// Who polls for an activity.
    Activity,
    /// An integration.
    Integration(CallKind),
}

impl Through {
    /// Its place among the kinds, and the value of the `integration` label.
    fn label(self) -> (usize, &'static str) {
        match self {
            Self::Worker => (0, "worker"),
            Self::Activity => (1, "activity"),
            Self::Integration(kind) => (2 + kind as usize, CallKind::ALL[kind as usize].1),
        }
    }
}

/// The targets that a shard knows.
#[derive(Debug)]
pub struct Targets {
    metrics: Arc<ShardMetrics>,
    known: [HashMap<Str, Arc<TargetMetrics>, foldhash::fast::RandomState>; KINDS],
}

impl Targets {
    /// None yet.
    #[must_use]
    pub fn new(metrics: Arc<ShardMetrics>) -> Self {
        Self { metrics, known: Default::default() }
    }

    /// A task is asked for at this instant.
    pub fn errand(&mut self, through: Through, name: &Str, now_us: u64) -> Errand {
        let (kind, integration) = through.label();
        let known = &mut self.known[kind];
        let name = if name.len() > LABEL_BYTES_MAX { OVERFLOW } else { name.as_str() };
        if let Some(cells) = known.get(name) {
            return Errand { cells: Arc::clone(cells), since_us: now_us, ended: false };
        }
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let cells = self.metrics.target(integration, name);
        known.insert(name.into(), Arc::clone(&cells));
        Errand { cells, since_us: now_us, ended: false }
    }
}

/// One task, until its end.
#[derive(Debug, Default)]
pub struct Errand {
    cells: Arc<TargetMetrics>,
    since_us: u64,
    ended: bool,
}

impl Errand {
    /// It was done, or failed.
    pub fn end(&mut self, done: bool, now_us: u64) {
        if !std::mem::replace(&mut self.ended, true) {
            let counter = if done { &self.cells.succeeded } else { &self.cells.failed };
            counter.add(1);
            self.cells.latency.observe(now_us.saturating_sub(self.since_us));
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if !self.ended {
            self.cells.cancelled.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_whose_name_is_too_long_is_counted_with_the_others_and_not_remembered() {
        let metrics = Arc::<ShardMetrics>::default();
        let mut targets = Targets::new(Arc::clone(&metrics));
        for at in 0..3 {
            let name = format!("{at}{}", "y".repeat(200_000));
            targets.errand(Through::Worker, &name.as_str().into(), 0).end(true, 0);
        }
        assert_eq!(metrics.target("worker", OVERFLOW).succeeded.get(), 3);
        let known = targets.known.iter().flat_map(HashMap::keys).map(|name| name.len()).sum::<usize>();
        assert_eq!(known, OVERFLOW.len());
    }

    #[test]
    fn an_errand_counts_once_and_as_cancelled_when_nobody_tells_its_end() {
        let metrics = Arc::<ShardMetrics>::default();
        let mut targets = Targets::new(Arc::clone(&metrics));
        let mut errand = |end: Option<bool>| {
            let mut errand = targets.errand(Through::Worker, &"pay".into(), 1_000);
            end.into_iter().for_each(|done| {
                errand.end(done, 4_000);
                errand.end(!done, 9_000);
            });
        };
        [Some(true), Some(true), Some(false), None].into_iter().for_each(&mut errand);
        let cells = metrics.target("worker", "pay");
        assert_eq!((cells.succeeded.get(), cells.failed.get(), cells.cancelled.get()), (2, 1, 1));
        let latency = cells.latency.snapshot();
        assert_eq!((latency.count(), latency.sum_us), (3, 9_000));
    }
}
