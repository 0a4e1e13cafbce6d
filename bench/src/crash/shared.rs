//! What the parts of a kill test share: counts, instants, faults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ids::ExecutionId;

use super::tasks::{Excuse, Runs, TaskJudge};
use crate::load::unix_ms;

/// Faults that are told one by one; more are counted.
const FAULTS_TOLD: u64 = 500;

/// When a node was hit, in milliseconds from the beginning.
#[derive(Debug, Default)]
pub struct Origin {
    killed_ms: AtomicU64,
    stopped_since_ms: AtomicU64,
    excused_until_ms: AtomicU64,
}

/// Time in which everything ran, summed over strikes.
#[derive(Debug, Default)]
struct Healthy {
    ms: u64,
    since_ms: Option<u64>,
}

/// Starts whose effect nobody was told of.
#[derive(Debug, Default)]
struct Unanswered {
    runs: Runs,
    /// Synchronous executions that were answered with their node's end.
    parted: BTreeSet<ExecutionId>,
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
    /// Blocks that the store had lost after it confirmed them, and that were written again.
    pub blocks_resent: AtomicU64,
    /// Samples of the nodes' counters.
    pub scrapes: AtomicU64,
    /// Acknowledged executions whose terminal record was still in the logs after everything had been started anew.
    pub kept: AtomicU64,
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
    healthy: Mutex<Healthy>,
    /// SIGKILLs of nodes, Unix time in milliseconds.
    node_kills: Mutex<Vec<u64>>,
    /// The last acknowledgement of each partition.
    acked_ms: Mutex<BTreeMap<u16, u64>>,
    unanswered: Mutex<Unanswered>,
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
            names_again: zero(),
            batches_again: zero(),
            batches_expired: zero(),
            unacknowledged: zero(),
            outcomes_returned: zero(),
            blocks_resent: zero(),
            scrapes: zero(),
            kept: zero(),
            redrives: zero(),
            syncs_answered: zero(),
            syncs_unknown: zero(),
            look_lag_ms: zero(),
            log_lag_ms: zero(),
            last_ack_ms: zero(),
            longest_gap_ms: zero(),
            healthy: Mutex::new(Healthy { ms: 0, since_ms: Some(0) }),
            node_kills: Mutex::default(),
            acked_ms: Mutex::default(),
            unanswered: Mutex::default(),
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

    /// A partition has acknowledged something now.
    pub fn acknowledged_by(&self, partitions: impl IntoIterator<Item = u16>) {
        let now = self.now_ms();
        let mut acked = locked(&self.acked_ms);
        acked.extend(partitions.into_iter().map(|partition| (partition, now)));
    }

    /// The first partition that has acknowledged nothing since then.
    #[must_use]
    pub fn silent_since(&self, since_ms: u64, partitions: u16) -> Option<u16> {
        let acked = locked(&self.acked_ms);
        (0..partitions).find(|partition| acked.get(partition).is_none_or(|last| *last <= since_ms))
    }

    /// Something is hit from now on.
    pub fn begin_strike(&self) {
        let now = self.now_ms();
        let mut healthy = locked(&self.healthy);
        if let Some(since) = healthy.since_ms.take() {
            healthy.ms += now.saturating_sub(since);
        }
    }

    /// Everything that was hit runs again.
    pub fn heal(&self) {
        let now = self.now_ms();
        locked(&self.healthy).since_ms.get_or_insert(now);
    }

    /// How long everything has run so far, summed over strikes: what waits is due after so much of it, however often
    /// something is hit meanwhile.
    #[must_use]
    pub fn healthy_ms(&self) -> u64 {
        let now = self.now_ms();
        let healthy = locked(&self.healthy);
        healthy.ms + healthy.since_ms.map_or(0, |since| now.saturating_sub(since))
    }

    /// A node is killed: what its streams still hold was sent before.
    pub fn node_killed(&self, node: u16) {
        locked(&self.node_kills).push(unix_ms());
        self.node_left(node);
    }

    /// SIGKILLs of nodes between two instants of Unix time.
    #[must_use]
    pub fn node_kills(&self, from_ms: u64, to_ms: u64) -> usize {
        locked(&self.node_kills).iter().filter(|killed| (from_ms..=to_ms).contains(*killed)).count()
    }

    /// A node has ended: the same holds.
    pub fn node_left(&self, node: u16) {
        if let Some(origin) = self.origins.get(usize::from(node)) {
            origin.killed_ms.store(self.now_ms(), Relaxed);
        }
    }

    /// A node stands still from now on.
    pub fn node_stopped(&self, node: u16) {
        if let Some(origin) = self.origins.get(usize::from(node)) {
            origin.stopped_since_ms.store(self.now_ms(), Relaxed);
            origin.excused_until_ms.store(u64::MAX, Relaxed);
        }
    }

    /// It goes on: what it had handed out before has come by then.
    pub fn node_goes_on(&self, node: u16, until_ms: u64) {
        if let Some(origin) = self.origins.get(usize::from(node)) {
            origin.excused_until_ms.store(until_ms, Relaxed);
        }
    }

    /// Whether a task from a stream that was opened then may be older than the node's last blow.
    #[must_use]
    pub fn excuse(&self, node: u16, opened_ms: u64) -> Excuse {
        let Some(origin) = self.origins.get(usize::from(node)) else { return Excuse::None };
        let killed_ms = origin.killed_ms.load(Relaxed);
        if killed_ms > 0 && opened_ms <= killed_ms {
            Excuse::Ended
        } else if self.now_ms() < origin.excused_until_ms.load(Relaxed) {
            Excuse::Stopped { since_ms: origin.stopped_since_ms.load(Relaxed) }
        } else {
            Excuse::None
        }
    }

    /// Nobody knows what became of these starts: they may have been carried out.
    pub fn unanswered(&self, runs: impl IntoIterator<Item = u64>) {
        let mut unanswered = locked(&self.unanswered);
        for run in runs {
            unanswered.runs.add(run);
        }
    }

    /// Whether that is so of a run.
    #[must_use]
    pub fn is_unanswered(&self, run: u64) -> bool {
        locked(&self.unanswered).runs.has(run)
    }

    /// A synchronous execution was answered with the end of its node.
    pub fn parted(&self, id: ExecutionId) {
        locked(&self.unanswered).parted.insert(id);
    }

    /// All of those.
    #[must_use]
    pub fn all_parted(&self) -> BTreeSet<ExecutionId> {
        locked(&self.unanswered).parted.clone()
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

    /// Whether there is any.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        locked(&self.faults).0 > 0
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
        assert_eq!(shared.excuse(0, 0), Excuse::None);
        shared.node_stopped(0);
        assert!(matches!(shared.excuse(0, 0), Excuse::Stopped { .. }));
        assert_eq!(shared.excuse(1, 0), Excuse::None, "only the node that was stopped");
        shared.node_goes_on(0, 0);
        assert_eq!(shared.excuse(0, 0), Excuse::None);
    }

    #[test]
    fn healthy_time_is_summed_over_strikes_and_stands_still_in_one() {
        let shared = Shared::new(1, 1, PathBuf::new());
        shared.begin_strike();
        let before = shared.healthy_ms();
        let until = Instant::now() + Duration::from_millis(5);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(shared.healthy_ms(), before);
        shared.heal();
        shared.heal();
        assert!(shared.healthy_ms() >= before && shared.healthy_ms() < shared.now_ms());
    }

    #[test]
    fn a_partition_that_acknowledges_nothing_is_named() {
        let shared = Shared::new(1, 1, PathBuf::new());
        while shared.now_ms() == 0 {
            std::thread::yield_now();
        }
        shared.acknowledged_by([0, 2]);
        assert_eq!((shared.silent_since(0, 3), shared.silent_since(0, 1)), (Some(1), None));
        assert_eq!(shared.silent_since(u64::MAX, 1), Some(0));
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
