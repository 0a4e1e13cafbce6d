//! The child executions of a Map Run, page by page: nobody keeps them, so their execution is run again.
//!
//! A replay collects more than its page has, [`limits::CHILDREN_AHEAD`] of them, which are kept for the pages that follow
//! (`kept_replays.rs`), and ends where nothing that comes yet can change them. Invariants: children are numbered in the order in which they
//! begin, which each replay repeats, so that a number is a place; what is remembered meanwhile is bounded by that and by what runs
//! at once. What may fail: whatever a history may, and a Map Run that the execution does not have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use asl::Payload;
use asl::Timestamp;
use asl::history::{ChildExecution, EventKind, Observer, Record};
use ids::ExecutionName;
use proto::executor::v1::{self, ExecutionStatus};

use super::command::Reply;
use super::core::Shard;
use super::history::{Watch, replay};
use super::kept_replays::{Shown, Stamp};
use super::machine::ms_of;
use super::map_runs::items_in;
use crate::error::Error;
use crate::limits;

/// Which page of a Map Run's children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildrenCut {
    /// The Map Run's ARN.
    pub map_run: String,
    /// Those alone that have come to this; unspecified: all.
    pub status: ExecutionStatus,
    /// Children at most.
    pub size: usize,
    /// The number of children up to the page's first, which is the newest; `None`: all that there are.
    pub place: Option<u64>,
}

/// A page of a Map Run's children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildrenPage {
    /// What they run: the machine's ARN with the Map's label behind it.
    pub machine_arn: String,
    /// The newest first.
    pub executions: Vec<v1::ChildExecution>,
    /// The place of the next page, if there is one.
    pub next: Option<u64>,
}

/// Children of a Map Run as a replay found them: those of a page, and of pages that follow.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    map_run: String,
    status: ExecutionStatus,
    machine_arn: String,
    /// They are the children before this number; `None`: up to the last.
    before: Option<u64>,
    /// With their numbers, the newest first.
    rows: Vec<(u64, v1::ChildExecution)>,
    /// Whether none that is wanted comes behind them.
    whole: bool,
}

impl Listing {
    /// Whether it answers the same questions, or some of them.
    pub fn is_like(&self, other: &Self) -> bool {
        self.map_run == other.map_run && self.status == other.status && self.before == other.before
    }

    /// In memory, about.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|(_, row)| bytes_of(row)).sum::<usize>()
            + self.map_run.len()
            + self.machine_arn.len()
    }

    /// No more than may be kept.
    fn cut(mut self) -> Self {
        let mut left =
            limits::KEPT_REPLAY_BYTES_MAX.saturating_sub(self.map_run.len() + self.machine_arn.len());
        let fits = |(_, row): &&(u64, v1::ChildExecution)| {
            let fits = left.checked_sub(bytes_of(row));
            left = fits.unwrap_or(0);
            fits.is_some()
        };
        let kept = self.rows.iter().take_while(fits).count();
        self.whole &= kept == self.rows.len();
        self.rows.truncate(kept);
        self.rows.shrink_to_fit();
        self
    }

    /// The page, if it is of this Map Run and status, and all of it is here.
    pub fn page_of(&self, cut: &ChildrenCut) -> Option<ChildrenPage> {
        let here = match (self.before, cut.place) {
            (None, _) => true,
            (Some(before), Some(place)) => place <= before,
            (Some(_), None) => false,
        };
        if !here || cut.map_run != self.map_run || cut.status != self.status {
            return None;
        }
        let page = self.page(cut);
        // Whether there is another page is known where one more is here, or none can come.
        (page.next.is_some() || self.whole).then_some(page)
    }

    /// The page as far as it is here.
    fn page(&self, cut: &ChildrenCut) -> ChildrenPage {
        let from = cut.place.map_or(0, |place| self.rows.partition_point(|(number, _)| *number >= place));
        let rest = &self.rows[from..];
        let page = &rest[..cut.size.min(rest.len())];
        let more = rest.len() > page.len();
        let next = page.last().filter(|_| more).map(|(number, _)| *number);
        let executions = page.iter().map(|(_, row)| row.clone()).collect();
        ChildrenPage { machine_arn: self.machine_arn.clone(), executions, next }
    }
}

fn bytes_of(row: &v1::ChildExecution) -> usize {
    size_of::<(u64, v1::ChildExecution)>() + row.arn.len() + row.name.len()
}

impl Shard {
    pub(super) fn children(
        &mut self,
        execution: ExecutionName,
        cut: ChildrenCut,
        reply: Reply<ChildrenPage>,
    ) {
        let (now_us, kept, asked) = (self.now_us, Rc::clone(&self.questions.kept), cut.clone());
        let keeping = Rc::clone(&kept);
        let known = move |stamp: &Stamp| kept.borrow().children(stamp, &asked, now_us);
        self.derived(execution, reply, known, async move |machine, told| {
            let mut children = Children::new(cut.clone(), machine.key.arn.clone());
            replay(machine, told, &mut children).await?;
            children.told(&cut, |shown| keeping.borrow_mut().keep(told.stamp.clone(), now_us, shown))
        });
    }
}

/// Collects the children that a page may have, and those that follow.
#[derive(Debug)]
struct Children {
    cut: ChildrenCut,
    /// So many of them.
    size: usize,
    /// The machine's ARN.
    machine: String,
    /// What the children run; `None`: the Map Run has not begun.
    runs: Option<String>,
    /// Whether a child has several items.
    batched: bool,
    /// Children so far.
    begun: u64,
    /// Numbers of those under way, by their seeds.
    open: HashMap<u64, u64, foldhash::fast::RandomState>,
    /// By number: those under way, and the newest of those that have ended as they should.
    rows: BTreeMap<u64, v1::ChildExecution>,
    /// The numbers of the latter.
    ended: BTreeSet<u64>,
    /// What the child does that is stepped.
    child: Option<Step>,
}

/// A step of a child.
#[derive(Debug, Default)]
struct Step {
    started: Option<(Timestamp, Payload)>,
    ended: Option<(Timestamp, ExecutionStatus)>,
}

impl Children {
    fn new(cut: ChildrenCut, machine: String) -> Self {
        Self {
            size: cut.size.max(limits::CHILDREN_AHEAD),
            cut,
            machine,
            runs: None,
            batched: false,
            begun: 0,
            open: HashMap::default(),
            rows: BTreeMap::new(),
            ended: BTreeSet::new(),
            child: None,
        }
    }

    fn wants(&self, status: ExecutionStatus) -> bool {
        [ExecutionStatus::Unspecified, status].contains(&self.cut.status)
    }

    fn began(&mut self, child: ChildExecution<'_>, at: Timestamp, input: &Payload) {
        let number = self.begun;
        self.begun += 1;
        if self.cut.place.is_some_and(|place| number >= place) {
            return;
        }
        let names = &child.machine.names;
        let row = v1::ChildExecution {
            arn: names.arn(child.start).to_string(),
            name: names.name(child.start).to_string(),
            status: ExecutionStatus::Running.into(),
            start_time_ms: ms_of(at),
            stop_time_ms: 0,
            items: if self.batched { items_in(input) } else { 1 },
        };
        self.open.insert(child.start.seed, number);
        self.rows.insert(number, row);
    }

    fn ended(&mut self, seed: u64, at: Timestamp, status: ExecutionStatus) {
        let Some(number) = self.open.remove(&seed) else { return };
        if !self.wants(status) {
            self.rows.remove(&number);
            return;
        }
        if let Some(row) = self.rows.get_mut(&number) {
            row.set_status(status);
            row.stop_time_ms = ms_of(at);
        }
        self.ended.insert(number);
        // One more says that there is another page.
        if self.ended.len() > self.size + 1
            && let Some(oldest) = self.ended.pop_first()
        {
            self.rows.remove(&oldest);
        }
    }

    /// The page; what there is for later ones is kept.
    fn told(self, cut: &ChildrenCut, keep: impl FnOnce(Shown)) -> Result<ChildrenPage, Error> {
        let listing = self.listing()?;
        let page = listing.page(cut);
        keep(Shown::Children(listing.cut()));
        Ok(page)
    }

    fn listing(self) -> Result<Listing, Error> {
        let ChildrenCut { map_run, status, place, .. } = self.cut;
        let Some(machine_arn) = self.runs else {
            let message = format!("the execution has no Map Run {map_run}: list those that it has");
            return Err(Error::NotFound { code: "ResourceNotFound", message });
        };
        let is_wanted = |(_, row): &(u64, v1::ChildExecution)| {
            [ExecutionStatus::Unspecified, row.status()].contains(&status)
        };
        let mut rows: Vec<_> = self.rows.into_iter().rev().filter(is_wanted).take(self.size + 1).collect();
        let whole = rows.len() <= self.size;
        rows.shrink_to_fit();
        Ok(Listing { map_run, status, machine_arn, before: place, rows, whole })
    }
}

impl Watch for Children {
    /// Later children are on no page that is asked for, and those that have ended stay what they are.
    fn has_all(&self) -> bool {
        self.runs.is_some() && self.open.is_empty() && self.cut.place.is_some_and(|place| self.begun >= place)
    }
}

impl Observer for Children {
    const CHILDREN: bool = true;

    fn enter_child(&mut self) {
        self.child = Some(Step::default());
    }

    fn leave_child(&mut self, child: ChildExecution<'_>) {
        let Some(step) = self.child.take() else { return };
        if child.machine.names.map_run().is_none_or(|run| **run != *self.cut.map_run) {
            return;
        }
        if let Some((at, input)) = &step.started {
            self.began(child, *at, input);
        }
        if let Some((at, status)) = step.ended {
            self.ended(child.start.seed, at, status);
        }
    }

    fn event(&mut self, record: &Record<'_>) {
        let Some(step) = &mut self.child else {
            if let EventKind::MapRunStarted { arn, map, .. } = &record.kind
                && ***arn == *self.cut.map_run
            {
                self.runs = Some(format!("{}/{}", self.machine, map.label));
                self.batched = map.batcher.is_some();
            }
            return;
        };
        let status = match &record.kind {
            EventKind::ExecutionStarted { input, .. } => {
                step.started = Some((record.at, (*input).clone()));
                return;
            }
            EventKind::ExecutionSucceeded { .. } => ExecutionStatus::Succeeded,
            EventKind::ExecutionFailed(_) => ExecutionStatus::Failed,
            EventKind::ExecutionTimedOut(_) => ExecutionStatus::TimedOut,
            EventKind::ExecutionAborted(_) => ExecutionStatus::Aborted,
            _ => return,
        };
        step.ended = Some((record.at, status));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use asl::definition::MachineType;
    use asl::{Dialect, Effect, EffectId, Event, Program};
    use ids::{BatchId, Mode, PartitionId};
    use journal::MachineRef;

    use super::super::kept_replays::KeptReplays;
    use super::super::kept_replays::tests::stamp;
    use super::super::machine::{Beginning, Machine};
    use super::*;
    use crate::secret::ClusterSecret;

    const ARN: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";

    /// A Map whose children end at once.
    const QUICK: &[u8] = br#"{"StartAt":"M","States":{"M":{"Type":"Map","Label":"M","End":true,"MaxConcurrency":40,
        "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"A","States":{
        "A":{"Type":"Pass","End":true}}}}}}"#;

    fn machine() -> Machine {
        let compiled =
            Program::compile_for(QUICK, Dialect::Asl, MachineType::Standard).expect("a definition");
        let key = MachineRef {
            arn: ARN.to_owned(),
            definition: compiled.program.hash,
            mode: Mode::Standard,
            dialect: 0,
            retention_s: 0,
            role_arn: String::new(),
            logging: Default::default(),
            origin: String::new(),
        };
        let secret = Arc::new(ClusterSecret::from_key(&[7; 32]));
        Machine::alone(key, compiled.program, &secret).expect("a good name")
    }

    /// Runs an execution of so many items to its end.
    fn run(machine: &Machine, items: usize, observer: &mut impl Observer) {
        let id = BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range").execution(0);
        let beginning = Beginning { id, name: None, seed: 7, start_time_ms: 1, waits: false, keeps: false };
        let input = format!("[{}]", vec!["0"; items].join(","));
        let mut effects = Vec::new();
        let input = Payload::from_checked(input.into());
        let mut execution = machine.begin(&beginning, input, &mut effects, observer);
        while effects.contains(&Effect::Yield) {
            effects.clear();
            execution.handle(Event::TimerFired(EffectId::NEXT_TURN), Timestamp(0), &mut effects, observer);
        }
        assert!(execution.is_finished());
    }

    /// Sees the ARN of the Map Run.
    #[derive(Default)]
    struct Named(String);

    impl Observer for Named {
        fn event(&mut self, record: &Record<'_>) {
            if let EventKind::MapRunStarted { arn, .. } = &record.kind {
                self.0 = arn.to_string();
            }
        }
    }

    fn cut_of(machine: &Machine, place: Option<u64>) -> ChildrenCut {
        let mut named = Named::default();
        run(machine, 1, &mut named);
        ChildrenCut { map_run: named.0, status: ExecutionStatus::Unspecified, size: 100, place }
    }

    #[test]
    fn a_walk_over_all_pages_makes_one_replay_for_every_ten_thousand_children() {
        for (items, expected) in [(10_000, 1), (12_000, 2)] {
            let machine = machine();
            let (mut kept, stamp) = (KeptReplays::default(), stamp(0, 1));
            let (mut replays, mut pages, mut names) = (0, 0, std::collections::HashSet::new());
            let mut cut = cut_of(&machine, None);
            loop {
                let page = kept.children(&stamp, &cut, 0).unwrap_or_else(|| {
                    replays += 1;
                    let mut children = Children::new(cut.clone(), ARN.to_owned());
                    run(&machine, items, &mut children);
                    let told = children.told(&cut, |shown| kept.keep(stamp.clone(), 0, shown));
                    told.expect("a page")
                });
                pages += 1;
                names.extend(page.executions.into_iter().map(|child| child.name));
                cut.place = page.next;
                if cut.place.is_none() {
                    break;
                }
            }
            assert_eq!((replays, pages, names.len()), (expected, items / 100, items));
        }
    }

    #[test]
    fn a_replay_ends_where_all_children_of_its_pages_have_ended() {
        let machine = machine();
        for (place, expected) in [(None, false), (Some(7), false), (Some(5), true), (Some(2), true)] {
            let mut children = Children::new(cut_of(&machine, place), ARN.to_owned());
            assert!(!children.has_all());
            run(&machine, 5, &mut children);
            assert_eq!(children.has_all(), expected, "{place:?}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_kept_keeps_its_newest_rows_and_is_never_taken_for_all_of_them() {
        let row = |number: u64| {
            let name = "n".repeat(limits::KEPT_REPLAY_BYTES_MAX / 4);
            (number, v1::ChildExecution { name, ..Default::default() })
        };
        let (map_run, machine_arn, status) = (String::new(), String::new(), ExecutionStatus::Unspecified);
        let rows = (0..5).rev().map(row).collect();
        let listing = Listing { map_run, status, machine_arn, before: None, rows, whole: true };
        let kept = listing.cut();
        assert!(kept.bytes() <= limits::KEPT_REPLAY_BYTES_MAX);
        let cut = |size, place| ChildrenCut { map_run: String::new(), status, size, place };
        let numbers =
            |size, place| kept.page_of(&cut(size, place)).map(|page| (page.executions.len(), page.next));
        assert_eq!(numbers(2, None), Some((2, Some(3))));
        assert_eq!(numbers(2, Some(3)), None, "one of them is here, and what is behind it is not");
        assert_eq!(numbers(3, None), None);
    }
}
