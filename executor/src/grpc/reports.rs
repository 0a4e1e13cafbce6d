//! What every shard says of itself, for heartbeats and for who asks.
//!
//! Invariants: nobody waits for a shard longer than [`BUSY_AFTER`]; one that works longer than that is *busy*: it still has
//! what it has, and is told with what it said last and with what [`crate::owners::Owners`] knows now, so that a node does
//! not seem dead because an execution works much. Whether it is cut off from the store nobody knows meanwhile. One that has
//! answered nothing for [`limits::SHARD_SILENCE_MAX`] does not work, it hangs: it is told as cut off, so that the scheduler
//! gives its partitions to others, and its node does not serve until it answers. A shard whose thread has ended has nothing,
//! and is not told. What may fail: the node has no shards yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ids::PartitionId;
use proto::executor::v1;
use proto::executor::v1::owned_partition::State;

use super::{NodeContext, ask};
use crate::clock::Clock;
use crate::error::Error;
use crate::limits;
use crate::owners::Owners;
use crate::shard::{Command, ShardHandle};

/// How long a report waits for a shard.
const BUSY_AFTER: Duration = Duration::from_millis(100);

/// How often a node looks after its shards where no heartbeat does.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What shards said last, by their number.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<BTreeMap<u32, Known>>);

/// What is known of a shard.
#[derive(Debug, Default)]
struct Known {
    /// Nothing before its first answer.
    said: Option<v1::Shard>,
    /// Since when it has not answered, in microseconds.
    silent_since_us: Option<u64>,
    /// Whether that is so long that it does not work.
    hangs: bool,
}

/// What every shard says of itself. One that is busy and has never said anything is left out.
pub(crate) async fn report_shards(node: &NodeContext) -> Result<Vec<v1::Shard>, Error> {
    let told = node.reports.ask_all(node.shards()?, &node.owners, &node.clock).await;
    node.health.hangs(node.reports.any_hangs()).await;
    Ok(told)
}

/// Looks after the shards as long as the node lives, for a node without a scheduler reports to nobody.
pub(crate) async fn look_after_shards(node: Arc<NodeContext>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Before there are shards, there is nothing to look after.
        let _ = report_shards(&node).await;
    }
}

impl Reports {
    async fn ask_all(&self, shards: &[ShardHandle], owners: &Owners, clock: &Clock) -> Vec<v1::Shard> {
        let asked_us = clock.now_us();
        let asked = shards
            .iter()
            .map(|shard| tokio::time::timeout(BUSY_AFTER, ask(shard, |reply| Command::Report { reply })));
        let answers = join_all(asked).await;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, answer) in shards.iter().zip(answers) {
            let answer = match answer {
                Ok(Ok(said)) => Some(said),
                Ok(Err(_)) => {
                    known.remove(&shard.index);
                    continue;
                }
                Err(_) => None,
            };
            known.entry(shard.index).or_default().hear(shard.index, answer, (asked_us, clock.now_us()));
        }
        known.iter().filter_map(|(index, known)| known.tell(&owners.held_by(*index))).collect()
    }

    fn any_hangs(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().any(|known| known.hangs)
    }
}

impl Known {
    /// What it has said, or that it has not, when it was asked at the first of these instants and the other one is now.
    fn hear(&mut self, shard: u32, answer: Option<v1::Shard>, (asked_us, now_us): (u64, u64)) {
        if let Some(said) = answer {
            if std::mem::take(&mut self.hangs) {
                tracing::warn!(shard, "a shard that hung answers again");
            }
            *self = Self { said: Some(said), ..Self::default() };
            return;
        }
        let since_us = *self.silent_since_us.get_or_insert(asked_us);
        let over = u128::from(now_us.saturating_sub(since_us)) >= limits::SHARD_SILENCE_MAX.as_micros();
        if over && !std::mem::replace(&mut self.hangs, true) {
            tracing::error!(
                shard,
                silent_for = ?limits::SHARD_SILENCE_MAX,
                "a shard answers nothing: its thread hangs, or works without an end. The node does not serve until it answers, \
                 and the scheduler gives its partitions to others; where there is none, start the node again"
            );
        }
    }

    fn tell(&self, held: &[(PartitionId, bool)]) -> Option<v1::Shard> {
        let said = self.said.as_ref()?;
        match self.silent_since_us {
            None => Some(said.clone()),
            Some(_) => Some(v1::Shard { cut_off: self.hangs, ..busy(said, held) }),
        }
    }
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
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::clock::ManualClock;
    use crate::shard::ShardState;

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_answers_nothing_is_busy_then_cut_off_and_neither_once_it_answers() {
        let (sender, mut queue) = mpsc::channel(64);
        let state = watch::channel(ShardState::Serving).1;
        let shards = [ShardHandle { index: 3, sender, state }];
        let (owners, manual, reports) = (Owners::new(4), ManualClock::at_ms(0), Reports::default());
        let partition = PartitionId::new(2).expect("in range");
        assert!(owners.claim(partition, 3));
        owners.serve(partition, 3);
        let clock = Clock::Manual(manual.clone());
        let answering = async |queue: &mut mpsc::Receiver<Command>| {
            let answer = async {
                while let Some(command) = queue.recv().await {
                    let Command::Report { reply } = command else { panic!("nothing else is asked") };
                    // Who asked before no longer listens.
                    let _ = reply.send(Ok(v1::Shard { index: 3, partitions: vec![2], ..Default::default() }));
                }
            };
            tokio::select! {
                told = reports.ask_all(&shards, &owners, &clock) => told,
                () = answer => unreachable!("the queue stays open"),
            }
        };
        let told = async || {
            let told = reports.ask_all(&shards, &owners, &clock).await.remove(0);
            (told.busy, told.cut_off, told.partitions, reports.any_hangs())
        };
        assert!(reports.ask_all(&shards, &owners, &clock).await.is_empty(), "it has never said anything");
        assert!(!answering(&mut queue).await[0].busy);
        assert_eq!(told().await, (true, false, vec![2], false));
        manual.advance(limits::SHARD_SILENCE_MAX - Duration::from_micros(1));
        assert_eq!(told().await, (true, false, vec![2], false));
        manual.advance(Duration::from_micros(1));
        assert_eq!(told().await, (true, true, vec![2], true));
        let again = answering(&mut queue).await.remove(0);
        assert!(!again.busy && !again.cut_off && !reports.any_hangs());
        assert_eq!(told().await, (true, false, vec![2], false), "its silence begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_hangs_from_its_beginning_is_seen_too() {
        let (sender, _queue) = mpsc::channel(1);
        let state = watch::channel(ShardState::Connecting).1;
        let shards = [ShardHandle { index: 0, sender, state }];
        let (owners, manual, reports) = (Owners::new(4), ManualClock::at_ms(0), Reports::default());
        let clock = Clock::Manual(manual.clone());
        for hangs in [false, true] {
            assert!(reports.ask_all(&shards, &owners, &clock).await.is_empty());
            assert_eq!(reports.any_hangs(), hangs);
            manual.advance(limits::SHARD_SILENCE_MAX);
        }
    }

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
