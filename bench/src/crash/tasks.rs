//! The worker's ledger: which tasks were handed out, and whether one came that must not come again.
//!
//! The rule for STANDARD: a task whose outcome is in the journal never comes again. The logs show that it is there, and so
//! does a later task of the same branch. Branch 0 is the main line: its tasks are later than every branch's.
//! A task that comes twice before that is no fault: its worker, its node or its stream was lost before the outcome was
//! written. What the logs show holds a few moments later, for a copy of the task may be on its way meanwhile. Of a
//! synchronous execution, which runs at most once, no task comes twice.
//!
//! What a node had sent before it ended or stood still, and comes only now, is no fault; it is counted apart. A node that
//! goes on can have sent before only what could be handed out by then: not what follows an outcome that the worker gave
//! later. Whatever else it hands out without having asked the store is a repetition.

use std::collections::VecDeque;

use foldhash::HashMap;
use serde::Deserialize;
use serde_json::Value;

use super::workload::Kind;
use proto::executor::v1::Mode;

/// A task, as its input tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId {
    /// Whose machine.
    pub kind: Kind,
    /// Whose task.
    pub run: u64,
    /// Which branch; 0 is the main line.
    pub branch: u64,
    /// Where in its branch, from 1.
    pub step: u64,
    /// Which attempt, from 0.
    pub attempt: u64,
}

impl TaskId {
    /// Reads a task's input.
    #[must_use]
    pub fn read(input: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(input).ok()?;
        let number = |name: &str| value.get(name)?.as_u64();
        Some(Self {
            kind: Kind::of(value.get("kind")?.as_str()?)?,
            run: number("run")?,
            branch: number("branch")?,
            step: number("step")?,
            attempt: number("attempt")?,
        })
    }

    fn rank(self) -> u64 {
        rank(self.step, self.attempt)
    }
}

/// A later attempt proves the outcome of the one before.
fn rank(step: u64, attempt: u64) -> u64 {
    step * 1_000 + attempt
}

/// What a sighting means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never seen before.
    First,
    /// Seen before, and nothing proves that its outcome was journalled.
    Again,
    /// A STANDARD task whose outcome was journalled already, or any task of a synchronous execution that was seen before.
    Repeated,
    /// The same, but it may be what a node had sent before it was hit.
    Late,
}

/// Why what a node sends may be older than it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// It is not.
    None,
    /// The node has ended; its stream still held it.
    Ended,
    /// The node stood still since then, and has just gone on: what it had handed out before comes now.
    Stopped {
        /// From the beginning of the run.
        since_ms: u64,
    },
}

/// A task that came now.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// Whether it can be old.
    pub excuse: Excuse,
    /// Its outcome leaves the worker then, and not earlier.
    pub answered_ms: u64,
}

/// A task that was seen.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    branch: u64,
    rank: u64,
    /// Nobody can have handed out what follows it before that.
    next_ms: u64,
    /// Its outcome is in the journal.
    journalled: bool,
}

/// A task's outcome, as the worker gave it and the journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Done {
    run: u64,
    branch: u64,
    step: u64,
    attempt: u64,
}

impl Done {
    /// Reads the payload of a journalled outcome.
    #[must_use]
    pub fn read(output: &[u8]) -> Option<Self> {
        serde_json::from_slice(output).ok()
    }
}

/// What the logs have shown.
#[derive(Debug, Clone, Copy)]
enum Proof {
    Journalled(Done),
    Ended(u64),
}

/// So often [`TaskJudge::age`] is called until a proof holds: a copy of the task that was on its way has come by then.
const RIPE: u64 = 3;
/// So often until the tasks of an ended run are forgotten: longer than a node stands still.
const KEPT: u64 = 200;
/// A retry comes so much later than the failure before it, less what timers are rounded by.
const RETRY_MS: u64 = 900;
/// A node that is stopped may go on for so long.
const STOPPING_MS: u64 = 50;

/// All sightings of a run of the kill test.
#[derive(Debug, Default)]
pub struct TaskJudge {
    /// The tasks seen of each run that has not ended, or has ended just now.
    runs: HashMap<u64, Vec<Sighting>>,
    /// Runs that have ended.
    ended: Runs,
    ages: u64,
    /// What does not hold yet, with its age.
    proofs: VecDeque<(u64, Proof)>,
    /// Ended runs that are not forgotten, since which age.
    leaving: VecDeque<(u64, u64)>,
    /// Tasks handed out, also those that came again.
    pub tasks: u64,
    /// STANDARD tasks and EXPRESS tasks that came again while they might.
    pub again: u64,
    /// See [`Seen::Late`].
    pub late: u64,
    /// See [`Seen::Repeated`].
    pub repeated: u64,
    /// Outcomes found in the journal.
    pub journalled: u64,
}

impl TaskJudge {
    /// Notes a task that a node has sent.
    pub fn see(&mut self, task: TaskId, sight: Sight) -> Seen {
        self.tasks += 1;
        let (rank, ended) = (task.rank(), self.ended.has(task.run));
        let mut forgotten = Vec::new();
        let seen = match self.runs.get_mut(&task.run) {
            Some(seen) => seen,
            None if ended => &mut forgotten,
            None => self.runs.entry(task.run).or_insert_with(|| Vec::with_capacity(1)),
        };
        let here = |other: &Sighting| other.branch == task.branch;
        let known = seen.iter().find(|other| here(other) && other.rank == rank).copied();
        let later = |other: &Sighting| rank < other.rank && (here(other) || other.branch == 0);
        let proven = ended || known.is_some_and(|known| known.journalled) || seen.iter().any(later);
        let before = seen.iter().any(|other| here(other) && other.rank >= rank);
        let earlier =
            |other: &&Sighting| here(other) && other.rank < rank || task.branch == 0 && other.branch != 0;
        let possible_ms = seen.iter().filter(earlier).map(|other| other.next_ms).max().unwrap_or(0);
        if known.is_none() {
            let pause_ms = if task.kind == Kind::Retry { RETRY_MS } else { 0 };
            let next_ms = sight.answered_ms + pause_ms;
            seen.push(Sighting { branch: task.branch, rank, next_ms, journalled: false });
        }
        let excused = match sight.excuse {
            Excuse::None => false,
            Excuse::Ended => true,
            Excuse::Stopped { since_ms } => possible_ms <= since_ms + STOPPING_MS,
        };
        let wrong = match task.kind {
            Kind::Sync => before || proven,
            kind => proven && kind.mode() == Mode::Standard,
        };
        self.count(match (wrong, before || proven) {
            (true, _) if excused => Seen::Late,
            (true, _) => Seen::Repeated,
            (false, true) => Seen::Again,
            (false, false) => Seen::First,
        })
    }

    fn count(&mut self, seen: Seen) -> Seen {
        match seen {
            Seen::First => {}
            Seen::Again => self.again += 1,
            Seen::Late => self.late += 1,
            Seen::Repeated => self.repeated += 1,
        }
        seen
    }

    /// The execution of this run has ended: none of its tasks may come any more.
    pub fn ended(&mut self, run: u64) {
        self.proofs.push_back((self.ages, Proof::Ended(run)));
    }

    /// The outcome of this task is in the journal: it may not come again.
    pub fn journalled(&mut self, done: Done) {
        self.journalled += 1;
        self.proofs.push_back((self.ages, Proof::Journalled(done)));
    }

    /// A moment has passed in which the worker took what had come. Proofs of a few moments ago hold from now on.
    pub fn age(&mut self) {
        self.ages += 1;
        while let Some((_, proof)) = self.proofs.pop_front_if(|(age, _)| *age + RIPE <= self.ages) {
            match proof {
                Proof::Journalled(done) => {
                    let rank = rank(done.step, done.attempt);
                    let seen = self.runs.get_mut(&done.run).into_iter().flatten();
                    seen.filter(|seen| seen.branch == done.branch && seen.rank == rank)
                        .for_each(|seen| seen.journalled = true);
                }
                Proof::Ended(run) if self.ended.add(run) => {}
                Proof::Ended(run) => self.leaving.push_back((self.ages, run)),
            }
        }
        while let Some((_, run)) = self.leaving.pop_front_if(|(age, _)| *age + KEPT <= self.ages) {
            self.runs.remove(&run);
        }
    }
}

/// A set of runs: a bit for each, for they are numbered one after the other, in a few sequences.
#[derive(Debug, Default)]
pub(super) struct Runs(HashMap<u64, [u64; 16]>);

impl Runs {
    fn place(run: u64) -> (u64, usize, u64) {
        (run / 1_024, (run % 1_024 / 64) as usize, 1 << (run % 64))
    }

    /// Whether it was there before.
    pub(super) fn add(&mut self, run: u64) -> bool {
        let (page, word, bit) = Self::place(run);
        let word = &mut self.0.entry(page).or_default()[word];
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    /// Whether it is there.
    pub(super) fn has(&self, run: u64) -> bool {
        let (page, word, bit) = Self::place(run);
        self.0.get(&page).is_some_and(|words| words[word] & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Sight = Sight { excuse: Excuse::None, answered_ms: 0 };

    fn task(kind: Kind, branch: u64, step: u64, attempt: u64) -> TaskId {
        TaskId { kind, run: 7, branch, step, attempt }
    }

    fn judged(sightings: &[TaskId]) -> Vec<Seen> {
        let mut judge = TaskJudge::default();
        sightings.iter().map(|task| judge.see(*task, NOW)).collect()
    }

    #[test]
    fn a_standard_task_after_its_successor_is_a_repetition_and_before_it_is_none() {
        let at = |step| task(Kind::TasksStandard, 0, step, 0);
        assert_eq!(
            judged(&[at(1), at(1), at(2), at(1), at(2)]),
            [Seen::First, Seen::Again, Seen::First, Seen::Repeated, Seen::Again]
        );
    }

    #[test]
    fn an_express_execution_may_begin_again() {
        let at = |step| task(Kind::TasksExpress, 0, step, 0);
        assert_eq!(judged(&[at(1), at(2), at(1)]), [Seen::First, Seen::First, Seen::Again]);
    }

    #[test]
    fn an_earlier_attempt_after_a_later_one_is_a_repetition() {
        let at = |attempt| task(Kind::Retry, 0, 1, attempt);
        assert_eq!(judged(&[at(0), at(1), at(0)]), [Seen::First, Seen::First, Seen::Repeated]);
    }

    #[test]
    fn branches_do_not_prove_each_other_but_the_join_proves_them_all() {
        let at = |branch, step| task(Kind::Fan, branch, step, 0);
        assert_eq!(judged(&[at(1, 2), at(11, 1), at(11, 1)]), [Seen::First, Seen::First, Seen::Again]);
        assert_eq!(judged(&[at(11, 1), at(0, 9), at(11, 1)]), [Seen::First, Seen::First, Seen::Repeated]);
    }

    fn ripen(judge: &mut TaskJudge) {
        (0..RIPE).for_each(|_| judge.age());
    }

    #[test]
    fn a_task_of_an_ended_execution_is_a_repetition() {
        let mut judge = TaskJudge::default();
        let last = task(Kind::TasksStandard, 0, 3, 0);
        assert_eq!(judge.see(last, NOW), Seen::First);
        judge.ended(7);
        ripen(&mut judge);
        assert_eq!(judge.see(last, NOW), Seen::Repeated);
        assert_eq!(judge.repeated, 1);
        (0..KEPT).for_each(|_| judge.age());
        assert!(judge.runs.is_empty(), "its tasks are forgotten, its end is not");
        assert_eq!(judge.see(last, NOW), Seen::Repeated);
        assert!(judge.runs.is_empty());
    }

    #[test]
    fn a_task_whose_outcome_is_in_the_journal_is_a_repetition_though_no_later_one_was_seen() {
        let mut judge = TaskJudge::default();
        let only = task(Kind::Caught, 0, 1, 0);
        let output = super::super::workload::task_output(7, 0, 1, 0).to_string();
        let done = Done::read(output.as_bytes()).expect("the worker's own words");
        judge.see(only, NOW);
        judge.journalled(done);
        assert_eq!(judge.see(only, NOW), Seen::Again, "it may have been on its way");
        ripen(&mut judge);
        assert_eq!(judge.see(only, NOW), Seen::Repeated);
        assert_eq!(judge.see(task(Kind::Caught, 1, 1, 0), NOW), Seen::First, "another branch");
        assert_eq!(Done::read(b"{}"), None);
    }

    #[test]
    fn a_stopped_node_cannot_have_sent_before_what_follows_a_later_outcome() {
        let stopped = Sight { excuse: Excuse::Stopped { since_ms: 1_000 }, answered_ms: 9_000 };
        for (answered_ms, seen) in [(900, Seen::Late), (1_100, Seen::Repeated)] {
            let mut judge = TaskJudge::default();
            judge.see(task(Kind::TasksStandard, 0, 1, 0), Sight { answered_ms, ..NOW });
            for step in [2, 3] {
                judge.see(task(Kind::TasksStandard, 0, step, 0), Sight { answered_ms: 5_000, ..NOW });
            }
            assert_eq!(judge.see(task(Kind::TasksStandard, 0, 2, 0), stopped), seen, "{answered_ms}");
        }
        let mut judge = TaskJudge::default();
        for attempt in 0..=2 {
            judge.see(task(Kind::Retry, 0, 1, attempt), Sight { answered_ms: 500, ..NOW });
        }
        assert_eq!(judge.see(task(Kind::Retry, 0, 1, 1), stopped), Seen::Repeated, "its timer had not fired");
    }

    #[test]
    fn no_task_of_a_synchronous_execution_comes_twice() {
        let at = |step| task(Kind::Sync, 0, step, 0);
        assert_eq!(judged(&[at(1), at(2), at(1)]), [Seen::First, Seen::First, Seen::Repeated]);
        assert_eq!(judged(&[at(1), at(1)]), [Seen::First, Seen::Repeated]);
    }

    #[test]
    fn what_had_succeeded_before_a_redrive_is_not_done_again_after_it() {
        let at = |step, attempt| task(Kind::Redriven, 0, step, attempt);
        assert_eq!(
            judged(&[at(1, 0), at(2, 0), at(2, 1), at(1, 0), at(1, 1)]),
            [Seen::First, Seen::First, Seen::First, Seen::Repeated, Seen::Repeated]
        );
    }

    #[test]
    fn runs_are_told_apart() {
        let mut runs = Runs::default();
        for run in [0, 63, 64, 1_023, 1_024, (1 << 41) + 5] {
            assert!(!runs.has(run) && !runs.add(run));
            assert!(runs.has(run) && !runs.has(run + 2));
        }
    }

    #[test]
    fn what_a_dead_node_sent_before_is_late_and_no_repetition() {
        let mut judge = TaskJudge::default();
        judge.see(task(Kind::TasksStandard, 0, 2, 0), NOW);
        let ended = Sight { excuse: Excuse::Ended, ..NOW };
        assert_eq!(judge.see(task(Kind::TasksStandard, 0, 1, 0), ended), Seen::Late);
        assert_eq!((judge.late, judge.repeated), (1, 0));
    }

    #[test]
    fn a_task_is_read_from_its_input() {
        let input = br#"{"run":7,"kind":"retry","branch":0,"step":1,"attempt":2}"#;
        assert_eq!(TaskId::read(input), Some(task(Kind::Retry, 0, 1, 2)));
        assert_eq!(TaskId::read(b"{}"), None);
    }
}
