//! Thousands of runs, each from its seed.
//!
//! `SEED=7 cargo test -p simulator --test simulate -- --nocapture` prints one run; `SEEDS=100000` runs more.

use std::collections::BTreeMap;

use simulator::machines::Catalogue;
use simulator::{Mutation, Mutations, points, run};

/// Runs of the test command.
const SEEDS: u64 = 2_000;
/// A mutation that as many seeds do not find is not found.
const MUTATION_SEEDS: u64 = 400;
/// Runs with each kind of misplaced partitions.
const PLACEMENT_SEEDS: u64 = 25;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn catalogue() -> Catalogue {
    Catalogue::compile().expect("every machine compiles")
}

#[test]
fn every_promise_holds_in_every_run_and_a_process_has_died_at_every_point() {
    let catalogue = catalogue();
    if let Some(seed) = number("SEED") {
        run(seed, &catalogue, Mutations::default(), true).expect("every promise holds");
        return;
    }
    let (mut hits, mut fenced, mut broken) = (BTreeMap::new(), 0, Vec::new());
    let (mut again, mut carried, mut from_checkpoints, mut called_back) = (0, 0, 0, 0);
    for seed in 0..number("SEEDS").unwrap_or(SEEDS) {
        match run(seed, &catalogue, Mutations::default(), false) {
            Ok(report) => {
                fenced += report.fenced;
                again += report.answered_again;
                called_back += report.called_back;
                carried += report.carried;
                from_checkpoints += report.from_checkpoints;
                for (point, count) in report.hits {
                    *hits.entry(point).or_insert(0) += count;
                }
            }
            Err(violation) => broken.push(violation),
        }
    }
    assert!(broken.is_empty(), "SEED=... prints a run:\n{}", broken.join("\n"));
    assert!(called_back > 0, "no callback was acknowledged");
    let missed: Vec<_> = points::all().filter(|point| !hits.contains_key(point)).collect();
    assert!(missed.is_empty(), "nobody has died at {missed:?}; elsewhere: {hits:?}");
    assert!(fenced > 0, "no owner that another had followed tried to write");
    assert!(again > 0, "no batch was answered again");
    assert!(carried > 0, "nothing was carried into later blocks");
    assert!(from_checkpoints > 0, "no recovery began at a checkpoint");
}

#[test]
fn a_seed_stands_for_one_run() {
    let catalogue = catalogue();
    for seed in 0..60 {
        let [first, again] =
            [(); 2].map(|()| run(seed, &catalogue, Mutations::default(), false).expect("holds"));
        assert_eq!((first.trace, first.steps), (again.trace, again.steps), "seed {seed}");
    }
}

#[test]
fn every_mutation_is_caught() {
    let catalogue = catalogue();
    let unfenced = Mutation::OF_PLACEMENT.map(|mutation| vec![mutation, Mutation::NoFence]);
    for broken in Mutation::HARMFUL.map(|mutation| vec![mutation]).into_iter().chain(unfenced) {
        let mutations = || broken.iter().copied().collect();
        let caught = (0..MUTATION_SEEDS).find_map(|seed| run(seed, &catalogue, mutations(), false).err());
        let violation = caught.unwrap_or_else(|| panic!("{MUTATION_SEEDS} seeds did not catch {broken:?}"));
        println!("{broken:?}: {}", &violation[..violation.floor_char_boundary(160)]);
    }
}

#[test]
fn no_promise_rests_on_where_partitions_are_placed() {
    let catalogue = catalogue();
    for mutation in Mutation::OF_PLACEMENT {
        for seed in 0..PLACEMENT_SEEDS {
            let result = run(seed, &catalogue, Mutations::from_iter([mutation]), false);
            result.unwrap_or_else(|violation| panic!("{mutation:?}: {violation}"));
        }
    }
}
