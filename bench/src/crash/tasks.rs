//! The worker's ledger: which tasks were handed out, and whether one came that must not come again.
//!
//! The rule for STANDARD: that a later task of the same branch was seen proves that the outcome of the earlier one is in the
//! journal; then the earlier one never comes again. Branch 0 is the main line: its tasks are later than every branch's.
//! A task that comes twice before that is no fault: its worker, its node or its stream was lost before the outcome was
//! written. Nor is what a stopped or dead node had sent before it was hit and arrives only now: it is counted apart. Of a
//! synchronous execution, which runs at most once, no task comes twice.

use foldhash::HashMap;
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

    /// A later attempt proves the outcome of the one before.
    fn rank(self) -> u64 {
        self.step * 1_000 + self.attempt
    }
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
    /// The same, but sent by a node that was hit after it had sent it.
    Late,
}

/// All sightings of a run of the kill test.
#[derive(Debug, Default)]
pub struct TaskJudge {
    /// The highest rank seen of each branch, of runs that have not ended.
    runs: HashMap<u64, Vec<(u64, u64)>>,
    /// Runs that have ended.
    ended: Runs,
    /// Tasks handed out, also those that came again.
    pub tasks: u64,
    /// STANDARD tasks and EXPRESS tasks that came again while they might.
    pub again: u64,
    /// See [`Seen::Late`].
    pub late: u64,
    /// See [`Seen::Repeated`].
    pub repeated: u64,
}

impl TaskJudge {
    /// Notes a task that a node has sent; `excused` says that it was hit since.
    pub fn see(&mut self, task: TaskId, excused: bool) -> Seen {
        self.tasks += 1;
        let (rank, ended) = (task.rank(), self.ended.has(task.run));
        let branches = self.runs.entry(task.run).or_insert_with(|| Vec::with_capacity(1));
        let later = |(branch, high): &(u64, u64)| rank < *high && (*branch == task.branch || *branch == 0);
        let proven = ended || branches.iter().any(later);
        let known = branches.iter_mut().find(|(branch, _)| *branch == task.branch);
        let before = match known {
            Some((_, high)) => {
                let before = *high >= rank;
                *high = rank.max(*high);
                before
            }
            None => {
                branches.push((task.branch, rank));
                false
            }
        };
        if ended {
            self.runs.remove(&task.run);
        }
        let wrong = match task.kind {
            Kind::Sync => before || proven,
            kind => proven && kind.mode() == Mode::Standard,
        };
        let seen = match (wrong, before || proven) {
            (true, _) if excused => Seen::Late,
            (true, _) => Seen::Repeated,
            (false, true) => Seen::Again,
            (false, false) => Seen::First,
        };
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
        self.runs.remove(&run);
        self.ended.add(run);
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

    fn has(&self, run: u64) -> bool {
        let (page, word, bit) = Self::place(run);
        self.0.get(&page).is_some_and(|words| words[word] & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: Kind, branch: u64, step: u64, attempt: u64) -> TaskId {
        TaskId { kind, run: 7, branch, step, attempt }
    }

    fn judged(sightings: &[TaskId]) -> Vec<Seen> {
        let mut judge = TaskJudge::default();
        sightings.iter().map(|task| judge.see(*task, false)).collect()
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

    #[test]
    fn a_task_of_an_ended_execution_is_a_repetition() {
        let mut judge = TaskJudge::default();
        let last = task(Kind::TasksStandard, 0, 3, 0);
        assert_eq!(judge.see(last, false), Seen::First);
        judge.ended(7);
        assert_eq!(judge.see(last, false), Seen::Repeated);
        assert_eq!(judge.repeated, 1);
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
    fn what_a_stopped_node_sent_before_is_late_and_no_repetition() {
        let mut judge = TaskJudge::default();
        judge.see(task(Kind::TasksStandard, 0, 2, 0), false);
        assert_eq!(judge.see(task(Kind::TasksStandard, 0, 1, 0), true), Seen::Late);
        assert_eq!((judge.late, judge.repeated), (1, 0));
    }

    #[test]
    fn a_task_is_read_from_its_input() {
        let input = br#"{"run":7,"kind":"retry","branch":0,"step":1,"attempt":2}"#;
        assert_eq!(TaskId::read(input), Some(task(Kind::Retry, 0, 1, 2)));
        assert_eq!(TaskId::read(b"{}"), None);
    }
}
