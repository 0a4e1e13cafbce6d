//! The assigner with nodes that do what they are told, late, and that die, freeze, drain and come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

mod anything;
mod reports;
mod scenes;

const PARTITIONS: u16 = 16;
const MS: u64 = 1_000;
const BEAT: u64 = 500 * MS;
const TICK: u64 = 100 * MS;

/// A node as it is, whatever it has said.
#[derive(Debug, Default)]
struct Real {
    shards: u32,
    lives: bool,
    /// Stopped, as by SIGSTOP: neither says nor hears anything.
    frozen: bool,
    draining: bool,
    /// Nothing of the store answers it.
    cut_off: bool,
    session: u64,
    followed: u32,
    owned: BTreeMap<u16, (u32, Claim)>,
    /// Directives on their way.
    inbox: VecDeque<Assignment>,
    /// Reports on their way.
    outbox: VecDeque<Report>,
    beat_us: u64,
    /// Claims of a process that the scheduler has given up and that does not know yet.
    stale: BTreeSet<u16>,
    /// Whether the present scheduler has ever heard it.
    known: bool,
}

impl Real {
    fn heed(&mut self, assignment: &Assignment) {
        if assignment.incarnation < self.followed {
            return;
        }
        self.followed = assignment.incarnation;
        let wanted: BTreeMap<u16, u32> = assignment
            .shards
            .iter()
            .filter(|(shard, _)| **shard < self.shards)
            .flat_map(|(shard, partitions)| partitions.iter().map(|partition| (*partition, *shard)))
            .collect();
        for (partition, (shard, claim)) in &mut self.owned {
            if wanted.get(partition) != Some(shard) {
                claim.state = State::Releasing;
            }
        }
        for (partition, shard) in wanted {
            let fresh = Claim { partition, generation: 0, state: State::Recovering };
            if !self.draining {
                self.owned.entry(partition).or_insert((shard, fresh));
            }
        }
    }
}

struct World {
    now_us: u64,
    scheduler: Assigner,
    nodes: BTreeMap<NodeKey, Real>,
    /// The store's fence.
    generations: Vec<u64>,
    sessions: u64,
    /// By partition: whom it is named to, as the directives say.
    told: BTreeMap<u16, ShardKey>,
    moves: usize,
    incarnation: u32,
}

fn key(number: usize) -> NodeKey {
    format!("node-{number}").into()
}

impl World {
    fn new() -> Self {
        let mut scheduler = Assigner::new(Rules::default());
        scheduler.registered(1);
        Self {
            now_us: 1_000_000_000,
            scheduler,
            nodes: BTreeMap::new(),
            generations: vec![0; usize::from(PARTITIONS)],
            sessions: 0,
            told: BTreeMap::new(),
            moves: 0,
            incarnation: 1,
        }
    }

    fn join(&mut self, number: usize, shards: u32) {
        self.sessions += 1;
        let node = self.nodes.entry(key(number)).or_default();
        if !node.lives {
            *node = Real { shards, lives: true, session: self.sessions, ..Real::default() };
            self.say(number);
        }
    }

    fn kill(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(&key(number)) {
            let session = node.session;
            *node = Real::default();
            self.scheduler.broken(self.now_us, &key(number), session);
        }
    }

    fn cut_off(&mut self, number: usize, cut_off: bool) {
        if let Some(node) = self.nodes.get_mut(&key(number)) {
            node.cut_off = cut_off;
        }
    }

    fn thaw(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(&key(number)) {
            node.frozen = false;
        }
    }

    /// The scheduler's process is replaced by a new one, that knows nothing.
    fn restart_scheduler(&mut self) {
        self.incarnation += 1;
        self.scheduler = Assigner::new(Rules::default());
        self.scheduler.registered(self.incarnation);
        self.told.clear();
        for node in self.nodes.values_mut().filter(|node| node.lives) {
            self.sessions += 1;
            node.session = self.sessions;
            node.inbox.clear();
            node.outbox.clear();
            node.stale.clear();
            node.known = false;
        }
    }

    fn say(&mut self, number: usize) {
        let name = key(number);
        let Some(node) = self.nodes.get_mut(&name) else { return };
        let shard = |index: u32| ShardReport {
            index,
            saturation_percent: 0,
            cut_off: node.cut_off,
            owned: node.owned.values().filter(|(at, _)| *at == index).map(|(_, claim)| *claim).collect(),
        };
        let report = Report {
            node: name,
            session: node.session,
            managed: true,
            draining: node.draining,
            followed: node.followed,
            partitions: PARTITIONS,
            shards: (0..node.shards).map(shard).collect(),
        };
        node.beat_us = self.now_us;
        node.outbox.push_back(report);
    }

    /// Directives heard, one step of each partition. The last one may still be on its way; those before it are heard in their
    /// order, for a node lets none wait behind another.
    fn work(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(&key(number)) else { return };
        let before = node.owned.clone();
        let heard = node.inbox.len().saturating_sub(1).max(usize::from(!node.inbox.is_empty()));
        for assignment in node.inbox.drain(..heard).collect::<Vec<_>>() {
            node.heed(&assignment);
        }
        let generations = &mut self.generations;
        let cut_off = node.cut_off;
        node.owned.retain(|partition, (_, claim)| {
            if cut_off {
                // It can neither take nor give back, nor learn that it was replaced.
                return true;
            }
            let top = &mut generations[usize::from(*partition)];
            match claim.state {
                // What was begun to be released in this step is given back in the next one.
                State::Releasing => {
                    before.get(partition).is_none_or(|(_, was)| was.state != State::Releasing)
                }
                State::Recovering if claim.generation == 0 => {
                    *top += 1;
                    claim.generation = *top;
                    true
                }
                State::Recovering | State::Serving => {
                    claim.state = State::Serving;
                    *top == claim.generation
                }
            }
        });
        node.stale.retain(|partition| node.owned.contains_key(partition));
        if node.owned != before {
            self.say(number);
        }
    }

    fn step(&mut self) {
        self.now_us += TICK;
        let numbers: Vec<usize> = (0..self.nodes.len() + 8).collect();
        for number in numbers {
            let ready = self.nodes.get(&key(number)).is_some_and(|node| node.lives && !node.frozen);
            if !ready {
                continue;
            }
            self.work(number);
            let now_us = self.now_us;
            if self.nodes.get(&key(number)).is_some_and(|node| now_us - node.beat_us >= BEAT) {
                self.say(number);
            }
            let reports = self.nodes.get_mut(&key(number)).map(|node| std::mem::take(&mut node.outbox));
            for report in reports.unwrap_or_default() {
                self.nodes.entry(key(number)).or_default().known = true;
                self.scheduler.report(self.now_us, report);
                if let Some(assignment) = self.scheduler.assignment(&key(number)) {
                    self.deliver(&key(number), assignment);
                }
            }
        }
        let places = self.scheduler.places.clone();
        for effect in self.scheduler.tick(self.now_us) {
            match effect {
                Effect::Tell { node, assignment } => self.deliver(&node, assignment),
                Effect::Dead { node, .. } => {
                    self.told.retain(|_, shard| shard.node != node);
                    if let Some(node) = self.nodes.get_mut(&node) {
                        node.stale = node.owned.keys().copied().collect();
                        node.inbox.clear();
                    }
                }
                Effect::CutOff { shard } => {
                    let reports = self.scheduler.nodes.get(&shard.node).map(|node| &node.report.shards);
                    let says = |report: &ShardReport| report.index == shard.index && report.cut_off;
                    assert!(reports.is_some_and(|shards| shards.iter().any(says)), "{shard:?} is well");
                    self.told.retain(|_, named| *named != shard);
                    if let Some(node) = self.nodes.get_mut(&shard.node) {
                        let owned = node.owned.iter().filter(|(_, (index, _))| *index == shard.index);
                        node.stale.extend(owned.map(|(partition, _)| *partition));
                    }
                }
                Effect::Replaced { by } => panic!("replaced by {by}"),
            }
        }
        let moves = self.scheduler.fresh_moves(self.now_us);
        assert!(moves <= Rules::default().moves_max || self.begun(&places) == 0, "{moves} moves");
    }

    /// How many partitions the scheduler has asked its holders for since they were at these places. What a holder gives
    /// back of its own accord is none of them.
    fn begun(&self, before: &[Place]) -> usize {
        let of_its_own = |node: &NodeKey, partition: u16| {
            let shards = self.scheduler.nodes.get(node).map_or(&[][..], |node| &node.report.shards);
            let mut claims = shards.iter().flat_map(|shard| &shard.owned);
            claims.any(|claim| claim.partition == partition && claim.state == State::Releasing)
        };
        let asked = |(partition, (before, after)): &(u16, (&Place, &Place))| match (before, after) {
            (Place::Leaving { .. }, _) => false,
            (_, Place::Leaving { from, .. }) => !of_its_own(from, *partition),
            _ => false,
        };
        (0u16..).zip(before.iter().zip(&self.scheduler.places)).filter(asked).count()
    }

    /// Checks what a directive promises, and sends it.
    fn deliver(&mut self, node: &NodeKey, assignment: Assignment) {
        self.told.retain(|partition, shard| {
            shard.node != *node
                || assignment.shards.get(&shard.index).is_some_and(|has| has.contains(partition))
        });
        for (index, partitions) in &assignment.shards {
            for partition in partitions {
                let shard = ShardKey { node: node.clone(), index: *index };
                if self.told.insert(*partition, shard.clone()).is_some_and(|before| before == shard) {
                    continue;
                }
                self.moves += 1;
                for (other, real) in self.nodes.iter().filter(|(other, _)| *other != node) {
                    let held = real.owned.get(partition).filter(|_| real.lives && real.known);
                    let stale = real.stale.contains(partition);
                    let fenced = held.is_some_and(|(_, claim)| {
                        claim.generation < self.generations[usize::from(*partition)]
                    });
                    assert!(
                        held.is_none() || stale || fenced,
                        "partition {partition} is named to {shard:?} while {other} has it: {held:?}"
                    );
                }
            }
        }
        if let Some(real) = self.nodes.get_mut(node).filter(|real| real.lives) {
            real.inbox.push_back(assignment);
        }
    }

    fn pass(&mut self, us: u64) {
        for _ in 0..us / TICK {
            self.step();
        }
    }

    /// Everything comes to rest: each partition has one owner, which serves, and all lies evenly.
    fn assert_settled(&self) {
        let able = |node: &&Real| node.lives && !node.draining;
        let shards: u32 = self.nodes.values().filter(able).map(|node| node.shards).sum();
        if shards == 0 {
            return;
        }
        let mut counts: BTreeMap<ShardKey, usize> = BTreeMap::new();
        for (name, node) in self.nodes.iter().filter(|(_, node)| able(node)) {
            for index in 0..node.shards {
                counts.insert(ShardKey { node: name.clone(), index }, 0);
            }
        }
        for partition in 0..PARTITIONS {
            let owners: Vec<(ShardKey, Claim)> = self
                .nodes
                .iter()
                .filter_map(|(name, node)| {
                    let (index, claim) = node.owned.get(&partition)?;
                    Some((ShardKey { node: name.clone(), index: *index }, *claim))
                })
                .collect();
            let [(owner, claim)] = &owners[..] else { panic!("partition {partition}: {owners:?}") };
            assert_eq!(claim.state, State::Serving, "partition {partition}");
            assert_eq!(self.scheduler.named(partition), Some(owner));
            *counts.get_mut(owner).unwrap_or_else(|| panic!("{owner:?} should have nothing")) += 1;
        }
        let (least, most) = (counts.values().min(), counts.values().max());
        assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{counts:?}");
    }
}

fn world(nodes: &[u32]) -> World {
    let mut world = World::new();
    for (number, shards) in nodes.iter().enumerate() {
        world.join(number, *shards);
    }
    world.pass(5_000 * MS);
    world.assert_settled();
    world
}
