//! The assigner with nodes that do what they are told, late, and that die, freeze, drain and come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

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

    /// One directive heard, one step of each partition.
    fn work(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(&key(number)) else { return };
        let before = node.owned.clone();
        if let Some(assignment) = node.inbox.pop_front()
            && assignment.incarnation >= node.followed
        {
            node.followed = assignment.incarnation;
            let wanted: BTreeMap<u16, u32> = assignment
                .shards
                .iter()
                .filter(|(shard, _)| **shard < node.shards)
                .flat_map(|(shard, partitions)| partitions.iter().map(|partition| (*partition, *shard)))
                .collect();
            for (partition, (shard, claim)) in &mut node.owned {
                if wanted.get(partition) != Some(shard) {
                    claim.state = State::Releasing;
                }
            }
            for (partition, shard) in wanted {
                let fresh = Claim { partition, generation: 0, state: State::Recovering };
                if !node.draining {
                    node.owned.entry(partition).or_insert((shard, fresh));
                }
            }
        }
        let generations = &mut self.generations;
        node.owned.retain(|partition, (_, claim)| {
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
                Effect::Replaced { by } => panic!("replaced by {by}"),
            }
        }
        assert!(self.scheduler.moves() <= Rules::default().moves_max);
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

#[test]
fn the_first_nodes_share_everything_once_listening_is_over_and_nothing_moves_afterwards() {
    let mut world = World::new();
    world.join(0, 2);
    world.join(1, 2);
    world.pass(1_000 * MS);
    assert_eq!(world.moves, 0, "it still listens");
    world.pass(1_000 * MS);
    assert_eq!(world.moves, usize::from(PARTITIONS));
    world.pass(60_000 * MS);
    world.assert_settled();
    assert_eq!(world.moves, usize::from(PARTITIONS));
}

#[test]
fn listening_ends_early_when_all_expected_nodes_have_reported() {
    let mut world = World::new();
    world.scheduler = Assigner::new(Rules { expected_nodes: 2, ..Rules::default() });
    world.scheduler.registered(1);
    world.join(0, 2);
    world.step();
    assert_eq!(world.moves, 0);
    world.join(1, 2);
    world.step();
    assert_eq!(world.moves, usize::from(PARTITIONS));
}

#[test]
fn a_node_that_joins_gets_its_share_and_nothing_else_moves() {
    for (before, joins, moved) in
        [(vec![2, 2], 2, 4), (vec![1], 1, 8), (vec![1, 3], 4, 8), (vec![4; 3], 4, 4)]
    {
        let mut world = world(&before);
        world.moves = 0;
        world.join(before.len(), joins);
        world.pass(10_000 * MS);
        world.assert_settled();
        assert_eq!(world.moves, moved, "{before:?} and {joins}");
    }
}

#[test]
fn the_partitions_of_a_killed_node_go_to_the_others_and_nothing_else_moves() {
    let mut world = world(&[2, 2, 2]);
    let lost = world.nodes[&key(1)].owned.len();
    world.moves = 0;
    world.kill(1);
    world.pass(900 * MS);
    assert_eq!(world.moves, 0, "it may come back");
    world.pass(1_000 * MS);
    world.assert_settled();
    assert_eq!(world.moves, lost);
}

#[test]
fn a_node_that_comes_back_in_time_keeps_what_it_had() {
    let mut world = world(&[2, 2]);
    let before: Vec<u16> = world.nodes[&key(0)].owned.keys().copied().collect();
    world.moves = 0;
    world.kill(0);
    world.pass(500 * MS);
    world.join(0, 2);
    world.pass(3_000 * MS);
    world.assert_settled();
    assert_eq!(world.moves, 0);
    assert_eq!(world.nodes[&key(0)].owned.keys().copied().collect::<Vec<u16>>(), before);
}

#[test]
fn a_stopped_node_loses_everything_and_gets_its_share_again_when_it_goes_on() {
    let mut world = world(&[2, 2]);
    world.nodes.get_mut(&key(0)).expect("it is there").frozen = true;
    world.pass(3_000 * MS);
    assert_eq!(world.nodes[&key(1)].owned.len(), usize::from(PARTITIONS));
    world.thaw(0);
    world.pass(10_000 * MS);
    world.assert_settled();
}

#[test]
fn a_draining_node_loses_everything_a_few_at_a_time() {
    let mut world = world(&[1, 1]);
    world.nodes.get_mut(&key(0)).expect("it is there").draining = true;
    let mut left = Vec::new();
    while !world.nodes[&key(0)].owned.is_empty() {
        left.push(world.nodes[&key(0)].owned.len());
        assert!(left.len() < 200, "{left:?}");
        world.step();
    }
    world.pass(3_000 * MS);
    assert_eq!(world.nodes[&key(1)].owned.len(), usize::from(PARTITIONS));
}

#[test]
fn the_last_node_drains_without_losing_anything_to_nobody() {
    let mut world = world(&[2]);
    world.nodes.get_mut(&key(0)).expect("it is there").draining = true;
    world.pass(10_000 * MS);
    assert_eq!(world.nodes[&key(0)].owned.len(), usize::from(PARTITIONS));
}

#[test]
fn nobody_is_dead_while_nobody_is_heard() {
    let mut world = world(&[2, 2]);
    world.moves = 0;
    for number in 0..2 {
        world.nodes.get_mut(&key(number)).expect("it is there").frozen = true;
    }
    world.pass(60_000 * MS);
    world.thaw(1);
    world.pass(300 * MS);
    world.thaw(0);
    world.pass(5_000 * MS);
    world.assert_settled();
    assert_eq!(world.moves, 0);
}

#[test]
fn a_pause_of_our_own_kills_nobody_and_neither_does_a_step_of_the_clock() {
    let mut world = world(&[2, 2]);
    world.moves = 0;
    world.now_us += 30_000 * MS;
    world.pass(5_000 * MS);
    world.now_us -= 20_000 * MS;
    for node in world.nodes.values_mut() {
        node.beat_us = world.now_us;
    }
    world.pass(5_000 * MS);
    world.assert_settled();
    assert_eq!(world.moves, 0);
}

#[test]
fn a_new_scheduler_adopts_what_nodes_have() {
    let mut world = world(&[2, 2, 1]);
    let before: Vec<BTreeMap<u16, (u32, Claim)>> =
        world.nodes.values().map(|node| node.owned.clone()).collect();
    world.restart_scheduler();
    world.pass(10_000 * MS);
    world.assert_settled();
    let after: Vec<BTreeMap<u16, (u32, Claim)>> =
        world.nodes.values().map(|node| node.owned.clone()).collect();
    assert_eq!(after, before);
}

#[test]
fn a_scheduler_that_was_replaced_says_so_once_and_assigns_no_more() {
    let mut world = world(&[2]);
    let report = Report {
        node: key(5),
        session: 99,
        managed: true,
        draining: false,
        followed: 7,
        partitions: PARTITIONS,
        shards: vec![ShardReport::default()],
    };
    world.scheduler.report(world.now_us, report.clone());
    assert_eq!(world.scheduler.tick(world.now_us), [Effect::Replaced { by: 7 }]);
    world.scheduler.report(world.now_us, report);
    assert_eq!(world.scheduler.tick(world.now_us), []);
    assert_eq!(world.scheduler.assignment("node-0"), None);
    // A later number of its own does not bring it back.
    world.scheduler.registered(8);
    assert_eq!(world.scheduler.assignment("node-0"), None);
}

fn claim(partition: u16, generation: u64) -> Claim {
    Claim { partition, generation, state: State::Serving }
}

fn says(node: usize, session: u64, owned: Vec<Claim>) -> Report {
    let shards = vec![ShardReport { index: 0, saturation_percent: 0, owned }];
    let node = key(node);
    Report { node, session, managed: true, draining: false, followed: 0, partitions: 3, shards }
}

#[test]
fn of_two_nodes_that_claim_a_partition_the_higher_generation_has_it() {
    let mut scheduler = Assigner::new(Rules { expected_nodes: 2, ..Rules::default() });
    scheduler.registered(1);
    scheduler.report(0, says(0, 1, vec![claim(0, 5), claim(1, 2)]));
    scheduler.report(0, says(1, 2, vec![claim(0, 6), claim(2, 1)]));
    scheduler.tick(0);
    assert_eq!(scheduler.named(0).map(|shard| &*shard.node), Some("node-1"));
    assert_eq!(scheduler.named(1).map(|shard| &*shard.node), Some("node-0"));
    // The other one takes it back in the store: it is the owner now.
    scheduler.report(1, says(0, 1, vec![claim(0, 7), claim(1, 2)]));
    scheduler.tick(1);
    assert_eq!(scheduler.named(0).map(|shard| &*shard.node), Some("node-0"));
}

#[test]
fn a_report_of_a_stream_that_was_left_says_nothing() {
    let mut scheduler = Assigner::new(Rules { expected_nodes: 2, ..Rules::default() });
    scheduler.registered(1);
    scheduler.report(0, says(0, 2, vec![claim(0, 1), claim(1, 1)]));
    scheduler.report(0, says(1, 3, vec![claim(2, 1)]));
    assert_eq!(scheduler.tick(0).len(), 2);
    scheduler.report(1, says(0, 1, Vec::new()));
    scheduler.broken(1, "node-0", 1);
    assert_eq!(scheduler.tick(1), []);
    scheduler.report(900_000, says(1, 3, vec![claim(2, 1)]));
    scheduler.tick(900_000);
    assert_eq!(scheduler.tick(1_400_000), [], "its stream stands");
    assert_eq!(scheduler.named(0).map(|shard| &*shard.node), Some("node-0"));
}

#[test]
fn a_partition_that_a_node_does_not_take_is_given_to_another() {
    let mut scheduler = Assigner::new(Rules { expected_nodes: 2, ..Rules::default() });
    scheduler.registered(1);
    let mut at = 0;
    let two = |node, session, owned| Report { partitions: 2, ..says(node, session, owned) };
    scheduler.report(at, two(0, 1, Vec::new()));
    scheduler.report(at, two(1, 2, Vec::new()));
    scheduler.tick(at);
    let refused =
        (0..2).find(|partition| scheduler.named(*partition).is_some_and(|shard| shard.node == key(0)));
    let refused = refused.expect("each gets one");
    while scheduler.named(refused).is_some_and(|shard| shard.node == key(0)) {
        at += BEAT;
        assert!(at < 100 * BEAT, "it is given to another");
        scheduler.report(at, two(0, 1, Vec::new()));
        scheduler.report(at, two(1, 2, vec![claim(1 - refused, 1)]));
        scheduler.tick(at);
    }
    assert_eq!(scheduler.named(refused).map(|shard| &*shard.node), Some("node-1"));
}

#[test]
fn what_a_node_has_by_its_own_configuration_is_given_to_nobody() {
    let mut scheduler = Assigner::new(Rules { expected_nodes: 1, ..Rules::default() });
    scheduler.registered(1);
    scheduler.report(0, Report { managed: false, ..says(0, 1, vec![claim(0, 1)]) });
    scheduler.report(0, says(1, 2, Vec::new()));
    scheduler.tick(0);
    assert_eq!(scheduler.unnamed().collect::<Vec<u16>>(), [0]);
    assert_eq!(scheduler.assignment("node-0"), None);
    assert_eq!(scheduler.named(1).map(|shard| &*shard.node), Some("node-1"));
}

#[derive(Debug, Clone)]
enum Step {
    Join(usize, u32),
    Kill(usize),
    Freeze(usize),
    Thaw(usize),
    Drain(usize),
    RestartScheduler,
    Pause(u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0usize..5;
    prop_oneof![
        3 => (node.clone(), 1u32..4).prop_map(|(node, shards)| Step::Join(node, shards)),
        2 => node.clone().prop_map(Step::Kill),
        1 => node.clone().prop_map(Step::Freeze),
        2 => node.clone().prop_map(Step::Thaw),
        1 => node.prop_map(Step::Drain),
        1 => Just(Step::RestartScheduler),
        1 => (1u64..100).prop_map(Step::Pause),
        6 => (1u64..40).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_partition_is_named_once_and_all_comes_to_rest_evenly(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Join(node, shards) => world.join(node, shards),
                Step::Kill(node) => world.kill(node),
                Step::Freeze(node) => {
                    if let Some(node) = world.nodes.get_mut(&key(node)) {
                        node.frozen = true;
                    }
                }
                Step::Thaw(node) => world.thaw(node),
                Step::Drain(node) => {
                    if let Some(node) = world.nodes.get_mut(&key(node)) {
                        node.draining = true;
                    }
                }
                Step::RestartScheduler => world.restart_scheduler(),
                Step::Pause(ticks) => world.now_us += ticks * TICK,
                Step::Pass(ticks) => world.pass(ticks * TICK),
            }
        }
        for number in 0..5 {
            world.thaw(number);
        }
        world.pass(30_000 * MS);
        world.assert_settled();
        let moves = world.moves;
        world.pass(30_000 * MS);
        prop_assert_eq!(world.moves, moves, "at rest nothing moves");
    }
}
