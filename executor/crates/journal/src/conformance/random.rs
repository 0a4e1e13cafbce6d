//! Random sequences of calls: every store answers them as the store in memory does.
//!
//! Two owners take two logs from each other, append, trim, repeat and read; keys that live for ever are changed beside that.
//! Invariants: each run has logs and keys of its own; the sequences are the same in every run of the check; of those that fail
//! the shortest that is found is told. Not compared is what the contract leaves open: blocks below a mark of trimming.

use std::sync::Arc;

use bytes::Bytes;
use ids::PartitionId;
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{LONG, Subject, append, block_id, partition, store};
use crate::memory::MemoryStore;
use crate::store::{Append, BlockId, BlockRange, Connect, Derived, Store, StoreError};

const CASES: u32 = 16;
const CALLS_MAX: usize = 40;
/// Runs that look for a shorter sequence that fails, too.
const SHORTER_MAX: u32 = 200;
/// The first of the logs, of which each run takes two: no other check has it.
const FIRST: u32 = 64;

/// Which of two owners, and which of two logs.
type Place = (usize, usize);

#[derive(Debug, Clone)]
enum Call {
    Acquire(Place),
    /// Leaves out some ids, and drops all but some blocks.
    Append(Place, u64, Vec<Beside>, Option<u64>),
    /// The last append again, or other content under its id.
    Repeat(Place, bool),
    Read(Place, (u64, u64), (u64, u64), bool, usize),
    Keys(Place),
    List(Place, usize, usize),
    Tops(usize),
    Put(usize, u8, &'static str),
    CompareAndPut(usize, u8, Option<&'static str>, Option<&'static str>),
    Get(usize, u8),
    Scan(usize, Option<u8>, usize),
    Increment(usize, u8),
}

#[derive(Debug, Clone)]
enum Beside {
    Put(u8, &'static str),
    Push(&'static str),
}

fn call() -> BoxedStrategy<Call> {
    let place = (0..2_usize, 0..2_usize);
    let id = (0..4_u64, 0..12_u64);
    let value = || prop_oneof![Just(""), Just("a"), Just("7"), Just("-3")];
    let beside = prop_oneof![
        (0..3_u8, value()).prop_map(|(key, value)| Beside::Put(key, value)),
        value().prop_map(Beside::Push)
    ];
    let trim = proptest::option::weighted(0.3, 0..4_u64);
    prop_oneof![
        2 => place.clone().prop_map(Call::Acquire),
        8 => (place.clone(), 0..3_u64, vec(beside, 0..4), trim)
            .prop_map(|(place, skip, beside, trim)| Call::Append(place, skip, beside, trim)),
        2 => (place.clone(), any::<bool>()).prop_map(|(place, same)| Call::Repeat(place, same)),
        4 => (place.clone(), id.clone(), id, any::<bool>(), 0..6_usize)
            .prop_map(|(place, from, to, reverse, limit)| Call::Read(place, from, to, reverse, limit)),
        2 => place.clone().prop_map(Call::Keys),
        2 => (place, 0..4_usize, 0..4_usize).prop_map(|(place, skip, limit)| Call::List(place, skip, limit)),
        2 => (0..2_usize).prop_map(Call::Tops),
        2 => (0..2_usize, 0..3_u8, value()).prop_map(|(who, key, value)| Call::Put(who, key, value)),
        2 => (0..2_usize, 0..3_u8, proptest::option::of(value()), proptest::option::of(value()))
            .prop_map(|(who, key, expected, value)| Call::CompareAndPut(who, key, expected, value)),
        2 => (0..2_usize, 0..3_u8).prop_map(|(who, key)| Call::Get(who, key)),
        2 => (0..2_usize, proptest::option::of(0..3_u8), 0..4_usize)
            .prop_map(|(who, after, limit)| Call::Scan(who, after, limit)),
        2 => (0..2_usize, 0..3_u8).prop_map(|(who, key)| Call::Increment(who, key)),
    ]
    .boxed()
}

/// One store under a sequence of calls.
struct Run {
    owners: [Arc<dyn Store>; 2],
    number: u32,
    /// What each owner appends next to each log, and what it appended last.
    next: [[Option<BlockId>; 2]; 2],
    last: [[Option<Append>; 2]; 2],
    /// Below these the logs may have something, or not.
    mark: [BlockId; 2],
}

/// An answer, without the words of an error.
fn answer<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Fenced { attempted, last, .. }) => {
            format!("fenced: {attempted}, it stands at {last}")
        }
        Err(StoreError::Refused(_)) => "refused".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

impl Run {
    async fn new(connect: &dyn Connect, number: u32) -> Self {
        let owner = async || connect.connect().await.expect("the store connects");
        let owners = [owner().await, owner().await];
        Self { owners, number, next: Default::default(), last: Default::default(), mark: Default::default() }
    }

    fn log(&self, at: usize) -> PartitionId {
        partition(FIRST + 2 * self.number + at as u32)
    }

    /// A durable key of this run.
    fn key(&self, key: Option<u8>) -> Bytes {
        let key = key.map(|key| key.to_string()).unwrap_or_default();
        format!("random {}/{key}", self.number).into()
    }

    /// Makes a call; the answer.
    async fn make(&mut self, call: &Call) -> String {
        let of = |value: &Option<&'static str>| value.map(|value| Bytes::from_static(value.as_bytes()));
        match call {
            Call::Acquire((who, at)) => {
                let acquired = self.owners[*who].acquire(self.log(*at)).await;
                if let Ok(acquired) = &acquired {
                    self.next[*who][*at] = Some(block_id(acquired.generation, 1));
                    self.last[*who][*at] = None;
                }
                answer(acquired)
            }
            Call::Append(place, skip, beside, trim) => self.append(*place, *skip, beside, *trim).await,
            Call::Repeat((who, at), same) => match self.last[*who][*at].clone() {
                Some(last) if last.id >= self.mark[*at] => {
                    let block = if *same { last.block.clone() } else { "something else".into() };
                    let again = Append { block, derived: Vec::new(), trim_below: None, ..last };
                    answer(self.owners[*who].append(again).await)
                }
                _ => String::new(),
            },
            Call::Read((who, at), from, to, reverse, limit) => {
                let (from, to) = (block_id(from.0, from.1).max(self.mark[*at]), block_id(to.0, to.1));
                let range = BlockRange { from, to, reverse: *reverse, limit: *limit };
                answer(self.owners[*who].read(self.log(*at), range).await)
            }
            Call::Keys(place) => self.keys(*place).await,
            Call::List((who, at), skip, limit) => {
                answer(self.owners[*who].list(self.log(*at), "list".into(), *skip, *limit).await)
            }
            Call::Tops(who) => {
                let tops = self.owners[*who].tops(vec![self.log(0), self.log(1)]).await;
                answer(tops.map(|tops| tops.into_iter().map(answer).collect::<Vec<_>>()))
            }
            Call::Put(who, key, value) => answer(
                self.owners[*who].put(self.key(Some(*key)), Bytes::from_static(value.as_bytes())).await,
            ),
            Call::CompareAndPut(who, key, expected, value) => {
                let key = self.key(Some(*key));
                answer(self.owners[*who].compare_and_put(key, of(expected), of(value)).await)
            }
            Call::Get(who, key) => answer(self.owners[*who].get(self.key(Some(*key))).await),
            Call::Scan(who, after, limit) => {
                let after = after.map(|after| self.key(Some(after)));
                answer(self.owners[*who].scan(self.key(None), after, *limit).await)
            }
            Call::Increment(who, key) => answer(self.owners[*who].increment(self.key(Some(*key))).await),
        }
    }

    async fn append(&mut self, (who, at): Place, skip: u64, beside: &[Beside], trim: Option<u64>) -> String {
        let Some(next) = self.next[who][at] else { return String::new() };
        let id = BlockId { sequence: next.sequence + skip, ..next };
        let derived = beside.iter().map(|beside| match beside {
            Beside::Put(key, value) => {
                Derived::Put { key: format!("key {key}").into(), value: (*value).into(), ttl: LONG }
            }
            Beside::Push(value) => Derived::Push { list: "list".into(), value: (*value).into(), ttl: LONG },
        });
        let trim_below = trim.map(|kept| BlockId { sequence: id.sequence.saturating_sub(kept), ..id });
        let block = append(self.log(at), id, format!("of {who}, {id}"));
        let append = Append { derived: derived.collect(), trim_below, ..block };
        let appended = self.owners[who].append(append.clone()).await;
        if appended.is_err() {
            return answer(appended);
        }
        self.next[who][at] = id.after();
        self.last[who][at] = Some(append);
        self.mark[at] = self.mark[at].max(trim_below.unwrap_or_default());
        // Whoever wrote it finds what stood beside it, and then so do others.
        self.keys((who, at)).await
    }

    async fn keys(&self, (who, at): Place) -> String {
        let keys = (0..3).map(|key| format!("key {key}").into()).collect();
        let keys = self.owners[who].get_derived(self.log(at), keys).await;
        let list = self.owners[who].list(self.log(at), "list".into(), 0, usize::MAX).await;
        format!("{} {}", answer(keys), answer(list))
    }
}

/// Makes the same calls of both stores; where they differ.
async fn compare(subject: &dyn Connect, number: u32, calls: &[Call]) -> Result<(), String> {
    let memory = MemoryStore::new();
    let (mut expected, mut found) = (Run::new(&memory, number).await, Run::new(subject, number).await);
    for (at, call) in calls.iter().enumerate() {
        let (expected, found) = (expected.make(call).await, found.make(call).await);
        if expected != found {
            return Err(format!("call {at}, {call:?}, gave\n  {found}\nand not\n  {expected}"));
        }
    }
    Ok(())
}

/// See the name.
pub async fn random_calls_are_answered_as_the_store_in_memory_does(subject: &mut impl Subject) {
    // A store that is there, before any call counts.
    drop(store(subject).await);
    let connect = subject.connect();
    let mut runner = TestRunner::deterministic();
    let mut runs = 0..;
    let mut run = async |calls: &[Call]| {
        let number = runs.next().expect("numbers go on");
        compare(connect.as_ref(), number, calls).await
    };
    for _ in 0..CASES {
        let mut tree = vec(call(), 1..CALLS_MAX).new_tree(&mut runner).expect("a sequence of calls");
        let Err(why) = run(&tree.current()).await else { continue };
        let (mut shortest, mut fails) = ((tree.current(), why), true);
        for _ in 0..SHORTER_MAX {
            if !(if fails { tree.simplify() } else { tree.complicate() }) {
                break;
            }
            let calls = tree.current();
            let outcome = run(&calls).await;
            fails = outcome.is_err();
            shortest = outcome.err().map_or(shortest, |why| (calls, why));
        }
        let (calls, why) = shortest;
        panic!("{why}\nof these calls: {calls:#?}");
    }
}
