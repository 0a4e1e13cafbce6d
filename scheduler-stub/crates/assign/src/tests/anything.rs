//! Any sequence of events: a partition is named once, and all comes to rest.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Join(usize, u32),
    Kill(usize),
    Freeze(usize),
    Thaw(usize),
    Drain(usize),
    CutOff(usize),
    Mend(usize),
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
        1 => node.clone().prop_map(Step::Drain),
        1 => node.clone().prop_map(Step::CutOff),
        1 => node.prop_map(Step::Mend),
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
                Step::CutOff(node) => world.cut_off(node, true),
                Step::Mend(node) => world.cut_off(node, false),
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
            world.cut_off(number, false);
        }
        world.pass(30_000 * MS);
        world.assert_settled();
        let moves = world.moves;
        world.pass(30_000 * MS);
        prop_assert_eq!(world.moves, moves, "at rest nothing moves");
    }
}
