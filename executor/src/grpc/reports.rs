//! What every shard says of itself, for heartbeats and for who asks.
//!
//! Invariants: nobody waits for a shard longer than [`BUSY_AFTER`]; one that works longer than that is *busy*: it still has
//! what it has, and is told with what it said last and with what [`crate::owners::Owners`] knows now, so that a node does
//! not seem dead because an execution works much. Whether it is cut off from the store nobody knows meanwhile. A shard whose thread has ended has nothing, and is not told. What may
//! fail: the node has no shards yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ids::PartitionId;
use proto::executor::v1;
use proto::executor::v1::owned_partition::State;

use super::{NodeContext, ask};
use crate::error::Error;
use crate::shard::Command;

/// How long a report waits for a shard.
const BUSY_AFTER: Duration = Duration::from_millis(100);

/// What shards said last, by their number.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<BTreeMap<u32, v1::Shard>>);

/// What every shard says of itself. One that is busy and has never said anything is left out.
pub(crate) async fn report_shards(node: &NodeContext) -> Result<Vec<v1::Shard>, Error> {
    let shards = node.shards()?;
    let asked = shards
        .iter()
        .map(|shard| tokio::time::timeout(BUSY_AFTER, ask(shard, |reply| Command::Report { reply })));
    let answers = join_all(asked).await;
    let mut known = node.reports.0.lock().unwrap_or_else(PoisonError::into_inner);
    for (shard, answer) in shards.iter().zip(answers) {
        match answer {
            Ok(Ok(said)) => {
                known.insert(shard.index, said);
            }
            Ok(Err(_)) => {
                known.remove(&shard.index);
            }
            Err(_) => {
                if let Some(said) = known.get_mut(&shard.index) {
                    *said = busy(said, &node.owners.held_by(shard.index));
                }
            }
        }
    }
    Ok(known.values().cloned().collect())
}

/// A shard that does not answer now, by what it said last and what it has now, each with whether it takes starts.
fn busy(said: &v1::Shard, held: &[(PartitionId, bool)]) -> v1::Shard {
    let owned = held.iter().map(|(partition, serves)| {
        let partition = u32::from(partition.get());
        let before = said.owned.iter().find(|owned| owned.partition == partition);
        let state = match before.map(v1::OwnedPartition::state) {
            _ if *serves => State::Serving,
            Some(State::Releasing) => State::Releasing,
            _ => State::Recovering,
        };
        let generation = before.map_or(0, |owned| owned.generation);
        v1::OwnedPartition { partition, generation, state: state.into() }
    });
    let served = held.iter().filter(|(_, serves)| *serves);
    v1::Shard {
        partitions: served.map(|(partition, _)| u32::from(partition.get())).collect(),
        owned: owned.collect(),
        cut_off: false,
        busy: true,
        ..said.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_shard_has_what_it_has_now_and_is_told_with_what_it_said_last() {
        let owned = |partition, generation, state: State| v1::OwnedPartition {
            partition,
            generation,
            state: state.into(),
        };
        let said = v1::Shard {
            index: 1,
            open_executions: 7,
            cut_off: true,
            partitions: vec![0, 3],
            owned: vec![
                owned(0, 4, State::Serving),
                owned(1, 5, State::Recovering),
                owned(2, 6, State::Releasing),
                owned(3, 7, State::Serving),
            ],
            ..v1::Shard::default()
        };
        let held = [(0, true), (1, true), (2, false), (5, false)]
            .map(|(number, serves)| (PartitionId::new(number).expect("in range"), serves));
        let told = busy(&said, &held);
        assert_eq!((told.busy, told.open_executions, &told.partitions[..]), (true, 7, &[0, 1][..]));
        assert!(!told.cut_off, "nobody knows while it works");
        let expected = [
            owned(0, 4, State::Serving),
            owned(1, 5, State::Serving),
            owned(2, 6, State::Releasing),
            owned(5, 0, State::Recovering),
        ];
        assert_eq!(told.owned, expected);
    }
}
