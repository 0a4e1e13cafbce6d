//! What single reports mean: whom they are believed, and what follows from them.

use super::*;

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
    let shards = vec![ShardReport { index: 0, saturation_percent: 0, cut_off: false, owned }];
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

#[test]
fn moves_that_are_never_finished_do_not_keep_a_node_from_draining() {
    let mut scheduler = Assigner::new(Rules { expected_nodes: 2, ..Rules::default() });
    scheduler.registered(1);
    let all = |node, session, owned| Report { partitions: PARTITIONS, ..says(node, session, owned) };
    scheduler.report(0, all(0, 1, (0..PARTITIONS).map(|partition| claim(partition, 1)).collect()));
    scheduler.report(0, all(1, 2, Vec::new()));
    scheduler.tick(0);
    let assigned = |scheduler: &Assigner, node: usize| {
        let shards = scheduler.assignment(&key(node)).expect("it is in charge").shards;
        shards.into_values().flatten().collect::<Vec<u16>>()
    };
    let mut beats = 0;
    while !assigned(&scheduler, 0).is_empty() {
        beats += 1;
        assert!(beats < 100, "{} moves, {:?} are left", scheduler.moves(), assigned(&scheduler, 0));
        let gives = assigned(&scheduler, 0).into_iter().map(|partition| claim(partition, 1)).collect();
        // It takes what it is told to, and never comes to an end with it.
        let unread = |partition| Claim { state: State::Recovering, ..claim(partition, 2) };
        let takes = assigned(&scheduler, 1).into_iter().map(unread).collect();
        scheduler.report(beats * BEAT, Report { draining: beats > 4, ..all(0, 1, gives) });
        scheduler.report(beats * BEAT, all(1, 2, takes));
        scheduler.tick(beats * BEAT);
    }
    assert_eq!(scheduler.moves(), usize::from(PARTITIONS), "all are told as under way");
}
