//! Crash points: every kind of call of the store, at every step of its way, is a place where a process may die.
//!
//! Purpose: no window between two durable edges is forgotten; [`Points`] counts how often a process died in each, and
//! the test fails for one that no seed has hit. Nothing here fails.

use std::collections::BTreeMap;

use crate::rng::Rng;

/// What a call of the store asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A connection.
    Connect,
    /// A partition.
    Acquire,
    /// A new block.
    Append,
    /// A block whose outcome was unknown.
    AppendAgain,
    /// A new block that lets old ones go.
    AppendAndTrim,
    /// A new block, and beside it a part of a checkpoint.
    AppendAndCheckpoint,
    /// A page of blocks, for a recovery.
    ReadPage,
    /// One block, for a look-up or a comparison.
    ReadBlock,
    /// Names and pointers.
    GetDerived,
    /// A list of the index.
    List,
    /// Whether it answers.
    Ping,
    /// Where the logs stand.
    Tops,
    /// That a log may go on from where it went back to.
    Accept,
    /// A durable key.
    Key,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The shard has decided, nothing has left the process.
    Built,
    /// On its way to the store.
    Sent,
    /// In effect; the answer is on its way.
    Applied,
    /// The answer is in the process, the shard has not seen it.
    Answered,
    /// The shard has seen it; what follows (acknowledgements, tasks, completions) has not left the process.
    Handled,
}

/// A place where a process may die.
pub type Point = (CallKind, Phase);

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Built, Self::Sent, Self::Applied, Self::Answered, Self::Handled];
}

/// The kinds of calls at which processes are killed: those that a shard makes in the course of its work.
pub const KINDS: [CallKind; 14] = [
    CallKind::Connect,
    CallKind::Acquire,
    CallKind::Append,
    CallKind::AppendAgain,
    CallKind::AppendAndTrim,
    CallKind::AppendAndCheckpoint,
    CallKind::ReadPage,
    CallKind::ReadBlock,
    CallKind::GetDerived,
    CallKind::List,
    CallKind::Ping,
    CallKind::Tops,
    CallKind::Accept,
    CallKind::Key,
];

/// What a run does a few times at most.
const SELDOM: CallKind = CallKind::AppendAndCheckpoint;

/// Every crash point.
pub fn all() -> impl Iterator<Item = Point> {
    KINDS.into_iter().flat_map(|kind| Phase::ALL.into_iter().map(move |phase| (kind, phase)))
}

/// Where the processes of a run are to die, and where they did.
#[derive(Debug, Default)]
pub struct Points {
    /// How often the point is passed before it kills.
    planned: BTreeMap<Point, u64>,
    /// How often a process has died there.
    pub hits: BTreeMap<Point, u64>,
}

impl Points {
    /// A plan with so many crashes.
    pub fn plan(rng: &mut Rng, crashes: u64) -> Self {
        let points: Vec<Point> = all().collect();
        let planned = (0..crashes).map(|_| {
            let (point, early) = (*rng.pick(&points), rng.permille(500));
            (point, if early || point.0 == SELDOM { rng.below(3) } else { rng.below(20) })
        });
        Self { planned: planned.collect(), hits: BTreeMap::new() }
    }

    /// Whether a process that has come to this point dies.
    pub fn kills(&mut self, point: Point) -> bool {
        let Some(left) = self.planned.get_mut(&point) else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        self.planned.remove(&point);
        *self.hits.entry(point).or_default() += 1;
        true
    }

    /// Nobody dies any more.
    pub fn heal(&mut self) {
        self.planned.clear();
    }
}
