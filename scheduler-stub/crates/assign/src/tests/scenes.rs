//! Nodes that join, die, freeze, drain and come back, one scene each.

use super::*;

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
fn a_node_that_alone_is_cut_off_from_the_store_loses_everything_and_gets_its_share_again_once_it_is_mended() {
    let mut world = world(&[2, 2]);
    world.cut_off(0, true);
    world.pass(Rules::default().cut_off_us - BEAT);
    let named = |world: &World, node: usize| {
        let names = (0..PARTITIONS).filter_map(|partition| world.scheduler.named(partition));
        names.filter(|shard| shard.node == key(node)).count()
    };
    assert_eq!(named(&world, 0), 8, "it may be mended");
    world.pass(3 * BEAT);
    assert_eq!((named(&world, 0), named(&world, 1)), (0, 16));
    world.pass(2_000 * MS);
    assert_eq!(world.nodes[&key(1)].owned.len(), 16);
    world.cut_off(0, false);
    world.pass(10_000 * MS);
    world.assert_settled();
}

#[test]
fn while_the_store_answers_nobody_nothing_moves_and_nobody_is_in_a_hurry_when_it_is_back() {
    let mut world = world(&[2, 2]);
    world.moves = 0;
    for number in 0..2 {
        world.cut_off(number, true);
    }
    world.pass(60_000 * MS);
    world.cut_off(0, false);
    world.pass(2_000 * MS);
    world.cut_off(1, false);
    world.pass(10_000 * MS);
    world.assert_settled();
    assert_eq!(world.moves, 0);
}

/// Late reports and directives overtook each other here once, in a model whose nodes let directives wait behind others.
#[test]
fn what_a_stopped_node_hears_late_does_not_send_partitions_to_and_fro() {
    let mut world = World::new();
    world.join(1, 1);
    world.join(2, 2);
    world.pass(8 * TICK);
    world.restart_scheduler();
    world.pass(55 * TICK);
    world.now_us += 3 * TICK;
    world.join(0, 3);
    world.pass(TICK);
    world.join(3, 1);
    world.nodes.get_mut(&key(0)).expect("it joined").frozen = true;
    world.now_us += 10 * TICK;
    world.pass(21 * TICK);
    world.thaw(0);
    world.pass(30_000 * MS);
    world.assert_settled();
    let moves = world.moves;
    world.pass(30_000 * MS);
    assert_eq!(world.moves, moves);
}
