//! What the parts of a kill test share: counts, instants, faults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::tasks::TaskJudge;

/// Faults that are told one by one; more are counted.
const FAULTS_TOLD: u64 = 500;

/// When a node was hit, in milliseconds from the beginning.
#[derive(Debug, Default)]
pub struct Origin {
    killed_ms: AtomicU64,
    excused_until_ms: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub struct Shared {
    /// Seed of the run.
    pub seed: u64,
    /// Where evidence goes.
    pub directory: PathBuf,
    began: Instant,
    /// Number of the strike that is under way or was the last.
    pub strike: AtomicU64,
    /// Acknowledged and synced executions.
    pub acknowledged: AtomicU64,
    /// Of those: through the scheduler.
    pub through_scheduler: AtomicU64,
    /// Starts that were sent.
    pub sent: AtomicU64,
    /// Starts that were due while nobody took them.
    pub unsent: AtomicU64,
    /// Starts whose stream broke before an answer.
    pub unknown: AtomicU64,
    /// Executions that Describe showed at their right end.
    pub described: AtomicU64,
    /// Histories read to their end.
    pub histories: AtomicU64,
    /// Acknowledged executions that expired before they were looked at.
    pub expired: AtomicU64,
    /// Executions that were not found for a moment, and found later.
    pub missing_for_a_moment: AtomicU64,
    /// Names that were started again and answered with the same execution.
    pub names_again: AtomicU64,
    /// Batches that were sent again and acknowledged again.
    pub batches_again: AtomicU64,
    /// Batches that could not be settled before their ids were forgotten.
    pub batches_expired: AtomicU64,
    /// Executions that ended and were never acknowledged.
    pub unacknowledged: AtomicU64,
    /// Outcomes that a node gave back, for their partition had moved; sent again.
    pub outcomes_returned: AtomicU64,
    /// SIGKILLs of nodes.
    pub node_kills: AtomicU64,
    /// Redrives that were asked for.
    pub redrives: AtomicU64,
    /// Synchronous executions that were answered with their outcome.
    pub syncs_answered: AtomicU64,
    /// Synchronous executions whose call broke: nobody knows their outcome.
    pub syncs_unknown: AtomicU64,
    /// The latest that a look came after it was due.
    pub look_lag_ms: AtomicU64,
    /// The latest that a terminal record was read after it was written.
    pub log_lag_ms: AtomicU64,
    last_ack_ms: AtomicU64,
    longest_gap_ms: AtomicU64,
    healed_ms: AtomicU64,
    origins: Vec<Origin>,
    refused: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<(u64, Vec<String>)>,
    tasks: Mutex<TaskJudge>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// At the beginning of a run with so many nodes.
    #[must_use]
    pub fn new(seed: u64, nodes: u16, directory: PathBuf) -> Self {
        let zero = AtomicU64::default;
        Self {
            seed,
            directory,
            began: Instant::now(),
            strike: zero(),
            acknowledged: zero(),
            through_scheduler: zero(),
            sent: zero(),
            unsent: zero(),
            unknown: zero(),
            described: zero(),
            histories: zero(),
            expired: zero(),
            missing_for_a_moment: zero(),
            names_again: zero(),
            batches_again: zero(),
            batches_expired: zero(),
            unacknowledged: zero(),
            outcomes_returned: zero(),
            node_kills: zero(),
            redrives: zero(),
            syncs_answered: zero(),
            syncs_unknown: zero(),
            look_lag_ms: zero(),
            log_lag_ms: zero(),
            last_ack_ms: zero(),
            longest_gap_ms: zero(),
            healed_ms: zero(),
            origins: (0..nodes).map(|_| Origin::default()).collect(),
            refused: Mutex::default(),
            faults: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// So many acknowledgements came now; only those that came through the scheduler end a time without any.
    pub fn acknowledge(&self, count: u64, through_scheduler: bool) {
        self.acknowledged.fetch_add(count, Relaxed);
        if !through_scheduler {
            return;
        }
        let now = self.now_ms();
        self.through_scheduler.fetch_add(count, Relaxed);
        let before = self.last_ack_ms.swap(now, Relaxed);
        self.longest_gap_ms.fetch_max(now.saturating_sub(before), Relaxed);
    }

    /// Forgets the longest time without acknowledgements.
    pub fn begin_gap(&self) {
        self.longest_gap_ms.store(0, Relaxed);
    }

    /// The longest time without acknowledgements since [`Shared::begin_gap`], the present one included.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let now = self.now_ms().saturating_sub(self.last_ack_ms.load(Relaxed));
        Duration::from_millis(self.longest_gap_ms.load(Relaxed).max(now))
    }

    /// Everything that was hit runs again.
    pub fn heal(&self) {
        self.healed_ms.store(self.now_ms(), Relaxed);
    }

    /// When everything ran again for the last time.
    #[must_use]
    pub fn healed_ms(&self) -> u64 {
        self.healed_ms.load(Relaxed)
    }

    /// A node was killed: what its streams still hold was sent before.
    pub fn node_killed(&self, node: u16) {
        self.node_kills.fetch_add(1, Relaxed);
        self.node_left(node);
    }

    /// A node has ended: the same holds.
    pub fn node_left(&self, node: u16) {
        if let Some(origin) = self.origins.get(usize::from(node)) {
            origin.killed_ms.store(self.now_ms(), Relaxed);
        }
    }

    /// What a node sends is excused until then: it stands still, or has just gone on.
    pub fn excuse_node(&self, node: u16, until_ms: u64) {
        if let Some(origin) = self.origins.get(usize::from(node)) {
            origin.excused_until_ms.store(until_ms, Relaxed);
        }
    }

    /// Whether a task from a stream that was opened then may be older than the node's last blow.
    #[must_use]
    pub fn is_excused(&self, node: u16, opened_ms: u64) -> bool {
        self.origins.get(usize::from(node)).is_some_and(|origin| {
            opened_ms <= origin.killed_ms.load(Relaxed) && origin.killed_ms.load(Relaxed) > 0
                || self.now_ms() < origin.excused_until_ms.load(Relaxed)
        })
    }

    /// So many starts were refused.
    pub fn refuse(&self, reason: &str, count: u64) {
        *locked(&self.refused).entry(reason.to_owned()).or_default() += count;
    }

    /// Refused starts by reason.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<String, u64> {
        locked(&self.refused).clone()
    }

    /// Something that must not be: told at once, with what it takes to look for it.
    pub fn fault(&self, what: &str) {
        let mut faults = locked(&self.faults);
        faults.0 += 1;
        if faults.0 <= FAULTS_TOLD {
            let strike = self.strike.load(Relaxed);
            let at = self.now_ms() as f64 / 1e3;
            let told = format!("FAULT seed {}, strike {strike}, {at:.1} s: {what}", self.seed);
            eprintln!("{told}");
            faults.1.push(told);
        }
    }

    /// How many faults there are, and the first of them.
    #[must_use]
    pub fn faults(&self) -> (u64, Vec<String>) {
        locked(&self.faults).clone()
    }

    /// The worker's ledger.
    pub fn tasks(&self) -> MutexGuard<'_, TaskJudge> {
        locked(&self.tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_before_a_blow_is_excused() {
        let shared = Shared::new(1, 2, PathBuf::new());
        assert!(!shared.is_excused(0, 0));
        shared.excuse_node(0, u64::MAX);
        assert!(shared.is_excused(0, 0) && !shared.is_excused(1, 0), "only the node that was stopped");
        shared.excuse_node(0, 0);
        assert!(!shared.is_excused(0, 0));
    }

    #[test]
    fn a_fault_names_seed_and_strike() {
        let shared = Shared::new(42, 1, PathBuf::new());
        shared.strike.store(3, Relaxed);
        shared.fault("execution x is lost");
        let (count, told) = shared.faults();
        assert_eq!(count, 1);
        assert!(told[0].contains("seed 42") && told[0].contains("strike 3"), "{told:?}");
    }
}
