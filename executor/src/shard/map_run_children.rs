//! The child executions of a Map Run, page by page: nobody keeps them, so their execution is run again for each page.
//!
//! Invariants: children are numbered in the order in which they begin, which each replay repeats, so that a number is a place; what
//! is remembered meanwhile is bounded by a page and by what runs at once. What may fail: whatever a history may, and a Map Run
//! that the execution does not have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use asl::Payload;
use asl::Timestamp;
use asl::history::{ChildExecution, EventKind, Observer, Record};
use ids::ExecutionName;
use proto::executor::v1::{self, ExecutionStatus};

use super::command::Reply;
use super::core::Shard;
use super::history::{Watch, replay};
use super::machine::ms_of;
use super::map_runs::items_in;
use crate::error::Error;

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

impl Shard {
    pub(super) fn children(
        &mut self,
        execution: ExecutionName,
        cut: ChildrenCut,
        reply: Reply<ChildrenPage>,
    ) {
        self.derived(execution, reply, async move |machine, told| {
            let mut children = Children::new(cut, machine.key.arn.clone());
            replay(machine, told, &mut children).await?;
            children.page()
        });
    }
}

/// Collects the children that a page may have.
#[derive(Debug)]
struct Children {
    cut: ChildrenCut,
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
        // One more than the page has says that there is another page.
        if self.ended.len() > self.cut.size + 1
            && let Some(oldest) = self.ended.pop_first()
        {
            self.rows.remove(&oldest);
        }
    }

    fn page(self) -> Result<ChildrenPage, Error> {
        let Some(machine_arn) = self.runs.clone() else {
            let message =
                format!("the execution has no Map Run {}: list those that it has", self.cut.map_run);
            return Err(Error::NotFound { code: "ResourceNotFound", message });
        };
        let wanted = self.rows.iter().rev().filter(|(_, row)| self.wants(row.status()));
        let mut wanted: Vec<_> = wanted.take(self.cut.size + 1).collect();
        let more = wanted.len() > self.cut.size;
        wanted.truncate(self.cut.size);
        let next = wanted.last().filter(|_| more).map(|(number, _)| **number);
        let executions = wanted.into_iter().map(|(_, row)| row.clone()).collect();
        Ok(ChildrenPage { machine_arn, executions, next })
    }
}

impl Watch for Children {}

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
