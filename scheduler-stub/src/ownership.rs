//! The assigner at work: reports go in, directives go out on the streams of the nodes.
//!
//! Invariants: a node has one stream that counts, the one that was opened last; directives stand in it in the order in which
//! they were decided; what could not be pushed is said again with the next report's answer, for directives are
//! level-triggered. The scheduler keeps nothing of this: after a
//! restart it listens and adopts what nodes have. Nothing here fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assign::{Assigner, Assignment, Cause, Claim, Effect, NodeKey, Report, Rules, ShardReport, State};
use executor::clock::Clock;
use proto::executor::v1::{self, owned_partition};
use proto::scheduler::v1 as wire;
use tokio::sync::mpsc;
use tonic::Status;

use crate::directory::{Directory, HEARTBEAT};

/// How often the assigner looks at the clock: failover is late by this much at most.
pub const TICK: Duration = Duration::from_millis(100);

/// Where directives to one node go.
pub type Directives = mpsc::Sender<Result<wire::NodeDirective, Status>>;
/// A place among them, kept free for the answer to a report.
pub type Place = mpsc::OwnedPermit<Result<wire::NodeDirective, Status>>;

struct Stream {
    session: u64,
    directives: Directives,
}

struct Inner {
    assigner: Assigner,
    streams: HashMap<NodeKey, Stream>,
    last_session: u64,
}

/// See the module.
pub struct Ownership {
    inner: Mutex<Inner>,
    directory: Arc<Directory>,
    clock: Clock,
}

/// What the scheduler says about ownership, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Under which it assigns.
    pub incarnation: u32,
    /// Whether it does.
    pub assigning: bool,
    /// Who does instead.
    pub replaced_by: u32,
    /// Moves under way.
    pub moves: usize,
    /// Partitions that are named to nobody.
    pub unassigned: Vec<u32>,
}

impl Ownership {
    /// One that waits for so many nodes before it gives out what nobody has; 0: for a while only.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clock: Clock, expected_nodes: usize) -> Self {
        let assigner = Assigner::new(Rules { expected_nodes, ..Rules::default() });
        let inner = Inner { assigner, streams: HashMap::new(), last_session: 0 };
        Self { inner: Mutex::new(inner), directory, clock }
    }

    /// The number of a stream that a node has opened.
    pub fn open(&self) -> u64 {
        self.with(|inner| {
            inner.last_session += 1;
            inner.last_session
        })
    }

    /// The incarnation that a node's store gave; the first one counts.
    pub fn registered(&self, incarnation: u32) {
        self.with(|inner| inner.assigner.registered(incarnation));
    }

    /// Takes a report in, and puts the answer to it into `place`: what is decided later comes later there.
    pub fn reported(&self, session: u64, report: &wire::NodeReport, partitions: u16, place: Place) {
        let report = read(session, report, partitions);
        let now_us = self.clock.now_us();
        self.with(|inner| {
            let node = Arc::clone(&report.node);
            let newest = inner.streams.get(&node).is_none_or(|stream| stream.session <= session);
            if newest {
                // What is decided now stands in the answer; an older stream hears nothing any more.
                inner.streams.remove(&node);
            }
            inner.assigner.report(now_us, report);
            self.carry_out(inner, now_us);
            // Only the stream that counts is told what the node shall have.
            let answer = wire::NodeDirective {
                alone: inner.assigner.is_alone(now_us, &node),
                ..directive(inner.assigner.assignment(&node).filter(|_| newest))
            };
            let directives = place.send(Ok(answer));
            if newest {
                inner.streams.insert(node, Stream { session, directives });
            }
        });
    }

    /// A stream has ended. Whether it was the one that counts.
    pub fn closed(&self, node: &str, session: u64) -> bool {
        let now_us = self.clock.now_us();
        self.with(|inner| {
            let counts = inner.streams.get(node).is_some_and(|stream| stream.session == session);
            if counts {
                inner.streams.remove(node);
                inner.assigner.broken(now_us, node, session);
            }
            counts
        })
    }

    /// Decides again. Ends only when it is dropped.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            let now_us = self.clock.now_us();
            self.with(|inner| self.carry_out(inner, now_us));
        }
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.with(|inner| Standing {
            incarnation: inner.assigner.incarnation(),
            assigning: inner.assigner.is_in_charge(),
            replaced_by: inner.assigner.replaced_by().unwrap_or_default(),
            moves: inner.assigner.moves(),
            unassigned: inner.assigner.unnamed().map(u32::from).collect(),
        })
    }

    /// What a node is to have, as it is told.
    #[must_use]
    pub fn assignment(&self, node: &str) -> Option<wire::Assignment> {
        self.with(|inner| inner.assigner.assignment(node)).map(told)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn carry_out(&self, inner: &mut Inner, now_us: u64) {
        for effect in inner.assigner.tick(now_us) {
            match effect {
                Effect::Tell { node, assignment } => {
                    let partitions = assignment.shards.values().map(Vec::len).sum::<usize>();
                    tracing::info!(%node, partitions, "assigned");
                    if let Some(stream) = inner.streams.get(&node) {
                        // A full queue is no loss: the answer to the next report says the same.
                        let _ = stream.directives.try_send(Ok(directive(Some(assignment))));
                    }
                }
                Effect::Dead { node, .. } if self.directory.has_drained(&node) => {
                    tracing::info!(%node, "gone, after it had given back everything");
                    self.directory.lost(&node);
                }
                Effect::Dead { node, cause } => {
                    let cause = match cause {
                        Cause::Broken => "its stream ended and it did not come back",
                        Cause::Silent => "it has been silent for too long",
                    };
                    tracing::warn!(%node, "given up, its partitions go to others: {cause}");
                    self.directory.lost(&node);
                }
                Effect::CutOff { shard } => tracing::warn!(
                    node = %shard.node,
                    shard = shard.index,
                    "the store answers others and not this shard: its partitions go to others; see to its connection",
                ),
                Effect::Replaced { by } => tracing::error!(
                    ours = inner.assigner.incarnation(),
                    by,
                    "nodes follow a scheduler that began later: this one assigns nothing any more and only \
                     dispatches; stop it, or restart it if it shall be the one",
                ),
            }
        }
    }
}

fn directive(assignment: Option<Assignment>) -> wire::NodeDirective {
    wire::NodeDirective {
        heartbeat_interval_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
        known: true,
        assignment: assignment.map(told),
        ..wire::NodeDirective::default()
    }
}

fn told(assignment: Assignment) -> wire::Assignment {
    let shard = |(index, partitions): (u32, Vec<u16>)| wire::ShardAssignment {
        index,
        partitions: partitions.into_iter().map(u32::from).collect(),
    };
    wire::Assignment {
        scheduler_incarnation: assignment.incarnation,
        shards: assignment.shards.into_iter().map(shard).collect(),
    }
}

fn read(session: u64, report: &wire::NodeReport, partitions: u16) -> Report {
    Report {
        node: report.public_address.as_str().into(),
        session,
        managed: report.managed,
        draining: report.draining,
        followed: report.scheduler_incarnation,
        partitions,
        shards: report.shards.iter().map(read_shard).collect(),
    }
}

fn read_shard(shard: &v1::Shard) -> ShardReport {
    let claim = |owned: &v1::OwnedPartition| {
        let state = match owned.state() {
            owned_partition::State::Serving => State::Serving,
            owned_partition::State::Releasing => State::Releasing,
            owned_partition::State::Unspecified | owned_partition::State::Recovering => State::Recovering,
        };
        let partition = u16::try_from(owned.partition).ok()?;
        Some(Claim { partition, generation: owned.generation, state })
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a ratio from 0 to 1 in percent; casts of floats saturate"
    )]
    let saturation_percent = (shard.saturation_ratio * 100.0) as u32;
    let owned: Vec<Claim> = shard.owned.iter().filter_map(claim).collect();
    ShardReport { index: shard.index, saturation_percent, cut_off: shard.cut_off, owned }
}

#[cfg(test)]
mod tests {
    use executor::clock::ManualClock;

    use super::*;

    fn report(node: &str, owned: &[u32]) -> wire::NodeReport {
        let serving = owned_partition::State::Serving.into();
        let owned = owned.iter().map(|partition| v1::OwnedPartition {
            partition: *partition,
            generation: 1,
            state: serving,
        });
        wire::NodeReport {
            public_address: node.to_owned(),
            managed: true,
            shards: vec![v1::Shard { owned: owned.collect(), ..v1::Shard::default() }],
            ..wire::NodeReport::default()
        }
    }

    fn partitions(directive: &wire::NodeDirective) -> usize {
        let assignment = directive.assignment.as_ref().expect("it is told what it shall have");
        assignment.shards.iter().map(|shard| shard.partitions.len()).sum()
    }

    #[tokio::test]
    async fn what_is_decided_after_a_report_reaches_its_node_after_the_reports_answer() {
        let manual = ManualClock::at_ms(1_000);
        let clock = Clock::Manual(manual.clone());
        let directory = Arc::new(Directory::new(clock.clone()));
        let ownership = Ownership::new(directory, clock, 1);
        ownership.registered(1);
        let (directives, mut heard) = mpsc::channel(8);
        let (others, _unread) = mpsc::channel(8);
        let say = async |to: &Directives, session: u64, report: &wire::NodeReport| {
            let place = to.clone().reserve_owned().await.expect("open");
            ownership.reported(session, report, 4, place);
        };
        say(&directives, 1, &report("one", &[0, 1, 2, 3])).await;
        // Another one comes before anybody has read the answer: two partitions move.
        say(&others, 2, &report("two", &[])).await;
        drop((ownership, directives));
        let mut told = Vec::new();
        while let Some(directive) = heard.recv().await {
            told.push(partitions(&directive.expect("no error")));
        }
        assert!(told.is_sorted_by(|earlier, later| earlier >= later), "{told:?}");
        assert_eq!((told.first(), told.last()), (Some(&4), Some(&2)), "{told:?}");
    }
}
